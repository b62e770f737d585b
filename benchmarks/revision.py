"""The commit and the version that a benchmark measures, for its table.

`tools/benchmark_age.py` reads them: a table must not be older than a release.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MEASURED = ("adapter", "benchmarks", "migrations", "pyproject.toml", "sql")
"""The files that decide what is measured."""


def revision() -> str:
    """Return for example ``commit 363adea (version 0.1.0)``; call it before measuring."""
    changes = " with uncommitted changes" if _git("status", "--porcelain", "--", *MEASURED) else ""
    return f"commit {_git('rev-parse', '--short', 'HEAD')}{changes} (version {_version()})"


def _version() -> str:
    text = (ROOT / "adapter" / "pgchroma" / "_version.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    assert found
    return found[1]


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()
