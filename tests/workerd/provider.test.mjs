// Clients as administrators keep them, and what users agreed to as they see it.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { PAGE, PASSWORD, seedDomain, seedTenant, signUp } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const at = (path, host = AUTH) => `${host}/api/auth${path}`;
const NEW = "an altogether new passphrase";
const REDIRECT = "https://app.example/cb";
let worker, admin;
before(async () => {
  worker = await startWorker();
  admin = await signUp(worker, { roles: ["admin"] });
});
after(() => worker?.dispose());

async function register(metadata = {}, who = admin, host = AUTH) {
  const made = await who.browser.post(at("/admin/oauth2/create-client", host), {
    client_name: "App",
    redirect_uris: [REDIRECT],
    grant_types: ["authorization_code", "refresh_token"],
    ...metadata,
  });
  assert.equal(made.status, 201, made.text);
  return made.json;
}
const ask = (path, { client_id, client_secret }, form) =>
  worker.browser().send("POST", `${AUTH}/oauth2/${path}`, {
    body: new URLSearchParams(form).toString(),
    headers: {
      "content-type": "application/x-www-form-urlencoded",
      authorization: `Basic ${Buffer.from(`${client_id}:${client_secret}`).toString("base64")}`,
    },
  });

/** A code of somebody who agrees, and how to redeem it. */
async function authorize(client, who) {
  const verifier = randomBytes(32).toString("base64url");
  const query = new URLSearchParams({
    client_id: client.client_id,
    response_type: "code",
    redirect_uri: REDIRECT,
    scope: "openid email offline_access",
    code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    code_challenge_method: "S256",
  });
  let answer = await who.browser.get(`${AUTH}/oauth2/authorize?${query}`, { headers: PAGE });
  if (answer.location.startsWith("/consent")) {
    const page = await who.browser.get(`${AUTH}${answer.location}`, { headers: PAGE });
    assert.match(page.text, /See your e-mail address/);
    const [, request_uri] = page.text.match(/name="request_uri" value="([^"]+)"/);
    answer = await who.browser.submit(`${AUTH}/consent`, { client_id: client.client_id, request_uri, decision: "allow" });
  }
  const redeem = (code) =>
    ask("token", client, { grant_type: "authorization_code", code, redirect_uri: REDIRECT, code_verifier: verifier });
  return { code: new URL(answer.location).searchParams.get("code"), redeem };
}

async function tokens(client, who) {
  const { code, redeem } = await authorize(client, who);
  const got = await redeem(code);
  assert.equal(got.status, 200, got.text);
  return got.json;
}

test("a user sees what they agreed to, and takes it back", async () => {
  const client = await register();
  const [who, other] = [await signUp(worker), await signUp(worker)];
  const got = await tokens(client, who);
  const [consent] = (await who.browser.get(at("/oauth2/get-consents"))).json;
  assert.deepEqual(
    [consent.clientId, consent.clientName, [...consent.scopes].sort()],
    [client.client_id, "App", ["email", "offline_access", "openid"]],
  );
  assert.deepEqual((await other.browser.get(at("/oauth2/get-consents"))).json, []);
  const foreign = await other.browser.post(at("/oauth2/delete-consent"), { id: consent.id });
  assert.deepEqual([foreign.status, foreign.json.code], [404, "CONSENT_NOT_FOUND"]);
  assert.equal((await ask("introspect", client, { token: got.access_token })).json.active, true);
  assert.equal((await who.browser.post(at("/oauth2/delete-consent"), { id: consent.id })).status, 200);
  assert.equal((await ask("introspect", client, { token: got.access_token })).json.active, false);
  assert.equal((await ask("token", client, { grant_type: "refresh_token", refresh_token: got.refresh_token })).json.error, "invalid_grant");
  assert.deepEqual((await who.browser.get(at("/oauth2/get-consents"))).json, []);
  const again = await tokens(client, who);
  assert.ok(again.access_token, "they may agree once more");
});

test("whoever changes or resets their password ends what clients have in their name, codes included", async () => {
  const client = await register();
  const asked = async ({ access_token, refresh_token }) => [
    (await ask("introspect", client, { token: access_token })).json.active,
    (await ask("token", client, { grant_type: "refresh_token", refresh_token })).json.error,
  ];
  const who = await signUp(worker);
  const other = await tokens(client, await signUp(worker));
  const [before, wrong] = [await tokens(client, who), { currentPassword: "another one entirely", newPassword: NEW }];
  assert.equal((await who.browser.post(at("/change-password"), wrong)).json.code, "INVALID_PASSWORD");
  assert.equal((await ask("introspect", client, { token: before.access_token })).json.active, true, "a wrong guess ends nothing");
  const { code, redeem } = await authorize(client, who);
  assert.equal((await who.browser.post(at("/change-password"), { currentPassword: PASSWORD, newPassword: NEW })).status, 200);
  assert.deepEqual(await asked(before), [false, "invalid_grant"]);
  assert.equal((await redeem(code)).json.error, "invalid_grant");

  const since = await tokens(client, who);
  await worker.browser().post(at("/request-password-reset"), { email: who.email });
  const mails = (await worker.browser().get(`${AUTH}/dev/mailbox?to=${encodeURIComponent(who.email)}`)).json;
  const [, token] = mails.map(({ text }) => text.match(/reset-password\/([\w-]+)/)).find(Boolean);
  assert.equal((await worker.browser().post(at("/reset-password"), { token, newPassword: PASSWORD })).status, 200);
  assert.deepEqual(await asked(since), [false, "invalid_grant"]);
  assert.equal((await ask("introspect", client, { token: other.access_token })).json.active, true, "somebody else's");
});

test("whoever proves an address that was never proven takes the account without the clients its maker let in", async () => {
  const client = await register();
  const maker = await signUp(worker);
  const got = await tokens(client, maker);
  await worker.browser().post(at("/sign-in/magic-link"), { email: maker.email });
  const mails = (await worker.browser().get(`${AUTH}/dev/mailbox?to=${encodeURIComponent(maker.email)}`)).json;
  const [link] = mails.map(({ text }) => text.match(/https?:\S+sign-in-link\S+/)).find(Boolean);
  const owner = worker.browser();
  await owner.followMailedLink(link);
  assert.equal((await owner.get(at("/get-session"))).json.user.id, maker.id);
  assert.equal((await ask("introspect", client, { token: got.access_token })).json.active, false);
  assert.equal((await ask("token", client, { grant_type: "refresh_token", refresh_token: got.refresh_token })).json.error, "invalid_grant");
  assert.deepEqual((await owner.get(at("/oauth2/get-consents"))).json, [], "the maker agreed, the owner did not");
});

test("a secret that a client puts into an authorization URL is not kept", async () => {
  const client = await register();
  const query = new URLSearchParams({
    client_id: client.client_id,
    response_type: "code",
    redirect_uri: REDIRECT,
    scope: "openid",
    code_challenge: createHash("sha256").update("v".repeat(43)).digest("base64url"),
    code_challenge_method: "S256",
    client_secret: client.client_secret,
    client_assertion: "an.assertion.of-theirs",
  });
  const answer = await worker.browser().get(`${AUTH}/oauth2/authorize?${query}`, { headers: PAGE });
  assert.match(answer.location, /^\/login\?/);
  // The request travels with its user, sealed, and is not kept at all.
  const rows = await worker.rows(
    "select g.request from oauth_grant g join oauth_client c on c.id = g.client_id where g.kind = 'request' and c.client_id = ?",
    client.client_id,
  );
  assert.deepEqual(rows, []);
  for (const secret of [client.client_secret, "an.assertion.of-theirs"]) assert.ok(!answer.location.includes(secret));
  // One that is too long to travel is kept, without them.
  query.set("ui_locales", "x".repeat(6200));
  assert.match((await worker.browser().get(`${AUTH}/oauth2/authorize?${query}`, { headers: PAGE })).location, /^\/login\?/);
  const [{ request }] = await worker.rows(
    "select g.request from oauth_grant g join oauth_client c on c.id = g.client_id where g.kind = 'request' and c.client_id = ?",
    client.client_id,
  );
  assert.ok(request.includes("code_challenge"));
  for (const secret of [client.client_secret, "an.assertion.of-theirs"]) assert.ok(!request.includes(secret));
});

test("a secret is rotated with a day to change over", async () => {
  const client = await register({ grant_types: ["client_credentials"], redirect_uris: [], scope: "x" });
  const rotated = await admin.browser.post(at("/oauth2/client/rotate-secret"), { client_id: client.client_id });
  assert.equal(rotated.status, 200, rotated.text);
  const next = { ...client, client_secret: rotated.json.client_secret };
  const works = async (one) => (await ask("token", one, { grant_type: "client_credentials" })).status;
  assert.deepEqual([await works(client), await works(next)], [200, 200]);
  await worker.d1.prepare("update oauth_client set previous_secret_expires_at = 1 where client_id = ?").bind(client.client_id).run();
  assert.deepEqual([await works(client), await works(next)], [401, 200]);
  const [row] = await worker.rows("select * from oauth_client where client_id = ?", client.client_id);
  assert.ok(!JSON.stringify(row).includes(next.client_secret) && !JSON.stringify(row).includes(client.client_secret));
});

test("a client that is switched off, or deleted, is none", async () => {
  const client = await register();
  const got = await tokens(client, await signUp(worker));
  const listed = (await admin.browser.get(at("/oauth2/get-clients"))).json;
  assert.ok(listed.some(({ client_id }) => client_id === client.client_id));
  assert.ok(!JSON.stringify(listed).includes(client.client_secret));
  const disable = (disabled) => admin.browser.post(at("/admin/oauth2/disable-client"), { client_id: client.client_id, disabled });
  assert.equal((await disable(true)).status, 200);
  assert.equal(
    (await ask("token", client, { grant_type: "refresh_token", refresh_token: got.refresh_token })).json.error,
    "invalid_client",
  );
  assert.equal(
    (await worker.browser().get(`${AUTH}/oauth2/userinfo`, { headers: { authorization: `Bearer ${got.access_token}` } })).status,
    401,
  );
  assert.equal((await disable(false)).status, 200);
  assert.equal(
    (await worker.browser().get(`${AUTH}/oauth2/userinfo`, { headers: { authorization: `Bearer ${got.access_token}` } })).status,
    200,
  );
  assert.equal((await admin.browser.post(at("/oauth2/delete-client"), { client_id: client.client_id })).status, 200);
  assert.equal((await admin.browser.get(at(`/oauth2/get-client?client_id=${client.client_id}`))).status, 404);
  assert.equal((await worker.rows("select 1 from oauth_token where user_id is not null and client_id = ?", client.client_id)).length, 0);
});

test("clients are the tenant's: nobody else's administrator sees or changes them, nor any member", async () => {
  const tenant = await seedTenant(worker, { slug: "other", pool: "isolated" });
  await seedDomain(worker, tenant, "other.localhost");
  const host = "http://other.localhost";
  const owner = await signUp(worker, { roles: ["owner"], host, tenant });
  const member = await signUp(worker);
  const client = await register();
  const theirs = await register({}, owner, host);
  assert.deepEqual(
    (await owner.browser.get(at("/oauth2/get-clients", host))).json.map(({ client_id }) => client_id),
    [theirs.client_id],
  );
  for (const [path, body] of [
    ["/oauth2/client/rotate-secret", {}],
    ["/admin/oauth2/disable-client", { disabled: true }],
    ["/oauth2/delete-client", {}],
  ]) {
    const foreign = await owner.browser.post(at(path, host), { client_id: client.client_id, ...body });
    assert.deepEqual([foreign.status, foreign.json.code], [404, "CLIENT_NOT_FOUND"], path);
    // Members look after clients of their own, and know of no others.
    const by = await member.browser.post(at(path), { client_id: client.client_id, ...body });
    assert.equal(by.status, path.startsWith("/admin") ? 403 : 404, path);
    assert.equal((await worker.browser().post(at(path), { client_id: client.client_id, ...body })).status, 401, path);
  }
  assert.equal((await admin.browser.get(at(`/oauth2/get-client?client_id=${client.client_id}`))).json.disabled, false);
  const crossed = await owner.browser.get(
    `${host}/oauth2/authorize?client_id=${client.client_id}&response_type=code&redirect_uri=${REDIRECT}`,
    { headers: PAGE },
  );
  assert.deepEqual([crossed.status, crossed.location], [400, undefined]);
});

test("signing keys rotate, each algorithm's by itself: published a day before they sign, and for as long as what they signed", async () => {
  const own = await startWorker();
  try {
    const algorithms = ["ES256", "EdDSA", "RS256"];
    const by = await signUp(own, { roles: ["admin"] });
    for (const alg of algorithms)
      assert.equal(
        (await by.browser.post(at("/admin/oauth2/create-client"), { redirect_uris: [REDIRECT], id_token_signed_response_alg: alg })).status,
        201,
      );
    const published = async (alg) =>
      (await own.browser().get(`${AUTH}/api/auth/jwks`)).json.keys.filter((key) => key.alg === alg).map(({ kid }) => kid);
    const stored = (alg) => own.rows("select id, status from signing_key where algorithm = ? order by created_at, id", alg);
    const age = (days) =>
      own.d1
        .prepare("update signing_key set created_at = created_at - ?1, activated_at = activated_at - ?1")
        .bind(days * 86_400_000)
        .run();
    const each = async (check) => {
      for (const alg of algorithms)
        await check(
          alg,
          (await stored(alg)).map(({ status }) => status),
        );
    };
    const first = Object.fromEntries(await Promise.all(algorithms.map(async (alg) => [alg, (await published(alg))[0]])));
    await own.scheduled();
    await each(async (alg) => assert.deepEqual(await stored(alg), [{ id: first[alg], status: "current" }], "young, and rotated already"));
    await age(91);
    await Promise.all([own.scheduled(), own.scheduled()]);
    const next = {};
    await each(async (alg, statuses) => {
      assert.deepEqual(statuses, ["current", "next"], alg);
      next[alg] = (await stored(alg))[1].id;
      assert.deepEqual((await published(alg)).sort(), [first[alg], next[alg]].sort(), "published before it signs");
    });
    await own.scheduled();
    await each((alg, statuses) => assert.deepEqual(statuses, ["current", "next"], "not published for a day yet"));
    await age(2);
    await own.scheduled();
    await each(async (alg) => {
      assert.deepEqual(
        (await stored(alg)).filter(({ id }) => [first[alg], next[alg]].includes(id)),
        [
          { id: first[alg], status: "retired" },
          { id: next[alg], status: "current" },
        ],
      );
      assert.ok((await published(alg)).includes(first[alg]), "what it signed still verifies");
    });
    await own.d1.prepare("update signing_key set expires_at = 1 where status = 'retired' and algorithm = 'RS256'").run();
    assert.deepEqual(await Promise.all(algorithms.map(async (alg) => (await published(alg)).includes(first[alg]))), [true, true, false]);
  } finally {
    await own.dispose();
  }
});
