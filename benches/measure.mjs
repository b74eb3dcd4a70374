// One contender: started, seeded, its scenarios verified, warmed up, and measured a repetition at a time.

import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { Client, complaint, load } from "./client.mjs";
import { serveContender } from "./workerd.mjs";

const CONCURRENCY = 16;

// Collection of garbage and work after the answer (`waitUntil`) belong to the requests that caused them.
const SETTLE = 150;

export async function prepare(contender, { storage, origin, directory, coldStarts, fail }) {
  const modules = await contender.modules();
  const worker = { ...contender, modules };
  const d1 = storage.d1(contender.name);
  await contender.seed?.({ d1, kv: storage.kv(contender.name), origin });

  const start = async () => {
    const began = performance.now();
    const server = await serveContender(mkdtempSync(join(directory, "worker-")), worker, storage.port);
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
      const make = await verified(scenario, server.port, { origin, d1 });
      scenarios.push({ ...scenario, make, next: 1, repetitions: [], sent: 0, roundTrips: { d1: 0, kv: 0 } });
    } catch (error) {
      fail(`${contender.name}: ${scenario.name}: ${error.message}`);
    }
  }
  const sizes = modules.map(({ contents }) => [contents.length, gzipSync(contents, { level: 9 }).length]);
  const size = { raw: sizes.reduce((sum, [raw]) => sum + raw, 0), gzip: sizes.reduce((sum, [, gzip]) => sum + gzip, 0) };
  return { contender, server, scenarios, size, coldStarts: starts };
}

// The scenario's request as a function of its number, once one of them was answered as it must be.
async function verified(scenario, port, context) {
  const request = await scenario.prepare(new Client(port), context);
  const make = typeof request === "function" ? request : () => request;
  const wrong = complaint(scenario, await new Client(port).send(make(0)));
  if (wrong) throw new Error(wrong);
  return make;
}

export async function repeat({ contender, server }, scenario, { storage, count, warmUp }) {
  const before = { trips: await storage.counts(contender.name), cpu: server.cpuNanoseconds() };
  const began = performance.now();
  try {
    await load(server.port, scenario.make, { count, concurrency: CONCURRENCY, from: scenario.next, expected: scenario });
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
