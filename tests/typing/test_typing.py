"""Programs with the public API that mypy and pyright accept, and mistakes that they find."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ACCEPTED = Path(__file__).with_name("accepted.py")
REFUSED = Path(__file__).with_name("refused.py")
MARK = "  # error"

pytestmark = pytest.mark.timeout(600)  # mypy reads the whole package when its cache is empty


def marked_lines() -> set[int]:
    lines = REFUSED.read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith(MARK)}


def mypy(path: Path) -> dict[int, str]:
    """Return the errors that mypy finds, by line."""
    done = run("mypy", "--strict", "--no-error-summary", str(path.relative_to(ROOT)))
    found = re.findall(r"^([^:\n]+):(\d+): error: (.*)", done.stdout, re.MULTILINE)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert {name for name, _, _ in found} <= {str(path.relative_to(ROOT))}
    return {int(line): message for _, line, message in found}


def pyright(path: Path) -> dict[int, str]:
    """Return the errors that pyright finds, by line. Its fork basedpyright brings node along."""
    done = run("basedpyright", "--pythonpath", sys.executable, "--outputjson", str(path))
    found = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] == 1, done.stdout
    return {
        each["range"]["start"]["line"] + 1: each["message"]
        for each in found["generalDiagnostics"]
        if each["severity"] == "error"
    }


def run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    executable = Path(sys.executable).with_name(command)
    if not executable.exists():
        pytest.skip(f"{command} is not installed")
    return subprocess.run(
        [executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_mypy_accepts_usual_code() -> None:
    assert mypy(ACCEPTED) == {}


def test_mypy_finds_each_mistake() -> None:
    found = mypy(REFUSED)
    assert found.keys() == marked_lines(), found


def test_pyright_accepts_usual_code() -> None:
    assert pyright(ACCEPTED) == {}


def test_pyright_finds_each_mistake() -> None:
    found = pyright(REFUSED)
    assert found.keys() == marked_lines(), found
