// Deleting one's account: by password or by a mailed link, wholly, and nobody else's.

import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { after, before, test } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { startOrigin } from "../harness/origin.mjs";
import { API, giveRole, seedApp, seedDomain, seedTenant, visit } from "../harness/seed.mjs";
import { AUTH, SPA, startWorker } from "../harness/worker.mjs";

const PASSWORD = "correct horse battery staple";
const SETTINGS = {
  LIMIT_MAIL: "1000/60",
  SIGN_IN_WITH: "password,magic-link,email-otp,phone,anonymous",
  SESSION_COOKIE_CACHE_SECONDS: "0",
  SESSION_RECHECK_SECONDS: "0",
};
let worker, origin;
before(async () => {
  origin = await startOrigin();
  worker = await startWorker({ settings: SETTINGS });
  await seedApp(worker, "app.localhost", { origin: origin.url });
});
after(async () => {
  await worker?.dispose();
  await origin?.close();
});

const at = (path, host = AUTH) => `${host}/api/auth${path}`;
const mails = async (to, of = worker) => (await of.browser().get(`${AUTH}/dev/mailbox?to=${encodeURIComponent(to)}`)).json;
const linkIn = (mail) => mail.text.match(/https?:\S+/)[0];
const request = (browser, body = {}) => browser.post(at("/delete-user"), body);
async function link(someone, body) {
  const answer = await request(someone.browser, body);
  assert.deepEqual([answer.status, answer.json], [200, { success: true, message: "Verification email sent" }]);
  return linkIn((await mails(someone.email))[0]);
}
const tokenIn = (url) => new URL(url).searchParams.get("token");
const session = async (browser) => (await browser.get(at("/get-session"))).json;
const told = ({ status, json }) => [status, json.code];
const signUp = (email, body = {}) => worker.browser().post(at("/sign-up/email"), { name: "P", email, password: PASSWORD, ...body });
const signIn = (email, password = PASSWORD) => worker.browser().post(at("/sign-in/email"), { email, password });
const change = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
const isDeleted = async (user) => (await worker.rows("select status from user where id = ?", user))[0].status === "deleted";
const GONE = [200, { success: true, message: "User deleted" }];
const INVALID = [404, { message: "Invalid token", code: "INVALID_TOKEN" }];
async function person({ of = worker, ...body } = {}) {
  const browser = of.browser();
  const email = uniqueEmail();
  const { user } = (await browser.post(at("/sign-up/email"), { name: "P", email, password: PASSWORD, ...body })).json;
  return { browser, email, id: user.id };
}
async function caller() {
  const browser = worker.browser();
  const phoneNumber = `+1${randomInt(1e9, 1e10)}`;
  await browser.post(at("/phone-number/send-otp"), { phoneNumber });
  const code = (await mails(phoneNumber))[0].text.match(/\d{6}/)[0];
  const { user } = (await browser.post(at("/phone-number/verify"), { phoneNumber, code })).json;
  return { browser, phoneNumber, id: user.id };
}

test("with the password, at once: every session ends, nothing signs in any more, and the owner is told", async () => {
  const username = `gone_${randomInt(1e9)}`;
  const { browser, email, id } = await person({ username });
  const elsewhere = worker.browser();
  await elsewhere.post(at("/sign-in/email"), { email, password: PASSWORD });
  assert.equal((await visit(elsewhere, "http://app.localhost/inside")).status, 200);
  const gone = await request(browser, { password: PASSWORD });
  assert.deepEqual([gone.status, gone.json], GONE);
  for (const name of ["session", "snapshot"])
    assert.ok(
      gone.cookies.some((line) => new RegExp(`^doorward\\.${name}=;.*Max-Age=0`).test(line)),
      name,
    );
  assert.equal(await session(elsewhere), null);
  assert.equal((await elsewhere.get("http://app.localhost/inside", { headers: API })).status, 401);
  assert.deepEqual(await worker.rows("select id from session where user_id = ? and revoked_at is null", id), []);
  for (const table of ["account", "passkey", "two_factor", "trusted_device", "password_reset"])
    assert.deepEqual(await worker.rows(`select id from ${table} where user_id = ?`, id), [], table);
  assert.equal((await signIn(email)).status, 401);
  assert.equal((await worker.browser().post(at("/sign-in/username"), { username, password: PASSWORD })).status, 401);
  assert.equal((await mails(email))[0].subject, "Your account was deleted");
  const [event] = await worker.rows("select details, severity from audit_event where user_id = ? and event = 'user.deleted'", id);
  assert.deepEqual([event.details, event.severity], ['{"by":"password"}', "high"]);
  const again = await signUp(email, { username });
  assert.equal(again.status, 200, "the address or the name is not free again");
  assert.notEqual(again.json.user.id, id);
});

test("a wrong password deletes nobody, and is a guess like any other", async () => {
  const { browser, email, id } = await person();
  for (let n = 0; n < 10; n += 1) {
    const answer = await request(browser, { password: `wrong ${n}` });
    assert.deepEqual([answer.status, answer.json], [400, { message: "Invalid password", code: "INVALID_PASSWORD" }]);
  }
  assert.equal(await isDeleted(id), false);
  assert.deepEqual(told(await request(browser, { password: PASSWORD })), [400, "INVALID_PASSWORD"], "ten guesses, and no lock");
  assert.equal((await signIn(email)).status, 401);
  const passwordless = await caller();
  assert.deepEqual(told(await request(passwordless.browser, { password: PASSWORD })), [400, "CREDENTIAL_ACCOUNT_NOT_FOUND"]);
  assert.equal(await isDeleted(passwordless.id), false);
});

test("without it a link is mailed, which works in a browser that is signed in as its user, and in no other", async () => {
  const [someone, other] = [await person(), await person()];
  const url = await link(someone, { callbackURL: `${SPA}/bye` });
  const bare = url.replace(/&callbackURL=.*/, "");
  const refused = async (by, path, expected, why) => {
    const answer = await by.verifyAsScript(path, SPA);
    assert.deepEqual([answer.status, answer.json, answer.location], [...expected, undefined], why);
  };
  for (const path of [url, bare]) {
    await refused(
      worker.browser(),
      path,
      [404, { message: "Failed to get user info", code: "FAILED_TO_GET_USER_INFO" }],
      "signed out, as a mail scanner is",
    );
    await refused(other.browser, path, INVALID, "somebody else");
    const posted = await request(other.browser, { token: tokenIn(path) });
    assert.deepEqual([posted.status, posted.json], INVALID);
    assert.equal((await worker.browser().post(at("/delete-user"), { token: tokenIn(path) })).status, 401);
    await someone.browser.send("HEAD", path);
    assert.equal((await someone.browser.get(path)).status, 200, "its owner is asked");
    assert.equal((await worker.browser().get(path)).status, 303, "a user who is signed out signs in first");
    assert.equal((await other.browser.followMailedLink(path)).status, 400);
  }
  assert.deepEqual([await isDeleted(someone.id), await isDeleted(other.id)], [false, false]);
  const gone = await someone.browser.followMailedLink(url);
  assert.deepEqual([gone.status, gone.location], [303, `${SPA}/bye`]);
  assert.ok(gone.cookies.some((line) => /^doorward\.session=;.*Max-Age=0/.test(line)));
  assert.deepEqual([await isDeleted(someone.id), await isDeleted(other.id), (await signIn(someone.email)).status], [true, false, 401]);
});

test("for a script without a callbackURL, and by POST, the answer is JSON", async () => {
  const [one, two] = [await person(), await person()];
  const followed = await one.browser.verifyAsScript(await link(one), SPA);
  assert.deepEqual([followed.status, followed.json], GONE);
  const posted = await request(two.browser, { token: tokenIn(await link(two)) });
  assert.deepEqual([posted.status, posted.json], GONE);
  assert.deepEqual([await isDeleted(one.id), await isDeleted(two.id)], [true, true]);
});

test("a link is good in time; what is no link is told as such", async () => {
  const someone = await person();
  const url = await link(someone);
  const [{ life }] = await worker.rows(
    "select expires_at - created_at as life from verification where kind = 'delete_user' and identifier = ?",
    someone.id,
  );
  assert.equal(life, 86_400_000);
  await change("update verification set expires_at = 1 where kind = 'delete_user' and identifier = ?", someone.id);
  const magic = worker.browser();
  await magic.post(at("/sign-in/magic-link"), { email: someone.email });
  const other = tokenIn(linkIn((await mails(someone.email))[0]));
  for (const token of [tokenIn(url), "", "x", "A".repeat(43), other, "%00", "x".repeat(300)]) {
    const answer = await someone.browser.verifyAsScript(`${AUTH}/delete-account?token=${token}`, SPA);
    assert.deepEqual([answer.status, answer.json], INVALID, token);
  }
  assert.equal((await someone.browser.verifyAsScript(`${AUTH}/delete-account`, SPA)).status, 404);
  for (const body of [{ token: 7 }, { token: "x".repeat(201) }, { password: 7 }, { password: {} }, { callbackURL: 7 }])
    assert.deepEqual(told(await request(someone.browser, body)), [400, "VALIDATION_ERROR"], JSON.stringify(body));
  for (const [body, code] of [
    ["{bad", "BAD_REQUEST"],
    ["null", "VALIDATION_ERROR"],
  ])
    assert.deepEqual(told(await someone.browser.post(at("/delete-user"), body, { headers: { "content-type": "application/json" } })), [
      400,
      code,
    ]);
  assert.deepEqual(told(await request(worker.browser())), [401, "UNAUTHORIZED"]);
  assert.equal(await isDeleted(someone.id), false);
});

test("links lead to trusted places only, and another website deletes nobody", async () => {
  const someone = await person();
  const url = (await link(someone)).replace(/&callbackURL=.*/, "");
  for (const evil of ["https://evil.example", "//evil.example", "/..//evil.example"]) {
    assert.deepEqual(told(await request(someone.browser, { callbackURL: evil })), [403, "INVALID_CALLBACK_URL"], evil);
    const followed = await someone.browser.get(`${url}&callbackURL=${encodeURIComponent(evil)}`);
    assert.deepEqual([followed.status, followed.location], [403, undefined], evil);
  }
  for (const body of [{}, { password: PASSWORD }, { token: tokenIn(url) }])
    assert.deepEqual(told(await someone.browser.post(at("/delete-user"), body, { origin: "https://evil.example" })), [
      403,
      "INVALID_ORIGIN",
    ]);
  assert.equal(await isDeleted(someone.id), false);
});

test("who has no mailbox needs a fresh session; an administrator in somebody else's deletes nobody", async () => {
  const { browser, phoneNumber, id } = await caller();
  await change("update session set authenticated_at = ? where user_id = ?", Date.now() - 2 * 86_400_000, id);
  const stale = await request(browser);
  assert.deepEqual(
    [stale.status, stale.json],
    [400, { message: "Session expired. Re-authenticate to perform this action.", code: "SESSION_EXPIRED" }],
  );
  const admin = await person();
  await giveRole(worker, admin.id, "admin");
  await change("update session set authenticated_at = ?, impersonated_by = ? where user_id = ?", Date.now(), admin.id, id);
  assert.deepEqual(told(await request(browser)), [403, "FORBIDDEN"]);
  await change("update session set impersonated_by = null where user_id = ?", id);
  const gone = await request(browser);
  assert.deepEqual([gone.status, gone.json], GONE);
  assert.equal(await isDeleted(id), true);
  const stranger = worker.browser();
  await stranger.post(at("/phone-number/send-otp"), { phoneNumber });
  const code = (await mails(phoneNumber))[0].text.match(/\d{6}/)[0];
  const heir = await stranger.post(at("/phone-number/verify"), { phoneNumber, code });
  assert.equal(heir.status, 200, `the number is not free again: ${heir.text}`);
  assert.notEqual(heir.json.user.id, id);
});

test("nothing that was handed out before brings a deleted user back", async () => {
  const someone = await person();
  const { browser, email, id } = someone;
  const stranger = worker.browser();
  const newest = async () => (await mails(email))[0];
  await stranger.post(at("/sign-in/magic-link"), { email });
  const magic = linkIn(await newest());
  await stranger.post(at("/email-otp/send-verification-otp"), { email, type: "sign-in" });
  const otp = (await newest()).subject.slice(0, 6);
  await stranger.post(at("/email-otp/send-verification-otp"), { email, type: "forget-password" });
  const resetOtp = (await newest()).subject.slice(0, 6);
  await stranger.post(at("/request-password-reset"), { email });
  const [, reset] = (await newest()).text.match(/reset-password\/([\w-]+)/);
  const { token } = (await browser.get(at("/one-time-token/generate"))).json;
  const newEmail = uniqueEmail();
  await browser.post(at("/change-email"), { newEmail });
  const moving = Object.fromEntries(new URL(linkIn((await mails(newEmail))[0])).searchParams);
  const deletion = await link(someone);
  const proof = linkIn((await mails(email)).find(({ subject }) => /Confirm/.test(subject)));
  await request(browser, { password: PASSWORD });
  assert.equal((await stranger.post(at("/reset-password"), { token: reset, newPassword: "another password" })).status, 400);
  assert.equal((await stranger.post(at("/email-otp/reset-password"), { email, otp: resetOtp, password: "another password" })).status, 400);
  assert.equal((await stranger.post(at("/one-time-token/verify"), { token })).status, 400);
  assert.equal((await stranger.submit(`${AUTH}/change-email`, moving)).status, 400);
  assert.equal((await browser.verifyAsScript(deletion, SPA)).status, 404);
  assert.equal((await stranger.followMailedLink(proof)).status, 400);
  assert.equal((await signIn(email, "another password")).status, 401);
  // Whoever has the mailbox is somebody new.
  await stranger.post(at("/sign-in/email-otp"), { email, otp });
  const user = (await session(stranger)).user.id;
  assert.notEqual(user, id);
  await stranger.followMailedLink(magic);
  assert.equal((await session(stranger)).user.id, user);
  assert.equal(await isDeleted(id), true);
});

test("mails are limited here as elsewhere: the address need not be whose session it is", async () => {
  const limited = await startWorker({ settings: { ...SETTINGS, LIMIT_MAIL: "2/60" } });
  try {
    const { browser, email } = await person({ of: limited });
    const statuses = [];
    for (let n = 0; n < 5; n += 1) statuses.push((await request(browser)).status);
    assert.deepEqual(statuses, [200, 200, 429, 429, 429]);
    assert.equal((await mails(email, limited)).filter(({ subject }) => /Delete/.test(subject)).length, 2);
  } finally {
    await limited.dispose();
  }
});

test("an isolated tenant's link is its own", async () => {
  const host = "http://isolated.localhost";
  await seedDomain(worker, await seedTenant(worker, { slug: "isolated", pool: "isolated" }), "isolated.localhost");
  const someone = await person();
  const url = await link(someone);
  const inside = worker.browser();
  const { user } = (await inside.post(at("/sign-up/email", host), { name: "P", email: someone.email, password: PASSWORD })).json;
  assert.equal((await inside.followMailedLink(url.replace(AUTH, host))).status, 400);
  assert.equal((await inside.post(at("/delete-user", host), { password: PASSWORD })).status, 200);
  assert.deepEqual([await isDeleted(user.id), await isDeleted(someone.id)], [true, false]);
  assert.equal((await signIn(someone.email)).json.user.id, someone.id);
});

test("neither a dump nor the log holds a link's token", async () => {
  const someone = await person();
  const token = tokenIn(await link(someone));
  await worker.browser().get(at(`/delete-user/callback?token=${token}`));
  await worker.browser().get(at(`/delete-user/callback?token=${token}&callbackURL=//evil.example`));
  const rows = (await Promise.all(["verification", "outbox", "audit_event"].map((table) => worker.rows(`select * from ${table}`)))).flat();
  assert.ok(!JSON.stringify(rows).includes(token) && !worker.logs().includes(token));
});

test("twenty deletions at once are one", async () => {
  for (const by of ["link", "password"]) {
    const someone = await person();
    const url = await link(someone);
    const twins = Array.from({ length: 20 }, () => {
      const twin = worker.browser();
      for (const [name, value] of someone.browser.cookies("auth.localhost")) twin.cookies("auth.localhost").set(name, value);
      return twin;
    });
    const answers = await Promise.all(
      twins.map((twin) => (by === "link" ? twin.verifyAsScript(url, SPA) : request(twin, { password: PASSWORD }))),
    );
    for (const { status, text } of answers) assert.ok([200, 400, 401, 404].includes(status), `${status} ${text}`);
    assert.ok(answers.some(({ status }) => status === 200));
    const [{ n }] = await worker.rows("select count(*) as n from audit_event where user_id = ? and event = 'user.deleted'", someone.id);
    if (by === "link") assert.equal(n, 1);
    assert.equal((await mails(someone.email)).filter(({ subject }) => subject === "Your account was deleted").length, n);
    assert.equal(await isDeleted(someone.id), true);
  }
});
