-- An index of documents uses it; without it searching documents is slower and nothing else.
do $$
begin
    create extension if not exists pg_trgm;
exception
    when insufficient_privilege or feature_not_supported or undefined_file then
        raise notice 'pg_trgm is not created: %', sqlerrm;
end
$$;
