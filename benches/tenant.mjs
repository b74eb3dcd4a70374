// Tenants at a size at which a missing index would show: a thousand roles of a hundred permissions, a hundred thousand users.

import { host, json, password, signedUp } from "./person.mjs";

const USERS = 100_000;
const ROLES = 1000;
const PERMISSIONS = 100;
const NUMBERS = "with recursive n (i) as (select 0 union all select i + 1 from n where i + 1 < ?1)";

/** A tenant's many roles, each of which allows as much; the user has one of them, and administers. */
async function roles(d1, email) {
  const [{ results }] = await d1.batch([d1.prepare("select count(*) as count from role where tenant_id is not null")]);
  if (results[0].count === 0) {
    await d1.batch([
      d1
        .prepare(
          `${NUMBERS} insert into role (id, tenant_id, name, created_at, updated_at)
                  select 'role-' || i, tenant.id, 'role-' || i, 0, 0 from n, tenant where slug = 'default'`,
        )
        .bind(ROLES),
      d1
        .prepare(
          `${NUMBERS} insert into permission (id, tenant_id, name, resource, action, created_at, updated_at)
                  select 'permission-' || i, tenant.id, 'bench:' || i, 'bench', 'a' || i, 0, 0 from n, tenant where slug = 'default'`,
        )
        .bind(PERMISSIONS),
      d1.prepare(`insert into role_permission (role_id, permission_id, created_at)
                  select r.id, p.id, 0 from role r, permission p where r.tenant_id is not null and p.tenant_id is not null`),
    ]);
  }
  await d1.batch([
    d1
      .prepare(
        `insert into member_role (member_id, role_id, created_at)
                select m.id, r.id, 0 from member m join user u on u.id = m.user_id join role r on r.name in ('role-7', 'admin')
                where u.email = ?1`,
      )
      .bind(email),
  ]);
}

/** A hundred thousand users of the shared pool, members of the default tenant. */
async function users(d1) {
  const [{ results }] = await d1.batch([d1.prepare("select count(*) as count from user where id like 'bench-%'")]);
  const count = 10_000;
  for (let from = results[0].count; from < USERS; from += count) {
    await d1.batch([
      d1
        .prepare(
          `${NUMBERS} insert into user (id, email, name, created_at, updated_at)
                  select 'bench-' || (?2 + i), 'bench-' || (?2 + i) || '@many.example', 'Bench', ?2 + i, 0 from n`,
        )
        .bind(count, from),
      d1
        .prepare(
          `${NUMBERS} insert into member (id, tenant_id, user_id, created_at, updated_at)
                  select 'bench-' || (?2 + i), tenant.id, 'bench-' || (?2 + i), ?2 + i, 0 from n, tenant where slug = 'default'`,
        )
        .bind(count, from),
    ]);
  }
}

const administrator =
  (seed) =>
  async (client, { d1 }) => {
    const email = `${crypto.randomUUID()}@example.com`;
    await signedUp(client, email);
    await roles(d1, email);
    await seed?.(d1);
    return { email, headers: { ...json, cookie: client.cookies(host) } };
  };

const scenario = (name, answer, request, seed) => ({
  name,
  group: "tenant",
  answer,
  prepare: async (client, tools) => ({ host, ...request(await administrator(seed)(client, tools)) }),
});

export const tenantScenarios = [
  scenario("has-permission", /"success":true/, ({ headers }) => ({
    method: "POST",
    path: "/api/auth/admin/has-permission",
    headers,
    body: JSON.stringify({ permissions: { bench: ["a7"] } }),
  })),
  {
    ...scenario("sign-in, 1,000 roles of 100 permissions", /"token":/, ({ email }) => ({
      method: "POST",
      path: "/api/auth/sign-in/email",
      headers: json,
      body: JSON.stringify({ email, password }),
    })),
    requests: "hashing",
  },
  scenario("list-users of 100,000", /"total":1000/, ({ headers }) => ({ path: "/api/auth/admin/list-users?limit=20", headers }), users),
  scenario(
    "list-members of 100,000",
    /"total":1000/,
    ({ headers }) => ({
      path: "/api/auth/organization/list-members?organizationSlug=default&limit=20",
      headers,
    }),
    users,
  ),
];
