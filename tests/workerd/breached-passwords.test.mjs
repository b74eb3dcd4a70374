// BREACHED_PASSWORDS: new passwords are looked up in a range API, of which it learns five digits, and without which all goes on.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, beforeEach, test } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { AUTH, freePort, startWorker } from "../harness/worker.mjs";

const [GOOD, NEXT, BREACHED] = ["correct horse battery staple", "another good password", "hunter2 hunter2"];
const sha1 = (password) => createHash("sha1").update(password.normalize("NFKC")).digest("hex").toUpperCase();
const COMPROMISED = [
  400,
  { message: "The password you entered has been compromised. Please choose a different password.", code: "PASSWORD_COMPROMISED" },
];

let worker, service, answerWith;
const asked = [];
/** The range of a prefix: breached passwords with a count, and padding without one. */
function range(request, response) {
  const prefix = request.url.split("/").at(-1);
  const lines = [BREACHED, "pa\u00df".repeat(4)]
    .map(sha1)
    .filter((digest) => digest.startsWith(prefix))
    .map((digest) => `${digest.slice(5)}:42`);
  // Padding names what was not breached, and must not be believed.
  lines.push(`${sha1(GOOD).slice(5)}:0`, `${"0".repeat(35)}:7`);
  response.writeHead(200, { "content-type": "text/plain" }).end(lines.join("\r\n"));
}
before(async () => {
  service = createServer((request, response) => {
    let body = "";
    request
      .on("data", (chunk) => (body += chunk))
      .on("end", () => {
        asked.push({ method: request.method, url: request.url, headers: request.headers, body });
        answerWith(request, response);
      });
  }).listen(0, "127.0.0.1");
  await once(service, "listening");
  const url = `http://127.0.0.1:${service.address().port}/range/`;
  worker = await startWorker({
    settings: {
      BREACHED_PASSWORDS: url,
      UPSTREAM_TIMEOUT_SECONDS: "1",
      LIMIT_MAIL: "1000/60",
      SIGN_IN_WITH: "password,magic-link,email-otp,phone",
    },
  });
});
after(async () => {
  await worker?.dispose();
  service?.closeAllConnections();
  service?.close();
});
beforeEach(() => {
  asked.length = 0;
  answerWith = range;
});

const at = (path) => `${AUTH}/api/auth${path}`;
const mails = async (to) => (await worker.browser().get(`${AUTH}/dev/mailbox?to=${encodeURIComponent(to)}`)).json;
const signUp = (password, email = uniqueEmail(), browser = worker.browser()) =>
  browser.post(at("/sign-up/email"), { name: "P", email, password });
const signIn = (email, password) => worker.browser().post(at("/sign-in/email"), { email, password });
const unchecked = async () => (await worker.rows("select count(*) as n from audit_event where event = 'password.breach_unchecked'"))[0].n;
async function person(password = GOOD) {
  const browser = worker.browser();
  const email = uniqueEmail();
  const { user } = (await signUp(password, email, browser)).json;
  asked.length = 0;
  return { browser, email, id: user.id };
}
async function resetToken(email) {
  await worker.browser().post(at("/request-password-reset"), { email });
  return (await mails(email))[0].text.match(/reset-password\/([\w-]+)/)[1];
}
async function resetCode(email) {
  await worker.browser().post(at("/email-otp/request-password-reset"), { email });
  return (await mails(email))[0].subject.slice(0, 6);
}

test("five digits of the digest leave, and nothing else", async () => {
  assert.equal((await signUp(GOOD)).status, 200);
  assert.equal(asked.length, 1);
  const [{ method, url, headers, body }] = asked;
  assert.deepEqual([method, url, body], ["GET", `/range/${sha1(GOOD).slice(0, 5)}`, ""]);
  assert.equal(headers["add-padding"], "true");
  const sent = JSON.stringify(asked);
  for (const secret of [GOOD, sha1(GOOD).slice(0, 6), sha1(GOOD).slice(5)]) assert.ok(!sent.toUpperCase().includes(secret.toUpperCase()));
  assert.ok(!sent.includes("example.com") && !headers.cookie && !headers.authorization && !headers["cf-connecting-ip"]);
});

test("a breached password signs nobody up, and leaves nothing", async () => {
  const email = uniqueEmail();
  const refused = await signUp(BREACHED, email);
  assert.deepEqual([refused.status, refused.json, refused.cookies], [...COMPROMISED, []]);
  const page = await worker.browser().submit(`${AUTH}/sign-up`, { name: "P", email, password: BREACHED });
  assert.deepEqual([page.status, page.cookies, /theft of passwords/.test(page.text)], [400, [], true]);
  assert.deepEqual(await worker.rows("select id from user where email = ?", email), []);
  // The normal form is what is hashed, and what is looked up.
  assert.deepEqual((await signUp("pa\u00df".repeat(4))).json, COMPROMISED[1]);
  assert.equal((await signUp(GOOD, email)).status, 200, "padding was believed");
});

test("nor is it changed to, and the current password is judged first", async () => {
  const { browser, email } = await person();
  const change = (currentPassword, newPassword) => browser.post(at("/change-password"), { currentPassword, newPassword });
  assert.equal((await change("wrong password", BREACHED)).json.code, "INVALID_PASSWORD");
  assert.deepEqual(asked, [], "whoever knows no password makes us ask");
  const refused = await change(GOOD, BREACHED);
  assert.deepEqual([refused.status, refused.json], COMPROMISED);
  assert.equal((await signIn(email, GOOD)).status, 200);
  assert.equal((await change(GOOD, NEXT)).status, 200);
});

test("nor is it reset to, which costs neither link nor code", async () => {
  const { email } = await person();
  const byLink = (token, newPassword) => worker.browser().post(at("/reset-password"), { token, newPassword });
  const byCode = (otp, password) => worker.browser().post(at("/email-otp/reset-password"), { email, otp, password });
  for (const [get, use] of [
    [resetToken, byLink],
    [resetCode, byCode],
  ]) {
    const secret = await get(email);
    for (let n = 0; n < 4; n += 1) {
      const refused = await use(secret, BREACHED);
      assert.deepEqual([refused.status, refused.json], COMPROMISED);
    }
    assert.equal((await use(secret, NEXT)).status, 200);
    asked.length = 0;
    assert.equal((await use(secret, BREACHED)).status, 400);
    assert.deepEqual(asked, [], "whoever has no link or code makes us ask");
  }
  assert.equal((await signIn(email, NEXT)).status, 200);
});

test("what is refused for less is not asked about, and signing in never is", async () => {
  const { browser, email } = await person();
  for (const password of ["short", "x".repeat(129)]) assert.equal((await signUp(password)).status, 400);
  assert.equal((await signIn(email, GOOD)).status, 200);
  assert.equal((await signIn(email, BREACHED)).status, 401);
  assert.equal((await browser.post(at("/verify-password"), { password: GOOD })).status, 200);
  await worker.browser().post(at("/sign-in/magic-link"), { email });
  await worker.browser().followMailedLink((await mails(email))[0].text.match(/https?:\S+/)[0]);
  assert.deepEqual(asked, []);
});

test("whoever had it before still signs in with it", async () => {
  answerWith = (_, response) => response.writeHead(503).end();
  const { email } = await person(BREACHED);
  answerWith = range;
  assert.equal((await signIn(email, BREACHED)).status, 200);
  assert.deepEqual(asked, []);
});

test("a service that fails, is slow, or answers nonsense keeps nobody out, and each time it is noted", async (t) => {
  const failures = {
    "an error": (_, response) => response.writeHead(503).end(),
    "a limit": (_, response) => response.writeHead(429, { "retry-after": "2" }).end(),
    "a redirect": (_, response) => response.writeHead(302, { location: "http://127.0.0.1:1/" }).end(),
    "no answer": () => {},
    "an answer that does not end": (_, response) => response.writeHead(200).write("0018A45C4D1DEF81644B54AB7F969B88D65:1\r\n"),
    "a broken connection": (request) => request.socket.destroy(),
    "no text": (_, response) => response.writeHead(200).end(Buffer.from([0xff, 0xfe, 0x00, 0xc3, 0x28])),
    "far too much": (_, response) => response.writeHead(200).end("A".repeat(1_000_000)),
  };
  for (const [name, fail] of Object.entries(failures)) {
    await t.test(name, async () => {
      answerWith = fail;
      const before = await unchecked();
      const answer = await signUp(BREACHED);
      assert.equal(answer.status, 200, answer.text);
      assert.equal(await unchecked(), before + 1);
    });
  }
  const { browser, email, id } = await person();
  answerWith = failures["an error"];
  assert.equal((await browser.post(at("/change-password"), { currentPassword: GOOD, newPassword: NEXT })).status, 200);
  assert.equal((await worker.browser().post(at("/reset-password"), { token: await resetToken(email), newPassword: GOOD })).status, 200);
  const noted = await worker.rows("select details from audit_event where event = 'password.breach_unchecked' and user_id = ?", id);
  assert.equal(noted.length, 2, "of whom the password is, is not noted");
  const digests = [GOOD, NEXT, BREACHED].flatMap((password) => [password, sha1(password), sha1(password).slice(5)]);
  const dump = JSON.stringify(await worker.rows("select * from audit_event")) + worker.logs();
  for (const secret of digests) assert.ok(!dump.includes(secret));
});

test("a service that is not there keeps nobody out either", async () => {
  const nowhere = await startWorker({
    settings: { BREACHED_PASSWORDS: `http://127.0.0.1:${await freePort()}/range/`, UPSTREAM_TIMEOUT_SECONDS: "1" },
  });
  try {
    const answer = await nowhere.browser().post(at("/sign-up/email"), { name: "P", email: uniqueEmail(), password: BREACHED });
    assert.equal(answer.status, 200, answer.text);
    const [{ severity }] = await nowhere.rows("select severity from audit_event where event = 'password.breach_unchecked'");
    assert.equal(severity, "medium");
  } finally {
    await nowhere.dispose();
  }
});
