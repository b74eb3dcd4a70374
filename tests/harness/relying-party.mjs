// What relying parties do, and the people whom they send to us: npm `openid-client` and `oauth4webapi` reach the Worker by its
// host's name, and a browser goes through our pages.

import assert from "node:assert/strict";
import { createHash, generateKeyPairSync, randomBytes } from "node:crypto";
import * as jose from "jose";
import * as oauth from "oauth4webapi";
import * as client from "openid-client";
import { PAGE, PASSWORD } from "./seed.mjs";
import { AUTH } from "./worker.mjs";

export const REDIRECT = "http://localhost:3333/cb";
export const FORM = { "content-type": "application/x-www-form-urlencoded" };

/** The header of `client_secret_basic`. Ids and secrets of ours have no letter that a form would escape. */
export const basic = ({ client_id, client_secret }) => ({
  authorization: `Basic ${Buffer.from(`${client_id}:${client_secret}`).toString("base64")}`,
});

/**
 * `fetch` that reaches the Worker by its host's name. `certificate` is one that the connection is made with. `spy` sees each
 * request, and its answer's status and headers.
 */
export function reaching(worker, { certificate, spy } = {}) {
  return async (url, { method = "GET", headers, body } = {}) => {
    const sent = { ...Object.fromEntries(new Headers(headers)), ...(certificate && reported(certificate)) };
    const payload = body === undefined || body === null ? undefined : String(body);
    const answer = await worker.browser().send(method, String(url), { headers: sent, body: payload, keepCookies: false });
    spy?.({ method, url: String(url), headers: sent, body: payload, status: answer.status, answer: answer.headers });
    const empty = [204, 304].includes(answer.status);
    return new Response(empty ? null : answer.bytes, {
      status: answer.status,
      headers: Object.entries(answer.headers).flatMap(([name, value]) =>
        Array.isArray(value) ? value.map((one) => [name, one]) : [[name, value]],
      ),
    });
  };
}

/** A client's certificate, of which we see what Cloudflare reports. */
export const certificate = (subject, { verified = "SUCCESS" } = {}) => ({ subject, verified, der: randomBytes(300) });

/** `cnf.x5t#S256` of tokens that are bound to it (RFC 8705, section 3.1). */
export const thumbprint = ({ der }) => createHash("sha256").update(der).digest("base64url");

/** Cloudflare's report, as the local runtime takes it: this header becomes `request.cf`, and reaches no Worker as a header. */
export const reported = ({ subject, verified, der }) => ({
  "mf-cf-blob": JSON.stringify({
    tlsClientAuth: {
      certPresented: "1",
      certVerified: verified,
      certSubjectDNRFC2253: subject,
      certFingerprintSHA256: createHash("sha256").update(der).digest("hex"),
    },
  }),
});

/** What a relying party needs; `admin` adds its clients. */
export function relyingParty(worker, admin) {
  const reach = reaching(worker);
  const options = { [oauth.customFetch]: reach, [oauth.allowInsecureRequests]: true };
  return {
    reach,
    /** For each request of `oauth4webapi`. */
    options,

    async register(metadata = {}) {
      const made = await admin.browser.post(`${AUTH}/api/auth/admin/oauth2/create-client`, {
        client_name: "The app",
        redirect_uris: [REDIRECT],
        grant_types: ["authorization_code", "refresh_token"],
        ...metadata,
      });
      assert.equal(made.status, 201, made.text);
      return made.json;
    },

    /** Discovers us as a relying party does. `metadata` is what it knows of itself, `through` how it reaches us. */
    async discover(registered, authentication, { metadata, through = reach } = {}) {
      const config = await client.discovery(
        new URL(AUTH),
        registered.client_id,
        metadata,
        authentication ?? client.ClientSecretBasic(registered.client_secret),
        { [client.customFetch]: through, execute: [client.allowInsecureRequests] },
      );
      config[client.customFetch] = through;
      return config;
    },

    /** The same by `oauth4webapi`. */
    server: async () => oauth.processDiscoveryResponse(new URL(AUTH), await oauth.discoveryRequest(new URL(AUTH), options)),
  };
}

const plain = (text) => text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&quot;", '"').replaceAll("&amp;", "&");

/** Where the first form of a page goes, and what it hides. */
export function formOf(text) {
  const [, action] = text.match(/<form method="post" action="([^"]+)"/) ?? [];
  const hidden = [...text.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g)].map(([, name, value]) => [name, plain(value)]);
  return { action, fields: Object.fromEntries(hidden) };
}

/**
 * Goes through our pages in a browser: signs in where asked, agrees where asked; answers the URL that it is sent back to, or
 * the page that none of these is. `code` makes a second factor's code; `seen` collects the pages' texts.
 */
export async function agree(browser, url, { who, decision = "allow", code, seen = [] } = {}) {
  let answer = await browser.get(String(url), { headers: PAGE });
  for (let step = 0; step < 12; step += 1) {
    if (answer.status >= 300 && answer.status <= 399) {
      if (!answer.location.startsWith("/") && !answer.location.startsWith(AUTH)) return new URL(answer.location);
      answer = await browser.get(new URL(answer.location, AUTH).href, { headers: PAGE });
      continue;
    }
    assert.equal(answer.status, 200, answer.text);
    seen.push(answer.text);
    const { fields } = formOf(answer.text);
    if (answer.text.includes('action="/consent"')) answer = await browser.submit(`${AUTH}/consent`, { ...fields, decision });
    else if (answer.text.includes('action="/login"'))
      answer = await browser.submit(`${AUTH}/login`, { email: who.email, password: PASSWORD, continue: fields.continue });
    else if (code && answer.text.includes('action="/second-factor"'))
      answer = await browser.submit(`${AUTH}/second-factor`, { code: await code(), continue: fields.continue });
    else return answer;
  }
  throw new Error("no end");
}

/** An authorization request of `openid-client`, and what it checks the answer by. */
export async function begin(config, parameters = {}, build = client.buildAuthorizationUrl) {
  const verifier = client.randomPKCECodeVerifier();
  const [state, nonce] = [client.randomState(), client.randomNonce()];
  const url = await build(config, {
    redirect_uri: REDIRECT,
    scope: "openid email profile offline_access",
    state,
    nonce,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    ...parameters,
  });
  return { url, checks: { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true } };
}

/**
 * What the libraries throw when we answer an error: in the answer's body, in the challenge of userinfo, or in an authorization
 * response. They show of a client that failed to authenticate the challenge alone, since it comes first.
 */
export const says = (code) => (error) => {
  const challenge = Array.isArray(error.cause) ? error.cause[0] : undefined;
  const said = challenge?.scheme === "basic" ? "invalid_client" : (challenge?.parameters.error ?? error.error ?? error.cause?.error);
  assert.equal(said, code, `${error.code}: ${error.message}`);
  return true;
};

const PAIRS = {
  ES256: () => generateKeyPairSync("ec", { namedCurve: "P-256" }),
  EdDSA: () => generateKeyPairSync("ed25519"),
  Ed25519: () => generateKeyPairSync("ed25519"),
  RS256: () => generateKeyPairSync("rsa", { modulusLength: 2048 }),
  PS256: () => generateKeyPairSync("rsa", { modulusLength: 2048 }),
};

/**
 * A client's key: the public JWK that is registered, the pair that the libraries sign with, and the options they need. They
 * call Ed25519 by the name of RFC 9864 unless they are told otherwise; we know it by that of RFC 8037 as well.
 */
export async function clientKey(alg, kid = `${alg} ${randomBytes(6).toString("hex")}`) {
  const pair = PAIRS[alg]();
  const jwk = { ...pair.publicKey.export({ format: "jwk" }), kid, alg, use: "sig" };
  const key = await jose.importJWK({ ...pair.privateKey.export({ format: "jwk" }), alg }, alg);
  const publicKey = await jose.importJWK({ ...pair.publicKey.export({ format: "jwk" }), alg }, alg, { extractable: true });
  const options =
    alg === "EdDSA"
      ? {
          [oauth.modifyAssertion]: (header) => {
            header.alg = "EdDSA";
          },
        }
      : {};
  return { alg, kid, jwk, key, privateJwk: pair.privateKey.export({ format: "jwk" }), pair: { privateKey: key, publicKey }, options };
}
