// Signing in to other software in a real browser: the login, the question, the form that posts itself, and a device.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { screenshot, startChromium } from "../harness/chromium.mjs";
import { PASSWORD, signUp } from "../harness/seed.mjs";
import { freePort, startWorker } from "../harness/worker.mjs";

let worker, browser, auth, party, redirect, received;
before(async () => {
  const port = await freePort();
  auth = `http://localhost:${port}`;
  party = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    const { pathname, searchParams } = new URL(request.url, redirect);
    if (pathname === "/cb")
      received = {
        method: request.method,
        parameters: Object.fromEntries(body ? new URLSearchParams(body) : searchParams),
        referer: request.headers.referer,
      };
    response
      .setHeader("content-type", "text/html")
      .end(`<!doctype html><link rel="icon" href="data:,"><title>The wiki</title><h1>Welcome to the wiki</h1>`);
  }).listen(0, "127.0.0.1");
  await once(party, "listening");
  redirect = `http://localhost:${party.address().port}/cb`;
  worker = await startWorker({ port, settings: { AUTH_ORIGIN: auth, TRUSTED_ORIGINS: null } });
  browser = await startChromium();
});
after(async () => {
  await browser?.close();
  await worker?.dispose();
  party?.close();
});

async function register(metadata) {
  const admin = await signUp(worker, { roles: ["admin"], host: auth });
  const made = await admin.browser.post(`${auth}/api/auth/admin/oauth2/create-client`, {
    client_name: "The wiki",
    redirect_uris: [redirect],
    ...metadata,
  });
  assert.equal(made.status, 201, made.text);
  return made.json;
}
const ask = (path, client, form) =>
  worker.browser().send("POST", `${auth}/oauth2/${path}`, {
    headers: {
      "content-type": "application/x-www-form-urlencoded",
      authorization: `Basic ${Buffer.from(`${client.client_id}:${client.client_secret}`).toString("base64")}`,
    },
    body: new URLSearchParams(form).toString(),
  });
const token = (client, form) => ask("token", client, form);

for (const mode of ["query", "form_post"]) {
  test(`somebody signs in to a wiki, and is asked first (${mode})`, async () => {
    const client = await register({ resources: ["https://api.example/"] });
    const who = await signUp(worker, { host: auth });
    const verifier = randomBytes(32).toString("base64url");
    const query = new URLSearchParams({
      client_id: client.client_id,
      response_type: "code",
      redirect_uri: redirect,
      scope: "openid profile email",
      resource: "https://api.example/",
      state: "s",
      response_mode: mode,
      code_challenge: createHash("sha256").update(verifier).digest("base64url"),
      code_challenge_method: "S256",
      login_hint: who.email,
    });
    const page = await (await browser.newContext()).newPage();
    const problems = [];
    page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
    await page.goto(`${auth}/oauth2/authorize?${query}`);
    assert.equal(await page.inputValue('input[name="email"]'), who.email);
    await page.fill('input[name="password"]', PASSWORD);
    await page.click('button:has-text("Sign in") >> nth=0');
    await page.waitForURL(/\/consent/);
    assert.match(
      await page.textContent("body"),
      /The wiki wants to:.*Know who you are.*See your name and picture.*See your e-mail address.*Use https:\/\/api\.example\/ in your name/s,
    );
    await screenshot(page, "consent");
    received = undefined;
    await page.click('button[value="allow"]');
    await page.waitForURL(/\/cb/);
    assert.equal(await page.textContent("h1"), "Welcome to the wiki");
    assert.deepEqual([received.method, received.parameters.state, received.parameters.iss], [mode === "query" ? "GET" : "POST", "s", auth]);
    const got = await token(client, {
      grant_type: "authorization_code",
      code: received.parameters.code,
      redirect_uri: redirect,
      code_verifier: verifier,
    });
    assert.equal(got.status, 200, got.text);
    // They see what they agreed to, and take it back.
    const isActive = async () => (await ask("introspect", client, { token: got.json.access_token })).json.active;
    assert.equal(await isActive(), true);
    await page.goto(`${auth}/account`);
    await screenshot(page, "account-applications");
    assert.match(await page.textContent('form[action="/account/consents/withdraw"]'), /The wiki.*See your e-mail address/s);
    await page.click('button:has-text("Withdraw")');
    await page.waitForFunction(() => !document.querySelector('form[action="/account/consents/withdraw"]'));
    assert.equal(await isActive(), false, "and what it had is worth nothing");
    assert.deepEqual(problems, [], "our own policies are in our way");
    await page.context().close();
  });
}

test("a device is connected", async () => {
  const client = await register({
    redirect_uris: [],
    grant_types: ["urn:ietf:params:oauth:grant-type:device_code"],
    client_name: "A television",
  });
  const who = await signUp(worker, { host: auth });
  const begun = (
    await worker.browser().send("POST", `${auth}/oauth2/device_authorization`, {
      headers: {
        "content-type": "application/x-www-form-urlencoded",
        authorization: `Basic ${Buffer.from(`${client.client_id}:${client.client_secret}`).toString("base64")}`,
      },
      body: "scope=openid",
    })
  ).json;
  const page = await (await browser.newContext()).newPage();
  await page.goto(begun.verification_uri);
  await page.fill('input[name="email"]', who.email);
  await page.fill('input[name="password"]', PASSWORD);
  await page.click('button:has-text("Sign in") >> nth=0');
  await page.waitForURL(/\/device/);
  await page.fill('input[name="user_code"]', begun.user_code.toLowerCase().replace("-", " "));
  await page.click('button:has-text("Continue")');
  assert.match(await page.textContent("body"), new RegExp(begun.user_code));
  await screenshot(page, "device");
  await page.click('button[value="allow"]');
  assert.match(await page.textContent("body"), /The device is connected/);
  const got = await token(client, { grant_type: "urn:ietf:params:oauth:grant-type:device_code", device_code: begun.device_code });
  assert.equal(got.status, 200, got.text);
  await page.context().close();
});

test("signing out by a client loads the front channels of the session's clients, and goes on", async () => {
  const origin = new URL(redirect).origin;
  const heard = [];
  party.on("request", (request) => request.url.startsWith("/signed-out") && heard.push(new URL(request.url, origin).searchParams));
  const client = await register({
    skip_consent: true,
    frontchannel_logout_uri: `${origin}/signed-out`,
    post_logout_redirect_uris: [`${origin}/bye`],
  });
  const who = await signUp(worker, { host: auth });
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`${auth}/login`);
  await page.fill('input[name="email"]', who.email);
  await page.fill('input[name="password"]', PASSWORD);
  await page.click('button:has-text("Sign in") >> nth=0');
  await page.waitForURL(/\/account/);
  const verifier = randomBytes(32).toString("base64url");
  received = undefined;
  await page.goto(
    `${auth}/oauth2/authorize?${new URLSearchParams({ client_id: client.client_id, response_type: "code", redirect_uri: redirect, scope: "openid", code_challenge: createHash("sha256").update(verifier).digest("base64url"), code_challenge_method: "S256" })}`,
  );
  const got = await token(client, {
    grant_type: "authorization_code",
    code: received.parameters.code,
    redirect_uri: redirect,
    code_verifier: verifier,
  });
  const problems = [];
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  await page.goto(
    `${auth}/oauth2/end_session?${new URLSearchParams({ id_token_hint: got.json.id_token, post_logout_redirect_uri: `${origin}/bye`, state: "s" })}`,
  );
  await page.waitForURL(`${origin}/bye?state=s`);
  assert.deepEqual(
    heard.map((parameters) => Object.fromEntries(parameters)),
    [{ iss: auth, sid: JSON.parse(Buffer.from(got.json.id_token.split(".")[1], "base64url")).sid }],
  );
  assert.deepEqual(problems, [], "our own policies are in our way");
  await page.goto(`${auth}/account`);
  await page.waitForURL(/\/login/);
  await context.close();
});
