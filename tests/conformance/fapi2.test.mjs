// The modules of OpenID's FAPI 2.0 Security Profile plan for plain_fapi, private_key_jwt, dpop, openid_connect, unsigned requests and
// plain responses, each under its own name. What TLS is made of is Cloudflare's, and is not tested here.

import assert from "node:assert/strict";
import { setTimeout as wait } from "node:timers/promises";
import { after, before, test } from "node:test";
import * as jose from "jose";
import {
  CALLBACK,
  FAPI_ALGORITHMS,
  answered,
  digest,
  fapiClient,
  modulesOf,
  now,
  onOurPage,
  random,
  refused,
  refusedBack,
  startPlan,
  throughPages,
} from "../harness/conformance.mjs";
import { agree, clientKey } from "../harness/relying-party.mjs";
import { PAGE } from "../harness/seed.mjs";
import { AUTH } from "../harness/worker.mjs";

const PREFIX = "fapi2-security-profile-final";
const DUMMY = "?dummy1=lorem&dummy2=ipsum";
const PAR = `${AUTH}/oauth2/par`;
const OFFLINE = "openid offline_access";
let plan, rp, second, asks, asksToo;
before(async () => {
  plan = await startPlan({ SESSION_COOKIE_CACHE_SECONDS: "0" });
  rp = await fapiClient(plan);
  second = await fapiClient(plan, { suffix: DUMMY });
  asks = await fapiClient(plan, { skip_consent: false });
  asksToo = await fapiClient(plan, { skip_consent: false, suffix: DUMMY });
  for (const one of [rp, second, asks, asksToo]) await one.nonce();
});
after(() => plan?.dispose());
const { module: named, complete } = modulesOf("fapi2-security-profile-final-test-plan");
const module = (name, body) => named(`${PREFIX}-${name}`, body);
const ok = (answer, status = 200) => (assert.equal(answer.status, status, answer.text), answer.json);
const thumbprint = ({ jwk }) => jose.calculateJwkThumbprint(jwk);
/** Ways through the consent page. */
const through = (options) => async (url) => ({ location: (await agree(plan.who.browser, url, { who: plan.who, ...options })).href });
/** An answer that refuses a token at a resource. */
const closed = (answer, label) => assert.ok([400, 401].includes(answer.status), `${label}: ${answer.status} ${answer.text}`);
/** What a proof without its key, or of another key, is answered at the token endpoint. */
function unproven(answer) {
  assert.ok(["invalid_request", "invalid_grant", "invalid_dpop_proof"].includes(answer.json.error), answer.text);
  refused(answer, answer.json.error);
}

module("discovery-end-point-verification", async () => {
  const { status, headers, json } = await plan.worker.browser().get(`${AUTH}/.well-known/openid-configuration`);
  assert.deepEqual([status, headers["content-type"], json.issuer], [200, "application/json", AUTH]);
  assert.equal(json.authorization_response_iss_parameter_supported, true);
  for (const name of ["authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri", "pushed_authorization_request_endpoint"])
    assert.ok(json[name].startsWith(`${AUTH}/`), name);
  for (const [name, value] of [
    ["response_types_supported", "code"],
    ["token_endpoint_auth_methods_supported", "private_key_jwt"],
    ["code_challenge_methods_supported", "S256"],
    ["scopes_supported", "openid"],
    ["subject_types_supported", "public"],
    ["grant_types_supported", "refresh_token"],
  ]) {
    assert.ok(json[name].includes(value), name);
  }
  for (const name of ["dpop", "id_token", "token_endpoint_auth", "userinfo"]) {
    const values =
      json[name === "token_endpoint_auth" ? "token_endpoint_auth_signing_alg_values_supported" : `${name}_signing_alg_values_supported`];
    assert.ok(
      values.some((alg) => FAPI_ALGORITHMS.includes(alg)),
      name,
    );
  }
  assert.ok(json.scopes_supported.every((scope) => /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(scope)));
  assert.ok([undefined, true, false].includes(json.require_pushed_authorization_requests));
  const { keys } = (await plan.worker.browser().get(json.jwks_uri)).json;
  assert.ok(keys.length > 0 && new Set(keys.map((key) => key.kid)).size === keys.length && keys.every((key) => key.kid && !key.d));
  for (const { kty, n, x, crv } of keys)
    assert.ok(kty === "RSA" ? n.length * 6 >= 2048 : crv === "P-256" || crv === "Ed25519" || x.length * 6 >= 224);
});
module("happy-flow", async () => {
  const entered = await rp.enter();
  const known = ["iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "azp", "at_hash", "c_hash", "sid"];
  assert.deepEqual(
    Object.keys(entered.claims).filter((name) => !known.includes(name)),
    [],
    "no claim that nobody asked for",
  );
  closed(
    await rp.userinfo(entered.access_token, { headers: { authorization: undefined }, query: `?access_token=${entered.access_token}` }),
    "a token in the query",
  );
  for (const accept of ["application/json;charset=UTF-8", "application/json, application/*+json, */*"]) {
    await rp.opens(entered.access_token, {
      headers: { accept, "accept-charset": "UTF-8", "x-fapi-customer-ip-address": "2001:db8::1893:25c8:1946" },
    });
  }
  // The second client names its key without a proof, and its parameters come in another order.
  const reversed = (url) => {
    const { origin, pathname, searchParams } = new URL(url);
    return plan.who.browser.get(`${origin}${pathname}?${new URLSearchParams([...searchParams].sort().reverse())}`, { headers: PAGE });
  };
  const other = await second.enter(
    { state: "s".repeat(64) + random() + random().slice(0, 21), nonce: random(), dpop_jkt: await thumbprint(second.holder) },
    { go: reversed },
  );
  closed(await second.userinfo(other.access_token, { proof: { by: rp.holder } }), "the first client's key");
});
module("user-rejects-authentication", async () => {
  for (const [client, more] of [
    [asks, []],
    [asksToo, ["dummy1", "dummy2"]],
  ]) {
    const request = client.request({ state: random() + random() + random().slice(0, 42) });
    const { request_uri } = await client.pushed(request);
    const back = answered(await through({ decision: "deny" })(client.place(request_uri, request)));
    refusedBack(back, "access_denied", { state: request.state, more });
    if (more.length > 0) assert.deepEqual([back.dummy1, back.dummy2], ["lorem", "ipsum"]);
  }
});
module("ensure-authorization-request-without-state-success", async () =>
  assert.equal("state" in (await rp.enter({ state: undefined })).back, false),
);
module("ensure-authorization-request-without-nonce-success", async () =>
  assert.equal("nonce" in (await rp.enter({ nonce: undefined })).claims, false),
);
module(
  "ensure-authorization-request-with-64-char-nonce-success",
  async () => void (await rp.enter({ nonce: random() + random().slice(0, 21) })),
);
module("ensure-other-scope-order-succeeds", async () =>
  assert.equal((await rp.enter({ scope: "offline_access email openid" })).scope, "offline_access email openid"),
);
module("test-claims-parameter-identity-claims", async () => {
  const discovery = (await plan.worker.browser().get(`${AUTH}/.well-known/openid-configuration`)).json;
  assert.equal(discovery.claims_parameter_supported, true);
  const standard = [
    "sub",
    "name",
    "given_name",
    "family_name",
    "preferred_username",
    "picture",
    "email",
    "email_verified",
    "zoneinfo",
    "locale",
    "phone_number",
    "phone_number_verified",
    "address",
    "updated_at",
  ];
  const asked = discovery.claims_supported.filter((name) => standard.includes(name));
  assert.deepEqual([...asked].sort(), [...standard].sort());
  const knows = await fapiClient(plan, { scope: "openid profile email phone address" });
  await plan.worker.d1
    .prepare(
      "update user set first_name = 'Zoë', last_name = 'Ångström', image = 'https://a.example/z.png', username = 'zoe', display_username = 'Zoe', phone_number = '+491701234567', phone_number_verified = 1, profile = ? where id = ?",
    )
    .bind(JSON.stringify({ timezone: "Europe/Berlin", language: "de", address: "A street" }), plan.who.id)
    .run();
  // Each of the forms in which a claim can be asked for, of which one has a member that nobody knows.
  const forms = [null, {}, { essential: true }, { [random()]: random() }, { essential: false }];
  const members = Object.fromEntries(asked.map((name, place) => [name, forms[place % forms.length]]));
  const entered = await knows.enter({ claims: JSON.stringify({ id_token: members, userinfo: members, [random()]: { [random()]: null } }) });
  const info = await knows.opens(entered.access_token);
  assert.match(info.headers["content-type"], /^application\/json/);
  assert.ok(Number.isInteger(info.json.updated_at) && info.json.updated_at <= now());
  const told = { ...entered.claims, ...info.json };
  assert.deepEqual(
    asked.filter((name) => !(name in told)),
    [],
  );
});
module("access-token-type-header-case-sensitivity", async () => {
  const { access_token, token_type } = await rp.enter();
  const inverted = [...token_type]
    .map((letter) => (letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase()))
    .join("");
  for (const scheme of [inverted, "dpop", "DPOP"]) await rp.opens(access_token, { scheme });
});

module("check-dpop-proof-nbf-exp", async () => void (await rp.enter({}, { proof: { claims: { nbf: now(), exp: now() + 300 } } })));
for (const [name, seconds] of [
  ["before", -10],
  ["after", 10],
]) {
  module(`ensure-dpopproof-with-iat-10seconds-${name}-succeeds`, async () => {
    const proof = { claims: { iat: now() + seconds } };
    await rp.enter({}, { headers: await rp.proofOfPush(proof), proof });
  });
}
module("ensure-mismatched-dpop-jkt-fails", async () => {
  const pushed = await rp.push({ dpop_jkt: await thumbprint(second.holder) }, {}, await rp.proofOfPush());
  assert.ok(["invalid_request", "invalid_dpop_proof"].includes(pushed.json.error));
  refused(pushed, pushed.json.error);
});
module("ensure-token-endpoint-fails-with-mismatched-dpop-proof-jkt", async () => {
  const back = await rp.code({}, { headers: await rp.proofOfPush() });
  unproven(await rp.redeem(back.code, {}, { proof: { by: second.holder } }));
});
module("ensure-token-endpoint-fails-with-mismatched-dpop-jkt", async () => {
  const back = await rp.code({ dpop_jkt: await thumbprint(second.holder) });
  unproven(await rp.redeem(back.code));
});
module("ensure-dpopproof-at-par-endpoint-binding-success", async () => void (await rp.enter({}, { headers: await rp.proofOfPush() })));
module(
  "ensure-dpop-auth-code-binding-success",
  async () => void (await rp.enter({ dpop_jkt: await thumbprint(rp.holder) }, { headers: await rp.proofOfPush() })),
);

// What the browser's URL says beside the pushed request is not used; `enter` checks state and nonce against what was pushed.
module("ensure-different-nonce-inside-and-outside-request-object", async () => void (await rp.enter({}, { outside: { nonce: random() } })));
module("ensure-different-state-inside-and-outside-request-object", async () => void (await rp.enter({}, { outside: { state: random() } })));
module("ensure-authorization-request-with-long-nonce", async () => void (await rp.enter({ nonce: random().repeat(9).slice(0, 384) })));
module("ensure-authorization-request-with-long-state", async () => void (await rp.enter({ state: random().repeat(24).slice(0, 1000) })));
module("state-only-outside-request-object-not-used", async () =>
  assert.equal("state" in (await rp.enter({ state: undefined }, { outside: { state: random() } })).back, false),
);
for (const name of ["ensure-request-object-without-redirect-uri-fails", "ensure-redirect-uri-in-authorization-request"]) {
  module(name, async () => refused(await rp.push({ redirect_uri: undefined }), "invalid_request"));
}
// Such a URI may be taken here, and is not: ours are registered.
module("plain-fapi-tolerate-unregistered-redirect-uri", async () =>
  refused(await rp.push({ redirect_uri: `${CALLBACK}/${random().slice(0, 10)}` }), "invalid_request"),
);
module("ensure-unsigned-authorization-request-without-using-par-fails", async () =>
  onOurPage(await plan.who.browser.get(plan.url(rp.client, rp.request()), { headers: PAGE }), /pushes its requests/),
);
module("ensure-response-type-code-idtoken-fails", async () =>
  refused(await rp.push({ response_type: "code id_token" }), "unsupported_response_type"),
);
module("ensure-response-type-token-fails", async () => refused(await rp.push({ response_type: "token" }), "unsupported_response_type"));

module("ensure-client-id-in-token-endpoint", async () => {
  // The other client's id, and an assertion in its name that this client signed.
  const { code } = await rp.code();
  const { client_id } = second.client;
  refused(await rp.redeem(code, { client_id }, { claims: { iss: client_id, sub: client_id } }), "invalid_client", 401);
});
module("ensure-holder-of-key-required", async () => {
  const { code } = await rp.code();
  unproven(await rp.redeem(code, {}, { headers: { dpop: undefined } }));
});
module("ensure-authorization-code-is-bound-to-client", async () => {
  const { code } = await rp.code();
  refused(await second.redeem(code, { code_verifier: rp.verifier, redirect_uri: CALLBACK }), "invalid_grant");
});
module("attempt-reuse-authorization-code-after-one-second", async () => {
  const { back, access_token } = await rp.enter();
  await plan.worker.d1.prepare("update oauth_grant set used_at = used_at - 1000 where token_hash = ?").bind(digest(back.code)).run();
  refused(await rp.redeem(back.code), "invalid_grant");
  closed(await rp.userinfo(access_token), "what came of the code ends with it");
});
module("ensure-token-endpoint-fails-with-expired-auth-code", async () => {
  // The suite waits for 62 seconds.
  const { code } = await rp.code();
  await plan.worker.d1.prepare("update oauth_grant set expires_at = expires_at - 62000 where token_hash = ?").bind(digest(code)).run();
  refused(await rp.redeem(code), "invalid_grant");
});
module("ensure-signed-client-assertion-with-RS256-fails", async () => {
  // Of a client whose key is for PS256: the same key signs with RS256.
  const client = await fapiClient(plan, { alg: "PS256" });
  await client.enter();
  const key = await jose.importJWK(client.own.privateJwk, "RS256");
  const { code } = await client.code();
  refused(await client.redeem(code, {}, { options: { key, header: { alg: "RS256" } } }), "invalid_client", 401);
});
module("ensure-client-assertion-in-token-endpoint", async () => {
  const { code } = await rp.code();
  refused(await rp.redeem(code, { client_assertion: undefined, client_assertion_type: undefined }), "invalid_client", 401);
});
for (const [name, claims] of [
  ["with-exp-is-5-minutes-in-past", { exp: now() - 300 }],
  ["with-wrong-aud", { aud: "https://elsewhere.example/userinfo" }],
  ["with-no-sub", { sub: undefined }],
]) {
  module(`ensure-client-assertion-${name}-fails`, async () => {
    const { code } = await rp.code();
    refused(await rp.redeem(code, {}, { claims }), "invalid_client", 401);
  });
}
module("dpop-negative-tests", async () => {
  const { access_token: access } = await rp.enter();
  const userinfo = `${AUTH}/oauth2/userinfo`;
  const make = (options) => rp.proof({ method: "GET", url: userinfo, access, ...options });
  const send = (dpop, scheme) => rp.userinfo(access, { scheme, headers: dpop === undefined ? { dpop: undefined } : { dpop } });
  const good = await make();
  await rp.opens(access, { headers: { dpop: undefined, DPOP: good } });
  const [header, claims, signature] = (await make()).split(".");
  const edit = (part, change) => Buffer.from(change(Buffer.from(part, "base64url").toString())).toString("base64url");
  const none = Buffer.from(JSON.stringify({ alg: "none", typ: "dpop+jwt" })).toString("base64url");
  const { kty, crv, x, y, d } = rp.holder.privateJwk;
  const bad = {
    "two proofs": [await make(), await make()],
    "two parts": `${header}.${claims}`,
    "no typ": await make({ header: { typ: undefined } }),
    "no alg": `${edit(header, (text) => text.replace("alg", "alg2"))}.${claims}.${signature}`,
    "no jwk": await make({ header: { jwk: undefined } }),
    "no jti": await make({ claims: { jti: undefined } }),
    "no htm": await make({ claims: { htm: undefined } }),
    "no htu": await make({ claims: { htu: undefined } }),
    "no iat": await make({ claims: { iat: undefined } }),
    "no ath": await make({ claims: { ath: undefined } }),
    "another typ": await make({ header: { typ: "dpop+jwt+another" } }),
    "alg none": `${none}.${claims}.`,
    "a broken signature": `${header}.${claims}.${signature.startsWith("A") ? "B" : "A"}${signature.slice(1)}`,
    "a private key in jwk": await make({ header: { jwk: { kty, crv, x, y, d } } }),
    "another method": await make({ method: "PUT" }),
    "another URL": await make({ url: `${userinfo}another` }),
    "another token's hash": await make({ claims: { ath: digest("another") } }),
    "another key": await make({ by: await clientKey("ES256") }),
    // The suite warns of these two, since their nonce is good, and of the last if it were taken.
    "an hour ago": await make({ claims: { iat: now() - 3600 } }),
    "in an hour": await make({ claims: { iat: now() + 3600 } }),
    "a second time": good,
  };
  for (const [label, dpop] of Object.entries(bad)) closed(await send(dpop), label);
  for (const options of [
    { url: `${userinfo}?a=b#c` },
    { url: userinfo },
    { header: { tx_id: now() }, claims: { tx_id_key: now() } },
    { url: userinfo.replace("http://auth.localhost", "HTTP://AUTH.LOCALHOST") },
    { url: userinfo.replace("auth.localhost", "auth.localhost:80") },
  ]) {
    await rp.opens(access, { headers: { dpop: await make(options) } });
  }
  for (const scheme of ["DPoP", "Bearer"]) closed(await send(undefined, scheme), `no proof, as ${scheme}`);
  await rp.opens(access);

  // Of a client whose proofs are signed with PS256: the same key signs with RS256.
  const rsa = await fapiClient(plan, { alg: "PS256" });
  const entered = await rsa.enter();
  const by = { ...rsa.holder, alg: "RS256", key: await jose.importJWK(rsa.holder.privateJwk, "RS256") };
  closed(await rsa.userinfo(entered.access_token, { proof: { by } }), "RS256");
  await rsa.opens(entered.access_token);
});
module("refresh-token", async () => {
  const discovery = (await plan.worker.browser().get(`${AUTH}/.well-known/openid-configuration`)).json;
  assert.ok(discovery.grant_types_supported.includes("refresh_token"));
  const begin = (client) => client.enter({ scope: OFFLINE, prompt: "consent" }, { go: through() });
  const refresh = (client, token, more = {}, options) =>
    client.token({ grant_type: "refresh_token", refresh_token: token, ...more }, options);
  /** A second later, with a new key. */
  async function refreshed(client, entered, more) {
    await wait(1000 - (Date.now() % 1000) + 10);
    client.holder = await clientKey("ES256");
    const got = await client.checkTokens(await refresh(client, entered.refresh_token, more));
    assert.notEqual(got.access_token, entered.access_token);
    for (const name of ["iss", "sub", "aud", "auth_time", "azp"]) assert.deepEqual(got.claims[name], entered.claims[name], name);
    assert.ok(got.claims.iat > entered.claims.iat);
    assert.equal(got.refresh_token, undefined, "it stays the same, so none can be lost");
    await client.opens(got.access_token);
    return got;
  }
  const entered = await begin(rp);
  await refreshed(rp, entered, { scope: OFFLINE });
  const nobody = await plan.post(
    "/oauth2/token",
    { grant_type: "refresh_token", refresh_token: entered.refresh_token, scope: OFFLINE },
    { dpop: await rp.proof() },
  );
  assert.ok(["invalid_client", "invalid_grant", "invalid_request"].includes(nobody.json.error), nobody.text);
  assert.ok([400, 401].includes(nobody.status));
  unproven(await refresh(rp, entered.refresh_token, { scope: OFFLINE }, { headers: { dpop: undefined } }));

  const other = await begin(second);
  const got = await refreshed(second, other);
  closed(await second.userinfo(got.access_token, { proof: { by: rp.holder } }), "the first client's key");
  refused(await refresh(rp, other.refresh_token), "invalid_grant");
});

module("par-ensure-reused-request-uri-prior-to-auth-completion-succeeds", async () => {
  // Somebody who is not signed in opens it, does nothing, opens it again and signs in.
  const browser = plan.worker.browser();
  const go = async (url) => {
    assert.match((await browser.get(url, { headers: PAGE })).location, /^\/login/);
    return { location: (await throughPages(plan, url, { browser })).href };
  };
  await rp.enter({}, { go });
});
module("par-attempt-reuse-request_uri", async () => {
  const { back } = await rp.enter();
  onOurPage(await plan.who.browser.get(rp.place(back.request_uri, back.request), { headers: PAGE }), /request_uri/);
});
module("par-attempt-to-use-expired-request_uri", async () => {
  const request = rp.request();
  const { request_uri, expires_in } = await rp.pushed(request);
  await plan.worker.d1
    .prepare("update oauth_grant set expires_at = expires_at - ? where kind = 'request' and token_hash = ?")
    .bind(expires_in * 1000, digest(request_uri.split(":").at(-1)))
    .run();
  onOurPage(await plan.who.browser.get(rp.place(request_uri, request), { headers: PAGE }), /request_uri/);
});
module(
  "par-ensure-jwt-client-assertions-nbf-8-seconds-in-the-future-is-accepted",
  async () => void (await rp.enter({}, { claims: { iat: now() + 8, nbf: now() + 8 } })),
);
module("par-ensure-jwt-client-assertions-nbf-over-60-seconds-in-the-future-fails", async () =>
  refused(await rp.push({}, { iat: now() + 62, nbf: now() + 62, exp: now() + 122 }), "invalid_client", 401),
);
module("par-attempt-to-use-request_uri-for-different-client", async () => {
  const request = rp.request();
  const { request_uri } = await rp.pushed(request);
  onOurPage(await plan.who.browser.get(second.place(request_uri, request), { headers: PAGE }), /request_uri/);
});
module("par-authorization-request-containing-request_uri-form-param", async () =>
  refused(await rp.push({ request_uri: "urn:another:request" }), "invalid_request"),
);
module("par-attempt-invalid-http-method", async () => {
  const body = new URLSearchParams(await rp.authenticated(rp.request())).toString();
  const answer = await plan.worker.browser().send("PUT", PAR, { headers: { "content-type": "application/x-www-form-urlencoded" }, body });
  assert.deepEqual([answer.status, answer.headers.allow], [405, "POST"]);
});
module("par-ensure-pkce-required", async () =>
  refused(await rp.push({ code_challenge: undefined, code_challenge_method: undefined }), "invalid_request"),
);
module("ensure-pkce-code-verifier-required", async () => {
  const { code } = await rp.code();
  refused(await rp.redeem(code, { code_verifier: undefined }), "invalid_grant");
});
module("incorrect-pkce-code-verifier-rejected", async () => {
  const { code } = await rp.code();
  refused(await rp.redeem(code, { code_verifier: random() }), "invalid_grant");
});
module("par-plain-pkce-rejected", async () =>
  refused(await rp.push({ code_challenge: rp.verifier, code_challenge_method: "plain" }), "invalid_request"),
);
module("par-without-duplicate-parameters", async () => void (await rp.enter({}, { go: (url, request_uri) => rp.visit(request_uri) })));
for (const [name, aud] of [
  ["array", [AUTH, `${AUTH}/oauth2/token`]],
  ["par-endpoint-url", PAR],
  ["token-endpoint-url", `${AUTH}/oauth2/token`],
]) {
  module(`par-test-${name}-as-audience-fails`, async () => refused(await rp.push({}, { aud }), "invalid_client", 401));
}
complete();

// What the profile asks for beside the modules.

test("a proof without a nonce is answered with one, and the second try succeeds", async () => {
  const fresh = await fapiClient(plan);
  const { code } = await fresh.code();
  const fields = { grant_type: "authorization_code", code, redirect_uri: CALLBACK, code_verifier: fresh.verifier };
  const first = await plan.post("/oauth2/token", await fresh.authenticated(fields), {
    dpop: await fresh.proof({ claims: { nonce: undefined } }),
  });
  refused(first, "use_dpop_nonce");
  const nonce = first.headers["dpop-nonce"];
  const got = ok(await plan.post("/oauth2/token", await fresh.authenticated(fields), { dpop: await fresh.proof({ claims: { nonce } }) }));
  const answer = await fresh.userinfo(got.access_token, { proof: { claims: { nonce: undefined } } });
  assert.equal(answer.status, 401);
  assert.match(answer.headers["www-authenticate"], /use_dpop_nonce/);
  await fresh.opens(got.access_token, { proof: { claims: { nonce: answer.headers["dpop-nonce"] } } });
});
for (const [place, refusedAt] of [
  ["pushed requests", async (client, by) => client.push({}, {}, await client.proofOfPush({ by }))],
  ["the token endpoint", async (client, by) => client.redeem((await client.code()).code, {}, { proof: { by } })],
]) {
  test(`proofs that are signed with RS256 are refused at ${place}`, async () => {
    refused(await refusedAt(rp, await clientKey("RS256")), "invalid_dpop_proof");
    assert.ok((await refusedAt(rp, await clientKey("PS256"))).status < 300);
  });
}
test("a client assertion is good once", async () => {
  const assertion = await rp.authenticated(rp.request());
  ok(await plan.post("/oauth2/par", assertion), 201);
  refused(await plan.post("/oauth2/par", assertion), "invalid_client", 401);
});
test("a code is bound to dpop_jkt without a proof at the pushed request", async () =>
  void (await rp.enter({ dpop_jkt: await thumbprint(rp.holder) })));
test("a pushed request without openid needs its redirect_uri too", async () =>
  refused(await rp.push({ redirect_uri: undefined, scope: "email" }), "invalid_request"));
test("a parameter that is there twice is refused", async () => refused(await rp.push({ state: ["a", "b"] }), "invalid_request"));
test("a parameter that nobody knows is ignored", async () => void (await rp.enter({ unregistered: "x" })));
test("a state of 4096 letters comes back", async () => void (await rp.code({ state: "s".repeat(4096) })));
test("a pushed request is over with the user's answer, in every window", async () => {
  const refusedOne = ok(await asks.push(), 201);
  assert.equal(
    answered(await through({ decision: "deny" })(plan.url(asks.client, { request_uri: refusedOne.request_uri }))).error,
    "access_denied",
  );
  onOurPage(await asks.visit(refusedOne.request_uri), /request_uri/);
  const pushed = ok(await asks.push(), 201);
  const page = await plan.who.browser.get(new URL((await asks.visit(pushed.request_uri)).location, AUTH).href, { headers: PAGE });
  const other = (await asks.visit(pushed.request_uri)).location;
  const fields = Object.fromEntries(
    [...page.text.matchAll(/name="(client_id|request_uri)" value="([^"]+)"/g)].map(([, name, value]) => [name, value]),
  );
  assert.ok(answered(await plan.who.browser.submit(`${AUTH}/consent`, { ...fields, decision: "allow" })).code);
  onOurPage(await asks.visit(pushed.request_uri), /request_uri/);
  onOurPage(await plan.who.browser.get(new URL(other, AUTH).href, { headers: PAGE }), /request_uri/);
});
test("a refresh token can be used again half a minute later, and each use prolongs it", async () => {
  const entered = await rp.enter({ scope: OFFLINE });
  const again = () => rp.token({ grant_type: "refresh_token", refresh_token: entered.refresh_token });
  ok(await again());
  await plan.worker.d1
    .prepare("update oauth_token set created_at = created_at - 30000, updated_at = updated_at - 30000 where token_hash = ?")
    .bind(digest(entered.refresh_token))
    .run();
  await rp.opens(ok(await again()).access_token);
  const [{ expires_at: until }] = await plan.worker.rows(
    "select expires_at from oauth_token where token_hash = ?",
    digest(entered.refresh_token),
  );
  assert.ok(until > Date.now() + 29 * 86_400_000);
});
