import { RelyingParty, providerScenarios } from "../provider.mjs";

const host = "auth.localhost";
const [id, secret] = ["bench", "a-secret-for-the-benchmark"];
const paths = { authorize: "/auth", token: "/token", userinfo: "/me", introspect: "/token/introspection" };

export default {
  name: "oidc-provider",
  program: new URL("../workers/oidc-provider.mjs", import.meta.url),
  bindings: { CLIENT_ID: id, CLIENT_SECRET: secret },
  first: { host, path: "/ok" },
  // A session has one grant for a client: the next would end the one before.
  scenarios: providerScenarios((browser) => new RelyingParty({ browser, anew: true, host, paths, id, secret })),
};
