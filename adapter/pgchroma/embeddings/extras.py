"""The packages embeddings need beyond pgchroma's own, asked for at the moment of use."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ("check_installed", "load_extra")


def check_installed(package: str, extra: str) -> None:
    """Tell now, and without the cost of an import, that a package is missing.

    Args:
        package: The top-level module to look for.
        extra: The extra of pgchroma that brings it, such as ``onnx``.

    Raises:
        ValueError: The package is not installed; the message has the command that installs it.
    """
    if importlib.util.find_spec(package) is None:
        raise ValueError(_advice(package, extra))


def load_extra(module: str, extra: str) -> ModuleType:
    """Import a module that only an extra of pgchroma installs.

    Args:
        module: The module's full name, such as ``PIL.Image``.
        extra: The extra of pgchroma that brings it, such as ``images``.

    Raises:
        ValueError: The package is not installed; the message has the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as exc:
        raise ValueError(_advice(module.partition(".")[0], extra)) from exc


def _advice(package: str, extra: str) -> str:
    return (
        f"The {package} python package is not installed. "
        f"Please install it with `pip install 'pgchroma[{extra}]'`"
    )
