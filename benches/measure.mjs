// One contender: started, seeded, its scenarios verified, warmed up, and measured a repetition at a time.

import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { Client, complaint, load } from "./client.mjs";
import { launch } from "./process.mjs";
import { serveContender } from "./workerd.mjs";

const CONCURRENCY = 16;

// Collection of garbage and work after the answer (`waitUntil`) belong to the requests that caused them.
const SETTLE = 150;

export async function prepare(contender, { storage, origin, directory, coldStarts, fail }) {
  const modules = await contender.modules?.();
  const d1 = storage.d1(contender.name);
  // A contender is a Worker, or a program for Node, whose bindings are its environment.
  const serve = (worker) => {
    if (worker.program) return launch(process.execPath, [worker.program.pathname], { NODE_ENV: "production", ...worker.bindings });
    return serveContender(mkdtempSync(join(directory, "worker-")), { ...worker, name: contender.name }, storage.port);
  };
  // What seeding answers are bindings that are known only then.
  const bindings = await contender.seed?.({ d1, kv: storage.kv(contender.name), origin, serve });
  const worker = { ...contender, modules, bindings: { ...contender.bindings, ...bindings } };

  const start = async () => {
    const began = performance.now();
    const server = await serve(worker);
    const first = await new Client(server.port).send({ path: "/", ...contender.first });
    const elapsed = performance.now() - began;
    const wrong = complaint({}, first);
    if (wrong) throw new Error(`the first request ${wrong}`);
    return { server, elapsed };
  };
  const starts = [];
  for (let run = 0; run < coldStarts; run += 1) {
    const { server, elapsed } = await start();
    starts.push(elapsed);
    await server.stop();
  }
  const { server } = await start();

  const scenarios = [];
  for (const scenario of contender.scenarios) {
    try {
      const prepared = await verified(scenario, server.port, { origin, d1 });
      scenarios.push({ ...scenario, ...prepared, next: 1, repetitions: [], sent: 0, roundTrips: { d1: 0, kv: 0 } });
    } catch (error) {
      fail(`${contender.name}: ${scenario.name}: ${error.message}`);
    }
  }
  return { contender, server, scenarios, size: modules && sizeOf(modules), coldStarts: starts };
}

function sizeOf(modules) {
  const sizes = modules.map(({ contents }) => [contents.length, gzipSync(contents, { level: 9 }).length]);
  return { raw: sizes.reduce((sum, [raw]) => sum + raw, 0), gzip: sizes.reduce((sum, [, gzip]) => sum + gzip, 0) };
}

// What a scenario prepares, once one of its requests was answered as it must be: a request, or one as a function of its
// number (and lane), or that as `make` beside `took` and `stock(count, lanes)`, which lays in what so many requests use up.
async function verified(scenario, port, context) {
  const prepared = await scenario.prepare(new Client(port), context);
  const plain = typeof prepared === "function" ? prepared : () => prepared;
  const { make, stock, took } = prepared.make ? prepared : { make: plain };
  await stock?.(1, 1);
  const got = await new Client(port).send(make(0, 0));
  const wrong = complaint(scenario, got);
  if (wrong) throw new Error(wrong);
  took?.(got, 0);
  return { make, stock, took };
}

export async function repeat({ contender, server }, scenario, { storage, count, warmUp }) {
  if (scenario.stock) {
    await scenario.stock(count, Math.min(CONCURRENCY, count));
    await sleep(SETTLE);
  }
  const before = { trips: await storage.counts(contender.name), cpu: server.cpuNanoseconds() };
  const began = performance.now();
  try {
    await load(server.port, scenario, { count, concurrency: CONCURRENCY, from: scenario.next, expected: scenario });
  } catch (cause) {
    throw new Error(`${contender.name}: ${scenario.name}: ${cause.message}`, { cause });
  }
  const seconds = (performance.now() - began) / 1000;
  await sleep(SETTLE);
  const cpu = server.cpuNanoseconds() - before.cpu;
  const trips = await storage.counts(contender.name);
  scenario.next += count;
  if (warmUp) return;
  scenario.repetitions.push({ cpu, seconds, count });
  scenario.sent += count;
  scenario.roundTrips.d1 += trips.d1 - before.trips.d1;
  scenario.roundTrips.kv += trips.kv - before.trips.kv;
}
