"""Executing statements that a session has prepared, without a cursor.

A cursor of psycopg is made for one statement, and finds out how to send each parameter and how to
read each column. That takes as long as sending, waiting and reading do. A session that only
pgchroma uses keeps what was found out.
"""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection, errors, generators
from psycopg._preparing import Prepare
from psycopg._queries import PostgresQuery
from psycopg.abc import Transformer
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGresult

from pgchroma.store.encoding.text_arrays import pack_lists
from pgchroma.store.running._async.io import load
from pgchroma.store.running.prepared_statements import NamedStatements
from pgchroma.store.running.steps import Rows, Statement

__all__ = ("execute_prepared",)


async def execute_prepared(connection: AsyncConnection[Any], statement: Statement) -> Rows | None:
    """Execute a statement that is prepared on a session that only pgchroma uses.

    Returns:
        The rows. `None` means that nothing was sent, and that a cursor has to execute the
        statement.
    """
    statements = connection._prepared
    if not (statement.reuses_plan and isinstance(statements, NamedStatements)):
        return None
    transformer = statements.transformer
    if transformer is None or statements._to_flush:
        return None
    query = PostgresQuery(transformer)
    query.convert(statement.text, pack_lists(statement.parameters))
    choice, name = statements.get(query)
    if choice is not Prepare.YES:
        return None
    # The statement is now the one that was used last.
    statements.maybe_add_to_cache(query, choice, name)
    connection.pgconn.send_query_prepared(
        name, query.params, param_formats=query.formats, result_format=Format.BINARY
    )
    results = await connection.wait(generators.execute(connection.pgconn))
    return await _rows(results[-1], transformer)


async def _rows(result: PGresult, transformer: Transformer) -> Rows:
    if result.status == ExecStatus.COMMAND_OK:
        return ()
    if result.status != ExecStatus.TUPLES_OK:
        raise errors.error_from_result(result, encoding=transformer.encoding)
    transformer.set_pgresult(result)
    try:
        return await load(transformer, result.ntuples)
    finally:
        # A large result must not stay in memory until the next statement.
        transformer.set_pgresult(None)
