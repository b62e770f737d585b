"""The contents of the log, and above all the secrets that must not be in it."""

from __future__ import annotations

import base64
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgchroma.errors import InternalError
from pgchroma.server.observability.logs import JsonFormatter, TextFormatter, redacted_message
from tests.server_process import Server, running

SENTINEL = "sesame-7f3a"
BASE = "/api/v2/tenants/default_tenant/databases/default_database/collections"

FORMS = ("text", "json")


@pytest.fixture(params=FORMS)
def served(request: pytest.FixtureRequest, url: str, tmp_path: Path) -> Iterator[Server]:
    conninfo = make_conninfo(url, password=SENTINEL)
    with running(
        tmp_path / "log", "--url", conninfo, "--log-format", request.param, "--log-level", "debug"
    ) as server:
        server.conninfo = url
        yield server


def storm(server: Server) -> list[int]:
    """Send secrets in every part of a request, and cause every kind of error with them."""
    key = {"authorization": f"Bearer {server.first_key}"}
    basic = base64.b64encode(f"{SENTINEL}:{SENTINEL}".encode()).decode()
    with httpx.Client(base_url=server.url, headers=key, timeout=30) as http:
        made = http.post(BASE, json={"name": "secretive", "metadata": {"k": SENTINEL}})
        one = f"{BASE}/{made.json()['id']}"
        record = {
            "ids": [SENTINEL],
            "embeddings": [[1234.0625, 2.5]],
            "documents": [f"{SENTINEL} text"],
            "metadatas": [{SENTINEL: SENTINEL}],
            "uris": [SENTINEL],
        }
        responses = [
            made,
            http.post(f"{one}/add", json=record),
            http.post(f"{one}/get", json={"where": {"k": SENTINEL}}, params={"q": SENTINEL}),
            http.post(f"{one}/get", json={"where": {"k": {f"${SENTINEL}": 1}}}),
            http.post(f"{one}/get", json={"where_document": {"$regex": f"({SENTINEL}"}}),
            http.post(f"{one}/add", json={**record, "embeddings": [[1.0]]}),
            http.post(f"{one}/add", json={**record, "embeddings": SENTINEL}),
            http.post(f"{one}/add", content=f'{{"ids": ["{SENTINEL}'),
            http.post(f"{one}/add", json={"ids": ["x"], "documents": [f"{SENTINEL}\x00"]}),
            http.post(f"{one}/query", json={"query_embeddings": [[1, 2]], SENTINEL: 1}),
            http.get(BASE, params={"limit": SENTINEL}),
            http.get(BASE, headers={"authorization": f"Bearer {SENTINEL}"}),
            http.get(BASE, headers={"authorization": f"Basic {basic}"}),
            http.get(BASE, headers={"x-chroma-token": SENTINEL, "cookie": SENTINEL}),
        ]
        forbid(server.conninfo)
        responses.append(http.post(f"{one}/add", json={**record, "ids": ["other"]}))
        responses.append(http.post(f"{one}/upsert", json={**record, "ids": ["other"]}))
        return [response.status_code for response in responses]


def forbid(conninfo: str) -> None:
    """Make PostgreSQL refuse rows with errors that quote them."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        tables = connection.execute(
            "select format('%I.%I', table_schema, table_name) from information_schema.columns "
            "join information_schema.tables using (table_schema, table_name) where "
            "column_name = 'document' and table_type = 'BASE TABLE'"
        ).fetchall()
        assert tables
        for (table,) in tables:
            alter = "alter table {} add check (document not like '%sesame%') not valid"
            connection.execute(sql.SQL(alter).format(sql.SQL(table)))


@pytest.mark.heavy
def test_no_secret_is_logged(served: Server) -> None:
    statuses = storm(served)
    assert statuses[-2:] == [500, 500]
    assert {200, 201, 400, 401, 422, 500} <= set(statuses)
    first_key = served.first_key
    assert served.stop() == 0
    text = served.log.read_text()
    assert text.count("/add") >= 6
    assert SENTINEL not in text
    assert "1234.0625" not in text
    assert first_key not in text
    # The log still explains the error to the operator.
    assert "CheckViolation 23514" in text


@pytest.mark.heavy
def test_a_line_in_json_has_the_request(url: str, tmp_path: Path) -> None:
    with running(tmp_path / "log", "--url", url, "--log-format", "json") as server:
        headers = {"authorization": f"Bearer {server.first_key}"}
        httpx.get(f"{server.url}{BASE}?limit=5", headers=headers)
        httpx.get(f"{server.url}/of/nobody", headers=headers)
        server.stop()
        found = [json.loads(line) for line in server.log.read_text().splitlines()]
    requests = {line["path"]: line for line in found if line["logger"] == "pgchroma.requests"}
    line = requests[BASE]
    assert line["milliseconds"] > 0
    assert {name: line[name] for name in ("operation", "method", "status", "bytes", "caller")} == {
        "operation": "list_collections",
        "method": "GET",
        "status": 200,
        "bytes": 2,
        "caller": "admin",
    }
    assert line["level"] == "INFO"
    assert line["trace_id"] == "0" * 32
    assert requests["/of/nobody"]["operation"] == ""


@pytest.mark.heavy
def test_requests_need_not_be_logged(url: str, tmp_path: Path) -> None:
    environment = {"PGCHROMA_LOG_REQUESTS": "false"}
    with running(tmp_path / "log", "--url", url, "--no-auth", environment=environment) as server:
        httpx.get(server.url + BASE)
        server.stop()
        assert BASE not in server.log.read_text()


def caught(error: BaseException, cause: BaseException | None = None) -> Any:
    try:
        raise error from cause
    except BaseException:
        return sys.exc_info()


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_an_exception_is_told_without_values(formatter: logging.Formatter) -> None:
    cause = psycopg.errors.UniqueViolation(f"Key (id)=({SENTINEL}) already exists")
    error = InternalError(f"PostgreSQL reports 23505: {SENTINEL}")
    record = logging.makeLogRecord(
        {"name": "pgchroma.server", "msg": "answered %d", "args": (500,)}
    )
    record.exc_info = caught(error, cause)
    text = formatter.format(record)
    assert SENTINEL not in text
    assert "InternalError" in text
    assert "UniqueViolation 23505" in text
    assert "test_logs.py" in text
    assert "raise error from cause" in text


def test_a_group_is_told_whole() -> None:
    group = ExceptionGroup(SENTINEL, [ValueError(SENTINEL), TypeError("no such argument")])
    text = TextFormatter().formatException(caught(group))
    assert SENTINEL not in text
    assert text.splitlines()[-5:] == [
        *("ExceptionGroup", "with", "ValueError", "with", "TypeError: no such argument"),
    ]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError(SENTINEL), "ValueError"),
        (KeyError(SENTINEL), "KeyError"),
        (psycopg.DataError(SENTINEL), "DataError"),
        (psycopg.errors.InvalidTextRepresentation(SENTINEL), "InvalidTextRepresentation 22P02"),
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
        (TypeError("f() takes no arguments"), "TypeError: f() takes no arguments"),
        (InternalError("the disk is full"), "InternalError: the disk is full"),
    ],
)
def test_what_is_said_of_an_exception(error: BaseException, text: str) -> None:
    assert redacted_message(error) == text
