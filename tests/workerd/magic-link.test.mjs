// Signing in by a mailed link: whom it lets in, whom it makes, and what it takes from whoever was there before.

import assert from "node:assert/strict";
import { randomInt, randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { addIssuer, startIssuer } from "../harness/issuer.mjs";
import { seedDomain, seedTenant } from "../harness/seed.mjs";
import { AUTH, SPA, startWorker } from "../harness/worker.mjs";

const PASSWORD = "the password of whoever came first";
const HOST = "auth.localhost";
// Revoked sessions must be over with the next request, not a minute later.
const SETTINGS = {
  LIMIT_MAIL: "1000/60",
  SIGN_IN_WITH: "password,magic-link,phone",
  SESSION_COOKIE_CACHE_SECONDS: "0",
  SESSION_RECHECK_SECONDS: "0",
};
let worker, issuer;
before(async () => {
  issuer = await startIssuer();
  worker = await startWorker({ settings: SETTINGS });
  await addIssuer(worker.d1, issuer.url, { trust_email: 0 });
});
after(async () => {
  await worker?.dispose();
  await issuer?.stop();
});

const at = (path, host = AUTH) => `${host}/api/auth${path}`;
const mailsOf = async (to, { of = worker, host = AUTH } = {}) =>
  (await of.browser().get(`${host}/dev/mailbox?to=${encodeURIComponent(to)}`)).json;
const linkIn = (mail) => mail.text.match(/https?:\S+/)[0];
const links = async (to, where) => (await mailsOf(to, where)).filter(({ subject }) => subject === "Your sign-in link").map(linkIn);
const ask = (email, body = {}, { of = worker, host = AUTH } = {}) => of.browser().post(at("/sign-in/magic-link", host), { email, ...body });
async function link(email, body, where) {
  const answer = await ask(email, body, where);
  assert.deepEqual([answer.status, answer.json], [200, { status: true }]);
  return (await links(email, where))[0];
}
/** As the published client follows a link; what a reader's browser gets is in safe-methods.test.mjs, and below. */
const follow = (url, browser = worker.browser()) => browser.verifyAsScript(url, SPA);
const tokenIn = (url) => new URL(url).searchParams.get("token");
const bare = (url) => `${url.split("?")[0]}?token=${tokenIn(url)}`;
const session = async (browser, host = AUTH) => (await browser.get(at("/get-session", host))).json;
const opens = ({ cookies }) => cookies.some((line) => /^doorward\.session=[^;]/.test(line));
const signIn = (email, password = PASSWORD) => worker.browser().post(at("/sign-in/email"), { email, password });
const row = async (email) => (await worker.rows("select * from user where email = ? and deleted_at is null", email))[0];
const change = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
const tally = (answers) => answers.reduce((sum, answer) => ({ ...sum, [opens(answer)]: (sum[opens(answer)] ?? 0) + 1 }), {});
const shape = ({ status, json, headers }) => ({ status, json, names: Object.keys(headers).sort(), trips: headers["server-timing"] });

async function person({ isProven = false } = {}) {
  const browser = worker.browser();
  const email = uniqueEmail();
  const { user } = (await browser.post(at("/sign-up/email"), { name: "P", email, password: PASSWORD })).json;
  if (isProven) await change("update user set email_verified = 1 where id = ?", user.id);
  return { browser, email, id: user.id };
}

function addPasskey(user) {
  const columns = {
    id: randomUUID(),
    user_id: user,
    rp_id: HOST,
    credential_id: randomUUID(),
    public_key: "x",
    device_type: "singleDevice",
    aaguid: "x",
    created_at: 1,
    updated_at: 1,
  };
  return change(`insert into passkey (${Object.keys(columns)}) values (${Object.keys(columns).map(() => "?")})`, ...Object.values(columns));
}
const addSecondFactor = (user) =>
  change(
    "insert into two_factor (id, user_id, method, verified_at, created_at, updated_at) values (?, ?, 'otp', 1, 1, 1)",
    randomUUID(),
    user,
  );

test("a link makes a user of a stranger, and signs in whom it knows", async () => {
  const email = uniqueEmail();
  const where = { name: "New Comer", callbackURL: "/home", newUserCallbackURL: `${SPA}/welcome` };
  const first = worker.browser();
  const made = await follow(await link(email.toUpperCase(), where), first);
  assert.deepEqual([made.status, made.location], [302, `${SPA}/welcome`]);
  const { user, session: opened } = await session(first);
  assert.deepEqual([user.email, user.name, user.emailVerified, user.isAnonymous], [email, "New Comer", true, false]);
  const second = worker.browser();
  const known = await follow(await link(email, { ...where, name: "Another" }), second);
  assert.equal(known.location, "/home");
  const again = await session(second);
  assert.deepEqual([again.user.id, again.user.name], [user.id, "New Comer"]);
  assert.notEqual(again.session.id, opened.id);
  assert.ok(await session(first), "the earlier session of a proven user lives on");
  for (const part of ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=604800"]) assert.ok(known.cookies[0].includes(part), part);
  assert.ok(known.cookies.some((line) => line.startsWith("better-auth.last_used_login_method=magic-link;")));
  assert.equal(known.headers["referrer-policy"], "no-referrer", "the token goes on to wherever the page's links lead");
  const audit = await worker.rows("select event, json_extract(details, '$.method') as method from audit_event where user_id = ?", user.id);
  assert.deepEqual(audit, [{ event: "user.created", method: "magic-link" }]);
});

test("without a callbackURL the answer is JSON, which a trusted script may read, and holds no secret", async () => {
  const email = uniqueEmail();
  const browser = worker.browser();
  const answer = await follow(bare(await link(email)), browser);
  assert.equal(answer.status, 200);
  assert.match(answer.headers["content-type"], /^application\/json/);
  const { token, user, session: opened } = answer.json;
  assert.deepEqual(Object.keys(answer.json).sort(), ["session", "token", "user"]);
  assert.deepEqual([token, opened.token, opened.userId, user.email], [opened.id, opened.id, user.id, email]);
  const secret = browser.cookies(HOST).get("doorward.session").split(".")[0];
  assert.ok(!answer.text.includes(secret), "a script reads the session's secret");
  assert.equal(answer.headers["access-control-allow-origin"], SPA);
  assert.deepEqual(answer.json, { token, ...(await session(browser)) });
});

test("the mail's link leads home where nothing else was asked for", async () => {
  const url = new URL(await link(uniqueEmail()));
  assert.deepEqual([...url.searchParams.keys()], ["token", "callbackURL"]);
  assert.deepEqual([url.origin + url.pathname, url.searchParams.get("callbackURL")], [`${AUTH}/sign-in-link`, "/account"]);
});

test("a link is good once and in time; several may be outstanding", async () => {
  const { email } = await person({ isProven: true });
  const [first, second, late] = [await link(email), await link(email), await link(email)];
  await change(
    `update verification set expires_at = 1 where id = (select id from verification where kind = 'magic_link' and identifier = ?
       order by created_at desc, id desc limit 1)`,
    email,
  );
  assert.ok(opens(await follow(first)) && opens(await follow(second)));
  const made = `${AUTH}/sign-in-link?callbackURL=%2Faccount&token=`;
  for (const [url, why] of [
    [first, "used"],
    [late, "too late"],
    [made, "none"],
    [`${made}x`, "short"],
    [`${made}${"A".repeat(43)}`, "made up"],
    [`${made}%00`, "garbage"],
  ]) {
    const answer = await follow(url);
    assert.deepEqual([answer.status, answer.location, opens(answer)], [302, "/account?error=INVALID_TOKEN", false], why);
  }
});

test("what goes wrong is told where the link says, before its callbackURL, or on our own page", async () => {
  const base = `${AUTH}/sign-in-link?token=${"A".repeat(43)}`;
  for (const [query, location] of [
    ["", "/api/auth/error?error=INVALID_TOKEN"],
    ["&callbackURL=/c?x=1%23top", "/c?x=1&error=INVALID_TOKEN#top"],
    [`&callbackURL=/c&errorCallbackURL=${SPA}/e`, `${SPA}/e?error=INVALID_TOKEN`],
    ["&errorCallbackURL=/e&newUserCallbackURL=/n", "/e?error=INVALID_TOKEN"],
  ])
    assert.equal((await follow(base + query)).location, location, query);
});

test("links lead to trusted places only, and one that does not is not used up", async () => {
  const { email } = await person({ isProven: true });
  const evil = [
    "https://evil.example",
    "//evil.example",
    "/\\evil.example",
    "/..//evil.example",
    "/x/..//evil.example",
    "/%2f%2fevil.example",
    "javascript:alert(1)",
    `${SPA}.evil.example`,
    `http://spa.localhost:5173@evil.example`,
    "/\t/evil.example",
  ];
  const codes = {
    callbackURL: "INVALID_CALLBACK_URL",
    newUserCallbackURL: "INVALID_NEW_USER_CALLBACK_URL",
    errorCallbackURL: "INVALID_ERROR_CALLBACK_URL",
  };
  const good = await link(email);
  const before = (await links(email)).length;
  for (const [name, code] of Object.entries(codes)) {
    for (const target of evil) {
      const asked = await ask(email, { [name]: target });
      assert.deepEqual([asked.status, asked.json.code], [403, code], `${name} ${target}`);
      const page = await worker.browser().get(`${bare(good)}&${name}=${encodeURIComponent(target)}`);
      assert.deepEqual([page.status, page.location], [403, undefined], `${name} ${target}`);
      const followed = await follow(`${bare(good)}&${name}=${encodeURIComponent(target)}`);
      assert.deepEqual([followed.status, followed.location, opens(followed)], [403, undefined, false], `${name} ${target}`);
    }
  }
  assert.equal((await links(email)).length, before);
  assert.ok(opens(await follow(good)));
});

test("a link checker's HEAD uses nothing up, and is signed in to nothing", async () => {
  const url = await link(uniqueEmail());
  const looked = await worker.browser().send("HEAD", url);
  assert.equal(opens(looked), false, "HEAD opened a session");
  assert.ok(opens(await follow(url)), "HEAD used the link up");
});

test("an account whose address was never proven is taken from whoever made it: password, passkey, second factor, sessions", async () => {
  const { browser, email, id } = await person();
  const elsewhere = worker.browser();
  await elsewhere.post(at("/sign-in/email"), { email, password: PASSWORD });
  const { token: oneTime } = (await browser.get(at("/one-time-token/generate"))).json;
  await addPasskey(id);
  await addSecondFactor(id);
  await change(
    `insert into trusted_device (id, user_id, token_hash, last_used_at, expires_at, created_at, updated_at) values
       (?, ?, ?, 1, 9e12, 1, 1)`,
    randomUUID(),
    id,
    randomUUID(),
  );
  const owner = worker.browser();
  assert.ok(opens(await follow(await link(email), owner)));
  const { user } = await session(owner);
  assert.deepEqual([user.id, user.emailVerified, user.twoFactorEnabled], [id, true, false]);
  assert.equal((await signIn(email)).status, 401, "the password of whoever made the account");
  for (const stale of [browser, elsewhere]) assert.equal(await session(stale), null, "the session of whoever made the account");
  assert.equal((await worker.browser().post(at("/one-time-token/verify"), { token: oneTime })).status, 400);
  for (const table of ["passkey", "two_factor", "trusted_device", "account"])
    assert.deepEqual(await worker.rows(`select id from ${table} where user_id = ?`, id), [], table);
});

test("… and so is the phone number that they proved, by which they would come back", async () => {
  const { browser, email, id } = await person();
  const phoneNumber = `+1555${randomInt(1e6, 1e7)}`;
  await browser.post(at("/phone-number/send-otp"), { phoneNumber });
  const code = async () => (await mailsOf(phoneNumber))[0].text.match(/\d{6}/)[0];
  const given = await browser.post(at("/phone-number/verify"), { phoneNumber, code: await code(), updatePhoneNumber: true });
  assert.equal(given.status, 200, given.text);
  await follow(await link(email));
  await worker.browser().post(at("/phone-number/send-otp"), { phoneNumber });
  const back = worker.browser();
  await back.post(at("/phone-number/verify"), { phoneNumber, code: await code() });
  assert.notEqual((await session(back))?.user.id, id, "whoever made the account is in it again, by phone");
});

test("… and so is the identity at a provider whose word on the address was not believed", async () => {
  issuer.behave();
  const email = uniqueEmail();
  issuer.person = { sub: randomUUID(), email, email_verified: true, name: "Somebody else" };
  const journey = async () => {
    const browser = worker.browser();
    const { url } = (await browser.post(at("/sign-in/social"), { provider: "acme", callbackURL: "/done" })).json;
    await browser.get((await fetch(url, { redirect: "manual" })).headers.get("location"));
    return session(browser);
  };
  const squatter = await journey();
  assert.deepEqual([squatter.user.email, squatter.user.emailVerified], [email, false]);
  assert.ok(opens(await follow(await link(email))));
  assert.notEqual((await journey())?.user.id, squatter.user.id, "whoever made the account is in it again, by their provider");
});

test("… and so is the change of address that they began and did not end", async () => {
  const { browser, email, id } = await person();
  const theirs = uniqueEmail();
  assert.equal((await browser.post(at("/change-email"), { newEmail: theirs })).status, 200);
  const waiting = new URL(linkIn((await mailsOf(theirs))[0]));
  await follow(await link(email));
  await worker
    .browser()
    .submit(`${AUTH}/change-email`, { token: waiting.searchParams.get("token"), step: waiting.searchParams.get("step") });
  const [{ email: now }] = await worker.rows("select email from user where id = ?", id);
  assert.equal(now, email, "the account went to an address of whoever made it");
});

test("who proved their address before keeps all of it", async () => {
  const { browser, email, id } = await person({ isProven: true });
  await addPasskey(id);
  assert.ok(opens(await follow(await link(email))));
  assert.equal((await signIn(email)).status, 200);
  assert.equal((await session(browser)).user.id, id);
  assert.equal((await worker.rows("select id from passkey where user_id = ?", id)).length, 1);
});

test("whoever has a second factor is asked for it after a link", async () => {
  const { email, id } = await person({ isProven: true });
  await addSecondFactor(id);
  const browser = worker.browser();
  const page = await follow(await link(email, { callbackURL: "/home" }), browser);
  assert.deepEqual([page.location, opens(page)], ["/second-factor?continue=%2Fhome", false]);
  const url = await link(email);
  const json = await follow(bare(url));
  assert.deepEqual([json.json, opens(json)], [{ twoFactorRedirect: true, twoFactorMethods: ["otp"] }, false]);
  assert.equal((await follow(url)).location, "/account?error=INVALID_TOKEN", "the link is used up by the question");
});

test("a locked account is opened by a link, which nobody guesses; a suspended one is not", async () => {
  const { email, id } = await person({ isProven: true });
  await change("update user set locked_until = ?, failed_login_count = 10 where id = ?", Date.now() + 1e7, id);
  assert.equal((await signIn(email)).status, 401);
  assert.ok(opens(await follow(await link(email))));
  assert.equal((await signIn(email)).status, 200, "a lock that its owner lifted");
  const open = await link(email);
  await change("update user set status = 'suspended' where id = ?", id);
  const refused = await follow(open);
  assert.deepEqual([refused.location, opens(refused)], ["/account?error=BANNED_USER", false]);
});

test("known and unknown addresses are answered alike, also where nobody may sign up", async () => {
  const { email } = await person();
  assert.deepEqual(shape(await ask(email)), shape(await ask(uniqueEmail())));
  const closed = await startWorker({ settings: { ...SETTINGS, SIGN_UP: "closed" } });
  try {
    const stranger = uniqueEmail();
    const known = uniqueEmail();
    await closed.d1
      .prepare("insert into user (id, email, name, created_at, updated_at) values (?, ?, 'K', 1, 1)")
      .bind(randomUUID(), known)
      .run();
    assert.deepEqual(shape(await ask(known, {}, { of: closed })), shape(await ask(stranger, {}, { of: closed })));
    assert.deepEqual(await links(stranger, { of: closed }), []);
    assert.equal((await links(known, { of: closed })).length, 1);
  } finally {
    await closed.dispose();
  }
});

test("bad input is told as such", async () => {
  const post = (body, headers) => worker.browser().post(at("/sign-in/magic-link"), body, { headers });
  const json = { "content-type": "application/json" };
  for (const body of [
    {},
    { email: "" },
    { email: null },
    { email: 7 },
    { email: ["a@x.co"] },
    { email: "no address" },
    { email: `${"a".repeat(300)}@x.co` },
    { email: "a@x.co", name: 7 },
    { email: "a@x.co", name: "x".repeat(257) },
    { email: "a@x.co", callbackURL: {} },
    { email: "a@x.co", callbackURL: `/${"x".repeat(8192)}` },
  ]) {
    const answer = await post(body);
    assert.deepEqual([answer.status, answer.json.code], [400, "VALIDATION_ERROR"], JSON.stringify(body));
  }
  for (const [body, code] of [
    ["{bad", "BAD_REQUEST"],
    ["null", "VALIDATION_ERROR"],
    ["[]", "VALIDATION_ERROR"],
    ["", "VALIDATION_ERROR"],
  ]) {
    const answer = await post(body, json);
    assert.deepEqual([answer.status, answer.json.code], [400, code], body);
  }
  assert.equal((await post("email=a%40x.co", { "content-type": "application/x-www-form-urlencoded" })).status, 415);
  assert.equal((await post({ email: "a@x.co" }, { origin: "https://evil.example" })).json.code, "INVALID_ORIGIN");
});

test("a newcomer's name is one visible line, as everywhere", async () => {
  for (const name of ["A\u0000", "A\nB", "A\u001b[31m"]) {
    const answer = await ask(uniqueEmail(), { name });
    assert.deepEqual([answer.status, answer.json.code], [400, "VALIDATION_ERROR"], JSON.stringify(name));
  }
});

test("mails are limited by network and by address; where links are no way in, they are not there", async () => {
  const limited = await startWorker({ settings: { ...SETTINGS, LIMIT_MAIL: "2/60", LIMIT_MAIL_ADDRESS: "2/60" } });
  const off = await startWorker({ settings: { ...SETTINGS, SIGN_IN_WITH: "password" } });
  try {
    const statuses = async (send) => [await send(), await send(), await send()].map(({ status }) => status);
    const email = uniqueEmail();
    const [browser, path] = [limited.browser(), at("/sign-in/magic-link")];
    assert.deepEqual(await statuses(() => ask(email, {}, { of: limited })), [200, 200, 429]);
    assert.equal((await links(email, { of: limited })).length, 2);
    assert.deepEqual(await statuses(() => browser.post(path, { email: uniqueEmail() })), [200, 200, 429]);
    const refused = await browser.post(path, { email: uniqueEmail() });
    assert.deepEqual(refused.json, { message: "Too many requests. Please try again later." });
    assert.equal(refused.headers["retry-after"], refused.headers["x-retry-after"]);
    for (const answer of [
      await ask(email, {}, { of: off }),
      await off.browser().get(at("/magic-link/verify?token=x")),
      await off.browser().get(`${AUTH}/sign-in-link?token=x`),
    ])
      assert.equal(answer.status, 404);
    assert.equal((await off.browser().submit(`${AUTH}/login/link`, { email })).status, 404);
  } finally {
    await limited.dispose();
    await off.dispose();
  }
});

test("an isolated tenant's links and users are its own", async () => {
  const host = "http://isolated.localhost";
  const tenant = await seedTenant(worker, { slug: "isolated", pool: "isolated" });
  await seedDomain(worker, tenant, "isolated.localhost");
  const { email, id } = await person({ isProven: true });
  const inside = await link(email, {}, { host });
  assert.ok(inside.startsWith(`${host}/`));
  const outside = await link(email);
  for (const [url, from, to] of [
    [inside, host, AUTH],
    [outside, AUTH, host],
  ]) {
    const answer = await follow(url.replace(from, to));
    assert.deepEqual([answer.location, opens(answer)], ["/account?error=INVALID_TOKEN", false], `${from} → ${to}`);
  }
  const browser = worker.browser();
  await follow(inside, browser);
  const { user } = await session(browser, host);
  assert.deepEqual([user.email, user.id !== id], [email, true]);
  assert.deepEqual(
    (await worker.rows("select tenant_id from user where email = ? order by tenant_id", email)).map((found) => found.tenant_id),
    [null, tenant],
  );
});

test("neither a dump nor the log holds a link's token", async () => {
  const { email } = await person();
  const [used, unused] = [tokenIn(await link(email)), await link(email)];
  await worker.browser().followMailedLink(`${AUTH}/sign-in-link?token=${used}`);
  await follow(`${AUTH}/sign-in-link?token=${used}&callbackURL=//evil.example`);
  await worker.browser().get(`${at("/magic-link/verify")}/?token=${used}`);
  const dump = JSON.stringify([
    await worker.rows("select * from verification"),
    await worker.rows("select * from outbox"),
    await worker.rows("select * from audit_event"),
    await worker.rows("select * from session"),
    await worker.rows("select * from login_history"),
  ]);
  for (const token of [used, tokenIn(unused)]) assert.ok(!dump.includes(token) && !worker.logs().includes(token));
});

test("fifty uses of one link at once: one session, for a stranger as for a known user", async () => {
  const { email, id } = await person({ isProven: true });
  for (const address of [email, uniqueEmail()]) {
    const url = bare(await link(address));
    const answers = await Promise.all(Array.from({ length: 50 }, () => follow(url)));
    assert.deepEqual(tally(answers), { true: 1, false: 49 });
    for (const { status, location } of answers.filter((answer) => !opens(answer)))
      assert.deepEqual([status, location], [302, "/api/auth/error?error=INVALID_TOKEN"]);
    const { id: user } = await row(address);
    const living = await worker.rows("select id from session where user_id = ? and login_method = 'magic-link'", user);
    assert.equal(living.length, 1);
    assert.equal(
      (await worker.rows("select id from login_history where user_id = ? and status = 'success' and login_method = 'magic-link'", user))
        .length,
      1,
    );
  }
  assert.equal((await row(email)).id, id);
});

test("two links of one stranger at once make one user", async () => {
  const email = uniqueEmail();
  const urls = [bare(await link(email)), bare(await link(email))];
  const answers = await Promise.all(urls.map((url) => follow(url)));
  for (const { status } of answers) assert.ok(status === 200 || status === 302, `${status}`);
  assert.equal((await worker.rows("select id from user where email = ?", email)).length, 1);
  for (const url of urls) await follow(url);
  assert.equal((await worker.rows("select id from user where email = ?", email)).length, 1);
});

test("the hosted page mails a link that leads on", async () => {
  const { email } = await person({ isProven: true });
  const browser = worker.browser();
  const sent = await browser.submit(`${AUTH}/login/link`, { email, continue: "/account?x=1" });
  assert.equal(sent.status, 200);
  assert.equal((await browser.followMailedLink((await links(email))[0])).location, "/account?x=1");
  assert.equal((await session(browser)).user.email, email);
  assert.equal((await browser.submit(`${AUTH}/login/link`, { email: "no address" })).status, 400);
  const home = await browser.submit(`${AUTH}/login/link`, { email, continue: "//evil.example" });
  assert.equal(home.status, 200);
  assert.equal(new URL((await links(email))[0]).searchParams.get("callbackURL"), "/account");
});
