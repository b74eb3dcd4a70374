// Odd answers of providers that run in the world, and how a sign-in by each ends.

import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import { after, before, beforeEach, test } from "node:test";
import { SignJWT } from "jose";
import { uniqueEmail } from "../harness/browser.mjs";
import { addIssuer, startIssuer } from "../harness/issuer.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

let worker, issuer;
before(async () => {
  issuer = await startIssuer();
  worker = await startWorker({ settings: { UPSTREAM_TIMEOUT_SECONDS: "1" } });
  await addIssuer(worker.d1, issuer.url, { settings: JSON.stringify({ audiences: ["native"] }) });
});
after(async () => {
  await worker?.dispose();
  await issuer?.stop();
});
beforeEach(() => {
  issuer.behave();
  issuer.person = { sub: randomUUID(), email: uniqueEmail(), email_verified: true, name: "Person" };
});

async function begin(browser, provider = "acme") {
  const answer = await browser.post(`${AUTH}/api/auth/sign-in/social`, { provider, callbackURL: "/done" });
  assert.equal(answer.status, 200, answer.text);
  return new URL(answer.json.url);
}

/** Signs in. Answers the error of the page, or who it is. */
async function signIn(provider) {
  const browser = worker.browser();
  const url = await begin(browser, provider);
  const there = await fetch(url, { redirect: "manual" });
  const back = await browser.get(there.headers.get("location"));
  const error = new URL(back.location, AUTH).searchParams.get("error");
  const user = (await browser.get(`${AUTH}/api/auth/get-session?disableCookieCache=true`)).json?.user;
  assert.equal(Boolean(user), error === null, `${back.location} ${worker.logs().slice(-400)}`);
  return error ?? user;
}

const write =
  (status, body, type = "application/json") =>
  (_request, response) =>
    response.writeHead(status, { "content-type": type }).end(body);
const jwt = (claims, key = issuer.key) => new SignJWT(claims).setProtectedHeader({ alg: key.alg, kid: key.kid }).sign(key.privateKey);

const TOKEN_ANSWERS = [
  ["scope as a list", { scope: ["openid", "email"] }],
  ["scope that is null", { scope: null }],
  ["scope of another type", { scope: { openid: true } }],
  ["no access token beside the ID token", { access_token: undefined }],
  ["no access token, and no type of one", { access_token: undefined, token_type: undefined, expires_in: undefined }],
  ["an access token that is null", { access_token: null }],
  ["both names of the refresh token's life", { refresh_expires_in: 60, refresh_token_expires_in: 90 }],
  ["a refresh token that is null", { refresh_token: null }],
  ["a refresh token that is a number", { refresh_token: 7 }],
  ["a token type that is null", { token_type: null }],
  ["a token type in another case", { token_type: "bEaReR" }],
  ["lives as text", { expires_in: "3600", refresh_expires_in: "0" }],
  ["an error that is null", { error: null }],
  ["members that nobody knows", { ext_expires_in: 3600, "not-before-policy": 0, user: { id: 1 }, scope: "" }],
];
for (const [name, answer] of TOKEN_ANSWERS) {
  test(`token response: ${name}`, async () => {
    issuer.faults.answer = answer;
    const user = await signIn();
    assert.equal(user.email, issuer.person.email);
    assert.equal((await signIn()).id, user.id, "and a second time");
  });
}

for (const [name, answer, error] of [
  ["neither token", { access_token: undefined, id_token: undefined }, "invalid_code"],
  ["no access token, and an ID token that is no text", { access_token: undefined, id_token: 7 }, "invalid_code"],
  ["an access token of another type", { token_type: "mac" }, "invalid_code"],
  ["an error", { error: "server_error" }, "invalid_code"],
  ["no ID token", { id_token: undefined }, "invalid_id_token"],
]) {
  test(`token response: ${name} signs nobody in`, async () => {
    issuer.faults.answer = answer;
    assert.equal(await signIn(), error);
  });
}

test("token responses as a form are read, and errors in one", async () => {
  const browser = worker.browser();
  const url = await begin(browser);
  const nonce = url.searchParams.get("nonce");
  const there = await fetch(url, { redirect: "manual" });
  const now = Math.floor(Date.now() / 1000);
  const idToken = await jwt({ iss: issuer.url, aud: "doorward", nonce, iat: now, exp: now + 300, ...issuer.person });
  const form = new URLSearchParams({
    access_token: "a b",
    token_type: "bearer",
    scope: "openid,email",
    id_token: idToken,
    expires_in: "60",
  });
  issuer.faults.token = write(200, form.toString(), "application/x-www-form-urlencoded");
  assert.equal((await browser.get(there.headers.get("location"))).location, "/done");
  issuer.faults.token = write(200, "error=bad_verification_code&error_description=x", "text/plain");
  assert.equal(await signIn(), "invalid_code");
});

const USERINFO_ANSWERS = [
  ["status 403", () => ({ userinfoStatus: 403 })],
  ["status 404", () => ({ userinfoStatus: 404 })],
  ["status 500", () => ({ userinfoStatus: 500 })],
  ["status 204", () => ({ userinfoAnswer: (_request, response) => response.writeHead(204).end() })],
  ["no JSON", () => ({ userinfoAnswer: write(200, "<html>", "text/html") })],
  ["an encrypted JWT", () => ({ userinfoAnswer: write(200, "a.b.c.d.e", "application/jwt") })],
  ["a JWT that nobody signed", () => ({ userinfoAnswer: write(200, "e30.e30.AA", "application/jwt") })],
  ["no sub", () => ({ userinfo: { sub: undefined, name: "Mallory", email: "mallory@example.org" } })],
  ["another sub", () => ({ userinfo: { sub: "another", name: "Mallory", email: "mallory@example.org" } })],
  ["a sub that is a number", () => ({ userinfo: { sub: 7, name: "Mallory", email: "mallory@example.org" } })],
];
for (const [name, faults] of USERINFO_ANSWERS) {
  test(`userinfo with ${name} is passed over where the ID token says enough`, async () => {
    issuer.faults = faults();
    const user = await signIn();
    assert.deepEqual([user.email, user.name], [issuer.person.email, "Person"]);
    assert.match(worker.logs().slice(-2000), /userinfo of issuer .* is passed over/);
  });

  test(`userinfo with ${name} is fatal where the ID token has no address`, async () => {
    issuer.faults = { ...faults(), claims: { email: undefined, email_verified: undefined } };
    assert.equal(await signIn(), "unable_to_get_user_info");
  });
}

test("a signed userinfo answer is believed by the issuer's keys, and only about this user and us", async () => {
  const { sub } = issuer.person;
  const minimal = { email: undefined, email_verified: undefined, name: undefined };
  const said = { sub, name: "Signed", email: issuer.person.email, email_verified: true };
  const answering = async (claims, key) => {
    issuer.faults = { claims: minimal, userinfoAnswer: write(200, await jwt(claims, key), "application/jwt") };
    return signIn();
  };
  const user = await answering({ ...said, iss: issuer.url, aud: "doorward" });
  assert.deepEqual([user.name, user.email, user.emailVerified], ["Signed", issuer.person.email, true]);
  assert.equal((await answering(said)).id, user.id, "iss and aud need not be there");
  const forged = { ...(await issuer.newKey()), kid: issuer.key.kid };
  for (const [name, claims, key] of [
    ["of another user", { ...said, sub: "another" }],
    ["for another client", { ...said, aud: "another" }],
    ["of another issuer", { ...said, iss: "https://evil.example" }],
    ["of another key", said, forged],
  ])
    assert.equal(await answering(claims, key), "unable_to_get_user_info", name);
});

test("addresses that a provider has proven are judged by the standards, not by the rule for typed ones", async () => {
  const unique = () => randomUUID().slice(0, 8);
  for (const [said, kept] of [
    ["ivan@xn--e1afmkfd.xn--p1ai"],
    ["ivan2@пример.рф", "ivan2@xn--e1afmkfd.xn--p1ai"],
    ["anna@bücher.example", "anna@xn--bcher-kva.example"],
    [`a&b-${unique()}@example.com`],
    [`a/b-${unique()}@example.com`],
    [`a=b-${unique()}@example.com`],
    [`a!b-${unique()}@example.com`],
    [`O'Brien-${unique()}@Example.com`],
  ]) {
    issuer.person = { sub: randomUUID(), email: said, email_verified: true, name: "P" };
    const user = await signIn();
    assert.deepEqual([user.email, user.emailVerified], [(kept ?? said).toLowerCase(), true], said);
  }
  for (const bad of [
    "not an address",
    "a@b",
    "a b@example.com",
    "a@example.com\r\nBcc: b@example.com",
    "<a@example.com>",
    "a@@example.com",
    "a@-example.com",
  ]) {
    issuer.person = { sub: randomUUID(), email: bad, email_verified: true, name: "P" };
    assert.equal(await signIn(), "email_not_found", bad);
  }
  const page = await worker.browser().get(`${AUTH}/api/auth/error?error=email_not_found`);
  assert.match(page.text, /told us no e-mail address that we can use/);
});

test("somebody of whom the provider tells no address signs in where they are linked already, and nowhere else", async () => {
  const { id } = await signIn();
  issuer.person = { ...issuer.person, email: undefined, email_verified: undefined };
  assert.equal((await signIn()).id, id);
  issuer.person = { ...issuer.person, sub: randomUUID() };
  assert.equal(await signIn(), "email_not_found");
});

for (const [name, claims, error = null] of [
  ["azp that is null", { azp: null }],
  ["azp that is empty", { azp: "" }],
  ["at_hash that is null", { at_hash: null }],
  ["a further audience that is trusted", { aud: ["doorward", "native"] }],
  ["a further audience that is trusted, and azp of it", { aud: ["doorward", "native"], azp: "native" }],
  ["a further audience, and azp of ours", { aud: ["doorward", "another"], azp: "doorward" }],
  ["a further audience that is not trusted", { aud: ["doorward", "native", "another"] }, "invalid_id_token"],
  ["a further audience that is not trusted, and azp that is null", { aud: ["doorward", "another"], azp: null }, "invalid_id_token"],
  ["azp of somebody else", { azp: "another" }, "invalid_id_token"],
  ["a nonce that is null", { nonce: null }, "invalid_id_token"],
]) {
  test(`ID token with ${name}`, async () => {
    issuer.faults.claims = claims;
    const answer = await signIn();
    assert.equal(typeof answer === "string" ? answer : null, error);
  });
}

for (const alg of ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"]) {
  test(`ID tokens signed by ${alg}: the issuer's key alone, and at_hash by its own digest`, async () => {
    issuer.key = await issuer.newKey(alg);
    // A key set of its own: a set in which a key was just missed is not fetched again at once.
    issuer.faults.metadata = { jwks_uri: `${issuer.url}/jwks/${alg}` };
    await addIssuer(worker.d1, issuer.url, { name: alg.toLowerCase() });
    const by = () => signIn(alg.toLowerCase());
    const size = Number(alg.slice(2));
    const half = createHash(`sha${size}`)
      .update("an access token")
      .digest()
      .subarray(0, size / 16)
      .toString("base64url");
    issuer.faults.claims = { at_hash: half };
    assert.equal((await by()).email, issuer.person.email);
    issuer.faults.claims = { at_hash: createHash("sha1").update("an access token").digest().toString("base64url") };
    assert.equal(await by(), "invalid_id_token");
    const forged = { ...(await issuer.newKey(alg)), kid: issuer.key.kid };
    issuer.faults = { signWith: forged };
    assert.equal(await by(), "invalid_id_token", "another key by the same name");
    issuer.faults = { signWith: await issuer.newKey(alg) };
    assert.equal(await by(), "invalid_id_token", "a key that is not published");
    issuer.faults = { idToken: async (claims) => (await jwt(claims)).slice(0, -4) };
    assert.equal(await by(), "invalid_id_token", "a signature that is cut off");
    issuer.faults = { claims: { exp: Math.floor(Date.now() / 1000) - 120 } };
    assert.equal(await by(), "invalid_id_token", "an expired one");
  });
}

test("a provider that refuses PKCE gets none, by a setting of the issuer", async () => {
  const name = "without-pkce";
  await addIssuer(worker.d1, issuer.url, { name, settings: JSON.stringify({ pkce: false }) });
  const browser = worker.browser();
  const url = await begin(browser, name);
  assert.deepEqual([url.searchParams.get("code_challenge"), url.searchParams.get("code_challenge_method")], [null, null]);
  assert.ok(url.searchParams.get("nonce") && url.searchParams.get("state"));
  const there = await fetch(url, { redirect: "manual" });
  issuer.requests.length = 0;
  await browser.get(there.headers.get("location"));
  const asked = issuer.requests.find(({ path }) => path === "/token");
  assert.equal(new URLSearchParams(asked.body).get("code_verifier"), null);
  assert.ok((await begin(worker.browser())).searchParams.get("code_challenge"), "others get it as before");
});
