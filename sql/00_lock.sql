-- One upgrade at a time, until its transaction ends. Limits on what users ask are not meant for it.
select set_config(name, '0', true)
from pg_catalog.pg_settings
where
    name in (
        'statement_timeout',
        'lock_timeout',
        'transaction_timeout',
        'idle_in_transaction_session_timeout'
    );

select pg_advisory_xact_lock(7021982471);
