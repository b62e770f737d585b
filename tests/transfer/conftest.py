"""The sample directories, unpacked once, and copies to damage."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pgchroma.transfer.readers.chroma_directory import ChromaDirectory
from tests.transfer.sample_stores import Read, Store, read_all, unpack


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Store]:
    """Unpack the directory of a release; tests do not write to it."""
    root = tmp_path_factory.mktemp("stores")
    unpacked: dict[str, Store] = {}

    def get(release: str) -> Store:
        if release not in unpacked:
            unpacked[release] = unpack(release, root)
        return unpacked[release]

    return get


@pytest.fixture(scope="session")
def read_of(samples: Callable[[str], Store]) -> Callable[[str], Sequence[Read]]:
    """Read the directory of a release, once."""
    done: dict[str, Sequence[Read]] = {}

    def read(release: str) -> Sequence[Read]:
        if release not in done:
            with ChromaDirectory(samples(release).path) as source:
                done[release] = read_all(source)
        return done[release]

    return read


@pytest.fixture
def copy_of(samples: Callable[[str], Store], tmp_path: Path) -> Callable[[str], Path]:
    """Copy the directory of a release, to write to it."""

    def copy(release: str) -> Path:
        return Path(shutil.copytree(samples(release).path, tmp_path / release))

    return copy
