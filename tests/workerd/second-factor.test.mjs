// Second factors: set up, asked for after the first, given once, and what does not get past them.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { PAGE, PASSWORD, signUp } from "../harness/seed.mjs";
import { earlyInStep, readUri, stepOf, totp, wrongCode } from "../harness/totp.mjs";
import { AUTH, SETTINGS, SPA, startWorker } from "../harness/worker.mjs";

const at = (path) => `${AUTH}/api/auth${path}`;
const NEW = "another password altogether";
const OPTIONS = { LIMIT_MAIL: "1000/60", SESSION_COOKIE_CACHE_SECONDS: "0", SESSION_RECHECK_SECONDS: "0" };
const CODE = /^[A-Z2-9]{5}-[A-Z2-9]{5}$/;
const LOCKED = "ACCOUNT_TEMPORARILY_LOCKED";
const TOO_MANY = "TOO_MANY_ATTEMPTS_REQUEST_NEW_CODE";
const NOTHING_WAITS = "INVALID_TWO_FACTOR_COOKIE";

let worker;
before(async () => {
  worker = await startWorker({ settings: OPTIONS });
});
after(() => worker?.dispose());

const run = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
const one = async (sql, ...values) => (await worker.rows(sql, ...values))[0];
const count = async (sql, ...values) => (await one(`select count(*) as n from ${sql}`, ...values)).n;
const living = (id) => count("session where user_id = ? and revoked_at is null", id);
const times = (most, act) => Promise.all(Array.from({ length: most }, (_, n) => act(n)));
const tally = (answers) => answers.reduce((sum, { status }) => ({ ...sum, [status]: (sum[status] ?? 0) + 1 }), {});
const session = async (browser) => (await browser.get(at("/get-session"))).json;
const jar = (browser) => browser.cookies("auth.localhost");
const line = (answer, name) => answer.cookies.find((cookie) => cookie.startsWith(`doorward.${name}=`));
const opens = (answer) => /^doorward\.session=./.test(line(answer, "session")?.split(";")[0] ?? "");
const call = (browser, path, body = {}) => browser.post(at(`/two-factor/${path}`), body);
const give = (browser, code, more = {}) => call(browser, "verify-totp", { code, ...more });
const giveBackup = (browser, code, more = {}) => call(browser, "verify-backup-code", { code, ...more });
const giveMailed = (browser, code, more = {}) => call(browser, "verify-otp", { code, ...more });
const signIn = (browser, email, body = {}) => browser.post(at("/sign-in/email"), { email, password: PASSWORD, ...body });
const prove = (id) => run("update user set email_verified = 1 where id = ?", id);
/** Forgets the last step that was used: a test may use more than a minute and a half has. */
const rewind = (id) => run("update two_factor set last_used_step = 0 where user_id = ?", id);
const mails = async (to) => (await worker.browser().get(`${AUTH}/dev/mailbox?to=${encodeURIComponent(to)}`)).json;
const mailedCode = async (to) => (await mails(to)).map(({ subject }) => subject.match(/^(\d{6}) is your code$/)?.[1]).find(Boolean);
const linkIn = (mail) => mail.text.match(/https?:\S+/)[0];

function refused(answer, status, code, why = "") {
  assert.deepEqual([answer.status, answer.json.code], [status, code], `${why}: ${answer.status} ${answer.text}`);
  assert.ok(!opens(answer), `${why}: a session was opened`);
}

/** Somebody whose authenticator app is in use. */
async function guarded() {
  const who = await signUp(worker);
  await prove(who.id);
  const begun = (await call(who.browser, "enable", { password: PASSWORD })).json;
  const { seed } = readUri(begun.totpURI);
  const verified = await give(who.browser, totp(seed));
  assert.equal(verified.status, 200, verified.text);
  await rewind(who.id);
  return { ...who, seed, uri: begun.totpURI, codes: begun.backupCodes };
}

/** Somebody who is mailed codes, and has no app. */
async function mailed() {
  const who = await signUp(worker);
  await prove(who.id);
  assert.equal((await call(who.browser, "enable", { password: PASSWORD, method: "otp" })).status, 200);
  return who;
}

/** A browser whose sign-in waits for its second factor. */
async function waiting({ email }, body = {}, browser = worker.browser()) {
  const answer = await signIn(browser, email, body);
  assert.equal(answer.json.twoFactorRedirect, true, answer.text);
  return browser;
}

test("our authenticator app agrees with RFC 6238", () => {
  const seed = Buffer.from("12345678901234567890");
  const codes = [59, 1111111109, 1111111111, 1234567890, 2000000000, 20000000000].map((seconds) => totp(seed, stepOf(seconds * 1000), 8));
  assert.deepEqual(codes, ["94287082", "07081804", "14050471", "89005924", "69279037", "65353130"]);
});

// Setting up

test("an app is set up with the password, and asked for only once a code has proven it", async () => {
  const { browser, email, id } = await signUp(worker);
  refused(await call(worker.browser(), "enable", { password: PASSWORD }), 401, "UNAUTHORIZED", "signed out");
  refused(await call(browser, "enable"), 400, "INVALID_PASSWORD", "no password");
  refused(await call(browser, "enable", { password: "wrong" }), 400, "INVALID_PASSWORD", "wrong password");
  refused(await call(browser, "enable", { password: PASSWORD, method: "sms" }), 400, "VALIDATION_ERROR", "no such method");
  assert.equal(await count("two_factor where user_id = ?", id), 0);

  const first = await call(browser, "enable", { password: PASSWORD });
  assert.equal(first.status, 200, first.text);
  assert.deepEqual(Object.keys(first.json).sort(), ["backupCodes", "method", "totpURI"]);
  assert.equal(first.json.method, "totp");
  assert.equal(new Set(first.json.backupCodes).size, 10);
  for (const code of first.json.backupCodes) assert.match(code, CODE);
  assert.equal(line(first, "session"), undefined, "the session changes only when the factor is in use");
  assert.equal((await session(browser)).user.twoFactorEnabled, false);
  assert.equal((await signIn(worker.browser(), email)).json.twoFactorRedirect, undefined, "pending, and asked for already");

  const second = await call(browser, "enable", { password: PASSWORD });
  const [old, { seed }] = [readUri(first.json.totpURI).seed, readUri(second.json.totpURI)];
  assert.notDeepEqual(old, seed);
  refused(await give(browser, totp(old)), 401, "INVALID_CODE", "the seed that was replaced");
  refused(await give(browser, wrongCode(seed)), 401, "INVALID_CODE", "a wrong code");
  refused(await giveBackup(browser, second.json.backupCodes[0]), 400, "TWO_FACTOR_NOT_ENABLED", "a backup code proves no app");

  const former = jar(browser).get("doorward.session");
  const verified = await give(browser, totp(seed));
  assert.equal(verified.status, 200, verified.text);
  assert.deepEqual(Object.keys(verified.json).sort(), ["token", "user"]);
  assert.notEqual(jar(browser).get("doorward.session"), former);
  assert.equal(
    (await worker.browser().get(at("/get-session"), { headers: { cookie: `doorward.session=${former}` } })).json,
    null,
    "the session of before lives",
  );
  assert.equal((await session(browser)).user.twoFactorEnabled, true);
  refused(await call(browser, "enable", { password: PASSWORD }), 400, "TOTP_ALREADY_ENABLED");
  assert.equal((await mails(email))[0].subject, "Two-step sign-in is on");
  assert.equal(await count("audit_event where user_id = ? and event = 'second_factor.enabled'", id), 1);
  assert.equal((await signIn(worker.browser(), email)).json.twoFactorRedirect, true);
});

test("the URI is what apps read, and is shown again only for the password", async () => {
  const { browser, email, uri, seed } = await guarded();
  const { scheme, type, issuer, account, query } = readUri(uri);
  const [{ name }] = await worker.rows("select name from tenant where slug = 'default'");
  assert.deepEqual(
    [scheme, type, issuer, account, query.issuer, query.digits, query.period],
    ["otpauth:", "totp", name, email, name, "6", "30"],
  );
  assert.equal(seed.length, 20);
  refused(await call(browser, "get-totp-uri", { password: "wrong" }), 400, "INVALID_PASSWORD");
  refused(await call(browser, "get-totp-uri"), 400, "INVALID_PASSWORD");
  assert.equal((await call(browser, "get-totp-uri", { password: PASSWORD })).json.totpURI, uri);
  const other = await signUp(worker);
  refused(await call(other.browser, "get-totp-uri", { password: PASSWORD }), 400, "TOTP_NOT_ENABLED");
  const named = readUri((await call(other.browser, "enable", { password: PASSWORD, issuer: "My: App & Söhne" })).json.totpURI);
  assert.deepEqual([named.issuer, named.query.issuer, named.account], ["My  App & Söhne", "My  App & Söhne", other.email]);
});

test("the code that proved the app signs nobody in", async () => {
  await earlyInStep();
  const { browser, email } = await signUp(worker);
  const { seed } = readUri((await call(browser, "enable", { password: PASSWORD })).json.totpURI);
  const code = totp(seed);
  assert.equal((await give(browser, code)).status, 200);
  refused(await give(await waiting({ email }), code), 401, "INVALID_CODE");
});

test("mailed codes alone need a proven address", async () => {
  const who = await signUp(worker);
  const unproven = await call(who.browser, "enable", { password: PASSWORD, method: "otp" });
  refused(unproven, 403, "EMAIL_NOT_VERIFIED");
  await prove(who.id);
  refused(await call(who.browser, "enable", { password: "wrong", method: "otp" }), 400, "INVALID_PASSWORD");
  const former = jar(who.browser).get("doorward.session");
  const enabled = await call(who.browser, "enable", { password: PASSWORD, method: "otp" });
  assert.deepEqual([enabled.status, enabled.json], [200, { method: "otp" }]);
  assert.notEqual(jar(who.browser).get("doorward.session"), former);
  refused(await call(who.browser, "generate-backup-codes", { password: PASSWORD }), 400, "TWO_FACTOR_NOT_ENABLED");
  refused(await call(who.browser, "get-totp-uri", { password: PASSWORD }), 400, "TOTP_NOT_ENABLED");

  const browser = worker.browser();
  const asked = await signIn(browser, who.email);
  assert.deepEqual(asked.json, { twoFactorRedirect: true, twoFactorMethods: ["otp"] });
  refused(await give(browser, "123456"), 400, "TOTP_NOT_ENABLED");
  refused(await giveBackup(browser, "ABCDE-FGHJK"), 400, "BACKUP_CODES_NOT_ENABLED");
  refused(await giveMailed(browser, "123456"), 400, "OTP_HAS_EXPIRED", "none was sent");
  assert.deepEqual((await call(browser, "send-otp")).json, { status: true });
  assert.equal((await giveMailed(browser, await mailedCode(who.email))).status, 200);
  assert.equal((await session(browser)).user.email, who.email);
});

test("an app replaces mailed codes once it is proven, and not before", async () => {
  const { browser, email } = await mailed();
  const { seed } = readUri((await call(browser, "enable", { password: PASSWORD })).json.totpURI);
  assert.deepEqual((await signIn(worker.browser(), email)).json.twoFactorMethods, ["otp"]);
  refused(await give(browser, wrongCode(seed)), 401, "INVALID_CODE", "a wrong code of the pending app");
  assert.equal((await give(browser, totp(seed))).status, 200);
  assert.deepEqual((await signIn(worker.browser(), email)).json.twoFactorMethods, ["totp", "otp"]);
});

test("switching off takes the password, and takes all of it away", async () => {
  const who = await guarded();
  const trusting = await waiting(who);
  assert.equal((await give(trusting, totp(who.seed), { trustDevice: true })).status, 200);
  const pending = await waiting(who);
  refused(await call(who.browser, "disable", { password: "wrong" }), 400, "INVALID_PASSWORD");
  refused(await call(who.browser, "disable"), 400, "INVALID_PASSWORD");
  const former = jar(who.browser).get("doorward.session");
  const off = await call(who.browser, "disable", { password: PASSWORD });
  assert.deepEqual([off.status, off.json], [200, { status: true }]);
  assert.notEqual(jar(who.browser).get("doorward.session"), former);
  assert.equal((await session(who.browser)).user.twoFactorEnabled, false);
  assert.equal(await count("two_factor where user_id = ?", who.id), 0);
  assert.equal(await count("trusted_device where user_id = ? and revoked_at is null", who.id), 0);
  assert.equal((await mails(who.email))[0].subject, "Two-step sign-in is off");
  refused(await give(pending, totp(who.seed)), 400, "TOTP_NOT_ENABLED", "a sign-in that waited");
  assert.ok(opens(await signIn(worker.browser(), who.email)));
  assert.equal((await call(who.browser, "disable", { password: PASSWORD })).status, 200, "off is off");
});

// Asked

test("a password alone opens nothing any more", async () => {
  const who = await guarded();
  const before = await living(who.id);
  const history = await count("login_history where user_id = ? and status = 'success'", who.id);
  const { browser } = await signUp(worker);
  assert.ok(jar(browser).has("doorward.session"));
  const answer = await signIn(browser, who.email, { callbackURL: `${SPA}/home` });
  assert.deepEqual([answer.status, answer.json], [200, { twoFactorRedirect: true, twoFactorMethods: ["totp", "otp"] }]);
  assert.ok(!opens(answer));
  for (const name of ["session", "snapshot"]) assert.match(line(answer, name), /=; .*Max-Age=0/, `${name} of whoever was signed in before`);
  assert.match(line(answer, "second_factor"), /^doorward\.second_factor=[\w-]{43}; Path=\/; HttpOnly; SameSite=Lax; Max-Age=600$/);
  assert.equal(await session(browser), null);
  assert.equal(await living(who.id), before);
  assert.equal(await count("login_history where user_id = ? and status = 'success'", who.id), history);
  for (const path of ["/list-sessions", "/token", "/list-accounts"]) assert.equal((await browser.get(at(path))).status, 401, path);
  assert.equal((await browser.get(`${AUTH}/account`, { headers: PAGE })).status, 302);
  // Nor does the waiting cookie pass for a session's, or anywhere else.
  const stolen = jar(browser).get("doorward.second_factor");
  for (const name of ["session", "snapshot", "trusted_device", "others"]) {
    const answer = await worker.browser().get(at("/get-session"), { headers: { cookie: `doorward.${name}=${stolen}` } });
    assert.equal(answer.json, null, name);
  }
  const verified = await give(browser, totp(who.seed));
  assert.equal(verified.status, 200, verified.text);
  assert.deepEqual(Object.keys(verified.json).sort(), ["token", "user"]);
  assert.match(line(verified, "second_factor"), /=; .*Max-Age=0/);
  assert.equal((await session(browser)).user.id, who.id);
  const row = await one("select login_method, amr from session where user_id = ? order by created_at desc, id desc limit 1", who.id);
  assert.deepEqual([row.login_method, JSON.parse(row.amr)], ["password", ["pwd", "otp", "mfa"]]);
  refused(await give(browser, totp(who.seed, stepOf() + 1)), 200, undefined, "signed in, and proven once more");
});

test("whether to be remembered is remembered until the second factor", async () => {
  const who = await guarded();
  const short = await give(await waiting(who, { rememberMe: false }), totp(who.seed));
  assert.doesNotMatch(line(short, "session"), /Max-Age/);
  await rewind(who.id);
  assert.match(line(await give(await waiting(who), totp(who.seed)), "session"), /Max-Age=604800/);
});

test("it is asked for after a user name, a mailed link and a mailed code, too", async () => {
  const who = await guarded();
  assert.equal((await who.browser.post(at("/update-user"), { username: `name_${who.id.slice(-12).replace("-", "")}` })).status, 200);
  const username = `name_${who.id.slice(-12).replace("-", "")}`;
  const before = await living(who.id);
  const ways = {
    username: (browser) => browser.post(at("/sign-in/username"), { username, password: PASSWORD }),
    "magic-link": async (browser) => {
      await browser.post(at("/sign-in/magic-link"), { email: who.email });
      const url = new URL(linkIn((await mails(who.email))[0]));
      url.searchParams.delete("callbackURL");
      return browser.verifyAsScript(url.href, SPA);
    },
    "email-otp": async (browser) => {
      await browser.post(at("/email-otp/send-verification-otp"), { email: who.email, type: "sign-in" });
      return browser.post(at("/sign-in/email-otp"), { email: who.email, otp: await mailedCode(who.email) });
    },
  };
  for (const [way, enter] of Object.entries(ways)) {
    const browser = worker.browser();
    const answer = await enter(browser);
    assert.deepEqual([answer.status, answer.json.twoFactorRedirect, opens(answer)], [200, true, false], `${way}: ${answer.text}`);
    assert.equal(await living(who.id), before, way);
    await rewind(who.id);
    assert.equal((await give(browser, totp(who.seed))).status, 200, way);
    const row = await one("select id, login_method, amr from session where user_id = ? order by created_at desc, id desc limit 1", who.id);
    assert.equal(row.login_method, way === "username" ? "password" : way);
    assert.ok(JSON.parse(row.amr).includes("mfa"), way);
    await run("update session set revoked_at = 1, revocation_reason = 'test' where id = ?", row.id);
  }
});

test("a mailed link leads to our page of second factors, and from there to where it was asked to; it works once", async () => {
  const who = await guarded();
  const browser = worker.browser();
  await browser.post(at("/sign-in/magic-link"), { email: who.email, callbackURL: `${SPA}/in` });
  const link = linkIn((await mails(who.email))[0]);
  const followed = await browser.followMailedLink(link);
  const page = new URL(followed.location, AUTH);
  assert.deepEqual(
    [followed.status, page.pathname, page.searchParams.get("continue"), opens(followed)],
    [303, "/second-factor", `${SPA}/in`, false],
  );
  const again = await worker.browser().followMailedLink(link);
  assert.match(again.location, /error=INVALID_TOKEN/);
  assert.equal(line(again, "second_factor"), undefined);
  const given = await browser.submit(`${AUTH}/second-factor`, { code: totp(who.seed), continue: `${SPA}/in` });
  assert.deepEqual([given.status, given.location, opens(given)], [303, `${SPA}/in`, true]);
});

/** What can be done with somebody's mailbox alone, up to the second factor. */
const MAILBOX = {
  "a mailed link": async (browser, { email }) => {
    await browser.post(at("/sign-in/magic-link"), { email });
    const url = new URL(linkIn((await mails(email))[0]));
    url.searchParams.delete("callbackURL");
    return browser.verifyAsScript(url.href, SPA);
  },
  "a mailed code": async (browser, { email }) => {
    await browser.post(at("/email-otp/send-verification-otp"), { email, type: "sign-in" });
    return browser.post(at("/sign-in/email-otp"), { email, otp: await mailedCode(email) });
  },
  "a password set by mail": async (browser, { email }) => {
    await browser.post(at("/request-password-reset"), { email });
    const [, token] = linkIn((await mails(email))[0]).match(/reset-password\/([\w-]+)/);
    await browser.post(at("/reset-password"), { token, newPassword: NEW });
    return signIn(browser, email, { password: NEW });
  },
};

for (const [way, enter] of Object.entries(MAILBOX)) {
  test(`the mailbox is no second factor after ${way}, for whoever has an app`, async () => {
    const who = await guarded();
    const thief = worker.browser();
    const asked = await enter(thief, who);
    assert.equal(asked.json.twoFactorRedirect, true, asked.text);
    const before = await mailedCode(who.email);
    await call(thief, "send-otp");
    const code = await mailedCode(who.email);
    if (code && code !== before) await giveMailed(thief, code);
    assert.equal(await session(thief), null, "whoever reads the mail, and has nothing else, is in");
    assert.deepEqual(asked.json.twoFactorMethods, ["totp"]);
  });
}

test("a password set by mail stays one, whatever its owner gives elsewhere", async () => {
  const who = await guarded();
  const thief = worker.browser();
  await MAILBOX["a password set by mail"](thief, who);
  // The owner comes by mail and app, and knows nothing of the password.
  const owner = worker.browser();
  assert.equal((await MAILBOX["a mailed link"](owner, who)).json.twoFactorRedirect, true);
  assert.equal((await give(owner, totp(who.seed))).status, 200);
  const again = worker.browser();
  assert.deepEqual((await signIn(again, who.email, { password: NEW })).json.twoFactorMethods, ["totp"]);
  const before = await mailedCode(who.email);
  await call(again, "send-otp");
  const code = await mailedCode(who.email);
  if (code && code !== before) await giveMailed(again, code);
  assert.equal(await session(again), null, "the thief of the mailbox waited until the owner came");
});

test("a client is told how somebody signed in last, whichever factors it took", async () => {
  const who = await guarded();
  const last = (browser) => jar(browser).get("better-auth.last_used_login_method");
  const browser = await waiting(who);
  await give(browser, totp(who.seed));
  assert.equal(last(browser), "email");
  const username = `last_${who.id.slice(-12).replace("-", "")}`;
  await who.browser.post(at("/update-user"), { username });
  const named = worker.browser();
  await named.post(at("/sign-in/username"), { username, password: PASSWORD });
  await rewind(who.id);
  await give(named, totp(who.seed));
  assert.ok(await session(named));
  assert.equal(last(named), undefined, "by user name, of which the protocol tells nothing");
  const linked = worker.browser();
  await linked.post(at("/sign-in/magic-link"), { email: who.email });
  await linked.followMailedLink(linkIn((await mails(who.email))[0]));
  await rewind(who.id);
  await give(linked, totp(who.seed));
  assert.ok(await session(linked));
  assert.equal(last(linked), "magic-link");
});

// Codes of an app

test("a code is good in its step and one either side, once, and none before it afterwards", async () => {
  const who = await guarded();
  const step = await earlyInStep();
  for (const drift of [-3, -2, 2, 3])
    refused(await give(await waiting(who), totp(who.seed, step + drift)), 401, "INVALID_CODE", `${drift}`);
  const used = [];
  for (const drift of [-1, 0, 1]) {
    const code = totp(who.seed, step + drift);
    assert.equal((await give(await waiting(who), `${code.slice(0, 3)} ${code.slice(3)}`)).status, 200, `${drift}`);
    used.push(code);
    for (const old of used) refused(await give(await waiting(who), old), 401, "INVALID_CODE", `${drift}: used, or older than one that was`);
    await run("update two_factor set failed_attempts = 0 where user_id = ?", who.id);
  }
  refused(await give(who.browser, used[2]), 401, "INVALID_CODE", "nor does it prove anything to somebody signed in");
});

test("one sign-in takes five codes, of whichever kind", async () => {
  const who = await guarded();
  const browser = await waiting(who);
  const wrong = wrongCode(who.seed);
  for (const n of [1, 2, 3]) refused(await give(browser, wrong), 401, "INVALID_CODE", `${n}`);
  for (const n of [4, 5]) refused(await giveBackup(browser, "AAAAA-AAAAA"), 401, "INVALID_BACKUP_CODE", `${n}`);
  refused(await give(browser, totp(who.seed)), 400, TOO_MANY);
  for (const answer of [await give(browser, totp(who.seed)), await giveBackup(browser, who.codes[0])]) {
    assert.ok([TOO_MANY, NOTHING_WAITS].includes(answer.json.code) && !opens(answer), `over is over: ${answer.text}`);
  }
  assert.equal(
    await count("json_each((select backup_codes from two_factor where user_id = ?))", who.id),
    10,
    "a backup code was used up in vain",
  );
  assert.equal((await give(await waiting(who), totp(who.seed))).status, 200, "another sign-in has five of its own");
  const four = await waiting(who);
  await rewind(who.id);
  for (let n = 0; n < 4; n++) refused(await give(four, wrong), 401, "INVALID_CODE");
  assert.equal((await give(four, totp(who.seed))).status, 200, "the fifth may be right");
});

test("ten failures lock the second factor for a quarter of an hour, for right codes as well", async () => {
  const who = await guarded();
  const wrong = wrongCode(who.seed);
  for (let n = 0; n < 2; n++) {
    const browser = await waiting(who);
    for (let m = 0; m < 5; m++) refused(await give(browser, wrong), 401, "INVALID_CODE");
  }
  const { last_failed_at: last } = await one("select last_failed_at from two_factor where user_id = ?", who.id);
  const browser = await waiting(who);
  refused(await give(browser, totp(who.seed)), 429, LOCKED);
  refused(await giveBackup(browser, who.codes[0]), 429, LOCKED);
  await call(browser, "send-otp");
  refused(await giveMailed(browser, await mailedCode(who.email)), 429, LOCKED);
  refused(await give(who.browser, totp(who.seed)), 429, LOCKED, "signed in");
  assert.equal(await count("json_each((select backup_codes from two_factor where user_id = ?))", who.id), 10, "a backup code was used up");
  assert.equal(
    (await one("select last_failed_at as at from two_factor where user_id = ?", who.id)).at,
    last,
    "what is refused while it is locked makes it longer",
  );
  await run("update two_factor set last_failed_at = ? where user_id = ?", last - 890_000, who.id);
  refused(await give(await waiting(who), totp(who.seed)), 429, LOCKED, "ten seconds early");
  await run("update two_factor set last_failed_at = ? where user_id = ?", last - 900_001, who.id);
  const late = await waiting(who);
  refused(await give(late, wrong), 401, "INVALID_CODE", "one more failure does not lock it again");
  assert.equal((await give(late, totp(who.seed))).status, 200);
  assert.equal((await one("select failed_attempts from two_factor where user_id = ?", who.id)).failed_attempts, 0);
});

test("guesses made at once are ten, too", async () => {
  const who = await guarded();
  const browsers = (await times(12, () => waiting(who))).flatMap((browser) => copies(5, browser));
  const wrong = wrongCode(who.seed);
  const answers = await piledUp(browsers, (browser) => give(browser, wrong));
  assert.ok(
    answers.every(({ status }) => status === 401 || status === 429),
    JSON.stringify(tally(answers)),
  );
  const tried = answers.filter(({ json }) => json.code === "INVALID_CODE").length;
  assert.ok(tried <= 10, `${tried} guesses were compared`);
  refused(await give(await waiting(who), totp(who.seed)), 429, LOCKED);
  assert.equal(
    (await mails(who.email)).filter(({ subject }) => subject === "Wrong codes at your second step").length,
    1,
    "their owner is told, once",
  );
});

test("wrong codes of somebody signed in are counted as well", async () => {
  const who = await guarded();
  const wrong = wrongCode(who.seed);
  for (let n = 0; n < 10; n++) refused(await give(who.browser, wrong), 401, "INVALID_CODE");
  refused(await give(who.browser, totp(who.seed)), 429, LOCKED);
});

test("a session that is over locks nobody out", async () => {
  const who = await guarded();
  const cookie = `doorward.session=${jar(who.browser).get("doorward.session")}`;
  assert.equal((await who.browser.post(at("/sign-out"), {})).status, 200);
  for (let n = 0; n < 12; n++) {
    const path = ["verify-totp", "verify-otp", "verify-backup-code"][n % 3];
    refused(await worker.browser().post(at(`/two-factor/${path}`), { code: "123456" }, { headers: { cookie } }), 401, "UNAUTHORIZED", path);
  }
  assert.equal((await give(await waiting(who), totp(who.seed))).status, 200, "the lock is in anybody's hands who once had a session");
});

test("a pending app is not to be guessed at by whoever has the session alone", async () => {
  const { browser, id } = await signUp(worker);
  const { seed } = readUri((await call(browser, "enable", { password: PASSWORD })).json.totpURI);
  const answers = [];
  for (let n = 0; n < 30; n++) answers.push(await give(browser, wrongCode(seed)));
  assert.notEqual(answers.at(-1).json.code, "INVALID_CODE", "thirty guesses, and no end");
  assert.equal(await count("two_factor where user_id = ? and verified_at is not null", id), 0);
});

test("a right code never given to a password is worth nothing: neither cookie, nor another's, nor an old one", async () => {
  const [who, other] = [await guarded(), await guarded()];
  const code = totp(who.seed);
  const bare = worker.browser();
  refused(await give(bare, code), 401, NOTHING_WAITS, "no cookie");
  refused(await giveBackup(bare, who.codes[0]), 401, NOTHING_WAITS);
  refused(await giveMailed(bare, "123456"), 401, NOTHING_WAITS);
  refused(await call(bare, "send-otp"), 401, NOTHING_WAITS);
  for (const value of ["x", "A".repeat(43), "A".repeat(4000), "%00"]) {
    jar(bare).set("doorward.second_factor", value);
    refused(await give(bare, code), 401, NOTHING_WAITS, value.slice(0, 50));
  }
  refused(await give(await waiting(other), code), 401, "INVALID_CODE", "another's code");
  refused(await giveBackup(await waiting(other), who.codes[0]), 401, "INVALID_BACKUP_CODE", "another's backup code");
  const late = await waiting(who);
  await run("update verification set expires_at = 1 where kind = 'second_factor' and user_id = ?", who.id);
  refused(await give(late, code), 401, NOTHING_WAITS, "too late");
  const used = await waiting(who);
  const cookie = jar(used).get("doorward.second_factor");
  assert.equal((await give(used, code)).status, 200);
  jar(bare).set("doorward.second_factor", cookie);
  refused(await give(bare, totp(who.seed, stepOf() + 1)), 401, NOTHING_WAITS, "used");
});

test("a sign-in waits in vain once the password it was begun with is no more, or its user is not active", async () => {
  const changed = await guarded();
  const waits = await waiting(changed);
  assert.equal((await changed.browser.post(at("/change-password"), { currentPassword: PASSWORD, newPassword: NEW })).status, 200);
  const before = await living(changed.id);
  const answer = await give(waits, totp(changed.seed));
  assert.ok(answer.status === 401 && !opens(answer), answer.text);
  assert.equal(await living(changed.id), before);

  const reset = await guarded();
  const open = [await waiting(reset), await waiting(reset), await waiting(reset)];
  await worker.browser().post(at("/request-password-reset"), { email: reset.email });
  const [, token] = linkIn((await mails(reset.email))[0]).match(/reset-password\/([\w-]+)/);
  assert.equal((await worker.browser().post(at("/reset-password"), { token, newPassword: NEW })).status, 200);
  await call(open[1], "send-otp");
  const code = await mailedCode(reset.email);
  for (const answer of [
    await give(open[0], totp(reset.seed)),
    await giveMailed(open[1], code ?? "000000"),
    await giveBackup(open[2], reset.codes[0]),
  ]) {
    assert.ok(answer.status >= 400 && answer.status < 500 && !opens(answer), answer.text);
  }
  assert.equal(await living(reset.id), 0);

  const suspended = await guarded();
  const wants = await waiting(suspended);
  await run("update user set status = 'suspended' where id = ?", suspended.id);
  refused(await give(wants, totp(suspended.seed)), 403, "BANNED_USER");
});

test("a password reset does not get past the second factor, nor take it away", async () => {
  const who = await guarded();
  await worker.browser().post(at("/request-password-reset"), { email: who.email });
  const [, token] = linkIn((await mails(who.email))[0]).match(/reset-password\/([\w-]+)/);
  await worker.browser().post(at("/reset-password"), { token, newPassword: NEW });
  const answer = await signIn(worker.browser(), who.email, { password: NEW });
  assert.equal(answer.json.twoFactorRedirect, true, answer.text);
});

// Backup codes

test("each backup code works once, however it is typed", async () => {
  const who = await guarded();
  const [plain, lower, bare, spaced, spent, last] = who.codes;
  for (const typed of [plain, lower.toLowerCase(), bare.replace("-", ""), ` ${spaced.replace("-", " ")} `]) {
    const browser = await waiting(who);
    const answer = await giveBackup(browser, typed);
    assert.deepEqual([answer.status, opens(answer)], [200, true], `${typed}: ${answer.text}`);
    refused(await giveBackup(await waiting(who), typed), 401, "INVALID_BACKUP_CODE", typed);
  }
  assert.equal(await count("json_each((select backup_codes from two_factor where user_id = ?))", who.id), 6);
  for (const typed of ["", "-", "AAAAA-AAAAA", who.codes.join("").slice(0, 40), "[]", "null"]) {
    refused(await giveBackup(await waiting(who), typed), 401, "INVALID_BACKUP_CODE", typed);
    await run("update two_factor set failed_attempts = 0 where user_id = ?", who.id);
  }
  assert.equal((await giveBackup(who.browser, spent)).status, 200, "signed in");
  refused(await giveBackup(await waiting(who), spent), 401, "INVALID_BACKUP_CODE", "spent while signed in");
  assert.equal((await giveBackup(await waiting(who), last)).status, 200);
});

test("new backup codes take the place of the old ones, for the password", async () => {
  const who = await guarded();
  refused(await call(who.browser, "generate-backup-codes", { password: "wrong" }), 400, "INVALID_PASSWORD");
  refused(await call(who.browser, "generate-backup-codes"), 400, "INVALID_PASSWORD");
  const { json } = await call(who.browser, "generate-backup-codes", { password: PASSWORD });
  assert.deepEqual([json.status, json.backupCodes.length, new Set([...json.backupCodes, ...who.codes]).size], [true, 10, 20]);
  refused(await giveBackup(await waiting(who), who.codes[0]), 401, "INVALID_BACKUP_CODE", "of the old set");
  assert.equal((await giveBackup(await waiting(who), json.backupCodes[0])).status, 200);
  refused(await call((await signUp(worker)).browser, "generate-backup-codes", { password: PASSWORD }), 400, "TWO_FACTOR_NOT_ENABLED");
});

test("a backup code without a session is used up all the same", async () => {
  const who = await guarded();
  const browser = await waiting(who);
  const answer = await giveBackup(browser, who.codes[0], { disableSession: true, trustDevice: true });
  assert.deepEqual([answer.status, Object.keys(answer.json), answer.json.user.id], [200, ["user"], who.id]);
  assert.ok(!opens(answer) && !line(answer, "trusted_device"));
  refused(await giveBackup(browser, who.codes[1]), 401, NOTHING_WAITS, "the sign-in is over");
  refused(await giveBackup(await waiting(who), who.codes[0], { disableSession: true }), 401, "INVALID_BACKUP_CODE");
  refused(await giveBackup(await waiting(who), who.codes[0]), 401, "INVALID_BACKUP_CODE");
});

// Mailed codes

test("a mailed code is good for the sign-in it was sent for, once, in time, until a newer one", async () => {
  const who = await guarded();
  const [browser, other] = [await waiting(who), await waiting(who)];
  assert.deepEqual((await call(browser, "send-otp")).json, { status: true });
  const first = await mailedCode(who.email);
  await call(browser, "send-otp");
  const second = await mailedCode(who.email);
  if (first !== second) refused(await giveMailed(browser, first), 401, "INVALID_CODE", "replaced by a newer one");
  refused(await giveMailed(other, second), 400, "OTP_HAS_EXPIRED", "sent for another sign-in");
  assert.equal((await giveMailed(browser, ` ${second} `)).status, 200);

  const late = await waiting(who);
  await call(late, "send-otp");
  await run("update verification set expires_at = 1 where kind = 'code_second_factor'");
  refused(await giveMailed(late, await mailedCode(who.email)), 400, "OTP_HAS_EXPIRED");

  const guessing = await waiting(who);
  await call(guessing, "send-otp");
  const right = await mailedCode(who.email);
  const wrong = right === "000000" ? "000001" : "000000";
  for (let n = 0; n < 3; n++) refused(await giveMailed(guessing, wrong), 401, "INVALID_CODE");
  refused(await giveMailed(guessing, right), 400, TOO_MANY, "tried three times");
  refused(await give(guessing, right), 401, "INVALID_CODE", "and no code of the app's");

  // A code for signing in by mail, or for the address, is no second factor.
  const mixed = await waiting(who);
  await call(mixed, "send-otp");
  const secondFactor = await mailedCode(who.email);
  await worker.browser().post(at("/email-otp/send-verification-otp"), { email: who.email, type: "sign-in" });
  const forSignIn = await mailedCode(who.email);
  if (forSignIn !== secondFactor) {
    refused(await giveMailed(mixed, forSignIn), 401, "INVALID_CODE");
    refused(await worker.browser().post(at("/sign-in/email-otp"), { email: who.email, otp: secondFactor }), 400, "INVALID_OTP");
  }
});

test("an address that nobody proved is sent no codes in the place of an app's", async () => {
  const who = await guarded();
  await run("update user set email_verified = 0 where id = ?", who.id);
  const browser = worker.browser();
  assert.deepEqual((await signIn(browser, who.email)).json.twoFactorMethods, ["totp"], "codes would go where nobody may read them");
  await call(browser, "send-otp");
  assert.equal(await mailedCode(who.email), undefined);
});

test("codes are mailed within the limits of an account, however many sign-ins wait", async () => {
  const limited = await startWorker({ settings: { ...OPTIONS, LIMIT_MAIL: "2/60" } });
  try {
    const { browser, email, id } = await signUp(limited);
    await limited.d1.prepare("update user set email_verified = 1 where id = ?").bind(id).run();
    assert.equal((await call(browser, "enable", { password: PASSWORD, method: "otp" })).status, 200);
    const same = limited.browser();
    await signIn(same, email);
    const statuses = [];
    for (let n = 0; n < 3; n++) statuses.push((await call(same, "send-otp")).status);
    assert.deepEqual(statuses, [200, 200, 429]);
    const others = [];
    for (let n = 0; n < 4; n++) {
      const next = limited.browser();
      await signIn(next, email);
      others.push((await call(next, "send-otp")).status);
    }
    assert.ok(others.includes(429), `whoever knows the password fills the mailbox: ${others}`);
  } finally {
    await limited.dispose();
  }
});

test("neither a session nor a sign-in that is over uses up its user's limits", async () => {
  const limited = await startWorker({ settings: { ...OPTIONS, LIMIT_MAIL: "2/60", LIMIT_CHANGE_PASSWORD: "2/60" } });
  try {
    const spent = {};
    for (const over of ["session", "sign-in"]) {
      const { browser, email, id } = await signUp(limited);
      await limited.d1.prepare("update user set email_verified = 1 where id = ?").bind(id).run();
      assert.equal((await call(browser, "enable", { password: PASSWORD, method: "otp" })).status, 200);
      const waits = limited.browser();
      await signIn(waits, email);
      const name = over === "session" ? "session" : "second_factor";
      const cookie = `doorward.${name}=${jar(over === "session" ? browser : waits).get(`doorward.${name}`)}`;
      if (over === "session") await browser.post(at("/sign-out"), {});
      else await limited.d1.prepare("update verification set used_at = 1 where user_id = ?").bind(id).run();
      for (let n = 0; n < 3; n++) {
        for (const path of ["send-otp", "disable"]) {
          const answer = await limited.browser().post(at(`/two-factor/${path}`), { password: "wrong" }, { headers: { cookie } });
          assert.ok(answer.status === 401 || answer.status === 429, answer.text);
        }
      }
      const owner = limited.browser();
      await signIn(owner, email);
      const sent = await call(owner, "send-otp");
      const [code] = (await limited.browser().get(`${AUTH}/dev/mailbox?to=${email}`)).json
        .map(({ subject }) => subject.match(/^(\d{6}) is/)?.[1])
        .filter(Boolean);
      if (code) await giveMailed(owner, code);
      const off = code && (await call(owner, "disable", { password: PASSWORD })).status;
      spent[over] = [sent.status, off];
    }
    assert.deepEqual(spent, { session: [200, 200], "sign-in": [200, 200] });
  } finally {
    await limited.dispose();
  }
});

// Trusted browsers

async function trusting(who) {
  const browser = await waiting(who);
  const answer = await give(browser, totp(who.seed), { trustDevice: true });
  assert.equal(answer.status, 200, answer.text);
  await rewind(who.id);
  assert.match(line(answer, "trusted_device"), /^doorward\.trusted_device=[\w-]{43}; Path=\/; HttpOnly; SameSite=Lax; Max-Age=2592000$/);
  return browser;
}

test("a trusted browser is not asked again, and nobody else's is trusted", async () => {
  const [who, other] = [await guarded(), await guarded()];
  const browser = await trusting(who);
  const plain = await give(await waiting(who), totp(who.seed));
  assert.equal(line(plain, "trusted_device"), undefined, "unless asked to");
  await browser.post(at("/sign-out"), {});
  assert.ok(opens(await signIn(browser, who.email)), "trusted after signing out");
  const row = await one("select amr from session where user_id = ? order by created_at desc, id desc limit 1", who.id);
  assert.deepEqual(JSON.parse(row.amr), ["pwd"], "no second factor was given this time");
  const token = jar(browser).get("doorward.trusted_device");
  const wrong = await signIn(browser, who.email, { password: "wrong" });
  refused(wrong, 401, "INVALID_EMAIL_OR_PASSWORD", "trust is no password");
  assert.equal(await session(worker.browser()), null);

  const stranger = worker.browser();
  jar(stranger).set("doorward.trusted_device", token);
  assert.equal((await signIn(stranger, other.email)).json.twoFactorRedirect, true, "one user's cookie for another");
  for (const value of ["x", "A".repeat(43), ""]) {
    jar(stranger).set("doorward.trusted_device", value);
    assert.equal((await signIn(stranger, who.email)).json.twoFactorRedirect, true, value);
  }
  await run("update trusted_device set expires_at = 1 where user_id = ?", who.id);
  assert.equal((await signIn(browser, who.email)).json.twoFactorRedirect, true, "trust is over after its time");
});

test("trust ends with the password, the factor, or at its owner's wish", async () => {
  const ends = {
    "change of the password": async (who) => {
      const answer = await who.browser.post(at("/change-password"), { currentPassword: PASSWORD, newPassword: NEW });
      assert.equal(answer.status, 200, answer.text);
      return NEW;
    },
    "reset of the password": async (who) => {
      await worker.browser().post(at("/request-password-reset"), { email: who.email });
      const [, token] = linkIn((await mails(who.email))[0]).match(/reset-password\/([\w-]+)/);
      await worker.browser().post(at("/reset-password"), { token, newPassword: NEW });
      return NEW;
    },
    "switched off, and on again": async (who) => {
      await call(who.browser, "disable", { password: PASSWORD });
      const { seed } = readUri((await call(who.browser, "enable", { password: PASSWORD })).json.totpURI);
      assert.equal((await give(who.browser, totp(seed))).status, 200);
      return PASSWORD;
    },
    "forgotten on the page of the account": async (who) => {
      const page = await who.browser.get(`${AUTH}/account`, { headers: PAGE });
      assert.match(page.text, /Forget trusted browsers \(1\)/);
      assert.equal((await who.browser.submit(`${AUTH}/account/devices/forget`, {})).status, 303);
      assert.doesNotMatch((await who.browser.get(`${AUTH}/account`, { headers: PAGE })).text, /Forget trusted browsers/);
      return PASSWORD;
    },
  };
  for (const [how, end] of Object.entries(ends)) {
    const who = await guarded();
    const browser = await trusting(who);
    assert.ok(opens(await signIn(browser, who.email)), how);
    const password = await end(who);
    assert.equal((await signIn(browser, who.email, { password })).json.twoFactorRedirect, true, how);
  }
});

test("cron deletes trust that is long over", async () => {
  const who = await guarded();
  await trusting(who);
  await run("update trusted_device set expires_at = 1 where user_id = ?", who.id);
  await worker.scheduled();
  assert.equal(await count("trusted_device where user_id = ?", who.id), 0, "addresses and browsers are kept for ever");
});

// What a session says of itself

test("a session claims no second factor that nobody gave", async () => {
  const amr = async (id) =>
    JSON.parse(
      (await one("select amr from session where user_id = ? and revoked_at is null order by created_at desc, id desc limit 1", id)).amr,
    );
  const switchedOn = await amr((await mailed()).id);
  const who = await guarded();
  const browser = await trusting(who);
  await signIn(browser, who.email);
  const trusted = await amr(who.id);
  assert.equal((await call(browser, "enable", { password: PASSWORD, method: "otp" })).status, 200);
  const passwordTwice = await amr(who.id);
  assert.deepEqual({ switchedOn, trusted, passwordTwice }, { switchedOn: ["pwd"], trusted: ["pwd"], passwordTwice: ["pwd"] });
});

test("setting up without a password makes no session fresher", async () => {
  const { browser, id } = await signUp(worker);
  await run("delete from account where user_id = ?", id);
  const hours = Date.now() - 20 * 3_600_000;
  await run("update session set authenticated_at = ? where user_id = ?", hours, id);
  assert.equal((await call(browser, "disable")).status, 200, "fresh within a day");
  const { authenticated_at: at } = await one("select authenticated_at from session where user_id = ? and revoked_at is null", id);
  assert.equal(at, hours, "nobody proved anything, and the day begins anew");
  await run("update session set authenticated_at = 1 where user_id = ?", id);
  for (const path of ["enable", "disable", "get-totp-uri", "generate-backup-codes"])
    refused(await call(browser, path), 403, "SESSION_NOT_FRESH", path);
});

test("an administrator in somebody's session changes no second factor", async () => {
  const admin = await signUp(worker, { roles: ["admin"] });
  const who = await signUp(worker);
  const { totpURI } = (await call(who.browser, "enable", { password: PASSWORD })).json;
  const { seed } = readUri(totpURI);
  await run("update session set impersonated_by = ? where user_id = ?", admin.id, who.id);
  for (const path of ["enable", "disable", "get-totp-uri", "generate-backup-codes"]) {
    refused(await call(who.browser, path, { password: PASSWORD }), 403, "FORBIDDEN", path);
  }
  const guard = await guarded();
  await run("update session set impersonated_by = ? where user_id = ?", admin.id, guard.id);
  const answers = {
    backup: await giveBackup(guard.browser, guard.codes[0]),
    page: await who.browser.submit(`${AUTH}/account/second-factor/verify`, { code: wrongCode(seed) }),
    app: await give(who.browser, totp(seed)),
  };
  assert.deepEqual(
    Object.entries(answers).map(([name, { status }]) => `${name} ${status}`),
    ["backup 403", "page 403", "app 403"],
  );
  assert.equal(
    await count("session where user_id = ? and revoked_at is null and impersonated_by is null", who.id),
    0,
    "the impersonation became a session of the user's own",
  );
});

// Pages

/** The hidden fields of a page's first form: what a browser sends along. */
const hidden = (page) =>
  Object.fromEntries(
    [...page.text.match(/<form[^]*?<\/form>/)[0].matchAll(/type="hidden" name="(\w+)" value="([^"]*)"/g)].map(([, name, value]) => [
      name,
      value.replaceAll("&amp;", "&"),
    ]),
  );

test("the login page asks for the second factor, without a script", async () => {
  const who = await guarded();
  const browser = worker.browser();
  const target = `${SPA}/deep?a=1&b=2`;
  const posted = await browser.submit(`${AUTH}/login`, { email: who.email, password: PASSWORD, continue: target });
  assert.deepEqual([posted.status, opens(posted)], [303, false]);
  const page = await browser.open(new URL(posted.location, AUTH).href);
  assert.deepEqual([page.status, new URL(page.url).pathname, hidden(page)], [200, "/second-factor", { continue: target }]);
  assert.match(page.headers["cache-control"], /no-store/);
  assert.match(page.text, /autocomplete="one-time-code"/);
  const wrong = await browser.submit(`${AUTH}/second-factor`, { code: wrongCode(who.seed), continue: target });
  assert.match(wrong.text, /This is not the code/);
  assert.equal(hidden(wrong).continue, target);
  const sent = await browser.submit(`${AUTH}/second-factor/send`, { continue: target });
  assert.match(sent.text, /on its way/);
  assert.equal(hidden(sent).continue, target);
  const right = await browser.submit(`${AUTH}/second-factor`, { ...hidden(sent), code: await mailedCode(who.email), trustDevice: "true" });
  assert.deepEqual([right.status, right.location, opens(right)], [303, target, true]);
  assert.ok(jar(browser).has("doorward.trusted_device"));
  assert.match((await browser.get(`${AUTH}/account`, { headers: PAGE })).text, /You are signed in/);

  // Once a code was mailed, the app's will do as well.
  const either = worker.browser();
  await either.submit(`${AUTH}/login`, { email: who.email, password: PASSWORD });
  const afterwards = await either.submit(`${AUTH}/second-factor/send`, { continue: "/account" });
  assert.equal((await either.submit(`${AUTH}/second-factor`, { ...hidden(afterwards), code: totp(who.seed) })).status, 303);
  await rewind(who.id);
  for (const code of [totp(who.seed), who.codes[0]]) {
    const next = worker.browser();
    await next.submit(`${AUTH}/login`, { email: who.email, password: PASSWORD });
    const given = await next.submit(`${AUTH}/second-factor`, { code, continue: "https://evil.example/" });
    assert.deepEqual([given.status, given.location, opens(given)], [303, "/account", true], code);
  }
  const idle = await worker.browser().get(`${AUTH}/second-factor?continue=${encodeURIComponent("/account")}`, { headers: PAGE });
  assert.deepEqual([idle.status, idle.location], [303, "/login?continue=%2Faccount"]);
  const empty = await worker.browser().submit(`${AUTH}/second-factor`, { code: totp(who.seed) });
  assert.deepEqual([empty.status, opens(empty)], [303, false]);
});

test("a wrong code on the page is one try, as it is elsewhere", async () => {
  const who = await guarded();
  const browser = worker.browser();
  await browser.submit(`${AUTH}/login`, { email: who.email, password: PASSWORD });
  const wrong = wrongCode(who.seed);
  assert.match((await browser.submit(`${AUTH}/second-factor`, { code: wrong })).text, /This is not the code/);
  const { failed_attempts: failures } = await one("select failed_attempts from two_factor where user_id = ?", who.id);
  assert.equal(failures, 1, "failures counted for one code");
  for (let n = 0; n < 3; n++) await browser.submit(`${AUTH}/second-factor`, { code: wrong });
  const fifth = await browser.submit(`${AUTH}/second-factor`, { code: totp(who.seed) });
  assert.deepEqual([fifth.status, opens(fifth)], [303, true], "the fifth code of five");
});

test("nor is it two once a code was mailed", async () => {
  const who = await guarded();
  const browser = worker.browser();
  await browser.submit(`${AUTH}/login`, { email: who.email, password: PASSWORD });
  const sent = await browser.submit(`${AUTH}/second-factor/send`, { continue: "/account" });
  const wrong = wrongCode(who.seed);
  await browser.submit(`${AUTH}/second-factor`, { ...hidden(sent), code: wrong === (await mailedCode(who.email)) ? "888888" : wrong });
  assert.equal((await one("select failed_attempts as n from two_factor where user_id = ?", who.id)).n, 1);
});

test("a locked second factor is told on the page", async () => {
  const who = await guarded();
  const browser = worker.browser();
  await browser.submit(`${AUTH}/login`, { email: who.email, password: PASSWORD });
  await run("update two_factor set failed_attempts = 10, last_failed_at = ? where user_id = ?", Date.now(), who.id);
  const page = await browser.submit(`${AUTH}/second-factor`, { code: totp(who.seed) });
  assert.deepEqual([page.status, opens(page), /Too many wrong codes/.test(page.text)], [429, false, true]);
});

test("the pages of the account set it up, make new codes and switch it off", async () => {
  const { browser, email, id } = await signUp(worker);
  const url = `${AUTH}/account/second-factor`;
  assert.equal((await worker.browser().get(url, { headers: PAGE })).location, "/login?continue=%2Faccount%2Fsecond-factor");
  assert.match((await browser.get(`${AUTH}/account`, { headers: PAGE })).text, /href="\/account\/second-factor"/);
  assert.match((await browser.get(url, { headers: PAGE })).text, /value="begin"/);
  const wrong = await browser.submit(url, { action: "begin", password: "wrong" });
  assert.deepEqual([wrong.status, /This is not your password/.test(wrong.text)], [400, true]);
  const begun = await browser.submit(url, { action: "begin", password: PASSWORD });
  assert.equal(begun.status, 200);
  assert.match(begun.headers["cache-control"], /no-store/);
  assert.match(begun.text, /<svg class="qr"[^>]*viewBox="0 0 (\d+) \1"/);
  assert.match(begun.text, /<path fill="#000" d="M4 4h1v1h-1z/, "a QR code begins with a finder pattern");
  const [typed, ...codes] = [...begun.text.matchAll(/<code>([^<]+)<\/code>/g)].map(([, text]) => text);
  assert.equal(codes.length, 10);
  const uri = (await call(browser, "get-totp-uri", { password: PASSWORD })).json.totpURI;
  const { seed } = readUri(uri);
  assert.equal(typed.replaceAll(" ", "").toUpperCase(), new URL(uri).searchParams.get("secret"));
  const mistyped = await browser.submit(`${url}/verify`, { code: wrongCode(seed) });
  assert.deepEqual([mistyped.status, /not the code/.test(mistyped.text)], [400, true]);
  const on = await browser.submit(`${url}/verify`, { code: totp(seed) });
  assert.deepEqual([on.status, on.location], [303, "/account/second-factor"]);
  assert.match((await browser.get(url, { headers: PAGE })).text, /It is on, with an authenticator app/);
  const again = await browser.submit(url, { action: "begin", password: PASSWORD });
  assert.equal(again.status, 400);
  const renewed = await browser.submit(url, { action: "codes", password: PASSWORD });
  const fresh = [...renewed.text.matchAll(/<code>([^<]+)<\/code>/g)].map(([, text]) => text);
  refused(await giveBackup(await waiting({ email }), codes[0]), 401, "INVALID_BACKUP_CODE");
  assert.equal((await giveBackup(await waiting({ email }), fresh[0])).status, 200);
  assert.equal((await browser.submit(url, { action: "disable", password: "wrong" })).status, 400);
  const off = await browser.submit(url, { action: "disable", password: PASSWORD });
  assert.equal(off.status, 303);
  assert.equal(await count("two_factor where user_id = ?", id), 0);
  assert.ok(await session(browser));
});

test("what cannot be is refused, never an error of ours", async () => {
  const who = await guarded();
  const bodies = [
    {},
    { code: null },
    { code: 123456 },
    { code: "" },
    { code: " " },
    { code: "1".repeat(41) },
    { code: ["1"] },
    { code: { a: 1 } },
    { code: "１２３４５６" },
    { code: "-00001" },
    { code: "1e5" },
    { code: "\0\0\0\0\0\0" },
    { code: "123456", trustDevice: "maybe" },
    { code: "123456", trustDevice: [] },
    [],
    "null",
    "{bad",
  ];
  for (const path of ["verify-totp", "verify-otp", "verify-backup-code"]) {
    for (const body of bodies) {
      for (const browser of [await waiting(who), who.browser]) {
        const headers = { "content-type": "application/json" };
        const answer = await browser.post(at(`/two-factor/${path}`), typeof body === "string" ? body : JSON.stringify(body), { headers });
        assert.ok(
          answer.status >= 400 && answer.status < 500 && answer.json.code,
          `${path} ${JSON.stringify(body)}: ${answer.status} ${answer.text}`,
        );
      }
      await run("update two_factor set failed_attempts = 0 where user_id = ?", who.id);
    }
  }
  for (const path of ["enable", "disable", "get-totp-uri", "generate-backup-codes"]) {
    for (const body of [
      { password: 7 },
      { password: "x".repeat(5000) },
      { password: PASSWORD, method: 7 },
      { password: PASSWORD, issuer: "x".repeat(5000) },
    ]) {
      const answer = await call(who.browser, path, body);
      assert.ok(answer.status < 500, `${path} ${JSON.stringify(body).slice(0, 60)}: ${answer.status}`);
      await run("update user set locked_until = null, failed_login_count = 0 where id = ?", who.id);
    }
    assert.equal(
      (await who.browser.post(at(`/two-factor/${path}`), { password: PASSWORD }, { origin: "https://evil.example" })).status,
      403,
      path,
    );
  }
  assert.equal(
    (await who.browser.post(at("/two-factor/verify-totp"), { code: totp(who.seed) }, { origin: "https://evil.example" })).status,
    403,
  );
});

// What is kept

test("nothing secret is readable in the database, or in the log", async () => {
  const who = await guarded();
  const browser = await trusting(who);
  const waits = await waiting(who);
  await call(waits, "send-otp");
  const code = await mailedCode(who.email);
  await giveBackup(waits, "AAAAA-AAAAA");
  const tables = await worker.rows(
    "select name from sqlite_schema where type = 'table' and name not glob '_cf_*' and name not glob 'sqlite_*'",
  );
  let dump = "";
  for (const { name } of tables) dump += JSON.stringify(await worker.rows(`select * from "${name}"`));
  const hashed = (text) => ["hex", "base64", "base64url"].map((form) => createHash("sha256").update(text).digest(form).replace(/=+$/, ""));
  const bare = who.codes.map((one) => one.replace("-", ""));
  const secrets = {
    seed: [
      new URL(who.uri).searchParams.get("secret"),
      ...["hex", "base64", "base64url", "latin1"].map((form) => who.seed.toString(form).replace(/=+$/, "")),
    ],
    "backup code": [...who.codes, ...bare, ...bare.map((one) => one.toLowerCase())],
    "bare hash of a backup code": [...who.codes, ...bare].flatMap(hashed),
    "bare hash of a mailed code": hashed(code),
    cookie: [jar(waits).get("doorward.second_factor"), jar(browser).get("doorward.trusted_device")],
  };
  for (const [name, values] of Object.entries(secrets)) {
    for (const value of values) assert.ok(!dump.includes(value) && !worker.logs().includes(value), `a ${name} is readable`);
  }
  const digits = new RegExp(`(?<![\\w-])${code}(?![\\w-])`);
  assert.doesNotMatch(dump, digits, "a mailed code is readable");
  assert.doesNotMatch(worker.logs(), digits);
});

test("after a rotation of SECRETS, apps and backup codes made before it go on working", async () => {
  const who = await guarded();
  const secret = "rotated: fedcba9876543210fedcba9876543210";
  const rotated = await startWorker({ settings: { ...OPTIONS, SECRETS: `${secret},${SETTINGS.SECRETS}` } });
  try {
    // The same rows under other keys: a second Worker has a database of its own.
    for (const [table, column] of [
      ["user", "id"],
      ["account", "user_id"],
      ["two_factor", "user_id"],
    ]) {
      for (const row of await worker.rows(`select * from ${table} where ${column} = ?`, who.id)) {
        const names = Object.keys(row);
        const sql = `insert into ${table} (${names}) values (${names.map(() => "?")})`;
        await rotated.d1
          .prepare(sql)
          .bind(...Object.values(row))
          .run();
      }
    }
    const waits = async () => {
      const browser = rotated.browser();
      assert.equal((await signIn(browser, who.email)).json.twoFactorRedirect, true);
      return browser;
    };
    const browser = await waits();
    assert.equal((await give(browser, totp(who.seed))).status, 200);
    assert.equal((await giveBackup(await waits(), who.codes[0])).status, 200);
    refused(await giveBackup(await waits(), who.codes[0]), 401, "INVALID_BACKUP_CODE", "used up under the new key");
    const { backupCodes } = (await call(browser, "generate-backup-codes", { password: PASSWORD })).json;
    assert.equal((await giveBackup(await waits(), backupCodes[0])).status, 200);
    refused(await giveBackup(await waits(), who.codes[1]), 401, "INVALID_BACKUP_CODE", "of the set that was replaced");
  } finally {
    await rotated.dispose();
  }
});

// At once

/**
 * Sends by connections that are open already, while the isolate hashes other people's passwords: all of them are begun
 * before any of them is done.
 */
async function piledUp(browsers, send) {
  await Promise.all(browsers.map((browser) => browser.get(at("/ok"))));
  const hashing = await times(12, async () => {
    const browser = worker.browser();
    await browser.get(at("/ok"));
    return browser;
  });
  const hashed = hashing.map((browser) => signIn(browser, uniqueEmail()));
  const answers = await Promise.all(browsers.map(send));
  await Promise.all(hashed);
  return answers;
}

/** Browsers with the same cookies. */
const copies = (most, browser) =>
  Array.from({ length: most }, () => {
    const copy = worker.browser();
    for (const [name, value] of jar(browser)) jar(copy).set(name, value);
    return copy;
  });

/** Exactly one of them is in, and nothing is left of the others. */
async function checkOneWon(who, answers, before) {
  assert.ok(
    answers.every(({ status }) => status < 500),
    JSON.stringify(tally(answers)),
  );
  const won = answers.filter(({ status }) => status === 200);
  assert.equal(won.length, 1, JSON.stringify(tally(answers)));
  assert.equal(answers.filter(opens).length, 1);
  assert.ok(opens(won[0]));
  assert.equal(await living(who.id), before + 1, "sessions");
}

test("one code of an app, given to 50 sign-ins at once, opens one session", async () => {
  const who = await guarded();
  const browsers = await times(50, () => waiting(who));
  const before = await living(who.id);
  await earlyInStep(5_000);
  const code = totp(who.seed);
  await checkOneWon(who, await piledUp(browsers, (browser) => give(browser, code, { trustDevice: true })), before);
  assert.equal(await count("trusted_device where user_id = ?", who.id), 1, "browsers trusted");
});

test("one code of an app, given 50 times at once to one sign-in, opens one session", async () => {
  const who = await guarded();
  const browser = await waiting(who);
  const before = await living(who.id);
  await earlyInStep(5_000);
  const code = totp(who.seed);
  await checkOneWon(who, await piledUp(copies(50, browser), (copy) => give(copy, code)), before);
});

test("one backup code, given to 50 sign-ins at once, opens one session", async () => {
  const who = await guarded();
  const browsers = await times(50, () => waiting(who));
  const before = await living(who.id);
  await checkOneWon(
    who,
    await piledUp(browsers, (browser, n) => giveBackup(browser, n % 2 ? who.codes[0] : who.codes[0].toLowerCase())),
    before,
  );
  assert.equal(await count("json_each((select backup_codes from two_factor where user_id = ?))", who.id), 9);
});

test("one mailed code, given 50 times at once, opens one session", async () => {
  const who = await mailed();
  const browser = await waiting(who);
  await call(browser, "send-otp");
  const code = await mailedCode(who.email);
  const before = await living(who.id);
  await checkOneWon(who, await piledUp(copies(50, browser), (copy) => giveMailed(copy, code)), before);
});

test("a few right codes at once on one sign-in let it in once: an impatient click is no attack", async () => {
  const who = await guarded();
  const browser = await waiting(who);
  const before = await living(who.id);
  await earlyInStep(5_000);
  const code = totp(who.seed);
  await checkOneWon(who, await piledUp(copies(3, browser), (copy) => give(copy, code)), before);
});

test("one code that proves an app, given 50 times at once, makes one session of one, and one mail", async () => {
  const { browser, email, id } = await signUp(worker);
  const { seed } = readUri((await call(browser, "enable", { password: PASSWORD })).json.totpURI);
  await earlyInStep(5_000);
  const code = totp(seed);
  const answers = await piledUp(copies(50, browser), (copy) => give(copy, code));
  assert.ok(
    answers.every(({ status }) => status < 500),
    JSON.stringify(tally(answers)),
  );
  assert.equal(answers.filter(opens).length, 1, JSON.stringify(tally(answers)));
  assert.equal(await living(id), 1);
  assert.equal((await mails(email)).filter(({ subject }) => subject === "Two-step sign-in is on").length, 1);
});

test("a factor switched off 20 times at once leaves one session", async () => {
  const who = await guarded();
  const answers = await piledUp(copies(20, who.browser), (copy) => call(copy, "disable", { password: PASSWORD }));
  assert.ok(
    answers.every(({ status }) => status < 500),
    JSON.stringify(tally(answers)),
  );
  assert.equal(await living(who.id), 1, "one session became many");
});

test("an app set up 20 times at once is pending once", async () => {
  const { browser, id } = await signUp(worker);
  const answers = await piledUp(copies(20, browser), (copy) => call(copy, "enable", { password: PASSWORD }));
  assert.deepEqual(tally(answers), { 200: 20 });
  assert.equal(await count("two_factor where user_id = ?", id), 1);
  const works = [];
  for (const { json } of answers) {
    works.push((await give(browser, totp(readUri(json.totpURI).seed))).status === 200);
    await run("update two_factor set failed_attempts = 0 where user_id = ?", id);
  }
  assert.equal(works.filter(Boolean).length, 1);
});

test("of ten that switch a factor off at once, one does, and it alone is told and audited", async () => {
  const who = await guarded();
  const answers = await piledUp(copies(10, who.browser), (copy) => call(copy, "disable", { password: PASSWORD }));
  assert.deepEqual(tally(answers), { 200: 1, 401: 9 });
  const told = (await mails(who.email)).filter(({ subject }) => subject === "Two-step sign-in is off");
  assert.equal(told.length, 1, "told by whoever did it, and by nobody else");
  assert.equal(await count("audit_event where user_id = ? and event = 'second_factor.disabled'", who.id), 1);
});
