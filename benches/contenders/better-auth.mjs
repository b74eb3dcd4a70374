import { getMigrations } from "better-auth/db/migration";
import { bundle } from "../bundle.mjs";
import { ORIGIN, options } from "../workers/better-auth-options.mjs";
import { D1, KV } from "../workerd.mjs";

const host = new URL(ORIGIN).host;
const email = "bench@example.com";
const password = "correct horse battery staple";
const json = { "content-type": "application/json", origin: ORIGIN };

async function signedUp(client, sessions, address) {
  const headers = { ...json, "bench-sessions": sessions };
  const body = JSON.stringify({ name: "Bench", email: address, password });
  const answer = await client.send({ method: "POST", host, path: "/api/auth/sign-up/email", headers, body });
  if (answer.status !== 200) throw new Error(`better-auth: sign-up answered ${answer.status}: ${answer.body}`);
  return { "bench-sessions": sessions, cookie: client.cookies(host) };
}

const session = (sessions) => async (client) => ({
  host,
  path: "/api/auth/get-session",
  headers: await signedUp(client, sessions, `${sessions}@example.com`),
});

export default {
  name: "better-auth",
  modules: () => bundle(new URL("../workers/better-auth.mjs", import.meta.url)),
  bindings: { DB: D1, SESSIONS: KV },
  async seed({ d1 }) {
    // Here, because Node warns of it wherever it is loaded.
    const { DatabaseSync } = await import("node:sqlite");
    const { compileMigrations } = await getMigrations({ ...options, database: new DatabaseSync(":memory:") });
    const statements = (await compileMigrations()).split(";").filter((sql) => sql.trim());
    await d1.batch(statements.map((sql) => d1.prepare(sql)));
  },
  first: { host, path: "/api/auth/ok", headers: { "bench-sessions": "d1" } },
  scenarios: [
    { name: "get-session, cookie cache", group: "session from the cookie", prepare: session("cookie"), answer: /"user":{/ },
    { name: "get-session, KV", group: "session from KV", prepare: session("kv"), answer: /"user":{/ },
    { name: "get-session, D1", group: "session from D1", prepare: session("d1"), answer: /"user":{/ },
    {
      name: "token",
      group: "token",
      prepare: async (client) => ({
        host,
        path: "/api/auth/token",
        headers: await signedUp(client, "d1", "token@example.com"),
      }),
      answer: /"token":"ey/,
    },
    {
      name: "sign-in",
      group: "sign-in",
      requests: "hashing",
      async prepare(client) {
        await signedUp(client, "d1", email);
        const headers = { ...json, "bench-sessions": "d1" };
        const body = JSON.stringify({ email, password });
        return { method: "POST", host, path: "/api/auth/sign-in/email", headers, body };
      },
      answer: /"token":/,
    },
    {
      name: "sign-up",
      group: "sign-up",
      requests: "hashing",
      prepare: () => (index) => ({
        method: "POST",
        host,
        path: "/api/auth/sign-up/email",
        headers: { ...json, "bench-sessions": "d1" },
        body: JSON.stringify({ name: "Bench", email: `bench-${index}@example.com`, password }),
      }),
      answer: /"token":/,
    },
  ],
};
