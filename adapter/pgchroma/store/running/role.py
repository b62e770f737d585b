"""The statement that makes a transaction run as another role."""

from __future__ import annotations

from typing import Final

from pgchroma.store.running.steps import Statement

__all__ = ("set_role",)


def set_role(role: str) -> Statement:
    """Become a role until the transaction ends.

    Not `set local`, which warns where the transaction is only a pipeline's.
    """
    return Statement(_SET_ROLE, {"role": role})


_SET_ROLE: Final = b"select pg_catalog.set_config('role', %(role)s, true)"
