// The modules of OpenID's Basic, Form Post and Config plans, each under its own name, with a client as the suite makes it: a
// secret, no code challenge. README.md says which cannot pass and why.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import * as jose from "jose";
import { CALLBACK, answered, basicClient, onOurPage, random, refused, startPlan, throughPages } from "../harness/conformance.mjs";
import { FORM, basic } from "../harness/relying-party.mjs";
import { PAGE, signUp } from "../harness/seed.mjs";
import { AUTH } from "../harness/worker.mjs";

let plan, classical, registered;
before(async () => {
  plan = await startPlan({ SESSION_COOKIE_CACHE_SECONDS: "0" });
  classical = await plan.register({ classical: true });
  registered = {
    second: await plan.register({ classical: true }),
    post: await plan.register({ classical: true, token_endpoint_auth_method: "client_secret_post" }),
    asks: await plan.register({ classical: true, skip_consent: false, logo_uri: "https://suite.example/logo.png" }),
  };
});
after(() => plan?.dispose());

test("oidcc-config: oidcc-discovery-endpoint-verification", async () => {
  const { status, headers, json } = await plan.worker.browser().get(`${AUTH}/.well-known/openid-configuration`);
  assert.deepEqual([status, headers["content-type"], json.issuer], [200, "application/json", AUTH]);
  for (const name of ["authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri"]) assert.ok(json[name].startsWith(`${AUTH}/`), name);
  assert.ok(json.id_token_signing_alg_values_supported.includes("RS256") && json.subject_types_supported.length && json.scopes_supported.includes("openid"));
  assert.deepEqual(json.response_types_supported, ["code"]);
  assert.equal(json.request_uri_parameter_supported, false);
  assert.ok(Array.isArray(json.claims_supported) && json.claims_supported.includes("sub"));
  const keys = (await plan.worker.browser().get(json.jwks_uri)).json.keys;
  assert.ok(keys.length > 0 && keys.every((key) => key.kid && !key.d));
});

for (const [name, mode] of [["oidcc-basic", undefined], ["oidcc-formpost-basic", "form_post"]]) {
  describe(name, () => {
    let rp;
    const module = (title, body) => test(title, body);
    before(() => {
      rp = basicClient(plan, classical, { mode });
    });

    module("oidcc-server", async () => {
      const { claims, tokens } = await rp.enter();
      assert.equal(claims.sub, plan.who.id);
      assert.ok(tokens.access_token && tokens.expires_in > 0);
    });
    module("oidcc-response-type-missing", async () => assert.equal(answered(await rp.ask({ response_type: undefined })).error, "invalid_request"));
    module("oidcc-userinfo-get", async () => {
      const { claims, tokens } = await rp.enter();
      const info = await rp.userinfo(tokens);
      assert.deepEqual([info.status, info.json.sub], [200, claims.sub]);
    });
    module("oidcc-userinfo-post-header", async () => {
      const { tokens } = await rp.enter();
      const info = await plan.post("/oauth2/userinfo", {}, { authorization: `Bearer ${tokens.access_token}` });
      assert.deepEqual([info.status, info.json.sub], [200, plan.who.id]);
    });
    module("oidcc-userinfo-post-body", async () => {
      const { tokens } = await rp.enter();
      const info = await plan.post("/oauth2/userinfo", { access_token: tokens.access_token });
      assert.deepEqual([info.status, info.json.sub], [200, plan.who.id]);
    });
    module("oidcc-ensure-request-without-nonce-succeeds-for-code-flow", async () => {
      const { claims } = await rp.enter({ nonce: undefined });
      assert.equal(claims.nonce, undefined);
    });
    for (const [scope, names] of [["profile", ["name", "updated_at"]], ["email", ["email", "email_verified"]], ["address", []], ["phone", []]]) {
      module(`oidcc-scope-${scope}`, async () => {
        const { tokens, claims } = await rp.enter({ scope: `openid ${scope}` });
        const info = (await rp.userinfo(tokens)).json;
        assert.equal(tokens.scope, `openid ${scope}`);
        for (const claim of names) assert.ok(claim in info && claim in claims, claim);
        if (names.length === 0) assert.equal(scope in info, false, "what is not known is left out");
      });
    }
    module("oidcc-scope-all", async () => {
      const scope = "openid profile email address phone";
      assert.equal((await rp.enter({ scope })).tokens.scope, scope);
    });
    for (const display of ["page", "popup"]) module(`oidcc-display-${display}`, async () => void (await rp.enter({ display })));
    module("oidcc-prompt-login", async () => {
      const first = await rp.enter();
      const answer = await rp.ask({ prompt: "login" });
      assert.match(answer.location, /^\/login\?.*again=true/);
      assert.ok(first.claims.auth_time);
    });
    module("oidcc-prompt-none-not-logged-in", async () => assert.equal(answered(await rp.ask({ prompt: "none" }, plan.worker.browser())).error, "login_required"));
    module("oidcc-prompt-none-logged-in", async () => {
      const [first, second] = [await rp.enter(), await rp.enter({ prompt: "none" })];
      assert.deepEqual([second.claims.sub, second.claims.auth_time], [first.claims.sub, first.claims.auth_time]);
    });
    module("oidcc-max-age-1", async () => {
      await plan.worker.d1.prepare("update session set authenticated_at = authenticated_at - 5000 where user_id = ?").bind(plan.who.id).run();
      assert.match((await rp.ask({ max_age: "1" })).location, /^\/login\?.*again=true/);
    });
    module("oidcc-max-age-10000", async () => assert.ok((await rp.enter({ max_age: "10000" })).claims.auth_time));
    module("oidcc-ensure-request-with-unknown-parameter-succeeds", async () => void (await rp.enter({ extra: "foobar" })));
    module("oidcc-id-token-hint", async () => {
      const first = await rp.enter();
      const second = await rp.enter({ prompt: "none", id_token_hint: first.tokens.id_token });
      assert.equal(second.claims.sub, first.claims.sub);
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
      const { code } = await rp.enter();
      await plan.worker.d1.prepare("update oauth_grant set used_at = used_at - 30000 where kind = 'code' and user_id = ?").bind(plan.who.id).run();
      refused(await rp.token({ grant_type: "authorization_code", code }), "invalid_grant");
    });
    module("oidcc-ensure-registered-redirect-uri", async () => onOurPage(await rp.ask({ redirect_uri: `${CALLBACK}/x` }), /redirect_uri is not registered/));
    module("oidcc-ensure-post-request-succeeds", async () => {
      const state = random();
      const body = new URLSearchParams({ client_id: classical.client_id, response_type: "code", redirect_uri: CALLBACK, scope: "openid", state, ...(mode && { response_mode: mode }) }).toString();
      const posted = await plan.worker.browser().send("POST", `${AUTH}/oauth2/authorize`, { headers: { ...FORM, ...PAGE, origin: "https://suite.example" }, body });
      assert.equal(posted.status, 303);
      const answer = await plan.who.browser.get(new URL(posted.location, AUTH).href, { headers: PAGE });
      await rp.enter({ state }, { answer });
    });
    module("oidcc-server-client-secret-post", async () => {
      const posting = basicClient(plan, registered.post, { mode });
      const back = answered(await posting.ask());
      const got = await posting.token({ grant_type: "authorization_code", code: back.code, client_id: registered.post.client_id, client_secret: registered.post.client_secret }, {});
      assert.equal((await posting.check(got)).claims.sub, plan.who.id);
    });
    module("oidcc-claims-essential", async () => {
      const { tokens } = await rp.enter({ claims: JSON.stringify({ userinfo: { name: { essential: true } } }) });
      assert.equal((await rp.userinfo(tokens)).json.name, "Zoë Ångström");
    });
    module("oidcc-ensure-request-object-with-redirect-uri", async () => onOurPage(await rp.ask({ redirect_uri: "https://evil.example/", request: `${Buffer.from('{"alg":"none"}').toString("base64url")}.e30.` }), /request object/));
    module("oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported", async () => {
      const claims = { client_id: classical.client_id, response_type: "code", redirect_uri: CALLBACK, scope: "openid" };
      const request = `${Buffer.from('{"alg":"none"}').toString("base64url")}.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.`;
      onOurPage(await rp.ask({ request }), /request object/);
    });
    module("oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported", async () => onOurPage(await rp.ask({ request_uri: "https://suite.example/request.jwt" }), /request_uri is for pushed requests/));
    module("oidcc-idtoken-unsigned", async () => {
      const made = await plan.admin.browser.post(`${AUTH}/api/auth/admin/oauth2/create-client`, { redirect_uris: [CALLBACK], id_token_signed_response_alg: "none" });
      refused(made, "invalid_client_metadata");
    });
    module("oidcc-idtoken-signature", async () => {
      // The default, where no algorithm was registered.
      const { header } = await rp.enter();
      assert.equal(header.alg, "RS256");
    });
    module("oidcc-ensure-request-with-valid-pkce-succeeds", async () => {
      const verifier = random();
      const challenge = { code_challenge: jose.base64url.encode(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier)))), code_challenge_method: "S256" };
      const back = answered(await rp.ask(challenge));
      refused(await rp.token({ grant_type: "authorization_code", code: back.code }), "invalid_grant");
      const again = answered(await rp.ask(challenge));
      await rp.check(await rp.token({ grant_type: "authorization_code", code: again.code, code_verifier: verifier }));
    });
    module("oidcc-refresh-token", async () => {
      const { tokens, claims } = await rp.enter({ scope: "openid offline_access" });
      const refreshed = await rp.check(await rp.token({ grant_type: "refresh_token", refresh_token: tokens.refresh_token }));
      assert.deepEqual([refreshed.claims.sub, refreshed.claims.auth_time, refreshed.claims.nonce], [claims.sub, claims.auth_time, undefined]);
      const other = basicClient(plan, registered.second, { mode });
      refused(await other.token({ grant_type: "refresh_token", refresh_token: refreshed.tokens.refresh_token }), "invalid_grant");
    });
    module("oidcc-alternate-happy-flow", async () => {
      // Somebody who is not signed in, and is asked.
      const asks = basicClient(plan, registered.asks, { mode });
      const who = await signUp(plan.worker);
      const url = plan.url(registered.asks, { response_type: "code", redirect_uri: CALLBACK, scope: "openid", state: "s" });
      const back = await throughPages(plan, url, { browser: plan.worker.browser(), who });
      const got = await asks.token({ grant_type: "authorization_code", code: back.searchParams.get("code") }, basic(registered.asks));
      assert.equal((await asks.check(got)).claims.sub, who.id);
    });
  });
}
