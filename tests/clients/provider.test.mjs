// npm `oidc-provider`, a certified OpenID Provider, as the issuer that people sign in with.

import assert from "node:assert/strict";
import { createHash, generateKeyPairSync } from "node:crypto";
import { after, before, test } from "node:test";
import { createAuthClient } from "better-auth/client";
import { OAuth2Server } from "oauth2-mock-server";
import { CLIENT, startProvider } from "../../examples/provider/server.mjs";
import { Browser } from "../harness/browser.mjs";
import { addIssuer } from "../harness/issuer.mjs";
import { signUp } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

let worker, admin;
before(async () => {
  worker = await startWorker();
  admin = await signUp(worker, { roles: ["owner"] });
});
after(() => worker?.dispose());

const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
const jwk = (half, kid) => ({ ...half.export({ format: "jwk" }), kid });
const algorithms = (alg) => ({ enabledJWA: { idTokenSigningAlgValues: [alg] } });
const CONFIGURATIONS = {
  rs256: { algorithm: "RS256" },
  es256: { algorithm: "ES256" },
  ps256: { algorithm: "PS256", configuration: algorithms("PS256") },
  eddsa: { algorithm: "EdDSA", configuration: algorithms("EdDSA") },
  post: { client: { token_endpoint_auth_method: "client_secret_post" }, issuer: { basicAuth: false } },
  public: { client: { token_endpoint_auth_method: "none", client_secret: undefined }, issuer: { clientSecret: undefined } },
  private_key_jwt: {
    client: {
      token_endpoint_auth_method: "private_key_jwt",
      client_secret: undefined,
      token_endpoint_auth_signing_alg: "ES256",
      jwks: { keys: [jwk(pair.publicKey, "ours")] },
    },
    configuration: { enabledJWA: { clientAuthSigningAlgValues: ["ES256", "RS256"] } },
    issuer: { clientSecret: undefined, clientKey: jwk(pair.privateKey, "ours") },
  },
  form_post: { issuer: { loginParams: { response_mode: "form_post" } } },
  pairwise: {
    client: { subject_type: "pairwise" },
    configuration: {
      subjectTypes: ["public", "pairwise"],
      pairwiseIdentifier: (_ctx, sub) => createHash("sha256").update(`of one sector ${sub}`).digest("hex"),
    },
  },
};

/** Signs in at the provider's own pages, and answers the URL that it sends the browser back to. */
async function signInAtProvider(url, login) {
  const browser = new Browser(Number(new URL(url).port));
  const within = (next) => next.origin === new URL(url).origin;
  let answer = await browser.open(url, { within });
  for (const form of [{ prompt: "login", login, password: "any" }, { prompt: "consent" }]) {
    if (!within(new URL(answer.url))) break;
    if (/name="state"/.test(answer.text)) break;
    const [, action] = answer.text.match(/action="([^"]+)"/);
    const posted = await browser.submit(new URL(action, answer.url).href, form);
    answer = await browser.open(new URL(posted.location, answer.url).href, { within });
  }
  // Form Post Response Mode: the page would post itself.
  const fields = [...answer.text.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g)];
  const [, target] = answer.text.match(/<form method="post" action="([^"]+)"/) ?? [];
  if (fields.length > 0 && target?.includes("/callback/")) {
    browser.close();
    return { target, fields: fields.map(([, name, value]) => [name, value.replaceAll("&amp;", "&")]) };
  }
  browser.close();
  return answer.url;
}

/** Brings the browser back to us, by query or by form. */
async function comeBack(browser, back) {
  if (typeof back === "string") return browser.get(back);
  const posted = await browser.submit(back.target, back.fields, { origin: "http://localhost" });
  assert.equal(posted.status, 303, posted.text);
  return browser.get(new URL(posted.location, AUTH).href);
}

async function addByApi(name, provider, more = {}) {
  const made = await admin.browser.post(`${AUTH}/api/auth/admin/issuers`, {
    name,
    label: name,
    baseUrl: provider.issuer,
    clientId: CLIENT.id,
    clientSecret: CLIENT.secret,
    trustEmail: true,
    global: true,
    ...more,
  });
  assert.equal(made.status, 201, made.text);
  assert.equal(made.json.discoveryProblem, null);
  return made.json.id;
}

for (const [name, { issuer, ...options }] of Object.entries(CONFIGURATIONS)) {
  test(`signs in with ${name}, and again after its keys are rotated`, async () => {
    const provider = await startProvider({ redirectUris: [`${AUTH}/api/auth/callback/${name}`], ...options });
    try {
      await addByApi(name, provider, issuer);
      for (const round of ["first", "rotated"]) {
        const browser = worker.browser();
        const begun = await browser.post(`${AUTH}/api/auth/sign-in/social`, { provider: name, callbackURL: "/done" });
        assert.equal(begun.status, 200, begun.text);
        const callback = await signInAtProvider(begun.json.url, "carol");
        if (typeof callback === "string") assert.match(callback, /[?&]iss=/, "the provider names itself (RFC 9207)");
        else assert.ok(callback.fields.some(([field]) => field === "iss"));
        const answer = await comeBack(browser, callback);
        assert.equal(answer.location, "/done", `${round}: ${worker.logs().slice(-500)}`);
        const { user } = (await browser.get(`${AUTH}/api/auth/get-session`)).json;
        assert.deepEqual([user.email, user.name, user.emailVerified], ["carol@example.org", "Carol Example", true]);
        provider.rotateKeys();
      }
      const [{ subject }] = await worker.rows("select subject from account a join issuer i on i.id = a.issuer_id where i.name = ?", name);
      assert.equal(subject === "carol", name !== "pairwise");
    } finally {
      await provider.stop();
    }
  });
}

test("the published client links, lists, refreshes and unlinks, with refresh tokens that rotate", async () => {
  const provider = await startProvider({
    redirectUris: [`${AUTH}/api/auth/callback/rotating`],
    configuration: {
      rotateRefreshToken: true,
      ttl: { AccessToken: 30, Interaction: 600, Session: 600, Grant: 600, IdToken: 600, RefreshToken: 600 },
      scopes: ["openid", "offline_access"],
    },
  });
  try {
    await addByApi("rotating", provider);
    const who = await signUp(worker);
    const client = createAuthClient({
      baseURL: AUTH,
      fetchOptions: {
        customFetchImpl: async (url, init = {}) => {
          const answer = await who.browser.send(init.method ?? "GET", String(url), {
            body: init.body ?? undefined,
            headers: { origin: AUTH, "content-type": init.body ? "application/json" : undefined },
          });
          return new Response(answer.bytes, { status: answer.status, headers: { "content-type": answer.headers["content-type"] ?? "" } });
        },
      },
    });
    const begun = await client.linkSocial({
      provider: "rotating",
      callbackURL: "/linked",
      scopes: ["offline_access"],
      disableRedirect: true,
    });
    assert.equal(begun.error, null);
    const asked = new URL(begun.data.url).searchParams;
    assert.deepEqual([asked.get("scope"), asked.get("prompt")], ["openid email profile offline_access", "consent"]);
    assert.equal((await who.browser.get(await signInAtProvider(begun.data.url, "carol"))).location, "/linked", worker.logs().slice(-500));
    const { data: accounts } = await client.listAccounts();
    const linked = accounts.find(({ providerId }) => providerId === "rotating");
    assert.deepEqual([linked.accountId, [...linked.scopes].sort()], ["carol", ["email", "offline_access", "openid", "profile"]]);

    // Its life of 30 seconds is less than the margin: every question refreshes, and each refresh token is good once.
    const tokens = new Set();
    for (let n = 0; n < 3; n += 1) {
      const { data, error } = await client.getAccessToken({ accountId: linked.id });
      assert.equal(error, null, `${JSON.stringify(error)} ${worker.logs().slice(-500)}`);
      tokens.add(data.accessToken);
    }
    assert.equal(tokens.size, 3);
    const many = await Promise.all(Array.from({ length: 20 }, () => client.getAccessToken({ accountId: linked.id })));
    assert.deepEqual(many.map(({ error }) => error).filter(Boolean), []);
    const info = await client.accountInfo({ query: { accountId: linked.id } });
    assert.deepEqual([info.data?.user.id, info.data?.user.email], ["carol", "carol@example.org"], JSON.stringify(info.error));
    const refreshed = await client.$fetch("/refresh-token", { method: "POST", body: { accountId: linked.id } });
    assert.equal(refreshed.data?.providerId, "rotating", JSON.stringify(refreshed.error));
    assert.equal(refreshed.data.refreshToken, undefined);
    assert.equal((await client.unlinkAccount({ accountId: linked.id })).error, null);
    const password = (await client.listAccounts()).data[0];
    assert.equal((await client.unlinkAccount({ accountId: password.id })).error.code, "FAILED_TO_UNLINK_LAST_ACCOUNT");
  } finally {
    await provider.stop();
  }
});

test("oauth2-mock-server: answers as they should be, and spoilt ones", async () => {
  const server = new OAuth2Server();
  await server.issuer.keys.generate("RS256");
  await server.start(0, "localhost");
  try {
    await addByApi("mock", { issuer: server.issuer.url });
    const journey = async () => {
      const browser = worker.browser();
      const begun = await browser.post(`${AUTH}/api/auth/sign-in/social`, {
        provider: "mock",
        callbackURL: "/done",
        errorCallbackURL: "/failed",
      });
      const answer = await fetch(begun.json.url, { redirect: "manual" });
      return (await browser.get(answer.headers.get("location"))).location;
    };
    server.service.on("beforeUserinfo", ({ body }) => Object.assign(body, { email: "mocked@example.org", email_verified: true }));
    assert.equal(await journey(), "/done", worker.logs().slice(-500));
    const spoil = async (event, how) => {
      server.service.on(event, how);
      const location = await journey();
      server.service.removeListener(event, how);
      return location;
    };
    for (const [event, how, expected] of [
      [
        "beforeTokenSigning",
        (token) => {
          token.payload.aud = "another";
        },
        "invalid_id_token",
      ],
      [
        "beforeTokenSigning",
        (token) => {
          token.payload.exp = 1;
        },
        "invalid_id_token",
      ],
      [
        "beforeTokenSigning",
        (token) => {
          token.payload.iss = "https://evil.example";
        },
        "invalid_id_token",
      ],
      [
        "beforeResponse",
        (answer) => {
          answer.statusCode = 500;
        },
        "invalid_code",
      ],
      [
        "beforeResponse",
        (answer) => {
          answer.body = { error: "invalid_grant" };
          answer.statusCode = 400;
        },
        "invalid_code",
      ],
      [
        "beforeResponse",
        (answer) => {
          delete answer.body.id_token;
        },
        "invalid_id_token",
      ],
      [
        "beforeUserinfo",
        (answer) => {
          answer.body = { sub: "another", email: "mocked@example.org" };
        },
        "unable_to_get_user_info",
      ],
      [
        "beforeUserinfo",
        (answer) => {
          answer.statusCode = 401;
        },
        "unable_to_get_user_info",
      ],
      [
        "beforeAuthorizeRedirect",
        ({ url }) => {
          url.searchParams.set("state", "x".repeat(43));
        },
        "state_mismatch",
      ],
    ]) {
      const location = await spoil(event, how);
      assert.equal(new URL(location, AUTH).searchParams.get("error"), expected, `${event}: ${how}`);
    }
    assert.equal(await journey(), "/done", "and it works again");
  } finally {
    await server.stop();
  }
});

test("an unproven address at the provider does not take a local account over", async () => {
  const provider = await startProvider({ redirectUris: [`${AUTH}/api/auth/callback/hostile`] });
  try {
    await addIssuer(worker.d1, provider.issuer, { name: "hostile", client_id: CLIENT.id });
    const alice = worker.browser();
    await alice.post(`${AUTH}/api/auth/sign-up/email`, { name: "Alice", email: "alice@example.com", password: "a password of hers" });
    const mallory = worker.browser();
    const begun = await mallory.post(`${AUTH}/api/auth/sign-in/social`, { provider: "hostile" });
    const answer = await mallory.get(await signInAtProvider(begun.json.url, "mallory"));
    assert.match(answer.location, /error=account_not_linked/);
    assert.equal((await mallory.get(`${AUTH}/api/auth/get-session`)).json, null);
  } finally {
    await provider.stop();
  }
});
