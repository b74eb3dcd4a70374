// `npm test`: everything that must hold. The first failure ends it; nothing is skipped. Arguments choose:
//   npm test -- rust workerd                      steps
//   npm test -- workerd/policy clients/nginx      test files, after a quick build where the source has changed
//   npm test -- workerd/policy -t "grace"         the tests of a file whose name has these words

import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { checkJavaScript } from "./check-javascript.mjs";
import { ROOT, prepareTools, run, step, underNode22, withBin } from "./tools.mjs";

await underNode22();

const files = (folder) => {
  const found = readdirSync(path.join(ROOT, "tests", folder)).filter((name) => name.endsWith(".test.mjs"));
  if (found.length === 0) throw new Error(`tests/${folder} has no tests`);
  return found.map((name) => path.join("tests", folder, name));
};
const node = (paths, ...options) =>
  run(process.execPath, ["--test", "--test-concurrency=2", "--test-reporter=spec", ...options, ...paths], { env: withBin() });
const cargo = (...args) => run("cargo", args);
const build = (...args) => run(process.execPath, ["scripts/build.mjs", ...args], { env: withBin() });

const STEPS = {
  javascript: checkJavaScript,
  async rust() {
    await cargo("fmt", "--check");
    await cargo("clippy", "--quiet", "--all-targets", "--", "-D", "warnings");
    await cargo("clippy", "--quiet", "--target", "wasm32-unknown-unknown", "--", "-D", "warnings");
    await cargo("test", "--quiet");
  },
  build: () => build(),
  workerd: () => node(files("workerd")),
  clients: () => node(files("clients")),
  conformance: () => node(files("conformance")),
  browser: () => node(files("browser")),
  commands: () => node(files("commands")),
};

/** When the newest of what the Worker is built from was written. */
function newestSource() {
  const below = (folder) => readdirSync(path.join(ROOT, folder), { recursive: true }).map((name) => path.join(folder, name));
  const sources = [...below("src"), "Cargo.toml", "Cargo.lock", "scripts/entry.js"];
  return Math.max(...sources.map((name) => statSync(path.join(ROOT, name)).mtimeMs));
}

/** Runs some test files, or some tests of them, on a build of the source as it is. */
async function runFiles(names, words) {
  const paths = names.map((name) => path.join("tests", `${name}.test.mjs`));
  for (const one of paths) if (!existsSync(path.join(ROOT, one))) throw new Error(`no such step, and no such test file: ${one}`);
  const built = path.join(ROOT, "build", "index_bg.wasm");
  if (!existsSync(built) || statSync(built).mtimeMs < newestSource()) {
    step("quick build");
    await build("--quick");
  }
  const pattern = words?.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
  if (!pattern) return node(paths);
  const report = path.join(mkdtempSync(path.join(tmpdir(), "doorward-test-")), "report.tap");
  // Where no name matches, node runs no "after", and what "before" started would keep it.
  await node(
    paths,
    `--test-name-pattern=${pattern}`,
    "--test-force-exit",
    "--test-reporter-destination=stdout",
    "--test-reporter=tap",
    `--test-reporter-destination=${report}`,
  );
  // A file in which nothing ran is reported as a test itself.
  const ran = [...readFileSync(report, "utf8").matchAll(/^ *# Subtest: (.*)$/gm)].filter(([, name]) => !paths.includes(name));
  rmSync(path.dirname(report), { recursive: true });
  if (ran.length === 0) throw new Error(`no test of ${names.join(", ")} has "${words}" in its name`);
}

const { values, positionals } = parseArgs({ allowPositionals: true, options: { t: { type: "string", short: "t" } } });
const chosen = positionals.filter((name) => !(name in STEPS));
const times = [];
try {
  if (chosen.length > 0 && chosen.length < positionals.length) throw new Error("name steps or test files, not both");
  if (values.t && chosen.length === 0) throw new Error('-t needs a test file: npm test -- workerd/policy -t "words of its name"');
  await prepareTools();
  if (chosen.length > 0) {
    await runFiles(chosen, values.t);
  } else {
    for (const [name, work] of Object.entries(STEPS)) {
      if (positionals.length > 0 && !positionals.includes(name)) continue;
      step(name);
      const begun = Date.now();
      await work();
      times.push({ step: name, seconds: Math.round((Date.now() - begun) / 1000) });
    }
    console.table(times);
    step("everything passed");
  }
} catch (error) {
  console.error(`\n${error.message}`);
  process.exit(1);
}
