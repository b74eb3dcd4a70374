// The statements of all stores below src, as they reach D1: what macros make of them included.

import { readFileSync, readdirSync } from "node:fs";

const folder = new URL("../../src/", import.meta.url);

/** Without comments and tests; texts stay as they are. */
const code = (source) =>
  source.split(/^#\[cfg\(test\)\]/m)[0].replace(/'"'|"(?:[^"\\]|\\.)*"|\/\/[^\n]*/g, (piece) => (piece.startsWith('"') ? piece : ""));

/** The index behind the bracket that closes the one at `open`; brackets in texts are none. */
function closing(text, open) {
  let depth = 0;
  for (const match of text.slice(open).matchAll(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)'|[([{]|[)\]}]/g)) {
    if (/^["']/.test(match[0])) continue;
    depth += /[([{]/.test(match[0]) ? 1 : -1;
    if (depth === 0) return open + match.index + 1;
  }
  throw new Error(`no end: ${text.slice(open, open + 80)}`);
}

/** The arguments in a pair of brackets, as they are written. */
function list(text) {
  const parts = [""];
  for (let at = 0; at < text.length; at += 1) {
    if (text[at] === '"') {
      const [literal] = text.slice(at).match(/^"(?:[^"\\]|\\.)*"/);
      parts[parts.length - 1] += literal;
      at += literal.length - 1;
    } else if ("([{".includes(text[at])) {
      const end = closing(text, at);
      parts[parts.length - 1] += text.slice(at, end);
      at = end - 1;
    } else if (text[at] === ",") parts.push("");
    else parts[parts.length - 1] += text[at];
  }
  return parts.map((part) => part.trim()).filter(Boolean);
}

/** Macros of one arm, by name, of each file: their parameters and what they make. Those that others use are in `shared` too. */
function macros(sources) {
  const shared = new Map();
  return sources.map((source) => {
    const found = new Map();
    for (const match of source.matchAll(/macro_rules! (\w+) \{/g)) {
      const body = source.slice(match.index + match[0].length, closing(source, match.index + match[0].length - 1) - 1);
      const open = body.indexOf("(");
      const end = closing(body, open);
      const arm = body.indexOf("{", body.indexOf("=>", end));
      const makes = body.slice(arm + 1, closing(body, arm) - 1).trim();
      const parameters = [...body.slice(open, end).matchAll(/\$(\w+):/g)].map(([, name]) => name);
      // What follows `$(` may be left out.
      const required = [
        ...body
          .slice(open, end)
          .split("$(")[0]
          .matchAll(/\$\w+:/g),
      ].length;
      const lookup = (name) => found.get(name) ?? shared.get(name);
      found.set(match[1], { parameters, required, makes, lookup });
      if (new RegExp(`\\buse ${match[1]};`).test(source)) shared.set(match[1], found.get(match[1]));
    }
    return (name) => found.get(name) ?? shared.get(name);
  });
}

const CALL = /^(?:\$crate::)?(?:\w+::)*(\w+)!\s*\(/;

/** The text that an expression makes; undefined for one that is none. */
function expand(expression, lookup) {
  const text = expression.trim();
  if (text.startsWith('"'))
    return /^"(?:[^"\\]|\\.)*"$/.test(text) ? text.slice(1, -1).replaceAll('\\"', '"').replaceAll("\\\\", "\\") : undefined;
  const made = text.match(/^sql!\(([^]*)\)$/);
  if (made) return expand(list(made[1])[0], lookup);
  const call = text.match(CALL);
  if (!call || closing(text, call[0].length - 1) !== text.length) return undefined;
  const given = list(text.slice(call[0].length, -1));
  if (call[1] === "concat") {
    const pieces = given.map((piece) => expand(piece, lookup));
    return pieces.includes(undefined) ? undefined : pieces.join("");
  }
  const macro = lookup(call[1]);
  if (!macro || given.length > macro.parameters.length || given.length < macro.required) return undefined;
  // What is given is the caller's to expand, what is made is the macro's.
  const texts = given.map((piece) => expand(piece, lookup));
  const values = given.map((piece, n) =>
    texts[n] === undefined ? piece : `"${texts[n].replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`,
  );
  const makes = macro.makes.replace(/\$(\w+)\b(?!::)/g, (name, parameter) =>
    macro.parameters.includes(parameter) ? values[macro.parameters.indexOf(parameter)] : name,
  );
  return expand(makes, macro.lookup);
}

/** With positions in the place of names, as they reach D1; names in quotes are none. */
function numbered(text) {
  const names = [];
  return text.replace(/'[^']*'|:([a-z_0-9]+)/g, (piece, name) => {
    if (!name) return piece;
    if (!names.includes(name)) names.push(name);
    return `?${names.indexOf(name) + 1}`;
  });
}

/** Every statement: the room, the file and the function that it is in, and its text. */
export function statements() {
  const files = readdirSync(folder, { recursive: true }).filter((name) => /(^|\/)store(\/.*)?\.rs$|^platform\/d1\.rs$/.test(name));
  const sources = files.map((name) => code(readFileSync(new URL(name, folder), "utf8")));
  const known = macros(sources);
  const found = [];
  for (const [n, source] of sources.entries()) {
    let rest = source;
    for (let match; (match = rest.match(/macro_rules! \w+ \{/));)
      rest = rest.slice(0, match.index) + rest.slice(closing(rest, match.index + match[0].length - 1));
    const file = files[n].replace(/(\/mod)?\.rs$/, "").replace(/\/store(?=\/|$)/, "");
    for (let at = 0; at < rest.length; at += 1) {
      if (rest[at] !== '"' && !(/\w/.test(rest[at]) && !/[\w!:]/.test(rest[at - 1] ?? ""))) continue;
      const call = rest.slice(at).match(CALL);
      const length =
        rest[at] === '"' ? rest.slice(at).match(/^"(?:[^"\\]|\\.)*"/)[0].length : call ? closing(rest, at + call[0].length - 1) - at : 0;
      if (!length) continue;
      const text = expand(rest.slice(at, at + length), known[n]);
      if (text === undefined) continue;
      const name = [...rest.slice(0, at).matchAll(/\bfn (\w+)/g)].at(-1)?.[1];
      if (/^\s*(select|insert|update|delete|with)\s/.test(text)) found.push({ name: `${file}::${name}`, text: numbered(text) });
      at += length - 1;
    }
  }
  return found;
}
