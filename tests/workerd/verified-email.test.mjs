// REQUIRE_VERIFIED_EMAIL: a password is good once its address is proven, and until then nobody learns who has an account.

import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { after, before, test } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { seedDomain, seedTenant } from "../harness/seed.mjs";
import { AUTH, SPA, startWorker } from "../harness/worker.mjs";

const PASSWORD = "correct horse battery staple";
const HOST = "auth.localhost";
const SETTINGS = {
  REQUIRE_VERIFIED_EMAIL: "on",
  LIMIT_MAIL: "1000/60",
  SIGN_IN_WITH: "password,magic-link,email-otp,anonymous",
  SESSION_COOKIE_CACHE_SECONDS: "0",
  SESSION_RECHECK_SECONDS: "0",
};
let worker;
before(async () => {
  worker = await startWorker({ settings: SETTINGS });
});
after(() => worker?.dispose());

const uniqueName = () => `user_${Date.now().toString(36)}_${randomInt(1e6)}`;
const at = (path, host = AUTH) => `${host}/api/auth${path}`;
const post = (browser, path, body = {}, host = AUTH) => browser.post(at(path, host), body);
const mails = async (to, { of = worker, host = AUTH } = {}) =>
  (await of.browser().get(`${host}/dev/mailbox?to=${encodeURIComponent(to)}`)).json;
const linkIn = (mail) => mail.text.match(/https?:\S+/)[0];
const signUp = (email, body = {}, browser = worker.browser()) =>
  post(browser, "/sign-up/email", { name: "P", email, password: PASSWORD, ...body });
const signIn = (email, password = PASSWORD, body = {}) => post(worker.browser(), "/sign-in/email", { email, password, ...body });
const session = async (browser) => (await browser.get(at("/get-session"))).json;
const told = ({ status, json }) => [status, json.code];
const change = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
const NOT_VERIFIED = [403, { message: "Email not verified", code: "EMAIL_NOT_VERIFIED" }];
async function proven({ body, of = worker } = {}) {
  const email = uniqueEmail();
  const browser = of.browser();
  await signUp(email, body, browser);
  const { status } = await browser.followMailedLink(linkIn((await mails(email, { of }))[0]));
  assert.equal(status, 200);
  return email;
}

/** All that an answer tells, but for what was typed, ids and times: of those, their form. */
function shape({ status, json, headers, cookies }, email) {
  const form = (value) =>
    typeof value === "string"
      ? value
          .replaceAll(email, "<email>")
          .replace(/^[\da-f]{8}-[\da-f-]{27}$/, "<id>")
          .replace(/^\d{4}-.*Z$/, "<iso>")
      : value;
  const body = JSON.parse(JSON.stringify(json), (_, value) => form(value));
  const { date, "content-length": _, ...rest } = headers;
  // One cookie, that says which account was made in this browser, or none: its value is of the same length for both.
  const lines = (given = []) =>
    given.map((line) => line.replace(/^(doorward\.maker=)([^;]+)/, (_, name, value) => `${name}<${value.length}>`));
  if (rest["set-cookie"]) rest["set-cookie"] = lines(rest["set-cookie"]);
  return { status, body, order: Object.keys(json.user ?? json), headers: rest, cookies: lines(cookies) };
}

test("signing up is answered alike for known and unknown addresses: body, headers, cookies, round trips", async () => {
  const pending = uniqueEmail();
  await signUp(pending);
  const suspended = await proven();
  await change("update user set status = 'suspended' where email = ?", suspended);
  const bodies = [
    {},
    { name: "Zoë", image: "https://img.example/1", rememberMe: false, callbackURL: `${SPA}/x` },
    { username: uniqueName },
  ];
  for (const body of bodies) {
    const typed = () =>
      Object.fromEntries(Object.entries(body).map(([key, value]) => [key, typeof value === "function" ? value() : value]));
    const stranger = uniqueEmail();
    const unknown = await signUp(stranger, typed());
    assert.deepEqual(
      [unknown.status, unknown.json.token, unknown.cookies.map((line) => line.split("=")[0])],
      [200, null, ["doorward.maker"]],
    );
    assert.deepEqual([unknown.json.user.email, unknown.json.user.emailVerified], [stranger, false]);
    for (const known of [await proven(), pending, suspended]) {
      const answer = await signUp(known.toUpperCase(), typed());
      const [one, other] = [shape(answer, known), shape(unknown, stranger)];
      for (const seen of [one, other])
        for (const name of ["username", "displayUsername"]) if (seen.body.user[name]) seen.body.user[name] = "<name>";
      assert.deepEqual(one, other);
      const [{ id, created }] = await worker.rows("select id, created_at as created from user where email = ?", known);
      const { user } = answer.json;
      assert.ok(
        user.id !== id && Date.parse(user.createdAt) > created && user.updatedAt === user.createdAt,
        "the account that there is shows through",
      );
    }
  }
});

test("what is refused is refused alike: a bad password, a taken name", async () => {
  const [known, stranger, username] = [await proven(), uniqueEmail(), uniqueName()];
  await change("update user set username = ? where email = ?", username, await proven());
  for (const body of [{ password: "short" }, { password: "x".repeat(129) }, { username }, { username: "a b" }, { name: " " }]) {
    const [one, other] = [await signUp(known, body), await signUp(stranger, body)];
    assert.equal(one.status, 400);
    assert.deepEqual(shape(one, known), shape(other, stranger), JSON.stringify(body));
  }
});

test("the address is told by mail: a link to prove it, or that there is an account already, which stays as it is", async () => {
  const email = uniqueEmail();
  const maker = worker.browser();
  await signUp(email, { name: "First" }, maker);
  const [welcome] = await mails(email);
  assert.equal(welcome.subject, "Confirm your e-mail address");
  await signUp(email, { name: "Second", password: "another password", username: uniqueName() });
  const [notice] = await mails(email);
  assert.equal(notice.subject, "You have an account already");
  assert.ok(!/token|Second|another/.test(notice.text + notice.html), "the notice repeats what a stranger typed, or opens something");
  await maker.followMailedLink(linkIn(welcome));
  const { user } = (await signIn(email)).json;
  assert.deepEqual([user.name, user.username, user.emailVerified], ["First", null, true]);
  assert.equal((await signIn(email, "another password")).status, 401);
  assert.equal((await worker.rows("select id from user where email = ?", email)).length, 1);
});

test("before the proof the right password is told so and mailed a link; a wrong one learns nothing", async () => {
  const [email, username] = [uniqueEmail(), uniqueName()];
  const maker = worker.browser();
  await signUp(email, {}, maker);
  await change("update user set username = ? where email = ?", username, email);
  const before = (await mails(email)).length;
  for (const wrong of [await signIn(email, "wrong password"), await signIn(uniqueEmail())])
    assert.deepEqual(told(wrong), [401, "INVALID_EMAIL_OR_PASSWORD"]);
  assert.deepEqual(told(await post(worker.browser(), "/sign-in/username", { username, password: "wrong password" })), [
    401,
    "INVALID_USERNAME_OR_PASSWORD",
  ]);
  assert.equal((await mails(email)).length, before);
  const refused = await signIn(email, PASSWORD, { callbackURL: `${SPA}/in` });
  assert.deepEqual([refused.status, refused.json, refused.cookies], [...NOT_VERIFIED, []]);
  const byName = await post(worker.browser(), "/sign-in/username", { username, password: PASSWORD });
  assert.deepEqual([byName.status, byName.json, byName.cookies], [...NOT_VERIFIED, []]);
  const links = (await mails(email)).map(linkIn);
  assert.equal(links.length, before + 2);
  const page = await worker.browser().submit(`${AUTH}/login`, { email, password: PASSWORD });
  assert.deepEqual([page.status, page.cookies], [403, []]);
  assert.equal((await maker.followMailedLink(links[1])).location, `${SPA}/in`);
  assert.equal((await signIn(email)).status, 200);
  const [{ n }] = await worker.rows(
    `select count(*) as n from login_history where failure_reason = 'email_not_verified' and user_id = (select id from user
       where email = ?)`,
    email,
  );
  assert.equal(n, 3);
});

test("a link or a code is a proof of its own", async () => {
  const email = uniqueEmail();
  const browser = worker.browser();
  await post(browser, "/sign-in/magic-link", { email });
  await browser.followMailedLink(linkIn((await mails(email))[0]));
  assert.equal((await session(browser)).user.emailVerified, true);
  const pending = uniqueEmail();
  await signUp(pending, {}, browser);
  await post(browser, "/email-otp/send-verification-otp", { email: pending, type: "email-verification" });
  await post(browser, "/email-otp/verify-email", { email: pending, otp: (await mails(pending))[0].subject.slice(0, 6) });
  assert.equal((await signIn(pending)).status, 200);
});

test("a new password that was set by mail is good: the address is proven by it", async () => {
  for (const byCode of [false, true]) {
    const email = uniqueEmail();
    await signUp(email);
    const browser = worker.browser();
    if (byCode) {
      await post(browser, "/email-otp/request-password-reset", { email });
      const otp = (await mails(email))[0].subject.slice(0, 6);
      assert.equal((await post(browser, "/email-otp/reset-password", { email, otp, password: "another password" })).status, 200);
    } else {
      await post(browser, "/request-password-reset", { email });
      const [, token] = (await mails(email))[0].text.match(/reset-password\/([\w-]+)/);
      assert.equal((await post(browser, "/reset-password", { token, newPassword: "another password" })).status, 200);
    }
    assert.equal((await signIn(email, "another password")).status, 200, byCode ? "by code" : "by link");
  }
});

test("the hosted page says the same to both", async () => {
  const [known, stranger] = [await proven(), uniqueEmail()];
  const submit = (email) => worker.browser().submit(`${AUTH}/sign-up`, { name: "P", email, password: PASSWORD, continue: "/account" });
  const [one, other] = [await submit(known), await submit(stranger)];
  assert.equal(one.status, 200);
  const names = ({ cookies }) => cookies.map((line) => line.split("=")[0]);
  assert.deepEqual(
    [one.text.replaceAll(known, "<email>"), names(one), one.headers["server-timing"]],
    [other.text.replaceAll(stranger, "<email>"), ["doorward.maker"], other.headers["server-timing"]],
  );
});

/** Keeps the isolate hashing while requests arrive: all of them are begun before any of them is done. */
async function piledUp(count, send) {
  const browsers = Array.from({ length: 4 + count }, () => worker.browser());
  await Promise.all(browsers.map((browser) => browser.get(at("/ok"))));
  const hashing = browsers.splice(0, 4).map((browser) => post(browser, "/sign-in/email", { email: uniqueEmail(), password: PASSWORD }));
  const answers = await Promise.all(browsers.map(send));
  await Promise.all(hashing);
  return answers;
}

test("ten sign-ups at once tell nothing either", async () => {
  const [known, ...strangers] = [await proven(), uniqueEmail(), uniqueEmail(), uniqueEmail()];
  for (const email of [known, ...strangers]) {
    const answers = await piledUp(10, (browser) => signUp(email, {}, browser));
    assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200], `${email === known ? "known" : "unknown"}`);
    assert.equal((await worker.rows("select id from user where email = ?", email)).length, 1);
  }
});

test("ten who want one user name at once: one has it, the others are told, and it is no error of ours", async () => {
  for (let round = 0; round < 3; round += 1) {
    const username = uniqueName();
    const answers = await piledUp(10, (browser) => signUp(uniqueEmail(), { username }, browser));
    for (const answer of answers) if (answer.status !== 200) assert.deepEqual(told(answer), [400, "USERNAME_IS_ALREADY_TAKEN"]);
    assert.equal(answers.filter(({ status }) => status === 200).length, 1);
  }
});

test("a guest who signs up learns nothing from what becomes of the guest", async () => {
  const outcome = async (email) => {
    const browser = worker.browser();
    const guest = (await post(browser, "/sign-in/anonymous")).json.user;
    const answer = await signUp(email, {}, browser);
    assert.equal(answer.status, 200);
    const seen = shape(answer, email);
    seen.body.user.id = answer.json.user.id === guest.id ? "<the guest's>" : "<another>";
    return { seen, isStillGuest: (await session(browser)) !== null, again: told(await post(browser, "/sign-in/anonymous")) };
  };
  assert.deepEqual(await outcome(await proven()), await outcome(uniqueEmail()));
});

test("a known address is not mailed more often by signing up than by any other way", async () => {
  const limited = await startWorker({ settings: { ...SETTINGS, LIMIT_MAIL_ADDRESS: "3/600" } });
  try {
    const where = { of: limited };
    const email = await proven(where);
    for (let n = 0; n < 8; n += 1) assert.equal((await signUp(email, {}, limited.browser())).status, 200);
    const notices = (await mails(email, where)).filter(({ subject }) => subject === "You have an account already");
    assert.ok(notices.length >= 1 && notices.length <= 3, `${notices.length} mails`);
  } finally {
    await limited.dispose();
  }
});

test("an isolated tenant's known addresses are its own", async () => {
  const host = "http://isolated.localhost";
  await seedDomain(worker, await seedTenant(worker, { slug: "isolated", pool: "isolated" }), "isolated.localhost");
  const email = await proven();
  assert.equal((await post(worker.browser(), "/sign-up/email", { name: "P", email, password: "another password" }, host)).status, 200);
  assert.equal((await mails(email, { host }))[0].subject, "Confirm your e-mail address");
  const inside = await post(worker.browser(), "/sign-in/email", { email, password: "another password" }, host);
  assert.deepEqual([inside.status, inside.json], NOT_VERIFIED);
  assert.equal((await signIn(email)).status, 200);
});
