// Proving an e-mail address by a mailed link.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { AUTH, SPA, startWorker } from "../harness/worker.mjs";

let worker;
before(async () => {
  worker = await startWorker({ settings: { LIMIT_MAIL: "1000/60" } });
});
after(() => worker?.dispose());

const at = (path) => `${AUTH}/api/auth${path}`;
const mails = async (to) => (await worker.browser().get(`${AUTH}/dev/mailbox?to=${encodeURIComponent(to)}`)).json;
const linkIn = (mail) => mail.text.match(/https?:\S+/)[0];
const send = (email, body = {}) => worker.browser().post(at("/send-verification-email"), { email, ...body });
const verified = async (browser) => (await browser.get(at("/get-session?disableCookieCache=true"))).json.user.emailVerified;

async function person(body = {}) {
  const browser = worker.browser();
  const email = uniqueEmail();
  const { user } = (await browser.post(at("/sign-up/email"), { name: "P", email, password: "a long password", ...body })).json;
  return { browser, email, id: user.id };
}

test("signing up mails a link, which proves the address and leads where it was asked to", async () => {
  const { browser, email } = await person({ callbackURL: `${SPA}/welcome` });
  const [mail] = await mails(email);
  assert.equal(mail.subject, "Confirm your e-mail address");
  assert.equal(await verified(browser), false);
  const followed = await browser.followMailedLink(linkIn(mail));
  assert.deepEqual([followed.status, followed.location], [303, `${SPA}/welcome`]);
  assert.equal(await verified(browser), true);
  const stranger = worker.browser();
  const again = await stranger.followMailedLink(linkIn(mail));
  assert.deepEqual([again.status, /is confirmed/.test(again.text)], [200, true], "a second look says what the first one did");
  assert.equal((await stranger.get(at("/get-session"))).json, null, "a link proves an address, and signs nobody in");
});

test("without a callbackURL the answer to a script is JSON", async () => {
  const { email } = await person();
  const url = new URL(linkIn((await mails(email))[0]));
  assert.deepEqual([url.pathname, [...url.searchParams.keys()]], ["/verify-email", ["token"]]);
  assert.deepEqual((await worker.browser().verifyAsScript(url.href, SPA)).json, { status: true, user: null });
  url.searchParams.set("token", "bad");
  const bad = await worker.browser().verifyAsScript(url.href, SPA);
  assert.deepEqual([bad.status, bad.json], [401, { message: "Invalid token", code: "INVALID_TOKEN" }]);
});

test("a link is good in time, for the address it was sent to", async () => {
  const late = await person();
  const link = linkIn((await mails(late.email))[0]);
  await worker.d1.prepare("update verification set expires_at = 1 where identifier = ?").bind(late.id).run();
  assert.equal((await worker.browser().followMailedLink(link)).status, 400);
  assert.equal((await worker.browser().verifyAsScript(link, SPA)).status, 401);

  const moved = await person();
  const old = linkIn((await mails(moved.email))[0]);
  await worker.d1.prepare("update user set email = ? where id = ?").bind(uniqueEmail(), moved.id).run();
  assert.equal((await moved.browser.followMailedLink(old)).status, 400);
  assert.equal(await verified(moved.browser), false);
  for (const token of ["", "x", "A".repeat(43)]) {
    assert.equal(
      (await worker.browser().verifyAsScript(`${AUTH}/verify-email?token=${token}&callbackURL=/v`, SPA)).location,
      "/v?error=INVALID_TOKEN",
    );
    assert.equal(
      (await worker.browser().followMailedLink(`${AUTH}/verify-email?token=${token}&callbackURL=${SPA}/v`)).location,
      `${SPA}/v?error=INVALID_TOKEN`,
      "a front-end says it itself",
    );
  }
});

test("asked for again, alike for known and unknown addresses", async () => {
  const { email } = await person();
  const stranger = uniqueEmail();
  const shape = ({ status, json, headers }) => ({ status, json, names: Object.keys(headers).sort(), trips: headers["server-timing"] });
  const [known, unknown] = [await send(email, { callbackURL: "/v" }), await send(stranger, { callbackURL: "/v" })];
  assert.deepEqual(shape(known), shape(unknown));
  assert.deepEqual(known.json, { status: true });
  assert.equal((await mails(email)).length, 2);
  assert.deepEqual(await mails(stranger), []);
  assert.equal(new URL(linkIn((await mails(email))[0])).searchParams.get("callbackURL"), "/v");
});

test("links lead to trusted places only, and mails are limited", async () => {
  const { email } = await person();
  const evil = await send(email, { callbackURL: "//evil.example" });
  assert.deepEqual([evil.status, evil.json.code], [403, "INVALID_CALLBACK_URL"]);
  const link = new URL(linkIn((await mails(email))[0]));
  link.searchParams.set("callbackURL", "https://evil.example");
  assert.equal((await worker.browser().get(link.href)).status, 403);
  assert.equal((await worker.browser().verifyAsScript(link.href, SPA)).status, 403);
  const limited = await startWorker({ settings: { LIMIT_MAIL: "2/60" } });
  try {
    const browser = limited.browser();
    const statuses = [];
    for (let n = 0; n < 3; n++) statuses.push((await browser.post(at("/send-verification-email"), { email: uniqueEmail() })).status);
    assert.deepEqual(statuses, [200, 200, 429]);
  } finally {
    await limited.dispose();
  }
});

test("the token is not readable in the database", async () => {
  const { email } = await person();
  const token = new URL(linkIn((await mails(email))[0])).searchParams.get("token");
  const dump = JSON.stringify(await worker.rows("select * from verification")) + JSON.stringify(await worker.rows("select * from outbox"));
  assert.ok(!dump.includes(token));
});
