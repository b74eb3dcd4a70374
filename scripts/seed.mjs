// The demo that `npm run dev` starts with: people, a protected website and an issuer to sign in with.

import { CLIENT } from "../examples/provider/server.mjs";
import { seal } from "./keyring.mjs";

const TENANT = "00000000-0000-7000-8000-000000000001";
const ROLES = { admin: "00000000-0000-7000-8000-000000000012", member: "00000000-0000-7000-8000-000000000013" };

// The hash of the demo password, which the terminal prints: nothing to hide.
export const PASSWORD = "demo password";
const HASH = "$argon2id$v=19$m=19456,t=2,p=1$ZG9vcndhcmQgZGVtbyAwMQ$vdTnfm6gZsY91xZfM/50DIx/M1MZOcVNQTth5jLitao";

export const PEOPLE = [
  { id: "00000000-0000-7000-8000-0000000000a1", name: "Alice Admin", email: "alice@example.com", roles: ["admin", "member"] },
  { id: "00000000-0000-7000-8000-0000000000b1", name: "Bob Member", email: "bob@example.com", roles: ["member"] },
];

const RULES = [
  ["/public/*", "public", []],
  ["/admin/*", "role", ["admin"]],
  ["/internal/*", "deny", []],
];

const quote = (value) => (value === null ? "null" : typeof value === "number" ? value : `'${String(value).replaceAll("'", "''")}'`);
const id = (tail) => `00000000-0000-7000-8000-${tail.padStart(12, "0")}`;

function insert(table, row) {
  const columns = Object.keys(row);
  const values = columns.map((name) => quote(row[name])).join(", ");
  return `insert into ${table} (${columns.join(", ")}) values (${values}) on conflict do nothing;`;
}

/** The demo as SQL that may be run again. */
export function seedSql({ secrets, websitePort, providerPort }) {
  const now = Date.now();
  const times = { created_at: now, updated_at: now };
  const sql = [`update tenant set name = 'Doorward demo', updated_at = ${now} where id = ${quote(TENANT)};`];
  PEOPLE.forEach((person, at) => {
    const member = id(`c${at + 1}`);
    sql.push(insert("user", { id: person.id, email: person.email, email_verified: 1, name: person.name, ...times }));
    sql.push(
      insert("account", {
        id: id(`d${at + 1}`),
        user_id: person.id,
        subject: person.id,
        password_hash: HASH,
        password_changed_at: now,
        confirmed_at: now,
        ...times,
      }),
    );
    sql.push(insert("member", { id: member, tenant_id: TENANT, user_id: person.id, ...times }));
    for (const role of person.roles) sql.push(insert("member_role", { member_id: member, role_id: ROLES[role], created_at: now }));
  });
  const app = id("e1");
  sql.push(
    insert("proxied_app", {
      id: app,
      tenant_id: TENANT,
      name: "Demo website",
      host: "app.localhost",
      origin_url: `http://127.0.0.1:${websitePort}`,
      ...times,
    }),
  );
  RULES.forEach(([path, access, roles], at) => {
    sql.push(
      insert("access_rule", {
        id: id(`f${at + 1}`),
        proxied_app_id: app,
        position: at + 1,
        path,
        access,
        roles: JSON.stringify(roles),
        ...times,
      }),
    );
  });
  const issuer = id("91");
  const secret = seal(secrets, { table: "issuer", column: "client_secret_sealed", row: issuer }, CLIENT.secret);
  sql.push(
    insert("issuer", {
      id: issuer,
      name: "demo",
      login_page_name: "the demo provider",
      base_url: `http://localhost:${providerPort}`,
      client_id: CLIENT.id,
      client_secret_sealed: secret,
      trust_email: 1,
      ...times,
    }),
  );
  return sql.join("\n");
}
