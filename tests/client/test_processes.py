"""Several processes on one directory, and processes that are killed while they write."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import pgchroma

WRITER = """
    import sys
    import pgchroma

    path, name, turns = sys.argv[1], sys.argv[2], int(sys.argv[3])
    client = pgchroma.PersistentClient(path)
    collection = client.get_or_create_collection("shared", embedding_function=None)
    for turn in range(turns):
        ids = [f"{name}-{turn}-{n}" for n in range(20)]
        collection.add(
            ids=ids, embeddings=[[1.0, 2.0]] * 20, metadatas=[{"batch": f"{name}-{turn}"}] * 20
        )
        print(turn, flush=True)
    print(collection.count(), flush=True)
    client.close()
"""


def _writer(path: Path, name: str, turns: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(path), name, str(turns)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.heavy
def test_processes_that_share_a_directory_read_each_others_writes(tmp_path: Path) -> None:
    path = tmp_path / "shared data"
    writers = [_writer(path, f"w{number}", 10) for number in range(4)]
    with pgchroma.PersistentClient(path) as client:
        for writer in writers:
            output, errors = writer.communicate(timeout=60)
            assert writer.returncode == 0, errors
            assert int(output.split()[-1]) >= 200
        assert client.get_collection("shared").count() == 4 * 10 * 20


@pytest.mark.heavy
def test_a_killed_writer_leaves_whole_batches_and_a_directory_that_opens(tmp_path: Path) -> None:
    path = tmp_path / "data"
    for round_number in range(3):
        with _writer(path, f"r{round_number}", 100_000) as writer:
            assert writer.stdout is not None
            acknowledged = -1
            while acknowledged < 15:
                acknowledged = int(writer.stdout.readline())
            time.sleep(0.003 * round_number)
            writer.send_signal(signal.SIGKILL)
        with pgchroma.PersistentClient(path) as client:
            collection = client.get_collection("shared")
            for turn in range(acknowledged + 1):
                batch = collection.get(where={"batch": f"r{round_number}-{turn}"}, include=[])
                assert len(batch["ids"]) == 20
            assert collection.count() % 20 == 0
            assert len(collection.query(query_embeddings=[1.0, 2.0], n_results=50)["ids"][0]) == 50


@pytest.mark.heavy
def test_a_client_that_is_not_closed_is_cleaned_up_at_exit(tmp_path: Path) -> None:
    path = tmp_path / "data"
    script = f"import pgchroma; pgchroma.PersistentClient({str(path)!r}).create_collection('kept')"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1, "the first use says in one line what it does"
    assert not (path / "postgres" / "postmaster.pid").exists()
    again = subprocess.run(
        [sys.executable, "-W", "error", "-c", script.replace("create", "get")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (again.returncode, again.stderr) == (0, "")


def test_a_client_of_ones_own_postgresql_may_be_left_open_too(url: str) -> None:
    script = f"""
        import asyncio
        import pgchroma

        client = pgchroma.PostgresClient({url!r})
        print(client.count_collections())

        async def main():
            client = await pgchroma.AsyncPostgresClient({url!r})
            print(await client.count_collections())
            await client.close()

        asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n0\n", "")


@pytest.mark.heavy
def test_a_forks_child_leaves_its_parents_client_alone(tmp_path: Path) -> None:
    script = f"""
        import os, sys
        import pgchroma

        client = pgchroma.PersistentClient({str(tmp_path / "data")!r})
        child = os.fork()
        if child == 0:
            try:
                client.heartbeat()
            except pgchroma.errors.InvalidArgumentError as error:
                print("forked" in str(error), flush=True)
            print(pgchroma.PersistentClient({str(tmp_path / "data")!r}).count_collections())
            sys.exit(0)
        os.waitpid(child, 0)
        print(client.heartbeat() > 0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout == "True\n0\nTrue\n", done.stderr
