// What real clients send is taken where the standards let us, and the answer tells what became of it.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { CALLBACK, answered, basicClient, digest, random, startPlan } from "../harness/conformance.mjs";
import { FORM, agree, basic } from "../harness/relying-party.mjs";
import { PAGE, signUp } from "../harness/seed.mjs";
import { AUTH } from "../harness/worker.mjs";

const CURSOR = "cursor://anysphere.cursor-mcp/oauth/callback";
const API = "https://api.example/mcp";
const DEVICE = "urn:ietf:params:oauth:grant-type:device_code";
let plan, documents, server;
before(async () => {
  documents = {};
  server = createServer((request, response) => {
    const found = documents[request.url];
    response.writeHead(found ? 200 : 404, { "content-type": "application/json" }).end(JSON.stringify(found ?? {}));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  plan = await startPlan({ CLIENT_ID_METADATA_DOCUMENTS: "on", REDIRECT_URIS_ALLOWED: CURSOR, SESSION_COOKIE_CACHE_SECONDS: "0" });
  await plan.register({ client_name: "The API", redirect_uris: [], grant_types: ["client_credentials"], resource: API });
});
after(async () => {
  await plan?.dispose();
  server?.close();
});

const dcr = (body) => plan.worker.browser().send("POST", `${AUTH}/oauth2/register`, { body });
const registered = async (body) => {
  const made = await dcr(body);
  assert.equal(made.status, 201, made.text);
  return made.json;
};
const publish = (path, document) => {
  const client_id = `http://127.0.0.1:${server.address().port}${path}`;
  documents[path] = { client_id, ...document };
  return client_id;
};
const verifier = random();
const pkce = { code_challenge: digest(verifier), code_challenge_method: "S256" };
/** Goes through consent to a code, and redeems it as a public client. */
async function signIn(client_id, redirect_uri, more = {}, { seen = [] } = {}) {
  const url = plan.url({ client_id }, { response_type: "code", redirect_uri, state: "s", ...pkce, ...more });
  const back = await agree(plan.who.browser, url, { who: plan.who, seen });
  assert.ok(back instanceof URL, back.text?.slice(0, 300));
  const got = await plan.post("/oauth2/token", {
    grant_type: "authorization_code",
    client_id,
    code: back.searchParams.get("code"),
    redirect_uri,
    code_verifier: verifier,
  });
  return { back, got };
}

test("documents of Claude.ai and ChatGPT name more than we serve, and sign in", async () => {
  const shapes = {
    "/claude.json": {
      client_name: "Claude",
      redirect_uris: ["https://claude.ai/api/mcp/auth_callback"],
      grant_types: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:jwt-bearer"],
      response_types: ["code"],
      token_endpoint_auth_method: "none",
      scope: "openid mcp:tools",
    },
    "/chatgpt.json": {
      client_name: "ChatGPT",
      redirect_uris: ["https://chatgpt.com/connector/oauth/x"],
      grant_types: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:jwt-bearer"],
      response_types: ["code", "id_token"],
      token_endpoint_auth_method: "none",
      whatever: { it: ["is"] },
    },
  };
  for (const [path, document] of Object.entries(shapes)) {
    const { got } = await signIn(publish(path, document), document.redirect_uris[0], { scope: "openid", resource: API });
    assert.equal(got.status, 200, got.text);
  }
});

test("Claude Code signs in at whatever port it listens on, and its user is warned", async () => {
  const client_id = publish("/claude-code.json", {
    client_name: "Claude Code",
    redirect_uris: ["http://localhost/callback", "http://127.0.0.1/callback", "http://[::1]/callback"],
    grant_types: ["authorization_code", "refresh_token"],
    token_endpoint_auth_method: "none",
  });
  for (const uri of ["http://localhost:3118/callback", "http://127.0.0.1:52163/callback", "http://[::1]:40000/callback"]) {
    const seen = [];
    const { got } = await signIn(client_id, uri, { scope: "openid", prompt: "consent" }, { seen });
    assert.equal(got.status, 200, got.text);
    assert.ok(
      seen.some((page) => page.includes("runs on the device in front of you")),
      "the warning",
    );
  }
  for (const uri of [
    "http://localhost:3118/other",
    "http://localhost.evil.example:3118/callback",
    "https://localhost:3118/callback",
    "http://127.0.0.2:1/callback",
  ]) {
    const page = await plan.who.browser.get(plan.url({ client_id }, { response_type: "code", redirect_uri: uri, ...pkce }), {
      headers: PAGE,
    });
    assert.deepEqual([page.status, page.location], [400, undefined], uri);
  }
  const website = await plan.register({ redirect_uris: ["http://localhost:3000/cb"] });
  const page = await plan.who.browser.get(plan.url(website, { response_type: "code", redirect_uri: "http://localhost:3001/cb", ...pkce }), {
    headers: PAGE,
  });
  assert.equal(page.status, 400, "a website with a secret has a port of its own");
});

test("registrations are cut to what we serve, and the answer tells", async () => {
  const made = await registered({
    redirect_uris: ["myapp://x", CURSOR, "http://localhost:8080/cb", "http://app.example/"],
    application_type: "web",
    token_endpoint_auth_method: "none",
    grant_types: ["authorization_code", "refresh_token", "implicit"],
    response_types: ["code", "token"],
    scope: "openid mcp:tools email",
  });
  assert.deepEqual(
    [made.redirect_uris, made.grant_types, made.response_types, made.scope],
    [[CURSOR, "http://localhost:8080/cb"], ["authorization_code", "refresh_token"], ["code"], "openid email"],
  );
  const { back } = await signIn(made.client_id, CURSOR, { scope: "openid" });
  assert.ok(back.href.startsWith(CURSOR));
  for (const [bad, error] of [
    [{ redirect_uris: ["cursor://other/callback"] }, "invalid_redirect_uri"],
    [{ redirect_uris: [CALLBACK], grant_types: ["implicit"] }, "invalid_client_metadata"],
    ...["javascript:x", "data:,x", "file:///x", "vbscript:x", "blob:x", "about:blank"].map((uri) => [
      { redirect_uris: [CALLBACK, uri] },
      "invalid_redirect_uri",
    ]),
    [
      {
        redirect_uris: [CALLBACK],
        jwks: { keys: Array.from({ length: 65 }, (_, at) => ({ kty: "EC", crv: "P-256", x: "x", y: "y", kid: `${at}` })) },
      },
      "invalid_client_metadata",
    ],
    [{ redirect_uris: [CALLBACK], subject_type: "pairwise", sector_identifier_uri: "https://a.example/uris" }, "invalid_client_metadata"],
  ]) {
    const answer = await dcr(bad);
    assert.deepEqual([answer.status, answer.json.error], [400, error], JSON.stringify(bad).slice(0, 100));
  }
});

test("where no algorithm is named ID tokens, signed answers and introspection are RS256", async () => {
  const made = await registered({ redirect_uris: [CALLBACK] });
  for (const what of ["id_token", "authorization", "introspection"]) assert.equal(made[`${what}_signed_response_alg`], "RS256", what);
  assert.equal((await plan.register({ id_token_signed_response_alg: "ES256" })).id_token_signed_response_alg, "ES256");
});

test("scopes that nobody knows are passed over, and the granted ones told", async () => {
  const rp = basicClient(plan, await plan.register({ classical: true, scope: "openid email" }));
  assert.equal((await rp.enter({ scope: "openid email username" })).tokens.scope, "openid email");
  assert.equal(answered(await rp.ask({ scope: "openid phone" })).error, "invalid_scope", "a known one that it may not have");
});

test("a client of OAuth alone that is registered for refreshing gets a refresh token, and its user is told", async () => {
  const made = await registered({
    redirect_uris: [CALLBACK],
    token_endpoint_auth_method: "none",
    grant_types: ["authorization_code", "refresh_token"],
  });
  const seen = [];
  const { got } = await signIn(made.client_id, CALLBACK, { resource: API }, { seen });
  assert.equal(got.status, 200, got.text);
  assert.ok(seen.some((page) => page.includes("Stay signed in while you are away")));
  assert.equal("scope" in got.json, false, "no scope is none, and not an empty one");
  const again = await plan.post("/oauth2/token", {
    grant_type: "refresh_token",
    client_id: made.client_id,
    refresh_token: got.json.refresh_token,
    resource: "",
  });
  assert.equal(again.status, 200, again.text);
  const { got: open } = await signIn(made.client_id, CALLBACK, { scope: "openid" });
  assert.equal(open.json.refresh_token, undefined, "with openid it is offline_access that asks");
});

test("the device grant keeps its resource, a code is read whatever stands in it, and a denial is 400", async () => {
  const made = await registered({ redirect_uris: [], token_endpoint_auth_method: "none", grant_types: [DEVICE] });
  const begun = async () =>
    (await plan.post("/oauth2/device_authorization", { client_id: made.client_id, scope: "openid unheard-of", resource: API })).json;
  const poll = (device_code) => plan.post("/oauth2/token", { grant_type: DEVICE, client_id: made.client_id, device_code });
  const decide = (code, decision) => plan.who.browser.submit(`${AUTH}/device`, { user_code: code, decision });
  const allowed = await begun();
  const typed = allowed.user_code.replace("-", "\u2014").toLowerCase();
  const page = await plan.who.browser.get(`${AUTH}/device?user_code=${encodeURIComponent(typed)}`, { headers: PAGE });
  assert.ok(page.text.includes(`Use ${API} in your name`), page.text.slice(0, 400));
  await decide(typed, "allow");
  const got = await poll(allowed.device_code);
  assert.equal(got.status, 200, got.text);
  assert.equal(JSON.parse(Buffer.from(got.json.access_token.split(".")[1], "base64url")).aud, API);
  const denied = await begun();
  await decide(denied.user_code, "deny");
  const no = await poll(denied.device_code);
  assert.deepEqual([no.status, no.json.error], [400, "access_denied"]);
});

test("errors of /oauth2 are those of RFC 6749 and 7591, whatever raised them", async () => {
  const send = (method, path, options) => plan.worker.browser().send(method, `${AUTH}${path}`, options);
  const json = { "content-type": "application/json" };
  for (const [label, answer, expected] of [
    ["JSON for a form", await send("POST", "/oauth2/token", { body: "{}", headers: json }), [400, "invalid_request"]],
    ["70 KB", await send("POST", "/oauth2/token", { body: "x".repeat(70_000), headers: FORM }), [400, "invalid_request"]],
    [
      "bytes that are no text",
      await send("POST", "/oauth2/par", { body: Buffer.from([0xff, 0xfe]), headers: FORM }),
      [400, "invalid_request"],
    ],
    ["broken JSON", await send("POST", "/oauth2/register", { body: "{", headers: json }), [400, "invalid_client_metadata"]],
    ["a list", await send("POST", "/oauth2/register", { body: "[]", headers: json }), [400, "invalid_client_metadata"]],
    ["a form", await send("POST", "/oauth2/register", { body: "a=b", headers: FORM }), [400, "invalid_client_metadata"]],
    ["no endpoint", await send("GET", "/oauth2/nothing"), [404, "invalid_request"]],
    [
      "a malformed code of a stranger",
      await plan.post("/oauth2/token", { grant_type: "authorization_code", code: "x", client_id: "nobody" }),
      [401, "invalid_client"],
    ],
    [
      "a malformed refresh token of a stranger",
      await plan.post("/oauth2/token", { grant_type: "refresh_token", refresh_token: "x", client_id: "nobody" }),
      [401, "invalid_client"],
    ],
  ])
    assert.deepEqual([answer.status, answer.json.error], expected, `${label}: ${answer.text}`);
  for (const [method, path, allow] of [
    ["GET", "/oauth2/token", "POST"],
    ["PUT", "/oauth2/par", "POST"],
    ["DELETE", "/oauth2/userinfo", "GET, HEAD, POST"],
    ["GET", "/oauth2/register", "POST"],
    ["POST", "/.well-known/openid-configuration", "GET, HEAD"],
  ]) {
    const answer = await send(method, path);
    assert.deepEqual([answer.status, answer.headers.allow, answer.json.error], [405, allow, "invalid_request"], `${method} ${path}`);
  }
});

test("a script's preflight may name any header at what clients ask", async () => {
  for (const path of [
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
    "/oauth2/token",
    "/oauth2/register",
  ]) {
    const answer = await plan.worker.browser().send("OPTIONS", `${AUTH}${path}`, {
      headers: {
        origin: "https://inspector.example",
        "access-control-request-method": "GET",
        "access-control-request-headers": "mcp-protocol-version",
      },
    });
    assert.deepEqual(
      [answer.status, answer.headers["access-control-allow-headers"].split(", ").slice(0, 2)],
      [204, ["*", "Authorization"]],
      path,
    );
    assert.equal(answer.headers["access-control-allow-credentials"], undefined);
  }
});

test("parameters without a value are as if they were not there", async () => {
  const rp = basicClient(plan, await plan.register({ classical: true }));
  const back = answered(await rp.ask({ resource: "", audience: "" }));
  const got = await rp.token({ grant_type: "authorization_code", code: back.code, resource: "", audience: "" });
  assert.equal(got.status, 200, got.text);
});

test("a classical client: either secret method, no PKCE, claims in the ID token also after a refresh; and no other client", async () => {
  const made = await plan.register({ classical: true });
  const rp = basicClient(plan, made);
  const { tokens, claims } = await rp.enter({ scope: "openid email profile offline_access" });
  assert.deepEqual([claims.email, claims.name], [plan.who.email, "Zoë Ångström"]);
  const posted = await rp.token(
    { grant_type: "refresh_token", refresh_token: tokens.refresh_token, client_id: made.client_id, client_secret: made.client_secret },
    {},
  );
  assert.equal((await rp.check(posted)).claims.email, plan.who.email);
  const usual = basicClient(plan, await plan.register());
  assert.equal(answered(await usual.ask()).error, "invalid_request", "PKCE is asked of everybody else");
  const strict = await plan.register({ classical: true, token_endpoint_auth_method: "client_secret_post" });
  assert.equal(
    (await basicClient(plan, strict).token({ grant_type: "refresh_token", refresh_token: "x" }, basic(strict))).status,
    401,
    "the administrator said which",
  );
  const own = await signUp(plan.worker);
  const byUser = await own.browser.post(`${AUTH}/api/auth/oauth2/create-client`, { redirect_uris: [CALLBACK], require_pkce: false });
  assert.equal(byUser.json.error, "invalid_client_metadata", byUser.text);
});

test("a client that an administrator holds to more is not its own to change", async () => {
  const made = await registered({ redirect_uris: [CALLBACK] });
  const updated = await plan.admin.browser.post(`${AUTH}/api/auth/oauth2/update-client`, {
    client_id: made.client_id,
    update: { require_pkce: false },
  });
  assert.equal(updated.status, 200, updated.text);
  const changed = await plan.worker.browser().send("PUT", made.registration_client_uri, {
    body: { client_id: made.client_id, redirect_uris: [CALLBACK] },
    headers: { authorization: `Bearer ${made.registration_access_token}` },
  });
  assert.deepEqual([changed.status, changed.json.error], [400, "invalid_client_metadata"], changed.text);
});
