// What a page says when something was done already, came too late or is asked of somebody else: it tells what happened, and its
// next step leads on.

import assert from "node:assert/strict";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { withPasskey } from "../harness/factors.mjs";
import { addIssuer, startIssuer } from "../harness/issuer.mjs";
import { startOrigin } from "../harness/origin.mjs";
import { API, PAGE, PASSWORD, logIn, seedApp, signUp, visit } from "../harness/seed.mjs";
import { AUTH, DEFAULT_TENANT, SPA, startWorker } from "../harness/worker.mjs";

const APP = "http://app.localhost";
const SPENT = /<h1>This link has been used or is too old<\/h1>/;
let worker, origin, issuer;
before(async () => {
  origin = await startOrigin();
  issuer = await startIssuer();
  worker = await startWorker({ settings: { SIGN_IN_WITH: "password,passkey,magic-link,anonymous", LIMIT_MAIL: "1000/60" } });
  await seedApp(worker, "app.localhost", { origin: origin.url });
  await addIssuer(worker.d1, issuer.url);
});
after(async () => {
  await worker?.dispose();
  await origin?.close();
  await issuer?.stop();
});

const api = (path) => `${AUTH}/api/auth${path}`;
const run = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
const plain = (text) => text.replaceAll("&quot;", '"').replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
const mails = async (to) => (await worker.browser().get(`${AUTH}/dev/mailbox?to=${encodeURIComponent(to)}`)).json;
const linkTo = async (to, subject = /./) => (await mails(to)).find((mail) => subject.test(mail.subject)).text.match(/https?:\S+/)[0];
const session = async (browser) => (await browser.get(api("/get-session?disableCookieCache=true"))).json;
/** The address of the link or button of a page that says `label`. */
const hrefOf = (page, label) =>
  new URL(
    plain(page.text.match(new RegExp(`<a [^>]*href="([^"]*)"[^>]*>${label}`))?.[1] ?? assert.fail(`no link "${label}": ${page.text}`)),
    page.url ?? AUTH,
  ).href;
const isPage = (answer, status, text) => {
  assert.equal(answer.status, status, answer.text);
  assert.match(answer.headers["content-type"], /^text\/html/);
  assert.match(answer.text, text);
};

// The callback of an issuer

async function begin(browser, callbackURL = "/done") {
  issuer.person = { ...issuer.person, sub: randomUUID(), email: uniqueEmail() };
  const begun = await browser.post(api("/sign-in/social"), { provider: "acme", callbackURL });
  return (await fetch(begun.json.url, { redirect: "manual" })).headers.get("location");
}
const open = (browser, url, options) => browser.get(url, { headers: PAGE, ...options });

test("a callback that is reloaded goes on to where the sign-in was going, and exchanges nothing", async () => {
  const browser = worker.browser();
  const callback = await begin(browser, `${SPA}/done?x=1`);
  assert.equal((await open(browser, callback)).location, `${SPA}/done?x=1`);
  const { user } = await session(browser);
  const sessions = () => worker.rows("select id from session order by id");
  const before = await sessions();
  issuer.requests.length = 0;
  for (let times = 0; times < 3; times++) {
    const again = await open(browser, callback);
    assert.deepEqual([again.status, again.location], [302, `${SPA}/done?x=1`]);
  }
  assert.deepEqual([await sessions(), issuer.requests, (await session(browser)).user.id], [before, [], user.id]);
});

test("a callback whose state is too old goes on where it was going in a browser that is signed in, or to the account", async () => {
  const { browser } = await signUp(worker);
  const late = await begin(browser, "/done");
  await run("update verification set expires_at = 1 where kind = 'upstream_state'");
  assert.equal((await open(browser, late)).location, "/done");
  const [{ left }] = await worker.rows("select count(*) as left from verification where kind = 'upstream_state' and expires_at = 1");
  assert.ok(left > 0, "the kind of a state has another name by now");
  await run("delete from verification where kind = 'upstream_state'");
  assert.equal((await open(browser, late)).location, "/account");
});

test("without a session, for a guest and for a script a used callback stays an error, whose page leads on", async () => {
  const browser = worker.browser();
  const callback = await begin(browser);
  await open(browser, callback);
  assert.match((await browser.get(callback, { headers: API })).location, /error=state_mismatch/, "a script");
  await browser.submit(`${AUTH}/sign-out`, {});
  const page = await visit(browser, callback);
  isPage(page, 200, /was not begun in this browser, took too long, or was used already/);
  assert.equal(new URL(hrefOf(page, "Start again")).pathname, "/login");
  await browser.post(api("/sign-in/anonymous"), {});
  assert.match((await open(browser, callback)).location, /error=state_mismatch/, "a guest");
  assert.equal((await session(browser)).user.isAnonymous, true);
});

test("a callback that was begun in another browser is refused, signed in or not, and tells nobody where it was going", async () => {
  const [attacker, victim] = [worker.browser(), await signUp(worker)];
  const unused = await begin(attacker, "/of-the-attacker");
  assert.match((await open(victim.browser, unused)).location, /error=state_mismatch/, "not used yet");
  assert.equal((await open(victim.browser, unused)).location, "/account", "used: in the victim's own account");
  assert.equal((await session(victim.browser)).user.id, victim.id);
});

test("a used callback that was to link an account stays an error: its reader must not believe that it worked", async () => {
  const { browser } = await signUp(worker);
  const begun = await browser.post(api("/link-social"), { provider: "acme", callbackURL: "/linked" });
  const callback = (await fetch(begun.json.url, { redirect: "manual" })).headers.get("location");
  await run("update verification set expires_at = 1 where kind = 'upstream_state'");
  assert.match((await open(browser, callback)).location, /error=state_mismatch/);
});

// Links in mails

test("a sign-in link that was used says so: signed out it offers another one, signed in it leads on", async () => {
  const email = uniqueEmail();
  await worker.browser().post(api("/sign-in/magic-link"), { email, callbackURL: "/account?x=1" });
  const url = await linkTo(email);
  const reader = worker.browser();
  assert.equal((await reader.followMailedLink(url)).location, "/account?x=1");
  const here = await visit(reader, url);
  isPage(here, 400, SPENT);
  assert.match(here.text, new RegExp(`You are signed in as <strong>${email}`));
  assert.equal(hrefOf(here, "Continue"), `${AUTH}/account?x=1`);
  const elsewhere = await visit(worker.browser(), url);
  isPage(elsewhere, 400, SPENT);
  const login = await visit(worker.browser(), hrefOf(elsewhere, "Ask for a new link"));
  assert.match(login.text, /Mail me a sign-in link/);
  assert.match(login.text, /name="continue" value="\/account\?x=1"/);
});

test("a link that proves nothing any more says so: the next step sends another, or says that the address is confirmed", async () => {
  const one = await signUp(worker);
  const url = await linkTo(one.email, /Confirm/);
  await run("update verification set expires_at = 1 where identifier = ?", one.id);
  const nobody = await visit(worker.browser(), url);
  isPage(nobody, 400, SPENT);
  assert.equal(new URL(hrefOf(nobody, "Sign in")).pathname, "/login");
  const own = await visit(one.browser, url);
  isPage(own, 400, SPENT);
  assert.match(own.text, /not confirmed yet/);
  const sent = await one.browser.followMailedLink(url);
  assert.equal(sent.status, 400, "a page of an error has no button that was pressed");
  const asked = await one.browser.submit(`${AUTH}/verify-email/send`, { continue: "/account" });
  isPage(asked, 200, /on its way/);
  assert.equal(hrefOf(asked, "I have opened the link"), `${AUTH}/account`);
  const account = await visit(one.browser, `${AUTH}/account`);
  assert.match(account.text, /Mail me a link to confirm it/);
  assert.match((await one.browser.followMailedLink(await linkTo(one.email, /Confirm/))).text, /is confirmed/);
  const after = await visit(one.browser, url);
  isPage(after, 400, SPENT);
  assert.match(after.text, /and this address is confirmed/);
  assert.doesNotMatch((await visit(one.browser, `${AUTH}/account`)).text, /Mail me a link to confirm it/);
});

test("who confirms an address is told so, in the account's browser and in another, the first time and again", async () => {
  const one = await signUp(worker);
  const url = await linkTo(one.email, /Confirm/);
  for (const times of ["first", "again"]) isPage(await one.browser.followMailedLink(url), 200, /Your address is confirmed/, times);
  isPage(await visit(worker.browser(), url), 200, /Your address is confirmed/);
  const two = await signUp(worker);
  const other = worker.browser();
  const pressed = await other.followMailedLink(await linkTo(two.email, /Confirm/));
  const landed = await visit(other, new URL(pressed.location, AUTH).href);
  isPage(landed, 200, /Your address is confirmed: set a password/);
});

test("used links of a new password, a deletion and a change of address say so and lead on", async () => {
  const one = await signUp(worker);
  await worker.browser().post(api("/request-password-reset"), { email: one.email });
  const reset = await linkTo(one.email, /password/);
  await one.browser.followMailedLink(reset, { newPassword: "another long password" });
  const again = await visit(worker.browser(), reset);
  isPage(again, 400, SPENT);
  assert.equal(new URL(hrefOf(again, "Send a new link")).pathname, "/forgot-password");
  const two = await signUp(worker);
  await two.browser.post(api("/delete-user"), {});
  const deletion = await linkTo(two.email, /Delete/);
  await run("update verification set expires_at = 1 where identifier = ?", two.id);
  const kept = await visit(two.browser, deletion);
  isPage(kept, 400, SPENT);
  assert.match(kept.text, /is not deleted/);
  assert.equal(new URL(hrefOf(kept, "Back to my account")).pathname, "/account");
  const next = uniqueEmail();
  await two.browser.post(api("/change-email"), { newEmail: next });
  const change = await linkTo(next, /new e-mail/);
  isPage(await two.browser.followMailedLink(change), 200, new RegExp(next));
  const changed = await visit(two.browser, change);
  isPage(changed, 400, SPENT);
  assert.equal(new URL(hrefOf(changed, "Your account")).pathname, "/account");
});

// Invitations

async function invite(email) {
  const owner = await signUp(worker);
  const made = await owner.browser.post(api("/organization/create"), { name: "Ivy Ltd", slug: `ivy-${randomUUID()}` });
  const sent = await owner.browser.post(api("/organization/invite-member"), { email, role: "member", organizationId: made.json.id });
  assert.equal(sent.status, 200, sent.text);
  return linkTo(email, /^You are invited/);
}

test("somebody else's invitation leads to a page of sign-in that takes another account, and back", async () => {
  const [pia, other] = [await signUp(worker), await signUp(worker)];
  const url = await invite(pia.email);
  const page = await visit(other.browser, url);
  isPage(page, 200, /you are signed in as/);
  const login = await visit(other.browser, hrefOf(page, "Sign in as"));
  assert.equal(new URL(login.url).pathname, "/login");
  assert.match(login.text, new RegExp(`name="email" value="${pia.email}"`));
  const back = await logIn(other.browser, login, pia.email);
  assert.equal(back.url, url.replace(/^https?:\/\/[^/]+/, AUTH));
  assert.match(back.text, /value="accept"/);
  assert.equal((await session(other.browser)).user.id, pia.id);
});

test("the mail that confirms an address leads to a page that says that the invitation is accepted already", async () => {
  const email = uniqueEmail();
  const url = await invite(email);
  const browser = worker.browser();
  const target = new URL(url).pathname + new URL(url).search;
  await browser.post(api("/sign-up/email"), { name: "Pia", email, password: PASSWORD, callbackURL: target });
  const proof = await linkTo(email, /Confirm/);
  assert.match((await browser.followMailedLink(url, { decision: "accept" })).text, /You are a member/);
  const confirmed = await browser.followMailedLink(proof);
  isPage(confirmed, 200, /is confirmed/);
  const landed = await visit(browser, hrefOf(confirmed, "Continue"));
  isPage(landed, 200, /You have accepted the invitation to <strong>Ivy Ltd/);
  assert.equal(new URL(hrefOf(landed, "Your account")).pathname, "/account");
  const nobody = await visit(worker.browser(), url);
  isPage(nobody, 400, /answered or taken back/);
  assert.equal(new URL(hrefOf(nobody, "Sign in")).pathname, "/login");
  isPage(await visit((await signUp(worker)).browser, url), 400, /answered or taken back/);
});

// A second factor that the organization asks for

test("the page of a second factor that must be set up says why, signs out, and takes a passkey", async () => {
  const forced = await signUp(worker);
  const settled = await signUp(worker);
  assert.doesNotMatch((await visit(settled.browser, `${AUTH}/account/second-factor`)).text, /Your organization asks|data-register/);
  await run("update tenant set security_policy = json(?) where id = ?", JSON.stringify({ session: { requireMFA: true } }), DEFAULT_TENANT);
  try {
    const page = await visit(forced.browser, `${AUTH}/account?x=1`);
    assert.equal(new URL(page.url).pathname, "/account/second-factor");
    isPage(page, 200, /Your organization asks for two-step sign-in/);
    assert.match(page.text, /<form method="post" action="\/sign-out">/);
    assert.doesNotMatch(page.text, />Back</, "it would lead to this page again");
    assert.match(page.headers["content-security-policy"], /script-src 'self'/);
    const next = new URL(plain(page.text.match(/data-next="([^"]*)"/)[1]), AUTH);
    // What the page's script does.
    const enter = await withPasskey(worker, forced);
    const login = await visit(forced.browser, next.href);
    assert.deepEqual([login.status, new URL(login.url).pathname], [200, "/login"]);
    await enter(forced.browser);
    assert.equal((await visit(forced.browser, next.href)).url, `${AUTH}/account?x=1`);
    const wrong = await settled.browser.submit(`${AUTH}/account/second-factor`, {
      action: "begin",
      password: "wrong",
      continue: "/account",
    });
    isPage(wrong, 400, /This is not your password.*Your organization asks/s);
    assert.equal((await visit(settled.browser, `${AUTH}/account`)).status, 200);
    const out = await settled.browser.submit(`${AUTH}/sign-out`, {});
    isPage(await visit(settled.browser, new URL(out.location, AUTH).href), 200, /You are signed out/);
  } finally {
    await run("update tenant set security_policy = '{}' where id = ?", DEFAULT_TENANT);
  }
});

// The account

test("the account's page shows what was changed a moment ago, with one round trip", async () => {
  const { browser, id } = await signUp(worker);
  await visit(browser, `${AUTH}/account`);
  const now = uniqueEmail();
  await run("update user set email = ? where id = ?", now, id);
  const page = await visit(browser, `${AUTH}/account`);
  assert.match(page.text, new RegExp(now));
  assert.match(page.headers["server-timing"], /d1;desc="1"/);
  assert.equal((await browser.get(api("/get-session"))).json.user.email, now, "and so do copies in this browser from then on");
  await run("update session set revoked_at = 1, revocation_reason = 'revoked' where user_id = ?", id);
  assert.equal(new URL((await visit(browser, `${AUTH}/account`)).url).pathname, "/login");
});

// Words

test("pages say what helps, and not the words of the protocol", async () => {
  const one = await signUp(worker);
  const taken = await worker.browser().submit(`${AUTH}/sign-up`, { name: "N", email: one.email, password: PASSWORD });
  isPage(taken, 422, /There is an account with this address already/);
  await run("update session set authenticated_at = 1, created_at = 1 where user_id = ?", one.id);
  const old = await one.browser.submit(`${AUTH}/account/passkey/delete`, { id: randomUUID() });
  isPage(old, 403, /You signed in too long ago/);
  assert.match(hrefOf(old, "Sign in again"), /\/login\?again=true/);
  const wrong = await worker.browser().submit(`${AUTH}/login`, { email: "ada", password: "wrong", continue: "/account?x=1" });
  isPage(wrong, 401, /Invalid user name or password.*name="continue" value="\/account\?x=1"/s);
  const short = await worker.browser().submit(`${AUTH}/sign-up`, { name: "N", email: uniqueEmail(), password: "short" });
  isPage(short, 400, /This password is too short/);
  const empty = await one.browser.submit(`${AUTH}/account/passkey/delete`, {});
  isPage(empty, 400, /Something is missing in what was sent/);
  isPage(
    await visit(worker.browser(), `${AUTH}/oauth2/authorize?client_id=nobody`),
    400,
    /The application that sent you here.*client_id is missing/s,
  );
  for (const page of [taken, old, short]) assert.doesNotMatch(page.text, /Session is not fresh|Use another email|Password too short/);
  const proof = await startWorker({ settings: { REQUIRE_VERIFIED_EMAIL: "on", LIMIT_SIGN_UP: "1/60" } });
  try {
    const ip = "192.0.2.7";
    const fields = { name: "N", email: uniqueEmail(), password: PASSWORD };
    await proof.browser({ ip }).submit(`${AUTH}/sign-up`, fields);
    isPage(await proof.browser().submit(`${AUTH}/login`, fields), 403, /not confirmed yet. We have sent you another mail/);
    const many = await proof.browser({ ip }).submit(`${AUTH}/sign-up`, { ...fields, email: uniqueEmail() });
    isPage(many, 429, /Please try again in \d+ seconds/);
  } finally {
    await proof.dispose();
  }
});

// Links that lead nowhere

test("the page of an unknown host names the host, has no link to itself, and in development names the auth host", async () => {
  const page = await visit(worker.browser(), "http://unknown.localhost/x");
  isPage(page, 404, /No website or organization answers at <strong>unknown.localhost<\/strong>/);
  assert.deepEqual(
    [...page.text.matchAll(/<a [^>]*href="([^"]*)"/g)].map(([, href]) => href),
    [AUTH],
  );
  assert.match(page.text, /AUTH_ORIGIN/);
  const script = await worker.browser().get("http://unknown.localhost/x", { headers: API });
  assert.deepEqual([script.status, script.json.code], [404, "NO_SUCH_HOST"]);
});

test("a device that was decided on, and a sign-in of other software that has run out, lead on", async () => {
  const admin = await signUp(worker, { roles: ["admin"] });
  const register = async (metadata) => {
    const made = await admin.browser.post(api("/admin/oauth2/create-client"), {
      client_name: "A wiki",
      redirect_uris: ["https://wiki.example/cb"],
      ...metadata,
    });
    assert.equal(made.status, 201, made.text);
    return made.json;
  };
  const post = (path, client, form) =>
    worker.browser().send("POST", `${AUTH}/oauth2/${path}`, {
      headers: {
        "content-type": "application/x-www-form-urlencoded",
        authorization: `Basic ${Buffer.from(`${client.client_id}:${client.client_secret}`).toString("base64")}`,
      },
      body: new URLSearchParams(form).toString(),
    });
  const television = await register({ redirect_uris: [], grant_types: ["urn:ietf:params:oauth:grant-type:device_code"] });
  for (const decision of ["allow", "deny"]) {
    const { user_code } = (await post("device_authorization", television, { scope: "openid" })).json;
    const decided = await admin.browser.submit(`${AUTH}/device`, { user_code, decision });
    assert.equal(new URL(hrefOf(decided, "Your account")).pathname, "/account", decision);
  }
  const request = {
    response_type: "code",
    redirect_uri: "https://wiki.example/cb",
    scope: "openid",
    code_challenge: createHash("sha256").update(randomBytes(32)).digest("base64url"),
    code_challenge_method: "S256",
  };
  for (const [metadata, label, href] of [
    [{ client_uri: "https://wiki.example/start" }, "Back to A wiki", "https://wiki.example/start"],
    [{}, "Your account", `${AUTH}/account`],
  ]) {
    const client = await register(metadata);
    const { request_uri } = (await post("par", client, { ...request, client_id: client.client_id })).json;
    await run("update oauth_grant set expires_at = 1");
    const page = await visit(
      worker.browser(),
      `${AUTH}/oauth2/authorize?${new URLSearchParams({ client_id: client.client_id, request_uri })}`,
    );
    isPage(page, 400, /This sign-in has run out/);
    assert.equal(hrefOf(page, label), href);
    const consent = await visit(worker.browser(), `${AUTH}/consent?${new URLSearchParams({ client_id: client.client_id, request_uri })}`);
    assert.equal(hrefOf(consent, label), href);
  }
});

test("after a sign-out at a website the page says so, and leads back to the website", async () => {
  const { browser, email } = await signUp(worker);
  await visit(browser, `${APP}/`);
  const out = await browser.submit(`${APP}/.doorward/sign-out`, {});
  const page = await visit(browser, out.location);
  isPage(page, 200, /You are signed out/);
  assert.equal(hrefOf(page, "Back to http://app.localhost"), `${APP}/`);
  assert.equal((await logIn(browser, page, email)).url, `${APP}/`);
  isPage(await visit(worker.browser(), `${AUTH}/login?signed_out=true&continue=https://evil.example/`), 200, /You are signed out\.<\/p>/);
});
