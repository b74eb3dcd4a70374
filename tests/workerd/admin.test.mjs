// Who looks after users, as whoever would like to: strangers, administrators among themselves, and what they leave behind.

import assert from "node:assert/strict";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import test, { after, before } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { startOrigin } from "../harness/origin.mjs";
import { API, PAGE, PASSWORD, giveRole, seedApp, seedDomain, seedTenant, signUp, visit } from "../harness/seed.mjs";
import { AUTH, DEFAULT_TENANT, startWorker } from "../harness/worker.mjs";

const [ISOLATED, SHARED, APP] = ["http://isolated.localhost", "http://shared.localhost", "http://app.localhost"];
const SETTINGS = {
  SESSION_COOKIE_CACHE_SECONDS: "0",
  SESSION_RECHECK_SECONDS: "0",
  LIMIT_MAIL: "10000/60",
  LOCKOUT_FAILURES: "10000",
  SIGN_IN_WITH: "password,magic-link,email-otp,passkey,anonymous",
};
const NEW = "an altogether new passphrase";
const HOUR = 3600_000;
let worker, origin, owner, admin, tenants;

before(async () => {
  origin = await startOrigin();
  worker = await startWorker({ settings: SETTINGS });
  await seedApp(worker, "app.localhost", { origin: origin.url, rules: [] });
  tenants = {
    isolated: await seedTenant(worker, { slug: "isolated", pool: "isolated" }),
    shared: await seedTenant(worker, { slug: "shared" }),
  };
  await seedDomain(worker, tenants.isolated, "isolated.localhost");
  await seedDomain(worker, tenants.shared, "shared.localhost");
  [owner, admin] = [await signUp(worker, { roles: ["owner"] }), await signUp(worker, { roles: ["admin"] })];
});
after(async () => {
  await worker?.dispose();
  await origin?.close();
});

const at = (path, host = AUTH) => `${host}/api/auth${path}`;
const post = ({ browser }, path, body = {}, host = AUTH) => browser.post(at(path, host), body);
const ask = (who, path, body, host) => post(who, `/admin/${path}`, body, host);
const change = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
const one = async (sql, ...values) => (await worker.rows(sql, ...values))[0];
const userOf = (id) => one("select * from user where id = ?", id);
const told = ({ status, text }) => [status, text && JSON.parse(text)?.code];
const times = (count, act) => Promise.all(Array.from({ length: count }, (_, n) => act(n)));
const opens = ({ cookies }) => cookies.some((line) => /^doorward\.session=[^;]/.test(line));
const living = async (id) => (await worker.rows("select id from session where user_id = ? and revoked_at is null", id)).length;
const signIn = ({ email }, password = PASSWORD, browser = worker.browser(), host = AUTH) =>
  browser.post(at("/sign-in/email", host), { email, password });
const session = async ({ browser }, host = AUTH) => (await browser.get(at("/get-session?disableCookieCache=true", host))).json;
const mails = async (to, host = AUTH) => (await worker.browser().get(`${host}/dev/mailbox?to=${encodeURIComponent(to)}`)).json;
const nobody = () => ({ browser: worker.browser() });
/** The same person in another browser, with cookies of whoever is named. */
const copy = ({ browser, ...who }, names) => {
  const twin = { ...who, browser: worker.browser() };
  for (const [name, value] of browser.cookies("auth.localhost"))
    if (!names || names.includes(name)) twin.browser.cookies("auth.localhost").set(name, value);
  return twin;
};
const jar = ({ browser }) => browser.cookies("auth.localhost");
/** What is kept of a user, but when they were last seen. */
const everything = async (id) =>
  JSON.stringify(
    await Promise.all([
      worker.rows("select * from user where id = ?", id),
      worker.rows("select id, password_hash from account where user_id = ?", id),
      worker.rows("select id, revoked_at, impersonated_by from session where user_id = ? order by id", id),
      worker.rows(
        "select m.id, r.role_id from member m left join member_role r on r.member_id = m.id where m.user_id = ? order by 1, 2",
        id,
      ),
    ]),
  );
async function impersonating(user, by = admin) {
  const who = copy(by);
  const answer = await ask(who, "impersonate-user", { userId: user.id });
  assert.equal(answer.status, 200, answer.text);
  return who;
}

const CODES = {
  "set-role": "YOU_ARE_NOT_ALLOWED_TO_CHANGE_USERS_ROLE",
  "get-user": "YOU_ARE_NOT_ALLOWED_TO_GET_USER",
  "create-user": "YOU_ARE_NOT_ALLOWED_TO_CREATE_USERS",
  "update-user": "YOU_ARE_NOT_ALLOWED_TO_UPDATE_USERS",
  "list-users": "YOU_ARE_NOT_ALLOWED_TO_LIST_USERS",
  "list-user-sessions": "YOU_ARE_NOT_ALLOWED_TO_LIST_USERS_SESSIONS",
  "ban-user": "YOU_ARE_NOT_ALLOWED_TO_BAN_USERS",
  "unban-user": "YOU_ARE_NOT_ALLOWED_TO_BAN_USERS",
  "deactivate-user": "YOU_ARE_NOT_ALLOWED_TO_BAN_USERS",
  "reactivate-user": "YOU_ARE_NOT_ALLOWED_TO_BAN_USERS",
  "impersonate-user": "YOU_ARE_NOT_ALLOWED_TO_IMPERSONATE_USERS",
  "revoke-user-session": "YOU_ARE_NOT_ALLOWED_TO_REVOKE_USERS_SESSIONS",
  "revoke-user-sessions": "YOU_ARE_NOT_ALLOWED_TO_REVOKE_USERS_SESSIONS",
  "remove-user": "YOU_ARE_NOT_ALLOWED_TO_DELETE_USERS",
  "set-user-password": "YOU_ARE_NOT_ALLOWED_TO_SET_USERS_PASSWORD",
};
/** A sensible request of an endpoint about a user. */
const MORE = {
  "set-role": { role: "user" },
  "update-user": { data: { name: "Renamed" } },
  "set-user-password": { newPassword: NEW },
};
async function request(name, who, target, host = AUTH) {
  if (name === "get-user") return who.browser.get(at(`/admin/get-user?id=${encodeURIComponent(target.id)}`, host));
  if (name === "list-users") return who.browser.get(at("/admin/list-users", host));
  if (name === "create-user") return ask(who, name, { email: uniqueEmail(), name: "N", password: NEW }, host);
  const handle = await one("select id from session where user_id = ? and parent_id is null order by created_at desc limit 1", target.id);
  const body = name === "revoke-user-session" ? { sessionToken: handle?.id ?? randomUUID() } : { userId: target.id, ...MORE[name] };
  return ask(who, name, body, host);
}
const ABOUT_SOMEBODY = Object.keys(CODES).filter((name) => !["create-user", "list-users"].includes(name));
const WRITES = ABOUT_SOMEBODY.filter((name) => !["get-user", "list-user-sessions"].includes(name));

test("each endpoint refuses nobody, a plain user, and an administrator of elsewhere, of before or in disguise", async () => {
  const victim = await signUp(worker);
  const [plain, stranger] = [await signUp(worker), await signUp(worker)];
  await change("delete from member where user_id = ?", stranger.id);
  const demoted = await signUp(worker, { roles: ["admin"] });
  assert.equal((await ask(owner, "set-role", { userId: demoted.id, role: "user" })).status, 200);
  const banned = await signUp(worker, { roles: ["admin"] });
  await change("update user set status = 'suspended' where id = ?", banned.id);
  const over = await signUp(worker, { roles: ["admin"] });
  await change("update user set status = 'suspended', suspended_until = ? where id = ?", Date.now() + HOUR, over.id);
  const inactive = await signUp(worker, { roles: ["owner"] });
  await change("update user set status = 'inactive' where id = ?", inactive.id);
  const foreign = await signUp(worker, { host: ISOLATED, tenant: tenants.isolated, roles: ["owner"] });
  for (const [name, value] of foreign.browser.cookies("isolated.localhost")) jar(foreign).set(name, value);
  const shared = await signUp(worker, { host: SHARED, tenant: tenants.shared, roles: ["owner"] });
  const disguised = await impersonating(plain);
  const second = await signUp(worker, { roles: ["admin"] });
  const disguisedAsAdmin = await impersonating(second, owner);
  const before = await everything(victim.id);
  const users = (await one("select count(*) as n from user")).n;
  for (const [who, person, status, host] of [
    ["nobody", nobody(), 401],
    ["a banned administrator", banned, 401],
    ["one banned for an hour", over, 401],
    ["a deactivated owner", inactive, 401],
    ["an isolated tenant's owner", foreign, 401],
    ["a plain user", plain, 403],
    ["no member", stranger, 403],
    ["a demoted administrator", demoted, 403],
    ["an administrator as a user", disguised, 403],
    ["an owner as an administrator", disguisedAsAdmin, 403],
    ["a shared tenant's owner, there", shared, 403, SHARED],
  ]) {
    for (const [name, code] of Object.entries(CODES)) {
      const answer = await request(name, copy2(person), victim, host);
      assert.equal(answer.status, status, `${who}: ${name}: ${answer.text}`);
      if (status === 403) assert.equal(answer.json.code, code, `${who}: ${name}`);
    }
  }
  assert.equal(await everything(victim.id), before);
  assert.equal((await one("select count(*) as n from user")).n, users, "somebody was created");
});
/** Keeps what a refusal takes back: a cookie that opens nothing is cleared. */
function copy2({ browser, ...who }) {
  const twin = worker.browser();
  for (const host of ["auth.localhost", "shared.localhost", "isolated.localhost"])
    for (const [name, value] of browser.cookies(host)) twin.cookies(host).set(name, value);
  return { ...who, browser: twin };
}

test("an isolated tenant's administrator has its own users, and ids of other pools are nobody's", async () => {
  const theirs = await signUp(worker, { host: ISOLATED, tenant: tenants.isolated, roles: ["owner"] });
  const member = await signUp(worker, { host: ISOLATED, tenant: tenants.isolated });
  const ours = await signUp(worker);
  const gone = await signUp(worker);
  assert.equal((await ask(admin, "remove-user", { userId: gone.id })).status, 200);
  const before = await Promise.all([ours, member, owner].map(({ id }) => everything(id)));
  for (const name of ABOUT_SOMEBODY.filter((name) => name !== "revoke-user-session")) {
    for (const [who, target, host] of [
      [theirs, ours, ISOLATED],
      [theirs, owner, ISOLATED],
      [theirs, gone, ISOLATED],
      [owner, member],
      [admin, theirs],
      [owner, gone],
      [owner, { id: randomUUID() }],
      [owner, { id: "nope" }],
      [owner, { id: "__proto__" }],
      [owner, { id: DEFAULT_TENANT }],
      [owner, { id: "' or 1=1 --" }],
      [owner, { id: ours.id.toUpperCase() === ours.id ? "x" : `${ours.id} ` }],
    ])
      assert.deepEqual(told(await request(name, who, target, host)), [404, "USER_NOT_FOUND"], `${name} ${target.id}`);
  }
  // By a session's handle: the answer says nothing, and nothing ends.
  for (const [who, target, host] of [
    [theirs, ours, ISOLATED],
    [owner, member],
  ])
    assert.equal((await request("revoke-user-session", who, target, host)).status, 200);
  assert.deepEqual(await Promise.all([ours, member, owner].map(({ id }) => everything(id))), before);
  const listed = async (who, host) => (await who.browser.get(at("/admin/list-users?limit=1000", host))).json;
  const [here, there] = [await listed(owner), await listed(theirs, ISOLATED)];
  assert.ok(there.users.some(({ id }) => id === member.id) && !there.users.some(({ id }) => id === ours.id));
  assert.ok(here.users.some(({ id }) => id === ours.id) && !here.users.some(({ id }) => id === member.id || id === gone.id));
  for (const { users, total } of [here, there]) assert.equal(total, users.length);
  for (const name of ABOUT_SOMEBODY)
    assert.equal(
      (await request(name, copy2(theirs), await signUp(worker, { host: ISOLATED, tenant: tenants.isolated }), ISOLATED)).status,
      200,
      name,
    );
});

test("an administrator acts upon no owner, an owner upon everybody", async () => {
  for (const name of WRITES) {
    const [target, below] = [await signUp(worker, { roles: ["owner"] }), await signUp(worker, { roles: ["admin"] })];
    const before = await everything(target.id);
    const answer = await request(name, copy(admin), target);
    const code = name === "impersonate-user" ? "YOU_CANNOT_IMPERSONATE_ADMINS" : CODES[name];
    assert.deepEqual(told(answer), [403, code], name);
    assert.equal(await everything(target.id), before, name);
    const equal = await request(name, copy(admin), below);
    assert.equal(equal.status, name === "impersonate-user" ? 403 : 200, `${name} upon an equal: ${equal.text}`);
    for (const somebody of [target, await signUp(worker, { roles: ["admin"] }), await signUp(worker)])
      assert.equal((await request(name, copy(owner), somebody)).status, 200, `owner: ${name}`);
  }
  // Somebody whose group carries the role holds as much.
  const carried = await signUp(worker);
  const team = await post(owner, "/organization/create-team", {
    name: `T${randomUUID()}`,
    organizationId: DEFAULT_TENANT,
    roles: ["owner"],
  });
  assert.equal(team.status, 200, team.text);
  assert.equal(
    (await post(owner, "/organization/add-team-member", { teamId: team.json.id, userId: carried.id, organizationId: DEFAULT_TENANT }))
      .status,
    200,
  );
  for (const name of WRITES) assert.equal((await request(name, copy(admin), carried)).status, 403, `by a group: ${name}`);
});

test("list-users finds users by the role that it shows them with, a group's included", async () => {
  const carried = await signUp(worker);
  const team = await post(owner, "/organization/create-team", {
    name: `T${randomUUID()}`,
    organizationId: DEFAULT_TENANT,
    roles: ["admin"],
  });
  assert.equal(
    (await post(owner, "/organization/add-team-member", { teamId: team.json.id, userId: carried.id, organizationId: DEFAULT_TENANT }))
      .status,
    200,
  );
  const seen = (await admin.browser.get(at(`/admin/get-user?id=${carried.id}`))).json;
  const has = async (role) =>
    (await admin.browser.get(at(`/admin/list-users?limit=1000&filterField=role&filterValue=${role}`))).json.users.some(
      ({ id }) => id === carried.id,
    );
  assert.deepEqual([seen.role, await has("admin"), await has("user")], ["admin", true, false]);
});

test("nobody gives away more than they hold: set-role, create-user, update-user, has-permission", async () => {
  const [victim, plain] = [await signUp(worker), await signUp(worker)];
  const before = await everything(victim.id);
  const users = (await one("select count(*) as n from user where tenant_id is null")).n;
  for (const role of ["owner", ["owner"], "user,owner", ["user", "owner"], " owner ", "admin,owner", ["member", "admin", "owner"]]) {
    assert.deepEqual(told(await ask(admin, "set-role", { userId: victim.id, role })), [403, CODES["set-role"]], `${role}`);
    assert.deepEqual(told(await ask(admin, "set-role", { userId: admin.id, role })), [403, CODES["set-role"]], `oneself ${role}`);
    assert.equal((await ask(admin, "create-user", { email: uniqueEmail(), name: "N", role })).status, 403, `${role}`);
    assert.equal((await ask(admin, "update-user", { userId: victim.id, data: { role } })).status, 403, `${role}`);
    assert.equal((await ask(admin, "update-user", { userId: victim.id, data: { name: "X", role } })).status, 403, `${role}`);
  }
  const none = "YOU_ARE_NOT_ALLOWED_TO_SET_NON_EXISTENT_VALUE";
  for (const role of [
    "nope",
    "Owner",
    "OWNER",
    "constructor",
    "__proto__",
    "owner\u0000",
    "owner;admin",
    "*",
    "users",
    ["user,admin"],
    ["user", "nope"],
  ]) {
    assert.deepEqual(told(await ask(owner, "set-role", { userId: victim.id, role })), [400, none], `${role}`);
    assert.deepEqual(told(await ask(owner, "create-user", { email: uniqueEmail(), name: "N", role })), [400, none], `${role}`);
  }
  for (const data of [
    { role: "admin" },
    { banned: true },
    { id: randomUUID() },
    { status: "active" },
    { tenantId: tenants.isolated },
    { deletedAt: null },
  ])
    assert.equal((await ask(admin, "create-user", { email: uniqueEmail(), name: "N", data })).status, 400, JSON.stringify(data));
  // Roles of another tenant are not there.
  const theirs = await signUp(worker, { host: ISOLATED, tenant: tenants.isolated });
  await giveRole(worker, theirs.id, "theirs-alone", tenants.isolated);
  assert.deepEqual(told(await ask(owner, "set-role", { userId: victim.id, role: "theirs-alone" })), [400, none]);
  assert.equal(await everything(victim.id), before);
  assert.equal((await one("select count(*) as n from user where tenant_id is null")).n, users, "somebody was created all the same");

  // A role that may create users and no more gives no roles, and no role to itself.
  const made = await post(owner, "/organization/create-role", {
    organizationId: DEFAULT_TENANT,
    role: "maker",
    permission: { user: ["create", "update", "get", "ban", "set-password"] },
  });
  assert.equal(made.status, 200, made.text);
  const maker = await signUp(worker, { roles: ["maker"] });
  for (const [path, body, status] of [
    ["create-user", { email: uniqueEmail(), name: "N" }, 200],
    ["create-user", { email: uniqueEmail(), name: "N", role: "user" }, 200],
    ["create-user", { email: uniqueEmail(), name: "N", role: "maker" }, 403],
    ["create-user", { email: uniqueEmail(), name: "N", role: "admin" }, 403],
    ["set-role", { userId: maker.id, role: "user" }, 403],
    ["update-user", { userId: victim.id, data: { role: "user" } }, 403],
    ["update-user", { userId: victim.id, data: { email: uniqueEmail() } }, 403],
    ["update-user", { userId: victim.id, data: { emailVerified: true } }, 403],
    ["update-user", { userId: victim.id, data: { name: "Changed" } }, 200],
    ["set-user-password", { userId: admin.id, newPassword: NEW }, 403],
    ["ban-user", { userId: owner.id }, 403],
    ["remove-user", { userId: victim.id }, 403],
    ["impersonate-user", { userId: victim.id }, 403],
    ["has-permission", { userId: owner.id, permissions: { user: ["create"] } }, 200],
    ["ban-user", { userId: victim.id }, 200],
  ])
    assert.equal((await ask(copy(maker), path, body)).status, status, `${path} ${JSON.stringify(body)}`);

  const may = async (who, body) => (await ask(who, "has-permission", body)).json.success;
  for (const [who, body, wanted] of [
    [admin, { permissions: { user: ["create"] } }, true],
    [admin, { permissions: { user: ["impersonate-admins"] } }, false],
    [owner, { permissions: { user: ["impersonate-admins"], organization: ["delete"] } }, true],
    [admin, { permissions: {} }, false],
    [owner, { permissions: {} }, false],
    [owner, { permissions: { user: [] } }, false],
    [plain, { permissions: { user: [] } }, false],
    [admin, { permissions: { user: ["create"], organization: ["delete"] } }, false],
    [admin, { permissions: { nope: ["x"] } }, false],
    [plain, { permissions: { user: ["create"] } }, false],
    [plain, { permissions: { constructor: ["x"] } }, false],
    [admin, { userId: plain.id, permissions: { user: ["create"] } }, false],
    [admin, { userId: owner.id, permissions: { organization: ["delete"] } }, true],
    [admin, { role: "user", permissions: { user: ["create"] } }, false],
    [admin, { role: "owner", permissions: { organization: ["delete"] } }, true],
    [plain, { role: "admin", permissions: { user: ["create"] } }, true],
    [plain, { userId: plain.id, role: "owner", permissions: { user: ["create"] } }, false],
    [admin, { permission: { user: ["create"] } }, true],
  ])
    assert.equal(await may(who, body), wanted, JSON.stringify(body));
  for (const [who, body, status] of [
    [plain, { userId: owner.id, permissions: { user: ["create"] } }, 403],
    [nobody(), { permissions: { user: ["create"] } }, 401],
    [admin, { userId: randomUUID(), permissions: { user: ["create"] } }, 404],
    [admin, { role: "nope", permissions: { user: ["create"] } }, 400],
    [admin, {}, 400],
    [admin, { permissions: null }, 400],
    [admin, { permissions: "x" }, 400],
    [admin, { permissions: [] }, 400],
    [admin, { permissions: { user: "create" } }, 400],
    [admin, { permissions: { "*": ["*"] } }, 400],
    [admin, { role: ["admin"], permissions: { user: ["create"] } }, 400],
  ])
    assert.equal((await ask(who, "has-permission", body)).status, status, JSON.stringify(body));
});

// Owners are counted: these have a deployment of their own.
test("a last owner stays, whatever is tried, and one who may sign in", async (t) => {
  const own = await startWorker({ settings: SETTINGS });
  const rows = own.rows;
  const OWNERS = `select m.user_id as id from member m join member_role r on r.member_id = m.id join user u on u.id = m.user_id
    where m.tenant_id = ? and m.status = 'active' and u.deleted_at is null
       and r.role_id = (select id from role where tenant_id is null and name = 'owner')`;
  const owners = async () => (await rows(OWNERS, DEFAULT_TENANT)).map(({ id }) => id);
  const able = async () => (await rows(`${OWNERS} and u.status = 'active'`, DEFAULT_TENANT)).map(({ id }) => id);
  const fresh = async (count = 1) => {
    await own.d1.prepare("delete from member_role where role_id = (select id from role where tenant_id is null and name = 'owner')").run();
    return Promise.all(Array.from({ length: count }, () => signUp(own, { roles: ["owner"] })));
  };
  const member = async (id) => (await rows("select id from member where user_id = ? and tenant_id = ?", id, DEFAULT_TENANT))[0].id;
  try {
    await t.test("alone", async () => {
      const [last] = await fresh();
      for (const [path, body] of [
        ["/admin/set-role", { userId: last.id, role: "user" }],
        ["/admin/set-role", { userId: last.id, role: ["admin", "member"] }],
        ["/admin/update-user", { userId: last.id, data: { role: "admin" } }],
        ["/admin/remove-user", { userId: last.id }],
        ["/admin/ban-user", { userId: last.id }],
        ["/admin/deactivate-user", { userId: last.id }],
        ["/organization/leave", { organizationId: DEFAULT_TENANT }],
        ["/organization/remove-member", { memberIdOrEmail: last.email, organizationId: DEFAULT_TENANT }],
        ["/organization/update-member-role", { memberId: await member(last.id), role: "member", organizationId: DEFAULT_TENANT }],
      ]) {
        const answer = await post(last, path, body);
        assert.equal(answer.status, 400, `${path} ${JSON.stringify(body)}: ${answer.text}`);
        assert.deepEqual(await able(), [last.id], path);
      }
    });
    await t.test("by deleting their own account", async () => {
      const [last] = await fresh();
      const answer = await post(last, "/delete-user", { password: PASSWORD });
      assert.ok((await able()).length === 1, `delete-user: ${answer.status} ${answer.text}, and nobody owns the default tenant`);
    });
    for (const [name, act] of [
      ["demote", (who, other) => ask(who, "set-role", { userId: other.id, role: "user" })],
      ["demote themselves", (who) => ask(who, "set-role", { userId: who.id, role: "user" })],
      ["remove", (who, other) => ask(who, "remove-user", { userId: other.id })],
      ["ban", (who, other) => ask(who, "ban-user", { userId: other.id })],
      ["deactivate", (who, other) => ask(who, "deactivate-user", { userId: other.id })],
    ]) {
      await t.test(`two at once ${name}`, async () => {
        for (let round = 0; round < 5; round += 1) {
          const [a, b] = await fresh(2);
          const answers = await Promise.all([act(a, b), act(b, a), act(copy(a), b), act(copy(b), a)]);
          assert.ok(
            answers.every(({ status }) => status < 500),
            JSON.stringify(answers.map(told)),
          );
          assert.ok((await owners()).length >= 1, `${name}: no owner: ${JSON.stringify(answers.map(told))}`);
          assert.ok((await able()).length >= 1, `${name}: no owner who may sign in: ${JSON.stringify(answers.map(told))}`);
        }
      });
    }
    await t.test("one whose fellow is banned", async () => {
      const [a, b] = await fresh(2);
      assert.equal((await ask(a, "ban-user", { userId: b.id })).status, 200);
      const answer = await ask(a, "set-role", { userId: a.id, role: "user" });
      assert.deepEqual(await able(), [a.id], `demoted beside a banned owner: ${answer.status} ${answer.text}`);
    });
  } finally {
    await own.dispose();
  }
});

test("whoever removes an organization's only owner is told, or leaves it with one", async () => {
  const who = await signUp(worker);
  const made = await post(who, "/organization/create", { name: "Acme", slug: `acme-${randomUUID()}` });
  assert.equal(made.status, 200, made.text);
  const answer = await ask(admin, "remove-user", { userId: who.id });
  const owners = await worker.rows(
    `select m.id from member m join member_role r on r.member_id = m.id join role o on o.id = r.role_id and o.name = 'owner'
       where m.tenant_id = ?`,
    made.json.id,
  );
  assert.ok(answer.status === 200 || answer.status === 400, answer.text);
  // Its other members are not left behind unowned; alone, an organization may end with its owner.
  if (answer.status === 400) assert.equal(owners.length, 1);
});

/** A client's tokens in somebody's name. */
async function granted(who) {
  const made = await admin.browser.post(at("/admin/oauth2/create-client"), {
    client_name: "App",
    redirect_uris: ["https://app.example/cb"],
    grant_types: ["authorization_code", "refresh_token"],
  });
  assert.equal(made.status, 201, made.text);
  const { client_id, client_secret } = made.json;
  const verifier = randomBytes(32).toString("base64url");
  const query = new URLSearchParams({
    client_id,
    response_type: "code",
    redirect_uri: "https://app.example/cb",
    scope: "openid offline_access",
    code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    code_challenge_method: "S256",
  });
  let answer = await who.browser.get(`${AUTH}/oauth2/authorize?${query}`, { headers: PAGE });
  if (answer.location?.startsWith("/consent")) {
    const page = await who.browser.get(`${AUTH}${answer.location}`, { headers: PAGE });
    const [, request_uri] = page.text.match(/name="request_uri" value="([^"]+)"/);
    answer = await who.browser.submit(`${AUTH}/consent`, { client_id, request_uri, decision: "allow" });
  }
  const send = (path, form) =>
    worker.browser().send("POST", `${AUTH}/oauth2/${path}`, {
      body: new URLSearchParams(form).toString(),
      headers: {
        "content-type": "application/x-www-form-urlencoded",
        authorization: `Basic ${Buffer.from(`${client_id}:${client_secret}`).toString("base64")}`,
      },
    });
  let { refresh_token, access_token } = (
    await send("token", {
      grant_type: "authorization_code",
      code: new URL(answer.location).searchParams.get("code"),
      redirect_uri: "https://app.example/cb",
      code_verifier: verifier,
    })
  ).json;
  return async () => {
    const active = (await send("introspect", { token: access_token })).json.active;
    const refreshed = await send("token", { grant_type: "refresh_token", refresh_token });
    if (refreshed.status === 200) ({ refresh_token, access_token } = refreshed.json);
    return [active, refreshed.status];
  };
}

test("a ban, a deactivation, a removal and a new password end sessions, those of websites, and what clients hold", async () => {
  for (const [name, end] of [
    ["ban", (id) => ask(admin, "ban-user", { userId: id, banReason: "spam" })],
    ["deactivation", (id) => ask(admin, "deactivate-user", { userId: id })],
    ["removal", (id) => ask(admin, "remove-user", { userId: id })],
    ["set password", (id) => ask(admin, "set-user-password", { userId: id, newPassword: NEW })],
  ]) {
    const who = await signUp(worker);
    const others = { ...who, browser: worker.browser() };
    assert.equal((await signIn(who, PASSWORD, others.browser)).status, 200);
    assert.equal((await visit(who.browser, `${APP}/`)).status, 200);
    const asked = await granted(who);
    assert.deepEqual(await asked(), [true, 200], name);
    const answer = await end(who.id);
    assert.equal(answer.status, 200, answer.text);
    assert.equal(await living(who.id), 0, name);
    for (const one of [who, others]) assert.equal(await session(one), null, name);
    assert.equal((await who.browser.get(`${APP}/`, { headers: API })).status, 401, `${name}: the website`);
    assert.deepEqual(await asked(), [false, 400], `${name}: a client's tokens`);
  }
});

test("banned: no way in, until the time is up, or it is lifted", async () => {
  const who = await signUp(worker);
  const link = async () => {
    await post(nobody(), "/sign-in/magic-link", { email: who.email });
    return (await mails(who.email)).find(({ subject }) => subject === "Your sign-in link")?.text.match(/https?:\S+/)[0];
  };
  const [before, victims] = [await link(), await impersonating(who)];
  const answer = await ask(admin, "ban-user", { userId: who.id, banReason: "spam", banExpiresIn: 60 });
  const { user } = answer.json;
  assert.deepEqual([user.banned, user.banReason, user.status, user.statusReason], [true, "spam", "suspended", "spam"]);
  assert.ok(Math.abs(Date.parse(user.banExpires) - Date.now() - 60_000) < 5000, user.banExpires);
  assert.equal(await session(victims), null, "the administrator as them");
  assert.deepEqual(told(await signIn(who)), [403, "BANNED_USER"]);
  assert.deepEqual(told(await signIn(who, "wrong password")), [401, "INVALID_EMAIL_OR_PASSWORD"]);
  assert.ok(!opens(await worker.browser().followMailedLink(before)), "a link from before");
  assert.deepEqual(told(await ask(admin, "impersonate-user", { userId: who.id })), [403, "BANNED_USER"]);
  const again = (await ask(admin, "ban-user", { userId: who.id })).json.user;
  assert.deepEqual([again.banReason, again.banExpires], ["No reason", null]);
  await ask(admin, "ban-user", { userId: who.id, banExpiresIn: 3600 });
  await change("update user set suspended_until = ? where id = ?", Date.now() - 1, who.id);
  const over = (await admin.browser.get(at(`/admin/get-user?id=${who.id}`))).json;
  assert.deepEqual([over.banned, over.banReason, over.banExpires], [false, null, null], "a ban that is over");
  assert.equal(
    (await admin.browser.get(at(`/admin/list-users?filterField=banned&filterValue=true&searchValue=${who.email}`))).json.total,
    0,
  );
  assert.equal((await signIn(who)).status, 200, "when the time is up");
  assert.equal((await ask(admin, "ban-user", { userId: who.id, banExpiresIn: 0 })).json.user.banExpires, null);
  assert.equal((await signIn(who)).status, 403);
  const lifted = (await ask(admin, "unban-user", { userId: who.id })).json.user;
  assert.deepEqual([lifted.banned, lifted.banReason, lifted.banExpires, lifted.status], [false, null, null, "active"]);
  assert.equal((await ask(admin, "unban-user", { userId: who.id })).status, 200, "twice");
  assert.equal((await signIn(who)).status, 200);
  assert.deepEqual(told(await ask(admin, "ban-user", { userId: admin.id })), [400, "YOU_CANNOT_BAN_YOURSELF"]);
  for (const banExpiresIn of [-1, -5, 1.5, "60", 1e12, 1e400, true, [], {}, NaN])
    if (banExpiresIn !== 1e400 && !Number.isNaN(banExpiresIn))
      assert.deepEqual(told(await ask(admin, "ban-user", { userId: who.id, banExpiresIn })), [400, "VALIDATION_ERROR"], `${banExpiresIn}`);
  assert.equal((await userOf(who.id)).status, "active");
});

test("whoever is banned and removed leaves no organization of others without owner", async () => {
  const [boss, worker_] = [await signUp(worker), await signUp(worker)];
  const made = (await post(boss, "/organization/create", { name: "Acme", slug: `acme-${randomUUID()}` })).json;
  await giveRole(worker, worker_.id, "member", made.id);
  assert.equal((await ask(admin, "ban-user", { userId: boss.id, banExpiresIn: 3600 })).status, 200);
  const refused = await ask(admin, "remove-user", { userId: boss.id });
  assert.deepEqual(
    [refused.status, (await worker.rows("select status from user where id = ?", boss.id))[0].status],
    [400, "suspended"],
    refused.text,
  );
  const chief = await signUp(worker, { roles: ["owner"] });
  await worker.d1.prepare("update user set email_verified = 1 where id = ?").bind(worker_.id).run();
  const appointed = await chief.browser.send("PATCH", at(`/admin/tenants/${made.id}`), {
    headers: { origin: AUTH },
    body: { owner: { email: worker_.email } },
  });
  assert.equal(appointed.status, 200, appointed.text);
  assert.equal((await ask(admin, "remove-user", { userId: boss.id })).status, 200);
});

test("nobody of the default tenant reads what another is there, but who may list them", async () => {
  const plain = await signUp(worker);
  const read = (who, id) => who.browser.get(at(`/organization/get-active-member-role?organizationSlug=default&userId=${id}`));
  assert.equal((await read(plain, admin.id)).status, 403);
  assert.equal((await read(plain, plain.id)).status, 200);
  assert.equal((await read(admin, plain.id)).status, 200);
});

test("users are made where every user is given what their maker does not hold", async () => {
  const made = (
    await post(owner, "/organization/create-role", {
      role: `all-${randomUUID()}`,
      permission: { project: ["read"] },
      additionalFields: { isDefault: true },
      organizationId: DEFAULT_TENANT,
    })
  ).json;
  try {
    const answer = await ask(admin, "create-user", { email: uniqueEmail(), name: "N", password: PASSWORD });
    assert.equal(answer.status, 200, answer.text);
  } finally {
    await worker.d1.prepare("delete from role where id = ?").bind(made.roleData.id).run();
  }
});

test("a user with a role that is switched off is looked after by who holds the rest", async () => {
  const made = (
    await post(owner, "/organization/create-role", {
      role: `off-${randomUUID()}`,
      permission: { organization: ["delete"] },
      organizationId: DEFAULT_TENANT,
    })
  ).json;
  const who = await signUp(worker);
  await worker.d1
    .prepare("insert into member_role (member_id, role_id, created_at) select id, ?, 0 from member where user_id = ?")
    .bind(made.roleData.id, who.id)
    .run();
  assert.equal((await ask(admin, "ban-user", { userId: who.id })).status, 403);
  await worker.d1.prepare("update role set is_active = 0 where id = ?").bind(made.roleData.id).run();
  assert.equal((await ask(admin, "ban-user", { userId: who.id })).status, 200);
});

test("deactivated and active again; neither undoes the other's work unseen", async () => {
  const who = await signUp(worker);
  const answer = await ask(admin, "deactivate-user", { userId: who.id, reason: "left" });
  const { user } = answer.json;
  assert.deepEqual([user.status, user.statusReason, user.banned, user.banReason], ["inactive", "left", false, null]);
  assert.ok(Math.abs(Date.parse(user.statusChangedAt) - Date.now()) < 5000);
  assert.ok(!opens(await signIn(who)), "signed in while inactive");
  assert.notEqual((await ask(admin, "impersonate-user", { userId: who.id })).status, 200);
  assert.equal((await ask(admin, "reactivate-user", { userId: who.id })).json.user.status, "active");
  assert.equal((await signIn(who)).status, 200);
  assert.equal((await ask(admin, "deactivate-user", { userId: admin.id })).status, 400, "oneself");
  // A ban is no deactivation: neither is a way out of the other, nor ends when the other does.
  await ask(admin, "ban-user", { userId: who.id, banReason: "fraud" });
  assert.deepEqual(told(await ask(admin, "deactivate-user", { userId: who.id })), [400, "USER_IS_BANNED"]);
  assert.equal((await ask(admin, "reactivate-user", { userId: who.id })).json.user.status, "suspended");
  assert.equal((await ask(admin, "unban-user", { userId: who.id })).json.user.status, "active");
  await ask(admin, "deactivate-user", { userId: who.id });
  assert.deepEqual(told(await ask(admin, "ban-user", { userId: who.id, banExpiresIn: 1 })), [400, "USER_IS_DEACTIVATED"]);
  assert.equal((await ask(admin, "unban-user", { userId: who.id })).json.user.status, "inactive");
  assert.ok(!opens(await signIn(who)));
  const events = (await worker.rows("select event from audit_event where subject = ? order by id", who.id)).map(({ event }) => event);
  assert.deepEqual(
    events.filter((event) => /^user\.(suspended|deactivated|restored|reactivated)/.test(event)),
    ["user.deactivated", "user.reactivated", "user.suspended", "user.restored", "user.deactivated"],
  );
});

test("a set password: the old one, sessions, links, codes and remembered devices are gone, and mail says so", async () => {
  const who = await signUp(worker);
  const email = encodeURIComponent(who.email);
  await change("update user set email_verified = 1 where id = ?", who.id);
  assert.equal((await post(nobody(), "/request-password-reset", { email: who.email })).status, 200);
  const [, token] = (await mails(who.email)).map(({ text }) => text.match(/reset-password\/([\w-]+)/)).find(Boolean);
  assert.equal((await post(nobody(), "/email-otp/request-password-reset", { email: who.email })).status, 200);
  const code = (await mails(who.email)).map(({ subject }) => subject.match(/^(\d{6}) is your/)?.[1]).find(Boolean);
  await change(
    "insert into trusted_device (id, user_id, token_hash, last_used_at, expires_at, created_at, updated_at) values (?, ?, ?, 1, ?, 1, 1)",
    randomUUID(),
    who.id,
    randomUUID(),
    Date.now() + HOUR,
  );
  const keys = await post(who, "/api-key/create", { name: "k" });
  for (const [newPassword, code] of [
    ["short", "PASSWORD_TOO_SHORT"],
    ["x".repeat(129), "PASSWORD_TOO_LONG"],
  ])
    assert.deepEqual(told(await ask(admin, "set-user-password", { userId: who.id, newPassword })), [400, code]);
  for (const newPassword of ["", null, 5, [], {}, "x".repeat(100_000)])
    assert.ok(
      [400, 413].includes((await ask(admin, "set-user-password", { userId: who.id, newPassword })).status),
      `${newPassword}`.slice(0, 9),
    );
  assert.equal((await signIn(who)).status, 200, "a refused password changed something");
  const sent = (await mails(who.email)).length;
  assert.deepEqual((await ask(admin, "set-user-password", { userId: who.id, newPassword: NEW })).json, { status: true });
  assert.equal(await session(who), null);
  assert.equal((await signIn(who)).status, 401, "the old password");
  assert.equal((await signIn(who, NEW)).status, 200);
  assert.equal((await post(nobody(), "/reset-password", { token, newPassword: "set by an old link" })).status, 400, "an old link");
  assert.equal(
    (await worker.rows("select id from trusted_device where user_id = ? and revoked_at is null", who.id)).length,
    0,
    "a remembered device",
  );
  const told2 = await mails(who.email);
  assert.equal(told2.length, sent + 1);
  assert.ok(!JSON.stringify(told2).includes(NEW), "the password was mailed");
  assert.equal(keys.status, 200, keys.text);
  assert.notEqual(code, undefined, `no code in ${email}'s mails`);
  assert.equal(
    (await post(nobody(), "/email-otp/reset-password", { email: who.email, otp: code, password: "set by an old code" })).status,
    400,
    "an old code",
  );
  assert.equal((await signIn(who, NEW)).status, 200);
  // Somebody who never had one, and a locked one.
  const bare = (await ask(admin, "create-user", { email: uniqueEmail(), name: "Bare" })).json.user;
  assert.equal((await signIn(bare)).status, 401);
  assert.equal((await ask(admin, "set-user-password", { userId: bare.id, newPassword: NEW })).status, 200);
  assert.equal((await signIn(bare, NEW)).status, 200);
  const logs = worker.logs();
  assert.ok(
    !logs.includes(NEW) && !JSON.stringify(await worker.rows("select details from audit_event")).includes(NEW),
    "the password was written down",
  );
});

test("removed: no way in is left, the address is free, and counts are right", async () => {
  const counts = async () => [
    await one("select user_count as users, member_count as members from tenant where id = ?", DEFAULT_TENANT),
    (await admin.browser.get(at("/admin/list-users?limit=1"))).json.total,
    (await one("select count(*) as n from user where tenant_id is null and deleted_at is null")).n,
    (await one("select count(*) as n from member where tenant_id = ?", DEFAULT_TENANT)).n,
  ];
  const consistent = ([{ users, members }, total, real, realMembers]) =>
    assert.deepEqual([users, total, members], [real, real, realMembers]);
  const [before, who] = [await counts(), await signUp(worker)];
  consistent(before);
  await change("update user set email_verified = 1 where id = ?", who.id);
  await post(nobody(), "/request-password-reset", { email: who.email });
  const [, token] = (await mails(who.email)).map(({ text }) => text.match(/reset-password\/([\w-]+)/)).find(Boolean);
  await post(nobody(), "/sign-in/magic-link", { email: who.email });
  const link = (await mails(who.email)).find(({ subject }) => subject === "Your sign-in link").text.match(/https?:\S+/)[0];
  const key = (await post(who, "/api-key/create", { name: "k" })).json.key;
  assert.deepEqual(told(await ask(admin, "remove-user", { userId: admin.id })), [400, "YOU_CANNOT_REMOVE_YOURSELF"]);
  assert.deepEqual((await ask(admin, "remove-user", { userId: who.id, reason: "asked for" })).json, { success: true });
  assert.deepEqual(told(await ask(admin, "remove-user", { userId: who.id })), [404, "USER_NOT_FOUND"]);
  assert.deepEqual(await counts(), before);
  const row = await userOf(who.id);
  assert.deepEqual([row.status, row.deleted_by, row.deleted_at > 0], ["deleted", admin.id, true], "a soft delete");
  assert.equal((await signIn(who)).status, 401);
  assert.equal((await post(nobody(), "/reset-password", { token, newPassword: NEW })).status, 400);
  assert.equal((await one("select count(*) as n from account where user_id = ?", who.id)).n, 0);
  assert.equal((await worker.browser().get(at("/organization/list-members"), { headers: { "x-api-key": key } })).status, 401);
  const again = await signUp2(who.email);
  assert.notEqual(again.id, who.id);
  const followed = nobody();
  await followed.browser.followMailedLink(link);
  assert.notEqual((await session(followed))?.user.id, who.id, "a link to the removed account");
  for (const name of WRITES.filter((name) => name !== "revoke-user-session"))
    assert.equal((await request(name, copy(owner), who)).status, 404, name);
  assert.deepEqual(told(await ask(admin, "create-user", { email: who.email.toUpperCase(), name: "N" })), [
    400,
    "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL",
  ]);
  consistent(await counts());
  // Twice at once is once.
  const twice = await signUp(worker);
  const answers = await times(10, () => ask(copy(admin), "remove-user", { userId: twice.id }));
  assert.ok(
    answers.every(({ status }) => [200, 404].includes(status)),
    JSON.stringify(answers.map(told)),
  );
  consistent(await counts());
});
async function signUp2(email) {
  const answer = await post(nobody(), "/sign-up/email", { email, password: NEW, name: "Again" });
  assert.equal(answer.status, 200, answer.text);
  return answer.json.user;
}

test("who acts as somebody: an hour, no further, and back where they came from", async () => {
  const who = await signUp(worker);
  const by = copy(admin);
  const own = jar(by).get("doorward.session");
  const begun = await ask(by, "impersonate-user", { userId: who.id });
  assert.deepEqual([begun.json.user.id, begun.json.session.impersonatedBy], [who.id, admin.id]);
  const life = Date.parse(begun.json.session.expiresAt) - Date.now();
  assert.ok(life > HOUR - 10_000 && life <= HOUR, `lives ${life} ms`);
  const line = begun.cookies.find((cookie) => cookie.startsWith("doorward.administrator="));
  assert.match(line, /HttpOnly/i);
  assert.ok(Number(line.match(/Max-Age=(\d+)/i)?.[1] ?? 0) <= 3600, line);
  const seen = await session(by);
  assert.deepEqual([seen.user.id, seen.session.impersonatedBy], [who.id, admin.id]);
  // The user sees it, and may end it.
  const listed = (await who.browser.get(at("/list-sessions"))).json;
  assert.ok(
    listed.some(({ impersonatedBy }) => impersonatedBy === admin.id),
    "unseen by its user",
  );
  for (const path of ["impersonate-user"])
    for (const target of [who, await signUp(worker)]) assert.equal((await ask(by, path, { userId: target.id })).status, 403, "nested");
  // A website is told who it is in truth, and for no longer.
  assert.equal((await visit(by.browser, `${APP}/`)).status, 200);
  const claims = JSON.parse(Buffer.from(origin.last().headers["x-doorward-assertion"].split(".")[1], "base64url"));
  assert.deepEqual([claims.sub, claims.act], [who.id, { sub: admin.id }]);
  // Not prolonged, whatever uses it.
  const ends = async () =>
    (await worker.rows("select expires_at from session where impersonated_by = ? and user_id = ?", admin.id, who.id)).map(
      ({ expires_at }) => expires_at,
    );
  const soon = Date.now() + 60_000;
  await change(
    `update session set expires_at = ?, created_at = 1, updated_at = 1, last_activity_at = 1 where user_id = ?
       and impersonated_by is not null`,
    soon,
    who.id,
  );
  await session(by);
  await by.browser.get(at("/list-sessions"));
  await by.browser.get(`${APP}/`, { headers: API });
  await post(by, "/update-user", { preferences: { theme: "dark" } });
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.deepEqual(await ends(), [soon, soon], "prolonged by use");
  await change("update session set expires_at = ? where user_id = ? and impersonated_by is not null", Date.now() - 1, who.id);
  assert.equal(await session(copy(by)), null, "after its hour");
  assert.equal((await by.browser.get(`${APP}/`, { headers: API })).status, 401);
  assert.equal((await session({ browser: copyOf(own) })).user.id, admin.id, "the administrator's own");

  const second = await impersonating(who);
  const back = await ask(second, "stop-impersonating");
  assert.deepEqual([back.status, back.json.user.id, back.json.session.impersonatedBy], [200, admin.id, null]);
  assert.equal(jar(second).has("doorward.administrator"), false);
  assert.equal((await session(second)).user.id, admin.id);
  assert.deepEqual(told(await ask(second, "stop-impersonating")).slice(0, 1), [400], "twice");
  assert.equal((await ask(who, "stop-impersonating")).status, 400);
  assert.equal((await ask(nobody(), "stop-impersonating")).status, 401);
  assert.equal(
    (
      await worker.rows(
        "select id from session where user_id = ? and impersonated_by is not null and revoked_at is null and expires_at > ?",
        who.id,
        Date.now(),
      )
    ).length,
    0,
  );
});
function copyOf(cookie) {
  const browser = worker.browser();
  browser.cookies("auth.localhost").set("doorward.session", cookie);
  return browser;
}

test("the cookie that keeps an administrator's own session signs nobody else in", async () => {
  const [who, thief] = [await signUp(worker), await signUp(worker)];
  const [victim, other] = [await impersonating(who), await signUp(worker, { roles: ["admin"] })];
  const stolen = jar(victim).get("doorward.administrator");
  const theirs = await impersonating(thief, other);
  const planted = (from, value = stolen) => {
    const twin = copy(from);
    jar(twin).set("doorward.administrator", value);
    return twin;
  };
  for (const [name, person] of [
    [
      "another browser",
      (() => {
        const one = nobody();
        jar(one).set("doorward.administrator", stolen);
        return one;
      })(),
    ],
    ["a plain session", planted(thief)],
    ["another administrator's impersonation", planted(theirs)],
    ["its own session beside", planted(other)],
  ]) {
    const answer = await ask(person, "stop-impersonating");
    assert.notEqual(answer.status, 200, name);
    assert.ok(!answer.text.includes(admin.id), name);
    assert.notEqual((await session(person))?.user.id, admin.id, name);
  }
  for (const value of ["", "x", `${stolen}x`, stolen.split(".")[0], "a.b", jar(thief).get("doorward.session")]) {
    const answer = await ask(planted(await impersonating(await signUp(worker)), value), "stop-impersonating");
    assert.ok([400, 401].includes(answer.status) && !opens(answer), `${value}: ${answer.status}`);
  }
  assert.equal((await session(victim)).user.id, who.id, "the honest one is still there");
  // Without it there is no way back but signing in.
  const lost = await impersonating(await signUp(worker));
  jar(lost).delete("doorward.administrator");
  assert.equal((await ask(lost, "stop-impersonating")).status, 401);
  assert.equal(await session(lost), null);
});

test("an impersonation ends with its administrator's sessions; signing out ends both", async () => {
  for (const [name, end] of [
    ["ban", (by) => ask(owner, "ban-user", { userId: by.id })],
    ["deactivation", (by) => ask(owner, "deactivate-user", { userId: by.id })],
    ["removal", (by) => ask(owner, "remove-user", { userId: by.id })],
    ["revoke-user-sessions", (by) => ask(owner, "revoke-user-sessions", { userId: by.id })],
    ["a set password", (by) => ask(owner, "set-user-password", { userId: by.id, newPassword: NEW })],
    ["revoke-sessions", (by) => post(by, "/revoke-sessions")],
    [
      "a changed password",
      (by) => post(by, "/change-password", { currentPassword: PASSWORD, newPassword: NEW, revokeOtherSessions: true }),
    ],
  ]) {
    const [by, who] = [await signUp(worker, { roles: ["admin"] }), await signUp(worker)];
    const acting = await impersonating(who, by);
    assert.equal((await visit(acting.browser, `${APP}/`)).status, 200);
    const ended = await end(by);
    assert.equal(ended.status, 200, ended.text);
    assert.equal(await session(copy(acting)), null, name);
    assert.equal((await acting.browser.get(`${APP}/`, { headers: API })).status, 401, `${name}: at the website`);
    assert.notEqual((await ask(acting, "stop-impersonating")).status, 200, name);
    assert.ok((await session(who)).user.id, `${name}: the user's own session`);
  }
  const [by, who] = [await signUp(worker, { roles: ["admin"] }), await signUp(worker)];
  const acting = await impersonating(who, by);
  const kept = copy(acting);
  const out = await post(acting, "/sign-out");
  assert.equal(out.status, 200);
  assert.equal(jar(acting).has("doorward.administrator"), false);
  for (const one of [kept, by]) assert.equal(await session(one), null, "signed out is signed out");
  assert.notEqual((await ask(kept, "stop-impersonating")).status, 200);
  assert.ok((await session(who)).user.id);
});

test("an impersonation ends with the right to it", async () => {
  const [by, who] = [await signUp(worker, { roles: ["admin"] }), await signUp(worker)];
  const acting = await impersonating(who, by);
  assert.equal((await ask(owner, "set-role", { userId: by.id, role: "user" })).status, 200);
  assert.equal(await session(acting), null, "a demoted administrator is still somebody else");
});

test("a token of an impersonation names its administrator, as the gate's assertion does", async () => {
  const acting = await impersonating(await signUp(worker));
  const answer = await acting.browser.get(at("/token"));
  if (answer.status !== 200) return;
  assert.deepEqual(JSON.parse(Buffer.from(answer.json.token.split(".")[1], "base64url")).act, { sub: admin.id });
});

test("whoever acts as somebody changes nothing of how they sign in, agrees to nothing, and administers nothing", async () => {
  const who = await signUp(worker);
  await change("update user set phone_number = '+4930123456', phone_number_verified = 1 where id = ?", who.id).catch(() => {});
  const made = await post(who, "/organization/create", { name: "Acme", slug: `acme-${randomUUID()}` });
  const other = await signUp(worker);
  const key = (await post(who, "/api-key/create", { name: "k" })).json;
  const acting = await impersonating(who);
  const state = async () =>
    JSON.stringify([
      await one(
        "select email, email_verified, username, display_username, phone_number, status, deleted_at from user where id = ?",
        who.id,
      ),
      await worker.rows("select id, password_hash from account where user_id = ?", who.id),
      await worker.rows("select id from two_factor where user_id = ?", who.id),
      await worker.rows(
        "select id, name, enabled, permissions from api_key where user_id = ? or created_by = ? order by id",
        who.id,
        who.id,
      ),
      await worker.rows(
        "select m.user_id, r.role_id from member m left join member_role r on r.member_id = m.id where m.tenant_id = ? order by 1, 2",
        made.json.id,
      ),
      await worker.rows("select email, status from invitation where tenant_id = ?", made.json.id),
      await worker.rows("select id from passkey where user_id = ?", who.id),
      await worker.rows("select status, name, security_policy from tenant where id = ?", made.json.id),
      await worker.rows("select id, name from role where tenant_id = ?", made.json.id),
      (await one("select count(*) as n from tenant")).n,
    ]);
  const organizationId = made.json.id;
  const member = await one("select id from member where tenant_id = ? and user_id = ?", organizationId, who.id);
  const refused = [];
  for (const [path, body, method = "POST"] of [
    ["/change-password", { currentPassword: PASSWORD, newPassword: NEW }],
    ["/change-email", { newEmail: uniqueEmail() }],
    ["/delete-user", { password: PASSWORD }],
    ["/delete-user", {}],
    ["/email-otp/request-email-change", { newEmail: uniqueEmail() }],
    ["/email-otp/change-email", { newEmail: uniqueEmail(), otp: "000000" }],
    ["/two-factor/enable", { password: PASSWORD }],
    ["/two-factor/disable", { password: PASSWORD }],
    ["/two-factor/generate-backup-codes", { password: PASSWORD }],
    ["/two-factor/get-totp-uri", { password: PASSWORD }],
    ["/passkey/generate-register-options", null, "GET"],
    ["/link-social", { provider: "google", callbackURL: "/" }],
    ["/unlink-account", { accountId: "x" }],
    ["/update-user", { username: "taken_over" }],
    ["/update-user", { phoneNumber: null }],
    ["/one-time-token/generate", null, "GET"],
    ["/api-key/create", { name: "mine" }],
    ["/api-key/update", { keyId: key.id, name: "mine" }],
    ["/api-key/delete", { keyId: key.id }],
    ["/api-key/create", { name: "mine", organizationId }],
    ["/oauth2/create-client", { client_name: "A", redirect_uris: ["https://a.example/cb"] }],
    ["/organization/delete", { organizationId }],
    ["/organization/update", { organizationId, data: { name: "Mine" } }],
    ["/organization/invite-member", { organizationId, email: admin.email, role: "owner" }],
    ["/organization/update-member-role", { organizationId, memberId: member.id, role: "admin,owner" }],
    ["/organization/create-role", { organizationId, role: "mine", permission: { ac: ["read"] } }],
    ["/organization/security-policy", { organizationId, securityPolicy: {} }, "PUT"],
    ["/admin/ban-user", { userId: other.id }],
    ["/admin/list-users", null, "GET"],
    ["/admin/oauth2/create-client", { client_name: "A", redirect_uris: ["https://a.example/cb"] }],
    ["/admin/issuers", null, "GET"],
    ["/admin/impersonate-user", { userId: other.id }],
  ]) {
    const before = await state();
    const answer = await acting.browser.send(method, at(path), { body: body ?? undefined, headers: { origin: AUTH } });
    const isChanged = (await state()) !== before;
    if (answer.status < 400 || isChanged)
      refused.push(`${method} ${path} ${JSON.stringify(body)}: ${answer.status}${isChanged ? ", and it is changed" : ""}`);
  }
  for (const path of ["/account/devices/forget", "/account/second-factor"]) {
    const answer = await acting.browser.submit(`${AUTH}${path}`, { action: "begin", password: PASSWORD });
    if (answer.status < 400) refused.push(`POST ${path}: ${answer.status} ${answer.location}`);
  }
  const made2 = (
    await admin.browser.post(at("/admin/oauth2/create-client"), { client_name: "App", redirect_uris: ["https://app.example/cb"] })
  ).json;
  const query = new URLSearchParams({
    client_id: made2.client_id,
    response_type: "code",
    redirect_uri: "https://app.example/cb",
    scope: "openid",
    code_challenge: "a".repeat(43),
    code_challenge_method: "S256",
  });
  const consent = await acting.browser.get(`${AUTH}/oauth2/authorize?${query}`, { headers: PAGE });
  if (consent.location?.includes("code=") || consent.location?.startsWith("/consent")) refused.push(`authorize: ${consent.location}`);
  assert.deepEqual(refused, []);
});

test("list-users: each operator and field, literally, and page by page", async () => {
  const host = "http://thirty.localhost";
  const tenant = await seedTenant(worker, { slug: "thirty", pool: "isolated" });
  await seedDomain(worker, tenant, "thirty.localhost");
  const boss = await signUp(worker, { host, tenant, roles: ["owner"], name: "Boss" });
  await change("update user set created_at = 0, email = 'boss@zz.example' where id = ?", boss.id);
  const NAMES = [
    "100% sure",
    "under_score",
    "back\\slash",
    "O'Brien",
    'double"quote',
    "Zoë Ångström",
    "ÉCLAIR",
    "naïve",
    "percent%percent",
    "semi;colon",
    "-- comment",
    "?1",
    "ten",
    "TEN",
    "x".repeat(120),
  ];
  const people = Array.from({ length: 29 }, (_, n) => ({
    id: randomUUID(),
    name: NAMES[n] ?? `Person ${n}`,
    email: `p${String(n).padStart(2, "0")}_${n % 3 ? "a" : "b"}@${n % 2 ? "odd" : "even"}.example`,
    created_at: n < 20 ? 1000 : 2000 + n,
    updated_at: 3000 + n,
    email_verified: n % 2,
    status: n === 5 ? "suspended" : n === 6 ? "suspended" : n === 7 ? "inactive" : "active",
    suspended_until: n === 6 ? 5 : null,
    last_login_at: n < 3 ? 4000 + n : null,
  }));
  for (const p of people) {
    await change(
      `insert into user (id, tenant_id, email, name, created_at, updated_at, email_verified, status, suspended_until, last_login_at)
         values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      p.id,
      tenant,
      p.email,
      p.name,
      p.created_at,
      p.updated_at,
      p.email_verified,
      p.status,
      p.suspended_until,
      p.last_login_at,
    );
  }
  await giveRole(worker, people[3].id, "admin", tenant);
  const list = (query) => boss.browser.get(at(`/admin/list-users?${typeof query === "string" ? query : new URLSearchParams(query)}`, host));
  const all = [{ ...boss, email: "boss@zz.example", name: "Boss", created_at: 0, status: "active", email_verified: 0 }, ...people];
  assert.equal((await list("limit=1000")).json.total, 30);
  const failures = [];
  const expects = async (query, wanted) => {
    const answer = await list(query);
    const [got, want] = [
      answer.status === 200 ? answer.json.users.map(({ email }) => email).sort() : [`${answer.status} ${answer.text}`],
      all
        .filter(wanted)
        .map(({ email }) => email)
        .sort(),
    ];
    if (JSON.stringify(got) !== JSON.stringify(want) || answer.json.total !== want.length)
      failures.push(
        `${JSON.stringify(query)}: ${got.length} of ${answer.json.total}, not ${want.length}: ${JSON.stringify(got).slice(0, 200)}`,
      );
  };
  const lower = (text) => text.toLowerCase();
  for (const [operator, test] of [
    ["contains", "includes"],
    ["starts_with", "startsWith"],
    ["ends_with", "endsWith"],
  ]) {
    for (const value of [
      "p0",
      "_b@",
      "%",
      "_",
      "\\",
      "example",
      "ODD",
      "p00_b@even.example",
      "' or '1'='1",
      "a%' --",
      "*",
      "?",
      "x".repeat(46),
    ])
      await expects({ searchValue: value, searchOperator: operator }, ({ email }) => lower(email)[test](lower(value)));
    for (const value of [
      "100%",
      "%",
      "_",
      "under_",
      "back\\",
      "\\",
      "O'B",
      "'",
      '"',
      ";",
      "--",
      "?1",
      "Person 2",
      "tEn",
      "zoë",
      "Zoë",
      "x".repeat(46),
    ]) {
      await expects({ searchValue: value, searchField: "name", searchOperator: operator }, ({ name }) => lower(name)[test](lower(value)));
      await expects({ filterField: "name", filterValue: value, filterOperator: operator }, ({ name }) => lower(name)[test](lower(value)));
    }
  }
  for (const [query, wanted] of [
    [{ filterField: "email", filterValue: people[4].email }, (p) => p === people[4]],
    [{ filterField: "email", filterValue: people[4].email, filterOperator: "ne" }, (p) => p !== people[4]],
    [{ filterField: "id", filterValue: people[9].id }, (p) => p === people[9]],
    [{ filterField: "_id", filterValue: people[9].id }, (p) => p === people[9]],
    [`filterField=id&filterOperator=in&filterValue=${people[1].id}&filterValue=${people[2].id}`, (p) => p === people[1] || p === people[2]],
    [
      `filterField=id&filterOperator=not_in&filterValue=${people[1].id}&filterValue=${people[2].id}`,
      (p) => p !== people[1] && p !== people[2],
    ],
    [{ filterField: "name", filterValue: "O'Brien" }, (p) => p === people[3]],
    [{ filterField: "banned", filterValue: "true" }, (p) => p === people[5]],
    [{ filterField: "banned", filterValue: "false" }, (p) => p !== people[5]],
    [{ filterField: "emailVerified", filterValue: "true" }, (p) => p.email_verified === 1],
    [{ filterField: "emailVerified", filterValue: "true", filterOperator: "ne" }, (p) => p.email_verified !== 1],
    [{ filterField: "status", filterValue: "inactive" }, (p) => p.status === "inactive"],
    [{ filterField: "status", filterValue: "susp", filterOperator: "starts_with" }, (p) => p.status === "suspended"],
    [{ filterField: "createdAt", filterValue: "1970-01-01T00:00:01.000Z", filterOperator: "gt" }, (p) => p.created_at > 1000],
    [{ filterField: "createdAt", filterValue: "1000", filterOperator: "gte" }, (p) => p.created_at >= 1000],
    [{ filterField: "createdAt", filterValue: "1000", filterOperator: "lt" }, (p) => p.created_at < 1000],
    [{ filterField: "createdAt", filterValue: "1000", filterOperator: "lte" }, (p) => p.created_at <= 1000],
    [{ filterField: "createdAt", filterValue: "1000" }, (p) => p.created_at === 1000],
    [{ filterField: "createdAt", filterValue: "1000", filterOperator: "ne" }, (p) => p.created_at !== 1000],
    [{ filterField: "updatedAt", filterValue: "3010", filterOperator: "lte" }, (p) => p.updated_at <= 3010],
    [{ filterField: "lastLoginAt", filterValue: "4001", filterOperator: "gte" }, (p) => p.last_login_at >= 4001 || p.id === boss.id],
    [{ filterField: "createdAt", filterValue: "9223372036854775807", filterOperator: "gt" }, () => false],
    [{ filterField: "createdAt", filterValue: "-9223372036854775808", filterOperator: "lt" }, () => false],
    [{ filterField: "createdAt", filterValue: "9223372036854775807", filterOperator: "lte" }, () => true],
    [{ filterField: "createdAt", filterValue: "9223372036854775807" }, () => false],
    [{ filterField: "role", filterValue: "admin" }, (p) => p === people[3] || p.id === boss.id],
    [{ filterField: "role", filterValue: "admin", filterOperator: "ne" }, (p) => p !== people[3] && p.id !== boss.id],
    [{ filterField: "role", filterValue: "user" }, (p) => p !== people[3] && p.id !== boss.id],
    [{ filterField: "role", filterValue: "nope" }, () => false],
    [{ searchValue: "odd", filterField: "emailVerified", filterValue: "true" }, (p) => p.email.includes("odd") && p.email_verified === 1],
    [{ searchValue: "" }, () => true],
    [{ filterField: "name", filterValue: "%" }, () => false],
    [{ filterField: "isAnonymous", filterValue: "false" }, () => true],
  ])
    await expects(query, wanted);
  assert.deepEqual(failures, []);

  const bad = [];
  for (const query of [
    "limit=-1",
    "limit=1001",
    "limit=abc",
    "limit=1.5",
    "limit=1e3",
    "limit=99999999999999999999",
    "offset=-1",
    "offset=abc",
    "offset=1e9",
    "offset=99999999999999999999",
    "sortBy=nope",
    "sortBy=password",
    "sortBy=u.id",
    "sortBy=name;drop",
    "sortBy=metadata",
    "sortDirection=up",
    "sortDirection=asc;",
    "searchValue=x&searchField=nope",
    "searchValue=x&searchField=password_hash",
    "searchValue=x&searchOperator=eq",
    `searchValue=${"x".repeat(257)}`,
    "filterField=nope&filterValue=x",
    "filterField=password&filterValue=x",
    "filterField=__proto__&filterValue=x",
    "filterField=constructor&filterValue=x",
    "filterField=role&filterValue=x&filterOperator=zz",
    "filterField=email&filterValue=x&filterOperator=gt",
    "filterField=createdAt&filterValue=bad&filterOperator=gt",
    "filterField=createdAt&filterValue=1&filterOperator=contains",
    "filterField=banned&filterValue=maybe",
    "filterField=emailVerified&filterValue=true&filterOperator=lt",
    "filterField=metadata&filterValue=x",
    "filterField=tenantId&filterValue=x",
    `filterField=email&filterValue=${"x".repeat(257)}`,
    `filterField=id&filterOperator=in&${"filterValue=x&".repeat(101)}`,
    "filterField=createdAt&filterValue=99999999999999999999",
  ]) {
    const answer = await list(query);
    if (answer.status !== 400 || answer.json.code !== "VALIDATION_ERROR")
      bad.push(`${query.slice(0, 60)}: ${answer.status} ${answer.text.slice(0, 80)}`);
  }
  assert.deepEqual(bad, []);

  for (const query of [
    "",
    "sortBy=createdAt",
    "sortBy=createdAt&sortDirection=desc",
    "sortBy=emailVerified",
    "sortBy=emailVerified&sortDirection=desc",
    "sortBy=name",
    "sortBy=email&sortDirection=desc",
    "sortBy=status",
    "sortBy=lastLoginAt",
    "sortBy=banned",
    "sortBy=updatedAt",
    "searchValue=example&sortBy=name",
    "filterField=role&filterValue=user",
  ]) {
    const whole = (await list(`${query}&limit=1000`)).json;
    const pages = [];
    for (let offset = 0; offset < whole.total; offset += 7) {
      const page = (await list(`${query}&limit=7&offset=${offset}`)).json;
      assert.deepEqual([page.limit, page.total, page.offset ?? 0], [7, whole.total, offset]);
      pages.push(...page.users.map(({ id }) => id));
    }
    assert.deepEqual(
      pages,
      whole.users.map(({ id }) => id),
      query,
    );
    assert.equal(new Set(pages).size, whole.total, query);
  }
  const sorted = (await list("sortBy=createdAt&sortDirection=desc&limit=1000")).json.users;
  assert.deepEqual(
    sorted.map(({ id }) => id),
    (await list("sortBy=createdAt&limit=1000")).json.users.map(({ id }) => id).reverse(),
  );
  assert.deepEqual((await list("offset=1000")).json.users, []);
  const text = (await list("limit=1000")).text;
  for (const secret of ["password", "hash", "token"]) assert.ok(!text.toLowerCase().includes(secret), `${secret} in the list`);
});

test("list-users searches for texts as long as it takes", async () => {
  const name = `A long name, ${"of several words, ".repeat(5)}${randomUUID()}`;
  const who = await signUp(worker, { name });
  const wrong = [];
  for (const length of [47, 48, 49, 50, 51, 60, name.length]) {
    for (const [searchOperator, searchValue] of [
      ["contains", name.slice(-length)],
      ["starts_with", name.slice(0, length)],
      ["ends_with", name.slice(-length)],
    ]) {
      const answer = await admin.browser.get(
        at(`/admin/list-users?${new URLSearchParams({ searchValue, searchOperator, searchField: "name", limit: 1000 })}`),
      );
      if (answer.status !== 200 || !answer.json.users.some(({ id }) => id === who.id))
        wrong.push(`${searchOperator} ${length}: ${answer.status} ${answer.text.slice(0, 60)}`);
    }
  }
  const most = await admin.browser.get(at(`/admin/list-users?searchValue=${"%25".repeat(200)}`));
  if (most.status !== 200) wrong.push(`200 percent signs: ${most.status}`);
  assert.deepEqual(wrong, []);
});

test("list-users searches in any case of ASCII's letters, and beyond them as they are", async () => {
  const who = await signUp(worker, { name: `Élise Größe ${randomUUID()}` });
  const found = async (searchValue) =>
    (
      await admin.browser.get(at(`/admin/list-users?${new URLSearchParams({ searchValue, searchField: "name", limit: 1000 })}`))
    ).json.users.some(({ id }) => id === who.id);
  for (const text of ["Élise", "ÉLISE", "GRöß"]) assert.ok(await found(text), text);
});

test("each field is judged: types, nulls, lengths, control characters, prototypes", async () => {
  const who = await signUp(worker);
  const before = await everything(who.id);
  const users = (await one("select count(*) as n from user")).n;
  const WRONG = [undefined, null, 5, true, [], {}, "", "   ", "x".repeat(101), "a\u0000b", "a\nb"];
  const failures = [];
  const check = async (path, body, wanted = [400]) => {
    const answer = await ask(copy(owner), path, body);
    if (!wanted.includes(answer.status))
      failures.push(`${path} ${JSON.stringify(body).slice(0, 120)}: ${answer.status} ${answer.text.slice(0, 100)}`);
  };
  for (const name of WRITES.filter((name) => name !== "revoke-user-session").concat("list-user-sessions"))
    for (const userId of WRONG) await check(name, { userId, ...MORE[name] });
  for (const sessionToken of [undefined, null, 5, true, [], {}, "x".repeat(101)]) await check("revoke-user-session", { sessionToken });
  for (const role of [
    undefined,
    null,
    5,
    true,
    {},
    "",
    " ",
    ",",
    [],
    [""],
    [5],
    [null],
    ["user", 5],
    ["user", null],
    [["owner"]],
    Array.from({ length: 101 }, (_, n) => `r${n}`),
  ]) {
    await check("set-role", { userId: who.id, role });
    if (role !== undefined) await check("create-user", { email: uniqueEmail(), name: "N", role });
    if (role !== undefined) await check("update-user", { userId: who.id, data: { role } });
  }
  for (const email of [
    undefined,
    null,
    5,
    [],
    "",
    "bad",
    "a@",
    "@b.c",
    "a b@c.example",
    "a@b.example\n",
    "a\u0000@b.example",
    `${"x".repeat(300)}@b.example`,
    "a@b.example,c@d.example",
  ]) {
    await check("create-user", { email, name: "N" });
    if (email !== undefined) await check("update-user", { userId: who.id, data: { email } });
  }
  for (const name of [null, 5, [], {}, "", "  ", "x".repeat(1000), "a\u0000b", "a\r\nb", "\u001b[2J"]) {
    await check("create-user", { email: uniqueEmail(), name });
    await check("update-user", { userId: who.id, data: { name } });
  }
  for (const password of [5, [], {}, "short", "x".repeat(129), "x".repeat(1e6)])
    await check("create-user", { email: uniqueEmail(), name: "N", password }, [400, 413]);
  for (const data of [
    null,
    5,
    "x",
    [],
    {},
    { unknown: 1 },
    { password: NEW },
    { id: "zz" },
    { createdAt: 1 },
    { banned: true },
    { status: "deleted" },
    { username: "x" },
    { phoneNumber: "+4930123456" },
    { twoFactorEnabled: false },
    { constructor: 1 },
    { emailVerified: "yes" },
    { emailVerified: 1 },
    { image: 5 },
    { image: "a\nb" },
    { image: "x".repeat(5_000) },
    { profile: [] },
    { profile: { made: "up" } },
    { profile: { constructor: "x" } },
    { metadata: [] },
    { metadata: "x" },
    { metadata: { a: "x".repeat(20_000) } },
    { metadata: JSON.parse(`${'{"a":'.repeat(9)}1${"}".repeat(9)}`) },
    { preferences: 5 },
    { emailPreferences: { security: false } },
    { emailPreferences: { made: true } },
    { "": 1 },
    { "name\u0000": "x" },
  ])
    await check("update-user", { userId: who.id, data });
  await check("update-user", { userId: who.id });
  await check("ban-user", { userId: who.id, banReason: "x".repeat(1001) });
  for (const banReason of [5, [], {}, "a\nb"]) await check("ban-user", { userId: who.id, banReason });
  for (const reason of [5, [], {}, "a\nb", "x".repeat(1001)])
    for (const path of ["deactivate-user", "remove-user"]) await check(path, { userId: who.id, reason });
  // Prototype keys, as text: JSON.stringify would lose them.
  for (const [path, body] of [
    ["update-user", `{"userId":"${who.id}","data":{"__proto__":{"role":"admin"}}}`],
    ["update-user", `{"__proto__":{"userId":"${who.id}"},"data":{"name":"x"}}`],
    ["create-user", `{"email":"${uniqueEmail()}","name":"N","data":{"__proto__":{"emailVerified":true}}}`],
    ["set-role", `{"userId":"${who.id}","__proto__":{"role":"admin"}}`],
    ["has-permission", '{"permissions":{"__proto__":["x"]}}'],
    ["set-role", "null"],
    ["set-role", "[]"],
    ["set-role", '"x"'],
    ["set-role", "{bad"],
    ["set-role", ""],
  ]) {
    const answer = await copy(owner).browser.send("POST", at(`/admin/${path}`), {
      body,
      headers: { origin: AUTH, "content-type": "application/json" },
    });
    if (answer.status !== 400) failures.push(`${path} ${body}: ${answer.status} ${answer.text.slice(0, 80)}`);
  }
  for (const query of ["", "?id=", "?id=%00", `?id=${"x".repeat(5000)}`, "?id[]=x", "?id=../x"]) {
    const answer = await owner.browser.get(at(`/admin/get-user${query}`));
    if (![400, 404].includes(answer.status)) failures.push(`get-user${query.slice(0, 20)}: ${answer.status}`);
  }
  assert.deepEqual(failures, []);
  assert.equal(await everything(who.id), before);
  assert.equal((await one("select count(*) as n from user")).n, users, "a refused user was created");
});

test("what is kept of a user is merged, bounded, and shown", async () => {
  const who = await signUp(worker);
  const update = (data) => ask(admin, "update-user", { userId: who.id, data });
  const first = await update({
    metadata: { plan: "gold", n: 1 },
    preferences: { theme: "dark" },
    profile: { title: "Dr" },
    emailPreferences: { marketing: false },
  });
  assert.equal(first.status, 200, first.text);
  const second = (await update({ metadata: { n: null, m: { x: 1 } } })).json;
  assert.deepEqual([second.metadata, second.preferences, second.profile.title], [{ plan: "gold", m: { x: 1 } }, { theme: "dark" }, "Dr"]);
  const created = await ask(admin, "create-user", {
    email: uniqueEmail(),
    name: "N",
    data: { image: "https://i.example/x.png", emailVerified: true, metadata: { a: 1 } },
  });
  assert.deepEqual(
    [created.json.user.emailVerified, created.json.user.image, created.json.user.metadata, created.json.user.role],
    [true, "https://i.example/x.png", { a: 1 }, "user"],
  );
  // An address that an administrator gives is not proven, unless they say so; what went to the old one opens nothing.
  await change("update user set email_verified = 1 where id = ?", who.id);
  await post(nobody(), "/request-password-reset", { email: who.email });
  const [, token] = (await mails(who.email)).map(({ text }) => text.match(/reset-password\/([\w-]+)/)).find(Boolean);
  await post(nobody(), "/sign-in/magic-link", { email: who.email });
  const link = (await mails(who.email)).find(({ subject }) => subject === "Your sign-in link").text.match(/https?:\S+/)[0];
  const sent = (await mails(who.email)).length;
  const fresh = uniqueEmail();
  assert.deepEqual([(await update({ email: fresh.toUpperCase() })).json.email, (await userOf(who.id)).email_verified], [fresh, 0]);
  assert.equal((await post(nobody(), "/reset-password", { token, newPassword: NEW })).status, 400, "a reset link of the old address");
  const followed = nobody();
  await followed.browser.followMailedLink(link);
  assert.notEqual((await session(followed))?.user.id, who.id, "a sign-in link of the old address");
  assert.equal((await mails(who.email)).length, sent + 1, "the old address is told");
  assert.deepEqual(told(await update({ email: owner.email })), [400, "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL"]);
  assert.equal((await update({ email: uniqueEmail(), emailVerified: true })).json.emailVerified, true);
  assert.equal((await update({ image: "https://i.example/y.png" })).json.image, "https://i.example/y.png");
  assert.equal((await update({ image: null })).json.image, null);
});

test("two patches that fit and together do not are too big, rather than nobody's", async () => {
  const who = await signUp(worker);
  const update = (metadata) => ask(admin, "update-user", { userId: who.id, data: { metadata } });
  assert.equal((await update({ a: "x".repeat(9000) })).status, 200);
  assert.deepEqual(told(await update({ b: "x".repeat(9000) })), [400, "VALIDATION_ERROR"]);
});

test("from another site nothing is administered", async () => {
  const who = await signUp(worker);
  const before = await everything(who.id);
  for (const name of WRITES) {
    const body = name === "revoke-user-session" ? { sessionToken: "x" } : { userId: who.id, ...MORE[name] };
    for (const origin of ["http://evil.localhost", "null", APP, undefined]) {
      const answer = await copy(owner).browser.post(at(`/admin/${name}`), body, { headers: { origin } });
      assert.equal(answer.status, 403, `${name} from ${origin}`);
    }
  }
  assert.equal(await everything(who.id), before);
});
