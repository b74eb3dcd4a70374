// Software that signs in with us, which we did not write: npm `openid-client` and `oauth4webapi`, certified relying parties.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { after, before, test } from "node:test";
import * as jose from "jose";
import * as oauth from "oauth4webapi";
import * as client from "openid-client";
import { REDIRECT, agree, begin, relyingParty } from "../harness/relying-party.mjs";
import { PAGE, signUp, visit } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

let worker, reach, register, discover;
before(async () => {
  worker = await startWorker();
  ({ reach, register, discover } = relyingParty(worker, await signUp(worker, { roles: ["admin"] })));
});
after(() => worker?.dispose());

test("openid-client: code, ID token, userinfo, refresh, introspection, revocation", async () => {
  const registered = await register();
  const config = await discover(registered);
  const who = await signUp(worker);
  const { url, checks } = await begin(config);
  const back = await agree(worker.browser(), url, { who });
  assert.equal(back.searchParams.get("iss"), AUTH);
  const tokens = await client.authorizationCodeGrant(config, back, checks);
  const claims = tokens.claims();
  assert.deepEqual([claims.sub, claims.aud, claims.amr], [who.id, registered.client_id, ["pwd"]]);
  assert.ok(claims.auth_time <= claims.iat && claims.sid);
  const info = await client.fetchUserInfo(config, tokens.access_token, claims.sub);
  assert.deepEqual([info.email, info.name], [who.email, "Zoë Ångström"]);
  assert.equal(info.phone_number, undefined, "not asked for");

  const keys = jose.createLocalJWKSet((await worker.browser().get(`${AUTH}/api/auth/jwks`)).json);
  const access = await jose.jwtVerify(tokens.access_token, keys, { issuer: AUTH, audience: `${AUTH}/oauth2/userinfo`, typ: "at+jwt" });
  assert.deepEqual(
    [access.payload.sub, access.payload.client_id, access.payload.scope],
    [who.id, registered.client_id, "openid email profile offline_access"],
  );

  const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token);
  assert.notEqual(refreshed.refresh_token, tokens.refresh_token);
  assert.equal(refreshed.claims().sub, who.id);
  const seen = await client.tokenIntrospection(config, refreshed.access_token);
  assert.deepEqual([seen.active, seen.sub, seen.client_id, seen.token_type], [true, who.id, registered.client_id, "Bearer"]);
  await client.tokenRevocation(config, refreshed.refresh_token);
  assert.equal((await client.tokenIntrospection(config, refreshed.access_token)).active, false);
  await assert.rejects(client.fetchUserInfo(config, refreshed.access_token, who.id), /401|unexpected|challenge/i);
  await assert.rejects(client.refreshTokenGrant(config, refreshed.refresh_token), (error) => error.error === "invalid_grant");
});

test("each way of client authentication is taken, and no other", async () => {
  const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const jwk = { ...pair.publicKey.export({ format: "jwk" }), kid: "mine", alg: "ES256", use: "sig" };
  const key = await jose.importJWK({ ...pair.privateKey.export({ format: "jwk" }), alg: "ES256" }, "ES256");
  const ways = {
    client_secret_basic: ({ client_secret }) => client.ClientSecretBasic(client_secret),
    client_secret_post: ({ client_secret }) => client.ClientSecretPost(client_secret),
    private_key_jwt: () => client.PrivateKeyJwt({ key, kid: "mine" }),
    none: () => client.None(),
  };
  const who = await signUp(worker);
  for (const [method, authentication] of Object.entries(ways)) {
    const registered = await register({
      token_endpoint_auth_method: method,
      ...(method === "private_key_jwt" && { jwks: { keys: [jwk] } }),
    });
    assert.equal(registered.client_secret !== undefined, method.startsWith("client_secret"));
    const config = await discover(registered, authentication(registered));
    const { url, checks } = await begin(config);
    const tokens = await client.authorizationCodeGrant(config, await agree(who.browser, url, { who }), checks);
    assert.equal(tokens.claims().sub, who.id, method);
    for (const [other, wrong] of Object.entries(ways)) {
      if (other === method) continue;
      const bad = await discover(registered, wrong({ client_secret: registered.client_secret ?? "a made-up secret" }));
      await assert.rejects(
        client.refreshTokenGrant(bad, tokens.refresh_token),
        (error) => error.error === "invalid_client" || error.cause?.error === "invalid_client" || error.status === 401,
        `${method} by ${other}`,
      );
    }
  }
});

test("oauth4webapi: discovery by both documents, client credentials, JWT access tokens at a resource", async () => {
  const registered = await register({
    grant_types: ["client_credentials"],
    redirect_uris: [],
    scope: "reports:read reports:write",
    resources: ["https://reports.example"],
  });
  const options = { [oauth.customFetch]: reach, [oauth.allowInsecureRequests]: true };
  for (const algorithm of ["oidc", "oauth2"]) {
    const server = await oauth.processDiscoveryResponse(
      new URL(AUTH),
      await oauth.discoveryRequest(new URL(AUTH), { ...options, algorithm }),
    );
    const answer = await oauth.clientCredentialsGrantRequest(
      server,
      { client_id: registered.client_id },
      oauth.ClientSecretBasic(registered.client_secret),
      new URLSearchParams({ scope: "reports:read", resource: "https://reports.example" }),
      options,
    );
    const tokens = await oauth.processClientCredentialsResponse(server, { client_id: registered.client_id }, answer);
    assert.deepEqual([tokens.scope, tokens.refresh_token, tokens.id_token], ["reports:read", undefined, undefined]);
    const request = new Request("https://reports.example/", { headers: { authorization: `Bearer ${tokens.access_token}` } });
    const claims = await oauth.validateJwtAccessToken(server, request, "https://reports.example", options);
    assert.deepEqual([claims.sub, claims.scope], [registered.client_id, "reports:read"]);
  }
});

test("a client registers itself, where that is open, and is a stranger until its user agrees", async () => {
  const config = await client.dynamicClientRegistration(
    new URL(AUTH),
    { client_name: "By itself", redirect_uris: [REDIRECT], token_endpoint_auth_method: "client_secret_post" },
    undefined,
    { [client.customFetch]: reach, execute: [client.allowInsecureRequests] },
  );
  config[client.customFetch] = reach;
  const who = await signUp(worker);
  const { url, checks } = await begin(config, { scope: "openid email" });
  const page = worker.browser();
  const refused = await agree(page, url, { who, decision: "deny" });
  assert.deepEqual([refused.searchParams.get("error"), refused.searchParams.get("state")], ["access_denied", checks.expectedState]);
  const first = await begin(config, { scope: "openid email" });
  const tokens = await client.authorizationCodeGrant(config, await agree(page, first.url, { who }), first.checks);
  assert.equal(tokens.refresh_token, undefined, "offline_access was not asked for");
  // Asked once.
  const again = await begin(config, { scope: "openid email", prompt: "none" });
  const silent = await page.get(again.url.href, { headers: PAGE });
  assert.ok(new URL(silent.location).searchParams.get("code"), silent.location);
  const wider = await begin(config, { scope: "openid email profile", prompt: "none" });
  assert.equal(new URL((await page.get(wider.url.href, { headers: PAGE })).location).searchParams.get("error"), "consent_required");
  const closed = await startWorker({ settings: { CLIENT_REGISTRATION: "closed" } });
  try {
    assert.equal((await closed.browser().post(`${AUTH}/oauth2/register`, { redirect_uris: [REDIRECT] })).status, 403);
    assert.equal((await closed.browser().get(`${AUTH}/.well-known/openid-configuration`)).json.registration_endpoint, undefined);
  } finally {
    await closed.dispose();
  }
});

test("prompt, max_age and response modes", async () => {
  const registered = await register({ skip_consent: true });
  const config = await discover(registered);
  const who = await signUp(worker);
  const nobody = await begin(config, { prompt: "none" });
  assert.equal(
    new URL((await worker.browser().get(nobody.url.href, { headers: PAGE })).location).searchParams.get("error"),
    "login_required",
  );
  // They sign in again, once.
  const login = await begin(config, { prompt: "login", login_hint: who.email });
  const shown = await visit(who.browser, login.url.href);
  assert.match(shown.text, /action="\/login"/);
  assert.ok(shown.text.includes(`value="${who.email}"`), "the hint is filled in");
  const before = Math.floor(Date.now() / 1000);
  const tokens = await client.authorizationCodeGrant(config, await agree(who.browser, login.url, { who }), login.checks);
  assert.ok(tokens.claims().auth_time >= before - 1);
  await worker.d1.prepare("update session set authenticated_at = authenticated_at - 100000").run();
  const stale = await begin(config, { max_age: "60", prompt: "none" });
  assert.equal(
    new URL((await who.browser.get(`${stale.url.href}`, { headers: PAGE })).location).searchParams.get("error"),
    "login_required",
  );
  const fragment = await begin(config, { response_mode: "fragment" });
  const inFragment = new URL((await who.browser.get(fragment.url.href, { headers: PAGE })).location);
  assert.ok(new URLSearchParams(inFragment.hash.slice(1)).get("code"));
  assert.equal(inFragment.search, "");
  const posted = await begin(config, { response_mode: "form_post" });
  const page = await who.browser.get(posted.url.href, { headers: PAGE });
  assert.match(page.text, new RegExp(`action="${REDIRECT}"`));
  assert.match(page.text, /name="code" value="[\w-]{43}"/);
});

test("a code redeemed 50 times at once gives one token, and that one is revoked", async () => {
  const registered = await register({ skip_consent: true });
  const config = await discover(registered);
  const who = await signUp(worker);
  const { url, checks } = await begin(config);
  const code = (await agree(who.browser, url, { who })).searchParams.get("code");
  const form = new URLSearchParams({
    grant_type: "authorization_code",
    code,
    redirect_uri: REDIRECT,
    code_verifier: checks.pkceCodeVerifier,
  }).toString();
  const headers = {
    "content-type": "application/x-www-form-urlencoded",
    authorization: `Basic ${Buffer.from(`${registered.client_id}:${registered.client_secret}`).toString("base64")}`,
  };
  const answers = await Promise.all(
    Array.from({ length: 50 }, () => worker.browser().send("POST", `${AUTH}/oauth2/token`, { headers, body: form })),
  );
  const good = answers.filter(({ status }) => status === 200);
  assert.equal(good.length, 1, JSON.stringify(answers.map(({ status }) => status)));
  for (const { status, json } of answers) if (status !== 200) assert.deepEqual([status, json.error], [400, "invalid_grant"]);
  assert.equal((await client.tokenIntrospection(config, good[0].json.access_token)).active, false);
  await assert.rejects(client.refreshTokenGrant(config, good[0].json.refresh_token));
});

test("a refresh token used 50 times at once has one successor; used later, it ends the family", async () => {
  const registered = await register({ skip_consent: true });
  const config = await discover(registered);
  const who = await signUp(worker);
  const { url, checks } = await begin(config);
  const tokens = await client.authorizationCodeGrant(config, await agree(who.browser, url, { who }), checks);
  const answers = await Promise.all(Array.from({ length: 50 }, () => client.refreshTokenGrant(config, tokens.refresh_token)));
  assert.equal(new Set(answers.map(({ refresh_token }) => refresh_token)).size, 1);
  const successor = answers[0].refresh_token;
  assert.equal((await worker.rows("select 1 from oauth_token where kind = 'refresh' and user_id = ?", who.id)).length, 2);
  await worker.d1.prepare("update oauth_token set used_at = used_at - 20000 where used_at is not null").run();
  await assert.rejects(client.refreshTokenGrant(config, tokens.refresh_token), (error) => error.error === "invalid_grant");
  await assert.rejects(client.refreshTokenGrant(config, successor), (error) => error.error === "invalid_grant");
  assert.equal((await client.tokenIntrospection(config, answers[3].access_token)).active, false);
});

test("signed out, what was not given for longer ends", async () => {
  const registered = await register({ skip_consent: true });
  const config = await discover(registered);
  const who = await signUp(worker);
  const short = await begin(config, { scope: "openid email" });
  const tokens = await client.authorizationCodeGrant(config, await agree(who.browser, short.url, { who }), short.checks);
  const long = await begin(config);
  const kept = await client.authorizationCodeGrant(config, await agree(who.browser, long.url, { who }), long.checks);
  assert.equal((await who.browser.post(`${AUTH}/api/auth/sign-out`)).status, 200);
  assert.equal((await client.tokenIntrospection(config, tokens.access_token)).active, false);
  assert.equal((await client.tokenIntrospection(config, kept.access_token)).active, true);
  await worker.d1.prepare("update user set status = 'suspended' where id = ?").bind(who.id).run();
  assert.equal((await client.tokenIntrospection(config, kept.access_token)).active, false);
  await assert.rejects(client.refreshTokenGrant(config, kept.refresh_token), (error) => error.error === "invalid_grant");
});

test("a pushed request is good once, and what the browser adds to it counts for nothing", async () => {
  const registered = await register({ skip_consent: true });
  const config = await discover(registered);
  const who = await signUp(worker);
  const verifier = client.randomPKCECodeVerifier();
  const state = client.randomState();
  const url = await client.buildAuthorizationUrlWithPAR(config, {
    redirect_uri: REDIRECT,
    scope: "openid email",
    state,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
  });
  assert.deepEqual([...url.searchParams.keys()].sort(), ["client_id", "request_uri"]);
  url.searchParams.set("scope", "openid email profile phone");
  url.searchParams.set("redirect_uri", "https://evil.example/");
  const tokens = await client.authorizationCodeGrant(config, await agree(worker.browser(), url, { who }), {
    pkceCodeVerifier: verifier,
    expectedState: state,
    idTokenExpected: true,
  });
  assert.equal(tokens.scope, "openid email");
  const again = await who.browser.get(url.href, { headers: PAGE });
  assert.equal(again.status, 400);
  const bad = new URLSearchParams({ redirect_uri: "https://evil.example/", response_type: "code" }).toString();
  const headers = {
    "content-type": "application/x-www-form-urlencoded",
    authorization: `Basic ${Buffer.from(`${registered.client_id}:${registered.client_secret}`).toString("base64")}`,
  };
  const refused = await worker.browser().send("POST", `${AUTH}/oauth2/par`, { headers, body: bad });
  assert.deepEqual([refused.status, refused.json.error], [400, "invalid_request"]);
});

test("a client signs its user out: by the session's own ID token at once, by any other link after a question", async () => {
  const GOODBYE = "http://localhost:3333/goodbye";
  const registered = await register({ skip_consent: true, post_logout_redirect_uris: [GOODBYE] });
  const config = await discover(registered);
  const [who, other] = [await signUp(worker), await signUp(worker)];
  const { url, checks } = await begin(config);
  const tokens = await client.authorizationCodeGrant(config, await agree(who.browser, url, { who }), checks);
  const leave = client.buildEndSessionUrl(config, { id_token_hint: tokens.id_token, post_logout_redirect_uri: GOODBYE, state: "s" });
  const asked = await other.browser.get(leave.href, { headers: PAGE });
  assert.equal(asked.status, 200);
  assert.match(asked.text, /The app asks to sign you out/);
  assert.ok((await other.browser.get(`${AUTH}/api/auth/get-session`)).json, "a link of somebody else's signed them out");
  const [, query] = asked.text.match(/name="query" value="([^"]*)"/);
  const confirmed = await other.browser.submit(`${AUTH}/oauth2/end_session/confirm`, { query: query.replaceAll("&amp;", "&") });
  assert.deepEqual([confirmed.status, confirmed.location], [303, `${GOODBYE}?state=s`]);
  assert.equal((await other.browser.get(`${AUTH}/api/auth/get-session`)).json, null);
  const left = await who.browser.get(leave.href, { headers: PAGE });
  assert.deepEqual([left.status, left.location], [303, `${GOODBYE}?state=s`]);
  assert.equal((await who.browser.get(`${AUTH}/api/auth/get-session`)).json, null);
  for (const parameters of [
    { post_logout_redirect_uri: "https://evil.example/", client_id: registered.client_id },
    { id_token_hint: tokens.access_token },
    { id_token_hint: tokens.id_token, client_id: "another" },
  ]) {
    const answer = await who.browser.get(`${AUTH}/oauth2/end_session?${new URLSearchParams(parameters)}`, { headers: PAGE });
    assert.equal(answer.status, 400, JSON.stringify(parameters));
    assert.equal(answer.location, undefined);
  }
  const unnamed = await who.browser.get(`${AUTH}/oauth2/end_session?${new URLSearchParams({ post_logout_redirect_uri: GOODBYE })}`, {
    headers: PAGE,
  });
  assert.deepEqual([unnamed.status, unnamed.location], [200, undefined], "nobody says whose the URI is: it is not followed");
});

test("a device is connected by its user in another browser, once", async () => {
  const registered = await register({
    application_type: "native",
    redirect_uris: [],
    grant_types: ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"],
    client_name: "A television",
  });
  const config = await discover(registered, client.None());
  const who = await signUp(worker);
  const begun = await client.initiateDeviceAuthorization(config, { scope: "openid email offline_access" });
  assert.match(begun.user_code, /^[B-Z]{4}-[B-Z]{4}$/);
  const poll = () =>
    reach(`${AUTH}/oauth2/token`, {
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: new URLSearchParams({
        grant_type: "urn:ietf:params:oauth:grant-type:device_code",
        device_code: begun.device_code,
        client_id: registered.client_id,
      }),
    }).then(async (answer) => [answer.status, (await answer.json()).error]);
  assert.deepEqual(await poll(), [400, "authorization_pending"]);
  assert.deepEqual(await poll(), [400, "slow_down"]);
  const rested = () => worker.d1.prepare("update oauth_grant set polled_at = null").run();
  await rested();

  const stranger = await worker.browser().get(begun.verification_uri_complete, { headers: PAGE });
  assert.match(stranger.location, /^\/login\?continue=/);
  const wrong = await who.browser.get(`${begun.verification_uri}?user_code=BBBB-BBBB`, { headers: PAGE });
  assert.equal(wrong.status, 400);
  const page = await who.browser.get(begun.verification_uri_complete, { headers: PAGE });
  assert.match(page.text, /A television/);
  const decided = await who.browser.submit(begun.verification_uri, { user_code: begun.user_code.toLowerCase(), decision: "allow" });
  assert.equal(decided.status, 200, decided.text);
  assert.equal(
    (await who.browser.submit(begun.verification_uri, { user_code: begun.user_code, decision: "allow" })).status,
    400,
    "answered before",
  );

  const body = new URLSearchParams({
    grant_type: "urn:ietf:params:oauth:grant-type:device_code",
    device_code: begun.device_code,
    client_id: registered.client_id,
  });
  const headers = { "content-type": "application/x-www-form-urlencoded" };
  await rested();
  const first = await reach(`${AUTH}/oauth2/token`, { method: "POST", headers, body });
  const got = await first.json();
  assert.equal(first.status, 200, JSON.stringify(got));
  assert.equal(jose.decodeJwt(got.id_token).sub, who.id);
  assert.ok(got.refresh_token);
  await rested();
  assert.deepEqual(await poll(), [400, "invalid_grant"]);
});

test("a device code polled 50 times at once gives one token; one that was refused gives none", async () => {
  const registered = await register({ redirect_uris: [], grant_types: ["urn:ietf:params:oauth:grant-type:device_code"] });
  const config = await discover(registered);
  const who = await signUp(worker);
  const decide = async (decision) => {
    const begun = await client.initiateDeviceAuthorization(config, { scope: "openid" });
    assert.equal((await who.browser.submit(begun.verification_uri, { user_code: begun.user_code, decision })).status, 200);
    return begun;
  };
  const refused = await decide("deny");
  await assert.rejects(
    client.pollDeviceAuthorizationGrant(config, { ...refused, interval: 0 }),
    (error) => error.error === "access_denied",
  );
  const begun = await decide("allow");
  const headers = {
    "content-type": "application/x-www-form-urlencoded",
    authorization: `Basic ${Buffer.from(`${registered.client_id}:${registered.client_secret}`).toString("base64")}`,
  };
  const body = new URLSearchParams({
    grant_type: "urn:ietf:params:oauth:grant-type:device_code",
    device_code: begun.device_code,
  }).toString();
  const answers = await Promise.all(
    Array.from({ length: 50 }, () => worker.browser().send("POST", `${AUTH}/oauth2/token`, { headers, body })),
  );
  assert.equal(answers.filter(({ status }) => status === 200).length, 1, JSON.stringify(answers.map(({ status }) => status)));
  assert.equal(
    (await worker.rows("select 1 from oauth_token t join oauth_client c on c.id = t.client_id where c.client_id = ?", registered.client_id))
      .length,
    1,
  );
});
