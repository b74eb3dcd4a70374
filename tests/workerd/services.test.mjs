// The big services, as their documentation says that they answer: each preset signs in, and concludes what it should.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import http from "node:http";
import { after, before, test } from "node:test";
import { SignJWT, exportJWK, generateKeyPair, importJWK, jwtVerify } from "jose";
import { signUp } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const SERVICES = JSON.parse(readFileSync(new URL("../vectors/services.json", import.meta.url), "utf8"));
const OPEN_ID = ["google", "microsoft", "gitlab", "apple", "linkedin", "oidc"];
const NO_PKCE = ["facebook", "linkedin"];
const TENANT = "common";
const at = (path) => `${AUTH}/api/auth${path}`;
const json = (response, body, status = 200) => response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));

let worker, admin, upstream, clientKey;
before(async () => {
  const { privateKey, publicKey } = await generateKeyPair("ES256", { extractable: true });
  clientKey = { private: { ...(await exportJWK(privateKey)), kid: "the key of the team" }, publicKey };
  upstream = await startService();
  worker = await startWorker();
  admin = await signUp(worker, { roles: ["owner"] });
});
after(async () => {
  await worker?.dispose();
  await upstream?.stop();
});

/** A server that answers as `upstream.plays` says, whichever service that is. */
async function startService() {
  const server = http.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://localhost:${server.address().port}`;
  const { privateKey, publicKey } = await generateKeyPair("RS256", { extractable: true });
  const jwk = { ...(await exportJWK(publicKey)), kid: "k", alg: "RS256", use: "sig" };
  const service = { url, plays: null, asked: null, seen: [], stop: () => new Promise((resolve) => server.close(resolve)) };
  server.on("request", async (request, response) => {
    const { pathname } = new URL(request.url, url);
    let body = "";
    for await (const chunk of request) body += chunk;
    service.seen.push({ path: request.url, headers: request.headers, form: new URLSearchParams(body) });
    const { vector, clientId, issuer, nonce } = service.plays;
    if (pathname.endsWith("/.well-known/openid-configuration")) {
      return json(response, {
        issuer: service.plays.template ?? issuer,
        authorization_endpoint: `${url}/authorize`,
        token_endpoint: `${url}/token`,
        jwks_uri: `${url}/jwks`,
        ...(vector.userinfo && { userinfo_endpoint: `${url}/userinfo` }),
      });
    }
    if (pathname === "/jwks") return json(response, { keys: [jwk] });
    if (pathname === "/userinfo") return json(response, vector.userinfo);
    if (vector.more[pathname]) return json(response, vector.more[pathname]);
    if (pathname !== "/token") return json(response, {}, 404);
    if (service.plays.refuses)
      return json(response, { error: "bad_verification_code", error_description: "The code is incorrect or expired." });
    const claims = { iss: issuer, aud: clientId, ...vector.claims, ...(nonce && { nonce }) };
    const idToken =
      vector.claims &&
      (await new SignJWT(claims).setProtectedHeader({ alg: "RS256", kid: "k" }).setIssuedAt().setExpirationTime("5m").sign(privateKey));
    json(response, { ...vector.token, ...(idToken && { id_token: idToken }) });
  });
  return service;
}

/** Adds the service by its preset, at our own address, and begins a sign-in: the URL that the browser is sent to. */
async function begin(type, browser, body = {}) {
  const vector = SERVICES[type];
  const { baseUrl: _, keyId: __, ...settings } = vector.settings;
  const name = `${type}-${randomUUID().slice(0, 8)}`;
  const base = type === "microsoft" ? `${upstream.url}/${TENANT}/v2.0` : upstream.url;
  const endpoints = OPEN_ID.includes(type)
    ? {}
    : {
        authorization_endpoint: `${upstream.url}/authorize`,
        token_endpoint: `${upstream.url}/token`,
        userinfo_endpoint: `${upstream.url}/userinfo`,
        ...(type === "github" && { emails_endpoint: `${upstream.url}/user/emails` }),
      };
  upstream.plays = {
    vector,
    clientId: "our client",
    issuer: type === "microsoft" ? `${upstream.url}/${vector.claims.tid}/v2.0` : upstream.url,
    template: type === "microsoft" ? `${upstream.url}/{tenantid}/v2.0` : undefined,
  };
  const made = await admin.browser.post(at("/admin/issuers"), {
    name,
    serviceType: type,
    label: "A service",
    baseUrl: base,
    clientId: "our client",
    settings,
    endpoints,
    global: true,
    trustEmail: true,
    ...(type === "apple" ? { clientKey: clientKey.private } : { clientSecret: "our secret" }),
    ...body,
  });
  assert.equal(made.status, 201, made.text);
  const begun = await browser.post(at("/sign-in/social"), { provider: name, callbackURL: "/done", errorCallbackURL: "/failed" });
  assert.equal(begun.status, 200, begun.text);
  const url = new URL(begun.json.url);
  if (type !== "linkedin") upstream.plays.nonce = url.searchParams.get("nonce");
  return { name, url, callback: `${url.searchParams.get("redirect_uri")}?code=c&state=${url.searchParams.get("state")}` };
}

for (const [type, { expected, form, token, claims }] of Object.entries(SERVICES)) {
  test(`${type} signs in, and says who it is`, async () => {
    const browser = worker.browser();
    upstream.seen.length = 0;
    const { name, url, callback } = await begin(type, browser);
    assert.equal(url.searchParams.has("code_challenge"), !NO_PKCE.includes(type));
    let answer;
    if (form.user) {
      assert.equal(url.searchParams.get("response_mode"), "form_post");
      const posted = await browser.submit(
        url.searchParams.get("redirect_uri"),
        { code: "c", state: url.searchParams.get("state"), user: JSON.stringify(form.user) },
        { origin: "https://appleid.apple.com" },
      );
      assert.equal(posted.status, 303, posted.text);
      answer = await browser.get(new URL(posted.location, AUTH).href);
    } else {
      answer = await browser.get(callback);
    }
    assert.equal(answer.location, "/done", worker.logs().slice(-600));
    const { user } = (await browser.get(at("/get-session"))).json;
    assert.deepEqual(
      [user.email, user.emailVerified, user.name, user.image],
      [expected.email, expected.emailVerified, expected.name, expected.picture],
    );
    const [row] = await worker.rows(
      `select a.*, u.first_name as given, u.last_name as family from account a join issuer i on i.id = a.issuer_id
         join user u on u.id = a.user_id where i.name = ?`,
      name,
    );
    assert.deepEqual(
      [row.subject, row.given, row.family, Boolean(row.email_verified)],
      [expected.subject, expected.firstName, expected.lastName, expected.emailVerified],
    );
    assert.equal(row.id_token_sealed === null, claims === null);
    assert.equal(
      (await worker.rows("select 1 from issuer_refresh_token where account_id = ?", row.id)).length,
      token.refresh_token ? 1 : 0,
    );
    const asked = upstream.seen.find(({ path }) => path === "/token");
    assert.equal(asked.form.has("code_verifier"), !NO_PKCE.includes(type));
    assert.equal(asked.headers.accept, "application/json");
    if (type === "nextcloud") assert.equal(upstream.seen.find(({ path }) => path === "/userinfo").headers["ocs-apirequest"], "true");
    await worker.d1.prepare("delete from user where id = ?").bind(user.id).run();
  });
}

test("apple's client secret is a JWT of the team's", async () => {
  upstream.seen.length = 0;
  const browser = worker.browser();
  const { callback } = await begin("apple", browser);
  await browser.get(callback);
  const { form } = upstream.seen.find(({ path }) => path === "/token");
  const key = await importJWK({ ...clientKey.private, d: undefined }, "ES256");
  const { payload, protectedHeader } = await jwtVerify(form.get("client_secret"), key, {
    issuer: "Q7WX4K29ZB",
    subject: "our client",
    audience: upstream.url,
  });
  assert.deepEqual([protectedHeader.alg, protectedHeader.kid], ["ES256", "the key of the team"]);
  assert.ok(payload.exp - payload.iat <= 15_777_000, "Apple takes six months at most");
  assert.equal(form.get("client_id"), "our client");
});

test("what came by form and nobody signed is worth a name, and no address", async () => {
  const browser = worker.browser();
  const { url } = await begin("apple", browser);
  const forged = { email: "victim@example.org", email_verified: true, sub: "another", name: { firstName: "<b>M</b>", lastName: "Allory" } };
  const posted = await browser.submit(
    url.searchParams.get("redirect_uri"),
    { code: "c", state: url.searchParams.get("state"), user: JSON.stringify(forged) },
    { origin: "https://appleid.apple.com" },
  );
  const answer = await browser.get(new URL(posted.location, AUTH).href);
  assert.equal(answer.location, "/done");
  const { user } = (await browser.get(at("/get-session"))).json;
  assert.equal(user.email, SERVICES.apple.expected.email);
});

test("a microsoft token of one tenant does not pass for another's", async () => {
  const browser = worker.browser();
  const { callback } = await begin("microsoft", browser);
  upstream.plays.issuer = `${upstream.url}/${randomUUID()}/v2.0`;
  const answer = await browser.get(callback);
  assert.equal(answer.location, "/failed?error=invalid_id_token");
});

test("github says what is wrong with status 200", async () => {
  const browser = worker.browser();
  const { callback } = await begin("github", browser);
  upstream.plays.refuses = true;
  assert.equal((await browser.get(callback)).location, "/failed?error=invalid_code");
  assert.match(worker.logs(), /bad_verification_code/);
});

test("github without its list of addresses proves none", async () => {
  const browser = worker.browser();
  const { callback } = await begin("github", browser);
  upstream.plays.vector = { ...SERVICES.github, more: {} };
  assert.equal((await browser.get(callback)).location, "/done");
  const { user } = (await browser.get(at("/get-session"))).json;
  assert.equal(user.emailVerified, false);
});
