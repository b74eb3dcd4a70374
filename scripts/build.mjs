// Builds the Worker into build/, and sets up what is missing. With `--quick` it compiles for changing and trying: in a
// fraction of the time, larger and slower. `npm test` and `npm run deploy` never use that.

import { parseArgs } from "node:util";
import { ROOT, prepareTools } from "./tools.mjs";
import { buildWorker } from "./worker.mjs";

const { values } = parseArgs({ options: { quick: { type: "boolean", default: false } } });
try {
  await prepareTools();
  await buildWorker({ crate: ROOT, name: "doorward", profile: values.quick ? "quick" : "release", optimise: !values.quick });
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
