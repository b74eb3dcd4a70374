// What every table keeps to, whoever adds it.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { after, before, test } from "node:test";
import { columnsOf, freshDatabase, splitStatements } from "../harness/d1.mjs";
import { statements } from "../harness/statements.mjs";

let d1, dispose, columns;
before(async () => {
  ({ d1, dispose } = await freshDatabase());
  columns = await columnsOf(d1);
});
after(() => dispose?.());

const tables = () => [...new Set(columns.map(({ table }) => table))];

test("every foreign key is found by an index", async () => {
  const keys = (
    await d1.batch(
      tables().map((table) =>
        d1.prepare(`select ?1 as "table", "from" as "column" from pragma_foreign_key_list(?1) where seq = 0`).bind(table),
      ),
    )
  ).flatMap(({ results }) => results);
  assert.notEqual(keys.length, 0);

  // Deleting a parent looks its children up. The planner is asked, because an index that leads with the
  // column but is partial on something else is there and yet of no use.
  const plans = await d1.batch(
    keys.map(({ table, column }) => d1.prepare(`explain query plan select 1 from "${table}" where "${column}" = ?1`).bind("")),
  );
  const scanned = keys.filter(
    ({ column }, i) => !plans[i].results.some(({ detail }) => detail.startsWith("SEARCH") && detail.includes(`(${column}=?`)),
  );
  assert.deepEqual(
    scanned.map(({ table, column }) => `${table}.${column}`),
    [],
  );
});

test("every table is strict", async () => {
  const { results } = await d1.prepare("select name, strict from pragma_table_list where schema = 'main'").all();
  const strict = new Set(results.filter((row) => row.strict).map(({ name }) => name));
  assert.deepEqual(
    tables().filter((table) => !strict.has(table)),
    [],
  );
});

test("every time is an integer", () => {
  const wrong = columns.filter(({ column, type }) => /_(at|until)$/.test(column) && type !== "INTEGER");
  assert.deepEqual(wrong, []);
});

test("names are snake_case", async () => {
  const { results } = await d1.prepare("select name from sqlite_schema where name not glob '_cf_*' and name not glob 'sqlite_*'").all();
  const names = [...results.map(({ name }) => name), ...columns.map(({ table, column }) => `${table}.${column}`)];
  const snake = /^[a-z][a-z0-9]*(_[a-z0-9]+)*(\.[a-z][a-z0-9]*(_[a-z0-9]+)*)?$/;
  assert.deepEqual(
    names.filter((name) => !snake.test(name)),
    [],
  );
});

test("migrations split at the semicolons that end a statement", () => {
  const sql = `
    create table a (x text default '; -- it''s', "y;" text); -- one; comment
    create trigger t after insert on a begin
      update a set x = case when x = ';' then 'end' else x end;
      delete from a;
    end;
    select 1`;
  const statements = splitStatements(sql);
  assert.equal(statements.length, 3);
  assert.ok(statements[0].includes(`'; -- it''s', "y;"`));
  assert.match(statements[1], /^create trigger[^]*end$/);
  assert.equal(statements[2], "select 1");
});

const made = statements();
const plan = async (text) => {
  const parameters = Math.max(0, ...[...text.matchAll(/\?(\d+)/g)].map(([, n]) => Number(n)));
  return (
    await d1
      .prepare(`explain query plan ${text}`)
      .bind(...Array(parameters).fill(""))
      .all()
  ).results;
};

test("no statement reads a whole table that grows", async () => {
  assert.ok(made.length > 350, `${made.length} statements found`);
  assert.deepEqual(
    made.filter(({ text }) => /concat!|\$\w|\w!\(/.test(text)),
    [],
    "a macro that was not made out",
  );
  const wrong = [];
  for (const { name, text } of made) {
    // What follows `from` in a lease's is the holder's table.
    if (name === "federation/lease::look") continue;
    for (const { detail } of await plan(text)) {
      const [, table] = detail.match(/^SCAN (\w+)(?! VIRTUAL)/) ?? [];
      if (table && !/VIRTUAL TABLE|USING (COVERING )?INDEX/.test(detail) && table !== "CONSTANT") wrong.push(`${name}: ${detail}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test("a page of what there may be much of is read in the order of an index", async () => {
  // Sorting would read all of them for the first page; of ties in the last column alone it does not. Whoever asks for another
  // order than that of creation waits for it.
  for (const [name, index, count] of [
    ["admin::list", "user_shared_created_at", 2],
    ["admin::list", "user_isolated_created_at", 2],
    ["tenants/member::list", "member_tenant_id", 2],
    ["tenants/invitation::list", "invitation_tenant_id", 1],
    ["tenants/group::list", "user_group_tenant_id", 1],
    ["session/api_key::list", "api_key_tenant_id", 2],
    ["session/api_key::list", "api_key_user_id", 2],
    ["records/notification::list", "notification_user_id", 1],
    ["records/notification::deeds", "audit_event_actor_id", 1],
    ["records/notification::deeds", "audit_event_user_id", 1],
    ["provider/client::of", "oauth_client_tenant_id", 1],
    ["provider/client::of", "oauth_client_global", 1],
    ["provider/client::of", "oauth_client_user_id", 1],
  ]) {
    let found = 0;
    for (const { text } of made.filter((statement) => statement.name === name)) {
      const rows = await plan(text);
      const read = rows.find(({ detail }) => detail.includes(`INDEX ${index} `) || detail.endsWith(`INDEX ${index}`));
      const sorts = read && rows.some(({ detail, parent }) => detail === "USE TEMP B-TREE FOR ORDER BY" && parent === read.parent);
      if (read && !sorts) found += 1;
    }
    assert.equal(found, count, `${name} by ${index}`);
  }
});

test("what a user began is found by indexes alone", async () => {
  const { text } = made.find(({ name }) => name === "request/verification::forget");
  const details = (await plan(text)).map(({ detail }) => detail);
  assert.deepEqual(
    details.filter((detail) => detail.startsWith("SCAN")),
    [],
  );
  assert.equal(details.filter((detail) => detail.includes("verification_identifier")).length, 2, details.join("\n"));
});
