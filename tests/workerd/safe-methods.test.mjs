// GET and HEAD are safe (RFC 9110, section 9.2.1): mail scanners, link previews and prefetching browsers open links, and that
// changes nothing. What a mailed link is for is done by the button of the page that it leads to.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { startOrigin } from "../harness/origin.mjs";
import { PAGE, PASSWORD, seedApp, signUp } from "../harness/seed.mjs";
import { AUTH, SPA, startWorker } from "../harness/worker.mjs";
import { authRoutes, websiteRoutes } from "../harness/routes.mjs";

const APP = "http://app.localhost";
const gets = (routes, host) => routes.filter(({ method }) => method === "GET").map(({ path }) => ({ path, host }));
const routes = [...gets(authRoutes, AUTH), ...gets(websiteRoutes, APP)];

/** GETs that a standard or the client's protocol makes write something. A HEAD or a prefetch of them writes nothing either. */
const WRITES = new Map([
  ["/api/auth/passkey/generate-register-options", "begins a ceremony"],
  ["/api/auth/passkey/generate-authenticate-options", "begins a ceremony"],
  ["/api/auth/one-time-token/generate", "makes a token for a signed-in user"],
  ["/oauth2/authorize", "begins an authorization (RFC 6749, section 3.1: GET must be served)"],
  ["/gate/sign-in", "makes a code for a signed-in user"],
]);

/** What changes by the mere use of a session, or by counting. */
const USE = {
  session: ["last_activity_at", "request_count", "location", "expires_at", "updated_at", "ip_address", "user_agent"],
  rate_limit: null,
};

let worker, origin, tables;
before(async () => {
  origin = await startOrigin();
  const SIGN_IN_WITH = "password,passkey,magic-link,email-otp,phone,anonymous";
  worker = await startWorker({
    settings: {
      SIGN_IN_WITH,
      LIMIT_MAIL: "1000/60",
      MAGIC_LINK_SECONDS: "3600",
      SESSION_COOKIE_CACHE_SECONDS: "0",
      SESSION_RECHECK_SECONDS: "0",
    },
  });
  await seedApp(worker, "app.localhost", { origin: origin.url });
  tables = (await worker.rows("select name from sqlite_master where type = 'table' order by name"))
    .map(({ name }) => name)
    .filter((name) => USE[name] !== null && !name.startsWith("_cf_") && !name.startsWith("sqlite_"));
  // The first asker makes the key that is published.
  await worker.browser().get(`${AUTH}/api/auth/jwks`);
});
after(async () => {
  await worker?.dispose();
  await origin?.close();
});

/** Every row of every table, but for [`USE`]. */
async function dump() {
  const answers = await worker.d1.batch(tables.map((name) => worker.d1.prepare(`select * from "${name}"`)));
  return Object.fromEntries(
    tables.map((name, at) => [
      name,
      answers[at].results.map((row) => {
        for (const column of USE[name] ?? []) delete row[column];
        return JSON.stringify(row);
      }),
    ]),
  );
}
const changed = (before, now) =>
  tables.flatMap((name) => {
    const [old, fresh] = [new Set(before[name]), new Set(now[name])];
    return [
      ...now[name].filter((row) => !old.has(row)).map((row) => `${name}: + ${row}`),
      ...before[name].filter((row) => !fresh.has(row)).map((row) => `${name}: - ${row}`),
    ];
  });

const api = (path) => `${AUTH}/api/auth${path}`;
const mails = async (to) => (await worker.browser().get(`${AUTH}/dev/mailbox?to=${encodeURIComponent(to)}`)).json;
const linkIn = (mail) => mail.text.match(/https?:\S+/)[0];
const linkTo = async (to, subject) => linkIn((await mails(to)).find((mail) => subject.test(mail.subject)));
const verified = async (email) =>
  (await worker.rows("select email_verified from user where email = ? and deleted_at is null", email))[0]?.email_verified;
const session = async (browser) => (await browser.get(api("/get-session?disableCookieCache=true"))).json;

/** Mailed links of every kind: each with its owner, and what tells that the owner's button did what it is for. */
async function letters() {
  const kinds = {};
  const fresh = await signUp(worker);
  kinds["proof of an address"] = {
    browser: fresh.browser,
    url: await linkTo(fresh.email, /Confirm your e-mail/),
    works: async () => (await verified(fresh.email)) === 1,
  };
  const known = await signUp(worker);
  await worker.browser().post(api("/sign-in/magic-link"), { email: known.email });
  const reader = worker.browser();
  kinds["sign-in link"] = {
    browser: reader,
    url: await linkTo(known.email, /sign-in link/),
    works: async () => (await session(reader))?.user.email === known.email,
  };
  const stranger = uniqueEmail();
  await worker.browser().post(api("/sign-in/magic-link"), { email: stranger });
  kinds["sign-in link of somebody new"] = {
    browser: worker.browser(),
    url: await linkTo(stranger, /sign-in link/),
    works: async () => (await verified(stranger)) === 1,
  };
  const leaving = await signUp(worker);
  await leaving.browser.post(api("/delete-user"), {});
  kinds["deletion"] = {
    browser: leaving.browser,
    url: await linkTo(leaving.email, /Delete/),
    works: async () => (await worker.rows("select status from user where id = ?", leaving.id))[0].status === "deleted",
  };
  const forgetful = await signUp(worker);
  await worker.browser().post(api("/request-password-reset"), { email: forgetful.email });
  kinds["new password"] = {
    browser: worker.browser(),
    url: await linkTo(forgetful.email, /new password/),
    fields: { newPassword: "another long password" },
    works: async () =>
      (await worker.browser().post(api("/sign-in/email"), { email: forgetful.email, password: "another long password" })).status === 200,
  };
  const moving = await signUp(worker);
  const next = uniqueEmail();
  await moving.browser.post(api("/change-email"), { newEmail: next });
  kinds["proof of a new address"] = {
    browser: moving.browser,
    url: await linkTo(next, /new e-mail/),
    works: async () => (await verified(next)) === 1,
  };
  const settled = await signUp(worker);
  await worker.d1.prepare("update user set email_verified = 1 where id = ?").bind(settled.id).run();
  const later = uniqueEmail();
  await settled.browser.post(api("/change-email"), { newEmail: later });
  kinds["consent to a new address"] = {
    browser: settled.browser,
    url: await linkTo(settled.email, /Change your/),
    works: async () => (await mails(later)).length === 1,
  };
  const owner = await signUp(worker);
  const made = await owner.browser.post(api("/organization/create"), { name: "Ivy Ltd", slug: `ivy-${crypto.randomUUID()}` });
  const guest = await signUp(worker);
  const invited = await owner.browser.post(api("/organization/invite-member"), {
    email: guest.email,
    role: "admin",
    organizationId: made.json.id,
  });
  assert.equal(invited.status, 200, invited.text);
  kinds["invitation"] = {
    browser: guest.browser,
    url: await linkTo(guest.email, /^You are invited/),
    fields: { decision: "accept" },
    works: async () => (await worker.rows("select status from invitation where email = ?", guest.email))[0].status === "accepted",
  };
  return kinds;
}

const WAYS = {
  GET: ["GET", {}],
  "GET of a page": ["GET", PAGE],
  HEAD: ["HEAD", {}],
  "HEAD of a page": ["HEAD", PAGE],
  "Sec-Purpose: prefetch": ["GET", { ...PAGE, "sec-purpose": "prefetch" }],
  "Sec-Purpose: prefetch;prerender": ["GET", { ...PAGE, "sec-purpose": "prefetch;prerender" }],
  "Purpose: prefetch": ["GET", { ...PAGE, purpose: "prefetch" }],
  "a headless program": ["GET", { "sec-fetch-mode": "cors", accept: "*/*", "user-agent": "node" }],
  "another website's script": ["GET", { origin: "https://evil.example", "sec-fetch-mode": "cors", "sec-fetch-site": "cross-site" }],
};

test("the table of routes is read whole", () => {
  assert.ok(routes.length > 75, `${routes.length} safe routes`);
  assert.deepEqual(
    [...WRITES.keys()].filter((path) => !routes.some((route) => route.path === path)),
    [],
  );
});

test("no GET and no HEAD changes anything, with whatever was mailed; and then the owner's button still works", async () => {
  const kinds = await letters();
  const stranger = await signUp(worker);
  const nobody = worker.browser();
  // The pages that each of them opens, so that what is written once for a session is written.
  await stranger.browser.get(`${AUTH}/account`, { headers: PAGE });
  await stranger.browser.get(`${APP}/`, { headers: PAGE });
  let rows = await dump();
  const faults = [];
  for (const { path, host } of routes) {
    for (const [who, browser] of [
      ["nobody", nobody],
      ["a stranger", stranger.browser],
    ]) {
      await Promise.all(
        Object.values(kinds).map(async ({ url }) => {
          const mailed = new URL(url);
          const token = mailed.searchParams.get("token") ?? mailed.pathname.split("/").at(-1);
          const query = new URLSearchParams(mailed.searchParams);
          for (const name of ["token", "code", "state", "id", "request", "user_code"]) query.set(name, token);
          const asked = `${host}${path.replace(/:\w+/, token)}?${query}`;
          // What tells them apart comes from a handful of headers: the links themselves are opened in every way, below.
          for (const way of ["GET of a page", "HEAD", "Sec-Purpose: prefetch", "a headless program"]) {
            const [method, headers] = WAYS[way];
            if (WRITES.has(path) && method === "GET" && !/prefetch/.test(way)) continue;
            // A connection of its own: one that is kept may end while the tables are read.
            const answer = await browser.send(method, asked, { headers: { ...headers, connection: "close" }, keepCookies: false });
            assert.ok(answer.status < 500 || answer.status === 503, `${way} ${asked}: ${answer.status} ${answer.text}`);
          }
        }),
      );
      const now = await dump();
      faults.push(...changed(rows, now).map((row) => `GET ${path} by ${who}: ${row.slice(0, 200)}`));
      rows = now;
    }
  }
  // The links as they were mailed, by the agents of the reader's mail, which have no cookies.
  for (const [kind, { url }] of Object.entries(kinds)) {
    for (const [method, headers] of Object.values(WAYS)) {
      const agent = worker.browser();
      const answer = await agent.send(method, url, { headers });
      assert.deepEqual(
        answer.cookies.filter((line) => /doorward\.session=[^;]/.test(line)),
        [],
        `${kind}: a session for ${method}`,
      );
      if (answer.location?.startsWith("/") || answer.location?.startsWith(AUTH))
        await agent.send(method, new URL(answer.location, url).href, { headers });
    }
    const now = await dump();
    faults.push(...changed(rows, now).map((row) => `the link "${kind}": ${row.slice(0, 200)}`));
    rows = now;
  }
  assert.deepEqual(faults, []);
  for (const [kind, { browser, url, fields, works }] of Object.entries(kinds)) {
    assert.equal(await works(), false, `${kind}: done before its button was pressed`);
    const pressed = await browser.followMailedLink(url, fields);
    assert.ok(pressed.status < 400, `${kind}: ${pressed.status} ${pressed.text}`);
    assert.equal(await works(), true, `${kind}: the button does nothing`);
  }
});

test("a prefetch or a HEAD of what a standard makes write is refused, and the browser asks again in earnest", async () => {
  const { browser } = await signUp(worker);
  for (const path of WRITES.keys()) {
    for (const headers of [
      { ...PAGE, "sec-purpose": "prefetch" },
      { ...PAGE, purpose: "prefetch" },
    ]) {
      const answer = await browser.get(`${AUTH}${path}`, { headers });
      assert.deepEqual([answer.status, answer.cookies], [503, []], path);
    }
    assert.equal((await browser.send("HEAD", `${AUTH}${path}`, { headers: PAGE })).text, "", path);
  }
});

test("the published client's own GETs work for a script of a trusted origin, which no mail scanner is", async () => {
  const fresh = await signUp(worker);
  const token = new URL(await linkTo(fresh.email, /Confirm your e-mail/)).searchParams.get("token");
  const asked = (headers) => fresh.browser.get(api(`/verify-email?token=${token}`), { headers });
  for (const headers of [
    {},
    { origin: "https://evil.example" },
    { "sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate" },
    { "sec-fetch-site": "same-origin", "sec-fetch-mode": "no-cors" },
    { origin: SPA, "sec-purpose": "prefetch" },
    { "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors" },
  ]) {
    const answer = await asked(headers);
    assert.deepEqual([answer.status, answer.location?.split("?")[0]], [302, "/verify-email"], JSON.stringify(headers));
    assert.equal(await verified(fresh.email), 0, JSON.stringify(headers));
  }
  const by = await asked({ "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors" });
  assert.deepEqual([by.status, by.json], [200, { status: true, user: null }]);
  assert.equal(await verified(fresh.email), 1);
});

/** What a person who made an account with another's address keeps to come back with. */
async function squatter({ of = worker } = {}) {
  const maker = of.browser();
  const email = uniqueEmail();
  const { user } = (await maker.post(api("/sign-up/email"), { name: "S", email, password: PASSWORD })).json;
  const key = await maker.post(api("/api-key/create"), { name: "k" });
  assert.equal(key.status, 200, key.text);
  await worker.d1
    .prepare(
      `insert into passkey (id, user_id, rp_id, credential_id, public_key, device_type, aaguid, created_at, updated_at) values
         (?1, ?2, 'auth.localhost', ?1, 'x', 'singleDevice', 'x', 1, 1)`,
    )
    .bind(crypto.randomUUID(), user.id)
    .run();
  return { maker, email, id: user.id };
}
const left = async (id) =>
  Object.fromEntries(
    await Promise.all(
      ["account", "passkey", "api_key"].map(async (name) => [
        name,
        (await worker.rows(`select id from ${name} where user_id = ?`, id)).length,
      ]),
    ),
  );

test("an address proven in another browser than its account's takes the account from the person who made it", async () => {
  for (const by of ["button", "script", "code"]) {
    const { maker, email, id } = await squatter();
    const owner = worker.browser();
    const url = await linkTo(email, /Confirm your e-mail/);
    if (by === "button") {
      const pressed = await owner.followMailedLink(url);
      assert.equal(pressed.status, 303);
      assert.match(pressed.location, /^\/reset-password\?token=/, "the owner is led to a password of their own");
      const set = await owner.followMailedLink(new URL(pressed.location, AUTH).href, { newPassword: "the owner's own password" });
      assert.equal(set.status, 200, set.text);
      assert.equal((await worker.browser().post(api("/sign-in/email"), { email, password: "the owner's own password" })).json.user.id, id);
    }
    if (by === "script")
      assert.equal(
        (await owner.get(api(`/verify-email?token=${new URL(url).searchParams.get("token")}`), { headers: { origin: SPA } })).json.status,
        true,
      );
    if (by === "code") {
      await owner.post(api("/email-otp/send-verification-otp"), { email, type: "email-verification" });
      const otp = (await mails(email))[0].subject.slice(0, 6);
      assert.equal((await owner.post(api("/email-otp/verify-email"), { email, otp })).status, 200);
    }
    assert.equal(await verified(email), 1, by);
    assert.equal(await session(maker), null, `${by}: the session of the person who made the account`);
    assert.equal((await worker.browser().post(api("/sign-in/email"), { email, password: PASSWORD })).status, 401, `${by}: their password`);
    assert.deepEqual(await left(id), { account: by === "button" ? 1 : 0, passkey: 0, api_key: 0 }, by);
  }
});

test("an address proven in the browser of its account leaves everything as it is", async () => {
  for (const by of ["button", "script", "code"]) {
    const { maker, email, id } = await squatter();
    const url = await linkTo(email, /Confirm your e-mail/);
    if (by === "button") assert.match((await maker.followMailedLink(url)).text, /is confirmed/);
    if (by === "script")
      assert.equal(
        (await maker.get(api(`/verify-email?token=${new URL(url).searchParams.get("token")}`), { headers: { origin: SPA } })).json.status,
        true,
      );
    if (by === "code") {
      await maker.post(api("/email-otp/send-verification-otp"), { email, type: "email-verification" });
      assert.equal(
        (await maker.post(api("/email-otp/verify-email"), { email, otp: (await mails(email))[0].subject.slice(0, 6) })).status,
        200,
      );
    }
    assert.equal(await verified(email), 1, by);
    assert.equal((await session(maker)).user.id, id, by);
    assert.deepEqual(await left(id), { account: 1, passkey: 1, api_key: 1 }, by);
  }
});

test("a link that is not good says so, and how to get another", async () => {
  for (const path of ["/verify-email", "/sign-in-link", "/delete-account"]) {
    for (const token of ["", "x", "A".repeat(43)]) {
      const browser = path === "/delete-account" ? (await signUp(worker)).browser : worker.browser();
      const page = await browser.get(`${AUTH}${path}?token=${token}`, { headers: PAGE });
      assert.deepEqual([page.status, /used already|too old/.test(page.text)], [400, true], `${path} ${token}`);
      const pressed = await browser.submit(`${AUTH}${path}`, { token });
      assert.deepEqual([pressed.status, /used already|too old/.test(pressed.text)], [400, true], `${path} ${token}`);
    }
  }
});

test("a deletion is asked for by the account's own browser only, and says what it did", async () => {
  const someone = await signUp(worker);
  await someone.browser.post(api("/delete-user"), {});
  const url = await linkTo(someone.email, /Delete/);
  const signedOut = await worker.browser().followMailedLink(url);
  assert.ok(new URL(signedOut.url).pathname === "/login", signedOut.url);
  assert.equal((await (await signUp(worker)).browser.followMailedLink(url)).status, 400);
  const done = await someone.browser.followMailedLink(url);
  assert.equal(done.status, 200);
  assert.match(done.text, /deleted/);
  assert.ok(done.cookies.some((line) => /^doorward\.session=;.*Max-Age=0/.test(line)));
});
