-- An empty search path leads to no schema to create it in.
do $$
begin
    if current_schema() is null then
        create extension if not exists vector schema public;
    else
        create extension if not exists vector;
    end if;
end
$$;
-- Whoever runs this file by hand is refused here; nothing of the transaction stays.
do $$
declare
    found text := (select extversion from pg_catalog.pg_extension where extname = 'vector');
begin
    if current_setting('server_version_num')::int < 160000 then
        raise exception 'PostgreSQL is too old: pgchroma needs 16 or newer';
    end if;
    if (
        select array_agg(part[1]::int order by place)
        from regexp_matches(found, '\d+', 'g') with ordinality as parts (part, place)
    ) < '{0,8,4}' then
        raise exception 'pgvector % is too old: pgchroma needs 0.8.4 or newer', found;
    end if;
end
$$;
