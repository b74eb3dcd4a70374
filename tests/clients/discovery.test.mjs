// Discovery tells nothing untrue (OpenID Connect Discovery 1.0, RFC 8414): each thing that the document says is tried. A member
// or a value that it gains without somebody saying here how to try it fails.

import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import * as jose from "jose";
import * as oauth from "oauth4webapi";
import * as client from "openid-client";
import { uniqueEmail } from "../harness/browser.mjs";
import { withApp, withPasskey } from "../harness/factors.mjs";
import { addIssuer } from "../harness/issuer.mjs";
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
  says,
  thumbprint,
} from "../harness/relying-party.mjs";
import { PAGE, PASSWORD, signUp } from "../harness/seed.mjs";
import { consent, startUpstream, stranger } from "../harness/upstream.mjs";
import { AUTH, DEFAULT_TENANT, startWorker } from "../harness/worker.mjs";

const DOCUMENT = `${AUTH}/.well-known/openid-configuration`;
const GRANTS = {
  device: "urn:ietf:params:oauth:grant-type:device_code",
  exchange: "urn:ietf:params:oauth:grant-type:token-exchange",
  assertion: "urn:ietf:params:oauth:grant-type:jwt-bearer",
};
const MULTI_FACTOR = "http://schemas.openid.net/pape/policies/2007/06/multi-factor";
const SUBJECT = "CN=app.example,O=Acme";
const read = async (worker) => (await worker.browser().get(DOCUMENT)).json;

/** What the tries need of a Worker; what several of them need is made once. */
async function surroundings(settings) {
  const worker = await startWorker({ settings });
  const admin = await signUp(worker, { roles: ["admin"] });
  const party = relyingParty(worker, admin);
  const made = new Map();
  const once = (name, make) => made.get(name) ?? made.set(name, make()).get(name);
  const at = {
    worker,
    admin,
    ...party,
    document: await read(worker),
    who: () => once("who", () => signUp(worker)),
    /** A client whose users are not asked, and its configuration. */
    plain: () => once("plain", async () => party.discover(await party.register({ skip_consent: true }))),
    known: () => once("known", () => aboutEverything(at)),
    /** Signs somebody in for a client. */
    async flow(config, { parameters, checks, who, build, DPoP } = {}) {
      const user = who ?? (await at.who());
      const begun = await begin(config, parameters, build);
      const back = await agree(user.browser, begun.url, { who: user });
      return client.authorizationCodeGrant(config, back, { ...begun.checks, ...checks }, undefined, { DPoP });
    },
    /** Registers a client that has to be refused, by an administrator. */
    async unregistrable(metadata, why = JSON.stringify(metadata)) {
      const answer = await admin.browser.post(`${AUTH}/api/auth/admin/oauth2/create-client`, { redirect_uris: [REDIRECT], ...metadata });
      assert.deepEqual([answer.status, answer.json.error], [400, "invalid_client_metadata"], `${why}: ${answer.text}`);
    },
    /** The error of an authorization request that nobody is asked about. */
    async refusal(config, parameters, build) {
      const { browser } = await at.who();
      const { url, checks } = await begin(config, parameters, build);
      const back = await agree(browser, url);
      assert.equal(back.searchParams?.get("state"), checks.expectedState, back.text ?? back.href);
      return back.searchParams.get("error");
    },
    post: (url, { headers, ...form }) =>
      worker.browser().send("POST", url, { headers: { ...FORM, ...headers }, body: new URLSearchParams(form).toString() }),
  };
  return at;
}

/** All that is said of somebody with two factors, of whom everything is known, to a client that asks for all of it. */
async function aboutEverything({ worker, document, register, discover }) {
  const who = await signUp(worker);
  const profile = JSON.stringify({ address: { locality: "Berlin" }, timezone: "Europe/Berlin", language: "de-DE" });
  await worker.d1
    .prepare(
      "update user set first_name = 'Zoë', last_name = 'Ångström', username = 'zoe', display_username = 'Zoe', image = 'https://pictures.example/z.png', phone_number = '+49301234567', phone_number_verified = 1, profile = ? where id = ?",
    )
    .bind(profile, who.id)
    .run();
  await worker.d1
    .prepare("insert into user_group (id, tenant_id, name, slug, created_at, updated_at) values ('g', ?, 'Bakers', 'bakers', 0, 0)")
    .bind(DEFAULT_TENANT)
    .run();
  await worker.d1
    .prepare("insert into user_group_member (id, user_group_id, user_id, joined_at) values ('m', 'g', ?, 0)")
    .bind(who.id)
    .run();
  const code = await withApp(worker, who);
  const registered = await register({ skip_consent: true });
  const config = await discover(registered);
  const { url, checks } = await begin(config, { scope: document.scopes_supported.join(" ") });
  const back = await agree(worker.browser(), url, { who, code });
  const tokens = await client.authorizationCodeGrant(config, back, checks);
  const info = await client.fetchUserInfo(config, tokens.access_token, who.id);
  const [session] = await worker.rows(
    "select id, authenticated_at from session where user_id = ? order by created_at desc limit 1",
    who.id,
  );
  return {
    who,
    config,
    tokens,
    info,
    session,
    client_id: registered.client_id,
    nonce: checks.expectedNonce,
    code: back.searchParams.get("code"),
    claims: { ...tokens.claims(), ...info },
  };
}

// Signing, by whom and with what

/** Answers of ours that a client wants signed by an algorithm; the library verifies the signature. */
const SIGNED = {
  id_token: async (at, alg) => {
    const metadata = { id_token_signed_response_alg: alg };
    const config = await at.discover(await at.register({ ...metadata, skip_consent: true }), undefined, { metadata });
    client.enableNonRepudiationChecks(config);
    return (await at.flow(config)).id_token;
  },
  userinfo: async (at, alg) => {
    const metadata = { userinfo_signed_response_alg: alg };
    const registered = await at.register({ ...metadata, skip_consent: true });
    const { access_token } = await at.flow(await at.discover(registered));
    const [as, known] = [await at.server(), { client_id: registered.client_id, ...metadata }];
    const answer = await oauth.userInfoRequest(as, known, access_token, at.options);
    const text = await answer.clone().text();
    assert.equal((await oauth.processUserInfoResponse(as, known, (await at.who()).id, answer)).email, (await at.who()).email);
    await oauth.validateApplicationLevelSignature(as, answer, at.options);
    return text;
  },
  authorization: async (at, alg) => {
    const metadata = { authorization_signed_response_alg: alg };
    const config = await at.discover(await at.register({ ...metadata, skip_consent: true }), undefined, { metadata });
    client.useJwtResponseMode(config);
    const { url, checks } = await begin(config);
    const back = await agree((await at.who()).browser, url);
    assert.ok((await client.authorizationCodeGrant(config, back, checks)).id_token);
    return back.searchParams.get("response");
  },
  introspection: async (at, alg) => {
    const metadata = { introspection_signed_response_alg: alg };
    const registered = await at.register({ ...metadata, grant_types: ["client_credentials"], redirect_uris: [], scope: "x" });
    const [as, known, secret] = [
      await at.server(),
      { client_id: registered.client_id, ...metadata },
      oauth.ClientSecretBasic(registered.client_secret),
    ];
    const { access_token } = await oauth.processClientCredentialsResponse(
      as,
      known,
      await oauth.clientCredentialsGrantRequest(as, known, secret, {}, at.options),
    );
    const answer = await oauth.introspectionRequest(as, known, secret, access_token, at.options);
    const text = await answer.clone().text();
    assert.equal((await oauth.processIntrospectionResponse(as, known, answer)).active, true);
    await oauth.validateApplicationLevelSignature(as, answer, at.options);
    return text;
  },
};

async function signed(at, what, alg) {
  const token = await SIGNED[what](at, alg);
  const header = jose.decodeProtectedHeader(token);
  assert.equal(header.alg, alg);
  const { keys } = await (await at.reach(at.document.jwks_uri)).json();
  assert.equal(keys.find(({ kid }) => kid === header.kid)?.alg, alg, "the key is published, for this algorithm");
}
const ours = (what) => Object.fromEntries(["ES256", "EdDSA", "RS256"].map((alg) => [alg, (at) => signed(at, what, alg)]));
const theirs = (attempt) =>
  Object.fromEntries(["ES256", "EdDSA", "Ed25519", "RS256", "PS256"].map((alg) => [alg, (at) => attempt(at, alg)]));

async function requestObject(at, alg) {
  const signer = await clientKey(alg);
  const config = await at.discover(
    await at.register({ skip_consent: true, jwks: { keys: [signer.jwk] }, request_object_signing_alg: alg }),
  );
  const build = (known, parameters) => client.buildAuthorizationUrlWithJAR(known, parameters, signer, signer.options);
  assert.ok((await at.flow(config, { build })).id_token);
}

async function proofOfPossession(at, alg) {
  const { pair, options } = await clientKey(alg);
  const config = await at.discover(await at.register({ grant_types: ["client_credentials"], redirect_uris: [], scope: "x" }));
  const DPoP = client.getDPoPHandle(config, pair, options);
  const { access_token } = await client.clientCredentialsGrant(config, undefined, { DPoP });
  assert.deepEqual(jose.decodeJwt(access_token).cnf, { jkt: await DPoP.calculateThumbprint() });
}

// Client authentication

/** How a client of a method is registered, and how it authenticates. */
const METHODS = {
  none: async () => ({ by: () => client.None() }),
  client_secret_basic: async () => ({ by: ({ client_secret }) => client.ClientSecretBasic(client_secret) }),
  client_secret_post: async () => ({ by: ({ client_secret }) => client.ClientSecretPost(client_secret) }),
  private_key_jwt: async (alg = "ES256") => {
    const { jwk, key, kid, options } = await clientKey(alg);
    return {
      metadata: { jwks: { keys: [jwk] }, token_endpoint_auth_signing_alg: alg },
      by: () => client.PrivateKeyJwt({ key, kid }, options),
    };
  },
  tls_client_auth: async () => ({
    metadata: { tls_client_auth_subject_dn: SUBJECT },
    by: () => client.TlsClientAuth(),
    shown: certificate(SUBJECT),
  }),
};

/** What a client does at an endpoint once it is authenticated. */
const ENDPOINTS = {
  token: async (config, tokens) => assert.ok((await client.refreshTokenGrant(config, tokens.refresh_token)).access_token),
  introspection: async (config, tokens) => assert.equal((await client.tokenIntrospection(config, tokens.access_token)).active, true),
  revocation: async (config, tokens, at) => {
    const active = async () =>
      (await at.worker.browser().get(`${AUTH}/oauth2/userinfo`, { headers: { authorization: `Bearer ${tokens.access_token}` } })).status;
    assert.equal(await active(), 200);
    await client.tokenRevocation(config, tokens.access_token);
    assert.equal(await active(), 401);
  },
};

async function authenticated(at, endpoint, method, alg) {
  const { metadata, by, shown } = await METHODS[method](alg);
  const registered = await at.register({ skip_consent: true, token_endpoint_auth_method: method, ...metadata });
  const config = await at.discover(registered, by(registered), { through: reaching(at.worker, { certificate: shown }) });
  const tokens = await at.flow(config);
  // Whoever is somebody else is nobody: it is the authentication that is tried, and not the endpoint alone.
  const other = method === "none" ? client.ClientSecretPost("made up") : client.None();
  await assert.rejects(ENDPOINTS[endpoint](await at.discover(registered, other), tokens, at), says("invalid_client"));
  await ENDPOINTS[endpoint](config, tokens, at);
}
const methods = (endpoint, names) => Object.fromEntries(names.map((name) => [name, (at) => authenticated(at, endpoint, name)]));
const assertions = (endpoint) => theirs((at, alg) => authenticated(at, endpoint, "private_key_jwt", alg));
const CONFIDENTIAL = ["client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth"];

// Scopes and claims

/** A scope opens these claims, and nothing else does. */
const opens =
  (scope, ...names) =>
  async (at) => {
    const { config, who, info } = await at.known();
    for (const name of names) assert.ok(info[name] !== undefined, name);
    const { access_token } = await at.flow(config, {
      who,
      parameters: { scope: at.document.scopes_supported.filter((other) => other !== scope).join(" ") },
    });
    const less = await client.fetchUserInfo(config, access_token, who.id);
    for (const name of names) assert.equal(less[name], undefined, `${name} without ${scope}`);
  };

const half = (text) => createHash("sha256").update(text).digest().subarray(0, 16).toString("base64url");
const is = (of) => (value, known) => assert.deepEqual(value, of(known));
/** A time of these minutes, in seconds. */
const now = (value) => assert.ok(Number.isInteger(value) && Math.abs(value - Date.now() / 1000) < 600, `${value}`);

/** Claims, each of which somebody really gets, and what it has to be. */
const CLAIMS = {
  sub: is(({ who }) => who.id),
  iss: is(() => AUTH),
  aud: is(({ client_id }) => client_id),
  azp: is(({ client_id }) => client_id),
  exp: is(({ claims }) => claims.iat + 900),
  iat: now,
  auth_time: is(({ session }) => Math.floor(session.authenticated_at / 1000)),
  nonce: is(({ nonce }) => nonce),
  acr: is(() => MULTI_FACTOR),
  amr: is(() => ["pwd", "otp", "mfa"]),
  at_hash: is(({ tokens }) => half(tokens.access_token)),
  c_hash: is(({ code }) => half(code)),
  sid: is(({ session }) => session.id),
  name: is(() => "Zoë Ångström"),
  given_name: is(() => "Zoë"),
  family_name: is(() => "Ångström"),
  preferred_username: is(() => "Zoe"),
  picture: is(() => "https://pictures.example/z.png"),
  zoneinfo: is(() => "Europe/Berlin"),
  locale: is(() => "de-DE"),
  updated_at: now,
  email: is(({ who }) => who.email),
  email_verified: is(() => false),
  phone_number: is(() => "+49301234567"),
  phone_number_verified: is(() => true),
  address: is(() => ({ locality: "Berlin" })),
  roles: is(() => ["member"]),
  groups: is(() => ["bakers"]),
  org: is(() => ({ id: DEFAULT_TENANT, name: "Default" })),
};
const claim = (name) => async (at) => {
  const known = await at.known();
  CLAIMS[name](known.claims[name], known);
};

// Authorization requests

/** What a page with a form that posts itself, or a redirect, brings to the client. */
const arrived = {
  query: (answer) => new URL(answer.location),
  fragment: (answer) => {
    const at = new URL(answer.location);
    assert.equal(at.search, "", "the code is not in the query as well");
    at.search = at.hash.slice(1);
    at.hash = "";
    return at;
  },
  form_post: (answer) => {
    const { action, fields } = formOf(answer.text);
    assert.equal(action, REDIRECT);
    return new Request(action, { method: "POST", headers: FORM, body: new URLSearchParams(fields) });
  },
};
const mode = (name) => async (at) => {
  const isSigned = name.endsWith("jwt");
  const alg = { authorization_signed_response_alg: "ES256" };
  const config = await at.discover(await at.register({ skip_consent: true, ...alg }), undefined, { metadata: alg });
  if (isSigned) client.useJwtResponseMode(config);
  const { browser } = await at.who();
  for (const parameters of [{}, { resource: "not-a-resource" }]) {
    const { url, checks } = await begin(config, parameters);
    url.searchParams.set("response_mode", name);
    const answer = await browser.get(url.href, { headers: PAGE });
    const back = arrived[name === "jwt" ? "query" : name.replace(".jwt", "")](answer);
    const redeemed = client.authorizationCodeGrant(config, back, checks);
    if (parameters.resource) await assert.rejects(redeemed, says("invalid_target"), "errors travel likewise");
    else assert.ok((await redeemed).id_token);
  }
};

/** What a prompt shows to somebody who is signed in and has agreed. */
async function prompted(at, prompt) {
  const who = await signUp(at.worker);
  const config = await at.discover(await at.register());
  await at.flow(config, { who });
  const { url, checks } = await begin(config, { prompt });
  const first = await at.worker.browser().get(url.href, { headers: PAGE });
  const pages = [];
  const back = await agree(who.browser, url, { who, seen: pages });
  return { who, config, checks, first, back, pages, tokens: () => client.authorizationCodeGrant(config, back, checks) };
}
const again = (prompt) => async (at) => {
  const before = Math.floor(Date.now() / 1000);
  const { pages, tokens } = await prompted(at, prompt);
  assert.equal(pages.length, 1);
  assert.match(pages[0], /action="\/login"/);
  assert.ok((await tokens()).claims().auth_time >= before);
};

/** A grant that the client is registered with, and the tokens that come of it. */
const granted = {
  authorization_code: async (at) => assert.ok((await at.flow(await at.plain())).id_token),
  refresh_token: async (at) => {
    const config = await at.plain();
    assert.ok((await client.refreshTokenGrant(config, (await at.flow(config)).refresh_token)).access_token);
  },
  client_credentials: async (at) => {
    const config = await at.discover(await at.register({ grant_types: ["client_credentials"], redirect_uris: [], scope: "x" }));
    assert.equal((await client.clientCredentialsGrant(config)).scope, "x");
  },
  [GRANTS.device]: async (at) => {
    const config = await at.discover(await at.register({ redirect_uris: [], grant_types: [GRANTS.device] }));
    const begun = await client.initiateDeviceAuthorization(config, { scope: "openid" });
    const who = await at.who();
    assert.equal((await who.browser.submit(begun.verification_uri, { user_code: begun.user_code, decision: "allow" })).status, 200);
    assert.equal((await client.pollDeviceAuthorizationGrant(config, { ...begun, interval: 0 })).claims().sub, who.id);
  },
  [GRANTS.exchange]: async (at) => {
    const config = await at.discover(await at.register({ skip_consent: true, grant_types: ["authorization_code", GRANTS.exchange] }));
    const { access_token } = await at.flow(config, { parameters: { scope: "openid email" } });
    const got = await client.genericGrantRequest(config, GRANTS.exchange, {
      subject_token: access_token,
      subject_token_type: "urn:ietf:params:oauth:token-type:access_token",
      scope: "email",
    });
    assert.deepEqual([got.scope, jose.decodeJwt(got.access_token).sub], ["email", (await at.who()).id]);
  },
  [GRANTS.assertion]: async (at) => {
    const upstream = await startUpstream();
    try {
      await addIssuer(at.worker.d1, upstream.url, { name: "asserting", settings: JSON.stringify({ acceptAssertions: true }) });
      const person = stranger();
      const browser = at.worker.browser();
      const begun = await browser.post(`${AUTH}/api/auth/sign-in/social`, { provider: "asserting", callbackURL: "/done" });
      assert.equal((await browser.get(await consent(begun.json.url, person))).location, "/done");
      const config = await at.discover(await at.register({ skip_consent: true, redirect_uris: [], grant_types: [GRANTS.assertion] }));
      const assertion = await upstream.idToken({ sub: person.sub, aud: AUTH, jti: randomUUID() });
      const { access_token } = await client.genericGrantRequest(config, GRANTS.assertion, { assertion });
      assert.equal((await client.fetchUserInfo(config, access_token, client.skipSubjectCheck)).email, person.email);
    } finally {
      await upstream.stop();
    }
  },
};

/** A client whose client_id is the address of its metadata: what its user is answered, where they end up, and who asked for it. */
async function byDocument(at) {
  const origin = await startOrigin({
    "/client": (_request, response) =>
      response
        .writeHead(200, { "content-type": "application/json" })
        .end(JSON.stringify({ client_id: `${origin.url}/client`, redirect_uris: [REDIRECT] })),
  });
  try {
    const config = await at.discover({ client_id: `${origin.url}/client` }, client.None());
    const { url, checks } = await begin(config, { scope: "openid" });
    const { browser } = await at.who();
    const { status } = await browser.get(url.href, { headers: PAGE });
    const tokens = status < 400 ? await client.authorizationCodeGrant(config, await agree(browser, url), checks) : undefined;
    return { status, sub: tokens?.claims().sub, asked: origin.requests.length };
  } finally {
    await origin.close();
  }
}

/** An authorization request that is kept somewhere else. */
async function byReference(at) {
  const signer = await clientKey("ES256");
  const registered = await at.register({ skip_consent: true, jwks: { keys: [signer.jwk] } });
  const config = await at.discover(registered);
  const { url } = await begin(config, {}, (known, parameters) => client.buildAuthorizationUrlWithJAR(known, parameters, signer));
  const origin = await startOrigin({
    "/request": (_request, response) =>
      response.writeHead(200, { "content-type": "application/oauth-authz-req+jwt" }).end(url.searchParams.get("request")),
  });
  try {
    const query = new URLSearchParams({ client_id: registered.client_id, request_uri: `${origin.url}/request` });
    const { browser } = await at.who();
    return {
      answer: await browser.get(`${at.document.authorization_endpoint}?${query}`, { headers: PAGE }),
      asked: origin.requests.length,
    };
  } finally {
    await origin.close();
  }
}

/** A notice of ours that a client registers for. That it comes is tried in logout.test.mjs, and here that it is understood. */
const notice = (member, needs) => async (at) => {
  const metadata = { [member]: "http://localhost:3333/signed-out", [needs]: true };
  const made = await at.register(metadata);
  assert.deepEqual([made[member], made[needs]], ["http://localhost:3333/signed-out", true]);
};

const TRIES = {
  issuer: async (at, issuer) => {
    assert.equal(issuer, AUTH);
    for (const algorithm of ["oidc", "oauth2"]) {
      const answer = await oauth.discoveryRequest(new URL(issuer), { ...at.options, algorithm });
      assert.equal(answer.headers.get("access-control-allow-origin"), "*", "scripts of anybody's may read it");
      assert.deepEqual({ ...(await oauth.processDiscoveryResponse(new URL(issuer), answer)) }, at.document, "both addresses say the same");
    }
    assert.equal((await at.flow(await at.plain())).claims().iss, issuer);
  },
  authorization_endpoint: async (at, url) => {
    const config = await at.plain();
    const { browser } = await at.who();
    for (const method of ["GET", "POST"]) {
      const begun = await begin(config);
      assert.equal(begun.url.origin + begun.url.pathname, url);
      // OpenID Connect Core 1.0, section 3.1.2.1: both, and the form comes from another site, without cookies of ours.
      const posted =
        method === "POST" && (await at.worker.browser().submit(url, begun.url.searchParams, { origin: "http://localhost:3333" }));
      const back = await agree(browser, posted ? new URL(posted.location, AUTH) : begun.url);
      assert.ok((await client.authorizationCodeGrant(config, back, begun.checks)).id_token, method);
    }
  },
  token_endpoint: async (at, url) => {
    const answer = await at.post(url, { grant_type: "authorization_code", code: "x" });
    assert.deepEqual([answer.status, answer.json.error], [401, "invalid_client"]);
    await granted.authorization_code(at);
  },
  userinfo_endpoint: async (at, url) => {
    const { access_token } = await at.flow(await at.plain());
    for (const [method, headers, body] of [
      ["GET", { authorization: `Bearer ${access_token}` }],
      ["POST", { authorization: `Bearer ${access_token}` }],
      ["POST", FORM, `access_token=${access_token}`],
    ]) {
      const answer = await at.worker.browser().send(method, url, { headers, body });
      assert.deepEqual([answer.status, answer.json.sub], [200, (await at.who()).id], method);
    }
    assert.equal((await at.worker.browser().get(url)).status, 401);
  },
  jwks_uri: async (at, url) => {
    const { keys } = await (await at.reach(url)).json();
    const { id_token, access_token } = await at.flow(await at.plain());
    for (const token of [id_token, access_token]) await jose.jwtVerify(token, jose.createLocalJWKSet({ keys }), { issuer: AUTH });
    for (const key of keys) {
      assert.ok(at.document.id_token_signing_alg_values_supported.includes(key.alg), `${key.alg} is not told of`);
      assert.deepEqual(
        Object.keys(key).filter((name) => ["d", "p", "q", "dp", "dq", "qi", "k"].includes(name)),
        [],
      );
    }
  },
  pushed_authorization_request_endpoint: async (at, url) => {
    const pushed = [];
    const registered = await at.register({ skip_consent: true, require_pushed_authorization_requests: true });
    const config = await at.discover(registered, undefined, { through: reaching(at.worker, { spy: (one) => pushed.push(one.url) }) });
    assert.ok((await at.flow(config, { build: client.buildAuthorizationUrlWithPAR })).id_token);
    assert.ok(pushed.includes(url));
    assert.equal(
      (await (await at.who()).browser.get((await begin(config)).url.href, { headers: PAGE })).status,
      400,
      "where a client has to",
    );
  },
  device_authorization_endpoint: async (at, url) => {
    const registered = await at.register({ redirect_uris: [], grant_types: [GRANTS.device] });
    const answer = await at.post(url, { scope: "openid", headers: basic(registered) });
    assert.equal(answer.status, 200, answer.text);
    assert.deepEqual(Object.keys(answer.json).sort(), [
      "device_code",
      "expires_in",
      "interval",
      "user_code",
      "verification_uri",
      "verification_uri_complete",
    ]);
    const page = await (await at.who()).browser.get(answer.json.verification_uri, { headers: PAGE });
    assert.equal(page.status, 200);
    assert.match(page.text, /name="user_code"/);
  },
  end_session_endpoint: async (at, url) => {
    const who = await signUp(at.worker);
    const goodbye = "http://localhost:3333/goodbye";
    const config = await at.discover(await at.register({ skip_consent: true, post_logout_redirect_uris: [goodbye] }));
    const { id_token } = await at.flow(config, { who });
    const leave = client.buildEndSessionUrl(config, { id_token_hint: id_token, post_logout_redirect_uri: goodbye });
    assert.equal(leave.origin + leave.pathname, url);
    assert.equal((await who.browser.get(leave.href, { headers: PAGE })).status < 400, true, "they are sent on, or told");
    assert.equal((await who.browser.get(`${AUTH}/api/auth/get-session`)).json, null);
  },
  introspection_endpoint: async (at, url) => {
    const registered = await at.register();
    const answer = await at.post(url, { token: "x", headers: basic(registered) });
    assert.deepEqual([answer.status, answer.json], [200, { active: false }]);
  },
  revocation_endpoint: async (at, url) => {
    const registered = await at.register();
    assert.equal(
      (await at.post(url, { token: "x", headers: basic(registered) })).status,
      200,
      "RFC 7009, section 2.2: an unknown token is gone",
    );
    assert.equal((await at.post(url, { token: "x" })).status, 401);
  },
  registration_endpoint: async (at) => {
    const config = await client.dynamicClientRegistration(
      new URL(AUTH),
      { redirect_uris: [REDIRECT], token_endpoint_auth_method: "client_secret_post" },
      undefined,
      { [client.customFetch]: at.reach, execute: [client.allowInsecureRequests] },
    );
    config[client.customFetch] = at.reach;
    assert.ok((await at.flow(config)).id_token);
  },
  scopes_supported: {
    openid: async (at) => {
      const config = await at.plain();
      assert.ok((await at.flow(config, { parameters: { scope: "openid" } })).id_token);
      const oauthAlone = await at.flow(config, {
        parameters: { scope: "email" },
        checks: { expectedNonce: undefined, idTokenExpected: false },
      });
      assert.equal(oauthAlone.id_token, undefined);
    },
    profile: opens("profile", "name", "given_name", "family_name", "preferred_username", "picture", "zoneinfo", "locale", "updated_at"),
    email: opens("email", "email", "email_verified"),
    phone: opens("phone", "phone_number", "phone_number_verified"),
    address: opens("address", "address"),
    roles: opens("roles", "roles"),
    groups: opens("groups", "groups"),
    org: opens("org", "org"),
    offline_access: async (at) => {
      const config = await at.plain();
      assert.ok((await at.flow(config, { parameters: { scope: "openid offline_access" } })).refresh_token);
      assert.equal((await at.flow(config, { parameters: { scope: "openid" } })).refresh_token, undefined);
    },
  },
  response_types_supported: { code: granted.authorization_code },
  response_modes_supported: Object.fromEntries(
    ["query", "fragment", "form_post", "query.jwt", "fragment.jwt", "form_post.jwt", "jwt"].map((name) => [name, mode(name)]),
  ),
  grant_types_supported: granted,
  subject_types_supported: {
    public: async (at) => assert.equal((await at.flow(await at.plain())).claims().sub, (await at.who()).id),
    pairwise: async (at) => {
      const who = await at.who();
      const registered = await at.register({ subject_type: "pairwise", skip_consent: true });
      const of = async (config) => await at.flow(config, { parameters: { scope: at.document.scopes_supported.join(" ") } });
      const config = await at.discover(registered);
      const tokens = await of(config);
      const { sub } = tokens.claims();
      const info = await client.fetchUserInfo(config, tokens.access_token, sub);
      const told = [
        tokens.claims(),
        info,
        jose.decodeJwt(tokens.access_token),
        await client.tokenIntrospection(config, tokens.access_token),
      ];
      assert.ok(!JSON.stringify(told).includes(who.id), "the user's id reaches a pairwise client");
      assert.deepEqual(
        told.map((one) => one.sub),
        [sub, sub, sub, sub],
      );
      const sibling = await at.discover(await at.register({ subject_type: "pairwise", skip_consent: true }));
      assert.equal((await of(sibling)).claims().sub, sub, "one host is one sector (OpenID Connect Core 1.0, section 8.1)");
      const elsewhere = await at.discover(
        await at.register({ subject_type: "pairwise", skip_consent: true, redirect_uris: ["https://app.example/cb"] }),
      );
      const { url, checks } = await begin(elsewhere, { redirect_uri: "https://app.example/cb" });
      const other = await client.authorizationCodeGrant(elsewhere, await agree(who.browser, url), checks);
      assert.ok(![sub, who.id].includes(other.claims().sub));
    },
  },
  acr_values_supported: {
    phr: async (at) => {
      const who = await signUp(at.worker);
      const enter = await withPasskey(at.worker, who);
      const essential = JSON.stringify({ id_token: { acr: { essential: true, values: ["phr"] } } });
      assert.equal(
        (await at.flow(await at.plain(), { who: { ...who, browser: await enter() }, parameters: { claims: essential } })).claims().acr,
        "phr",
      );
      const unmet = await begin(await at.plain(), { claims: essential, prompt: "none" });
      assert.equal(
        (await agree(who.browser, unmet.url)).searchParams.get("error"),
        "unmet_authentication_requirements",
        "by password alone",
      );
    },
    [MULTI_FACTOR]: async (at) => assert.equal((await at.known()).claims.acr, MULTI_FACTOR),
  },
  id_token_signing_alg_values_supported: ours("id_token"),
  userinfo_signing_alg_values_supported: ours("userinfo"),
  authorization_signing_alg_values_supported: ours("authorization"),
  introspection_signing_alg_values_supported: ours("introspection"),
  request_object_signing_alg_values_supported: theirs(requestObject),
  dpop_signing_alg_values_supported: theirs(proofOfPossession),
  tls_client_certificate_bound_access_tokens: {
    true: async (at) => {
      const shown = certificate("CN=whoever");
      const config = await at.discover(
        await at.register({ skip_consent: true, tls_client_certificate_bound_access_tokens: true }),
        undefined,
        { through: reaching(at.worker, { certificate: shown }) },
      );
      assert.deepEqual(jose.decodeJwt((await at.flow(config)).access_token).cnf, { "x5t#S256": thumbprint(shown) });
    },
  },
  token_endpoint_auth_methods_supported: methods("token", ["none", ...CONFIDENTIAL]),
  token_endpoint_auth_signing_alg_values_supported: assertions("token"),
  introspection_endpoint_auth_methods_supported: methods("introspection", CONFIDENTIAL),
  introspection_endpoint_auth_signing_alg_values_supported: assertions("introspection"),
  revocation_endpoint_auth_methods_supported: methods("revocation", ["none", ...CONFIDENTIAL]),
  revocation_endpoint_auth_signing_alg_values_supported: assertions("revocation"),
  code_challenge_methods_supported: {
    S256: async (at) => {
      const config = await at.plain();
      const { url, checks } = await begin(config);
      const back = await agree((await at.who()).browser, url);
      await assert.rejects(
        client.authorizationCodeGrant(config, back, { ...checks, pkceCodeVerifier: client.randomPKCECodeVerifier() }),
        says("invalid_grant"),
      );
      assert.ok((await at.flow(config)).id_token);
    },
  },
  prompt_values_supported: {
    none: async (at) => {
      const { first, pages, tokens, who, config } = await prompted(at, "none");
      assert.equal(new URL(first.location).searchParams.get("error"), "login_required", "to whoever is not signed in");
      assert.deepEqual(pages, []);
      assert.ok((await tokens()).id_token);
      const more = await begin(config, { prompt: "none", scope: "openid phone" });
      assert.equal((await agree(who.browser, more.url)).searchParams.get("error"), "consent_required");
    },
    login: again("login"),
    select_account: again("select_account"),
    consent: async (at) => {
      const { pages, tokens } = await prompted(at, "consent");
      assert.equal(pages.length, 1);
      assert.match(pages[0], /action="\/consent"/, "though they have agreed before");
      assert.ok((await tokens()).id_token);
    },
    create: async (at) => {
      const config = await at.plain();
      const { url, checks } = await begin(config, { prompt: "create" });
      const browser = at.worker.browser();
      const { location } = await browser.get(url.href, { headers: PAGE });
      const page = await browser.get(new URL(location, AUTH).href, { headers: PAGE });
      const { action, fields } = formOf(page.text);
      assert.equal(action, "/sign-up");
      const email = uniqueEmail();
      const made = await browser.submit(`${AUTH}${action}`, { ...fields, name: "New", email, password: PASSWORD });
      const back = await agree(browser, new URL(made.location, AUTH));
      const tokens = await client.authorizationCodeGrant(config, back, checks);
      assert.equal((await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub)).email, email);
    },
  },
  claims_supported: Object.fromEntries(Object.keys(CLAIMS).map((name) => [name, claim(name)])),
  claims_parameter_supported: {
    true: async (at) => {
      const tokens = await at.flow(await at.plain(), {
        parameters: { scope: "openid", claims: '{"id_token":{"email":{"essential":true}}}' },
      });
      assert.equal(tokens.claims().email, (await at.who()).email);
    },
  },
  request_parameter_supported: { true: (at) => requestObject(at, "ES256") },
  request_uri_parameter_supported: {
    false: async (at) => {
      const { answer, asked } = await byReference(at);
      assert.deepEqual([answer.status, answer.location, asked], [400, undefined, 0], "nobody asks for it");
    },
  },
  backchannel_logout_supported: { true: notice("backchannel_logout_uri", "backchannel_logout_session_required") },
  backchannel_logout_session_supported: { true: notice("backchannel_logout_uri", "backchannel_logout_session_required") },
  frontchannel_logout_supported: { true: notice("frontchannel_logout_uri", "frontchannel_logout_session_required") },
  frontchannel_logout_session_supported: { true: notice("frontchannel_logout_uri", "frontchannel_logout_session_required") },
  client_id_metadata_document_supported: {
    false: async (at) => assert.deepEqual(await byDocument(at), { status: 400, sub: undefined, asked: 0 }),
    true: async (at) => assert.deepEqual(await byDocument(at), { status: 302, sub: (await at.who()).id, asked: 1 }),
  },
  authorization_response_iss_parameter_supported: {
    true: async (at) => {
      const config = await at.plain();
      const { browser } = await at.who();
      for (const parameters of [{}, { resource: "not-a-resource" }]) {
        const back = await agree(browser, (await begin(config, parameters)).url);
        assert.deepEqual([back.searchParams.has("error"), back.searchParams.get("iss")], [parameters.resource !== undefined, AUTH]);
      }
    },
  },
};

/** What a document says that nobody here knows how to try. */
function unknown(document) {
  const member = ([name, value]) => {
    const tries = TRIES[name];
    if (tries === undefined) return [name];
    if (typeof tries === "function") return [];
    return [value]
      .flat()
      .filter((one) => !Object.hasOwn(tries, String(one)))
      .map((one) => `${name}: ${one}`);
  };
  return Object.entries(document).flatMap(member);
}

/** Tries each value of these members, each as a test of its own. */
async function tryEach(t, at, names = Object.keys(at.document)) {
  for (const name of names) {
    const value = at.document[name];
    const tries = TRIES[name];
    if (typeof tries === "function") await t.test(name, () => tries(at, value));
    else for (const one of [value].flat()) await t.test(`${name}: ${one}`, () => tries[String(one)](at));
  }
}

let full;
before(async () => {
  full = await surroundings();
});
after(() => full?.worker.dispose());

test("discovery tells nothing untrue: whatever it says is tried", async (t) => {
  assert.deepEqual(unknown(full.document), [], "it says what nobody knows how to try");
  await tryEach(t, full);
});

test("what is told here is told of, and what is tried here is said", async () => {
  // Whatever somebody gets has to be in the list of claims …
  const { claims } = await full.known();
  for (const name of Object.keys(claims)) assert.ok(full.document.claims_supported.includes(name), `${name} is not told of`);
  // … and a value that silently went away is as wrong as one that came.
  for (const [name, tries] of Object.entries(TRIES)) {
    assert.ok(Object.hasOwn(full.document, name), `${name} is not said any more`);
    if (Array.isArray(full.document[name])) assert.deepEqual([...full.document[name]].sort(), Object.keys(tries).sort(), name);
  }
});

test("a member or a value that nobody knows how to try is found", () => {
  const { document } = full;
  assert.deepEqual(unknown({ ...document, ciba_endpoint: "https://x" }), ["ciba_endpoint"]);
  assert.deepEqual(unknown({ ...document, prompt_values_supported: ["none", "dance"] }), ["prompt_values_supported: dance"]);
  assert.deepEqual(unknown({ ...document, request_uri_parameter_supported: true }), ["request_uri_parameter_supported: true"]);
  assert.deepEqual(
    unknown({ ...document, scopes_supported: ["constructor"] }),
    ["scopes_supported: constructor"],
    "not even by a name that every object has",
  );
});

test("somebody who is not signed in is asked once, whatever the prompt", async () => {
  const config = await full.plain();
  const who = await full.who();
  for (const parameters of [{}, { prompt: "login" }, { prompt: "select_account" }, { max_age: "0" }]) {
    const pages = [];
    const { url, checks } = await begin(config, parameters);
    const back = await agree(full.worker.browser(), url, { who, seen: pages });
    assert.ok((await client.authorizationCodeGrant(config, back, checks)).id_token);
    assert.equal(pages.length, 1, JSON.stringify(parameters));
  }
});

// What it leaves out

test("a request by reference is refused, and nobody fetches it", async () => {
  assert.equal(full.document.request_uri_parameter_supported, false);
  const { answer, asked } = await byReference(full);
  assert.deepEqual([answer.status, asked], [400, 0]);
  const registered = await full.register();
  const pushed = await full.post(full.document.pushed_authorization_request_endpoint, {
    request_uri: "https://app.example/request",
    headers: basic(registered),
  });
  assert.deepEqual([pushed.status, pushed.json.error], [400, "invalid_request"]);
});

test("PKCE is S256, and neither plain nor left out", async () => {
  const config = await full.plain();
  const verifier = client.randomPKCECodeVerifier();
  assert.equal(await full.refusal(config, { code_challenge: verifier, code_challenge_method: "plain" }), "invalid_request");
  assert.equal(await full.refusal(config, { code_challenge: verifier, code_challenge_method: "S512" }), "invalid_request");
  const registered = await full.register({ skip_consent: true });
  const bare = new URLSearchParams({
    client_id: registered.client_id,
    response_type: "code",
    redirect_uri: REDIRECT,
    scope: "openid",
    state: "s",
  });
  for (const more of [{}, { code_challenge: verifier }]) {
    const back = await agree((await full.who()).browser, `${full.document.authorization_endpoint}?${bare}&${new URLSearchParams(more)}`);
    assert.equal(back.searchParams.get("error"), "invalid_request");
  }
  const { url, checks } = await begin(await full.discover(registered));
  const code = (await agree((await full.who()).browser, url)).searchParams.get("code");
  const redeem = (more) =>
    full.post(full.document.token_endpoint, {
      grant_type: "authorization_code",
      code,
      redirect_uri: REDIRECT,
      headers: basic(registered),
      ...more,
    });
  const without = await redeem({});
  assert.deepEqual([without.status, without.json.error], [400, "invalid_grant"], "without a verifier");
  assert.equal((await redeem({ code_verifier: checks.pkceCodeVerifier })).status, 200, "and with it");
});

test("nobody authenticates by a MAC, by a self-signed certificate, or in a way of another client's", async () => {
  for (const method of ["client_secret_jwt", "self_signed_tls_client_auth", "made_up"])
    await full.unregistrable({ token_endpoint_auth_method: method });
  const registered = await full.register({ grant_types: ["client_credentials"], redirect_uris: [], scope: "x" });
  const config = await full.discover(registered, client.ClientSecretJwt(registered.client_secret));
  await assert.rejects(client.clientCredentialsGrant(config), says("invalid_client"));
  await assert.rejects(client.tokenIntrospection(config, "x"), says("invalid_client"));
  await assert.rejects(client.tokenRevocation(config, "x"), says("invalid_client"));
  // By a client whose keys we know, with one of them as if it were a secret.
  const { jwk } = await clientKey("ES256");
  const keyed = await full.register({
    grant_types: ["client_credentials"],
    redirect_uris: [],
    scope: "x",
    token_endpoint_auth_method: "private_key_jwt",
    jwks: { keys: [jwk] },
  });
  await assert.rejects(
    client.clientCredentialsGrant(await full.discover(keyed, client.ClientSecretJwt(JSON.stringify(jwk)))),
    says("invalid_client"),
  );
  // Public clients look into no tokens.
  assert.ok(!full.document.introspection_endpoint_auth_methods_supported.includes("none"));
  const publicly = await full.register({ token_endpoint_auth_method: "none" });
  await assert.rejects(client.tokenIntrospection(await full.discover(publicly, client.None()), "x"), says("invalid_client"));
});

test("implicit and hybrid answers, passwords and what else there once was are refused", async () => {
  const config = await full.plain();
  for (const response_type of ["token", "id_token", "id_token token", "code token", "code id_token", "code id_token token", "none"]) {
    assert.equal(await full.refusal(config, { response_type }), "unsupported_response_type", response_type);
    await full.unregistrable({ response_types: [response_type] });
  }
  assert.equal(await full.refusal(config, { response_mode: "web_message" }), "invalid_request");
  assert.equal(await full.refusal(config, { prompt: "none login" }), "invalid_request", "none goes with nothing");
  assert.equal(await full.refusal(config, { registration: "{}" }), "registration_not_supported");
  for (const grant of ["implicit", "password", "urn:ietf:params:oauth:grant-type:saml2-bearer", "urn:openid:params:grant-type:ciba"]) {
    await assert.rejects(
      client.genericGrantRequest(config, grant, { username: "x", password: "x", assertion: "x", auth_req_id: "x" }),
      says("unsupported_grant_type"),
      grant,
    );
    await full.unregistrable({ grant_types: [grant] });
  }
  await full.unregistrable({ subject_type: "ephemeral" });
});

test("algorithms that are not listed are refused: of ours, and of theirs", async () => {
  const RESPONSES = [
    "id_token_signed_response_alg",
    "userinfo_signed_response_alg",
    "authorization_signed_response_alg",
    "introspection_signed_response_alg",
  ];
  for (const alg of ["none", "HS256", "ES384", "RS512", "PS512"]) {
    for (const member of [...RESPONSES, "token_endpoint_auth_signing_alg", "request_object_signing_alg"])
      await full.unregistrable({ [member]: alg });
  }
  for (const member of RESPONSES) await full.unregistrable({ [member]: "PS256" });
  for (const member of [
    "id_token_encrypted_response_alg",
    "userinfo_encrypted_response_enc",
    "authorization_encrypted_response_alg",
    "introspection_encrypted_response_alg",
    "request_object_encryption_alg",
  ])
    await full.unregistrable({ [member]: "RSA-OAEP-256" });
  const config = await full.discover(await full.register({ grant_types: ["client_credentials"], redirect_uris: [], scope: "x" }));
  for (const alg of ["ES384", "RS512", "PS384"]) {
    const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair(alg));
    await assert.rejects(client.clientCredentialsGrant(config, undefined, { DPoP }), says("invalid_dpop_proof"), alg);
  }
});

// Other settings

test("with less switched on the document says less, what is left is true, and what is gone is refused", async (t) => {
  const at = await surroundings({ SIGNING_ALGORITHMS: "ES256", CLIENT_REGISTRATION: "closed", CLIENT_ID_METADATA_DOCUMENTS: "on" });
  try {
    const changed = Object.keys(full.document).filter((name) => JSON.stringify(at.document[name]) !== JSON.stringify(full.document[name]));
    const SIGNING = ["id_token", "userinfo", "authorization", "introspection"].map((what) => `${what}_signing_alg_values_supported`);
    assert.deepEqual(changed.sort(), [...SIGNING, "client_id_metadata_document_supported", "registration_endpoint"].sort());
    assert.deepEqual(unknown(at.document), []);
    for (const name of SIGNING) assert.deepEqual(at.document[name], ["ES256"]);
    await tryEach(t, at, [...SIGNING, "client_id_metadata_document_supported", "jwks_uri"]);
    for (const alg of ["EdDSA", "RS256"]) {
      for (const what of ["id_token", "userinfo", "authorization", "introspection"])
        await at.unregistrable({ [`${what}_signed_response_alg`]: alg });
      // What others sign with is no matter of ours.
      await requestObject(at, alg);
    }
    assert.equal("registration_endpoint" in at.document, false);
    const refused = await at.worker.browser().post(`${AUTH}/oauth2/register`, { redirect_uris: [REDIRECT] });
    assert.deepEqual([refused.status, refused.json.error], [403, "access_denied"]);
    const byUser = await (await at.who()).browser.post(`${AUTH}/api/auth/oauth2/create-client`, { redirect_uris: [REDIRECT] });
    assert.equal(byUser.status, 403, byUser.text);
  } finally {
    await at.worker.dispose();
  }
});
