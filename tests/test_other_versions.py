"""The Pythons and PostgreSQLs that `make test-versions` runs tests on."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
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
