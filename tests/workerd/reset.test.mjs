// A forgotten password: the link by mail, what it opens, and what it must not.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { AUTH, SPA, startWorker } from "../harness/worker.mjs";

let worker;
before(async () => {
  worker = await startWorker({ settings: { LIMIT_MAIL: "1000/60" } });
});
after(() => worker?.dispose());

const OLD = "the old password";
const NEW = "the new password";
const at = (path) => `${AUTH}/api/auth${path}`;

async function person(of = worker) {
  const browser = of.browser();
  const email = uniqueEmail();
  const { user } = (await browser.post(at("/sign-up/email"), { name: "P", email, password: OLD })).json;
  return { browser, email, id: user.id };
}

/** The newest first, but for the one that every sign-up causes. */
const mails = async (to) =>
  (await worker.browser().get(`${AUTH}/dev/mailbox?to=${encodeURIComponent(to)}`)).json.filter(({ subject }) => !/Confirm/.test(subject));
const request = (email, body = {}, of = worker) => of.browser().post(at("/request-password-reset"), { email, ...body });
const linkIn = (mail) => mail.text.match(/https?:\S+/)[0];
const tokenIn = (mail) => linkIn(mail).match(/reset-password\/([\w-]+)/)[1];
const reset = (token, newPassword = NEW) => worker.browser().post(at("/reset-password"), { token, newPassword });
const signIn = (email, password) => worker.browser().post(at("/sign-in/email"), { email, password });

async function link(email, body) {
  assert.equal((await request(email, body)).status, 200);
  return (await mails(email))[0];
}

test("the whole way: request, mail, link, new password, everybody else out, and told", async () => {
  const { browser, email, id } = await person();
  const mail = await link(email, { redirectTo: `${SPA}/reset` });
  assert.equal(mail.subject, "Set a new password");
  assert.ok(mail.html.includes("reset-password"));
  const followed = await worker.browser().get(linkIn(mail));
  assert.deepEqual([followed.status, followed.location], [302, `${SPA}/reset?token=${tokenIn(mail)}`]);
  assert.deepEqual((await reset(tokenIn(mail))).json, { status: true });
  assert.equal((await browser.get(at("/get-session?disableCookieCache=true"))).json, null);
  assert.equal((await signIn(email, OLD)).status, 401);
  assert.equal((await signIn(email, NEW)).status, 200);
  assert.equal((await mails(email))[0].subject, "Your password was changed");
  const [row] = await worker.rows("select * from password_reset where user_id = ?", id);
  assert.deepEqual([row.use_count, row.max_uses, row.email], [1, 1, email]);
  const dump =
    JSON.stringify(await worker.rows("select * from password_reset")) + JSON.stringify(await worker.rows("select * from outbox"));
  assert.ok(!dump.includes(tokenIn(mail)), "the token is readable in the database");
});

test("a link is good once, in time, for its address, and until a newer one", async () => {
  const refused = async (token, why) => {
    const answer = await reset(token, "yet another password");
    assert.deepEqual([answer.status, answer.json], [400, { message: "Invalid token", code: "INVALID_TOKEN" }], why);
    const followed = await worker.browser().get(at(`/reset-password/${token}?callbackURL=/r`));
    assert.equal(followed.location, "/r?error=INVALID_TOKEN", why);
  };
  const one = await person();
  const first = tokenIn(await link(one.email));
  const second = tokenIn(await link(one.email));
  await refused(first, "replaced by a newer one");
  const chain = await worker.rows(
    "select id, previous_id, revocation_reason as reason from password_reset where user_id = ? order by created_at, id",
    one.id,
  );
  assert.deepEqual([chain[0].reason, chain[1].previous_id, chain[1].reason], ["superseded", chain[0].id, null]);
  assert.equal((await reset(second)).status, 200);
  await refused(second, "used");

  const late = await person();
  const token = tokenIn(await link(late.email));
  await worker.d1.prepare("update password_reset set expires_at = 1 where user_id = ?").bind(late.id).run();
  await refused(token, "too late");

  const moved = await person();
  const old = tokenIn(await link(moved.email));
  await worker.d1.prepare("update user set email = ? where id = ?").bind(uniqueEmail(), moved.id).run();
  await refused(old, "the address is another's by now");

  const changed = await person();
  const stale = tokenIn(await link(changed.email));
  await changed.browser.post(at("/change-password"), { currentPassword: OLD, newPassword: NEW });
  await refused(stale, "the password was changed since");
  for (const made of ["", "x", "A".repeat(43)]) assert.equal((await reset(made)).status, 400);
});

test("a bad password costs no link", async () => {
  const { email } = await person();
  const token = tokenIn(await link(email));
  assert.equal((await reset(token, "short")).json.code, "PASSWORD_TOO_SHORT");
  assert.equal((await reset(token, "x".repeat(129))).json.code, "PASSWORD_TOO_LONG");
  assert.equal((await reset(token)).status, 200);
});

test("fifty uses of one link at once: one", async () => {
  const { email, id } = await person();
  const token = tokenIn(await link(email));
  const answers = await Promise.all(Array.from({ length: 50 }, (_, n) => reset(token, `password number ${n}`)));
  const won = answers.findIndex((answer) => answer.status === 200);
  assert.equal(answers.filter((answer) => answer.status === 200).length, 1);
  assert.equal((await signIn(email, `password number ${won}`)).status, 200);
  assert.deepEqual(await worker.rows("select use_count from password_reset where user_id = ?", id), [{ use_count: 1 }]);
});

test("known and unknown addresses are answered alike", async () => {
  const { email } = await person();
  const shape = ({ status, json, headers }) => ({ status, json, names: Object.keys(headers).sort(), trips: headers["server-timing"] });
  const stranger = uniqueEmail();
  assert.deepEqual(shape(await request(email)), shape(await request(stranger)));
  assert.deepEqual(await mails(stranger), []);
  const suspended = await person();
  await worker.d1.prepare("update user set status = 'suspended' where id = ?").bind(suspended.id).run();
  assert.equal((await request(suspended.email)).status, 200);
  assert.deepEqual(await mails(suspended.email), []);
});

test("mails are limited by address and by account", async () => {
  const limited = await startWorker({ settings: { LIMIT_MAIL: "2/60", LIMIT_MAIL_ADDRESS: "3/60" } });
  try {
    // Signing up mailed them once.
    const { email } = await person(limited);
    const statuses = [];
    for (let n = 0; n < 3; n++) statuses.push((await request(email, {}, limited)).status);
    assert.deepEqual(statuses, [200, 200, 429]);
    const browser = limited.browser();
    const mine = [];
    for (let n = 0; n < 3; n++) mine.push((await browser.post(at("/request-password-reset"), { email: uniqueEmail() })).status);
    assert.deepEqual(mine, [200, 200, 429]);
  } finally {
    await limited.dispose();
  }
});

test("redirects go to trusted places only, and bad input is told", async () => {
  const { email } = await person();
  const evil = await request(email, { redirectTo: "https://evil.example" });
  assert.deepEqual([evil.status, evil.json.code], [403, "INVALID_REDIRECT_URL"]);
  assert.equal((await worker.browser().get(at("/reset-password/x?callbackURL=//evil.example"))).status, 403);
  assert.equal((await request("no address")).json.code, "VALIDATION_ERROR");
  assert.deepEqual(await mails(email), []);
});

test("somebody who signs in with a provider alone gets a password this way", async () => {
  const { email, id } = await person();
  await worker.d1.prepare("delete from account where user_id = ?").bind(id).run();
  assert.equal((await signIn(email, OLD)).status, 401);
  assert.equal((await reset(tokenIn(await link(email)))).status, 200);
  assert.equal((await signIn(email, NEW)).status, 200);
});

test("the link lifts a lock", async () => {
  const { email, id } = await person();
  await worker.d1
    .prepare("update user set locked_until = ?, failed_login_count = 10 where id = ?")
    .bind(Date.now() + 1e7, id)
    .run();
  assert.equal((await signIn(email, OLD)).status, 401);
  await reset(tokenIn(await link(email)));
  assert.equal((await signIn(email, NEW)).status, 200);
});

test("the hosted pages do it without a script", async () => {
  const { email } = await person();
  const browser = worker.browser();
  assert.match((await browser.get(`${AUTH}/login`)).text, /href="\/forgot-password"/);
  assert.match((await browser.submit(`${AUTH}/forgot-password`, { email })).text, /on its way/);
  const page = await browser.open(linkIn((await mails(email))[0]));
  const [, token] = page.text.match(/name="token" value="([\w-]+)"/);
  const short = await browser.submit(`${AUTH}/reset-password`, { token, newPassword: "short" });
  assert.deepEqual([short.status, /This password is too short/.test(short.text)], [400, true]);
  assert.match((await browser.submit(`${AUTH}/reset-password`, { token, newPassword: NEW })).text, /Your password is set/);
  assert.match((await browser.submit(`${AUTH}/reset-password`, { token, newPassword: NEW })).text, /has been used or is too old/);
  assert.equal((await signIn(email, NEW)).status, 200);
});

test("mails are posted to the webhook, once; what fails is tried again by cron", async () => {
  const received = [];
  let status = 503;
  const service = createServer(async (incoming, response) => {
    let body = "";
    for await (const chunk of incoming) body += chunk;
    received.push({ headers: incoming.headers, body: JSON.parse(body) });
    response.writeHead(status).end();
  }).listen(0, "127.0.0.1");
  await once(service, "listening");
  const url = `http://127.0.0.1:${service.address().port}/send`;
  const sending = await startWorker({ settings: { MAIL_WEBHOOK: url, MAIL_TOKEN: "for the mail service", MAIL_FROM: "door@example.com" } });
  const settled = async (wanted) => {
    for (let n = 0; n < 100; n++) {
      const [row] = await sending.rows("select delivered_at is not null as delivered, attempts, last_error as error from outbox");
      if (row && wanted(row)) return row;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error(`the outbox did not settle: ${JSON.stringify(await sending.rows("select * from outbox"))}`);
  };
  try {
    const { email } = await person(sending);
    await settled((row) => row.error);
    await sending.d1.prepare("delete from outbox").run();
    received.length = 0;
    assert.equal((await request(email, {}, sending)).status, 200);
    assert.deepEqual(await settled((row) => row.error), { delivered: 0, attempts: 1, error: "status 503" });
    status = 200;
    await sending.scheduled();
    assert.equal(received.length, 1, "not before its time");
    await sending.d1.prepare("update outbox set next_attempt_at = 0").run();
    await Promise.all([sending.scheduled(), sending.scheduled(), sending.scheduled()]);
    assert.deepEqual(await settled((row) => row.delivered), { delivered: 1, attempts: 2, error: null });
    assert.equal(received.length, 2, "three runs at once, and one delivery");
    const [first, second] = received;
    assert.equal(first.headers["idempotency-key"], second.headers["idempotency-key"]);
    assert.equal(second.headers.authorization, "Bearer for the mail service");
    assert.deepEqual([second.body.from, second.body.to, second.body.subject], ["door@example.com", email, "Set a new password"]);
  } finally {
    await sending.dispose();
    service.closeAllConnections();
    service.close();
  }
});

test("outside development there is no mailbox", async () => {
  const production = await startWorker({ settings: { DEVELOPMENT: null, AUTH_ORIGIN: "https://auth.localhost" } });
  try {
    const plain = await production.browser().get(`${AUTH}/dev/mailbox`);
    assert.deepEqual([plain.status, plain.location], [308, "https://auth.localhost/dev/mailbox"]);
    assert.equal((await production.fetch("https://auth.localhost/api/auth/ok")).status, 200);
    assert.equal((await production.fetch("https://auth.localhost/dev/mailbox")).status, 404);
  } finally {
    await production.dispose();
  }
});

test("a link's token is in no log, whatever goes wrong with it", async () => {
  const { email } = await person();
  const token = tokenIn(await link(email));
  const { browser } = await person();
  await browser.post(at(`/reset-password/${token}`), {});
  await browser.get(at(`/reset-password/${token}?callbackURL=//evil.example`));
  await browser.get(at(`/reset-password/${token}/`));
  assert.match(worker.logs(), /INVALID_CALLBACK_URL/);
  assert.ok(!worker.logs().includes(token));
});
