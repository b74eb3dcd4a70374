// What thieves and forgers do with keys: proofs of possession, certificates, signed requests and answers, ID tokens that come
// back. Each row is a good request with one thing changed, and the exact answer to it.

import assert from "node:assert/strict";
import { createHash, createHmac, createPublicKey, constants, generateKeyPairSync, randomBytes, randomUUID, sign } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import { after, before, test } from "node:test";
import { decodeJwt, decodeProtectedHeader } from "jose";
import { PAGE, seedDomain, seedTenant, signUp } from "../harness/seed.mjs";
import { AUTH, DEFAULT_TENANT, startWorker } from "../harness/worker.mjs";

const REDIRECT = "https://app.example/cb";
const OTHER_HOST = "http://other.localhost";
const TOKEN = `${AUTH}/oauth2/token`,
  PAR = `${AUTH}/oauth2/par`,
  USERINFO = `${AUTH}/oauth2/userinfo`;
const URN = "urn:ietf:params:oauth:request_uri:";
const ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const MULTI_FACTOR = "http://schemas.openid.net/pape/policies/2007/06/multi-factor";
const OFFLINE = "openid email offline_access";
const STATE = "s&t=a te#ü";

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
const run = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
const query = (parameters) => new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== undefined)).toString();

const ec = () => generateKeyPairSync("ec", { namedCurve: "P-256" });
const publicJwk = (pair, more = {}) => ({ ...pair.publicKey.export({ format: "jwk" }), ...more });
const holder = ec(),
  thief = ec(),
  mine = ec(),
  foreign = ec();
const edwards = generateKeyPairSync("ed25519"),
  rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }),
  weak = generateKeyPairSync("rsa", { modulusLength: 1024 }),
  p384 = generateKeyPairSync("ec", { namedCurve: "P-384" });

/** RFC 7638, written again from the text. */
function thumbprint({ kty, crv, x, y, e, n }) {
  return digest(JSON.stringify(kty === "RSA" ? { e, kty, n } : y ? { crv, kty, x, y } : { crv, kty, x }));
}

const SIGN = {
  ES256: (input, key) => sign("sha256", input, { key, dsaEncoding: "ieee-p1363" }),
  ES384: (input, key) => sign("sha384", input, { key, dsaEncoding: "ieee-p1363" }),
  EdDSA: (input, key) => sign(null, input, key),
  RS256: (input, key) => sign("sha256", input, key),
  PS256: (input, key) => sign("sha256", input, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }),
  HS256: (input, key) => createHmac("sha256", key).update(input).digest(),
  none: () => Buffer.alloc(0),
};

/** A JWS in compact form. `by` is the algorithm that signs, whatever the header says. */
function jws(header, claims, key, by = header.alg) {
  const input = `${base64(header)}.${base64(claims)}`;
  return `${input}.${SIGN[by](Buffer.from(input), key).toString("base64url")}`;
}

let worker,
  admin,
  who,
  victim,
  clients,
  trap,
  rowCount = 0;

/** Whatever opens something: no error tells it. */
const secrets = new Set();

function checked(answer, label = "") {
  const said = `${label}: ${answer.status} ${answer.location ?? ""} ${answer.text.slice(0, 300)}`;
  assert.ok(answer.status < 500, said);
  const location = answer.location ?? "";
  const is_error = answer.status >= 400 || /[?&#]error=/.test(location);
  if (is_error) {
    assert.ok(
      !/[?&#]code=/.test(location) && !/"(access_token|refresh_token|id_token|client_secret)"/.test(answer.text),
      `an error gives something: ${said}`,
    );
    for (const secret of secrets)
      assert.ok(!answer.text.includes(secret) && !location.includes(secret), `an error tells a secret: ${said}`);
    assert.match(answer.headers["cache-control"] ?? "", /no-store/, said);
  }
  return answer;
}

const get = async (url, { browser = who.browser, headers = PAGE, label } = {}) => checked(await browser.get(url, { headers }), label);

async function form(url, fields, { browser = worker.browser(), headers = {}, label } = {}) {
  const body = typeof fields === "string" ? fields : query(fields);
  return checked(
    await browser.send("POST", url, { headers: { "content-type": "application/x-www-form-urlencoded", ...headers }, body }),
    label ?? url,
  );
}

async function register(metadata = {}) {
  const made = checked(
    await admin.browser.post(`${AUTH}/api/auth/admin/oauth2/create-client`, {
      client_name: "The app",
      redirect_uris: [REDIRECT],
      grant_types: ["authorization_code", "refresh_token"],
      skip_consent: true,
      ...metadata,
    }),
  );
  assert.equal(made.status, 201, made.text);
  if (made.json.client_secret) secrets.add(made.json.client_secret);
  return made.json;
}

/** Each row counts, and is asked in turn. */
async function each(rows, ask) {
  for (const row of rows) {
    await ask(...row);
    rowCount += 1;
  }
}

/** An error of OAuth's endpoints, exactly. `scheme` is how a 401 says what it wants. */
function refused(answer, [status, error, scheme = error === "invalid_client" ? "Basic" : "Bearer"], label = "") {
  assert.deepEqual([answer.status, answer.json.error], [status, error], `${label}: ${answer.text}`);
  assert.deepEqual(Object.keys(answer.json).sort(), ["error", "error_description"], label);
  assert.equal(answer.headers["content-type"], "application/json", label);
  if (status === 401) assert.match(answer.headers["www-authenticate"] ?? "", new RegExp(`^${scheme} `), label);
  else assert.equal(answer.headers["www-authenticate"], undefined, label);
}

/** An error on a page of ours: nobody is sent anywhere. */
function onOurPage(answer, text, label = "", status = 400) {
  assert.deepEqual([answer.status, answer.location], [status, undefined], `${label}: ${answer.text.slice(0, 300)}`);
  assert.match(answer.headers["content-type"], /^text\/html/, label);
  assert.ok(answer.text.includes(text), `${label}: ${answer.text}`);
}

/** An error that the client is told at its own URI, with `state` and `iss`. */
function toldTheClient(answer, error, { state = STATE, label = "" } = {}) {
  assert.equal(answer.status, 302, `${label}: ${answer.text.slice(0, 300)}`);
  assert.ok(answer.location.startsWith(`${REDIRECT}?`), `${label}: ${answer.location}`);
  const { error_description: _, ...told } = Object.fromEntries(new URL(answer.location).searchParams);
  assert.deepEqual(told, { error, ...(state !== null && { state }), iss: AUTH }, label);
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
const authorize = (client, more, { host = AUTH, ...options } = {}) =>
  get(`${host}/oauth2/authorize?${query(parametersOf(client, more))}`, options);
const codeOf = (answer, label = "") => {
  assert.equal(answer.status, 302, `${label}: ${answer.text.slice(0, 300)}`);
  const code = new URL(answer.location, AUTH).searchParams.get("code");
  assert.ok(code, `${label}: ${answer.location}`);
  return code;
};
const code = async (client = clients.app, more = {}, options) => codeOf(await authorize(client, { scope: OFFLINE, ...more }, options));
const asClient = (client) => (client.client_secret ? basic(client) : {});
const named = (client) => (client.client_secret ? {} : { client_id: client.client_id });
const token = (fields, { client = clients.app, headers = {}, host = AUTH, ...options } = {}) =>
  form(`${host}/oauth2/token`, { ...named(client), ...fields }, { headers: { ...asClient(client), ...headers }, ...options });
const redemption = (given, more = {}) => ({
  grant_type: "authorization_code",
  code: given,
  redirect_uri: REDIRECT,
  code_verifier: VERIFIER,
  ...more,
});
const refreshing = (given, more = {}) => ({ grant_type: "refresh_token", refresh_token: given, ...more });
const credentials = (client = clients.service, options = {}) => token({ grant_type: "client_credentials" }, { client, ...options });

async function good(answer, label) {
  const { status, text, json } = await answer;
  assert.equal(status, 200, `${label ?? ""}: ${text}`);
  return json;
}
const tokens = async (client = clients.app, more = {}, { headers, ...options } = {}) =>
  good(token(redemption(await code(client, more, options)), { client, headers }));
const introspected = async (given, client = clients.app) =>
  good(form(`${AUTH}/oauth2/introspect`, { token: given }, { headers: basic(client) }));

let nonce;
/** A proof of possession that is good, but for what is said otherwise. `undefined` takes a member away. */
function proof({
  key = holder,
  method = "POST",
  url = TOKEN,
  access,
  alg = "ES256",
  by = alg,
  signer = key.privateKey,
  header = {},
  claims = {},
} = {}) {
  const said = { jti: randomUUID(), htm: method, htu: url, iat: seconds(), nonce, ...(access && { ath: digest(access) }), ...claims };
  return jws({ typ: "dpop+jwt", alg, jwk: publicJwk(key), ...header }, said, signer, by);
}
const proven = (changes) => ({ dpop: proof(changes) });
const noncesOf = async (host) =>
  (await form(`${host}/oauth2/token`, { grant_type: "client_credentials" }, { headers: { dpop: "x" } })).headers["dpop-nonce"];

const CERTIFICATE = {
  certPresented: "1",
  certVerified: "SUCCESS",
  certRevoked: "0",
  certSubjectDNRFC2253: "CN=app,O=Acme,C=DE",
  certFingerprintSHA256: createHash("sha256").update("its certificate").digest("hex"),
};
/** What only Cloudflare can say of a connection, and in these tests the runtime's own header. */
const certified = (changes = {}) => ({ "mf-cf-blob": JSON.stringify({ tlsClientAuth: { ...CERTIFICATE, ...changes } }) });

before(async () => {
  const requests = [];
  const server = http
    .createServer((request, response) => {
      requests.push(request.url);
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ keys: [publicJwk(thief, { kid: "mine" })] }));
    })
    .listen(0, "127.0.0.1");
  await once(server, "listening");
  trap = { url: `http://localhost:${server.address().port}`, requests, stop: () => (server.closeAllConnections(), server.close()) };
  worker = await startWorker({
    settings: { SIGN_IN_WITH: "password,anonymous", SESSION_COOKIE_CACHE_SECONDS: "0", SESSION_RECHECK_SECONDS: "0" },
  });
  admin = await signUp(worker, { roles: ["admin"] });
  [who, victim] = [await signUp(worker), await signUp(worker)];
  await seedDomain(worker, await seedTenant(worker, { slug: "other" }), "other.localhost");
  const jwks = {
    keys: [
      publicJwk(mine, { kid: "mine" }),
      publicJwk(edwards, { kid: "edwards" }),
      publicJwk(rsa, { kid: "rsa" }),
      publicJwk(weak, { kid: "weak" }),
    ],
  };
  const list = {
    app: {},
    second: {},
    asks: { skip_consent: false },
    limited: { scope: "openid email" },
    pub: { token_endpoint_auth_method: "none" },
    service: { redirect_uris: [], grant_types: ["client_credentials"], skip_consent: false },
    bound: { dpop_bound_access_tokens: true, grant_types: ["client_credentials", "authorization_code", "refresh_token"] },
    jar: { jwks },
    jarToo: { jwks: { keys: [publicJwk(foreign, { kid: "mine" })] } },
    jarOnly: { jwks, require_signed_request_object: true, request_object_signing_alg: "ES256" },
    parOnly: { require_pushed_authorization_requests: true },
    keyed: {
      token_endpoint_auth_method: "private_key_jwt",
      jwks,
      token_endpoint_auth_signing_alg: "ES256",
      grant_types: ["client_credentials"],
    },
    tls: {
      token_endpoint_auth_method: "tls_client_auth",
      tls_client_auth_subject_dn: CERTIFICATE.certSubjectDNRFC2253,
      grant_types: ["client_credentials"],
      redirect_uris: [],
    },
    tlsBound: {
      tls_client_certificate_bound_access_tokens: true,
      grant_types: ["authorization_code", "refresh_token", "client_credentials"],
    },
    told: { userinfo_signed_response_alg: "ES256" },
    global: {},
  };
  clients = Object.fromEntries(await Promise.all(Object.entries(list).map(async ([name, metadata]) => [name, await register(metadata)])));
  await run("update oauth_client set tenant_id = null where client_id = ?", clients.global.client_id);
  nonce = await noncesOf(AUTH);
  assert.ok(nonce);
  secrets.add(VERIFIER);
});
after(async () => {
  await worker?.dispose();
  trap?.stop();
});

const BAD_PROOF = [400, "invalid_dpop_proof"],
  NEW_NONCE = [400, "use_dpop_nonce"];

/** Proofs that prove nothing, as changes of a good one: [what, changes]. Neither endpoint takes them. */
const forgeries = () => [
  ...[undefined, "JWT", "dpop", "at+jwt", "oauth-authz-req+jwt", "application/jwt", "", 7, ["dpop+jwt"]].map((typ) => [
    `typ ${typ}`,
    { header: { typ } },
  ]),
  ["alg none, unsigned", { alg: "none" }],
  ["alg none, signed", { header: { alg: "none" } }],
  ["no alg", { header: { alg: undefined } }],
  ["alg in small letters", { header: { alg: "es256" } }],
  ["HS256 by the public key", { alg: "HS256", signer: JSON.stringify(publicJwk(holder)) }],
  ["HS256 with a symmetric jwk", { alg: "HS256", signer: "secret", header: { jwk: { kty: "oct", k: base64("secret") } } }],
  ["a symmetric jwk", { header: { jwk: { kty: "oct", k: base64("secret") } } }],
  ["a key that is not the jwk", { signer: thief.privateKey }],
  ["the jwk of somebody else", { header: { jwk: publicJwk(thief) } }],
  ["ES384", { key: p384, alg: "ES384" }],
  ["P-384 under ES256", { key: p384, by: "ES384" }],
  ["RSA of 1024 bits by RS256", { key: weak, alg: "RS256" }],
  ["RSA of 1024 bits by PS256", { key: weak, alg: "PS256" }],
  ["PS256 said, RS256 signed", { key: rsa, alg: "PS256", by: "RS256" }],
  ["an RSA key under ES256", { key: rsa, alg: "ES256", by: "RS256" }],
  ["an EC key under EdDSA", { alg: "EdDSA", by: "ES256" }],
  ["no jwk", { header: { jwk: undefined } }],
  ["jwk null", { header: { jwk: null } }],
  ["jwk as a text", { header: { jwk: JSON.stringify(publicJwk(holder)) } }],
  ["jwk as a list", { header: { jwk: [publicJwk(holder)] } }],
  ["jwk without members", { header: { jwk: {} } }],
  ["jwk without y", { header: { jwk: { ...publicJwk(holder), y: undefined } } }],
  ["jwk with the private half", { header: { jwk: holder.privateKey.export({ format: "jwk" }) } }],
  ["jwk with an empty private half", { header: { jwk: { ...publicJwk(holder), d: "" } } }],
  ["RSA jwk with a private prime", { key: rsa, alg: "RS256", header: { jwk: { ...publicJwk(rsa), p: "AQ" } } }],
  ["jwk for encryption", { header: { jwk: publicJwk(holder, { use: "enc" }) } }],
  ["jwk that may not verify", { header: { jwk: publicJwk(holder, { key_ops: ["sign"] }) } }],
  ["jwk of another algorithm", { header: { jwk: publicJwk(holder, { alg: "ES384" }) } }],
  ["a point that is on no curve", { header: { jwk: publicJwk(holder, { x: base64(Buffer.alloc(32, 1)) }) } }],
  ["a coordinate that is cut", { header: { jwk: publicJwk(holder, { x: publicJwk(holder).x.slice(2) }) } }],
  ["a coordinate of zeros", { header: { jwk: publicJwk(holder, { x: base64(Buffer.alloc(32)), y: base64(Buffer.alloc(32)) }) } }],
  ["a key named instead of shown", { header: { jwk: undefined, jku: "http://localhost/jwks", kid: "mine" } }],
  ["crit", { header: { crit: ["exp"] } }],
  ["an empty crit", { header: { crit: [] } }],
  ...[undefined, "", 7, null, ["x"], "x".repeat(513)].map((jti) => [`jti ${String(jti).slice(0, 10)}`, { claims: { jti } }]),
  ...[undefined, "PUT", "post", "", "POST ", 7].map((htm) => [`htm ${htm}`, { claims: { htm } }]),
  ...[
    undefined,
    "",
    "/oauth2/token",
    `${AUTH}/oauth2/tokens`,
    `${AUTH}/oauth2/revoke`,
    `${AUTH}/`,
    `${AUTH}/OAUTH2/TOKEN`,
    `${AUTH}/oauth2/token/`,
    `${AUTH}//oauth2/token`,
    "https://auth.localhost/oauth2/token",
    "http://auth.localhost:8080/oauth2/token",
    "http://auth.localhost.evil.example/oauth2/token",
    "http://user@auth.localhost/oauth2/token",
    `${OTHER_HOST}/oauth2/token`,
    "https://evil.example/oauth2/token",
    7,
    [TOKEN],
  ].map((htu) => [`htu ${htu}`, { claims: { htu } }]),
  ...[
    undefined,
    "now",
    String(seconds()),
    null,
    seconds() - 400,
    seconds() + 400,
    0,
    -1,
    Date.now(),
    Number.MAX_SAFE_INTEGER,
    1e300,
    -1e300,
  ].map((iat) => [`iat ${iat}`, { claims: { iat } }]),
];

test("DPoP at the token endpoint: a proof that is not good proves nothing", async () => {
  const ask = (headers) => credentials(clients.service, { headers });
  const given = await good(ask(proven()), "the good proof, of which all below are made");
  assert.deepEqual([given.token_type, decodeJwt(given.access_token).cnf], ["DPoP", { jkt: thumbprint(publicJwk(holder)) }]);
  // What a proof may say otherwise.
  await each(
    [
      ["Ed25519", { key: edwards, alg: "EdDSA" }],
      ["RS256", { key: rsa, alg: "RS256" }],
      ["PS256", { key: rsa, alg: "PS256" }],
      ["a query", { claims: { htu: `${TOKEN}?x=1#y` } }],
      ["the default port", { claims: { htu: "http://auth.localhost:80/oauth2/token" } }],
      ["a host in capitals", { claims: { htu: "http://AUTH.localhost/oauth2/token" } }],
      ["a clock that is a minute off", { claims: { iat: seconds() - 60 } }],
      ["more claims", { claims: { sub: "x", ath: "x" } }],
    ],
    async (label, changes) => assert.equal((await good(ask(proven(changes)), label)).token_type, "DPoP", label),
  );
  await each(forgeries(), async (label, changes) => {
    const answer = await ask(proven(changes));
    refused(answer, BAD_PROOF, label);
    assert.equal(answer.headers["dpop-nonce"], nonce, label);
  });
  const foreignNonce = await noncesOf(OTHER_HOST);
  assert.ok(foreignNonce && foreignNonce !== nonce, "each tenant has nonces of its own");
  await each(
    [
      undefined,
      "",
      7,
      null,
      "x",
      nonce.slice(1),
      `${nonce}x`,
      nonce.toLowerCase() === nonce ? "x" : nonce.toLowerCase(),
      foreignNonce,
      [nonce],
    ].map((bad) => [bad]),
    async (bad) => {
      const answer = await ask(proven({ claims: { nonce: bad } }));
      refused(answer, NEW_NONCE, `nonce ${bad}`);
      assert.equal(answer.headers["dpop-nonce"], nonce);
    },
  );
  const [header, payload, signature] = proof().split(".");
  const [, swapped] = proof({ claims: { jti: "swapped" } }).split(".");
  await each(
    [
      ["empty", ""],
      ["garbage", "garbage"],
      ["two parts", `${header}.${payload}`],
      ["no signature", `${header}.${payload}.`],
      ["another payload", `${header}.${swapped}.${signature}`],
      ["another signature", `${header}.${payload}.${base64(randomBytes(64))}`],
      ["five parts", `${header}.${payload}.${signature}.x.y`],
      [
        "a signature in DER",
        `${header}.${payload}.${sign("sha256", Buffer.from(`${header}.${payload}`), holder.privateKey).toString("base64url")}`,
      ],
      ["a payload that is a list", jws({ typ: "dpop+jwt", alg: "ES256", jwk: publicJwk(holder) }, [1], holder.privateKey)],
      ["a scheme in front", `DPoP ${proof()}`],
      ["two in one", `${proof()}, ${proof()}`],
      ["two headers", [proof(), proof()]],
      ["the same header twice", Array(2).fill(proof())],
      ["much", "x".repeat(12_000)],
      ["padded", `${header}=.${payload}.${signature}`],
      ["JSON serialisation", JSON.stringify({ payload, signatures: [{ protected: header, signature }] })],
      [
        "a header nested 200 deep",
        `${base64(`{"typ":"dpop+jwt","alg":"ES256","jwk":${"[".repeat(200)}${"]".repeat(200)}}`)}.${payload}.${signature}`,
      ],
    ],
    async (label, dpop) => refused(await ask({ dpop }), BAD_PROOF, label),
  );
  assert.equal((await good(ask({ dpop: `${header}.${payload}.${signature}` }), "after all that the good one")).token_type, "DPoP");
  refused(await ask({ dpop: `${header}.${payload}.${signature}` }), BAD_PROOF, "and once");
});

test("DPoP: a jti is good once a key, wherever it is shown", async () => {
  const ask = (headers) => credentials(clients.service, { headers });
  const jti = randomUUID();
  await good(ask(proven({ claims: { jti } })));
  await good(ask(proven({ key: thief, claims: { jti } })), "another key has jtis of its own: a thief cannot use up a stranger's");
  refused(await ask(proven({ claims: { jti } })), BAD_PROOF, "made anew with the same jti");
  refused(await ask(proven({ claims: { jti, iat: seconds() - 30 } })), BAD_PROOF, "at another time");
  refused(
    await token({ grant_type: "client_credentials" }, { client: clients.bound, headers: proven({ claims: { jti } }) }),
    BAD_PROOF,
    "by another client",
  );
  refused(
    await form(PAR, parametersOf(clients.app), { headers: { ...basic(clients.app), ...proven({ url: PAR, claims: { jti } }) } }),
    BAD_PROOF,
    "at another endpoint",
  );
  const { access_token: access } = await tokens(clients.app, {}, { headers: proven() });
  assert.equal(
    (
      await get(USERINFO, {
        headers: { authorization: `DPoP ${access}`, ...proven({ method: "GET", url: USERINFO, access, claims: { jti } }) },
      })
    ).json.error,
    "invalid_dpop_proof",
    "at userinfo",
  );
  rowCount += 5;
});

test("DPoP: 30 requests with one proof give one token, and one look at userinfo", async () => {
  const { access_token: access } = await tokens(clients.app, {}, { headers: proven() });
  const before = (await worker.rows("select count(*) as n from oauth_token"))[0].n;
  const headers = proven();
  const answers = await Promise.all(Array.from({ length: 30 }, () => credentials(clients.service, { headers })));
  assert.equal(answers.filter(({ status }) => status === 200).length, 1, JSON.stringify(answers.map(({ status }) => status)));
  for (const answer of answers) if (answer.status !== 200) refused(answer, BAD_PROOF);
  assert.equal((await worker.rows("select count(*) as n from oauth_token"))[0].n, before + 1, "the others wrote tokens all the same");
  const shown = { authorization: `DPoP ${access}`, ...proven({ method: "GET", url: USERINFO, access }) };
  const looks = await Promise.all(Array.from({ length: 30 }, () => get(USERINFO, { browser: worker.browser(), headers: shown })));
  assert.equal(looks.filter(({ status }) => status === 200).length, 1, JSON.stringify(looks.map(({ status }) => status)));
  for (const look of looks) if (look.status !== 200) assert.equal(look.json.error, "invalid_dpop_proof", look.text);
  // A proof that is used up takes no code, and no refresh token, with it.
  const given = await code(clients.pub);
  const redeemed = await Promise.all(Array.from({ length: 20 }, () => token(redemption(given), { client: clients.pub, headers })));
  for (const answer of redeemed) refused(answer, BAD_PROOF);
  assert.equal(
    (await good(token(redemption(given), { client: clients.pub, headers: proven() }), "the code was not used up")).token_type,
    "DPoP",
  );
});

test("DPoP at userinfo: a bound token is worth nothing without its key, and an unbound one proves nothing", async () => {
  const [{ access_token: bound, refresh_token: refresh }, { access_token: plain }, { access_token: another }] = [
    await tokens(clients.app, {}, { headers: proven() }),
    await tokens(),
    await tokens(clients.app, {}, { headers: proven() }),
  ];
  const scheme = (name, given, headers = {}) => ({ authorization: `${name} ${given}`, ...headers });
  const shown = (changes = {}) => proven({ method: "GET", url: USERINFO, access: bound, ...changes });
  const ask = (headers) => get(USERINFO, { browser: worker.browser(), headers });
  const fine = async (headers, label) => assert.equal((await good(ask(headers), label)).sub, who.id, label);
  await fine(scheme("DPoP", bound, shown()), "the good one");
  await fine(scheme("dpop", bound, shown()), "a scheme is in either case");
  await fine(scheme("Bearer", plain), "an unbound one");
  const bad = [401, "invalid_dpop_proof", "DPoP"],
    token_ = [401, "invalid_token", "DPoP"];
  await each(
    [
      ["downgraded: by Bearer, without a proof", scheme("Bearer", bound), token_],
      ["downgraded: by Bearer, with its proof", scheme("Bearer", bound, shown()), token_],
      ["by DPoP without a proof", scheme("DPoP", bound), token_],
      ["a thief's proof", scheme("DPoP", bound, shown({ key: thief })), token_],
      ["an unbound one by DPoP", scheme("DPoP", plain, shown({ access: plain })), [401, "invalid_token"]],
      ["a refresh token", scheme("DPoP", refresh, shown({ access: refresh })), token_],
      ["a token that is unknown", scheme("DPoP", "x", shown({ access: "x" })), token_],
      ["of no token", scheme("DPoP", bound, shown({ claims: { ath: undefined } })), bad],
      ["of another token", scheme("DPoP", bound, shown({ access: another })), bad],
      ["of the token itself, not its digest", scheme("DPoP", bound, shown({ claims: { ath: bound } })), bad],
      [
        "of a digest in hexadecimal",
        scheme("DPoP", bound, shown({ claims: { ath: createHash("sha256").update(bound).digest("hex") } })),
        bad,
      ],
      ["of a digest that is no text", scheme("DPoP", bound, shown({ claims: { ath: [digest(bound)] } })), bad],
      ["made for POST", scheme("DPoP", bound, shown({ method: "POST" })), bad],
      ["made for the token endpoint", scheme("DPoP", bound, shown({ url: TOKEN })), bad],
      ["made for another tenant", scheme("DPoP", bound, shown({ url: `${OTHER_HOST}/oauth2/userinfo` })), bad],
      ["signed by another key", scheme("DPoP", bound, shown({ signer: thief.privateKey })), bad],
      ["with the private half", scheme("DPoP", bound, shown({ header: { jwk: holder.privateKey.export({ format: "jwk" }) } })), bad],
      ["without a nonce", scheme("DPoP", bound, shown({ claims: { nonce: undefined } })), [401, "use_dpop_nonce", "DPoP"]],
      [
        "with another tenant's nonce",
        scheme("DPoP", bound, shown({ claims: { nonce: await noncesOf(OTHER_HOST) } })),
        [401, "use_dpop_nonce", "DPoP"],
      ],
      ["an unbound token by Bearer with a bad proof", scheme("Bearer", plain, shown({ header: { typ: "JWT" } })), bad],
      ["no token but a proof", shown(), [401, "invalid_token", "Bearer,"]],
    ],
    async (label, headers, expected) => refused(await ask(headers), expected, label),
  );
  refused(await form(USERINFO, { access_token: bound }), token_, "in a form");
  refused(
    await form(USERINFO, { access_token: bound }, { headers: proven({ url: USERINFO, access: bound }) }),
    token_,
    "in a form with its proof",
  );
  refused(
    await form(USERINFO, { access_token: bound }, { headers: scheme("DPoP", bound, proven({ url: USERINFO, access: bound })) }),
    [400, "invalid_request"],
    "twice",
  );
  const challenge = (await ask(scheme("DPoP", bound))).headers["www-authenticate"];
  assert.match(challenge, /algs="ES256 EdDSA Ed25519 RS256 PS256"/);
  await fine(scheme("DPoP", bound, shown()), "and still the good one");
  // On another tenant's host the token is unknown, whatever is proven there.
  const elsewhere = `${OTHER_HOST}/oauth2/userinfo`;
  refused(
    await get(elsewhere, {
      headers: scheme(
        "DPoP",
        bound,
        proven({ method: "GET", url: elsewhere, access: bound, claims: { nonce: await noncesOf(OTHER_HOST) } }),
      ),
    }),
    token_,
    "another tenant's host",
  );
  rowCount += 4;
});

test("DPoP: a stolen code that is bound to a key is good with that key alone", async () => {
  const jkt = thumbprint(publicJwk(holder));
  const pushed = async (client, { headers = {}, ...more } = {}) => {
    const answer = await form(
      PAR,
      { ...parametersOf(client, { scope: OFFLINE, ...more }) },
      { headers: { ...asClient(client), ...headers } },
    );
    assert.equal(answer.status, 201, answer.text);
    return codeOf(await get(`${AUTH}/oauth2/authorize?${query({ client_id: client.client_id, request_uri: answer.json.request_uri })}`));
  };
  for (const client of [clients.pub, clients.app]) {
    for (const [way, given] of [
      ["dpop_jkt", await code(client, { dpop_jkt: jkt })],
      ["dpop_jkt pushed", await pushed(client, { dpop_jkt: jkt })],
      ["a proof at PAR", await pushed(client, { headers: proven({ url: PAR }) })],
    ]) {
      await each(
        [
          ["without a proof", {}, [400, "invalid_grant"]],
          ["with the thief's key", proven({ key: thief }), [400, "invalid_grant"]],
          ["with the holder's key, signed by the thief", proven({ signer: thief.privateKey }), BAD_PROOF],
          ["with a certificate", certified(), [400, "invalid_grant"]],
        ],
        async (label, headers, expected) => refused(await token(redemption(given), { client, headers }), expected, `${way}: ${label}`),
      );
      assert.equal(
        (await good(token(redemption(given), { client, headers: proven() }), way)).token_type,
        "DPoP",
        "the holder comes later and gets it all the same",
      );
    }
  }
  await each(
    ["", "x", jkt.slice(1), `${jkt}x`, `${jkt}=`, jkt.replace(/.$/, "+"), createHash("sha256").update("x").digest("hex")]
      .filter(Boolean)
      .map((bad) => [bad]),
    async (bad) => toldTheClient(await authorize(clients.app, { dpop_jkt: bad }), "invalid_request", { label: bad }),
  );
  const at = (fields, headers) => form(PAR, parametersOf(clients.app, fields), { headers: { ...basic(clients.app), ...headers } });
  await each(
    [
      ["dpop_jkt of another key than the proof", { dpop_jkt: jkt }, proven({ url: PAR, key: thief }), BAD_PROOF],
      ["a proof for the token endpoint", {}, proven(), BAD_PROOF],
      ["a proof for GET", {}, proven({ url: PAR, method: "GET" }), BAD_PROOF],
      ["a proof without a nonce", {}, proven({ url: PAR, claims: { nonce: undefined } }), NEW_NONCE],
      ["dpop_jkt that is none", { dpop_jkt: "x" }, {}, [400, "invalid_request"]],
    ],
    async (label, fields, headers, expected) => refused(await at(fields, headers), expected, label),
  );
  assert.equal((await at({ dpop_jkt: jkt }, proven({ url: PAR }))).status, 201, "the good one");
});

test("DPoP: a public client's stolen refresh token is good with its key alone, and whoever lacks the key ends nothing", async () => {
  const { refresh_token: refresh, access_token: access } = await tokens(clients.pub, {}, { headers: proven() });
  const ask = (headers, given = refresh) => token(refreshing(given), { client: clients.pub, headers });
  const thieves = [
    ["without a proof", {}],
    ["with another key", proven({ key: thief })],
    ["with a certificate", certified()],
  ];
  await each(thieves, async (label, headers) => refused(await ask(headers), [400, "invalid_grant"], label));
  const rotated = await good(ask(proven()));
  assert.equal(rotated.token_type, "DPoP");
  // In the seconds in which a rotated one gives its successor once more.
  await each(thieves, async (label, headers) => refused(await ask(headers), [400, "invalid_grant"], `once more, ${label}`));
  assert.equal((await good(ask(proven()))).refresh_token, rotated.refresh_token);
  await run("update oauth_token set used_at = used_at - 20000 where token_hash = ?", digest(refresh));
  await each(thieves, async (label, headers) => refused(await ask(headers), [400, "invalid_grant"], `later, ${label}`));
  const next = await good(ask(proven(), rotated.refresh_token), "a thief without the key ended the family");
  // The key cannot be exchanged for another on the way.
  refused(await ask(proven({ key: thief }), next.refresh_token), [400, "invalid_grant"], "a switch of keys");
  refused(await ask(proven()), [400, "invalid_grant"], "the holder's own replay");
  refused(await ask(proven(), next.refresh_token), [400, "invalid_grant"], "which ended all of it");
  refused(await get(USERINFO, { headers: { authorization: `DPoP ${access}`, ...proven({ method: "GET", url: USERINFO, access }) } }), [
    401,
    "invalid_token",
    "DPoP",
  ]);
  // What a public client got without a key, it may bind from then on, and not unbind again.
  const loose = await tokens(clients.pub);
  const bound = await good(token(refreshing(loose.refresh_token), { client: clients.pub, headers: proven() }));
  assert.equal(bound.token_type, "DPoP");
  refused(await ask({}, bound.refresh_token), [400, "invalid_grant"], "unbound again");
  // A confidential one has credentials to be known by, and may change its keys.
  const own = await tokens(clients.app, {}, { headers: proven() });
  const moved = await good(token(refreshing(own.refresh_token), { headers: proven({ key: thief }) }));
  assert.equal(decodeJwt(moved.access_token).cnf.jkt, thumbprint(publicJwk(thief)));
  rowCount += 6;
});

test("DPoP: a client whose tokens are to be bound gets no others, by any grant", async () => {
  const given = await code(clients.bound);
  const first = await good(token(redemption(given), { client: clients.bound, headers: proven() }));
  await each(
    [
      ["client_credentials", { grant_type: "client_credentials" }],
      ["authorization_code", redemption(await code(clients.bound))],
      ["refresh_token", refreshing(first.refresh_token)],
    ],
    async (label, fields) => {
      refused(await token(fields, { client: clients.bound }), BAD_PROOF, label);
      refused(await token(fields, { client: clients.bound, headers: certified() }), BAD_PROOF, `${label}, with a certificate`);
    },
  );
  assert.equal((await good(token(refreshing(first.refresh_token), { client: clients.bound, headers: proven() }))).token_type, "DPoP");
  const seen = await introspected(first.access_token, clients.bound);
  assert.deepEqual([seen.active, seen.token_type, seen.cnf], [true, "DPoP", { jkt: thumbprint(publicJwk(holder)) }]);
});

test("DPoP: every answer to whoever shows a key names the nonce, for scripts to read", async () => {
  const posts = [
    [TOKEN, {}],
    [TOKEN, { grant_type: "x", client_id: "x" }],
    [PAR, {}],
    [`${AUTH}/oauth2/introspect`, {}],
    [`${AUTH}/oauth2/revoke`, {}],
    [USERINFO, {}],
  ];
  await each(posts, async (url, fields) => {
    const answer = await form(url, fields, { headers: { dpop: "x", origin: "https://spa.example" } });
    assert.ok(answer.status >= 400, url);
    assert.equal(answer.headers["dpop-nonce"], nonce, url);
    assert.deepEqual(
      [answer.headers["access-control-allow-origin"], answer.headers["access-control-allow-credentials"]],
      ["*", undefined],
      url,
    );
    assert.match(answer.headers["access-control-expose-headers"], /DPoP-Nonce/i, url);
    assert.equal((await form(url, fields)).headers["dpop-nonce"], undefined, `${url} without a proof`);
  });
  assert.equal(
    (await get(`${AUTH}/oauth2/authorize`, { headers: { ...PAGE, dpop: "x" } })).headers["dpop-nonce"],
    undefined,
    "no endpoint of keys",
  );
});

/** What a stranger on the network may write into a request's headers. */
const HEADERS = [
  { "cf-client-cert-subject-dn-rfc2253": CERTIFICATE.certSubjectDNRFC2253, "cf-client-cert-verified": "true" },
  { "cf-cert-verified": "true", "cf-cert-presented": "true", "cf-cert-subject-dn": CERTIFICATE.certSubjectDNRFC2253 },
  { "x-ssl-client-verify": "SUCCESS", "x-ssl-client-s-dn": CERTIFICATE.certSubjectDNRFC2253 },
  { "ssl-client-verify": "SUCCESS", "ssl-client-subject-dn": CERTIFICATE.certSubjectDNRFC2253 },
  { "x-forwarded-client-cert": `Subject="${CERTIFICATE.certSubjectDNRFC2253}"` },
  { "client-cert": ":MIIB:" },
  { cf: JSON.stringify({ tlsClientAuth: CERTIFICATE }) },
  { "cf-tlsclientauth": JSON.stringify(CERTIFICATE) },
  { "x-tls-client-auth": JSON.stringify(CERTIFICATE) },
  { "cf-blob": JSON.stringify({ tlsClientAuth: CERTIFICATE }) },
];

test("mTLS: a client is its certificate's, verified and of that very subject, and nobody's who only says so", async () => {
  const ask = (headers, more = {}, client = clients.tls) => token({ grant_type: "client_credentials", ...more }, { client, headers });
  assert.equal((await good(ask(certified()), "the good one")).token_type, "Bearer");
  const failed = [401, "invalid_client"];
  const dn = CERTIFICATE.certSubjectDNRFC2253;
  await each(
    [
      ["none", {}],
      ...HEADERS.map((headers) => [`forged headers ${Object.keys(headers)}`, headers]),
      ["not presented", certified({ certPresented: "0" })],
      ["presented as a number", certified({ certPresented: 1 })],
      ["presented as true", certified({ certPresented: true })],
      ...[
        "NONE",
        "FAILED",
        "FAILED:self signed certificate",
        "FAILED:certificate has expired",
        "FAILED:unable to get local issuer certificate",
        "success",
        "SUCCESS ",
        "",
        undefined,
        true,
      ].map((verified) => [`verified ${verified}`, certified({ certVerified: verified })]),
      ...[
        "CN=other,O=Acme,C=DE",
        "cn=app,o=acme,c=de",
        "C=DE,O=Acme,CN=app",
        "CN=app",
        `${dn},OU=x`,
        `OU=x,${dn}`,
        ` ${dn}`,
        `${dn} `,
        dn.replaceAll(",", ", "),
        "CN=app\\,O=Acme,C=DE",
        "CN=app\0,O=Acme,C=DE",
        "*",
        "",
        undefined,
        [dn],
      ].map((subject) => [`subject ${subject}`, certified({ certSubjectDNRFC2253: subject })]),
      ["the subject in another form alone", certified({ certSubjectDNRFC2253: undefined, certSubjectDN: dn, certSubjectDNLegacy: dn })],
      ["the issuer's name alone", certified({ certSubjectDNRFC2253: "CN=x", certIssuerDNRFC2253: dn })],
      ["a fingerprint that is none", certified({ certFingerprintSHA256: "zz" })],
      ["no fingerprint", certified({ certFingerprintSHA256: undefined })],
      ["cf without it", { "mf-cf-blob": "{}" }],
      ["cf that is a text", { "mf-cf-blob": JSON.stringify({ tlsClientAuth: JSON.stringify(CERTIFICATE) }) }],
      ["cf that is null", { "mf-cf-blob": JSON.stringify({ tlsClientAuth: null }) }],
    ],
    async (label, headers) => refused(await ask(headers), failed, label),
  );
  await each(
    [
      ["a secret beside it", { client_secret: "x" }, failed],
      [
        "an assertion beside it",
        { client_assertion: jws({ alg: "ES256" }, { sub: clients.tls.client_id }, thief.privateKey), client_assertion_type: ASSERTION },
        failed,
      ],
      ["an empty assertion's type alone", { client_assertion_type: ASSERTION }, null],
    ],
    async (label, more, expected) =>
      expected ? refused(await ask(certified(), more), expected, label) : good(ask(certified(), more), label),
  );
  refused(
    await token(
      { grant_type: "client_credentials" },
      { client: { client_id: clients.tls.client_id, client_secret: "x" }, headers: certified() },
    ),
    failed,
    "by Basic",
  );
  // A certificate stands for the clients that are registered with its subject, and for none that are not.
  await each(
    [
      ["a client with a secret", clients.service],
      ["a client with keys", clients.keyed],
    ],
    async (label, client) =>
      refused(
        await form(TOKEN, { grant_type: "client_credentials", client_id: client.client_id }, { headers: certified() }),
        failed,
        label,
      ),
  );
  for (const path of ["introspect", "par"])
    refused(
      await form(
        `${AUTH}/oauth2/${path}`,
        { client_id: clients.tls.client_id, token: "x" },
        { headers: certified({ certVerified: "NONE" }) },
      ),
      failed,
      path,
    );
  assert.equal((await good(ask(certified()), "after all that")).token_type, "Bearer");
});

test("mTLS: a token that is bound to a certificate is worth nothing with another, or with none", async () => {
  const client = clients.tlsBound,
    other = certified({ certFingerprintSHA256: "00".repeat(32) });
  const given = await tokens(client, {}, { headers: certified() });
  const expected = { "x5t#S256": Buffer.from(CERTIFICATE.certFingerprintSHA256, "hex").toString("base64url") };
  assert.deepEqual(
    [given.token_type, decodeJwt(given.access_token).cnf, (await introspected(given.access_token, client)).cnf],
    ["Bearer", expected, expected],
  );
  const bearer = { authorization: `Bearer ${given.access_token}` };
  assert.equal((await good(get(USERINFO, { headers: { ...bearer, ...certified() } }))).sub, who.id);
  await each(
    [
      ["none", {}],
      ["another", other],
      ["one that was not presented", certified({ certPresented: "0" })],
      ["a proof of a key", proven({ method: "GET", url: USERINFO, access: given.access_token })],
      ...HEADERS.slice(0, 4).map((headers) => [`headers ${Object.keys(headers)}`, headers]),
    ],
    async (label, headers) => refused(await get(USERINFO, { headers: { ...bearer, ...headers } }), [401, "invalid_token"], label),
  );
  refused(
    await get(USERINFO, {
      headers: {
        authorization: `DPoP ${given.access_token}`,
        ...certified(),
        ...proven({ method: "GET", url: USERINFO, access: given.access_token }),
      },
    }),
    [401, "invalid_token"],
    "by DPoP",
  );
  await each(
    [
      ["none", {}],
      ["forged headers", HEADERS[0]],
      ["not presented", certified({ certPresented: "0" })],
    ],
    async (label, headers) => {
      refused(await credentials(client, { headers }), [400, "invalid_request"], label);
      refused(await token(refreshing(given.refresh_token), { client, headers }), [400, "invalid_request"], label);
    },
  );
  // By both at once it is bound to both.
  const both = await good(credentials(client, { headers: { ...certified(), ...proven() } }));
  assert.deepEqual([both.token_type, decodeJwt(both.access_token).cnf], ["DPoP", { jkt: thumbprint(publicJwk(holder)), ...expected }]);
  const two = await tokens(client, {}, { headers: { ...certified(), ...proven() } });
  const ask = (headers) => get(USERINFO, { headers: { authorization: `DPoP ${two.access_token}`, ...headers } });
  const shown = () => proven({ method: "GET", url: USERINFO, access: two.access_token });
  refused(await ask(shown()), [401, "invalid_token", "DPoP"], "the key without the certificate");
  refused(await ask({ ...shown(), ...other }), [401, "invalid_token", "DPoP"], "the key with another certificate");
  refused(await ask(certified()), [401, "invalid_token", "DPoP"], "the certificate without the key");
  assert.equal((await good(ask({ ...shown(), ...certified() }))).sub, who.id);
  rowCount += 4;
});

test("client authentication by a key: other JWTs of the client's are no assertions", async () => {
  const client = clients.keyed;
  const claims = (more = {}) => ({
    iss: client.client_id,
    sub: client.client_id,
    aud: AUTH,
    exp: seconds() + 60,
    jti: randomUUID(),
    ...more,
  });
  const ask = (assertion, headers = {}) =>
    form(TOKEN, { grant_type: "client_credentials", client_assertion: assertion, client_assertion_type: ASSERTION }, { headers });
  const made = (more, header = {}, key = mine.privateKey, by) => jws({ alg: "ES256", kid: "mine", ...header }, claims(more), key, by);
  await good(ask(made()), "the good one");
  const failed = [401, "invalid_client"];
  await each(
    [
      ["another algorithm than it registered", jws({ alg: "EdDSA", kid: "edwards" }, claims(), edwards.privateKey)],
      ["RS256, which it did not register", jws({ alg: "RS256", kid: "rsa" }, claims(), rsa.privateKey)],
      ["alg none", made({}, { alg: "none" }, null, "none")],
      ["HS256 by its public key", made({}, { alg: "HS256" }, JSON.stringify(publicJwk(mine)), "HS256")],
      ["an embedded key", made({}, { jwk: publicJwk(thief) }, thief.privateKey)],
      ["a key elsewhere", made({}, { jku: trap.url, kid: "mine" }, thief.privateKey)],
      [
        "a request object",
        jws(
          { alg: "ES256", kid: "mine", typ: "oauth-authz-req+jwt" },
          { iss: client.client_id, aud: AUTH, ...parametersOf(client), exp: seconds() + 60, jti: randomUUID() },
          mine.privateKey,
        ),
      ],
      ["a proof of possession", proof({ key: mine })],
      ["a proof that names the client", proof({ key: mine, claims: { iss: client.client_id, sub: client.client_id } })],
      ["for another tenant", made({ aud: OTHER_HOST })],
      ["for us and for somebody else", made({ aud: [AUTH, "https://evil.example"] })],
      ["for userinfo", made({ aud: USERINFO })],
      ["of the future", made({ nbf: seconds() + 100 })],
      ["without an end", made({ exp: undefined })],
      ["with an end that is a text", made({ exp: String(seconds() + 60) })],
      ["with an end that never comes", made({ exp: 9_007_199_254_740_991 })],
      ["by another client's key", made({}, {}, foreign.privateKey)],
      ["sub is a list", made({ sub: [client.client_id] })],
    ],
    async (label, assertion) => refused(await ask(assertion), failed, label),
  );
  // A proof that was used before takes no assertion with it.
  const shown = proven();
  await good(credentials(clients.service, { headers: shown }));
  const fresh = made();
  assert.notEqual((await ask(fresh, shown)).status, 200, "a used proof");
  await good(ask(fresh, proven()), "the assertion was not used up by a request that failed");
});

/** A request object that is good, but for what is said otherwise. */
function requestObject(client, more = {}, { key = mine.privateKey, by, ...header } = {}) {
  return jws(
    { alg: "ES256", kid: "mine", typ: "oauth-authz-req+jwt", ...header },
    { iss: client.client_id, aud: AUTH, exp: seconds() + 60, jti: randomUUID(), ...parametersOf(client), ...more },
    key,
    by,
  );
}

test("JAR: a request object that is forged, another's, or something else is none", async () => {
  const client = clients.jar;
  const at = (request, more = {}) => get(`${AUTH}/oauth2/authorize?${query({ client_id: client.client_id, request, ...more })}`);
  const push = (request, more = {}) => form(PAR, { client_id: client.client_id, request, ...more }, { headers: basic(client) });
  codeOf(await at(requestObject(client)), "the good one");
  await each(
    [
      ["typ JWT", requestObject(client, {}, { typ: "JWT" })],
      ["no typ", requestObject(client, {}, { typ: undefined })],
      ["without iss, aud and exp", requestObject(client, { iss: undefined, aud: undefined, exp: undefined })],
      ["Ed25519", requestObject(client, {}, { alg: "EdDSA", kid: "edwards", key: edwards.privateKey })],
      ["PS256", requestObject(client, {}, { alg: "PS256", kid: "rsa", key: rsa.privateKey })],
      ["two audiences", requestObject(client, { aud: ["https://them.example", AUTH] })],
      ["no kid", requestObject(client, {}, { kid: undefined })],
      ["nulls", requestObject(client, { prompt: null, max_age: null, resource: null })],
    ],
    async (label, request) => {
      codeOf(await at(request), label);
      assert.equal((await push(request)).status, 201, label);
    },
  );
  const own = await tokens(client);
  const [header, payload, signature] = requestObject(client).split(".");
  const [, swapped] = requestObject(client, { scope: "openid phone" }).split(".");
  const bare = (claims, typ) => jws({ alg: "ES256", kid: "mine", ...(typ && { typ }) }, claims, mine.privateKey);
  const jarm = new URL((await authorize(client, { response_mode: "jwt" })).location).searchParams.get("response");
  const assertion = { iss: client.client_id, sub: client.client_id, aud: AUTH, exp: seconds() + 60, jti: randomUUID() };
  const rows = [
    ["another client's key", requestObject(client, {}, { key: foreign.privateKey })],
    ["a stranger's key under the client's kid", requestObject(client, {}, { key: thief.privateKey })],
    ["a key of its own under another name", requestObject(client, {}, { kid: "edwards" })],
    ["an unknown kid", requestObject(client, {}, { kid: "x" })],
    ["a kid that is a path", requestObject(client, {}, { kid: "../../mine", key: thief.privateKey })],
    ["alg none", requestObject(client, {}, { alg: "none", by: "none" })],
    ["alg none with a signature", requestObject(client, {}, { alg: "none", by: "ES256" })],
    ["HS256 by its secret", requestObject(client, {}, { alg: "HS256", key: client.client_secret })],
    [
      "HS256 by its public key",
      requestObject(client, {}, { alg: "HS256", key: createPublicKey(mine.privateKey).export({ type: "spki", format: "pem" }) }),
    ],
    ["RSA of 1024 bits, though it is registered", requestObject(client, {}, { alg: "RS256", kid: "weak", key: weak.privateKey })],
    ["ES384", requestObject(client, {}, { alg: "ES384", key: p384.privateKey })],
    ["an embedded key", requestObject(client, {}, { jwk: publicJwk(thief), kid: undefined, key: thief.privateKey })],
    ["a key elsewhere", requestObject(client, {}, { jku: `${trap.url}/jwks`, key: thief.privateKey })],
    ["crit", requestObject(client, {}, { crit: ["x"] })],
    ...["dpop+jwt", "at+jwt", "logout+jwt", "token-introspection+jwt", "secevent+jwt", "JOSE"].map((typ) => [
      `typ ${typ}`,
      requestObject(client, {}, { typ }),
    ]),
    ["no signature", `${header}.${payload}.`],
    ["another payload", `${header}.${swapped}.${signature}`],
    ["garbage", "garbage"],
    ["encrypted, it seems", `${header}.${payload}.${signature}.x.y`],
    ["a payload that is a list", jws({ alg: "ES256", kid: "mine" }, [parametersOf(client)], mine.privateKey)],
    ["a payload that is a text", jws({ alg: "ES256", kid: "mine" }, '"x"', mine.privateKey)],
    [
      "claims nested 200 deep",
      jws(
        { alg: "ES256", kid: "mine" },
        `{"client_id":"${client.client_id}","claims":${"[".repeat(200)}${"]".repeat(200)}}`,
        mine.privateKey,
      ),
    ],
    ...[
      undefined,
      null,
      "",
      clients.jarToo.client_id,
      [client.client_id],
      7,
      client.client_id.toUpperCase() === client.client_id ? "x" : client.client_id.toUpperCase(),
      `${client.client_id} `,
    ].map((id) => [`client_id ${id}`, requestObject(client, { client_id: id })]),
    ...[null, "", "https://evil.example", clients.jarToo.client_id, [client.client_id], 7].map((iss) => [
      `iss ${iss}`,
      requestObject(client, { iss }),
    ]),
    ...[null, "", "https://evil.example", OTHER_HOST, `${AUTH}/`, TOKEN, [], ["https://evil.example"], [[AUTH]], { url: AUTH }, 7].map(
      (aud) => [`aud ${JSON.stringify(aud)}`, requestObject(client, { aud })],
    ),
    ...[seconds() - 60, 0, -1, String(seconds() + 60), "never", 1e300].map((exp) => [`exp ${exp}`, requestObject(client, { exp })]),
    ["nbf in the future", requestObject(client, { nbf: seconds() + 100 })],
    ["iat in the future", requestObject(client, { iat: seconds() + 100 })],
    ["a request in it", requestObject(client, { request: requestObject(client) })],
    ["a request_uri in it", requestObject(client, { request_uri: `${URN}${random()}` })],
    ["a request_uri of somebody's in it", requestObject(client, { request_uri: trap.url })],
    ["an empty request in it", requestObject(client, { request: "" })],
    ["resources that are no texts", requestObject(client, { resource: [7] })],
    ["resources in a list in a list", requestObject(client, { resource: [["https://a.example"]] })],
    ["an assertion of its own", bare(assertion)],
    ["an assertion with parameters", bare({ ...assertion, ...parametersOf(client) })],
    ["an assertion with parameters, typed", bare({ ...assertion, ...parametersOf(client) }, "oauth-authz-req+jwt")],
    ["a proof of possession by its key", proof({ key: mine })],
    ["a proof with parameters", proof({ key: mine, claims: parametersOf(client) })],
    ["an ID token of ours", own.id_token],
    ["an access token of ours", own.access_token],
    ["an answer of ours", jarm],
    ["a request for another of its tenants", requestObject(client, { aud: OTHER_HOST, iss: client.client_id })],
  ];
  await each(rows, async (label, request) => {
    onOurPage(await at(request), "the request object is not good", label);
    // What stands beside it does not heal it.
    onOurPage(await at(request, parametersOf(client)), "the request object is not good", label);
    refused(await push(request), [400, "invalid_request_object"], label);
  });
  onOurPage(
    await get(`${AUTH}/oauth2/authorize?${query({ client_id: clients.app.client_id, request: requestObject(clients.app) })}`),
    "the request object is not good",
    "a client without keys",
  );
  onOurPage(
    await get(`${AUTH}/oauth2/authorize?${query({ client_id: clients.jarToo.client_id, request: requestObject(client) })}`),
    "the request object is not good",
    "another client's request",
  );
  onOurPage(
    await get(`${AUTH}/oauth2/authorize?${query({ request: requestObject(client) })}`),
    "client_id is missing",
    "no client_id outside",
  );
  onOurPage(
    await get(`${AUTH}/oauth2/authorize?${query({ client_id: client.client_id, request: requestObject(client) })}&request=x`),
    "a parameter stands there twice",
    "twice",
  );
  onOurPage(
    await at(requestObject(client, { state: "x".repeat(16_000) })),
    "a parameter stands there twice, or is too long",
    "over 16 KiB",
  );
  onOurPage(await at(requestObject(client), { request_uri: trap.url }), "request_uri is for pushed requests", "with a request_uri");
  refused(await push(requestObject(client), { request_uri: `${URN}${random()}` }), [400, "invalid_request"], "pushed with a request_uri");
  assert.deepEqual(trap.requests, [], "somebody was asked for keys who must not be");
  codeOf(await at(requestObject(client)), "after all that the good one");
  rowCount += 7;
});

test("JAR: what is inside counts, judged as if it stood outside, and nothing beside it", async () => {
  const client = clients.jar;
  const at = (inside, outside = {}) =>
    get(`${AUTH}/oauth2/authorize?${query({ client_id: client.client_id, request: requestObject(client, inside), ...outside })}`);
  const none = {
    redirect_uri: undefined,
    response_type: undefined,
    scope: undefined,
    state: undefined,
    code_challenge: undefined,
    code_challenge_method: undefined,
    nonce: undefined,
  };
  // Overriding: each would change the answer, if it counted.
  await each(
    [
      ["redirect_uri", { redirect_uri: "https://evil.example/cb" }],
      ["response_type", { response_type: "token" }],
      ["response_mode", { response_mode: "fragment" }],
      ["scope", { scope: "openid admin" }],
      ["state", { state: "evil" }],
      ["prompt", { prompt: "login" }],
      ["code_challenge", { code_challenge: digest("x".repeat(43)) }],
      ["max_age", { max_age: "0" }],
      ["claims", { claims: "{" }],
      ["dpop_jkt", { dpop_jkt: "x" }],
      ["id_token_hint", { id_token_hint: "x" }],
      ["registration", { registration: "{}" }],
      ["resource", { resource: "not-a-uri" }],
      ["acr_values", { acr_values: "phr" }],
    ],
    async (label, outside) => {
      const answer = await at({}, outside);
      codeOf(answer, label);
      assert.deepEqual(
        [answer.location.startsWith(`${REDIRECT}?`), new URL(answer.location).searchParams.get("state")],
        [true, STATE],
        label,
      );
      await good(token(redemption(codeOf(answer)), { client }), `${label} outside changed what was agreed to`);
    },
  );
  // Without scopes it is no request of OpenID Connect, and one redirect URI is enough to know where to tell it.
  toldTheClient(await at(none, parametersOf(client)), "invalid_request", { state: null, label: "all outside, nothing inside" });
  // Nothing inside may be borrowed from outside either.
  await each(
    [
      ["response_type", "invalid_request"],
      ["code_challenge", "invalid_request"],
      ["code_challenge_method", "invalid_request"],
    ],
    async (name, error) => toldTheClient(await at({ [name]: undefined }, parametersOf(client)), error, { label: name }),
  );
  toldTheClient(await at({ state: undefined, response_type: "token" }, { state: "evil" }), "unsupported_response_type", {
    state: null,
    label: "a state from outside",
  });
  onOurPage(await at({ redirect_uri: undefined }, { redirect_uri: REDIRECT }), "redirect_uri is missing", "redirect_uri outside alone");
  await each(
    [
      "https://evil.example/cb",
      "https://app.example/cb/../evil",
      "javascript:alert(1)",
      [REDIRECT],
      { a: REDIRECT },
      7,
      `${REDIRECT}#x`,
      `${REDIRECT}\0`,
    ].map((uri) => [uri]),
    async (uri) => onOurPage(await at({ redirect_uri: uri }), "redirect_uri is not registered", String(uri)),
  );
  await each(
    [
      ["response_type token", { response_type: "token" }, "unsupported_response_type"],
      ["response_type as a list", { response_type: ["code"] }, "unsupported_response_type"],
      ["response_type code id_token", { response_type: "code id_token" }, "unsupported_response_type"],
      ["response_type true", { response_type: true }, "unsupported_response_type"],
      ["scope as a list", { scope: ["openid", "email"] }, "invalid_scope"],
      ["scope as an object", { scope: { openid: 1 } }, "invalid_scope"],
      ["prompt as a list", { prompt: ["none"] }, "invalid_request"],
      ["prompt true", { prompt: true }, "invalid_request"],
      ["prompt none login", { prompt: "none login" }, "invalid_request"],
      ["max_age -1", { max_age: -1 }, "invalid_request"],
      ["max_age 1.5", { max_age: 1.5 }, "invalid_request"],
      ["max_age as an object", { max_age: {} }, "invalid_request"],
      ["max_age true", { max_age: true }, "invalid_request"],
      ["max_age 1e300", { max_age: 1e300 }, "invalid_request"],
      ["claims as a list", { claims: [] }, "invalid_request"],
      ["claims as a number", { claims: 7 }, "invalid_request"],
      ["claims that are no JSON", { claims: "{" }, "invalid_request"],
      ["claims of the wrong form", { claims: { userinfo: { email: true } } }, "invalid_request"],
      ["code_challenge as a list", { code_challenge: [CHALLENGE] }, "invalid_request"],
      ["method plain", { code_challenge_method: "plain" }, "invalid_request"],
      ["method as a list", { code_challenge_method: ["S256"] }, "invalid_request"],
      ["response_mode unknown", { response_mode: "web_message" }, "invalid_request"],
      ["response_mode as a list", { response_mode: ["query"] }, "invalid_request"],
      ["registration", { registration: {} }, "registration_not_supported"],
      ["a resource that is none", { resource: "x" }, "invalid_target"],
      ["a nonce that is too long", { nonce: "n".repeat(2049) }, "invalid_request"],
      ["dpop_jkt as a list", { dpop_jkt: ["x"] }, "invalid_request"],
      ["id_token_hint that is none", { id_token_hint: "x" }, "invalid_request"],
    ],
    async (label, inside, error) => toldTheClient(await at(inside), error, { label }),
  );
  codeOf(await at({ scope: "openid admin" }), "a scope that nobody knows is passed over");
  const odd = new URL((await at({ state: { a: [1, "\r\nset-cookie: a=b"] }, prompt: "none login" })).location);
  assert.equal(
    odd.searchParams.get("state"),
    JSON.stringify({ a: [1, "\r\nset-cookie: a=b"] }),
    "a state that is no text comes back as the text of it",
  );
  rowCount += 4;
});

test("JAR: a client whose requests are to be signed, or pushed, sends no others", async () => {
  const strict = clients.jarOnly;
  const at = (fields) => get(`${AUTH}/oauth2/authorize?${query({ client_id: strict.client_id, ...fields })}`);
  const push = (fields) => form(PAR, { client_id: strict.client_id, ...fields }, { headers: basic(strict) });
  codeOf(await at({ request: requestObject(strict) }));
  onOurPage(await at(parametersOf(strict)), "this client signs its requests", "unsigned");
  onOurPage(
    await at(parametersOf(strict, { request: undefined, prompt: "none" })),
    "this client signs its requests",
    "unsigned and silent",
  );
  onOurPage(await at({ ...parametersOf(strict), request: "" }), "this client signs its requests", "an empty request");
  refused(await push(parametersOf(strict)), [400, "invalid_request"], "pushed unsigned");
  for (const [label, header] of [
    ["EdDSA", { alg: "EdDSA", kid: "edwards", key: edwards.privateKey }],
    ["RS256", { alg: "RS256", kid: "rsa", key: rsa.privateKey }],
    ["none", { alg: "none", by: "none" }],
  ]) {
    onOurPage(await at({ request: requestObject(strict, {}, header) }), "the request object is not good", label);
    refused(await push({ request: requestObject(strict, {}, header) }), [400, "invalid_request_object"], label);
  }
  const { request_uri: uri } = (await push({ request: requestObject(strict) })).json;
  codeOf(await at({ request_uri: uri }), "pushed and signed");
  onOurPage(await at({ request_uri: uri }), "request_uri is unknown, used or too old", "a pushed request is good once");
  onOurPage(await authorize(clients.parOnly), "this client pushes its requests", "not pushed");
  onOurPage(await authorize(clients.parOnly, { prompt: "none" }), "this client pushes its requests", "not pushed and silent");
  const { request_uri: pushed } = (await form(PAR, parametersOf(clients.parOnly), { headers: basic(clients.parOnly) })).json;
  onOurPage(
    await get(`${AUTH}/oauth2/authorize?${query({ client_id: strict.client_id, request_uri: pushed })}`),
    "request_uri is unknown, used or too old",
    "another client's pushed request",
  );
  codeOf(await get(`${AUTH}/oauth2/authorize?${query({ client_id: clients.parOnly.client_id, request_uri: pushed })}`));
  rowCount += 12;
});

test("JARM: an answer is one JWT for its client alone, errors too, and passes for nothing else", async () => {
  const modes = {
    jwt: (url) => url.searchParams,
    "query.jwt": (url) => url.searchParams,
    "fragment.jwt": (url) => new URLSearchParams(url.hash.slice(1)),
  };
  const published = (await worker.browser().get(`${AUTH}/api/auth/jwks`)).json;
  const { createLocalJWKSet, jwtVerify } = await import("jose");
  const verified = (response, client) => jwtVerify(response, createLocalJWKSet(published), { issuer: AUTH, audience: client.client_id });
  let response;
  await each(
    [
      ...Object.entries(modes).flatMap(([mode, read]) => [
        [mode, read, {}, null],
        [mode, read, { prompt: "none login" }, "invalid_request"],
        [mode, read, { resource: "x" }, "invalid_target"],
        [mode, read, { response_type: "token" }, "unsupported_response_type"],
      ]),
    ],
    async (mode, read, more, error) => {
      const url = new URL((await authorize(clients.app, { response_mode: mode, ...more })).location);
      const parameters = read(url);
      assert.deepEqual([...parameters.keys()], ["response"], `${mode}: something stands outside`);
      const { payload } = await verified(parameters.get("response"), clients.app);
      assert.deepEqual([payload.error ?? null, payload.state, payload.exp - payload.iat <= 600], [error, STATE, true], mode);
      assert.equal(payload.code !== undefined, error === null, mode);
      assert.equal(payload.sub, undefined, "with a subject it could pass for an ID token");
      await assert.rejects(verified(parameters.get("response"), clients.second), /aud/, "for another client too");
      if (!error) response = parameters.get("response");
    },
  );
  const posted = await authorize(clients.app, { response_mode: "form_post.jwt", state: '"><script>alert(1)</script>' });
  const [, value] = /name="response" value="([^"]+)"/.exec(posted.text);
  assert.ok(!/name="(code|state|iss)"/.test(posted.text) && !posted.text.includes("<script>alert"), posted.text);
  assert.equal((await verified(value, clients.app)).payload.state, '"><script>alert(1)</script>');
  toldTheClient(await authorize(clients.app, { id_token_hint: response }), "invalid_request", { label: "as an ID token" });
  refused(await get(USERINFO, { headers: { authorization: `Bearer ${response}` } }), [401, "invalid_token"], "as an access token");
  refused(await token(redemption(response)), [400, "invalid_grant"], "as a code");
  refused(await credentials(clients.service, { headers: { dpop: response } }), BAD_PROOF, "as a proof");
  // The code in it is the client's own.
  refused(
    await token(redemption(decodeJwt(response).code), { client: clients.second }),
    [400, "invalid_grant"],
    "redeemed by another client",
  );
  await good(token(redemption(decodeJwt(response).code)));
  for (const mode of ["JWT", "jwt.query", "form_post.JWT", "fragment.jwt ", "web_message.jwt"])
    toldTheClient(await authorize(clients.app, { response_mode: mode }), "invalid_request", { label: mode });
  rowCount += 10;
});

test("claims: what is malformed, or a bomb, is refused, and nothing is told that the scopes do not cover", async () => {
  const ask = (claims, more = {}, client = clients.app) =>
    authorize(client, { claims: typeof claims === "string" ? claims : JSON.stringify(claims), ...more });
  codeOf(
    await ask({ userinfo: { name: null, email: { essential: true }, nickname: null }, id_token: { acr: { values: ["phr"] } }, other: [7] }),
  );
  codeOf(await ask("{}"));
  const many = (count) => Object.fromEntries(Array.from({ length: count }, (_, at) => [`c${at}`, null]));
  codeOf(await ask({ userinfo: many(60), id_token: many(60) }), "as many as there may be");
  await each(
    [
      ["no JSON", "{"],
      ["a list", "[]"],
      ["null", "null"],
      ["a number", "7"],
      ["a text", '"x"'],
      ["true", "true"],
      ["two", "{}{}"],
      ["a comment", "{}//"],
      ["a NUL", "{\0}"],
      ["userinfo a list", { userinfo: [] }],
      ["userinfo a text", { userinfo: "email" }],
      ["userinfo true", { userinfo: true }],
      ["id_token a number", { id_token: 7 }],
      ["a claim that is true", { userinfo: { email: true } }],
      ["a claim that is a text", { userinfo: { email: "essential" } }],
      ["a claim that is a list", { id_token: { email: [] } }],
      ["an unknown claim that is a number", { id_token: { x: 7 } }],
      ["sub a number", { id_token: { sub: { value: 7 } } }],
      ["sub an object", { id_token: { sub: { value: {} } } }],
      ["two subs", { id_token: { sub: { value: "a" } }, userinfo: { sub: { value: "b" } } }],
      ["acr of numbers", { id_token: { acr: { values: [7] } } }],
      ["acr of objects", { id_token: { acr: { values: [{}] } } }],
      ["acr an object", { id_token: { acr: { values: {} } } }],
      ["61 values of acr", { id_token: { acr: { values: Array(61).fill("x") } } }],
      ["61 claims of userinfo", { userinfo: many(61) }],
      ["61 claims of the ID token", { id_token: many(61) }],
      ["nested 200 deep", `{"userinfo":${'{"a":'.repeat(200)}{}${"}".repeat(200)}}`],
      ["200 lists in what is passed over", `{"other":${"[".repeat(200)}${"]".repeat(200)}}`],
    ],
    async (label, claims) => {
      toldTheClient(await ask(claims), "invalid_request", { label });
      refused(
        await form(PAR, parametersOf(clients.app, { claims: typeof claims === "string" ? claims : JSON.stringify(claims) }), {
          headers: basic(clients.app),
        }),
        [400, "invalid_request"],
        label,
      );
    },
  );
  onOurPage(await ask({ userinfo: many(1000) }), "the request is too large", "1000 claims");
  onOurPage(await ask(`{"other":"${"x".repeat(16_500)}"}`), "a parameter stands there twice, or is too long", "17 KB");
  const told = async (client, claims) => {
    const given = await good(token(redemption(codeOf(await ask(claims, { scope: "openid" }, client))), { client }));
    return {
      id: decodeJwt(given.id_token),
      info: await good(get(USERINFO, { headers: { authorization: `Bearer ${given.access_token}` } })),
    };
  };
  const wanted = { userinfo: { name: null, email: null, roles: null, org: null }, id_token: { name: null, email: null } };
  const all = await told(clients.app, wanted);
  assert.deepEqual([all.id.name, all.info.name, all.info.email], ["Zoë Ångström", "Zoë Ångström", who.email]);
  const some = await told(clients.limited, wanted);
  assert.deepEqual(
    [some.id.name, some.info.name, some.info.roles, some.info.org, some.info.email],
    [undefined, undefined, undefined, undefined, who.email],
    "more than its scopes cover",
  );
  // What is ours to say is not theirs to choose.
  const forged = await told(clients.app, {
    id_token: {
      iss: { value: "https://evil.example" },
      aud: { value: "x" },
      exp: { value: 9e9 },
      acr: { value: "phr" },
      amr: { values: ["mfa"] },
      sid: { value: "x" },
      email: { value: "victim@example.com" },
      email_verified: { value: true },
      roles: { values: ["admin"] },
      at_hash: null,
      password_hash: null,
      __proto__: null,
    },
  });
  assert.deepEqual(
    [forged.id.iss, forged.id.aud, forged.id.acr, forged.id.amr, forged.id.email, forged.id.email_verified, forged.id.password_hash],
    [AUTH, clients.app.client_id, undefined, ["pwd"], who.email, false, undefined],
  );
  assert.ok(!(forged.id.roles ?? []).includes("admin"));
  assert.ok(forged.id.exp < seconds() + 4000);
  // Claims are agreed to as their scopes are.
  const asks = await signUp(worker);
  const first = await authorize(clients.asks, { scope: "openid" }, { browser: asks.browser });
  const fields = {
    client_id: clients.asks.client_id,
    request_uri: new URL(first.location, AUTH).searchParams.get("request_uri"),
    decision: "allow",
  };
  codeOf(await asks.browser.submit(`${AUTH}/consent`, fields).then((answer) => Object.assign(answer, { status: 302 })));
  codeOf(await authorize(clients.asks, { scope: "openid", prompt: "none" }, { browser: asks.browser }));
  await each(
    [
      ["userinfo", { userinfo: { name: null } }],
      ["the ID token", { id_token: { email: null } }],
      ["essential", { id_token: { phone_number: { essential: true } } }],
    ],
    async (label, claims) => {
      toldTheClient(
        await authorize(clients.asks, { scope: "openid", prompt: "none", claims: JSON.stringify(claims) }, { browser: asks.browser }),
        "consent_required",
        { label },
      );
    },
  );
  rowCount += 4;
});

test("acr: how somebody signed in is said as it was, and what is essential is not given for less", async () => {
  const person = await signUp(worker);
  const ask = (more) => authorize(clients.app, more, { browser: person.browser });
  const essential = (values, place = "id_token") => JSON.stringify({ [place]: { acr: { essential: true, values } } });
  const acrOf = async (more) => decodeJwt((await good(token(redemption(codeOf(await ask(more)))))).id_token).acr;
  await each([["phr"], [MULTI_FACTOR], ["made up"], ["pwd"], ["0"], ["PHR"], ["phr "], [""]], async (value) => {
    toldTheClient(await ask({ prompt: "none", claims: essential([value]) }), "unmet_authentication_requirements", { label: value });
    toldTheClient(await ask({ prompt: "none", claims: essential([value], "userinfo") }), "unmet_authentication_requirements", {
      label: `${value} at userinfo`,
    });
    const asked = await ask({ claims: essential([value]) });
    assert.ok(asked.location?.startsWith("/login?"), `${value}: ${asked.location}`);
    if (value.trim()) assert.equal(await acrOf({ acr_values: value, prompt: "none" }), undefined, `${value} said of a password`);
  });
  // They sign in anew, no better than before: the request ends, and does not go round.
  const asked = await ask({ claims: essential(["phr"]) });
  await run("update session set authenticated_at = ? where user_id = ?", Date.now() + 1000, person.id);
  const back = new URL(new URL(asked.location, AUTH).searchParams.get("continue"), AUTH).href;
  toldTheClient(await get(back, { browser: person.browser }), "unmet_authentication_requirements", { label: "after a new sign-in" });
  await run(
    "update session set authenticated_at = ?, amr = ? where user_id = ?",
    Date.now() - 1000,
    JSON.stringify(["pwd", "otp", "mfa"]),
    person.id,
  );
  assert.equal(await acrOf({ prompt: "none", claims: essential([MULTI_FACTOR]) }), MULTI_FACTOR, "two factors");
  toldTheClient(await ask({ prompt: "none", claims: essential(["phr"]) }), "unmet_authentication_requirements", {
    label: "two factors are no passkey",
  });
  assert.equal(await acrOf({ prompt: "none", acr_values: "phr" }), MULTI_FACTOR, "said to be more than it was");
  rowCount += 4;
});

test("id_token_hint: an ID token of ours for this very client, and nothing that looks like one", async () => {
  const ask = (hint, more = {}, options) => authorize(clients.app, { id_token_hint: hint, prompt: "none", ...more }, options);
  const own = await tokens();
  codeOf(await ask(own.id_token), "the good one");
  const [header, payload, signature] = own.id_token.split(".");
  const { kid } = decodeProtectedHeader(own.id_token);
  const claims = decodeJwt(own.id_token);
  const elsewhere = await signUp(worker, {
    host: OTHER_HOST,
    tenant: (await worker.rows("select id from tenant where slug = 'other'"))[0].id,
  });
  const foreignToken = (
    await good(
      token(redemption(codeOf(await authorize(clients.global, {}, { host: OTHER_HOST, browser: elsewhere.browser }))), {
        client: clients.global,
        host: OTHER_HOST,
      }),
    )
  ).id_token;
  const jwks = (await worker.browser().get(`${AUTH}/api/auth/jwks`)).json;
  const session = (await who.browser.get(`${AUTH}/api/auth/token`)).json.token;
  const inspected = (
    await form(
      `${AUTH}/oauth2/introspect`,
      { token: own.access_token },
      { headers: { ...basic(clients.app), accept: "application/token-introspection+jwt" } },
    )
  ).text;
  // A key of ours that is published and will sign next: what it signs shows which claims and types are told apart, and not the signature.
  const next = ec(),
    nextKid = randomUUID();
  await run(
    `insert into signing_key (id, tenant_id, algorithm, status, public_jwk, private_key_sealed, created_at, updated_at) values
       (?, ?, 'ES256', 'next', ?, 'x', 1, 1)`,
    nextKid,
    DEFAULT_TENANT,
    JSON.stringify(publicJwk(next, { kid: nextKid, alg: "ES256", use: "sig" })),
  );
  const ours = (typ, more = {}) => jws({ alg: "ES256", kid: nextKid, typ }, { ...claims, ...more }, next.privateKey);
  codeOf(await ask(ours("JWT")), "signed by our next key");
  await each(
    [
      ["garbage", "x"],
      ["another client's", (await tokens(clients.second)).id_token],
      ["another tenant's", foreignToken],
      ["no signature", `${header}.${payload}.`],
      ["alg none", `${base64({ alg: "none", kid })}.${payload}.`],
      ["another's subject", `${header}.${base64({ ...claims, sub: victim.id })}.${signature}`],
      ["forged", jws({ alg: "ES256", kid, typ: "JWT" }, claims, thief.privateKey)],
      ["forged with its key in it", jws({ alg: "ES256", jwk: publicJwk(thief), typ: "JWT" }, claims, thief.privateKey)],
      ["HS256 by our public key", jws({ alg: "HS256", kid, typ: "JWT" }, claims, JSON.stringify(jwks.keys.find((key) => key.kid === kid)))],
      ["an access token", own.access_token],
      ["a refresh token", own.refresh_token],
      ["a session's JWT", session],
      ["an introspection answer", inspected],
      ["too many parts", `${own.id_token}.x`],
      ...["logout+jwt", "at+jwt", "token-introspection+jwt", "dpop+jwt", "oauth-authz-req+jwt"].map((typ) => [
        `ours of typ ${typ}`,
        ours(typ),
      ]),
      ["ours for another client", ours("JWT", { aud: clients.second.client_id })],
      ["ours of another issuer", ours("JWT", { iss: OTHER_HOST })],
      ["ours of no issuer", ours("JWT", { iss: undefined })],
      ["ours for nobody", ours("JWT", { aud: undefined })],
      ["ours of no subject", ours("JWT", { sub: undefined })],
      ["ours of a subject that is no text", ours("JWT", { sub: [claims.sub] })],
      ["ours for another client first", ours("JWT", { aud: [clients.second.client_id, clients.app.client_id] })],
    ],
    async (label, hint) => {
      toldTheClient(await ask(hint), "invalid_request", { label });
      toldTheClient(await ask(hint, { prompt: undefined }), "invalid_request", { label: `with pages, ${label}` });
    },
  );
  const old = await tokens();
  await run("update oauth_token set expires_at = 1, revoked_at = 1 where token_hash = ?", digest(old.access_token));
  codeOf(await ask(old.id_token), "how old it is does not matter");
  // Somebody else's: they are told apart, and whoever is signed in gives no code in the other's name.
  const theirs = (await tokens(clients.app, {}, { browser: victim.browser })).id_token;
  toldTheClient(await ask(theirs), "login_required", { label: "another user's" });
  toldTheClient(
    await authorize(clients.app, { prompt: "none", claims: JSON.stringify({ id_token: { sub: { value: victim.id } } }) }),
    "login_required",
    { label: "another user's by claims" },
  );
  toldTheClient(await ask(theirs, { claims: JSON.stringify({ id_token: { sub: { value: who.id } } }) }), "invalid_request", {
    label: "two users",
  });
  const asked = await ask(theirs, { prompt: undefined });
  assert.ok(asked.location.startsWith("/login?"), asked.location);
  const back = new URL(new URL(asked.location, AUTH).searchParams.get("continue"), AUTH).href;
  const again = await get(back);
  assert.ok(!/[?&]code=/.test(again.location ?? ""), "whoever did not sign in again came back with a code");
  const { authenticated_at: at } = (
    await worker.rows("select authenticated_at from session where user_id = ? order by created_at limit 1", who.id)
  )[0];
  await run("update session set authenticated_at = ? where user_id = ?", Date.now() + 1000, who.id);
  toldTheClient(await get(back), "login_required", { label: "they came back as another" });
  await run("update session set authenticated_at = ? where user_id = ?", at, who.id);
  codeOf(await ask(own.id_token), "after all that the good one");
  rowCount += 7;
});

// What was wrong once

test("a certificate that was revoked authenticates nobody", async () => {
  await good(token({ grant_type: "client_credentials" }, { client: clients.tls, headers: certified() }));
  refused(
    await token({ grant_type: "client_credentials" }, { client: clients.tls, headers: certified({ certRevoked: "1" }) }),
    [401, "invalid_client"],
    "revoked",
  );
});

test("userinfo answers a proof that was used before as any other that is not good", async () => {
  const { access_token: access } = await tokens(clients.app, {}, { headers: proven() });
  const headers = { authorization: `DPoP ${access}`, ...proven({ method: "GET", url: USERINFO, access }) };
  await good(get(USERINFO, { headers }));
  refused(await get(USERINFO, { headers }), [401, "invalid_dpop_proof", "DPoP"]);
});

test("a proof may name its key as well as show it", async () => {
  assert.equal((await good(credentials(clients.service, { headers: proven({ header: { kid: "mine" } }) }))).token_type, "DPoP");
});

test("a signed userinfo answer is no ID token", async () => {
  const { access_token: access } = await tokens(clients.told);
  const { text } = await get(USERINFO, { headers: { authorization: `Bearer ${access}` } });
  assert.equal(decodeJwt(text).sub, who.id);
  toldTheClient(await authorize(clients.told, { id_token_hint: text, prompt: "none" }), "invalid_request");
});

test("a secret in a request object is not kept", async () => {
  const secret = `inside-${random()}`;
  for (const [name, more] of [
    ["client_secret", {}],
    ["client_assertion", {}],
  ]) {
    const answer = await get(
      `${AUTH}/oauth2/authorize?${query({ client_id: clients.jar.client_id, request: requestObject(clients.jar, { [name]: secret, ...more }) })}`,
      { browser: worker.browser() },
    );
    assert.ok(answer.location.startsWith("/login?"), answer.location);
  }
  assert.ok(!JSON.stringify(await worker.rows("select request from oauth_grant")).includes(secret));
});

test("a proof that was used before is named as what is wrong, whatever else is used up", async () => {
  const client = clients.keyed,
    headers = proven();
  await good(credentials(clients.service, { headers }));
  const assertion = jws(
    { alg: "ES256", kid: "mine" },
    { iss: client.client_id, sub: client.client_id, aud: AUTH, exp: seconds() + 60, jti: randomUUID() },
    mine.privateKey,
  );
  refused(
    await form(TOKEN, { grant_type: "client_credentials", client_assertion: assertion, client_assertion_type: ASSERTION }, { headers }),
    BAD_PROOF,
  );
});

test("what opens something is nowhere in the clear, and the tables were asked in full", async (t) => {
  t.diagnostic(`${rowCount} rows`);
  assert.ok(rowCount > 350, `${rowCount} rows`);
  const logs = worker.logs();
  for (const secret of secrets) assert.ok(!logs.includes(secret), "the log holds a secret");
  for (const { name } of await worker.rows(
    "select name from sqlite_master where type = 'table' and name not like 'sqlite_%' and name not like '_cf_%'",
  )) {
    const dump = JSON.stringify(await worker.rows(`select * from "${name}"`));
    for (const secret of secrets) assert.ok(!dump.includes(secret), `${name} holds a secret`);
  }
});

test("an ID token that comes as a hint is kept nowhere, and counts all the same once its user has signed in", async () => {
  const { id_token } = await tokens();
  const pushed = await made(
    form(`${AUTH}/oauth2/par`, parametersOf(clients.app, { id_token_hint: id_token }), { headers: basic(clients.app) }),
  );
  for (const asked of [{ id_token_hint: id_token }, { request_uri: pushed.request_uri }]) {
    const answer = await authorize(clients.app, asked, { browser: worker.browser() });
    assert.ok(answer.location.startsWith("/login?"), answer.location);
    const back = new URL(answer.location, AUTH).searchParams.get("continue");
    assert.ok(
      !answer.location.includes(id_token) && !JSON.stringify(await worker.rows("select request from oauth_grant")).includes(id_token),
    );
    // Another user comes back from the login: it is not for them.
    const another = await signUp(worker);
    toldTheClient(await get(`${AUTH}${back}`, { browser: another.browser }), "login_required", {
      label: JSON.stringify(Object.keys(asked)),
    });
  }
  const bad = await form(`${AUTH}/oauth2/par`, parametersOf(clients.app, { id_token_hint: "x" }), { headers: basic(clients.app) });
  assert.deepEqual([bad.status, bad.json.error], [400, "invalid_request"]);
});
async function made(answer) {
  const { status, text, json } = await answer;
  assert.equal(status, 201, text);
  return json;
}
