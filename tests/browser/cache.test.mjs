// A browser's own cache: what one person saw in it is not shown to the next one, nor after signing out.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startChromium } from "../harness/chromium.mjs";
import { startOrigin } from "../harness/origin.mjs";
import { PASSWORD, seedApp, signUp } from "../harness/seed.mjs";
import { freePort, startWorker } from "../harness/worker.mjs";

const KINDS = {
  "/cached": { "cache-control": "max-age=600" },
  "/immutable": { "cache-control": "public, max-age=31536000, immutable" },
  "/heuristic": { "last-modified": "Wed, 21 Oct 2015 07:28:00 GMT" },
  "/expires": { expires: "Wed, 21 Oct 2099 07:28:00 GMT" },
};
let origin, worker, browser, auth, website, people;

before(async () => {
  const page =
    (headers) =>
    ({ headers: asked }, response) =>
      response.writeHead(200, { "content-type": "text/html", ...headers }).end(`<p id="who">${asked["x-doorward-email"]}</p>`);
  origin = await startOrigin(Object.fromEntries(Object.entries(KINDS).map(([path, headers]) => [path, page(headers)])));
  const port = await freePort();
  [auth, website] = [`http://localhost:${port}`, `http://app.localhost:${port}`];
  worker = await startWorker({
    port,
    settings: { AUTH_ORIGIN: auth, SESSION_COOKIE_CACHE_SECONDS: "600", SESSION_RECHECK_SECONDS: "600" },
  });
  await seedApp(worker, "app.localhost", { origin: origin.url });
  people = { alice: await signUp(worker, { host: auth }), bob: await signUp(worker, { host: auth }) };
  browser = await startChromium();
});
after(async () => {
  await browser?.close();
  await worker?.dispose();
  await origin?.close();
});

const isLogin = (page) => new URL(page.url()).pathname === "/login";
async function signIn(page, { email }) {
  await page.fill("input[name=email]", email);
  await page.fill("input[name=password]", PASSWORD);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
}
async function visitor() {
  const context = await browser.newContext();
  context.setDefaultTimeout(10_000);
  return { context, page: await context.newPage() };
}
async function openAll(page, who) {
  for (const path of Object.keys(KINDS)) {
    await page.goto(website + path);
    if (isLogin(page)) await signIn(page, who);
    assert.equal(page.url(), website + path);
    assert.equal(await page.textContent("#who"), who.email, path);
  }
}

test("the next person in the same browser sees their own pages", async () => {
  const { context, page } = await visitor();
  await openAll(page, people.alice);
  // The cache does work: what has an end of its own is not asked for again.
  await page.goto(`${website}/cached`);
  const heard = origin.to("/cached").length;
  for (const path of ["/expires", "/cached"]) await page.goto(website + path);
  assert.equal(await page.textContent("#who"), people.alice.email);
  assert.equal(origin.to("/cached").length, heard);

  await page.goto(`${website}/.doorward/sign-out`);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL(/\/login/);
  for (const path of Object.keys(KINDS)) {
    await page.goto(website + path);
    assert.ok(isLogin(page), `${path} is shown to nobody: ${page.url()}`);
  }
  await openAll(page, people.bob);
  await context.close();
});

test("without its cookies a browser shows nothing of before, whatever it kept", async () => {
  const { context, page } = await visitor();
  await openAll(page, people.alice);
  await context.clearCookies();
  for (const path of Object.keys(KINDS)) {
    await page.goto(website + path);
    assert.ok(isLogin(page), `${path} is shown to nobody: ${page.url()}`);
  }
  await openAll(page, people.bob);
  await context.close();
});

test("the way back after signing out shows no page of before", async () => {
  const { context, page } = await visitor();
  await openAll(page, people.alice);
  await page.goto(`${website}/.doorward/sign-out`);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL(/\/login/);
  for (let step = 0; step < 3; step += 1) {
    await page.goBack({ waitUntil: "load" }).catch(() => undefined);
    assert.doesNotMatch(await page.content(), new RegExp(people.alice.email), page.url());
  }
  await context.close();
});
