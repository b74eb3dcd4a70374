// A real Apache whose visitors sign in with us: mod_auth_openidc, a certified relying party, in front of a website.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { after, before } from "node:test";
import { decodeJwt } from "jose";
import { Browser } from "../harness/browser.mjs";
import { lines, raw, startOrigin } from "../harness/origin.mjs";
import { scratch, startProgram } from "../harness/program.mjs";
import { API, PAGE, PASSWORD, signUp } from "../harness/seed.mjs";
import { DEFAULT_TENANT, freePort, startWorker } from "../harness/worker.mjs";

const MODULES = "/usr/lib/apache2/modules";
const NAMES = ["mpm_event", "authn_core", "authz_core", "authz_user", "headers", "proxy", "proxy_http", "auth_openidc"];
const REPORTS = "https://reports.example";

// By http a client comes back to loopback alone, so the websites go by its names: each a host of its own, at one port.
const HOSTS = {
  wiki: "localhost",
  posting: "127.0.0.2",
  signing: "127.0.0.1",
  open: "127.0.0.3",
  staying: "127.0.0.4",
  rotating: "127.0.0.5",
};
let auth, worker, admin, origin, apache, site, clients;

/** A website whose visitors sign in with us. `more` is for the whole of it, `places` within. */
const relyingParty = (name, { method, scope = "openid email profile roles", more = "", places = "" }) => `
<VirtualHost *>
  ServerName ${HOSTS[name]}
  ${more}
  OIDCProviderMetadataURL ${auth}/.well-known/openid-configuration
  OIDCProviderTokenEndpointAuth ${method}
  OIDCClientID ${clients[name].client_id}
  ${clients[name].client_secret ? `OIDCClientSecret ${clients[name].client_secret}` : ""}
  OIDCRedirectURI ${site[name]}/signed-in
  OIDCCryptoPassphrase "only for tests"
  OIDCPKCEMethod S256
  OIDCScope "${scope}"
  OIDCRemoteUserClaim email
  # Without it, whoever it signs out is shown its own page and what they asked for, one after the other.
  OIDCDefaultLoggedOutURL ${site[name]}/goodbye
  ${protectedPart("openid-connect")}
  <Location /goodbye>
    Require all granted
  </Location>
  ${places}
</VirtualHost>`;

const protectedPart = (kind) => `
  <Location />
    AuthType ${kind}
    Require valid-user
    # Whoever is known and may not is not asked to sign in once more.
    AuthzSendForbiddenOnFailure On
  </Location>
  RequestHeader set X-Remote-User "expr=%{REMOTE_USER}"
  ProxyPass /signed-in !
  ProxyPass / http://127.0.0.1:${origin.port}/`;

const config = ({ directory, port }) => `
ServerRoot ${directory}
DefaultRuntimeDir ${directory}
PidFile ${directory}/pid
ErrorLog ${directory}/log
LogLevel warn
${NAMES.map((name) => `LoadModule ${name}_module ${MODULES}/mod_${name}.so`).join("\n")}
User www-data
Group www-data
Listen 127.0.0.1:${port}
ServerName localhost
${relyingParty("wiki", {
  method: "client_secret_basic",
  // What may ask us about tokens is the client that they are of.
  more: `
  OIDCOAuthServerMetadataURL ${auth}/.well-known/oauth-authorization-server
  OIDCOAuthTokenIntrospectionInterval -1
  OIDCOAuthClientID ${clients.wiki.client_id}
  OIDCOAuthClientSecret ${clients.wiki.client_secret}`,
  places: `
  <Location /admin>
    Require claim roles:admin
  </Location>
  <Location /api>
    AuthType oauth20
  </Location>
  <Location /either>
    AuthType auth-openidc
  </Location>`,
})}
${relyingParty("posting", { method: "client_secret_post", more: "OIDCResponseMode form_post" })}
${relyingParty("signing", {
  method: "private_key_jwt",
  more: `OIDCPrivateKeyFiles mine#${directory}/key.pem\nOIDCPublicKeyFiles mine#${directory}/public.pem`,
})}
${relyingParty("open", { method: "none" })}
${relyingParty("rotating", { method: "client_secret_basic" })}
${relyingParty("staying", {
  method: "client_secret_basic",
  scope: "openid email offline_access",
  // Tokens live for 900 seconds, so each request is one too late.
  more: `
  OIDCRefreshAccessTokenBeforeExpiry 1000 logout_on_error
  OIDCPassRefreshToken On`,
})}
<VirtualHost *>
  ServerName reports.localhost
  OIDCRedirectURI /signed-in
  OIDCCryptoPassphrase "only for tests"
  # The directive for our keys takes https alone, what a document says does not; and ours would have it introspect.
  OIDCOAuthServerMetadataURL http://127.0.0.1:${origin.port}/metadata
  ${protectedPart("oauth20")}
  <Location />
    <RequireAll>
      # The module looks at the signature and at the end alone.
      Require claim iss:${auth}
      Require claim aud:${REPORTS}
      Require claim "scope~^(.* )?reports:read( .*)?$"
    </RequireAll>
  </Location>
</VirtualHost>`;

async function startApache(port) {
  const missing =
    "Apache with mod_auth_openidc is not installed, and this test drives the real one: apt install apache2-bin libapache2-mod-auth-openidc";
  if (!existsSync(`${MODULES}/mod_auth_openidc.so`)) throw new Error(missing);
  const directory = scratch("apache");
  const pair = generateKeyPairSync("rsa", { modulusLength: 2048 });
  writeFileSync(join(directory, "key.pem"), pair.privateKey.export({ type: "pkcs8", format: "pem" }));
  writeFileSync(join(directory, "public.pem"), pair.publicKey.export({ type: "spki", format: "pem" }));
  const file = join(directory, "apache.conf");
  writeFileSync(file, config({ directory, port }));
  const log = () => (existsSync(join(directory, "log")) ? readFileSync(join(directory, "log"), "utf8") : "");
  // In one process, which leaves nobody behind. No proxy of the environment is asked the way to loopback.
  const env = { TMPDIR: directory, NO_PROXY: "*" };
  return startProgram("apache2", ["-X", "-d", directory, "-f", file, "-E", join(directory, "log")], { port, directory, missing, env, log });
}

/** A browser of several ports: the harness's keeps to one. */
class Visitor {
  browsers = new Map();

  at(url) {
    const port = Number(new URL(url).port);
    if (!this.browsers.has(port)) this.browsers.set(port, new Browser(port));
    return this.browsers.get(port);
  }

  get(url, headers = PAGE) {
    return this.at(url).get(url, { headers });
  }

  /** A page of errors: the module goes on with another answer after it, which a browser passes over. */
  async failure(url) {
    const { host, pathname, search } = new URL(url);
    const cookie = [...this.at(url).cookies(host)].map((pair) => pair.join("=")).join("; ");
    return (await raw(apache.port, [`GET ${pathname}${search} HTTP/1.1`, `Host: ${host}`, `Cookie: ${cookie}`, "Accept: text/html"])).body;
  }

  /**
   * Opens a page as a person does: follows redirects, fills in our forms, and lets a page post itself that would by its script.
   * Answers the last page, with its URL and the forms that were met; or where it would go on, if that is `until`.
   */
  async open(start, { who, decision = "allow", until = () => false } = {}) {
    const met = [];
    let url = start;
    let answer = await this.get(url);
    for (let step = 0; step < 20; step += 1) {
      if (answer.status >= 300 && answer.status <= 399) {
        url = new URL(answer.location, url).href;
        if (until(new URL(url))) return { url, met };
        answer = await this.get(url);
        continue;
      }
      const [form, action] = answer.text.match(/<form method="post" action="([^"]+)"[^]*?<\/form>/) ?? [];
      const target = form && new URL(plain(action), url);
      const mine = {
        "/login": who && { email: who.email, password: PASSWORD },
        "/consent": { decision },
        "/oauth2/end_session/confirm": {},
      }[target?.origin === auth ? target.pathname : ""];
      const itself = form?.includes("data-submit");
      if (!mine && !itself) return Object.assign(answer, { url, met });
      const hidden = [...form.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g)].map(([, name, value]) => [
        name,
        plain(value),
      ]);
      met.push(`${itself ? "posted itself: " : ""}${target.pathname}`);
      answer = await this.at(target).submit(target.href, { ...Object.fromEntries(hidden), ...mine }, { origin: new URL(url).origin });
      url = target.href;
    }
    throw new Error(`no end: ${met}`);
  }
}

const plain = (html) =>
  html.replaceAll("&quot;", '"').replaceAll("&#39;", "'").replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");

async function register(name, metadata = {}) {
  const made = await admin.browser.post(`${auth}/api/auth/admin/oauth2/create-client`, {
    client_name: name,
    redirect_uris: [`${site[name]}/signed-in`],
    post_logout_redirect_uris: [`${site[name]}/goodbye`],
    grant_types: ["authorization_code"],
    ...metadata,
  });
  assert.equal(made.status, 201, made.text);
  return made.json;
}

/** Somebody with an account, who is signed in nowhere. */
async function person(options) {
  const { email, id } = await signUp(worker, { host: auth, ...options });
  return { email, id, visitor: new Visitor() };
}

before(async () => {
  const [port, workerPort] = [await freePort(), await freePort()];
  auth = `http://auth.localhost:${workerPort}`;
  site = Object.fromEntries(Object.entries(HOSTS).map(([name, host]) => [name, `http://${host}:${port}`]));
  origin = await startOrigin({
    "/metadata": (_, response) => response.end(JSON.stringify({ issuer: auth, jwks_uri: `${auth}/api/auth/jwks` })),
  });
  worker = await startWorker({ port: workerPort, settings: { AUTH_ORIGIN: auth } });
  admin = await signUp(worker, { host: auth, roles: ["admin"] });
  clients = {
    wiki: await register("wiki"),
    posting: await register("posting", { token_endpoint_auth_method: "client_secret_post" }),
    // The module publishes its key itself.
    signing: await register("signing", { token_endpoint_auth_method: "private_key_jwt", jwks_uri: `${site.signing}/signed-in?jwks=rsa` }),
    open: await register("open", { token_endpoint_auth_method: "none" }),
    rotating: await register("rotating"),
    staying: await register("staying", { grant_types: ["authorization_code", "refresh_token"] }),
    reader: await register("reader", {
      redirect_uris: [],
      post_logout_redirect_uris: [],
      grant_types: ["client_credentials"],
      scope: "reports:read reports:write",
      resources: [REPORTS, "https://elsewhere.example"],
    }),
  };
  apache = await startApache(port);
});
after(async () => {
  await apache?.stop();
  await worker?.dispose();
  await origin?.close();
});

/** What the website was told by a request, in UTF-8, which headers do not say. */
const told = (name) => lines(origin.last(), name).map((value) => Buffer.from(value, "latin1").toString());

/** Sends something that must not reach the website. */
async function unheard(send) {
  const heard = origin.requests.length;
  const answer = await send();
  assert.equal(origin.requests.length, heard, `it came to the website as ${origin.last()?.url}: ${answer.status}`);
  return answer;
}
const bearer = (token) => ({ ...API, authorization: `Bearer ${token}` });

/** What a client asks us by itself. */
async function ask(name, path, parameters) {
  const { client_id, client_secret } = clients[name];
  const headers = {
    "content-type": "application/x-www-form-urlencoded",
    authorization: `Basic ${Buffer.from(`${client_id}:${client_secret}`).toString("base64")}`,
  };
  const answer = await worker
    .browser()
    .send("POST", `${auth}/oauth2/${path}`, { headers, body: new URLSearchParams(parameters).toString() });
  assert.equal(answer.status, 200, answer.text);
  return answer.text === "" ? null : answer.json;
}
const isGood = async (name, token) => (await ask(name, "introspect", { token })).active;
const grant = async (parameters) =>
  (await ask("reader", "token", { grant_type: "client_credentials", resource: REPORTS, scope: "reports:read", ...parameters }))
    .access_token;

test("whoever is not signed in does so with us, agrees, and is at the page they asked for, whose website knows them", async () => {
  const who = await person();
  const deep = `${site.wiki}/deep/link?x=1&y=%2F&z=a+b`;
  const asked = new URL((await unheard(() => who.visitor.get(deep))).location);
  assert.equal(asked.origin + asked.pathname, `${auth}/oauth2/authorize`);
  const said = Object.fromEntries(asked.searchParams);
  assert.deepEqual(
    [said.response_type, said.client_id, said.redirect_uri, said.code_challenge_method],
    ["code", clients.wiki.client_id, `${site.wiki}/signed-in`, "S256"],
  );

  const page = await who.visitor.open(deep, { who });
  assert.deepEqual([page.status, page.url, page.met], [200, deep, ["/login", "/consent"]], page.text);
  assert.equal(origin.last().url, "/deep/link?x=1&y=%2F&z=a+b");
  assert.deepEqual(told("X-Remote-User"), [who.email]);
  const claims = Object.fromEntries(
    ["sub", "email", "email_verified", "name", "roles", "iss", "aud", "amr"].map((name) => [name, told(`OIDC_CLAIM_${name}`).join()]),
  );
  assert.deepEqual(claims, {
    sub: who.id,
    email: who.email,
    email_verified: "0",
    name: "Zoë Ångström",
    roles: "member",
    iss: auth,
    aud: clients.wiki.client_id,
    amr: "pwd",
  });

  const again = await who.visitor.get(`${site.wiki}/again`);
  assert.equal(again.status, 200, "asked once more");
  await who.visitor.get(`${site.wiki}/again`, {
    ...PAGE,
    "x-remote-user": admin.email,
    oidc_claim_email: admin.email,
    "OIDC-CLAIM-email": admin.email,
  });
  assert.deepEqual([told("X-Remote-User"), told("OIDC_CLAIM_email"), told("OIDC-CLAIM-email")], [[who.email], [who.email], []]);
});

test("whoever refuses stays outside, and is asked again the next time", async () => {
  const who = await person();
  const refused = await who.visitor.open(`${site.wiki}/`, { who, decision: "deny", until: ({ pathname }) => pathname === "/signed-in" });
  const said = new URL(refused.url).searchParams;
  assert.deepEqual(
    [refused.met, said.get("error"), said.get("code"), said.get("iss")],
    [["/login", "/consent"], "access_denied", null, auth],
  );
  // Debian's module takes an answer that names its issuer (RFC 9207) and has no code for a sign-in begun elsewhere. What it says then is
  // not asked here.
  assert.match(await unheard(() => who.visitor.failure(refused.url)), /Error/);
  const page = await who.visitor.open(`${site.wiki}/`, { who });
  assert.deepEqual([page.status, page.met], [200, ["/consent"]]);
});

test("a rule about roles lets an administrator in and keeps a member out", async () => {
  const [member, boss] = [await person(), await person({ roles: ["admin"] })];
  const denied = await unheard(() => member.visitor.open(`${site.wiki}/admin`, { who: member }));
  assert.deepEqual([denied.status, denied.url], [403, `${site.wiki}/admin`]);
  assert.equal((await member.visitor.get(`${site.wiki}/`)).status, 200, "a member is one");
  const page = await boss.visitor.open(`${site.wiki}/admin`, { who: boss });
  assert.deepEqual([page.status, told("OIDC_CLAIM_roles").join().split(",").sort()], [200, ["admin", "member"]]);
});

test("every way of client authentication and of answering that the module has signs people in, at one login", async () => {
  const who = await person();
  const ways = {
    wiki: ["/login", "/consent"],
    posting: ["/consent", "posted itself: /signed-in"],
    signing: ["/consent"],
    open: ["/consent"],
  };
  for (const [name, met] of Object.entries(ways)) {
    const page = await who.visitor.open(`${site[name]}/deep/link?x=1`, { who });
    assert.deepEqual([page.status, page.url, page.met], [200, `${site[name]}/deep/link?x=1`, met], `${name}: ${page.text}`);
    assert.deepEqual([told("OIDC_CLAIM_sub"), told("OIDC_CLAIM_aud")], [[who.id], [clients[name].client_id]], name);
  }
});

test("a client's secret is good for a day after its successor is made, and not longer", async () => {
  const rotated = await admin.browser.post(`${auth}/api/auth/oauth2/client/rotate-secret`, { client_id: clients.rotating.client_id });
  assert.equal(rotated.status, 200, rotated.text);
  const [early, late] = [await person(), await person()];
  assert.equal((await early.visitor.open(`${site.rotating}/`, { who: early })).status, 200);
  await worker.d1
    .prepare("update oauth_client set previous_secret_expires_at = 1 where client_id = ?")
    .bind(clients.rotating.client_id)
    .run();
  const back = await late.visitor.open(`${site.rotating}/`, { who: late, until: ({ pathname }) => pathname === "/signed-in" });
  assert.ok(new URL(back.url).searchParams.get("code"), back.url);
  assert.match(await unheard(() => late.visitor.failure(back.url)), /Error/);
  assert.match(apache.log(), /invalid_client/);
  assert.equal((await unheard(() => late.visitor.get(`${site.rotating}/`))).status, 302, "nobody is signed in");
});

test("signing out at the website ends its session, its tokens and the session with us", async () => {
  const who = await person();
  const leave = `${site.staying}/signed-in?logout=${encodeURIComponent(`${site.staying}/goodbye`)}`;
  assert.equal((await who.visitor.open(`${site.staying}/`, { who })).status, 200);
  const tokens = ["OIDC_access_token", "OIDC_refresh_token"].map((name) => told(name)[0]);
  for (const token of tokens) assert.equal(await isGood("staying", token), true);
  const left = await who.visitor.open(leave);
  assert.deepEqual([left.status, left.url, left.met], [200, `${site.staying}/goodbye`, []], left.text);
  assert.equal((await who.visitor.get(`${auth}/api/auth/get-session`, API)).json, null);
  // They outlive a session, so it is the module that has revoked them.
  for (const token of tokens) assert.equal(await isGood("staying", token), false);
  const page = await unheard(() => who.visitor.open(`${site.staying}/`));
  assert.ok(page.url.startsWith(`${auth}/login?`), page.url);
});

test("a website's ID token of an earlier session asks before it ends the one that has begun since", async () => {
  const who = await person();
  assert.equal((await who.visitor.open(`${site.wiki}/`, { who })).status, 200);
  const away = who.visitor.at(auth);
  assert.equal((await away.post(`${auth}/api/auth/sign-out`)).status, 200);
  assert.equal((await away.post(`${auth}/api/auth/sign-in/email`, { email: who.email, password: PASSWORD })).status, 200);
  const sent = await who.visitor.get(`${site.wiki}/signed-in?logout=${encodeURIComponent(`${site.wiki}/goodbye`)}`);
  const question = await who.visitor.get(sent.location);
  assert.match(question.text, /wiki asks to sign you out/);
  assert.equal((await away.get(`${auth}/api/auth/get-session`)).json.user.id, who.id);
  const left = await who.visitor.open(sent.location);
  assert.deepEqual([left.url, left.met], [`${site.wiki}/goodbye`, ["/oauth2/end_session/confirm"]]);
  assert.equal((await away.get(`${auth}/api/auth/get-session`)).json, null);
});

test("the module refreshes its tokens, also many requests at once, until its user takes back what they agreed to", async () => {
  const who = await person();
  const tokens = () => ["OIDC_access_token", "OIDC_refresh_token"].map((name) => told(name)[0]);
  assert.equal((await who.visitor.open(`${site.staying}/`, { who })).status, 200);
  const [first, refresh] = tokens();
  assert.equal((await who.visitor.get(`${site.staying}/`)).status, 200);
  const [second, successor] = tokens();
  assert.ok(second !== first && successor !== refresh, "not refreshed");
  assert.equal(decodeJwt(second).sub, who.id);
  assert.equal(await isGood("staying", second), true);

  const many = await Promise.all(Array.from({ length: 8 }, (_, at) => who.visitor.get(`${site.staying}/${at}`)));
  assert.deepEqual(
    many.map(({ status }) => status),
    Array(8).fill(200),
  );
  assert.equal((await who.visitor.get(`${site.staying}/`)).status, 200);
  const [last] = tokens();
  assert.equal(await isGood("staying", last), true);

  const away = who.visitor.at(auth);
  const [consent] = (await away.get(`${auth}/api/auth/oauth2/get-consents`)).json;
  assert.deepEqual(
    [consent.clientName, (await away.post(`${auth}/api/auth/oauth2/delete-consent`, { id: consent.id })).status],
    ["staying", 200],
  );
  assert.equal(await isGood("staying", last), false);
  await unheard(() => who.visitor.get(`${site.staying}/`));
  const page = await who.visitor.open(`${site.staying}/`, { who });
  assert.deepEqual([page.status, page.met], [200, ["/consent"]], "not asked again");
});

test("an access token opens an API that asks us about it, until it is revoked", async () => {
  const who = await person();
  const api = `${site.wiki}/api/items`;
  assert.equal((await who.visitor.open(`${site.wiki}/`, { who })).status, 200);
  const [token] = told("OIDC_access_token");
  const nobody = new Visitor();
  const none = await unheard(() => nobody.get(api, API));
  assert.deepEqual([none.status, none.headers["www-authenticate"].split(" ")[0]], [401, "Bearer"]);
  assert.equal((await unheard(() => who.visitor.get(api, API))).status, 401, "a cookie is no access token");
  assert.equal((await nobody.get(api, bearer(token))).status, 200);
  assert.deepEqual(
    [told("X-Remote-User"), told("OIDC_CLAIM_client_id"), told("OIDC_CLAIM_scope")],
    [[who.id], [clients.wiki.client_id], ["openid email profile roles"]],
  );
  assert.equal((await nobody.get(`${site.wiki}/either`, bearer(token))).status, 200);
  assert.ok(
    (await unheard(() => nobody.get(`${site.wiki}/either`))).location.startsWith(`${auth}/oauth2/authorize?`),
    "whoever has no token signs in",
  );
  for (const wrong of [`${token}x`, "made-up", token.split("").reverse().join("")])
    assert.equal((await unheard(() => nobody.get(api, bearer(wrong)))).status, 401, wrong);
  await ask("wiki", "revoke", { token });
  assert.equal((await unheard(() => nobody.get(api, bearer(token)))).status, 401, "revoked");
});

test("an API that looks at a JWT access token itself is opened by one for it, of its scope, with our signature", async () => {
  const [api, nobody] = [`http://reports.localhost:${apache.port}/2026`, new Visitor()];
  const good = await grant();
  const opened = await nobody.get(api, bearer(good));
  assert.equal(opened.status, 200, opened.text);
  assert.deepEqual([told("X-Remote-User"), told("OIDC_CLAIM_aud")], [[clients.reader.client_id], [REPORTS]]);
  const [header, payload, signature] = good.split(".");
  const widened = Buffer.from(JSON.stringify({ ...decodeJwt(good), scope: "reports:read reports:write" })).toString("base64url");
  const unsigned = Buffer.from(JSON.stringify({ alg: "none", typ: "at+jwt" })).toString("base64url");
  for (const [name, token, status] of [
    ["another's payload", `${header}.${widened}.${signature}`, 401],
    ["no signature", `${unsigned}.${payload}.`, 401],
    ["for another API", await grant({ resource: "https://elsewhere.example" }), 403],
    ["another scope", await grant({ scope: "reports:write" }), 403],
  ])
    assert.equal((await unheard(() => nobody.get(api, bearer(token)))).status, status, name);
});

test("when the signing key changes, people sign in and tokens are believed as before", async () => {
  const kid = async () =>
    (await worker.rows("select id from signing_key where status = 'current' and tenant_id = ?", DEFAULT_TENANT))[0].id;
  const [api, nobody] = [`http://reports.localhost:${apache.port}/2026`, new Visitor()];
  const [old, earlier] = [await kid(), await grant()];
  assert.equal((await nobody.get(api, bearer(earlier))).status, 200);
  for (const days of [91, 2]) {
    await worker.d1
      .prepare("update signing_key set created_at = created_at - ?1, activated_at = activated_at - ?1")
      .bind(days * 86_400_000)
      .run();
    await worker.scheduled();
  }
  assert.notEqual(await kid(), old, "the key is the same");
  for (const token of [await grant(), earlier]) assert.equal((await nobody.get(api, bearer(token))).status, 200);
  const who = await person();
  const page = await who.visitor.open(`${site.wiki}/`, { who });
  assert.deepEqual([page.status, told("OIDC_CLAIM_sub")], [200, [who.id]], page.text);
});
