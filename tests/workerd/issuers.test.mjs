// Issuers kept at run time: the admin API, and what each setting does.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { CLIENT } from "../../examples/provider/server.mjs";
import { startIssuer } from "../harness/issuer.mjs";
import { signUp } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const at = (path) => `${AUTH}/api/auth${path}`;
let worker, issuer, admin;
before(async () => {
  issuer = await startIssuer();
  worker = await startWorker();
  admin = await signUp(worker, { roles: ["admin"] });
});
after(async () => {
  await worker?.dispose();
  await issuer?.stop();
});

const create = (body = {}, who = admin) => who.browser.post(at("/admin/issuers"), {
  name: `i${Math.random().toString(36).slice(2)}`, label: "Acme", baseUrl: issuer.url, clientId: CLIENT.id, clientSecret: CLIENT.secret, global: true, ...body,
});
const send = (method, path, body, who = admin) => who.browser.send(method, at(path), { body, headers: { origin: AUTH } });

test("an issuer is added without a redeploy, and signs people in at once", async () => {
  const made = await create({ name: "fresh", trustEmail: true });
  assert.equal(made.status, 201, made.text);
  assert.equal(made.json.discoveryProblem, null);
  assert.equal(made.json.discoveredEndpoints.token_endpoint, `${issuer.url}/token`);
  assert.deepEqual(made.json.scopesSupported, ["openid", "email", "profile"]);
  assert.ok(!made.text.includes(CLIENT.secret));
  const browser = worker.browser();
  const begun = await browser.post(at("/sign-in/social"), { provider: "fresh", callbackURL: "/done" });
  assert.equal(begun.status, 200, begun.text);
  const answer = await fetch(begun.json.url, { redirect: "manual" });
  const back = await browser.get(answer.headers.get("location"));
  assert.equal(back.location, "/done", worker.logs().slice(-400));

  const changed = await send("PATCH", `/admin/issuers/${made.json.id}`, { enabled: false });
  assert.equal(changed.status, 200, changed.text);
  assert.equal((await worker.browser().post(at("/sign-in/social"), { provider: "fresh" })).status, 404);
  assert.equal((await send("GET", `/admin/issuers/${made.json.id}`)).json.enabled, false);
  assert.ok((await send("GET", "/admin/issuers")).json.issuers.some(({ id }) => id === made.json.id));
  assert.equal((await send("DELETE", `/admin/issuers/${made.json.id}`)).json.code, "ISSUER_IN_USE");
  assert.equal((await send("DELETE", `/admin/issuers/${made.json.id}?force=true`)).status, 200);
  assert.equal((await send("GET", `/admin/issuers/${made.json.id}`)).status, 404);
});
