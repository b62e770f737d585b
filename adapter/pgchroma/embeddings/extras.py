"""The packages embeddings need beyond pgchroma's own, checked and imported at the moment of use."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from packaging.requirements import Requirement

__all__ = ("check_installed", "load_extra")


def check_installed(package: str, extra: str) -> None:
    """Raise now, and without the cost of an import, if a package is missing or too old.

    Args:
        package: The top-level module to look for.
        extra: The extra of pgchroma that brings it, such as ``onnx``.

    Raises:
        ValueError: The package is not installed, or a package of the extra is older than pgchroma
            supports; the message has the command that installs it.
    """
    if importlib.util.find_spec(package) is None:
        raise ValueError(_advice(package, extra))
    _check_versions(extra)


def load_extra(module: str, extra: str) -> ModuleType:
    """Import a module that only an extra of pgchroma installs.

    Args:
        module: The module's full name, such as ``PIL.Image``.
        extra: The extra of pgchroma that brings it, such as ``images``.

    Raises:
        ValueError: The package is not installed, or a package of the extra is older than pgchroma
            supports; the message has the command that installs it.
    """
    _check_versions(extra)
    try:
        return importlib.import_module(module)
    except ImportError as exc:
        raise ValueError(_advice(module.partition(".")[0], extra)) from exc


def _check_versions(extra: str) -> None:
    # An extra is only a wish: pip leaves what is installed already, or lets it be replaced later.
    if outdated := _outdated(extra):
        raise ValueError(
            f"{outdated}. Please install it with `pip install --upgrade 'pgchroma[{extra}]'`"
        )


@cache
def _outdated(extra: str) -> str:
    """Describe the package of an extra that is too old; empty if there is none.

    Older versions are not only untested: some run code that comes with a model.
    """
    for requirement in _requirements(extra):
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            return (
                f"The {requirement.name} python package has version {found}, but pgchroma needs "
                f"{requirement.specifier}"
            )
    return ""


def _requirements(extra: str) -> Iterator[Requirement]:
    from packaging.requirements import Requirement  # noqa: PLC0415  (only where an extra is used)

    try:
        declared = requires("pgchroma") or []
    except PackageNotFoundError:
        return
    for text in declared:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is not None and marker.evaluate({"extra": extra}):
            yield requirement


def _advice(package: str, extra: str) -> str:
    return (
        f"The {package} python package is not installed. "
        f"Please install it with `pip install 'pgchroma[{extra}]'`"
    )
