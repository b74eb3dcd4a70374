// Accounts of the platform's own with an issuer: connected by an administrator, asked for tokens by services.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, beforeEach, test } from "node:test";
import { addIssuer } from "../harness/issuer.mjs";
import { seedDomain, seedTenant, signUp } from "../harness/seed.mjs";
import { consent, startUpstream, stranger } from "../harness/upstream.mjs";
import { AUTH, DEFAULT_TENANT, startWorker } from "../harness/worker.mjs";

const TIMEOUT = 3;
const ELSEWHERE = "http://elsewhere.localhost";
let worker, upstream, admin, elsewhere;
before(async () => {
  upstream = await startUpstream();
  worker = await startWorker({
    settings: { SESSION_COOKIE_CACHE_SECONDS: "0", SESSION_RECHECK_SECONDS: "0", UPSTREAM_TIMEOUT_SECONDS: String(TIMEOUT) },
  });
  admin = await signUp(worker, { roles: ["admin"] });
  elsewhere = await seedTenant(worker, { slug: "elsewhere" });
  await seedDomain(worker, elsewhere, new URL(ELSEWHERE).hostname);
});
after(async () => {
  await worker?.dispose();
  await upstream?.stop();
});
beforeEach(() => upstream.behave());

const at = (path, host = AUTH) => `${host}/api/auth${path}`;
const run = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
const told = ({ status, json }) => [status, json.code];
const many = (count, ask) => Promise.all(Array.from({ length: count }, (_, n) => ask(n)));
const show = (id, who = admin, host = AUTH) => who.browser.get(at(`/admin/issuers/${id}/system-account`, host));
const disconnect = (id, who = admin, host = AUTH) =>
  who.browser.send("DELETE", at(`/admin/issuers/${id}/system-account`, host), { headers: { origin: host } });
const begin = (id, who = admin, body = {}, host = AUTH) =>
  who.browser.post(at(`/admin/issuers/${id}/system-account`, host), { callbackURL: "/connected", ...body });
const serviceToken = (id, who = admin, host = AUTH) => who.browser.post(at(`/admin/issuers/${id}/service-token`, host), {});
const errorOf = (answer) => {
  assert.equal(answer.status, 302, answer.text);
  return new URL(answer.location, AUTH).searchParams.get("error");
};
const audits = async (event, issuer) =>
  (await worker.rows("select user_id, severity, details from audit_event where event = ?", event)).filter(
    ({ details }) => JSON.parse(details).issuer === issuer,
  );
const account = async (issuer) => (await worker.rows("select * from system_account where issuer_id = ?", issuer))[0];
const expire = (issuer, seconds = -10) =>
  run("update issuer_access_token set expires_at = ? where issuer_id = ?", Date.now() + seconds * 1000, issuer);
const leases = async (issuer) =>
  (await worker.rows("select leased_until from system_account where issuer_id = ? and leased_until is not null", issuer)).length;

let names = 0;
async function issuer(columns = {}) {
  const name = `i${(names += 1)}`;
  return { name, id: await addIssuer(worker.d1, upstream.url, { name, ...columns }) };
}

/** What a service asks: no Origin, no cookie. */
function ask(token, body, { host = AUTH, headers = {} } = {}) {
  const authorization = token === undefined ? undefined : `Bearer ${token}`;
  return worker.browser().send("POST", at("/system-account/token", host), { body, headers: { authorization, ...headers } });
}

/** An issuer with a connected account, and the token that services have for it. */
async function connected({ columns, person = stranger(), scope = "openid email offline_access calendar drive" } = {}) {
  const made = await issuer({ login_scopes_offline: scope, ...columns });
  const begun = await begin(made.id);
  assert.equal(begun.status, 200, begun.text);
  const back = await admin.browser.get(await consent(begun.json.url, person));
  assert.equal(back.location, "/connected", worker.logs().slice(-400));
  const answer = await serviceToken(made.id);
  assert.equal(answer.status, 200, answer.text);
  return { ...made, person, token: answer.json.serviceToken, url: begun.json.url };
}

test("an administrator connects an account, and sees it without its secrets", async () => {
  const person = stranger({ preferred_username: "robot" });
  const made = await issuer({
    login_scopes: "openid email",
    login_scopes_offline: "openid email offline_access calendar",
    login_params: '{"hd":"x"}',
    login_params_offline: '{"access_type":"offline","prompt":"consent"}',
  });
  assert.deepEqual(told(await show(made.id)), [404, "SYSTEM_ACCOUNT_NOT_FOUND"]);
  assert.deepEqual(told(await serviceToken(made.id)), [404, "SYSTEM_ACCOUNT_NOT_FOUND"]);
  assert.deepEqual(told(await disconnect(made.id)), [404, "SYSTEM_ACCOUNT_NOT_FOUND"]);

  const begun = await begin(made.id);
  assert.equal(begun.status, 200, begun.text);
  assert.equal(begun.json.redirect, true);
  const url = new URL(begun.json.url);
  assert.deepEqual(url.searchParams.get("scope").split(" ").sort(), ["calendar", "email", "offline_access", "openid"]);
  assert.deepEqual(
    ["access_type", "prompt", "hd", "code_challenge_method"].map((name) => url.searchParams.get(name)),
    ["offline", "consent", null, "S256"],
  );
  const back = await admin.browser.get(await consent(url.href, person));
  assert.equal(back.location, "/connected");

  const shown = await show(made.id);
  assert.equal(shown.status, 200, shown.text);
  const { subject, email, grantedScopes, hasServiceToken, updatedBy } = shown.json;
  assert.deepEqual(
    { subject, email, hasServiceToken, updatedBy },
    { subject: person.sub, email: person.email, hasServiceToken: false, updatedBy: admin.id },
  );
  assert.deepEqual(grantedScopes.sort(), ["calendar", "email", "offline_access", "openid"]);
  for (const secret of upstream.given) assert.ok(!shown.text.includes(secret));
  assert.ok(!shown.text.includes((await account(made.id)).refresh_token_sealed));

  // It is the platform's, and nobody's way in.
  assert.deepEqual(await worker.rows("select id from account where subject = ?", person.sub), []);
  assert.deepEqual(await worker.rows("select id from user where email = ?", person.email), []);
  const session = (await admin.browser.get(at("/get-session"))).json;
  assert.equal(session.user.id, admin.id);
  const [audit] = await audits("system_account.connected", made.name);
  assert.deepEqual([audit.user_id, audit.severity, JSON.parse(audit.details).subject], [admin.id, "high", person.sub]);
});

test("only administrators connect, see, disconnect and make tokens", async () => {
  const made = await connected();
  const [nobody, user] = [{ browser: worker.browser() }, await signUp(worker)];
  for (const [who, outcome] of [
    [nobody, [401, "UNAUTHORIZED"]],
    [user, [403, "FORBIDDEN"]],
  ]) {
    for (const call of [show, begin, disconnect, serviceToken]) assert.deepEqual(told(await call(made.id, who)), outcome, call.name);
  }
  const other = await signUp(worker, { roles: ["admin"] });
  await run("update session set authenticated_at = ? where user_id = ?", Date.now() - 2 * 86_400_000, other.id);
  for (const call of [begin, serviceToken]) assert.deepEqual(told(await call(made.id, other)), [403, "SESSION_NOT_FRESH"]);
  await run("update session set authenticated_at = ?, impersonated_by = ? where user_id = ?", Date.now(), admin.id, other.id);
  for (const call of [show, begin, disconnect, serviceToken]) assert.deepEqual(told(await call(made.id, other)), [403, "FORBIDDEN"]);
  for (const id of ["x", "00000000-0000-7000-8000-000000000099", "%00"]) {
    for (const call of [show, begin, disconnect, serviceToken]) assert.deepEqual(told(await call(id)), [404, "ISSUER_NOT_FOUND"], id);
  }
  const foreign = await admin.browser.post(at(`/admin/issuers/${made.id}/service-token`), {}, { origin: "https://evil.example" });
  assert.equal(foreign.status, 403);
  const evil = await begin(made.id, admin, { callbackURL: "https://evil.example" });
  assert.deepEqual(told(evil), [403, "INVALID_CALLBACK_URL"]);
  assert.equal((await ask(made.token)).status, 200, "nothing was changed");
});

test("an issuer that gives no refresh token connects nothing", async () => {
  const made = await issuer({ login_scopes_offline: "openid email" });
  const begun = await begin(made.id, admin, { errorCallbackURL: "/settings" });
  const back = await admin.browser.get(await consent(begun.json.url, stranger()));
  assert.equal(back.location, "/settings?error=no_refresh_token");
  assert.equal((await show(made.id)).status, 404);
});

test("whoever began is an administrator still, and there, in this browser", async () => {
  const made = await issuer();
  const other = await signUp(worker, { roles: ["admin"] });
  const person = stranger();
  const callback = async () => consent((await begin(made.id, other)).json.url, person);

  const demoted = await callback();
  await run("delete from member_role where member_id in (select id from member where user_id = ?)", other.id);
  assert.equal(errorOf(await other.browser.get(demoted)), "not_signed_in");
  const [{ id: role }] = await worker.rows("select id from role where name = 'admin'");
  await run("insert into member_role (member_id, role_id, created_at) select id, ?, 0 from member where user_id = ?", role, other.id);

  const theirs = await callback();
  assert.equal(errorOf(await admin.browser.get(theirs)), "state_mismatch", "begun by another administrator, in another browser");
  const impersonated = await callback();
  await run("update session set impersonated_by = ? where user_id = ?", admin.id, other.id);
  assert.equal(errorOf(await other.browser.get(impersonated)), "not_signed_in");
  await run("update session set impersonated_by = null where user_id = ?", other.id);
  const out = await callback();
  await other.browser.post(at("/sign-out"), {});
  assert.equal(errorOf(await other.browser.get(out)), "not_signed_in");
  assert.equal(await account(made.id), undefined);
  assert.deepEqual(await audits("system_account.connected", made.name), []);
});

test("a service token is shown once, is hashed at rest, and ends with the next", async () => {
  const made = await connected();
  const stored = await account(made.id);
  assert.equal(stored.service_token_hash, createHash("sha256").update(made.token).digest("base64url"));
  for (const table of ["system_account", "audit_event", "issuer_access_token"])
    assert.ok(!JSON.stringify(await worker.rows(`select * from ${table}`)).includes(made.token), table);
  const shown = await show(made.id);
  assert.deepEqual(
    [shown.json.hasServiceToken, shown.text.includes(made.token), shown.text.includes(stored.service_token_hash)],
    [true, false, false],
  );
  assert.ok(!worker.logs().includes(made.token));
  assert.equal((await ask(made.token)).status, 200);

  const next = (await serviceToken(made.id)).json.serviceToken;
  assert.notEqual(next, made.token);
  assert.deepEqual(told(await ask(made.token)), [401, "UNAUTHORIZED"]);
  assert.equal((await ask(next)).status, 200);
  const events = await audits("system_account.service_token", made.name);
  assert.equal(events.length, 2);
  assert.ok(!JSON.stringify(events).includes(next));
});

test("what is no service token opens nothing", async () => {
  const made = await connected();
  assert.equal((await ask(made.token)).status, 200);
  for (const authorization of [
    undefined,
    "",
    "Bearer",
    "Bearer ",
    `Basic ${made.token}`,
    `Basic ${Buffer.from(`x:${made.token}`).toString("base64")}`,
    made.token,
    `Token ${made.token}`,
    `Bearer ${made.token}x`,
    `Bearer ${made.token.slice(1)}`,
    `Bearer ${"A".repeat(43)}`,
    `Bearer ${"A".repeat(5000)}`,
    `Bearer ${made.token} ${made.token}`,
    `Bearer ${(await account(made.id)).service_token_hash}`,
    `Bearer ${made.token},Bearer ${made.token}`,
    "Bearer \u00e4",
    "Bearer ' or 1=1",
  ]) {
    const answer = await ask(undefined, {}, { headers: { authorization } });
    assert.deepEqual(told(answer), [401, "UNAUTHORIZED"], String(authorization));
  }
  assert.equal(
    (await ask(undefined, {}, { headers: { authorization: `bearer ${made.token}` } })).status,
    200,
    "schemes have no case (RFC 9110, section 11.1)",
  );
  // The token is no session, and a session is no token.
  const session = await worker.browser().get(at("/get-session"), { headers: { authorization: `Bearer ${made.token}` } });
  assert.equal(session.json, null);
  assert.deepEqual(told(await admin.browser.post(at("/system-account/token"), {}, { keepCookies: false })), [401, "UNAUTHORIZED"]);
});

test("another site's form does not sign a visitor out by asking without a service token", async () => {
  const who = await signUp(worker);
  // What `<form method="post" enctype="text/plain">` without fields sends.
  const headers = { "content-type": "text/plain", "sec-fetch-mode": "navigate", "sec-fetch-site": "cross-site" };
  const answer = await who.browser.post(at("/system-account/token"), "", { origin: "https://evil.example", headers });
  assert.ok(answer.status >= 400, answer.text);
  assert.deepEqual(answer.cookies, [], "the session was not even looked at");
  assert.equal((await who.browser.get(at("/get-session"))).json?.user.id, who.id);
});

test("a service asks for what was granted, or less", async () => {
  const made = await connected();
  const all = await ask(made.token, {});
  assert.equal(all.status, 200, all.text);
  assert.deepEqual(all.json.scopes.sort(), ["calendar", "drive", "email", "offline_access", "openid"]);
  assert.equal(upstream.access.get(all.json.accessToken)?.sub, made.person.sub);
  assert.ok(new Date(all.json.expiresAt) > Date.now() + 3_000_000);
  assert.match(all.headers["cache-control"] ?? "", /no-store/);

  const some = await ask(made.token, { scopes: ["drive"] });
  assert.deepEqual([some.status, some.json.scopes], [200, ["drive"]]);
  assert.equal(upstream.refreshes.at(-1).scope, "drive");
  assert.notEqual(some.json.accessToken, all.json.accessToken);

  for (const scopes of [
    ["mail"],
    ["drive", "mail"],
    ["drive calendar"],
    [""],
    ["DRIVE"],
    "drive",
    [1],
    [null],
    {},
    ["x".repeat(5000)],
    Array(31).fill("drive"),
  ]) {
    const answer = await ask(made.token, { scopes });
    assert.deepEqual(told(answer), [400, "VALIDATION_ERROR"], JSON.stringify(scopes).slice(0, 80));
  }
  for (const body of ["[]", "{", "null", '"x"']) {
    const answer = await ask(made.token, body, { headers: { "content-type": "application/json" } });
    assert.equal(answer.status, 400, body);
  }
  assert.equal(upstream.refreshes.length, 2, "what was refused was not asked for");
});

test("a token is cached until it is about to end, in whatever order scopes are asked for", async () => {
  const made = await connected();
  const first = (await ask(made.token, { scopes: ["drive", "calendar"] })).json.accessToken;
  for (const scopes of [
    ["drive", "calendar"],
    ["calendar", "drive"],
    ["calendar", "drive", "calendar"],
  ])
    assert.equal((await ask(made.token, { scopes })).json.accessToken, first);
  assert.equal(upstream.refreshes.length, 1);
  await expire(made.id, 120);
  assert.equal((await ask(made.token, { scopes: ["calendar", "drive"] })).json.accessToken, first);
  await expire(made.id, 50);
  assert.notEqual((await ask(made.token, { scopes: ["calendar", "drive"] })).json.accessToken, first);
  assert.equal(upstream.refreshes.length, 2);
});

test("fifty services that ask at once are one refresh, and rotation is kept", async () => {
  const made = await connected();
  upstream.settings.rotates = true;
  for (let round = 1; round <= 3; round += 1) {
    await expire(made.id);
    const answers = await many(50, () => ask(made.token, {}));
    for (const answer of answers) assert.equal(answer.status, 200, answer.text);
    assert.equal(new Set(answers.map(({ json }) => json.accessToken)).size, 1);
    assert.equal(upstream.refreshes.length, round);
  }
  assert.equal(new Set(upstream.refreshes.map(({ refresh_token: token }) => token)).size, 3, "each with the token of the one before");
});

test("services that ask for different scopes at once do not use one another's refresh token up", async () => {
  const made = await connected();
  upstream.settings.rotates = true;
  upstream.settings.delay = 100;
  const wishes = [["drive"], ["calendar"], ["email"], []];
  for (let round = 0; round < 3; round += 1) {
    await expire(made.id);
    const answers = await many(12, (n) => ask(made.token, { scopes: wishes[n % wishes.length] }));
    for (const answer of answers) assert.equal(answer.status, 200, answer.text);
    const presented = upstream.refreshes.map(({ refresh_token: token }) => token);
    assert.equal(new Set(presented).size, presented.length, "a refresh token that rotates was sent twice");
  }
});

test("an issuer that fails is not asked by each who waits, and the lease is given back", async () => {
  const made = await connected();
  for (const [status, body] of [
    [500, "no"],
    [400, '{"error":"invalid_grant"}'],
    [200, "<html>"],
    [200, "{}"],
  ]) {
    upstream.refreshes.length = 0;
    upstream.settings.refresh = (_request, response) => {
      setTimeout(() => response.writeHead(status, { "content-type": "application/json" }).end(body), 500);
      return true;
    };
    await expire(made.id);
    for (const answer of await many(20, () => ask(made.token, {}))) assert.deepEqual(told(answer), [502, "PROVIDER_UNAVAILABLE"]);
    assert.ok(upstream.refreshes.length <= 8, `${upstream.refreshes.length} refreshes`);
    assert.equal(await leases(made.id), 0);
  }
  upstream.settings.refresh = undefined;
  const began = Date.now();
  assert.equal((await ask(made.token, {})).status, 200);
  assert.ok(Date.now() - began < (TIMEOUT + 2) * 1000);
});

test("an issuer that is nowhere to be found gives the lease back", async () => {
  const made = await connected();
  await run("update issuer set discovered_at = null where id = ?", made.id);
  await run("delete from issuer_endpoint where issuer_id = ?", made.id);
  upstream.settings.discovery = (_request, response) => response.writeHead(503).end();
  assert.deepEqual(told(await ask(made.token, {})), [502, "PROVIDER_UNAVAILABLE"]);
  assert.equal(await leases(made.id), 0);
  upstream.settings.discovery = undefined;
  assert.equal((await ask(made.token, {})).status, 200);
});

test("a service that died in the middle is not waited for longer than its lease", async () => {
  const made = await connected();
  assert.equal((await ask(made.token, {})).status, 200);
  for (const left of [-1000, 1000]) {
    await expire(made.id);
    const until = Date.now() + left;
    await run("update system_account set leased_by = 'gone', leased_until = ? where issuer_id = ?", until, made.id);
    const old = upstream.refreshes.length;
    for (const answer of await many(10, () => ask(made.token, {}))) assert.equal(answer.status, 200, answer.text);
    assert.ok(Date.now() >= until, "the lease was respected");
    assert.equal(upstream.refreshes.length, old + 1);
  }
});

test("connecting another account takes the place of the one before; services keep their token", async () => {
  const made = await connected();
  const first = await ask(made.token, {});
  const person = stranger();
  const back = await admin.browser.get(await consent((await begin(made.id)).json.url, person));
  assert.equal(back.location, "/connected");
  assert.equal((await show(made.id)).json.subject, person.sub);
  const second = await ask(made.token, {});
  assert.equal(second.status, 200, second.text);
  assert.notEqual(second.json.accessToken, first.json.accessToken, "that one was the other account's");
  assert.equal(upstream.access.get(second.json.accessToken).sub, person.sub);
  assert.equal((await worker.rows("select id from system_account where issuer_id = ?", made.id)).length, 1);
});

test("disconnecting revokes at the issuer and ends the service token", async () => {
  const made = await connected();
  assert.equal((await ask(made.token, {})).status, 200);
  const [mine] = [...upstream.grants].filter(([, { person }]) => person.sub === made.person.sub).map(([token]) => token);
  const answer = await disconnect(made.id);
  assert.deepEqual([answer.status, answer.json], [200, { status: true }]);
  assert.deepEqual(upstream.revoked, [mine]);
  assert.deepEqual(told(await ask(made.token, {})), [401, "UNAUTHORIZED"]);
  assert.equal((await show(made.id)).status, 404);
  assert.deepEqual(await worker.rows("select id from issuer_access_token where issuer_id = ?", made.id), []);
  assert.equal((await audits("system_account.disconnected", made.name)).length, 1);

  upstream.settings.revocation = (_request, response) => response.writeHead(500).end();
  const stubborn = await connected();
  assert.equal((await disconnect(stubborn.id)).status, 200);
  assert.deepEqual(told(await ask(stubborn.token, {})), [401, "UNAUTHORIZED"]);
});

test("a disabled issuer gives services nothing, and connects nothing", async () => {
  const made = await connected();
  assert.equal((await ask(made.token, {})).status, 200);
  const begun = await consent((await begin(made.id)).json.url, stranger());
  await run("update issuer set enabled = 0 where id = ?", made.id);
  assert.deepEqual(told(await ask(made.token, {})), [401, "UNAUTHORIZED"]);
  assert.deepEqual(told(await begin(made.id)), [404, "PROVIDER_NOT_FOUND"]);
  assert.equal(errorOf(await admin.browser.get(begun)), "provider_not_found");
  assert.equal((await disconnect(made.id)).status, 200, "but can be disconnected");
});

test("tenants are apart", async () => {
  const theirs = await signUp(worker, { roles: ["admin"], host: ELSEWHERE, tenant: elsewhere });
  // One that every tenant offers is the default tenant's to change.
  const global = await connected();
  for (const call of [
    (id) => begin(id, theirs, {}, ELSEWHERE),
    (id) => serviceToken(id, theirs, ELSEWHERE),
    (id) => disconnect(id, theirs, ELSEWHERE),
  ])
    assert.deepEqual(told(await call(global.id)), [403, "FORBIDDEN"]);
  // And one of the default tenant's own is not there for others.
  const ours = await connected({ columns: { tenant_id: DEFAULT_TENANT } });
  for (const call of [show, begin, serviceToken, disconnect]) {
    const answer = call === begin ? await begin(ours.id, theirs, {}, ELSEWHERE) : await call(ours.id, theirs, ELSEWHERE);
    assert.deepEqual(told(answer), [404, "ISSUER_NOT_FOUND"], call.name);
  }
  assert.deepEqual(told(await ask(ours.token, {}, { host: ELSEWHERE })), [401, "UNAUTHORIZED"]);
  assert.equal((await ask(ours.token, {})).status, 200);

  const made = await issuer({ tenant_id: elsewhere, login_scopes_offline: "openid offline_access drive" });
  for (const call of [show, begin, serviceToken, disconnect]) assert.deepEqual(told(await call(made.id)), [404, "ISSUER_NOT_FOUND"]);
  const begun = await begin(made.id, theirs, {}, ELSEWHERE);
  assert.equal(begun.status, 200, begun.text);
  const back = await theirs.browser.get(await consent(begun.json.url, stranger()));
  assert.equal(back.location, "/connected");
  const token = (await serviceToken(made.id, theirs, ELSEWHERE)).json.serviceToken;
  assert.equal((await ask(token, {}, { host: ELSEWHERE })).status, 200);
  assert.deepEqual(told(await ask(token, {})), [401, "UNAUTHORIZED"]);
  assert.equal((await disconnect(made.id, theirs, ELSEWHERE)).status, 200);
});

test("secrets of connected accounts stand nowhere in the clear", async () => {
  const made = await connected();
  upstream.settings.rotates = true;
  await ask(made.token, {});
  await ask(made.token, { scopes: ["drive"] });
  const tables = (
    await worker.rows("select name from sqlite_schema where type = 'table' and name not glob '_cf_*' and name not glob 'sqlite_*'")
  ).map(({ name }) => name);
  assert.ok(tables.includes("system_account"));
  for (const name of tables) {
    const text = JSON.stringify(await worker.rows(`select * from ${name}`));
    for (const secret of [...upstream.given, made.token]) assert.ok(!text.includes(secret), name);
  }
  for (const secret of [...upstream.given, made.token]) assert.ok(!worker.logs().includes(secret));
});
