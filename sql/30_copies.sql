-- Each database's schema has a copy of the catalog's rows about its collections, in the table
-- "~catalog", so that a dump of the schema alone can be adopted into another catalog. Triggers on
-- the catalog write the copy, with the privileges of the user that writes the catalog.
create or replace function pgchroma.copy_collection() returns trigger
language plpgsql set search_path = pg_catalog
as $$
declare
    changed constant uuid := to_jsonb(coalesce(new, old)) ->> tg_argv[0];
    target text;
    copy jsonb;
begin
    select
        d.schema_name,
        jsonb_build_object(
            'name', c.name,
            'metadata', c.metadata,
            'configuration', c.configuration,
            'layout_version', c.layout_version,
            -- These two columns are missing after a downgrade.
            'version', to_jsonb(c) -> 'version',
            'discovered_keys', to_jsonb(c) -> 'discovered_keys',
            'created_at', c.created_at,
            'reembedding', (
                select to_jsonb(r) from pgchroma.reembeddings as r where r.collection_id = c.id
            ),
            'segments', (
                select jsonb_agg(to_jsonb(s)) from pgchroma.segments as s
                where s.collection_id = c.id and s.is_ready
            ),
            'secondary_indexes', (
                select jsonb_agg(to_jsonb(i)) from pgchroma.secondary_indexes as i
                where i.collection_id = c.id and i.is_ready
            )
        )
    into target, copy
    from pgchroma.collections as c
    inner join pgchroma.databases as d on c.database_id = d.id
    where c.id = changed;
    -- If the copy was dropped, writes still succeed. The next upgrade creates the copy again.
    if to_regclass(quote_ident(target) || '."~catalog"') is not null then
        execute format(
            'insert into %I."~catalog" (id, entry) values ($1, $2) '
            'on conflict (id) do update set entry = excluded.entry',
            target
        ) using changed, copy;
    end if;
    return null;
end
$$;

create or replace function pgchroma.forget_collections() returns trigger
language plpgsql set search_path = pg_catalog
as $$
declare
    target text;
begin
    for target in
        select distinct d.schema_name
        from gone inner join pgchroma.databases as d on gone.database_id = d.id
    loop
        if to_regclass(quote_ident(target) || '."~catalog"') is not null then
            execute format(
                'delete from %I."~catalog" where id in (select id from gone)', target
            );
        end if;
    end loop;
    return null;
end
$$;

create or replace trigger copy_collection
after insert or update of name, metadata, configuration, layout_version, discovered_keys
on pgchroma.collections
for each row execute function pgchroma.copy_collection('id');

create or replace trigger copy_collection
after insert or update or delete on pgchroma.reembeddings
for each row execute function pgchroma.copy_collection('collection_id');

create or replace trigger copy_collection
after insert or update of is_ready or delete on pgchroma.segments
for each row execute function pgchroma.copy_collection('collection_id');

create or replace trigger copy_collection
after insert or update of is_ready or delete on pgchroma.secondary_indexes
for each row execute function pgchroma.copy_collection('collection_id');

create or replace trigger forget_collections
after delete on pgchroma.collections referencing old table as gone
for each statement execute function pgchroma.forget_collections();

-- Creates the copy of databases that lack it, such as those created by an older version.
do $$
declare
    missing record;
begin
    for missing in
        select d.id, d.tenant, d.name, d.schema_name, n.nspowner::regrole as owner
        from pgchroma.databases as d
        inner join pg_catalog.pg_namespace as n on d.schema_name = n.nspname
        where to_regclass(format('%I."~catalog"', d.schema_name)) is null
    loop
        execute format(
            'create table %I."~catalog" (id uuid primary key, entry jsonb not null)',
            missing.schema_name
        );
        execute format('insert into %I."~catalog" values ($1, $2)', missing.schema_name)
        using
            '00000000-0000-0000-0000-000000000000'::uuid,
            jsonb_build_object('id', missing.id, 'tenant', missing.tenant, 'name', missing.name);
        execute format(
            'alter table %I."~catalog" owner to %s', missing.schema_name, missing.owner
        );
        update pgchroma.collections set layout_version = layout_version
        where database_id = missing.id;
    end loop;
end
$$;
