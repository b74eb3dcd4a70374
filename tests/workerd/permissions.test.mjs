// Who may do what: the table, the database, and every endpoint there is.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { giveRole, seedDomain, seedTenant, signUp } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";
import { authRoutes } from "../harness/routes.mjs";

const read = (path) => readFileSync(new URL(path, import.meta.url), "utf8");
const ROLES = ["owner", "admin", "member"];

/** [action, permission, whether an owner, an admin, a member may]. */
const golden = read("../golden/permissions.txt")
  .split("\n")
  .filter((line) => line && !line.startsWith("#"))
  .map((line) => {
    const [action, permission, ...may] = line.trim().split(/\s+/);
    return { action, permission, may: Object.fromEntries(ROLES.map((role, at) => [role, may[at] === "yes"])) };
  });

const routes = authRoutes;

let worker, people, tenant;
before(async () => {
  worker = await startWorker({ settings: { SESSION_RECHECK_SECONDS: "0", SESSION_COOKIE_CACHE_SECONDS: "0" } });
  tenant = await seedTenant(worker, { slug: "other", pool: "isolated" });
  await seedDomain(worker, tenant, "other.localhost");
  const stranger = await signUp(worker, { host: "http://other.localhost", tenant, roles: ["owner"] });
  const owner = await signUp(worker, { roles: ["owner"] });
  const banned = await signUp(worker, { roles: ["owner"] });
  await worker.d1.prepare("update user set status = 'suspended', status_reason = 'x' where id = ?").bind(banned.id).run();
  const member = await signUp(worker);
  const key = await owner.browser.post(`${AUTH}/api/auth/api-key/create`, { name: "k", permissions: { project: ["read"] } });
  assert.equal(key.status, 200, key.text);
  people = { member, stranger, banned, owner, key: key.json.key };
});
after(() => worker?.dispose());

test("the database allows what the table says", async () => {
  assert.ok(golden.length > 30, `${golden.length} actions`);
  for (const role of ROLES) {
    const rows = await worker.rows(
      `select p.resource || ':' || p.action as name from role r join role_permission rp on rp.role_id = r.id
         join permission p on p.id = rp.permission_id where r.tenant_id is null and r.name = ?`,
      role,
    );
    const held = new Set(rows.map(({ name }) => name));
    for (const { action, permission, may } of golden) {
      assert.equal(held.has(permission) || held.has("*:*"), may[role], `${role} ${action}`);
    }
  }
  const known = new Set(
    (await worker.rows("select resource || ':' || action as name from permission where tenant_id is null")).map(({ name }) => name),
  );
  assert.deepEqual(
    golden.filter(({ permission }) => !known.has(permission)),
    [],
  );
});

test("has-permission says what the table says", async () => {
  for (const role of ROLES) {
    const { browser } = await signUp(worker, { roles: role === "member" ? [] : [role] });
    for (const { permission, may } of golden) {
      const [resource, action] = permission.split(":");
      const answer = await browser.post(`${AUTH}/api/auth/admin/has-permission`, { permissions: { [resource]: [action] } });
      assert.equal(answer.json.success, may[role], `${role} ${permission}`);
    }
  }
});

// ---- the walk ----

/** What answers 2xx or a redirect to everybody, by design: this list may only shrink. */
const OPEN = new Set([
  "GET /api/auth/get-session",
  "POST /api/auth/get-session",
  "POST /api/auth/sign-out",
  "GET /api/auth/callback/:id",
  "POST /api/auth/callback/:id",
  "GET /api/auth/passkey/generate-authenticate-options",
  "GET /api/auth/multi-session/list-device-sessions",
  "GET /api/auth/jwks",
  "GET /api/auth/ok",
  "GET /api/auth/reset-password/:token",
  "GET /api/auth/magic-link/verify",
  "GET /api/auth/verify-email",
  "GET /api/auth/delete-user/callback",
  "GET /api/auth/error",
  "GET /.well-known/openid-configuration",
  "GET /.well-known/oauth-authorization-server",
  "GET /device",
  "POST /device",
  "GET /oauth2/end_session",
  "POST /oauth2/end_session",
  "POST /oauth2/end_session/confirm",
  "GET /consent",
  "POST /consent",
  "GET /form-post.js",
  "GET /sign-out.js",
  "GET /",
  "GET /login",
  "POST /login",
  "POST /login/link",
  "POST /login/upstream",
  "GET /second-factor",
  "POST /second-factor",
  "POST /second-factor/send",
  "GET /sign-up",
  "POST /sign-up",
  "GET /forgot-password",
  "POST /forgot-password",
  // Answered alike for everybody, whether anything comes of it or not; a sign-up needs no more than an address.
  "POST /api/auth/sign-up/email",
  "POST /api/auth/sign-in/magic-link",
  "POST /api/auth/email-otp/request-password-reset",
  "POST /api/auth/forget-password/email-otp",
  "POST /api/auth/send-verification-email",
  "POST /api/auth/request-password-reset",
  "POST /oauth2/authorize",
  "GET /reset-password",
  "POST /reset-password",
  "GET /account",
  "POST /sign-out",
  "GET /style.css",
  "GET /passkey.js",
  "GET /fragment.js",
  "GET /dev/mailbox",
]);
/** What whoever is signed in may do with what is their own, whatever their roles: this list may only shrink. */
const OWN = new Set([
  "GET /api/auth/list-sessions",
  "GET /api/auth/list-accounts",
  "GET /api/auth/passkey/list-user-passkeys",
  "GET /api/auth/passkey/generate-register-options",
  "GET /api/auth/one-time-token/generate",
  "POST /api/auth/revoke-sessions",
  "POST /api/auth/revoke-other-sessions",
  "POST /api/auth/multi-session/revoke",
  "GET /api/auth/token",
  "GET /api/auth/profile",
  "GET /api/auth/notifications",
  "GET /api/auth/activity",
  "POST /api/auth/notifications/read",
  "POST /api/auth/notifications/delete",
  "GET /api/auth/oauth2/get-clients",
  "GET /api/auth/oauth2/get-consents",
  "GET /api/auth/organization/list",
  "GET /api/auth/organization/get-organization",
  "GET /api/auth/organization/get-full-organization",
  "GET /api/auth/api-key/list",
  "POST /api/auth/organization/set-active",
  "POST /api/auth/admin/has-permission",
  "GET /account/second-factor",
  "POST /account/devices/forget",
  "POST /account/second-factor",
  "POST /account/second-factor/verify",
  "POST /account/passkey/delete",
  "POST /account/consents/withdraw",
]);

const id = randomUUID();
/** A body with something plausible in every field that endpoints ask for. */
const body = () => ({
  userId: people.owner.id,
  id: people.owner.id,
  role: "admin",
  name: "N",
  email: `${randomUUID()}@example.com`,
  password: "a long password",
  newPassword: "another long password",
  data: { name: "N", roleName: "dev" },
  organizationId: "00000000-0000-7000-8000-000000000001",
  slug: `s-${id}`,
  memberId: id,
  memberIdOrEmail: people.owner.email,
  invitationId: id,
  teamId: id,
  roleName: "dev",
  permission: { team: ["create"] },
  permissions: { team: ["create"] },
  securityPolicy: {},
  sessionToken: id,
  keyId: id,
  client_id: "x",
  redirect_uris: ["https://rp.example/cb"],
  client_name: "N",
});

async function ask(who, route, { headers = {}, host = AUTH } = {}) {
  const path = route.path.replace(/:\w+/, id);
  const query =
    route.method === "GET" && !path.includes("/callback/")
      ? `?userId=${people.owner.id}&id=${people.owner.id}&organizationId=00000000-0000-7000-8000-000000000001&roleName=dev&teamId=${id}`
      : "";
  const options = { headers: { accept: "application/json", origin: host, ...headers } };
  if (route.method !== "GET") {
    const form = route.surface === "Page" || route.path.startsWith("/oauth2/");
    options.body = form ? new URLSearchParams({ token: "x", code: "x", decision: "x" }).toString() : body();
    if (form) options.headers["content-type"] = "application/x-www-form-urlencoded";
  }
  const answer = await who.send(route.method, `${host}${path}${query}`, { ...options, keepCookies: false });
  assert.ok(answer.status < 500 || answer.status === 501, `${route.name}: ${answer.status} ${answer.text.slice(0, 200)}`);
  return answer;
}
const isOpen = ({ status, location = "" }) => status < 300 || (status < 400 && !/\/login|error|\/account\/second-factor/.test(location));
/** Endpoints that need more than being signed in. */
const privileged = () => routes.filter(({ path }) => /^(\/api\/auth\/(organization|admin)\/|\/invitation)/.test(path));

test("the table of routes is read whole", () => {
  assert.ok(routes.length > 190, `${routes.length} routes`);
  assert.ok(privileged().length > 70, `${privileged().length} privileged`);
  const names = new Set(routes.map(({ name }) => name));
  assert.deepEqual(
    [...OPEN, ...OWN].filter((name) => !names.has(name)),
    [],
    "exceptions that are no endpoints",
  );
});

test("nobody gets in where somebody must be signed in", async () => {
  const nobody = worker.browser();
  const wrong = [];
  for (const route of routes) {
    const answer = await ask(nobody, route);
    if (route.access !== "Anybody" && route.surface === "Api")
      assert.equal(answer.status, 401, `${route.name}: ${answer.status} ${answer.text}`);
    if (isOpen(answer) && !OPEN.has(route.name)) wrong.push(`${route.name}: ${answer.status}`);
  }
  assert.deepEqual(wrong, []);
});

test("a banned user is nobody", async () => {
  const wrong = [];
  for (const route of routes) {
    const answer = await ask(people.banned.browser, route);
    if (isOpen(answer) && !OPEN.has(route.name)) wrong.push(`${route.name}: ${answer.status}`);
  }
  assert.deepEqual(wrong, []);
});

test("a member has what is their own, and nothing that takes a permission", async () => {
  const wrong = [];
  for (const route of privileged()) {
    const answer = await ask(people.member.browser, route);
    if (isOpen(answer) && !OWN.has(route.name) && !OPEN.has(route.name))
      wrong.push(`${route.name}: ${answer.status} ${answer.text.slice(0, 120)}`);
  }
  // A member sees which roles there are, and what their own are; whoever is one may leave, and make a tenant of their own.
  const theirs = [
    "GET /api/auth/organization/list-roles",
    "GET /api/auth/organization/get-active-member-role",
    "GET /api/auth/organization/get-active-member",
    "GET /api/auth/organization/list-teams",
    "GET /api/auth/organization/list-user-teams",
    "POST /api/auth/organization/has-permission",
    "POST /api/auth/organization/check-slug",
    "POST /api/auth/organization/create",
    "POST /api/auth/organization/leave",
  ];
  assert.deepEqual(
    wrong.filter((line) => !theirs.some((name) => line.startsWith(`${name}:`))),
    [],
  );
});

test("another tenant's owner is nobody here, and what is here is not there", async () => {
  const cookie = [...people.stranger.browser.cookies("other.localhost")].map((pair) => pair.join("=")).join("; ");
  const foreign = worker.browser();
  const wrong = [];
  for (const route of routes) {
    const here = await ask(foreign, route, { headers: { cookie } });
    if (isOpen(here) && !OPEN.has(route.name)) wrong.push(`${route.name} here: ${here.status}`);
  }
  for (const route of privileged()) {
    const there = await ask(people.stranger.browser, route, { host: "http://other.localhost" });
    const own =
      OWN.has(route.name) ||
      OPEN.has(route.name) ||
      /list-(users|members|invitations|teams|user-teams|roles)|get-active-member|check-slug|create-user|security-policy/.test(route.path) ||
      /revoke-user-session$|\/issuers$|admin\/oauth2\/(create-client|initial)/.test(route.path);
    if (isOpen(there) && !own) wrong.push(`${route.name} there: ${there.status} ${there.text.slice(0, 120)}`);
    if (
      !own &&
      route.surface === "Api" &&
      !/tenants|create-team|create-role|organization\/create|has-permission|revoke-user-session$/.test(route.path)
    ) {
      assert.ok([400, 401, 403, 404, 409].includes(there.status), `${route.name}: ${there.status}`);
    }
  }
  assert.deepEqual(wrong, []);
  const [{ email, status }] = await worker.rows("select email, status from user where id = ?", people.owner.id);
  assert.deepEqual([email, status], [people.owner.email, "active"]);
});

test("a key without the permission opens nothing", async () => {
  const program = worker.browser();
  const wrong = [];
  for (const route of routes) {
    const answer = await ask(program, route, { headers: { "x-api-key": people.key } });
    if (isOpen(answer) && !OPEN.has(route.name)) wrong.push(`${route.name}: ${answer.status} ${answer.text.slice(0, 120)}`);
  }
  const theirs = [
    "GET /api/auth/organization/get-organization",
    "GET /api/auth/organization/get-full-organization",
    "GET /api/auth/organization/get-active-member",
    "GET /api/auth/organization/get-active-member-role",
    "GET /api/auth/organization/list-teams",
    "GET /api/auth/organization/list-user-teams",
    "POST /api/auth/organization/has-permission",
    "POST /api/auth/admin/has-permission",
  ];
  assert.deepEqual(
    wrong.filter((line) => !theirs.some((name) => line.startsWith(`${name}:`))),
    [],
  );
});

test("whoever looks after tenants makes them, and nobody else", async () => {
  const admin = await signUp(worker, { roles: ["admin"] });
  const path = `${AUTH}/api/auth/admin/tenants`;
  assert.equal((await people.member.browser.get(path)).status, 403);
  assert.equal(
    (await admin.browser.post(path, { name: "New", slug: "new", owner: { email: "boss@new.example" } })).status,
    403,
    "an owner is an owner's to appoint",
  );
  const made = await people.owner.browser.post(path, {
    name: "New",
    slug: "new",
    userPool: "isolated",
    hosts: ["new.localhost"],
    owner: { email: "boss@new.example" },
  });
  assert.equal(made.status, 201, made.text);
  const bad = [
    [{ name: "N", slug: "new" }, "ORGANIZATION_ALREADY_EXISTS"],
    [{ name: "N", slug: "n2", hosts: ["new.localhost"] }, "HOST_ALREADY_TAKEN"],
    [{ name: "N", slug: "N" }, "VALIDATION_ERROR"],
    [{ name: "N", slug: "n2", hosts: ["a/b"] }, "VALIDATION_ERROR"],
    [{ name: "N", slug: "n2", database: "NOPE" }, "VALIDATION_ERROR"],
    [{ name: "N", slug: "n2", database: "DB" }, "VALIDATION_ERROR"],
    [{ name: "N", slug: "n2", securityPolicy: { sesion: {} } }, "VALIDATION_ERROR"],
    [{ name: "N", slug: "n2", gracePeriodDays: 366 }, "VALIDATION_ERROR"],
    [{ name: "N", slug: "n2", owner: { email: "nobody@example.com" } }, "VALIDATION_ERROR"],
  ];
  for (const [fields, code] of bad) {
    const answer = await people.owner.browser.post(path, fields);
    assert.deepEqual([answer.status, answer.json.code], [400, code], JSON.stringify(fields));
  }
  assert.equal((await worker.rows("select 1 from tenant where slug = 'n2'")).length, 0);
  const one = `${path}/${made.json.id}`;
  const changed = await admin.browser.send("PATCH", one, {
    headers: { origin: AUTH },
    body: { name: "Newer", featureFlags: { beta: true }, settings: {}, onboardingStatus: "completed" },
  });
  assert.deepEqual([changed.json.name, changed.json.featureFlags, changed.json.onboardingStatus], ["Newer", { beta: true }, "completed"]);
  const HOST = "http://new.localhost";
  const user = await signUp(worker, { host: HOST, tenant: made.json.id });
  const session = async () => (await user.browser.get(`${HOST}/api/auth/get-session`)).json;
  assert.ok(await session());
  assert.equal((await admin.browser.post(`${one}/suspend`, { reason: "unpaid" })).json.status, "suspended");
  assert.equal(await session(), null);
  assert.equal(
    (await worker.browser().post(`${HOST}/api/auth/sign-in/email`, { email: user.email, password: "correct horse battery staple" })).status,
    403,
  );
  assert.equal((await admin.browser.post(`${one}/resume`, {})).json.status, "active");
  assert.equal((await admin.browser.send("DELETE", one, { headers: { origin: AUTH } })).json.status, "pending_deletion");
  assert.equal((await admin.browser.post(`${one}/resume`, {})).json.code, "TENANT_STATUS");
  assert.equal((await admin.browser.post(`${one}/restore`, {})).json.status, "active");
  assert.equal((await admin.browser.send("DELETE", one, { headers: { origin: AUTH } })).json.status, "pending_deletion");
  await worker.scheduled();
  assert.equal((await worker.rows("select 1 from tenant where id = ?", made.json.id)).length, 1, "within its grace period it stays");
  await worker.d1.prepare("update tenant set deletion_scheduled_at = 1 where id = ?").bind(made.json.id).run();
  assert.equal((await admin.browser.post(`${one}/restore`, {})).json.code, "TENANT_STATUS", "after it nothing is undone");
  await worker.scheduled();
  for (const table of [
    "tenant where id",
    "user where tenant_id",
    "session where tenant_id",
    "member where tenant_id",
    "signing_key where tenant_id",
    "login_history where tenant_id",
  ]) {
    assert.equal((await worker.rows(`select 1 from ${table} = ?`, made.json.id)).length, 0, table);
  }
  const kept = await worker.rows("select event from audit_event where json_extract(details, '$.tenant.id') = ?", made.json.id);
  assert.ok(
    kept.some(({ event }) => event === "tenant.deleted"),
    "audit stays",
  );
  const own = "00000000-0000-7000-8000-000000000001";
  for (const answer of [
    await admin.browser.post(`${path}/${own}/suspend`, {}),
    await admin.browser.send("DELETE", `${path}/${own}`, { headers: { origin: AUTH } }),
  ]) {
    assert.equal(answer.json.code, "TENANT_STATUS", "the default tenant stays");
  }
});

test("a user who was deleted is kept out of sight, and then no more", async () => {
  const { browser, id: gone } = await signUp(worker);
  assert.equal((await browser.post(`${AUTH}/api/auth/delete-user`, { password: "correct horse battery staple" })).status, 200);
  await worker.scheduled();
  assert.equal((await worker.rows("select 1 from user where id = ?", gone)).length, 1);
  await worker.d1.prepare("update user set deleted_at = 1 where id = ?").bind(gone).run();
  await worker.scheduled();
  assert.equal((await worker.rows("select 1 from user where id = ?", gone)).length, 0);
  assert.notEqual((await worker.rows("select 1 from audit_event where subject = ?", gone)).length, 0);
});

test("roles of a tenant's own are found by its members' names for them", async () => {
  const { id: user, browser } = await signUp(worker);
  await giveRole(worker, user, "support");
  assert.equal((await browser.get(`${AUTH}/api/auth/get-session?disableCookieCache=true`)).json.user.role, "user,support");
});
