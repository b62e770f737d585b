"""Chroma's archive of the model: download, check, and unpack it into Chroma's own cache."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pgchroma.extras import load_extra

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("FOLDER", "Archive", "fetch_archive")

FOLDER = "onnx"
"""The folder of the files, in the archive and in the cache."""

_ATTEMPTS = 3
_TIMEOUT_SECONDS = 30.0


class _ChecksumMismatchError(ValueError):
    """The downloaded file is not the expected one."""


@dataclass(frozen=True, slots=True)
class Archive:
    """The address of the archive, its hash, and the directory for its folder."""

    url: str
    sha256: str
    directory: Path

    @property
    def unpacked(self) -> Path:
        """The folder that holds the model after `fetch_archive`."""
        return self.directory / FOLDER


def fetch_archive(archive: Archive) -> None:
    """Download the archive, check it, and move its files into `Archive.unpacked`.

    A download with a wrong hash is deleted and repeated after one to three seconds, up to three
    attempts in all. The files are moved with a rename, so other processes never see a part of one,
    and several processes can do this at the same time.

    Raises:
        ValueError: The archive is not the expected one, or a package is missing.
        httpx.HTTPError: The download failed.
        OSError: The directory cannot be written.
    """
    archive.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.directory, prefix=".download-") as scratch:
        file = Path(scratch, "archive.tar.gz")
        _download_checked(archive, file)
        unpacked = _unpack(file, Path(scratch, FOLDER))
        archive.unpacked.mkdir(exist_ok=True)
        for member in unpacked:
            member.replace(archive.unpacked / member.name)


def _unpack(file: Path, directory: Path) -> list[Path]:
    """Unpack the regular files directly in the archive's folder, and nothing else.

    A model has no other files, so links and paths to other directories need no rules. tarfile has
    such rules only since Python 3.11.4.
    """
    directory.mkdir()
    unpacked = []
    with tarfile.open(file) as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            content = tar.extractfile(member) if member.isfile() else None
            if content and path.parts == (FOLDER, path.name) and path.name != "..":
                target = directory / path.name
                with target.open("wb") as written:
                    shutil.copyfileobj(content, written)
                unpacked.append(target)
    return unpacked


def _download_checked(archive: Archive, file: Path) -> None:
    # Imported here, because tenacity imports asyncio, which most programs do not need.
    import tenacity  # noqa: PLC0415

    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(_ChecksumMismatchError),
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        wait=tenacity.wait_random(1, 3),
        reraise=True,
    )
    attempts(_download, archive, file)


def _download(archive: Archive, file: Path) -> None:
    digest = hashlib.sha256()
    with file.open("wb") as target:
        for chunk in _stream(archive.url):
            digest.update(chunk)
            target.write(chunk)
    if digest.hexdigest() != archive.sha256:
        file.unlink()
        raise _ChecksumMismatchError(
            f"Downloaded file {archive.url} does not match expected SHA256 hash "
            f"{archive.sha256}; it has {digest.hexdigest()} and was deleted"
        )


def _stream(url: str) -> Iterator[bytes]:
    """Yield the body in chunks, and show a progress bar on standard error."""
    httpx = load_extra("httpx", "onnx")
    with (
        httpx.stream(
            "GET",
            url,
            # The checksum is that of the unencoded file.
            headers={"Accept-Encoding": "identity"},
            follow_redirects=True,
            timeout=_TIMEOUT_SECONDS,
        ) as response,
        _progress_bar() as progress,
    ):
        response.raise_for_status()
        length = response.headers.get("content-length")
        task = progress.add_task("all-MiniLM-L6-v2", total=int(length) if length else None)
        for chunk in response.iter_raw():
            progress.update(task, advance=len(chunk))
            yield chunk


def _progress_bar() -> Any:
    rich = load_extra("rich.progress", "onnx")
    console = load_extra("rich.console", "onnx").Console(stderr=True)
    return rich.Progress(
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.DownloadColumn(),
        rich.TransferSpeedColumn(),
        console=console,
    )
