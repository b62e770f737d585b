-- Not "if not exists", which needs the right to create schemas even if there is nothing to create.
do $$
begin
    if to_regnamespace('pgchroma') is null then
        create schema pgchroma;
    end if;
end
$$;
