// An OpenID Provider to sign in with, for development and tests: npm `oidc-provider`, and a few people. Its own pages
// take any password.

import { generateKeyPairSync, randomUUID } from "node:crypto";
import http from "node:http";
import { pathToFileURL } from "node:url";
import Provider from "oidc-provider";

const PEOPLE = {
  carol: { email: "carol@example.org", email_verified: true, name: "Carol Example", given_name: "Carol", family_name: "Example" },
  mallory: { email: "alice@example.com", email_verified: false, name: "Mallory" },
};

export const CLIENT = { id: "doorward", secret: "a secret between doorward and the demo provider" };

const KEYS = {
  ES256: () => generateKeyPairSync("ec", { namedCurve: "P-256" }),
  EdDSA: () => generateKeyPairSync("ed25519"),
};

function key(alg) {
  const pair = KEYS[alg]?.() ?? generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { ...pair.privateKey.export({ format: "jwk" }), kid: randomUUID(), alg, use: "sig" };
}

/** Starts a provider on loopback. `options.configuration` is merged into its own. */
export async function startProvider({ port = 0, redirectUris, people = PEOPLE, algorithm = "RS256", configuration = {}, client = {} }) {
  const server = http.createServer();
  await new Promise((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
  const issuer = `http://localhost:${server.address().port}`;
  const make = (keys) => {
    const provider = new Provider(issuer, {
      clients: [
        {
          client_id: CLIENT.id,
          client_secret: CLIENT.secret,
          redirect_uris: redirectUris,
          id_token_signed_response_alg: algorithm,
          grant_types: ["authorization_code", "refresh_token"],
          ...client,
        },
      ],
      claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "given_name", "family_name", "picture"] },
      findAccount: (_ctx, sub) => ({ accountId: sub, claims: () => ({ sub, ...(people[sub] ?? { name: sub }) }) }),
      jwks: { keys },
      cookies: { keys: [randomUUID()] },
      pkce: { required: () => true },
      ...configuration,
    });
    provider.on("server_error", (_ctx, error) => console.error("provider:", error));
    return provider;
  };
  let keys = [key(algorithm)];
  let handle = make(keys).callback();
  server.on("request", (request, response) => handle(request, response));
  return {
    issuer,
    people,
    /** New keys from now on; those before are gone. */
    rotateKeys() {
      keys = [key(algorithm)];
      handle = make(keys).callback();
    },
    stop: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(resolve);
      }),
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const auth = process.env.AUTH_ORIGIN ?? "http://localhost:8787";
  const provider = await startProvider({ port: Number(process.env.PORT ?? 8789), redirectUris: [`${auth}/api/auth/callback/demo`] });
  console.log(`provider on ${provider.issuer}`);
}
