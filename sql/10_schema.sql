-- Functions and views for SQL users live in a schema that holds no data and is rebuilt whole on
-- every upgrade. A schema of this name that is somebody else's is left alone: the upgrade stops.
do $$
begin
    if obj_description(to_regnamespace('chroma'), 'pg_namespace') like 'pgchroma:%' then
        drop schema chroma cascade;
    end if;
end
$$;

create schema chroma;

comment on schema chroma is 'pgchroma: views for SQL users; rebuilt on every upgrade';
