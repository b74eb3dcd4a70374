// What hostile clients, browsers and websites send to us as a provider, and the exact answer to each: no code, no token, no redirect.

import assert from "node:assert/strict";
import { createHash, createHmac, generateKeyPairSync, randomBytes, randomUUID, sign } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import { after, before, test } from "node:test";
import { PAGE, seedDomain, seedTenant, signUp } from "../harness/seed.mjs";
import { AUTH, SPA, startWorker } from "../harness/worker.mjs";

const REDIRECT = "https://app.example/cb";
const OTHER_HOST = "http://other.localhost";
const URN = "urn:ietf:params:oauth:request_uri:";
const JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const OFFLINE = "openid email offline_access";
const STATE = "s&t=a te#ü%2F<\"'>";

const digest = (text) => createHash("sha256").update(text).digest("base64url");
const random = () => randomBytes(32).toString("base64url");
const VERIFIER = random();
const CHALLENGE = digest(VERIFIER);
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
const keyPair = generateKeyPairSync("ec", { namedCurve: "P-256" });
const stranger = generateKeyPairSync("ec", { namedCurve: "P-256" });
const jwk = { ...keyPair.publicKey.export({ format: "jwk" }), kid: "mine", alg: "ES256", use: "sig" };

let worker, admin, who, trap, clients, otherTenant;

/** Whatever opens something: it is in no error, in no row and in no line of the log. */
const secrets = new Set();
const keep = (secret) => (secrets.add(secret), secret);

/** A server that must never be asked. */
async function startTrap() {
  const requests = [];
  const server = http
    .createServer((request, response) => {
      requests.push(`${request.method} ${request.url}`);
      response
        .writeHead(200, { "content-type": "application/json" })
        .end(JSON.stringify({ keys: [{ ...stranger.publicKey.export({ format: "jwk" }), kid: "mine" }] }));
    })
    .listen(0, "127.0.0.1");
  await once(server, "listening");
  return { url: `http://localhost:${server.address().port}`, requests, stop: () => (server.closeAllConnections(), server.close()) };
}

/** What holds for every answer. */
function checked(answer, label = "") {
  const said = `${label}: ${answer.status} ${answer.location ?? ""} ${answer.text.slice(0, 300)}`;
  assert.ok(answer.status < 500, said);
  const location = answer.location ?? "";
  const given = [/[?&#]code=([\w-]+)/.exec(location)?.[1], /name="code" value="([^"]+)"/.exec(answer.text)?.[1]];
  if (answer.headers["content-type"] === "application/json" && answer.text.startsWith("{"))
    given.push(answer.json.access_token, answer.json.refresh_token, answer.json.id_token, answer.json.client_secret);
  const is_error = answer.status >= 400 || /[?&#]error=/.test(location);
  if (is_error) {
    assert.deepEqual(given.filter(Boolean), [], `an error gives something: ${said}`);
    for (const secret of secrets)
      assert.ok(!answer.text.includes(secret) && !location.includes(secret), `an error tells a secret: ${said}`);
  }
  if (given.some(Boolean) || is_error) assert.match(answer.headers["cache-control"] ?? "", /no-store/, said);
  for (const secret of given.filter(Boolean)) keep(secret);
  return answer;
}

async function get(url, { browser = who.browser, headers = PAGE, label } = {}) {
  return checked(await browser.get(url, { headers }), label);
}

/** A form as a client posts it; a text goes as it is. */
async function form(url, fields, { browser = worker.browser(), headers = {}, label } = {}) {
  const body =
    typeof fields === "string" ? fields : new URLSearchParams(Object.entries(fields).filter(([, value]) => value !== undefined)).toString();
  return checked(
    await browser.send("POST", url, { headers: { "content-type": "application/x-www-form-urlencoded", ...headers }, body }),
    label ?? url,
  );
}

async function register(metadata = {}, by = admin) {
  const made = checked(
    await by.browser.post(`${AUTH}/api/auth/admin/oauth2/create-client`, {
      client_name: "The app",
      redirect_uris: [REDIRECT],
      grant_types: ["authorization_code", "refresh_token"],
      ...metadata,
    }),
  );
  assert.equal(made.status, 201, made.text);
  return made.json;
}

const parametersOf = (client, more = {}) => ({
  client_id: client.client_id,
  response_type: "code",
  redirect_uri: REDIRECT,
  scope: "openid email",
  state: STATE,
  nonce: "n",
  code_challenge: CHALLENGE,
  code_challenge_method: "S256",
  ...more,
});
const query = (parameters) => new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== undefined)).toString();
const authorizeUrl = (client, more, host = AUTH) => `${host}/oauth2/authorize?${query(parametersOf(client, more))}`;
const authorize = (client, more, options) => get(authorizeUrl(client, more), options);
const codeOf = ({ location }) => new URL(location, AUTH).searchParams.get("code");

async function code(client = clients.app, more = {}, browser = who.browser) {
  const answer = await authorize(client, { scope: OFFLINE, ...more }, { browser });
  assert.equal(answer.status, 302, answer.text);
  assert.ok(codeOf(answer), answer.location);
  return codeOf(answer);
}

const token = (fields, { client = clients?.app, headers = basic(client), host = AUTH, ...options } = {}) =>
  form(`${host}/oauth2/token`, fields, { headers, ...options });
const redemption = (given, more = {}) => ({
  grant_type: "authorization_code",
  code: given,
  redirect_uri: REDIRECT,
  code_verifier: VERIFIER,
  ...more,
});
const refreshing = (given, more = {}) => ({ grant_type: "refresh_token", refresh_token: given, ...more });

async function tokens(client = clients.app, more = {}, browser = who.browser) {
  const answer = await token(redemption(await code(client, more, browser)), { client });
  assert.equal(answer.status, 200, answer.text);
  return answer.json;
}

/** An error of OAuth's endpoints, exactly. */
function refused(answer, [status, error], label = "") {
  assert.deepEqual([answer.status, answer.json.error], [status, error], `${label}: ${answer.text}`);
  assert.deepEqual(Object.keys(answer.json).sort(), ["error", "error_description"], label);
  assert.equal(answer.headers["content-type"], "application/json", label);
  if (status === 401)
    assert.match(
      answer.headers["www-authenticate"] ?? "",
      error === "invalid_client" ? /^Basic / : /^(Bearer|DPoP)(, DPoP$| error="invalid_token")/,
      label,
    );
}

/** An error on a page of ours: nobody is sent anywhere. */
function onOurPage(answer, text, label = "", status = 400) {
  assert.deepEqual([answer.status, answer.location], [status, undefined], `${label}: ${answer.text.slice(0, 300)}`);
  assert.match(answer.headers["content-type"], /^text\/html/, label);
  if (text) assert.ok(answer.text.includes(text), `${label}: ${answer.text}`);
  assert.ok(!/http-equiv="?refresh/i.test(answer.text), label);
}

/** An error that the client is told at its own URI, with `state` and `iss`. */
function toldTheClient(answer, error, { state = STATE, uri = REDIRECT, label = "" } = {}) {
  assert.equal(answer.status, 302, `${label}: ${answer.text.slice(0, 300)}`);
  const url = new URL(answer.location);
  assert.equal(`${url.origin}${url.pathname}`, uri, label);
  assert.equal(url.hash, "", label);
  // Null: none was sent, and none comes back.
  const { error_description: description, ...told } = Object.fromEntries(url.searchParams);
  assert.deepEqual(told, { error, ...(state !== null && { state }), iss: AUTH }, label);
  assert.match(description, /^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/, label);
  assert.equal([...url.searchParams].length, new Set([...url.searchParams.keys()]).size, `${label}: a parameter stands there twice`);
}

/** Another method than the endpoint is asked by (RFC 9110, section 15.5.6). */
function notThere(answer, label) {
  assert.equal(answer.status, 405, label);
  assert.ok(answer.headers.allow, label);
}

const active = async (given, client = clients.app, host = AUTH) =>
  (await form(`${host}/oauth2/introspect`, { token: given }, { headers: basic(client) })).json.active;

before(async () => {
  trap = await startTrap();
  worker = await startWorker({
    settings: { SIGN_IN_WITH: "password,anonymous", SESSION_COOKIE_CACHE_SECONDS: "0", SESSION_RECHECK_SECONDS: "0" },
  });
  admin = await signUp(worker, { roles: ["admin"] });
  who = await signUp(worker);
  otherTenant = await seedTenant(worker, { slug: "other" });
  await seedDomain(worker, otherTenant, "other.localhost");
  const named = {
    app: { skip_consent: true, token_endpoint_auth_method: "client_secret_basic" },
    second: { skip_consent: true },
    asks: {},
    post: { skip_consent: true, token_endpoint_auth_method: "client_secret_post" },
    pub: { skip_consent: true, token_endpoint_auth_method: "none" },
    jwt: {
      skip_consent: true,
      token_endpoint_auth_method: "private_key_jwt",
      jwks: { keys: [jwk] },
      grant_types: ["authorization_code", "refresh_token", "client_credentials"],
      scope: "openid offline_access reports:read",
    },
    service: { redirect_uris: [], grant_types: ["client_credentials"], scope: "openid email reports:read" },
    // By it an administrator says which resources there are.
    knower: {
      resources: [
        "https://api.example",
        "https://api.example/admin",
        "https://other.example",
        "https://one.example",
        "https://two.example",
        "https://a.example",
      ],
    },
    codeless: { skip_consent: true, grant_types: ["client_credentials"], scope: "openid email" },
    limited: { skip_consent: true, grant_types: ["authorization_code"], scope: "openid email" },
    disabled: { skip_consent: true },
    foreign: { skip_consent: true },
    global: { skip_consent: true },
    several: { skip_consent: true, redirect_uris: [REDIRECT, "https://app.example/cb?tenant=1"] },
    native: { skip_consent: true, application_type: "native", redirect_uris: ["http://127.0.0.1/cb", "com.example.app:/cb"] },
  };
  clients = Object.fromEntries(await Promise.all(Object.entries(named).map(async ([name, metadata]) => [name, await register(metadata)])));
  await run("update oauth_client set disabled = 1 where client_id = ?", clients.disabled.client_id);
  await run("update oauth_client set tenant_id = ? where client_id = ?", otherTenant, clients.foreign.client_id);
  await run("update oauth_client set tenant_id = null where client_id = ?", clients.global.client_id);
  keep(VERIFIER);
});
after(async () => {
  await worker?.dispose();
  trap?.stop();
});

test("/oauth2/authorize: a client or a redirect URI that is not known is told of on our own page", async () => {
  assert.ok(codeOf(await authorize(clients.app)), "the good request, of which all below are made");
  const unknown = "client_id is missing, or of no client of ours";
  const unregistered = "redirect_uri is not registered for this client";
  const rows = [
    ["no client_id", { client_id: undefined }, unknown],
    ["an empty client_id", { client_id: "" }, unknown],
    ["an unknown client", { client_id: randomUUID() }, unknown],
    ["a disabled client", { client_id: clients.disabled.client_id }, unknown],
    ["another tenant's client", { client_id: clients.foreign.client_id }, unknown],
    ["a client_id in capitals", { client_id: clients.app.client_id.toUpperCase().replace(/^([^A-F]*)$/, "X$1") }, unknown],
    ["SQL as a client_id", { client_id: "' or 1=1 --" }, unknown],
    ["a pattern as a client_id", { client_id: "%" }, unknown],
    ["no redirect_uri", { redirect_uri: undefined }, "redirect_uri is missing"],
    ["an empty redirect_uri", { redirect_uri: "" }, "redirect_uri is missing"],
    ...[
      "https://app.example/CB",
      "https://APP.example/cb",
      "HTTPS://app.example/cb",
      "https://app.example/cb/",
      "https://app.example/cb//",
      "https://app.example/",
      "https://app.example",
      "https://app.example:443/cb",
      "https://app.example:8443/cb",
      "http://app.example/cb",
      "https://app.example./cb",
      "https://user@app.example/cb",
      "https://app.example@evil.example/cb",
      "https://app.example%40evil.example/cb",
      "https://evil.example/cb",
      "https://evil.example/https://app.example/cb",
      "https://app.example.evil.example/cb",
      "https://sub.app.example/cb",
      "https://evilapp.example/cb",
      "https://app.example/x/../cb",
      "https://app.example/cb/..",
      "https://app.example/cb/../cb",
      "https://app.example/./cb",
      "https://app.example/cb%2f..",
      "https://app.example/%63b",
      "https%3A%2F%2Fapp.example%2Fcb",
      "https://app.example/cb?next=https://evil.example",
      "https://app.example/cb?",
      "https://app.example/cb#",
      "https://app.example/cb#f",
      "https://app.example/cb;x",
      "https://app.example\\cb",
      "https:/app.example/cb",
      "https:app.example/cb",
      "//app.example/cb",
      "/cb",
      "cb",
      "javascript:alert(1)",
      "javascript://app.example/cb%0aalert(1)",
      "data:text/html,<script>alert(1)</script>",
      "vbscript:x",
      "file:///etc/passwd",
      "about:blank",
      "urn:ietf:wg:oauth:2.0:oob",
      " https://app.example/cb",
      "https://app.example/cb ",
      "https://app.example/cb\r\nlocation: https://evil.example",
      "https://app.example/cb\0",
      "https://app.example/cb\t",
      "https://аpp.example/cb",
      "*",
      "https://app.example/*",
      "null",
      `${AUTH}/account`,
    ].map((uri) => [uri, { redirect_uri: uri }, unregistered]),
    ["another client's redirect_uri", { redirect_uri: "com.example.app:/cb" }, unregistered],
    ["a query that only a client beside it has", { redirect_uri: "https://app.example/cb?tenant=1" }, unregistered],
  ];
  for (const [label, more, text] of rows) onOurPage(await authorize(clients.app, more, { label }), text, label);
  for (const uri of [
    "http://127.0.0.1:1/x/../cb",
    "http://127.0.0.2:1/cb",
    "http://localhost:1/cb",
    "https://127.0.0.1:1/cb",
    "http://127.0.0.1:1/cb/",
    "http://127.0.0.1:1@evil.example/cb",
    "http://127.0.0.1.evil.example/cb",
    "http://0x7f.1:1/cb",
    "http://2130706433:1/cb",
    "http://127.1:1/cb",
    "com.example.app:/cb2",
    "com.example.app://evil/cb",
    "COM.EXAMPLE.APP:/cb",
    "http://[::1]:1/cb",
  ]) {
    onOurPage(await authorize(clients.native, { redirect_uri: uri }, { label: uri }), unregistered, uri);
  }
  assert.ok(
    (await authorize(clients.native, { redirect_uri: "http://127.0.0.1:49152/cb" })).location.startsWith("http://127.0.0.1:49152/cb?code="),
  );
  onOurPage(await authorize(clients.several, { redirect_uri: undefined, scope: "email" }), "redirect_uri is missing", "one of several");
  const appended = new URL((await authorize(clients.several, { redirect_uri: "https://app.example/cb?tenant=1" })).location);
  assert.deepEqual([...appended.searchParams.keys()], ["tenant", "code", "state", "iss"]);
});

test("/oauth2/authorize: a parameter that stands there twice is one too many", async () => {
  for (const name of [
    "client_id",
    "redirect_uri",
    "response_type",
    "response_mode",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "prompt",
    "max_age",
    "login_hint",
    "request",
    "request_uri",
    "unknown",
  ]) {
    const good = query(parametersOf(clients.app));
    const value = parametersOf(clients.app)[name] ?? "1";
    for (const [label, raw] of [
      ["the same twice", `${good}&${query({ [name]: value })}${good.includes(`${name}=`) ? "" : `&${query({ [name]: value })}`}`],
      ["first another", `${name}=evil&${good}${good.includes(`${name}=`) ? "" : `&${name}=1`}`],
      [
        "by an escaped name",
        `${good}&%${name.charCodeAt(0).toString(16)}${name.slice(1)}=evil${good.includes(`${name}=`) ? "" : `&${name}=1`}`,
      ],
      ["an empty one", `${name}=&${good}${good.includes(`${name}=`) ? "" : `&${name}=1`}`],
    ])
      onOurPage(
        await get(`${AUTH}/oauth2/authorize?${raw}`, { label: `${name} ${label}` }),
        "a parameter stands there twice, or is too long",
        `${name} ${label}`,
      );
  }
});

test("/oauth2/authorize: what else is wrong, the client is told at its own URI, with state and iss", async () => {
  const long = "x".repeat(2049),
    longer = "x".repeat(4097);
  const rows = [
    ["no response_type", { response_type: undefined }, "invalid_request"],
    ...["token", "id_token", "code token", "code id_token", "none", "CODE", "code ", " code"].map((type) => [
      `response_type ${type}`,
      { response_type: type },
      "unsupported_response_type",
    ]),
    ["no challenge", { code_challenge: undefined, code_challenge_method: undefined }, "invalid_request"],
    ["a method alone", { code_challenge: undefined }, "invalid_request"],
    ["a challenge alone, which is plain", { code_challenge_method: undefined }, "invalid_request"],
    ["an empty challenge", { code_challenge: "" }, "invalid_request"],
    ...["plain", "s256", "S512", "none"].map((method) => [`method ${method}`, { code_challenge_method: method }, "invalid_request"]),
    ["a challenge that is too short", { code_challenge: CHALLENGE.slice(1) }, "invalid_request"],
    ["a challenge that is too long", { code_challenge: `${CHALLENGE}a` }, "invalid_request"],
    ["a padded challenge", { code_challenge: `${CHALLENGE}=` }, "invalid_request"],
    ["a challenge in base64", { code_challenge: `+/${CHALLENGE.slice(2)}` }, "invalid_request"],
    ["a challenge in hexadecimal", { code_challenge: createHash("sha256").update(VERIFIER).digest("hex") }, "invalid_request"],
    ...["none login", "login none", "none consent", "none select_account", "none none", "unknown", "NONE", "login unknown"].map(
      (prompt) => [`prompt ${prompt}`, { prompt }, "invalid_request"],
    ),
    ...["-1", "soon", "1.5", "1e3", "0x10", " 60", "99999999999999999999", "9223372036854775807", "315360001"].map((age) => [
      `max_age ${age}`,
      { max_age: age },
      "invalid_request",
    ]),
    ["a registration", { registration: "{}" }, "registration_not_supported"],
    ["a nonce that is too long", { nonce: long }, "invalid_request"],
    ...["openid email\u00a0x", 'openid "email"', "openid\\", "openid\temail"].map((scope) => [
      `scope ${scope}`,
      { scope },
      "invalid_scope",
    ]),
    ...["not-a-uri", "/relative", "https://api.example/#fragment", "https://", "", `https://api.example/${long}`]
      .filter(Boolean)
      .map((resource) => [`resource ${resource}`, { resource }, "invalid_target"]),
    ...["JWT", "jwt.query", "QUERY", "web_message", "fragment "].map((mode) => [
      `response_mode ${mode}`,
      { response_mode: mode },
      "invalid_request",
    ]),
  ];
  for (const [label, more, error] of rows) toldTheClient(await authorize(clients.app, more, { label }), error, { label });
  toldTheClient(await authorize(clients.app, { prompt: "whatever", state: undefined }), "invalid_request", {
    state: null,
    label: "without state",
  });
  toldTheClient(await authorize(clients.app, { state: longer }), "invalid_request", { state: longer, label: "a state that is too long" });
  onOurPage(
    await authorize(clients.app, { state: "x".repeat(16 * 1024 + 1) }),
    "a parameter stands there twice, or is too long",
    "a state of 16 KiB",
  );
  toldTheClient(await authorize(clients.codeless), "unauthorized_client", { label: "a client without this grant" });
  toldTheClient(await authorize(clients.limited, { scope: "openid phone" }), "invalid_scope", {
    label: "a scope that is not this client's",
  });
  toldTheClient(await get(`${authorizeUrl(clients.app)}&resource=https%3A%2F%2Fa.example&resource=bad`), "invalid_target", {
    label: "one of two resources",
  });
  const inFragment = new URL((await authorize(clients.app, { response_mode: "fragment", prompt: "none login" })).location);
  assert.deepEqual(
    [
      inFragment.search,
      new URLSearchParams(inFragment.hash.slice(1)).get("error"),
      new URLSearchParams(inFragment.hash.slice(1)).get("state"),
    ],
    ["", "invalid_request", STATE],
  );
  const posted = await authorize(clients.app, { response_mode: "form_post", prompt: "none login" });
  assert.deepEqual([posted.status, posted.location], [200, undefined]);
  assert.ok(posted.text.includes('name="error" value="invalid_request"') && posted.text.includes(`action="${REDIRECT}"`));
  const hostile = await authorize(clients.app, { response_mode: "form_post", state: '"><script>alert(1)</script>' });
  assert.ok(!hostile.text.includes("<script>alert"), "the state is markup");
});

test("/oauth2/authorize: methods and bodies", async () => {
  const good = query(parametersOf(clients.app));
  const url = `${AUTH}/oauth2/authorize`;
  const json = checked(await worker.browser().send("POST", url, { body: { client_id: clients.app.client_id } }));
  assert.equal(json.status, 415);
  const forwarded = await form(url, good, { headers: { origin: "https://evil.example" } });
  assert.deepEqual([forwarded.status, forwarded.location], [303, `/oauth2/authorize?${good}`]);
  onOurPage(await form(url, `${good}&state=2`), "a parameter stands there twice, or is too long");
  for (const [label, body] of [
    ["a line's end", `${good}&x=\r\nset-cookie: a=b`],
    ["UTF-8 as it is", `${good}&x=ü☃`],
    ["a NUL", `${good}&x=\0`],
    ["a fragment", `${good}&x=#y`],
    ["a broken escape", `${good}&x=%zz%`],
  ]) {
    const answer = await form(url, body, { label });
    assert.ok([303, 400].includes(answer.status), `${label}: ${answer.status} ${answer.text}`);
    assert.deepEqual([answer.cookies, answer.headers.a], [[], undefined], label);
    if (answer.location) assert.ok(answer.location.startsWith("/oauth2/authorize?"), label);
  }
  assert.equal((await form(url, Buffer.from([0x61, 0x3d, 0xff]).toString("latin1"))).status < 500, true);
  assert.equal((await form(url, `x=${"y".repeat(70_000)}`)).status, 413);
  for (const method of ["PUT", "DELETE", "PATCH"]) notThere(checked(await worker.browser().send(method, url)), method);
  for (const path of ["/oauth2/authorize/", "/OAUTH2/authorize", "/oauth2//authorize"])
    assert.equal((await get(`${AUTH}${path}?${good}`)).status, 404, path);
});

/** Sends the browser to where it is asked to agree. */
async function asked(person = who, more = {}, client = clients.asks) {
  const answer = await authorize(client, more, { browser: person.browser });
  assert.equal(answer.status, 302, answer.text);
  assert.ok(answer.location.startsWith("/consent?"), answer.location);
  const requestUri = new URL(answer.location, AUTH).searchParams.get("request_uri");
  keep(requestUri.slice(URN.length));
  return { page: `${AUTH}${answer.location}`, fields: { client_id: client.client_id, request_uri: requestUri, decision: "allow" } };
}

const consent = async (browser, fields, headers = {}) =>
  checked(await browser.submit(`${AUTH}/consent`, fields, { headers }), JSON.stringify(fields));

test("/oauth2/authorize: request_uri is one of ours, of this client, once and in time, and never fetched", async () => {
  const { fields } = await asked();
  const token = fields.request_uri.slice(URN.length);
  const old = "request_uri is unknown, used or too old";
  const foreign = (uri) => (uri.startsWith(URN) ? "request_uri is not one of ours" : "request_uri is for pushed requests");
  for (const uri of [
    trap.url,
    `${trap.url}/request.jwt#x`,
    "http://127.0.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "https://evil.example/r",
    "file:///etc/passwd",
    "data:,x",
    "javascript:alert(1)",
    "//evil.example",
    token,
    `${URN}`,
    `${URN}short`,
    `${URN}${token}x`,
    `${URN}${token.slice(1)}`,
    `urn:ietf:params:oauth:request_uri${token}`,
    `URN:ietf:params:oauth:request_uri:${token}`,
    `${URN} ${token}`,
    `${URN}' or 1=1 --`,
  ]) {
    const answer = await get(`${AUTH}/oauth2/authorize?${query({ client_id: clients.asks.client_id, request_uri: uri })}`, {
      label: uri,
    }).catch((error) => (uri.includes(token) ? null : Promise.reject(error)));
    if (answer) onOurPage(answer, foreign(uri), uri);
    onOurPage(await authorize(clients.app, { request_uri: uri }, { label: uri }), foreign(uri), uri);
  }
  const by = (client, uri = fields.request_uri, host = AUTH) =>
    get(`${host}/oauth2/authorize?${query({ client_id: client.client_id, request_uri: uri })}`);
  onOurPage(await by(clients.asks, `${URN}${random()}`), old, "made up");
  onOurPage(await by(clients.app), old, "another client's");
  onOurPage(await by(clients.disabled), "client_id is missing", "a disabled client's");
  onOurPage(
    await get(`${AUTH}/oauth2/authorize?${query({ request_uri: fields.request_uri })}`),
    "client_id is missing",
    "without client_id",
  );
  onOurPage(await by(clients.foreign, fields.request_uri, OTHER_HOST), old, "another tenant's");
  // Parameters beside it count for nothing.
  const beside = await get(
    `${AUTH}/oauth2/authorize?${query({ client_id: clients.asks.client_id, request_uri: fields.request_uri, redirect_uri: "https://evil.example", scope: "phone", prompt: "none" })}`,
  );
  assert.ok(beside.location.startsWith("/consent?"), beside.location);
  await run("update oauth_grant set expires_at = ? where token_hash = ?", Date.now() - 1, digest(token));
  onOurPage(await by(clients.asks), old, "too old");
  onOurPage(await get(`${AUTH}/consent?${query(fields)}`), old, "too old to be shown");
  onOurPage(await consent(who.browser, fields), old, "too old to be agreed to");
  assert.deepEqual(trap.requests, []);
});

test("/oauth2/authorize: a request that we keep while its user signs in may be come back to, and its client's alone", async () => {
  const person = await signUp(worker);
  const nobody = await get(authorizeUrl(clients.app), { browser: worker.browser() });
  assert.ok(nobody.location.startsWith("/login?"), nobody.location);
  const back = new URL(new URL(nobody.location, AUTH).searchParams.get("continue"), AUTH).href;
  const first = codeOf(await get(back, { browser: person.browser }));
  const second = codeOf(await get(back, { browser: person.browser }));
  assert.ok(first && second && first !== second, "who clicks twice is no attacker");
  const foreign = back.replace(clients.app.client_id, clients.asks.client_id);
  assert.notEqual(foreign, back);
  onOurPage(await get(foreign, { browser: person.browser }), "request_uri is unknown, used or too old", "another client's");
});

test("/oauth2/authorize: guests, suspended users and impersonated sessions get no code", async () => {
  const guest = { browser: worker.browser() };
  assert.equal((await guest.browser.post(`${AUTH}/api/auth/sign-in/anonymous`, {})).status, 200);
  const suspended = await signUp(worker),
    impersonated = await signUp(worker),
    deleted = await signUp(worker),
    inactive = await signUp(worker);
  await run("update user set status = 'suspended' where id = ?", suspended.id);
  await run("update user set status = 'inactive' where id = ?", inactive.id);
  await run("update user set status = 'deleted', deleted_at = 1 where id = ?", deleted.id);
  await run("update session set impersonated_by = ? where user_id = ?", admin.id, impersonated.id);
  for (const [label, { browser }] of Object.entries({ guest, suspended, deleted, inactive, nobody: { browser: worker.browser() } })) {
    for (const client of [clients.app, clients.asks]) {
      const answer = await authorize(client, {}, { browser, label });
      assert.equal(answer.status, 302, label);
      assert.ok(answer.location.startsWith("/login?continue=%2Foauth2%2Fauthorize%3F"), `${label}: ${answer.location}`);
      toldTheClient(await authorize(client, { prompt: "none" }, { browser, label }), "login_required", { label });
    }
  }
  for (const more of [{}, { prompt: "none" }, { prompt: "consent" }])
    toldTheClient(await authorize(clients.app, more, { browser: impersonated.browser }), "access_denied", { label: "impersonated" });
  toldTheClient(await authorize(clients.asks, { prompt: "none" }), "consent_required");
  const { fields, page } = await asked();
  for (const [label, { browser }] of Object.entries({
    guest,
    suspended,
    deleted,
    inactive,
    impersonated,
    nobody: { browser: worker.browser() },
  })) {
    const shown = await get(page, { browser, label });
    assert.deepEqual(
      [shown.status, shown.location?.startsWith("/login?continue=%2Fconsent%3F")],
      [302, true],
      `${label}: ${shown.location}`,
    );
    const decided = await consent(browser, fields);
    assert.deepEqual(
      [decided.status, decided.location?.startsWith("/login?continue=%2Fconsent%3F")],
      [303, true],
      `${label}: ${decided.location}`,
    );
  }
});

test("/consent: what is forged, another's, or over", async () => {
  const other = await asked(who, {}, clients.asks);
  const { fields, page } = await asked();
  const old = "request_uri is unknown, used or too old",
    foreign = "request_uri is not one of ours",
    unknown = "client_id is missing, or of no client of ours";
  const rows = [
    ["made up", { request_uri: `${URN}${random()}` }, old],
    ["of no shape", { request_uri: `${URN}x` }, foreign],
    ["somebody's website", { request_uri: trap.url }, "request_uri is for pushed requests"],
    ["no client of ours", { client_id: randomUUID() }, unknown],
    ["another client", { client_id: clients.app.client_id }, old],
    ["a disabled client", { client_id: clients.disabled.client_id }, unknown],
    ["another tenant's client", { client_id: clients.foreign.client_id }, unknown],
  ];
  for (const [label, more, text] of rows) {
    onOurPage(await get(`${AUTH}/consent?${query({ ...fields, ...more })}`, { label }), text, label);
    for (const decision of ["allow", "deny"]) onOurPage(await consent(who.browser, { ...fields, ...more, decision }), text, label);
  }
  onOurPage(await get(`${AUTH}/consent`), null, "GET without anything");
  for (const name of Object.keys(fields)) {
    const { [name]: _, ...rest } = fields;
    onOurPage(await consent(who.browser, rest), null, `without ${name}`);
  }
  for (const [label, headers, status] of [
    ["another site", { origin: "https://evil.example" }, 403],
    ["a site that begins alike", { origin: "http://auth.localhost.evil.example" }, 403],
    ["the client's own", { origin: "https://app.example" }, 403],
    ["another tenant's host", { origin: OTHER_HOST }, 403],
    ["another port", { origin: `${AUTH}:8080` }, 403],
    ["https", { origin: "https://auth.localhost" }, 403],
    ["null", { origin: "null" }, 403],
    ["none", { origin: undefined }, 403],
    ["a referrer alone", { origin: undefined, referer: "https://evil.example/auth.localhost" }, 403],
  ]) {
    const answer = await consent(who.browser, fields, headers);
    assert.deepEqual([answer.status, answer.location], [status, undefined], label);
  }
  assert.equal(checked(await who.browser.post(`${AUTH}/consent`, fields)).status, 415, "JSON");
  const shown = await get(page);
  assert.equal(shown.status, 200);
  assert.match(shown.headers["content-security-policy"], /frame-ancestors 'none'/);
  assert.match(shown.headers["content-security-policy"], /default-src 'none'/);
  assert.deepEqual([shown.headers["cache-control"], shown.headers["x-content-type-options"]], ["no-store", "nosniff"]);
  assert.ok(!shown.headers["access-control-allow-origin"]);
  const allowed = await consent(who.browser, fields);
  assert.ok([302, 303].includes(allowed.status) && codeOf(allowed), allowed.text);
  assert.equal(new URL(allowed.location).searchParams.get("state"), STATE);
  for (const decision of ["allow", "deny"])
    onOurPage(await consent(who.browser, { ...fields, decision }), old, `${decision} after it was allowed`);
  onOurPage(await get(page), old, "shown after it was allowed");
  toldTheClient(await consent(who.browser, { ...other.fields, decision: "deny" }), "access_denied");
  for (const decision of ["allow", "deny"])
    onOurPage(await consent(who.browser, { ...other.fields, decision }), old, `${decision} after it was denied`);
  const odd = await asked(who, { prompt: "consent" });
  const answer = await consent(who.browser, { ...odd.fields, decision: "ALLOW" });
  assert.ok(!/[?&]code=/.test(answer.location ?? ""), "what is not allow is no consent");
});

test("/consent: 20 clicks give one code", async () => {
  const { fields } = await asked(who, { prompt: "consent" });
  const answers = await Promise.all(Array.from({ length: 20 }, () => consent(who.browser, fields)));
  assert.equal(answers.filter(({ location }) => /[?&]code=/.test(location ?? "")).length, 1);
  for (const answer of answers) if (!answer.location) onOurPage(answer, "request_uri is unknown, used or too old");
});

test("/consent: the form that one was shown is not another's to send", async () => {
  const [one, another] = [await signUp(worker), await signUp(worker)];
  const { fields, page } = await asked(one);
  assert.ok((await get(page, { browser: one.browser })).text.includes(one.email));
  const answer = await consent(another.browser, fields);
  assert.ok(!/[?&]code=/.test(answer.location ?? ""), "another user than began gets a code");
});

test("/consent: whoever is to sign in again first cannot go around it", async () => {
  for (const [label, more] of [
    ["prompt=login", { prompt: "login" }],
    ["prompt=select_account", { prompt: "select_account" }],
    ["max_age", { max_age: "60" }],
  ]) {
    const person = await signUp(worker);
    await run("update session set authenticated_at = authenticated_at - 1000000 where user_id = ?", person.id);
    const answer = await authorize(clients.asks, more, { browser: person.browser });
    assert.ok(answer.location.startsWith("/login?"), `${label}: ${answer.location}`);
    const back = new URL(new URL(answer.location, AUTH).searchParams.get("continue"), AUTH);
    const stale = await get(back.href, { browser: person.browser });
    assert.ok(stale.location.startsWith("/login?"), `${label}, back without signing in: ${stale.location}`);
    const allowed = await consent(person.browser, {
      client_id: clients.asks.client_id,
      request_uri: back.searchParams.get("request_uri"),
      decision: "allow",
    });
    assert.ok(!/[?&]code=/.test(allowed.location ?? ""), `${label}: a code without signing in again`);
  }
});

test("/oauth2/token: each mistake of client authentication", async () => {
  const { app, second, post, pub, jwt, disabled, foreign } = clients;
  const good = redemption(await code());
  const secret = (client) => ({ client_id: client.client_id, client_secret: client.client_secret });
  const header = (text) => ({ authorization: `Basic ${Buffer.from(text).toString("base64")}` });
  const out = [401, "invalid_client"],
    bad = [400, "invalid_request"];
  const rows = [
    ["nothing", {}, {}, out],
    ["a name alone", { client_id: app.client_id }, {}, out],
    ["Basic and a secret", { client_secret: app.client_secret }, basic(app), bad],
    ["Basic and both", secret(app), basic(app), bad],
    ["Basic and an assertion", { client_assertion: "a.b.c", client_assertion_type: JWT_BEARER }, basic(app), bad],
    ["a secret and an assertion", { ...secret(app), client_assertion: "a.b.c", client_assertion_type: JWT_BEARER }, {}, bad],
    ["Basic and another name", { client_id: second.client_id }, basic(app), bad],
    ["in the form, registered for Basic", secret(app), {}, out],
    ["Basic, registered for the form", {}, basic(post), out],
    ["Basic, registered for keys", {}, header(`${jwt.client_id}:x`), out],
    ["a name alone, registered for keys", { client_id: jwt.client_id }, {}, out],
    ["a secret of a public client", { client_id: pub.client_id, client_secret: "x" }, {}, out],
    ["Basic of a public client", {}, header(`${pub.client_id}:x`), out],
    ["Basic of a public client without a password", {}, header(`${pub.client_id}:`), out],
    ["another client's secret", {}, basic({ ...app, client_secret: second.client_secret }), out],
    ["a wrong secret", {}, basic({ ...app, client_secret: random() }), out],
    ["a secret that is cut off", {}, basic({ ...app, client_secret: app.client_secret.slice(0, -1) }), out],
    ["a secret and more", {}, basic({ ...app, client_secret: `${app.client_secret}x` }), out],
    ["the secret's hash", {}, basic({ ...app, client_secret: digest(app.client_secret) }), out],
    ["no secret", {}, header(`${app.client_id}:`), out],
    ["no name", {}, header(`:${app.client_secret}`), out],
    ["no colon", {}, header(app.client_id), out],
    ["no base64", {}, { authorization: "Basic !!!" }, out],
    ["Basic without anything", {}, { authorization: "Basic " }, out],
    ["not UTF-8", {}, { authorization: `Basic ${Buffer.from([0xff, 0x3a, 0xfe]).toString("base64")}` }, out],
    ["Bearer", {}, bearer(app.client_secret), out],
    ["Digest", {}, { authorization: `Digest username="${app.client_id}"` }, out],
    ["an unknown client", {}, basic({ client_id: randomUUID(), client_secret: app.client_secret }), out],
    ["a disabled client", {}, basic(disabled), out],
    ["another tenant's client", {}, basic(foreign), out],
    ["a client by a pattern", {}, basic({ client_id: "%", client_secret: app.client_secret }), out],
    ["an assertion without its type", { client_assertion: "a.b.c" }, {}, bad],
    [
      "an assertion of another type",
      { client_assertion: "a.b.c", client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:saml2-bearer" },
      {},
      bad,
    ],
    ["an assertion that is none", { client_assertion: "abc", client_assertion_type: JWT_BEARER }, {}, out],
    ["an empty assertion", { client_assertion: "..", client_assertion_type: JWT_BEARER }, {}, out],
  ];
  for (const [label, more, headers, expected] of rows) {
    refused(await token({ ...good, ...more }, { headers, label }), expected, label);
    refused(await form(`${AUTH}/oauth2/revoke`, { token: "x", ...more }, { headers, label }), expected, `revoke, ${label}`);
    refused(await form(`${AUTH}/oauth2/introspect`, { token: "x", ...more }, { headers, label }), expected, `introspect, ${label}`);
  }
  const query = await checked(
    await worker.browser().send("POST", `${AUTH}/oauth2/token?${new URLSearchParams({ ...good, ...secret(post) })}`, {
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: "",
    }),
  );
  refused(query, out, "in the query");
  await run("update oauth_client set secret_expires_at = 1 where client_id = ?", second.client_id);
  refused(await token(good, { client: second }), out, "an expired secret");
  await run("update oauth_client set secret_expires_at = null where client_id = ?", second.client_id);
  assert.equal((await token(good)).status, 200, "none of it used the code up");
});

const now = () => Math.floor(Date.now() / 1000);
const es256 = (input, key = keyPair.privateKey) => sign("sha256", Buffer.from(input), { key, dsaEncoding: "ieee-p1363" });
function assertion({ header = {}, claims = {}, signer = es256 } = {}) {
  const said = { iss: clients.jwt.client_id, sub: clients.jwt.client_id, aud: AUTH, exp: now() + 60, jti: random(), ...claims };
  const input = `${base64({ alg: "ES256", kid: "mine", typ: "JWT", ...header })}.${base64(said)}`;
  return keep(`${input}.${base64(signer(input))}`);
}
const asserted = (text, more = {}, options = {}) =>
  token(
    { grant_type: "client_credentials", client_assertion: text, client_assertion_type: JWT_BEARER, ...more },
    { headers: {}, ...options },
  );

test("/oauth2/token: assertions", async () => {
  assert.equal((await asserted(assertion())).status, 200, "the good one");
  assert.equal((await asserted(assertion({ claims: { aud: `${AUTH}/oauth2/token` } }))).status, 200, "the endpoint's name");
  const empty = () => Buffer.alloc(0);
  const mac = (key) => (input) => createHmac("sha256", key).update(input).digest();
  const pem = keyPair.publicKey.export({ format: "pem", type: "spki" });
  const rows = [
    ["alg none", { header: { alg: "none" }, signer: empty }],
    ["alg none without kid", { header: { alg: "none", kid: undefined }, signer: empty }],
    ["alg NONE", { header: { alg: "NONE" }, signer: empty }],
    ["no alg", { header: { alg: undefined } }],
    ["HS256 by the public key", { header: { alg: "HS256" }, signer: mac(pem) }],
    ["HS256 by the JWK", { header: { alg: "HS256" }, signer: mac(JSON.stringify(jwk)) }],
    ["HS256 by the client's name", { header: { alg: "HS256" }, signer: (input) => mac(clients.jwt.client_id)(input) }],
    ["RS256 by an EC key", { header: { alg: "RS256" } }],
    ["ES512", { header: { alg: "ES512" } }],
    ["no signature", { signer: empty }],
    ["a signature of zeros", { signer: () => Buffer.alloc(64) }],
    ["a signature in DER", { signer: (input) => sign("sha256", Buffer.from(input), keyPair.privateKey) }],
    ["another's key", { signer: (input) => es256(input, stranger.privateKey) }],
    ["an unknown key", { header: { kid: "other" } }],
    [
      "its own key in the header",
      { header: { jwk: stranger.publicKey.export({ format: "jwk" }) }, signer: (input) => es256(input, stranger.privateKey) },
    ],
    [
      "its own key's address in the header",
      { header: { jku: `${trap.url}/jwks`, x5u: `${trap.url}/x5u` }, signer: (input) => es256(input, stranger.privateKey) },
    ],
    ["a critical extension", { header: { crit: ["b64"], b64: false } }],
    ["expired", { claims: { exp: now() - 120 } }],
    ["exp 0", { claims: { exp: 0 } }],
    ["exp before time began", { claims: { exp: -1 } }],
    ["no exp", { claims: { exp: undefined } }],
    ["exp as text", { claims: { exp: String(now() + 60) } }],
    ["good for too long", { claims: { exp: now() + 3700 } }],
    ["good for ever", { claims: { exp: 2 ** 53 } }],
    ["exp of 64 bits", { claims: { exp: 9223372036854775807n.toString() * 1 } }],
    ["not yet good", { claims: { nbf: now() + 300, exp: now() + 500 } }],
    ["issued in the future", { claims: { iat: now() + 300, exp: now() + 500 } }],
    ["for another server", { claims: { aud: "https://other.example" } }],
    ["for us and another", { claims: { aud: [AUTH, "https://other.example"] } }],
    ["for nobody", { claims: { aud: undefined } }],
    ["for an empty list", { claims: { aud: [] } }],
    ["for us with a slash", { claims: { aud: `${AUTH}/` } }],
    ["for another tenant's host", { claims: { aud: OTHER_HOST } }],
    ["for userinfo", { claims: { aud: `${AUTH}/oauth2/userinfo` } }],
    ["for the client", { claims: { aud: clients.jwt.client_id } }],
    ["another issuer", { claims: { iss: clients.app.client_id } }],
    ["no issuer", { claims: { iss: undefined } }],
    ["another subject", { claims: { sub: clients.app.client_id } }],
    ["another issuer and subject", { claims: { iss: clients.app.client_id, sub: clients.app.client_id } }],
    ["no subject", { claims: { sub: undefined } }],
    ["a subject that is no text", { claims: { sub: [clients.jwt.client_id] } }],
    ["no jti", { claims: { jti: undefined } }],
    ["an empty jti", { claims: { jti: "" } }],
    ["a jti that is no text", { claims: { jti: 7 } }],
    ["a jti without end", { claims: { jti: "j".repeat(600) } }],
  ];
  for (const [label, how] of rows) refused(await asserted(assertion(how), {}, { label }), [401, "invalid_client"], label);
  refused(await asserted(assertion(), { client_id: clients.app.client_id }), [401, "invalid_client"], "another client_id beside it");
  const cut = assertion();
  refused(await asserted(cut.split(".").slice(0, 2).join(".")), [401, "invalid_client"], "two parts");
  refused(await asserted(`${cut}.x`), [401, "invalid_client"], "four parts");
  refused(
    await asserted(
      `${cut.split(".")[0]}.${base64({ ...JSON.parse(Buffer.from(cut.split(".")[1], "base64url")), jti: "other" })}.${cut.split(".")[2]}`,
    ),
    [401, "invalid_client"],
    "other claims under its signature",
  );
  assert.deepEqual(trap.requests, []);
});

test("/oauth2/token: an assertion is good once, at whichever endpoint, also 20 times at once", async () => {
  const spent = assertion();
  assert.equal((await asserted(spent)).status, 200);
  refused(await asserted(spent), [401, "invalid_client"], "again");
  const resigned = assertion({ claims: { jti: JSON.parse(Buffer.from(spent.split(".")[1], "base64url")).jti } });
  refused(await asserted(resigned), [401, "invalid_client"], "the same jti, signed anew");
  for (const path of ["introspect", "revoke"])
    refused(
      await form(`${AUTH}/oauth2/${path}`, { token: "x", client_assertion: spent, client_assertion_type: JWT_BEARER }),
      [401, "invalid_client"],
      path,
    );
  const parallel = assertion();
  const answers = await Promise.all(Array.from({ length: 20 }, () => asserted(parallel)));
  assert.equal(answers.filter(({ status }) => status === 200).length, 1);
  for (const answer of answers) if (answer.status !== 200) refused(answer, [401, "invalid_client"]);
});

test("/oauth2/token: an assertion beside a refresh token is good once as well, 20 times at once", async () => {
  // Connections that are there already, so that all of them arrive together.
  const browser = worker.browser();
  await Promise.all(Array.from({ length: 20 }, () => browser.get(`${AUTH}/api/auth/ok`)));
  for (let round = 0; round < 10; round += 1) {
    const given = await asserted(assertion(), redemption(await code(clients.jwt, { scope: "openid offline_access" })));
    assert.equal(given.status, 200, given.text);
    const parallel = assertion();
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => asserted(parallel, refreshing(given.json.refresh_token), { browser })),
    );
    assert.equal(answers.filter(({ status }) => status === 200).length, 1, `round ${round}: ${answers.map(({ status }) => status)}`);
    for (const answer of answers) if (answer.status !== 200) refused(answer, [401, "invalid_client"]);
  }
});

test("/oauth2/token: codes", async () => {
  const given = await code();
  const grant = [400, "invalid_grant"],
    bad = [400, "invalid_request"];
  const rows = [
    ["no code", { code: undefined }, {}, bad],
    ["an empty code", { code: "" }, {}, bad],
    ["a code of no shape", { code: "x" }, {}, grant],
    ["a code that is made up", { code: random() }, {}, grant],
    ["the code's hash", { code: digest(given) }, {}, grant],
    ["another client", {}, { client: clients.second }, grant],
    ["a public client", { client_id: clients.pub.client_id }, { headers: {} }, grant],
    ["another redirect_uri", { redirect_uri: "https://app.example/cb/" }, {}, grant],
    ["a redirect_uri in capitals", { redirect_uri: "https://APP.example/cb" }, {}, grant],
    ["no verifier", { code_verifier: undefined }, {}, grant],
    ["an empty verifier", { code_verifier: "" }, {}, grant],
    ["another verifier", { code_verifier: random() }, {}, grant],
    ["the challenge as verifier", { code_verifier: CHALLENGE }, {}, grant],
    ["a verifier that is too short", { code_verifier: VERIFIER.slice(1) }, {}, grant],
    ["a verifier that is too long", { code_verifier: "x".repeat(129) }, {}, grant],
    ["a verifier and more", { code_verifier: `${VERIFIER}=` }, {}, grant],
    ["a resource that was not asked for", { resource: "https://api.example" }, {}, [400, "invalid_target"]],
  ];
  for (const [label, more, options, expected] of rows)
    refused(await token(redemption(given, more), { ...options, label }), expected, label);
  assert.equal((await token(redemption(given))).status, 200, "none of it used the code up");
  const short = digest("short"),
    long = digest("y".repeat(129));
  refused(
    await token(redemption(await code(clients.app, { code_challenge: short }), { code_verifier: "short" })),
    grant,
    "a short verifier that fits",
  );
  refused(
    await token(redemption(await code(clients.app, { code_challenge: long }), { code_verifier: "y".repeat(129) })),
    grant,
    "a long verifier that fits",
  );
  const old = await code();
  await run("update oauth_grant set expires_at = ? where token_hash = ?", Date.now() - 1, digest(old));
  refused(await token(redemption(old)), grant, "expired");
  const { fields } = await asked(who, { prompt: "consent" });
  refused(await token(redemption(fields.request_uri.slice(URN.length)), { client: clients.asks }), grant, "a kept request as a code");
  for (const [label, set] of [
    ["suspended", "status = 'suspended'"],
    ["inactive", "status = 'inactive'"],
    ["deleted", "status = 'deleted', deleted_at = 1"],
  ]) {
    const person = await signUp(worker);
    const theirs = await code(clients.app, {}, person.browser);
    await run(`update user set ${set} where id = ?`, person.id);
    refused(await token(redemption(theirs)), grant, label);
  }
  const person = await signUp(worker);
  const theirs = await code(clients.app, {}, person.browser);
  await run("delete from user where id = ?", person.id);
  refused(await token(redemption(theirs)), grant, "a user who is gone");
});

test("/oauth2/token: a code used twice ends all that came of it; another client's attempt ends nothing", async () => {
  const given = await code();
  const first = (await token(redemption(given))).json;
  refused(await token(redemption(given), { client: clients.second }), [400, "invalid_grant"]);
  assert.equal(await active(first.access_token), true, "another client ended it");
  const refreshed = (await token(refreshing(first.refresh_token))).json;
  refused(await token(redemption(given, { code_verifier: random() })), [400, "invalid_grant"]);
  for (const one of [first, refreshed]) {
    assert.equal(await active(one.access_token), false);
    assert.equal(await active(one.refresh_token), false);
    refused(await token(refreshing(one.refresh_token)), [400, "invalid_grant"]);
    refused(await get(`${AUTH}/oauth2/userinfo`, { headers: bearer(one.access_token) }), [401, "invalid_token"]);
  }
});

test("/oauth2/token: refresh tokens", async () => {
  const given = await tokens(clients.app, { resource: "https://api.example" });
  const grant = [400, "invalid_grant"];
  const rows = [
    ["none", { refresh_token: undefined }, {}, [400, "invalid_request"]],
    ["of no shape", { refresh_token: "x" }, {}, grant],
    ["made up", { refresh_token: random() }, {}, grant],
    ["an access token", { refresh_token: given.access_token }, {}, grant],
    ["an ID token", { refresh_token: given.id_token }, {}, grant],
    ["its hash", { refresh_token: digest(given.refresh_token) }, {}, grant],
    ["another client", {}, { client: clients.second }, grant],
    ["a public client", { client_id: clients.pub.client_id }, { headers: {} }, grant],
    ["a client without this grant", {}, { client: clients.limited }, [400, "unauthorized_client"]],
    ["a scope more", { scope: `${OFFLINE} phone` }, {}, [400, "invalid_scope"]],
    ["another scope", { scope: "profile" }, {}, [400, "invalid_scope"]],
    ["a scope of nobody's", { scope: "openid admin" }, {}, [400, "invalid_scope"]],
    ["another resource", { resource: "https://other.example" }, {}, [400, "invalid_target"]],
    ["our own resource", { resource: AUTH }, {}, [400, "invalid_target"]],
    ["a resource that begins alike", { resource: "https://api.example/admin" }, {}, [400, "invalid_target"]],
  ];
  for (const [label, more, options, expected] of rows)
    refused(await token(refreshing(given.refresh_token, more), { ...options, label }), expected, label);
  const two = new URLSearchParams(refreshing(given.refresh_token));
  (two.append("resource", "https://api.example"), two.append("resource", "https://other.example"));
  refused(await token(two.toString()), [400, "invalid_target"], "one resource of two");
  const narrow = (await token(refreshing(given.refresh_token, { scope: "openid" }))).json;
  assert.equal(narrow.scope, "openid");
  assert.equal((await token(refreshing(narrow.refresh_token))).json.scope, OFFLINE, "what was narrowed once is not lost");
  const unbound = await tokens();
  refused(
    await token(refreshing(unbound.refresh_token, { resource: "https://api.example" })),
    [400, "invalid_target"],
    "a resource where none was granted",
  );
  const revoked = await tokens();
  assert.equal((await form(`${AUTH}/oauth2/revoke`, { token: revoked.refresh_token }, { headers: basic(clients.app) })).status, 200);
  refused(await token(refreshing(revoked.refresh_token)), grant, "revoked");
  const byAccess = await tokens();
  assert.equal((await form(`${AUTH}/oauth2/revoke`, { token: byAccess.access_token }, { headers: basic(clients.app) })).status, 200);
  refused(await token(refreshing(byAccess.refresh_token)), grant, "its access token was revoked");
  const late = await tokens();
  await run("update oauth_token set expires_at = ? where token_hash = ?", Date.now() - 1, digest(late.refresh_token));
  refused(await token(refreshing(late.refresh_token)), grant, "expired");
  for (const [label, sql] of [
    ["suspended", "update user set status = 'suspended' where id = ?"],
    ["inactive", "update user set status = 'inactive' where id = ?"],
    ["deleted", "update user set status = 'deleted', deleted_at = 1 where id = ?"],
    ["gone", "delete from user where id = ?"],
  ]) {
    const person = await signUp(worker);
    const theirs = await tokens(clients.app, {}, person.browser);
    await run(sql, person.id);
    refused(await token(refreshing(theirs.refresh_token)), grant, label);
    refused(await get(`${AUTH}/oauth2/userinfo`, { headers: bearer(theirs.access_token) }), [401, "invalid_token"], label);
    assert.equal(await active(theirs.access_token), false, label);
  }
  const off = await register({ skip_consent: true });
  const theirs = await tokens(off);
  await run("update oauth_client set disabled = 1 where client_id = ?", off.client_id);
  refused(await token(refreshing(theirs.refresh_token), { client: off }), [401, "invalid_client"], "a client that was disabled");
  refused(
    await get(`${AUTH}/oauth2/userinfo`, { headers: bearer(theirs.access_token) }),
    [401, "invalid_token"],
    "a client that was disabled",
  );
});

test("/oauth2/token: what one resource was asked for does not take the other away", async () => {
  const answer = await get(
    `${authorizeUrl(clients.app, { scope: OFFLINE })}&resource=https%3A%2F%2Fone.example&resource=https%3A%2F%2Ftwo.example`,
  );
  const first = await token(redemption(codeOf(answer), { resource: "https://one.example" }));
  assert.equal(first.status, 200, first.text);
  const second = await token(refreshing(first.json.refresh_token, { resource: "https://two.example" }));
  assert.equal(second.status, 200, `RFC 8707, section 2.2: ${second.text}`);
});

test("/oauth2/token: client credentials", async () => {
  const { service, pub, app, limited } = clients;
  const own = { grant_type: "client_credentials" };
  const good = await token({ ...own, scope: "reports:read" }, { client: service });
  assert.deepEqual([good.status, Object.keys(good.json).sort()], [200, ["access_token", "expires_in", "scope", "token_type"]]);
  assert.equal((await token(own, { client: service })).json.scope, "reports:read", "no scope of a user's");
  refused(await token({ ...own, client_id: pub.client_id }, { headers: {} }), [400, "unauthorized_client"], "a public client");
  for (const scope of ["openid", "email", "reports:read openid", "offline_access", "reports:write", "*"])
    refused(await token({ ...own, scope }, { client: service }), [400, "invalid_scope"], scope);
  for (const client of [app, limited]) refused(await token(own, { client }), [400, "unauthorized_client"], "not allowed");
});

test("/oauth2/token: a public client has no credentials to be granted something for, whatever its row says", async () => {
  const { pub } = clients;
  const own = { grant_type: "client_credentials" };
  await run(
    "update oauth_client set grant_types = json_insert(grant_types, '$[#]', 'client_credentials') where client_id = ?",
    pub.client_id,
  );
  const opened = await token({ ...own, client_id: pub.client_id }, { headers: {} });
  await run('update oauth_client set grant_types = \'["authorization_code","refresh_token"]\' where client_id = ?', pub.client_id);
  refused(opened, [400, "unauthorized_client"], "a public client, whatever its row says (RFC 6749, section 4.4)");
});

test("/oauth2/token: a client's own resource is an absolute URI without a fragment", async () => {
  for (const resource of [
    "not-a-uri",
    "/relative",
    "https://api.example/#fragment",
    clients.app.client_id,
    `https://api.example/${"x".repeat(3000)}`,
  ]) {
    refused(
      await token({ grant_type: "client_credentials", resource }, { client: clients.service, label: resource }),
      [400, "invalid_target"],
      resource.slice(0, 60),
    );
  }
});

test("/oauth2/token: requests of the wrong shape", async () => {
  const given = await code();
  const url = `${AUTH}/oauth2/token`;
  const good = new URLSearchParams(redemption(given)).toString();
  refused(await token(redemption(given, { grant_type: undefined })), [400, "invalid_request"], "no grant_type");
  refused(await token(redemption(given, { grant_type: "" })), [400, "invalid_request"], "an empty grant_type");
  for (const grant of [
    "password",
    "implicit",
    "authorization_code ",
    "AUTHORIZATION_CODE",
    "urn:ietf:params:oauth:grant-type:saml2-bearer",
    "none",
    "x".repeat(1000),
  ]) {
    refused(
      await token(redemption(given, { grant_type: grant, username: who.email, password: "x" })),
      [400, "unsupported_grant_type"],
      grant,
    );
  }
  refused(await token(redemption(given), { client: clients.service }), [400, "unauthorized_client"], "not allowed for the client");
  for (const name of [
    "grant_type",
    "code",
    "redirect_uri",
    "code_verifier",
    "client_id",
    "client_secret",
    "scope",
    "client_assertion",
    "unknown",
  ]) {
    const value = redemption(given)[name];
    const raw = value === undefined ? `${good}&${name}=1&${name}=2` : `${good}&${new URLSearchParams({ [name]: value })}`;
    refused(await token(raw, { label: name }), [400, "invalid_request"], `${name} twice`);
  }
  const json = checked(await worker.browser().send("POST", url, { headers: basic(clients.app), body: redemption(given) }));
  assert.equal(json.status, 400, "JSON");
  for (const type of ["multipart/form-data; boundary=x", "text/plain", "application/json", ""])
    assert.equal((await form(url, good, { headers: { ...basic(clients.app), "content-type": type } })).status, 400, type);
  for (const method of ["GET", "PUT", "DELETE", "HEAD"])
    notThere(checked(await worker.browser().send(method, `${url}?${good}`, { headers: basic(clients.app) })), method);
  assert.equal((await form(url, `${good}&x=${"y".repeat(70_000)}`, { headers: basic(clients.app) })).status, 400);
  // Neither a cookie nor where it comes from has a say.
  const answer = await form(url, good, {
    browser: who.browser,
    headers: { ...basic(clients.app), origin: "https://evil.example", referer: "https://evil.example/" },
  });
  assert.equal(answer.status, 200, answer.text);
  assert.deepEqual(
    [answer.cookies, answer.headers["access-control-allow-credentials"], answer.headers.pragma],
    [[], undefined, "no-cache"],
  );
  refused(
    await form(url, { grant_type: "client_credentials" }, { browser: admin.browser }),
    [401, "invalid_client"],
    "an administrator's cookie is no client",
  );
});

test("another tenant's host: no code, no token and no request of this one", async () => {
  const { global } = clients;
  const given = await tokens(global);
  const fresh = await code(global);
  refused(await token(redemption(await code()), { host: OTHER_HOST }), [401, "invalid_client"], "a client of this tenant");
  refused(await token(redemption(fresh), { client: global, host: OTHER_HOST }), [400, "invalid_grant"], "a code");
  refused(await token(refreshing(given.refresh_token), { client: global, host: OTHER_HOST }), [400, "invalid_grant"], "a refresh token");
  refused(await get(`${OTHER_HOST}/oauth2/userinfo`, { headers: bearer(given.access_token) }), [401, "invalid_token"], "an access token");
  assert.equal(await active(given.access_token, global, OTHER_HOST), false);
  assert.equal(await active(given.refresh_token, global, OTHER_HOST), false);
  assert.equal((await form(`${OTHER_HOST}/oauth2/revoke`, { token: given.access_token }, { headers: basic(global) })).status, 200);
  assert.equal(await active(given.access_token, global), true, "revoked from another tenant");
  refused(await token(redemption(await code()), { client: clients.foreign }), [401, "invalid_client"], "a client of that tenant here");
  onOurPage(await get(authorizeUrl(clients.app, {}, OTHER_HOST)), "client_id is missing, or of no client of ours");
  const { fields } = await asked(who, { prompt: "consent" }, global);
  onOurPage(
    await get(`${OTHER_HOST}/oauth2/authorize?${query({ client_id: global.client_id, request_uri: fields.request_uri })}`),
    "request_uri is unknown, used or too old",
  );
  onOurPage(await get(`${OTHER_HOST}/consent?${query(fields)}`), "request_uri is unknown, used or too old");
  const answer = await authorize(global);
  assert.equal(new URL(answer.location).searchParams.get("iss"), AUTH);
  refused(await asserted(assertion(), {}, { host: OTHER_HOST }), [401, "invalid_client"], "an assertion for this host");
  assert.equal((await token(redemption(fresh), { client: global })).status, 200, "none of it used the code up");
});

test("/oauth2/userinfo: what is no access token for it", async () => {
  const url = `${AUTH}/oauth2/userinfo`;
  const given = await tokens();
  const good = await get(url, { headers: bearer(given.access_token) });
  assert.deepEqual([good.status, good.json.sub, good.headers["cache-control"]], [200, who.id, "no-store"]);
  const own = (await token({ grant_type: "client_credentials" }, { client: clients.service })).json;
  const elsewhere = await tokens(clients.app, { resource: "https://api.example" });
  const closed = await tokens(clients.app, { scope: "email" });
  const old = await tokens(),
    gone = await tokens();
  await run("update oauth_token set expires_at = ? where token_hash = ?", Date.now() - 1, digest(old.access_token));
  await form(`${AUTH}/oauth2/revoke`, { token: gone.access_token }, { headers: basic(clients.app) });
  const [header, payload, signature] = given.access_token.split(".");
  const invalid = [401, "invalid_token"];
  const rows = [
    ["nothing", {}, invalid],
    ["an empty one", { authorization: "Bearer " }, invalid],
    ["garbage", bearer("garbage"), invalid],
    ["one that is too long", bearer("x".repeat(9000)), invalid],
    ["Basic", basic(clients.app), invalid],
    ["another scheme", { authorization: `DPoP ${given.access_token}` }, invalid],
    ["without a scheme", { authorization: given.access_token }, invalid],
    ["a refresh token", bearer(given.refresh_token), invalid],
    ["an ID token", bearer(given.id_token), invalid],
    ["its hash", bearer(digest(given.access_token)), invalid],
    ["one for another resource", bearer(elsewhere.access_token), invalid],
    ["an expired one", bearer(old.access_token), invalid],
    ["a revoked one", bearer(gone.access_token), invalid],
    ["one without its signature", bearer(`${header}.${payload}.`), invalid],
    ["one with alg none", bearer(`${base64({ alg: "none", typ: "at+jwt" })}.${payload}.`), invalid],
    ["one with another signature", bearer(`${header}.${payload}.${signature.slice(0, -4)}AAAA`), invalid],
    ["a client's own", bearer(own.access_token), [403, "insufficient_scope"]],
    ["one without openid", bearer(closed.access_token), [403, "insufficient_scope"]],
  ];
  for (const [label, headers, expected] of rows) {
    refused(await get(url, { headers, label }), expected, label);
    refused(await form(url, "", { headers, label }), expected, `by POST, ${label}`);
  }
  refused(await get(`${url}?access_token=${given.access_token}`, { headers: {} }), invalid, "in the query");
  refused(
    await form(url, { access_token: given.access_token }, { headers: bearer(given.access_token) }),
    [400, "invalid_request"],
    "in the header and in the form",
  );
  refused(
    await form(url, `access_token=${given.access_token}&access_token=${given.access_token}`),
    [400, "invalid_request"],
    "twice in the form",
  );
  refused(checked(await worker.browser().send("POST", url, { body: { access_token: given.access_token } })), invalid, "in JSON");
  refused(await get(url, { browser: who.browser, headers: {} }), invalid, "a session's cookie");
  notThere(checked(await worker.browser().send("PUT", url, { headers: bearer(given.access_token) })), "PUT");
});

test("/oauth2/introspect and /oauth2/revoke: nobody learns of, or ends, another's", async () => {
  const given = await tokens();
  const inspect = (fields, options) => form(`${AUTH}/oauth2/introspect`, fields, options);
  const revoke = (fields, options) => form(`${AUTH}/oauth2/revoke`, fields, options);
  const by = (client) => ({ headers: basic(client) });
  for (const one of [given.access_token, given.refresh_token]) assert.equal(await active(one), true);
  refused(await inspect({ token: given.access_token, client_id: clients.pub.client_id }), [401, "invalid_client"], "a public client");
  refused(await inspect({}, by(clients.app)), [400, "invalid_request"], "no token");
  refused(await revoke({}, by(clients.app)), [400, "invalid_request"], "nothing to revoke");
  refused(await inspect(`token=a&token=b`, by(clients.app)), [400, "invalid_request"], "two tokens");
  refused(await revoke(`token=a&token=b`, by(clients.app)), [400, "invalid_request"], "two to revoke");
  for (const [label, one, client] of [
    ["another client's access token", given.access_token, clients.second],
    ["another client's refresh token", given.refresh_token, clients.second],
    ["garbage", "garbage", clients.app],
    ["made up", random(), clients.app],
    ["a hash", digest(given.refresh_token), clients.app],
    ["an ID token", given.id_token, clients.app],
    ["SQL", "' or 1=1 --", clients.app],
    ["much of it", "x".repeat(16_000), clients.app],
    ["a code", await code(), clients.app],
  ]) {
    for (const hint of [undefined, "refresh_token", "access_token", "nonsense"]) {
      const answer = await inspect({ token: one, token_type_hint: hint }, by(client));
      assert.deepEqual([answer.status, answer.text, answer.headers["cache-control"]], [200, '{"active":false}', "no-store"], label);
      const revoked = await revoke({ token: one, token_type_hint: hint }, by(client));
      assert.deepEqual([revoked.status, revoked.text], [200, ""], label);
    }
  }
  const pub = await revoke({ token: given.refresh_token, client_id: clients.pub.client_id });
  assert.deepEqual([pub.status, pub.text], [200, ""], "a public client revokes another's");
  for (const one of [given.access_token, given.refresh_token]) assert.equal(await active(one), true, "somebody else ended it");
  for (const path of ["introspect", "revoke"]) {
    const url = `${AUTH}/oauth2/${path}`;
    assert.equal(
      checked(await worker.browser().send("POST", url, { headers: basic(clients.app), body: { token: given.access_token } })).status,
      400,
    );
    notThere(checked(await worker.browser().send("GET", `${url}?token=${given.access_token}`, { headers: basic(clients.app) })), path);
    refused(
      await form(url, { token: given.access_token }, { headers: bearer(given.access_token) }),
      [401, "invalid_client"],
      "a token is no client",
    );
  }
  assert.equal(await active(given.refresh_token), true);
});

test("/oauth2/register: metadata that is bad", async () => {
  const url = `${AUTH}/oauth2/register`;
  const register = async (body, headers = {}) =>
    checked(await worker.browser().send("POST", url, { body, headers }), JSON.stringify(body).slice(0, 200));
  const uri = "invalid_redirect_uri",
    metadata = "invalid_client_metadata";
  const rows = [
    [{ redirect_uris: undefined }, uri],
    [{ redirect_uris: [] }, uri],
    ...[
      "http://app.example/cb",
      "https://app.example/cb#f",
      "https://user:pass@app.example/cb",
      "https://*.example/cb",
      "javascript:alert(1)",
      "data:text/html,x",
      "/cb",
      "",
      "myapp:/cb",
      "https://app.example/ cb",
      "https://app.example\\@evil.example",
      "http://localhost.evil.example/",
      "http://10.0.0.1/",
      "https://",
      `https://app.example/${"x".repeat(2000)}`,
      "https://app.example/\r\nx",
      "file:///x",
    ].map((one) => [{ redirect_uris: [one] }, uri]),
    ...["javascript:alert(1)", "myapp:/cb", "data:,x", "http://app.example/"].map((one) => [
      { application_type: "native", redirect_uris: [one] },
      uri,
    ]),
    [{ redirect_uris: REDIRECT }, metadata],
    [{ redirect_uris: [7] }, metadata],
    [{ redirect_uris: [[REDIRECT]] }, metadata],
    [{ redirect_uris: Array(31).fill(REDIRECT) }, metadata],
    [{ application_type: "desktop" }, metadata],
    [{ application_type: 7 }, metadata],
    ...["client_secret_jwt", "tls_client_auth", "NONE", ""].map((method) => [{ token_endpoint_auth_method: method }, metadata]),
    [{ token_endpoint_auth_method: "private_key_jwt" }, metadata],
    [{ token_endpoint_auth_method: "none", grant_types: ["client_credentials"] }, metadata],
    ...["implicit", "password", "urn:ietf:params:oauth:grant-type:jwt-bearer"].map((grant) => [{ grant_types: [grant] }, metadata]),
    [{ grant_types: "authorization_code" }, metadata],
    ...["token", "code id_token", "none"].map((type) => [{ response_types: [type] }, metadata]),
    [{ scope: 'openid "' }, metadata],
    [{ scope: ["openid"] }, metadata],
    [{ skip_consent: true }, metadata],
    [{ subject_type: "secret" }, metadata],
    [{ client_name: 7 }, metadata],
    [{ client_name: "x".repeat(2001) }, metadata],
    [{ client_name: "a\r\nb" }, metadata],
    ...["javascript:alert(1)", "data:image/svg+xml,<svg onload=alert(1)>", "//evil.example/x.png", "vbscript:x", "file:///x", "x"].flatMap(
      (one) => ["logo_uri", "client_uri", "policy_uri", "tos_uri"].map((name) => [{ [name]: one }, metadata]),
    ),
    ...["file:///x", "javascript:x", "/jwks", "https://user:pass@app.example/jwks", "https://app.example/jwks#x"].map((one) => [
      { jwks_uri: one },
      metadata,
    ]),
    [{ jwks: { keys: [jwk] }, jwks_uri: "https://app.example/jwks" }, metadata],
    [{ jwks: { no: "keys" } }, metadata],
    [{ jwks: "x" }, metadata],
    [{ contacts: "a@example.com" }, metadata],
    [{ contacts: [{}] }, metadata],
  ];
  for (const [more, error] of rows)
    refused(await register({ redirect_uris: [REDIRECT], ...more }), [400, error], JSON.stringify(more).slice(0, 200));
  assert.equal((await register("{", { "content-type": "application/json" })).status, 400);
  assert.equal((await register([])).status, 400);
  assert.equal((await register("redirect_uris=x", { "content-type": "application/x-www-form-urlencoded" })).status, 400);
  notThere(checked(await worker.browser().get(url)), "GET");
  // Outside development no address of a private network is asked for keys.
  const secure = AUTH.replace("http:", "https:");
  const deployed = await startWorker({
    settings: { DEVELOPMENT: null, AUTH_ORIGIN: secure, TRUSTED_ORIGINS: null, CLIENT_REGISTRATION: "open" },
  });
  try {
    for (const [jwksUri, status] of [
      ["https://app.example.com/jwks", 201],
      ...[
        "https://10.0.0.1/jwks",
        "https://169.254.169.254/jwks",
        "https://127.0.0.1/jwks",
        "https://[::1]/jwks",
        "https://[fd00::1]/jwks",
        "https://2130706433/jwks",
        "https://localhost/jwks",
        "https://intern/jwks",
        "https://a.internal/jwks",
        "http://app.example.com/jwks",
      ].map((one) => [one, 400]),
    ]) {
      const answer = await deployed.fetch(`${secure}/oauth2/register`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ redirect_uris: [REDIRECT], jwks_uri: jwksUri }),
      });
      assert.deepEqual([answer.status, (await answer.json()).error], [status, status === 400 ? metadata : undefined], jwksUri);
    }
  } finally {
    await deployed.dispose();
  }
  // What it may not choose, it does not get.
  const made = await register({
    redirect_uris: [REDIRECT],
    client_id: "chosen",
    client_secret: "chosen",
    tenant_id: otherTenant,
    user_id: admin.id,
    disabled: false,
    trusted: true,
    client_id_issued_at: 1,
    skip_consent: false,
  });
  assert.equal(made.status, 201, made.text);
  assert.ok(made.json.client_id !== "chosen" && made.json.client_secret !== "chosen");
  const [row] = await worker.rows("select tenant_id, user_id, skip_consent from oauth_client where client_id = ?", made.json.client_id);
  assert.notEqual(row.tenant_id, otherTenant);
  assert.deepEqual([row.user_id, row.skip_consent], [null, 0]);
});

test("/admin/oauth2/create-client is an administrator's", async () => {
  const url = `${AUTH}/api/auth/admin/oauth2/create-client`;
  const body = { client_name: "Mine", redirect_uris: [REDIRECT], skip_consent: true };
  const rows = [
    ["nobody", worker.browser(), {}, 401],
    ["a member", who.browser, {}, 403],
    ["another site's page", admin.browser, { origin: "https://evil.example" }, 403],
    ["a page of nobody's", admin.browser, { origin: "null" }, 403],
  ];
  for (const [label, browser, headers, status] of rows)
    assert.equal(checked(await browser.post(url, body, { headers }), label).status, status, label);
});

test("/consent shows what a client says of itself as text", async () => {
  const name = `<img src=x onerror=alert(1)>"'&<script>alert(2)</script>`;
  const made = checked(
    await worker.browser().send("POST", `${AUTH}/oauth2/register`, {
      body: {
        client_name: name,
        redirect_uris: ["https://app.example/cb"],
        logo_uri: `https://app.example/"onerror="alert(3)`,
        policy_uri: `https://app.example/"><script>alert(4)</script>`,
        tos_uri: "https://app.example/tos",
      },
    }),
  );
  assert.equal(made.status, 201, made.text);
  const { page, fields } = await asked(who, {}, made.json);
  const shown = await get(page);
  assert.equal(shown.status, 200);
  for (const bad of ["<img src=x", "<script", '"onerror="', 'onerror=alert(1)>"']) assert.ok(!shown.text.includes(bad), bad);
  assert.ok(shown.text.includes("&lt;img src=x onerror=alert(1)&gt;"), shown.text);
  assert.ok(!/javascript:/i.test(shown.text));
  assert.match(shown.headers["content-security-policy"], /default-src 'none'/);
  assert.ok(!/script-src/.test(shown.headers["content-security-policy"]));
  assert.ok(codeOf(await consent(who.browser, fields)));
});

test("no redirect leaves for where nobody registered", async () => {
  const evil = "https://evil.example/";
  for (const [label, path] of [
    ["continue", `/login?continue=${encodeURIComponent(evil)}`],
    [
      "consent",
      `/consent?client_id=${clients.asks.client_id}&request_uri=${encodeURIComponent(evil)}&redirect_uri=${encodeURIComponent(evil)}`,
    ],
    ["error", `/oauth2/authorize?error=x&redirect_uri=${encodeURIComponent(evil)}`],
  ]) {
    const answer = await get(`${AUTH}${path}`, { label });
    assert.ok(!(answer.location ?? "").startsWith(evil), `${label}: ${answer.location}`);
    assert.ok(!answer.text.includes(`href="${evil}`) && !answer.text.includes(`action="${evil}`), label);
  }
  const hint = await get(authorizeUrl(clients.app, { login_hint: '"><script>alert(1)</script>\r\nset-cookie: a=b' }), {
    browser: worker.browser(),
  });
  assert.ok(hint.location.startsWith("/login?"), hint.location);
  const login = await get(`${AUTH}${hint.location}`, { browser: worker.browser() });
  assert.deepEqual([login.status, login.text.includes("<script>alert")], [200, false]);
  for (const origin of ["https://evil.example", SPA]) {
    const answer = await get(authorizeUrl(clients.app), { headers: { ...PAGE, origin } });
    assert.ok(!answer.headers["access-control-allow-origin"] || origin === SPA, "another site reads a code");
  }
});

test("what opens something is nowhere in the clear: not in D1, not in the logs", async () => {
  assert.ok(secrets.size > 100, `${secrets.size} secrets`);
  const tables = (
    await worker.rows("select name from sqlite_master where type = 'table' and name not like 'sqlite_%' and name not like '_cf_%'")
  ).map(({ name }) => name);
  assert.deepEqual(
    ["oauth_client", "oauth_consent", "oauth_grant", "oauth_token"].filter((name) => !tables.includes(name)),
    [],
  );
  for (const table of tables) {
    const dump = JSON.stringify(await worker.rows(`select * from "${table}"`));
    for (const secret of secrets) assert.ok(!dump.includes(secret), `${table} holds ${secret.slice(0, 20)}…`);
  }
  const logs = worker.logs();
  for (const secret of secrets)
    assert.ok(
      !logs.includes(secret),
      `the log holds ${secret.slice(0, 20)}…: ${logs
        .split("\n")
        .find((line) => line.includes(secret))
        ?.slice(0, 400)}`,
    );
  assert.deepEqual(trap.requests, [], "somebody was asked who must not be");
});
