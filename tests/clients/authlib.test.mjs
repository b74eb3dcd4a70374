// Software in Python that signs in with us, and an API that believes our tokens: authlib, in a virtual environment of its own.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import * as jose from "jose";
import { virtualEnvironment } from "../harness/python.mjs";
import { PAGE, PASSWORD, signUp } from "../harness/seed.mjs";
import { freePort, startWorker } from "../harness/worker.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const REDIRECT = "http://localhost:3333/cb";
const REPORTS = "https://reports.example";
const SCOPE = "openid email profile roles offline_access";
let auth, worker, admin, python;

/** The relying party's process, which does one thing after the other. */
async function startPython() {
  // No proxy of the environment is asked the way to loopback.
  const env = { PATH: process.env.PATH, AUTHLIB_INSECURE_TRANSPORT: "1", NO_PROXY: "*", PYTHONDONTWRITEBYTECODE: "1" };
  const bin = await virtualEnvironment("authlib", readFileSync(here("authlib/requirements.txt"), "utf8"));
  const child = spawn(join(bin, "python"), [here("authlib/relying_party.py")], { env, stdio: ["pipe", "pipe", "pipe"] });
  const waiting = [];
  let said = "";
  child.stderr.on("data", (bytes) => (said += bytes));
  child.stdin.on("error", () => {});
  createInterface({ input: child.stdout }).on("line", (line) => waiting.shift().resolve(JSON.parse(line)));
  child.on("close", (status) => {
    for (const { reject } of waiting.splice(0)) reject(new Error(`Python ended with status ${status}:\n${said}`));
  });
  const ask = (command, more) =>
    new Promise((resolve, reject) => {
      if (child.exitCode !== null) return reject(new Error(`Python ended with status ${child.exitCode}:\n${said}`));
      waiting.push({ resolve, reject });
      child.stdin.write(`${JSON.stringify({ do: command, ...more })}\n`);
    });
  return {
    async do(command, more) {
      const { done, failed } = await ask(command, more);
      assert.equal(failed, undefined, `${command}: ${JSON.stringify(failed)}\n${said}`);
      return done;
    },
    async fails(command, more) {
      const { done, failed } = await ask(command, more);
      assert.ok(failed, `${command} went well: ${JSON.stringify(done)}`);
      return failed;
    },
    async stop() {
      if (child.exitCode !== null) return;
      child.stdin.end();
      await once(child, "close");
    },
  };
}

async function register(metadata = {}) {
  const made = await admin.browser.post(`${auth}/api/auth/admin/oauth2/create-client`, {
    client_name: "In Python",
    redirect_uris: [REDIRECT],
    grant_types: ["authorization_code", "refresh_token"],
    ...metadata,
  });
  assert.equal(made.status, 201, made.text);
  return made.json;
}

let names = 0;
/** A client of ours, and the same at the library, by the name that is answered. `options` are for the library. */
async function make(metadata = {}, options = {}) {
  const { client_id, client_secret } = await register(metadata);
  const name = `client ${++names}`;
  await python.do("make", { name, client_id, client_secret, method: metadata.token_endpoint_auth_method, scope: SCOPE, ...options });
  return { name, client_id, client_secret };
}

/** Goes through our pages in a browser: signs in where asked, agrees where asked; answers the URL that it is sent back to. */
async function agree(browser, url, { who, decision = "allow" } = {}) {
  let answer = await browser.get(url, { headers: PAGE });
  for (let step = 0; step < 10; step += 1) {
    if (answer.status >= 300 && answer.status <= 399) {
      const next = new URL(answer.location, auth);
      if (next.origin !== auth) return next.href;
      answer = await browser.get(next.href, { headers: PAGE });
      continue;
    }
    assert.equal(answer.status, 200, answer.text);
    const hidden = Object.fromEntries(
      [...answer.text.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g)].map(([, name, value]) => [
        name,
        value.replaceAll("&amp;", "&"),
      ]),
    );
    if (answer.text.includes('action="/consent"')) answer = await browser.submit(`${auth}/consent`, { ...hidden, decision });
    else if (answer.text.includes('action="/login"'))
      answer = await browser.submit(`${auth}/login`, { email: who.email, password: PASSWORD, continue: hidden.continue });
    else throw new Error(`neither login nor consent: ${answer.text}`);
  }
  throw new Error("no end");
}

/** Somebody's sign-in at a client, up to the callback. */
async function arrive({ name }, who, { browser = who.browser, decision, ...parameters } = {}) {
  const begun = await python.do("begin", { name, redirect_uri: REDIRECT, ...parameters });
  return { name, begun, callback: await agree(browser, begun.url, { who, decision }) };
}
const person = (options) => signUp(worker, { host: auth, ...options });

before(async () => {
  const port = await freePort();
  // A name that every resolver knows.
  auth = `http://localhost:${port}`;
  worker = await startWorker({ port, settings: { AUTH_ORIGIN: auth } });
  admin = await person({ roles: ["admin"] });
  python = await startPython();
  await python.do("discover", { url: auth });
});
after(async () => {
  await python?.stop();
  await worker?.dispose();
});

/** A JWT with other claims, beside the signature of what it said before; or with another header, by a key of our own. */
async function forge(token, claims, { alg = jose.decodeProtectedHeader(token).alg, ...header } = {}) {
  const [head, payload, signature] = token.split(".");
  const said = { ...jose.decodeJwt(token), ...claims };
  if (alg === "none")
    return `${Buffer.from(JSON.stringify({ ...jose.decodeProtectedHeader(token), alg })).toString("base64url")}.${payload}.`;
  if (header.typ === undefined) return `${head}.${Buffer.from(JSON.stringify(said)).toString("base64url")}.${signature}`;
  const { privateKey } = await jose.generateKeyPair(alg);
  return new jose.SignJWT(said).setProtectedHeader({ ...jose.decodeProtectedHeader(token), ...header, alg }).sign(privateKey);
}

test("authlib reads both of our discovery documents, and finds nothing amiss in what they say", async () => {
  const { amiss, documents } = await python.do("discover", { url: auth });
  // We sign with ES256 alone, whatever the specification says of every provider.
  assert.deepEqual(
    amiss.filter((text) => !text.includes("RS256")),
    [],
  );
  assert.deepEqual(documents[0], documents[1]);
});

test("code, PKCE, nonce and state; the ID token by our keys; userinfo", async () => {
  const client = await make();
  const who = await person({ roles: ["editor"] });
  const came = await arrive(client, who, { browser: worker.browser() });
  const { token, claims } = await python.do("finish", came);
  assert.deepEqual([claims.sub, claims.aud, claims.iss, claims.amr], [who.id, client.client_id, auth, ["pwd"]]);
  assert.deepEqual([token.token_type, token.expires_in, token.scope], ["Bearer", 900, SCOPE]);
  const { claims: info, updated } = await python.do("userinfo", { name: client.name, token });
  assert.deepEqual([info.sub, info.email, info.email_verified, info.name], [who.id, who.email, false, "Zoë Ångström"]);
  assert.deepEqual([info.roles.sort(), updated], [["editor", "member"], null]);
  const spoilt = await python.fails("userinfo", { name: client.name, token: { ...token, access_token: `${token.access_token}x` } });
  assert.match(spoilt.text, /^401 /);
});

test("whoever refuses is an error, and one answer is not another's", async () => {
  const [client, who] = [await make(), await person()];
  const refused = await python.fails("finish", await arrive(client, who, { decision: "deny" }));
  assert.deepEqual([refused.kind, refused.error], ["OAuthError", "access_denied"]);
  const [first, second] = [await arrive(client, who), await arrive(client, who)];
  assert.equal((await python.fails("finish", { ...first, begun: second.begun })).kind, "MismatchingStateException");
});

test("an ID token that was tampered with, another's, or for another nonce is none", async () => {
  const [client, other, who] = [await make(), await make(), await person()];
  const came = await arrive(client, who);
  const { token } = await python.do("finish", came);
  const { token: others } = await python.do("finish", await arrive(other, who));
  const { nonce } = came.begun;
  const look = (id_token, more) => python.fails("identify", { name: client.name, token: { ...token, id_token, ...more }, nonce });
  await python.do("identify", { name: client.name, token, nonce });
  for (const [name, failed, wanted] of [
    ["another subject", await look(await forge(token.id_token, { sub: admin.id })), /^BadSignatureError/],
    ["another key", await look(await forge(token.id_token, {}, { typ: "JWT" })), /^BadSignatureError/],
    ["no signature", await look(await forge(token.id_token, {}, { alg: "none" })), /^UnsupportedAlgorithmError|^BadSignatureError/],
    ["a key that nobody has", await look(await forge(token.id_token, {}, { typ: "JWT", kid: "made up" })), /^InvalidKeyIdError/],
    ["another nonce", await python.fails("identify", { name: client.name, token, nonce: "another" }), /^InvalidClaimError.*nonce/],
    ["another client's", await look(others.id_token), /^InvalidClaimError.*aud/],
    ["beside another access token", await look(token.id_token, { access_token: others.access_token }), /^InvalidClaimError.*at_hash/],
  ])
    assert.match(`${failed.kind} ${failed.text}`, wanted, name);
});

test("a code needs its verifier and its client, is good once, and used twice it takes its tokens with it", async () => {
  const [client, other, who] = [await make(), await make(), await person()];
  const came = await arrive(client, who);
  for (const [name, failed] of [
    [
      "another verifier",
      await python.fails("redeem", { ...came, begun: { ...came.begun, code_verifier: (await arrive(client, who)).begun.code_verifier } }),
    ],
    ["no verifier", await python.fails("redeem", { ...came, begun: { ...came.begun, code_verifier: null } })],
    ["another redirect_uri", await python.fails("redeem", { ...came, begun: { ...came.begun, redirect_uri: `${REDIRECT}/` } })],
    ["another client", await python.fails("redeem", { ...came, name: other.name })],
  ])
    assert.equal(failed.error, "invalid_grant", name);
  const { token } = await python.do("finish", came);
  await python.do("userinfo", { name: client.name, token });
  assert.equal((await python.fails("redeem", came)).error, "invalid_grant");
  assert.match((await python.fails("userinfo", { name: client.name, token })).text, /^401 /);
  assert.equal((await python.fails("refresh", { name: client.name, refresh_token: token.refresh_token })).error, "invalid_grant");
});

test("refresh tokens rotate; one that was replaced ends them all", async () => {
  const [client, who] = [await make(), await person()];
  const came = await arrive(client, who);
  const { token } = await python.do("finish", came);
  const next = await python.do("refresh", { name: client.name, refresh_token: token.refresh_token, scope: "openid email" });
  assert.deepEqual([next.scope, next.refresh_token !== token.refresh_token], ["openid email", true]);
  // OpenID Connect Core 1.0, section 12.2: without the nonce, or with the same.
  const claims = await python.do("identify", { name: client.name, token: next, nonce: null });
  assert.deepEqual([claims.sub, claims.aud], [who.id, client.client_id]);
  assert.equal((await python.do("userinfo", { name: client.name, token: next })).claims.name, undefined, "fewer scopes");
  assert.equal(
    (await python.fails("refresh", { name: client.name, refresh_token: next.refresh_token, scope: `${SCOPE} phone` })).error,
    "invalid_scope",
  );
  const wide = await python.do("refresh", { name: client.name, refresh_token: next.refresh_token, scope: SCOPE });
  assert.equal(wide.scope, SCOPE, "what was asked for less is not granted less");

  await worker.d1.prepare("update oauth_token set used_at = used_at - 20000 where used_at is not null").run();
  assert.equal((await python.fails("refresh", { name: client.name, refresh_token: token.refresh_token })).error, "invalid_grant");
  assert.equal((await python.fails("refresh", { name: client.name, refresh_token: wide.refresh_token })).error, "invalid_grant");
});

test("the library refreshes by itself what has ended, and tells what it has got", async () => {
  const [client, who] = [await make(), await person()];
  const { token } = await python.do("finish", await arrive(client, who));
  const { claims, updated } = await python.do("userinfo", { name: client.name, token: { ...token, expires_at: 1 } });
  assert.deepEqual([claims.sub, updated.in_place_of], [who.id, token.refresh_token]);
  assert.ok(updated.token.refresh_token !== token.refresh_token && updated.token.access_token !== token.access_token);
  assert.equal((await python.do("userinfo", { name: client.name, token: updated.token })).updated, null);
});

const keyOf = (type, options, alg) => {
  const pair = generateKeyPairSync(type, options);
  const [key, jwk] = [pair.privateKey, pair.publicKey].map((half) => ({
    ...half.export({ format: "jwk" }),
    kid: `mine, ${alg}`,
    alg,
    use: "sig",
  }));
  return { key, metadata: { token_endpoint_auth_method: "private_key_jwt", jwks: { keys: [jwk] } } };
};
const KEYS = {
  ES256: () => keyOf("ec", { namedCurve: "P-256" }, "ES256"),
  RS256: () => keyOf("rsa", { modulusLength: 2048 }, "RS256"),
  EdDSA: () => keyOf("ed25519", {}, "EdDSA"),
  PS256: () => keyOf("rsa", { modulusLength: 2048 }, "PS256"),
};

test("each way of client authentication is taken at the token, introspection and revocation endpoints, and no other", async () => {
  const who = await person();
  const ways = { client_secret_basic: [{}, {}], client_secret_post: [{}, {}], none: [{}, {}] };
  for (const [alg, make] of Object.entries(KEYS)) {
    const { key, metadata } = make();
    ways[`private_key_jwt with ${alg}`] = [metadata, { key, alg }];
  }
  for (const [way, [more, options]] of Object.entries(ways)) {
    const metadata = { token_endpoint_auth_method: way, ...more };
    const client = await make(metadata, options);
    const { token, claims } = await python.do("finish", await arrive(client, who));
    assert.equal(claims.sub, who.id, way);
    const next = await python.do("refresh", { name: client.name, refresh_token: token.refresh_token });
    for (const method of ["client_secret_basic", "client_secret_post", "none"].filter((method) => method !== way)) {
      await python.do("make", {
        name: "the same, otherwise",
        client_id: client.client_id,
        client_secret: client.client_secret ?? "made up",
        method,
      });
      assert.equal(
        (await python.fails("refresh", { name: "the same, otherwise", refresh_token: next.refresh_token })).error,
        "invalid_client",
        `${way}, by ${method}`,
      );
    }
    if (way !== "none") assert.equal((await python.do("introspect", { name: client.name, token: next.access_token })).active, true, way);
    await python.do("revoke", { name: client.name, token: next.refresh_token });
    assert.equal((await python.fails("refresh", { name: client.name, refresh_token: next.refresh_token })).error, "invalid_grant", way);
  }
});

test("an assertion is by the client's own key, and good once", async () => {
  const [{ key, metadata }, stranger] = [KEYS.ES256(), KEYS.ES256()];
  const own = { ...metadata, redirect_uris: [], grant_types: ["client_credentials"], scope: "reports:read" };
  const { name, client_id } = await make(own, { key, alg: "ES256", scope: "reports:read" });
  for (let time = 0; time < 2; time += 1) assert.equal((await python.do("credentials", { name })).scope, "reports:read");
  const other = (more) =>
    python.do("make", { name: "other", client_id, method: "private_key_jwt", scope: "reports:read", alg: "ES256", ...more });
  await other({ key: stranger.key });
  assert.equal((await python.fails("credentials", { name: "other" })).error, "invalid_client");
  await other({ key, jti: "once" });
  await python.do("credentials", { name: "other" });
  assert.equal((await python.fails("credentials", { name: "other" })).error, "invalid_client");
  await other({ key, jti: "twice" });
  await python.do("credentials", { name: "other" });
});

test("client credentials open an API that looks at the JWT itself (RFC 9068): for it, of a scope, with our signature", async () => {
  const client = await make(
    {
      redirect_uris: [],
      grant_types: ["client_credentials"],
      scope: "reports:read reports:write",
      resources: [REPORTS, "https://elsewhere.example"],
    },
    { scope: "reports:read" },
  );
  const grant = (more) => python.do("credentials", { name: client.name, resource: REPORTS, ...more });
  const token = await grant();
  assert.deepEqual([token.refresh_token, token.id_token, token.scope], [undefined, undefined, "reports:read"]);
  const claims = await python.do("protect", { token: token.access_token, resource: REPORTS, scopes: ["reports:read"] });
  assert.deepEqual([claims.sub, claims.client_id, claims.aud, claims.scope], [client.client_id, client.client_id, REPORTS, "reports:read"]);
  const who = await person();
  const { token: signedIn } = await python.do("finish", await arrive(await make(), who));
  const own = await python.do("protect", { token: signedIn.access_token, resource: `${auth}/oauth2/userinfo`, scopes: ["openid email"] });
  assert.deepEqual([own.sub, own.amr, typeof own.auth_time], [who.id, ["pwd"], "number"]);

  const refuse = (access_token, more) => python.fails("protect", { token: access_token, resource: REPORTS, ...more });
  for (const [name, failed, wanted] of [
    ["another scope", await refuse(token.access_token, { scopes: ["reports:write"] }), "insufficient_scope"],
    ["for another API", await refuse((await grant({ resource: "https://elsewhere.example" })).access_token), "invalid_token"],
    ["for us", await refuse(signedIn.access_token), "invalid_token"],
    ["an ID token", await refuse(signedIn.id_token, { resource: auth }), "invalid_token"],
    ["an ID token, for its client", await refuse(signedIn.id_token, { resource: jose.decodeJwt(signedIn.id_token).aud }), "invalid_token"],
    ["more scope", await refuse(await forge(token.access_token, { scope: "reports:read reports:write" })), "invalid_token"],
    ["another key", await refuse(await forge(token.access_token, {}, { typ: "at+jwt" })), "invalid_token"],
    ["no signature", await refuse(await forge(token.access_token, {}, { alg: "none" })), "invalid_token"],
  ])
    assert.equal(failed.error, wanted, `${name}: ${JSON.stringify(failed)}`);
});

test("an API that asks us is opened by opaque tokens and JWTs alike, until they are revoked", async () => {
  const who = await person();
  for (const access_token_format of ["jwt", "opaque"]) {
    const client = await make({ access_token_format });
    const { token } = await python.do("finish", await arrive(client, who));
    const look = { token: token.access_token, asks: client.name, scopes: ["email"] };
    const seen = await python.do("protect", look);
    assert.deepEqual(
      [seen.sub, seen.client_id, seen.token_type, seen.iss, seen.username],
      [who.id, client.client_id, "Bearer", auth, who.email],
    );
    assert.ok(seen.exp > seen.iat && seen.aud === `${auth}/oauth2/userinfo`);
    assert.equal((await python.fails("protect", { ...look, scopes: ["phone"] })).error, "insufficient_scope");
    assert.equal(
      (await python.fails("protect", { ...look, asks: (await make()).name })).error,
      "invalid_token",
      "a stranger learns nothing of it",
    );
    assert.equal((await python.do("introspect", { name: client.name, token: token.refresh_token, hint: "refresh_token" })).active, true);
    await python.do("revoke", { name: (await make()).name, token: token.access_token });
    await python.do("protect", look);
    await python.do("revoke", { name: client.name, token: token.access_token, hint: "access_token" });
    assert.equal((await python.fails("protect", look)).error, "invalid_token");
    assert.deepEqual(await python.do("introspect", { name: client.name, token: token.refresh_token }), { active: false });
    await python.do("revoke", { name: client.name, token: "made up" });
  }
});

test("a client signs its user out with the URL that the library makes", async () => {
  const GOODBYE = "http://localhost:3333/goodbye";
  const [client, who] = [await make({ post_logout_redirect_uris: [GOODBYE] }), await person()];
  const { token } = await python.do("finish", await arrive(client, who));
  const { url, state } = await python.do("logout", { name: client.name, id_token_hint: token.id_token, post_logout_redirect_uri: GOODBYE });
  const left = await who.browser.get(url, { headers: PAGE });
  assert.deepEqual([left.status, left.location], [303, `${GOODBYE}?state=${state}`]);
  assert.equal((await who.browser.get(`${auth}/api/auth/get-session`)).json, null);
});
