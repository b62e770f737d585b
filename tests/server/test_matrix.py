"""Every route, called by every kind of caller, over a real socket.

What a caller may do is written down here once more, apart from the table of routes, so that a
route that is added or changed has to be thought about twice.
"""

from __future__ import annotations

import itertools
import json
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from unittest.mock import Mock
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

import pgchroma
from pgchroma.backends._sync.connect import connect
from pgchroma.backends._sync.direct import DirectBackend
from pgchroma.model.credentials import ROLES, Scope
from pgchroma.model.entities import DatabaseRef
from pgchroma.model.operations import (
    CreateCollection,
    CreateDatabase,
    CreateTenant,
    GetCollection,
    UpdateTenant,
)
from pgchroma.model.operations.credentials import RevokeCredential, new_key, new_user
from pgchroma.server.http.handlers import handlers
from tests.operations import OWN_OPERATIONS
from tests.server_process import running

PASSWORD = "correct horse"

# The requirement of each route: a role and its resource, or the kind of caller.
NEEDS: dict[str, tuple[str, str]] = {
    "heartbeat": ("anybody", ""),
    "root": ("anybody", ""),
    "version": ("anybody", ""),
    "healthcheck": ("anybody", ""),
    "pre_flight_checks": ("anybody", ""),
    "v1": ("anybody", ""),
    "get_user_identity": ("authenticated", ""),
    "reset": ("admin", "everything"),
    "create_tenant": ("admin", "everything"),
    "get_tenant": ("lookup", "tenant"),
    "update_tenant": ("admin", "everything"),
    "create_database": ("admin", "tenant"),
    "list_databases": ("read", "tenant"),
    "get_database": ("lookup", "database"),
    "delete_database": ("admin", "database"),
    "create_collection": ("write", "database"),
    "list_collections": ("read", "database"),
    "count_collections": ("read", "database"),
    "get_collection": ("read", "collection"),
    "get_collection_by_id": ("read", "collection"),
    "get_collection_by_crn": ("read", "crn"),
    "update_collection": ("write", "collection"),
    "delete_collection": ("write", "collection"),
    "collection_add": ("write", "collection"),
    "collection_upsert": ("write", "collection"),
    "collection_update": ("write", "collection"),
    "collection_delete": ("write", "collection"),
    "collection_count": ("read", "collection"),
    "collection_get": ("read", "collection"),
    "collection_query": ("read", "collection"),
    "collection_search": ("read", "collection"),
    "fork_collection": ("write", "collection"),
    "fork_count": ("read", "collection"),
    "indexing_status": ("read", "collection"),
    "attach_function": ("write", "collection"),
    "get_attached_function": ("read", "collection"),
    "detach_function": ("write", "collection"),
    **{name: (own.role, "collection") for name, own in OWN_OPERATIONS.items()},
}
DEPTHS = {"everything": 0, "tenant": 1, "database": 2, "collection": 3}

PLACES: dict[str, tuple[str, ...]] = {
    "everything": (),
    "tenant": ("acme",),
    "database": ("acme", "main"),
    "collection": ("acme", "main", "papers"),
    "other tenant": ("other",),
    "other tenant's namesake": ("other", "main"),
    "other tenant's collection": ("other", "main", "papers"),
    "other database": ("acme", "side"),
    "other database's collection": ("acme", "side", "papers"),
    "other collection": ("acme", "main", "drafts"),
}


@dataclass(frozen=True)
class Asker:
    """A caller with or without a credential; `role` is `None` if authentication must fail."""

    name: str
    headers: dict[str, str] = field(repr=False)
    role: str | None = None
    place: tuple[str, ...] = ()

    def may(self, need: str, path: tuple[str, ...]) -> bool:
        if self.role is None:
            return need == "anybody"
        if need in ("anybody", "authenticated"):
            return True
        is_within = path[: len(self.place)] == self.place
        if need == "lookup":
            return is_within or (path != () and self.place[: len(path)] == path)
        return is_within and ROLES.index(self.role) >= ROLES.index(need)


@dataclass(frozen=True)
class Call:
    """A route, and how to build a request of it for a resource path."""

    name: str
    method: str
    template: str
    need: str
    depth: int

    def url(self, path: tuple[str, ...], ids: dict[tuple[str, ...], UUID], base: str) -> str:
        tenant, database, collection = (*path, *MISSING[len(path) :])
        id = ids.get((tenant, database, collection), NO_ID)
        values = {
            "tenant": tenant,
            "database": database,
            "collection_id": id,
            "collection": collection,
            "crn": f"{tenant}-resource:{database}:{collection}",
            "function": "anything",
        }
        return base + self.template.format_map({k: quote(str(v)) for k, v in values.items()})


MISSING = ("nobody", "nowhere", "nothing")
NO_ID = uuid4()


@dataclass
class House:
    """A server with tenants in it, and callers of every kind."""

    base: str
    port: int
    ids: dict[tuple[str, ...], UUID]
    askers: list[Asker]
    http: httpx.Client

    def ask(self, asker: Asker, call: Call, path: tuple[str, ...]) -> httpx.Response:
        body = b"{}" if call.method in ("POST", "PUT", "PATCH") else None
        url = call.url(path, self.ids, self.base)
        return self.http.request(call.method, url, content=body, headers=asker.headers)


@pytest.fixture(scope="module")
def house(module_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    backend = connect(module_url, pgchroma.Settings())
    ids = _furnish(backend)
    _protect(module_url, ids)
    askers = _askers(backend)
    with psycopg.connect(module_url, autocommit=True) as connection:
        connection.execute(
            "update pgchroma.credentials set expires_at = now() - interval '1 second' "
            "where name = 'expired'"
        )
    backend.close()
    log = tmp_path_factory.mktemp("server") / "log"
    with running(log, "--url", module_url) as server, httpx.Client(timeout=30) as http:
        yield House(server.url, server.port, ids, askers, http)


def _furnish(backend: DirectBackend) -> dict[tuple[str, ...], UUID]:
    ids: dict[tuple[str, ...], UUID] = {}
    for tenant, databases in {"acme": ["main", "side"], "other": ["main"]}.items():
        backend.execute(CreateTenant(tenant))
        backend.execute(UpdateTenant(tenant, f"{tenant}-resource"))
        for database in databases:
            scope = DatabaseRef(tenant, database)
            backend.execute(CreateDatabase(scope))
            for name in ("papers", "drafts"):
                made = backend.execute(CreateCollection(scope, name))
                ids[tenant, database, name] = made.id
    return ids


def _protect(url: str, ids: dict[tuple[str, ...], UUID]) -> None:
    """Make every deletion that is allowed fail, so that the next caller finds all in place."""
    with psycopg.connect(url, autocommit=True) as connection:
        for (tenant, database, name), id in ids.items():
            schema = f"{tenant}__{database}"
            connection.execute(
                f'create view {schema}.keeps_{name} as select * from {schema}."records_{id.hex}"'
            )


def _scope(
    tenant: str | None = None, database: str | None = None, collection: str | None = None
) -> Scope:
    return Scope(tenant, database, collection)


def _askers(backend: DirectBackend) -> list[Asker]:
    askers = []
    for (name, place), role in itertools.product(PLACES.items(), ROLES):
        title = re.sub("[^a-z]", "-", f"{name}-{role}")
        key, operation = new_key(title, role, _scope(*place))
        backend.execute(operation)
        askers.append(Asker(f"{name}, {role}", _bearer(key.text), role, place))
    for name in ("revoked", "expired"):
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        key, operation = new_key(name, "admin", expires_at=tomorrow)
        backend.execute(operation)
        askers.append(Asker(name, _bearer(key.text)))
    backend.execute(RevokeCredential("key", "revoked"))
    backend.execute(new_user("jane", PASSWORD, "admin"))
    askers += [
        Asker("user, admin", {"authorization": httpx.BasicAuth("jane", PASSWORD)._auth_header},
              "admin"),
        Asker("no credential", {}),
        Asker("malformed", {"authorization": "Bearer"}),
        Asker("unknown", {"x-chroma-token": f"pgc_{'0' * 16}_{'x' * 43}"}),
        Asker("wrong password", {"authorization": httpx.BasicAuth("jane", "x" * 9)._auth_header}),
        Asker("contradicting", {**askers[2].headers, "x-chroma-token": "another"}),
    ]  # fmt: skip
    return askers


def _bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def _calls() -> list[Call]:
    calls = []
    for handler in handlers(Mock()):
        name = str(handler.operation_id)
        need, what = NEEDS.get(name, ("", ""))
        (path,) = handler.paths
        for method in sorted(handler.http_methods):
            calls.append(Call(name, method, _named(name, path), need, DEPTHS.get(what, 0)))
    return calls


def _named(name: str, path: str) -> str:
    """Put the parameters' names where the application has their places."""
    words = iter(("tenant", "database", "collection", "function"))
    if name == "get_collection_by_crn":
        words = iter(("crn",))
    by_name = ("get_collection", "delete_collection")

    def name_of(_: re.Match[str]) -> str:
        word = next(words)
        return "{collection_id}" if word == "collection" and name not in by_name else f"{{{word}}}"

    return re.sub(r"\{p[0-9]+:str\}", name_of, path).replace("{rest:path}", "anything")


CALLS = _calls()


def test_every_route_has_been_thought_about() -> None:
    assert {call.name for call in CALLS} == set(NEEDS)


def _paths(call: Call) -> list[tuple[str, ...]]:
    """Resource paths that exist, and some that do not: from the last element, or an earlier one."""
    here = ("acme", "main", "papers")[: call.depth]
    missing = [(*here[:place], *MISSING[place : call.depth]) for place in range(call.depth)]
    return [here, *missing]


def _is_refused(response: httpx.Response) -> bool:
    is_reset = response.status_code == 403 and "Reset is disabled" in response.text
    return response.status_code in (401, 403) and not is_reset


@pytest.mark.heavy
@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method}-{call.name}")
def test_each_caller_gets_what_the_role_allows_and_nothing_else(house: House, call: Call) -> None:
    for asker in house.askers:
        for path in _paths(call):
            response = house.ask(asker, call, path)
            said = f"{asker.name}: {call.method} {call.name} {path}: {response.status_code}"
            if asker.may(call.need, path):
                assert not _is_refused(response), said
                assert response.status_code < 500 or response.status_code == 501, said
            else:
                assert response.status_code == (401 if asker.role is None else 403), said


@pytest.mark.heavy
@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method}-{call.name}")
def test_a_refusal_does_not_tell_what_exists(house: House, call: Call) -> None:
    for asker in house.askers:
        answers = {
            _without_names(house.ask(asker, call, path), path, house)
            for path in _paths(call)
            if not asker.may(call.need, path)
        }
        assert len(answers) <= 1, f"{asker.name}: {answers}"


def _without_names(response: httpx.Response, path: tuple[str, ...], house: House) -> str:
    text = response.text
    for name in (*path, *map(str, house.ids.values()), str(NO_ID)):
        text = text.replace(name, "…")
    # Whether the connection is kept depends on how much of the body had arrived by then.
    passing = ("date", "content-length", "connection")
    headers = {k: v for k, v in response.headers.items() if k not in passing}
    return f"{response.status_code} {text} {sorted(headers.items())}"


def test_all_is_still_in_place(house: House, module_url: str) -> None:
    # The matrix is valid only if no earlier caller deleted a resource that a later one requests.
    backend = connect(module_url, pgchroma.Settings())
    for (tenant, database, name), id in house.ids.items():
        assert backend.execute(GetCollection(DatabaseRef(tenant, database), name)).id == id
    backend.close()


def test_resource_names_give_no_access_beyond_the_scope(house: House) -> None:
    call = next(call for call in CALLS if call.name == "get_collection_by_crn")
    for asker in house.askers:
        status = house.ask(asker, call, ("acme", "main", "papers")).status_code
        if asker.role is None:
            assert status == 401
        elif asker.place == ():
            assert status == 200
        elif ("acme", "main", "papers")[: len(asker.place)] != asker.place:
            assert status == 403
            assert house.ask(asker, call, MISSING).status_code == 403


WITH_BODY = [
    call for call in CALLS if call.method in ("POST", "PUT", "PATCH") and call.name != "v1"
]


@pytest.mark.parametrize("call", WITH_BODY, ids=lambda call: call.name)
@pytest.mark.parametrize("name", ["no credential", "other tenant, admin"])
def test_the_body_of_a_refused_request_is_not_waited_for(
    house: House, call: Call, name: str
) -> None:
    asker = next(asker for asker in house.askers if asker.name == name)
    path = ("acme", "main", "papers")[: call.depth]
    head = [
        f"{call.method} {call.url(path, house.ids, '')} HTTP/1.1",
        "host: localhost",
        "content-type: application/json",
        f"content-length: {30 << 20}",
        *(f"{name}: {value}" for name, value in asker.headers.items()),
        "\r\n",
    ]
    with socket.create_connection(("127.0.0.1", house.port), timeout=5) as connection:
        connection.sendall("\r\n".join(head).encode())
        started = time.monotonic()
        answer = connection.recv(4096).decode()
        seconds = time.monotonic() - started
    assert answer.split()[1] == ("401" if asker.role is None else "403")
    assert seconds < 3


def test_a_name_with_a_percent_sign_is_no_other_tenants(house: House, module_url: str) -> None:
    backend = connect(module_url, pgchroma.Settings())
    headers = {}
    for number, tenant in enumerate(("odd name", "odd%20name")):
        backend.execute(CreateTenant(tenant))
        backend.execute(CreateDatabase(DatabaseRef(tenant, "main")))
        key, operation = new_key(f"odd-{number}", "read", Scope(tenant))
        backend.execute(operation)
        headers[tenant] = _bearer(key.text)
    backend.close()
    answers = {
        (asked, owner): house.http.get(
            f"{house.base}/api/v2/tenants/{quote(asked)}/databases", headers=headers[owner]
        ).status_code
        for asked, owner in itertools.product(headers, headers)
    }
    assert answers == {pair: 200 if pair[0] == pair[1] else 403 for pair in answers}


def test_two_headers_of_one_name_are_refused(house: House) -> None:
    good = house.askers[0].headers["authorization"]
    url = f"{house.base}/api/v2/auth/identity"
    for pair in ((good, "Bearer other"), ("Bearer other", good)):
        headers = [("authorization", value) for value in pair]
        assert house.http.get(url, headers=headers).status_code == 401


def test_monstrous_headers_are_no_fault_of_the_server(house: House) -> None:
    url = f"{house.base}/api/v2/auth/identity"
    for value in (
        "Bearer " + "x" * 20_000,
        "Basic " + "é" * 10,
        "Bearer \x7f",
        "Basic ====",
        "\x01",
    ):
        try:
            status = house.http.get(url, headers=[(b"authorization", value.encode())]).status_code
        except (httpx.LocalProtocolError, httpx.RemoteProtocolError):
            continue
        assert status in (400, 401, 431), value[:20]
    with socket.create_connection(("127.0.0.1", house.port), timeout=5) as connection:
        head = (
            f"GET /api/v2/auth/identity HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {'x' * 10**6}"
        )
        try:
            connection.sendall(f"{head}\r\n\r\n".encode())
            answer = connection.recv(4096)
        except OSError:
            answer = b""
    assert not answer or 400 <= int(answer.split()[1]) < 500


def test_identity_is_the_callers(house: House) -> None:
    url = f"{house.base}/api/v2/auth/identity"
    for asker in house.askers:
        if asker.role is not None:
            told = json.loads(house.http.get(url, headers=asker.headers).content)
            assert told["tenant"] == (asker.place or ("*",))[0]
            assert told["databases"] == [(*asker.place, "*", "*")[1]]


@pytest.mark.heavy
def test_revocation_reaches_a_running_server(house: House, module_url: str) -> None:
    backend = connect(module_url, pgchroma.Settings())
    key, operation = new_key("short-lived", "read")
    backend.execute(operation)
    url = f"{house.base}/api/v2/auth/identity"
    assert house.http.get(url, headers=_bearer(key.text)).status_code == 200
    backend.execute(RevokeCredential("key", "short-lived"))
    backend.close()
    deadline = time.monotonic() + 10
    while house.http.get(url, headers=_bearer(key.text)).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)
