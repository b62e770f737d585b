-- Lists the collections of all databases whose schema the caller may use.
create or replace view chroma.collections as
select
    c.tenant,
    c.database,
    c.name as collection,
    c.id,
    c.dimension,
    c.space,
    c.metadata,
    c.schema_name,
    c.created_at,
    chroma._rows(c) as rows,
    chroma._bytes(c) as bytes,
    jsonb_array_length(coalesce(c.segments, '[]')) as segments,
    chroma._embeddings(c, false) as tail,
    chroma._dead(c) as dead,
    chroma._last_write(c) as last_write
from chroma._collections as c;

comment on view chroma.collections is
'The collections of the databases whose schema the caller may use';
