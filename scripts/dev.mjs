// `npm run dev`: sets up what is missing, builds, migrates and seeds the local D1, and starts the Worker beside a demo
// website and a demo OpenID Provider. Ctrl-C ends all of it.

import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { ROOT, run, step, underNode22, withBin } from "./tools.mjs";

await underNode22();
const { PASSWORD, PEOPLE, seedSql } = await import("./seed.mjs");

const PORT = { worker: 8787, website: 8788, provider: 8789 };
const AUTH = `http://localhost:${PORT.worker}`;
const STATE = path.join(ROOT, ".wrangler", "state");

/** Settings of this machine, written once. The secret is random: nothing that is published opens anything. */
function devVars() {
  const file = path.join(ROOT, ".dev.vars");
  if (!existsSync(file)) {
    const lines = {
      SECRETS: randomBytes(32).toString("base64url"),
      DEVELOPMENT: "true",
      AUTH_ORIGIN: AUTH,
      TRUSTED_ORIGINS: "http://localhost:5173,http://localhost:3000",
    };
    const text = Object.entries(lines)
      .map(([name, value]) => `${name}="${value}"\n`)
      .join("");
    writeFileSync(file, `# Settings of \`npm run dev\` on this machine. Not for production.\n${text}`, { mode: 0o600 });
    step("wrote .dev.vars with a random secret");
  }
  const secrets = readFileSync(file, "utf8").match(/^SECRETS\s*=\s*"?([^"\n]+)"?/m);
  if (!secrets) throw new Error(".dev.vars has no SECRETS. Delete the file, and it is written anew.");
  return secrets[1];
}

async function portIsFree(port) {
  const server = net.createServer();
  await new Promise((resolve, reject) => {
    server.once("error", () => reject(new Error(`port ${port} is in use. Is npm run dev running already?`)));
    server.listen(port, "127.0.0.1", resolve);
  });
  await new Promise((resolve) => server.close(resolve));
}

async function prepareDatabase(secrets) {
  const sql = seedSql({ secrets, websitePort: PORT.website, providerPort: PORT.provider });
  const migrations =
    readFileSync(path.join(ROOT, "scripts", "seed.mjs")).toString() +
    (await import("node:fs")).readdirSync(path.join(ROOT, "migrations")).join();
  const stamp = createHash("sha256").update(secrets).update(migrations).digest("hex");
  const marker = path.join(STATE, "seeded");
  if (existsSync(marker) && readFileSync(marker, "utf8") === stamp) return;
  step("migrations and demo data");
  mkdirSync(STATE, { recursive: true });
  const file = path.join(STATE, "seed.sql");
  writeFileSync(file, sql, { mode: 0o600 });
  const wrangler = (args) => run("wrangler", args, { env: withBin({ CI: "true" }), stdio: ["ignore", "ignore", "inherit"] });
  await wrangler(["d1", "migrations", "apply", "doorward", "--local"]);
  await wrangler(["d1", "execute", "doorward", "--local", "--yes", `--file=${file}`]);
  rmSync(file);
  writeFileSync(marker, stamp);
}

const children = [];

/** Starts something that runs until the end, in a process group of its own so that all of it can be ended. */
function start(name, command, args, env, ready) {
  const child = spawn(command, args, { cwd: ROOT, env: withBin(env), stdio: ["ignore", "pipe", "pipe"], detached: true });
  children.push(child);
  child.on("exit", (code) => {
    if (!ending) end(`${name} ended (${code})`, 1);
  });
  return new Promise((resolve) => {
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (data) => {
        output += data;
        if (ready.test(output)) resolve();
        for (const line of String(data).split("\n")) if (line.trim()) console.log(`\x1b[2m${name.padEnd(8)}│\x1b[0m ${line}`);
      });
    }
  });
}

let ending = false;
async function end(reason, code) {
  if (ending) return;
  ending = true;
  console.log(`\n${reason}`);
  const living = children.filter((child) => child.exitCode === null && child.signalCode === null);
  const gone = living.map((child) => new Promise((resolve) => child.once("exit", resolve)));
  const signal = (name) => {
    for (const child of living) {
      try {
        process.kill(-child.pid, name);
      } catch {
        // Gone already.
      }
    }
  };
  signal("SIGTERM");
  const patience = setTimeout(() => signal("SIGKILL"), 5000);
  await Promise.all(gone);
  // What a child leaves behind in its group goes as well.
  signal("SIGKILL");
  clearTimeout(patience);
  process.exit(code);
}
process.on("SIGINT", () => end("Stopped.", 0));
process.on("SIGTERM", () => end("Stopped.", 0));

try {
  const secrets = devVars();
  await Promise.all(Object.values(PORT).map(portIsFree));
  step("building the Worker (the first time takes some minutes)");
  await run(process.execPath, ["scripts/build.mjs"], { env: withBin() });
  await prepareDatabase(secrets);
  step("starting");
  await Promise.all([
    start("website", process.execPath, ["examples/website/server.mjs"], { PORT: PORT.website, AUTH_ORIGIN: AUTH }, /website on/),
    start("provider", process.execPath, ["examples/provider/server.mjs"], { PORT: PORT.provider, AUTH_ORIGIN: AUTH }, /provider on/),
    start(
      "doorward",
      "wrangler",
      ["dev", "--port", PORT.worker, "--show-interactive-dev-session=false", "--log-level=log"].map(String),
      { CI: "true" },
      /Ready on/,
    ),
  ]);
  console.log(`
  A protected website   http://app.localhost:${PORT.worker}
  The auth host         ${AUTH}
  Mails                 ${AUTH}/dev/mailbox

  ${PEOPLE.map((person) => `${person.email.padEnd(20)}  ${PASSWORD}   ${person.roles.join(", ")}`).join("\n  ")}
  At the demo provider, sign in as "carol", with any password.

  Ctrl-C ends everything.
`);
} catch (error) {
  await end(error.message, 1);
}
