-- Views for SQL users live in a schema that holds no data. They are replaced in place, and what
-- else is in the schema stays. A schema of this name that is somebody else's is left alone: the
-- upgrade stops.
do $$
declare
    existing constant regnamespace := to_regnamespace('chroma');
    is_ours constant boolean :=
        obj_description(existing, 'pg_namespace') like 'pgchroma:%'
        -- A dump may leave comments out.
        or exists (
            select from pg_catalog.pg_rewrite as r
            inner join pg_catalog.pg_depend as d on r.oid = d.objid
            where r.ev_class = to_regclass('chroma.collections')
                and d.refobjid = to_regclass('pgchroma.databases')
        );
begin
    if existing is null then
        create schema chroma;
    elsif is_ours is not true and (
        exists (select from pg_catalog.pg_class where relnamespace = existing)
        or exists (select from pg_catalog.pg_proc where pronamespace = existing)
    ) then
        raise exception 'the schema chroma is not pgchroma''s: rename or drop it, and try again'
            using errcode = 'duplicate_schema';
    end if;
    -- Who may create in it need not be its owner, who alone can comment on it.
    if exists (
        select from pg_catalog.pg_namespace
        where nspname = 'chroma' and pg_has_role(nspowner, 'usage')
    ) then
        comment on schema chroma is 'pgchroma: views for SQL users';
    end if;
end
$$;
