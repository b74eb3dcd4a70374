import { env } from "cloudflare:workers";
import { importJWK, jwtVerify } from "jose";

const key = importJWK(JSON.parse(env.PUBLIC_KEY), "ES256");

export default {
  async fetch(request) {
    const [, token] = request.headers.get("Authorization").split(" ");
    const { payload } = await jwtVerify(token, await key, { issuer: "https://auth.example", audience: "app" });
    return Response.json({ sub: payload.sub });
  },
};
