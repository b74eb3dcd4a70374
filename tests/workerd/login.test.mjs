// The login protocol's core endpoints: what they answer, and what they refuse.

import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { createLocalJWKSet, jwtVerify } from "jose";
import { uniqueEmail } from "../harness/browser.mjs";
import { PASSWORD, signUp } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const at = (path) => `${AUTH}/api/auth${path}`;
const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const WEEK = 604_800;
const JSON_TYPE = { "content-type": "application/json" };
const UNAUTHORIZED = { message: "Unauthorized", code: "UNAUTHORIZED" };

let worker;
before(async () => {
  worker = await startWorker({ settings: { SESSION_COOKIE_CACHE_SECONDS: "0", SESSION_RECHECK_SECONDS: "0" } });
});
after(() => worker?.dispose());

const signIn = (browser, email, password = PASSWORD, more = {}) => browser.post(at("/sign-in/email"), { email, password, ...more });
const line = (answer, name) => answer.cookies.find((cookie) => cookie.startsWith(`${name}=`));
const token = (browser) => browser.cookies("auth.localhost").get("doorward.session")?.split(".")[0];
const lives = async (browser) => (await browser.get(at("/get-session"))).json !== null;
async function another(email) {
  const browser = worker.browser();
  assert.equal((await signIn(browser, email)).status, 200);
  return browser;
}
function refused(answer, status, code, about) {
  assert.equal(answer.status, status, `${about}: ${answer.status} ${answer.text}`);
  assert.equal(answer.json.code, code, about);
  assert.deepEqual(
    answer.cookies.filter((cookie) => /session=[^;]/.test(cookie)),
    [],
    `${about}: a session was opened`,
  );
}
function checkUser(user, email) {
  const { id, createdAt, updatedAt, ...rest } = user;
  assert.match(id, UUID);
  for (const time of [createdAt, updatedAt]) assert.match(time, ISO);
  const unset = { image: null, username: null, displayUsername: null, phoneNumber: null };
  const flags = {
    emailVerified: false,
    phoneNumberVerified: false,
    twoFactorEnabled: false,
    isAnonymous: false,
    banned: false,
    role: "user",
  };
  assert.deepEqual(rest, { name: "Zoë Ångström", email, ...unset, ...flags });
}

test("signing up: answer, cookie, and what a client may not choose for itself", async () => {
  const browser = worker.browser();
  const email = uniqueEmail();
  const chosen = { role: "admin", emailVerified: true, id: "mine", banned: true, status: "x", tenantId: "t", isAnonymous: true };
  const answer = await browser.post(at("/sign-up/email"), {
    name: "Zoë Ångström",
    email: email.toUpperCase(),
    password: PASSWORD,
    ...chosen,
  });
  assert.equal(answer.status, 200, answer.text);
  assert.deepEqual(Object.keys(answer.json).sort(), ["token", "user"]);
  checkUser(answer.json.user, email);
  assert.equal(answer.headers["set-auth-token"], undefined);
  const attributes = line(answer, "doorward.session").split("; ").slice(1).sort();
  assert.deepEqual(attributes, ["HttpOnly", `Max-Age=${WEEK}`, "Path=/", "SameSite=Lax"]);
  const [{ roles }] = await worker.rows(
    `select group_concat(r.name) as roles from member m join member_role mr on mr.member_id = m.id join role r on r.id = mr.role_id
       where m.user_id = ?`,
    answer.json.user.id,
  );
  assert.equal(roles, "member");
  const again = await worker.browser().post(at("/sign-up/email"), { name: "B", email, password: PASSWORD });
  refused(again, 422, "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL", "a known address");
});

test("signing up and in: fields that are missing or bad", async () => {
  const good = { name: "A", email: "good@example.com", password: PASSWORD };
  const missing = (field, kind = "undefined") => `[body.${field}] Invalid input: expected string, received ${kind}`;
  const table = [
    ["/sign-up/email", { email: "a@x.co" }, "VALIDATION_ERROR", `${missing("name")}; ${missing("password")}`],
    ["/sign-up/email", { ...good, name: null }, "VALIDATION_ERROR", missing("name", "null")],
    ["/sign-up/email", { ...good, password: 12345678 }, "VALIDATION_ERROR", missing("password", "number")],
    ["/sign-up/email", { ...good, email: ["a@x.co"] }, "VALIDATION_ERROR", missing("email", "array")],
    [
      "/sign-up/email",
      { ...good, rememberMe: "maybe" },
      "VALIDATION_ERROR",
      "[body.rememberMe] Invalid input: expected boolean, received string",
    ],
    ["/sign-up/email", { ...good, password: "1234567" }, "PASSWORD_TOO_SHORT", "Password too short"],
    ["/sign-up/email", { ...good, password: "x".repeat(129) }, "PASSWORD_TOO_LONG", "Password too long"],
    ["/sign-in/email", {}, "VALIDATION_ERROR", `${missing("email")}; ${missing("password")}`],
    ["/sign-in/email", { ...good, email: { $ne: null } }, "VALIDATION_ERROR", missing("email", "object")],
    ...[
      "",
      "bad",
      "a@b",
      "a@b..co",
      "a b@x.co",
      "a@x.co ",
      "a@x.co\n",
      "a@x.co\u0000",
      "ä@x.co",
      "a@b@x.co",
      "<a@x.co>",
      "a@x.co,b@x.co",
    ].flatMap((email) => [
      ["/sign-up/email", { ...good, email }, "VALIDATION_ERROR", "[body.email] Invalid email address"],
      ["/sign-in/email", { ...good, email }, "VALIDATION_ERROR", "[body.email] Invalid email address"],
    ]),
  ];
  for (const [path, body, code, message] of table) {
    const answer = await worker.browser().post(at(path), body);
    refused(answer, 400, code, `${path} ${JSON.stringify(body)}`);
    assert.equal(answer.json.message, message);
  }
  assert.equal((await worker.rows("select 1 from user where email like 'good@%'")).length, 0);
});

test("signing in: answers, callbackURL, rememberMe, and one refusal for all wrong guesses", async () => {
  const { email, id } = await signUp(worker);
  const browser = worker.browser();
  const plain = await signIn(browser, email.toUpperCase());
  assert.equal(plain.json.redirect, false);
  assert.equal(plain.headers.location, undefined);
  checkUser(plain.json.user, email);
  const going = await signIn(browser, email, PASSWORD, { callbackURL: "/dash?x=1" });
  assert.deepEqual([going.json.redirect, going.json.url, going.headers.location], [true, "/dash?x=1", "/dash?x=1"]);
  const abroad = await signIn(browser, email, PASSWORD, { callbackURL: "/日本" });
  assert.deepEqual([abroad.status, abroad.json.url], [200, "/%E6%97%A5%E6%9C%AC"]);
  const form = await worker.browser().submit(at("/sign-in/email"), { email, password: PASSWORD });
  assert.match(form.headers["content-type"], /^application\/json/);
  for (const [rememberMe, lasting] of [
    [true, true],
    [undefined, true],
    [null, true],
    [false, false],
  ]) {
    const attributes = line(await signIn(worker.browser(), email, PASSWORD, { rememberMe }), "doorward.session");
    assert.equal(attributes.includes("Max-Age"), lasting, `rememberMe: ${rememberMe}`);
    assert.ok(!/expires=/i.test(attributes));
  }
  const wrong = [
    [email, "wrong password"],
    [email, ""],
    [email, `${PASSWORD} `],
    [email, PASSWORD.toUpperCase()],
    [uniqueEmail(), PASSWORD],
  ];
  for (const [who, password] of wrong) {
    const answer = await signIn(worker.browser(), who, password);
    refused(answer, 401, "INVALID_EMAIL_OR_PASSWORD", `${who} ${password}`);
    assert.deepEqual(answer.json, { message: "Invalid email or password", code: "INVALID_EMAIL_OR_PASSWORD" });
  }
  await worker.d1.prepare("update user set status = 'suspended' where id = ?").bind(id).run();
  refused(await signIn(worker.browser(), email), 403, "BANNED_USER", "banned");
  refused(await signIn(worker.browser(), email, "wrong password"), 401, "INVALID_EMAIL_OR_PASSWORD", "banned, unknown to a guesser");
});

test("what scripts see is a handle; it opens nothing", async () => {
  const { browser, email } = await signUp(worker);
  const answer = await signIn(browser, email);
  const [session, list] = [(await browser.get(at("/get-session"))).json.session, (await browser.get(at("/list-sessions"))).json];
  const secret = token(browser);
  for (const seen of [answer.json, session, list]) assert.ok(!JSON.stringify(seen).includes(secret), "the secret reached a script");
  assert.equal(answer.json.token, session.token);
  assert.ok(list.some((one) => one.token === session.token));
  for (const cookie of [session.token, session.id, `${session.token}.x`]) {
    const thief = worker.browser();
    assert.equal((await thief.get(at("/get-session"), { headers: { cookie: `doorward.session=${cookie}` } })).text, "null");
  }
});

test("get-session and list-sessions: exact members", async () => {
  const { email, id } = await signUp(worker);
  const browser = worker.browser({ ip: "2001:db8::7" });
  await browser.post(at("/sign-in/email"), { email, password: PASSWORD }, { headers: { "user-agent": "Agent/1 (x)" } });
  const answer = await browser.get(at("/get-session"));
  assert.match(answer.headers["content-type"], /^application\/json/);
  const { session, user } = answer.json;
  checkUser(user, email);
  const { expiresAt, createdAt, updatedAt, id: sessionId, token: handle, ...rest } = session;
  for (const time of [expiresAt, createdAt, updatedAt]) assert.match(time, ISO);
  assert.match(sessionId, UUID);
  assert.equal(handle, sessionId);
  assert.equal(new Date(expiresAt) - new Date(createdAt), WEEK * 1000);
  assert.deepEqual(rest, {
    userId: id,
    ipAddress: "2001:db8::7",
    userAgent: "Agent/1 (x)",
    activeOrganizationId: null,
    activeTeamId: null,
    impersonatedBy: null,
  });
  const list = (await browser.get(at("/list-sessions"))).json;
  assert.deepEqual(list[0], session);
  assert.equal(list.length, 2);
});

test("signed out: null, or 401, and sign-out is no error", async () => {
  const nobody = worker.browser();
  for (const path of ["/get-session", "/get-session?disableCookieCache=true", "/get-session?disableRefresh=true"]) {
    const answer = await nobody.get(at(path));
    assert.deepEqual([answer.status, answer.text], [200, "null"], path);
    assert.match(answer.headers["content-type"], /^application\/json/);
  }
  const bodies = {
    "/revoke-session": { token: "x" },
    "/change-password": { currentPassword: "a".repeat(8), newPassword: "b".repeat(8) },
    "/update-user": { name: "x" },
  };
  for (const path of ["/list-sessions", "/list-accounts", "/token"]) {
    const answer = await nobody.get(at(path));
    assert.deepEqual([answer.status, answer.json], [401, UNAUTHORIZED], path);
  }
  for (const path of ["/revoke-sessions", "/revoke-other-sessions", ...Object.keys(bodies)]) {
    const answer = await nobody.post(at(path), bodies[path] ?? {});
    assert.deepEqual([answer.status, answer.json], [401, UNAUTHORIZED], path);
  }
  assert.deepEqual((await nobody.post(at("/sign-out"), {})).json, { success: true });
  const { browser } = await signUp(worker);
  const stolen = `doorward.session=${browser.cookies("auth.localhost").get("doorward.session")}`;
  const answer = await browser.post(at("/sign-out"), {});
  assert.deepEqual(answer.json, { success: true });
  assert.match(line(answer, "doorward.session"), /^doorward\.session=;.*Max-Age=0/);
  assert.equal((await worker.browser().get(at("/get-session"), { headers: { cookie: stolen } })).text, "null");
});

test("revoking: one, the others, all; never a stranger's", async () => {
  const { browser, email } = await signUp(worker);
  const stranger = await signUp(worker);
  const [second, third, fourth] = [await another(email), await another(email), await another(email)];
  const handle = async (who) => (await who.get(at("/get-session"))).json.session.token;
  const alive = () => Promise.all([browser, second, third, fourth, stranger.browser].map(lives));
  const foreign = [await handle(stranger.browser), token(second), "nope", "", "%", "' or 1=1 --"];
  for (const name of foreign) assert.deepEqual((await browser.post(at("/revoke-session"), { token: name })).json, { status: true }, name);
  assert.deepEqual(await alive(), [true, true, true, true, true]);
  await browser.post(at("/revoke-session"), { token: (await handle(second)).toUpperCase() });
  assert.deepEqual(await alive(), [true, false, true, true, true]);
  assert.deepEqual((await browser.post(at("/revoke-other-sessions"), {})).json, { status: true });
  assert.deepEqual(await alive(), [true, false, false, false, true]);
  assert.equal((await browser.get(at("/list-sessions"))).json.length, 1);
  const own = await another(email);
  const ended = await own.post(at("/revoke-session"), { token: await handle(own) });
  assert.match(line(ended, "doorward.session"), /Max-Age=0/);
  const fifth = await another(email);
  const all = await fifth.post(at("/revoke-sessions"), {});
  assert.deepEqual(all.json, { status: true });
  assert.match(line(all, "doorward.session"), /Max-Age=0/);
  assert.deepEqual(await alive(), [false, false, false, false, true]);
});

test("changing the password ends every session but a new one", async () => {
  const { email, id } = await signUp(worker);
  const browser = worker.browser();
  await signIn(browser, email, PASSWORD, { rememberMe: false });
  const old = worker.browser();
  old.cookies("auth.localhost").set("doorward.session", browser.cookies("auth.localhost").get("doorward.session"));
  const other = await another(email);
  const change = (currentPassword, newPassword) =>
    browser.post(at("/change-password"), { currentPassword, newPassword, revokeOtherSessions: false });
  refused(await change("wrong password", "another password"), 400, "INVALID_PASSWORD", "wrong current password");
  refused(await change(PASSWORD, "short"), 400, "PASSWORD_TOO_SHORT", "short");
  refused(await change(PASSWORD, "x".repeat(129)), 400, "PASSWORD_TOO_LONG", "long");
  assert.ok(await lives(other));
  const answer = await change(PASSWORD, "another password");
  assert.equal(answer.status, 200, answer.text);
  assert.deepEqual(Object.keys(answer.json).sort(), ["token", "user"]);
  assert.ok(!line(answer, "doorward.session").includes("Max-Age"), "a session of one visit became a lasting one");
  assert.deepEqual(await Promise.all([browser, old, other].map(lives)), [true, false, false]);
  refused(await signIn(worker.browser(), email), 401, "INVALID_EMAIL_OR_PASSWORD", "the old password");
  assert.equal((await signIn(worker.browser(), email, "another password")).status, 200);
  await worker.d1.prepare("delete from account where user_id = ?").bind(id).run();
  refused(await change("another password", "third password"), 400, "CREDENTIAL_ACCOUNT_NOT_FOUND", "no password");
});

test("updating the profile", async () => {
  const { browser, email, id } = await signUp(worker);
  const update = (body) => browser.post(at("/update-user"), body);
  const seen = async () => (await browser.get(at("/get-session"))).json.user;
  const image = "https://img.example/a.png";
  assert.deepEqual((await update({ name: "Новое 😀", image })).json, { status: true });
  assert.deepEqual([(await seen()).name, (await seen()).image], ["Новое 😀", image]);
  await update({ image: null });
  assert.deepEqual([(await seen()).name, (await seen()).image], ["Новое 😀", null]);
  refused(await update({}), 400, "NO_FIELDS_TO_UPDATE", "nothing");
  refused(await update({ email: "new@example.com" }), 400, "EMAIL_CAN_NOT_BE_UPDATED", "email");
  await update({ name: "N", role: "admin", emailVerified: true, id: "x", banned: true, isAnonymous: true, status: "deleted" });
  const now = await seen();
  assert.deepEqual([now.id, now.email, now.role, now.emailVerified, now.isAnonymous], [id, email, "user", false, false]);
});

test("list-accounts, token, jwks, ok, error", async () => {
  const { browser, email, id } = await signUp(worker);
  const [{ id: account, createdAt, updatedAt, ...rest }, ...more] = (await browser.get(at("/list-accounts"))).json;
  assert.deepEqual([rest, more], [{ providerId: "credential", accountId: id, userId: id, scopes: [] }, []]);
  for (const time of [createdAt, updatedAt]) assert.match(time, ISO);
  assert.match(account, UUID);
  const { token: jwt } = (await browser.get(at("/token"))).json;
  const { keys } = (await worker.browser().get(at("/jwks"))).json;
  for (const key of keys) assert.ok(!("d" in key), "a private key was published");
  const { payload } = await jwtVerify(jwt, createLocalJWKSet({ keys }), { issuer: AUTH, audience: AUTH, requiredClaims: ["exp", "iat"] });
  assert.deepEqual([payload.sub, payload.email, payload.exp - payload.iat], [id, email, 900]);
  assert.deepEqual((await browser.get(at("/ok"))).json, { ok: true });
  const head = await browser.send("HEAD", at("/ok"));
  assert.deepEqual([head.status, head.text], [200, ""]);
  const page = await browser.get(at("/error?error=%3Cscript%3Ealert(1)%3C/script%3E"));
  assert.match(page.headers["content-type"], /^text\/html/);
  assert.ok(!page.text.includes("<script"), "the error page runs what its URL says");
});

test("unknown paths and methods: 404 with an empty body", async () => {
  const { browser } = await signUp(worker);
  const table = ["/nope", "/ok/", "/get-session/", "/sign-in/email/", "//ok", "/OK", "/%6fk", "/ok%2f", "/ok;x", "", "/"].map((path) => [
    "GET",
    path,
  ]);
  for (const path of ["/sign-in/email", "/sign-up/email", "/sign-out", "/change-password", "/revoke-session", "/update-user"])
    table.push(["GET", path], ["PUT", path]);
  for (const path of ["/ok", "/token", "/jwks", "/list-sessions"]) table.push(["POST", path], ["DELETE", path], ["PROPFIND", path]);
  for (const [method, path] of table) {
    const answer = await browser.send(method, at(path), { headers: { origin: AUTH } });
    assert.deepEqual([answer.status, answer.text], [404, ""], `${method} ${path}`);
  }
});

test("whatever the body is, the answer is 4xx", async () => {
  const { browser } = await signUp(worker);
  const bodies = [
    undefined,
    "",
    " ",
    "null",
    "[]",
    "[{}]",
    "1",
    "1e999",
    "true",
    '"x"',
    "{bad",
    "{}",
    "{}{}",
    '{"email":{}}',
    '{"token":"\\ud800"}',
    Buffer.from([0x7b, 0xff, 0x7d]),
    "[".repeat(60_000),
    `${'{"a":'.repeat(10_000)}1`,
    '{"__proto__":{"email":"a@x.co"}}',
    "\ufeff{}",
  ];
  for (const path of ["/sign-in/email", "/sign-up/email", "/change-password", "/revoke-session", "/update-user"]) {
    for (const body of bodies) {
      const answer = await browser.post(at(path), body, { headers: JSON_TYPE });
      refused(answer, 400, answer.json.code, `${path} ${String(body).slice(0, 30)}`);
      assert.ok(
        ["VALIDATION_ERROR", "BAD_REQUEST", "NO_FIELDS_TO_UPDATE", "EMAIL_CAN_NOT_BE_UPDATED"].includes(answer.json.code),
        `${path}: ${answer.text}`,
      );
    }
  }
  const broken = await browser.post(at("/sign-in/email"), "{bad", { headers: JSON_TYPE });
  assert.deepEqual(broken.json, { message: "Invalid JSON in request body", code: "BAD_REQUEST" });
  const twice = await browser.submit(at("/sign-in/email"), [
    ["email", "a@x.co"],
    ["email", "b@x.co"],
    ["password", PASSWORD],
  ]);
  refused(twice, 400, "VALIDATION_ERROR", "two e-mails");
  for (const body of ["null", "[]", "{bad"]) {
    const { status } = await worker.browser().post(at("/sign-out"), body, { headers: JSON_TYPE });
    assert.ok(status < 500, `sign-out ${body}: ${status}`);
  }
});

test("media types are compared whole", async () => {
  const { email, browser } = await signUp(worker);
  const body = JSON.stringify({ email, password: PASSWORD });
  for (const type of ["application/json", "APPLICATION/JSON", "application/json; charset=utf-8", "application/json ;x=y"]) {
    assert.equal((await worker.browser().post(at("/sign-in/email"), body, { headers: { "content-type": type } })).status, 200, type);
  }
  for (const type of [
    "text/plain",
    "application/jsonp",
    "application/json-seq",
    "application/ld+json",
    "multipart/form-data; boundary=x",
    "text/plain; application/json",
    "x, application/json",
    undefined,
  ]) {
    const answer = await worker.browser().post(at("/sign-in/email"), body, { headers: { "content-type": type } });
    refused(answer, 415, "UNSUPPORTED_MEDIA_TYPE", `${type}`);
  }
  const { json } = await worker.browser().post(at("/sign-in/email"), "x=1", { headers: { "content-type": "text/plain" } });
  assert.equal(
    json.message,
    'Content-Type "text/plain" is not allowed. Allowed types: application/x-www-form-urlencoded, application/json',
  );
  refused(await browser.submit(at("/update-user"), { name: "x" }), 415, "UNSUPPORTED_MEDIA_TYPE", "a form where JSON is asked for");
});

test("fields have a bound, and the answer names the field", async () => {
  const { browser, email } = await signUp(worker);
  const user = { name: "A", email: uniqueEmail(), password: PASSWORD };
  const [change, long] = [{ currentPassword: PASSWORD, newPassword: PASSWORD }, (length) => "x".repeat(length)];
  const table = [
    [
      "/sign-up/email",
      user,
      { name: long(257), email: `a@${"x".repeat(250)}.co`, password: long(1025), image: long(2049), callbackURL: `/${long(8192)}` },
    ],
    [
      "/sign-in/email",
      { email, password: PASSWORD },
      { email: `a@${"x".repeat(250)}.co`, password: long(1025), callbackURL: `/${long(8192)}` },
    ],
    ["/change-password", change, { currentPassword: long(1025), newPassword: long(1025) }],
    ["/revoke-session", {}, { token: long(101) }],
    ["/update-user", {}, { name: long(257), image: long(2049) }],
  ];
  for (const [path, good, fields] of table) {
    for (const [field, value] of Object.entries(fields)) {
      const answer = await browser.post(at(path), { ...good, [field]: value });
      refused(answer, 400, "VALIDATION_ERROR", `${path} ${field}`);
      assert.match(answer.json.message, new RegExp(`^\\[body\\.${field}\\] `));
    }
  }
  assert.equal((await browser.post(at("/update-user"), { name: "😀".repeat(256) })).status, 200, "characters are counted, not bytes");
});

test("a body of 64 KiB is read, a longer one is not, also when its length is not told", async () => {
  const { email } = await signUp(worker);
  const body = (bytes) => JSON.stringify({ email, password: PASSWORD }).padEnd(bytes, " ");
  for (const framing of [{}, { "content-length": undefined, "transfer-encoding": "chunked" }]) {
    for (const [bytes, status] of [
      [65_536, 200],
      [65_537, 413],
      [1_000_000, 413],
    ]) {
      const answer = await worker.browser().post(at("/sign-in/email"), body(bytes), { headers: { ...JSON_TYPE, ...framing } });
      assert.equal(answer.status, status, `${bytes} bytes ${JSON.stringify(framing)}`);
      if (status === 413) refused(answer, 413, "PAYLOAD_TOO_LARGE", `${bytes} bytes`);
    }
  }
});

test("a password is the same in NFC, NFD and full width", async () => {
  const [nfc, nfd, wide] = ["Ångström-ﬁne1", "A\u030angstro\u0308m-fine1", "Å\uff4egström-fine1"];
  const email = uniqueEmail();
  assert.equal((await worker.browser().post(at("/sign-up/email"), { name: "A", email, password: nfd })).status, 200);
  for (const password of [nfc, nfd, wide]) assert.equal((await signIn(worker.browser(), email, password)).status, 200, password);
  refused(await signIn(worker.browser(), email, "Angstrom-fine1"), 401, "INVALID_EMAIL_OR_PASSWORD", "without the accents");
  // Eight letters typed, four in normal form.
  const short = await worker.browser().post(at("/sign-up/email"), { name: "A", email: uniqueEmail(), password: "a\u030a".repeat(4) });
  refused(short, 400, "PASSWORD_TOO_SHORT", "four letters");
});

test("passwords are Argon2id, and no secret is in D1, in KV or in the log", async () => {
  const password = "a password found nowhere else";
  const [browser, email] = [worker.browser(), uniqueEmail()];
  const { user } = (await browser.post(at("/sign-up/email"), { name: "A", email, password })).json;
  const { token: jwt } = (await browser.get(at("/token"))).json;
  const secrets = [password, `${password}!`, token(browser), jwt, browser.cookies("auth.localhost").get("doorward.session")];
  await browser.post(at("/change-password"), { currentPassword: password, newPassword: `${password}!` });
  await signIn(worker.browser(), email, password);
  secrets.push(token(browser), "0123456789abcdef0123456789abcdef");
  const [{ password_hash: phc }] = await worker.rows("select password_hash from account where user_id = ?", user.id);
  assert.match(phc, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/);
  const tables = (await worker.rows("select name from sqlite_schema where type = 'table' and name not glob '_cf_*'")).map(
    ({ name }) => name,
  );
  const dump = {};
  for (const name of tables) dump[name] = JSON.stringify(await worker.rows(`select * from "${name}"`));
  const { keys } = await worker.kv.list();
  for (const { name } of keys) dump[name] = name + (await worker.kv.get(name));
  dump.log = worker.logs();
  assert.ok(dump.user.includes(email) && keys.length > 0 && dump.log.includes("INVALID_EMAIL_OR_PASSWORD"), "nothing was dumped");
  for (const [place, text] of Object.entries(dump))
    for (const secret of secrets) assert.ok(!text.includes(secret), `${secret} is in ${place}`);
  // Whom a counter counts stands there as a digest.
  for (const personal of [email, browser.ip]) assert.ok(!dump.rate_limit.includes(personal), `${personal} is in rate_limit`);
  assert.ok(!/"d"/.test(dump.signing_key), "a private key in the clear");
});
