// Several accounts in one browser: listed, changed between, ended one by one or all at once.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { uniqueEmail } from "../harness/browser.mjs";
import { seedDomain, seedTenant } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const PASSWORD = "correct horse battery staple";
const HOST = "auth.localhost";
const SETTINGS = { MULTI_SESSION: "on", LIMIT_MAIL: "1000/60", SIGN_IN_WITH: "password,magic-link,anonymous" };
let worker;
before(async () => {
  worker = await startWorker({ settings: SETTINGS });
});
after(() => worker?.dispose());

const at = (path, host = AUTH) => `${host}/api/auth${path}`;
const post = (browser, path, body = {}, host = AUTH) => browser.post(at(path, host), body);
const list = (browser, host = AUTH) => browser.get(at("/multi-session/list-device-sessions", host));
const listed = async (browser) => (await list(browser)).json.map(({ user }) => user.email).sort();
const setActive = (browser, sessionToken) => post(browser, "/multi-session/set-active", { sessionToken });
const revoke = (browser, sessionToken) => post(browser, "/multi-session/revoke", { sessionToken });
const session = async (browser) => (await browser.get(at("/get-session?disableCookieCache=true"))).json;
const cached = async (browser) => (await browser.get(at("/get-session"))).json;
const signIn = (browser, email) => post(browser, "/sign-in/email", { email, password: PASSWORD });
const living = async (user) => (await worker.rows("select id from session where user_id = ? and revoked_at is null", user)).length;
const change = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
const told = ({ status, json }) => [status, json.code];
const UNKNOWN = [401, { message: "Invalid session token", code: "INVALID_SESSION_TOKEN" }];
const cleared = ({ cookies }, name) => cookies.some((line) => new RegExp(`^doorward\\.${name}=;.*Max-Age=0`).test(line));
/** The same cookies in another browser. */
function copy(browser) {
  const twin = worker.browser();
  for (const [name, value] of browser.cookies(HOST)) twin.cookies(HOST).set(name, value);
  return twin;
}
async function join(browser) {
  const email = uniqueEmail();
  const { token, user } = (await post(browser, "/sign-up/email", { name: "P", email, password: PASSWORD })).json;
  return { email, id: user.id, handle: token };
}
/** A browser with two accounts, of which the second is active. */
async function two() {
  const browser = worker.browser();
  return { browser, first: await join(browser), second: await join(browser) };
}

test("the accounts of a browser are listed, with handles that open nothing", async () => {
  const { browser, first, second } = await two();
  const answer = await list(browser);
  assert.equal(answer.status, 200);
  assert.deepEqual(
    answer.json.map(({ session: { token }, user }) => [token, user.email]).sort(),
    [first, second].map(({ handle, email }) => [handle, email]).sort(),
  );
  assert.deepEqual(
    answer.json.find(({ user }) => user.id === second.id),
    await session(browser),
  );
  for (const value of [...browser.cookies(HOST).values()])
    for (const secret of value.split(/[.~]/))
      if (secret.length === 43) assert.ok(!answer.text.includes(secret), "a script reads a session's secret");
  const cookie = (await signIn(browser, first.email)).cookies.find((line) => line.startsWith("doorward.others="));
  for (const part of ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=604800"]) assert.ok(cookie.includes(part), part);
  const stranger = await list(worker.browser());
  assert.deepEqual([stranger.status, stranger.json], [200, []]);
});

test("a session that is not remembered is opened by nothing that outlives the browser", async () => {
  const browser = worker.browser();
  const [stays, goes] = [await join(browser), await join(browser)];
  const answer = await post(browser, "/sign-in/email", { email: goes.email, password: PASSWORD, rememberMe: false });
  const { session: unremembered } = await session(browser);
  // The browser is closed: of every cookie that was ever set, those with an end of their own are left.
  const lasting = (line) => line.match(/Max-Age=([1-9]\d*)/);
  const secrets = answer.cookies
    .filter((line) => !lasting(line))
    .map((line) => line.match(/=([\w-]{43})\./)?.[1])
    .filter(Boolean);
  assert.ok(secrets.length > 0);
  for (const line of answer.cookies.filter(lasting)) for (const secret of secrets) assert.ok(!line.includes(secret), line.split("=")[0]);
  const reopened = worker.browser();
  for (const line of answer.cookies.filter(lasting)) {
    const [name, value] = line.split(";")[0].split(/=(.*)/s);
    reopened.cookies(HOST).set(name, value);
  }
  const left = (await list(reopened)).json.map((one) => one.session.token);
  assert.ok(!left.includes(unremembered.token), "it is listed");
  assert.ok(left.length >= 1, "those that are remembered are not");
  assert.deepEqual(told(await setActive(reopened, unremembered.token)), [401, "INVALID_SESSION_TOKEN"]);
  // While the browser is open both are there, also after changing between them.
  assert.deepEqual(await listed(browser), [stays.email, goes.email].sort());
  const changed = await setActive(browser, stays.handle);
  assert.equal(changed.status, 200);
  for (const line of changed.cookies.filter(lasting)) for (const secret of secrets) assert.ok(!line.includes(secret), line.split("=")[0]);
  assert.equal((await setActive(browser, unremembered.token)).status, 200);
  await post(browser, "/sign-out");
  for (const name of ["doorward.others", "doorward.unremembered"]) assert.ok(!browser.cookies(HOST).get(name), name);
});

test("another account becomes active, and every layer says so", async () => {
  const { browser, first, second } = await two();
  assert.equal((await cached(browser)).user.id, second.id);
  const answer = await setActive(browser, first.handle);
  assert.equal(answer.status, 200);
  assert.deepEqual(answer.json, await session(browser));
  assert.deepEqual([answer.json.user.id, (await cached(browser)).user.id], [first.id, first.id]);
  await setActive(browser, second.handle);
  assert.equal((await cached(browser)).user.id, second.id);
  assert.deepEqual(await listed(browser), [first.email, second.email].sort());
  // Without an active session the others are still the browser's.
  for (const name of ["session", "snapshot"]) browser.cookies(HOST).delete(`doorward.${name}`);
  assert.equal((await setActive(browser, first.handle)).json.user.id, first.id);
});

test("a session that is not this browser's, or over, does not become active", async () => {
  const { browser, first, second } = await two();
  const elsewhere = await join(worker.browser());
  for (const handle of [elsewhere.handle, randomUUID(), "", "x", "' or 1=1", second.id]) {
    for (const act of [setActive, revoke]) {
      const answer = await act(browser, handle);
      assert.deepEqual([answer.status, answer.json], UNKNOWN, handle);
    }
  }
  assert.equal(await living(elsewhere.id), 1);
  const ends = [
    "update session set revoked_at = 1, revocation_reason = 'test' where user_id = ?",
    "update session set revoked_at = null, revocation_reason = null, expires_at = 1 where user_id = ?",
  ];
  for (const end of ends) {
    await change(end, first.id);
    assert.deepEqual((await setActive(browser, first.handle)).json, UNKNOWN[1]);
    assert.deepEqual(await listed(browser), [second.email]);
  }
  const third = await join(browser);
  await change("update user set status = 'suspended' where id = ?", second.id);
  assert.deepEqual((await setActive(browser, second.handle)).json, UNKNOWN[1]);
  assert.deepEqual(await listed(browser), [third.email]);
});

test("one account is ended: another takes its place, and the last leaves nobody", async () => {
  const { browser, first, second } = await two();
  const thief = copy(browser);
  const third = await join(browser);
  const other = await revoke(browser, first.handle);
  assert.deepEqual([other.status, other.json], [200, { status: true }]);
  assert.equal((await cached(browser)).user.id, third.id);
  assert.deepEqual([await living(first.id), await listed(browser)], [0, [second.email, third.email].sort()]);
  assert.deepEqual((await setActive(thief, first.handle)).json, UNKNOWN[1]);
  await revoke(browser, third.handle);
  assert.deepEqual([(await cached(browser)).user.id, await living(third.id)], [second.id, 0]);
  const last = await revoke(browser, second.handle);
  assert.deepEqual([cleared(last, "session"), cleared(last, "snapshot"), cleared(last, "others")], [true, true, true]);
  assert.deepEqual([await cached(browser), await living(second.id)], [null, 0]);
  assert.deepEqual(told(await revoke(browser, second.handle)), [401, "UNAUTHORIZED"]);
});

test("signing out signs every account out", async () => {
  for (const page of [false, true]) {
    const { browser, first, second } = await two();
    const thief = copy(browser);
    const out = page ? await browser.submit(`${AUTH}/sign-out`, {}) : await post(browser, "/sign-out");
    assert.deepEqual([cleared(out, "session"), cleared(out, "others")], [true, true], out.text);
    assert.deepEqual([await living(first.id), await living(second.id)], [0, 0]);
    assert.deepEqual([await session(thief), await listed(thief)], [null, []]);
  }
});

test("signing out ends the other accounts although the active one is over already", async () => {
  const { browser, first, second } = await two();
  await change("update session set revoked_at = 1, revocation_reason = 'test' where user_id = ?", second.id);
  assert.equal((await post(browser, "/sign-out")).status, 200);
  assert.equal(await living(first.id), 0);
});

test("one user is one account of a browser, and signed out with all their sessions in it", async () => {
  const { browser, first } = await two();
  const again = await signIn(browser, first.email);
  assert.equal((await listed(browser)).filter((email) => email === first.email).length, 1);
  assert.equal(
    (await list(browser)).json.find(({ user }) => user.id === first.id).session.id,
    again.json.token,
    "the older of two is shown",
  );
  const elsewhere = worker.browser();
  await signIn(elsewhere, first.email);
  await post(browser, "/sign-out");
  assert.equal(await living(first.id), 1, "a session that this browser held outlives its signing out");
  assert.ok(await session(elsewhere));
});

test("what one account does to itself leaves the others alone", async () => {
  const { browser, first, second } = await two();
  assert.equal((await post(browser, "/change-password", { currentPassword: PASSWORD, newPassword: "another password" })).status, 200);
  assert.deepEqual(await listed(browser), [first.email, second.email].sort());
  assert.equal((await post(browser, "/delete-user", { password: "another password" })).status, 200);
  assert.deepEqual(await listed(browser), [first.email]);
  assert.equal((await setActive(browser, first.handle)).json.user.id, first.id);
});

test("the cookie is believed as far as it is signed, and never an error of ours", async () => {
  const { browser, first, second } = await two();
  const others = browser.cookies(HOST).get("doorward.others");
  const [newer, older] = others.split("~");
  const forged = `${older.split(".")[0]}.${newer.split(".")[1]}`;
  for (const [value, emails] of [
    [`${forged}~${newer}`, [second.email]],
    [older, [first.email, second.email]],
    [older.split(".")[0], [second.email]],
    ["~~.~", [second.email]],
    ["", [second.email]],
    [`${older}~`.repeat(60), [first.email, second.email]],
    ["%00", [second.email]],
    ["x".repeat(3000), [second.email]],
  ]) {
    browser.cookies(HOST).set("doorward.others", value);
    assert.deepEqual(await listed(browser), emails.sort(), value.slice(0, 100));
    assert.equal((await setActive(browser, second.handle)).status, 200);
  }
});

test("a browser holds so many accounts, and the newest always works", async () => {
  const browser = worker.browser();
  const people = [];
  for (let n = 0; n < 11; n += 1) people.push(await join(browser));
  const emails = await listed(browser);
  assert.ok(emails.length >= 5 && emails.length <= 10, `${emails.length}`);
  assert.ok(emails.includes(people.at(-1).email));
  assert.ok(browser.cookies(HOST).get("doorward.others").length < 3800, "browsers keep 4096 bytes of a cookie");
});

test("a guest who signs in is absorbed here as well", async () => {
  const { email } = await join(worker.browser());
  const browser = worker.browser();
  const guest = (await post(browser, "/sign-in/anonymous")).json.user;
  await signIn(browser, email);
  for (let n = 0; n < 100 && (await living(guest.id)) > 0; n += 1) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(await listed(browser), [email]);
});

test("accounts come by every way in, and an isolated tenant's are its own", async () => {
  const { browser, first, second } = await two();
  const email = uniqueEmail();
  await post(browser, "/sign-in/magic-link", { email });
  await browser.followMailedLink((await browser.get(`${AUTH}/dev/mailbox?to=${email}`)).json[0].text.match(/https?:\S+/)[0]);
  assert.deepEqual(await listed(browser), [email, first.email, second.email].sort());
  const host = "http://isolated.localhost";
  await seedDomain(worker, await seedTenant(worker, { slug: "isolated", pool: "isolated" }), "isolated.localhost");
  const tossed = worker.browser();
  for (const [name, value] of browser.cookies(HOST)) tossed.cookies("isolated.localhost").set(name, value);
  assert.deepEqual((await list(tossed, host)).json, []);
  assert.deepEqual((await post(tossed, "/multi-session/set-active", { sessionToken: first.handle }, host)).json, UNKNOWN[1]);
});

test("bad input is told as such, and other websites change nothing", async () => {
  const { browser, first } = await two();
  for (const path of ["/multi-session/set-active", "/multi-session/revoke"]) {
    for (const body of [{}, { sessionToken: 7 }, { sessionToken: null }, { sessionToken: "x".repeat(101) }])
      assert.deepEqual(told(await post(browser, path, body)), [400, "VALIDATION_ERROR"], path);
    for (const [body, code] of [
      ["{bad", "BAD_REQUEST"],
      ["null", "VALIDATION_ERROR"],
    ])
      assert.deepEqual(told(await browser.post(at(path), body, { headers: { "content-type": "application/json" } })), [400, code]);
    assert.deepEqual(told(await browser.post(at(path), { sessionToken: first.handle }, { origin: "https://evil.example" })), [
      403,
      "INVALID_ORIGIN",
    ]);
    assert.deepEqual(told(await browser.send("POST", at(path), { body: { sessionToken: first.handle } })), [403, "MISSING_OR_NULL_ORIGIN"]);
  }
  assert.equal(await living(first.id), 1);
  assert.equal(
    (await browser.get(at("/multi-session/list-device-sessions"), { headers: { origin: "https://evil.example" } })).headers[
      "access-control-allow-origin"
    ],
    undefined,
  );
});

test("twenty changes and ends at once: nothing but 200 and 401, and one account is active", async () => {
  const { browser, first, second } = await two();
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, n) =>
      n % 4 ? setActive(copy(browser), n % 2 ? first.handle : second.handle) : revoke(copy(browser), first.handle),
    ),
  );
  for (const { status, text } of answers) assert.ok(status === 200 || status === 401, `${status} ${text}`);
  assert.deepEqual([await living(first.id), await listed(browser)], [0, [second.email]]);
});

test("where one account is enough, none of it is there", async () => {
  const off = await startWorker({ settings: { ...SETTINGS, MULTI_SESSION: "off" } });
  try {
    const browser = off.browser();
    const answer = await post(browser, "/sign-up/email", { name: "P", email: uniqueEmail(), password: PASSWORD });
    assert.ok(!answer.cookies.some((line) => line.startsWith("doorward.others=")));
    for (const gone of [await list(browser), await setActive(browser, answer.json.token), await revoke(browser, answer.json.token)])
      assert.deepEqual([gone.status, gone.text], [404, ""]);
  } finally {
    await off.dispose();
  }
});

test("the ninth account displaces the first, whose session ends: no cookie could sign it out any more", async () => {
  const browser = worker.browser();
  const all = [];
  for (let n = 0; n < 9; n += 1) all.push(await join(browser));
  for (let tries = 0; tries < 100 && (await living(all[0].id)) > 0; tries += 1) await sleep(20);
  assert.deepEqual(await Promise.all(all.map(({ id }) => living(id))), [0, 1, 1, 1, 1, 1, 1, 1, 1]);
  assert.deepEqual(
    await listed(browser),
    all
      .slice(1)
      .map(({ email }) => email)
      .sort(),
  );
});
