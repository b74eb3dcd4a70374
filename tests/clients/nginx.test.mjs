// A real nginx in front of a website, asking Doorward about each request (ngx_http_auth_request_module).

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { after, before } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Browser } from "../harness/browser.mjs";
import { about, shown } from "../harness/docs.mjs";
import { lines, raw, startOrigin } from "../harness/origin.mjs";
import { scratch, startProgram } from "../harness/program.mjs";
import { API, PAGE, PASSWORD, cookieOf, disguises, logIn, seedApp, signUp, visit } from "../harness/seed.mjs";
import { freePort, startWorker } from "../harness/worker.mjs";

// What docs/behind-a-proxy.md shows, but for names and ports: a part of `http`, and a part of the website's server.
const [inHttp, inServer] = about(shown("behind-a-proxy.md", "nginx"), [
  ["Host auth.example.com", "Host auth.localhost"],
  ["https://auth.example.com", "http://doorward"],
]).split("# In `server`.\n");

const site = (port) => `
  server {
    listen 127.0.0.1:${port};
    server_name app.localhost;
${inServer}
  }`;

// The browser reaches every host at one port, so the auth host is here as well; and a second website, open to all.
const config = ({ directory, port, worker, origin }) => `
daemon off;
master_process off;
pid ${directory}/pid;
error_log stderr;
events {}
http {
  access_log off;
  ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${directory}/${name};`).join(" ")}
  upstream doorward { server 127.0.0.1:${worker}; }
  upstream website { server 127.0.0.1:${origin}; }
  ${inHttp}
  ${site(port)}
  ${site(port).replace("server_name app.localhost", "server_name open.localhost")}
  server {
    listen 127.0.0.1:${port};
    server_name auth.localhost;
    location / { proxy_set_header Host auth.localhost; proxy_buffer_size 16k; proxy_buffers 4 16k; proxy_pass http://doorward; }
  }
}`;

async function startNginx(worker, origin) {
  const directory = scratch("nginx");
  const port = await freePort();
  const file = join(directory, "nginx.conf");
  writeFileSync(file, config({ directory, port, worker, origin }));
  const missing = "nginx is not installed, and this test drives the real one: apt install nginx-light";
  return startProgram("nginx", ["-p", directory, "-c", file, "-e", "stderr"], { port, directory, missing });
}

const APP = "http://app.localhost";
const FORGED = Object.fromEntries(
  [
    "x-doorward-user",
    "X-Doorward-Roles",
    "x_doorward_user",
    "X-DOORWARD-EMAIL",
    "x-doorward-assertion",
    "x.doorward.user",
    "x!doorward~roles",
  ].map((name) => [name, "forged"]),
);
let worker, origin, nginx, member, admin, nobody;

before(async () => {
  origin = await startOrigin();
  worker = await startWorker({ settings: { SESSION_COOKIE_CACHE_SECONDS: "1" } });
  nginx = await startNginx(worker.port, origin.port);
  await seedApp(worker, "app.localhost", {});
  await seedApp(worker, "open.localhost", { access: "public", rules: [] });
  [member, admin] = [await signUp(worker), await signUp(worker, { roles: ["admin"] })];
  for (const person of [member, admin]) person.browser = new Browser(nginx.port);
  nobody = new Browser(nginx.port);
});
after(async () => {
  await nginx?.stop();
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
  assert.deepEqual([request.method, request.url], ["GET", "/deep/link?x=1&y=%2F&z=a+b"]);
  const said = ["User", "Email", "Tenant", "Roles"].map((name) => lines(request, `X-Doorward-${name}`));
  assert.deepEqual(said, [[id], [email], ["default"], ["member"]]);
  assert.equal(lines(request, "X-Doorward-Assertion")[0].split(".").length, 3);
  assert.equal((await browser.get(`${APP}/.doorward/me`)).json.user.id, id);
});

test("what a visitor says of themselves does not reach the website, signed in or not", async () => {
  const { browser, id } = await signedIn(member);
  for (const [who, path, user] of [
    [browser, "/", [id]],
    [browser, "/public/x", [id]],
    [nobody, "/public/x", []],
  ]) {
    assert.equal((await who.get(APP + path, { headers: { ...FORGED, ...API } })).status, 200);
    const { rawHeaders } = origin.last();
    assert.deepEqual(
      rawHeaders.filter((text) => /forged/.test(text)),
      [],
    );
    assert.deepEqual(lines(origin.last(), "x-doorward-user"), user);
  }
  const posted = await browser.post(`${APP}/form`, "a body that is asked about without being sent twice");
  assert.deepEqual([posted.status, origin.last().body.toString()], [200, "a body that is asked about without being sent twice"]);
});

test("the rules hold: what is denied is 403, and an admin's path is for admins", async () => {
  await Promise.all([member, admin].map(signedIn));
  for (const [name, browser, method, path, headers, wanted] of [
    ["nobody", nobody, "GET", "/internal/x", PAGE, 403],
    ["admin", admin.browser, "GET", "/internal/x", PAGE, 403],
    ["member", member.browser, "GET", "/admin", PAGE, 403],
    ["member", member.browser, "DELETE", "/reports/1", API, 403],
  ]) {
    const { status } = await unheard(() => browser.send(method, APP + path, { headers }), `${name}: ${method} ${path}`);
    assert.equal(status, wanted, `${name}: ${method} ${path}`);
  }
  assert.equal((await admin.browser.get(`${APP}/admin`, { headers: PAGE })).status, 200);
  assert.equal((await nobody.get(`${APP}/forward-auth`)).status, 404, "the question itself, asked by a visitor");
});

test("our cookies do not come to the website, and its own do", async () => {
  const { browser } = await signedIn(member);
  const ours = cookieOf(member, "app.localhost");
  assert.match(ours, /doorward\.session=/);
  for (const [given, left] of [
    [ours, undefined],
    [`a=1; ${ours}`, "a=1; "],
    [`${ours}; b=2`, "b=2"],
    ["__Host-doorward.session=x; " + ours.split("; ")[0] + "; c=3", "c=3"],
    [`a=1; xdoorward.session=mine; ${ours}; b=x,y`, "a=1; xdoorward.session=mine; b=x,y"],
  ]) {
    assert.equal((await browser.get(`${APP}/public/x`, { headers: { ...API, cookie: given } })).status, 200);
    assert.equal(origin.last().headers.cookie, left?.trim(), given);
  }
});

test("a script is answered 401, not led to a login page", async () => {
  for (const [method, headers] of [
    ["POST", API],
    ["GET", API],
    ["GET", { ...PAGE, "sec-fetch-mode": "cors" }],
  ]) {
    const { status, location } = await unheard(() => nobody.send(method, `${APP}/data`, { headers }), `${method} /data`);
    assert.deepEqual([status, location], [401, undefined], `${method} ${JSON.stringify(headers)}`);
  }
});

test("no disguise and no second host name leads around the rules", async () => {
  await Promise.all([member, admin].map(signedIn));
  const through = [];
  for (const [person, name] of [
    [member, "admin"],
    [admin, "internal"],
  ]) {
    const cookie = `Cookie: ${cookieOf(person, "app.localhost")}`;
    const heads = [...disguises(name), `/public/#/../../${name}`].map((path) => [`GET ${path} HTTP/1.1`, "Host: app.localhost"]);
    for (const head of [...heads, [`GET ${APP}/${name} HTTP/1.1`, "Host: open.localhost"]]) {
      const heard = origin.requests.length;
      await raw(nginx.port, [...head, cookie]);
      if (origin.requests.length > heard) through.push(`${head} → ${origin.last().url}`);
    }
  }
  assert.deepEqual(through, []);
});

test("no header of the visitor's own changes what nginx asks about", async () => {
  await signedIn(member);
  const through = [];
  for (const [method, path, name, value] of [
    ["DELETE", "/reports/1", "X-Forwarded-Method", "GET"],
    ["DELETE", "/reports/1", "X-Original-Method", "GET"],
    ["GET", "/admin", "X-Original-URL", `${APP}/public/x`],
    ["GET", "/admin", "X-Forwarded-Uri", "/public/x"],
    ["GET", "/admin", "X-Forwarded-Host", "open.localhost"],
  ]) {
    const { status } = await member.browser.send(method, APP + path, { headers: { ...API, [name]: value } });
    if (status !== 403) through.push(`${method} ${path} with ${name}: ${value}: ${status}`);
  }
  assert.deepEqual(through, []);
});

test("somebody with many roles passes, also once what the first answer brought is too old", async () => {
  const person = await signUp(worker, { roles: Array.from({ length: 40 }, (_, at) => `a role with a long name ${at}`) });
  person.browser = new Browser(nginx.port);
  await signedIn(person);
  await sleep(1500);
  for (let visits = 0; visits < 3; visits++) {
    const answer = await person.browser.get(`${APP}/`, { headers: PAGE });
    assert.deepEqual([answer.status, answer.cookies], [200, []]);
    assert.equal(lines(origin.last(), "X-Doorward-Roles")[0].split(",").length, 41);
  }
});

test("the browser keeps the website's cookie for longer than the session, which D1 ends", async () => {
  const person = await signUp(worker);
  person.browser = new Browser(nginx.port);
  await person.browser.submit("http://auth.localhost/login", { email: person.email, password: PASSWORD, rememberMe: "true" });
  const begun = await person.browser.get(`${APP}/.doorward/sign-in?return=/`, { headers: PAGE });
  const callback = (await person.browser.get(begun.location, { headers: PAGE })).location;
  const { cookies } = await person.browser.get(callback, { headers: PAGE });
  assert.match(
    cookies.find((line) => line.startsWith("doorward.session=")),
    /; Max-Age=34560000(;|$)/,
  );
  assert.equal((await visit(person.browser, `${APP}/`)).url, `${APP}/`);
  await sleep(1500);
  await worker.d1
    .prepare("update session set expires_at = ? where user_id = ?")
    .bind(Date.now() - 1, person.id)
    .run();
  for (const { name } of (await worker.kv.list()).keys) await worker.kv.delete(name);
  assert.match((await visit(person.browser, `${APP}/`)).url, /^http:\/\/auth\.localhost\/login\?/);
});

test("a dashboard's long link comes back whole", async () => {
  const person = await signUp(worker);
  person.browser = new Browser(nginx.port);
  const link = `${APP}/d?left=${"%22now-1h%22,".repeat(300)}`;
  const page = await logIn(person.browser, await visit(person.browser, link), person.email);
  assert.ok(page.url === link, page.url.slice(0, 100));
});

test("signing out ends the session at the website and at the auth host", async () => {
  const { browser } = await signedIn(admin);
  assert.match((await visit(browser, `${APP}/.doorward/sign-out`)).text, /method="post"/);
  assert.equal((await browser.submit(`${APP}/.doorward/sign-out`, {}, { origin: "http://open.localhost" })).status, 403);
  assert.equal((await browser.submit(`${APP}/.doorward/sign-out`, {})).status, 303);
  const page = await unheard(() => visit(browser, `${APP}/`), "a visitor who has signed out");
  assert.match(page.url, /^http:\/\/auth\.localhost\/login\?/);
});
