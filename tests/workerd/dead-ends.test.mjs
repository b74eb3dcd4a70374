// Flows that are late, repeated, opened in another browser or in many tabs: each starts again by itself, or ends at a page
// that says what happened and offers a next step. A browser never sees JSON.

import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startOrigin } from "../harness/origin.mjs";
import { API, PAGE, logIn, seedApp, seedDomain, seedTenant, signUp, upToCallback, visit } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const APP = "http://app.localhost";
let worker, origin;

before(async () => {
  origin = await startOrigin();
  worker = await startWorker({ settings: { FLOW_SECONDS: "10" } });
  await seedApp(worker, "app.localhost", { origin: origin.url });
});
after(async () => {
  await worker?.dispose();
  await origin?.close();
});

/** A page that leads on: it has a link or a form. */
function leadsOn(answer, name) {
  assert.match(answer.headers["content-type"] ?? "", /^text\/html/, `${name}: ${answer.status} ${answer.text}`);
  assert.match(answer.text, /<a [^>]*href=|<form /, `${name} has no next step`);
}

test("a login page that stood open too long still leads to the deep link", async () => {
  const { browser, email } = await signUp(worker);
  await browser.submit(`${AUTH}/sign-out`, {});
  const login = await visit(browser, `${APP}/deep?x=1`);
  await sleep(10_100);
  const page = await logIn(browser, login, email);
  assert.deepEqual([page.status, page.url], [200, `${APP}/deep?x=1`]);
});

test("a login page that was bookmarked, or opened in another browser, leads to the deep link", async () => {
  const login = await visit(worker.browser(), `${APP}/deep`);
  const other = await signUp(worker);
  assert.equal((await visit(other.browser, login.url)).url, `${APP}/deep`, "in time, signed in");
  await sleep(10_100);
  const late = await signUp(worker);
  assert.equal((await visit(late.browser, login.url)).url, `${APP}/deep`, "late, signed in");
  await late.browser.submit(`${AUTH}/sign-out`, {});
  const page = await logIn(late.browser, await visit(late.browser, login.url), late.email);
  assert.equal(page.url, `${APP}/deep`, "late, signed out");
});

test("a callback opened in another browser signs that browser's own user in", async () => {
  const [one, two] = [await signUp(worker), await signUp(worker)];
  const { href } = await upToCallback(one, APP, "/deep");
  assert.equal((await visit(two.browser, href)).url, `${APP}/deep`);
  assert.equal((await two.browser.get(`${APP}/.doorward/me`)).json.user.id, two.id);
});

test("a browser that keeps no cookies is told on a page, and does not go in circles", async () => {
  const person = await signUp(worker);
  const without = { headers: PAGE, keepCookies: false };
  let url = `${APP}/deep`;
  let answer;
  for (let steps = 0; steps < 12; steps++) {
    answer = await person.browser.get(url, without);
    if (!answer.location) break;
    url = new URL(answer.location, url).href;
  }
  assert.equal(answer.status, 400);
  leadsOn(answer, "without cookies");
});

test("tabs that ask at the same moment each end at their page, with few cookies", async () => {
  const { browser } = await signUp(worker);
  const paths = Array.from({ length: 20 }, (_, at) => `/tab${at}`);
  const begun = await Promise.all(paths.map((path) => browser.get(APP + path, { headers: PAGE })));
  for (const [at, { location }] of begun.entries()) assert.equal((await visit(browser, location)).url, APP + paths[at]);
  const names = [...browser.cookies("app.localhost").keys()].filter((name) => name.includes(".gate"));
  assert.ok(names.length >= 1 && names.length <= 8, String(names));
});

test("what stands after # in the way back goes into no mail, and a front-end's own does", async () => {
  const person = await signUp(worker);
  const login = await visit(worker.browser(), `${APP}/document`);
  const target = login.text.match(/name="continue" value="([^"]*)"/)[1].replaceAll("&amp;", "&");
  const mailed = async (mail) => {
    await mail();
    return (await worker.browser().get(`${AUTH}/dev/mailbox?to=${encodeURIComponent(person.email)}`)).json[0].text;
  };
  const hosted = await mailed(() =>
    worker.browser().submit(`${AUTH}/login/link`, { email: person.email, continue: `${target}#key=the-secret-of-the-document` }),
  );
  assert.match(hosted, /gate%2Fsign-in/);
  assert.doesNotMatch(hosted, /the-secret/);
  const script = await mailed(() =>
    worker.browser().post(`${AUTH}/api/auth/sign-in/magic-link`, { email: person.email, callbackURL: "/account#inbox" }),
  );
  assert.match(script, /account%23inbox/);
});

test("the page of sign-in says that a user is signed out where that is so, and names no website of another pool", async () => {
  const other = await seedTenant(worker, { slug: "other-pool", pool: "isolated" });
  await seedDomain(worker, other, "login.other.localhost");
  await seedApp(worker, "bank-login.localhost", { tenant: other, origin: origin.url, rules: [] });
  const { browser } = await signUp(worker);
  for (const [app, told] of [
    ["http://bank-login.localhost", false],
    [APP, true],
  ]) {
    const begun = await worker.browser().get(`${app}/x`, { headers: PAGE });
    const request = new URL(begun.location).searchParams.get("request");
    const url = `${AUTH}/login?signed_out=true&again=true&continue=${encodeURIComponent(`/gate/sign-in?request=${request}`)}`;
    assert.ok(!(await browser.get(url, { headers: PAGE })).text.includes("You are signed out"), "a user who is signed in");
    const page = await worker.browser().get(url, { headers: PAGE });
    assert.ok(page.text.includes("You are signed out"));
    assert.equal(page.text.includes(`href="${app}`), told, app);
  }
});

test("links as dashboards have them come back whole", async () => {
  for (const query of ["a".repeat(1500), "%22now-1h%22,".repeat(300), "b".repeat(5400)]) {
    const { browser, email } = await signUp(worker);
    await browser.submit(`${AUTH}/sign-out`, {});
    const page = await logIn(browser, await visit(browser, `${APP}/d?left=${query}`), email);
    assert.equal(page.url, `${APP}/d?left=${query}`);
  }
});

test("a form sent to a website after the session ended is answered with a page, and a script's request in JSON", async () => {
  const nobody = worker.browser();
  const sent = await nobody.send("POST", `${APP}/form`, { headers: PAGE, body: "a=1" });
  assert.equal(sent.status, 401);
  leadsOn(sent, "a form");
  assert.match(sent.text, /was not passed on/);
  assert.match(sent.headers["www-authenticate"], /^Cookie /);
  const script = await nobody.send("POST", `${APP}/form`, { headers: API, body: "a=1" });
  assert.deepEqual([script.status, script.json.code], [401, "UNAUTHORIZED"]);
  const { browser } = await signUp(worker);
  await visit(browser, `${APP}/`);
  const refused = await browser.send("POST", `${APP}/internal/x`, { headers: PAGE, body: "a=1" });
  assert.equal(refused.status, 403);
  leadsOn(refused, "a form without permission");
});

test("what is not there has a page, and the address of a form leads to the form", async () => {
  const nobody = worker.browser();
  for (const url of [
    `${AUTH}/nothing`,
    `${AUTH}/api/auth/nothing`,
    `${APP}/.doorward/nothing`,
    `${APP}/.doorward`,
    "http://unknown.localhost/x",
  ]) {
    const answer = await nobody.get(url, { headers: PAGE });
    assert.equal(answer.status, 404, url);
    leadsOn(answer, url);
    const [, stylesheet] = answer.text.match(/rel="stylesheet" href="([^"]*)"/);
    assert.match((await nobody.get(new URL(stylesheet, url).href)).headers["content-type"], /^text\/css/, url);
  }
  assert.equal((await nobody.get(`${AUTH}/nothing`, { headers: API })).text, "");
  for (const path of [
    "/login/link",
    "/login/upstream",
    "/second-factor/send",
    "/account/passkey/delete",
    "/account/second-factor/verify",
    "/sign-out",
  ]) {
    const page = await visit(nobody, AUTH + path);
    assert.equal(page.status, 200, path);
    leadsOn(page, path);
  }
});

test("an error of an endpoint for scripts is a page for a user who opens it in a browser", async () => {
  for (const path of ["/api/auth/verify-email?token=x", "/api/auth/token", "/oauth2/userinfo", "/forward-auth"]) {
    const answer = await visit(worker.browser(), AUTH + path);
    assert.ok([400, 401, 403].includes(answer.status), `${path}: ${answer.status}`);
    leadsOn(answer, path);
  }
});
