import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { wasm } from "../bundle.mjs";

const CRATE = new URL("../hello/", import.meta.url);
const BUILD = new URL("build/", CRATE);
const installed = (name) => fileURLToPath(new URL(`../../node_modules/.bin/${name}`, import.meta.url));

function build() {
  // Named, or worker-build downloads its own.
  const onPath = process.env.PATH.split(delimiter).map((folder) => join(folder, "wasm-bindgen")).find(existsSync);
  const tools = { WASM_BINDGEN_BIN: onPath, WASM_OPT_BIN: installed("wasm-opt"), ESBUILD_BIN: installed("esbuild") };
  execFileSync("worker-build", ["--release"], {
    cwd: CRATE,
    env: { ...tools, ...process.env },
    // The report has stdout to itself.
    stdio: ["ignore", process.stderr, process.stderr],
  });
}

export default {
  name: "Rust",
  modules() {
    if (!existsSync(BUILD)) build();
    return wasm(BUILD);
  },
  scenarios: [{ name: "hello", group: "hello", prepare: () => ({ path: "/" }), answer: /^hello$/ }],
};
