"""``pgchroma run``: the server."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from pgchroma._version import DOCUMENTATION
from pgchroma.cli.errors import CommandError, one_line
from pgchroma.cli.hints import refuse_url
from pgchroma.errors import ChromaError
from pgchroma.interrupted import INTERRUPTED

__all__ = ("run",)

MAX_SHOWN = 200
"""Characters of a path that a message shows."""


class _RunCommand(click.Command):
    """The command; if its log is JSON, its errors are written as lines of the log."""

    def make_context(
        self, info_name: str | None, args: list[str], *rest: Any, **extra: Any
    ) -> click.Context:
        """Parse the command line."""
        given = list(args)
        with _logged(given):
            context = super().make_context(info_name, args, *rest, **extra)
        context.obj = given
        return context

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _logged(ctx.obj):
            return super().invoke(ctx)


@contextmanager
def _logged(arguments: list[str]) -> Generator[None, None, None]:
    """Log the error that ends the command instead of printing it, if the log is JSON."""
    try:
        with one_line():
            yield
    except CommandError as error:
        if not _is_json(arguments):
            raise
        _log(error.message)
        raise click.exceptions.Exit(error.exit_code) from error
    except click.exceptions.Exit as end:
        if end.exit_code == INTERRUPTED and _is_json(arguments):
            _log("interrupted")
        raise
    except Exception as error:
        if not _is_json(arguments):
            raise
        _log("uncaught exception", error)
        raise click.exceptions.Exit(1) from error


def _log(message: str, error: Exception | None = None) -> None:
    from pgchroma.server.observability.logs import configure_logs  # noqa: PLC0415

    configure_logs("json", "info")
    logging.getLogger("pgchroma.server").error(message, exc_info=error)


def _is_json(arguments: list[str]) -> bool:
    """Whether the log is JSON, as far as arguments that may be wrong reveal it."""
    try:
        from pgchroma.server.loading import log_format  # noqa: PLC0415
    except ImportError:
        return False
    _, _, form = " ".join(arguments).partition("--log-format")
    files = [Path(argument) for argument in arguments if not argument.startswith("-")]
    file = next(filter(_is_file, files), None)
    return log_format(file, {"log_format": form.strip(" =").partition(" ")[0] or None}) == "json"


@click.command(cls=_RunCommand, epilog=f"All settings: {DOCUMENTATION}/server.md")
@click.argument("config", required=False, type=click.Path())
@click.option(
    "--path",
    "persist_path",
    help="Store the data in this directory, in an embedded PostgreSQL. [default: ./chroma]",
)
@click.option(
    "--url",
    help="Use this PostgreSQL database instead. Prefer PGCHROMA_URL: other users can see flags.",
)
@click.option("--host", "listen_address", help="Listen on this address. [default: localhost]")
@click.option("--port", help="Listen on this port. [default: 8000]")
@click.option("--workers", help="Number of worker processes. [default: 1]")
@click.option(
    "--allow-reset",
    is_flag=True,
    default=None,
    help="Allow admins to delete all data in one request.",
)
@click.option(
    "--no-auth", is_flag=True, help="Disable authentication. Allowed on loopback addresses only."
)
@click.option(
    "--role-per-tenant",
    is_flag=True,
    default=None,
    help="Run each tenant's requests as a separate PostgreSQL role.",
)
@click.option("--admin-port", help="Serve /live, /ready and /metrics on this port.")
@click.option("--admin-address", help="Address of the admin port. [default: localhost]")
@click.option("--log-format", metavar="[text|json]", help="Format of the log. [default: text]")
@click.option(
    "--log-level",
    metavar="[debug|info|warning|error]",
    help="Minimum severity to log. [default: info]",
)
@click.option("--ssl-certificate", help="Serve HTTPS with this certificate (PEM).")
@click.option("--ssl-key", help="The private key of the certificate (PEM).")
def run(config: str | None, no_auth: bool, **flags: Any) -> None:
    """Serve Chroma's REST API.

    Flags take precedence over environment variables (PGCHROMA_…, then CHROMA_… for settings that
    Chroma also has), and variables over the file CONFIG.
    """
    from pgchroma.server.loading import load_settings  # noqa: PLC0415  (half a second)
    from pgchroma.server.process.supervisor import serve  # noqa: PLC0415
    from pgchroma.server.settings import InvalidSettingError  # noqa: PLC0415

    try:
        loaded = load_settings(_existing(config), {**flags, "auth": False if no_auth else None})
    except ValueError as error:
        raise CommandError(str(error), exit_code=2) from error
    try:
        serve(loaded.settings, lambda text: click.echo(text, err=True), loaded.notices)
    except InvalidSettingError as error:
        message = f"{loaded.origin(error.setting)}: {error.reason}"
        raise CommandError(message, exit_code=2) from error
    except ChromaError as error:
        raise CommandError(error.message()) from error
    except ImportError as error:
        raise CommandError(str(error)) from error


def _existing(config: str | None) -> Path | None:
    if config is None:
        return None
    refuse_url([config])
    file = Path(config)
    if not _is_file(file):
        hint = "is a directory: give it with --path" if _is_directory(file) else "does not exist"
        raise CommandError(f"Config file {config[:MAX_SHOWN]} {hint}", exit_code=2)
    return file


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
