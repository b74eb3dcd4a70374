// One-time tokens: a session carried to another place, as old as it was, and gone with it.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { giveRole, seedDomain, seedTenant } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const PASSWORD = "correct horse battery staple";
const DAY = 86_400_000;
let worker;
before(async () => {
  worker = await startWorker({ settings: { LIMIT_MAIL: "1000/60", SESSION_COOKIE_CACHE_SECONDS: "0", SESSION_RECHECK_SECONDS: "0" } });
});
after(() => worker?.dispose());

const at = (path, host = AUTH) => `${host}/api/auth${path}`;
const generate = (browser) => browser.get(at("/one-time-token/generate"));
const token = async (browser) => (await generate(browser)).json.token;
const verify = (value, { browser = worker.browser(), host = AUTH } = {}) =>
  browser.post(at("/one-time-token/verify", host), { token: value });
const session = async (browser) => (await browser.get(at("/get-session"))).json;
const told = ({ status, json }) => [status, json.code];
const opens = ({ cookies }) => cookies.some((line) => /^doorward\.session=[^;]/.test(line));
const change = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
const INVALID = [400, { message: "Invalid token", code: "INVALID_TOKEN" }];
async function person() {
  const browser = worker.browser();
  const email = uniqueEmail();
  const { user } = (await browser.post(at("/sign-up/email"), { name: "P", email, password: PASSWORD })).json;
  return { browser, email, id: user.id };
}

test("a token opens a session of its own, once", async () => {
  const { browser, id } = await person();
  const given = await generate(browser);
  assert.deepEqual([given.status, Object.keys(given.json), given.headers["cache-control"]], [200, ["token"], "no-store"]);
  const elsewhere = worker.browser();
  const answer = await verify(given.json.token, { browser: elsewhere });
  const opened = await session(elsewhere);
  assert.deepEqual([answer.status, answer.json], [200, { session: opened.session, user: opened.user }]);
  assert.equal(opened.user.id, id);
  assert.notEqual(opened.session.id, (await session(browser)).session.id);
  const secret = elsewhere.cookies("auth.localhost").get("doorward.session").split(".")[0];
  assert.ok(!answer.text.includes(secret) && !given.text.includes(secret));
  const again = await verify(given.json.token);
  assert.deepEqual([again.status, again.json], INVALID);
  assert.ok(await session(browser), "the session that was carried lives on");
});

test("the new session is no fresher than the one it came from, and remembers as it did", async () => {
  const { browser, id } = await person();
  const long = Date.now() - 2 * DAY;
  await change(
    "update session set authenticated_at = ?, is_remembered = 0, amr = '[\"pwd\",\"mfa\"]', login_method = 'acme' where user_id = ?",
    long,
    id,
  );
  const elsewhere = worker.browser();
  const answer = await verify(await token(browser), { browser: elsewhere });
  const rows = await worker.rows(
    "select authenticated_at as at, is_remembered as kept, amr, login_method as method from session where user_id = ?",
    id,
  );
  assert.deepEqual(rows, Array(2).fill({ at: long, kept: 0, amr: '["pwd","mfa"]', method: "acme" }));
  assert.ok(!answer.cookies.find((line) => line.startsWith("doorward.session=")).includes("Max-Age"));
  assert.deepEqual(told(await elsewhere.post(at("/change-email"), { newEmail: uniqueEmail() })), [403, "SESSION_NOT_FRESH"]);
  const carried = worker.browser();
  await verify(await token(elsewhere), { browser: carried });
  assert.deepEqual(
    told(await carried.post(at("/change-email"), { newEmail: uniqueEmail() })),
    [403, "SESSION_NOT_FRESH"],
    "carried twice, and fresh",
  );
});

test("a token dies with its session, however that ends, and in three minutes", async () => {
  const ends = {
    "signed out": ({ browser }) => browser.post(at("/sign-out"), {}),
    revoked: ({ browser }) => browser.post(at("/revoke-sessions"), {}),
    "password changed": ({ browser }) =>
      browser.post(at("/change-password"), { currentPassword: PASSWORD, newPassword: "another password" }),
    deleted: ({ browser }) => browser.post(at("/delete-user"), { password: PASSWORD }),
    expired: ({ id }) => change("update session set expires_at = 1 where user_id = ?", id),
    suspended: ({ id }) => change("update user set status = 'suspended' where id = ?", id),
    "too late": () => change("update verification set expires_at = 1 where kind = 'one_time_token'"),
  };
  for (const [why, end] of Object.entries(ends)) {
    const someone = await person();
    const value = await token(someone.browser);
    await end(someone);
    const answer = await verify(value);
    assert.deepEqual([answer.status, answer.json], INVALID, why);
    assert.equal(opens(answer), false, why);
  }
  const { browser, id } = await person();
  await generate(browser);
  const [{ life }] = await worker.rows(
    "select v.expires_at - v.created_at as life from verification v join session s on s.id = v.identifier where s.user_id = ?",
    id,
  );
  assert.equal(life, 180_000);
});

test("only a session that D1 confirms makes one, and no administrator in somebody else's", async () => {
  assert.deepEqual(told(await generate(worker.browser())), [401, "UNAUTHORIZED"]);
  const { browser, id } = await person();
  const admin = await person();
  await giveRole(worker, admin.id, "admin");
  await change("update session set impersonated_by = ? where user_id = ?", admin.id, id);
  assert.deepEqual(told(await generate(browser)), [403, "FORBIDDEN"]);
  await change("update session set revoked_at = 1, revocation_reason = 'test' where user_id = ?", id);
  assert.deepEqual(told(await generate(browser)), [401, "UNAUTHORIZED"]);
});

test("a token is nothing but a one-time token", async () => {
  const { browser, email } = await person();
  const value = await token(browser);
  const stranger = worker.browser();
  assert.equal(
    (await stranger.verifyAsScript(`${AUTH}/sign-in-link?token=${value}&callbackURL=/x`, AUTH)).location,
    "/x?error=INVALID_TOKEN",
  );
  assert.equal((await stranger.verifyAsScript(`${AUTH}/verify-email?token=${value}`, AUTH)).status, 401);
  assert.equal((await stranger.post(at("/reset-password"), { token: value, newPassword: "another password" })).status, 400);
  await stranger.post(at("/sign-in/magic-link"), { email });
  const [mail] = (await stranger.get(`${AUTH}/dev/mailbox?to=${email}`)).json;
  const link = new URL(mail.text.match(/https?:\S+/)[0]).searchParams.get("token");
  assert.equal((await verify(link)).status, 400);
  assert.equal((await verify(value)).status, 200);
});

test("an isolated tenant does not take another's", async () => {
  const host = "http://isolated.localhost";
  await seedDomain(worker, await seedTenant(worker, { slug: "isolated", pool: "isolated" }), "isolated.localhost");
  await seedDomain(worker, await seedTenant(worker, { slug: "shared" }), "shared.localhost");
  const { browser } = await person();
  const value = await token(browser);
  for (const other of [host, "http://shared.localhost"]) assert.deepEqual((await verify(value, { host: other })).json, INVALID[1], other);
  assert.equal((await verify(value)).status, 200);
});

test("bad input is told as such", async () => {
  for (const body of [{}, { token: 7 }, { token: null }, { token: "x".repeat(201) }])
    assert.deepEqual(
      told(await worker.browser().post(at("/one-time-token/verify"), body)),
      [400, "VALIDATION_ERROR"],
      JSON.stringify(body),
    );
  for (const value of ["", "x", "A".repeat(43), `${"A".repeat(42)}\u0000`, randomUUID()])
    assert.deepEqual([(await verify(value)).status, (await verify(value)).json], INVALID, JSON.stringify(value));
  const json = { headers: { "content-type": "application/json" } };
  for (const [body, code] of [
    ["{bad", "BAD_REQUEST"],
    ["null", "VALIDATION_ERROR"],
  ])
    assert.deepEqual(told(await worker.browser().post(at("/one-time-token/verify"), body, json)), [400, code]);
  const { browser } = await person();
  const value = await token(browser);
  const evil = await worker.browser().post(at("/one-time-token/verify"), { token: value }, { origin: "https://evil.example" });
  assert.deepEqual([told(evil), opens(evil)], [[403, "INVALID_ORIGIN"], false], "somebody is signed in from elsewhere");
  const read = await browser.get(at("/one-time-token/generate"), { headers: { origin: "https://evil.example" } });
  assert.equal(read.headers["access-control-allow-origin"], undefined);
  assert.equal((await worker.browser().get(at(`/one-time-token/verify?token=${value}`))).status, 404);
});

test("neither a dump nor the log holds a token", async () => {
  const { browser } = await person();
  const value = await token(browser);
  await verify(value);
  await verify(value);
  const rows = (
    await Promise.all(["verification", "session", "login_history", "audit_event"].map((table) => worker.rows(`select * from ${table}`)))
  ).flat();
  assert.ok(!JSON.stringify(rows).includes(value) && !worker.logs().includes(value));
});

test("fifty uses of one token at once: one session", async () => {
  const { browser, id } = await person();
  const value = await token(browser);
  const answers = await Promise.all(Array.from({ length: 50 }, () => verify(value)));
  assert.equal(answers.filter(opens).length, 1);
  for (const answer of answers) if (!opens(answer)) assert.deepEqual([answer.status, answer.json], INVALID);
  assert.equal((await worker.rows("select id from session where user_id = ?", id)).length, 2);
});

test("whoever carries a session on while all of them are ended is out afterwards", async () => {
  for (let round = 0; round < 5; round += 1) {
    const { browser, id } = await person();
    const values = [];
    for (let n = 0; n < 12; n += 1) values.push(await token(browser));
    // All are begun before any is done: four others keep the isolate hashing.
    const browsers = Array.from({ length: 4 + values.length }, () => worker.browser());
    await Promise.all(browsers.map((one) => one.get(at("/ok"))));
    const hashing = browsers.splice(0, 4).map((one) => one.post(at("/sign-in/email"), { email: uniqueEmail(), password: PASSWORD }));
    const carried = browsers
      .map((one, n) => [n === 5 && browser.post(at("/revoke-sessions"), {}), verify(values[n], { browser: one })])
      .flat();
    const answers = await Promise.all(carried.filter(Boolean));
    await Promise.all(hashing);
    for (const { status, text } of answers) assert.ok(status === 200 || status === 400, `${status} ${text}`);
    assert.deepEqual(
      await worker.rows("select id from session where user_id = ? and revoked_at is null", id),
      [],
      "a session outlived the end of all",
    );
  }
});
