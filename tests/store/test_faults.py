"""What PostgreSQL's faults become."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors as pg

from pgchroma import errors
from pgchroma.store.running.errors import has_lost_connection, mapped_errors


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
