// Measures Doorward beside other Workers, and beside a provider on Node; reports, and never judges a time.
// `npm run bench -- doorward better-auth` runs these two only. BENCH_REQUESTS, BENCH_HASHING_REQUESTS (a repetition's
// requests, and those that hash a password), BENCH_REPETITIONS and BENCH_COLD_STARTS bound the run.

import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { prepareTools, run, underNode22, withBin } from "./tools.mjs";

await underNode22();
await prepareTools();
await run(process.execPath, ["scripts/build.mjs"], { env: withBin() });

const { serveStorage } = await import("../benches/storage.mjs");
const { prepare, repeat } = await import("../benches/measure.mjs");
const { print, save, summarise } = await import("../benches/report.mjs");

const CONTENDERS = [
  "contenders/javascript",
  "contenders/rust",
  "contenders/jose",
  "contenders/better-auth",
  "contenders/better-auth-provider",
  "contenders/oidc-provider",
  "contenders/free-plan",
  "doorward",
];

const number = (name, fallback) => Number.parseInt(process.env[name] ?? fallback, 10);
const settings = {
  requests: number("BENCH_REQUESTS", 2000),
  hashingRequests: number("BENCH_HASHING_REQUESTS", 40),
  repetitions: number("BENCH_REPETITIONS", 5),
  coldStarts: number("BENCH_COLD_STARTS", 5),
};
const wanted = process.argv.slice(2).map((name) => name.toLowerCase());
const directory = mkdtempSync(join(tmpdir(), "doorward-bench-"));
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));

// What the gate forwards to.
const originServer = createServer((request, response) => response.end("origin")).listen(0, "127.0.0.1");
await once(originServer, "listening");
const origin = `http://127.0.0.1:${originServer.address().port}`;

const storage = await serveStorage(join(directory, "storage"));
const failures = [];
const fail = (failure) => failures.push(failure);
const measured = [];
for (const path of CONTENDERS) {
  const name = path.split("/").at(-1);
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  try {
    const { default: contender } = await import(`../benches/${path}.mjs`);
    measured.push(await prepare(contender, { storage, origin, directory, coldStarts: settings.coldStarts, fail }));
    console.error(`${contender.name}: ready`);
  } catch (error) {
    fail(`${name}: ${error.message}`);
  }
}

// Round-robin, so that whatever else the machine does meets every contender alike. The first round warms up.
for (let repetition = 0; repetition <= settings.repetitions; repetition += 1) {
  console.error(repetition === 0 ? "warming up" : `repetition ${repetition} of ${settings.repetitions}`);
  for (const worker of measured) {
    for (const scenario of worker.scenarios) {
      const count = scenario.requests === "hashing" ? settings.hashingRequests : settings.requests;
      try {
        await repeat(worker, scenario, { storage, count, warmUp: repetition === 0 });
      } catch (error) {
        fail(error.message);
        worker.scenarios = worker.scenarios.filter((other) => other !== scenario);
      }
    }
  }
}
for (const worker of measured) worker.residentBytes = worker.server.residentBytes();

const summary = summarise(measured, settings);
print(summary);
save(summary, new URL("../artifacts/bench.json", import.meta.url));
for (const failure of failures) console.error(`\n${failure}`);
process.exit(failures.length > 0 ? 1 : 0);
