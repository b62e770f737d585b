"""`make check` refuses a page of figures that is older than a release."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "benchmark_age.py"
MEASURED = "2026-11-30, commit 363adea (version 0.1.0). Made by `make bench-http`.\n"


def check(root: Path, changelog: str, page: str) -> str:
    (root / "docs").mkdir()
    (root / "docs" / "benchmarks-http.md").write_text(page)
    (root / "CHANGELOG.md").write_text(f"# Changelog\n\n{changelog}\n\n- A change.\n")
    done = subprocess.run(
        [sys.executable, str(TOOL), str(root)], stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == bool(done.stderr), done
    return done.stderr


@pytest.mark.parametrize(
    "changelog",
    [
        "## 0.1.0 (unreleased)",
        "## 0.1.0 (2026-12-01)",
        "## 0.1.1 (2026-12-08)\n\n## 0.1.0 (2026-12-01)",
        "## 0.2.0 (unreleased)\n\n## 0.1.0 (2026-12-01)",
    ],
    ids=["none", "its-own", "correction", "next-one-under-way"],
)
def test_a_page_of_the_last_release_passes(tmp_path: Path, changelog: str) -> None:
    assert check(tmp_path, changelog, MEASURED) == ""


@pytest.mark.parametrize("newest", ["0.2.0", "0.10.0", "1.0.0"])
def test_a_page_from_before_a_release_is_refused(tmp_path: Path, newest: str) -> None:
    changelog = f"## {newest} (2027-01-15)\n\n## 0.1.0 (2026-12-01)"
    told = check(tmp_path, changelog, MEASURED)
    assert told.startswith("docs/benchmarks-http.md: measured at commit 363adea of version 0.1")


def test_every_commit_of_a_page_counts(tmp_path: Path) -> None:
    changelog = "## 0.2.0 (2027-01-15)\n\n## 0.1.0 (2026-12-01)"
    page = "2027-01-10, commit 1d122b9 (version 0.2.0)\n"
    assert check(tmp_path, changelog, page + MEASURED).count("commit") == 1


@pytest.mark.parametrize(
    "page",
    [
        "Made by `make bench-http`.\n",
        "2026-11-30, commit 363adea.\n",
        "2026-11-30, commit 363adea with uncommitted changes (version 0.1.0).\n",
    ],
    ids=["without", "without-version", "uncommitted"],
)
def test_a_page_without_a_commit_is_refused(tmp_path: Path, page: str) -> None:
    told = check(tmp_path, "## 0.1.0 (unreleased)", page)
    assert told.startswith("docs/benchmarks-http.md: expected 'commit 363adea (version 0.1.0)'")


def test_a_line_may_end_within(tmp_path: Path) -> None:
    assert check(tmp_path, "## 0.1.0 (unreleased)", "at commit 363adea\n(version\n0.1.0)") == ""
