// Signing in through an upstream issuer: what works, and the many ways in which it must not.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, beforeEach, test } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { addIssuer, startIssuer } from "../harness/issuer.mjs";
import { readUri, totp } from "../harness/totp.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

let worker;
let issuer;
before(async () => {
  issuer = await startIssuer();
  worker = await startWorker({ settings: { UPSTREAM_TIMEOUT_SECONDS: "1" } });
  await addIssuer(worker.d1, issuer.url);
});
after(async () => {
  await worker?.dispose();
  await issuer?.stop();
});
beforeEach(() => {
  issuer.behave();
  issuer.person = { sub: randomUUID(), email: uniqueEmail(), email_verified: true, name: "Person" };
});

async function begin(browser, body = {}) {
  const answer = await browser.post(`${AUTH}/api/auth/sign-in/social`, { provider: "acme", callbackURL: "/done", ...body });
  assert.equal(answer.status, 200, answer.text);
  return answer.json.url;
}

/** To the issuer and back: the callback's URL. */
async function visitIssuer(url) {
  const answer = await fetch(url, { redirect: "manual" });
  assert.equal(answer.status, 302);
  return answer.headers.get("location");
}

async function journey(browser = worker.browser(), body) {
  return browser.get(await visitIssuer(await begin(browser, body)));
}

const session = async (browser) => (await browser.get(`${AUTH}/api/auth/get-session?disableCookieCache=true`)).json;

async function refused(answer, browser, code) {
  assert.equal(answer.status, 302, answer.text);
  assert.equal(new URL(answer.location, AUTH).searchParams.get("error"), code, answer.location);
  assert.equal(await session(browser), null);
}

test("a stranger becomes a user, and is the same user the next time", async () => {
  const browser = worker.browser();
  const url = new URL(await begin(browser));
  assert.equal(url.searchParams.get("code_challenge_method"), "S256");
  assert.equal(url.searchParams.get("scope"), "openid email profile");
  const answer = await browser.get(await visitIssuer(url.href));
  assert.equal(answer.location, "/done");
  const { user } = await session(browser);
  assert.deepEqual([user.email, user.name, user.emailVerified], [issuer.person.email, "Person", true]);
  const accounts = (await browser.get(`${AUTH}/api/auth/list-accounts`)).json;
  assert.deepEqual(
    accounts.map((account) => [account.providerId, account.accountId, account.scopes]),
    [["acme", issuer.person.sub, ["openid", "email"]]],
  );

  const again = worker.browser();
  issuer.person = { ...issuer.person, email: uniqueEmail() };
  await journey(again);
  assert.equal((await session(again)).user.id, user.id);
  const [row] = await worker.rows("select * from account where subject = ?", issuer.person.sub);
  assert.equal(row.email, issuer.person.email);
  const [refresh] = await worker.rows("select * from issuer_refresh_token where account_id = ?", row.id);
  for (const sealed of [row.access_token_sealed, row.id_token_sealed, refresh.token_sealed]) assert.match(sealed, /^1\.[\w-]{8}\.[\w-]+$/);
  row.refresh = refresh;
  assert.ok(!JSON.stringify(row).includes("a refresh token"));
});

test("a new user may be sent elsewhere, and redirects go to trusted places only", async () => {
  const answer = await journey(worker.browser(), { newUserCallbackURL: "http://spa.localhost:5173/welcome" });
  assert.equal(answer.location, "http://spa.localhost:5173/welcome");
  for (const [name, code] of [
    ["callbackURL", "INVALID_CALLBACK_URL"],
    ["errorCallbackURL", "INVALID_ERROR_CALLBACK_URL"],
    ["newUserCallbackURL", "INVALID_NEW_USER_CALLBACK_URL"],
  ]) {
    const refusal = await worker.browser().post(`${AUTH}/api/auth/sign-in/social`, { provider: "acme", [name]: "//evil.example" });
    assert.deepEqual([refusal.status, refusal.json.code], [403, code]);
  }
  const unknown = await worker.browser().post(`${AUTH}/api/auth/sign-in/social`, { provider: "nope" });
  assert.deepEqual([unknown.status, unknown.json.code], [404, "PROVIDER_NOT_FOUND"]);
});

test("an error goes to the page that was named for it", async () => {
  const browser = worker.browser();
  issuer.faults.callback = { code: undefined, error: "access_denied" };
  const answer = await journey(browser, { errorCallbackURL: "http://spa.localhost:5173/oops?a=1" });
  assert.equal(answer.location, "http://spa.localhost:5173/oops?a=1&error=access_denied");
});

test("linking: only an address that both sides have proven", async () => {
  const local = async (verified) => {
    const browser = worker.browser();
    const email = uniqueEmail();
    const { user } = (await browser.post(`${AUTH}/api/auth/sign-up/email`, { name: "L", email, password: "a password of theirs" })).json;
    if (verified) await worker.d1.prepare("update user set email_verified = 1 where id = ?").bind(user.id).run();
    return { id: user.id, email };
  };
  for (const [here, there, code] of [
    [true, true, null],
    [true, false, "account_not_linked"],
    [false, true, null],
    [false, false, "account_not_linked"],
  ]) {
    const user = await local(here);
    issuer.person = { sub: randomUUID(), email: user.email, email_verified: there, name: "P" };
    const browser = worker.browser();
    const answer = await journey(browser);
    if (code) await refused(answer, browser, code);
    else assert.equal((await session(browser)).user.id, user.id);
    // Upstream's proof is the first one: the person who made the account may have typed somebody else's address.
    const back = await worker.browser().post(`${AUTH}/api/auth/sign-in/email`, { email: user.email, password: "a password of theirs" });
    assert.equal(back.status, !here && there ? 401 : 200, "the password of the person who made the account");
  }
  // An issuer that is not trusted with addresses can call any of them proven.
  await addIssuer(worker.d1, issuer.url, { name: "untrusted", trust_email: 0 });
  const user = await local(true);
  issuer.person = { sub: randomUUID(), email: user.email, email_verified: true, name: "P" };
  const browser = worker.browser();
  await refused(await journey(browser, { provider: "untrusted" }), browser, "account_not_linked");
  issuer.person = { sub: randomUUID(), email: uniqueEmail(), email_verified: true, name: "P" };
  await journey(browser, { provider: "untrusted" });
  assert.equal((await session(browser)).user.emailVerified, false);
});

test("callbacks that are not this browser's, or not any more", async () => {
  const [mine, other] = [worker.browser(), worker.browser()];
  const callback = await visitIssuer(await begin(mine));
  // Login CSRF: the attacker's callback in the victim's browser.
  await refused(await other.get(callback), other, "state_mismatch");
  // And looking has used it up.
  await refused(await mine.get(callback), mine, "state_mismatch");

  const good = await visitIssuer(await begin(mine));
  assert.equal((await mine.get(good)).location, "/done");
  const replay = await mine.get(good);
  assert.match(replay.location, /error=state_mismatch/);

  const browser = worker.browser();
  await begin(browser);
  for (const [query, code] of [
    ["code=1", "state_not_found"],
    ["code=1&state=x", "state_mismatch"],
    [`code=1&state=${"A".repeat(43)}`, "state_mismatch"],
    ["error=access_denied&state=xx", "state_mismatch"],
    ["code=1&code=2&state=x", "invalid_callback_request"],
    ["", "state_not_found"],
  ])
    await refused(await browser.get(`${AUTH}/api/auth/callback/acme?${query}`), browser, code);

  const expired = await visitIssuer(await begin(browser));
  await worker.d1.prepare("update verification set expires_at = 1").run();
  await refused(await browser.get(expired), browser, "state_mismatch");
});

test("a callback at another issuer's path is a mix-up", async () => {
  await addIssuer(worker.d1, issuer.url, { name: "other" });
  const browser = worker.browser();
  const callback = await visitIssuer(await begin(browser));
  await refused(await browser.get(callback.replace("/callback/acme", "/callback/other")), browser, "state_mismatch");
});

test("an answer by form works without third-party cookies", async () => {
  const browser = worker.browser();
  const callback = new URL(await visitIssuer(await begin(browser)));
  const posted = await worker
    .browser()
    .submit(`${AUTH}${callback.pathname}`, Object.fromEntries(callback.searchParams), { origin: issuer.url });
  assert.equal(posted.status, 303);
  assert.equal((await browser.get(new URL(posted.location, AUTH).href)).location, "/done");
});

const now = () => Math.floor(Date.now() / 1000);
const unsigned = (header) => (claims) =>
  [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".") + ".AAAA";
const answer =
  (status, body, headers = {}) =>
  (_request, response) =>
    response.writeHead(status, { "content-type": "application/json", ...headers }).end(body);

const FAULTS = [
  ["denied", { callback: { code: undefined, error: "access_denied" } }, "access_denied"],
  ["provider error", { callback: { code: undefined, error: "server_error" } }, "provider_error"],
  ["another issuer's iss", { callback: { iss: "https://evil.example" } }, "issuer_mismatch"],
  ["no code", { callback: { code: undefined } }, "no_code"],
  ["wrong code", { callback: { code: "made-up" } }, "invalid_code"],
  ["token endpoint fails", { token: answer(500, "no") }, "invalid_code"],
  ["token endpoint is no JSON", { token: answer(200, "<html>") }, "invalid_code"],
  ["token endpoint redirects", { token: answer(302, "", { location: "http://localhost:1/" }) }, "invalid_code"],
  ["token endpoint hangs", { token: () => {} }, "invalid_code"],
  ["token endpoint floods", { token: answer(200, JSON.stringify({ pad: "x".repeat(300_000) })) }, "invalid_code"],
  ["no ID token", { answer: { id_token: undefined } }, "invalid_id_token"],
  ["wrong nonce", { claims: { nonce: "another" } }, "invalid_id_token"],
  ["no nonce", { claims: { nonce: undefined } }, "invalid_id_token"],
  ["wrong audience", { claims: { aud: "another" } }, "invalid_id_token"],
  ["several audiences", { claims: { aud: ["doorward", "another"] } }, "invalid_id_token"],
  ["another azp", { claims: { azp: "another" } }, "invalid_id_token"],
  ["wrong issuer", { claims: { iss: "https://evil.example" } }, "invalid_id_token"],
  ["expired", { claims: { exp: now() - 120 } }, "invalid_id_token"],
  ["from the future", { claims: { iat: now() + 600 } }, "invalid_id_token"],
  ["wrong at_hash", { claims: { at_hash: "AAAAAAAAAAAAAAAAAAAAAA" } }, "invalid_id_token"],
  ["no sub", { claims: { sub: undefined } }, "invalid_id_token"],
  ["alg none", { idToken: unsigned({ alg: "none" }) }, "invalid_id_token"],
  ["alg HS256", { idToken: unsigned({ alg: "HS256" }) }, "invalid_id_token"],
  ["garbage", { idToken: () => "garbage" }, "invalid_id_token"],
  [
    "userinfo of another, and no address in the ID token",
    { userinfo: { sub: "another" }, claims: { email: undefined } },
    "unable_to_get_user_info",
  ],
  ["userinfo fails, and no address in the ID token", { userinfoStatus: 500, claims: { email: undefined } }, "unable_to_get_user_info"],
  ["no address", { claims: { email: undefined }, userinfo: { email: undefined } }, "email_not_found"],
];

for (const [name, faults, code] of FAULTS) {
  test(`fault: ${name}`, async () => {
    const browser = worker.browser();
    const before = worker.logs().length;
    issuer.faults = faults;
    await refused(await journey(browser), browser, code);
    // The log names the reason, exactly and once.
    const lines = worker
      .logs()
      .slice(before)
      .split("\n")
      .filter((line) => line.includes("UPSTREAM_SIGN_IN_FAILED"));
    assert.equal(lines.length, 1, lines.join("\n"));
    const page = await browser.get(`${AUTH}/api/auth/error?error=${code}`);
    assert.match(page.text, /<h1>[^<]+<\/h1>/);
  });
}

test("keys: another algorithm, a rotated key, a forged one", async () => {
  issuer.key = await issuer.newKey("ES256");
  const rotated = worker.browser();
  assert.equal((await journey(rotated)).location, "/done", "a rotated key is fetched");
  const forged = worker.browser();
  issuer.faults.signWith = { ...(await issuer.newKey("ES256", issuer.key.kid)) };
  await refused(await journey(forged), forged, "invalid_id_token");
  // Made-up key ids do not turn us into a load on the issuer.
  issuer.faults.signWith = await issuer.newKey("ES256");
  issuer.requests.length = 0;
  for (let n = 0; n < 3; n++) await refused(await journey(forged), forged, "invalid_id_token");
  assert.ok(issuer.requests.filter(({ path }) => path === "/jwks").length <= 1);
});

test("an issuer that cannot be used says so, and promptly", async () => {
  const cases = [
    ["mismatch", { metadata: { issuer: "https://evil.example" } }],
    ["no-endpoints", { metadata: { token_endpoint: undefined } }],
    ["down", { discovery: answer(503, "") }],
    ["hangs", { discovery: () => {} }],
  ];
  for (const [name, faults] of cases) {
    await addIssuer(worker.d1, issuer.url, { name });
    issuer.faults = faults;
    const refusal = await worker.browser().post(`${AUTH}/api/auth/sign-in/social`, { provider: name });
    assert.deepEqual([refusal.status, refusal.json.code], [502, "PROVIDER_UNAVAILABLE"], name);
  }
});

test("fifty callbacks with one state open one session", async () => {
  const browser = worker.browser();
  const callback = await visitIssuer(await begin(browser));
  const answers = await Promise.all(Array.from({ length: 50 }, () => browser.get(callback, { keepCookies: false })));
  const opened = answers.filter((one) => one.location === "/done");
  assert.equal(opened.length, 1);
  assert.ok(answers.every((one) => one === opened[0] || /error=state_mismatch/.test(one.location)));
  const [{ sessions }] = await worker.rows(
    "select count(*) as sessions from session join account using (user_id) where subject = ?",
    issuer.person.sub,
  );
  assert.equal(sessions, 1);
});

test("twenty first sign-ins at once make one user", async () => {
  const browsers = Array.from({ length: 20 }, () => worker.browser());
  const callbacks = await Promise.all(browsers.map(async (browser) => visitIssuer(await begin(browser))));
  const answers = await Promise.all(callbacks.map((callback, at) => browsers[at].get(callback)));
  assert.deepEqual([...new Set(answers.map((one) => one.location))], ["/done"]);
  const [counts] = await worker.rows(
    "select count(distinct user_id) as users, count(*) as accounts from account where subject = ?",
    issuer.person.sub,
  );
  assert.deepEqual(counts, { users: 1, accounts: 1 });
});

test("allowed domains hold for proven addresses only", async () => {
  await addIssuer(worker.d1, issuer.url, { name: "domains", allowed_domains: '["example.org"]' });
  for (const [email, verified, code] of [
    ["a1@example.org", true, null],
    ["a2@example.org", false, "domain_not_allowed"],
    ["a3@evil-example.org", true, "domain_not_allowed"],
  ]) {
    issuer.person = { sub: randomUUID(), email, email_verified: verified, name: "P" };
    const browser = worker.browser();
    const reply = await journey(browser, { provider: "domains" });
    if (code) await refused(reply, browser, code);
    else assert.equal(reply.location, "/done");
  }
});

test("PS256 is believed as well", async () => {
  const other = await startIssuer();
  try {
    other.key = await other.newKey("PS256");
    await addIssuer(worker.d1, other.url, { name: "ps256" });
    other.person = { sub: randomUUID(), email: uniqueEmail(), email_verified: true, name: "P" };
    assert.equal((await journey(worker.browser(), { provider: "ps256" })).location, "/done");
  } finally {
    await other.stop();
  }
});

test("whoever has a second factor is asked for it after an issuer as well", async () => {
  const first = worker.browser();
  await journey(first);
  const { user } = await session(first);
  const begun = (await first.post(`${AUTH}/api/auth/two-factor/enable`, {})).json;
  const { seed } = readUri(begun.totpURI);
  assert.equal((await first.post(`${AUTH}/api/auth/two-factor/verify-totp`, { code: totp(seed) })).status, 200);
  await worker.d1.prepare("update two_factor set last_used_step = 0").run();

  const second = worker.browser();
  const answer = await journey(second, { callbackURL: "/account?from=acme" });
  const asked = new URL(answer.location, AUTH);
  assert.deepEqual([asked.pathname, asked.searchParams.get("continue")], ["/second-factor", "/account?from=acme"]);
  assert.equal(await session(second), null);
  const given = await second.post(`${AUTH}/api/auth/two-factor/verify-totp`, { code: totp(seed) });
  assert.equal(given.status, 200, given.text);
  const [row] = await worker.rows(
    "select login_method, amr from session where user_id = ? and revoked_at is null order by created_at desc",
    user.id,
  );
  assert.deepEqual([row.login_method, JSON.parse(row.amr)], ["acme", ["fed", "otp", "mfa"]]);
});
