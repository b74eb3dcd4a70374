// ID tokens that native apps bring: believed as those of a flow of ours, and good for one sign-in.

import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import { after, before, beforeEach, test } from "node:test";
import { addIssuer } from "../harness/issuer.mjs";
import { PASSWORD, signUp } from "../harness/seed.mjs";
import { readUri, totp } from "../harness/totp.mjs";
import { startUpstream, stranger } from "../harness/upstream.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const SETTINGS = { LIMIT_MAIL: "1000/60", SESSION_COOKIE_CACHE_SECONDS: "0", SESSION_RECHECK_SECONDS: "0", UPSTREAM_TIMEOUT_SECONDS: "3" };
let worker, upstream, elliptic;
before(async () => {
  [upstream, elliptic] = await Promise.all([startUpstream(), startUpstream({ alg: "ES256" })]);
  worker = await startWorker({ settings: SETTINGS });
  await addIssuer(worker.d1, upstream.url);
  await addIssuer(worker.d1, upstream.url, { name: "apps", settings: '{"audiences":["app.ios","app.android"]}' });
  await addIssuer(worker.d1, elliptic.url, { name: "elliptic" });
});
after(async () => {
  await worker?.dispose();
  await upstream?.stop();
  await elliptic?.stop();
});
beforeEach(() => [upstream, elliptic].forEach((one) => one.behave()));

const at = (path) => `${AUTH}/api/auth${path}`;
const run = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
const told = ({ status, json }) => [status, json.code];
const now = () => Math.floor(Date.now() / 1000);
const hex = (text) => createHash("sha256").update(text).digest("hex");
const bring = (idToken, { browser = worker.browser(), provider = "acme", path = "/sign-in/social", ...options } = {}) =>
  browser.post(at(path), { provider, idToken }, options);
const session = async (browser) => (await browser.get(at("/get-session?disableCookieCache=true"))).json;
const sessions = async (subject) =>
  (await worker.rows("select session.id from session join account using (user_id) where subject = ?", subject)).length;

async function refused(answer, outcome = [401, "INVALID_TOKEN"], note = "") {
  assert.deepEqual(told(answer), outcome, `${note} ${answer.text}`);
  assert.ok(!answer.cookies.some((line) => /^doorward\.session=[^;]/.test(line)), note);
}

test("an ID token signs in: a stranger first, and the same user again", async () => {
  const person = stranger();
  const browser = worker.browser();
  const answer = await bring({ token: await upstream.idToken(person) }, { browser });
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.json.redirect, false);
  assert.deepEqual([answer.json.user.email, answer.json.user.emailVerified], [person.email, true]);
  const { user, session: opened } = await session(browser);
  assert.equal(user.id, answer.json.user.id);
  assert.equal(answer.json.token, opened.token);
  const [row] = await worker.rows("select login_method, amr from session where user_id = ?", user.id);
  assert.deepEqual([row.login_method, JSON.parse(row.amr)], ["acme", ["fed"]]);
  assert.ok(!answer.text.includes("refresh"));

  const again = await bring({ token: await upstream.idToken({ ...person, jti: randomUUID() }) });
  assert.equal(again.json.user.id, user.id);
  const [{ id: account }] = (await browser.get(at("/list-accounts"))).json;
  assert.deepEqual(
    told(await browser.post(at("/get-access-token"), { accountId: account })),
    [400, "FAILED_TO_GET_ACCESS_TOKEN"],
    "none came",
  );
});

test("tokens that came along are kept", async () => {
  const person = stranger();
  const browser = worker.browser();
  const [access, token] = [upstream.newAccessToken(person), await upstream.idToken(person)];
  const answer = await bring({ token, accessToken: access, refreshToken: "refresh-of-the-app" }, { browser });
  assert.equal(answer.status, 200, answer.text);
  assert.ok(!answer.text.includes("refresh-of-the-app"));
  const [{ id: accountId }] = (await browser.get(at("/list-accounts"))).json;
  const given = await browser.post(at("/get-access-token"), { accountId });
  assert.deepEqual([given.json.accessToken, given.json.idToken], [access, token]);
  const kept = await worker.rows("select * from issuer_refresh_token where account_id = ?", accountId);
  assert.equal(kept.length, 1);
  assert.ok(!JSON.stringify(kept).includes("refresh-of-the-app"));
});

test("an ID token links", async () => {
  const who = await signUp(worker);
  const person = stranger();
  const link = async (idToken, browser = who.browser) => bring(idToken, { browser, path: "/link-social" });
  const answer = await link({ token: await upstream.idToken(person) });
  assert.deepEqual([answer.status, answer.json], [200, { url: "", status: true, redirect: false }]);
  assert.deepEqual((await who.browser.get(at("/list-accounts"))).json.map(({ providerId }) => providerId).sort(), ["acme", "credential"]);
  assert.equal((await link({ token: await upstream.idToken({ ...person, jti: "2" }) })).json.status, true, "again");
  assert.equal((await bring({ token: await upstream.idToken({ ...person, jti: "3" }) })).json.user.id, who.id);

  const thief = await signUp(worker);
  assert.deepEqual(told(await link({ token: await upstream.idToken({ ...person, jti: "4" }) }, thief.browser)), [
    409,
    "SOCIAL_ACCOUNT_ALREADY_LINKED",
  ]);
  assert.deepEqual(told(await link({ token: await upstream.idToken({ ...person, jti: "5" }) }, worker.browser())), [401, "UNAUTHORIZED"]);
  const used = await upstream.idToken({ ...stranger(), jti: "6" });
  assert.equal((await bring({ token: used })).status, 200);
  assert.deepEqual(told(await link({ token: used }, thief.browser)), [401, "INVALID_TOKEN"], "what has signed in does not link");
  assert.deepEqual(
    (await thief.browser.get(at("/list-accounts"))).json.map(({ providerId }) => providerId),
    ["credential"],
  );
});

test("a nonce is repeated, as it is or hashed", async () => {
  const nonce = randomUUID();
  const table = [
    [nonce, nonce, 200],
    [nonce, hex(nonce), 200],
    [undefined, undefined, 200],
    [undefined, nonce, 401],
    [nonce, undefined, 401],
    [nonce, "another", 401],
    [nonce, hex(nonce).toUpperCase(), 401],
    [hex(nonce), nonce, 401],
    ["", nonce, 401],
    [nonce, "", 401],
    [nonce, 5, 401],
  ];
  for (const [given, said, status] of table) {
    const answer = await bring({ token: await upstream.idToken({ ...stranger(), nonce: said }), nonce: given });
    assert.equal(answer.status, status, `${given} ${said}: ${answer.text}`);
    if (status === 401) await refused(answer);
  }
});

test("an ID token is good once, wherever it is brought", async () => {
  const person = stranger();
  const token = await upstream.idToken(person);
  assert.equal((await bring({ token })).status, 200);
  await refused(await bring({ token }));
  await refused(await bring({ token }, { provider: "apps" }), [401, "INVALID_TOKEN"], "at the same issuer by another name");
  for (const other of [`${token} `, ` ${token}`, `${token}=`, `${token}\n`, token.replace(".", ". "), `${token}.`]) {
    const answer = await bring({ token: other });
    await refused(answer, [401, "INVALID_TOKEN"], JSON.stringify(other.slice(-5)));
  }
  // The unused bits of the last letter (RFC 4648, section 3.5).
  const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  for (let n = 0; n < 64; n += 1) {
    const other = token.slice(0, -1) + letters[n];
    await refused(await bring({ token: other }));
  }
  assert.equal(await sessions(person.sub), 1);
});

test("an ID token with its signature rewritten is the same ID token", async () => {
  const person = stranger();
  const token = await elliptic.idToken(person);
  assert.equal((await bring({ token }, { provider: "elliptic" })).status, 200);
  // Of an ECDSA signature (r, s), anybody makes (r, n - s), which is as good.
  const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
  const [head, claims, signature] = token.split(".");
  const bytes = Buffer.from(signature, "base64url");
  const s = order - BigInt(`0x${bytes.subarray(32).toString("hex")}`);
  const twin = Buffer.concat([bytes.subarray(0, 32), Buffer.from(s.toString(16).padStart(64, "0"), "hex")]);
  await refused(await bring({ token: [head, claims, twin.toString("base64url")].join(".") }, { provider: "elliptic" }));
  assert.equal(await sessions(person.sub), 1);
});

test("of twenty who bring one ID token at once, one is signed in", async () => {
  const person = stranger();
  const token = await upstream.idToken(person);
  const answers = await Promise.all(Array.from({ length: 20 }, () => bring({ token })));
  assert.equal(answers.filter(({ status }) => status === 200).length, 1);
  for (const answer of answers.filter(({ status }) => status !== 200)) await refused(answer);
  assert.equal(await sessions(person.sub), 1);
});

test("twenty ID tokens of one stranger at once make one user", async () => {
  const person = stranger();
  const tokens = await Promise.all(Array.from({ length: 20 }, (_, n) => upstream.idToken({ ...person, jti: String(n) })));
  const answers = await Promise.all(tokens.map((token) => bring({ token })));
  for (const answer of answers) assert.equal(answer.status, 200, answer.text);
  assert.equal(new Set(answers.map(({ json }) => json.user.id)).size, 1);
  assert.equal(await sessions(person.sub), 20);
});

test("an ID token is for us, or for an app of ours", async () => {
  for (const aud of ["app.ios", "app.android", ["app.ios"]]) {
    assert.equal((await bring({ token: await upstream.idToken({ ...stranger(), aud }) }, { provider: "apps" })).status, 200, String(aud));
    await refused(await bring({ token: await upstream.idToken({ ...stranger(), aud }) }), [401, "INVALID_TOKEN"], `${aud} is not acme's`);
  }
  for (const aud of [
    "another",
    "app.IOS",
    "app.ios.evil",
    "",
    undefined,
    [],
    ["app.ios", "another"],
    ["doorward", "another"],
    { 0: "app.ios" },
    5,
  ]) {
    await refused(
      await bring({ token: await upstream.idToken({ ...stranger(), aud }) }, { provider: "apps" }),
      [401, "INVALID_TOKEN"],
      JSON.stringify(aud),
    );
  }
});

const CLAIMS = [
  ["expired", () => ({ exp: now() - 120 })],
  ["without an end", () => ({ exp: undefined })],
  ["an end that is no number", () => ({ exp: "later" })],
  ["an end beyond all numbers", () => ({ exp: 1e300 })],
  ["without a beginning", () => ({ iat: undefined })],
  ["from the future", () => ({ iat: now() + 600 })],
  ["not yet good", () => ({ nbf: now() + 600 })],
  ["another issuer's", () => ({ iss: "https://evil.example" })],
  ["the issuer's with a slash", () => ({ iss: `${upstream.url}/` })],
  ["no issuer's", () => ({ iss: undefined })],
  ["nobody's", () => ({ sub: undefined })],
  ["an empty subject's", () => ({ sub: "" })],
  ["a subject's that is no text", () => ({ sub: 5 })],
  ["for another party", () => ({ azp: "another" })],
];
for (const [name, claims] of CLAIMS) {
  test(`an ID token that is not good: ${name}`, async () => {
    await refused(await bring({ token: await upstream.idToken({ ...stranger(), ...claims() }) }));
    const who = await signUp(worker);
    const answer = await bring(
      { token: await upstream.idToken({ ...stranger(), ...claims() }) },
      { browser: who.browser, path: "/link-social" },
    );
    await refused(answer);
    assert.equal((await who.browser.get(at("/list-accounts"))).json.length, 1);
  });
}

test("signatures that are not the issuer's", async () => {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = { iss: upstream.url, aud: "doorward", iat: now(), exp: now() + 300, ...stranger() };
  const good = await upstream.idToken(stranger());
  const forged = [
    await upstream.idToken(stranger(), { key: await upstream.newKey(upstream.key.kid) }),
    await upstream.idToken(stranger(), { key: await upstream.newKey() }),
    await elliptic.idToken({ ...stranger(), iss: upstream.url }),
    `${part({ alg: "none" })}.${part(claims)}.`,
    `${part({ alg: "none" })}.${part(claims)}.AAAA`,
    `${part({ alg: "HS256", kid: upstream.key.kid })}.${part(claims)}.AAAA`,
    `${part({ alg: "RS256", kid: upstream.key.kid })}.${part(claims)}.`,
    `${part({ alg: "RS256", kid: upstream.key.kid, jwk: upstream.key.jwk, jku: "https://evil.example" })}.${part(claims)}.AAAA`,
    `${good.split(".")[0]}.${part(claims)}.${good.split(".")[2]}`,
  ];
  for (const token of forged) await refused(await bring({ token }), [401, "INVALID_TOKEN"], token.slice(0, 60));
  assert.equal((await bring({ token: good })).status, 200, "what was only copied was not used up");
});

test("what is no ID token at all is bad input, and never our fault", async () => {
  const deep = `${"[".repeat(3000)}${"]".repeat(3000)}`;
  for (const idToken of [
    "",
    "x",
    5,
    true,
    [],
    {},
    { token: null },
    { token: 5 },
    { token: [] },
    { token: {} },
    { nonce: "x" },
    { token: "x".repeat(17_000) },
    { token: "a.b.c", nonce: 5 },
    { token: "a.b.c", nonce: [] },
    { token: "a.b.c", accessToken: {} },
    { token: "a.b.c", refreshToken: 1 },
    { token: "a.b.c", nonce: "x".repeat(17_000) },
    { token: "a.b.c", accessToken: "x".repeat(17_000) },
    { token: "a.b.c", refreshToken: "x".repeat(17_000) },
  ]) {
    const answer = await bring(idToken);
    assert.deepEqual(told(answer), [400, "VALIDATION_ERROR"], `${JSON.stringify(idToken)?.slice(0, 80)} ${answer.text}`);
  }
  for (const token of [
    "",
    " ",
    ".",
    "..",
    "...",
    "a",
    "a.b",
    "a.b.c",
    "a.b.c.d",
    "a.b.c.d.e",
    "\u0000",
    "ä.ö.ü",
    "e30.e30.",
    "e30.e30.e30",
    "bnVsbA.bnVsbA.bnVsbA",
    "x".repeat(16_000),
    ".".repeat(16_000),
    `${Buffer.from(deep).toString("base64url")}.e30.AAAA`,
    `${Buffer.from('{"alg":"RS256"}').toString("base64url")}.${Buffer.from(deep).toString("base64url")}.AAAA`,
    `${Buffer.from('{"alg":5}').toString("base64url")}.e30.AAAA`,
  ]) {
    for (const nonce of [undefined, "", "\u0000", "ä"])
      await refused(await bring({ token, nonce }), [401, "INVALID_TOKEN"], JSON.stringify(token.slice(0, 40)));
  }
  assert.ok(!/panic|unreachable|INTERNAL_SERVER_ERROR/.test(worker.logs()), "nothing broke");
});

test("what `user` says, unsigned, proves nothing", async () => {
  const victim = await signUp(worker);
  await run("update user set email_verified = 1 where id = ?", victim.id);
  for (const user of [
    { email: victim.email, email_verified: true, sub: "x" },
    { name: { firstName: "A".repeat(5000), lastName: 5 } },
    "x",
    5,
    [],
    null,
    { name: null },
    { sub: "another" },
    { user: { email: victim.email } },
  ]) {
    const person = stranger();
    const answer = await bring({ token: await upstream.idToken(person), user });
    assert.equal(answer.status, 200, `${JSON.stringify(user).slice(0, 60)} ${answer.text}`);
    assert.notEqual(answer.json.user.id, victim.id);
    assert.equal(answer.json.user.email, person.email);
    assert.equal((await worker.rows("select id from account where subject = ?", person.sub)).length, 1);
  }
});

test("unknown, disabled and OAuth2-only providers", async () => {
  await addIssuer(worker.d1, upstream.url, { name: "off", enabled: 0 });
  await addIssuer(worker.d1, upstream.url, { name: "hub", service_type: "github" });
  const who = await signUp(worker);
  for (const options of [{}, { browser: who.browser, path: "/link-social" }]) {
    const token = await upstream.idToken(stranger());
    for (const provider of ["nope", "off", "credential", "ACME", "'"])
      await refused(await bring({ token }, { provider, ...options }), [404, "PROVIDER_NOT_FOUND"], provider);
    await refused(await bring({ token }, { provider: "hub", ...options }), [404, "ID_TOKEN_NOT_SUPPORTED"]);
    assert.equal((await bring({ token }, options)).status, 200, "nothing of it used the token up");
  }
});

test("an access token must be the one that the ID token is about, and its owner's", async () => {
  const at_hash = (token) => createHash("sha256").update(token).digest().subarray(0, 16).toString("base64url");
  const person = stranger();
  const [mine, another] = [upstream.newAccessToken(person), upstream.newAccessToken(stranger())];
  await refused(await bring({ token: await upstream.idToken({ ...person, at_hash: at_hash(another) }), accessToken: mine }));
  await refused(await bring({ token: await upstream.idToken({ ...person, at_hash: "x" }), accessToken: mine }));
  // Without at_hash, the issuer is asked whose it is.
  await refused(await bring({ token: await upstream.idToken(person), accessToken: another }), [401, "FAILED_TO_GET_USER_INFO"]);
  await refused(await bring({ token: await upstream.idToken(person), accessToken: "made-up" }), [401, "FAILED_TO_GET_USER_INFO"]);
  assert.equal((await bring({ token: await upstream.idToken({ ...person, at_hash: at_hash(mine) }), accessToken: mine })).status, 200);
});

test("rules of the issuer and of the user hold as in a flow", async () => {
  await addIssuer(worker.d1, upstream.url, { name: "domains", allowed_domains: '["example.org"]' });
  for (const [claims, status] of [
    [{ email: `${randomUUID()}@example.org` }, 200],
    [{ email: `${randomUUID()}@example.org`, email_verified: false }, 401],
    [{ email: "a@evil-example.org" }, 401],
    [{ email: undefined }, 401],
  ]) {
    const answer = await bring({ token: await upstream.idToken(stranger(claims)) }, { provider: "domains" });
    assert.equal(answer.status, status, `${JSON.stringify(claims)} ${answer.text}`);
    if (status !== 200) await refused(answer, [401, "OAUTH_LINK_ERROR"]);
  }
  await refused(await bring({ token: await upstream.idToken(stranger({ email: undefined })) }), [401, "OAUTH_LINK_ERROR"], "no address");

  // Somebody made an account with an address that they never proved; the issuer proves whose it is.
  const local = await signUp(worker);
  const owner = await bring({ token: await upstream.idToken(stranger({ email: local.email })) });
  assert.deepEqual([owner.status, owner.json.user.id], [200, local.id], "an unproven user's address");
  assert.equal(
    (await worker.browser().post(`${AUTH}/api/auth/sign-in/email`, { email: local.email, password: PASSWORD })).status,
    401,
    "the maker's password",
  );

  const person = stranger();
  const { id } = (await bring({ token: await upstream.idToken(person) })).json.user;
  await run("update account set is_active = 0 where user_id = ?", id);
  await refused(await bring({ token: await upstream.idToken({ ...person, jti: "1" }) }), [401, "OAUTH_LINK_ERROR"], "switched off");
  await run("update account set is_active = 1 where user_id = ?", id);
  await run("update user set status = 'suspended', status_reason = 'x' where id = ?", id);
  await refused(await bring({ token: await upstream.idToken({ ...person, jti: "2" }) }), [403, "BANNED_USER"], "suspended");
  const closed = await startWorker({ settings: { ...SETTINGS, SIGN_UP: "closed" } });
  try {
    await addIssuer(closed.d1, upstream.url);
    await refused(
      await bring({ token: await upstream.idToken(stranger()) }, { browser: closed.browser() }),
      [401, "OAUTH_LINK_ERROR"],
      "sign-up is closed",
    );
    assert.deepEqual(await closed.rows("select id from user"), []);
  } finally {
    await closed.dispose();
  }
});

test("a link that is confirmed by mail signs nobody in before", async () => {
  await addIssuer(worker.d1, upstream.url, { name: "asking", require_confirmation: 1 });
  const person = stranger();
  const browser = worker.browser();
  await refused(await bring({ token: await upstream.idToken(person) }, { browser, provider: "asking" }), [401, "OAUTH_LINK_ERROR"]);
  assert.equal(await session(browser), null);
  assert.equal((await worker.browser().get(`${AUTH}/dev/mailbox?to=${person.email}`)).json.length, 1);
});

test("whoever has a second factor is asked for it", async () => {
  const person = stranger();
  const first = worker.browser();
  await bring({ token: await upstream.idToken(person) }, { browser: first });
  const begun = (await first.post(at("/two-factor/enable"), {})).json;
  const { seed } = readUri(begun.totpURI);
  assert.equal((await first.post(at("/two-factor/verify-totp"), { code: totp(seed) })).status, 200);
  await run("update two_factor set last_used_step = 0");

  const second = worker.browser();
  const token = await upstream.idToken({ ...person, jti: "2" });
  const answer = await bring({ token }, { browser: second });
  assert.deepEqual(
    [answer.status, answer.json.twoFactorRedirect, answer.json.token, answer.json.user],
    [200, true, undefined, undefined],
    answer.text,
  );
  assert.equal(await session(second), null);
  await refused(await bring({ token }), [401, "INVALID_TOKEN"], "it is used up all the same");
  const given = await second.post(at("/two-factor/verify-totp"), { code: totp(seed) });
  assert.equal(given.status, 200, given.text);
  const { user } = await session(second);
  assert.equal(user.email, person.email);
});

test("a network brings so many and no more", async () => {
  const strict = await startWorker({ settings: { ...SETTINGS, LIMIT_SIGN_IN: "5/600" } });
  try {
    await addIssuer(strict.d1, upstream.url);
    const browser = strict.browser();
    for (let n = 0; n < 5; n += 1) await refused(await bring({ token: "a.b.c" }, { browser }));
    const token = await upstream.idToken(stranger());
    const answer = await bring({ token }, { browser });
    assert.equal(answer.status, 429);
    assert.ok(Number(answer.headers["retry-after"] ?? answer.headers["x-retry-after"]) > 0);
    assert.equal((await bring({ token }, { browser: strict.browser() })).status, 200, "another network, and the token was not used up");
  } finally {
    await strict.dispose();
  }
});

test("an app says no Origin, and another site brings nothing", async () => {
  const token = await upstream.idToken(stranger());
  const send = (browser, headers) =>
    browser.send("POST", at("/sign-in/social"), { body: { provider: "acme", idToken: { token } }, headers });
  for (const origin of ["https://evil.example", "null", `${AUTH}.evil.example`])
    assert.equal((await send(worker.browser(), { origin })).status, 403, origin);
  const { browser } = await signUp(worker);
  assert.equal((await send(browser, {})).status, 403, "cookies, and nothing that says whose page it was");
  assert.equal((await send(worker.browser(), {})).status, 200);
});
