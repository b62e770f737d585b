-- "create schema if not exists" would require the privilege to create schemas even if the schema
-- exists.
do $$
begin
    if to_regnamespace('pgchroma') is null then
        create schema pgchroma;
    end if;
end
$$;
