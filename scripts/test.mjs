// `npm test`: everything that must hold. The first failure ends it; nothing is skipped. Arguments choose steps:
// `npm test -- rust workerd`.

import { readdirSync } from "node:fs";
import path from "node:path";
import { ROOT, prepareTools, run, step, underNode22, withBin } from "./tools.mjs";

await underNode22();

const files = (folder) => {
  const found = readdirSync(path.join(ROOT, "tests", folder)).filter((name) => name.endsWith(".test.mjs"));
  if (found.length === 0) throw new Error(`tests/${folder} has no tests`);
  return found.map((name) => path.join("tests", folder, name));
};
const node = (...folders) => run(process.execPath, ["--test", "--test-concurrency=2", "--test-reporter=spec", ...folders.flatMap(files)], { env: withBin() });
const cargo = (...args) => run("cargo", args);

const STEPS = {
  async rust() {
    await cargo("fmt", "--check");
    await cargo("clippy", "--quiet", "--all-targets", "--", "-D", "warnings");
    await cargo("clippy", "--quiet", "--target", "wasm32-unknown-unknown", "--", "-D", "warnings");
    await cargo("test", "--quiet");
  },
  build: () => run(process.execPath, ["scripts/build.mjs"], { env: withBin() }),
  workerd: () => node("workerd"),
  clients: () => node("clients"),
  conformance: () => node("conformance"),
  browser: () => node("browser"),
  commands: () => node("commands"),
};

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !(name in STEPS));
try {
  if (unknown.length > 0) throw new Error(`no such step: ${unknown.join(", ")}; there are ${Object.keys(STEPS).join(", ")}`);
  await prepareTools();
  for (const [name, work] of Object.entries(STEPS)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    step(name);
    await work();
  }
  step("everything passed");
} catch (error) {
  console.error(`\n${error.message}`);
  process.exit(1);
}
