// As deployed: https, and none of what development allows.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { startIssuer, addIssuer } from "../harness/issuer.mjs";
import { startOrigin } from "../harness/origin.mjs";
import { logIn, seedApp, visit } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const SECURE = AUTH.replace("http:", "https:");
// As wrangler.toml has them: what tests make easier is left out, but for limits.
const SETTINGS = { DEVELOPMENT: null, AUTH_ORIGIN: SECURE, TRUSTED_ORIGINS: null, WEBSITES_NEED_VERIFIED_EMAIL: null };
let worker;
before(async () => {
  worker = await startWorker({ settings: SETTINGS });
});
after(() => worker?.dispose());

const post = (path, body, headers = {}) =>
  worker.fetch(`${SECURE}${path}`, {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json", origin: SECURE, ...headers },
  });

test("cookies carry the __Host- prefix, and no other name is believed", async () => {
  const answer = await post("/api/auth/sign-up/email", { name: "A", email: uniqueEmail(), password: "a long password" });
  assert.equal(answer.status, 200);
  assert.match(answer.headers.get("strict-transport-security"), /max-age=\d{8}/);
  assert.equal(answer.headers.get("server-timing"), null);
  const all = answer.headers.getSetCookie();
  // What the client's lastLoginMethod plugin reads is no secret, and has its own name.
  const cookies = all.filter(
    (cookie) => cookie !== "better-auth.last_used_login_method=email; Path=/; SameSite=Lax; Max-Age=2592000; Secure",
  );
  assert.deepEqual([all.length, cookies.length], [3, 2]);
  for (const cookie of cookies) assert.match(cookie, /^__Host-doorward\.\w+=[^;]+; Path=\/; HttpOnly; SameSite=Lax; Max-Age=\d+; Secure$/);
  const pairs = cookies.map((cookie) => cookie.split(";")[0]);
  const session = async (cookie) => (await worker.fetch(`${SECURE}/api/auth/get-session`, { headers: { cookie } })).json();
  assert.equal((await session(pairs.join("; "))).user.name, "A");
  assert.equal((await session(pairs[0])).user.name, "A");
  assert.equal(await session(pairs[0].replace("__Host-", "")), null);
});

test("a website is entered by https: the sign-in, the way back, and the cookies of its own host", async () => {
  const [origin, secure] = [await startOrigin(), await startWorker({ https: true, settings: SETTINGS })];
  try {
    await seedApp(secure, "app.localhost", { origin: origin.url, rules: [] });
    const [email, password, browser] = [uniqueEmail(), "a long password", secure.browser()];
    assert.equal((await browser.post(`${SECURE}/api/auth/sign-up/email`, { name: "A", email, password })).status, 200);
    await secure.d1.prepare("update user set email_verified = 1 where email = ?").bind(email).run();
    await browser.submit(`${SECURE}/sign-out`, {});
    const deep = "https://app.localhost/deep?x=1";
    const login = await visit(browser, deep);
    assert.ok(login.trail.every((url) => url.startsWith("https:")) && login.url.startsWith(`${SECURE}/login`), login.trail.join(" "));
    const page = await logIn(browser, login, email, password);
    assert.deepEqual([page.status, page.url], [200, deep]);
    const { "x-doorward-email": told, "x-forwarded-proto": proto, "x-forwarded-host": host, cookie } = page.json.headers;
    assert.deepEqual([told, proto, host, cookie], [email, "https", "app.localhost", undefined]);
    for (const at of ["auth.localhost", "app.localhost"]) {
      const names = [...browser.cookies(at).keys()].filter((name) => !name.startsWith("better-auth."));
      assert.ok(names.includes("__Host-doorward.session") && names.every((name) => name.startsWith("__Host-")), `${at}: ${names}`);
    }
    assert.equal((await browser.submit("https://app.localhost/.doorward/sign-out", {})).status, 303);
    assert.ok((await visit(browser, deep)).url.startsWith(`${SECURE}/login`));
  } finally {
    await origin.close();
    await secure.dispose();
  }
});

test("forward-auth takes https on its own port, written or not, and by a WebSocket's name; nothing else may be named", async () => {
  await seedApp(worker, "site.localhost", { rules: [] });
  const ask = async (headers) =>
    (await worker.fetch(`${SECURE}/forward-auth`, { headers: { accept: "application/json", ...headers } })).status;
  const caddy = (proto, host) =>
    ask({ "x-forwarded-method": "GET", "x-forwarded-proto": proto, "x-forwarded-host": host, "x-forwarded-uri": "/x" });
  const nginx = (url) => ask({ "x-original-method": "GET", "x-original-url": url });
  for (const [proto, host, status] of [
    ["https", "site.localhost", 401],
    ["https", "site.localhost:443", 401],
    ["HTTPS", "Site.localhost:443", 401],
    ["wss", "site.localhost", 401],
    ["WSS", "site.localhost:443", 401],
    ["http", "site.localhost", 403],
    ["ws", "site.localhost", 403],
    ["https", "site.localhost:8443", 403],
    ["https", "site.localhost:80", 403],
    ["https", "site.localhost:443:443", 403],
    ["ftp", "site.localhost", 403],
  ])
    assert.equal(await caddy(proto, host), status, `${proto}://${host}`);
  for (const [url, status] of [
    ["https://site.localhost/x", 401],
    ["https://site.localhost:443/x", 401],
    ["wss://site.localhost/x", 401],
    ["http://site.localhost/x", 403],
    ["https://site.localhost:8443/x", 403],
  ])
    assert.equal(await nginx(url), status, url);
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
    for (const [name, url] of [
      ["plain", issuer.url],
      ["loopback", "https://127.0.0.1:1"],
      ["metadata", "https://169.254.169.254"],
    ]) {
      await addIssuer(worker.d1, url, { name });
      const answer = await post("/api/auth/sign-in/social", { provider: name });
      assert.deepEqual([answer.status, (await answer.json()).code], [502, "PROVIDER_UNAVAILABLE"], name);
    }
    assert.deepEqual(issuer.requests, []);
  } finally {
    await issuer.stop();
  }
});
