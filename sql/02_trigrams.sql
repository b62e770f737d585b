-- The index of documents requires this extension. Without it, searching documents is slower.
do $$
begin
    if current_schema() is null then
        create extension if not exists pg_trgm schema public;
    else
        create extension if not exists pg_trgm;
    end if;
exception
    when insufficient_privilege or feature_not_supported or undefined_file then
        raise warning
            'the extension pg_trgm is not created, so documents are searched without an index: %',
            sqlerrm;
end
$$;
