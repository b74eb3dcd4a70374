// Six digits by mail: what each code is good for, how often it may be tried, and what it must not tell.

import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { seedDomain, seedTenant } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const [PASSWORD, NEW] = ["the password of whoever came first", "another good password"];
const HOST = "auth.localhost";
// Revoked sessions must be over with the next request; and tries are counted by code here, not by account.
const SETTINGS = { LIMIT_MAIL: "1000/60", LOCKOUT_FAILURES: "1000", SESSION_COOKIE_CACHE_SECONDS: "0", SESSION_RECHECK_SECONDS: "0" };
let worker;
before(async () => {
  worker = await startWorker({ settings: SETTINGS });
});
after(() => worker?.dispose());

const at = (path, host = AUTH) => `${host}/api/auth${path}`;
const mailsOf = async (to, { of = worker, host = AUTH } = {}) =>
  (await of.browser().get(`${host}/dev/mailbox?to=${encodeURIComponent(to)}`)).json;
const codes = async (to, where) => (await mailsOf(to, where)).flatMap(({ subject }) => subject.match(/^(\d{6}) is your code$/)?.[1] ?? []);
const post = (path, body, { of = worker, host = AUTH, browser = of.browser() } = {}) => browser.post(at(path, host), body);
const send = (email, type = "sign-in", where) => post("/email-otp/send-verification-otp", { email, type }, where);
async function code(email, type, where) {
  const answer = await send(email, type, where);
  assert.deepEqual([answer.status, answer.json], [200, { success: true }], type);
  return (await codes(email, where))[0];
}
const signIn = (email, otp, where) => post("/sign-in/email-otp", { email, otp }, where);
const wrong = (otp) => (otp === "000000" ? "000001" : "000000");
const told = ({ status, json }) => [status, json.code];
const withPassword = (email, password = PASSWORD) => post("/sign-in/email", { email, password });
const session = async (browser, host = AUTH) => (await browser.get(at("/get-session", host))).json;
const opens = ({ cookies }) => cookies.some((line) => /^doorward\.session=[^;]/.test(line));
const change = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
const expire = (email) => change("update verification set expires_at = 1 where identifier like ?", `%${email}`);
const shape = ({ status, json, headers }) => ({ status, json, names: Object.keys(headers).sort(), trips: headers["server-timing"] });
const tally = (answers) => answers.reduce((sum, { status }) => ({ ...sum, [status]: (sum[status] ?? 0) + 1 }), {});
const times = (count, act) => Promise.all(Array.from({ length: count }, (_, n) => act(n)));

async function person({ isProven = true, of = worker } = {}) {
  const browser = of.browser();
  const email = uniqueEmail();
  const { user } = (await browser.post(at("/sign-up/email"), { name: "P", email, password: PASSWORD })).json;
  if (isProven) await of.d1.prepare("update user set email_verified = 1 where id = ?").bind(user.id).run();
  return { browser, email, id: user.id };
}
function addPasskey(user) {
  const columns = {
    id: randomUUID(),
    user_id: user,
    rp_id: HOST,
    credential_id: randomUUID(),
    public_key: "x",
    device_type: "singleDevice",
    aaguid: "x",
    created_at: 1,
    updated_at: 1,
  };
  return change(`insert into passkey (${Object.keys(columns)}) values (${Object.keys(columns).map(() => "?")})`, ...Object.values(columns));
}
const passkeys = async (user) => (await worker.rows("select id from passkey where user_id = ?", user)).length;

/** Every endpoint that takes a code, and the type it takes. The session matters to none of these. */
const USES = {
  "sign-in": (email, otp) => signIn(email, otp),
  "email-verification": (email, otp) => post("/email-otp/verify-email", { email, otp }),
  "forget-password": (email, otp) => post("/email-otp/reset-password", { email, otp, password: NEW }),
};

test("a code makes a user of a stranger, and signs in whom it knows", async () => {
  const email = uniqueEmail();
  const first = worker.browser();
  const made = await first.post(at("/sign-in/email-otp"), {
    email: email.toUpperCase(),
    otp: await code(email),
    name: "New Comer",
    image: "https://img.example/1",
  });
  assert.equal(made.status, 200, made.text);
  assert.deepEqual(Object.keys(made.json).sort(), ["token", "user"]);
  const { user, session: opened } = await session(first);
  assert.deepEqual(made.json, { token: opened.id, user });
  assert.deepEqual([user.email, user.name, user.image, user.emailVerified], [email, "New Comer", "https://img.example/1", true]);
  assert.ok(made.cookies.some((line) => line.startsWith("better-auth.last_used_login_method=email-otp;")));
  const again = await signIn(email, ` ${await code(email)} `);
  assert.deepEqual([again.json.user.id, again.json.user.name], [user.id, "New Comer"]);
  assert.ok(await session(first), "the earlier session of a proven user lives on");
});

test("an account whose address was never proven is taken from whoever made it", async () => {
  const { browser, email, id } = await person({ isProven: false });
  await addPasskey(id);
  const { json } = await signIn(email, await code(email));
  assert.deepEqual([json.user.id, json.user.emailVerified], [id, true]);
  assert.equal((await withPassword(email)).status, 401);
  assert.deepEqual([await session(browser), await passkeys(id)], [null, 0]);
});

test("a code is read as people type it and as mail programs copy it", async () => {
  const { email } = await person();
  for (const write of [
    (otp) => `${otp.slice(0, 3)} ${otp.slice(3)}`,
    (otp) => `${otp.slice(0, 3)}-${otp.slice(3)}`,
    (otp) => ` ${otp}\n`,
    (otp) => `${otp.slice(0, 3)}\u00a0${otp.slice(3)}`,
  ]) {
    const otp = await code(email);
    assert.equal((await signIn(email, write(otp))).status, 200, JSON.stringify(write(otp)));
  }
});

test("a code is good once; a newer one takes its place", async () => {
  for (const [type, use] of Object.entries(USES)) {
    const { email } = await person();
    const old = await code(email, type);
    const otp = await code(email, type);
    if (old !== otp) assert.deepEqual(told(await use(email, old)), [400, "INVALID_OTP"], `${type}: replaced`);
    assert.equal((await use(email, otp)).status, 200, type);
    assert.deepEqual(told(await use(email, otp)), [400, "INVALID_OTP"], `${type}: used`);
    assert.deepEqual((await use(email, otp)).json, { message: "Invalid OTP", code: "INVALID_OTP" });
  }
});

test("three wrong tries, and then not even the right one; a new code begins anew", async () => {
  const check = (type) => (email, otp) => post("/email-otp/check-verification-otp", { email, type, otp });
  const uses = [...Object.entries(USES), ...Object.keys(USES).map((type) => [type, check(type)])];
  for (const [type, use] of uses) {
    const { email } = await person();
    const otp = await code(email, type);
    for (const n of [1, 2, 3]) assert.deepEqual(told(await use(email, wrong(otp))), [400, "INVALID_OTP"], `${type} ${n}`);
    const fourth = await use(email, otp);
    assert.deepEqual([fourth.status, fourth.json], [403, { message: "Too many attempts", code: "TOO_MANY_ATTEMPTS" }], type);
    assert.deepEqual(told(await use(email, otp)), [400, "INVALID_OTP"], type);
    assert.equal((await use(email, await code(email, type))).status, 200, type);
  }
});

test("a code that comes too late is told once, and then gone", async () => {
  for (const [type, use] of Object.entries(USES)) {
    const { email } = await person();
    const otp = await code(email, type);
    await expire(email);
    const late = await use(email, otp);
    assert.deepEqual([late.status, late.json], [400, { message: "OTP expired", code: "OTP_EXPIRED" }], type);
    assert.deepEqual(told(await use(email, otp)), [400, "INVALID_OTP"], type);
  }
});

test("a code of one type is nothing to another, nor to another address", async () => {
  for (const type of Object.keys(USES)) {
    const [{ email }, other] = [await person(), await person()];
    const otp = await code(email, type);
    for (const [name, use] of Object.entries(USES)) {
      if (name !== type) assert.deepEqual(told(await use(email, otp)), [400, "INVALID_OTP"], `${type} as ${name}`);
      assert.deepEqual(told(await use(other.email, otp)), [400, "INVALID_OTP"], `${type} of another address`);
      const checked = await post("/email-otp/check-verification-otp", { email, type: name, otp });
      assert.equal(checked.status, name === type ? 200 : 400, `${type} checked as ${name}`);
    }
    assert.equal((await USES[type](email, otp)).status, 200, "tries of another type were counted");
  }
});

test("checking a code does not use it up", async () => {
  const { email } = await person();
  const otp = await code(email);
  for (let n = 0; n < 5; n++)
    assert.deepEqual((await post("/email-otp/check-verification-otp", { email, type: "sign-in", otp })).json, { success: true });
  const { json } = await post("/email-otp/check-verification-otp", { email, type: "change-email", otp });
  assert.equal(json.code, "INVALID_OTP_TYPE");
  assert.equal((await signIn(email, otp)).status, 200);
});

test("a code proves an address and signs nobody in; the password stays in the account's own browser, and ends elsewhere", async () => {
  for (const isOwn of [true, false]) {
    const { browser, email, id } = await person({ isProven: false });
    const otp = await code(email, "email-verification");
    const proven = await post("/email-otp/verify-email", { email, otp }, isOwn ? { browser } : {});
    assert.deepEqual([proven.status, opens(proven), Object.keys(proven.json).sort()], [200, false, ["status", "token", "user"]]);
    assert.deepEqual([proven.json.status, proven.json.token, proven.json.user.id, proven.json.user.emailVerified], [true, null, id, true]);
    assert.equal((await withPassword(email)).status, isOwn ? 200 : 401, isOwn ? "the account's own browser" : "another browser");
  }
  const stranger = uniqueEmail();
  await send(stranger, "email-verification");
  assert.deepEqual(await codes(stranger), []);
});

test("a new password by a code, under both names: everybody else is out, and the owner told", async () => {
  for (const path of ["/email-otp/request-password-reset", "/forget-password/email-otp"]) {
    const { browser, email, id } = await person();
    assert.deepEqual((await post(path, { email })).json, { success: true });
    const [otp] = await codes(email);
    for (const [password, refusal] of [
      ["short", "PASSWORD_TOO_SHORT"],
      ["x".repeat(129), "PASSWORD_TOO_LONG"],
    ]) {
      for (let n = 0; n < 4; n++)
        assert.deepEqual(
          told(await post("/email-otp/reset-password", { email, otp, password })),
          [400, refusal],
          "a bad password costs the code",
        );
    }
    const done = await post("/email-otp/reset-password", { email, otp, password: NEW });
    assert.deepEqual([done.status, done.json, done.cookies], [200, { success: true }, []]);
    assert.equal(await session(browser), null);
    assert.equal((await withPassword(email)).status, 401);
    assert.equal((await withPassword(email, NEW)).status, 200);
    assert.equal((await mailsOf(email))[0].subject, "Your password was changed");
    assert.equal((await worker.rows("select id from audit_event where user_id = ? and event = 'password.changed'", id)).length, 1);
  }
  const stranger = uniqueEmail();
  assert.equal((await post("/email-otp/request-password-reset", { email: stranger })).status, 200);
  assert.deepEqual(await mailsOf(stranger), []);
});

test("somebody without a password gets one by a code", async () => {
  const email = uniqueEmail();
  await signIn(email, await code(email));
  assert.equal((await USES["forget-password"](email, await code(email, "forget-password"))).status, 200);
  assert.equal((await withPassword(email, NEW)).status, 200);
});

test("a new password takes an account that was never proven from whoever made it, their passkey as well", async () => {
  const { email, id } = await person({ isProven: false });
  await addPasskey(id);
  await USES["forget-password"](email, await code(email, "forget-password"));
  const { json } = await withPassword(email, NEW);
  assert.deepEqual([json.user.id, json.user.emailVerified], [id, true]);
  assert.equal(await passkeys(id), 0, "whoever made the account keeps a passkey to it");
});

test("… by a mailed link as well", async () => {
  const { email, id } = await person({ isProven: false });
  await addPasskey(id);
  await post("/request-password-reset", { email });
  const [, token] = (await mailsOf(email))[0].text.match(/reset-password\/([\w-]+)/);
  assert.equal((await post("/reset-password", { token, newPassword: NEW })).status, 200);
  assert.equal((await withPassword(email, NEW)).status, 200);
  assert.equal(await passkeys(id), 0, "whoever made the account keeps a passkey to it");
});

test("another address: the old one agrees by a code, the new one is proven by another, and both are told", async () => {
  const { browser, email, id } = await person();
  const other = await person();
  const ask = (body, by = browser) => by.post(at("/email-otp/request-email-change"), body);
  const go = (body, by = browser) => by.post(at("/email-otp/change-email"), body);
  const newEmail = uniqueEmail();
  const missing = await ask({ newEmail });
  assert.deepEqual([missing.status, missing.json], [400, { message: "OTP is required to verify current email", code: "OTP_REQUIRED" }]);
  const agreed = await code(email, "email-verification");
  assert.deepEqual(told(await ask({ newEmail, otp: wrong(agreed) })), [400, "INVALID_OTP"]);
  assert.deepEqual((await ask({ newEmail, otp: agreed })).json, { success: true });
  assert.deepEqual(told(await ask({ newEmail, otp: agreed })), [400, "INVALID_OTP"], "the old address agreed once");
  const [otp] = await codes(newEmail);
  // The code is for this user and this address alone, and for nothing else.
  assert.deepEqual(told(await go({ newEmail, otp }, other.browser)), [400, "INVALID_OTP"]);
  assert.deepEqual(told(await go({ newEmail: uniqueEmail(), otp })), [400, "INVALID_OTP"]);
  for (const use of Object.values(USES)) assert.deepEqual(told(await use(newEmail, otp)), [400, "INVALID_OTP"]);
  assert.equal((await session(browser)).user.email, email);
  const done = await go({ newEmail: newEmail.toUpperCase(), otp });
  assert.deepEqual([done.status, done.json], [200, { success: true }]);
  const { user } = await session(browser);
  assert.deepEqual([user.id, user.email, user.emailVerified], [id, newEmail, true]);
  for (const address of [email, newEmail]) assert.equal((await mailsOf(address))[0].subject, "Your e-mail address was changed");
  assert.equal((await withPassword(email)).status, 401);
  assert.equal((await withPassword(newEmail)).status, 200);
  assert.deepEqual(told(await go({ newEmail, otp })), [400, "EMAIL_IS_THE_SAME"]);
});

test("the session says the new address at once, cached as it is", async () => {
  const caching = await startWorker({ settings: { ...SETTINGS, SESSION_COOKIE_CACHE_SECONDS: null, SESSION_RECHECK_SECONDS: null } });
  try {
    const where = { of: caching };
    const { browser } = await person({ isProven: false, of: caching });
    const newEmail = uniqueEmail();
    await browser.post(at("/email-otp/request-email-change"), { newEmail });
    const [otp] = await codes(newEmail, where);
    assert.equal((await browser.post(at("/email-otp/change-email"), { newEmail, otp })).status, 200);
    const { user } = await session(browser);
    assert.deepEqual([user.email, user.emailVerified], [newEmail, true]);
  } finally {
    await caching.dispose();
  }
});

test("an address that was never proven has nobody to agree; a taken one is told to nobody before it is proven", async () => {
  const { browser, email } = await person({ isProven: false });
  const taken = await person();
  const ask = (newEmail) => browser.post(at("/email-otp/request-email-change"), { newEmail });
  const go = (newEmail, otp) => browser.post(at("/email-otp/change-email"), { newEmail, otp });
  const free = uniqueEmail();
  assert.deepEqual(shape(await ask(free)), shape(await ask(taken.email)));
  assert.deepEqual(await codes(taken.email), []);
  for (const same of [email, email.toUpperCase()]) assert.deepEqual(told(await ask(same)), [400, "EMAIL_IS_THE_SAME"]);
  const [otp] = await codes(free);
  await signIn(free, await code(free));
  assert.deepEqual(told(await go(free, otp)), [400, "EMAIL_ALREADY_IN_USE"], "somebody was quicker");
  const late = uniqueEmail();
  await ask(late);
  const [lateCode] = await codes(late);
  await expire(late);
  assert.deepEqual(told(await go(late, lateCode)), [400, "OTP_EXPIRED"]);
  const tried = uniqueEmail();
  await ask(tried);
  const [good] = await codes(tried);
  for (let n = 0; n < 3; n++) assert.deepEqual(told(await go(tried, wrong(good))), [400, "INVALID_OTP"]);
  assert.deepEqual(told(await go(tried, good)), [403, "TOO_MANY_ATTEMPTS"]);
});

test("an address changes in a fresh session only", async () => {
  const { browser, id } = await person({ isProven: false });
  await change("update session set authenticated_at = 1 where user_id = ?", id);
  for (const path of ["/email-otp/request-email-change", "/email-otp/change-email"]) {
    const body = { newEmail: uniqueEmail(), otp: "123456" };
    assert.deepEqual(told(await browser.post(at(path), body)), [403, "SESSION_NOT_FRESH"]);
    assert.deepEqual(told(await post(path, body)), [401, "UNAUTHORIZED"]);
  }
});

test("known and unknown addresses are answered alike, after the same round trips", async () => {
  for (const type of Object.keys(USES)) {
    const [{ email }, stranger] = [await person(), uniqueEmail()];
    assert.deepEqual(shape(await send(email, type)), shape(await send(stranger, type)), type);
    assert.deepEqual(
      shape(await post("/email-otp/request-password-reset", { email })),
      shape(await post("/email-otp/request-password-reset", { email: stranger })),
    );
  }
});

test("a wrong code tells nothing either, nor the time it takes", async () => {
  const [{ email }, stranger] = [await person(), uniqueEmail()];
  for (const [type, use] of Object.entries(USES)) {
    const [known, unknown] = [await code(email, type), await send(stranger, type)];
    assert.equal(unknown.status, 200);
    assert.deepEqual(shape(await use(email, wrong(known))), shape(await use(stranger, "000000")), type);
  }
});

test("bad input is told as such", async () => {
  const paths = [
    "/email-otp/send-verification-otp",
    "/email-otp/check-verification-otp",
    "/sign-in/email-otp",
    "/email-otp/verify-email",
    "/email-otp/request-password-reset",
    "/forget-password/email-otp",
    "/email-otp/reset-password",
  ];
  const { browser } = await person();
  const json = { headers: { "content-type": "application/json" } };
  for (const path of [...paths, "/email-otp/request-email-change", "/email-otp/change-email"]) {
    const whole = { email: "a@x.co", newEmail: "b@x.co", type: "sign-in", otp: "123456", password: NEW };
    const bad = [
      {},
      { ...whole, email: 7, newEmail: 7 },
      { ...whole, email: "no address", newEmail: "no address" },
      { ...whole, email: null, newEmail: null },
    ];
    for (const body of bad) {
      const answer = await browser.post(at(path), body);
      const code =
        body.email === "no address" && /-verification-otp|sign-in|verify-email/.test(path) ? "INVALID_EMAIL" : "VALIDATION_ERROR";
      assert.deepEqual(told(answer), [400, code], `${path} ${JSON.stringify(body)}`);
    }
    for (const [body, refusal] of [
      ["{bad", "BAD_REQUEST"],
      ["null", "VALIDATION_ERROR"],
      ["", "VALIDATION_ERROR"],
    ])
      assert.deepEqual(told(await browser.post(at(path), body, json)), [400, refusal], `${path} ${body}`);
    assert.equal(
      (await browser.post(at(path), "email=a", { headers: { "content-type": "application/x-www-form-urlencoded" } })).status,
      415,
      path,
    );
    assert.deepEqual(told(await browser.post(at(path), whole, { origin: "https://evil.example" })), [403, "INVALID_ORIGIN"], path);
  }
  const { email } = await person();
  for (const otp of [7, null, {}, "x".repeat(21)])
    assert.deepEqual(told(await signIn(email, otp)), [400, "VALIDATION_ERROR"], JSON.stringify(otp));
  await send(email);
  for (const otp of ["", "' or 1=1", "%"]) assert.deepEqual(told(await signIn(email, otp)), [400, "INVALID_OTP"], otp);
  const types = await send(email, "telepathy");
  assert.deepEqual(
    [types.status, types.json],
    [
      400,
      {
        message: '[body.type] Invalid option: expected one of "email-verification"|"sign-in"|"forget-password"|"change-email"',
        code: "VALIDATION_ERROR",
      },
    ],
  );
  const asked = await send(email, "change-email");
  assert.deepEqual([asked.status, asked.json.message], [400, "Invalid OTP type"]);
  for (const path of ["/email-otp/create-verification-otp", "/email-otp/get-verification-otp"])
    assert.equal((await post(path, { email, type: "sign-in" })).status, 404);
});

test("a newcomer's name is one visible line, as everywhere", async () => {
  for (const name of ["A\u0000", "A\nB", "A\u001b[31m"]) {
    const email = uniqueEmail();
    const answer = await post("/sign-in/email-otp", { email, otp: await code(email), name });
    assert.deepEqual(told(answer), [400, "VALIDATION_ERROR"], JSON.stringify(name));
  }
});

test("mails and tries are limited; where codes are no way in, they are not there", async () => {
  const limited = await startWorker({
    settings: { ...SETTINGS, LIMIT_MAIL_ADDRESS: "2/60", LIMIT_SIGN_IN: "1000/60", LIMIT_SIGN_IN_ACCOUNT: "2/300" },
  });
  const off = await startWorker({ settings: { ...SETTINGS, SIGN_IN_WITH: "password,magic-link" } });
  try {
    const where = { of: limited };
    const email = uniqueEmail();
    const statuses = [];
    for (let n = 0; n < 3; n++) statuses.push((await send(email, ["sign-in", "forget-password", "email-verification"][n], where)).status);
    assert.deepEqual(statuses, [200, 200, 429], "the types have one limit");
    const [otp] = await codes(email, where);
    const tries = await times(6, () => signIn(email, wrong(otp), where));
    assert.deepEqual(tally(tries), { 400: 2, 429: 4 });
    const refused = await signIn(email, otp, where);
    assert.deepEqual([refused.status, refused.json], [429, { message: "Too many requests. Please try again later." }]);
    await limited.d1.prepare("delete from rate_limit").run();
    assert.equal((await signIn(email, otp, where)).status, 200, "what was over the limit was tried as well");
    for (const path of [
      "/email-otp/send-verification-otp",
      "/email-otp/check-verification-otp",
      "/sign-in/email-otp",
      "/email-otp/verify-email",
      "/email-otp/request-password-reset",
      "/forget-password/email-otp",
      "/email-otp/reset-password",
    ]) {
      const answer = await post(path, { email, type: "sign-in", otp, password: NEW }, { of: off });
      assert.deepEqual([answer.status, answer.text], [404, ""], path);
    }
    const { browser } = await person({ of: off });
    for (const path of ["/email-otp/request-email-change", "/email-otp/change-email"])
      assert.equal((await browser.post(at(path), { newEmail: uniqueEmail(), otp })).status, 404, path);
  } finally {
    await limited.dispose();
    await off.dispose();
  }
});

test("wrong codes lock the account against passwords, and neither they nor wrong passwords keep a right code out", async () => {
  const locking = await startWorker({ settings: { ...SETTINGS, LOCKOUT_FAILURES: "3" } });
  try {
    const where = { of: locking };
    const { email, id } = await person(where);
    const otp = await code(email, "sign-in", where);
    for (let n = 0; n < 3; n++) await signIn(email, wrong(otp), where);
    assert.equal((await post("/sign-in/email", { email, password: PASSWORD }, where)).status, 401, "three wrong codes, and no lock");
    const isLocked = async () =>
      (await locking.rows("select coalesce(locked_until, 0) > 0 as locked from user where id = ?", id))[0].locked;
    assert.equal(await isLocked(), 1);
    assert.equal(
      (await post("/email-otp/reset-password", { email, otp: await code(email, "forget-password", where), password: NEW }, where)).status,
      200,
    );
    assert.equal(await isLocked(), 0);
    for (let n = 0; n < 3; n++) await post("/sign-in/email", { email, password: "a wrong password" }, where);
    assert.equal((await signIn(email, await code(email, "sign-in", where), where)).status, 200);
  } finally {
    await locking.dispose();
  }
});

test("a second factor is asked for, and a suspended user told so by the right code alone", async () => {
  const { email, id } = await person();
  await change(
    "insert into two_factor (id, user_id, method, verified_at, created_at, updated_at) values (?, ?, 'otp', 1, 1, 1)",
    randomUUID(),
    id,
  );
  const asked = await signIn(email, await code(email));
  assert.deepEqual([asked.json, opens(asked)], [{ twoFactorRedirect: true, twoFactorMethods: ["otp"] }, false]);
  const suspended = await person();
  const otp = await code(suspended.email);
  await change("update user set status = 'suspended' where id = ?", suspended.id);
  assert.deepEqual(told(await signIn(suspended.email, wrong(otp))), [400, "INVALID_OTP"]);
  assert.deepEqual(told(await signIn(suspended.email, otp)), [403, "BANNED_USER"]);
});

test("an isolated tenant's codes and users are its own", async () => {
  const host = "http://isolated.localhost";
  const tenant = await seedTenant(worker, { slug: "isolated", pool: "isolated" });
  await seedDomain(worker, tenant, "isolated.localhost");
  const { email, id } = await person();
  const [inside, outside] = [await code(email, "sign-in", { host }), await code(email)];
  if (inside !== outside) {
    assert.deepEqual(told(await signIn(email, inside)), [400, "INVALID_OTP"]);
    assert.deepEqual(told(await signIn(email, outside, { host })), [400, "INVALID_OTP"]);
  }
  const there = await signIn(email, inside, { host });
  assert.notEqual(there.json.user.id, id);
  assert.equal((await signIn(email, outside)).json.user.id, id, "a code of another tenant was used up");
});

test("neither a dump nor the log holds a code, or what is quickly tried out", async () => {
  const email = uniqueEmail();
  const otp = await code(email);
  await signIn(email, wrong(otp));
  const rows = (
    await Promise.all(
      ["verification", "outbox", "audit_event", "rate_limit", "login_history"].map((table) => worker.rows(`select * from ${table}`)),
    )
  ).flat();
  const alone = new RegExp(`(?<!\\d)${otp}(?!\\d)`);
  assert.ok(!alone.test(JSON.stringify(rows)) && !alone.test(worker.logs()));
  // A million digests are made in a second: only a key keeps them from being compared.
  const digests = [otp, `${email}${otp}`, `${email}:${otp}`, `${email}\0${otp}`].flatMap((text) =>
    ["hex", "base64url"].map((form) => createHash("sha256").update(text).digest(form)),
  );
  assert.ok(!digests.some((digest) => JSON.stringify(rows).includes(digest)));
});

test("fifty uses of one code at once: one", async () => {
  const { email, id } = await person();
  const stranger = uniqueEmail();
  for (const [type, address] of [
    ["sign-in", email],
    ["sign-in", stranger],
    ["email-verification", email],
    ["forget-password", email],
  ]) {
    const otp = await code(address, type);
    const answers = await times(50, () => USES[type](address, otp));
    assert.deepEqual(tally(answers), { 200: 1, 400: 49 }, type);
    assert.equal(answers.filter(opens).length, type === "sign-in" ? 1 : 0);
  }
  assert.equal((await worker.rows("select id from user where email in (?, ?)", email, stranger)).length, 2);
  assert.equal(
    (await worker.rows("select id from login_history where user_id = ? and login_method = 'email-otp' and status = 'success'", id)).length,
    1,
  );
});

test("a hundred guesses at once are three", async () => {
  const { email } = await person();
  const otp = await code(email);
  const answers = await times(100, (n) => signIn(email, `${n}`.padStart(6, otp[0] === "9" ? "8" : "9")));
  assert.deepEqual(tally(answers), { 400: 99, 403: 1 });
  assert.deepEqual(told(await signIn(email, otp)), [400, "INVALID_OTP"], "the code outlived its tries");
});
