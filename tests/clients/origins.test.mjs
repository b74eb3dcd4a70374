// Real web servers as origins behind the gate. They know themselves by the address that the gate asks them at, and say so in
// redirects and cookies: a visitor must be led to the website, and never past the gate.

import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { after, before } from "node:test";
import { startOrigin } from "../harness/origin.mjs";
import { scratch, startProgram } from "../harness/program.mjs";
import { API, PAGE, seedApp, signUp, visit } from "../harness/seed.mjs";
import { freePort, startWorker } from "../harness/worker.mjs";

const MODULES = "/usr/lib/apache2/modules";
const opened = [];
let worker, member, own;

/** A folder with a page in a folder of its own. */
function website(name) {
  const directory = scratch(name);
  mkdirSync(join(directory, "htdocs", "docs"), { recursive: true });
  mkdirSync(join(directory, "htdocs", "wiki", "docs"), { recursive: true });
  for (const folder of ["docs", "wiki/docs"]) writeFileSync(join(directory, "htdocs", folder, "index.html"), `<h1>${name}: ${folder}</h1>`);
  return directory;
}

async function startNginx() {
  const [directory, port] = [website("nginx"), await freePort()];
  writeFileSync(
    join(directory, "nginx.conf"),
    `
daemon off;
master_process off;
pid ${directory}/pid;
error_log stderr;
events {}
http {
  access_log off;
  ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${directory}/${name};`).join(" ")}
  types { text/html html; }
  server { listen 127.0.0.1:${port}; root ${directory}/htdocs; }
}`,
  );
  const missing = "nginx is not installed, and this test drives the real one: apt install nginx-light";
  return startProgram("nginx", ["-p", directory, "-c", join(directory, "nginx.conf"), "-e", "stderr"], { port, directory, missing });
}

async function startApache() {
  const [directory, port] = [website("apache"), await freePort()];
  writeFileSync(
    join(directory, "httpd.conf"),
    `
${["mpm_event", "authz_core", "dir", "mime"].map((name) => `LoadModule ${name}_module ${MODULES}/mod_${name}.so`).join("\n")}
ServerRoot ${directory}
ServerName 127.0.0.1
Listen 127.0.0.1:${port}
PidFile ${directory}/pid
ErrorLog ${directory}/error
TypesConfig /dev/null
AddType text/html .html
DirectoryIndex index.html
DocumentRoot ${directory}/htdocs
`,
  );
  const missing = "Apache is not installed, and this test drives the real one: apt install apache2-bin";
  return startProgram("apache2", ["-D", "FOREGROUND", "-f", join(directory, "httpd.conf")], { port, directory, missing });
}

const SERVICE = `export default { fetch: (request) => new URL(request.url).pathname === "/docs"
  ? Response.redirect(request.url + "/", 301)
  : new Response("<h1>service: docs</h1>" + request.url + request.headers.get("host"), { headers: { "content-type": "text/html" } }) };`;

before(async () => {
  worker = await startWorker({ workers: { ORIGIN: SERVICE } });
  member = await signUp(worker);
  const [nginx, apache] = [await startNginx(), await startApache()];
  own = await startOrigin({
    "/login": ({ headers }, response) => response.writeHead(303, { location: `http://${headers.host}/home?next=%2F#top` }).end(),
    "/made": ({ headers }, response) =>
      response.writeHead(201, { "content-location": `http://${headers.host}/items/1`, location: `https://${headers.host}/items/1` }).end(),
    "/wait": ({ headers }, response) => response.writeHead(200, { refresh: `5; url=http://${headers.host}/home` }).end(),
    "/cookie": (_, response) => response.writeHead(200, { "set-cookie": ["a=1; Domain=127.0.0.1; Path=/", "b=2; Path=/; HttpOnly"] }).end(),
    "/base//evil.example": ({ url }, response) => response.writeHead(301, { location: `${url}/`, refresh: `0; url=${url}/` }).end(),
    "/away": (_, response) => response.writeHead(302, { location: "https://elsewhere.example/?back=http://127.0.0.1/" }).end(),
  });
  opened.push(() => worker.dispose(), nginx.stop, apache.stop, own.close);
  await seedApp(worker, "nginx.localhost", { origin: `http://127.0.0.1:${nginx.port}`, rules: [] });
  await seedApp(worker, "wiki.localhost", { origin: `http://127.0.0.1:${nginx.port}/wiki/`, rules: [] });
  await seedApp(worker, "apache.localhost", { origin: `http://127.0.0.1:${apache.port}`, rules: [] });
  await seedApp(worker, "service.localhost", { binding: "ORIGIN", rules: [] });
  await seedApp(worker, "own.localhost", { origin: own.url, rules: [] });
  await seedApp(worker, "based.localhost", { origin: `${own.url}/base`, access: "public", rules: [] });
});
after(() => Promise.all(opened.map((close) => close())));

for (const [name, page] of [
  ["nginx", "nginx: docs"],
  ["apache", "apache: docs"],
  ["wiki", "nginx: wiki/docs"],
  ["service", "service: docs"],
]) {
  test(`a folder without its slash leads to the page of ${name}, at the website`, async () => {
    const site = `http://${name}.localhost`;
    const answer = await visit(member.browser, `${site}/docs`);
    assert.deepEqual([answer.status, answer.url], [200, `${site}/docs/`]);
    assert.match(answer.text, new RegExp(page));
  });
}

test("a Worker behind a binding is asked by the website's own name", async () => {
  const answer = await visit(member.browser, "http://service.localhost/docs/?a=b");
  assert.match(answer.text, /http:\/\/service\.localhost\/docs\/\?a=b(service\.localhost|null)/);
});

test("a path without the origin's prefix is no other website's address", async () => {
  const answer = await member.browser.get("http://based.localhost//evil.example", { headers: PAGE });
  assert.equal(answer.status, 301);
  for (const told of [answer.location, answer.headers.refresh.split("url=")[1]])
    assert.equal(new URL(told, "http://based.localhost/").host, "based.localhost", told);
});

test("absolute addresses, refreshes and cookie domains of an origin become the website's, and all others stay", async () => {
  const site = "http://own.localhost";
  await visit(member.browser, `${site}/`);
  const get = (path, headers = API) => member.browser.get(site + path, { headers });
  assert.equal((await get("/login", PAGE)).location, `${site}/home?next=%2F#top`);
  const made = await get("/made");
  assert.deepEqual([made.status, made.headers["content-location"], made.location], [201, `${site}/items/1`, `${site}/items/1`]);
  assert.equal((await get("/wait")).headers.refresh, `5; url=${site}/home`);
  assert.deepEqual((await get("/cookie")).cookies, ["a=1; Path=/", "b=2; Path=/; HttpOnly"]);
  assert.equal((await get("/away")).location, "https://elsewhere.example/?back=http://127.0.0.1/");
});
