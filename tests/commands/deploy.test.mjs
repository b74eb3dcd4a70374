// `npm run deploy`, as far as it goes without an account.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

const npm = (...args) =>
  spawnSync("npm", ["run", ...args], { cwd: ROOT, encoding: "utf8", env: { ...process.env, CLOUDFLARE_API_TOKEN: "" } });

test("npm run deploy --dry-run is dry, though npm takes the flag for its own", () => {
  const { status, stdout, stderr } = npm("deploy", "--dry-run");
  assert.equal(status, 0, stderr);
  assert.match(stdout, /--dry-run: exiting now/);
  assert.doesNotMatch(stdout + stderr, /migrations apply/);
});

test("what is not filled in yet stops a deployment, and is said in a dry run", () => {
  const said = /database_id[^]*SESSIONS[^]*AUTH_ORIGIN/;
  const dry = npm("deploy", "--", "--dry-run");
  assert.deepEqual([dry.status, said.test(dry.stderr)], [0, true], dry.stderr);
  const real = npm("deploy");
  assert.deepEqual([real.status, said.test(real.stderr)], [1, true], real.stderr);
  assert.doesNotMatch(real.stdout, /migrations/);
});

test("a dry run builds what would be uploaded", () => {
  const out = mkdtempSync(path.join(tmpdir(), "doorward-deploy-"));
  try {
    const output = execFileSync("npm", ["run", "deploy", "--", "--dry-run", `--outdir=${out}`], { cwd: ROOT, encoding: "utf8" });
    for (const binding of ["env.DB", "env.SESSIONS", "env.AUTH_ORIGIN"])
      assert.ok(output.includes(binding), `${binding} is not bound:\n${output}`);
    assert.ok(
      readdirSync(out).some((name) => name.endsWith(".wasm")),
      "no wasm in the upload",
    );
  } finally {
    rmSync(out, { recursive: true });
  }
});
