// What the modules of OpenID's conformance suite do, as far as several of them do it: a client of the classical kind, as the
// suite's plans make them, sends no code challenge; one of FAPI 2.0 pushes its requests, signs its assertions and holds a key.

import assert from "node:assert/strict";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import * as jose from "jose";
import { FORM, agree, basic, clientKey, formOf } from "./relying-party.mjs";
import { PAGE, signUp } from "./seed.mjs";
import { AUTH, startWorker } from "./worker.mjs";

export const CALLBACK = "https://suite.example/callback";
export const JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
export const random = () => randomBytes(32).toString("base64url");
export const digest = (text) => createHash("sha256").update(text).digest("base64url");
export const now = () => Math.floor(Date.now() / 1000);

const encode = (fields) => new URLSearchParams(Object.entries(fields).flatMap(([name, value]) => (value === undefined ? [] : [value].flat().map((one) => [name, one])))).toString();

/** A Worker, an administrator and the person who signs in; `register` makes a client as an administrator does. */
export async function startPlan(settings = {}) {
  const worker = await startWorker({ settings });
  const admin = await signUp(worker, { roles: ["admin"] });
  const who = await signUp(worker);
  const post = (path, fields, headers = {}) => worker.browser().send("POST", path.startsWith("http") ? path : `${AUTH}${path}`, { headers: { ...FORM, ...headers }, body: encode(fields), keepCookies: false });
  return {
    worker, admin, who, post,
    async register(metadata = {}) {
      const made = await admin.browser.post(`${AUTH}/api/auth/admin/oauth2/create-client`, { client_name: "Suite", redirect_uris: [CALLBACK], grant_types: ["authorization_code", "refresh_token"], skip_consent: true, ...metadata });
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
  if (answer.location?.startsWith(callback)) return Object.fromEntries(new URL(answer.location).searchParams);
  if (answer.status === 200 && answer.text.includes("data-submit")) {
    const { action, fields } = formOf(answer.text);
    assert.equal(action, callback);
    return fields;
  }
  throw new Error(`no answer to the client: ${answer.status} ${answer.location ?? answer.text.slice(0, 300)}`);
}

/** Relying parties of the Basic plan. `mode` is the response mode that each of its requests names. */
export function basicClient(plan, client, { mode } = {}) {
  const base = (parameters) => ({ response_type: "code", redirect_uri: CALLBACK, scope: "openid", state: random(), nonce: random(), response_mode: mode, ...parameters });
  const self = {
    client,
    /** One request of somebody who is signed in; the raw answer. */
    ask: (parameters = {}, browser = plan.who.browser) => browser.get(plan.url(client, base(parameters)), { headers: PAGE }),
    token: (fields, headers = basic(client)) => plan.post("/oauth2/token", { redirect_uri: CALLBACK, ...fields }, headers),
    /** Code, tokens and claims, checked as the suite checks each of them. */
    async enter(parameters = {}, { browser = plan.who.browser, answer } = {}) {
      const request = base(parameters);
      const back = answered(answer ?? (await self.ask(request, browser)));
      assert.deepEqual([back.error, back.state, back.iss], [undefined, request.state, AUTH]);
      const got = await self.token({ grant_type: "authorization_code", code: back.code });
      return { ...back, ...(await self.check(got, answer ? undefined : request.nonce)) };
    },
    async check(got, nonce) {
      assert.equal(got.status, 200, got.text);
      assert.match(got.headers["cache-control"], /no-store/);
      const tokens = got.json;
      assert.equal(tokens.token_type, "Bearer");
      const { payload: claims, protectedHeader: header } = await jose.jwtVerify(tokens.id_token, await plan.keys(), { issuer: AUTH, audience: client.client_id, requiredClaims: ["sub", "exp", "iat"] });
      if (nonce) assert.equal(claims.nonce, nonce);
      return { tokens, claims, header };
    },
    userinfo: (tokens) => plan.worker.browser().get(`${AUTH}/oauth2/userinfo`, { headers: { authorization: `Bearer ${tokens.access_token}` } }),
  };
  return self;
}

/** A relying party of FAPI 2.0: `private_key_jwt`, DPoP, pushed requests. */
export async function fapiClient(plan, metadata = {}) {
  const [own, holder] = [await clientKey("ES256"), await clientKey("ES256")];
  const client = await plan.register({ token_endpoint_auth_method: "private_key_jwt", jwks: { keys: [own.jwk] }, fapi: true, scope: "openid email offline_access", ...metadata });
  let nonce;
  const self = {
    client, own, holder,
    verifier: random(),
    assertion: (claims = {}, { key = own.key, header = {} } = {}) => new jose.SignJWT({ iss: client.client_id, sub: client.client_id, aud: AUTH, jti: randomUUID(), iat: now(), exp: now() + 60, ...claims }).setProtectedHeader({ alg: "ES256", kid: own.kid, ...header }).sign(key),
    proof({ method = "POST", url = `${AUTH}/oauth2/token`, access, claims = {}, by = holder } = {}) {
      const { kty, crv, x, y, n, e } = by.jwk;
      const alg = by.jwk.alg ?? "ES256";
      return new jose.SignJWT({ jti: randomUUID(), htm: method, htu: url, iat: now(), nonce, ...(access && { ath: digest(access) }), ...claims }).setProtectedHeader({ alg, typ: "dpop+jwt", jwk: { kty, crv, x, y, n, e } }).sign(by.key);
    },
    /** The nonce that every proof needs, which the first answer brings. */
    async nonce() {
      nonce ??= (await plan.post("/oauth2/token", { grant_type: "x" }, { dpop: "x" })).headers["dpop-nonce"];
      return nonce;
    },
    authenticated: async (fields, claims, options) => ({ client_id: client.client_id, client_assertion_type: JWT_BEARER, client_assertion: await self.assertion(claims, options), ...fields }),
    request: (parameters = {}) => ({ response_type: "code", redirect_uri: CALLBACK, scope: "openid", state: random(), nonce: random(), code_challenge: digest(self.verifier), code_challenge_method: "S256", ...parameters }),
    push: async (parameters, claims, headers) => plan.post("/oauth2/par", await self.authenticated(self.request(parameters), claims), headers),
    visit: (request_uri, { browser = plan.who.browser, ...more } = {}) => browser.get(plan.url(client, { request_uri, ...more }), { headers: PAGE }),
    async code(parameters) {
      const pushed = await self.push(parameters);
      assert.equal(pushed.status, 201, pushed.text);
      return answered(await self.visit(pushed.json.request_uri));
    },
    async token(fields, { claims, proof, headers, options } = {}) {
      await self.nonce();
      return plan.post("/oauth2/token", await self.authenticated(fields, claims, options), { dpop: await self.proof(proof), ...headers });
    },
    redeem: async (code, more = {}, options) => self.token({ grant_type: "authorization_code", code, redirect_uri: CALLBACK, code_verifier: self.verifier, ...more }, options),
    async enter(parameters) {
      const back = await self.code(parameters);
      const got = await self.redeem(back.code);
      assert.equal(got.status, 200, got.text);
      return { back, ...got.json };
    },
    userinfo: async (access, { scheme = "DPoP", proof } = {}) => plan.worker.browser().get(`${AUTH}/oauth2/userinfo`, { headers: { authorization: `${scheme} ${access}`, dpop: await self.proof({ method: "GET", url: `${AUTH}/oauth2/userinfo`, access, ...proof }) } }),
  };
  return self;
}

/** An error as it is told on our own page, with no redirect. */
export function onOurPage(answer, pattern = /./) {
  assert.deepEqual([answer.status, answer.location], [400, undefined], answer.text.slice(0, 300));
  assert.match(answer.text, pattern);
}

/** An error of an endpoint. */
export function refused(answer, error, status = 400) {
  assert.deepEqual([answer.status, answer.json.error], [status, error], answer.text);
}

/** A browser that is not signed in signs in, and is sent back. */
export const throughPages = (plan, url, options = {}) => agree(options.browser ?? plan.worker.browser(), url, { who: plan.who, ...options });
