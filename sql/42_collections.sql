-- What the functions of the schema chroma know of a collection.

create or replace function chroma._collection(
    collection text, tenant text, database text
) returns chroma._collections
language plpgsql stable
as $$
declare
    found chroma._collections;
begin
    select * into found
    from chroma._collections as c
    where c.name = collection
        and c.tenant = _collection.tenant
        and c.database = _collection.database;
    if found.id is null then
        raise exception using
            message = format('Collection [%s] does not exist.', collection),
            hint = format(
                'In database %s of tenant %s; chroma.collections lists all.', database, tenant
            ),
            errcode = 'undefined_object';
    end if;
    if found.layout_version < 3 then
        raise exception using
            message = format('The tables of collection [%s] have an older layout.', collection),
            hint = 'Run: pgchroma migrate',
            errcode = 'object_not_in_prerequisite_state';
    end if;
    return found;
end
$$;

-- The keys whose sparse vectors have tables, and the numbers of these.
create or replace function chroma._sparse_keys(
    collection chroma._collections
) returns table (key text, number integer)
language sql immutable
as $$
select s.key, (s.value ->> 'number')::integer
from jsonb_each(
    case jsonb_typeof((collection).configuration -> 'indexed' -> 'sparse')
        when 'object' then (collection).configuration -> 'indexed' -> 'sparse'
        else '{}'
    end
) as s
where s.value ->> 'number' is not null
order by 2
$$;

-- The condition on records "r" of ids and filters; "true" if there are none.
create or replace function chroma._condition(
    collection chroma._collections, ids text[], "where" jsonb, where_document jsonb
) returns text
language plpgsql stable
as $$
declare
    facts constant jsonb := jsonb_build_object(
        'indexed', (collection).configuration -> 'indexed',
        'secondary', coalesce((collection).secondary, '[]')
    );
    clauses text[] := '{}';
begin
    if ids is not null then
        clauses := clauses || format('r.id = any(%L::text[])', ids);
    end if;
    if "where" is not null then
        perform chroma._check_size("where", 'where');
        clauses := clauses || chroma._compile("where", 'where', 'where', facts);
    end if;
    if where_document is not null then
        perform chroma._check_size(where_document, 'where_document');
        clauses := clauses
            || chroma._compile(where_document, 'where_document', 'where_document', facts);
    end if;
    return coalesce(nullif(array_to_string(clauses, ' and '), ''), 'true');
end
$$;
