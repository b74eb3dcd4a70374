// An OpenID Provider that gives tokens to keep: access tokens that end, refresh tokens that may rotate, and what is revoked.
// It signs in whoever the test names.

import { createHash, randomUUID } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { SignJWT, exportJWK, generateKeyPair } from "jose";
import { CLIENT } from "../../examples/provider/server.mjs";
import { uniqueEmail } from "./browser.mjs";

const json = (response, status, body) => response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
const words = (text) => (text ?? "").split(" ").filter(Boolean);

/** Somebody whom nobody knows yet. */
export const stranger = (claims = {}) => ({ sub: randomUUID(), email: uniqueEmail(), email_verified: true, name: "Person", ...claims });

/** Sends `person` to the issuer with an authorization request. Answers the callback's URL, not opened yet. */
export async function consent(url, person, more = {}) {
  const asked = new URL(url);
  asked.searchParams.set("test_person", JSON.stringify(person));
  for (const [name, value] of Object.entries(more)) asked.searchParams.set(`test_${name}`, value);
  const answer = await fetch(asked, { redirect: "manual" });
  if (answer.status !== 302) throw new Error(`authorize: ${answer.status} ${await answer.text()}`);
  return answer.headers.get("location");
}

export async function startUpstream({ alg = "RS256" } = {}) {
  const server = http.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://localhost:${server.address().port}`;
  const newKey = async (kid = randomUUID()) => {
    const pair = await generateKeyPair(alg, { extractable: true });
    return { alg, kid, ...pair, jwk: { ...(await exportJWK(pair.publicKey)), kid, alg, use: "sig" } };
  };
  const key = await newKey();
  const codes = new Map();
  const upstream = {
    url,
    key,
    newKey,
    /** Behaviour; `behave` resets it. */
    settings: {},
    /** Refreshes asked for, with what was sent. */
    refreshes: [],
    /** Tokens that were revoked. */
    revoked: [],
    /** Every token that was given away. */
    given: [],
    /** Refresh token → what it is good for. */
    grants: new Map(),
    /** Access token → whose it is. */
    access: new Map(),
    /** An ID token for a native app. */
    async idToken(claims = {}, { key: signing = key } = {}) {
      const now = Math.floor(Date.now() / 1000);
      const all = { iss: url, aud: CLIENT.id, iat: now, exp: now + 300, ...claims };
      for (const name of Object.keys(all)) if (all[name] === undefined) delete all[name];
      const token = await new SignJWT(all).setProtectedHeader({ alg: signing.alg, kid: signing.kid }).sign(signing.privateKey);
      upstream.given.push(token);
      return token;
    },
    newAccessToken(person) {
      const token = `access-${randomUUID()}`;
      upstream.access.set(token, person);
      upstream.given.push(token);
      return token;
    },
    behave() {
      upstream.settings = {
        /** Life of access tokens, in seconds; undefined says nothing. */
        life: 3600,
        /** Whether a used refresh token is replaced, and good for nothing any more. */
        rotates: false,
        /** Whether a refresh token comes without `offline_access` as well. */
        alwaysOffline: false,
        /** Before a refresh is answered, in milliseconds. */
        delay: 0,
        /** What happens before a code is exchanged. */
        exchange: undefined,
        /** (request, response, form) → true if it has answered a refresh in the issuer's place. */
        refresh: undefined,
        discovery: undefined,
        revocation: undefined,
        metadata: {},
      };
      upstream.refreshes.length = 0;
      upstream.revoked.length = 0;
    },
    stop: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(resolve);
      }),
  };
  upstream.behave();

  const newRefreshToken = (person, scope) => {
    const token = `refresh-${randomUUID()}`;
    upstream.grants.set(token, { person, scope, used: false });
    upstream.given.push(token);
    return token;
  };

  function isClient(request) {
    const text = Buffer.from((request.headers.authorization ?? "").replace("Basic ", ""), "base64").toString();
    const [id, secret] = text.split(":").map((part) => decodeURIComponent(part.replaceAll("+", " ")));
    return id === CLIENT.id && secret === CLIENT.secret;
  }

  async function exchange(response, form) {
    await upstream.settings.exchange?.();
    const flow = codes.get(form.get("code"));
    codes.delete(form.get("code"));
    const challenge = createHash("sha256")
      .update(form.get("code_verifier") ?? "")
      .digest("base64url");
    if (!flow || flow.challenge !== challenge || flow.redirect !== form.get("redirect_uri"))
      return json(response, 400, { error: "invalid_grant" });
    const offline = upstream.settings.alwaysOffline || words(flow.scope).includes("offline_access") || flow.accessType === "offline";
    json(response, 200, {
      token_type: "Bearer",
      access_token: upstream.newAccessToken(flow.person),
      expires_in: upstream.settings.life,
      scope: flow.scope,
      id_token: await upstream.idToken({ nonce: flow.nonce, ...flow.person }),
      ...(offline && { refresh_token: newRefreshToken(flow.person, flow.scope) }),
    });
  }

  async function refresh(request, response, form) {
    upstream.refreshes.push(Object.fromEntries(form));
    const { settings } = upstream;
    if (settings.delay) await sleep(settings.delay);
    if (settings.refresh?.(request, response, form)) return;
    const presented = form.get("refresh_token");
    const grant = upstream.grants.get(presented);
    if (!grant || grant.used || upstream.revoked.includes(presented)) return json(response, 400, { error: "invalid_grant" });
    const scope = form.get("scope") ?? grant.scope;
    if (!words(scope).every((word) => words(grant.scope).includes(word))) return json(response, 400, { error: "invalid_scope" });
    const answer = { token_type: "Bearer", access_token: upstream.newAccessToken(grant.person), expires_in: settings.life, scope };
    if (settings.rotates) {
      grant.used = true;
      answer.refresh_token = newRefreshToken(grant.person, grant.scope);
    }
    json(response, 200, answer);
  }

  server.on("request", async (request, response) => {
    const { pathname, searchParams: query } = new URL(request.url, url);
    let body = "";
    for await (const chunk of request) body += chunk;
    const form = new URLSearchParams(body);
    const { settings } = upstream;
    if (pathname === "/.well-known/openid-configuration") {
      if (settings.discovery) return settings.discovery(request, response);
      return json(response, 200, {
        issuer: url,
        authorization_endpoint: `${url}/authorize`,
        token_endpoint: `${url}/token`,
        jwks_uri: `${url}/jwks`,
        userinfo_endpoint: `${url}/userinfo`,
        revocation_endpoint: `${url}/revoke`,
        scopes_supported: ["openid", "email", "profile", "offline_access"],
        response_types_supported: ["code"],
        ...settings.metadata,
      });
    }
    if (pathname === "/jwks") return json(response, 200, { keys: [key.jwk] });
    if (pathname === "/authorize") {
      const code = randomUUID();
      codes.set(code, {
        person: JSON.parse(query.get("test_person")),
        nonce: query.get("nonce"),
        challenge: query.get("code_challenge"),
        redirect: query.get("redirect_uri"),
        scope: query.get("test_scope") ?? query.get("scope"),
        accessType: query.get("access_type"),
      });
      const back = new URL(query.get("redirect_uri"));
      back.searchParams.set("code", code);
      back.searchParams.set("state", query.get("state"));
      return response.writeHead(302, { location: back.href }).end();
    }
    if (pathname === "/userinfo") {
      const person = upstream.access.get((request.headers.authorization ?? "").replace("Bearer ", ""));
      return person ? json(response, 200, person) : json(response, 401, { error: "invalid_token" });
    }
    if (pathname === "/token" || pathname === "/revoke") {
      if (!isClient(request)) return json(response, 401, { error: "invalid_client" });
      if (pathname === "/revoke") {
        upstream.revoked.push(form.get("token"));
        return settings.revocation ? settings.revocation(request, response) : response.writeHead(200).end();
      }
      if (form.get("grant_type") === "authorization_code") return exchange(response, form);
      if (form.get("grant_type") === "refresh_token") return refresh(request, response, form);
      return json(response, 400, { error: "unsupported_grant_type" });
    }
    json(response, 404, {});
  });
  return upstream;
}
