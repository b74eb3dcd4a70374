// What users are told where they are signed in, and what they did.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { seedDomain, seedTenant, signUp } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

let worker;
before(async () => {
  worker = await startWorker();
});
after(() => worker?.dispose());

const at = (path) => `${AUTH}/api/auth${path}`;
const post = (who, path, body) => who.browser.post(at(path), body);
const told = async (who, query = "") => (await who.browser.get(at(`/notifications${query}`))).json;

test("who is invited, given a role, put into a group or taken out is told, and nobody else", async () => {
  const [owner, guest, stranger] = [await signUp(worker, { name: "Ada" }), await signUp(worker, { name: "Ben" }), await signUp(worker)];
  await worker.d1.prepare("update user set email_verified = 1").run();
  const org = (await post(owner, "/organization/create", { name: "Acme", slug: `acme-${randomUUID()}` })).json;
  const invitation = (await post(owner, "/organization/invite-member", { email: guest.email, role: "member" })).json;
  assert.equal((await post(guest, "/organization/accept-invitation", { invitationId: invitation.id })).status, 200);
  const { members } = (await owner.browser.get(at("/organization/list-members"))).json;
  const { id: memberId } = members.find(({ userId }) => userId === guest.id);
  const team = (await post(owner, "/organization/create-team", { name: "Bakers" })).json;
  await post(owner, "/organization/add-team-member", { teamId: team.id, userId: guest.id });
  await post(owner, "/organization/add-team-member", { teamId: team.id, userId: guest.id });
  await post(owner, "/organization/update-member-role", { memberId, role: "admin" });
  await post(owner, "/organization/remove-member", { memberIdOrEmail: memberId });
  const { notifications, unread } = await told(guest);
  assert.deepEqual(
    notifications.map(({ kind, message, organizationId, read }) => [kind, message, organizationId, read]),
    [
      ["member.removed", "You are no member of Acme any more.", org.id, false],
      ["member.roles_changed", "Your role in Acme is admin now.", org.id, false],
      ["group.joined", "You are in Bakers of Acme now.", org.id, false],
      ["invitation.sent", "Ada invites you to Acme.", org.id, false],
    ],
  );
  assert.equal(unread, 4);
  assert.deepEqual(
    (await told(owner)).notifications.map(({ message }) => message),
    ["Ben is a member of Acme now."],
  );
  assert.deepEqual(await told(stranger), { notifications: [], unread: 0 });
});

test("they are read, one or all, and deleted, each by their own", async () => {
  const admin = await signUp(worker, { roles: ["owner"] });
  const [who, other] = [await signUp(worker), await signUp(worker)];
  for (const role of ["admin", "user", "admin"]) await post(admin, "/admin/set-role", { userId: who.id, role });
  const { notifications } = await told(who);
  assert.equal(notifications.length, 3);
  for (const path of ["/notifications/read", "/notifications/delete"])
    assert.equal((await post(other, path, { id: notifications[0].id })).status, 200);
  assert.equal((await told(who)).unread, 3, "another's");
  await post(who, "/notifications/read", { id: notifications[0].id });
  assert.deepEqual([(await told(who)).unread, (await told(who, "?unread=true")).notifications.length], [2, 2]);
  assert.equal((await told(who)).notifications[0].read, true);
  await post(who, "/notifications/read", {});
  assert.equal((await told(who)).unread, 0);
  await post(who, "/notifications/delete", { id: notifications[0].id });
  assert.equal((await told(who)).notifications.length, 2);
  assert.deepEqual(
    (await told(who, "?limit=1&offset=1")).notifications.map(({ id }) => id),
    [notifications[2].id],
  );
  for (const query of ["?limit=0", "?limit=101", "?offset=-1", "?unread=maybe"])
    assert.equal((await who.browser.get(at(`/notifications${query}`))).status, 400, query);
  for (const path of ["/notifications", "/activity"]) assert.equal((await worker.browser().get(at(path))).status, 401);
  await worker.d1.prepare("update notification set created_at = 1 where user_id = ?").bind(who.id).run();
  await worker.scheduled();
  assert.equal((await told(who)).notifications.length, 0, "for ninety days");
});

test("whoever is invited in an isolated tenant is told there alone", async () => {
  const tenant = await seedTenant(worker, { slug: "alone", pool: "isolated" });
  await seedDomain(worker, tenant, "alone.localhost");
  const host = "http://alone.localhost";
  const owner = await signUp(worker, { host, tenant, roles: ["owner"] });
  const elsewhere = await signUp(worker);
  await owner.browser.post(`${host}/api/auth/organization/invite-member`, { email: elsewhere.email, role: "member" });
  assert.equal((await told(elsewhere)).unread, 0);
});

test("what somebody did is theirs to see, and what was done to them is not", async () => {
  const admin = await signUp(worker, { roles: ["owner"] });
  const who = await signUp(worker);
  await post(who, "/organization/create", { name: "Mine", slug: `mine-${randomUUID()}` });
  await post(admin, "/admin/set-role", { userId: who.id, role: "admin" });
  const done = async (of) => (await of.browser.get(at("/activity"))).json.activity;
  const mine = await done(who);
  assert.deepEqual(
    mine.map(({ action }) => action),
    ["tenant.created", "user.created"],
  );
  assert.ok(
    mine.every(({ ipAddress, createdAt }) => ipAddress === who.browser.ip && Math.abs(Date.parse(createdAt) - Date.now()) < 60_000),
    JSON.stringify(mine),
  );
  const theirs = await done(admin);
  assert.deepEqual([theirs[0].action, theirs[0].subject], ["member.roles_changed", who.id]);
});
