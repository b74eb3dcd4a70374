// An HTTP client with a cookie jar: what a browser sends, byte by byte, to whatever host, at one port of this machine.

import { randomInt } from "node:crypto";
import http from "node:http";
import https from "node:https";

let addresses = 0;

export class Browser {
  /** With `secure`, the port speaks TLS, with a certificate of its own making. */
  constructor(port, { ip, secure = false } = {}) {
    this.port = port;
    this.protocol = secure ? https : http;
    // Limits count by address; each browser has its own, unless a test says otherwise.
    this.ip = ip ?? `198.51.${Math.floor(++addresses / 250) % 250}.${(addresses % 250) + 1}`;
    this.jar = new Map();
    this.agent = new this.protocol.Agent({ keepAlive: true, maxSockets: 64, rejectUnauthorized: false });
  }

  /** The cookies of a host, as name → value. */
  cookies(host) {
    if (!this.jar.has(host)) this.jar.set(host, new Map());
    return this.jar.get(host);
  }

  /** Sends one request; follows nothing. `body` may be a string, or an object that is sent as JSON. */
  send(method, url, { headers = {}, body, keepCookies = true } = {}) {
    const target = new URL(url);
    const jar = this.cookies(target.host);
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join("; ");
    const json = body !== undefined && typeof body !== "string" && !Buffer.isBuffer(body);
    const payload = json ? JSON.stringify(body) : body;
    const all = {
      host: target.host,
      "cf-connecting-ip": this.ip,
      ...(cookie && { cookie }),
      ...(json && { "content-type": "application/json" }),
      ...(payload !== undefined && { "content-length": Buffer.byteLength(payload) }),
      ...headers,
    };
    for (const [name, value] of Object.entries(all)) if (value === undefined) delete all[name];
    // Raw: what follows the host goes out as it is written here.
    const path = url.slice(url.indexOf(target.host) + target.host.length) || "/";
    return new Promise((resolve, reject) => {
      const options = { host: "127.0.0.1", port: this.port, method, path, headers: all, agent: this.agent };
      const request = this.protocol.request(options, (response) => {
        const chunks = [];
        response.on("data", (chunk) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          const bytes = Buffer.concat(chunks);
          const text = bytes.toString();
          if (keepCookies) this.#keep(jar, response.headers["set-cookie"] ?? []);
          resolve({
            status: response.statusCode,
            headers: response.headers,
            cookies: response.headers["set-cookie"] ?? [],
            location: response.headers.location,
            bytes,
            text,
            get json() {
              return JSON.parse(text);
            },
          });
        });
      });
      request.on("error", reject);
      request.end(payload);
    });
  }

  #keep(jar, lines) {
    for (const line of lines) {
      const [pair, ...attributes] = line.split(";").map((part) => part.trim());
      const at = pair.indexOf("=");
      const gone = attributes.some(
        (attribute) => /^max-age=0$/i.test(attribute) || (/^expires=/i.test(attribute) && Date.parse(attribute.slice(8)) <= Date.now()),
      );
      if (gone) jar.delete(pair.slice(0, at));
      else jar.set(pair.slice(0, at), pair.slice(at + 1));
    }
  }

  get(url, options) {
    return this.send("GET", url, options);
  }

  /** A script's POST from a page of `origin`, by default the host's own. */
  post(url, body, { origin = new URL(url).origin, headers = {}, ...options } = {}) {
    return this.send("POST", url, { body, headers: { origin, ...headers }, ...options });
  }

  /** A form's POST. */
  submit(url, fields, options = {}) {
    const body = new URLSearchParams(fields).toString();
    const headers = { "content-type": "application/x-www-form-urlencoded", accept: "text/html", ...options.headers };
    return this.post(url, body, { ...options, headers });
  }

  /** Opens a page as a navigation, following redirects among hosts of this machine. */
  async open(url, { most = 12, within = (next) => next.hostname.endsWith("localhost") } = {}) {
    const trail = [];
    for (let next = url; trail.length <= most;) {
      const answer = await this.get(next, { headers: { accept: "text/html", "sec-fetch-mode": "navigate" } });
      trail.push({ url: next, status: answer.status });
      if (answer.status < 300 || answer.status > 399) return Object.assign(answer, { url: next, trail });
      next = new URL(answer.location, next).href;
      if (!within(new URL(next))) return Object.assign(answer, { url: next, trail });
    }
    throw new Error(`more than ${most} redirects: ${JSON.stringify(trail, null, 1)}`);
  }

  /**
   * Opens a mailed link as its reader does, and presses the button of the page that it leads to; `fields` are what the reader fills
   * in. Answers what the button did; where there is none, the page itself, or the redirect away from its host.
   */
  async followMailedLink(url, fields = {}) {
    const page = await this.open(url, { within: (next) => next.host === new URL(url).host });
    const [, action, inside] = (page.status === 200 && page.text.match(/<form method="post" action="([^"]+)"[^>]*>([^]*?)<\/form>/)) || [];
    if (!action || new URL(page.url).pathname === "/login") return page;
    const plain = (text) => text.replaceAll("&quot;", '"').replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
    const hidden = [...inside.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)">/g)].map(([, name, value]) => [
      name,
      plain(value),
    ]);
    return this.submit(new URL(action, page.url).href, { ...Object.fromEntries(hidden), ...fields });
  }

  /** What the published client does with a mailed link's token in a page of `origin`: its GET of the protocol's own address. */
  verifyAsScript(url, origin) {
    const at = {
      "/verify-email": "/api/auth/verify-email",
      "/sign-in-link": "/api/auth/magic-link/verify",
      "/delete-account": "/api/auth/delete-user/callback",
    };
    const { pathname, origin: host, search } = new URL(url);
    return this.get(`${host}${at[pathname] ?? pathname}${search}`, { headers: { origin } });
  }

  close() {
    this.agent.destroy();
  }
}

export const uniqueEmail = () => `u${Date.now().toString(36)}${randomInt(1e9).toString(36)}@example.com`;
