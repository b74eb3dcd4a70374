// Software that PyPI has, in virtual environments of its own below target/, made where they are not there or are another's.

import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** Runs a program to its end; `missing` tells what to install. */
async function run(program, args, missing) {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (bytes) => (said += bytes));
  const status = await new Promise((resolve, reject) => {
    child.on("error", ({ code, message }) => reject(new Error(code === "ENOENT" && missing ? missing : message)));
    child.on("close", resolve);
  });
  if (status !== 0) throw new Error(`${missing ? `${missing}\n` : ""}${program} ${args.join(" ")} ended with status ${status}:\n${said}`);
}

/** The folder of the programs of an environment with exactly these packages, one `name==version` a line. */
export async function virtualEnvironment(name, requirements) {
  const folder = fileURLToPath(new URL(`../../target/${name}-venv`, import.meta.url));
  const [bin, made] = [join(folder, "bin"), join(folder, "made-of.txt")];
  const works = () =>
    run(join(bin, "python"), ["-c", "import sys"]).then(
      () => true,
      () => false,
    );
  if (existsSync(made) && readFileSync(made, "utf8") === requirements && (await works())) return bin;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  await run(
    "python3",
    ["-m", "venv", folder],
    "Python with venv is not installed, and this test drives software for it: apt install python3 python3-venv",
  );
  const list = join(folder, "requirements.txt");
  writeFileSync(list, requirements);
  await run(join(bin, "python"), [
    "-m",
    "pip",
    "install",
    "--quiet",
    "--disable-pip-version-check",
    "--no-deps",
    "--only-binary",
    ":all:",
    "-r",
    list,
  ]);
  writeFileSync(made, requirements);
  return bin;
}

/** A file that a package of an environment brings beside its modules. */
export function packageFile(bin, name) {
  const lib = join(bin, "..", "lib");
  const found = readdirSync(lib)
    .map((python) => join(lib, python, "site-packages", name))
    .find(existsSync);
  if (!found) throw new Error(`${lib} has no ${name}`);
  return found;
}
