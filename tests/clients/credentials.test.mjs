// The published client's plugins, unchanged, against us: every way to prove who you are that needs no browser.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createAuthClient } from "better-auth/client";
import {
  anonymousClient,
  emailOTPClient,
  lastLoginMethodClient,
  magicLinkClient,
  multiSessionClient,
  oneTimeTokenClient,
  phoneNumberClient,
  twoFactorClient,
  usernameClient,
} from "better-auth/client/plugins";
import * as OTPAuth from "otpauth";
import { uniqueEmail } from "../harness/browser.mjs";
import { AUTH, SPA, startWorker } from "../harness/worker.mjs";

const PASSWORD = "a long password";
const HOST = new URL(AUTH).host;
let worker;
before(async () => {
  const SIGN_IN_WITH = "password,passkey,magic-link,email-otp,phone,anonymous";
  worker = await startWorker({ settings: { SIGN_IN_WITH, MULTI_SESSION: "on", BEARER: "on", LIMIT_MAIL: "1000/60" } });
});
after(() => worker?.dispose());

/** The client in a page of the SPA: its requests carry the page's origin and the browser's cookies. */
function client(browser = worker.browser()) {
  const asked = [];
  const customFetchImpl = async (url, init = {}) => {
    const headers = { ...Object.fromEntries(new Headers(init.headers)), origin: SPA };
    const answer = await browser.send(init.method ?? "GET", String(url), { headers, body: init.body ?? undefined });
    assert.equal(answer.headers["access-control-allow-origin"], SPA, `${url} is not readable by the SPA`);
    return new Response([204, 304].includes(answer.status) ? null : answer.bytes, { status: answer.status, headers: answer.headers });
  };
  const plugins = [
    usernameClient(),
    phoneNumberClient(),
    anonymousClient(),
    magicLinkClient(),
    emailOTPClient(),
    oneTimeTokenClient(),
    multiSessionClient(),
    lastLoginMethodClient(),
    twoFactorClient({ onTwoFactorRedirect: (context) => asked.push(context) }),
  ];
  return { auth: createAuthClient({ baseURL: AUTH, plugins, fetchOptions: { customFetchImpl } }), browser, asked };
}

const messages = async (to) => (await worker.browser().get(`${AUTH}/dev/mailbox?to=${encodeURIComponent(to)}`)).json;
const codeFor = async (to) => (await messages(to))[0].text.match(/\b\d{6}\b/)[0];
const linkFor = async (to) => (await messages(to))[0].text.match(/https?:\S+/)[0];
const whoami = async ({ auth }) => (await auth.getSession({ query: { disableCookieCache: true } })).data?.user ?? null;

/** What worked, or the error's code. */
const ok = ({ data, error }) => {
  assert.equal(error, null, JSON.stringify(error));
  return data;
};

async function person(fields = {}) {
  const one = client();
  const email = uniqueEmail();
  ok(await one.auth.signUp.email({ email, password: PASSWORD, name: "Ada", ...fields }));
  return { ...one, email };
}

test("user names", async () => {
  const username = `Ada_${Date.now().toString(36)}`;
  assert.equal(ok(await client().auth.isUsernameAvailable({ username })).available, true);
  const { auth } = await person({ username });
  assert.deepEqual([(await whoami({ auth })).username, (await whoami({ auth })).displayUsername], [username.toLowerCase(), username]);
  assert.equal(ok(await client().auth.isUsernameAvailable({ username })).available, false);
  const other = client();
  assert.equal(
    ok(await other.auth.signIn.username({ username: username.toUpperCase(), password: PASSWORD })).user.username,
    username.toLowerCase(),
  );
  assert.equal((await client().auth.signIn.username({ username, password: "wrong password" })).error.code, "INVALID_USERNAME_OR_PASSWORD");
  ok(await auth.updateUser({ username: `${username}.2` }));
  assert.equal((await whoami({ auth })).username, `${username}.2`.toLowerCase());
});

test("TOTP by an implementation that is not ours, backup codes, a trusted browser, and switched off", async () => {
  const one = await person();
  // Codes are mailed to proven addresses only.
  await one.browser.followMailedLink(await linkFor(one.email));
  const { method, totpURI, backupCodes } = ok(await one.auth.twoFactor.enable({ password: PASSWORD }));
  assert.deepEqual([method, backupCodes.length], ["totp", 10]);
  const totp = OTPAuth.URI.parse(totpURI);
  assert.deepEqual([totp.label, totp.issuer, totp.algorithm, totp.digits, totp.period], [one.email, "Default", "SHA1", 6, 30]);
  assert.equal((await whoami(one)).twoFactorEnabled, false);
  // Each step is good once; the earliest that is accepted leaves room for the later ones.
  const at = (drift) => totp.generate({ timestamp: Date.now() + drift * 30_000 });
  ok(await one.auth.twoFactor.verifyTotp({ code: at(-1) }));
  assert.equal((await whoami(one)).twoFactorEnabled, true);
  assert.equal(ok(await one.auth.twoFactor.getTotpUri({ password: PASSWORD })).totpURI, totpURI);

  const next = client();
  const first = ok(await next.auth.signIn.email({ email: one.email, password: PASSWORD }));
  assert.deepEqual(first, { twoFactorRedirect: true, twoFactorMethods: ["totp", "otp"] });
  assert.deepEqual(next.asked, [{ twoFactorMethods: ["totp", "otp"] }]);
  assert.equal(await whoami(next), null);
  assert.equal((await next.auth.twoFactor.verifyTotp({ code: "000000" })).error.code, "INVALID_CODE");
  ok(await next.auth.twoFactor.verifyTotp({ code: at(0), trustDevice: true }));
  assert.equal((await whoami(next)).email, one.email);
  await next.auth.signOut();
  assert.equal(ok(await next.auth.signIn.email({ email: one.email, password: PASSWORD })).user.email, one.email);

  const lost = client();
  ok(await lost.auth.signIn.email({ email: one.email, password: PASSWORD }));
  ok(await lost.auth.twoFactor.verifyBackupCode({ code: backupCodes[3] }));
  assert.equal((await whoami(lost)).email, one.email);
  const mailed = client();
  ok(await mailed.auth.signIn.email({ email: one.email, password: PASSWORD }));
  ok(await mailed.auth.twoFactor.sendOtp());
  ok(await mailed.auth.twoFactor.verifyOtp({ code: await codeFor(one.email) }));
  assert.equal((await whoami(mailed)).email, one.email);

  assert.equal(ok(await lost.auth.twoFactor.generateBackupCodes({ password: PASSWORD })).backupCodes.length, 10);
  ok(await lost.auth.twoFactor.disable({ password: PASSWORD }));
  assert.equal(ok(await client().auth.signIn.email({ email: one.email, password: PASSWORD })).user.twoFactorEnabled, false);
});

test("magic links", async () => {
  const email = uniqueEmail();
  const { auth, browser } = client();
  ok(await auth.signIn.magicLink({ email, name: "May", callbackURL: `${SPA}/home`, newUserCallbackURL: `${SPA}/welcome` }));
  assert.equal((await browser.followMailedLink(await linkFor(email))).location, `${SPA}/welcome`);
  const user = await whoami({ auth });
  assert.deepEqual([user.email, user.name, user.emailVerified], [email, "May", true]);
  const again = client();
  ok(await again.auth.signIn.magicLink({ email }));
  const token = new URL(await linkFor(email)).searchParams.get("token");
  assert.equal(ok(await again.auth.magicLink.verify({ query: { token } })).user.email, email);
});

test("mailed codes: signing in, proving an address, a new password, a new address", async () => {
  const email = uniqueEmail();
  const { auth } = client();
  ok(await auth.emailOtp.sendVerificationOtp({ email, type: "sign-in" }));
  assert.equal((await auth.signIn.emailOtp({ email, otp: "x" })).error.code, "INVALID_OTP");
  assert.equal(ok(await auth.signIn.emailOtp({ email, otp: await codeFor(email) })).user.emailVerified, true);

  const one = await person();
  ok(await one.auth.emailOtp.sendVerificationOtp({ email: one.email, type: "email-verification" }));
  const otp = await codeFor(one.email);
  ok(await one.auth.emailOtp.checkVerificationOtp({ email: one.email, type: "email-verification", otp }));
  assert.equal(ok(await one.auth.emailOtp.verifyEmail({ email: one.email, otp })).user.emailVerified, true);
  ok(await one.auth.emailOtp.requestPasswordReset({ email: one.email }));
  ok(await one.auth.emailOtp.resetPassword({ email: one.email, otp: await codeFor(one.email), password: "another long password" }));
  ok(await one.auth.signIn.email({ email: one.email, password: "another long password" }));
  const newEmail = uniqueEmail();
  ok(await one.auth.emailOtp.sendVerificationOtp({ email: one.email, type: "email-verification" }));
  ok(await one.auth.emailOtp.requestEmailChange({ newEmail, otp: await codeFor(one.email) }));
  ok(await one.auth.emailOtp.changeEmail({ newEmail, otp: await codeFor(newEmail) }));
  assert.equal((await whoami(one)).email, newEmail);
});

test("phone numbers", async () => {
  const phoneNumber = `+1555${String(Date.now()).slice(-7)}`;
  const { auth } = client();
  ok(await auth.phoneNumber.sendOtp({ phoneNumber }));
  assert.equal((await auth.phoneNumber.verify({ phoneNumber, code: "x" })).error.code, "INVALID_OTP");
  const { user } = ok(await auth.phoneNumber.verify({ phoneNumber, code: await codeFor(phoneNumber) }));
  assert.deepEqual([user.phoneNumber, user.phoneNumberVerified, user.emailVerified], [phoneNumber, true, false]);
  ok(await auth.phoneNumber.requestPasswordReset({ phoneNumber }));
  ok(await auth.phoneNumber.resetPassword({ phoneNumber, otp: await codeFor(phoneNumber), newPassword: PASSWORD }));
  const other = client();
  assert.equal(ok(await other.auth.signIn.phoneNumber({ phoneNumber, password: PASSWORD })).user.id, user.id);
});

test("a guest becomes a user, and keeps what is theirs", async () => {
  const one = client();
  const guest = ok(await one.auth.signIn.anonymous()).user;
  assert.equal(guest.isAnonymous, true);
  assert.equal((await one.auth.signIn.anonymous()).error.code, "ANONYMOUS_USERS_CANNOT_SIGN_IN_AGAIN_ANONYMOUSLY");
  const { user } = ok(await one.auth.signUp.email({ email: uniqueEmail(), password: PASSWORD, name: "Real" }));
  assert.deepEqual([user.id, user.isAnonymous], [guest.id, false]);
  const other = client();
  ok(await other.auth.signIn.anonymous());
  assert.equal(ok(await other.auth.deleteAnonymousUser()).success, true);
});

test("a one-time token, several accounts, and the way last used", async () => {
  const one = await person();
  const { token } = ok(await one.auth.oneTimeToken.generate());
  const carried = client();
  assert.equal(ok(await carried.auth.oneTimeToken.verify({ token })).user.email, one.email);
  assert.equal((await client().auth.oneTimeToken.verify({ token })).error.status, 400);

  const two = await person();
  ok(await one.auth.signIn.email({ email: two.email, password: PASSWORD }));
  assert.equal((await whoami(one)).email, two.email);
  const sessions = ok(await one.auth.multiSession.listDeviceSessions());
  assert.deepEqual(sessions.map(({ user }) => user.email).sort(), [one.email, two.email].sort());
  const mine = sessions.find(({ user }) => user.email === one.email).session.token;
  assert.equal(ok(await one.auth.multiSession.setActive({ sessionToken: mine })).user.email, one.email);
  assert.equal((await whoami(one)).email, one.email);
  ok(await one.auth.multiSession.revoke({ sessionToken: mine }));
  assert.equal((await whoami(one)).email, two.email);

  globalThis.document = { cookie: [...two.browser.cookies(HOST)].map((pair) => pair.join("=")).join("; ") };
  try {
    assert.equal(two.auth.getLastUsedLoginMethod(), "email");
  } finally {
    delete globalThis.document;
  }
});

test("another address, by links; the account deleted; a session in Authorization", async () => {
  const one = await person();
  const newEmail = uniqueEmail();
  // Unproven, so nobody is asked about the old one.
  ok(await one.auth.changeEmail({ newEmail, callbackURL: `${SPA}/changed` }));
  const link = new URL(await linkFor(newEmail));
  assert.equal((await one.browser.get(link.href, { headers: { accept: "text/html" } })).status, 200);
  assert.notEqual((await whoami(one)).email, newEmail);
  const posted = await one.browser.submit(`${AUTH}/change-email`, Object.fromEntries(link.searchParams));
  assert.deepEqual([posted.status, posted.location], [303, `${SPA}/changed`]);
  assert.deepEqual([(await whoami(one)).email, (await whoami(one)).emailVerified], [newEmail, true]);

  const answer = await worker.browser().post(`${AUTH}/api/auth/sign-in/email`, { email: newEmail, password: PASSWORD });
  const authorization = `Bearer ${answer.headers["set-auth-token"]}`;
  assert.equal((await worker.browser().get(`${AUTH}/api/auth/get-session`, { headers: { authorization } })).json.user.email, newEmail);

  assert.equal((await one.auth.deleteUser({ password: "wrong password" })).error.code, "INVALID_PASSWORD");
  assert.equal(ok(await one.auth.deleteUser({ password: PASSWORD })).message, "User deleted");
  assert.equal(await whoami(one), null);
  assert.equal((await client().auth.signIn.email({ email: newEmail, password: PASSWORD })).error.code, "INVALID_EMAIL_OR_PASSWORD");
});
