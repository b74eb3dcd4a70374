// A visitor's whole journey in a real browser: the protected website, the login page, both ways of signing in, and back.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { PASSWORD } from "../../scripts/seed.mjs";
import { screenshot, startChromium } from "../harness/chromium.mjs";
import { startDemo } from "../harness/demo.mjs";

let demo;
let browser;
before(async () => {
  demo = await startDemo();
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
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  page.on("pageerror", (error) => problems.push(String(error)));
  return { context, page, problems };
}

async function signIn(page, email, password = PASSWORD) {
  await page.fill("input[name=email]", email);
  await page.fill("input[name=password]", password);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
}

test("with a password, and back to the deep link", async () => {
  const { context, page, problems } = await visitor();
  await page.goto(`${demo.website}/reports/2026?view=a%2Fb&x=1`);
  assert.equal(new URL(page.url()).origin, demo.auth);
  assert.equal(await page.title(), "Sign in · Doorward demo");
  await screenshot(page, "login");

  await signIn(page, "bob@example.com", "wrong password");
  assert.match(await page.textContent("[role=alert]"), /Invalid email or password/);
  assert.equal(await page.inputValue("input[name=email]"), "bob@example.com");
  await screenshot(page, "login-wrong-password");

  await signIn(page, "bob@example.com");
  assert.equal(page.url(), `${demo.website}/reports/2026?view=a%2Fb&x=1`);
  assert.equal(await page.textContent("#email"), "bob@example.com");
  assert.equal(await page.textContent("#roles"), "member");
  await screenshot(page, "website");

  const answer = await page.goto(`${demo.website}/admin`);
  assert.equal(answer.status(), 403);
  await screenshot(page, "forbidden");
  assert.equal((await page.goto(`${demo.website}/internal`)).status(), 403);
  assert.equal((await page.goto(`${demo.website}/public/about`)).status(), 200);

  // No cookie of ours is within a script's reach, and the website never sees one.
  assert.equal(await page.evaluate("document.cookie"), "");
  const cookies = await context.cookies(demo.website);
  assert.ok(
    cookies.every((cookie) => cookie.httpOnly && cookie.sameSite === "Lax"),
    JSON.stringify(cookies),
  );

  await page.click("text=Sign out");
  await screenshot(page, "sign-out");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.goto(`${demo.website}/`);
  assert.equal(new URL(page.url()).pathname, "/login");
  // The page where the wrong password was typed and the refusals were meant to be errors.
  assert.deepEqual(
    problems.filter((text) => !/status of (401|403)/.test(text)),
    [],
  );
  await context.close();
});

test("an administrator sees the administrators' page", async () => {
  const { context, page } = await visitor({ colorScheme: "dark" });
  await page.goto(`${demo.website}/admin`);
  await screenshot(page, "login-dark");
  await signIn(page, "alice@example.com");
  assert.equal(page.url(), `${demo.website}/admin`);
  assert.equal(await page.textContent("#admin"), "For administrators only.");
  await context.close();
});

test("through the OpenID Provider", async () => {
  const { context, page } = await visitor();
  await page.goto(`${demo.website}/reports`);
  await page.click("text=Sign in with the demo provider");
  assert.equal(new URL(page.url()).origin, demo.provider.issuer);
  await page.fill("input[name=login]", "carol");
  await page.fill("input[name=password]", "any");
  await page.click("button[type=submit]");
  await page.click("button[type=submit]");
  await page.waitForURL(`${demo.website}/reports`);
  assert.equal(await page.textContent("#email"), "carol@example.org");
  assert.equal(await page.textContent("#roles"), "member");
  await screenshot(page, "website-upstream");
  await context.close();
});

test("cancelled at the OpenID Provider", async () => {
  const { context, page } = await visitor();
  await page.goto(`${demo.website}/reports`);
  await page.click("text=Sign in with the demo provider");
  await page.click("text=Cancel");
  assert.equal(new URL(page.url()).origin, demo.auth);
  assert.match(await page.textContent("h1"), /cancelled/);
  await screenshot(page, "cancelled");
  await context.close();
});

test("creating an account without JavaScript", async () => {
  const { context, page } = await visitor({ javaScriptEnabled: false });
  await page.goto(`${demo.website}/welcome?a=1`);
  await page.click("text=Create one");
  await screenshot(page, "sign-up");
  await page.fill("input[name=name]", "Dora");
  await page.fill("input[name=email]", "dora@example.com");
  await page.fill("input[name=password]", "a password of hers");
  await page.click("button");
  assert.equal(page.url(), `${demo.website}/welcome?a=1`);
  assert.equal(await page.textContent("#email"), "dora@example.com");
  await page.goto(`${demo.auth}/account`);
  await screenshot(page, "account");
  await context.close();
});

test("a forgotten password", async () => {
  const { context, page, problems } = await visitor();
  await page.goto(`${demo.website}/reports`);
  await page.click("text=Forgot your password?");
  await page.fill("input[name=email]", "bob@example.com");
  await screenshot(page, "forgot");
  await page.click("button");
  assert.match(await page.textContent("main"), /on its way/);
  await page.goto(`${demo.auth}/dev/mailbox?to=bob@example.com`);
  await screenshot(page, "mailbox");
  await page.click("a[href*=reset-password]");
  await page.fill("input[name=newPassword]", "a new password of his");
  await screenshot(page, "reset");
  await page.click("button");
  assert.match(await page.textContent("h1"), /Your password is set/);
  await page.goto(`${demo.website}/reports`);
  await signIn(page, "bob@example.com", "a new password of his");
  assert.equal(page.url(), `${demo.website}/reports`);
  assert.deepEqual(problems, []);
  await context.close();
});
