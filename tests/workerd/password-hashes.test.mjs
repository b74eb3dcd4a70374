// Passwords hashed elsewhere, and our own of either kind: verified, upgraded at the next sign-in, and never let in by mistake.

import assert from "node:assert/strict";
import { pbkdf2Sync, randomBytes, scryptSync } from "node:crypto";
import { after, before, test } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { AUTH, SETTINGS as BASE, startWorker } from "../harness/worker.mjs";

const PASSWORD = "correct horse battery staple";
const SETTINGS = { LIMIT_MAIL: "1000/60", LOCKOUT_FAILURES: "1000" };
let argon, pbkdf2;
before(async () => {
  argon = await startWorker({ settings: SETTINGS });
  pbkdf2 = await startWorker({ settings: { ...SETTINGS, PASSWORD_HASH: "pbkdf2" } });
});
after(async () => {
  await argon?.dispose();
  await pbkdf2?.dispose();
});

const at = (path) => `${AUTH}/api/auth${path}`;
const signIn = (worker, email, password = PASSWORD) => worker.browser().post(at("/sign-in/email"), { email, password });
const opens = ({ cookies }) => cookies.some((line) => /^doorward\.session=[^;]/.test(line));
const hashOf = async (worker, user) =>
  (await worker.rows("select password_hash as hash from account where user_id = ? and issuer_id is null", user))[0]?.hash;
const newest = async (worker, to) => (await worker.browser().get(`${AUTH}/dev/mailbox?to=${encodeURIComponent(to)}`)).json[0];
async function person(worker, hash) {
  const browser = worker.browser();
  const email = uniqueEmail();
  const { user } = (await browser.post(at("/sign-up/email"), { name: "P", email, password: "the password before" })).json;
  if (hash) await worker.d1.prepare("update account set password_hash = ? where user_id = ?").bind(hash, user.id).run();
  return { browser, email, id: user.id };
}

function scrypt(password, salt = randomBytes(16).toString("hex")) {
  return `${salt}:${scryptSync(password, salt, 64, { N: 16384, r: 16, p: 1, maxmem: 64 * 1024 * 1024 }).toString("hex")}`;
}
const django = (password, iterations = 36_000, salt = "seasalt") =>
  `pbkdf2_sha256$${iterations}$${salt}$${pbkdf2Sync(password, salt, iterations, 32, "sha256").toString("base64")}`;
const [HORSE, UNICODE] = ["correct horse", "Gr\u{fc}\u{df}e, \u{43f}\u{430}\u{440}\u{43e}\u{43b}\u{44c} \u{5bc6}\u{7801}"];

/** Hash, password, and by what it was made. Those without a maker here were made by Node just now. */
const FOREIGN = [
  ["$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e", HORSE, "bcrypt 5.0 for Python"],
  ["$2b$10$KssILxWNR6k62B7yiX0GA.DaoUoBHrx1Gv//KaF06vrB.aDLpOIPq", UNICODE, "bcrypt 5.0 for Python"],
  ["$2y$10$abcdefghijklmnopqrstuu23JPZtHcGhwXSF41f93o/7vBdDut3Xu", HORSE, "libxcrypt"],
  ["$2a$08$aTsUwsyowQuzRrDqFflhgekJ8d9/7Z3GV3UcgvzQW3J5zMyrTvlz.", "abcdefghijklmnopqrstuvwxyz", "jBCrypt"],
  [scrypt(PASSWORD), PASSWORD, "scrypt, as better-auth stores it"],
  [scrypt("A\u030angstr\u00f6m \ufb01".normalize("NFKC")), "A\u030angstr\u00f6m \ufb01", "scrypt of the normal form"],
  [django(PASSWORD), PASSWORD, "Django"],
  [django("A\u030angstr\u00f6m pa\u00df"), "A\u030angstr\u00f6m pa\u00df", "Django, which hashes what was typed"],
  ["$argon2id$v=19$m=64,t=16,p=1$AAECAwQFBgcICQoLDA0ODw$ULzWkcOFPhPYk4IUPI0/qN3/yOBuW65fN3P0d641Np4", "", "argon2-cffi, with less memory"],
  ["$argon2id$v=16$m=1024,t=1,p=16$AAECAwQFBgcICQoLDA0ODw$TeEHMUacE8Ja1UYyY1+VUg", HORSE, "argon2-cffi, version 16"],
  ["$argon2i$v=19$m=65536,t=2,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG", "password", "the reference of Argon2, argon2i"],
].filter(([, password]) => password !== "");

test("a password that was hashed elsewhere signs in, and is hashed anew by that", async () => {
  for (const worker of [argon, pbkdf2]) {
    const ours = worker === argon ? /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/ : /^\$doorward-pbkdf2\$i=100000,k=[\w-]+\$/;
    for (const [hash, password, maker] of FOREIGN) {
      const { email, id } = await person(worker, hash);
      for (const wrong of [
        `${password}x`,
        password.slice(0, -1),
        password.toUpperCase() === password ? "x" : password.toUpperCase(),
        "",
        hash,
      ]) {
        const refused = await signIn(worker, email, wrong);
        assert.deepEqual([refused.status, opens(refused)], [401, false], `${maker}: ${wrong}`);
      }
      assert.equal(await hashOf(worker, id), hash, `${maker}: a wrong password upgrades nothing`);
      const first = await signIn(worker, email, password);
      assert.equal(first.status, 200, `${maker}: ${first.text}`);
      const upgraded = await hashOf(worker, id);
      assert.match(upgraded, ours, maker);
      assert.equal((await signIn(worker, email, password)).status, 200, `${maker}, afterwards`);
      assert.equal((await signIn(worker, email, `${password}x`)).status, 401, `${maker}, afterwards`);
      assert.equal(await hashOf(worker, id), upgraded, `${maker}: hashed anew each time`);
    }
  }
});

test("what is stronger than ours already is left as it is", async () => {
  const hash = "$argon2id$v=19$m=65536,t=3,p=4$AAECAwQFBgcICQoLDA0ODw$4FGmSpphoWuoB6l4wkJZ8Zry6leXASbQK3AmmJbj+xI";
  const { email, id } = await person(argon, hash);
  assert.equal((await signIn(argon, email, UNICODE)).status, 200);
  assert.equal(await hashOf(argon, id), hash);
  assert.equal((await signIn(argon, email, HORSE)).status, 401);
});

test("an upgrade is no change of password: sessions live on, and nobody is told", async () => {
  const { browser, email, id } = await person(argon, django(PASSWORD));
  const [before] = await argon.rows("select password_changed_at as at from account where user_id = ?", id);
  await signIn(argon, email);
  assert.match(await hashOf(argon, id), /^\$argon2id/);
  assert.deepEqual((await argon.rows("select password_changed_at as at from account where user_id = ?", id))[0], before);
  assert.ok((await browser.get(at("/get-session?disableCookieCache=true"))).json);
  assert.doesNotMatch((await newest(argon, email)).subject, /password/i);
  assert.deepEqual(await argon.rows("select id from audit_event where user_id = ? and event = 'password.changed'", id), []);
});

test("ten first sign-ins at once all get in", async () => {
  for (let round = 0; round < 5; round += 1) {
    const { email, id } = await person(argon, django(PASSWORD, 1));
    // Nobody is done before all have arrived: four others keep the isolate hashing.
    const browsers = Array.from({ length: 14 }, () => argon.browser());
    await Promise.all(browsers.map((browser) => browser.get(at("/ok"))));
    const send = (address) => (browser) => browser.post(at("/sign-in/email"), { email: address, password: PASSWORD });
    const others = browsers.splice(0, 4).map(send(uniqueEmail()));
    const answers = await Promise.all(browsers.map(send(email)));
    await Promise.all(others);
    assert.deepEqual(
      answers.map(({ status }) => status),
      Array(10).fill(200),
      "the right password was refused, because another request upgraded its hash",
    );
    assert.match(await hashOf(argon, id), /^\$argon2id/);
  }
});

test("a foreign hash is the current password everywhere", async () => {
  const { browser, email } = await person(argon, scrypt(PASSWORD));
  assert.deepEqual((await browser.post(at("/verify-password"), { password: PASSWORD })).json, { status: true });
  assert.equal((await browser.post(at("/verify-password"), { password: "wrong password" })).status, 400);
  const changed = await browser.post(at("/change-password"), { currentPassword: PASSWORD, newPassword: "another password" });
  assert.equal(changed.status, 200, changed.text);
  assert.deepEqual([(await signIn(argon, email)).status, (await signIn(argon, email, "another password")).status], [401, 200]);
});

test("a hash that cannot be read lets nobody in, and its owner sets a new password", async () => {
  const plain = [
    PASSWORD,
    "*",
    "!",
    "$argon2id$",
    "$2b$04$",
    `${"0".repeat(32)}:`,
    "pbkdf2_sha256$1$x$",
    "$argon2d$v=19$m=19456,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$0AuQxA+RjPiJeA19Op7DwrFxnfh9xeTU2T6mFj2wThc",
    "$argon2id$v=19$m=4194304,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$0AuQxA+RjPiJeA19Op7DwrFxnfh9xeTU2T6mFj2wThc",
    "pbkdf2_sha256$99999999$x$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "$2b$31$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e",
    "$doorward-pbkdf2$i=100000,k=gone$AAECAwQFBgcICQoLDA0ODw$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "5f4dcc3b5aa765d61d8327deb882cf99",
  ];
  for (const worker of [argon, pbkdf2]) {
    for (const hash of plain) {
      const { browser, email } = await person(worker, hash);
      for (const password of [PASSWORD, hash, "", "password"]) {
        const answer = await signIn(worker, email, password);
        assert.ok(answer.status >= 400 && !opens(answer), `${hash}: ${answer.status}`);
        assert.ok(!answer.text.includes(hash), "the answer tells of the hash");
        assert.notEqual((await browser.post(at("/verify-password"), { password })).status, 200);
      }
    }
    const { email } = await person(worker, plain[0]);
    await worker.browser().post(at("/request-password-reset"), { email });
    const [, token] = (await newest(worker, email)).text.match(/reset-password\/([\w-]+)/);
    assert.equal((await worker.browser().post(at("/reset-password"), { token, newPassword: PASSWORD })).status, 200);
    assert.equal((await signIn(worker, email)).status, 200);
  }
});

test("PASSWORD_HASH=pbkdf2 stores what is worth nothing without SECRETS, and verifies it", async () => {
  const { browser, email, id } = await person(pbkdf2);
  const hash = await hashOf(pbkdf2, id);
  const [, name, parameters, salt, digest] = hash.split("$");
  assert.equal(name, "doorward-pbkdf2");
  assert.match(parameters, /^i=100000,k=[\w-]+$/);
  const plain = pbkdf2Sync("the password before", Buffer.from(salt, "base64url"), 100_000, 32, "sha256");
  assert.notEqual(digest, plain.toString("base64url"), "without a pepper, a dump can be tried out");
  assert.equal((await signIn(pbkdf2, email, "the password before")).status, 200);
  assert.equal((await signIn(pbkdf2, email, "the password befors")).status, 401);
  assert.equal(await hashOf(pbkdf2, id), hash);
  assert.equal((await browser.post(at("/change-password"), { currentPassword: "the password before", newPassword: PASSWORD })).status, 200);
  assert.match(await hashOf(pbkdf2, id), /^\$doorward-pbkdf2\$/);
  assert.deepEqual([(await signIn(pbkdf2, email)).status, (await signIn(pbkdf2, email, "the password before")).status], [200, 401]);
  const other = await person(pbkdf2);
  assert.notEqual((await hashOf(pbkdf2, other.id)).split("$")[3], salt, "two passwords with one salt");
});

test("either kind is read where the other is written; an old secret's pepper is replaced, a lost one's opens nothing", async () => {
  const { id } = await person(pbkdf2);
  const peppered = await hashOf(pbkdf2, id);
  const moved = await person(argon, peppered);
  assert.equal((await signIn(argon, moved.email, "the password before")).status, 200);
  assert.match(await hashOf(argon, moved.id), /^\$argon2id/);
  const next = "another secret for tests: 0123456789abcdef";
  const rotated = await startWorker({ settings: { ...SETTINGS, PASSWORD_HASH: "pbkdf2", SECRETS: `${next},${BASE.SECRETS}` } });
  const lost = await startWorker({ settings: { ...SETTINGS, PASSWORD_HASH: "pbkdf2", SECRETS: next } });
  try {
    const kept = await person(rotated, peppered);
    assert.equal((await signIn(rotated, kept.email, "the password befors")).status, 401);
    assert.equal((await signIn(rotated, kept.email, "the password before")).status, 200);
    const renewed = await hashOf(rotated, kept.id);
    assert.notEqual(renewed.split("$")[2], peppered.split("$")[2], "the old secret can never be thrown away");
    assert.equal((await signIn(rotated, kept.email, "the password before")).status, 200);
    const gone = await person(lost, peppered);
    const refused = await signIn(lost, gone.email, "the password before");
    assert.ok(refused.status >= 400 && !opens(refused), `${refused.status}`);
    assert.match(lost.logs(), /pepper/);
  } finally {
    await rotated.dispose();
    await lost.dispose();
  }
});

test("wrong and unknown are one answer under either hash", async () => {
  const shape = ({ status, json, headers }) => ({ status, json, names: Object.keys(headers).sort(), trips: headers["server-timing"] });
  for (const worker of [argon, pbkdf2]) {
    const { email } = await person(worker);
    const foreign = await person(worker, scrypt(PASSWORD));
    const unknown = shape(await signIn(worker, uniqueEmail()));
    for (const known of [email, foreign.email]) assert.deepEqual(shape(await signIn(worker, known, "wrong password")), unknown);
  }
});
