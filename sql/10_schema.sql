-- Views for SQL users are in a schema that contains no data. An upgrade replaces them and leaves
-- all other objects of the schema unchanged. If the schema was created by another application, the
-- upgrade stops.
do $$
declare
    existing constant regnamespace := to_regnamespace('chroma');
    is_own constant boolean :=
        obj_description(existing, 'pg_namespace') like 'pgchroma:%'
        -- A dump may omit comments.
        or exists (
            select from pg_catalog.pg_rewrite as r
            inner join pg_catalog.pg_depend as d on r.oid = d.objid
            where r.ev_class in (
                    to_regclass('chroma.collections'), to_regclass('chroma._collections')
                )
                and d.refobjid = to_regclass('pgchroma.databases')
        );
begin
    if existing is null then
        create schema chroma;
    elsif is_own is not true and (
        exists (select from pg_catalog.pg_class where relnamespace = existing)
        or exists (select from pg_catalog.pg_proc where pronamespace = existing)
    ) then
        raise exception 'the schema chroma is not pgchroma''s: rename or drop it, and try again'
            using errcode = 'duplicate_schema';
    end if;
    -- Only the owner may comment on the schema. The user that runs the upgrade may lack ownership and
    -- have the privilege to create objects in it.
    if exists (
        select from pg_catalog.pg_namespace
        where nspname = 'chroma' and pg_has_role(nspowner, 'usage')
    ) then
        comment on schema chroma is 'pgchroma: views for SQL users';
    end if;
end
$$;
