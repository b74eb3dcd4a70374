// What a build needs, and how it is set up where it is missing: Rust's wasm target and the npm packages.

import { spawn, spawnSync } from "node:child_process";
import { existsSync, statSync, utimesSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("..", import.meta.url));
export const BIN = path.join(ROOT, "node_modules", ".bin");

export function step(text) {
  console.log(`\x1b[2m» ${text}\x1b[0m`);
}

/** Runs a command, its output shown, and fails with it. */
export function run(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: ROOT, stdio: "inherit", ...options, env: { ...process.env, ...options.env } });
    child.on("error", (error) => reject(new Error(`${command}: ${error.message}`)));
    child.on("exit", (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`${path.basename(command)} ${args.join(" ")} ended with ${signal ?? code}`));
    });
  });
}

/** npm's packages, if they are not there or the lock has changed since. */
export async function preparePackages() {
  const lock = path.join(ROOT, "package-lock.json");
  const installed = path.join(ROOT, "node_modules", ".package-lock.json");
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(lock).mtimeMs) return;
  step("npm packages");
  await run("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"]);
  const now = new Date();
  utimesSync(installed, now, now);
}

/** wrangler and the tests need Node 22; npm's `node` package brings one for machines that have an older. */
export async function underNode22() {
  await preparePackages();
  if (Number(process.versions.node.split(".")[0]) >= 22) return;
  const child = spawn(path.join(BIN, "node"), process.argv.slice(1), { stdio: "inherit", env: withBin() });
  // Ctrl-C reaches both; the child decides when it is over.
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
  process.exit(await new Promise((resolve) => child.on("exit", (code) => resolve(code ?? 1))));
}

export function withBin(env = {}) {
  return { ...process.env, PATH: `${BIN}${path.delimiter}${process.env.PATH}`, WRANGLER_SEND_METRICS: "false", ...env };
}

function version(command) {
  const result = spawnSync(command, ["--version"], { encoding: "utf8" });
  return result.status === 0 ? result.stdout.trim().split(/\s+/).at(-1) : undefined;
}

/** Sets up everything that a build needs. */
export async function prepareTools() {
  if (version("cargo") === undefined) {
    throw new Error("Rust is missing. Install it with rustup: https://rustup.rs");
  }
  await preparePackages();
  const targets = spawnSync("rustup", ["target", "list", "--installed"], { cwd: ROOT, encoding: "utf8" });
  if (targets.status === 0 && !targets.stdout.includes("wasm32-unknown-unknown")) {
    step("Rust's wasm target");
    await run("rustup", ["target", "add", "wasm32-unknown-unknown"]);
  }
}
