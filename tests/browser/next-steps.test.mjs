// Late, repeated and deep: what people do with sign-ins in a real browser, and where they end.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { PASSWORD } from "../../scripts/seed.mjs";
import { screenshot, startChromium } from "../harness/chromium.mjs";
import { startDemo } from "../harness/demo.mjs";

let demo, browser;
before(async () => {
  demo = await startDemo({ settings: { FLOW_SECONDS: "10", SIGN_IN_WITH: "password,passkey,magic-link", LIMIT_MAIL: "1000/60" } });
  browser = await startChromium();
});
after(async () => {
  await browser?.close();
  await demo?.stop();
});

async function visitor(options) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(10_000);
  const page = await context.newPage();
  const problems = [];
  // The demo provider's pages ask for fonts of the internet, and answers of 4xx are what is tested.
  page.on(
    "console",
    (message) => message.type() === "error" && !/^Failed to load resource/.test(message.text()) && problems.push(message.text()),
  );
  page.on("pageerror", (error) => problems.push(String(error)));
  return { context, page, problems };
}

async function signIn(page, password = PASSWORD) {
  await page.fill("input[name=email]", "bob@example.com");
  await page.fill("input[name=password]", password);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
}

const linkIn = (mail) => mail.text.match(/https?:\S+/)[0];
const newest = async (to) => (await demo.worker.browser().get(`${demo.auth}/dev/mailbox?to=${to}`)).json[0];

test("a login page that stood open too long, the callback reloaded, and a sign-in link opened twice", async () => {
  const { context, page, problems } = await visitor();
  await page.goto(`${demo.website}/reports/2026?view=a`);
  await sleep(10_100);
  await signIn(page);
  assert.equal(page.url(), `${demo.website}/reports/2026?view=a`);
  await page.goto(`${demo.website}/.doorward/sign-out`);
  await page.getByRole("button", { name: "Sign out" }).click();
  assert.match(await page.textContent("[role=status]"), /You are signed out/);
  await screenshot(page, "signed-out");
  await page.getByRole("link", { name: /^Back to/ }).click();
  assert.equal(new URL(page.url()).pathname, "/login");

  // Through the provider; the callback is kept, as the history of a browser keeps it.
  let callback;
  page.on("request", (request) => {
    if (request.url().includes("/api/auth/callback/")) callback ??= request.url();
  });
  await page.goto(`${demo.website}/reports`);
  await page.click("text=Sign in with the demo provider");
  await page.fill("input[name=login]", "carol");
  await page.fill("input[name=password]", "any");
  await page.click("button[type=submit]");
  await page.click("button[type=submit]");
  await page.waitForURL(`${demo.website}/reports`);
  await page.goto(callback);
  assert.equal(page.url(), `${demo.website}/reports`);
  assert.equal(await page.textContent("#email"), "carol@example.org");

  await page.goto(`${demo.auth}/login?again=true`);
  await page.fill("input[name=email]", "bob@example.com");
  await page.getByRole("button", { name: "Mail me a sign-in link" }).click();
  await page.getByText("a mail is on its way").waitFor();
  const link = linkIn(await newest("bob@example.com"));
  await page.goto(link);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL(/\/account$/);
  await page.goto(link);
  assert.match(await page.textContent("main"), /has been used or is too old.*You are signed in as bob@example.com/s);
  await screenshot(page, "spent-link");
  await page.getByRole("link", { name: "Continue" }).click();
  assert.equal(page.url(), `${demo.auth}/account`);
  const other = await visitor();
  await other.page.goto(link);
  await screenshot(other.page, "spent-link-signed-out");
  await other.page.getByRole("link", { name: /^Ask for a new link/ }).click();
  assert.equal(new URL(other.page.url()).pathname, "/login");
  await other.context.close();
  assert.deepEqual(problems, []);
  await context.close();
});

const DEEP = "/reports?x=1#/route/7?tab=b%20c&z=\u00e4\\d";
const hashOf = async (page) => new URL(page.url()).hash;

test("what stands after # in an address is kept through every way of signing in but a mailed link", async () => {
  const WAYS = {
    "a password": (page) => signIn(page),
    "a password that was wrong first": async (page) => {
      await signIn(page, "wrong password");
      await signIn(page);
    },
    "the provider": async (page) => {
      await page.click("text=Sign in with the demo provider");
      await page.fill("input[name=login]", "carol");
      await page.fill("input[name=password]", "any");
      await page.click("button[type=submit]");
      await page.click("button[type=submit]");
    },
    "a mailed link": async (page) => {
      await page.fill("input[name=email]", "bob@example.com");
      await page.getByRole("button", { name: "Mail me a sign-in link" }).click();
      await page.getByText("a mail is on its way").waitFor();
      await page.goto(linkIn(await newest("bob@example.com")));
      await page.getByRole("button", { name: "Sign in" }).click();
    },
    "a new account": async (page) => {
      await page.click("text=Create one");
      await page.fill("input[name=name]", "Eva");
      await page.fill("input[name=email]", `eva${Date.now()}@example.com`);
      await page.fill("input[name=password]", "a password of hers");
      await page.click("button");
    },
    "a login page that stood open too long": async (page) => {
      await sleep(10_100);
      await signIn(page);
    },
  };
  for (const [name, enter] of Object.entries(WAYS)) {
    const { context, page, problems } = await visitor();
    await page.goto(`${demo.website}${DEEP}`);
    assert.equal(new URL(page.url()).pathname, "/login", name);
    await enter(page);
    await page.waitForURL(/reports\?x=1/);
    assert.equal(page.url().replace(/#.*/, ""), `${demo.website}/reports?x=1`, name);
    // It is for browsers alone, so no mail carries it.
    assert.equal(await hashOf(page), name === "a mailed link" ? "" : "#/route/7?tab=b%20c&z=%C3%A4%5Cd", name);
    assert.deepEqual(problems, [], name);
    await context.close();
  }
  // Signed in at the auth host already: the browser keeps it across redirects by itself.
  const { context, page } = await visitor();
  await page.goto(`${demo.auth}/login`);
  await signIn(page);
  await page.waitForURL(/\/account/);
  await page.goto(`${demo.website}/reports#/a`);
  assert.equal(page.url(), `${demo.website}/reports#/a`);
  await context.close();
});

test("what stands after # goes on to websites alone: not to other software, and not to a page of ours", async () => {
  const { context, page } = await visitor();
  await page.goto(`${demo.auth}/login?continue=/account#/x`);
  await page.waitForLoadState("load");
  assert.equal(await page.inputValue("form[action='/login'] input[name=continue]"), "/account");
  await context.close();
});

test("a page of passkeys tells problems in sentences, and offers to sign in again", async () => {
  const { context, page } = await visitor();
  const cdp = await context.newCDPSession(page);
  await cdp.send("WebAuthn.enable");
  await cdp.send("WebAuthn.addVirtualAuthenticator", {
    options: {
      protocol: "ctap2",
      transport: "internal",
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
  await page.addInitScript(() => delete PublicKeyCredential.isConditionalMediationAvailable);
  await page.goto(`${demo.auth}/login`);
  await signIn(page);
  await page.waitForURL(/\/account/);
  const add = () => page.getByRole("button", { name: "Add a passkey" }).click();
  await add();
  await page.getByRole("button", { name: "Remove" }).waitFor();
  await add();
  await page.getByText("This device has a passkey of your account already.").waitFor();
  await demo.worker.d1.prepare("update session set authenticated_at = 1, created_at = 1").run();
  await page.reload();
  await add();
  await page.getByText("You signed in too long ago to change this.").waitFor();
  await page.getByRole("link", { name: "Sign in again" }).click();
  await signIn(page);
  await page.waitForURL(/\/account/);
  await context.close();
});
