// Sessions in `Authorization`, for clients without cookies: handed out with every session cookie, and taken on auth hosts alone.

import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { uniqueEmail } from "../harness/browser.mjs";
import { startOrigin } from "../harness/origin.mjs";
import { API, seedApp, visit } from "../harness/seed.mjs";
import { AUTH, SPA, startWorker } from "../harness/worker.mjs";

const PASSWORD = "correct horse battery staple";
const HOST = "auth.localhost";
const APP = "http://app.localhost";
const SETTINGS = {
  BEARER: "on",
  MULTI_SESSION: "on",
  LIMIT_MAIL: "1000/60",
  SIGN_IN_WITH: "password,magic-link,email-otp,phone,anonymous",
  SESSION_COOKIE_CACHE_SECONDS: "0",
  SESSION_RECHECK_SECONDS: "0",
};
let worker, origin;
before(async () => {
  origin = await startOrigin();
  worker = await startWorker({ settings: SETTINGS });
  await seedApp(worker, "app.localhost", { origin: origin.url });
});
after(async () => {
  await worker?.dispose();
  await origin?.close();
});

const at = (path) => `${AUTH}/api/auth${path}`;
const post = (browser, path, body = {}, options) => browser.post(at(path), body, options);
const given = ({ headers }) => headers["set-auth-token"];
const told = ({ status, json }) => [status, json.code];
const newest = async (to) => (await worker.browser().get(`${AUTH}/dev/mailbox?to=${encodeURIComponent(to)}`)).json[0];
/** A client that keeps no cookies: what it sends beside the body is the header alone. */
const send = (method, path, authorization, body) =>
  worker.browser().send(method, at(path), { body, headers: { authorization }, keepCookies: false });
const whoami = async (authorization) => (await send("GET", "/get-session", authorization)).json;
async function person() {
  const browser = worker.browser();
  const email = uniqueEmail();
  const answer = await post(browser, "/sign-up/email", { name: "P", email, password: PASSWORD });
  return { browser, email, id: answer.json.user.id, handle: answer.json.token, token: given(answer) };
}

test("every answer that sets the session cookie carries the token, and a trusted script may read it", async () => {
  const origin = { origin: SPA };
  const email = uniqueEmail();
  const phoneNumber = `+1${randomInt(1e9, 1e10)}`;
  const code = async (to) => (await newest(to)).text.match(/\b\d{6}\b/)[0];
  const link = async () => {
    await post(worker.browser(), "/sign-in/magic-link", { email });
    return (await newest(email)).text.match(/https?:\S+/)[0].replace(/&callbackURL=.*/, "");
  };
  const browser = worker.browser();
  const ways = {
    "sign-up": () => post(browser, "/sign-up/email", { name: "P", email, password: PASSWORD }, origin),
    "sign-in": () => post(browser, "/sign-in/email", { email, password: PASSWORD }, origin),
    "change-password": () => post(browser, "/change-password", { currentPassword: PASSWORD, newPassword: PASSWORD }, origin),
    "one-time token": async () =>
      post(browser, "/one-time-token/verify", { token: (await browser.get(at("/one-time-token/generate"))).json.token }, origin),
    "set-active": async () =>
      post(browser, "/multi-session/set-active", { sessionToken: (await browser.get(at("/get-session"))).json.session.token }, origin),
    "magic link": async () => browser.verifyAsScript(await link(), SPA),
    "mailed code": async () => {
      await post(browser, "/email-otp/send-verification-otp", { email, type: "sign-in" });
      return post(browser, "/sign-in/email-otp", { email, otp: await code(email) }, origin);
    },
    phone: async () => {
      await post(browser, "/phone-number/send-otp", { phoneNumber });
      return post(browser, "/phone-number/verify", { phoneNumber, code: await code(phoneNumber) }, origin);
    },
    guest: () => post(worker.browser(), "/sign-in/anonymous", {}, origin),
    prolonged: async () => {
      await worker.d1.prepare("update session set expires_at = expires_at - 172800000").run();
      return browser.get(at("/get-session"), { headers: origin });
    },
  };
  for (const [name, way] of Object.entries(ways)) {
    const answer = await way();
    assert.equal(answer.status, 200, `${name}: ${answer.text}`);
    const cookie = answer.cookies
      .findLast((line) => line.startsWith("doorward.session="))
      .split(";")[0]
      .slice("doorward.session=".length);
    assert.equal(given(answer), cookie, name);
    assert.ok(answer.headers["access-control-expose-headers"].split(", ").includes("set-auth-token"), name);
    assert.equal((await whoami(`Bearer ${cookie}`)).session.token, answer.json.token ?? answer.json.session.token, name);
    assert.ok(!answer.text.includes(cookie.split(".")[0]), name);
  }
});

test("no other answer carries it, and no website that is not trusted may read it", async () => {
  const { browser, email, token } = await person();
  for (const answer of [
    await browser.get(at("/get-session")),
    await send("GET", "/get-session", `Bearer ${token}`),
    await browser.get(at("/token")),
    await post(browser, "/update-user", { name: "Q" }),
    await post(worker.browser(), "/sign-in/email", { email, password: "wrong password" }),
    await post(browser, "/sign-out"),
  ])
    assert.equal(given(answer), undefined, answer.text);
  const evil = await worker.browser().post(at("/sign-in/email"), { email, password: PASSWORD }, { origin: "https://evil.example" });
  assert.deepEqual([evil.status, given(evil), evil.headers["access-control-expose-headers"]], [403, undefined, undefined]);
});

test("the token is as good as the cookie, without an Origin, and ends with its session", async () => {
  const { email, id, token, handle } = await person();
  for (const authorization of [`Bearer ${token}`, `bearer ${token}`, `BEARER   ${token} `, `Bearer ${encodeURIComponent(token)}`]) {
    const { session, user } = await whoami(authorization);
    assert.deepEqual([session.token, user.id], [handle, id], authorization);
  }
  const bearer = `Bearer ${token}`;
  assert.equal((await send("POST", "/update-user", bearer, { name: "By header" })).status, 200);
  assert.equal((await whoami(bearer)).user.name, "By header");
  assert.equal((await send("GET", "/list-sessions", bearer)).json.length, 1);
  assert.match((await send("GET", "/token", bearer)).json.token, /^ey/);
  const changed = await send("POST", "/change-password", bearer, { currentPassword: PASSWORD, newPassword: "another password" });
  assert.equal(changed.status, 200);
  assert.equal(await whoami(bearer), null, "the session before the change");
  const next = `Bearer ${given(changed)}`;
  assert.equal((await whoami(next)).user.email, email);
  const foreign = await worker
    .browser()
    .post(at("/update-user"), { name: "Q" }, { origin: "https://evil.example", headers: { authorization: next } });
  assert.deepEqual(told(foreign), [403, "INVALID_ORIGIN"]);
  assert.equal((await send("POST", "/sign-out", next, {})).status, 200);
  assert.equal(await whoami(next), null);
});

test("nothing else opens anything: a bare or forged token, a handle, a JWT, a website's session, another scheme", async () => {
  const [one, other] = [await person(), await person()];
  assert.equal((await visit(one.browser, `${APP}/inside`)).status, 200);
  const website = one.browser.cookies("app.localhost").get("doorward.session");
  const [secret, signature] = one.token.split(".");
  const jwt = (await one.browser.get(at("/token"))).json.token;
  const snapshot = "x".repeat(43);
  for (const authorization of [
    `Bearer ${secret}`,
    `Bearer ${secret}.`,
    `Bearer ${secret}.${other.token.split(".")[1]}`,
    `Bearer ${snapshot}.${signature}`,
    `Bearer ${one.handle}`,
    `Bearer ${jwt}`,
    `Bearer ${website}`,
    `Basic ${Buffer.from(`:${one.token}`).toString("base64")}`,
    one.token,
    "Bearer",
    "Bearer ",
    `Bearer ${one.token},Bearer ${other.token}`,
    `Bearer ${one.token} x`,
    `Bearer ${"x".repeat(5000)}`,
    "Bearer %00",
  ]) {
    const answer = await send("GET", "/get-session", authorization);
    assert.deepEqual([answer.status, answer.json], [200, null], authorization.slice(0, 100));
    assert.equal((await send("POST", "/update-user", authorization, { name: "Q" })).status, 401, authorization.slice(0, 100));
  }
});

test("a preflight lets a trusted script send the header, and nobody else", async () => {
  const ask = (origin) =>
    worker.browser().send("OPTIONS", at("/get-session"), {
      headers: { origin, "access-control-request-method": "GET", "access-control-request-headers": "authorization" },
    });
  assert.match((await ask(SPA)).headers["access-control-allow-headers"], /authorization/i);
  assert.equal((await ask("https://evil.example")).headers["access-control-allow-origin"], undefined);
});

test("a website behind the gate is not signed in to by it, and has the header for its own", async () => {
  const { token } = await person();
  const get = (path, headers = {}) => worker.browser().get(`${APP}${path}`, { headers: { ...API, ...headers } });
  const bearer = { authorization: `Bearer ${token}` };
  const refused = await get("/kept", bearer);
  assert.equal(refused.status, 401, refused.text);
  assert.equal(origin.to("/kept").length, 0);
  assert.equal((await get("/.doorward/me", bearer)).status, (await get("/.doorward/me")).status);
  const through = await get("/public/x", { authorization: "Bearer the website's own" });
  assert.deepEqual(
    [through.status, origin.last().headers.authorization, origin.last().headers["x-doorward-user"]],
    [200, "Bearer the website's own", undefined],
  );
  assert.equal((await get("/public/y", bearer)).headers["set-auth-token"], undefined);
});

test("a guest by header becomes a user by header, the same one", async () => {
  const guest = await send("POST", "/sign-in/anonymous", undefined, {});
  const email = uniqueEmail();
  const made = await send("POST", "/sign-up/email", `Bearer ${given(guest)}`, { name: "P", email, password: PASSWORD });
  assert.equal(made.status, 200, made.text);
  assert.equal(made.json.user.id, guest.json.user.id, "what the guest did is lost");
  assert.equal(await whoami(`Bearer ${given(guest)}`), null);
});

test("a guest by header who is known after all is absorbed", async () => {
  const { email } = await person();
  const guest = await send("POST", "/sign-in/anonymous", undefined, {});
  await send("POST", "/sign-in/email", `Bearer ${given(guest)}`, { email, password: PASSWORD });
  const status = async () => (await worker.rows("select status from user where id = ?", guest.json.user.id))[0].status;
  for (let n = 0; n < 50 && (await status()) !== "deleted"; n += 1) await sleep(20);
  assert.equal(await status(), "deleted");
});

test("where it is off, no token is handed out and none is taken", async () => {
  const off = await startWorker({ settings: { ...SETTINGS, BEARER: null } });
  try {
    const browser = off.browser();
    const answer = await browser.post(at("/sign-up/email"), { name: "P", email: uniqueEmail(), password: PASSWORD });
    assert.equal(given(answer), undefined);
    assert.ok(!(answer.headers["access-control-expose-headers"] ?? "").includes("set-auth-token"));
    const token = browser.cookies(HOST).get("doorward.session");
    assert.equal((await off.browser().get(at("/get-session"), { headers: { authorization: `Bearer ${token}` } })).json, null);
    assert.ok(
      (await browser.get(at("/get-session"), { headers: { authorization: "Bearer somebody else's" } })).json,
      "the header is none of our business",
    );
  } finally {
    await off.dispose();
  }
});

test("a header that is not of our making does not silence a good cookie, and alone it is refused", async () => {
  const { browser, id } = await person();
  for (const authorization of ["Bearer of.another.kind", "Bearer ", `Bearer ${"x".repeat(43)}.${"y".repeat(43)}`]) {
    const beside = await browser.get(at("/get-session"), { headers: { authorization } });
    assert.equal(beside.json?.user.id, id, authorization);
    assert.equal((await browser.get(at("/list-sessions"), { headers: { authorization } })).status, 200);
    assert.equal((await send("GET", "/list-sessions", authorization)).status, 401);
  }
});
