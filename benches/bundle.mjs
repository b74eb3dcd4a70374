// A contender's source as the modules that workerd loads.

import { existsSync, readFileSync } from "node:fs";
import { buildSync } from "esbuild";

// One minified module, resolved as wrangler resolves.
export function bundle(entry) {
  const { outputFiles } = buildSync({
    entryPoints: [entry.pathname],
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    target: "es2024",
    conditions: ["workerd", "worker", "browser"],
    external: ["node:*", "cloudflare:*"],
    define: { "process.env.NODE_ENV": '"production"' },
    logLevel: "error",
  });
  return [{ name: "index.js", type: "esModule", contents: outputFiles[0].contents }];
}

// What scripts/worker.mjs leaves in a crate's `build`.
export function wasm(folder) {
  const missing = ["index.js", "index_bg.wasm"].find((file) => !existsSync(new URL(file, folder)));
  if (missing) throw new Error(`${folder.pathname}${missing} does not exist: build that crate first`);
  return [
    { name: "index.js", type: "esModule", contents: readFileSync(new URL("index.js", folder)) },
    { name: "index_bg.wasm", type: "wasm", contents: readFileSync(new URL("index_bg.wasm", folder)) },
  ];
}
