-- The sizes of a collection. Each is a function, so that a statement reads only what it selects. A
-- size is null if the caller may not read the tables.

-- Whether the caller may read one of a collection's tables; null if the table does not exist.
create or replace function chroma._may_read(
    collection chroma._collections, kind text
) returns boolean
language sql stable
as $$
select has_table_privilege(to_regclass(chroma._table(collection, kind)), 'select')
$$;

create or replace function chroma._rows(collection chroma._collections) returns bigint
language plpgsql stable
as $$
declare
    counted bigint;
begin
    if chroma._may_read(collection, 'counts') then
        execute 'select ' || chroma._record_count(collection) into counted;
    end if;
    return counted;
end
$$;

-- The condition on positions that are in a segment.
create or replace function chroma._covered(collection chroma._collections) returns text
language sql stable
as $$
select coalesce(
    string_agg(format('pos >= %s and pos < %s', s.first, s."end"), ' or '), 'false'
)
from jsonb_to_recordset((collection).segments) as s (first bigint, "end" bigint)
$$;

-- The embeddings that are in a segment, or those that are in none.
create or replace function chroma._embeddings(
    collection chroma._collections, is_covered boolean
) returns bigint
language plpgsql stable
as $$
declare
    counted bigint;
begin
    if (collection).dimension is null then
        -- The table does not exist yet.
        counted := 0;
    elsif chroma._may_read(collection, 'vectors') then
        execute format(
            'select count(*) from %s where (%s) = %L',
            chroma._table(collection, 'vectors'), chroma._covered(collection), is_covered
        ) into counted;
    end if;
    return counted;
end
$$;

-- The share of the entries of indexes whose embedding is no longer there.
create or replace function chroma._dead(collection chroma._collections) returns real
language sql stable
as $$
select case
    when sum((s ->> 'entries')::bigint) > 0 then greatest(
        0, 1 - chroma._embeddings(collection, true) / sum((s ->> 'entries')::bigint)
    )
end::real
from jsonb_array_elements((collection).segments) as s
$$;

create or replace function chroma._last_write(
    collection chroma._collections
) returns timestamptz
language plpgsql stable
as $$
declare
    last_write timestamptz;
begin
    if chroma._may_read(collection, 'records') then
        execute format('select max(updated_at) from %s', chroma._table(collection, 'records'))
        into last_write;
    end if;
    return last_write;
end
$$;

-- The size of all tables and indexes, and of the sequence.
create or replace function chroma._bytes(collection chroma._collections) returns bigint
language sql stable
as $$
select sum(pg_total_relation_size(c.oid))::bigint
from pg_catalog.pg_class as c
inner join pg_catalog.pg_namespace as n on c.relnamespace = n.oid
where n.nspname = (collection).schema_name
    and c.relkind in ('r', 'S')
    and c.relname ~ (
        '^(records|vectors|spare|counts|sparse|log)_'
        || replace((collection).id::text, '-', '') || '(_|$)'
    )
$$;
