// As deployed: https, and none of what development allows.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { startIssuer, addIssuer } from "../harness/issuer.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const SECURE = AUTH.replace("http:", "https:");
let worker;
before(async () => {
  worker = await startWorker({ settings: { DEVELOPMENT: null, AUTH_ORIGIN: SECURE, TRUSTED_ORIGINS: null } });
});
after(() => worker?.dispose());

const post = (path, body, headers = {}) =>
  worker.fetch(`${SECURE}${path}`, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json", origin: SECURE, ...headers } });

test("cookies carry the __Host- prefix, and no other name is believed", async () => {
  const answer = await post("/api/auth/sign-up/email", { name: "A", email: uniqueEmail(), password: "a long password" });
  assert.equal(answer.status, 200);
  assert.match(answer.headers.get("strict-transport-security"), /max-age=\d{8}/);
  assert.equal(answer.headers.get("server-timing"), null);
  const all = answer.headers.getSetCookie();
  // What the client's lastLoginMethod plugin reads is no secret, and has its own name.
  const cookies = all.filter((cookie) => cookie !== "better-auth.last_used_login_method=email; Path=/; SameSite=Lax; Max-Age=2592000; Secure");
  assert.deepEqual([all.length, cookies.length], [3, 2]);
  for (const cookie of cookies) assert.match(cookie, /^__Host-doorward\.\w+=[^;]+; Path=\/; HttpOnly; SameSite=Lax; Max-Age=\d+; Secure$/);
  const pairs = cookies.map((cookie) => cookie.split(";")[0]);
  const session = async (cookie) => (await worker.fetch(`${SECURE}/api/auth/get-session`, { headers: { cookie } })).json();
  assert.equal((await session(pairs.join("; "))).user.name, "A");
  assert.equal((await session(pairs[0])).user.name, "A");
  assert.equal(await session(pairs[0].replace("__Host-", "")), null);
});

test("plain http is sent to https, or refused", async () => {
  const browser = worker.browser();
  const page = await browser.get(`${AUTH}/login?continue=/x`);
  assert.deepEqual([page.status, page.location], [308, `${SECURE}/login?continue=/x`]);
  const form = await browser.submit(`${AUTH}/login`, { email: "a@x.co", password: "x" }, { origin: SECURE });
  assert.deepEqual([form.status, form.cookies], [403, []]);
});

test("an issuer on a private network is not asked", async () => {
  const issuer = await startIssuer();
  try {
    for (const [name, url] of [["plain", issuer.url], ["loopback", "https://127.0.0.1:1"], ["metadata", "https://169.254.169.254"]]) {
      await addIssuer(worker.d1, url, { name });
      const answer = await post("/api/auth/sign-in/social", { provider: name });
      assert.deepEqual([answer.status, (await answer.json()).code], [502, "PROVIDER_UNAVAILABLE"], name);
    }
    assert.deepEqual(issuer.requests, []);
  } finally {
    await issuer.stop();
  }
});
