// Who enters a protected website: nobody whose address is not confirmed, owners wherever a role is asked for; and invitations where
// nobody else may sign up.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { startOrigin } from "../harness/origin.mjs";
import { API, PAGE, PASSWORD, giveRole, seedApp, signUp, visit } from "../harness/seed.mjs";
import { AUTH, DEFAULT_TENANT, startWorker } from "../harness/worker.mjs";

const APP = "http://app.localhost";
const INSIDE = "http://proxied.localhost";
let worker, origin;
before(async () => {
  origin = await startOrigin();
  worker = await startWorker({
    settings: {
      WEBSITES_NEED_VERIFIED_EMAIL: null,
      LIMIT_MAIL: "1000/60",
      SIGN_IN_WITH: "password,magic-link,phone",
      SESSION_COOKIE_CACHE_SECONDS: "0",
      SESSION_RECHECK_SECONDS: "0",
    },
  });
  await seedApp(worker, "app.localhost", {
    origin: origin.url,
    access: "signed_in",
    rules: [
      ["/admin/*", "role", { roles: ["admin"] }],
      ["/public/*", "public"],
    ],
  });
  await seedApp(worker, "proxied.localhost", { access: "signed_in", rules: [] });
});
after(async () => {
  await worker?.dispose();
  await origin?.close();
});

const at = (path) => `${AUTH}/api/auth${path}`;
const mails = async (to, of = worker) => (await of.browser().get(`${AUTH}/dev/mailbox?to=${encodeURIComponent(to)}`)).json;
const linkIn = (mail) => mail.text.match(/https?:\S+/)[0];
const forwarded = (browser, headers = {}) =>
  browser.get(`${AUTH}/forward-auth`, {
    headers: {
      ...API,
      "x-forwarded-method": "GET",
      "x-forwarded-proto": "http",
      "x-forwarded-host": "proxied.localhost",
      "x-forwarded-uri": "/",
      ...headers,
    },
  });

test("a user who has not confirmed their address is led to do so, and is in afterwards", async () => {
  const { browser, email } = await signUp(worker);
  const stopped = await visit(browser, `${APP}/secret`);
  assert.deepEqual(
    [stopped.status, new URL(stopped.url).pathname, /Confirm your address first/.test(stopped.text)],
    [403, "/gate/sign-in", true],
  );
  assert.equal(origin.to("/secret").length, 0);
  const [, target] = stopped.text.match(/name="continue" value="([^"]*)"/);
  const before = (await mails(email)).length;
  const sent = await browser.submit(`${AUTH}/verify-email/send`, { continue: target.replaceAll("&amp;", "&") });
  assert.equal(sent.status, 200, sent.text);
  const letters = await mails(email);
  assert.equal(letters.length, before + 1);
  const done = await browser.followMailedLink(linkIn(letters[0]));
  const [, on] = done.text.match(/<a class="button" href="([^"]*)">Continue/);
  const inside = await visit(browser, new URL(on.replaceAll("&amp;", "&"), AUTH).href);
  assert.deepEqual([inside.status, inside.url], [200, `${APP}/secret`]);
  assert.equal(origin.to("/secret").length, 1);
});

test("no other door lets an unproven address in: keys, forward-auth, a session from before; public pages are for everybody", async () => {
  const { browser, email, id } = await signUp(worker);
  const { key } = (await browser.post(at("/api-key/create"), { name: "k" })).json;
  const byKey = { ...API, "x-api-key": key };
  await worker.d1.prepare("update user set email_verified = 1 where id = ?").bind(id).run();
  for (const url of [`${APP}/x`, `${APP}/public/x`]) assert.equal((await visit(browser, url)).status, 200, `${url} proven`);
  assert.equal((await worker.browser().get(`${APP}/x`, { headers: byKey })).status, 200);
  assert.equal((await forwarded(worker.browser(), { "x-api-key": key })).status, 200);
  await worker.d1.prepare("update user set email_verified = 0 where id = ?").bind(id).run();
  assert.equal((await browser.get(`${APP}/x`, { headers: API })).status, 403, "a session of the website");
  assert.equal((await worker.browser().get(`${APP}/x`, { headers: byKey })).status, 403, "a key");
  assert.equal((await forwarded(worker.browser(), { "x-api-key": key })).status, 403, "a key by forward-auth");
  assert.equal((await browser.get(`${APP}/public/x`, { headers: API })).status, 200);
  assert.ok(email);
  assert.equal((await forwarded(browser)).status, 401, "nobody has a session of this website");
  assert.match((await visit(browser, `${AUTH}/.doorward/sign-in?return=/`.replace(AUTH, INSIDE))).text, /Confirm your address first/);
});

test("an owner passes where a rule asks for a role, and a member does not", async () => {
  for (const [roles, status] of [
    [["owner"], 200],
    [["admin"], 200],
    [[], 403],
  ]) {
    const { browser, id } = await signUp(worker, { roles });
    await worker.d1.prepare("update user set email_verified = 1 where id = ?").bind(id).run();
    assert.equal((await visit(browser, `${APP}/admin/x`)).status, status, roles.join());
  }
});

test("where nobody may sign up, an invitation lets its own address do so, and proves it", async () => {
  const closed = await startWorker({
    settings: { SIGN_UP: "closed", REQUIRE_VERIFIED_EMAIL: "on", WEBSITES_NEED_VERIFIED_EMAIL: null, LIMIT_MAIL: "1000/60" },
  });
  try {
    const id = crypto.randomUUID();
    const owner = uniqueEmail();
    await closed.d1
      .prepare("insert into user (id, email, email_verified, name, created_at, updated_at) values (?, ?, 1, 'O', 1, 1)")
      .bind(id, owner)
      .run();
    await giveRole(closed, id, "owner", DEFAULT_TENANT);
    const boss = closed.browser();
    await boss.post(at("/sign-in/magic-link"), { email: owner });
    await boss.followMailedLink(linkIn((await mails(owner, closed))[0]));
    const invite = async (email) => {
      const answer = await boss.post(at("/organization/invite-member"), { email, role: "member", organizationId: DEFAULT_TENANT });
      assert.equal(answer.status, 200, answer.text);
      return { id: answer.json.id, link: linkIn((await mails(email, closed)).find(({ subject }) => /^You are invited/.test(subject))) };
    };
    const email = uniqueEmail();
    const { link } = await invite(email);
    const browser = closed.browser();
    const target = new URL(link).pathname + new URL(link).search;
    const signUpPage = `${AUTH}/sign-up`;
    const create = (who, fields) => who.submit(signUpPage, { name: "New", email, password: PASSWORD, continue: target, ...fields });
    assert.equal((await browser.get(`${signUpPage}?continue=/account`, { headers: PAGE })).status, 400);
    assert.match((await browser.get(`${signUpPage}?continue=${encodeURIComponent(target)}`, { headers: PAGE })).text, new RegExp(email));
    for (const refused of [{ email: uniqueEmail() }, { continue: "/account" }, { continue: "/invitation?token=x" }])
      assert.equal((await create(closed.browser(), refused)).status, 400, JSON.stringify(refused));
    assert.equal((await closed.browser().post(at("/sign-up/email"), { name: "N", email, password: PASSWORD })).status, 400);
    const created = await create(browser);
    assert.deepEqual([created.status, created.location], [303, target], created.text);
    const [user] = await closed.rows("select id, email_verified from user where email = ?", email);
    assert.equal(user.email_verified, 1);
    const joined = await browser.followMailedLink(link, { decision: "accept" });
    assert.equal(joined.status, 200, joined.text);
    const late = uniqueEmail();
    const second = await invite(late);
    await boss.post(at("/organization/cancel-invitation"), { invitationId: second.id });
    const gone = new URL(second.link);
    assert.equal(
      (await create(closed.browser(), { email: late, continue: gone.pathname + gone.search })).status,
      400,
      "one that was taken back",
    );
    assert.deepEqual(await closed.rows("select id from user where email = ?", late), []);
    // Nothing says that a mail was sent that was not.
    const unknown = await closed.browser().submit(`${AUTH}/login/link`, { email: uniqueEmail() });
    assert.match(unknown.text, /If there is an account for/);
  } finally {
    await closed.dispose();
  }
});
