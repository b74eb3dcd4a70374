-- Rules that say what they mean. One that matches nothing, or something else than it says, is refused where it is written.
-- Those that were written before stay, and are found here; until they are changed, the gate lets nobody in by them.

create view access_rule_problem as
select id, proxied_app_id, path,
  case
    when instr(base, '*') > 0 then 'wildcard'
    -- What servers cut off, merge or resolve before they look a path up, as it is and encoded.
    when path not like '/%' or base like '%//%' or base || '/' glob '*[. ]/*' or base like '%/ %'
      or base glob '*[?#;\]*' or base glob '*[' || char(1) || '-' || char(31) || char(127) || ']*'
      or lower(base) glob '*%2[35af]*' or lower(base) glob '*%3[bf]*' or lower(base) glob '*%5c*'
      or lower(base) glob '*%[01][0-9a-f]*' or lower(base) glob '*%7f*'
      or lower(base) || '/' glob '*%2[0e]/*' or base like '%/\%20%' escape '\'
      -- Letters that are written in more than one way: accents apart, and full width.
      or base glob '*[' || char(768) || '-' || char(879) || ']*' or base glob '*[' || char(65281) || '-' || char(65374) || ']*'
    then 'path'
    when json_type(methods) <> 'array'
      or exists (select 1 from json_each(methods) where type <> 'text' or value = '' or value glob '*[^A-Z-]*')
    then 'methods'
    when json_type(roles) <> 'array' or exists (
      select 1 from json_each(roles) named where not exists (
        select 1 from role
        where name = named.value and (role.tenant_id is null or role.tenant_id = rule.tenant_id)))
    then 'roles'
  end as problem
from (
  select r.*, a.tenant_id, iif(r.path like '%/*', substr(r.path, 1, length(r.path) - 2), r.path) as base
  from access_rule r join proxied_app a on a.id = r.proxied_app_id
) rule
where problem is not null;

create trigger access_rule_inserted after insert on access_rule
begin
  select raise(abort, 'access_rule.path is "/exact" or "/prefix/*": no other * has a meaning')
  from access_rule_problem where id = new.id and problem = 'wildcard';
  select raise(abort, 'access_rule.path is one that servers read as another: write it without "//", "." and ".." segments, query, parameters and encoded signs')
  from access_rule_problem where id = new.id and problem = 'path';
  select raise(abort, 'access_rule.methods is a list of method names in capitals, such as ["GET"]')
  from access_rule_problem where id = new.id and problem = 'methods';
  select raise(abort, 'access_rule.roles names a role that the tenant of the app does not have')
  from access_rule_problem where id = new.id and problem = 'roles';
end;

create trigger access_rule_updated after update of proxied_app_id, path, methods, access, roles on access_rule
begin
  select raise(abort, 'access_rule.path is "/exact" or "/prefix/*": no other * has a meaning')
  from access_rule_problem where id = new.id and problem = 'wildcard';
  select raise(abort, 'access_rule.path is one that servers read as another: write it without "//", "." and ".." segments, query, parameters and encoded signs')
  from access_rule_problem where id = new.id and problem = 'path';
  select raise(abort, 'access_rule.methods is a list of method names in capitals, such as ["GET"]')
  from access_rule_problem where id = new.id and problem = 'methods';
  select raise(abort, 'access_rule.roles names a role that the tenant of the app does not have')
  from access_rule_problem where id = new.id and problem = 'roles';
end;
