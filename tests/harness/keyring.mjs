// Opens sealed values as the Worker does, written apart from it.

import { createDecipheriv, hkdfSync } from "node:crypto";

const derive = (secret, label) => Buffer.from(hkdfSync("sha256", secret, "doorward/1", label, 32));

/** The id by which sealed values name their key. */
export const keyId = (secret) => derive(secret, "key-id").subarray(0, 6).toString("base64url");

/** The text in a sealed value of a cell; throws if none of the secrets sealed it, or not for this cell. */
export function open(secrets, { table, column, row }, sealed) {
  const [version, id, body] = sealed.split(".");
  const secret = secrets.find((one) => keyId(one) === id);
  if (version !== "1" || !secret) throw new Error(`${table}.${column} of ${row} was sealed by key ${id}`);
  const bytes = Buffer.from(body, "base64url");
  const decipher = createDecipheriv("aes-256-gcm", derive(secret, "seal"), bytes.subarray(0, 12));
  decipher.setAAD(Buffer.from(`${table}\0${column}\0${row}`));
  decipher.setAuthTag(bytes.subarray(-16));
  return Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()]).toString("base64url");
}
