"""Credentials in the catalog: found, listed, revoked, and deleted with their scope."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

import pgchroma
from pgchroma import errors
from pgchroma.backends._sync.connect import connect
from pgchroma.backends._sync.direct import DirectBackend
from pgchroma.model.credentials import FoundCredential, Scope
from pgchroma.model.entities import DatabaseRef
from pgchroma.model.hashes import Key, hash_key_secret
from pgchroma.model.operations import (
    CollectionRef,
    CreateCollection,
    CreateDatabase,
    CreateTenant,
    DeleteCollection,
    DeleteDatabase,
    GetCollection,
    ModifyCollection,
    Reset,
)
from pgchroma.model.operations.credentials import (
    CreateFirstCredential,
    FindCredential,
    ListCredentials,
    RevokeCredential,
    new_key,
    new_user,
)

ACME = DatabaseRef("acme", "main")


@pytest.fixture
def backend(url: str) -> Iterator[DirectBackend]:
    backend = connect(url, pgchroma.Settings(allow_reset=True))
    backend.execute(CreateTenant("acme"))
    backend.execute(CreateDatabase(ACME))
    backend.execute(CreateCollection(ACME, "papers"))
    yield backend
    backend.close()


def _key(backend: DirectBackend, name: str = "ci", *args: Any) -> str:
    key, operation = new_key(name, "read", *args)
    assert backend.execute(operation).id == key.id
    return key.id


def _find(backend: DirectBackend, id: str) -> FoundCredential | None:
    return backend.execute(FindCredential("key", id))


def test_a_key_is_found_by_its_id_with_its_scope(backend: DirectBackend) -> None:
    papers = backend.execute(GetCollection(ACME, "papers"))
    scopes = [
        Scope(),
        Scope("acme"),
        Scope("acme", "main"),
        Scope("acme", "main", "papers", papers.id),
    ]
    for number, scope in enumerate(scopes):
        id = _key(backend, f"key-{number}", Scope(scope.tenant, scope.database, scope.collection))
        found = _find(backend, id)
        assert found is not None
        assert found.credential.scope == scope
        assert found.credential.caller.name == f"key-{number}"
        assert found.seconds_left is None


def test_a_user_is_found_by_name_and_a_key_is_not(backend: DirectBackend) -> None:
    made = backend.execute(new_user("jane", "correct horse", "admin", Scope("acme")))
    _key(backend, "ci")
    found = backend.execute(FindCredential("user", "jane"))
    assert found is not None
    assert found.credential == made
    assert found.secret_hash.startswith("scrypt$")
    assert found.secret_hash not in repr(found)
    assert backend.execute(FindCredential("user", "ci")) is None
    assert backend.execute(FindCredential("user", made.id)) is None
    assert _find(backend, made.id) is None


def test_a_secret_is_nowhere_in_the_catalog(backend: DirectBackend, connection: Any) -> None:
    key, operation = new_key("ci", "read")
    backend.execute(operation)
    rows = connection.execute("select k::text from pgchroma.credentials as k").fetchall()
    assert len(rows) == 1
    assert key.secret not in rows[0][0]


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        (Scope("nope"), r"Tenant \[nope\] not found"),
        (Scope("acme", "nope"), r"Database \[nope\] not found in tenant \[acme\]"),
        (Scope("default_tenant", "main"), r"Database \[main\] not found"),
        (Scope("acme", "main", "nope"), r"Collection \[nope\] not found in database \[main\]"),
    ],
)
def test_a_scope_must_exist(backend: DirectBackend, scope: Scope, message: str) -> None:
    with pytest.raises(errors.NotFoundError, match=message):
        _key(backend, "ci", scope)
    assert backend.execute(ListCredentials("key", with_revoked=True)) == []


def test_a_name_is_free_again_when_it_is_revoked_or_has_expired(
    backend: DirectBackend, connection: Any
) -> None:
    first = _key(backend)
    with pytest.raises(errors.UniqueConstraintError, match="ci is taken"):
        _key(backend)
    with pytest.raises(errors.UniqueConstraintError, match="ci is taken"):
        backend.execute(new_user("ci", "correct horse", "read"))
    assert backend.execute(RevokeCredential("key", "ci")).id == first
    second = _key(backend)
    connection.execute("update pgchroma.credentials set expires_at = now() where id = %s", [second])
    third = _key(backend)
    assert [c.id for c in backend.execute(ListCredentials("key"))] == [third]
    everybody = backend.execute(ListCredentials("key", with_revoked=True))
    assert {c.id: c.is_live for c in everybody} == {first: False, second: False, third: True}


def test_what_is_revoked_or_expired_is_not_found(backend: DirectBackend, connection: Any) -> None:
    one, two = _key(backend, "one"), _key(backend, "two")
    revoked = backend.execute(RevokeCredential("key", one))
    assert revoked.revoked_at is not None
    assert not revoked.is_live
    assert _find(backend, one) is None
    assert _find(backend, two) is not None
    connection.execute("update pgchroma.credentials set expires_at = now() where id = %s", [two])
    assert _find(backend, two) is None
    (listed,) = backend.execute(ListCredentials("key"))
    assert not listed.is_live


def test_the_time_left_is_told(backend: DirectBackend) -> None:
    found = _find(backend, _key(backend, "ci", Scope(), datetime.now(UTC) + timedelta(minutes=1)))
    assert found is not None
    assert found.seconds_left is not None
    assert 50 < found.seconds_left <= 60


def test_nothing_to_revoke_is_told(backend: DirectBackend) -> None:
    _key(backend)
    for kind, name in (("user", "ci"), ("key", "nope")):
        with pytest.raises(errors.NotFoundError, match=f"no {kind} with the name or id {name}"):
            backend.execute(RevokeCredential(kind, name))  # type: ignore[arg-type]
    backend.execute(RevokeCredential("key", "ci"))
    with pytest.raises(errors.NotFoundError):
        backend.execute(RevokeCredential("key", "ci"))


def test_a_key_dies_with_its_collection_and_a_namesake_does_not_revive_it(
    backend: DirectBackend,
) -> None:
    wide, narrow = (
        _key(backend, "wide", Scope("acme", "main")),
        _key(backend, "narrow", Scope("acme", "main", "papers")),
    )
    backend.execute(DeleteCollection(ACME, "papers"))
    backend.execute(CreateCollection(ACME, "papers"))
    assert _find(backend, narrow) is None
    assert _find(backend, wide) is not None


def test_a_key_dies_with_its_database(backend: DirectBackend) -> None:
    ids = [
        _key(backend, "tenant", Scope("acme")),
        _key(backend, "database", Scope("acme", "main")),
        _key(backend, "collection", Scope("acme", "main", "papers")),
    ]
    backend.execute(DeleteDatabase(ACME))
    backend.execute(CreateDatabase(ACME))
    assert [_find(backend, id) is None for id in ids] == [False, True, True]


def test_a_reset_leaves_only_what_is_for_everything(backend: DirectBackend) -> None:
    everything = _key(backend, "everything")
    ids = [
        _key(backend, "acme", Scope("acme")),
        _key(backend, "default", Scope("default_tenant", "default_database")),
        _key(backend, "default-tenant", Scope("default_tenant")),
    ]
    backend.execute(Reset())
    assert [c.id for c in backend.execute(ListCredentials("key", with_revoked=True))] == [
        everything
    ]
    assert all(_find(backend, id) is None for id in ids)


def test_a_renamed_collection_keeps_its_keys(backend: DirectBackend) -> None:
    id = _key(backend, "ci", Scope("acme", "main", "papers"))
    papers = backend.execute(GetCollection(ACME, "papers"))
    backend.execute(ModifyCollection(CollectionRef(ACME, papers.id), name="articles"))
    found = _find(backend, id)
    assert found is not None
    assert found.credential.scope == Scope("acme", "main", "articles", papers.id)


def _first() -> CreateFirstCredential:
    key = Key.generate()
    return CreateFirstCredential(key.id, "admin", hash_key_secret(key.secret))


def test_the_first_credential_is_made_once_by_many(backend: DirectBackend) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(backend.execute, [_first() for _ in range(8)]))
    assert sum(made) == 1
    (listed,) = backend.execute(ListCredentials("key"))
    assert (listed.name, listed.role, listed.scope) == ("admin", "admin", Scope())


def test_any_live_credential_is_enough_and_no_dead_one_is(
    backend: DirectBackend, connection: Any
) -> None:
    backend.execute(new_user("jane", "correct horse", "read", Scope("acme")))
    assert not backend.execute(_first())
    backend.execute(RevokeCredential("user", "jane"))
    assert backend.execute(_first())
    connection.execute("update pgchroma.credentials set expires_at = now()")
    assert backend.execute(_first())


def test_names_are_taken_once_by_many(backend: DirectBackend) -> None:
    def make(_: int) -> bool:
        try:
            _key(backend)
        except errors.UniqueConstraintError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(make, range(6))) == 1


def test_every_scope_column_has_an_index(connection: psycopg.Connection[Any]) -> None:
    # Without it, deleting a collection would read the whole table.
    indexed = connection.execute(
        "select a.attname from pg_index as i "
        "join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = i.indkey[0] "
        "where i.indrelid = 'pgchroma.credentials'::regclass"
    ).fetchall()
    assert {name for (name,) in indexed} >= {"tenant", "database_id", "collection_id"}
