// The login protocol where its clients rely on more than most front-ends ask for.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createLocalJWKSet, jwtVerify } from "jose";
import { uniqueEmail } from "../harness/browser.mjs";
import { PASSWORD, signUp } from "../harness/seed.mjs";
import { AUTH, SPA, startWorker } from "../harness/worker.mjs";

let worker;
before(async () => {
  worker = await startWorker({
    settings: { LIMIT_MAIL: "1000/60", SESSION_COOKIE_CACHE_SECONDS: "0", SESSION_RECHECK_SECONDS: "0", LIMIT_SIGN_IN: "1000/10" },
  });
});
after(() => worker?.dispose());

const at = (path) => `${AUTH}/api/auth${path}`;
const told = ({ status, json }) => [status, json?.code];
const run = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
let slugs = 0;

/** An organization of three: Ada who made it, Bob and Cy. */
async function organization() {
  const [ada, bob, cy] = [await signUp(worker), await signUp(worker), await signUp(worker)];
  const slug = `reference-${(slugs += 1)}`;
  const made = await ada.browser.post(at("/organization/create"), { name: "Acme", slug });
  assert.equal(made.status, 200, made.text);
  for (const person of [bob, cy]) {
    const id = crypto.randomUUID();
    await run(
      "insert into member (id, tenant_id, user_id, created_at, updated_at) values (?, ?, ?, ?, ?)",
      id,
      made.json.id,
      person.id,
      Date.now(),
      Date.now(),
    );
    await run(
      "insert into member_role (member_id, role_id, created_at) select ?, id, ? from role where tenant_id is null and name = 'member'",
      id,
      Date.now(),
    );
  }
  return { id: made.json.id, slug, ada, bob, cy };
}

test("members are filtered by every operator that users are filtered by", async () => {
  const { id, ada, bob, cy } = await organization();
  const found = async (query) => {
    const answer = await ada.browser.get(at(`/organization/list-members?organizationId=${id}&${query}`));
    assert.equal(answer.status, 200, `${query}: ${answer.text}`);
    assert.equal(answer.json.total, answer.json.members.length, query);
    return answer.json.members.map(({ userId }) => userId).sort();
  };
  const all = [ada.id, bob.id, cy.id];
  const members = await ada.browser.get(at(`/organization/list-members?organizationId=${id}`));
  const membership = members.json.members.find(({ userId }) => userId === bob.id).id;
  const past = new Date(Date.now() - 3_600_000).toISOString();
  for (const [query, expected] of [
    ["filterField=role&filterOperator=in&filterValue=member&filterValue=owner", all],
    ["filterField=role&filterOperator=not_in&filterValue=member&filterValue=nobody", [ada.id]],
    ["filterField=role&filterOperator=eq&filterValue=owner", [ada.id]],
    ["filterField=role&filterOperator=ne&filterValue=owner", [bob.id, cy.id]],
    ["filterField=role&filterOperator=contains&filterValue=own", [ada.id]],
    ["filterField=role&filterOperator=starts_with&filterValue=MEM", [bob.id, cy.id]],
    ["filterField=role&filterOperator=ends_with&filterValue=ber", [bob.id, cy.id]],
    ["filterField=role&filterOperator=contains&filterValue=%25", []],
    [`filterField=userId&filterOperator=in&filterValue=${bob.id}&filterValue=${cy.id}`, [bob.id, cy.id]],
    [`filterField=userId&filterOperator=not_in&filterValue=${bob.id}`, [ada.id, cy.id]],
    [`filterField=userId&filterOperator=starts_with&filterValue=${bob.id}`, [bob.id]],
    [`filterField=id&filterValue=${membership}`, [bob.id]],
    [`filterField=createdAt&filterOperator=gt&filterValue=${past}`, all],
    [`filterField=createdAt&filterOperator=lte&filterValue=${past}`, []],
    [`filterField=createdAt&filterOperator=in&filterValue=${past}&filterValue=1`, []],
    ["filterField=role", all],
  ])
    assert.deepEqual(await found(query), [...expected].sort(), query);
  for (const query of [
    "filterField=role&filterOperator=regex&filterValue=x",
    "filterField=password&filterValue=x",
    "filterField=createdAt&filterOperator=contains&filterValue=1",
    "filterField=createdAt&filterValue=soon",
  ]) {
    assert.deepEqual(
      told(await ada.browser.get(at(`/organization/list-members?organizationId=${id}&${query}`))),
      [400, "VALIDATION_ERROR"],
      query,
    );
  }
});

test("users are filtered by several roles, and by a part of a role's name", async () => {
  const admin = await signUp(worker, { roles: ["owner"] });
  const plain = await signUp(worker);
  const found = async (query) => {
    const answer = await admin.browser.get(at(`/admin/list-users?limit=1000&filterField=role&${query}`));
    assert.equal(answer.status, 200, `${query}: ${answer.text}`);
    const ids = answer.json.users.map(({ id }) => id);
    return [ids.includes(admin.id), ids.includes(plain.id)];
  };
  for (const [query, expected] of [
    ["filterOperator=contains&filterValue=own", [true, false]],
    ["filterOperator=in&filterValue=admin&filterValue=user", [true, true]],
    ["filterOperator=in&filterValue=admin&filterValue=nobody", [true, false]],
    ["filterOperator=not_in&filterValue=admin&filterValue=nobody", [false, true]],
    ["filterOperator=starts_with&filterValue=nob", [false, false]],
    ["filterValue=user", [false, true]],
  ])
    assert.deepEqual(await found(query), expected, query);
});

test("groups are listed wherever they are, and found by their own id", async () => {
  const one = await organization();
  const other = await organization();
  const { bob } = one;
  const team = async ({ id, ada }, name) => (await ada.browser.post(at("/organization/create-team"), { name, organizationId: id })).json.id;
  const [here, there, hidden] = [await team(one, "Here"), await team(one, "There"), await team(other, "Elsewhere")];
  for (const teamId of [here, there]) {
    const added = await one.ada.browser.post(at("/organization/add-team-member"), { teamId, userId: bob.id, organizationId: one.id });
    assert.equal(added.status, 200, added.text);
  }
  const list = async () => (await bob.browser.get(at("/organization/list-user-teams"))).json.map(({ id }) => id).sort();
  assert.deepEqual(await list(), [here, there].sort(), "nothing is active");
  await bob.browser.post(at("/organization/set-active"), { organizationId: one.id });
  assert.deepEqual(await list(), [here, there].sort());
  assert.deepEqual((await bob.browser.get(at(`/organization/list-user-teams?organizationId=${one.id}`))).json.length, 2);
  await bob.browser.post(at("/organization/set-active"), { organizationId: null });
  const members = await bob.browser.get(at(`/organization/list-team-members?teamId=${here}`));
  assert.equal(members.status, 200, members.text);
  assert.ok(members.json.some(({ userId }) => userId === bob.id));
  assert.deepEqual(told(await bob.browser.get(at(`/organization/list-team-members?teamId=${hidden}`))), [400, "TEAM_NOT_FOUND"]);
  assert.deepEqual(told(await bob.browser.get(at("/organization/list-team-members?teamId=nothing"))), [400, "TEAM_NOT_FOUND"]);
  // Who comes from where the organization lets nobody in sees none of its groups, and no more does who is no member any more.
  const policy = (value) => run("update tenant set security_policy = ? where id = ?", JSON.stringify(value), one.id);
  await policy({ ipRestrictions: { enabled: true, allowedIPs: ["203.0.113.9"] } });
  assert.deepEqual(await list(), []);
  await policy({});
  assert.deepEqual(await list(), [here, there].sort());
  await run("update member set status = 'inactive' where tenant_id = ? and user_id = ?", one.id, bob.id);
  assert.deepEqual(await list(), []);
});

test("an organization named by both is the one of the slug", async () => {
  const [one, two] = [await organization(), await organization()];
  await run(
    "insert into member (id, tenant_id, user_id, created_at, updated_at) values (?, ?, ?, 1, 1)",
    crypto.randomUUID(),
    two.id,
    one.ada.id,
  );
  const answer = await one.ada.browser.get(at(`/organization/get-full-organization?organizationId=${one.id}&organizationSlug=${two.slug}`));
  assert.deepEqual([answer.status, answer.json.id], [200, two.id]);
});

test("signing up without a name is taken, and a name that cannot be seen is not", async () => {
  const up = (name) => worker.browser().post(at("/sign-up/email"), { email: uniqueEmail(), password: PASSWORD, name });
  const answer = await up("");
  assert.deepEqual([answer.status, answer.json.user?.name], [200, ""]);
  for (const name of [" ", "a\nb", undefined, 7]) assert.deepEqual(told(await up(name)), [400, "VALIDATION_ERROR"], `${name}`);
});

test("a mailed code given by somebody without a second factor switches mailed codes on", async () => {
  const person = await signUp(worker);
  const mailed = async () => {
    const mails = (await worker.browser().get(`${AUTH}/dev/mailbox?to=${encodeURIComponent(person.email)}`)).json;
    return mails.map(({ subject }) => subject.match(/^(\d{6}) is your code$/)?.[1]).find(Boolean);
  };
  const [send, verify] = [
    (body = {}) => person.browser.post(at("/two-factor/send-otp"), body),
    (code) => person.browser.post(at("/two-factor/verify-otp"), { code }),
  ];
  // To an address that nobody has proven nothing is mailed, and that is said.
  assert.deepEqual(told(await send()), [403, "EMAIL_NOT_VERIFIED"]);
  assert.equal(await mailed(), undefined);
  await run("update user set email_verified = 1 where id = ?", person.id);
  assert.equal((await send()).status, 200);
  const code = await mailed();
  const wrong = code === "000000" ? "000001" : "000000";
  assert.deepEqual(told(await verify(wrong)), [401, "INVALID_CODE"]);
  // A session that is not fresh adds no factor, as it does not by the password's endpoint.
  await run("update session set authenticated_at = 1 where user_id = ?", person.id);
  assert.deepEqual(told(await verify(code)), [403, "SESSION_NOT_FRESH"]);
  await run("update session set authenticated_at = ? where user_id = ?", Date.now(), person.id);
  await send();
  const enrolled = await verify(await mailed());
  assert.deepEqual([enrolled.status, enrolled.json.user?.twoFactorEnabled], [200, true], enrolled.text);
  const again = await worker.browser().post(at("/sign-in/email"), { email: person.email, password: PASSWORD });
  assert.deepEqual([again.json.twoFactorRedirect, again.json.twoFactorMethods], [true, ["otp"]]);
  // With an authenticator pending beside them, backup codes are made; they hold once it is in use.
  assert.equal((await person.browser.post(at("/two-factor/enable"), { password: PASSWORD })).status, 200);
  const codes = await person.browser.post(at("/two-factor/generate-backup-codes"), { password: PASSWORD });
  assert.deepEqual([codes.status, codes.json.backupCodes?.length], [200, 10], codes.text);
});

test("update-session says what there is to update: nothing", async () => {
  const { browser } = await signUp(worker);
  assert.deepEqual(told(await worker.browser().post(at("/update-session"), {})), [401, "UNAUTHORIZED"]);
  for (const [body, code] of [
    [{}, "NO_FIELDS_TO_UPDATE"],
    [{ theme: "dark" }, "NO_FIELDS_TO_UPDATE"],
    [{ activeOrganizationId: "x" }, "FIELD_NOT_ALLOWED"],
    [{ impersonatedBy: "x" }, "FIELD_NOT_ALLOWED"],
  ]) {
    assert.deepEqual(told(await browser.post(at("/update-session"), body)), [400, code], JSON.stringify(body));
  }
});

test("errors have the protocol's codes", async () => {
  const { browser, email } = await signUp(worker);
  const key = (body) => browser.post(at("/api-key/create"), body);
  const long = "x".repeat(40);
  for (const [body, expected] of [
    [{ name: long }, [400, "INVALID_NAME_LENGTH"]],
    [{ name: " " }, [400, "INVALID_NAME_LENGTH"]],
    [{ prefix: long }, [400, "INVALID_PREFIX_LENGTH"]],
    [{ prefix: "a b" }, [400, "VALIDATION_ERROR"]],
    [{ metadata: "x" }, [400, "INVALID_METADATA_TYPE"]],
    [{ metadata: [1] }, [400, "INVALID_METADATA_TYPE"]],
    [{ refillAmount: 5 }, [400, "REFILL_AMOUNT_AND_INTERVAL_REQUIRED"]],
    [{ refillInterval: 5000 }, [400, "REFILL_INTERVAL_AND_AMOUNT_REQUIRED"]],
    [{ userId: "another" }, [401, "UNAUTHORIZED_SESSION"]],
  ])
    assert.deepEqual(told(await key(body)), expected, JSON.stringify(body));
  const beyond = await key({ permissions: { user: ["ban"] } });
  assert.deepEqual(told(beyond), [403, "INSUFFICIENT_API_KEY_PERMISSIONS"]);
  assert.ok(!/organization/.test(beyond.json.message), beyond.json.message);
  assert.equal((await key({ name: "b" })).status, 200);
  assert.equal((await key({ name: "a" })).status, 200);
  const names = async (query) => (await browser.get(at(`/api-key/list?${query}`))).json.apiKeys.map(({ name }) => name);
  assert.deepEqual(await names("sortBy=name"), ["a", "b"]);
  assert.deepEqual(await names("sortBy=name&sortDirection=desc"), ["b", "a"]);
  assert.deepEqual(told(await browser.get(at("/api-key/list?sortBy=hash"))), [400, "VALIDATION_ERROR"]);
  for (const [path, body] of [
    ["send-verification-otp", { type: "sign-in" }],
    ["check-verification-otp", { type: "sign-in", otp: "1" }],
    ["verify-email", { otp: "1" }],
  ]) {
    assert.deepEqual(told(await browser.post(at(`/email-otp/${path}`), { email: "bad", ...body })), [400, "INVALID_EMAIL"], path);
  }
  assert.ok(email);
  const { bob, id } = await organization();
  await run(
    `insert into member_role (member_id, role_id, created_at) select m.id, r.id, 1 from member m, role r where m.tenant_id = ?
       and m.user_id = ? and r.tenant_id is null and r.name = 'admin'`,
    id,
    bob.id,
  );
  const refused = await bob.browser.post(at("/organization/create-role"), {
    organizationId: id,
    role: "boss",
    permission: { organization: ["update", "delete"] },
  });
  assert.deepEqual(
    [...told(refused), refused.json.missingPermissions],
    [403, "YOU_ARE_NOT_ALLOWED_TO_CREATE_A_ROLE", ["organization:delete"]],
  );
});

test("administrators give user names, with and without an account there", async () => {
  const admin = await signUp(worker, { roles: ["owner"] });
  const username = `named${Date.now()}`;
  const made = await admin.browser.post(at("/admin/create-user"), {
    email: uniqueEmail(),
    name: "N",
    password: PASSWORD,
    data: { username: username.toUpperCase() },
  });
  assert.deepEqual(
    [made.status, made.json.user?.username, made.json.user?.displayUsername],
    [200, username, username.toUpperCase()],
    made.text,
  );
  assert.equal((await worker.browser().post(at("/sign-in/username"), { username, password: PASSWORD })).status, 200);
  const other = await signUp(worker);
  const update = (data) => admin.browser.post(at("/admin/update-user"), { userId: other.id, data });
  assert.deepEqual(told(await update({ username })), [400, "USERNAME_IS_ALREADY_TAKEN"]);
  const changed = await update({ username: `${username}2` });
  assert.deepEqual([changed.status, changed.json.username], [200, `${username}2`], changed.text);
  // A ban has an endpoint of its own: a permission of its own, and sessions that end with it.
  assert.deepEqual(told(await update({ banned: true })), [400, "VALIDATION_ERROR"]);
});

test("get-session carries a JWT where that is switched on, for scripts of trusted origins, of a session that D1 confirms", async () => {
  const { browser } = await signUp(worker);
  assert.equal((await browser.get(at("/get-session"))).headers["set-auth-jwt"], undefined);
  const on = await startWorker({ settings: { SESSION_JWT: "on" } });
  try {
    const person = await signUp(on);
    const answer = await person.browser.send("GET", at("/get-session"), { headers: { origin: SPA } });
    const { payload } = await jwtVerify(answer.headers["set-auth-jwt"], createLocalJWKSet((await person.browser.get(at("/jwks"))).json), {
      issuer: AUTH,
      audience: AUTH,
    });
    assert.equal(payload.sub, person.id);
    assert.match(answer.headers["access-control-expose-headers"], /set-auth-jwt/);
    await on.d1.prepare("update session set revoked_at = 1, revocation_reason = 'x' where user_id = ?").bind(person.id).run();
    const gone = await person.browser.get(at("/get-session"));
    assert.deepEqual([gone.text, gone.headers["set-auth-jwt"]], ["null", undefined]);
  } finally {
    await on.dispose();
  }
});
