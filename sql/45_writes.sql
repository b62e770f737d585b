-- Writing records: chroma.add, chroma.upsert, chroma.update and chroma.delete, in the caller's
-- transaction. Their statements are those of the API, in pgchroma.store.records, where the reasons
-- of their order and of their locks are.

-- A number as the API stores it: an integer of 64 bits, or a float with a decimal point.
create or replace function chroma._stored_number(value jsonb, path text) returns jsonb
language plpgsql immutable
as $$
declare
    written text := value::text;
begin
    if strpos(written, '.') = 0
        and value::numeric between -9223372036854775808 and 9223372036854775807
    then
        return value;
    end if;
    written := (written::double precision)::text::numeric::text;
    return (written || case when strpos(written, '.') > 0 then '' else '.0' end)::jsonb;
exception
    when numeric_value_out_of_range then
        perform chroma._refuse(format('%s: %s is out of range', path, chroma._shown(value)));
end
$$;

create or replace function chroma._stored_list(value jsonb, path text) returns jsonb
language plpgsql immutable
as $$
declare
    kinds constant text[] := array(
        select distinct coalesce(chroma._kind(item), jsonb_typeof(item))
        from jsonb_array_elements(value) as item order by 1
    );
begin
    if not kinds <@ array['bool', 'float', 'int', 'string'] then
        perform chroma._refuse(format(
            '%s: expected a list of str, int, float or bool, got %s', path, chroma._shown(value)
        ));
    elsif cardinality(kinds) > 1 and kinds <> array['float', 'int'] then
        perform chroma._refuse(format(
            '%s: a list holds values of one type, got %s', path, array_to_string(kinds, ', ')
        ));
    elsif kinds && array['float', 'int'] then
        return (
            select jsonb_agg(
                case
                    when cardinality(kinds) > 1 and strpos(n.number::text, '.') = 0
                        then (n.number::text || '.0')::jsonb
                    else n.number
                end
                order by i.place
            )
            from jsonb_array_elements(value) with ordinality as i (item, place)
            cross join chroma._stored_number(i.item, path) as n (number)
        );
    end if;
    return value;
end
$$;

create or replace function chroma._stored_sparse(value jsonb, path text) returns jsonb
language plpgsql immutable
as $$
declare
    indices constant jsonb := value -> 'indices';
    "values" constant jsonb := value -> 'values';
    tokens constant jsonb := value -> 'tokens';
    reason text;
begin
    reason := case
        when jsonb_typeof(indices) <> 'array' then 'Expected SparseVector indices to be a list'
        when jsonb_typeof("values") <> 'array' then 'Expected SparseVector values to be a list'
        when jsonb_array_length(indices) <> jsonb_array_length("values") then
            format(
                'SparseVector indices and values must have the same length, '
                'got %s indices, %s values',
                jsonb_array_length(indices), jsonb_array_length("values")
            )
        when exists (
            select from jsonb_array_elements(indices) as i
            where chroma._kind(i) is distinct from 'int'
        ) then 'SparseVector indices must be integers'
        when exists (
            select from jsonb_array_elements("values") as v where jsonb_typeof(v) <> 'number'
        ) then 'SparseVector values must be numbers'
        when exists (
            select from jsonb_array_elements(indices) as i
            where i::numeric not between 0 and 4294967295
        ) then 'SparseVector indices must be from 0 to 4294967295'
        when exists (
            select from (
                select i::numeric <= lag(i::numeric) over (order by n) as is_unsorted
                from jsonb_array_elements(indices) with ordinality as e (i, n)
            ) as neighbours
            where is_unsorted
        ) then 'SparseVector indices must be sorted in strictly ascending order'
        when exists (
            select from jsonb_array_elements("values") as v
            where abs(v::numeric) >= 3.4028235677973366e38
        ) then 'a value is too large for a float of 32 bits'
        when jsonb_typeof(tokens) is distinct from null and jsonb_typeof(tokens) <> 'null' and (
            jsonb_typeof(tokens) <> 'array'
            or jsonb_array_length(tokens) <> jsonb_array_length(indices)
            or exists (
                select from jsonb_array_elements(tokens) as t where jsonb_typeof(t) <> 'string'
            )
        ) then 'SparseVector labels must be as long a list of strings'
    end;
    if reason is not null then
        perform chroma._refuse(format('%s: %s', path, reason));
    end if;
    return jsonb_build_object(
        '#type', 'sparse_vector',
        'indices', indices,
        'values', coalesce(
            (
                select jsonb_agg(
                    chroma._stored_number((v::text::real::text::numeric::text)::jsonb, path)
                    order by n
                )
                from jsonb_array_elements("values") with ordinality as e (v, n)
            ),
            '[]'
        )
    ) || case
        when jsonb_typeof(tokens) = 'array' then jsonb_build_object('tokens', tokens) else '{}'
    end;
end
$$;

-- Metadata as the API stores it; null if there is none. With removals, a value may be null, which
-- removes its key.
create or replace function chroma._stored_metadata(
    metadata jsonb, path text, removals boolean
) returns jsonb
language plpgsql immutable
as $$
declare
    stored jsonb := metadata;
    changed jsonb;
    entry record;
    below text;
begin
    if metadata is null or metadata in ('null', '{}') then
        return null;
    elsif jsonb_typeof(metadata) <> 'object' then
        perform chroma._refuse(
            format('%s: expected an object, got %s', path, chroma._shown(metadata))
        );
    end if;
    for entry in select key, value, jsonb_typeof(value) as type from jsonb_each(metadata) loop
        if entry.key = '' then
            perform chroma._refuse(path || ': Metadata key cannot be empty');
        elsif entry.key ~ '^[#$]' then
            perform chroma._refuse(format(
                '%s: Metadata key cannot start with ''#'' or ''$'': %s', path, left(entry.key, 80)
            ));
        elsif starts_with(entry.key, 'chroma:') then
            perform chroma._refuse(format(
                '%s: keys that start with ''chroma:'' are reserved: %s', path, left(entry.key, 80)
            ));
        end if;
        below := right(path || '.' || entry.key, 300);
        case entry.type
            when 'string', 'boolean' then
                continue;
            when 'number' then
                changed := chroma._stored_number(entry.value, below);
                stored := stored || jsonb_build_object(entry.key, changed);
            when 'null' then
                if not removals then
                    perform chroma._refuse(below || ': a value cannot be null here');
                end if;
            when 'array' then
                if entry.value = '[]' then
                    stored := stored - entry.key;
                else
                    changed := chroma._stored_list(entry.value, below);
                    stored := stored || jsonb_build_object(entry.key, changed);
                end if;
            else
                if not entry.value ?& array['indices', 'values']
                    or entry.value ->> '#type' <> 'sparse_vector'
                then
                    perform chroma._refuse(format(
                        '%s: expected a str, int, float, bool or a list of one of these, got %s',
                        below, chroma._shown(entry.value)
                    ));
                end if;
                changed := chroma._stored_sparse(entry.value, below);
                stored := stored || jsonb_build_object(entry.key, changed);
        end case;
    end loop;
    return nullif(stored, '{}');
end
$$;

-- The part of a sparse vector with the terms from part * 10^9 on. The type has no zeros: a weight
-- of zero is the least number greater than it.
create or replace function chroma._sparse_part(vector jsonb, part integer) returns sparsevec
language sql immutable
as $$
select (
    '{' || string_agg(
        format(
            '%s:%s', term - part * 1000000000::bigint + 1,
            case when weight = 0 then '1e-45' else weight::text end
        ),
        ','
        order by term
    ) || '}/1000000000'
)::sparsevec
from (
    select t::bigint as term, w::text::real as weight
    from
        jsonb_array_elements(vector -> 'indices') with ordinality as i (t, n)
        inner join jsonb_array_elements(vector -> 'values') with ordinality as v (w, n) using (n)
) as terms
where term / 1000000000 = part
$$;

-- Refuses sparse vectors that are too long for their table.
create or replace function chroma._check_sparse(
    collection chroma._collections, metadatas jsonb[]
) returns void
language plpgsql stable
as $$
declare
    wrong text;
begin
    select format(
        'metadatas[%s].%s: an indexed sparse vector can have at most 16000 values '
        'between two multiples of 1000000000, got %s',
        m.n - 1, s.key, count(*)
    ) into wrong
    from chroma._sparse_keys(collection) as s
    cross join unnest(metadatas) with ordinality as m (metadata, n)
    cross join lateral jsonb_array_elements(m.metadata -> s.key -> 'indices') as term
    where jsonb_array_length(m.metadata -> s.key -> 'indices') > 16000
    group by m.n, s.key, term::bigint / 1000000000
    having count(*) > 16000
    limit 1;
    if wrong is not null then
        perform chroma._refuse(wrong);
    end if;
end
$$;

-- The dictionary form of a sparse vector of which the parts do not have everything.
create or replace function chroma._sparse_given(vector jsonb) returns jsonb
language sql immutable
as $$
select vector
where vector ? 'tokens'
    or exists (select from jsonb_array_elements(vector -> 'values') as w where w::numeric = 0)
$$;

-- Whether all weights are neither negative nor extreme.
create or replace function chroma._is_plain(vector jsonb) returns boolean
language sql immutable
as $$
select not exists (
    select from jsonb_array_elements(vector -> 'values') as w
    where w::text::real not between 1e-12::real and 1e12::real
)
$$;

-- Draws from a collection's sequence until it is not behind its records, as after logical
-- replication.
create or replace function chroma._advance(collection chroma._collections) returns void
language plpgsql
as $$
declare
    log constant text := chroma._table(collection, 'log');
    behind bigint;
begin
    execute format(
        'select greatest((select max(seq) from %s), (select max(place) from %s)%s, %s) '
        '- coalesce(pg_sequence_last_value(%L::regclass), 0)',
        chroma._table(collection, 'records'),
        chroma._table(collection, 'counts'),
        case
            when (collection).dimension is not null
                then format(', (select max(pos) from %s)', chroma._table(collection, 'vectors'))
            else ''
        end || case
            when (collection).shadow is not null
                then format(', (select max(pos) from %s)', chroma._table(collection, 'spare'))
            else ''
        end,
        greatest(
            nullif((collection).generation, 1), nullif((collection).shadow, 1),
            (
                select max((s ->> 'end')::bigint) - 1
                from jsonb_array_elements((collection).segments) as s
            ),
            0
        ),
        log
    ) into behind;
    if behind > 0 then
        execute format('select max(nextval(%L)) from generate_series(1, %s)', log, behind);
    end if;
end
$$;

-- Sets a collection's dimension, creates its table of embeddings, and shows them in its view. A
-- concurrent first writer waits here until this transaction ends.
create or replace function chroma._create_vectors(
    collection chroma._collections, dimension integer
) returns chroma._collections
language plpgsql
as $$
declare
    created chroma._collections;
    vectors constant text := chroma._table(collection, 'vectors');
    prefix constant text := split_part(vectors, '.', 2);
    found_view text;
    definition text;
begin
    update pgchroma.collections as c set dimension = _create_vectors.dimension
    where c.id = (collection).id and c.dimension is null and c.generation = (collection).generation;
    if not found then
        created := chroma._collection(
            (collection).name, (collection).tenant, (collection).database
        );
        perform chroma._check_dimension(created, dimension);
        if created.dimension is null then
            return chroma._create_vectors(created, dimension);
        end if;
        return created;
    end if;
    execute format(
        'create table %s (pos bigint not null constraint %I primary key, seq bigint not null, '
        'embedding vector(%s) storage %s not null)',
        vectors, trim(both '"' from prefix) || '_pkey', dimension,
        case when dimension <= 2000 then 'plain' else 'external' end
    );
    -- The view of the collection is the one that reads its records.
    select format('%I.%I', v.schemaname, v.viewname), rtrim(v.definition, '; ')
    into found_view, definition
    from pg_catalog.pg_views as v
    where v.schemaname = (collection).schema_name
        and v.viewname = chroma._view_name((collection).name);
    if found_view is not null then
        execute format(
            'create or replace view %s as %s left join %s as v on v.pos = r.pos',
            found_view,
            regexp_replace(
                definition, 'null::\S*vector as embedding', 'v.embedding::vector as embedding', 'i'
            ),
            vectors
        );
    end if;
    if (collection).space = 'cosine' then
        execute format(
            'create index %I on %s (pos) where vector_norm(embedding) = 0',
            trim(both '"' from prefix) || '_zeros', vectors
        );
    end if;
    collection.dimension := dimension;
    return collection;
end
$$;

-- The name of a collection's view; see pgchroma.store.layout.names.
create or replace function chroma._view_name(collection text) returns text
language sql immutable
as $$
select case
    when length(collection) <= 63
        and collection !~ '^((records|vectors|counts|log)_|(spare|sparse)_[0-9a-f]{32})'
        then collection
    else left(collection, 52)
        || '~' || left(encode(sha256(convert_to(collection, 'UTF8')), 'hex'), 10)
end
$$;

-- Checks the columns of a write, and returns the collection that they fit.
create or replace function chroma._writable(
    collection text, tenant text, database text, ids text[], embeddings vector[],
    documents text[], metadatas jsonb[], uris text[]
) returns chroma._collections
language plpgsql
as $$
declare
    found chroma._collections := chroma._collection(collection, tenant, database);
    size constant integer := cardinality(ids);
    dimensions integer[];
    wrong text;
begin
    if size is null then
        perform chroma._refuse('ids: expected an array of ids, got null');
    elsif not size = all(array[
        coalesce(cardinality(embeddings), size), coalesce(cardinality(documents), size),
        coalesce(cardinality(metadatas), size), coalesce(cardinality(uris), size)
    ]) then
        perform chroma._refuse(
            'Inconsistent number of IDs, embeddings, documents, URIs and metadatas'
        );
    elsif exists (select from unnest(ids) as id where id is null or id = '') then
        perform chroma._refuse('Empty ID, ID must have at least one character');
    end if;
    select min(left(id, 80)) into wrong from unnest(ids) as id where octet_length(id) > 2600;
    if wrong is not null then
        perform chroma._refuse(format(
            'ids: an id is longer than the 2600 bytes an index can hold: %s', wrong
        ));
    end if;
    dimensions := array(
        select distinct vector_dims(e) from unnest(embeddings) as e where e is not null limit 2
    );
    if cardinality(dimensions) > 1 then
        perform chroma._refuse('Inconsistent dimensions in provided embeddings');
    elsif dimensions <> '{}' then
        perform chroma._check_dimension(found, dimensions[1]);
    end if;
    perform chroma._advance(found);
    if found.dimension is null and dimensions <> '{}' then
        found := chroma._create_vectors(found, dimensions[1]);
    end if;
    return found;
end
$$;

-- The columns of a table of sparse vectors, from the vector in a batch.
create or replace function chroma._sparse_values(number integer) returns text
language sql immutable
as $$
select format(
    'chroma._sparse_part(s%1$s, 0), chroma._sparse_part(s%1$s, 1), chroma._sparse_part(s%1$s, 2), '
    'chroma._sparse_part(s%1$s, 3), chroma._sparse_part(s%1$s, 4), chroma._sparse_given(s%1$s), '
    'chroma._is_plain(s%1$s)',
    number
)
$$;

-- PostgreSQL cannot replace an older form, which returned another column.
do $$
begin
    if exists (
        select from pg_catalog.pg_proc
        where oid = to_regprocedure('chroma._sparse_clauses(chroma._collections)')
            and 'names' = any(proargnames)
    ) then
        drop function chroma._sparse_clauses(chroma._collections);
    end if;
end
$$;

-- The parts of the statements of a write that depend on the collection's sparse vectors; see
-- pgchroma.store.records.sparse. Each is empty if the collection has none.
--
-- claimed   The keys whose sparse vectors have tables, as literals.
create or replace function chroma._sparse_clauses(
    collection chroma._collections
) returns table (
    selected text, claimed text, columns text, drawn text, held text, same text,
    replaced text, positions text, changes text, added text, changed text, cleared text
)
language sql immutable
as $$
with sparse as (
    select s.number, s.key, false as is_text from chroma._sparse_keys(collection) as s
    union all
    select ((collection).configuration -> 'indexed' -> 'text' ->> 'number')::integer, null, true
    where (collection).configuration -> 'indexed' -> 'text' ->> 'number' is not null
),
named as (
    select
        s.*,
        'sparse_' || s.number as place,
        chroma._sparse_table(collection, s.number) as vectors,
        chroma._sparse_table(collection, s.number, '_changes') as notes,
        case
            when s.is_text then 'document is not null' else format('s%s is not null', s.number)
        end as has,
        case
            when s.is_text then 'p.document is not null'
            else format('p.s%s_touched', s.number)
        end as is_changed
    from sparse as s
)
select
    coalesce(string_agg(format(
        ', case when jsonb_typeof(metadata -> %1$L) = ''object'' then metadata -> %1$L end '
        'as s%2$s, coalesce(metadata ? %1$L, false) as s%2$s_touched',
        key, number
    ), '' order by number) filter (where not is_text), ''),
    coalesce(
        string_agg(quote_literal(key), ', ' order by number) filter (where not is_text), ''
    ),
    coalesce(string_agg(', ' || place, '' order by number), ''),
    coalesce(string_agg(format(', case when %s then drawn end', has), '' order by number), ''),
    coalesce(string_agg(', r.' || place, '' order by number), ''),
    coalesce(
        string_agg(
            format(' and r.%1$s is not distinct from s.%1$s', place), '' order by number
        ),
        ''
    ),
    coalesce(string_agg(format(', h.%s as s%s_replaced', place, number), '' order by number), ''),
    coalesce(string_agg(format(
        ', case when not (%1$s) then null when is_new then s%2$s_replaced else nextval(%3$L) end '
        'as s%2$s_pos',
        has, number, chroma._table(collection, 'log')
    ), '' order by number), ''),
    coalesce(string_agg(format(
        '%1$s = case when %2$s then p.s%3$s_pos else r.%1$s end, ', place, is_changed, number
    ), '' order by number), ''),
    coalesce(string_agg(
        case
            when is_text then format(
                ', s%1$s_changed as (insert into %2$s (pos, seq, is_removed, is_plain) '
                'select drawn, drawn, false, true from input '
                'where document is not null and drawn in (select seq from inserted) '
                'order by drawn)',
                number, notes
            )
            else format(
                ', s%1$s_stored as ('
                'insert into %2$s (pos, seq, p0, p1, p2, p3, p4, given, is_plain) '
                'select drawn, drawn, %4$s from input '
                'where s%1$s is not null and drawn in (select seq from inserted) order by drawn '
                'returning pos, is_plain), '
                's%1$s_changed as (insert into %3$s (pos, is_removed, is_plain) '
                'select pos, false, is_plain from s%1$s_stored)',
                number, vectors, notes, chroma._sparse_values(number)
            )
        end,
        '' order by number
    ), ''),
    coalesce(string_agg(
        case
            when is_text then format(
                ', s%1$s_changed as (insert into %2$s (pos, seq, is_removed, is_plain) '
                'select s%1$s_pos, seq, false, true from positions where s%1$s_pos is not null '
                'union all select p.s%1$s_replaced, null, true, true from positions as p '
                'where p.s%1$s_replaced is not null and %3$s and not p.is_new)',
                number, notes, is_changed
            )
            else format(
                ', s%1$s_stored as ('
                'insert into %2$s (pos, seq, p0, p1, p2, p3, p4, given, is_plain) '
                'select s%1$s_pos, seq, %4$s from positions where s%1$s_pos is not null '
                'order by s%1$s_pos returning pos, is_plain), '
                's%1$s_changed as (insert into %3$s (pos, is_removed, is_plain) '
                'select pos, false, is_plain from s%1$s_stored '
                'union all select p.s%1$s_replaced, true, true from positions as p '
                'where p.s%1$s_replaced is not null and %5$s and not p.is_new)',
                number, vectors, notes, chroma._sparse_values(number), is_changed
            )
        end,
        '' order by number
    ), ''),
    coalesce(string_agg(format(
        ', s%1$s_changed as (insert into %2$s (pos, is_removed, is_plain) '
        'select %3$s, true, true from removed where %3$s is not null)',
        number, notes, place
    ), '' order by number), '')
from named
$$;

-- The metadata of a batch as it is stored.
create or replace function chroma._stored_metadatas(
    collection chroma._collections, metadatas jsonb[], removals boolean
) returns jsonb[]
language plpgsql stable
as $$
declare
    stored jsonb[];
begin
    if metadatas is null then
        return null;
    end if;
    stored := array(
        select chroma._stored_metadata(m.metadata, format('metadatas[%s]', m.n - 1), removals)
        from unnest(metadatas) with ordinality as m (metadata, n)
        order by m.n
    );
    perform chroma._check_sparse(collection, stored);
    return stored;
end
$$;

create or replace function chroma.add(
    collection text,
    ids text[],
    embeddings vector[] default null,
    documents text[] default null,
    metadatas jsonb[] default null,
    uris text[] default null,
    tenant text default 'default_tenant',
    database text default 'default_database'
) returns bigint
language plpgsql
as $$
declare
    target constant chroma._collections := chroma._writable(
        collection, tenant, database, ids, embeddings, documents, metadatas, uris
    );
    sparse constant record := chroma._sparse_clauses(target);
    added bigint;
begin
    execute format(
        'with input as materialized ('
        'select nextval(%1$L) as drawn, n, '
        'id, document, uri, metadata%2$s as metadata, embedding%3$s '
        'from unnest($1, $2, $3, $4, $5) with ordinality '
        'as batch (id, document, uri, metadata, embedding, n)), '
        'inserted as ('
        'insert into %4$s (seq, pos, id, document, uri, metadata, created_at, updated_at%5$s) '
        'select distinct on (id collate "C") '
        'drawn, case when embedding is not null then drawn end, '
        'id, document, uri, metadata, now(), now()%6$s '
        'from input order by id collate "C", n '
        'on conflict (id) do update set updated_at = excluded.updated_at where false '
        'returning seq), '
        'counted as (insert into %7$s (place, change, operations) '
        'select nextval(%1$L), count(*), count(*) from inserted having count(*) > 0)'
        '%8$s%9$s select count(*) from inserted',
        chroma._table(target, 'log'),
        case when sparse.claimed = '' then '' else format(
            ' - array(select key from unnest(array[%s]) as key '
            'where jsonb_typeof(metadata -> key) = ''object'')',
            sparse.claimed
        ) end,
        sparse.selected,
        chroma._table(target, 'records'),
        sparse.columns,
        sparse.drawn,
        chroma._table(target, 'counts'),
        case
            when target.dimension is not null then format(
                ', stored as (insert into %s (pos, seq, embedding) '
                'select drawn, drawn, embedding from input '
                'where embedding is not null and drawn in (select seq from inserted) '
                'order by drawn)',
                chroma._table(target, 'vectors')
            )
            else ''
        end,
        sparse.added
    )
    into added
    using ids, documents, uris, chroma._stored_metadatas(target, metadatas, false), embeddings;
    return added;
end
$$;

comment on function chroma.add is
'Adds records in this transaction; those whose id exists stay as they are. '
'Returns how many are new';

-- Refuses ids that are repeated; which of several changes is meant is not known.
create or replace function chroma._check_unique(ids text[]) returns void
language plpgsql immutable
as $$
declare
    wrong text;
begin
    select string_agg(id, ', ') into wrong
    from (
        select left(id, 80) as id from unnest(ids) as id
        group by 1 having count(*) > 1 order by 1 limit 10
    ) as repeated;
    if wrong is not null then
        perform chroma._refuse('Expected IDs to be unique, found duplicates of: ' || wrong);
    end if;
end
$$;

create or replace function chroma._change(
    target chroma._collections, is_upsert boolean, ids text[], embeddings vector[],
    documents text[], metadatas jsonb[], uris text[]
) returns bigint
language plpgsql
as $$
declare
    sparse constant record := chroma._sparse_clauses(target);
    records constant text := chroma._table(target, 'records');
    vectors constant text := chroma._table(target, 'vectors');
    counts constant text := chroma._table(target, 'counts');
    log constant text := chroma._table(target, 'log');
    stored constant jsonb[] := chroma._stored_metadatas(target, metadatas, true);
    -- A sparse vector with a table is not in the metadata, and removes what was there.
    plain constant text := case when sparse.claimed = '' then 'metadata' else format(
        'metadata || coalesce((select jsonb_object_agg(key, null) from unnest(array[%s]) as key '
        'where jsonb_typeof(metadata -> key) = ''object''), ''{}'')',
        sparse.claimed
    ) end;
    claim text;
    held text;
    change text;
    changed bigint;
    is_held boolean;
begin
    perform chroma._check_unique(ids);
    if is_upsert then
        claim := format(
            'with input as materialized ('
            'select nextval(%1$L) as drawn, id, document, uri, %2$s as metadata, '
            'embedding is not null as is_embedded%3$s '
            'from unnest($1, $2, $3, $4, $5) as batch (id, document, uri, metadata, embedding)), '
            'inserted as ('
            'insert into %4$s (seq, pos, id, document, uri, metadata, created_at, updated_at%5$s) '
            'select drawn, case when is_embedded then drawn end, id, document, uri, '
            'nullif(jsonb_strip_nulls(metadata), ''{}''), now(), now()%6$s '
            'from input order by id collate "C" '
            'on conflict (id) do update set updated_at = excluded.updated_at where false '
            'returning seq), '
            'counted as (insert into %7$s (place, change, operations) '
            'select nextval(%1$L), count(*), count(*) from inserted having count(*) > 0) '
            'select count(*) from inserted',
            log, plain, sparse.selected, records, sparse.columns, sparse.drawn, counts
        );
        -- A row that existed was locked, so its xmax is set. The xmax of an inserted row is zero.
        held := format(
            'held as materialized ('
            'select r.seq, r.pos, r.id, r.xmax = ''0''::xid as is_new%s '
            'from %s as r where r.id = any($1))',
            sparse.held, records
        );
    else
        claim := chroma._claim(target, 'r.id = any($1)');
        held := chroma._held(target, 'r.id = any($1)');
    end if;
    change := format(
        'with input as materialized ('
        'select n, id, document, uri, %1$s as metadata, embedding%2$s '
        'from unnest($1, $2, $3, $4, $5) with ordinality '
        'as batch (id, document, uri, metadata, embedding, n)), '
        '%3$s, '
        'positions as materialized ('
        'select *, case when embedding is null then null when is_new then replaced '
        'else nextval(%4$L) end as pos%5$s '
        'from (select i.*, h.seq, h.pos as replaced, h.is_new%6$s '
        'from input as i join held as h on h.id = i.id order by i.n) as matched), '
        'updated as (update %7$s as r set pos = coalesce(p.pos, r.pos), '
        'document = coalesce(p.document, r.document), uri = coalesce(p.uri, r.uri), '
        'metadata = nullif(jsonb_strip_nulls('
        'coalesce(r.metadata, ''{}'') || coalesce(p.metadata, ''{}'')), ''{}''), '
        '%8$supdated_at = now() from positions as p where r.seq = p.seq and not p.is_new), '
        'counted as (insert into %9$s (place, change, operations) '
        'select nextval(%4$L), 0, count(*) from positions where not is_new having count(*) > 0)'
        '%10$s%11$s%12$s '
        'select (select count(*) from positions), %13$s',
        plain,
        sparse.selected,
        held,
        log,
        sparse.positions,
        sparse.replaced,
        records,
        sparse.changes,
        counts,
        case
            when target.dimension is not null then format(
                ', replaced as (delete from %1$s as v using positions as p '
                'where v.pos = p.replaced and p.pos is not null and not p.is_new), '
                'stored as (insert into %1$s (pos, seq, embedding) '
                'select pos, seq, embedding from positions where pos is not null order by pos)',
                vectors
            )
            else ''
        end,
        case
            when target.dimension is not null and target.shadow is not null then format(
                ', outdated as (delete from %s as s using positions as p '
                'where s.pos = p.replaced and p.pos is not null and not p.is_new)',
                chroma._table(target, 'spare')
            )
            else ''
        end,
        sparse.changed,
        case
            when is_upsert then 'true'
            else '(select count(*) from locked) = (select count(*) from seen)'
        end
    );
    loop
        execute claim using ids, documents, uris, stored, embeddings;
        execute change into changed, is_held using ids, documents, uris, stored, embeddings;
        exit when is_held;
    end loop;
    return changed;
end
$$;

-- The statement that waits for the locks of the records that match a condition.
create or replace function chroma._claim(target chroma._collections, condition text) returns text
language sql immutable
as $$
select format(
    'select count(*) from (select from %s as r where %s order by r.id for update) as locked',
    chroma._table(target, 'records'), condition
)
$$;

-- The clauses that hold the records that match a condition; see
-- pgchroma.store.conditions.row_locks.
create or replace function chroma._held(target chroma._collections, condition text) returns text
language sql immutable
as $$
select format(
    'seen as materialized (select r.seq, r.pos%1$s from %2$s as r where %3$s), '
    'locked as materialized (select r.seq, r.pos, r.id%1$s '
    'from seen as s join %2$s as r on r.seq = s.seq '
    'where %3$s and r.pos is not distinct from s.pos%4$s for update of r skip locked), '
    'held as materialized (select seq, pos, id, false as is_new%5$s from locked '
    'where (select count(*) from locked) = (select count(*) from seen))',
    c.held, chroma._table(target, 'records'), condition, c.same, c.columns
)
from chroma._sparse_clauses(target) as c
$$;

create or replace function chroma.upsert(
    collection text,
    ids text[],
    embeddings vector[] default null,
    documents text[] default null,
    metadatas jsonb[] default null,
    uris text[] default null,
    tenant text default 'default_tenant',
    database text default 'default_database'
) returns bigint
language sql
as $$
select chroma._change(
    chroma._writable(collection, tenant, database, ids, embeddings, documents, metadatas, uris),
    true, ids, embeddings, documents, metadatas, uris
)
$$;

comment on function chroma.upsert is
'Changes the records whose id exists and adds the others, in this transaction. '
'Returns how many there are';

create or replace function chroma.update(
    collection text,
    ids text[],
    embeddings vector[] default null,
    documents text[] default null,
    metadatas jsonb[] default null,
    uris text[] default null,
    tenant text default 'default_tenant',
    database text default 'default_database'
) returns bigint
language sql
as $$
select chroma._change(
    chroma._writable(collection, tenant, database, ids, embeddings, documents, metadatas, uris),
    false, ids, embeddings, documents, metadatas, uris
)
$$;

comment on function chroma.update is
'Changes the records whose id exists, in this transaction. Returns how many there are';

create or replace function chroma.delete(
    collection text,
    ids text[] default null,
    "where" jsonb default null,
    where_document jsonb default null,
    "limit" bigint default null,
    tenant text default 'default_tenant',
    database text default 'default_database'
) returns bigint
language plpgsql
as $$
declare
    target constant chroma._collections := chroma._collection(collection, tenant, database);
    sparse constant record := chroma._sparse_clauses(target);
    records constant text := chroma._table(target, 'records');
    condition text;
    claim text;
    change text;
    deleted bigint;
    is_held boolean;
begin
    if ids is null and "where" is null and where_document is null then
        perform chroma._refuse('delete: give ids, where or where_document');
    end if;
    condition := chroma._condition(target, ids, "where", where_document);
    perform chroma._advance(target);
    if "limit" is not null then
        -- Both parts have the condition, so a row that is changed in between is tested again.
        condition := format(
            '%1$s and r.seq = any(array('
            'select r.seq from %2$s as r where %1$s order by r.seq limit %3$L))',
            condition, records, "limit"
        );
    end if;
    claim := chroma._claim(target, condition);
    change := format(
        'with %1$s, '
        'removed as (delete from %2$s as r using held as h where r.seq = h.seq '
        'returning r.pos%3$s), '
        'counted as (insert into %4$s (place, change, operations) '
        'select nextval(%5$L), - count(*), count(*) from removed having count(*) > 0)'
        '%6$s%7$s%8$s select (select count(*) from removed), '
        '(select count(*) from locked) = (select count(*) from seen)',
        chroma._held(target, condition),
        records,
        sparse.held,
        chroma._table(target, 'counts'),
        chroma._table(target, 'log'),
        case
            when target.dimension is not null then format(
                ', cleared as (delete from %s as v using removed where v.pos = removed.pos)',
                chroma._table(target, 'vectors')
            )
            else ''
        end,
        case
            when target.shadow is not null then format(
                ', outdated as (delete from %s as s using removed where s.pos = removed.pos)',
                chroma._table(target, 'spare')
            )
            else ''
        end,
        sparse.cleared
    );
    loop
        execute claim;
        execute change into deleted, is_held;
        exit when is_held;
    end loop;
    return deleted;
end
$$;

comment on function chroma.delete is
'Deletes the records that match all conditions, in this transaction. Returns how many there were';
