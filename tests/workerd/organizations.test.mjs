// Organizations under attack: nobody gets what they were not given, reads what is another organization's, or leaves one without owner.

import assert from "node:assert/strict";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import test, { after, before } from "node:test";
import { uniqueEmail } from "../harness/browser.mjs";
import { PASSWORD, giveRole, signUp } from "../harness/seed.mjs";
import { AUTH, DEFAULT_TENANT, startWorker } from "../harness/worker.mjs";

let worker;
before(async () => {
  const settings = {
    SESSION_COOKIE_CACHE_SECONDS: "0",
    SESSION_RECHECK_SECONDS: "0",
    LIMIT_INVITATION: "100000/60",
    LIMIT_MAIL: "100000/60",
  };
  worker = await startWorker({ settings });
});
after(() => worker?.dispose());

const at = (path) => `${AUTH}/api/auth${path}`;
const post = ({ browser }, path, body = {}) => browser.post(at(`/organization${path}`), body);
const get = ({ browser }, path, query = {}) => browser.get(at(`/organization${path}?${new URLSearchParams(query)}`));
const times = (count, act) => Promise.all(Array.from({ length: count }, (_, n) => act(n)));
const tally = (answers) => answers.reduce((sum, { status }) => ({ ...sum, [status]: (sum[status] ?? 0) + 1 }), {});
const count = async (sql, ...values) => (await worker.rows(`select count(*) as n from ${sql}`, ...values))[0].n;
const run = (sql, ...values) =>
  worker.d1
    .prepare(sql)
    .bind(...values)
    .run();
const uniqueSlug = () => `s-${randomBytes(6).toString("hex")}`;

function ok(answer, what = "") {
  assert.equal(answer.status, 200, `${what} ${answer.text}`);
  return answer.json;
}

function refused(answer, status, code, what = "") {
  assert.deepEqual([answer.status, answer.status === status ? answer.json.code : answer.text], [status, code], what);
}

async function person(name = "Zoë") {
  const somebody = await signUp(worker, { name });
  await run("update user set email_verified = 1 where id = ?", somebody.id);
  return somebody;
}

const people = (many) => times(many, (n) => person(`P${n}`));

/** An organization of `owner`'s, with its first team. */
async function found(owner, name = "Acme") {
  const { id, slug, members } = ok(await post(owner, "/create", { name, slug: uniqueSlug() }));
  const [team] = ok(await get(owner, "/list-teams"));
  return { id, slug, owner, ownerMember: members[0].id, team: team.id };
}

const invite = async ({ id, owner }, { email }, role = "member", more = {}) =>
  ok(await post(owner, "/invite-member", { email, role, organizationId: id, ...more })).id;

/** Makes somebody a member; the organization is active in their session then. Answers their membership's id. */
async function enrol(org, somebody, role = "member", more = {}) {
  const invitationId = await invite(org, somebody, role, more);
  return ok(await post(somebody, "/accept-invitation", { invitationId })).member.id;
}

const newRole = async (org, role, permission, more = {}) =>
  ok(await post(org.owner, "/create-role", { role, permission, organizationId: org.id, ...more })).roleData.id;
const newTeam = async (org, name, more = {}) => ok(await post(org.owner, "/create-team", { name, organizationId: org.id, ...more })).id;
const may = async (somebody, permissions, organizationId) =>
  ok(await post(somebody, "/has-permission", { permissions, organizationId })).success;
const rolesOf = async ({ id: tenant }, { id }) =>
  (
    await worker.rows(
      `select r.name from member m join member_role mr on mr.member_id = m.id join role r on r.id = mr.role_id where m.tenant_id = ?
         and m.user_id = ? order by 1`,
      tenant,
      id,
    )
  )
    .map(({ name }) => name)
    .join();
const owners = ({ id }) =>
  count(
    "member m join member_role mr on mr.member_id = m.id join role r on r.id = mr.role_id and r.name = 'owner' and r.tenant_id is null where m.tenant_id = ?",
    id,
  );

const TABLES = {
  tenant: "id = ?1",
  member: "tenant_id = ?1",
  role: "tenant_id = ?1",
  permission: "tenant_id = ?1",
  user_group: "tenant_id = ?1",
  invitation: "tenant_id = ?1",
  member_role: "member_id in (select id from member where tenant_id = ?1)",
  role_permission: "role_id in (select id from role where tenant_id = ?1)",
  user_group_member: "user_group_id in (select id from user_group where tenant_id = ?1)",
  user_group_role: "user_group_id in (select id from user_group where tenant_id = ?1)",
  invitation_role: "invitation_id in (select id from invitation where tenant_id = ?1)",
  invitation_group: "invitation_id in (select id from invitation where tenant_id = ?1)",
};

/** Every row that an organization is made of. */
async function state({ id }) {
  const answers = await worker.d1.batch(
    Object.entries(TABLES).map(([table, where]) => worker.d1.prepare(`select * from ${table} where ${where}`).bind(id)),
  );
  return Object.fromEntries(Object.keys(TABLES).map((table, n) => [table, answers[n].results.map((row) => JSON.stringify(row)).sort()]));
}

/** Each attempt is refused with a status below 500 that is no success, with its code if there is one, and changes nothing. */
async function nothingComesOf(org, who, attempts, status = [400, 403, 404]) {
  const before = await state(org);
  for (const [path, body, code] of attempts) {
    const what = `${path} ${JSON.stringify(body)}`;
    const answer = await post(who, path, body);
    assert.ok([status].flat().includes(answer.status), `${what}: ${answer.status} ${answer.text}`);
    if (code) assert.equal(answer.json.code, code, what);
    assert.deepEqual(await state(org), before, `${what} changed something`);
  }
}

/** An organization with an owner, an administrator, a member, and things that are above the administrator. */
async function guarded() {
  const [owner, admin, member, other] = await people(4);
  const org = await found(owner);
  org.admin = { ...admin, member: await enrol(org, admin, "admin") };
  org.member = { ...member, member: await enrol(org, member) };
  org.other = other;
  org.deleter = await newRole(org, "deleter", { organization: ["delete"] });
  org.handy = await newRole(org, "handy", { organization: ["update"] });
  org.board = await newTeam(org, "Board", { roles: ["owner"] });
  org.cleaners = await newTeam(org, "Cleaners", { roles: ["deleter"] });
  ok(await post(owner, "/update-member-role", { memberId: org.admin.member, role: ["admin", "handy"] }));
  return org;
}

test("an administrator gets nobody more than they hold themselves", async () => {
  const org = await guarded();
  const { admin, member, other, owner } = org;
  const NOT_ROLE = "YOU_ARE_NOT_ALLOWED_TO_UPDATE_THIS_MEMBER",
    NOT_INVITE = "YOU_ARE_NOT_ALLOWED_TO_INVITE_USER_WITH_THIS_ROLE";
  const byRole = [admin.member, member.member].flatMap((memberId) =>
    ["owner", "admin,owner", "member, owner", ["admin", "owner"], ["deleter"], "deleter"].map((role) => [
      "/update-member-role",
      { memberId, role },
      NOT_ROLE,
    ]),
  );
  await nothingComesOf(
    org,
    admin,
    [
      ...byRole,
      ...["member", "owner", "admin", ["owner", "member"]].map((role) => [
        "/update-member-role",
        { memberId: org.ownerMember, role },
        NOT_ROLE,
      ]),
      ["/remove-member", { memberIdOrEmail: org.ownerMember }, "YOU_ARE_NOT_ALLOWED_TO_DELETE_THIS_MEMBER"],
      ["/remove-member", { memberIdOrEmail: owner.email }, "YOU_ARE_NOT_ALLOWED_TO_DELETE_THIS_MEMBER"],
      ...["owner", "member,owner", ["member", "deleter"]].map((role) => ["/invite-member", { email: other.email, role }, NOT_INVITE]),
      ...[org.board, org.cleaners, [org.team, org.board], `${org.team},${org.cleaners}`].map((teamId) => [
        "/invite-member",
        { email: other.email, role: "member", teamId },
        NOT_INVITE,
      ]),
    ],
    403,
  );
  const NOT_CREATED = "YOU_ARE_NOT_ALLOWED_TO_CREATE_A_ROLE",
    NOT_UPDATED = "YOU_ARE_NOT_ALLOWED_TO_UPDATE_A_ROLE",
    TAKEN = "ROLE_NAME_IS_ALREADY_TAKEN";
  await nothingComesOf(org, admin, [
    ...[
      { organization: ["delete"] },
      { user: ["impersonate-admins"] },
      { made: ["up"] },
      { team: ["create"], organization: ["update", "delete"] },
    ].flatMap((permission) => [
      ["/create-role", { role: "mine", permission }, NOT_CREATED],
      ["/create-role", { role: "mine", permission, additionalFields: { isDefault: true } }, NOT_CREATED],
      ["/update-role", { roleName: "handy", data: { permission } }, NOT_UPDATED],
    ]),
    ...[{ "*": ["*"] }, { organization: ["*"] }, { "*:*": ["x"] }].map((permission) => ["/create-role", { role: "mine", permission }]),
    ...["owner", "admin", "member"].map((role) => ["/create-role", { role, permission: { team: ["create"] } }, TAKEN]),
    ...["owner", "deleter"].map((roleName) => ["/update-role", { roleName: "handy", data: { roleName } }, TAKEN]),
    ...[{ roleName: "x" }, { permission: {} }, { isActive: false }, { isDefault: true }, { description: "x" }].map((data) => [
      "/update-role",
      { roleId: org.deleter, data },
      NOT_UPDATED,
    ]),
    ["/delete-role", { roleName: "deleter" }, "YOU_ARE_NOT_ALLOWED_TO_DELETE_A_ROLE"],
    ["/update-role", { roleName: "owner", data: { permission: {} } }, "ROLE_NOT_FOUND"],
  ]);
  const [{ id: system }] = await worker.rows("select id from role where tenant_id is null and name = 'admin'");
  await nothingComesOf(org, admin, [
    ["/update-role", { roleId: system, data: { permission: { team: ["create"] } } }, "ROLE_NOT_FOUND"],
    ["/delete-role", { roleId: system }, "ROLE_NOT_FOUND"],
    ...["owner", "deleter"].flatMap((role) => [
      ["/create-team", { name: "Mine", roles: [role] }],
      ["/update-team", { teamId: org.team, data: { roles: [role] } }],
    ]),
    ...[org.board, org.cleaners].flatMap((teamId) => [
      ...[
        { isOpen: true },
        { isPublic: false },
        { isActive: false },
        { roles: [] },
        { ownerId: admin.id },
        { name: "Ours" },
        { maxMembers: 1 },
      ].map((data) => ["/update-team", { teamId, data }]),
      ["/remove-team", { teamId }],
      ["/join-team", { teamId }],
      ["/leave-team", { teamId }],
      ...[admin, member].flatMap(({ id: userId }) => [
        ["/add-team-member", { teamId, userId }],
        ["/add-team-member", { teamId, userId, role: "owner" }],
      ]),
      ["/remove-team-member", { teamId, userId: owner.id }],
      ["/update-team-member", { teamId, userId: owner.id, role: "member" }],
      ["/update-team-member", { teamId, userId: owner.id, isActive: false }],
    ]),
    ["/delete", { organizationId: org.id }, "YOU_ARE_NOT_ALLOWED_TO_DELETE_THIS_ORGANIZATION"],
    ["/restore", { organizationId: org.id }],
  ]);
  assert.equal(await may(admin, { organization: ["delete"] }), false);
});

test("role names that look like the system's, or one's own, are taken", async () => {
  const org = await guarded();
  const accepted = [];
  for (const role of ["Owner", "OWNER", "Admin", " owner", "owner ", "mEmber", "Handy", " handy"]) {
    const answer = await post(org.admin, "/create-role", { role, permission: { team: ["create"] } });
    if (answer.status !== 400) accepted.push(role);
  }
  assert.deepEqual(accepted, []);
});

test("a role's name is one line, without the comma that separates several", async () => {
  const org = await guarded();
  for (const role of ["a,b", "a\nb", "a\u0000b", "", "   ", "x".repeat(65), 5, null, ["r"]]) {
    const answer = await post(org.admin, "/create-role", { role, permission: { team: ["create"] } });
    refused(answer, 400, "VALIDATION_ERROR", JSON.stringify(role));
  }
  for (const roleName of ["a,b", "a\nb", "x".repeat(65)]) {
    refused(await post(org.admin, "/update-role", { roleName: "handy", data: { roleName } }), 400, "VALIDATION_ERROR", roleName);
  }
});

test("a member does nothing that they were not given, and sees nothing that is hidden", async () => {
  const org = await guarded();
  const { member, other, owner, admin } = org;
  const hidden = await newTeam(org, "Hidden", { isPublic: false, isOpen: true });
  const pending = await invite(org, other);
  const teamOf = [org.team, org.board];
  await nothingComesOf(
    org,
    member,
    [
      ["/update", { data: { name: "Mine" } }],
      ["/delete", { organizationId: org.id }],
      ["/invite-member", { email: uniqueEmail(), role: "member" }],
      ["/invite-member", { email: other.email, role: "member", resend: true }],
      ["/cancel-invitation", { invitationId: pending }],
      ["/cancel-invitation", { invitationId: pending, organizationId: org.id }],
      ["/remove-member", { memberIdOrEmail: admin.member }],
      ["/remove-member", { memberIdOrEmail: owner.email }],
      ...[member.member, admin.member].flatMap((memberId) =>
        ["owner", "admin", "member"].map((role) => ["/update-member-role", { memberId, role }]),
      ),
      ["/create-role", { role: "r", permission: { ac: ["read"] } }],
      ["/delete-role", { roleName: "handy" }],
      ["/update-role", { roleName: "handy", data: { isActive: false } }],
      ["/create-team", { name: "Mine" }],
      ["/remove-team", { teamId: org.team }],
      ...teamOf.flatMap((teamId) => [
        ["/update-team", { teamId, data: { isOpen: true } }],
        ["/add-team-member", { teamId, userId: member.id }],
        ["/join-team", { teamId }],
        ["/remove-team-member", { teamId, userId: owner.id }],
        ["/update-team-member", { teamId, userId: owner.id, role: "member" }],
        ["/set-active-team", { teamId }],
      ]),
    ],
    [400, 403],
  );
  await nothingComesOf(org, member, [
    ...["/join-team", "/leave-team", "/set-active-team", "/remove-team"].map((path) => [path, { teamId: hidden }]),
    ["/update-team", { teamId: hidden, data: { isPublic: true } }],
    ["/add-team-member", { teamId: hidden, userId: member.id }],
  ]);
  for (const answer of await Promise.all([
    get(member, "/list-teams"),
    get(member, "/get-full-organization"),
    get(member, "/list-user-teams"),
  ])) {
    assert.ok(!ok(answer) || !answer.text.includes(hidden), answer.text);
  }
  refused(await get(member, "/list-team-members", { teamId: hidden }), 400, "TEAM_NOT_FOUND");
  refused(await get(member, "/list-team-members", { teamId: org.board }), 400, "USER_IS_NOT_A_MEMBER_OF_THE_TEAM");
  refused(await get(member, "/list-user-teams", { userId: owner.id }), 403, "YOU_ARE_NOT_ALLOWED_TO_UPDATE_THIS_TEAM");
  for (const [method, body] of [["GET"], ["PUT", { securityPolicy: {} }]]) {
    const answer = await member.browser.send(method, at("/organization/security-policy"), { body, headers: { origin: AUTH } });
    assert.equal(answer.status, 403, answer.text);
  }
  ok(await post(owner, "/add-team-member", { teamId: hidden, userId: member.id }));
  assert.ok(ok(await get(member, "/list-teams")).some(({ id }) => id === hidden));
});

test("whoever may only invite does not invite into groups that they do not see", async () => {
  const org = await guarded();
  const [inviter, guest] = await people(2);
  await newRole(org, "inviter", { invitation: ["create"], ac: ["read"] });
  await enrol(org, inviter, "inviter");
  const hidden = await newTeam(org, "Hidden", { isPublic: false });
  await nothingComesOf(org, inviter, [["/invite-member", { email: guest.email, role: "inviter", teamId: hidden }, "TEAM_NOT_FOUND"]]);
});

test("who looks after a group gives nobody roles by it", async () => {
  const org = await guarded();
  const { member, owner, admin } = org;
  const group = await newTeam(org, "Club");
  ok(await post(owner, "/add-team-member", { teamId: group, userId: member.id, role: "owner" }));
  await nothingComesOf(org, member, [
    ...["owner", "admin", "member", "handy"].map((role) => ["/update-team", { teamId: group, data: { roles: [role] } }]),
    ["/remove-team", { teamId: group }],
    ["/update-team", { teamId: group, data: { ownerId: org.other.id } }],
    ["/update-team", { teamId: group, data: { ownerId: admin.id } }],
    ["/add-team-member", { teamId: group, userId: org.other.id }],
    ["/update-team", { teamId: org.board, data: { name: "x" } }],
  ]);
  ok(await post(member, "/add-team-member", { teamId: group, userId: admin.id }));
  // Carrying what its keeper lacks, it is not theirs to let anybody into; nor theirs to take anybody out of.
  ok(await post(owner, "/remove-team-member", { teamId: group, userId: admin.id }));
  ok(await post(owner, "/update-team-member", { teamId: group, userId: member.id, isActive: false }));
  ok(await post(owner, "/update-team", { teamId: group, data: { roles: ["admin"] } }));
  assert.equal(await may(member, { member: ["delete"] }), false);
  await nothingComesOf(org, member, [
    ["/add-team-member", { teamId: group, userId: member.id, role: "owner" }],
    ["/update-team-member", { teamId: group, userId: member.id, isActive: true }],
    ["/update-team", { teamId: group, data: { isOpen: true } }],
    ["/remove-team-member", { teamId: group, userId: owner.id }],
  ]);
});

test("a group that is handed over is the new owner's", async () => {
  const org = await guarded();
  const { owner, member: heir } = org;
  const legacy = await newTeam(org, "Legacy");
  ok(await post(owner, "/add-team-member", { teamId: legacy, userId: heir.id }));
  assert.equal(ok(await post(owner, "/update-team", { teamId: legacy, data: { ownerId: heir.id } })).ownerId, heir.id);
  const inGroup = ok(await get(heir, "/list-team-members", { teamId: legacy }));
  assert.equal(inGroup.find(({ userId }) => userId === heir.id).role, "owner", "ownerId says so, and they may do nothing");
  ok(await post(heir, "/update-team", { teamId: legacy, data: { description: "mine now" } }), "the new owner changes the group");
});

test("who was set aside in an open group does not come back by leaving and joining", async () => {
  const back = [];
  for (const [way, leave] of [
    ["/leave-team", (somebody, teamId) => post(somebody, "/leave-team", { teamId })],
    ["/remove-team-member", (somebody, teamId) => post(somebody, "/remove-team-member", { teamId, userId: somebody.id })],
    ["/join-team", () => null],
  ]) {
    const org = await guarded();
    const teamId = await newTeam(org, "Open", { isOpen: true, roles: ["handy"] });
    ok(await post(org.member, "/join-team", { teamId }));
    assert.equal(await may(org.member, { organization: ["update"] }), true);
    ok(await post(org.owner, "/update-team-member", { teamId, userId: org.member.id, isActive: false }));
    assert.equal(await may(org.member, { organization: ["update"] }), false);
    await leave(org.member, teamId);
    await post(org.member, "/join-team", { teamId });
    if (await may(org.member, { organization: ["update"] })) back.push(way);
  }
  assert.deepEqual(back, []);
});

test("what was taken away is gone from live sessions at once", async () => {
  const org = await guarded();
  const { owner } = org;
  const PRIVILEGED = { team: ["create"] };
  const carrier = await newTeam(org, "Carrier", { roles: ["admin"] });
  const custom = await newRole(org, "creator", PRIVILEGED);
  const cases = [
    ["a member that is demoted", "admin", ({ memberId }) => post(owner, "/update-member-role", { memberId, role: "member" })],
    ["a role that is deactivated", "creator", () => post(owner, "/update-role", { roleId: custom, data: { isActive: false } })],
    [
      "a role that allows less",
      "creator",
      () => post(owner, "/update-role", { roleId: custom, data: { isActive: true, permission: { team: ["update"] } } }),
    ],
    ["a group that is left", "group", ({ id: userId }) => post(owner, "/remove-team-member", { teamId: carrier, userId })],
    [
      "a group where they are set aside",
      "group",
      ({ id: userId }) => post(owner, "/update-team-member", { teamId: carrier, userId, isActive: false }),
    ],
    ["a group that carries nothing any more", "group", () => post(owner, "/update-team", { teamId: carrier, data: { roles: [] } })],
    [
      "a group that is deactivated",
      "group",
      () => post(owner, "/update-team", { teamId: carrier, data: { roles: ["admin"], isActive: false } }),
    ],
    ["a group that is deleted", "group", () => post(owner, "/remove-team", { teamId: carrier })],
    [
      "a member that is removed",
      "admin",
      ({ memberId }) => post(owner, "/remove-member", { memberIdOrEmail: memberId }),
      [400, "NO_ACTIVE_ORGANIZATION"],
    ],
  ];
  for (const [what, by, take, expected = [403, "YOU_ARE_NOT_ALLOWED_TO_CREATE_TEAMS_IN_THIS_ORGANIZATION"]] of cases) {
    const somebody = await person();
    if (by === "creator") ok(await post(owner, "/update-role", { roleId: custom, data: { isActive: true, permission: PRIVILEGED } }));
    if (by === "group") ok(await post(owner, "/update-team", { teamId: carrier, data: { isActive: true, roles: ["admin"] } }));
    somebody.memberId = await enrol(org, somebody, by === "group" ? "member" : by, by === "group" ? { teamId: carrier } : {});
    ok(await post(somebody, "/create-team", { name: `Before, ${what}` }), what);
    ok(await take(somebody), what);
    refused(await post(somebody, "/create-team", { name: `After, ${what}` }), ...expected, what);
    if (expected[0] === 400) {
      refused(await post(somebody, "/create-team", { name: "x", organizationId: org.id }), 404, "ORGANIZATION_NOT_FOUND", what);
      refused(await get(somebody, "/get-full-organization", { organizationId: org.id }), 404, "ORGANIZATION_NOT_FOUND", what);
      const { session } = (await somebody.browser.get(at("/get-session"))).json;
      assert.deepEqual([session.activeOrganizationId, session.activeTeamId], [null, null]);
    } else {
      assert.equal(await may(somebody, PRIVILEGED), false, what);
    }
  }
});

/** Keeps asking, `lanes` at a time, until `done`. */
async function flood(lanes, done, ask) {
  const answers = [];
  await times(lanes, async (lane) => {
    for (let n = 0; n < 60 && !done.yes; n++) answers.push(await ask(lane));
  });
  return answers;
}

test("requests in flight do not undo a demotion", async () => {
  for (let round = 0; round < 5; round++) {
    const { owner, admin, ...org } = await guarded();
    const done = { yes: false };
    const change = (who, role) => post(who, "/update-member-role", { memberId: admin.member, role, organizationId: org.id });
    const flooding = flood(20, done, () => change(admin, "admin"));
    await new Promise((resolve) => setTimeout(resolve, 30));
    ok(await change(owner, "member"));
    done.yes = true;
    const answers = await flooding;
    for (const { status, text } of answers) assert.ok([200, 403].includes(status), text);
    assert.equal(await rolesOf(org, admin), "member", `round ${round}: the demoted administrator made themselves one again`);
  }
});

test("requests in flight of somebody who was removed leave nothing behind", async () => {
  for (let round = 0; round < 3; round++) {
    const { owner, admin, ...org } = await guarded();
    const done = { yes: false };
    const flooding = flood(20, done, (lane) =>
      post(admin, "/create-role", {
        role: `r${lane}-${randomBytes(4).toString("hex")}`,
        permission: { team: ["create"] },
        organizationId: org.id,
      }),
    );
    await new Promise((resolve) => setTimeout(resolve, 30));
    ok(await post(owner, "/remove-member", { memberIdOrEmail: admin.member, organizationId: org.id }));
    const then = await count("role where tenant_id = ?", org.id);
    done.yes = true;
    await flooding;
    assert.equal(await count("role where tenant_id = ?", org.id), then, `round ${round}: roles were made by somebody who was removed`);
  }
});

test("ids of another organization open nothing and change nothing", async () => {
  const [victim, attacker, bystander] = [await guarded(), await person("Eve"), await person("By")];
  const theirs = await found(attacker, "Attackers");
  await enrol(theirs, bystander);
  await newRole(theirs, "local", { made: ["up"] });
  await newTeam(theirs, "Spare");
  ok(await post(victim.owner, "/update", { data: { name: "Sekret Ltd", metadata: { k: "sekret" } } }));
  const role = await newRole(victim, "sekret-role", { sekret: ["do"] });
  const team = await newTeam(victim, "Sekret Team", { isOpen: true });
  const pending = await invite(victim, victim.other);
  const { member, owner } = victim;
  const mine = { organizationId: theirs.id },
    foreign = { organizationId: victim.id };
  const untouched = [await state(victim), await state(theirs)];
  const secrets = [
    /sekret/i,
    ...[owner, member, victim.admin, victim.other].map(({ email }) => new RegExp(email)),
    new RegExp(victim.ownerMember),
    new RegExp(role),
    new RegExp(team),
  ];
  const check = async (answer, what, asked) => {
    assert.ok(answer.status < 500, `${what}: ${answer.status} ${answer.text}`);
    for (const secret of secrets) if (!secret.test(asked)) assert.ok(!secret.test(answer.text), `${what} tells ${secret}: ${answer.text}`);
    assert.deepEqual([await state(victim), await state(theirs)], untouched, `${what} changed something`);
  };
  const posts = [
    ["/update-member-role", { memberId: member.member, role: "member" }],
    ["/update-member-role", { memberId: victim.ownerMember, role: "owner" }],
    ["/remove-member", { memberIdOrEmail: member.member }],
    ["/remove-member", { memberIdOrEmail: member.email }],
    ["/update-team", { teamId: team, data: { name: "x" } }],
    ["/remove-team", { teamId: team }],
    ["/set-active-team", { teamId: team }],
    ["/join-team", { teamId: team }],
    ["/leave-team", { teamId: team }],
    ["/add-team-member", { teamId: team, userId: attacker.id }],
    ["/add-team-member", { teamId: team, userId: member.id }],
    ["/add-team-member", { teamId: theirs.team, userId: member.id }],
    ["/remove-team-member", { teamId: team, userId: owner.id }],
    ["/remove-team-member", { teamId: theirs.team, userId: owner.id }],
    ["/update-team-member", { teamId: team, userId: owner.id, role: "member" }],
    ["/update-team-member", { teamId: theirs.team, userId: owner.id, role: "owner" }],
    ["/update-team", { teamId: theirs.team, data: { ownerId: owner.id } }],
    ["/update-team", { teamId: theirs.team, data: { roles: ["sekret-role"] } }],
    ["/create-team", { name: "x", roles: ["sekret-role"] }],
    ["/update-role", { roleId: role, data: { permission: {} } }],
    ["/update-role", { roleName: "sekret-role", data: { isActive: false } }],
    ["/delete-role", { roleId: role }],
    ["/delete-role", { roleName: "sekret-role" }],
    ["/update-member-role", { memberId: theirs.ownerMember, role: ["owner", "sekret-role"] }],
    ["/invite-member", { email: uniqueEmail(), role: "sekret-role" }],
    ["/invite-member", { email: uniqueEmail(), role: "member", teamId: team }],
    ["/cancel-invitation", { invitationId: pending }],
    ["/accept-invitation", { invitationId: pending }],
    ["/reject-invitation", { invitationId: pending }],
  ];
  for (const [path, body] of posts) {
    for (const named of [{}, mine, foreign]) {
      const sends = { ...body, ...named };
      const answer = await post(attacker, path, sends);
      assert.ok([400, 403, 404].includes(answer.status), `${path} ${JSON.stringify(sends)}: ${answer.status} ${answer.text}`);
      await check(answer, `${path} ${JSON.stringify(sends)}`, JSON.stringify(body));
      if (named === foreign && !path.endsWith("-invitation")) refused(answer, 404, "ORGANIZATION_NOT_FOUND", path);
    }
  }
  const whole = [
    ["/update", { data: { name: "x" } }],
    ["/delete", {}],
    ["/restore", {}],
    ["/leave", {}],
    ["/set-active", {}],
    ["/create-role", { role: "x", permission: { ac: ["read"] } }],
    ["/has-permission", { permissions: { ac: ["read"] } }],
    ["/create-team", { name: "x" }],
    ["/invite-member", { email: attacker.email, role: "owner" }],
    ["/remove-team", { teamId: theirs.team }],
    ["/update-team", { teamId: theirs.team, data: { name: "x" } }],
    ["/update-team", { teamId: theirs.team, data: { name: "x", ...foreign } }],
    ["/remove-member", { memberIdOrEmail: bystander.email }],
    ["/update-role", { roleName: "local", data: {} }],
    ["/delete-role", { roleName: "local" }],
    ["/remove-team-member", { teamId: theirs.team, userId: attacker.id }],
    ["/update-member-role", { memberId: theirs.ownerMember, role: "member" }],
  ];
  for (const [path, body] of whole) {
    for (const id of [victim.id, victim.id.toUpperCase(), `{${victim.id}}`, `urn:uuid:${victim.id}`, randomUUID(), "nope", "' or 1=1 --"]) {
      const answer = await post(attacker, path, { ...body, organizationId: id });
      refused(answer, 404, "ORGANIZATION_NOT_FOUND", `${path} ${id}`);
    }
    await check(await post(attacker, path, { ...body, ...foreign }), path, "");
  }
  refused(await post(attacker, "/set-active", { organizationSlug: victim.slug }), 404, "ORGANIZATION_NOT_FOUND");
  for (const [path, query = {}] of [
    ["/get-organization"],
    ["/get-full-organization"],
    ["/list-invitations"],
    ["/list-members"],
    ["/get-active-member-role"],
    ["/list-teams"],
    ["/list-user-teams"],
    ["/list-roles"],
    ["/security-policy"],
    ["/get-role", { roleName: "sekret-role" }],
    ["/get-role", { roleId: role }],
    ["/list-team-members", { teamId: team }],
    ["/get-active-member-role", { userId: owner.id }],
    ["/list-user-teams", { userId: member.id }],
  ]) {
    for (const named of [foreign, { organizationSlug: victim.slug }]) {
      const answer = await get(attacker, path, { ...query, ...named });
      refused(answer, 404, "ORGANIZATION_NOT_FOUND", `${path} ${JSON.stringify(named)}`);
      await check(answer, path, JSON.stringify(query));
    }
    for (const named of [{}, mine, { organizationId: theirs.id, organizationSlug: victim.slug }])
      await check(await get(attacker, path, { ...query, ...named }), path, JSON.stringify(query));
    const twice = `${new URLSearchParams({ ...query, ...mine })}&organizationId=${victim.id}`;
    await check(await attacker.browser.get(at(`/organization${path}?${twice}`)), `${path}?${twice}`, twice);
  }
  for (const [path, query, code, status = 400] of [
    ["/get-role", { roleId: role }, "ROLE_NOT_FOUND"],
    ["/get-role", { roleName: "sekret-role" }, "ROLE_NOT_FOUND"],
    ["/list-team-members", { teamId: team }, "TEAM_NOT_FOUND"],
    ["/get-active-member-role", { userId: owner.id }, "MEMBER_NOT_FOUND", 404],
    ["/get-invitation", { id: pending }, "YOU_ARE_NOT_THE_RECIPIENT_OF_THE_INVITATION", 403],
  ])
    refused(await get(attacker, path, query), status, code, path);
  assert.deepEqual(ok(await get(attacker, "/list-members", { filterField: "userId", filterValue: owner.id })), { members: [], total: 0 });
  assert.deepEqual(ok(await get(attacker, "/list-user-invitations")), []);
  assert.equal(await may(attacker, { sekret: ["do"] }, theirs.id), true, "an owner holds whatever there is, in their own");
  const policy = await attacker.browser.send("PUT", at("/organization/security-policy"), {
    body: { ...foreign, securityPolicy: {} },
    headers: { origin: AUTH },
  });
  refused(policy, 404, "ORGANIZATION_NOT_FOUND");
  await check(policy, "PUT security-policy", "");
});

test("the last owner stays, whoever acts and however", async () => {
  const org = await guarded();
  const { owner, admin } = org;
  const chief = { ...(await person()) };
  chief.member = await enrol(org, chief, "member", { teamId: org.board });
  assert.equal(await may(chief, { organization: ["delete"] }), true, "owner by a group");
  for (const who of [owner, admin, chief]) {
    await nothingComesOf(org, who, [
      ...["member", "admin", "handy", ["admin", "deleter"]].map((role) => ["/update-member-role", { memberId: org.ownerMember, role }]),
      ["/remove-member", { memberIdOrEmail: org.ownerMember }],
      ["/remove-member", { memberIdOrEmail: owner.email }],
      ...(who === owner ? [["/leave", { organizationId: org.id }, "YOU_CANNOT_LEAVE_THE_ORGANIZATION_AS_THE_ONLY_OWNER"]] : []),
    ]);
  }
  ok(await post(owner, "/update-member-role", { memberId: org.ownerMember, role: ["member", "owner"] }));
  await nothingComesOf(
    org,
    owner,
    [
      ["/leave", { organizationId: org.id }],
      ["/update-member-role", { memberId: org.ownerMember, role: "member" }],
    ],
    400,
  );
  ok(await post(chief, "/update-member-role", { memberId: chief.member, role: "owner" }));
  ok(await post(owner, "/leave", { organizationId: org.id }));
  assert.equal(await owners(org), 1);
  refused(await post(chief, "/leave", { organizationId: org.id }), 400, "YOU_CANNOT_LEAVE_THE_ORGANIZATION_AS_THE_ONLY_OWNER");
});

test("the last owner of an organization with members does not delete themselves away from it", async () => {
  const org = await guarded();
  await org.owner.browser.post(at("/delete-user"), { password: PASSWORD });
  assert.equal(await owners(org), 1, "deleting the account left the organization without owner");
});

test("two owners who go at once do not both go", async () => {
  const WAYS = {
    "leave each": ([a, b], { id }) => [post(a, "/leave", { organizationId: id }), post(b, "/leave", { organizationId: id })],
    "demote each other": ([a, b], { id }) =>
      [
        [a, b],
        [b, a],
      ].map(([by, whom]) => post(by, "/update-member-role", { memberId: whom.member, role: "member", organizationId: id })),
    "remove each other": ([a, b], { id }) =>
      [
        [a, b],
        [b, a],
      ].map(([by, whom]) => post(by, "/remove-member", { memberIdOrEmail: whom.member, organizationId: id })),
    "demote themselves": ([a, b], { id }) =>
      [a, b].map((by) => post(by, "/update-member-role", { memberId: by.member, role: "admin", organizationId: id })),
    "all of it": ([a, b], { id }) =>
      [
        [a, b],
        [b, a],
      ].flatMap(([by, whom]) => [
        post(by, "/leave", { organizationId: id }),
        post(by, "/remove-member", { memberIdOrEmail: whom.email, organizationId: id }),
        post(by, "/update-member-role", { memberId: whom.member, role: "member", organizationId: id }),
        post(by, "/update-member-role", { memberId: by.member, role: "member", organizationId: id }),
      ]),
  };
  const [a, b] = await people(2);
  for (const [way, go] of Object.entries(WAYS)) {
    for (let round = 0; round < 20; round++) {
      const org = await found(a);
      const pair = [
        { ...a, member: org.ownerMember },
        { ...b, member: await enrol(org, b, "owner") },
      ];
      const answers = await Promise.all(go(pair, org));
      for (const { status, text } of answers) assert.ok([200, 400, 403, 404].includes(status), `${way}: ${status} ${text}`);
      assert.equal(await owners(org), 1, `${way}, round ${round}: ${JSON.stringify(tally(answers))}`);
    }
  }
});

test("who became the last owner while they were being demoted, or removed, stays", async () => {
  const [owner, admin, heir] = await people(3);
  for (let round = 0; round < 12; round++) {
    const org = await found(owner);
    await enrol(org, admin, "admin");
    const memberId = await enrol(org, heir);
    const [organizationId, done] = [org.id, { yes: false }];
    const demote = () => post(admin, "/update-member-role", { memberId, role: "member", organizationId });
    const remove = () => post(admin, "/remove-member", { memberIdOrEmail: memberId, organizationId });
    const late = (n, act) => new Promise((resolve) => setTimeout(resolve, n)).then(act);
    const pushing = round % 2 ? flood(10, done, demote) : times(20, (n) => late(n, remove));
    for (let n = 0; n < 15 && !done.yes; n++) {
      const [, ...left] = await Promise.all([
        post(owner, "/update-member-role", { memberId, role: "owner", organizationId }),
        ...Array.from({ length: 6 }, (_, n) => late(n, () => post(owner, "/leave", { organizationId }))),
      ]);
      done.yes = left.some(({ status }) => status === 200);
    }
    done.yes = true;
    await pushing;
    assert.ok((await owners(org)) >= 1, `round ${round}: nobody owns it`);
  }
});

test("an invitation is for its address alone, proven, open, and once", async () => {
  const [owner, guest, stranger] = await people(3);
  const org = await found(owner);
  const each = async (who, invitationId, ...expected) => {
    refused(await get(who, "/get-invitation", { id: invitationId }), ...expected);
    await nothingComesOf(
      org,
      who,
      ["/accept-invitation", "/reject-invitation"].map((path) => [path, { invitationId }, expected[1]]),
      expected[0],
    );
  };
  const id = await invite(org, guest);
  await each(stranger, id, 403, "YOU_ARE_NOT_THE_RECIPIENT_OF_THE_INVITATION");
  await each(owner, id, 403, "YOU_ARE_NOT_THE_RECIPIENT_OF_THE_INVITATION");
  await run("update user set email_verified = 0 where id = ?", guest.id);
  await each(guest, id, 403, "EMAIL_VERIFICATION_REQUIRED_BEFORE_ACCEPTING_OR_REJECTING_INVITATION");
  refused(await get(guest, "/list-user-invitations"), 403, "EMAIL_VERIFICATION_REQUIRED_FOR_INVITATION");
  await run("update user set email_verified = 1 where id = ?", guest.id);
  refused(await get(stranger, "/list-user-invitations", { email: guest.email }), 400, "VALIDATION_ERROR");
  assert.equal(ok(await get(guest, "/list-user-invitations")).length, 1);

  await run("update invitation set expires_at = ? where id = ?", Date.now() - 1, id);
  await each(guest, id, 400, "INVITATION_NOT_FOUND");
  assert.deepEqual(ok(await get(guest, "/list-user-invitations")), []);
  assert.equal(ok(await get(owner, "/list-invitations"))[0].status, "expired");

  const second = await invite(org, guest);
  assert.notEqual(second, id);
  await each(guest, id, 400, "INVITATION_NOT_FOUND");
  ok(await post(owner, "/cancel-invitation", { invitationId: second }));
  await each(guest, second, 400, "INVITATION_NOT_FOUND");
  const third = await invite(org, guest);
  ok(await post(guest, "/reject-invitation", { invitationId: third }));
  await each(guest, third, 400, "INVITATION_NOT_FOUND");
  const fourth = await invite(org, guest);
  ok(await post(guest, "/accept-invitation", { invitationId: fourth }));
  await each(guest, fourth, 400, "INVITATION_NOT_FOUND");
  await nothingComesOf(org, owner, [["/cancel-invitation", { invitationId: fourth }, "INVITATION_NOT_FOUND"]], 400);
  assert.equal(await count("member where tenant_id = ?", org.id), 2);
  for (const invitationId of ["nope", "", randomUUID(), `${fourth} `]) {
    for (const path of ["/accept-invitation", "/reject-invitation", "/cancel-invitation"])
      assert.equal((await post(guest, path, { invitationId })).status, 400);
  }
  const anonymous = { browser: worker.browser() };
  for (const path of ["/accept-invitation", "/reject-invitation", "/cancel-invitation"])
    assert.equal((await post(anonymous, path, { invitationId: fourth })).status, 401);
});

test("an invitation that is answered many times at once is answered once", async () => {
  const [owner, guest] = await people(2);
  for (const [way, paths] of Object.entries({
    accept: ["/accept-invitation"],
    "accept and reject": ["/accept-invitation", "/reject-invitation"],
    "accept and cancel": ["/accept-invitation", "/cancel-invitation"],
  })) {
    for (let round = 0; round < 3; round++) {
      const org = await found(owner);
      const invitationId = await invite(org, guest, "admin", { teamId: org.team });
      const answers = await times(20, (n) =>
        post(paths[n % paths.length] === "/cancel-invitation" ? owner : guest, paths[n % paths.length], { invitationId }),
      );
      assert.deepEqual(tally(answers), { 200: 1, 400: 19 }, way);
      const accepted = answers.findIndex(({ status }) => status === 200) % paths.length === 0;
      assert.equal(await count("member where tenant_id = ? and user_id = ?", org.id, guest.id), accepted ? 1 : 0, way);
      assert.equal(await rolesOf(org, guest), accepted ? "admin" : "");
      const [{ member_count }] = await worker.rows("select member_count from tenant where id = ?", org.id);
      const [group] = await worker.rows("select member_count from user_group where id = ?", org.team);
      assert.deepEqual([member_count, group.member_count], accepted ? [2, 2] : [1, 1], way);
      const [{ status }] = await worker.rows("select status from invitation where id = ?", invitationId);
      assert.equal(status === "accepted", accepted);
    }
  }
  const org = await found(owner);
  const sent = await times(20, () => post(owner, "/invite-member", { email: guest.email, role: "member" }));
  assert.deepEqual(tally(sent), { 200: 1, 400: 19 });
  assert.equal(await count("invitation where tenant_id = ?", org.id), 1);
  assert.ok(
    (await times(10, () => post(owner, "/invite-member", { email: guest.email, role: "member", resend: true }))).every(
      ({ status }) => status < 500,
    ),
  );
  assert.equal(await count("invitation where tenant_id = ?", org.id), 1);
});

test("an invitation is worth what its sender, its roles and its groups are when it is accepted", async () => {
  const org = await guarded();
  const { owner, admin, other } = org;
  const sentBy = async (who, role, more) =>
    ok(await post(who, "/invite-member", { email: other.email, role, organizationId: org.id, ...more })).id;
  const accept = (invitationId) => post(other, "/accept-invitation", { invitationId });
  const out = async () => ok(await post(owner, "/remove-member", { memberIdOrEmail: other.email, organizationId: org.id }));

  const first = await sentBy(admin, "admin");
  ok(await post(owner, "/remove-member", { memberIdOrEmail: admin.member }));
  await nothingComesOf(
    org,
    other,
    [["/accept-invitation", { invitationId: first }, "INVITER_IS_NO_LONGER_A_MEMBER_OF_THE_ORGANIZATION"]],
    403,
  );
  ok(await post(owner, "/cancel-invitation", { invitationId: first }));

  await newRole(org, "temporary", { team: ["create"] });
  const second = await sentBy(owner, "temporary");
  ok(await post(owner, "/delete-role", { roleName: "temporary" }));
  ok(await accept(second));
  assert.equal(await rolesOf(org, other), "member", "nobody is a member without a role");
  await out();

  const paused = await newRole(org, "paused", { team: ["create"] });
  const third = await sentBy(owner, ["paused", "member"]);
  ok(await post(owner, "/update-role", { roleId: paused, data: { isActive: false } }));
  ok(await accept(third));
  assert.deepEqual([await may(other, { team: ["create"] }), await rolesOf(org, other)], [false, "member"]);
  await out();

  const gone = await newTeam(org, "Gone");
  const fifth = await sentBy(owner, "member", { teamId: gone });
  ok(await post(owner, "/remove-team", { teamId: gone }));
  ok(await accept(fifth));
  assert.deepEqual(ok(await get(other, "/list-user-teams")), []);
  await out();

  const sixth = await sentBy(owner, "member");
  ok(await post(owner, "/delete", { organizationId: org.id }));
  await nothingComesOf(org, other, [["/accept-invitation", { invitationId: sixth }, "INVITATION_NOT_FOUND"]], 400);
  ok(await post(owner, "/restore", { organizationId: org.id }));
  ok(await accept(sixth));
});

test("a team that is gone when its invitation is accepted is not active, nor told", async () => {
  const org = await guarded();
  const { owner, other } = org;
  const teamId = await newTeam(org, "Gone");
  const invitationId = await invite(org, other, "member", { teamId });
  ok(await post(owner, "/remove-team", { teamId }));
  const { invitation } = ok(await post(other, "/accept-invitation", { invitationId }));
  const { session } = (await other.browser.get(at("/get-session"))).json;
  assert.deepEqual([invitation.teamId, session.activeOrganizationId, session.activeTeamId], [null, org.id, null]);
});

test("a full group stays full for those who are invited into it, also at once, and its count stays right", async () => {
  const [owner, ...guests] = await people(7);
  const org = await found(owner);
  const full = await newTeam(org, "Full", { maxMembers: 3 });
  const held = async () => [
    (await worker.rows("select member_count from user_group where id = ?", full))[0].member_count,
    await count("user_group_member where user_group_id = ?", full),
  ];
  const sent = [];
  for (const guest of guests) sent.push(await invite(org, guest, "member", { teamId: full }));
  const answers = await times(6, (n) => post(guests[n], "/accept-invitation", { invitationId: sent[n] }));
  const left = [];
  for (const guest of guests) left.push((await post(guest, "/leave", { organizationId: org.id })).status);
  const emptied = await held();
  assert.deepEqual(
    { answers: tally(answers), broken: left.filter((status) => status >= 500).length, emptied },
    { answers: { 200: 2, 403: 4 }, broken: 0, emptied: [1, 1] },
  );
});

test("whoever accepts is told the roles that they were given", async () => {
  const org = await guarded();
  const temporary = await newRole(org, "temporary", { team: ["create"] });
  for (const [role, change] of [
    [["temporary", "member"], () => post(org.owner, "/update-role", { roleId: temporary, data: { isActive: false } })],
    ["temporary", () => post(org.owner, "/delete-role", { roleId: temporary })],
  ]) {
    const [somebody] = await people(1);
    if (role === "temporary") ok(await post(org.owner, "/update-role", { roleId: temporary, data: { isActive: true } }));
    const invitationId = await invite(org, somebody, role);
    ok(await change());
    const { member } = ok(await post(somebody, "/accept-invitation", { invitationId }));
    assert.equal(member.role, ok(await get(somebody, "/get-active-member-role")).role);
  }
});

test("an administrator who was demoted does not make another one by an invitation from before", async () => {
  const org = await guarded();
  const invitationId = ok(await post(org.admin, "/invite-member", { email: org.other.email, role: "admin" })).id;
  ok(await post(org.owner, "/update-member-role", { memberId: org.admin.member, role: "member" }));
  await post(org.other, "/accept-invitation", { invitationId });
  assert.notEqual(await rolesOf(org, org.other), "admin");
});

test("an invitation to be an owner is not prolonged by who could not send it", async () => {
  const org = await guarded();
  await invite(org, org.other, "owner");
  await nothingComesOf(org, org.admin, [["/invite-member", { email: org.other.email, role: "member", resend: true }]], 403);
});

test("an invitation is worth nothing once its sender is banned, or its groups carry more than they may give", async () => {
  const org = await guarded();
  const { owner, admin, other } = org;
  const team = await newTeam(org, "Helpers");
  const invitationId = ok(
    await post(admin, "/invite-member", { email: other.email, role: "member", teamId: team, organizationId: org.id }),
  ).id;
  const fails = () =>
    nothingComesOf(org, other, [["/accept-invitation", { invitationId }, "INVITER_IS_NO_LONGER_A_MEMBER_OF_THE_ORGANIZATION"]], 403);
  await run("update user set status = 'suspended' where id = ?", admin.id);
  await fails();
  await run("update user set status = 'suspended', suspended_until = 1 where id = ?", admin.id);
  ok(await post(owner, "/update-team", { teamId: team, data: { roles: ["deleter"] } }));
  await fails();
  ok(await post(owner, "/update-team", { teamId: team, data: { roles: [] } }));
  await run("update role set is_active = 0 where tenant_id is null and name = 'admin'");
  try {
    await fails();
  } finally {
    await run("update role set is_active = 1 where tenant_id is null and name = 'admin'");
  }
  ok(await post(other, "/accept-invitation", { invitationId }));
  // A role that is switched off is not given, and keeps nobody out.
  const [late] = await people(1);
  const spare = await newRole(org, "spare", { team: ["create"] });
  const second = ok(await post(admin, "/invite-member", { email: late.email, role: ["spare", "member"], organizationId: org.id })).id;
  ok(await post(owner, "/update-role", { roleId: spare, data: { permission: { organization: ["delete"] }, isActive: false } }));
  ok(await post(late, "/accept-invitation", { invitationId: second }));
  assert.equal(await rolesOf(org, late), "member");
});

test("an invitation is not sent again by who may not give what its groups carry", async () => {
  const org = await guarded();
  await invite(org, org.other, "member", { teamId: org.cleaners });
  await nothingComesOf(
    org,
    org.admin,
    [["/invite-member", { email: org.other.email, role: "member", resend: true }, "YOU_ARE_NOT_ALLOWED_TO_INVITE_USER_WITH_THIS_ROLE"]],
    403,
  );
  ok(await post(org.owner, "/invite-member", { email: org.other.email, role: "member", resend: true }));
});

test("whoever came to be a member before they accept is given what they were invited to", async () => {
  const org = await guarded();
  const invitationId = await invite(org, org.other, "admin", { teamId: org.team });
  const member = randomUUID();
  await run("insert into member (id, tenant_id, user_id, created_at, updated_at) values (?, ?, ?, 0, 0)", member, org.id, org.other.id);
  const before = await worker.rows("select member_count from tenant where id = ?", org.id);
  const accepted = ok(await post(org.other, "/accept-invitation", { invitationId }));
  assert.equal(accepted.member.id, member);
  assert.equal(await rolesOf(org, org.other), "admin");
  assert.equal(ok(await get(org.other, "/list-user-teams")).length, 1);
  assert.deepEqual(await worker.rows("select member_count from tenant where id = ?", org.id), before);
  const set_aside = await person();
  const second = await invite(org, set_aside);
  await run(
    "insert into member (id, tenant_id, user_id, status, created_at, updated_at) values (?, ?, ?, 'inactive', 0, 0)",
    randomUUID(),
    org.id,
    set_aside.id,
  );
  await nothingComesOf(
    org,
    set_aside,
    [["/accept-invitation", { invitationId: second }, "USER_IS_ALREADY_A_MEMBER_OF_THIS_ORGANIZATION"]],
    400,
  );
});

test("owners who are banned, or were never there, freeze nothing", async () => {
  const org = await guarded();
  const [first, second] = await people(2);
  for (const one of [first, second]) one.member = await enrol(org, one, "owner");
  await run("update user set status = 'suspended' where id in (?, ?)", first.id, second.id);
  ok(await post(org.owner, "/update-member-role", { memberId: first.member, role: "member" }), "one banned owner of two");
  ok(await post(org.owner, "/remove-member", { memberIdOrEmail: second.member }));
  refused(await post(org.owner, "/leave", { organizationId: org.id }), 400, "YOU_CANNOT_LEAVE_THE_ORGANIZATION_AS_THE_ONLY_OWNER");
  await run("delete from member_role where member_id = ?", org.ownerMember);
  ok(await post(org.admin, "/update-member-role", { memberId: org.member.member, role: ["member"] }), "an organization without any owner");
  ok(await post(org.admin, "/remove-member", { memberIdOrEmail: org.member.member }));
});

test("an invitation that is sent again by another is accepted, though its first sender is gone", async () => {
  const org = await guarded();
  const { owner, admin, other } = org;
  ok(await post(admin, "/invite-member", { email: other.email, role: "member" }));
  ok(await post(owner, "/remove-member", { memberIdOrEmail: admin.member }));
  const again = ok(await post(owner, "/invite-member", { email: other.email, role: "member", resend: true }));
  ok(await post(other, "/accept-invitation", { invitationId: again.id }), "sent again by the owner");
});

test("what is mailed is stored as its hash alone, and a link that is sent again is another", async () => {
  const [owner, guest] = await people(2);
  const org = await found(owner);
  const mailed = async () => (await owner.browser.get(`${AUTH}/dev/mailbox?to=${guest.email}`)).json[0].text.match(/https?:\S+/)[0];
  const invitationId = await invite(org, guest);
  const link = await mailed();
  const token = new URL(link).searchParams.get("token");
  assert.ok(token.length >= 32, link);
  const [{ token_hash }] = await worker.rows("select token_hash from invitation where id = ?", invitationId);
  const forms = ["hex", "base64url", "base64"].map((form) => createHash("sha256").update(token).digest(form));
  assert.ok(forms.includes(token_hash) || token_hash !== token, token_hash);
  const tables = await worker.rows(
    "select name from sqlite_schema where type = 'table' and name not glob '_cf_*' and name not glob 'sqlite_*' and name <> 'outbox'",
  );
  for (const { name } of tables) {
    const rows = await worker.rows(`select * from ${name}`);
    assert.ok(!JSON.stringify(rows).includes(token), `${name} holds the token`);
  }
  for (const text of [
    JSON.stringify(ok(await get(owner, "/list-invitations"))),
    JSON.stringify(ok(await get(guest, "/list-user-invitations"))),
  ]) {
    assert.ok(!text.includes(token) && !text.includes(token_hash), text);
  }
  ok(await post(owner, "/invite-member", { email: guest.email, role: "member", resend: true }));
  const [renewed] = await worker.rows("select token_hash from invitation where id = ?", invitationId);
  assert.notEqual(renewed.token_hash, token_hash, "the link of before still opens it");
  const page = await guest.browser.get(await mailed(), { headers: { accept: "text/html", "sec-fetch-mode": "navigate" } });
  assert.equal(page.status, 200, page.text);
});

test("the mailed link leads to a page, where its address alone answers, once, and is proven by it", async () => {
  const owner = await person();
  const org = await found(owner);
  const linkFor = async (email) => {
    ok(await post(owner, "/invite-member", { email, role: "admin", organizationId: org.id }));
    const mail = (
      await worker.browser().get(`${AUTH}/dev/mailbox?to=${encodeURIComponent(email)}`, { headers: { accept: "application/json" } })
    ).text;
    return mail.match(/https?:[^"\s<\\]*\/invitation\?token=[\w-]+/)[0];
  };
  const PAGE_HEADERS = { headers: { accept: "text/html", "sec-fetch-mode": "navigate" } };
  const answer = (browser, url, decision) =>
    browser.submit(`${AUTH}/invitation`, { token: new URL(url).searchParams.get("token"), decision });
  const guest = await signUp(worker);
  const url = await linkFor(guest.email);
  const stranger = await signUp(worker);
  const signedOut = await worker.browser().get(url, PAGE_HEADERS);
  assert.match(signedOut.text, /Sign in<\/a> or <a href="\/sign-up\?continue=/);
  assert.ok(!(await stranger.browser.get(url, PAGE_HEADERS)).text.includes('name="decision"'), "another address is asked nothing");
  assert.equal((await answer(stranger.browser, url, "accept")).status, 403);
  assert.equal((await answer(worker.browser(), url, "accept")).status, 303, "signed out: to the login page");
  assert.equal((await answer(guest.browser, url, "perhaps")).status, 400);
  assert.match((await guest.browser.get(url, PAGE_HEADERS)).text, /name="decision" value="accept"/);
  const [before] = await worker.rows("select email_verified from user where id = ?", guest.id);
  assert.equal(before.email_verified, 0);
  const answers = await Promise.all(Array.from({ length: 10 }, () => answer(guest.browser, url, "accept")));
  assert.equal(answers.filter(({ status }) => status === 200).length, 1, tally(answers));
  const [after] = await worker.rows("select email_verified from user where id = ?", guest.id);
  assert.equal(after.email_verified, 1, "whoever has the link reads the address's mail");
  const roles = await worker.rows(
    `select r.name from member m join member_role mr on mr.member_id = m.id join role r on r.id = mr.role_id where m.tenant_id = ?
       and m.user_id = ?`,
    org.id,
    guest.id,
  );
  assert.deepEqual(roles, [{ name: "admin" }]);
  const again = await guest.browser.get(url, PAGE_HEADERS);
  assert.deepEqual([again.status, /accepted the invitation/.test(again.text), /name="decision"/.test(again.text)], [200, true, false]);
  assert.equal((await worker.browser().get(url, PAGE_HEADERS)).status, 400, "spent");
  const unwilling = await signUp(worker);
  const other = await linkFor(unwilling.email);
  assert.equal((await answer(unwilling.browser, other, "reject")).status, 200);
  assert.equal((await answer(unwilling.browser, other, "accept")).status, 400);
  assert.equal((await worker.rows("select 1 from member where tenant_id = ? and user_id = ?", org.id, unwilling.id)).length, 0);
  for (const bad of ["", "x", "A".repeat(43)])
    assert.equal((await guest.browser.get(`${AUTH}/invitation?token=${bad}`, PAGE_HEADERS)).status, 400, bad);
});

test("of 50 who join at once, as many come in as fit; of those who join and leave, the count is right", async () => {
  const crowd = await people(50);
  const owner = await person();
  const org = await found(owner);
  for (const somebody of crowd) await enrol(org, somebody);
  assert.equal((await worker.rows("select member_count from tenant where id = ?", org.id))[0].member_count, 51);
  const held = async (id) => [
    (await worker.rows("select member_count from user_group where id = ?", id))[0].member_count,
    await count("user_group_member where user_group_id = ? and is_active = 1", id),
  ];

  const small = await newTeam(org, "Small", { isOpen: true, maxMembers: 10 });
  const joined = await times(50, (n) => post(crowd[n], "/join-team", { teamId: small }));
  assert.deepEqual(tally(joined), { 200: 9, 403: 41 }, "the owner is in it already");
  for (const answer of joined.filter(({ status }) => status === 403)) assert.equal(answer.json.code, "TEAM_MEMBER_LIMIT_REACHED");
  assert.deepEqual(await held(small), [10, 10]);
  refused(
    await post(owner, "/add-team-member", { teamId: small, userId: crowd[joined.findIndex(({ status }) => status === 403)].id }),
    403,
    "TEAM_MEMBER_LIMIT_REACHED",
  );
  refused(await post(owner, "/update-team", { teamId: small, data: { maxMembers: 9 } }), 403, "TEAM_MEMBER_LIMIT_REACHED");
  assert.deepEqual(ok(await post(owner, "/update-team", { teamId: small, data: { maxMembers: 10, name: "Still" } })).memberCount, 10);

  const large = await newTeam(org, "Large", { isOpen: true });
  for (let round = 0; round < 3; round++) {
    const answers = await times(100, (n) => post(crowd[n % 50], (n + round) % 3 ? "/join-team" : "/leave-team", { teamId: large }));
    for (const { status, text } of answers) assert.ok(status === 200 || status === 400, text);
    const [kept, counted] = await held(large);
    assert.equal(kept, counted);
  }
  const aside = await times(50, (n) => post(owner, "/update-team-member", { teamId: large, userId: crowd[n].id, isActive: n % 2 === 0 }));
  for (const { status } of aside) assert.ok(status === 200 || status === 400);
  const [kept, counted] = await held(large);
  assert.equal(kept, counted);
  const sameOne = await times(20, () => post(crowd[0], "/leave-team", { teamId: large }));
  assert.ok((tally(sameOne)[200] ?? 0) <= 1);

  const left = await times(50, (n) =>
    n % 2 ? post(crowd[n], "/leave", { organizationId: org.id }) : post(owner, "/remove-member", { memberIdOrEmail: crowd[n].email }),
  );
  assert.deepEqual(tally(left), { 200: 50 });
  assert.deepEqual(
    [await held(small), await held(large)],
    [
      [1, 1],
      [1, 1],
    ],
  );
  assert.deepEqual(ok(await get(owner, "/list-members")).total, 1);
  assert.equal(
    await count(
      "user_group where tenant_id = ? and member_count <> (select count(*) from user_group_member where user_group_id = user_group.id and is_active = 1)",
      org.id,
    ),
    0,
  );
});

test("one slug is one organization's, one name one group's and one role's, also at once", async () => {
  const owner = await person();
  const slug = uniqueSlug();
  const made = await times(20, () => post(owner, "/create", { name: "Same", slug }));
  assert.deepEqual(tally(made), { 200: 1, 400: 19 });
  for (const answer of made.filter(({ status }) => status === 400)) assert.equal(answer.json.code, "ORGANIZATION_ALREADY_EXISTS");
  assert.equal(await count("tenant where slug = ?", slug), 1);
  assert.equal(await count("member where user_id = ? and tenant_id <> ?", owner.id, DEFAULT_TENANT), 1, "nothing is left of the losers");
  const others = [];
  for (let n = 0; n < 10; n++) others.push(await found(owner));
  const wanted = uniqueSlug();
  const renamed = await times(10, (n) => post(owner, "/update", { organizationId: others[n].id, data: { slug: wanted } }));
  assert.deepEqual(tally(renamed), { 200: 1, 400: 9 });
  const [org] = others;
  assert.deepEqual(tally(await times(10, () => post(owner, "/create-team", { organizationId: org.id, name: "Team" }))), { 200: 1, 400: 9 });
  assert.deepEqual(
    tally(await times(10, () => post(owner, "/create-role", { organizationId: org.id, role: "r", permission: { ac: ["read"] } }))),
    { 200: 1, 400: 9 },
  );
  await newTeam(org, "Other");
  const teams = ok(await get(owner, "/list-teams", { organizationId: org.id }));
  await times(teams.length * 2, (n) => post(owner, "/remove-team", { organizationId: org.id, teamId: teams[n % teams.length].id }));
  assert.equal(await count("user_group where tenant_id = ? and deleted_at is null", org.id), 1, "the last group stays");
});

/** A value of each kind that no field of a text, a flag or a list takes, and texts that are none. */
const STRANGE = [
  5,
  -1,
  1.5,
  true,
  [],
  {},
  [null],
  [5],
  [["x"]],
  { x: 1 },
  "",
  " ",
  "\u0000",
  "a\nb",
  "x".repeat(100_000),
  "\ud800",
  "' or 1=1 --",
];

test("whatever is sent, nothing breaks, and what is no value of a field changes nothing", async () => {
  const org = await guarded();
  const { admin, member, other, owner } = org;
  const teamId = await newTeam(org, "Target", { isOpen: true });
  ok(await post(owner, "/add-team-member", { teamId, userId: member.id }));
  const bodies = {
    "/create": { name: "N", slug: "s", logo: "/l", metadata: {} },
    "/check-slug": { slug: "s" },
    "/set-active": { organizationId: org.id, organizationSlug: org.slug },
    "/update": { organizationId: org.id, organizationSlug: org.slug, data: { name: "N", slug: "s", logo: "l", metadata: {} } },
    "/delete": { organizationId: org.id },
    "/restore": { organizationId: org.id },
    "/invite-member": { email: other.email, role: "member", teamId, resend: false, organizationId: org.id },
    "/cancel-invitation": { invitationId: "x", organizationId: org.id },
    "/accept-invitation": { invitationId: "x" },
    "/reject-invitation": { invitationId: "x" },
    "/remove-member": { memberIdOrEmail: admin.member, organizationId: org.id },
    "/update-member-role": { memberId: admin.member, role: "admin", organizationId: org.id },
    "/leave": { organizationId: org.id },
    "/create-team": {
      name: "N",
      slug: "s",
      description: "d",
      groupType: "g",
      isPublic: true,
      isOpen: true,
      isActive: true,
      maxMembers: 5,
      tags: ["a"],
      settings: {},
      roles: ["member"],
    },
    "/update-team": {
      teamId,
      data: { name: "N", description: "d", isPublic: true, maxMembers: 5, tags: ["a"], settings: {}, roles: [], ownerId: member.id },
    },
    "/remove-team": { teamId, organizationId: org.id },
    "/set-active-team": { teamId },
    "/join-team": { teamId },
    "/leave-team": { teamId },
    "/add-team-member": { teamId, userId: admin.id, role: "member" },
    "/remove-team-member": { teamId, userId: member.id },
    "/update-team-member": { teamId, userId: member.id, role: "member", isActive: true },
    "/create-role": { role: "r", permission: { ac: ["read"] }, additionalFields: { description: "d", isDefault: false } },
    "/update-role": {
      roleName: "handy",
      data: { roleName: "handy", permission: { ac: ["read"] }, description: "d", isDefault: false, isActive: true },
    },
    "/delete-role": { roleName: "handy", roleId: "x" },
    "/has-permission": { permissions: { ac: ["read"] }, organizationId: org.id },
  };
  const fieldsOf = (body, path = []) =>
    Object.entries(body).flatMap(([name, value]) => [
      [...path, name],
      ...(["data", "additionalFields"].includes(name) ? fieldsOf(value, [...path, name]) : []),
    ]);
  const withField = (body, [name, ...rest], value) => ({ ...body, [name]: rest.length ? withField(body[name], rest, value) : value });
  const broken = [];
  for (const [path, body] of Object.entries(bodies)) {
    const asks = fieldsOf(body).flatMap((field) => [null, ...STRANGE].map((value) => [field, value]));
    // As somebody who may do none of it: whatever is read is read before rights are asked for, or refused.
    const answers = await Promise.all(
      asks.map(([field, value]) => post(path === "/set-active" ? member : other, path, withField(body, field, value))),
    );
    answers.forEach(
      ({ status, text }, n) =>
        status >= 500 && broken.push(`${path} ${asks[n][0].join(".")} = ${JSON.stringify(asks[n][1])?.slice(0, 40)}: ${status} ${text}`),
    );
  }
  assert.deepEqual(broken, []);
  const outside = Object.entries(bodies).flatMap(([path]) =>
    ["null", "[]", "5", '"x"', "{", '{"a":', "\ufeff{}", '{"a":1e999}', `{"data":${"[".repeat(5000)}`].map((text) => [path, text]),
  );
  for (const [path, text] of outside) {
    const answer = await owner.browser.post(at(`/organization${path}`), text, { headers: { "content-type": "application/json" } });
    assert.equal(answer.status, 400, `${path} ${text.slice(0, 20)}: ${answer.status} ${answer.text}`);
  }
  for (const size of [300_000, 3_000_000]) {
    const answer = await post(owner, "/update", { data: { metadata: { big: "x".repeat(size) } } });
    assert.ok([400, 413].includes(answer.status), `${size}: ${answer.status}`);
  }
  const many = Object.fromEntries(Array.from({ length: 2000 }, (_, n) => [`r${n}`, ["a"]]));
  refused(await post(owner, "/create-role", { role: "big", permission: many }), 400, "VALIDATION_ERROR");
  refused(await post(owner, "/has-permission", { permissions: many }), 400, "VALIDATION_ERROR");
});

test("fields of the wrong kind are refused by their names", async () => {
  const org = await guarded();
  const { owner, admin, other } = org;
  const each = (path, base, fields, ...values) =>
    fields.flatMap((field) => values.map((value) => [path, { ...base, [field]: value }, "VALIDATION_ERROR"]));
  await nothingComesOf(
    org,
    owner,
    [
      ...each("/create", { name: "N", slug: "s" }, ["name", "slug"], 5, true, [], {}, null, "", "a\nb", "x".repeat(200)),
      ...each("/create", { name: "N", slug: uniqueSlug() }, ["metadata"], 5, "x", [], true),
      ...each("/create", { name: "N", slug: uniqueSlug() }, ["logo"], 5, [], {}, "x\u0000"),
      ...each("/create", { name: "N" }, ["slug"], "Upper", "a b", "a/b", "a.b", "-a", "a-", "ä", "x".repeat(64)),
      ...[
        { name: 5 },
        { slug: "Upper" },
        { slug: "" },
        { name: "" },
        { metadata: "x" },
        { logo: 5 },
        { metadata: { a: "x".repeat(17_000) } },
      ].map((data) => ["/update", { data }, "VALIDATION_ERROR"]),
      ["/update", { data: [] }, "VALIDATION_ERROR"],
      ["/update", { data: null }, "VALIDATION_ERROR"],
      ["/update", {}, "VALIDATION_ERROR"],
      ...each(
        "/invite-member",
        { email: other.email, role: "member" },
        ["email"],
        "bad",
        "",
        5,
        null,
        ["a@b.co"],
        "a@b.co\nx",
        "a@b.co,c@d.co",
      ),
      ...each("/invite-member", { email: other.email, role: "member" }, ["role"], 5, null, "", [], {}, [5], [{}], [["owner"]]),
      ...each("/invite-member", { email: other.email, role: "member" }, ["teamId"], 5, {}, "nope", ["nope"]),
      ...each("/invite-member", { email: other.email, role: "member" }, ["resend"], 5, [], {}),
      ...each("/update-member-role", { memberId: admin.member, role: "member" }, ["role"], 5, null, "", [], [5]),
      ...each("/create-team", { name: "T" }, ["name"], 5, "", " ", "a\nb", "x".repeat(129)),
      ...each("/create-team", { name: "T" }, ["isOpen", "isPublic", "isSystem", "isActive"], 5, "yes", []),
      ...each("/create-team", { name: "T" }, ["maxMembers"], 0, -1, 1.5, "5", 1e12, true),
      ...each("/create-team", { name: "T" }, ["tags"], "a", [5], [""], ["a\nb"], Array(51).fill("a"), {}),
      ...each("/create-team", { name: "T" }, ["settings"], "x", [], 5, { a: "x".repeat(17_000) }),
      ...each("/create-team", { name: "T" }, ["roles"], "owner", [5], [""], {}),
      ...each("/create-team", { name: "T" }, ["description"], 5, "x".repeat(1001)),
      ...each("/create-team", { name: "T" }, ["slug"], "Upper", 5, "x".repeat(64)),
      ...each("/update-team-member", { teamId: org.team, userId: owner.id }, ["role"], "king", 5, ["owner"]),
      ...each("/update-team-member", { teamId: org.team, userId: owner.id }, ["isActive"], 5, "no"),
      ...each(
        "/create-role",
        { role: "r" },
        ["permission"],
        5,
        null,
        "x",
        [],
        { a: "b" },
        { a: [5] },
        { a: [null] },
        { "*": ["*"] },
        { a: ["*"] },
        { "a:b": ["c"] },
        { "": ["x"] },
        { a: [""] },
      ),
      ...each("/create-role", { role: "r", permission: {} }, ["additionalFields"], 5, "x", [], { isDefault: 5 }, { description: 5 }),
      ["/create-role", { role: "r", permission: { organization: ["fly"] } }, "INVALID_RESOURCE"],
      ["/create-role", { role: "r", permission: { ac: ["read"] }, permissions: { ac: ["read"] } }, "VALIDATION_ERROR"],
      ...[
        {},
        { permissions: null },
        { permissions: "x" },
        { permissions: { a: "b" } },
        { permissions: { ac: ["read"] }, permission: { ac: ["read"] } },
      ].map((body) => ["/has-permission", body, "VALIDATION_ERROR"]),
      ["/delete-role", {}, "VALIDATION_ERROR"],
      ["/update-role", { data: {} }, "VALIDATION_ERROR"],
      ["/update-role", { roleName: "handy" }, "VALIDATION_ERROR"],
      ...each("/leave", {}, ["organizationId"], 5, null, {}),
      ...each("/delete", {}, ["organizationId"], 5, null, []),
    ],
    400,
  );
  const invalid = (query) =>
    Object.entries(query)
      .map(([name, values]) => values.map((value) => [name, value]))
      .flat();
  for (const [name, value] of invalid({
    limit: ["0", "-1", "1.5", "abc", "1001", "1e3", "99999999999999999999", " 1"],
    offset: ["-1", "abc", "1.5", "99999999999999999999"],
    sortBy: ["nope", "role", "u.email", "created_at; drop"],
    sortDirection: ["up", "DESC", "asc, 1"],
    filterField: ["nope", "user.email", "email", "m.id", "constructor", "__proto__"],
  }))
    refused(await get(owner, "/list-members", { [name]: value, filterValue: "x" }), 400, "VALIDATION_ERROR", `${name}=${value}`);
  for (const filterOperator of ["zz", "like", "constructor", "gt"]) {
    refused(
      await get(owner, "/list-members", { filterField: "role", filterValue: "member", filterOperator }),
      400,
      "VALIDATION_ERROR",
      filterOperator,
    );
  }
  refused(
    await get(owner, "/list-members", { filterField: "createdAt", filterValue: "bad", filterOperator: "gt" }),
    400,
    "VALIDATION_ERROR",
  );
  for (const filterValue of ["' or 1=1 --", "%", "_", "\u0000"]) {
    assert.deepEqual(ok(await get(owner, "/list-members", { filterField: "role", filterValue })).members, [], filterValue.slice(0, 20));
  }
  refused(await get(owner, "/list-members", { filterField: "role", filterValue: "x".repeat(5000) }), 400, "VALIDATION_ERROR");
  assert.deepEqual(ok(await get(owner, "/list-members", { offset: "1000000000" })), { members: [], total: 3 });
  for (const membersLimit of ["0", "-1", "abc", "101"])
    assert.equal((await get(owner, "/get-full-organization", { membersLimit })).status, 400, membersLimit);
  for (const [path, query] of [
    ["/get-role", {}],
    ["/get-role", { roleId: "nope" }],
    ["/get-invitation", {}],
    ["/get-invitation", { id: "nope" }],
    ["/list-team-members", { teamId: "nope" }],
  ]) {
    assert.equal((await get(owner, path, query)).status, 400, path);
  }
});

test("lists with members that are no texts are refused, not read past them", async () => {
  const org = await guarded();
  const accepted = [];
  for (const [path, body] of [
    ...[
      ["member", 5],
      ["member", null],
      [{}, "member"],
      [["owner"], "member"],
    ].flatMap((role) => [
      ["/invite-member", { email: uniqueEmail(), role }],
      ["/update-member-role", { memberId: org.admin.member, role }],
    ]),
    ...[[5], [null], [{}], [org.team, 5]].map((teamId) => ["/invite-member", { email: uniqueEmail(), role: "member", teamId }]),
  ])
    if ((await post(org.owner, path, body)).status !== 400) accepted.push(`${path} ${JSON.stringify(body.teamId ?? body.role)}`);
  assert.deepEqual(accepted, []);
});

test("names that mean something in JavaScript mean nothing here", async () => {
  const org = await guarded();
  const NAMES = ["constructor", "__proto__", "toString", "hasOwnProperty", "valueOf", "prototype"];
  const raw = (who, path, text) => who.browser.post(at(`/organization${path}`), text, { headers: { "content-type": "application/json" } });
  for (const name of NAMES) {
    for (const role of [name, [name], ["member", name]])
      refused(await post(org.owner, "/invite-member", { email: uniqueEmail(), role }), 400, "ROLE_NOT_FOUND", name);
    refused(await get(org.owner, "/get-role", { roleName: name }), 400, "ROLE_NOT_FOUND", name);
    for (const who of [org.member, org.admin]) {
      const asked = await raw(who, "/has-permission", `{"permissions":{"${name}":["x"]}}`);
      assert.ok(asked.status === 400 || (asked.status === 200 && !asked.json.success), `${name}: ${asked.status} ${asked.text}`);
      const polluted = await raw(
        who,
        "/has-permission",
        `{"permissions":{"organization":["delete"]},"__proto__":{"success":true},"${name}":{"permissions":{}}}`,
      );
      assert.equal(ok(polluted).success, false);
    }
    const made = await raw(org.admin, "/create-role", `{"role":"mine","permission":{"${name}":["x"]}}`);
    assert.ok([400, 403].includes(made.status), `${name}: ${made.text}`);
    const named = await raw(org.admin, "/create-role", `{"role":"${name}","permission":{"team":["create"]}}`);
    if (named.status !== 200) continue;
    ok(await post(org.owner, "/update-member-role", { memberId: org.member.member, role: [name.toLowerCase()] }));
    assert.deepEqual([await may(org.member, { team: ["create"] }), await may(org.member, { team: ["delete"] })], [true, false], name);
    ok(await post(org.owner, "/update-member-role", { memberId: org.member.member, role: "member" }));
  }
  const deep = (levels) => Array.from({ length: levels }).reduce((inner) => ({ a: inner }), 1);
  for (const levels of [10, 100, 120]) {
    const answer = await post(org.owner, "/update", { data: { metadata: deep(levels) } });
    assert.ok(answer.status === 200 || answer.status === 400, `${levels}: ${answer.status} ${answer.text}`);
    ok(await get(org.owner, "/get-full-organization"));
  }
  const odd = { text: "\u0000\ud83d\ude00\u2028", list: [1e308, -0, 0.1, null, true], "": "", "a.b": 1, '"': "'" };
  assert.deepEqual(ok(await post(org.owner, "/update", { data: { metadata: odd } })).metadata, JSON.parse(JSON.stringify(odd)));
  assert.deepEqual(ok(await get(org.owner, "/get-organization")).metadata, JSON.parse(JSON.stringify(odd)));
});

test("what one organization makes up is its own: permissions of one name in two live side by side", async () => {
  const [one, two] = await people(2);
  const orgs = [await found(one), await found(two)];
  const [worker1, worker2] = await people(2);
  for (const [org, somebody] of [
    [orgs[0], worker1],
    [orgs[1], worker2],
  ]) {
    await newRole(org, "maker", { project: ["create"] });
    await enrol(org, somebody, "maker");
  }
  ok(await post(one, "/update-role", { roleName: "maker", data: { permission: { project: ["delete"] } } }));
  assert.deepEqual([await may(worker1, { project: ["create"] }), await may(worker2, { project: ["create"] })], [false, true]);
  ok(await post(one, "/update-role", { roleName: "maker", data: { permission: {} } }));
  assert.deepEqual(await worker.rows("select tenant_id from permission where resource = 'project'"), [{ tenant_id: orgs[1].id }]);
  assert.equal(await may(worker2, { project: ["create"] }), true);
  assert.equal(await may(worker2, { project: [] }), false);
  assert.equal(await may(worker2, {}), false);
});

test("users who deleted themselves are out of every list and every count", async () => {
  const org = await guarded();
  const { owner, member, admin } = org;
  const pool = async () => [
    (await worker.rows("select user_count from tenant where id = ?", DEFAULT_TENANT))[0].user_count,
    await count("user where tenant_id is null and deleted_at is null"),
  ];
  const club = await newTeam(org, "Club", { maxMembers: 2 });
  ok(await post(owner, "/add-team-member", { teamId: club, userId: member.id, role: "owner" }));
  const before = await pool();
  assert.equal(before[0], before[1]);
  ok(await member.browser.post(at("/delete-user"), { password: PASSWORD }));
  assert.deepEqual(
    await pool(),
    before.map((n) => n - 1),
  );
  const [{ member_count }] = await worker.rows("select member_count from tenant where id = ?", org.id);
  const shown = ok(await get(owner, "/list-members"));
  assert.deepEqual([member_count, shown.total, shown.members.length], [2, 2, 2]);
  assert.deepEqual(ok(await get(owner, "/list-members", { filterField: "userId", filterValue: member.id })), { members: [], total: 0 });
  const full = await get(owner, "/get-full-organization");
  assert.ok(!JSON.stringify(ok(full).members).includes(member.id) && !full.text.includes(`"${member.member}"`), full.text);
  assert.deepEqual(
    ok(await get(owner, "/list-team-members", { teamId: club })).map(({ userId }) => userId),
    [owner.id],
  );
  const group = ok(await get(owner, "/list-teams")).find(({ id }) => id === club);
  assert.equal(group.memberCount, 1);
  ok(await post(owner, "/add-team-member", { teamId: club, userId: admin.id }), "the place is free");
  for (const [path, body, status, code] of [
    ["/remove-member", { memberIdOrEmail: member.email }, 404, "MEMBER_NOT_FOUND"],
    ["/remove-member", { memberIdOrEmail: member.member }, 404, "MEMBER_NOT_FOUND"],
    ["/update-member-role", { memberId: member.member, role: "admin" }, 404, "MEMBER_NOT_FOUND"],
    ["/add-team-member", { teamId: org.team, userId: member.id }, 400, "USER_IS_NOT_A_MEMBER_OF_THE_ORGANIZATION"],
  ])
    refused(await post(owner, path, body), status, code, path);
  refused(await get(owner, "/get-active-member-role", { userId: member.id }), 404, "MEMBER_NOT_FOUND");
  assert.equal((await get(member, "/list")).status, 401);
  const again = { browser: worker.browser() };
  const { user } = ok(await again.browser.post(at("/sign-up/email"), { name: "Again", email: member.email, password: PASSWORD }));
  await run("update user set email_verified = 1 where id = ?", user.id);
  assert.deepEqual(ok(await get(again, "/list")), [], "whoever has the address now is somebody else");
  refused(await get(again, "/get-organization", { organizationId: org.id }), 404, "ORGANIZATION_NOT_FOUND");
  const crowd = await people(10);
  for (const somebody of crowd) await enrol(org, somebody);
  assert.deepEqual(tally(await times(10, (n) => crowd[n].browser.post(at("/delete-user"), { password: PASSWORD }))), { 200: 10 });
  const [after] = await worker.rows(
    "select member_count, (select count(*) from member where tenant_id = tenant.id) as n from tenant where id = ?",
    org.id,
  );
  assert.deepEqual(after, { member_count: 2, n: 2 });
  const counted = await pool();
  assert.equal(counted[0], counted[1]);
});

test("no group is owned by somebody who left, or is no more", async () => {
  const org = await guarded();
  const { owner, member, admin } = org;
  const dangling = [];
  for (const [what, who, go] of [
    ["left", admin, () => post(admin, "/leave", { organizationId: org.id })],
    ["deleted", member, () => member.browser.post(at("/delete-user"), { password: PASSWORD })],
  ]) {
    const teamId = await newTeam(org, what);
    ok(await post(owner, "/add-team-member", { teamId, userId: who.id, role: "owner" }));
    ok(await post(owner, "/update-team", { teamId, data: { ownerId: who.id } }));
    ok(await go());
    if (ok(await get(owner, "/list-teams")).find(({ id }) => id === teamId).ownerId === who.id) dangling.push(what);
  }
  assert.deepEqual(dangling, []);
});

test("whoever signs up does not read everybody's address from the default tenant", async () => {
  const [victim, anybody] = await people(2);
  const readers = [];
  for (const path of ["/list-members", "/get-full-organization"]) {
    for (const query of [{ organizationSlug: "default" }, { organizationId: DEFAULT_TENANT }]) {
      const answer = await get(anybody, path, { ...query, ...(path === "/list-members" && { sortDirection: "desc", limit: 1000 }) });
      const others = (answer.status === 200 ? answer.json.members : []).filter(({ userId }) => userId !== anybody.id);
      if (others.length > 0) readers.push(`${path} ${JSON.stringify(query)}`);
    }
  }
  const found = await get(anybody, "/list-members", { organizationSlug: "default", filterField: "userId", filterValue: victim.id });
  assert.ok(!found.text.includes(victim.email), found.text);
  assert.deepEqual(readers, []);
});

test("an organization is named by its slug where it is named by its id, the server's own tenant too", async () => {
  const [owner] = await people(1);
  await giveRole(worker, owner.id, "owner");
  const slug = "default";
  const [{ name }] = await worker.rows("select name from tenant where slug = ?", slug);
  try {
    assert.equal(ok(await post(owner, "/update", { organizationSlug: slug, data: { name: "Acme" } })).name, "Acme");
    assert.equal(ok(await get(owner, "/get-full-organization", { organizationSlug: slug })).name, "Acme");
    ok(await post(owner, "/has-permission", { organizationSlug: slug, permissions: { policy: ["update"] } }));
    refused(
      await post(owner, "/update", { organizationId: randomUUID(), organizationSlug: slug, data: { name: "X" } }),
      404,
      "ORGANIZATION_NOT_FOUND",
    );
    refused(await post(owner, "/update", { organizationSlug: "nowhere", data: { name: "X" } }), 404, "ORGANIZATION_NOT_FOUND");
    const org = await guarded();
    refused(await post(owner, "/update", { organizationSlug: org.slug, data: { name: "X" } }), 404, "ORGANIZATION_NOT_FOUND");
  } finally {
    await worker.d1.prepare("update tenant set name = ? where slug = ?").bind(name, slug).run();
  }
});

test("the record tells what happened alone", async () => {
  const org = await guarded();
  const teamId = await newTeam(org, "Closed", { isOpen: true });
  ok(await post(org.owner, "/update-team", { teamId, data: { isActive: false } }));
  await nothingComesOf(org, org.member, [["/join-team", { teamId }]]);
  assert.equal(
    await count("audit_event where event = 'group.joined' and user_id = ?", org.member.id),
    0,
    "joined, says the audit, though nobody did",
  );
});

test("an organization that is about to be deleted does nothing, and comes back whole", async () => {
  const org = await guarded();
  const { owner, admin, member, id: organizationId } = { ...org, organizationId: org.id };
  await nothingComesOf(org, admin, [["/delete", { organizationId }]], 403);
  const kept = await state(org);
  ok(await post(owner, "/delete", { organizationId }));
  await nothingComesOf(org, admin, [["/restore", { organizationId }]], 403);
  for (const who of [owner, admin, member]) {
    for (const [path, body] of [
      ["/update", { data: { name: "x" } }],
      ["/invite-member", { email: uniqueEmail(), role: "member" }],
      ["/create-team", { name: "x" }],
      ["/leave", {}],
      ["/set-active", {}],
    ]) {
      const answer = await post(who, path, { ...body, organizationId });
      assert.ok([403, 404].includes(answer.status), `${path}: ${answer.status} ${answer.text}`);
    }
    assert.ok(!ok(await get(who, "/list")).some(({ id }) => id === organizationId));
  }
  assert.equal((await post(owner, "/delete", { organizationId })).status, 403);
  refused(await post(await person(), "/create", { name: "Squatter", slug: org.slug }), 400, "ORGANIZATION_ALREADY_EXISTS");
  ok(await post(owner, "/restore", { organizationId }));
  const { tenant, ...rest } = await state(org);
  const { tenant: _, ...before } = kept;
  assert.deepEqual(rest, before);
  assert.equal(ok(await get(member, "/get-organization", { organizationId })).id, organizationId);
  await nothingComesOf(org, owner, [["/restore", { organizationId }]], [400, 404]);
  await nothingComesOf(
    { id: DEFAULT_TENANT },
    owner,
    [
      ["/delete", { organizationId: DEFAULT_TENANT }],
      ["/update", { organizationId: DEFAULT_TENANT, data: { slug: "mine" } }],
    ],
    403,
  );
});
