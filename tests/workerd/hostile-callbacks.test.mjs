// What a hostile browser, issuer or network brings back to the callback, and what becomes of each: no session, no user, no account.

import assert from "node:assert/strict";
import { KeyObject, constants, createHash, createHmac, generateKeyPairSync, randomUUID, sign as signBytes } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import { after, before, beforeEach, test } from "node:test";
import { gzipSync } from "node:zlib";
import { CompactEncrypt, SignJWT } from "jose";
import { CLIENT } from "../../examples/provider/server.mjs";
import { uniqueEmail } from "../harness/browser.mjs";
import { addIssuer, startIssuer } from "../harness/issuer.mjs";
import { seedDomain, seedTenant } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const ACCESS_TOKEN = "an access token";
const ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"];
const api = (path, host = AUTH) => `${host}/api/auth${path}`;

let worker, issuer, trap, keys, strangers;
/** A server that must never be asked: it answers whatever the one before it would. */
async function startTrap() {
  const requests = [];
  let answer = {};
  const server = http
    .createServer((request, response) => {
      requests.push(`${request.method} ${request.url} ${JSON.stringify(request.headers)}`);
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
    })
    .listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://localhost:${server.address().port}`,
    requests,
    set: (body) => (answer = body),
    stop: () => (server.closeAllConnections(), server.close()),
  };
}

before(async () => {
  [issuer, trap] = await Promise.all([startIssuer(), startTrap()]);
  const make = async () => Object.fromEntries(await Promise.all(ALGORITHMS.map(async (alg) => [alg, await issuer.newKey(alg)])));
  [keys, strangers] = [await make(), await make()];
  worker = await startWorker({ settings: { UPSTREAM_TIMEOUT_SECONDS: "1" } });
});
after(async () => {
  await worker?.dispose();
  await issuer?.stop();
  trap?.stop();
});
beforeEach(() => {
  issuer.behave();
  trap.requests.length = 0;
  issuer.key = keys.RS256;
  issuer.person = { sub: randomUUID(), email: uniqueEmail(), email_verified: true, name: "Person" };
});

/** An issuer of its own, with a JWK set that nobody has asked for yet. */
async function arrange({ key = "RS256", columns = {}, ...faults } = {}) {
  const name = `i${randomUUID()}`;
  issuer.key = keys[key];
  const metadata = { jwks_uri: `${issuer.url}/jwks/${name}`, ...faults.metadata };
  issuer.faults = { ...faults, metadata };
  const id = await addIssuer(worker.d1, issuer.url, { name, ...columns });
  return { id, name };
}

async function begin(browser, provider, body = {}, host = AUTH) {
  const answer = await browser.post(api("/sign-in/social", host), { provider, callbackURL: "/done", ...body });
  assert.equal(answer.status, 200, answer.text);
  return answer.json.url;
}

async function visitIssuer(url) {
  const answer = await fetch(url, { redirect: "manual" });
  assert.equal(answer.status, 302);
  return answer.headers.get("location");
}

const flow = async (browser, provider, body, host) => visitIssuer(await begin(browser, provider, body, host));
const session = async (browser, host = AUTH) => (await browser.get(`${api("/get-session", host)}?disableCookieCache=true`)).json;
const jwksRequests = () => issuer.requests.filter(({ path }) => path.startsWith("/jwks")).length;

/** Whatever a sign-in leaves behind. */
async function traces() {
  const tables = ["user", "account", "session", "issuer_refresh_token", "member"];
  const [row] = await worker.rows(`select ${tables.map((name) => `(select count(*) from ${name}) as ${name}`)}`);
  return row;
}

/** Asserts that what `act` does leaves nothing behind and nobody signed in. */
async function leavesNothing(browser, act, host = AUTH) {
  const before = await traces();
  const answer = await act();
  assert.deepEqual(await traces(), before);
  assert.equal(await session(browser, host), null);
  return answer;
}

function failed(answer, code, page = "/api/auth/error") {
  assert.equal(answer.status, 302, answer.text);
  assert.equal(
    answer.location,
    `${page}?error=${code}`,
    worker
      .logs()
      .split("\n")
      .filter((line) => line.includes("UPSTREAM_SIGN_IN_FAILED"))
      .at(-1),
  );
}

async function welcomed(browser, { user = issuer.person.sub } = {}) {
  assert.ok(await session(browser));
  const accounts = (await browser.get(api("/list-accounts"))).json;
  assert.deepEqual(
    accounts.map(({ accountId }) => accountId),
    [user],
  );
}

const now = () => Math.floor(Date.now() / 1000);
const base64 = (value) =>
  Buffer.from(typeof value === "string" || Buffer.isBuffer(value) ? value : JSON.stringify(value)).toString("base64url");
const reply =
  (status, body, headers = {}) =>
  (_request, response) =>
    response.writeHead(status, { "content-type": "application/json", ...headers }).end(body);
const zipped = reply(200, gzipSync(Buffer.alloc(64 * 1024 * 1024, " ")), { "content-encoding": "gzip" });
/** Bytes that never end, each in time. */
const dripping = (_request, response) => {
  response.writeHead(200, { "content-type": "application/json" });
  const timer = setInterval(() => response.write(" "), 200);
  response.on("close", () => clearInterval(timer));
};

/** A JWS as it is written here, whatever a library would say of it. */
const compact = (header, payload, signer) => {
  const input = `${base64(header)}.${base64(payload)}`;
  return `${input}.${base64(signer(input))}`;
};
const signer =
  ({ alg, privateKey }, hash = "sha256") =>
  (input) => {
    const key = KeyObject.from(privateKey);
    if (alg === "EdDSA") return signBytes(null, Buffer.from(input), key);
    if (alg === "ES256") return signBytes(hash, Buffer.from(input), { key, dsaEncoding: "ieee-p1363" });
    const padding = alg === "PS256" ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 } : {};
    return signBytes(hash, Buffer.from(input), { key, ...padding });
  };
const mac =
  (secret, hash = "sha256") =>
  (input) =>
    createHmac(hash, secret).update(input).digest();
const constant = (text) => () => Buffer.from(text);
const pem = ({ publicKey }) => KeyObject.from(publicKey).export({ type: "spki", format: "pem" });
const good = ({ alg, kid, privateKey }, claims, header = {}) =>
  new SignJWT(claims).setProtectedHeader({ alg, kid, ...header }).sign(privateKey);
/** Claims as text, with members that JSON.stringify would not write twice. */
const withText = (claims, before, after) =>
  `{${before ? `${before},` : ""}${JSON.stringify(claims).slice(1, -1)}${after ? `,${after}` : ""}}`;
/** OpenID Connect Core 1.0, section 3.1.3.6; Ed25519 is of SHA-512. */
const atHash = (alg, token = ACCESS_TOKEN) => {
  const digest = createHash(alg === "EdDSA" ? "sha512" : "sha256")
    .update(token)
    .digest();
  return base64(digest.subarray(0, digest.length / 2));
};

const BAD = "invalid_id_token";
const claims = (changes) => ({ claims: changes });
/** A row whose token is made of the claims, the issuer's key and a stranger's. */
const forged = (make, key = "RS256") => ({ key, forge: (said) => make(said, keys[key], strangers[key]) });
/** `alg: none` and what stands for it. */
const unsigned = (alg, signature = "") => forged((said, key) => compact({ alg, kid: key.kid }, said, constant(signature)));

/** Name, what is wrong, and the error; null where it is accepted. Each comes once by the callback and once as a native app's token. */
const ID_TOKENS = [
  ...ALGORITHMS.map((alg) => [`${alg} is good`, { key: alg }, null]),
  ...ALGORITHMS.map((alg) => [
    `${alg} with the right at_hash`,
    {
      key: alg,
      get claims() {
        return { at_hash: atHash(alg) };
      },
    },
    null,
  ]),
  ...ALGORITHMS.map((alg) => [
    `${alg} with the at_hash of another token`,
    {
      key: alg,
      get claims() {
        return { at_hash: atHash(alg, "another") };
      },
    },
    BAD,
  ]),
  ...ALGORITHMS.map((alg) => [
    `${alg} by a stranger's key under the issuer's kid`,
    forged((said, key, stranger) => good({ ...stranger, kid: key.kid }, said), alg),
    BAD,
  ]),
  ...ALGORITHMS.map((alg) => [
    `${alg} with claims changed after signing`,
    forged(async (said, key) => {
      const [head, , tail] = (await good(key, said)).split(".");
      return `${head}.${base64({ ...said, email_verified: "true" })}.${tail}`;
    }, alg),
    BAD,
  ]),
  ["an empty at_hash counts as none", claims({ at_hash: "" }), null],
  ["an at_hash that is no text", claims({ at_hash: 7 }), BAD],

  ["aud of another", claims({ aud: "another" }), BAD],
  ["aud in another case", claims({ aud: CLIENT.id.toUpperCase() }), BAD],
  ["aud as a list of us", claims({ aud: [CLIENT.id] }), null],
  ["aud as a list without us", claims({ aud: ["another", "third"] }), BAD],
  ["aud as an empty list", claims({ aud: [] }), BAD],
  ["aud missing", claims({ aud: undefined }), BAD],
  ["aud as an object", claims({ aud: { [CLIENT.id]: true } }), BAD],
  ["aud that contains us", claims({ aud: `${CLIENT.id} another` }), BAD],
  ["aud as a list in a list", claims({ aud: [[CLIENT.id]] }), BAD],
  ["aud as a list with what is no text", claims({ aud: [CLIENT.id, { another: true }] }), BAD],
  ["several audiences without azp", claims({ aud: [CLIENT.id, "another"] }), BAD],
  ["several audiences and our azp", claims({ aud: [CLIENT.id, "another"], azp: CLIENT.id }), null],
  ["several audiences and another azp", claims({ aud: [CLIENT.id, "another"], azp: "another" }), BAD],
  ["one audience and another azp", claims({ azp: "another" }), BAD],
  ["azp as a list", claims({ azp: [CLIENT.id] }), BAD],

  [
    "iss with a slash",
    {
      get claims() {
        return { iss: `${issuer.url}/` };
      },
    },
    BAD,
  ],
  [
    "iss in another case",
    {
      get claims() {
        return { iss: issuer.url.replace("localhost", "LOCALHOST") };
      },
    },
    BAD,
  ],
  [
    "iss by https",
    {
      get claims() {
        return { iss: issuer.url.replace("http:", "https:") };
      },
    },
    BAD,
  ],
  ["iss of another", claims({ iss: "https://evil.example" }), BAD],
  [
    "iss as a list",
    {
      get claims() {
        return { iss: [issuer.url] };
      },
    },
    BAD,
  ],
  ["iss missing", claims({ iss: undefined }), BAD],
  ["iss empty", claims({ iss: "" }), BAD],

  ["sub missing", claims({ sub: undefined }), BAD],
  ["sub empty", claims({ sub: "" }), BAD],
  ["sub of 256 characters", claims({ sub: "s".repeat(256) }), BAD],
  [
    "sub of 255 characters",
    {
      get person() {
        return { sub: `${randomUUID()}${"s".repeat(219)}` };
      },
    },
    null,
  ],
  ["sub with other letters", claims({ sub: "zoë" }), BAD],
  ["sub as a number", claims({ sub: 7 }), BAD],
  ["sub null", claims({ sub: null }), BAD],

  ["exp missing", claims({ exp: undefined }), BAD],
  ["exp null", claims({ exp: null }), BAD],
  [
    "exp as text",
    {
      get claims() {
        return { exp: String(now() + 300) };
      },
    },
    BAD,
  ],
  [
    "expired",
    {
      get claims() {
        return { iat: now() - 600, exp: now() - 90 };
      },
    },
    BAD,
  ],
  [
    "expired within the leeway",
    {
      get claims() {
        return { exp: now() - 15 };
      },
    },
    null,
  ],
  ["exp beyond all time", claims({ exp: 1e300 }), BAD],
  ["exp at the end of time", claims({ exp: Number.MAX_SAFE_INTEGER }), BAD],
  ["exp before all time", claims({ exp: -1 }), BAD],
  ["iat missing", claims({ iat: undefined }), BAD],
  [
    "iat in the future",
    {
      get claims() {
        return { iat: now() + 120, exp: now() + 300 };
      },
    },
    BAD,
  ],
  [
    "iat in the future, within the leeway",
    {
      get claims() {
        return { iat: now() + 30 };
      },
    },
    null,
  ],
  [
    "nbf in the future",
    {
      get claims() {
        return { nbf: now() + 120 };
      },
    },
    BAD,
  ],
  [
    "nbf in the future, within the leeway",
    {
      get claims() {
        return { nbf: now() + 30 };
      },
    },
    null,
  ],
  ["nbf as text", claims({ nbf: "tomorrow" }), BAD],

  ["nonce missing", claims({ nonce: undefined }), BAD],
  ["nonce of another", claims({ nonce: "another" }), BAD],
  ["nonce empty", claims({ nonce: "" }), BAD],
  ["nonce as a list", forged((said, key) => good(key, { ...said, nonce: [said.nonce] })), BAD],
  [
    "nonce in another case",
    forged((said, key) =>
      good(key, { ...said, nonce: said.nonce.toLowerCase() === said.nonce ? said.nonce.toUpperCase() : said.nonce.toLowerCase() }),
    ),
    BAD,
  ],

  ...["none", "None", "NONE", "nOnE", ""].map((alg) => [`alg ${JSON.stringify(alg)}`, unsigned(alg), BAD]),
  ["alg none with a signature", unsigned("none", "signature"), BAD],
  ["alg missing", forged((said, key) => compact({ kid: key.kid }, said, signer(key))), BAD],
  ["alg as a list", forged((said, key) => compact({ alg: ["RS256"], kid: key.kid }, said, signer(key))), BAD],
  ["alg twice, none last", forged((said, key) => compact(`{"alg":"RS256","kid":"${key.kid}","alg":"none"}`, said, constant(""))), BAD],
  ["alg in another case", forged((said, key) => compact({ alg: "rs256", kid: key.kid }, said, signer(key))), BAD],
  ["HS256 with the public key's PEM", forged((said, key) => compact({ alg: "HS256", kid: key.kid }, said, mac(pem(key)))), BAD],
  [
    "HS256 with the public key's trimmed PEM",
    forged((said, key) => compact({ alg: "HS256", kid: key.kid }, said, mac(pem(key).trim()))),
    BAD,
  ],
  [
    "HS256 with the public key's JWK",
    forged((said, key) => compact({ alg: "HS256", kid: key.kid }, said, mac(JSON.stringify(key.jwk)))),
    BAD,
  ],
  [
    "HS256 with the public key's modulus",
    forged((said, key) => compact({ alg: "HS256", kid: key.kid }, said, mac(Buffer.from(key.jwk.n, "base64url")))),
    BAD,
  ],
  ["HS256 with the client secret", forged((said, key) => compact({ alg: "HS256", kid: key.kid }, said, mac(CLIENT.secret))), BAD],
  ["HS256 with nothing", forged((said, key) => compact({ alg: "HS256", kid: key.kid }, said, mac(""))), BAD],
  ["HS512 with the client secret, without kid", forged((said) => compact({ alg: "HS512" }, said, mac(CLIENT.secret, "sha512"))), BAD],
  ["RS512 by the issuer's key", forged((said, key) => compact({ alg: "RS512", kid: key.kid }, said, signer(key, "sha512"))), BAD],
  ["RS1 by the issuer's key", forged((said, key) => compact({ alg: "RS1", kid: key.kid }, said, signer(key, "sha1"))), BAD],
  ["ES256 under the kid of an RSA key", forged((said, key) => good({ ...strangers.ES256, kid: key.kid }, said)), BAD],
  ["RS256 under the kid of a P-256 key", forged((said, key) => good({ ...strangers.RS256, kid: key.kid }, said), "ES256"), BAD],
  [
    "RS256 by a key that is for PS256",
    forged((said, key) => compact({ alg: "RS256", kid: key.kid }, said, signer({ ...key, alg: "RS256" })), "PS256"),
    BAD,
  ],
  ["ES256 of zeros", forged((said, key) => compact({ alg: "ES256", kid: key.kid }, said, () => Buffer.alloc(64)), "ES256"), BAD],
  [
    "ES256 in DER",
    forged(
      (said, key) =>
        compact({ alg: "ES256", kid: key.kid }, said, (input) => signBytes("sha256", Buffer.from(input), KeyObject.from(key.privateKey))),
      "ES256",
    ),
    BAD,
  ],
  ["EdDSA of zeros", forged((said, key) => compact({ alg: "EdDSA", kid: key.kid }, said, () => Buffer.alloc(64)), "EdDSA"), BAD],
  ["RS256 of zeros", forged((said, key) => compact({ alg: "RS256", kid: key.kid }, said, () => Buffer.alloc(256))), BAD],
  ["no signature", forged((said, key) => compact({ alg: "RS256", kid: key.kid }, said, constant(""))), BAD],

  ["an unknown kid", forged((said, _key, stranger) => good(stranger, said)), BAD],
  ["an empty kid", forged((said, key) => good({ ...key, kid: "" }, said)), BAD],
  ["a kid that is no text", forged((said, key) => compact({ alg: "RS256", kid: [key.kid] }, said, signer(key))), BAD],
  ["no kid, and one key", forged((said, key) => good({ ...key, kid: undefined }, said)), null],
  ["no kid, by a stranger", forged((said, _key, stranger) => good({ ...stranger, kid: undefined }, said)), BAD],

  [
    "a stranger's key in the header",
    forged((said, _key, stranger) => good({ ...stranger, kid: undefined }, said, { jwk: stranger.jwk })),
    BAD,
  ],
  [
    "a stranger's key in the header, under the issuer's kid",
    forged((said, key, stranger) => good({ ...stranger, kid: key.kid }, said, { jwk: { ...stranger.jwk, kid: key.kid } })),
    BAD,
  ],
  [
    "a stranger's key by jku",
    forged((said, _key, stranger) => (trap.set({ keys: [stranger.jwk] }), good(stranger, said, { jku: `${trap.url}/jwks` }))),
    BAD,
  ],
  [
    "a stranger's certificate by x5u",
    forged((said, _key, stranger) => (trap.set({ keys: [stranger.jwk] }), good(stranger, said, { x5u: `${trap.url}/x5u` }))),
    BAD,
  ],
  ["a stranger's certificate in the header", forged((said, _key, stranger) => good(stranger, said, { x5c: [base64("certificate")] })), BAD],
  [
    "crit of an extension that nobody knows",
    forged((said, key) =>
      compact(
        { alg: "RS256", kid: key.kid, crit: ["https://elsewhere.example/must"], "https://elsewhere.example/must": true },
        said,
        signer(key),
      ),
    ),
    BAD,
  ],
  ["crit of what is not there", forged((said, key) => compact({ alg: "RS256", kid: key.kid, crit: ["exp"] }, said, signer(key))), BAD],
  ["an empty crit", forged((said, key) => compact({ alg: "RS256", kid: key.kid, crit: [] }, said, signer(key))), BAD],
  [
    "a payload that is not encoded (RFC 7797)",
    forged((said, key) => compact({ alg: "RS256", kid: key.kid, b64: false, crit: ["b64"] }, said, signer(key))),
    BAD,
  ],

  [
    "a JWE",
    forged((said, key) =>
      new CompactEncrypt(Buffer.from(JSON.stringify(said)))
        .setProtectedHeader({ alg: "RSA-OAEP-256", enc: "A256GCM" })
        .encrypt(generateKeyPairSync("rsa", { modulusLength: 2048 }).publicKey),
    ),
    BAD,
  ],
  ["two parts", forged(async (said, key) => (await good(key, said)).split(".").slice(0, 2).join(".")), BAD],
  ["four parts", forged(async (said, key) => `${await good(key, said)}.AAAA`), BAD],
  ["five parts", forged(async (said, key) => `${await good(key, said)}.AAAA.AAAA`), BAD],
  ["a dot after it", forged(async (said, key) => `${await good(key, said)}.`), BAD],
  ["a line end after it", forged(async (said, key) => `${await good(key, said)}\n`), BAD],
  ["padding", forged(async (said, key) => `${await good(key, said)}==`), BAD],
  [
    "base64 with the letters of another alphabet",
    forged((said, key) => good(key, { ...said, pad: "???>>>~~~" }).then((token) => token.replaceAll("_", "/").replaceAll("-", "+"))),
    BAD,
  ],
  ["no token at all", forged(() => ""), BAD],
  ["a payload that is a list", forged((said, key) => compact({ alg: "RS256", kid: key.kid }, [said], signer(key))), BAD],
  ["a payload that is no JSON", forged((_said, key) => compact({ alg: "RS256", kid: key.kid }, "claims", signer(key))), BAD],
  [
    "a payload that is no UTF-8",
    forged((said, key) =>
      compact(
        { alg: "RS256", kid: key.kid },
        Buffer.concat([Buffer.from(JSON.stringify(said).slice(0, -1)), Buffer.from(',"name":"\xff"}', "latin1")]),
        signer(key),
      ),
    ),
    BAD,
  ],
  [
    "a payload of many floors",
    forged((said, key) =>
      compact({ alg: "RS256", kid: key.kid }, withText(said, "", `"deep":${"[".repeat(3000)}${"]".repeat(3000)}`), signer(key)),
    ),
    BAD,
  ],
  ["a header that is a list", forged((said, key) => compact([{ alg: "RS256", kid: key.kid }], said, signer(key))), BAD],
  ["a header of CBOR", forged((said, key) => compact({ alg: "RS256", kid: key.kid, cty: "CBOR" }, said, signer(key))), BAD],
  ["exp twice", forged((said, key) => compact({ alg: "RS256", kid: key.kid }, withText(said, `"exp":${now() - 600}`), signer(key))), BAD],
  // RFC 7519, section 4: refuse, or take the last.
  [
    "aud twice, another's last",
    forged((said, key) => compact({ alg: "RS256", kid: key.kid }, withText(said, "", '"aud":"another"'), signer(key))),
    BAD,
  ],
  [
    "iss twice, another's last",
    forged((said, key) => compact({ alg: "RS256", kid: key.kid }, withText(said, "", '"iss":"https://evil.example"'), signer(key))),
    BAD,
  ],
  [
    "nonce twice, another's last",
    forged((said, key) => compact({ alg: "RS256", kid: key.kid }, withText(said, "", '"nonce":"another"'), signer(key))),
    BAD,
  ],
];

/** Claims of a native app's token, as the issuer would make them. */
function claimed(nonce, changes = {}) {
  const all = { iss: issuer.url, aud: CLIENT.id, nonce, iat: now(), exp: now() + 300, ...issuer.person, ...changes };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

async function byCallback(browser, { forge, person, key, ...row }) {
  Object.assign(issuer.person, person);
  const { name } = await arrange({ key, idToken: forge, claims: row.claims, ...row.faults });
  return browser.get(await flow(browser, name));
}

async function byIdToken(browser, { forge, person, key = "RS256", ...row }) {
  Object.assign(issuer.person, person);
  const { name } = await arrange({ key, ...row.faults });
  const nonce = base64(randomUUID());
  const said = claimed(nonce, row.claims);
  const token = await (forge ?? ((claims) => good(issuer.key, claims)))(said);
  return browser.post(api("/sign-in/social"), { provider: name, idToken: { token, nonce, accessToken: ACCESS_TOKEN } });
}

for (const [name, row, code] of ID_TOKENS) {
  test(`ID token: ${name}`, async (t) => {
    for (const way of [byCallback, byIdToken]) {
      await t.test(way.name, async () => {
        issuer.person = { ...issuer.person, sub: randomUUID(), email: uniqueEmail() };
        const browser = worker.browser();
        if (code === null) {
          const answer = await way(browser, row);
          if (way === byCallback) assert.equal(answer.location, "/done");
          else assert.deepEqual([answer.status, answer.json.redirect], [200, false], answer.text);
          return welcomed(browser);
        }
        const answer = await leavesNothing(browser, () => way(browser, row));
        if (way === byCallback) failed(answer, code);
        else assert.deepEqual([answer.status, answer.json.code], [401, "INVALID_TOKEN"], answer.text);
        assert.deepEqual(trap.requests, []);
      });
    }
  });
}

test("of claims that are there twice the last counts, or none does", async () => {
  const victim = worker.browser();
  await byCallback(victim, {});
  const { user } = await session(victim);
  const sub = issuer.person.sub;
  issuer.person = { ...issuer.person, sub: randomUUID(), email: uniqueEmail() };
  const browser = worker.browser();
  const token = forged((said, key) => compact({ alg: "RS256", kid: key.kid }, withText(said, `"sub":"${sub}"`), signer(key)));
  await byCallback(browser, token);
  assert.notEqual((await session(browser))?.user.id, user.id);
});

test("subjects that look alike are different people", async () => {
  const { name } = await arrange();
  const seen = new Set();
  const base = randomUUID();
  for (const sub of [
    base,
    base.toUpperCase(),
    `${base} `,
    ` ${base}`,
    `${base}\u0000`,
    `${base}\u0000x`,
    `${base}\n`,
    `${base}%`,
    `${base}'--`,
  ]) {
    issuer.person = { ...issuer.person, sub, email: uniqueEmail() };
    const browser = worker.browser();
    assert.equal((await browser.get(await flow(browser, name))).location, "/done", JSON.stringify(sub));
    seen.add((await session(browser)).user.id);
    await welcomed(browser, { user: sub });
  }
  assert.equal(seen.size, 9);
});

// --- Key sets ---

const set = (...list) => reply(200, JSON.stringify({ keys: list }));
const decoys = (many) => Array.from({ length: many }, (_, at) => ({ ...strangers.ES256.jwk, kid: `decoy ${at}` }));
const jwk = (key, changes) => ({ ...key.jwk, ...changes });
/** An RSA key made by hand, and its private half among what is published. */
const rsa = (modulusLength, kid = randomUUID()) => {
  const pair = generateKeyPairSync("rsa", { modulusLength });
  return {
    ...pair.publicKey.export({ format: "jwk" }),
    kid,
    sign: (input) => signBytes("sha256", Buffer.from(input), pair.privateKey),
    private: pair.privateKey.export({ format: "jwk" }),
  };
};
/** A signature under a key whose exponent is one: the padded hash itself (RFC 8017, section 9.2). */
const padded = (input) => {
  const hash = Buffer.concat([Buffer.from("3031300d060960864801650304020105000420", "hex"), createHash("sha256").update(input).digest()]);
  return Buffer.concat([Buffer.from([0, 1]), Buffer.alloc(256 - 3 - hash.length, 0xff), Buffer.from([0]), hash]);
};

/** Name, the answer of the key set's endpoint, what makes the token, and the error. */
const KEY_SETS = [
  ["no JSON", () => reply(200, "<html>"), {}, BAD],
  ["empty", () => reply(200, ""), {}, BAD],
  ["a list", () => reply(200, JSON.stringify([keys.RS256.jwk])), {}, BAD],
  ["keys that are an object", () => reply(200, JSON.stringify({ keys: keys.RS256.jwk })), {}, BAD],
  ["no keys", () => set(), {}, BAD],
  ["odd members and the key", () => set(null, 7, "key", [], {}, { kty: 7 }, keys.RS256.jwk), {}, null],
  [
    "members without use beside the key",
    () => set({ kty: "RSA", kid: keys.RS256.kid }, { kty: "RSA", kid: keys.RS256.kid, n: "AQAB", e: "AQAB" }, keys.RS256.jwk),
    {},
    null,
  ],
  ["larger than is read", () => reply(200, JSON.stringify({ keys: [keys.RS256.jwk], pad: "x".repeat(300_000) })), {}, BAD],
  ["a bomb", () => zipped, {}, BAD],
  ["1000 keys, the right one first", () => set(keys.RS256.jwk, ...decoys(999)), {}, BAD],
  ["1000 keys, the right one last", () => set(...decoys(999), keys.RS256.jwk), {}, BAD],
  ["status 500", () => reply(500, JSON.stringify({ keys: [keys.RS256.jwk] })), {}, BAD],
  ["status 404", () => reply(404, JSON.stringify({ keys: [keys.RS256.jwk] })), {}, BAD],
  ["a redirect", () => (trap.set({ keys: [keys.RS256.jwk] }), reply(302, "", { location: `${trap.url}/jwks` })), {}, BAD],
  ["a lasting redirect", () => (trap.set({ keys: [keys.RS256.jwk] }), reply(308, "", { location: `${trap.url}/jwks` })), {}, BAD],
  ["no answer", () => () => {}, {}, BAD],
  ["an answer without end", () => dripping, {}, BAD],
  ["use=enc", () => set(jwk(keys.RS256, { use: "enc" })), {}, BAD],
  ["key_ops without verify", () => set(jwk(keys.RS256, { use: undefined, key_ops: ["encrypt", "wrapKey"] })), {}, BAD],
  ["no use and no alg", () => set(jwk(keys.RS256, { use: undefined, alg: undefined })), {}, null],
  ["alg of another signature", () => set(jwk(keys.RS256, { alg: "RS512" })), {}, BAD],
  ["alg of encryption", () => set(jwk(keys.RS256, { alg: "RSA-OAEP" })), {}, BAD],
  ["a key without kid", () => set(jwk(keys.RS256, { kid: undefined })), {}, BAD],
  ["two keys of one kid", () => set(jwk(strangers.RS256, { kid: keys.RS256.kid }), keys.RS256.jwk), {}, null],
  ["keys of two kinds of one kid", () => set(jwk(strangers.ES256, { kid: keys.RS256.kid }), keys.RS256.jwk), {}, null],
  [
    "no kid, and several keys",
    () => set(strangers.RS256.jwk, keys.RS256.jwk),
    forged((said, key) => good({ ...key, kid: undefined }, said)),
    null,
  ],
  [
    "no kid, and none of several keys",
    () => set(keys.RS256.jwk, keys.ES256.jwk),
    forged((said, _key, stranger) => good({ ...stranger, kid: undefined }, said)),
    BAD,
  ],
  [
    "an octet key for HS256",
    () => set({ kty: "oct", k: base64("known to all"), kid: keys.RS256.kid, alg: "HS256" }),
    forged((said, key) => compact({ alg: "HS256", kid: key.kid }, said, mac("known to all"))),
    BAD,
  ],
  ["an octet key for RS256", () => set({ kty: "oct", k: base64("known to all"), kid: keys.RS256.kid }), {}, BAD],
];

/** Keys that are published with what they must not have, or are too weak: `make` answers the JWK and a signer of its tokens. */
const WEAK_KEYS = [
  [
    "an RSA key's d",
    () => {
      const key = rsa(2048);
      return [{ ...key, ...key.private }, "RS256", key.sign];
    },
  ],
  [
    "an RSA key's factors",
    () => {
      const key = rsa(2048);
      return [{ ...key, p: key.private.p, q: key.private.q }, "RS256", key.sign];
    },
  ],
  [
    "a P-256 key's d",
    () => {
      const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
      return [
        pair.privateKey.export({ format: "jwk" }),
        "ES256",
        (input) => signBytes("sha256", Buffer.from(input), { key: pair.privateKey, dsaEncoding: "ieee-p1363" }),
      ];
    },
  ],
  [
    "an Ed25519 key's d",
    () => {
      const pair = generateKeyPairSync("ed25519");
      return [pair.privateKey.export({ format: "jwk" }), "EdDSA", (input) => signBytes(null, Buffer.from(input), pair.privateKey)];
    },
  ],
  [
    "an RSA key of 1024 bits",
    () => {
      const key = rsa(1024);
      return [key, "RS256", key.sign];
    },
  ],
  ["an RSA key whose exponent is one", () => [{ ...rsa(2048), e: base64(Buffer.from([1])) }, "RS256", padded]],
  [
    "a P-384 key for ES256",
    () => {
      const pair = generateKeyPairSync("ec", { namedCurve: "P-384" });
      return [
        pair.publicKey.export({ format: "jwk" }),
        "ES256",
        (input) => signBytes("sha256", Buffer.from(input), { key: pair.privateKey, dsaEncoding: "ieee-p1363" }),
      ];
    },
  ],
  [
    "a point off the curve",
    () => [{ kty: "EC", crv: "P-256", x: base64(Buffer.alloc(32)), y: base64(Buffer.alloc(32)) }, "ES256", () => Buffer.alloc(64, 1)],
  ],
  // Of the neutral point, (R, S) = (neutral, 0) is a signature of anything.
  [
    "an Ed25519 key of small order",
    () => {
      const neutral = Buffer.concat([Buffer.from([1]), Buffer.alloc(31)]);
      return [{ kty: "OKP", crv: "Ed25519", x: base64(neutral) }, "EdDSA", () => Buffer.concat([neutral, Buffer.alloc(32)])];
    },
  ],
].map(([name, make]) => {
  const kid = randomUUID();
  let made;
  const weak = () => (made ??= make());
  return [
    name,
    () => {
      const { sign: _sign, private: _private, ...published } = weak()[0];
      return set({ ...published, kid });
    },
    { forge: (said) => compact({ alg: weak()[1], kid }, said, weak()[2]) },
    BAD,
  ];
});

for (const [name, serve, row, code] of [...KEY_SETS, ...WEAK_KEYS]) {
  test(`key set: ${name}`, async () => {
    const browser = worker.browser();
    const sign = () => byCallback(browser, { ...row, faults: { jwks: serve() } });
    if (code === null) {
      assert.equal((await sign()).location, "/done");
      return welcomed(browser);
    }
    failed(await leavesNothing(browser, sign), code);
    assert.deepEqual(trap.requests, []);
  });
}

const native = (browser, provider, idToken, body = {}) => browser.post(api("/sign-in/social"), { provider, idToken, ...body });
/** How many times a set may have been fetched since a moment, because keys were missing in it. */
const refetches = (since) => 1 + Math.floor((Date.now() - since) / 10_000);

test("a rotated key is fetched once, and made-up kids fetch nothing for ten seconds", async () => {
  const { name } = await arrange();
  const first = worker.browser();
  assert.equal((await first.get(await flow(first, name))).location, "/done");
  assert.equal(jwksRequests(), 1);
  issuer.key = strangers.RS256;
  const since = Date.now();
  for (let n = 0; n < 3; n++) {
    const rotated = worker.browser();
    assert.equal((await rotated.get(await flow(rotated, name))).location, "/done");
  }
  assert.ok(jwksRequests() <= 1 + refetches(since), `${jwksRequests()} requests`);
  const browser = worker.browser();
  for (let n = 0; n < 8; n++) {
    issuer.faults.signWith = { ...keys.RS256, kid: `made up ${n}` };
    failed(await leavesNothing(browser, async () => browser.get(await flow(browser, name))), BAD);
  }
  assert.ok(jwksRequests() <= 1 + refetches(since), `${jwksRequests()} requests`);
});

test("made-up kids in parallel fetch the set once", async () => {
  const { name } = await arrange();
  const token = await good(keys.RS256, claimed(undefined));
  assert.equal((await native(worker.browser(), name, { token })).status, 200);
  issuer.requests.length = 0;
  const since = Date.now();
  const browser = worker.browser();
  const tokens = await Promise.all(
    Array.from({ length: 20 }, (_, n) => good({ ...strangers.RS256, kid: `made up ${n}` }, claimed(undefined))),
  );
  const answers = await leavesNothing(browser, () => Promise.all(tokens.map((token) => native(browser, name, { token }))));
  assert.ok(answers.every(({ status }) => status === 401));
  assert.ok(jwksRequests() <= refetches(since), `${jwksRequests()} requests`);
});

test("made-up kids do not pester a key set that fails, and the keys that are known stay good", async () => {
  const { name } = await arrange();
  assert.equal((await native(worker.browser(), name, { token: await good(keys.RS256, claimed(undefined)) })).status, 200);
  issuer.requests.length = 0;
  issuer.faults.jwks = reply(500, "");
  const since = Date.now();
  const browser = worker.browser();
  for (let n = 0; n < 6; n++) {
    const token = await good({ ...strangers.RS256, kid: `made up ${n}` }, claimed(undefined));
    assert.equal((await leavesNothing(browser, () => native(browser, name, { token }))).status, 401);
  }
  assert.equal((await native(worker.browser(), name, { token: await good(keys.RS256, claimed(undefined, { jti: "2" })) })).status, 200);
  assert.ok(jwksRequests() <= refetches(since), `${jwksRequests()} requests`);
});

// --- Native apps' tokens ---

/** Name, what is brought, status and code. */
const NATIVE = [
  ["a nonce that the app does not name", async () => ({ token: await good(keys.RS256, claimed("n")) }), 401, "INVALID_TOKEN"],
  [
    "a nonce that is no text and that the app does not name",
    async () => ({ token: await good(keys.RS256, claimed(7)) }),
    401,
    "INVALID_TOKEN",
  ],
  ["another nonce than the app names", async () => ({ token: await good(keys.RS256, claimed("n")), nonce: "m" }), 401, "INVALID_TOKEN"],
  [
    "a logout token",
    async () => ({
      token: await good(
        keys.RS256,
        claimed(undefined, { events: { "http://schemas.openid.net/event/backchannel-logout": {} }, jti: "1" }),
        { typ: "logout+jwt" },
      ),
    }),
    401,
    "INVALID_TOKEN",
  ],
  [
    "an access token in JWT (RFC 9068)",
    async () => ({
      token: await good(keys.RS256, claimed(undefined, { client_id: CLIENT.id, jti: "1", scope: "openid" }), { typ: "at+jwt" }),
    }),
    401,
    "INVALID_TOKEN",
  ],
  [
    "the at_hash of another access token",
    async () => ({ token: await good(keys.RS256, claimed(undefined, { at_hash: atHash("RS256", "another") })), accessToken: ACCESS_TOKEN }),
    401,
    "INVALID_TOKEN",
  ],
  [
    "the access token of another",
    async () => (
      (issuer.faults.userinfo = { sub: "another" }),
      { token: await good(keys.RS256, claimed(undefined)), accessToken: ACCESS_TOKEN }
    ),
    401,
    "FAILED_TO_GET_USER_INFO",
  ],
  [
    "a longer token than is read",
    async () => ({ token: await good(keys.RS256, claimed(undefined, { pad: "x".repeat(16_384) })) }),
    400,
    "VALIDATION_ERROR",
  ],
  ["no token", async () => ({}), 400, "VALIDATION_ERROR"],
  ["a token that is no text", async () => ({ token: 7 }), 400, "VALIDATION_ERROR"],
  ["a text", async () => good(keys.RS256, claimed(undefined)), 400, "VALIDATION_ERROR"],
  ["a list", async () => [await good(keys.RS256, claimed(undefined)), null, null, null, null], 400, "VALIDATION_ERROR"],
  ["false", async () => false, 400, "VALIDATION_ERROR"],
];

for (const [name, make, status, code] of NATIVE) {
  test(`native: ${name}`, async () => {
    const provider = await arrange();
    const browser = worker.browser();
    const idToken = await make();
    const answer = await leavesNothing(browser, () => native(browser, provider.name, idToken));
    assert.deepEqual([answer.status, answer.json.code], [status, code], answer.text);
  });
}

test("native: an empty nonce counts as none", async () => {
  issuer.person = { ...issuer.person, sub: randomUUID(), email: uniqueEmail() };
  const { name } = await arrange();
  const answer = await native(worker.browser(), name, { token: await good(keys.RS256, claimed("")) });
  assert.equal(answer.status, 200, answer.text);
});

test("native: issuers that cannot be asked", async () => {
  const off = await arrange({ columns: { enabled: 0 } });
  const oauth = await arrange({ columns: { service_type: "github" } });
  const token = await good(keys.RS256, claimed(undefined));
  for (const [provider, code] of [
    [off.name, "PROVIDER_NOT_FOUND"],
    [oauth.name, "ID_TOKEN_NOT_SUPPORTED"],
    ["nobody", "PROVIDER_NOT_FOUND"],
    ["credential", "PROVIDER_NOT_FOUND"],
    ["' or 1=1 --", "PROVIDER_NOT_FOUND"],
  ]) {
    const browser = worker.browser();
    const answer = await leavesNothing(browser, () => native(browser, provider, { token }));
    assert.deepEqual([answer.status, answer.json.code], [404, code], provider);
  }
});

test("native: fifty sign-ins with one token open one session", async () => {
  const { name } = await arrange();
  const token = await good(keys.RS256, claimed(undefined));
  const answers = await Promise.all(Array.from({ length: 50 }, () => native(worker.browser(), name, { token })));
  assert.deepEqual(
    answers
      .map(({ status }) => status)
      .sort()
      .slice(0, 2),
    [200, 401],
  );
  const [{ sessions }] = await worker.rows(
    "select count(*) as sessions from session join account using (user_id) where subject = ?",
    issuer.person.sub,
  );
  assert.equal(sessions, 1);
});

const big = (bytes) => BigInt(`0x${Buffer.from(bytes).toString("hex")}`);
const bytes = (number, length) => Buffer.from(number.toString(16).padStart(length * 2, "0"), "hex");
const P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const ED25519_ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;
/** Signatures that say the same as the one given, in other bytes. None where there is none of that length. */
const TWINS = {
  RS256: (signature, { jwk }) => plusModulus(signature, jwk),
  PS256: (signature, { jwk }) => plusModulus(signature, jwk),
  ES256: (signature) => Buffer.concat([signature.subarray(0, 32), bytes(P256_ORDER - big(signature.subarray(32)), 32)]),
  EdDSA: (signature) => {
    const s = big(Buffer.from(signature.subarray(32)).reverse()) + ED25519_ORDER;
    return Buffer.concat([signature.subarray(0, 32), bytes(s, 32).reverse()]);
  },
};
function plusModulus(signature, jwk) {
  const sum = big(signature) + big(Buffer.from(jwk.n, "base64url"));
  return sum < 2n ** BigInt(signature.length * 8) ? bytes(sum, signature.length) : null;
}

for (const alg of ALGORITHMS) {
  test(`native: whoever copies a used ${alg} token cannot make another of it`, async () => {
    const { name } = await arrange({ key: alg });
    let token, twin;
    for (let n = 0; !twin; n++) {
      assert.ok(n < 2000);
      token = await good(keys[alg], claimed(undefined, { jti: String(n) }));
      twin = TWINS[alg](Buffer.from(token.split(".")[2], "base64url"), keys[alg]);
    }
    assert.equal((await native(worker.browser(), name, { token })).status, 200);
    const head = token.slice(0, token.lastIndexOf(".") + 1);
    const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // The last letter stands for two bits of the signature and four that are nothing.
    const last = letters[letters.indexOf(token.at(-1)) ^ 1];
    for (const [kind, copy] of [
      ["the same", token],
      ["an equal signature", head + base64(twin)],
      ["a bit that is no part of it", token.slice(0, -1) + last],
      ["padding", `${token}=`],
      ["a blank", `${token} `],
    ]) {
      const browser = worker.browser();
      const answer = await leavesNothing(browser, () => native(browser, name, { token: copy }));
      assert.deepEqual([answer.status, answer.json.code], [401, "INVALID_TOKEN"], kind);
    }
  });
}

test("native: a used token is remembered until it has ended, however its end is written", async () => {
  const { name } = await arrange();
  for (const exp of [now() + 86_400, `${now() + 86_400}.5`, `${(now() + 86_400) / 1e9}e9`]) {
    const token = compact(
      { alg: "RS256", kid: keys.RS256.kid },
      withText({ ...claimed(undefined, { exp: undefined, jti: randomUUID() }) }, `"exp":${exp}`),
      signer(keys.RS256),
    );
    const signedIn = await native(worker.browser(), name, { token });
    // A reader that takes whole numbers alone may refuse the others.
    assert.ok(signedIn.status === 200 || typeof exp === "string", signedIn.text);
    if (signedIn.status !== 200) continue;
    const hash = createHash("sha256")
      .update(token.slice(0, token.lastIndexOf(".")))
      .digest("base64url");
    const kept = await worker.rows(
      "select expires_at from verification where token_hash = ?",
      createHash("sha256").update(hash).digest("base64url"),
    );
    assert.equal(kept.length, 1);
    assert.ok(
      kept[0].expires_at >= (now() + 80_000) * 1000,
      `exp ${exp}: forgotten ${Math.round((kept[0].expires_at - Date.now()) / 1000)} s from now`,
    );
  }
});

// --- Token endpoints ---

const tokens = (changes) => ({ answer: changes });
const TOKEN_ENDPOINTS = [
  ["no access_token", tokens({ access_token: undefined }), null],
  ["an empty access_token", tokens({ access_token: "" }), null],
  ["an access_token that is no text", tokens({ access_token: { token: "x" } }), null],
  ["token_type DPoP", tokens({ token_type: "DPoP" }), "invalid_code"],
  ["token_type mac", tokens({ token_type: "mac" }), "invalid_code"],
  ["token_type N_A", tokens({ token_type: "N_A" }), "invalid_code"],
  ["token_type empty", tokens({ token_type: "" }), null],
  ["token_type as a list", tokens({ token_type: ["Bearer"] }), null],
  ["token_type bearer in small letters", tokens({ token_type: "bearer" }), null],
  ["an ID token that is no text", tokens({ id_token: {} }), "invalid_id_token"],
  ["status 200 with an error", tokens({ error: "invalid_grant" }), "invalid_code"],
  [
    "access_token twice",
    { token: reply(200, '{"access_token":"a","access_token":"b","token_type":"Bearer","id_token":"x"}') },
    "invalid_id_token",
  ],
  ["id_token twice", { token: reply(200, '{"access_token":"a","token_type":"Bearer","id_token":"x","id_token":"y"}') }, "invalid_id_token"],
  ["a list", { tokenList: true }, "invalid_code"],
  ["HTML", { token: reply(200, "<!doctype html><title>Sign in</title>", { "content-type": "text/html" }) }, "invalid_code"],
  ["null", { token: reply(200, "null") }, "invalid_code"],
  [
    "a form",
    { token: reply(200, "access_token=a&token_type=bearer", { "content-type": "application/x-www-form-urlencoded" }) },
    "invalid_id_token",
  ],
  ["no UTF-8", { token: reply(200, Buffer.from('{"access_token":"\xff"}', "latin1")) }, "invalid_code"],
  ["a bomb", { token: zipped }, "invalid_code"],
  ["an answer without end", { token: dripping }, "invalid_code"],
  ["status 201", { token: reply(201, JSON.stringify({ access_token: "a", token_type: "Bearer" })) }, "invalid_code"],
  ["a life of the access token that is no number", tokens({ expires_in: "soon" }), null],
  ["a life beyond all time", tokens({ expires_in: 1e300, refresh_token_expires_in: -5 }), null],
  ["userinfo of another", { userinfo: { sub: "another" } }, null],
  ["userinfo of nobody", { userinfo: { sub: undefined } }, null],
  ["userinfo of a number", { userinfo: { sub: 7 } }, null],
  [
    "userinfo of another case",
    {
      userinfoAnswer: (_request, response) =>
        response.writeHead(200).end(JSON.stringify({ ...issuer.person, sub: issuer.person.sub.toUpperCase() })),
    },
    null,
  ],
  ["userinfo with status 500", { userinfoStatus: 500 }, null],
  ["userinfo with status 401", { userinfoStatus: 401 }, null],
  ["userinfo that is no JSON", { userinfoAnswer: reply(200, "<html>") }, null],
  ["userinfo that is empty", { userinfoAnswer: reply(200, "") }, null],
  [
    "userinfo that is a list",
    { userinfoAnswer: (_request, response) => response.writeHead(200).end(JSON.stringify([issuer.person])) },
    null,
  ],
  ["userinfo that is null", { userinfoAnswer: reply(200, "null") }, null],
  ["userinfo that is larger than is read", { userinfo: { pad: "x".repeat(300_000) } }, null],
  ["userinfo that is a bomb", { userinfoAnswer: zipped }, null],
  ["userinfo without end", { userinfoAnswer: dripping }, null],
  ["userinfo that hangs", { userinfoAnswer: () => {} }, null],
  ...[301, 302, 303, 307, 308].flatMap((status) => [
    [`a redirect, ${status}`, { redirects: "token", status }, "invalid_code"],
    [`userinfo with a redirect to loopback, ${status}`, { redirects: "userinfoAnswer", status }, null],
  ]),
];

for (const [name, { redirects, status, tokenList, ...faults }, code] of TOKEN_ENDPOINTS) {
  test(`token endpoint: ${name}`, async () => {
    const browser = worker.browser();
    if (redirects) {
      trap.set({ ...issuer.person, access_token: "a", token_type: "Bearer", id_token: await good(keys.RS256, claimed(undefined)) });
      faults[redirects] = reply(status, "", { location: `${trap.url}/` });
    }
    const { name: provider } = await arrange(faults);
    const url = new URL(await begin(browser, provider));
    // A good answer but for its shape: members in the order in which a reader may expect them.
    if (tokenList)
      issuer.faults.token = async (_request, response) =>
        response
          .writeHead(200)
          .end(
            JSON.stringify([
              ACCESS_TOKEN,
              await good(keys.RS256, claimed(url.searchParams.get("nonce"))),
              null,
              "Bearer",
              null,
              null,
              null,
            ]),
          );
    const callback = await visitIssuer(url.href);
    const asked = Date.now();
    if (code === null) {
      // The ID token proves the sign-in; what the other answers is passed over, and nothing is followed.
      assert.equal((await browser.get(callback)).location, "/done");
      assert.deepEqual(trap.requests, [], "a redirect was followed");
      return welcomed(browser);
    }
    failed(await leavesNothing(browser, () => browser.get(callback)), code);
    assert.deepEqual(trap.requests, [], "a redirect was followed");
    assert.ok(Date.now() - asked < 30_000);
  });
}

// --- Callbacks ---

const change = (edit) => (url) => {
  edit(url.searchParams, url);
  return url.href;
};
const raw = (tail) => (url) => `${url.href}${tail}`;
const instead = (query) => (url) =>
  `${url.origin}${url.pathname}?${query.replace("STATE", url.searchParams.get("state")).replace("CODE", url.searchParams.get("code"))}`;
const S = "A".repeat(43);

/** Name, what the browser makes of the callback, and the error; third, what the issuer's metadata say. */
const CALLBACKS = [
  ["state twice", raw(`&state=${S}`), "invalid_callback_request"],
  ["the same state twice", (url) => `${url.href}&state=${url.searchParams.get("state")}`, "invalid_callback_request"],
  ["code twice", raw("&code=another"), "invalid_callback_request"],
  ["the same code twice", (url) => `${url.href}&code=${url.searchParams.get("code")}`, "invalid_callback_request"],
  [
    "iss twice",
    (url) => `${url.href}&iss=${encodeURIComponent(issuer.url)}&iss=${encodeURIComponent(issuer.url)}`,
    "invalid_callback_request",
  ],
  ["error twice", instead("error=access_denied&error=server_error&state=STATE"), "invalid_callback_request"],
  ["code twice, once disguised", raw("&%63ode=another"), "invalid_callback_request"],
  ["state missing", change((query) => query.delete("state")), "state_not_found"],
  ["state by the name of a list", instead("code=CODE&state[]=STATE"), "state_not_found"],
  ["state in capitals", instead("code=CODE&STATE=STATE"), "state_not_found"],
  ["state behind a semicolon", instead("code=CODE;state=STATE"), "state_not_found"],
  ["state behind a fragment", instead("code=CODE#&state=STATE"), "state_not_found"],
  ["nothing", (url) => `${url.origin}${url.pathname}`, "state_not_found"],
  ["state empty", change((query) => query.set("state", "")), "state_mismatch"],
  ["state made up", change((query) => query.set("state", S)), "state_mismatch"],
  ["state with a letter more", change((query) => query.set("state", `${query.get("state")}A`)), "state_mismatch"],
  ["state with a NUL after it", change((query) => query.set("state", `${query.get("state")}\0`)), "state_mismatch"],
  ["state with a blank before it", change((query) => query.set("state", ` ${query.get("state")}`)), "state_mismatch"],
  [
    "state in another case",
    change((query) => query.set("state", query.get("state").toLowerCase() === query.get("state") ? S : query.get("state").toLowerCase())),
    "state_mismatch",
  ],
  ["state of 8 KiB", change((query) => query.set("state", "A".repeat(8192))), "state_mismatch"],
  ["state over 8 KiB", change((query) => query.set("state", "A".repeat(8193))), "invalid_callback_request"],
  ["state as a wildcard", change((query) => query.set("state", "%")), "state_mismatch"],
  ["code missing", change((query) => query.delete("code")), "no_code"],
  ["code empty", change((query) => query.set("code", "")), "no_code"],
  ["code made up", change((query) => query.set("code", "made up")), "invalid_code"],
  ["code with a NUL", change((query) => query.set("code", `${query.get("code")}\0`)), "invalid_code"],
  ["code with line ends", change((query) => query.set("code", `${query.get("code")}\r\nx: y\r\n\r\n`)), "invalid_code"],
  ["code with parameters of its own", change((query) => query.set("code", `${query.get("code")}&client_id=another`)), "invalid_code"],
  ["code that is no UTF-8", instead("code=%ff%fe&state=STATE"), "invalid_code"],
  ["code of 8 KiB", change((query) => query.set("code", "c".repeat(8192))), "invalid_code"],
  ["code over 8 KiB", change((query) => query.set("code", "c".repeat(8193))), "invalid_callback_request"],
  ["error without state", instead("error=access_denied"), "state_not_found"],
  ["error with a made-up state", instead(`error=access_denied&state=${S}`), "state_mismatch"],
  ["error with state", instead("error=access_denied&state=STATE"), "access_denied"],
  ["error and code", raw("&error=server_error"), "provider_error"],
  ["error empty and code", raw("&error="), "provider_error"],
  [
    "error with markup",
    instead("error=%3Cscript%3Ealert(1)%3C/script%3E&error_description=%3Cimg%20src=x%20onerror=alert(1)%3E&state=STATE"),
    "provider_error",
  ],
  ["error with line ends", instead("error=x%0d%0aset-cookie:%20a=b&state=STATE"), "provider_error"],
  ["error_description over 8 KiB", instead(`error=x&error_description=${"d".repeat(8193)}&state=STATE`), "invalid_callback_request"],
  ["iss of another", raw("&iss=https%3A%2F%2Fevil.example"), "issuer_mismatch"],
  ["iss empty", raw("&iss="), "issuer_mismatch"],
  ["iss with a slash", (url) => `${url.href}&iss=${encodeURIComponent(`${issuer.url}/`)}`, "issuer_mismatch"],
  ["iss by https", (url) => `${url.href}&iss=${encodeURIComponent(issuer.url.replace("http:", "https:"))}`, "issuer_mismatch"],
  ["iss of ours, not promised", (url) => `${url.href}&iss=${encodeURIComponent(issuer.url)}`, null],
  ["error with iss of another", instead("error=access_denied&state=STATE&iss=https%3A%2F%2Fevil.example"), "issuer_mismatch"],
  ["iss promised and sent", (url) => `${url.href}&iss=${encodeURIComponent(issuer.url)}`, null, true],
  ["iss promised and missing", (url) => url.href, "issuer_mismatch", true],
  ["iss promised and missing beside an error", instead("error=access_denied&state=STATE"), "issuer_mismatch", true],
  ["iss promised and of another", raw("&iss=https%3A%2F%2Fevil.example"), "issuer_mismatch", true],
  ["user that is no JSON", raw("&user=%7B"), null],
  [
    "user that claims another subject and address",
    raw(`&user=${encodeURIComponent('{"sub":"another","email":"victim@example.org","email_verified":true}')}`),
    null,
  ],
  ["what nobody knows, twice", raw("&session_state=1&session_state=2&scope=a&scope=b"), null],
  ["the path of an issuer that is not there", (url) => url.href.replace(/\/callback\/[^?]+/, "/callback/nobody"), "provider_not_found"],
  [
    "the path in capitals",
    (url) => url.href.replace(/\/callback\/([^?]+)/, (_all, name) => `/callback/${name.toUpperCase()}`),
    "provider_not_found",
  ],
  ["the path of the password", (url) => url.href.replace(/\/callback\/[^?]+/, "/callback/credential"), "provider_not_found"],
];

for (const [name, edit, code, sendsIss = false] of CALLBACKS) {
  test(`callback: ${name}`, async () => {
    const { name: provider } = await arrange({ metadata: { authorization_response_iss_parameter_supported: sendsIss } });
    const browser = worker.browser();
    const url = edit(new URL(await flow(browser, provider)));
    if (code === null) {
      assert.equal((await browser.get(url)).location, "/done");
      assert.equal((await session(browser)).user.email, issuer.person.email);
      return welcomed(browser);
    }
    const answer = await leavesNothing(browser, () => browser.get(url));
    failed(answer, code);
    assert.equal(answer.headers["set-cookie"]?.some((line) => /session/i.test(line)) ?? false, false);
    const page = await browser.get(`${AUTH}${answer.location}`);
    assert.equal(page.status, 200);
    assert.match(page.text, /<h1>[^<]+<\/h1>/);
  });
}

test("what an issuer says of its error is shown nowhere, and forges no line of the log", async () => {
  const { name } = await arrange();
  for (const [body, page] of [
    [{}, "/api/auth/error"],
    [{ errorCallbackURL: "http://spa.localhost:5173/oops" }, "http://spa.localhost:5173/oops"],
  ]) {
    const browser = worker.browser();
    const begun = worker.logs().length;
    issuer.faults.callback = {
      code: undefined,
      error: "<b>bold</b>",
      error_description: '<script>alert(1)</script>\n{"level":"error","forged":true}\r\nforged line',
      error_uri: "https://evil.example",
    };
    const answer = await leavesNothing(browser, async () => browser.get(await flow(browser, name, body)));
    failed(answer, "provider_error", page);
    assert.ok(!/script|bold|evil/.test(JSON.stringify(answer.headers) + answer.text));
    const lines = worker
      .logs()
      .slice(begun)
      .split("\n")
      .filter((line) => line.includes("forged"));
    assert.deepEqual(
      lines.map((line) => line.includes("UPSTREAM_SIGN_IN_FAILED")),
      [true],
    );
  }
  for (const query of [
    "error=<script>alert(1)</script>",
    "error=access_denied&error_description=<script>alert(1)</script>",
    "error=%22onload=alert(1)",
  ]) {
    const page = await worker.browser().get(api(`/error?${query}`));
    assert.ok(!page.text.includes("alert(1)"), query);
  }
});

test("a state is of one browser, one issuer, one use and ten minutes", async () => {
  const [mine, other] = [await arrange(), await arrange()];
  const [victim, attacker] = [worker.browser(), worker.browser()];
  // The attacker's callback in a browser that has begun nothing, and in one that has.
  failed(await leavesNothing(victim, async () => victim.get(await flow(attacker, mine.name))), "state_mismatch");
  await begin(victim, mine.name);
  failed(
    await leavesNothing(victim, async () => victim.get(await flow(attacker, mine.name, { errorCallbackURL: "/of-the-attacker" }))),
    "state_mismatch",
  );
  // The attacker's code, and the attacker's ID token, in the victim's flow.
  const [theirs, ours] = [new URL(await flow(attacker, mine.name)), new URL(await flow(victim, mine.name))];
  ours.searchParams.set("code", theirs.searchParams.get("code"));
  failed(await leavesNothing(victim, () => victim.get(ours.href)), "invalid_code");
  let stolen;
  issuer.faults.idToken = async (said) => void (stolen = await good(issuer.key, said));
  await attacker.get(await flow(attacker, mine.name));
  issuer.faults.idToken = () => stolen;
  failed(await leavesNothing(victim, async () => victim.get(await flow(victim, mine.name))), BAD);
  issuer.faults.idToken = undefined;
  // Another issuer's path.
  const mixed = (await flow(victim, mine.name)).replace(mine.name, other.name);
  failed(await leavesNothing(victim, () => victim.get(mixed)), "state_mismatch");
  failed(await leavesNothing(victim, () => victim.get(mixed.replace(other.name, mine.name))), "state_mismatch");
  // Too late.
  const late = await flow(victim, mine.name);
  await worker.d1
    .prepare("update verification set expires_at = ?")
    .bind(Date.now() - 1)
    .run();
  failed(await leavesNothing(victim, () => victim.get(late)), "state_mismatch");
  // Once.
  const unused = await flow(victim, mine.name);
  assert.equal((await victim.get(unused)).location, "/done");
  const again = await traces();
  failed(await victim.get(unused), "state_mismatch");
  assert.deepEqual(await traces(), again);
  // And a state that went wrong once is over as well.
  const stranger = worker.browser();
  const wrong = new URL(await flow(stranger, mine.name));
  const repaired = wrong.href;
  wrong.searchParams.set("iss", "https://evil.example");
  failed(await leavesNothing(stranger, () => stranger.get(wrong.href)), "issuer_mismatch");
  failed(await leavesNothing(stranger, () => stranger.get(repaired)), "state_mismatch");
});

const MIDDLE = [
  ["disabled", (id) => worker.d1.prepare("update issuer set enabled = 0 where id = ?").bind(id).run(), "provider_not_found"],
  ["deleted", (id) => worker.d1.prepare("delete from issuer where id = ?").bind(id).run(), "provider_not_found"],
  ["renamed", (id) => worker.d1.prepare("update issuer set name = name || '-renamed' where id = ?").bind(id).run(), "provider_not_found"],
  [
    "renamed, and another takes its name",
    async (id, name) => {
      await worker.d1.prepare("update issuer set name = name || '-renamed' where id = ?").bind(id).run();
      await addIssuer(worker.d1, issuer.url, { name });
    },
    "state_mismatch",
  ],
  [
    "deleted, and another takes its name",
    async (id, name) => {
      await worker.d1.prepare("delete from issuer where id = ?").bind(id).run();
      await addIssuer(worker.d1, issuer.url, { name });
    },
    "state_mismatch",
  ],
];

for (const [name, act, code] of MIDDLE) {
  test(`callback: the issuer is ${name} in the middle`, async () => {
    const provider = await arrange();
    const browser = worker.browser();
    const callback = await flow(browser, provider.name, { errorCallbackURL: "/oops" });
    issuer.requests.length = 0;
    await act(provider.id, provider.name);
    failed(await leavesNothing(browser, () => browser.get(callback)), code, "/oops");
    assert.deepEqual(
      issuer.requests.map(({ path }) => path),
      [],
      "somebody's code was sent on",
    );
  });
}

test("a tenant's issuer is another than that of the same name elsewhere", async () => {
  const global = await arrange();
  const { name } = global;
  const slugs = ["north", "south"].map((side) => `${side}${randomUUID().slice(0, 8)}`);
  const [north, south] = slugs.map((slug) => `http://${slug}.localhost`);
  const tenants = [];
  for (const slug of slugs) {
    tenants.push(await seedTenant(worker, { slug, pool: "isolated" }));
    await seedDomain(worker, tenants.at(-1), `${slug}.localhost`);
  }
  const only = `${name}-only`;
  await addIssuer(worker.d1, issuer.url, { name: only, tenant_id: tenants[0] });
  for (const host of [AUTH, south]) {
    const answer = await worker.browser().post(api("/sign-in/social", host), { provider: only });
    assert.deepEqual([answer.status, answer.json.code], [404, "PROVIDER_NOT_FOUND"], host);
  }

  // A callback taken from one host to another, with the cookie that ties it to the browser.
  const carried = async (from, to) => {
    const browser = worker.browser();
    const callback = await flow(browser, name, {}, from);
    for (const [cookie, value] of browser.cookies(new URL(from).host)) browser.cookies(new URL(to).host).set(cookie, value);
    failed(await leavesNothing(browser, () => browser.get(callback.replace(from, to)), to), "state_mismatch");
  };
  await carried(AUTH, north);
  await carried(north, south);
  await carried(north, AUTH);

  // Begun with the issuer of all, ended when the tenant has one of its own.
  const browser = worker.browser();
  const callback = await flow(browser, name, {}, north);
  await addIssuer(worker.d1, issuer.url, { name, tenant_id: tenants[0] });
  issuer.requests.length = 0;
  failed(await leavesNothing(browser, () => browser.get(callback), north), "state_mismatch");
  assert.deepEqual(issuer.requests, []);

  // The same subject at both is two users, each in a pool of their own.
  const ids = new Set();
  for (const host of [north, south, AUTH]) {
    const visitor = worker.browser();
    assert.equal((await visitor.get(await flow(visitor, name, {}, host))).location, "/done", host);
    ids.add((await session(visitor, host)).user.id);
  }
  assert.equal(ids.size, 3);
});

// --- Forms ---

const FORM = "application/x-www-form-urlencoded";
const form = (fields) => new URLSearchParams(fields).toString();
/** Name, content type, body of code and state, and the status. */
const POSTS = [
  ["code twice", FORM, (code, state) => `code=${code}&code=${code}&state=${state}`, 400],
  ["state twice", FORM, (code, state) => `code=${code}&state=${state}&state=${S}`, 400],
  ["iss twice", FORM, (code, state) => `code=${code}&state=${state}&iss=a&iss=b`, 400],
  ["code over 8 KiB", FORM, (_code, state) => `code=${"c".repeat(8193)}&state=${state}`, 400],
  ["JSON", "application/json", (code, state) => JSON.stringify({ code, state }), 415],
  ["a text", "text/plain", (code, state) => form({ code, state }), 415],
  [
    "several parts",
    "multipart/form-data; boundary=b",
    (code, state) =>
      `--b\r\ncontent-disposition: form-data; name="code"\r\n\r\n${code}\r\n--b\r\ncontent-disposition: form-data; name="state"\r\n\r\n${state}\r\n--b--\r\n`,
    415,
  ],
  ["two types", `text/plain, ${FORM}`, (code, state) => form({ code, state }), 415],
  ["no type", undefined, (code, state) => form({ code, state }), 415],
  ["a body over 64 KiB", FORM, (code, state) => `${form({ code, state })}&pad=${"x".repeat(65_536)}`, 413],
  ["a body of 5 MiB", FORM, (code, state) => `${form({ code, state })}&pad=${"x".repeat(5 * 1024 * 1024)}`, 413],
  [
    "a body over 64 KiB without a length",
    FORM,
    (code, state) => `${form({ code, state })}&pad=${"x".repeat(65_536)}`,
    413,
    { "content-length": undefined, "transfer-encoding": "chunked" },
  ],
];

for (const [name, type, body, status, headers = {}] of POSTS) {
  test(`form: ${name}`, async () => {
    const { name: provider } = await arrange();
    const browser = worker.browser();
    const callback = new URL(await flow(browser, provider));
    const [code, state] = ["code", "state"].map((name) => callback.searchParams.get(name));
    const url = `${AUTH}${callback.pathname}`;
    issuer.requests.length = 0;
    const answer = await leavesNothing(browser, () =>
      browser.send("POST", url, {
        body: body(code, state),
        headers: { origin: issuer.url, accept: "text/html", "content-type": type, ...headers },
      }),
    );
    assert.deepEqual([answer.status, answer.location], [status, undefined]);
    assert.deepEqual(issuer.requests, []);
    // None of it has used the state up.
    assert.equal((await browser.get(callback.href)).location, "/done");
  });
}

/** Forms that are sent on, and how that ends: name, what is posted, and the error. */
const FORWARDED = [
  ["nothing", () => "", "state_not_found"],
  ["an error", (_code, state) => form({ error: "access_denied", state }), "access_denied"],
  ["a code with line ends", (_code, state) => form({ code: "a\r\nlocation: https://evil.example\r\n\r\n", state }), "invalid_code"],
  ["a code with a NUL", (code, state) => form({ code: `${code}\0`, state }), "invalid_code"],
  ["a code that is an address", (_code, state) => form({ code: "//evil.example/#?&error=x", state }), "invalid_code"],
  ["another's iss", (code, state) => form({ code, state, iss: "https://evil.example" }), "issuer_mismatch"],
  ["a state made up", (code) => form({ code, state: S }), "state_mismatch"],
];

for (const [name, body, code] of FORWARDED) {
  test(`form, sent on: ${name}`, async () => {
    const { name: provider } = await arrange();
    const browser = worker.browser();
    const callback = new URL(await flow(browser, provider));
    // What stands in the query of the form's own address counts for nothing.
    const url = `${AUTH}${callback.pathname}${callback.search}`;
    const answer = await leavesNothing(browser, async () => {
      const posted = await worker.browser().send("POST", url, {
        body: body(callback.searchParams.get("code"), callback.searchParams.get("state")),
        headers: { origin: "null", accept: "text/html", "content-type": FORM },
      });
      assert.equal(posted.status, 303, posted.text);
      const next = new URL(posted.location, AUTH);
      assert.equal(`${next.origin}${next.pathname}`, `${AUTH}${callback.pathname}`);
      assert.deepEqual(posted.cookies, []);
      return browser.get(next.href);
    });
    failed(answer, code);
  });
}

test("a form posted in another browser is worth nothing there", async () => {
  const { name } = await arrange();
  const [attacker, victim] = [worker.browser(), worker.browser()];
  const callback = new URL(await flow(attacker, name));
  await begin(victim, name);
  const answer = await leavesNothing(victim, async () => {
    const posted = await victim.submit(`${AUTH}${callback.pathname}`, Object.fromEntries(callback.searchParams), {
      origin: "https://evil.example",
    });
    assert.equal(posted.status, 303);
    return victim.get(new URL(posted.location, AUTH).href);
  });
  failed(answer, "state_mismatch");
});

// --- Redirects ---

const ELSEWHERE = [
  "//evil.example",
  "///evil.example",
  "/\\evil.example",
  "\\\\evil.example",
  "https://evil.example",
  "https:evil.example",
  "https:/evil.example",
  "http://auth.localhost.evil.example",
  "http://auth.localhost@evil.example",
  "http://spa.localhost:5173@evil.example",
  "http://spa.localhost:5173.evil.example",
  "http://spa.localhost:51730",
  "http://spa.localhost",
  "https://spa.localhost:5173",
  "http://evil.example\\@spa.localhost:5173",
  "javascript:alert(1)",
  "JAVASCRIPT:alert(1)",
  "data:text/html,x",
  "/\t/evil.example",
  "/\n/evil.example",
  " //evil.example",
  "/..//evil.example",
  "/%2e%2e//evil.example",
  "/%2f%2fevil.example",
  "/%5cevil.example",
  "/done%0d%0aset-cookie:a=b",
  "/done\r\nset-cookie: a=b",
  "evil.example",
  "?x",
  "",
  `/${"a".repeat(8192)}`,
  "http://spa.localhost:5173%2eevil.example",
  "http://[::1]/",
  "//spa.localhost:5173",
];
const CODES = {
  callbackURL: "INVALID_CALLBACK_URL",
  errorCallbackURL: "INVALID_ERROR_CALLBACK_URL",
  newUserCallbackURL: "INVALID_NEW_USER_CALLBACK_URL",
};

for (const [member, code] of Object.entries(CODES)) {
  test(`no redirect leads out by ${member}`, async () => {
    const { name } = await arrange();
    const known = await worker.rows("select count(*) as count from verification");
    for (const target of ELSEWHERE) {
      const answer = await worker.browser().post(api("/sign-in/social"), { provider: name, [member]: target });
      // An empty one counts as none.
      if (target === "") assert.equal(answer.status, 200);
      else if (target.length > 8192) assert.deepEqual([answer.status, answer.json.code], [400, "VALIDATION_ERROR"]);
      else assert.deepEqual([answer.status, answer.json.code, answer.location], [403, code, undefined], JSON.stringify(target));
      assert.ok(target === "" || answer.cookies.length === 0);
    }
    const [{ count }] = await worker.rows("select count(*) as count from verification");
    assert.equal(count, known[0].count + 1);
    for (const odd of [7, ["/x"], { url: "/x" }, true]) {
      const answer = await worker.browser().post(api("/sign-in/social"), { provider: name, [member]: odd });
      assert.deepEqual([answer.status, answer.json.code], [400, "VALIDATION_ERROR"]);
    }
  });
}

test("the login page's buttons lead nowhere else either", async () => {
  const { name } = await arrange();
  for (const target of ELSEWHERE.filter((text) => text.length < 8192)) {
    issuer.person = { ...issuer.person, sub: randomUUID(), email: uniqueEmail() };
    const browser = worker.browser();
    const begun = await browser.submit(`${AUTH}/login/upstream`, { provider: name, continue: target });
    if (begun.status !== 303) {
      assert.equal(begun.status, 400, JSON.stringify(target));
      continue;
    }
    const answer = await browser.get(await visitIssuer(begun.location));
    assert.equal(new URL(answer.location, AUTH).origin, AUTH, JSON.stringify(target));
  }
});

// --- Races ---

async function sessionsOf(subject) {
  const [row] = await worker.rows(
    "select count(*) as sessions, count(distinct user_id) as users from session join account using (user_id) where subject = ?",
    subject,
  );
  return row;
}

const RACES = {
  "fifty callbacks": async (browser, callback) =>
    Array.from({ length: 50 }, () => () => browser.get(callback.href, { keepCookies: false })),
  "fifty forms": async (browser, callback) =>
    Array.from({ length: 50 }, () => async () => {
      const posted = await browser.submit(`${AUTH}${callback.pathname}`, Object.fromEntries(callback.searchParams), {
        origin: issuer.url,
        keepCookies: false,
      });
      assert.equal(posted.status, 303);
      return browser.get(new URL(posted.location, AUTH).href, { keepCookies: false });
    }),
};

for (const [name, make] of Object.entries(RACES)) {
  test(`${name} with one state open one session`, async () => {
    const { name: provider } = await arrange();
    const browser = worker.browser();
    const callback = new URL(await flow(browser, provider));
    issuer.requests.length = 0;
    const answers = await Promise.all((await make(browser, callback)).map((act) => act()));
    const opened = answers.filter(({ location }) => location === "/done");
    assert.equal(opened.length, 1);
    for (const answer of answers) if (answer !== opened[0]) failed(answer, "state_mismatch");
    assert.equal(issuer.requests.filter(({ path }) => path === "/token").length, 1, "a code is sent once");
    assert.deepEqual(await sessionsOf(issuer.person.sub), { sessions: 1, users: 1 });
  });
}

test("a race of callbacks, forms and strangers opens one session at most, and none that is not the browser's", async () => {
  const { name } = await arrange();
  const browser = worker.browser();
  const callback = new URL(await flow(browser, name));
  const forms = await RACES["fifty forms"](browser, callback);
  const strangers = Array.from({ length: 20 }, () => worker.browser());
  const acts = [...forms.slice(0, 20), ...(await RACES["fifty callbacks"](browser, callback)).slice(0, 20)];
  const [mine, theirs] = await Promise.all([
    Promise.all(acts.map((act) => act())),
    Promise.all(strangers.map((one) => one.get(callback.href))),
  ]);
  const opened = mine.filter(({ location }) => location === "/done").length;
  for (const answer of theirs) failed(answer, "state_mismatch");
  for (const one of strangers) assert.equal(await session(one), null);
  assert.deepEqual(await sessionsOf(issuer.person.sub), { sessions: opened, users: opened });
  assert.ok(opened <= 1);
});
