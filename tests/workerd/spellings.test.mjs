// Two spellings of one thing: header names, paths of requests and of rules, methods, hosts.

import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { lines, raw, startOrigin } from "../harness/origin.mjs";
import { API, PAGE, cookieOf, seedApp, signUp, visit } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

// An origin may ignore capitals, decode twice, or drop accents: what it makes of a path is not for a test to say here.
const CLOSED = ["/Admin/*", "/s%65cret/*", "/Café/*", "/Kept/Exact"];
let worker, origin, member, cookie;

before(async () => {
  origin = await startOrigin();
  worker = await startWorker();
  const rules = CLOSED.map((path) => [path, "deny"]);
  await seedApp(worker, "app.localhost", { origin: origin.url, access: "public", rules });
  await seedApp(worker, "roles.localhost", {
    origin: origin.url,
    access: "public",
    rules: [
      ["/Reports/*", "role", { roles: ["admin"], methods: ["DELETE"] }],
      ["/Open/*", "public"],
      ["/*", "signed_in"],
    ],
  });
  await seedApp(worker, "site.localhost", {});
  member = await signUp(worker);
  await visit(member.browser, "http://roles.localhost/");
  cookie = cookieOf(member, "roles.localhost");
});
after(async () => {
  await worker?.dispose();
  await origin?.close();
});

const ask = (path, { host = "app.localhost", method = "GET", headers = [] } = {}) =>
  raw(worker.port, [`${method} ${path} HTTP/1.1`, `Host: ${host}`, ...headers]);

test("a header that only the gate or nobody may send does not reach the origin, whatever stands for its dashes", async () => {
  const names = [
    "X-Doorward-User",
    "X-Doorward-Roles",
    "X-Doorward-Assertion",
    "X-Doorward-New",
    "X-Forwarded-For",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-Real-IP",
    "Forwarded",
    "Remote-User",
    "Remote-Groups",
    "X-Remote-User",
    "X-WEBAUTH-USER",
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "Cf-Access-Jwt-Assertion",
    "Cf-Access-Authenticated-User-Email",
    "Proxy",
    "X-MS-CLIENT-PRINCIPAL-NAME",
    "X-Http-Method-Override",
  ];
  const through = [];
  for (const sign of "-_.!#$%&'*+^`|~") {
    for (const [path, signedIn] of [
      ["/", true],
      ["/Open/x", true],
      ["/Open/x", false],
    ]) {
      const headers = names.map((name) => `${name.replaceAll("-", sign)}: forged`);
      const answer = await ask(path, { host: "roles.localhost", headers: [...headers, ...(signedIn ? [`Cookie: ${cookie}`] : [])] });
      assert.equal(answer.status, 200, `${sign} ${path}: ${answer.body}`);
      const { rawHeaders } = origin.last();
      through.push(...rawHeaders.filter((_, at) => at % 2 === 0 && /forged/.test(rawHeaders[at + 1])));
      assert.deepEqual(lines(origin.last(), "x-doorward-user"), signedIn ? [member.id] : []);
    }
  }
  assert.deepEqual(through, []);
});

test("a rule holds for its path in every spelling", async () => {
  const disguised = (name) => {
    const code = name.charCodeAt(0).toString(16);
    const upper = name.toUpperCase();
    const wide = encodeURIComponent(String.fromCharCode(name.charCodeAt(0) + 0xfee0));
    return [
      name,
      upper,
      name[0].toUpperCase() + name.slice(1),
      `%${code}${name.slice(1)}`,
      `%25${code}${name.slice(1)}`,
      `%u00${code}${name.slice(1)}`,
      `%25u00${code}${name.slice(1)}`,
      `${wide}${name.slice(1)}`,
      `;x/${name}`,
      `${name}.;x`,
      `${name}%20;x`,
      `${upper}%20.;x=1`,
      `x%2fy/../${name}`,
      `x/%u002e%u002e/${name}`,
      `x/.%252e/%5c${upper}`,
      `/./${name}%00`,
    ].flatMap((path) => [`/${path}`, `/${path}/x`]);
  };
  const cafe = ["/caf%C3%A9/x", "/CAF%C3%89/x", "/cafe%CC%81/x", "/CAFE%CC%81/x", "/caf%25C3%25A9/x"];
  const through = [];
  for (const path of [
    ...disguised("admin"),
    ...disguised("secret"),
    ...cafe,
    "/kept/exact",
    "/KEPT/EXACT/",
    "/kept%2Fexact",
    "/%E2%84%AAept/exact",
    "/%C5%BFecret/x",
  ]) {
    const heard = origin.requests.length;
    const { status } = await ask(path);
    if (status !== 403 || origin.requests.length > heard) through.push(`${path}: ${status}`);
  }
  assert.deepEqual(through, []);
  for (const path of ["/administer", "/secre", "/cafe", "/kept/exactly", "/Files/a%20b;v=1//c.d"])
    assert.equal((await ask(path)).status, 200, path);
});

test("what a rule opens is open as it is written", async () => {
  for (const path of ["/Open", "/Open/X.css", "/%4fpen/a%20b"])
    assert.equal((await ask(path, { host: "roles.localhost" })).status, 200, path);
  for (const path of ["/open/x", "/Open/../x", "/Open%2f..%2fx"])
    assert.equal((await ask(path, { host: "roles.localhost" })).status, 401, path);
});

test("a rule for a method holds for it in small letters", async () => {
  for (const method of ["DELETE", "delete"]) {
    const { status } = await member.browser.send(method, "http://roles.localhost/reports/1", { headers: API });
    // The runtime refuses methods in small letters that it knows in capitals, or makes capitals of them.
    assert.ok(status === 403 || status === 501 || status === 400, `${method}: ${status}`);
  }
});

test("a long path in many disguises is refused, and a long one without them is not", async () => {
  assert.equal((await ask("/%2561;x//.%5c..%2f%u0061%20.;".repeat(450))).status, 403);
  assert.equal((await ask(`/Files/${"a%20b/".repeat(2300)}`)).status, 200, "long, and honest");
});

const draft = (path, access = "deny", { methods = [], roles = [] } = {}) =>
  seedApp(worker, `${crypto.randomUUID()}.localhost`, { rules: [[path, access, { methods, roles }]] });

test("a rule that means something else than it says is refused where it is written", async () => {
  for (const path of ["/x*", "/a/*/b", "/*.png", "/a/**", "/**"]) await assert.rejects(draft(path), /no other \* has a meaning/, path);
  for (const path of [
    "/a//b",
    "/a/../b",
    "/a/./b",
    "/a/..",
    "/a?x=1",
    "/a#x",
    "/a;b",
    "/a\\b",
    "/a%2fb",
    "/a%5Cb",
    "/a%25b",
    "/a%00",
    "/a%3Bb",
    "/a ",
    "/a./b",
    "/a%20",
    "/a%2e",
    "/%20a",
    "/cafe\u0301",
    "/\uff41dmin",
    "/a\nb",
  ])
    await assert.rejects(draft(path), /one that servers read as another/, path);
  await assert.rejects(draft("admin/*"), /CHECK|one that servers read as another/);
  for (const method of ["get", "Get", "", "*", "GET,POST"])
    await assert.rejects(draft("/a", "deny", { methods: ["GET", method] }), /in capitals/, method);
  for (const role of ["Admin", "nobody's"]) await assert.rejects(draft("/a", "role", { roles: ["admin", role] }), /does not have/, role);
  for (const [path, access, more] of [
    ["/", "deny"],
    ["/*", "deny"],
    ["/a/*", "public"],
    ["/Admin/x-y_z.css", "deny"],
    ["/café/*", "deny"],
    ["/caf%C3%A9", "deny"],
    ["/a%20b/*", "public"],
    ["/~u/@x/(1),2", "signed_in"],
    ["/a", "role", { roles: ["admin", "owner"], methods: ["GET", "M-SEARCH"] }],
  ])
    await draft(path, access, more);
  const app = await draft("/fine");
  const change = (set) => worker.d1.prepare(`update access_rule set ${set} where proxied_app_id = ?`).bind(app).run();
  await change("position = 7");
  await assert.rejects(change("path = '/x*'"), /no other \* has a meaning/);
  await assert.rejects(change(`methods = '["get"]'`), /in capitals/);
});

test("a rule of before that cannot be understood lets nobody in, and is found", async () => {
  const { results: triggers } = await worker.d1
    .prepare("select name, sql from sqlite_schema where type = 'trigger' and tbl_name = 'access_rule'")
    .all();
  assert.equal(triggers.length, 2);
  for (const { name } of triggers) await worker.d1.prepare(`drop trigger ${name}`).run();
  try {
    await seedApp(worker, "old.localhost", {
      origin: origin.url,
      access: "public",
      rules: [
        ["/x*", "deny"],
        ["/a/../b", "deny"],
        ["/low", "deny", { methods: ["delete"] }],
        ["/odd", "signed_in", { methods: ["GET,POST"] }],
        ["/open*", "public"],
      ],
    });
    await seedApp(worker, "shut.localhost", { origin: origin.url, access: "deny", rules: [["/open*", "public"]] });
  } finally {
    for (const { sql } of triggers) await worker.d1.prepare(sql).run();
  }
  for (const [method, path, host, status] of [
    ["GET", "/xy/z", "old", 403],
    ["GET", "/b", "old", 403],
    ["DELETE", "/low", "old", 403],
    ["GET", "/low", "old", 200],
    ["POST", "/odd", "old", 403],
    ["GET", "/open", "shut", 403],
    ["GET", "/open*", "shut", 403],
    ["GET", "/other", "old", 200],
  ])
    assert.equal((await ask(path, { method, host: `${host}.localhost` })).status, status, `${method} ${host} ${path}`);
  const found = await worker.rows("select path, problem from access_rule_problem order by path");
  assert.deepEqual(
    found.map(({ path, problem }) => `${path} ${problem}`),
    ["/a/../b path", "/low methods", "/odd methods", "/open* wildcard", "/open* wildcard", "/x* wildcard"],
  );
});

test("a WebSocket's scheme is http's, in whichever case, to forward-auth", async () => {
  const nobody = worker.browser();
  for (const [proto, scheme] of [
    ["ws", "http"],
    ["wss", "https"],
    ["WSS", "https"],
    ["HTTPS", "https"],
    ["Http", "http"],
  ]) {
    const caddy = await nobody.get(`${AUTH}/forward-auth`, {
      headers: {
        ...PAGE,
        "x-forwarded-method": "GET",
        "x-forwarded-proto": proto,
        "x-forwarded-host": "site.localhost",
        "x-forwarded-uri": "/x",
      },
    });
    assert.deepEqual([caddy.status, caddy.location], [302, `${scheme}://site.localhost/.doorward/sign-in?return=/x`], proto);
    const nginx = await nobody.get(`${AUTH}/forward-auth`, {
      headers: { ...PAGE, "x-original-method": "GET", "x-original-url": `${proto}://site.localhost/x` },
    });
    assert.equal(nginx.headers["x-doorward-location"], `${scheme}://site.localhost/.doorward/sign-in?return=/x`, proto);
  }
});

test("a host with its scheme's own port is that host, to forward-auth", async () => {
  const nobody = worker.browser();
  const ask = (headers) => nobody.get(`${AUTH}/forward-auth`, { headers: { ...PAGE, ...headers } });
  for (const [proto, port] of [
    ["https", "443"],
    ["http", "80"],
  ]) {
    const url = `${proto}://site.localhost`;
    const nginx = await ask({ "x-original-method": "GET", "x-original-url": `${url}:${port}/x` });
    assert.deepEqual([nginx.status, nginx.headers["x-doorward-location"]], [401, `${url}/.doorward/sign-in?return=/x`]);
    const caddy = await ask({
      "x-forwarded-method": "GET",
      "x-forwarded-proto": proto,
      "x-forwarded-host": `Site.localhost:${port}`,
      "x-forwarded-uri": "/x",
    });
    assert.deepEqual([caddy.status, caddy.location], [302, `${url}/.doorward/sign-in?return=/x`]);
    const both = await ask({ "x-original-method": "GET", "x-original-url": `${url}/x`, "x-forwarded-host": `site.localhost:${port}` });
    assert.equal(both.status, 401, "the same host, told by both");
  }
});
