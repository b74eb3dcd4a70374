// What an administrator would set up: tenants, protected apps with their rules, people with roles.

import { randomUUID } from "node:crypto";
import { uniqueEmail } from "./browser.mjs";
import { AUTH, DEFAULT_TENANT } from "./worker.mjs";

export const PASSWORD = "correct horse battery staple";

async function insert(worker, table, row) {
  const full = { created_at: 0, updated_at: 0, ...row };
  const names = Object.keys(full).filter((name) => full[name] !== undefined);
  const sql = `insert into ${table} (${names}) values (${names.map(() => "?")})`;
  await worker.d1
    .prepare(sql)
    .bind(...names.map((name) => full[name]))
    .run();
  return row.id;
}

export function seedTenant(worker, { slug, pool = "shared" }) {
  return insert(worker, "tenant", { id: randomUUID(), name: slug, slug, user_pool: pool });
}

export function seedDomain(worker, tenant, host) {
  return insert(worker, "tenant_domain", { id: randomUUID(), tenant_id: tenant, host, is_primary: 1 });
}

/** Rules of a usual website: some public paths, a path for administrators, one for nobody. */
export const RULES = [
  ["/public/*", "public"],
  ["/api/items", "public", { methods: ["GET"] }],
  ["/admin/*", "role", { roles: ["admin", "owner"] }],
  ["/reports/*", "role", { roles: ["admin"], methods: ["POST", "DELETE"] }],
  ["/internal/*", "deny"],
];

/** A protected app: at `origin` (URL), or at a service `binding`, or at neither, for forward-auth. */
export async function seedApp(worker, host, { tenant = DEFAULT_TENANT, origin, binding, access, rules = RULES, enabled = 1 }) {
  const id = await insert(worker, "proxied_app", {
    id: randomUUID(),
    tenant_id: tenant,
    name: host,
    host,
    origin_url: origin,
    service_binding: binding,
    default_access: access,
    enabled,
  });
  for (const [position, [path, access, { roles = [], methods = [] } = {}]] of rules.entries()) {
    const lists = { methods: JSON.stringify(methods), roles: JSON.stringify(roles) };
    await insert(worker, "access_rule", { id: randomUUID(), proxied_app_id: id, position, path, access, ...lists });
  }
  return id;
}

export async function memberOf(worker, tenant, user) {
  const [found] = await worker.rows("select id from member where tenant_id = ? and user_id = ?", tenant, user);
  return found?.id ?? insert(worker, "member", { id: randomUUID(), tenant_id: tenant, user_id: user });
}

/** Gives a user a role in a tenant; a name that nobody has used becomes a role of that tenant. */
export async function giveRole(worker, user, name, tenant = DEFAULT_TENANT) {
  const member = await memberOf(worker, tenant, user);
  const [known] = await worker.rows("select id from role where name = ?", name);
  const role = known?.id ?? (await insert(worker, "role", { id: randomUUID(), tenant_id: tenant, name }));
  await insert(worker, "member_role", { member_id: member, role_id: role, updated_at: undefined });
}

/** Signs somebody up on an auth host. Answers their browser, signed in there, and who they are. */
export async function signUp(worker, { roles = [], host = AUTH, tenant = DEFAULT_TENANT, name = "Zoë Ångström" } = {}) {
  const browser = worker.browser();
  const email = uniqueEmail();
  const answer = await browser.post(`${host}/api/auth/sign-up/email`, { name, email, password: PASSWORD });
  if (answer.status !== 200) throw new Error(`sign-up: ${answer.status} ${answer.text}`);
  const { id } = answer.json.user;
  for (const role of roles) await giveRole(worker, id, role, tenant);
  return { browser, email, id };
}

/** What a script sends. */
export const API = { accept: "application/json" };

/** What a browser sends when somebody opens a page. */
export const PAGE = { accept: "text/html,application/xhtml+xml", "sec-fetch-mode": "navigate" };

/** Opens a page and follows redirects, within this machine. Answers the last answer and where it was. */
export async function visit(browser, url, most = 12) {
  for (let next = url, trail = [url]; ; trail.push(next)) {
    const answer = await browser.get(next, { headers: PAGE });
    if (answer.status < 300 || answer.status > 399) return Object.assign(answer, { url: next, trail });
    if (trail.length > most) throw new Error(`more than ${most} redirects:\n${trail.join("\n")}`);
    next = new URL(answer.location, next).href;
  }
}

/** Fills in the login page that `answer` shows, and follows where it leads. */
export async function logIn(browser, answer, email, password = PASSWORD) {
  const [, target] = answer.text.match(/name="continue" value="([^"]*)"/) ?? [];
  const fields = { email, password, continue: target?.replaceAll("&amp;", "&") };
  const posted = await browser.submit(new URL("/login", answer.url).href, fields);
  if (posted.status !== 303) throw new Error(`POST /login: ${posted.status} ${posted.text}`);
  return visit(browser, new URL(posted.location, answer.url).href);
}

/** A person's cookies for a host, as one header value. */
export const cookieOf = ({ browser }, host) => [...browser.cookies(host)].map((pair) => pair.join("=")).join("; ");

/** The URL of the callback that brings somebody, signed in at the auth host, back to `app`; not yet opened. */
export async function upToCallback({ browser }, app, path = "/") {
  const begun = await browser.get(`${app}${path}`, { headers: PAGE });
  const { location, status } = await browser.get(begun.location, { headers: PAGE });
  if (!location?.includes("/.doorward/callback?code=")) throw new Error(`no callback, but ${status} ${location}`);
  return new URL(location);
}

/** Disguises of a path `/name` and below, as servers may see through them. */
export const disguises = (name) => [
  `/;/${name}`,
  `/;a=b/${name}`,
  `/${name};a=b`,
  `/x/..;/${name}`,
  `/public/..;/..;/${name}`,
  `//${name}`,
  `///${name}`,
  `/./${name}`,
  `/%2f${name}`,
  `/%2e%2e/${name}`,
  `/x/..%2f${name}`,
  `/x%2f..%2f${name}`,
  `/public/..%2f${name}`,
  `/public/%2e%2e/${name}/x`,
  `/public/..%252f${name}`,
  `/public/..%25252f${name}`,
  `/public/..%2525252f${name}`,
  `/${name.toUpperCase()}`,
  `/${name}/../${name}/x`,
  `/%${name.charCodeAt(0).toString(16)}${name.slice(1)}`,
  `/%25${name.charCodeAt(0).toString(16)}${name.slice(1)}`,
  `/\\${name}`,
  `/x\\..\\${name}`,
  `/public/..%5c${name}`,
  `/public\\..%5C${name}`,
  `/${name}%00`,
  `/${name}%00.png`,
  `/${name}/`,
  `/${name}%2fx`,
  `/${name}#x`,
  `/${name}?x`,
  `/.doorward/../${name}`,
  `http://app.localhost/${name}`,
  `http://elsewhere.invalid/../${name}`,
];

/** Ends that some servers cut off before they look a path up, and an overlong slash. */
export const trimmings = (name) =>
  [`%3fx`, `%23x`, `%20`, `%09`, `%0a`, `.`, `%2e`, `%20/x`].map((end) => `/${name}${end}`).concat(`/public/..%c0%af${name}`);
