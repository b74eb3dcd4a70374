// Passkeys: registered, signed in with, named, deleted; and what does not pass for one.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { Authenticator, FLAG, base64url, cbor } from "../harness/authenticator.mjs";
import { uniqueEmail } from "../harness/browser.mjs";
import { PAGE, PASSWORD, seedDomain, seedTenant, signUp } from "../harness/seed.mjs";
import { readUri, totp } from "../harness/totp.mjs";
import { AUTH, DEFAULT_TENANT, SPA, startWorker } from "../harness/worker.mjs";

const at = (path, host = AUTH) => `${host}/api/auth${path}`;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const NEW = "another password altogether";
const OPTIONS = { LIMIT_MAIL: "1000/60", SESSION_COOKIE_CACHE_SECONDS: "0", SESSION_RECHECK_SECONDS: "0" };
const GONE = "CHALLENGE_NOT_FOUND";
const BAD = "AUTHENTICATION_FAILED";
const UNREGISTERED = "FAILED_TO_VERIFY_REGISTRATION";

let worker;
before(async () => {
  worker = await startWorker({ settings: OPTIONS });
});
after(() => worker?.dispose());

const run = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
const one = async (sql, ...values) => (await worker.rows(sql, ...values))[0];
const count = async (sql, ...values) => (await one(`select count(*) as n from ${sql}`, ...values)).n;
const times = (most, act) => Promise.all(Array.from({ length: most }, (_, n) => act(n)));
const tally = (answers) => answers.reduce((sum, { status }) => ({ ...sum, [status]: (sum[status] ?? 0) + 1 }), {});
const session = async (browser, host) => (await browser.get(at("/get-session", host))).json;
const jar = (browser) => browser.cookies("auth.localhost");
const line = (answer, name) => answer.cookies.find((cookie) => cookie.startsWith(`doorward.${name}=`));
const opens = (answer) => /^doorward\.session=./.test(line(answer, "session")?.split(";")[0] ?? "");
const mails = async (to) => (await worker.browser().get(`${AUTH}/dev/mailbox?to=${encodeURIComponent(to)}`)).json;
const linkIn = (mail) => mail.text.match(/https?:\S+/)[0];

/** Options of a ceremony, asked for in this browser. */
async function begin(browser, kind, host) {
  const answer = await browser.get(at(`/passkey/generate-${kind}-options`, host));
  assert.equal(answer.status, 200, answer.text);
  return answer.json;
}
const finish = (browser, kind, response, more = {}, host) => browser.post(at(`/passkey/verify-${kind}`, host), { response, ...more });

async function register(browser, authenticator, { lie = {}, more = {}, host } = {}) {
  const options = await begin(browser, "register", host);
  return finish(browser, "registration", authenticator.create(options, lie), more, host);
}

async function enter(browser, authenticator, { lie = {}, host } = {}) {
  const options = await begin(browser, "authenticate", host);
  return finish(browser, "authentication", authenticator.get(options, lie), {}, host);
}

/** Somebody with a passkey. */
async function holder(nature = {}) {
  const who = await signUp(worker);
  const authenticator = new Authenticator({ origin: AUTH, ...nature });
  const answer = await register(who.browser, authenticator);
  assert.equal(answer.status, 200, answer.text);
  return { ...who, authenticator, passkey: answer.json };
}

/** Gives somebody an authenticator app as a second factor; answers its seed. */
async function guard({ browser }) {
  const { seed } = readUri((await browser.post(at("/two-factor/enable"), { password: PASSWORD })).json.totpURI);
  const verified = await browser.post(at("/two-factor/verify-totp"), { code: totp(seed) });
  assert.equal(verified.status, 200, verified.text);
  await run("update two_factor set last_used_step = 0");
  return seed;
}

function refused(answer, status, code, why = "") {
  const said = answer.text ? answer.json.code : undefined;
  assert.deepEqual([answer.status, said], [status, code], `${why}: ${answer.status} ${answer.text}`);
  assert.ok(!opens(answer), `${why}: a session was opened`);
}

// Registering

test("a passkey is made by whoever is signed in, and is shown to them", async () => {
  const who = await signUp(worker);
  assert.equal((await worker.browser().get(at("/passkey/generate-register-options"))).status, 401);
  assert.equal((await worker.browser().get(at("/passkey/list-user-passkeys"))).status, 401);
  const answer = await who.browser.get(at("/passkey/generate-register-options?name=Me&authenticatorAttachment=platform"));
  assert.match(line(answer, "passkey"), /^doorward\.passkey=[\w-]{43}; Path=\/; HttpOnly; SameSite=Lax; Max-Age=300$/);
  const options = answer.json;
  assert.match(options.challenge, /^[\w-]{43}$/);
  assert.deepEqual(options.rp.id, "auth.localhost");
  assert.deepEqual([options.user.name, options.user.displayName], ["Me", who.email]);
  assert.ok(Buffer.from(options.user.id, "base64url").length <= 64);
  assert.deepEqual(
    options.pubKeyCredParams.map(({ alg }) => alg).sort((a, b) => a - b),
    [-257, -8, -7],
  );
  assert.deepEqual(
    [options.attestation, options.timeout, options.excludeCredentials, options.authenticatorSelection.authenticatorAttachment],
    ["none", 60000, [], "platform"],
  );
  const odd = await who.browser.get(at("/passkey/generate-register-options?authenticatorAttachment=odd"));
  refused(odd, 400, "VALIDATION_ERROR");

  const authenticator = new Authenticator({ origin: AUTH });
  const made = await finish(who.browser, "registration", authenticator.create(options), { name: "My laptop" });
  assert.equal(made.status, 200, made.text);
  const { id, createdAt, ...rest } = made.json;
  assert.match(id, UUID);
  assert.match(createdAt, ISO);
  assert.deepEqual(rest, {
    name: "My laptop",
    publicKey: authenticator.coseKey().toString("base64"),
    userId: who.id,
    credentialID: authenticator.id,
    counter: 1,
    deviceType: "singleDevice",
    backedUp: false,
    transports: "hybrid,internal",
    aaguid: "01234567-89ab-cdef-0123-456789abcdef",
  });
  assert.deepEqual((await who.browser.get(at("/passkey/list-user-passkeys"))).json, [made.json]);
  assert.equal((await mails(who.email))[0].subject, "A passkey was added");
  assert.equal(await count("audit_event where user_id = ? and event = 'passkey.added'", who.id), 1);
  const next = await begin(who.browser, "register");
  assert.deepEqual(next.excludeCredentials, [{ id: authenticator.id, transports: ["hybrid", "internal"], type: "public-key" }]);
});

test("a synchronised passkey is told as one, and names are optional and bounded", async () => {
  const { browser, passkey } = await holder({ syncs: true, counts: false });
  assert.deepEqual([passkey.deviceType, passkey.backedUp, passkey.counter, passkey.name], ["multiDevice", true, 0, null]);
  const long = await register(browser, new Authenticator({ origin: AUTH }), { more: { name: "x".repeat(101) } });
  refused(long, 400, "VALIDATION_ERROR");
  assert.match(long.json.message, /body\.name/);
});

test("passkeys are renamed and deleted by their owner, and are unknown to everybody else", async () => {
  const [who, other] = [await holder(), await holder()];
  const rename = (browser, body) => browser.post(at("/passkey/update-passkey"), body);
  const remove = (browser, body) => browser.post(at("/passkey/delete-passkey"), body);
  const { id } = who.passkey;
  const renamed = await rename(who.browser, { id, name: "The <other> one" });
  assert.deepEqual([renamed.status, renamed.json], [200, { passkey: { ...who.passkey, name: "The <other> one" } }]);
  for (const bad of [{ id }, { id, name: "" }, { id, name: "x".repeat(101) }, { id, name: 7 }, { name: "x" }]) {
    refused(await rename(who.browser, bad), 400, "VALIDATION_ERROR", JSON.stringify(bad));
  }
  for (const stranger of [other.passkey.id, "01890000-0000-7000-8000-000000000000", "x", "", "'; drop table passkey; --"]) {
    refused(await rename(who.browser, { id: stranger, name: "Mine now" }), 404, "PASSKEY_NOT_FOUND", stranger);
    refused(await remove(who.browser, { id: stranger }), 404, "PASSKEY_NOT_FOUND", stranger);
  }
  assert.equal((await one("select name from passkey where id = ?", other.passkey.id)).name, null);
  refused(await rename(worker.browser(), { id, name: "x" }), 401, "UNAUTHORIZED");
  refused(await remove(worker.browser(), { id }), 401, "UNAUTHORIZED");
  assert.deepEqual((await remove(who.browser, { id })).json, { status: true });
  refused(await remove(who.browser, { id }), 404, "PASSKEY_NOT_FOUND", "again");
  assert.deepEqual((await who.browser.get(at("/passkey/list-user-passkeys"))).json, []);
  refused(await enter(worker.browser(), who.authenticator), 401, "PASSKEY_NOT_FOUND", "deleted");
  assert.equal((await mails(who.email))[0].subject, "A passkey was removed");
  assert.equal(await count("audit_event where user_id = ? and event = 'passkey.removed'", who.id), 1);
});

test("of many passkeys none is hidden from its owner", async () => {
  const { browser, id, authenticator } = await holder();
  const row = await one("select * from passkey where user_id = ?", id);
  for (let n = 0; n < 100; n++) {
    const copy = {
      ...row,
      id: `${row.id.slice(0, -3)}${String(n).padStart(3, "0")}`,
      credential_id: base64url(randomBytes(32)),
      created_at: 1,
    };
    await run(`insert or ignore into passkey (${Object.keys(copy)}) values (${Object.keys(copy).map(() => "?")})`, ...Object.values(copy));
  }
  const listed = (await browser.get(at("/passkey/list-user-passkeys"))).json;
  assert.ok(
    listed.some(({ credentialID }) => credentialID === authenticator.id),
    "it signs in, and its owner cannot see it",
  );
});

test("a session that is not fresh registers nothing", async () => {
  const { browser, id } = await signUp(worker);
  const options = await begin(browser, "register");
  await run("update session set authenticated_at = ? where user_id = ?", Date.now() - 86_400_001, id);
  refused(await browser.get(at("/passkey/generate-register-options")), 403, "SESSION_NOT_FRESH");
  refused(await finish(browser, "registration", new Authenticator({ origin: AUTH }).create(options)), 403, "SESSION_NOT_FRESH");
  assert.equal(await count("passkey where user_id = ?", id), 0);
});

test("an administrator in somebody's session neither adds, renames nor deletes a passkey", async () => {
  const [admin, who] = [await signUp(worker, { roles: ["admin"] }), await holder()];
  const options = await begin(who.browser, "register");
  await run("update session set impersonated_by = ? where user_id = ?", admin.id, who.id);
  const { id } = who.passkey;
  const answers = {
    options: await who.browser.get(at("/passkey/generate-register-options")),
    add: await finish(who.browser, "registration", new Authenticator({ origin: AUTH }).create(options)),
    rename: await who.browser.post(at("/passkey/update-passkey"), { id, name: "x" }),
    delete: await who.browser.post(at("/passkey/delete-passkey"), { id }),
    page: await who.browser.submit(`${AUTH}/account/passkey/delete`, { id }),
  };
  assert.deepEqual(
    Object.entries(answers)
      .filter(([, { status }]) => status !== 403)
      .map(([name, { status }]) => `${name} ${status}`),
    [],
  );
  assert.equal(await count("passkey where user_id = ? and name is null", who.id), 1);
});

// Signing in

for (const algorithm of ["ES256", "EdDSA", "RS256"]) {
  for (const attestation of ["none", "packed"]) {
    test(`${algorithm} with attestation ${attestation} registers and signs in`, async () => {
      const { authenticator, id } = await holder({ algorithm, attestation });
      const browser = worker.browser();
      const asked = await browser.get(at("/passkey/generate-authenticate-options"));
      const { challenge, ...options } = asked.json;
      assert.deepEqual(options, { rpId: "auth.localhost", timeout: 60000, userVerification: "preferred" }, "nobody is known yet");
      assert.match(challenge, /^[\w-]{43}$/);
      const answer = await finish(browser, "authentication", authenticator.get(asked.json));
      assert.equal(answer.status, 200, answer.text);
      assert.deepEqual(Object.keys(answer.json).sort(), ["session", "user"]);
      assert.deepEqual([answer.json.user.id, answer.json.session.userId], [id, id]);
      assert.equal((await session(browser)).user.id, id);
      assert.equal(jar(browser).get("better-auth.last_used_login_method"), "passkey");
      const row = await one("select login_method, amr from session where id = ?", answer.json.session.id);
      assert.deepEqual([row.login_method, JSON.parse(row.amr)], ["passkey", ["pop", "user", "mfa"]]);
      assert.equal((await one("select counter from passkey where user_id = ?", id)).counter, 2);
      refused(await enter(worker.browser(), authenticator, { lie: { signature: randomBytes(64) } }), 400, BAD, "a made-up signature");
    });
  }
}

test("whoever is signed in is asked for their own, and need not say whose it is", async () => {
  const [who, other] = [await holder(), await holder()];
  const options = await begin(who.browser, "authenticate");
  assert.deepEqual(options.allowCredentials, [{ id: who.authenticator.id, transports: ["hybrid", "internal"], type: "public-key" }]);
  const answer = await finish(who.browser, "authentication", who.authenticator.get(options, { response: { userHandle: undefined } }));
  assert.equal(answer.status, 200, answer.text);
  const again = await begin(who.browser, "authenticate");
  refused(await finish(who.browser, "authentication", other.authenticator.get(again)), 400, BAD, "another user's passkey");
  assert.equal((await session(who.browser)).user.id, who.id);
  const bare = await begin((await signUp(worker)).browser, "authenticate");
  assert.equal(bare.allowCredentials, undefined);
});

test("a signature counter that goes back, or stands still, is refused and told of; one that counts nothing is not", async () => {
  const { authenticator, id } = await holder();
  assert.equal((await enter(worker.browser(), authenticator, { lie: { counter: 10 } })).status, 200);
  for (const counter of [10, 9, 1, 0]) refused(await enter(worker.browser(), authenticator, { lie: { counter } }), 400, BAD, `${counter}`);
  const events = await worker.rows(
    "select details, severity from audit_event where user_id = ? and event = 'passkey.counter_went_back' order by created_at, id",
    id,
  );
  assert.deepEqual(
    events.map(({ details, severity }) => [JSON.parse(details).stored, JSON.parse(details).presented, severity]),
    [10, 9, 1, 0].map((counter) => [10, counter, "high"]),
  );
  assert.equal((await one("select counter from passkey where user_id = ?", id)).counter, 10);
  assert.equal((await enter(worker.browser(), authenticator, { lie: { counter: 4_294_967_295 } })).status, 200);
  refused(await enter(worker.browser(), authenticator, { lie: { counter: 2, signature: randomBytes(70) } }), 400, BAD);
  assert.equal(
    await count("audit_event where user_id = ? and event = 'passkey.counter_went_back'", id),
    4,
    "without the key nobody raises the alarm",
  );
  const silent = await holder({ counts: false });
  for (let n = 0; n < 3; n++) assert.equal((await enter(worker.browser(), silent.authenticator)).status, 200);
});

test("a passkey that verified its user is two factors; one that did not is one", async () => {
  const who = await holder();
  const seed = await guard(who);
  const verified = await enter(worker.browser(), who.authenticator);
  assert.deepEqual([verified.status, opens(verified)], [200, true], verified.text);

  const browser = worker.browser();
  const touched = await enter(browser, who.authenticator, { lie: { verifiesUser: false } });
  assert.deepEqual([touched.status, touched.json.twoFactorRedirect, opens(touched)], [200, true, false], touched.text);
  assert.equal(await session(browser), null);
  const given = await browser.post(at("/two-factor/verify-totp"), { code: totp(seed) });
  assert.equal(given.status, 200, given.text);
  const row = await one("select login_method, amr from session where user_id = ? order by created_at desc, id desc limit 1", who.id);
  assert.deepEqual([row.login_method, JSON.parse(row.amr)], ["passkey", ["pop", "user", "otp", "mfa"]]);
  const plain = await holder();
  const alone = await enter(worker.browser(), plain.authenticator, { lie: { verifiesUser: false } });
  assert.ok(opens(alone), "nobody has a second factor to be asked for");
  const alones = await one("select amr from session where user_id = ? order by created_at desc, id desc limit 1", plain.id);
  assert.deepEqual(JSON.parse(alones.amr), ["pop", "user"]);
});

test("a key that verified nobody when it was registered does not stand for two factors later", async () => {
  // WebAuthn, 7.2 step 24: `uvInitialized` becomes true only by another factor. A found key without a PIN takes one from anybody.
  const who = await holder({ verifiesUser: false });
  await guard(who);
  const answer = await enter(worker.browser(), who.authenticator, { lie: { verifiesUser: true } });
  assert.deepEqual(
    [answer.status, answer.json.twoFactorRedirect, opens(answer)],
    [200, true, false],
    "whoever set a PIN on the key they found is in",
  );
});

test("a lock against guessed passwords does not keep a passkey out, and a suspension does", async () => {
  const who = await holder();
  await run("update user set locked_until = ?, failed_login_count = 10 where id = ?", Date.now() + 1e7, who.id);
  assert.equal((await enter(worker.browser(), who.authenticator)).status, 200);
  await run("update user set status = 'suspended' where id = ?", who.id);
  refused(await enter(worker.browser(), who.authenticator), 403, "BANNED_USER");
  refused(await enter(worker.browser(), who.authenticator, { lie: { signature: randomBytes(70) } }), 400, BAD, "only the key is told");
  await run("update user set status = 'active' where id = ?", who.id);
  await run("update tenant set status = 'suspended' where id = ?", DEFAULT_TENANT);
  refused(await enter(worker.browser(), who.authenticator), 403, "TENANT_UNAVAILABLE");
  await run("update tenant set status = 'active' where id = ?", DEFAULT_TENANT);
  assert.equal((await who.browser.post(at("/sign-out"), {})).status, 200);
  const deleted = await holder();
  assert.equal((await deleted.browser.post(at("/delete-user"), { password: PASSWORD })).status, 200);
  refused(await enter(worker.browser(), deleted.authenticator), 401, "PASSKEY_NOT_FOUND");
});

test("passkeys that are refused are limited by network as every sign-in is", async () => {
  const limited = await startWorker({ settings: { ...OPTIONS, LIMIT_SIGN_IN: "3/60" } });
  try {
    const who = await signUp(limited);
    const authenticator = new Authenticator({ origin: AUTH });
    assert.equal((await register(who.browser, authenticator)).status, 200);
    const browser = limited.browser();
    const statuses = [];
    for (let n = 0; n < 5; n++) statuses.push((await enter(browser, authenticator)).status);
    assert.deepEqual(statuses, [200, 200, 200, 200, 200], "what succeeds is no guess");
    await limited.d1.prepare("delete from passkey where user_id = ?").bind(who.id).run();
    for (let n = 0; n < 4; n++) statuses.push((await enter(browser, authenticator)).status);
    assert.deepEqual(statuses.slice(5), [401, 401, 401, 429]);
  } finally {
    await limited.dispose();
  }
});

// What is refused

/** Bytes of which no CBOR is made, or not the one that is wanted. */
const MALFORMED = {
  "no bytes": Buffer.alloc(0),
  "a stray break": Buffer.from([0xff]),
  "cut short": cbor({ fmt: "none", attStmt: {}, authData: Buffer.alloc(100) }).subarray(0, 40),
  "a length of 4 GiB": Buffer.from("a163666d747affffffff", "hex"),
  "a length of 2^64 - 1": Buffer.from("bbffffffffffffffff", "hex"),
  "indefinite length": Buffer.from("bf63666d74646e6f6e65ff", "hex"),
  "an array": cbor([1, 2, 3]),
  "a key twice": Buffer.concat([
    Buffer.from([0xa4]),
    ...["fmt", "none", "fmt", "none", "attStmt", {}, "authData", Buffer.alloc(37)].map(cbor),
  ]),
  "members missing": cbor({ fmt: "none" }),
  "a member too many": cbor({ fmt: "none", attStmt: {}, authData: Buffer.alloc(37), more: 1 }),
  "members of other types": cbor({ fmt: 1, attStmt: [], authData: "text" }),
  "trailing bytes": Buffer.concat([cbor({ fmt: "none", attStmt: {}, authData: Buffer.alloc(37) }), Buffer.from([0])]),
  "no end of arrays": Buffer.alloc(20_000, 0x81),
  "no end of maps": Buffer.alloc(20_000, 0xa1),
  "no end of tags": Buffer.alloc(20_000, 0xc0),
  noise: randomBytes(500),
};

test("what is no registration is refused as one, and never an error of ours", async () => {
  const { browser, id } = await signUp(worker);
  const made = new Authenticator({ origin: AUTH });
  const key = (entries) => cbor(new Map(entries));
  const { x, y } = made.pair.publicKey.export({ format: "jwk" });
  const [X, Y] = [Buffer.from(x, "base64url"), Buffer.from(y, "base64url")];
  const lies = {
    "another origin": { origin: "https://evil.example" },
    "an origin that begins like ours": { origin: `${AUTH}.evil.example` },
    "our origin with a slash": { origin: `${AUTH}/` },
    "our host by https": { origin: "https://auth.localhost" },
    "our host at another port": { origin: `${AUTH}:8080` },
    "a trusted front-end elsewhere": { origin: SPA },
    "no origin": { clientData: { origin: undefined } },
    "another RP ID": { rpId: "evil.example" },
    "a parent of our RP ID": { rpId: "localhost" },
    "an authentication": { type: "webauthn.get" },
    "made in another site's frame": { clientData: { crossOrigin: true } },
    "made in a frame of ours in another's": { clientData: { topOrigin: "https://evil.example" } },
    "nobody there": { without: FLAG.UP },
    "backed up, and not eligible": { flags: FLAG.AT | FLAG.BS },
    "no attested credential": { without: FLAG.AT },
    "extensions announced, and none there": { flags: FLAG.AT | FLAG.ED },
    "extensions without end": { flags: FLAG.AT | FLAG.ED, rest: Buffer.alloc(10_000, 0xa1) },
    "trailing bytes": { rest: Buffer.from([0]) },
    "authenticator data cut short": { authData: randomBytes(36) },
    "an empty credential id": { credentialId: Buffer.alloc(0) },
    "a credential id of 1024 bytes": { credentialId: randomBytes(1024) },
    "a length beyond the end": { attested: Buffer.concat([Buffer.alloc(16), Buffer.from([0x03, 0xff]), randomBytes(10)]) },
    "another id than the one attested": { id: base64url(randomBytes(32)) },
    "a rawId that is not the id": { rawId: base64url(randomBytes(32)) },
    "an id in base64 with padding": { id: `${made.id}=` },
    "another type of credential": { kind: "password" },
    "a format that was not asked for": { format: "android-safetynet" },
    "a statement where none is": { statement: { x: 1 } },
    "packed, and no signature": { format: "packed", statement: { alg: -7 } },
    "packed, with somebody's certificate": { format: "packed", statement: { alg: -7, sig: randomBytes(70), x5c: [randomBytes(500)] } },
    "packed, with a made-up signature": { format: "packed", statement: { alg: -7, sig: randomBytes(70) } },
    "packed, by another algorithm": { format: "packed", statement: { alg: -257, sig: randomBytes(256) } },
    "a key off the curve": {
      publicKey: key([
        [1, 2],
        [3, -7],
        [-1, 1],
        [-2, X],
        [-3, X],
      ]),
    },
    "a key of another curve": {
      publicKey: key([
        [1, 2],
        [3, -7],
        [-1, 2],
        [-2, X],
        [-3, Y],
      ]),
    },
    "a key of an algorithm that was not asked for": {
      publicKey: key([
        [1, 2],
        [3, -47],
        [-1, 8],
        [-2, X],
        [-3, Y],
      ]),
    },
    "a symmetric key": {
      publicKey: key([
        [1, 4],
        [3, 5],
        [-1, randomBytes(32)],
      ]),
    },
    "a private key along": {
      publicKey: key([
        [1, 2],
        [3, -7],
        [-1, 1],
        [-2, X],
        [-3, Y],
        [-4, randomBytes(32)],
      ]),
    },
    "a compressed point": {
      publicKey: key([
        [1, 2],
        [3, -7],
        [-1, 1],
        [-2, X],
        [-3, true],
      ]),
    },
    "Ed25519 of small order": {
      publicKey: key([
        [1, 1],
        [3, -8],
        [-1, 6],
        [-2, Buffer.alloc(32)],
      ]),
    },
    "RSA of 512 bits": {
      publicKey: key([
        [1, 3],
        [3, -257],
        [-1, Buffer.concat([Buffer.from([0x80]), randomBytes(62), Buffer.from([1])])],
        [-2, Buffer.from([1, 0, 1])],
      ]),
    },
    "RSA with exponent 1": {
      publicKey: key([
        [1, 3],
        [3, -257],
        [-1, Buffer.concat([Buffer.from([0x80]), randomBytes(254), Buffer.from([1])])],
        [-2, Buffer.from([1])],
      ]),
    },
    "RSA of 16000 bits": {
      publicKey: key([
        [1, 3],
        [3, -257],
        [-1, Buffer.concat([Buffer.from([0x80]), randomBytes(1998), Buffer.from([1])])],
        [-2, Buffer.from([1, 0, 1])],
      ]),
    },
    "no key": { publicKey: Buffer.alloc(0) },
    ...Object.fromEntries(
      Object.entries(MALFORMED).map(([name, attestationObject]) => [`attestation object: ${name}`, { attestationObject }]),
    ),
    ...Object.fromEntries(
      Object.entries(MALFORMED)
        .filter(([name]) => name !== "no bytes")
        .map(([name, publicKey]) => [`key: ${name}`, { publicKey }]),
    ),
    "an attestation object that is no base64url": { response: { attestationObject: "+/+/" } },
    "an attestation object that is no text": { response: { attestationObject: 7 } },
    "no attestation object": { response: { attestationObject: undefined } },
    "transports that are no texts": { response: { transports: [1, {}] } },
    "transports that are no list": { response: { transports: "usb" } },
  };
  for (const [name, lie] of Object.entries(lies)) {
    // What does not even say which challenge it answers is refused for that.
    refused(await register(browser, made, { lie }), 400, name === "no origin" ? GONE : UNREGISTERED, name);
  }
  assert.equal(await count("passkey where user_id = ?", id), 0);
  assert.equal((await register(browser, made)).status, 200, "nothing of it is held against the true one");
});

test("what is no authentication is refused as one, and never an error of ours", async () => {
  const [who, other] = [await holder(), await holder()];
  const { authenticator } = who;
  const cut = authenticator.sign(Buffer.from("x"));
  const lies = {
    "another origin": { origin: "https://evil.example" },
    "an origin that begins like ours": { origin: `${AUTH}.evil.example` },
    "a trusted front-end elsewhere": { origin: SPA },
    "another RP ID": { rpId: "evil.example" },
    "no RP ID": { rpIdHash: Buffer.alloc(32) },
    "a registration": { type: "webauthn.create" },
    "made in another site's frame": { clientData: { crossOrigin: true } },
    "nobody there": { without: FLAG.UP },
    "backed up, and not eligible": { flags: FLAG.BS },
    "eligible for backup all of a sudden": { flags: FLAG.BE },
    "attested credential data": { flags: FLAG.AT },
    "extensions announced, and none there": { flags: FLAG.ED },
    "trailing bytes": { rest: Buffer.from([0]) },
    "authenticator data cut short": { authData: randomBytes(36) },
    "authenticator data of 5 kB": { rest: randomBytes(5000) },
    "a made-up signature": { signature: randomBytes(70) },
    "a signature of something else": { signature: cut },
    "no signature": { signature: Buffer.alloc(0) },
    "a signature of zeros": { signature: Buffer.from("3006020100020100", "hex") },
    "a signature of 2 kB": { signature: randomBytes(2000) },
    "somebody else's user handle": { response: { userHandle: other.authenticator.userHandle } },
    "an empty user handle": { response: { userHandle: "" } },
    "no user handle": { response: { userHandle: undefined } },
    "a user handle of null": { response: { userHandle: null } },
    "a user handle that is no base64url": { response: { userHandle: "+/+/" } },
    "a user handle of 2 kB": { response: { userHandle: base64url(randomBytes(2000)) } },
    "a signature that is no base64url": { response: { signature: "+/+/" } },
  };
  for (const [name, lie] of Object.entries(lies)) refused(await enter(worker.browser(), authenticator, { lie }), 400, BAD, name);
  const unknown = {
    "an unknown credential": { id: base64url(randomBytes(32)) },
    "an id that is not the rawId": { rawId: other.authenticator.id },
    "a rawId that is not the id": { id: other.authenticator.id, rawId: authenticator.id },
    "an empty id": { id: "" },
    "another type of credential": { kind: "password" },
  };
  for (const [name, lie] of Object.entries(unknown))
    refused(await enter(worker.browser(), authenticator, { lie }), 401, "PASSKEY_NOT_FOUND", name);
  refused(
    await enter(worker.browser(), authenticator, { lie: { id: other.authenticator.id } }),
    400,
    BAD,
    "signed by another key than its own",
  );
  const challenges = {
    "client data that are no JSON": { clientDataBytes: Buffer.from("{") },
    "client data that are not UTF-8": { clientDataBytes: Buffer.from([0xff, 0xfe]) },
    "client data that are a list": { clientDataBytes: Buffer.from("[]") },
    "client data without end": { clientDataBytes: Buffer.from("[".repeat(5000)) },
    "client data of 20 kB": { clientData: { padding: "x".repeat(20_000) } },
    "no client data": { response: { clientDataJSON: undefined } },
    "client data of null": { response: { clientDataJSON: null } },
    "authenticator data that are no text": { response: { authenticatorData: 7 } },
    "no challenge": { challenge: "" },
    "a challenge that is a number": { challenge: 7 },
    "a made-up challenge": { challenge: base64url(randomBytes(32)) },
    "a challenge with padding": { challenge: `${base64url(randomBytes(32))}=` },
  };
  for (const [name, lie] of Object.entries(challenges)) refused(await enter(worker.browser(), authenticator, { lie }), 400, GONE, name);
  assert.equal((await enter(worker.browser(), authenticator)).status, 200, "nothing of it is held against the true one");
});

test("bodies that are no response are refused", async () => {
  const who = await holder();
  for (const kind of ["registration", "authentication"]) {
    await begin(who.browser, kind === "registration" ? "register" : "authenticate");
    for (const body of [
      {},
      { response: null },
      { response: [] },
      { response: "text" },
      { response: 7 },
      { response: true },
      [],
      "text",
      null,
    ]) {
      refused(
        await who.browser.post(at(`/passkey/verify-${kind}`), JSON.stringify(body), { headers: { "content-type": "application/json" } }),
        400,
        "VALIDATION_ERROR",
        `${kind} ${JSON.stringify(body)}`,
      );
    }
    for (const response of [
      {},
      { id: "x" },
      { id: 7, rawId: {}, type: [], response: {} },
      { id: "x", rawId: "x", type: "public-key", response: null },
      { __proto__: { a: 1 } },
    ]) {
      const answer = await finish(who.browser, kind, response);
      assert.equal(answer.status, 400, `${kind} ${JSON.stringify(response)}: ${answer.text}`);
      assert.ok([GONE, UNREGISTERED].includes(answer.json.code), answer.text);
    }
    const nested = await who.browser.post(at(`/passkey/verify-${kind}`), `{"response":{"id":${"[".repeat(20_000)}`, {
      headers: { "content-type": "application/json" },
    });
    refused(nested, 400, "BAD_REQUEST", "no end of lists");
    refused(await finish(who.browser, kind, { padding: "x".repeat(70_000) }), 413, "PAYLOAD_TOO_LARGE", kind);
    refused(
      await who.browser.post(at(`/passkey/verify-${kind}`), "{}", { headers: { "content-type": "text/plain" } }),
      415,
      "UNSUPPORTED_MEDIA_TYPE",
      kind,
    );
    refused(await who.browser.post(at(`/passkey/verify-${kind}`), {}, { origin: "https://evil.example" }), 403, "INVALID_ORIGIN", kind);
    assert.equal((await who.browser.get(at(`/passkey/verify-${kind}`))).status, 404);
  }
});

test("a challenge is good once, right or wrong, in time, in its own browser, for what it was made for", async () => {
  const who = await holder();
  const { authenticator } = who;
  const browser = worker.browser();
  const options = await begin(browser, "authenticate");
  const response = authenticator.get(options);
  const other = worker.browser();
  refused(await finish(other, "authentication", response), 400, GONE, "no ceremony was begun there");
  await begin(other, "authenticate");
  refused(await finish(other, "authentication", response), 400, GONE, "begun in another browser");
  assert.equal((await finish(browser, "authentication", response)).status, 200, "other browsers do not use it up");
  refused(await finish(browser, "authentication", response), 400, GONE, "replayed");
  refused(await finish(browser, "authentication", authenticator.get(options)), 400, GONE, "answered anew");

  const spoilt = await begin(browser, "authenticate");
  refused(await finish(browser, "authentication", authenticator.get(spoilt, { signature: randomBytes(70) })), 400, BAD);
  refused(await finish(browser, "authentication", authenticator.get(spoilt)), 400, GONE, "spoilt by a wrong answer");
  for (const lie of [{ id: base64url(randomBytes(32)) }, { response: { userHandle: undefined } }]) {
    // Nobody is signed in there, so the answer must say whose it is.
    const stranger = worker.browser();
    const wasted = await begin(stranger, "authenticate");
    assert.ok((await finish(stranger, "authentication", authenticator.get(wasted, lie))).status >= 400);
    refused(await finish(stranger, "authentication", authenticator.get(wasted)), 400, GONE, `spoilt by ${Object.keys(lie)}`);
  }

  const fresh = worker.browser();
  const late = await begin(fresh, "authenticate");
  await run("update verification set expires_at = 1 where kind = 'passkey_challenge' and used_at is null");
  refused(await finish(fresh, "authentication", authenticator.get(late)), 400, GONE, "too late");

  const two = worker.browser();
  const [first, second] = [await begin(two, "authenticate"), await begin(two, "authenticate")];
  assert.notEqual(first.challenge, second.challenge);
  assert.equal(
    (await finish(two, "authentication", authenticator.get(first))).status,
    200,
    "conditional UI waits while a button is pressed",
  );

  const registering = await begin(who.browser, "register");
  const wrongUse = authenticator.get({ challenge: registering.challenge, rpId: "auth.localhost" });
  refused(await finish(who.browser, "authentication", wrongUse), 400, GONE, "of a registration");
  const signingIn = await begin(who.browser, "authenticate");
  const device = new Authenticator({ origin: AUTH });
  refused(
    await finish(who.browser, "registration", device.create({ ...registering, challenge: signingIn.challenge })),
    400,
    GONE,
    "for signing in",
  );
  const begun = await begin(who.browser, "register");
  const user = await signUp(worker);
  jar(user.browser).set("doorward.passkey", jar(who.browser).get("doorward.passkey"));
  refused(
    await finish(user.browser, "registration", device.create(begun)),
    401,
    "YOU_ARE_NOT_ALLOWED_TO_REGISTER_THIS_PASSKEY",
    "begun by another user",
  );
  assert.equal(await count("passkey where user_id = ?", user.id), 0);
  const once = await begin(user.browser, "register");
  assert.equal((await finish(user.browser, "registration", device.create(once))).status, 200);
  refused(
    await finish(user.browser, "registration", new Authenticator({ origin: AUTH }).create(once)),
    400,
    GONE,
    "a registration's, used",
  );
});

test("challenges are kept as hashes", async () => {
  const browser = worker.browser();
  const { challenge } = await begin(browser, "authenticate");
  const dump = JSON.stringify(await worker.rows("select * from verification"));
  assert.ok(!dump.includes(challenge) && !dump.includes(jar(browser).get("doorward.passkey")));
});

test("a credential is registered once, whoever comes with it", async () => {
  const [who, other] = [await holder(), await signUp(worker)];
  refused(await register(who.browser, who.authenticator), 400, "PREVIOUSLY_REGISTERED", "by its owner");
  const thief = new Authenticator({ origin: AUTH });
  thief.credentialId = who.authenticator.credentialId;
  refused(await register(other.browser, thief), 400, "PREVIOUSLY_REGISTERED", "by another user, with a key of their own");
  assert.equal((await register(other.browser, new Authenticator({ origin: AUTH }))).status, 200);
  assert.equal((await enter(worker.browser(), who.authenticator)).json.user.id, who.id);
});

test("who made an account with an address that they never proved keeps no key to it", async () => {
  const signedBack = {
    "a mailed link": async (email) => {
      await worker.browser().post(at("/sign-in/magic-link"), { email });
      await worker.browser().followMailedLink(linkIn((await mails(email))[0]));
    },
    "a link that sets a password": async (email) => {
      await worker.browser().post(at("/request-password-reset"), { email });
      const [, token] = linkIn((await mails(email))[0]).match(/reset-password\/([\w-]+)/);
      assert.equal((await worker.browser().post(at("/reset-password"), { token, newPassword: NEW })).status, 200);
    },
    "a code that sets a password": async (email) => {
      await worker.browser().post(at("/email-otp/request-password-reset"), { email });
      const otp = (await mails(email))[0].subject.slice(0, 6);
      assert.equal((await worker.browser().post(at("/email-otp/reset-password"), { email, otp, password: NEW })).status, 200);
    },
  };
  const left = [];
  for (const [how, claim] of Object.entries(signedBack)) {
    const maker = await holder();
    await claim(maker.email);
    const answer = await enter(worker.browser(), maker.authenticator);
    if (opens(answer)) left.push(how);
  }
  assert.deepEqual(left, [], "the maker's passkey signs in after the owner came by …");
});

// Tenants and settings

test("a tenant's own RP ID and origins hold, and what is unset follows from its host", async () => {
  const set = (value) => run("update tenant set settings = ? where id = ?", JSON.stringify(value), DEFAULT_TENANT);
  const { browser } = await signUp(worker);
  const origin = "https://app.example";
  try {
    await set({ passkey: { rpId: "localhost", origins: [origin, SPA] } });
    const options = await begin(browser, "register");
    assert.equal(options.rp.id, "localhost");
    const device = new Authenticator({ origin });
    refused(
      await finish(browser, "registration", device.create(options, { origin: AUTH })),
      400,
      UNREGISTERED,
      "our own host is not among them",
    );
    assert.equal((await register(browser, device)).status, 200);
    assert.equal((await begin(worker.browser(), "authenticate")).rpId, "localhost");
    assert.equal((await enter(worker.browser(), device)).status, 200);
    assert.equal((await enter(worker.browser(), device, { lie: { origin: SPA } })).status, 200);
    refused(await enter(worker.browser(), device, { lie: { origin: AUTH } }), 400, BAD);
    refused(await enter(worker.browser(), device, { lie: { rpId: "auth.localhost" } }), 400, BAD);
    for (const unset of [{}, { passkey: {} }, { passkey: { rpId: null, origins: null } }, { passkey: null }, { other: 1 }]) {
      await set(unset);
      const answer = await worker.browser().get(at("/passkey/generate-authenticate-options"));
      assert.deepEqual([answer.status, answer.status === 200 && answer.json.rpId], [200, "auth.localhost"], JSON.stringify(unset));
    }
  } finally {
    await set({});
  }
});

test("PASSKEY_RP_ID serves front-ends below one domain, and none elsewhere", async () => {
  const shared = await startWorker({
    settings: { ...OPTIONS, PASSKEY_RP_ID: "localhost", TRUSTED_ORIGINS: `${SPA},https://notlocalhost,https://app.example` },
  });
  try {
    const { browser } = await signUp(shared);
    const device = new Authenticator({ origin: SPA });
    assert.equal((await register(browser, device)).status, 200);
    for (const origin of [SPA, AUTH]) assert.equal((await enter(shared.browser(), device, { lie: { origin } })).status, 200, origin);
    for (const origin of ["https://notlocalhost", "https://app.example", "http://localhost", "http://other.localhost"]) {
      refused(await enter(shared.browser(), device, { lie: { origin } }), 400, BAD, origin);
    }
  } finally {
    await shared.dispose();
  }
});

test("an isolated tenant's passkeys are its own, and another's are unknown there", async () => {
  const host = "http://pool.localhost";
  const tenant = await seedTenant(worker, { slug: "pool", pool: "isolated" });
  await seedDomain(worker, tenant, "pool.localhost");
  const theirs = await signUp(worker, { host, tenant });
  const device = new Authenticator({ origin: host });
  assert.equal((await begin(theirs.browser, "register", host)).rp.id, "pool.localhost");
  const made = await register(theirs.browser, device, { host });
  assert.equal(made.status, 200, made.text);
  assert.equal((await enter(worker.browser(), device, { host })).json.user.id, theirs.id);
  // Whatever the browser claims, on the other host nobody knows it.
  for (const lie of [{}, { origin: AUTH }, { origin: AUTH, rpId: "pool.localhost" }, { origin: AUTH, rpId: "auth.localhost" }]) {
    refused(await enter(worker.browser(), device, { lie }), 401, "PASSKEY_NOT_FOUND", JSON.stringify(lie));
  }
  const ours = await holder();
  refused(await enter(worker.browser(), ours.authenticator, { lie: { origin: host }, host }), 401, "PASSKEY_NOT_FOUND");
  refused(await theirs.browser.post(at("/passkey/delete-passkey", host), { id: ours.passkey.id }), 404, "PASSKEY_NOT_FOUND");
  refused(await ours.browser.post(at("/passkey/delete-passkey"), { id: made.json.id }), 404, "PASSKEY_NOT_FOUND");
  // A challenge of one host is none of the other's.
  const browser = worker.browser();
  const options = await begin(browser, "authenticate", host);
  jar(browser).set("doorward.passkey", browser.cookies("pool.localhost").get("doorward.passkey"));
  refused(await finish(browser, "authentication", ours.authenticator.get({ ...options, rpId: "auth.localhost" })), 400, GONE);
});

test("where passkeys are no way in, nothing of them is there", async () => {
  const without = await startWorker({ settings: { ...OPTIONS, SIGN_IN_WITH: "password,magic-link" } });
  try {
    const { browser } = await signUp(without);
    for (const path of ["generate-register-options", "generate-authenticate-options", "list-user-passkeys"]) {
      const answer = await browser.get(at(`/passkey/${path}`));
      assert.deepEqual([answer.status, answer.text], [404, ""], path);
    }
    for (const path of ["verify-registration", "verify-authentication", "update-passkey", "delete-passkey"]) {
      const answer = await browser.post(at(`/passkey/${path}`), { id: "x", name: "x", response: {} });
      assert.deepEqual([answer.status, answer.text], [404, ""], path);
    }
    assert.doesNotMatch((await without.browser().get(`${AUTH}/login`, { headers: PAGE })).text, /passkey/i);
    assert.doesNotMatch((await browser.get(`${AUTH}/account`, { headers: PAGE })).text, /Add a passkey/);
  } finally {
    await without.dispose();
  }
});

test("the pages offer passkeys to sign in with, and list and delete one's own", async () => {
  const [who, other] = [await holder(), await holder()];
  const login = await worker.browser().get(`${AUTH}/login?continue=/account`, { headers: PAGE });
  assert.match(login.text, /data-sign-in="\/account"/);
  assert.match(login.text, /autocomplete="username webauthn"/);
  const script = await worker.browser().get(`${AUTH}/passkey.js`);
  assert.deepEqual([script.status, script.headers["content-type"]], [200, "text/javascript; charset=utf-8"]);
  assert.doesNotMatch(login.headers["content-security-policy"], /unsafe-inline/);
  await who.browser.post(at("/passkey/update-passkey"), { id: who.passkey.id, name: "<script>alert(1)</script>" });
  const page = await who.browser.get(`${AUTH}/account`, { headers: PAGE });
  assert.ok(page.text.includes("&lt;script&gt;alert(1)"));
  assert.ok(page.text.includes(who.passkey.id) && !page.text.includes(other.passkey.id));
  assert.equal((await who.browser.submit(`${AUTH}/account/passkey/delete`, { id: other.passkey.id })).status, 404);
  assert.equal(
    (await who.browser.submit(`${AUTH}/account/passkey/delete`, { id: who.passkey.id }, { origin: "https://evil.example" })).status,
    403,
  );
  assert.equal(await count("passkey where id in (?, ?)", who.passkey.id, other.passkey.id), 2);
  assert.equal((await who.browser.submit(`${AUTH}/account/passkey/delete`, { id: who.passkey.id })).status, 303);
  assert.equal(await count("passkey where id in (?, ?)", who.passkey.id, other.passkey.id), 1);
});

// At once

/**
 * Sends by connections that are open already, while the isolate hashes other people's passwords: all of them are begun
 * before any of them is done.
 */
async function piledUp(browsers, send) {
  await Promise.all(browsers.map((browser) => browser.get(at("/ok"))));
  const hashing = Array.from({ length: 12 }, () => worker.browser());
  await Promise.all(hashing.map((browser) => browser.get(at("/ok"))));
  const hashed = hashing.map((browser) => browser.post(at("/sign-in/email"), { email: uniqueEmail(), password: PASSWORD }));
  const answers = await Promise.all(browsers.map(send));
  await Promise.all(hashed);
  return answers;
}

/** Browsers with the same cookies. */
const copies = (most, browser) =>
  Array.from({ length: most }, () => {
    const copy = worker.browser();
    for (const [name, value] of jar(browser)) jar(copy).set(name, value);
    return copy;
  });

test("one challenge, answered 50 times at once, opens one session", async () => {
  for (const counts of [true, false]) {
    const who = await holder({ counts });
    const before = await count("session where user_id = ?", who.id);
    const browser = worker.browser();
    const options = await begin(browser, "authenticate");
    // Fifty answers of the key's, each of them right.
    const answers = await piledUp(copies(50, browser), (copy) => finish(copy, "authentication", who.authenticator.get(options)));
    assert.deepEqual(tally(answers), { 200: 1, 400: 49 });
    assert.equal(answers.filter(opens).length, 1);
    for (const { status, json } of answers) if (status !== 200) assert.ok([GONE, BAD].includes(json.code), json.code);
    assert.equal(await count("session where user_id = ?", who.id), before + 1);
  }
});

test("one challenge of a registration, answered 50 times at once, makes one passkey; so does one credential", async () => {
  const who = await signUp(worker);
  const options = await begin(who.browser, "register");
  const devices = Array.from({ length: 50 }, () => new Authenticator({ origin: AUTH }));
  const answers = await piledUp(copies(50, who.browser), (copy, n) => finish(copy, "registration", devices[n].create(options)));
  assert.deepEqual(tally(answers), { 200: 1, 400: 49 });
  assert.equal(await count("passkey where user_id = ?", who.id), 1);

  const people = await times(10, () => signUp(worker));
  const device = new Authenticator({ origin: AUTH });
  const begun = await Promise.all(people.map(({ browser }) => begin(browser, "register")));
  const tried = await piledUp(
    people.map(({ browser }) => browser),
    (browser, n) => finish(browser, "registration", device.create(begun[n])),
  );
  assert.deepEqual(tally(tried), { 200: 1, 400: 9 });
  for (const { status, json } of tried) if (status !== 200) assert.equal(json.code, "PREVIOUSLY_REGISTERED");
  assert.equal(await count("passkey where credential_id = ?", device.id), 1);
});

test("a copied key that answers 20 challenges with one count at once is let in once", async () => {
  const who = await holder();
  const browsers = await times(20, () => worker.browser());
  const options = await Promise.all(browsers.map((browser) => begin(browser, "authenticate")));
  const answers = await piledUp(browsers, (browser, n) =>
    finish(browser, "authentication", who.authenticator.get(options[n], { counter: 7 })),
  );
  assert.deepEqual(tally(answers), { 200: 1, 400: 19 });
});

test("one deletion of twenty finds the passkey", async () => {
  const who = await holder();
  const answers = await piledUp(copies(20, who.browser), (copy) => copy.post(at("/passkey/delete-passkey"), { id: who.passkey.id }));
  assert.deepEqual(tally(answers), { 200: 1, 404: 19 });
  assert.equal((await mails(who.email)).filter(({ subject }) => subject === "A passkey was removed").length, 1);
});

test("a passkey is deleted from a fresh session only", async () => {
  const who = await holder();
  await run("update session set authenticated_at = authenticated_at - 90000000 where user_id = ?", who.id);
  refused(await who.browser.post(at("/passkey/delete-passkey"), { id: who.passkey.id }), 403, "SESSION_NOT_FRESH");
  assert.equal(await count("passkey where user_id = ?", who.id), 1);
  assert.equal((await who.browser.submit(`${AUTH}/account/passkey/delete`, { id: who.passkey.id })).status, 403);
  assert.equal(await count("passkey where user_id = ?", who.id), 1);
});

test("a network begins a bounded number of ceremonies, and the table does not grow past it", async () => {
  const limited = await startWorker({ settings: { ...OPTIONS, LIMIT_CHALLENGE: "5/60" } });
  try {
    const answers = await times(20, () => limited.browser({ ip: "192.0.2.7" }).get(at("/passkey/generate-authenticate-options")));
    assert.deepEqual(tally(answers), { 200: 5, 429: 15 });
    assert.ok(answers.filter(({ status }) => status === 429).every(({ headers }) => Number(headers["retry-after"]) > 0));
    assert.equal((await limited.rows("select 1 from verification where kind = 'passkey_challenge'")).length, 5);
    assert.equal((await limited.browser({ ip: "203.0.113.9" }).get(at("/passkey/generate-authenticate-options"))).status, 200);
  } finally {
    await limited.dispose();
  }
});
