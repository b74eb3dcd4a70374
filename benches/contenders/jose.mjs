import { SignJWT, exportJWK, generateKeyPair } from "jose";
import { bundle } from "../bundle.mjs";

const { publicKey, privateKey } = await generateKeyPair("ES256");
const token = await new SignJWT({ sub: "user" })
  .setProtectedHeader({ alg: "ES256" })
  .setIssuer("https://auth.example")
  .setAudience("app")
  .setExpirationTime("1d")
  .sign(privateKey);
const headers = { authorization: `Bearer ${token}` };

export default {
  name: "jose",
  modules: () => bundle(new URL("../workers/jose.mjs", import.meta.url)),
  bindings: { PUBLIC_KEY: JSON.stringify(await exportJWK(publicKey)) },
  first: { path: "/", headers },
  scenarios: [{ name: "verify an ES256 JWT", group: "jwt", prepare: () => ({ path: "/", headers }), answer: /"user"/ }],
};
