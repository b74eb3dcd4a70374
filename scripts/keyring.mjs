// Seals a value as the Worker does (src/secret.rs), so that a seed can write an issuer's client secret into D1.

import { createCipheriv, hkdfSync, randomBytes } from "node:crypto";

const derive = (secret, label) => Buffer.from(hkdfSync("sha256", secret, "doorward/1", label, 32));

export function seal(secrets, { table, column, row }, plaintext) {
  const first = secrets.split(",")[0].trim();
  const nonce = randomBytes(12);
  const cipher = createCipheriv("aes-256-gcm", derive(first, "seal"), nonce);
  cipher.setAAD(Buffer.from(`${table}\0${column}\0${row}`));
  const body = Buffer.concat([nonce, cipher.update(plaintext, "utf8"), cipher.final(), cipher.getAuthTag()]);
  return `1.${derive(first, "key-id").subarray(0, 6).toString("base64url")}.${body.toString("base64url")}`;
}
