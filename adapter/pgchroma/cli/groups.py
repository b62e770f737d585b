"""Groups of commands: help in sections, errors in one line, and options before the verb."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from pgchroma.cli.errors import one_line
from pgchroma.cli.hints import meant_command, similar_command
from pgchroma.cli.printing import replace_unencodable

__all__ = ("SECTIONS", "Commands", "Subcommands")

SECTIONS: Final[Mapping[str, Sequence[str]]] = {
    "Run": ("run", "postgres", "psql", "browse", "install"),
    "Data": ("collections", "stats", "explain", "import", "export", "copy"),
    "Database administration": (
        "migrate",
        "upgrade-data",
        "compact",
        "vacuum",
        "doctor",
        "adopt",
        "grants",
        "db",
        "tenants",
        "keys",
        "users",
    ),
    "Connection and setup": ("login", "profile", "completion", "update"),
}
"""The sections of the help, with their commands in the order in which it lists them."""

_GLOBAL: Final = ("as_json", "profile")
"""The options that every command which has them also takes before its name."""


class Subcommands(click.Group):
    """A group that suggests a similar command for an unknown one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or suggest a similar one."""
        if self.get_command(ctx, args[0]) is None:
            hint = self.hint(ctx, args[0])
            if hint is not None:
                ctx.fail(hint)
        return super().resolve_command(ctx, args)

    def hint(self, ctx: click.Context, name: str) -> str | None:
        """Return a hint for a name that no command has."""
        return similar_command(name, self.list_commands(ctx))


class Commands(Subcommands):
    """The group of all commands.

    It reports each error in one line. ``--json`` and ``--profile`` before the verb are the same as
    after it.
    """

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the command line."""
        replace_unencodable()
        with one_line():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with one_line():
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, and pass on the options before it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command, _with_globals(ctx, command, rest)

    def hint(self, ctx: click.Context, name: str) -> str | None:
        """Return a hint for a name that no command has, such as one of another program's."""
        return meant_command(name, self.list_commands(ctx))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by section."""
        listed = {name for names in SECTIONS.values() for name in names}
        others = [name for name in self.list_commands(ctx) if name not in listed]
        width = max(map(len, self.commands), default=0)
        for title, names in (*SECTIONS.items(), ("Other commands", others)):
            commands = [(name, self.get_command(ctx, name)) for name in names]
            limit = formatter.width - width - 6
            rows = [(n.ljust(width), c.get_short_help_str(limit)) for n, c in commands if c]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def _with_globals(
    ctx: click.Context, command: click.Command | None, arguments: list[str]
) -> list[str]:
    """Move the options that were given before the verb behind it."""
    given = {name: ctx.params[name] for name in _GLOBAL if ctx.params.get(name)}
    if command is None or not given:
        return arguments
    leaf, position = _leaf(command, arguments)
    if isinstance(leaf, click.Group):
        return arguments
    moved: list[str] = []
    for name, value in given.items():
        option = next((each for each in leaf.params if each.name == name), None)
        if option is None:
            flag = "--json" if name == "as_json" else f"--{name}"
            ctx.fail(f"{flag} has no effect on {leaf.name}, which does not take it")
        moved += [option.opts[0]] if value is True else [option.opts[0], value]
    return [*arguments[:position], *moved, *arguments[position:]]


def _leaf(command: click.Command, arguments: Sequence[str]) -> tuple[click.Command, int]:
    """Return the command that runs in the end, and where its own arguments begin."""
    position = 0
    while isinstance(command, click.Group) and position < len(arguments):
        found = command.commands.get(arguments[position])
        if found is None:
            break
        command, position = found, position + 1
    return command, position
