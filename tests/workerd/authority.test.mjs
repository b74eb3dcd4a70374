// What a permission gives, and what it does not: every field of what administrators send, the identity of issuers, who is given
// a role and by which door, what an administrator may do as somebody, and which token is for whom.

import assert from "node:assert/strict";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { after, before, beforeEach, test } from "node:test";
import { createLocalJWKSet, decodeJwt, jwtVerify } from "jose";
import { CLIENT } from "../../examples/provider/server.mjs";
import { uniqueEmail } from "../harness/browser.mjs";
import { withApp } from "../harness/factors.mjs";
import { addIssuer } from "../harness/issuer.mjs";
import { FORM, REDIRECT, agree, basic } from "../harness/relying-party.mjs";
import { PAGE, PASSWORD, giveRole, seedApp, seedDomain, seedTenant, signUp } from "../harness/seed.mjs";
import { consent, startUpstream, stranger } from "../harness/upstream.mjs";
import { AUTH, DEFAULT_TENANT, startWorker } from "../harness/worker.mjs";
import { authRoutes } from "../harness/routes.mjs";

const read = (path) => readFileSync(new URL(path, import.meta.url), "utf8");
const SETTINGS = { SESSION_RECHECK_SECONDS: "0", SESSION_COOKIE_CACHE_SECONDS: "0", LIMIT_MAIL: "1000/60", LIMIT_INVITATION: "1000/60" };
let worker, upstream, owner;
before(async () => {
  upstream = await startUpstream();
  worker = await startWorker({ settings: SETTINGS });
  owner = await signUp(worker, { roles: ["owner"] });
});
after(async () => {
  await worker?.dispose();
  await upstream?.stop();
});
beforeEach(() => upstream.behave());

const at = (path, host = AUTH) => `${host}/api/auth${path}`;
const send = (who, method, path, body, host = AUTH) => who.browser.send(method, at(path, host), { body, headers: { origin: host } });
const post = (who, path, body, host) => send(who, "POST", path, body, host);
const patch = (who, path, body) => send(who, "PATCH", path, body);
const told = ({ status, json }) => [status, json?.code];
const run = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
const ok = (answer, note = "") => {
  assert.ok(answer.status < 300, `${note} ${answer.status} ${answer.text}`);
  return answer.json;
};
const refused = (answer, note = "") => assert.equal(answer.status, 403, `${note} ${answer.status} ${answer.text}`);

/** Lets a role of a tenant's allow these system permissions. */
async function allow(name, permissions, tenant = DEFAULT_TENANT) {
  for (const permission of permissions) {
    const [resource, action] = permission.split(":");
    await run(
      `insert into role_permission (role_id, permission_id, created_at)
      select r.id, p.id, 0 from role r join permission p on p.tenant_id is null and p.resource = ? and p.action = ?
       where r.name = ? and r.tenant_id = ? on conflict do nothing`,
      resource,
      action,
      name,
      tenant,
    );
  }
}

/** Somebody who holds these permissions in a tenant, and works in it. */
async function holder(permissions, tenant = DEFAULT_TENANT) {
  const who = await signUp(worker);
  const role = `r${randomUUID()}`;
  await giveRole(worker, who.id, role, tenant);
  await allow(role, permissions, tenant);
  if (tenant !== DEFAULT_TENANT) ok(await post(who, "/organization/set-active", { organizationId: tenant }));
  return { ...who, role };
}

/** An organization with an owner, a website whose rule asks for `finance`, and a role of that name that allows nothing here. */
async function organization() {
  const boss = await signUp(worker);
  const slug = `o-${randomUUID()}`;
  const id = ok(await post(boss, "/organization/create", { name: "Acme", slug })).id;
  ok(await post(boss, "/organization/create-role", { role: "finance", permission: { bench: [] } }));
  // One that a rule asks for as well, and that allows no more than every member may.
  ok(await post(boss, "/organization/create-role", { role: "auditor", permission: { ac: ["read"] } }));
  await seedApp(worker, `${slug}.localhost`, {
    tenant: id,
    access: "signed_in",
    rules: [["/books/*", "role", { roles: ["finance", "auditor"] }]],
  });
  const team = ok(await post(boss, "/organization/create-team", { name: "Books", roles: ["finance"] })).id;
  const join = async (permissions) => holder(["ac:read", ...permissions], id);
  const rolesOf = async (user) =>
    (
      await worker.rows(
        `select r.name from member m join member_role mr on mr.member_id = m.id join role r on r.id = mr.role_id
           where m.tenant_id = ? and m.user_id = ?`,
        id,
        user,
      )
    ).map(({ name }) => name);
  const inTeam = async (user) =>
    (await worker.rows("select 1 from user_group_member where user_group_id = ? and user_id = ?", team, user)).length;
  return {
    boss,
    id,
    team,
    join,
    rolesOf,
    inTeam,
    memberOf: async (user) => (await worker.rows("select id from member where tenant_id = ? and user_id = ?", id, user))[0].id,
  };
}

// ---- every field ----

/**
 * Every member of a body that these files read. `null` is no more than the endpoint's own permission is for; a text names the
 * case below in which somebody has that permission and not what the field takes.
 */
const FIELDS = {
  "admin/endpoints/tenants": {
    colors: null,
    database: null,
    features: null,
    featureFlags: null,
    gracePeriodDays: null,
    hosts: null,
    logo: null,
    metadata: null,
    name: null,
    onboardingStatus: null,
    reason: null,
    slug: null,
    userPool: null,
    owner: "an owner of a tenant",
    email: "an owner of a tenant",
    securityPolicy: "a tenant's policy",
    settings: "a tenant's passkey origins",
  },
  "admin/endpoints/users": {
    data: null,
    displayUsername: null,
    emailPreferences: null,
    image: null,
    metadata: null,
    name: null,
    preferences: null,
    profile: null,
    userId: null,
    username: null,
    // What a new user is told to sign in with; of somebody who is there it has an endpoint and a permission of its own.
    password: null,
    newPassword: null,
    email: "a user's address",
    emailVerified: "a proven address",
    role: "a user's role",
  },
  "admin/endpoints/status": { banExpiresIn: null, banReason: null, reason: null },
  "admin/endpoints/impersonation": { userId: null },
  "admin/endpoints/user_sessions": { sessionToken: null },
  "federation/endpoints/system_account": { callbackURL: null, disableRedirect: null, errorCallbackURL: null },
  "federation/issuer_draft": {
    basicAuth: null,
    clientKey: null,
    clientSecret: null,
    enabled: null,
    generateKey: null,
    image: null,
    label: null,
    loginParams: null,
    loginParamsOffline: null,
    loginScopes: null,
    loginScopesOffline: null,
    name: null,
    showOnLoginPage: null,
    sortOrder: null,
    syncProfile: null,
    global: "an issuer of everybody's",
    trustEmail: "an issuer that is believed about addresses",
    requireConfirmation: "an issuer that is believed about addresses",
    allowedDomains: "an issuer that is believed about addresses",
    baseUrl: "an issuer's identity",
    serviceType: "an issuer's identity",
    endpoints: "an issuer's identity",
    mapping: "an issuer's identity",
    clientId: "an issuer's audience",
    settings: "an issuer's audience",
  },
  "tenants/endpoints/tenants": {
    data: null,
    keepCurrentActiveOrganization: null,
    logo: null,
    metadata: null,
    name: null,
    organizationId: null,
    organizationSlug: null,
    reason: null,
    slug: null,
    userId: null,
    securityPolicy: "an organization's policy",
  },
  "tenants/endpoints/members": { memberId: null, memberIdOrEmail: null, organizationId: null },
  "tenants/roles": { permission: "what a role allows", permissions: "what a role allows" },
  "admin/users": { userId: null },
  "tenants/caller": { organizationId: null, organizationSlug: null, role: "a member's role" },
  "tenants/endpoints/roles": {
    additionalFields: null,
    data: null,
    description: null,
    role: null,
    roleId: null,
    roleName: "a role's name",
    permission: "what a role allows",
    isActive: "a role's name",
    isDefault: "a role for everybody",
  },
  "tenants/group_draft": {
    description: null,
    groupType: null,
    maxMembers: null,
    name: null,
    settings: null,
    slug: null,
    tags: null,
    isSystem: "a system group",
    roles: "a group's roles",
    isActive: "a group that carries a role",
    isOpen: "a group that carries a role",
    isPublic: "a group that carries a role",
  },
  "tenants/endpoints/groups": { data: null, name: null, organizationId: null, teamId: null, ownerId: "a group that carries a role" },
  "tenants/endpoints/group_members": {
    teamId: null,
    userId: "a group that carries a role",
    role: "a group that carries a role",
    isActive: "a group that carries a role",
  },
  "tenants/endpoints/invitations": { email: null, invitationId: null, resend: "an invitation", teamId: "an invitation" },
  "tenants/endpoints/invitation_page": { decision: null, token: null },
  "tenants/endpoints/api_keys": {
    configId: null,
    expiresIn: null,
    keyId: "a stronger key",
    metadata: null,
    name: null,
    organizationId: null,
    prefix: null,
    rateLimitEnabled: null,
    rateLimitMax: null,
    rateLimitTimeWindow: null,
    refillAmount: null,
    refillInterval: null,
    remaining: null,
    userId: null,
    enabled: "a stronger key",
    permissions: "a key's permissions",
  },
};

/** The members that a file's source reads. */
function fieldsOf(file) {
  const source = read(`../../src/${file}.rs`).split("#[cfg(test)]")[0];
  const names = [
    ...source.matchAll(
      /\.(?:required|line|name|name_or_empty|optional_name|change_name|optional|optional_line|change|email|boolean|object|nested|nested_optional|list|texts|number|take|has)\(\s*"(\w+)"/g,
    ),
    ...source.matchAll(/\b(?:object|number|member_field)\((?:&mut )?\w+, "(\w+)"/g),
  ].map(([, name]) => name);
  for (const [, list] of source.matchAll(/(?:MEMBERS|KNOWN|SETTABLE)[^=]*= \[(.*?)\];/gs))
    names.push(...[...list.matchAll(/"(\w+)"/g)].map(([, name]) => name));
  return [...new Set(names)].sort();
}

test("every field that administrators send has a row here", () => {
  const handlers = [...read("../../src/server/routes.rs").matchAll(/ (admin|tenants)::(\w+)::\w+(?: \[[\w ]+\])?;/g)].map(
    ([, room, file]) => `${room}/endpoints/${file}`,
  );
  const files = new Set([
    ...handlers.filter((file) => fieldsOf(file).length > 0),
    "federation/issuer_draft",
    "federation/endpoints/system_account",
    "tenants/group_draft",
    "tenants/caller",
    "tenants/roles",
    "admin/users",
  ]);
  assert.deepEqual([...files].sort(), Object.keys(FIELDS).sort(), "a file of endpoints without its fields here");
  for (const [file, fields] of Object.entries(FIELDS))
    assert.deepEqual(fieldsOf(file), Object.keys(fields).sort(), `src/${file}.rs reads other fields than this table says`);
  const named = new Set(
    Object.values(FIELDS)
      .flatMap((fields) => Object.values(fields))
      .filter(Boolean),
  );
  assert.deepEqual([...named].sort(), Object.keys(CASES).sort(), "each case is a field's, and there is one for each");
});

const POLICY = { twoFactor: { required: false } };
const isolated = async () => seedTenant(worker, { slug: `t-${randomUUID()}`, pool: "isolated" });
const shared = async () => seedTenant(worker, { slug: `t-${randomUUID()}` });
const owners = async (tenant) =>
  (
    await worker.rows(
      `select m.user_id from member m join member_role mr on mr.member_id = m.id join role r on r.id = mr.role_id
         where r.name = 'owner' and m.tenant_id = ?`,
      tenant,
    )
  ).map(({ user_id }) => user_id);
const proven = async (options) => {
  const who = await signUp(worker, options);
  await run("update user set email_verified = 1 where id = ?", who.id);
  return who;
};
const issuerBody = (body = {}) => ({
  name: `i${randomUUID().slice(0, 13)}`,
  label: "Acme",
  baseUrl: upstream.url,
  clientId: CLIENT.id,
  clientSecret: CLIENT.secret,
  global: true,
  ...body,
});
/** An issuer that somebody is linked to. */
async function inUse(body = {}) {
  const made = ok(await post(owner, "/admin/issuers", issuerBody(body)));
  await run(
    "insert into account (id, user_id, issuer_id, subject, confirmed_at, created_at, updated_at) values (?, ?, ?, ?, 1, 1, 1)",
    randomUUID(),
    owner.id,
    made.id,
    randomUUID(),
  );
  return made.id;
}

const CASES = {
  async "an owner of a tenant"() {
    const manager = await holder(["tenant:manage", "policy:update"]);
    await run("update user set email_verified = 1 where id = ?", manager.id);
    const here = `/admin/tenants/${DEFAULT_TENANT}`;
    refused(await patch(manager, here, { owner: { email: manager.email } }), "of the tenant that they manage tenants in");
    assert.ok(!(await owners(DEFAULT_TENANT)).includes(manager.id));
    const admin = await proven({ roles: ["admin"] });
    refused(await patch(admin, here, { owner: { email: admin.email } }), "an admin");
    const key = ok(await post(admin, "/api-key/create", { name: "k", permissions: { tenant: ["manage"] } })).key;
    refused(
      await worker.browser().send("PATCH", at(here), { body: { owner: { email: admin.email } }, headers: { "x-api-key": key } }),
      "a key of theirs",
    );
    ok(await patch(owner, here, { owner: { email: admin.email } }), "an owner");
    assert.ok((await owners(DEFAULT_TENANT)).includes(admin.id));

    const chief = await proven({ roles: ["owner"] });
    for (const tenant of [await shared(), await isolated()]) {
      const path = `/admin/tenants/${tenant}`;
      const [row] = await worker.rows("select slug, user_pool from tenant where id = ?", tenant);
      await seedDomain(worker, tenant, `${row.slug}.localhost`);
      const heir =
        row.user_pool === "isolated" ? await signUp(worker, { host: `http://${row.slug}.localhost`, tenant }) : await signUp(worker);
      const second =
        row.user_pool === "isolated" ? await signUp(worker, { host: `http://${row.slug}.localhost`, tenant }) : await signUp(worker);
      await run("update user set email_verified = 1 where id in (?, ?)", heir.id, second.id);
      refused(await patch(manager, path, { owner: { email: heir.email } }), `${row.user_pool}, nobody's, by who manages tenants`);
      assert.deepEqual(await owners(tenant), []);
      ok(await patch(chief, path, { owner: { email: heir.email } }), `${row.user_pool}, nobody's, by an owner here`);
      assert.deepEqual(await owners(tenant), [heir.id]);
      refused(await patch(chief, path, { owner: { email: second.email } }), `${row.user_pool}, beside its own owner`);
      assert.deepEqual(await owners(tenant), [heir.id]);
      await run("update user set status = 'suspended', status_reason = 'x' where id = ?", heir.id);
      ok(await patch(chief, path, { owner: { email: second.email } }), `${row.user_pool}, whose owner cannot act`);
    }
    // An owner there who looks after tenants here gives what they hold.
    const { boss, id } = await organization();
    const other = await proven();
    await giveRole(worker, boss.id, manager.role);
    ok(await patch(boss, `/admin/tenants/${id}`, { owner: { email: other.email } }), "by an owner there");

    const body = () => ({ name: "N", slug: `n-${randomUUID()}`, owner: { email: other.email } });
    refused(await post(manager, "/admin/tenants", body()), "of a new tenant");
    ok(await post(manager, "/admin/tenants", { ...body(), owner: undefined }), "a new tenant without one");
    ok(await post(owner, "/admin/tenants", body()), "of a new tenant, by an owner");
  },
  async "a tenant's policy"() {
    const [manager, both] = [await holder(["tenant:manage"]), await holder(["tenant:manage", "policy:update"])];
    const tenant = await shared();
    for (const id of [DEFAULT_TENANT, tenant]) refused(await patch(manager, `/admin/tenants/${id}`, { securityPolicy: POLICY }), id);
    refused(await post(manager, "/admin/tenants", { name: "N", slug: `n-${randomUUID()}`, securityPolicy: POLICY }), "of a new one");
    ok(await patch(both, `/admin/tenants/${tenant}`, { securityPolicy: POLICY }));
    ok(await post(both, "/admin/tenants", { name: "N", slug: `n-${randomUUID()}`, securityPolicy: POLICY }));
  },
  async "a tenant's passkey origins"() {
    const [manager, both] = [await holder(["tenant:manage"]), await holder(["tenant:manage", "policy:update"])];
    const tenant = await shared();
    const path = `/admin/tenants/${tenant}`;
    const settings = async () => JSON.parse((await worker.rows("select settings from tenant where id = ?", tenant))[0].settings);
    const passkey = { rpId: "example.com", origins: ["https://example.com"] };
    refused(await patch(manager, path, { settings: { passkey } }), "set");
    refused(await post(manager, "/admin/tenants", { name: "N", slug: `n-${randomUUID()}`, settings: { passkey } }), "of a new one");
    ok(await patch(manager, path, { settings: { theme: "dark" } }), "other settings");
    ok(await patch(both, path, { settings: { theme: "dark", passkey } }));
    for (const [note, other] of [
      ["another", { ...passkey, origins: ["https://evil.example"] }],
      ["none", undefined],
      ["null", null],
    ]) {
      refused(await patch(manager, path, { settings: { passkey: other } }), note);
    }
    ok(await patch(manager, path, { settings: { theme: "light", passkey } }), "as it is");
    assert.deepEqual(await settings(), { theme: "light", passkey });
  },
  async "a user's address"() {
    const [some, both] = [await holder(["user:update", "ac:read"]), await holder(["user:update", "user:set-email", "ac:read"])];
    const who = await signUp(worker);
    refused(await post(some, "/admin/update-user", { userId: who.id, data: { email: uniqueEmail() } }));
    ok(await post(some, "/admin/update-user", { userId: who.id, data: { name: "Other" } }));
    ok(await post(both, "/admin/update-user", { userId: who.id, data: { email: uniqueEmail() } }));
  },
  async "a proven address"() {
    const [some, both] = [
      await holder(["user:create", "user:update", "ac:read"]),
      await holder(["user:create", "user:update", "user:set-email", "ac:read"]),
    ];
    const body = (data) => ({ email: uniqueEmail(), name: "N", password: PASSWORD, data });
    for (const emailVerified of [true, false]) refused(await post(some, "/admin/create-user", body({ emailVerified })), `${emailVerified}`);
    ok(await post(some, "/admin/create-user", body()), "without");
    assert.equal(ok(await post(both, "/admin/create-user", body({ emailVerified: true }))).user.emailVerified, true);
    const who = await signUp(worker);
    refused(await post(some, "/admin/update-user", { userId: who.id, data: { emailVerified: true } }));
    ok(await post(both, "/admin/update-user", { userId: who.id, data: { emailVerified: true } }));
  },
  async "a user's role"() {
    const [some, both] = [
      await holder(["user:create", "user:update", "ac:read"]),
      await holder(["user:create", "user:update", "user:set-role", "ac:read"]),
    ];
    await giveRole(worker, (await signUp(worker)).id, "plain-name");
    const who = await signUp(worker);
    for (const role of ["owner", some.role, "plain-name"]) {
      refused(await post(some, "/admin/create-user", { email: uniqueEmail(), name: "N", role }), `create ${role}`);
      refused(await post(some, "/admin/update-user", { userId: who.id, data: { role } }), `update ${role}`);
      refused(await post(some, "/admin/set-role", { userId: who.id, role }), `set-role ${role}`);
    }
    for (const role of ["owner", "plain-name"]) {
      refused(await post(both, "/admin/create-user", { email: uniqueEmail(), name: "N", role }), `create ${role}, which they do not hold`);
      refused(await post(both, "/admin/set-role", { userId: who.id, role }), `set-role ${role}, which they do not hold`);
    }
    ok(await post(both, "/admin/set-role", { userId: who.id, role: ["member", both.role] }), "their own");
  },
  async "an issuer of everybody's"() {
    const tenant = await isolated();
    const [{ slug }] = await worker.rows("select slug from tenant where id = ?", tenant);
    const host = `http://${slug}.localhost`;
    await seedDomain(worker, tenant, `${slug}.localhost`);
    const theirs = await signUp(worker, { host, tenant, roles: ["owner"] });
    refused(await post(theirs, "/admin/issuers", issuerBody(), host), "made");
    const made = ok(await post(owner, "/admin/issuers", issuerBody()));
    const path = `/admin/issuers/${made.id}`;
    for (const [method, more, body] of [
      ["PATCH", "", { label: "X" }],
      ["DELETE", "", undefined],
      ["POST", "/discover", {}],
      ["GET", "/system-account", undefined],
      ["POST", "/system-account", {}],
      ["DELETE", "/system-account", undefined],
      ["POST", "/service-token", {}],
    ]) {
      refused(await send(theirs, method, path + more, body, host), `${method} ${more}`);
    }
    assert.equal((await send(owner, "GET", `${path}/system-account`)).status, 404, "whose it is to keep is told that there is none");
  },
  async "an issuer that is believed about addresses"() {
    const manager = await holder(["issuer:manage"]);
    const admin = await signUp(worker, { roles: ["admin"] });
    for (const who of [manager, admin]) refused(await post(who, "/admin/issuers", issuerBody({ trustEmail: true })), "made");
    const plain = ok(await post(manager, "/admin/issuers", issuerBody())).id;
    refused(await patch(manager, `/admin/issuers/${plain}`, { trustEmail: true }), "set");
    const believed = ok(
      await post(owner, "/admin/issuers", issuerBody({ trustEmail: true, requireConfirmation: true, allowedDomains: ["example.org"] })),
    ).id;
    const other = await startUpstream();
    try {
      for (const body of [
        { baseUrl: other.url },
        { clientId: "other" },
        { requireConfirmation: false },
        { allowedDomains: [] },
        { mapping: { email: "upn" } },
        { endpoints: { jwks_uri: `${other.url}/jwks` } },
        { settings: { audiences: ["other"] } },
        { settings: { acceptAssertions: true } },
      ])
        refused(await patch(manager, `/admin/issuers/${believed}`, body), JSON.stringify(body));
    } finally {
      await other.stop();
    }
    ok(
      await patch(manager, `/admin/issuers/${believed}`, { label: "Other", sortOrder: 3, clientSecret: "another", enabled: false }),
      "what speaks for nobody",
    );
    ok(await patch(owner, `/admin/issuers/${believed}`, { requireConfirmation: false }));
    // The same of an isolated tenant's own.
    const tenant = await isolated();
    const [{ slug }] = await worker.rows("select slug from tenant where id = ?", tenant);
    const host = `http://${slug}.localhost`;
    await seedDomain(worker, tenant, `${slug}.localhost`);
    const [boss, some] = [
      await signUp(worker, { host, tenant, roles: ["owner"] }),
      await signUp(worker, { host, tenant, roles: ["admin"] }),
    ];
    refused(await post(some, "/admin/issuers", issuerBody({ global: false, trustEmail: true }), host), "of a tenant, made by its admin");
    ok(await post(boss, "/admin/issuers", issuerBody({ global: false, trustEmail: true }), host), "of a tenant, made by its owner");
  },
  async "an issuer's identity"() {
    const manager = await holder(["issuer:manage"]);
    const endpoints = [
      "authorization_endpoint",
      "token_endpoint",
      "userinfo_endpoint",
      "jwks_uri",
      "end_session_endpoint",
      "revocation_endpoint",
      "introspection_endpoint",
      "pushed_authorization_request_endpoint",
      "emails_endpoint",
    ];
    const changes = [
      { baseUrl: `${upstream.url}/other` },
      { serviceType: "github" },
      { mapping: { email: "upn" } },
      { mapping: { email_verified: "always" } },
      ...endpoints.map((name) => ({ endpoints: { [name]: "https://evil.example/x" } })),
    ];
    const id = await inUse();
    for (const who of [manager, owner]) {
      for (const body of changes)
        assert.deepEqual(told(await patch(who, `/admin/issuers/${id}`, body)), [409, "ISSUER_IN_USE"], JSON.stringify(body));
    }
    ok(await patch(manager, `/admin/issuers/${id}`, { mapping: { picture: "avatar" }, label: "X" }), "what is no identity");
    const api = {
      serviceType: "oauth2",
      mapping: { subject: "id" },
      endpoints: {
        authorization_endpoint: `${upstream.url}/authorize`,
        token_endpoint: `${upstream.url}/token`,
        userinfo_endpoint: `${upstream.url}/userinfo`,
      },
    };
    const service = await inUse(api);
    for (const name of Object.keys(api.endpoints)) {
      assert.deepEqual(
        told(await patch(owner, `/admin/issuers/${service}`, { endpoints: { ...api.endpoints, [name]: "https://evil.example/x" } })),
        [409, "ISSUER_IN_USE"],
        name,
      );
    }
    assert.deepEqual(told(await patch(owner, `/admin/issuers/${service}`, { mapping: { subject: "login" } })), [409, "ISSUER_IN_USE"]);
    const unused = ok(await post(manager, "/admin/issuers", issuerBody())).id;
    for (const body of [{ endpoints: { jwks_uri: `${upstream.url}/jwks` } }, { mapping: { email: "upn" } }])
      ok(await patch(manager, `/admin/issuers/${unused}`, body), "while nobody is linked");
  },
  async "an issuer's audience"() {
    const manager = await holder(["issuer:manage"]);
    const id = await inUse();
    for (const body of [{ clientId: "other" }, { settings: { audiences: ["other"] } }, { settings: { acceptAssertions: true } }]) {
      refused(await patch(manager, `/admin/issuers/${id}`, body), JSON.stringify(body));
      ok(await patch(owner, `/admin/issuers/${id}`, body), JSON.stringify(body));
    }
  },
  async "an organization's policy"() {
    const { join } = await organization();
    const [some, both] = [await join(["organization:update"]), await join(["policy:update"])];
    refused(await send(some, "PUT", "/organization/security-policy", { securityPolicy: POLICY }));
    ok(await send(both, "PUT", "/organization/security-policy", { securityPolicy: POLICY }));
    await post(some, "/organization/update", { data: { name: "Other", securityPolicy: { session: { most: 1 } } } });
  },
  async "a member's role"() {
    const { join, memberOf, rolesOf, boss } = await organization();
    const [some, both, who] = [await join(["member:update"]), await join(["member:update", "ac:update"]), await join([])];
    const set = async (by, role) => post(by, "/organization/update-member-role", { memberId: await memberOf(who.id), role });
    for (const role of ["finance", "auditor", ["member", "finance"], "admin", "owner"]) refused(await set(some, role), `${role}`);
    ok(await set(some, "member"));
    ok(await set(both, "finance"));
    assert.deepEqual(await rolesOf(who.id), ["finance"]);
    ok(await set(both, "auditor"));
    refused(await set(both, "admin"), "more than they hold");
    ok(await set(boss, "admin"));
  },
  async "what a role allows"() {
    const { join, boss } = await organization();
    const some = await join(["ac:create", "ac:update"]);
    for (const field of ["permission", "permissions"])
      refused(await post(some, "/organization/create-role", { role: `x${randomUUID()}`, [field]: { member: ["delete"] } }), field);
    ok(await post(boss, "/organization/create-role", { role: "strong", permission: { member: ["delete"] } }));
    refused(await post(some, "/organization/update-role", { roleName: "strong", data: { permission: {} } }), "taken away");
    ok(await post(some, "/organization/create-role", { role: "weak", permission: { ac: ["read"] } }));
    refused(await post(some, "/organization/update-role", { roleName: "weak", data: { permission: { member: ["delete"] } } }), "given");
  },
  async "a role's name"() {
    const { join } = await organization();
    const [some, both] = [await join(["ac:create", "ac:update"]), await join(["ac:create", "ac:update", "member:update"])];
    for (const [who, check] of [
      [some, refused],
      [both, ok],
    ]) {
      const role = `x${randomUUID()}`;
      ok(await post(who, "/organization/create-role", { role, permission: { ac: ["read"] } }));
      ok(await post(who, "/organization/update-role", { roleName: role, data: { isActive: false } }), "off");
      check(await post(who, "/organization/update-role", { roleName: role, data: { isActive: true } }), "on again");
      check(await post(who, "/organization/update-role", { roleName: role, data: { roleName: `y${randomUUID()}` } }), "renamed");
    }
  },
  async "a role for everybody"() {
    const { join } = await organization();
    const body = (role) => ({ role, permission: { ac: ["read"] }, additionalFields: { isDefault: true } });
    for (const held of [["ac:create"], ["ac:create", "member:update"], ["ac:create", "ac:update"]])
      refused(await post(await join(held), "/organization/create-role", body(`x${randomUUID()}`)), `${held}`);
    const all = await join(["ac:create", "ac:update", "member:update"]);
    ok(await post(all, "/organization/create-role", body("everybody")));
    refused(await post(await join(["ac:update"]), "/organization/update-role", { roleName: "everybody", data: { isDefault: true } }));
    ok(await post(all, "/organization/update-role", { roleName: "everybody", data: { isDefault: true } }));
  },
  async "a system group"() {
    const { join } = await organization();
    const [some, both] = [await join(["team:create", "team:update"]), await join(["team:create", "organization:update"])];
    refused(await post(some, "/organization/create-team", { name: "S", isSystem: true }));
    ok(await post(both, "/organization/create-team", { name: "S", isSystem: true }));
    const { id } = ok(await post(some, "/organization/create-team", { name: "T" }));
    await post(some, "/organization/update-team", { teamId: id, data: { isSystem: true } });
    assert.deepEqual(await worker.rows("select is_system from user_group where id = ?", id), [{ is_system: 0 }], "no update makes one");
  },
  async "a group's roles"() {
    const { join } = await organization();
    const held = ["team:create", "team:update"];
    const [some, gives, decides] = [
      await join(held),
      await join([...held, "member:update"]),
      await join([...held, "member:update", "ac:update"]),
    ];
    for (const who of [some, gives]) {
      for (const roles of [["finance"], ["auditor"], ["owner"]])
        refused(await post(who, "/organization/create-team", { name: `G${randomUUID()}`, roles }), `${roles}`);
      const { id } = ok(await post(who, "/organization/create-team", { name: `G${randomUUID()}` }));
      for (const roles of [["finance"], ["auditor"]])
        refused(await post(who, "/organization/update-team", { teamId: id, data: { roles } }), `${roles}`);
    }
    ok(await post(decides, "/organization/create-team", { name: "G", roles: ["finance", "auditor"] }));
    refused(await post(decides, "/organization/create-team", { name: "H", roles: ["owner"] }));
  },
  async "a group that carries a role"() {
    const { join, team, inTeam, boss, memberOf } = await organization();
    const [some, decides, who] = [
      await join(["team:update", "team:delete"]),
      await join(["team:update", "team:delete", "ac:update"]),
      await join([]),
    ];
    const doors = (userId) => [
      ["/organization/add-team-member", { teamId: team, userId }],
      ["/organization/add-team-member", { teamId: team, userId, role: "admin" }],
      ...[{ isOpen: true }, { isActive: true }, { isPublic: true }, { maxMembers: 100 }, { ownerId: boss.id }, { roles: [] }].map(
        (data) => ["/organization/update-team", { teamId: team, data }],
      ),
      ["/organization/update-team-member", { teamId: team, userId: boss.id, isActive: true }],
      ["/organization/remove-team-member", { teamId: team, userId: boss.id }],
      ["/organization/remove-team", { teamId: team }],
    ];
    for (const userId of [some.id, who.id])
      for (const [path, body] of doors(userId)) refused(await post(some, path, body), `${path} ${JSON.stringify(body)}`);
    assert.deepEqual([await inTeam(some.id), await inTeam(who.id)], [0, 0]);
    ok(await post(decides, "/organization/add-team-member", { teamId: team, userId: who.id }));
    // A user who looks after the group has by it what it carries.
    ok(await post(decides, "/organization/update-team-member", { teamId: team, userId: who.id, role: "admin" }));
    ok(await post(who, "/organization/add-team-member", { teamId: team, userId: some.id }));
    // By a key that is scoped to it no more than by themselves.
    assert.ok(await memberOf(some.id));
  },
  async "an invitation"() {
    const { id, join, team, boss } = await organization();
    const [some, decides] = [await join(["invitation:create"]), await join(["invitation:create", "ac:update"])];
    const invite = (who, body) => post(who, "/organization/invite-member", { email: uniqueEmail(), role: "member", ...body });
    for (const body of [{ role: "finance" }, { role: "auditor" }, { role: "admin" }, { teamId: team }, { teamId: [team] }])
      refused(await invite(some, body), JSON.stringify(body));
    ok(await invite(some), "as a member");
    const guest = await proven();
    const invitation = ok(await invite(decides, { email: guest.email, teamId: team })).id;
    refused(await invite(some, { email: guest.email, resend: true }), "another's invitation, sent again");
    // What its inviter may not give any more is not taken up.
    await run(
      `delete from role_permission where permission_id in (select id from permission where resource = 'ac' and action = 'update')
         and role_id = (select id from role where name = ?)`,
      decides.role,
    );
    const answer = await post(guest, "/organization/accept-invitation", { invitationId: invitation });
    refused(answer, "its inviter has lost it");
    assert.equal((await worker.rows("select 1 from member where tenant_id = ? and user_id = ?", id, guest.id)).length, 0);
    ok(await invite(boss, { teamId: team, role: "finance" }));
  },
  async "a key's permissions"() {
    const { id, join } = await organization();
    const some = await join(["apiKey:create", "apiKey:update"]);
    const create = (who, permissions) => post(who, "/api-key/create", { name: "k", organizationId: id, permissions });
    refused(await create(some, { member: ["delete"] }));
    const key = ok(await create(some, { ac: ["read"] })).id;
    refused(await post(some, "/api-key/update", { keyId: key, permissions: { member: ["delete"] } }));
    refused(await post(some, "/api-key/create", { name: "k", permissions: { member: ["delete"] } }), "their own key");
  },
  async "a stronger key"() {
    const { id, boss, join } = await organization();
    const some = await join(["apiKey:update", "apiKey:delete"]);
    const [strong, weak] = [{ member: ["delete"] }, { ac: ["read"] }];
    const make = async (permissions) => ok(await post(boss, "/api-key/create", { name: "k", organizationId: id, permissions })).id;
    const [one, other] = [await make(strong), await make(weak)];
    for (const [path, body] of [
      ["update", { enabled: false }],
      ["update", { name: "x" }],
      ["update", { permissions: {} }],
      ["delete", {}],
    ]) {
      refused(await post(some, `/api-key/${path}`, { keyId: one, ...body }), `${path} ${JSON.stringify(body)}`);
      ok(await post(some, `/api-key/${path}`, { keyId: other, ...body }), `${path} ${JSON.stringify(body)}`);
    }
    assert.deepEqual(await worker.rows("select enabled from api_key where id = ?", one), [{ enabled: 1 }]);
    ok(await post(boss, "/api-key/delete", { keyId: one }));
  },
};

for (const [name, body] of Object.entries(CASES)) test(`a permission that is not a field's own does not reach it: ${name}`, body);

test("a user who lost a role gives it no more by an invitation that was on its way", async () => {
  for (let round = 0; round < 3; round += 1) {
    const { id, team, join, inTeam, memberOf, rolesOf } = await organization();
    const [giver, who] = [await join(["team:update", "member:update", "ac:update"]), await join([])];
    const member = await memberOf(who.id);
    let lost = false;
    const late = [];
    const flood = Promise.all(
      Array.from({ length: 6 }, async (_, at) => {
        while (!lost) {
          if (at % 2) await post(giver, "/organization/add-team-member", { teamId: team, userId: who.id });
          else await post(giver, "/organization/update-member-role", { memberId: member, role: "finance" });
        }
        late.push(await post(giver, "/organization/update-member-role", { memberId: member, role: "finance" }));
      }),
    );
    // In one transaction: what they had given, and what they gave it by.
    await worker.d1.batch([
      worker.d1
        .prepare(
          `delete from role_permission where role_id = (select id from role where name = ? and tenant_id = ?) and permission_id in
             (select id from permission where resource = 'ac' and action = 'update')`,
        )
        .bind(giver.role, id),
      worker.d1.prepare("delete from user_group_member where user_group_id = ? and user_id = ?").bind(team, who.id),
      worker.d1.prepare("delete from member_role where member_id = ?").bind(member),
    ]);
    lost = true;
    await flood;
    for (const answer of late) refused(answer);
    assert.deepEqual([await inTeam(who.id), await rolesOf(who.id)], [0, []], `round ${round}`);
  }
});

test("of a link and a move of its issuer at once, one happens", async () => {
  const other = await startUpstream();
  try {
    for (let round = 0; round < 6; round += 1) {
      const { id, name } = ok(await post(owner, "/admin/issuers", issuerBody()));
      const browser = worker.browser();
      const begun = ok(await browser.post(at("/sign-in/social"), { provider: name, callbackURL: "/done" }));
      const callback = await consent(begun.url, stranger());
      const [arrived, moved] = await Promise.all([browser.get(callback), patch(owner, `/admin/issuers/${id}`, { baseUrl: other.url })]);
      const linked = (await worker.rows("select 1 from account where issuer_id = ?", id)).length;
      const [{ base_url }] = await worker.rows("select base_url from issuer where id = ?", id);
      assert.ok(linked === 0 || base_url === upstream.url, `linked to an issuer that is another now: ${arrived.status} ${moved.status}`);
      assert.ok([200, 409].includes(moved.status), moved.text);
    }
  } finally {
    await other.stop();
  }
});

test("an issuer that becomes another while it names somebody links nobody", async () => {
  const other = await startUpstream();
  try {
    const { id, name } = ok(await post(owner, "/admin/issuers", issuerBody()));
    const begin = async (who, path) =>
      consent(ok(await who.browser.post(at(path), { provider: name, callbackURL: "/done" })).url, stranger());
    const [nobody, member] = [{ browser: worker.browser() }, await signUp(worker)];
    const flows = [
      [nobody, await begin(nobody, "/sign-in/social")],
      [member, await begin(member, "/link-social")],
    ];
    for (const [who, callback] of flows) {
      upstream.settings.exchange = async () => ok(await patch(owner, `/admin/issuers/${id}`, { baseUrl: other.url }), "it moves");
      assert.equal((await who.browser.get(callback)).status, 409);
      upstream.settings.exchange = undefined;
      ok(await patch(owner, `/admin/issuers/${id}`, { baseUrl: upstream.url }), "and back");
    }
    assert.equal((await worker.rows("select 1 from account where issuer_id = ?", id)).length, 0);
    assert.equal(ok(await nobody.browser.get(at("/get-session"))), null);
  } finally {
    await other.stop();
  }
});

// ---- in somebody's name ----

const ROUTES = authRoutes;

/** What an administrator does in a user's session by no more than acting as them: nothing of the user's changes by it. */
const SEEN_AS = new Set([
  "POST /api/auth/organization/has-permission",
  "POST /api/auth/admin/has-permission",
  "POST /api/auth/organization/set-active",
  "POST /api/auth/organization/set-active-team",
  "POST /api/auth/organization/check-slug",
  "POST /api/auth/multi-session/revoke",
  "POST /api/auth/admin/stop-impersonating",
  // Mails the user a link, as anybody may ask for.
  "POST /verify-email/send",
]);

test("an administrator who acts as a user changes nothing that they may not change by themselves", async () => {
  const admin = await holder(["user:impersonate", "ac:read"]);
  const who = await signUp(worker);
  const other = worker.browser();
  ok(await other.post(at("/sign-in/email"), { email: who.email, password: PASSWORD }));
  const [{ id: elsewhere }] = await worker.rows("select id from session where user_id = ? order by id desc limit 1", who.id);
  const body = {
    userId: who.id,
    id: elsewhere,
    token: elsewhere,
    name: "Changed",
    data: { name: "Changed" },
    password: PASSWORD,
    currentPassword: PASSWORD,
    newPassword: "another long password",
    accountId: elsewhere,
    newEmail: uniqueEmail(),
    organizationId: DEFAULT_TENANT,
    email: who.email,
    slug: `s-${randomUUID()}`,
    provider: "acme",
    keyId: elsewhere,
    callbackURL: "/done",
    client_id: "x",
    permissions: { team: ["create"] },
    redirect_uris: [REDIRECT],
  };
  const wrong = [];
  const before = JSON.stringify(await worker.rows("select * from user where id = ?", who.id));
  for (const route of ROUTES.filter(({ method, access }) => method !== "GET" && access !== "Anybody")) {
    if (SEEN_AS.has(route.name)) continue;
    const acting = worker.browser();
    ok(await acting.post(at("/sign-in/email"), { email: admin.email, password: PASSWORD }));
    ok(await acting.post(at("/admin/impersonate-user"), { userId: who.id }), "impersonation");
    const url = `${AUTH}${route.path.replace(/:\w+/, elsewhere)}`;
    const fields = { ...body, action: "disable", decision: "accept", code: "000000" };
    const answer =
      route.surface === "Page"
        ? await acting.send(route.method, url, {
            body: query(Object.fromEntries(Object.entries(fields).filter(([, value]) => typeof value === "string"))),
            headers: { ...FORM, origin: AUTH },
          })
        : await acting.send(route.method, url, { body, headers: { origin: AUTH } });
    if (answer.status < 400) wrong.push(`${route.name}: ${answer.status} ${answer.text.slice(0, 100)}`);
    assert.ok(answer.status < 500, `${route.name}: ${answer.status} ${answer.text}`);
  }
  assert.deepEqual(wrong, []);
  assert.equal(JSON.stringify(await worker.rows("select * from user where id = ?", who.id)), before);
  assert.deepEqual(await worker.rows("select revoked_at from session where id = ?", elsewhere), [{ revoked_at: null }]);
});

test("as a user an administrator does what they may do to users, and the audit names them", async () => {
  const who = await signUp(worker);
  for (const [path, body, permission, event] of [
    ["/update-user", { name: "Changed" }, "user:update", "user.changed"],
    ["/revoke-other-sessions", {}, "session:revoke", "sessions.ended"],
    ["/revoke-sessions", {}, "session:revoke", "sessions.ended"],
  ]) {
    for (const [held, status] of [
      [[], 403],
      [[permission], 200],
    ]) {
      const admin = await holder(["user:impersonate", "ac:read", ...held]);
      ok(await post(admin, "/admin/impersonate-user", { userId: who.id }));
      const answer = await post(admin, path, body);
      assert.equal(answer.status, status, `${path} ${answer.text}`);
      const events = await worker.rows(
        "select subject, actor_id, json_extract(details, '$.as') as acting from audit_event where event = ? and actor_id = ?",
        event,
        admin.id,
      );
      assert.deepEqual(events, status === 200 ? [{ subject: who.id, actor_id: admin.id, acting: who.id }] : [], path);
    }
  }
});

test("an administrator in a user's name does not use what their issuer gave them", async () => {
  await addIssuer(worker.d1, upstream.url, { name: "kept" });
  const browser = worker.browser();
  const callback = await consent(ok(await browser.post(at("/sign-in/social"), { provider: "kept", callbackURL: "/done" })).url, stranger());
  assert.equal((await browser.get(callback)).location, "/done");
  const [{ id: accountId }] = ok(await browser.get(at("/list-accounts")));
  const { user } = ok(await browser.get(at("/get-session")));
  assert.equal((await browser.get(at(`/account-info?accountId=${accountId}`))).status, 200, "its owner");
  const admin = await signUp(worker, { roles: ["admin"] });
  ok(await post(admin, "/admin/impersonate-user", { userId: user.id }));
  refused(await admin.browser.get(at(`/account-info?accountId=${accountId}`)));
  refused(await post(admin, "/get-access-token", { accountId }));
});

// ---- what was used once ----

test("an ID token that signed in by redirect signs in no more as an app's", async () => {
  await addIssuer(worker.d1, upstream.url, { name: "once" });
  const [browser, person] = [worker.browser(), stranger()];
  const callback = await consent(ok(await browser.post(at("/sign-in/social"), { provider: "once", callbackURL: "/done" })).url, person);
  assert.equal((await browser.get(callback)).location, "/done");
  const [{ id: accountId }] = ok(await browser.get(at("/list-accounts")));
  const { idToken } = ok(await browser.post(at("/get-access-token"), { accountId }));
  const bring = (token, nonce, entering = worker.browser()) =>
    entering.post(at("/sign-in/social"), { provider: "once", idToken: { token, nonce } });
  assert.deepEqual(told(await bring(idToken, decodeJwt(idToken).nonce)), [401, "INVALID_TOKEN"]);
  // Nor does one that linked.
  const linker = await signUp(worker);
  const link = await consent(ok(await post(linker, "/link-social", { provider: "once", callbackURL: "/done" })).url, stranger());
  assert.equal((await linker.browser.get(link)).location, "/done");
  const { id: linked } = ok(await linker.browser.get(at("/list-accounts"))).find(({ providerId }) => providerId === "once");
  const second = ok(await post(linker, "/get-access-token", { accountId: linked })).idToken;
  assert.deepEqual(told(await bring(second, decodeJwt(second).nonce)), [401, "INVALID_TOKEN"]);
  // One of its own does, once.
  const own = await upstream.idToken({ ...person, jti: randomUUID() });
  assert.equal((await bring(own)).status, 200);
  assert.deepEqual(told(await bring(own)), [401, "INVALID_TOKEN"]);
});

test("being signed in at an issuer is no sign-in that a client asks for", async () => {
  await addIssuer(worker.d1, upstream.url, { name: "sso" });
  const app = await client({ grant_types: ["authorization_code"] });
  const now = () => Math.floor(Date.now() / 1000);
  for (const asks of [{ prompt: "login" }, { max_age: "600" }]) {
    for (const [said, silent] of [
      [now() - 3600, true],
      [now(), false],
      [undefined, false],
    ]) {
      const browser = worker.browser();
      const page = await browser.get(`${AUTH}/oauth2/authorize?${query(request(app, asks))}`, { headers: PAGE });
      const login = await browser.get(new URL(page.location, AUTH).href, { headers: PAGE });
      const [, target] = login.text.match(/name="continue" value="([^"]*)"/);
      assert.ok(login.text.includes('name="again" value="true"'));
      const sent = await browser.submit(`${AUTH}/login/upstream`, {
        provider: "sso",
        again: "true",
        continue: target.replaceAll("&amp;", "&"),
      });
      const { searchParams } = new URL(sent.location);
      assert.deepEqual([searchParams.get("prompt"), searchParams.get("max_age")], ["login", "0"]);
      const callback = await browser.get(await consent(sent.location, stranger({ auth_time: said })), { headers: PAGE });
      const back = await browser.get(new URL(callback.location, AUTH).href, { headers: PAGE });
      assert.equal(new URL(back.location, AUTH).searchParams.has("code"), !silent, `${JSON.stringify(asks)} ${said} ${back.location}`);
      if (silent) assert.match(back.location, /^\/login\?.*again=true|error=login_required/);
    }
  }
});

// ---- the last way in ----

test("the last way in stays, by whichever doors the others go, at once or in turn", async () => {
  const closed = await startWorker({ settings: { ...SETTINGS, SIGN_IN_WITH: "passkey" } });
  try {
    await addIssuer(closed.d1, upstream.url);
    const begin = async () => {
      const browser = closed.browser();
      const callback = await consent(
        ok(await browser.post(at("/sign-in/social"), { provider: "acme", callbackURL: "/done" })).url,
        stranger(),
      );
      assert.equal((await browser.get(callback)).location, "/done");
      const { user } = ok(await browser.get(at("/get-session")));
      const passkey = randomUUID();
      await closed.d1
        .prepare(
          `insert into passkey (id, user_id, rp_id, credential_id, public_key, device_type, aaguid, created_at, updated_at) values
             (?, ?, 'auth.localhost', ?, 'x', 'singleDevice', 'x', 1, 1)`,
        )
        .bind(passkey, user.id, randomUUID())
        .run();
      const [{ id: accountId }] = ok(await browser.get(at("/list-accounts")));
      const left = async () =>
        (await closed.rows("select 1 from account where user_id = ?1 union all select 1 from passkey where user_id = ?1", user.id)).length;
      return {
        left,
        unlink: () => browser.post(at("/unlink-account"), { accountId }),
        remove: () => browser.post(at("/passkey/delete-passkey"), { id: passkey }),
      };
    };
    const one = await begin();
    ok(await one.unlink());
    assert.deepEqual(told(await one.remove()), [400, "LAST_WAY_IN"]);
    assert.equal(await one.left(), 1);
    const two = await begin();
    ok(await two.remove());
    assert.deepEqual(told(await two.unlink()), [400, "FAILED_TO_UNLINK_LAST_ACCOUNT"]);
    for (let round = 0; round < 8; round += 1) {
      const { unlink, remove, left } = await begin();
      const answers = await Promise.all([unlink(), remove()]);
      assert.equal(answers.filter(({ status }) => status === 200).length, 1, answers.map(({ text }) => text).join());
      assert.equal(await left(), 1);
    }
  } finally {
    await closed.dispose();
  }
});

test("a user who can sign in by mail as well deletes their passkey", async () => {
  const who = await signUp(worker);
  const passkey = async () => {
    const id = randomUUID();
    await run(
      `insert into passkey (id, user_id, rp_id, credential_id, public_key, device_type, aaguid, created_at, updated_at) values
         (?, ?, 'auth.localhost', ?, 'x', 'singleDevice', 'x', 1, 1)`,
      id,
      who.id,
      randomUUID(),
    );
    return id;
  };
  ok(await post(who, "/passkey/delete-passkey", { id: await passkey() }), "with a password");
  await run("delete from account where user_id = ?", who.id);
  assert.deepEqual(
    told(await post(who, "/passkey/delete-passkey", { id: await passkey() })),
    [400, "LAST_WAY_IN"],
    "an address that nobody has proven",
  );
  await run("update user set email_verified = 1 where id = ?", who.id);
  ok(await post(who, "/passkey/delete-passkey", { id: await passkey() }), "a proven one");
});

// ---- a second factor ----

test("the password alone, in a trusted browser, neither copies the factor nor takes it away", async () => {
  const who = await signUp(worker);
  const code = await withApp(worker, who);
  const browser = worker.browser();
  const signIn = async () => ok(await browser.post(at("/sign-in/email"), { email: who.email, password: PASSWORD }));
  assert.equal((await signIn()).twoFactorRedirect, true);
  ok(await browser.post(at("/two-factor/verify-totp"), { code: await code(), trustDevice: true }));
  ok(await browser.post(at("/sign-out"), {}));
  assert.equal((await signIn()).twoFactorRedirect, undefined, "the browser is trusted");
  const doors = ["get-totp-uri", "generate-backup-codes", "disable"];
  const ask = (path) => browser.post(at(`/two-factor/${path}`), { password: PASSWORD });
  for (const path of doors) assert.deepEqual(told(await ask(path)), [403, "TWO_FACTOR_NOT_GIVEN"], path);
  assert.equal((await browser.post(at("/two-factor/verify-totp"), { code: "000000" })).status, 401);
  for (const path of doors) assert.deepEqual(told(await ask(path)), [403, "TWO_FACTOR_NOT_GIVEN"], `${path} after a wrong code`);
  ok(await browser.post(at("/two-factor/verify-totp"), { code: await code() }));
  for (const path of doors) ok(await ask(path), path);
});

// ---- tokens and audiences ----

const API = "https://api.example";
const CC = "client_credentials",
  EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange",
  DEVICE = "urn:ietf:params:oauth:grant-type:device_code";
const VERIFIER = randomBytes(32).toString("base64url");
const CHALLENGE = createHash("sha256").update(VERIFIER).digest("base64url");
const query = (parameters) => {
  const all = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) for (const one of [value].flat()) if (one !== undefined) all.append(name, one);
  return all.toString();
};
const form = (path, parameters, client) =>
  worker.browser().send("POST", `${AUTH}${path}`, { body: query(parameters), headers: { ...FORM, ...(client && basic(client)) } });
const client = async (metadata) =>
  ok(await post(owner, "/admin/oauth2/create-client", { client_name: "App", redirect_uris: [REDIRECT], skip_consent: true, ...metadata }));
const request = (made, more) => ({
  client_id: made.client_id,
  response_type: "code",
  redirect_uri: REDIRECT,
  scope: "openid email offline_access",
  code_challenge: CHALLENGE,
  code_challenge_method: "S256",
  nonce: "n",
  ...more,
});
const redemption = (code) => ({ grant_type: "authorization_code", code, redirect_uri: REDIRECT, code_verifier: VERIFIER });
const back = async (url, who) => (await agree(who.browser, url, { who })).searchParams;

test("each kind of token is for one thing, and passes for no other", async () => {
  const all = { grant_types: ["authorization_code", "refresh_token", CC] };
  const [api, app, who] = [await client({ redirect_uris: [], grant_types: [CC], resource: API }), await client(all), await signUp(worker)];
  const tokens = async (more) =>
    ok(
      await form("/oauth2/token", redemption((await back(`${AUTH}/oauth2/authorize?${query(request(app, more))}`, who)).get("code")), app),
    );
  const [plain, forApi] = [await tokens(), await tokens({ resource: API })];
  const session = ok(await who.browser.get(at("/token"))).token;
  const own = ok(await form("/oauth2/token", { grant_type: CC, resource: API }, app)).access_token;
  const keys = createLocalJWKSet(ok(await worker.browser().get(at("/jwks"))));
  const verifies = (token, options) =>
    jwtVerify(token, keys, { issuer: AUTH, ...options }).then(
      () => true,
      () => false,
    );
  const made = {
    session,
    "access for nobody in particular": plain.access_token,
    "access for the API": forApi.access_token,
    "the client's own for the API": own,
    ID: plain.id_token,
  };
  const table = {
    "our own services, by audience": [{ audience: AUTH }, ["session"]],
    "our own services, by audience and type": [{ audience: AUTH, typ: "doorward-session+jwt" }, ["session"]],
    "our own services, by type": [{ typ: "doorward-session+jwt" }, ["session"]],
    "the API, by audience": [{ audience: API }, ["access for the API", "the client's own for the API"]],
    "the API, by audience and type (RFC 9068)": [{ audience: API, typ: "at+jwt" }, ["access for the API", "the client's own for the API"]],
    userinfo: [{ audience: `${AUTH}/oauth2/userinfo`, typ: "at+jwt" }, ["access for nobody in particular"]],
    "the relying party": [{ audience: app.client_id }, ["ID"]],
    "somebody else": [{ audience: "https://elsewhere.example" }, []],
  };
  for (const [name, [options, good]] of Object.entries(table)) {
    for (const [kind, token] of Object.entries(made)) assert.equal(await verifies(token, options), good.includes(kind), `${name}: ${kind}`);
  }
  // The session's JWT opens nothing of the provider's, and is nobody's hint.
  assert.equal((await worker.browser().get(`${AUTH}/oauth2/userinfo`, { headers: { authorization: `Bearer ${session}` } })).status, 401);
  assert.equal(ok(await form("/oauth2/introspect", { token: session }, api)).active, false);
  const hinted = await worker.browser().get(`${AUTH}/oauth2/authorize?${query(request(app, { id_token_hint: session, prompt: "none" }))}`);
  assert.equal(new URL(hinted.location).searchParams.get("error"), "invalid_request");
});

/** The issuer as it may be written. */
const SPELLINGS = [
  AUTH,
  `${AUTH}/`,
  `${AUTH}//`,
  AUTH.toUpperCase(),
  `${AUTH}:80`,
  `${AUTH}:80/`,
  "http://%61uth.localhost",
  "http://auth.localhost./",
  `${AUTH}/.`,
  `${AUTH}/x/..`,
  `${AUTH}/%2e`,
  `${AUTH}/%2F`,
  `${AUTH}?`,
  `${AUTH}/?x`,
  "http://x@auth.localhost",
  "http:auth.localhost",
];
const UNKNOWN = ["https://nobody.example/", "urn:nobody", `${API}/`, `${API}/below`, "HTTPS://api.example", `${AUTH}/oauth2/token`];

test("no grant is for ourselves in any spelling, nor for what nobody knows", async () => {
  await client({ redirect_uris: [], grant_types: [CC], resource: API });
  const app = await client({ grant_types: ["authorization_code", "refresh_token", CC, EXCHANGE, DEVICE] });
  const who = await signUp(worker);
  const authorize = (more) => back(`${AUTH}/oauth2/authorize?${query(request(app, more))}`, who);
  const given = ok(await form("/oauth2/token", redemption((await authorize({ resource: API })).get("code")), app));
  const target = async (answer, note) =>
    assert.deepEqual([answer.status, answer.json?.error], [400, "invalid_target"], `${note} ${answer.text}`);
  const exchanging = {
    grant_type: EXCHANGE,
    subject_token: given.access_token,
    subject_token_type: "urn:ietf:params:oauth:token-type:access_token",
  };
  for (const resource of [...SPELLINGS, ...UNKNOWN]) {
    assert.equal((await authorize({ resource })).get("error"), "invalid_target", `authorize ${resource}`);
    assert.equal(
      (await authorize({ resource: [API, resource] })).get("error"),
      "invalid_target",
      `authorize, beside a good one, ${resource}`,
    );
    await target(await form("/oauth2/par", request(app, { resource }), app), `par ${resource}`);
    await target(await form("/oauth2/token", { grant_type: CC, resource }, app), `client credentials ${resource}`);
    await target(await form("/oauth2/token", { ...exchanging, resource }, app), `exchange ${resource}`);
    await target(await form("/oauth2/token", { ...exchanging, audience: resource }, app), `exchange by audience ${resource}`);
    await target(await form("/oauth2/device_authorization", { scope: "openid", resource }, app), `device ${resource}`);
    await target(
      await form("/oauth2/token", { grant_type: "refresh_token", refresh_token: given.refresh_token, resource }, app),
      `refresh ${resource}`,
    );
    await target(
      await form("/oauth2/token", { ...redemption((await authorize({ resource: API })).get("code")), resource }, app),
      `code ${resource}`,
    );
  }
  for (const resource of SPELLINGS) {
    for (const body of [{ resource }, { resources: [resource] }]) {
      const answer = await post(owner, "/admin/oauth2/create-client", { client_name: "App", redirect_uris: [REDIRECT], ...body });
      assert.deepEqual([answer.status, answer.json.error], [400, "invalid_client_metadata"], JSON.stringify(body));
    }
  }
});

test("what was agreed to when there was a resource is worth nothing once there is none", async () => {
  const gone = `https://${randomUUID()}.example`;
  const api = await client({ redirect_uris: [], grant_types: [CC], resource: gone });
  const [app, who] = [await client({ grant_types: ["authorization_code", "refresh_token", EXCHANGE] }), await signUp(worker)];
  const code = async () => (await back(`${AUTH}/oauth2/authorize?${query(request(app, { resource: gone }))}`, who)).get("code");
  const [given, kept] = [ok(await form("/oauth2/token", redemption(await code()), app)), await code()];
  ok(await post(owner, "/oauth2/delete-client", { client_id: api.client_id }));
  for (const body of [
    redemption(kept),
    { grant_type: "refresh_token", refresh_token: given.refresh_token },
    { grant_type: EXCHANGE, subject_token: given.access_token, subject_token_type: "urn:ietf:params:oauth:token-type:access_token" },
  ]) {
    const answer = await form("/oauth2/token", body, app);
    assert.deepEqual([answer.status, answer.json.error], [400, "invalid_target"], `${body.grant_type} ${answer.text}`);
  }
});

test("a device is let in for a resource that its user agreed to", async () => {
  await client({ redirect_uris: [], grant_types: [CC], resource: API });
  const [app, who] = [await client({ grant_types: [DEVICE] }), await signUp(worker)];
  const begun = ok(await form("/oauth2/device_authorization", { scope: "openid", resource: API }, app));
  const page = await who.browser.get(begun.verification_uri_complete);
  assert.ok(page.text.includes(API), "its user is told");
  assert.equal((await who.browser.submit(`${AUTH}/device`, { user_code: begun.user_code, decision: "allow" })).status, 200);
  const { access_token } = ok(await form("/oauth2/token", { grant_type: DEVICE, device_code: begun.device_code }, app));
  assert.equal(decodeJwt(access_token).aud, API);
});
