// The published clients for devices and for Google's One Tap, unchanged, against us.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, beforeEach, test } from "node:test";
import { createAuthClient } from "better-auth/client";
import { deviceAuthorizationClient, oneTapClient } from "better-auth/client/plugins";
import { SignJWT } from "jose";
import { uniqueEmail } from "../harness/browser.mjs";
import { addIssuer, startIssuer } from "../harness/issuer.mjs";
import { signUp } from "../harness/seed.mjs";
import { AUTH, SPA, startWorker } from "../harness/worker.mjs";

const GRANT = "urn:ietf:params:oauth:grant-type:device_code";
let worker, issuer, clientId;
before(async () => {
  issuer = await startIssuer();
  worker = await startWorker({ settings: { LIMIT_SIGN_IN: "100/10" } });
  const admin = await signUp(worker, { roles: ["owner"] });
  const made = await admin.browser.post(`${AUTH}/api/auth/admin/oauth2/create-client`, {
    client_name: "The TV",
    token_endpoint_auth_method: "none",
    grant_types: [GRANT],
    scope: "openid profile",
  });
  assert.equal(made.status, 201, made.text);
  clientId = made.json.client_id;
});
after(async () => {
  await worker?.dispose();
  await issuer?.stop();
});
beforeEach(() => issuer.behave());

function clientOf(browser, origin = SPA) {
  const customFetchImpl = async (url, init = {}) => {
    const headers = { ...Object.fromEntries(new Headers(init.headers)), ...(origin && { origin }) };
    const answer = await browser.send(init.method ?? "GET", String(url), { headers, body: init.body ?? undefined });
    return new Response([204, 304].includes(answer.status) ? null : answer.bytes, { status: answer.status, headers: answer.headers });
  };
  return createAuthClient({
    baseURL: AUTH,
    plugins: [deviceAuthorizationClient(), oneTapClient({ clientId: "doorward" })],
    fetchOptions: { customFetchImpl },
  });
}

const ok = ({ data, error }) => (assert.equal(error, null, JSON.stringify(error)), data);
const refused = ({ error }, status, code) =>
  assert.deepEqual([error?.status, error?.error ?? error?.code], [status, code], JSON.stringify(error));
const poll = (tv, device_code) => tv.device.token({ grant_type: GRANT, device_code, client_id: clientId });
/** The device may poll again at once. */
const patient = () => worker.d1.prepare("update oauth_grant set polled_at = 1 where polled_at is not null").run();

test("a device asks, its user approves by the client, and it gets the provider's access token", async () => {
  const tv = clientOf(worker.browser(), null);
  const person = await signUp(worker);
  const page = clientOf(person.browser);
  const begun = ok(await tv.device.code({ client_id: clientId, scope: "openid profile" }));
  assert.deepEqual([begun.interval, begun.verification_uri, typeof begun.expires_in], [5, `${AUTH}/device`, "number"]);
  refused(await poll(tv, begun.device_code), 400, "authorization_pending");
  refused(await poll(tv, begun.device_code), 400, "slow_down");
  // Signed out one learns that a device waits, and no more.
  const outside = ok(await clientOf(worker.browser()).device({ query: { user_code: begun.user_code } }));
  assert.deepEqual(outside, { user_code: begun.user_code, status: "pending" });
  refused(await clientOf(worker.browser()).device.approve({ userCode: begun.user_code }), 401, "UNAUTHORIZED");
  const seen = ok(await page.device({ query: { user_code: begun.user_code.toLowerCase() } }));
  assert.deepEqual(seen, {
    user_code: begun.user_code,
    status: "pending",
    client_id: clientId,
    client_name: "The TV",
    scope: "openid profile",
  });
  assert.deepEqual(ok(await page.device.approve({ userCode: begun.user_code })), { success: true });
  refused(await page.device.approve({ userCode: begun.user_code }), 400, "invalid_request");
  await patient();
  const tokens = ok(await poll(tv, begun.device_code));
  assert.deepEqual([tokens.token_type.toLowerCase(), tokens.scope], ["bearer", "openid profile"]);
  const info = await worker
    .browser()
    .send("GET", `${AUTH}/oauth2/userinfo`, { headers: { authorization: `Bearer ${tokens.access_token}` } });
  assert.equal(info.json.sub, person.id);
  refused(await poll(tv, begun.device_code), 400, "invalid_grant");
});

test("a device that is denied, unknown or another's gets nothing", async () => {
  const tv = clientOf(worker.browser(), null);
  const page = clientOf((await signUp(worker)).browser);
  const begun = ok(await tv.device.code({ client_id: clientId }));
  assert.deepEqual(ok(await page.device.deny({ userCode: begun.user_code })), { success: true });
  refused(await page.device.approve({ userCode: begun.user_code }), 400, "invalid_request");
  refused(await poll(tv, begun.device_code), 400, "access_denied");
  refused(await page.device({ query: { user_code: "BCDF-GHJK" } }), 400, "invalid_request");
  refused(await poll(tv, "x".repeat(43)), 400, "invalid_grant");
  refused(
    await tv.device.token({ grant_type: "authorization_code", device_code: "x", client_id: clientId }),
    400,
    "unsupported_grant_type",
  );
  refused(await tv.device.code({ client_id: "nobody" }), 401, "invalid_client");
  refused(await tv.device.code({ client_id: clientId, scope: "email" }), 400, "invalid_scope");
  const hostile = await worker.browser().send("POST", `${AUTH}/api/auth/device/approve`, {
    headers: { origin: "https://evil.example", "content-type": "application/json" },
    body: "{}",
  });
  assert.equal(hostile.status, 403);
});

test("guesses at user codes are counted, signed in or not", async () => {
  const strict = await startWorker({ settings: { LIMIT_SIGN_IN: "3/60" } });
  try {
    for (const browser of [strict.browser(), (await signUp(strict)).browser]) {
      const answers = [];
      for (let n = 0; n < 5; n++) answers.push((await browser.get(`${AUTH}/api/auth/device?user_code=BCDF-GHJ${"KLMNP"[n]}`)).status);
      assert.deepEqual(answers, [400, 400, 400, 429, 429]);
    }
  } finally {
    await strict.dispose();
  }
});

test("One Tap signs in by Google's ID token, which is believed by its keys, for us, and once", async () => {
  const browser = worker.browser();
  const auth = clientOf(browser);
  const tap = (idToken, more = {}) => auth.$fetch("/one-tap/callback", { method: "POST", body: { idToken, ...more } });
  refused(await tap("a.b.c"), 404, "PROVIDER_NOT_FOUND");
  // Google's issuer as it is configured, but for where it is.
  await addIssuer(worker.d1, issuer.url, { name: "my-google", service_type: "google" });
  const person = { sub: randomUUID(), email: uniqueEmail(), email_verified: true, name: "Tapped" };
  const now = Math.floor(Date.now() / 1000);
  const idToken = (claims = {}, key = issuer.key) =>
    new SignJWT({ iss: issuer.url, aud: "doorward", iat: now, exp: now + 300, ...person, ...claims })
      .setProtectedHeader({ alg: key.alg, kid: key.kid })
      .sign(key.privateKey);
  const forged = { ...(await issuer.newKey()), kid: issuer.key.kid };
  for (const [name, token] of [
    ["another audience", await idToken({ aud: "another" })],
    ["another issuer", await idToken({ iss: "https://evil.example" })],
    ["another key", await idToken({}, forged)],
    ["expired", await idToken({ exp: now - 120 })],
    ["no token", "a.b.c"],
  ]) {
    const { error } = await tap(token);
    assert.deepEqual([error?.status, error?.code], [401, "INVALID_TOKEN"], name);
  }
  refused(await tap(await idToken(), { callbackURL: "https://evil.example/" }), 403, "INVALID_CALLBACK_URL");
  const good = await idToken({ nonce: "the page's own" });
  const { user } = ok(await tap(good));
  assert.deepEqual([user.email, user.name, user.emailVerified], [person.email, "Tapped", true]);
  assert.equal((await auth.getSession()).data.user.id, user.id);
  refused(await clientOf(worker.browser()).$fetch("/one-tap/callback", { method: "POST", body: { idToken: good } }), 401, "INVALID_TOKEN");
});
