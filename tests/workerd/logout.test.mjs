// A session ends: every client that was signed in to by it is told, whichever way it ended.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, beforeEach, test } from "node:test";
import * as jose from "jose";
import { PAGE, PASSWORD, seedDomain, seedTenant, signUp } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const REDIRECT = "https://app.example/cb";
const EVENT = "http://schemas.openid.net/event/backchannel-logout";
let worker, admin, party, told, answers;
before(async () => {
  party = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    told.push({
      path: request.url,
      method: request.method,
      type: request.headers["content-type"],
      cookie: request.headers.cookie,
      token: new URLSearchParams(body).get("logout_token"),
    });
    response.writeHead(answers.shift() ?? 200, { location: "/elsewhere" }).end();
  }).listen(0, "127.0.0.1");
  await once(party, "listening");
  worker = await startWorker();
  admin = await signUp(worker, { roles: ["admin"] });
});
beforeEach(() => {
  told = [];
  answers = [];
});
after(async () => {
  await worker?.dispose();
  party?.close();
});

const place = (path) => `http://127.0.0.1:${party.address().port}${path}`;

async function register(path, metadata = {}, who = admin, host = AUTH) {
  const body = {
    client_name: "App",
    redirect_uris: [REDIRECT],
    grant_types: ["authorization_code", "refresh_token"],
    skip_consent: true,
    ...(path && { backchannel_logout_uri: place(path) }),
    ...metadata,
  };
  const made = await who.browser.post(`${host}/api/auth/admin/oauth2/create-client`, body);
  assert.equal(made.status, 201, made.text);
  return made.json;
}
const ask = (path, { client_id, client_secret }, form, host = AUTH) =>
  worker.browser().send("POST", `${host}/oauth2/${path}`, {
    body: new URLSearchParams(form).toString(),
    headers: {
      "content-type": "application/x-www-form-urlencoded",
      authorization: `Basic ${Buffer.from(`${client_id}:${client_secret}`).toString("base64")}`,
    },
  });

/** Signs somebody in to a client. */
async function enter(client, browser, { host = AUTH, scope = "openid" } = {}) {
  const verifier = randomBytes(32).toString("base64url");
  const query = new URLSearchParams({
    client_id: client.client_id,
    response_type: "code",
    redirect_uri: REDIRECT,
    scope,
    code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    code_challenge_method: "S256",
  });
  const { location, text } = await browser.get(`${host}/oauth2/authorize?${query}`, { headers: PAGE });
  assert.ok(location?.startsWith(REDIRECT), location ?? text);
  const got = await ask(
    "token",
    client,
    { grant_type: "authorization_code", code: new URL(location).searchParams.get("code"), redirect_uri: REDIRECT, code_verifier: verifier },
    host,
  );
  assert.equal(got.status, 200, got.text);
  return { ...got.json, claims: jose.decodeJwt(got.json.id_token) };
}

/** What was told at a path so far: the Worker tells it after its answer. */
async function toldAt(path, count = 1) {
  const deadline = Date.now() + 10_000;
  const at = () => told.filter((one) => one.path === path);
  while (at().length < count && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(at().length, count, `${path}: ${JSON.stringify(told)} ${worker.logs().split("\n").slice(-3)}`);
  return at();
}

async function verified({ token }, client, host = AUTH) {
  const keys = jose.createLocalJWKSet((await worker.browser().get(`${host}/api/auth/jwks`)).json);
  return jose.jwtVerify(token, keys, { issuer: host, audience: client.client_id, typ: "logout+jwt" });
}

test("a logout token is what the standard says, and is told once to each client of the session and to no other", async () => {
  const [one, two, silent, other] = [
    await register("/one"),
    await register("/two", { id_token_signed_response_alg: "RS256", subject_type: "pairwise" }),
    await register(),
    await register("/other"),
  ];
  const who = await signUp(worker);
  const entered = { one: await enter(one, who.browser), two: await enter(two, who.browser) };
  await enter(one, who.browser, { scope: "openid offline_access" });
  await enter(silent, who.browser);
  const elsewhere = worker.browser();
  await elsewhere.post(`${AUTH}/api/auth/sign-in/email`, { email: who.email, password: PASSWORD });
  await enter(other, elsewhere);
  assert.equal((await who.browser.post(`${AUTH}/api/auth/sign-out`)).status, 200);
  for (const [name, client] of Object.entries({ one, two })) {
    const [got] = await toldAt(`/${name}`);
    assert.deepEqual([got.method, got.type, got.cookie], ["POST", "application/x-www-form-urlencoded", undefined]);
    const { payload, protectedHeader } = await verified(got, client);
    assert.equal(protectedHeader.alg, name === "two" ? "RS256" : "RS256");
    assert.deepEqual([payload.sub, payload.sid], [entered[name].claims.sub, entered[name].claims.sid]);
    assert.deepEqual(payload.events, { [EVENT]: {} });
    assert.deepEqual(Object.keys(payload).sort(), ["aud", "events", "exp", "iat", "iss", "jti", "sid", "sub"], "no nonce");
    assert.ok(payload.exp - payload.iat <= 120);
  }
  assert.notEqual(entered.two.claims.sub, who.id);
  await worker.scheduled();
  assert.deepEqual(told.map(({ path }) => path).sort(), ["/one", "/two"]);
  assert.equal((await elsewhere.get(`${AUTH}/api/auth/get-session?disableCookieCache=true`)).json.user.id, who.id);
});

const ways = {
  "by its own client": async ({ browser }, { got, client }) => {
    const query = new URLSearchParams({ id_token_hint: got.id_token, client_id: client.client_id });
    assert.equal((await browser.get(`${AUTH}/oauth2/end_session?${query}`, { headers: PAGE })).status, 200);
  },
  "when all sessions are revoked": async ({ browser }) =>
    assert.equal((await browser.post(`${AUTH}/api/auth/revoke-sessions`)).status, 200),
  "when it is revoked from another session": async ({ browser, email }) => {
    const token = (await browser.get(`${AUTH}/api/auth/get-session`)).json.session.token;
    const other = worker.browser();
    await other.post(`${AUTH}/api/auth/sign-in/email`, { email, password: PASSWORD });
    assert.equal((await other.post(`${AUTH}/api/auth/revoke-session`, { token })).status, 200);
  },
  "when the password is changed": async ({ browser }) =>
    assert.equal(
      (await browser.post(`${AUTH}/api/auth/change-password`, { currentPassword: PASSWORD, newPassword: "another long passphrase" }))
        .status,
      200,
    ),
  "on our own page": async ({ browser }) => assert.equal((await browser.submit(`${AUTH}/sign-out`, {})).status, 303),
  "when the user is deleted": async ({ browser }) =>
    assert.equal((await browser.post(`${AUTH}/api/auth/delete-user`, { password: PASSWORD })).status, 200),
  "by a statement of an operator's": async ({ id }) =>
    worker.d1.prepare("update session set revoked_at = 1, revocation_reason = 'by hand' where user_id = ?").bind(id).run(),
  "with the user's row": async ({ id }) => worker.d1.prepare("delete from user where id = ?").bind(id).run(),
};
for (const [way, end] of Object.entries(ways)) {
  test(`a client is told of the end of a session ${way}`, async () => {
    const path = `/${encodeURIComponent(way)}`;
    const client = await register(path);
    const who = await signUp(worker);
    const got = await enter(client, who.browser);
    await end(who, { got, client });
    await worker.scheduled();
    const [{ token }] = await toldAt(path);
    assert.deepEqual([jose.decodeJwt(token).sid, jose.decodeJwt(token).sub], [got.claims.sid, who.id]);
  });
}

test("a session that was never used for a client, or has only expired, tells nobody", async () => {
  const client = await register("/quiet");
  const who = await signUp(worker);
  await enter(client, who.browser);
  await worker.d1.prepare("update session set expires_at = 1 where user_id = ?").bind(who.id).run();
  await worker.scheduled();
  assert.equal((await worker.rows("select 1 from session where user_id = ?", who.id)).length, 0, "pruned");
  const idle = await signUp(worker);
  await idle.browser.post(`${AUTH}/api/auth/sign-out`);
  await worker.scheduled();
  assert.deepEqual(told, []);
  assert.deepEqual(await worker.rows("select 1 from outbox where kind = 'logout' and recipient = ?", place("/quiet")), []);
});

test("a client that does not answer is told again, by a token made anew, until it says that it has heard", async () => {
  const client = await register("/deaf");
  const who = await signUp(worker);
  await enter(client, who.browser);
  answers = [500, 302];
  await who.browser.post(`${AUTH}/api/auth/sign-out`);
  await toldAt("/deaf", 1);
  const waiting = async () => {
    const deadline = Date.now() + 10_000;
    for (;;) {
      const [row] = await worker.rows(
        "select attempts, last_error, delivered_at, next_attempt_at from outbox where recipient = ?",
        place("/deaf"),
      );
      if (row.last_error || row.delivered_at || Date.now() > deadline) return row;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  const failed = await waiting();
  assert.deepEqual([failed.attempts, failed.last_error, failed.delivered_at], [1, "status 500", null]);
  assert.ok(failed.next_attempt_at > Date.now(), "with patience");
  await worker.scheduled();
  assert.equal(told.length, 1, "not before its time");
  const due = () => worker.d1.prepare("update outbox set next_attempt_at = 0 where recipient = ?").bind(place("/deaf")).run();
  await due();
  await worker.scheduled();
  assert.equal(
    (await worker.rows("select last_error from outbox where recipient = ?", place("/deaf")))[0].last_error,
    "status 302",
    "a redirect is not followed",
  );
  await due();
  await worker.scheduled();
  assert.notEqual((await worker.rows("select delivered_at from outbox where recipient = ?", place("/deaf")))[0].delivered_at, null);
  await due();
  await worker.scheduled();
  const tokens = told.map(({ token }) => jose.decodeJwt(token).jti);
  assert.deepEqual([told.length, new Set(tokens).size, told.some(({ path }) => path === "/elsewhere")], [3, 3, false]);
});

test("a session that is ended twice is told of once, and a client that is gone is not told", async () => {
  const [client, gone] = [await register("/twice"), await register("/gone")];
  const who = await signUp(worker);
  await enter(client, who.browser);
  await enter(gone, who.browser);
  await worker.d1.prepare("update session set revoked_at = 1, revocation_reason = 'by hand' where user_id = ?").bind(who.id).run();
  await worker.d1.prepare("update session set revoked_at = 2, revocation_reason = 'by hand' where user_id = ?").bind(who.id).run();
  assert.equal((await admin.browser.post(`${AUTH}/api/auth/oauth2/delete-client`, { client_id: gone.client_id })).status, 200);
  await Promise.all([worker.scheduled(), worker.scheduled(), worker.scheduled()]);
  await toldAt("/twice");
  assert.deepEqual(
    told.map(({ path }) => path),
    ["/twice"],
  );
});

test("a tenant's clients are told by that tenant, with its name and its key", async () => {
  const tenant = await seedTenant(worker, { slug: "other", pool: "isolated" });
  await seedDomain(worker, tenant, "other.localhost");
  const host = "http://other.localhost";
  const owner = await signUp(worker, { roles: ["owner"], host, tenant });
  const client = await register("/tenant", {}, owner, host);
  const who = await signUp(worker, { host, tenant });
  await enter(client, who.browser, { host });
  assert.equal((await who.browser.post(`${host}/api/auth/sign-out`)).status, 200);
  const [got] = await toldAt("/tenant");
  assert.equal((await verified(got, client, host)).payload.sub, who.id);
  await assert.rejects(verified(got, client), /no applicable key|unexpected "iss"/);
});

test("a client is told though its tokens are long gone, and one that comes for them afterwards comes too late", async () => {
  const client = await register("/pruned");
  const who = await signUp(worker);
  const { claims } = await enter(client, who.browser);
  await worker.d1.prepare("delete from oauth_token where user_id = ?").bind(who.id).run();
  const verifier = randomBytes(32).toString("base64url");
  const query = new URLSearchParams({
    client_id: client.client_id,
    response_type: "code",
    redirect_uri: REDIRECT,
    scope: "openid offline_access",
    code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    code_challenge_method: "S256",
  });
  const { location } = await who.browser.get(`${AUTH}/oauth2/authorize?${query}`, { headers: PAGE });
  await who.browser.post(`${AUTH}/api/auth/sign-out`);
  const [{ token }] = await toldAt("/pruned");
  assert.equal(jose.decodeJwt(token).sid, claims.sid);
  const late = await ask("token", client, {
    grant_type: "authorization_code",
    code: new URL(location).searchParams.get("code"),
    redirect_uri: REDIRECT,
    code_verifier: verifier,
  });
  assert.deepEqual([late.status, late.json.error], [400, "invalid_grant"]);
});

test("a host that does not listen keeps no other's news, however many clients it has", async () => {
  const now = Date.now();
  const client = await register("/prompt");
  const insert = (recipients, at) =>
    worker.d1.batch(
      recipients.map((recipient) =>
        worker.d1
          .prepare(
            `insert into outbox (id, tenant_id, kind, recipient, payload_sealed, payload, next_attempt_at, created_at, updated_at)
    select lower(hex(randomblob(16))), tenant_id, 'logout', ?1, '', json_object('client', id, 'session', 's', 'user', 'u'), ?2, ?2, ?2
     from oauth_client where client_id = ?3`,
          )
          .bind(recipient, at, client.client_id),
      ),
    );
  await worker.d1
    .prepare("update outbox set next_attempt_at = ?")
    .bind(now + 3_600_000)
    .run();
  await insert(
    Array.from({ length: 100 }, (_, n) => `http://deaf.example:81/${n}?x=/`),
    now - 5000,
  );
  await insert(
    Array.from({ length: 100 }, () => "https://deaf.example/one"),
    now - 5000,
  );
  await insert(
    Array.from({ length: 30 }, (_, n) => `https://flat.example?${n}/`),
    now - 5000,
  );
  await insert(["https://other.example?logout", place("/prompt")], now - 1000);
  await worker.scheduled();
  const tried = async (prefix) => (await worker.rows("select 1 from outbox where recipient like ? and attempts > 0", `${prefix}%`)).length;
  assert.deepEqual([await tried("http://deaf.example:81/"), await tried("https://deaf.example/")], [8, 8], "a few a host");
  assert.deepEqual(
    [await tried("https://flat.example"), await tried("https://other.example")],
    [8, 1],
    "hosts without a slash behind them",
  );
  assert.equal((await worker.rows("select 1 from outbox where recipient = ? and delivered_at is not null", place("/prompt"))).length, 1);
});

test("a mailbox in development does not show what clients are told", async () => {
  const client = await register("/mailbox");
  const who = await signUp(worker);
  await enter(client, who.browser);
  await who.browser.post(`${AUTH}/api/auth/sign-out`);
  await toldAt("/mailbox");
  const box = await worker.browser().get(`${AUTH}/dev/mailbox`, { headers: { accept: "application/json" } });
  assert.equal(box.status, 200);
  assert.ok(!box.json.some(({ to }) => to.startsWith("http")));
});

test("where clients are told is judged when they are registered, and outside development when it is used", async () => {
  for (const uri of ["javascript:alert(1)", "ftp://app.example/x", "/x", "https://user@app.example/x", "https://app.example/x#f", "x", 7]) {
    const made = await admin.browser.post(`${AUTH}/api/auth/admin/oauth2/create-client`, {
      redirect_uris: [REDIRECT],
      backchannel_logout_uri: uri,
    });
    assert.deepEqual([made.status, made.json.error], [400, "invalid_client_metadata"], String(uri));
  }
  for (const uri of [
    "https://other.example/x",
    "http://app.example/x",
    "https://app.example:8443/x",
    "https://app.example/x#f",
    "javascript:alert(1)",
    "/x",
  ]) {
    const made = await admin.browser.post(`${AUTH}/api/auth/admin/oauth2/create-client`, {
      redirect_uris: [REDIRECT],
      frontchannel_logout_uri: uri,
    });
    assert.deepEqual([made.status, made.json.error], [400, "invalid_client_metadata"], uri);
  }
});

test("the page after signing out frames the front channels of the session's clients, and goes on where the client said", async () => {
  const after = "https://app.example/bye";
  const framed = await register(null, {
    frontchannel_logout_uri: "https://app.example/out?a=b",
    frontchannel_logout_session_required: true,
    post_logout_redirect_uris: [after],
  });
  const other = await register(null, { frontchannel_logout_uri: "https://app.example/other" });
  const who = await signUp(worker);
  const got = await enter(framed, who.browser);
  const query = new URLSearchParams({ id_token_hint: got.id_token, post_logout_redirect_uri: after, state: "s" });
  const page = await who.browser.get(`${AUTH}/oauth2/end_session?${query}`, { headers: PAGE });
  assert.equal(page.status, 200, page.text);
  const frames = [...page.text.matchAll(/<iframe src="([^"]+)"/g)].map(([, uri]) => uri.replaceAll("&amp;", "&"));
  assert.deepEqual(
    frames,
    [`https://app.example/out?${new URLSearchParams({ a: "b", iss: AUTH, sid: got.claims.sid })}`],
    `and not ${other.client_id}'s`,
  );
  assert.match(page.headers["content-security-policy"], /frame-src https:\/\/app\.example;/);
  assert.ok(page.text.includes(`href="${after}?state=s"`), page.text);
  assert.equal((await who.browser.get(`${AUTH}/api/auth/get-session`)).json, null);
  // Nothing to frame: straight on.
  const again = await signUp(worker);
  const plain = await enter(await register(null, { post_logout_redirect_uris: [after] }), again.browser);
  const on = await again.browser.get(
    `${AUTH}/oauth2/end_session?${new URLSearchParams({ id_token_hint: plain.id_token, post_logout_redirect_uri: after })}`,
    { headers: PAGE },
  );
  assert.deepEqual([on.status, on.location], [303, after]);
});
