"""Statements whose effect ends with the transaction."""

from __future__ import annotations

from typing import Final

from psycopg import sql

from pgchroma.store.running.steps import Statement, render

__all__ = ("set_lock_timeout", "set_role")


def set_role(role: str) -> Statement:
    """Become a role until the transaction ends.

    Not `set local`, which warns where the transaction is only a pipeline's.
    """
    return Statement(_SET_ROLE, {"role": role})


def set_lock_timeout(timeout: str) -> Statement:
    """Wait for each lock no longer than this, such as ``500ms``, until the transaction ends."""
    return Statement(render("set local lock_timeout = {value}", value=sql.Literal(timeout)))


_SET_ROLE: Final = b"select pg_catalog.set_config('role', %(role)s, true)"
