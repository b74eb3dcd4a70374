// Every column of the published schemas that Doorward unites has a home in ours: migrations/coverage.toml
// says where, and this holds it to what the database really has.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parse } from "smol-toml";
import { columnsOf, freshDatabase } from "../harness/d1.mjs";

const read = (path) => readFileSync(new URL(path, import.meta.url), "utf8");
const source = JSON.parse(read("../vectors/source-columns.json"));
const coverage = parse(read("../../migrations/coverage.toml"));

// [["group.table", its columns]] of either file.
const flatten = (groups) =>
  Object.entries(groups).flatMap(([group, tables]) => Object.entries(tables).map(([table, columns]) => [`${group}.${table}`, columns]));

test("every source column has a home that exists", async (t) => {
  const { d1, dispose } = await freshDatabase();
  t.after(dispose);
  const columns = await columnsOf(d1);
  const ours = new Set(columns.map(({ table, column }) => `${table}.${column}`));
  const ourTables = new Set(columns.map(({ table }) => table));
  const sourceColumns = new Map(flatten(source));
  const listed = flatten(coverage);

  // The reason why `home` cannot stand, or undefined.
  function fault(home) {
    if (typeof home !== "string") return "is not a string";
    if (/^(kv|derived): ?\S/.test(home)) return undefined;
    const [, later, table, column] = home.match(/^(later: )?(\w+)\.(\w+)$/) ?? [];
    if (!table) return "is neither a column nor kv:, derived: or later:";
    if (later) return ourTables.has(table) ? `must be replaced: table ${table} has landed` : undefined;
    return ours.has(`${table}.${column}`) ? undefined : "does not exist";
  }

  const problems = [];
  const count = { covered: 0, later: 0 };
  for (const [name, homes] of listed) {
    const expected = sourceColumns.get(name);
    if (!expected) {
      problems.push(`[${name}] is no source table`);
      continue;
    }
    for (const column of expected) if (!Object.hasOwn(homes, column)) problems.push(`[${name}] lacks ${column}`);
    for (const [column, home] of Object.entries(homes)) {
      const reason = expected.includes(column) ? fault(home) : "is no source column";
      if (reason) problems.push(`[${name}] ${column} = ${JSON.stringify(home)} ${reason}`);
      else count[home.startsWith("later:") ? "later" : "covered"] += 1;
    }
  }

  const total = [...sourceColumns.values()].flat().length;
  const begun = new Set(listed.map(([name]) => name));
  const notBegun = [...sourceColumns.keys()].filter((name) => !begun.has(name));
  t.diagnostic(`${count.covered} of ${total} source columns covered, ${count.later} later`);
  t.diagnostic(`${notBegun.length} of ${sourceColumns.size} source tables not begun: ${notBegun.join(", ")}`);

  assert.deepEqual(problems, []);
});
