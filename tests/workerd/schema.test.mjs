// What every table keeps to, whoever adds it.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { after, before, test } from "node:test";
import { columnsOf, freshDatabase, splitStatements } from "../harness/d1.mjs";

let d1, dispose, columns;
before(async () => {
  ({ d1, dispose } = await freshDatabase());
  columns = await columnsOf(d1);
});
after(() => dispose?.());

const tables = () => [...new Set(columns.map(({ table }) => table))];

test("every foreign key is found by an index", async () => {
  const keys = (await d1.batch(tables().map((table) =>
    d1.prepare(`select ?1 as "table", "from" as "column" from pragma_foreign_key_list(?1) where seq = 0`).bind(table),
  ))).flatMap(({ results }) => results);
  assert.notEqual(keys.length, 0);

  // Deleting a parent looks its children up. The planner is asked, because an index that leads with the
  // column but is partial on something else is there and yet of no use.
  const plans = await d1.batch(keys.map(({ table, column }) =>
    d1.prepare(`explain query plan select 1 from "${table}" where "${column}" = ?1`).bind("")));
  const scanned = keys.filter(({ column }, i) =>
    !plans[i].results.some(({ detail }) => detail.startsWith("SEARCH") && detail.includes(`(${column}=?`)));
  assert.deepEqual(scanned.map(({ table, column }) => `${table}.${column}`), []);
});

test("every table is strict", async () => {
  const { results } = await d1.prepare("select name, strict from pragma_table_list where schema = 'main'").all();
  const strict = new Set(results.filter((row) => row.strict).map(({ name }) => name));
  assert.deepEqual(tables().filter((table) => !strict.has(table)), []);
});

test("every time is an integer", () => {
  const wrong = columns.filter(({ column, type }) => /_(at|until)$/.test(column) && type !== "INTEGER");
  assert.deepEqual(wrong, []);
});

test("names are snake_case", async () => {
  const { results } = await d1.prepare(
    "select name from sqlite_schema where name not glob '_cf_*' and name not glob 'sqlite_*'").all();
  const names = [...results.map(({ name }) => name), ...columns.map(({ table, column }) => `${table}.${column}`)];
  const snake = /^[a-z][a-z0-9]*(_[a-z0-9]+)*(\.[a-z][a-z0-9]*(_[a-z0-9]+)*)?$/;
  assert.deepEqual(names.filter((name) => !snake.test(name)), []);
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

test("no statement reads a whole table that grows", async () => {
  const folder = new URL("../../src/store/", import.meta.url);
  const sources = readdirSync(folder, { recursive: true }).filter((name) => name.endsWith(".rs")).map((name) => readFileSync(new URL(name, folder), "utf8"));
  const texts = sources.flatMap((source) => [...source.matchAll(/sql\(\s*"((?:[^"\\]|\\.)*)"/g)].map(([, text]) => text));
  assert.ok(texts.length > 80, `${texts.length} statements found`);
  const scans = [];
  for (const text of texts) {
    const parameters = Math.max(0, ...[...text.matchAll(/\?(\d+)/g)].map(([, n]) => Number(n)));
    const { results } = await d1.prepare(`explain query plan ${text}`).bind(...Array(parameters).fill("")).all();
    for (const { detail } of results) {
      const [, table] = detail.match(/^SCAN (\w+)(?! VIRTUAL)/) ?? [];
      if (table && !/VIRTUAL TABLE|USING (COVERING )?INDEX/.test(detail) && table !== "CONSTANT") scans.push(`${detail}: ${text.replace(/\s+/g, " ").slice(0, 100)}`);
    }
  }
  assert.deepEqual(scans, []);
});

test("a page of users and of members is read in the order of an index", async () => {
  // As `people::list`, `member::list` and their counts begin; what they select beside comes by keys.
  for (const [index, text] of [
    ["user_shared_created_at", "select u.id from user u left join member m on m.tenant_id = ?1 and m.user_id = u.id where u.deleted_at is null and u.tenant_id is null order by u.created_at, u.id limit 20"],
    ["user_shared_created_at", "select u.id from user u left join member m on m.tenant_id = ?1 and m.user_id = u.id where u.deleted_at is null and u.tenant_id is null order by u.created_at desc, u.id desc limit 20"],
    ["user_isolated_created_at", "select u.id from user u left join member m on m.tenant_id = ?1 and m.user_id = u.id where u.deleted_at is null and u.tenant_id = ?1 and u.tenant_id is not null order by u.created_at, u.id limit 20"],
    ["member_tenant_id", "select m.id from member m join user u on u.id = m.user_id where m.tenant_id = ?1 and m.created_at >= coalesce(null, -1) order by m.created_at, m.id limit 20"],
    ["invitation_tenant_id", "select i.id from invitation i where i.tenant_id = ?1 order by i.created_at desc, i.id desc limit 1000"],
    ["user_group_tenant_id", "select g.id from user_group g where g.tenant_id = ?1 and g.deleted_at is null order by g.created_at, g.id limit 1000"],
    ["api_key_tenant_id", "select id from api_key where tenant_id = ?1 and user_id is null order by created_at, id limit 20"],
  ]) {
    const { results } = await d1.prepare(`explain query plan ${text}`).bind(...(text.includes("?1") ? ["t"] : [])).all();
    const details = results.map(({ detail }) => detail);
    assert.ok(details.some((detail) => detail.includes(index)), `${index}: ${details.join("; ")}`);
    // Sorting would read all of them for the first page; of ties in the last column alone it does not.
    assert.deepEqual(details.filter((detail) => /^SCAN (?!u USING|m USING)/.test(detail) || detail === "USE TEMP B-TREE FOR ORDER BY"), [], `${index}: ${details.join("; ")}`);
  }
});

test("what a user began is found by indexes alone", async () => {
  // The statement that `begun_by!` makes.
  const { results } = await d1.prepare(`explain query plan
    update verification set used_at = 1 where used_at is null and id in (
      select id from verification where user_id = ?1
      union all select id from verification where kind in ('change_email_confirm', 'change_email_proof', 'delete_user', 'account_confirmation') and identifier = ?1
      union all select id from verification where kind = 'code_change_email' and identifier > ?1 || ' ' and identifier < ?1 || '!')`).bind("u").all();
  const details = results.map(({ detail }) => detail);
  assert.deepEqual(details.filter((detail) => detail.startsWith("SCAN")), []);
  assert.equal(details.filter((detail) => detail.includes("verification_identifier")).length, 2, details.join("\n"));
});
