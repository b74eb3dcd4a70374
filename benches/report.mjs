// The measurements as a table for reading and a file for machines.

import { mkdirSync, writeFileSync } from "node:fs";

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return (sorted[Math.floor(middle)] + sorted[Math.ceil(middle) - 1]) / 2;
}

const spread = (values) => ({ median: median(values), min: Math.min(...values), max: Math.max(...values) });
const round = (value, digits = 1) => (value === undefined ? undefined : Number(value.toFixed(digits)));

export function summarise(measured, settings) {
  const rows = measured.flatMap(({ contender, scenarios }) =>
    scenarios.map(({ name, group, repetitions, roundTrips, sent }) => ({
      contender: contender.name,
      scenario: name,
      group,
      cpuMicroseconds: spread(repetitions.map(({ cpu, count }) => cpu / count / 1000)),
      requestsPerSecond: median(repetitions.map(({ seconds, count }) => count / seconds)),
      requestsPerRepetition: repetitions[0].count,
      // A program has neither: it keeps everything in its own memory.
      roundTrips: contender.program ? {} : { d1: roundTrips.d1 / sent, kv: roundTrips.kv / sent },
    })),
  );
  const cpuOf = (contender, group) => rows.find((row) => row.contender === contender && row.group === group)?.cpuMicroseconds.median;
  const ratio = (row, other) => (other === undefined ? undefined : row.cpuMicroseconds.median / other);
  for (const row of rows) {
    row.ratios = {
      javascriptHello: ratio(row, cpuOf("JavaScript", "hello")),
      rustHello: ratio(row, cpuOf("Rust", "hello")),
      betterAuth: ratio(row, cpuOf("better-auth", row.group) ?? cpuOf("better-auth-provider", row.group)),
      oidcProvider: ratio(row, cpuOf("oidc-provider", row.group)),
    };
  }
  const contenders = measured.map(({ contender, size, coldStarts, residentBytes }) => ({
    contender: contender.name,
    bytes: size?.raw,
    bytesGzip: size?.gzip,
    coldStartMilliseconds: spread(coldStarts),
    residentBytes,
  }));
  return { settings, rows, contenders };
}

// A number, or that there is none.
const known = (value, digits) => (Number.isFinite(value) ? round(value, digits) : "—");

export function print({ settings, rows, contenders }) {
  const times = (value) => (value === undefined ? "" : value.toFixed(value < 10 ? 2 : 0));
  const whole = (value) => Math.round(value).toLocaleString("en");
  console.log(`\nCPU of the contender's own process, per request: median of ${settings.repetitions} interleaved repetitions (min–max).`);
  console.log("× is the ratio of that CPU to another contender's; better-auth and oidc-provider are compared with within a group only.");
  console.log("D1 and KV are round trips per request; oidc-provider has none (—), for it runs on Node and keeps everything in memory.\n");
  table(
    ["contender", "scenario", "CPU µs", "min–max", "req/s", "× JS hello", "× Rust hello", "× better-auth", "× oidc-provider", "D1", "KV"],
    rows.map((row) => [
      row.contender,
      row.scenario,
      whole(row.cpuMicroseconds.median),
      `${whole(row.cpuMicroseconds.min)}–${whole(row.cpuMicroseconds.max)}`,
      whole(row.requestsPerSecond),
      times(row.ratios.javascriptHello),
      times(row.ratios.rustHello),
      times(row.ratios.betterAuth),
      times(row.ratios.oidcProvider),
      known(row.roundTrips.d1, 2),
      known(row.roundTrips.kv, 2),
    ]),
  );
  console.log(`\nCold start: from spawning the process to its first answer (median of ${settings.coldStarts}).`);
  console.log("Resident: the whole process after the run.\n");
  table(
    ["contender", "raw kB", "gzip kB", "cold start ms", "resident MB"],
    contenders.map((each) => [
      each.contender,
      known(each.bytes / 1000),
      known(each.bytesGzip / 1000),
      round(each.coldStartMilliseconds.median),
      round(each.residentBytes / 1e6),
    ]),
  );
}

// The first two columns are names unless they hold numbers.
function table(head, rows) {
  const cells = [head, ...rows].map((row) => row.map((cell) => String(cell ?? "")));
  const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column].length)));
  const isName = (column) => rows.some((row) => typeof row[column] === "string" && /[a-z]/i.test(row[column]));
  const line = (row) => row.map((cell, column) => (isName(column) ? cell.padEnd(widths[column]) : cell.padStart(widths[column])));
  for (const row of cells) console.log(line(row).join("  ").trimEnd());
}

export function save(summary, file) {
  mkdirSync(new URL(".", file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(summary, (_, value) => (typeof value === "number" ? round(value, 3) : value), 2)}\n`);
}
