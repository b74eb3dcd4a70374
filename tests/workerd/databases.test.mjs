// Tenants whose data is in a database of their own.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { PASSWORD, signUp } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const HOST = "http://acme.localhost";

let worker, admin, tenant, own;
before(async () => {
  worker = await startWorker({
    databases: ["DB_ACME", "DB_SPARE"],
    settings: { SESSION_RECHECK_SECONDS: "0", SESSION_COOKIE_CACHE_SECONDS: "0" },
  });
  own = worker.databases.DB_ACME;
  admin = await signUp(worker, { roles: ["owner"] });
  const made = await admin.browser.post(`${AUTH}/api/auth/admin/tenants`, {
    name: "Acme",
    slug: "acme",
    database: "DB_ACME",
    hosts: ["acme.localhost"],
    owner: { email: "boss@acme.example", name: "Boss" },
  });
  assert.equal(made.status, 201, made.text);
  tenant = made.json;
});
after(() => worker?.dispose());

const there = async (sql, ...values) =>
  (
    await own
      .prepare(sql)
      .bind(...values)
      .all()
  ).results;

test("its people, their sessions and its keys are there and not here", async () => {
  assert.equal(tenant.userPool, "isolated");
  const { browser, email, id } = await signUp(worker, { host: HOST, tenant: tenant.id });
  for (const [sql, value] of [
    ["select 1 from user where id = ?", id],
    ["select 1 from session where user_id = ?", id],
    ["select 1 from member where user_id = ?", id],
    ["select 1 from login_history where user_id = ?", id],
    ["select 1 from account where user_id = ?", id],
  ]) {
    assert.deepEqual([(await there(sql, value)).length, (await worker.rows(sql, value)).length], [1, 0], sql);
  }
  assert.equal((await browser.get(`${HOST}/api/auth/get-session`)).json.user.email, email);
  const token = await browser.get(`${HOST}/api/auth/token`);
  assert.equal(token.status, 200, token.text);
  assert.equal((await there("select 1 from signing_key where tenant_id = ?", tenant.id)).length > 0, true);
  assert.equal((await worker.rows("select 1 from signing_key where tenant_id = ?", tenant.id)).length, 0);
});

test("the same person elsewhere is somebody else", async () => {
  const email = "twice@example.com";
  for (const host of [AUTH, HOST]) {
    const answer = await worker.browser().post(`${host}/api/auth/sign-up/email`, { name: "T", email, password: `${PASSWORD} ${host}` });
    assert.equal(answer.status, 200, answer.text);
  }
  for (const [host, password] of [
    [AUTH, HOST],
    [HOST, AUTH],
  ]) {
    assert.equal(
      (await worker.browser().post(`${host}/api/auth/sign-in/email`, { email, password: `${PASSWORD} ${password}` })).status,
      401,
      host,
    );
    assert.equal(
      (await worker.browser().post(`${host}/api/auth/sign-in/email`, { email, password: `${PASSWORD} ${host}` })).status,
      200,
      host,
    );
  }
});

test("a session of one database opens nothing in another", async () => {
  const { browser } = await signUp(worker, { host: HOST, tenant: tenant.id });
  const cookie = [...browser.cookies("acme.localhost")].map((pair) => pair.join("=")).join("; ");
  assert.equal((await worker.browser().get(`${AUTH}/api/auth/get-session`, { headers: { cookie } })).json, null);
});

test("its owner looks after it, and mail goes out from there", async () => {
  const boss = worker.browser();
  await boss.post(`${HOST}/api/auth/request-password-reset`, { email: "boss@acme.example" });
  assert.equal((await there("select 1 from outbox where recipient = 'boss@acme.example'")).length, 1);
  assert.equal((await worker.rows("select 1 from outbox where recipient = 'boss@acme.example'")).length, 0);
  const [{ id }] = await there("select id from user where email = 'boss@acme.example'");
  const [{ name }] = await there(
    "select r.name from member m join member_role mr on mr.member_id = m.id join role r on r.id = mr.role_id where m.user_id = ?",
    id,
  );
  assert.equal(name, "owner");
});

test("its policy and its name are read where they are written", async () => {
  const { browser, id } = await signUp(worker, { host: HOST, tenant: tenant.id });
  const [role] = await there("select id from role where tenant_id is null and name = 'owner'");
  await own
    .prepare("insert into member_role (member_id, role_id, created_at) select id, ?, 0 from member where user_id = ?")
    .bind(role.id, id)
    .run();
  const renamed = await browser.post(`${HOST}/api/auth/organization/update`, { data: { name: "Acme Inc." } });
  assert.equal(renamed.json.name, "Acme Inc.", renamed.text);
  assert.match((await worker.browser().get(`${HOST}/login`)).text, /Acme Inc\./);
  const blocked = worker.browser({ ip: "203.0.113.7" });
  const policy = { ipRestrictions: { enabled: true, blockList: ["203.0.113.0/24"] } };
  const set = await browser.send("PUT", `${HOST}/api/auth/organization/security-policy`, {
    headers: { origin: HOST },
    body: { securityPolicy: policy },
  });
  assert.equal(set.status, 200, set.text);
  assert.equal((await blocked.get(`${HOST}/api/auth/get-session`)).json.code, "ADDRESS_NOT_ALLOWED");
  assert.equal((await blocked.get(`${AUTH}/api/auth/get-session`)).status, 200);
});

test("a database is one tenant's, and there must be one", async () => {
  for (const [fields, code] of [
    [{ name: "B", slug: "b", database: "DB_ACME" }, /ALREADY/],
    [{ name: "B", slug: "b", database: "DB_GONE" }, /VALIDATION/],
    [{ name: "B", slug: "b", database: "DB_SPARE", userPool: "shared" }, /VALIDATION/],
  ]) {
    const answer = await admin.browser.post(`${AUTH}/api/auth/admin/tenants`, fields);
    assert.equal(answer.status, 400, answer.text);
    assert.match(answer.json.code, code);
  }
});

test("a tenant that is refused leaves nothing in its database, and is made by the next try", async () => {
  const spare = worker.databases.DB_SPARE;
  const make = (slug, hosts) => admin.browser.post(`${AUTH}/api/auth/admin/tenants`, { name: "Spare", slug, database: "DB_SPARE", hosts });
  for (const [slug, hosts, code] of [
    ["default", ["spare.localhost"], /ORGANIZATION_ALREADY_EXISTS/],
    ["spare", ["acme.localhost"], /HOST/],
  ]) {
    const answer = await make(slug, hosts);
    assert.deepEqual([answer.status, code.test(answer.json.code)], [400, true], answer.text);
    assert.deepEqual((await spare.prepare("select slug from tenant").all()).results, [{ slug: "default" }]);
  }
  // What a lost answer left behind, which nobody has used, is in nobody's way.
  await spare
    .prepare("insert into tenant (id, name, slug, user_pool, created_at, updated_at) values ('left', 'Left', 'spare', 'isolated', 0, 0)")
    .run();
  assert.equal((await make("spare", ["spare.localhost"])).status, 201);
  assert.equal((await spare.prepare("select 1 from tenant where id = 'left'").all()).results.length, 0);
});

test("what is refused here changes nothing there; what its people change there is seen here", async () => {
  const one = `${AUTH}/api/auth/admin/tenants/${tenant.id}`;
  const patch = (body) => admin.browser.send("PATCH", one, { headers: { origin: AUTH }, body });
  const [before] = await there("select name from tenant where id = ?", tenant.id);
  assert.equal((await patch({ name: "Gone wrong", hosts: ["spare.localhost"] })).status, 400);
  assert.equal((await patch({ slug: "spare", hosts: ["elsewhere.localhost"] })).status, 400);
  assert.equal((await patch({ slug: "default", hosts: ["elsewhere.localhost"] })).status, 400);
  assert.equal((await worker.browser().get(`${HOST}/api/auth/ok`)).status, 200, "its hosts are as they were");
  assert.deepEqual(await there("select name from tenant where id = ?", tenant.id), [before]);
  const patched = await patch({ settings: { a: 1 } });
  assert.deepEqual([patched.json.name, patched.json.settings], [before.name, { a: 1 }], patched.text);
  await own.prepare("update tenant set name = 'Acme Ltd' where id = ?").bind(tenant.id).run();
  await worker.scheduled();
  const shown = (await admin.browser.get(one)).json;
  const [{ n }] = await there("select count(*) as n from user where tenant_id = ?", tenant.id);
  assert.deepEqual([shown.name, shown.userCount, shown.database, shown.hosts], ["Acme Ltd", n, "DB_ACME", ["acme.localhost"]]);
});

test("its own people do not take a slug of another's", async () => {
  const { browser, id } = await signUp(worker, { host: HOST, tenant: tenant.id });
  const [role] = await there("select id from role where tenant_id is null and name = 'owner'");
  await own
    .prepare("insert into member_role (member_id, role_id, created_at) select id, ?, 0 from member where user_id = ?")
    .bind(role.id, id)
    .run();
  assert.equal((await browser.post(`${HOST}/api/auth/organization/update`, { data: { slug: "spare" } })).status, 403);
  assert.equal(
    (await browser.post(`${HOST}/api/auth/organization/update`, { data: { name: "Acme", slug: "acme" } })).status,
    200,
    "its own",
  );
  assert.deepEqual(await there("select slug from tenant where id = ?", tenant.id), [{ slug: "acme" }]);
});

test("a tenant whose owners are gone is given another by the server's administrators", async () => {
  const one = `${AUTH}/api/auth/admin/tenants/${tenant.id}`;
  const appoint = (email) => admin.browser.send("PATCH", one, { headers: { origin: AUTH }, body: { owner: { email } } });
  const owners = () =>
    there(
      `select u.email from member m join user u on u.id = m.user_id join member_role mr on mr.member_id = m.id
         join role r on r.id = mr.role_id and r.name = 'owner' where m.tenant_id = ?`,
      tenant.id,
    );
  await own.prepare("delete from member_role").run();
  const heir = await signUp(worker, { host: HOST, tenant: tenant.id });
  const unknown = await appoint(admin.email);
  assert.deepEqual([unknown.status, unknown.json.code], [400, "VALIDATION_ERROR"], "somebody of another pool");
  assert.deepEqual(await owners(), []);
  assert.equal((await appoint(heir.email)).status, 400, "who merely typed the address");
  await own.prepare("update user set email_verified = 1, status = 'inactive' where id = ?").bind(heir.id).run();
  assert.equal((await appoint(heir.email)).status, 400, "who may not sign in");
  await own.prepare("update user set status = 'active' where id = ?").bind(heir.id).run();
  assert.equal((await appoint(heir.email)).status, 200);
  assert.equal((await appoint(heir.email)).status, 200, "twice");
  assert.deepEqual(await owners(), [{ email: heir.email }]);
});

test("what was done to it while its database was out of reach holds when that is back", async () => {
  const one = `${AUTH}/api/auth/admin/tenants/${tenant.id}`;
  const answers = async () =>
    (await worker.browser().post(`${HOST}/api/auth/sign-in/email`, { email: "twice@example.com", password: `${PASSWORD} ${HOST}` })).status;
  assert.equal(await answers(), 200);
  await worker.d1
    .prepare("update tenant set status = 'suspended', status_reason = 'x', status_changed_at = ? where id = ?")
    .bind(Date.now(), tenant.id)
    .run();
  await worker.scheduled();
  assert.deepEqual(await there("select status from tenant where id = ?", tenant.id), [{ status: "suspended" }]);
  assert.equal((await admin.browser.get(one)).json.status, "suspended");
  assert.equal((await admin.browser.post(`${one}/resume`, {})).status, 200);
  assert.equal(await answers(), 200);
  await worker.scheduled();
  assert.equal((await admin.browser.get(one)).json.status, "active");
});

test("a slug that another took meanwhile keeps cron from nothing", async () => {
  await own.prepare("update tenant set slug = 'spare' where id = ?").bind(tenant.id).run();
  await own
    .prepare("insert into rate_limit (key, count, window_started_at, last_request_at, expires_at) values ('older', 1, 0, 0, 1)")
    .run();
  await worker.scheduled();
  assert.equal((await there("select 1 from rate_limit where key = 'older'")).length, 0);
  assert.equal((await worker.rows("select slug from tenant where id = ?", tenant.id))[0].slug, "acme");
  await own.prepare("update tenant set slug = 'acme' where id = ?").bind(tenant.id).run();
});

test("a database that is empty by mistake is no deletion, and its tenant can be deleted all the same", async () => {
  const [{ id }] = await worker.rows("select id from tenant where slug = 'spare'");
  const known = async () => (await worker.rows("select 1 from tenant where id = ?", id)).length;
  await worker.databases.DB_SPARE.prepare("delete from tenant where id = ?").bind(id).run();
  await worker.scheduled();
  assert.equal(await known(), 1);
  const gone = await admin.browser.send("DELETE", `${AUTH}/api/auth/admin/tenants/${id}`, { headers: { origin: AUTH } });
  assert.equal(gone.json.status, "pending_deletion", gone.text);
  await worker.scheduled();
  assert.equal(await known(), 1, "within its grace period");
  await worker.d1.prepare("update tenant set deletion_scheduled_at = 1 where id = ?").bind(id).run();
  await worker.scheduled();
  assert.equal(await known(), 0);
});

test("cron looks after it, and deletes it in both when it is due", async () => {
  await own.prepare("insert into rate_limit (key, count, window_started_at, last_request_at, expires_at) values ('old', 1, 0, 0, 1)").run();
  await worker.scheduled();
  assert.equal((await there("select 1 from rate_limit where key = 'old'")).length, 0);
  const gone = await admin.browser.send("DELETE", `${AUTH}/api/auth/admin/tenants/${tenant.id}`, { headers: { origin: AUTH } });
  assert.equal(gone.json.status, "pending_deletion", gone.text);
  assert.equal(
    (await worker.browser().post(`${HOST}/api/auth/sign-in/email`, { email: "twice@example.com", password: `${PASSWORD} ${HOST}` })).status,
    403,
  );
  await own.prepare("update tenant set deletion_scheduled_at = 1 where id = ?").bind(tenant.id).run();
  await own.prepare("create trigger stuck before delete on user begin select raise(abort, 'stuck'); end").run();
  await worker.scheduled();
  await worker.scheduled();
  assert.equal((await worker.rows("select 1 from tenant where id = ?", tenant.id)).length, 1, "forgotten while its people are still there");
  await own.prepare("drop trigger stuck").run();
  await worker.scheduled();
  assert.deepEqual(
    [
      (await there("select 1 from user where tenant_id = ?", tenant.id)).length,
      (await there("select 1 from tenant where id = ?", tenant.id)).length,
    ],
    [0, 0],
  );
  assert.equal((await worker.rows("select 1 from tenant where id = ?", tenant.id)).length, 0);
  assert.equal((await worker.browser().get(`${HOST}/api/auth/ok`)).status, 404);
});
