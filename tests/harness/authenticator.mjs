// An authenticator and the browser in front of it, in software: WebAuthn Level 3, sections 5 and 6, written from the text.
// Each step can be made to misbehave.

import { createHash, generateKeyPairSync, randomBytes, sign } from "node:crypto";

const sha256 = (data) => createHash("sha256").update(data).digest();
const base64url = (bytes) => Buffer.from(bytes).toString("base64url");
const uint = (bytes, value) => {
  const buffer = Buffer.alloc(bytes);
  buffer.writeUIntBE(value, 0, bytes);
  return buffer;
};

/** CBOR (RFC 8949): integers, byte and text strings, booleans, arrays, maps. An object's keys are text. */
export function cbor(value) {
  const head = (major, length) => {
    if (length < 24) return Buffer.from([(major << 5) | length]);
    const [code, bytes] = length < 256 ? [24, 1] : length < 65536 ? [25, 2] : [26, 4];
    return Buffer.concat([Buffer.from([(major << 5) | code]), uint(bytes, length)]);
  };
  if (Number.isInteger(value)) return value < 0 ? head(1, -1 - value) : head(0, value);
  if (typeof value === "boolean") return Buffer.from([value ? 0xf5 : 0xf4]);
  if (typeof value === "string") return Buffer.concat([head(3, Buffer.byteLength(value)), Buffer.from(value)]);
  if (value instanceof Uint8Array) return Buffer.concat([head(2, value.length), value]);
  if (Array.isArray(value)) return Buffer.concat([head(4, value.length), ...value.map(cbor)]);
  const entries = value instanceof Map ? [...value] : Object.entries(value);
  return Buffer.concat([head(5, entries.length), ...entries.flat().map(cbor)]);
}

const bytes = (text) => Buffer.from(text, "base64url");

/** By name: how a key is made, its COSE key (RFC 9052, section 7), its COSE algorithm and its digest. */
const ALGORITHMS = {
  ES256: {
    cose: -7,
    digest: "sha256",
    make: () => generateKeyPairSync("ec", { namedCurve: "P-256" }),
    key: ({ x, y }) => [
      [1, 2],
      [3, -7],
      [-1, 1],
      [-2, bytes(x)],
      [-3, bytes(y)],
    ],
  },
  EdDSA: {
    cose: -8,
    digest: null,
    make: () => generateKeyPairSync("ed25519"),
    key: ({ x }) => [
      [1, 1],
      [3, -8],
      [-1, 6],
      [-2, bytes(x)],
    ],
  },
  RS256: {
    cose: -257,
    digest: "sha256",
    make: () => generateKeyPairSync("rsa", { modulusLength: 2048 }),
    key: ({ n, e }) => [
      [1, 3],
      [3, -257],
      [-1, bytes(n)],
      [-2, bytes(e)],
    ],
  },
};

const FLAG = { UP: 0x01, UV: 0x04, BE: 0x08, BS: 0x10, AT: 0x40, ED: 0x80 };

export class Authenticator {
  /** `origin` is that of the page. An authenticator that counts nothing has `counts: false`. */
  constructor({ origin, algorithm = "ES256", attestation = "none", verifiesUser = true, syncs = false, counts = true }) {
    Object.assign(this, { origin, algorithm, attestation, verifiesUser, syncs, counts });
    this.counter = 0;
    this.credentialId = randomBytes(32);
    this.aaguid = Buffer.from("0123456789abcdef0123456789abcdef", "hex");
    this.pair = ALGORITHMS[algorithm].make();
  }

  get id() {
    return base64url(this.credentialId);
  }

  coseKey() {
    return cbor(new Map(ALGORITHMS[this.algorithm].key(this.pair.publicKey.export({ format: "jwk" }))));
  }

  sign(data) {
    return sign(ALGORITHMS[this.algorithm].digest, data, this.pair.privateKey);
  }

  #clientData(type, options, { origin = this.origin, challenge = options.challenge, clientData = {}, ...lie }) {
    const said = { type: lie.type ?? type, challenge, origin, crossOrigin: false, ...clientData };
    return lie.clientDataBytes ?? Buffer.from(JSON.stringify(said));
  }

  #data(rpId, { verifiesUser = this.verifiesUser, flags = 0, without = 0, counter, rest = Buffer.alloc(0), rpIdHash = sha256(rpId) }) {
    if (this.counts && counter === undefined) this.counter += 1;
    const bits = FLAG.UP | (verifiesUser && FLAG.UV) | (this.syncs && FLAG.BE | FLAG.BS) | flags;
    return Buffer.concat([rpIdHash, Buffer.from([bits & ~without]), uint(4, counter ?? this.counter), rest]);
  }

  #envelope(response, { id = this.id, rawId = id, kind = "public-key" }) {
    return { id, rawId, type: kind, clientExtensionResults: {}, authenticatorAttachment: "platform", response };
  }

  /** `RegistrationResponseJSON` for the server's options. `lie` replaces what is true: see the destructurings. */
  create(options, lie = {}) {
    const rpId = lie.rpId ?? options.rp.id;
    const { credentialId = this.credentialId, publicKey = this.coseKey() } = lie;
    const attested = lie.attested ?? Buffer.concat([this.aaguid, uint(2, credentialId.length), credentialId, publicKey]);
    const data = lie.authData ?? this.#data(rpId, { flags: FLAG.AT, ...lie, rest: Buffer.concat([attested, lie.rest ?? Buffer.alloc(0)]) });
    const clientData = this.#clientData("webauthn.create", options, lie);
    const signature = this.sign(Buffer.concat([data, sha256(clientData)]));
    const statement = this.attestation === "packed" ? { alg: ALGORITHMS[this.algorithm].cose, sig: signature } : {};
    const object = { fmt: lie.format ?? this.attestation, attStmt: lie.statement ?? statement, authData: data };
    this.userHandle = options.user.id;
    return this.#envelope(
      {
        clientDataJSON: base64url(clientData),
        attestationObject: base64url(lie.attestationObject ?? cbor(object)),
        transports: ["internal", "hybrid"],
        ...lie.response,
      },
      lie,
    );
  }

  /** `AuthenticationResponseJSON` for the server's options. */
  get(options, lie = {}) {
    const data = lie.authData ?? this.#data(lie.rpId ?? options.rpId, lie);
    const clientData = this.#clientData("webauthn.get", options, lie);
    const signature = lie.signature ?? this.sign(Buffer.concat([data, sha256(clientData)]));
    return this.#envelope(
      {
        clientDataJSON: base64url(clientData),
        authenticatorData: base64url(data),
        signature: base64url(signature),
        userHandle: this.userHandle,
        ...lie.response,
      },
      lie,
    );
  }
}

export { FLAG, base64url };
