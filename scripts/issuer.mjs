// Prints the SQL that adds an OpenID Provider to sign in with. The client secret is sealed with the Worker's SECRETS,
// so both are read from the environment, and neither is printed.
//
//   SECRETS=… CLIENT_SECRET=… npm run --silent issuer -- --name acme --label Acme --url https://acme.example --client-id …

import { randomUUID } from "node:crypto";
import { parseArgs } from "node:util";
import { seal } from "./keyring.mjs";

const { values } = parseArgs({
  options: {
    name: { type: "string" },
    label: { type: "string" },
    url: { type: "string" },
    "client-id": { type: "string" },
    scopes: { type: "string", default: "openid email profile" },
    "trust-email": { type: "boolean", default: false },
  },
});
const missing = ["name", "url", "client-id"].filter((name) => !values[name]);
const secrets = process.env.SECRETS ?? "";
if (secrets.split(",")[0].trim().length < 32) missing.push("SECRETS (the Worker's own, at least 32 characters)");
if (missing.length > 0) {
  console.error(`missing: ${missing.join(", ")}`);
  process.exit(1);
}

const id = randomUUID();
const secret = process.env.CLIENT_SECRET;
const row = {
  id,
  name: values.name.toLowerCase(),
  login_page_name: values.label ?? values.name,
  base_url: values.url,
  client_id: values["client-id"],
  client_secret_sealed: secret ? seal(secrets, { table: "issuer", column: "client_secret_sealed", row: id }, secret) : null,
  login_scopes: values.scopes,
  trust_email: values["trust-email"] ? 1 : 0,
  created_at: Date.now(),
  updated_at: Date.now(),
};
const quote = (value) => (value === null ? "null" : typeof value === "number" ? value : `'${value.replaceAll("'", "''")}'`);
console.log(`insert into issuer (${Object.keys(row).join(", ")}) values (${Object.values(row).map(quote).join(", ")});`);
