// Relying parties that ask for more: tokens for other tokens and for assertions (RFC 8693, RFC 7523), claims one by one, how
// well and how lately somebody signed in; and those that register themselves (RFC 7591, RFC 7592) or publish who they are.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import * as jose from "jose";
import * as oauth from "oauth4webapi";
import { OAuth2Server } from "oauth2-mock-server";
import * as client from "openid-client";
import { CLIENT } from "../../examples/provider/server.mjs";
import { uniqueEmail } from "../harness/browser.mjs";
import { withApp, withPasskey } from "../harness/factors.mjs";
import { startOrigin } from "../harness/origin.mjs";
import { REDIRECT, agree, begin, clientKey, relyingParty, says } from "../harness/relying-party.mjs";
import { PAGE, signUp } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const ASSERTION = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";
const MULTI_FACTOR = "http://schemas.openid.net/pape/policies/2007/06/multi-factor";
const [A, B] = ["https://a.example", "https://b.example"];
let worker, admin, register, discover, server, options;
before(async () => {
  worker = await startWorker();
  admin = await signUp(worker, { roles: ["owner"] });
  ({ register, discover, server, options } = relyingParty(worker, admin));
});
after(() => worker?.dispose());

const run = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();

/** Somebody agrees, and the client redeems the code. */
async function codeFlow(config, { browser, ...who }, parameters, checks = {}) {
  const begun = await begin(config, parameters);
  return client.authorizationCodeGrant(config, await agree(browser, begun.url, { who }), { ...begun.checks, ...checks });
}

/** The error that comes of an authorization request; null if a code does. */
async function refusal(config, browser, parameters, going = {}) {
  const { url, checks } = await begin(config, parameters);
  const back = await agree(browser, url, going);
  assert.equal(back.searchParams?.get("state"), checks.expectedState, back.text ?? back.href);
  assert.equal(back.searchParams.has("code"), !back.searchParams.has("error"), back.href);
  return back.searchParams.get("error");
}

// Token exchange (RFC 8693)

/** A front-end, and the two services behind it, of which the first calls the second. */
async function chain() {
  const front = await discover(await register({ skip_consent: true, scope: "openid offline_access orders:read orders:write" }));
  const a = await register({
    client_name: "A",
    grant_types: [EXCHANGE, "client_credentials"],
    redirect_uris: [],
    scope: "orders:read offline_access",
    resource: A,
    resources: [B],
  });
  const b = await register({
    client_name: "B",
    grant_types: [EXCHANGE, "client_credentials"],
    redirect_uris: [],
    scope: "orders:read",
    resource: B,
  });
  return { front, a, b, asA: await discover(a), asB: await discover(b) };
}
const subject = ({ access_token }) => ({ subject_token: access_token, subject_token_type: ACCESS_TOKEN });
const actor = ({ access_token }) => ({ actor_token: access_token, actor_token_type: ACCESS_TOKEN });

test("a service exchanges its caller's token for one at the next service: as the user, or on behalf of them", async () => {
  const { front, a, b, asA, asB } = await chain();
  const who = await signUp(worker);
  const first = await codeFlow(front, who, { scope: "openid offline_access orders:read orders:write", resource: A });
  assert.equal(jose.decodeJwt(first.access_token).aud, A);
  const as = await server();
  const atB = (token) => oauth.validateJwtAccessToken(as, new Request(B, { headers: { authorization: `Bearer ${token}` } }), B, options);

  const plain = await client.genericGrantRequest(asA, EXCHANGE, { ...subject(first), resource: B });
  assert.deepEqual(
    [plain.issued_token_type, plain.token_type, plain.scope],
    [ACCESS_TOKEN, "bearer", "orders:read"],
    "what A may not have is left out",
  );
  assert.deepEqual([plain.refresh_token, plain.id_token], [undefined, undefined]);
  const claims = await atB(plain.access_token);
  assert.deepEqual([claims.sub, claims.client_id, claims.scope, claims.act], [who.id, a.client_id, "orders:read", undefined]);
  const seen = await client.tokenIntrospection(asB, plain.access_token);
  assert.deepEqual([seen.active, seen.sub, seen.client_id, seen.act], [true, who.id, a.client_id, undefined]);
  await assert.rejects(
    oauth.validateJwtAccessToken(as, new Request(A, { headers: { authorization: `Bearer ${plain.access_token}` } }), A, options),
    { code: oauth.JWT_CLAIM_COMPARISON },
  );

  // The same by the other library, by RFC 8693's own name for where the token goes, with who acts.
  const own = await client.clientCredentialsGrant(asA);
  const known = { client_id: a.client_id };
  const answer = await oauth.genericTokenEndpointRequest(
    as,
    known,
    oauth.ClientSecretBasic(a.client_secret),
    EXCHANGE,
    { ...subject(first), ...actor(own), audience: B, scope: "orders:read" },
    options,
  );
  const delegated = await oauth.processGenericTokenEndpointResponse(as, known, answer);
  const act = { sub: a.client_id, client_id: a.client_id };
  assert.deepEqual((await atB(delegated.access_token)).act, act);
  assert.deepEqual((await client.tokenIntrospection(asB, delegated.access_token)).act, act);
  // Whoever acts next is named before those who acted so far (section 4.1).
  const next = await client.genericGrantRequest(asB, EXCHANGE, {
    ...subject(delegated),
    ...actor(await client.clientCredentialsGrant(asB)),
  });
  assert.deepEqual((await atB(next.access_token)).act, { sub: b.client_id, client_id: b.client_id, act });
  assert.deepEqual((await client.tokenIntrospection(asB, next.access_token)).act, { sub: b.client_id, client_id: b.client_id, act });
});

test("an exchanged token may be bound to its service's key, and outlives neither of those it came of", async () => {
  const { front, asA } = await chain();
  const who = await signUp(worker);
  const first = await codeFlow(front, who, { scope: "openid orders:read", resource: A });
  const DPoP = client.getDPoPHandle(asA, (await clientKey("ES256")).pair);
  const bound = await client.genericGrantRequest(asA, EXCHANGE, { ...subject(first), resource: B }, { DPoP });
  assert.deepEqual(jose.decodeJwt(bound.access_token).cnf, { jkt: await DPoP.calculateThumbprint() });
  const soon = (token, seconds) =>
    run(
      `update oauth_token set expires_at = ? where user_id is ? and client_id = (select id from oauth_client where client_id = ?)
         and kind = 'access'`,
      Date.now() + seconds * 1000,
      jose.decodeJwt(token).sub === who.id ? who.id : null,
      jose.decodeJwt(token).client_id,
    );
  const own = await client.clientCredentialsGrant(asA);
  await soon(own.access_token, 100);
  const byActor = await client.genericGrantRequest(asA, EXCHANGE, { ...subject(first), ...actor(own), resource: B });
  assert.ok(byActor.expires_in <= 100 && byActor.expires_in > 50, `${byActor.expires_in}`);
  await soon(first.access_token, 40);
  const bySubject = await client.genericGrantRequest(asA, EXCHANGE, { ...subject(first), ...actor(own), resource: B });
  assert.ok(bySubject.expires_in <= 40 && bySubject.expires_in > 10, `${bySubject.expires_in}`);
  const { exp, iat } = jose.decodeJwt(bySubject.access_token);
  assert.equal(exp - iat, bySubject.expires_in);
});

test("exchanged tokens end with what they came of: revoked, or signed out", async () => {
  const { front, asA, asB } = await chain();
  for (const [why, end] of [
    ["the front-end revokes its own", ({ first }) => client.tokenRevocation(front, first.access_token)],
    ["the user signs out", ({ who }) => who.browser.post(`${AUTH}/api/auth/sign-out`)],
  ]) {
    const who = await signUp(worker);
    const first = await codeFlow(front, who, { scope: "openid orders:read", resource: A });
    const plain = await client.genericGrantRequest(asA, EXCHANGE, { ...subject(first), resource: B });
    const delegated = await client.genericGrantRequest(asA, EXCHANGE, {
      ...subject(first),
      ...actor(await client.clientCredentialsGrant(asA)),
      resource: B,
    });
    const active = () =>
      Promise.all([plain, delegated].map(async ({ access_token }) => (await client.tokenIntrospection(asB, access_token)).active));
    assert.deepEqual(await active(), [true, true]);
    await end({ who, first });
    assert.deepEqual(await active(), [false, false], why);
    await assert.rejects(client.genericGrantRequest(asA, EXCHANGE, { ...subject(first), resource: B }), says("invalid_request"), why);
    await assert.rejects(client.genericGrantRequest(asB, EXCHANGE, subject(plain)), says("invalid_request"), why);
  }
});

test("nobody exchanges what was not sent to them, nor for more, nor for elsewhere", async () => {
  const { front, asA, asB } = await chain();
  const who = await signUp(worker);
  const first = await codeFlow(front, who, { scope: "openid offline_access orders:read orders:write", resource: A });
  const elsewhere = await codeFlow(front, who, { scope: "openid orders:read", resource: B });
  const own = await client.clientCredentialsGrant(asA);
  const theirs = await client.clientCredentialsGrant(asB);
  for (const [why, parameters, code, config = asA] of [
    ["another service's", subject(elsewhere), "invalid_request"],
    ["by whoever it was not sent to", subject(first), "invalid_request", asB],
    ["of nobody", { ...subject(first), subject_token: "x" }, "invalid_request"],
    ["a refresh token", { ...subject(first), subject_token: first.refresh_token }, "invalid_request"],
    ["an ID token", { subject_token: first.id_token, subject_token_type: "urn:ietf:params:oauth:token-type:id_token" }, "invalid_request"],
    ["without its type", { subject_token: first.access_token }, "invalid_request"],
    ["of no user", subject(own), "invalid_request"],
    ["another's actor", { ...subject(first), ...actor(theirs) }, "invalid_request"],
    ["an actor without its type", { ...subject(first), actor_token: own.access_token }, "invalid_request"],
    [
      "a refresh token wanted",
      { ...subject(first), requested_token_type: "urn:ietf:params:oauth:token-type:refresh_token" },
      "invalid_request",
    ],
    ["a scope that A has not", { ...subject(first), scope: "orders:write" }, "invalid_scope"],
    ["for longer", { ...subject(first), scope: "orders:read offline_access" }, "invalid_scope"],
    ["for a service that A does not call", { ...subject(first), resource: "https://c.example" }, "invalid_target"],
    ["the same by its other name", { ...subject(first), audience: "https://c.example" }, "invalid_target"],
  ]) {
    await assert.rejects(client.genericGrantRequest(config, EXCHANGE, parameters), says(code), why);
  }
  await assert.rejects(client.genericGrantRequest(front, EXCHANGE, subject(first)), says("unauthorized_client"));
  assert.equal(
    jose.decodeJwt((await client.genericGrantRequest(asA, EXCHANGE, subject(first))).access_token).aud,
    A,
    "and without a resource it stays where it was",
  );
  const self = await worker
    .browser()
    .post(`${AUTH}/oauth2/register`, { redirect_uris: [REDIRECT], grant_types: ["authorization_code", EXCHANGE] });
  assert.deepEqual([self.status, self.json.grant_types], [201, ["authorization_code"]], "an administrator's to give");
});

// Assertions of upstream issuers (RFC 7523)

test("oauth2-mock-server asserts one of its users, who signed in through it and agreed, and the client gets a token for them", async () => {
  const upstream = new OAuth2Server();
  await upstream.issuer.keys.generate("ES256");
  await upstream.start(0, "localhost");
  try {
    const added = await admin.browser.post(`${AUTH}/api/auth/admin/issuers`, {
      name: "asserting",
      label: "Asserting",
      baseUrl: upstream.issuer.url,
      clientId: CLIENT.id,
      clientSecret: CLIENT.secret,
      global: true,
      settings: { acceptAssertions: true },
    });
    assert.equal(added.status, 201, added.text);
    const email = uniqueEmail();
    upstream.service.on("beforeUserinfo", ({ body }) => Object.assign(body, { email, email_verified: true }));
    const browser = worker.browser();
    const begun = await browser.post(`${AUTH}/api/auth/sign-in/social`, { provider: "asserting", callbackURL: "/done" });
    const sent = await fetch(begun.json.url, { redirect: "manual" });
    assert.equal((await browser.get(sent.headers.get("location"))).location, "/done", worker.logs().slice(-500));
    const { user } = (await browser.get(`${AUTH}/api/auth/get-session`)).json;

    const registered = await register({ grant_types: ["authorization_code", ASSERTION], scope: "openid email offline_access orders:read" });
    const config = await discover(registered);
    const sign = (claims = {}, header = {}) =>
      upstream.issuer.buildToken({
        expiresIn: 300,
        scopesOrTransform: (head, payload) => {
          Object.assign(payload, { sub: "johndoe", aud: AUTH, jti: randomUUID(), ...claims });
          for (const name of Object.keys(payload)) if (payload[name] === undefined) delete payload[name];
          Object.assign(head, header);
        },
      });
    const redeem = (assertion, more = {}) => client.genericGrantRequest(config, ASSERTION, { assertion, ...more });
    await assert.rejects(sign().then(redeem), says("invalid_grant"), "the user has not agreed yet");
    await codeFlow(config, { browser }, { scope: "openid email" });
    const good = await sign();
    const tokens = await redeem(good);
    assert.deepEqual(
      [tokens.scope, tokens.refresh_token, tokens.id_token],
      ["openid email", undefined, undefined],
      "as much as they agreed to",
    );
    assert.deepEqual(
      [jose.decodeJwt(tokens.access_token).sub, jose.decodeJwt(tokens.access_token).client_id],
      [user.id, registered.client_id],
    );
    assert.equal((await client.fetchUserInfo(config, tokens.access_token, user.id)).email, email);
    assert.equal((await client.tokenIntrospection(config, tokens.access_token)).active, true);
    assert.equal(
      (
        await redeem(await sign({ aud: `${AUTH}/oauth2/token`, client_id: registered.client_id }, { typ: "oauth-id-jag+jwt" }), {
          scope: "email",
        })
      ).scope,
      "email",
    );
    await assert.rejects(redeem(await sign(), { resource: A }), says("invalid_target"), "the user has not agreed to that");
    await codeFlow(config, { browser }, { scope: "openid email", resource: A });
    assert.equal(jose.decodeJwt((await redeem(await sign(), { resource: A })).access_token).aud, A);

    const now = Math.floor(Date.now() / 1000);
    const { key: foreign } = await clientKey("ES256");
    const { kid } = jose.decodeProtectedHeader(good);
    for (const [why, assertion, more = {}, code = "invalid_grant"] of [
      ["used before", good],
      ["somebody whom it never signed in", await sign({ sub: "stranger" })],
      ["for somebody else", await sign({ aud: "https://other.example" })],
      ["for more than us", await sign({ aud: [AUTH, "https://other.example"] })],
      ["for another client", await sign({ client_id: "other" })],
      ["expired", await sign({ exp: now - 60 })],
      ["for a day", await sign({ exp: now + 86_400 })],
      ["of the future", await sign({ nbf: now + 120 })],
      ["without an end", await sign({ exp: undefined })],
      ["without a jti", await sign({ jti: undefined })],
      ["of an issuer that is unknown", await sign({ iss: "https://unknown.example" })],
      ["an access token", await sign({}, { typ: "at+jwt" })],
      [
        "signed by somebody else",
        await new jose.SignJWT({ ...jose.decodeJwt(good), jti: randomUUID() }).setProtectedHeader({ alg: "ES256", kid }).sign(foreign),
      ],
      ["unsigned", new jose.UnsecuredJWT({ ...jose.decodeJwt(good), jti: randomUUID() }).encode()],
      ["a scope that was not agreed to", await sign(), { scope: "orders:read" }, "invalid_scope"],
      ["for good", await sign(), { scope: "email offline_access" }, "invalid_scope"],
    ]) {
      await assert.rejects(redeem(assertion, more), says(code), why);
    }
    // What opens this way is closed by either side.
    const change = (settings) =>
      admin.browser.send("PATCH", `${AUTH}/api/auth/admin/issuers/${added.json.id}`, { body: { settings }, headers: { origin: AUTH } });
    assert.equal((await change({ acceptAssertions: false })).status, 200);
    await assert.rejects(sign().then(redeem), says("invalid_grant"), "the issuer is not trusted to any more");
    assert.equal((await change({ acceptAssertions: true })).status, 200);
    assert.ok((await redeem(await sign())).access_token);
    const [consent] = (await browser.get(`${AUTH}/api/auth/oauth2/get-consents`)).json;
    assert.equal((await browser.post(`${AUTH}/api/auth/oauth2/delete-consent`, { id: consent.id })).status, 200);
    await assert.rejects(sign().then(redeem), says("invalid_grant"), "they took it back");
    assert.equal((await client.tokenIntrospection(config, tokens.access_token)).active, false);
  } finally {
    await upstream.stop();
  }
});

// What is said of a user, and how they signed in

const ADDRESS = {
  formatted: "Lindenstraße 1\n10969 Berlin",
  street_address: "Lindenstraße 1",
  locality: "Berlin",
  postal_code: "10969",
  country: "Germany",
};

/** Somebody of whom much is known. */
async function known() {
  const who = await signUp(worker, { name: "Zoë Ångström" });
  const phone = `+49301234${String(Date.now()).slice(-6)}`;
  const profile = JSON.stringify({ address: ADDRESS, timezone: "Europe/Berlin", language: "de-DE" });
  await run(
    "update user set first_name = 'Zoë', last_name = 'Ångström', username = ?1, display_username = ?1, image = 'https://pictures.example/z.png', phone_number = ?2, phone_number_verified = 1, profile = ?3 where id = ?4",
    `zoe${Date.now()}`,
    phone,
    profile,
    who.id,
  );
  return { ...who, phone };
}

test("scopes open what is known: profile, e-mail, phone and address, and each of them no other", async () => {
  const config = await discover(await register({ skip_consent: true }));
  const who = await known();
  const of = async (scope) => {
    const tokens = await codeFlow(config, who, { scope });
    const { sub, ...claims } = await client.fetchUserInfo(config, tokens.access_token, who.id);
    return claims;
  };
  const { preferred_username, updated_at, ...profile } = await of("openid profile");
  assert.deepEqual(profile, {
    name: "Zoë Ångström",
    given_name: "Zoë",
    family_name: "Ångström",
    picture: "https://pictures.example/z.png",
    zoneinfo: "Europe/Berlin",
    locale: "de-DE",
  });
  assert.match(preferred_username, /^zoe\d+$/);
  assert.ok(Number.isInteger(updated_at) && Math.abs(updated_at - Date.now() / 1000) < 600, "in seconds");
  assert.deepEqual(await of("openid email"), { email: who.email, email_verified: false });
  assert.deepEqual(await of("openid phone"), { phone_number: who.phone, phone_number_verified: true });
  assert.deepEqual(await of("openid address"), { address: ADDRESS });
  assert.deepEqual(await of("openid"), {});
  await run('update user set profile = \'{"address":"Somewhere 7"}\' where id = ?', who.id);
  assert.deepEqual(await of("openid address"), { address: { formatted: "Somewhere 7" } }, "an address that is one text is the whole of it");
});

test("claims are asked for one by one, agreed to by name, and come where they were asked for", async () => {
  const registered = await register();
  const config = await discover(registered);
  const who = await known();
  const asked = {
    id_token: { email: null, given_name: { essential: true }, nickname: null },
    userinfo: { phone_number: { essential: true }, address: null },
    unknown: {},
  };
  const { url, checks } = await begin(config, { scope: "openid", claims: JSON.stringify(asked) });
  const seen = [];
  const tokens = await client.authorizationCodeGrant(config, await agree(who.browser, url, { who, seen }), checks);
  assert.match(seen.join(), /See your e-mail address/, "the consent page tells what the claims stand for");
  assert.equal(tokens.scope, "openid", "claims are no scopes");
  const { email, given_name, family_name, phone_number, nickname } = tokens.claims();
  assert.deepEqual([email, given_name, family_name, phone_number, nickname], [who.email, "Zoë", undefined, undefined, undefined]);
  const { sub, ...info } = await client.fetchUserInfo(config, tokens.access_token, who.id);
  assert.deepEqual(info, { phone_number: who.phone, address: ADDRESS });
  // Asked once: but what is asked in another way is the same thing, and what is not covered is not.
  assert.equal(await refusal(config, who.browser, { scope: "openid email", prompt: "none" }), null);
  assert.equal(
    await refusal(config, who.browser, { scope: "openid", claims: JSON.stringify({ userinfo: { roles: null } }), prompt: "none" }),
    "consent_required",
  );
  // What the client may not have by scope it has not by claim either.
  const narrow = await discover(await register({ scope: "openid email", skip_consent: true }));
  const less = await codeFlow(narrow, who, { scope: "openid", claims: JSON.stringify({ id_token: { name: null, email: null } }) });
  assert.deepEqual([less.claims().name, less.claims().email], [undefined, who.email]);
  for (const bad of ["", "x", "[]", '{"userinfo":7}', '{"id_token":{"email":true}}', '{"id_token":{"sub":{"value":7}}}']) {
    // An empty parameter is one that is not there (RFC 6749, section 3.1).
    assert.equal(
      await refusal(config, who.browser, { scope: "openid", claims: bad, prompt: "none" }),
      bad === "" ? null : "invalid_request",
      bad,
    );
  }
});

test("whom the client wants, by id_token_hint or by sub, is who comes back, or nobody", async () => {
  const registered = await register({ skip_consent: true });
  const config = await discover(registered);
  const [who, other] = [await signUp(worker), await signUp(worker)];
  const [hint, theirs] = await Promise.all([who, other].map(async (one) => (await codeFlow(config, one)).id_token));
  const elsewhere = (await codeFlow(await discover(await register({ skip_consent: true })), who)).id_token;
  const sub = (value) => JSON.stringify({ id_token: { sub: { value } } });
  const silently = { prompt: "none" };
  assert.equal(await refusal(config, who.browser, { ...silently, id_token_hint: hint }), null);
  assert.equal(await refusal(config, who.browser, { ...silently, id_token_hint: theirs }), "login_required");
  assert.equal(await refusal(config, who.browser, { ...silently, claims: sub(who.id) }), null);
  assert.equal(await refusal(config, who.browser, { ...silently, claims: sub(other.id) }), "login_required");
  assert.equal(
    await refusal(config, who.browser, { ...silently, claims: sub(other.id), id_token_hint: hint }),
    "invalid_request",
    "two users at once",
  );
  for (const bad of [elsewhere, "x", `${hint.slice(0, -8)}AAAAAAAA`, new jose.UnsecuredJWT(jose.decodeJwt(hint)).encode()]) {
    assert.equal(await refusal(config, who.browser, { ...silently, id_token_hint: bad }), "invalid_request");
  }
  // Who is somebody else sees the login page, and may sign in as whom the client wants.
  const { url, checks } = await begin(config, { id_token_hint: hint });
  const seen = [];
  const tokens = await client.authorizationCodeGrant(config, await agree(other.browser, url, { who, seen }), checks);
  assert.equal(tokens.claims().sub, who.id);
  assert.match(seen[0], /action="\/login"/);
  assert.equal(
    await refusal(config, worker.browser(), { id_token_hint: hint }, { who: other }),
    "login_required",
    "and came back as somebody else",
  );
});

test("acr tells of two factors and of passkeys; what is essential and not met is an error", async () => {
  const config = await discover(await register({ skip_consent: true }));
  const who = await signUp(worker);
  const essential = (...values) => ({ claims: JSON.stringify({ id_token: { acr: { essential: true, values } } }) });
  const plain = (await codeFlow(config, who, { acr_values: `phr ${MULTI_FACTOR} made-up` })).claims();
  assert.deepEqual([plain.acr, plain.amr], [undefined, ["pwd"]], "voluntary: they come back without");
  assert.equal(await refusal(config, who.browser, { ...essential(MULTI_FACTOR), prompt: "none" }), "unmet_authentication_requirements");
  assert.equal(
    await refusal(config, who.browser, essential("phr", MULTI_FACTOR), { who }),
    "unmet_authentication_requirements",
    "after they signed in again",
  );

  const enter = await withPasskey(worker, who);
  const holder = { ...who, browser: await enter() };
  const resistant = (await codeFlow(config, holder, essential("phr"))).claims();
  assert.equal(resistant.acr, "phr");
  assert.ok(resistant.amr.includes("pop"), JSON.stringify(resistant.amr));
  assert.equal((await codeFlow(config, holder, { acr_values: "made-up phr" })).claims().acr, "phr");

  const guarded = await signUp(worker);
  const code = await withApp(worker, guarded);
  // A sign-in of one factor is asked for the other where somebody has one.
  const { url, checks } = await begin(config, essential(MULTI_FACTOR));
  const two = await client.authorizationCodeGrant(config, await agree(worker.browser(), url, { who: guarded, code }), checks);
  assert.equal(two.claims().acr, MULTI_FACTOR);
  assert.ok(two.claims().amr.includes("mfa") && two.claims().amr.includes("otp"), JSON.stringify(two.claims().amr));
  assert.equal(jose.decodeJwt(two.access_token).acr, MULTI_FACTOR);
  assert.equal((await client.tokenIntrospection(config, two.access_token)).acr, MULTI_FACTOR);
  assert.equal((await client.refreshTokenGrant(config, two.refresh_token)).claims().acr, MULTI_FACTOR);
});

test("max_age and default_max_age are kept, as the library sees by auth_time", async () => {
  const [config, byDefault] = await Promise.all(
    [{}, { default_max_age: 300 }].map(async (metadata) =>
      discover(await register({ skip_consent: true, ...metadata }), undefined, { metadata }),
    ),
  );
  const who = await signUp(worker);
  const grant = async (known, parameters, checks) => {
    const begun = await begin(known, parameters);
    const seen = [];
    const back = await agree(who.browser, begun.url, { who, seen });
    return { claims: (await client.authorizationCodeGrant(known, back, { ...begun.checks, ...checks })).claims(), pages: seen.length };
  };
  assert.equal((await grant(config, { max_age: "300" }, { maxAge: 300 })).pages, 0, "they have just signed up");
  const age = () => run("update session set authenticated_at = authenticated_at - 1000000 where user_id = ?", who.id);
  await age();
  assert.equal((await grant(config)).pages, 0, "nobody asked how long ago");
  // The library refuses an auth_time that is too old.
  await assert.rejects(
    grant(config, {}, { maxAge: 300 }),
    (error) => error.cause?.code === oauth.JWT_TIMESTAMP_CHECK || error.code === oauth.JWT_TIMESTAMP_CHECK,
  );
  const now = Math.floor(Date.now() / 1000);
  const again = await grant(config, { max_age: "300" }, { maxAge: 300 });
  assert.ok(again.pages === 1 && again.claims.auth_time >= now - 1);
  await age();
  assert.equal(await refusal(byDefault, who.browser, { prompt: "none" }), "login_required");
  assert.equal((await grant(byDefault, { max_age: "100000" }, { maxAge: 100_000 })).pages, 0, "the request overrides the default");
  assert.equal((await grant(byDefault)).pages, 1);
  for (const bad of ["-1", "soon", "1.5", "99999999999999999999"])
    assert.equal(await refusal(config, who.browser, { max_age: bad }), "invalid_request", bad);
});

test("parameters that change nothing here do no harm", async () => {
  const config = await discover(await register({ skip_consent: true }));
  const who = await signUp(worker);
  const tokens = await codeFlow(config, who, {
    ui_locales: "de-CH fr-CA en",
    claims_locales: "de",
    display: "popup",
    login_hint: who.email,
    made_up: "x",
    vtr: '["P1"]',
    authorization_details: "",
  });
  assert.equal(tokens.claims().sub, who.id);
  const fresh = await begin(config, { ui_locales: "xx-not-a-language \u0000", display: "wap", login_hint: '"><script>' });
  const page = await agree(worker.browser(), fresh.url, { who });
  assert.ok(page.searchParams.get("code"));
});

// Clients that are not added by an administrator

test("a client with an initial access token registers, reads, changes and deletes itself", async () => {
  const strict = await startWorker({ settings: { CLIENT_REGISTRATION: "token" } });
  try {
    const chief = await signUp(strict, { roles: ["admin"] });
    const party = relyingParty(strict, chief);
    const ask = async () => {
      const given = await chief.browser.post(`${AUTH}/api/auth/admin/oauth2/initial-access-token`, {});
      assert.ok([200, 201].includes(given.status), given.text);
      assert.ok(given.json.expires_in > 0);
      return given.json.token;
    };
    const [token, spare] = [await ask(), await ask()];
    const metadata = {
      client_name: "By token",
      redirect_uris: [REDIRECT],
      grant_types: ["authorization_code", "refresh_token"],
      token_endpoint_auth_method: "client_secret_post",
      id_token_signed_response_alg: "EdDSA",
      contacts: ["ops@app.example"],
    };
    const registerBy = (initialAccessToken, more = {}) =>
      client.dynamicClientRegistration(new URL(AUTH), { ...metadata, ...more }, undefined, {
        initialAccessToken,
        [client.customFetch]: party.reach,
        execute: [client.allowInsecureRequests],
      });
    for (const bad of [undefined, "made-up", "x".repeat(43)])
      await assert.rejects(
        registerBy(bad),
        (error) => error.status === 401 || error.cause?.status === 401 || error.response?.status === 401,
        `${bad}`,
      );
    const config = await registerBy(token);
    config[client.customFetch] = party.reach;
    const own = config.clientMetadata();
    assert.deepEqual([own.client_name, own.contacts, own.id_token_signed_response_alg], ["By token", ["ops@app.example"], "EdDSA"]);
    const who = await signUp(strict);
    client.enableNonRepudiationChecks(config);
    const { url, checks } = await begin(config);
    const tokens = await client.authorizationCodeGrant(config, await agree(who.browser, url, { who }), checks);
    assert.equal(jose.decodeProtectedHeader(tokens.id_token).alg, "EdDSA");
    await assert.rejects(registerBy(token), "it was good once");
    await assert.rejects(registerBy(spare, { skip_consent: true }), says("invalid_client_metadata"));
    assert.ok((await registerBy(spare)).clientMetadata().client_id, "and a mistake does not use it up");

    // RFC 7592
    const there = new URL(own.registration_client_uri);
    assert.equal(there.origin, AUTH);
    const manage = async (method, body, bearer = own.registration_access_token) => {
      const answer = await party.reach(there, {
        method,
        headers: { ...(bearer && { authorization: `Bearer ${bearer}` }), ...(body && { "content-type": "application/json" }) },
        body: body && JSON.stringify(body),
      });
      const text = await answer.text();
      return { status: answer.status, headers: answer.headers, json: text && JSON.parse(text) };
    };
    const read = await manage("GET");
    assert.deepEqual(
      [read.status, read.json.client_id, read.json.client_name, read.json.registration_client_uri],
      [200, own.client_id, "By token", there.href],
    );
    assert.match(read.headers.get("cache-control"), /no-store/);
    for (const bearer of [null, "made-up", spare, tokens.access_token])
      assert.equal((await manage("GET", undefined, bearer)).status, 401, `${bearer}`);
    const whole = { ...metadata, client_id: own.client_id, client_name: "Renamed", scope: "openid email" };
    for (const [why, body] of [
      ["without client_id", { ...whole, client_id: undefined }],
      ["as another", { ...whole, client_id: "another" }],
      ["with what is ours to say", { ...whole, registration_access_token: own.registration_access_token }],
      ["with what is an administrator's", { ...whole, skip_consent: true }],
      ["without an address", { ...whole, redirect_uris: [] }],
    ]) {
      const refused = await manage("PUT", body);
      assert.equal(refused.status, 400, why);
      assert.match(refused.json.error, /^invalid_/, why);
    }
    const changed = await manage("PUT", { ...whole, contacts: undefined });
    assert.deepEqual(
      [changed.status, changed.json.client_name, changed.json.scope, changed.json.contacts ?? []],
      [200, "Renamed", "openid email", []],
      "the metadata as a whole: what is not there is gone",
    );
    assert.equal((await manage("GET", undefined, changed.json.registration_access_token)).json.client_name, "Renamed");
    const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token);
    assert.ok(refreshed.access_token, "the secret is the same");
    assert.equal((await manage("DELETE")).status, 204);
    assert.equal((await manage("GET")).status, 401);
    assert.equal((await manage("DELETE")).status, 401);
    await assert.rejects(client.refreshTokenGrant(config, refreshed.refresh_token), says("invalid_client"));
  } finally {
    await strict.dispose();
  }
});

test("a client is known by the address of its metadata, which is read again after an hour", async () => {
  const believing = await startWorker({ settings: { CLIENT_ID_METADATA_DOCUMENTS: "on" } });
  const key = await clientKey("ES256");
  const documents = {};
  const serve = (name) => (_request, response) =>
    response.writeHead(documents[name] ? 200 : 404, { "content-type": "application/json" }).end(JSON.stringify(documents[name] ?? {}));
  const names = ["/public", "/keyed", "/liar", "/secretive", "/gone"];
  const brief = (_request, response) =>
    response
      .writeHead(200, { "content-type": "application/json", "cache-control": "max-age=600" })
      .end(JSON.stringify(documents["/brief"]));
  const origin = await startOrigin({ ...Object.fromEntries(names.map((name) => [name, serve(name)])), "/brief": brief });
  const id = (name) => `${origin.url}${name}`;
  documents["/public"] = {
    client_id: id("/public"),
    client_name: "Of the web",
    redirect_uris: [REDIRECT],
    grant_types: ["authorization_code", "refresh_token"],
  };
  documents["/keyed"] = {
    client_id: id("/keyed"),
    redirect_uris: [REDIRECT],
    token_endpoint_auth_method: "private_key_jwt",
    jwks: { keys: [key.jwk] },
  };
  documents["/liar"] = { ...documents["/public"] };
  documents["/secretive"] = { ...documents["/public"], client_id: id("/secretive"), token_endpoint_auth_method: "client_secret_basic" };
  try {
    const party = relyingParty(believing, undefined);
    assert.equal((await party.server()).client_id_metadata_document_supported, true);
    const who = await signUp(believing);
    const signIn = async (config, build) => {
      const { url, checks } = await begin(config, { scope: "openid email" }, build);
      const seen = [];
      const back = await agree(who.browser, url, { who, seen });
      return { tokens: await client.authorizationCodeGrant(config, back, checks), page: seen.join() };
    };
    const publicly = await party.discover({ client_id: id("/public") }, client.None());
    const { tokens, page } = await signIn(publicly);
    assert.deepEqual([tokens.claims().sub, tokens.claims().aud], [who.id, id("/public")]);
    assert.match(page, /127\.0\.0\.1[^<]*Of the web/, "whatever it calls itself, its users see whose it is");
    assert.equal(origin.to("/public").length, 1);
    await signIn(publicly, client.buildAuthorizationUrlWithPAR);
    assert.equal(origin.to("/public").length, 1, "it is remembered");
    const keyed = await party.discover({ client_id: id("/keyed") }, client.PrivateKeyJwt({ key: key.key, kid: key.kid }));
    assert.equal((await signIn(keyed, client.buildAuthorizationUrlWithPAR)).tokens.claims().aud, id("/keyed"));
    const unproven = await party.discover({ client_id: id("/keyed") }, client.None());
    await assert.rejects(begin(unproven, {}, client.buildAuthorizationUrlWithPAR), says("invalid_client"));

    for (const [why, name] of [
      ["the document of another", "/liar"],
      ["a published client with a secret", "/secretive"],
      ["nothing there", "/gone"],
    ]) {
      const { url } = await begin(await party.discover({ client_id: id(name) }, client.None()));
      const refused = await who.browser.get(url.href, { headers: PAGE });
      assert.deepEqual([refused.status, refused.location], [400, undefined], why);
    }
    // Its redirect URIs are its own alone, and change with the document.
    documents["/public"].redirect_uris = ["http://localhost:3333/moved"];
    assert.equal((await signIn(publicly)).tokens.claims().sub, who.id, "for an hour it is as it was");
    await believing.d1.prepare("update oauth_client set document_read_at = document_read_at - 3600000").run();
    const { url } = await begin(publicly);
    assert.equal((await who.browser.get(url.href, { headers: PAGE })).status, 400);
    assert.equal(origin.to("/public").length, 2);
    const moved = await begin(publicly, { scope: "openid email", redirect_uri: "http://localhost:3333/moved" });
    assert.equal((await agree(who.browser, moved.url, { who })).pathname, "/moved");
    // One that says how long it may be kept is read again after that time.
    documents["/brief"] = { ...documents["/public"], client_id: id("/brief"), redirect_uris: [REDIRECT] };
    const briefly = await party.discover({ client_id: id("/brief") }, client.None());
    await signIn(briefly);
    const age = (minutes) =>
      believing.d1
        .prepare("update oauth_client set document_read_at = document_read_at - ?")
        .bind(minutes * 60_000)
        .run();
    await age(9);
    await signIn(briefly);
    assert.equal(origin.to("/brief").length, 1);
    await age(2);
    await signIn(briefly);
    assert.equal(origin.to("/brief").length, 2);
  } finally {
    await origin.close();
    await believing.dispose();
  }
});

test("without that setting the address of a document is the id of nobody", async () => {
  const origin = await startOrigin();
  try {
    const config = await discover({ client_id: `${origin.url}/client` }, client.None());
    const { url } = await begin(config);
    assert.equal((await worker.browser().get(url.href, { headers: PAGE })).status, 400);
    assert.equal(origin.requests.length, 0, "and nobody asks for it");
    assert.equal((await server()).client_id_metadata_document_supported, false);
  } finally {
    await origin.close();
  }
});
