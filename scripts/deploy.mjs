// `npm run deploy -- --env …`: builds, applies the migrations to the D1 of the deployment, and deploys. Arguments go to
// wrangler; with `--dry-run` nothing leaves this machine.

import { readFileSync } from "node:fs";
import { prepareTools, run, step, underNode22, withBin } from "./tools.mjs";

/** What is still as it was written down for everybody. */
function missing(toml) {
  const text = toml.replace(/^\s*#.*$/gm, "");
  const faults = [];
  if (/^\s*database_id\s*=\s*"[0-]*"/m.test(text)) faults.push("database_id: npx wrangler d1 create doorward");
  if (/^\s*id\s*=\s*"0*"/m.test(text)) faults.push("id of the KV namespace SESSIONS: npx wrangler kv namespace create SESSIONS");
  if (/AUTH_ORIGIN\s*=\s*"https:\/\/auth\.example\.com"/.test(text)) faults.push("AUTH_ORIGIN: the origin of your auth host");
  return faults;
}

await underNode22();
const args = process.argv.slice(2);
// `npm run deploy --dry-run`: npm takes the flag for its own, and says so in the environment.
if (process.env.npm_config_dry_run === "true" && !args.includes("--dry-run")) args.push("--dry-run");
const dry = args.includes("--dry-run");
const which = args.flatMap((arg, at) =>
  /^(--env|-e|--config|-c)$/.test(arg) ? [arg, args[at + 1]] : /^--(env|config)=/.test(arg) ? [arg] : [],
);
const file =
  args.flatMap((arg, at) => (/^(--config|-c)$/.test(arg) ? [args[at + 1]] : /^--config=/.test(arg) ? [arg.slice(9)] : [])).at(-1) ??
  "wrangler.toml";
// Another environment has a section of its own.
const placeholders = which.some((arg) => /^(--env|-e)/.test(arg)) ? [] : missing(readFileSync(file, "utf8"));
if (placeholders.length > 0) {
  const list = placeholders.map((line) => `  - ${line}`).join("\n");
  const text = `${file} is not yet yours:\n${list}\ndocs/deploy.md says where each comes from.`;
  if (!dry) {
    console.error(text);
    process.exit(1);
  }
  console.warn(`${text}\nA dry run goes on; a deployment would stop here.`);
}
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
