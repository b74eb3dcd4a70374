// The demo of `npm run dev` on free ports: the Worker, the website of examples/ behind it, and a real OpenID Provider.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { startProvider } from "../../examples/provider/server.mjs";
import { seedSql } from "../../scripts/seed.mjs";
import { splitStatements } from "./d1.mjs";
import { SETTINGS, freePort, startWorker } from "./worker.mjs";

const WEBSITE = fileURLToPath(new URL("../../examples/website/server.mjs", import.meta.url));

export async function startDemo({ settings = {} } = {}) {
  const [port, websitePort] = [await freePort(), await freePort()];
  // What `npm run dev` uses too: the website must reach it by a name that every resolver knows.
  const auth = `http://localhost:${port}`;
  const website = `http://app.localhost:${port}`;
  const provider = await startProvider({ redirectUris: [`${auth}/api/auth/callback/demo`] });
  const worker = await startWorker({ port, settings: { AUTH_ORIGIN: auth, ...settings } });
  const sql = seedSql({ secrets: SETTINGS.SECRETS, websitePort, providerPort: new URL(provider.issuer).port });
  await worker.d1.batch(splitStatements(sql).map((statement) => worker.d1.prepare(statement)));
  const env = { ...process.env, PORT: websitePort, AUTH_ORIGIN: auth };
  const site = spawn(process.execPath, [WEBSITE], { env, stdio: ["ignore", "pipe", "inherit"] });
  await once(site.stdout, "data");
  return {
    auth,
    website,
    worker,
    provider,
    async stop() {
      site.kill();
      await provider.stop();
      await worker.dispose();
    },
  };
}
