import { once } from "node:events";
import { createServer } from "node:http";
import { SignJWT, exportJWK, generateKeyPair } from "jose";
import { URI } from "otpauth";
import { Authenticator } from "../tests/harness/authenticator.mjs";
import { applyMigrations } from "../tests/harness/d1.mjs";
import { wasm } from "./bundle.mjs";
import { ORIGIN, host, json, password, relyingParty, signedUp } from "./person.mjs";
import { providerScenarios } from "./provider.mjs";
import { tenantScenarios } from "./tenant.mjs";
import { D1, KV } from "./workerd.mjs";

const BUILD = new URL("../build/", import.meta.url);
const APP = "http://app.localhost";
const email = "bench@example.com";
const DAY = "86400";
const UNLIMITED = "1000000000/1";

// `only` chooses which of the session's cookies are sent.
const signedIn = (path, only) => async (client) => {
  await signedUp(client, `${crypto.randomUUID()}@example.com`);
  return { host, path, headers: { cookie: client.cookies(host, only) } };
};
const sessionOnly = (name) => name === "doorward.session";

// Signs in and opens the protected host as a browser does, so that its own cookies are set there.
async function protectedCookies(client) {
  await signedUp(client, `${crypto.randomUUID()}@example.com`);
  const answer = await client.visit(`${APP}/`, { accept: "text/html", "sec-fetch-mode": "navigate" });
  if (answer.status !== 200) throw new Error(`the protected host answered ${answer.status}: ${answer.body}`);
  return client.cookies(new URL(APP).host);
}

/** An OpenID Provider that gives the same ID token to whoever asks: what is measured is what we do with it. */
async function startIssuer() {
  const { privateKey, publicKey } = await generateKeyPair("ES256");
  const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: "k", alg: "ES256", use: "sig" }] };
  let token;
  const server = createServer((request, response) => {
    const url = `http://localhost:${server.address().port}`;
    const documents = {
      "/.well-known/openid-configuration": {
        issuer: url,
        authorization_endpoint: `${url}/authorize`,
        token_endpoint: `${url}/token`,
        jwks_uri: `${url}/jwks`,
      },
      "/jwks": jwks,
      "/token": { access_token: "a", token_type: "Bearer", expires_in: 3600, id_token: token },
    };
    request.resume().on("end", () => response.setHeader("content-type", "application/json").end(JSON.stringify(documents[request.url])));
  });
  server.listen(0, "127.0.0.1").unref();
  await once(server, "listening");
  const url = `http://localhost:${server.address().port}`;
  return {
    url,
    async answers(nonce) {
      const claims = { sub: "bench", email: "upstream@example.com", email_verified: true, name: "Bench", nonce };
      token = await new SignJWT(claims)
        .setProtectedHeader({ alg: "ES256", kid: "k" })
        .setIssuer(url)
        .setAudience("a client")
        .setIssuedAt()
        .setExpirationTime("2h")
        .sign(privateKey);
    },
  };
}

const addIssuer = (d1, url, clientId) =>
  d1.batch([
    d1
      .prepare(
        "insert into issuer (id, name, login_page_name, base_url, client_id, created_at, updated_at) values (?1, 'bench', 'Bench', ?2, ?3, 0, 0)",
      )
      .bind(crypto.randomUUID(), url, clientId),
  ]);

export default {
  name: "Doorward",
  modules: () => wasm(BUILD),
  bindings: {
    AUTH_ORIGIN: ORIGIN,
    TRUSTED_ORIGINS: "http://localhost:5173",
    DEVELOPMENT: "true",
    SECRETS: "a secret for the benchmark of 32 bytes or more",
    DB: D1,
    SESSIONS: KV,
    // Longer than the run, or a scenario would change from one layer to the next in the middle of it.
    SESSION_COOKIE_CACHE_SECONDS: DAY,
    SESSION_RECHECK_SECONDS: DAY,
    // Laid in before a repetition.
    AUTHORIZATION_CODE_SECONDS: DAY,
    // Counted like anyone's, but never refused.
    LIMIT_SIGN_IN: UNLIMITED,
    LIMIT_SIGN_IN_ACCOUNT: UNLIMITED,
    LIMIT_SIGN_UP: UNLIMITED,
  },
  async seed({ d1, origin }) {
    await applyMigrations(d1);
    await d1.batch([
      // What is good once is good again: the same step and the same assertion are measured over and over.
      d1.prepare(`create trigger bench_step after update of last_used_step on two_factor when new.last_used_step > 0
                  begin update two_factor set last_used_step = 0 where id = new.id; end`),
      // Attempts are counted before they are looked at, and sixteen at once are sixteen failures so far.
      d1.prepare(`create trigger bench_attempts after update of failed_attempts on two_factor when new.failed_attempts > 0
                  begin update two_factor set failed_attempts = 0 where id = new.id; end`),
      d1.prepare(`create trigger bench_challenge after update of used_at on verification
                  when new.kind in ('passkey_challenge', 'upstream_state')
                  begin update verification set used_at = null, expires_at = 9000000000000 where id = new.id; end`),
      d1
        .prepare(
          `insert into proxied_app (id, tenant_id, name, host, origin_url, created_at, updated_at)
         select ?1, id, 'Bench', ?2, ?3, ?4, ?4 from tenant limit 1`,
        )
        .bind(crypto.randomUUID(), new URL(APP).host, origin, Date.now()),
    ]);
  },
  first: { host, path: "/api/auth/ok" },
  scenarios: [
    {
      name: "get-session, snapshot",
      group: "session from the cookie",
      prepare: signedIn("/api/auth/get-session"),
      answer: /"user":{/,
    },
    {
      name: "get-session, KV",
      group: "session from KV",
      prepare: signedIn("/api/auth/get-session", sessionOnly),
      answer: /"user":{/,
    },
    {
      name: "get-session, D1",
      group: "session from D1",
      prepare: signedIn("/api/auth/get-session?disableCookieCache=true"),
      answer: /"user":{/,
    },
    {
      name: "forward-auth",
      group: "gate",
      prepare: async (client) => ({
        host,
        path: "/forward-auth",
        headers: {
          cookie: await protectedCookies(client),
          "x-forwarded-host": new URL(APP).host,
          "x-forwarded-proto": "http",
          "x-forwarded-method": "GET",
          "x-forwarded-uri": "/",
        },
      }),
    },
    {
      name: "proxied request",
      group: "gate",
      prepare: async (client) => ({
        host: new URL(APP).host,
        path: "/",
        headers: { cookie: await protectedCookies(client) },
      }),
      answer: /^origin$/,
    },
    { name: "token", group: "token", prepare: signedIn("/api/auth/token"), answer: /"token":"ey/ },
    {
      name: "sign-in",
      group: "sign-in",
      requests: "hashing",
      async prepare(client) {
        await signedUp(client, email);
        const body = JSON.stringify({ email, password });
        return { method: "POST", host, path: "/api/auth/sign-in/email", headers: json, body };
      },
      answer: /"token":/,
    },
    {
      name: "TOTP verification",
      group: "second factor",
      async prepare(client) {
        await signedUp(client, `${crypto.randomUUID()}@example.com`);
        const post = (path, body) =>
          client.send({ method: "POST", host, path: `/api/auth/two-factor${path}`, headers: json, body: JSON.stringify(body) });
        const { totpURI } = JSON.parse((await post("/enable", { password })).body);
        const totp = URI.parse(totpURI);
        await post("/verify-totp", { code: totp.generate() });
        const headers = { ...json, cookie: client.cookies(host) };
        return () => ({
          method: "POST",
          host,
          path: "/api/auth/two-factor/verify-totp",
          headers,
          body: JSON.stringify({ code: totp.generate() }),
        });
      },
      answer: /"token":/,
    },
    {
      name: "passkey assertion",
      group: "passkey",
      async prepare(client) {
        await signedUp(client, `${crypto.randomUUID()}@example.com`);
        const call = async (path, body) => {
          const rest = body && { method: "POST", headers: json, body: JSON.stringify(body) };
          return JSON.parse((await client.send({ host, path: `/api/auth/passkey${path}`, ...rest })).body);
        };
        const authenticator = new Authenticator({ origin: ORIGIN, counts: false });
        await call("/verify-registration", { response: authenticator.create(await call("/generate-register-options")) });
        const response = authenticator.get(await call("/generate-authenticate-options"));
        const cookie = client.cookies(host, (name) => name === "doorward.passkey");
        return {
          method: "POST",
          host,
          path: "/api/auth/passkey/verify-authentication",
          headers: { ...json, cookie },
          body: JSON.stringify({ response }),
        };
      },
      answer: /"session":/,
    },
    {
      name: "upstream callback",
      group: "upstream",
      status: 302,
      async prepare(client, { d1 }) {
        const issuer = await startIssuer();
        await addIssuer(d1, issuer.url, "a client");
        const begun = await client.send({
          method: "POST",
          host,
          path: "/api/auth/sign-in/social",
          headers: json,
          body: JSON.stringify({ provider: "bench", callbackURL: "/done" }),
        });
        const url = new URL(JSON.parse(begun.body).url);
        await issuer.answers(url.searchParams.get("nonce"));
        const path = `/api/auth/callback/bench?code=c&state=${url.searchParams.get("state")}`;
        return { host, path, headers: { cookie: client.cookies(host) } };
      },
      location: "/done",
    },
    {
      name: "sign-up",
      group: "sign-up",
      requests: "hashing",
      prepare: () => (index) => ({
        method: "POST",
        host,
        path: "/api/auth/sign-up/email",
        headers: json,
        body: JSON.stringify({ name: "Bench", email: `bench-${index}@example.com`, password }),
      }),
      answer: /"token":/,
    },
    ...providerScenarios(relyingParty),
    ...tenantScenarios,
  ],
};
