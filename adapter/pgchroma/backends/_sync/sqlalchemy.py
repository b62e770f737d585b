# Generated from _async/sqlalchemy.py by tools/unasync.py; edit that and run `make fmt`.
"""Connection sources on SQLAlchemy: the caller's engine, connection or session."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import psycopg

from pgchroma.backends._sync.pool import answers
from pgchroma.backends._sync.sources import ConnectionSource, introduce
from pgchroma.backends._sync.sqlalchemy_types import (
    EXPECTED,
    Connection,
    Engine,
    Session,
    driver_of,
)
from pgchroma.backends._sync.turns import turn
from pgchroma.backends.pool_state import needs_check
from pgchroma.backends.sqlalchemy_rules import (
    BEGIN,
    USED_AT,
    check_driver,
    engine_address,
    is_idle,
    sqlalchemy_errors,
)
from pgchroma.errors import InvalidArgumentError
from pgchroma.store.running.errors import mapped_errors
from pgchroma.store.running.sessions import Sessions

__all__ = ("CallerConnection", "EngineSource", "source_of")


def source_of(owner: object, sessions: Sessions) -> ConnectionSource:
    """Return the connection source of an engine, connection or session.

    Raises:
        InvalidArgumentError: It is something else, or is on another driver than psycopg 3.
    """
    if isinstance(owner, Engine):
        return EngineSource(owner, sessions)
    if not isinstance(owner, Connection | Session):
        raise InvalidArgumentError(f"expected {EXPECTED}, got {owner!r}")
    source = CallerConnection(owner, sessions)
    source.check_driver()
    return source


class _Source:
    """The methods of sources whose connections belong to the caller."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def statistics(self) -> dict[str, int]:
        """Return nothing: the pool is not pgchroma's."""
        return {}

    def lose_statements(self) -> None:
        """Prepare no statements from now on."""
        self._sessions.lose_statements()

    def close(self) -> None:
        """Leave the connections to their owner."""


class EngineSource(_Source):
    """The caller's SQLAlchemy engine; each operation is its own transaction."""

    in_caller_transaction = False

    def __init__(self, engine: Engine, sessions: Sessions) -> None:
        super().__init__(sessions)
        check_driver(engine.dialect.driver)
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def connection(self) -> Generator[psycopg.Connection[Any], None, None]:
        """Check a connection out of the engine's pool."""
        with mapped_errors(engine_address(self._engine.url)), sqlalchemy_errors():
            connection = self._check_out()
        try:
            yield driver_of(connection)
            connection.info[USED_AT] = time.monotonic()
        finally:
            connection.close()

    def _check_out(self) -> Connection:
        """Check connections out until one works: some may have been closed while idle."""
        while True:
            connection = self._engine.connect()
            try:
                driver = driver_of(connection)
                used_at = connection.info.get(USED_AT, 0.0)
                if not needs_check(driver, used_at) or answers(driver):
                    introduce(driver, self._sessions)
                    return connection
                connection.invalidate()
                connection.close()
            except BaseException:
                connection.close()
                raise


class CallerConnection(_Source):
    """The caller's connection or session; every operation is part of the caller's transaction.

    Calls of several threads or tasks take turns. SQLAlchemy does not order the caller's own
    statements with them: as always with SQLAlchemy, only one at a time may use a connection.
    """

    in_caller_transaction = True

    def __init__(self, owner: Connection | Session, sessions: Sessions) -> None:
        super().__init__(sessions)
        self._owner = owner

    def check_driver(self) -> None:
        """Check that the connection's driver is psycopg 3."""
        with turn(self._owner):
            with mapped_errors(), sqlalchemy_errors():
                connection = self._connection()
            check_driver(connection.dialect.driver)

    @contextmanager
    def connection(self) -> Generator[psycopg.Connection[Any], None, None]:
        """Return the caller's connection, after making sure that its transaction has begun."""
        with turn(self._owner):
            with sqlalchemy_errors():
                connection = self._connection()
                if not connection.in_transaction():
                    connection.begin()
                driver = driver_of(connection)
            with turn(driver):
                if is_idle(driver):
                    driver.execute(BEGIN, prepare=False)
                introduce(driver, self._sessions)
                yield driver

    def _connection(self) -> Connection:
        owner = self._owner
        return owner.connection() if isinstance(owner, Session) else owner
