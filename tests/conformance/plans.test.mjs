// Each plan of tests/vectors/conformance-modules.json has a test file; that file compares its tests with the plan's modules.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { PLANS } from "../harness/conformance.mjs";

const HERE = new URL(".", import.meta.url);
const files = readdirSync(HERE)
  .filter((name) => name.endsWith(".test.mjs") && name !== "plans.test.mjs")
  .map((name) => readFileSync(new URL(name, HERE), "utf8"));

for (const [plan, modules] of Object.entries(PLANS)) {
  test(`${plan} has a test file, and a reason for each module that is left out`, () => {
    const naming = files.filter((text) => text.includes(`modulesOf("${plan}")`));
    assert.equal(naming.length, 1);
    assert.ok(Object.keys(modules).length > 0);
    for (const [name, reason] of Object.entries(modules)) assert.ok(reason === null || reason.length > 10, name);
  });
}
