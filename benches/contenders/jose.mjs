import { SignJWT, exportJWK, generateKeyPair } from "jose";
import { bundle } from "../bundle.mjs";
import { Client } from "../client.mjs";
import doorward from "../doorward.mjs";
import { ORIGIN, host, relyingParty } from "../person.mjs";
import { RESOURCE } from "../provider.mjs";

const { publicKey, privateKey } = await generateKeyPair("ES256");
const token = await new SignJWT({ sub: "user" })
  .setProtectedHeader({ alg: "ES256" })
  .setIssuer("https://auth.example")
  .setAudience("app")
  .setExpirationTime("1d")
  .sign(privateKey);
const bearer = (token) => ({ authorization: `Bearer ${token}` });
let accessToken;

export default {
  name: "jose",
  modules: () => bundle(new URL("../workers/jose.mjs", import.meta.url)),
  bindings: { PUBLIC_KEY: JSON.stringify(await exportJWK(publicKey)), ISSUER: ORIGIN, RESOURCE },
  // A Doorward gives an access token and its keys (a resource keeps those), and is gone.
  async seed(context) {
    await doorward.seed(context);
    const bindings = { ...doorward.bindings, ACCESS_TOKEN_SECONDS: "86400" };
    const issuer = await context.serve({ ...doorward, modules: await doorward.modules(), bindings });
    const browser = new Client(issuer.port);
    const party = await relyingParty(browser, context);
    accessToken = (await party.tokens({ resource: RESOURCE })).access_token;
    const { body } = await browser.send({ host, path: "/api/auth/jwks" });
    await issuer.stop();
    return { JWKS: body };
  },
  first: { path: "/", headers: bearer(token) },
  scenarios: [
    { name: "verify an ES256 JWT", group: "jwt", prepare: () => ({ path: "/", headers: bearer(token) }), answer: /"user"/ },
    {
      name: "verify an access token of Doorward",
      group: "jwt",
      prepare: () => ({ path: "/resource", headers: bearer(accessToken) }),
      answer: { sub: /./, client_id: /./, scope: /\bopenid\b/ },
    },
  ],
};
