// The form of the JavaScript: as prettier writes it, lines that fit, and test files that one reads in one go.

import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { ROOT, run } from "./tools.mjs";

/** The longest line, in characters. A line that is one literal, which nothing can break, may be longer. */
const WIDTH = 140;

/** The longest test file, in lines. */
const LENGTH = 400;

/** Test files that are longer still. None may be added. */
const LONGER = new Set([
  "tests/clients/apache.test.mjs",
  "tests/clients/discovery.test.mjs",
  "tests/clients/organization.test.mjs",
  "tests/clients/relying-party-grants.test.mjs",
  "tests/clients/relying-party-keys.test.mjs",
  "tests/conformance/fapi2.test.mjs",
  "tests/workerd/admin.test.mjs",
  "tests/workerd/api-keys.test.mjs",
  "tests/workerd/authority.test.mjs",
  "tests/workerd/csrf.test.mjs",
  "tests/workerd/email-otp.test.mjs",
  "tests/workerd/ended-sessions.test.mjs",
  "tests/workerd/failure.test.mjs",
  "tests/workerd/forward-auth.test.mjs",
  "tests/workerd/hostile-callbacks.test.mjs",
  "tests/workerd/hostile-grants.test.mjs",
  "tests/workerd/hostile-keys.test.mjs",
  "tests/workerd/hostile-provider.test.mjs",
  "tests/workerd/issuers.test.mjs",
  "tests/workerd/linking.test.mjs",
  "tests/workerd/login.test.mjs",
  "tests/workerd/magic-link.test.mjs",
  "tests/workerd/native.test.mjs",
  "tests/workerd/organizations.test.mjs",
  "tests/workerd/passkeys.test.mjs",
  "tests/workerd/permissions.test.mjs",
  "tests/workerd/phone.test.mjs",
  "tests/workerd/policy.test.mjs",
  "tests/workerd/pools.test.mjs",
  "tests/workerd/second-factor.test.mjs",
  "tests/workerd/system-accounts.test.mjs",
  "tests/workerd/upstream-tokens.test.mjs",
]);

const LITERAL = /^\s*(\w+: |(const|let) \w+ =)?\s*(["'`/]).*\3[a-z]*[,;)]*$/;

/** The files whose form is checked, from the root. */
function files() {
  const below = (folder) => readdirSync(path.join(ROOT, folder), { recursive: true }).map((name) => path.join(folder, name));
  return ["tests", "scripts", "benches", "examples"].flatMap(below).filter((name) => /\.m?js$/.test(name) && !name.includes("/target/"));
}

/** Checks the form, and fails with every fault. */
export async function checkJavaScript() {
  const faults = [];
  for (const name of files()) {
    const lines = readFileSync(path.join(ROOT, name), "utf8").trimEnd().split("\n");
    for (const [at, line] of lines.entries()) {
      if ([...line].length > WIDTH && !LITERAL.test(line)) faults.push(`${name}:${at + 1}: over ${WIDTH} characters`);
    }
    if (name.startsWith("tests/") && lines.length > LENGTH && !LONGER.has(name)) {
      faults.push(`${name}: ${lines.length} lines, more than ${LENGTH}: split it by what it is about`);
    }
  }
  if (faults.length > 0) throw new Error(faults.join("\n"));
  const globs = ["tests/**/*.mjs", "scripts/**/*.{mjs,js}", "benches/**/*.{mjs,js}", "examples/**/*.{mjs,js}", "src/**/*.js"];
  await run(path.join(ROOT, "node_modules", ".bin", "prettier"), ["--check", "--log-level=warn", ...globs]);
}
