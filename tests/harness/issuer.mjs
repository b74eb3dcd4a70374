// An OpenID Provider that misbehaves on request. It signs with `jose`, and signs in whoever asks.

import { createHash, randomUUID } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import { SignJWT, exportJWK, generateKeyPair } from "jose";
import { CLIENT } from "../../examples/provider/server.mjs";
import { seal } from "../../scripts/keyring.mjs";
import { SETTINGS } from "./worker.mjs";

const json = (response, status, body) => response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));

export async function startIssuer() {
  const server = http.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://localhost:${server.address().port}`;
  const newKey = async (alg = "RS256", kid = randomUUID()) => {
    const pair = await generateKeyPair(alg, { extractable: true });
    return { alg, kid, ...pair, jwk: { ...(await exportJWK(pair.publicKey)), kid, alg, use: "sig" } };
  };
  const issuer = {
    url,
    key: await newKey(),
    newKey,
    /** What goes wrong; a test sets what it wants and calls `behave` before the next. */
    faults: {},
    person: { sub: "s1", email: "person@example.org", email_verified: true, name: "Person" },
    requests: [],
    behave() {
      issuer.faults = {};
      issuer.requests.length = 0;
    },
    stop: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(resolve);
      }),
  };
  const flows = new Map();

  async function token(request, response, form) {
    const { faults } = issuer;
    if (faults.token) return faults.token(request, response);
    const [id, secret] = Buffer.from((request.headers.authorization ?? "").replace("Basic ", ""), "base64")
      .toString()
      .split(":")
      .map((part) => decodeURIComponent(part.replaceAll("+", " ")));
    const flow = flows.get(form.get("code"));
    flows.delete(form.get("code"));
    const challenge = createHash("sha256")
      .update(form.get("code_verifier") ?? "")
      .digest("base64url");
    const good =
      id === CLIENT.id && secret === CLIENT.secret && flow?.challenge === challenge && flow.redirect === form.get("redirect_uri");
    if (!good) return json(response, 400, { error: "invalid_grant" });
    const now = Math.floor(Date.now() / 1000);
    const claims = { iss: url, aud: CLIENT.id, nonce: flow.nonce, iat: now, exp: now + 300, ...issuer.person, ...faults.claims };
    for (const name of Object.keys(claims)) if (claims[name] === undefined) delete claims[name];
    const { alg, kid, privateKey } = faults.signWith ?? issuer.key;
    const idToken = (await faults.idToken?.(claims)) ?? (await new SignJWT(claims).setProtectedHeader({ alg, kid }).sign(privateKey));
    json(response, 200, {
      token_type: "Bearer",
      access_token: "an access token",
      refresh_token: "a refresh token",
      expires_in: 3600,
      scope: "openid email",
      id_token: idToken,
      ...faults.answer,
    });
  }

  server.on("request", async (request, response) => {
    const { pathname, searchParams: query } = new URL(request.url, url);
    let body = "";
    for await (const chunk of request) body += chunk;
    issuer.requests.push({ path: pathname, headers: request.headers, body });
    const { faults } = issuer;
    if (pathname === "/.well-known/openid-configuration") {
      if (faults.discovery) return faults.discovery(request, response);
      return json(response, 200, {
        issuer: url,
        authorization_endpoint: `${url}/authorize`,
        token_endpoint: `${url}/token`,
        jwks_uri: `${url}/jwks`,
        userinfo_endpoint: `${url}/userinfo`,
        scopes_supported: ["openid", "email", "profile"],
        response_types_supported: ["code"],
        ...faults.metadata,
      });
    }
    // Below it too: key sets are kept by their URL, and a test may want one that nobody has asked for.
    if (pathname.startsWith("/jwks")) return faults.jwks ? faults.jwks(request, response) : json(response, 200, { keys: [issuer.key.jwk] });
    if (pathname === "/userinfo" && faults.userinfoAnswer) return faults.userinfoAnswer(request, response);
    if (pathname === "/userinfo") return json(response, faults.userinfoStatus ?? 200, { ...issuer.person, ...faults.userinfo });
    if (pathname === "/token") return token(request, response, new URLSearchParams(body));
    if (pathname === "/authorize") {
      const code = randomUUID();
      flows.set(code, { nonce: query.get("nonce"), challenge: query.get("code_challenge"), redirect: query.get("redirect_uri") });
      const back = new URL(query.get("redirect_uri"));
      for (const [name, value] of Object.entries({ code, state: query.get("state"), ...faults.callback }))
        if (value !== undefined) back.searchParams.set(name, value);
      return response.writeHead(302, { location: back.href }).end();
    }
    json(response, 404, {});
  });
  return issuer;
}

/** Writes an issuer into D1; `columns` replace the defaults. */
export async function addIssuer(d1, baseUrl, columns = {}) {
  const id = randomUUID();
  const row = {
    id,
    name: "acme",
    login_page_name: "Acme",
    base_url: baseUrl,
    client_id: CLIENT.id,
    client_secret_sealed: seal(SETTINGS.SECRETS, { table: "issuer", column: "client_secret_sealed", row: id }, CLIENT.secret),
    trust_email: 1,
    created_at: Date.now(),
    updated_at: Date.now(),
    ...columns,
  };
  const names = Object.keys(row);
  await d1
    .prepare(`insert into issuer (${names}) values (${names.map(() => "?")})`)
    .bind(...Object.values(row))
    .run();
  return id;
}
