"""Settings that cost something are found, wherever they are set."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import pgchroma
from pgchroma.catalog.upgrade import prepare
from pgchroma.doctor.checks import capacity, sessions
from pgchroma.doctor.findings import Severity
from pgchroma.embedded import EmbeddedPostgres, host
from tests.doctor.conftest import QUIET, Broken, database_of, fill, found
from tests.server_process import eventually

BAD = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "maintenance_work_mem": "64kB",
    "work_mem": "64kB",
    "dynamic_shared_memory_type": "mmap",
    "max_prepared_transactions": "3",
    "max_connections": "30",
    "statement_timeout": "20s",
}


@pytest.fixture(scope="module")
def misconfigured() -> Iterator[str]:
    """A server with nearly every setting wrong."""
    with tempfile.TemporaryDirectory(prefix="pgchroma-doctor-") as directory:
        Path(directory).chmod(0o755)
        sound = host.settings
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(host, "settings", lambda *given, **rest: {**sound(*given, **rest), **BAD})
            postgres = EmbeddedPostgres.open(Path(directory) / "bad")
        with postgres:
            with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
                prepare(connection)
            fill(postgres.conninfo)
            yield postgres.conninfo


def test_a_misconfigured_server_is_found_out(
    misconfigured: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "PREPARED_SECONDS", 0)
    with psycopg.connect(misconfigured, autocommit=True) as connection:
        connection.execute("begin; create table forgotten (); prepare transaction 'forgotten'")
    findings = found(misconfigured)
    for name in (
        "durability", "autovacuum", "maintenance-memory", "work-mem",
        "shared-memory", "timeouts", "prepared-transaction",
    ):  # fmt: skip
        assert name in findings, name
    assert [fault.severity for fault in findings["durability"]] == [
        Severity.ERROR,
        Severity.ERROR,
        Severity.WARNING,
    ]
    assert findings["maintenance-memory"][0].severity is Severity.INFO
    (prepared,) = findings["prepared-transaction"]
    with psycopg.connect(misconfigured, autocommit=True) as connection:
        connection.execute(prepared.command.encode())
    assert "prepared-transaction" not in found(misconfigured)


def test_a_session_that_waits_for_a_prepared_transaction_is_found(
    misconfigured: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "BLOCKED_SECONDS", 0)
    with (
        psycopg.connect(misconfigured, autocommit=True) as holder,
        psycopg.connect(misconfigured) as waiter,
    ):
        holder.execute("create table contested ()")
        holder.execute("begin; lock table contested; prepare transaction 'holder'")
        waiting = threading.Thread(target=waiter.execute, args=(b"select from contested",))
        waiting.start()
        try:
            eventually(lambda: "blocked-session" in found(misconfigured, names=["empty"]))
            (blocked,) = found(misconfigured, names=["empty"])["blocked-session"]
        finally:
            holder.execute("rollback prepared 'holder'")
            waiting.join()
    assert "has waited for a lock of a prepared transaction for" in blocked.what
    assert blocked.command == "select * from pg_prepared_xacts"


OF_A_DATABASE = {
    "synchronous_commit": ("off", "durability", Severity.WARNING),
    "statement_timeout": ("'5s'", "timeouts", Severity.WARNING),
    "lock_timeout": ("10", "timeouts", Severity.WARNING),
    "work_mem": ("'1MB'", "work-mem", Severity.WARNING),
    "enable_indexscan": ("off", "search-settings", Severity.WARNING),
    "hnsw.max_scan_tuples": ("10", "search-settings", Severity.WARNING),
    "hnsw.ef_search": ("20", "search-settings", Severity.INFO),
}
"""A value of each setting, and the check and the severity of its finding."""


def test_settings_of_a_database_are_found_with_their_place(broken: Broken) -> None:
    database = database_of(broken.url)
    for setting, (value, _, _) in OF_A_DATABASE.items():
        broken.execute(f'alter database "{database}" set {setting} = {value}')
    findings = found(broken.url)
    for setting, (_, name, severity) in OF_A_DATABASE.items():
        (finding,) = [each for each in findings[name] if setting in each.what]
        assert (finding.subject, finding.severity) == (f"database {database}", severity)
        broken.connection.execute(finding.command.encode())
    assert found(broken.url).keys() == {"durability"}


def test_long_limits_are_no_fault(broken: Broken) -> None:
    for setting in ("statement_timeout = '2min'", "lock_timeout = '30s'", "work_mem = '1GB'"):
        broken.execute(f'alter database "{database_of(broken.url)}" set {setting}')
    assert not {"timeouts", "work-mem"} & found(broken.url).keys()


def test_too_few_connections_and_locks_are_found(
    broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = database_of(broken.url)
    broken.execute(f'alter database "{database}" connection limit 5')
    (fault,) = found(broken.url)["connections"]
    assert fault.figures["available"] == 5
    assert fault.command == f'alter database "{database}" connection limit 24'
    broken.connection.execute(fault.command.encode())
    monkeypatch.setattr(capacity, "BUSY_SHARE", 0.0)
    findings = found(broken.url)
    assert findings["connections"][0].figures["used"] >= 1
    assert findings["lock-table"][0].figures["tables"] >= 1


@pytest.mark.parametrize(
    ("size", "severity"), [(1 << 20, None), (1 << 29, Severity.INFO), (1 << 50, Severity.WARNING)]
)
def test_the_indexes_are_compared_with_the_buffers(
    size: int, severity: Severity | None, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "_read_sizes", lambda _: capacity._Sizes(size, 1))
    findings = found(url).get("shared-buffers", [])
    assert [fault.severity for fault in findings] == ([] if severity is None else [severity])


def test_shared_memory_is_compared_with_the_largest_build(
    broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "CONTAINER_SHARED_BYTES", 0)
    assert "shared-memory" not in found(broken.url)
    monkeypatch.setattr(capacity, "_local_shared_memory", lambda _: None)
    (fault,) = found(broken.url)["shared-memory"]
    assert fault.severity is Severity.INFO
    assert fault.figures["build_bytes"] > 0


def test_jit_is_reported_where_it_can_compile(
    broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pgchroma.doctor.checks import settings  # noqa: PLC0415

    database = database_of(broken.url)
    broken.execute(f'alter database "{database}" set jit = on')
    assert "jit" not in found(broken.url), "PostgreSQL has no compiler here"
    monkeypatch.setattr(settings, "_JIT", b"select true")
    (fault,) = found(broken.url)["jit"]
    assert fault.severity is Severity.INFO


def test_a_large_pool_is_compared_with_the_connections(misconfigured: str) -> None:
    large: Any = pgchroma.Settings(pgchroma_pool_size=50, pgchroma_segment_bytes=0)
    assert "connections" not in found(misconfigured, settings=QUIET)
    (fault,) = found(misconfigured, settings=large)["connections"]
    assert fault.figures["pool"] == 52
