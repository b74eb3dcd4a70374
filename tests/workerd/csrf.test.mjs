// Who may send what from where, who may read the answers, and where a browser may be sent afterwards.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import test, { after, before } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { PASSWORD, cookieOf, signUp } from "../harness/seed.mjs";
import { AUTH, SPA, startWorker } from "../harness/worker.mjs";

const at = (path) => `${AUTH}/api/auth${path}`;
const EVIL = "http://evil.example";
const JSON_TYPE = { "content-type": "application/json" };
let worker, person;

before(async () => {
  worker = await startWorker({ settings: { SESSION_COOKIE_CACHE_SECONDS: "0", SESSION_RECHECK_SECONDS: "0" } });
  person = await signUp(worker);
});
after(() => worker?.dispose());

const credentials = (more) => JSON.stringify({ email: person.email, password: PASSWORD, ...more });
const send = (headers, more) =>
  worker.browser().send("POST", at("/sign-in/email"), { body: credentials(more), headers: { ...JSON_TYPE, ...headers } });
const signedIn = ({ cookies }) => cookies.some((line) => /^doorward\.session=[^;]/.test(line));

test("where a sign-in may come from, with cookies and without", async () => {
  const navigation = { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate" };
  const [OK, INVALID, MISSING, BLOCKED] = [undefined, "INVALID_ORIGIN", "MISSING_OR_NULL_ORIGIN", "CROSS_SITE_NAVIGATION_LOGIN_BLOCKED"];
  const table = [
    // headers, without cookies, with a cookie
    [{}, OK, MISSING],
    [{ origin: "" }, OK, MISSING],
    [{ origin: AUTH }, OK, OK],
    [{ origin: SPA }, OK, OK],
    [{ origin: SPA, ...navigation }, OK, OK],
    [{ origin: EVIL }, INVALID, INVALID],
    [{ origin: EVIL, referer: `${AUTH}/login` }, INVALID, INVALID],
    [{ origin: "null" }, MISSING, MISSING],
    [{ origin: "null", referer: `${AUTH}/login` }, MISSING, MISSING],
    [{ referer: `${AUTH}/login?x=1` }, OK, OK],
    [{ referer: `${SPA}/deep/page` }, OK, OK],
    [{ referer: `${EVIL}/?${AUTH}/` }, INVALID, INVALID],
    [{ referer: "about:blank" }, INVALID, INVALID],
    [{ referer: "/login" }, INVALID, INVALID],
    [{ referer: "" }, OK, MISSING],
    [navigation, BLOCKED, MISSING],
    [{ origin: EVIL, ...navigation }, INVALID, INVALID],
    [{ "sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate" }, OK, MISSING],
  ];
  for (const [headers, ...codes] of table) {
    for (const [at, cookie] of [undefined, "a=b"].entries()) {
      const answer = await send({ ...headers, cookie });
      const about = `${JSON.stringify(headers)} ${cookie}: ${answer.text}`;
      assert.equal(answer.status, codes[at] ? 403 : 200, about);
      // Who is sent here by a page of another website sees a page.
      const isPage = codes[at] && headers["sec-fetch-mode"] === "navigate";
      if (isPage) assert.match(answer.headers["content-type"], /^text\/html/, about);
      else assert.equal(answer.json.code, codes[at], about);
      assert.equal(signedIn(answer), !codes[at], about);
    }
  }
});

test("origins are compared whole", async () => {
  const alike = [
    "http://auth.localhost.evil.example",
    "http://evil-auth.localhost",
    "http://x.auth.localhost",
    "http://localhost",
    "http://auth.localhost.",
    "https://auth.localhost",
    "http://auth.localhost:8080",
    "http://spa.localhost",
    "https://spa.localhost:5173",
    "http://spa.localhost:51730",
    "http://auth.localhost@evil.example",
    "http://evil.example#auth.localhost",
    "http://evil.example/http://auth.localhost",
    "http://evil.example\\@auth.localhost",
    "http://auth.localhost, http://evil.example",
    "http://evil.example, http://auth.localhost",
    "http://evil.example http://auth.localhost",
    "null, http://auth.localhost",
    "file://",
    "chrome-extension://auth.localhost",
    "ws://auth.localhost",
    "*",
    "auth.localhost",
    "http://",
    "undefined",
    "http://u:p@auth.localhost",
    "http://xn--uth-7cd.localhost",
    ["http://auth.localhost", "http://evil.example"],
  ];
  for (const origin of alike) {
    const answer = await send({ origin });
    assert.deepEqual([answer.status, answer.json.code], [403, "INVALID_ORIGIN"], `${origin}: ${answer.text}`);
    assert.equal(answer.headers["access-control-allow-origin"], undefined, `${origin} may read the answer`);
  }
});

test("every unsafe endpoint asks where a request comes from, and does nothing before", async () => {
  const handle = (await person.browser.get(at("/get-session"))).json.session.token;
  const bodies = {
    "/sign-in/email": { email: person.email, password: PASSWORD },
    "/sign-up/email": { name: "x", email: uniqueEmail(), password: PASSWORD },
    "/sign-out": {},
    "/revoke-session": { token: handle },
    "/revoke-sessions": {},
    "/revoke-other-sessions": {},
    "/get-session": {},
    "/change-password": { currentPassword: PASSWORD, newPassword: "stolen password" },
    "/update-user": { name: "stolen" },
    "/sign-in/social": { provider: "x" },
  };
  const users = await worker.rows("select count(*) as n from user");
  for (const cookie of [cookieOf(person, "auth.localhost"), undefined]) {
    for (const [path, body] of Object.entries(bodies)) {
      const answer = await worker.browser().post(at(path), body, { origin: EVIL, headers: { cookie } });
      assert.deepEqual([answer.status, answer.json.code], [403, "INVALID_ORIGIN"], `${path}: ${answer.text}`);
      assert.deepEqual(answer.cookies, [], path);
    }
    for (const path of ["/login", "/sign-up", "/sign-out", "/login/upstream"]) {
      const fields = { email: person.email, password: PASSWORD, name: "x", provider: "x" };
      const answer = await worker.browser().submit(AUTH + path, fields, { origin: EVIL, headers: { cookie } });
      assert.deepEqual([answer.status, answer.cookies], [403, []], path);
      assert.match(answer.headers["content-type"], /^text\/html/);
    }
  }
  const { session, user } = (await person.browser.get(at("/get-session"))).json;
  assert.deepEqual([session.token, user.name], [handle, "Zoë Ångström"]);
  assert.deepEqual(await worker.rows("select count(*) as n from user"), users);
});

test("CORS: answers, errors and preflights are readable by trusted origins alone", async () => {
  const ask = (method, path, headers) => person.browser.send(method, at(path), { headers, keepCookies: false });
  const preflight = { "access-control-request-method": "POST", "access-control-request-headers": "content-type" };
  for (const [method, path, more, status] of [
    ["GET", "/get-session", {}, 200],
    ["GET", "/ok", {}, 200],
    ["GET", "/list-sessions", { cookie: undefined }, 401],
    ["OPTIONS", "/sign-in/email", preflight, 204],
    ["OPTIONS", "/nope", preflight, 204],
  ]) {
    for (const origin of [AUTH, SPA]) {
      const { headers, status: got } = await ask(method, path, { origin, ...more });
      const about = `${method} ${path} from ${origin}`;
      assert.deepEqual(
        [got, headers["access-control-allow-origin"], headers["access-control-allow-credentials"]],
        [status, origin, "true"],
        about,
      );
      assert.match(headers.vary, /\bOrigin\b/i, about);
    }
    for (const origin of [EVIL, "null", "https://spa.localhost:5173", "http://spa.localhost:5173.evil.example"]) {
      const { headers } = await ask(method, path, { origin, ...more });
      assert.deepEqual(
        Object.keys(headers).filter((name) => name.startsWith("access-control-")),
        [],
        `${method} ${path} from ${origin}`,
      );
      assert.match(headers.vary, /\bOrigin\b/i, `${method} ${path} from ${origin}`);
    }
  }
  const { headers } = await ask("OPTIONS", "/sign-in/email", { origin: SPA, ...preflight });
  assert.match(headers["access-control-allow-headers"], /content-type/i);
  assert.match(headers["access-control-allow-methods"], /POST/);
  assert.ok(Number(headers["access-control-max-age"]) > 0);
  const readable = (await ask("GET", "/ok", { origin: SPA })).headers["access-control-expose-headers"];
  for (const name of ["X-Retry-After", "Retry-After"]) assert.ok(readable.includes(name));
  // Pages are nobody's to read but the reader's.
  const page = await person.browser.get(`${AUTH}/account`, { headers: { origin: SPA } });
  assert.deepEqual([page.status, page.headers["access-control-allow-origin"]], [200, undefined]);
});

test("CORS: in development the log says which origin is not trusted", async () => {
  const origin = "http://localhost:5174";
  await worker.browser().get(`${AUTH}/api/auth/get-session`, { headers: { origin } });
  // The log comes by another way than the answer, and may come after it.
  for (let tries = 0; tries < 100 && !/localhost:5174/.test(worker.logs()); tries += 1) await sleep(50);
  assert.match(worker.logs(), /localhost:5174[^\n]*is not in TRUSTED_ORIGINS/);
  const before = worker.logs().length;
  await worker.browser().get(`${AUTH}/api/auth/get-session`, { headers: { origin: SPA } });
  await worker.browser().get(`${AUTH}/api/auth/get-session`);
  assert.doesNotMatch(worker.logs().slice(before), /TRUSTED_ORIGINS/);
});

test("CORS: what clients ask without cookies is anybody's to read, and a trusted origin's with its own", async () => {
  for (const [method, url] of [
    ["GET", at("/jwks")],
    ["GET", `${AUTH}/.well-known/openid-configuration`],
    ["POST", `${AUTH}/oauth2/token`],
    ["GET", `${AUTH}/oauth2/userinfo`],
  ]) {
    const from = async (origin) => {
      const { headers } = await person.browser.send(method, url, { headers: { origin, dpop: "x" } });
      assert.match(headers.vary, /\bOrigin\b/i);
      return [
        headers["access-control-allow-origin"],
        headers["access-control-allow-credentials"],
        /dpop-nonce/i.test(headers["access-control-expose-headers"]),
      ];
    };
    assert.deepEqual(await from(SPA), [SPA, "true", true], url);
    for (const origin of [EVIL, "null"]) assert.deepEqual(await from(origin), ["*", undefined, true], `${url} from ${origin}`);
  }
  const preflight = await worker.browser().send("OPTIONS", `${AUTH}/oauth2/token`, {
    headers: { origin: EVIL, "access-control-request-method": "POST", "access-control-request-headers": "dpop,authorization" },
  });
  assert.deepEqual([preflight.status, preflight.headers["access-control-allow-origin"]], [204, "*"]);
  assert.match(preflight.headers["access-control-allow-headers"], /DPoP/i);
});

test("CORS: an unknown path is a 404 to a trusted script, not a network error", async () => {
  const { status, headers } = await person.browser.get(at("/nope"), { headers: { origin: SPA } });
  assert.deepEqual([status, headers["access-control-allow-origin"]], [404, SPA]);
});

test("CORS: what may be cached varies by Origin, also when it was asked for without one", async () => {
  const { headers } = await person.browser.get(at("/jwks"));
  assert.match(headers["cache-control"], /public/);
  assert.match(headers.vary ?? "", /\bOrigin\b/i, "a cache hands a script of a trusted origin the answer without its CORS headers");
});

test("every answer of the API is nosniff, and no-store", async () => {
  for (const [method, path, status] of [
    ["GET", "/get-session", 200],
    ["GET", "/error", 200],
    ["POST", "/sign-in/email", 400],
    ["GET", "/nope", 404],
    ["PUT", "/ok", 404],
  ]) {
    const answer = await person.browser.send(method, at(path), { headers: { origin: AUTH } });
    const about = `${method} ${path}`;
    assert.equal(answer.status, status, about);
    assert.deepEqual([answer.headers["cache-control"], answer.headers["x-content-type-options"]], ["no-store", "nosniff"], about);
  }
});

// What leads elsewhere, in the eye of some browser, proxy or parser.
const TRICKS = [
  "//evil.example",
  "///evil.example",
  "////evil.example",
  "/\\evil.example",
  "\\\\evil.example",
  "\\/evil.example",
  "/\\/evil.example",
  "///\\evil.example",
  "//",
  "https:evil.example",
  "https:/evil.example",
  "http:///evil.example",
  "http:\\\\evil.example",
  "http:/\\evil.example",
  "http:auth.localhost",
  "http:/auth.localhost/x",
  "https://evil.example",
  "HTTPS://EVIL.EXAMPLE",
  "https://evil.example/http://auth.localhost",
  "http://evil.example#http://auth.localhost",
  "http://evil.example?http://auth.localhost",
  "http://auth.localhost@evil.example",
  "http://auth.localhost:80@evil.example",
  "http://spa.localhost:5173@evil.example",
  "http://user@auth.localhost",
  "http://user:pw@auth.localhost/",
  "http://evil.example\\@auth.localhost",
  "http://evil.example%5c@auth.localhost",
  "http://auth.localhost\\.evil.example",
  "http://auth.localhost\t@evil.example",
  "http://auth.localhost.evil.example",
  "http://auth.localhost%2eevil.example",
  "http://auth.localhost%00.evil.example",
  "http://auth.localhost%23.evil.example",
  "http://evil。example",
  "http://x.auth.localhost",
  "http://auth.localhost.",
  "http://auth.localhost:8080",
  "https://auth.localhost",
  "http://spa.localhost",
  "http://spa.localhost:5174",
  "http://x.spa.localhost:5173",
  "http://spa.localhost:5173.evil.example",
  "http://spa.localhost:99999",
  "http://127.0.0.1",
  "http://2130706433/",
  "http://[::1]/",
  "http://",
  "https://",
  "javascript:alert(1)",
  "JaVaScRiPt:alert(1)",
  "javascript://auth.localhost/%0aalert(1)",
  "java\nscript:alert(1)",
  "data:text/html,x",
  "vbscript:x",
  "file:///etc/passwd",
  "blob:http://auth.localhost/x",
  "ftp://auth.localhost",
  "mailto:a@x.co",
  "evil.example",
  "dash",
  "?x",
  "#x",
  ".",
  "./x",
  "../x",
  "@evil.example",
  ":80/x",
  ";//evil.example",
  " ",
  " /dash",
  "/dash ",
  "/da sh",
  " //evil.example",
  "\t//evil.example",
  "/\t/evil.example",
  "/\n/evil.example",
  "/\r/evil.example",
  "/\r\nSet-Cookie: x=1",
  "\u0000/x",
  "/\u0000/evil.example",
  "/x\u007f",
  "/\u0085/evil.example",
  "/\u00a0/evil.example",
  "/\u2028/evil.example",
  "\ufeff/x",
  "\u200b//evil.example",
  "/..//evil.example",
  "/.//evil.example",
  "/x/..//evil.example",
  "/x/../..//evil.example",
  "/%2e%2e//evil.example",
  "/%2E//evil.example",
  "/x/.%2e//evil.example",
  "/..\\/evil.example",
  "/%2f%2fevil.example",
  "/%2F/evil.example",
  "/x%2f..%2f%2fevil.example",
  "/%5cevil.example",
  "/%5C%5Cevil.example",
  "/%09/evil.example",
  "/%0d%0aSet-Cookie:x=1",
  "/x%00",
  "http://auth.localhost//evil.example",
  "http://auth.localhost/..//evil.example",
  "http://auth.localhost/%2f%2fevil.example",
  "http://spa.localhost:5173//evil.example",
  "http://spa.localhost:5173/%5cevil.example",
  "http://auth.localhost\\evil.example",
  "／／evil.example",
  "\\evil.example",
];
const WELCOME = [
  ["/", "/"],
  ["/dash?x=1#top", "/dash?x=1#top"],
  ["/a/../b", "/b"],
  ["/a//b", "/a//b"],
  ["/@evil.example", "/@evil.example"],
  ["/:80/x", "/:80/x"],
  ["/~x;y=1,2", "/~x;y=1,2"],
  ["/search?next=https://evil.example", "/search?next=https://evil.example"],
  ["/q?u=%2F%2Fevil.example", "/q?u=%2F%2Fevil.example"],
  ["/#//evil.example", "/#//evil.example"],
  ["/日本", "/%E6%97%A5%E6%9C%AC"],
  ["/／evil.example", "/%EF%BC%8Fevil.example"],
  [AUTH, `${AUTH}/`],
  [`${AUTH}:80/x`, `${AUTH}/x`],
  [SPA, `${SPA}/`],
  [`${SPA}/a/b?c#d`, `${SPA}/a/b?c#d`],
  ["http://SPA.localhost:5173/x", `${SPA}/x`],
  [`${SPA}/a/../b`, `${SPA}/b`],
];
const leadsTo = (location) => new URL(location, `${AUTH}/login`).origin;

test("callbackURL: tricks are refused, by sign-in and sign-up, and open nothing", async () => {
  const applicant = { name: "x", email: "nobody.yet@example.com", password: PASSWORD };
  for (const callbackURL of TRICKS) {
    for (const answer of [
      await send({ origin: AUTH }, { callbackURL }),
      await worker.browser().post(at("/sign-up/email"), { ...applicant, callbackURL }),
    ]) {
      assert.equal(answer.status, 403, `${JSON.stringify(callbackURL)}: ${answer.text}`);
      assert.deepEqual(answer.json, { message: "Invalid callbackURL", code: "INVALID_CALLBACK_URL" });
      assert.deepEqual([answer.cookies, answer.location], [[], undefined]);
    }
  }
  assert.deepEqual(await worker.rows("select id from user where email = ?", applicant.email), []);
  for (const callbackURL of [["/x"], 1, {}, true]) assert.equal((await send({ origin: AUTH }, { callbackURL })).status, 400);
});

test("callbackURL: paths and trusted origins are taken, in their normal form", async () => {
  for (const [callbackURL, sent] of WELCOME) {
    const { status, json, location } = await send({ origin: SPA }, { callbackURL });
    assert.deepEqual([status, json.redirect, json.url, location], [200, true, sent, sent], callbackURL);
  }
});

test("/login?continue=: whatever it says, a login leads to a trusted origin", async () => {
  const fields = { email: person.email, password: PASSWORD };
  const decode = (html) => html.replaceAll("&quot;", '"').replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
  for (const [given, sent] of [...TRICKS.map((trick) => [trick, "/account"]), ...WELCOME]) {
    const about = JSON.stringify(given);
    const url = `${AUTH}/login?continue=${encodeURIComponent(given)}`;
    const page = await worker.browser().get(url);
    assert.equal(page.status, 200, about);
    const hidden = decode(page.text.match(/name="continue" value="([^"]*)"/)[1]);
    const already = await person.browser.get(url);
    const posted = await worker.browser().submit(`${AUTH}/login`, { ...fields, continue: given });
    assert.deepEqual([already.status, posted.status], [302, 303], about);
    for (const target of [hidden, already.location, posted.location]) {
      assert.equal(target, sent, about);
      assert.ok([AUTH, SPA].includes(leadsTo(target)), `${about} leads to ${leadsTo(target)}`);
    }
  }
  // Two readers could believe two values; and what is encoded twice is no other path.
  for (const query of [
    "continue=/ok&continue=//evil.example",
    "continue=//evil.example&continue=/ok",
    "continue=%252f%252fevil.example",
    "%63ontinue=//evil.example",
  ]) {
    const { location } = await person.browser.get(`${AUTH}/login?${query}`);
    assert.equal(leadsTo(location), AUTH, query);
  }
});

test("the pages show what they were told, and run none of it", async () => {
  const nasty = `"><script>alert(1)</script>'&`;
  const query = encodeURIComponent(`/x?${nasty}#${nasty}`);
  const shown = [
    await worker.browser().get(`${AUTH}/login?continue=${query}`),
    await worker.browser().get(`${AUTH}/sign-up?continue=${query}`),
    await worker.browser().submit(`${AUTH}/login`, { email: nasty, password: "x", continue: `/x?${nasty}` }),
    await worker.browser().submit(`${AUTH}/sign-up`, { email: nasty, name: nasty, password: PASSWORD }),
    await (await signUp(worker, { name: nasty })).browser.get(`${AUTH}/account`),
  ];
  for (const [at, { text, headers }] of shown.entries()) {
    assert.deepEqual(
      text.match(/<script.*?>/gi) ?? [],
      text.match(/<script src="\/(?:passkey|fragment)\.js" type="module">/g) ?? [],
      `page ${at}`,
    );
    assert.match(headers["content-security-policy"], /default-src 'none'.*frame-ancestors 'none'/);
  }
});

test("hosts below a trusted domain, apps and extensions are welcome by name, and nobody who looks like them", async () => {
  const TRUSTED = "https://*.preview.example.com, myapp://, chrome-extension://abcdefgh";
  const on = await startWorker({ settings: { TRUSTED_ORIGINS: TRUSTED } });
  try {
    const account = await signUp(on);
    const body = (more) => JSON.stringify({ email: account.email, password: PASSWORD, ...more });
    const signIn = (headers, more) =>
      on.browser().send("POST", at("/sign-in/email"), { body: body(more), headers: { ...JSON_TYPE, ...headers } });
    for (const origin of ["https://a.preview.example.com", "https://a.b.preview.example.com", "chrome-extension://abcdefgh"]) {
      const answer = await signIn({ origin, cookie: "a=b" });
      assert.deepEqual(
        [answer.status, answer.headers["access-control-allow-origin"], answer.headers["access-control-allow-credentials"]],
        [200, origin, "true"],
        origin,
      );
      const preflight = await on
        .browser()
        .send("OPTIONS", at("/sign-in/email"), { headers: { origin, "access-control-request-method": "POST" } });
      assert.equal(preflight.headers["access-control-allow-origin"], origin);
    }
    // What the client for Expo sends, which has cookies and no page.
    assert.equal((await signIn({ "expo-origin": "myapp://", cookie: "a=b" })).status, 200);
    for (const headers of [
      { origin: "https://preview.example.com" },
      { origin: "https://evilpreview.example.com" },
      { origin: "https://a.preview.example.com.evil.example" },
      { origin: "http://a.preview.example.com" },
      { origin: "https://a.preview.example.com:8443" },
      { origin: "chrome-extension://other" },
      { "expo-origin": "other://" },
      { origin: EVIL, "expo-origin": "myapp://" },
      { "expo-origin": "https://evil.example" },
    ]) {
      const answer = await signIn({ cookie: "a=b", ...headers });
      assert.deepEqual(
        [answer.status, answer.json.code, answer.headers["access-control-allow-origin"]],
        [403, "INVALID_ORIGIN", undefined],
        JSON.stringify(headers),
      );
    }
    const to = async (callbackURL) => (await signIn({}, { callbackURL })).json;
    for (const good of ["myapp://home?tab=1", "https://a.preview.example.com/x", "chrome-extension://abcdefgh/done.html"])
      assert.equal((await to(good)).url, good);
    for (const bad of [
      "myapp:home",
      "other://home",
      "chrome-extension://other/x",
      "https://preview.example.com/",
      "javascript://%0aalert(1)",
      "https://a.preview.example.com.evil.example/",
    ]) {
      assert.equal((await to(bad)).code, "INVALID_CALLBACK_URL", bad);
    }
  } finally {
    await on.dispose();
  }
});

test("an origin that would trust everybody or nobody stops every request, and is named in the log", async () => {
  for (const bad of ["https://*.com", "https://*.workers.dev", "*", "https://a.*.example.com", "javascript://", "chrome-extension://"]) {
    const on = await startWorker({ settings: { TRUSTED_ORIGINS: `${SPA},${bad}` } });
    try {
      assert.equal((await on.browser().get(at("/ok"))).status, 500, bad);
      assert.ok(on.logs().includes("TRUSTED_ORIGINS") && on.logs().includes(bad), on.logs().slice(-500));
    } finally {
      await on.dispose();
    }
  }
});
