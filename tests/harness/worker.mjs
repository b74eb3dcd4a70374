// The built Worker on the real runtime, with scratch D1 and KV of its own: isolated, so test files run side by side.

import { once } from "node:events";
import { readFileSync } from "node:fs";
import net from "node:net";
import { Miniflare } from "miniflare";
import { Browser } from "./browser.mjs";
import { applyMigrations } from "./d1.mjs";

const BUILD = new URL("../../build/", import.meta.url);
export const AUTH = "http://auth.localhost";
export const SPA = "http://spa.localhost:5173";
export const DEFAULT_TENANT = "00000000-0000-7000-8000-000000000001";

export const SETTINGS = {
  AUTH_ORIGIN: AUTH,
  TRUSTED_ORIGINS: SPA,
  DEVELOPMENT: "true",
  SECRETS: "only for tests: 0123456789abcdef0123456789abcdef",
  // Tests add hosts while the Worker runs, and sign in faster than people.
  ROUTING_CACHE_SECONDS: "0",
  // People of tests sign up and go in; what an unproven address may not is in websites.test.mjs.
  WEBSITES_NEED_VERIFIED_EMAIL: "off",
  LIMIT_SIGN_IN: "10000/60",
  LIMIT_SIGN_IN_ACCOUNT: "10000/60",
  LIMIT_SIGN_UP: "10000/60",
  LIMIT_CHANGE_PASSWORD: "10000/60",
  LIMIT_CHALLENGE: "10000/60",
  LIMIT_FLOW: "10000/60",
  LIMIT_MAIL_ADDRESS: "10000/60",
};

function file(name) {
  try {
    return readFileSync(new URL(name, BUILD));
  } catch {
    throw new Error(`build/${name} is missing: run npm run build`);
  }
}

/** A port that nobody listens on, for what must know its own before it starts. */
export async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/**
 * Starts the Worker. `settings` replace those above; `null` takes one away. `workers` are reached by service binding;
 * `databases` are bindings of further databases, for tenants of their own. `main` is the text of a module that stands in
 * front of the Worker's own, `./index.js`. With `https` its port speaks TLS.
 */
export async function startWorker({ settings = {}, workers = {}, databases = [], migrate = true, port = 0, main, https = false } = {}) {
  const texts = Object.entries({ ...SETTINGS, ...settings }).filter(([, value]) => value !== null);
  const env = Object.fromEntries(texts.map(([name, value]) => [name, { type: "text", value }]));
  for (const name of databases) env[name] = { type: "d1" };
  for (const name of Object.keys(workers)) env[name] = { type: "worker", worker: name.toLowerCase() };
  // As in wrangler.toml.
  const base = { compatibilityDate: "2026-10-01", compatibilityFlags: ["global_fetch_strictly_public"] };
  const logs = [];
  const mf = new Miniflare({
    enableDevRegistry: false,
    cf: false,
    host: "127.0.0.1",
    port,
    https,
    logRequests: false,
    handleStructuredLogs: ({ message }) => logs.push(message),
    workers: [
      {
        config: {
          ...base,
          name: "doorward",
          manifest: {
            mainModule: main ? "main.js" : "index.js",
            modules: {
              ...(main && { "main.js": { type: "esm", contents: main } }),
              "index.js": { type: "esm", contents: file("index.js").toString() },
              "index_bg.wasm": { type: "wasm", contents: new Uint8Array(file("index_bg.wasm")) },
            },
          },
          env: { ...env, DB: { type: "d1" }, SESSIONS: { type: "kv" } },
        },
        // Tests play clients of several addresses, which only Cloudflare may name otherwise.
        dev: { stripCfConnectingIp: false },
      },
      ...Object.entries(workers).map(([name, script]) => ({
        config: {
          ...base,
          name: name.toLowerCase(),
          manifest: { mainModule: "index.mjs", modules: { "index.mjs": { type: "esm", contents: script } } },
        },
      })),
    ],
  });
  const url = await mf.ready;
  const d1 = await mf.getD1Database("DB", "doorward");
  const kv = await mf.getKVNamespace("SESSIONS", "doorward");
  const further = Object.fromEntries(await Promise.all(databases.map(async (name) => [name, await mf.getD1Database(name, "doorward")])));
  for (const one of [d1, ...Object.values(further)]) if (migrate) await applyMigrations(one);
  return {
    port: Number(url.port),
    d1,
    /** The further databases, by their bindings. */
    databases: further,
    kv,
    /** What the Worker logged so far. */
    logs: () => logs.join("\n"),
    /** A browser without cookies, at an address of its own. */
    browser: (options) => new Browser(Number(url.port), { secure: https, ...options }),
    rows: async (sql, ...values) =>
      (
        await d1
          .prepare(sql)
          .bind(...values)
          .all()
      ).results,
    /** Asks by https, which the port does not speak. */
    fetch: (url, init) => mf.dispatchFetch(url, { redirect: "manual", ...init }),
    /** Runs what cron runs. */
    scheduled: async () => (await mf.getWorker("doorward")).scheduled({ cron: "*/5 * * * *" }),
    dispose: () => mf.dispose(),
  };
}
