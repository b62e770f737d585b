"""The Pythons and PostgreSQLs that `make test-versions` runs tests on."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "other_versions.py"


@pytest.fixture
def tool() -> dict[str, Any]:
    return runpy.run_path(str(TOOL))


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """The programs of a PostgreSQL 17, without pgvector."""
    directory = tmp_path / "bin"
    directory.mkdir()
    (tmp_path / "share" / "postgresql" / "extension").mkdir(parents=True)
    postgres = directory / "postgres"
    postgres.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 17.10 (Debian 17.10-1)'\n")
    postgres.chmod(0o755)
    return directory


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (None, "skipped, for {} has no pgvector"),
        ("0.7.4", "skipped, for {} has pgvector 0.7.4"),
        ("0.8.0", "passed"),
    ],
)
def test_a_postgresql_is_left_out_for_want_of_a_recent_pgvector(
    tool: dict[str, Any], programs: Path, version: str | None, said: str
) -> None:
    if version is not None:
        control = programs.parent / "share" / "postgresql" / "extension" / "vector.control"
        control.write_text(f"comment = 'vectors'\ndefault_version = '{version}'\n")
    run = tool["on_postgresql"]
    run.__globals__["_usual"] = lambda major: []
    run.__globals__["_run"] = lambda python, tests, variables: "passed" if variables else "failed"
    assert run(17, [programs], []) == said.format(programs)
    assert run(15, [programs], []) == "skipped, for it is not installed"


def test_a_python_is_known_by_what_it_says(tool: dict[str, Any], tmp_path: Path) -> None:
    own = "{}.{}".format(*sys.version_info)
    assert tool["_is"](Path(sys.executable), own)
    assert not tool["_is"](Path(sys.executable), "3.1")
    shim = tmp_path / "python3.1"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    assert not tool["_is"](shim, "3.1")
    assert tool["on_python"]("3.1", []) == "skipped, for it is not installed"


def test_pgvector_is_not_built_without_its_sources(tool: dict[str, Any], tmp_path: Path) -> None:
    build = tool["on_pgvector"]
    assert build("0.8.0", None) == "skipped, for no --pgvector names a clone of its repository"
    build.__globals__["shutil"] = SimpleNamespace(which=lambda tool: None)
    assert build("0.8.0", tmp_path) == "skipped, for there is no cc"


@pytest.mark.parametrize("is_built", [False, True])
def test_pgvector_is_built_for_the_newest_postgresql_that_it_knows(
    tool: dict[str, Any], tmp_path: Path, is_built: bool
) -> None:
    ran: list[str] = []

    def build(version: str, clone: Path, programs: Path) -> str | None:
        return None if is_built and "16" in programs.name else f"{version} is too old"

    def run(python: Path, tests: list[str], variables: dict[str, str]) -> str:
        ran.append(variables["PGCHROMA_TEST_POSTGRES"])
        return "passed"

    on_pgvector = tool["on_pgvector"]
    on_pgvector.__globals__.update(
        shutil=SimpleNamespace(which=lambda tool: tool),
        _copied_programs=lambda version: iter((tmp_path / "bin18", tmp_path / "bin16")),
        _major=lambda programs: int(programs.name.removeprefix("bin")),
        _build=build,
        _run=run,
    )
    said = on_pgvector("0.8.0", tmp_path)
    assert ran == ([str(tmp_path / "bin16")] if is_built else [])
    assert said == (
        "passed"
        if is_built
        else "skipped, for it cannot be built: PostgreSQL 18: 0.8.0 is too old; "
        "PostgreSQL 16: 0.8.0 is too old"
    )
