// An authenticator app: RFC 6238 written again from the text, so that what it agrees with is the RFC and not ourselves.

import { createHmac } from "node:crypto";

const PERIOD = 30_000;

/** The bytes of base32 without padding (RFC 4648, section 6), in either case. */
export function base32(text) {
  let bits = "";
  for (const letter of text.replaceAll(" ", "").toUpperCase()) {
    const value = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(letter);
    if (value < 0) throw new Error(`not base32: ${text}`);
    bits += value.toString(2).padStart(5, "0");
  }
  return Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
}

/** The time step of a moment. */
export const stepOf = (millis = Date.now()) => Math.floor(millis / PERIOD);

/** The code of a step. */
export function totp(seed, step = stepOf(), digits = 6) {
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(step));
  const hash = createHmac("sha1", seed).update(counter).digest();
  const word = hash.readUInt32BE(hash[19] & 0xf) & 0x7fffffff;
  return String(word % 10 ** digits).padStart(digits, "0");
}

/** A code that is none of those near `step`. */
export function wrongCode(seed, step = stepOf()) {
  const near = [-3, -2, -1, 0, 1, 2, 3].map((drift) => totp(seed, step + drift));
  return ["000000", "111111", "222222", "333333", "444444", "555555", "666666", "777777"].find((code) => !near.includes(code));
}

/** Waits until what is left of the time step suffices for a test of steps; answers the step. */
export async function earlyInStep(left = 12_000) {
  const gone = Date.now() % PERIOD;
  if (PERIOD - gone < left) await new Promise((resolve) => setTimeout(resolve, PERIOD - gone + 50));
  return stepOf();
}

/** What an app reads off an `otpauth:` URI. */
export function readUri(text) {
  const url = new URL(text);
  const [issuer, account] = url.pathname.slice(1).split(":").map(decodeURIComponent);
  const query = Object.fromEntries(url.searchParams);
  return { scheme: url.protocol, type: url.host, issuer, account, query, seed: base32(query.secret) };
}
