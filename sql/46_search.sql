-- The Search API in SQL: chroma.search. Rank expressions have the values that they have in the
-- API; see pgchroma.store.search. Searches by sparse vectors and by words read all vectors with a
-- term of the query, where the API reads blocks of them.

-- The row type of what chroma.search returns.
create or replace view chroma._scored as
select
    null::text as id,
    null::text as document,
    null::text as uri,
    null::jsonb as metadata,
    null::vector as embedding,
    null::real as score
where false;

comment on view chroma._scored is 'The row type of chroma.search, not for callers';

-- A number rounded to 32 bits. PostgreSQL would raise for one that is too large or too small.
create or replace function chroma._rounded(value double precision) returns double precision
language sql immutable
as $$
select case
    when value is null or value = 'NaN' then value
    when abs(value) >= 3.4028235677973366e38
        then case when value > 0 then 'Infinity'::float8 else '-Infinity' end
    when abs(value) <= 7.006492321624085e-46
        then case when value::text like '-%' then '-0'::float8 else 0 end
    else value::real::float8
end
$$;

-- The result of an operator of a rank expression on two numbers of 32 bits; the second is not used
-- by operators that have one operand.
create or replace function chroma._calculated(
    operator text, a double precision, b double precision
) returns double precision
language plpgsql immutable
as $$
begin
    return chroma._rounded(case operator
        when '$sum' then a + b
        when '$sub' then a - b
        when '$mul' then a * b
        when '$div' then case
            when b <> 0 then a / b
            when a = 0 or a = 'NaN' then 'NaN'::float8
            when (a > 0) = (b::text <> '-0') then 'Infinity'
            else '-Infinity'
        end
        -- PostgreSQL's greatest and least ignore a null, and do not ignore a NaN.
        when '$max' then case
            when a is null or b is null then null
            when a = 'NaN' then b
            when b = 'NaN' or a >= b then a
            else b
        end
        when '$min' then case
            when a is null or b is null then null
            when a = 'NaN' then b
            when b = 'NaN' or a <= b then a
            else b
        end
        when '$abs' then abs(a)
        when '$exp' then case
            when a = 'NaN' then 'NaN'::float8
            when a > 89 then 'Infinity'
            when a < -104 then 0
            else exp(a)
        end
        when '$log' then case
            when a = 'NaN' or a < 0 then 'NaN'::float8
            when a = 0 then '-Infinity'
            else ln(a)
        end
    end);
end
$$;

create or replace function chroma._refuse_search(path text, reason text) returns void
language plpgsql immutable
as $$
begin
    perform chroma._refuse(format('%s: %s', right(path, 300), reason));
end
$$;

create or replace function chroma._field(value jsonb, name text, path text) returns jsonb
language plpgsql immutable
as $$
begin
    if jsonb_typeof(value) <> 'object' or not value ? name then
        perform chroma._refuse_search(path, format('missing field `%s`', name));
    end if;
    return value -> name;
end
$$;

-- A number of records, or the default.
create or replace function chroma._count_of(value jsonb, otherwise bigint, path text) returns bigint
language plpgsql immutable
as $$
begin
    if value is null or value = 'null' then
        return otherwise;
    elsif chroma._kind(value) is distinct from 'int'
        or not value::numeric between 0 and 4294967295
    then
        perform chroma._refuse_search(
            path, format('invalid value: %s, expected u32', chroma._shown(value))
        );
    end if;
    return value::bigint;
end
$$;

create or replace function chroma._float32(value jsonb, path text) returns double precision
language plpgsql immutable
as $$
begin
    if jsonb_typeof(value) is distinct from 'number' then
        perform chroma._refuse_search(
            path, format('invalid type: %s, expected f32', coalesce(chroma._shown(value), 'null'))
        );
    elsif abs(value::numeric) >= 3.4028235677973366e38 then
        return case when value::numeric > 0 then 'Infinity'::float8 else '-Infinity' end;
    end if;
    return chroma._rounded(value::text::float8);
end
$$;

-- A part of a rank expression.
--
-- leaves        The searches by vectors and by words that come before; each adds an element.
-- expression    Its value, which refers to the searches as k0, k1 and so on.
-- support       The condition under which a record has the value; null if none has.
-- has_default   Whether all other records have a value, too.
-- nodes         How many parts come before; each adds one.
create or replace function chroma._ranking(
    node jsonb, path text, depth integer,
    inout leaves jsonb, inout nodes integer,
    out expression text, out support text, out has_default boolean
)
language plpgsql immutable
as $$
declare
    operator text;
    operand jsonb;
    operands jsonb[];
    part record;
    place integer := 0;
    name text;
    start double precision;
begin
    nodes := nodes + 1;
    if depth > 64 then
        perform chroma._refuse_search(path, 'the rank expression nests deeper than 64 levels');
    elsif nodes > 1000 then
        perform chroma._refuse_search(
            path, 'the rank expression has more than 1000 operators and operands'
        );
    elsif jsonb_typeof(node) <> 'object' or (select count(*) from jsonb_object_keys(node)) <> 1 then
        perform chroma._refuse_search(
            path, 'expected an object with exactly one operator, got ' || chroma._shown(node)
        );
    end if;
    select e.key, e.value into operator, operand from jsonb_each(node) as e;
    path := path || '.' || operator;
    if operator = '$val' then
        expression := format('%L::float8', chroma._float32(operand, path));
        has_default := true;
        return;
    elsif operator in ('$knn', '$text') then
        name := 'k' || jsonb_array_length(leaves);
        leaves := leaves || jsonb_build_array(operand || jsonb_build_object(
            'operator', operator, 'path', path,
            'query', chroma._field(operand, 'query', path),
            'limit', chroma._count_of(operand -> 'limit', 16, path || '.limit')
        ));
        expression := format(
            '%s.%s::float8', name,
            case when operand -> 'return_rank' = 'true' then 'place' else 'value' end
        );
        has_default := coalesce(jsonb_typeof(operand -> 'default') = 'number', false);
        if has_default then
            expression := format(
                'coalesce(%s, %L::float8)', expression,
                chroma._float32(operand -> 'default', path || '.default')
            );
        end if;
        support := name || '.seq is not null';
        return;
    elsif operator in ('$abs', '$exp', '$log') then
        part := chroma._ranking(operand, path, depth + 1, leaves, nodes);
        leaves := part.leaves;
        nodes := part.nodes;
        expression := format('chroma._calculated(%L, %s, null)', operator, part.expression);
        support := part.support;
        has_default := part.has_default;
        return;
    elsif operator in ('$sub', '$div') then
        operands := array[
            chroma._field(operand, 'left', path), chroma._field(operand, 'right', path)
        ];
    elsif operator in ('$sum', '$mul', '$max', '$min') then
        if jsonb_typeof(operand) <> 'array' then
            perform chroma._refuse_search(
                path, format('invalid type: %s, expected a sequence', chroma._shown(operand))
            );
        end if;
        operands := array(select jsonb_array_elements(operand));
        -- Operands are combined with this from left to right.
        start := case operator
            when '$sum' then 0 when '$mul' then 1
            when '$max' then -3.4028234663852886e38 else 3.4028234663852886e38
        end;
        expression := format('%L::float8', start);
        has_default := true;
    else
        perform chroma._refuse_search(path, format(
            'unknown variant `%s`, expected one of `$abs`, `$div`, `$exp`, `$knn`, `$log`, `$max`, '
            '`$min`, `$mul`, `$sub`, `$sum`, `$text`, `$val`', left(operator, 80)
        ));
    end if;
    foreach operand in array operands loop
        part := chroma._ranking(
            operand,
            path || case
                when operator not in ('$sub', '$div') then format('[%s]', place)
                when place = 0 then '.left' else '.right'
            end,
            depth + 1, leaves, nodes
        );
        leaves := part.leaves;
        nodes := part.nodes;
        support := case
            when expression is null then part.support
            when has_default and part.has_default then
                coalesce('(' || support || ' or ' || part.support || ')', support, part.support)
            when has_default then part.support
            when part.has_default then support
            else '(' || support || ' and ' || part.support || ')'
        end;
        has_default := coalesce(has_default, true) and part.has_default;
        expression := case
            when expression is null then part.expression
            else format('chroma._calculated(%L, %s, %s)', operator, expression, part.expression)
        end;
        place := place + 1;
    end loop;
end
$$;

-- The relation of one search of a rank expression: "seq", "value" and "place".
create or replace function chroma._leaf(
    collection chroma._collections, leaf jsonb, condition text
) returns text
language plpgsql stable
as $$
declare
    query constant jsonb := leaf -> 'query';
    path constant text := leaf ->> 'path';
    size constant integer := least((leaf ->> 'limit')::bigint, 2147483647);
    embedding vector;
    plan record;
    found text := 'select null::bigint as seq, null::real as value where false';
begin
    if leaf ->> 'operator' = '$text' then
        if jsonb_typeof(query) <> 'string' then
            perform chroma._refuse_search(path || '.query', 'expected a string');
        end if;
        found := chroma._words_leaf(collection, query #>> '{}', condition, size);
    elsif jsonb_typeof(query) = 'object' then
        found := chroma._sparse_leaf(
            collection, coalesce(leaf ->> 'key', '#embedding'),
            chroma._stored_sparse(query, 'Validation error: ' || split_part(path, '.$', 1)
                || ': Invalid sparse vector in KNN query'),
            condition, size
        );
    elsif query = '[]' then
        perform chroma._check_dimension(collection, 0);
    elsif jsonb_typeof(query) = 'array' then
        begin
            embedding := query::text::vector;
        exception
            when data_exception or invalid_text_representation or program_limit_exceeded then
                perform chroma._refuse_search(
                    path || '.query', 'data did not match any variant of untagged enum QueryVector'
                );
        end;
        perform chroma._check_dimension(collection, vector_dims(embedding));
        if (collection).dimension is not null then
            plan := chroma._plan(collection, size, condition <> 'true', null, embedding);
            found := format(
                'select n.seq, n.distance as value from (%s) as n',
                chroma._nearest(
                    collection, format('%L::vector', embedding), size, condition,
                    plan.is_searched, plan.exact_limit, plan.ef_search
                )
            );
        end if;
    else
        perform chroma._refuse_search(
            path || '.query', 'data did not match any variant of untagged enum QueryVector'
        );
    end if;
    return format(
        'select f.seq, f.value, (row_number() over (order by f.value, f.seq) - 1)::real as place '
        'from (%s) as f',
        found
    );
end
$$;

-- A search by a sparse vector. A record that shares no term with the query has no value.
create or replace function chroma._sparse_leaf(
    collection chroma._collections, key text, vector jsonb, condition text, size integer
) returns text
language plpgsql stable
as $$
declare
    index constant jsonb := (collection).configuration -> 'indexed' -> 'sparse' -> key;
    number constant integer := (index ->> 'number')::integer;
    parts integer[];
begin
    if number is null then
        perform chroma._refuse(format(
            'Cannot filter using metadata key ''%s'' with type ''SparseVector'' '
            'because indexing is disabled',
            key
        ));
    end if;
    parts := array(
        select distinct (term::bigint / 1000000000)::integer
        from jsonb_array_elements(vector -> 'indices') as term order by 1
    );
    if parts = '{}' then
        return 'select null::bigint as seq, null::real as value where false';
    end if;
    return chroma._weighted_leaf(
        collection,
        parts,
        format(
            'select g.term, g.weight::float8 as weight '
            'from unnest(%L::bigint[], %L::real[]) as g (term, weight)',
            array(select jsonb_array_elements_text(vector -> 'indices')),
            array(select jsonb_array_elements_text(vector -> 'values'))
        ),
        format(
            'select e.seq, %1$s, e.is_plain from %2$s as e '
            'join %3$s as r on r.seq = e.seq and r.%4$I = e.pos',
            (select string_agg('e.p' || part, ', ') from unnest(parts) as part),
            chroma._sparse_table(collection, number),
            chroma._table(collection, 'records'),
            'sparse_' || number
        ),
        coalesce((index ->> 'has_bm25')::boolean, false),
        condition,
        size
    );
end
$$;

-- A search by words, which is one by the sparse vectors of documents.
create or replace function chroma._words_leaf(
    collection chroma._collections, words text, condition text, size integer
) returns text
language plpgsql stable
as $$
declare
    index constant jsonb := chroma._text_index((collection).configuration -> 'indexed');
    lexemes constant text[] := tsvector_to_array(
        to_tsvector((index ->> 'language')::regconfig, words)
    );
    term constant text :=
        'mod(hashtextextended(u.lexeme collate "C", 0) & 9223372036854775807, 1000000000)';
begin
    if lexemes = '{}' then
        return 'select null::bigint as seq, null::real as value where false';
    end if;
    return chroma._weighted_leaf(
        collection,
        array[0],
        format(
            'select distinct %s as term, 1::float8 as weight from unnest(%L::text[]) as u (lexeme)',
            term, lexemes
        ),
        format(
            'select r.seq, d.p0, true as is_plain from %1$s as r cross join lateral ('
            'select (''{'' || string_agg(t.term + 1 || '':'' || '
            '(t.times * (1.2 + 1::float8) / (t.times + 1.2::float8 * '
            '(1 - 0.75::float8 + 0.75::float8 * t.length / %2$s)))::real, '','' '
            'order by t.term) || ''}/1000000000'')::sparsevec as p0 from ('
            'select u.term, sum(u.times)::float8 as times, u.length::float8 as length from ('
            'select u.lexeme, %3$s as term, cardinality(u.positions) as times, '
            'sum(cardinality(u.positions)) over () as length from unnest(r.lexemes) as u) as u '
            'where u.lexeme = any(%4$L::text[]) group by u.term, u.length) as t offset 0) as d '
            'where r.lexemes @@ %5$L::tsquery',
            chroma._table(collection, 'records'),
            index ->> 'average_length',
            term,
            lexemes,
            (
                select string_agg(
                    '''' || replace(replace(l, '\', '\\'), '''', '''''') || '''', ' | '
                )
                from unnest(lexemes) as l
            )
        ),
        true,
        condition,
        size
    );
end
$$;

-- The nearest by the inner product of sparse vectors with the weights of terms.
--
-- parts     The parts of vectors that the terms are in.
-- terms     The statement of the terms and their weights.
-- vectors   The statement of the vectors of records: "seq", the parts, and "is_plain".
create or replace function chroma._weighted_leaf(
    collection chroma._collections, parts integer[], terms text, vectors text,
    has_bm25 boolean, condition text, size integer
) returns text
language plpgsql immutable
as $$
declare
    product constant text := (
        select string_agg(format('coalesce(e.p%1$s <#> w.p%1$s, 0)', part), ' + ' order by part)
        from unnest(parts) as part
    );
    part_of_term constant text := (
        select format('case q.part %s end', string_agg(format('when %1$s then e.p%1$s', part), ' '))
        from unnest(parts) as part
    );
    built constant text := (
        select string_agg(
            format(
                '(''{'' || (string_agg((q.term - %2$s) || '':'' || %%1$s, '','' order by q.term) '
                'filter (where q.part = %1$s)) || ''}/1000000000'')::sparsevec as p%1$s',
                part, part * 1000000000::bigint - 1
            ),
            ', ' order by part
        )
        from unnest(parts) as part
    );
begin
    return format(
        'with query as materialized ('
        'select g.term, g.weight, (g.term / 1000000000)::integer as part, '
        '(''{'' || mod(g.term, 1000000000) + 1 || '':1}/1000000000'')::sparsevec as only '
        'from (%1$s) as g), '
        'ones as materialized (select %2$s from query as q), '
        'shared as materialized ('
        'select e.* from ones as w cross join (%3$s) as e where (%4$s) <> 0 '
        'or not e.is_plain and exists (select from query as q where %5$s <#> q.only <> 0)), '
        'weighed as materialized ('
        'select q.term, q.part, case when abs(x.weight) <= 7.006492321624085e-46 then 0 '
        'else least(greatest(x.weight, -3.4028234663852886e38), 3.4028234663852886e38)::real '
        'end as weight '
        'from query as q cross join lateral (select %6$s as weight offset 0) as x), '
        'weights as materialized (select %7$s from weighed as q) '
        'select e.seq, chroma._rounded(1 + (%4$s))::real as value '
        'from shared as e cross join weights as w '
        '%8$s order by value, e.seq limit %9$s',
        terms,
        format(built, '1'),
        vectors,
        product,
        part_of_term,
        case
            when has_bm25 then format(
                'q.weight * ln(1 + (select (t.records - c.having_term + 0.5) '
                '/ (c.having_term + 0.5) '
                'from (select %s::float8 as records) as t '
                'cross join lateral (select least((select count(*) from shared as e '
                'where %s <#> q.only <> 0), t.records)::float8 as having_term) as c))',
                chroma._record_count(collection), part_of_term
            )
            else 'q.weight'
        end,
        format(built, 'q.weight'),
        case
            when condition <> 'true' then format(
                'cross join lateral (select from %s as r where r.seq = e.seq and %s offset 0) as r',
                chroma._table(collection, 'records'), condition
            )
            else ''
        end,
        size
    );
end
$$;

-- The kind of a metadata value in Chroma's order: none, bool, int, float, text, sparse vector, and
-- lists of each.
create or replace function chroma._sort_kind(value jsonb) returns integer
language sql immutable
as $$
select case jsonb_typeof(value)
    when 'boolean' then 1
    when 'number' then 2 + least(strpos(value::text, '.'), 1)
    when 'string' then 4
    when 'object' then 5
    when 'array' then 5 + case jsonb_typeof(value -> 0)
        when 'boolean' then 1
        when 'number' then 2 + least(strpos((value -> 0)::text, '.'), 1)
        when 'string' then 4
        else 0
    end
    else 0
end
$$;

-- The expression of a metadata value of records "r" that is grouped or sorted by. The labels of a
-- sparse vector do not matter.
create or replace function chroma._grouped_value(
    collection chroma._collections, key text
) returns text
language sql stable
as $$
select format(
    'case jsonb_typeof(r.metadata -> %1$L) when ''object'' then (r.metadata -> %1$L) - ''tokens'' '
    'else r.metadata -> %1$L end', key
)
where not exists (select from chroma._sparse_keys(collection) as s where s.key = _grouped_value.key)
union all
select format(
    'coalesce(r.metadata -> %1$L, (select coalesce(e.given - ''tokens'', '
    'chroma._sparse_vector(e.p0, e.p1, e.p2, e.p3, e.p4)) from %2$s as e where e.pos = r.%3$I))',
    key, chroma._sparse_table(collection, s.number), 'sparse_' || s.number
)
from chroma._sparse_keys(collection) as s
where s.key = _grouped_value.key
$$;

-- The order of records by a metadata value: its kind, then its value among its kind.
create or replace function chroma._value_order(name text, direction text) returns text
language sql immutable
as $$
select string_agg(format(part, name) || direction, ', ' order by n)
from unnest(array[
    '%1$s.kind',
    'case when %1$s.kind in (2, 3) then (%1$s.value #>> ''{}'')::numeric end',
    'case when %1$s.kind in (1, 4) then %1$s.value #>> ''{}'' end collate "C"',
    'case when %1$s.kind = 5 then array('
    'select x::numeric from jsonb_array_elements_text(%1$s.value -> ''indices'') as x) end',
    'case when %1$s.kind = 5 then array('
    'select x::numeric from jsonb_array_elements_text(%1$s.value -> ''values'') as x) end',
    'case when %1$s.kind in (7, 8) then array('
    'select x::numeric from jsonb_array_elements_text(%1$s.value) as x) end',
    'case when %1$s.kind in (6, 9) then array('
    'select x from jsonb_array_elements_text(%1$s.value) as x) end collate "C"'
]) with ordinality as p (part, n)
$$;

-- The order of records by their scores. Zeros are sorted by their sign, as in Chroma; NaN is last.
create or replace function chroma._score_order() returns text
language sql immutable
as $$
select 's.score, case when s.score = 0 then s.score::text <> ''-0'' end, s.seq'
$$;

-- The relation of the scored records that are kept: all, or some of each group.
create or replace function chroma._kept(
    collection chroma._collections, group_by jsonb, path text
) returns text
language plpgsql stable
as $$
declare
    special constant text[] := array['#document', '#embedding', '#metadata'];
    keys constant text[] :=
        array(select jsonb_array_elements_text(coalesce(group_by -> 'keys', '[]')));
    aggregate constant jsonb := group_by -> 'aggregate';
    operator text;
    settings jsonb;
    ordered text[];
    named text[];
    size bigint;
    direction text;
begin
    if (keys <> '{}') <> (aggregate is not null) then
        perform chroma._refuse_search(
            path, 'group_by keys and aggregate must both be specified or both be omitted'
        );
    elsif keys = '{}' then
        return 'scored';
    elsif keys && (special || '#score'::text) then
        perform chroma._refuse_search(path, 'group_by keys must be metadata fields');
    end if;
    select e.key, e.value into operator, settings
    from chroma._only_entry('where', aggregate, path, 'an aggregate') as e;
    if operator not in ('$min_k', '$max_k') then
        perform chroma._refuse_search(path, 'expected the aggregate `$min_k` or `$max_k`');
    end if;
    ordered := array(select jsonb_array_elements_text(chroma._field(settings, 'keys', path)));
    size := chroma._count_of(chroma._field(settings, 'k', path), 0, path || '.k');
    if ordered = '{}' then
        perform chroma._refuse_search(path, 'aggregate keys must not be empty');
    elsif size = 0 then
        perform chroma._refuse_search(path, 'aggregate k must be greater than 0');
    elsif ordered && special then
        perform chroma._refuse_search(path, 'aggregate keys must be metadata fields or #score');
    end if;
    direction := case operator when '$max_k' then ' desc nulls last' else ' asc nulls first' end;
    named := array(select distinct key from unnest(keys || ordered) as key where key <> '#score');
    return format(
        '(select s.seq, s.score from (select s.seq, s.score, '
        'row_number() over (partition by %s order by %s, %s) as n '
        'from scored as s join %s as r on r.seq = s.seq %s) as s '
        'where s.n <= %s)',
        (
            -- jsonb holds 1 and 1.0 to be equal, and the kind tells them apart.
            select string_agg(format('g%1$s.kind, g%1$s.value', array_position(named, key)), ', ')
            from unnest(keys) as key
        ),
        (
            select string_agg(
                case key
                    when '#score' then 's.score' || direction
                    else chroma._value_order('g' || array_position(named, key), direction)
                end,
                ', ' order by n
            )
            from unnest(ordered) with ordinality as o (key, n)
        ),
        chroma._score_order(),
        chroma._table(collection, 'records'),
        (
            select string_agg(format(
                'cross join lateral (select %1$s as value offset 0) as v%2$s '
                'cross join lateral ('
                'select v%2$s.value, chroma._sort_kind(v%2$s.value) as kind offset 0) as g%2$s',
                chroma._grouped_value(collection, key), n
            ), ' ')
            from unnest(named) with ordinality as k (key, n)
        ),
        size
    );
end
$$;

-- The expressions of the fields that a search selects, over records "r" and vectors "v".
create or replace function chroma._selected(
    collection chroma._collections, fields text[]
) returns text
language sql stable
as $$
select format(
    'f.id, f.document, f.uri, %s, f.embedding',
    case
        when fields is null or '#metadata' = any(fields) then 'f.metadata'
        else format(
            'nullif((select jsonb_object_agg(key, value) from jsonb_each(f.metadata) '
            'where key = any(%L::text[])), ''{}'')', fields
        )
    end
)
$$;

create or replace function chroma.search(
    collection text,
    search jsonb,
    tenant text default 'default_tenant',
    database text default 'default_database'
) returns setof chroma._scored
language plpgsql
as $$
declare
    found constant chroma._collections := chroma._collection(collection, tenant, database);
    filter constant jsonb := nullif(coalesce(search -> 'filter', search -> 'where'), 'null');
    condition constant text := chroma._condition(found, null, nullif(filter, '{}'), null);
    rank constant jsonb := nullif(search -> 'rank', 'null');
    page constant jsonb := coalesce(nullif(search -> 'limit', 'null'), '{}');
    "limit" constant bigint := chroma._count_of(page -> 'limit', null, 'limit.limit');
    "offset" constant bigint := chroma._count_of(page -> 'offset', 0, 'limit.offset');
    fields constant text[] := case
        when search -> 'select' -> 'keys' is not null
            then array(select jsonb_array_elements_text(search -> 'select' -> 'keys'))
    end;
    include constant text[] := case
        when fields is null then chroma._all_columns()
        else array_remove(array[
            case when '#document' = any(fields) then 'documents' end,
            case when '#embedding' = any(fields) then 'embeddings' end,
            case when exists (
                select from unnest(fields) as f where f not in ('#document', '#embedding', '#score')
            ) then 'metadatas' end
        ], null)
    end;
    is_scored constant boolean := fields is null or '#score' = any(fields);
    earlier constant jsonb := chroma._settings();
    records constant text := chroma._table(found, 'records');
    ranking record;
    leaves text[];
    scored text;
begin
    if jsonb_typeof(search) is distinct from 'object' then
        perform chroma._refuse('search: expected an object');
    elsif rank is null then
        if search -> 'group_by' -> 'keys' <> '[]' then
            perform chroma._refuse('group_by requires rank expression to be specified');
        end if;
        scored := format(
            'select p.seq, (row_number() over (order by p.seq) - 1)::real as score from ('
            'select r.seq from %s as r where %s order by r.seq limit %L offset %L) as p',
            records, condition, "limit", "offset"
        );
    else
        ranking := chroma._ranking(rank, 'rank', 0, '[]', 0);
        if ranking.leaves = '[]' then
            return;
        end if;
        leaves := array(
            select chroma._leaf(found, l.leaf, condition)
            from jsonb_array_elements(ranking.leaves) with ordinality as l (leaf, n) order by n
        );
        scored := format(
            'with %1$s, '
            'scored as (select n.seq, (%2$s)::real as score from (%3$s) as n %4$s where %5$s) '
            'select s.seq, s.score from %6$s as s order by %7$s limit %8$L offset %9$L',
            (
                select string_agg(
                    format('leaf%s as materialized (%s)', n - 1, leaf), ', ' order by n
                )
                from unnest(leaves) with ordinality as l (leaf, n)
            ),
            ranking.expression,
            (
                select string_agg(format('select seq from leaf%s', n - 1), ' union ' order by n)
                from unnest(leaves) with ordinality as l (leaf, n)
            ),
            (
                select string_agg(
                    format('left join leaf%1$s as k%1$s on k%1$s.seq = n.seq', n - 1),
                    ' ' order by n
                )
                from unnest(leaves) with ordinality as l (leaf, n)
            ),
            coalesce(ranking.support, 'false'),
            chroma._kept(found, coalesce(nullif(search -> 'group_by', 'null'), '{}'), 'group_by'),
            chroma._score_order(),
            "limit",
            "offset"
        );
        perform chroma._set_search(
            found,
            (
                select max((chroma._plan(
                    found, least((l ->> 'limit')::bigint, 10000)::integer,
                    condition <> 'true', null, null
                )).ef_search)
                from jsonb_array_elements(ranking.leaves) as l
            ),
            condition <> 'true'
        );
        set local work_mem = '64MB';
    end if;
    return query execute format(
        'select %s, %s from ('
        'select s.seq, s.score, row_number() over (order by %s) as n from (%s) as s) as s '
        '%s %s '
        'cross join lateral (select %s) as f (id, document, uri, metadata, embedding) order by s.n',
        chroma._selected(found, fields),
        case when is_scored then 's.score' else 'null::real' end,
        chroma._score_order(),
        scored,
        chroma._record_join(records, 'r.seq = s.seq', "limit"),
        case
            when found.dimension is not null
                then format('left join %s as v on v.pos = r.pos', chroma._table(found, 'vectors'))
            else ''
        end,
        chroma._columns(found, include)
    );
    perform chroma._restore(earlier);
end
$$;

comment on function chroma.search is
'Executes a search of the Search API: its filter, rank expression, groups, page and fields';
