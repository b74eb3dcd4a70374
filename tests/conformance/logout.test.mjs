// The modules of OpenID's RP-initiated, back-channel and front-channel logout plans, each under its own name.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import * as jose from "jose";
import { answered, basicClient, modulesOf, now, onOurPage, random, refusedBack, startPlan } from "../harness/conformance.mjs";
import { formOf } from "../harness/relying-party.mjs";
import { PAGE, signUp } from "../harness/seed.mjs";
import { AUTH } from "../harness/worker.mjs";

const AFTER = "https://suite.example/after";
let plan, client, byBack, byFront, told, party;
before(async () => {
  told = [];
  party = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    told.push(new URLSearchParams(body).get("logout_token"));
    response.writeHead(200).end();
  }).listen(0, "127.0.0.1");
  await once(party, "listening");
  plan = await startPlan({ SESSION_COOKIE_CACHE_SECONDS: "0", SESSION_RECHECK_SECONDS: "0" });
  client = await plan.register({ classical: true, post_logout_redirect_uris: [AFTER] });
  byBack = await plan.register({
    classical: true,
    post_logout_redirect_uris: [AFTER],
    backchannel_logout_uri: `http://127.0.0.1:${party.address().port}/out`,
    backchannel_logout_session_required: true,
  });
  byFront = await plan.register({
    classical: true,
    post_logout_redirect_uris: [AFTER],
    frontchannel_logout_uri: "https://suite.example/front",
    frontchannel_logout_session_required: true,
  });
});
after(async () => {
  await plan?.dispose();
  party?.close();
});

const discovery = async () => (await plan.worker.browser().get(`${AUTH}/.well-known/openid-configuration`)).json;
/** Somebody who has just signed in to a client. */
async function signedIn(to = client) {
  const who = await signUp(plan.worker);
  return { who, ...(await basicClient(plan, to).enter({}, { browser: who.browser })) };
}
const end = ({ who }, fields) => who.browser.get(`${AUTH}/oauth2/end_session?${new URLSearchParams(fields)}`, { headers: PAGE });
const isSignedIn = async ({ who }) => (await who.browser.get(`${AUTH}/api/auth/get-session`)).text !== "null";
async function confirmed(entered, page) {
  assert.deepEqual([page.status, page.location, await isSignedIn(entered)], [200, undefined, true], page.text.slice(0, 200));
  const { action, fields } = formOf(page.text);
  assert.equal(action, "/oauth2/end_session/confirm");
  return entered.who.browser.submit(`${AUTH}${action}`, fields);
}

/** After the logout, a request that may show no page says that nobody is signed in. */
async function isOut({ who }, to = client) {
  const state = random().repeat(3).slice(0, 128);
  refusedBack(answered(await basicClient(plan, to).ask({ prompt: "none", state }, who.browser)), "login_required", { state });
}

const initiated = modulesOf("oidcc-rp-initiated-logout-certification-test-plan");
const back = modulesOf("oidcc-backchannel-rp-initiated-logout-certification-test-plan");
const front = modulesOf("oidcc-frontchannel-rp-initiated-logout-certification-test-plan");
for (const [{ module }, kind, channel] of [
  [initiated, "rp-initiated-logout"],
  [back, "backchannel-logout", "backchannel"],
  [front, "frontchannel-logout", "frontchannel"],
]) {
  module(`oidcc-${kind}-discovery-endpoint-verification`, async () => {
    const document = await discovery();
    assert.equal(document.end_session_endpoint, `${AUTH}/oauth2/end_session`);
    if (channel) assert.deepEqual([document[`${channel}_logout_supported`], document[`${channel}_logout_session_supported`]], [true, true]);
  });
}

initiated.module("oidcc-rp-initiated-logout", async () => {
  const entered = await signedIn();
  const out = await end(entered, { id_token_hint: entered.tokens.id_token, post_logout_redirect_uri: AFTER, state: "s t" });
  assert.deepEqual([out.status, out.location], [303, `${AFTER}?state=s+t`]);
  assert.equal(await isSignedIn(entered), false);
  await isOut(entered);
});
initiated.module("oidcc-rp-initiated-logout-no-state", async () => {
  const entered = await signedIn();
  assert.equal((await end(entered, { id_token_hint: entered.tokens.id_token, post_logout_redirect_uri: AFTER })).location, AFTER);
  await isOut(entered);
});
initiated.module("oidcc-rp-initiated-logout-bad-post-logout-redirect-uri", async () => {
  const entered = await signedIn();
  onOurPage(
    await end(entered, {
      id_token_hint: entered.tokens.id_token,
      post_logout_redirect_uri: `${AFTER}/${random().slice(0, 10)}`,
      state: "s",
    }),
    /not registered/,
  );
  assert.equal(await isSignedIn(entered), true);
});
initiated.module("oidcc-rp-initiated-logout-query-added-to-post-logout-redirect-uri", async () => {
  const entered = await signedIn();
  onOurPage(
    await end(entered, { id_token_hint: entered.tokens.id_token, post_logout_redirect_uri: `${AFTER}?foo=bar`, state: "s" }),
    /not registered/,
  );
});
initiated.module("oidcc-rp-initiated-logout-modified-id-token-hint", async () => {
  // The same claims, signed by nobody.
  const entered = await signedIn();
  const header = Buffer.from(JSON.stringify({ alg: "none" })).toString("base64url");
  onOurPage(
    await end(entered, {
      id_token_hint: `${header}.${entered.tokens.id_token.split(".")[1]}.`,
      post_logout_redirect_uri: AFTER,
      state: "s",
    }),
    /id_token_hint/,
  );
  assert.equal(await isSignedIn(entered), true);
});
initiated.module("oidcc-rp-initiated-logout-bad-id-token-hint", async () => {
  // A token that the client made itself.
  const entered = await signedIn();
  const { privateKey } = await jose.generateKeyPair("RS256");
  const made = new jose.SignJWT({ iss: client.client_id, sub: "another", aud: AUTH, nonce: "n", iat: now(), exp: now() + 300 });
  const forged = await made.setProtectedHeader({ alg: "RS256" }).sign(privateKey);
  onOurPage(await end(entered, { id_token_hint: forged, post_logout_redirect_uri: AFTER, state: "s" }), /id_token_hint/);
  assert.equal(await isSignedIn(entered), true);
});
initiated.module("oidcc-rp-initiated-logout-no-id-token-hint", async () => {
  const entered = await signedIn();
  // Nobody says whose the URI is: it is asked, and not followed.
  const done = await confirmed(entered, await end(entered, { post_logout_redirect_uri: AFTER, state: "s" }));
  assert.deepEqual([done.status, done.location, await isSignedIn(entered)], [200, undefined, false]);
});
initiated.module("oidcc-rp-initiated-logout-no-post-logout-redirect-uri", async () => {
  const entered = await signedIn();
  const out = await end(entered, { id_token_hint: entered.tokens.id_token });
  assert.deepEqual([out.status, out.location, await isSignedIn(entered)], [200, undefined, false]);
});
initiated.module("oidcc-rp-initiated-logout-no-params", async () => {
  const entered = await signedIn();
  assert.equal((await confirmed(entered, await end(entered, {}))).status, 200);
  assert.equal(await isSignedIn(entered), false);
});
initiated.module("oidcc-rp-initiated-logout-only-state", async () => {
  const entered = await signedIn();
  assert.equal((await confirmed(entered, await end(entered, { state: "s" }))).location, undefined);
});
back.module("oidcc-backchannel-rp-initiated-logout", async () => {
  const entered = await signedIn(byBack);
  const out = await end(entered, { id_token_hint: entered.tokens.id_token, post_logout_redirect_uri: AFTER, state: "s" });
  assert.deepEqual([out.status, out.location], [303, `${AFTER}?state=s`]);
  const deadline = Date.now() + 10_000;
  while (told.length === 0 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 25));
  const { payload, protectedHeader } = await jose.jwtVerify(told[0], await plan.keys(), {
    issuer: AUTH,
    audience: byBack.client_id,
    requiredClaims: ["jti", "iat"],
  });
  assert.equal(protectedHeader.typ, "logout+jwt");
  assert.deepEqual([payload.sub, payload.sid, payload.nonce], [entered.claims.sub, entered.claims.sid, undefined]);
  assert.deepEqual(payload.events, { "http://schemas.openid.net/event/backchannel-logout": {} });
  await isOut(entered, byBack);
});
front.module("oidcc-frontchannel-rp-initiated-logout", async () => {
  const entered = await signedIn(byFront);
  const page = await end(entered, { id_token_hint: entered.tokens.id_token, post_logout_redirect_uri: AFTER, state: "s" });
  assert.equal(page.status, 200);
  const [, source] = page.text.match(/<iframe[^>]* src="([^"]+)"/) ?? [];
  const framed = new URL(source.replaceAll("&amp;", "&"));
  assert.deepEqual(
    [framed.origin + framed.pathname, framed.searchParams.get("iss"), framed.searchParams.get("sid")],
    ["https://suite.example/front", AUTH, entered.claims.sid],
  );
  assert.deepEqual([...framed.searchParams.keys()].sort(), ["iss", "sid"]);
  assert.ok(page.text.includes(`${AFTER}?state=s`));
  await isOut(entered, byFront);
});
for (const { complete } of [initiated, back, front]) complete();

for (const [label, forge] of [
  [
    "whose claims were changed",
    async ({ tokens, claims }) => {
      const [header, , signature] = tokens.id_token.split(".");
      return `${header}.${Buffer.from(JSON.stringify({ ...claims, sub: "another" })).toString("base64url")}.${signature}`;
    },
  ],
  [
    "that names our key and is signed with another",
    async ({ claims, header }) => {
      const { privateKey } = await jose.generateKeyPair("RS256");
      return new jose.SignJWT(claims).setProtectedHeader({ alg: "RS256", kid: header.kid }).sign(privateKey);
    },
  ],
]) {
  test(`an id_token_hint ${label} is refused`, async () => {
    const entered = await signedIn();
    onOurPage(await end(entered, { id_token_hint: await forge(entered), post_logout_redirect_uri: AFTER }), /id_token_hint/);
    assert.equal(await isSignedIn(entered), true);
  });
}
