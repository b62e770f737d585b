"""``pgchroma run``: the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pgchroma.errors import ChromaError

__all__ = ("run",)


@click.command()
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.option(
    "--path",
    "persist_path",
    type=click.Path(path_type=Path),
    envvar="PGCHROMA_PATH",
    help="Keep the data in this directory, in a PostgreSQL of its own. [default: ./chroma]",
)
@click.option("--url", help="Use this PostgreSQL database instead.")
@click.option("--host", "listen_address", help="Listen on this address. [default: localhost]")
@click.option("--port", type=int, help="Listen on this port. [default: 8000]")
@click.option("--workers", type=int, help="Answer with this many processes. [default: 1]")
@click.option(
    "--allow-reset", is_flag=True, default=None, help="Let an admin delete everything at once."
)
@click.option("--no-auth", is_flag=True, help="Ask for no keys; listens on loopback only.")
@click.option(
    "--role-per-tenant",
    is_flag=True,
    default=None,
    help="Run requests under a PostgreSQL role of their tenant's own.",
)
@click.option("--admin-port", type=int, help="Serve /live, /ready and /metrics on this port.")
@click.option("--admin-address", help="The address of that port. [default: localhost]")
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), help="How to log. [default: text]"
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="What to log at least. [default: info]",
)
@click.option(
    "--ssl-certificate", type=click.Path(path_type=Path), help="Serve HTTPS with this file (PEM)."
)
@click.option("--ssl-key", type=click.Path(path_type=Path), help="The certificate's key.")
def run(config: Path | None, no_auth: bool, **flags: Any) -> None:
    """Serve Chroma's REST API.

    Settings come from these flags, then the environment (PGCHROMA_…, and for what Chroma has
    CHROMA_…), then the file CONFIG. docs/server.md lists them all.
    """
    try:
        from pgchroma.server.running import serve  # noqa: PLC0415  (half a second other commands save)
        from pgchroma.server.settings import load_settings  # noqa: PLC0415
    except ImportError as fault:
        raise click.ClickException(
            f"{fault}: the server needs its extra; run: pip install 'pgchroma[server]'"
        ) from fault
    if config is not None and not config.is_file():
        raise click.ClickException(f"Config file {config} does not exist")
    if no_auth:
        flags["auth"] = False
    try:
        serve(load_settings(config, flags), announce=lambda text: click.echo(text, err=True))
    except (ChromaError, ImportError, ValueError) as fault:
        raise click.ClickException(_reason(fault)) from fault


def _reason(fault: Exception) -> str:
    errors = getattr(fault, "errors", None)
    if errors is None:
        return str(fault)
    found = errors(include_url=False, include_context=False)
    return "; ".join(f"{_setting(each['loc'])}: {_said(each['msg'])}" for each in found)


def _setting(place: tuple[int | str, ...]) -> str:
    return ".".join(map(str, place)) or "settings"


def _said(message: str) -> str:
    return message.removeprefix("Value error, ")
