import { jwt } from "better-auth/plugins";

export const ORIGIN = "http://auth.localhost";

export const options = {
  baseURL: ORIGIN,
  secret: "a secret for the benchmark, of 32 bytes or more",
  emailAndPassword: { enabled: true },
  rateLimit: { enabled: false },
  telemetry: { enabled: false },
  logger: { level: "error" },
  // Without `disableSettingJwtHeader` every get-session would sign a JWT too.
  plugins: [jwt({ disableSettingJwtHeader: true, jwks: { keyPairConfig: { alg: "ES256" } } })],
};
