// npm `oidc-provider`, a certified OpenID Provider, as the issuer that people sign in with.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { CLIENT, startProvider } from "../../examples/provider/server.mjs";
import { Browser } from "../harness/browser.mjs";
import { addIssuer } from "../harness/issuer.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

let worker;
before(async () => {
  worker = await startWorker();
});
after(() => worker?.dispose());

const CONFIGURATIONS = {
  rs256: { algorithm: "RS256" },
  es256: { algorithm: "ES256" },
  post: { client: { token_endpoint_auth_method: "client_secret_post" }, columns: { basic_auth: 0 } },
  public: { client: { token_endpoint_auth_method: "none", client_secret: undefined }, columns: { client_secret_sealed: null } },
};

/** Signs in at the provider's own pages, and answers the URL that it sends the browser back to. */
async function signInAtProvider(url, login) {
  const browser = new Browser(Number(new URL(url).port));
  const within = (next) => next.origin === new URL(url).origin;
  let answer = await browser.open(url, { within });
  for (const form of [{ prompt: "login", login, password: "any" }, { prompt: "consent" }]) {
    if (!within(new URL(answer.url))) break;
    const [, action] = answer.text.match(/action="([^"]+)"/);
    const posted = await browser.submit(new URL(action, answer.url).href, form);
    answer = await browser.open(new URL(posted.location, answer.url).href, { within });
  }
  browser.close();
  return answer.url;
}

for (const [name, { columns, ...options }] of Object.entries(CONFIGURATIONS)) {
  test(`signs in with ${name}, and again after its keys are rotated`, async () => {
    const provider = await startProvider({ redirectUris: [`${AUTH}/api/auth/callback/${name}`], ...options });
    try {
      await addIssuer(worker.d1, provider.issuer, { name, client_id: CLIENT.id, ...columns });
      for (const round of ["first", "rotated"]) {
        const browser = worker.browser();
        const begun = await browser.post(`${AUTH}/api/auth/sign-in/social`, { provider: name, callbackURL: "/done" });
        assert.equal(begun.status, 200, begun.text);
        const callback = await signInAtProvider(begun.json.url, "carol");
        assert.match(callback, /[?&]iss=/, "the provider names itself (RFC 9207)");
        const answer = await browser.get(callback);
        assert.equal(answer.location, "/done", `${round}: ${worker.logs().slice(-500)}`);
        const { user } = (await browser.get(`${AUTH}/api/auth/get-session`)).json;
        assert.deepEqual([user.email, user.name, user.emailVerified], ["carol@example.org", "Carol Example", true]);
        provider.rotateKeys();
      }
    } finally {
      await provider.stop();
    }
  });
}

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
