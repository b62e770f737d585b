"""Run initdb: create the data directory under another name, and rename it when it is complete.

Unlike PostgreSQL, initdb refuses a user that is not in the user database. For such a user, initdb
runs under another user's name: root runs it as that user, in a directory that the user's other
processes cannot access; for others, only the name that initdb sees is changed.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pgchroma.embedded import accounts
from pgchroma.embedded.accounts import Account
from pgchroma.embedded.locks import FileLock
from pgchroma.embedded.programs import run_program
from pgchroma.errors import UnavailableError

__all__ = ("Initdb", "initdb_options")

_SUPERUSER: Final = "pgchroma"

_NSS_WRAPPER: Final = ("usr/lib/*/libnss_wrapper.so", "usr/lib*/libnss_wrapper.so")


@dataclass(frozen=True, slots=True)
class Initdb:
    """One run of initdb.

    Attributes:
        binaries: The directory of the program.
        account: The owner of the data.
        start_lock: The lock that excludes other processes; initdb inherits it.
        options: Command-line options, without the directory.
    """

    binaries: Path
    account: Account
    start_lock: FileLock
    options: list[str]

    def make(self, part: Path, data: Path) -> None:
        """Create `data`, which is never visible in part.

        Args:
            part: A directory that does not exist, on the same file system.
            data: The final path.

        Raises:
            UnavailableError: initdb failed; the message is its output.
        """
        # Closed, so that other processes of initdb's user have no access.
        part.mkdir(mode=0o700)
        made = part / "data"
        made.mkdir(mode=0o700)
        command: list[Path | str] = [self.binaries / "initdb", "-D", made, *self.options]
        if self.account.is_named:
            self._open(part, self.account)
            self._run(self.account, made, command)
        elif self.account.drop:
            self._run_as_another(part, made, command)
        else:
            self._run_renamed(part, command)
        self.account.take_ownership(made)
        made.rename(data)

    def _run(self, account: Account, made: Path, command: list[Path | str]) -> None:
        account.take_ownership(made)
        run_program(account.command(*command), pass_fds=(self.start_lock.fd,))

    def _run_as_another(self, part: Path, made: Path, command: list[Path | str]) -> None:
        uid, gid = accounts.named_user()
        try:
            account = Account.reaching(uid, gid, made, self.binaries)
        except UnavailableError:
            # The user has no capability to pass a closed directory, so it must be open.
            part.chmod(0o711)
            account = Account.reaching(uid, gid, made, self.binaries)
        self._run(account, made, command)

    def _run_renamed(self, part: Path, command: list[Path | str]) -> None:
        if library := _nss_wrapper():
            run_program(
                self.account.command(*command),
                _wrapped(library, part),
                pass_fds=(self.start_lock.fd,),
            )
            return
        renamed = Path(__file__).with_name("renamed.py")
        uid, gid = accounts.named_user()
        words = [sys.executable, "-I", "-S", str(renamed), str(uid), str(gid), *map(str, command)]
        try:
            run_program(words, pass_fds=(self.start_lock.fd,))
        except (UnavailableError, OSError) as error:
            raise UnavailableError(
                f"initdb needs user {os.geteuid()} to have a name: install libnss-wrapper, or add"
                f" `pgchroma:x:{os.geteuid()}:{os.getegid()}::/:/bin/false` to /etc/passwd"
                f" ({error})"
            ) from error

    @staticmethod
    def _open(part: Path, account: Account) -> None:
        if account.drop:
            os.chown(part, account.uid, account.gid)


def initdb_options(*, durable: bool = True) -> list[str]:
    """Return the options for a data directory of pgchroma's.

    Args:
        durable: Whether its data survives a crash of the machine.
    """
    options = [
        f"--username={_SUPERUSER}",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        # The permissions of the socket's directory are the only access control.
        "--auth-local=trust",
        "--auth-host=reject",
        "--no-instructions",
    ]
    return options if durable else [*options, "--no-sync", "--no-data-checksums", "--wal-segsize=1"]


def _nss_wrapper() -> Path | None:
    found = (file for pattern in _NSS_WRAPPER for file in Path("/").glob(pattern))
    return next(found, None)


def _wrapped(library: Path, part: Path) -> dict[str, str]:
    """Return the variables that make glibc report a name for this process's user."""
    passwd, group = part / "passwd", part / "group"
    passwd.write_text(f"pgchroma:x:{os.geteuid()}:{os.getegid()}::/:/bin/false\n")
    group.write_text(f"pgchroma:x:{os.getegid()}:\n")
    return {
        "LD_PRELOAD": str(library),
        "NSS_WRAPPER_PASSWD": str(passwd),
        "NSS_WRAPPER_GROUP": str(group),
    }
