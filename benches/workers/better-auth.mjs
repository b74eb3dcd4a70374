import { env, waitUntil } from "cloudflare:workers";
import { betterAuth } from "better-auth";
import { options } from "./better-auth-options.mjs";

const secondaryStorage = {
  get: (key) => env.SESSIONS.get(key),
  set: (key, value, ttl) => env.SESSIONS.put(key, value, ttl ? { expirationTtl: Math.max(60, Math.floor(ttl)) } : {}),
  delete: (key) => env.SESSIONS.delete(key),
  getAndDelete: async (key) => {
    const value = await env.SESSIONS.get(key);
    await env.SESSIONS.delete(key);
    return value;
  },
  increment: () => {
    throw new Error("KV cannot count");
  },
};
const common = {
  ...options,
  database: env.DB,
  // Checking the schema reads the database, which a Worker may not do while it starts.
  advanced: { backgroundTasks: { handler: waitUntil }, database: { validateSchema: false } },
};

// One instance per way to keep sessions, each made once per isolate.
const instances = {
  d1: betterAuth(common),
  kv: betterAuth({ ...common, secondaryStorage }),
  cookie: betterAuth({ ...common, session: { cookieCache: { enabled: true, maxAge: 86_400 } } }),
};

export default {
  fetch: (request) => instances[request.headers.get("Bench-Sessions")].handler(request),
};
