// Relying parties that hold keys, and those that want ours: tokens bound to a key or a certificate (RFC 9449, RFC 8705),
// requests that their client signed (RFC 9101), and every answer that we sign. The libraries make and verify all of it.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";
import * as jose from "jose";
import * as oauth from "oauth4webapi";
import * as client from "openid-client";
import { startOrigin } from "../harness/origin.mjs";
import {
  FORM,
  REDIRECT,
  agree,
  basic,
  begin,
  certificate,
  clientKey,
  formOf,
  reaching,
  relyingParty,
  reported,
  says,
  thumbprint,
} from "../harness/relying-party.mjs";
import { PAGE, signUp } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const OURS = ["ES256", "EdDSA", "RS256"];
const THEIRS = [...OURS, "PS256"];
let worker, register, discover, server, options;
before(async () => {
  worker = await startWorker();
  ({ register, discover, server, options } = relyingParty(worker, await signUp(worker, { roles: ["admin"] })));
});
after(() => worker?.dispose());

/** Somebody agrees, and the client redeems the code. */
async function codeFlow(config, who, parameters, { DPoP, build } = {}) {
  const { url, checks } = await begin(config, parameters, build);
  return client.authorizationCodeGrant(config, await agree(who.browser, url, { who }), checks, undefined, { DPoP });
}

/**
 * The halves of digests that ID tokens carry (OpenID Connect Core 1.0, section 3.1.3.6): of the digest that the signature's own
 * algorithm uses, which is SHA-512 for Ed25519 (RFC 8032, section 5.1).
 */
function half(alg, text) {
  const digest = createHash(alg === "EdDSA" ? "sha512" : "sha256")
    .update(text, "ascii")
    .digest();
  return digest.subarray(0, digest.length / 2).toString("base64url");
}

// Keys of tokens (RFC 9449)

for (const alg of THEIRS) {
  test(`DPoP by ${alg}: code, userinfo, refresh and introspection, and the library finds the nonces out by itself`, async () => {
    const { pair, options: signing } = await clientKey(alg);
    const seen = [];
    const registered = await register({ skip_consent: true });
    const config = await discover(registered, undefined, { through: reaching(worker, { spy: (one) => seen.push(one) }) });
    const who = await signUp(worker);
    const DPoP = client.getDPoPHandle(config, pair, signing);
    const tokens = await codeFlow(config, who, {}, { DPoP });
    assert.equal(tokens.token_type, "dpop");
    const asked = seen.filter(({ url }) => url.endsWith("/oauth2/token"));
    assert.deepEqual(
      asked.map(({ status }) => status),
      [400, 200],
      "refused once, for want of a nonce",
    );
    for (const { headers, answer } of asked) assert.ok(headers.dpop && answer["dpop-nonce"], "each answer to a proof carries a nonce");

    const info = await client.fetchUserInfo(config, tokens.access_token, who.id, { DPoP });
    assert.equal(info.email, who.email);
    const atUserinfo = () => seen.filter(({ url }) => url.endsWith("/oauth2/userinfo"));
    assert.deepEqual(
      atUserinfo().map(({ status }) => status),
      [200],
      "the nonce of the token endpoint is good here too",
    );
    // The same key, in a library that has met no nonce yet.
    const fresh = client.getDPoPHandle(config, pair, signing);
    assert.equal((await client.fetchUserInfo(config, tokens.access_token, who.id, { DPoP: fresh })).sub, who.id);
    assert.deepEqual(
      atUserinfo().map(({ status }) => status),
      [200, 401, 200],
    );
    assert.match(atUserinfo()[1].answer["www-authenticate"], /^DPoP .*error="use_dpop_nonce"/);
    const jkt = await DPoP.calculateThumbprint();
    assert.deepEqual(jose.decodeJwt(tokens.access_token).cnf, { jkt });
    const described = await client.tokenIntrospection(config, tokens.access_token);
    assert.deepEqual([described.active, described.token_type, described.cnf], [true, "DPoP", { jkt }]);

    const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP });
    assert.deepEqual([refreshed.token_type, jose.decodeJwt(refreshed.access_token).cnf], ["dpop", { jkt }]);
    assert.equal((await client.fetchUserInfo(config, refreshed.access_token, who.id, { DPoP })).sub, who.id);
  });
}

test("a bound token is worth nothing without its key, and a bearer token proves nothing by one", async () => {
  const registered = await register({ skip_consent: true });
  const config = await discover(registered);
  const who = await signUp(worker);
  const [own, other] = await Promise.all(
    [clientKey("ES256"), clientKey("ES256")].map(async (made) => client.getDPoPHandle(config, (await made).pair)),
  );
  const bound = await codeFlow(config, who, {}, { DPoP: own });
  await assert.rejects(client.fetchUserInfo(config, bound.access_token, who.id), says("invalid_token"));
  await assert.rejects(client.fetchUserInfo(config, bound.access_token, who.id, { DPoP: other }), says("invalid_token"));
  const challenged = await worker.browser().get(`${AUTH}/oauth2/userinfo`, { headers: { authorization: `Bearer ${bound.access_token}` } });
  assert.equal(challenged.status, 401);
  assert.match(challenged.headers["www-authenticate"], /^DPoP /, "it is told by which scheme");
  const free = await codeFlow(config, who);
  assert.equal(free.token_type, "bearer");
  await assert.rejects(client.fetchUserInfo(config, free.access_token, who.id, { DPoP: own }), says("invalid_token"));
  assert.equal((await client.fetchUserInfo(config, free.access_token, who.id)).sub, who.id);
});

test("a public client's refresh token needs its key; a confidential client may change keys", async () => {
  const who = await signUp(worker);
  const publicly = await discover(await register({ token_endpoint_auth_method: "none", skip_consent: true }), client.None());
  const confidential = await discover(await register({ skip_consent: true }));
  for (const [config, isBound] of [
    [publicly, true],
    [confidential, false],
  ]) {
    const [first, second] = await Promise.all(
      [clientKey("ES256"), clientKey("ES256")].map(async (made) => client.getDPoPHandle(config, (await made).pair)),
    );
    const tokens = await codeFlow(config, who, {}, { DPoP: first });
    if (isBound) {
      await assert.rejects(client.refreshTokenGrant(config, tokens.refresh_token), says("invalid_grant"));
      await assert.rejects(client.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP: second }), says("invalid_grant"));
    } else {
      const changed = await client.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP: second });
      assert.deepEqual(jose.decodeJwt(changed.access_token).cnf, { jkt: await second.calculateThumbprint() });
      tokens.refresh_token = changed.refresh_token;
    }
    const again = await client.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP: first });
    assert.ok(again.refresh_token, "whoever lacked the key ended nothing");
    assert.equal((await client.fetchUserInfo(config, again.access_token, who.id, { DPoP: first })).sub, who.id);
  }
});

test("a client with dpop_bound_access_tokens gets no others, by any grant", async () => {
  const registered = await register({
    skip_consent: true,
    dpop_bound_access_tokens: true,
    grant_types: ["authorization_code", "refresh_token", "client_credentials"],
    scope: "openid offline_access reports",
  });
  const config = await discover(registered);
  const who = await signUp(worker);
  const DPoP = client.getDPoPHandle(config, (await clientKey("ES256")).pair);
  await assert.rejects(client.clientCredentialsGrant(config, { scope: "reports" }), says("invalid_dpop_proof"));
  await assert.rejects(codeFlow(config, who, { scope: "openid offline_access" }), says("invalid_dpop_proof"));
  const own = await client.clientCredentialsGrant(config, { scope: "reports" }, { DPoP });
  assert.deepEqual([own.token_type, jose.decodeJwt(own.access_token).cnf], ["dpop", { jkt: await DPoP.calculateThumbprint() }]);
  const tokens = await codeFlow(config, who, { scope: "openid offline_access" }, { DPoP });
  await assert.rejects(client.refreshTokenGrant(config, tokens.refresh_token), says("invalid_dpop_proof"));
  assert.equal((await client.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP })).token_type, "dpop");
});

test("a code is bound to the key of the pushed request, or to dpop_jkt", async () => {
  const registered = await register({ skip_consent: true });
  const config = await discover(registered);
  const who = await signUp(worker);
  const [own, other] = await Promise.all(
    [clientKey("ES256"), clientKey("EdDSA")].map(async (made) => client.getDPoPHandle(config, (await made).pair, (await made).options)),
  );
  const ways = {
    pushed: () => begin(config, {}, (known, parameters) => client.buildAuthorizationUrlWithPAR(known, parameters, { DPoP: own })),
    named: async () => begin(config, { dpop_jkt: await own.calculateThumbprint() }),
  };
  for (const [way, ask] of Object.entries(ways)) {
    const { url, checks } = await ask();
    const back = await agree(who.browser, url, { who });
    await assert.rejects(client.authorizationCodeGrant(config, back, checks, undefined, { DPoP: other }), says("invalid_grant"), way);
    await assert.rejects(client.authorizationCodeGrant(config, back, checks), says("invalid_grant"), way);
    const tokens = await client.authorizationCodeGrant(config, back, checks, undefined, { DPoP: own });
    assert.equal(tokens.token_type, "dpop", way);
  }
  // The two must not name different keys (RFC 9449, section 10.1).
  const jkt = await other.calculateThumbprint();
  await assert.rejects(
    begin(config, { dpop_jkt: jkt }, (known, parameters) => client.buildAuthorizationUrlWithPAR(known, parameters, { DPoP: own })),
    says("invalid_dpop_proof"),
  );
});

test("a proof is good once, with a nonce of ours, for its own method and address", async () => {
  const registered = await register({ grant_types: ["client_credentials"], redirect_uris: [], scope: "x" });
  const sent = [];
  const spied = { ...options, [oauth.customFetch]: reaching(worker, { spy: (one) => sent.push(one) }) };
  const as = await server();
  const known = { client_id: registered.client_id };
  const { key, jwk, pair } = await clientKey("ES256");
  const DPoP = oauth.DPoP(known, pair);
  const ask = async () =>
    oauth.processClientCredentialsResponse(
      as,
      known,
      await oauth.clientCredentialsGrantRequest(as, known, oauth.ClientSecretBasic(registered.client_secret), {}, { ...spied, DPoP }),
    );
  await assert.rejects(ask(), (error) => oauth.isDPoPNonceError(error));
  assert.equal((await ask()).token_type, "dpop");
  const { method, url, headers, body, answer } = sent.at(-1);
  const replayed = await worker.browser().send(method, url, { headers: { ...headers }, body });
  assert.deepEqual([replayed.status, replayed.json.error], [400, "invalid_dpop_proof"]);

  const { kty, crv, x, y } = jwk;
  const proof = (claims = {}, header = {}, signing = key) =>
    new jose.SignJWT({ htm: "POST", htu: as.token_endpoint, jti: crypto.randomUUID(), nonce: answer["dpop-nonce"], ...claims })
      .setProtectedHeader({ alg: "ES256", typ: "dpop+jwt", jwk: { kty, crv, x, y }, ...header })
      .setIssuedAt(claims.iat)
      .sign(signing);
  const tried = async (text) =>
    worker
      .browser()
      .send("POST", as.token_endpoint, { headers: { ...FORM, ...basic(registered), dpop: text }, body: "grant_type=client_credentials" });
  assert.equal((await tried(await proof())).status, 200, "made by hand as it should be");
  const long = Math.floor(Date.now() / 1000) - 3600;
  for (const [why, text, code] of [
    ["a nonce of nobody's", await proof({ nonce: "made up" }), "use_dpop_nonce"],
    ["no nonce", await proof({ nonce: undefined }), "use_dpop_nonce"],
    ["another method", await proof({ htm: "GET" }), "invalid_dpop_proof"],
    ["another address", await proof({ htu: as.userinfo_endpoint }), "invalid_dpop_proof"],
    ["an old one", await proof({ iat: long }), "invalid_dpop_proof"],
    ["no jti", await proof({ jti: undefined }), "invalid_dpop_proof"],
    ["another type of token", await proof({}, { typ: "JWT" }), "invalid_dpop_proof"],
    ["another's signature", await proof({}, {}, (await clientKey("ES256")).key), "invalid_dpop_proof"],
    ["no JWT at all", "x", "invalid_dpop_proof"],
    ["two proofs", `${await proof()}, ${await proof()}`, "invalid_dpop_proof"],
  ]) {
    const refused = await tried(text);
    assert.deepEqual([refused.status, refused.json.error], [400, code], why);
    assert.ok(refused.headers["dpop-nonce"], `${why}: without a nonce to go on with`);
  }
});

test("a resource validates a bound JWT access token by itself, and the library refuses it with a wrong key", async () => {
  const RESOURCE = "https://reports.example";
  const registered = await register({
    grant_types: ["client_credentials"],
    redirect_uris: [],
    scope: "reports:read",
    resources: [RESOURCE],
  });
  const as = await server();
  const known = { client_id: registered.client_id };
  const [own, other] = await Promise.all(
    [clientKey("ES256"), clientKey("ES256")].map(async (made) => oauth.DPoP(known, (await made).pair)),
  );
  const ask = async (DPoP) =>
    oauth.processClientCredentialsResponse(
      as,
      known,
      await oauth.clientCredentialsGrantRequest(
        as,
        known,
        oauth.ClientSecretBasic(registered.client_secret),
        { resource: RESOURCE },
        { ...options, DPoP },
      ),
    );
  const insistently = (DPoP) => ask(DPoP).catch((error) => (oauth.isDPoPNonceError(error) ? ask(DPoP) : Promise.reject(error)));
  const { access_token } = await insistently(own);
  const bearer = (await insistently()).access_token;

  /** The request that a resource gets of whoever holds this key. */
  async function requestWith(token, DPoP) {
    let request;
    await oauth.protectedResourceRequest(token, "GET", new URL("/july", RESOURCE), undefined, undefined, {
      DPoP,
      [oauth.customFetch]: async (url, { body, ...init }) => {
        request = new Request(url, init);
        return new Response("fine");
      },
    });
    return request;
  }
  const validate = (request, audience = RESOURCE) => oauth.validateJwtAccessToken(as, request, audience, { ...options, requireDPoP: true });
  const claims = await validate(await requestWith(access_token, own));
  assert.deepEqual(
    [claims.client_id, claims.scope, claims.cnf],
    [registered.client_id, "reports:read", { jkt: await own.calculateThumbprint() }],
  );
  const wrong = await requestWith(access_token, other);
  await assert.rejects(validate(wrong), (error) => error.code === oauth.JWT_CLAIM_COMPARISON && error.cause.claim === "cnf.jkt");
  await assert.rejects(validate(await requestWith(access_token)), { code: oauth.INVALID_RESPONSE }, "a bound token without a proof");
  await assert.rejects(validate(await requestWith(bearer)), { code: oauth.INVALID_RESPONSE }, "a token that is bound to nothing");
  await assert.rejects(validate(await requestWith(access_token, own), "https://other.example"), { code: oauth.JWT_CLAIM_COMPARISON });
});

// Certificates (RFC 8705)

test("tls_client_auth: the subject of a verified certificate is who the client is, at every endpoint", async () => {
  const SUBJECT = "CN=app.example,O=Acme,C=DE";
  const registered = await register({
    token_endpoint_auth_method: "tls_client_auth",
    tls_client_auth_subject_dn: SUBJECT,
    tls_client_certificate_bound_access_tokens: true,
    skip_consent: true,
  });
  assert.equal(registered.client_secret, undefined);
  const own = certificate(SUBJECT);
  const by = (shown) => discover(registered, client.TlsClientAuth(), { through: reaching(worker, { certificate: shown }) });
  const config = await by(own);
  const who = await signUp(worker);
  const { url, checks } = await begin(config);
  const back = await agree(who.browser, url, { who });
  for (const [why, shown] of [
    ["no certificate", undefined],
    ["another's", certificate("CN=other.example,O=Acme,C=DE")],
    ["one that nobody vouches for", certificate(SUBJECT, { verified: "FAILED:self signed certificate" })],
    ["a longer subject", certificate(`${SUBJECT},ST=x`)],
  ]) {
    const bad = await by(shown);
    await assert.rejects(client.authorizationCodeGrant(bad, back, checks), says("invalid_client"), why);
    await assert.rejects(begin(bad, {}, client.buildAuthorizationUrlWithPAR), says("invalid_client"), why);
    await assert.rejects(client.tokenIntrospection(bad, "x"), says("invalid_client"), why);
    await assert.rejects(client.tokenRevocation(bad, "x"), says("invalid_client"), why);
  }
  const secretly = await discover(registered, client.ClientSecretPost("a made-up secret"), {
    through: reaching(worker, { certificate: own }),
  });
  await assert.rejects(client.authorizationCodeGrant(secretly, back, checks), says("invalid_client"));
  const tokens = await client.authorizationCodeGrant(config, back, checks);
  assert.equal(tokens.token_type, "bearer");
  const cnf = { "x5t#S256": thumbprint(own) };
  assert.deepEqual(jose.decodeJwt(tokens.access_token).cnf, cnf);
  assert.deepEqual((await client.tokenIntrospection(config, tokens.access_token)).cnf, cnf);
  assert.equal((await client.fetchUserInfo(config, tokens.access_token, who.id)).email, who.email);
  for (const shown of [undefined, certificate(SUBJECT)]) {
    await assert.rejects(
      client.fetchUserInfo(await by(shown), tokens.access_token, who.id),
      says("invalid_token"),
      "the same subject is not the same certificate",
    );
  }
  assert.ok((await begin(config, {}, client.buildAuthorizationUrlWithPAR)).url.searchParams.get("request_uri"));
  // A new certificate of the same subject is the same client, and its tokens are bound to the new one.
  const renewed = certificate(SUBJECT);
  const refreshed = await client.refreshTokenGrant(await by(renewed), tokens.refresh_token);
  assert.deepEqual(jose.decodeJwt(refreshed.access_token).cnf, { "x5t#S256": thumbprint(renewed) });
});

test("a client of another method may have its tokens bound to whatever certificate it shows, and gets none without", async () => {
  const registered = await register({
    grant_types: ["client_credentials"],
    redirect_uris: [],
    scope: "x",
    tls_client_certificate_bound_access_tokens: true,
  });
  await assert.rejects(client.clientCredentialsGrant(await discover(registered)), says("invalid_request"));
  const own = certificate("CN=whatever", { verified: "FAILED:self signed certificate" });
  const tokens = await client.clientCredentialsGrant(
    await discover(registered, undefined, { through: reaching(worker, { certificate: own }) }),
  );
  assert.deepEqual(jose.decodeJwt(tokens.access_token).cnf, { "x5t#S256": thumbprint(own) });
});

test("what a client writes into headers of its own is no certificate", async () => {
  const registered = await register({
    token_endpoint_auth_method: "tls_client_auth",
    tls_client_auth_subject_dn: "CN=app",
    grant_types: ["client_credentials"],
    redirect_uris: [],
    scope: "x",
  });
  const { "mf-cf-blob": blob } = reported(certificate("CN=app"));
  const tls = JSON.parse(blob).tlsClientAuth;
  const body = new URLSearchParams({ grant_type: "client_credentials", client_id: registered.client_id }).toString();
  for (const headers of [
    { "cf-client-cert-der-base64": "AAAA", "cf-client-cert-sha256": tls.certFingerprintSHA256 },
    { "x-client-cert": "CN=app", "ssl-client-s-dn": "CN=app", "x-ssl-client-verify": "SUCCESS", "client-cert": ":AAAA:" },
    { "cf-tls-client-auth": JSON.stringify(tls), cf: blob },
  ]) {
    const refused = await worker.browser().send("POST", `${AUTH}/oauth2/token`, { headers: { ...FORM, ...headers }, body });
    assert.deepEqual([refused.status, refused.json.error], [401, "invalid_client"], JSON.stringify(headers));
  }
  const shown = await worker.browser().send("POST", `${AUTH}/oauth2/token`, { headers: { ...FORM, "mf-cf-blob": blob }, body });
  assert.equal(shown.status, 200, "and the runtime's own report is one");
});

// Signed requests (RFC 9101)

const signedBy =
  ({ key, kid, options: signing }) =>
  (config, parameters) =>
    client.buildAuthorizationUrlWithJAR(config, parameters, { key, kid }, signing);
const pushedAndSignedBy = (signer) => async (config, parameters) =>
  client.buildAuthorizationUrlWithPAR(config, (await signedBy(signer)(config, parameters)).searchParams);

for (const alg of THEIRS) {
  test(`a request signed by ${alg} is taken by value and pushed, and only what is inside counts`, async () => {
    const signer = await clientKey(alg);
    const stranger = { ...(await clientKey(alg)), kid: signer.kid };
    const registered = await register({
      skip_consent: true,
      jwks: { keys: [signer.jwk] },
      request_object_signing_alg: alg,
      require_signed_request_object: true,
    });
    const config = await discover(registered);
    const who = await signUp(worker);
    const ways = { "by value": signedBy(signer), pushed: pushedAndSignedBy(signer) };
    for (const [way, build] of Object.entries(ways)) {
      const { url, checks } = await begin(config, { scope: "openid email" }, build);
      assert.deepEqual([...url.searchParams.keys()].sort(), ["client_id", way === "pushed" ? "request_uri" : "request"], way);
      // What the browser adds stands beside the request, not in it.
      for (const [name, value] of Object.entries({
        scope: "openid email profile phone",
        state: "another",
        redirect_uri: "https://evil.example/",
        prompt: "none",
        response_mode: "fragment",
      }))
        url.searchParams.set(name, value);
      const back = await agree(worker.browser(), url, { who });
      const tokens = await client.authorizationCodeGrant(config, back, checks);
      assert.deepEqual([tokens.scope, tokens.claims().sub], ["openid email", who.id], way);
    }
    const refused = async ({ url }, words) => {
      const answer = await who.browser.get(url.href, { headers: PAGE });
      assert.deepEqual([answer.status, answer.location], [400, undefined], "a page of ours: no address in it is to be trusted");
      assert.match(answer.text, words);
    };
    await refused(await begin(config, {}, signedBy(stranger)), /the request object is not good/);
    await refused(await begin(config), /this client signs its requests/);
    await assert.rejects(begin(config, {}, pushedAndSignedBy(stranger)), says("invalid_request_object"));
    await assert.rejects(begin(config, {}, client.buildAuthorizationUrlWithPAR), says("invalid_request"));
  });
}

test("oauth4webapi: a signed request object is pushed, and one unsigned, by a secret or by another algorithm is not", async () => {
  const signer = await clientKey("PS256");
  const registered = await register({ skip_consent: true, jwks: { keys: [signer.jwk] }, request_object_signing_alg: "PS256" });
  const as = await server();
  const known = { client_id: registered.client_id };
  const verifier = oauth.generateRandomCodeVerifier();
  const parameters = {
    response_type: "code",
    redirect_uri: REDIRECT,
    scope: "openid",
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
  };
  const push = async (request) =>
    oauth.processPushedAuthorizationResponse(
      as,
      known,
      await oauth.pushedAuthorizationRequest(as, known, oauth.ClientSecretBasic(registered.client_secret), { request }, options),
    );
  const good = await oauth.issueRequestObject(as, known, parameters, signer);
  const { request_uri } = await push(good);
  const who = await signUp(worker);
  const back = await agree(
    who.browser,
    `${as.authorization_endpoint}?${new URLSearchParams({ client_id: registered.client_id, request_uri })}`,
    { who },
  );
  const answer = await oauth.authorizationCodeGrantRequest(
    as,
    known,
    oauth.ClientSecretBasic(registered.client_secret),
    oauth.validateAuthResponse(as, known, back, oauth.expectNoState),
    REDIRECT,
    verifier,
    options,
  );
  assert.equal(
    oauth.getValidatedIdTokenClaims(await oauth.processAuthorizationCodeResponse(as, known, answer, { requireIdToken: true })).sub,
    who.id,
  );

  const claims = { ...jose.decodeJwt(good), jti: "another" };
  const sign = (header, key, more = {}) => new jose.SignJWT({ ...claims, ...more }).setProtectedHeader(header).sign(key);
  const now = Math.floor(Date.now() / 1000);
  const other = await clientKey("RS256", signer.kid);
  const header = { alg: "PS256", kid: signer.kid };
  for (const [why, request] of [
    ["unsigned", new jose.UnsecuredJWT(claims).encode()],
    ["by its secret", await sign({ alg: "HS256" }, Buffer.from(registered.client_secret))],
    ["by another algorithm", await sign({ alg: "RS256", kid: other.kid }, other.key)],
    ["an assertion", await sign(header, signer.key, { sub: registered.client_id })],
    ["for somebody else", await sign(header, signer.key, { aud: "https://other.example" })],
    ["of another client", await sign(header, signer.key, { client_id: "other" })],
    ["of another issuer", await sign(header, signer.key, { iss: "other" })],
    ["expired", await sign(header, signer.key, { exp: now - 60 })],
    ["of the future", await sign(header, signer.key, { nbf: now + 60 })],
    ["a request in a request", await sign(header, signer.key, { request: good })],
    ["a proof of another kind", await sign({ ...header, typ: "dpop+jwt" }, signer.key)],
    ["spoilt", `${good.slice(0, -8)}AAAAAAAA`],
  ]) {
    await assert.rejects(push(request), says("invalid_request_object"), why);
  }
  assert.ok((await push(await sign(header, signer.key))).request_uri, "and the same by hand is taken");
});

test("keys at jwks_uri rotate: a request signed by the new one is taken at once, by the old one not any more", async () => {
  const [before, since] = [await clientKey("ES256"), await clientKey("EdDSA")];
  let keys = [before.jwk];
  const origin = await startOrigin({
    "/jwks": (_request, response) => response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ keys })),
  });
  try {
    const registered = await register({ skip_consent: true, jwks_uri: `${origin.url}/jwks`, require_signed_request_object: true });
    const config = await discover(registered);
    const who = await signUp(worker);
    const signIn = (signer) => codeFlow(config, who, { scope: "openid" }, { build: signedBy(signer) });
    assert.equal((await signIn(before)).claims().sub, who.id);
    assert.equal((await signIn(before)).claims().sub, who.id);
    assert.equal(origin.to("/jwks").length, 1, "they are kept");
    keys = [since.jwk];
    assert.equal((await signIn(since)).claims().sub, who.id);
    assert.equal(origin.to("/jwks").length, 2, "asked for again, for a key that was unknown");
    const { url } = await begin(config, {}, signedBy(before));
    assert.equal((await who.browser.get(url.href, { headers: PAGE })).status, 400);
    assert.equal(origin.to("/jwks").length, 2, "strangers cannot make us ask as often as they like");
  } finally {
    await origin.close();
  }
});

// Signed answers

for (const alg of OURS) {
  test(`JARM by ${alg}: code and refusal come as one JWT, which the library verifies`, async () => {
    const registered = await register({ authorization_signed_response_alg: alg });
    const config = await discover(registered, undefined, { metadata: { authorization_signed_response_alg: alg } });
    client.useJwtResponseMode(config);
    const who = await signUp(worker);
    const denied = await begin(config);
    assert.equal(denied.url.searchParams.get("response_mode"), "jwt");
    const refusal = await agree(who.browser, denied.url, { who, decision: "deny" });
    assert.deepEqual([...refusal.searchParams.keys()], ["response"], "nothing stands beside it");
    await assert.rejects(client.authorizationCodeGrant(config, refusal, denied.checks), says("access_denied"));
    const { url, checks } = await begin(config);
    const back = await agree(who.browser, url, { who });
    const response = back.searchParams.get("response");
    assert.equal(jose.decodeProtectedHeader(response).alg, alg);
    const { exp, iat, ...claims } = jose.decodeJwt(response);
    assert.deepEqual([claims.iss, claims.aud, claims.state], [AUTH, registered.client_id, checks.expectedState]);
    assert.ok(exp > Date.now() / 1000 && exp <= Date.now() / 1000 + 600, "for ten minutes at most (JARM, section 2.1)");
    await assert.rejects(client.authorizationCodeGrant(config, back, { ...checks, expectedState: "another" }), "the state is inside");
    const spoilt = new URL(back);
    spoilt.searchParams.set("response", `${response.slice(0, -8)}AAAAAAAA`);
    await assert.rejects(client.authorizationCodeGrant(config, spoilt, checks), "the signature counts");
    const tokens = await client.authorizationCodeGrant(config, back, checks);
    assert.equal(tokens.claims().sub, who.id);
    // What goes wrong before anybody is asked goes the same way.
    const silent = await begin(config, { prompt: "none", scope: "openid phone" });
    const unasked = await agree(who.browser, silent.url, { who });
    await assert.rejects(client.authorizationCodeGrant(config, unasked, silent.checks), says("consent_required"));
  });
}

test("the JWT travels in the query, in the fragment or in a form, as asked", async () => {
  const registered = await register({ skip_consent: true, authorization_signed_response_alg: "ES256" });
  const config = await discover(registered, undefined, { metadata: { authorization_signed_response_alg: "ES256" } });
  client.useJwtResponseMode(config);
  const who = await signUp(worker);
  const arrived = {
    "query.jwt": (answer) => new URL(answer.location),
    jwt: (answer) => new URL(answer.location),
    "fragment.jwt": (answer) => {
      const at = new URL(answer.location);
      assert.equal(at.search, "");
      // What a page's script reads off, since no server sees it.
      at.search = at.hash.slice(1);
      at.hash = "";
      return at;
    },
    "form_post.jwt": (answer) => {
      const { action, fields } = formOf(answer.text);
      assert.deepEqual([answer.status, action, Object.keys(fields)], [200, REDIRECT, ["response"]]);
      return new Request(action, { method: "POST", headers: FORM, body: new URLSearchParams(fields) });
    },
  };
  for (const [mode, read] of Object.entries(arrived)) {
    const { url, checks } = await begin(config);
    url.searchParams.set("response_mode", mode);
    const answer = await who.browser.get(url.href, { headers: PAGE });
    assert.equal((await client.authorizationCodeGrant(config, read(answer), checks)).claims().sub, who.id, mode);
  }
});

for (const alg of OURS) {
  test(`ID tokens by ${alg} verify, and at_hash and c_hash are halves of that algorithm's digest`, async () => {
    const registered = await register({ skip_consent: true, id_token_signed_response_alg: alg });
    const config = await discover(registered, undefined, { metadata: { id_token_signed_response_alg: alg } });
    client.enableNonRepudiationChecks(config);
    const who = await signUp(worker);
    const { url, checks } = await begin(config);
    const back = await agree(who.browser, url, { who });
    const tokens = await client.authorizationCodeGrant(config, back, checks);
    assert.equal(jose.decodeProtectedHeader(tokens.id_token).alg, alg);
    const { at_hash, c_hash } = tokens.claims();
    assert.deepEqual([at_hash, c_hash], [half(alg, tokens.access_token), half(alg, back.searchParams.get("code"))]);
    const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token);
    assert.equal(jose.decodeProtectedHeader(refreshed.id_token).alg, alg);
    assert.deepEqual(
      [refreshed.claims().at_hash, refreshed.claims().c_hash],
      [half(alg, refreshed.access_token), undefined],
      "there is no code any more",
    );
    // The library pins the algorithm: it would not take another for it.
    const mistaken = await discover(registered, undefined, {
      metadata: { id_token_signed_response_alg: alg === "ES256" ? "RS256" : "ES256" },
    });
    await assert.rejects(
      client.refreshTokenGrant(mistaken, refreshed.refresh_token),
      (error) => error.cause?.code === oauth.INVALID_RESPONSE || error.code === oauth.INVALID_RESPONSE,
    );
  });

  test(`userinfo by ${alg} is a JWT for this client, and both libraries take it`, async () => {
    const registered = await register({ skip_consent: true, userinfo_signed_response_alg: alg });
    const metadata = { userinfo_signed_response_alg: alg };
    const seen = [];
    const config = await discover(registered, undefined, { metadata, through: reaching(worker, { spy: (one) => seen.push(one) }) });
    client.enableNonRepudiationChecks(config);
    const who = await signUp(worker);
    const tokens = await codeFlow(await discover(registered), who, { scope: "openid email" });
    const info = await client.fetchUserInfo(config, tokens.access_token, who.id);
    assert.deepEqual([info.iss, info.aud, info.email], [AUTH, registered.client_id, who.email]);
    assert.match(seen.findLast(({ url }) => url.endsWith("/oauth2/userinfo")).answer["content-type"], /^application\/jwt/);
    const as = await server();
    const known = { client_id: registered.client_id, ...metadata };
    const answer = await oauth.userInfoRequest(as, known, tokens.access_token, options);
    assert.equal((await oauth.processUserInfoResponse(as, known, who.id, answer)).email, who.email);
    await oauth.validateApplicationLevelSignature(as, answer, options);
    const other = await oauth.userInfoRequest(as, known, tokens.access_token, options);
    await assert.rejects(
      oauth.processUserInfoResponse(as, { ...known, client_id: "another" }, who.id, other),
      { code: oauth.JWT_CLAIM_COMPARISON },
      "it is not for everybody",
    );
  });

  test(`introspection by ${alg} is a JWT where the library asks for one`, async () => {
    const registered = await register({
      grant_types: ["client_credentials"],
      redirect_uris: [],
      scope: "x",
      introspection_signed_response_alg: alg,
    });
    const seen = [];
    const through = reaching(worker, { spy: (one) => seen.push(one) });
    const config = await discover(registered, undefined, { metadata: { introspection_signed_response_alg: alg }, through });
    client.enableNonRepudiationChecks(config);
    const { access_token } = await client.clientCredentialsGrant(config);
    const described = await client.tokenIntrospection(config, access_token);
    assert.deepEqual([described.active, described.client_id, described.scope], [true, registered.client_id, "x"]);
    const { headers, answer } = seen.findLast(({ url }) => url.endsWith("/oauth2/introspect"));
    assert.equal(headers.accept, "application/token-introspection+jwt");
    assert.equal(answer["content-type"], "application/token-introspection+jwt");
    assert.equal((await client.tokenIntrospection(config, "nobody's")).active, false);
    // Another client's token is none of its business, and its own is told as JSON where that is asked for.
    const stranger = await register({
      grant_types: ["client_credentials"],
      redirect_uris: [],
      scope: "x",
      introspection_signed_response_alg: alg,
    });
    const theirs = await discover(stranger, undefined, { metadata: { introspection_signed_response_alg: alg } });
    assert.deepEqual(await client.tokenIntrospection(theirs, access_token), { active: false });
    const simple = await discover(registered, undefined, { through });
    assert.equal((await client.tokenIntrospection(simple, access_token)).active, true);
    assert.match(seen.findLast(({ url }) => url.endsWith("/oauth2/introspect")).answer["content-type"], /^application\/json/);
  });
}

// The libraries keep a key set for a minute, and refuse a key that is not in it.
test("a relying party that met our keys before an algorithm was first used verifies that algorithm too", async () => {
  // Its own Worker: everywhere else in this file each algorithm has been used before.
  const young = await startWorker();
  try {
    const party = relyingParty(young, await signUp(young, { roles: ["admin"] }));
    const registered = await party.register({ skip_consent: true, userinfo_signed_response_alg: "RS256" });
    const config = await party.discover(registered, undefined, { metadata: { userinfo_signed_response_alg: "RS256" } });
    client.enableNonRepudiationChecks(config);
    const who = await signUp(young);
    const { url, checks } = await begin(config);
    const tokens = await client.authorizationCodeGrant(config, await agree(who.browser, url, { who }), checks);
    assert.equal((await client.fetchUserInfo(config, tokens.access_token, who.id)).email, who.email);
  } finally {
    await young.dispose();
  }
});

// RFC 9864 gives Ed25519 a name of its own, and the libraries sign by that one unless they are told otherwise.
test("what a library signs with an Ed25519 key, as it is, is taken", async () => {
  const registered = await register({ grant_types: ["client_credentials"], redirect_uris: [], scope: "x" });
  const config = await discover(registered);
  const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair("Ed25519"));
  assert.equal((await client.clientCredentialsGrant(config, undefined, { DPoP })).token_type, "dpop");
});
