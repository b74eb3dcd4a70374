// Names and other lines of text: bounded, and without what a reader could not see.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

let worker;
before(async () => {
  worker = await startWorker();
});
after(() => worker?.dispose());

const BAD = ["", "   ", "A\u0000", "A\nB", "A\u001b[31m", "x".repeat(257)];
const GOOD = ["A", "Zoë Ångström", "李小龍", "O'Brien <b>", "x".repeat(256)];

test("a name is one visible line, when signing up and when changing it", async () => {
  const browser = worker.browser();
  const signUp = (name) => worker.browser().post(`${AUTH}/api/auth/sign-up/email`, { name, email: uniqueEmail(), password: "a long password" });
  await browser.post(`${AUTH}/api/auth/sign-up/email`, { name: "Before", email: uniqueEmail(), password: "a long password" });
  const update = (name) => browser.post(`${AUTH}/api/auth/update-user`, { name });
  const name = async () => (await browser.get(`${AUTH}/api/auth/get-session`)).json.user.name;
  for (const bad of BAD) {
    // Front-ends that ask for no name sign up with an empty one.
    for (const answer of [...(bad ? [await signUp(bad)] : []), await update(bad)]) {
      assert.deepEqual([answer.status, answer.json.code, /\[body\.name\]/.test(answer.json.message)], [400, "VALIDATION_ERROR", true], JSON.stringify(bad));
    }
    assert.equal(await name(), "Before");
  }
  for (const good of GOOD) {
    assert.equal((await signUp(good)).json.user.name, good);
    assert.equal((await update(good)).status, 200);
    assert.equal(await name(), good);
  }
});
