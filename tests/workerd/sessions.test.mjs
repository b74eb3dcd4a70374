// The three layers of a session, snapshot cookie, KV and D1: which answers when, and what ends it.

import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import test, { after, before } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { PASSWORD, giveRole, seedDomain, seedTenant, signUp } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const at = (path) => `${AUTH}/api/auth${path}`;
const HOST = "auth.localhost";
const DAY = 86_400_000;
const LIFE = 20 * 365 * DAY;
// Of snapshots and of D1's answers, in milliseconds; and after it, with what a clock may lag.
const [FRESH, STALE] = [2000, 2100];
let worker;

before(async () => {
  worker = await startWorker({
    settings: {
      SESSION_COOKIE_CACHE_SECONDS: `${FRESH / 1000}`,
      SESSION_RECHECK_SECONDS: `${FRESH / 1000}`,
      // So long that every session begun here ends past 2038.
      SESSION_SECONDS: `${LIFE / 1000}`,
      ROUTING_CACHE_SECONDS: "600",
    },
  });
});
after(() => worker?.dispose());

const value = ({ browser }, name = "session") => browser.cookies(HOST).get(`doorward.${name}`);
const bare = (person) => `doorward.session=${value(person)}`;
const whole = (person) => `${bare(person)}; doorward.snapshot=${value(person, "snapshot")}`;
/** Asks with exactly these cookies. */
const ask = (cookie, path = "/get-session", host = AUTH) => worker.browser().get(`${host}/api/auth${path}`, { headers: { cookie } });
const trips = ({ headers }) => headers["server-timing"].match(/d1;desc="(\d+)"/)[1];
const sets = ({ cookies }, name) => cookies.find((line) => line.startsWith(`doorward.${name}=`));
const row = async (person) => (await worker.rows("select * from session where user_id = ?", person.id))[0];
const change = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
const key = (person) => `session:${createHash("sha256").update(value(person).split(".")[0]).digest("base64url")}`;
async function until(check) {
  for (let tries = 0; tries < 100; tries += 1) {
    if (await check()) return;
    await sleep(20);
  }
  assert.fail("what is done after the answer was not done");
}
const kept = (person) => until(() => worker.kv.get(key(person)));
const forget = async (person) => {
  await kept(person);
  await worker.kv.delete(key(person));
};
const seen = (answer, person, about) => assert.equal(answer.json?.user.id, person.id, about ?? answer.text);
/** Does something while D1 knows no sessions at all. */
async function withoutD1(act) {
  await change("alter table session rename to session_away");
  try {
    return await act();
  } finally {
    await change("alter table session_away rename to session");
  }
}
function cleared(answer, about) {
  for (const name of ["session", "snapshot"])
    assert.match(sets(answer, name) ?? "", /^[^=]+=;.*Max-Age=0/, `${about}: ${name} was not taken back`);
}

test("the snapshot answers alone: no D1, no KV, until it is too old", async () => {
  const person = await signUp(worker);
  await forget(person);
  const answer = await withoutD1(() => ask(whole(person)));
  seen(answer, person);
  assert.deepEqual([trips(answer), answer.cookies], ["0", []]);
  await change("delete from session where user_id = ?", person.id);
  seen(await ask(whole(person)), person);
  assert.equal((await ask(whole(person), "/token")).status, 401, "a JWT for a session that is gone");
  await sleep(STALE);
  const late = await ask(whole(person));
  assert.deepEqual([late.status, late.text], [200, "null"]);
  cleared(late, "a session that is gone");
});

test("KV answers without the snapshot, and sends a new one; D1 answers without KV, and refills it", async () => {
  const person = await signUp(worker);
  await kept(person);
  const fromKv = await withoutD1(() => ask(bare(person)));
  seen(fromKv, person);
  assert.equal(trips(fromKv), "0");
  seen(await withoutD1(() => ask(`${bare(person)}; ${sets(fromKv, "snapshot").split(";")[0]}`)), person);
  for (const { name } of (await worker.kv.list()).keys) await worker.kv.delete(name);
  const fromD1 = await ask(bare(person));
  seen(fromD1, person);
  assert.equal(trips(fromD1), "1");
  assert.ok(sets(fromD1, "snapshot"));
  await kept(person);
  assert.equal(trips(await ask(bare(person))), "0");
  assert.deepEqual((await ask(bare(person))).json, fromD1.json, "the layers tell different things");
});

test("a copy in KV that is damaged, stale or another's is not believed", async () => {
  const person = await signUp(worker);
  await kept(person);
  const copy = await worker.kv.get(key(person), "json");
  const bad = [
    "",
    "{bad",
    "null",
    "{}",
    { ...copy, checked_at: copy.checked_at - FRESH },
    { ...copy, expires_at: 1 },
    { ...copy, tenant_id: "t" },
    { ...copy, app_id: "a" },
  ];
  for (const text of bad) {
    await worker.kv.put(key(person), typeof text === "string" ? text : JSON.stringify(text));
    const answer = await ask(bare(person));
    seen(answer, person);
    assert.equal(trips(answer), "1", JSON.stringify(text));
  }
});

test("revoked: at once where D1 is asked, everywhere as soon as its last answer is too old", async () => {
  const person = await signUp(worker);
  await kept(person);
  const copy = await worker.kv.get(key(person));
  const [cookie, handle] = [whole(person), (await row(person)).id];
  const other = worker.browser();
  await other.post(at("/sign-in/email"), { email: person.email, password: PASSWORD });
  await other.post(at("/revoke-session"), { token: handle });
  await until(async () => (await worker.kv.get(key(person))) === null);
  const bodies = {
    "/revoke-session": { token: handle },
    "/change-password": { currentPassword: PASSWORD, newPassword: "x".repeat(9) },
    "/update-user": { name: "x" },
  };
  for (const path of ["/revoke-sessions", "/revoke-other-sessions", ...Object.keys(bodies)]) {
    const answer = await worker.browser().post(at(path), bodies[path] ?? {}, { headers: { cookie } });
    assert.equal(answer.status, 401, path);
  }
  assert.equal((await ask(cookie, "/token")).status, 401);
  assert.equal((await ask(cookie, "/get-session?disableCookieCache=true")).text, "null");
  assert.equal((await ask(bare(person))).text, "null");
  // KV of another region has not heard yet: its copy, and the snapshot made of it, are as old as D1's last answer.
  await worker.kv.put(key(person), copy);
  const behind = await ask(bare(person));
  await sleep(STALE);
  for (const late of [cookie, bare(person), `${bare(person)}; ${sets(behind, "snapshot")?.split(";")[0]}`]) {
    assert.equal((await ask(late)).text, "null");
    assert.equal((await ask(late, "/list-sessions")).status, 401);
  }
  assert.equal((await other.get(at("/list-sessions"))).json.length, 1);
});

test("forged, tampered, doubled and comma-joined cookies are refused without asking anybody", async () => {
  const [person, other] = [await signUp(worker), await signUp(worker)];
  const [token, signature] = value(person).split(".");
  const [otherToken, otherSignature] = value(other).split(".");
  const flipped = [...value(person)].map(
    (letter, n) => value(person).slice(0, n) + (letter === "A" ? "B" : "A") + value(person).slice(n + 1),
  );
  const mac = (secret) => createHmac("sha256", secret).update(token).digest("base64url");
  const forged = [
    token,
    `${token}.`,
    `.${signature}`,
    ".",
    "x",
    `${token}.${otherSignature}`,
    `${otherToken}.${signature}`,
    `${token}.${signature}.`,
    `${token}..${signature}`,
    `${token}.${signature}=`,
    `${token}.${signature} x`,
    `${token}x.${signature}`,
    `${token.toLowerCase()}.${signature}`,
    `${token}%2E${signature}`,
    `${value(person)}A`,
    `${token}.${mac("")}`,
    `${token}.${mac("session")}`,
    `${token}.${mac("only for tests: 0123456789abcdef0123456789abcdef")}`,
    `.${mac("")}`,
    value(person, "snapshot"),
    ...flipped,
  ].map((text) => `doorward.session=${text}`);
  const doubled = [
    `${bare(person)}; ${bare(other)}`,
    `${bare(other)}; ${bare(person)}`,
    `${bare(person)}, ${bare(other)}`,
    `${bare(person)},${bare(other)}`,
    `a=1, ${bare(other)}; ${bare(person)}`,
    `${bare(person)}; doorward.session=`,
    `doorward.session=; ${bare(person)}`,
    `${bare(person)}; doorward.session=x`,
    [bare(person), bare(other)],
  ];
  for (const cookie of [...forged, ...doubled]) {
    const [session, list] = [await ask(cookie), await ask(cookie, "/list-sessions")];
    assert.deepEqual([session.status, session.text, list.status, list.json.code], [200, "null", 401, "UNAUTHORIZED"], `${cookie}`);
    assert.deepEqual([trips(session), trips(list)], ["0", "0"], `${cookie}`);
    for (const answer of [session, list]) cleared(answer, `${cookie}`);
    assert.equal((await ask(cookie, "/token")).status, 401, `${cookie}`);
  }
  for (const cookie of [
    "doorward.session=",
    "doorward.session",
    "session=x",
    `Doorward.Session=${value(person)}`,
    `__Host-${bare(person)}`,
    `doorward.snapshot=${value(person, "snapshot")}`,
  ]) {
    assert.equal((await ask(cookie)).text, "null", cookie);
    assert.equal((await ask(cookie, "/list-sessions")).status, 401, cookie);
  }
});

test("a snapshot is believed with its own session alone, and unchanged", async () => {
  const [person, other] = [await signUp(worker), await signUp(worker, { roles: ["admin"] })];
  const [payload, signature] = value(person, "snapshot").split(".");
  const edited = JSON.parse(Buffer.from(payload, "base64url"));
  edited.session.user.name = "Forged";
  edited.session.roles = ["owner"];
  const text = Buffer.from(JSON.stringify(edited)).toString("base64url");
  const bad = [
    value(other, "snapshot"),
    value(person),
    `${text}.${signature}`,
    `${text}.${createHmac("sha256", "").update(text).digest("base64url")}`,
    `${text}.`,
    text,
    "",
    `${payload}.${signature}A`,
  ];
  for (const snapshot of bad) {
    const { user } = (await ask(`${bare(person)}; doorward.snapshot=${snapshot}`)).json;
    assert.deepEqual([user.id, user.name, user.role], [person.id, "Zoë Ångström", "user"], snapshot);
  }
});

test("a session is of one tenant: another tenant's auth host knows nobody by it", async () => {
  const tenant = await seedTenant(worker, { slug: "other", pool: "isolated" });
  await seedDomain(worker, tenant, "other.localhost");
  const person = await signUp(worker);
  await kept(person);
  for (const [layer, cookie] of [
    ["D1 or KV", bare(person)],
    ["snapshot", whole(person)],
  ]) {
    const about = `a session of the default tenant, by ${layer}, on an isolated tenant's host`;
    assert.equal((await ask(cookie, "/token", "http://other.localhost")).status, 401, about);
    assert.equal((await ask(cookie, "/get-session", "http://other.localhost")).text, "null", about);
    assert.equal((await ask(cookie, "/list-accounts", "http://other.localhost")).status, 401, about);
  }
});

test("a user or tenant that is suspended is out: at once where D1 is asked, soon everywhere", async () => {
  const tenant = await seedTenant(worker, { slug: "rented" });
  await seedDomain(worker, tenant, "rented.localhost");
  const at2 = "http://rented.localhost";
  const tenants = await signUp(worker, { host: at2 });
  const rented = [...tenants.browser.cookies("rented.localhost")].map((pair) => pair.join("=")).join("; ");
  const out = {
    "status = 'suspended'": await signUp(worker),
    "status = 'suspended', suspended_until = 4102444800000": await signUp(worker),
    "status = 'inactive'": await signUp(worker),
    "status = 'deleted', deleted_at = 1": await signUp(worker),
  };
  const back = await signUp(worker);
  const copies = {};
  for (const [set, person] of Object.entries(out)) {
    await kept(person);
    copies[key(person)] = await worker.kv.get(key(person));
    await change(`update user set ${set} where id = ?`, person.id);
  }
  await change("update user set status = 'suspended', suspended_until = 1 where id = ?", back.id);
  await change("update tenant set status = 'suspended' where id = ?", tenant);
  for (const [set, person] of Object.entries(out)) assert.equal((await ask(whole(person), "/token")).status, 401, set);
  assert.equal((await ask(rented, "/token", at2)).status, 401);
  // D1's refusal takes a session out of KV, here; another region has its copy still.
  await until(async () => (await Promise.all(Object.keys(copies).map((name) => worker.kv.get(name)))).every((copy) => copy === null));
  for (const [name, copy] of Object.entries(copies)) await worker.kv.put(name, copy);
  await sleep(STALE);
  for (const [set, person] of Object.entries(out)) {
    const answer = await ask(whole(person));
    assert.equal(answer.text, "null", set);
    cleared(answer, set);
  }
  assert.equal((await ask(rented, "/get-session", at2)).text, "null");
  const again = await worker.browser().post(`${at2}/api/auth/sign-in/email`, { email: tenants.email, password: PASSWORD });
  assert.deepEqual([again.status, again.json.code], [403, "TENANT_UNAVAILABLE"]);
  seen(await ask(whole(back)), back, "a suspension that is over");
});

test("times past 2038 make the round trip, through every layer", async () => {
  const person = await signUp(worker);
  const { expires_at: written, created_at: created } = await row(person);
  assert.equal(written, created + LIFE);
  assert.ok(written > 2 ** 31 * 1000);
  await kept(person);
  for (const [layer, cookie] of [
    ["snapshot", whole(person)],
    ["KV", bare(person)],
  ]) {
    assert.equal((await ask(cookie)).json.session.expiresAt, new Date(written).toISOString(), layer);
  }
  for (const iso of ["2047-01-19T03:14:08.001Z", "2100-02-28T23:59:59.999Z", "9999-12-31T23:59:59.999Z"]) {
    await change("update session set expires_at = ?, updated_at = ? where user_id = ?", Date.parse(iso), Date.parse(iso), person.id);
    await forget(person);
    const { session } = (await ask(bare(person))).json;
    assert.deepEqual([session.expiresAt, session.updatedAt], [iso, iso]);
    await kept(person);
    assert.equal((await ask(bare(person))).json.session.expiresAt, iso);
    assert.equal((await ask(bare(person), "/list-sessions")).json[0].expiresAt, iso);
    assert.equal((await row(person)).expires_at, Date.parse(iso));
  }
});

/** Somebody whose session began some days ago. Answers when it ends. */
async function aged(days, rememberMe = true) {
  const person = await signUp(worker);
  await worker.d1.prepare("delete from session where user_id = ?").bind(person.id).run();
  await person.browser.post(at("/sign-in/email"), { email: person.email, password: PASSWORD, rememberMe });
  await change("update session set expires_at = expires_at - ? where user_id = ?", days * DAY, person.id);
  await forget(person);
  return { person, end: (await row(person)).expires_at };
}

test("a session in use is prolonged a day after it began, and not sooner", async () => {
  const young = await aged(0.9);
  const early = await ask(bare(young.person));
  assert.deepEqual([early.json.session.expiresAt, sets(early, "session")], [new Date(young.end).toISOString(), undefined]);
  const { person, end } = await aged(2);
  const answer = await ask(bare(person));
  const promised = Date.parse(answer.json.session.expiresAt);
  assert.ok(promised >= end + 2 * DAY);
  assert.equal(sets(answer, "session").split(";")[0], bare(person), "the token is the same");
  assert.match(sets(answer, "session"), new RegExp(`; Max-Age=${LIFE / 1000}$`));
  await until(async () => (await row(person)).expires_at === promised);
});

test("a session that is not remembered lives for a day, is never prolonged, and is over in every layer then", async () => {
  const used = await aged(0.9, false);
  const answer = await ask(bare(used.person));
  assert.equal(Date.parse(answer.json.session.expiresAt), used.end);
  assert.equal(sets(answer, "session"), undefined, "it was prolonged");
  assert.ok(used.end <= Date.now() + DAY, "it lives longer than a day");
  assert.equal((await row(used.person)).expires_at, used.end);
  const over = await aged(1.1, false);
  assert.equal((await ask(bare(over.person))).json, null);
  // One that was opened before there was such an end has it as well.
  const old = await aged(2, false);
  await change(
    "update session set expires_at = ?, updated_at = ? where user_id = ?",
    Date.now() + 5 * DAY,
    Date.now() - 2 * DAY,
    old.person.id,
  );
  await worker.kv.delete(key(old.person));
  assert.equal((await ask(bare(old.person))).json, null);
});

test("disableRefresh looks at a session without prolonging it", async () => {
  const { person, end } = await aged(2);
  const answer = await ask(bare(person), "/get-session?disableRefresh=true");
  assert.deepEqual([answer.json.session.expiresAt, sets(answer, "session")], [new Date(end).toISOString(), undefined]);
  assert.equal((await row(person)).expires_at, end);
});

test("a session past its end is over, and is not prolonged", async () => {
  const person = await signUp(worker);
  await change("update session set expires_at = ? where user_id = ?", Date.now() - 1, person.id);
  await forget(person);
  const answer = await ask(bare(person));
  assert.equal(answer.text, "null");
  cleared(answer, "expired");
  assert.ok((await row(person)).expires_at < Date.now());
});

test("what a user changes is seen at once in this session; a role given meanwhile soon", async () => {
  const person = await signUp(worker);
  await giveRole(worker, person.id, "admin");
  for (const image of ["https://img.example/a.png", `https://img.example/${"x".repeat(2000)}`]) {
    const name = `Renamed ${image.length}`;
    assert.equal((await person.browser.post(at("/update-user"), { name, image })).status, 200);
    const { user } = (await person.browser.get(at("/get-session"))).json;
    assert.deepEqual([user.name, user.image === image], [name, true], `a picture URL of ${image.length} letters`);
  }
  await sleep(STALE);
  assert.equal((await person.browser.get(at("/get-session"))).json.user.role, "admin");
});
