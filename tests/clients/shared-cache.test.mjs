// Real shared caches before the gate, nginx and Apache: what they keep of one visitor's answers reaches nobody else.

import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { after, before } from "node:test";
import { Browser } from "../harness/browser.mjs";
import { startOrigin } from "../harness/origin.mjs";
import { scratch, startProgram } from "../harness/program.mjs";
import { API, seedApp, signUp, visit } from "../harness/seed.mjs";
import { freePort, startWorker } from "../harness/worker.mjs";

const APP = "http://app.localhost";
const MODULES = "/usr/lib/apache2/modules";
const MODIFIED = { "last-modified": "Wed, 21 Oct 2015 07:28:00 GMT" };
const KINDS = {
  immutable: { "cache-control": "public, max-age=31536000, immutable" },
  cached: { "cache-control": "max-age=600" },
  shared: { "cache-control": "s-maxage=600" },
  heuristic: MODIFIED,
  expires: { expires: "Wed, 21 Oct 2099 07:28:00 GMT" },
  accel: { "x-accel-expires": "600", ...MODIFIED },
  etag: { etag: '"v1"', "cache-control": "public, max-age=600" },
};
// What an origin calls everybody's on a public path is, whatever it says in it.
const EVERYBODYS = ["immutable", "shared", "accel", "etag"];

const nginxConfig = ({ directory, port, worker }) => `
daemon off;
master_process off;
pid ${directory}/pid;
error_log stderr;
events {}
http {
  access_log off;
  ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${directory}/${name};`).join(" ")}
  proxy_cache_path ${directory}/cache keys_zone=answers:1m;
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_cache answers;
      proxy_cache_key $host$request_uri;
      # As many caches do: a cookie alone keeps nothing out.
      proxy_ignore_headers Set-Cookie;
      proxy_set_header Host $host;
      proxy_pass http://127.0.0.1:${worker};
    }
  }
}`;

const apacheConfig = ({ directory, port, worker }) => `
ServerRoot ${directory}
DefaultRuntimeDir ${directory}
PidFile ${directory}/pid
ErrorLog ${directory}/log
LogLevel warn
${["mpm_event", "authz_core", "proxy", "proxy_http", "cache", "cache_disk"]
  .map((name) => `LoadModule ${name}_module ${MODULES}/mod_${name}.so`)
  .join("\n")}
User www-data
Group www-data
Listen 127.0.0.1:${port}
ServerName localhost
CacheRoot ${directory}/cache
CacheEnable disk /
ProxyPreserveHost On
ProxyPass / http://127.0.0.1:${worker}/`;

async function startCache(name, worker) {
  const directory = scratch(name);
  const port = await freePort();
  const file = join(directory, `${name}.conf`);
  // Apache serves as another user than it is started by.
  chmodSync(directory, 0o755);
  mkdirSync(join(directory, "cache"));
  chmodSync(join(directory, "cache"), 0o777);
  const log = () => (existsSync(join(directory, "log")) ? readFileSync(join(directory, "log"), "utf8") : "");
  if (name === "nginx") {
    writeFileSync(file, nginxConfig({ directory, port, worker }));
    const missing = "nginx is not installed, and this test drives the real one: apt install nginx-light";
    return startProgram("nginx", ["-p", directory, "-c", file, "-e", "stderr"], { port, directory, missing });
  }
  writeFileSync(file, apacheConfig({ directory, port, worker }));
  const missing = "Apache is not installed, and this test drives the real one: apt install apache2-bin";
  const env = { TMPDIR: directory, NO_PROXY: "*" };
  return startProgram("apache2", ["-X", "-d", directory, "-f", file, "-E", join(directory, "log")], { port, directory, missing, env, log });
}

let origin, worker;
before(async () => {
  const answers = Object.entries(KINDS).flatMap(([name, headers]) =>
    ["/", "/public/"].map((under) => [
      under + name,
      ({ headers: asked }, response) => {
        response.writeHead(200, { "content-type": "text/plain", ...headers }).end(`for ${asked["x-doorward-email"] ?? "everybody"}`);
      },
    ]),
  );
  origin = await startOrigin(Object.fromEntries(answers));
  // Every request finds something due.
  worker = await startWorker({
    settings: { SESSION_RECHECK_SECONDS: "0", SESSION_COOKIE_CACHE_SECONDS: "0", SESSION_UPDATE_SECONDS: "0" },
  });
  await seedApp(worker, "app.localhost", { origin: origin.url });
});
after(async () => {
  await worker?.dispose();
  await origin?.close();
});

for (const name of ["nginx", "apache"]) {
  test(`${name} gives nobody what it kept of another's, and keeps what is everybody's`, async () => {
    const cache = await startCache(name, worker.port);
    try {
      const through = async () => {
        const person = await signUp(worker);
        await visit(person.browser, `${APP}/`);
        const browser = new Browser(cache.port);
        for (const pair of person.browser.cookies("app.localhost")) browser.cookies("app.localhost").set(...pair);
        return { ...person, browser };
      };
      const [alice, bob] = [await through(), await through()];
      const nobody = new Browser(cache.port);
      const wrong = [];
      for (const kind of Object.keys(KINDS)) {
        for (const person of [alice, bob, alice]) {
          const answer = await person.browser.get(`${APP}/${kind}`, { headers: API });
          if (answer.text !== `for ${person.email}`) wrong.push(`/${kind} ${answer.text}`);
        }
        const refused = await nobody.get(`${APP}/${kind}`, { headers: API });
        if (refused.status !== 401 || refused.cookies.length) wrong.push(`/${kind} to nobody: ${refused.status} ${refused.cookies}`);
        for (const person of [alice, bob]) {
          const answer = await person.browser.get(`${APP}/public/${kind}`, { headers: API });
          const mayBeAnothers = EVERYBODYS.includes(kind) || [`for ${person.email}`, "for everybody"].includes(answer.text);
          if (!mayBeAnothers) wrong.push(`/public/${kind} ${answer.text}`);
        }
        const open = await nobody.get(`${APP}/public/${kind}`, { headers: API });
        if (open.status !== 200 || open.cookies.length) wrong.push(`/public/${kind} to nobody: ${open.status} ${open.cookies}`);
      }
      assert.deepEqual(wrong, []);
      // It does keep what it may.
      for (const kind of ["immutable", "etag"]) {
        const heard = origin.requests.length;
        for (const browser of [nobody, alice.browser])
          assert.equal((await browser.get(`${APP}/public/${kind}`, { headers: API })).status, 200);
        assert.equal(origin.requests.length, heard, `${name} kept no /public/${kind}`);
      }
    } finally {
      await cache.stop();
    }
  });
}
