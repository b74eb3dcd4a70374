// What clients try that want more than they were given: by other people's tokens and assertions, by changing what they are, and by
// documents that lie. Each row is a good request with one thing changed, and the exact answer to it.

import assert from "node:assert/strict";
import { KeyObject, createHash, generateKeyPairSync, randomBytes, randomUUID, sign } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import { after, before, test } from "node:test";
import { createLocalJWKSet, decodeJwt, jwtVerify } from "jose";
import { addIssuer } from "../harness/issuer.mjs";
import { PAGE, PASSWORD, seedDomain, seedTenant, signUp } from "../harness/seed.mjs";
import { consent as agreeUpstream, startUpstream, stranger } from "../harness/upstream.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const REDIRECT = "https://app.example/cb";
const OTHER_HOST = "http://other.localhost";
const API = "https://api.example",
  BACKEND = "https://backend.example";
const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange",
  BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const TYPE = "urn:ietf:params:oauth:token-type:",
  ACCESS = `${TYPE}access_token`;
const STATE = "state";

const digest = (text) => createHash("sha256").update(text).digest("base64url");
const random = () => randomBytes(32).toString("base64url");
const VERIFIER = random();
const CHALLENGE = digest(VERIFIER);
const seconds = () => Math.floor(Date.now() / 1000);
const base64 = (value) =>
  Buffer.from(typeof value === "string" || Buffer.isBuffer(value) ? value : JSON.stringify(value)).toString("base64url");
const basic = ({ client_id, client_secret }) => ({
  authorization: `Basic ${Buffer.from(`${client_id}:${client_secret}`).toString("base64")}`,
});
const bearer = (token) => ({ authorization: `Bearer ${token}` });
const run = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
const query = (parameters) => new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== undefined)).toString();
const at = (path, host = AUTH) => `${host}/api/auth${path}`;
const own = generateKeyPairSync("ec", { namedCurve: "P-256" });
const jwk = { ...own.publicKey.export({ format: "jwk" }), kid: "mine" };

let worker,
  admin,
  who,
  other,
  clients,
  upstream,
  silent,
  documents,
  rowCount = 0;

/** Whatever opens something: no error tells it. */
const secrets = new Set();

function checked(answer, label = "") {
  const said = `${label}: ${answer.status} ${answer.location ?? ""} ${answer.text.slice(0, 300)}`;
  assert.ok(answer.status < 500, said);
  const location = answer.location ?? "";
  if (answer.status >= 400 || /[?&#]error=/.test(location)) {
    assert.ok(
      !/[?&#]code=/.test(location) && !/"(access_token|refresh_token|id_token|client_secret|registration_access_token)":/.test(answer.text),
      `an error gives something: ${said}`,
    );
    for (const secret of secrets)
      assert.ok(!answer.text.includes(secret) && !location.includes(secret), `an error tells a secret: ${said}`);
    assert.match(answer.headers["cache-control"] ?? "", /no-store/, said);
  } else if (answer.headers["content-type"] === "application/json" && answer.text.startsWith("{")) {
    for (const name of ["client_secret", "registration_access_token"]) if (answer.json[name]) secrets.add(answer.json[name]);
  }
  return answer;
}

const get = async (url, { browser = who.browser, headers = PAGE, label } = {}) => checked(await browser.get(url, { headers }), label);
const post = async (browser, path, body, { host = AUTH, ...options } = {}) =>
  checked(await browser.post(at(path, host), body, options), path);

async function form(url, fields, { browser = worker.browser(), headers = {}, label } = {}) {
  const body = typeof fields === "string" ? fields : query(fields);
  return checked(
    await browser.send("POST", url, { headers: { "content-type": "application/x-www-form-urlencoded", ...headers }, body }),
    label ?? url,
  );
}

async function json(method, url, body, headers = {}) {
  return checked(await worker.browser().send(method, url, { headers, body }), `${method} ${url}`);
}

async function created(metadata = {}, { by = admin, path = "/admin/oauth2/create-client", host = AUTH } = {}) {
  const made = await post(by.browser, path, { client_name: "The app", redirect_uris: [REDIRECT], ...metadata }, { host });
  assert.equal(made.status, 201, made.text);
  return made.json;
}

/** Each row counts, and is asked in turn. */
async function each(rows, ask) {
  for (const row of rows) {
    await ask(...row);
    rowCount += 1;
  }
}

/** An error of OAuth's endpoints, exactly. */
function refused(answer, [status, error], label = "") {
  assert.deepEqual([answer.status, answer.json.error], [status, error], `${label}: ${answer.text}`);
  assert.deepEqual(Object.keys(answer.json).sort(), ["error", "error_description"], label);
  if (status === 401)
    assert.match(answer.headers["www-authenticate"] ?? "", error === "invalid_client" ? /^Basic / : /^Bearer error="invalid_token"/, label);
}

/** An error of the API, exactly. */
function denied(answer, [status, code], label = "") {
  assert.deepEqual([answer.status, answer.json.code], [status, code], `${label}: ${answer.text}`);
}

/** An error on a page of ours: nobody is sent anywhere. */
function onOurPage(answer, text, label = "", status = 400) {
  assert.deepEqual([answer.status, answer.location], [status, undefined], `${label}: ${answer.text.slice(0, 300)}`);
  assert.match(answer.headers["content-type"], /^text\/html/, label);
  assert.ok(answer.text.includes(text), `${label}: ${answer.text}`);
}

const parametersOf = (client, more = {}) => ({
  client_id: client.client_id,
  response_type: "code",
  redirect_uri: REDIRECT,
  scope: "openid email",
  state: STATE,
  code_challenge: CHALLENGE,
  code_challenge_method: "S256",
  ...more,
});
const authorize = (client, more, { host = AUTH, ...options } = {}) =>
  get(`${host}/oauth2/authorize?${query(parametersOf(client, more))}`, options);
const codeOf = (answer, label = "") => {
  assert.ok([302, 303].includes(answer.status), `${label}: ${answer.status} ${answer.text.slice(0, 300)}`);
  const code = new URL(answer.location, AUTH).searchParams.get("code");
  assert.ok(code, `${label}: ${answer.location}`);
  return code;
};
const asClient = (client) => (client.client_secret ? basic(client) : {});
const token = (fields, { client, headers = {}, host = AUTH, ...options } = {}) =>
  form(
    `${host}/oauth2/token`,
    { ...(!client.client_secret && { client_id: client.client_id }), ...fields },
    { headers: { ...asClient(client), ...headers }, ...options },
  );
const redemption = (given, more = {}) => ({
  grant_type: "authorization_code",
  code: given,
  redirect_uri: REDIRECT,
  code_verifier: VERIFIER,
  ...more,
});

async function good(answer, label) {
  const { status, text, json: body } = await answer;
  assert.equal(status, 200, `${label ?? ""}: ${text}`);
  return body;
}
const tokens = async (client, more = {}, options = {}) =>
  good(token(redemption(codeOf(await authorize(client, more, options))), { client, host: options.host }));
const introspected = async (given, client, host = AUTH) =>
  good(form(`${host}/oauth2/introspect`, { token: given }, { headers: basic(client) }));
const isActive = async (given, client) => (await introspected(given, client)).active;

/** Agrees to what a client asks for. */
async function agree(person, client, more = {}) {
  const asked = await authorize(client, more, { browser: person.browser });
  assert.ok(asked.location?.startsWith("/consent?"), `${asked.status} ${asked.location}`);
  const fields = {
    client_id: client.client_id,
    request_uri: new URL(asked.location, AUTH).searchParams.get("request_uri"),
    decision: "allow",
  };
  return codeOf(checked(await person.browser.submit(`${AUTH}/consent`, fields)));
}
async function withdraw(person, client) {
  const { json: list } = await get(at("/oauth2/get-consents"), { browser: person.browser, headers: {} });
  const { id } = list.find(({ clientId }) => clientId === client.client_id);
  assert.equal((await post(person.browser, "/oauth2/delete-consent", { id })).status, 200);
}

before(async () => {
  [upstream, silent] = [await startUpstream(), await startUpstream()];
  const server = http
    .createServer((request, response) => {
      documents.requests.push(request.url);
      const answer = documents.at[request.url];
      if (typeof answer === "function") return answer(request, response);
      response
        .writeHead(answer === undefined ? 404 : 200, { "content-type": "application/json" })
        .end(typeof answer === "string" ? answer : JSON.stringify(answer ?? {}));
    })
    .listen(0, "127.0.0.1");
  await once(server, "listening");
  documents = {
    url: `http://localhost:${server.address().port}`,
    at: {},
    requests: [],
    stop: () => (server.closeAllConnections(), server.close()),
  };
  worker = await startWorker({
    settings: {
      SIGN_IN_WITH: "password,anonymous",
      SESSION_COOKIE_CACHE_SECONDS: "0",
      SESSION_RECHECK_SECONDS: "0",
      CLIENT_REGISTRATION: "users",
      CLIENT_ID_METADATA_DOCUMENTS: "on",
      UPSTREAM_TIMEOUT_SECONDS: "1",
    },
  });
  admin = await signUp(worker, { roles: ["admin"] });
  who = await signUp(worker);
  const tenant = await seedTenant(worker, { slug: "other" });
  await seedDomain(worker, tenant, "other.localhost");
  other = {
    tenant,
    admin: await signUp(worker, { host: OTHER_HOST, tenant, roles: ["admin"] }),
    who: await signUp(worker, { host: OTHER_HOST, tenant }),
  };
  await addIssuer(worker.d1, upstream.url, { settings: JSON.stringify({ acceptAssertions: true }) });
  await addIssuer(worker.d1, silent.url, { name: "silent", login_page_name: "Silent" });
  const first = {
    skip_consent: true,
    grant_types: ["authorization_code", "refresh_token"],
    scope: "openid email profile offline_access reports:read reports:write",
  };
  const list = {
    front: first,
    rival: first,
    opaque: { ...first, access_token_format: "opaque" },
    pub: { ...first, token_endpoint_auth_method: "none" },
    asks: { ...first, skip_consent: false },
    gone: first,
    api: {
      redirect_uris: [],
      grant_types: [EXCHANGE, "client_credentials"],
      resource: API,
      resources: [BACKEND],
      scope: "openid email reports:read reports:delete",
    },
    backend: { redirect_uris: [], grant_types: [EXCHANGE, "client_credentials"], resource: BACKEND, scope: "openid email" },
    plain: { redirect_uris: [], grant_types: [EXCHANGE], scope: "openid email" },
    // By it an administrator says which resources there are beside.
    knower: { resources: ["https://other.example", `${API}/v1`, `${API}/`, "https://API.example"] },
    opaqueApi: { redirect_uris: [], grant_types: [EXCHANGE], resource: API, access_token_format: "opaque", scope: "openid" },
    self: { ...first, grant_types: ["authorization_code", "refresh_token", EXCHANGE], resources: [API] },
    global: { ...first, grant_types: ["authorization_code", "refresh_token", EXCHANGE] },
    asserts: { ...first, skip_consent: false, grant_types: ["authorization_code", BEARER] },
    asserts2: { ...first, skip_consent: false, grant_types: ["authorization_code", BEARER] },
    trusted: { ...first, redirect_uris: [], grant_types: [BEARER], resources: [API] },
  };
  clients = Object.fromEntries(await Promise.all(Object.entries(list).map(async ([name, metadata]) => [name, await created(metadata)])));
  await run("update oauth_client set tenant_id = null where client_id = ?", clients.global.client_id);
  secrets.add(VERIFIER);
});
after(async () => {
  await worker?.dispose();
  documents?.stop();
  await upstream?.stop();
  await silent?.stop();
});

const subject = async (client = clients.front, more = {}, options) =>
  (await tokens(client, { scope: "openid email profile reports:read", resource: API, ...more }, options)).access_token;
const exchanging = (given, more = {}) => ({ grant_type: EXCHANGE, subject_token: given, subject_token_type: ACCESS, ...more });
const exchange = (given, more = {}, client = clients.api, options = {}) => token(exchanging(given, more), { client, ...options });
const BAD = [400, "invalid_request"];

test("token exchange: what is no good access token of a user's, for this very client, is exchanged for nothing", async () => {
  const given = await subject();
  const made = await good(exchange(given, { resource: BACKEND }), "the good one");
  assert.deepEqual(
    [made.issued_token_type, made.token_type, made.scope, made.refresh_token, made.id_token],
    [ACCESS, "Bearer", "openid email reports:read", undefined, undefined],
  );
  const said = decodeJwt(made.access_token);
  assert.deepEqual([said.sub, said.aud, said.client_id, said.act], [who.id, BACKEND, clients.api.client_id, undefined]);
  await each(
    [
      ["of type jwt", { subject_token_type: `${TYPE}jwt` }],
      ["for a JWT", { requested_token_type: `${TYPE}jwt` }],
      ["by audience", { audience: BACKEND }],
      ["where it came from", { resource: API }],
    ],
    async (label, more) => good(exchange(given, more), label),
  );
  await good(exchange(await subject(clients.opaque)), "an opaque one, which is as good");
  const all = await tokens(clients.front, { scope: "openid email offline_access", resource: API });
  const service = (await good(token({ grant_type: "client_credentials", resource: BACKEND }, { client: clients.api }))).access_token;
  const [expired, revoked] = [await subject(), await subject()];
  await run("update oauth_token set expires_at = ? where token_hash = ?", Date.now() - 1, digest(expired));
  await form(`${AUTH}/oauth2/revoke`, { token: revoked }, { headers: basic(clients.front) });
  const [header, payload, signature] = given.split(".");
  const theirs = await subject(clients.global, { resource: undefined }, { host: OTHER_HOST, browser: other.who.browser });
  await each(
    [
      ["none", undefined],
      ["an empty one", ""],
      ["garbage", "x"],
      ["its hash", digest(given)],
      ["without its signature", `${header}.${payload}.`],
      ["alg none", `${base64({ alg: "none", typ: "at+jwt" })}.${payload}.`],
      ["with another signature", `${header}.${payload}.${signature.slice(0, -4)}AAAA`],
      ["much", "x".repeat(16_000)],
      ["a refresh token", all.refresh_token],
      ["an ID token", all.id_token],
      ["a code", codeOf(await authorize(clients.front, { resource: API }))],
      ["a client's own token", service],
      ["an expired one", expired],
      ["a revoked one", revoked],
      ["a session's JWT", (await get(at("/token"), { headers: {} })).json.token],
      ["a refresh token that says that it is one", all.refresh_token, { subject_token_type: `${TYPE}refresh_token` }],
      ["an ID token that says that it is one", all.id_token, { subject_token_type: `${TYPE}id_token` }],
      ["one for nobody in particular", await subject(clients.front, { resource: undefined })],
      ["one for another resource", await subject(clients.front, { resource: "https://other.example" })],
      ["one for a resource below", await subject(clients.front, { resource: `${API}/v1` })],
      ["one for its resource with a slash", await subject(clients.front, { resource: `${API}/` })],
      ["one for it in capitals", await subject(clients.front, { resource: "https://API.example" })],
      ["one of another tenant", theirs],
      ["no type", given, { subject_token_type: undefined }],
      ...["", "access_token", `${TYPE}saml2`, `${TYPE}ACCESS_TOKEN`, `${ACCESS} `, "Bearer"].map((type) => [
        `type ${type}`,
        given,
        { subject_token_type: type },
      ]),
      ...["refresh_token", "id_token", "saml2", "x"].map((type) => [`for a ${type}`, given, { requested_token_type: `${TYPE}${type}` }]),
      ["for an access token by its short name", given, { requested_token_type: "access_token" }],
      ["an actor without its type", given, { actor_token: service }],
      ["an actor's type alone", given, { actor_token_type: ACCESS }],
      ["an actor of another type", given, { actor_token: service, actor_token_type: `${TYPE}id_token` }],
    ],
    async (label, one, more) => refused(await exchange(one, more), BAD, label),
  );
  await each(
    [
      ["who has not got the grant", clients.front, [400, "unauthorized_client"]],
      ["to whom it was not sent", clients.backend, BAD],
      ["who is no resource", clients.plain, BAD],
      ["who gave it, for its own, without the grant", clients.rival, [400, "unauthorized_client"]],
      ["nobody", { client_id: clients.api.client_id }, [401, "invalid_client"]],
      ["with another's secret", { ...clients.api, client_secret: clients.backend.client_secret }, [401, "invalid_client"]],
      ["a public client", clients.pub, [400, "unauthorized_client"]],
    ],
    async (label, client, expected) => refused(await exchange(given, {}, client), expected, label),
  );
  refused(await exchange(theirs, {}, clients.global), BAD, "its own token, of another tenant");
  await good(exchange(theirs, {}, clients.global, { host: OTHER_HOST }), "and there it is good");
  refused(await exchange(given, { requested_token_type: `${TYPE}jwt` }, clients.opaqueApi), BAD, "a JWT of a client that gets none");
  refused(
    await form(`${AUTH}/oauth2/token`, `${query(exchanging(given))}&subject_token=x`, { headers: basic(clients.api) }),
    BAD,
    "two subjects",
  );
  refused(
    await token({ grant_type: "token-exchange", subject_token: given, subject_token_type: ACCESS }, { client: clients.api }),
    [400, "unsupported_grant_type"],
    "the grant's short name",
  );
  await good(exchange(given), "after all that the good one");
  rowCount += 4;
});

test("token exchange: scopes and audiences never grow, whichever way round", async () => {
  const given = await subject();
  await each(
    [
      ["what the subject has and the client has not", "openid profile", [400, "invalid_scope"]],
      ["what the client has and the subject has not", "openid reports:delete", [400, "invalid_scope"]],
      ["what neither has", "admin", [400, "invalid_scope"]],
      ["offline_access", "openid offline_access", [400, "invalid_scope"]],
      ["everything", "*", [400, "invalid_scope"]],
      ["in capitals", "OPENID", [400, "invalid_scope"]],
      ["by a line's end", "openid\nreports:delete", [400, "invalid_scope"]],
    ],
    async (label, scope, expected) => refused(await exchange(given, { scope }), expected, label),
  );
  const target = [400, "invalid_target"];
  await each(
    [
      ["somebody's", { resource: "https://evil.example" }],
      ["somebody's by audience", { audience: "https://evil.example" }],
      ["ourselves", { resource: AUTH }],
      ["ourselves by audience", { audience: AUTH }],
      ["a client", { audience: clients.front.client_id }],
      ["itself by client_id", { audience: clients.api.client_id }],
      ["below what is listed", { resource: `${BACKEND}/x` }],
      ["what is listed with a slash", { resource: `${BACKEND}/` }],
      ["what begins alike", { resource: `${BACKEND}.evil.example` }],
      ["in capitals", { resource: "https://BACKEND.example" }],
      ["with a query", { resource: `${BACKEND}?x` }],
      ["a relative one", { resource: "/x" }],
      ["a list in one", { resource: `${BACKEND} ${API}` }],
      ["a good resource and a bad audience", { resource: BACKEND, audience: "https://evil.example" }],
    ],
    async (label, more) => refused(await exchange(given, more), target, label),
  );
  refused(
    await form(`${AUTH}/oauth2/token`, `${query(exchanging(given, { resource: BACKEND }))}&resource=https%3A%2F%2Fevil.example`, {
      headers: basic(clients.api),
    }),
    target,
    "one of two",
  );
  // A client without a list may go where the subject's token may, and nowhere else.
  const onward = (await good(exchange(given, { resource: BACKEND, scope: "openid" }))).access_token;
  for (const resource of [API, "https://evil.example", AUTH])
    refused(await exchange(onward, { resource }, clients.backend), target, `back to ${resource}`);
  const last = await good(exchange(onward, {}, clients.backend));
  assert.deepEqual([last.scope, decodeJwt(last.access_token).aud], ["openid", BACKEND]);
  refused(
    await exchange(onward, { scope: "openid email" }, clients.backend),
    [400, "invalid_scope"],
    "a scope that was given up on the way",
  );
  // What api made is api's own, and may be exchanged once more, for no more than it was.
  refused(await exchange(onward, { scope: "openid email" }), [400, "invalid_scope"], "its own again, for more");
  rowCount += 6;
});

test("token exchange: a client's own token is its own to exchange, for less", async () => {
  const mine = (await tokens(clients.self, { scope: "openid email offline_access", resource: API })).access_token;
  const less = await good(exchange(mine, { scope: "email" }, clients.self));
  assert.deepEqual([less.scope, less.refresh_token], ["email", undefined]);
  refused(await exchange(less.access_token, { scope: "openid email" }, clients.self), [400, "invalid_scope"], "and back");
  refused(await exchange(mine, { scope: "offline_access" }, clients.self), [400, "invalid_scope"], "offline_access");
  refused(await exchange(less.access_token, { resource: BACKEND }, clients.self), [400, "invalid_target"], "elsewhere");
  refused(
    await get(`${AUTH}/oauth2/userinfo`, { headers: bearer(less.access_token) }),
    [401, "invalid_token"],
    "at userinfo, for which it is not",
  );
  rowCount += 4;
});

test("token exchange: who acts is said as it was, by tokens of the client's own, and no chain is without end", async () => {
  const given = await subject();
  const actorOf = async (client) => (await good(token({ grant_type: "client_credentials" }, { client }))).access_token;
  const actor = await actorOf(clients.api);
  const acting = (one) => ({ actor_token: one, actor_token_type: ACCESS });
  const made = await good(exchange(given, { ...acting(actor), resource: BACKEND }));
  assert.deepEqual(decodeJwt(made.access_token).act, { sub: clients.api.client_id, client_id: clients.api.client_id });
  const ended = await actorOf(clients.api),
    taken = await actorOf(clients.api);
  await run("update oauth_token set expires_at = ? where token_hash = ?", Date.now() - 1, digest(ended));
  await form(`${AUTH}/oauth2/revoke`, { token: taken }, { headers: basic(clients.api) });
  const lasting = await tokens(clients.front, { scope: "openid offline_access" });
  await each(
    [
      ["garbage", "x"],
      ["another client's", await actorOf(clients.backend)],
      ["an expired one", ended],
      ["a revoked one", taken],
      ["the subject's own, which is another client's", given],
      ["another client's user", lasting.access_token],
      ["a refresh token", lasting.refresh_token],
      ["an ID token", lasting.id_token],
      ["without a signature", `${actor.split(".").slice(0, 2).join(".")}.`],
    ],
    async (label, one) => refused(await exchange(given, acting(one)), BAD, label),
  );
  // It ends with the actor's, if that is sooner.
  const short = await actorOf(clients.api);
  await run("update oauth_token set expires_at = ? where token_hash = ?", Date.now() + 30_000, digest(short));
  assert.ok((await good(exchange(given, acting(short)))).expires_in <= 30);
  const soon = await subject();
  await run("update oauth_token set expires_at = ? where token_hash = ?", Date.now() + 20_000, digest(soon));
  assert.ok((await good(exchange(soon, acting(actor)))).expires_in <= 20, "it outlives its subject");
  // Whoever acts for whoever acts.
  const next = await good(exchange(made.access_token, acting(await actorOf(clients.backend)), clients.backend));
  const chain = {
    sub: clients.backend.client_id,
    client_id: clients.backend.client_id,
    act: { sub: clients.api.client_id, client_id: clients.api.client_id },
  };
  assert.deepEqual(decodeJwt(next.access_token).act, chain);
  assert.deepEqual((await introspected(next.access_token, clients.backend)).act, chain);
  assert.deepEqual(
    decodeJwt((await good(exchange(next.access_token, {}, clients.backend))).access_token).act,
    chain,
    "without an actor the chain is not forgotten",
  );
  let longest = next.access_token;
  for (let length = 2; length < 5; length += 1)
    longest = (await good(exchange(longest, acting(await actorOf(clients.backend)), clients.backend))).access_token;
  refused(await exchange(longest, acting(await actorOf(clients.backend)), clients.backend), BAD, "a sixth");
  rowCount += 5;
});

test("token exchange: what came of a token ends with it", async () => {
  const person = await signUp(worker);
  const by = { browser: person.browser };
  const fresh = async (scope = "openid email offline_access") => {
    const from = await tokens(clients.front, { scope, resource: API }, by);
    return { from, made: (await good(exchange(from.access_token))).access_token };
  };
  const ended = async (made, label) => {
    assert.equal(await isActive(made, clients.api), false, label);
    refused(await exchange(made), BAD, `${label}, exchanged on`);
  };
  const active = await fresh();
  assert.equal(await isActive(active.made, clients.api), true);
  await each(
    [
      [
        "the access token was revoked",
        async ({ from }) => form(`${AUTH}/oauth2/revoke`, { token: from.access_token }, { headers: basic(clients.front) }),
      ],
      [
        "the refresh token was revoked",
        async ({ from }) => form(`${AUTH}/oauth2/revoke`, { token: from.refresh_token }, { headers: basic(clients.front) }),
      ],
      [
        "a refresh token was replayed",
        async ({ from }) => {
          await good(token({ grant_type: "refresh_token", refresh_token: from.refresh_token }, { client: clients.front }));
          await run("update oauth_token set used_at = used_at - 20000 where token_hash = ?", digest(from.refresh_token));
          refused(await token({ grant_type: "refresh_token", refresh_token: from.refresh_token }, { client: clients.front }), [
            400,
            "invalid_grant",
          ]);
        },
      ],
      [
        "the client that exchanged it was switched off",
        async () => run("update oauth_client set disabled = 1 where client_id = ?", clients.api.client_id),
      ],
      ["the user was suspended", async () => run("update user set status = 'suspended' where id = ?", person.id)],
      ["the user was deleted", async () => run("update user set status = 'deleted', deleted_at = 1 where id = ?", person.id)],
      ["they signed out", async () => post(person.browser, "/sign-out", {})],
    ],
    async (label, end) => {
      // What was given for whoever is away outlives their session, and so does what comes of it.
      const one = await fresh(label === "they signed out" ? "openid email" : undefined);
      await end(one);
      if (label.includes("switched off")) {
        refused(await exchange(one.from.access_token), [401, "invalid_client"], label);
        await run("update oauth_client set disabled = 0 where client_id = ?", clients.api.client_id);
        return;
      }
      await ended(one.made, label);
      await run("update user set status = 'active', deleted_at = null where id = ?", person.id);
    },
  );
  // Nobody ends what is not theirs.
  const person2 = { browser: (await signUp(worker)).browser };
  const from = (await tokens(clients.front, { resource: API }, person2)).access_token;
  const made = (await good(exchange(from))).access_token;
  for (const client of [clients.backend, clients.rival]) await form(`${AUTH}/oauth2/revoke`, { token: made }, { headers: basic(client) });
  assert.equal(await isActive(made, clients.api), true);
  for (const client of [clients.front, clients.rival, clients.backend])
    assert.equal(await isActive(made, client), false, "nobody but its client and its resource learns of it");
});

test("token exchange: whatever is exchanged while the family is revoked ends with it", async () => {
  const from = await tokens(clients.front, { scope: "openid email offline_access", resource: API });
  const answers = await Promise.all(
    Array.from({ length: 30 }, (_, at) =>
      at === 12
        ? form(`${AUTH}/oauth2/revoke`, { token: from.refresh_token }, { headers: basic(clients.front) })
        : exchange(from.access_token),
    ),
  );
  const made = answers.filter((answer, at) => at !== 12 && answer.status === 200);
  for (const [at, answer] of answers.entries()) if (at !== 12 && answer.status !== 200) refused(answer, BAD);
  for (const { json: body } of made) assert.equal(await isActive(body.access_token, clients.api), false, "a token came through");
  refused(await exchange(from.access_token), BAD);
  assert.deepEqual(
    await worker.rows(
      `select 1 from oauth_token t join oauth_client c on c.id = t.client_id where c.client_id = ? and t.revoked_at is null
         and t.family_id in (select family_id from oauth_token where token_hash = ?)`,
      clients.api.client_id,
      digest(from.access_token),
    ),
    [],
  );
});

/** Somebody whom an upstream issuer has signed in here. */
async function upstreamUser(provider = "acme") {
  const browser = worker.browser(),
    person = stranger();
  const begun = await post(browser, "/sign-in/social", { provider, callbackURL: "/done" });
  assert.equal((await browser.get(await agreeUpstream(begun.json.url, person))).location, "/done");
  return { browser, sub: person.sub, id: (await browser.get(at("/get-session"))).json.user.id };
}

test("JWT bearer: an assertion is by an issuer that may, for a user of its own who agreed, for us, and once", async () => {
  const person = await upstreamUser(),
    unasked = await upstreamUser(),
    elsewhere = await upstreamUser("silent");
  await agree(person, clients.asserts, { scope: "openid email" });
  await agree(elsewhere, clients.asserts, { scope: "openid email" });
  const made = (more = {}, options = {}) => upstream.idToken({ aud: AUTH, sub: person.sub, jti: randomUUID(), ...more }, options);
  const ask = (assertion, more = {}, client = clients.asserts) => token({ grant_type: BEARER, assertion, ...more }, { client });
  const given = await good(ask(await made()), "the good one");
  assert.deepEqual(
    [given.scope, given.refresh_token, given.id_token, decodeJwt(given.access_token).sub],
    ["openid email", undefined, undefined, person.id],
  );
  assert.equal(decodeJwt(given.access_token).auth_time, undefined, "they were not here");
  await each(
    [
      ["the endpoint", { aud: `${AUTH}/oauth2/token` }],
      ["a list of one", { aud: [AUTH] }],
      ["its client", { client_id: clients.asserts.client_id }],
    ],
    async (label, more) => good(ask(await made(more)), label),
  );
  const stray = await upstream.newKey(),
    { kid } = upstream.key;
  const weak = generateKeyPairSync("rsa", { modulusLength: 1024 });
  const by = (header, claims, signature) => {
    const input = `${base64(header)}.${base64(claims)}`;
    return `${input}.${(signature?.(Buffer.from(input)) ?? Buffer.alloc(0)).toString("base64url")}`;
  };
  const claims = () => ({ iss: upstream.url, aud: AUTH, sub: person.sub, jti: randomUUID(), iat: seconds(), exp: seconds() + 60 });
  const typed = async (typ) => {
    const { SignJWT } = await import("jose");
    return new SignJWT(claims()).setProtectedHeader({ alg: "RS256", kid, typ }).sign(upstream.key.privateKey);
  };
  for (const typ of ["JWT", "oauth-id-jag+jwt", "authorization-grant+jwt"]) await good(ask(await typed(typ)), typ);
  const never = [400, "invalid_grant"];
  await each(
    [
      ["garbage", "x"],
      ["a stranger's key", await made({}, { key: stray })],
      ["a stranger's key under the issuer's kid", await made({}, { key: { ...stray, kid } })],
      ["alg none", by({ alg: "none", kid }, claims())],
      ["HS256 by the issuer's public key", by({ alg: "HS256", kid }, claims(), (input) => createHash("sha256").update(input).digest())],
      [
        "RSA of 1024 bits in its own header",
        by({ alg: "RS256", jwk: weak.publicKey.export({ format: "jwk" }) }, claims(), (input) => sign("sha256", input, weak.privateKey)),
      ],
      ["an issuer that may not", await silent.idToken({ aud: AUTH, sub: elsewhere.sub, jti: randomUUID() })],
      [
        "an issuer that may not, in the name of one that may",
        await silent.idToken({ iss: upstream.url, aud: AUTH, sub: person.sub, jti: randomUUID() }),
      ],
      ["the other issuer's user", await made({ sub: elsewhere.sub })],
      ["no issuer of ours", await made({ iss: "https://evil.example" })],
      ["the issuer with a slash", await made({ iss: `${upstream.url}/` })],
      ["us", await made({ iss: AUTH })],
      ["no iss", await made({ iss: undefined })],
      ["iss a list", await made({ iss: [upstream.url] })],
      ["an unknown user", await made({ sub: randomUUID() })],
      ["our own name of the user", await made({ sub: person.id })],
      ["no sub", await made({ sub: undefined })],
      ["an empty sub", await made({ sub: "" })],
      ["sub a number", await made({ sub: 7 })],
      ["sub a list", await made({ sub: [person.sub] })],
      ["sub a pattern", await made({ sub: "%" })],
      ["SQL", await made({ sub: "' or 1=1 --" })],
      ["a user who agreed to nothing", await made({ sub: unasked.sub })],
      ["an ID token of the issuer's", await upstream.idToken({ sub: person.sub, jti: randomUUID() })],
      ["for us and for its client", await made({ aud: [AUTH, "doorward"] })],
      ["for us and for somebody", await made({ aud: [AUTH, "https://evil.example"] })],
      ["for another tenant", await made({ aud: OTHER_HOST })],
      ["for the authorization endpoint", await made({ aud: `${AUTH}/oauth2/authorize` })],
      ["for us with a slash", await made({ aud: `${AUTH}/` })],
      ["for nobody", await made({ aud: undefined })],
      ["for an empty list", await made({ aud: [] })],
      ["for a number", await made({ aud: 7 })],
      ["for another client", await made({ client_id: clients.asserts2.client_id })],
      ["for a client that is a list", await made({ client_id: [clients.asserts.client_id] })],
      ["for a client that is null", await made({ client_id: null })],
      ["no jti", await made({ jti: undefined })],
      ["an empty jti", await made({ jti: "" })],
      ["a jti that is a number", await made({ jti: 7 })],
      ["a jti that is too long", await made({ jti: "x".repeat(513) })],
      [
        "no end",
        by({ alg: "RS256", kid }, { ...claims(), exp: undefined }, (input) =>
          sign("sha256", input, KeyObject.from(upstream.key.privateKey)),
        ),
      ],
      ["over", await made({ exp: seconds() - 60, iat: seconds() - 120 })],
      ["good for two hours", await made({ exp: seconds() + 7200 })],
      ["good forever", await made({ exp: 9_007_199_254_740_991 })],
      ["of the future", await made({ nbf: seconds() + 100 })],
      ["made in the future", await made({ iat: seconds() + 100 })],
      ...(await Promise.all(
        ["at+jwt", "dpop+jwt", "logout+jwt", "secevent+jwt", "id_token", "oauth-authz-req+jwt"].map(async (typ) => [
          `typ ${typ}`,
          await typed(typ),
        ]),
      )),
      ["a token of ours", given.access_token],
    ],
    async (label, assertion) => refused(await ask(assertion), never, label),
  );
  await each(
    [
      ["no assertion", undefined, {}, clients.asserts, BAD],
      ["an empty one", "", {}, clients.asserts, BAD],
      ["a client without the grant", await made(), {}, clients.front, [400, "unauthorized_client"]],
      ["a client that they did not agree to", await made(), {}, clients.asserts2, never],
      ["nobody", await made(), {}, { client_id: clients.asserts.client_id }, [401, "invalid_client"]],
      ["a scope that they did not agree to", await made(), { scope: "openid profile" }, clients.asserts, [400, "invalid_scope"]],
      ["offline_access", await made(), { scope: "offline_access" }, clients.asserts, [400, "invalid_scope"]],
      ["a resource that is none", await made(), { resource: "x" }, clients.asserts, [400, "invalid_target"]],
      ["a resource that is not the client's", await made(), { resource: BACKEND }, clients.trusted, [400, "invalid_target"]],
      ["offline_access of a trusted client", await made(), { scope: "openid offline_access" }, clients.trusted, [400, "invalid_scope"]],
      [
        "as a client's assertion",
        undefined,
        {
          grant_type: "client_credentials",
          client_assertion: await made(),
          client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        },
        { client_id: clients.asserts.client_id },
        [401, "invalid_client"],
      ],
    ],
    async (label, assertion, more, client, expected) => refused(await ask(assertion, more, client), expected, label),
  );
  // A replay, and 30 at once.
  const once_ = await made({ jti: "once" });
  await good(ask(once_));
  await each(
    [
      ["the same", once_, clients.asserts],
      ["made anew with the same jti", await made({ jti: "once", exp: seconds() + 200 }), clients.asserts],
      ["by another client", once_, clients.trusted],
    ],
    async (label, assertion, client) => refused(await ask(assertion, {}, client), never, label),
  );
  const raced = await made();
  const answers = await Promise.all(Array.from({ length: 30 }, () => ask(raced)));
  assert.equal(answers.filter(({ status }) => status === 200).length, 1, JSON.stringify(answers.map(({ status }) => status)));
  for (const answer of answers) if (answer.status !== 200) refused(answer, never);
  // What takes the user away takes it away at once.
  await each(
    [
      ["suspended", "update user set status = 'suspended' where id = ?", "update user set status = 'active' where id = ?"],
      [
        "deleted",
        "update user set status = 'deleted', deleted_at = 1 where id = ?",
        "update user set status = 'active', deleted_at = null where id = ?",
      ],
      [
        "an identity that is not confirmed",
        "update account set confirmed_at = null where user_id = ?",
        "update account set confirmed_at = 1 where user_id = ?",
      ],
      [
        "an identity that is not active",
        "update account set is_active = 0 where user_id = ?",
        "update account set is_active = 1 where user_id = ?",
      ],
    ],
    async (label, take, giveBack) => {
      await run(take, person.id);
      refused(await ask(await made()), never, label);
      await run(giveBack, person.id);
      await good(ask(await made()), `${label}, and back`);
    },
  );
  await each(
    [
      ["switched off", "enabled = 0", "enabled = 1"],
      ["another tenant's", `tenant_id = '${other.tenant}'`, "tenant_id = null"],
      ["not trusted any more", "settings = '{\"acceptAssertions\":false}'", "settings = '{\"acceptAssertions\":true}'"],
      ["without settings", "settings = '{}'", "settings = '{\"acceptAssertions\":true}'"],
    ],
    async (label, take, giveBack) => {
      await run(`update issuer set ${take} where base_url = ?`, upstream.url);
      refused(await ask(await made()), never, `an issuer that is ${label}`);
      await run(`update issuer set ${giveBack} where base_url = ?`, upstream.url);
    },
  );
  const last = (await good(ask(await made()))).access_token;
  await withdraw(person, clients.asserts);
  refused(await ask(await made()), never, "consent that was withdrawn");
  assert.equal(await isActive(last, clients.asserts), false, "and what they got before");
  rowCount += 2;
});

test("introspection as a JWT: for whom the answer is, and nobody else's", async () => {
  const given = await subject();
  const published = (await worker.browser().get(`${AUTH}/api/auth/jwks`)).json;
  const ask = (one, client, accept = "application/token-introspection+jwt", more = {}) =>
    form(`${AUTH}/oauth2/introspect`, { token: one }, { headers: { ...asClient(client), accept, ...more } });
  const read = async (answer, client) => {
    assert.deepEqual(
      [answer.status, answer.headers["content-type"], answer.headers["cache-control"]],
      [200, "application/token-introspection+jwt", "no-store"],
      answer.text,
    );
    const { payload, protectedHeader } = await jwtVerify(answer.text, createLocalJWKSet(published), {
      issuer: AUTH,
      audience: client.client_id,
      typ: "token-introspection+jwt",
    });
    // Nothing by which it would pass for an access or ID token.
    assert.deepEqual(Object.keys(payload).sort(), ["aud", "iat", "iss", "token_introspection"], JSON.stringify(protectedHeader));
    return payload.token_introspection;
  };
  for (const client of [clients.front, clients.api])
    assert.equal((await read(await ask(given, client), client)).sub, who.id, "its client and its resource");
  const answer = (await ask(given, clients.api)).text;
  await each(
    [
      ["another client", given, clients.rival],
      ["another resource", given, clients.backend],
      ["garbage", "x", clients.front],
      ["the answer itself", answer, clients.api],
      ["much", "x".repeat(16_000), clients.front],
    ],
    async (label, one, client) => assert.deepEqual(await read(await ask(one, client), client), { active: false }, label),
  );
  await each(
    [
      ["nobody", { client_id: clients.front.client_id }],
      ["a public client", clients.pub],
      ["a wrong secret", { ...clients.front, client_secret: "x" }],
    ],
    async (label, client) =>
      refused(
        await form(
          `${AUTH}/oauth2/introspect`,
          { token: given, ...(!client.client_secret && { client_id: client.client_id }) },
          { headers: { ...asClient(client), accept: "application/token-introspection+jwt" } },
        ),
        [401, "invalid_client"],
        label,
      ),
  );
  await each(
    ["application/json", "*/*", "application/jwt", "text/html", "application/token-introspection+jwtx", ""].map((accept) => [accept]),
    async (accept) => assert.equal((await ask(given, clients.front, accept)).json.active, true, accept),
  );
  await each(
    [
      ["as an access token", () => get(`${AUTH}/oauth2/userinfo`, { headers: bearer(answer) }), [401, "invalid_token"]],
      ["as a subject", () => exchange(answer), BAD],
      ["as an assertion", () => token({ grant_type: BEARER, assertion: answer }, { client: clients.asserts }), [400, "invalid_grant"]],
    ],
    async (label, use, expected) => refused(await use(), expected, label),
  );
});

/** Metadata that nobody may give themselves, and what is bad in anybody's: [what, metadata, error]. */
const METADATA = "invalid_client_metadata",
  URI = "invalid_redirect_uri";
const privileges = () => [
  ["skip_consent", { skip_consent: true }, METADATA],
  ["skip_consent as a text", { skip_consent: "true" }, METADATA],
  ["skip_consent as a number", { skip_consent: 1 }, METADATA],
  ["token exchange", { grant_types: [EXCHANGE] }, METADATA],
  ["JWT bearer", { grant_types: ["refresh_token", BEARER] }, METADATA],
  ["both", { grant_types: [EXCHANGE, BEARER] }, METADATA],
  ["an unknown grant", { grant_types: ["password"] }, METADATA],
  ["grants as a text", { grant_types: EXCHANGE }, METADATA],
  ["grants in a list", { grant_types: [[EXCHANGE]] }, METADATA],
  ["resource", { resource: API }, METADATA],
  ["resource of its own", { resource: "https://new.example" }, METADATA],
  ["resource as a list", { resource: [API] }, METADATA],
  ["resources that are none", { resources: ["x"] }, METADATA],
  ["resources as a text", { resources: API }, METADATA],
  ["31 resources", { resources: Array(31).fill(API) }, METADATA],
  ["no PKCE", { require_pkce: false }, METADATA],
  ["the classical kind", { classical: true }, METADATA],
  ["either secret method", { either_secret_method: true }, METADATA],
  ["claims in ID tokens", { id_token_scope_claims: true }, METADATA],
  ["FAPI", { fapi: true }, METADATA],
  ["scope as a list", { scope: ["openid"] }, METADATA],
  ["a scope with a quote", { scope: 'openid "' }, METADATA],
  ...[
    "javascript:alert(1)",
    "data:text/html,x",
    "http://evil.example/cb",
    "https://evil.example/cb#x",
    "https://u:p@evil.example/",
    "https://*.example/",
    "file:///x",
    "/cb",
    "",
    "vbscript:x",
    "https://evil.example\\@app.example/",
    " https://evil.example/",
  ].map((uri) => [`redirect to ${uri}`, { redirect_uris: [uri] }, URI]),
  ["a bad one after a good one", { redirect_uris: [REDIRECT, "javascript:alert(1)"] }, URI],
  ["no redirect", { redirect_uris: [] }, URI],
  ["redirects as a text", { redirect_uris: REDIRECT }, METADATA],
  [
    "a native one's javascript",
    { application_type: "native", token_endpoint_auth_method: "none", redirect_uris: ["javascript:alert(1)"] },
    URI,
  ],
  ["sign-out to javascript", { post_logout_redirect_uris: ["javascript:alert(1)"] }, URI],
  ["a logo of javascript", { logo_uri: "javascript:alert(1)" }, METADATA],
  ["terms of data", { tos_uri: "data:text/html,x" }, METADATA],
  ["policy of a file", { policy_uri: "file:///x" }, METADATA],
  ["front channel elsewhere", { frontchannel_logout_uri: "https://evil.example/logout" }, METADATA],
  ["front channel of javascript", { frontchannel_logout_uri: "javascript:alert(1)" }, METADATA],
  ["front channel with a fragment", { frontchannel_logout_uri: `${REDIRECT}#x` }, METADATA],
  ["back channel to a file", { backchannel_logout_uri: "file:///x" }, METADATA],
  ["back channel with a password", { backchannel_logout_uri: "https://u:p@app.example/" }, METADATA],
  ["keys at a file", { jwks_uri: "file:///etc/passwd" }, METADATA],
  ["keys twice", { jwks: { keys: [jwk] }, jwks_uri: "https://app.example/jwks" }, METADATA],
  ["keys that are none", { jwks: { no: "keys" } }, METADATA],
  ["keys that are a text", { jwks: "x" }, METADATA],
  ["a key's method without keys", { token_endpoint_auth_method: "private_key_jwt" }, METADATA],
  ["a certificate's method without a subject", { token_endpoint_auth_method: "tls_client_auth" }, METADATA],
  ["with an empty subject", { token_endpoint_auth_method: "tls_client_auth", tls_client_auth_subject_dn: "" }, METADATA],
  ["a certificate by another name", { token_endpoint_auth_method: "tls_client_auth", tls_client_auth_san_dns: "app.example" }, METADATA],
  ["client_secret_jwt", { token_endpoint_auth_method: "client_secret_jwt" }, METADATA],
  ["credentials of a public client", { token_endpoint_auth_method: "none", grant_types: ["client_credentials"] }, METADATA],
  ["implicit", { response_types: ["token"] }, METADATA],
  ["an algorithm none", { id_token_signed_response_alg: "none" }, METADATA],
  ["userinfo by HS256", { userinfo_signed_response_alg: "HS256" }, METADATA],
  ["requests by none", { request_object_signing_alg: "none" }, METADATA],
  ["assertions by HS256", { token_endpoint_auth_signing_alg: "HS256" }, METADATA],
  ["answers by an unknown", { authorization_signed_response_alg: "ES512" }, METADATA],
  ["introspection by none", { introspection_signed_response_alg: "none" }, METADATA],
  ["encryption", { id_token_encrypted_response_alg: "RSA-OAEP" }, METADATA],
  ["encrypted requests", { request_object_encryption_alg: "RSA-OAEP" }, METADATA],
  ["a flag as a text", { require_signed_request_object: "no" }, METADATA],
  ["a flag as a number", { dpop_bound_access_tokens: 0 }, METADATA],
  ["a default age of text", { default_max_age: "60" }, METADATA],
  ["a default age of -1", { default_max_age: -1 }, METADATA],
  ["a name of numbers", { client_name: 7 }, METADATA],
  ["a name of lines", { client_name: "a\r\nb" }, METADATA],
  ["a name without end", { client_name: "x".repeat(2001) }, METADATA],
  ["subject_type", { subject_type: "secret" }, METADATA],
  ["an unknown application_type", { application_type: "admin" }, METADATA],
];

/** What is ours to say, and is passed over. */
const ASSIGNED = () => ({
  client_id: "chosen",
  client_secret: "chosen",
  id: "chosen",
  tenant_id: other.tenant,
  tenantId: other.tenant,
  user_id: admin.id,
  userId: admin.id,
  owner: admin.id,
  disabled: true,
  trusted: true,
  is_trusted: true,
  secret_hash: digest("chosen"),
  secret_hashes: [digest("chosen")],
  registration_token_hash: digest("chosen"),
  document_read_at: 1,
  created_at: 1,
  updated_at: 9e15,
  client_id_issued_at: 1,
  client_secret_expires_at: 1,
  registration_access_token: "chosen",
  type: "native",
  name: "chosen",
  uri: "javascript:x",
  icon: "javascript:x",
  details: { resource: API, skip_consent: true },
  metadata: { skip_consent: true },
  __proto__: null,
  constructor: { prototype: { skip_consent: true } },
});
const rowOf = async ({ client_id: id }) => (await worker.rows("select * from oauth_client where client_id = ?", id))[0];

test("initial access tokens: good once, for one client of this tenant, and nobody makes them but administrators", async () => {
  const initial = async (by = admin, host = AUTH) =>
    (await good(post(by.browser, "/admin/oauth2/initial-access-token", {}, { host }))).token;
  const register = (given, more = {}, host = AUTH) =>
    json("POST", `${host}/oauth2/register`, { redirect_uris: [REDIRECT], ...more }, given === undefined ? {} : bearer(given));
  const made = await register(await initial());
  assert.equal(made.status, 201, made.text);
  const never = [401, "invalid_token"];
  const [used, old, theirs] = [await initial(), await initial(), await initial(other.admin, OTHER_HOST)];
  await register(used);
  await run("update verification set expires_at = ? where token_hash = ?", Date.now() - 1, digest(old));
  const access = (await tokens(clients.front)).access_token;
  await each(
    [
      ["none", undefined],
      ["an empty one", ""],
      ["garbage", "x"],
      ["made up", random()],
      ["a used one", used],
      ["an old one", old],
      ["another tenant's", theirs],
      ["its hash", digest(old)],
      ["a registration's token", made.json.registration_access_token],
      ["a client's secret", made.json.client_secret],
      ["an access token", access],
    ],
    async (label, given) => refused(await register(given), never, label),
  );
  await each(
    [
      ["Basic", basic(made.json)],
      ["DPoP", { authorization: `DPoP ${await initial()}` }],
      ["without a scheme", { authorization: await initial() }],
      ["in the query", {}],
    ],
    async (label, headers) =>
      refused(
        await json(
          "POST",
          `${AUTH}/oauth2/register${label === "in the query" ? `?access_token=${await initial()}` : ""}`,
          { redirect_uris: [REDIRECT] },
          headers,
        ),
        never,
        label,
      ),
  );
  refused(
    await json("POST", `${AUTH}/oauth2/register`, { redirect_uris: [REDIRECT], access_token: await initial() }),
    never,
    "in the body",
  );
  refused(
    checked(await admin.browser.post(`${AUTH}/oauth2/register`, { redirect_uris: [REDIRECT] })),
    never,
    "an administrator's cookie alone",
  );
  assert.equal((await register(theirs, {}, OTHER_HOST)).status, 201, "and at its own tenant it is good");
  // A bad request uses nothing up; and it is good for no more than anybody's registration.
  const kept = await initial();
  await each(privileges(), async (label, more, error) => refused(await register(kept, more), [400, error], label));
  const chosen = await register(kept, ASSIGNED());
  assert.equal(chosen.status, 201, chosen.text);
  const row = await rowOf(chosen.json);
  assert.deepEqual(
    [row.user_id, row.disabled, row.skip_consent, row.document_read_at, row.type, row.icon, row.uri, chosen.json.resource],
    [null, 0, 0, null, "web", null, null, undefined],
  );
  assert.ok(
    ![chosen.json.client_id, chosen.json.client_secret, chosen.json.registration_access_token, row.id, row.name].includes("chosen"),
  );
  assert.notEqual(row.tenant_id, other.tenant);
  // 30 at once.
  const raced = await initial();
  const before = (await worker.rows("select count(*) as n from oauth_client"))[0].n;
  const answers = await Promise.all(Array.from({ length: 30 }, () => register(raced)));
  assert.equal(answers.filter(({ status }) => status === 201).length, 1, JSON.stringify(answers.map(({ status }) => status)));
  for (const answer of answers) if (answer.status !== 201) refused(answer, never);
  assert.equal((await worker.rows("select count(*) as n from oauth_client"))[0].n, before + 1);
  // Who may make one.
  const guest = { browser: worker.browser() };
  assert.equal((await guest.browser.post(at("/sign-in/anonymous"), {})).status, 200);
  const impersonated = await signUp(worker, { roles: ["admin"] }),
    demoted = await signUp(worker, { roles: ["admin"] });
  await run("update session set impersonated_by = ? where user_id = ?", admin.id, impersonated.id);
  await initial(demoted);
  await run("delete from member_role where member_id in (select id from member where user_id = ?)", demoted.id);
  await each(
    [
      ["nobody", { browser: worker.browser() }, 401],
      ["a member", who, 403],
      ["a guest", guest, 403],
      ["in an administrator's name", impersonated, 403],
      ["who was one", demoted, 403],
    ],
    async (label, { browser }, status) =>
      assert.equal((await post(browser, "/admin/oauth2/initial-access-token", {})).status, status, label),
  );
  for (const origin of ["https://evil.example", "null", OTHER_HOST])
    assert.equal((await post(admin.browser, "/admin/oauth2/initial-access-token", {}, { origin })).status, 403, origin);
  rowCount += 7;
});

test("registration is no wider than its setting says", async () => {
  await each(
    [
      ["closed", { register: [403, "access_denied"], byUser: 403 }],
      ["token", { register: [401, "invalid_token"], byUser: 403 }],
    ],
    async (setting, expected) => {
      const small = await startWorker({ settings: { CLIENT_REGISTRATION: setting } });
      try {
        const [boss, member] = [await signUp(small, { roles: ["admin"] }), await signUp(small)];
        refused(
          await small.browser().send("POST", `${AUTH}/oauth2/register`, { body: { redirect_uris: [REDIRECT] } }),
          expected.register,
          setting,
        );
        const { token: given } = (await boss.browser.post(at("/admin/oauth2/initial-access-token"), {})).json;
        const made = await small
          .browser()
          .send("POST", `${AUTH}/oauth2/register`, { body: { redirect_uris: [REDIRECT] }, headers: given ? bearer(given) : {} });
        assert.equal(made.status, setting === "token" ? 201 : 403, made.text);
        assert.equal((await member.browser.post(at("/oauth2/create-client"), { redirect_uris: [REDIRECT] })).status, expected.byUser);
        assert.equal(
          (await boss.browser.post(at("/oauth2/create-client"), { redirect_uris: [REDIRECT] })).status,
          201,
          "an administrator may always",
        );
        // Nobody's document is read where documents are not believed.
        documents.requests.length = 0;
        const answer = await member.browser.get(
          `${AUTH}/oauth2/authorize?${query({ ...parametersOf({ client_id: `${documents.url}/off.json` }) })}`,
          { headers: PAGE },
        );
        onOurPage(answer, "client_id is missing, or of no client of ours", setting);
        assert.deepEqual(documents.requests, []);
        assert.equal(
          (await small.browser().get(`${AUTH}/.well-known/openid-configuration`)).json.client_id_metadata_document_supported,
          false,
        );
      } finally {
        await small.dispose();
      }
    },
  );
});

/** A client that registered itself. */
async function registered(more = {}) {
  const { token: given } = await good(post(admin.browser, "/admin/oauth2/initial-access-token", {}));
  const made = await json(
    "POST",
    `${AUTH}/oauth2/register`,
    { client_name: "By itself", redirect_uris: [REDIRECT], ...more },
    bearer(given),
  );
  assert.equal(made.status, 201, made.text);
  return { ...made.json, uri: made.json.registration_client_uri, token: made.json.registration_access_token };
}

test("registration management: a client looks after itself with its own token, and gets no further", async () => {
  const [one, another] = [await registered(), await registered()];
  assert.equal(one.uri, `${AUTH}/oauth2/register/${one.client_id}`);
  const seen = await json("GET", one.uri, undefined, bearer(one.token));
  assert.deepEqual(
    [seen.status, seen.json.client_id, seen.json.client_secret, seen.headers["cache-control"]],
    [200, one.client_id, undefined, "no-store"],
  );
  const gone = await registered();
  assert.equal((await json("DELETE", gone.uri, undefined, bearer(gone.token))).status, 204);
  const off = await registered();
  await run("update oauth_client set disabled = 1 where client_id = ?", off.client_id);
  const { token: initial } = await good(post(admin.browser, "/admin/oauth2/initial-access-token", {}));
  const own = await tokens(clients.front),
    never = [401, "invalid_token"];
  const body = { client_id: one.client_id, redirect_uris: [REDIRECT] };
  await each(
    [
      ["none", one.uri, {}],
      ["an empty one", one.uri, bearer("")],
      ["garbage", one.uri, bearer("x")],
      ["made up", one.uri, bearer(random())],
      ["its hash", one.uri, bearer(digest(one.token))],
      ["another client's token", one.uri, bearer(another.token)],
      ["its token at another client", another.uri, bearer(one.token)],
      ["an initial access token", one.uri, bearer(initial)],
      ["its secret", one.uri, bearer(one.client_secret)],
      ["its secret by Basic", one.uri, basic(one)],
      ["an access token", one.uri, bearer(own.access_token)],
      ["in the query", `${one.uri}?access_token=${one.token}`, {}],
      ["after it was deleted", gone.uri, bearer(gone.token)],
      ["a deleted client's token at another", one.uri, bearer(gone.token)],
      ["while it is switched off", off.uri, bearer(off.token)],
      ["at another tenant", one.uri.replace(AUTH, OTHER_HOST), bearer(one.token)],
      ["an administrator's client", `${AUTH}/oauth2/register/${clients.front.client_id}`, bearer(one.token)],
      ["a client that is none", `${AUTH}/oauth2/register/${randomUUID()}`, bearer(one.token)],
      ["a pattern", `${AUTH}/oauth2/register/%25`, bearer(one.token)],
      ["SQL", `${AUTH}/oauth2/register/${encodeURIComponent("' or 1=1 --")}`, bearer(one.token)],
      ["by DPoP", one.uri, { authorization: `DPoP ${one.token}` }],
    ],
    async (label, url, headers) => {
      refused(await json("GET", url, undefined, headers), never, label);
      refused(await json("PUT", url, { ...body, client_name: "Evil" }, headers), never, label);
      refused(await json("DELETE", url, undefined, headers), never, label);
    },
  );
  for (const { browser } of [admin, who]) refused(checked(await browser.get(one.uri)), never, "a session");
  assert.equal((await json("GET", one.uri, undefined, bearer(one.token))).json.client_name, "By itself");
  const put = (fields, headers = bearer(one.token)) => json("PUT", one.uri, { ...body, ...fields }, headers);
  await each([...privileges()], async (label, fields, error) => refused(await put(fields), [400, error], label));
  await each(
    [
      ["no client_id", { client_id: undefined }],
      ["another's", { client_id: another.client_id }],
      ["as a list", { client_id: [one.client_id] }],
      ["as a number", { client_id: 7 }],
      ["null", { client_id: null }],
      ...["registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"].map((name) => [
        name,
        { [name]: seen.json[name] ?? "x" },
      ]),
    ],
    async (label, fields) => refused(await put(fields), BAD, label),
  );
  assert.equal(
    (await json("PUT", one.uri, "client_id=x", { ...bearer(one.token), "content-type": "application/x-www-form-urlencoded" })).status,
    400,
  );
  for (const raw of ["{", "[]", "7", "null", `{"a":${"[".repeat(300)}${"]".repeat(300)}}`])
    assert.equal(
      (await json("PUT", one.uri, raw, { ...bearer(one.token), "content-type": "application/json" })).status,
      400,
      raw.slice(0, 20),
    );
  for (const method of ["POST", "PATCH"]) assert.equal((await json(method, one.uri, body, bearer(one.token))).status, 405, method);
  // What is replaced is replaced as a whole, and what is ours to say stays as it was.
  const before = await rowOf(one);
  const assigned = Object.fromEntries(
    Object.entries(ASSIGNED()).filter(
      ([name]) =>
        !["client_id", "registration_access_token", "client_secret_expires_at", "client_id_issued_at", "client_secret"].includes(name),
    ),
  );
  const changed = await put({ client_name: "Otherwise", ...assigned });
  assert.equal(changed.status, 200, changed.text);
  const after = await rowOf(one);
  for (const name of [
    "id",
    "tenant_id",
    "client_id",
    "secret_hash",
    "user_id",
    "disabled",
    "registration_token_hash",
    "document_read_at",
    "created_at",
    "skip_consent",
    "icon",
    "uri",
  ])
    assert.equal(after[name], before[name], name);
  assert.equal(after.name, "Otherwise");
  assert.equal(changed.json.client_secret, undefined, "a secret is told once");
  await good(form(`${AUTH}/oauth2/introspect`, { token: "x" }, { headers: basic(one) }), "its secret is as it was");
  // A secret goes with the method, and does not come back with it.
  const pub = await put({ token_endpoint_auth_method: "none" });
  assert.deepEqual([pub.status, pub.json.client_secret], [200, undefined]);
  refused(
    await form(`${AUTH}/oauth2/introspect`, { token: "x" }, { headers: basic(one) }),
    [401, "invalid_client"],
    "the old secret of a public client",
  );
  const again = await put({ token_endpoint_auth_method: "client_secret_basic" });
  assert.ok(again.json.client_secret && again.json.client_secret !== one.client_secret);
  refused(
    await form(`${AUTH}/oauth2/introspect`, { token: "x" }, { headers: basic(one) }),
    [401, "invalid_client"],
    "the old secret under the new one",
  );
  // What an administrator gave is not for the client to keep while it changes where its users go.
  await good(post(admin.browser, "/oauth2/update-client", { client_id: another.client_id, update: { skip_consent: true } }));
  const steal = { client_id: another.client_id, redirect_uris: ["https://evil.example/cb"] };
  for (const more of [{}, { skip_consent: true }, { skip_consent: false }])
    refused(await json("PUT", another.uri, { ...steal, ...more }, bearer(another.token)), [400, METADATA], JSON.stringify(more));
  const trusted = await registered();
  await good(
    post(admin.browser, "/oauth2/update-client", {
      client_id: trusted.client_id,
      update: { resource: "https://vouched.example", grant_types: ["authorization_code", EXCHANGE], scope: "openid vouched" },
    }),
  );
  const kept = (await json("GET", trusted.uri, undefined, bearer(trusted.token))).json;
  const whole = Object.fromEntries(
    Object.entries(kept).filter(
      ([name]) => !["client_id_issued_at", "registration_client_uri", "registration_access_token"].includes(name),
    ),
  );
  refused(
    await json("PUT", trusted.uri, { ...whole, redirect_uris: ["https://evil.example/cb"] }, bearer(trusted.token)),
    [400, METADATA],
    "with what an administrator gave",
  );
  const less = await json(
    "PUT",
    trusted.uri,
    { client_id: trusted.client_id, redirect_uris: ["https://evil.example/cb"] },
    bearer(trusted.token),
  );
  assert.deepEqual([less.status, less.json.resource, less.json.grant_types], [200, undefined, ["authorization_code"]], "or without it");
  // Deleted: tokens and all.
  const person = await signUp(worker);
  const client = { ...(await registered({ client_name: "To go" })) };
  const given = await good(token(redemption(await agree(person, client)), { client }));
  assert.equal((await json("DELETE", client.uri, undefined, bearer(client.token))).status, 204);
  refused(await get(`${AUTH}/oauth2/userinfo`, { headers: bearer(given.access_token) }), never, "its token");
  refused(await token({ grant_type: "refresh_token", refresh_token: random() }, { client }), [401, "invalid_client"], "its secret");
  rowCount += 16;
});

test("users' own clients: a user's are theirs, and nobody else's but the administrators' of the tenant", async () => {
  const [owner, stranger_] = [await signUp(worker), await signUp(worker)];
  const mine = (more = {}, by = owner) => created(more, { by, path: "/oauth2/create-client" });
  const client = await mine({ client_name: "Mine" });
  const guest = { browser: worker.browser() };
  assert.equal((await guest.browser.post(at("/sign-in/anonymous"), {})).status, 200);
  const impersonated = await signUp(worker),
    suspended = await signUp(worker),
    demoted = await signUp(worker, { roles: ["admin"] });
  await run("update session set impersonated_by = ? where user_id = ?", admin.id, impersonated.id);
  await run("update user set status = 'suspended' where id = ?", suspended.id);
  assert.equal(
    (await get(`${at("/oauth2/get-client")}?client_id=${client.client_id}`, { browser: demoted.browser, headers: {} })).status,
    200,
    "while they were an administrator",
  );
  await run("delete from member_role where member_id in (select id from member where user_id = ?)", demoted.id);
  const before = await rowOf(client);
  const uses = {
    read: (browser, host) => get(`${at("/oauth2/get-client", host)}?client_id=${client.client_id}`, { browser, headers: {} }),
    update: (browser, host) =>
      post(
        browser,
        "/oauth2/update-client",
        { client_id: client.client_id, update: { redirect_uris: ["https://evil.example/cb"] } },
        { host },
      ),
    patch: async (browser, host = AUTH) =>
      checked(
        await browser.send("PATCH", at("/admin/oauth2/update-client", host), {
          headers: { origin: host },
          body: { client_id: client.client_id, update: { client_name: "Evil" } },
        }),
      ),
    rotate: (browser, host) => post(browser, "/oauth2/client/rotate-secret", { client_id: client.client_id }, { host }),
    delete: (browser, host) => post(browser, "/oauth2/delete-client", { client_id: client.client_id }, { host }),
    disable: (browser, host) => post(browser, "/admin/oauth2/disable-client", { client_id: client.client_id, disabled: true }, { host }),
  };
  const nobodys = [404, "CLIENT_NOT_FOUND"];
  await each(
    [
      ["another user", stranger_, nobodys],
      ["who was an administrator", demoted, nobodys],
      ["another tenant's administrator", other.admin, nobodys, OTHER_HOST],
      ["another tenant's user", other.who, nobodys, OTHER_HOST],
      ["nobody", { browser: worker.browser() }, [401]],
      ["a guest", guest, [403]],
      ["in another's name", impersonated, [403]],
      ["who is suspended", suspended, [401]],
    ].flatMap(([label, by, expected, host]) => Object.keys(uses).map((use) => [label, use, by, expected, host])),
    async (label, use, { browser }, expected, host) => {
      const answer = await uses[use](browser, host);
      // Only administrators switch clients off: whether this one is there, nobody else learns.
      const due = use === "disable" && expected === nobodys && label !== "another tenant's administrator" ? [403, "FORBIDDEN"] : expected;
      if (typeof due[1] === "string") denied(answer, due, `${label}: ${use}`);
      else assert.ok(due.includes(answer.status), `${label}: ${use}: ${answer.status} ${answer.text}`);
    },
  );
  assert.deepEqual(await rowOf(client), before, "somebody changed it");
  assert.equal((await uses.disable(owner.browser)).status, 403, "its owner is no administrator");
  for (const origin of ["https://evil.example", "null", OTHER_HOST])
    assert.equal(
      (await post(owner.browser, "/oauth2/update-client", { client_id: client.client_id, update: { client_name: "x" } }, { origin }))
        .status,
      403,
      origin,
    );
  // Lists.
  const listed = async ({ browser }, host = AUTH) => (await get(at("/oauth2/get-clients", host), { browser, headers: {} })).json;
  assert.deepEqual(
    (await listed(owner)).map(({ client_id: id }) => id),
    [client.client_id],
  );
  for (const by of [stranger_, demoted]) assert.deepEqual(await listed(by), []);
  assert.ok(!(await listed(other.admin, OTHER_HOST)).some(({ client_id: id }) => id === client.client_id));
  assert.ok((await listed(admin)).some(({ client_id: id }) => id === client.client_id));
  assert.ok(!/secret_hash|registration_token|tenant_id/.test(JSON.stringify(await listed(admin))), "what is kept of secrets");
  // What a user may not give a client of theirs.
  const create = (body) => post(owner.browser, "/oauth2/create-client", { redirect_uris: [REDIRECT], ...body });
  const update = (fields, by = owner) => post(by.browser, "/oauth2/update-client", { client_id: client.client_id, update: fields });
  await each(privileges(), async (label, more, error) => {
    refused(await create(more), [400, error], `created, ${label}`);
    refused(await update(more), [400, error], `updated, ${label}`);
  });
  const chosen = await create(ASSIGNED());
  assert.equal(chosen.status, 201, chosen.text);
  const row = await rowOf(chosen.json);
  assert.deepEqual(
    [row.user_id, row.disabled, row.skip_consent, row.document_read_at, row.type, row.registration_token_hash],
    [owner.id, 0, 0, null, "web", null],
  );
  assert.ok(chosen.json.client_id !== "chosen" && chosen.json.client_secret !== "chosen" && row.tenant_id !== other.tenant);
  const passed = await update(ASSIGNED());
  assert.deepEqual([passed.status, passed.json.client_secret], [200, undefined], passed.text);
  const after = await rowOf(client);
  for (const name of [
    "id",
    "tenant_id",
    "client_id",
    "secret_hash",
    "user_id",
    "disabled",
    "registration_token_hash",
    "document_read_at",
    "created_at",
    "name",
    "skip_consent",
  ])
    assert.equal(after[name], before[name], name);
  await each(
    [
      ["no update", { client_id: client.client_id }],
      ["update null", { client_id: client.client_id, update: null }],
      ["update a list", { client_id: client.client_id, update: [] }],
      ["update a text", { client_id: client.client_id, update: "x" }],
      ["no client_id", { update: {} }],
      ["client_id a list", { client_id: [client.client_id], update: {} }],
      ["client_id a number", { client_id: 7, update: {} }],
      ["metadata beside it", { client_id: client.client_id, client_name: "x" }],
    ],
    async (label, body) => assert.equal((await post(owner.browser, "/oauth2/update-client", body)).status, 400, label),
  );
  await each(
    [
      ["redirect_uris", URI],
      ["grant_types", null],
      ["client_name", null],
      ["token_endpoint_auth_method", null],
    ],
    async (name, error) => {
      const answer = await update({ [name]: null });
      if (error) refused(answer, [400, error], name);
      else assert.equal(answer.status, 200, answer.text);
    },
  );
  // An administrator who vouches for it takes it out of its owner's hands; and who switches it off, off it stays.
  await good(update({ skip_consent: true }, admin));
  for (const fields of [
    { redirect_uris: ["https://evil.example/cb"] },
    { skip_consent: true },
    { skip_consent: false },
    { skip_consent: null },
    { client_name: "Otherwise" },
  ])
    refused(await update(fields), [400, METADATA], JSON.stringify(fields));
  await good(update({ skip_consent: false, grant_types: ["authorization_code", EXCHANGE] }, admin));
  refused(await update({ redirect_uris: ["https://evil.example/cb"] }), [400, METADATA], "with a grant that an administrator gave");
  await good(update({ grant_types: ["authorization_code"] }, admin));
  assert.equal((await uses.disable(admin.browser)).status, 200);
  await update({ disabled: false });
  assert.equal((await rowOf(client)).disabled, 1, "its owner switched it on again");
  // Its name is its owner's word, shown to anybody who is signed in, and nothing else of it is.
  const shown = await get(`${at("/oauth2/public-client")}?client_id=${chosen.json.client_id}`, { browser: stranger_.browser, headers: {} });
  assert.deepEqual(Object.keys(shown.json).sort(), ["client_id", "client_name", "logo_uri", "policy_uri", "tos_uri"]);
  for (const [label, id] of [
    ["a client that is off", client.client_id],
    ["none", ""],
    ["unknown", randomUUID()],
    ["a pattern", "%"],
  ])
    denied(await get(`${at("/oauth2/public-client")}?client_id=${encodeURIComponent(id)}`, { headers: {} }), nobodys, label);
  denied(
    await get(`${at("/oauth2/public-client", OTHER_HOST)}?client_id=${chosen.json.client_id}`, { browser: other.who.browser, headers: {} }),
    nobodys,
    "another tenant's",
  );
  assert.equal(
    (await get(`${at("/oauth2/public-client")}?client_id=${chosen.json.client_id}`, { browser: worker.browser(), headers: {} })).status,
    401,
  );
  // A user who is gone leaves no client that works.
  const leaver = await signUp(worker);
  const left = await mine({}, leaver);
  await run("delete from user where id = ?", leaver.id);
  onOurPage(await authorize(left), "client_id is missing, or of no client of ours", "whose owner is gone");
  rowCount += 20;
});

test("a client changed by many at once: what was answered to be changed is, and nothing else is lost", async () => {
  const client = await created({ client_name: "Raced" });
  const changes = (round) => ({
    client_name: `name ${round}`,
    client_uri: `https://app.example/${round}`,
    logo_uri: `https://app.example/${round}.png`,
    policy_uri: `https://app.example/p${round}`,
    tos_uri: `https://app.example/t${round}`,
    software_id: `id ${round}`,
    software_version: `v${round}`,
    default_max_age: round,
    contacts: [`c${round}@example.com`],
    resources: [`https://r${round}.example`],
  });
  const read = async () =>
    (await get(`${at("/oauth2/get-client")}?client_id=${client.client_id}`, { browser: admin.browser, headers: {} })).json;
  let conflicts = 0,
    wins = 0;
  for (let round = 1; round <= 10 && (conflicts === 0 || round < 4); round += 1) {
    const before = await read();
    const fields = Object.entries(changes(round));
    const answers = await Promise.all(
      fields.map(([name, value]) =>
        post(admin.browser, "/oauth2/update-client", { client_id: client.client_id, update: { [name]: value } }),
      ),
    );
    const after = await read();
    for (const [index, answer] of answers.entries()) {
      const [name, value] = fields[index];
      if (answer.status === 200) wins += 1;
      else (denied(answer, [409, "CLIENT_CHANGED"], name), (conflicts += 1));
      assert.deepEqual(after[name], answer.status === 200 ? value : before[name], `${name}: ${answer.status}`);
    }
    assert.ok(
      answers.some(({ status }) => status === 200),
      "nobody won",
    );
  }
  assert.ok(wins > 0 && conflicts > 0, `${wins} won, ${conflicts} were told to read again`);
  // A secret that is rotated meanwhile is not lost; nor does a client come back that was deleted.
  const secret = await created();
  const [rotated, ...updates] = await Promise.all([
    post(admin.browser, "/oauth2/client/rotate-secret", { client_id: secret.client_id }),
    ...Array.from({ length: 10 }, (_, index) =>
      post(admin.browser, "/oauth2/update-client", { client_id: secret.client_id, update: { client_name: `n${index}` } }),
    ),
  ]);
  for (const answer of updates) assert.ok([200, 409].includes(answer.status), answer.text);
  for (const one of [secret, rotated.json])
    await good(form(`${AUTH}/oauth2/introspect`, { token: "x" }, { headers: basic(one) }), "both are good for a day");
  const doomed = await registered();
  const answers = await Promise.all([
    json("DELETE", doomed.uri, undefined, bearer(doomed.token)),
    ...Array.from({ length: 10 }, (_, index) =>
      json("PUT", doomed.uri, { client_id: doomed.client_id, redirect_uris: [REDIRECT], client_name: `n${index}` }, bearer(doomed.token)),
    ),
  ]);
  assert.equal(answers[0].status, 204);
  for (const answer of answers.slice(1)) assert.ok([200, 401, 409].includes(answer.status), answer.text);
  assert.equal(await rowOf(doomed), undefined);
  const deletions = await registered();
  const ended = await Promise.all(Array.from({ length: 10 }, () => json("DELETE", deletions.uri, undefined, bearer(deletions.token))));
  assert.equal(ended.filter(({ status }) => status === 204).length, 1);
});

/** A client that is known by a document, which says what is given here. */
function published(name, more = {}) {
  const client = { client_id: `${documents.url}/${name}` };
  documents.at[`/${name}`] = {
    client_id: client.client_id,
    client_name: "By document",
    redirect_uris: [REDIRECT],
    token_endpoint_auth_method: "none",
    ...more,
  };
  return client;
}
const stale = (client) =>
  run("update oauth_client set document_read_at = document_read_at - 3700000 where client_id = ?", client.client_id);

test("client metadata documents: one that lies, is too much, or asks for what is not its own, makes no client", async () => {
  const first = published("good.json");
  const asked = await authorize(first);
  assert.ok(asked.location.startsWith("/consent?"), asked.location ?? asked.text);
  const shown = await get(`${AUTH}${asked.location}`);
  assert.ok(shown.text.includes("localhost: By document"), "whose page it is");
  const none = "client_id names no client metadata document";
  const doc = (more) => (name) => published(name, more);
  const raw = (answer) => (name) => {
    documents.at[`/${name}`] = typeof answer === "function" ? answer(name) : answer;
    return { client_id: `${documents.url}/${name}` };
  };
  const whole = (name, more) =>
    JSON.stringify({ client_id: `${documents.url}/${name}`, redirect_uris: [REDIRECT], token_endpoint_auth_method: "none", ...more });
  const redirected = (status) =>
    raw(() => (_, response) => response.writeHead(status, { location: `${documents.url}/good.json` }).end(whole("good.json")));
  await each(
    [
      ...[301, 302, 303, 307, 308].map((status) => [`redirected by ${status}`, redirected(status), none]),
      ["not there", (name) => ({ client_id: `${documents.url}/${name}` }), none],
      ["500", raw(() => (_, response) => response.writeHead(500).end()), none],
      ["204", raw(() => (_, response) => response.writeHead(204).end()), none],
      ["201 with a document", raw((name) => (_, response) => response.writeHead(201).end(whole(name))), none],
      ["a page", raw("<html>"), none],
      ["nothing", raw(""), none],
      ["a list", raw((name) => `[${whole(name)}]`), none],
      ["null", raw("null"), none],
      ["half of it", raw((name) => whole(name).slice(0, -3)), none],
      ["nested 300 deep", raw((name) => `${whole(name).slice(0, -1)},"x":${"[".repeat(300)}${"]".repeat(300)}}`), none],
      [
        "no UTF-8",
        raw(
          (name) => (_, response) =>
            response
              .writeHead(200)
              .end(
                Buffer.concat([Buffer.from(`${whole(name).slice(0, -1)},"client_name":"`), Buffer.from([0xff, 0xfe]), Buffer.from('"}')]),
              ),
        ),
        none,
      ],
      ["17 KB", raw((name) => whole(name, { x: "x".repeat(17_000) })), none],
      ["300 KB", raw((name) => whole(name, { x: "x".repeat(300_000) })), none],
      [
        "without end",
        raw(() => (_, response) => {
          response.writeHead(200);
          const timer = setInterval(() => response.write("x".repeat(60_000)), 5);
          response.on("close", () => clearInterval(timer));
        }),
        none,
      ],
      ["never answered", raw(() => () => {}), none],
      [
        "answered by half and no more",
        raw((name) => (_, response) => {
          response.writeHead(200);
          response.write(whole(name).slice(0, 20));
        }),
        none,
      ],
      ["no client_id", doc({ client_id: undefined }), none],
      ["another's client_id", doc({ client_id: `${documents.url}/good.json` }), none],
      ["another host's", doc({ client_id: "https://good.example/client.json" }), none],
      ["an administrator's client", doc({ client_id: clients.front.client_id }), none],
      ["client_id a list", (name) => published(name, { client_id: [`${documents.url}/${name}`] }), none],
      ["client_id with a slash", (name) => published(name, { client_id: `${documents.url}/${name}/` }), none],
      ["client_id in capitals", (name) => published(name, { client_id: `${documents.url}/${name}`.toUpperCase() }), none],
      ["a secret", doc({ client_secret: "s" }), none],
      ["an empty secret", doc({ client_secret: "" }), none],
      ["a secret that is null", doc({ client_secret: null }), none],
      ["a secret's method", doc({ token_endpoint_auth_method: "client_secret_basic" }), none],
      ["a secret's method in the form", doc({ token_endpoint_auth_method: "client_secret_post" }), none],
    ],
    async (label, make, text) => {
      const client = make(`bad-${rowCount}.json`);
      onOurPage(await authorize(client, {}, { label }), text, label);
      refused(await form(`${AUTH}/oauth2/par`, parametersOf(client)), BAD, label);
      assert.deepEqual(await worker.rows("select 1 from oauth_client where client_id = ?", client.client_id), [], `${label}: kept`);
    },
  );
  assert.equal(documents.requests.filter((path) => path === "/good.json").length, 1, "a redirect was followed");
  // A name that is no text is none: such a client is shown by its host alone.
  await each(
    privileges().filter(([label]) => !["a native one's javascript", "a name of numbers"].includes(label)),
    async (label, more, error) => {
      const client = published(`greedy-${rowCount}.json`, more);
      const answer = await authorize(client, {
        redirect_uri: Array.isArray(more.redirect_uris) && more.redirect_uris[0] ? more.redirect_uris[0] : REDIRECT,
      });
      assert.deepEqual([answer.status, answer.location], [400, undefined], `${label}: ${answer.text}`);
      refused(await form(`${AUTH}/oauth2/par`, parametersOf(client)), [400, error], label);
      assert.deepEqual(await worker.rows("select 1 from oauth_client where client_id = ?", client.client_id), [], `${label}: kept`);
    },
  );
  const chosen = published(
    "chosen.json",
    Object.fromEntries(Object.entries(ASSIGNED()).filter(([name]) => !["client_id", "client_secret"].includes(name))),
  );
  assert.ok((await authorize(chosen)).location.startsWith("/consent?"));
  const row = await rowOf(chosen);
  assert.deepEqual(
    [row.tenant_id, row.user_id, row.disabled, row.skip_consent, row.secret_hash, row.registration_token_hash],
    [null, null, 0, 0, null, null],
  );
  assert.notEqual(row.id, "chosen");
  // Nobody signs in as it without its key, and it has no secret.
  const keyed = published("keyed.json", {
    token_endpoint_auth_method: "private_key_jwt",
    jwks: { keys: [jwk] },
    grant_types: ["authorization_code"],
  });
  await agree(who, keyed);
  for (const [label, fields, headers] of [
    ["nothing", { client_id: keyed.client_id }, {}],
    ["a made-up secret", {}, { authorization: `Basic ${Buffer.from(`${encodeURIComponent(keyed.client_id)}:x`).toString("base64")}` }],
  ])
    refused(await form(`${AUTH}/oauth2/token`, { ...redemption(random()), ...fields }, { headers }), [401, "invalid_client"], label);
  rowCount += 2;
});

test("client metadata documents: an address that is none of the web's is never asked", async () => {
  documents.requests.length = 0;
  const host = documents.url.slice("http://".length);
  const unknown = "client_id is missing, or of no client of ours";
  await each(
    [
      documents.url,
      `${documents.url}/`,
      `${documents.url}/a/../good.json`,
      `${documents.url}/./good.json`,
      `${documents.url}/good.json#x`,
      `http://user@${host}/good.json`,
      `http://u:p@${host}/good.json`,
      `HTTP://${host}/good.json`,
      `http://LOCALHOST:${host.split(":")[1]}/good.json`,
      `http:/${host}/good.json`,
      `http:${host}/good.json`,
      `http:\\\\${host}\\good.json`,
      ` ${documents.url}/good.json`,
      `${documents.url}/good.json `,
      `${documents.url}/go\tod.json`,
      `${documents.url}/${"x".repeat(500)}`,
      "file:///etc/passwd",
      "data:application/json,{}",
      "ftp://localhost/x",
      "javascript:alert(1)",
      `//${host}/good.json`,
      "/good.json",
      "localhost/good.json",
    ].map((id) => [id]),
    async (id) => {
      onOurPage(await authorize({ client_id: id }, {}, { label: id }), unknown, id);
    },
  );
  assert.deepEqual(documents.requests, []);
  const secure = AUTH.replace("http:", "https:");
  const deployed = await startWorker({
    settings: { DEVELOPMENT: null, AUTH_ORIGIN: secure, TRUSTED_ORIGINS: null, CLIENT_ID_METADATA_DOCUMENTS: "on" },
  });
  try {
    const port = host.split(":")[1];
    await each(
      [
        `http://${host}/good.json`,
        `https://${host}/good.json`,
        `https://127.0.0.1:${port}/good.json`,
        `https://127.1:${port}/x`,
        "https://2130706433/x",
        "https://0x7f.0.0.1/x",
        "https://0177.0.0.1/x",
        `https://[::1]:${port}/x`,
        "https://[::ffff:127.0.0.1]/x",
        "https://[fd00::1]/x",
        "https://[fe80::1]/x",
        "https://0.0.0.0/x",
        "https://10.0.0.1/x",
        "https://172.16.0.1/x",
        "https://192.168.1.1/x",
        "https://169.254.169.254/latest/meta-data",
        "https://100.64.0.1/x",
        "https://localhost/x",
        "https://LOCALHOST/x",
        "https://localhost./x",
        "https://a.localhost/x",
        "https://intern/x",
        "https://metadata.google.internal/x",
        "https://printer.local/x",
        "https://host.lan/x",
        "http://app.example.com/client.json",
      ].map((id) => [id]),
      async (id) => {
        const answer = await deployed.fetch(`${secure}/oauth2/authorize?${query(parametersOf({ client_id: id }))}`, { headers: PAGE });
        const text = await answer.text();
        assert.deepEqual([answer.status, text.includes(unknown)], [400, true], `${id}: ${text.slice(0, 200)}`);
      },
    );
  } finally {
    await deployed.dispose();
  }
  assert.deepEqual(documents.requests, [], "somebody's network was asked");
});

test("client metadata documents: what changes, or goes away, after consent", async () => {
  const person = await signUp(worker);
  const by = { browser: person.browser };
  const client = published("lasting.json", { grant_types: ["authorization_code", "refresh_token"] });
  const given = await good(token(redemption(await agree(person, client, { scope: "openid email offline_access" })), { client }));
  codeOf(await authorize(client, {}, by), "agreed to once");
  const count = () => documents.requests.filter((path) => path === "/lasting.json").length;
  const before = count();
  // Within the hour it is not asked again, whatever it says by now.
  published("lasting.json", { redirect_uris: ["https://evil.example/cb"] });
  codeOf(await authorize(client, {}, by), "as it was read");
  onOurPage(await authorize(client, { redirect_uri: "https://evil.example/cb" }, by), "redirect_uri is not registered", "as it was read");
  assert.equal(count(), before);
  await stale(client);
  onOurPage(await authorize(client, {}, by), "redirect_uri is not registered", "what it does not say any more");
  assert.equal(count(), before + 1);
  // A code for what is not said any more is not redeemed elsewhere than where it was sent.
  published("lasting.json", { grant_types: ["authorization_code", "refresh_token"] });
  await stale(client);
  const code = codeOf(await authorize(client, {}, by));
  refused(await token(redemption(code, { redirect_uri: "https://evil.example/cb" }), { client }), [400, "invalid_grant"]);
  // What it may not be, it does not become later.
  await each(
    [
      ["skip_consent", { skip_consent: true }],
      ["exchange", { grant_types: [EXCHANGE], token_endpoint_auth_method: "private_key_jwt", jwks: { keys: [jwk] } }],
      ["resource", { resource: API }],
      ["scopes", { scope: "openid admin" }],
      ["javascript", { redirect_uris: ["javascript:alert(1)"] }],
      ["a secret", { client_secret: "x" }],
      ["another's name", { client_id: clients.front.client_id }],
    ],
    async (label, more) => {
      published("lasting.json", more);
      await stale(client);
      const answer = await authorize(client, { prompt: "consent" }, by);
      assert.ok(!/[?&]code=/.test(answer.location ?? ""), label);
      const row = await rowOf(client);
      assert.deepEqual(
        [
          row.skip_consent,
          JSON.parse(row.grant_types).includes(EXCHANGE),
          row.details.includes(API),
          row.scopes.includes("admin"),
          row.redirect_uris.includes("javascript"),
          row.secret_hash,
        ],
        [0, false, false, false, false, null],
        label,
      );
    },
  );
  published("lasting.json", { grant_types: ["authorization_code", "refresh_token"] });
  await stale(client);
  codeOf(await authorize(client, {}, by), "good again");
  // Down for a while: its users are not kept out. Taken down: they are. Switched off: it stays off, whatever its document says.
  documents.at["/lasting.json"] = (_, response) => response.writeHead(503).end();
  await stale(client);
  codeOf(await authorize(client, {}, by), "not now");
  delete documents.at["/lasting.json"];
  await stale(client);
  onOurPage(await authorize(client, {}, by), "client_id names no client metadata document", "taken down");
  await run("update oauth_client set disabled = 1 where client_id = ?", client.client_id);
  published("lasting.json", { grant_types: ["authorization_code", "refresh_token"], client_name: "Again" });
  for (let tries = 0; tries < 2; tries += 1) {
    onOurPage(await authorize(client, {}, by), "client_id is missing, or of no client of ours", "switched off");
    await stale(client);
  }
  assert.equal((await rowOf(client)).disabled, 1);
  refused(
    await token({ grant_type: "refresh_token", refresh_token: given.refresh_token }, { client }),
    [401, "invalid_client"],
    "its refresh token",
  );
  // A document at another tenant's host is the same client, and agreed to there anew.
  await run("update oauth_client set disabled = 0 where client_id = ?", client.client_id);
  assert.ok((await authorize(client, {}, { host: OTHER_HOST, browser: other.who.browser })).location.startsWith("/consent?"));
  rowCount += 7;
});

test("CORS: clients' endpoints answer scripts of any origin, without cookies, and no other endpoint does", async () => {
  const origin = "https://spa.example";
  const open = [
    ["POST", "/oauth2/token"],
    ["GET", "/oauth2/userinfo"],
    ["POST", "/oauth2/userinfo"],
    ["POST", "/oauth2/revoke"],
    ["POST", "/oauth2/introspect"],
    ["POST", "/oauth2/par"],
    ["POST", "/oauth2/device_authorization"],
    ["POST", "/oauth2/register"],
    ["GET", `/oauth2/register/${clients.front.client_id}`],
    ["PUT", `/oauth2/register/${clients.front.client_id}`],
    ["DELETE", `/oauth2/register/${clients.front.client_id}`],
    ["GET", "/.well-known/openid-configuration"],
    ["GET", "/.well-known/oauth-authorization-server"],
    ["GET", "/api/auth/jwks"],
  ];
  const closed = [
    ["GET", "/oauth2/authorize"],
    ["GET", "/oauth2/end_session"],
    ["GET", "/consent"],
    ["GET", "/login"],
    ["GET", "/device"],
    ["GET", "/api/auth/oauth2/get-clients"],
    ["POST", "/api/auth/oauth2/create-client"],
    ["POST", "/api/auth/admin/oauth2/create-client"],
    ["POST", "/api/auth/admin/oauth2/initial-access-token"],
    ["POST", "/api/auth/oauth2/update-client"],
    ["POST", "/api/auth/oauth2/client/rotate-secret"],
    ["GET", "/api/auth/get-session"],
    ["GET", "/api/auth/token"],
  ];
  const preflight = async (path, method, from = origin) =>
    checked(
      await worker.browser().send("OPTIONS", `${AUTH}${path}`, {
        headers: {
          origin: from,
          "access-control-request-method": method,
          "access-control-request-headers": "authorization,dpop,content-type",
        },
      }),
    );
  const cors = ({ headers }) => [headers["access-control-allow-origin"], headers["access-control-allow-credentials"]];
  await each(open, async (method, path) => {
    for (const from of [origin, "null", "http://localhost:5173", undefined]) {
      const answer = checked(
        await admin.browser.send(method, `${AUTH}${path}`, {
          headers: { ...(from && { origin: from }), ...(method !== "GET" && { "content-type": "application/x-www-form-urlencoded" }) },
          body: method === "GET" ? undefined : "",
        }),
      );
      assert.deepEqual(cors(answer), ["*", undefined], `${method} ${path} from ${from}: ${answer.status}`);
    }
    const before = await preflight(path, method);
    assert.deepEqual([before.status, ...cors(before)], [204, "*", undefined], path);
    assert.ok(
      before.headers["access-control-allow-methods"].split(", ").includes(method),
      `${path}: ${before.headers["access-control-allow-methods"]}`,
    );
    for (const name of ["authorization", "dpop", "content-type"])
      assert.ok(before.headers["access-control-allow-headers"].toLowerCase().includes(name), `${path}: ${name}`);
  });
  await each(closed, async (method, path) => {
    const answer = checked(
      await admin.browser.send(method, `${AUTH}${path}`, { headers: { origin }, body: method === "GET" ? undefined : {} }),
    );
    assert.deepEqual(cors(answer), [undefined, undefined], `${method} ${path}: ${answer.status}`);
    assert.deepEqual(cors(await preflight(path, method)), [undefined, undefined], path);
  });
  // What is open to scripts is not open by cookies: an administrator's browser on a hostile page does nothing there.
  refused(
    checked(await admin.browser.send("POST", `${AUTH}/oauth2/register`, { headers: { origin }, body: { redirect_uris: [REDIRECT] } })),
    [401, "invalid_token"],
  );
  assert.equal(checked(await admin.browser.send("GET", `${AUTH}/oauth2/userinfo`, { headers: { origin } })).status, 401);
  for (const path of ["/oauth2/tokens", "/oauth2/token/", "/OAUTH2/token", "/oauth2", "/oauth2/authorize/../token/x"])
    assert.notEqual(cors(await preflight(path, "POST"))[0], "*", path);
});

// What was wrong once

test("who withdraws consent withdraws what was exchanged too", async () => {
  const person = await signUp(worker);
  await agree(person, clients.asks, { scope: "openid email", resource: API });
  const from = (await tokens(clients.asks, { scope: "openid email", resource: API }, { browser: person.browser })).access_token;
  const made = (await good(exchange(from))).access_token;
  assert.equal(await isActive(made, clients.api), true);
  await withdraw(person, clients.asks);
  assert.equal(await isActive(from, clients.asks), false);
  assert.equal(await isActive(made, clients.api), false, "the exchanged one lives on");
});

test("what was exchanged from a client's token is worth nothing while that client is switched off, or once it is deleted", async () => {
  const from = (await tokens(clients.gone, { scope: "openid email", resource: API })).access_token;
  const made = (await good(exchange(from))).access_token;
  assert.equal(
    (await post(admin.browser, "/admin/oauth2/disable-client", { client_id: clients.gone.client_id, disabled: true })).status,
    200,
  );
  refused(await exchange(from), BAD, "the token of a client that is off");
  const off = await isActive(made, clients.api);
  assert.equal((await post(admin.browser, "/oauth2/delete-client", { client_id: clients.gone.client_id })).status, 200);
  assert.deepEqual([off, await isActive(made, clients.api)], [false, false], "switched off, deleted");
});

test("consent that was withdrawn takes the codes along that are on their way", async () => {
  const person = await signUp(worker);
  const code = await agree(person, clients.asks);
  await withdraw(person, clients.asks);
  refused(await token(redemption(code), { client: clients.asks }), [400, "invalid_grant"]);
});

test("a token that was given for whoever is away is good for less, too, once they have signed out", async () => {
  const person = await signUp(worker);
  const from = await tokens(clients.front, { scope: "openid email offline_access" }, { browser: person.browser });
  await post(person.browser, "/sign-out", {});
  const less = await good(
    token({ grant_type: "refresh_token", refresh_token: from.refresh_token, scope: "openid email" }, { client: clients.front }),
  );
  assert.equal(await isActive(less.access_token, clients.front), true, "200, and a token that is worth nothing");
});

test("an exchange gives no token that is worth nothing", async () => {
  const person = await signUp(worker);
  const from = await tokens(clients.front, { scope: "openid email offline_access", resource: API }, { browser: person.browser });
  await post(person.browser, "/sign-out", {});
  assert.equal(await isActive(from.access_token, clients.front), true, "given for whoever is away");
  const answer = await exchange(from.access_token);
  if (answer.status === 200)
    assert.equal(await isActive(answer.json.access_token, clients.api), true, "200, and a token that is worth nothing");
  else refused(answer, BAD);
});

test("a document's client is shown with its host, however long its name", async () => {
  const client = published("long.json", { client_name: `Your Bank${" ".repeat(100)}` });
  const asked = await authorize(client);
  const shown = await get(`${AUTH}${asked.location}`);
  assert.ok(/<strong>localhost: Your Bank<\/strong>/.test(shown.text), shown.text);
});

test("where documents are not believed, a client that was known by one gets no tokens", async () => {
  const small = await startWorker();
  try {
    const boss = await signUp(small, { roles: ["admin"] });
    const made = (
      await boss.browser.post(at("/admin/oauth2/create-client"), {
        token_endpoint_auth_method: "client_secret_basic",
        grant_types: ["client_credentials"],
      })
    ).json;
    await small.d1.prepare("update oauth_client set document_read_at = 1, tenant_id = null where client_id = ?").bind(made.client_id).run();
    const answer = await small.browser().send("POST", `${AUTH}/oauth2/token`, {
      headers: { ...basic(made), "content-type": "application/x-www-form-urlencoded" },
      body: "grant_type=client_credentials",
    });
    refused(answer, [401, "invalid_client"]);
  } finally {
    await small.dispose();
  }
});

test("who changes a client's name changes nothing else", async () => {
  const client = await created({ scope: "" });
  assert.equal((await rowOf(client)).scopes, "[]");
  await good(post(admin.browser, "/oauth2/update-client", { client_id: client.client_id, update: { client_name: "Renamed" } }));
  assert.equal((await rowOf(client)).scopes, "[]");
});

test("an access_token_format that is none is refused", async () => {
  for (const format of ["OPAQUE", "saml", ""])
    refused(
      await post(admin.browser, "/admin/oauth2/create-client", { redirect_uris: [REDIRECT], access_token_format: format }),
      [400, METADATA],
      format,
    );
});

test("a private or symmetric key is no client's to publish", async () => {
  for (const bad of [own.privateKey.export({ format: "jwk" }), { kty: "oct", k: "c2VjcmV0" }])
    refused(
      await post(admin.browser, "/admin/oauth2/create-client", { redirect_uris: [REDIRECT], jwks: { keys: [bad] } }),
      [400, METADATA],
      bad.kty,
    );
});

test("a JWT is answered whoever asks for one, in whatever words of Accept", async () => {
  for (const accept of [
    "application/token-introspection+jwt;q=1",
    "application/token-introspection+jwt; q=0.9, application/json; q=0.1",
    "Application/Token-Introspection+JWT",
  ]) {
    const answer = await form(`${AUTH}/oauth2/introspect`, { token: "x" }, { headers: { ...basic(clients.front), accept } });
    assert.equal(answer.headers["content-type"], "application/token-introspection+jwt", accept);
  }
});

test("a client that names another secret than its own changes nothing", async () => {
  const one = await registered();
  const answer = await json(
    "PUT",
    one.uri,
    { client_id: one.client_id, client_secret: "another", redirect_uris: [REDIRECT] },
    bearer(one.token),
  );
  assert.equal(answer.status, 400, answer.text);
});

test("what opens something is nowhere in the clear, and the tables were asked in full", async (t) => {
  t.diagnostic(`${rowCount} rows`);
  assert.ok(rowCount > 500, `${rowCount} rows`);
  const logs = worker.logs();
  for (const secret of secrets) assert.ok(!logs.includes(secret), "the log holds a secret");
  for (const { name } of await worker.rows(
    "select name from sqlite_master where type = 'table' and name not like 'sqlite_%' and name not like '_cf_%'",
  )) {
    const dump = JSON.stringify(await worker.rows(`select * from "${name}"`));
    for (const secret of secrets) assert.ok(!dump.includes(secret), `${name} holds a secret`);
  }
});

test("whoever is vouched for by nobody has tokens made out to resources that there are, and that their user agreed to", async () => {
  const stranger = published("stranger.json");
  const person = await signUp(worker);
  const by = { browser: person.browser };
  // No administrator knows it: it is made up, or another deployment's.
  const unknown = await authorize(stranger, { resource: "https://victim.example" }, by);
  assert.equal(new URL(unknown.location).searchParams.get("error"), "invalid_target");
  const known = await authorize(stranger, { resource: API }, by);
  assert.ok(known.location.startsWith("/consent?"), known.location);
  const page = await get(`${AUTH}${known.location}`, by);
  assert.ok(page.text.includes(`Use ${API} in your name`), page.text);
  // Agreed to without it, they are asked again for it.
  const [, request_uri] = (await get(`${AUTH}${(await authorize(stranger, {}, by)).location}`, by)).text.match(
    /name="request_uri" value="([^"]+)"/,
  );
  assert.ok(
    (await person.browser.submit(`${AUTH}/consent`, { client_id: stranger.client_id, request_uri, decision: "allow" })).location.includes(
      "code=",
    ),
  );
  const silent = await authorize(stranger, { resource: API, prompt: "none" }, by);
  assert.equal(new URL(silent.location).searchParams.get("error"), "consent_required");
  codeOf(await authorize(stranger, { prompt: "none" }, by));
  // Without a user nobody has agreed to anything.
  const made = await post(person.browser, "/oauth2/create-client", {
    client_name: "Mine",
    redirect_uris: [],
    grant_types: ["client_credentials"],
  });
  assert.equal(made.status, 201, made.text);
  refused(await token({ grant_type: "client_credentials", resource: API }, { client: made.json }), [400, "invalid_target"]);
  await good(token({ grant_type: "client_credentials" }, { client: made.json }));
});

test("a document's client is the default tenant's administrators' to switch off, and no other tenant's", async () => {
  const client = published("unwanted.json");
  await authorize(client);
  const foreign = await other.admin.browser.post(`${OTHER_HOST}/api/auth/admin/oauth2/disable-client`, { client_id: client.client_id });
  assert.deepEqual([foreign.status, foreign.json.code], [404, "CLIENT_NOT_FOUND"]);
  assert.ok(
    (await get(`${AUTH}/api/auth/oauth2/get-clients`, { browser: admin.browser })).json.some(
      ({ client_id }) => client_id === client.client_id,
    ),
  );
  await good(post(admin.browser, "/admin/oauth2/disable-client", { client_id: client.client_id }));
  onOurPage(await authorize(client), "client_id is missing, or of no client of ours");
  assert.equal((await post(who.browser, "/oauth2/delete-client", { client_id: client.client_id })).status, 404);
});

test("a resource ends what it got for another client's token, and not that client's own", async () => {
  const from = (await tokens(clients.front, { scope: "openid email offline_access", resource: API })).access_token;
  const made = (await good(exchange(from))).access_token;
  assert.equal((await form(`${AUTH}/oauth2/revoke`, { token: made }, { headers: basic(clients.api) })).status, 200);
  assert.deepEqual([await isActive(made, clients.api), await isActive(from, clients.front)], [false, true]);
});

test("consent that is taken back from a resource's client leaves what other clients have", async () => {
  const person = await signUp(worker);
  const by = { browser: person.browser };
  const both = await created({
    redirect_uris: [REDIRECT],
    grant_types: ["authorization_code", EXCHANGE],
    resource: "https://both.example",
    scope: "openid email",
  });
  await agree(person, both);
  const from = await tokens(clients.front, { scope: "openid email offline_access", resource: "https://both.example" }, by);
  const made = (await good(exchange(from.access_token, {}, both))).access_token;
  await withdraw(person, both);
  assert.deepEqual([await isActive(made, both), await isActive(from.access_token, clients.front)], [false, true]);
  await good(token({ grant_type: "refresh_token", refresh_token: from.refresh_token }, { client: clients.front }));
});

test("what was exchanged along a chain ends with each client of it", async () => {
  const middle = await created({
    redirect_uris: [],
    grant_types: [EXCHANGE],
    resource: "https://middle.example",
    resources: [BACKEND],
    scope: "openid email",
  });
  for (const path of ["/admin/oauth2/disable-client", "/oauth2/delete-client"]) {
    const from = (await tokens(clients.front, { resource: "https://middle.example" })).access_token;
    const second = (await good(exchange(from, { resource: BACKEND }, middle))).access_token;
    const third = (await good(exchange(second, {}, clients.backend))).access_token;
    assert.equal(await isActive(third, clients.backend), true);
    await good(post(admin.browser, path, { client_id: middle.client_id }));
    assert.deepEqual([await isActive(third, clients.backend), await isActive(from, clients.front)], [false, true], path);
    await post(admin.browser, "/admin/oauth2/disable-client", { client_id: middle.client_id, disabled: false });
  }
});

test("what is bound to a certificate stays bound when it is exchanged", async () => {
  const shown = (digit) => ({
    "mf-cf-blob": JSON.stringify({
      tlsClientAuth: {
        certPresented: "1",
        certVerified: "SUCCESS",
        certRevoked: "0",
        certSubjectDNRFC2253: "CN=x",
        certFingerprintSHA256: digit.repeat(64),
      },
    }),
  });
  const bound = await created({ skip_consent: true, scope: "openid email", tls_client_certificate_bound_access_tokens: true });
  const given = (await good(token(redemption(codeOf(await authorize(bound, { resource: API }))), { client: bound, headers: shown("a") })))
    .access_token;
  assert.ok(decodeJwt(given).cnf["x5t#S256"]);
  refused(await exchange(given), [400, "invalid_dpop_proof"]);
  const careful = await created({
    redirect_uris: [],
    grant_types: [EXCHANGE],
    resource: API,
    scope: "openid email",
    tls_client_certificate_bound_access_tokens: true,
  });
  const made = await good(token(exchanging(given), { client: careful, headers: shown("b") }));
  assert.notEqual(decodeJwt(made.access_token).cnf["x5t#S256"], decodeJwt(given).cnf["x5t#S256"]);
});

test("a user's own client is good for as long as they are", async () => {
  for (const end of [
    (person) => post(person.browser, "/delete-user", { password: PASSWORD }),
    (person) => run("update user set status = 'suspended' where id = ?", person.id),
    (person) => run("delete from user where id = ?", person.id),
  ]) {
    const person = await signUp(worker);
    const own = await created({ grant_types: ["authorization_code", "client_credentials"] }, { by: person, path: "/oauth2/create-client" });
    await good(token({ grant_type: "client_credentials" }, { client: own }));
    await end(person);
    refused(await token({ grant_type: "client_credentials" }, { client: own }), [401, "invalid_client"]);
    onOurPage(await authorize(own), "client_id is missing, or of no client of ours");
  }
});

test("pairwise names of users and sessions are one client's, and follow from nothing that another knows", async () => {
  const pair = (host) => created({ skip_consent: true, subject_type: "pairwise", redirect_uris: [`https://${host}/cb`] });
  const [one, two, public_] = [await pair("one.example"), await pair("two.example"), await created({ skip_consent: true })];
  const said = async (client, uri) =>
    decodeJwt(
      (await good(token(redemption(codeOf(await authorize(client, { redirect_uri: uri })), { redirect_uri: uri }), { client }))).id_token,
    );
  const [a, b, c] = [await said(one, "https://one.example/cb"), await said(two, "https://two.example/cb"), await said(public_, REDIRECT)];
  assert.equal(new Set([a.sub, b.sub, c.sub]).size, 3);
  assert.equal(new Set([a.sid, b.sid, c.sid]).size, 3);
  assert.deepEqual([(await said(one, "https://one.example/cb")).sub, (await said(one, "https://one.example/cb")).sid], [a.sub, a.sid]);
  for (const [kind, name] of [
    ["pairwise", a.sub],
    ["subject", a.sub],
  ])
    assert.notEqual(name, digest(`${kind}\0one.example\0${c.sub}`), "without the salt");
  for (const redirect_uris of [["https://one.example/cb", "https://evil.example/cb"], []]) {
    noClient(
      await post(admin.browser, "/admin/oauth2/create-client", {
        redirect_uris,
        subject_type: "pairwise",
        ...(redirect_uris.length === 0 && { grant_types: ["client_credentials"] }),
      }),
    );
  }
});
const noClient = (answer) => assert.deepEqual([answer.status, answer.json.error], [400, METADATA], answer.text);

test("no access token of a client's is a JWT of our own front-ends'", async () => {
  const keys = createLocalJWKSet((await worker.browser().get(`${AUTH}/api/auth/jwks`)).json);
  const ours = (await get(at("/token"), { headers: {} })).json.token;
  assert.equal((await jwtVerify(ours, keys, { issuer: AUTH, audience: AUTH })).payload.sub, who.id);
  const { access_token } = await tokens(clients.front);
  await assert.rejects(jwtVerify(access_token, keys, { issuer: AUTH, audience: AUTH }), /aud/);
  assert.equal(
    (await jwtVerify(access_token, keys, { issuer: AUTH, audience: `${AUTH}/oauth2/userinfo`, typ: "at+jwt" })).payload.sub,
    who.id,
  );
});

test("a tenant that is suspended serves its clients nothing", async () => {
  const small = await startWorker();
  try {
    const by = await signUp(small, { roles: ["admin"] });
    const made = await by.browser.post(at("/admin/oauth2/create-client"), {
      redirect_uris: [],
      grant_types: ["client_credentials", "urn:ietf:params:oauth:grant-type:device_code"],
      scope: "x openid",
    });
    const client = made.json;
    const ask = (path, fields) =>
      small.browser().send("POST", `${AUTH}${path}`, {
        headers: { "content-type": "application/x-www-form-urlencoded", ...basic(client) },
        body: new URLSearchParams(fields).toString(),
      });
    const { access_token } = (await ask("/oauth2/token", { grant_type: "client_credentials" })).json;
    assert.equal((await ask("/oauth2/introspect", { token: access_token })).json.active, true);
    await small.d1.prepare("update tenant set status = 'suspended' where slug = 'default'").run();
    for (const [path, fields] of [
      ["/oauth2/token", { grant_type: "client_credentials" }],
      ["/oauth2/par", { response_type: "code" }],
      ["/oauth2/device_authorization", {}],
      ["/oauth2/introspect", { token: access_token }],
      ["/oauth2/revoke", { token: access_token }],
    ]) {
      const { status, json: said, text } = await ask(path, fields);
      assert.deepEqual([status, said.error], [400, "access_denied"], `${path}: ${text}`);
    }
    assert.equal((await small.browser().post(`${AUTH}/oauth2/register`, { redirect_uris: [REDIRECT] })).status, 403);
    assert.equal(
      (await small.browser().get(`${AUTH}/oauth2/userinfo`, { headers: { authorization: `Bearer ${access_token}` } })).status,
      401,
    );
  } finally {
    await small.dispose();
  }
});

test("who agrees is whoever signed in as the client wanted", async () => {
  const person = await signUp(worker);
  const client = await created();
  const asked = await authorize(client, {}, { browser: person.browser });
  const fields = {
    client_id: client.client_id,
    request_uri: new URL(asked.location, AUTH).searchParams.get("request_uri"),
    decision: "allow",
  };
  // The same person, by another sign-in: it may be less than was asked for.
  const elsewhere = worker.browser();
  assert.equal((await elsewhere.post(at("/sign-in/email"), { email: person.email, password: PASSWORD })).status, 200);
  const answer = await elsewhere.submit(`${AUTH}/consent`, fields);
  assert.deepEqual([answer.status, answer.location], [403, undefined], answer.text.slice(0, 300));
  assert.ok((await person.browser.submit(`${AUTH}/consent`, fields)).location.includes("code="));
});

test("what somebody allows a device they see, and take back", async () => {
  const person = await signUp(worker);
  const client = await created({
    redirect_uris: [],
    grant_types: ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"],
    scope: "openid offline_access",
  });
  const begun = await good(form(`${AUTH}/oauth2/device_authorization`, { scope: "openid offline_access" }, { headers: basic(client) }));
  assert.equal((await person.browser.submit(`${AUTH}/device`, { user_code: begun.user_code, decision: "allow" })).status, 200);
  const got = await good(token({ grant_type: "urn:ietf:params:oauth:grant-type:device_code", device_code: begun.device_code }, { client }));
  await withdraw(person, client);
  assert.equal(await isActive(got.access_token, client), false);
  refused(await token({ grant_type: "refresh_token", refresh_token: got.refresh_token }, { client }), [400, "invalid_grant"]);
});
