// Tenants whose grace period is over: what cron deletes of them, how much at once, and what keeps it from nobody else.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { seedDomain, seedTenant, signUp } from "../harness/seed.mjs";
import { startWorker } from "../harness/worker.mjs";

let worker;
before(async () => {
  worker = await startWorker();
});
after(() => worker?.dispose());

const run = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
const count = async (sql, ...values) => (await worker.rows(`select count(*) as n from ${sql}`, ...values))[0].n;
const due = (tenant) =>
  run("update tenant set status = 'pending_deletion', deletion_requested_at = 1, deletion_scheduled_at = 1 where id = ?", tenant);
const slugOf = async (tenant) => (await worker.rows("select slug from tenant where id = ?", tenant))[0].slug;
const uniqueSlug = () => `t${randomUUID().slice(0, 8)}`;

/** An isolated tenant of so many users, each with a session, a membership and a record. */
async function crowded(users) {
  const slug = uniqueSlug();
  const tenant = await seedTenant(worker, { slug, pool: "isolated" });
  await seedDomain(worker, tenant, `${slug}.localhost`);
  await signUp(worker, { host: `http://${slug}.localhost`, tenant, roles: ["owner"] });
  const series = "with recursive n(i) as (select 1 union all select i + 1 from n where i < ?2)";
  await run(
    `${series} insert into user (id, tenant_id, email, name, created_at, updated_at) select ?1 || i, ?1, i || '@' || ?1, 'N', 0, 0 from n`,
    tenant,
    users,
  );
  await run(
    `${series} insert into member (id, tenant_id, user_id, created_at, updated_at) select ?1 || i, ?1, ?1 || i, 0, 0 from n`,
    tenant,
    users,
  );
  await run(
    `${series} insert into audit_event (id, tenant_id, user_id, event, created_at) select ?1 || i, ?1, ?1 || i, 'test', unixepoch() * 1000 from n`,
    tenant,
    users,
  );
  await run(
    `${series} insert into login_history (id, tenant_id, user_id, login_method, status, created_at) select ?1 || i, ?1, ?1 || (i % 7 + 1), 'password', 'success', 0 from n`,
    tenant,
    users,
  );
  return tenant;
}

test("a tenant of many users goes slice by slice, and its audit stays", async () => {
  const tenant = await crowded(2500);
  const [{ id: owner }] = await worker.rows("select id from user where tenant_id = ? and name like 'Zo%'", tenant);
  await run("update tenant set status_changed_by = ? where id = ?", owner, tenant);
  const slug = await slugOf(tenant);
  await due(tenant);
  await worker.scheduled();
  for (const table of [
    "tenant where id",
    "user where tenant_id",
    "member where tenant_id",
    "session where tenant_id",
    "login_history where tenant_id",
    "audit_event where tenant_id",
  ]) {
    assert.equal(await count(`${table} = ?`, tenant), 0, table);
  }
  assert.equal(
    await count("audit_event where event = 'test' and details ->> '$.tenant.id' = ?", tenant),
    2500,
    "and says which tenant it was about",
  );
  const told = await worker.rows("select actor_id, details ->> '$.tenant.slug' as slug from audit_event where event = 'tenant.deleted'");
  assert.deepEqual(told, [{ actor_id: owner, slug }], "and who asked for it, who is gone");
});

test("one that cannot be deleted keeps no other from it, nor cron from the rest", async () => {
  const stuck = await Promise.all(Array.from({ length: 3 }, () => seedTenant(worker, { slug: uniqueSlug() })));
  await run(
    `create trigger stuck before delete on tenant when old.id in (${stuck.map((id) => `'${id}'`)}) begin select raise(abort, 'stuck'); end`,
  );
  const free = await Promise.all(Array.from({ length: 3 }, () => seedTenant(worker, { slug: uniqueSlug() })));
  for (const id of [...stuck, ...free]) await due(id);
  await run("insert into rate_limit (key, count, window_started_at, last_request_at, expires_at) values ('old', 1, 0, 0, 1)");
  // Five of them at a time, whichever.
  for (let n = 0; n < 12 && (await count("tenant where status = 'pending_deletion'")) > 3; n += 1) await worker.scheduled();
  assert.deepEqual(
    (await worker.rows("select id from tenant where status = 'pending_deletion' order by id")).map(({ id }) => id),
    stuck.toSorted(),
  );
  assert.equal(await count("rate_limit where key = 'old'"), 0);
  await run("drop trigger stuck");
  await worker.scheduled();
  assert.equal(await count("tenant where status = 'pending_deletion'"), 0);
});

test("nothing is deleted of one whose time is not over, or that was restored", async () => {
  const tenant = await crowded(10);
  await due(tenant);
  await run("update tenant set deletion_scheduled_at = ? where id = ?", Date.now() + 60_000, tenant);
  await worker.scheduled();
  await run("update tenant set status = 'active', deletion_scheduled_at = null where id = ?", tenant);
  await worker.scheduled();
  assert.equal(await count("user where tenant_id = ?", tenant), 11);
});

test("one that is restored while it is being deleted loses nothing more", async () => {
  const tenant = await crowded(10);
  await run(`create trigger restored after delete on session when old.tenant_id = '${tenant}'
    begin update tenant set status = 'active', deletion_scheduled_at = null where id = '${tenant}'; end`);
  await due(tenant);
  await worker.scheduled();
  await run("drop trigger restored");
  for (const table of ["user", "member", "login_history", "account", "audit_event"])
    assert.ok((await count(`${table} where tenant_id = ?`, tenant)) > 0, table);
  assert.deepEqual(await worker.rows("select status from tenant where id = ?", tenant), [{ status: "active" }]);
});
