"""``pgchroma completion``: the script that completes commands and options in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ("completion",)

PROGRAM = "pgchroma"
VARIABLE = "_PGCHROMA_COMPLETE"
"""The variable in which the script asks the program; click derives it from the name."""


@click.command(short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands, options and their values in SHELL.

    Write this line into ~/.bashrc: eval "$(pgchroma completion bash)"

    Into ~/.zshrc: eval "$(pgchroma completion zsh)"

    Into ~/.config/fish/config.fish: pgchroma completion fish | source
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click does not complete in {shell}")
    made = kind(ctx.find_root().command, {}, PROGRAM, VARIABLE)
    # `source` of bash would first run bash to learn its version.
    click.echo(made.source_template % made.source_vars())
