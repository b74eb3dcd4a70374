import { env } from "cloudflare:workers";
import { createLocalJWKSet, importJWK, jwtVerify } from "jose";

const key = importJWK(JSON.parse(env.PUBLIC_KEY), "ES256");
const keys = createLocalJWKSet(JSON.parse(env.JWKS));

export default {
  async fetch(request) {
    const [, token] = request.headers.get("Authorization").split(" ");
    if (request.url.endsWith("/resource")) {
      const { payload } = await jwtVerify(token, keys, {
        issuer: env.ISSUER,
        audience: env.RESOURCE,
        typ: "at+jwt",
        algorithms: ["ES256"],
      });
      return Response.json({ sub: payload.sub, client_id: payload.client_id, scope: payload.scope });
    }
    const { payload } = await jwtVerify(token, await key, { issuer: "https://auth.example", audience: "app" });
    return Response.json({ sub: payload.sub });
  },
};
