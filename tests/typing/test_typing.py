"""Programs with the public API that mypy and pyright accept, and mistakes that they find."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

import pytest

ROOT = Path(__file__).resolve().parents[2]
ACCEPTED = Path(__file__).with_name("accepted.py")
REFUSED = Path(__file__).with_name("refused.py")
MARK = "  # error"

Errors: TypeAlias = dict[Path, dict[int, str]]
"""Messages by file and line."""

# mypy reads the whole package when its cache is empty.
pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]


def marked_lines() -> set[int]:
    lines = REFUSED.read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith(MARK)}


@pytest.fixture(scope="module")
def mypy() -> Errors:
    """The errors that mypy finds."""
    done = run("mypy", "--strict", "--no-error-summary", str(ACCEPTED), str(REFUSED))
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = re.findall(r"^([^:\n]+):(\d+): error: (.*)", done.stdout, re.MULTILINE)
    return by_file((ROOT / name, int(line), message) for name, line, message in found)


@pytest.fixture(scope="module")
def pyright() -> Errors:
    """The errors that pyright finds. Its fork basedpyright brings node along."""
    arguments = ("--pythonpath", sys.executable, "--outputjson", str(ACCEPTED), str(REFUSED))
    found = json.loads(run("basedpyright", *arguments).stdout)
    assert found["summary"]["filesAnalyzed"] == 2, found
    return by_file(
        (Path(each["file"]), each["range"]["start"]["line"] + 1, each["message"])
        for each in found["generalDiagnostics"]
        if each["severity"] == "error"
    )


def by_file(found: Iterable[tuple[Path, int, str]]) -> Errors:
    errors: Errors = {ACCEPTED: {}, REFUSED: {}}
    for path, line, message in found:
        errors[path][line] = message
    return errors


def run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    executable = Path(sys.executable).with_name(command)
    if not executable.exists():
        pytest.skip(f"{command} is not installed")
    return subprocess.run(
        [executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_mypy_accepts_usual_code(mypy: Errors) -> None:
    assert mypy[ACCEPTED] == {}


def test_mypy_finds_each_mistake(mypy: Errors) -> None:
    assert mypy[REFUSED].keys() == marked_lines(), mypy[REFUSED]


def test_pyright_accepts_usual_code(pyright: Errors) -> None:
    assert pyright[ACCEPTED] == {}


def test_pyright_finds_each_mistake(pyright: Errors) -> None:
    assert pyright[REFUSED].keys() == marked_lines(), pyright[REFUSED]
