// `npm run deploy`, as far as it goes without an account.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

test("a dry run builds what would be uploaded", () => {
  const out = mkdtempSync(path.join(tmpdir(), "doorward-deploy-"));
  try {
    const output = execFileSync("npm", ["run", "deploy", "--", "--dry-run", `--outdir=${out}`], { cwd: ROOT, encoding: "utf8" });
    for (const binding of ["env.DB", "env.SESSIONS", "env.AUTH_ORIGIN"]) assert.ok(output.includes(binding), `${binding} is not bound:\n${output}`);
    assert.ok(readdirSync(out).some((name) => name.endsWith(".wasm")), "no wasm in the upload");
  } finally {
    rmSync(out, { recursive: true });
  }
});
