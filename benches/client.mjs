// Requests to a Worker on loopback: one at a time with cookies kept, as a browser, or many at once.

import { Agent, request } from "node:http";

const connections = new Agent({ keepAlive: true, maxSockets: 64 });

function send(port, { method = "GET", path, host = "localhost", headers, body }) {
  return new Promise((resolve, reject) => {
    const outgoing = request({ agent: connections, host: "127.0.0.1", port, method, path, headers: { ...headers, host } });
    outgoing.on("error", reject).on("response", (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk)).on("error", reject);
      response.on("end", () =>
        resolve({
          status: response.statusCode,
          headers: response.headers,
          body: Buffer.concat(chunks).toString(),
        }),
      );
    });
    outgoing.end(body);
  });
}

export class Client {
  #port;
  #jar = new Map();

  constructor(port) {
    this.#port = port;
  }

  // Somebody else's, without cookies.
  another() {
    return new Client(this.#port);
  }

  #cookiesOf(host) {
    if (!this.#jar.has(host)) this.#jar.set(host, new Map());
    return this.#jar.get(host);
  }

  // The `Cookie` header for a host; `only` keeps the names it accepts.
  cookies(host, only = () => true) {
    return [...this.#cookiesOf(host)]
      .filter(([name]) => only(name))
      .map((pair) => pair.join("="))
      .join("; ");
  }

  async send({ host = "localhost", headers, ...rest }) {
    const cookie = this.cookies(host);
    const answer = await send(this.#port, { ...rest, host, headers: { ...(cookie && { cookie }), ...headers } });
    for (const line of answer.headers["set-cookie"] ?? []) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      if (/;\s*max-age=0\b/i.test(line)) this.#cookiesOf(host).delete(name);
      else this.#cookiesOf(host).set(name, value);
    }
    return answer;
  }

  // Opens an address and follows its redirects from host to host.
  async visit(address, headers) {
    let url = new URL(address);
    for (let step = 0; step < 10; step += 1) {
      const answer = await this.send({ host: url.host, path: url.pathname + url.search, headers });
      if (answer.status < 300 || answer.status > 399) return answer;
      url = new URL(answer.headers.location, url);
    }
    throw new Error(`${address} redirects without end`);
  }
}

// A member is what it must be if it is there and, as text, matches.
function fits(answer, body) {
  if (answer instanceof RegExp) return answer.test(body);
  try {
    const members = JSON.parse(body);
    return Object.entries(answer).every(([name, shape]) => name in members && shape.test(members[name]));
  } catch {
    return false;
  }
}

const written = (answer) =>
  answer instanceof RegExp
    ? answer
    : Object.entries(answer)
        .map((member) => member.join(" "))
        .join(", ");

// What a scenario's answer must be, as text or by the members of its JSON; says how one differs, or nothing.
export function complaint({ status = 200, answer = /(?:)/, location }, got) {
  if (got.status === status && fits(answer, got.body) && (!location || got.headers.location === location)) return undefined;
  const expected = `${status} ${written(answer)} ${location ?? ""}`;
  return `answered ${got.status} ${got.headers.location ?? ""} where ${expected} was expected: ${got.body.slice(0, 300)}`;
}

// Sends `count` requests in as many lanes as `concurrency` says, and checks every answer. `make(index, lane)` makes a
// request; `took(answer, lane)` is told what came of it, before the lane's next.
export async function load(port, { make, took }, { count, concurrency, from, expected }) {
  let next = from;
  const work = async (_, lane) => {
    while (next < from + count) {
      const got = await send(port, make(next++, lane));
      const wrong = complaint(expected, got);
      if (wrong) throw new Error(wrong);
      took?.(got, lane);
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, count) }, work));
}
