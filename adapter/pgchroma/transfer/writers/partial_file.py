"""Write a file under a temporary name, and give it its name when it is complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pgchroma.errors import ChromaError

__all__ = ("partial_file",)


@contextmanager
def partial_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that becomes `path` if the context ends without an error.

    Raises:
        ChromaError: The file cannot be written, because the disk is full, for example. Nothing of
            it remains, and a file that existed is unchanged.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise ChromaError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
