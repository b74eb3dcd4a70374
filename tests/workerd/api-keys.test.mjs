// Keys for programs, in the hands of whoever found one.

import assert from "node:assert/strict";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import test, { after, before } from "node:test";
import { createLocalJWKSet, jwtVerify } from "jose";
import { lines, raw, startOrigin } from "../harness/origin.mjs";
import {
  API,
  PAGE,
  PASSWORD,
  RULES,
  cookieOf,
  giveRole,
  memberOf,
  seedApp,
  seedDomain,
  seedTenant,
  signUp,
  visit,
} from "../harness/seed.mjs";
import { AUTH, DEFAULT_TENANT, startWorker } from "../harness/worker.mjs";
import { authRoutes } from "../harness/routes.mjs";

const [APP, OTHER, SITE, TENANT_HOST] = ["http://app.localhost", "http://other.localhost", "http://site.localhost", "http://two.localhost"];
let worker, origin, owner, admin, two;

before(async () => {
  origin = await startOrigin();
  worker = await startWorker({ settings: { SESSION_COOKIE_CACHE_SECONDS: "0", SESSION_RECHECK_SECONDS: "0", LIMIT_MAIL: "10000/60" } });
  two = await seedTenant(worker, { slug: "two", pool: "isolated" });
  await seedDomain(worker, two, "two.localhost");
  await seedApp(worker, "app.localhost", { origin: origin.url });
  await seedApp(worker, "other.localhost", { origin: origin.url, tenant: two });
  await seedApp(worker, "site.localhost", {});
  [owner, admin] = [await signUp(worker, { roles: ["owner"] }), await signUp(worker, { roles: ["admin"] })];
});
after(async () => {
  await worker?.dispose();
  await origin?.close();
});

const at = (path, host = AUTH) => `${host}/api/auth${path}`;
const post = ({ browser }, path, body = {}, host = AUTH) => browser.post(at(path, host), body);
const change = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
const one = async (sql, ...values) => (await worker.rows(sql, ...values))[0];
const told = ({ status, text }) => [status, text && JSON.parse(text)?.code];
const times = (count, act) => Promise.all(Array.from({ length: count }, (_, n) => act(n)));
const tally = (answers) => answers.reduce((sum, { status }) => ({ ...sum, [status]: (sum[status] ?? 0) + 1 }), {});
const copy = ({ browser, ...who }) => {
  const twin = worker.browser();
  for (const host of ["auth.localhost", "two.localhost", "app.localhost"])
    for (const [name, value] of browser.cookies(host)) twin.cookies(host).set(name, value);
  return { ...who, browser: twin };
};
async function made(who, body = {}, host = AUTH) {
  const answer = await post(who, "/api-key/create", body, host);
  assert.equal(answer.status, 200, answer.text);
  return answer.json;
}
/** A program that has a key and nothing else. */
const program = (method, url, key, body, headers = {}) =>
  worker.browser().send(method, url, { body, headers: { ...API, "x-api-key": key, ...headers } });
const get = (path, key, host) => program("GET", at(path, host), key);
const send = (path, key, body, host) => program("POST", at(path, host), key, body);
const use = (key, host) => get("/admin/list-users?limit=1", key, host);
const page = (key, path = "/", host = APP, headers) => program("GET", `${host}${path}`, key, undefined, headers);
const assertionOf = (headers) => JSON.parse(Buffer.from(headers["x-doorward-assertion"].split(".")[1], "base64url"));
const checksum = (text) => text + createHash("sha256").update(text).digest("base64url").slice(0, 6);
const mine = { organizationId: DEFAULT_TENANT };

test("only a hash is kept: the text is in its answer, and nowhere else", async () => {
  const { key, ...shown } = await made(admin, { name: "secret keeper", prefix: "app_", metadata: { a: 1 } });
  assert.ok(key.startsWith("app_") && key.length >= 4 + 43 && shown.start === key.slice(0, 6));
  const tables = (
    await worker.rows(
      "select name from sqlite_schema where type = 'table' and name not like '\\_cf%' escape '\\' and name not like 'sqlite%'",
    )
  ).map(({ name }) => name);
  const secret = key.slice(4, -6);
  assert.equal((await use(key)).status, 200);
  for (const table of tables) {
    const text = JSON.stringify(await worker.rows(`select * from "${table}"`));
    for (const part of [key, secret, secret.slice(0, 20), secret.slice(-20), Buffer.from(secret, "base64url").toString("hex")])
      assert.ok(!text.includes(part), `${table} holds the key`);
  }
  const row = await one("select key_hash from api_key where id = ?", shown.id);
  const sha256 = (text) => createHash("sha256").update(text).digest("base64url");
  assert.equal(row.key_hash, sha256(sha256(key)));
  const kv = await worker.kv.list();
  for (const { name } of kv.keys)
    assert.ok(!name.includes(secret) && !String(await worker.kv.get(name)).includes(secret), "KV holds the key");
  assert.ok(!worker.logs().includes(secret), "the log holds the key");
  for (const answer of [
    await admin.browser.get(at(`/api-key/get?id=${shown.id}`)),
    await admin.browser.get(at("/api-key/list")),
    await post(admin, "/api-key/update", { keyId: shown.id, name: "x" }),
  ]) {
    assert.equal(answer.status, 200, answer.text);
    assert.ok(!answer.text.includes(secret.slice(0, 20)) && !answer.text.includes(row.key_hash), "told again");
  }
  const keys = await times(20, () => made(copy(admin)));
  assert.equal(new Set(keys.map((one) => one.key)).size, 20);
});

test("a key never does more than its user may now", async () => {
  const who = await signUp(worker, { roles: ["admin"] });
  const [whole, cut] = [await made(who), await made(who, { permissions: { user: ["list", "get"], ac: ["read"] } })];
  const may = async (key, permissions) => (await send("/admin/has-permission", key, { permissions })).json.success;
  assert.deepEqual([(await use(whole.key)).status, (await use(cut.key)).status], [200, 200]);
  assert.deepEqual(
    [await may(whole.key, { user: ["ban"] }), await may(cut.key, { user: ["ban"] }), await may(cut.key, { user: ["list"] })],
    [true, false, true],
  );
  const victim = await signUp(worker);
  for (const [path, body] of [
    ["/admin/ban-user", { userId: victim.id }],
    ["/admin/set-role", { userId: victim.id, role: "admin" }],
    ["/admin/update-user", { userId: victim.id, data: { name: "X" } }],
    ["/admin/set-user-password", { userId: victim.id, newPassword: PASSWORD }],
    ["/admin/remove-user", { userId: victim.id }],
    ["/admin/create-user", { email: "x@y.example", name: "N" }],
    ["/admin/list-user-sessions", { userId: victim.id }],
    ["/admin/revoke-user-sessions", { userId: victim.id }],
    ["/admin/deactivate-user", { userId: victim.id }],
    ["/organization/invite-member", { ...mine, email: "x@y.example", role: "member" }],
    ["/organization/create-team", { ...mine, name: "T" }],
    ["/organization/create-role", { ...mine, role: "r", permission: { user: ["list"] } }],
    ["/organization/update", { ...mine, data: { name: "Mine" } }],
  ])
    assert.equal((await send(path, cut.key, body)).status, 403, `cut: ${path}`);
  // What a role gives, a key of its user may not pass on beyond itself.
  assert.equal((await send("/admin/set-role", whole.key, { userId: victim.id, role: "owner" })).status, 403);
  assert.equal((await send("/admin/set-role", whole.key, { userId: who.id, role: "owner" })).status, 403);
  for (const [path, body] of [
    ["/admin/ban-user", { userId: owner.id }],
    ["/admin/set-user-password", { userId: owner.id, newPassword: PASSWORD }],
    ["/admin/remove-user", { userId: owner.id }],
  ])
    assert.equal((await send(path, whole.key, body)).status, 403, path);
});

test("a key for one action does it upon whoever its user may do it to", async () => {
  const victim = await signUp(worker);
  const { key } = await made(admin, { permissions: { user: ["ban"] } });
  const banned = await send("/admin/ban-user", key, { userId: victim.id });
  assert.equal(banned.status, 200, `a key for user:ban bans no plain member: ${banned.text}`);
});

test("a demoted user's keys are demoted, and one who is an administrator again has them back", async () => {
  const who = await signUp(worker, { roles: ["admin"] });
  const [whole, cut] = [await made(who), await made(who, { permissions: { user: ["list"], ac: ["read"] } })];
  assert.equal((await post(owner, "/admin/set-role", { userId: who.id, role: "user" })).status, 200);
  for (const { key } of [whole, cut]) {
    assert.equal((await use(key)).status, 403, "after the demotion");
    assert.equal((await send("/admin/has-permission", key, { permissions: { user: ["list"] } })).json.success, false);
    assert.equal((await page(key, "/admin/x")).status, 403);
  }
  assert.equal((await get(`/organization/list-roles?organizationId=${DEFAULT_TENANT}`, cut.key)).status, 200, "what is left of it");
  assert.equal((await post(owner, "/admin/set-role", { userId: who.id, role: "admin" })).status, 200);
  for (const { key } of [whole, cut]) assert.equal((await use(key)).status, 200);
  await change("update role set is_active = 0 where tenant_id is null and name = 'admin'");
  for (const { key } of [whole, cut]) assert.equal((await use(key)).status, 403, "a role that is off");
  await change("update role set is_active = 1 where tenant_id is null and name = 'admin'");
});

test("nobody makes or widens a key beyond themselves", async () => {
  const [plain, guestless] = [await signUp(worker), { browser: worker.browser() }];
  const insufficient = [403, "INSUFFICIENT_API_KEY_PERMISSIONS"];
  for (const permissions of [{ user: ["list"] }, { ac: ["read", "create"] }, { nope: ["x"] }, { constructor: ["x"] }])
    assert.deepEqual(told(await post(plain, "/api-key/create", { permissions })), insufficient, JSON.stringify(permissions));
  for (const permissions of [{ organization: ["delete"] }, { user: ["list", "impersonate-admins"] }])
    assert.deepEqual(told(await post(admin, "/api-key/create", { permissions })), insufficient);
  const own = await made(plain, { permissions: { ac: ["read"] } });
  assert.deepEqual(told(await post(plain, "/api-key/update", { keyId: own.id, permissions: { user: ["list"] } })), insufficient);
  for (const permissions of ["x", [], 5, { "*": ["*"] }, { user: ["*"] }, { user: "list" }, { "": ["x"] }, { user: [1] }]) {
    assert.equal((await post(owner, "/api-key/create", { permissions })).status, 400, JSON.stringify(permissions));
    assert.equal((await post(plain, "/api-key/update", { keyId: own.id, permissions })).status, 400, JSON.stringify(permissions));
  }
  // In another's name, of another, from a key, from nobody.
  for (const userId of [admin.id, owner.id, "nope", randomUUID()])
    assert.notEqual((await post(copy(plain), "/api-key/create", { userId })).status, 200, userId);
  const theirs = await made(admin);
  for (const [method, path, body] of [
    ["GET", `/api-key/get?id=${theirs.id}`],
    ["POST", "/api-key/update", { keyId: theirs.id, name: "x" }],
    ["POST", "/api-key/delete", { keyId: theirs.id }],
  ]) {
    for (const who of [plain, owner])
      assert.deepEqual(
        told(await who.browser.send(method, at(path), { body, headers: { origin: AUTH } })),
        [404, "KEY_NOT_FOUND"],
        `${method} ${path}`,
      );
    assert.equal((await guestless.browser.send(method, at(path), { body, headers: { origin: AUTH } })).status, 401);
    assert.equal((await program(method, at(path), theirs.key, body)).status, 401, `a key manages keys: ${method} ${path}`);
  }
  for (const body of [{}, { name: "child" }, { ...mine }, { userId: admin.id }])
    assert.equal((await send("/api-key/create", theirs.key, body)).status, 401, "a key makes keys");
  assert.equal((await get("/api-key/list", theirs.key)).status, 401);
  assert.equal((await admin.browser.get(at(`/api-key/get?id=${theirs.id}`))).json.name, null);
});

test("whoever asks for a key in another's name is refused, and not signed out for it", async () => {
  const plain = await signUp(worker);
  const answer = await post(plain, "/api-key/create", { userId: admin.id });
  assert.ok([401, 403].includes(answer.status), answer.text);
  assert.deepEqual(
    answer.cookies.filter((line) => line.startsWith("doorward.session=;")),
    [],
  );
  assert.ok((await plain.browser.get(at("/get-session"))).json, "the session's cookie is gone");
});

test("disabled, expired, deleted, misspelt; and what never was one of ours", async () => {
  const key = await made(admin, { expiresIn: 86_400 });
  const update = (body) => post(admin, "/api-key/update", { keyId: key.id, ...body });
  await update({ enabled: false });
  assert.deepEqual(told(await use(key.key)), [401, "KEY_DISABLED"]);
  assert.deepEqual([(await page(key.key)).status, (await page(key.key, "/public/x")).status], [401, 401]);
  await update({ enabled: true });
  assert.equal((await use(key.key)).status, 200);
  await change("update api_key set expires_at = ? where id = ?", Date.now() - 1, key.id);
  for (const answer of [await use(key.key), await page(key.key), await page(key.key, "/public/x")])
    assert.deepEqual(told(answer), [401, "KEY_EXPIRED"]);
  await change("update api_key set expires_at = ? where id = ?", Date.now() + 60_000, key.id);
  assert.equal((await use(key.key)).status, 200);
  const invalid = [401, "INVALID_API_KEY"];
  const secret = key.key.slice(0, -6);
  for (const text of [
    checksum(randomBytes(32).toString("base64url")),
    checksum(`app_${randomBytes(32).toString("base64url")}`),
    checksum(`${secret.slice(0, -1)}${secret.endsWith("A") ? "B" : "A"}`),
    checksum("x".repeat(43)),
    checksum("'".repeat(43)),
  ]) {
    for (const answer of [await use(text), await page(text), await page(text, "/public/x"), await page(text, "/internal/x")])
      assert.ok(told(answer).join() === invalid.join() || answer.status === 403, `${text}: ${answer.status}`);
    assert.deepEqual(told(await page(text, "/public/x")), invalid, "a bad key is somebody, not nobody");
  }
  for (const text of [
    "",
    "x",
    `${key.key}x`,
    `x${key.key}`,
    key.key.slice(1),
    key.key.toUpperCase(),
    "sk_live_51H",
    "x".repeat(49),
    "x".repeat(8000),
  ]) {
    const answer = await use(text);
    assert.equal(answer.status, 401, text.slice(0, 60));
    assert.equal(answer.json.code, "UNAUTHORIZED", `meant for somebody else: ${text.slice(0, 60)}`);
    assert.equal((await page(text, "/public/x")).status, 200, text.slice(0, 60));
  }
  // A key of ours among other things is nobody's business but ours: it is refused, and never passed on.
  for (const text of [`Bearer ${key.key}`, `${key.key},${key.key}`, `"${key.key}"`])
    assert.deepEqual(told(await page(text, "/public/x")), invalid, text);
  for (const headers of [
    { authorization: `Bearer ${key.key}` },
    { cookie: `doorward.session=${key.key}` },
    { "x-api-key": undefined, "api-key": key.key },
  ])
    assert.equal((await worker.browser().get(at("/admin/list-users"), { headers })).status, 401, JSON.stringify(headers).slice(0, 40));
  assert.equal((await worker.browser().get(at(`/admin/list-users?api_key=${key.key}&x-api-key=${key.key}`))).status, 401, "in the query");
  assert.equal((await post(admin, "/api-key/delete", { keyId: key.id })).status, 200);
  for (const answer of [await use(key.key), await page(key.key)]) assert.deepEqual(told(answer), invalid, "deleted");
  assert.deepEqual(told(await post(admin, "/api-key/delete", { keyId: key.id })), [404, "KEY_NOT_FOUND"]);
});

test("limits are exact, however many ask at once", async () => {
  for (const [name, body, wanted, code] of [
    ["rate", { rateLimitMax: 7, rateLimitTimeWindow: 3_600_000 }, { 200: 7, 429: 43 }, "TOO_MANY"],
    ["remaining", { remaining: 11 }, { 200: 11, 429: 39 }, "USAGE_EXCEEDED"],
    ["both", { remaining: 9, rateLimitMax: 5, rateLimitTimeWindow: 3_600_000 }, { 200: 5, 429: 45 }],
    ["one", { remaining: 1 }, { 200: 1, 429: 49 }],
    ["none", { remaining: 0 }, { 429: 50 }],
    ["off", { rateLimitEnabled: false, rateLimitMax: 1 }, { 200: 50 }],
    ["refilled", { remaining: 4, refillAmount: 6, refillInterval: 3_600_000 }, { 200: 4, 429: 46 }],
  ]) {
    for (const ask of [use, page]) {
      const key = await made(admin, body);
      const answers = await times(50, () => ask(key.key));
      assert.deepEqual(tally(answers), wanted, `${name}: ${ask.name}`);
      const refused = answers.find(({ status }) => status === 429);
      if (name === "remaining") assert.equal(refused.json.code, code);
      if (name === "rate") assert.ok(Number(refused.headers["retry-after"] ?? refused.headers["x-retry-after"]) > 3000, "says when");
      const left = (await admin.browser.get(at(`/api-key/get?id=${key.id}`))).json;
      if (body.remaining !== undefined) assert.equal(left.remaining, Math.max(0, body.remaining - (wanted[200] ?? 0)), name);
      assert.equal(left.requestCount, wanted[200] ?? 0, `${name}: requestCount`);
    }
  }
  const key = await made(admin, { remaining: 3, refillAmount: 5, refillInterval: 60_000 });
  assert.deepEqual(tally(await times(20, () => use(key.key))), { 200: 3, 429: 17 });
  await change(
    "update api_key set last_refill_at = coalesce(last_refill_at, created_at) - 60001, created_at = created_at - 60001 where id = ?",
    key.id,
  );
  assert.deepEqual(tally(await times(50, () => use(key.key))), { 200: 5, 429: 45 }, "one refill, though fifty saw that it was due");
  await change("update api_key set last_refill_at = last_refill_at - 600010 where id = ?", key.id);
  assert.deepEqual(tally(await times(50, () => use(key.key))), { 200: 5, 429: 45 }, "ten intervals are one refill");
  const window = await made(admin, { rateLimitMax: 2, rateLimitTimeWindow: 60_000 });
  assert.deepEqual(tally(await times(10, () => use(window.key))), { 200: 2, 429: 8 });
  await change("update api_key set window_started_at = window_started_at - 60001 where id = ?", window.id);
  assert.deepEqual(tally(await times(10, () => use(window.key))), { 200: 2, 429: 8 }, "the next window");
  const usual = await made(admin);
  assert.deepEqual([usual.rateLimitEnabled, usual.rateLimitMax, usual.rateLimitTimeWindow], [true, 1000, 3_600_000]);
});

test("a key ends with its user, wherever they go", async () => {
  const [gone, off] = [
    [401, "INVALID_API_KEY"],
    [401, "KEY_DISABLED"],
  ];
  for (const [name, end, back] of [
    ["banned", (id) => post(owner, "/admin/ban-user", { userId: id }), (id) => post(owner, "/admin/unban-user", { userId: id })],
    [
      "deactivated",
      (id) => post(owner, "/admin/deactivate-user", { userId: id }),
      (id) => post(owner, "/admin/reactivate-user", { userId: id }),
    ],
    ["removed", (id) => post(owner, "/admin/remove-user", { userId: id })],
    [
      "a member no more",
      async (id) => post(owner, "/organization/remove-member", { ...mine, memberIdOrEmail: await memberOf(worker, DEFAULT_TENANT, id) }),
    ],
    ["left", (id, who) => post(who, "/organization/leave", mine)],
    ["deleted by themselves", (id, who) => post(who, "/delete-user", { password: PASSWORD })],
  ]) {
    const who = await signUp(worker, { roles: ["admin"] });
    const keys = [await made(who), await made(who, { permissions: { user: ["list"] } })];
    for (const { key } of keys) assert.deepEqual([(await use(key)).status, (await page(key)).status], [200, 200], name);
    const ended = await end(who.id, who);
    assert.equal(ended.status, 200, ended.text);
    for (const { key } of keys)
      for (const answer of [await use(key), await page(key), await page(key, "/public/x")])
        assert.deepEqual(told(answer), back ? off : gone, name);
    if (!back) continue;
    // A user who is let in again switches on what is theirs: it may have been a thief's.
    assert.equal((await back(who.id)).status, 200);
    for (const { key } of keys) assert.deepEqual(told(await use(key)), off, `${name} and back`);
    assert.equal((await post(who, "/sign-in/email", { email: who.email, password: PASSWORD })).status, 200);
    for (const { id, key } of keys) {
      assert.equal((await post(who, "/api-key/update", { keyId: id, enabled: true })).status, 200);
      assert.equal((await use(key)).status, 200, `${name}, back and switched on`);
    }
  }
  // With its tenant.
  const boss = await signUp(worker, { host: TENANT_HOST, tenant: two, roles: ["owner"] });
  const [theirs, tenants] = [await made(boss, {}, TENANT_HOST), await made(boss, { organizationId: two }, TENANT_HOST)];
  assert.deepEqual(
    [
      (await use(theirs.key, TENANT_HOST)).status,
      (await page(theirs.key, "/", OTHER)).status,
      (await page(tenants.key, "/", OTHER)).status,
    ],
    [200, 200, 200],
  );
  await change("update tenant set status = 'suspended' where id = ?", two);
  for (const answer of [await use(theirs.key, TENANT_HOST), await page(theirs.key, "/", OTHER), await page(tenants.key, "/", OTHER)])
    assert.ok(answer.status >= 400, answer.text);
  await change("update tenant set status = 'active' where id = ?", two);
  assert.equal((await page(tenants.key, "/", OTHER)).status, 200);
});

test("a key is of one tenant: elsewhere it is nobody's", async () => {
  const boss = await signUp(worker, { host: TENANT_HOST, tenant: two, roles: ["owner"] });
  const [here, there] = [await made(owner), await made(boss, {}, TENANT_HOST)];
  const [ofUs, ofThem] = [
    await made(owner, { ...mine, permissions: { user: ["list"] } }),
    await made(boss, { organizationId: two, permissions: { user: ["list"] } }, TENANT_HOST),
  ];
  const gone = [401, "INVALID_API_KEY"];
  for (const { key } of [there, ofThem])
    for (const answer of [
      await use(key),
      await page(key),
      await page(key, "/public/x"),
      await get(`/organization/list-members?organizationId=${DEFAULT_TENANT}`, key),
    ])
      assert.deepEqual(told(answer), gone);
  for (const { key } of [here, ofUs])
    for (const answer of [await use(key, TENANT_HOST), await page(key, "/", OTHER)]) assert.deepEqual(told(answer), gone);
  assert.deepEqual([(await use(here.key)).status, (await use(there.key, TENANT_HOST)).status], [200, 200]);
  // An organization that its user is in as well.
  const acme = await post(owner, "/organization/create", { name: "Acme", slug: `acme-${randomUUID()}` });
  for (const path of [
    `/organization/list-members?organizationId=${acme.json.id}`,
    `/organization/get-full-organization?organizationId=${acme.json.id}`,
    `/organization/get-full-organization?organizationSlug=${acme.json.slug}`,
  ])
    assert.equal((await get(path, here.key)).status, 404, path);
  assert.equal((await send("/organization/update", here.key, { organizationId: acme.json.id, data: { name: "X" } })).status, 404);
  // A tenant's key is nobody in its protocol.
  for (const path of ["/admin/list-users", `/organization/list-members?organizationId=${DEFAULT_TENANT}`])
    assert.ok((await get(path, ofUs.key)).status >= 400, path);
});

test("the gate: public, signed in, role, deny; and what the origin is told", async () => {
  const who = await signUp(worker, { roles: ["admin"] });
  const keys = {
    whole: await made(who),
    cut: await made(who, { permissions: { user: ["list"] } }),
    none: await made(who, { permissions: {} }),
    plain: await made(await signUp(worker)),
    tenants: await made(owner, { ...mine, permissions: { user: ["list"] } }),
    bare: await made(owner, mine),
  };
  const order = Object.keys(keys);
  for (const [method, path, ...wanted] of [
    // method, path, whole, cut, none, plain, tenant's, tenant's without permissions
    ["GET", "/public/x", 200, 200, 200, 200, 200, 200],
    ["GET", "/", 200, 200, 200, 200, 200, 200],
    ["POST", "/api/items", 200, 200, 200, 200, 200, 200],
    ["GET", "/admin/x", 200, 403, 403, 403, 403, 403],
    ["DELETE", "/reports/1", 200, 403, 403, 403, 403, 403],
    ["GET", "/reports/1", 200, 200, 200, 200, 200, 200],
    ["GET", "/internal/x", 403, 403, 403, 403, 403, 403],
    ["GET", "/public/..%2fadmin/x", 403, 403, 403, 403, 403, 403],
  ]) {
    for (const [n, name] of order.entries()) {
      const heard = origin.requests.length;
      const answer = await program(method, `${APP}${path}`, keys[name].key);
      if (path.includes("%2f")) assert.notEqual(answer.status === 200 && name !== "whole", true, `${name} ${path}`);
      else assert.equal(answer.status, wanted[n], `${name}: ${method} ${path}`);
      assert.equal(origin.requests.length - heard, answer.status === 200 ? 1 : 0, `${name}: ${method} ${path} at the origin`);
      const asked = await worker.browser().get(`${SITE}/forward-auth`, {
        headers: {
          ...API,
          host: "auth.localhost",
          "x-api-key": keys[name].key,
          "x-forwarded-method": method,
          "x-forwarded-proto": "http",
          "x-forwarded-host": "site.localhost",
          "x-forwarded-uri": path,
        },
      });
      assert.equal(asked.status, answer.status, `forward-auth: ${name} ${method} ${path}`);
    }
  }
  const jwks = createLocalJWKSet((await worker.browser().get(at("/jwks"))).json);
  const claimed = async (key) => {
    assert.equal((await page(key)).status, 200);
    const { headers } = origin.last();
    return { headers, ...(await jwtVerify(headers["x-doorward-assertion"], jwks, { issuer: AUTH, audience: "app.localhost" })).payload };
  };
  const whole = await claimed(keys.whole.key);
  assert.deepEqual(
    [whole.sub, whole.api_key, whole.permissions, [...whole.roles].sort()],
    [who.id, keys.whole.id, undefined, ["admin", "member"]],
  );
  assert.equal(whole.headers["x-doorward-user"], who.id);
  const cut = await claimed(keys.cut.key);
  assert.deepEqual(
    [cut.sub, cut.api_key, cut.permissions, cut.roles, cut.headers["x-doorward-roles"]],
    [who.id, keys.cut.id, { user: ["list"] }, [], ""],
  );
  const none = await claimed(keys.none.key);
  assert.deepEqual([none.permissions, none.roles], [{}, []]);
  const tenants = await claimed(keys.tenants.key);
  assert.deepEqual(
    [tenants.api_key, tenants.permissions, tenants.roles, tenants.tenant],
    [keys.tenants.id, { user: ["list"] }, [], "default"],
  );
  assert.ok(
    !(await worker.rows("select id from user where id = ? or email = ?", tenants.sub, tenants.email)).length,
    "a tenant's key is some user",
  );
  assert.deepEqual((await claimed(keys.bare.key)).permissions, {});
  // A change shows in the next request's assertion.
  await change(
    `delete from member_role where member_id = (select id from member where user_id = ?) and role_id = (select id from role
       where tenant_id is null and name = 'admin')`,
    who.id,
  );
  assert.deepEqual([(await claimed(keys.whole.key)).roles, (await claimed(keys.cut.key)).permissions], [["member"], {}]);
  assert.equal((await page(keys.whole.key, "/.doorward/me")).status, 401, "a reserved path");
});

test("the origin never sees a key of ours, and sees everybody else's untouched", async () => {
  const { key } = await made(admin, { prefix: "dw_" });
  const seen = () => JSON.stringify([origin.last().rawHeaders, origin.last().url, origin.last().body?.toString()]);
  for (const name of ["X-API-Key", "x-api-key", "X-Api-Key", "X-API-KEY"])
    for (const value of [key, ` ${key} `, `\t${key}`]) {
      const heard = origin.requests.length;
      const { status } = await raw(worker.port, [
        "GET /seen HTTP/1.1",
        "Host: app.localhost",
        "Accept: application/json",
        `${name}:${value}`,
      ]);
      assert.equal(status, 200, `${name}:${value}`);
      assert.equal(origin.requests.length, heard + 1);
      assert.deepEqual(lines(origin.last(), "x-api-key"), []);
      assert.ok(!seen().includes(key.slice(3)), `${name}:${value}`);
    }
  const leaks = [];
  for (const [what, head] of [
    ["twice", [`X-API-Key: ${key}`, `X-API-Key: ${key}`]],
    ["after another's", ["X-API-Key: sk_live_1", `X-API-Key: ${key}`]],
    ["before another's", [`X-API-Key: ${key}`, "X-API-Key: sk_live_1"]],
    ["in a list", [`X-API-Key: sk_live_1, ${key}`]],
    ["in a list before", [`X-API-Key: ${key}, sk_live_1`]],
    ["quoted", [`X-API-Key: "${key}"`]],
    ["underscored", [`X_API_Key: ${key}`]],
    ["underscored beside", [`X-API-Key: ${key}`, `X_API_Key: ${key}`]],
  ]) {
    const heard = origin.requests.length;
    const { status } = await raw(worker.port, ["GET /public/seen HTTP/1.1", "Host: app.localhost", "Accept: application/json", ...head]);
    if (origin.requests.length > heard && seen().includes(key.slice(3)))
      leaks.push(
        `${what}: ${status}, and the origin was sent ${JSON.stringify(lines(origin.last(), "x-api-key").concat(lines(origin.last(), "x_api_key")))}`,
      );
  }
  for (const foreign of ["sk_live_0123456789", "x", "x".repeat(49), "x".repeat(70), `${key}x`.slice(5)]) {
    const cookie = {
      cookie: cookieOf(
        await (async () => {
          const who = await signUp(worker);
          await visit(who.browser, `${APP}/`);
          return who;
        })(),
        "app.localhost",
      ),
    };
    for (const [path, headers] of [
      ["/public/x", {}],
      ["/mine", cookie],
    ]) {
      assert.equal((await page(foreign, path, APP, headers)).status, 200);
      assert.deepEqual(lines(origin.last(), "x-api-key"), [foreign]);
    }
    assert.equal((await page(foreign, "/mine")).status, 401, "a foreign key is no key");
  }
  assert.deepEqual(leaks, []);
});

test("a key beside a cookie: the key speaks where keys do, and a bad one never hides behind the cookie", async () => {
  const [who, other] = [await signUp(worker, { roles: ["admin"] }), await signUp(worker)];
  await visit(who.browser, `${APP}/`);
  const weak = await made(other);
  const beside = (path, key, method = "GET", body) =>
    copy(who).browser.send(method, at(path), { body, headers: { origin: AUTH, "x-api-key": key } });
  assert.equal((await beside("/admin/list-users", weak.key)).status, 403, "the cookie lends its power to a weak key");
  const bad = checksum(randomBytes(32).toString("base64url"));
  for (const [path, method, body] of [
    ["/admin/list-users", "GET"],
    ["/admin/ban-user", "POST", { userId: other.id }],
    ["/organization/list-members", "GET"],
    ["/admin/has-permission", "POST", { permissions: { user: ["list"] } }],
  ])
    assert.deepEqual(told(await beside(path, bad, method, body)), [401, "INVALID_API_KEY"], path);
  assert.equal((await one("select status from user where id = ?", other.id)).status, "active");
  // Where keys open nothing, the cookie is who asks.
  for (const key of [weak.key, bad]) assert.equal((await beside("/get-session", key)).json.user.id, who.id);
  assert.equal((await beside("/list-sessions", weak.key)).status, 200);
  // The session is not taken away for it.
  assert.ok((await who.browser.get(at("/get-session"))).json.user);
  const gate = (key, path = "/") => page(key, path, APP, { cookie: cookieOf(who, "app.localhost") });
  assert.equal((await gate(weak.key, "/admin/x")).status, 403, "an administrator's cookie beside a weak key");
  assert.equal((await gate(weak.key)).status, 200);
  assert.equal(origin.last().headers["x-doorward-user"], other.id);
  for (const path of ["/", "/public/x", "/admin/x"]) assert.deepEqual(told(await gate(bad, path)), [401, "INVALID_API_KEY"], path);
  assert.equal((await gate("sk_live_1", "/admin/x")).status, 200);
  // A page's visitor is not sent to sign in for a bad key.
  assert.equal((await worker.browser().get(`${APP}/`, { headers: { ...PAGE, "x-api-key": bad } })).status, 401);
});

test("every endpoint: a key without permission gets what nobody gets, and changes nothing", async () => {
  const routes = authRoutes;
  assert.ok(routes.length > 200 && routes.some(({ access }) => access === "Permitted"), `${routes.length} routes`);
  const team = (await post(owner, "/organization/create-team", { ...mine, name: `Open ${randomUUID()}`, isOpen: true, isPublic: true }))
    .json;
  const [who, victim] = [await signUp(worker, { roles: ["admin"] }), await signUp(worker)];
  const looksAfter = (await post(who, "/organization/create-team", { ...mine, name: `Theirs ${randomUUID()}` })).json;
  const member = await memberOf(worker, DEFAULT_TENANT, victim.id);
  const keys = {
    "cut to nothing": await made(who, { permissions: {} }),
    "cut to something else": await made(who, { permissions: { client: ["manage"] } }),
    "a tenant's": await made(owner, { ...mine, permissions: { user: ["list"], member: ["delete"] } }),
    "a tenant's, bare": await made(owner, mine),
  };
  const sensible = (teamId) => ({
    ...mine,
    teamId,
    userId: victim.id,
    memberId: member,
    memberIdOrEmail: member,
    role: "member",
    roleName: "member",
    id: victim.id,
    keyId: keys["cut to nothing"].id,
    email: "nobody@x.example",
    name: "N",
    slug: `s-${randomUUID()}`,
    newPassword: PASSWORD,
    password: PASSWORD,
    sessionToken: randomUUID(),
    permissions: { ac: ["read"] },
    permission: { ac: ["read"] },
    data: { name: "Renamed" },
    invitationId: randomUUID(),
    securityPolicy: {},
    token: "x",
    isActive: true,
    client_name: "A",
    redirect_uris: ["https://a.example/cb"],
    newEmail: "new@x.example",
    currentPassword: PASSWORD,
  });
  const kept = async () =>
    JSON.stringify(
      await Promise.all([
        worker.rows("select id, name, status, email, deleted_at from user order by id"),
        worker.rows("select id, user_id, tenant_id from member order by id"),
        worker.rows("select * from member_role order by member_id, role_id"),
        worker.rows("select id, name, deleted_at, is_open from user_group order by id"),
        worker.rows("select user_group_id, user_id, role_in_group from user_group_member order by 1, 2"),
        worker.rows("select id, name from role order by id"),
        worker.rows("select id, status from invitation order by id"),
        worker.rows("select id, name, slug, status, security_policy from tenant order by id"),
        worker.rows("select id, name, enabled, permissions from api_key order by id"),
        worker.rows("select count(*) as n from session where revoked_at is not null"),
        worker.rows("select count(*) as n from account"),
      ]),
    );
  const wrong = [];
  let before = await kept();
  // Whoever left is no member any more, so that comes last.
  const isLast = ({ path }) => Number(/\/(leave|remove-member)$/.test(path));
  for (const { method, path, access } of routes.sort((a, b) => isLast(a) - isLast(b))) {
    const url = `${AUTH}${path.replace(/:\w+/, randomUUID())}`;
    if (/sign-up|sign-in|\/login|create_account|\/dev\//.test(path)) continue;
    for (const teamId of path.includes("team") ? [team.id, looksAfter.id] : [team.id]) {
      const body = sensible(teamId);
      const fields = { organizationId: DEFAULT_TENANT, teamId, userId: victim.id, id: victim.id, roleName: "member" };
      const query = `?${new URLSearchParams(fields)}`;
      const ask = (headers) =>
        worker
          .browser()
          .send(method, method === "GET" ? url + query : url, { ...(method !== "GET" && { body }), headers: { ...API, ...headers } });
      const bare = await ask({});
      // What takes no key is looked at once for all of them.
      const looks = (isLastKey) => method !== "GET" && (access === "Permitted" || isLastKey);
      before = method === "GET" ? before : await kept();
      for (const [name, { key }] of Object.entries(keys)) {
        const answer = await ask({ "x-api-key": key });
        const now = looks(name === "a tenant's, bare") ? await kept() : before;
        if (answer.status < 300 && bare.status >= 300) {
          // Being told that one may nothing is no permission.
          const nothing = path.endsWith("/has-permission") && answer.json.success === false;
          if (!nothing) wrong.push(`${name}: ${method} ${path} (${access}): ${answer.status} ${answer.text.slice(0, 90)}`);
        }
        if (now !== before) {
          wrong.push(`${name}: ${method} ${path}: changed something, ${answer.status}`);
          before = now;
        }
        if (answer.status >= 500) wrong.push(`${name}: ${method} ${path}: ${answer.status}`);
        if (access === "Confirmed" && path.startsWith("/api/") && ![401, 404].includes(answer.status))
          wrong.push(`${name}: ${method} ${path}: ${answer.status}, not 401`);
      }
    }
  }
  assert.deepEqual(wrong, []);
});

test("a key cut to nothing leaves, joins, and looks after nothing in its user's name", async () => {
  const who = await signUp(worker);
  const team = (
    await post(owner, "/organization/create-team", {
      ...mine,
      name: `Open ${randomUUID()}`,
      isOpen: true,
      isPublic: true,
      roles: ["admin"],
    })
  ).json;
  const { key } = await made(who, { permissions: {} });
  const member = await memberOf(worker, DEFAULT_TENANT, who.id);
  const wrong = [];
  for (const [path, body] of [
    ["/organization/join-team", { ...mine, teamId: team.id }],
    ["/organization/leave-team", { ...mine, teamId: team.id }],
    ["/organization/remove-member", { ...mine, memberIdOrEmail: member }],
    ["/organization/leave", mine],
  ]) {
    const { status } = await send(path, key, body);
    if (status < 400) wrong.push(`${path}: ${status}`);
  }
  const [row] = await worker.rows("select id from member where user_id = ? and tenant_id = ?", who.id, DEFAULT_TENANT);
  if (!row) wrong.push("and is no member any more");
  assert.deepEqual(wrong, []);
});

test("keys of an organization: who makes, reads, changes and deletes them", async () => {
  const people = {
    owner: await signUp(worker),
    admin: await signUp(worker),
    reader: await signUp(worker),
    member: await signUp(worker),
    stranger: await signUp(worker),
  };
  const acme = (await post(people.owner, "/organization/create", { name: "Acme", slug: `acme-${randomUUID()}` })).json.id;
  for (const name of ["admin", "member", "reader"]) await giveRole(worker, people[name].id, name === "admin" ? "admin" : "member", acme);
  assert.equal(
    (await post(people.owner, "/organization/create-role", { organizationId: acme, role: "keyreader", permission: { apiKey: ["read"] } }))
      .status,
    200,
  );
  await giveRole(worker, people.reader.id, "keyreader", acme);
  const none = [403, "INSUFFICIENT_API_KEY_PERMISSIONS"];
  const key = await made(people.owner, { organizationId: acme, name: "ours", permissions: { member: ["create"] } });
  assert.equal(key.referenceId, acme);
  for (const [who, create, read, write] of [
    ["owner", 200, 200, 200],
    ["admin", 200, 200, 200],
    ["reader", 403, 200, 403],
    ["member", 403, 403, 403],
    ["stranger", 404, 404, 404],
  ]) {
    const { browser } = people[who];
    const answers = {
      create: await post(people[who], "/api-key/create", { organizationId: acme, name: "n" }),
      list: await browser.get(at(`/api-key/list?organizationId=${acme}`)),
      get: await browser.get(at(`/api-key/get?id=${key.id}`)),
      update: await post(people[who], "/api-key/update", { keyId: key.id, name: `by ${who}` }),
    };
    assert.deepEqual(
      [answers.create.status, answers.list.status, answers.get.status, answers.update.status],
      [create, read, read, write],
      who,
    );
    for (const [what, answer] of Object.entries(answers)) if (answer.status === 403) assert.deepEqual(told(answer), none, `${who} ${what}`);
    const spare = await made(people.owner, { organizationId: acme });
    assert.equal((await post(people[who], "/api-key/delete", { keyId: spare.id })).status, write, `${who} deletes`);
    assert.equal((await worker.rows("select id from api_key where id = ?", spare.id)).length, write === 200 ? 0 : 1, who);
  }
  // Nobody puts into it what they do not hold, or takes their own limits off.
  assert.deepEqual(
    told(await post(people.admin, "/api-key/create", { organizationId: acme, permissions: { organization: ["delete"] } })),
    none,
  );
  assert.deepEqual(told(await post(people.admin, "/api-key/update", { keyId: key.id, permissions: { organization: ["delete"] } })), none);
  // One's own list holds one's own; whoever leaves loses sight of the organization's.
  assert.ok(!(await people.owner.browser.get(at("/api-key/list"))).json.apiKeys.some(({ id }) => id === key.id));
  const listed = (await people.owner.browser.get(at(`/api-key/list?organizationId=${acme}`))).json;
  assert.ok(listed.apiKeys.every(({ referenceId }) => referenceId === acme) && listed.total === listed.apiKeys.length);
  assert.equal((await post(people.admin, "/organization/leave", { organizationId: acme })).status, 200);
  for (const answer of [
    await people.admin.browser.get(at(`/api-key/get?id=${key.id}`)),
    await post(people.admin, "/api-key/update", { keyId: key.id, name: "x" }),
    await post(people.admin, "/api-key/delete", { keyId: key.id }),
  ])
    assert.equal(answer.status, 404, answer.text);
  for (const organizationId of ["nope", randomUUID(), "__proto__", `${acme} `, two])
    assert.equal((await post(people.owner, "/api-key/create", { organizationId })).status, 404, organizationId);
});

test("nobody changes an organization's key that allows more than they may", async () => {
  const key = await made(owner, { ...mine, permissions: { organization: ["delete"] }, remaining: 1, expiresIn: 86_400 });
  const wrong = [];
  for (const body of [{ enabled: false }, { enabled: true }, { remaining: 1000 }, { expiresIn: null }, { rateLimitEnabled: false }]) {
    const { status } = await post(admin, "/api-key/update", { keyId: key.id, ...body });
    if (status !== 403) wrong.push(`${JSON.stringify(body)}: ${status}`);
  }
  assert.deepEqual(wrong, []);
});

test("each field of a key is judged", async () => {
  const key = await made(admin);
  const before = JSON.stringify(await one("select * from api_key where id = ?", key.id));
  const total = (await one("select count(*) as n from api_key")).n;
  const wrong = [];
  const bad = async (body, statuses = [400]) => {
    for (const [path, more] of [
      ["/api-key/create", {}],
      ["/api-key/update", { keyId: key.id }],
    ]) {
      if (path.endsWith("update") && ["prefix", "configId", "organizationId", "userId"].some((name) => name in body)) continue;
      const answer = await post(admin, path, { ...more, ...body });
      if (!statuses.includes(answer.status))
        wrong.push(`${path} ${JSON.stringify(body).slice(0, 100)}: ${answer.status} ${answer.text.slice(0, 60)}`);
    }
  };
  for (const name of [5, [], {}, "", "  ", "n".repeat(33), "a\u0000b", "a\nb"]) await bad({ name });
  for (const prefix of [5, [], "a b", "ä", "a.b", "p".repeat(33), "a\nb", "a\u0000", "<x>", "a,b"]) await bad({ prefix });
  for (const expiresIn of [0, -1, 1, 60, 86_399, 31_536_001, 1.5, "86400", true, [], 1e300]) await bad({ expiresIn });
  for (const remaining of [-1, 1.5, "5", true, [], 1e12]) await bad({ remaining });
  for (const body of [
    { refillAmount: 5 },
    { refillInterval: 1000 },
    { refillAmount: 0, refillInterval: 1000 },
    { refillAmount: 5, refillInterval: 0 },
    { refillAmount: "5", refillInterval: 1000 },
    { refillAmount: null, refillInterval: 1000 },
  ])
    await bad(body);
  for (const rateLimitMax of [0, -1, 1.5, "5", [], 1e12]) await bad({ rateLimitMax });
  for (const rateLimitTimeWindow of [0, -1, 999, 1.5, "1000", [], 1e14]) await bad({ rateLimitTimeWindow });
  for (const rateLimitEnabled of [5, [], {}, "x"]) await bad({ rateLimitEnabled });
  for (const metadata of ["s", [], 5, true, { a: "x".repeat(5000) }]) await bad({ metadata });
  for (const configId of [5, [], {}, "x".repeat(65), "a\u0000"]) await bad({ configId });
  for (const enabled of [5, "x", [], {}])
    assert.equal((await post(admin, "/api-key/update", { keyId: key.id, enabled })).status, 400, `${enabled}`);
  for (const keyId of [undefined, null, 5, [], {}, "", "x".repeat(101), "a\u0000"])
    for (const path of ["/api-key/update", "/api-key/delete"]) {
      const { status } = await post(admin, path, { keyId, name: "x" });
      if (status !== 400) wrong.push(`${path} keyId ${JSON.stringify(keyId)?.slice(0, 20)}: ${status}`);
    }
  assert.deepEqual(told(await post(admin, "/api-key/update", { keyId: key.id })), [400, "NO_VALUES_TO_UPDATE"]);
  assert.equal((await admin.browser.get(at("/api-key/get"))).status, 400);
  for (const query of [
    "limit=-1",
    "limit=abc",
    "limit=1.5",
    "limit=1001",
    "offset=-1",
    "offset=x",
    "sortDirection=up",
    "sortBy=nope",
    "sortBy=key_hash",
    "sortBy=name;drop",
  ])
    if ((await admin.browser.get(at(`/api-key/list?${query}`))).status !== 400) wrong.push(`list ${query}`);
  assert.deepEqual(wrong, []);
  assert.equal(JSON.stringify(await one("select * from api_key where id = ?", key.id)), before);
  assert.equal((await one("select count(*) as n from api_key")).n, total, "a refused key was made");
  // Of equal age, page by page.
  const who = await signUp(worker);
  await times(9, (n) => made(copy(who), { name: `k${n}` }));
  await change("update api_key set created_at = 1 where user_id = ?", who.id);
  for (const direction of ["asc", "desc"]) {
    const pages = [];
    for (let offset = 0; offset < 9; offset += 2)
      pages.push(
        ...(
          await who.browser.get(at(`/api-key/list?sortBy=createdAt&sortDirection=${direction}&limit=2&offset=${offset}`))
        ).json.apiKeys.map(({ id }) => id),
      );
    assert.equal(new Set(pages).size, 9, direction);
  }
});
