// Forward-auth: a proxy in front of the website asks about each request, and visitors send it whatever they like.

import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { createLocalJWKSet, jwtVerify } from "jose";
import { raw } from "../harness/origin.mjs";
import { API, PAGE, cookieOf, disguises, seedApp, seedDomain, seedTenant, signUp } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const SITE = "http://site.localhost";
let worker, member, admin, nobody;

// What each proxy says about a request; `host` is how it reaches the Worker.
const host = "auth.localhost";
const STYLES = {
  caddy: (method, url) => {
    const [, proto, name, uri] = url.match(/^(\w+):\/\/([^/]*)(.*)$/);
    return { host, "x-forwarded-method": method, "x-forwarded-proto": proto, "x-forwarded-host": name, "x-forwarded-uri": uri };
  },
  nginx: (method, url) => ({ host, "x-original-method": method, "x-original-url": url }),
};
/** A proxy's question about `method url` of a person, who sent `headers` as well. */
const ask = ({ browser }, style, method, url, headers = API) =>
  browser.get(`${url.split("/").slice(0, 3).join("/")}/forward-auth`, { headers: { ...headers, ...STYLES[style](method, url) } });
/** A reserved path of the website, handed to the auth host by its proxy. */
const reserved = ({ browser }, style, method, url, { headers, body } = {}) =>
  browser.send(method, url, { body, headers: { ...PAGE, ...headers, ...STYLES[style](method, url) } });

async function signInAt(person, style, site = SITE) {
  const begun = await reserved(person, style, "GET", `${site}/.doorward/sign-in?return=${encodeURIComponent("/deep?x=1&y=%2F")}`);
  const { location } = await person.browser.get(begun.location, { headers: PAGE });
  assert.ok(location?.startsWith(`${site}/.doorward/callback?code=`), `${begun.status} ${begun.location} → ${location}`);
  const answer = await reserved(person, style, "GET", location);
  assert.deepEqual([answer.status, answer.location], [302, "/deep?x=1&y=%2F"]);
  return location;
}

before(async () => {
  worker = await startWorker();
  await seedApp(worker, "site.localhost", {});
  await seedApp(worker, "open.localhost", { access: "public", rules: [] });
  await seedApp(worker, "off.localhost", { access: "public", rules: [], enabled: 0 });
  [member, admin, nobody] = [await signUp(worker), await signUp(worker, { roles: ["admin"] }), { browser: worker.browser() }];
  await signInAt(member, "caddy");
  await signInAt(admin, "nginx");
});
after(() => worker?.dispose());

test("whoever may pass is named to the proxy, with an assertion that proves it", async () => {
  const jwks = createLocalJWKSet((await nobody.browser.get(`${AUTH}/api/auth/jwks`)).json);
  for (const style of Object.keys(STYLES)) {
    const { status, headers, text } = await ask(member, style, "GET", `${SITE}/a?b=c`);
    assert.deepEqual([status, text], [200, ""]);
    const { "x-doorward-user": user, "x-doorward-email": email, "x-doorward-tenant": tenant, "x-doorward-roles": roles } = headers;
    assert.deepEqual([user, email, tenant, roles], [member.id, member.email, "default", "member"]);
    const { payload } = await jwtVerify(headers["x-doorward-assertion"], jwks, { issuer: AUTH, audience: "site.localhost" });
    assert.equal(payload.sub, member.id);
  }
});

test("the table of rules, as Caddy and as nginx ask", async () => {
  const people = { nobody, member, admin };
  for (const [method, path, ...wanted] of [
    ["GET", "/", 401, 200, 200],
    ["GET", "/public/x", 200, 200, 200],
    ["POST", "/public", 200, 200, 200],
    ["HEAD", "/api/items", 200, 200, 200],
    ["POST", "/api/items", 401, 200, 200],
    ["GET", "/admin", 401, 403, 200],
    ["PROPFIND", "/admin/x", 401, 403, 200],
    ["GET", "/reports/1", 401, 200, 200],
    ["DELETE", "/reports/1", 401, 403, 200],
    ["GET", "/internal/x", 403, 403, 403],
  ]) {
    for (const style of Object.keys(STYLES)) {
      for (const [at, [who, person]] of Object.entries(people).entries()) {
        const { status, headers } = await ask(person, style, method, SITE + path);
        assert.equal(status, wanted[at], `${style}: ${who} ${method} ${path}`);
        if (person === nobody || status !== 200) assert.equal(headers["x-doorward-user"], undefined);
      }
    }
  }
});

test("a page's visitor is sent to sign in; nginx, which can pass no redirect on, is told where to", async () => {
  const page = `${SITE}/deep?x=1&y=%2F`;
  const target = `${SITE}/.doorward/sign-in?return=/deep?x=1%26y=%252F`;
  const caddy = await ask(nobody, "caddy", "GET", page, PAGE);
  assert.deepEqual([caddy.status, caddy.location], [302, target]);
  const nginx = await ask(nobody, "nginx", "GET", page, PAGE);
  assert.deepEqual([nginx.status, nginx.location, nginx.headers["x-doorward-location"]], [401, undefined, target]);
});

test("a script is told 401 and nowhere to go, and so is whoever posts, which a sign-in cannot repeat", async () => {
  const led = [];
  for (const style of Object.keys(STYLES)) {
    for (const [method, headers] of [
      ["GET", API],
      ["GET", { ...PAGE, "sec-fetch-mode": "cors" }],
      ["POST", PAGE],
    ]) {
      const answer = await ask(nobody, style, method, `${SITE}/data`, headers);
      const there = answer.location ?? answer.headers["x-doorward-location"];
      if (answer.status !== 401 || there) led.push(`${style} ${method} ${JSON.stringify(headers)}: ${answer.status} ${there}`);
    }
  }
  assert.deepEqual(led, []);
});

test("a question without a host that is protected, or without the path, is answered 403", async () => {
  const caddy = STYLES.caddy("GET", `${SITE}/public/x`);
  const answered = [];
  for (const headers of [
    { host },
    { ...caddy, "x-forwarded-uri": undefined },
    { ...caddy, "x-forwarded-host": undefined },
    ...[
      "unknown.localhost",
      "off.localhost",
      host,
      "open.localhost/x",
      "unknown.localhost@open.localhost",
      "open.localhost, site.localhost",
      "open.localhost#",
      "open.localhost?",
      "open.localhost\\",
      "open%2elocalhost",
      "",
    ].map((name) => ({ ...caddy, "x-forwarded-host": name })),
    ...["javascript", "http, https"].map((scheme) => ({ ...caddy, "x-forwarded-proto": scheme })),
    ...["public/x", "", "http://site.localhost/public/x"].map((uri) => ({ ...caddy, "x-forwarded-uri": uri })),
    ...["/public/x", "http://", "http://unknown.localhost/", "http://u:p@site.localhost/public/x", "ftp://site.localhost/x", "x", ""].map(
      (url) => ({ host, "x-original-url": url }),
    ),
  ]) {
    const { status } = await nobody.browser.get(`${SITE}/forward-auth`, { headers });
    if (status !== 403) answered.push(`${status}: ${JSON.stringify(headers)}`);
  }
  assert.deepEqual(answered, []);
});

test("no disguise of a path gets around the role rule or the deny rule", async () => {
  for (const [person, name] of [
    [nobody, "admin"],
    [member, "admin"],
    [admin, "internal"],
  ]) {
    for (const path of disguises(name).filter((path) => path.startsWith("/"))) {
      for (const style of Object.keys(STYLES)) {
        const { status } = await ask(person, style, "GET", SITE + path);
        assert.ok(status === 401 || status === 403, `${style} ${path}: ${status}`);
      }
    }
  }
});

test("nor does a fragment, which browsers keep to themselves and some servers read as path", async () => {
  for (const style of Object.keys(STYLES)) {
    assert.equal((await ask(member, style, "GET", `${SITE}/public/#/../../admin`)).status, 403, style);
  }
});

test("what a visitor sends beside the proxy's own words never lets them in", async () => {
  const attacks = [
    // Caddy and Traefik replace X-Forwarded-*, and pass all else of the visitor on.
    ["caddy", nobody, "GET", "/secret", { "x-original-url": `${SITE}/public/x` }],
    ["caddy", member, "GET", "/admin", { "x-original-url": `${SITE}/` }],
    ["caddy", nobody, "GET", "/secret", { "x-original-url": "http://open.localhost/" }],
    ["caddy", member, "DELETE", "/reports/1", { "x-original-method": "GET" }],
    // nginx sets what it is told to, and passes all else of the visitor on.
    ["nginx", member, "DELETE", "/reports/1", { "x-forwarded-method": "GET" }],
    ["nginx", nobody, "POST", "/api/items", { "x-forwarded-method": "GET" }],
    ["nginx", member, "GET", "/admin", { "x-forwarded-uri": "/public/x", "x-forwarded-host": "open.localhost" }],
  ];
  const through = [];
  for (const [style, person, method, path, headers] of attacks) {
    const { status } = await ask(person, style, method, SITE + path, { ...API, ...headers });
    if (status !== 401 && status !== 403) through.push(`${style}: ${method} ${path} with ${JSON.stringify(headers)}: ${status}`);
  }
  assert.deepEqual(through, []);
});

test("nor does a proxy that appends to a visitor's header instead of replacing it", async () => {
  const through = [];
  for (const [name, theirs, proxys] of [
    ["X-Forwarded-Uri", "/public/x", "/admin"],
    ["X-Forwarded-Host", "open.localhost", "site.localhost"],
    ["X-Original-URL", `${SITE}/public/x`, `${SITE}/admin`],
  ]) {
    const caddy = { "X-Forwarded-Host": "site.localhost", "X-Forwarded-Proto": "http", "X-Forwarded-Uri": "/admin" };
    const other = Object.entries(name === "X-Original-URL" ? {} : caddy).filter(([key]) => key !== name);
    const head = [["Host", host], ...other, [name, theirs], [name, proxys]].map((pair) => pair.join(": "));
    const { status } = await raw(worker.port, ["GET /forward-auth HTTP/1.1", ...head]);
    if (status < 400) through.push(`${name}: ${theirs}, ${proxys}: ${status}`);
  }
  assert.deepEqual(through, []);
});

test("a proxy that does not say the method is told no more than the strictest rule allows", async () => {
  const { "x-original-method": _, ...headers } = STYLES.nginx("GET", `${SITE}/api/items`);
  assert.notEqual((await nobody.browser.get(`${SITE}/forward-auth`, { headers: { ...API, ...headers } })).status, 200);
});

const withMethod = (person, method, path, more) =>
  person.browser.send(method, `${SITE}/forward-auth`, { headers: { ...API, ...STYLES.caddy(method, SITE + path), ...more } });

test("a CORS preflight is not waved through", async () => {
  for (const origin of ["http://evil.localhost", SITE, AUTH]) {
    for (const path of ["/", "/admin", "/internal"]) {
      const { status } = await withMethod(nobody, "OPTIONS", path, { origin, "access-control-request-method": "GET" });
      assert.ok(status >= 400, `${origin} ${path}: ${status} lets a proxy pass it on`);
    }
  }
});

test("a proxy that asks with the visitor's own method gets the same answer", async () => {
  for (const method of ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"]) {
    assert.equal((await withMethod(nobody, method, "/internal")).status, 403, `${method} /internal`);
    assert.equal((await withMethod(nobody, method, "/")).status, 401, `${method} /`);
    assert.equal((await withMethod(member, method, "/")).status, 200, `${method} / of a member`);
  }
});

// Envoy asks by its own request line: the visitor's method, and their path behind ours; with the website's host, or with the
// auth host's and the website's in X-Forwarded-Host.
const HOSTS = {
  "the website's host": { host: "site.localhost" },
  "the auth host": { host, "x-forwarded-host": "site.localhost", "x-forwarded-proto": "http" },
};
const envoy = ({ browser }, names, method, path, headers = API) =>
  browser.send(method, `${SITE}/forward-auth${path}`, { headers: { ...headers, ...HOSTS[names] } });

test("the table of rules, as Envoy asks", async () => {
  const people = { nobody, member, admin };
  const wrong = [];
  for (const [method, path, ...wanted] of [
    ["GET", "/", 401, 200, 200],
    ["GET", "/public/x?y=/admin", 200, 200, 200],
    ["HEAD", "/api/items", 200, 200, 200],
    ["POST", "/api/items", 401, 200, 200],
    ["GET", "/admin", 401, 403, 200],
    ["PROPFIND", "/admin/x", 401, 403, 200],
    ["DELETE", "/reports/1", 401, 403, 200],
    ["GET", "/internal/x", 403, 403, 403],
    ["OPTIONS", "/x", 401, 200, 200],
    ["GET", "/forward-auth/public/x", 401, 200, 200],
  ]) {
    for (const names of Object.keys(HOSTS)) {
      for (const [at, [who, person]] of Object.entries(people).entries()) {
        const { status, headers } = await envoy(person, names, method, path);
        if (status !== wanted[at]) wrong.push(`${names}: ${who} ${method} ${path}: ${status}`);
        const named = headers["x-doorward-user"];
        if (named !== (status === 200 ? person.id : undefined)) wrong.push(`${names}: ${who} is named ${named}`);
        const removed = headers["x-envoy-auth-headers-to-remove"] ?? "";
        if (status === 200 && removed.includes("x-doorward-user") === Boolean(person.id))
          wrong.push(`${names}: ${who} ${path} removes ${removed}`);
      }
    }
  }
  assert.deepEqual(wrong, []);
});

test("Envoy's visitor is sent to sign in, and back to where they were going", async () => {
  for (const names of Object.keys(HOSTS)) {
    const { status, location } = await envoy(nobody, names, "GET", "/deep?x=1&y=%2F", PAGE);
    assert.deepEqual([status, location], [302, `${SITE}/.doorward/sign-in?return=/deep?x=1%26y=%252F`], names);
    assert.equal((await envoy(nobody, names, "POST", "/deep", PAGE)).status, 401, names);
  }
});

test("of Envoy's question the request line holds, and no header lets more through", async () => {
  const through = [];
  for (const names of Object.keys(HOSTS)) {
    for (const [method, path, headers] of [
      ["GET", "/admin", { "x-forwarded-uri": "/public/x" }],
      ["GET", "/admin", { "x-original-url": `${SITE}/public/x` }],
      ["GET", "/public/x", { "x-forwarded-uri": "/admin/../public/x" }],
      ["DELETE", "/reports/1", { "x-forwarded-method": "GET" }],
      ["DELETE", "/reports/1", { "x-original-method": "GET" }],
      ["GET", "/public/x", { "x-forwarded-uri": "/public/x, /admin" }],
      ["GET", "/public/x", { "x-forwarded-uri": "http://site.localhost/public/x" }],
      ["GET", "/public/x", { "x-forwarded-uri": "" }],
    ]) {
      const { status } = await envoy(member, names, method, path, { ...API, ...headers });
      if (status !== 403) through.push(`${names}: ${method} ${path} with ${JSON.stringify(headers)}: ${status}`);
    }
  }
  // With the website's host X-Forwarded-Host is not read; on the auth host two of them are none.
  const spoofed = { ...API, "x-forwarded-host": "open.localhost" };
  if ((await member.browser.get(`${SITE}/forward-auth/admin`, { headers: spoofed })).status !== 403)
    through.push("another website by X-Forwarded-Host");
  const two = { ...API, host, "x-forwarded-host": "open.localhost, site.localhost" };
  if ((await member.browser.get(`${SITE}/forward-auth/x`, { headers: two })).status !== 403) through.push("two hosts");
  if ((await member.browser.get(`${AUTH}/forward-auth/public/x`, { headers: API })).status !== 403) through.push("no website");
  assert.deepEqual(through, []);
});

test("a path that leads Envoy's question out of the check is answered 200 by nothing", async () => {
  const through = [];
  for (const path of [
    "/../style.css",
    "/admin/../../style.css",
    "/../api/auth/ok",
    "/../.doorward/style.css",
    "/%2e%2e/login",
    "/..\\style.css",
    "/../x/..//style.css",
  ]) {
    for (const [names, headers] of Object.entries(HOSTS)) {
      const all = { ...headers, "x-forwarded-uri": path };
      const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}`);
      const { status } = await raw(worker.port, [`GET /forward-auth${path} HTTP/1.1`, ...lines]);
      if (status < 400) through.push(`${names}: ${path}: ${status}`);
    }
  }
  assert.deepEqual(through, []);
});

test("a website that we ask the origin of has its own /forward-auth", async () => {
  await seedApp(worker, "own.localhost", { binding: "NOTHING", access: "public", rules: [] });
  const answer = await nobody.browser.get("http://own.localhost/forward-auth/x", { headers: API });
  assert.equal(answer.status, 502, "it is passed on, and the binding is not there");
});

test("the cookies that Envoy passes on are those of the website", async () => {
  const ours = cookieOf(member, "site.localhost");
  for (const [cookie, kept, removed] of [
    [ours, undefined, "cookie"],
    [`a=1; ${ours}; b=2`, "a=1; b=2", undefined],
    ["a=1", "a=1", undefined],
  ]) {
    const { status, headers } = await envoy(member, "the website's host", "GET", "/public/x", { ...API, cookie });
    assert.deepEqual([status, headers.cookie], [200, kept]);
    assert.equal((headers["x-envoy-auth-headers-to-remove"] ?? "").split(", ").includes("cookie"), removed === "cookie", cookie);
  }
});

test("a scheme counts in whichever case, and a WebSocket's as that which it is made of", async () => {
  const answered = {};
  for (const scheme of ["ws", "WS", "http", "HTTP"]) {
    const headers = { ...API, ...STYLES.caddy("GET", `${SITE}/`), "x-forwarded-proto": scheme };
    answered[scheme] = (await member.browser.get(`${SITE}/forward-auth`, { headers })).status;
  }
  const secure = await signUp(worker);
  await signInAt(secure, "caddy", "https://site.localhost");
  for (const scheme of ["wss", "WSS", "https", "HTTPS", "Https"]) {
    const headers = { ...API, ...STYLES.caddy("GET", `${SITE}/`), "x-forwarded-proto": scheme };
    answered[scheme] = (await secure.browser.get(`${SITE}/forward-auth`, { headers })).status;
  }
  for (const scheme of ["wsss", "ftp", "https,http", "https, wss"]) {
    const headers = { ...API, ...STYLES.caddy("GET", `${SITE}/`), "x-forwarded-proto": scheme };
    assert.equal((await secure.browser.get(`${SITE}/forward-auth`, { headers })).status, 403, scheme);
  }
  assert.deepEqual([...new Set(Object.values(answered))], [200], JSON.stringify(answered));
  const nginx = await member.browser.get(`${SITE}/forward-auth`, {
    headers: { ...API, host, "x-original-method": "GET", "x-original-url": "WS://site.localhost/" },
  });
  assert.equal(nginx.status, 200);
});

test("the reserved paths serve the website, and only through its proxy", async () => {
  for (const style of Object.keys(STYLES)) {
    const person = await signUp(worker);
    const used = await signInAt(person, style);
    const me = await reserved(person, style, "GET", `${SITE}/.doorward/me`);
    assert.deepEqual([me.status, me.json.user.id], [200, person.id]);
    assert.equal((await reserved(nobody, style, "GET", `${SITE}/.doorward/me`)).status, 401);
    const elsewhere = await reserved({ browser: worker.browser() }, style, "GET", used);
    assert.match(elsewhere.location ?? "", /^\/\.doorward\/sign-in\?/, "a callback in another browser begins again");
    assert.ok(!elsewhere.cookies.some((line) => line.includes(".session=")), "and gives it no session");
    assert.equal((await reserved(person, style, "GET", used.replace("site.", "open."))).status, 400, "a callback of another website");
    assert.equal((await person.browser.get(`${AUTH}/.doorward/me`)).status, 404, "on the auth host itself");
    const stylesheet = await reserved(nobody, style, "GET", `${SITE}/.doorward/style.css`);
    assert.match(stylesheet.headers["content-type"], /^text\/css/);
    assert.match((await reserved(person, style, "GET", `${SITE}/.doorward/sign-out`)).text, /action="\/\.doorward\/sign-out"/);
    const signOut = (origin) => reserved(person, style, "POST", `${SITE}/.doorward/sign-out`, { headers: { origin } });
    for (const origin of ["http://evil.localhost", "http://open.localhost", "null"])
      assert.equal((await signOut(origin)).status, 403, origin);
    assert.equal((await ask(person, style, "GET", `${SITE}/`)).status, 200);
    assert.equal((await signOut(SITE)).status, 303);
    assert.equal((await ask(person, style, "GET", `${SITE}/`)).status, 401);
    assert.equal((await person.browser.get(`${AUTH}/api/auth/get-session?disableCookieCache=true`)).text, "null");
  }
});

test("a website on https gets cookies that no sibling host can set", async () => {
  const person = await signUp(worker);
  await signInAt(person, "caddy", "https://site.localhost");
  const names = [...person.browser.cookies("site.localhost").keys()];
  assert.ok(names.includes("__Host-doorward.session"), String(names));
  assert.deepEqual(
    names.filter((name) => !name.startsWith("__Host-")),
    [],
  );
  assert.equal((await ask(person, "caddy", "GET", "https://site.localhost/")).status, 200);
  const plain = cookieOf(member, "site.localhost");
  assert.equal((await ask(nobody, "caddy", "GET", "https://site.localhost/", { ...API, cookie: plain })).status, 401);
});

test("a snapshot of one tenant's auth host is not believed at another's", async () => {
  const tenant = await seedTenant(worker, { slug: "isolated", pool: "isolated" });
  await seedDomain(worker, tenant, "auth-isolated.localhost");
  const cookie = cookieOf(admin, host);
  assert.match(cookie, /doorward\.snapshot=/);
  const theirs = (path) => worker.browser().get(`http://auth-isolated.localhost/api/auth/${path}`, { headers: { cookie } });
  assert.equal((await theirs("get-session")).text, "null");
  assert.equal((await theirs("list-sessions")).status, 401);
});
