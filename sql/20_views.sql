-- Lists all collections, each with the schema that has its view.
create or replace view chroma.collections as
select
    d.tenant,
    d.name as database,
    c.name as collection,
    c.id,
    c.dimension,
    c.configuration -> 'hnsw' ->> 'space' as space,
    c.metadata,
    d.schema_name,
    c.created_at
from pgchroma.collections as c
inner join pgchroma.databases as d on c.database_id = d.id;

comment on view chroma.collections is 'Every collection of every database';
