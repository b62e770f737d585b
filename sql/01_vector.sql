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
