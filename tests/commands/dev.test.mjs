// `npm run dev`, as a stranger runs it: it comes up, both websites answer, and an interrupt leaves nothing behind.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { PASSWORD } from "../../scripts/seed.mjs";
import { Browser } from "../harness/browser.mjs";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const isOpen = (port) =>
  new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(socket.destroy() && true)).once("error", () => resolve(false));
  });

async function start() {
  const dev = spawn("npm", ["run", "dev"], { cwd: ROOT, detached: true, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  await new Promise((resolve, reject) => {
    for (const stream of [dev.stdout, dev.stderr]) {
      stream.on("data", (data) => {
        output += data;
        if (output.includes("Ctrl-C ends everything")) resolve();
      });
    }
    dev.once("exit", (code) => reject(new Error(`npm run dev ended with ${code}:\n${output}`)));
  });
  return dev;
}

/** As a terminal does it: the signal goes to the whole group. */
async function interrupt(dev) {
  const gone = once(dev, "exit");
  process.kill(-dev.pid, "SIGINT");
  await gone;
  assert.deepEqual(await Promise.all([8787, 8788, 8789].map(isOpen)), [false, false, false], "something is left running");
}

test("comes up, lets the demo's people in, and goes down; twice", async () => {
  for (const round of ["first", "second"]) {
    const dev = await start();
    try {
      const browser = new Browser(8787);
      const login = await browser.open("http://app.localhost:8787/reports?x=1");
      assert.match(login.text, /Sign in with the demo provider/, round);
      const target = new URL(login.url).searchParams.get("continue");
      const signedIn = await browser.submit("http://localhost:8787/login", {
        email: "bob@example.com",
        password: PASSWORD,
        continue: target,
      });
      assert.equal(signedIn.status, 303, signedIn.text);
      const website = await browser.open(new URL(signedIn.location, "http://localhost:8787").href);
      assert.equal(website.url, "http://app.localhost:8787/reports?x=1");
      assert.match(website.text, /bob@example\.com/);
      browser.close();
    } finally {
      await interrupt(dev);
    }
  }
});
