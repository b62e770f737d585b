"""A server whose own role lacks a right: the answer reports that, the log has the grant."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import pgchroma
from pgchroma import errors
from pgchroma.cli import main
from tests.server_process import running

DATABASE = "/api/v2/tenants/default_tenant/databases/default_database"


@pytest.fixture
def reader(url: str) -> Iterator[str]:
    """The URL of a database user with only the rights of the profile `reader`."""
    name = f"reader_{conninfo_to_dict(url)['dbname']}"
    role = sql.Identifier(name)
    with psycopg.connect(url, autocommit=True) as plain:
        plain.execute(sql.SQL("create role {} login").format(role))
        grants = CliRunner().invoke(main, ["grants", "reader", name, "--url", url]).stdout
        plain.execute(grants.encode())
        yield make_conninfo(url, user=name)
        plain.execute(sql.SQL("drop owned by {}").format(role))
        plain.execute(sql.SQL("drop role {}").format(role))


@pytest.mark.heavy
@pytest.mark.parametrize("form", ["text", "json"])
def test_the_caller_is_told_whose_right_it_is_and_the_log_has_the_grant(
    url: str, client: pgchroma.ClientAPI, reader: str, tmp_path: Path, form: str
) -> None:
    papers = client.create_collection("papers", embedding_function=None)
    papers.add(ids="1", embeddings=[1.0])
    name = conninfo_to_dict(reader)["user"]
    grant = 'run: grant select, insert, update, delete on "pgchroma"."collections"'
    with (
        running(tmp_path / "log", "--url", reader, "--no-auth", "--log-format", form) as served,
        pgchroma.HttpClient(served.url) as remote,
    ):
        for path, body in (
            (f"{DATABASE}/collections", {"name": "other"}),
            (f"{DATABASE}/collections/{papers.id}/add", {"ids": ["2"], "embeddings": [[1.0]]}),
            ("/api/v2/tenants", {"name": "other"}),
        ):
            answer = httpx.post(served.url + path, json=body)
            assert answer.status_code == 500
            assert answer.json()["error"] == "InternalError"
            message = answer.json()["message"]
            assert message.startswith("the server's database user lacks a privilege")
            assert not any(word in message for word in (str(name), "run:", "permission denied"))
        with pytest.raises(
            errors.InternalError, match="the server's database user lacks a privilege"
        ):
            remote.delete_collection("papers")
    lines = (tmp_path / "log").read_text().splitlines()
    if form == "json":
        lines = [json.loads(line)["message"] for line in lines]
    told = [line for line in lines if "answered 500: MissingRightError: " in line]
    assert len(told) == 4
    assert all("run: grant " in line and str(name) in line for line in told)
    assert grant in told[0]
    assert "Traceback" not in "".join(lines)
    assert "caused by" not in lines


@pytest.mark.heavy
def test_what_the_log_says_mends_it(
    url: str, client: pgchroma.ClientAPI, reader: str, tmp_path: Path
) -> None:
    papers = client.create_collection("papers", embedding_function=None)
    log = tmp_path / "log"
    with running(log, "--url", reader, "--no-auth") as served:
        remote = pgchroma.HttpClient(served.url)
        with pytest.raises(errors.InternalError):
            remote.get_collection("papers").add(ids="1", embeddings=[1.0])
        (told,) = (line for line in log.read_text().splitlines() if "MissingRightError" in line)
        with psycopg.connect(url, autocommit=True) as plain:
            plain.execute(told.partition("run: ")[2].encode())
        remote.get_collection("papers").add(ids="1", embeddings=[1.0])
        remote.close()
    assert papers.count() == 1
