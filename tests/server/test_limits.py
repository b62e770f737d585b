"""Limits for many or slow requests, and which callers they apply to."""

from __future__ import annotations

from pathlib import Path

import httpx
import psycopg
import pytest

from tests.server_process import eventually, running


@pytest.mark.heavy
def test_a_rate_is_each_credentials_own_and_nobodys_for_what_is_public(
    url: str, tmp_path: Path
) -> None:
    with (
        running(tmp_path / "log", "--url", url, environment={"PGCHROMA_RATE_LIMIT": "4"}) as server,
        httpx.Client(base_url=f"{server.url}/api/v2") as anybody,
    ):
        for _ in range(8):
            for public in ("/heartbeat", "/version", "/pre-flight-checks", "/healthcheck"):
                assert anybody.get(public).status_code == 200
        key = {"x-chroma-token": server.first_key}
        answers = [anybody.get("/auth/identity", headers=key) for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 2
        assert answers[-1].json()["error"] == "ChromaError"
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
        # A request without a credential does not count towards the limit of any key.
        assert anybody.get("/auth/identity").status_code == 401
        assert anybody.get("/heartbeat").status_code == 200


@pytest.mark.heavy
def test_looking_a_credential_up_has_its_time_too(url: str, tmp_path: Path) -> None:
    with (
        running(
            tmp_path / "log", "--url", url, environment={"PGCHROMA_REQUEST_TIMEOUT": "0.5"}
        ) as server,
        psycopg.connect(url) as other,
    ):
        other.execute("lock table pgchroma.credentials in access exclusive mode")
        answer = httpx.get(
            f"{server.url}/api/v2/auth/identity",
            headers={"x-chroma-token": server.first_key},
            timeout=20,
        )
        assert answer.status_code == 504
        other.rollback()
        # Half a second may be too short for one request while other tests run.
        eventually(
            lambda: (
                httpx.get(
                    f"{server.url}/api/v2/auth/identity",
                    headers={"x-chroma-token": server.first_key},
                ).status_code
                == 200
            )
        )


@pytest.mark.heavy
def test_a_stranger_is_not_told_about_the_database(url: str, tmp_path: Path) -> None:
    with (
        running(tmp_path / "log", "--url", url, "--no-auth") as server,
        psycopg.connect(url, autocommit=True) as other,
    ):
        # A drop would lock every table, and the server's tasks use them at the same time.
        other.execute("alter schema pgchroma rename to elsewhere")
        answer = httpx.get(f"{server.url}/api/v2/tenants/default_tenant")
        assert answer.status_code == 500
        assert answer.json() == {
            "error": "InternalError",
            "message": "internal error; see the server's log",
        }
        assert "tenants" in server.log.read_text()


@pytest.mark.heavy
def test_no_question_asks_for_more_results_than_a_query_may(url: str, tmp_path: Path) -> None:
    environment = {"PGCHROMA_MAX_N_RESULTS": "5"}
    arguments = ("--url", url, "--no-auth")
    with running(tmp_path / "log", *arguments, environment=environment) as server:
        collections = (
            f"{server.url}/api/v2/tenants/default_tenant/databases/default_database/collections"
        )
        made = httpx.post(collections, json={"name": "papers"}).json()
        for question, body in (
            ("query", {"query_embeddings": [[1.0]]}),
            ("explain", {"query_embeddings": [[1.0]]}),
            ("recall", {}),
        ):
            place = f"{collections}/{made['id']}/{question}"
            answer = httpx.post(place, json={**body, "n_results": 6})
            assert (answer.status_code, answer.json()["error"]) == (400, "InvalidArgumentError")
            assert answer.json()["message"] == "n_results 6 exceeds the maximum of 5"
            assert httpx.post(place, json={**body, "n_results": 5}).status_code == 200
