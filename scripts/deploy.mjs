// `npm run deploy -- --env …`: builds, applies the migrations to the D1 of the deployment, and deploys. Arguments go to
// wrangler; with `--dry-run` nothing leaves this machine.

import { prepareTools, run, step, underNode22, withBin } from "./tools.mjs";

await underNode22();
const args = process.argv.slice(2);
const dry = args.includes("--dry-run");
const which = args.flatMap((arg, at) => (/^(--env|-e|--config|-c)$/.test(arg) ? [arg, args[at + 1]] : /^--(env|config)=/.test(arg) ? [arg] : []));
try {
  await prepareTools();
  if (!dry) {
    step("migrations");
    await run("wrangler", ["d1", "migrations", "apply", "DB", "--remote", ...which], { env: withBin() });
  }
  await run("wrangler", ["deploy", ...args], { env: withBin() });
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
