// What the modules of OpenID's conformance suite do, as far as several of them do it: a client of the classical kind, as the
// suite's plans make them, sends no code challenge; one of FAPI 2.0 pushes its requests, signs its assertions and holds a key.

import assert from "node:assert/strict";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as jose from "jose";
import { FORM, agree, basic, clientKey, formOf } from "./relying-party.mjs";
import { PAGE, signUp } from "./seed.mjs";
import { AUTH, startWorker } from "./worker.mjs";

/** The plans' modules: a name → null, or why it does not apply to us. */
export const PLANS = JSON.parse(readFileSync(new URL("../vectors/conformance-modules.json", import.meta.url)));

/**
 * The modules of one plan. `module` registers a test under a module's exact name; `complete`, which comes last, registers a test
 * that each module of the plan that applies to us has exactly one test, and no other module has any.
 */
export function modulesOf(plan) {
  const listed = PLANS[plan];
  const registered = [];
  return {
    module(name, body) {
      registered.push(name);
      test(name, body);
    },
    complete() {
      test(`${plan} is complete: each module that applies has one test`, () => {
        const applying = Object.entries(listed)
          .filter(([, reason]) => reason === null)
          .map(([name]) => name);
        assert.deepEqual([...registered].sort(), applying.sort());
      });
    },
  };
}

export const CALLBACK = "https://suite.example/callback";
export const JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
export const random = () => randomBytes(32).toString("base64url");
export const digest = (text) => createHash("sha256").update(text).digest("base64url");
export const now = () => Math.floor(Date.now() / 1000);

const encode = (fields) =>
  new URLSearchParams(
    Object.entries(fields).flatMap(([name, value]) => (value === undefined ? [] : [value].flat().map((one) => [name, one]))),
  ).toString();

/** A Worker, an administrator and the person who signs in; `register` makes a client as an administrator does. */
export async function startPlan(settings = {}) {
  const worker = await startWorker({ settings });
  const admin = await signUp(worker, { roles: ["admin"] });
  const who = await signUp(worker);
  const post = (path, fields, headers = {}) =>
    worker.browser().send("POST", path.startsWith("http") ? path : `${AUTH}${path}`, {
      headers: { ...FORM, ...headers },
      body: encode(fields),
      keepCookies: false,
    });
  return {
    worker,
    admin,
    who,
    post,
    async register(metadata = {}) {
      const made = await admin.browser.post(`${AUTH}/api/auth/admin/oauth2/create-client`, {
        client_name: "Suite",
        redirect_uris: [CALLBACK],
        grant_types: ["authorization_code", "refresh_token"],
        skip_consent: true,
        ...metadata,
      });
      assert.equal(made.status, 201, made.text);
      return made.json;
    },
    url: (client, parameters) => `${AUTH}/oauth2/authorize?${encode({ client_id: client.client_id, ...parameters })}`,
    keys: async () => jose.createLocalJWKSet((await worker.browser().get(`${AUTH}/api/auth/jwks`)).json),
    dispose: () => worker.dispose(),
  };
}

/** The answer that a browser is sent back with: the parameters of a query, or of a form that posts itself. */
export function answered(answer, { callback = CALLBACK } = {}) {
  if (answer.location?.startsWith(callback)) {
    const url = new URL(answer.location);
    assert.equal(url.hash, "", "nothing is answered in the fragment");
    return Object.fromEntries(url.searchParams);
  }
  if (answer.status === 200 && answer.text.includes("data-submit")) {
    const { action, fields } = formOf(answer.text);
    assert.equal(action, callback);
    return fields;
  }
  throw new Error(`no answer to the client: ${answer.status} ${answer.location ?? answer.text.slice(0, 300)}`);
}

/** Relying parties of the Basic plan. `mode` is the response mode that each of its requests names. */
export function basicClient(plan, client, { mode } = {}) {
  const base = (parameters) => ({
    response_type: "code",
    redirect_uri: CALLBACK,
    scope: "openid",
    state: random(),
    nonce: random(),
    response_mode: mode,
    ...parameters,
  });
  const self = {
    client,
    /** One request of somebody who is signed in; the raw answer. */
    ask: (parameters = {}, browser = plan.who.browser) => browser.get(plan.url(client, base(parameters)), { headers: PAGE }),
    token: (fields, headers = basic(client)) => plan.post("/oauth2/token", { redirect_uri: CALLBACK, ...fields }, headers),
    /** Code, tokens and claims, checked as the suite checks each of them. */
    async enter(parameters = {}, { browser = plan.who.browser, answer, nonce } = {}) {
      const request = base(parameters);
      const back = answered(answer ?? (await self.ask(request, browser)));
      assert.deepEqual([back.error, back.state, back.iss], [undefined, request.state, AUTH]);
      const got = await self.token({ grant_type: "authorization_code", code: back.code });
      return { ...back, ...(await self.check(got, answer ? nonce : request.nonce)) };
    },
    async check(got, nonce) {
      assert.equal(got.status, 200, got.text);
      assert.match(got.headers["cache-control"], /no-store/);
      const tokens = got.json;
      assert.equal(tokens.token_type, "Bearer");
      const { payload: claims, protectedHeader: header } = await jose.jwtVerify(tokens.id_token, await plan.keys(), {
        issuer: AUTH,
        audience: client.client_id,
        requiredClaims: ["sub", "exp", "iat"],
      });
      if (nonce) assert.equal(claims.nonce, nonce);
      return { tokens, claims, header };
    },
    userinfo: (tokens) =>
      plan.worker.browser().get(`${AUTH}/oauth2/userinfo`, { headers: { authorization: `Bearer ${tokens.access_token}` } }),
  };
  return self;
}

/** The algorithms of FAPI 2.0 Security Profile, section 5.4.1. */
export const FAPI_ALGORITHMS = ["PS256", "ES256", "EdDSA", "Ed25519"];

/** Letters of a base64url value: six bits each, and 128 bits are asked for. */
const hasEntropy = (text) => text.length * 6 >= 128 && new Set(text).size > 10;

/**
 * A relying party of FAPI 2.0: `private_key_jwt`, DPoP, pushed requests. Its answers are checked as the suite checks each of them.
 * `suffix` is a query of its redirect URI; `alg` is what it signs with.
 */
export async function fapiClient(plan, { suffix = "", alg = "ES256", ...metadata } = {}) {
  const own = await clientKey(alg);
  const redirect = `${CALLBACK}${suffix}`;
  const client = await plan.register({
    token_endpoint_auth_method: "private_key_jwt",
    jwks: { keys: [own.jwk] },
    fapi: true,
    scope: "openid email offline_access",
    redirect_uris: [redirect],
    ...metadata,
  });
  let nonce;
  const self = {
    client,
    own,
    /** The key that its tokens are bound to. */
    holder: await clientKey(alg),
    verifier: random(),
    assertion: (claims = {}, { key = own.key, header = {} } = {}) =>
      new jose.SignJWT({
        iss: client.client_id,
        sub: client.client_id,
        aud: AUTH,
        jti: randomUUID(),
        nbf: now(),
        iat: now(),
        exp: now() + 60,
        ...claims,
      })
        .setProtectedHeader({ alg, kid: own.kid, ...header })
        .sign(key),
    proof({ method = "POST", url = `${AUTH}/oauth2/token`, access, claims = {}, header = {}, by = self.holder } = {}) {
      const { kty, crv, x, y, n, e } = by.jwk;
      return new jose.SignJWT({
        jti: randomUUID(),
        htm: method,
        htu: url,
        iat: now(),
        nonce,
        ...(access && { ath: digest(access) }),
        ...claims,
      })
        .setProtectedHeader({ alg: by.alg, typ: "dpop+jwt", jwk: { kty, crv, x, y, n, e }, ...header })
        .sign(by.key);
    },
    /** The nonce that every proof needs, which the first answer brings. */
    async nonce() {
      nonce ??= (await plan.post("/oauth2/token", { grant_type: "x" }, { dpop: "x" })).headers["dpop-nonce"];
      return nonce;
    },
    authenticated: async (fields, claims, options) => ({
      client_id: client.client_id,
      client_assertion_type: JWT_BEARER,
      client_assertion: await self.assertion(claims, options),
      ...fields,
    }),
    request: (parameters = {}) => ({
      response_type: "code",
      redirect_uri: redirect,
      scope: "openid",
      state: random(),
      nonce: random(),
      code_challenge: digest(self.verifier),
      code_challenge_method: "S256",
      ...parameters,
    }),
    /** A proof for the pushed request, as a header. */
    proofOfPush: async (options) => ({ dpop: await self.proof({ url: `${AUTH}/oauth2/par`, ...options }) }),
    push: async (parameters, claims, headers) =>
      plan.post("/oauth2/par", await self.authenticated(self.request(parameters), claims), headers),
    /** The browser is sent with the `request_uri`; `more` is added, and wins. */
    visit: (request_uri, { browser = plan.who.browser, ...more } = {}) =>
      browser.get(plan.url(client, { request_uri, ...more }), { headers: PAGE }),
    /** The URL by which the suite sends a browser: what OAuth 2.0 asks for is there a second time. */
    place: (request_uri, request, outside = {}) =>
      plan.url(client, {
        redirect_uri: request.redirect_uri,
        request_uri,
        response_type: request.response_type,
        scope: request.scope,
        ...outside,
      }),
    /** A pushed request that was taken. */
    async pushed(request, { claims, headers } = {}) {
      const answer = await self.push(request, claims, headers);
      assert.equal(answer.status, 201, answer.text);
      assert.match(answer.headers["content-type"], /^application\/json/);
      assert.ok(Number.isInteger(answer.json.expires_in) && answer.json.expires_in > 0 && answer.json.expires_in < 600);
      assert.ok(hasEntropy(answer.json.request_uri.split(":").at(-1)), answer.json.request_uri);
      return answer.json;
    },
    /** The answer to a request that ends well: with its state, the issuer and a code, and with what the redirect URI has. */
    checkBack(back, request) {
      assert.deepEqual([back.error, back.state, back.iss], [undefined, request.state, AUTH]);
      assert.ok(hasEntropy(back.code));
      for (const [name, value] of new URLSearchParams(suffix)) assert.equal(back[name], value, name);
      return back;
    },
    /** Pushes, sends the browser, takes the code. `outside` is what the browser's URL has beside the pushed request. */
    async code(parameters, { outside, go, ...options } = {}) {
      const request = self.request(parameters);
      const { request_uri } = await self.pushed(request, options);
      const url = self.place(request_uri, request, outside);
      const answer = await (go ? go(url, request_uri) : plan.who.browser.get(url, { headers: PAGE }));
      return { ...self.checkBack(answered(answer, { callback: redirect }), request), request, request_uri };
    },
    async token(fields, { claims, proof, headers, options } = {}) {
      await self.nonce();
      return plan.post("/oauth2/token", await self.authenticated(fields, claims, options), { dpop: await self.proof(proof), ...headers });
    },
    redeem: async (code, more = {}, options) =>
      self.token({ grant_type: "authorization_code", code, redirect_uri: redirect, code_verifier: self.verifier, ...more }, options),
    /** An answer of the token endpoint, with its ID token. */
    async checkTokens(got, { nonce: asked } = {}) {
      assert.equal(got.status, 200, got.text);
      assert.match(got.headers["content-type"], /^application\/json/);
      assert.match(got.headers["cache-control"], /no-store/);
      const { access_token, refresh_token, token_type, expires_in, id_token } = got.json;
      assert.equal(token_type, "DPoP");
      assert.ok(Number.isInteger(expires_in) && expires_in > 0);
      for (const token of [access_token, ...(refresh_token ? [refresh_token] : [])])
        assert.ok(hasEntropy(token) && /^[\x20-\x7e]+$/.test(token));
      const { payload: claims, protectedHeader: header } = await jose.jwtVerify(id_token, await plan.keys(), {
        issuer: AUTH,
        audience: client.client_id,
        algorithms: FAPI_ALGORITHMS,
        requiredClaims: ["sub", "exp", "iat"],
      });
      assert.ok(header.kid);
      assert.equal(claims.nonce, asked);
      if (claims.at_hash)
        assert.equal(claims.at_hash, createHash("sha256").update(access_token).digest().subarray(0, 16).toString("base64url"));
      return { ...got.json, claims };
    },
    /** From the pushed request to what the access token opens. */
    async enter(parameters, { proof, ...options } = {}) {
      const back = await self.code(parameters, options);
      const tokens = await self.checkTokens(await self.redeem(back.code, {}, { proof }), { nonce: back.request.nonce });
      assert.equal(tokens.claims.sub, plan.who.id);
      await self.opens(tokens.access_token, { proof });
      return { back, ...tokens };
    },
    /** The userinfo endpoint as the protected resource. */
    userinfo: async (access, { scheme = "DPoP", proof, headers = {}, query = "" } = {}) =>
      plan.worker.browser().get(`${AUTH}/oauth2/userinfo${query}`, {
        headers: {
          authorization: `${scheme} ${access}`,
          dpop: await self.proof({ method: "GET", url: `${AUTH}/oauth2/userinfo`, access, ...proof }),
          ...headers,
        },
      }),
    async opens(access, options) {
      const answer = await self.userinfo(access, options);
      assert.deepEqual([answer.status, answer.json.sub], [200, plan.who.id], answer.text);
      return answer;
    },
  };
  return self;
}

/** An error as it is told on our own page, with no redirect. */
export function onOurPage(answer, pattern = /./) {
  assert.deepEqual([answer.status, answer.location], [400, undefined], answer.text.slice(0, 300));
  assert.match(answer.text, pattern);
}

/** An error of an endpoint, in the letters that RFC 6749, section 5.2 allows. */
export function refused(answer, error, status = 400) {
  assert.deepEqual([answer.status, answer.json.error], [status, error], answer.text);
  assert.match(answer.headers["content-type"], /^application\/json/);
  checkDescription(answer.json);
}

const ERROR_MEMBERS = ["error", "error_description", "error_uri", "state", "session_state", "iss"];

/** An error that the client is sent back with: the request's state, the issuer, and nothing that nobody expects. */
export function refusedBack(back, error, { state, more = [] }) {
  assert.deepEqual([back.error, back.state, back.iss, back.code], [error, state, AUTH, undefined]);
  assert.deepEqual(
    Object.keys(back).filter((name) => !ERROR_MEMBERS.includes(name) && !more.includes(name)),
    [],
  );
  checkDescription(back);
}

function checkDescription({ error_description: text }) {
  if (text !== undefined) assert.match(text, /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/);
}

/** A browser that is not signed in signs in, and is sent back. */
export const throughPages = (plan, url, options = {}) =>
  agree(options.browser ?? plan.worker.browser(), url, { who: plan.who, ...options });
