// The organization plugin of Better Auth's published client, unchanged, against us: every endpoint that it calls.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { createAuthClient } from "better-auth/client";
import { organizationClient } from "better-auth/client/plugins";
import { uniqueEmail } from "../harness/browser.mjs";
import { PASSWORD } from "../harness/seed.mjs";
import { AUTH, SPA, startWorker } from "../harness/worker.mjs";

let worker;
before(async () => {
  worker = await startWorker({ settings: { SESSION_COOKIE_CACHE_SECONDS: "0", SESSION_RECHECK_SECONDS: "0" } });
});
after(() => worker?.dispose());

/** Somebody with a proven address, signed in by the client in a page of the SPA. */
async function person(name) {
  const browser = worker.browser();
  const customFetchImpl = async (url, init = {}) => {
    const headers = { ...Object.fromEntries(new Headers(init.headers)), origin: SPA };
    const answer = await browser.send(init.method ?? "GET", String(url), { headers, body: init.body ?? undefined });
    assert.equal(answer.headers["access-control-allow-origin"], SPA, `${url} is not readable by the SPA`);
    return new Response([204, 304].includes(answer.status) ? null : answer.bytes, { status: answer.status, headers: answer.headers });
  };
  const plugins = [organizationClient({ teams: { enabled: true }, dynamicAccessControl: { enabled: true } })];
  const auth = createAuthClient({ baseURL: AUTH, plugins, fetchOptions: { customFetchImpl } });
  const email = uniqueEmail();
  const { id } = ok(await auth.signUp.email({ email, password: PASSWORD, name })).user;
  await worker.d1.prepare("update user set email_verified = 1 where id = ?").bind(id).run();
  return { auth, email, id, name, org: auth.organization };
}

function ok({ data, error }) {
  assert.equal(error, null, JSON.stringify(error));
  return data;
}

function refused({ data, error }, status, code) {
  assert.deepEqual([data, error?.status, error?.code], [null, status, code], JSON.stringify(data ?? error));
}

const uniqueSlug = () => `s-${randomBytes(6).toString("hex")}`;
const isTime = (value) => assert.ok(value instanceof Date && Math.abs(value - Date.now()) < 60_000, `${value}`);
const session = async ({ auth }) => ok(await auth.getSession({ query: { disableCookieCache: true } })).session;

/** An organization of its maker's, active in their session. */
async function found(owner, name = "Acme") {
  return ok(await owner.org.create({ name, slug: uniqueSlug() }));
}

async function enrol(owner, organizationId, somebody, role = "member", more = {}) {
  const invitation = ok(await owner.org.inviteMember({ email: somebody.email, role, organizationId, ...more }));
  return ok(await somebody.org.acceptInvitation({ invitationId: invitation.id })).member;
}

test("an organization is made, found, changed, left alone and deleted", async () => {
  const ada = await person("Ada");
  const slug = uniqueSlug();
  assert.deepEqual(ok(await ada.org.checkSlug({ slug })), { status: true });
  const made = ok(await ada.org.create({ name: "Acme", slug, logo: "https://img.example/a.png", metadata: { plan: "pro", seats: 3 } }));
  isTime(made.createdAt);
  const [member] = made.members;
  isTime(member.createdAt);
  assert.deepEqual(made, {
    id: made.id,
    name: "Acme",
    slug,
    logo: "https://img.example/a.png",
    metadata: { plan: "pro", seats: 3 },
    createdAt: made.createdAt,
    members: [{ id: member.id, organizationId: made.id, userId: ada.id, role: "owner", createdAt: member.createdAt }],
  });
  assert.equal((await session(ada)).activeOrganizationId, made.id);
  refused(await ada.org.checkSlug({ slug }), 400, "ORGANIZATION_SLUG_ALREADY_TAKEN");
  refused(await ada.org.create({ name: "Other", slug }), 400, "ORGANIZATION_ALREADY_EXISTS");

  const second = ok(await ada.org.create({ name: "Second", slug: uniqueSlug(), keepCurrentActiveOrganization: true }));
  assert.equal((await session(ada)).activeOrganizationId, made.id);
  const { members, ...plain } = made;
  assert.deepEqual(
    ok(await ada.org.list()).map(({ id }) => id),
    [made.id, second.id],
  );
  assert.deepEqual(ok(await ada.org.list())[0], plain);

  assert.equal(ok(await ada.org.setActive({ organizationSlug: second.slug })).id, second.id);
  assert.equal((await session(ada)).activeOrganizationId, second.id);
  assert.equal(ok(await ada.org.getFullOrganization()).id, second.id);
  assert.deepEqual(ok(await ada.org.setActive({ organizationId: made.id })), plain);
  assert.equal(ok(await ada.org.setActive({ organizationId: null })), null);
  assert.equal((await session(ada)).activeOrganizationId, null);
  assert.equal(ok(await ada.org.getFullOrganization()), null);

  const renamed = ok(
    await ada.org.update({
      organizationId: made.id,
      data: { name: "Acme Ltd", slug: `${slug}-2`, logo: "/b.png", metadata: { plan: "free" } },
    }),
  );
  assert.deepEqual(renamed, { ...plain, name: "Acme Ltd", slug: `${slug}-2`, logo: "/b.png", metadata: { plan: "free" } });
  refused(await ada.org.update({ organizationId: made.id, data: { slug: second.slug } }), 400, "ORGANIZATION_SLUG_ALREADY_TAKEN");
  const full = ok(await ada.org.getFullOrganization({ query: { organizationSlug: `${slug}-2` } }));
  assert.deepEqual(
    [full.name, full.metadata, full.invitations, full.members.length, full.teams.length],
    ["Acme Ltd", { plan: "free" }, [], 1, 1],
  );

  assert.deepEqual(ok(await ada.org.delete({ organizationId: made.id })), renamed);
  assert.deepEqual(
    ok(await ada.org.list()).map(({ id }) => id),
    [second.id],
  );
  refused(await ada.org.setActive({ organizationId: "00000000-0000-7000-8000-00000000dead" }), 404, "ORGANIZATION_NOT_FOUND");
});

test("the client's stores read what is done", async () => {
  const una = await person("Una");
  const stored = async (store) => {
    await una.auth[store].get().refetch();
    const { data, error, isPending } = una.auth[store].get();
    assert.deepEqual([error, isPending], [null, false], store);
    return data;
  };
  const made = await found(una, "Eins");
  assert.deepEqual(
    (await stored("useListOrganizations")).map(({ name }) => name),
    ["Eins"],
  );
  assert.equal((await stored("useActiveMember")).userId, una.id);
  assert.deepEqual(await stored("useActiveMemberRole"), { role: "owner" });
  ok(await una.org.update({ organizationId: made.id, data: { name: "Zwei" } }));
  assert.equal((await stored("useActiveOrganization")).name, "Zwei");
  ok(await una.org.setActive({ organizationId: null }));
  assert.equal(await stored("useActiveOrganization"), null);
});

test("invitations: sent, listed, accepted, rejected, cancelled", async () => {
  const [ada, bob, eve] = await Promise.all(["Ada", "Bob", "Eve"].map(person));
  const { id: organizationId, slug } = await found(ada);
  const sent = ok(await ada.org.inviteMember({ email: bob.email.toUpperCase(), role: "admin" }));
  isTime(sent.createdAt);
  assert.equal(Math.round((sent.expiresAt - sent.createdAt) / 3_600_000), 48);
  assert.deepEqual(sent, {
    id: sent.id,
    organizationId,
    email: bob.email,
    role: "admin",
    teamId: null,
    status: "pending",
    inviterId: ada.id,
    expiresAt: sent.expiresAt,
    createdAt: sent.createdAt,
  });
  refused(await ada.org.inviteMember({ email: bob.email, role: "member" }), 400, "USER_IS_ALREADY_INVITED_TO_THIS_ORGANIZATION");
  const again = ok(await ada.org.inviteMember({ email: bob.email, role: "admin", resend: true }));
  assert.deepEqual([again.id, again.role, again.expiresAt >= sent.expiresAt], [sent.id, "admin", true]);

  assert.deepEqual(ok(await bob.org.listUserInvitations()), [{ ...again, organizationName: "Acme" }]);
  const read = ok(await bob.org.getInvitation({ query: { id: sent.id } }));
  assert.deepEqual(read, { ...again, organizationName: "Acme", organizationSlug: slug, inviterEmail: ada.email });
  refused(await eve.org.getInvitation({ query: { id: sent.id } }), 403, "YOU_ARE_NOT_THE_RECIPIENT_OF_THE_INVITATION");
  refused(await eve.org.acceptInvitation({ invitationId: sent.id }), 403, "YOU_ARE_NOT_THE_RECIPIENT_OF_THE_INVITATION");

  const taken = ok(await bob.org.acceptInvitation({ invitationId: sent.id }));
  isTime(taken.member.createdAt);
  assert.deepEqual(taken, {
    invitation: { ...again, status: "accepted" },
    member: { id: taken.member.id, organizationId, userId: bob.id, role: "admin", createdAt: taken.member.createdAt },
  });
  assert.equal((await session(bob)).activeOrganizationId, organizationId);
  refused(await bob.org.acceptInvitation({ invitationId: sent.id }), 400, "INVITATION_NOT_FOUND");
  refused(await ada.org.inviteMember({ email: bob.email, role: "member" }), 400, "USER_IS_ALREADY_A_MEMBER_OF_THIS_ORGANIZATION");

  const unwanted = ok(await bob.org.inviteMember({ email: eve.email, role: "member" }));
  assert.deepEqual(ok(await eve.org.rejectInvitation({ invitationId: unwanted.id })), {
    invitation: { ...unwanted, status: "rejected" },
    member: null,
  });
  assert.deepEqual(ok(await eve.org.listUserInvitations()), []);
  const withdrawn = ok(await bob.org.inviteMember({ email: eve.email, role: ["member", "admin"] }));
  assert.deepEqual(withdrawn.role.split(",").sort(), ["admin", "member"]);
  assert.deepEqual(ok(await ada.org.cancelInvitation({ invitationId: withdrawn.id })), { ...withdrawn, status: "canceled" });
  refused(await eve.org.acceptInvitation({ invitationId: withdrawn.id }), 400, "INVITATION_NOT_FOUND");
  const listed = ok(await ada.org.listInvitations({ query: { organizationId } }));
  assert.deepEqual(
    listed.map(({ id, status }) => [id, status]).sort(),
    [
      [sent.id, "accepted"],
      [unwanted.id, "rejected"],
      [withdrawn.id, "canceled"],
    ].sort(),
  );
  refused(await ada.org.inviteMember({ email: "nobody@example.com", role: "nope" }), 400, "ROLE_NOT_FOUND");
});

test("members: listed, filtered, given roles, removed, gone by themselves", async () => {
  const [ada, bob, cy, eve] = await Promise.all(["Ada", "Bob", "Cy", "Eve"].map(person));
  const { id: organizationId, slug } = await found(ada);
  const members = { bob: await enrol(ada, organizationId, bob), cy: await enrol(ada, organizationId, cy, "admin") };
  const { members: all, total } = ok(await ada.org.listMembers());
  assert.equal(total, 3);
  const user = ({ id, name, email }) => ({ id, name, email, image: null });
  assert.deepEqual(
    all.map(({ userId, role, user }) => [userId, role, user]),
    [
      [ada.id, "owner", user(ada)],
      [bob.id, "member", user(bob)],
      [cy.id, "admin", user(cy)],
    ],
  );
  assert.deepEqual(all[1], { ...members.bob, user: user(bob) });
  const names = async (query) =>
    ok(await ada.org.listMembers({ query }))
      .members.map(({ user }) => user.name)
      .join();
  for (const [query, expected] of [
    [{ limit: 1 }, "Ada"],
    [{ limit: 1, offset: 1 }, "Bob"],
    [{ offset: 2 }, "Cy"],
    [{ sortBy: "createdAt", sortDirection: "desc" }, "Cy,Bob,Ada"],
    [{ filterField: "role", filterValue: "member" }, "Bob"],
    [{ filterField: "role", filterValue: "member", filterOperator: "ne" }, "Ada,Cy"],
    [{ filterField: "userId", filterValue: cy.id }, "Cy"],
    [{ organizationSlug: slug, limit: 2 }, "Ada,Bob"],
    [{ filterField: "createdAt", filterValue: "2000-01-01T00:00:00.000Z", filterOperator: "lt" }, ""],
  ])
    assert.equal(await names(query), expected, JSON.stringify(query));
  assert.equal(ok(await ada.org.listMembers({ query: { filterField: "role", filterValue: "member" } })).total, 1);
  assert.equal(ok(await ada.org.getFullOrganization({ query: { organizationId, membersLimit: 2 } })).members.length, 2);

  assert.deepEqual(ok(await bob.org.getActiveMember()), { ...members.bob, user: user(bob) });
  assert.deepEqual(ok(await bob.org.getActiveMemberRole()), { role: "member" });
  assert.deepEqual(ok(await bob.org.getActiveMemberRole({ query: { userId: ada.id } })), { role: "owner" });
  refused(await eve.org.getActiveMember(), 400, "NO_ACTIVE_ORGANIZATION");

  const changed = ok(await ada.org.updateMemberRole({ memberId: members.bob.id, role: ["admin", "member"] }));
  assert.deepEqual([changed.id, changed.userId, changed.role.split(",").sort().join()], [members.bob.id, bob.id, "admin,member"]);
  assert.equal(ok(await bob.org.hasPermission({ permissions: { member: ["delete"] } })).success, true);
  assert.equal(ok(await ada.org.updateMemberRole({ memberId: members.bob.id, role: "member", organizationId })).role, "member");
  assert.deepEqual(ok(await bob.org.hasPermission({ permissions: { member: ["delete"] } })).success, false);
  assert.deepEqual(ok(await bob.org.hasPermission({ permissions: { ac: ["read"] } })), { error: null, success: true });
  assert.equal(ok(await cy.org.hasPermission({ permissions: { member: ["delete"], organization: ["delete"] } })).success, false);
  assert.equal(bob.org.checkRolePermission({ role: "admin", permissions: { member: ["delete"] } }), true);

  refused(await bob.org.removeMember({ memberIdOrEmail: cy.email }), 403, "YOU_ARE_NOT_ALLOWED_TO_DELETE_THIS_MEMBER");
  const removed = ok(await ada.org.removeMember({ memberIdOrEmail: bob.email.toUpperCase() }));
  assert.deepEqual(removed, { member: members.bob });
  assert.equal((await session(bob)).activeOrganizationId, null);
  const left = ok(await cy.org.leave({ organizationId }));
  assert.deepEqual([left.id, left.userId, left.organizationId], [members.cy.id, cy.id, organizationId]);
  assert.deepEqual(ok(await cy.org.list()), []);
  refused(await ada.org.leave({ organizationId }), 400, "YOU_CANNOT_LEAVE_THE_ORGANIZATION_AS_THE_ONLY_OWNER");
  refused(
    await ada.org.updateMemberRole({ memberId: all[0].id, role: "member" }),
    400,
    "YOU_CANNOT_LEAVE_THE_ORGANIZATION_WITHOUT_AN_OWNER",
  );
  assert.equal(ok(await ada.org.listMembers()).total, 1);
});

test("teams: made, listed, entered, worked in, left, removed", async () => {
  const [ada, bob] = await Promise.all(["Ada", "Bob"].map(person));
  const { id: organizationId } = await found(ada);
  const { id: memberId } = await enrol(ada, organizationId, bob);
  const [first] = ok(await ada.org.listTeams());
  assert.deepEqual([first.name, first.organizationId, first.memberCount], ["Acme", organizationId, 1]);
  const extra = {
    description: "Who builds",
    groupType: "department",
    isOpen: true,
    maxMembers: 5,
    tags: ["a", "b"],
    settings: { colour: "red" },
    roles: ["member"],
  };
  const made = ok(await ada.org.createTeam({ name: "Builders", organizationId, ...extra }));
  isTime(made.createdAt);
  assert.deepEqual(made, {
    ...extra,
    id: made.id,
    name: "Builders",
    slug: "builders",
    organizationId,
    createdAt: made.createdAt,
    updatedAt: made.updatedAt,
    isPublic: true,
    isSystem: false,
    isActive: true,
    memberCount: 1,
    ownerId: ada.id,
  });
  assert.deepEqual(
    ok(await ada.org.listTeams({ query: { organizationId } })).map(({ id }) => id),
    [first.id, made.id],
  );
  refused(await bob.org.createTeam({ name: "Mine" }), 403, "YOU_ARE_NOT_ALLOWED_TO_CREATE_TEAMS_IN_THIS_ORGANIZATION");

  const updated = ok(
    await ada.org.updateTeam({ teamId: made.id, data: { name: "Makers", maxMembers: null, isOpen: false, settings: {} } }),
  );
  assert.deepEqual(
    [updated.id, updated.name, updated.maxMembers, updated.isOpen, updated.settings, updated.tags],
    [made.id, "Makers", null, false, {}, ["a", "b"]],
  );

  const joined = ok(await ada.org.addTeamMember({ teamId: made.id, userId: bob.id }));
  isTime(joined.createdAt);
  assert.deepEqual(joined, {
    id: joined.id,
    teamId: made.id,
    userId: bob.id,
    createdAt: joined.createdAt,
    role: "member",
    isActive: true,
    joinedBy: ada.id,
  });
  assert.deepEqual(ok(await ada.org.addTeamMember({ teamId: made.id, userId: bob.id })), joined);
  assert.deepEqual(
    ok(await bob.org.listUserTeams()).map(({ id, memberCount }) => [id, memberCount]),
    [[made.id, 2]],
  );
  assert.deepEqual(
    ok(await ada.org.listUserTeams({ query: { userId: bob.id } })).map(({ id }) => id),
    [made.id],
  );
  assert.equal(ok(await bob.org.setActiveTeam({ teamId: made.id })).id, made.id);
  assert.equal((await session(bob)).activeTeamId, made.id);
  assert.deepEqual(
    ok(await bob.org.listTeamMembers()).map(({ userId, role }) => [userId, role]),
    [
      [ada.id, "owner"],
      [bob.id, "member"],
    ],
  );
  assert.deepEqual(ok(await ada.org.listTeamMembers({ query: { teamId: made.id } })).length, 2);
  refused(await bob.org.setActiveTeam({ teamId: first.id }), 400, "USER_IS_NOT_A_MEMBER_OF_THE_TEAM");
  assert.equal(ok(await bob.org.setActiveTeam({ teamId: null })), null);
  assert.equal((await session(bob)).activeTeamId, null);

  refused(await bob.org.removeTeamMember({ teamId: made.id, userId: ada.id }), 403, "YOU_ARE_NOT_ALLOWED_TO_REMOVE_A_TEAM_MEMBER");
  ok(await bob.org.setActiveTeam({ teamId: made.id }));
  assert.deepEqual(ok(await ada.org.removeTeamMember({ teamId: made.id, userId: bob.id })), {
    message: "Team member removed successfully.",
  });
  assert.equal((await session(bob)).activeTeamId, null);
  assert.deepEqual(ok(await bob.org.listUserTeams()), []);
  refused(await ada.org.removeTeamMember({ teamId: made.id, userId: bob.id }), 400, "USER_IS_NOT_A_MEMBER_OF_THE_TEAM");

  ok(await ada.org.addTeamMember({ teamId: made.id, userId: bob.id }));
  ok(await ada.org.removeMember({ memberIdOrEmail: memberId }));
  assert.equal(ok(await ada.org.listTeams()).find(({ id }) => id === made.id).memberCount, 1);
  const invited = ok(await ada.org.inviteMember({ email: bob.email, role: "member", teamId: made.id }));
  assert.equal(invited.teamId, made.id);
  ok(await bob.org.acceptInvitation({ invitationId: invited.id }));
  assert.deepEqual([(await session(bob)).activeTeamId, ok(await bob.org.listUserTeams()).length], [made.id, 1]);
  assert.deepEqual(ok(await ada.org.removeTeam({ teamId: made.id })), { message: "Team removed successfully." });
  assert.equal((await session(bob)).activeTeamId, null);
  assert.deepEqual(
    ok(await ada.org.listTeams()).map(({ id }) => id),
    [first.id],
  );
  refused(await ada.org.updateTeam({ teamId: made.id, data: { name: "Ghost" } }), 400, "TEAM_NOT_FOUND");
  refused(await ada.org.removeTeam({ teamId: first.id }), 400, "UNABLE_TO_REMOVE_LAST_TEAM");
});

test("roles of one's own: made, given, read, changed, taken back", async () => {
  const [ada, bob] = await Promise.all(["Ada", "Bob"].map(person));
  const { id: organizationId } = await found(ada);
  const { id: memberId } = await enrol(ada, organizationId, bob);
  const permission = { project: ["create", "update"], team: ["create"] };
  const { success, roleData, statements } = ok(
    await ada.org.createRole({ role: "builder", permission, additionalFields: { description: "Builds" } }),
  );
  isTime(roleData.createdAt);
  assert.deepEqual([success, statements], [true, permission]);
  assert.deepEqual(roleData, {
    id: roleData.id,
    organizationId,
    role: "builder",
    permission,
    description: "Builds",
    isDefault: false,
    isActive: true,
    createdAt: roleData.createdAt,
    updatedAt: roleData.updatedAt,
  });
  refused(await ada.org.createRole({ role: "builder", permission }), 400, "ROLE_NAME_IS_ALREADY_TAKEN");
  refused(await ada.org.createRole({ role: "owner", permission }), 400, "ROLE_NAME_IS_ALREADY_TAKEN");
  refused(await bob.org.createRole({ role: "mine", permission }), 403, "YOU_ARE_NOT_ALLOWED_TO_CREATE_A_ROLE");
  assert.deepEqual(ok(await bob.org.listRoles()), [roleData]);
  assert.deepEqual(ok(await bob.org.getRole({ query: { roleName: "builder" } })), roleData);
  assert.deepEqual(ok(await ada.org.getRole({ query: { roleId: roleData.id, organizationId } })), roleData);
  refused(await ada.org.getRole({ query: { roleName: "nope" } }), 400, "ROLE_NOT_FOUND");

  const may = async (permissions) => ok(await bob.org.hasPermission({ permissions })).success;
  assert.equal(await may({ project: ["create"] }), false);
  assert.equal(ok(await ada.org.updateMemberRole({ memberId, role: ["member", "builder"] })).role, "member,builder");
  assert.deepEqual([await may({ project: ["create"], ac: ["read"] }), await may({ project: ["delete"] })], [true, false]);
  const changed = ok(await ada.org.updateRole({ roleName: "builder", data: { roleName: "maker", permission: { project: ["delete"] } } }));
  assert.deepEqual(
    [changed.success, changed.roleData.id, changed.roleData.role, changed.roleData.permission],
    [true, roleData.id, "maker", { project: ["delete"] }],
  );
  assert.deepEqual(ok(await bob.org.getActiveMemberRole()), { role: "member,maker" });
  assert.deepEqual([await may({ project: ["create"] }), await may({ project: ["delete"] })], [false, true]);
  const off = ok(await ada.org.updateRole({ roleId: roleData.id, data: { isActive: false } }));
  assert.deepEqual([off.roleData.isActive, await may({ project: ["delete"] })], [false, false]);
  ok(await ada.org.updateRole({ roleId: roleData.id, data: { isActive: true } }));

  refused(await ada.org.deleteRole({ roleName: "maker" }), 400, "ROLE_IS_ASSIGNED_TO_MEMBERS");
  refused(await ada.org.deleteRole({ roleName: "member" }), 400, "CANNOT_DELETE_A_PRE_DEFINED_ROLE");
  ok(await ada.org.updateMemberRole({ memberId, role: "member" }));
  assert.deepEqual(ok(await ada.org.deleteRole({ roleId: roleData.id })), { success: true });
  assert.deepEqual(ok(await ada.org.listRoles()), []);
  refused(await ada.org.deleteRole({ roleName: "maker" }), 400, "ROLE_NOT_FOUND");
});
