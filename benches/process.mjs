// A server as a child process, and what that costs.

import { spawn } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));

// Starts a server of one socket and answers when that listens: it says so on descriptor 3, as `workerd --control-fd=3`
// does. The report has stdout to itself.
export async function launch(command, args, env = {}) {
  const child = spawn(command, args, { stdio: ["ignore", process.stderr, "inherit", "pipe"], env: { ...process.env, ...env } });
  running.add(child);
  const exited = new Promise((resolve) => child.once("exit", resolve)).then(() => running.delete(child));
  const port = await new Promise((resolve, reject) => {
    child.once("error", reject);
    exited.then(() => reject(new Error(`it ended before it listened: ${command} ${args.join(" ")}`)));
    createInterface({ input: child.stdio[3] }).on("line", (line) => {
      const message = JSON.parse(line);
      if (message.event === "listen") resolve(message.port);
    });
  });
  return {
    port,
    cpuNanoseconds: () => cpuNanoseconds(child.pid),
    residentBytes: () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))[1]) * 1024,
    stop: () => (child.kill("SIGKILL"), exited),
  };
}

function cpuNanoseconds(pid) {
  const tasks = `/proc/${pid}/task`;
  return readdirSync(tasks)
    .map((task) => Number(readFileSync(join(tasks, task, "schedstat"), "utf8").split(" ")[0]))
    .reduce((sum, nanoseconds) => sum + nanoseconds, 0);
}
