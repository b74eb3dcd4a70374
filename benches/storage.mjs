// Miniflare's simulators of D1 and KV in a workerd of their own, so that a contender's process holds the contender alone.

import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { embed, serve, text } from "./workerd.mjs";

const MINIFLARE = join(dirname(createRequire(import.meta.url).resolve("miniflare")), "workers");
const module = (name, file, type = "esModule") => ({ name, type, contents: readFileSync(file) });

// As Miniflare's own plugins wire it: an entry Worker finds the Durable Object that is the database or namespace.
function simulator(directory, kind, className, source, entry) {
  const folder = join(directory, `${kind}-data`);
  mkdirSync(folder);
  const at = (part, file) => {
    const modules = embed(join(directory, `${kind}-${part}`), [module(`${part}.mjs`, join(MINIFLARE, file))]);
    return modules.replace('embed "', `embed "${kind}-${part}/`);
  };
  return `
    (name = "${kind}-disk", disk = (path = ${text(folder)}, writable = true)),
    (name = "${kind}-object", worker = (
      modules = [${at("object", source)}],
      compatibilityDate = "2023-07-24",
      compatibilityFlags = ["nodejs_compat", "experimental"],
      durableObjectNamespaces = [(className = "${className}", uniqueKey = "${kind}", preventEviction = true, enableSql = true)],
      durableObjectStorage = (localDisk = "${kind}-disk"),
      bindings = [(name = "MINIFLARE_BLOBS", service = "${kind}-disk")])),
    (name = "${kind}", worker = (
      modules = [${at("entry", entry)}],
      compatibilityDate = "2023-07-24",
      bindings = [(name = "MINIFLARE_OBJECT", durableObjectNamespace = (serviceName = "${kind}-object", className = "${className}"))]))`;
}

export async function serveStorage(directory) {
  mkdirSync(directory, { recursive: true });
  const counter = embed(directory, [module("storage.mjs", new URL("workers/storage.mjs", import.meta.url))]);
  const shared = embed(join(directory, "shared"), [
    module("miniflare:shared", join(MINIFLARE, "shared/index.worker.js")),
    module("miniflare:zod", join(MINIFLARE, "shared/zod.worker.js")),
  ]).replaceAll('embed "', 'embed "shared/');
  const server = await serve(
    directory,
    `(
  extensions = [(modules = [${shared}])],
  services = [
    ${simulator(directory, "d1", "D1DatabaseObject", "d1/database.worker.js", "shared/object-entry.worker.js")},
    ${simulator(directory, "kv", "KVNamespaceObject", "kv/namespace.worker.js", "shared/object-entry.worker.js")},
    (name = "main", worker = (
      modules = [${counter}],
      compatibilityDate = "2023-07-24",
      bindings = [(name = "d1", service = "d1"), (name = "kv", service = "kv")]))],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")])`,
  );

  const ask = async (kind, namespace, path, init) => {
    const headers = { "Bench-Storage": kind, "MF-Namespace": namespace };
    const response = await fetch(`http://127.0.0.1:${server.port}${path}`, { ...init, headers });
    if (!response.ok) throw new Error(`${kind} answered ${response.status}: ${await response.text()}`);
    return response;
  };
  return {
    port: server.port,
    stop: server.stop,
    counts: async (namespace) => {
      const all = await (await fetch(`http://127.0.0.1:${server.port}/`)).json();
      return all[namespace] ?? { d1: 0, kv: 0 };
    },
    // The part of the bindings' interface that seeding uses.
    kv: (namespace) => ({
      put: (key, value) => ask("kv", namespace, `/${encodeURIComponent(key)}`, { method: "PUT", body: value }),
    }),
    d1: (namespace) => {
      const query = async (statements) => {
        const response = await ask("d1", namespace, "/query", { method: "POST", body: JSON.stringify(statements) });
        const results = await response.json();
        if (results.error) throw new Error(results.error);
        return results;
      };
      const statement = (sql, params = []) => ({
        sql,
        params,
        bind: (...values) => statement(sql, values),
        all: async () => (await query([{ sql, params }]))[0],
      });
      return { prepare: (sql) => statement(sql), batch: query };
    },
  };
}
