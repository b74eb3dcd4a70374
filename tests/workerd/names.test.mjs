// Names and other lines of text: bounded, and without what a reader could not see.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { Authenticator } from "../harness/authenticator.mjs";
import { signUp } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

let worker;
before(async () => {
  worker = await startWorker({
    settings: { CLIENT_REGISTRATION: "open", SESSION_COOKIE_CACHE_SECONDS: "0", SESSION_RECHECK_SECONDS: "0" },
  });
});
after(() => worker?.dispose());

/** Not seen, or turning what is; a joiner between letters that nothing joins. */
const HIDDEN = ["\u200b", "\ufeff", "\u3164", "\u115f", "A\u202eB", "A\u2066B", "A\u{e0041}", "pay\u200dpal", "A\u2028B", "\u200d"];
const LINKS = ["Payroll https://evil.example", "WWW.evil.example"];
const BAD = ["", "   ", "A\u0000", "A\nB", "A\u001b[31m", "x".repeat(257), ...HIDDEN, ...LINKS];
const GOOD = ["A", "Zoë Ångström", "李小龍", "O'Brien <b>", "x".repeat(256), "می\u200cخواهم", "👩\u200d💻 Ada", "❤\ufe0f", "Acme.Inc"];

test("a name is one visible line, when signing up and when changing it", async () => {
  const browser = worker.browser();
  const signUp = (name) =>
    worker.browser().post(`${AUTH}/api/auth/sign-up/email`, { name, email: uniqueEmail(), password: "a long password" });
  await browser.post(`${AUTH}/api/auth/sign-up/email`, { name: "Before", email: uniqueEmail(), password: "a long password" });
  const update = (name) => browser.post(`${AUTH}/api/auth/update-user`, { name });
  const name = async () => (await browser.get(`${AUTH}/api/auth/get-session`)).json.user.name;
  for (const bad of BAD) {
    // Front-ends that ask for no name sign up with an empty one.
    for (const answer of [...(bad ? [await signUp(bad)] : []), await update(bad)]) {
      assert.deepEqual(
        [answer.status, answer.json.code, /\[body\.name\]/.test(answer.json.message)],
        [400, "VALIDATION_ERROR", true],
        JSON.stringify(bad),
      );
    }
    assert.equal(await name(), "Before");
  }
  for (const good of GOOD) {
    assert.equal((await signUp(good)).json.user.name, good);
    assert.equal((await update(good)).status, 200);
    assert.equal(await name(), good);
  }
});

test("whatever is shown by a name has one that is seen: organizations, teams, clients, keys, passkeys", async () => {
  const { browser } = await signUp(worker);
  const post = (path, body) => browser.post(`${AUTH}/api/auth${path}`, body);
  const made = await post("/organization/create", { name: "Acme", slug: "acme" });
  assert.equal(made.status, 200, made.text);
  const organizationId = made.json.id;
  const authenticator = new Authenticator({ origin: AUTH });
  const response = authenticator.create((await browser.get(`${AUTH}/api/auth/passkey/generate-register-options`)).json);
  const passkey = await post("/passkey/verify-registration", { response });
  assert.equal(passkey.status, 200, passkey.text);
  for (const name of HIDDEN) {
    const answers = {
      "an organization": await post("/organization/create", { name, slug: "other" }),
      "an organization's next name": await post("/organization/update", { organizationId, data: { name } }),
      "a team": await post("/organization/create-team", { organizationId, name }),
      "a key": await post("/api-key/create", { name }),
      "a passkey": await post("/passkey/update-passkey", { id: passkey.json.id, name }),
      "a user's name to show": await post("/update-user", { displayUsername: name }),
      "a client": await browser.send("POST", `${AUTH}/oauth2/register`, {
        body: { client_name: name, redirect_uris: ["https://spa.example/callback"], token_endpoint_auth_method: "none" },
      }),
    };
    for (const [what, { status, text }] of Object.entries(answers)) assert.equal(status, 400, `${what} ${JSON.stringify(name)}: ${text}`);
  }
  for (const name of LINKS) {
    assert.equal((await post("/organization/create", { name, slug: "other" })).status, 400, name);
    assert.equal((await post("/organization/update", { organizationId, data: { name } })).status, 400, name);
    assert.equal((await post("/organization/create-team", { organizationId, name })).status, 400, name);
  }
});

test("an invitation quotes the names of strangers below a subject of ours, and they lead nowhere", async () => {
  const { browser, id } = await signUp(worker);
  const { json } = await browser.post(`${AUTH}/api/auth/organization/create`, { name: "Bolt", slug: "bolt" });
  // Names from before they were judged.
  await worker.d1.prepare("update tenant set name = ? where id = ?").bind("https://evil.example/verify", json.id).run();
  await worker.d1
    .prepare("update user set name = ? where id = ?")
    .bind(`Your account is suspended: www.evil.example\u202e ${"x".repeat(100)}`, id)
    .run();
  const to = uniqueEmail();
  const invited = await browser.post(`${AUTH}/api/auth/organization/invite-member`, { email: to, role: "member", organizationId: json.id });
  assert.equal(invited.status, 200, invited.text);
  const [mail] = (await browser.get(`${AUTH}/dev/mailbox?to=${encodeURIComponent(to)}`, { headers: { accept: "application/json" } })).json;
  assert.equal(mail.subject, "You are invited");
  const [asks, link, ...rest] = mail.text.split("\n\n");
  assert.match(asks, /^“Your account is suspended: www evil\.example x+…” invites you to “https evil\.example\/verify”\.$/);
  assert.match(link, /^http:\/\/auth\.localhost\/invitation\?/);
  assert.ok(!rest.join().includes("evil"), mail.text);
  assert.ok(!/https?:\/\/evil|www\./.test(mail.html), mail.html);
});

test("pages that are part of no client's flow share no window with the page that opened them", async () => {
  const { browser } = await signUp(worker);
  const of = async (path) =>
    (await browser.get(`${AUTH}${path}`, { headers: { accept: "text/html" } })).headers["cross-origin-opener-policy"];
  assert.equal(await of("/account"), "same-origin");
  assert.equal(await of("/device"), "same-origin");
  // A client's window of its own: the page that opened it waits for the answer.
  assert.equal(await of("/login"), undefined);
});
