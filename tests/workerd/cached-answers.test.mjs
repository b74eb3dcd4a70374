// What one person gets is not given to another: what caches may keep of every kind of answer, for every kind of visitor.

import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { startOrigin } from "../harness/origin.mjs";
import { API, PAGE, seedApp, signUp, visit } from "../harness/seed.mjs";
import { startWorker } from "../harness/worker.mjs";

const APP = "http://app.localhost";
const MODIFIED = { "last-modified": "Wed, 21 Oct 2015 07:28:00 GMT" };
const LATER = "Wed, 21 Oct 2099 07:28:00 GMT";

// What origins say: status, headers, and of it what is everybody's by their own word.
const KINDS = {
  plain: [200, {}],
  etag: [200, { etag: '"v1"' }],
  immutable: [200, { "cache-control": "public, max-age=31536000, immutable", etag: '"v1"' }, "everybody's"],
  shared: [200, { "cache-control": "s-maxage=600" }, "everybody's"],
  cached: [200, { "cache-control": "max-age=600" }],
  swr: [200, { "cache-control": "max-age=60, stale-while-revalidate=86400, stale-if-error=86400" }],
  heuristic: [200, MODIFIED],
  expires: [200, { expires: LATER }],
  open: [200, { "cache-control": "public", ...MODIFIED }, "everybody's"],
  qualified: [200, { "cache-control": 'private="x-a", max-age=600' }],
  cdn: [200, { "cache-control": "max-age=0", "cdn-cache-control": "max-age=600" }, "everybody's"],
  cloudflare: [200, { "cache-control": "no-store", "cloudflare-cdn-cache-control": "max-age=600" }],
  surrogate: [200, { "cache-control": "no-cache", "surrogate-control": "max-age=600", "edge-control": "max-age=600" }],
  accel: [200, { "x-accel-expires": "600", ...MODIFIED }, "everybody's"],
  varied: [200, { "cache-control": "max-age=600", vary: "Accept-Encoding" }],
  nostore: [200, { "cache-control": "no-store" }],
  unmodified: [304, { etag: '"v1"' }],
  unmodified_for_long: [304, { etag: '"v1"', "cache-control": "public, max-age=600" }, "everybody's"],
  moved: [301, { location: "/elsewhere" }],
  permanent: [308, { location: "/elsewhere", "cache-control": "max-age=600" }],
  found: [302, { location: "/elsewhere" }],
  missing: [404, { "cache-control": "public, max-age=60" }, "everybody's"],
  gone: [410, {}],
  failed: [500, {}],
};
const OF_CACHES = /^(cache-control|expires|vary|.*-cache-control|surrogate-control|edge-control|x-accel-expires)$/;

let origin, due, usual;

/** A Worker with alice and bob signed in at the website. With `always`, every request finds the prolongation due. */
async function start(always) {
  const worker = await startWorker({
    settings: always ? { SESSION_RECHECK_SECONDS: "0", SESSION_COOKIE_CACHE_SECONDS: "0", SESSION_UPDATE_SECONDS: "0" } : {},
  });
  await seedApp(worker, "app.localhost", { origin: origin.url });
  const people = [];
  for (const name of ["Alice", "Bob"]) {
    const person = await signUp(worker, { name });
    await visit(person.browser, `${APP}/`);
    people.push(person);
  }
  return { worker, alice: people[0], bob: people[1] };
}

before(async () => {
  const answers = Object.entries(KINDS).flatMap(([name, [status, headers]]) =>
    ["/", "/public/"].map((under) => [
      under + name,
      ({ headers: asked }, response) => {
        response.writeHead(status, headers).end(`for ${asked["x-doorward-user"] ?? "nobody"}`);
      },
    ]),
  );
  origin = await startOrigin(Object.fromEntries(answers));
  due = await start(true);
  usual = await start(false);
});
after(async () => {
  await due?.worker.dispose();
  await usual?.worker.dispose();
  await origin?.close();
});

const directives = (headers) => (headers["cache-control"] ?? "").split(",").map((piece) => piece.trim().toLowerCase());
const ofCaches = (headers) => Object.fromEntries(Object.entries(headers).filter(([name]) => OF_CACHES.test(name)));
const ours = ({ cookies }) => cookies.filter((line) => /^(__Host-)?doorward\./.test(line));
/** Whether a shared cache may keep it (RFC 9111, section 3; RFC 9213). */
const isForSharedCaches = ({ headers }) =>
  Object.keys(headers).some((name) => OF_CACHES.test(name) && !["cache-control", "expires", "vary"].includes(name)) ||
  !directives(headers).some((one) => ["private", "no-store"].includes(one));
/** Whether a browser may show it again without asking, by its word or by a guess. */
const isFresh = ({ status, headers }) => {
  const all = directives(headers);
  if (all.includes("no-store") || all.includes("no-cache")) return false;
  const [age] = all.filter((one) => one.startsWith("max-age="));
  return age ? Number(age.slice(8)) > 0 : "expires" in headers || "last-modified" in headers || [301, 308, 404, 410].includes(status);
};

/** Every kind of visitor, as what they send. The session alone, without the snapshot, has one due. */
function visitors() {
  const session = ({ browser }) => `doorward.session=${browser.cookies("app.localhost").get("doorward.session")}`;
  const gone = session(usual.alice).replace(/=.{4}/, "=AAAA");
  return [
    ["prolongation due", due.worker, () => session(due.alice), "alice"],
    ["another's prolongation due", due.worker, () => session(due.bob), "bob"],
    ["snapshot due", usual.worker, () => session(usual.alice), "alice"],
    ["snapshot", usual.worker, () => [...usual.bob.browser.cookies("app.localhost")].map((pair) => pair.join("=")).join("; "), "bob"],
    ["nobody", usual.worker, () => undefined, undefined],
    ["a session that is none", usual.worker, () => gone, undefined],
  ];
}

/** Every kind of answer to every kind of visitor, asked for once. */
let asked;
async function askAll() {
  const all = [];
  for (const [who, worker, cookie, name] of visitors()) {
    const browser = worker.browser();
    const ask = async (kind, method, under) => {
      const answer = await browser.send(method, APP + under + kind, {
        keepCookies: false,
        headers: { ...API, cookie: cookie(), "if-none-match": '"v0"' },
      });
      const cookies = ours(answer).map((line) => line.slice(0, 20));
      const what = `${method} ${under}${kind}, ${who}: ${answer.status} ${JSON.stringify(ofCaches(answer.headers))} ${cookies}`;
      all.push({ answer, kind, isPublic: under === "/public/", name, who, what });
    };
    for (const kind of Object.keys(KINDS)) {
      await Promise.all(["GET", "HEAD"].flatMap((method) => ["/", "/public/"].map((under) => ask(kind, method, under))));
    }
  }
  return all;
}

async function walk(check) {
  asked ??= await askAll();
  assert.equal(asked.length, 6 * 4 * Object.keys(KINDS).length);
  const wrong = asked
    .map((one) => [check(one), one.what])
    .filter(([problem]) => problem)
    .map((pair) => pair.join(": "));
  assert.deepEqual(wrong, []);
}

test("an answer that may be kept and shown again carries no cookie of ours", () =>
  walk(({ answer }) => ours(answer).length && (isForSharedCaches(answer) || isFresh(answer)) && "our cookie in what caches keep"));

test("what a visitor is shown by a rule that is not public is for no shared cache, and for their own browser by its cookies alone", () =>
  walk(({ answer, isPublic }) => {
    if (isPublic) return undefined;
    if (isForSharedCaches(answer)) return "a shared cache may keep it";
    if (directives(answer.headers).includes("no-store")) return undefined;
    if (!/(^|, *)cookie\b/i.test(answer.headers.vary ?? "")) return "the browser shows it to the next";
    return /immutable|stale|s-maxage|public/.test(answer.headers["cache-control"]) && "it outlives the session";
  }));

test("a visitor who may not see it gets an answer that no cache keeps", () =>
  walk(({ answer, isPublic, name }) => {
    if (isPublic || name) return undefined;
    return (answer.status !== 401 || answer.headers["cache-control"] !== "no-store") && "a refusal that is kept";
  }));

test("a public path stays as cacheable as its origin says", () =>
  walk(({ answer, kind, isPublic, name, who }) => {
    const [status, headers, isEverybodys] = KINDS[kind];
    if (!isPublic || !(who === "nobody" || isEverybodys)) return undefined;
    const said =
      JSON.stringify(ofCaches(answer.headers)) === JSON.stringify(ofCaches(headers)) ||
      Object.keys(ofCaches(headers)).every((one) => answer.headers[one] === headers[one]);
    return (answer.status !== status || !said || (!headers.vary && answer.headers.vary)) && "the origin's word is changed";
  }));

test("what a known visitor sees on a public path, and is not everybody's, is theirs alone", () =>
  walk(
    ({ answer, kind, isPublic, name }) => isPublic && name && !KINDS[kind][2] && isForSharedCaches(answer) && "a shared cache may keep it",
  ));

test("the origin's end is kept for the browser, and there is none where it names none", async () => {
  const { browser } = usual.alice;
  for (const [kind, wanted] of [
    ["immutable", "private, max-age=31536000"],
    ["cached", "private, max-age=600"],
    ["swr", "private, max-age=60"],
    ["expires", "private"],
    ["heuristic", "private, no-cache"],
    ["plain", "private, no-cache"],
    ["shared", "private, no-cache"],
    ["nostore", "private, no-store"],
    ["cdn", "private, max-age=0, no-cache"],
    ["unmodified", "private, no-cache"],
  ])
    assert.equal((await browser.get(`${APP}/${kind}`)).headers["cache-control"], wanted, kind);
  assert.equal((await browser.get(`${APP}/varied`)).headers.vary, "Accept-Encoding, Cookie");
  assert.equal((await browser.get(`${APP}/expires`)).headers.expires, LATER);
});

test("a session is prolonged by the next answer that takes its cookie, and only then", async () => {
  const { worker, alice } = due;
  const end = async () =>
    (await worker.rows("select expires_at from session where user_id = ? and proxied_app_id is not null", alice.id))[0].expires_at;
  const wait = () => new Promise((resolve) => setTimeout(resolve, 150));
  const was = await end();
  await wait();
  for (const path of ["/immutable", "/cached", "/public/plain", "/public/immutable"]) {
    assert.deepEqual(
      ours(await alice.browser.get(APP + path)).filter((line) => line.startsWith("doorward.session")),
      [],
      path,
    );
  }
  await wait();
  assert.equal(await end(), was, "a session lives on whose cookie does not");
  assert.match(ours(await alice.browser.get(`${APP}/heuristic`)).join(), /^doorward\.session=/);
  await wait();
  assert.ok((await end()) > was);
});

test("an origin is asked whether something changed, and its 304 comes back, for a signed-in visitor", async () => {
  for (const [who, worker, cookie] of visitors().slice(0, 5)) {
    const answer = await worker
      .browser()
      .get(`${APP}/public/unmodified`, { headers: { ...API, cookie: cookie(), "if-none-match": '"v1"' } });
    const { headers } = origin.last();
    assert.deepEqual(
      [answer.status, headers["if-none-match"], headers["cache-control"], headers.pragma],
      [304, '"v1"', undefined, undefined],
      who,
    );
  }
  const reload = { headers: { ...API, "cache-control": "max-age=0", pragma: "x" } };
  await usual.alice.browser.get(`${APP}/etag`, reload);
  const { headers } = origin.last();
  assert.deepEqual([headers["cache-control"], headers.pragma], ["max-age=0", "x"], "what the visitor says of it");
});

test("signing out empties the browser's cache of the website, and nothing is shown after it", async () => {
  const person = await signUp(usual.worker);
  await visit(person.browser, `${APP}/`);
  const out = await person.browser.submit(`${APP}/.doorward/sign-out`, {});
  assert.deepEqual([out.status, out.headers["clear-site-data"]], [303, '"cache"']);
  for (const kind of Object.keys(KINDS)) {
    const answer = await person.browser.get(`${APP}/${kind}`, { headers: PAGE });
    assert.deepEqual([answer.status, answer.headers["cache-control"]], [302, "no-store"], kind);
    assert.match(answer.location, /\/gate\/sign-in\?/);
  }
});
