// Every page of the table of routes, at the auth host and at a website, opened as a browser opens it: by nobody and by users of each
// kind, without parameters, with junk and with values that have expired. Each ends at a page within ten redirects, never in a circle,
// never in JSON, never in 5xx, and an error has a next step that is not the page itself.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { addIssuer, startIssuer } from "../harness/issuer.mjs";
import { startOrigin } from "../harness/origin.mjs";
import { PAGE, seedApp, signUp } from "../harness/seed.mjs";
import { AUTH, DEFAULT_TENANT, startWorker } from "../harness/worker.mjs";
import { authRoutes, websiteRoutes } from "../harness/routes.mjs";

const APP = "http://app.localhost";
const all = [...authRoutes.map((route) => ({ ...route, host: AUTH })), ...websiteRoutes.map((route) => ({ ...route, host: APP }))];
const pages = all.filter(({ surface }) => surface === "Page");

const NAMES = [
  "token",
  "code",
  "state",
  "id",
  "request",
  "request_uri",
  "client_id",
  "user_code",
  "error",
  "continue",
  "return",
  "callbackURL",
  "step",
  "decision",
  "action",
  "email",
  "password",
  "newPassword",
  "name",
  "provider",
  "query",
  "id_token_hint",
  "post_logout_redirect_uri",
];
/** Values that are of no use to anybody, each under every name. */
const JUNK = ["x", "", "A".repeat(43), "/invitation?token=x", "<b>\0"];

let worker, origin, issuer, expired;
before(async () => {
  origin = await startOrigin();
  issuer = await startIssuer();
  worker = await startWorker({
    settings: {
      FLOW_SECONDS: "10",
      SIGN_IN_WITH: "password,passkey,magic-link,anonymous",
      LIMIT_MAIL: "1000/60",
      LIMIT_SIGN_IN: "100000/60",
    },
  });
  await seedApp(worker, "app.localhost", { origin: origin.url });
  await addIssuer(worker.d1, issuer.url);
  expired = await makeExpired();
});
after(async () => {
  await worker?.dispose();
  await origin?.close();
  await issuer?.stop();
});

const api = (path) => `${AUTH}/api/auth${path}`;
const linkTo = async (to, subject) =>
  (await worker.browser().get(`${AUTH}/dev/mailbox?to=${encodeURIComponent(to)}`)).json
    .find((mail) => subject.test(mail.subject))
    .text.match(/https?:\S+/)[0];

/** Parameters that were good once: of each kind of mailed link, of a website's sign-in and of an issuer's. */
async function makeExpired() {
  const urls = {};
  const one = await signUp(worker);
  urls.proof = await linkTo(one.email, /Confirm/);
  await worker.browser().post(api("/sign-in/magic-link"), { email: one.email });
  urls.link = await linkTo(one.email, /sign-in link/);
  await worker.browser().post(api("/request-password-reset"), { email: one.email });
  const reset = new URL(await linkTo(one.email, /password/));
  urls.reset = `${AUTH}/reset-password?token=${reset.pathname.split("/").at(-1)}`;
  await one.browser.post(api("/delete-user"), {});
  urls.deletion = await linkTo(one.email, /Delete/);
  await one.browser.post(api("/change-email"), { newEmail: `new-${one.email}` });
  urls.change = await linkTo(`new-${one.email}`, /new e-mail/);
  const owner = await signUp(worker);
  const made = await owner.browser.post(api("/organization/create"), { name: "Ivy", slug: `ivy-${crypto.randomUUID()}` });
  await owner.browser.post(api("/organization/invite-member"), { email: one.email, role: "member", organizationId: made.json.id });
  urls.invitation = await linkTo(one.email, /^You are invited/);
  urls.gate = (await worker.browser().get(`${APP}/deep`, { headers: PAGE })).location;
  const state = encodeURIComponent(new URL(urls.gate).searchParams.get("request"));
  urls.website = `${APP}/.doorward/callback?code=${"A".repeat(43)}&state=${state}`;
  const begun = await one.browser.post(api("/sign-in/social"), { provider: "acme", callbackURL: "/account" });
  urls.issuer = (await fetch(begun.json.url, { redirect: "manual" })).headers.get("location");
  for (const name of ["verification", "password_reset", "invitation"])
    await worker.d1.prepare(`update ${name} set expires_at = created_at + 1`).run();
  await sleep(10_100);
  return urls;
}

const escaped = (text) => text.replaceAll("&quot;", '"').replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
/** Where a page's links and forms lead. */
const waysOn = (text, url) =>
  [...text.matchAll(/<(?:a|form)\b[^>]*?\b(?:href|action)="([^"]*)"/g)].map(([, address]) => new URL(escaped(address), url));

/** Follows an answer to its end, as a browser does. What is wrong with it is added to `faults`. */
async function follow(browser, answer, url, label, faults) {
  const trail = [url];
  while (answer.status >= 300 && answer.status < 400) {
    const next = new URL(answer.location, url).href;
    if (!new URL(next).hostname.endsWith("localhost")) return;
    if (trail.slice(1).includes(next)) return void faults.push(`${label}: a circle: ${trail.join(" → ")} → ${next}`);
    trail.push(next);
    if (trail.length > 11) return void faults.push(`${label}: more than ten redirects: ${trail.join(" → ")}`);
    answer = await browser.get(next, { headers: PAGE });
    url = next;
  }
  const said = `${label}: ${answer.status} at ${url.slice(0, 150)}`;
  // Of a website that stands behind us is what it says itself.
  if (new URL(url).host === "app.localhost" && !new URL(url).pathname.startsWith("/.doorward")) return;
  if (answer.status >= 500) return void faults.push(`${said}: ${answer.text.slice(0, 200)}`);
  if (/\.(css|js)$/.test(new URL(url).pathname) && answer.status === 200) return;
  if (!/^text\/html/.test(answer.headers["content-type"] ?? ""))
    return void faults.push(`${said}: ${answer.headers["content-type"]} ${answer.text.slice(0, 200)}`);
  if (/\[body\.[^\]]*\] (?!Invalid|Too)|^\s*\{/.test(answer.text)) faults.push(`${said}: words of a program`);
  const itself = new URL(url);
  const on = waysOn(answer.text, url);
  if (answer.status >= 400 && !on.some((way) => way.host !== itself.host || way.pathname !== itself.pathname))
    faults.push(`${said}: no way on but ${on.join()}`);
}

async function walk(browser, { method, path, host }, query, label, faults) {
  const filled = path.replace(/:\w+/, path.includes("callback") ? "acme" : "x");
  const url = method === "GET" ? `${host}${filled}${query && `?${query}`}` : `${host}${filled}`;
  const answer =
    method === "GET"
      ? await browser.get(url, { headers: PAGE })
      : await browser.submit(url, Object.fromEntries(new URLSearchParams(query)), { headers: PAGE });
  await follow(browser, answer, url, `${method} ${path} ${label}`, faults);
}

const policy = (text) => worker.d1.prepare("update tenant set security_policy = json(?) where id = ?").bind(text, DEFAULT_TENANT).run();

/** The browsers that the pages are opened in. */
const WHO = {
  nobody: async () => worker.browser(),
  /** At the auth host and at the website. */
  "somebody who is signed in": async () => {
    const { browser } = await signUp(worker);
    await browser.open(`${APP}/`);
    return browser;
  },
  "a guest": async () => {
    const browser = worker.browser();
    assert.equal((await browser.post(api("/sign-in/anonymous"), {})).status, 200);
    return browser;
  },
  "somebody who must set up a second factor": async () => {
    await policy('{"session":{"requireMFA":true}}');
    return (await signUp(worker)).browser;
  },
};
const signsOut = ({ method, path }) => method === "POST" && /sign-out|end_session\/confirm/.test(path);

test("the table of routes is read whole", () => {
  assert.ok(pages.length > 55, String(pages.length));
});

for (const [who, open] of Object.entries(WHO)) {
  test(`every page leads on: ${who}`, async () => {
    const faults = [];
    let browser = await open();
    for (const route of pages) {
      const queries = [
        ["without parameters", ""],
        ...JUNK.map((junk) => [JSON.stringify(junk.slice(0, 20)), new URLSearchParams(NAMES.map((name) => [name, junk])).toString()]),
      ];
      queries.push(["with an issuer's error", "error=access_denied&state=x"], ["again", "again=true&continue=/login"]);
      for (const [kind, query] of queries) {
        await walk(browser, route, query, `by ${who}, ${kind}`, faults);
        if (signsOut(route)) browser = await open();
      }
    }
    await policy("{}");
    assert.deepEqual(faults, []);
  });

  test(`every value that has expired leads on: ${who}`, async () => {
    const faults = [];
    const browser = await open();
    for (const [kind, url] of Object.entries(expired)) {
      await follow(browser, await browser.get(url, { headers: PAGE }), url, `the link "${kind}" by ${who}`, faults);
      const { host, pathname, search } = new URL(url);
      // Under every page, since a link may be cut or changed on its way; and by the form of its own.
      for (const route of pages) {
        const isOwn = new URL(route.host).host === host && route.path.replace(/:\w+/, "acme") === pathname;
        if (route.method === "GET" || isOwn) await walk(browser, route, search.slice(1), `with the expired "${kind}" by ${who}`, faults);
      }
    }
    await policy("{}");
    assert.deepEqual(faults, []);
  });
}

test("an endpoint for scripts that is opened in a browser shows a page where it has an error", async () => {
  const faults = [];
  for (const [who, open] of Object.entries(WHO)) {
    const browser = await open();
    for (const route of all.filter(({ method, surface }) => method === "GET" && surface === "Api")) {
      const url = `${route.host}${route.path.replace(/:\w+/, "x")}?token=x`;
      const answer = await browser.get(url, { headers: PAGE });
      if (answer.status < 300 && /json/.test(answer.headers["content-type"])) continue;
      await follow(browser, answer, url, `GET ${route.path} by ${who}`, faults);
    }
    await policy("{}");
  }
  assert.deepEqual(faults, []);
});
