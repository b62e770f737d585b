-- What views and functions of the schema chroma read of the catalog. Names that begin with an
-- underscore are not for callers, and may change.

-- The catalog's entries of the collections whose schema the caller may use. The view reads the
-- catalog with its owner's privileges, as the views of the information schema do, so that a caller
-- needs none on the catalog itself.
create or replace view chroma._collections with (security_barrier) as
select
    c.id,
    c.name,
    d.tenant,
    d.name as database,
    d.schema_name,
    c.generation,
    c.dimension,
    c.configuration,
    c.metadata,
    c.created_at,
    c.configuration -> 'hnsw' ->> 'space' as space,
    (
        select r.generation from pgchroma.reembeddings as r
        where r.collection_id = c.id
    ) as shadow,
    (
        select
            jsonb_agg(
                jsonb_build_object(
                    'first', s.first_pos, 'end', s.end_pos, 'entries', s.entries,
                    'quantization', s.quantization
                )
                order by s.first_pos
            )
        from pgchroma.segments as s
        where s.collection_id = c.id and s.generation = c.generation and s.is_ready
    ) as segments,
    (
        select jsonb_agg(i.kind || ':' || i.key)
        from pgchroma.secondary_indexes as i
        where i.collection_id = c.id and i.is_ready
    ) as secondary,
    c.layout_version
from pgchroma.collections as c
inner join pgchroma.databases as d on c.database_id = d.id
inner join pg_catalog.pg_namespace as n on d.schema_name = n.nspname
where has_schema_privilege(n.oid, 'usage');

comment on view chroma._collections is 'For the functions of this schema, not for callers';

-- The quoted name of one of a collection's tables: records, vectors, counts, log, or spare.
create or replace function chroma._table(collection chroma._collections, kind text) returns text
language sql immutable
as $$
select format(
    '%I.%I',
    (collection).schema_name,
    kind || '_' || replace((collection).id::text, '-', '')
    || case
        when kind = 'vectors' and (collection).generation > 1 then '_' || (collection).generation
        when kind = 'spare' and (collection).shadow > 1 then '_' || (collection).shadow
        else ''
    end
)
$$;

-- The expression of how many records a collection has. Each write adds a row with the change.
create or replace function chroma._record_count(collection chroma._collections) returns text
language sql immutable
as $$
select format(
    '(select coalesce(sum(change), 0)::bigint from %s)', chroma._table(collection, 'counts')
)
$$;

-- The quoted name of a table of sparse vectors.
create or replace function chroma._sparse_table(
    collection chroma._collections, number integer, suffix text default ''
) returns text
language sql immutable
as $$
select format(
    '%I.%I',
    (collection).schema_name,
    format('sparse_%s_%s%s', replace((collection).id::text, '-', ''), number, suffix)
)
$$;
