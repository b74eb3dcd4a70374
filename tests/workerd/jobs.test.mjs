// What cron does.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { AUTH, DEFAULT_TENANT, startWorker } from "../harness/worker.mjs";

let worker;
before(async () => {
  worker = await startWorker();
});
after(() => worker?.dispose());

const DAY = 86_400_000;

test("what has expired is deleted after its time of grace, and nothing else", async () => {
  const browser = worker.browser();
  const { user } = (await browser.post(`${AUTH}/api/auth/sign-up/email`, { name: "A", email: uniqueEmail(), password: "a long password" }))
    .json;
  const now = Date.now();
  const insert = (table, row) => {
    const names = Object.keys(row);
    return worker.d1
      .prepare(`insert into ${table} (${names}) values (${names.map(() => "?")})`)
      .bind(...Object.values(row))
      .run();
  };
  const ages = { gone: now - 8 * DAY, recent: now - 3_600_000, future: now + 3_600_000 };
  for (const [name, expires_at] of Object.entries(ages)) {
    await insert("rate_limit", { key: name, count: 1, window_started_at: 0, last_request_at: 0, expires_at });
    await insert("verification", {
      id: name,
      tenant_id: DEFAULT_TENANT,
      kind: "test",
      token_hash: name,
      expires_at,
      created_at: 0,
      updated_at: 0,
    });
    await insert("session", {
      id: name,
      token_hash: name,
      user_id: user.id,
      tenant_id: DEFAULT_TENANT,
      login_method: "test",
      authenticated_at: 0,
      last_activity_at: 0,
      expires_at,
      created_at: 0,
      updated_at: 0,
    });
  }
  const mail = {
    tenant_id: DEFAULT_TENANT,
    kind: "mail",
    recipient: "a@x.co",
    payload_sealed: "x",
    next_attempt_at: now,
    created_at: 0,
    updated_at: 0,
  };
  for (const [id, delivered_at] of [
    ["gone", now - 8 * DAY],
    ["recent", now - DAY / 2],
    ["future", null],
  ])
    await insert("outbox", { id, delivered_at, ...mail });
  for (const [id, expires_at] of Object.entries(ages)) {
    await insert("password_reset", {
      id,
      tenant_id: DEFAULT_TENANT,
      user_id: user.id,
      token_hash: id,
      email: "a@x.co",
      expires_at,
      created_at: 0,
      updated_at: 0,
    });
  }
  await worker.scheduled();
  const left = async (table, column) =>
    (await worker.rows(`select ${column} as name from ${table} where ${column} in ('gone', 'recent', 'future') order by 1`)).map(
      ({ name }) => name,
    );
  assert.deepEqual(await left("rate_limit", "key"), ["future"]);
  assert.deepEqual(await left("verification", "id"), ["future"]);
  for (const table of ["session", "password_reset", "outbox"]) assert.deepEqual(await left(table, "id"), ["future", "recent"], table);
  assert.equal((await browser.get(`${AUTH}/api/auth/get-session?disableCookieCache=true`)).json.user.id, user.id);
});
