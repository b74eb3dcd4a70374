// Guessing: how often, from where, at whose account, and what it tells.

import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { PASSWORD, signUp } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const at = (path) => `${AUTH}/api/auth${path}`;
const WRONG = "a wrong password";
const LIMITS = {
  LIMIT_SIGN_IN: "3/60",
  LIMIT_SIGN_IN_ACCOUNT: "5/300",
  LIMIT_SIGN_UP: "3/60",
  LIMIT_CHANGE_PASSWORD: "2/60",
  LOCKOUT_FAILURES: "1000",
};
// The second one locks accounts, and limits nobody: each defence is seen alone.
let limited, locking;

before(async () => {
  limited = await startWorker({ settings: LIMITS });
  locking = await startWorker({ settings: { LOCKOUT_FAILURES: "3", LOCKOUT_SECONDS: "900" } });
});
after(async () => {
  await limited?.dispose();
  await locking?.dispose();
});

const guess = (worker, email, password = WRONG, ip) => worker.browser({ ip }).post(at("/sign-in/email"), { email, password });
const statuses = (answers) => answers.map(({ status }) => status);
async function inTurn(count, step) {
  const answers = [];
  for (let n = 0; n < count; n += 1) answers.push(await step(n));
  return answers;
}
const pass = (worker, like) => worker.d1.prepare("update rate_limit set expires_at = 1 where key like ?").bind(like).run();
/** What an answer tells: all but what differs between any two. */
const told = ({ status, headers, text }) => {
  const { date, "retry-after": _, "x-retry-after": __, ...rest } = headers;
  return { status, text, headers: rest, waits: "retry-after" in headers };
};
function checkRefused(answer, seconds) {
  assert.equal(answer.status, 429, answer.text);
  assert.deepEqual(answer.json, { message: "Too many requests. Please try again later." });
  assert.equal(answer.headers["retry-after"], answer.headers["x-retry-after"]);
  const wait = Number(answer.headers["retry-after"]);
  assert.ok(Number.isInteger(wait) && wait >= 1 && wait <= seconds, `wait ${answer.headers["retry-after"]}`);
  assert.ok(!answer.cookies.some((line) => /session=[^;]/.test(line)));
}

test("one address signs in three times a minute, by API or page, and then not even with the right password", async () => {
  const ip = "192.0.2.1";
  const { email } = await signUp(limited);
  assert.deepEqual(statuses(await inTurn(3, () => guess(limited, uniqueEmail(), WRONG, ip))), [401, 401, 401]);
  checkRefused(await guess(limited, email, PASSWORD, ip), 60);
  const page = await limited.browser({ ip }).submit(`${AUTH}/login`, { email, password: PASSWORD });
  assert.deepEqual([page.status, page.cookies], [429, []]);
  assert.match(page.headers["content-type"], /^text\/html/);
  assert.ok(Number(page.headers["retry-after"]) >= 1);
  assert.equal((await guess(limited, email, PASSWORD, "192.0.2.2")).status, 200, "another address");
  await pass(limited, "sign-in:network:%");
  assert.equal((await guess(limited, email, PASSWORD, ip)).status, 200, "the window has passed");
});

test("an address counts as its network: the /64 of IPv6, and IPv4 however it is written", async () => {
  const networks = [
    ["2001:db8:1:2::1", "2001:DB8:1:2:ffff::2", "2001:0db8:0001:0002:1:2:3:4", "2001:db8:1:2:8000::"],
    ["192.0.2.10", "::ffff:192.0.2.10", "::ffff:c000:20a", "0:0:0:0:0:ffff:192.0.2.10"],
  ];
  for (const addresses of networks) {
    assert.deepEqual(
      statuses(await inTurn(4, (n) => guess(limited, uniqueEmail(), WRONG, addresses[n]))),
      [401, 401, 401, 429],
      `${addresses}`,
    );
  }
  for (const other of ["2001:db8:1:3::1", "192.0.2.11"])
    assert.equal((await guess(limited, uniqueEmail(), WRONG, other)).status, 401, other);
});

test("what succeeds is no guess: it is not counted for an address, and gives it no more tries", async () => {
  const { email } = await signUp(limited);
  assert.deepEqual(statuses(await inTurn(5, () => guess(limited, email, PASSWORD, "192.0.2.20"))), [200, 200, 200, 200, 200]);
  const wrong = await inTurn(3, () => guess(limited, uniqueEmail(), WRONG, "192.0.2.20"));
  assert.deepEqual(statuses([...wrong, await guess(limited, email, PASSWORD, "192.0.2.20")]), [401, 401, 401, 429]);
});

test("one account is tried five times by whomever, and a stranger's address is limited alike", async () => {
  const { email } = await signUp(limited);
  const stranger = uniqueEmail();
  const spelled = (address, n) => (n % 2 ? address : address.toUpperCase());
  const known = await inTurn(7, (n) => guess(limited, spelled(email, n), WRONG));
  const unknown = await inTurn(7, (n) => guess(limited, spelled(stranger, n), WRONG));
  assert.deepEqual(statuses(known), [401, 401, 401, 401, 401, 429, 429]);
  assert.deepEqual(known.map(told), unknown.map(told));
  for (const answer of [...known.slice(5), ...unknown.slice(5), await guess(limited, email, PASSWORD)]) checkRefused(answer, 300);
});

test("40 guesses from 40 addresses at once are five", async () => {
  const { email, id } = await signUp(limited);
  const passwords = Array.from({ length: 40 }, (_, n) => `${WRONG} ${n}`);
  const answers = await Promise.all(passwords.map((password) => guess(limited, email, password)));
  const count = (status) => answers.filter((answer) => answer.status === status).length;
  assert.deepEqual([count(401), count(429)], [5, 35]);
  const [{ compared }] = await limited.rows(
    "select count(*) as compared from login_history where user_id = ? and failure_reason = 'wrong_password'",
    id,
  );
  assert.equal(compared, 5);
});

test("a success starts the account's count anew", async () => {
  const { email } = await signUp(limited);
  for (const round of [1, 2, 3]) {
    const wrong = await inTurn(4, () => guess(limited, email));
    assert.deepEqual(statuses([...wrong, await guess(limited, email, PASSWORD)]), [401, 401, 401, 401, 200], `round ${round}`);
  }
});

test("what an address is refused is no guess: it cannot shut somebody else out", async () => {
  const { email } = await signUp(limited);
  const answers = await inTurn(10, () => guess(limited, email, WRONG, "192.0.2.40"));
  assert.deepEqual(statuses(answers), [401, 401, 401, ...Array(7).fill(429)]);
  assert.equal(
    (await guess(limited, email, PASSWORD)).status,
    200,
    "three guesses were made, five are allowed, and the owner waits five minutes",
  );
});

test("signing up is limited by address, whether it works or not", async () => {
  const known = await signUp(limited);
  const browser = limited.browser({ ip: "192.0.2.30" });
  const apply = (email) => browser.post(at("/sign-up/email"), { name: "A", email, password: PASSWORD });
  assert.deepEqual(statuses([await apply(uniqueEmail()), await apply(known.email), await apply(uniqueEmail())]), [200, 422, 200]);
  const email = uniqueEmail();
  checkRefused(await apply(email), 60);
  assert.deepEqual(await limited.rows("select id from user where email = ?", email), []);
  const page = await browser.submit(`${AUTH}/sign-up`, { name: "A", email, password: PASSWORD });
  assert.deepEqual([page.status, page.cookies], [429, []]);
});

test("the current password is guessed twice a minute with a stolen session", async () => {
  const { browser, email } = await signUp(limited);
  const change = (currentPassword) => browser.post(at("/change-password"), { currentPassword, newPassword: "a new password" });
  assert.deepEqual(statuses([await change(WRONG), await change(`${WRONG}!`)]), [400, 400]);
  checkRefused(await change(PASSWORD), 60);
  assert.equal((await guess(limited, email, PASSWORD)).status, 200, "the password was changed");
});

test("guesses of the current password are counted for the account, whichever session makes them", async () => {
  const { browser, email } = await signUp(limited);
  const second = limited.browser();
  await second.post(at("/sign-in/email"), { email, password: PASSWORD });
  const change = (by, currentPassword) => by.post(at("/change-password"), { currentPassword, newPassword: "a new password" });
  assert.deepEqual(statuses([await change(browser, WRONG), await change(second, WRONG)]), [400, 400]);
  for (const by of [browser, second]) checkRefused(await change(by, PASSWORD), 60);
});

test("three failures lock an account; the right password is then refused alike, and so is a stranger's", async () => {
  const { email, id } = await signUp(locking);
  const neighbour = await signUp(locking);
  const known = [...(await inTurn(5, () => guess(locking, email))), await guess(locking, email, PASSWORD)];
  const stranger = uniqueEmail();
  const unknown = await inTurn(6, () => guess(locking, stranger));
  assert.deepEqual(statuses(known), [401, 401, 401, 401, 401, 401]);
  assert.deepEqual(known.map(told), unknown.map(told));
  assert.deepEqual(told(known[5]), told(known[0]), "the lock tells the right password from a wrong one");
  const reasons = await locking.rows(
    "select failure_reason as reason from login_history where user_id = ? and status = 'failed' order by created_at, id",
    id,
  );
  assert.deepEqual(
    reasons.map(({ reason }) => reason),
    ["wrong_password", "wrong_password", "wrong_password", "locked", "locked", "locked"],
  );
  const page = await locking.browser().submit(`${AUTH}/login`, { email, password: PASSWORD });
  assert.deepEqual([page.status, page.cookies], [401, []]);
  assert.equal((await guess(locking, neighbour.email, PASSWORD)).status, 200);
});

test("a lock ends by itself, the next one is twice as long, and a success forgets them", async () => {
  const { email, id } = await signUp(locking);
  const state = async () =>
    (
      await locking.rows("select failed_login_count as failures, locked_until - last_failed_login_at as length from user where id = ?", id)
    )[0];
  const end = () => locking.d1.prepare("update user set locked_until = 1 where id = ?").bind(id).run();
  for (const length of [900_000, 1_800_000, 3_600_000]) {
    await inTurn(3, () => guess(locking, email));
    assert.equal((await state()).length, length);
    await end();
  }
  assert.equal((await guess(locking, email, PASSWORD)).status, 200);
  assert.deepEqual(await state(), { failures: 0, length: null });
  await inTurn(3, () => guess(locking, email));
  assert.equal((await state()).length, 900_000);
});

test("guesses made at once lock an account as well", async () => {
  const { email, id } = await signUp(locking);
  await Promise.all(Array.from({ length: 12 }, (_, n) => guess(locking, email, `${WRONG} ${n}`)));
  const [{ failures }] = await locking.rows("select failed_login_count as failures from user where id = ?", id);
  assert.ok(failures >= 3, `${failures} failures were counted`);
  assert.equal((await guess(locking, email, PASSWORD)).status, 401, `${failures} wrong guesses, and the account is open`);
});

test("guesses of the current password lock the account as guesses at the login do", async () => {
  const { browser, email, id } = await signUp(locking);
  const change = (currentPassword) => browser.post(at("/change-password"), { currentPassword, newPassword: "a new password" });
  const answers = await inTurn(3, () => change(WRONG));
  assert.deepEqual(statuses(answers), [400, 400, 400]);
  const locked = await change(PASSWORD);
  assert.deepEqual([locked.status, locked.json.code], [400, "INVALID_PASSWORD"]);
  assert.equal((await guess(locking, email, PASSWORD)).status, 401);
  const reasons = await locking.rows(
    `select failure_reason as reason, login_method as method from login_history where user_id = ? and status = 'failed'
       order by created_at, id`,
    id,
  );
  assert.deepEqual(
    reasons.map(({ reason, method }) => `${method} ${reason}`),
    [
      "change-password wrong_password",
      "change-password wrong_password",
      "change-password wrong_password",
      "change-password locked",
      "password locked",
    ],
  );
});

test("nobody's mailbox is filled by invitations, whoever invites and to however many organizations", async () => {
  const victim = uniqueEmail();
  const organization = async () => {
    const owner = await signUp(locking);
    const { id } = (await owner.browser.post(at("/organization/create"), { name: "Acme", slug: `acme-${owner.id}` })).json;
    return (email, more = {}) =>
      owner.browser.post(at("/organization/invite-member"), { email, role: "member", organizationId: id, ...more });
  };
  const [one, two] = [await organization(), await organization()];
  assert.equal((await one(victim)).status, 200);
  // What sends nothing counts for nothing.
  assert.deepEqual(statuses(await inTurn(5, () => one(victim))), [400, 400, 400, 400, 400]);
  const answers = await Promise.all(Array.from({ length: 10 }, () => one(victim, { resend: true })));
  assert.equal(answers.filter(({ status }) => status === 200).length, 2, JSON.stringify(statuses(answers)));
  checkRefused(await two(victim), 60);
  assert.equal((await two(uniqueEmail())).status, 200, "nobody else is kept from it");
  assert.equal((await locking.rows("select count(*) as n from outbox where recipient = ?", victim))[0].n, 3);
  assert.equal((await locking.rows("select count(*) as n from invitation where email = ?", victim))[0].n, 1);
  await pass(locking, "invite:mail%");
  assert.equal((await two(victim)).status, 200);
});
