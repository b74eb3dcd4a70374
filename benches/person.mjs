// Who signs up with Doorward to be measured, and the client that they use.

import { EMAIL, METADATA, RelyingParty } from "./provider.mjs";

export const ORIGIN = "http://auth.localhost";
export const host = new URL(ORIGIN).host;
export const password = "correct horse battery staple";
export const json = { "content-type": "application/json", origin: ORIGIN };

export async function signedUp(client, address) {
  const body = JSON.stringify({ name: "Bench", email: address, password });
  const answer = await client.send({ method: "POST", host, path: "/api/auth/sign-up/email", headers: json, body });
  if (answer.status !== 200) throw new Error(`sign-up answered ${answer.status}: ${answer.body}`);
}

// Somebody who administers the tenant, and adds the client that they then use.
export async function relyingParty(browser, { d1 }) {
  await signedUp(browser, EMAIL);
  await d1.batch([
    d1
      .prepare(
        `insert or ignore into member (id, tenant_id, user_id, created_at, updated_at)
                select ?1, tenant.id, user.id, 0, 0 from tenant, user where user.email = ?2`,
      )
      .bind(crypto.randomUUID(), EMAIL),
    d1
      .prepare(
        `insert into member_role (member_id, role_id, created_at)
                select member.id, role.id, 0 from member join user on user.id = member.user_id, role
                where user.email = ?1 and role.name = 'admin'`,
      )
      .bind(EMAIL),
  ]);
  const body = JSON.stringify({ ...METADATA, skip_consent: true });
  const added = await browser.send({ method: "POST", host, path: "/api/auth/admin/oauth2/create-client", headers: json, body });
  if (added.status !== 201) throw new Error(`create-client answered ${added.status}: ${added.body}`);
  const { client_id: id, client_secret: secret } = JSON.parse(added.body);
  const paths = { authorize: "/oauth2/authorize", token: "/oauth2/token", userinfo: "/oauth2/userinfo", introspect: "/oauth2/introspect" };
  return new RelyingParty({ browser, host, paths, id, secret });
}
