"""A user that is no superuser, as managed services give: everything from the catalog to indexes.

The extensions exist already; a service lets its administrator create them.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import pgchroma
from pgchroma import errors
from tests.compactor.conftest import QUIET, assert_at_rest, compact, filled

PERMISSIVE = QUIET.model_copy(update={"pgchroma_role_per_tenant": "permissive"})


@pytest.fixture
def ordinary(empty_url: str) -> Iterator[str]:
    """How a user connects that owns a database with the extensions, and is no superuser."""
    user = sql.Identifier(name := f"app_{uuid.uuid4().hex[:8]}")
    database = sql.Identifier(str(conninfo_to_dict(empty_url)["dbname"]))
    with psycopg.connect(empty_url, autocommit=True) as plain:
        plain.execute("create extension vector")
        plain.execute("create extension if not exists pg_trgm")
        plain.execute(sql.SQL("create role {} login createrole").format(user))
        plain.execute(sql.SQL("grant create on database {} to {}").format(database, user))
        try:
            yield make_conninfo(empty_url, user=name)
        finally:
            # Its tenants' roles own the tables of collections.
            rows = plain.execute("select role_name from pgchroma.tenants").fetchall()
            roles = [sql.Identifier(role) for (role,) in rows if role is not None]
            group = f"pgchroma:{conninfo_to_dict(empty_url)['dbname']}"
            if plain.execute("select from pg_roles where rolname = %s", [group]).fetchone():
                roles.append(sql.Identifier(group))
            for role in [*roles, user]:
                plain.execute(sql.SQL("drop owned by {} cascade").format(role))
            for role in [*roles, user]:
                plain.execute(sql.SQL("drop role {}").format(role))


@pytest.mark.heavy
@pytest.mark.parametrize("settings", [QUIET, PERMISSIVE], ids=["plain", "roles"])
def test_an_ordinary_user_creates_writes_indexes_and_searches(
    ordinary: str, settings: pgchroma.Settings
) -> None:
    with psycopg.connect(ordinary) as plain:
        assert plain.execute("select current_setting('is_superuser')").fetchone() == ("off",)
    with pgchroma.PostgresClient(ordinary, settings) as client:
        papers = filled(client, num_threads=2)
        compact(ordinary)
        papers.delete(where={"number": {"$lt": 150}})
        compact(ordinary)
        assert_at_rest(ordinary, papers)
        near = papers.query(query_embeddings=[[0.0] * 8], n_results=5, where={"number": {"$gt": 9}})
        assert len(near["ids"][0]) == 5
        client.delete_collection("papers")


def test_strict_roles_need_a_superuser_and_say_what_for(ordinary: str) -> None:
    strict = QUIET.model_copy(update={"pgchroma_role_per_tenant": True})
    with pytest.raises(errors.MissingRightError, match=r"As a superuser.*set_config"):
        pgchroma.PostgresClient(ordinary, strict)
