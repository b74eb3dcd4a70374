// The published client of Better Auth, unchanged, in the version that its plugins pin and in the newest; and `jose`, which verifies our
// JWTs by our keys.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as pinned from "better-auth/client";
import * as pinnedPlugins from "better-auth/client/plugins";
import * as newest from "better-auth-newest/client";
import * as newestPlugins from "better-auth-newest/client/plugins";
import { createLocalJWKSet, jwtVerify } from "jose";
import { uniqueEmail } from "../harness/browser.mjs";
import { AUTH, SPA, startWorker } from "../harness/worker.mjs";

const VERSIONS = { "1.7.7": { ...pinned, ...pinnedPlugins }, "1.7.25": { ...newest, ...newestPlugins } };
const each = (name, run) => Object.entries(VERSIONS).forEach(([version, published]) => test(`${name} (${version})`, () => run(published)));

let worker;
before(async () => {
  worker = await startWorker();
});
after(() => worker?.dispose());

/** The client in a page of the SPA: its requests carry the page's origin and the browser's cookies. */
function client({ createAuthClient, jwtClient }) {
  const browser = worker.browser();
  const customFetchImpl = async (url, init = {}) => {
    const headers = { ...Object.fromEntries(new Headers(init.headers)), origin: SPA };
    const answer = await browser.send(init.method ?? "GET", String(url), { headers, body: init.body ?? undefined });
    assert.equal(answer.headers["access-control-allow-origin"], SPA, `${url} is not readable by the SPA`);
    assert.equal(answer.headers["access-control-allow-credentials"], "true");
    return new Response([204, 304].includes(answer.status) ? null : answer.bytes, { status: answer.status, headers: answer.headers });
  };
  const auth = createAuthClient({ baseURL: AUTH, plugins: [jwtClient()], fetchOptions: { customFetchImpl } });
  return { auth, browser };
}

each("sign-up, session, sign-out, sign-in", async (published) => {
  const { auth } = client(published);
  const email = uniqueEmail();
  const up = await auth.signUp.email({ email, password: "a long password", name: "Ada" });
  assert.equal(up.error, null);
  assert.equal(up.data.user.email, email);
  const session = await auth.getSession();
  assert.equal(session.data.user.name, "Ada");
  assert.ok(session.data.session.expiresAt > new Date());
  assert.equal((await auth.signOut()).data.success, true);
  assert.equal((await auth.getSession()).data, null);
  const wrong = await auth.signIn.email({ email, password: "another password" });
  assert.deepEqual([wrong.error.status, wrong.error.code], [401, "INVALID_EMAIL_OR_PASSWORD"]);
  const right = await auth.signIn.email({ email, password: "a long password", rememberMe: false });
  assert.equal(right.data.user.email, email);
  const again = await client(published).auth.signUp.email({ email, password: "a long password", name: "Ada" });
  assert.deepEqual([again.error.status, again.error.code], [422, "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL"]);
});

each("useSession follows signing in and out", async (published) => {
  const { auth } = client(published);
  const seen = [];
  const stop = auth.useSession.subscribe((value) => seen.push(value.data?.user.name ?? null));
  const until = async (name) => {
    for (let n = 0; n < 200 && seen.at(-1) !== name; n++) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(seen.at(-1), name);
  };
  await auth.signUp.email({ email: uniqueEmail(), password: "a long password", name: "Una" });
  await until("Una");
  await auth.signOut();
  await until(null);
  stop();
});

each("the account's own business", async (published) => {
  const { auth, browser } = client(published);
  const email = uniqueEmail();
  await auth.signUp.email({ email, password: "a long password", name: "Old" });
  assert.equal((await auth.updateUser({ name: "New", image: "https://example.com/p.png" })).data.status, true);
  const { data } = await auth.getSession();
  assert.deepEqual([data.user.name, data.user.image], ["New", "https://example.com/p.png"]);

  const second = client(published);
  await second.auth.signIn.email({ email, password: "a long password" });
  const sessions = (await auth.listSessions()).data;
  assert.equal(sessions.length, 2);
  // What is listed names a session and opens nothing.
  const secrets = [...browser.cookies(new URL(AUTH).host).values()].join();
  for (const session of sessions) assert.ok(!secrets.includes(session.token));
  const other = sessions.find((session) => session.id !== data.session.id);
  assert.equal((await auth.revokeSession({ token: other.token })).data.status, true);
  assert.equal((await second.auth.getSession({ query: { disableCookieCache: true } })).data, null);

  const accounts = (await auth.listAccounts()).data;
  assert.deepEqual(
    accounts.map((account) => account.providerId),
    ["credential"],
  );
  const changed = await auth.changePassword({
    currentPassword: "a long password",
    newPassword: "a longer password",
    revokeOtherSessions: true,
  });
  assert.equal(changed.error, null);
  assert.equal((await auth.getSession()).data.user.name, "New");
  assert.equal((await auth.revokeSessions()).data.status, true);
  assert.equal((await auth.getSession()).data, null);
});

each("a JWT that jose verifies from our key set", async (published) => {
  const { auth, browser } = client(published);
  const { data } = await auth.signUp.email({ email: uniqueEmail(), password: "a long password", name: "Jo" });
  const { token } = (await auth.token()).data;
  const jwks = createLocalJWKSet((await browser.get(`${AUTH}/api/auth/jwks`)).json);
  const { payload, protectedHeader } = await jwtVerify(token, jwks, { issuer: AUTH, audience: AUTH, algorithms: ["ES256"] });
  assert.equal(payload.sub, data.user.id);
  assert.equal(payload.email, data.user.email);
  assert.equal(payload.exp - payload.iat, 900);
  assert.equal(protectedHeader.typ, "doorward-session+jwt");
});

each("mailed links: a proven address and a new password", async (published) => {
  const { auth, browser } = client(published);
  const email = uniqueEmail();
  await auth.signUp.email({ email, password: "a long password", name: "May", callbackURL: `${SPA}/welcome` });
  const link = async () => (await browser.get(`${AUTH}/dev/mailbox?to=${email}`)).json[0].text.match(/https?:\S+/)[0];
  assert.equal((await auth.sendVerificationEmail({ email, callbackURL: `${SPA}/proven` })).data.status, true);
  assert.equal((await browser.followMailedLink(await link())).location, `${SPA}/proven`);
  assert.equal((await auth.getSession({ query: { disableCookieCache: true } })).data.user.emailVerified, true);

  assert.equal((await auth.requestPasswordReset({ email, redirectTo: `${SPA}/reset` })).data.status, true);
  const { searchParams } = new URL((await browser.get(await link())).location);
  const wrong = await auth.resetPassword({ newPassword: "a longer password", token: "wrong" });
  assert.deepEqual([wrong.error.status, wrong.error.code], [400, "INVALID_TOKEN"]);
  assert.equal((await auth.resetPassword({ newPassword: "a longer password", token: searchParams.get("token") })).data.status, true);
  assert.equal((await auth.signIn.email({ email, password: "a longer password" })).data.user.email, email);
});
