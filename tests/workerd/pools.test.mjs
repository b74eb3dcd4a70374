// Tenants whose users are their own, beside those that share them: what is one's is nothing at another's host. And tenants
// that are closed.

import assert from "node:assert/strict";
import { createHash, randomBytes, randomInt, randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { Authenticator } from "../harness/authenticator.mjs";
import { uniqueEmail } from "../harness/browser.mjs";
import { startOrigin } from "../harness/origin.mjs";
import { API, PAGE, giveRole, memberOf, seedApp, seedDomain, seedTenant, visit } from "../harness/seed.mjs";
import { readUri, totp } from "../harness/totp.mjs";
import { AUTH, DEFAULT_TENANT, startWorker } from "../harness/worker.mjs";

const [ONE, TWO, LEFT, RIGHT] = ["one", "two", "left", "right"].map((slug) => `http://${slug}.localhost`);
const POOLS = [AUTH, ONE, TWO];
const SETTINGS = {
  LIMIT_MAIL: "100000/60",
  LIMIT_INVITATION: "100000/60",
  LOCKOUT_FAILURES: "100000",
  SIGN_IN_WITH: "password,passkey,magic-link,email-otp,phone,anonymous",
  SESSION_COOKIE_CACHE_SECONDS: "0",
  SESSION_RECHECK_SECONDS: "0",
  MULTI_SESSION: "on",
  BEARER: "on",
};
const REDIRECT = "https://rp.example/cb";
const tenants = { [AUTH]: DEFAULT_TENANT };
let worker, origin;

const at = (path, host = AUTH) => `${host}/api/auth${path}`;
const nameOf = (host) => new URL(host).host;
const run = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
const count = async (sql, ...values) => (await worker.rows(`select count(*) as n from ${sql}`, ...values))[0].n;
const opens = ({ cookies }) => cookies.some((line) => /^doorward\.session=[^;]/.test(line));
const told = (answer) => [answer.status, answer.text.startsWith("{") ? answer.json.code : undefined];
const session = async (browser, host) => (await browser.get(at("/get-session", host))).json;
const mails = async (to, host) => (await worker.browser().get(`${host}/dev/mailbox?to=${encodeURIComponent(to)}`)).json;
const newest = async (to, host, wanted) => (await mails(to, host)).find(({ subject, text }) => wanted.test(`${subject ?? ""}\n${text}`));
const linkIn = ({ text }) => text.match(/https?:\S+/)[0];
const codeIn = ({ subject, text }) => `${subject ?? ""} ${text}`.match(/\d{6}/)[0];
const moved = (url, host) => url.replace(/^http:\/\/[^/]+/, host);
const password = (host) => `the password of ${host}`;

async function tenant(slug, pool = "isolated") {
  const id = await seedTenant(worker, { slug, pool });
  await seedDomain(worker, id, `${slug}.localhost`);
  await seedApp(worker, `${slug}-app.localhost`, { tenant: id, origin: origin.url, rules: [["/public/*", "public"]] });
  tenants[`http://${slug}.localhost`] = id;
  return `http://${slug}.localhost`;
}
const appOf = (host) => host.replace(".localhost", "-app.localhost");
before(async () => {
  origin = await startOrigin();
  worker = await startWorker({ settings: SETTINGS });
  await seedApp(worker, "auth-app.localhost", { origin: origin.url, rules: [["/public/*", "public"]] });
  for (const slug of ["one", "two"]) await tenant(slug);
  for (const slug of ["left", "right"]) await tenant(slug, "shared");
});
after(async () => {
  await worker?.dispose();
  await origin?.close();
});

/** Somebody who signed up on a host, with an address that is proven there. */
async function person(host, { email = uniqueEmail(), username, roles = [] } = {}) {
  const browser = worker.browser();
  const answer = await browser.post(at("/sign-up/email", host), { name: "P", email, password: password(host), username });
  assert.equal(answer.status, 200, `${host}: ${answer.text}`);
  const { id } = answer.json.user;
  await run("update user set email_verified = 1 where id = ?", id);
  for (const role of roles) await giveRole(worker, id, role, tenants[host]);
  return { browser, email, id, host, username };
}
const signIn = (host, email, word = password(host), browser = worker.browser()) =>
  browser.post(at("/sign-in/email", host), { email, password: word });
/** All of a browser's cookies of a host, as a request would bring them. */
const cookies = (browser, host) => [...browser.cookies(nameOf(host))].map((pair) => pair.join("=")).join("; ");
/** A browser that brings another host's cookies to a host. */
function tossed(from, fromHost, host) {
  const browser = worker.browser();
  for (const [name, value] of from.cookies(nameOf(fromHost))) browser.cookies(nameOf(host)).set(name, value);
  return browser;
}
async function client(admin) {
  const made = await admin.browser.post(at("/admin/oauth2/create-client", admin.host), {
    client_name: "RP",
    redirect_uris: [REDIRECT],
    grant_types: ["authorization_code", "refresh_token"],
  });
  assert.equal(made.status, 201, made.text);
  return { ...made.json, host: admin.host };
}
async function authorize({ browser, host }, { client_id }, verifier = randomBytes(32).toString("base64url")) {
  const query = new URLSearchParams({
    client_id,
    response_type: "code",
    redirect_uri: REDIRECT,
    scope: "openid email offline_access",
    code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    code_challenge_method: "S256",
  });
  let answer = await browser.get(`${host}/oauth2/authorize?${query}`, { headers: PAGE });
  if (answer.location?.startsWith("/consent")) {
    const page = await browser.get(`${host}${answer.location}`, { headers: PAGE });
    const [, request_uri] = page.text.match(/name="request_uri" value="([^"]+)"/);
    answer = await browser.submit(`${host}/consent`, { client_id, request_uri, decision: "allow" });
  }
  return { answer, code: answer.location?.startsWith(REDIRECT) ? new URL(answer.location).searchParams.get("code") : null, verifier };
}
const oauth = (host, path, { client_id, client_secret }, form) =>
  worker.browser().send("POST", `${host}/oauth2/${path}`, {
    body: new URLSearchParams(form).toString(),
    headers: {
      "content-type": "application/x-www-form-urlencoded",
      authorization: `Basic ${Buffer.from(`${client_id}:${client_secret}`).toString("base64")}`,
    },
  });
const redeem = (host, registered, { code, verifier }) =>
  oauth(host, "token", registered, { grant_type: "authorization_code", code, redirect_uri: REDIRECT, code_verifier: verifier });

test("one address, one user name and one number make a user in each pool, and a password opens its own alone", async () => {
  const [email, username] = [uniqueEmail(), `u${randomBytes(5).toString("hex")}`];
  const people = [];
  for (const host of POOLS) people.push(await person(host, { email, username }));
  assert.equal(new Set(people.map(({ id }) => id)).size, 3);
  for (const host of POOLS) {
    const again = await worker.browser().post(at("/sign-up/email", host), { name: "P", email, password: password(host) });
    assert.equal(again.status, 422, `${host}: ${again.text}`);
    const taken = await worker.browser().post(at("/is-username-available", host), { username });
    assert.equal(taken.json.available, false);
  }
  for (const shared of [LEFT, RIGHT])
    assert.equal(
      (await worker.browser().post(at("/sign-up/email", shared), { name: "P", email, password: password(shared) })).status,
      422,
      shared,
    );
  for (const [n, host] of POOLS.entries()) {
    for (const of of POOLS) {
      for (const answer of [
        await signIn(host, email, password(of)),
        await worker.browser().post(at("/sign-in/username", host), { username, password: password(of) }),
      ]) {
        assert.deepEqual(
          [opens(answer), answer.json.user?.id],
          of === host ? [true, people[n].id] : [false, undefined],
          `${of}'s password on ${host}`,
        );
      }
    }
  }
  const phone = `+1${randomInt(1e9, 1e10)}`;
  const ids = [];
  for (const host of POOLS) {
    await worker.browser().post(at("/phone-number/send-otp", host), { phoneNumber: phone });
    const answer = await worker
      .browser()
      .post(at("/phone-number/verify", host), { phoneNumber: phone, code: codeIn((await mails(phone, host))[0]) });
    ids.push(answer.json.user.id);
  }
  assert.equal(new Set(ids).size, 3);
});

test("who has an account elsewhere is answered as who has none", async () => {
  const username = `u${randomBytes(5).toString("hex")}`;
  for (const [home, host] of [
    [ONE, TWO],
    [ONE, AUTH],
    [AUTH, ONE],
    [LEFT, ONE],
    [ONE, LEFT],
  ]) {
    const known = await person(home, { username: `${username}${nameOf(home)[0]}${nameOf(host)[0]}` });
    const phone = `+1${randomInt(1e9, 1e10)}`;
    await run("update user set phone_number = ?, phone_number_verified = 1 where id = ?", phone, known.id);
    const shape = ({ status, text, headers }) => [
      status,
      text.replace(/[0-9a-f-]{36}/g, "ID"),
      Object.keys(headers).sort().join(),
      headers["server-timing"],
    ];
    for (const [path, mine, nobodys] of [
      ["/sign-in/email", { email: known.email, password: password(home) }, { email: uniqueEmail(), password: password(home) }],
      [
        "/sign-in/username",
        { username: known.username, password: password(home) },
        { username: `${username}zz`, password: password(home) },
      ],
      [
        "/sign-in/phone-number",
        { phoneNumber: phone, password: password(home) },
        { phoneNumber: `+1${randomInt(1e9, 1e10)}`, password: password(home) },
      ],
      ["/request-password-reset", { email: known.email, redirectTo: "/x" }, { email: uniqueEmail(), redirectTo: "/x" }],
      ["/send-verification-email", { email: known.email }, { email: uniqueEmail() }],
      ["/sign-in/magic-link", { email: known.email }, { email: uniqueEmail() }],
      ["/email-otp/send-verification-otp", { email: known.email, type: "sign-in" }, { email: uniqueEmail(), type: "sign-in" }],
      [
        "/email-otp/send-verification-otp",
        { email: known.email, type: "forget-password" },
        { email: uniqueEmail(), type: "forget-password" },
      ],
      ["/phone-number/request-password-reset", { phoneNumber: phone }, { phoneNumber: `+1${randomInt(1e9, 1e10)}` }],
      ["/is-username-available", { username: known.username }, { username: `${username}zz` }],
    ]) {
      const answers = [];
      for (const body of [mine, nobodys]) answers.push(shape(await worker.browser().post(at(path, host), body)));
      assert.deepEqual(answers[0], answers[1], `${home} → ${host} ${path}`);
    }
    const letters = (await mails(known.email, host)).filter(({ text }) => text.includes("reset-password") || /verify-email/.test(text));
    assert.deepEqual(letters, [], `${host} mailed ${home}'s user`);
  }
});

test("what was mailed by one host is nothing at another's, and is good at its own afterwards", async () => {
  for (const [home, host] of [
    [ONE, TWO],
    [ONE, AUTH],
    [AUTH, ONE],
    [ONE, LEFT],
    [AUTH, LEFT],
  ]) {
    const email = uniqueEmail();
    const who = await person(home, { email });
    // The same address there: what is taken across would hit somebody.
    const there = home === AUTH && host === LEFT ? who : await person(host, { email });
    const why = `${home} → ${host}`;
    const post = (path, body, on, browser = worker.browser()) => browser.post(at(path, on), body);

    await post("/request-password-reset", { email, redirectTo: "/x" }, home);
    const [, token] = linkIn(await newest(email, home, /reset-password/)).match(/reset-password\/([\w-]+)/);
    assert.equal((await post("/reset-password", { token, newPassword: "taken over by it" }, host)).status, 400, `${why}: reset`);
    assert.doesNotMatch(
      (await worker.browser().get(at(`/reset-password/${token}?callbackURL=/x`, host), { headers: PAGE })).location ?? "",
      /token=/,
      `${why}: reset link`,
    );
    assert.equal((await signIn(host, email, "taken over by it")).status, 401);

    await post("/sign-in/magic-link", { email }, home);
    const link = linkIn(await newest(email, home, /Your sign-in link/));
    assert.ok(!opens(await worker.browser().followMailedLink(moved(link, host))), `${why}: magic link`);

    for (const [type, use] of [
      ["sign-in", (otp, on) => post("/sign-in/email-otp", { email, otp }, on)],
      ["forget-password", (otp, on) => post("/email-otp/reset-password", { email, otp, password: password(home) }, on)],
    ]) {
      await post("/email-otp/send-verification-otp", { email, type }, home);
      const otp = codeIn(await newest(email, home, /is your code/));
      const answer = await use(otp, host);
      assert.deepEqual([answer.status, opens(answer)], [400, false], `${why}: ${type} ${answer.text}`);
      assert.equal((await use(otp, home)).status, 200, `${why}: ${type} at home`);
    }

    await run("update user set email_verified = 0 where id in (?, ?)", who.id, there.id);
    await post("/send-verification-email", { email }, home);
    const proof = linkIn(await newest(email, home, /verify-email/));
    const verified = await worker.browser().followMailedLink(moved(proof, host));
    assert.ok(
      !opens(verified) && (verified.status >= 400 || /error=/.test(verified.location)),
      `${why}: verification ${verified.status} ${verified.location}`,
    );
    assert.equal(await count("user where id in (?, ?) and email_verified = 1", who.id, there.id), 0, `${why}: an address was proven`);
    const own = worker.browser();
    await signIn(home, email, undefined, own);
    await own.followMailedLink(proof);
    assert.equal(await count("user where id = ? and email_verified = 1", who.id), 1, `${why}: at home`);
    await run("update user set email_verified = 1 where id = ?", there.id);

    const again = worker.browser();
    await signIn(home, email, undefined, again);
    const carried = (await again.get(at("/one-time-token/generate", home))).json.token;
    const taken = await post("/one-time-token/verify", { token: carried }, host);
    assert.deepEqual([told(taken), opens(taken)], [[400, "INVALID_TOKEN"], false], `${why}: one-time token`);
    assert.ok(opens(await post("/one-time-token/verify", { token: carried }, home)), `${why}: one-time token at home`);

    assert.ok(opens(await worker.browser().followMailedLink(link)), `${why}: magic link at home`);
    await post("/request-password-reset", { email, redirectTo: "/x" }, home);
    const [, fresh] = linkIn(await newest(email, home, /reset-password/)).match(/reset-password\/([\w-]+)/);
    await post("/reset-password", { token: fresh, newPassword: password(home) }, host);
    assert.equal((await post("/reset-password", { token: fresh, newPassword: password(home) }, home)).status, 200, `${why}: reset at home`);
    assert.equal(await count("user where id = ? and deleted_at is null", there.id), 1);
  }
});

test("a change of address and a deletion are confirmed on their own host alone", async () => {
  for (const [home, host] of [
    [ONE, TWO],
    [ONE, AUTH],
    [AUTH, ONE],
  ]) {
    const email = uniqueEmail();
    const [who, there] = [await person(home, { email }), await person(host, { email })];
    const next = uniqueEmail();
    assert.equal((await who.browser.post(at("/change-email", home), { newEmail: next })).status, 200);
    for (const to of [email, next]) {
      for (const mail of await mails(to, home)) {
        const url = mail.text.match(/https?:\S+/)?.[0];
        if (!url) continue;
        const page = await there.browser.get(moved(url, host), { headers: PAGE });
        const fields = Object.fromEntries([...page.text.matchAll(/name="(\w+)" value="([^"]*)"/g)].map(([, name, value]) => [name, value]));
        await there.browser.submit(`${host}/change-email`, fields);
      }
    }
    assert.equal(await count("user where id = ? and email = ?", there.id, email), 1, "somebody else's address changed");
    assert.equal(await count("user where email = ?", next), 0, "changed on another host");
    await run("delete from account where user_id = ?", who.id);
    await who.browser.post(at("/delete-user", home), {});
    const letter = await newest(email, home, /delete-account/);
    if (letter) {
      await there.browser.followMailedLink(moved(linkIn(letter), host));
      await tossed(who.browser, home, host).followMailedLink(moved(linkIn(letter), host));
    }
    assert.equal(await count("user where id in (?, ?) and deleted_at is null", who.id, there.id), 2, "deleted across hosts");
  }
});

test("a session of one host is none on another's, however it is presented", async () => {
  const hosts = [AUTH, ONE, TWO, LEFT];
  const email = uniqueEmail();
  const people = {};
  for (const host of hosts) {
    people[host] =
      host === LEFT ? { host, browser: worker.browser(), id: people[AUTH].id } : await person(host, { email, roles: ["owner"] });
    if (host === LEFT) assert.ok(opens(await signIn(LEFT, email, password(AUTH), people[LEFT].browser)));
    if (host !== LEFT) assert.equal((await visit(people[host].browser, `${appOf(host)}/x`)).status, 200, host);
  }
  const wrong = [];
  for (const home of hosts) {
    for (const host of hosts.filter((other) => other !== home)) {
      const bearer = people[home].browser.cookies(nameOf(home)).get("doorward.session");
      for (const [how, browser, headers] of [
        ["cookie", tossed(people[home].browser, home, host), {}],
        ["bearer", worker.browser(), { authorization: `Bearer ${decodeURIComponent(bearer)}` }],
      ]) {
        const get = (path) => browser.get(at(path, host), { headers, keepCookies: false });
        if ((await get("/get-session")).text !== "null") wrong.push(`${home} → ${host} ${how}: get-session`);
        const listed = await get("/multi-session/list-device-sessions");
        if (listed.text !== "[]") wrong.push(`${home} → ${host} ${how}: device sessions ${listed.text.slice(0, 80)}`);
        for (const path of [
          "/list-sessions",
          "/list-accounts",
          "/token",
          "/profile",
          "/organization/list",
          "/one-time-token/generate",
          "/passkey/list-user-passkeys",
          "/admin/issuers",
          "/oauth2/get-clients",
          "/organization/security-policy",
        ]) {
          if ((await get(path)).status !== 401) wrong.push(`${home} → ${host} ${how}: ${path}`);
        }
        for (const path of ["/revoke-sessions", "/sign-out", "/update-user", "/multi-session/set-active"]) {
          await browser.post(
            at(path, host),
            path.endsWith("set-active") ? { sessionToken: (await session(people[home].browser, home)).session.id } : { name: "X" },
            { headers, keepCookies: false },
          );
        }
        const page = await browser.get(`${host}/account`, { headers: { ...PAGE, ...headers }, keepCookies: false });
        if (page.status === 200) wrong.push(`${home} → ${host} ${how}: /account`);
      }
      if (home !== LEFT && host !== LEFT) {
        const app = tossed(people[home].browser, appOf(home), appOf(host));
        if ((await app.get(`${appOf(host)}/x`, { headers: API })).status !== 401) wrong.push(`${home} → ${host}: its gate`);
        const main = tossed(people[home].browser, home, appOf(host));
        if ((await main.get(`${appOf(host)}/x`, { headers: API })).status !== 401)
          wrong.push(`${home} → ${host}: its gate, by the auth host's cookie`);
      }
    }
  }
  assert.deepEqual(wrong, []);
  for (const host of hosts) assert.ok(await session(people[host].browser, host), `${host}: ended from elsewhere`);
});

test("a snapshot and a copy in KV of one host answer on no other", async () => {
  const cached = await startWorker({ settings: { ROUTING_CACHE_SECONDS: "0" } });
  try {
    await seedDomain(cached, await seedTenant(cached, { slug: "one", pool: "isolated" }), "one.localhost");
    for (const [home, host] of [
      [AUTH, ONE],
      [ONE, AUTH],
    ]) {
      const browser = cached.browser();
      assert.ok(opens(await browser.post(at("/sign-up/email", home), { name: "P", email: uniqueEmail(), password: password(home) })));
      assert.ok(browser.cookies(nameOf(home)).get("doorward.snapshot"));
      const all = cookies(browser, home);
      for (const cookie of [all, all.split("; ").find((pair) => pair.startsWith("doorward.session="))]) {
        assert.equal((await cached.browser().get(at("/get-session", host), { headers: { cookie } })).text, "null");
        assert.equal((await cached.browser().get(at("/list-sessions", host), { headers: { cookie } })).status, 401);
      }
      assert.ok((await browser.get(at("/get-session", home))).json);
    }
  } finally {
    await cached.dispose();
  }
});

test("a sign-in that waits for its second factor on one host goes on there alone", async () => {
  for (const [home, host] of [
    [ONE, TWO],
    [ONE, AUTH],
    [AUTH, ONE],
  ]) {
    const email = uniqueEmail();
    const who = await person(home, { email });
    await person(host, { email });
    const begun = (await who.browser.post(at("/two-factor/enable", home), { password: password(home) })).json;
    const { seed } = readUri(begun.totpURI);
    assert.equal((await who.browser.post(at("/two-factor/verify-totp", home), { code: totp(seed) })).status, 200);
    const waiting = worker.browser();
    assert.equal((await signIn(home, email, undefined, waiting)).json.twoFactorRedirect, true);
    assert.equal((await signIn(host, email)).json.twoFactorRedirect, undefined, "a factor of another pool is asked for");
    await run("update two_factor set last_used_step = 0 where user_id = ?", who.id);
    for (const [path, code] of [
      ["verify-totp", totp(seed)],
      ["verify-backup-code", begun.backupCodes[0]],
    ]) {
      const answer = await tossed(waiting, home, host).post(at(`/two-factor/${path}`, host), { code });
      assert.deepEqual([answer.status, opens(answer)], [401, false], `${home} → ${host} ${path}`);
    }
    assert.ok(opens(await waiting.post(at("/two-factor/verify-totp", home), { code: totp(seed) })));
  }
});

test("a passkey of one pool signs nobody in to another, whatever it claims", async () => {
  for (const [home, host] of [
    [ONE, TWO],
    [ONE, AUTH],
    [AUTH, ONE],
  ]) {
    const who = await person(home);
    const device = new Authenticator({ origin: home });
    const made = device.create((await who.browser.get(at("/passkey/generate-register-options", home))).json);
    assert.equal((await who.browser.post(at("/passkey/verify-registration", home), { response: made })).status, 200);
    for (const lie of [{}, { origin: host }, { origin: host, rpId: nameOf(home) }, { origin: host, rpId: nameOf(host) }]) {
      const browser = worker.browser();
      const options = (await browser.get(at("/passkey/generate-authenticate-options", host))).json;
      const answer = await browser.post(at("/passkey/verify-authentication", host), { response: device.get(options, lie) });
      assert.ok(
        !opens(answer) && answer.status >= 400 && answer.status < 500,
        `${home} → ${host} ${JSON.stringify(lie)}: ${answer.status}`,
      );
    }
    const browser = worker.browser();
    const options = (await browser.get(at("/passkey/generate-authenticate-options", home))).json;
    assert.ok(opens(await browser.post(at("/passkey/verify-authentication", home), { response: device.get(options) })));
  }
});

test("a request to enter one tenant's protected host is answered by that tenant's auth host alone", async () => {
  for (const [of, host] of [
    [ONE, AUTH],
    [ONE, TWO],
    [AUTH, ONE],
    [ONE, LEFT],
  ]) {
    const why = `${of}'s app by ${host}`;
    const who = host === LEFT ? { browser: worker.browser(), ...(await person(AUTH)), host } : await person(host, { roles: ["owner"] });
    if (host === LEFT) await signIn(LEFT, who.email, password(AUTH), who.browser);
    const begun = await who.browser.get(`${appOf(of)}/x`, { headers: PAGE });
    assert.ok(begun.location.startsWith(`${of}/gate/sign-in?request=`), begun.location);
    const answer = await who.browser.get(moved(begun.location, host), { headers: PAGE });
    assert.doesNotMatch(answer.location ?? "", /\.doorward\/callback\?code=/, `${why}: a code for somebody of another pool`);
  }
});

test("nor does a code that another pool's host gave open anything there", async () => {
  for (const [of, host] of [
    [ONE, AUTH],
    [ONE, TWO],
    [AUTH, ONE],
  ]) {
    const who = await person(host, { roles: ["owner"] });
    const begun = await who.browser.get(`${appOf(of)}/public/x`, { headers: PAGE });
    const asked = begun.location ?? (await who.browser.get(`${appOf(of)}/.doorward/sign-in?return=/public/x`, { headers: PAGE })).location;
    const { location } = await who.browser.get(moved(asked, host), { headers: PAGE });
    if (location?.includes("/.doorward/callback?code=")) await who.browser.get(location, { headers: PAGE });
    assert.equal(
      await count("session where user_id = ? and tenant_id = ?", who.id, tenants[of]),
      0,
      `${host}'s user has a session of ${of}`,
    );
    assert.equal((await who.browser.get(`${appOf(of)}/.doorward/me`, { headers: API })).status, 401);
    await who.browser.get(`${appOf(of)}/public/x`, { headers: API });
    assert.equal(origin.last().headers["x-doorward-user"], undefined, "the website is told of a user of another pool");
  }
});

test("a handle of another pool's session ends nothing", async () => {
  const email = uniqueEmail();
  const [one, two, ours] = [
    await person(ONE, { email, roles: ["owner"] }),
    await person(TWO, { email, roles: ["owner"] }),
    await person(AUTH, { email, roles: ["owner"] }),
  ];
  for (const [who, victim] of [
    [one, two],
    [one, ours],
    [ours, one],
  ]) {
    const { session: theirs } = await session(victim.browser, victim.host);
    for (const path of ["/revoke-session", "/multi-session/revoke"]) {
      const answer = await who.browser.post(at(path, who.host), { token: theirs.id, sessionToken: theirs.id });
      assert.ok(answer.status < 500, `${path}: ${answer.status}`);
    }
    await who.browser.post(at("/revoke-other-sessions", who.host), {});
    assert.equal((await session(victim.browser, victim.host))?.session.id, theirs.id);
  }
  await one.browser.post(at("/revoke-sessions", ONE), {});
  assert.ok((await session(two.browser, TWO)) && (await session(ours.browser, AUTH)));
  assert.ok(!(await (await two.browser.get(at("/list-sessions", TWO))).text.includes(one.id)));
});

test("the organization endpoints of one tenant know nothing of another", async () => {
  const email = uniqueEmail();
  const [one, ours] = [await person(ONE, { email, roles: ["owner"] }), await person(AUTH, { email, roles: ["owner"] })];
  const victim = await person(TWO, { roles: ["owner"] });
  const member = await memberOf(worker, tenants[TWO], victim.id);
  const shared = (await ours.browser.post(at("/organization/create"), { name: "S", slug: `s${randomBytes(5).toString("hex")}` })).json.id;
  const team = (await victim.browser.post(at("/organization/create-team", TWO), { organizationId: tenants[TWO], name: "T" })).json;
  assert.ok(team.id, JSON.stringify(team));
  const wrong = [];
  for (const [who, others] of [
    [one, [tenants[TWO], DEFAULT_TENANT, shared, randomUUID()]],
    [ours, [tenants[ONE], tenants[TWO], randomUUID()]],
  ]) {
    for (const organizationId of others) {
      for (const [method, path, fields] of [
        ["GET", "get-organization"],
        ["GET", "get-full-organization"],
        ["GET", "list-members"],
        ["GET", "list-invitations"],
        ["GET", "list-teams"],
        ["GET", "list-roles"],
        ["GET", "security-policy"],
        ["POST", "set-active", {}],
        ["POST", "update", { data: { name: "hacked" } }],
        ["POST", "delete", {}],
        ["POST", "restore", {}],
        ["POST", "leave", {}],
        ["POST", "has-permission", { permissions: { member: ["create"] } }],
        ["POST", "invite-member", { email: uniqueEmail(), role: "owner" }],
        ["POST", "remove-member", { memberIdOrEmail: victim.email }],
        ["POST", "update-member-role", { memberId: member, role: "member" }],
        ["POST", "create-team", { name: "hacked" }],
        ["POST", "create-role", { role: "hacked", permission: { member: ["create"] } }],
        ["PUT", "security-policy", { securityPolicy: { session: { requireMFA: true } } }],
      ]) {
        const url = at(`/organization/${path}${method === "GET" ? `?organizationId=${organizationId}` : ""}`, who.host);
        const answer = await who.browser.send(method, url, {
          body: method === "GET" ? undefined : { organizationId, ...fields },
          headers: { origin: who.host },
        });
        if (JSON.stringify(told(answer)) !== '[404,"ORGANIZATION_NOT_FOUND"]')
          wrong.push(`${who.host} ${organizationId} ${path}: ${answer.status} ${answer.text.slice(0, 100)}`);
      }
    }
    // Their own organization, and what is another's in it.
    const organizationId = who === one ? tenants[ONE] : DEFAULT_TENANT;
    for (const [path, fields] of [
      ["remove-member", { memberIdOrEmail: member }],
      ["remove-member", { memberIdOrEmail: victim.email }],
      ["update-member-role", { memberId: member, role: "member" }],
      ["add-team-member", { teamId: team.id, userId: who.id }],
      ["add-team-member", { teamId: team.id, userId: victim.id }],
      ["remove-team", { teamId: team.id }],
      ["update-team", { teamId: team.id, data: { name: "hacked" } }],
      ["join-team", { teamId: team.id }],
      ["set-active-team", { teamId: team.id }],
    ]) {
      const answer = await who.browser.post(at(`/organization/${path}`, who.host), { organizationId, ...fields });
      if (answer.status < 400 || answer.status >= 500)
        wrong.push(`${who.host} ${path} ${JSON.stringify(fields)}: ${answer.status} ${answer.text.slice(0, 100)}`);
    }
    const mine = (
      await who.browser.post(at("/organization/create-team", who.host), { organizationId, name: `T${randomBytes(4).toString("hex")}` })
    ).json;
    for (const userId of [victim.id, (who === one ? ours : one).id]) {
      const answer = await who.browser.post(at("/organization/add-team-member", who.host), { organizationId, teamId: mine.id, userId });
      if (answer.status < 400 || answer.status >= 500)
        wrong.push(`${who.host}: somebody of another pool in a team: ${answer.status} ${answer.text}`);
    }
  }
  assert.deepEqual(wrong, []);
  assert.deepEqual(
    (await one.browser.get(at("/organization/list", ONE))).json.map(({ id }) => id),
    [tenants[ONE]],
  );
  assert.equal(
    (await one.browser.post(at("/organization/create", ONE), { name: "N", slug: `n${randomBytes(5).toString("hex")}` })).status,
    403,
    "an isolated tenant's user makes a tenant of the shared pool",
  );
  assert.equal(await count("member where user_id = ? and tenant_id <> ?", one.id, tenants[ONE]), 0);
});

test("an invitation to one tenant is none to somebody of another pool with the same address", async () => {
  const email = uniqueEmail();
  const [one, two, ours] = [await person(ONE, { email }), await person(TWO, { email }), await person(AUTH, { email })];
  const bosses = [
    await person(ONE, { roles: ["owner"] }),
    await person(TWO, { roles: ["owner"] }),
    await person(AUTH, { roles: ["owner"] }),
  ];
  const made = (await bosses[2].browser.post(at("/organization/create"), { name: "S", slug: `s${randomBytes(5).toString("hex")}` })).json
    .id;
  const stranger = uniqueEmail();
  for (const [boss, organizationId, others] of [
    [bosses[0], tenants[ONE], [two, ours]],
    [bosses[1], tenants[TWO], [one, ours]],
    [bosses[2], made, [one, two]],
  ]) {
    // Members are not invited: of an isolated tenant everybody is one, so there it goes to an address that nobody has yet.
    const target = organizationId === made ? email : stranger;
    const invited = await boss.browser.post(at("/organization/invite-member", boss.host), { organizationId, email: target, role: "admin" });
    assert.equal(invited.status, 200, `${boss.host}: ${invited.text}`);
    const { id } = invited.json;
    await run("update user set email = ? where id in (?, ?)", target, others[0].id, others[1].id).catch(() => {});
    for (const other of others) {
      const get = (path) => other.browser.get(at(path, other.host));
      assert.equal((await get(`/organization/get-invitation?id=${id}`)).status, 400, "read");
      assert.ok(!(await get("/organization/list-user-invitations")).text.includes(id), "listed");
      for (const path of ["accept-invitation", "reject-invitation", "cancel-invitation"]) {
        const answer = await other.browser.post(at(`/organization/${path}`, other.host), { invitationId: id });
        assert.ok(answer.status >= 400 && answer.status < 500, `${path}: ${answer.status} ${answer.text}`);
      }
      assert.equal(await count("member where user_id = ? and tenant_id = ?", other.id, organizationId), 0);
      const link = linkIn(await newest(target, boss.host, /invitation/));
      const page = await other.browser.get(moved(link, other.host), { headers: PAGE });
      assert.ok(page.status >= 300, `the link on ${other.host}: ${page.status}`);
    }
    await run("update user set email = ? where id in (?, ?)", email, others[0].id, others[1].id).catch(() => {});
    assert.equal(await count("invitation where id = ? and status = 'pending'", id), 1);
  }
});

test("an administrator of one tenant administers that tenant alone", async () => {
  const admins = {};
  for (const host of [AUTH, ONE, TWO, LEFT]) {
    if (host !== LEFT) admins[host] = await person(host, { roles: ["admin", "owner"] });
  }
  const issuer = (
    await admins[TWO].browser.post(at("/admin/issuers", TWO), {
      name: "theirs",
      baseUrl: "https://issuer.example",
      clientId: "x",
      clientSecret: "x",
    })
  ).json;
  const registered = await client(admins[TWO]);
  const wrong = [];
  for (const host of [AUTH, ONE]) {
    const { browser } = admins[host];
    const listed = await browser.get(at("/admin/issuers", host));
    if (listed.text.includes(issuer.id ?? issuer.issuer?.id ?? "?")) wrong.push(`${host}: lists it`);
    for (const [method, path, body] of [
      ["GET", `/admin/issuers/${issuer.id}`],
      ["PATCH", `/admin/issuers/${issuer.id}`, { loginPageName: "hacked" }],
      ["DELETE", `/admin/issuers/${issuer.id}`],
      ["POST", `/admin/issuers/${issuer.id}/discover`, {}],
      ["GET", `/admin/issuers/${issuer.id}/system-account`],
      ["DELETE", `/admin/issuers/${issuer.id}/system-account`],
      ["GET", `/oauth2/get-client?client_id=${registered.client_id}`],
      ["GET", `/oauth2/public-client?client_id=${registered.client_id}`],
      ["PATCH", "/admin/oauth2/update-client", { client_id: registered.client_id, update: { client_name: "hacked" } }],
      ["POST", "/oauth2/update-client", { client_id: registered.client_id, update: { client_name: "hacked" } }],
      ["POST", "/oauth2/client/rotate-secret", { client_id: registered.client_id }],
      ["POST", "/admin/oauth2/disable-client", { client_id: registered.client_id }],
      ["POST", "/oauth2/delete-client", { client_id: registered.client_id }],
    ]) {
      const answer = await browser.send(method, at(path, host), { body, headers: { origin: host } });
      if (answer.status < 400 || answer.status >= 500)
        wrong.push(`${host} ${method} ${path}: ${answer.status} ${answer.text.slice(0, 100)}`);
    }
    if ((await browser.get(at("/oauth2/get-clients", host))).text.includes(registered.client_id)) wrong.push(`${host}: lists the client`);
  }
  assert.deepEqual(wrong, []);
  assert.equal((await admins[TWO].browser.get(at(`/oauth2/get-client?client_id=${registered.client_id}`, TWO))).json.client_name, "RP");
  // Of the shared pool, one is somebody on another tenant's host, and no administrator there.
  const visiting = worker.browser();
  assert.ok(opens(await signIn(LEFT, admins[AUTH].email, password(AUTH), visiting)));
  for (const path of ["/admin/issuers", `/organization/security-policy?organizationId=${tenants[LEFT]}`])
    assert.ok([403, 404].includes((await visiting.get(at(path, LEFT))).status), path);
  const made = await visiting.post(at("/admin/oauth2/create-client", LEFT), { client_name: "X", redirect_uris: [REDIRECT] });
  assert.equal(made.status, 403, made.text);
});

test("clients, codes and tokens of one tenant are nothing to another", async () => {
  const registered = {
    [ONE]: await client(await person(ONE, { roles: ["owner"] })),
    [AUTH]: await client(await person(AUTH, { roles: ["owner"] })),
  };
  for (const [home, host] of [
    [ONE, AUTH],
    [AUTH, ONE],
  ]) {
    const email = uniqueEmail();
    const [who, there] = [await person(home, { email }), await person(host, { email })];
    const foreign = await authorize(there, registered[home]);
    assert.deepEqual([foreign.code, foreign.answer.status >= 400], [null, true], `${host} knows a client of ${home}`);
    const given = await authorize(who, registered[home]);
    for (const registration of [registered[home], registered[host]]) assert.ok((await redeem(host, registration, given)).status >= 400);
    const tokens = (await redeem(home, registered[home], await authorize(who, registered[home]))).json;
    assert.ok(tokens.access_token, JSON.stringify(tokens));
    assert.equal(
      (await worker.browser().get(`${host}/oauth2/userinfo`, { headers: { authorization: `Bearer ${tokens.access_token}` } })).status,
      401,
    );
    const seen = await oauth(host, "introspect", registered[host], { token: tokens.access_token });
    assert.deepEqual(seen.json, { active: false });
    for (const registration of [registered[home], registered[host]])
      assert.ok(
        (await oauth(host, "token", registration, { grant_type: "refresh_token", refresh_token: tokens.refresh_token })).status >= 400,
      );
    await oauth(host, "revoke", registered[host], { token: tokens.refresh_token });
    assert.equal(
      (await oauth(home, "token", registered[home], { grant_type: "refresh_token", refresh_token: tokens.refresh_token })).status,
      200,
      "ended from elsewhere",
    );
  }
});

test("of the shared pool, one is the same person on every host, with the roles of that tenant and a session of each", async () => {
  const who = await person(AUTH, { roles: ["admin"] });
  const left = worker.browser();
  const answer = await signIn(LEFT, who.email, password(AUTH), left);
  assert.deepEqual([answer.status, answer.json.user.id], [200, who.id]);
  assert.doesNotMatch((await session(left, LEFT)).user.role ?? "", /admin|owner/);
  assert.equal(await count("member where user_id = ? and tenant_id = ?", who.id, tenants[LEFT]), 0, "signing in made a member");
  const page = await visit(left, `${appOf(LEFT)}/x`);
  assert.equal(page.status, 403, "no member of the tenant, and past its gate");
  const { token } = (await left.get(at("/token", LEFT))).json;
  const claims = JSON.parse(Buffer.from(token.split(".")[1], "base64url"));
  assert.deepEqual([claims.iss, claims.tenant, claims.roles], [LEFT, "left", []]);
  await memberOf(worker, tenants[LEFT], who.id);
  assert.notEqual((await left.get(`${appOf(LEFT)}/x`, { headers: API })).status, 401);
  // Whoever ends all of their sessions ends those of every host.
  await who.browser.post(at("/revoke-sessions"), {});
  assert.equal(await session(left, LEFT), null);
  assert.equal((await left.get(`${appOf(LEFT)}/x`, { headers: API })).status, 401);
});

// Tenants that are closed

/** Ways in to a host, up to the last request. */
const WAYS = {
  password:
    async ({ email, host, word }) =>
    () =>
      signIn(host, email, word),
  "user name":
    async ({ username, host, word }) =>
    () =>
      worker.browser().post(at("/sign-in/username", host), { username, password: word }),
  page:
    async ({ email, host, word }) =>
    () =>
      worker.browser().submit(`${host}/login`, { email, password: word, continue: "/account" }),
  "magic link": async ({ email, host }) => {
    await worker.browser().post(at("/sign-in/magic-link", host), { email });
    const link = linkIn(await newest(email, host, /Your sign-in link/));
    return () => worker.browser().followMailedLink(link);
  },
  "mailed code": async ({ email, host }) => {
    await worker.browser().post(at("/email-otp/send-verification-otp", host), { email, type: "sign-in" });
    const otp = codeIn(await newest(email, host, /is your code/));
    return () => worker.browser().post(at("/sign-in/email-otp", host), { email, otp });
  },
  "phone code": async ({ phone, host }) => {
    await worker.browser().post(at("/phone-number/send-otp", host), { phoneNumber: phone });
    const code = codeIn((await mails(phone, host))[0]);
    return () => worker.browser().post(at("/phone-number/verify", host), { phoneNumber: phone, code });
  },
  passkey: async ({ device, host }) => {
    const browser = worker.browser();
    const response = device.get((await browser.get(at("/passkey/generate-authenticate-options", host))).json);
    return () => browser.post(at("/passkey/verify-authentication", host), { response });
  },
  "one-time token": async ({ browser, host }) => {
    const { token } = (await browser.get(at("/one-time-token/generate", host))).json;
    return () => worker.browser().post(at("/one-time-token/verify", host), { token });
  },
  "second factor": async ({ guarded, seed, host, word }) => {
    const browser = worker.browser();
    assert.equal((await signIn(host, guarded.email, word, browser)).json.twoFactorRedirect, true);
    await run("update two_factor set last_used_step = 0 where user_id = ?", guarded.id);
    return () => browser.post(at("/two-factor/verify-totp", host), { code: totp(seed) });
  },
  "sign-up":
    async ({ host, word }) =>
    () =>
      worker.browser().post(at("/sign-up/email", host), { name: "N", email: uniqueEmail(), password: word }),
  "sign-up by page":
    async ({ host, word }) =>
    () =>
      worker.browser().submit(`${host}/sign-up`, { name: "N", email: uniqueEmail(), password: word, continue: "/account" }),
  guest:
    async ({ host }) =>
    () =>
      worker.browser().post(at("/sign-in/anonymous", host), {}),
};

for (const pool of ["isolated", "shared"]) {
  for (const status of ["suspended", "pending_deletion"]) {
    test(`${pool}, ${status}: nobody comes in by any way, and who is in is out, at the gate as well`, async () => {
      const slug = `c${randomBytes(4).toString("hex")}`;
      const host = await tenant(slug, pool);
      const [id, app] = [tenants[host], appOf(host)];
      const word = password(host);
      const who = {
        ...(await person(host, { roles: ["owner"], username: `u${randomBytes(5).toString("hex")}` })),
        word,
        phone: `+1${randomInt(1e9, 1e10)}`,
      };
      await run("update user set phone_number = ?, phone_number_verified = 1 where id = ?", who.phone, who.id);
      who.device = new Authenticator({ origin: host });
      const made = who.device.create((await who.browser.get(at("/passkey/generate-register-options", host))).json);
      assert.equal((await who.browser.post(at("/passkey/verify-registration", host), { response: made })).status, 200);
      who.guarded = await person(host);
      who.seed = readUri((await who.guarded.browser.post(at("/two-factor/enable", host), { password: word })).json.totpURI).seed;
      assert.equal((await who.guarded.browser.post(at("/two-factor/verify-totp", host), { code: totp(who.seed) })).status, 200);
      assert.equal((await visit(who.browser, `${app}/x`)).status, 200);
      const registered = await client(who);
      const tokens = (await redeem(host, registered, await authorize(who, registered))).json;
      const given = await authorize(who, registered);
      const finals = [];
      for (const [way, prepare] of Object.entries(WAYS)) finals.push([way, await prepare(who)]);
      const fresh = tossed(who.browser, host, host);
      const begun = await fresh.get(`${app}/y`, { headers: PAGE });
      const callback = (await fresh.get(begun.location, { headers: PAGE })).location;

      await run(
        "update tenant set status = ?, deletion_scheduled_at = ? where id = ?",
        status,
        status === "suspended" ? null : Date.now() + 7 * 86_400_000,
        id,
      );
      const wrong = [];
      const rows = () => count("session where tenant_id = ?", id);
      const users = await count("user");
      for (const [way, finish] of finals) {
        const before = await rows();
        const answer = await finish();
        if ((await rows()) !== before) wrong.push(`${way}: refused, and its session is kept`);
        if (opens(answer) || answer.status >= 500 || (answer.text.startsWith("{") && answer.json.twoFactorRedirect))
          wrong.push(`${way}: ${answer.status} ${answer.text.slice(0, 150)}`);
      }
      if ((await count("user")) !== users) wrong.push("a user was made");
      const late = await fresh.get(callback, { headers: PAGE });
      if (opens(late)) wrong.push(`the gate's callback: ${late.status}`);
      if (await session(who.browser, host)) wrong.push("a live session");
      for (const path of ["/list-sessions", "/token", "/profile", "/organization/list"]) {
        const { status: said } = await who.browser.get(at(path, host), { keepCookies: false });
        if (said < 400 || said >= 500) wrong.push(`${path}: ${said}`);
      }
      for (const path of ["/x", "/public/x", "/.doorward/me"]) {
        const { status: said } = await who.browser.get(`${app}${path}`, { headers: API });
        if (said < 400 || said >= 500) wrong.push(`gate ${path}: ${said}`);
      }
      const check = await who.browser.get(`${app}/forward-auth`, {
        headers: {
          ...API,
          host: nameOf(host),
          "x-forwarded-method": "GET",
          "x-forwarded-proto": "http",
          "x-forwarded-host": nameOf(app),
          "x-forwarded-uri": "/x",
        },
      });
      if (check.status === 200) wrong.push("forward-auth");
      const open = await who.browser.get(`${app}/forward-auth`, {
        headers: {
          ...API,
          host: nameOf(host),
          "x-forwarded-method": "GET",
          "x-forwarded-proto": "http",
          "x-forwarded-host": nameOf(app),
          "x-forwarded-uri": "/public/x",
        },
      });
      if (open.status === 200) wrong.push("forward-auth of a public path, which the gate itself refuses");
      if ((await authorize(who, registered)).code) wrong.push("authorize");
      for (const [name, answer] of [
        ["a code", await redeem(host, registered, given)],
        ["a refresh token", await oauth(host, "token", registered, { grant_type: "refresh_token", refresh_token: tokens.refresh_token })],
      ]) {
        if (answer.status === 200) wrong.push(name);
      }
      if (
        (await worker.browser().get(`${host}/oauth2/userinfo`, { headers: { authorization: `Bearer ${tokens.access_token}` } })).status ===
        200
      )
        wrong.push("userinfo");
      if ((await oauth(host, "introspect", registered, { token: tokens.access_token })).json.active) wrong.push("introspect");
      if (pool === "shared") {
        const elsewhere = worker.browser();
        assert.ok(opens(await signIn(AUTH, who.email, word, elsewhere)), "a shared user is out everywhere");
        for (const path of ["get-full-organization", "list-members", "list-roles"]) {
          const answer = await elsewhere.get(at(`/organization/${path}?organizationId=${id}`));
          if (answer.status < 400) wrong.push(`organization/${path} from another host: ${answer.status}`);
        }
        if ((await elsewhere.get(at("/organization/list"))).text.includes(id)) wrong.push("organization/list");
        const written = await elsewhere.send("PUT", at("/organization/security-policy"), {
          body: { organizationId: id, securityPolicy: {} },
          headers: { origin: AUTH },
        });
        if (written.status < 400) wrong.push("its policy is written");
      }
      assert.deepEqual(wrong, []);
      assert.equal((await worker.browser().get(at("/ok"))).status, 200);
      await run("update tenant set status = 'active', deletion_scheduled_at = null where id = ?", id);
      assert.ok(opens(await signIn(host, who.email, word)), "open again");
    });
  }
}
