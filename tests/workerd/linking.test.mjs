// Identities linked and unlinked: by whom, when, what is told of it, and links that wait for a mail.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, beforeEach, test } from "node:test";
import { addIssuer } from "../harness/issuer.mjs";
import { PASSWORD, giveRole, signUp } from "../harness/seed.mjs";
import { consent, startUpstream, stranger } from "../harness/upstream.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const SETTINGS = {
  LIMIT_MAIL: "1000/60",
  SESSION_COOKIE_CACHE_SECONDS: "0",
  SESSION_RECHECK_SECONDS: "0",
  SIGN_IN_WITH: "password,passkey,magic-link,email-otp,anonymous",
};
const DAY = 86_400_000;
let worker, upstream;
before(async () => {
  upstream = await startUpstream();
  worker = await startWorker({ settings: SETTINGS });
  await addIssuer(worker.d1, upstream.url);
  await addIssuer(worker.d1, upstream.url, { name: "other", login_page_name: "Other" });
  await addIssuer(worker.d1, upstream.url, { name: "asking", login_page_name: "Asking", require_confirmation: 1 });
});
after(async () => {
  await worker?.dispose();
  await upstream?.stop();
});
beforeEach(() => upstream.behave());

const at = (path) => `${AUTH}/api/auth${path}`;
const run = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
const told = ({ status, json }) => [status, json.code];
const session = async (browser) => (await browser.get(at("/get-session?disableCookieCache=true"))).json;
const accounts = async (browser) => (await browser.get(at("/list-accounts"))).json;
const names = async (browser) => (await accounts(browser)).map(({ providerId }) => providerId).sort();
const idOf = async (browser, provider) => (await accounts(browser)).find(({ providerId }) => providerId === provider)?.id;
const mails = async (to) => (await worker.browser().get(`${AUTH}/dev/mailbox?to=${encodeURIComponent(to)}`)).json;
const events = async (user, event) =>
  (await worker.rows("select details from audit_event where user_id = ? and event = ?", user, event)).map(({ details }) =>
    JSON.parse(details),
  );
const rows = (subject) => worker.rows("select a.id, a.user_id, a.confirmed_at from account a where a.subject = ?", subject);
const errorOf = (answer) => {
  assert.equal(answer.status, 302, answer.text);
  return new URL(answer.location, AUTH).searchParams.get("error");
};

async function begin(browser, path, body) {
  const answer = await browser.post(at(path), { provider: "acme", callbackURL: "/done", ...body });
  assert.equal(answer.status, 200, answer.text);
  return answer.json.url;
}
const signInFlow = async (browser, person, body) => consent(await begin(browser, "/sign-in/social", body), person);
const linkFlow = async (browser, person, body) => consent(await begin(browser, "/link-social", body), person);
const signIn = async (browser, person, body) => browser.get(await signInFlow(browser, person, body));
const link = async (browser, person, body) => browser.get(await linkFlow(browser, person, body));
const unlink = (browser, accountId) => browser.post(at("/unlink-account"), { accountId });

async function proven() {
  const who = await signUp(worker);
  await run("update user set email_verified = 1 where id = ?", who.id);
  return who;
}

/** Somebody without a password: `providers` are all their ways in. */
async function upstreamUser(...providers) {
  const browser = worker.browser();
  const person = stranger();
  const [first, ...more] = providers;
  assert.equal((await signIn(browser, person, { provider: first })).location, "/done");
  for (const provider of more) assert.equal((await link(browser, stranger(), { provider })).location, "/done");
  return { browser, person, email: person.email, id: (await session(browser)).user.id };
}

function addPasskey(user) {
  const columns = {
    id: randomUUID(),
    user_id: user,
    rp_id: "auth.localhost",
    credential_id: randomUUID(),
    public_key: "x",
    device_type: "singleDevice",
    aaguid: "x",
    created_at: 1,
    updated_at: 1,
  };
  return run(`insert into passkey (${Object.keys(columns)}) values (${Object.keys(columns).map(() => "?")})`, ...Object.values(columns));
}

async function guest() {
  const browser = worker.browser();
  const answer = await browser.post(at("/sign-in/anonymous"), {});
  assert.equal(answer.status, 200, answer.text);
  return { browser, id: answer.json.user.id };
}

/** The token in the newest mail that asks to confirm a link. */
async function confirmation(to) {
  const letter = (await mails(to)).find(({ text }) => text.includes("/confirm-account?token="));
  return letter && new URL(letter.text.match(/http\S+\/confirm-account\?token=\S+/)[0]).searchParams.get("token");
}
const look = (token, browser = worker.browser()) => browser.get(`${AUTH}/confirm-account?token=${token}`);
const confirm = (token, browser = worker.browser()) => browser.submit(`${AUTH}/confirm-account`, { token });

test("a linked identity signs in, is told of and audited; a second time changes nothing", async () => {
  const who = await signUp(worker);
  const person = stranger();
  const answer = await link(who.browser, person, { callbackURL: "/settings?a=1" });
  assert.equal(answer.location, "/settings?a=1");
  assert.deepEqual(await names(who.browser), ["acme", "credential"]);
  assert.deepEqual(await events(who.id, "account.linked"), [{ issuer: "acme", subject: person.sub }]);
  const letters = async () => (await mails(who.email)).filter(({ subject }) => subject === "Acme can sign you in").length;
  assert.equal(await letters(), 1);
  assert.deepEqual(await mails(person.email), [], "the issuer's address is not the user's");

  const elsewhere = worker.browser();
  assert.equal((await signIn(elsewhere, person)).location, "/done");
  assert.equal((await session(elsewhere)).user.id, who.id);
  assert.equal((await session(elsewhere)).user.email, who.email);

  assert.equal((await link(who.browser, person)).location, "/done");
  assert.equal((await rows(person.sub)).length, 1);
  assert.equal((await events(who.id, "account.linked")).length, 1);
  assert.equal(await letters(), 1);
});

test("an identity of somebody else's stays theirs", async () => {
  const owner = await signUp(worker);
  const person = stranger();
  await link(owner.browser, person);
  const thief = await signUp(worker);
  const answer = await link(thief.browser, person, { errorCallbackURL: "http://spa.localhost:5173/oops" });
  assert.equal(answer.location, "http://spa.localhost:5173/oops?error=account_already_linked_to_different_user");
  assert.deepEqual(
    (await rows(person.sub)).map((row) => row.user_id),
    [owner.id],
  );
  assert.deepEqual(await names(thief.browser), ["credential"]);
  assert.deepEqual(await events(thief.id, "account.linked"), []);
  assert.equal((await session(thief.browser)).user.id, thief.id);
});

test("linking is asked for in a fresh session of one's own", async () => {
  const nobody = worker.browser();
  for (const path of ["/link-social", "/unlink-account"]) {
    const body = path === "/link-social" ? { provider: "acme" } : { accountId: randomUUID() };
    assert.equal((await nobody.post(at(path), body)).status, 401, path);
  }
  const who = await upstreamUser("acme", "other");
  const account = await idOf(who.browser, "other");
  await run("update session set authenticated_at = ? where user_id = ?", Date.now() - 2 * DAY, who.id);
  const token = await upstream.idToken(stranger());
  for (const [path, body] of [
    ["/link-social", { provider: "acme" }],
    ["/link-social", { provider: "acme", idToken: { token } }],
    ["/unlink-account", { accountId: account }],
  ]) {
    assert.deepEqual(told(await who.browser.post(at(path), body)), [403, "SESSION_NOT_FRESH"], path);
  }
  assert.deepEqual(await names(who.browser), ["acme", "other"]);

  const admin = await signUp(worker, { roles: ["admin"] });
  await run("update session set authenticated_at = ?, impersonated_by = ? where user_id = ?", Date.now(), admin.id, who.id);
  for (const [path, body] of [
    ["/link-social", { provider: "acme" }],
    ["/link-social", { provider: "acme", idToken: { token } }],
    ["/unlink-account", { accountId: account }],
    ["/get-access-token", { accountId: account }],
    ["/refresh-token", { accountId: account }],
  ]) {
    assert.deepEqual(told(await who.browser.post(at(path), body)), [403, "FORBIDDEN"], path);
  }
  await run("update session set impersonated_by = null where user_id = ?", who.id);
  assert.deepEqual(await names(who.browser), ["acme", "other"]);
});

test("an unknown or disabled provider is none to link", async () => {
  const who = await signUp(worker);
  await addIssuer(worker.d1, upstream.url, { name: "off", enabled: 0 });
  for (const provider of ["off", "nope", "credential"]) {
    for (const path of ["/link-social", "/sign-in/social"])
      assert.deepEqual(told(await who.browser.post(at(path), { provider })), [404, "PROVIDER_NOT_FOUND"], `${path} ${provider}`);
  }
  const evil = await who.browser.post(at("/link-social"), { provider: "acme", callbackURL: "https://evil.example/" });
  assert.deepEqual(told(evil), [403, "INVALID_CALLBACK_URL"]);
  const foreign = await who.browser.post(at("/link-social"), { provider: "acme" }, { origin: "https://evil.example" });
  assert.equal(foreign.status, 403);
});

test("whoever began must be there at the end", async () => {
  const [who, other] = [await signUp(worker, { roles: ["admin"] }), await signUp(worker)];
  const person = stranger();
  const out = await linkFlow(who.browser, person);
  await who.browser.post(at("/sign-out"), {});
  assert.equal(errorOf(await who.browser.get(out)), "not_signed_in");

  await who.browser.post(at("/sign-in/email"), { email: who.email, password: PASSWORD });
  const swapped = await linkFlow(who.browser, person);
  await who.browser.post(at("/sign-out"), {});
  await who.browser.post(at("/sign-in/email"), { email: other.email, password: PASSWORD });
  assert.equal(errorOf(await who.browser.get(swapped)), "not_signed_in");

  // The same user in another browser did not begin it.
  const elsewhere = worker.browser();
  await elsewhere.post(at("/sign-in/email"), { email: other.email, password: PASSWORD });
  const begun = await linkFlow(other.browser, person);
  assert.equal(errorOf(await elsewhere.get(begun)), "state_mismatch");
  assert.equal(errorOf(await other.browser.get(begun)), "state_mismatch", "looking has used it up");

  const impersonated = await linkFlow(other.browser, person);
  await run("update session set impersonated_by = ? where user_id = ?", who.id, other.id);
  assert.equal(errorOf(await other.browser.get(impersonated)), "not_signed_in");
  await run("update session set impersonated_by = null where user_id = ?", other.id);

  const suspended = await linkFlow(other.browser, person);
  await run("update user set status = 'suspended', status_reason = 'x' where id = ?", other.id);
  assert.equal(errorOf(await other.browser.get(suspended)), "not_signed_in");
  assert.deepEqual(await rows(person.sub), []);
});

test("an issuer that was switched off meanwhile ends the flow", async () => {
  const who = await signUp(worker);
  const id = await addIssuer(worker.d1, upstream.url, { name: "leaving" });
  const person = stranger();
  const begun = await linkFlow(who.browser, person, { provider: "leaving" });
  await run("update issuer set enabled = 0 where id = ?", id);
  assert.equal(errorOf(await who.browser.get(begun)), "provider_not_found");
  assert.deepEqual(await rows(person.sub), []);
});

test("allowed domains hold for linking as well", async () => {
  await addIssuer(worker.d1, upstream.url, { name: "domains", allowed_domains: '["example.org"]' });
  const who = await signUp(worker);
  for (const [claims, code] of [
    [{ email: "x@example.com" }, "domain_not_allowed"],
    [{ email: "x@example.org", email_verified: false }, "domain_not_allowed"],
    [{ email: undefined }, "domain_not_allowed"],
    [{ email: "x@example.org" }, null],
  ]) {
    const answer = await link(who.browser, stranger(claims), { provider: "domains" });
    assert.equal(errorOf(answer), code, JSON.stringify(claims));
  }
  assert.deepEqual(await names(who.browser), ["credential", "domains"]);
});

test("a guest who links an identity is a user, under the same id", async () => {
  const who = await guest();
  const person = stranger({ name: "Real Person" });
  assert.equal((await link(who.browser, person)).location, "/done");
  const { user } = await session(who.browser);
  assert.deepEqual(
    [user.id, user.isAnonymous, user.email, user.emailVerified, user.name],
    [who.id, false, person.email, false, "Real Person"],
  );
  const elsewhere = worker.browser();
  await signIn(elsewhere, person);
  assert.equal((await session(elsewhere)).user.id, who.id);
});

test("a guest does not get somebody's address by linking", async () => {
  const owner = await signUp(worker);
  const who = await guest();
  const person = stranger({ email: owner.email });
  assert.equal(errorOf(await link(who.browser, person)), "account_not_linked");
  const { user } = await session(who.browser);
  assert.deepEqual([user.id, user.isAnonymous], [who.id, true]);
  assert.deepEqual(await rows(person.sub), []);
  const token = await upstream.idToken(person);
  const native = await who.browser.post(at("/link-social"), { provider: "acme", idToken: { token } });
  assert.deepEqual(told(native), [401, "OAUTH_LINK_ERROR"]);
  assert.deepEqual(await rows(person.sub), []);
});

test("a guest who links where links are confirmed can confirm it", async () => {
  const who = await guest();
  const person = stranger();
  assert.equal(errorOf(await link(who.browser, person, { provider: "asking" })), "account_not_confirmed");
  const token = await confirmation(person.email);
  assert.ok(token, "nobody can read what is mailed to a guest's stand-in address");
  assert.equal((await confirm(token)).status, 200);
  const elsewhere = worker.browser();
  assert.equal((await signIn(elsewhere, person, { provider: "asking" })).location, "/done");
  assert.equal((await session(elsewhere)).user.id, who.id);
});

test("two tabs may link at a time", async () => {
  const who = await signUp(worker);
  const first = await linkFlow(who.browser, stranger());
  const second = await linkFlow(who.browser, stranger(), { provider: "other" });
  assert.equal((await who.browser.get(second)).location, "/done");
  assert.equal((await who.browser.get(first)).location, "/done");
  assert.deepEqual(await names(who.browser), ["acme", "credential", "other"]);
});

test("of two users who link one identity at once, one does", async () => {
  const [one, two] = [await signUp(worker), await signUp(worker)];
  const person = stranger();
  const callbacks = [];
  for (let n = 0; n < 20; n += 1) {
    const { browser } = n % 2 ? one : two;
    callbacks.push([browser, await linkFlow(browser, person)]);
  }
  const answers = await Promise.all(callbacks.map(([browser, url]) => browser.get(url, { keepCookies: false })));
  const found = await rows(person.sub);
  assert.equal(found.length, 1);
  for (const [n, answer] of answers.entries()) {
    assert.equal(answer.status, 302, answer.text);
    const mine = (n % 2 ? one : two).id === found[0].user_id;
    if (!mine) assert.equal(errorOf(answer), "account_already_linked_to_different_user");
  }
  assert.ok(answers.some(({ location }) => location === "/done"));
  const audits = [...(await events(one.id, "account.linked")), ...(await events(two.id, "account.linked"))];
  assert.equal(audits.length, 1);
});

test("a user who links one identity in ten tabs at once has linked it", async () => {
  const who = await signUp(worker);
  const person = stranger();
  const callbacks = [];
  for (let n = 0; n < 10; n += 1) callbacks.push(await linkFlow(who.browser, person));
  const answers = await Promise.all(callbacks.map((url) => who.browser.get(url, { keepCookies: false })));
  assert.deepEqual([...new Set(answers.map(({ location }) => location))], ["/done"], "it is nobody else's");
  assert.deepEqual(
    (await rows(person.sub)).map((row) => row.user_id),
    [who.id],
  );
  assert.equal((await events(who.id, "account.linked")).length, 1);
});

test("an identity is unlinked, told of and audited, and signs in no more", async () => {
  const who = await signUp(worker);
  const person = stranger();
  await link(who.browser, person);
  const account = await idOf(who.browser, "acme");
  const answer = await unlink(who.browser, account);
  assert.deepEqual([answer.status, answer.json], [200, { status: true }]);
  assert.deepEqual(await names(who.browser), ["credential"]);
  assert.deepEqual(
    (await events(who.id, "account.unlinked")).map((one) => [one.account, one.subject]),
    [[account, person.sub]],
  );
  const letter = (await mails(who.email)).find(({ subject }) => subject === "A way of signing in was removed");
  assert.match(letter.text, /Acme was taken/);
  assert.deepEqual(told(await unlink(who.browser, account)), [400, "ACCOUNT_NOT_FOUND"]);
  const elsewhere = worker.browser();
  await signIn(elsewhere, person);
  assert.notEqual((await session(elsewhere)).user.id, who.id);
});

test("the last way in stays", async () => {
  const password = await signUp(worker);
  assert.deepEqual(told(await unlink(password.browser, await idOf(password.browser, "credential"))), [
    400,
    "FAILED_TO_UNLINK_LAST_ACCOUNT",
  ]);
  const who = await upstreamUser("acme");
  const account = await idOf(who.browser, "acme");
  assert.deepEqual(told(await unlink(who.browser, account)), [400, "FAILED_TO_UNLINK_LAST_ACCOUNT"]);
  assert.deepEqual(await events(who.id, "account.unlinked"), []);
  assert.deepEqual(
    (await mails(who.email)).filter(({ subject }) => subject === "A way of signing in was removed"),
    [],
  );
  assert.equal((await signIn(worker.browser(), who.person)).location, "/done");
  await addPasskey(who.id);
  assert.equal((await unlink(who.browser, account)).status, 200, "a passkey is left");
});

test("what does not sign in is no other way in", async () => {
  const off = await addIssuer(worker.d1, upstream.url, { name: "tooff" });
  for (const spoil of [
    (id) => run("update account set is_active = 0 where user_id = ? and issuer_id = ?", id, off),
    (id) => run("update account set confirmed_at = null where user_id = ? and issuer_id = ?", id, off),
    () => run("update issuer set enabled = 0 where id = ?", off),
  ]) {
    const who = await upstreamUser("acme", "tooff");
    await spoil(who.id);
    const refusal = await unlink(who.browser, await idOf(who.browser, "acme"));
    assert.deepEqual(told(refusal), [400, "FAILED_TO_UNLINK_LAST_ACCOUNT"], String(spoil));
  }
});

test("a way in that is closed here is no other way in", async () => {
  for (const [ways, seed] of [
    [
      "magic-link",
      async (other, user) => {
        const columns = {
          id: randomUUID(),
          user_id: user,
          rp_id: "auth.localhost",
          credential_id: randomUUID(),
          public_key: "x",
          device_type: "singleDevice",
          aaguid: "x",
          created_at: 1,
          updated_at: 1,
        };
        await other.d1
          .prepare(`insert into passkey (${Object.keys(columns)}) values (${Object.keys(columns).map(() => "?")})`)
          .bind(...Object.values(columns))
          .run();
      },
    ],
    [
      "passkey",
      (other, user) =>
        other.d1
          .prepare("insert into account (id, user_id, subject, password_hash, created_at, updated_at) values (?, ?, ?, 'x', 1, 1)")
          .bind(randomUUID(), user, user)
          .run(),
    ],
  ]) {
    const other = await startWorker({ settings: { ...SETTINGS, SIGN_IN_WITH: ways } });
    try {
      await addIssuer(other.d1, upstream.url);
      const browser = other.browser();
      assert.equal((await signIn(browser, stranger())).location, "/done");
      await seed(other, (await session(browser)).user.id);
      assert.deepEqual(
        told(await unlink(browser, await idOf(browser, "acme"))),
        [400, "FAILED_TO_UNLINK_LAST_ACCOUNT"],
        `SIGN_IN_WITH=${ways}`,
      );
    } finally {
      await other.dispose();
    }
  }
});

test("of the last two accounts, unlinked at once, one stays", async () => {
  for (let round = 0; round < 5; round += 1) {
    const who = await upstreamUser("acme", "other");
    const both = await accounts(who.browser);
    const answers = await Promise.all(both.flatMap(({ id }) => [id, id]).map((id) => unlink(who.browser, id)));
    assert.equal(answers.filter(({ status }) => status === 200).length, 1);
    for (const answer of answers.filter(({ status }) => status !== 200))
      assert.ok(["FAILED_TO_UNLINK_LAST_ACCOUNT", "ACCOUNT_NOT_FOUND"].includes(answer.json.code), answer.text);
    assert.equal((await accounts(who.browser)).length, 1);
    assert.equal((await events(who.id, "account.unlinked")).length, 1);
  }
});

test("a password is unlinked, and signs in no more", async () => {
  const who = await signUp(worker);
  await link(who.browser, stranger());
  assert.equal((await unlink(who.browser, await idOf(who.browser, "credential"))).status, 200);
  assert.deepEqual(await names(who.browser), ["acme"]);
  assert.equal((await worker.browser().post(at("/sign-in/email"), { email: who.email, password: PASSWORD })).status, 401);
  assert.match((await mails(who.email))[0].text, /Your password was taken/);
});

test("the account of a disabled issuer is unlinked under its own name", async () => {
  const id = await addIssuer(worker.d1, upstream.url, { name: "closing", login_page_name: "Closing Inc" });
  const who = await signUp(worker);
  await link(who.browser, stranger(), { provider: "closing" });
  await run("update issuer set enabled = 0 where id = ?", id);
  assert.equal((await unlink(who.browser, await idOf(who.browser, "closing"))).status, 200);
  assert.deepEqual(await names(who.browser), ["credential"]);
  const letter = (await mails(who.email)).find(({ subject }) => subject === "A way of signing in was removed");
  assert.doesNotMatch(letter.text, /Your password was taken/);
  assert.match(letter.text, /Closing Inc/);
});

test("another user's account is none of mine", async () => {
  const victim = await upstreamUser("acme", "other");
  const thief = await signUp(worker);
  await link(thief.browser, stranger());
  const account = await idOf(victim.browser, "other");
  const malformed = ["", "x", "'", "\u0000", "../x", randomUUID(), "9".repeat(255), "acme"];
  for (const accountId of [account, ...malformed]) {
    for (const path of ["/unlink-account", "/get-access-token", "/refresh-token"]) {
      const answer = await thief.browser.post(at(path), { accountId });
      assert.equal(answer.status, 400, `${path} ${accountId} ${answer.text}`);
      assert.ok(["ACCOUNT_NOT_FOUND", "VALIDATION_ERROR"].includes(answer.json.code), answer.text);
    }
    const info = await thief.browser.get(at(`/account-info?accountId=${encodeURIComponent(accountId)}`));
    assert.equal(info.status, 400, info.text);
  }
  for (const body of [
    {},
    { accountId: 1 },
    { accountId: null },
    { accountId: [account] },
    { accountId: { id: account } },
    { accountId: "9".repeat(256) },
    { providerId: "acme" },
  ]) {
    for (const path of ["/unlink-account", "/get-access-token", "/refresh-token"])
      assert.deepEqual(told(await thief.browser.post(at(path), body)), [400, "VALIDATION_ERROR"], `${path} ${JSON.stringify(body)}`);
  }
  assert.deepEqual(await names(victim.browser), ["acme", "other"]);
});

test("a trusted issuer's automatic link is told by mail and audited", async () => {
  const who = await proven();
  const browser = worker.browser();
  const person = stranger({ email: who.email });
  assert.equal((await signIn(browser, person)).location, "/done");
  assert.equal((await session(browser)).user.id, who.id);
  assert.equal((await mails(who.email)).filter(({ subject }) => subject === "Acme can sign you in").length, 1);
  assert.deepEqual(await events(who.id, "account.linked"), [{ issuer: "acme", subject: person.sub }]);
  await signIn(worker.browser(), person);
  assert.equal((await events(who.id, "account.linked")).length, 1);
});

test("an address that was never proven here gets no link that is to be confirmed", async () => {
  const who = await signUp(worker);
  const person = stranger({ email: who.email });
  const browser = worker.browser();
  assert.equal(errorOf(await signIn(browser, person, { provider: "asking" })), "account_not_linked");
  assert.equal(await session(browser), null);
  assert.deepEqual(await rows(person.sub), []);
  assert.equal(await confirmation(who.email), undefined);
});

test("who made an account with an address that a trusted issuer proves for somebody else loses it", async () => {
  const maker = await signUp(worker);
  const person = stranger({ email: maker.email });
  const owner = worker.browser();
  assert.equal(errorOf(await signIn(owner, person)), null);
  const { user } = await session(owner);
  assert.deepEqual([user.id, user.emailVerified], [maker.id, true]);
  assert.equal(
    (await worker.browser().post(at("/sign-in/email"), { email: maker.email, password: PASSWORD })).status,
    401,
    "the maker's password",
  );
  assert.deepEqual(
    await worker.rows("select id from session where user_id = ? and revoked_at is null and login_method = 'password'", maker.id),
    [],
    "the maker's session",
  );
  assert.equal((await mails(maker.email)).filter(({ subject }) => subject === "Acme can sign you in").length, 1);
});

test("a link that was switched off is not usable, and linking again does not say otherwise", async () => {
  const who = await signUp(worker);
  const person = stranger();
  await link(who.browser, person);
  const account = await idOf(who.browser, "acme");
  await run("update account set is_active = 0 where id = ?", account);
  const browser = worker.browser();
  assert.equal(errorOf(await signIn(browser, person)), "account_not_usable");
  assert.equal(await session(browser), null);
  assert.deepEqual(told(await who.browser.post(at("/get-access-token"), { accountId: account })), [400, "ACCOUNT_NOT_FOUND"]);
  assert.equal(errorOf(await link(who.browser, person)), "account_not_usable");
  const [{ is_active: active }] = await worker.rows("select is_active from account where id = ?", account);
  assert.equal(active, 0, "its owner does not undo what an administrator did");
});

test("suspended users are not let in by an issuer", async () => {
  const who = await upstreamUser("acme");
  const later = await proven();
  await run("update user set status = 'suspended', status_reason = 'x' where id in (?, ?)", who.id, later.id);
  for (const person of [who.person, stranger({ email: later.email })]) {
    const browser = worker.browser();
    assert.equal(errorOf(await signIn(browser, person)), "user_not_active");
    assert.equal(await session(browser), null);
  }
  assert.equal((await who.browser.post(at("/link-social"), { provider: "other" })).status, 401);
  assert.equal((await unlink(who.browser, randomUUID())).status, 401);
});

/** The ways to a link that waits; each answers how to sign in by it, and whose it is. */
const WAITING = {
  async "a new user"() {
    const person = stranger();
    const browser = worker.browser();
    assert.equal(errorOf(await signIn(browser, person, { provider: "asking" })), "account_not_confirmed");
    assert.equal(await session(browser), null);
    const [{ id, email_verified: verified }] = await worker.rows("select id, email_verified from user where email = ?", person.email);
    assert.equal(verified, 0);
    return { person, id, email: person.email };
  },
  async "a proven user"() {
    const who = await proven();
    const person = stranger({ email: who.email, email_verified: false });
    const browser = worker.browser();
    assert.equal(errorOf(await signIn(browser, person, { provider: "asking" })), "account_not_confirmed");
    assert.equal(await session(browser), null);
    return { person, id: who.id, email: who.email };
  },
  async "a user who is signed in"() {
    const who = await signUp(worker);
    const person = stranger();
    assert.equal(errorOf(await link(who.browser, person, { provider: "asking" })), "account_not_confirmed");
    assert.deepEqual(await names(who.browser), ["credential"]);
    return { person, id: who.id, email: who.email, browser: who.browser };
  },
  async "a native app's user"() {
    const who = await signUp(worker);
    const person = stranger();
    const answer = await who.browser.post(at("/link-social"), { provider: "asking", idToken: { token: await upstream.idToken(person) } });
    assert.deepEqual([answer.status, answer.json.status], [200, false], answer.text);
    return { person, id: who.id, email: who.email, browser: who.browser };
  },
};

for (const [name, wait] of Object.entries(WAITING)) {
  test(`a link that waits: ${name}`, async () => {
    const { person, id, email } = await wait();
    const [before] = await rows(person.sub);
    assert.deepEqual([before.user_id, before.confirmed_at], [id, null]);
    const token = await confirmation(email);
    assert.ok(token, "a mail asks");
    if (person.email !== email) assert.deepEqual(await mails(person.email), []);

    // Scanners follow links, and nothing changes.
    for (let n = 0; n < 3; n += 1) {
      const page = await look(token);
      assert.equal(page.status, 200);
      assert.match(page.text, /Asking/);
    }
    assert.equal((await rows(person.sub))[0].confirmed_at, null);
    const browser = worker.browser();
    assert.equal(errorOf(await signIn(browser, person, { provider: "asking" })), "account_not_confirmed");
    assert.equal(await session(browser), null);

    const foreign = await worker.browser().submit(`${AUTH}/confirm-account`, { token }, { origin: "https://evil.example" });
    assert.equal(foreign.status, 403);
    assert.equal((await confirm(token)).status, 200);
    assert.equal((await confirm(token)).status, 400, "a link is good once");
    assert.equal((await look(token)).status, 400);
    assert.equal((await events(id, "account.confirmed")).length, 1);
    assert.equal(
      (await worker.rows("select email_verified as proven from user where id = ?", id))[0].proven,
      1,
      "whoever read the mail owns the address",
    );
    assert.equal((await signIn(browser, person, { provider: "asking" })).location, "/done");
    assert.equal((await session(browser)).user.id, id);
  });
}

test("fifty confirmations at once are one", async () => {
  const { person, id, email } = await WAITING["a new user"]();
  const token = await confirmation(email);
  const answers = await Promise.all(Array.from({ length: 50 }, () => confirm(token)));
  assert.deepEqual(answers.map(({ status }) => status).sort(), [200, ...Array(49).fill(400)]);
  assert.equal((await events(id, "account.confirmed")).length, 1);
  assert.equal((await signIn(worker.browser(), person, { provider: "asking" })).location, "/done");
});

test("confirmations that are not good", async () => {
  const { person, email } = await WAITING["a new user"]();
  const token = await confirmation(email);
  for (const other of ["", "x", "A".repeat(43), token.slice(0, -1), `${token}A`, token.toLowerCase(), "A".repeat(5000)]) {
    const answer = await confirm(other);
    assert.equal(answer.status, 400, `${other}: ${answer.status}`);
    assert.equal((await look(encodeURIComponent(other))).status, 400);
  }
  // A link of another kind, which somebody may well have.
  await worker.browser().post(at("/sign-in/magic-link"), { email });
  const letter = (await mails(email)).find(({ text }) => text.includes("sign-in-link"));
  const magic = new URL(letter.text.match(/http\S+token=\S+/)[0]).searchParams.get("token");
  assert.equal((await confirm(magic)).status, 400);
  const asMagic = worker.browser();
  await asMagic.submit(`${AUTH}/sign-in-link`, { token });
  assert.equal(await session(asMagic), null, "it is no link that signs in");
  assert.equal((await rows(person.sub))[0].confirmed_at, null);

  await run("update verification set expires_at = ? where kind not in ('x')", Date.now() - 1);
  assert.equal((await look(token)).status, 400);
  assert.equal((await confirm(token)).status, 400);
  assert.equal((await rows(person.sub))[0].confirmed_at, null);
  // Signing in once more asks once more.
  assert.equal(errorOf(await signIn(worker.browser(), person, { provider: "asking" })), "account_not_confirmed");
  const again = await confirmation(email);
  assert.notEqual(again, token);
  assert.equal((await confirm(again)).status, 200);
});

test("a link that is gone by now is not confirmed", async () => {
  const { person, email, id } = await WAITING["a user who is signed in"]();
  const token = await confirmation(email);
  await run("delete from account where subject = ?", person.sub);
  assert.equal((await confirm(token)).status, 400);
  assert.equal((await worker.rows("select email_verified as proven from user where id = ?", id))[0].proven, 0);
});

test("the mail to an address proves that one, and no other that the user has by then", async () => {
  const { email, id, person } = await WAITING["a user who is signed in"]();
  const token = await confirmation(email);
  await run("update user set email = ? where id = ?", stranger().email, id);
  await confirm(token);
  assert.equal((await worker.rows("select email_verified as proven from user where id = ?", id))[0].proven, 0, person.sub);
});

test("whoever reads an address that its owner has left confirms no link any more", async () => {
  const who = await proven();
  // The reader of the old mailbox asks for a link by its address.
  const person = stranger({ email: who.email });
  assert.equal(errorOf(await signIn(worker.browser(), person, { provider: "asking" })), "account_not_confirmed");
  const token = await confirmation(who.email);
  assert.ok(token);

  const next = stranger().email;
  assert.equal((await who.browser.post(at("/change-email"), { newEmail: next })).status, 200);
  for (const to of [who.email, next]) {
    const letter = (await mails(to)).find(({ text }) => text.includes("/change-email?"));
    const query = new URL(letter.text.match(/http\S+\/change-email\?\S+/)[0]).searchParams;
    const done = await who.browser.submit(`${AUTH}/change-email`, { token: query.get("token"), step: query.get("step") });
    assert.equal(done.status, 200, done.text);
  }
  assert.equal((await worker.rows("select email from user where id = ?", who.id))[0].email, next);

  await confirm(token);
  const browser = worker.browser();
  await signIn(browser, person, { provider: "asking" });
  assert.notEqual((await session(browser))?.user.id, who.id, "the old mailbox opened the account");
});

test("linking again what is confirmed already is no question", async () => {
  const { browser, person, email, id } = await WAITING["a user who is signed in"]();
  assert.equal((await confirm(await confirmation(email))).status, 200);
  assert.deepEqual(await names(browser), ["asking", "credential"]);
  assert.equal((await link(browser, person, { provider: "asking" })).location, "/done");
  const native = await browser.post(at("/link-social"), { provider: "asking", idToken: { token: await upstream.idToken(person) } });
  assert.deepEqual([native.status, native.json.status], [200, true], native.text);
  assert.equal((await events(id, "account.linked")).length, 1);
});

test("linking again what waits asks once more", async () => {
  const { browser, person, email } = await WAITING["a user who is signed in"]();
  await run("update verification set expires_at = 1");
  const first = await confirmation(email);
  assert.equal(errorOf(await link(browser, person, { provider: "asking" })), "account_not_confirmed");
  const second = await confirmation(email);
  assert.notEqual(second, first);
  assert.equal((await confirm(second)).status, 200);
  assert.deepEqual(await names(browser), ["asking", "credential"]);
});

test("what waited when links stopped being confirmed works, or does not say that it does", async () => {
  const id = await addIssuer(worker.d1, upstream.url, { name: "lenient", require_confirmation: 1 });
  const who = await signUp(worker);
  const person = stranger();
  assert.equal(errorOf(await link(who.browser, person, { provider: "lenient" })), "account_not_confirmed");
  await run("update issuer set require_confirmation = 0 where id = ?", id);
  const answer = await link(who.browser, person, { provider: "lenient" });
  const works = (await names(who.browser)).includes("lenient");
  assert.equal(answer.location === "/done", works, `${answer.location}, but listed: ${works}`);
});

test("a mail asks at most as often as the limit says", async () => {
  const strict = await startWorker({ settings: { ...SETTINGS, LIMIT_MAIL: "2/3600" } });
  try {
    await addIssuer(strict.d1, upstream.url, { name: "asking", require_confirmation: 1 });
    const person = stranger();
    for (let n = 0; n < 5; n += 1)
      assert.equal(errorOf(await signIn(strict.browser(), person, { provider: "asking" })), "account_not_confirmed");
    const letters = (await strict.browser().get(`${AUTH}/dev/mailbox?to=${person.email}`)).json;
    assert.equal(letters.length, 2);
  } finally {
    await strict.dispose();
  }
});

test("an administrator has no more rights in others' accounts here", async () => {
  const admin = await signUp(worker);
  await giveRole(worker, admin.id, "admin");
  const who = await upstreamUser("acme", "other");
  assert.deepEqual(told(await unlink(admin.browser, await idOf(who.browser, "other"))), [400, "ACCOUNT_NOT_FOUND"]);
});
