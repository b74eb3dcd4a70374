// Passkeys and second factors in a real browser: with the published client and @simplewebauthn/browser in an SPA, and on
// the hosted pages. Chromium's virtual authenticator holds the keys.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { build } from "esbuild";
import * as OTPAuth from "otpauth";
import { uniqueEmail } from "../harness/browser.mjs";
import { screenshot, startChromium } from "../harness/chromium.mjs";
import { freePort, startWorker } from "../harness/worker.mjs";

const PASSWORD = "a long password";
let worker;
let browser;
let spa;
let auth;
let app;

before(async () => {
  const port = await freePort();
  auth = `http://localhost:${port}`;
  const script = await build({
    stdin: {
      contents: `
        import { createAuthClient } from "better-auth/client";
        import { passkeyClient } from "@better-auth/passkey/client";
        import { startAuthentication, startRegistration } from "@simplewebauthn/browser";
        globalThis.auth = createAuthClient({ baseURL: ${JSON.stringify(auth)}, plugins: [passkeyClient()] });
        globalThis.webauthn = { startAuthentication, startRegistration };`,
      resolveDir: import.meta.dirname,
    },
    bundle: true,
    format: "esm",
    write: false,
  });
  spa = createServer((request, response) => {
    if (request.url === "/app.js") response.setHeader("content-type", "text/javascript").end(script.outputFiles[0].text);
    else
      response
        .setHeader("content-type", "text/html")
        .end(`<!doctype html><link rel="icon" href="data:,"><title>SPA</title><script type="module" src="/app.js"></script>`);
  }).listen(0, "127.0.0.1");
  await once(spa, "listening");
  app = `http://localhost:${spa.address().port}`;
  worker = await startWorker({ port, settings: { AUTH_ORIGIN: auth, TRUSTED_ORIGINS: app, LIMIT_MAIL: "1000/60" } });
  browser = await startChromium();
});
after(async () => {
  await browser?.close();
  await worker?.dispose();
  spa?.close();
});

/** A page, and the virtual authenticator behind it. */
async function visitor({ offers = false } = {}) {
  const context = await browser.newContext();
  // The virtual authenticator takes what the browser offers at once, before anybody can press a button.
  if (!offers) await context.addInitScript(() => delete PublicKeyCredential.isConditionalMediationAvailable);
  context.setDefaultTimeout(10_000);
  const page = await context.newPage();
  const problems = [];
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  page.on("pageerror", (error) => problems.push(String(error)));
  const cdp = await context.newCDPSession(page);
  await cdp.send("WebAuthn.enable");
  const { authenticatorId } = await cdp.send("WebAuthn.addVirtualAuthenticator", {
    options: {
      protocol: "ctap2",
      transport: "internal",
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
  return { context, page, problems, cdp, authenticatorId };
}

const button = (page, name) => page.getByRole("button", { name, exact: true });
const mail = async (to) => (await worker.browser().get(`${auth}/dev/mailbox?to=${to}`)).json[0].text;
const code = (seed, drift = 0) =>
  new OTPAuth.TOTP({ secret: OTPAuth.Secret.fromBase32(seed) }).generate({ timestamp: Date.now() + drift * 30_000 });

async function signUpOnPage(page) {
  const email = uniqueEmail();
  await page.goto(`${auth}/sign-up`);
  await page.fill("input[name=name]", "Ada");
  await page.fill("input[name=email]", email);
  await page.fill("input[name=password]", PASSWORD);
  await button(page, "Create account").click();
  await page.waitForURL(`${auth}/account`);
  return email;
}

test("an SPA with the published client: a passkey added, listed, named, used, and taken away", async () => {
  const { context, page, problems, cdp, authenticatorId } = await visitor();
  await page.goto(app);
  const email = uniqueEmail();
  const added = await page.evaluate(
    async ({ email, password }) => {
      await auth.signUp.email({ email, password, name: "Ada" });
      return auth.passkey.addPasskey({ name: "Laptop" });
    },
    { email, password: PASSWORD },
  );
  assert.equal(added.error ?? null, null, JSON.stringify(added));
  assert.deepEqual([added.data.name, added.data.backedUp, added.data.transports], ["Laptop", false, "internal"]);
  const { credentials } = await cdp.send("WebAuthn.getCredentials", { authenticatorId });
  assert.deepEqual([credentials.length, credentials[0].isResidentCredential, credentials[0].rpId], [1, true, "localhost"]);

  // The authenticator has one already, and says so.
  const again = await page.evaluate(() => auth.passkey.addPasskey({}));
  assert.equal(again.error.code, "ERROR_AUTHENTICATOR_PREVIOUSLY_REGISTERED");
  const signedIn = await page.evaluate(async () => {
    await auth.signOut();
    return [await auth.signIn.passkey(), await auth.getSession()];
  });
  assert.equal(signedIn[0].error ?? null, null, JSON.stringify(signedIn[0]));
  assert.equal(signedIn[1].data.user.email, email);
  const [row] = await worker.rows("select amr, login_method from session order by created_at desc limit 1");
  assert.deepEqual([JSON.parse(row.amr), row.login_method], [["pop", "user", "mfa"], "passkey"]);

  const renamed = await page.evaluate(async () => {
    const { data } = await auth.$fetch("/passkey/list-user-passkeys", { method: "GET" });
    await auth.passkey.updatePasskey({ id: data[0].id, name: "Phone" });
    const after = await auth.$fetch("/passkey/list-user-passkeys", { method: "GET" });
    await auth.passkey.deletePasskey({ id: data[0].id });
    return [data, after.data, (await auth.$fetch("/passkey/list-user-passkeys", { method: "GET" })).data];
  });
  assert.deepEqual(
    renamed.map((list) => list.map(({ name }) => name)),
    [["Laptop"], ["Phone"], []],
  );
  const gone = await page.evaluate(async () => {
    await auth.signOut();
    return auth.signIn.passkey();
  });
  assert.equal(gone.error.code, "PASSKEY_NOT_FOUND");
  assert.deepEqual(
    problems.filter((problem) => !/40[01]/.test(problem)),
    [],
  );
  await context.close();
});

test("@simplewebauthn/browser by itself: both ceremonies, and a counter that goes back", async () => {
  const { context, page, cdp, authenticatorId } = await visitor();
  await page.goto(app);
  const email = uniqueEmail();
  const [registered, signedIn] = await page.evaluate(
    async ({ base, email, password }) => {
      const call = async (path, body) => {
        const init = {
          credentials: "include",
          ...(body && { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
        };
        const answer = await fetch(`${base}/api/auth${path}`, init);
        return { status: answer.status, body: await answer.json() };
      };
      globalThis.call = call;
      await call("/sign-up/email", { email, password, name: "Ada" });
      const creation = await call("/passkey/generate-register-options");
      const registered = await call("/passkey/verify-registration", {
        response: await webauthn.startRegistration({ optionsJSON: creation.body }),
      });
      await call("/sign-out", {});
      const request = await call("/passkey/generate-authenticate-options");
      return [
        registered,
        await call("/passkey/verify-authentication", { response: await webauthn.startAuthentication({ optionsJSON: request.body }) }),
      ];
    },
    { base: auth, email, password: PASSWORD },
  );
  assert.equal(registered.status, 200, JSON.stringify(registered));
  assert.deepEqual([signedIn.status, signedIn.body.user.email], [200, email]);
  // A copy of the authenticator would be behind.
  const {
    credentials: [credential],
  } = await cdp.send("WebAuthn.getCredentials", { authenticatorId });
  await worker.d1.prepare("update passkey set counter = 1000 where credential_id = ?").bind(registered.body.credentialID).run();
  const copied = await page.evaluate(async () => {
    const request = await call("/passkey/generate-authenticate-options");
    return call("/passkey/verify-authentication", { response: await webauthn.startAuthentication({ optionsJSON: request.body }) });
  });
  assert.deepEqual([copied.status, copied.body.code, credential.signCount < 1000], [400, "AUTHENTICATION_FAILED", true]);
  const [event] = await worker.rows("select severity, details from audit_event where event = 'passkey.counter_went_back'");
  assert.deepEqual([event.severity, JSON.parse(event.details).stored], ["high", 1000]);
  await context.close();
});

test("the hosted pages: a passkey added in the account, and used at the login", async () => {
  const { context, page, problems } = await visitor();
  const email = await signUpOnPage(page);
  await page.fill("form[data-register] input[name=name]", "My laptop");
  await button(page, "Add a passkey").click();
  await page.getByText("My laptop").waitFor();
  await screenshot(page, "account-passkey");
  await button(page, "Sign out").click();
  await page.waitForURL(`${auth}/login?signed_out=true`);
  await screenshot(page, "login-passkey");
  await button(page, "Sign in with a passkey").click();
  await page.waitForURL(`${auth}/account`);
  assert.match(await page.textContent("dl"), new RegExp(email));
  await button(page, "Remove").click();
  await page.getByText("My laptop").waitFor({ state: "detached" });
  assert.deepEqual(problems, []);
  await context.close();
});

test("the login page offers passkeys where passwords are typed, without being asked (conditional UI)", async () => {
  const { context, page, problems } = await visitor({ offers: true });
  const email = await signUpOnPage(page);
  await button(page, "Add a passkey").click();
  await page.locator("form.line").waitFor();
  await context.clearCookies();
  await page.goto(`${auth}/login?continue=/account`);
  await page.waitForURL(`${auth}/account`);
  assert.match(await page.textContent("dl"), new RegExp(email));
  assert.deepEqual(problems, []);
  await context.close();
});

test("the hosted pages: two steps set up by QR code, asked for, and a browser trusted", async () => {
  const { context, page, problems } = await visitor();
  const email = await signUpOnPage(page);
  // Codes are mailed to proven addresses only.
  await page.goto((await mail(email)).match(/https?:\S+/)[0]);
  await button(page, "Yes, this address is mine").click();
  await page.getByText("is confirmed").first().waitFor();
  await page.goto(`${auth}/account`);
  await page.getByRole("link", { name: "change" }).click();
  await page.fill("input[name=password]", "wrong password");
  await button(page, "Set up an authenticator app").click();
  assert.match(await page.textContent("[role=alert]"), /This is not your password/);
  await page.fill("input[name=password]", PASSWORD);
  await button(page, "Set up an authenticator app").click();
  await page.locator("svg.qr").waitFor();
  const seed = (await page.textContent("p code")).replaceAll(" ", "").toUpperCase();
  const codes = await page.locator(".codes code").allTextContents();
  assert.equal(codes.length, 10);
  await screenshot(page, "two-step-setup");
  await page.fill("input[name=code]", "000000");
  await button(page, "Switch it on").click();
  assert.match(await page.textContent("[role=alert]"), /not the code/);
  await page.fill("input[name=code]", code(seed, -1));
  await button(page, "Switch it on").click();
  await page.getByText("It is on, with an authenticator app.").waitFor();

  const logIn = async () => {
    await page.goto(`${auth}/login?continue=/account`);
    await page.fill("input[name=email]", email);
    await page.fill("input[name=password]", PASSWORD);
    await button(page, "Sign in").click();
  };
  await page.goto(`${auth}/account`);
  await button(page, "Sign out").click();
  await logIn();
  await page.waitForURL(`${auth}/second-factor**`);
  await screenshot(page, "second-factor");
  await page.fill("input[name=code]", "000000");
  await button(page, "Go on").click();
  assert.match(await page.textContent("[role=alert]"), /not the code/);
  await page.fill("input[name=code]", code(seed, 0));
  await page.check("input[name=trustDevice]");
  await button(page, "Go on").click();
  await page.waitForURL(`${auth}/account`);
  await button(page, "Sign out").click();
  await logIn();
  await page.waitForURL(`${auth}/account`);
  await button(page, "Forget trusted browsers (1)").click();
  await button(page, "Sign out").click();
  await logIn();
  await page.fill("input[name=code]", codes[0].toLowerCase());
  await button(page, "Go on").click();
  await page.waitForURL(`${auth}/account`);
  await button(page, "Sign out").click();
  await logIn();
  await button(page, "Mail me a code").click();
  await page.getByText("A code is on its way").waitFor();
  await page.fill("input[name=code]", (await mail(email)).match(/\b\d{6}\b/)[0]);
  await button(page, "Go on").click();
  await page.waitForURL(`${auth}/account`);
  assert.deepEqual(
    problems.filter((problem) => !/status of 40[01]/.test(problem)),
    [],
  );
  await context.close();
});

test("a sign-in link from the login page", async () => {
  const { context, page } = await visitor();
  const email = uniqueEmail();
  await page.goto(`${auth}/login`);
  await page.fill("input[name=email]", email);
  await button(page, "Mail me a sign-in link").click();
  await page.getByText("a mail is on its way").waitFor();
  await page.goto((await mail(email)).match(/https?:\S+/)[0]);
  await button(page, "Sign in").click();
  await page.waitForURL(`${auth}/account`);
  assert.match(await page.textContent("dl"), new RegExp(email));
  await context.close();
});
