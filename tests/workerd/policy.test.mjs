// What a tenant's security policy asks for, key by key, of whoever comes in by whichever way, and of whoever is in already.

import assert from "node:assert/strict";
import { createHash, randomBytes, randomInt, randomUUID } from "node:crypto";
import { after, afterEach, before, test } from "node:test";
import { Authenticator } from "../harness/authenticator.mjs";
import { uniqueEmail } from "../harness/browser.mjs";
import { withApp } from "../harness/factors.mjs";
import { addIssuer, startIssuer } from "../harness/issuer.mjs";
import { startOrigin } from "../harness/origin.mjs";
import { API, PAGE, PASSWORD, giveRole, memberOf, seedApp, seedDomain, seedTenant, signUp, upToCallback, visit } from "../harness/seed.mjs";
import { base32, readUri, totp } from "../harness/totp.mjs";
import { AUTH, DEFAULT_TENANT, SPA, startWorker } from "../harness/worker.mjs";
import { authRoutes } from "../harness/routes.mjs";

const [APP, SITE, DAY] = ["http://app.localhost", "http://site.localhost", 86_400_000];
const REDIRECT = "https://rp.example/cb";
const SETTINGS = {
  LIMIT_MAIL: "100000/60",
  LIMIT_INVITATION: "100000/60",
  LOCKOUT_FAILURES: "100000",
  SIGN_IN_WITH: "password,passkey,magic-link,email-otp,phone,anonymous",
  SESSION_COOKIE_CACHE_SECONDS: "0",
  SESSION_RECHECK_SECONDS: "0",
  MULTI_SESSION: "on",
};
const MFA = { session: { requireMFA: true } };
let worker, issuer, origin, client;

const at = (path, host = AUTH) => `${host}/api/auth${path}`;
const run = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
const one = async (sql, ...values) => (await worker.rows(sql, ...values))[0];
const times = (most, act) => Promise.all(Array.from({ length: most }, (_, n) => act(n)));
/** Writes a policy past the checks of the endpoint; a text is written as it is. */
const setPolicy = (policy, tenant = DEFAULT_TENANT) =>
  run("update tenant set security_policy = ? where id = ?", typeof policy === "string" ? policy : JSON.stringify(policy), tenant);
const session = async (browser) => (await browser.get(at("/get-session"))).json;
const opens = ({ cookies }) => cookies.some((line) => /^doorward\.session=[^;]/.test(line));
const asks = (answer) =>
  !opens(answer) &&
  (answer.location?.startsWith("/second-factor") || (answer.text.startsWith("{") && answer.json.twoFactorRedirect === true));
const living = ({ id }) => worker.rows("select id, parent_id from session where user_id = ? and revoked_at is null", id);
const mails = async (to) => (await worker.browser().get(`${AUTH}/dev/mailbox?to=${encodeURIComponent(to)}`)).json;
const linkIn = ({ text }) => text.match(/https?:\S+/)[0];
const codeIn = ({ subject, text }) => (subject ?? text ?? "").match(/\d{6}/)?.[0] ?? text.match(/\d{6}/)[0];
const told = (answer) => [answer.status, answer.text.startsWith("{") ? answer.json.code : undefined];

before(async () => {
  [issuer, origin] = [await startIssuer(), await startOrigin()];
  issuer.behave();
  worker = await startWorker({ settings: SETTINGS });
  await addIssuer(worker.d1, issuer.url);
  await seedApp(worker, "app.localhost", { origin: origin.url, rules: [["/public/*", "public"]] });
  await seedApp(worker, "site.localhost", { rules: [] });
  const admin = await signUp(worker, { roles: ["admin"] });
  const made = await admin.browser.post(at("/admin/oauth2/create-client"), {
    client_name: "RP",
    redirect_uris: [REDIRECT],
    grant_types: ["authorization_code", "refresh_token"],
  });
  assert.equal(made.status, 201, made.text);
  client = made.json;
});
after(async () => {
  await worker?.dispose();
  await issuer?.stop();
  await origin?.close();
});
afterEach(() => setPolicy({}));

/** Somebody who can sign in by every way there is; `passkey` is theirs if wanted, since it may be a second factor. */
async function person({ roles = [], passkey = false, upstream = false } = {}) {
  const who = await signUp(worker, { roles });
  const [username, phone] = [`u${randomBytes(6).toString("hex")}`, `+1${randomInt(1e9, 1e10)}`];
  await run(
    "update user set email_verified = 1, username = ?, display_username = ?, phone_number = ?, phone_number_verified = 1 where id = ?",
    username,
    username,
    phone,
    who.id,
  );
  Object.assign(who, { username, phone, sub: randomUUID() });
  if (passkey) await addPasskey(who);
  if (upstream) {
    const answer = await (await WAYS.upstream(who, worker.browser()))();
    assert.ok(opens(answer), `${answer.status} ${answer.location}`);
  }
  return who;
}
async function addPasskey(who) {
  who.authenticator = new Authenticator({ origin: AUTH });
  const made = who.authenticator.create((await who.browser.get(at("/passkey/generate-register-options"))).json);
  const answer = await who.browser.post(at("/passkey/verify-registration"), { response: made });
  assert.equal(answer.status, 200, answer.text);
}
const byPasskey =
  (verifiesUser) =>
  async ({ authenticator }, browser) => {
    const response = authenticator.get((await browser.get(at("/passkey/generate-authenticate-options"))).json, { verifiesUser });
    return () => browser.post(at("/passkey/verify-authentication"), { response });
  };

/** Each way in, up to its last request, which the function answered sends. */
const WAYS = {
  password:
    async ({ email }, browser) =>
    () =>
      browser.post(at("/sign-in/email"), { email, password: PASSWORD }),
  "user name":
    async ({ username }, browser) =>
    () =>
      browser.post(at("/sign-in/username"), { username, password: PASSWORD }),
  "phone and password":
    async ({ phone }, browser) =>
    () =>
      browser.post(at("/sign-in/phone-number"), { phoneNumber: phone, password: PASSWORD }),
  page:
    async ({ email }, browser) =>
    () =>
      browser.submit(`${AUTH}/login`, { email, password: PASSWORD, continue: "/account" }),
  "phone code": async ({ phone }, browser) => {
    await browser.post(at("/phone-number/send-otp"), { phoneNumber: phone });
    const code = codeIn((await mails(phone))[0]);
    return () => browser.post(at("/phone-number/verify"), { phoneNumber: phone, code });
  },
  "magic link": async ({ email }, browser) => {
    await browser.post(at("/sign-in/magic-link"), { email });
    const link = linkIn((await mails(email)).find(({ subject }) => subject === "Your sign-in link"));
    return () => browser.verifyAsScript(link, SPA);
  },
  "mailed code": async ({ email }, browser) => {
    await browser.post(at("/email-otp/send-verification-otp"), { email, type: "sign-in" });
    const otp = codeIn((await mails(email)).find(({ subject }) => /is your code$/.test(subject)));
    return () => browser.post(at("/sign-in/email-otp"), { email, otp });
  },
  upstream: async ({ email, sub }, browser) => {
    issuer.person = { sub, email, email_verified: true, name: "P" };
    const begun = await browser.post(at("/sign-in/social"), { provider: "acme", callbackURL: "/done" });
    assert.equal(begun.status, 200, begun.text);
    const { headers } = await fetch(begun.json.url, { redirect: "manual" });
    return () => browser.get(headers.get("location"));
  },
};
const PASSKEYS = { passkey: byPasskey(true), "passkey that verifies nobody": byPasskey(false) };
const EVERY = { ...WAYS, ...PASSKEYS };
const enter = async (way, who, browser = worker.browser()) => {
  const answer = await (await EVERY[way](who, browser))();
  return { answer, browser, opened: opens(answer) };
};
/** Tries all of them and says of which the outcome is not what it should be. */
async function byEveryWay(check, ways = Object.keys(EVERY)) {
  const wrong = [];
  for (const way of ways) {
    try {
      await check(way);
    } catch (error) {
      wrong.push(`${way}: ${error.message}`);
    }
  }
  assert.deepEqual(wrong, []);
}
/** Another browser with the same cookies, of these hosts. */
const copy = ({ browser }, options, hosts = ["auth.localhost", "app.localhost", "site.localhost"]) => {
  const twin = worker.browser(options);
  for (const host of hosts) for (const [name, value] of browser.cookies(host)) twin.cookies(host).set(name, value);
  return twin;
};
const atApp = (browser, path = "/x") => browser.get(`${APP}${path}`, { headers: API });
const forwardAuth = (browser, headers = API) =>
  browser.get(`${SITE}/forward-auth`, {
    headers: {
      ...headers,
      host: "auth.localhost",
      "x-forwarded-method": "GET",
      "x-forwarded-proto": "http",
      "x-forwarded-host": "site.localhost",
      "x-forwarded-uri": "/x",
    },
  });
async function signInAtSite(browser) {
  const said = { host: "auth.localhost", "x-forwarded-method": "GET", "x-forwarded-proto": "http", "x-forwarded-host": "site.localhost" };
  const begun = await browser.get(`${SITE}/.doorward/sign-in?return=/x`, {
    headers: { ...PAGE, ...said, "x-forwarded-uri": "/.doorward/sign-in?return=/x" },
  });
  const { location } = await browser.get(begun.location, { headers: PAGE });
  if (!location?.startsWith(SITE)) return location;
  await browser.get(location, { headers: { ...PAGE, ...said, "x-forwarded-uri": location.slice(SITE.length) } });
  return "signed in";
}
/** Asks for a code as a relying party's visitor; answers where they end up, and how to redeem. */
async function authorize(browser, more = {}) {
  const verifier = randomBytes(32).toString("base64url");
  const query = new URLSearchParams({
    client_id: client.client_id,
    response_type: "code",
    redirect_uri: REDIRECT,
    scope: "openid email offline_access",
    code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    code_challenge_method: "S256",
    ...more,
  });
  let answer = await browser.get(`${AUTH}/oauth2/authorize?${query}`, { headers: PAGE });
  if (answer.location?.startsWith("/consent")) {
    const page = await browser.get(`${AUTH}${answer.location}`, { headers: PAGE });
    const [, request_uri] = page.text.match(/name="request_uri" value="([^"]+)"/) ?? [];
    if (!request_uri) return { answer: page };
    answer = await browser.submit(`${AUTH}/consent`, { client_id: client.client_id, request_uri, decision: "allow" });
  }
  const code = answer.location?.startsWith(REDIRECT) ? new URL(answer.location).searchParams.get("code") : null;
  return { answer, code, redeem: () => grant({ grant_type: "authorization_code", code, redirect_uri: REDIRECT, code_verifier: verifier }) };
}
const grant = (form) =>
  worker.browser().send("POST", `${AUTH}/oauth2/token`, {
    body: new URLSearchParams(form).toString(),
    headers: {
      "content-type": "application/x-www-form-urlencoded",
      authorization: `Basic ${Buffer.from(`${client.client_id}:${client.client_secret}`).toString("base64")}`,
    },
  });
const put = (browser, securityPolicy, organizationId = DEFAULT_TENANT, options = {}) =>
  browser.send("PUT", at("/organization/security-policy"), {
    body: { organizationId, securityPolicy },
    headers: { origin: AUTH, ...options.headers },
  });

// session.maxConcurrentSessions

test("the way in makes no difference: of too many sessions the oldest ends, with what hangs on it", async () => {
  await byEveryWay(async (way) => {
    await setPolicy({});
    const who = await person({ passkey: true, upstream: way === "upstream" });
    await run(
      "update session set revoked_at = 1, revocation_reason = 'x' where user_id = ? and id <> ?",
      who.id,
      (await session(who.browser)).session.id,
    );
    assert.equal((await visit(who.browser, `${APP}/`)).status, 200);
    assert.equal(await signInAtSite(who.browser), "signed in");
    const { browser: second } = await enter("password", who);
    assert.ok((await session(who.browser)) && (await session(second)));
    await setPolicy({ session: { maxConcurrentSessions: 2 } });
    const third = await enter(way, who);
    assert.ok(third.opened, `${third.answer.status} ${third.answer.text}`);
    assert.equal(await session(who.browser), null, "the oldest lives");
    assert.equal((await atApp(who.browser)).status, 401, "its session at the gate lives");
    assert.equal((await forwardAuth(who.browser)).status, 401, "its session by forward-auth lives");
    assert.ok((await session(second)) && (await session(third.browser)), "a newer one ended");
    assert.equal((await living(who)).length, 2);
  });
});

test("20 sign-ins at once leave no more than the policy allows, and those that live are of the last", async () => {
  for (const most of [1, 3]) {
    const who = await person();
    await setPolicy({ session: { maxConcurrentSessions: most } });
    const ways = ["password", "user name", "phone and password", "page"];
    const entered = await times(20, (n) => enter(ways[n % 4], who));
    assert.ok(entered.every(({ opened }) => opened));
    assert.equal((await living(who)).length, most);
    const alive = await Promise.all(entered.map(async ({ browser }) => (await session(browser)) !== null));
    assert.equal(alive.filter(Boolean).length, most);
  }
});

test("a completed second factor, a one-time token and a session of two factors count like any other", async () => {
  const who = await person();
  const code = await withApp(worker, who);
  await setPolicy({ session: { maxConcurrentSessions: 1 } });
  const { browser } = await enter("password", who);
  assert.ok(await session(who.browser), "a sign-in that waits for its second factor ended another");
  const given = await browser.post(at("/two-factor/verify-totp"), { code: await code() });
  assert.equal(given.status, 200, given.text);
  assert.equal(await session(who.browser), null);
  const { token } = (await browser.get(at("/one-time-token/generate"))).json;
  const carried = worker.browser();
  assert.equal((await carried.post(at("/one-time-token/verify"), { token })).status, 200);
  assert.equal((await living(who)).length, 1);
  assert.ok(await session(carried));
});

test("a sign-in that is refused ends nobody's session", async () => {
  const who = await person();
  await setPolicy({ session: { maxConcurrentSessions: 1 } });
  for (const password of ["wrong password", ""]) await worker.browser().post(at("/sign-in/email"), { email: who.email, password });
  await setPolicy({ session: { maxConcurrentSessions: 1 }, ipRestrictions: { enabled: true, blockList: ["203.0.113.9"] } });
  assert.equal((await enter("password", who, worker.browser({ ip: "203.0.113.9" }))).opened, false);
  assert.ok(await session(who.browser));
});

test("a one-time token that is refused for want of a second factor ends nobody's session, and leaves none behind", async () => {
  const who = await person();
  const { token } = (await who.browser.get(at("/one-time-token/generate"))).json;
  const other = await enter("password", who);
  await withApp(worker, { ...who, browser: other.browser });
  await setPolicy({ session: { requireMFA: true, maxConcurrentSessions: 1 } });
  const before = await living(who);
  const carried = worker.browser();
  const answer = await carried.post(at("/one-time-token/verify"), { token });
  assert.ok(!opens(answer), answer.text);
  assert.ok(await session(other.browser), "the session of two factors was ended by what was refused");
  assert.deepEqual(await living(who), before);
});

test("a policy that allows fewer ends what is too many now", async () => {
  const owner = await signUp(worker, { roles: ["owner"] });
  const who = await person();
  const others = [await enter("password", who), await enter("password", who)];
  assert.equal((await visit(who.browser, `${APP}/`)).status, 200);
  const set = await put(owner.browser, { session: { maxConcurrentSessions: 1 } });
  assert.equal(set.status, 200, set.text);
  assert.deepEqual((await Promise.all([who, ...others].map(({ browser }) => session(browser)))).map(Boolean), [false, false, true]);
  assert.equal((await atApp(who.browser)).status, 401);
});

// session.sessionTimeout, session.extendOnActivity

test("a session lives as long as the policy says, whichever the way in", async () => {
  await byEveryWay(async (way) => {
    await setPolicy({});
    const who = await person({ passkey: true, upstream: way === "upstream" });
    await setPolicy({ session: { sessionTimeout: 120 } });
    const { answer, browser } = await enter(way, who);
    const {
      session: { expiresAt },
    } = await session(browser);
    const left = Date.parse(expiresAt) - Date.now();
    assert.ok(left > 100_000 && left <= 120_000, `${left}`);
    const [, age] = answer.cookies.find((line) => line.startsWith("doorward.session=")).match(/Max-Age=(\d+)/) ?? [];
    assert.ok(age === undefined || Number(age) <= 120, `Max-Age=${age}`);
  });
});

/** Makes a person's sessions as old as if they had been begun then. */
const age = ({ id }, seconds, which = "true") =>
  run(
    `update session set created_at = created_at - ?1, updated_at = updated_at - ?1, authenticated_at = authenticated_at - ?1, expires_at = expires_at - ?1 where user_id = ?2 and ${which}`,
    seconds * 1000,
    id,
  );

test("a shorter life holds for sessions that were there before, at the gate as well", async () => {
  for (const extendOnActivity of [true, false]) {
    await setPolicy({});
    const who = await person();
    assert.equal((await visit(who.browser, `${APP}/`)).status, 200);
    assert.equal(await signInAtSite(who.browser), "signed in");
    await age(who, 61);
    assert.ok(await session(who.browser));
    await setPolicy({ session: { sessionTimeout: 60, extendOnActivity } });
    assert.equal(await session(who.browser), null);
    assert.equal((await who.browser.get(at("/list-sessions"))).status, 401);
    assert.equal((await atApp(who.browser)).status, 401);
    assert.equal((await forwardAuth(who.browser)).status, 401);
    assert.equal((await authorize(who.browser)).code ?? null, null);
  }
});

test("a session at the gate does not outlive the one that it hangs on", async () => {
  const who = await person();
  await age(who, 50);
  assert.equal((await visit(who.browser, `${APP}/`)).status, 200);
  await age(who, 20);
  // The one on the auth host is 70 s old now, the one at the gate 20 s.
  await setPolicy({ session: { sessionTimeout: 60, extendOnActivity: false } });
  assert.equal(await session(who.browser), null);
  assert.equal((await atApp(who.browser)).status, 401, "the session at the gate lives on without its parent");
});

test("a session that is used lives on only where the policy lets it", async () => {
  for (const [extendOnActivity, wanted] of [
    [true, 800],
    [false, 600],
    [undefined, 800],
  ]) {
    await setPolicy({ session: { sessionTimeout: 800, extendOnActivity } });
    const who = await person();
    await visit(who.browser, `${APP}/`);
    await age(who, 200);
    await session(who.browser);
    await atApp(who.browser);
    const { expiresAt } = (await session(who.browser)).session;
    const left = Math.round((Date.parse(expiresAt) - Date.now()) / 1000);
    assert.ok(Math.abs(left - wanted) < 10, `${extendOnActivity}: ${left} s left`);
    await new Promise((resolve) => setTimeout(resolve, 200));
    const row = await one("select max(expires_at) as until from session where user_id = ? and parent_id is null", who.id);
    assert.ok(Math.abs((row.until - Date.now()) / 1000 - wanted) < 10, `${extendOnActivity}: in D1`);
  }
});

test("use of a website prolongs the session that it hangs on as its own tenant lets it, and never shortens it", async () => {
  const tenant = await seedTenant(worker, { slug: "strict" });
  await seedApp(worker, "strict-app.localhost", { tenant, origin: origin.url, rules: [] });
  await setPolicy({ session: { sessionTimeout: 800 } }, tenant);
  const until = ({ id }) =>
    one(
      "select max(expires_at) - ? as left from session where user_id = ? and parent_id is null and tenant_id = ?",
      Date.now(),
      id,
      DEFAULT_TENANT,
    );
  for (const [own, life] of [
    [{}, 604_800],
    [{ session: { sessionTimeout: 500_000 } }, 500_000],
    [{ session: { extendOnActivity: false } }, 604_800 - 300],
  ]) {
    await setPolicy(own);
    const who = await person();
    await memberOf(worker, tenant, who.id);
    assert.equal((await visit(who.browser, "http://strict-app.localhost/")).status, 200);
    await age(who, 300);
    assert.equal((await who.browser.get("http://strict-app.localhost/x", { headers: API })).status, 200);
    await new Promise((resolve) => setTimeout(resolve, 200));
    const { left } = await until(who);
    assert.ok(Math.abs(left / 1000 - life) < 10, `${JSON.stringify(own)}: ${left / 1000} s left of ${life}`);
  }
});

test("a website with a shorter life is entered by an older session, and its own life is its own", async () => {
  const tenant = await seedTenant(worker, { slug: "brief" });
  await seedApp(worker, "brief-app.localhost", { tenant, origin: origin.url, rules: [] });
  await setPolicy({ session: { sessionTimeout: 800 } }, tenant);
  await setPolicy({ session: { extendOnActivity: false } });
  const who = await person();
  await memberOf(worker, tenant, who.id);
  await age(who, 3600);
  const site = (path) => who.browser.get(`http://brief-app.localhost${path}`, { headers: API });
  assert.equal((await visit(who.browser, "http://brief-app.localhost/")).status, 200);
  for (let n = 0; n < 3; n += 1) {
    await age(who, 500, "parent_id is not null");
    assert.equal((await site("/x")).status, 200, "used, it lives on");
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  await age(who, 801, "parent_id is not null");
  assert.equal((await site("/x")).status, 401);
  await run("update session set revoked_at = 1, revocation_reason = 'x' where user_id = ? and parent_id is null", who.id);
  assert.notEqual((await visit(who.browser, "http://brief-app.localhost/")).url, "http://brief-app.localhost/");
});

test("where use prolongs nothing, carrying a session elsewhere does not either", async () => {
  await setPolicy({ session: { sessionTimeout: 800, extendOnActivity: false } });
  const who = await person();
  await age(who, 700);
  const { token } = (await who.browser.get(at("/one-time-token/generate"))).json;
  const carried = worker.browser();
  assert.equal((await carried.post(at("/one-time-token/verify"), { token })).status, 200);
  const left = (Date.parse((await session(carried)).session.expiresAt) - Date.now()) / 1000;
  assert.ok(left <= 101, `${left} s left of a session that had 100 s`);
});

test("a one-time token of a session that the policy has ended opens nothing", async () => {
  const who = await person();
  const { token } = (await who.browser.get(at("/one-time-token/generate"))).json;
  await age(who, 61);
  await setPolicy({ session: { sessionTimeout: 60 } });
  const carried = worker.browser();
  const answer = await carried.post(at("/one-time-token/verify"), { token });
  assert.deepEqual([told(answer), opens(answer)], [[400, "INVALID_TOKEN"], false]);
});

test("a gate's code of a session that the policy has ended opens nothing", async () => {
  const who = await person();
  const callback = await upToCallback(who, APP);
  await age(who, 61);
  await setPolicy({ session: { sessionTimeout: 60, extendOnActivity: false } });
  const answer = await who.browser.get(callback.href, { headers: PAGE });
  assert.ok(!opens(answer), `${answer.status}`);
  assert.equal((await atApp(who.browser)).status, 401);
});

// session.requireMFA, of whoever has no second factor

const ROUTES = authRoutes.filter(({ access }) => access !== "Permitted");
/** What is open before a second factor is set up. */
const OPEN = [
  /^\/api\/auth\/(get-session|sign-out|organization\/list|sign-in\/anonymous|error)$/,
  /^\/(oauth2\/end_session|sign-out$)/,
  /^\/api\/auth\/(two-factor|passkey)\//,
  /^\/(account\/second-factor|second-factor)(\/|$)/,
];
const ID = randomUUID();
/** Fields without which an endpoint would refuse before it looks who asks. */
const BODIES = {
  "/revoke-session": { token: ID },
  "/multi-session/revoke": { sessionToken: ID },
  "/update-user": { name: "X" },
  "/change-email": { newEmail: "x@example.com" },
  "/change-password": { currentPassword: PASSWORD, newPassword: `${PASSWORD}!` },
  "/verify-password": { password: PASSWORD },
  "/delete-user": { password: PASSWORD },
  "/unlink-account": { providerId: "acme", accountId: ID },
  "/link-social": { provider: "acme", callbackURL: "/x" },
  "/get-access-token": { accountId: ID },
  "/refresh-token": { accountId: ID },
  "/email-otp/request-email-change": { newEmail: "x@example.com" },
  "/email-otp/change-email": { newEmail: "x@example.com", otp: "123456" },
  "/organization/create": { name: "X", slug: "x-x" },
  "/organization/check-slug": { slug: "y-y" },
  "/organization/update": { data: { name: "X" } },
  "/organization/delete": { organizationId: ID },
  "/organization/restore": { organizationId: ID },
  "/organization/has-permission": { permissions: { member: ["create"] } },
  "/organization/security-policy": { securityPolicy: {} },
  "/organization/update-member-role": { memberId: ID, role: "member" },
  "/organization/remove-member": { memberIdOrEmail: ID },
  "/organization/leave": { organizationId: ID },
  "/organization/invite-member": { email: "x@example.com", role: "member" },
  "/organization/cancel-invitation": { invitationId: ID },
  "/organization/accept-invitation": { invitationId: ID },
  "/organization/reject-invitation": { invitationId: ID },
  "/organization/create-team": { name: "X" },
  "/organization/update-team": { teamId: ID, data: { name: "X" } },
  "/organization/remove-team": { teamId: ID },
  "/organization/set-active-team": { teamId: ID },
  "/organization/add-team-member": { teamId: ID, userId: ID },
  "/organization/update-team-member": { teamId: ID, userId: ID, role: "member" },
  "/organization/remove-team-member": { teamId: ID, userId: ID },
  "/organization/join-team": { teamId: ID },
  "/organization/leave-team": { teamId: ID },
  "/organization/create-role": { role: "x", permission: { member: ["create"] } },
  "/organization/update-role": { roleName: "x", data: { permission: { member: ["create"] } } },
  "/organization/delete-role": { roleName: "x" },
  "/organization/set-active": { organizationId: ID },
  "/admin/issuers": { name: "x", baseUrl: "https://issuer.example", clientId: "x", clientSecret: "x" },
  "/admin/issuers/:id/service-token": { requestedBy: "x" },
  "/admin/oauth2/create-client": { redirect_uris: [REDIRECT] },
  "/oauth2/create-client": { redirect_uris: [REDIRECT] },
  "/admin/oauth2/update-client": { client_id: "x", update: {} },
  "/oauth2/update-client": { client_id: "x", update: {} },
  "/oauth2/client/rotate-secret": { client_id: "x" },
  "/admin/oauth2/disable-client": { client_id: "x" },
  "/oauth2/delete-client": { client_id: "x" },
  "/oauth2/delete-consent": { id: ID },
};
const QUERIES = {
  "/organization/get-invitation": `?id=${ID}`,
  "/organization/get-role": "?roleName=x",
  "/organization/list-team-members": `?teamId=${ID}`,
  "/account-info": `?accountId=${ID}`,
  "/oauth2/public-client": "?client_id=x",
  "/oauth2/get-client": "?client_id=x",
};
const knock = (browser, { method, path, surface }) => {
  const short = path.replace("/api/auth", "");
  const url = `${AUTH}${path.replace(/:\w+/, ID)}${(method === "GET" && QUERIES[short]) || ""}`;
  if (surface === "Page" && method === "POST") return browser.submit(url, { id: ID }, { keepCookies: false });
  const options = { keepCookies: false, headers: surface === "Page" ? PAGE : { ...API, origin: AUTH } };
  return browser.send(method, url, method === "GET" ? options : { ...options, body: BODIES[short] ?? {} });
};
/** Says of every endpoint that is not open what it answers, unless it is a refusal for want of a second factor, or what nobody signed in is told. */
async function walk(browser) {
  assert.ok(ROUTES.length > 150, `${ROUTES.length} routes`);
  const wrong = [];
  for (const route of ROUTES.filter(({ path }) => !OPEN.some((open) => open.test(path)))) {
    const { method, path, access, surface } = route;
    const answer = await knock(browser, route);
    const is2xx = answer.status >= 200 && answer.status <= 299;
    if (access === "Anybody") {
      if (!is2xx) continue;
      const nobody = await knock(worker.browser(), route);
      const bare = (text) => text.replace(/\w*[-\w]{20,}/g, "").replace(/\d{10,}/g, "");
      if (nobody.status !== answer.status || bare(nobody.text) !== bare(answer.text))
        wrong.push(`${method} ${path}: ${answer.status} ${answer.text.slice(0, 120)}`);
    } else if (surface === "Page") {
      if (answer.status !== 400 && !(answer.status === 303 && answer.location.startsWith("/account/second-factor")))
        wrong.push(`${method} ${path}: ${answer.status} ${answer.location}`);
    } else if (answer.status === 400) {
      // What is asked is wrong before it matters who asks.
      continue;
    } else if (answer.status !== 403 || answer.json.code !== "TWO_FACTOR_REQUIRED") {
      wrong.push(`${method} ${path}: ${answer.status} ${answer.text.slice(0, 160)}`);
    }
  }
  return wrong;
}

test("whoever has no second factor may set one up and do nothing else: every endpoint, administrators too", async () => {
  const who = await person({ roles: ["owner"] });
  const elsewhere = await seedTenant(worker, { slug: `org-${randomUUID()}` });
  await giveRole(worker, who.id, "owner", elsewhere);
  await run("update session set active_tenant_id = ? where user_id = ?", elsewhere, who.id);
  await setPolicy(MFA);
  const before = await session(who.browser);
  assert.equal(before.session.mustEnrolSecondFactor, true);
  assert.deepEqual(await walk(who.browser), []);
  const still = await session(who.browser);
  assert.deepEqual([still?.session.id, still?.user.name], [before.session.id, before.user.name], "the walk changed something");
});

test("an account that must set up a second factor is made active by no other door", async () => {
  const who = await person();
  await setPolicy(MFA);
  const { session: mine } = await session(who.browser);
  assert.deepEqual(told(await who.browser.post(at("/multi-session/set-active"), { sessionToken: mine.id }, { keepCookies: false })), [
    401,
    "INVALID_SESSION_TOKEN",
  ]);
});

test("pages lead whoever must set up a second factor to where that is done", async () => {
  const who = await person();
  await setPolicy(MFA);
  const page = await visit(who.browser, `${AUTH}/account`);
  assert.deepEqual([page.status, new URL(page.url).pathname], [200, "/account/second-factor"]);
  for (const path of ["/gate/sign-in", "/device"]) {
    const { location, status } = await who.browser.get(`${AUTH}${path}`, { headers: PAGE });
    assert.ok(status !== 200, `${path}: ${status} ${location}`);
  }
});

test("a visitor of a website for whom a second factor is asked during the session is led to it, and back", async () => {
  const who = await person();
  assert.equal((await visit(who.browser, `${APP}/x`)).url, `${APP}/x`);
  await setPolicy(MFA);
  const page = await visit(who.browser, `${APP}/deep?y=1`);
  assert.deepEqual([page.status, new URL(page.url).pathname], [200, "/account/second-factor"]);
  const script = await who.browser.get(`${APP}/data`, { headers: API });
  assert.deepEqual(told(script), [403, "TWO_FACTOR_REQUIRED"]);
  await withApp(worker, who);
  assert.equal((await visit(who.browser, `${APP}/deep?y=1`)).url, `${APP}/deep?y=1`);
});

test("by whichever way they come in, nothing opens to them: gate, forward-auth, authorization, tokens", async () => {
  await byEveryWay(async (way) => {
    await setPolicy({});
    const who = await person({ upstream: way === "upstream" });
    await setPolicy(MFA);
    const { answer, browser, opened } = await enter(way, who);
    assert.ok(opened, `${answer.status} ${answer.text}`);
    assert.equal((await session(browser)).session.mustEnrolSecondFactor, true);
    const page = await visit(browser, `${APP}/x`);
    assert.deepEqual([page.status, new URL(page.url).pathname], [200, "/account/second-factor"]);
    assert.equal((await atApp(browser)).status, 401);
    assert.match(await signInAtSite(browser), /^\/account\/second-factor/);
    assert.equal((await forwardAuth(browser)).status, 401);
    for (const more of [{}, { prompt: "none" }]) assert.equal((await authorize(browser, more)).code ?? null, null, "a code");
    for (const path of ["/token", "/one-time-token/generate", "/list-sessions", "/list-accounts"])
      assert.deepEqual(told(await browser.get(at(path))), [403, "TWO_FACTOR_REQUIRED"], path);
  }, Object.keys(WAYS));
});

test("a sign-up and a guest are held to it as well", async () => {
  await setPolicy(MFA);
  for (const [path, body] of [
    ["/sign-up/email", { name: "N", email: uniqueEmail(), password: PASSWORD }],
    ["/sign-in/anonymous", {}],
  ]) {
    const browser = worker.browser();
    const answer = await browser.post(at(path), body);
    if (!opens(answer)) continue;
    assert.equal((await session(browser)).session.mustEnrolSecondFactor, true, path);
    assert.deepEqual(told(await browser.get(at("/token"))), [403, "TWO_FACTOR_REQUIRED"], path);
  }
});

test("sessions that were there before, at the gate and by forward-auth as well, are held to it", async () => {
  const who = await person();
  assert.equal((await visit(who.browser, `${APP}/`)).status, 200);
  assert.equal(await signInAtSite(who.browser), "signed in");
  const late = copy(who, {}, ["auth.localhost"]);
  const callback = await upToCallback({ browser: late }, APP);
  const { token } = (await who.browser.get(at("/one-time-token/generate"))).json;
  assert.equal((await forwardAuth(who.browser)).status, 200);
  await setPolicy(MFA);
  assert.equal((await session(who.browser)).session.mustEnrolSecondFactor, true);
  for (const answer of [
    await atApp(who.browser),
    await who.browser.get(`${APP}/.doorward/me`, { headers: API }),
    await forwardAuth(who.browser),
  ]) {
    assert.ok([401, 403].includes(answer.status), `${answer.status} ${answer.text}`);
    assert.equal(answer.headers["x-doorward-user"], undefined);
  }
  const carried = worker.browser();
  if (opens(await carried.post(at("/one-time-token/verify"), { token })))
    assert.equal((await session(carried)).session.mustEnrolSecondFactor, true);
  await late.get(callback.href, { headers: PAGE });
  assert.notEqual((await atApp(late)).status, 200, "a callback that was under way");
});

test("a refresh token gives nothing more to whoever may only enrol", async () => {
  const who = await person();
  const { redeem } = await authorize(who.browser);
  const { refresh_token } = (await redeem()).json;
  await setPolicy(MFA);
  const refreshed = await grant({ grant_type: "refresh_token", refresh_token });
  assert.notEqual(refreshed.status, 200, "new tokens in the name of somebody without the second factor");
});

test("once they have an app, everything is open, and it is asked for the next time", async () => {
  await setPolicy(MFA);
  const who = await signUp(worker);
  assert.equal((await session(who.browser)).session.mustEnrolSecondFactor, true);
  await withApp(worker, who);
  assert.equal((await session(who.browser)).session.mustEnrolSecondFactor, undefined);
  assert.equal((await who.browser.get(at("/token"))).status, 200);
  assert.equal((await visit(who.browser, `${APP}/`)).status, 200);
  assert.equal(await signInAtSite(who.browser), "signed in");
  assert.equal((await forwardAuth(who.browser)).status, 200);
  assert.ok((await authorize(who.browser)).code);
  assert.ok(asks((await enter("password", who)).answer));
});

test("once they have an app by way of our pages, they go where they were going", async () => {
  await setPolicy(MFA);
  const who = await signUp(worker);
  const page = await visit(who.browser, `${APP}/deep`);
  assert.equal(new URL(page.url).pathname, "/account/second-factor");
  const onwards = ({ text }) => text.match(/name="continue" value="([^"]*)"/)[1].replaceAll("&amp;", "&");
  const begun = await who.browser.submit(page.url, { action: "begin", password: PASSWORD, continue: onwards(page) });
  const seed = base32(begun.text.match(/<code>([a-z2-7 ]{32,})<\/code>/i)[1]);
  const done = await who.browser.submit(`${AUTH}/account/second-factor/verify`, { code: totp(seed), continue: onwards(begun) });
  assert.equal(done.status, 303, done.text);
  assert.equal((await session(who.browser)).session.mustEnrolSecondFactor, undefined);
  const end = await visit(who.browser, new URL(done.location, AUTH).href);
  assert.equal(end.url, `${APP}/deep`, "whoever came from a protected host is left where they enrolled");
});

test("mailed codes are a second factor that can be set up, and the answer says so", async () => {
  const who = await person();
  await setPolicy(MFA);
  const answer = await who.browser.post(at("/two-factor/enable"), { password: PASSWORD, method: "otp" });
  assert.deepEqual([answer.status, answer.json.method], [200, "otp"], answer.text);
  assert.ok(asks((await enter("password", who)).answer));
});

test("a passkey that verifies its user is a second factor: a password alone is not enough, nor good for another factor", async () => {
  await byEveryWay(async (way) => {
    await setPolicy({});
    const who = await person({ passkey: true, upstream: way === "upstream" });
    await setPolicy(MFA);
    const passkey = await enter("passkey", who);
    assert.ok(passkey.opened, passkey.answer.text);
    assert.equal((await session(passkey.browser)).session.mustEnrolSecondFactor, undefined);
    assert.equal((await passkey.browser.get(at("/token"))).status, 200);
    const { browser } = await enter(way, who);
    if (way.includes("password") || way === "page" || way === "user name") {
      const begun = await browser.post(at("/two-factor/enable"), { password: PASSWORD });
      assert.notEqual(begun.status, 200, "whoever knows the password alone sets up a second factor of their own");
    }
    assert.equal((await session(browser))?.session.mustEnrolSecondFactor, undefined, "in, and asked to enrol");
  }, Object.keys(WAYS));
});

// session.requireMFA, of whoever has one

test("whoever has a second factor is asked for it by every way in but a passkey that is two", async () => {
  for (const policy of [{}, MFA, { twoFactor: { required: true } }]) {
    await byEveryWay(async (way) => {
      await setPolicy({});
      const who = await person({ passkey: true, upstream: way === "upstream" });
      const code = await withApp(worker, who);
      await setPolicy(policy);
      const { answer, browser } = await enter(way, who);
      if (way === "passkey" && opens(answer)) return;
      assert.ok(asks(answer), `${answer.status} ${answer.location} ${answer.text}`);
      assert.equal(await session(browser), null);
      const given = await browser.post(at("/two-factor/verify-totp"), { code: await code() });
      assert.equal(given.status, 200, given.text);
      assert.equal((await session(browser)).session.mustEnrolSecondFactor, undefined);
      assert.equal((await browser.get(at("/token"))).status, 200);
      assert.equal((await visit(browser, `${APP}/`)).status, 200);
    });
  }
});

test("a session that was opened with one factor is over when the policy asks for the second that they have", async () => {
  const who = await person();
  await visit(who.browser, `${APP}/`);
  await signInAtSite(who.browser);
  const { token } = (await who.browser.get(at("/one-time-token/generate"))).json;
  // Set up in another browser: this one has not given it.
  const other = await enter("password", who);
  await withApp(worker, { ...who, browser: other.browser });
  assert.ok(await session(who.browser));
  assert.equal((await atApp(who.browser)).status, 200);
  for (const policy of [MFA, { twoFactor: { required: true, graceLogins: 9, gracePeriodDays: 9 } }]) {
    await setPolicy(policy);
    assert.equal(await session(who.browser), null);
    assert.equal((await who.browser.get(at("/list-sessions"))).status, 401);
    assert.equal((await atApp(who.browser)).status, 401);
    assert.equal((await forwardAuth(who.browser)).status, 401);
    assert.equal((await authorize(who.browser)).code ?? null, null);
    assert.ok(await session(other.browser), "who gave it is out");
  }
  const carried = worker.browser();
  const answer = await carried.post(at("/one-time-token/verify"), { token });
  assert.ok(!opens(answer) && answer.status >= 400 && answer.status < 500, `${answer.status} ${answer.text}`);
});

// twoFactor.allowRememberDevice, twoFactor.allowBackupCodes

/** Somebody with an app and a browser that is remembered. */
async function remembered() {
  const who = await person();
  const code = await withApp(worker, who);
  const { browser } = await enter("password", who);
  const given = await browser.post(at("/two-factor/verify-totp"), { code: await code(), trustDevice: true });
  assert.equal(given.status, 200, given.text);
  await browser.post(at("/sign-out"), {});
  return { ...who, code, browser };
}

test("a browser that is remembered is asked again where the policy wants none remembered", async () => {
  for (const [policy, spared] of [
    [{}, true],
    [MFA, true],
    [{ twoFactor: { required: true } }, true],
    [{ twoFactor: { allowRememberDevice: true } }, true],
    [{ twoFactor: { allowRememberDevice: false } }, false],
    [{ ...MFA, twoFactor: { allowRememberDevice: false } }, false],
    [{ twoFactor: { required: true, allowRememberDevice: false } }, false],
  ]) {
    await setPolicy({});
    const who = await remembered();
    await setPolicy(policy);
    const wrong = [];
    for (const way of Object.keys(WAYS)) {
      const { answer } = await enter(way, who, copy(who));
      if (opens(answer) !== spared || asks(answer) === spared) wrong.push(`${way}: ${answer.status} ${answer.text.slice(0, 200)}`);
    }
    assert.deepEqual(wrong, [], JSON.stringify(policy));
  }
});

test("a session that a remembered browser was spared the question for ends where none may be remembered", async () => {
  const who = await remembered();
  const { browser, opened } = await enter("password", who, who.browser);
  assert.ok(opened);
  assert.equal((await visit(browser, `${APP}/`)).status, 200);
  await setPolicy(MFA);
  assert.ok(await session(browser));
  assert.equal((await atApp(browser)).status, 200, "trusted on the auth host, and not at the gate");
  await setPolicy({ ...MFA, twoFactor: { allowRememberDevice: false } });
  assert.equal(await session(browser), null);
  assert.equal((await atApp(browser)).status, 401);
});

test("no browser is remembered from now on where none may be", async () => {
  const who = await person();
  const code = await withApp(worker, who);
  await setPolicy({ twoFactor: { allowRememberDevice: false } });
  const { browser } = await enter("password", who);
  const given = await browser.post(at("/two-factor/verify-totp"), { code: await code(), trustDevice: true });
  assert.equal(given.status, 200, given.text);
  assert.equal((await one("select count(*) as n from trusted_device where user_id = ?", who.id)).n, 0, "a trusted device was kept");
  await setPolicy({});
  assert.ok(asks((await enter("password", who, browser)).answer), "remembered from when none might be");
});

test("backup codes are no second factor where the policy allows none, and are not used up", async () => {
  for (const policy of [
    { twoFactor: { allowBackupCodes: false } },
    { ...MFA, twoFactor: { allowBackupCodes: false } },
    { twoFactor: { required: true, allowBackupCodes: false } },
  ]) {
    await setPolicy({});
    const who = await person();
    const begun = (await who.browser.post(at("/two-factor/enable"), { password: PASSWORD })).json;
    assert.equal((await who.browser.post(at("/two-factor/verify-totp"), { code: totp(readUri(begun.totpURI).seed) })).status, 200);
    const [code] = begun.backupCodes;
    await setPolicy(policy);
    await byEveryWay(async (way) => {
      const { answer, browser } = await enter(way, who);
      assert.ok(asks(answer), answer.text);
      for (const more of [{}, { disableSession: true }]) {
        const given = await browser.post(at("/two-factor/verify-backup-code"), { code, ...more });
        assert.ok(
          given.status >= 400 && given.status < 500 && !opens(given),
          `${JSON.stringify(more)} ${given.status} ${given.text.slice(0, 100)}`,
        );
      }
      const page = await browser.submit(`${AUTH}/second-factor`, { code, continue: "/account" });
      assert.ok(!opens(page), `page: ${page.status}`);
      assert.equal(await session(browser), null);
    }, Object.keys(WAYS));
    await setPolicy({});
    const { browser } = await enter("password", who);
    assert.equal((await browser.post(at("/two-factor/verify-backup-code"), { code })).status, 200, "the code was used up");
  }
});

// twoFactor.required, enforcementDate, graceLogins, gracePeriodDays, exemptRoles

const date = (days) => new Date(Date.now() + days * DAY).toISOString();
const must = async (browser) => (await session(browser))?.session.mustEnrolSecondFactor === true;

test("a second factor is asked for from its date on, of every role that is not exempt, by every way in", async () => {
  for (const [policy, roles, wanted] of [
    [{ required: true }, [], true],
    [{ required: false, enforcementDate: date(-1) }, [], false],
    [{ required: true, enforcementDate: date(-1) }, [], true],
    [{ required: true, enforcementDate: date(1) }, [], false],
    [{ required: true, enforcementDate: "2020-01-31" }, [], true],
    [{ required: true, enforcementDate: Date.now() + DAY }, [], false],
    [{ required: true, enforcementDate: Date.now() - DAY }, [], true],
    [{ required: true, exemptRoles: ["member"] }, [], false],
    [{ required: true, exemptRoles: ["robot"] }, [], true],
    [{ required: true, exemptRoles: ["robot"] }, ["robot"], false],
    [{ required: true, exemptRoles: ["Member"] }, [], true],
  ]) {
    const ways = policy.exemptRoles ? ["password", "magic link"] : Object.keys(WAYS);
    const name = JSON.stringify([policy, roles]);
    await setPolicy({});
    const who = await person({ roles, upstream: ways.includes("upstream") });
    await setPolicy({ twoFactor: policy });
    assert.equal(await must(who.browser), wanted, `${name}: the live session`);
    for (const way of ways) assert.equal(await must((await enter(way, who)).browser), wanted, `${name}: ${way}`);
  }
});

test("requireMFA knows no date, no grace and no exemption", async () => {
  await setPolicy({
    ...MFA,
    twoFactor: { required: true, enforcementDate: date(1), graceLogins: 9, gracePeriodDays: 9, exemptRoles: ["member"] },
  });
  const who = await signUp(worker);
  assert.ok(await must(who.browser));
});

test("so many sign-ins without, whichever the ways, and no more; a second tab is no sign-in", async () => {
  await setPolicy({});
  const who = await person({ upstream: true });
  await setPolicy({ twoFactor: { required: true, graceLogins: 3 } });
  assert.equal(await must(who.browser), false);
  for (const way of ["password", "magic link", "upstream"]) {
    const { browser } = await enter(way, who);
    for (let n = 0; n < 4; n += 1) assert.equal(await must(browser), false, way);
    assert.equal((await browser.get(at("/token"))).status, 200);
  }
  await byEveryWay(async (way) => {
    await run("update member set second_factor_grace_logins = 3 where user_id = ?", who.id);
    assert.ok(await must((await enter(way, who)).browser));
  }, Object.keys(WAYS));
});

test("sign-ins that failed, or before the date, or while their role was exempt, use up no grace", async () => {
  const grace = { required: true, graceLogins: 1 };
  const wrong = [];
  for (const [name, policy] of [
    ["before the date", { ...grace, enforcementDate: date(1) }],
    ["before the date, as a number", { ...grace, enforcementDate: Date.now() + DAY }],
    ["exempt", { ...grace, exemptRoles: ["member"] }],
  ]) {
    await setPolicy({ twoFactor: policy });
    const who = await person();
    for (let n = 0; n < 3; n += 1) await enter("password", who);
    await worker.browser().post(at("/sign-in/email"), { email: who.email, password: "wrong password" });
    await setPolicy({ twoFactor: grace });
    const found = [await must((await enter("password", who)).browser), await must((await enter("password", who)).browser)];
    if (found[0] || !found[1]) wrong.push(`${name}: ${found}`);
  }
  assert.deepEqual(wrong, []);
});

test("20 sign-ins at once do not stretch the grace", async () => {
  const who = await person();
  await setPolicy({ twoFactor: { required: true, graceLogins: 5 } });
  const entered = await times(20, () => enter("password", who));
  const free = await Promise.all(entered.map(async ({ browser }) => !(await must(browser))));
  assert.ok(free.filter(Boolean).length <= 5, `${free.filter(Boolean).length} are free`);
});

test("so many days without, from the first question on, or the date where that is later", async () => {
  const days = { required: true, gracePeriodDays: 3 };
  for (const [policy, first, wanted] of [
    [days, undefined, false],
    [days, -2, false],
    [days, -4, true],
    [days, 1, true],
    [{ ...days, enforcementDate: date(-2) }, -10, false],
    [{ ...days, enforcementDate: date(-4) }, -10, true],
    [{ ...days, enforcementDate: date(-10) }, -2, false],
    [{ ...days, enforcementDate: date(-10) }, -4, true],
    [{ ...days, graceLogins: 100 }, -4, true],
    [{ required: true, graceLogins: 100 }, -400, false],
  ]) {
    await setPolicy({});
    const who = await person();
    await setPolicy({ twoFactor: policy });
    if (first !== undefined)
      await run("update member set second_factor_required_at = ? where user_id = ?", Date.now() + first * DAY, who.id);
    assert.equal(await must(who.browser), wanted, JSON.stringify([policy, first]));
    const { browser } = await enter("mailed code", who);
    assert.equal(await must(browser), wanted, JSON.stringify([policy, first]));
    assert.equal(told(await browser.get(at("/token")))[0], wanted ? 403 : 200);
  }
});

test("days of grace begin once, with the first question, whoever asks", async () => {
  await setPolicy({});
  const who = await person();
  await setPolicy({ twoFactor: { required: true, gracePeriodDays: 3 } });
  const since = async () =>
    (await one("select second_factor_required_at as at from member where user_id = ? and tenant_id = ?", who.id, DEFAULT_TENANT)).at;
  await session(who.browser);
  for (let n = 0; n < 100 && (await since()) === null; n += 1) await new Promise((resolve) => setTimeout(resolve, 20));
  const begun = await since();
  assert.ok(Math.abs(begun - Date.now()) < 60_000);
  await enter("password", who);
  await session(who.browser);
  assert.equal(await since(), begun);
});

const since = async ({ id }, tenant = DEFAULT_TENANT) =>
  (await one("select second_factor_required_at as at from member where user_id = ? and tenant_id = ?", id, tenant)).at;
const begun = async (who, tenant) => {
  for (let n = 0; n < 100 && (await since(who, tenant)) === null; n += 1) await new Promise((resolve) => setTimeout(resolve, 20));
  return since(who, tenant);
};
const longAgo = (who, tenant = DEFAULT_TENANT) =>
  run("update member set second_factor_required_at = ? where user_id = ? and tenant_id = ?", Date.now() - 4 * DAY, who.id, tenant);
const GRACE = { twoFactor: { required: true, gracePeriodDays: 3 } };

test("days of grace begin, and end, in an organization that is entered from another host", async () => {
  const who = await person();
  const tenant = await organization(who);
  await setPolicy(GRACE, tenant);
  const look = () => who.browser.get(at(`/organization/get-organization?organizationId=${tenant}`));
  assert.equal((await look()).status, 200);
  assert.ok(Math.abs((await begun(who, tenant)) - Date.now()) < 60_000);
  await longAgo(who, tenant);
  assert.deepEqual(told(await look()), [403, "TWO_FACTOR_REQUIRED"]);
});

test("days of grace begin, and end, for software that refreshes its tokens", async () => {
  const who = await person();
  const { redeem } = await authorize(who.browser);
  const { refresh_token } = (await redeem()).json;
  await setPolicy(GRACE);
  const again = await grant({ grant_type: "refresh_token", refresh_token });
  assert.equal(again.status, 200, again.text);
  assert.ok(Math.abs((await begun(who)) - Date.now()) < 60_000);
  await longAgo(who);
  const over = await grant({ grant_type: "refresh_token", refresh_token: again.json.refresh_token });
  assert.deepEqual([over.status, over.json.error], [400, "invalid_grant"]);
});

test("whoever a remembered browser was spared the question for administers, and their software goes on", async () => {
  const who = await remembered();
  await giveRole(worker, who.id, "admin");
  const trusting = { session: { requireMFA: true } };
  await setPolicy(trusting);
  const { opened, browser } = await enter("password", who, who.browser);
  assert.ok(opened, "the browser is remembered");
  assert.equal((await browser.get(at("/organization/get-organization?organizationSlug=default"))).status, 200);
  assert.equal((await browser.get(at("/admin/list-users?limit=1"))).status, 200);
  const { redeem } = await authorize(browser);
  const { refresh_token } = (await redeem()).json;
  const refreshed = await grant({ grant_type: "refresh_token", refresh_token });
  assert.equal(refreshed.status, 200, refreshed.text);
  // Cron deletes the session long before the software is done.
  await run("delete from session where user_id = ?", who.id);
  const later = await grant({ grant_type: "refresh_token", refresh_token: refreshed.json.refresh_token });
  assert.equal(later.status, 200, later.text);
  await setPolicy({ ...trusting, twoFactor: { allowRememberDevice: false } });
  const over = await grant({ grant_type: "refresh_token", refresh_token: later.json.refresh_token });
  assert.deepEqual([over.status, over.json.error], [400, "invalid_grant"]);
});

test("a passkey that verifies its user is no grace in an organization of another host either", async () => {
  const who = await person({ passkey: true });
  const tenant = await organization(who);
  await setPolicy(GRACE, tenant);
  assert.deepEqual(
    told(await who.browser.get(at(`/organization/get-organization?organizationId=${tenant}`))),
    [403, "TWO_FACTOR_REQUIRED"],
    "signed in by a password alone",
  );
});

test("a key is no way around a second factor that its user never sets up", async () => {
  const who = await person();
  const made = await who.browser.post(at("/api-key/create"), { name: "k" });
  assert.equal(made.status, 200, made.text);
  const headers = { "x-api-key": made.json.key };
  const uses = () =>
    Promise.all([
      worker.browser().get(at("/organization/get-active-member?organizationSlug=default"), { headers }),
      worker.browser().get(`${APP}/x`, { headers: { ...headers, ...API } }),
    ]);
  const outcome = async () => (await uses()).map(({ status }) => status);
  assert.deepEqual(await outcome(), [200, 200]);
  await setPolicy(GRACE);
  assert.deepEqual(await outcome(), [200, 200]);
  assert.ok(Math.abs((await begun(who)) - Date.now()) < 60_000);
  await longAgo(who);
  assert.deepEqual(await outcome(), [403, 403]);
  assert.equal((await uses())[0].json.code, "TWO_FACTOR_REQUIRED");
  await setPolicy({ twoFactor: { ...GRACE.twoFactor, exemptRoles: ["member"] } });
  assert.deepEqual(await outcome(), [200, 200]);
  await setPolicy({});
  await addPasskey(who);
  await setPolicy(MFA);
  assert.deepEqual(await outcome(), [200, 200], "they have one now, and gave it to make their session");
});

// ipRestrictions

const blocked = { ipRestrictions: { enabled: true, blockList: ["203.0.113.0/24", "2001:db8:bad::/48"] } };

test("whose address may come in, in every notation", async () => {
  const who = await person();
  for (const [restrictions, ins, outs] of [
    [
      { allowedIPs: ["192.0.2.7"] },
      ["192.0.2.7", "::ffff:192.0.2.7", "::ffff:c000:207"],
      ["192.0.2.8", "::192.0.2.7", "64:ff9b::192.0.2.7", "2001:db8::7", "unknown", "192.0.2.7, 192.0.2.8"],
    ],
    [{ allowedIPs: ["::ffff:192.0.2.7"] }, ["192.0.2.7", "::ffff:192.0.2.7"], ["192.0.2.8"]],
    [{ allowedIPs: ["2001:db8::7"] }, ["2001:db8::7", "2001:0DB8:0:0:0:0:0:7"], ["2001:db8::8", "192.0.2.7"]],
    [{ allowedRanges: ["192.0.2.0/25"] }, ["192.0.2.0", "192.0.2.127", "::ffff:192.0.2.1"], ["192.0.2.128", "192.0.3.1"]],
    [{ allowedRanges: ["::ffff:192.0.2.0/121"] }, ["192.0.2.1", "::ffff:192.0.2.1"], ["192.0.2.128"]],
    [{ allowedRanges: ["2001:db8:1::/48"] }, ["2001:db8:1:ffff::1"], ["2001:db8:2::1", "192.0.2.1"]],
    [{ allowedRanges: ["0.0.0.0/0"] }, ["192.0.2.1", "::ffff:192.0.2.1"], ["2001:db8::1"]],
    [{ allowedRanges: ["::/0"] }, ["2001:db8::1"], ["192.0.2.1", "::ffff:192.0.2.1"]],
    [
      { blockList: ["192.0.2.7", "198.51.100.0/24", "2001:db8:1::/48"] },
      ["192.0.2.8", "2001:db8:2::1"],
      ["192.0.2.7", "::ffff:192.0.2.7", "198.51.100.200", "2001:db8:1::1", "unknown"],
    ],
    [
      { blockList: ["192.0.2.7"], allowedIPs: ["192.0.2.7", "192.0.2.8"], allowedRanges: ["192.0.2.0/24"] },
      ["192.0.2.8", "192.0.2.9"],
      ["192.0.2.7", "192.0.3.1"],
    ],
    [{}, ["192.0.2.1", "2001:db8::1"], ["unknown", "1.2.3"]],
    [{ enabled: false, blockList: ["192.0.2.7"], allowedIPs: ["192.0.2.8"] }, ["192.0.2.7", "192.0.2.9"], []],
  ]) {
    await setPolicy({ ipRestrictions: { enabled: true, ...restrictions } });
    for (const [ips, wanted] of [
      [ins, true],
      [outs, false],
    ]) {
      for (const ip of ips) {
        const { answer, opened } = await enter("password", who, worker.browser({ ip }));
        assert.equal(opened, wanted, `${JSON.stringify(restrictions)}: ${JSON.stringify(ip)}: ${answer.status} ${answer.text}`);
        if (!wanted) assert.deepEqual(told(answer), [403, "ADDRESS_NOT_ALLOWED"]);
      }
    }
  }
});

test("an address that is kept out gets in by no way, not by the last step of one that was begun before either", async () => {
  await byEveryWay(async (way) => {
    await setPolicy({});
    const who = await person({ passkey: true, upstream: way === "upstream" });
    const browser = worker.browser();
    const finish = await EVERY[way](who, browser);
    browser.ip = "203.0.113.77";
    await setPolicy(blocked);
    const answer = await finish();
    assert.ok(answer.status === 403 && !opens(answer) && !asks(answer), `${answer.status} ${answer.location} ${answer.text.slice(0, 200)}`);
    if (answer.text.startsWith("{")) assert.equal(answer.json.code, "ADDRESS_NOT_ALLOWED");
    browser.ip = "192.0.2.1";
    assert.equal(await session(browser), null);
  });
});

test("nor by a second factor, a one-time token, a sign-up, a reset or as a guest", async () => {
  const who = await person();
  const code = await withApp(worker, who);
  const { token } = (await who.browser.get(at("/one-time-token/generate"))).json;
  const { browser } = await enter("password", who);
  await worker.browser().post(at("/request-password-reset"), { email: who.email, redirectTo: "/x" });
  const reset = linkIn((await mails(who.email)).find(({ text }) => text.includes("reset-password")));
  await setPolicy(blocked);
  const evil = copy({ browser }, { ip: "203.0.113.1" });
  for (const [path, body] of [
    ["/two-factor/verify-totp", { code: await code() }],
    ["/one-time-token/verify", { token }],
    ["/sign-up/email", { name: "N", email: uniqueEmail(), password: PASSWORD }],
    ["/sign-in/anonymous", {}],
    ["/reset-password", { token: reset.match(/reset-password\/([\w-]+)/)[1], newPassword: `${PASSWORD}!` }],
    ["/sign-in/magic-link", { email: who.email }],
  ]) {
    const answer = await evil.post(at(path), body);
    assert.deepEqual([told(answer), opens(answer)], [[403, "ADDRESS_NOT_ALLOWED"], false], path);
  }
});

test("sessions that are there are good for nothing from an address that is kept out, and lose nothing by the attempt", async () => {
  const who = await person();
  assert.equal((await visit(who.browser, `${APP}/`)).status, 200);
  assert.equal(await signInAtSite(who.browser), "signed in");
  const late = copy(who, {}, ["auth.localhost"]);
  const callback = await upToCallback({ browser: late }, APP);
  await setPolicy(blocked);
  for (const ip of ["203.0.113.5", "::ffff:203.0.113.5", "2001:db8:bad::5", "unknown"]) {
    const evil = copy(who, { ip });
    for (const path of ["/get-session", "/token", "/list-sessions", "/organization/list"])
      assert.deepEqual(told(await evil.get(at(path))), [403, "ADDRESS_NOT_ALLOWED"], `${ip} ${path}`);
    for (const answer of [await atApp(evil), await evil.get(`${APP}/.doorward/me`, { headers: API }), await forwardAuth(evil)])
      assert.ok([401, 403].includes(answer.status), `${ip}: ${answer.status}`);
    const page = await visit(evil, `${APP}/x`);
    assert.deepEqual([page.status, new URL(page.url).host], [403, "app.localhost"], ip);
    assert.equal((await authorize(evil)).code ?? null, null);
    assert.ok(!opens(await copy({ browser: late }, { ip }).get(callback.href, { headers: PAGE })));
  }
  assert.ok(await session(who.browser));
  assert.equal((await atApp(who.browser)).status, 200);
  assert.equal((await forwardAuth(who.browser)).status, 200);
});

test("every page and endpoint that is about people is closed to an address that is kept out", async () => {
  await setPolicy(blocked);
  const evil = worker.browser({ ip: "203.0.113.9" });
  const open =
    /^\/(oauth2\/(token|userinfo|revoke|introspect|par|device_authorization|register.*)|\.well-known\/.*|api\/auth\/(jwks|ok|system-account\/token)|style\.css|passkey\.js|fragment\.js|form-post\.js|sign-out\.js|forward-auth)$/;
  const wrong = [];
  for (const route of ROUTES.filter(({ path }) => !open.test(path))) {
    const { status, text } = await knock(evil, route);
    if (status !== 403 || (route.surface === "Api" && !text.includes("ADDRESS_NOT_ALLOWED")))
      wrong.push(`${route.method} ${route.path}: ${status} ${text.slice(0, 100)}`);
  }
  assert.deepEqual(wrong, []);
});

// An organization's own policy, for whoever comes by another tenant's host

async function organization(who) {
  const made = await who.browser.post(at("/organization/create"), { name: "Org", slug: `o${randomBytes(6).toString("hex")}` });
  assert.equal(made.status, 200, made.text);
  return made.json.id;
}
/** Endpoints that are about no organization, or about leaving one. */
const ABOUT_NONE =
  /\/organization\/(create|check-slug|list|list-user-invitations|list-user-teams|set-active|accept-invitation|reject-invitation|get-invitation)$/;
async function walkOrganization(browser, organizationId, wanted) {
  const wrong = [];
  for (const { method, path } of ROUTES.filter(({ path }) => path.includes("/organization/") && !ABOUT_NONE.test(path))) {
    const short = path.replace("/api/auth", "");
    for (const named of [{ organizationId }, {}]) {
      if (!named.organizationId && /\/(delete|restore|leave|cancel-invitation)$/.test(path)) continue;
      const query = `${QUERIES[short] ?? "?"}${named.organizationId ? `&organizationId=${organizationId}` : ""}`;
      const answer =
        method === "GET"
          ? await browser.get(`${AUTH}${path}${query}`)
          : await browser.send(method, `${AUTH}${path}`, { body: { ...BODIES[short], ...named }, headers: { origin: AUTH } });
      const [status, code] = told(answer);
      if (status !== 403 || code !== wanted)
        wrong.push(`${method} ${path} ${JSON.stringify(named)}: ${status} ${answer.text.slice(0, 120)}`);
    }
  }
  return wrong;
}

test("an organization's restrictions hold on the auth host of another tenant", async () => {
  const who = await person();
  const id = await organization(who);
  await setPolicy(blocked, id);
  assert.equal((await who.browser.get(at(`/organization/get-full-organization?organizationId=${id}`))).status, 200);
  assert.deepEqual(await walkOrganization(copy(who, { ip: "203.0.113.3" }), id, "ADDRESS_NOT_ALLOWED"), []);
  assert.equal((await one("select status from tenant where id = ?", id)).status, "active");
  await setPolicy(MFA, id);
  assert.deepEqual(await walkOrganization(who.browser, id, "TWO_FACTOR_REQUIRED"), []);
  await setPolicy({ twoFactor: { required: true, graceLogins: 1 } }, id);
  assert.equal((await who.browser.get(at(`/organization/list-members?organizationId=${id}`))).status, 200, "in grace");
  await enter("password", who);
  await enter("password", who);
  assert.deepEqual(
    told(await who.browser.get(at(`/organization/list-members?organizationId=${id}`))),
    [403, "TWO_FACTOR_REQUIRED"],
    "grace is over",
  );
  await withApp(worker, who);
  await setPolicy(MFA, id);
  assert.equal((await who.browser.get(at(`/organization/list-members?organizationId=${id}`))).status, 200);
});

test("on an organization's own host its own policy holds, and the default tenant's does not", async () => {
  const slug = `h${randomBytes(4).toString("hex")}`;
  const tenant = await seedTenant(worker, { slug });
  await seedDomain(worker, tenant, `${slug}.localhost`);
  const who = await person();
  await memberOf(worker, tenant, who.id);
  const there = () => worker.browser().post(at("/sign-in/email", `http://${slug}.localhost`), { email: who.email, password: PASSWORD });
  await setPolicy({ ipRestrictions: { enabled: true, allowedIPs: ["192.0.2.1"] } });
  assert.ok(opens(await there()));
  await setPolicy({});
  await setPolicy({ ipRestrictions: { enabled: true, allowedIPs: ["192.0.2.1"] } }, tenant);
  assert.deepEqual(told(await there()), [403, "ADDRESS_NOT_ALLOWED"]);
  assert.ok((await enter("password", who)).opened);
});

test("a protected host is entered under its own tenant's policy, wherever its visitor is signed in", async () => {
  const slug = `g${randomBytes(4).toString("hex")}`;
  const tenant = await seedTenant(worker, { slug });
  await seedApp(worker, `${slug}-app.localhost`, { tenant, origin: origin.url, rules: [] });
  const app = `http://${slug}-app.localhost`;
  const who = await person();
  await memberOf(worker, tenant, who.id);
  const page = await visit(who.browser, `${app}/x`);
  assert.equal(page.status, 200, page.url);
  const get = () => who.browser.get(`${app}/x`, { headers: API });
  assert.equal((await get()).status, 200);
  await setPolicy(MFA, tenant);
  assert.ok([401, 403].includes((await get()).status), "second factor");
  await setPolicy({ ipRestrictions: { enabled: true, allowedIPs: ["192.0.2.1"] } }, tenant);
  assert.ok([401, 403].includes((await get()).status), "address");
  await setPolicy({ session: { sessionTimeout: 60, extendOnActivity: false } }, tenant);
  await age(who, 61);
  assert.equal((await get()).status, 401, "timeout");
});

// A policy that cannot be read

const UNREADABLE = [
  '{"session":{"maxConcurrentSessions":"three"}}',
  '{"sesion":{}}',
  "[]",
  '{"twoFactor":{"required":"yes"}}',
  '{"ipRestrictions":{"enabled":true,"allowedRanges":["10.0.0.1/8"]}}',
  '{"session":null}',
  '"secret-of-the-policy"',
];

test("a policy that cannot be read lets nobody in and tells nothing", async () => {
  for (const [at_, policy] of UNREADABLE.entries()) {
    await setPolicy({});
    const who = await person({ passkey: true, upstream: true });
    await visit(who.browser, `${APP}/`);
    await signInAtSite(who.browser);
    const late = copy(who, {}, ["auth.localhost"]);
    const callback = await upToCallback({ browser: late }, APP);
    const { token } = (await who.browser.get(at("/one-time-token/generate"))).json;
    const waiting = [];
    for (const way of at_ === 0 ? Object.keys(EVERY) : ["password", "magic link", "passkey", "upstream"])
      waiting.push([way, await EVERY[way](who, worker.browser())]);
    const before = (await living(who)).length;
    await setPolicy(policy);
    const closed = (name, answer) => {
      assert.ok(
        answer.status >= 500 && !opens(answer) && !asks(answer),
        `${policy} ${name}: ${answer.status} ${answer.location} ${answer.text.slice(0, 200)}`,
      );
      assert.doesNotMatch(answer.text, /security_policy|maxConcurrent|sesion|secret-of|allowedRanges|unknown key/, name);
    };
    for (const [way, finish] of waiting) closed(way, await finish());
    closed("sign-up", await worker.browser().post(at("/sign-up/email"), { name: "N", email: uniqueEmail(), password: PASSWORD }));
    closed("one-time token", await worker.browser().post(at("/one-time-token/verify"), { token }));
    for (const path of ["/get-session", "/token", "/list-sessions", "/organization/list"]) closed(path, await who.browser.get(at(path)));
    closed("authorize", (await authorize(who.browser)).answer);
    for (const answer of [
      await atApp(who.browser),
      await forwardAuth(who.browser),
      await who.browser.get(`${APP}/.doorward/me`, { headers: API }),
    ])
      assert.ok(answer.status >= 400, `${policy} gate: ${answer.status}`);
    assert.ok(!opens(await late.get(callback.href, { headers: PAGE })), "a gate's callback");
    assert.equal((await living(who)).length, before, "a session was opened, or ended");
  }
});

test("nor does it give tokens: for a code that was given before, or a refresh token", async () => {
  const who = await person();
  const { refresh_token } = (await (await authorize(who.browser)).redeem()).json;
  const { redeem } = await authorize(who.browser);
  await setPolicy(UNREADABLE[0]);
  const answers = [await redeem(), await grant({ grant_type: "refresh_token", refresh_token })];
  assert.deepEqual(
    answers.map(({ status }) => status >= 400),
    [true, true],
  );
});

test("an organization's policy that cannot be read keeps everybody out of it, on whichever host", async () => {
  const who = await person();
  const id = await organization(who);
  await setPolicy('{"twoFactor":{"grace":1}}', id);
  for (const path of ["get-full-organization", "list-members", "security-policy"]) {
    const answer = await who.browser.get(at(`/organization/${path}?organizationId=${id}`));
    assert.ok(answer.status >= 500, `${path}: ${answer.status}`);
    assert.doesNotMatch(answer.text, /grace|security_policy/);
  }
});

// Reading and writing policies

test("each thing that is wrong with a policy is named by its path, and nothing is written", async () => {
  const owner = await signUp(worker, { roles: ["owner"] });
  for (const [policy, ...paths] of [
    [{ sesion: {} }, "sesion"],
    [{ session: { timeout: 1 } }, "session.timeout"],
    [{ "twoFactor.required": true }, "twoFactor.required"],
    [{ session: { maxConcurrentSessions: 0 } }, "session.maxConcurrentSessions"],
    [{ session: { maxConcurrentSessions: 1001 } }, "session.maxConcurrentSessions"],
    [{ session: { maxConcurrentSessions: 1.5 } }, "session.maxConcurrentSessions"],
    [{ session: { maxConcurrentSessions: "3" } }, "session.maxConcurrentSessions"],
    [{ session: { sessionTimeout: 59 } }, "session.sessionTimeout"],
    [{ session: { sessionTimeout: -1 } }, "session.sessionTimeout"],
    [{ session: { sessionTimeout: 1e300 } }, "session.sessionTimeout"],
    [{ session: { extendOnActivity: null } }, "session.extendOnActivity"],
    [{ session: { requireMFA: "true" } }, "session.requireMFA"],
    [{ session: [] }, "session"],
    [{ twoFactor: "on" }, "twoFactor"],
    [{ twoFactor: { required: 1 } }, "twoFactor.required"],
    [{ twoFactor: { enforcementDate: "tomorrow" } }, "twoFactor.enforcementDate"],
    [{ twoFactor: { enforcementDate: "2026-02-30" } }, "twoFactor.enforcementDate"],
    [{ twoFactor: { graceLogins: -1 } }, "twoFactor.graceLogins"],
    [{ twoFactor: { gracePeriodDays: 366 } }, "twoFactor.gracePeriodDays"],
    [{ twoFactor: { exemptRoles: "admin" } }, "twoFactor.exemptRoles"],
    [{ twoFactor: { exemptRoles: ["a", ""] } }, "twoFactor.exemptRoles[1]"],
    [{ ipRestrictions: { allowedIPs: ["1.2.3.4", "1.2.3"] } }, "ipRestrictions.allowedIPs[1]"],
    [{ ipRestrictions: { allowedIPs: ["1.2.3.0/24"] } }, "ipRestrictions.allowedIPs[0]"],
    [{ ipRestrictions: { allowedRanges: ["10.0.0.1/8"] } }, "ipRestrictions.allowedRanges[0]"],
    [{ ipRestrictions: { allowedRanges: ["10.0.0.0"] } }, "ipRestrictions.allowedRanges[0]"],
    [
      { ipRestrictions: { blockList: ["10.0.0.0/33", "x", 7] } },
      "ipRestrictions.blockList[0]",
      "ipRestrictions.blockList[1]",
      "ipRestrictions.blockList[2]",
    ],
    [{ ipRestrictions: { allowedRanges: ["::fffe:0:0/95"] } }, "ipRestrictions.allowedRanges[0]"],
    [{ session: { a: 1 }, twoFactor: { b: 1 }, c: 1 }, "session.a", "twoFactor.b", "c"],
  ]) {
    const answer = await put(owner.browser, policy);
    assert.deepEqual(told(answer), [400, "VALIDATION_ERROR"], `${JSON.stringify(policy)}: ${answer.text}`);
    for (const path of paths) assert.ok(answer.json.message.includes(path), `${path}: ${answer.json.message}`);
  }
  for (const policy of [null, [], "x", 1, undefined]) assert.equal((await put(owner.browser, policy)).status, 400, JSON.stringify(policy));
  assert.equal((await one("select security_policy as p from tenant where id = ?", DEFAULT_TENANT)).p, "{}");
});

test("a policy is answered and kept in full, and what is read is what was set", async () => {
  const owner = await signUp(worker, { roles: ["owner"] });
  const given = {
    session: { maxConcurrentSessions: 5 },
    twoFactor: { enforcementDate: "2020-01-31", exemptRoles: ["b", "a", "b"] },
    ipRestrictions: { blockList: ["::ffff:1.2.3.4", "1.2.3.4"] },
  };
  const full = {
    session: { maxConcurrentSessions: 5, sessionTimeout: null, extendOnActivity: true, requireMFA: false },
    twoFactor: {
      required: false,
      enforcementDate: "2020-01-31T00:00:00.000Z",
      graceLogins: 0,
      gracePeriodDays: 0,
      allowBackupCodes: true,
      allowRememberDevice: true,
      exemptRoles: ["a", "b"],
    },
    ipRestrictions: { enabled: false, allowedIPs: [], allowedRanges: [], blockList: ["1.2.3.4"] },
  };
  const answer = await put(owner.browser, given);
  assert.deepEqual([answer.status, answer.json], [200, { securityPolicy: full }]);
  assert.deepEqual((await owner.browser.get(at(`/organization/security-policy?organizationId=${DEFAULT_TENANT}`))).json, {
    securityPolicy: full,
  });
  assert.equal((await put(owner.browser, full)).status, 200);
  const [event] = await worker.rows(
    "select tenant_id, actor_id from audit_event where event = 'tenant.policy_changed' order by created_at desc limit 1",
  );
  assert.deepEqual([event.tenant_id, event.actor_id], [DEFAULT_TENANT, owner.id]);
});

test("only who may sees a policy, and only who may sets one", async () => {
  const [owner, admin, member, guest] = [
    await signUp(worker, { roles: ["owner"] }),
    await signUp(worker, { roles: ["admin"] }),
    await signUp(worker),
    { browser: worker.browser() },
  ];
  await guest.browser.post(at("/sign-in/anonymous"), {});
  const id = await organization(member);
  for (const [name, { browser }, tenant, reads, writes] of [
    ["owner", owner, DEFAULT_TENANT, 200, 200],
    ["admin", admin, DEFAULT_TENANT, 200, 200],
    ["member", member, DEFAULT_TENANT, 403, 403],
    ["nobody", { browser: worker.browser() }, DEFAULT_TENANT, 401, 401],
    ["a stranger", owner, id, 404, 404],
    ["its owner", member, id, 200, 200],
    ["of one that is not there", owner, randomUUID(), 404, 404],
  ]) {
    assert.equal((await browser.get(at(`/organization/security-policy?organizationId=${tenant}`))).status, reads, `${name} reads`);
    assert.equal((await put(browser, {}, tenant)).status, writes, `${name} writes`);
  }
  assert.ok([403, 404].includes((await put(guest.browser, {})).status));
  const evil = await put(owner.browser, { session: { requireMFA: true } }, DEFAULT_TENANT, { headers: { origin: "https://evil.example" } });
  assert.equal(evil.status, 403);
  const full = await member.browser.get(at(`/organization/get-full-organization?organizationId=${DEFAULT_TENANT}`));
  assert.doesNotMatch(full.text, /securityPolicy|security_policy|ipRestrictions/, "told to a member");
  const update = await owner.browser.post(at("/organization/update"), {
    organizationId: DEFAULT_TENANT,
    data: { securityPolicy: { session: { requireMFA: true } }, security_policy: "{}" },
  });
  assert.equal(
    (await one("select json_extract(security_policy, '$.session.requireMFA') as p from tenant where id = ?", DEFAULT_TENANT)).p ?? 0,
    0,
    `by another door: ${update.status}`,
  );
});

test("a policy that keeps its author out is refused", async () => {
  const owner = await signUp(worker, { roles: ["owner"] });
  for (const [ip, ipRestrictions] of [
    ["192.0.2.1", { blockList: ["192.0.2.0/24"] }],
    ["192.0.2.1", { allowedIPs: ["192.0.2.2"] }],
    ["::ffff:192.0.2.1", { blockList: ["192.0.2.1"] }],
    ["192.0.2.1", { allowedRanges: ["2001:db8::/32"] }],
    ["2001:db8::1", { allowedRanges: ["0.0.0.0/0"] }],
    ["192.0.2.1", { allowedIPs: ["192.0.2.1"], blockList: ["192.0.2.1"] }],
    ["unknown", {}],
  ]) {
    const answer = await put(copy(owner, { ip }), { ipRestrictions: { enabled: true, ...ipRestrictions } });
    assert.deepEqual(told(answer), [400, "VALIDATION_ERROR"], `${ip} ${JSON.stringify(ipRestrictions)}`);
    assert.match(answer.json.message, /ipRestrictions/);
    assert.equal((await put(copy(owner, { ip }), { ipRestrictions: { enabled: false, ...ipRestrictions } })).status, 200);
  }
  assert.equal(
    (await put(copy(owner, { ip: "192.0.2.1" }), { ipRestrictions: { enabled: true, allowedRanges: ["192.0.2.0/24"] } })).status,
    200,
  );
  assert.deepEqual(told(await owner.browser.get(at("/get-session"))), [403, "ADDRESS_NOT_ALLOWED"], "not in force at once");
});
