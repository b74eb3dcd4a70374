// The modules of OpenID's Basic, Form Post Basic and Config plans, each under its own name, with a client as the suite makes it: a
// secret, no code challenge. What the suite skips for what our metadata says is a test that the metadata says so.

import assert from "node:assert/strict";
import { setTimeout as wait } from "node:timers/promises";
import { after, before, describe, test } from "node:test";
import {
  CALLBACK,
  answered,
  basicClient,
  digest,
  modulesOf,
  now,
  onOurPage,
  random,
  refused,
  refusedBack,
  startPlan,
  throughPages,
} from "../harness/conformance.mjs";
import { FORM, agree, basic } from "../harness/relying-party.mjs";
import { PAGE, signUp } from "../harness/seed.mjs";
import { AUTH } from "../harness/worker.mjs";

let plan, classical, registered, discovery;
before(async () => {
  plan = await startPlan({ SESSION_COOKIE_CACHE_SECONDS: "0" });
  classical = await plan.register({ classical: true });
  registered = {
    second: await plan.register({ classical: true }),
    post: await plan.register({ classical: true, token_endpoint_auth_method: "client_secret_post" }),
    asks: await plan.register({ classical: true, skip_consent: false, logo_uri: "https://suite.example/logo.png" }),
  };
  discovery = (await plan.worker.browser().get(`${AUTH}/.well-known/openid-configuration`)).json;
});
after(() => plan?.dispose());

const config = modulesOf("oidcc-config-certification-test-plan");
config.module("oidcc-discovery-endpoint-verification", async () => {
  const { status, headers, json } = await plan.worker.browser().get(`${AUTH}/.well-known/openid-configuration`);
  assert.deepEqual([status, headers["content-type"], json.issuer], [200, "application/json", AUTH]);
  for (const name of ["authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri"])
    assert.ok(json[name].startsWith(`${AUTH}/`), name);
  assert.ok(json.id_token_signing_alg_values_supported.includes("RS256") && json.userinfo_signing_alg_values_supported.includes("RS256"));
  assert.ok(json.request_object_signing_alg_values_supported.includes("RS256"));
  assert.deepEqual(json.response_types_supported, ["code"]);
  assert.ok(json.subject_types_supported.every((type) => ["public", "pairwise"].includes(type)) && json.subject_types_supported.length > 0);
  assert.ok(json.grant_types_supported.includes("authorization_code") && json.scopes_supported.includes("openid"));
  assert.ok(json.scopes_supported.every((scope) => /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(scope)));
  assert.deepEqual(
    [json.request_parameter_supported, json.request_uri_parameter_supported, json.claims_parameter_supported],
    [true, false, true],
  );
  assert.ok(Array.isArray(json.code_challenge_methods_supported));
  assert.ok(Array.isArray(json.claims_supported) && json.claims_supported.includes("sub"));
  const keys = (await plan.worker.browser().get(json.jwks_uri)).json.keys;
  assert.ok(keys.length > 0 && new Set(keys.map((key) => key.kid)).size === keys.length && keys.every((key) => key.kid && !key.d));
});
config.complete();

/** Unsigned request objects are not listed, so the suite skips what sends one. */
const skipsUnsigned = () => assert.equal(discovery.request_object_signing_alg_values_supported.includes("none"), false);

/** What must hold of any answer of the userinfo endpoint. */
function checkInfo(info, sub) {
  assert.deepEqual([info.status, info.headers["content-type"], info.json.sub], [200, "application/json", sub]);
  if ("updated_at" in info.json) assert.ok(Number.isInteger(info.json.updated_at) && info.json.updated_at <= now());
}

for (const [name, mode, { module, complete }] of [
  ["oidcc-basic", undefined, modulesOf("oidcc-basic-certification-test-plan")],
  ["oidcc-formpost-basic", "form_post", modulesOf("oidcc-formpost-basic-certification-test-plan")],
]) {
  describe(name, () => {
    let rp;
    before(() => {
      rp = basicClient(plan, classical, { mode });
    });
    /** A user who signed in five seconds ago enters twice; the second request is asked with `parameters`, and has them sign in again. */
    async function againAfterLogin(parameters) {
      const who = await signUp(plan.worker);
      await plan.worker.d1.prepare("update session set authenticated_at = authenticated_at - 5000 where user_id = ?").bind(who.id).run();
      const first = await rp.enter({}, { browser: who.browser });
      const request = { ...parameters, state: random(), nonce: random() };
      const asked = await rp.ask(request, who.browser);
      assert.match(asked.location, /^\/login\?.*again=true/);
      // With a form that posts itself it is our page that comes back, and a URL otherwise.
      const end = await agree(who.browser, new URL(asked.location, AUTH).href, { who });
      const second = await rp.enter(request, { answer: end instanceof URL ? { location: end.href } : end, nonce: request.nonce });
      assert.equal(second.claims.sub, first.claims.sub);
      return { first, second };
    }

    module("oidcc-server", async () => {
      const { claims, tokens, code } = await rp.enter();
      assert.equal(claims.sub, plan.who.id);
      assert.ok(tokens.access_token && tokens.expires_in > 0 && code.length >= 22);
      const known = ["iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "azp", "at_hash", "c_hash", "sid"];
      assert.deepEqual(
        Object.keys(claims).filter((claim) => !known.includes(claim)),
        [],
        "no claim that nobody asked for",
      );
      const half = (text) => Buffer.from(digest(text), "base64url").subarray(0, 16).toString("base64url");
      if (claims.at_hash) assert.equal(claims.at_hash, half(tokens.access_token));
      if (claims.c_hash) assert.equal(claims.c_hash, half(code));
      checkInfo(await rp.userinfo(tokens), claims.sub);
    });
    module("oidcc-response-type-missing", async () => {
      const state = random();
      refusedBack(answered(await rp.ask({ response_type: undefined, state })), "invalid_request", { state });
    });
    module("oidcc-userinfo-get", async () => {
      const { claims, tokens } = await rp.enter();
      checkInfo(await rp.userinfo(tokens), claims.sub);
    });
    module("oidcc-userinfo-post-header", async () => {
      const { tokens } = await rp.enter();
      checkInfo(await plan.post("/oauth2/userinfo", {}, { authorization: `Bearer ${tokens.access_token}` }), plan.who.id);
    });
    module("oidcc-userinfo-post-body", async () => {
      const { tokens } = await rp.enter();
      checkInfo(await plan.post("/oauth2/userinfo", { access_token: tokens.access_token }), plan.who.id);
    });
    module("oidcc-ensure-request-without-nonce-succeeds-for-code-flow", async () => {
      const { claims } = await rp.enter({ nonce: undefined });
      assert.equal(claims.nonce, undefined);
    });
    for (const [scope, names] of [
      ["profile", ["name", "updated_at"]],
      ["email", ["email", "email_verified"]],
      ["address", []],
      ["phone", []],
    ]) {
      module(`oidcc-scope-${scope}`, async () => {
        assert.ok(discovery.scopes_supported.includes(scope), "the suite skips what is not listed");
        const { tokens, claims } = await rp.enter({ scope: `openid ${scope}` });
        const answer = await rp.userinfo(tokens);
        checkInfo(answer, claims.sub);
        const info = answer.json;
        assert.equal(tokens.scope, `openid ${scope}`);
        for (const claim of names) assert.ok(claim in info && claim in claims, claim);
        if (names.length === 0) assert.equal(scope in info, false, "what is not known is left out");
      });
    }
    module("oidcc-scope-all", async () => {
      const scope = "openid profile email address phone";
      const { tokens, claims } = await rp.enter({ scope });
      assert.equal(tokens.scope, scope);
      const info = await rp.userinfo(tokens);
      checkInfo(info, claims.sub);
      for (const claim of ["name", "updated_at", "email", "email_verified"]) assert.ok(claim in info.json, claim);
    });
    for (const display of ["page", "popup"]) module(`oidcc-display-${display}`, async () => void (await rp.enter({ display })));
    module("oidcc-prompt-login", async () => {
      const { first, second } = await againAfterLogin({ prompt: "login" });
      assert.ok(second.claims.auth_time > first.claims.auth_time);
    });
    module("oidcc-prompt-none-not-logged-in", async () => {
      const state = random().repeat(3).slice(0, 128);
      refusedBack(answered(await rp.ask({ prompt: "none", state }, plan.worker.browser())), "login_required", { state });
    });
    module("oidcc-prompt-none-logged-in", async () => {
      const [first, second] = [await rp.enter(), await rp.enter({ prompt: "none" })];
      assert.deepEqual([second.claims.sub, second.claims.auth_time], [first.claims.sub, first.claims.auth_time]);
    });
    module("oidcc-max-age-1", async () => {
      const { first, second } = await againAfterLogin({ max_age: "1" });
      assert.ok(second.claims.auth_time > first.claims.auth_time && second.claims.auth_time >= now() - 60);
    });
    module("oidcc-max-age-10000", async () => {
      const [first, second] = [await rp.enter({ max_age: "15000" }), await rp.enter({ max_age: "10000" })];
      assert.ok(first.claims.auth_time);
      assert.deepEqual([second.claims.sub, second.claims.auth_time], [first.claims.sub, first.claims.auth_time]);
    });
    module("oidcc-ensure-request-with-unknown-parameter-succeeds", async () => void (await rp.enter({ extra: "foobar" })));
    module("oidcc-id-token-hint", async () => {
      const first = await rp.enter();
      const second = await rp.enter({ prompt: "none", id_token_hint: first.tokens.id_token });
      assert.deepEqual([second.claims.sub, second.claims.auth_time], [first.claims.sub, first.claims.auth_time]);
    });
    module("oidcc-login-hint", async () => {
      const { location } = await rp.ask({ login_hint: plan.who.email }, plan.worker.browser());
      assert.equal(new URL(location, AUTH).searchParams.get("login_hint"), plan.who.email);
    });
    module("oidcc-ui-locales", async () => void (await rp.enter({ ui_locales: "se" })));
    module("oidcc-claims-locales", async () => void (await rp.enter({ claims_locales: "se" })));
    module("oidcc-ensure-request-with-acr-values-succeeds", async () => {
      const { claims } = await rp.enter({ acr_values: "1 2" });
      assert.equal(claims.acr, undefined, "a warning in the suite: a password has no acr here");
    });
    module("oidcc-codereuse", async () => {
      const { code, tokens } = await rp.enter();
      refused(await rp.token({ grant_type: "authorization_code", code }), "invalid_grant");
      assert.equal((await rp.userinfo(tokens)).status, 401, "what came of the code ends with it");
    });
    module("oidcc-codereuse-30seconds", async () => {
      const { code, tokens } = await rp.enter();
      await plan.worker.d1
        .prepare("update oauth_grant set used_at = used_at - 30000 where kind = 'code' and user_id = ?")
        .bind(plan.who.id)
        .run();
      refused(await rp.token({ grant_type: "authorization_code", code }), "invalid_grant");
      assert.equal((await rp.userinfo(tokens)).status, 401);
    });
    module("oidcc-ensure-registered-redirect-uri", async () =>
      onOurPage(await rp.ask({ redirect_uri: `${CALLBACK}/${random().slice(0, 10)}` }), /redirect_uri is not registered/),
    );
    module("oidcc-ensure-post-request-succeeds", async () => {
      const state = random();
      const body = new URLSearchParams({
        client_id: classical.client_id,
        response_type: "code",
        redirect_uri: CALLBACK,
        scope: "openid",
        state,
        ...(mode && { response_mode: mode }),
      }).toString();
      const posted = await plan.worker
        .browser()
        .send("POST", `${AUTH}/oauth2/authorize`, { headers: { ...FORM, ...PAGE, origin: "https://suite.example" }, body });
      assert.equal(posted.status, 303);
      const answer = await plan.who.browser.get(new URL(posted.location, AUTH).href, { headers: PAGE });
      await rp.enter({ state }, { answer });
    });
    module("oidcc-server-client-secret-post", async () => {
      const posting = basicClient(plan, registered.post, { mode });
      const back = answered(await posting.ask());
      const got = await posting.token(
        {
          grant_type: "authorization_code",
          code: back.code,
          client_id: registered.post.client_id,
          client_secret: registered.post.client_secret,
        },
        {},
      );
      assert.equal((await posting.check(got)).claims.sub, plan.who.id);
    });
    module("oidcc-claims-essential", async () => {
      const { tokens, claims } = await rp.enter({ claims: JSON.stringify({ userinfo: { name: { essential: true } } }) });
      assert.deepEqual([(await rp.userinfo(tokens)).json.name, claims.name], ["Zoë Ångström", undefined]);
    });
    module("oidcc-ensure-request-object-with-redirect-uri", async () => {
      skipsUnsigned();
      onOurPage(
        await rp.ask({ redirect_uri: "https://evil.example/", request: `${Buffer.from('{"alg":"none"}').toString("base64url")}.e30.` }),
        /request object/,
      );
    });
    module("oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported", async () => {
      skipsUnsigned();
      const claims = { client_id: classical.client_id, response_type: "code", redirect_uri: CALLBACK, scope: "openid" };
      const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
      const request = `${part({ alg: "none" })}.${part(claims)}.`;
      onOurPage(await rp.ask({ request }), /request object/);
    });
    module("oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported", async () => {
      skipsUnsigned();
      assert.equal(discovery.request_uri_parameter_supported, false);
      onOurPage(await rp.ask({ request_uri: "https://suite.example/request.jwt" }), /request_uri is for pushed requests/);
    });
    module("oidcc-idtoken-unsigned", async () => {
      assert.equal(discovery.id_token_signing_alg_values_supported.includes("none"), false, "so the suite skips it");
      const made = await plan.admin.browser.post(`${AUTH}/api/auth/admin/oauth2/create-client`, {
        redirect_uris: [CALLBACK],
        id_token_signed_response_alg: "none",
      });
      refused(made, "invalid_client_metadata");
    });
    module("oidcc-idtoken-signature", async () => {
      // The default, where no algorithm was registered.
      const { header } = await rp.enter();
      assert.ok(header.kid);
      assert.equal(header.alg, "RS256");
    });
    module("oidcc-ensure-request-with-valid-pkce-succeeds", async () => {
      const verifier = random();
      const back = answered(await rp.ask({ code_challenge: digest(verifier), code_challenge_method: "S256" }));
      await rp.check(await rp.token({ grant_type: "authorization_code", code: back.code, code_verifier: verifier }));
    });
    module("oidcc-refresh-token", async () => {
      assert.ok(discovery.grant_types_supported.includes("refresh_token") && discovery.scopes_supported.includes("offline_access"));
      const scope = "openid offline_access";
      const clients = [
        [rp, { scope }],
        [basicClient(plan, registered.second, { mode }), {}],
      ];
      const got = [];
      for (const [client, more] of clients) {
        const request = { scope, prompt: "consent", state: random(), nonce: random() };
        const end = await agree(
          plan.who.browser,
          plan.url(client.client, { response_type: "code", redirect_uri: CALLBACK, response_mode: mode, ...request }),
          { who: plan.who },
        );
        const { tokens, claims } = await client.enter(request, {
          answer: end instanceof URL ? { location: end.href } : end,
          nonce: request.nonce,
        });
        await wait(1000 - (Date.now() % 1000) + 10);
        const refreshed = await client.check(
          await client.token({ grant_type: "refresh_token", refresh_token: tokens.refresh_token, redirect_uri: undefined, ...more }),
        );
        for (const name of ["iss", "sub", "aud", "auth_time", "azp"]) assert.deepEqual(refreshed.claims[name], claims[name], name);
        assert.ok(refreshed.claims.iat > claims.iat);
        assert.equal(refreshed.claims.nonce, undefined);
        assert.notEqual(refreshed.tokens.access_token, tokens.access_token);
        checkInfo(await client.userinfo(refreshed.tokens), claims.sub);
        got.push(refreshed.tokens);
      }
      refused(await rp.token({ grant_type: "refresh_token", refresh_token: got[1].refresh_token }), "invalid_grant");
    });
    module("oidcc-alternate-happy-flow", async () => {
      // Scopes and parameters in another order.
      const request = { scope: "email openid", state: random(), nonce: random() };
      const { origin, pathname, searchParams } = new URL(
        plan.url(classical, { response_type: "code", redirect_uri: CALLBACK, ...(mode && { response_mode: mode }), ...request }),
      );
      const answer = await plan.who.browser.get(`${origin}${pathname}?${new URLSearchParams([...searchParams].sort().reverse())}`, {
        headers: PAGE,
      });
      const { tokens, claims } = await rp.enter(request, { answer, nonce: request.nonce });
      const info = await rp.userinfo(tokens);
      checkInfo(info, claims.sub);
      assert.deepEqual([info.json.email, info.json.email_verified], [plan.who.email, false]);
    });
    complete();

    test("a user who is not signed in signs in, and agrees", async () => {
      const asks = basicClient(plan, registered.asks, { mode });
      const who = await signUp(plan.worker);
      const url = plan.url(registered.asks, { response_type: "code", redirect_uri: CALLBACK, scope: "openid", state: "s" });
      const back = await throughPages(plan, url, { browser: plan.worker.browser(), who });
      const got = await asks.token({ grant_type: "authorization_code", code: back.searchParams.get("code") }, basic(registered.asks));
      assert.equal((await asks.check(got)).claims.sub, who.id);
    });
    test("a code with a code challenge needs its verifier", async () => {
      const verifier = random();
      const back = answered(await rp.ask({ code_challenge: digest(verifier), code_challenge_method: "S256" }));
      refused(await rp.token({ grant_type: "authorization_code", code: back.code }), "invalid_grant");
    });
  });
}
