// What breaks: settings, the database, keys. Nobody is let in by it, and the log says what it was.

import assert from "node:assert/strict";
import test, { after } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from "jose";
import { uniqueEmail } from "../harness/browser.mjs";
import { startOrigin } from "../harness/origin.mjs";
import { API, PAGE, PASSWORD, seedApp, signUp, visit } from "../harness/seed.mjs";
import { AUTH, SETTINGS, startWorker } from "../harness/worker.mjs";

const APP = "http://app.localhost";
const at = (path) => `${AUTH}/api/auth${path}`;
const running = [];
async function start(options) {
  const worker = await startWorker(options);
  running.push(worker);
  return worker;
}
after(() => Promise.all(running.map((worker) => worker.dispose())));

const jar = (browser, host = "auth.localhost") => [...browser.cookies(host)].map((pair) => pair.join("=")).join("; ");
const letIn = ({ cookies }) => cookies.some((line) => /^doorward\.session=[^;]/.test(line));
/** The log, once it has as many lines as that. */
async function lines(worker, count) {
  for (let tries = 0; tries < 50 && worker.logs().split("\n").length < count; tries += 1) await sleep(20);
  return worker
    .logs()
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}
const ask = (worker, [method, url, body], headers = {}) =>
  worker.browser().send(method, url, { body, headers: { origin: AUTH, ...API, ...headers } });

const QUESTIONS = [
  ["GET", at("/ok")],
  ["GET", at("/get-session")],
  ["POST", at("/sign-in/email"), { email: "a@x.co", password: PASSWORD }],
  ["POST", at("/sign-up/email"), { name: "A", email: "a@x.co", password: PASSWORD }],
  ["GET", `${AUTH}/login`],
  ["GET", `${APP}/`],
  ["GET", `${AUTH}/nope`],
];

test("a setting that is missing or bad: 500 to every request, and one line each that names it and no secret", async () => {
  const [long, short] = ["d".repeat(40), "too-short-a-secret"];
  const table = [
    ["SECRETS", { SECRETS: null }],
    ["SECRETS", { SECRETS: "" }],
    ["SECRETS", { SECRETS: short }],
    ["SECRETS", { SECRETS: `${long},${short}` }],
    ["SECRETS", { SECRETS: `${long},` }],
    ["AUTH_ORIGIN", { AUTH_ORIGIN: null }],
    ["AUTH_ORIGIN", { AUTH_ORIGIN: "auth.localhost" }],
    ["AUTH_ORIGIN", { AUTH_ORIGIN: `${AUTH}/path` }],
    ["AUTH_ORIGIN", { AUTH_ORIGIN: "http://user@auth.localhost" }],
    ["AUTH_ORIGIN", { DEVELOPMENT: null }],
    ["TRUSTED_ORIGINS", { TRUSTED_ORIGINS: "*" }],
    ["LIMIT_SIGN_IN", { LIMIT_SIGN_IN: "many" }],
  ];
  for (const [name, settings] of table) {
    const about = JSON.stringify(settings);
    const worker = await startWorker({ settings, migrate: false });
    try {
      for (const question of QUESTIONS) {
        const answer = await ask(worker, question);
        assert.deepEqual(
          [answer.status, answer.json],
          [500, { message: "Internal Server Error", code: "INTERNAL_SERVER_ERROR" }],
          `${about} ${question}`,
        );
        assert.deepEqual([answer.cookies, answer.headers["cache-control"]], [[], "no-store"]);
      }
      const log = await lines(worker, QUESTIONS.length);
      assert.equal(log.length, QUESTIONS.length, `${about}: lines in the log`);
      for (const { level, error } of log) assert.ok(level === "error" && error.includes(name), `${about}: ${error}`);
      for (const secret of [long, short, SETTINGS.SECRETS]) assert.ok(!worker.logs().includes(secret), `${about}: the log tells a secret`);
    } finally {
      await worker.dispose();
    }
  }
});

test("failures are nosniff as well", async () => {
  const [unset, empty] = [await start({ settings: { SECRETS: null } }), await start({ migrate: false })];
  for (const worker of [unset, empty]) {
    const { status, headers } = await ask(worker, QUESTIONS[0]);
    assert.deepEqual([headers["x-content-type-options"], headers["cache-control"]], ["nosniff", "no-store"], `${status}`);
  }
});

test("a database without tables: 503 in JSON, on protected hosts too, and nobody is let in", async () => {
  const healthy = await start();
  const { browser, email } = await signUp(healthy);
  const empty = await start({ migrate: false });
  const questions = [
    ...QUESTIONS,
    ["POST", at("/sign-in/email"), { email, password: PASSWORD }],
    ["GET", at("/list-sessions")],
    ["GET", at("/token")],
    ["GET", at("/jwks")],
    ["POST", at("/sign-out"), {}],
    ["GET", `${APP}/.doorward/me`],
    ["GET", `${APP}/deep?x=1`],
    ["POST", `${APP}/`, {}],
  ];
  for (const question of questions) {
    const answer = await ask(empty, question, { cookie: jar(browser) });
    assert.deepEqual([answer.status, answer.json], [503, { message: "Service unavailable", code: "SERVICE_UNAVAILABLE" }], `${question}`);
    assert.match(answer.headers["content-type"], /^application\/json/);
    assert.deepEqual([answer.cookies, answer.location], [[], undefined], `${question}`);
  }
  const log = await lines(empty, questions.length);
  assert.equal(log.length, questions.length);
  for (const { level, error } of log) assert.ok(level === "error" && error.includes("no such table"), error);
});

test("a table that fails while the Worker runs: 503, nothing half done, no session ended or begun, and it recovers", async () => {
  const origin = await startOrigin();
  try {
    const worker = await start({
      settings: { ROUTING_CACHE_SECONDS: "600", SESSION_COOKIE_CACHE_SECONDS: "0", SESSION_RECHECK_SECONDS: "0" },
    });
    await seedApp(worker, "app.localhost", { origin: origin.url });
    const { browser, email, id } = await signUp(worker);
    assert.equal((await visit(browser, `${APP}/`)).status, 200);
    const [cookie, appCookie] = [jar(browser), jar(browser, "app.localhost")];
    const newcomer = uniqueEmail();
    const signIn = ["POST", at("/sign-in/email"), { email, password: PASSWORD }];
    const signUpAnew = ["POST", at("/sign-up/email"), { name: "A", email: newcomer, password: PASSWORD }];
    const change = ["POST", at("/change-password"), { currentPassword: PASSWORD, newPassword: "a new password" }];
    const mine = ["get-session", "list-sessions", "token"].map((path) => ["GET", at(`/${path}`)]);
    const ending = [
      ["POST", at("/sign-out"), {}],
      ["POST", at("/revoke-sessions"), {}],
      ["POST", `${AUTH}/sign-out`, ""],
    ];
    const gated = [
      ["GET", `${APP}/secret`],
      ["POST", `${APP}/secret`, {}],
      ["GET", `${APP}/.doorward/me`],
    ];
    const table = {
      session: [signIn, signUpAnew, change, ...mine, ...ending, ...gated],
      user: [signIn, signUpAnew, change, ...mine, ...gated],
      account: [signIn, signUpAnew, change],
      rate_limit: [signIn, signUpAnew, change],
      login_history: [signIn, signUpAnew, change],
      audit_event: [signUpAnew, change, ["POST", at("/revoke-sessions"), {}]],
      member_role: [signUpAnew, ...mine],
    };
    const state = () =>
      Promise.all([
        worker.rows("select id from user"),
        worker.rows("select password_hash from account"),
        worker.rows("select id, revoked_at from session"),
      ]);
    const before = await state();
    for (const [name, questions] of Object.entries(table)) {
      await worker.d1.prepare(`alter table ${name} rename to ${name}_away`).run();
      for (const question of questions) {
        const heard = origin.to("/secret").length;
        const answer = await ask(worker, question, { cookie: question[1].startsWith(APP) ? appCookie : cookie });
        assert.equal(answer.status, 503, `${name}: ${question} ${answer.text}`);
        assert.deepEqual(answer.cookies, [], `${name}: ${question}`);
        assert.equal(origin.to("/secret").length, heard, `${name}: the origin was asked`);
      }
      await worker.d1.prepare(`alter table ${name}_away rename to ${name}`).run();
    }
    assert.deepEqual(await state(), before);
    assert.equal((await worker.browser().get(`${APP}/secret`, { headers: { cookie: appCookie } })).status, 200);
    const [back, anew] = [await ask(worker, signIn), await ask(worker, signUpAnew)];
    assert.deepEqual([back.status, back.json.user.id, anew.status], [200, id, 200]);
  } finally {
    await origin.close();
  }
});

// D1 that fails as it does when it is away, once a request says so. The Worker keeps what it was given as D1.
const FAILING = `
import worker from "./index.js";
let wrapped, away = false, asked = 0;
const wrap = (d1) => Object.create(d1, {
  prepare: { value: (text) => d1.prepare(text) },
  batch: { value: async (statements) => {
    if (!away) return d1.batch(statements);
    asked += 1;
    throw new Error("D1_ERROR: Network connection lost.", { cause: new Error("Network connection lost.") });
  } },
});
export default {
  fetch(request, env, context) {
    const said = request.headers.get("x-test-d1");
    if (said) {
      away = said === "away";
      return new Response(String(asked));
    }
    wrapped ??= wrap(env.DB);
    return worker.fetch(request, { ...env, DB: wrapped }, context);
  },
};`;
const d1Is = async (worker, state) => Number((await worker.browser().get(`${AUTH}/`, { headers: { "x-test-d1": state } })).text);

test("while D1 is away, public paths go on and sessions are judged as before, and that has an end", async () => {
  const origin = await startOrigin();
  try {
    for (const [name, stale, isKept] of [
      ["kept on", null, true],
      ["no longer than that", "2", false],
      ["nothing is kept", "0", false],
    ]) {
      const settings = {
        ROUTING_CACHE_SECONDS: "1",
        ROUTING_STALE_SECONDS: stale,
        SESSION_COOKIE_CACHE_SECONDS: "0",
        SESSION_RECHECK_SECONDS: "600",
      };
      const worker = await start({ main: FAILING, settings });
      await seedApp(worker, "app.localhost", { origin: origin.url });
      await seedApp(worker, "asked.localhost", {});
      const { browser } = await signUp(worker);
      const nobody = worker.browser();
      assert.equal((await visit(browser, `${APP}/`)).status, 200);
      const hosts = ["http://unknown.localhost/", `${AUTH}/forward-auth`];
      for (const url of hosts) await nobody.get(url, { headers: API });
      const check = {
        host: "auth.localhost",
        "x-forwarded-method": "GET",
        "x-forwarded-proto": "http",
        "x-forwarded-host": "asked.localhost",
      };
      const asks = async (uri) =>
        (await nobody.get("http://asked.localhost/forward-auth", { headers: { ...API, ...check, "x-forwarded-uri": uri } })).status;
      assert.equal(await asks("/public/x"), 200);
      await d1Is(worker, "away");
      await sleep(2100);
      const heard = origin.requests.length;
      const status = async (who, path, headers = API) => (await who.get(APP + path, { headers })).status;
      const known = (kept) => (isKept ? kept : 503);
      assert.equal(await status(nobody, "/public/x"), known(200), `${name}: a public path`);
      assert.equal(await status(browser, "/secret"), known(200), `${name}: a session that KV knows`);
      assert.equal(await status(browser, "/admin"), known(403), `${name}: the same without the role`);
      assert.equal(await status(nobody, "/secret"), known(401), `${name}: no session`);
      assert.equal(
        await status(nobody, "/secret", { ...API, cookie: `doorward.session=${"A".repeat(43)}` }),
        known(401),
        `${name}: a made-up session`,
      );
      assert.deepEqual([await asks("/public/x"), await asks("/x")], [known(200), known(401)], `${name}: forward-auth`);
      for (const url of ["http://unknown.localhost/", "http://never.localhost/"])
        assert.equal((await nobody.get(url, { headers: API })).status, 503, `${name}: ${url}`);
      assert.equal(origin.requests.length - heard, isKept ? 2 : 0, `${name}: the origin was asked`);
      if (isKept) {
        await sleep(1100);
        const before = await d1Is(worker, "away");
        for (let times = 0; times < 10; times++) assert.equal(await status(nobody, "/public/x"), 200);
        assert.ok((await d1Is(worker, "away")) - before <= 1, "each request waits for D1 to fail");
        assert.match(worker.logs(), /the route of app\.localhost is remembered: .*Network connection lost/);
      }
      await d1Is(worker, "back");
      await sleep(1100);
      await worker.d1.prepare("update access_rule set access = 'deny' where access = 'public'").run();
      assert.equal(await status(nobody, "/public/x"), 403, `${name}: what D1 says once it is back`);
    }
  } finally {
    await origin.close();
  }
});

test("a host that was given to another tenant is not served to the former one while the new one's database is away", async () => {
  const origin = await startOrigin();
  try {
    const settings = { ROUTING_CACHE_SECONDS: "1", SESSION_COOKIE_CACHE_SECONDS: "0", SESSION_RECHECK_SECONDS: "0" };
    const worker = await start({
      main: FAILING.replaceAll("DB", "DB_ACME").replaceAll("DB_ACME_ERROR", "DB_ERROR"),
      databases: ["DB_ACME"],
      settings,
    });
    const admin = await signUp(worker, { roles: ["owner"] });
    const made = await admin.browser.post(`${AUTH}/api/auth/admin/tenants`, {
      name: "Acme",
      slug: "acme",
      database: "DB_ACME",
      hosts: ["acme.localhost"],
      owner: { email: "boss@acme.example", name: "Boss" },
    });
    assert.equal(made.status, 201, made.text);
    const app = await seedApp(worker, "moved.localhost", { origin: origin.url, access: "public", rules: [] });
    const ask = async () => (await worker.browser().get("http://moved.localhost/x", { headers: API })).status;
    assert.equal(await ask(), 200);
    await worker.d1.prepare("delete from proxied_app where id = ?").bind(app).run();
    await worker.d1
      .prepare(
        `insert into tenant_domain (id, tenant_id, host, is_primary, created_at, updated_at) values
           ('moved', ?, 'moved.localhost', 0, 0, 0)`,
      )
      .bind(made.json.id)
      .run();
    await d1Is(worker, "away");
    await sleep(1100);
    const heard = origin.requests.length;
    assert.equal(await ask(), 503);
    assert.equal(origin.requests.length, heard, "the former tenant's origin was asked");
  } finally {
    await origin.close();
  }
});

test("a session that only D1 knows passes nowhere while D1 is away", async () => {
  const origin = await startOrigin();
  try {
    const worker = await start({
      main: FAILING,
      settings: { ROUTING_CACHE_SECONDS: "1", SESSION_COOKIE_CACHE_SECONDS: "0", SESSION_RECHECK_SECONDS: "0" },
    });
    await seedApp(worker, "app.localhost", { origin: origin.url });
    const { browser } = await signUp(worker);
    assert.equal((await visit(browser, `${APP}/`)).status, 200);
    await d1Is(worker, "away");
    await sleep(1100);
    const heard = origin.requests.length;
    for (const path of ["/secret", "/admin"]) assert.equal((await browser.get(APP + path, { headers: API })).status, 503, path);
    assert.equal(origin.requests.length, heard);
  } finally {
    await origin.close();
  }
});

test("D1 that answers with an error is not away: what was remembered is not gone on with", async () => {
  const origin = await startOrigin();
  try {
    const worker = await start({ settings: { ROUTING_CACHE_SECONDS: "1" } });
    await seedApp(worker, "app.localhost", { origin: origin.url });
    const ask = async () => (await worker.browser().get(`${APP}/public/x`, { headers: API })).status;
    assert.equal(await ask(), 200);
    await worker.d1.prepare("alter table proxied_app rename to proxied_app_away").run();
    await sleep(1100);
    assert.equal(await ask(), 503);
    await worker.d1.prepare("alter table proxied_app_away rename to proxied_app").run();
    assert.equal(await ask(), 200);
  } finally {
    await origin.close();
  }
});

test("rotating SECRETS: the old one's cookies, requests and sealed values hold while it is listed, and not after", async () => {
  const [OLD, NEW] = ["old: 0123456789abcdef0123456789abcdef", "new: fedcba9876543210fedcba9876543210"];
  const tables = ["user", "account", "member", "member_role", "session", "signing_key", "proxied_app", "verification"];
  async function copyRows(from, to) {
    for (const table of tables) {
      for (const row of await from.rows(`select * from ${table}`)) {
        const names = Object.keys(row);
        await to.d1
          .prepare(`insert or replace into ${table} (${names}) values (${names.map(() => "?")})`)
          .bind(...Object.values(row))
          .run();
      }
    }
  }
  const old = await start({ settings: { SECRETS: OLD } });
  const rotated = await start({ settings: { SECRETS: `${NEW}, ${OLD}` } });
  const fresh = await start({ settings: { SECRETS: NEW } });
  await seedApp(old, "app.localhost", { rules: [] });
  const { browser, email, id } = await signUp(old);
  const cookie = jar(browser);
  const bare = `doorward.session=${browser.cookies("auth.localhost").get("doorward.session")}`;
  const { token } = (await browser.get(at("/token"))).json;
  const { kid } = decodeProtectedHeader(token);
  // A visitor of a protected host is on the way back from the auth host while the keys change.
  const begun = await browser.get(`${APP}/deep`, { headers: PAGE });
  const callback = (await browser.get(begun.location, { headers: PAGE })).location;
  for (const worker of [rotated, fresh]) await copyRows(old, worker);
  const get = (worker, path, held) =>
    worker.browser().get(path.startsWith("http") ? path : at(path), { headers: { cookie: held, ...PAGE } });

  // With both: nothing is lost.
  const snapshot = await get(rotated, "/get-session", cookie);
  assert.deepEqual([snapshot.json.user.id, snapshot.headers["server-timing"]], [id, 'd1;desc="0"'], "the snapshot");
  assert.equal((await get(rotated, "/get-session", bare)).json.user.id, id, "the cookie");
  const jwt = (await get(rotated, "/token", bare)).json.token;
  assert.equal(decodeProtectedHeader(jwt).kid, kid, "the sealed key does not open");
  const keys = createLocalJWKSet((await get(rotated, "/jwks")).json);
  for (const signed of [jwt, token]) assert.equal((await jwtVerify(signed, keys)).payload.sub, id);
  assert.match((await get(rotated, begun.location, bare)).location ?? "", /\/\.doorward\/callback\?code=/, "a gate request");
  const arrived = await get(rotated, callback, jar(browser, "app.localhost"));
  assert.deepEqual([arrived.status, arrived.location, letIn(arrived)], [302, "/deep", true], "a code, and its sealed payload");

  // The new one alone: what the old one made is nothing.
  for (const held of [cookie, bare]) {
    const answer = await get(fresh, "/get-session", held);
    assert.equal(answer.text, "null");
    assert.match(answer.cookies.join("\n"), /doorward\.session=;.*Max-Age=0/);
    for (const path of ["/list-sessions", "/token"]) assert.equal((await get(fresh, path, held)).status, 401, path);
  }
  assert.equal((await get(fresh, begun.location, bare)).status, 400);
  const late = await get(fresh, callback, jar(browser, "app.localhost"));
  assert.deepEqual([late.status, letIn(late)], [400, false]);

  // The new one signs: its cookies are good without the old one, and not where only the old one is.
  const signedIn = await ask(rotated, ["POST", at("/sign-in/email"), { email, password: PASSWORD }]);
  const newCookie = signedIn.cookies.find((line) => line.startsWith("doorward.session=")).split(";")[0];
  for (const worker of [old, fresh]) await copyRows(rotated, worker);
  assert.equal((await get(fresh, "/get-session", newCookie)).json.user.id, id);
  assert.equal((await get(old, "/get-session", newCookie)).text, "null");
  const minted = await get(fresh, "/token", newCookie);
  assert.ok(
    minted.status !== 200 || decodeProtectedHeader(minted.json.token).kid !== kid,
    "a key opened without the secret that sealed it",
  );
});

test("once the old secret is gone, tokens are signed again, with a new key", async () => {
  const worker = await start();
  const { browser } = await signUp(worker);
  assert.equal((await browser.get(at("/jwks"))).json.keys.length, 1);
  const next = await start({ settings: { SECRETS: "n".repeat(40) } });
  for (const row of await worker.rows("select * from signing_key")) {
    await next.d1
      .prepare(`insert into signing_key (${Object.keys(row)}) values (${Object.keys(row).map(() => "?")})`)
      .bind(...Object.values(row))
      .run();
  }
  const person = await signUp(next);
  const [token, jwks] = [await person.browser.get(at("/token")), await person.browser.get(at("/jwks"))];
  assert.deepEqual(
    [token.status, jwks.status],
    [200, 200],
    "/token and /jwks are broken for good: no key is made in place of one that does not open",
  );
});

test("a person who opens a page sees a page, also where the database is gone", async () => {
  const empty = await start({ migrate: false });
  for (const url of [`${AUTH}/login`, `${APP}/deep`]) {
    const answer = await empty.browser().get(url, { headers: PAGE });
    assert.deepEqual(
      [answer.status, answer.headers["content-type"], /not available right now/.test(answer.text)],
      [503, "text/html; charset=utf-8", true],
      url,
    );
  }
});
