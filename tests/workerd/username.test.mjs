// User names: chosen at sign-up or later, one person's each, and as good as an address to sign in with.

import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { after, before, test } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { seedDomain, seedTenant } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

const PASSWORD = "correct horse battery staple";
let worker;
before(async () => {
  worker = await startWorker({ settings: { LIMIT_MAIL: "1000/60", LOCKOUT_FAILURES: "3" } });
});
after(() => worker?.dispose());

const uniqueName = () => `User_${Date.now().toString(36)}.${randomInt(1e6)}`;
const at = (path, host = AUTH) => `${host}/api/auth${path}`;
const post = (path, body, { host = AUTH, browser = worker.browser() } = {}) => browser.post(at(path, host), body);
const signUp = (body, where) => post("/sign-up/email", { name: "P", email: uniqueEmail(), password: PASSWORD, ...body }, where);
const signIn = (username, password = PASSWORD, body = {}, where) => post("/sign-in/username", { username, password, ...body }, where);
const available = (username, where) => post("/is-username-available", { username }, where);
const names = ({ json: { user } }) => [user.username, user.displayUsername];
const told = ({ status, json }) => [status, json.code];
const shape = ({ status, json, headers }) => ({ status, json, names: Object.keys(headers).sort(), trips: headers["server-timing"] });
const session = async (browser) => (await browser.get(at("/get-session?disableCookieCache=true"))).json;

const BAD = [
  ["ab", "USERNAME_TOO_SHORT", "Username is too short"],
  ["a".repeat(31), "USERNAME_TOO_LONG", "Username is too long"],
  ...["a b", "a-b", "äbc", "a@x.co", "abc\n", "ab\u0000c", "аbc", "abc\u200b"].map((name) => [
    name,
    "INVALID_USERNAME",
    "Username is invalid",
  ]),
];

test("signing up with a name: kept in lower case, shown as it was written", async () => {
  const name = uniqueName();
  assert.deepEqual(names(await signUp({ username: name })), [name.toLowerCase(), name]);
  const both = uniqueName();
  assert.deepEqual(names(await signUp({ username: both, displayUsername: "The Foo!! <b>" })), [both.toLowerCase(), "The Foo!! <b>"]);
  const shown = uniqueName();
  assert.deepEqual(names(await signUp({ displayUsername: shown })), [shown.toLowerCase(), shown]);
  assert.deepEqual(names(await signUp({ username: null })), [null, null]);
  assert.deepEqual(names(await signUp({})), [null, null]);
});

test("a name to show that can be no user name is shown all the same", async () => {
  assert.deepEqual(names(await signUp({ displayUsername: "The Foo!!" })), [null, "The Foo!!"]);
});

test("a name to show is one visible line, when signing up and when changing it", async () => {
  const browser = worker.browser();
  await signUp({}, { browser });
  for (const displayUsername of ["A\u0000", "A\nB", "A\u001b[31m"]) {
    assert.deepEqual(told(await browser.post(at("/update-user"), { displayUsername })), [400, "VALIDATION_ERROR"]);
    assert.deepEqual(
      told(await signUp({ username: uniqueName(), displayUsername })),
      [400, "VALIDATION_ERROR"],
      JSON.stringify(displayUsername),
    );
  }
});

test("signing in by name, in whatever case", async () => {
  const name = uniqueName();
  const { user } = (await signUp({ username: name })).json;
  const browser = worker.browser();
  const answer = await signIn(name.toUpperCase(), PASSWORD, {}, { browser });
  const { user: shown, session: opened } = await session(browser);
  assert.deepEqual([answer.status, answer.json], [200, { redirect: false, token: opened.id, user: shown }]);
  assert.equal(shown.id, user.id);
  assert.ok(!answer.cookies.some((line) => line.includes("last_used_login_method")), "the protocol does not name this way in");
  const led = await signIn(name, PASSWORD, { callbackURL: "/d", rememberMe: false });
  assert.deepEqual([led.json.redirect, led.json.url, led.location], [true, "/d", "/d"]);
  assert.ok(!led.cookies.find((line) => line.startsWith("doorward.session=")).includes("Max-Age"));
  assert.deepEqual(told(await signIn(name, PASSWORD, { callbackURL: "//evil.example" })), [403, "INVALID_CALLBACK_URL"]);
  const page = await worker.browser().submit(`${AUTH}/login`, { email: ` ${name.toUpperCase()} `, password: PASSWORD });
  assert.equal(page.status, 303);
});

test("wrong and unknown are one answer, and wrong ones lock the account", async () => {
  const name = uniqueName();
  const { email } = (await signUp({ username: name })).json.user;
  const expected = { message: "Invalid username or password", code: "INVALID_USERNAME_OR_PASSWORD" };
  const [wrong, unknown, empty] = [await signIn(name, "wrong password"), await signIn(uniqueName()), await signIn(name, "")];
  for (const answer of [wrong, unknown, empty]) assert.deepEqual([answer.status, answer.json, answer.cookies], [401, expected, []]);
  assert.deepEqual(shape(wrong), shape(unknown));
  await signIn(name, "wrong password");
  assert.equal((await signIn(name)).status, 401, "three failures, and no lock");
  assert.equal((await post("/sign-in/email", { email, password: PASSWORD })).status, 401, "the same account under its other name");
  assert.equal((await signIn(email)).json.code, "INVALID_USERNAME", "an address is no user name");
});

test("what is no user name is told as such: 400 to whoever chooses it, 422 to whoever asks", async () => {
  const browser = worker.browser();
  await signUp({}, { browser });
  for (const [username, code, message] of BAD) {
    const about = JSON.stringify(username);
    const chosen = await signUp({ username });
    assert.deepEqual([chosen.status, chosen.json], [400, { code, message }], about);
    const changed = await browser.post(at("/update-user"), { username });
    // A line of text is judged before a user name.
    const refusal = [400, /[\n\0\u200b]/.test(username) ? "VALIDATION_ERROR" : code];
    assert.deepEqual(told(changed), refusal, about);
    for (const answer of [await available(username), await signIn(username)])
      assert.deepEqual([answer.status, answer.json], [422, { code, message }], about);
  }
  assert.deepEqual(
    await worker.rows("select id from user where length(username) < 3 or length(username) > 30 or username glob '*[^a-z0-9_.]*'"),
    [],
  );
});

test("bad input is told as such", async () => {
  const browser = worker.browser();
  await signUp({}, { browser });
  for (const username of [7, {}, [], true]) {
    for (const answer of [
      await signUp({ username }),
      await browser.post(at("/update-user"), { username }),
      await available(username),
      await signIn(username),
    ])
      assert.deepEqual(told(answer), [400, "VALIDATION_ERROR"], JSON.stringify(username));
  }
  for (const path of ["/sign-in/username", "/is-username-available"]) {
    assert.deepEqual(told(await post(path, {})), [400, "VALIDATION_ERROR"]);
    for (const [body, code] of [
      ["{bad", "BAD_REQUEST"],
      ["null", "VALIDATION_ERROR"],
    ])
      assert.deepEqual(told(await browser.post(at(path), body, { headers: { "content-type": "application/json" } })), [400, code], path);
    assert.deepEqual(told(await browser.post(at(path), { username: "abc", password: "x" }, { origin: "https://evil.example" })), [
      403,
      "INVALID_ORIGIN",
    ]);
  }
  assert.deepEqual(told(await post("/update-user", { username: uniqueName() })), [401, "UNAUTHORIZED"]);
});

test("a name is one person's, whatever its case, until they give it up", async () => {
  const [owner, other] = [worker.browser(), worker.browser()];
  const name = uniqueName();
  const { id } = (await signUp({ username: name }, { browser: owner })).json.user;
  await signUp({}, { browser: other });
  const taken = { message: "Username is already taken. Please try another.", code: "USERNAME_IS_ALREADY_TAKEN" };
  for (const username of [name, name.toUpperCase()]) {
    for (const answer of [await signUp({ username }), await other.post(at("/update-user"), { username })])
      assert.deepEqual([answer.status, answer.json], [400, taken]);
    assert.deepEqual((await available(username)).json, { available: false });
    assert.equal((await owner.post(at("/update-user"), { username })).status, 200, "one's own name again");
  }
  assert.deepEqual((await available(uniqueName())).json, { available: true });
  const email = uniqueEmail();
  assert.equal((await signUp({ email, displayUsername: name })).status, 400, "a name to show is the user name as well");
  assert.deepEqual(await worker.rows("select id from user where email = ?", email), []);
  // Neither touches the other.
  const next = uniqueName();
  await owner.post(at("/update-user"), { username: next });
  assert.deepEqual(names({ json: await session(owner) }), [next.toLowerCase(), name]);
  await owner.post(at("/update-user"), { displayUsername: "Shown" });
  assert.deepEqual(names({ json: await session(owner) }), [next.toLowerCase(), "Shown"]);
  assert.equal((await signIn(name)).status, 401, "the name before");
  assert.equal((await signIn(next)).json.user.id, id);
  assert.equal((await other.post(at("/update-user"), { username: name })).status, 200);
  assert.equal((await owner.post(at("/update-user"), { username: null })).status, 200);
  assert.deepEqual((await available(next)).json, { available: true });
  assert.equal((await signIn(next)).status, 401);
});

test("twenty who want one name at once: one has it, and the others left nothing", async () => {
  for (const want of [
    (username) => signUp({ username }),
    async (username, n) => {
      const browser = worker.browser();
      await signUp({}, { browser });
      return browser.post(at("/update-user"), { username: n % 2 ? username : username.toUpperCase() });
    },
  ]) {
    const username = uniqueName();
    const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => want(username, n)));
    assert.equal(answers.filter(({ status }) => status === 200).length, 1);
    for (const answer of answers) if (answer.status !== 200) assert.deepEqual(told(answer), [400, "USERNAME_IS_ALREADY_TAKEN"]);
    assert.equal((await worker.rows("select id from user where username = ?", username.toLowerCase())).length, 1);
  }
});

test("an isolated tenant's names are its own", async () => {
  const host = "http://isolated.localhost";
  await seedDomain(worker, await seedTenant(worker, { slug: "isolated", pool: "isolated" }), "isolated.localhost");
  const username = uniqueName();
  const { id } = (await signUp({ username })).json.user;
  assert.deepEqual((await available(username, { host })).json, { available: true });
  assert.equal((await signIn(username, PASSWORD, {}, { host })).status, 401);
  const inside = (await signUp({ username }, { host })).json.user;
  assert.equal((await signIn(username, PASSWORD, {}, { host })).json.user.id, inside.id);
  assert.equal((await signIn(username)).json.user.id, id);
  assert.equal((await signUp({ username }, { host })).json.code, "USERNAME_IS_ALREADY_TAKEN");
});

test("signing in by name is limited like signing in by address; without passwords it is not there", async () => {
  const limited = await startWorker({ settings: { LIMIT_SIGN_IN: "3/60", LIMIT_SIGN_IN_ACCOUNT: "2/300" } });
  const off = await startWorker({ settings: { SIGN_IN_WITH: "magic-link" } });
  try {
    const username = uniqueName();
    const body = (n, name = username) => ({ username: n % 2 ? name : name.toUpperCase(), password: "wrong password" });
    const account = [];
    for (let n = 0; n < 3; n++) account.push((await limited.browser().post(at("/sign-in/username"), body(n))).status);
    assert.deepEqual(account, [401, 401, 429]);
    const browser = limited.browser();
    const network = [];
    for (let n = 0; n < 4; n++) network.push((await browser.post(at("/sign-in/username"), body(n, uniqueName()))).status);
    assert.deepEqual(network, [401, 401, 401, 429]);
    assert.deepEqual(told(await off.browser().post(at("/sign-in/username"), body(0))), [400, "EMAIL_PASSWORD_DISABLED"]);
  } finally {
    await limited.dispose();
    await off.dispose();
  }
});
