// Builds a crate of ours into the module and the wasm that workerd loads.

import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import { BIN, ROOT, run } from "./tools.mjs";

// What rustc emits for wasm32-unknown-unknown and wasm-bindgen adds; no newer encodings, which workerd may not know.
const FEATURES = [
  "mutable-globals",
  "sign-ext",
  "nontrapping-float-to-int",
  "bulk-memory",
  "multivalue",
  "reference-types",
  "exception-handling",
];

/** Output goes to stderr where the caller prints a report of its own. */
function streams(quiet) {
  return quiet ? { stdio: ["ignore", process.stderr, process.stderr] } : {};
}

/** The slow step, done once for each outcome of the compiler. */
async function optimiseWasm(wasm, options) {
  const flags = ["-Oz", "--strip-debug", ...FEATURES.map((feature) => `--enable-${feature}`)];
  const name = createHash("sha256").update(readFileSync(wasm)).update(flags.join()).digest("hex");
  const optimised = path.join(ROOT, "target", "optimised", `${name}.wasm`);
  if (!existsSync(optimised)) {
    mkdirSync(path.dirname(optimised), { recursive: true });
    await run(path.join(BIN, "wasm-opt"), [wasm, "-o", optimised, ...flags], options);
  }
  copyFileSync(optimised, wasm);
}

/** Compiles `crate`, binds it for workerd, and leaves `index.js` and `index_bg.wasm` in its `build/`. */
export async function buildWorker({ crate, name, profile = "release", optimise = true, quiet = false }) {
  const options = streams(quiet);
  const target = path.join(crate, "target");
  // Panics name the file that they are in: without the path of this machine.
  const registry = path.join(process.env.CARGO_HOME ?? path.join(homedir(), ".cargo"), "registry", "src");
  const RUSTFLAGS = `${process.env.RUSTFLAGS ?? ""} --remap-path-prefix=${registry}=crates`.trim();
  const compile = ["build", "--lib", "--profile", profile, "--target", "wasm32-unknown-unknown", "--target-dir", target];
  // The variable tells wasm-bindgen's macros to use the futures of js-sys.
  await run("cargo", compile, { ...options, cwd: crate, env: { RUSTFLAGS, WASM_BINDGEN_USE_JS_SYS: "1" } });
  await run("cargo", ["build", "--profile", "tool", "-p", "doorward-bind"], options);

  const staging = path.join(target, `staging-${process.pid}`);
  mkdirSync(staging, { recursive: true });
  try {
    const compiled = path.join(target, "wasm32-unknown-unknown", profile, `${name}.wasm`);
    await run(path.join(ROOT, "target", "tool", "doorward-bind"), [compiled, staging], options);
    if (optimise) await optimiseWasm(path.join(staging, "index_bg.wasm"), options);
    copyFileSync(path.join(ROOT, "scripts", "entry.js"), path.join(staging, "entry.js"));
    const bundled = path.join(staging, "bundled.js");
    const bundle = [
      "entry.js",
      "--bundle",
      "--minify",
      "--format=esm",
      "--external:./index_bg.wasm",
      "--log-level=warning",
      `--outfile=${bundled}`,
    ];
    await run(path.join(BIN, "esbuild"), bundle, { ...options, cwd: staging });
    const build = path.join(crate, "build");
    mkdirSync(build, { recursive: true });
    // workerd hands over the compiled module by a plain import.
    writeFileSync(bundled, readFileSync(bundled, "utf8").replace("import source ", "import "));
    renameSync(path.join(staging, "index_bg.wasm"), path.join(build, "index_bg.wasm"));
    renameSync(bundled, path.join(build, "index.js"));
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
}
