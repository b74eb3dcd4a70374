// What a stranger does keeps nobody else out, and what many accounts do together is counted as one thing, at the limits that hold
// when nobody sets any.

import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { withApp } from "../harness/factors.mjs";
import { PASSWORD, signUp } from "../harness/seed.mjs";
import { AUTH, SETTINGS, startWorker } from "../harness/worker.mjs";

const at = (path) => `${AUTH}/api/auth${path}`;
const WRONG = "a wrong password";
const DEFAULTS = Object.fromEntries(
  Object.keys(SETTINGS)
    .filter((name) => name.startsWith("LIMIT_"))
    .map((name) => [name, null]),
);
const FRESH = { SESSION_COOKIE_CACHE_SECONDS: "0", SESSION_RECHECK_SECONDS: "0" };
let worker;

before(async () => {
  worker = await startWorker({ settings: { ...DEFAULTS, ...FRESH, SIGN_IN_WITH: "password,passkey,magic-link,email-otp,phone" } });
});
after(() => worker?.dispose());

const statuses = (answers) => answers.map(({ status }) => status);
async function inTurn(count, step) {
  const answers = [];
  for (let n = 0; n < count; n += 1) answers.push(await step(n));
  return answers;
}
const signIn = (browser, email, password = PASSWORD) => browser.post(at("/sign-in/email"), { email, password });
const passed = (like) => worker.d1.prepare("update rate_limit set expires_at = 1 where key like ?").bind(like).run();
async function codeOf(email) {
  const { json } = await worker
    .browser()
    .get(`${AUTH}/dev/mailbox?to=${encodeURIComponent(email)}`, { headers: { accept: "application/json" } });
  return json.map(({ text }) => text.match(/\b\d{6}\b/)?.[0]).find(Boolean);
}
const count = async (sql, ...values) => (await worker.rows(`select count(*) as n from ${sql}`, ...values))[0].n;

/** Somebody with a second factor, who trusts a browser. */
async function trusting() {
  const who = await signUp(worker);
  const code = await withApp(worker, who);
  const trusted = worker.browser();
  assert.equal((await signIn(trusted, who.email)).json.twoFactorRedirect, true);
  const verified = await trusted.post(at("/two-factor/verify-totp"), { code: await code(), trustDevice: true });
  assert.equal(verified.status, 200, verified.text);
  return { ...who, trusted };
}

test("ten wrong passwords of a stranger keep no owner out of a browser that the account trusts", async () => {
  const { email, id, trusted } = await trusting();
  const stranger = worker.browser();
  assert.deepEqual(statuses(await inTurn(11, () => signIn(stranger, email, WRONG))), [...Array(10).fill(401), 429]);
  assert.equal((await worker.rows("select locked_until > 0 as locked from user where id = ?", id))[0].locked, 1);
  assert.equal((await signIn(worker.browser(), email)).status, 429, "another browser waits");
  const answer = await signIn(trusted, email);
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.json.twoFactorRedirect, undefined);
});

test("a browser that the account trusts guesses no more often than any other, and at no other account", async () => {
  const { email, trusted } = await trusting();
  const other = await signUp(worker);
  assert.deepEqual(statuses(await inTurn(11, () => signIn(trusted, email, WRONG))), [...Array(10).fill(401), 429]);
  assert.equal((await signIn(worker.browser(), email)).status, 401, "the account is locked for the others, and not limited");
  assert.deepEqual(statuses(await inTurn(11, () => signIn(trusted, other.email, WRONG))), [...Array(10).fill(401), 429]);
  assert.equal((await signIn(worker.browser(), other.email)).status, 429);
});

test("wrong passwords and mails that a stranger asks for keep no owner from a code or a link that they ask for", async () => {
  const { email } = await signUp(worker);
  const stranger = worker.browser();
  await inTurn(11, () => signIn(stranger, email, WRONG));
  const kinds = [
    ["/sign-in/magic-link", { email }],
    ["/email-otp/send-verification-otp", { email, type: "sign-in" }],
    ["/request-password-reset", { email }],
  ];
  for (const [path, body] of kinds) assert.equal((await inTurn(6, () => stranger.post(at(path), body))).at(-1).status, 429, path);
  await passed("%:network:%");
  for (const [path, body] of kinds) await inTurn(6, () => stranger.post(at(path), body));
  await passed("%:network:%");
  assert.deepEqual(
    statuses(await inTurn(3, () => stranger.post(at("/sign-in/magic-link"), { email }))),
    [429, 429, 429],
    "a network has its share of a day",
  );
  const owner = worker.browser();
  for (const [path, body] of kinds) assert.equal((await owner.post(at(path), body)).status, 200, path);
  const answer = await owner.post(at("/sign-in/email-otp"), { email, otp: await codeOf(email) });
  assert.equal(answer.status, 200, answer.text);
});

test("wrong codes of a stranger keep no owner from the code that they ask for afterwards", async () => {
  const { email } = await signUp(worker);
  const stranger = worker.browser();
  assert.deepEqual(
    statuses(await inTurn(6, () => stranger.post(at("/sign-in/email-otp"), { email, otp: "000000" }))),
    [400, 400, 400, 400, 400, 429],
  );
  const owner = worker.browser();
  await owner.post(at("/email-otp/send-verification-otp"), { email, type: "sign-in" });
  const answer = await owner.post(at("/sign-in/email-otp"), { email, otp: await codeOf(email) });
  assert.equal(answer.status, 200, answer.text);
});

test("however many networks ask, an address has so many mails a day", async () => {
  const { email } = await signUp(worker);
  const answers = await Promise.all(
    Array.from({ length: 45 }, (_, n) => worker.browser().post(at(n % 2 ? "/request-password-reset" : "/sign-in/magic-link"), { email })),
  );
  const sent = answers.filter(({ status }) => status === 200).length;
  // One was the mail of the sign-up.
  assert.equal(sent, 29, JSON.stringify(statuses(answers)));
});

test("a mail that was used was wanted, and is not counted against its address", async () => {
  const { email } = await signUp(worker);
  const owner = worker.browser();
  for (let n = 0; n < 12; n += 1) {
    await passed("%:network:%");
    assert.equal((await owner.post(at("/email-otp/send-verification-otp"), { email, type: "sign-in" })).status, 200, `${n}`);
    assert.equal((await owner.post(at("/sign-in/email-otp"), { email, otp: await codeOf(email) })).status, 200, `${n}`);
  }
});

test("twelve accounts of one network fill nobody's mailbox by changing their addresses to it", async () => {
  const victim = uniqueEmail();
  const people = [];
  for (let n = 0; n < 12; n += 1) people.push(await signUp(worker));
  for (const { browser } of people) browser.ip = "203.0.113.7";
  for (let round = 0; round < 3; round += 1)
    await Promise.all(people.map(({ browser }) => browser.post(at("/change-email"), { newEmail: victim })));
  assert.equal(await count("outbox where recipient = ?", victim), 3, "by network, in a minute");
  await Promise.all(
    people.map(async ({ browser }) => {
      browser.ip = worker.browser().ip;
      for (let n = 0; n < 3; n += 1) await browser.post(at("/email-otp/request-email-change"), { newEmail: victim });
    }),
  );
  assert.ok((await count("outbox where recipient = ?", victim)) <= 30);
});

test("guesses at a code that proves an address are counted by that address, whichever account makes them", async () => {
  const victim = uniqueEmail();
  const answers = [];
  for (let n = 0; n < 6; n += 1) {
    const { browser } = await signUp(worker);
    assert.equal((await browser.post(at("/email-otp/request-email-change"), { newEmail: victim })).status, 200);
    answers.push(...(await inTurn(2, () => browser.post(at("/email-otp/change-email"), { newEmail: victim, otp: "000000" }))));
  }
  assert.deepEqual(statuses(answers), [...Array(10).fill(400), 429, 429]);
});

test("ten colleagues behind one address who know their passwords sign in, at once and in turn", async () => {
  const colleagues = [];
  for (let n = 0; n < 10; n += 1) colleagues.push(await signUp(worker));
  const office = ({ email }) => signIn(worker.browser({ ip: "203.0.113.9" }), email);
  assert.deepEqual(statuses(await Promise.all(colleagues.map(office))), Array(10).fill(200));
  for (let round = 0; round < 3; round += 1) for (const one of colleagues) assert.equal((await office(one)).status, 200);
});

test("what succeeds at once with guesses gives a network no more of them", async () => {
  const { email } = await signUp(worker);
  const ip = "203.0.113.11";
  const answers = await Promise.all(
    Array.from({ length: 60 }, (_, n) =>
      n % 3 ? signIn(worker.browser({ ip }), uniqueEmail(), WRONG) : signIn(worker.browser({ ip }), email),
    ),
  );
  assert.ok(answers.filter(({ status }) => status === 401).length <= 20, JSON.stringify(statuses(answers)));
});

test("who signs up with another's address and knows the password mails them no more than others may", async () => {
  const strict = await startWorker({
    settings: {
      ...DEFAULTS,
      ...FRESH,
      REQUIRE_VERIFIED_EMAIL: "on",
      LIMIT_SIGN_IN: "1000/60",
      LIMIT_SIGN_IN_ACCOUNT: "1000/60",
      LIMIT_MAIL_ADDRESS: "6/86400",
    },
  });
  try {
    const victim = uniqueEmail();
    const browser = strict.browser();
    assert.equal((await browser.post(at("/sign-up/email"), { name: "A", email: victim, password: PASSWORD })).status, 200);
    assert.deepEqual(statuses(await inTurn(6, () => signIn(browser, victim))), Array(6).fill(403));
    const [{ n }] = await strict.rows("select count(*) as n from outbox where recipient = ?", victim);
    assert.equal(n, 2, "a third of six");
  } finally {
    await strict.dispose();
  }
});
