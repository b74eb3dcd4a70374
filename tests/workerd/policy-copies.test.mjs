// Copies of a session, in a cookie and in KV, answer without D1: what a tenant's policy says of addresses is asked all the same.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startOrigin } from "../harness/origin.mjs";
import { API, seedApp, signUp, visit } from "../harness/seed.mjs";
import { AUTH, DEFAULT_TENANT, startWorker } from "../harness/worker.mjs";

const APP = "http://app.localhost";

let worker, origin;
before(async () => {
  origin = await startOrigin();
  worker = await startWorker({ settings: { ROUTING_CACHE_SECONDS: "0" } });
  await seedApp(worker, "app.localhost", { origin: origin.url, rules: [["/public/*", "public"]] });
});
after(async () => {
  await worker?.dispose();
  await origin?.close();
});

test("nobody is known by a copy from a network that the tenant keeps out", async () => {
  const who = await signUp(worker);
  assert.equal((await visit(who.browser, `${APP}/`)).status, 200);
  const policy = { ipRestrictions: { enabled: true, blockList: ["203.0.113.0/24"] } };
  await worker.d1.prepare("update tenant set security_policy = ? where id = ?").bind(JSON.stringify(policy), DEFAULT_TENANT).run();
  const cookie = [...who.browser.cookies("app.localhost")].map((pair) => pair.join("=")).join("; ");
  const seen = async (ip, jar) => {
    const browser = worker.browser({ ip });
    const page = await browser.get(`${APP}/public/x`, { headers: { ...API, cookie: jar } });
    assert.equal(page.status, 200, page.text);
    const me = await browser.get(`${APP}/.doorward/me`, { headers: { ...API, cookie: jar } });
    for (const { cookies } of [page, me])
      assert.deepEqual(
        cookies.filter((line) => /=;/.test(line)),
        [],
        "the browser is signed out by where it is",
      );
    return [origin.requests.at(-1).headers["x-doorward-user"] ?? null, me.status];
  };
  const alone = cookie
    .split("; ")
    .filter((pair) => !pair.startsWith("doorward.snapshot"))
    .join("; ");
  for (const jar of [cookie, alone]) {
    assert.deepEqual(await seen("192.0.2.7", jar), [who.id, 200], "from home");
    assert.deepEqual(await seen("203.0.113.7", jar), [null, 401], "from the network that is kept out");
    assert.deepEqual(await seen("192.0.2.7", jar), [who.id, 200], "and nothing is lost by that");
  }
});

test("whoever signs out is signed out, from wherever they are", async () => {
  await worker.d1.prepare("update tenant set security_policy = '{}' where id = ?").bind(DEFAULT_TENANT).run();
  const who = await signUp(worker);
  assert.equal((await visit(who.browser, `${APP}/`)).status, 200);
  const policy = { ipRestrictions: { enabled: true, blockList: ["203.0.113.0/24"] } };
  await worker.d1.prepare("update tenant set security_policy = ? where id = ?").bind(JSON.stringify(policy), DEFAULT_TENANT).run();
  const living = () => worker.rows("select id from session where user_id = ? and revoked_at is null", who.id);
  assert.equal((await living()).length, 2);
  const jar = [...who.browser.cookies("app.localhost")].map((pair) => pair.join("=")).join("; ");
  const answer = await worker.browser({ ip: "203.0.113.7" }).send("POST", `${APP}/.doorward/sign-out`, {
    headers: { cookie: jar, origin: APP, "content-type": "application/x-www-form-urlencoded" },
    body: "",
  });
  assert.equal(answer.status, 303, answer.text);
  assert.deepEqual(await living(), []);
  assert.equal(
    (
      await worker.browser().get(`${APP}/x`, {
        headers: {
          ...API,
          cookie: jar
            .split("; ")
            .filter((pair) => !pair.startsWith("doorward.snapshot"))
            .join("; "),
        },
      })
    ).status,
    401,
    "nor by a copy in KV",
  );
});

test("a session that was signed out while it did not hold is not there again when it would", async () => {
  const set = (policy) =>
    worker.d1.prepare("update tenant set security_policy = ? where id = ?").bind(JSON.stringify(policy), DEFAULT_TENANT).run();
  await set({});
  for (const [name, spoil, mend] of [
    [
      "a suspension",
      (id) => ["update user set status = 'suspended', status_reason = 'x' where id = ?", id],
      (id) => ["update user set status = 'active' where id = ?", id],
    ],
    [
      "a tenant's",
      () => ["update tenant set status = 'suspended' where id = ?", DEFAULT_TENANT],
      () => ["update tenant set status = 'active' where id = ?", DEFAULT_TENANT],
    ],
  ]) {
    const who = await signUp(worker);
    const jar = [...who.browser.cookies("auth.localhost")].map((pair) => pair.join("=")).join("; ");
    const change = ([sql, value]) => worker.d1.prepare(sql).bind(value).run();
    await change(spoil(who.id));
    await worker.browser().send("POST", `${AUTH}/api/auth/sign-out`, {
      headers: { cookie: jar, origin: AUTH, "content-type": "application/json" },
      body: "{}",
    });
    await change(mend(who.id));
    const left = await worker.rows("select revocation_reason from session where user_id = ?", who.id);
    assert.deepEqual(left, [{ revocation_reason: "signed_out" }], name);
  }
});
