// Another e-mail address: the old one agrees, the new one is proven, and only then does anything change.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { giveRole, seedDomain, seedTenant } from "../harness/seed.mjs";
import { AUTH, SPA, startWorker } from "../harness/worker.mjs";

const PASSWORD = "correct horse battery staple";
const SETTINGS = { LIMIT_MAIL: "1000/60", SESSION_COOKIE_CACHE_SECONDS: "0", SESSION_RECHECK_SECONDS: "0" };
let worker;
before(async () => {
  worker = await startWorker({ settings: SETTINGS });
});
after(() => worker?.dispose());

const at = (path, host = AUTH) => `${host}/api/auth${path}`;
const mails = async (to, of = worker) => (await of.browser().get(`${AUTH}/dev/mailbox?to=${encodeURIComponent(to)}`)).json;
const linkIn = (mail) => mail.text.match(/https?:\S+/)[0];
/** The newest link of a change that an address was sent. */
const link = async (to, of) => linkIn((await mails(to, of)).find(({ text }) => text.includes("/change-email?")));
const request = (browser, newEmail, body = {}) => browser.post(at("/change-email"), { newEmail, ...body });
/** What the page's form would send. */
function go(url, { browser = worker.browser(), fields = {}, ...options } = {}) {
  const query = Object.fromEntries(new URL(url).searchParams);
  return browser.submit(`${new URL(url).origin}/change-email`, { ...query, ...fields }, options);
}
const session = async (browser) => (await browser.get(at("/get-session"))).json;
const emailOf = async (user) => (await worker.rows("select email, email_verified as proven from user where id = ?", user))[0];
const told = ({ status, json }) => [status, json.code];
const signIn = (email, password = PASSWORD) => worker.browser().post(at("/sign-in/email"), { email, password });
const change = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
const shape = ({ status, json, headers }) => ({ status, json, names: Object.keys(headers).sort(), trips: headers["server-timing"] });
async function person({ isProven = true, of = worker } = {}) {
  const browser = of.browser();
  const email = uniqueEmail();
  const { user } = (await browser.post(at("/sign-up/email"), { name: "P", email, password: PASSWORD })).json;
  if (isProven) await of.d1.prepare("update user set email_verified = 1 where id = ?").bind(user.id).run();
  return { browser, email, id: user.id };
}

test("the old address agrees, the new one is proven, both are told; looking changes nothing", async () => {
  const { browser, email, id } = await person();
  const [newEmail, stranger] = [uniqueEmail(), worker.browser()];
  const asked = await request(browser, newEmail.toUpperCase(), { callbackURL: `${SPA}/done` });
  assert.deepEqual([asked.status, asked.json], [200, { status: true }]);
  assert.deepEqual(await mails(newEmail), [], "the new address is not ours to write to before the old one agrees");
  const first = await link(email);
  for (let n = 0; n < 3; n += 1) {
    const page = await stranger.get(first, { headers: { accept: "text/html" } });
    assert.ok(page.status === 200 && page.text.includes(email) && page.text.includes(newEmail));
    assert.equal((await stranger.send("HEAD", first)).status, 200);
  }
  assert.deepEqual(await mails(newEmail), []);
  const agreed = await go(first);
  assert.deepEqual([agreed.status, agreed.location], [303, `${SPA}/done`]);
  assert.deepEqual(await emailOf(id), { email, proven: 1 });
  const second = await link(newEmail);
  for (let n = 0; n < 2; n += 1) assert.equal((await stranger.get(second)).status, 200);
  assert.deepEqual(await emailOf(id), { email, proven: 1 });
  // A reader of the new mailbox who is not signed in to the account may have been sent the link by somebody else.
  for (const other of [stranger, (await person()).browser]) {
    const refused = await go(second, { browser: other });
    assert.deepEqual([refused.status, refused.text.includes(`Sign in as ${email}`)], [403, true]);
    const shown = await other.get(second, { headers: { accept: "text/html" } });
    assert.ok(!shown.text.includes("Yes, change it") && shown.text.includes("/login?continue=%2Fchange-email%3Ftoken%3D"), shown.text);
  }
  assert.deepEqual(await emailOf(id), { email, proven: 1 });
  const done = await go(second, { browser });
  assert.deepEqual([done.status, done.location, done.cookies], [303, `${SPA}/done`, []]);
  assert.deepEqual(await emailOf(id), { email: newEmail, proven: 1 });
  assert.equal((await session(browser)).user.email, newEmail);
  assert.equal(await session(stranger), null, "a link changes an address, and signs nobody in");
  for (const address of [email, newEmail]) {
    const [notice] = await mails(address);
    assert.ok(notice.subject === "Your e-mail address was changed" && notice.text.includes(newEmail));
  }
  assert.deepEqual([(await signIn(email)).status, (await signIn(newEmail)).status], [401, 200]);
  const [event] = await worker.rows("select details from audit_event where user_id = ? and event = 'email.changed'", id);
  assert.deepEqual(JSON.parse(event.details), { old: email, new: newEmail });
});

test("an administrator who acts as the user does not prove a new address for them", async () => {
  const [admin, user] = [await person(), await person({ isProven: false })];
  await giveRole(worker, admin.id, "owner");
  const newEmail = uniqueEmail();
  await request(user.browser, newEmail);
  assert.equal((await admin.browser.post(at("/admin/impersonate-user"), { userId: user.id })).status, 200);
  assert.equal((await go(await link(newEmail), { browser: admin.browser })).status, 403);
  assert.equal((await emailOf(user.id)).email, user.email);
});

test("each link is good once, in time, and for its own step", async () => {
  const spent = async (url, why, fields) => {
    const looked = await worker.browser().get(url, { headers: { accept: "text/html" } });
    const gone = await go(url, { fields });
    assert.deepEqual([fields ? 400 : looked.status, gone.status, gone.location], [400, 400, undefined], why);
  };
  const { browser, email, id } = await person();
  const newEmail = uniqueEmail();
  await request(browser, newEmail, { callbackURL: "/c" });
  const first = await link(email);
  await spent(first, "as the other step", { step: "change_email_proof" });
  assert.equal((await go(first)).status, 303);
  await spent(first, "used");
  const second = await link(newEmail);
  await spent(second, "as the other step", { step: "change_email_confirm" });
  assert.equal((await go(second, { browser })).status, 303);
  await spent(second, "used");
  assert.equal((await emailOf(id)).email, newEmail);
  const late = await person();
  await request(late.browser, uniqueEmail());
  const url = await link(late.email);
  await change("update verification set expires_at = 1 where identifier = ?", late.id);
  await spent(url, "too late");
  for (const query of [
    "",
    "?token=",
    "?token=x&step=change_email_proof",
    `?token=${"A".repeat(43)}&step=change_email_confirm`,
    `?token=${"A".repeat(43)}&step=magic_link`,
    "?step=%00&token=%00",
    `?token=${"x".repeat(3000)}&step=x`,
  ]) {
    assert.equal((await worker.browser().get(`${AUTH}/change-email${query}`)).status, 400, query);
  }
  for (const fields of [{}, { token: "x" }, { token: "x", step: "x".repeat(51) }, { token: "x".repeat(201), step: "change_email_proof" }])
    assert.equal((await worker.browser().submit(`${AUTH}/change-email`, fields)).status, 400);
});

test("an address that was never proven has nobody to ask", async () => {
  const { browser, email, id } = await person({ isProven: false });
  const before = (await mails(email)).length;
  const newEmail = uniqueEmail();
  await request(browser, newEmail);
  assert.equal((await mails(email)).length, before);
  const page = await go(await link(newEmail), { browser });
  assert.deepEqual([page.status, page.text.includes(newEmail)], [200, true]);
  assert.deepEqual(await emailOf(id), { email: newEmail, proven: 1 });
});

test("a taken address is answered as a free one, after the same round trips, and written to by nobody", async () => {
  const taken = await person();
  for (const isProven of [true, false]) {
    const { browser, email } = await person({ isProven });
    const before = (await mails(email)).length;
    const [free, known] = [await request(browser, uniqueEmail()), await request(browser, taken.email)];
    assert.equal((await mails(email)).length, before + (isProven ? 1 : 0));
    assert.ok(!(await mails(taken.email)).some(({ text }) => text.includes("/change-email?")));
    assert.deepEqual(shape(known), shape(free));
  }
});

test("who was quicker has the address; whoever comes second is told, and keeps theirs", async () => {
  for (const callbackURL of [undefined, "/c?x=1"]) {
    const [{ browser, id, email }, newEmail] = [await person({ isProven: false }), uniqueEmail()];
    await request(browser, newEmail, { callbackURL });
    await worker.browser().post(at("/sign-up/email"), { name: "Q", email: newEmail, password: PASSWORD });
    const answer = await go(await link(newEmail), { browser });
    if (callbackURL) assert.deepEqual([answer.status, answer.location], [303, "/c?x=1&error=EMAIL_ALREADY_IN_USE"]);
    else assert.equal(answer.status, 400);
    assert.equal((await emailOf(id)).email, email);
  }
});

test("of two changes that are under way, the second finds another address than it began with", async () => {
  const { browser, id } = await person({ isProven: false });
  const [one, two] = [uniqueEmail(), uniqueEmail()];
  await request(browser, one);
  await request(browser, two);
  assert.equal((await go(await link(one), { browser })).status, 200);
  assert.equal((await go(await link(two), { browser })).status, 400);
  assert.equal((await emailOf(id)).email, one);
  assert.ok(!(await mails(two)).some(({ subject }) => subject === "Your e-mail address was changed"), "told of what did not happen");
});

test("what the old address was sent opens nothing afterwards", async () => {
  const { browser, email, id } = await person({ isProven: false });
  const stranger = worker.browser();
  await stranger.post(at("/sign-in/magic-link"), { email });
  const magic = linkIn((await mails(email))[0]);
  await stranger.post(at("/request-password-reset"), { email });
  const [, token] = (await mails(email))[0].text.match(/reset-password\/([\w-]+)/);
  const proof = linkIn((await mails(email)).find(({ subject }) => /Confirm/.test(subject)));
  const newEmail = uniqueEmail();
  await request(browser, newEmail);
  await go(await link(newEmail), { browser });
  assert.equal((await stranger.post(at("/reset-password"), { token, newPassword: "another password" })).status, 400);
  assert.equal((await stranger.followMailedLink(proof)).status, 400);
  await stranger.followMailedLink(magic);
  assert.notEqual((await session(stranger))?.user.id, id);
});

test("a new password ends the change of address that whoever knew the old one began", async (t) => {
  const ways = {
    changed: ({ browser }) => browser.post(at("/change-password"), { currentPassword: PASSWORD, newPassword: "another password" }),
    async reset({ email }) {
      await worker.browser().post(at("/request-password-reset"), { email });
      const [, token] = (await mails(email))[0].text.match(/reset-password\/([\w-]+)/);
      return worker.browser().post(at("/reset-password"), { token, newPassword: "another password" });
    },
  };
  for (const [name, way] of Object.entries(ways)) {
    await t.test(name, async () => {
      const someone = await person({ isProven: false });
      const thief = worker.browser();
      await thief.post(at("/sign-in/email"), { email: someone.email, password: PASSWORD });
      const theirs = uniqueEmail();
      await request(thief, theirs);
      assert.equal((await way(someone)).status, 200);
      await go(await link(theirs), { browser: thief });
      assert.equal((await emailOf(someone.id)).email, someone.email, "the account is the thief's");
    });
  }
});

test("only a fresh session of one's own may ask", async () => {
  const { browser, id, email } = await person();
  assert.deepEqual(told(await request(worker.browser(), uniqueEmail())), [401, "UNAUTHORIZED"]);
  await change("update session set authenticated_at = ? where user_id = ?", Date.now() - 2 * 86_400_000, id);
  const stale = await request(browser, uniqueEmail());
  assert.deepEqual([stale.status, stale.json], [403, { message: "Session is not fresh", code: "SESSION_NOT_FRESH" }]);
  const admin = await person();
  await giveRole(worker, admin.id, "admin");
  await change("update session set authenticated_at = ?, impersonated_by = ? where user_id = ?", Date.now(), admin.id, id);
  assert.deepEqual(told(await request(browser, uniqueEmail())), [403, "FORBIDDEN"]);
  assert.ok(!(await mails(email)).some(({ text }) => text.includes("/change-email?")));
});

test("bad input is told as such, and links lead to trusted places only", async () => {
  const { browser, email, id } = await person({ isProven: false });
  for (const same of [email, email.toUpperCase()]) {
    const answer = await request(browser, same);
    assert.deepEqual([answer.status, answer.json.message], [400, "Email is the same"]);
  }
  for (const newEmail of [undefined, null, 7, {}, "", "no address", "a@x.co\n", `${"a".repeat(300)}@x.co`])
    assert.deepEqual(told(await request(browser, newEmail)), [400, "VALIDATION_ERROR"], JSON.stringify(newEmail));
  assert.deepEqual(told(await browser.post(at("/change-email"), "{bad", { headers: { "content-type": "application/json" } })), [
    400,
    "BAD_REQUEST",
  ]);
  const newEmail = uniqueEmail();
  for (const evil of ["https://evil.example", "//evil.example", "/..//evil.example", "javascript:alert(1)"]) {
    assert.deepEqual(told(await request(browser, newEmail, { callbackURL: evil })), [403, "INVALID_CALLBACK_URL"], evil);
  }
  assert.deepEqual(await mails(newEmail), []);
  await request(browser, newEmail);
  const url = await link(newEmail);
  const evil = await go(url, { fields: { callbackURL: "https://evil.example" } });
  assert.deepEqual([evil.status, evil.location], [403, undefined]);
  assert.equal((await emailOf(id)).email, email);
  const quoted = await worker
    .browser()
    .get(`${url}&callbackURL=${encodeURIComponent('"><script>alert(1)</script>')}`, { headers: { accept: "text/html" } });
  assert.ok(!quoted.text.includes("<script>alert"), "what a link brings is written into the page as it is");
});

test("another website sends neither the request nor the form", async () => {
  const { browser, email, id } = await person({ isProven: false });
  const newEmail = uniqueEmail();
  assert.deepEqual(told(await browser.post(at("/change-email"), { newEmail }, { origin: "https://evil.example" })), [
    403,
    "INVALID_ORIGIN",
  ]);
  assert.equal((await browser.submit(at("/change-email"), { newEmail })).status, 415);
  await request(browser, newEmail);
  const url = await link(newEmail);
  for (const origin of ["https://evil.example", "null"]) assert.equal((await go(url, { browser, origin })).status, 403, origin);
  assert.equal((await emailOf(id)).email, email);
});

test("a session asks so many times a minute", async () => {
  const limited = await startWorker({ settings: { ...SETTINGS, LIMIT_MAIL: "2/60" } });
  try {
    const { browser, email } = await person({ isProven: false, of: limited });
    const second = limited.browser();
    await second.post(at("/sign-in/email"), { email, password: PASSWORD });
    const statuses = [];
    for (const by of [browser, second, browser]) statuses.push((await request(by, uniqueEmail())).status);
    assert.deepEqual(statuses, [200, 200, 429]);
    const { json, headers } = await request(second, uniqueEmail());
    assert.deepEqual(json, { message: "Too many requests. Please try again later." });
    assert.equal(headers["retry-after"], headers["x-retry-after"]);
  } finally {
    await limited.dispose();
  }
});

test("an isolated tenant's links are its own, and so are its addresses", async () => {
  const host = "http://isolated.localhost";
  await seedDomain(worker, await seedTenant(worker, { slug: "isolated", pool: "isolated" }), "isolated.localhost");
  const { browser, id } = await person({ isProven: false });
  const newEmail = uniqueEmail();
  await worker.browser().post(at("/sign-up/email", host), { name: "Q", email: newEmail, password: PASSWORD });
  await request(browser, newEmail);
  const url = await link(newEmail);
  assert.equal((await go(url.replace(AUTH, host))).status, 400);
  assert.equal((await go(url, { browser })).status, 200, "taken in another pool");
  assert.equal((await emailOf(id)).email, newEmail);
});

test("neither a dump nor the log holds a link's token", async () => {
  const { browser, email } = await person();
  const newEmail = uniqueEmail();
  await request(browser, newEmail);
  const first = await link(email);
  await go(first);
  const second = await link(newEmail);
  await go(second, { fields: { callbackURL: "//evil.example" } });
  await worker.browser().get(`${second}&x=${randomUUID()}`);
  const rows = (await Promise.all(["verification", "outbox", "audit_event"].map((table) => worker.rows(`select * from ${table}`)))).flat();
  for (const url of [first, second]) {
    const token = new URL(url).searchParams.get("token");
    assert.ok(!JSON.stringify(rows).includes(token) && !worker.logs().includes(token));
  }
});

test("twenty uses of one link at once are one", async () => {
  const { browser, email, id } = await person();
  const newEmail = uniqueEmail();
  await request(browser, newEmail);
  for (const to of [email, newEmail]) {
    const url = await link(to);
    const answers = await Promise.all(Array.from({ length: 20 }, () => go(url, { browser })));
    assert.equal(answers.filter(({ status }) => status === 200).length, 1);
    for (const { status } of answers) assert.ok(status === 200 || status === 400, `${status}`);
  }
  assert.equal((await mails(newEmail)).filter(({ text }) => text.includes("/change-email?")).length, 1);
  assert.equal((await emailOf(id)).email, newEmail);
});
