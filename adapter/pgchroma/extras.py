"""Packages that only an extra of pgchroma installs: check and import them when they are used.

``pip install pgchroma`` installs what a client of a server needs. To connect to a database, start
one, serve or compute embeddings, one of the extras in ``pyproject.toml`` is required.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from typing import TYPE_CHECKING

from pgchroma.errors import MissingExtraError

if TYPE_CHECKING:
    from types import ModuleType

    from packaging.requirements import Requirement

__all__ = (
    "check_driver",
    "check_extras",
    "check_installed",
    "installed_extras",
    "is_extra_installed",
    "load_extra",
)

_OURS = "pgchroma"


def check_extras(user: str, *extras: str, offered: str | None = None) -> None:
    """Raise now if a package of these extras is missing or too old, and name all such packages.

    Args:
        user: What needs the extras, such as ``PersistentClient``.
        extras: The extras, such as ``embedded``.
        offered: An extra that most callers of `user` need next. It is named in the message if
            its packages are missing too, so that one command installs everything.

    Raises:
        MissingExtraError: The message has the command that installs what is missing.
    """
    problems_by_extra = {extra: _errors(extra) for extra in extras}
    lacking = [extra for extra, problems in problems_by_extra.items() if problems]
    if not lacking:
        return
    problems = sorted({error for extra in lacking for error in problems_by_extra[extra]})
    message = f"{user} needs {', '.join(problems)}: run {_command(*lacking)}"
    if offered is not None and (more := _errors(offered)):
        message += (
            f". The default embedding function needs {', '.join(sorted(more))} too: "
            f"{_command(*lacking, offered)} installs everything"
        )
    raise MissingExtraError(message)


def check_driver(user: str) -> None:
    """Raise now if `user` cannot connect to PostgreSQL, because a package or libpq is missing.

    Raises:
        MissingExtraError: The message has the command that installs what is missing.
    """
    check_extras(user, "postgres")
    try:
        importlib.import_module("psycopg")
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "psycopg":
            advice = f"the psycopg package, which is not installed: run {_command('postgres')}"
        else:
            advice = (
                f"libpq, PostgreSQL's client library, which psycopg did not find: run "
                f"{_command('binary')}, or install libpq with your system's package manager"
            )
        raise MissingExtraError(f"{user} needs {advice}") from error


def check_installed(*packages: str, extra: str) -> None:
    """Raise now, without the cost of an import, if a package is missing or too old.

    Args:
        packages: The top-level modules to find.
        extra: The extra of pgchroma that installs them, such as ``onnx``.

    Raises:
        MissingExtraError: A package is not installed, or a package of the extra is older than
            pgchroma supports; the message has the command that installs it.
    """
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise MissingExtraError(_advice(missing, extra))
    _check_versions(extra)


def is_extra_installed(extra: str) -> bool:
    """Whether every package of an extra is installed."""
    return extra in _offered() and not _errors(extra)


def installed_extras() -> list[str]:
    """Return the extras of which every package is installed, sorted; ``all`` stands alone."""
    found = sorted(extra for extra in _offered() if not _errors(extra))
    return ["all"] if "all" in found else found


def _offered() -> list[str]:
    """Return the extras of pgchroma; none if its package is not installed."""
    try:
        return metadata(_OURS).get_all("Provides-Extra") or []
    except PackageNotFoundError:
        return []


def load_extra(module: str, extra: str) -> ModuleType:
    """Import a module that only an extra of pgchroma installs.

    Args:
        module: The module's full name, such as ``PIL.Image``.
        extra: The extra of pgchroma that installs it, such as ``images``.

    Raises:
        MissingExtraError: The package is not installed, or a package of the extra is older than
            pgchroma supports; the message has the command that installs it.
        ImportError: The package is installed, but cannot be imported.
    """
    _check_versions(extra)
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise MissingExtraError(_advice([package], extra)) from error


def _check_versions(extra: str) -> None:
    # Versions are checked because pip may keep an older package, or replace one later.
    if outdated := _outdated(extra):
        raise MissingExtraError(
            f"{outdated}. Please install it with `pip install --upgrade 'pgchroma[{extra}]'`"
        )


@cache
def _outdated(extra: str) -> str:
    """Return a description of the extra's package that is too old; empty if there is none.

    Older versions are not only untested: some execute code from a model.
    """
    for requirement in _requirements(extra):
        found = _version(requirement)
        if found is not None and _is_too_old(requirement, found):
            return (
                f"The {requirement.name} python package has version {found}, but pgchroma needs "
                f"{requirement.specifier}"
            )
    return ""


_complete: set[str] = set()
"""Extras whose packages were all found. Others are checked again, because a notebook may install
packages while the process runs."""


def _errors(extra: str) -> list[str]:
    """Return the packages of an extra that are missing or too old."""
    if extra in _complete:
        return []
    problems = []
    for requirement in _requirements(extra):
        found = _version(requirement)
        if found is None:
            problems.append(requirement.name)
        # An old psycopg[binary] may be used with the system's libpq.
        elif not requirement.extras and _is_too_old(requirement, found):
            problems.append(f"{requirement.name} {requirement.specifier} (installed: {found})")
    if not problems:
        _complete.add(extra)
    return problems


def _version(requirement: Requirement) -> str | None:
    try:
        return version(requirement.name)
    except PackageNotFoundError:
        return None


def _is_too_old(requirement: Requirement, found: str) -> bool:
    return not requirement.specifier.contains(found, prereleases=True)


def _requirements(extra: str) -> Iterator[Requirement]:
    """Yield the requirements of an extra on this platform, and of the extras that it includes."""
    from packaging.requirements import Requirement  # noqa: PLC0415  (only where an extra is used)

    try:
        declared = requires(_OURS) or []
    except PackageNotFoundError:
        return
    for text in declared:
        requirement = Requirement(text)
        marker = requirement.marker
        if (
            marker is None
            or marker.evaluate({"extra": ""})
            or not marker.evaluate({"extra": extra})
        ):
            continue
        if requirement.name == _OURS:
            for included in sorted(requirement.extras):
                yield from _requirements(included)
        else:
            yield requirement


def _command(*extras: str) -> str:
    return f"`pip install 'pgchroma[{','.join(extras)}]'`"


def _advice(packages: list[str], extra: str) -> str:
    """Return the message in Chroma's words."""
    if len(packages) == 1:
        missing = f"The {packages[0]} python package is not installed. Please install it"
    else:
        names = f"{', '.join(packages[:-1])} and {packages[-1]}"
        missing = f"The {names} python packages are not installed. Please install them"
    return f"{missing} with {_command(extra)}"
