"""The commands of the pages on importing and exporting run as the pages show them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pgchroma
from pgchroma.cli import main
from pgchroma.transfer.readers.chroma_directory import ChromaDirectory
from tests.commands import runner
from tests.transfer.sample_stores import unpack

ROOT = Path(__file__).resolve().parents[2]


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.heavy
def test_the_commands_run(tmp_path: Path) -> None:
    store = unpack("1.5.9", tmp_path)
    store.path.rename(tmp_path / "chroma")
    imports, exports = blocks("importing.md", "sh"), blocks("exporting.md", "sh")
    assert (len(imports), len(exports)) == (2, 2)
    with ChromaDirectory(tmp_path / "chroma") as source:
        found = source.collections()
    names = [each.name for each in found]
    chosen = next(each for each in found if names.count(each.name) == 1)
    exports[1] = exports[1].replace("--collection papers", f"--collection {chosen.name}")
    for command in (*imports, *exports):
        done = subprocess.run(
            command,
            shell=True,
            cwd=tmp_path,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    with pgchroma.PersistentClient(
        tmp_path / "other", tenant=chosen.tenant, database=chosen.database
    ) as client:
        assert client.get_collection(chosen.name).count() == chosen.count
    assert len(list((tmp_path / "files").iterdir())) == len(found)
    assert (tmp_path / "papers.jsonl.gz").exists()


def test_the_lines_of_the_page_are_a_file_that_can_be_imported(url: str, tmp_path: Path) -> None:
    (lines,) = blocks("exporting.md", "json")
    (tmp_path / "some.jsonl").write_text(lines)
    result = runner().invoke(main, ["import", str(tmp_path / "some.jsonl"), "--url", url])
    assert result.exit_code == 0, result.output
    with pgchroma.PostgresClient(url) as client:
        found = client.get_collection("papers").get()
    assert found["documents"] == ["one", "two"]
    assert found["metadatas"] == [{"year": 2026}, None]
