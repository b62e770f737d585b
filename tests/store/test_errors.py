"""The mapping of PostgreSQL's errors, by SQLSTATE and in any language."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors as pg

from pgchroma import errors
from pgchroma.store.running.errors import (
    has_lost_connection,
    has_lost_statement,
    is_retryable,
    mapped_errors,
)


@pytest.mark.parametrize(
    "error",
    [
        pg.InvalidSqlStatementName('prepared statement "_pg3_0" does not exist'),
        pg.DuplicatePreparedStatement('prepared statement "_pg3_0" already exists'),
    ],
)
def test_a_lost_prepared_statement_is_named_as_the_cause(error: psycopg.Error) -> None:
    assert not has_lost_connection(error)
    with pytest.raises(errors.InternalError, match="pgchroma_prepared_statements"), mapped_errors():
        raise error


def test_a_poolers_own_refusal_is_a_database_that_cannot_be_reached() -> None:
    error = pg.ProtocolViolation("server login has been failing")
    assert has_lost_connection(error)
    with pytest.raises(errors.UnavailableError, match="cannot be reached"), mapped_errors():
        raise error


GERMAN: list[tuple[type[psycopg.Error], str, type[errors.ChromaError]]] = [
    (pg.InsufficientPrivilege, "keine Berechtigung für Tabelle log_1", errors.MissingRightError),
    (pg.ReadOnlySqlTransaction, "kann INSERT nicht ausführen", errors.ReadOnlyReplicaError),
    (pg.UniqueViolation, "doppelter Schlüsselwert", errors.UniqueConstraintError),
    (pg.InvalidRegularExpression, "ungültiger regulärer Ausdruck", errors.InvalidArgumentError),
    (pg.ProgramLimitExceeded, "Stacktiefenlimit überschritten", errors.InvalidArgumentError),
    (pg.QueryCanceled, "storniere Anfrage wegen Zeitüberschreitung", errors.DeadlineExceededError),
    (pg.LockNotAvailable, "storniere Anfrage", errors.DeadlineExceededError),
    (pg.InvalidSqlStatementName, "vorbereitete Anweisung existiert nicht", errors.InternalError),
    (pg.DuplicatePreparedStatement, "vorbereitete Anweisung existiert", errors.InternalError),
    (pg.SerializationFailure, "kann Zugriff nicht serialisieren", errors.SerializationError),
    (pg.DeadlockDetected, "Verklemmung entdeckt", errors.SerializationError),
    (pg.DiskFull, "auf dem Gerät ist kein Speicherplatz mehr", errors.StorageFullError),
    (pg.AdminShutdown, "breche Verbindung ab", errors.UnavailableError),
    (pg.CannotConnectNow, "das Datenbanksystem startet", errors.UnavailableError),
    (pg.TooManyConnections, "tut mir leid, schon zu viele Verbindungen", errors.UnavailableError),
    (pg.InvalidCatalogName, "Datenbank »x« existiert nicht", errors.UnavailableError),
    (pg.ProtocolViolation, "Protokollverletzung", errors.UnavailableError),
    (pg.DivisionByZero, "Division durch Null", errors.InternalError),
]


@pytest.mark.parametrize(("kind", "text", "expected"), GERMAN)
def test_an_error_in_another_language_means_the_same(
    kind: type[psycopg.Error], text: str, expected: type[errors.ChromaError]
) -> None:
    """PostgreSQL translates its messages; its codes stay."""
    foreign, english = kind(text), kind("prepared statement, connection, permission, disk")
    for judge in (has_lost_connection, has_lost_statement, is_retryable):
        assert judge(foreign) is judge(english)
    with pytest.raises(errors.ChromaError) as raised, mapped_errors():
        raise foreign
    assert type(raised.value) is expected
    assert text in raised.value.message()
