// Blocks of configuration as the documentation shows them: what a reader copies is what the tests drive.

import { readFileSync } from "node:fs";

/** The first block of a language in a page of docs/. */
export function shown(page, language) {
  const text = readFileSync(new URL(`../../docs/${page}`, import.meta.url), "utf8");
  const found = text.match(new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\``, "m"));
  if (!found) throw new Error(`docs/${page} has no block of ${language}`);
  return found[1];
}

/** A block about this machine: each name that it shows must be there, and is replaced. */
export function about(block, names) {
  return names.reduce((text, [name, here]) => {
    if (!text.includes(name)) throw new Error(`the documentation no longer has ${name}`);
    return text.replaceAll(name, here);
  }, block);
}
