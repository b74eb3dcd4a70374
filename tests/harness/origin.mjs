// A website on loopback that records every request as it arrived and answers as a test says; and a client that
// writes bytes, for requests that no honest client sends.

import { createHash } from "node:crypto";
import http from "node:http";
import net from "node:net";

export const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

async function bodyOf(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Header lines of a recorded request under a name, in any case. */
export function lines(request, name) {
  const pairs = request.rawHeaders.flatMap((key, at, all) => (at % 2 ? [] : [[key, all[at + 1]]]));
  return pairs.filter(([key]) => key.toLowerCase() === name.toLowerCase()).map(([, value]) => value);
}

/** What a request looked like: answered by default, so that a test can read it without reaching into the origin. */
const echo = (request, response) => {
  response.writeHead(200, { "content-type": "application/json" });
  const { method, url, headers, body } = request;
  response.end(JSON.stringify({ method, url, headers, body: body?.length > 65536 ? sha256(body) : body?.toString() }));
};

/**
 * Starts an origin. `answers` maps a path to `(request, response) => …`; what it does not name is echoed. An answer
 * with `streams: true` gets the body unread, as `request.raw`. WebSockets are accepted everywhere and echo text.
 */
export async function startOrigin(answers = {}) {
  const requests = [];
  const sockets = new Set();
  const server = http.createServer(async (raw, response) => {
    const { method, url, headers, rawHeaders } = raw;
    const request = { method, url, headers, rawHeaders, raw };
    const answer = answers[url.split("?")[0]] ?? echo;
    requests.push(request);
    try {
      if (!answer.streams) request.body = await bodyOf(raw);
      await answer(request, response);
    } catch (error) {
      request.error = error;
      response.destroy();
    }
  });
  server.on("upgrade", ({ method, url, headers, rawHeaders }, socket) => {
    requests.push({ method, url, headers, rawHeaders, upgraded: true });
    const accept = createHash("sha1").update(`${headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`);
    socket.write(
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
        `Sec-WebSocket-Accept: ${accept.digest("base64")}\r\n\r\n`,
    );
    socket.on("error", () => {});
    let rest = Buffer.alloc(0);
    socket.on("data", (bytes) => {
      rest = Buffer.concat([rest, bytes]);
      for (let found; (found = readFrame(rest)); rest = found.rest) {
        if (found.opcode === 8) socket.end(frame("", { opcode: 8 }));
        else socket.write(frame(`echo: ${found.text}`));
      }
    });
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    requests,
    /** The requests for a path, oldest first. */
    to: (path) => requests.filter((request) => request.url.split("?")[0] === path),
    last: () => requests.at(-1),
    close: () => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A connection that sends bytes as they are and hands out what comes back, part by part. */
export function connect(port) {
  const socket = net.connect(port, "127.0.0.1");
  let received = Buffer.alloc(0);
  let ended = false;
  let wake = () => {};
  socket.on("data", (bytes) => ((received = Buffer.concat([received, bytes])), wake()));
  for (const event of ["end", "error", "close"]) socket.on(event, () => ((ended = true), wake()));
  const until = async (enough) => {
    while (!enough(received) && !ended) await new Promise((resolve) => (wake = resolve));
    return received;
  };
  return {
    socket,
    write: (bytes) => socket.write(bytes),
    until,
    /** Up to and without the empty line after the headers; what follows stays. */
    async head() {
      await until((bytes) => bytes.includes("\r\n\r\n"));
      const end = received.indexOf("\r\n\r\n");
      const head = received.subarray(0, end).toString("latin1");
      received = received.subarray(end + 4);
      return head;
    },
    close: () => socket.destroy(),
  };
}

/** Sends a request's lines, as they are, and reads the whole answer: its status, headers as one text, and body. */
export async function raw(port, head, body = "") {
  const connection = connect(port);
  const sized = body === "" || head.some((line) => line.startsWith("Transfer-Encoding"));
  const all = [...head, ...(sized ? [] : [`Content-Length: ${Buffer.byteLength(body)}`]), "Connection: close", "", ""];
  connection.write(Buffer.concat([Buffer.from(all.join("\r\n"), "latin1"), Buffer.from(body)]));
  const headers = await connection.head();
  const rest = await connection.until(() => false);
  connection.close();
  return { status: Number(headers.split(" ")[1]), headers, body: rest.toString() };
}

/** A WebSocket frame with a short text (RFC 6455, section 5.2); clients mask theirs. */
export function frame(text, { opcode = 1, masked = false } = {}) {
  const bytes = Buffer.from(text);
  const mask = Buffer.from([1, 2, 3, 4]);
  const head = Buffer.from([0x80 | opcode, (masked ? 0x80 : 0) | bytes.length]);
  return Buffer.concat(masked ? [head, mask, bytes.map((byte, at) => byte ^ mask[at % 4])] : [head, bytes]);
}

/** The first frame in `bytes`, if all of it is there. */
export function readFrame(bytes) {
  if (bytes.length < 2) return undefined;
  const masked = bytes[1] >> 7;
  const from = 2 + 4 * masked;
  const to = from + (bytes[1] & 0x7f);
  if (bytes.length < to) return undefined;
  const text = bytes
    .subarray(from, to)
    .map((byte, at) => (masked ? byte ^ bytes[2 + (at % 4)] : byte))
    .toString();
  return { opcode: bytes[0] & 0x0f, text, rest: bytes.subarray(to) };
}
