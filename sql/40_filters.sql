-- Filters in SQL: the same grammar, the same matches and the same errors as in the API. A filter is
-- compiled to a condition on records "r", which has every key and every value as a literal.
--
-- Functions whose names begin with an underscore are not for callers, and may change.

create or replace function chroma._refuse(message text) returns void
language plpgsql immutable
as $$
begin
    raise exception using message = message, errcode = 'invalid_parameter_value';
end
$$;

create or replace function chroma._refuse_filter(kind text, path text, reason text) returns void
language plpgsql immutable
as $$
begin
    perform chroma._refuse(
        case kind
            when 'where' then 'Invalid where clause: ' else 'Invalid where document clause: '
        end
        || right(path, 300) || ': ' || reason
    );
end
$$;

create or replace function chroma._shown(value jsonb) returns text
language sql immutable
as $$
select case when length(value::text) > 80 then left(value::text, 79) || '…' else value::text end
$$;

-- The one entry of an object.
create or replace function chroma._only_entry(
    kind text, node jsonb, path text, expected text, out key text, out value jsonb
)
language plpgsql immutable
as $$
begin
    if node is null or jsonb_typeof(node) <> 'object' then
        perform chroma._refuse_filter(
            kind, path, 'expected an object, got ' || coalesce(chroma._shown(node), 'null')
        );
    end if;
    if (select count(*) from jsonb_object_keys(node)) <> 1 then
        perform chroma._refuse_filter(
            kind, path,
            format('expected exactly one entry, %s; got %s', expected, chroma._shown(node))
        );
    end if;
    select e.key, e.value into key, value from jsonb_each(node) as e;
end
$$;

-- The kind of a filter's operand, as a schema names it.
create or replace function chroma._kind(value jsonb) returns text
language sql immutable
as $$
select case jsonb_typeof(value)
    when 'string' then 'string'
    when 'boolean' then 'bool'
    when 'number' then case when strpos(value::text, '.') > 0 then 'float' else 'int' end
end
$$;

-- The operator and the operand that a key is compared with, once they are found to be valid.
create or replace function chroma._comparison(
    key text, value jsonb, inout path text, out operator text, out operand jsonb
)
language plpgsql immutable
as $$
declare
    item jsonb;
    n integer := 0;
    kinds text[];
begin
    if key like '$%' then
        perform chroma._refuse_filter(
            'where', path, 'expected a key, $and or $or; this operator belongs to a key'
        );
    end if;
    operator := '$eq';
    operand := value;
    if jsonb_typeof(value) = 'object' then
        select e.key, e.value into operator, operand
        from chroma._only_entry('where', value, path, 'an operator') as e;
        path := path || '.' || operator;
    end if;
    if key = '#document' then
        if operator in ('$eq', '$ne', '$in', '$nin') then
            perform chroma._refuse(
                'Cannot filter using metadata key ''#document'' with type ''Str'' '
                'because indexing is disabled'
            );
        elsif operator = any(chroma._text_operators()) then
            return;
        end if;
    end if;
    if operator in ('$eq', '$ne', '$contains', '$not_contains') then
        if chroma._kind(operand) is null then
            perform chroma._refuse_filter(
                'where', path,
                'expected a str, a bool or a number, got ' || chroma._shown(operand)
            );
        end if;
    elsif operator in ('$gt', '$gte', '$lt', '$lte') then
        if jsonb_typeof(operand) <> 'number' then
            perform chroma._refuse_filter(
                'where', path, 'expected a number, got ' || chroma._shown(operand)
            );
        end if;
    elsif operator in ('$in', '$nin') then
        if jsonb_typeof(operand) <> 'array' or jsonb_array_length(operand) = 0 then
            perform chroma._refuse_filter(
                'where', path,
                'expected a list with at least one value, got ' || chroma._shown(operand)
            );
        end if;
        -- A list of floats may have ints, too.
        kinds := case chroma._kind(operand -> 0)
            when 'float' then array['float', 'int'] else array[chroma._kind(operand -> 0)]
        end;
        for item in select jsonb_array_elements(operand) loop
            if (chroma._kind(item) = any(kinds)) is not true then
                perform chroma._refuse_filter(
                    'where', format('%s[%s]', path, n),
                    format(
                        'expected %s, got %s',
                        coalesce(chroma._kind(operand -> 0), 'a str, a bool or a number'),
                        chroma._shown(item)
                    )
                );
            end if;
            n := n + 1;
        end loop;
    else
        perform chroma._refuse_filter(
            'where', path,
            'unknown operator; expected one of $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, '
            '$contains, $not_contains'
        );
    end if;
end
$$;

create or replace function chroma._text_operators() returns text[]
language sql immutable
as $$
select array['$contains', '$not_contains', '$regex', '$not_regex', '$matches', '$not_matches']
$$;

-- Refuses a filter that is too large before its parts are read.
create or replace function chroma._check_size(node jsonb, kind text) returns void
language plpgsql immutable
as $$
begin
    if (
        select count(*)
        from jsonb_path_query(
            node,
            'strict $.** ? (@.type() == "object").keyvalue() ? (@.key == "$and" || @.key == "$or")'
            '.value ? (@.type() == "array")[*]'
        )
    ) > 1000 then
        perform chroma._refuse_filter(
            kind, kind,
            'the filter has more than 1000 conditions; use $in for alternatives of one key'
        );
    end if;
end
$$;

-- Compiles a filter.
--
-- kind     "where" or "where_document".
-- facts    What is known of the collection: "indexed", the entry of its configuration, and
--          "secondary", the indexes that are ready, each as its kind, a colon and its key.
create or replace function chroma._compile(
    node jsonb, path text, kind text, facts jsonb, depth integer default 0
) returns text
language plpgsql immutable
as $$
declare
    key text;
    value jsonb;
    operator text;
begin
    if depth > 100 then
        perform chroma._refuse_filter(kind, path, 'filters nest deeper than 100 levels');
    end if;
    select e.key, e.value into key, value
    from chroma._only_entry(kind, node, path, 'a key or an operator') as e;
    path := path || '.' || key;
    if key in ('$and', '$or') then
        if jsonb_typeof(value) <> 'array' then
            perform chroma._refuse_filter(
                kind, path, 'expected a list of filters, got ' || chroma._shown(value)
            );
        end if;
        return coalesce(
            (
                select '(' || string_agg(
                    chroma._compile(
                        c.clause, format('%s[%s]', path, c.n - 1), kind, facts, depth + 1
                    ),
                    case key when '$and' then ' and ' else ' or ' end
                    order by c.n
                ) || ')'
                from jsonb_array_elements(value) with ordinality as c (clause, n)
            ),
            case key when '$and' then 'true' else 'false' end
        );
    elsif kind = 'where_document' then
        return chroma._compile_text(key, value, kind, path, facts);
    end if;
    select c.operator, c.operand, c.path into operator, value, path
    from chroma._comparison(key, value, path) as c;
    if key = '#document' and operator = any(chroma._text_operators()) then
        return chroma._compile_text(operator, value, kind, path, facts);
    elsif key not like '#%' then
        perform chroma._check_key(key, value, facts);
    end if;
    if operator in ('$ne', '$nin', '$not_contains') then
        operator := case operator
            when '$ne' then '$eq' when '$nin' then '$in' else '$contains'
        end;
        return format('(%s) is not true', chroma._compile_key(key, operator, value, facts));
    end if;
    return chroma._compile_key(key, operator, value, facts);
end
$$;

-- The values that a key is compared with: those of a list, or the one that is not in a list.
create or replace function chroma._operands(operand jsonb) returns jsonb
language sql immutable
as $$
select case jsonb_typeof(operand) when 'array' then operand else jsonb_build_array(operand) end
$$;

-- PostgreSQL's operator for an operator that compares one value.
create or replace function chroma._symbol(operator text) returns text
language sql immutable
as $$
select case operator
    when '$gt' then '>' when '$gte' then '>=' when '$lt' then '<' when '$lte' then '<=' else '='
end
$$;

-- Refuses a key for which the schema disables the index.
create or replace function chroma._check_key(key text, operand jsonb, facts jsonb) returns void
language plpgsql immutable
as $$
declare
    kind constant text := chroma._kind(chroma._operands(operand) -> 0);
begin
    if coalesce(
        facts -> 'indexed' -> 'keys' -> key ->> kind,
        facts -> 'indexed' -> 'defaults' ->> kind,
        'true'
    ) <> 'true' then
        perform chroma._refuse(format(
            'Cannot filter using metadata key ''%s'' with type ''%s'' because indexing is disabled',
            key, case kind when 'string' then 'Str' else initcap(kind) end
        ));
    end if;
end
$$;

-- Compiles a comparison with an operator that is not negative.
create or replace function chroma._compile_key(
    key text, operator text, operand jsonb, facts jsonb
) returns text
language plpgsql immutable
as $$
declare
    -- The same expression as in the key's index, so that PostgreSQL recognizes it.
    field constant text := format('r.metadata -> %L', key);
    is_text constant boolean := jsonb_typeof(chroma._operands(operand) -> 0) <> 'number';
    kind constant text := case when is_text then 'value' else 'number' end;
    condition text;
begin
    if key in ('#id', 'chroma:document', 'chroma:uri') then
        return chroma._compile_column(
            case key when '#id' then 'id' else substr(key, 8) end, operator, operand
        );
    elsif operator = '$contains' then
        condition := format(
            'r.metadata @> %L::jsonb', jsonb_build_object(key, jsonb_build_array(operand))
        );
        if is_text then
            return condition;
        end if;
        -- A list has either ints or floats, and 1 is not an element of [1.0].
        return format(
            '(%s and strpos((%s) ->> 0, ''.'') %s 0)',
            condition, field, case chroma._kind(operand) when 'float' then '>' else '=' end
        );
    elsif facts -> 'secondary' ? (kind || ':' || key) then
        return case kind
            when 'value' then chroma._compile_indexed_value(key, operator, operand)
            when 'number' then chroma._compile_indexed_number(key, operator, operand)
        end;
    elsif operator = '$eq' then
        -- Containment distinguishes 1 from "1" and from true, and treats 1 and 1.0 as equal.
        return format('r.metadata @> %L::jsonb', jsonb_build_object(key, operand));
    elsif operator = '$in' then
        return chroma._compile_membership(key, operand);
    end if;
    -- jsonb orders values of different types (true > 1 > "a"), so only numbers are compared.
    return format(
        '(jsonb_typeof(%1$s) = ''number'' and (%1$s) %2$s %3$L::jsonb)',
        field, chroma._symbol(operator), operand
    );
end
$$;

create or replace function chroma._compile_column(
    name text, operator text, operand jsonb
) returns text
language sql immutable
as $$
-- A column is a single text: comparisons of order and of elements do not apply.
select case
    when operator in ('$eq', '$in') then format(
        'r.%I = any(%L::text[])',
        name,
        array(
            select item #>> '{}'
            from jsonb_array_elements(chroma._operands(operand)) as item
            where jsonb_typeof(item) = 'string'
        )
    )
    else 'false'
end
$$;

create or replace function chroma._compile_membership(key text, operand jsonb) returns text
language sql immutable
as $$
select format(
    '(r.metadata -> %L) = any(%L::jsonb[])', key, array(select jsonb_array_elements(operand))
)
$$;

-- Compares a key's text or boolean with the expression that its index stores. The index has the
-- first 200 characters of long texts, so these are also compared in full.
create or replace function chroma._compile_indexed_value(
    key text, operator text, operand jsonb
) returns text
language plpgsql immutable
as $$
declare
    operands constant jsonb := chroma._operands(operand);
    indexed constant text[] := array(
        select left(
            case jsonb_typeof(item) when 'string' then 's' else 'b' end || (item #>> '{}'), 200
        )
        from jsonb_array_elements(operands) as item
    );
    expression constant text := format(
        '(case jsonb_typeof(r.metadata -> %1$L) '
        'when ''string'' then left(''s'' || (r.metadata ->> %1$L), 200) '
        'when ''boolean'' then ''b'' || (r.metadata ->> %1$L) end collate "C")',
        key
    );
    condition constant text := case operator
        when '$eq' then format('%s = %L', expression, indexed[1])
        else format('%s = any(%L::text[])', expression, indexed)
    end;
begin
    if (select bool_or(length(value) >= 200) from unnest(indexed) as value) then
        return format('(%s and %s)', condition, chroma._compile_membership(key, operands));
    end if;
    return condition;
end
$$;

create or replace function chroma._compile_indexed_number(
    key text, operator text, operand jsonb
) returns text
language sql immutable
as $$
select
    format(
        '(case when jsonb_typeof(r.metadata -> %1$L) = ''number'' '
        'then (r.metadata -> %1$L)::numeric end)',
        key
    ) || case operator
        when '$in' then format(
            ' = any(%L::numeric[])',
            array(select (item #>> '{}')::numeric from jsonb_array_elements(operand) as item)
        )
        else format(' %s %L::numeric', chroma._symbol(operator), operand::text)
    end
$$;

-- Compiles a comparison of the document.
create or replace function chroma._compile_text(
    operator text, operand jsonb, kind text, path text, facts jsonb
) returns text
language plpgsql immutable
as $$
declare
    needle constant text := operand #>> '{}';
    positive constant text := replace(operator, '$not_', '$');
    condition text;
begin
    if (operator = any(chroma._text_operators())) is not true then
        perform chroma._refuse_filter(
            kind, path,
            format('unknown operator; expected one of %s, $and, $or',
                array_to_string(chroma._text_operators(), ', '))
        );
    elsif jsonb_typeof(operand) <> 'string' then
        perform chroma._refuse_filter(kind, path, 'expected a str, got ' || chroma._shown(operand));
    elsif positive = '$matches' then
        condition := chroma._compile_words(needle, kind, path, facts);
    elsif facts -> 'indexed' ->> 'documents' = 'false' then
        perform chroma._refuse(
            'Cannot filter using full-text search because FTS indexing is disabled'
        );
    elsif positive = '$contains' then
        condition := chroma._compile_contains(needle, facts);
    else
        condition := chroma._compile_regex(needle, facts);
    end if;
    if positive <> operator then
        condition := format('(%s) is not true', condition);
    end if;
    return condition;
end
$$;

create or replace function chroma._compile_contains(needle text, facts jsonb) returns text
language sql immutable
as $$
select case
    when length(needle) >= 3 and facts -> 'secondary' ? 'trigrams:' then format(
        'r.document like %L', '%' || regexp_replace(needle, '([\\%_])', '\\\1', 'g') || '%'
    )
    -- Without an index, strpos takes three quarters of the time of like.
    else format('strpos(r.document, %L) > 0', needle)
end
$$;

create or replace function chroma._compile_regex(pattern text, facts jsonb) returns text
language plpgsql immutable
as $$
declare
    translated constant record := chroma._regex(pattern);
    condition text := format('r.document ~ %L', translated.expression);
begin
    if length(translated.required) < 3 then
        return condition;
    end if;
    -- A case expression fixes the order. PostgreSQL would evaluate the pattern first.
    condition := format(
        'case when strpos(r.document, %L) > 0 then %s else false end',
        translated.required, condition
    );
    if facts -> 'secondary' ? 'trigrams:' then
        return format(
            '(%s and %s)', chroma._compile_contains(translated.required, facts), condition
        );
    end if;
    return condition;
end
$$;

-- The entry of a collection's full-text index in its configuration's "indexed".
create or replace function chroma._text_index(indexed jsonb) returns jsonb
language plpgsql immutable
as $$
begin
    if indexed -> 'text' ->> 'language' is null then
        perform chroma._refuse(
            'Cannot search documents for words because the collection has no full-text index. '
            'It is chosen when a collection is created: '
            'configuration={''text'': {''language'': ''english''}}'
        );
    end if;
    return indexed -> 'text';
end
$$;

-- Compiles words in the syntax of web searches; see pgchroma.model.words.
create or replace function chroma._compile_words(
    words text, kind text, path text, facts jsonb
) returns text
language plpgsql immutable
as $$
declare
    language constant text := chroma._text_index(facts -> 'indexed') ->> 'language';
    alternatives text[] := '{}';
    plain text[] := '{}';
    parts text[] := '{}';
    count integer := 0;
    tokens text[];
    token text;
    prefix text[];
begin
    if length(words) > 10000 then
        perform chroma._refuse_filter(
            kind, path, format('expected at most 10000 characters, got %s', length(words))
        );
    end if;
    -- The last token is null, and ends the last alternative.
    tokens := array(
        select m.parts[1] from regexp_matches(words, '(-?"[^"]*(?:"|$)|[^\s"]+)', 'g') as m (parts)
    ) || null::text;
    foreach token in array tokens loop
        prefix := regexp_match(token, '^(-?)([^-*].*)\*$');
        if token is null or lower(token) = 'or' then
            if plain <> '{}' or parts <> '{}' then
                parts := format(
                    'websearch_to_tsquery(%L::regconfig, %L)', language, array_to_string(plain, ' ')
                ) || parts;
                alternatives := alternatives || ('(' || array_to_string(parts, ' && ') || ')');
                count := count + 1;
            end if;
            plain := '{}';
            parts := '{}';
        elsif prefix is not null then
            parts := parts || format(
                '%sto_tsquery(%L::regconfig, %L)',
                case prefix[1] when '-' then '!!' else '' end,
                language,
                '''' || replace(replace(prefix[2], '\', '\\'), '''', '''''') || ''':*'
            );
            count := count + 1;
        else
            plain := plain || token;
        end if;
    end loop;
    if count > 100 then
        perform chroma._refuse_filter(kind, path, 'expected at most 100 alternatives and prefixes');
    elsif alternatives = '{}' then
        alternatives := array[format('websearch_to_tsquery(%L::regconfig, '''')', language)];
    end if;
    return format(
        case
            when facts -> 'secondary' ? 'lexemes:' then 'r.lexemes @@ (%s)'
            -- Without an index, the words are parsed only once.
            else 'r.lexemes @@ (select %s)'
        end,
        array_to_string(alternatives, ' || ')
    );
end
$$;

-- Whether metadata matches a filter, for statements of one's own.
create or replace function chroma.matches(
    metadata jsonb, "where" jsonb
) returns boolean
language plpgsql immutable parallel safe
as $$
begin
    return "where" is null or chroma._matches(metadata, "where", 'where', 0);
end
$$;

comment on function chroma.matches is
'Whether metadata matches a filter of Chroma''s. It cannot use an index; chroma.get can.';

create or replace function chroma._matches(
    metadata jsonb, node jsonb, path text, depth integer
) returns boolean
language plpgsql immutable parallel safe
as $$
declare
    key text;
    value jsonb;
    operator text;
    stored jsonb;
    positive boolean;
begin
    if depth > 100 then
        perform chroma._refuse_filter('where', path, 'filters nest deeper than 100 levels');
    end if;
    select e.key, e.value into key, value
    from chroma._only_entry('where', node, path, 'a key or an operator') as e;
    path := path || '.' || key;
    if key in ('$and', '$or') then
        if jsonb_typeof(value) <> 'array' then
            perform chroma._refuse_filter(
                'where', path, 'expected a list of filters, got ' || chroma._shown(value)
            );
        end if;
        -- Every clause is read, so that a malformed one is always refused.
        return coalesce(
            (
                select case key when '$and' then bool_and(matched) else bool_or(matched) end
                from (
                    select chroma._matches(
                        metadata, c.clause, format('%s[%s]', path, c.n - 1), depth + 1
                    ) as matched
                    from jsonb_array_elements(value) with ordinality as c (clause, n)
                ) as clauses
            ),
            key = '$and'
        );
    end if;
    select c.operator, c.operand, c.path into operator, value, path
    from chroma._comparison(key, value, path) as c;
    if key like '#%' or key in ('chroma:document', 'chroma:uri') then
        perform chroma._refuse_filter(
            'where', path,
            'metadata does not have this key; chroma.get and chroma.query can filter by it'
        );
    end if;
    stored := metadata -> key;
    positive := case
        when operator in ('$eq', '$ne') then metadata @> jsonb_build_object(key, value)
        when operator in ('$in', '$nin') then
            exists (select from jsonb_array_elements(value) as item where item = stored)
        when operator in ('$contains', '$not_contains') then
            metadata @> jsonb_build_object(key, jsonb_build_array(value))
            and (
                jsonb_typeof(value) <> 'number'
                or (strpos(stored ->> 0, '.') > 0) = (chroma._kind(value) = 'float')
            )
        when jsonb_typeof(stored) = 'number' then
            case operator
                when '$gt' then stored > value
                when '$gte' then stored >= value
                when '$lt' then stored < value
                else stored <= value
            end
    end;
    return coalesce(positive, false) = (operator not in ('$ne', '$nin', '$not_contains'));
end
$$;
