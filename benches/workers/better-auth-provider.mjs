import { env, waitUntil } from "cloudflare:workers";
import { betterAuth } from "better-auth";
import { withProvider } from "./better-auth-provider-options.mjs";

const auth = betterAuth({
  ...withProvider(),
  database: env.DB,
  advanced: { backgroundTasks: { handler: waitUntil }, database: { validateSchema: false } },
});

export default { fetch: (request) => auth.handler(request) };
