-- Only one upgrade runs at a time, until its transaction ends. Time limits that are configured for
-- queries do not apply to it.
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
