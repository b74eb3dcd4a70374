// Builds the Worker into build/. Sets up what is missing, and hands worker-build tools that are there already: left
// to itself it would download them.
import { prepareTools, run } from "./tools.mjs";

const tools = await prepareTools();
const profile = process.argv.includes("--dev") ? "--dev" : "--release";
await run(tools.workerBuild, [profile], { env: tools.env });
if (profile === "--release") {
  // The features are what rustc emits for wasm32-unknown-unknown and what wasm-bindgen adds; no newer encodings,
  // which workerd may not know.
  const features = ["mutable-globals", "sign-ext", "nontrapping-float-to-int", "bulk-memory", "multivalue", "reference-types", "exception-handling"];
  const wasm = "build/index_bg.wasm";
  const flags = features.map((feature) => `--enable-${feature}`);
  await run(tools.env.WASM_OPT_BIN, [wasm, "-o", wasm, "-Oz", "--strip-debug", ...flags], { env: tools.env });
}
