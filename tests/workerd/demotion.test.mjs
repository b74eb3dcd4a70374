// What somebody had begun, or made, before their permissions were taken.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { giveRole, signUp } from "../harness/seed.mjs";
import { AUTH, startWorker } from "../harness/worker.mjs";

let worker;
before(async () => {
  worker = await startWorker({ settings: { SESSION_RECHECK_SECONDS: "0", SESSION_COOKIE_CACHE_SECONDS: "0" } });
});
after(() => worker?.dispose());

const at = (path) => `${AUTH}/api/auth${path}`;
const post = (who, path, body) => who.browser.post(at(path), body);
const session = async (who) => (await who.browser.get(at("/get-session"))).json;
async function organization() {
  const owner = await signUp(worker);
  const org = (await post(owner, "/organization/create", { name: "Acme", slug: `acme-${randomUUID()}` })).json.id;
  const join = async (who, role) => {
    await giveRole(worker, who.id, role, org);
    assert.equal((await post(who, "/organization/set-active", { organizationId: org })).status, 200);
    return (await worker.rows("select id from member where tenant_id = ? and user_id = ?", org, who.id))[0].id;
  };
  return { owner, org, join };
}

test("a tenant that was suspended is not set free by its own owner", async () => {
  const { owner, org } = await organization();
  await worker.d1.prepare("update tenant set status = 'suspended' where id = ?").bind(org).run();
  assert.notEqual((await post(owner, "/organization/delete", { organizationId: org })).status, 200);
  assert.notEqual((await post(owner, "/organization/restore", { organizationId: org })).status, 200);
  assert.deepEqual(await worker.rows("select status from tenant where id = ?", org), [{ status: "suspended" }]);
});

test("a deletion that the server's administrators scheduled is theirs to undo", async () => {
  const admin = await signUp(worker, { roles: ["admin"] });
  const { owner, org } = await organization();
  const one = at(`/admin/tenants/${org}`);
  assert.equal((await admin.browser.send("DELETE", one, { headers: { origin: AUTH } })).json.status, "pending_deletion");
  assert.notEqual((await post(owner, "/organization/restore", { organizationId: org })).status, 200);
  assert.equal((await admin.browser.post(`${one}/restore`, {})).json.status, "active");
  assert.equal((await post(owner, "/organization/delete", { organizationId: org })).status, 200);
  assert.equal((await post(owner, "/organization/restore", { organizationId: org })).status, 200);
});

test("a key of whoever had the account before its owner opens nothing", async () => {
  const guest = await signUp(worker);
  const key = (await post(guest, "/api-key/create", { name: "k" })).json.key;
  const use = () => worker.browser().get(at("/organization/get-active-member?organizationSlug=default"), { headers: { "x-api-key": key } });
  assert.notEqual((await use()).status, 401);
  await worker.browser().post(at("/sign-in/magic-link"), { email: guest.email });
  const [mail] = (await worker.browser().get(`${AUTH}/dev/mailbox?to=${guest.email}`)).json;
  await worker.browser().followMailedLink(mail.text.match(/https?:\S+/)[0]);
  assert.equal((await use()).status, 401, "the address was never proven: its owner takes it over");
  const victim = await signUp(worker);
  await worker.d1.prepare("update user set email_verified = 1 where id = ?").bind(victim.id).run();
  const stolen = (await post(victim, "/api-key/create", { name: "k" })).json.key;
  const admin = await signUp(worker, { roles: ["owner"] });
  assert.equal((await post(admin, "/admin/set-user-password", { userId: victim.id, newPassword: "quite another password" })).status, 200);
  const answer = await worker
    .browser()
    .get(at("/organization/get-active-member?organizationSlug=default"), { headers: { "x-api-key": stolen } });
  assert.deepEqual([answer.status, answer.json.code], [401, "KEY_DISABLED"]);
});

test("whoever acts as a user does so no longer once they may not, whichever way they lost it", async () => {
  for (const lose of [
    (admin) =>
      worker.d1.prepare("delete from member_role where member_id in (select id from member where user_id = ?)").bind(admin.id).run(),
    (admin) => worker.d1.prepare("delete from member where user_id = ?").bind(admin.id).run(),
    (admin) => worker.d1.prepare("update user set status = 'inactive' where id = ?").bind(admin.id).run(),
  ]) {
    const [admin, who] = [await signUp(worker, { roles: ["admin"] }), await signUp(worker)];
    assert.equal((await post(admin, "/admin/impersonate-user", { userId: who.id })).status, 200);
    assert.equal((await session(admin)).user.id, who.id);
    await lose(admin);
    assert.equal(await session(admin), null);
  }
});

test("issuers and clients are looked after by whoever has the permission, whatever their role is called", async () => {
  const holder = async (permission) => {
    const who = await signUp(worker, { roles: [`keeps-${permission}`] });
    const [resource, action] = permission.split(":");
    await worker.d1
      .prepare(
        `insert into role_permission (role_id, permission_id, created_at)
      select r.id, p.id, 0 from role r join permission p on p.tenant_id is null and p.resource = ? and p.action = ? where r.name = ?`,
      )
      .bind(resource, action, `keeps-${permission}`)
      .run();
    return who;
  };
  const [issuers, clients, named] = [await holder("issuer:manage"), await holder("client:manage"), await signUp(worker)];
  await giveRole(worker, named.id, "administrator");
  const uses = ({ browser }) =>
    Promise.all([
      browser.get(at("/admin/issuers")),
      browser.post(at("/admin/oauth2/create-client"), { client_name: "App", redirect_uris: ["https://app.example/cb"] }),
      browser.post(at("/admin/oauth2/initial-access-token"), {}),
    ]);
  for (const [who, wanted] of [
    [issuers, [200, 403, 403]],
    [clients, [403, 201, 200]],
    [named, [403, 403, 403]],
  ]) {
    assert.deepEqual(
      (await uses(who)).map(({ status }) => status),
      wanted,
    );
  }
  const [, made] = await uses(clients);
  const update = () =>
    clients.browser.send("PATCH", at("/admin/oauth2/update-client"), {
      headers: { origin: AUTH },
      body: { client_id: made.json.client_id, update: { client_name: "Other" } },
    });
  assert.equal((await update()).status, 200);
  await worker.d1.prepare("delete from member_role where member_id in (select id from member where user_id = ?)").bind(clients.id).run();
  assert.equal((await update()).status, 404);
});

test("nobody gives a role that allows nothing here, and may mean something to a website, unless it is theirs", async () => {
  const { owner, org, join } = await organization();
  const [keeper, friend] = [await signUp(worker), await signUp(worker)];
  const permission = { member: ["create", "update"], invitation: ["create"], ac: ["read"] };
  assert.equal((await post(owner, "/organization/create-role", { role: "keeper", permission })).status, 200);
  assert.equal((await post(owner, "/organization/create-role", { role: "finance", permission: { bench: [] } })).status, 200);
  await join(keeper, "keeper");
  const member = await join(friend, "member");
  for (const role of ["finance", ["member", "finance"]]) {
    assert.equal((await post(keeper, "/organization/update-member-role", { memberId: member, role })).status, 403);
    assert.equal((await post(keeper, "/organization/invite-member", { email: `${randomUUID()}@example.com`, role })).status, 403);
  }
  assert.equal((await post(keeper, "/organization/update-member-role", { memberId: member, role: "member" })).status, 200);
  assert.equal((await post(owner, "/organization/update-member-role", { memberId: member, role: "finance" })).status, 200);
  assert.equal((await worker.rows("select 1 from role where tenant_id = ? and name = 'finance'", org)).length, 1);
});

test("an owner who was made an administrator does not make themselves owner again by what was on its way", async () => {
  for (let round = 0; round < 5; round += 1) {
    const { owner, org, join } = await organization();
    const second = await signUp(worker);
    const membership = await join(second, "owner");
    let demoted = false;
    const flood = Promise.all(
      Array.from({ length: 10 }, async () => {
        while (!demoted) await post(second, "/organization/update-member-role", { memberId: membership, role: "owner" });
        await post(second, "/organization/update-member-role", { memberId: membership, role: "owner" });
      }),
    );
    const answer = await post(owner, "/organization/update-member-role", { memberId: membership, role: "admin" });
    demoted = true;
    await flood;
    assert.equal(answer.status, 200, answer.text);
    const roles = await worker.rows(
      `select r.name from member m join member_role mr on mr.member_id = m.id join role r on r.id = mr.role_id where m.tenant_id = ?
         and m.user_id = ?`,
      org,
      second.id,
    );
    assert.deepEqual(roles, [{ name: "admin" }], `round ${round}`);
  }
});

test("whoever looks after a group gives it no role that they have lost, by requests that were on their way", async () => {
  for (let round = 0; round < 6; round += 1) {
    const { owner, org, join } = await organization();
    const admin = await signUp(worker);
    const memberId = await join(admin, "admin");
    const team = await post(admin, "/organization/create-team", { name: `T${round}`, organizationId: org });
    assert.equal(team.status, 200, team.text);
    const update = (n) =>
      new Promise((resolve) => setTimeout(resolve, n * 4)).then(() =>
        post(admin, "/organization/update-team", { teamId: team.json.id, data: { roles: ["admin"], organizationId: org } }),
      );
    const [demoted] = await Promise.all([
      post(owner, "/organization/update-member-role", { memberId, role: "member", organizationId: org }),
      ...Array.from({ length: 12 }, (_, n) => update(n)),
    ]);
    assert.equal(demoted.status, 200, demoted.text);
    // What they carried before is the owner's to see and to take away; nothing is carried from then on.
    const carried = (await worker.rows("select count(*) as n from user_group_role where user_group_id = ?", team.json.id))[0].n;
    await worker.d1.prepare("delete from user_group_role where user_group_id = ?").bind(team.json.id).run();
    assert.equal((await update(0)).status, 403, `round ${round}, ${carried} carried before`);
    assert.equal((await worker.rows("select count(*) as n from user_group_role where user_group_id = ?", team.json.id))[0].n, 0);
  }
});

test("whoever looks after a group for its owner does not take it over", async () => {
  const { owner, join } = await organization();
  const helper = await signUp(worker);
  await join(helper, "member");
  const team = (await post(owner, "/organization/create-team", { name: "T" })).json.id;
  await post(owner, "/organization/add-team-member", { teamId: team, userId: helper.id, role: "admin" });
  for (const [path, body] of [
    ["update-team", { teamId: team, data: { ownerId: helper.id } }],
    ["remove-team-member", { teamId: team, userId: owner.id }],
    ["update-team-member", { teamId: team, userId: owner.id, role: "member" }],
    ["update-team-member", { teamId: team, userId: helper.id, role: "owner" }],
  ])
    assert.equal((await post(helper, `/organization/${path}`, body)).status, 403, path);
  assert.equal((await post(helper, "/organization/update-team", { teamId: team, data: { description: "ours" } })).status, 200);
  assert.equal((await worker.rows("select 1 from user_group where id = ? and owner_id = ?", team, owner.id)).length, 1);
});
