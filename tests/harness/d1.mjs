// A D1 database of its own for a test, migrated as a deployment's is.

import { readdirSync, readFileSync } from "node:fs";
import { Miniflare } from "miniflare";

const MIGRATIONS = new URL("../../migrations/", import.meta.url);

// Quoted text, comments, words, and whatever else one character at a time.
const TOKEN = /'[^']*'|"[^"]*"|--[^\n]*|\w+|[^]/g;

// D1 prepares one statement at a time. A `;` ends one, but not in quotes, in a comment,
// or between a trigger's `begin` and its `end` (`case … end` nests in it).
export function splitStatements(sql) {
  const statements = [""];
  let depth = 0;
  for (const [token] of sql.matchAll(TOKEN)) {
    if (token.startsWith("--")) continue;
    if (/^(begin|case)$/i.test(token)) depth += 1;
    if (/^end$/i.test(token)) depth -= 1;
    if (token === ";" && depth === 0) statements.push("");
    else statements[statements.length - 1] += token;
  }
  return statements.map((statement) => statement.trim()).filter(Boolean);
}

export async function applyMigrations(d1) {
  const files = readdirSync(MIGRATIONS)
    .filter((name) => name.endsWith(".sql"))
    .sort();
  for (const file of files) {
    const statements = splitStatements(readFileSync(new URL(file, MIGRATIONS), "utf8"));
    try {
      await d1.batch(statements.map((statement) => d1.prepare(statement)));
    } catch (cause) {
      throw new Error(`migrations/${file}: ${cause.message}`, { cause });
    }
  }
}

export async function freshDatabase() {
  const mf = new Miniflare({
    // Both would reach outside the test: a registry shared by processes, and a download.
    enableDevRegistry: false,
    cf: false,
    workers: [
      {
        config: {
          name: "database",
          compatibilityDate: "2026-10-01",
          manifest: { mainModule: "index.mjs", modules: { "index.mjs": { type: "esm", contents: "export default {}" } } },
          env: { DB: { type: "d1" } },
        },
      },
    ],
  });
  const dispose = () => mf.dispose();
  try {
    const d1 = await mf.getD1Database("DB");
    await applyMigrations(d1);
    return { d1, dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

// [{ table, column, type }] of every table that is ours. D1 refuses the pragmas on its own `_cf_…`
// tables, hence `materialized`: they must be gone before the join.
export async function columnsOf(d1) {
  const { results } = await d1
    .prepare(
      `
    with ours as materialized (
      select name from sqlite_schema where type = 'table' and name not glob '_cf_*' and name not glob 'sqlite_*'
    )
    select ours.name as "table", info.name as "column", info.type from ours, pragma_table_info(ours.name) info`,
    )
    .all();
  return results;
}
