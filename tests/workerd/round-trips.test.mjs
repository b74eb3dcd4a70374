// What the requests that matter most cost in round trips to D1. Each one is ten to fifty milliseconds for somebody who
// waits, so a change that adds one must change this table.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test, { after, before } from "node:test";
import { startOrigin } from "../harness/origin.mjs";
import { API, PASSWORD, seedApp, signUp, visit } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const APP = "http://app.localhost";
const HOST = "auth.localhost";
let worker, origin, person;

before(async () => {
  // Directories are remembered in production; only the tests' default is to ask each time.
  worker = await startWorker({ settings: { ROUTING_CACHE_SECONDS: "600" } });
  origin = await startOrigin();
  await seedApp(worker, "app.localhost", { origin: origin.url, rules: [["/public/*", "public"]] });
  await seedApp(worker, "site.localhost", {});
  person = await signUp(worker);
  const arrived = await visit(person.browser, `${APP}/`);
  assert.equal(arrived.status, 200, arrived.text);
  // A snapshot that a request just set, and the host's rules in memory.
  for (const url of [`${AUTH}/api/auth/get-session`, `${APP}/`]) await person.browser.get(url);
});
after(async () => {
  await origin?.close();
  await worker?.dispose();
});

const trips = ({ status, headers, text }) => {
  assert.equal(status, 200, text);
  return Number(headers["server-timing"].match(/d1;desc="(\d+)"/)[1]);
};
const cookie = (...names) => names.map((name) => `doorward.${name}=${person.browser.cookies(HOST).get(`doorward.${name}`)}`).join("; ");
const get = (path, cookies) => worker.browser().get(`${AUTH}${path}`, { headers: { cookie: cookies } });

test("get-session costs no round trip by snapshot or KV copy, and one where D1 is asked", async () => {
  assert.equal(trips(await get("/api/auth/get-session", cookie("session", "snapshot"))), 0, "snapshot");
  await get("/api/auth/get-session", cookie("session"));
  assert.equal(trips(await get("/api/auth/get-session", cookie("session"))), 0, "KV copy");
  assert.equal(trips(await get("/api/auth/get-session?disableCookieCache=true", cookie("session"))), 1, "D1");
});

test("a sign-in costs two round trips", async () => {
  const { email } = await signUp(worker);
  assert.equal(trips(await worker.browser().post(`${AUTH}/api/auth/sign-in/email`, { email, password: PASSWORD })), 2);
});

test("a token costs one round trip", async () => {
  await get("/api/auth/token", cookie("session"));
  assert.equal(trips(await get("/api/auth/token", cookie("session"))), 1);
});

test("forward-auth of a signed-in visitor costs no round trip", async () => {
  const asked = { host: HOST, "x-original-method": "GET", "x-original-url": `${APP}/` };
  const ask = () => person.browser.get(`${APP}/forward-auth`, { headers: { ...API, ...asked } });
  await ask();
  assert.equal(trips(await ask()), 0);
});

test("a proxied request of a signed-in visitor and a public path need neither D1 nor KV", async () => {
  const token = person.browser.cookies("app.localhost").get("doorward.session").split(".")[0];
  await worker.kv.delete(`session:${createHash("sha256").update(token).digest("base64url")}`);
  await worker.d1.prepare("alter table session rename to session_away").run();
  await worker.d1.prepare("alter table proxied_app rename to proxied_app_away").run();
  try {
    assert.equal((await person.browser.get(`${APP}/page`)).status, 200, "signed in");
    assert.equal((await worker.browser().get(`${APP}/public/page`)).status, 200, "public");
  } finally {
    await worker.d1.prepare("alter table session_away rename to session").run();
    await worker.d1.prepare("alter table proxied_app_away rename to proxied_app").run();
  }
});
