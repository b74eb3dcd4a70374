// Every endpoint with its facts, from the reviewed print of the table of routes (tests/golden/routes.txt).

import { readFileSync } from "node:fs";

const golden = readFileSync(new URL("../golden/routes.txt", import.meta.url), "utf8");

const ALL = golden
  .split("\n")
  .filter((line) => line && !line.startsWith("#"))
  .map((line) => {
    const [host, method, path, access, origin, surface, facts] = line.split(/ +/);
    return { host, method, path, access, origin, surface, facts: facts === "-" ? [] : facts.split(","), name: `${method} ${path}` };
  });
if (ALL.length < 240) throw new Error(`tests/golden/routes.txt has ${ALL.length} routes only`);

/** The endpoints of an auth host. */
export const authRoutes = ALL.filter(({ host }) => host === "auth");

/** The endpoints that a protected host reserves. */
export const websiteRoutes = ALL.filter(({ host }) => host === "website");
