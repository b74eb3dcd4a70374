// The documentation against the code: what a page names is there, and what a reader copies works.

import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { transform } from "esbuild";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const read = (name) => readFileSync(path.join(ROOT, name), "utf8");
const exists = (name) => existsSync(path.join(ROOT, name));
const below = (folder, ending) =>
  readdirSync(path.join(ROOT, folder), { recursive: true })
    .filter((name) => name.endsWith(ending))
    .map((name) => path.join(folder, name))
    .sort();

const PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "migrations/README.md", ...below("docs", ".md")];
const texts = new Map(PAGES.map((page) => [page, read(page)]));

/** The fenced blocks of a page: language and text. */
const blocks = (text) => [...text.matchAll(/^```(\w*)\n([^]*?)^```/gm)].map(([, language, body]) => ({ language, body }));
/** Every block of a language, with the page that shows it. */
const blocksOf = (language) =>
  PAGES.flatMap((page) =>
    blocks(texts.get(page))
      .filter((block) => block.language === language)
      .map(({ body }) => ({ page, body })),
  );
/** A page without configuration of other programs, whose names are theirs. */
const prose = (page) => texts.get(page).replace(/^```(nginx|caddyfile|yaml)\n[^]*?^```/gm, "");
const oneOf = (...names) => names.find(exists);

const rust = below("src", ".rs").map(read).join("\n");
const migrations = below("migrations", ".sql").map(read);

// ---- settings ----

const config = read(oneOf("src/platform/config.rs", "src/config.rs")).split("#[cfg(test)]")[0];
/** The settings that the code reads: how, and with which arguments. */
const settings = new Map(
  [...config.matchAll(/reader\s*\.(\w+)\(\s*"([A-Z][A-Z0-9_]*)"\s*(?:,\s*([^()]*?),?\s*)?\)/g)].map(([, kind, name, rest]) => [
    name,
    { kind, args: rest ?? "" },
  ]),
);
const number = (expression) => {
  assert.match(expression, /^[\d_ *]+$/, `not a product of numbers: ${expression}`);
  return expression
    .replaceAll("_", "")
    .split("*")
    .reduce((product, factor) => product * Number(factor), 1);
};
const quoted = (text) => [...text.matchAll(/"([^"]*)"/g)].map(([, word]) => word);
const rows = new Map(
  [...texts.get("docs/settings.md").matchAll(/^\| `([A-Z][A-Z0-9_]*)`(?: \(secret\))? \| (.*?) \| (.*?) \| (.*) \|$/gm)].map(
    ([, name, value, unit, meaning]) => [name, { value, unit, meaning }],
  ),
);

test("docs/settings.md has every setting that the code reads, and no other", () => {
  assert.ok(settings.size > 60, `${settings.size} settings found`);
  assert.deepEqual([...rows.keys()].sort(), [...settings.keys()].sort());
});

test("docs/settings.md says the default and the least value that the code has", () => {
  const wrong = [];
  for (const [name, { kind, args }] of settings) {
    const row = rows.get(name);
    if (!row) continue;
    const check = (wanted, unit = "") => {
      if (row.value !== wanted || !row.unit.includes(unit))
        wrong.push(`${name}: ${row.value} (${row.unit}), and the code has ${wanted} (${unit})`);
    };
    if (kind === "number") {
      const [value, least] = args.split(",").map(number);
      check(String(value), `from ${least}`);
    } else if (kind === "length") check(String(number(args)), "from 1 to 1024");
    else if (kind === "limit") {
      const [, count, seconds] = args.match(/count: ([\d_]+), seconds: ([\d_]+)/);
      check(`\`${number(count)}/${number(seconds)}\``, "limit");
    } else if (kind === "switch") check("`off`", "switch");
    else if (kind === "ways_in") check(`\`${quoted(args)[0]}\``);
    else if (kind === "choice") {
      const [yes, no] = quoted(args);
      check(`\`${yes}\``, yes === "on" ? "switch" : `\`${yes}\`, \`${no}\``);
    }
  }
  assert.deepEqual(wrong, []);
});

/** Names that a page shows and that are a reader's, or another program's. */
const FOREIGN = ["DB_ACME", "USE_X_FORWARDED_HOST", "SECURE_PROXY_SSL_HEADER"];

test("a name in capitals is a setting, a binding, an error code or a constant of the code", () => {
  const known = new Set([...settings.keys(), ...FOREIGN]);
  const sources = [rust, read("wrangler.toml"), ...below("scripts", ".mjs").map(read)];
  for (const source of sources) {
    for (const [, name] of source.matchAll(/"([A-Z][A-Z0-9_]{2,})"/g)) known.add(name);
    for (const [, name] of source.matchAll(/\bconst ([A-Z][A-Z0-9_]+)/g)) known.add(name);
  }
  const unknown = [];
  for (const page of PAGES) {
    const text = prose(page);
    const names = [...text.matchAll(/\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b/g), ...text.matchAll(/\b[A-Z]{3,}(?==)/g)].map(([name]) => name);
    unknown.push(...names.filter((name) => !known.has(name)).map((name) => `${page}: ${name}`));
  }
  assert.deepEqual(unknown, []);
});

// ---- endpoints ----

const routes = [...read(oneOf("src/server/routes.rs", "src/routes.rs")).matchAll(/^\s+(GET|POST|PUT|PATCH|DELETE)\s+"(\/[^"]*)"/gm)].map(
  ([, method, route]) => ({ method, path: route }),
);
const isPlaceholder = (segment) => /^(:\w+|<\w+>)$/.test(segment);

/** Whether the table has a path of a page: `<id>` is any segment, and `/*` or `/` at the end is whatever begins so. */
function isServed(shown, method) {
  const open = /[/*]$/.test(shown);
  const wanted = shown.replace(/\/\*?$/, "").split("/");
  return routes.some((route) => {
    if (method && route.method !== method) return false;
    const segments = route.path.split("/");
    const fits = open ? segments.length > wanted.length : segments.length === wanted.length;
    return fits && wanted.every((segment, at) => segment === segments[at] || (isPlaceholder(segment) && isPlaceholder(segments[at])));
  });
}

/** The endpoints that a page names, each with its method if the page says one. */
function endpoints(page) {
  const text = prose(page)
    .replace(/\]\([^)]*\)/g, "]")
    .replace(/https?:\/\/(auth\.example\.com|localhost:8787)(?=\/)/g, "")
    .replace(/https?:\/\/[^\s)"'`]+/g, "");
  const first = [...new Set(routes.map((route) => route.path.split("/")[1]).filter(Boolean))].map((name) => name.replaceAll(".", "\\."));
  const pattern = new RegExp(
    `(?:\\b(GET|POST|PUT|PATCH|DELETE)\\s+)?(?<![\\w./>\`-]\\w*)\`?(/(?:${first.join("|")})(?![\\w-])[\\w/.:<>*-]*)`,
    "g",
  );
  const named = [...text.matchAll(pattern)].flatMap(({ 1: method, 2: shown, index }) => {
    // "`GET`, `PATCH` and `DELETE /path`" names three.
    const [before] = text.slice(0, index).match(/(?:`[A-Z]+`(?:, | and ))*`?$/);
    const methods = [...before.matchAll(/`([A-Z]+)`/g)].map(([, name]) => name);
    return [...methods, method].map((one) => ({ method: one, path: shown.replace(/[.,:]+$/, "") }));
  });
  const fetched = [...text.matchAll(/\$fetch\("(\/[^"]+)"(?:,\s*\{\s*method:\s*"(\w+)")?/g)].map(([, shown, method]) => ({
    method,
    path: `/api/auth${shown}`,
  }));
  return [...named, ...fetched];
}

test("every endpoint that a page names is in the table of routes, with that method", () => {
  assert.ok(routes.length > 200, `${routes.length} routes found`);
  const named = PAGES.flatMap((page) => endpoints(page).map((endpoint) => ({ page, ...endpoint })));
  assert.ok(named.length > 80, `${named.length} endpoints found in the pages`);
  const wrong = named.filter(({ path: shown, method }) => !isServed(shown, method));
  assert.deepEqual(
    wrong.map(({ page, method, path: shown }) => `${page}: ${method ?? ""} ${shown}`),
    [],
  );
});

test("the endpoints of the core that docs/login-api.md lists are there", () => {
  const [, list] = texts.get("docs/login-api.md").match(/Of the core these are served below `\/api\/auth\/`, as[^:]*:([^]*?)\.\n/);
  const names = [...list.matchAll(/`([\w/:-]+)`/g)].map(([, name]) => name);
  assert.ok(names.length > 25, `${names.length} names`);
  assert.deepEqual(
    names.filter((name) => !isServed(`/api/auth/${name}`)),
    [],
  );
});

// ---- links, commands, files ----

/** Anchors of a page, as GitHub makes them of headings. */
const anchors = (text) =>
  new Set(
    [...text.replace(/^```[^]*?^```/gm, "").matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
      heading
        .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, "")
        .replaceAll(" ", "-"),
    ),
  );

test("every relative link leads to a file, and every anchor to a heading", () => {
  const broken = [];
  for (const page of [...PAGES, "CHANGELOG.md", "tests/conformance/README.md"]) {
    for (const [, link] of read(page)
      .replace(/^```[^]*?^```/gm, "")
      .matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(link)) continue;
      const [file, anchor] = link.split("#");
      const target = file ? path.join(path.dirname(page), file) : page;
      if (!exists(target)) broken.push(`${page}: ${link}`);
      else if (anchor && (statSync(path.join(ROOT, target)).isDirectory() || !anchors(read(target)).has(anchor)))
        broken.push(`${page}: ${link}`);
    }
  }
  assert.deepEqual(broken, []);
});

test("every page is in an index", () => {
  const listed = (index) => [...read(index).matchAll(/\]\(([^)#\s]+)\)/g)].map(([, link]) => path.join(path.dirname(index), link));
  for (const [folder, index] of [
    ["docs", "docs/README.md"],
    ["docs/decisions", "docs/decisions/README.md"],
  ]) {
    const pages = readdirSync(path.join(ROOT, folder))
      .filter((name) => name.endsWith(".md"))
      .map((name) => path.join(folder, name));
    assert.deepEqual(
      pages.filter((page) => page !== index && !listed(index).includes(page)),
      [],
      index,
    );
  }
});

const scripts = JSON.parse(read("package.json")).scripts;
const steps = [
  ...read("scripts/test.mjs")
    .match(/const STEPS = \{([^]*?)^\};/m)[1]
    .matchAll(/^ {2}(?:async )?(\w+)[(:]/gm),
].map(([, name]) => name);

test("every npm command is one of the repository's", () => {
  const wrong = [];
  for (const page of PAGES) {
    for (const [, name] of texts.get(page).matchAll(/npm run ([\w-]+)/g)) if (!(name in scripts)) wrong.push(`${page}: npm run ${name}`);
    for (const [, rest] of texts.get(page).matchAll(/npm test -- ([\w/ .<-]+)/g)) {
      const chosen = rest
        .split(/ -t\b/)[0]
        .trim()
        .split(/\s+/)
        .filter((name) => !name.includes("<"));
      for (const name of chosen) if (!steps.includes(name) && !exists(`tests/${name}.test.mjs`)) wrong.push(`${page}: npm test -- ${name}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test("CONTRIBUTING.md lists the steps of npm test in their order", () => {
  const [, table] = texts.get("CONTRIBUTING.md").match(/## Steps of npm test\n([^]*?)\n## /);
  assert.deepEqual(
    [...table.matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name),
    steps,
  );
});

test("every file that a page names is there", () => {
  // The rooms are named once they are there.
  const folders = ["tests", "scripts", "migrations", "examples", "docs", ...(exists("src/server") ? ["src"] : [])];
  const pattern = new RegExp(`\`((?:${folders.join("|")})/[\\w./-]+)\``, "g");
  const missing = PAGES.flatMap((page) =>
    [...texts.get(page).matchAll(pattern)]
      .map(([, name]) => name)
      .filter((name) => !exists(name))
      .map((name) => `${page}: ${name}`),
  );
  assert.deepEqual(missing, []);
});

test("the rooms of docs/architecture.md are the folders of src", { skip: !exists("src/server") && "the rooms are not there yet" }, () => {
  const [, table] = texts.get("docs/architecture.md").match(/\| room \| what it is \|\n([^]*?)\n\n/);
  const rooms = [...table.matchAll(/^\| `(\w+)\/` \|/gm)].map(([, name]) => name);
  const folders = readdirSync(path.join(ROOT, "src"), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name);
  assert.deepEqual(rooms.sort(), folders.sort());
});

test("the names in the last column of docs/glossary.md are in the code", () => {
  const code = [rust, ...migrations].join("\n");
  const words = new Set(code.match(/\w+/g));
  const entries = [...texts.get("docs/glossary.md").matchAll(/^\| \*\*.*\| ([^|]*) \|$/gm)].map(([, cell]) => cell);
  assert.ok(entries.length > 70, `${entries.length} words`);
  assert.deepEqual(
    entries.flatMap((cell) => [...cell.matchAll(/`(\w+)`/g)].map(([, name]) => name)).filter((name) => !words.has(name)),
    [],
  );
});

// ---- blocks ----

test("SQL runs on the migrated schema, block by block as a reader runs it", () => {
  const shown = blocksOf("sql");
  assert.ok(shown.length >= 5, `${shown.length} blocks`);
  for (const page of new Set(shown.map((block) => block.page))) {
    const database = new DatabaseSync(":memory:");
    for (const text of migrations) database.exec(text);
    for (const { body } of shown.filter((block) => block.page === page)) {
      try {
        database.exec(body);
      } catch (error) {
        assert.fail(`${page}: ${error.message}\n${body}`);
      }
    }
    database.close();
  }
});

test("JSON and JavaScript parse", async () => {
  for (const { page, body } of blocksOf("json")) assert.doesNotThrow(() => JSON.parse(body), `${page}:\n${body}`);
  for (const { page, body } of blocksOf("js"))
    await assert.doesNotReject(transform(body, { loader: "js", format: "esm", logLevel: "silent" }), `${page}:\n${body}`);
});

test("a block is of a kind that something tests", () => {
  const kinds = ["", "sh", "sql", "json", "js"];
  // tests/clients drives the first one of each on that page.
  const driven = ["nginx", "caddyfile", "yaml"];
  for (const page of PAGES) {
    const languages = blocks(texts.get(page)).map(({ language }) => language);
    const others = languages.filter((language) => !kinds.includes(language));
    assert.deepEqual(others, page === "docs/behind-a-proxy.md" ? driven : [], page);
  }
});

// ---- form ----

test("README.md has at most 150 lines and 1,300 words", () => {
  const text = texts.get("README.md");
  const [lines, words] = [text.trimEnd().split("\n").length, text.split(/\s+/).filter(Boolean).length];
  assert.ok(lines <= 150 && words <= 1300, `${lines} lines, ${words} words`);
});

test("lines have at most 140 columns", () => {
  const long = PAGES.flatMap((page) =>
    texts
      .get(page)
      .split("\n")
      .flatMap((line, at) => ([...line].length > 140 ? [`${page}:${at + 1}`] : [])),
  );
  assert.deepEqual(long, []);
});
