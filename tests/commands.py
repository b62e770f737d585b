"""Commands run within the test's process."""

from __future__ import annotations

import inspect

from click.testing import CliRunner

__all__ = ("runner",)


def runner() -> CliRunner:
    """Make a runner that keeps standard output and standard error apart."""
    if "mix_stderr" in inspect.signature(CliRunner).parameters:  # before click 8.2
        return CliRunner(mix_stderr=False)  # type: ignore[call-arg]
    return CliRunner()
