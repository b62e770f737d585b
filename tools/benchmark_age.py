"""Check that no published benchmark is older than a release of pgchroma.

    python tools/benchmark_age.py [DIRECTORY]

Each page names the commit that it was measured at, with the version that was developed then, as
`benchmarks/revision.py` writes it. A page is too old if CHANGELOG.md dates a release whose first
two numbers are greater than those of the page's version. Neither tags nor the history are needed,
which a shallow clone and a source distribution lack.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("docs/benchmarks*.md", "docs/installing.md")
REVISION = re.compile(r"\bcommit\s+([0-9a-f]{7,40})\s+\(version\s+(\d+\.\d+)[^)\s]*\)")
RELEASE = re.compile(r"^## (\d+\.\d+)\S* \(\d{4}-\d{2}-\d{2}\)$", re.MULTILINE)

Series = tuple[int, ...]
"""The first two numbers of a version: the third changes with corrections."""


def main(root: Path) -> int:
    """Print what is wrong; the result is 1 if there is something to print."""
    found = list(problems(root))
    for problem in found:
        print(problem, file=sys.stderr)
    return int(bool(found))


def problems(root: Path) -> Iterator[str]:
    """Yield a line for each page that names no commit, or one before the newest release."""
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    released = max(map(_series, RELEASE.findall(changelog)), default=())
    for page in sorted(page for pattern in PAGES for page in root.glob(pattern)):
        name = page.relative_to(root)
        measured = REVISION.findall(page.read_text(encoding="utf-8"))
        if not measured:
            yield f"{name}: expected 'commit 363adea (version 0.1.0)', as benchmarks write it"
        for commit, version in measured:
            if _series(version) < released:
                newest = ".".join(map(str, released))
                yield (
                    f"{name}: measured at commit {commit} of version {version}, before the "
                    f"release of {newest}; run its benchmark again"
                )


def _series(version: str) -> Series:
    return tuple(map(int, version.split(".")))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if sys.argv[1:] else ROOT))
