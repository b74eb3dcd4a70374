// The published admin and API key clients of Better Auth, unchanged, against us: every endpoint, and what it answers.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { apiKeyClient } from "@better-auth/api-key/client";
import { createAuthClient } from "better-auth/client";
import { adminClient } from "better-auth/client/plugins";
import { uniqueEmail } from "../harness/browser.mjs";
import { PASSWORD, giveRole, signUp } from "../harness/seed.mjs";
import { AUTH, DEFAULT_TENANT, SPA, startWorker } from "../harness/worker.mjs";

const NEW = "an altogether new passphrase";
let worker, root;
before(async () => {
  worker = await startWorker({ settings: { SESSION_COOKIE_CACHE_SECONDS: "0", SESSION_RECHECK_SECONDS: "0", LIMIT_MAIL: "1000/60" } });
  root = client(await signUp(worker, { roles: ["admin"], name: "Root" }));
});
after(() => worker?.dispose());

/** The client in a page of the SPA, in the browser of somebody, or of nobody yet. */
function client(person = { browser: worker.browser() }) {
  const customFetchImpl = async (url, init = {}) => {
    const headers = { ...Object.fromEntries(new Headers(init.headers)), origin: SPA };
    const answer = await person.browser.send(init.method ?? "GET", String(url), { headers, body: init.body ?? undefined });
    assert.equal(answer.headers["access-control-allow-origin"], SPA, `${url} is not readable by the SPA`);
    return new Response([204, 304].includes(answer.status) ? null : answer.bytes, { status: answer.status, headers: answer.headers });
  };
  const auth = createAuthClient({ baseURL: AUTH, plugins: [adminClient(), apiKeyClient()], fetchOptions: { customFetchImpl } });
  return { ...person, auth, admin: auth.admin, keys: auth.apiKey };
}
const member = async (options) => client(await signUp(worker, options));
/** The data, where nothing went wrong. */
async function good(promise) {
  const { data, error } = await promise;
  assert.equal(error, null, JSON.stringify(error));
  return data;
}
const refused = async (promise, status, code) => {
  const { data, error } = await promise;
  assert.deepEqual([data, error?.status, error?.code], [null, status, code]);
};
const isUser = (user, wanted) => {
  for (const name of [
    "id",
    "name",
    "email",
    "emailVerified",
    "image",
    "createdAt",
    "updatedAt",
    "role",
    "banned",
    "banReason",
    "banExpires",
  ])
    assert.ok(name in user, `${name} is missing`);
  for (const [name, value] of Object.entries(wanted)) assert.deepEqual(user[name], value, name);
};

test("createUser, getUser, updateUser, setRole", async () => {
  const email = uniqueEmail();
  const { user } = await good(
    root.admin.createUser({
      email: email.toUpperCase(),
      password: PASSWORD,
      name: "Nina",
      role: "user",
      data: { image: "https://i.example/n.png" },
    }),
  );
  isUser(user, {
    email,
    name: "Nina",
    role: "user",
    image: "https://i.example/n.png",
    emailVerified: false,
    banned: false,
    banReason: null,
    banExpires: null,
    status: "active",
    loginCount: 0,
    lastLoginAt: null,
  });
  assert.equal((await good(client().auth.signIn.email({ email, password: PASSWORD }))).user.id, user.id);
  const got = await good(root.admin.getUser({ query: { id: user.id } }));
  isUser(got, { id: user.id, email, loginCount: 1 });
  assert.ok(new Date(got.lastLoginAt) > new Date(Date.now() - 60_000));
  const changed = await good(
    root.admin.updateUser({ userId: user.id, data: { name: "Nora", metadata: { plan: "gold" }, profile: { title: "Dr" } } }),
  );
  isUser(changed, { id: user.id, name: "Nora", metadata: { plan: "gold" } });
  assert.equal(changed.profile.title, "Dr");
  isUser((await good(root.admin.setRole({ userId: user.id, role: "admin" }))).user, { id: user.id, role: "admin" });
  isUser((await good(root.admin.setRole({ userId: user.id, role: ["user"] }))).user, { id: user.id, role: "user" });
  const bare = await good(root.admin.createUser({ email: uniqueEmail(), name: "Bare" }));
  isUser(bare.user, { name: "Bare", role: "user" });
  await refused(root.admin.createUser({ email, name: "Again" }), 400, "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL");
  await refused(root.admin.getUser({ query: { id: "nope" } }), 404, "USER_NOT_FOUND");
  await refused(root.admin.updateUser({ userId: user.id, data: {} }), 400, "NO_DATA_TO_UPDATE");
  await refused(root.admin.updateUser({ userId: user.id, data: { password: NEW } }), 400, "PASSWORD_CANNOT_BE_UPDATED_VIA_UPDATE_USER");
  await refused(root.admin.setRole({ userId: user.id, role: "nope" }), 400, "YOU_ARE_NOT_ALLOWED_TO_SET_NON_EXISTENT_VALUE");
  await refused(root.admin.setRole({ userId: user.id, role: "owner" }), 403, "YOU_ARE_NOT_ALLOWED_TO_CHANGE_USERS_ROLE");
});

test("listUsers: pages, searches, filters, order", async () => {
  const marker = `m${Date.now().toString(36)}`;
  const made = [];
  for (const name of ["Carla", "Anton", "Berta"])
    made.push((await good(root.admin.createUser({ email: `${name}.${marker}@example.com`, name: `${name} ${marker}` }))).user);
  const list = (query) => good(root.admin.listUsers({ query }));
  const names = ({ users }) => users.map(({ name }) => name.split(" ")[0]);
  const found = await list({ searchValue: marker, sortBy: "name" });
  assert.deepEqual([names(found), found.total], [["Anton", "Berta", "Carla"], 3]);
  for (const user of found.users) isUser(user, { role: "user" });
  assert.deepEqual(names(await list({ searchValue: marker, sortBy: "name", sortDirection: "desc" })), ["Carla", "Berta", "Anton"]);
  const second = await list({ searchValue: marker, sortBy: "name", limit: 2, offset: 2 });
  assert.deepEqual([names(second), second.total, second.limit, second.offset], [["Carla"], 3, 2, 2]);
  assert.deepEqual(
    names(
      await list({
        searchValue: "BERTA",
        searchField: "name",
        searchOperator: "starts_with",
        filterField: "email",
        filterOperator: "contains",
        filterValue: marker,
      }),
    ),
    ["Berta"],
  );
  assert.deepEqual(
    (await list({ filterField: "id", filterValue: made[1].id, filterOperator: "eq" })).users.map(({ id }) => id),
    [made[1].id],
  );
  assert.equal((await list({ searchValue: marker, filterField: "banned", filterValue: false })).total, 3);
  assert.equal(
    (
      await list({
        searchValue: marker,
        filterField: "createdAt",
        filterOperator: "gt",
        filterValue: new Date(Date.now() + 60_000).toISOString(),
      })
    ).total,
    0,
  );
  const roots = await list({ filterField: "role", filterValue: "admin" });
  assert.ok(roots.users.some(({ id }) => id === root.id) && roots.users.every(({ role }) => role.split(",").includes("admin")));
  const all = await list({});
  assert.equal(all.total, all.users.length);
  await refused(root.admin.listUsers({ query: { limit: 5000 } }), 400, "VALIDATION_ERROR");
});

test("banUser, unbanUser", async () => {
  const who = await member();
  const { user } = await good(root.admin.banUser({ userId: who.id, banReason: "spam", banExpiresIn: 3600 }));
  isUser(user, { banned: true, banReason: "spam" });
  assert.ok(Math.abs(new Date(user.banExpires) - Date.now() - 3600_000) < 10_000);
  assert.equal((await who.auth.getSession()).data, null);
  await refused(client().auth.signIn.email({ email: who.email, password: PASSWORD }), 403, "BANNED_USER");
  isUser((await good(root.admin.unbanUser({ userId: who.id }))).user, { banned: false, banReason: null, banExpires: null });
  assert.ok(await good(client().auth.signIn.email({ email: who.email, password: PASSWORD })));
  isUser((await good(root.admin.banUser({ userId: who.id }))).user, { banned: true, banReason: "No reason", banExpires: null });
  await refused(root.admin.banUser({ userId: root.id }), 400, "YOU_CANNOT_BAN_YOURSELF");
});

test("listUserSessions, revokeUserSession, revokeUserSessions", async () => {
  const [who, second] = [await member(), client()];
  await good(second.auth.signIn.email({ email: who.email, password: PASSWORD }));
  const { sessions } = await good(root.admin.listUserSessions({ userId: who.id }));
  assert.equal(sessions.length, 2);
  for (const session of sessions) {
    assert.deepEqual([session.userId, session.impersonatedBy], [who.id, null]);
    assert.ok(new Date(session.expiresAt) > new Date());
  }
  const cookies = [...who.browser.cookies("auth.localhost").values(), ...second.browser.cookies("auth.localhost").values()].join();
  for (const { token } of sessions) assert.ok(!cookies.includes(token), "the list opens sessions");
  const mine = (await who.auth.getSession()).data.session;
  assert.deepEqual(await good(root.admin.revokeUserSession({ sessionToken: sessions.find(({ id }) => id !== mine.id).token })), {
    success: true,
  });
  assert.equal((await second.auth.getSession()).data, null);
  assert.equal((await who.auth.getSession()).data.user.id, who.id);
  assert.deepEqual(await good(root.admin.revokeUserSessions({ userId: who.id })), { success: true });
  assert.equal((await who.auth.getSession()).data, null);
  assert.deepEqual((await good(root.admin.listUserSessions({ userId: who.id }))).sessions, []);
  await refused(root.admin.listUserSessions({ userId: "nope" }), 404, "USER_NOT_FOUND");
});

test("impersonateUser, stopImpersonating", async () => {
  const [by, who] = [await member({ roles: ["admin"] }), await member()];
  const begun = await good(by.admin.impersonateUser({ userId: who.id }));
  assert.deepEqual([begun.user.id, begun.session.userId, begun.session.impersonatedBy], [who.id, who.id, by.id]);
  const seen = (await by.auth.getSession()).data;
  assert.deepEqual([seen.user.id, seen.session.impersonatedBy], [who.id, by.id]);
  await refused(by.admin.listUsers({ query: {} }), 403, "YOU_ARE_NOT_ALLOWED_TO_LIST_USERS");
  const back = await good(by.admin.stopImpersonating());
  assert.deepEqual([back.user.id, back.session.impersonatedBy], [by.id, null]);
  assert.equal((await by.auth.getSession()).data.user.id, by.id);
  const { data, error } = await by.admin.stopImpersonating();
  assert.deepEqual([data, error.status], [null, 400]);
  await refused(by.admin.impersonateUser({ userId: root.id }), 403, "YOU_CANNOT_IMPERSONATE_ADMINS");
});

test("setUserPassword, removeUser", async () => {
  const who = await member();
  assert.deepEqual(await good(root.admin.setUserPassword({ userId: who.id, newPassword: NEW })), { status: true });
  await refused(client().auth.signIn.email({ email: who.email, password: PASSWORD }), 401, "INVALID_EMAIL_OR_PASSWORD");
  const again = client();
  await good(again.auth.signIn.email({ email: who.email, password: NEW }));
  await refused(root.admin.setUserPassword({ userId: who.id, newPassword: "short" }), 400, "PASSWORD_TOO_SHORT");
  assert.deepEqual(await good(root.admin.removeUser({ userId: who.id })), { success: true });
  assert.equal((await again.auth.getSession()).data, null);
  await refused(root.admin.removeUser({ userId: who.id }), 404, "USER_NOT_FOUND");
  await refused(root.admin.removeUser({ userId: root.id }), 400, "YOU_CANNOT_REMOVE_YOURSELF");
});

test("hasPermission, here and in the client", async () => {
  const who = await member();
  assert.deepEqual(await good(root.admin.hasPermission({ permissions: { user: ["create", "ban"], session: ["list"] } })), {
    error: null,
    success: true,
  });
  assert.equal((await good(root.admin.hasPermission({ permissions: { user: ["impersonate-admins"] } }))).success, false);
  assert.equal((await good(who.admin.hasPermission({ permissions: { user: ["create"] } }))).success, false);
  assert.equal((await good(root.admin.hasPermission({ userId: who.id, permissions: { user: ["create"] } }))).success, false);
  assert.equal((await good(root.admin.hasPermission({ role: "admin", permissions: { user: ["create"] } }))).success, true);
  assert.equal(root.admin.checkRolePermission({ role: "admin", permissions: { user: ["delete"] } }), true);
  const { user } = (await root.auth.getSession()).data;
  assert.equal(
    root.admin.checkRolePermission({ role: user.role, permissions: { user: ["delete"] } }),
    true,
    `the session says role ${user.role}`,
  );
});

test("deactivate-user and reactivate-user, by the client's own fetch", async () => {
  const who = await member();
  const post = (path, body) => good(root.auth.$fetch(path, { method: "POST", body }));
  isUser((await post("/admin/deactivate-user", { userId: who.id, reason: "left" })).user, {
    status: "inactive",
    statusReason: "left",
    banned: false,
  });
  assert.equal((await who.auth.getSession()).data, null);
  isUser((await post("/admin/reactivate-user", { userId: who.id })).user, { status: "active" });
  assert.ok(await good(client().auth.signIn.email({ email: who.email, password: PASSWORD })));
});

test("nobody and a plain user are told what the protocol tells them", async () => {
  const [plain, nobody] = [await member(), client()];
  const calls = {
    createUser: { email: uniqueEmail(), name: "N" },
    updateUser: { userId: root.id, data: { name: "x" } },
    setRole: { userId: root.id, role: "user" },
    banUser: { userId: root.id },
    unbanUser: { userId: root.id },
    listUserSessions: { userId: root.id },
    revokeUserSession: { sessionToken: "x" },
    revokeUserSessions: { userId: root.id },
    removeUser: { userId: root.id },
    setUserPassword: { userId: root.id, newPassword: NEW },
    impersonateUser: { userId: root.id },
    getUser: { query: { id: root.id } },
    listUsers: { query: {} },
  };
  for (const [name, body] of Object.entries(calls)) {
    assert.equal((await nobody.admin[name](body)).error.status, 401, name);
    const { error } = await plain.admin[name](body);
    assert.equal(error.status, 403, name);
    assert.match(error.code, /^YOU_ARE_NOT_ALLOWED_TO_/, name);
    assert.ok(error.message, name);
  }
});

test("api keys: create, get, list, update, delete", async () => {
  const who = await member({ roles: ["admin"] });
  const made = await good(
    who.keys.create({
      name: "ci",
      prefix: "app_",
      expiresIn: 86_400,
      metadata: { env: "test" },
      permissions: { user: ["list"] },
      remaining: 100,
      refillAmount: 10,
      refillInterval: 60_000,
      rateLimitMax: 50,
      rateLimitTimeWindow: 1000,
      rateLimitEnabled: true,
    }),
  );
  assert.ok(made.key.startsWith("app_"));
  const wanted = {
    name: "ci",
    prefix: "app_",
    start: made.key.slice(0, 6),
    configId: "default",
    referenceId: who.id,
    enabled: true,
    metadata: { env: "test" },
    permissions: { user: ["list"] },
    remaining: 100,
    refillAmount: 10,
    refillInterval: 60_000,
    lastRefillAt: null,
    rateLimitMax: 50,
    rateLimitTimeWindow: 1000,
    rateLimitEnabled: true,
    requestCount: 0,
    lastRequest: null,
  };
  for (const [name, value] of Object.entries(wanted)) assert.deepEqual(made[name], value, name);
  assert.ok(Math.abs(new Date(made.expiresAt) - Date.now() - 86_400_000) < 10_000);
  const { key, ...rest } = made;
  assert.deepEqual(await good(who.keys.get({ query: { id: made.id } })), rest);
  assert.equal((await worker.browser().get(`${AUTH}/api/auth/admin/list-users`, { headers: { "x-api-key": key } })).status, 200);
  const used = await good(who.keys.get({ query: { id: made.id } }));
  assert.deepEqual([used.requestCount, used.remaining], [1, 99]);
  assert.ok(Math.abs(new Date(used.lastRequest) - Date.now()) < 10_000);
  const changed = await good(
    who.keys.update({
      keyId: made.id,
      name: "deploy",
      enabled: false,
      metadata: null,
      permissions: null,
      expiresIn: null,
      remaining: null,
      refillAmount: null,
      refillInterval: null,
    }),
  );
  for (const [name, value] of Object.entries({
    id: made.id,
    name: "deploy",
    enabled: false,
    metadata: null,
    permissions: null,
    expiresAt: null,
    remaining: null,
    refillAmount: null,
    refillInterval: null,
    requestCount: 1,
  }))
    assert.deepEqual(changed[name], value, name);
  assert.equal("key" in changed, false);
  const bare = await good(who.keys.create({}));
  assert.deepEqual(
    [bare.name, bare.prefix, bare.permissions, bare.expiresAt, bare.rateLimitMax, bare.rateLimitTimeWindow],
    [null, null, null, null, 1000, 3_600_000],
  );
  const listed = await good(who.keys.list());
  assert.deepEqual([listed.apiKeys.map(({ id }) => id), listed.total], [[made.id, bare.id], 2]);
  const page = await good(who.keys.list({ query: { limit: 1, offset: 1, sortBy: "createdAt", sortDirection: "desc" } }));
  assert.deepEqual([page.apiKeys.map(({ id }) => id), page.total, page.limit, page.offset], [[made.id], 2, 1, 1]);
  assert.deepEqual(await good(who.keys.delete({ keyId: made.id })), { success: true });
  await refused(who.keys.get({ query: { id: made.id } }), 404, "KEY_NOT_FOUND");
  await refused(who.keys.update({ keyId: bare.id }), 400, "NO_VALUES_TO_UPDATE");
  assert.equal((await who.keys.create({ name: "n".repeat(33) })).error.status, 400);
  await refused(who.keys.create({ expiresIn: 60 }), 400, "EXPIRES_IN_IS_TOO_SMALL");
  await refused(who.keys.create({ expiresIn: 31_536_001 }), 400, "EXPIRES_IN_IS_TOO_LARGE");
  await refused(who.keys.create({ permissions: { organization: ["delete"] } }), 403, "INSUFFICIENT_API_KEY_PERMISSIONS");
  const other = await member();
  await refused(other.keys.get({ query: { id: bare.id } }), 404, "KEY_NOT_FOUND");
  for (const call of [client().keys.list(), client().keys.create({ name: "n" }), client().keys.delete({ keyId: bare.id })])
    assert.equal((await call).error.status, 401);
});

test("api keys of an organization", async () => {
  const [boss, plain] = [await member(), await member()];
  const { id } = await good(
    boss.auth.$fetch("/organization/create", { method: "POST", body: { name: "Acme", slug: `acme-${Date.now().toString(36)}` } }),
  );
  await giveRole(worker, plain.id, "member", id);
  const made = await good(boss.keys.create({ organizationId: id, name: "ours" }));
  assert.equal(made.referenceId, id);
  const listed = await good(boss.keys.list({ query: { organizationId: id } }));
  assert.deepEqual([listed.apiKeys.map((key) => key.id), listed.total], [[made.id], 1]);
  assert.deepEqual((await good(boss.keys.list())).apiKeys, []);
  assert.equal((await good(boss.keys.get({ query: { id: made.id } }))).name, "ours");
  assert.equal((await good(boss.keys.update({ keyId: made.id, name: "still ours" }))).name, "still ours");
  for (const call of [
    plain.keys.create({ organizationId: id }),
    plain.keys.list({ query: { organizationId: id } }),
    plain.keys.get({ query: { id: made.id } }),
    plain.keys.update({ keyId: made.id, name: "x" }),
    plain.keys.delete({ keyId: made.id }),
  ])
    await refused(call, 403, "INSUFFICIENT_API_KEY_PERMISSIONS");
  assert.deepEqual(await good(boss.keys.delete({ keyId: made.id })), { success: true });
  assert.notEqual(id, DEFAULT_TENANT);
});
