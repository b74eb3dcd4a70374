// The gate as visitors meet it: signing in to protected hosts and out of them, the rules, and the attacks on both.

import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { createLocalJWKSet, jwtVerify } from "jose";
import { raw, startOrigin } from "../harness/origin.mjs";
import {
  API,
  PAGE,
  cookieOf,
  disguises,
  giveRole,
  logIn,
  memberOf,
  seedApp,
  seedDomain,
  seedTenant,
  signUp,
  trimmings,
  upToCallback,
  visit,
} from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const [APP, OTHER] = ["http://app.localhost", "http://other.localhost"];
let worker, origin;

before(async () => {
  origin = await startOrigin();
  // D1 is asked each time: what was revoked must be over with the next request.
  worker = await startWorker({ settings: { SESSION_RECHECK_SECONDS: "0", SESSION_COOKIE_CACHE_SECONDS: "0" } });
  await seedApp(worker, "app.localhost", { origin: origin.url });
  await seedApp(worker, "other.localhost", { origin: origin.url });
});
after(async () => {
  await worker?.dispose();
  await origin?.close();
});

/** Somebody signed in at the auth host and at `APP`. */
async function signedIn(options) {
  const person = await signUp(worker, options);
  assert.equal((await visit(person.browser, `${APP}/`)).status, 200);
  return person;
}
const appSessions = ({ id }) => worker.rows("select id from session where user_id = ? and proxied_app_id is not null", id);
const reached = (url) => origin.to(url).length;
const opensSession = ({ cookies }) => cookies.some((line) => /^doorward\.session=[^;]/.test(line));

test("a visitor signs in at the auth host, is back at the deep link, and the origin is told who asks", async () => {
  const { email, id } = await signUp(worker, { roles: ["admin"] });
  const browser = worker.browser();
  const deep = `${APP}/deep/link?x=1&y=%2F&z=%C3%A9+%20`;
  const login = await visit(browser, deep);
  assert.equal(new URL(login.url).origin + new URL(login.url).pathname, `${AUTH}/login`);
  assert.equal(reached("/deep/link"), 0, "the origin heard of a visitor who was not signed in");
  const page = await logIn(browser, login, email);
  assert.deepEqual([page.status, page.url], [200, deep]);
  const { url, headers } = origin.last();
  assert.equal(url, "/deep/link?x=1&y=%2F&z=%C3%A9+%20");
  assert.equal(headers["x-doorward-user"], id);
  assert.equal(headers["x-doorward-email"], email);
  assert.equal(headers["x-doorward-tenant"], "default");
  assert.deepEqual(headers["x-doorward-roles"].split(",").sort(), ["admin", "member"]);
  const jwks = createLocalJWKSet((await browser.get(`${AUTH}/api/auth/jwks`)).json);
  const wanted = { issuer: AUTH, audience: "app.localhost", requiredClaims: ["exp", "iat", "sub"] };
  const { payload } = await jwtVerify(headers["x-doorward-assertion"], jwks, wanted);
  assert.deepEqual([payload.sub, payload.email, payload.tenant], [id, email, "default"]);
  assert.ok(payload.exp - payload.iat <= 300, `an assertion good for ${payload.exp - payload.iat} s`);
});

test("a second app host needs no second login, and its assertion is for itself", async () => {
  const { browser } = await signedIn();
  const page = await visit(browser, `${OTHER}/second`);
  assert.equal(page.status, 200);
  assert.ok(!page.trail.some((url) => url.includes("/login")), "login was shown again");
  const { aud } = JSON.parse(Buffer.from(origin.last().headers["x-doorward-assertion"].split(".")[1], "base64url"));
  assert.equal(aud, "other.localhost");
});

test("a link too long to be carried still leads back to the website", async () => {
  for (const length of [1000, 1400, 6000]) {
    const { browser, email } = await signUp(worker);
    await browser.submit(`${AUTH}/sign-out`, {});
    const page = await logIn(browser, await visit(browser, `${APP}/long?x=${"a".repeat(length)}`), email);
    assert.equal(new URL(page.url).origin, APP, `a link of ${length} bytes ended at ${page.url.slice(0, 80)}`);
  }
});

test("rules by path and method: nobody, stranger, member, admin", async () => {
  const people = { nobody: { browser: worker.browser() }, stranger: await signedIn(), member: await signedIn() };
  people.admin = await signedIn({ roles: ["admin"] });
  await worker.d1.prepare("delete from member where user_id = ?").bind(people.stranger.id).run();
  const table = [
    // method, path, nobody, stranger, member, admin
    ["GET", "/public/x", 200, 200, 200, 200],
    ["POST", "/public/x", 200, 200, 200, 200],
    ["GET", "/publicity", 401, 403, 200, 200],
    ["GET", "/", 401, 403, 200, 200],
    ["GET", "/api/items", 200, 200, 200, 200],
    ["HEAD", "/api/items", 200, 200, 200, 200],
    ["POST", "/api/items", 401, 403, 200, 200],
    ["PROPFIND", "/api/items", 401, 403, 200, 200],
    ["GET", "/admin", 401, 403, 403, 200],
    ["DELETE", "/admin/users/1", 401, 403, 403, 200],
    ["HEAD", "/admin/x", 401, 403, 403, 200],
    ["OPTIONS", "/admin/x", 401, 403, 403, 200],
    ["GET", "/reports/1", 401, 403, 200, 200],
    ["POST", "/reports/1", 401, 403, 403, 200],
    ["GET", "/internal", 403, 403, 403, 403],
    ["POST", "/internal/x", 403, 403, 403, 403],
  ];
  for (const [method, path, ...wanted] of table) {
    for (const [at, [who, { browser }]] of Object.entries(people).entries()) {
      const heard = reached(path);
      const { status } = await browser.send(method, APP + path, { headers: API });
      assert.equal(status, wanted[at], `${who}: ${method} ${path}`);
      assert.equal(reached(path) - heard, status === 200 ? 1 : 0, `${who}: ${method} ${path} at the origin`);
    }
  }
});

test("a method that the origin is asked to read instead is judged, or kept from it", async () => {
  const { browser } = await signedIn();
  for (const name of ["x-http-method-override", "x-http-method", "x-method-override"]) {
    const answer = await browser.get(`${APP}/reports/7`, { headers: { [name]: "DELETE" } });
    if (answer.status !== 403) assert.equal(origin.last().headers[name], undefined, `${name} undoes the rule for DELETE`);
  }
});

test("an API call is answered 401 in JSON, never with a redirect", async () => {
  const browser = worker.browser();
  for (const [method, headers] of [
    ["GET", API],
    ["GET", {}],
    ["GET", { accept: "*/*" }],
    ["POST", API],
    ["DELETE", API],
    ["GET", { ...PAGE, "sec-fetch-mode": "cors" }],
    ["GET", { ...PAGE, "sec-fetch-mode": "no-cors" }],
  ]) {
    const answer = await browser.send(method, `${APP}/data`, { headers });
    assert.equal(answer.status, 401, `${method} ${JSON.stringify(headers)}`);
    assert.equal(answer.location, undefined);
    assert.match(answer.headers["content-type"], /^application\/json/);
    assert.equal(answer.json.code, "UNAUTHORIZED");
    assert.match(answer.headers["cache-control"], /no-store/);
  }
});

test("no disguise of a path gets around the role rule or the deny rule", async () => {
  const [member, admin] = [await signedIn(), await signedIn({ roles: ["admin"] })];
  for (const [name, cookie] of [
    ["admin", undefined],
    ["admin", cookieOf(member, "app.localhost")],
    ["internal", cookieOf(admin, "app.localhost")],
  ]) {
    for (const path of disguises(name)) {
      const heard = origin.requests.length;
      const lines = [`GET ${path} HTTP/1.1`, "Host: app.localhost", ...(cookie ? [`Cookie: ${cookie}`] : [])];
      const { status } = await raw(worker.port, lines);
      assert.ok([400, 401, 403, 404].includes(status), `${path}: ${status}`);
      assert.equal(origin.requests.length, heard, `${path} came to the origin as ${origin.last().url}`);
    }
  }
});

test("nor do ends that an origin may trim", async () => {
  const { browser } = await signedIn();
  const through = [];
  for (const path of trimmings("admin")) {
    if ((await browser.get(APP + path, { headers: API })).status === 200) through.push(path);
  }
  assert.deepEqual(through, []);
});

test("/.doorward/me says who is signed in, to them alone", async () => {
  const { browser, id, email } = await signedIn({ roles: ["admin"] });
  const me = await browser.get(`${APP}/.doorward/me`, { headers: { origin: "http://evil.localhost" } });
  assert.deepEqual([me.status, me.json.user.id, me.json.user.email, me.json.tenant], [200, id, email, "default"]);
  assert.ok(me.json.roles.includes("admin"));
  assert.equal(me.headers["access-control-allow-origin"], undefined);
  assert.match(me.headers["cache-control"], /no-store/);
  const [token] = browser.cookies("app.localhost").get("doorward.session").split(".");
  assert.ok(!me.text.includes(token), "the session's token is told");
  assert.equal((await worker.browser().get(`${APP}/.doorward/me`)).status, 401);
  assert.equal((await browser.get(`${APP}/.doorward/nothing`)).status, 404);
  assert.equal(reached("/.doorward/me") + reached("/.doorward/nothing"), 0, "a reserved path went to the origin");
});

test("/.doorward/sign-out asks; a POST from the website's own page ends the session here, there and next door", async () => {
  const { browser } = await signedIn();
  await visit(browser, `${OTHER}/`);
  const url = `${APP}/.doorward/sign-out`;
  const asked = await visit(browser, url);
  assert.equal(asked.status, 200);
  assert.match(asked.text, /method="post"/);
  for (const from of ["http://evil.localhost", OTHER, "https://app.localhost.evil", "null", undefined, ""]) {
    const answer = await browser.submit(url, {}, { headers: { origin: from, "sec-fetch-site": "cross-site" } });
    assert.equal(answer.status, 403, `signed out by Origin ${from}`);
  }
  const here = () => browser.get(`${APP}/`, { headers: API });
  assert.equal((await here()).status, 200);
  const kept = cookieOf({ browser }, "app.localhost");
  assert.equal((await browser.submit(url, {}, { origin: APP })).status, 303);
  assert.equal(browser.cookies("app.localhost").has("doorward.session"), false);
  assert.equal((await browser.get(`${APP}/`, { headers: { ...API, cookie: kept } })).status, 401, "the old cookie");
  assert.equal((await browser.get(`${OTHER}/`, { headers: API })).status, 401, "the sibling host");
  assert.equal((await browser.get(`${AUTH}/api/auth/get-session`)).text, "null", "the auth host");
  const second = await signedIn();
  await second.browser.post(`${AUTH}/api/auth/sign-out`, {});
  assert.equal((await second.browser.get(`${APP}/`, { headers: API })).status, 401, "signed out at the auth host");
});

test("a callback is good once, in the browser and for the host that asked", async () => {
  const [person, mallory, nobody] = [await signUp(worker), await signUp(worker), { browser: worker.browser() }];
  const changed = (url, name, edit) => {
    const copy = new URL(url);
    copy.searchParams.set(name, edit(copy.searchParams.get(name)));
    return copy.href;
  };
  const theirs = await upToCallback(mallory, APP);
  await nobody.browser.get(`${APP}/`, { headers: PAGE });
  const [mine, spare] = [await upToCallback(person, APP), await upToCallback(person, APP)];
  const next = await upToCallback(person, OTHER);
  const forged = (state) => {
    const payload = JSON.parse(Buffer.from(state.split(".")[0], "base64url"));
    const text = Buffer.from(JSON.stringify({ ...payload, return_to: "//evil.localhost/" })).toString("base64url");
    return `${text}.${state.split(".")[1]}`;
  };
  const attacks = [
    ["login CSRF: the attacker's code in the victim's browser", person, theirs.href],
    ["the same, in a browser that is not signed in", nobody, theirs.href],
    ["the same, in a browser that asked for nothing", { browser: worker.browser() }, theirs.href],
    ["a stolen callback in the thief's browser", mallory, mine.href],
    ["a stolen code with the thief's own state", mallory, changed(theirs, "code", () => spare.searchParams.get("code"))],
    ["a code of another app", person, changed(mine, "code", () => next.searchParams.get("code"))],
    ["another app's state", person, changed(mine, "state", () => next.searchParams.get("state"))],
    ["a state with another's signature", person, changed(mine, "state", (s) => s.split(".")[0] + theirs.href.match(/\.[^.]*$/))],
    ["a state changed to lead elsewhere", person, changed(mine, "state", forged)],
    ["a state without a signature", person, changed(mine, "state", (s) => s.split(".")[0])],
    ["no state", person, changed(mine, "state", () => "")],
    ["no code", person, changed(mine, "code", () => "")],
    ["another host", person, mine.href.replace("app.localhost", "other.localhost")],
  ];
  for (const [name, { browser }, url] of attacks) {
    const answer = await browser.get(url, { headers: PAGE, keepCookies: false });
    // What is ours begins again, where the victim signs in as themselves; nothing is exchanged by it.
    const begins = answer.status === 302 && answer.location.startsWith("/.doorward/sign-in?");
    assert.ok(begins || answer.status === 400, `${name}: ${answer.status} ${answer.location}`);
    assert.ok(!opensSession(answer), `${name}: a session was given`);
  }
  for (const victim of [person, mallory]) assert.deepEqual(await appSessions(victim), []);
  assert.equal((await person.browser.get(mine.href, { headers: PAGE })).location, "/", "the honest callback");
  await person.browser.get(mine.href, { headers: PAGE });
  const replay = await worker.browser().get(mine.href, { headers: PAGE });
  assert.ok(!opensSession(replay) && replay.location.startsWith("/.doorward/sign-in?"), "a replay elsewhere");
  assert.equal((await appSessions(person)).length, 1);
});

test("a code that is too old, or whose session has ended, opens nothing", async () => {
  for (const end of [
    () =>
      worker.d1
        .prepare("update verification set expires_at = ? where used_at is null")
        .bind(Date.now() - 1)
        .run(),
    ({ browser }) => browser.post(`${AUTH}/api/auth/sign-out`, {}),
    ({ id }) => worker.d1.prepare("update user set status = 'suspended' where id = ?").bind(id).run(),
  ]) {
    const person = await signUp(worker);
    const url = await upToCallback(person, APP);
    await end(person);
    const answer = await person.browser.get(url.href, { headers: PAGE });
    assert.deepEqual([answer.status, answer.location], [302, "/.doorward/sign-in?return=/&again=true"], String(end));
    assert.ok(!opensSession(answer), String(end));
  }
});

test("of fifty callbacks with one code at once, one opens a session", async () => {
  const person = await signUp(worker);
  const { href } = await upToCallback(person, APP);
  const send = () => person.browser.get(href, { headers: PAGE, keepCookies: false });
  const answers = await Promise.all(Array.from({ length: 50 }, send));
  assert.equal((await appSessions(person)).length, 1);
  assert.equal(answers.filter(opensSession).length, 1);
  assert.deepEqual(
    [...new Set(answers.map(({ status }) => status))].filter((status) => status >= 500),
    [],
  );
});

test("a second tab, and a callback that is reloaded, end at their pages", async () => {
  const person = await signUp(worker);
  const [one, two] = [await upToCallback(person, APP, "/one"), await upToCallback(person, APP, "/two")];
  assert.equal((await visit(person.browser, one.href)).url, `${APP}/one`);
  assert.equal((await visit(person.browser, one.href)).url, `${APP}/one`, "reloaded");
  assert.equal((await visit(person.browser, two.href)).url, `${APP}/two`, "second tab");
});

test("a sign-in request that another host is written into brings nobody a session of somebody else", async () => {
  const victim = await signUp(worker);
  for (const headers of [
    { "x-forwarded-host": "evil.localhost" },
    { "x-original-url": "http://evil.localhost/" },
    { "x-forwarded-host": "app.localhost:9999" },
  ]) {
    // Mallory asks, with a binding that is hers; whoever opens what was signed for her brings her their code.
    const mallory = worker.browser();
    const begun = await mallory.get(`${APP}/.doorward/sign-in?return=/`, { headers: { ...PAGE, ...headers } });
    if (begun.status !== 302) continue;
    const { location } = await victim.browser.get(begun.location, { headers: PAGE });
    if (new URL(location).origin === APP) continue;
    await mallory.get(APP + new URL(location).pathname + new URL(location).search, { headers: PAGE });
    const me = await mallory.get(`${APP}/.doorward/me`);
    assert.equal(me.status, 401, `Mallory is ${me.text} by ${JSON.stringify(headers)}`);
    assert.fail(`${JSON.stringify(headers)}: the code went to ${location}`);
  }
});

test("the way back stays on the website", async () => {
  const { browser } = await signedIn();
  for (const to of ["//evil.localhost", "/\\evil.localhost", "/%09/evil.localhost", "/%0d/evil.localhost", "http://evil.localhost", ""]) {
    const page = await visit(browser, `${APP}/.doorward/sign-in?return=${to}`);
    assert.equal(new URL(page.url).origin, APP, to);
  }
});

test("hosts that are unknown or switched off are not there", async () => {
  await seedApp(worker, "off.localhost", { origin: origin.url, enabled: 0, access: "public" });
  for (const host of ["unknown.localhost", "off.localhost", "app.localhost.", "xapp.localhost", "app.localhost.evil"]) {
    for (const path of ["/", "/.doorward/me", "/.doorward/sign-in", "/login"]) {
      const heard = origin.requests.length;
      const answer = await worker.browser().get(`http://${host}${path}`, { headers: PAGE });
      assert.deepEqual([answer.status, origin.requests.length - heard], [404, 0], host + path);
    }
  }
  await worker.d1.prepare("update proxied_app set enabled = 1 where host = 'off.localhost'").run();
  assert.equal((await worker.browser().get("http://off.localhost/")).status, 200);
});

test("a session cookie is worth nothing on another host, nor one that was touched", async () => {
  const person = await signedIn();
  await visit(person.browser, `${OTHER}/`);
  const [app, other, auth] = ["app", "other", "auth"].map(
    (host) => `doorward.session=${person.browser.cookies(`${host}.localhost`).get("doorward.session")}`,
  );
  const ask = (url, cookie) => worker.browser().get(url, { headers: { ...API, cookie } });
  const touched = app.replace(/=./, ([, first]) => (first === "A" ? "=B" : "=A"));
  for (const cookie of [other, auth, touched, app.slice(0, -2), `${app}; ${other}`, "doorward.session=x", `__Host-${app}`]) {
    assert.equal((await ask(`${APP}/`, cookie)).status, 401, cookie);
  }
  for (const cookie of [app, other]) {
    assert.equal((await ask(`${AUTH}/api/auth/get-session`, cookie)).text, "null");
    for (const path of ["list-sessions", "token"]) assert.equal((await ask(`${AUTH}/api/auth/${path}`, cookie)).status, 401);
  }
  assert.equal((await ask(`${APP}/`, app)).status, 200, "asking elsewhere has ended the session");
});

test("whoever is suspended, leaves or loses a role is out with the next request", async () => {
  const tenant = await seedTenant(worker, { slug: "acme" });
  await seedDomain(worker, tenant, "auth-acme.localhost");
  await seedApp(worker, "acme.localhost", { tenant, origin: origin.url });
  const { browser, id } = await signUp(worker, { host: "http://auth-acme.localhost", tenant, roles: ["admin"] });
  const url = "http://acme.localhost/admin";
  assert.equal((await visit(browser, url)).status, 200);
  assert.equal(origin.last().headers["x-doorward-tenant"], "acme");
  const member = await memberOf(worker, tenant, id);
  for (const [table, row, column, bad, good, wanted] of [
    ["user", id, "status", "suspended", "active", 401],
    ["tenant", tenant, "status", "suspended", "active", 403],
    ["member", member, "status", "inactive", "active", 403],
    ["role", "00000000-0000-7000-8000-000000000012", "is_active", 0, 1, 403],
  ]) {
    const set = (value) => worker.d1.prepare(`update ${table} set ${column} = ? where id = ?`).bind(value, row).run();
    await set(bad);
    assert.equal((await browser.get(url, { headers: { ...API, "sec-fetch-mode": "cors" } })).status, wanted, `${table}.${column}`);
    await set(good);
    assert.equal((await visit(browser, url)).status, 200, `${table}.${column} restored`);
  }
  const stranger = await signUp(worker, { roles: ["admin"] });
  const page = await logIn(stranger.browser, await visit(stranger.browser, url), stranger.email);
  assert.deepEqual([page.url, page.status], [url, 403], "an admin of another tenant");
});

test("a role's name cannot make two of one", async () => {
  const person = await signUp(worker);
  await giveRole(worker, person.id, "guest,admin");
  await visit(person.browser, `${APP}/`);
  const roles = origin.last().headers["x-doorward-roles"];
  assert.ok(!roles.split(",").includes("admin"), roles);
});
