// A Worker on bare `workerd serve`.

import { mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { launch } from "./process.mjs";

const { default: WORKERD, compatibilityDate } = createRequire(import.meta.url)("workerd");

// What a contender's `bindings` may hold besides text.
export const D1 = Symbol("D1");
export const KV = Symbol("KV");

export const text = (value) => `"${value.replace(/[\\"]/g, "\\$&").replaceAll("\n", "\\n")}"`;

// Starts workerd on a configuration of one socket.
export function serve(directory, config) {
  const file = join(directory, "config.capnp");
  writeFileSync(file, `using Workerd = import "/workerd/workerd.capnp";\nconst config :Workerd.Config = ${config};\n`);
  return launch(WORKERD, ["serve", "--experimental", "--control-fd=3", file]);
}

// Modules as `(name = …, esModule = embed …)`: `embed` reads only below the configuration's own directory.
export function embed(directory, modules) {
  mkdirSync(directory, { recursive: true });
  return modules
    .map(({ name, type, contents }, index) => {
      writeFileSync(join(directory, `module-${index}`), contents);
      return `(name = ${text(name)}, ${type} = embed "module-${index}")`;
    })
    .join(", ");
}

export function serveContender(directory, { name, modules, bindings = {} }, storagePort) {
  const binding = ([key, value]) => {
    if (value === KV) return `(name = "${key}", kvNamespace = "kv")`;
    if (value !== D1) return `(name = "${key}", text = ${text(value)})`;
    return `(name = "${key}", wrapped = (moduleName = "cloudflare-internal:d1-api",
      innerBindings = [(name = "fetcher", service = "d1")]))`;
  };
  const storage = (kind) => `(name = "${kind}", external = (address = "127.0.0.1:${storagePort}", http = (
    injectRequestHeaders = [(name = "Bench-Storage", value = "${kind}"), (name = "MF-Namespace", value = ${text(name)})])))`;
  return serve(
    directory,
    `(
  services = [
    (name = "main", worker = (
      modules = [${embed(directory, modules)}],
      compatibilityDate = "${compatibilityDate}",
      bindings = [${Object.entries(bindings).map(binding).join(",\n")}])),
    (name = "internet", network = (allow = ["public", "private"])),
    ${storage("d1")},
    ${storage("kv")}],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")])`,
  );
}
