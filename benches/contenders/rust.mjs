import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { wasm } from "../bundle.mjs";

const CRATE = new URL("../hello/", import.meta.url);
const BUILD = new URL("build/", CRATE);

function build() {
  // WASM_BINDGEN_BIN and its like are set by then: worker-build would download its own.
  // The report has stdout to itself.
  execFileSync("worker-build", ["--release"], { cwd: CRATE, stdio: ["ignore", process.stderr, process.stderr] });
}

export default {
  name: "Rust",
  modules() {
    if (!existsSync(BUILD)) build();
    return wasm(BUILD);
  },
  scenarios: [{ name: "hello", group: "hello", prepare: () => ({ path: "/" }), answer: /^hello$/ }],
};
