"""Variables whose value may also be in a file: ``PGCHROMA_URL`` and ``PGCHROMA_URL_FILE``."""

from __future__ import annotations

from pathlib import Path

import click

from pgchroma.variables import environment

__all__ = ("secret_variable",)


def secret_variable(name: str) -> tuple[str | None, str]:
    """Return the value of a variable or of the file that its second form names.

    Returns:
        The value, `None` if neither is set, and the name of the variable that was used.

    Raises:
        click.UsageError: Both are set, or the file cannot be read.
    """
    variables = environment()
    file = variables.get(f"{name}_FILE")
    if file is None:
        return variables.get(name), name
    if name in variables:
        raise click.UsageError(f"{name} and {name}_FILE exclude each other; unset one of them")
    try:
        return Path(file).read_text(encoding="utf-8").strip(), f"{name}_FILE"
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise click.UsageError(f"{name}_FILE={file}: cannot be read: {reason}") from error
