// What passes through the gate: requests to the origin without anything only we may say, answers back as they are.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import http from "node:http";
import test, { after, before } from "node:test";
import { brotliCompressSync, brotliDecompressSync, gunzipSync, gzipSync } from "node:zlib";
import { connect, frame, lines, raw, readFrame, sha256, startOrigin } from "../harness/origin.mjs";
import { API, PAGE, cookieOf, seedApp, signUp, visit } from "../harness/seed.mjs";
import { freePort, startWorker } from "../harness/worker.mjs";

const APP = "http://app.localhost";
const BIG = randomBytes(30 * 1024 * 1024);
const TEXT = "compressible ".repeat(5000);
const OURS = /^ *(__(host|secure)-)?doorward\./i;
let worker, origin, person, cookie;
// What a test waits for the visitor to have seen before the origin goes on.
const gates = new Map();
const gate = (name) => {
  if (!gates.has(name)) gates.set(name, Promise.withResolvers());
  return gates.get(name);
};
const hangs = { timeout: 60_000 };

const answers = {
  "/redirect": (_, response) => response.writeHead(302, { location: "http://elsewhere.invalid/x?y=%2F" }).end(),
  "/cookies": (_, response) => {
    const ours = ["doorward.session=evil; Path=/", "__Host-doorward.session=evil; Secure", "DOORWARD.snapshot=evil", " doorward.gate=evil"];
    // Browsers send a cookie without a name as its value alone: this one would go out as `doorward.session=evil`.
    const nameless = ["=doorward.session=evil; Path=/", "= doorward.snapshot=evil"];
    const theirs = ["a=1; Path=/", "b=2, c=3; Expires=Wed, 21 Oct 2099 07:28:00 GMT"];
    response.writeHead(200, { "set-cookie": [...ours, theirs[0], ...nameless, theirs[1]] }).end();
  },
  "/gzip": (_, response) => response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync(TEXT)),
  "/br": (_, response) => response.writeHead(200, { "content-encoding": "br" }).end(brotliCompressSync(TEXT)),
  "/204": (_, response) => response.writeHead(204, { "x-kept": "1" }).end(),
  "/304": (_, response) => response.writeHead(304, { etag: '"v1"' }).end(),
  "/head": (_, response) => response.writeHead(200, { "content-length": "1234", etag: '"v1"' }).end(),
  "/range": ({ headers }, response) =>
    response.writeHead(206, { "content-range": `${headers.range.replace("=", " ")}/100` }).end("0123456789"),
  "/big": (_, response) => response.writeHead(200, { "content-length": BIG.length }).end(BIG),
  "/stream": async (_, response) => {
    response.writeHead(200, { "content-type": "text/plain" }).write("first ");
    await gate("first chunk was read").promise;
    response.end("last");
  },
  "/upload": Object.assign(
    async ({ raw }, response) => {
      const hash = createHash("sha256");
      for await (const chunk of raw) {
        hash.update(chunk);
        gate("first chunk has arrived").resolve();
      }
      response.end(hash.digest("hex"));
    },
    { streams: true },
  ),
  "/status": ({ url }, response) => response.writeHead(Number(url.split("?")[1]), { "x-kept": "1" }).end("body"),
  "/public/status": ({ url }, response) => {
    // Node writes no 101 by itself.
    response.socket.end(`HTTP/1.1 ${url.split("?")[1]} Odd\r\nContent-Length: 0\r\n\r\n`);
  },
  "/wait": async ({ headers }, response) => {
    gate(`${headers["x-gate"]}, and has arrived`).resolve();
    await gate(headers["x-gate"]).promise;
    response.end("done");
  },
  "/broken": (_, response) => {
    response.writeHead(200).write("half");
    setImmediate(() => response.socket.destroy());
  },
  "/hops": (_, response) => {
    const hops = { connection: "close, X-Hop", "x-hop": "1", "keep-alive": "timeout=77", "proxy-authenticate": "Basic" };
    response.writeHead(200, { ...hops, "x-kept": "1", "cache-control": "max-age=7" }).end();
  },
};

before(async () => {
  origin = await startOrigin(answers);
  const script = `export default { async fetch(request) {
    const { method, url, headers } = request;
    return Response.json({ method, url, headers: [...headers], body: await request.text() }, { status: 201 });
  } }`;
  worker = await startWorker({ workers: { ORIGIN: script } });
  await seedApp(worker, "app.localhost", { origin: origin.url });
  await seedApp(worker, "bound.localhost", { binding: "ORIGIN" });
  await seedApp(worker, "based.localhost", { origin: `${origin.url}/base/` });
  await seedApp(worker, "down.localhost", { origin: `http://127.0.0.1:${await freePort()}` });
  person = await signUp(worker);
  await visit(person.browser, `${APP}/`);
  cookie = cookieOf(person, "app.localhost");
});
after(async () => {
  for (const { resolve } of gates.values()) resolve();
  await worker?.dispose();
  await origin?.close();
});

const get = (path, options) => person.browser.get(APP + path, options);
const FORGED = [
  "X-Doorward-User",
  "x-doorward-roles",
  "X-DOORWARD-ASSERTION",
  "X_Doorward_User",
  "x_doorward-roles",
  "X-Doorward_Email",
  "X-Doorward-New",
  "X-Forwarded-Proto",
  "X-Forwarded-Host",
  "X-Forwarded-For",
  "X-Forwarded-Port",
  "X_Forwarded_For",
  "Forwarded",
  "X-Real-IP",
  "X-Original-URL",
  "X-Rewrite-URL",
  "X-Original-Method",
  "Keep-Alive",
  "Proxy-Authorization",
  "Proxy-Connection",
  "TE",
  "Trailer",
  "X-Named",
];
const send = (path, extra, signedIn = true) => {
  const head = [`GET ${path} HTTP/1.1`, "Host: app.localhost", "CF-Connecting-IP: 203.0.113.9"];
  return raw(worker.port, [...head, ...(signedIn ? [`Cookie: ${cookie}`] : []), ...extra]);
};

test("nothing that only the gate may say comes from a visitor, signed in or on a public path", async () => {
  const kept = { "User-Agent": "T/1", Accept: "*/*", Authorization: "Bearer t", "X-Custom": "a, b", "If-None-Match": '"x"' };
  for (const [path, signedIn] of [
    ["/", true],
    ["/public/x", true],
    ["/public/x", false],
  ]) {
    const forged = FORGED.flatMap((name) => [`${name}: forged`, `${name}: forged too`]);
    const extra = ["Connection: X-Named, keep-alive, x-doorward-assertion, host", "Connection: TE, Cookie, X-Forwarded-For"];
    const answer = await send(path, [...forged, ...extra, ...Object.entries(kept).map((pair) => pair.join(": "))], signedIn);
    assert.equal(answer.status, 200, answer.headers);
    const request = origin.last();
    const leaked = request.rawHeaders.filter((_, at, all) => at % 2 === 0 && /forged/.test(all[at + 1]));
    assert.deepEqual(leaked, [], `${path}, signed in: ${signedIn}`);
    for (const [name, value] of Object.entries(kept)) assert.deepEqual(lines(request, name), [value], name);
    for (const [name, value] of [
      ["for", "203.0.113.9"],
      ["proto", "http"],
      ["host", "app.localhost"],
    ])
      assert.deepEqual(lines(request, `x-forwarded-${name}`), [value]);
    assert.deepEqual(lines(request, "host"), [`127.0.0.1:${origin.port}`]);
    const said = request.rawHeaders.filter((name, at) => at % 2 === 0 && /^x.doorward/i.test(name));
    assert.equal(
      said
        .map((name) => name.toLowerCase().slice(11))
        .sort()
        .join(),
      signedIn ? "assertion,email,roles,tenant,user" : "",
    );
    assert.deepEqual(lines(request, "x-doorward-user"), signedIn ? [person.id] : []);
  }
});

test("nor under the other names by which origins believe an address or a URL", async () => {
  const addresses = ["True-Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "X-Forwarded", "Forwarded-For"];
  const names = [...addresses, "X-Original-URI", "X-Original-Host"];
  await send(
    "/public/x",
    names.map((name) => `${name}: forged`),
    false,
  );
  assert.deepEqual(
    names.filter((name) => lines(origin.last(), name).length),
    [],
  );
});

test("our cookies stay here, wherever they hide, and all others pass", async () => {
  for (const [given, left] of [
    [["a=1; OURS; b=2"], "a=1; b=2"],
    [["OURS"], undefined],
    [["a=1, OURS; b=2"], "a=1; b=2"],
    [["a=1; b=2", "OURS"], "a=1; b=2"],
    [["a=1;OURS;b=2"], "a=1; b=2"],
    [["a=1; __Host-doorward.session=x; __Secure-DOORWARD.x=1; DoorWard.Gate=2; OURS"], "a=1"],
    [['json={"a":1,"b":2}; OURS; c="x y"'], 'json={"a":1,"b":2}; c="x y"'],
    [["a=x,y; OURS; empty=; doorward=mine; xdoorward.session=mine"], "a=x,y; empty=; doorward=mine; xdoorward.session=mine"],
    [["a=1 ,\tOURS"], "a=1"],
  ]) {
    for (const path of ["/cookie", "/public/cookie"]) {
      const head = given.map((line) => `Cookie: ${line.replace("OURS", cookie)}`);
      const answer = await raw(worker.port, [`GET ${path} HTTP/1.1`, "Host: app.localhost", ...head]);
      assert.equal(answer.status, 200, `${given}`);
      assert.equal(origin.last().headers.cookie, left, `${path} ${given}`);
    }
  }
});

test("cookies in several lines are as if they were in one", async () => {
  const session = cookie.split("; ").find((pair) => pair.startsWith("doorward.session="));
  const answer = await raw(worker.port, ["GET /crumbs HTTP/1.1", "Host: app.localhost", `Cookie: ${session}`, "Cookie: a=1; b=2"]);
  assert.equal(answer.status, 200, answer.body);
  assert.equal(origin.last().headers.cookie, "a=1; b=2");
});

test("an origin's redirect is the visitor's to follow, and its cookies are kept but for those under our names", async () => {
  const redirect = await get("/redirect");
  assert.deepEqual([redirect.status, redirect.location], [302, "http://elsewhere.invalid/x?y=%2F"]);
  const { cookies } = await get("/cookies", { keepCookies: false });
  assert.ok(cookies.includes("a=1; Path=/"), String(cookies));
  assert.ok(cookies.includes("b=2, c=3; Expires=Wed, 21 Oct 2099 07:28:00 GMT"), String(cookies));
  assert.deepEqual(
    cookies.filter((line) => OURS.test(line)),
    [],
  );
  assert.deepEqual(
    cookies.filter((line) => OURS.test(line.replace(/^\s*=/, ""))),
    [],
    "a cookie without a name",
  );
});

test("compressed answers arrive as they are labelled", async () => {
  const decode = { gzip: gunzipSync, br: brotliDecompressSync, undefined: (bytes) => bytes };
  for (const path of ["/gzip", "/br"]) {
    for (const accepted of ["gzip, br", "gzip", "br", "identity", undefined]) {
      const answer = await get(path, { headers: { "accept-encoding": accepted } });
      const coding = answer.headers["content-encoding"];
      assert.equal(decode[coding]?.(answer.bytes).toString(), TEXT, `${path}, accepting ${accepted}, labelled ${coding}`);
      if (answer.headers["content-length"]) assert.equal(Number(answer.headers["content-length"]), answer.bytes.length);
    }
  }
});

test("answers without a body, and parts of one, keep what they say", async () => {
  const none = await get("/204");
  assert.deepEqual([none.status, none.text, none.headers["x-kept"]], [204, "", "1"]);
  const same = await get("/304", { headers: { "if-none-match": '"v1"' } });
  assert.deepEqual([same.status, same.text, same.headers.etag], [304, "", '"v1"']);
  assert.equal(origin.last().headers["if-none-match"], '"v1"');
  const head = await person.browser.send("HEAD", `${APP}/head`);
  assert.deepEqual([head.status, head.text, head.headers.etag, head.headers["content-length"]], [200, "", '"v1"', "1234"]);
  assert.equal(origin.last().method, "HEAD");
  const part = await get("/range", { headers: { range: "bytes=0-9" } });
  assert.deepEqual([part.status, part.text, part.headers["content-range"]], [206, "0123456789", "bytes 0-9/100"]);
});

test("thirty megabytes pass either way unchanged", hangs, async () => {
  assert.equal(sha256((await get("/big")).bytes), sha256(BIG));
  const sent = await person.browser.send("POST", `${APP}/upload`, { body: BIG });
  assert.deepEqual([sent.status, sent.text], [200, sha256(BIG)]);
});

test("an answer is passed on while the origin still writes it, a body while the visitor still sends it", hangs, async () => {
  const connection = connect(worker.port);
  connection.write(`GET /stream HTTP/1.1\r\nHost: app.localhost\r\nCookie: ${cookie}\r\nConnection: close\r\n\r\n`);
  assert.match(await connection.head(), /^HTTP\/1.1 200 /);
  await connection.until((bytes) => bytes.includes("first "));
  gate("first chunk was read").resolve();
  assert.match((await connection.until((bytes) => bytes.includes("last"))).toString(), /first [^]*last/);
  connection.close();
  const options = { host: "127.0.0.1", port: worker.port, method: "PUT", path: "/upload", headers: { host: "app.localhost", cookie } };
  const { promise, resolve, reject } = Promise.withResolvers();
  const request = http.request(options, resolve).on("error", reject);
  request.write("first ");
  await gate("first chunk has arrived").promise;
  request.end("last");
  const response = await promise;
  assert.equal((await response.toArray()).join(""), sha256("first last"));
});

test("status codes, methods and paths pass as they are", async () => {
  for (const status of [200, 201, 202, 207, 301, 308, 400, 401, 402, 403, 404, 409, 418, 429, 451, 500, 503, 511, 599]) {
    const answer = await get(`/status?${status}`);
    assert.deepEqual([answer.status, answer.text, answer.headers["x-kept"]], [status, "body", "1"]);
  }
  for (const method of ["PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "REPORT", "MKCOL", "SEARCH", "LOCK", "NOTIFY"]) {
    const answer = await person.browser.send(method, `${APP}/x`, { body: "some body" });
    assert.deepEqual([answer.status, answer.json.method, answer.json.body], [200, method, "some body"], method);
  }
  assert.ok([200, 405, 501].includes((await person.browser.send("TRACE", `${APP}/x`)).status), "TRACE");
  for (const path of ["/a%20b?x=%2F&y=a+b&z", "/%C3%A9//x", "/a;b=c/d,e", "/x?", "/x?a=b?c=d", "/%5B%5D[]", "/~!$&'()*+,=:@"]) {
    assert.equal((await get(path)).json.url, path);
  }
  assert.equal((await visit(person.browser, "http://based.localhost/x/y?z=1")).json.url, "/base/x/y?z=1");
});

test("a GET with a body, a body of unknown length, and bytes beyond ASCII in headers are no errors", async () => {
  const odd = await raw(worker.port, ["GET /odd HTTP/1.1", "Host: app.localhost", `Cookie: ${cookie}`], "with a body");
  assert.equal(odd.status, 200);
  const { body, headers } = origin.to("/odd")[0];
  assert.equal(Number(headers["content-length"] ?? 0), body.length, "a length without its body");
  const head = ["POST /chunked HTTP/1.1", "Host: app.localhost", `Cookie: ${cookie}`, "Transfer-Encoding: chunked"];
  const chunked = await raw(worker.port, head, "5\r\nhello\r\n0\r\n\r\n");
  assert.equal(chunked.status, 200);
  assert.equal(origin.to("/chunked")[0].body.toString(), "hello");
  const latin = await send("/latin", ["X-Name: caf\xe9", "Referer: /\xff"]);
  assert.equal(latin.status, 200);
});

test("headers of the origin's own hop end here, the others pass", async () => {
  const { headers, text } = await send("/hops", []);
  assert.match(headers, /x-kept: 1/i, text);
  assert.match(headers, /cache-control: private, max-age=7/i);
  for (const hop of [/^x-hop:/im, /timeout=77/i, /^proxy-authenticate:/im]) assert.doesNotMatch(headers, hop);
});

test("an answer that cannot be passed on is 502, and takes nobody else's request down", async () => {
  for (const status of [101, 600, 999]) {
    const name = `another's request, at ${status}`;
    const other = get("/wait", { headers: { "x-gate": name } });
    await gate(`${name}, and has arrived`).promise;
    const bad = await get(`/public/status?${status}`);
    gate(name).resolve();
    assert.deepEqual([(await other).status, bad.status], [200, 502], `the others', and this one, at status ${status}`);
  }
});

test("an origin that is down is 502, as a page or as JSON; one that breaks off never looks complete", async () => {
  await visit(person.browser, "http://down.localhost/");
  const page = await person.browser.get("http://down.localhost/x", { headers: PAGE });
  assert.deepEqual([page.status, page.headers["content-type"]], [502, "text/html; charset=utf-8"]);
  const json = await person.browser.post("http://down.localhost/x", { a: 1 }, { headers: API });
  assert.deepEqual([json.status, json.json.code], [502, "BAD_GATEWAY"]);
  for (const { text } of [page, json]) assert.doesNotMatch(text, /127\.0\.0\.1/, "the origin's address is told");
  const broken = await send("/broken", []);
  assert.doesNotMatch(broken.body, /0\r\n\r\n$/);
});

test("an origin by service binding gets the same", async () => {
  await visit(person.browser, "http://bound.localhost/");
  const forged = { headers: { "x-doorward-roles": "forged" } };
  const answer = await person.browser.post("http://bound.localhost/deep?x=%2F", "payload", forged);
  assert.equal(answer.status, 201);
  const { method, url, headers, body } = answer.json;
  assert.deepEqual([method, new URL(url).pathname + new URL(url).search, body], ["POST", "/deep?x=%2F", "payload"]);
  const said = Object.fromEntries(headers);
  const wanted = [person.id, "member", "bound.localhost"];
  assert.deepEqual([said["x-doorward-user"], said["x-doorward-roles"], said["x-forwarded-host"]], wanted);
  assert.doesNotMatch(said.cookie ?? "", OURS);
});

test("a WebSocket goes through for whoever may, and not for others", hangs, async () => {
  const open = async (path, cookies) => {
    const connection = connect(worker.port);
    const head = [`GET ${path} HTTP/1.1`, "Host: app.localhost", `Origin: ${APP}`, "X-Doorward-User: forged", ...cookies];
    const socket = ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
    connection.write([...head, "Connection: Upgrade", "Upgrade: websocket", ...socket, "", ""].join("\r\n"));
    return { connection, head: await connection.head() };
  };
  const mine = `Cookie: ${cookie}`;
  for (const [path, cookies, status] of [
    ["/socket", [], 401],
    ["/admin/socket", [mine], 403],
    ["/internal", [mine], 403],
  ]) {
    const { connection, head } = await open(path, cookies);
    assert.equal(Number(head.split(" ")[1]), status, head);
    assert.equal(origin.to(path).length, 0);
    connection.close();
  }
  const { connection, head } = await open("/socket", [`${mine}; a=1`]);
  assert.match(head, /^HTTP\/1.1 101 /);
  assert.match(head, /sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=/i);
  const { upgraded, headers } = origin.to("/socket")[0];
  assert.deepEqual([upgraded, headers["x-doorward-user"], headers.cookie], [true, person.id, "a=1"]);
  connection.write(frame("hello", { masked: true }));
  assert.equal(readFrame(await connection.until(readFrame))?.text, "echo: hello");
  connection.close();
});
