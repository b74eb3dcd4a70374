// What others give us as addresses of theirs is none of ours: a request of a Worker to its own zone goes past the gate.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import http from "node:http";
import test, { after, before } from "node:test";
import { parse } from "smol-toml";
import { seedApp, seedDomain, seedTenant, signUp } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

let worker, admin, server, origin, asked;

before(async () => {
  asked = [];
  server = http
    .createServer((request, response) => {
      asked.push(request.url);
      response.end("{}");
    })
    .listen(0, "127.0.0.1");
  await once(server, "listening");
  origin = `http://127.0.0.1:${server.address().port}`;
  worker = await startWorker({
    settings: {
      CLIENT_REGISTRATION: "open",
      CLIENT_ID_METADATA_DOCUMENTS: "on",
      SESSION_COOKIE_CACHE_SECONDS: "0",
      SESSION_RECHECK_SECONDS: "0",
    },
  });
  await seedDomain(worker, await seedTenant(worker, { slug: "acme" }), "login.acme.localhost");
  await seedApp(worker, "app.localhost", { origin: `${origin}/base` });
  admin = await signUp(worker, { roles: ["owner"] });
});
after(async () => {
  await worker?.dispose();
  server?.close();
});

const own = () => [
  ["the auth host", `${AUTH}/x`],
  ["a tenant's host", "http://login.acme.localhost/x"],
  ["a protected host", "http://app.localhost/x"],
  ["in capitals and with a dot", "http://APP.localhost./x"],
  ["an origin behind the gate", `${origin}/secret`],
  ["the same in capitals", `${origin.replace("http:", "HTTP:")}/`],
];
const client = (more) => ({ client_name: "One", redirect_uris: ["https://spa.example/callback"], ...more });

test("a client's keys and back channel are on no host of ours", async () => {
  for (const [name, url] of own()) {
    for (const metadata of [{ backchannel_logout_uri: url }, { token_endpoint_auth_method: "private_key_jwt", jwks_uri: url }]) {
      const answer = await worker.browser().send("POST", `${AUTH}/oauth2/register`, { body: client(metadata) });
      assert.deepEqual([answer.status, answer.json.error], [400, "invalid_client_metadata"], `${name}: ${answer.text}`);
      assert.match(answer.json.error_description, /a host of this server's own/, name);
    }
  }
  for (const url of ["https://elsewhere.example/keys", "http://127.0.0.1:9/keys"]) {
    const answer = await worker.browser().send("POST", `${AUTH}/oauth2/register`, {
      body: client({ token_endpoint_auth_method: "private_key_jwt", jwks_uri: url, backchannel_logout_uri: url }),
    });
    assert.equal(answer.status, 201, answer.text);
  }
});

test("a client that changes itself does not move to a host of ours either", async () => {
  const made = (await worker.browser().send("POST", `${AUTH}/oauth2/register`, { body: client({ token_endpoint_auth_method: "none" }) }))
    .json;
  const { client_id } = made;
  const headers = { authorization: `Bearer ${made.registration_access_token}` };
  const body = client({ client_id, token_endpoint_auth_method: "none", backchannel_logout_uri: "http://app.localhost/x" });
  const answer = await worker.browser().send("PUT", `${AUTH}/oauth2/register/${client_id}`, { body, headers });
  assert.deepEqual([answer.status, answer.json.error], [400, "invalid_client_metadata"], answer.text);
});

test("an issuer is on no host of ours, and none of its endpoints is", async () => {
  for (const [name, url] of own()) {
    const bodies = [
      [{ serviceType: "oidc", baseUrl: url }, "baseUrl"],
      [
        {
          serviceType: "oauth2",
          mapping: { subject: "id" },
          endpoints: { authorization_endpoint: "https://a.example/", token_endpoint: url, userinfo_endpoint: "https://a.example/" },
        },
        "endpoints.token_endpoint",
      ],
    ];
    for (const [body, field] of bodies) {
      const answer = await admin.browser.post(`${AUTH}/api/auth/admin/issuers`, { name: "evil", label: "Evil", clientId: "us", ...body });
      assert.equal(answer.status, 400, `${name}: ${answer.text}`);
      assert.ok(
        answer.json.message.includes(`[body.${field}]`) && answer.json.message.includes("a host of this server's own"),
        `${name}: ${answer.text}`,
      );
    }
  }
});

test("what became ours after it was registered is not asked, and the log says why", async () => {
  const made = await worker.browser().send("POST", `${AUTH}/oauth2/register`, {
    body: client({ token_endpoint_auth_method: "private_key_jwt", jwks_uri: "https://elsewhere.example/keys" }),
  });
  const { client_id } = made.json;
  await worker.d1.prepare("update oauth_client set jwks_uri = ? where client_id = ?").bind(`${origin}/secret`, client_id).run();
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: client_id, sub: client_id, aud: AUTH, jti: "j", iat: now, exp: now + 60 };
  const assertion = `${part({ alg: "ES256", kid: "x" })}.${part(claims)}.${"A".repeat(86)}`;
  const before = asked.length;
  const answer = await worker.browser().submit(`${AUTH}/oauth2/token`, {
    grant_type: "authorization_code",
    code: "x".repeat(43),
    client_id,
    client_assertion: assertion,
    client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
  });
  assert.equal(answer.status, 401, answer.text);
  assert.ok(!answer.text.includes("own"), "the wire says no more than that the client is not good");
  assert.equal(asked.length, before, "the origin was asked past the gate");
  assert.match(worker.logs(), /secret: a host of this server's own, or an origin behind its gate/);
});

test("a client's own document is read from no host of ours", async () => {
  const before = asked.length;
  for (const [name, url] of own()) {
    const query = new URLSearchParams({ client_id: url, response_type: "code", redirect_uri: "https://spa.example/callback" });
    const answer = await worker.browser().get(`${AUTH}/oauth2/authorize?${query}`, { headers: { accept: "text/html" } });
    assert.equal(answer.status, 400, `${name}: ${answer.status}`);
  }
  assert.equal(asked.length, before);
});

test("the Worker is deployed so that what it asks of its own zone comes in by the front door", () => {
  const { compatibility_flags } = parse(readFileSync(new URL("../../wrangler.toml", import.meta.url), "utf8"));
  assert.deepEqual(compatibility_flags, ["global_fetch_strictly_public"]);
});
