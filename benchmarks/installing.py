"""Compares what installations bring, how large they are and how long their imports take.

Run by ``make bench-installing``. Each is installed in a separate environment. Sizes are those of
all files but pip's, compiled ones included. Imports are timed in turns, each in a new process; the
median is shown.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from revision import revision
from tables import short, table

ROOT = Path(__file__).resolve().parents[1]
PIP = {"pip", "setuptools", "pkg_resources", "_distutils_hack"}


@dataclass(frozen=True, slots=True)
class Installation:
    """A set of packages that are installed together.

    Attributes:
        requirement: The argument of `pip install`; ``{wheel}`` means pgchroma's wheel.
        statement: The import that is timed.
    """

    name: str
    requirement: str
    statement: str


INSTALLATIONS = (
    Installation("pgchroma", "{wheel}", "from pgchroma import HttpClient"),
    Installation("chromadb-client", "chromadb-client==1.5.9", "from chromadb import HttpClient"),
    Installation(
        "pgchroma[postgres,binary]",
        "pgchroma[postgres,binary] @ {wheel}",
        "from pgchroma import PostgresClient",
    ),
    Installation(
        "pgchroma[all]", "pgchroma[all] @ {wheel}", "from pgchroma import PersistentClient"
    ),
    Installation("chromadb", "chromadb==1.5.9", "from chromadb import PersistentClient"),
)


def main() -> None:
    """Install, measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="imports of each (default: 15)")
    rounds = parser.parse_args().rounds
    measured = revision()
    with tempfile.TemporaryDirectory(prefix="pgchroma-installing-") as place:
        wheel = _built(Path(place)).as_uri()
        pythons = {
            each.name: _installed(Path(place, str(number)), each.requirement.format(wheel=wheel))
            for number, each in enumerate(INSTALLATIONS)
        }
        seconds = _timed(pythons, rounds)
        rows = [_row(each.name, pythons[each.name], seconds[each.name]) for each in INSTALLATIONS]
        print(table(("installed", "packages", "MB", "import, ms"), 1, rows))
        print(f"Measured at {measured}.")


def _row(name: str, python: Path, seconds: Sequence[float]) -> list[str]:
    packages, size = _contents(python)
    return [f"`{name}`", str(packages), short(size / 1e6), short(statistics.median(seconds) * 1000)]


def _built(place: Path) -> Path:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    subprocess.run([*command, str(place), str(ROOT)], check=True)
    (wheel,) = place.glob("*.whl")
    return wheel


def _installed(directory: Path, requirement: str) -> Path:
    """Make an environment and return its Python."""
    venv.create(directory, with_pip=True, symlinks=True)
    python = directory / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # Without compiled files every import would compile, and the benchmark does not measure that.
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([*command, requirement], check=True, env=variables)
    return python


def _timed(pythons: dict[str, Path], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in pythons}
    for _ in range(rounds):
        for each in INSTALLATIONS:
            began = time.perf_counter()
            subprocess.run([str(pythons[each.name]), "-c", each.statement], check=True)
            seconds[each.name].append(time.perf_counter() - began)
    return seconds


def _contents(python: Path) -> tuple[int, int]:
    """Count the packages except pip's, and the bytes of their files."""
    (site,) = python.parents[1].glob("lib/python*/site-packages")
    packages = {each.name.split("-")[0] for each in site.glob("*.dist-info")} - PIP
    files = (file for file in site.rglob("*") if file.is_file())
    return len(packages), sum(
        file.stat().st_size
        for file in files
        if file.relative_to(site).parts[0].split("-")[0] not in PIP
    )


if __name__ == "__main__":
    main()
