// Builds the Worker into build/. Sets up what is missing, and hands worker-build tools that are there already: left
// to itself it would download them.

import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import { ROOT, prepareTools, run } from "./tools.mjs";

// What rustc emits for wasm32-unknown-unknown and wasm-bindgen adds; no newer encodings, which workerd may not know.
const FEATURES = ["mutable-globals", "sign-ext", "nontrapping-float-to-int", "bulk-memory", "multivalue", "reference-types", "exception-handling"];
const WASM = path.join(ROOT, "build", "index_bg.wasm");

const tools = await prepareTools();
// Panics name the file that they are in: without the path of this machine.
const crates = path.join(process.env.CARGO_HOME ?? path.join(homedir(), ".cargo"), "registry", "src");
const RUSTFLAGS = `${process.env.RUSTFLAGS ?? ""} --remap-path-prefix=${crates}=crates`.trim();
await run(tools.workerBuild, ["--release"], { env: { ...tools.env, RUSTFLAGS } });

// The slow step, done once for each outcome of the compiler.
const flags = ["-Oz", "--strip-debug", ...FEATURES.map((feature) => `--enable-${feature}`)];
const name = createHash("sha256").update(readFileSync(WASM)).update(flags.join()).digest("hex");
const optimised = path.join(ROOT, "target", "optimised", `${name}.wasm`);
if (!existsSync(optimised)) {
  mkdirSync(path.dirname(optimised), { recursive: true });
  await run(tools.env.WASM_OPT_BIN, [WASM, "-o", optimised, ...flags], { env: tools.env });
}
copyFileSync(optimised, WASM);
