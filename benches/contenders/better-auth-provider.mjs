import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { bundle } from "../bundle.mjs";
import { EMAIL, METADATA, RESOURCE, RelyingParty, providerScenarios } from "../provider.mjs";
import { ORIGIN } from "../workers/better-auth-options.mjs";
import { withProvider } from "../workers/better-auth-provider-options.mjs";
import { D1 } from "../workerd.mjs";

const host = new URL(ORIGIN).host;
const at = (path) => `/api/auth/oauth2/${path}`;
const paths = { authorize: at("authorize"), token: at("token"), userinfo: at("userinfo"), introspect: at("introspect") };
const person = { email: EMAIL, password: "correct horse battery staple" };
let added;

export default {
  name: "better-auth-provider",
  modules: () => bundle(new URL("../workers/better-auth-provider.mjs", import.meta.url)),
  bindings: { DB: D1 },
  // A client that nobody is asked about is added by a program, not by a request: to a database here, which is copied.
  async seed({ d1 }) {
    // Here, because Node warns of it wherever it is loaded.
    const { DatabaseSync } = await import("node:sqlite");
    const database = new DatabaseSync(":memory:");
    const options = { ...withProvider({ resources: [RESOURCE], clientPrivileges: () => true }), database };
    const { compileMigrations, runMigrations } = await getMigrations(options);
    const statements = (await compileMigrations()).split(";").filter((sql) => sql.trim());
    await runMigrations();
    const { api } = betterAuth(options);
    const { headers } = await api.signUpEmail({ body: { name: "Bench", ...person }, returnHeaders: true });
    const cookie = headers
      .getSetCookie()
      .map((line) => line.split(";")[0])
      .join("; ");
    const body = { ...METADATA, skip_consent: true, client_credentials_scopes: ["reports"] };
    added = await api.adminCreateOAuthClient({ body, headers: new Headers({ cookie }) });
    const copies = ["user", "account", "oauthClient", "oauthResource"].flatMap((table) =>
      database
        .prepare(`select * from "${table}"`)
        .all()
        .map((row) => {
          const names = Object.keys(row).map((name) => `"${name}"`);
          return d1.prepare(`insert into "${table}" (${names}) values (${names.map(() => "?")})`).bind(...Object.values(row));
        }),
    );
    await d1.batch([...statements.map((sql) => d1.prepare(sql)), ...copies]);
  },
  first: { host, path: "/api/auth/ok" },
  scenarios: providerScenarios(async (browser) => {
    const headers = { "content-type": "application/json", origin: ORIGIN };
    const answer = await browser.send({ method: "POST", host, path: "/api/auth/sign-in/email", headers, body: JSON.stringify(person) });
    if (answer.status !== 200) throw new Error(`sign-in answered ${answer.status}: ${answer.body}`);
    return new RelyingParty({ browser, host, paths, id: added.client_id, secret: added.client_secret });
  }),
};
