// What is done at once: of fifty, as many win as may.

import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from "jose";
import { uniqueEmail } from "../harness/browser.mjs";
import { PASSWORD, seedDomain, seedTenant, signUp } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const at = (path) => `${AUTH}/api/auth${path}`;
let worker;
before(async () => {
  worker = await startWorker({ settings: { SESSION_COOKIE_CACHE_SECONDS: "0", SESSION_RECHECK_SECONDS: "0", LOCKOUT_FAILURES: "100000" } });
});
after(() => worker?.dispose());

const times = (count, act) => Promise.all(Array.from({ length: count }, (_, n) => act(n)));
const signIn = (browser, email, password = PASSWORD) => browser.post(at("/sign-in/email"), { email, password });
const cookieIn = ({ cookies }) => cookies.map((line) => line.split(";")[0]).find((pair) => /^doorward\.session=./.test(pair));
const count = async (sql, ...values) => (await worker.rows(`select count(*) as n from ${sql}`, ...values))[0].n;
const living = (user) => worker.rows("select id from session where user_id = ? and revoked_at is null", user);
/** How often each status was answered. */
const tally = (answers) => answers.reduce((sum, { status }) => ({ ...sum, [status]: (sum[status] ?? 0) + 1 }), {});
/** The same session in as many browsers as ask for it. */
const copy = (browser) => {
  const twin = worker.browser();
  for (const [name, value] of browser.cookies("auth.localhost")) twin.cookies("auth.localhost").set(name, value);
  return twin;
};
/** Keeps the isolate hashing while requests arrive: all of them are begun before any of them is done. */
async function piledUp(send) {
  const browsers = Array.from({ length: 4 }, () => worker.browser());
  await Promise.all(browsers.map((browser) => browser.get(at("/ok"))));
  const hashing = browsers.map((browser) => signIn(browser, uniqueEmail()));
  const answers = await send();
  await Promise.all(hashing);
  return answers;
}
const isLive = async (cookie) => (await worker.browser().get(at("/get-session"), { headers: { cookie } })).json !== null;

test("50 sign-ups with one address make one user, and leave nothing of the others", async () => {
  const email = uniqueEmail();
  const tables = ["user", "account", "member", "member_role", "session"];
  const before = await Promise.all(tables.map((table) => count(table)));
  const answers = await times(50, (n) =>
    worker.browser().post(at("/sign-up/email"), {
      name: `N${n}`,
      email: n % 2 ? email : email.toUpperCase(),
      password: `${PASSWORD} ${n}`,
    }),
  );
  assert.deepEqual(tally(answers), { 200: 1, 422: 49 });
  for (const answer of answers.filter(({ status }) => status === 422)) {
    assert.equal(answer.json.code, "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL");
    assert.equal(cookieIn(answer), undefined);
  }
  const after = await Promise.all(tables.map((table) => count(table)));
  assert.deepEqual(
    after.map((n, at) => n - before[at]),
    [1, 1, 1, 1, 1],
    `${tables}`,
  );
  const winner = answers.findIndex(({ status }) => status === 200);
  const { user } = answers[winner].json;
  for (const table of ["account", "member", "session"]) assert.equal(await count(`${table} where user_id = ?`, user.id), 1, table);
  assert.equal(user.name, `N${winner}`);
  assert.ok(await isLive(cookieIn(answers[winner])));
  assert.equal((await signIn(worker.browser(), email, `${PASSWORD} ${winner}`)).status, 200, "another applicant's password was kept");
});

test("an isolated tenant's people are its own, also at once: one address, one user in each pool", async () => {
  const tenant = await seedTenant(worker, { slug: "isolated", pool: "isolated" });
  await seedDomain(worker, tenant, "isolated.localhost");
  const email = uniqueEmail();
  const hosts = [AUTH, "http://isolated.localhost"];
  const answers = await times(20, (n) =>
    worker.browser().post(`${hosts[n % 2]}/api/auth/sign-up/email`, { name: "A", email, password: PASSWORD }),
  );
  assert.deepEqual(tally(answers), { 200: 2, 422: 18 });
  const pools = await worker.rows("select tenant_id as pool from user where email = ? order by tenant_id", email);
  assert.deepEqual(
    pools.map(({ pool }) => pool),
    [null, tenant],
  );
});

test("50 password changes from one password: one is made, the others are told that they were not, and one session lives", async () => {
  const { browser, email, id } = await signUp(worker);
  const passwords = Array.from({ length: 50 }, (_, n) => `new password ${n}`);
  const change = (n) => copy(browser).post(at("/change-password"), { currentPassword: PASSWORD, newPassword: passwords[n] });
  const answers = await piledUp(() => times(50, change));
  assert.ok(
    answers.every(({ status }) => status < 500),
    JSON.stringify(tally(answers)),
  );
  const opened = await living(id);
  assert.equal(opened.length, 1, "living sessions");
  const works = await times(50, async (n) => (await signIn(worker.browser(), email, passwords[n])).status === 200);
  const final = works.flatMap((yes, n) => (yes ? [n] : []));
  assert.equal(final.length, 1, `passwords that work: ${final}`);
  assert.equal((await signIn(worker.browser(), email)).status, 401, "the old password still works");
  // Of two changes at once, one holds: whoever is answered 200 must be that one, and hold the session that lives.
  const told = answers.flatMap(({ status }, n) => (status === 200 ? [n] : []));
  assert.deepEqual(told, final, "answered 200, though their password was not set");
  assert.deepEqual(answers[final[0]].json.token, opened[0].id, "the session that lives is a loser's");
  for (const [n, answer] of answers.entries()) if (n !== final[0]) assert.equal(cookieIn(answer), undefined, `loser ${n} was let in`);
});

test("whoever signs in with the old password while it is changed is out afterwards", async () => {
  for (const round of [1, 2]) {
    const { browser, email, id } = await signUp(worker);
    const change = () => copy(browser).post(at("/change-password"), { currentPassword: PASSWORD, newPassword: "a new password" });
    const answers = await piledUp(() => times(31, (n) => (n === 15 ? change() : signIn(worker.browser(), email))));
    const [changed] = answers.splice(15, 1);
    assert.equal(changed.status, 200, changed.text);
    for (const { status } of answers) assert.ok(status === 200 || status === 401, `${status}`);
    const inside = await times(30, async (n) => answers[n].status === 200 && isLive(cookieIn(answers[n])));
    assert.equal(inside.filter(Boolean).length, 0, `round ${round}: sessions opened with the old password live on`);
    assert.deepEqual(await living(id), [{ id: changed.json.token }]);
  }
});

test("50 revocations of one session, and of all: no answer but 200 or 401, and nothing lives", async () => {
  const { browser, email, id } = await signUp(worker);
  const victim = worker.browser();
  const { token: handle } = (await signIn(victim, email)).json;
  const one = await times(50, () => copy(browser).post(at("/revoke-session"), { token: handle }));
  assert.deepEqual(tally(one), { 200: 50 });
  assert.equal((await living(id)).length, 1);
  assert.equal((await victim.get(at("/list-sessions"))).status, 401);
  const all = await times(50, (n) => copy(browser).post(at(["/revoke-sessions", "/sign-out", "/revoke-other-sessions"][n % 3]), {}));
  for (const { status } of all) assert.ok(status === 200 || status === 401, `${status}`);
  assert.deepEqual(await living(id), []);
  const stamps = await worker.rows("select count(*) as n from session where user_id = ? and revocation_reason is null", id);
  assert.equal(stamps[0].n, 0);
});

test("two sessions that end each other at once do not both live, and leave the account usable", async () => {
  const { browser, email, id } = await signUp(worker);
  const other = worker.browser();
  await signIn(other, email);
  const answers = await times(20, (n) => copy(n % 2 ? browser : other).post(at("/revoke-other-sessions"), {}));
  for (const { status } of answers) assert.ok(status === 200 || status === 401, `${status}`);
  assert.ok((await living(id)).length <= 1);
  assert.equal((await signIn(worker.browser(), email)).status, 200);
});

test("20 first tokens make one signing key, and all verify with it", async () => {
  const people = await times(4, () => signUp(worker));
  await worker.d1.prepare("delete from signing_key").run();
  const answers = await times(20, (n) => copy(people[n % 4].browser).get(at("/token")));
  assert.deepEqual(tally(answers), { 200: 20 });
  assert.equal(await count("signing_key"), 1);
  const set = (await worker.browser().get(at("/jwks"))).json;
  assert.equal(set.keys.length, 1);
  for (const [n, { json }] of answers.entries()) {
    assert.equal(decodeProtectedHeader(json.token).kid, set.keys[0].kid);
    const { payload } = await jwtVerify(json.token, createLocalJWKSet(set), { issuer: AUTH, audience: AUTH });
    assert.equal(payload.sub, people[n % 4].id, "somebody else's token");
  }
});

test("30 sign-ins at once open 30 sessions, each its own", async () => {
  const { email, id } = await signUp(worker);
  const answers = await times(30, () => signIn(worker.browser(), email));
  assert.deepEqual(tally(answers), { 200: 30 });
  assert.equal(new Set(answers.map(cookieIn)).size, 30);
  assert.equal(new Set(answers.map(({ json }) => json.token)).size, 30);
  assert.deepEqual((await times(30, (n) => isLive(cookieIn(answers[n])))).filter(Boolean).length, 30);
  assert.equal((await living(id)).length, 31);
  const [user] = await worker.rows("select login_count, failed_login_count from user where id = ?", id);
  assert.deepEqual([user.login_count, user.failed_login_count], [31, 0]);
});

test("parallel failures are all counted", async () => {
  const { email, id } = await signUp(worker);
  assert.deepEqual(tally(await times(25, () => signIn(worker.browser(), email, "wrong password"))), { 401: 25 });
  assert.equal(await count("user where id = ? and failed_login_count = 25", id), 1);
  assert.equal(await count("login_history where user_id = ? and failure_reason = 'wrong_password'", id), 25);
});

test("parallel profile changes keep one of them whole", async () => {
  const { browser } = await signUp(worker);
  const answers = await times(30, (n) => copy(browser).post(at("/update-user"), { name: `N${n}`, image: `https://img.example/${n}` }));
  assert.deepEqual(tally(answers), { 200: 30 });
  const { user } = (await browser.get(at("/get-session"))).json;
  assert.equal(user.image, `https://img.example/${user.name.slice(1)}`);
});
