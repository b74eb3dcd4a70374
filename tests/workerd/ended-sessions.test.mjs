// A session ends while its requests are on their way: nothing that they would have made is there afterwards.

import assert from "node:assert/strict";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import test, { after, before } from "node:test";
import { Authenticator } from "../harness/authenticator.mjs";
import { uniqueEmail } from "../harness/browser.mjs";
import { withApp, withPasskey } from "../harness/factors.mjs";
import { addIssuer } from "../harness/issuer.mjs";
import { basic, FORM, formOf } from "../harness/relying-party.mjs";
import { PAGE, PASSWORD, giveRole, seedApp, signUp } from "../harness/seed.mjs";
import { readUri, totp } from "../harness/totp.mjs";
import { consent, startUpstream, stranger } from "../harness/upstream.mjs";
import { AUTH, DEFAULT_TENANT, startWorker } from "../harness/worker.mjs";
import { authRoutes } from "../harness/routes.mjs";

/**
 * Stands in front of the Worker, and ends a session between what a request reads and what it writes: as soon as the Worker has
 * read its sessions from D1 as often as the request's header says, and before it is told what it read.
 */
const MAIN = `
import worker from "./index.js";
let wrapped, armed;
const wrap = (d1) => Object.create(d1, {
  prepare: { value: (text) => d1.prepare(text) },
  exec: { value: (text) => d1.exec(text) },
  batch: { value: async (statements) => {
    const answers = await d1.batch(statements);
    if (armed && statements.some(({ statement }) => statement.includes("'impersonator_may'")) && (armed.reads -= 1) === 0) {
      const { session } = armed;
      armed = undefined;
      await d1.prepare("update session set revoked_at = 1, revocation_reason = 'ended by the test' where id = ?").bind(session).run();
    }
    return answers;
  } },
});
export default {
  ...worker,
  async fetch(request, env, context) {
    wrapped ??= wrap(env.DB);
    const session = request.headers.get("x-test-ends");
    if (session) armed = { session, reads: Number(request.headers.get("x-test-reads")) };
    try {
      return await worker.fetch(request, { ...env, DB: wrapped }, context);
    } finally {
      if (session) armed = undefined;
    }
  },
};
`;

const SETTINGS = {
  LIMIT_MAIL: "10000/60",
  SESSION_COOKIE_CACHE_SECONDS: "0",
  SESSION_RECHECK_SECONDS: "0",
  MULTI_SESSION: "on",
  PASSWORD_HASH: "pbkdf2",
  SIGN_IN_WITH: "password,passkey,magic-link,email-otp,phone,anonymous",
};
const REDIRECT = "https://rp.example/cb";
const APP = "http://app.localhost";
let worker, upstream, boss, acme, client;
const at = (path) => `${AUTH}/api/auth${path}`;
const run = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
const one = async (sql, ...values) => (await worker.rows(sql, ...values))[0];
const times = (count, act) => Promise.all(Array.from({ length: count }, (_, n) => act(n)));
const unique = () => randomBytes(6).toString("hex");
const good = (answer) => {
  assert.ok(answer.status < 400, `${answer.status} ${answer.text}`);
  return answer;
};
const post = async ({ browser }, path, body = {}) => good(await browser.post(at(path), body));
const send = async ({ browser }, method, path, body) => good(await browser.send(method, at(path), { headers: { origin: AUTH }, body }));
const handleOf = async (who) => (await who.browser.get(at("/get-session"))).json.session.token;
const mails = async (to) => (await worker.browser().get(`${AUTH}/dev/mailbox?to=${encodeURIComponent(to)}`)).json;
const codeFor = async (to) => (await mails(to)).map(({ subject, text }) => `${subject} ${text}`.match(/\b(\d{6})\b/)?.[1]).find(Boolean);
const linkFor = async (to, part) =>
  (await mails(to)).flatMap(({ text }) => text.match(/https?:\S+/g) ?? []).find((link) => link.includes(part));

before(async () => {
  upstream = await startUpstream();
  worker = await startWorker({ settings: SETTINGS, main: MAIN });
  acme = await addIssuer(worker.d1, upstream.url);
  await seedApp(worker, "app.localhost", {});
  boss = await signUp(worker, { roles: ["owner"] });
  await run("update user set email_verified = 1 where id = ?", boss.id);
  client = (
    await send(boss, "POST", "/admin/oauth2/create-client", {
      client_name: "App",
      redirect_uris: [REDIRECT],
      scope: "openid offline_access",
      grant_types: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
    })
  ).json;
  // What the first of its kind makes once.
  await boss.browser.get(at("/token"));
});
after(async () => {
  await worker?.dispose();
  await upstream?.stop();
});

// ---- what the requests are ----

const routes = authRoutes;

const organization = async (who) => (await post(who, "/organization/create", { name: "Org", slug: `org-${unique()}` })).json.id;
const person = async () => {
  const who = await signUp(worker);
  await run("update user set email_verified = 1 where id = ?", who.id);
  return who;
};
/** A member of an organization of somebody's. */
async function member(org) {
  const who = await person();
  await giveRole(worker, who.id, "member", org);
  who.member = (await one("select id from member where tenant_id = ? and user_id = ?", org, who.id)).id;
  return who;
}
async function team(org, who, more = {}) {
  return (await post(who, "/organization/create-team", { name: `T ${unique()}`, organizationId: org, ...more })).json.id;
}
async function invitation(org, who, email) {
  return (await post(who, "/organization/invite-member", { organizationId: org, email, role: "member" })).json.id;
}
async function invited() {
  const [who, owner] = [await person(), await person()];
  const org = await organization(owner);
  return { who, invitation: await invitation(org, owner, who.email) };
}
async function owned() {
  const who = await person();
  return { who, org: await organization(who) };
}
async function linked(more = {}) {
  const who = await person();
  const identity = stranger();
  const begun = (await post(who, "/link-social", { provider: "acme", callbackURL: "/done", ...more })).json.url;
  good(await who.browser.get(await consent(begun, identity)));
  const account = (await one("select id from account where user_id = ? and issuer_id is not null", who.id)).id;
  return { who, account };
}
async function expired() {
  upstream.settings.alwaysOffline = true;
  const { who, account } = await linked();
  await run("update account_token set expires_at = 1 where account_id = ?", account).catch(() =>
    run("update account set access_token_expires_at = 1 where id = ?", account),
  );
  return { who, account };
}
const issuer = async (more = {}) => addIssuer(worker.d1, upstream.url, { name: `i${unique()}`, tenant_id: null, ...more });
const ownClient = async (who) =>
  (await post(who, "/oauth2/create-client", { client_name: "Mine", redirect_uris: [REDIRECT] })).json.client_id;
const tenant = async () => (await send(boss, "POST", "/admin/tenants", { name: "T", slug: `t-${unique()}` })).json.id;
const challenge = createHash("sha256").update("v".repeat(50)).digest("base64url");
const asking = (more = {}) =>
  new URLSearchParams({
    client_id: client.client_id,
    redirect_uri: REDIRECT,
    response_type: "code",
    scope: "openid offline_access",
    state: "s",
    code_challenge: challenge,
    code_challenge_method: "S256",
    ...more,
  }).toString();
async function atConsent(who) {
  const sent = good(await who.browser.get(`${AUTH}/oauth2/authorize?${asking()}`, { headers: PAGE }));
  return Object.fromEntries(new URL(sent.location, AUTH).searchParams);
}
async function agreed() {
  const who = await person();
  good(await who.browser.submit(`${AUTH}/consent`, { ...(await atConsent(who)), decision: "allow" }));
  return who;
}
async function device() {
  const asked = await worker
    .browser()
    .send("POST", `${AUTH}/oauth2/device_authorization`, { headers: { ...FORM, ...basic(client) }, body: "scope=openid+offline_access" });
  return good(asked).json;
}
async function passkey() {
  const who = await person();
  await withPasskey(worker, who);
  return { who, id: (await one("select id from passkey where user_id = ?", who.id)).id };
}
async function registering(who) {
  const options = (await who.browser.get(at("/passkey/generate-register-options"))).json;
  return { response: new Authenticator({ origin: AUTH }).create(options) };
}
const key = async (who) => (await post(who, "/api-key/create", { name: "k" })).json.id;

const org = async (act) => {
  const { who, org } = await owned();
  const { path, ...body } = await act(org, who);
  return { who, body: { organizationId: org, ...body } };
};
const admin = (body) => async () => ({ who: boss, body: await body() });
const upon = (more = {}) => admin(async () => ({ userId: (await person()).id, ...more }));
const onTenant = (prepare) => async () => {
  const id = await tenant();
  await prepare?.(id);
  return { who: boss, segment: id, body: {} };
};

/** By endpoint: a request of somebody's that writes. `reads` is how often it reads its session before; `form` is a form's. */
const ROWS = {
  "POST /api/auth/two-factor/enable": async () => ({ who: await person(), body: { password: PASSWORD } }),
  "POST /api/auth/two-factor/disable": async () => {
    const who = await person();
    await withApp(worker, who);
    return { who, body: { password: PASSWORD } };
  },
  "POST /api/auth/two-factor/generate-backup-codes": async () => {
    const who = await person();
    await withApp(worker, who);
    return { who, body: { password: PASSWORD } };
  },
  "POST /api/auth/two-factor/verify-totp": async () => {
    const who = await person();
    const { seed } = readUri((await post(who, "/two-factor/enable", { password: PASSWORD })).json.totpURI);
    return { who, body: { code: totp(seed) } };
  },
  "POST /api/auth/two-factor/send-otp": async () => ({ who: await person(), body: {} }),
  "POST /api/auth/two-factor/verify-backup-code": async () => {
    const who = await person();
    const { totpURI, backupCodes } = (await post(who, "/two-factor/enable", { password: PASSWORD })).json;
    await post(who, "/two-factor/verify-totp", { code: totp(readUri(totpURI).seed) });
    return { who, body: { code: backupCodes[0] } };
  },
  "GET /api/auth/passkey/generate-register-options": async () => ({ who: await person() }),
  "POST /api/auth/passkey/verify-registration": async () => {
    const who = await person();
    return { who, body: await registering(who) };
  },
  "POST /api/auth/passkey/update-passkey": async () => {
    const { who, id } = await passkey();
    return { who, body: { id, name: "Other" } };
  },
  "POST /api/auth/passkey/delete-passkey": async () => {
    const { who, id } = await passkey();
    return { who, body: { id } };
  },
  "POST /api/auth/email-otp/request-email-change": async () => ({ who: await signUp(worker), body: { newEmail: uniqueEmail() } }),
  "POST /api/auth/email-otp/change-email": async () => {
    const [who, newEmail] = [await signUp(worker), uniqueEmail()];
    await post(who, "/email-otp/request-email-change", { newEmail });
    return { who, body: { newEmail, otp: await codeFor(newEmail) } };
  },
  "POST /api/auth/phone-number/verify": async () => {
    const [who, phoneNumber] = [await person(), `+4930${String(Date.now()).slice(-8)}`];
    await post(who, "/phone-number/send-otp", { phoneNumber });
    return { who, body: { phoneNumber, code: await codeFor(phoneNumber), updatePhoneNumber: true } };
  },
  "GET /api/auth/one-time-token/generate": async () => ({ who: await person() }),
  "POST /api/auth/revoke-session": async () => {
    const who = await person();
    const other = { browser: worker.browser() };
    await post(other, "/sign-in/email", { email: who.email, password: PASSWORD });
    return { who, body: { token: await handleOf(other) } };
  },
  "POST /api/auth/revoke-sessions": async () => ({ who: await person(), body: {} }),
  "POST /api/auth/revoke-other-sessions": async () => ({ who: await person(), body: {} }),
  "POST /api/auth/multi-session/revoke": async () => {
    const who = await person();
    const first = await handleOf(who);
    const other = await person();
    await post(who, "/sign-in/email", { email: other.email, password: PASSWORD });
    return { who, body: { sessionToken: first } };
  },
  "POST /api/auth/notifications/read": async () => {
    const who = await person();
    await key(who);
    return { who, body: {} };
  },
  "POST /api/auth/notifications/delete": async () => {
    const who = await person();
    await key(who);
    return { who, body: { id: (await one("select id from notification where user_id = ?", who.id)).id } };
  },
  "POST /api/auth/update-user": async () => ({ who: await person(), body: { name: "Other" } }),
  "POST /api/auth/change-email": async () => ({ who: await person(), body: { newEmail: uniqueEmail() } }),
  "POST /api/auth/change-password": async () => ({
    who: await person(),
    body: { currentPassword: PASSWORD, newPassword: "another password altogether" },
  }),
  "POST /api/auth/delete-user": async () => ({ who: await person(), body: { password: PASSWORD } }),
  "POST /delete-account": async () => {
    const who = await person();
    await post(who, "/delete-user", {});
    return { who, form: { token: new URL(await linkFor(who.email, "/delete-account")).searchParams.get("token") } };
  },
  "POST /verify-email/send": async () => ({ who: await signUp(worker), form: {} }),
  "POST /api/auth/delete-anonymous-user": async () => {
    const who = { browser: worker.browser() };
    await post(who, "/sign-in/anonymous");
    return { who, body: {} };
  },
  "POST /api/auth/send-verification-email": async () => {
    const who = await signUp(worker);
    return { who, body: { email: who.email } };
  },
  "POST /api/auth/link-social": async () => ({ who: await person(), body: { provider: "acme", callbackURL: "/done" } }),
  "GET /api/auth/callback/:id": async () => {
    const who = await person();
    const begun = (await post(who, "/link-social", { provider: "acme", callbackURL: "/done" })).json.url;
    return { who, url: await consent(begun, stranger()), once: true };
  },
  "POST /api/auth/unlink-account": async () => {
    const { who, account } = await linked();
    return { who, body: { accountId: account } };
  },
  "POST /api/auth/refresh-token": async () => {
    const { who, account } = await expired();
    return { who, body: { accountId: account } };
  },
  "POST /api/auth/get-access-token": async () => {
    const { who, account } = await expired();
    return { who, body: { accountId: account } };
  },
  "GET /api/auth/account-info": async () => {
    const { who, account } = await expired();
    return { who, query: `accountId=${account}` };
  },
  "POST /api/auth/organization/create": async () => ({ who: await person(), body: { name: "Org", slug: `org-${unique()}` } }),
  "POST /api/auth/organization/set-active": () =>
    org(async (id, who) => {
      await organization(who);
      return {};
    }),
  "POST /api/auth/organization/update": () => org(async () => ({ data: { name: "Other" } })),
  "POST /api/auth/organization/delete": () => org(async () => ({})),
  "POST /api/auth/organization/restore": () =>
    org(async (id, who) => {
      await post(who, "/organization/delete", { organizationId: id });
      return {};
    }),
  "PUT /api/auth/organization/security-policy": () => org(async () => ({ securityPolicy: { session: { maxConcurrentSessions: 7 } } })),
  "POST /api/auth/organization/update-member-role": () => org(async (id) => ({ memberId: (await member(id)).member, role: "admin" })),
  "POST /api/auth/organization/remove-member": () => org(async (id) => ({ memberIdOrEmail: (await member(id)).member })),
  "POST /api/auth/organization/leave": async () => {
    const { org: id } = await owned();
    return { who: await member(id), body: { organizationId: id } };
  },
  "POST /api/auth/organization/invite-member": () => org(async () => ({ email: uniqueEmail(), role: "member" })),
  "POST /api/auth/organization/cancel-invitation": () =>
    org(async (id, who) => ({ invitationId: await invitation(id, who, uniqueEmail()) })),
  "POST /api/auth/organization/accept-invitation": async () => {
    const { who, invitation: invitationId } = await invited();
    return { who, body: { invitationId } };
  },
  "POST /api/auth/organization/reject-invitation": async () => {
    const { who, invitation: invitationId } = await invited();
    return { who, body: { invitationId } };
  },
  "POST /api/auth/organization/create-team": () => org(async () => ({ name: "Team" })),
  "POST /api/auth/organization/update-team": () => org(async (id, who) => ({ teamId: await team(id, who), data: { name: "Other" } })),
  "POST /api/auth/organization/remove-team": () =>
    org(async (id, who) => {
      await team(id, who);
      return { teamId: await team(id, who) };
    }),
  "POST /api/auth/organization/set-active-team": () =>
    org(async (id, who) => {
      const teamId = await team(id, who);
      await post(who, "/organization/add-team-member", { organizationId: id, teamId, userId: who.id });
      return { teamId };
    }),
  "POST /api/auth/organization/add-team-member": () =>
    org(async (id, who) => ({ teamId: await team(id, who), userId: (await member(id)).id })),
  "POST /api/auth/organization/update-team-member": () =>
    org(async (id, who) => {
      const [teamId, userId] = [await team(id, who), (await member(id)).id];
      await post(who, "/organization/add-team-member", { organizationId: id, teamId, userId });
      return { teamId, userId, role: "admin" };
    }),
  "POST /api/auth/organization/remove-team-member": () =>
    org(async (id, who) => {
      const [teamId, userId] = [await team(id, who), (await member(id)).id];
      await post(who, "/organization/add-team-member", { organizationId: id, teamId, userId });
      return { teamId, userId };
    }),
  "POST /api/auth/organization/join-team": async () => {
    const { who: owner, org: id } = await owned();
    return { who: await member(id), body: { organizationId: id, teamId: await team(id, owner, { isOpen: true, isPublic: true }) } };
  },
  "POST /api/auth/organization/leave-team": async () => {
    const { who: owner, org: id } = await owned();
    const [who, teamId] = [await member(id), await team(id, owner)];
    await post(owner, "/organization/add-team-member", { organizationId: id, teamId, userId: who.id });
    return { who, body: { organizationId: id, teamId } };
  },
  "POST /api/auth/organization/create-role": () => org(async () => ({ role: "dev", permission: { team: ["create"] } })),
  "POST /api/auth/organization/update-role": () =>
    org(async (id, who) => {
      await post(who, "/organization/create-role", { organizationId: id, role: "dev", permission: { team: ["create"] } });
      return { roleName: "dev", data: { permission: { team: ["update"] } } };
    }),
  "POST /api/auth/organization/delete-role": () =>
    org(async (id, who) => {
      await post(who, "/organization/create-role", { organizationId: id, role: "dev", permission: { team: ["create"] } });
      return { roleName: "dev" };
    }),
  "POST /api/auth/api-key/create": async () => ({ who: await person(), body: { name: "k" } }),
  "POST /api/auth/api-key/update": async () => {
    const who = await person();
    return { who, body: { keyId: await key(who), name: "other" } };
  },
  "POST /api/auth/api-key/delete": async () => {
    const who = await person();
    return { who, body: { keyId: await key(who) } };
  },
  "POST /api/auth/admin/set-role": upon({ role: "admin" }),
  "POST /api/auth/admin/create-user": admin(async () => ({ email: uniqueEmail(), name: "N", password: PASSWORD })),
  "POST /api/auth/admin/update-user": upon({ data: { name: "Other" } }),
  "POST /api/auth/admin/ban-user": upon(),
  "POST /api/auth/admin/unban-user": admin(async () => {
    const { id } = await person();
    await post(boss, "/admin/ban-user", { userId: id });
    return { userId: id };
  }),
  "POST /api/auth/admin/deactivate-user": upon(),
  "POST /api/auth/admin/reactivate-user": admin(async () => {
    const { id } = await person();
    await post(boss, "/admin/deactivate-user", { userId: id });
    return { userId: id };
  }),
  "POST /api/auth/admin/impersonate-user": async () => {
    const [who, other] = [await signUp(worker, { roles: ["owner"] }), await person()];
    return { who, body: { userId: other.id } };
  },
  "POST /api/auth/admin/stop-impersonating": async () => {
    const [who, other] = [await signUp(worker, { roles: ["owner"] }), await person()];
    await post(who, "/admin/impersonate-user", { userId: other.id });
    return { who, body: {} };
  },
  "POST /api/auth/admin/revoke-user-session": admin(async () => ({ sessionToken: await handleOf(await person()) })),
  "POST /api/auth/admin/revoke-user-sessions": upon(),
  "POST /api/auth/admin/remove-user": upon(),
  "POST /api/auth/admin/set-user-password": upon({ newPassword: "another password altogether" }),
  "POST /api/auth/admin/tenants": admin(async () => ({ name: "T", slug: `t-${unique()}` })),
  "PATCH /api/auth/admin/tenants/:id": async () => ({ ...(await onTenant()()), body: { name: "Other" } }),
  "DELETE /api/auth/admin/tenants/:id": onTenant(),
  "POST /api/auth/admin/tenants/:id/suspend": onTenant(),
  "POST /api/auth/admin/tenants/:id/resume": onTenant((id) => send(boss, "POST", `/admin/tenants/${id}/suspend`, {})),
  "POST /api/auth/admin/tenants/:id/restore": onTenant((id) => send(boss, "DELETE", `/admin/tenants/${id}`)),
  "POST /api/auth/admin/issuers": admin(async () => ({
    name: `i${unique()}`,
    label: "I",
    baseUrl: upstream.url,
    clientId: "c",
    clientSecret: "s",
  })),
  "PATCH /api/auth/admin/issuers/:id": async () => ({ who: boss, segment: await issuer(), body: { label: "Other" } }),
  "DELETE /api/auth/admin/issuers/:id": async () => ({ who: boss, segment: await issuer() }),
  "POST /api/auth/admin/issuers/:id/discover": async () => ({ who: boss, segment: await issuer(), body: {} }),
  "POST /api/auth/admin/issuers/:id/system-account": async () => ({
    who: boss,
    segment: await issuer(),
    body: { callbackURL: "/connected" },
  }),
  "DELETE /api/auth/admin/issuers/:id/system-account": async () => ({ who: boss, segment: await connected() }),
  "POST /api/auth/admin/issuers/:id/service-token": async () => ({ who: boss, segment: await connected(), body: {} }),
  "POST /api/auth/admin/oauth2/create-client": admin(async () => ({ client_name: "C", redirect_uris: [REDIRECT] })),
  "PATCH /api/auth/admin/oauth2/update-client": async () => ({
    who: boss,
    body: { client_id: await ownClient(boss), update: { client_name: "Other" } },
  }),
  "POST /api/auth/admin/oauth2/initial-access-token": admin(async () => ({})),
  "POST /api/auth/oauth2/create-client": async () => ({ who: await person(), body: { client_name: "Mine", redirect_uris: [REDIRECT] } }),
  "POST /api/auth/oauth2/update-client": async () => {
    const who = await person();
    return { who, body: { client_id: await ownClient(who), update: { client_name: "Other" } } };
  },
  "POST /api/auth/oauth2/client/rotate-secret": async () => {
    const who = await person();
    return { who, body: { client_id: await ownClient(who) } };
  },
  "POST /api/auth/admin/oauth2/disable-client": async () => ({ who: boss, body: { client_id: await ownClient(boss), disabled: true } }),
  "POST /api/auth/oauth2/delete-client": async () => {
    const who = await person();
    return { who, body: { client_id: await ownClient(who) } };
  },
  "POST /api/auth/oauth2/delete-consent": async () => {
    const who = await agreed();
    return { who, body: { id: (await one("select id from oauth_consent where user_id = ?", who.id)).id } };
  },
  "GET /oauth2/authorize": async () => ({ who: await agreed(), query: asking() }),
  "POST /consent": async () => {
    const who = await person();
    return { who, form: { ...(await atConsent(who)), decision: "allow" } };
  },
  "POST /api/auth/device/approve": async () => ({ who: await person(), body: { userCode: (await device()).user_code } }),
  "POST /api/auth/device/deny": async () => ({ who: await person(), body: { userCode: (await device()).user_code } }),
  "POST /device": async () => ({ who: await person(), form: { user_code: (await device()).user_code, decision: "allow" } }),
  "POST /invitation": async () => {
    const { who } = await invited();
    return { who, form: { token: new URL(await linkFor(who.email, "/invitation")).searchParams.get("token"), decision: "accept" } };
  },
  "POST /account/passkey/delete": async () => {
    const { who, id } = await passkey();
    return { who, form: { id } };
  },
  "POST /account/consents/withdraw": async () => {
    const who = await agreed();
    return { who, form: { id: (await one("select id from oauth_consent where user_id = ?", who.id)).id } };
  },
  "POST /account/devices/forget": async () => {
    const who = await person();
    await run(
      `insert into trusted_device (id, user_id, token_hash, last_used_at, expires_at, created_at, updated_at) values
         (?, ?, ?, 0, 9e15, 0, 0)`,
      randomUUID(),
      who.id,
      unique(),
    );
    return { who, form: {} };
  },
  "POST /account/second-factor": async () => ({ who: await person(), form: { action: "begin", password: PASSWORD } }),
  "POST /account/second-factor/verify": async () => {
    const who = await person();
    const { seed } = readUri((await post(who, "/two-factor/enable", { password: PASSWORD })).json.totpURI);
    return { who, form: { code: totp(seed) } };
  },
  "GET /gate/sign-in": async () => {
    const who = await person();
    return { who, url: (await who.browser.get(`${APP}/.doorward/sign-in`, { headers: PAGE })).location };
  },
};

async function connected() {
  const id = await issuer({ login_scopes_offline: "openid email offline_access" });
  const { url } = (await send(boss, "POST", `/admin/issuers/${id}/system-account`, { callbackURL: "/connected" })).json;
  good(await boss.browser.get(await consent(url, stranger())));
  return id;
}

/** Endpoints for signed-in users that write nothing in their session's name, and why. */
const WITHOUT = {
  // What they answer was read; they write nothing.
  reads: [
    "POST /api/auth/two-factor/get-totp-uri",
    "POST /api/auth/verify-password",
    "POST /api/auth/organization/check-slug",
    "POST /api/auth/organization/has-permission",
    "POST /api/auth/update-session",
    "POST /api/auth/admin/list-user-sessions",
    "POST /api/auth/admin/has-permission",
  ],
  // They work without a session, and know none.
  nobodys: [
    "POST /api/auth/get-session",
    "POST /api/auth/sign-up/email",
    "POST /api/auth/sign-in/email",
    "POST /api/auth/sign-in/username",
    "POST /api/auth/sign-in/phone-number",
    "POST /api/auth/sign-in/magic-link",
    "POST /api/auth/sign-in/email-otp",
    "POST /api/auth/sign-in/anonymous",
    "POST /api/auth/sign-in/social",
    "POST /api/auth/passkey/verify-authentication",
    "POST /api/auth/email-otp/send-verification-otp",
    "POST /api/auth/email-otp/check-verification-otp",
    "POST /api/auth/email-otp/verify-email",
    "POST /api/auth/email-otp/request-password-reset",
    "POST /api/auth/forget-password/email-otp",
    "POST /api/auth/email-otp/reset-password",
    "POST /api/auth/phone-number/send-otp",
    "POST /api/auth/phone-number/request-password-reset",
    "POST /api/auth/phone-number/reset-password",
    "POST /api/auth/one-time-token/verify",
    "POST /api/auth/multi-session/set-active",
    "POST /api/auth/is-username-available",
    "POST /api/auth/request-password-reset",
    "POST /api/auth/reset-password",
    "POST /api/auth/system-account/token",
    "POST /oauth2/authorize",
    "POST /oauth2/par",
    "POST /oauth2/device_authorization",
    "POST /oauth2/end_session",
    "POST /oauth2/token",
    "POST /oauth2/userinfo",
    "POST /oauth2/introspect",
    "POST /oauth2/revoke",
    "POST /oauth2/register",
    "PUT /oauth2/register/:client_id",
    "DELETE /oauth2/register/:client_id",
    "POST /login",
    "POST /login/link",
    "POST /login/upstream",
    "POST /second-factor",
    "POST /second-factor/send",
    "POST /sign-up",
    "POST /forgot-password",
    "POST /reset-password",
    "POST /confirm-account",
    "POST /change-email",
    "POST /api/auth/one-tap/callback",
    "POST /api/auth/device/code",
    "POST /api/auth/device/token",
    "POST /verify-email",
    "POST /sign-in-link",
  ],
  // They end the session, and whether it has ended already is nothing to them.
  ends: ["POST /api/auth/sign-out", "POST /oauth2/end_session/confirm", "POST /sign-out"],
  // The callback that its GET stands for; a code that proves once more who is there, and is used up when it is looked at.
  others: ["POST /api/auth/callback/:id", "POST /api/auth/two-factor/verify-otp"],
};

test("every endpoint that writes is in the walk, or there is a reason why not", () => {
  const known = new Set([...Object.keys(ROWS), ...Object.values(WITHOUT).flat()]);
  const missing = routes.filter(({ method, name }) => method !== "GET" && !known.has(name)).map(({ name }) => name);
  assert.deepEqual(missing, [], "endpoints without a row");
  const names = new Set(routes.map(({ name }) => name));
  assert.deepEqual(
    [...known].filter((name) => !names.has(name)),
    [],
    "rows that are no endpoints",
  );
  // A session that no database has confirmed may only be read by.
  assert.deepEqual(
    routes.filter(({ method, access }) => access === "Session" && method !== "GET"),
    [],
  );
});

// ---- what is there ----

/** What a session's end, and a look at it, change by themselves. */
const COLUMNS = {
  session: "id, active_tenant_id, active_group_id",
  oauth_grant: "id, kind, status, user_id",
  verification: "id, kind",
  outbox: "id, kind",
  two_factor: "id, method, verified_at, backup_codes",
};
const PASSING = /^(watched|late|rate_limit|session_client|login_history|d1_migrations|sqlite_.*|_cf_.*)$/;
let tables;
async function everything() {
  tables ??= (await worker.rows("select name from sqlite_schema where type = 'table'"))
    .map(({ name }) => name)
    .filter((name) => !PASSING.test(name));
  const answers = await worker.d1.batch(tables.map((name) => worker.d1.prepare(`select ${COLUMNS[name] ?? "*"} from "${name}"`)));
  const there = {};
  for (const [n, { results }] of answers.entries()) {
    there[tables[n]] = results
      .filter(({ kind }) => kind !== "logout")
      .map(({ last_activity_at, ...row }) => JSON.stringify(row))
      .sort();
  }
  return there;
}
const differences = (old, now) =>
  Object.keys(now).flatMap((table) =>
    now[table]
      .filter((row) => !old[table].includes(row))
      .map((row) => `${table} ${row}`)
      .concat(old[table].filter((row) => !now[table].includes(row)).map((row) => `gone: ${table} ${row}`)),
  );

function ask({ who, segment, query, url, body, form }, { method, path }, headers = {}) {
  const target = url ?? `${AUTH}${segment ? path.replace(/:\w+/, segment) : path}${query ? `?${query}` : ""}`;
  if (form) return who.browser.submit(target, form, { headers, keepCookies: false });
  const accept = body === undefined ? PAGE : {};
  return who.browser.send(method, target, { body, headers: { ...accept, origin: AUTH, ...headers }, keepCookies: false });
}

/** What is written after the answer. */
const settled = () => new Promise((resolve) => setTimeout(resolve, 15));

for (const [name, prepare] of Object.entries(ROWS)) {
  test(`a session that ends between what it reads and what it writes writes nothing: ${name}`, async () => {
    upstream.behave();
    const route = routes.find((route) => route.name === name);
    const made = await prepare();
    const session = await handleOf(made.who);
    await settled();
    const old = await everything();
    const answer = await ask(made, route, { "x-test-ends": session, "x-test-reads": String(made.reads ?? 1) });
    const ended = await one("select revocation_reason as why from session where id = ?", session);
    assert.equal(ended.why, "ended by the test", `it reads no session: ${answer.status} ${answer.text.slice(0, 200)}`);
    await settled();
    let now = await everything();
    assert.deepEqual(differences(old, now), [], `${answer.status} ${answer.text.slice(0, 200)}`);
    const isRefused = answer.status === 401 || (answer.status === 303 && answer.location.startsWith("/login"));
    assert.ok(isRefused, `${answer.status} ${answer.location} ${answer.text.slice(0, 200)}`);
    assert.ok(!answer.cookies.some((line) => /^doorward\.session=[^;]/.test(line)), "a session was opened");
    // The same request in a session that goes on is done: the one above was no bad one. What was used up elsewhere is made anew.
    if (made.once) {
      Object.assign(made, await prepare());
      await settled();
      now = await everything();
    }
    await run("update session set revoked_at = null, revocation_reason = null where id = ?", session);
    await run("update oauth_grant set used_at = null where session_id = ?", session);
    await run("update verification set used_at = null where used_at is not null");
    await run("update two_factor set last_used_step = 0");
    const done = await ask(made, route);
    assert.ok(done.status < 400, `${done.status} ${done.text.slice(0, 300)}`);
    await settled();
    const changed = differences(now, await everything());
    const ends = /revoke|delete-user|stop-impersonating/.test(name);
    assert.ok(changed.length > 0 || ends, "it writes nothing");
  });
}

// ---- and at once, each way of ending a session against what is minted in it ----

const copy = ({ browser }) => {
  const twin = worker.browser();
  for (const [name, value] of browser.cookies("auth.localhost")) twin.cookies("auth.localhost").set(name, value);
  return { browser: twin };
};

/** Has D1 note what is written for a user once a session of theirs has ended: by the order of writes, whatever the clocks say. */
async function watch(who) {
  const tables = ["api_key", "passkey", "account", "oauth_token", "oauth_grant", "oauth_consent", "verification", "trusted_device"];
  const whose = (table) => (table === "verification" ? "coalesce(new.user_id, new.identifier)" : "new.user_id");
  await run("create table if not exists watched (user_id text primary key, session_id text not null)");
  await run("create table if not exists late (user_id text not null, name text not null, id text not null)");
  for (const table of tables) {
    await run(`create trigger if not exists late_${table} after insert on ${table}
      when exists (select 1 from watched w join session s on s.id = w.session_id
                    where w.user_id = ${whose(table)} and s.revoked_at is not null)
      begin insert into late (user_id, name, id) values (${whose(table)}, '${table}', new.id); end`);
  }
  await run("insert into watched (user_id, session_id) values (?, ?)", who.id, await handleOf(who));
}

/** Each ends what a thief has: the session that was copied. */
const WAYS = {
  "sign-out": (who) => post(who, "/sign-out"),
  "revoke-sessions": (who) => post(who, "/revoke-sessions"),
  "a change of password elsewhere": async (who) => {
    const elsewhere = { browser: worker.browser() };
    await post(elsewhere, "/sign-in/email", { email: who.email, password: PASSWORD });
    return () => post(elsewhere, "/change-password", { currentPassword: PASSWORD, newPassword: "another password altogether" });
  },
  "a reset": async (who) => {
    await worker.browser().post(at("/request-password-reset"), { email: who.email });
    const token = (await linkFor(who.email, "/reset-password/")).match(/reset-password\/([^?]+)/)[1];
    return () => post({ browser: worker.browser() }, "/reset-password", { token, newPassword: "another password altogether" });
  },
  "an administrator's end of the sessions": (who) => post(boss, "/admin/revoke-user-sessions", { userId: who.id }),
  "a ban": (who) => post(boss, "/admin/ban-user", { userId: who.id }),
  "a deletion": (who) => post(boss, "/admin/remove-user", { userId: who.id }),
};
const PREPARED = new Set(["a change of password elsewhere", "a reset"]);

const redeem = (code) =>
  worker.browser().send("POST", `${AUTH}/oauth2/token`, {
    headers: { ...FORM, ...basic(client) },
    body: new URLSearchParams({ grant_type: "authorization_code", code, redirect_uri: REDIRECT, code_verifier: "v".repeat(50) }).toString(),
  });
const poll = (device_code) =>
  worker.browser().send("POST", `${AUTH}/oauth2/token`, {
    headers: { ...FORM, ...basic(client) },
    body: new URLSearchParams({ grant_type: "urn:ietf:params:oauth:grant-type:device_code", device_code }).toString(),
  });
const codeIn = ({ location = "" }) => (location.startsWith(REDIRECT) ? new URL(location).searchParams.get("code") : undefined);

/** What a session is good for to a thief: `prepare` makes ready as many attempts as there are, `left` answers what of it works after the end. */
const MINTS = {
  keys: {
    attempt: (thief, n) => thief.browser.post(at("/api-key/create"), { name: `k${n}` }),
    async left(_, who, way) {
      // A key made before a mere end of sessions is a program's, and goes on.
      return /sessions|sign-out/.test(way) ? [] : worker.rows("select id from api_key where user_id = ? and enabled = 1", who.id);
    },
  },
  passkeys: {
    prepare: (thief) =>
      times(12, async () => {
        const twin = copy(thief);
        return { twin, body: await registering(twin) };
      }),
    attempt: (thief, n, ready) => ready[n % 12].twin.browser.post(at("/passkey/verify-registration"), ready[n % 12].body),
    left: () => [],
  },
  codes: {
    prepare: async (thief) => good(await thief.browser.submit(`${AUTH}/consent`, { ...(await atConsent(thief)), decision: "allow" })),
    attempt: (thief) => thief.browser.get(`${AUTH}/oauth2/authorize?${asking()}`, { headers: PAGE }),
    async left(answers) {
      const codes = answers.map(codeIn).filter(Boolean);
      return (await Promise.all(codes.map(redeem))).filter(({ status }) => status === 200);
    },
  },
  devices: {
    prepare: () => times(12, device),
    attempt: (thief, n, ready) => thief.browser.submit(`${AUTH}/device`, { user_code: ready[n % 12].user_code, decision: "allow" }),
    left: async (answers, who, way, ready) =>
      (await Promise.all(ready.map(({ device_code }) => poll(device_code)))).filter(({ status }) => status === 200),
  },
  addresses: {
    attempt: (thief, n) => thief.browser.post(at("/change-email"), { newEmail: `thief-${n}-${unique()}@example.com` }),
    // What was begun before a mere sign-out of this session waits for its owner's mail.
    left: (answers, who, way) =>
      way === "sign-out"
        ? []
        : worker.rows(
            `select id from verification where identifier = ?1 and kind in ('change_email_confirm', 'change_email_proof')
               and used_at is null and expires_at > unixepoch() * 1000`,
            who.id,
          ),
  },
  identities: {
    prepare: () => times(12, async () => ({ token: await upstream.idToken(stranger()) })),
    attempt: (thief, n, ready) => thief.browser.post(at("/link-social"), { provider: "acme", idToken: ready[n % 12] }),
    left: () => [],
  },
};

for (const [way, end] of Object.entries(WAYS)) {
  test(`nothing that a session mints outlives its end by ${way}, 50 at once`, async () => {
    upstream.behave();
    for (const [what, { prepare, attempt, left }] of Object.entries(MINTS)) {
      const who = await person();
      const thief = copy(who);
      const ready = await prepare?.(thief);
      await watch(who);
      // Before the race: whatever has to be there for the end to come.
      const act = PREPARED.has(way) ? await end(who) : () => end(who);
      const racing = times(50, async (n) => {
        await new Promise((resolve) => setTimeout(resolve, n * 4));
        return attempt(copy(thief), n, ready);
      });
      await new Promise((resolve) => setTimeout(resolve, 40));
      await act();
      const answers = await racing;
      for (const { status, text } of answers) assert.ok(status < 500, `${what}: ${status} ${text.slice(0, 200)}`);
      const works = await left(answers, who, way, ready);
      assert.deepEqual(
        works.map(({ id, text }) => id ?? text),
        [],
        `${what} that outlived ${way}`,
      );
      assert.deepEqual(await worker.rows("select name, id from late where user_id = ?", who.id), [], `${what}: written after ${way}`);
    }
  });
}

// ---- keys and refresh tokens ----

const works = async (text) =>
  (await worker.browser().get(at("/organization/get-active-member?organizationSlug=default"), { headers: { "x-api-key": text } }))
    .status !== 401;
const made = async (who) => (await post(who, "/api-key/create", { name: "thief's" })).json;
const age = (who) =>
  run(
    "update session set authenticated_at = ?, created_at = ? where user_id = ?",
    Date.now() - 3 * 86_400_000,
    Date.now() - 3 * 86_400_000,
    who.id,
  );

test("a key is made, widened or switched on in a fresh session alone", async () => {
  const who = await person();
  const id = (await made(who)).id;
  await age(who);
  const stale = { status: 403, code: "SESSION_NOT_FRESH" };
  for (const [path, body] of [
    ["/api-key/create", { name: "k" }],
    ["/api-key/update", { keyId: id, enabled: true }],
    ["/api-key/update", { keyId: id, expiresIn: null }],
    ["/api-key/update", { keyId: id, permissions: null }],
    ["/api-key/update", { keyId: id, remaining: 5 }],
    ["/api-key/update", { keyId: id, rateLimitMax: 5 }],
    ["/api-key/update", { keyId: id, rateLimitEnabled: false }],
  ]) {
    const { status, json } = await who.browser.post(at(path), body);
    assert.deepEqual({ status, code: json.code }, stale, `${path} ${JSON.stringify(body)}`);
  }
  await post(who, "/api-key/update", { keyId: id, name: "other", enabled: false });
  await post(who, "/api-key/delete", { keyId: id });
  const owner = await owned();
  await age(owner.who);
  const { status, json } = await owner.who.browser.post(at("/api-key/create"), { organizationId: owner.org, permissions: {} });
  assert.deepEqual({ status, code: json.code }, stale, "an organization's");
});

test("a user who makes a key is told of it, by mail and where they are signed in", async () => {
  const { who, org: organizationId } = await owned();
  const { id } = await made(who);
  await post(who, "/api-key/create", { name: "the firm's", organizationId });
  const told = (await mails(who.email)).filter(({ subject }) => subject === "An API key was made");
  assert.deepEqual(
    told
      .map(({ text }) => ["thief's", "the firm's"].filter((name) => text.includes(`"${name}"`)))
      .flat()
      .sort(),
    ["the firm's", "thief's"],
  );
  const { notifications } = (await who.browser.get(at("/notifications"))).json;
  assert.equal(notifications.filter(({ kind }) => kind === "api_key.created").length, 2);
  assert.ok(notifications.some(({ details }) => details.key === id));
});

test("a user's keys end with a change of their password by anybody, with a ban, a deactivation and a deletion", async () => {
  const ends = {
    "change-password": (who) => post(who, "/change-password", { currentPassword: PASSWORD, newPassword: "another password altogether" }),
    "change-password, other sessions too": (who) =>
      post(who, "/change-password", { currentPassword: PASSWORD, newPassword: "another password altogether", revokeOtherSessions: true }),
    "a reset": async (who) => (await WAYS["a reset"](who))(),
    "an administrator's password": (who) =>
      post(boss, "/admin/set-user-password", { userId: who.id, newPassword: "another password altogether" }),
    "a ban that was lifted": async (who) => {
      await post(boss, "/admin/ban-user", { userId: who.id });
      await post(boss, "/admin/unban-user", { userId: who.id });
    },
    "a deactivation that was taken back": async (who) => {
      await post(boss, "/admin/deactivate-user", { userId: who.id });
      await post(boss, "/admin/reactivate-user", { userId: who.id });
    },
    "a deletion": (who) => post(boss, "/admin/remove-user", { userId: who.id }),
    "a deletion of their own": (who) => post(who, "/delete-user", { password: PASSWORD }),
  };
  for (const [way, end] of Object.entries(ends)) {
    const who = await person();
    const { key: text } = await made(who);
    assert.ok(await works(text), way);
    await end(who);
    assert.equal(await works(text), false, `the key outlives ${way}`);
  }
  // Keys are no sessions: ending sessions alone keeps them.
  const who = await person();
  const { key: text } = await made(who);
  await post(who, "/revoke-sessions");
  assert.ok(await works(text));
});

test("of two changes of a password at once, the one that is refused ends no keys", async () => {
  const who = await person();
  const { key: text } = await made(who);
  const refused = await who.browser.post(at("/change-password"), {
    currentPassword: "not this one, surely",
    newPassword: "another password altogether",
  });
  assert.equal(refused.status, 400);
  assert.ok(await works(text));
});

test("ending all sessions ends the changes of address that were begun in them", async () => {
  for (const end of [
    (who) => post(who, "/revoke-sessions"),
    (who) => post(who, "/revoke-other-sessions"),
    (who) => post(boss, "/admin/revoke-user-sessions", { userId: who.id }),
  ]) {
    const [who, newEmail] = [await signUp(worker), uniqueEmail()];
    await post(who, "/change-email", { newEmail });
    const link = await linkFor(newEmail, "/change-email");
    await end(who);
    const { fields } = formOf((await worker.browser().get(link, { headers: PAGE })).text);
    const token = fields.token ?? new URL(link).searchParams.get("token");
    const answer = await worker.browser().submit(`${AUTH}/change-email`, { step: new URL(link).searchParams.get("step"), token });
    assert.equal(answer.status, 400, answer.text);
    assert.equal((await one("select email from user where id = ?", who.id)).email, who.email);
  }
});

test("a key that is switched off while it is used writes nothing more", async () => {
  const { key: text } = await made(boss);
  const tag = unique();
  const racing = times(50, async (n) => {
    await new Promise((resolve) => setTimeout(resolve, n * 4));
    return worker.browser().send("POST", at("/organization/create-team"), {
      headers: { "x-api-key": text },
      body: { organizationId: DEFAULT_TENANT, name: `${tag} ${n}` },
    });
  });
  await new Promise((resolve) => setTimeout(resolve, 60));
  await run("update api_key set enabled = 0, updated_at = ? where key_hash is not null and created_by = ?", Date.now(), boss.id);
  const before = (await worker.rows("select id from user_group where name like ?", `${tag} %`)).length;
  const answers = await racing;
  for (const { status, text: said } of answers) assert.ok([200, 401].includes(status), `${status} ${said}`);
  assert.ok(answers.some(({ status }) => status === 401));
  assert.equal(
    (await worker.rows("select id from user_group where name like ?", `${tag} %`)).length,
    before,
    "written by a key that was off",
  );
});

test("a rotated refresh token gives its successor once more until that is used, and ends all that came of it then", async () => {
  const who = await agreed();
  const code = codeIn(await who.browser.get(`${AUTH}/oauth2/authorize?${asking()}`, { headers: PAGE }));
  const first = (await redeem(code)).json.refresh_token;
  const refresh = (refresh_token) =>
    worker.browser().send("POST", `${AUTH}/oauth2/token`, {
      headers: { ...FORM, ...basic(client) },
      body: new URLSearchParams({ grant_type: "refresh_token", refresh_token }).toString(),
    });
  const second = (await refresh(first)).json.refresh_token;
  assert.notEqual(second, first);
  assert.deepEqual(
    (await times(10, () => refresh(first))).map(({ json }) => json.refresh_token),
    Array(10).fill(second),
    "the answer may have been lost",
  );
  const third = (await refresh(second)).json.refresh_token;
  assert.equal((await refresh(second)).json.refresh_token, third);
  const late = await refresh(first);
  assert.deepEqual([late.status, late.json.error], [400, "invalid_grant"], "its successor was used, so its answer was not lost");
  for (const token of [first, second, third]) assert.equal((await refresh(token)).json.error, "invalid_grant");
});
