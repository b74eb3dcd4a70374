// Servers that we did not write, as processes of a test: nginx, Apache.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A folder of its own for a server, gone when the server is stopped. */
export const scratch = (name) => mkdtempSync(join(tmpdir(), `doorward-${name}-`));

/**
 * Starts a server and waits until it listens on `port`. It fails with what the server said, or with `missing`, which names the
 * packages to install. `log` answers what it wrote elsewhere.
 */
export async function startProgram(program, args, { port, directory, missing, env = {}, log = () => "" }) {
  const all = { PATH: `${process.env.PATH}:/usr/sbin:/usr/local/sbin`, ...env };
  const child = spawn(program, args, { env: all, stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (bytes) => (said += bytes));
  const ended = new Promise((_, reject) => {
    child.on("error", ({ code, message }) => reject(new Error(code === "ENOENT" ? missing : message)));
    child.on("exit", (status) => reject(new Error(`${program} ended with status ${status}:\n${said}${log()}`)));
  });
  let stopped = false;
  const stop = async () => {
    stopped = true;
    if (child.exitCode === null && child.pid) {
      ended.catch(() => {});
      child.kill("SIGKILL");
      await once(child, "exit");
    }
    rmSync(directory, { recursive: true, force: true });
  };
  const listens = async () => {
    while (!stopped) {
      const socket = net.connect(port, "127.0.0.1");
      const connected = await new Promise((resolve) => {
        socket.on("connect", () => resolve(true)).on("error", () => resolve(false));
      });
      socket.destroy();
      if (connected) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  try {
    await Promise.race([listens(), ended]);
  } catch (error) {
    await stop();
    throw error;
  }
  ended.catch(() => {});
  return { port, stop, log };
}
