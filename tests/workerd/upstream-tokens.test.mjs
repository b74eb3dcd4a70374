// Access tokens of upstream issuers: handed out while they are good, refreshed once however many ask, sealed at rest, and
// revoked at the end.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, beforeEach, test } from "node:test";
import { addIssuer } from "../harness/issuer.mjs";
import { signUp } from "../harness/seed.mjs";
import { consent, startUpstream, stranger } from "../harness/upstream.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

// The longest that a lease lasts: this, and three seconds.
const TIMEOUT = 3;
const OFFLINE = ["offline_access"];
const TABLES = ["account", "issuer_refresh_token"];
let worker, upstream;
before(async () => {
  upstream = await startUpstream();
  worker = await startWorker({
    settings: {
      LIMIT_MAIL: "1000/60",
      SESSION_COOKIE_CACHE_SECONDS: "0",
      SESSION_RECHECK_SECONDS: "0",
      UPSTREAM_TIMEOUT_SECONDS: String(TIMEOUT),
    },
  });
  await addIssuer(worker.d1, upstream.url);
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
const accessToken = ({ browser, account }) => browser.post(at("/get-access-token"), { accountId: account });
const refreshToken = ({ browser, account }) => browser.post(at("/refresh-token"), { accountId: account });
const many = (count, ask) => Promise.all(Array.from({ length: count }, ask));
const expire = ({ account }, seconds = -10) =>
  run("update account set access_token_expires_at = ? where id = ?", Date.now() + seconds * 1000, account);
const row = async ({ account }) => (await worker.rows("select * from account where id = ?", account))[0];
const kept = ({ account }) => worker.rows("select * from issuer_refresh_token where account_id = ?", account);
const session = async (browser) => (await browser.get(at("/get-session?disableCookieCache=true"))).json;

async function signIn(browser, person, { scopes, provider = "acme", more } = {}) {
  const begun = await browser.post(at("/sign-in/social"), { provider, callbackURL: "/done", scopes });
  assert.equal(begun.status, 200, begun.text);
  const answer = await browser.get(await consent(begun.json.url, person, more));
  assert.equal(answer.location, "/done", worker.logs().slice(-400));
  return begun.json.url;
}

/** Somebody signed in by the issuer, with a refresh token unless told otherwise. */
async function user(options = { scopes: OFFLINE }) {
  const browser = worker.browser();
  const person = stranger();
  const url = await signIn(browser, person, options);
  const [{ id: account }] = (await browser.get(at("/list-accounts"))).json;
  return { browser, person, account, url, id: (await session(browser)).user.id };
}

/** What all of many parallel calls were answered, which is the same. */
function unanimous(answers) {
  for (const answer of answers) assert.equal(answer.status, 200, answer.text);
  const tokens = new Set(answers.map(({ json }) => json.accessToken));
  assert.equal(tokens.size, 1, `${tokens.size} different tokens`);
  return [...tokens][0];
}

test("a token that is good is handed out as it is", async () => {
  const who = await user();
  const answer = await accessToken(who);
  assert.equal(answer.status, 200, answer.text);
  const { accessToken: token, accessTokenExpiresAt: end, scopes, idToken } = answer.json;
  assert.equal(upstream.access.get(token)?.sub, who.person.sub);
  assert.ok(Math.abs(new Date(end) - Date.now() - 3_600_000) < 60_000, end);
  assert.deepEqual(scopes.sort(), ["email", "offline_access", "openid", "profile"]);
  assert.ok(upstream.given.includes(idToken));
  assert.equal((await accessToken(who)).json.accessToken, token);
  assert.equal(upstream.refreshes.length, 0);
  assert.match(answer.headers["cache-control"] ?? "", /no-store/);
  assert.ok(!answer.text.includes("refresh-"), "the refresh token stays here");
});

test("a token that is about to end is refreshed, and kept", async () => {
  const who = await user();
  const before = (await accessToken(who)).json.accessToken;
  await expire(who, 120);
  assert.equal((await accessToken(who)).json.accessToken, before, "two minutes suffice");
  for (const seconds of [55, 0, -3600]) {
    await expire(who, seconds);
    const old = upstream.refreshes.length;
    const answer = await accessToken(who);
    assert.equal(answer.status, 200, answer.text);
    assert.equal(upstream.refreshes.length, old + 1, `${seconds} s left`);
    assert.notEqual(answer.json.accessToken, before);
    assert.ok(new Date(answer.json.accessTokenExpiresAt) > Date.now() + 3_000_000);
    assert.equal((await accessToken(who)).json.accessToken, answer.json.accessToken);
  }
  const state = await row(who);
  assert.deepEqual([state.leased_by, state.leased_until, state.refresh_failed_at], [null, null, null]);
});

test("a token without an end is good until somebody asks for another", async () => {
  upstream.settings.life = undefined;
  const who = await user();
  const answer = await accessToken(who);
  assert.deepEqual([answer.status, answer.json.accessTokenExpiresAt], [200, null]);
  assert.equal(upstream.refreshes.length, 0);
  const forced = await refreshToken(who);
  assert.equal(forced.status, 200, forced.text);
  assert.notEqual(forced.json.accessToken, answer.json.accessToken);
});

test("without a refresh token there is none when it has ended", async () => {
  const who = await user({});
  assert.equal((await accessToken(who)).status, 200);
  assert.deepEqual(told(await refreshToken(who)), [400, "REFRESH_TOKEN_NOT_FOUND"]);
  await expire(who);
  assert.deepEqual(told(await accessToken(who)), [400, "FAILED_TO_GET_ACCESS_TOKEN"]);
  assert.deepEqual(told(await refreshToken(who)), [400, "REFRESH_TOKEN_NOT_FOUND"]);
  const info = await who.browser.get(at(`/account-info?accountId=${who.account}`));
  assert.deepEqual(told(info), [400, "FAILED_TO_GET_ACCESS_TOKEN"]);
  assert.equal(upstream.refreshes.length, 0);
});

test("accounts that have no tokens to give", async () => {
  const local = await signUp(worker);
  const [{ id: password }] = (await local.browser.get(at("/list-accounts"))).json;
  const who = await user();
  const outcomes = [
    [{ browser: local.browser, account: password }, "PROVIDER_NOT_SUPPORTED"],
    [{ browser: local.browser, account: who.account }, "ACCOUNT_NOT_FOUND"],
    [{ browser: who.browser, account: password }, "ACCOUNT_NOT_FOUND"],
    [{ browser: who.browser, account: randomUUID() }, "ACCOUNT_NOT_FOUND"],
    [{ browser: who.browser, account: "x" }, "ACCOUNT_NOT_FOUND"],
  ];
  for (const [asked, code] of outcomes) {
    for (const ask of [accessToken, refreshToken]) assert.deepEqual(told(await ask(asked)), [400, code]);
  }
  const nobody = { browser: worker.browser(), account: who.account };
  for (const ask of [accessToken, refreshToken]) assert.equal((await ask(nobody)).status, 401);
  assert.equal((await nobody.browser.get(at(`/account-info?accountId=${who.account}`))).status, 401);
  assert.equal((await local.browser.get(at(`/account-info?accountId=${who.account}`))).status, 400);
  assert.equal(upstream.refreshes.length, 0);
});

test("what is switched off gives none", async () => {
  const issuer = await addIssuer(worker.d1, upstream.url, { name: "off" });
  const who = await user({ provider: "off", scopes: OFFLINE });
  for (const [off, on, codes] of [
    ["update issuer set enabled = 0 where id = ?", "update issuer set enabled = 1 where id = ?", [400, "PROVIDER_NOT_SUPPORTED"]],
    [
      "update account set is_active = 0 where issuer_id = ?",
      "update account set is_active = 1 where issuer_id = ?",
      [400, "ACCOUNT_NOT_FOUND"],
    ],
    [
      "update account set confirmed_at = null where issuer_id = ?",
      "update account set confirmed_at = 1 where issuer_id = ?",
      [400, "ACCOUNT_NOT_FOUND"],
    ],
  ]) {
    await run(off, issuer);
    for (const ask of [accessToken, refreshToken]) assert.deepEqual(told(await ask(who)), codes, off);
    await run(on, issuer);
    assert.equal((await accessToken(who)).status, 200);
  }
  assert.equal(upstream.refreshes.length, 0);
});

test("refresh-token gives a new one, now", async () => {
  const who = await user();
  const before = (await accessToken(who)).json.accessToken;
  const answer = await refreshToken(who);
  assert.equal(answer.status, 200, answer.text);
  assert.notEqual(answer.json.accessToken, before);
  assert.deepEqual([answer.json.providerId, answer.json.accountId], ["acme", who.person.sub]);
  assert.equal(upstream.refreshes.length, 1);
  assert.ok(!answer.text.includes("refresh-"));
  assert.equal((await accessToken(who)).json.accessToken, answer.json.accessToken);
  await refreshToken(who);
  assert.equal(upstream.refreshes.length, 2);
});

test("account-info is what the issuer says now, with a token that is good", async () => {
  const who = await user();
  await expire(who);
  const answer = await who.browser.get(at(`/account-info?accountId=${who.account}`));
  assert.equal(answer.status, 200, answer.text);
  assert.deepEqual([answer.json.user.id, answer.json.user.email, answer.json.data.sub], [who.person.sub, who.person.email, who.person.sub]);
  assert.equal(upstream.refreshes.length, 1);
});

for (const rotates of [false, true]) {
  test(`fifty who ask when it has ended are one refresh${rotates ? ", where refresh tokens rotate" : ""}`, async () => {
    const who = await user();
    upstream.settings.rotates = rotates;
    for (let round = 1; round <= 4; round += 1) {
      await expire(who);
      const token = unanimous(await many(50, () => accessToken(who)));
      assert.ok(upstream.access.has(token));
      assert.equal(upstream.refreshes.length, round);
      assert.equal((await kept(who)).length, 1);
    }
    const state = await row(who);
    assert.deepEqual([state.leased_by, state.leased_until], [null, null]);
  });
}

test("twenty who force a refresh at once are one as well", async () => {
  const who = await user();
  upstream.settings.rotates = true;
  // Whoever asks after the answer forces another.
  upstream.settings.delay = 1500;
  const before = (await accessToken(who)).json.accessToken;
  const token = unanimous(await many(20, () => refreshToken(who)));
  assert.notEqual(token, before);
  assert.equal(upstream.refreshes.length, 1);
});

test("a slow issuer is waited for, once", async () => {
  const who = await user();
  upstream.settings.rotates = true;
  upstream.settings.delay = 1200;
  await expire(who);
  unanimous(await many(50, () => accessToken(who)));
  assert.equal(upstream.refreshes.length, 1);
});

/** An issuer that answers every refresh badly, a moment later. */
const badly = (status, body) => (_request, response) => {
  setTimeout(() => response.writeHead(status, { "content-type": "application/json" }).end(body), 500);
  return true;
};
const BAD = [
  ["500", badly(500, "no")],
  ["429", badly(429, '{"error":"slow_down"}')],
  ["no JSON", badly(200, "<html>")],
  ["no access token", badly(200, "{}")],
  ["an empty access token", badly(200, '{"access_token":""}')],
  ["another type of token", badly(200, '{"access_token":"a","token_type":"DPoP"}')],
  ["an error with status 200", badly(200, '{"error":"server_error"}')],
  ["a redirect", badly(302, "")],
  [
    "a broken connection",
    (request) => {
      request.socket.destroy();
      return true;
    },
  ],
];
for (const [name, refresh] of BAD) {
  test(`an issuer that fails: ${name}`, async () => {
    const who = await user();
    upstream.settings.refresh = refresh;
    await expire(who);
    const answers = await many(name === "500" ? 50 : 8, () => accessToken(who));
    for (const answer of answers) {
      assert.ok([400, 502].includes(answer.status), answer.text);
      assert.ok(["FAILED_TO_GET_ACCESS_TOKEN", "PROVIDER_UNAVAILABLE"].includes(answer.json.code), answer.text);
    }
    if (name !== "a broken connection")
      assert.ok(upstream.refreshes.length <= (name === "500" ? 10 : 5), `${upstream.refreshes.length} refreshes`);
    const [code, wire] = told(await refreshToken(who));
    assert.ok(code === 400 && wire === "FAILED_TO_REFRESH_ACCESS_TOKEN", `${code} ${wire}`);
    assert.equal((await row(who)).leased_until, null, "the lease was given back");
    assert.equal((await kept(who)).length, 1, "the refresh token may still be good");
    upstream.settings.refresh = undefined;
    const began = Date.now();
    assert.equal((await accessToken(who)).status, 200);
    assert.ok(Date.now() - began < (TIMEOUT + 2) * 1000, "nobody waits for what is over");
  });
}

test("an issuer that never answers keeps nobody waiting for ever", async () => {
  const who = await user();
  upstream.settings.refresh = () => true;
  await expire(who);
  const began = Date.now();
  const answers = await many(20, () => accessToken(who));
  assert.ok(Date.now() - began < (2 * TIMEOUT + 10) * 1000, `${Date.now() - began} ms`);
  for (const answer of answers) assert.ok([400, 502].includes(answer.status), answer.text);
  assert.ok(upstream.refreshes.length <= 3);
  upstream.settings.refresh = undefined;
  assert.equal((await accessToken(who)).status, 200);
});

test("an issuer that is nowhere to be found gives the lease back", async () => {
  const id = await addIssuer(worker.d1, upstream.url, { name: "lost" });
  const who = await user({ provider: "lost", scopes: OFFLINE });
  await expire(who);
  await run("update issuer set discovered_at = null where id = ?", id);
  await run("delete from issuer_endpoint where issuer_id = ?", id);
  upstream.settings.discovery = (_request, response) => response.writeHead(503).end();
  for (let round = 0; round < 2; round += 1) {
    const answer = await accessToken(who);
    assert.ok([400, 502].includes(answer.status), answer.text);
    assert.equal((await row(who)).leased_until, null);
  }
  upstream.settings.discovery = undefined;
  assert.equal((await accessToken(who)).status, 200);
});

test("an issuer whose token endpoint is gone gives the lease back", async () => {
  const id = await addIssuer(worker.d1, upstream.url, { name: "endless" });
  const who = await user({ provider: "endless", scopes: OFFLINE });
  await expire(who);
  await run("delete from issuer_endpoint where issuer_id = ? and name = 'token_endpoint'", id);
  const answer = await accessToken(who);
  assert.ok([400, 502].includes(answer.status), answer.text);
  assert.equal((await row(who)).leased_until, null);
});

test("whoever had the lease and died is not waited for longer than it lasts", async () => {
  const who = await user();
  for (const left of [-1000, 1000]) {
    await expire(who);
    const until = Date.now() + left;
    await run("update account set leased_by = 'gone', leased_until = ? where id = ?", until, who.account);
    const old = upstream.refreshes.length;
    unanimous(await many(20, () => accessToken(who)));
    assert.ok(Date.now() >= until, "the lease was respected");
    assert.equal(upstream.refreshes.length, old + 1);
    assert.equal((await row(who)).leased_by, null);
  }
});

test("a grant that is over is forgotten, and asked for no more", async () => {
  const who = await user();
  const [{ token: used }] = [...upstream.grants]
    .map(([token, grant]) => ({ token, ...grant }))
    .filter(({ person }) => person.sub === who.person.sub);
  upstream.grants.delete(used);
  await expire(who);
  const answers = await many(10, () => accessToken(who));
  for (const answer of answers) assert.ok([400, 502].includes(answer.status), answer.text);
  assert.deepEqual(await kept(who), []);
  const asked = upstream.refreshes.length;
  assert.deepEqual(told(await accessToken(who)), [400, "FAILED_TO_GET_ACCESS_TOKEN"]);
  assert.deepEqual(told(await refreshToken(who)), [400, "REFRESH_TOKEN_NOT_FOUND"]);
  assert.equal(upstream.refreshes.length, asked);
  // Signing in once more mends it.
  await signIn(who.browser, who.person, { scopes: OFFLINE });
  await expire(who);
  assert.equal((await accessToken(who)).status, 200);
});

test("an ended refresh token is not used", async () => {
  const who = await user();
  await expire(who);
  await run("update issuer_refresh_token set expires_at = ? where account_id = ?", Date.now() - 1, who.account);
  assert.deepEqual(told(await accessToken(who)), [400, "FAILED_TO_GET_ACCESS_TOKEN"]);
  assert.equal(upstream.refreshes.length, 0);
});

for (const alwaysOffline of [false, true]) {
  test(`a plain sign-in does not narrow a wider consent${alwaysOffline ? ", though it has a refresh token of its own" : ""}`, async () => {
    upstream.settings.alwaysOffline = alwaysOffline;
    const who = await user({ scopes: [...OFFLINE, "calendar.read"] });
    assert.ok(new URL(who.url).searchParams.get("scope").split(" ").includes("calendar.read"));
    await signIn(who.browser, who.person);
    assert.equal((await kept(who)).length, alwaysOffline ? 2 : 1);
    const token = unanimous(await many(10, () => accessToken(who)));
    const answer = await accessToken(who);
    assert.equal(answer.json.accessToken, token);
    assert.ok(answer.json.scopes.includes("calendar.read"), answer.json.scopes.join(" "));
    assert.equal(upstream.refreshes.length, 1, "once, not at every call");
    await expire(who);
    assert.ok((await accessToken(who)).json.scopes.includes("calendar.read"));
  });
}

test("a wider consent holds at an issuer that names granted scopes its own way", async () => {
  const [plain, wide] = [
    "openid https://www.googleapis.com/auth/userinfo.email",
    "openid https://www.googleapis.com/auth/userinfo.email drive",
  ];
  upstream.settings.alwaysOffline = true;
  const who = await user({ scopes: [...OFFLINE, "drive"], more: { scope: wide } });
  upstream.settings.alwaysOffline = false;
  await signIn(who.browser, who.person, { more: { scope: plain } });
  const answer = await accessToken(who);
  assert.ok(answer.json.scopes.includes("drive"), answer.json.scopes.join(" "));
});

test("offline_access asks with the issuer's scopes and parameters for it", async () => {
  await addIssuer(worker.d1, upstream.url, {
    name: "google",
    login_scopes: "openid email",
    login_scopes_offline: "openid email drive",
    login_params: '{"hd":"x"}',
    login_params_offline: '{"access_type":"offline","prompt":"consent"}',
  });
  const who = await user({ provider: "google", scopes: OFFLINE });
  const offline = new URL(who.url).searchParams;
  assert.deepEqual(
    [offline.get("scope").split(" ").sort(), offline.get("access_type"), offline.get("prompt"), offline.get("hd")],
    [["drive", "email", "openid"], "offline", "consent", null],
  );
  assert.equal((await kept(who)).length, 1);
  const plain = new URL((await user({ provider: "google" })).url).searchParams;
  assert.deepEqual([plain.get("scope").split(" ").sort(), plain.get("access_type"), plain.get("hd")], [["email", "openid"], null, "x"]);
});

test("unlinking revokes every refresh token at the issuer", async () => {
  for (const provider of ["second", "third"]) {
    await addIssuer(worker.d1, upstream.url, { name: provider });
    upstream.settings.alwaysOffline = true;
    const who = await user({ provider, scopes: OFFLINE });
    if (provider === "third") await signIn(who.browser, who.person, { provider });
    const mine = [...upstream.grants].filter(([, { person }]) => person.sub === who.person.sub).map(([token]) => token);
    assert.equal((await kept(who)).length, mine.length);
    await run(
      "insert into account (id, user_id, subject, password_hash, created_at, updated_at) values (?, ?, ?, 'x', 1, 1)",
      randomUUID(),
      who.id,
      who.id,
    );
    upstream.revoked.length = 0;
    const answer = await who.browser.post(at("/unlink-account"), { accountId: who.account });
    assert.equal(answer.status, 200, answer.text);
    assert.deepEqual(await kept(who), []);
    assert.deepEqual(upstream.revoked.filter((token) => mine.includes(token)).sort(), mine.sort(), provider);
  }
});

test("an issuer that does not revoke keeps nobody from unlinking", async () => {
  await addIssuer(worker.d1, upstream.url, { name: "stubborn" });
  for (const revocation of [(_request, response) => response.writeHead(503).end(), () => {}, (request) => request.socket.destroy()]) {
    upstream.settings.revocation = revocation;
    const who = await user({ provider: "stubborn", scopes: OFFLINE });
    await run(
      "insert into account (id, user_id, subject, password_hash, created_at, updated_at) values (?, ?, ?, 'x', 1, 1)",
      randomUUID(),
      who.id,
      who.id,
    );
    const answer = await who.browser.post(at("/unlink-account"), { accountId: who.account });
    assert.equal(answer.status, 200, answer.text);
    assert.equal(upstream.revoked.length, 1);
    assert.deepEqual(
      (await who.browser.get(at("/list-accounts"))).json.map(({ providerId }) => providerId),
      ["credential"],
    );
    upstream.revoked.length = 0;
  }
});

test("a refresh while the account is unlinked brings nothing back", async () => {
  const who = await user();
  await run(
    "insert into account (id, user_id, subject, password_hash, created_at, updated_at) values (?, ?, ?, 'x', 1, 1)",
    randomUUID(),
    who.id,
    who.id,
  );
  upstream.settings.rotates = true;
  upstream.settings.delay = 800;
  await expire(who);
  const asked = many(5, () => accessToken(who));
  while (upstream.refreshes.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal((await who.browser.post(at("/unlink-account"), { accountId: who.account })).status, 200);
  for (const answer of await asked) assert.ok(answer.status === 200 || [400, 502].includes(answer.status), answer.text);
  assert.deepEqual(await kept(who), []);
  assert.equal(await row(who), undefined);
});

test("no token stands anywhere in the clear", async () => {
  upstream.settings.rotates = true;
  const who = await user();
  await expire(who);
  await many(5, () => accessToken(who));
  await refreshToken(who);
  upstream.settings.refresh = badly(500, "no");
  assert.equal((await refreshToken(who)).status, 400);
  const names = (
    await worker.rows("select name from sqlite_schema where type = 'table' and name not glob '_cf_*' and name not glob 'sqlite_*'")
  ).map(({ name }) => name);
  for (const name of TABLES) assert.ok(names.includes(name));
  const haystacks = { logs: worker.logs() };
  for (const name of names) haystacks[name] = JSON.stringify(await worker.rows(`select * from ${name}`));
  for (const { name } of (await worker.kv.list()).keys) haystacks[`kv ${name}`] = `${name} ${await worker.kv.get(name)}`;
  assert.ok(upstream.given.length >= 6);
  for (const [name, text] of Object.entries(haystacks)) {
    assert.ok(!/(access|refresh)-[0-9a-f]{8}-/.test(text), `a token in ${name}`);
    for (const token of upstream.given) assert.ok(!text.includes(token), `a token in ${name}`);
  }
});

test("an issuer that repeats a token in its error does not bring it into the log", async () => {
  const who = await user();
  let used;
  upstream.settings.refresh = (_request, response, form) => {
    used = form.get("refresh_token");
    response
      .writeHead(400, { "content-type": "application/json" })
      .end(JSON.stringify({ error: "server_error", error_description: `cannot look ${used} up` }));
    return true;
  };
  assert.equal((await refreshToken(who)).status, 400);
  assert.match(used, /^refresh-/);
  assert.ok(!worker.logs().includes(used));
});
