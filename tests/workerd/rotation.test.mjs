// A rotation of SECRETS, from the first day to the last: what the former value sealed is sealed again by cron, the log says
// when nothing needs the former value any more, and after it is gone nobody has lost anything.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { decodeProtectedHeader } from "jose";
import { seal } from "../../scripts/keyring.mjs";
import { uniqueEmail } from "../harness/browser.mjs";
import { keyId, open } from "../harness/keyring.mjs";
import { PAGE, PASSWORD, giveRole, seedApp, signUp } from "../harness/seed.mjs";
import { addIssuer } from "../harness/issuer.mjs";
import { readUri, totp } from "../harness/totp.mjs";
import { consent, startUpstream, stranger } from "../harness/upstream.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const OLD = "only for tests: 0123456789abcdef0123456789abcdef";
const NEW = "only for tests: fedcba9876543210fedcba9876543210";
const SETTINGS = { SESSION_COOKIE_CACHE_SECONDS: "0", SESSION_RECHECK_SECONDS: "0" };
const at = (path) => `${AUTH}/api/auth${path}`;
const opened = [];
after(() => Promise.all(opened.map((one) => (one.dispose ?? one.stop)())));

async function start(secrets, settings = {}) {
  const worker = await startWorker({ settings: { ...SETTINGS, SECRETS: secrets, ...settings } });
  opened.push(worker);
  return worker;
}

/** Values that only a moment needs, and that end with it. */
const SHORT_LIVED = ["verification.payload_sealed", "outbox.payload_sealed"];

/** Every column of sealed values, as the schema has them. */
async function sealedColumns(worker) {
  const columns = [];
  for (const { name: table } of await worker.rows(
    "select name from sqlite_master where type = 'table' and name not like '\\_%' escape '\\' and name not like 'sqlite%'",
  )) {
    for (const { name: column } of await worker.rows(`pragma table_info(${table})`))
      if (column.endsWith("_sealed")) columns.push({ table, column });
  }
  assert.ok(columns.length > SHORT_LIVED.length);
  return columns.filter(({ table, column }) => !SHORT_LIVED.includes(`${table}.${column}`));
}

const TABLES = [
  "user",
  "account",
  "member",
  "member_role",
  "session",
  "signing_key",
  "two_factor",
  "issuer",
  "issuer_refresh_token",
  "issuer_access_token",
  "system_account",
];

/** Gives another Worker the rows of this one, in its database of its own. */
async function copyRows(from, to, tables = TABLES) {
  const statements = [];
  for (const table of tables) {
    for (const row of await from.rows(`select * from ${table}`)) {
      const names = Object.keys(row);
      statements.push(
        to.d1.prepare(`insert or replace into ${table} (${names}) values (${names.map(() => "?")})`).bind(...Object.values(row)),
      );
    }
  }
  await to.d1.batch([to.d1.prepare("pragma defer_foreign_keys = true"), ...statements]);
}

/** What the newest run of cron said of the former value. */
async function cron(worker) {
  await worker.scheduled();
  return worker
    .logs()
    .split("\n")
    .filter((line) => line.includes("of SECRETS"))
    .at(-1);
}

test("what the former secret sealed is sealed again, the log says when it may go, and then it is missed by nobody", async () => {
  const upstream = await startUpstream();
  opened.push(upstream);
  const old = await start(OLD);
  const issuer = await addIssuer(old.d1, upstream.url);
  // Somebody with an authenticator app and backup codes …
  const ada = await signUp(old);
  const { totpURI, backupCodes } = (await ada.browser.post(at("/two-factor/enable"), { password: PASSWORD })).json;
  const { seed } = readUri(totpURI);
  assert.equal((await ada.browser.post(at("/two-factor/verify-totp"), { code: totp(seed) })).status, 200);
  const { kid } = decodeProtectedHeader((await ada.browser.get(at("/token"))).json.token);
  // … and somebody whose tokens of an upstream issuer are kept.
  const ben = { browser: old.browser(), person: stranger() };
  const begun = await ben.browser.post(at("/sign-in/social"), { provider: "acme", callbackURL: "/done", scopes: ["offline_access"] });
  assert.equal((await ben.browser.get(await consent(begun.json.url, ben.person))).location, "/done");
  const [{ id: account }] = (await ben.browser.get(at("/list-accounts"))).json;
  const kept = (await ben.browser.post(at("/get-access-token"), { accountId: account })).json;
  // Columns that no endpoint of this test fills.
  const cell = (table, column, row, text) => seal(OLD, { table, column, row }, text);
  await old.d1.batch([
    old.d1.prepare("update issuer set client_key_sealed = ? where id = ?").bind(cell("issuer", "client_key_sealed", issuer, "{}"), issuer),
    old.d1
      .prepare(
        `insert into system_account (id, issuer_id, subject, granted_scopes, refresh_token_sealed, created_at, updated_at) values
           ('s', ?, 's', '', ?, 0, 0)`,
      )
      .bind(issuer, cell("system_account", "refresh_token_sealed", "s", "a refresh token")),
    old.d1
      .prepare(
        `insert into issuer_access_token (id, issuer_id, scope, scope_hash, token_sealed, created_at, updated_at) values
           ('t', ?, '', 'h', ?, 0, 0)`,
      )
      .bind(issuer, cell("issuer_access_token", "token_sealed", "t", "an access token")),
  ]);
  const plain = new Map();
  const columns = await sealedColumns(old);
  for (const { table, column } of columns) {
    const rows = await old.rows(`select id, ${column} as sealed from ${table} where ${column} is not null`);
    assert.ok(rows.length > 0, `${table}.${column} has no value: the test proves nothing of it`);
    for (const { id, sealed } of rows) plain.set(`${table}.${column}.${id}`, open([OLD], { table, column, row: id }, sealed));
  }
  assert.equal(await cron(old), undefined, "one secret is no rotation");

  // The new one in front.
  const rotated = await start(`${NEW},${OLD}`);
  await copyRows(old, rotated);
  // A token that is being refreshed is its holder's to seal.
  await rotated.d1
    .prepare("update account set leased_until = ? where id = ?")
    .bind(Date.now() + 60_000, account)
    .run();
  assert.match(await cron(rotated), new RegExp(`value 2 of SECRETS .key ${keyId(OLD)}. is still needed: 2 sealed values`));
  await rotated.d1.prepare("update account set leased_until = null where id = ?").bind(account).run();
  await cron(rotated);
  assert.match(await cron(rotated), /value 2 of SECRETS .* seals nothing that lasts: take it out/);
  for (const { table, column } of columns) {
    for (const { id, sealed } of await rotated.rows(`select id, ${column} as sealed from ${table} where ${column} is not null`)) {
      assert.deepEqual(open([NEW], { table, column, row: id }, sealed), plain.get(`${table}.${column}.${id}`), `${table}.${column}`);
    }
  }
  // A visit gives the cookie a signature by the new one.
  const held = `doorward.session=${ben.browser.cookies("auth.localhost").get("doorward.session")}`;
  const visit = await rotated.browser().get(at("/get-session"), { headers: { cookie: held } });
  const renewed = visit.cookies.find((line) => line.startsWith("doorward.session=")).split(";")[0];
  assert.notEqual(renewed, held);

  // The new one alone.
  const fresh = await start(NEW);
  await copyRows(rotated, fresh);
  const asBen = { headers: { cookie: renewed } };
  assert.equal((await fresh.browser().get(at("/get-session"), asBen)).json.user.email, ben.person.email);
  const token = await fresh.browser().post(at("/get-access-token"), { accountId: account }, asBen);
  assert.deepEqual([token.status, token.json.accessToken], [200, kept.accessToken]);
  const signIn = async () => {
    await fresh.d1.prepare("update two_factor set last_used_step = 0").run();
    const browser = fresh.browser();
    assert.equal((await browser.post(at("/sign-in/email"), { email: ada.email, password: PASSWORD })).json.twoFactorRedirect, true);
    return browser;
  };
  const browser = await signIn();
  assert.equal((await browser.post(at("/two-factor/verify-totp"), { code: totp(seed) })).status, 200);
  assert.equal(decodeProtectedHeader((await browser.get(at("/token"))).json.token).kid, kid, "the signing key is the same");
  assert.equal((await (await signIn()).post(at("/two-factor/verify-backup-code"), { code: backupCodes[0] })).status, 200);
  assert.equal(
    (await (await signIn()).post(at("/two-factor/verify-backup-code"), { code: backupCodes[0] })).status,
    401,
    "a code is good once",
  );
});

test("a rotation takes no cookie's life: not of a website behind nginx, nor of a browser with several accounts", async () => {
  const old = await start(OLD, { MULTI_SESSION: "on" });
  await seedApp(old, "nginx.localhost", { rules: [] });
  const ada = await signUp(old);
  const asked = (path) => ({
    ...PAGE,
    host: "auth.localhost",
    "x-original-url": `http://nginx.localhost${path}`,
    "x-original-method": "GET",
  });
  const via = (worker, path, cookie) => worker.browser().get(`http://nginx.localhost${path}`, { headers: { ...asked(path), cookie } });
  const begun = await via(old, "/.doorward/sign-in?return=/");
  const back = new URL((await ada.browser.get(begun.location, { headers: PAGE })).location);
  const done = await via(old, back.pathname + back.search, begun.cookies[0].split(";")[0]);
  const session = ({ cookies }) => cookies.find((line) => line.startsWith("doorward.session="));
  const lasting = /Max-Age=34560000/;
  assert.match(session(done), lasting);
  const rotated = await start(`${NEW},${OLD}`, { MULTI_SESSION: "on" });
  await copyRows(old, rotated, [...TABLES, "proxied_app"]);
  assert.match(session(await via(rotated, "/.doorward/me", session(done).split(";")[0])), lasting);

  // The session cookie is signed anew by a visit, and the list of further accounts is not yet.
  const jar = new Map(ada.browser.cookies("auth.localhost"));
  const header = () => ({ cookie: [...jar].map((pair) => pair.join("=")).join("; ") });
  const keep = ({ cookies }) => cookies.forEach((line) => jar.set(...line.match(/^([^=]+)=([^;]*)/).slice(1)));
  keep(await rotated.browser().get(at("/get-session"), { headers: header() }));
  const second = await rotated
    .browser()
    .post(at("/sign-up/email"), { name: "B", email: uniqueEmail(), password: PASSWORD }, { headers: header() });
  const others = second.cookies.find((line) => line.startsWith("doorward.others="));
  assert.match(others, /Max-Age=604800/);
  jar.clear();
  keep(second);
  const listed = await rotated.browser().get(at("/multi-session/list-device-sessions"), { headers: header() });
  assert.equal(listed.json.length, 2);
  assert.ok(!second.cookies.some((line) => line.startsWith("doorward.unremembered=")), "the first account is remembered");
});

test("the log says what only time or a user can change, and what does not open", async () => {
  const old = await start(OLD, { PASSWORD_HASH: "pbkdf2" });
  const ada = await signUp(old);
  const { totpURI } = (await ada.browser.post(at("/two-factor/enable"), { password: PASSWORD })).json;
  await ada.browser.post(at("/two-factor/verify-totp"), { code: totp(readUri(totpURI).seed) });
  const rotated = await start(`${NEW},${OLD}`, { PASSWORD_HASH: "pbkdf2" });
  await copyRows(old, rotated);
  assert.match(await cron(rotated), /is still needed: 0 sealed values, 0 messages to be sent, 1 passwords, 0 sets of backup codes/);
  // Signing in hashes the password anew. Backup codes of before have digests by a key of SECRETS.
  assert.equal((await rotated.browser().post(at("/sign-in/email"), { email: ada.email, password: PASSWORD })).status, 200);
  await rotated.d1.prepare("update two_factor set backup_codes = '[\"digest\"]'").run();
  assert.match(await cron(rotated), /is still needed: 0 sealed values, 0 messages to be sent, 0 passwords, 1 sets of backup codes/);
  await rotated.d1.prepare("update two_factor set backup_codes = '[]'").run();
  assert.match(await cron(rotated), /seals nothing that lasts/);
  // A value that was moved from another row does not open, and is not lost.
  const moved = seal(OLD, { table: "two_factor", column: "secret_sealed", row: "another" }, "seed");
  await rotated.d1.prepare("update two_factor set secret_sealed = ?").bind(moved).run();
  assert.match(await cron(rotated), /is still needed: 1 sealed values/);
  assert.equal((await rotated.rows("select secret_sealed from two_factor"))[0].secret_sealed, moved);
  // Three values: each former one is reported.
  const third = await start(`${"third: ".padEnd(40, "x")},${NEW},${OLD}`);
  await third.scheduled();
  assert.match(third.logs(), /value 2 of SECRETS[^]*value 3 of SECRETS/);
});

test("a rotation reads every database of tenants, and says so where one cannot be read", async () => {
  const worker = await start(`${NEW},${OLD}`);
  const admin = await signUp(worker);
  await giveRole(worker, admin.id, "owner");
  await worker.d1
    .prepare(
      `insert into tenant (id, slug, name, database, user_pool, created_at, updated_at) values
         ('00000000-0000-7000-8000-0000000000aa', 'apart', 'Apart', 'DB_APART', 'isolated', 0, 0)`,
    )
    .run();
  assert.match(await cron(worker), /is still needed: not every database could be read/);
});
