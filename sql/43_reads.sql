-- Reading records by their ids or a filter, and counting them: chroma.get and chroma.count.

-- The form of a sparse vector in metadata.
create or replace function chroma._sparse_vector(
    p0 sparsevec, p1 sparsevec, p2 sparsevec, p3 sparsevec, p4 sparsevec
) returns jsonb
language sql immutable
as $$
select jsonb_build_object(
    '#type', 'sparse_vector',
    'indices', coalesce(jsonb_agg(term order by term), '[]'),
    'values', coalesce(jsonb_agg(weight order by term), '[]')
)
from (
    select
        split_part(pair, ':', 1)::bigint - 1 + (p.n - 1) * 1000000000 as term,
        split_part(pair, ':', 2)::real as weight
    from unnest(array[p0, p1, p2, p3, p4]) with ordinality as p (part, n)
    cross join unnest(
        string_to_array(nullif(substring(p.part::text from '^\{(.*)\}/'), ''), ',')
    ) as pair
) as terms
$$;

-- The expressions of the columns that callers get, over records "r" and vectors "v".
create or replace function chroma._columns(
    collection chroma._collections, include text[]
) returns text
language plpgsql stable
as $$
declare
    metadata text := 'r.metadata';
    sparse record;
    unknown constant text := (
        select string_agg(given, ', ') from unnest(include) as given
        where given <> all(array['documents', 'uris', 'metadatas', 'embeddings', 'distances'])
    );
begin
    if unknown is not null then
        perform chroma._refuse(format(
            'include: expected documents, uris, metadatas and embeddings, got %s', unknown
        ));
    end if;
    for sparse in select * from chroma._sparse_keys(collection) loop
        metadata := format(
            'case when r.%1$I is null then %2$s else coalesce(%2$s, ''{}'') || ('
            'select jsonb_build_object(%3$L::text, coalesce(e.given, '
            'chroma._sparse_vector(e.p0, e.p1, e.p2, e.p3, e.p4))) '
            'from %4$s as e where e.pos = r.%1$I) end',
            'sparse_' || sparse.number, metadata, sparse.key,
            chroma._sparse_table(collection, sparse.number)
        );
    end loop;
    return concat_ws(
        ', ',
        'r.id::text',
        case when 'documents' = any(include) then 'r.document' else 'null::text' end,
        case when 'uris' = any(include) then 'r.uri' else 'null::text' end,
        case when 'metadatas' = any(include) then metadata else 'null::jsonb' end,
        case
            when 'embeddings' = any(include) and (collection).dimension is not null
                then 'v.embedding::vector'
            else 'null::vector'
        end
    );
end
$$;

create or replace function chroma._all_columns() returns text[]
language sql immutable
as $$
select array['documents', 'uris', 'metadatas', 'embeddings']
$$;

-- Reads records in their insertion order.
create or replace function chroma.get(
    collection text,
    ids text[] default null,
    "where" jsonb default null,
    where_document jsonb default null,
    "limit" bigint default null,
    "offset" bigint default 0,
    include text[] default chroma._all_columns(),
    tenant text default 'default_tenant',
    database text default 'default_database'
) returns table (id text, document text, uri text, metadata jsonb, embedding vector)
language plpgsql stable
as $$
declare
    found constant chroma._collections := chroma._collection(collection, tenant, database);
    is_joined constant boolean := 'embeddings' = any(include) and (found).dimension is not null;
begin
    return query execute format(
        'select %s from (select * from %s as r where %s order by r.seq limit %L offset %L) as r %s '
        'order by r.seq',
        chroma._columns(found, include),
        chroma._table(found, 'records'),
        chroma._condition(found, ids, "where", where_document),
        "limit",
        "offset",
        case
            when is_joined then format(
                'left join %s as v on v.pos = r.pos', chroma._table(found, 'vectors')
            )
            else ''
        end
    );
end
$$;

comment on function chroma.get is 'Reads the records that match all conditions, in insertion order';

-- Counts records; without a condition, the time does not depend on their number.
create or replace function chroma.count(
    collection text,
    "where" jsonb default null,
    where_document jsonb default null,
    tenant text default 'default_tenant',
    database text default 'default_database'
) returns bigint
language plpgsql stable
as $$
declare
    found constant chroma._collections := chroma._collection(collection, tenant, database);
    counted bigint;
begin
    if "where" is null and where_document is null then
        execute 'select ' || chroma._record_count(found) into counted;
    else
        execute format(
            'select count(*) from %s as r where %s',
            chroma._table(found, 'records'),
            chroma._condition(found, null, "where", where_document)
        ) into counted;
    end if;
    return counted;
end
$$;

comment on function chroma.count is 'Counts the records that match all conditions';

create or replace function chroma._check_dimension(
    collection chroma._collections, dimension integer
) returns void
language plpgsql immutable
as $$
begin
    if (collection).dimension <> dimension then
        perform chroma._refuse(format(
            'Collection expecting embedding with dimension of %s, got %s',
            (collection).dimension, dimension
        ));
    end if;
end
$$;
