// Guests: users without credentials. They become users by proving something, under the same id, or are absorbed.

import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { uniqueEmail } from "../harness/browser.mjs";
import { startOrigin } from "../harness/origin.mjs";
import { logIn, seedApp, seedDomain, seedTenant, visit } from "../harness/seed.mjs";
import { readUri, totp } from "../harness/totp.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const PASSWORD = "correct horse battery staple";
const HOST = "auth.localhost";
const SETTINGS = {
  LIMIT_MAIL: "1000/60",
  SIGN_IN_WITH: "password,magic-link,email-otp,phone,anonymous",
  SESSION_COOKIE_CACHE_SECONDS: "0",
  SESSION_RECHECK_SECONDS: "0",
};
let worker;
before(async () => {
  worker = await startWorker({ settings: SETTINGS });
});
after(() => worker?.dispose());

const at = (path, host = AUTH) => `${host}/api/auth${path}`;
const post = (browser, path, body = {}, host = AUTH) => browser.post(at(path, host), body);
const session = async (browser, host = AUTH) => (await browser.get(at("/get-session", host))).json;
const told = ({ status, json }) => [status, json.code];
const opens = ({ cookies }) => cookies.some((line) => /^doorward\.session=[^;]/.test(line));
const newest = async (to) => (await worker.browser().get(`${AUTH}/dev/mailbox?to=${encodeURIComponent(to)}`)).json[0];
const state = async (user) =>
  (
    await worker.rows(
      "select status, status_reason as reason, is_anonymous as guest, deleted_at is not null as deleted from user where id = ?",
      user,
    )
  )[0];
const living = (user) => worker.rows("select id from session where user_id = ? and revoked_at is null", user);
async function until(check) {
  for (let tries = 0; tries < 100; tries += 1) {
    if (await check()) return;
    await sleep(20);
  }
  assert.fail("what is done after the answer was not done");
}
/** The same cookies in another browser. */
function copy(browser, host = HOST) {
  const twin = worker.browser();
  for (const [name, value] of browser.cookies(HOST)) twin.cookies(host).set(name, value);
  return twin;
}
async function guest(of = worker) {
  const browser = of.browser();
  const answer = await post(browser, "/sign-in/anonymous");
  assert.equal(answer.status, 200, answer.text);
  return { browser, id: answer.json.user.id, answer };
}
async function person() {
  const browser = worker.browser();
  const email = uniqueEmail();
  const { user } = (await post(browser, "/sign-up/email", { name: "P", email, password: PASSWORD })).json;
  return { browser, email, id: user.id };
}
const codeFor = async (to) => ((await newest(to)).text.match(/\b\d{6}\b/) ?? [])[0];

/** The ways in which a browser proves something; each answers the address or number that was proven. */
const WAYS = {
  async password(browser, email = uniqueEmail()) {
    return { email, answer: await post(browser, "/sign-up/email", { name: "Real", email, password: PASSWORD }) };
  },
  async "magic link"(browser, email = uniqueEmail()) {
    await post(browser, "/sign-in/magic-link", { email, name: "Real" });
    return { email, answer: await browser.followMailedLink((await newest(email)).text.match(/https?:\S+/)[0]) };
  },
  async "mailed code"(browser, email = uniqueEmail()) {
    await post(browser, "/email-otp/send-verification-otp", { email, type: "sign-in" });
    return { email, answer: await post(browser, "/sign-in/email-otp", { email, otp: await codeFor(email), name: "Real" }) };
  },
  async phone(browser, phoneNumber = `+1${randomInt(1e9, 1e10)}`) {
    await post(browser, "/phone-number/send-otp", { phoneNumber });
    return { phoneNumber, answer: await post(browser, "/phone-number/verify", { phoneNumber, code: await codeFor(phoneNumber) }) };
  },
};

test("a guest is a user of their own, and cannot be one twice", async () => {
  const { browser, id, answer } = await guest();
  const { user, session: opened } = await session(browser);
  assert.deepEqual(answer.json, { token: opened.id, user });
  assert.deepEqual([user.id, user.name, user.isAnonymous, user.emailVerified], [id, "Anonymous", true, false]);
  assert.match(user.email, /^[\w-]+@anonymous\.placeholder\.invalid$/);
  assert.ok(!answer.cookies.some((line) => line.includes("last_used_login_method")));
  const again = await post(browser, "/sign-in/anonymous");
  assert.deepEqual(
    [again.status, again.json],
    [400, { message: "Anonymous users cannot sign in again anonymously", code: "ANONYMOUS_USERS_CANNOT_SIGN_IN_AGAIN_ANONYMOUSLY" }],
  );
  assert.equal((await session(browser)).user.id, id);
  assert.notEqual((await guest()).id, id);
  const bodiless = await worker.browser().send("POST", at("/sign-in/anonymous"), { headers: { origin: AUTH } });
  assert.equal(bodiless.status, 200);
});

test("a user who becomes a guest stays a user", async () => {
  const { browser, id } = await person();
  const old = copy(browser);
  const answer = await post(browser, "/sign-in/anonymous");
  assert.equal(answer.json.user.isAnonymous, true);
  assert.equal((await session(old)).user.id, id);
  assert.deepEqual((await state(id)).status, "active");
});

for (const [name, prove] of Object.entries(WAYS)) {
  test(`a guest becomes a user by ${name}: the same one, in a new session`, async () => {
    const { browser, id } = await guest();
    const old = copy(browser);
    const { email, phoneNumber } = await prove(browser);
    const { user, session: opened } = await session(browser);
    assert.deepEqual([user.id, user.isAnonymous, user.name === "Anonymous"], [id, false, false]);
    if (email) assert.deepEqual([user.email, user.emailVerified], [email, name !== "password"]);
    else assert.deepEqual([user.phoneNumber, user.phoneNumberVerified], [phoneNumber, true]);
    assert.equal(await session(old), null, "whoever held the guest's session holds the user's");
    assert.deepEqual(await living(id), [{ id: opened.id }]);
    assert.equal((await worker.rows("select id from member where user_id = ?", id)).length, 1);
    assert.equal((await post(browser, "/delete-anonymous-user")).status, 403);
    const [{ n }] = await worker.rows("select count(*) as n from audit_event where user_id = ? and event = 'user.created'", id);
    assert.equal(n, 1);
  });

  test(`a guest who is known after all is absorbed by ${name}`, async () => {
    const known = worker.browser();
    const first = await prove(known);
    const user = (await session(known)).user.id;
    const { browser, id } = await guest();
    const old = copy(browser);
    if (name === "password") await post(browser, "/sign-in/email", { email: first.email, password: PASSWORD });
    else await prove(browser, first.email ?? first.phoneNumber);
    assert.equal((await session(browser)).user.id, user);
    await until(async () => (await living(id)).length === 0);
    assert.deepEqual(await state(id), { status: "deleted", reason: "guest_signed_in", guest: 1, deleted: 1 });
    assert.equal(await session(old), null);
    assert.deepEqual((await state(user)).status, "active");
    assert.ok(await session(known), "the user's other sessions live on");
    const events = await worker.rows(
      "select json_extract(details, '$.guest') as guest from audit_event where user_id = ? and event = 'guest.absorbed'",
      user,
    );
    assert.deepEqual(events, [{ guest: id }]);
  });
}

test("a link that somebody else asked for does not make its follower's guest theirs", async () => {
  const { browser, id } = await guest();
  const theirs = uniqueEmail();
  await post(worker.browser(), "/sign-in/magic-link", { email: theirs });
  await browser.followMailedLink((await newest(theirs)).text.match(/https?:\S+/)[0]);
  const [{ id: user }] = await worker.rows("select id from user where email = ?", theirs);
  assert.notEqual(user, id, "what the guest did belongs to whoever sent them a link");
});

test("… nor does it end the guest, whoever it signs in", async () => {
  const { email } = await person();
  const { browser, id } = await guest();
  await post(worker.browser(), "/sign-in/magic-link", { email });
  await browser.followMailedLink((await newest(email)).text.match(/https?:\S+/)[0]);
  // Long enough for a guest to be absorbed, which the next lines wait for.
  const other = await guest();
  await post(other.browser, "/sign-in/email", { email: (await person()).email, password: PASSWORD });
  await until(async () => (await state(other.id)).deleted);
  assert.equal((await state(id)).status, "active", "what the guest did is gone by a click on somebody's link");
});

test("what fails costs no guest", async () => {
  const { email } = await person();
  const { browser, id } = await guest();
  const taken = await post(browser, "/sign-up/email", { name: "P", email, password: PASSWORD });
  assert.equal(taken.status, 422);
  assert.equal((await post(browser, "/sign-in/email", { email, password: "wrong password" })).status, 401);
  assert.equal((await post(browser, "/sign-up/email", { name: "P", email: uniqueEmail(), password: "short" })).status, 400);
  assert.deepEqual((await session(browser)).user.id, id);
  assert.deepEqual(await state(id), { status: "active", reason: null, guest: 1, deleted: 0 });
});

test("nobody but a guest is absorbed", async () => {
  const [one, other] = [await person(), await person()];
  assert.equal((await post(one.browser, "/sign-in/email", { email: other.email, password: PASSWORD })).status, 200);
  // Long enough for a guest to be absorbed, which the next line waits for.
  const { browser, id } = await guest();
  await post(browser, "/sign-in/email", { email: other.email, password: PASSWORD });
  await until(async () => (await state(id)).deleted);
  assert.equal((await state(one.id)).status, "active");
  assert.equal((await living(one.id)).length, 1);
});

test("guests delete themselves, and nobody else", async () => {
  const { browser, id } = await guest();
  const old = copy(browser);
  const gone = await post(browser, "/delete-anonymous-user");
  assert.deepEqual([gone.status, gone.json], [200, { success: true }]);
  assert.ok(gone.cookies.some((line) => /^doorward\.session=;.*Max-Age=0/.test(line)));
  assert.equal(await session(old), null);
  assert.equal((await state(id)).deleted, 1);
  assert.equal((await post(old, "/delete-anonymous-user")).status, 401);
  const user = await person();
  const refused = await post(user.browser, "/delete-anonymous-user");
  assert.deepEqual([refused.status, refused.json], [403, { message: "User is not anonymous", code: "USER_IS_NOT_ANONYMOUS" }]);
});

test("a guest is none any more once they have an address or a number, by whichever way they got it", async () => {
  const byAddress = await guest();
  assert.equal((await post(byAddress.browser, "/update-user", { name: "G", isAnonymous: false })).status, 200);
  assert.equal((await session(byAddress.browser)).user.isAnonymous, true, "saying so proves nothing");
  const newEmail = uniqueEmail();
  await post(byAddress.browser, "/change-email", { newEmail });
  const link = new URL((await newest(newEmail)).text.match(/https?:\S+/)[0]);
  await byAddress.browser.submit(`${AUTH}/change-email`, { token: link.searchParams.get("token"), step: link.searchParams.get("step") });
  const { user } = await session(byAddress.browser);
  assert.deepEqual([user.email, user.emailVerified, user.isAnonymous], [newEmail, true, false]);
  const byNumber = await guest();
  const phoneNumber = `+1${randomInt(1e9, 1e10)}`;
  await post(byNumber.browser, "/phone-number/send-otp", { phoneNumber });
  await post(byNumber.browser, "/phone-number/verify", { phoneNumber, code: await codeFor(phoneNumber), updatePhoneNumber: true });
  const after = (await session(byNumber.browser)).user;
  assert.deepEqual([after.phoneNumber, after.isAnonymous], [phoneNumber, false], "somebody who can come back is deleted as a guest");
});

/** Keeps the isolate hashing while requests arrive: all of them are begun before any of them is done. */
async function piledUp(send) {
  const browsers = Array.from({ length: 4 }, () => worker.browser());
  await Promise.all(browsers.map((browser) => browser.get(at("/ok"))));
  const hashing = browsers.map((browser) => post(browser, "/sign-in/email", { email: uniqueEmail(), password: PASSWORD }));
  const answers = await send();
  await Promise.all(hashing);
  return answers;
}

test("a guest who proves several addresses at once becomes one user, and each answer is about what it was given", async () => {
  for (let round = 0; round < 5; round += 1) {
    const { browser, id } = await guest();
    const emails = Array.from({ length: 4 }, uniqueEmail);
    const codes = [];
    for (const email of emails) {
      await post(browser, "/email-otp/send-verification-otp", { email, type: "sign-in" });
      codes.push(await codeFor(email));
    }
    const twins = emails.map(() => copy(browser));
    const answers = await piledUp(() =>
      Promise.all(twins.map((twin, n) => post(twin, "/sign-in/email-otp", { email: emails[n], otp: codes[n] }))),
    );
    for (const [n, answer] of answers.entries()) {
      assert.ok(answer.status < 500, answer.text);
      if (answer.status !== 200) continue;
      assert.equal(answer.json.user.email, emails[n], "signed in as somebody else than was proven");
      assert.equal((await session(twins[n]))?.user.email, emails[n], "whoever was too late ended the session of whoever was not");
    }
    assert.equal(answers.filter(({ status, json }) => status === 200 && json.user.id === id).length, 1);
    assert.equal((await worker.rows("select id from audit_event where user_id = ? and event = 'user.created'", id)).length, 1);
  }
});

test("a guest who signs up several times at once has one password, and meets no error of ours", async () => {
  const { browser, id } = await guest();
  const emails = Array.from({ length: 4 }, uniqueEmail);
  const twins = emails.map(() => copy(browser));
  const answers = await piledUp(() =>
    Promise.all(twins.map((twin, n) => post(twin, "/sign-up/email", { name: "P", email: emails[n], password: `${PASSWORD} ${n}` }))),
  );
  for (const [n, answer] of answers.entries()) {
    assert.ok(answer.status < 500, `${answer.status} ${answer.text}`);
    if (answer.status !== 200) continue;
    assert.equal(answer.json.user.email, emails[n]);
    assert.equal((await session(twins[n]))?.user.email, emails[n]);
    assert.equal(
      (await post(worker.browser(), "/sign-in/email", { email: emails[n], password: `${PASSWORD} ${n}` })).json.user.id,
      answer.json.user.id,
    );
  }
  assert.equal(answers.filter(({ status, json }) => status === 200 && json.user.id === id).length, 1);
});

test("a guest of one tenant is nobody in another", async () => {
  const host = "http://isolated.localhost";
  await seedDomain(worker, await seedTenant(worker, { slug: "isolated", pool: "isolated" }), "isolated.localhost");
  const { browser, id } = await guest();
  const tossed = copy(browser, "isolated.localhost");
  const email = uniqueEmail();
  const answer = await post(tossed, "/sign-up/email", { name: "P", email, password: PASSWORD }, host);
  assert.equal(answer.status, 200, answer.text);
  assert.notEqual(answer.json.user.id, id);
  assert.equal((await session(browser)).user.id, id);
  assert.equal((await state(id)).guest, 1);
});

test("bad input is told as such", async () => {
  const browser = worker.browser();
  const json = { headers: { "content-type": "application/json" } };
  for (const [body, code] of [
    ["{bad", "BAD_REQUEST"],
    ["null", "VALIDATION_ERROR"],
    ["[]", "VALIDATION_ERROR"],
  ])
    assert.deepEqual(told(await browser.post(at("/sign-in/anonymous"), body, json)), [400, code], body);
  assert.equal((await browser.submit(at("/sign-in/anonymous"), { a: 1 })).status, 415);
  assert.deepEqual(told(await browser.post(at("/sign-in/anonymous"), {}, { origin: "https://evil.example" })), [403, "INVALID_ORIGIN"]);
  const navigated = await browser.send("POST", at("/sign-in/anonymous"), {
    headers: { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate" },
  });
  assert.deepEqual([navigated.status, navigated.headers["content-type"]], [403, "text/html; charset=utf-8"], "a browser is shown a page");
  assert.equal((await post(browser, "/delete-anonymous-user")).status, 401);
});

test("guests are limited like sign-ups; where they are not welcome, the door is not there", async () => {
  const limited = await startWorker({ settings: { ...SETTINGS, LIMIT_SIGN_UP: "2/60" } });
  const off = await startWorker({ settings: { ...SETTINGS, SIGN_IN_WITH: "password" } });
  const closed = await startWorker({ settings: { ...SETTINGS, SIGN_UP: "closed" } });
  try {
    const ip = "192.0.2.1";
    const statuses = [];
    for (let n = 0; n < 3; n += 1) statuses.push((await post(limited.browser({ ip }), "/sign-in/anonymous")).status);
    assert.deepEqual(statuses, [200, 200, 429]);
    for (const path of ["/sign-in/anonymous", "/delete-anonymous-user"]) {
      const browser = off.browser();
      if (path !== "/sign-in/anonymous") await post(browser, "/sign-up/email", { name: "P", email: uniqueEmail(), password: PASSWORD });
      const answer = await post(browser, path);
      assert.deepEqual([answer.status, answer.text], [404, ""], path);
    }
    const answer = await post(closed.browser(), "/sign-in/anonymous");
    assert.deepEqual([answer.status, opens(answer)], [400, false]);
  } finally {
    for (const one of [limited, off, closed]) await one.dispose();
  }
});

test("a guest who signs in with two factors is absorbed once both are given", async () => {
  const { browser: theirs, email, id: known } = await person();
  const { seed } = readUri((await post(theirs, "/two-factor/enable", { password: PASSWORD })).json.totpURI);
  assert.equal((await post(theirs, "/two-factor/verify-totp", { code: totp(seed) })).status, 200);
  await worker.d1.prepare("update two_factor set last_used_step = 0").run();
  const { browser, id } = await guest();
  const asked = await post(browser, "/sign-in/email", { email, password: PASSWORD });
  assert.equal(asked.json.twoFactorRedirect, true, asked.text);
  assert.equal((await state(id)).deleted, 0, "nobody has signed in yet");
  assert.equal((await post(browser, "/two-factor/verify-totp", { code: totp(seed) })).status, 200);
  assert.equal((await session(browser)).user.id, known);
  await until(async () => (await state(id)).deleted === 1);
  assert.equal((await living(id)).length, 0);
});

test("a guest does not pass the gate, and may sign in there", async () => {
  const origin = await startOrigin();
  try {
    await seedApp(worker, "app.localhost", { origin: origin.url });
    const { browser } = await guest();
    const shown = await visit(browser, "http://app.localhost/private");
    assert.deepEqual([new URL(shown.url).pathname, shown.status], ["/login", 200]);
    const { email } = await person();
    const inside = await logIn(browser, shown, email);
    assert.deepEqual([inside.url, inside.status], ["http://app.localhost/private", 200]);
  } finally {
    await origin.close();
  }
});
