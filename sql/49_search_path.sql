-- The functions for callers find the types and operators of pgvector whatever the caller's search
-- path is, and no other objects on it.
do $$
declare
    own record;
begin
    for own in
        select p.oid::regprocedure as signature, n.nspname as vector_schema
        from pg_catalog.pg_proc as p
        cross join pg_catalog.pg_extension as e
        inner join pg_catalog.pg_namespace as n on e.extnamespace = n.oid
        where p.pronamespace = 'chroma'::regnamespace
            and e.extname = 'vector'
            and p.proname = any(array[
                'add', 'count', 'delete', 'get', 'matches', 'query', 'search', 'update', 'upsert'
            ])
    loop
        execute format(
            'alter function %s set search_path = pg_catalog, %I, pg_temp',
            own.signature, own.vector_schema
        );
    end loop;
end
$$;
