// People who sign in by more than a password.

import assert from "node:assert/strict";
import { Authenticator } from "./authenticator.mjs";
import { PASSWORD } from "./seed.mjs";
import { readUri, totp } from "./totp.mjs";
import { AUTH } from "./worker.mjs";

const at = (path) => `${AUTH}/api/auth${path}`;

/** Gives somebody an authenticator app; answers what makes its codes. A step is good once, so each code says that none was used. */
export async function withApp(worker, { browser, id }) {
  const { seed } = readUri((await browser.post(at("/two-factor/enable"), { password: PASSWORD })).json.totpURI);
  const rested = () => worker.d1.prepare("update two_factor set last_used_step = 0 where user_id = ?").bind(id).run();
  const verified = await browser.post(at("/two-factor/verify-totp"), { code: totp(seed) });
  assert.equal(verified.status, 200, verified.text);
  await rested();
  return async () => {
    await rested();
    return totp(seed);
  };
}

/** Gives somebody a passkey; answers how they sign in with it, in a browser of their own unless one is given. */
export async function withPasskey(worker, { browser }) {
  const authenticator = new Authenticator({ origin: AUTH });
  const made = authenticator.create((await browser.get(at("/passkey/generate-register-options"))).json);
  assert.equal((await browser.post(at("/passkey/verify-registration"), { response: made })).status, 200);
  return async (entering = worker.browser()) => {
    const response = authenticator.get((await entering.get(at("/passkey/generate-authenticate-options"))).json);
    const answer = await entering.post(at("/passkey/verify-authentication"), { response });
    assert.equal(answer.status, 200, answer.text);
    return entering;
  };
}
