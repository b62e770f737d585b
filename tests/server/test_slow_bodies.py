"""A credential that ends while the body of a request arrives."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import httpx
import pytest

import pgchroma
from pgchroma.backends._sync.connect import connect
from pgchroma.model.credentials import CredentialKind, Scope
from pgchroma.model.entities import DatabaseRef
from pgchroma.model.operations import DeleteCollection
from pgchroma.model.operations.credentials import RevokeCredential, new_key, new_user
from pgchroma.server.http.dispatch import RECHECK_AFTER
from tests.server_process import Server, running

pytestmark = pytest.mark.heavy

C = "/api/v2/tenants/default_tenant/databases/default_database/collections"
BODY = json.dumps({"ids": ["late"], "embeddings": [[1.0, 2.0]]}).encode()


def send_slowly(
    server: Server, path: str, authorization: str, meanwhile: Callable[[], object]
) -> int:
    """Send the head and five bytes, do something, send the rest; return the status."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(BODY)}\r\n"
        f"authorization: {authorization}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
        connection.sendall(head.encode() + BODY[:5])
        time.sleep(0.2)
        meanwhile()
        time.sleep(RECHECK_AFTER)
        connection.sendall(BODY[5:])
        with connection.makefile("rb") as answer:
            return int(answer.readline().split()[1])


@pytest.mark.parametrize("cache", ["0", "0.5"])
def test_a_credential_is_checked_again_when_the_body_was_slow(
    cache: str, url: str, tmp_path: Path
) -> None:
    admin, new_admin = new_key("root", "admin")
    key, new = new_key("late-key", "write")
    environment = {"PGCHROMA_AUTH_CACHE_SECONDS": cache}
    password = httpx.BasicAuth("late-user", "correct horse")
    sent: dict[CredentialKind, str] = {"key": f"Bearer {key.text}", "user": password._auth_header}
    with (
        closing(connect(url, pgchroma.Settings())) as backend,
        running(tmp_path / "log", "--url", url, environment=environment) as server,
        httpx.Client(
            base_url=server.url, headers={"x-chroma-token": admin.text}, timeout=60
        ) as http,
    ):
        for operation in (new_admin, new, new_user("late-user", "correct horse", "write")):
            backend.execute(operation)
        for kind, authorization in sent.items():
            made = http.post(C, json={"name": f"papers-{kind}"}).json()["id"]
            add = f"{C}/{made}/add"
            assert send_slowly(server, add, authorization, lambda: None) == 201
            revoke = partial(backend.execute, RevokeCredential(kind, f"late-{kind}"))
            assert send_slowly(server, add, authorization, revoke) == 401
            assert http.get(f"{C}/{made}/count").json() == 1


def test_a_key_ends_with_its_collection_while_a_body_arrives(url: str, tmp_path: Path) -> None:
    with pgchroma.PostgresClient(url) as client:
        made = client.create_collection("papers", embedding_function=None)
    with closing(connect(url, pgchroma.Settings())) as backend:
        scope = Scope("default_tenant", "default_database", "papers")
        key, new = new_key("late", "write", scope)
        backend.execute(new)
        environment = {"PGCHROMA_AUTH_CACHE_SECONDS": "0"}
        with running(tmp_path / "log", "--url", url, environment=environment) as server:
            database = DatabaseRef("default_tenant", "default_database")
            delete = DeleteCollection(database, "papers")
            status = send_slowly(
                server,
                f"{C}/{made.id}/add",
                f"Bearer {key.text}",
                lambda: backend.execute(delete),
            )
            assert status == 401
