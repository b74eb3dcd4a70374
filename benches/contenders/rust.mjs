import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { buildWorker } from "../../scripts/worker.mjs";
import { wasm } from "../bundle.mjs";

const CRATE = new URL("../hello/", import.meta.url);
const BUILD = new URL("build/", CRATE);

export default {
  name: "Rust",
  async modules() {
    // The report has stdout to itself.
    if (!existsSync(BUILD)) await buildWorker({ crate: fileURLToPath(CRATE), name: "hello", quiet: true });
    return wasm(BUILD);
  },
  scenarios: [{ name: "hello", group: "hello", prepare: () => ({ path: "/" }), answer: /^hello$/ }],
};
