"""The doctor reads and mends the tables of a tenant as the tenant's role."""

from __future__ import annotations

import pgchroma
from pgchroma.doctor.examination import Examination, examine
from pgchroma.doctor.fixes import apply_fixes
from tests.roles.conftest import rows

SETTINGS = pgchroma.Settings(pgchroma_role_per_tenant=True, pgchroma_compaction=False)
SCHEMA = "default_tenant__default_database"


def _names(examined: Examination) -> set[str]:
    # The tests' server is not durable, and an ordinary user does not see the sessions of others.
    return {finding.check for finding in examined.findings} - {"durability", "not-checked"}


def test_what_a_tenant_attached_to_its_tables_runs_as_its_role(
    url: str, client: pgchroma.ClientAPI
) -> None:
    papers = client.create_collection("papers", embedding_function=None)
    papers.add(ids=["a", "b"], embeddings=[[1.0], [2.0]])
    records, counts = (f"{SCHEMA}.{table}_{papers.id.hex}" for table in ("records", "counts"))
    assert _names(examine(url, SETTINGS)) == set()
    for statement in (
        f"create function {SCHEMA}.refuse() returns bool language plpgsql as "
        "$$begin if not starts_with(current_user, 'pgchroma:') then raise 'escaped'; end if; "
        "return true; end$$",
        f"create function {SCHEMA}.stop() returns trigger language plpgsql as "
        f"$$begin perform {SCHEMA}.refuse(); return new; end$$",
        f"create policy p on {records} using ({SCHEMA}.refuse())",
        f"alter table {records} enable row level security",
        f"alter table {records} force row level security",
        f'create trigger t before insert or update on {SCHEMA}."~catalog" '
        f"for each row execute function {SCHEMA}.stop()",
        f"insert into {counts} values (-1, 7, 0)",
        f"drop view {SCHEMA}.papers",
        "drop view chroma.collections",
        f'delete from {SCHEMA}."~catalog"',
    ):
        rows(url, statement)
    examined = examine(url, SETTINGS)
    assert _names(examined) == {"missing-view", "catalog-objects", "catalog-copy", "wrong-count"}
    outcomes = apply_fixes(url, SETTINGS, examined.findings)
    assert [outcome.obstacle for outcome in outcomes] == [None, None, None]
    assert _names(examine(url, SETTINGS)) == set()
    owners = rows(
        url,
        "select pg_get_userbyid(relowner) from pg_class where relname in ('papers', '~catalog')",
    )
    assert [str(owner).startswith("pgchroma:") for (owner,) in owners] == [True, True]
