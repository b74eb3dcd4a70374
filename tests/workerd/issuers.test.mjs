// Issuers kept at run time: the admin API, and what each setting does.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, beforeEach, test } from "node:test";
import { SignJWT, exportJWK, generateKeyPair, importJWK, jwtVerify } from "jose";
import { CLIENT } from "../../examples/provider/server.mjs";
import { uniqueEmail } from "../harness/browser.mjs";
import { startIssuer } from "../harness/issuer.mjs";
import { PASSWORD, giveRole, seedDomain, seedTenant, signUp } from "../harness/seed.mjs";
import { AUTH, freePort, startWorker } from "../harness/worker.mjs";

const at = (path, host = AUTH) => `${host}/api/auth${path}`;
let worker, issuer, admin;
before(async () => {
  issuer = await startIssuer();
  worker = await startWorker();
  admin = await signUp(worker, { roles: ["owner"] });
});
after(async () => {
  await worker?.dispose();
  await issuer?.stop();
});
beforeEach(() => {
  issuer.behave();
  issuer.person = person();
});

const person = (more = {}) => ({ sub: randomUUID(), email: uniqueEmail(), email_verified: true, name: "Person", ...more });
const uniqueName = () => `i${randomUUID().slice(0, 13)}`;
const full = (body = {}) => ({
  name: uniqueName(),
  label: "Acme",
  baseUrl: issuer.url,
  clientId: CLIENT.id,
  clientSecret: CLIENT.secret,
  global: true,
  ...body,
});
const create = (body = {}, who = admin) => who.browser.post(at("/admin/issuers"), full(body));
const send = (method, path, body, who = admin, host = AUTH) =>
  who.browser.send(method, at(path, host), { body, headers: { origin: host } });

/** Creates an issuer that must be good; answers it. */
async function made(body, who) {
  const answer = await create(body, who);
  assert.equal(answer.status, 201, answer.text);
  return answer.json;
}

async function change(id, body, who = admin, host = AUTH) {
  const answer = await send("PATCH", `/admin/issuers/${id}`, body, who, host);
  assert.equal(answer.status, 200, answer.text);
  return answer.json;
}

const shown = async (id) => (await send("GET", `/admin/issuers/${id}`)).json;

/** The authorization URL of a begun sign-in. */
async function begin(name, { browser = worker.browser(), host = AUTH, ...body } = {}) {
  const answer = await browser.post(at("/sign-in/social", host), { provider: name, callbackURL: "/done", ...body });
  assert.equal(answer.status, 200, answer.text);
  return new URL(answer.json.url);
}

/** To the issuer and back. Answers the callback's answer, the browser, the error, and who is signed in. */
async function journey(name, { browser = worker.browser(), host = AUTH, ...body } = {}) {
  const url = await begin(name, { browser, host, ...body });
  const sent = await fetch(url, { redirect: "manual" });
  assert.equal(sent.status, 302);
  return arrive(sent.headers.get("location"), browser, host);
}

async function arrive(callback, browser, host = AUTH) {
  const answer = await browser.get(callback);
  assert.equal(answer.status, 302, answer.text);
  const error = new URL(answer.location, host).searchParams.get("error");
  const session = (await browser.get(at("/get-session?disableCookieCache=true", host))).json;
  assert.equal(session === null, error !== null, `${answer.location} ${JSON.stringify(session)}`);
  return { answer, browser, error, user: session?.user };
}

const row = async (sub) => (await worker.rows("select u.* from user u join account a on a.user_id = u.id where a.subject = ?", sub))[0];

/** Signs in and answers the user's row. */
async function arrived(name, options) {
  const { error } = await journey(name, options);
  assert.equal(error, null, worker.logs().slice(-400));
  return row(issuer.person.sub);
}

/** A token endpoint that lets everybody in: what a client says of itself is for the test to judge. */
function tolerant() {
  let nonce;
  issuer.faults.token = async (_request, response) => {
    const now = Math.floor(Date.now() / 1000);
    const { alg, kid, privateKey } = issuer.key;
    const id_token = await new SignJWT({ iss: issuer.url, aud: CLIENT.id, nonce, iat: now, exp: now + 300, ...issuer.person })
      .setProtectedHeader({ alg, kid })
      .sign(privateKey);
    response
      .writeHead(200, { "content-type": "application/json" })
      .end(JSON.stringify({ token_type: "Bearer", access_token: "an access token", expires_in: 60, id_token }));
  };
  return async (name) => {
    const browser = worker.browser();
    const url = await begin(name, { browser });
    nonce = url.searchParams.get("nonce");
    const { error } = await arrive((await fetch(url, { redirect: "manual" })).headers.get("location"), browser);
    assert.equal(error, null, worker.logs().slice(-400));
    const { headers, body } = issuer.requests.findLast(({ path }) => path === "/token");
    return { authorization: headers.authorization, form: new URLSearchParams(body) };
  };
}

async function privateKey(members = {}) {
  const { privateKey } = await generateKeyPair("ES256", { extractable: true });
  return { ...(await exportJWK(privateKey)), kid: "my key", ...members };
}

/** The buttons of a login page, in order. */
async function buttons(host = AUTH) {
  const page = await worker.browser().get(`${host}/login`);
  assert.equal(page.status, 200);
  const forms = page.text.match(/<form method="post" action="\/login\/upstream">.*?<\/form>/gs) ?? [];
  return forms.map((html) => ({ name: html.match(/name="provider" value="([^"]*)"/)[1], html }));
}

test("an issuer is added without a redeploy, and signs people in at once", async () => {
  const made = await create({ name: "fresh", trustEmail: true });
  assert.equal(made.status, 201, made.text);
  assert.equal(made.json.discoveryProblem, null);
  assert.equal(made.json.discoveredEndpoints.token_endpoint, `${issuer.url}/token`);
  assert.deepEqual(made.json.scopesSupported, ["openid", "email", "profile"]);
  assert.ok(!made.text.includes(CLIENT.secret));
  const browser = worker.browser();
  const begun = await browser.post(at("/sign-in/social"), { provider: "fresh", callbackURL: "/done" });
  assert.equal(begun.status, 200, begun.text);
  const answer = await fetch(begun.json.url, { redirect: "manual" });
  const back = await browser.get(answer.headers.get("location"));
  assert.equal(back.location, "/done", worker.logs().slice(-400));

  const changed = await send("PATCH", `/admin/issuers/${made.json.id}`, { enabled: false });
  assert.equal(changed.status, 200, changed.text);
  assert.equal((await worker.browser().post(at("/sign-in/social"), { provider: "fresh" })).status, 404);
  assert.equal((await send("GET", `/admin/issuers/${made.json.id}`)).json.enabled, false);
  assert.ok((await send("GET", "/admin/issuers")).json.issuers.some(({ id }) => id === made.json.id));
  assert.equal((await send("DELETE", `/admin/issuers/${made.json.id}`)).json.code, "ISSUER_IN_USE");
  assert.equal((await send("DELETE", `/admin/issuers/${made.json.id}?force=true`)).status, 200);
  assert.equal((await send("GET", `/admin/issuers/${made.json.id}`)).status, 404);
});

test("the login page shows what is to be shown, in order, and escaped", async () => {
  const [last, first, hidden, off] = [
    await made({ label: "Zulu", sortOrder: 3 }),
    await made({ label: `<b>"A & B"</b>`, sortOrder: -1000, image: `https://img.example/a.png?x="><script>` }),
    await made({ showOnLoginPage: false }),
    await made({ enabled: false }),
  ];
  const names = async () => (await buttons()).map(({ name }) => name);
  let list = await names();
  assert.ok(list.indexOf(first.name) < list.indexOf(last.name));
  for (const one of [hidden, off]) assert.ok(!list.includes(one.name));
  const { html } = (await buttons()).find(({ name }) => name === first.name);
  assert.ok(html.includes("Sign in with &lt;b&gt;&quot;A &amp; B&quot;&lt;/b&gt;"), html);
  assert.match(html, /<img src="https:\/\/img\.example\/a\.png\?x=&quot;&gt;&lt;script&gt;" alt="">/);
  // Not on the page is not switched off.
  assert.equal((await journey(hidden.name)).error, null);
  assert.equal((await worker.browser().post(at("/sign-in/social"), { provider: off.name })).json.code, "PROVIDER_NOT_FOUND");

  await change(last.id, { sortOrder: -2000, label: "Alpha" });
  await change(first.id, { image: null, label: "Same" });
  await change(hidden.id, { showOnLoginPage: true });
  list = await names();
  assert.ok(list.indexOf(last.name) < list.indexOf(first.name) && list.includes(hidden.name));
  const { html: changed } = (await buttons()).find(({ name }) => name === first.name);
  assert.ok(changed.includes("Sign in with Same") && !changed.includes("<img"), changed);
  const order = (await send("GET", "/admin/issuers")).json.issuers.map(({ name }) => name);
  assert.ok(order.indexOf(last.name) < order.indexOf(first.name), "the list has the page's order");
  // Of the same place, by label.
  await change(last.id, { sortOrder: -1000, label: "Tail" });
  list = await names();
  assert.ok(list.indexOf(first.name) < list.indexOf(last.name));
  // The button works.
  const clicked = await worker.browser().submit(`${AUTH}/login/upstream`, { provider: first.name, continue: "/account" });
  assert.equal(clicked.status, 303);
  assert.ok(clicked.location.startsWith(`${issuer.url}/authorize?`));
  for (const { id } of [last, first, hidden, off]) await send("DELETE", `/admin/issuers/${id}?force=true`);
  assert.deepEqual(
    (await names()).filter((name) => [last, first, hidden, off].some((one) => one.name === name)),
    [],
  );
});

test("an issuer that is switched off ends the flows under way", async () => {
  const { id, name } = await made();
  const browser = worker.browser();
  const callback = (await fetch(await begin(name, { browser }), { redirect: "manual" })).headers.get("location");
  await change(id, { enabled: false });
  assert.equal((await arrive(callback, browser)).error, "provider_not_found");
  await change(id, { enabled: true });
  assert.equal((await journey(name)).error, null);
});

test("allowed domains: exact, below, with other letters, and proven alone", async () => {
  const { id, name, allowedDomains } = await made({ allowedDomains: ["Example.ORG", "*.sub.example.net", "bücher.example"] });
  assert.deepEqual(allowedDomains, ["example.org", "*.sub.example.net", "xn--bcher-kva.example"]);
  const local = () => `u${randomUUID().slice(0, 8)}`;
  for (const [domain, verified, error] of [
    ["example.org", true, null],
    ["EXAMPLE.org", true, null],
    ["a.example.org", true, "domain_not_allowed"],
    ["evilexample.org", true, "domain_not_allowed"],
    ["a.sub.example.net", true, null],
    ["a.b.sub.example.net", true, null],
    ["sub.example.net", true, "domain_not_allowed"],
    ["evilsub.example.net", true, "domain_not_allowed"],
    ["bücher.example", true, null],
    ["BÜCHER.example", true, null],
    ["xn--bcher-kva.example", true, null],
    ["bucher.example", true, "domain_not_allowed"],
    ["example.org", false, "domain_not_allowed"],
    ["example.org", undefined, "domain_not_allowed"],
    ["example.org", "false", "domain_not_allowed"],
    ["example.org.evil.example", true, "domain_not_allowed"],
  ]) {
    issuer.person = person({ email: `${local()}@${domain}`, email_verified: verified });
    assert.equal((await journey(name)).error, error, `${domain} ${verified}`);
  }
  issuer.person = person({ email: undefined, email_verified: true });
  assert.equal((await journey(name)).error, "domain_not_allowed");
  // `x@example.org@evil.example` is of neither.
  issuer.person = person({ email: "x@evil.example@example.org" });
  assert.equal((await journey(name)).error, "domain_not_allowed");

  // Whoever is linked is held to it as well, and at once.
  issuer.person = person({ email: `${local()}@example.org` });
  assert.equal((await journey(name)).error, null);
  await change(id, { allowedDomains: ["other.example"] });
  assert.equal((await journey(name)).error, "domain_not_allowed");
  await change(id, { allowedDomains: [] });
  assert.equal((await journey(name)).error, null);
});

test("the client says who it is as it was told to", async () => {
  const secret = "a secret: ü%+& =";
  const go = tolerant();
  const { id, name, hasClientSecret, basicAuth } = await made({ clientSecret: secret });
  assert.deepEqual([hasClientSecret, basicAuth], [true, true]);
  const encode = (text) => new URLSearchParams({ x: text }).toString().slice(2);
  const basic = (text) => `Basic ${Buffer.from(`${encode(CLIENT.id)}:${encode(text)}`).toString("base64")}`;

  let said = await go(name);
  assert.equal(said.authorization, basic(secret));
  assert.equal(said.form.get("client_secret"), null);
  assert.equal(said.form.get("grant_type"), "authorization_code");
  assert.equal(said.form.get("redirect_uri"), at(`/callback/${name}`));

  // The secret is kept where it is not sent.
  await change(id, { basicAuth: false, label: "Other" });
  said = await go(name);
  assert.deepEqual([said.authorization, said.form.get("client_id"), said.form.get("client_secret")], [undefined, CLIENT.id, secret]);

  await change(id, { clientSecret: "another" });
  assert.equal((await go(name)).form.get("client_secret"), "another");
  const cleared = await change(id, { clientSecret: null });
  assert.equal(cleared.hasClientSecret, false);
  said = await go(name);
  assert.deepEqual([said.authorization, said.form.get("client_id"), said.form.has("client_secret")], [undefined, CLIENT.id, false]);
  await change(id, { clientId: "renamed", clientSecret: secret, basicAuth: true });
  assert.equal((await begin(name)).searchParams.get("client_id"), "renamed");
});

test("with a key the client signs who it is, for this issuer and this once", async () => {
  const go = tolerant();
  const { id, name, publicKey } = await made({ generateKey: true, clientSecret: undefined });
  assert.deepEqual(Object.keys(publicKey).sort(), ["alg", "crv", "kid", "kty", "use", "x", "y"]);
  const check = async (jwk) => {
    const { authorization, form } = await go(name);
    assert.deepEqual([authorization, form.get("client_secret"), form.get("client_id")], [undefined, null, CLIENT.id]);
    assert.equal(form.get("client_assertion_type"), "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    const { payload, protectedHeader } = await jwtVerify(form.get("client_assertion"), await importJWK(jwk, "ES256"), {
      issuer: CLIENT.id,
      subject: CLIENT.id,
      audience: issuer.url,
      requiredClaims: ["jti", "exp", "iat"],
      algorithms: ["ES256"],
    });
    assert.equal(payload.aud, issuer.url, "one audience alone");
    assert.equal(protectedHeader.kid, jwk.kid);
    assert.ok(payload.exp - payload.iat <= 300 && payload.exp > Date.now() / 1000);
    return payload.jti;
  };
  assert.notEqual(await check(publicKey), await check(publicKey));
  // Kept while it is not sent.
  assert.deepEqual((await change(id, { label: "Other" })).publicKey, publicKey);
  assert.deepEqual((await shown(id)).publicKey, publicKey);
  const rotated = await change(id, { generateKey: true });
  assert.notEqual(rotated.publicKey.kid, publicKey.kid);
  assert.notEqual(rotated.publicKey.x, publicKey.x);
  await check(rotated.publicKey);

  const own = await privateKey();
  const { publicKey: shownKey } = await change(id, { clientKey: own });
  assert.deepEqual(shownKey, { kty: "EC", crv: "P-256", x: own.x, y: own.y, kid: "my key", use: "sig", alg: "ES256" });
  await check(shownKey);

  // Without the key the secret speaks again.
  const back = await change(id, { clientKey: null, clientSecret: CLIENT.secret });
  assert.equal(back.publicKey, null);
  const said = await go(name);
  assert.ok(said.authorization?.startsWith("Basic ") && !said.form.has("client_assertion"));
});

test("scopes and parameters of a sign-in, and of one that is to give a refresh token", async () => {
  const { id, name } = await made({
    loginScopes: ["openid", "a:b"],
    loginScopesOffline: ["openid", "offline_access", "c/d"],
    loginParams: { prompt: "login", hd: "ex ample&x=y" },
    loginParamsOffline: { access_type: "offline" },
  });
  let query = (await begin(name)).searchParams;
  assert.deepEqual(
    ["scope", "prompt", "hd", "access_type"].map((key) => query.get(key)),
    ["openid a:b", "login", "ex ample&x=y", null],
  );
  assert.equal(query.get("x"), null);
  query = (await begin(name, { scopes: ["offline_access", "more"] })).searchParams;
  assert.deepEqual(
    ["scope", "prompt", "access_type"].map((key) => query.get(key)),
    ["openid offline_access c/d more", null, "offline"],
  );
  query = (await begin(name, { scopes: ["more", "openid"], loginHint: "a@x.co", additionalParams: { prompt: "none", ui_locales: "de" } }))
    .searchParams;
  assert.deepEqual(
    ["scope", "prompt", "login_hint", "ui_locales"].map((key) => query.get(key)),
    ["openid a:b more", "login", "a@x.co", "de"],
  );
  await change(id, { loginScopes: ["openid"], loginParams: {} });
  query = (await begin(name)).searchParams;
  assert.deepEqual(
    ["scope", "prompt", "hd"].map((key) => query.get(key)),
    ["openid", null, null],
  );
  assert.equal((await begin(name, { scopes: ["offline_access"] })).searchParams.get("access_type"), "offline");
});

test("neither settings nor a client's wishes take the place of what the protocol needs", async () => {
  const evil = Object.fromEntries(
    [
      "state",
      "nonce",
      "code_challenge",
      "code_challenge_method",
      "redirect_uri",
      "client_id",
      "scope",
      "response_type",
      "request",
      "request_uri",
      "client_secret",
    ].map((key) => [key, "evil"]),
  );
  for (const [settings, wish] of [
    [{ loginParams: evil, loginParamsOffline: evil }, {}],
    [{ loginParams: evil, loginParamsOffline: evil }, { scopes: ["offline_access"] }],
    [{}, { additionalParams: evil }],
    [{}, { additionalParams: evil, scopes: ["offline_access"] }],
    [{ loginParams: evil, loginParamsOffline: evil }, { additionalParams: evil }],
  ]) {
    const { name } = await made(settings);
    issuer.person = person();
    const url = await begin(name, wish);
    assert.ok(!url.href.includes("evil"), url.href);
    const all = [...url.searchParams.keys()];
    assert.equal(new Set(all).size, all.length, "RFC 6749, section 3.1: none twice");
    assert.ok(!all.includes("request") && !all.includes("request_uri") && !all.includes("client_secret"));
    assert.equal(url.searchParams.get("redirect_uri"), at(`/callback/${name}`));
    assert.equal((await journey(name, wish)).error, null);
  }
});

test("a hint is sent once", async () => {
  const { name } = await made({ loginParams: { login_hint: "setting" } });
  for (const wish of [
    { loginHint: "wish" },
    { loginHint: "wish", additionalParams: { login_hint: "more" } },
    { additionalParams: { login_hint: "more" } },
  ]) {
    const url = await begin(name, wish);
    assert.equal(url.searchParams.getAll("login_hint").length, 1, url.search);
  }
});

test("an endpoint keeps its query, but none of what the protocol says", async () => {
  const odd = await made({
    endpoints: { authorization_endpoint: `${issuer.url}/authorize?tenant=1&state=evil&redirect_uri=https%3A%2F%2Fevil.example` },
  });
  const { searchParams } = await begin(odd.name);
  assert.equal(searchParams.get("tenant"), "1");
  for (const key of ["state", "redirect_uri"])
    assert.ok(!searchParams.getAll(key).some((value) => value.includes("evil")), searchParams.toString());
});

test("a link that is to be confirmed signs nobody in until it is", async () => {
  const { id, name } = await made({ requireConfirmation: true, trustEmail: true });
  const first = await journey(name);
  assert.equal(first.error, "account_not_confirmed");
  assert.equal((await row(issuer.person.sub)).email_verified, 0, "nobody asked the mailbox yet");
  const [mail] = (await worker.browser().get(`${AUTH}/dev/mailbox?to=${issuer.person.email}`)).json;
  const link = mail.text.match(/https?:\S+confirm-account\S+/)[0];
  const reader = worker.browser();
  assert.equal((await reader.get(link, { headers: { accept: "text/html" } })).status, 200);
  assert.equal((await journey(name)).error, "account_not_confirmed", "looking confirms nothing");
  const confirmed = await reader.submit(`${AUTH}/confirm-account`, { token: new URL(link).searchParams.get("token") });
  assert.equal(confirmed.status, 200, confirmed.text);
  assert.equal((await journey(name)).error, null);
  assert.equal((await row(issuer.person.sub)).email_verified, 1);
  // Switched off, it asks no newcomer.
  await change(id, { requireConfirmation: false });
  issuer.person = person();
  assert.equal((await journey(name)).error, null);
});

test("an issuer's word on addresses counts where it is trusted", async () => {
  const { id, name, trustEmail } = await made();
  assert.equal(trustEmail, false);
  assert.equal((await arrived(name)).email_verified, 0);
  const victim = await signUp(worker);
  await worker.d1.prepare("update user set email_verified = 1 where id = ?").bind(victim.id).run();
  issuer.person = person({ email: victim.email });
  assert.equal((await journey(name)).error, "account_not_linked");
  await change(id, { trustEmail: true });
  assert.equal((await journey(name)).user?.id, victim.id);
  issuer.person = person();
  assert.equal((await arrived(name)).email_verified, 1);
  issuer.person = person({ email_verified: false });
  assert.equal((await arrived(name)).email_verified, 0);
});

const MAPPING = {
  username: "nick",
  external_id: "ids.employee",
  "profile.title": "job",
  "profile.skills": "skills",
  "profile.address": "home",
};
const described = (sub, n) => ({
  sub,
  email: `p${n}-${sub.slice(0, 8)}@example.com`,
  email_verified: true,
  name: `Name ${n}`,
  given_name: `First ${n}`,
  family_name: `Last ${n}`,
  picture: `https://img.example/${n}.png`,
  nick: `Nick.${n}_${sub.slice(0, 6)}`,
  ids: { employee: n },
  job: `Job ${n}`,
  skills: ["a", `b${n}`],
  home: { city: `City ${n}` },
});
const taken = ({ name, first_name, last_name, image, username, display_username, external_id, profile }) => ({
  name,
  first_name,
  last_name,
  image,
  username,
  display_username,
  external_id,
  profile: JSON.parse(profile),
});
const expected = (n, sub, username = 1) => ({
  name: `Name ${n}`,
  first_name: `First ${n}`,
  last_name: `Last ${n}`,
  image: `https://img.example/${n}.png`,
  username: `nick.${username}_${sub.slice(0, 6)}`,
  display_username: `nick.${username}_${sub.slice(0, 6)}`,
  external_id: `${n}`,
  profile: { title: `Job ${n}`, skills: ["a", `b${n}`], address: { city: `City ${n}` } },
});

for (const syncProfile of [false, true]) {
  test(`mapped fields are taken over at ${syncProfile ? "every" : "the first"} sign-in`, async () => {
    const { id, name } = await made({ syncProfile, mapping: MAPPING, trustEmail: true });
    const sub = randomUUID();
    issuer.person = described(sub, 1);
    assert.deepEqual(taken(await arrived(name)), expected(1, sub));
    issuer.person = described(sub, 2);
    const second = await arrived(name);
    // A user name, once there, is its owner's.
    assert.deepEqual(taken(second), expected(syncProfile ? 2 : 1, sub));
    assert.equal(second.email, described(sub, 1).email, "the address is not the issuer's to change");
    // What it does not say stays.
    issuer.person = { sub, email: second.email, email_verified: true };
    assert.deepEqual(taken(await arrived(name)), expected(syncProfile ? 2 : 1, sub));
    // The setting works at once, for whoever is linked already.
    await change(id, { syncProfile: !syncProfile });
    issuer.person = described(sub, 3);
    assert.deepEqual(taken(await arrived(name)), expected(syncProfile ? 2 : 3, sub));
  });
}

test("a user name is taken over if it is free and one, by whoever has none", async () => {
  const { name } = await made({ syncProfile: true, mapping: { username: "nick" } });
  const nick = `n${randomUUID().slice(0, 8)}`;
  issuer.person = person({ nick: nick.toUpperCase() });
  assert.equal((await arrived(name)).username, nick);
  issuer.person = person({ nick });
  assert.equal((await arrived(name)).username, null);
  for (const bad of ["ab", "a b", "x".repeat(31), "<b>", "ünicode", 7, null, { a: 1 }, ["abc"]]) {
    issuer.person = person({ nick: bad });
    assert.equal((await arrived(name)).username, null, JSON.stringify(bad));
  }
  // Free later on.
  issuer.person = { ...issuer.person, nick: `later${nick}` };
  assert.equal((await arrived(name)).username, `later${nick}`);
  issuer.person = { ...issuer.person, nick: `again${nick}` };
  assert.equal((await arrived(name)).username, `later${nick}`);
});

test("a user name that is another's is not shown as one's own either", async () => {
  const { name } = await made({ mapping: { username: "nick" } });
  const nick = `n${randomUUID().slice(0, 8)}`;
  issuer.person = person({ nick });
  await arrived(name);
  issuer.person = person({ nick });
  const { username, display_username } = await arrived(name);
  assert.deepEqual([username, display_username], [null, null]);
});

test("ten people with one wish for a user name at once: one has it, and all are in", async () => {
  const { name } = await made({ mapping: { username: "nick" } });
  const nick = `r${randomUUID().slice(0, 8)}`;
  const flows = [];
  for (let n = 0; n < 10; n++) {
    const browser = worker.browser();
    const sent = await fetch(await begin(name, { browser }), { redirect: "manual" });
    flows.push({ browser, callback: sent.headers.get("location") });
  }
  // The issuer names somebody else each time that it is asked.
  let count = 0;
  const people = Array.from({ length: 10 }, () => person({ nick }));
  const bySub = new Map(people.map((one) => [one.sub, one]));
  Object.defineProperty(issuer.faults, "claims", { get: () => people[count++ % 10], enumerable: true });
  // No userinfo: it could not tell who asks.
  const { id } = (await send("GET", "/admin/issuers")).json.issuers.find((one) => one.name === name);
  await worker.d1.prepare("delete from issuer_endpoint where issuer_id = ? and name = 'userinfo_endpoint'").bind(id).run();
  const answers = await Promise.all(flows.map(({ browser, callback }) => browser.get(callback)));
  assert.deepEqual([...new Set(answers.map(({ location }) => location))], ["/done"], worker.logs().slice(-400));
  const rows = (
    await worker.rows("select a.subject, u.username from account a join user u on u.id = a.user_id where a.issuer_id = ?", id)
  ).filter(({ subject }) => bySub.has(subject));
  assert.equal(rows.filter(({ username }) => username === nick).length, 1);
  assert.equal(rows.length, 10);
});

test("mappings reach into objects and lists, and through dots", async () => {
  const { id, name, mapping } = await made({
    syncProfile: true,
    trustEmail: true,
    mapping: {
      first_name: "deep.er.given",
      last_name: "names.1.value",
      external_id: String.raw`https://example\.org/claims/id`,
      picture: String.raw`a\.b.c\\d`,
      "profile.bio": "list.0",
      "profile.language": "missing.1",
      "profile.timezone": "deep",
      "profile.socialLinks": "links",
    },
  });
  assert.equal(mapping.picture, String.raw`a\.b.c\\d`);
  issuer.person = person({
    deep: { er: { given: "Deep" } },
    names: [{ value: "no" }, { value: "Listed" }],
    "https://example.org/claims/id": "E-1",
    "a.b": { "c\\d": "https://img.example/x.png" },
    list: ["bio"],
    links: { web: "https://x.example" },
    given_name: "not this",
    family_name: "nor this",
  });
  const user = await arrived(name);
  assert.deepEqual([user.first_name, user.last_name, user.external_id, user.image], ["Deep", "Listed", "E-1", "https://img.example/x.png"]);
  // `timezone` is a text, so an object is passed over.
  assert.deepEqual(JSON.parse(user.profile), { bio: "bio", socialLinks: { web: "https://x.example" } });
  // Replaced whole: what is mapped no more is as the standard has it.
  await change(id, { mapping: { name: "title" } });
  issuer.person = { ...issuer.person, title: "Titled" };
  const again = await arrived(name);
  assert.deepEqual([again.name, again.first_name, again.external_id], ["Titled", "not this", "E-1"]);
  // What is odd is passed over.
  for (const odd of [
    { picture: "javascript:alert(1)" },
    { picture: "http://img.example/x" },
    { given_name: { a: 1 } },
    { given_name: 7 },
    { picture: "data:image/png;base64,AA" },
  ]) {
    issuer.person = { ...issuer.person, ...odd };
    const { image, first_name } = await arrived(name);
    assert.deepEqual([image, first_name], ["https://img.example/x.png", "not this"], JSON.stringify(odd));
  }
});

test("an address that is mapped from elsewhere is not proven, unless that is mapped too", async () => {
  const { id, name } = await made({ trustEmail: true, mapping: { email: "upn" } });
  const other = uniqueEmail();
  issuer.person = person({ upn: other });
  const user = await arrived(name);
  assert.deepEqual([user.email, user.email_verified], [other, 0]);
  // Nor does it take anybody's account over.
  const victim = await signUp(worker);
  await worker.d1.prepare("update user set email_verified = 1 where id = ?").bind(victim.id).run();
  issuer.person = person({ upn: victim.email });
  assert.equal((await journey(name)).error, "account_not_linked");
  await change(id, { allowedDomains: ["example.com"] });
  issuer.person = person({ upn: uniqueEmail() });
  assert.equal((await journey(name)).error, "domain_not_allowed");
  // What proves an address is not changed while users are linked.
  const { name: mapped } = await made({ trustEmail: true, mapping: { email: "upn", email_verified: "upn_is_ours" } });
  for (const [said, verified] of [
    [true, 1],
    ["true", 1],
    [false, 0],
    [undefined, 0],
    ["yes", 0],
    [[true], 0],
  ]) {
    issuer.person = person({ upn: uniqueEmail(), upn_is_ours: said });
    assert.equal((await arrived(mapped)).email_verified, verified, JSON.stringify(said));
  }
});

test("endpoints by hand survive discovery, and give way to it once removed", async () => {
  const { id, name, endpoints, discoveredEndpoints } = await made({
    endpoints: { authorization_endpoint: `${issuer.url}/authorize?by=hand` },
  });
  assert.deepEqual(endpoints, { authorization_endpoint: `${issuer.url}/authorize?by=hand` });
  assert.ok(!("authorization_endpoint" in discoveredEndpoints) && "token_endpoint" in discoveredEndpoints);
  assert.equal((await begin(name)).searchParams.get("by"), "hand");
  const again = await send("POST", `/admin/issuers/${id}/discover`, {});
  assert.deepEqual([again.status, again.json.discoveryProblem, again.json.endpoints], [200, null, endpoints]);
  await worker.d1.prepare("update issuer set discovered_at = 1 where id = ?").bind(id).run();
  assert.equal((await begin(name)).searchParams.get("by"), "hand");
  assert.equal((await journey(name)).error, null);
  assert.deepEqual((await change(id, { label: "Other" })).endpoints, endpoints, "kept where not sent");
  const removed = await change(id, { endpoints: {} });
  assert.deepEqual([removed.endpoints, removed.discoveredEndpoints.authorization_endpoint], [{}, `${issuer.url}/authorize`]);
  assert.equal((await begin(name)).searchParams.get("by"), null);
});

test("what is sent has its effect, or is refused", async () => {
  const { id } = await made();
  const answer = await send("PATCH", `/admin/issuers/${id}`, { global: false });
  assert.ok(answer.status >= 400 || answer.json.global === false, answer.text);
});

test("an endpoint that was removed by hand while the issuer was away is found once it is back", async () => {
  const { id, name } = await made({ endpoints: { authorization_endpoint: `${issuer.url}/authorize?by=hand` } });
  issuer.faults.discovery = (_request, response) => response.writeHead(503).end();
  const removed = await change(id, { endpoints: {} });
  assert.match(removed.discoveryProblem, /503/);
  issuer.behave();
  assert.equal((await begin(name)).searchParams.get("by"), null);
  assert.equal((await journey(name)).error, null);
});

test("an issuer in use does not become another", async () => {
  const other = await startIssuer();
  try {
    const { id, name } = await made();
    other.faults.metadata = { scopes_supported: ["openid", "other"] };
    const moved = await change(id, { baseUrl: other.url });
    assert.deepEqual(
      [moved.inUse, moved.discoveredEndpoints.token_endpoint, moved.scopesSupported],
      [false, `${other.url}/token`, ["openid", "other"]],
    );
    assert.equal((await begin(name)).origin, other.url);
    // What was known of the one before is not said of the next.
    const nowhere = await change(id, { baseUrl: `http://localhost:${await freePort()}` });
    assert.equal(typeof nowhere.discoveryProblem, "string");
    assert.deepEqual([nowhere.discoveredEndpoints, nowhere.discoveredAt], [{}, null]);
    await change(id, { baseUrl: issuer.url });
    await arrived(name);
    for (const body of [{ baseUrl: other.url }, { serviceType: "gitlab" }]) {
      const refused = await send("PATCH", `/admin/issuers/${id}`, { label: "Changed", ...body });
      assert.deepEqual([refused.status, refused.json.code], [409, "ISSUER_IN_USE"], JSON.stringify(body));
    }
    const still = await shown(id);
    assert.deepEqual([still.baseUrl, still.label, still.inUse, still.serviceType], [issuer.url, "Acme", true, "oidc"]);
    await change(id, { baseUrl: issuer.url, label: "Same place" });
    const kept = await send("DELETE", `/admin/issuers/${id}`);
    assert.deepEqual([kept.status, kept.json.code], [409, "ISSUER_IN_USE"]);
    assert.equal((await send("DELETE", `/admin/issuers/${id}?force=1`)).status, 409);
    assert.equal((await send("DELETE", `/admin/issuers/${id}?force=true`)).status, 200);
    assert.deepEqual(await worker.rows("select id from account where subject = ?", issuer.person.sub), []);
  } finally {
    await other.stop();
  }
});

test("scopes that one issuer supports are not said of the next", async () => {
  const { id, scopesSupported } = await made();
  assert.notDeepEqual(scopesSupported, []);
  const { discoveredAt, ...moved } = await change(id, { baseUrl: `http://localhost:${await freePort()}` });
  assert.deepEqual([discoveredAt, moved.scopesSupported], [null, []]);
});

test("settings of a kind: Microsoft's tenant", async () => {
  const microsoft = (body) => create({ serviceType: "microsoft", baseUrl: undefined, label: undefined, ...body });
  const tenant = randomUUID();
  // The network is not reached from here: what is asked is told by the problem.
  const one = await microsoft({ settings: { tenant } });
  assert.equal(one.status, 201, one.text);
  assert.deepEqual(
    [one.json.baseUrl, one.json.label, one.json.basicAuth],
    [`https://login.microsoftonline.com/${tenant}/v2.0`, "Microsoft", false],
  );
  const consumers = await microsoft({ settings: { tenant: "consumers" } });
  assert.match(consumers.json.baseUrl, /\/9188040d-6c67-4c5b-b112-36a304b66dad\/v2\.0$/);
  assert.match((await microsoft({ settings: { tenant: "common" } })).json.baseUrl, /\/common\/v2\.0$/);
  assert.match((await change(one.json.id, { settings: { tenant: "organizations" } })).baseUrl, /\/organizations\/v2\.0$/);
  for (const settings of [
    undefined,
    {},
    { tenant: "" },
    { tenant: "contoso" },
    { tenant: "../common" },
    { tenant: "common/evil" },
    { tenant: 7 },
  ]) {
    const refused = await microsoft({ settings });
    assert.deepEqual([refused.status, refused.json.code], [400, "VALIDATION_ERROR"], JSON.stringify(settings));
    assert.match(refused.json.message, /\[body\.settings/);
  }
});

test("Microsoft's tenants have one spelling", async () => {
  const id = randomUUID();
  for (const tenant of [`{${id}}`, `urn:uuid:${id}`, id.replaceAll("-", "")]) {
    const answer = await create({ serviceType: "microsoft", baseUrl: undefined, settings: { tenant } });
    const isGood = answer.status === 400 || answer.json.baseUrl === `https://login.microsoftonline.com/${id}/v2.0`;
    assert.ok(isGood, `${tenant}: ${answer.status} ${answer.json.baseUrl}`);
  }
});

test("a Microsoft of another cloud keeps its base URL when something else is changed", async () => {
  const { id, baseUrl } = await made({ serviceType: "microsoft", settings: { tenant: randomUUID() } });
  assert.equal(baseUrl, issuer.url);
  assert.equal((await change(id, { label: "Other" })).baseUrl, issuer.url);
});

test("settings of a kind: Apple's team and key, and no others", async () => {
  const apple = (body) => create({ serviceType: "apple", label: "Apple", clientSecret: undefined, ...body });
  const clientKey = await privateKey({ kid: "APPLEKEYID" });
  for (const [body, member] of [
    [{}, "settings.teamId"],
    [{ clientKey }, "settings.teamId"],
    [{ settings: { teamId: "" }, clientKey }, "settings.teamId"],
    [{ settings: { teamId: "T" } }, "clientKey"],
    [{ settings: { teamId: "T" }, clientKey: { ...clientKey, kid: undefined } }, "clientKey"],
    [{ settings: { teamId: "T" }, generateKey: true }, "generateKey"],
    [{ settings: { teamId: "T", more: 1 }, clientKey }, "settings"],
  ]) {
    const refused = await apple(body);
    assert.deepEqual([refused.status, refused.json.code], [400, "VALIDATION_ERROR"], refused.text);
    assert.ok(refused.json.message.includes(`[body.${member}]`), refused.json.message);
  }
  const answer = await apple({ settings: { teamId: "TEAM" }, clientKey });
  assert.equal(answer.status, 201, answer.text);
  const { id, name, publicKey } = answer.json;
  assert.equal(publicKey.kid, "APPLEKEYID");
  assert.equal((await begin(name)).searchParams.get("response_mode"), "form_post");
  // Its secret is a JWT of the team's.
  const { form } = await tolerant()(name);
  const { payload } = await jwtVerify(form.get("client_secret"), await importJWK(publicKey, "ES256"), {
    issuer: "TEAM",
    subject: CLIENT.id,
    audience: issuer.url,
  });
  assert.ok(payload.exp > Date.now() / 1000);
  assert.equal(form.get("client_assertion"), null);
  const cleared = await send("PATCH", `/admin/issuers/${id}`, { clientKey: null });
  assert.deepEqual([cleared.status, /clientKey/.test(cleared.json.message)], [400, true]);
});

const oauth = (body = {}) => ({
  serviceType: "oauth2",
  basicAuth: true,
  loginScopes: ["who"],
  mapping: { subject: "id", email: "mail", name: "title" },
  endpoints: {
    authorization_endpoint: `${issuer.url}/authorize`,
    token_endpoint: `${issuer.url}/token`,
    userinfo_endpoint: `${issuer.url}/userinfo`,
  },
  ...body,
});

test("plain OAuth needs to be told everything, and signs in by userinfo alone", async () => {
  const { endpoints, mapping } = oauth();
  for (const name of Object.keys(endpoints)) {
    const refused = await create(oauth({ endpoints: { ...endpoints, [name]: undefined } }));
    assert.deepEqual([refused.status, refused.json.code], [400, "VALIDATION_ERROR"]);
    assert.ok(refused.json.message.includes(`endpoints.${name}`), refused.json.message);
  }
  const nobody = await create(oauth({ mapping: { ...mapping, subject: undefined } }));
  assert.ok(nobody.status === 400 && nobody.json.message.includes("mapping.subject"), nobody.text);
  issuer.requests.length = 0;
  const { id, name, discoveryProblem } = await made(oauth({ baseUrl: undefined }));
  assert.equal(discoveryProblem, null);
  assert.ok(!issuer.requests.some(({ path }) => path.startsWith("/.well-known")), "there is no discovery");
  for (const body of [{ endpoints: {} }, { mapping: {} }]) assert.equal((await send("PATCH", `/admin/issuers/${id}`, body)).status, 400);

  // An ID token that comes along says nothing here, whoever signed it.
  issuer.faults.idToken = () => "garbage";
  issuer.faults.userinfo = { id: 4711, mail: uniqueEmail(), title: "By userinfo", sub: undefined };
  const { error, user } = await journey(name);
  assert.equal(error, null, worker.logs().slice(-400));
  assert.deepEqual([user.name, user.email, user.emailVerified], ["By userinfo", issuer.faults.userinfo.mail, false]);
  const [account] = await worker.rows("select subject from account where issuer_id = ?", id);
  assert.equal(account.subject, "4711");
  assert.equal(issuer.requests.findLast(({ path }) => path === "/userinfo").headers.authorization, "Bearer an access token");
  issuer.faults.answer = { id_token: undefined };
  assert.equal((await journey(name)).user.id, user.id);
  issuer.faults.userinfo = { id: null, mail: uniqueEmail() };
  assert.equal((await journey(name)).error, "unable_to_get_user_info");
  issuer.faults.userinfo = { id: "4711" };
  issuer.faults.userinfoStatus = 500;
  assert.equal((await journey(name)).error, "unable_to_get_user_info");
  // An ID token says who it is; nothing else may.
  const refused = await create({ mapping: { subject: "id" } });
  assert.ok(refused.status === 400 && refused.json.message.includes("mapping.subject"), refused.text);
});

test("what is wrong with discovery is told, and the issuer saved all the same", async () => {
  const impatient = await startWorker({ settings: { UPSTREAM_TIMEOUT_SECONDS: "1" } });
  try {
    const who = await signUp(impatient, { roles: ["admin"] });
    const reply = (status, body) => (_request, response) => response.writeHead(status, { "content-type": "application/json" }).end(body);
    for (const [what, faults, told] of [
      ["wrong issuer", { metadata: { issuer: "https://evil.example" } }, /evil\.example/],
      ["no JSON", { discovery: reply(200, "<html>") }, /JSON/],
      ["a list", { discovery: reply(200, "[]") }, /JSON/],
      ["hanging", { discovery: () => {} }, /./],
      ["500", { discovery: reply(500, "{}") }, /500/],
      ["a redirect", { discovery: (_request, response) => response.writeHead(302, { location: `${issuer.url}/jwks` }).end() }, /302/],
      ["no token endpoint", { metadata: { token_endpoint: undefined } }, /token_endpoint/],
      ["an endpoint of no use", { metadata: { token_endpoint: "javascript:alert(1)" } }, /token_endpoint/],
      ["a flood", { discovery: reply(200, JSON.stringify({ pad: "x".repeat(300_000) })) }, /./],
    ]) {
      issuer.faults = faults;
      const answer = await create({}, who);
      assert.equal(answer.status, 201, `${what}: ${answer.text}`);
      assert.match(answer.json.discoveryProblem, told, what);
      assert.deepEqual([answer.json.discoveredEndpoints, answer.json.discoveredAt], [{}, null], what);
      const { id, name } = answer.json;
      assert.equal((await send("GET", `/admin/issuers/${id}`, undefined, who)).status, 200, what);
      const again = await send("POST", `/admin/issuers/${id}/discover`, {}, who);
      assert.deepEqual([again.status, told.test(again.json.discoveryProblem)], [200, true], what);
      // Once the issuer is well it is used, and nobody has to say so.
      issuer.behave();
      const begun = await impatient.browser().post(at("/sign-in/social"), { provider: name });
      assert.equal(begun.status, 200, `${what}: ${begun.text}`);
      const healed = await send("POST", `/admin/issuers/${id}/discover`, {}, who);
      assert.deepEqual([healed.json.discoveryProblem, healed.json.scopesSupported], [null, ["openid", "email", "profile"]], what);
    }
    const away = await create({ baseUrl: `http://localhost:${await freePort()}` }, who);
    assert.deepEqual([away.status, typeof away.json.discoveryProblem], [201, "string"], away.text);
    // What was known stays when the next look fails.
    const known = (await create({}, who)).json;
    issuer.faults.discovery = reply(500, "");
    const looked = (await send("POST", `/admin/issuers/${known.id}/discover`, {}, who)).json;
    assert.match(looked.discoveryProblem, /500/);
    assert.deepEqual(looked.discoveredEndpoints, known.discoveredEndpoints);
  } finally {
    await impatient.dispose();
  }
});

/** Everything that administrators ask for, of an issuer. */
const requests = (id) => [
  ["GET", "/admin/issuers"],
  ["POST", "/admin/issuers", full()],
  ["GET", `/admin/issuers/${id}`],
  ["PATCH", `/admin/issuers/${id}`, { label: "Mine now" }],
  ["POST", `/admin/issuers/${id}/discover`, {}],
  ["GET", `/admin/issuers/${id}/system-account`],
  ["POST", `/admin/issuers/${id}/system-account`, {}],
  ["DELETE", `/admin/issuers/${id}/system-account`],
  ["POST", `/admin/issuers/${id}/service-token`, {}],
  ["DELETE", `/admin/issuers/${id}?force=true`],
];

async function tenant({ slug = `t${randomUUID().slice(0, 8)}`, pool = "shared" } = {}) {
  const host = `http://${slug}.localhost`;
  const id = await seedTenant(worker, { slug, pool });
  await seedDomain(worker, id, `${slug}.localhost`);
  const owner = await signUp(worker, { roles: ["owner"], host, tenant: id });
  const createHere = (body = {}, who = owner) => who.browser.post(at("/admin/issuers", host), full({ global: false, ...body }));
  return {
    host,
    id,
    owner,
    create: createHere,
    made: async (body) => {
      const answer = await createHere(body);
      assert.equal(answer.status, 201, answer.text);
      return answer.json;
    },
  };
}

test("nobody but a tenant's administrators looks after its issuers", async () => {
  const { id } = await made();
  const member = await signUp(worker);
  const nearly = await signUp(worker, { roles: ["editor"] });
  for (const [who, status, code] of [
    [{ browser: worker.browser() }, 401, "UNAUTHORIZED"],
    [member, 403, "FORBIDDEN"],
    [nearly, 403, "FORBIDDEN"],
  ]) {
    for (const [method, path, body] of requests(id)) {
      const answer = await send(method, path, body, who);
      assert.deepEqual([answer.status, answer.json.code], [status, code], `${method} ${path}: ${answer.text}`);
    }
  }
  assert.equal((await shown(id)).label, "Acme");
  const owner = await signUp(worker, { roles: ["owner"] });
  assert.equal((await send("PATCH", `/admin/issuers/${id}`, { label: "Owner's" }, owner)).status, 200);
});

test("a role is asked for anew each time", async () => {
  const { id } = await made();
  const late = await signUp(worker);
  assert.equal((await send("GET", "/admin/issuers", undefined, late)).status, 403);
  await giveRole(worker, late.id, "admin");
  assert.equal((await send("PATCH", `/admin/issuers/${id}`, { label: "By them" }, late)).status, 200);
  await worker.d1.prepare("delete from member_role where member_id in (select id from member where user_id = ?)").bind(late.id).run();
  for (const [method, path, body] of requests(id)) assert.equal((await send(method, path, body, late)).status, 403, `${method} ${path}`);
  // Nor does a role in a tenant that one has left, or a name that only looks like it.
  const gone = await signUp(worker, { roles: ["admin"] });
  await worker.d1.prepare("update member set status = 'inactive' where user_id = ?").bind(gone.id).run();
  assert.equal((await send("GET", "/admin/issuers", undefined, gone)).status, 403);
});

test("an administrator in somebody else's session looks after nothing", async () => {
  const { id } = await made();
  const one = await signUp(worker, { roles: ["admin"] });
  await worker.d1.prepare("update session set impersonated_by = ? where user_id = ?").bind(admin.id, one.id).run();
  for (const [method, path, body] of requests(id)) {
    const answer = await send(method, path, body, one);
    assert.deepEqual([answer.status, answer.json.code], [403, "FORBIDDEN"], `${method} ${path}`);
  }
  assert.equal((await shown(id)).label, "Acme");
});

for (const pool of ["shared", "isolated"]) {
  test(`issuers of a tenant (${pool}) are its own, and everybody's are the default tenant's`, async () => {
    const [mine, other] = [await tenant({ pool }), await tenant({ pool })];
    const everybodys = await made();
    const theirs = await made({ global: false });
    const own = await mine.made({ label: `Only ${mine.host}` });
    assert.equal(own.global, false);

    // Another tenant's is not there at all.
    for (const foreign of [own.id, theirs.id]) {
      for (const [method, path, body] of requests(foreign)) {
        if (!path.includes(foreign)) continue;
        const answer = await send(method, path, body, other.owner, other.host);
        assert.deepEqual([answer.status, answer.json.code], [404, "ISSUER_NOT_FOUND"], `${method} ${path}`);
      }
    }
    for (const [method, path, body] of requests(own.id))
      if (path.includes(own.id)) assert.equal((await send(method, path, body)).status, 404, `the default tenant's, too: ${method} ${path}`);
    // Everybody's is seen, and not touched.
    assert.equal((await send("GET", `/admin/issuers/${everybodys.id}`, undefined, mine.owner, mine.host)).status, 200);
    for (const [method, path, body] of requests(everybodys.id)) {
      if (method === "GET" || !path.includes(everybodys.id)) continue;
      const answer = await send(method, path, body, mine.owner, mine.host);
      assert.deepEqual([answer.status, answer.json.code], [403, "FORBIDDEN"], `${method} ${path}`);
    }
    const global = await mine.create({ global: true });
    assert.deepEqual([global.status, global.json.code], [403, "FORBIDDEN"]);
    await send("PATCH", `/admin/issuers/${own.id}`, { global: true }, mine.owner, mine.host);
    assert.equal((await worker.rows("select tenant_id from issuer where id = ?", own.id))[0].tenant_id, mine.id, "it stays the tenant's");

    const listed = async (who, host) => (await send("GET", "/admin/issuers", undefined, who, host)).json.issuers.map(({ id }) => id);
    const [here, there, atDefault] = [await listed(mine.owner, mine.host), await listed(other.owner, other.host), await listed(admin)];
    assert.ok(here.includes(own.id) && here.includes(everybodys.id) && !here.includes(theirs.id));
    assert.ok(!there.includes(own.id) && there.includes(everybodys.id));
    assert.ok(!atDefault.includes(own.id) && atDefault.includes(theirs.id));
    const page = async (host) => (await buttons(host)).map(({ name }) => name);
    assert.ok((await page(mine.host)).includes(own.name) && !(await page(mine.host)).includes(theirs.name));
    assert.ok(!(await page(other.host)).includes(own.name) && !(await page(AUTH)).includes(own.name));
    for (const [host, name] of [
      [other.host, own.name],
      [AUTH, own.name],
      [mine.host, theirs.name],
    ]) {
      const refused = await worker.browser().post(at("/sign-in/social", host), { provider: name });
      assert.deepEqual([refused.status, refused.json.code], [404, "PROVIDER_NOT_FOUND"], `${host} ${name}`);
    }

    assert.equal((await journey(own.name, { host: mine.host })).error, null);
    issuer.person = person();
    assert.equal((await journey(everybodys.name, { host: mine.host })).error, null);
    const [{ tenant_id }] = await worker.rows("select tenant_id from account where subject = ?", issuer.person.sub);
    assert.equal(tenant_id, pool === "isolated" ? mine.id : null);
    // A callback ends where it began.
    const browser = worker.browser();
    const callback = (await fetch(await begin(own.name, { browser, host: mine.host }), { redirect: "manual" })).headers.get("location");
    for (const [name, value] of browser.cookies(new URL(mine.host).host)) browser.cookies(new URL(other.host).host).set(name, value);
    assert.ok((await arrive(callback.replace(mine.host, other.host), browser, other.host)).error);
  });
}

test("a tenant's own issuer wins over everybody's of the same name", async () => {
  const mine = await tenant();
  const second = await startIssuer();
  try {
    const name = uniqueName();
    const everybodys = await made({ name, label: "Everybody's" });
    const own = await mine.made({ name, label: "Our own", baseUrl: second.url });
    assert.equal((await begin(name, { host: mine.host })).origin, second.url);
    assert.equal((await begin(name)).origin, issuer.url);
    second.person = person();
    assert.equal((await journey(name, { host: mine.host })).error, null);
    const [account] = await worker.rows("select issuer_id from account where subject = ?", second.person.sub);
    assert.equal(account.issuer_id, own.id);
    const taken = [
      await create({ name }),
      await mine.create({ name }),
      await send("PATCH", `/admin/issuers/${(await made()).id}`, { name }),
      await send("PATCH", `/admin/issuers/${(await mine.made()).id}`, { name }, mine.owner, mine.host),
    ];
    for (const answer of taken) assert.deepEqual([answer.status, answer.json.code], [409, "ISSUER_NAME_TAKEN"], answer.text);
    assert.equal(
      (await send("PATCH", `/admin/issuers/${everybodys.id}`, { name, label: "Still" })).status,
      200,
      "its own name is free for it",
    );
    // Two at once: one.
    const twice = uniqueName();
    const both = await Promise.all(Array.from({ length: 5 }, () => create({ name: twice })));
    assert.deepEqual(both.map(({ status }) => status).sort(), [201, 409, 409, 409, 409]);
  } finally {
    await second.stop();
  }
});

test("the login page has one button a name: of the issuer that it leads to", async () => {
  const mine = await tenant();
  const name = uniqueName();
  await made({ name, label: "Everybody's" });
  await mine.made({ name, label: "Our own" });
  const there = (await buttons(mine.host)).filter((button) => button.name === name).map(({ html }) => html.match(/Sign in with [^<]*/)[0]);
  assert.deepEqual(there, ["Sign in with Our own"]);
  assert.match((await buttons()).find((button) => button.name === name).html, /Everybody/);
});

// Whoever administers one tenant writes what its issuers say; users of the shared pool are of every tenant.
test("a tenant's own issuer does not speak for users whom it shares with other tenants", async () => {
  const mine = await tenant();
  const answer = await mine.create({ trustEmail: true });
  if (answer.status !== 201) return assert.ok([400, 403].includes(answer.status), answer.text);
  const victim = await signUp(worker, { roles: ["owner"] });
  await worker.d1.prepare("update user set email_verified = 1 where id = ?").bind(victim.id).run();
  issuer.person = person({ email: victim.email });
  const { error, user } = await journey(answer.json.name, { host: mine.host });
  assert.deepEqual([error, user?.id], ["account_not_linked", undefined]);
});

test("a tenant's own issuer proves no address to the tenants that share its users", async () => {
  const mine = await tenant();
  const answer = await mine.create({ trustEmail: true });
  if (answer.status !== 201) return assert.ok([400, 403].includes(answer.status), answer.text);
  // An address that somebody else has, who is yet to come.
  const { error } = await journey(answer.json.name, { host: mine.host });
  const [squatter] = await worker.rows("select id, email_verified from user where email = ?", issuer.person.email);
  assert.ok(error || squatter.email_verified === 0);
  const everybodys = await made({ trustEmail: true });
  const { user } = await journey(everybodys.name);
  assert.ok(!user || user.id !== squatter?.id, "its owner ends in an account that is prepared for them");
});

test("an isolated tenant's own issuer speaks for its own users alone", async () => {
  const mine = await tenant({ pool: "isolated" });
  const own = await mine.made({ trustEmail: true });
  const victim = await signUp(worker);
  const local = await signUp(worker, { host: mine.host, tenant: mine.id });
  await worker.d1.prepare("update user set email_verified = 1 where id in (?, ?)").bind(victim.id, local.id).run();
  issuer.person = person({ email: victim.email });
  const { user } = await journey(own.name, { host: mine.host });
  assert.notEqual(user.id, victim.id);
  issuer.person = person({ email: local.email });
  assert.equal((await journey(own.name, { host: mine.host })).user.id, local.id);
});

const P256 = { kty: "EC", crv: "P-256", x: "A".repeat(43), y: "A".repeat(43) };
const many = (n, value = "x") => Object.fromEntries(Array.from({ length: n }, (_, at) => [`p${at}`, value]));

/** What is sent in the place of what is good, and the member that is told to be wrong. */
const BAD = [
  ...["label", "clientId", "name", "baseUrl", "clientSecret", "image", "serviceType"].flatMap((member) => [
    [{ [member]: 7 }, member],
    [{ [member]: ["x"] }, member],
    [{ [member]: { a: 1 } }, member],
  ]),
  ...["basicAuth", "requireConfirmation", "trustEmail", "syncProfile", "showOnLoginPage", "enabled", "generateKey", "global"].flatMap(
    (member) => [
      [{ [member]: "maybe" }, member],
      [{ [member]: 1 }, member],
      [{ [member]: [] }, member],
    ],
  ),
  ...["loginScopes", "loginScopesOffline", "allowedDomains"].flatMap((member) => [
    [{ [member]: "openid" }, member],
    [{ [member]: [7] }, member],
    [{ [member]: { a: 1 } }, member],
    [{ [member]: [""] }, member],
    [{ [member]: [null] }, member],
  ]),
  ...["loginParams", "loginParamsOffline", "mapping", "endpoints"].flatMap((member) => [
    [{ [member]: "x" }, member],
    [{ [member]: ["x"] }, member],
    [{ [member]: { prompt: 7 } }, member],
    [{ [member]: { prompt: null } }, member],
  ]),
  ...["loginParams", "loginParamsOffline"].flatMap((member) => [
    [{ [member]: many(31) }, member],
    [{ [member]: { x: "x".repeat(1025) } }, member],
    [{ [member]: { x: "a\r\nb" } }, member],
    [{ [member]: { "": "x" } }, member],
  ]),
  ...["loginScopes", "loginScopesOffline"].flatMap((member) => [
    [{ [member]: ["a b"] }, member],
    [{ [member]: ['a"b'] }, member],
    [{ [member]: ["a\\b"] }, member],
    [{ [member]: ["ü"] }, member],
    [{ [member]: Array.from({ length: 51 }, (_, at) => `s${at}`) }, member],
  ]),
  ...["", "Upper", "x".repeat(65), "credential", "a/b", "../a", "a b", "ünicode", "-a", ".a", "a%2fb", "a?b", "a\n", "名"].map((name) => [
    { name },
    "name",
  ]),
  [{ label: "" }, "label"],
  [{ label: "  " }, "label"],
  [{ label: "x".repeat(101) }, "label"],
  [{ label: "a\nb" }, "label"],
  [{ label: null }, "label"],
  [{ clientId: "" }, "clientId"],
  [{ clientId: "x".repeat(501) }, "clientId"],
  [{ clientId: "a\u0000" }, "clientId"],
  [{ clientSecret: "" }, "clientSecret"],
  [{ clientSecret: "x".repeat(4001) }, "clientSecret"],
  ...[
    "javascript:alert(1)",
    "ftp://idp.example",
    "http://user@idp.example",
    "http://user:pass@idp.example",
    "http://idp.example/#x",
    "http://idp.example/?a=b",
    "idp.example",
    "//idp.example",
    "/path",
    "http://",
    "file:///etc/passwd",
    "data:text/html,x",
    `http://idp.example/${"x".repeat(500)}`,
    "http://idp.example/\nx",
    " http://idp.example",
  ].map((baseUrl) => [{ baseUrl }, "baseUrl"]),
  ...[
    "http://img.example/a.png",
    "data:image/png;base64,AA",
    "javascript:alert(1)",
    "//img.example/a.png",
    "/a.png",
    "",
    `https://img.example/${"x".repeat(2048)}`,
    "https://",
    "https://img.example/a\nb",
  ].map((image) => [{ image }, "image"]),
  [{ sortOrder: "1" }, "sortOrder"],
  [{ sortOrder: 1.5 }, "sortOrder"],
  [{ sortOrder: 1e9 }, "sortOrder"],
  [{ sortOrder: true }, "sortOrder"],
  [{ serviceType: "myspace" }, "serviceType"],
  [{ serviceType: "OIDC" }, "serviceType"],
  ...[
    "*",
    "*.",
    "*.*.example",
    "a*.example",
    "127.0.0.1",
    "localhost",
    "a@example.org",
    "http://example.org",
    "example.org/x",
    "example.org:1",
    "exa mple.org",
    "x".repeat(260),
    "*.com.",
    ".",
  ].map((domain) => [{ allowedDomains: [domain] }, "allowedDomains"]),
  [{ allowedDomains: Array.from({ length: 201 }, (_, at) => `a${at}.example`) }, "allowedDomains"],
  ...["", ".", "a.", ".a", "a..b", "a\\", "x".repeat(501), "a\nb"].map((path) => [{ mapping: { name: path } }, "mapping.name"]),
  ...[
    "password",
    "status",
    "id",
    "roles",
    "profile",
    "profile.",
    "profile.x",
    "Email",
    "__proto__x",
    "tenant_id",
    "is_anonymous",
    "phone_number",
  ].map((field) => [{ mapping: { [field]: "x" } }, `mapping.${field}`]),
  [{ endpoints: { token_endpoint: "javascript:alert(1)" } }, "endpoints.token_endpoint"],
  [{ endpoints: { token_endpoint: "http://a:b@idp.example" } }, "endpoints.token_endpoint"],
  [{ endpoints: { token_endpoint: "" } }, "endpoints.token_endpoint"],
  [{ endpoints: { registration_endpoint: "http://idp.example" } }, "endpoints.registration_endpoint"],
  [{ endpoints: { jwks_uri: "file:///etc/passwd" } }, "endpoints.jwks_uri"],
  [{ settings: "x" }, "settings"],
  [{ settings: [] }, "settings"],
  [{ settings: { more: 1 } }, "settings"],
  [{ settings: { tenant: 7 } }, "settings"],
  [{ settings: { audiences: "x" } }, "settings"],
  [{ settings: { audiences: [7] } }, "settings"],
  [{ clientKey: "-----BEGIN PRIVATE KEY-----" }, "clientKey"],
  [{ clientKey: 7 }, "clientKey"],
  [{ clientKey: [] }, "clientKey"],
  [{ clientKey: {} }, "clientKey"],
  [{ clientKey: { ...P256, kid: "k" } }, "clientKey"],
  [{ clientKey: { kty: "RSA", n: "AQAB", e: "AQAB", d: "AQAB", kid: "k" } }, "clientKey"],
  [{ clientKey: { ...P256, d: "A".repeat(43) } }, "clientKey"],
  [{ clientKey: { ...P256, d: "AA", kid: "k" } }, "clientKey"],
  [{ clientKey: { ...P256, crv: "P-384", d: "A".repeat(43), kid: "k" } }, "clientKey"],
  [{ clientKey: { ...P256, d: "A".repeat(43), kid: "" } }, "clientKey"],
  [{ clientKey: { kty: "oct", k: "AAAA", kid: "k" } }, "clientKey"],
  [{ unknown: 1 }, "unknown"],
  [{ client_secret: "x" }, "client_secret"],
  [{ tenantId: "x" }, "tenantId"],
  [{ id: "x" }, "id"],
  [{ clientSecretSealed: "x" }, "clientSecretSealed"],
];

const issuers = async (of = worker) =>
  JSON.stringify(
    await of.rows(
      `select i.*, (select json_group_array(json_array(name, url)) from issuer_endpoint where issuer_id = i.id) as e,
         (select json_group_array(json_array(external_field, internal_field)) from issuer_field_mapping where issuer_id = i.id) as m
         from issuer i order by id`,
    ),
  );

test(`what is wrong is told by name, and saved nowhere (${BAD.length} times, new and changed)`, async () => {
  const { id } = await made();
  const before = await issuers();
  const wrong = [];
  for (const [bad, member] of BAD) {
    for (const answer of [await create(bad), await send("PATCH", `/admin/issuers/${id}`, bad)]) {
      const good = answer.status === 400 && answer.json.code === "VALIDATION_ERROR" && answer.json.message.includes(`[body.${member}`);
      if (!good) wrong.push(`${JSON.stringify(bad).slice(0, 100)} → ${answer.status} ${answer.text.slice(0, 120)}`);
    }
  }
  assert.deepEqual(wrong, []);
  assert.equal(await issuers(), before);
});

test("everything that is wrong is told at once", async () => {
  const answer = await create({ name: "A", label: 7, enabled: "x", loginScopes: ["a b"], unknown: 1 });
  for (const member of ["name", "label", "enabled", "loginScopes.0", "unknown"])
    assert.ok(answer.json.message.includes(`[body.${member}]`), answer.json.message);
});

test("what is missing is told, and what is no object is none", async () => {
  const before = await issuers();
  for (const member of ["name", "label", "baseUrl", "clientId"]) {
    const answer = await create({ [member]: undefined });
    assert.deepEqual([answer.status, answer.json.code], [400, "VALIDATION_ERROR"], member);
    assert.ok(answer.json.message.includes(`[body.${member}]`), answer.json.message);
  }
  const { id } = await made();
  const saved = await issuers();
  const raw = (body, headers = {}) =>
    [
      ["POST", "/admin/issuers"],
      ["PATCH", `/admin/issuers/${id}`],
    ].map(([method, path]) =>
      admin.browser.send(method, at(path), { body, headers: { origin: AUTH, "content-type": "application/json", ...headers } }),
    );
  for (const [body, status, code] of [
    ["null", 400, "VALIDATION_ERROR"],
    ["[]", 400, "VALIDATION_ERROR"],
    ["7", 400, "VALIDATION_ERROR"],
    ['"x"', 400, "VALIDATION_ERROR"],
    ["{", 400, "BAD_REQUEST"],
    ["\u0000", 400, "BAD_REQUEST"],
    [JSON.stringify({ label: "x".repeat(65 * 1024) }), 413, "PAYLOAD_TOO_LARGE"],
    ["[".repeat(60_000), 400, "BAD_REQUEST"],
  ])
    for (const answer of await Promise.all(raw(body)))
      assert.deepEqual([answer.status, answer.json.code], [status, code], body.slice(0, 30));
  for (const answer of await Promise.all(raw("label=x", { "content-type": "application/x-www-form-urlencoded" })))
    assert.equal(answer.status, 415);
  assert.equal(await issuers(), saved);
  assert.notEqual(saved, before);
  for (const odd of ["x", "..", "%00", randomUUID(), "a".repeat(5000), "' or 1=1 --".replaceAll(" ", "%20")]) {
    for (const method of ["GET", "PATCH", "DELETE"])
      assert.equal((await send(method, `/admin/issuers/${odd}`, method === "PATCH" ? {} : undefined)).status, 404, `${method} ${odd}`);
  }
});

test("a key whose halves do not belong together is no key", async () => {
  const [one, other] = [await privateKey(), await privateKey()];
  const wrong = [];
  for (const clientKey of [
    { ...one, d: other.d },
    { ...one, x: "A".repeat(43), y: "A".repeat(43) },
    { ...one, d: "A".repeat(43) },
    { ...one, d: "_".repeat(42) + "8" },
  ]) {
    const answer = await create({ clientKey });
    if (answer.status === 201) {
      const browser = worker.browser();
      const back = await browser.get(
        (await fetch(await begin(answer.json.name, { browser }), { redirect: "manual" })).headers.get("location"),
      );
      wrong.push(`saved; a callback then: ${back.status} ${back.location ?? back.text.match(/<h1>.*?<\/h1>/)?.[0]}`);
    } else assert.deepEqual([answer.status, answer.json.code], [400, "VALIDATION_ERROR"], answer.text);
  }
  assert.deepEqual(wrong, []);
});

test("a key is given or made, not both", async () => {
  const one = await privateKey();
  const both = await create({ clientKey: one, generateKey: true });
  assert.deepEqual([both.status, both.json.code], [400, "VALIDATION_ERROR"]);
});

test("as deployed, private addresses and plain http are refused", async () => {
  const SECURE = "https://auth.example";
  const deployed = await startWorker({ settings: { DEVELOPMENT: null, AUTH_ORIGIN: SECURE, TRUSTED_ORIGINS: null } });
  try {
    const ask = (method, path, body, headers = {}) =>
      deployed.fetch(`${SECURE}/api/auth${path}`, {
        method,
        body: JSON.stringify(body),
        headers: { "content-type": "application/json", origin: SECURE, ...headers },
      });
    const signedUp = await ask("POST", "/sign-up/email", { name: "A", email: uniqueEmail(), password: PASSWORD });
    assert.equal(signedUp.status, 200);
    await giveRole(deployed, (await signedUp.json()).user.id, "admin");
    const cookie = signedUp.headers
      .getSetCookie()
      .map((line) => line.split(";")[0])
      .join("; ");
    const before = await issuers(deployed);
    issuer.requests.length = 0;
    for (const url of [
      issuer.url,
      "http://idp.example",
      "https://localhost",
      "https://LOCALHOST.",
      "https://a.localhost",
      "https://intranet",
      "https://db.internal",
      "https://printer.local",
      "https://127.0.0.1",
      "https://2130706433",
      "https://0x7f.1",
      "https://0",
      "https://10.1.2.3",
      "https://172.16.0.1",
      "https://192.168.1.1",
      "https://169.254.169.254",
      "https://100.64.0.1",
      "https://[::1]",
      "https://[::ffff:10.0.0.1]",
      "https://[fe80::1]",
      "https://[fc00::1]",
      "https://[2002:a00:1::]",
      "https://[64:ff9b::a00:1]",
      "https://x.test",
      "https://１２７.0.0.1",
    ]) {
      for (const [body, member] of [
        [{ baseUrl: url }, "baseUrl"],
        [{ baseUrl: "https://idp.example.org", endpoints: { token_endpoint: url } }, "endpoints.token_endpoint"],
        [{ baseUrl: "https://idp.example.org", endpoints: { jwks_uri: `${url}/jwks` } }, "endpoints.jwks_uri"],
      ]) {
        const answer = await ask("POST", "/admin/issuers", full(body), { cookie });
        const said = await answer.json();
        assert.deepEqual([answer.status, said.code], [400, "VALIDATION_ERROR"], `${url}: ${JSON.stringify(said)}`);
        assert.ok(said.message.includes(`[body.${member}]`), said.message);
      }
    }
    assert.deepEqual([await issuers(deployed), issuer.requests], [before, []]);
  } finally {
    await deployed.dispose();
  }
});

test("no secret is in any answer, any log or any record", async () => {
  const secret = `SECRET${randomUUID()}`;
  const clientKey = await privateKey({ kid: "visible" });
  const texts = [];
  const keep = (answer) => (texts.push(answer.text), answer);
  const { id, name } = keep(await create({ clientSecret: secret, clientKey })).json;
  const generated = keep(await create({ generateKey: true, clientSecret: secret })).json;
  for (const one of [id, generated.id]) {
    keep(await send("GET", `/admin/issuers/${one}`));
    keep(await send("PATCH", `/admin/issuers/${one}`, { label: "Other" }));
    keep(await send("PATCH", `/admin/issuers/${one}`, { clientSecret: secret, clientKey }));
    keep(await send("POST", `/admin/issuers/${one}/discover`, {}));
    keep(await send("PATCH", `/admin/issuers/${one}`, { clientSecret: secret, clientKey: { ...clientKey, kid: undefined }, name: "Bad" }));
  }
  keep(await send("GET", "/admin/issuers"));
  keep(await create({ name, clientSecret: secret }));
  keep(await create({ clientSecret: [secret], clientKey: secret, settings: { tenant: [secret] } }));
  keep(await worker.browser().get(`${AUTH}/login`));
  const go = tolerant();
  const { form } = await go(name);
  // A token endpoint that repeats what it was sent.
  issuer.faults.token = (_request, response) =>
    response.writeHead(400, { "content-type": "application/json" }).end(JSON.stringify({ error: "invalid_client", echo: secret }));
  await change(id, { clientKey: null, clientSecret: secret, basicAuth: false });
  keep((await journey(name)).answer);
  keep(await worker.browser().get(at("/error?error=invalid_code")));

  const rows = await worker.rows("select client_secret_sealed, client_key_sealed from issuer where client_secret_sealed is not null");
  const sealed = rows.flatMap(({ client_secret_sealed, client_key_sealed }) => [client_secret_sealed, client_key_sealed]).filter(Boolean);
  for (const text of sealed) assert.match(text, /^1\.[\w-]{8}\.[\w-]+$/);
  const events = JSON.stringify(await worker.rows("select * from audit_event"));
  const stored = JSON.stringify(await worker.rows("select * from issuer"));
  for (const hidden of [clientKey.d, form.get("client_assertion"), ...sealed]) {
    for (const [at, text] of texts.entries()) assert.ok(!text.includes(hidden), `answer ${at}: ${text.slice(0, 200)}`);
    assert.ok(!worker.logs().includes(hidden) && !events.includes(hidden));
  }
  for (const [at, text] of texts.entries()) assert.ok(!text.includes(secret), `answer ${at}: ${text.slice(0, 300)}`);
  assert.ok(!worker.logs().includes(secret) && !events.includes(secret) && !stored.includes(secret) && !stored.includes(clientKey.d));
});

test("another site's page changes nothing", async () => {
  const { id } = await made();
  const before = await issuers();
  for (const [method, path, body] of requests(id)) {
    if (method === "GET") continue;
    for (const headers of [
      { origin: "https://evil.example" },
      { origin: "null" },
      { origin: `${AUTH}.evil.example` },
      { origin: "http://t.localhost", "sec-fetch-site": "cross-site" },
    ]) {
      const answer = await admin.browser.send(method, at(path), { body, headers });
      assert.equal(answer.status, 403, `${method} ${path} ${JSON.stringify(headers)}: ${answer.text}`);
    }
  }
  assert.equal(await issuers(), before);
});

test("whatever is changed is on record, with who did it", async () => {
  const who = await signUp(worker, { roles: ["admin"] });
  const events = async () =>
    worker.rows(
      `select event, severity, details from audit_event where user_id = ? and
         (event like 'issuer.%' or event like 'system_account.%') order by created_at, id`,
      who.id,
    );
  const { id, name, updatedBy } = await made({}, who);
  assert.equal(updatedBy, who.id);
  await change(id, { label: "Other" }, who);
  const one = await events();
  assert.deepEqual(
    one.map(({ event, severity }) => [event, severity]),
    [
      ["issuer.created", "high"],
      ["issuer.changed", "high"],
    ],
  );
  for (const { details } of one) assert.deepEqual([JSON.parse(details).issuer, JSON.parse(details).name], [id, name]);
  // What is refused is no change.
  await create({ name: "Bad" }, who);
  await create({ name }, who);
  await send("PATCH", `/admin/issuers/${id}`, { label: 7 }, who);
  assert.equal((await events()).length, 2);

  const begun = await send("POST", `/admin/issuers/${id}/system-account`, { callbackURL: "/done" }, who);
  assert.equal(begun.status, 200, begun.text);
  const back = await who.browser.get((await fetch(begun.json.url, { redirect: "manual" })).headers.get("location"));
  assert.equal(back.location, "/done", worker.logs().slice(-400));
  const token = await send("POST", `/admin/issuers/${id}/service-token`, {}, who);
  assert.equal(token.status, 200, token.text);
  assert.equal((await send("DELETE", `/admin/issuers/${id}/system-account`, undefined, who)).status, 200);
  assert.equal((await send("DELETE", `/admin/issuers/${id}`, undefined, who)).status, 200);
  const all = await events();
  assert.deepEqual(all.map(({ event }) => event).slice(2), [
    "system_account.connected",
    "system_account.service_token",
    "system_account.disconnected",
    "issuer.deleted",
  ]);
  assert.ok(!JSON.stringify(await worker.rows("select * from audit_event")).includes(token.json.serviceToken));
});

test("reading discovery anew changes endpoints, and is on record", async () => {
  const who = await signUp(worker, { roles: ["admin"] });
  const { id } = await made({}, who);
  issuer.faults.metadata = { token_endpoint: `${issuer.url}/elsewhere` };
  const looked = await send("POST", `/admin/issuers/${id}/discover`, {}, who);
  assert.equal(looked.json.discoveredEndpoints.token_endpoint, `${issuer.url}/elsewhere`);
  const events = await worker.rows("select event from audit_event where user_id = ? and event like 'issuer.%'", who.id);
  assert.equal(events.length, 2, JSON.stringify(events));
});

test("changes of different members at once are all kept", async () => {
  const { id } = await made(oauth());
  const bodies = [
    { label: "Other" },
    { enabled: false },
    { trustEmail: true },
    { sortOrder: 7 },
    { allowedDomains: ["example.org"] },
    { clientId: "other" },
    { syncProfile: true },
    { requireConfirmation: true },
  ];
  const answers = await Promise.all(bodies.map((body) => send("PATCH", `/admin/issuers/${id}`, body)));
  // Whoever lost may be told so; nobody is told that it is saved when it is not.
  const saved = await shown(id);
  const lost = bodies.filter(
    (body, at) => answers[at].status === 200 && JSON.stringify(saved[Object.keys(body)[0]]) !== JSON.stringify(Object.values(body)[0]),
  );
  assert.deepEqual(lost, []);
});

test("an issuer that is deleted while it is changed stays deleted", async () => {
  const back = [];
  for (let n = 0; n < 5; n++) {
    const { id } = await made(oauth());
    const [deleted, ...changed] = await Promise.all([
      send("DELETE", `/admin/issuers/${id}`),
      ...Array.from({ length: 4 }, () => send("PATCH", `/admin/issuers/${id}`, { label: "Back" })),
    ]);
    assert.equal(deleted.status, 200, deleted.text);
    for (const { status, text } of changed) assert.ok([200, 404, 409].includes(status), text);
    back.push(...(await worker.rows("select id, login_page_name from issuer where id = ?", id)));
  }
  assert.deepEqual(back, []);
});
