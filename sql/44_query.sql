-- Finding the nearest records: chroma.query. Its statement is that of the API, in
-- pgchroma.store.search, where the reasons of its form are.

-- The row type of chroma.query.
create or replace view chroma._found as
select
    null::text as id,
    null::text as document,
    null::text as uri,
    null::jsonb as metadata,
    null::vector as embedding,
    null::real as distance
where false;

comment on view chroma._found is 'The row type of chroma.query, not for callers';

-- The distance of vectors "v" to a query, as Chroma defines it, in 32 bits. The query is the text
-- of an expression here and below.
create or replace function chroma._distance(space text, query text) returns text
language sql immutable
as $$
select format(
    case space
        when 'l2' then 'vector_l2_squared_distance(v.embedding, %s)::real'
        when 'ip' then '(1 + (v.embedding <#> %s))::real'
        -- The distance to a zero vector is NaN in pgvector, and 1 in Chroma.
        else 'coalesce(nullif(v.embedding <=> %s, ''NaN''), 1)::real'
    end,
    query
)
$$;

-- The order of the index of a segment.
create or replace function chroma._index_order(
    space text, quantization text, dimension integer, query text
) returns text
language sql immutable
as $$
select format(
    case quantization
        when 'bit' then
            '(binary_quantize(v.embedding)::bit(%1$s)) <~> (binary_quantize(%2$s)::bit(%1$s))'
        when 'halfvec' then case space
            when 'l2' then '(v.embedding::halfvec(%1$s)) <-> ((%2$s)::halfvec(%1$s))'
            when 'ip' then '(v.embedding::halfvec(%1$s)) <#> ((%2$s)::halfvec(%1$s))'
            else
                '(l2_normalize(v.embedding)::halfvec(%1$s)) <=> (l2_normalize(%2$s)::halfvec(%1$s))'
        end
        else case space
            when 'l2' then 'v.embedding <-> %2$s'
            when 'ip' then 'v.embedding <#> %2$s'
            else 'v.embedding <=> %2$s'
        end
    end,
    dimension,
    query
)
$$;

-- How the nearest embeddings are found.
--
-- is_searched   Whether the indexes are searched, unless few records match.
-- exact_limit   Up to how many matching records are read exactly.
-- ef_search     How many candidates the search of an index keeps.
create or replace function chroma._plan(
    collection chroma._collections, n_results integer, is_restricted boolean, id_count integer,
    embedding vector,
    out is_searched boolean, out exact_limit integer, out ef_search integer
)
language plpgsql immutable
as $$
declare
    segments constant jsonb := coalesce((collection).segments, '[]');
    entries constant bigint := coalesce(
        (select sum((s ->> 'entries')::bigint) from jsonb_array_elements(segments) as s), 0
    );
    requested constant integer := least(
        greatest(((collection).configuration -> 'hnsw' ->> 'ef_search')::integer, 1), 1000
    );
    -- More than 10,000 are read exactly. Multiples of the greatest number are no integers.
    wanted constant integer := least(n_results, 10001);
begin
    exact_limit := greatest(
        2000, floor(sqrt(10.0 * least(4 * wanted, requested) * entries))
    );
    is_searched := entries > 0
        and wanted <= least(entries / 10, 10000)
        and not (is_restricted and (entries <= exact_limit or wanted > 333))
        and coalesce(id_count > exact_limit, true)
        -- The type of an index of halves refuses larger values.
        and not (
            (collection).space <> 'cosine'
            and segments @> '[{"quantization": "halfvec"}]'
            and (select max(abs(value)) from unnest(embedding::real[]) as value) > 65504
        );
    ef_search := least(
        1000,
        greatest(
            requested,
            (
                select max(chroma._candidates(s ->> 'quantization', wanted, requested))
                from jsonb_array_elements(segments) as s
            ),
            case when is_restricted then wanted * entries / exact_limit end
        )
    );
end
$$;

-- How many candidates an index has to return so that the nearest are among them.
create or replace function chroma._candidates(
    quantization text, n_results integer, ef_search integer
) returns integer
language sql immutable
as $$
select case quantization
    when 'halfvec' then n_results + n_results / 10 + 5
    when 'bit' then greatest(4 * n_results, ef_search)
    else n_results
end
$$;

-- The branches of a search: one for each segment, the embeddings that no segment has, and those
-- that are zero, which an index by cosine distance does not have.
create or replace function chroma._branches(
    collection chroma._collections, query text, n_results integer, ef_search integer,
    condition text
) returns text
language plpgsql immutable
as $$
declare
    vectors constant text := chroma._table(collection, 'vectors');
    distance constant text := chroma._distance((collection).space, query);
    is_cosine constant boolean := (collection).space = 'cosine';
    is_adaptive constant boolean := condition <> 'true';
    choice constant text :=
        case when is_adaptive then '(select is_searched from choice) and ' else '' end;
    joined constant text := case
        when is_adaptive then format(
            'cross join lateral (select from %s as r '
            'where r.seq = v.seq and r.pos = v.pos and %s offset 0) as r',
            chroma._table(collection, 'records'), condition
        )
        else ''
    end;
    listed constant text := 'select v.pos, v.seq, ' || distance || ' as distance';
    segment record;
    bounds text;
    index_order text;
    covered text[] := '{}';
    branches text[] := '{}';
    count integer;
    tail bigint := 1;
begin
    for segment in
        select * from jsonb_to_recordset((collection).segments)
            as s (first bigint, "end" bigint, quantization text)
        order by first
    loop
        bounds := format('v.pos >= %s and v.pos < %s', segment.first, segment."end");
        covered := covered || bounds;
        count := chroma._candidates(segment.quantization, n_results, ef_search);
        index_order := chroma._index_order(
            (collection).space, segment.quantization, (collection).dimension, query
        );
        if is_cosine and segment.quantization = 'bit' then
            bounds := bounds || ' and vector_norm(v.embedding) > 0';
        end if;
        branches := branches || case
            when is_adaptive then format(
                '(with near as (%s from %s as v where %s %s order by %s limit %s), '
                'matches as (select v.* from near as v %s limit %s) '
                'select * from matches '
                -- Stands for the rows after those that the index returned, which may be nearer
                -- than rows of other branches.
                'union all select null, null, max(v.distance) from near as v '
                'where (select count(*) from matches) < %s having count(*) > 0)',
                listed, vectors, choice, bounds,
                index_order,
                3 * ef_search, joined, greatest(count, least(4 * n_results, ef_search)),
                n_results
            )
            else format(
                '(%s from %s as v where %s order by %s limit %s)',
                listed, vectors, bounds,
                index_order,
                count
            )
        end;
        if segment.first > tail then
            branches := branches || format(
                '(%s from %s as v %s where %s v.pos >= %s and v.pos < %s '
                'order by distance, v.seq limit %s)',
                listed, vectors, joined, choice, tail, segment.first, n_results
            );
        end if;
        tail := segment."end";
    end loop;
    branches := branches || format(
        '(%s from %s as v %s where %s v.pos >= %s order by distance, v.seq limit %s)',
        listed, vectors, joined, choice, tail, n_results
    );
    if is_cosine then
        branches := branches || format(
            '(%s from %s as v %s where %s vector_norm(v.embedding) = 0 and (%s) '
            'order by v.seq limit %s)',
            listed, vectors, joined, choice, array_to_string(covered, ' or '), n_results
        );
    end if;
    return array_to_string(branches, ' union all ');
end
$$;

-- A join of some rows with their records. PostgreSQL would rather read all records than look up a
-- hundred, see pgchroma/store/search/record_joins.py.
create or replace function chroma._record_join(
    records text, condition text, n_results bigint
) returns text
language sql immutable
as $$
select case
    when n_results <= 1000 then format(
        'left join lateral (select * from %s as r where %s offset 0) as r on true',
        records, condition
    )
    else format('left join %s as r on %s', records, condition)
end
$$;

-- The statement that finds the nearest records: their "seq" and "distance".
create or replace function chroma._nearest(
    collection chroma._collections, query text, n_results integer, condition text,
    is_searched boolean, exact_limit integer, ef_search integer
) returns text
language plpgsql immutable
as $$
declare
    records constant text := chroma._table(collection, 'records');
    vectors constant text := chroma._table(collection, 'vectors');
    distance constant text := chroma._distance((collection).space, query);
    is_restricted constant boolean := condition <> 'true';
    -- Reads the matching records exactly: all, or, after a search, all if that was not complete.
    exact constant text := format(
        'select v.seq, %s as distance from %s as v '
        'join %s as r on r.seq = v.seq and r.pos = v.pos '
        'where %s%s order by distance, v.seq limit %s',
        distance, vectors, records,
        case
            when is_restricted then format(
                'v.pos = any(array(select r.pos from %s as r where r.pos is not null and %s))',
                records, condition
            )
            else 'true'
        end,
        case when is_searched then ' and not (select is_complete from state)' else '' end,
        n_results
    );
    matching constant text := case
        when is_restricted then format(
            'matching as materialized (select r.pos from %s as r '
            'where r.pos is not null and %s limit %s), '
            'choice as materialized (select count(*) > %s as is_searched, '
            'array_agg(pos) as positions from matching), ',
            records, condition, exact_limit + 1, exact_limit
        )
        else ''
    end;
    -- Reads the matching records exactly if there are few.
    few constant text := format(
        '(select v.pos, v.seq, %s as distance from %s as v '
        'where not (select is_searched from choice) '
        'and v.pos = any((select positions from choice)::bigint[]) '
        'order by distance, v.seq limit %s)',
        distance, vectors, n_results
    );
begin
    if not is_searched then
        return exact;
    end if;
    return format(
        'with %1$ssearched as materialized ('
        'select v.seq, v.distance from (%2$s) as v '
        '%3$s where r.seq is not null or v.pos is null '
        'order by v.distance, v.seq limit %4$s), '
        'state as materialized ('
        'select (select count(seq) from searched) >= %4$s%5$s as is_complete), '
        'exact as materialized (%6$s) '
        'select * from searched where (select is_complete from state) '
        'union all select * from exact',
        matching,
        concat_ws(
            ' union all ',
            case when is_restricted then few end,
            chroma._branches(collection, query, n_results, ef_search, condition)
        ),
        chroma._record_join(records, 'r.seq = v.seq and r.pos = v.pos', n_results),
        n_results,
        case when is_restricted then ' or not (select is_searched from choice)' else '' end,
        exact
    );
end
$$;

create or replace function chroma._check_ids(
    collection chroma._collections, ids text[]
) returns void
language plpgsql stable
as $$
declare
    missing text[];
begin
    execute format(
        'select array(select i.id from unnest($1) with ordinality as i (id, n) '
        'where not exists (select from %s as r where r.id = i.id) order by i.n limit 11)',
        chroma._table(collection, 'records')
    ) into missing using ids;
    if missing <> '{}' then
        perform chroma._refuse(format(
            'Error finding id: the collection has no record %s%s; '
            'pass only ids of existing records',
            (select string_agg(quote_literal(left(id, 80)), ', ') from unnest(missing[:10]) as id),
            case when cardinality(missing) > 10 then ' and others' else '' end
        ));
    end if;
end
$$;

-- The settings that a search of indexes changes, and their values. A search sets them back, because
-- the transaction goes on. It does not use set_config, which the roles of tenants may not execute.
create or replace function chroma._settings() returns jsonb
language sql stable
as $$
select jsonb_object_agg(name, current_setting(name, true))
from unnest(array[
    'hnsw.ef_search', 'hnsw.iterative_scan', 'hnsw.scan_mem_multiplier', 'hnsw.max_scan_tuples',
    'enable_sort', 'jit', 'work_mem'
]) as name
$$;

create or replace function chroma._restore(settings jsonb) returns void
language plpgsql
as $$
declare
    changed record;
begin
    for changed in
        select s.key, s.value #>> '{}' as earlier
        from jsonb_each(settings) as s
        -- Nothing else may be set, such as the role.
        where chroma._settings() ? s.key
            and s.value #>> '{}' is distinct from current_setting(s.key, true)
    loop
        if changed.earlier is null then
            execute format('set local %s to default', changed.key);
        else
            execute format('set local %s = %L', changed.key, changed.earlier);
        end if;
    end loop;
end
$$;

create or replace function chroma._set_search(
    collection chroma._collections, ef_search integer, is_restricted boolean
) returns void
language plpgsql
as $$
begin
    execute format('set local hnsw.ef_search = %s', ef_search);
    set local hnsw.iterative_scan = relaxed_order;
    set local jit = off;
    if is_restricted then
        set local hnsw.scan_mem_multiplier = 4;
        set local hnsw.max_scan_tuples = 1000000;
    end if;
    if is_restricted or (collection).dimension > 2000 then
        set local enable_sort = off;
    end if;
end
$$;

create or replace function chroma.query(
    collection text,
    embedding vector,
    n_results integer default 10,
    "where" jsonb default null,
    where_document jsonb default null,
    ids text[] default null,
    include text[] default chroma._all_columns(),
    tenant text default 'default_tenant',
    database text default 'default_database'
) returns setof chroma._found
language plpgsql
as $$
declare
    found constant chroma._collections := chroma._collection(collection, tenant, database);
    condition constant text := chroma._condition(found, ids, "where", where_document);
    earlier constant jsonb := chroma._settings();
    plan record;
begin
    if embedding is null then
        perform chroma._refuse('embedding: expected a vector, got null');
    elsif n_results is null or n_results < 0 then
        perform chroma._refuse(
            format('n_results: expected a number from 0 on, got %s', n_results)
        );
    end if;
    perform chroma._check_dimension(found, vector_dims(embedding));
    if ids is not null then
        perform chroma._check_ids(found, ids);
    end if;
    if n_results = 0 or (found).dimension is null then
        return;
    end if;
    plan := chroma._plan(found, n_results, condition <> 'true', cardinality(ids), embedding);
    if plan.is_searched then
        perform chroma._set_search(found, plan.ef_search, condition <> 'true');
    end if;
    return query execute format(
        'select %s, c.distance from (%s) as c %s '
        'left join %s as v on v.pos = r.pos order by c.distance, c.seq',
        chroma._columns(found, include),
        chroma._nearest(
            found, '$1', n_results, condition,
            plan.is_searched, plan.exact_limit, plan.ef_search
        ),
        chroma._record_join(chroma._table(found, 'records'), 'r.seq = c.seq', n_results),
        chroma._table(found, 'vectors')
    ) using embedding;
    perform chroma._restore(earlier);
end
$$;

comment on function chroma.query is 'Finds the records nearest to an embedding, nearest first';
