// Phone numbers: proven by a code, signed up and in by, and good for a password.

import assert from "node:assert/strict";
import { randomInt, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { seedDomain, seedTenant } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const [PASSWORD, NEW] = ["the password of whoever came first", "another good password"];
const SETTINGS = {
  LIMIT_MAIL: "1000/60",
  LOCKOUT_FAILURES: "1000",
  SIGN_IN_WITH: "password,phone,email-otp",
  SESSION_COOKIE_CACHE_SECONDS: "0",
  SESSION_RECHECK_SECONDS: "0",
};
let worker;
before(async () => {
  worker = await startWorker({ settings: SETTINGS });
});
after(() => worker?.dispose());

const uniqueNumber = () => `+1${randomInt(1e9, 1e10)}`;
const at = (path, host = AUTH) => `${host}/api/auth${path}`;
const post = (path, body, { of = worker, host = AUTH, browser = of.browser() } = {}) => browser.post(at(path, host), body);
const messages = async (to, { of = worker, host = AUTH } = {}) =>
  (await of.browser().get(`${host}/dev/mailbox?to=${encodeURIComponent(to)}`)).json;
const codes = async (to, where) => (await messages(to, where)).map(({ text }) => text.match(/^(\d{6}) is your code/)[1]);
async function code(phoneNumber, where) {
  const answer = await post("/phone-number/send-otp", { phoneNumber }, where);
  assert.deepEqual([answer.status, answer.json], [200, { message: "code sent" }]);
  return (await codes(phoneNumber, where))[0];
}
async function resetCode(phoneNumber, where) {
  assert.deepEqual((await post("/phone-number/request-password-reset", { phoneNumber }, where)).json, { status: true });
  return (await codes(phoneNumber, where))[0];
}
const verify = (phoneNumber, otp, { body = {}, ...where } = {}) => post("/phone-number/verify", { phoneNumber, code: otp, ...body }, where);
const reset = (phoneNumber, otp, newPassword = NEW, where) =>
  post("/phone-number/reset-password", { phoneNumber, otp, newPassword }, where);
const signIn = (phoneNumber, password, body = {}, where) => post("/sign-in/phone-number", { phoneNumber, password, ...body }, where);
const wrong = (otp) => (otp === "000000" ? "000001" : "000000");
const told = ({ status, json }) => [status, json.code];
const session = async (browser, host = AUTH) => (await browser.get(at("/get-session", host))).json;
const opens = ({ cookies }) => cookies.some((line) => /^doorward\.session=[^;]/.test(line));
const change = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
const shape = ({ status, json, headers }) => ({ status, json, names: Object.keys(headers).sort(), trips: headers["server-timing"] });
const tally = (answers) => answers.reduce((sum, { status }) => ({ ...sum, [status]: (sum[status] ?? 0) + 1 }), {});
const times = (count, act) => Promise.all(Array.from({ length: count }, (_, n) => act(n)));

/** Somebody who signed up by their number. */
async function caller(where = {}) {
  const browser = (where.of ?? worker).browser();
  const phoneNumber = uniqueNumber();
  const { json } = await verify(phoneNumber, await code(phoneNumber, where), { ...where, browser });
  return { browser, phoneNumber, id: json.user.id, email: json.user.email };
}
/** Somebody who signed up by mail. */
async function person() {
  const browser = worker.browser();
  const email = uniqueEmail();
  const { user } = (await browser.post(at("/sign-up/email"), { name: "P", email, password: PASSWORD })).json;
  return { browser, email, id: user.id };
}

test("a number signs up whom nobody knows, and in whom it knows, however it is written", async () => {
  const phoneNumber = uniqueNumber();
  const browser = worker.browser();
  await post("/phone-number/send-otp", { phoneNumber: phoneNumber.replace(/(...)(...)(.*)/, "$1 ($2) $3") });
  const [otp] = await codes(phoneNumber);
  const made = await verify(phoneNumber, otp, { browser });
  const { user, session: opened } = await session(browser);
  assert.deepEqual([made.status, made.json], [200, { status: true, token: opened.id, user }]);
  assert.deepEqual(
    [user.name, user.phoneNumber, user.phoneNumberVerified, user.emailVerified, user.isAnonymous],
    [phoneNumber, phoneNumber, true, false, false],
  );
  assert.match(user.email, /\.invalid$/, "an address that was not given must reach nobody");
  const again = await verify(`${phoneNumber.slice(0, 4)}-${phoneNumber.slice(4)}`, await code(phoneNumber));
  assert.equal(again.json.user.id, user.id);
});

test("a code is good once, in time, three times tried, and replaced by a newer one", async () => {
  const { phoneNumber, id } = await caller();
  for (const [ask, use] of [
    [code, verify],
    [resetCode, reset],
  ]) {
    const old = await ask(phoneNumber);
    const otp = await ask(phoneNumber);
    if (old !== otp) assert.deepEqual(told(await use(phoneNumber, old)), [400, "INVALID_OTP"]);
    assert.equal((await use(phoneNumber, otp)).status, 200);
    assert.equal((await use(phoneNumber, otp)).status, 400);
    const late = await ask(phoneNumber);
    await change("update verification set expires_at = 1 where identifier = ?", phoneNumber);
    const answer = await use(phoneNumber, late);
    assert.deepEqual([answer.status, answer.json], [400, { message: "OTP expired", code: "OTP_EXPIRED" }]);
    const good = await ask(phoneNumber);
    for (let n = 0; n < 3; n++) assert.deepEqual(told(await use(phoneNumber, wrong(good))), [400, "INVALID_OTP"]);
    const fourth = await use(phoneNumber, good);
    assert.deepEqual([fourth.status, fourth.json], [403, { message: "Too many attempts", code: "TOO_MANY_ATTEMPTS" }]);
    assert.equal((await use(phoneNumber, good)).status, 400);
  }
  assert.equal((await worker.rows("select failed_login_count as n from user where id = ?", id))[0].n > 0, true, "wrong codes are counted");
});

test("a code that signs in sets no password, one that sets a password does not sign in, and none is another number's", async () => {
  const [{ phoneNumber }, other] = [await caller(), await caller()];
  const otp = await code(phoneNumber);
  assert.equal((await reset(phoneNumber, otp)).status, 400);
  assert.equal((await verify(other.phoneNumber, otp)).status, 400);
  assert.deepEqual(told(await post("/sign-in/email-otp", { email: (await caller()).email, otp })), [400, "INVALID_OTP"]);
  assert.equal((await verify(phoneNumber, otp)).status, 200, "tries of another kind were counted");
  const set = await resetCode(phoneNumber);
  assert.equal((await verify(phoneNumber, set)).status, 400);
  assert.equal((await reset(phoneNumber, set)).status, 200);
});

test("with disableSession nobody is signed in, known or new", async () => {
  const { phoneNumber, id } = await caller();
  const known = await verify(phoneNumber, await code(phoneNumber), { body: { disableSession: true } });
  assert.deepEqual([known.json.status, known.json.token, known.json.user.id, known.cookies], [true, null, id, []]);
  const fresh = uniqueNumber();
  const made = await verify(fresh, await code(fresh), { body: { disableSession: true } });
  assert.deepEqual([made.json.status, made.json.token, made.json.user.phoneNumber, opens(made)], [true, null, fresh, false]);
});

test("disableSession tells nothing of a user who is suspended or has a second factor", async () => {
  const { phoneNumber, id } = await caller();
  const ask = async () => verify(phoneNumber, await code(phoneNumber), { body: { disableSession: true } });
  await change(
    "insert into two_factor (id, user_id, method, verified_at, created_at, updated_at) values (?, ?, 'otp', 1, 1, 1)",
    randomUUID(),
    id,
  );
  assert.equal((await ask()).json.user, undefined, "one factor of two shows the profile");
  await change("delete from two_factor where user_id = ?", id);
  await change("update user set locked_until = ? where id = ?", Date.now() + 1e7, id);
  assert.equal((await ask()).status, 200, "a lock is against who guesses at the password");
  await change("update user set locked_until = null, status = 'suspended' where id = ?", id);
  assert.equal((await ask()).status, 403);
});

test("somebody signed in gives themselves a number that nobody has", async () => {
  const { browser, email, id } = await person();
  const taken = await caller();
  const phoneNumber = uniqueNumber();
  const update = async (number, by = browser) => verify(number, await code(number), { browser: by, body: { updatePhoneNumber: true } });
  const given = await update(phoneNumber);
  const { user, session: current } = await session(browser);
  assert.deepEqual([given.json.status, given.json.token, given.json.user], [true, current.id, user]);
  assert.deepEqual([user.id, user.email, user.phoneNumber, user.phoneNumberVerified], [id, email, phoneNumber, true]);
  for (const number of [taken.phoneNumber, phoneNumber]) {
    const answer = await update(number);
    assert.deepEqual([answer.status, answer.json], [400, { message: "Phone number already exists", code: "PHONE_NUMBER_EXIST" }]);
  }
  assert.equal((await update(uniqueNumber(), worker.browser())).status, 401);
  assert.equal((await signIn(phoneNumber, PASSWORD)).json.user.id, id, "the password is good with the number as well");
  await change("update session set authenticated_at = 1 where user_id = ?", id);
  assert.deepEqual(told(await update(uniqueNumber())), [403, "SESSION_NOT_FRESH"]);
  const direct = await browser.post(at("/update-user"), { phoneNumber: uniqueNumber() });
  assert.deepEqual(told(direct), [400, "PHONE_NUMBER_CANNOT_BE_UPDATED"]);
  assert.equal((await browser.post(at("/update-user"), { phoneNumber: null })).status, 200);
  const cleared = (await session(browser)).user;
  assert.deepEqual([cleared.phoneNumber, cleared.phoneNumberVerified], [null, false]);
  assert.equal((await signIn(phoneNumber, PASSWORD)).status, 401);
});

test("the session says the new number at once, cached as it is", async () => {
  const caching = await startWorker({ settings: { ...SETTINGS, SESSION_COOKIE_CACHE_SECONDS: null, SESSION_RECHECK_SECONDS: null } });
  try {
    const where = { of: caching };
    const { browser } = await caller(where);
    const next = uniqueNumber();
    await session(browser);
    await verify(next, await code(next, where), { ...where, browser, body: { updatePhoneNumber: true } });
    assert.equal((await session(browser)).user.phoneNumber, next);
  } finally {
    await caching.dispose();
  }
});

test("a number that somebody gave up is another's to sign up with", async () => {
  const { browser, phoneNumber, id } = await caller();
  const next = uniqueNumber();
  const moved = await verify(next, await code(next), { browser, body: { updatePhoneNumber: true } });
  assert.equal(moved.status, 200, moved.text);
  const heir = await verify(phoneNumber, await code(phoneNumber));
  assert.equal(heir.status, 200, `the number is nobody's, and still: ${heir.text}`);
  assert.notEqual(heir.json.user.id, id);
});

/** The address that stands for a number, as far as can be told from another's. */
async function standIn(phoneNumber) {
  const { email, phoneNumber: other } = await caller();
  return email.replace(other.slice(1), phoneNumber.slice(1));
}

test("nobody holds a number by signing up with the address that stands for it", async () => {
  const phoneNumber = uniqueNumber();
  await post("/sign-up/email", { name: "S", email: await standIn(phoneNumber), password: PASSWORD });
  const owner = await verify(phoneNumber, await code(phoneNumber));
  assert.equal(owner.status, 200, `the owner of the number is kept out: ${owner.text}`);
});

test("nor does signing up with it tell whether anybody has the number", async () => {
  const { phoneNumber } = await caller();
  const ask = async (number) => (await post("/sign-up/email", { name: "S", email: await standIn(number), password: PASSWORD })).status;
  assert.equal(await ask(phoneNumber), await ask(uniqueNumber()));
});

test("a code that is gone is told in the protocol's words, known number or not", async () => {
  const { phoneNumber } = await caller();
  for (const number of [phoneNumber, uniqueNumber()]) {
    const { status, json } = await verify(number, "123456");
    assert.deepEqual([status, json], [400, { message: "OTP not found", code: "OTP_NOT_FOUND" }]);
  }
});

test("a password is set by a code: everybody else is out, and a bad one costs no code", async () => {
  const { browser, phoneNumber, id } = await caller();
  const otp = await resetCode(phoneNumber);
  for (const [password, refusal] of [
    ["short", "PASSWORD_TOO_SHORT"],
    ["x".repeat(129), "PASSWORD_TOO_LONG"],
  ]) {
    for (let n = 0; n < 4; n++) assert.deepEqual(told(await reset(phoneNumber, otp, password)), [400, refusal]);
  }
  const done = await reset(phoneNumber, otp);
  assert.deepEqual([done.status, done.json, done.cookies], [200, { status: true }, []]);
  assert.equal(await session(browser), null);
  const signed = await signIn(phoneNumber, NEW, { rememberMe: false });
  assert.deepEqual([signed.status, Object.keys(signed.json).sort(), signed.json.user.id], [200, ["token", "user"], id]);
  assert.ok(!signed.cookies.find((line) => line.startsWith("doorward.session=")).includes("Max-Age"));
  const stranger = uniqueNumber();
  assert.equal((await post("/phone-number/request-password-reset", { phoneNumber: stranger })).status, 200);
  assert.deepEqual(await messages(stranger), []);
  assert.deepEqual(told(await reset(stranger, "123456")), [400, "INVALID_OTP"]);
});

test("wrong and unknown are one answer at the password", async () => {
  const { phoneNumber } = await caller();
  await reset(phoneNumber, await resetCode(phoneNumber));
  const passwordless = await caller();
  const expected = { message: "Invalid phone number or password", code: "INVALID_PHONE_NUMBER_OR_PASSWORD" };
  const answers = [
    await signIn(phoneNumber, "wrong password"),
    await signIn(uniqueNumber(), NEW),
    await signIn(passwordless.phoneNumber, NEW),
    await signIn(phoneNumber, ""),
  ];
  for (const answer of answers) assert.deepEqual([answer.status, answer.json, answer.cookies], [401, expected, []]);
  assert.deepEqual(shape(answers[0]), shape(answers[1]));
});

test("where addresses must be proven, somebody with a proven number and none needs none", async () => {
  const strict = await startWorker({ settings: { ...SETTINGS, REQUIRE_VERIFIED_EMAIL: "on" } });
  try {
    const where = { of: strict };
    const { phoneNumber } = await caller(where);
    assert.equal((await reset(phoneNumber, await resetCode(phoneNumber, where), NEW, where)).status, 200);
    const signed = await signIn(phoneNumber, NEW, {}, where);
    assert.equal(signed.status, 200, `a number that was proven, its password, and ${signed.text}`);
  } finally {
    await strict.dispose();
  }
});

test("known and unknown numbers are answered alike, after the same round trips", async () => {
  const { phoneNumber } = await caller();
  for (const path of ["/phone-number/send-otp", "/phone-number/request-password-reset"]) {
    assert.deepEqual(shape(await post(path, { phoneNumber })), shape(await post(path, { phoneNumber: uniqueNumber() })), path);
  }
});

test("a wrong code tells nothing either, nor the time it takes", async () => {
  const { phoneNumber } = await caller();
  const stranger = uniqueNumber();
  const [known, unknown] = [await code(phoneNumber), await code(stranger)];
  assert.deepEqual(shape(await verify(phoneNumber, wrong(known))), shape(await verify(stranger, wrong(unknown))));
});

test("bad input is told as such", async () => {
  const json = { headers: { "content-type": "application/json" } };
  const paths = [
    "/phone-number/send-otp",
    "/phone-number/verify",
    "/phone-number/request-password-reset",
    "/phone-number/reset-password",
    "/sign-in/phone-number",
  ];
  for (const path of paths) {
    const whole = { phoneNumber: uniqueNumber(), code: "123456", otp: "123456", newPassword: NEW, password: NEW };
    for (const body of [{}, { ...whole, phoneNumber: 7 }, { ...whole, phoneNumber: null }, { ...whole, phoneNumber: "+".padEnd(41, "1") }])
      assert.deepEqual(told(await post(path, body)), [400, "VALIDATION_ERROR"], `${path} ${JSON.stringify(body)}`);
    for (const phoneNumber of [
      "",
      "+",
      "5551234567",
      "+0123456789",
      "+123456",
      "+1555123456a",
      "' or 1=1",
      "+1555\u0000123456",
      "+１５５５１２３４５６７",
    ]) {
      const answer = await post(path, { ...whole, phoneNumber });
      assert.deepEqual(
        [answer.status, answer.json],
        [400, { message: "Invalid phone number", code: "INVALID_PHONE_NUMBER" }],
        `${path} ${phoneNumber}`,
      );
    }
    for (const [body, refusal] of [
      ["{bad", "BAD_REQUEST"],
      ["null", "VALIDATION_ERROR"],
    ])
      assert.deepEqual(told(await worker.browser().post(at(path), body, json)), [400, refusal], `${path} ${body}`);
    assert.deepEqual(told(await worker.browser().post(at(path), whole, { origin: "https://evil.example" })), [403, "INVALID_ORIGIN"], path);
  }
  for (const code of [7, null, {}, "x".repeat(21)]) assert.deepEqual(told(await verify(uniqueNumber(), code)), [400, "VALIDATION_ERROR"]);
});

test("messages and tries are limited; where phones are no way in, they are not there", async () => {
  const limited = await startWorker({ settings: { ...SETTINGS, LIMIT_MAIL_ADDRESS: "2/60", LIMIT_SIGN_IN_ACCOUNT: "2/300" } });
  const off = await startWorker({ settings: { ...SETTINGS, SIGN_IN_WITH: "password" } });
  try {
    const phoneNumber = uniqueNumber();
    const where = { of: limited };
    const sent = [];
    for (const path of ["send-otp", "request-password-reset", "send-otp"])
      sent.push((await post(`/phone-number/${path}`, { phoneNumber }, where)).status);
    assert.deepEqual(sent, [200, 200, 429]);
    const [otp] = await codes(phoneNumber, where);
    assert.deepEqual(tally(await times(6, () => verify(phoneNumber, wrong(otp), where))), { 400: 2, 429: 4 });
    const refused = await verify(phoneNumber, otp, where);
    assert.deepEqual(
      [refused.status, refused.json, refused.headers["retry-after"]],
      [429, { message: "Too many requests. Please try again later." }, refused.headers["x-retry-after"]],
    );
    for (const path of [
      "/phone-number/send-otp",
      "/phone-number/verify",
      "/phone-number/request-password-reset",
      "/phone-number/reset-password",
      "/sign-in/phone-number",
    ]) {
      const answer = await post(path, { phoneNumber, code: otp, otp, newPassword: NEW, password: NEW }, { of: off });
      assert.deepEqual([answer.status, answer.text], [404, ""], path);
    }
  } finally {
    await limited.dispose();
    await off.dispose();
  }
});

test("codes go to the service for text messages, and never by mail", async () => {
  const received = [];
  const service = createServer(async (incoming, response) => {
    let body = "";
    for await (const chunk of incoming) body += chunk;
    received.push({ path: incoming.url, authorization: incoming.headers.authorization, ...JSON.parse(body) });
    response.writeHead(204).end();
  }).listen(0, "127.0.0.1");
  await once(service, "listening");
  const url = `http://127.0.0.1:${service.address().port}`;
  const sending = await startWorker({
    settings: { ...SETTINGS, MAIL_WEBHOOK: `${url}/mail`, SMS_WEBHOOK: `${url}/sms`, SMS_TOKEN: "for the service" },
  });
  try {
    const phoneNumber = uniqueNumber();
    await post("/phone-number/send-otp", { phoneNumber }, { of: sending });
    for (let n = 0; n < 100 && received.length === 0; n++) await new Promise((resolve) => setTimeout(resolve, 20));
    const [{ path, authorization, to, text }] = received;
    assert.deepEqual([path, authorization, to], ["/sms", "Bearer for the service", phoneNumber]);
    const { status } = await verify(phoneNumber, text.match(/\d{6}/)[0], { of: sending });
    assert.equal(status, 200);
  } finally {
    await sending.dispose();
    service.closeAllConnections();
    service.close();
  }
});

test("a second factor is asked for, a lock keeps no right code out, and a suspended user is told by the right code alone", async () => {
  const { phoneNumber, id } = await caller();
  await change("update user set locked_until = ? where id = ?", Date.now() + 1e7, id);
  assert.ok(opens(await verify(phoneNumber, await code(phoneNumber))));
  await change("update user set locked_until = null where id = ?", id);
  await change(
    "insert into two_factor (id, user_id, method, verified_at, created_at, updated_at) values (?, ?, 'otp', 1, 1, 1)",
    randomUUID(),
    id,
  );
  const asked = await verify(phoneNumber, await code(phoneNumber));
  assert.deepEqual([asked.json.twoFactorRedirect, opens(asked)], [true, false]);
  await change("update user set status = 'suspended' where id = ?", id);
  const otp = await code(phoneNumber);
  assert.deepEqual(told(await verify(phoneNumber, wrong(otp))), [400, "INVALID_OTP"]);
  assert.deepEqual(told(await verify(phoneNumber, otp)), [403, "BANNED_USER"]);
});

test("an isolated tenant's numbers are its own", async () => {
  const host = "http://isolated.localhost";
  const tenant = await seedTenant(worker, { slug: "isolated", pool: "isolated" });
  await seedDomain(worker, tenant, "isolated.localhost");
  const { phoneNumber, id } = await caller();
  const [inside, outside] = [await code(phoneNumber, { host }), await code(phoneNumber)];
  if (inside !== outside) {
    assert.deepEqual(told(await verify(phoneNumber, inside)), [400, "INVALID_OTP"]);
    assert.deepEqual(told(await verify(phoneNumber, outside, { host })), [400, "INVALID_OTP"]);
  }
  const there = await verify(phoneNumber, inside, { host });
  assert.deepEqual([there.status, there.json.user.id !== id], [200, true], there.text);
  assert.equal((await verify(phoneNumber, outside)).json.user.id, id);
});

test("neither a dump nor the log holds a code", async () => {
  const phoneNumber = uniqueNumber();
  const otp = await code(phoneNumber);
  await verify(phoneNumber, wrong(otp));
  const rows = (
    await Promise.all(["verification", "outbox", "audit_event", "rate_limit"].map((table) => worker.rows(`select * from ${table}`)))
  ).flat();
  const alone = new RegExp(`(?<!\\d)${otp}(?!\\d)`);
  assert.ok(!alone.test(JSON.stringify(rows)) && !alone.test(worker.logs()));
});

test("fifty uses of one code at once: one user, one session; and one number for one of two who want it", async () => {
  const phoneNumber = uniqueNumber();
  for (const use of [verify, verify]) {
    const otp = await code(phoneNumber);
    const answers = await times(50, () => use(phoneNumber, otp));
    assert.deepEqual([tally(answers), answers.filter(opens).length], [{ 200: 1, 400: 49 }, 1]);
  }
  assert.equal((await worker.rows("select id from user where phone_number = ?", phoneNumber)).length, 1);
  const otp = await resetCode(phoneNumber);
  assert.deepEqual(tally(await times(50, (n) => reset(phoneNumber, otp, `password number ${n}`))), { 200: 1, 400: 49 });
  const wanted = uniqueNumber();
  const shared = await code(wanted);
  const rivals = await Promise.all(Array.from({ length: 10 }, person));
  const answers = await Promise.all(rivals.map(({ browser }) => verify(wanted, shared, { browser, body: { updatePhoneNumber: true } })));
  assert.deepEqual(tally(answers), { 200: 1, 400: 9 });
});
