"""Checks the SQL of upgrades with squawk, which knows what locks a table for long.

Released revisions are never changed, so rules that they break are left out for them alone. What is
added later has to keep all rules.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pgchroma.catalog.offline import offline_sql

RELEASED = "0007"
"""The last revision that the exceptions are for."""

EXCEPTIONS = {
    "adding-required-field": "0004: pgchroma.segments has no rows before",
    "constraint-missing-not-valid": "unique constraints cannot be added without a scan",
    "disallowed-unique-constraint": "0003: pgchroma.tenants has few rows",
    "prefer-bigint-over-int": "dimensions and parameters of an index are below 2^31",
    "prefer-text-field": "Alembic's own table",
}
"""Rules that released revisions break, each with the reason why that does no harm."""


def main() -> int:
    """Check both parts; the result is 1 if there is something to report."""
    squawk = Path(sys.executable).with_name("squawk")
    if not squawk.exists():
        print("skipped: there is no wheel of squawk for this machine")
        return 0
    released = _check(squawk, offline_sql(), list(EXCEPTIONS))
    later = _check(squawk, offline_sql(RELEASED), [])
    return int(released or later)


def _check(squawk: Path, sql: str, excluded: list[str]) -> bool:
    """Check SQL, and return whether something was reported."""
    command = [str(squawk), "--pg-version=16", "--reporter=gcc", "--stdin-filepath=migrate.sql"]
    command += [f"--exclude={rule}" for rule in excluded]
    return bool(subprocess.run(command, input=sql, text=True, check=False).returncode)


if __name__ == "__main__":
    sys.exit(main())
