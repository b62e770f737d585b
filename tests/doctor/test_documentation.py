"""`docs/doctor.md` has every check, and each check that it has exists and is tested."""

from __future__ import annotations

import re
from pathlib import Path

from pgchroma.doctor.checks import CHECKS
from pgchroma.doctor.findings import CHECK_FAILED, NOT_CHECKED

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| `([a-z-]+)` \| (error|warning|info)", re.MULTILINE)


def test_the_documentation_has_all_checks_in_their_order() -> None:
    documented = [name for name, _ in ROW.findall((ROOT / "docs/doctor.md").read_text())]
    assert documented == [*(check.name for check in CHECKS), NOT_CHECKED, CHECK_FAILED]


def test_every_check_is_tested() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert [check.name for check in CHECKS if f'"{check.name}"' not in tests] == []


def test_troubleshooting_links_to_it() -> None:
    assert "(doctor.md)" in (ROOT / "docs/troubleshooting.md").read_text()
