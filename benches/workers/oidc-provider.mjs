// npm `oidc-provider` on Node: no Worker, but a program. It keeps everything in its own memory.

import { generateKeyPairSync, randomUUID } from "node:crypto";
import { writeSync } from "node:fs";
import { createServer } from "node:http";
import Provider from "oidc-provider";
import MemoryAdapter from "oidc-provider/lib/adapters/memory_adapter.js";
import LRU from "oidc-provider/lib/helpers/lru.js";
import { EMAIL, METADATA, RESOURCE } from "../provider.mjs";

const { CLIENT_ID, CLIENT_SECRET } = process.env;
// The adapter's own store forgets after a thousand entries: codes are laid in by more.
const store = new LRU({ maxSize: 1_000_000 });
const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const jwk = { ...privateKey.export({ format: "jwk" }), kid: randomUUID(), alg: "ES256", use: "sig" };

// Nobody is asked to agree, and each code has a grant of its own.
async function grant(context) {
  const made = new provider.Grant({ clientId: CLIENT_ID, accountId: context.oidc.session.accountId });
  made.addOIDCScope("openid profile email offline_access");
  made.addResourceScope(RESOURCE, METADATA.scope);
  await made.save();
  return made;
}

const provider = new Provider("http://auth.localhost", {
  adapter: (model) => new MemoryAdapter(model, store),
  jwks: { keys: [jwk] },
  cookies: { keys: [randomUUID()] },
  clients: [{ ...METADATA, client_id: CLIENT_ID, client_secret: CLIENT_SECRET, id_token_signed_response_alg: "ES256" }],
  scopes: METADATA.scope.split(" "),
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "updated_at"] },
  findAccount: (_, accountId) => ({
    accountId,
    claims: () => ({ sub: accountId, email: EMAIL, email_verified: false, name: "Bench", updated_at: 0 }),
  }),
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: (_, client, token) => token.clientId === client.clientId },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({ scope: METADATA.scope, accessTokenFormat: "jwt", jwt: { sign: { alg: "ES256" } } }),
    },
  },
  interactions: { url: (_, { uid }) => `/interaction/${uid}` },
  issueRefreshToken: () => true,
  loadExistingGrant: grant,
  pkce: { required: () => true },
  rotateRefreshToken: true,
  ttl: {
    AccessToken: 900,
    AuthorizationCode: 86_400,
    ClientCredentials: 900,
    Grant: 86_400,
    IdToken: 900,
    Interaction: 600,
    RefreshToken: 86_400,
    Session: 86_400,
  },
});
const handle = provider.callback();

const server = createServer((request, response) => {
  if (request.url === "/ok") return response.end("ok");
  if (!request.url.startsWith("/interaction/")) return handle(request, response);
  // Whoever comes is signed in, and comes back.
  return provider.interactionFinished(request, response, { login: { accountId: "bench" } });
});
server.listen(0, "127.0.0.1", () => writeSync(3, `${JSON.stringify({ event: "listen", port: server.address().port })}\n`));
