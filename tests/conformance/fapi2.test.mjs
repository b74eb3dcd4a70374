// The modules of OpenID's FAPI 2.0 Security Profile plan (private_key_jwt, DPoP, plain FAPI, OpenID), each under its own name. What
// TLS is made of is Cloudflare's, and no module here.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as jose from "jose";
import { CALLBACK, answered, digest, fapiClient, now, onOurPage, random, refused, startPlan } from "../harness/conformance.mjs";
import { clientKey } from "../harness/relying-party.mjs";
import { PAGE } from "../harness/seed.mjs";
import { AUTH } from "../harness/worker.mjs";

const PREFIX = "fapi2-security-profile-final";
let plan, rp, second, asks;
before(async () => {
  plan = await startPlan({ SESSION_COOKIE_CACHE_SECONDS: "0" });
  rp = await fapiClient(plan);
  second = await fapiClient(plan);
  asks = await fapiClient(plan, { skip_consent: false });
  for (const one of [rp, second, asks]) await one.nonce();
});
after(() => plan?.dispose());
const module = (name, body) => test(`${PREFIX}-${name}`, body);
const ok = (answer, status = 200) => (assert.equal(answer.status, status, answer.text), answer.json);

module("discovery-end-point-verification", async () => {
  const document = (await plan.worker.browser().get(`${AUTH}/.well-known/openid-configuration`)).json;
  assert.equal(document.authorization_response_iss_parameter_supported, true);
  assert.ok(document.token_endpoint_auth_methods_supported.includes("private_key_jwt") && document.dpop_signing_alg_values_supported.includes("ES256"));
  assert.deepEqual(document.code_challenge_methods_supported, ["S256"]);
  assert.equal(document.pushed_authorization_request_endpoint, `${AUTH}/oauth2/par`);
});
module("happy-flow", async () => {
  const entered = await rp.enter();
  assert.equal(entered.back.iss, AUTH);
  assert.equal(entered.token_type, "DPoP");
  assert.equal((await rp.userinfo(entered.access_token)).json.sub, plan.who.id);
  const { protectedHeader } = await jose.jwtVerify(entered.id_token, await plan.keys(), { issuer: AUTH, audience: rp.client.client_id });
  assert.equal(protectedHeader.alg, "ES256");
});
module("user-rejects-authentication", async () => {
  const pushed = ok(await asks.push(), 201);
  const page = await plan.who.browser.get(new URL((await asks.visit(pushed.request_uri)).location, AUTH).href, { headers: PAGE });
  const fields = Object.fromEntries([...page.text.matchAll(/name="(client_id|request_uri)" value="([^"]+)"/g)].map(([, name, value]) => [name, value]));
  const back = answered(await plan.who.browser.submit(`${AUTH}/consent`, { ...fields, decision: "deny" }));
  assert.deepEqual([back.error, back.iss], ["access_denied", AUTH]);
  onOurPage(await asks.visit(pushed.request_uri), /request_uri/);
});
module("ensure-authorization-request-without-state-succeeds", async () => assert.equal((await rp.enter({ state: undefined })).back.state, undefined));
module("ensure-authorization-request-without-nonce-succeeds", async () => assert.equal(jose.decodeJwt((await rp.enter({ nonce: undefined })).id_token).nonce, undefined));
module("ensure-authorization-request-with-64-char-nonce-success", async () => {
  const nonce = "n".repeat(64);
  assert.equal(jose.decodeJwt((await rp.enter({ nonce })).id_token).nonce, nonce);
});
module("ensure-authorization-request-with-long-nonce", async () => {
  const nonce = "n".repeat(384);
  assert.equal(jose.decodeJwt((await rp.enter({ nonce })).id_token).nonce, nonce);
});
module("ensure-authorization-request-with-long-state", async () => {
  const state = "s".repeat(4096);
  assert.equal((await rp.code({ state })).state, state);
});
module("ensure-other-scope-order-succeeds", async () => assert.equal((await rp.enter({ scope: "email openid" })).scope, "email openid"));
module("access-token-type-header-case-sensitivity", async () => {
  const { access_token } = await rp.enter();
  for (const scheme of ["dpop", "DPOP", "DPoP"]) assert.equal((await rp.userinfo(access_token, { scheme })).status, 200, scheme);
});
module("ensure-dpop-proof-with-iat-10seconds-before-succeeds", async () => {
  const { access_token } = await rp.enter();
  assert.equal((await rp.userinfo(access_token, { proof: { claims: { iat: now() - 10 } } })).status, 200);
});
module("ensure-dpop-proof-with-iat-10seconds-after-succeeds", async () => {
  const { access_token } = await rp.enter();
  assert.equal((await rp.userinfo(access_token, { proof: { claims: { iat: now() + 10 } } })).status, 200);
});
module("ensure-dpop-auth-code-binding-success", async () => {
  const jkt = await jose.calculateJwkThumbprint(rp.holder.jwk);
  assert.ok((await rp.enter({ dpop_jkt: jkt })).access_token);
});
module("ensure-mismatched-dpop-jkt-fails", async () => {
  const back = await rp.code({ dpop_jkt: await jose.calculateJwkThumbprint(second.holder.jwk) });
  refused(await rp.redeem(back.code), "invalid_grant");
});
module("ensure-mismatched-dpop-proof-at-par-fails", async () => {
  const headers = { dpop: await rp.proof({ url: `${AUTH}/oauth2/par` }) };
  refused(await rp.push({ dpop_jkt: await jose.calculateJwkThumbprint(second.holder.jwk) }, {}, headers), "invalid_dpop_proof");
});
module("dpop-negative-tests", async () => {
  const { access_token } = await rp.enter();
  const other = await clientKey("ES256");
  for (const [label, proof] of [["of another key", { by: other }], ["for another method", { method: "POST" }], ["for another place", { url: `${AUTH}/oauth2/token` }], ["of another token", { access: "x" }], ["of long ago", { claims: { iat: now() - 3600 } }], ["without jti", { claims: { jti: undefined } }]]) {
    assert.equal((await rp.userinfo(access_token, { proof })).status, 401, label);
  }
  assert.equal((await rp.userinfo(access_token, { scheme: "Bearer" })).status, 401, "as a bearer token");
  // FAPI 2.0 Security Profile, section 5.4.1: neither PKCS#1 v1.5 signatures of proofs.
  for (const [alg, status] of [["RS256", 400], ["PS256", 200]]) {
    const { code } = await rp.code();
    const got = await rp.redeem(code, {}, { proof: { by: await clientKey(alg) } });
    assert.deepEqual([got.status, got.json.error], [status, status === 400 ? "invalid_dpop_proof" : undefined], alg);
  }
});
module("ensure-token-endpoint-fails-without-dpop-proof", async () => {
  const { code } = await rp.code();
  refused(await rp.redeem(code, {}, { headers: { dpop: undefined } }), "invalid_dpop_proof");
});
module("ensure-holder-of-key-required", async () => {
  const { access_token } = await rp.enter();
  assert.equal((await rp.userinfo(access_token, { proof: { by: second.holder } })).status, 401);
});
module("ensure-request-object-outside-parameters-are-ignored: state", async () => {
  const pushed = ok(await rp.push({ state: "inside" }), 201);
  assert.equal(answered(await rp.visit(pushed.request_uri, { state: "outside" })).state, "inside");
});
module("ensure-request-object-outside-parameters-are-ignored: nonce", async () => {
  const pushed = ok(await rp.push({ nonce: "inside" }), 201);
  const { code } = answered(await rp.visit(pushed.request_uri, { nonce: "outside" }));
  assert.equal(jose.decodeJwt(ok(await rp.redeem(code)).id_token).nonce, "inside");
});
module("par-ensure-request-without-redirect-uri-fails", async () => refused(await rp.push({ redirect_uri: undefined }), "invalid_request"));
module("par-without-openid-and-redirect-uri-fails", async () => refused(await rp.push({ redirect_uri: undefined, scope: "email" }), "invalid_request"));
module("ensure-different-redirect-uri-fails", async () => refused(await rp.push({ redirect_uri: `${CALLBACK}/other` }), "invalid_request"));
module("ensure-authorization-request-without-par-fails", async () => onOurPage(await plan.who.browser.get(plan.url(rp.client, rp.request()), { headers: PAGE }), /pushes its requests/));
module("ensure-response-type-token-fails", async () => refused(await rp.push({ response_type: "token" }), "unsupported_response_type"));
module("ensure-response-type-code-idtoken-fails", async () => refused(await rp.push({ response_type: "code id_token" }), "unsupported_response_type"));
module("ensure-client-id-in-token-endpoint", async () => {
  const { code } = await rp.code();
  refused(await rp.redeem(code, { client_id: second.client.client_id }), "invalid_client", 401);
});
module("ensure-client-assertion-in-token-endpoint", async () => {
  const { code } = await rp.code();
  refused(await rp.redeem(code, { client_assertion: undefined, client_assertion_type: undefined }), "invalid_client", 401);
});
module("ensure-client-assertion-with-exp-is-5-minutes-in-past-fails", async () => {
  const { code } = await rp.code();
  refused(await rp.redeem(code, {}, { claims: { exp: now() - 300 } }), "invalid_client", 401);
});
module("ensure-client-assertion-with-wrong-aud-fails", async () => {
  const { code } = await rp.code();
  refused(await rp.redeem(code, {}, { claims: { aud: "https://elsewhere.example" } }), "invalid_client", 401);
});
module("ensure-client-assertion-with-no-sub-fails", async () => {
  const { code } = await rp.code();
  refused(await rp.redeem(code, {}, { claims: { sub: undefined } }), "invalid_client", 401);
});
module("ensure-signed-client-assertion-with-rs256-fails", async () => {
  const key = await clientKey("RS256");
  const client = await fapiClient(plan, { jwks: { keys: [key.jwk] } });
  const claims = await client.authenticated({ grant_type: "refresh_token", refresh_token: "x" }, {}, { key: key.key, header: { alg: "RS256", kid: key.kid } });
  refused(await plan.post("/oauth2/token", claims), "invalid_client", 401);
});
module("client-assertion-reuse-fails", async () => {
  const assertion = await rp.authenticated(rp.request());
  ok(await plan.post("/oauth2/par", assertion), 201);
  refused(await plan.post("/oauth2/par", assertion), "invalid_client", 401);
});
module("ensure-authorization-code-is-bound-to-client", async () => {
  const { code } = await rp.code();
  refused(await second.redeem(code, { code_verifier: rp.verifier }), "invalid_grant");
});
module("attempt-reuse-authorization-code-after-one-second", async () => {
  const { back, access_token } = await rp.enter();
  refused(await rp.redeem(back.code), "invalid_grant");
  assert.equal((await rp.userinfo(access_token)).status, 401);
});
module("ensure-expired-authorization-code-fails", async () => {
  const { code } = await rp.code();
  await plan.worker.d1.prepare("update oauth_grant set expires_at = 1 where token_hash = ?").bind(digest(code)).run();
  refused(await rp.redeem(code), "invalid_grant");
});
module("par-attempt-reuse-request_uri", async () => {
  const pushed = ok(await rp.push(), 201);
  assert.ok(answered(await rp.visit(pushed.request_uri)).code);
  onOurPage(await rp.visit(pushed.request_uri), /request_uri/);
});
module("par-ensure-reused-request-uri-prior-to-auth-completion-succeeds", async () => {
  const pushed = ok(await asks.push(), 201);
  const visitor = plan.worker.browser();
  for (let time = 0; time < 3; time += 1) assert.match((await asks.visit(pushed.request_uri, { browser: visitor })).location, /^\/login/);
  // Somebody signs in by one of them and agrees; neither the other copies nor the pushed request are good any more.
  const page = await plan.who.browser.get(new URL((await asks.visit(pushed.request_uri)).location, AUTH).href, { headers: PAGE });
  const other = (await asks.visit(pushed.request_uri)).location;
  const fields = Object.fromEntries([...page.text.matchAll(/name="(client_id|request_uri)" value="([^"]+)"/g)].map(([, name, value]) => [name, value]));
  assert.ok(answered(await plan.who.browser.submit(`${AUTH}/consent`, { ...fields, decision: "allow" })).code);
  onOurPage(await asks.visit(pushed.request_uri), /request_uri/);
  onOurPage(await plan.who.browser.get(new URL(other, AUTH).href, { headers: PAGE }), /request_uri/);
});
module("par-attempt-to-use-expired-request_uri", async () => {
  const pushed = ok(await rp.push(), 201);
  assert.ok(pushed.expires_in > 5 && pushed.expires_in < 600);
  await plan.worker.d1.prepare("update oauth_grant set expires_at = 1 where kind = 'request' and token_hash = ?").bind(digest(pushed.request_uri.split(":").at(-1))).run();
  onOurPage(await rp.visit(pushed.request_uri), /request_uri/);
});
module("par-attempt-to-use-request_uri-for-different-client", async () => {
  const pushed = ok(await rp.push(), 201);
  onOurPage(await second.visit(pushed.request_uri), /request_uri/);
});
module("par-authorization-request-containing-request_uri", async () => refused(await rp.push({ request_uri: "urn:ietf:params:oauth:request_uri:x" }), "invalid_request"));
module("par-endpoint-incorrect-http-verb", async () => {
  const answer = await plan.worker.browser().get(`${AUTH}/oauth2/par`);
  assert.deepEqual([answer.status, answer.headers.allow], [405, "POST"]);
});
module("par-pkce-happy-path", async () => assert.ok((await rp.enter()).access_token));
module("par-pushed-without-code-challenge-fails", async () => refused(await rp.push({ code_challenge: undefined, code_challenge_method: undefined }), "invalid_request"));
module("par-plain-pkce-rejected", async () => refused(await rp.push({ code_challenge_method: "plain" }), "invalid_request"));
module("par-incorrect-pkce-code-verifier-rejected", async () => {
  const { code } = await rp.code();
  refused(await rp.redeem(code, { code_verifier: random() }), "invalid_grant");
});
module("par-token-request-without-code-verifier-fails", async () => {
  const { code } = await rp.code();
  refused(await rp.redeem(code, { code_verifier: undefined }), "invalid_grant");
});
module("par-test-array-as-audience-for-client-assertion-fails", async () => refused(await rp.push({}, { aud: [AUTH] }), "invalid_client", 401));
module("par-test-par-endpoint-url-as-audience-for-client-assertion-fails", async () => refused(await rp.push({}, { aud: `${AUTH}/oauth2/par` }), "invalid_client", 401));
module("par-test-token-endpoint-url-as-audience-for-client-assertion-fails", async () => refused(await rp.push({}, { aud: `${AUTH}/oauth2/token` }), "invalid_client", 401));
module("par-ensure-duplicate-parameters-fail", async () => refused(await rp.push({ state: ["a", "b"] }), "invalid_request"));
module("ensure-client-assertion-nbf-10-seconds-in-the-future-succeeds", async () => ok(await rp.push({}, { nbf: now() + 10 }), 201));
module("ensure-client-assertion-nbf-60-seconds-in-the-future-fails", async () => refused(await rp.push({}, { nbf: now() + 60 }), "invalid_client", 401));
module("claims-parameter-identity-claims", async () => {
  const claims = JSON.stringify({ id_token: { email: { essential: true } } });
  assert.equal(jose.decodeJwt((await rp.enter({ claims })).id_token).email, plan.who.email);
});
module("tolerate-unregistered-parameters", async () => assert.ok((await rp.enter({ unregistered: "x" })).access_token));
module("refresh-token", async () => {
  const entered = await rp.enter({ scope: "openid offline_access" });
  const again = (more) => rp.token({ grant_type: "refresh_token", refresh_token: entered.refresh_token }, more);
  const first = ok(await again());
  assert.equal(first.refresh_token, undefined, "it stays the same");
  assert.equal(jose.decodeJwt(first.id_token).sub, plan.who.id);
  // Half a minute and a lost answer later, and with another key of a client that authenticates.
  await plan.worker.d1.prepare("update oauth_token set created_at = created_at - 30000, updated_at = updated_at - 30000 where token_hash = ?").bind(digest(entered.refresh_token)).run();
  const later = ok(await again());
  assert.equal((await rp.userinfo(later.access_token)).status, 200);
  ok(await again({ proof: { by: second.holder } }));
  refused(await second.token({ grant_type: "refresh_token", refresh_token: entered.refresh_token }), "invalid_grant");
  const [{ expires_at: until }] = await plan.worker.rows("select expires_at from oauth_token where token_hash = ?", digest(entered.refresh_token));
  assert.ok(until > Date.now() + 29 * 86_400_000, "each use prolongs it");
});
