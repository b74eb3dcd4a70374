// What anybody may have written without having proven anything: counted by network, bounded in bytes, and gone when it runs out.

import assert from "node:assert/strict";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import test, { after, before } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { columnsOf } from "../harness/d1.mjs";
import { PASSWORD, seedApp, signUp } from "../harness/seed.mjs";
import { AUTH, DEFAULT_TENANT, SETTINGS, startWorker } from "../harness/worker.mjs";
import { authRoutes, websiteRoutes } from "../harness/routes.mjs";

const APP = "http://app.localhost";
const ASKS = 100;
/** The most rows that a network leaves in a table within a minute, and the most bytes of one of them. */
const MOST_ROWS = 65;
const MOST_BYTES = 12_000;
/** The limits as they are when nobody sets them. */
const DEFAULTS = Object.fromEntries(
  Object.keys(SETTINGS)
    .filter((name) => name.startsWith("LIMIT_"))
    .map((name) => [name, null]),
);
const SETTINGS_HERE = {
  ...DEFAULTS,
  SIGN_IN_WITH: "password,passkey,magic-link,email-otp,phone,anonymous",
  CLIENT_REGISTRATION: "open",
  MULTI_SESSION: "on",
  CLIENT_ID_METADATA_DOCUMENTS: "on",
  SMS_WEBHOOK: null,
};

let worker, known, client, tables;

before(async () => {
  worker = await startWorker({ settings: SETTINGS_HERE });
  known = await signUp(worker);
  await seedApp(worker, "app.localhost", { access: "signed_in" });
  const issuer = randomUUID();
  await worker.d1.batch([
    worker.d1
      .prepare(
        `insert into issuer (id, name, login_page_name, service_type, base_url, client_id, created_at, updated_at)
      values (?, 'acme', 'Acme', 'oauth2', 'http://127.0.0.1:9', 'us', 0, 0)`,
      )
      .bind(issuer),
    worker.d1
      .prepare(
        `insert into issuer_endpoint (id, issuer_id, name, url, is_discovered, created_at, updated_at)
      values (?, ?, 'authorization_endpoint', 'http://127.0.0.1:9/authorize', 0, 0, 0)`,
      )
      .bind(randomUUID(), issuer),
  ]);
  const answer = await worker.browser().send("POST", `${AUTH}/oauth2/register`, {
    body: {
      client_name: "Anybody's",
      redirect_uris: ["https://spa.example/callback"],
      token_endpoint_auth_method: "none",
      grant_types: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
    },
  });
  assert.equal(answer.status, 201, answer.text);
  client = answer.json.client_id;
  const columns = await columnsOf(worker.d1);
  tables = Map.groupBy(columns, ({ table }) => table);
});
after(() => worker?.dispose());

/** Rows and bytes of every table. */
async function census() {
  const counted = await worker.d1.batch(
    [...tables].map(([table, columns]) =>
      worker.d1.prepare(
        `select '${table}' as name, count(*) as rows, coalesce(sum(${columns.map(({ column }) => `coalesce(length("${column}"), 0)`).join(" + ")}), 0) as bytes from "${table}"`,
      ),
    ),
  );
  return new Map(counted.map(({ results: [row] }) => [row.name, row]));
}

const form = (path, fields, headers) => (browser) =>
  browser.submit(`${AUTH}${path}`, typeof fields === "function" ? fields() : fields, headers && { headers });
const json = (path, body) => (browser) => browser.post(`${AUTH}/api/auth${path}`, typeof body === "function" ? body() : body);
const get = (path) => (browser) =>
  browser.get(`${AUTH}${typeof path === "function" ? path() : path}`, { headers: { accept: "text/html" } });
const token = () => randomBytes(32).toString("base64url");
const long = (size) => "x".repeat(size);
const email = uniqueEmail;
const password = PASSWORD;
const wrong = "a wrong password";
const phoneNumber = () => `+4930${String(Math.floor(Math.random() * 1e8)).padStart(8, "0")}`;
/** An authorization request with as much in it as there may be. */
const authorization = (more = {}) => ({
  client_id: client,
  response_type: "code",
  redirect_uri: "https://spa.example/callback",
  scope: "openid",
  state: token(),
  nonce: token(),
  code_challenge: createHash("sha256").update("x").digest("base64url"),
  code_challenge_method: "S256",
  ...more,
});
/** What takes the place of a fitting cookie: one that might be one. */
const withCookie = (name, ask) => (browser) => {
  browser.cookies("auth.localhost").set(name, token());
  return ask(browser);
};
const pending = (path, body) => withCookie("doorward.second_factor", json(path, body));

/** How each route is asked, in the way that leaves the most. */
const ASKED = {
  "GET /api/auth/get-session": withCookie("doorward.session", get("/api/auth/get-session")),
  "POST /api/auth/get-session": withCookie("doorward.session", json("/get-session", {})),
  "POST /api/auth/sign-up/email": json("/sign-up/email", () => ({
    name: long(100),
    email: email(),
    password,
    image: `https://x.example/${long(1000)}`,
  })),
  "POST /api/auth/sign-in/email": json("/sign-in/email", () => ({ email: known.email, password: wrong })),
  "POST /api/auth/sign-in/username": json("/sign-in/username", () => ({
    username: `nobody_${Math.floor(Math.random() * 1e9)}`,
    password: wrong,
  })),
  "POST /api/auth/sign-in/phone-number": json("/sign-in/phone-number", () => ({ phoneNumber: phoneNumber(), password: wrong })),
  "POST /api/auth/sign-in/magic-link": json("/sign-in/magic-link", () => ({
    email: email(),
    name: long(100),
    callbackURL: `/${long(2000)}`,
  })),
  "GET /api/auth/magic-link/verify": get(() => `/api/auth/magic-link/verify?token=${token()}`),
  "POST /api/auth/sign-in/email-otp": json("/sign-in/email-otp", () => ({ email: email(), otp: "000000" })),
  "POST /api/auth/sign-in/anonymous": json("/sign-in/anonymous", {}),
  "POST /api/auth/sign-in/social": json("/sign-in/social", () => ({
    provider: "acme",
    callbackURL: `/${long(2000)}`,
    errorCallbackURL: `/${long(2000)}`,
    newUserCallbackURL: `/${long(2000)}`,
    scopes: Array(5).fill(long(200)),
  })),
  "GET /api/auth/callback/:id": withCookie(
    "doorward.binding",
    get(() => `/api/auth/callback/acme?code=x&state=${token()}`),
  ),
  "POST /api/auth/callback/:id": form("/api/auth/callback/acme", () => ({ code: "x", state: token() })),
  "POST /api/auth/sign-out": withCookie("doorward.session", json("/sign-out", {})),
  "POST /api/auth/two-factor/verify-totp": pending("/two-factor/verify-totp", { code: "000000" }),
  "POST /api/auth/two-factor/send-otp": pending("/two-factor/send-otp", {}),
  "POST /api/auth/two-factor/verify-otp": pending("/two-factor/verify-otp", { code: "000000" }),
  "POST /api/auth/two-factor/verify-backup-code": pending("/two-factor/verify-backup-code", { code: "aaaaa-aaaaa" }),
  "GET /api/auth/passkey/generate-authenticate-options": get("/api/auth/passkey/generate-authenticate-options"),
  "POST /api/auth/passkey/verify-authentication": json("/passkey/verify-authentication", () => ({
    response: {
      id: token(),
      rawId: token(),
      type: "public-key",
      clientExtensionResults: {},
      response: {
        clientDataJSON: Buffer.from(JSON.stringify({ type: "webauthn.get", challenge: token(), origin: AUTH })).toString("base64url"),
        authenticatorData: token(),
        signature: token(),
      },
    },
  })),
  "POST /api/auth/email-otp/send-verification-otp": json("/email-otp/send-verification-otp", () => ({ email: email(), type: "sign-in" })),
  "POST /api/auth/email-otp/check-verification-otp": json("/email-otp/check-verification-otp", () => ({
    email: email(),
    type: "sign-in",
    otp: "000000",
  })),
  "POST /api/auth/email-otp/verify-email": json("/email-otp/verify-email", () => ({ email: email(), otp: "000000" })),
  "POST /api/auth/email-otp/request-password-reset": json("/email-otp/request-password-reset", () => ({ email: known.email })),
  "POST /api/auth/forget-password/email-otp": json("/forget-password/email-otp", () => ({ email: email() })),
  "POST /api/auth/email-otp/reset-password": json("/email-otp/reset-password", () => ({
    email: email(),
    otp: "000000",
    password: "a new password",
  })),
  "POST /api/auth/phone-number/send-otp": json("/phone-number/send-otp", () => ({ phoneNumber: phoneNumber() })),
  "POST /api/auth/phone-number/verify": json("/phone-number/verify", () => ({ phoneNumber: phoneNumber(), code: "000000" })),
  "POST /api/auth/phone-number/request-password-reset": json("/phone-number/request-password-reset", () => ({
    phoneNumber: phoneNumber(),
  })),
  "POST /api/auth/phone-number/reset-password": json("/phone-number/reset-password", () => ({
    phoneNumber: phoneNumber(),
    otp: "000000",
    newPassword: "a new password",
  })),
  "POST /api/auth/one-time-token/verify": json("/one-time-token/verify", () => ({ token: token() })),
  "POST /api/auth/one-tap/callback": json("/one-tap/callback", { idToken: "x.y.z" }),
  "POST /api/auth/device/code": json("/device/code", () => ({ client_id: client, scope: "openid" })),
  "POST /api/auth/device/token": json("/device/token", () => ({
    grant_type: "urn:ietf:params:oauth:grant-type:device_code",
    device_code: token(),
    client_id: client,
  })),
  "GET /api/auth/device": get("/api/auth/device?user_code=BCDF-GHJK"),
  "POST /api/auth/device/approve": json("/device/approve", { userCode: "BCDF-GHJK" }),
  "POST /api/auth/device/deny": json("/device/deny", { userCode: "BCDF-GHJK" }),
  "GET /verify-email": get(() => `/verify-email?token=${token()}`),
  "POST /verify-email": form("/verify-email", () => ({ token: token() })),
  "GET /sign-in-link": get(() => `/sign-in-link?token=${token()}`),
  "POST /sign-in-link": form("/sign-in-link", () => ({ token: token() })),
  "GET /delete-account": get(() => `/delete-account?token=${token()}`),
  "POST /delete-account": form("/delete-account", () => ({ token: token() })),
  "GET /api/auth/multi-session/list-device-sessions": get("/api/auth/multi-session/list-device-sessions"),
  "POST /api/auth/multi-session/set-active": json("/multi-session/set-active", () => ({ sessionToken: randomUUID() })),
  "POST /api/auth/is-username-available": json("/is-username-available", () => ({ username: `nobody_${Math.floor(Math.random() * 1e9)}` })),
  "GET /api/auth/delete-user/callback": get(() => `/api/auth/delete-user/callback?token=${token()}`),
  "POST /api/auth/send-verification-email": json("/send-verification-email", () => ({ email: email(), callbackURL: `/${long(2000)}` })),
  "GET /api/auth/verify-email": get(() => `/api/auth/verify-email?token=${token()}`),
  "POST /api/auth/request-password-reset": json("/request-password-reset", () => ({ email: email(), redirectTo: `/${long(2000)}` })),
  "GET /api/auth/reset-password/:token": get(() => `/api/auth/reset-password/${token()}?callbackURL=/`),
  "POST /api/auth/reset-password": json("/reset-password", () => ({ token: token(), newPassword: "a new password" })),
  "POST /api/auth/system-account/token": (browser) =>
    browser.send("POST", `${AUTH}/api/auth/system-account/token`, { body: {}, headers: { authorization: `Bearer ${token()}` } }),
  "GET /api/auth/jwks": get("/api/auth/jwks"),
  "GET /api/auth/ok": get("/api/auth/ok"),
  "GET /api/auth/error": get(() => `/api/auth/error?error=${token()}`),
  "GET /.well-known/openid-configuration": get("/.well-known/openid-configuration"),
  "GET /.well-known/oauth-authorization-server": get("/.well-known/oauth-authorization-server"),
  "GET /oauth2/authorize": get(
    () => `/oauth2/authorize?${new URLSearchParams(authorization({ ui_locales: long(6000), unknown: long(2000) }))}`,
  ),
  "POST /oauth2/authorize": form("/oauth2/authorize", () => authorization()),
  "POST /oauth2/par": form("/oauth2/par", () =>
    authorization({ one: long(16_000), two: long(16_000), three: long(16_000), ui_locales: long(7000) }),
  ),
  "POST /oauth2/device_authorization": form("/oauth2/device_authorization", () => ({ client_id: client, scope: "openid" })),
  "GET /device": get("/device?user_code=BCDF-GHJK"),
  "POST /device": form("/device", { user_code: "BCDF-GHJK", decision: "allow" }),
  "GET /oauth2/end_session": get(() => `/oauth2/end_session?client_id=${client}&state=${token()}`),
  "POST /oauth2/end_session": form("/oauth2/end_session", () => ({ client_id: client, state: token() })),
  "POST /oauth2/end_session/confirm": form("/oauth2/end_session/confirm", () => ({ client_id: client })),
  "POST /oauth2/token": form("/oauth2/token", () => ({
    grant_type: "authorization_code",
    client_id: client,
    code: token(),
    code_verifier: token(),
    redirect_uri: "https://spa.example/callback",
  })),
  "GET /oauth2/userinfo": (browser) => browser.get(`${AUTH}/oauth2/userinfo`, { headers: { authorization: `Bearer ${token()}` } }),
  "POST /oauth2/userinfo": form("/oauth2/userinfo", () => ({ access_token: token() })),
  "POST /oauth2/introspect": form("/oauth2/introspect", () => ({ client_id: client, token: token() })),
  "POST /oauth2/revoke": form("/oauth2/revoke", () => ({ client_id: client, token: token() })),
  "POST /oauth2/register": (browser) =>
    browser.send("POST", `${AUTH}/oauth2/register`, {
      body: { client_name: "One", redirect_uris: ["https://spa.example/callback"], token_endpoint_auth_method: "none" },
    }),
  "GET /oauth2/register/:client_id": (browser) =>
    browser.get(`${AUTH}/oauth2/register/${client}`, { headers: { authorization: `Bearer ${token()}` } }),
  "PUT /oauth2/register/:client_id": (browser) =>
    browser.send("PUT", `${AUTH}/oauth2/register/${client}`, {
      body: { client_id: client },
      headers: { authorization: `Bearer ${token()}` },
    }),
  "DELETE /oauth2/register/:client_id": (browser) =>
    browser.send("DELETE", `${AUTH}/oauth2/register/${client}`, { headers: { authorization: `Bearer ${token()}` } }),
  "GET /consent": get(() => `/consent?client_id=${client}&request_uri=urn:ietf:params:oauth:request_uri:${token()}`),
  "POST /consent": form("/consent", () => ({
    client_id: client,
    request_uri: `urn:ietf:params:oauth:request_uri:${token()}`,
    decision: "allow",
  })),
  "GET /form-post.js": get("/form-post.js"),
  "GET /sign-out.js": get("/sign-out.js"),
  "GET /": get("/"),
  "GET /login": get("/login?continue=/account"),
  "POST /login": form("/login", () => ({ email: known.email, password: wrong })),
  "POST /login/link": form("/login/link", () => ({ email: email(), continue: `/${long(2000)}` })),
  "POST /login/upstream": form("/login/upstream", () => ({ provider: "acme", continue: `/${long(2000)}` })),
  "GET /second-factor": withCookie("doorward.second_factor", get("/second-factor")),
  "POST /second-factor": withCookie("doorward.second_factor", form("/second-factor", { code: "000000", method: "totp" })),
  "POST /second-factor/send": withCookie("doorward.second_factor", form("/second-factor/send", {})),
  "GET /sign-up": get("/sign-up"),
  "POST /sign-up": form("/sign-up", () => ({ name: "A", email: email(), password })),
  "GET /forgot-password": get("/forgot-password"),
  "POST /forgot-password": form("/forgot-password", () => ({ email: email() })),
  "GET /reset-password": get("/reset-password"),
  "POST /reset-password": form("/reset-password", () => ({ token: token(), password: "a new password" })),
  "GET /confirm-account": get(() => `/confirm-account?token=${token()}`),
  "POST /confirm-account": form("/confirm-account", () => ({ token: token() })),
  "GET /invitation": get(() => `/invitation?token=${token()}`),
  "GET /change-email": get(() => `/change-email?step=change_email_proof&token=${token()}`),
  "POST /change-email": form("/change-email", () => ({ step: "change_email_proof", token: token() })),
  "GET /account": get("/account"),
  "POST /sign-out": form("/sign-out", {}),
  "GET /style.css": get("/style.css"),
  "GET /passkey.js": get("/passkey.js"),
  "GET /fragment.js": get("/fragment.js"),
  "GET /dev/mailbox": get("/dev/mailbox"),
  "GET /gate/sign-in": get(() => `/gate/sign-in?app=app.localhost&state=${token()}`),
  "GET /forward-auth": (browser) =>
    browser.get(`${AUTH}/forward-auth`, { headers: { "x-original-url": `${APP}/${token()}`, "x-original-method": "GET" } }),
  "GET /.doorward/sign-in": (browser) => browser.get(`${APP}/.doorward/sign-in?continue=/${token()}`),
  "GET /.doorward/callback": (browser) => browser.get(`${APP}/.doorward/callback?code=${token()}&state=${token()}`),
  "GET /.doorward/sign-out": (browser) => browser.get(`${APP}/.doorward/sign-out`),
  "POST /.doorward/sign-out": (browser) => browser.submit(`${APP}/.doorward/sign-out`, {}),
  "GET /.doorward/me": (browser) => browser.get(`${APP}/.doorward/me`),
  "GET /.doorward/style.css": (browser) => browser.get(`${APP}/.doorward/style.css`),
};

const routes = [...authRoutes, ...websiteRoutes].filter(({ access }) => access === "Anybody").map(({ name }) => name);

test("every public route is asked here, and no other", () => {
  assert.ok(routes.length > 80, `${routes.length} public routes found`);
  assert.deepEqual(Object.keys(ASKED).sort(), [...new Set(routes)].sort());
});

test("a hundred requests of one network to any public route leave few rows, and small ones", async () => {
  const wrong = [];
  for (const route of Object.keys(ASKED)) {
    const browser = worker.browser();
    const before = await census();
    const answers = [];
    for (let n = 0; n < ASKS; n += 20) {
      answers.push(...(await Promise.all(Array.from({ length: 20 }, () => ASKED[route](browser)))));
      // What twenty left nothing of leaves nothing of a hundred.
      const now = n === 0 && (await census());
      if (now && [...now].every(([table, { rows, bytes }]) => rows === before.get(table).rows && bytes === before.get(table).bytes)) break;
    }
    const broken = answers.find(({ status }) => status >= 500);
    if (broken) wrong.push(`${route}: ${broken.status} ${broken.text.slice(0, 200)}`);
    for (const [table, { rows, bytes }] of await census()) {
      const more = { rows: rows - before.get(table).rows, bytes: bytes - before.get(table).bytes };
      if (more.rows > MOST_ROWS) wrong.push(`${route}: ${more.rows} rows of ${table}`);
      if (more.bytes > Math.max(more.rows, 1) * MOST_BYTES) wrong.push(`${route}: ${more.bytes} bytes in ${more.rows} rows of ${table}`);
    }
    browser.close();
  }
  assert.deepEqual(wrong, []);
});

test("what anybody began and nobody ended is gone once it ran out, and what is kept longer after its time", async () => {
  const count = async (table) => (await worker.rows(`select count(*) as n from ${table}`))[0].n;
  for (const table of ["verification", "oauth_grant", "rate_limit", "outbox", "login_history", "audit_event"])
    assert.notEqual(await count(table), 0, table);
  const late = Date.now() - 11 * 60_000;
  await worker.d1.batch(
    ["verification", "oauth_grant", "rate_limit"].map((table) => worker.d1.prepare(`update ${table} set expires_at = ?`).bind(late)),
  );
  await worker.d1
    .prepare("update outbox set delivered_at = ? where id in (select id from outbox limit 3)")
    .bind(Date.now() - 2 * 86_400_000)
    .run();
  const waiting = (await count("outbox")) - 3;
  await worker.scheduled();
  assert.deepEqual(await Promise.all(["verification", "oauth_grant", "rate_limit"].map(count)), [0, 0, 0]);
  assert.equal(await count("outbox"), waiting, "what was delivered two days ago is gone");
  const old = Date.now() - 401 * 86_400_000;
  await worker.d1.batch([
    worker.d1.prepare("update outbox set next_attempt_at = ?1, created_at = ?1, attempts = 1").bind(old),
    worker.d1.prepare("update login_history set created_at = ?").bind(old),
    worker.d1.prepare("update audit_event set created_at = ?").bind(old),
    worker.d1.prepare("update password_reset set expires_at = ?").bind(old),
  ]);
  await worker.scheduled();
  assert.deepEqual(await Promise.all(["outbox", "login_history", "audit_event", "password_reset"].map(count)), [0, 0, 0, 0]);
});

test("one run of cron goes on until nothing is left that ran out", async () => {
  const [{ id }] = await worker.rows("select id from oauth_client where client_id = ?", client);
  await worker.d1
    .prepare(
      `
    with recursive n(i) as (select 1 union all select i + 1 from n where i < 25000)
    insert into oauth_grant (id, tenant_id, kind, token_hash, client_id, request, expires_at, created_at, updated_at)
    select 'many-' || i, ?1, 'request', 'many-' || i, ?2, '{}', 1, 1, 1 from n`,
    )
    .bind(DEFAULT_TENANT, id)
    .run();
  await worker.scheduled();
  assert.deepEqual(await worker.rows("select count(*) as n from oauth_grant"), [{ n: 0 }]);
});
