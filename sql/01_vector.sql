-- With an empty search path, there is no schema to create the extension in.
do $$
begin
    if current_schema() is null then
        create extension if not exists vector schema public;
    else
        create extension if not exists vector;
    end if;
end
$$;
-- Checks the versions again, because this file may also be run by hand. An error rolls back the
-- transaction.
do $$
declare
    installed text := (select extversion from pg_catalog.pg_extension where extname = 'vector');
begin
    if current_setting('server_version_num')::int < 160000 then
        raise exception 'PostgreSQL is too old: pgchroma needs 16 or newer';
    end if;
    if (
        select array_agg(part[1]::int order by n)
        from regexp_matches(installed, '\d+', 'g') with ordinality as parts (part, n)
    ) < '{0,8,0}' then
        raise exception 'pgvector % is too old: pgchroma needs 0.8.0 or newer', installed;
    end if;
end
$$;
