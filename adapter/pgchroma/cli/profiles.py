"""The file with the databases and servers that a user has stored: ``pgchroma/profiles.toml``.

It is in the user's configuration directory: ``$XDG_CONFIG_HOME``, by default ``~/.config``. It
contains passwords and API keys, so only its owner may read it.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import platformdirs
from msgspec import Struct, ValidationError, convert, field, to_builtins

from pgchroma.cli.errors import CommandError
from pgchroma.errors import InvalidArgumentError

__all__ = ("Profile", "Profiles", "changed_profiles", "check_profile_name", "read_profiles")

_FILE: Final = "profiles.toml"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_is_posix: Final = os.name == "posix"


class Profile(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A database, a directory or a server, and how to log in.

    Attributes:
        url: The URL of a database or of a server.
        path: The absolute path of an embedded PostgreSQL's directory, instead of a URL.
        secret: The password of the database, or the API key of the server.
    """

    url: str | None = None
    path: str | None = None
    secret: str | None = None

    def __post_init__(self) -> None:
        if (self.url is None) == (self.path is None):
            raise ValueError("expected a url or a path, and not both")

    def __repr__(self) -> str:
        return "Profile(…)"


class Profiles(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """All profiles.

    Attributes:
        current: The profile that applies where no flag and no variable names a database.
    """

    current: str | None = None
    profiles: dict[str, Profile] = field(default_factory=dict)

    def profile(self, name: str) -> Profile:
        """Return a profile.

        Raises:
            InvalidArgumentError: There is no profile of that name.
        """
        check_profile_name(name)
        found = self.profiles.get(name)
        if found is None:
            known = ", ".join(sorted(self.profiles)) or "none"
            raise InvalidArgumentError(
                f"there is no profile {name}; stored are: {known}. `pgchroma login` stores one"
            )
        return found


def check_profile_name(name: str) -> str:
    """Return the name of a profile.

    Raises:
        InvalidArgumentError: It is not one; the message does not show it, because it may be a URL.
    """
    if _NAME.fullmatch(name) is None:
        raise InvalidArgumentError(
            "the name of a profile has up to 64 letters, digits, dots, hyphens and underscores, "
            "and begins with a letter or a digit"
        )
    return name


def read_profiles() -> Profiles:
    """Return the stored profiles; there are none if the file does not exist.

    Raises:
        CommandError: The file cannot be read, has another form, or other users can read it.
    """
    file = _file()
    try:
        with file.open("rb") as opened:
            if _is_posix and os.fstat(opened.fileno()).st_mode & _OTHERS:
                raise CommandError(
                    f"{file} contains passwords and other users can read it: run chmod 600 {file}",
                    2,
                )
            content = opened.read()
    except FileNotFoundError:
        return Profiles()
    except OSError as error:
        raise CommandError(f"{file}: cannot be read: {error.strerror}", 2) from error
    return _parse(content, file)


@contextmanager
def changed_profiles() -> Generator[Profiles, None, None]:
    """Yield the stored profiles, and store what they are at the end of the context.

    Another process that changes them waits for this one. If an error ends the context, the file
    stays as it was.

    Raises:
        CommandError: The file cannot be read or written.
    """
    file = _file()
    with _reported(file):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_posix and file.parent.stat().st_mode & _OTHERS:
            file.parent.chmod(0o700)
    with _locked(file.parent):
        profiles = read_profiles()
        yield profiles
        with _reported(file):
            _replace(file, profiles)


@contextmanager
def _locked(directory: Path) -> Generator[None, None, None]:
    if not _is_posix:
        yield
        return
    import fcntl  # noqa: PLC0415  (Windows does not have it)

    # The file is replaced, so a lock on it would not exclude a later writer.
    lock = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _file() -> Path:
    return platformdirs.user_config_path("pgchroma") / _FILE


def _parse(content: bytes, file: Path) -> Profiles:
    import tomllib  # noqa: PLC0415  (only where there are profiles)

    try:
        return convert(tomllib.loads(content.decode()), Profiles)
    except UnicodeDecodeError as error:
        raise CommandError(f"{file}: it is not UTF-8", 2) from error
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise CommandError(f"{file}: {error}", 2) from error


def _replace(file: Path, profiles: Profiles) -> None:
    import tomli_w  # noqa: PLC0415  (only where a profile is stored)

    # mkstemp creates a file that only its owner may read and write.
    number, name = tempfile.mkstemp(prefix=f".{_FILE}.", dir=file.parent)
    try:
        with os.fdopen(number, "w", encoding="utf-8") as opened:
            opened.write(tomli_w.dumps(to_builtins(profiles)))
            opened.flush()
            os.fsync(opened.fileno())
        Path(name).replace(file)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


@contextmanager
def _reported(file: Path) -> Generator[None, None, None]:
    try:
        yield
    except OSError as error:
        raise CommandError(f"{file}: cannot be written: {error.strerror}") from error
