"""The Compose file and the image: the users of the processes, and which ports are reachable."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import sql
from psycopg.conninfo import make_conninfo

import pgchroma
from pgchroma.embedded import EmbeddedPostgres

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_only_the_proxy_is_reachable_and_it_serves_https(compose: Any) -> None:
    published = {name for name, service in compose["services"].items() if "ports" in service}
    assert published == {"proxy"}
    assert "443:443" in compose["services"]["proxy"]["ports"]
    caddyfile = compose["configs"]["caddyfile"]["content"]
    # A site by its name has a certificate; `http://`, or a port alone, has none.
    assert caddyfile.startswith("{$$SITE} {")
    assert "http://" not in caddyfile
    assert caddyfile.count("{") == caddyfile.count("}")
    assert compose["services"]["proxy"]["environment"]["SITE"] == "${SITE:-localhost}"


def test_the_servers_log_in_as_an_ordinary_role(compose: Any) -> None:
    statements = compose["configs"]["role"]["content"]
    (role,) = re.findall(r"create role (\w+) (.*);", statements)
    assert role == ("pgchroma", "login password :'password'")
    assert "superuser" not in statements
    assert "create extension vector;" in statements
    header = (ROOT / "docker-compose.yml").read_text().partition("services:")[0]
    assert "postgresql://pgchroma:" in header
    for name in ("migrate", "serve"):
        service = compose["services"][name]
        assert service["env_file"] == "pgchroma.env"
        assert service["cap_drop"] == ["ALL"]
        assert "user" not in service
    assert compose["services"]["postgres"]["env_file"] == "postgres.env"


def test_no_secret_is_in_an_argument_or_in_the_file(compose: Any) -> None:
    for service in compose["services"].values():
        words = " ".join([*service.get("command", []), *map(str, service.get("entrypoint", []))])
        assert not re.search(r"postgres(ql)?://|password|PGCHROMA_URL", words, re.IGNORECASE)


def test_every_source_that_is_named_is_there(compose: Any) -> None:
    for service in compose["services"].values():
        for used in service.get("configs", []):
            assert used["source"] in compose["configs"]
        for other in service.get("depends_on", {}):
            assert other in compose["services"]
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in compose["volumes"]


def test_the_image_runs_as_a_user_by_number() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["1000:1000"]
    assert any("useradd --uid 1000 --gid 1000" in line for line in lines)


def test_the_role_can_do_all_that_the_servers_do(compose: Any, server: EmbeddedPostgres) -> None:
    statements = compose["configs"]["role"]["content"].replace("pgchroma", "composed")
    before, after = statements.split("\\connect composed")
    # psql's own commands and variables have been carried out.
    before = before.replace("\\getenv password COMPOSED_PASSWORD", "").replace(
        "\\getenv password PGCHROMA_PASSWORD", ""
    )
    before = before.replace(":'password'", "'secret'")
    place = make_conninfo(server.conninfo, dbname="composed")
    try:
        run(server.conninfo, before)
        run(place, after)
        with pgchroma.PostgresClient(make_conninfo(place, user="composed")) as client:
            made = client.create_collection("papers", embedding_function=None)
            made.add(ids=["a"], embeddings=[[1.0, 2.0]], documents=["x"])
            assert made.count() == 1
    finally:
        run(server.conninfo, "drop database if exists composed with (force); drop role composed;")


def run(conninfo: str, statements: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for statement in filter(str.strip, statements.split(";")):
            connection.execute(sql.SQL(statement))
