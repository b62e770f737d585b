"""``pgchroma install``: writes a sample application."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import click

from pgchroma.cli.errors import CommandError
from pgchroma.cli.printing import json_option, print_json, print_table

__all__ = ("install",)


@click.command(short_help="Write a sample application.")
@click.argument("name", required=False)
@click.argument("directory", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--list", "lists", is_flag=True, help="List the sample applications.")
@json_option
def install(name: str | None, directory: Path | None, lists: bool, as_json: bool) -> None:
    """Write the sample application NAME into DIRECTORY, by default ./NAME.

    Without NAME, list the applications. They run offline, with the default embedding function.
    Files that exist are never overwritten.
    """
    samples = _samples()
    if lists or name is None:
        found = [{"name": each, "description": _title(source)} for each, source in samples.items()]
        if as_json:
            print_json(found)
        else:
            print_table(("name", "description"), [tuple(each.values()) for each in found])
        return
    if name not in samples:
        raise click.UsageError(f"there is no sample {name!r}; there are {', '.join(samples)}")
    target = directory or Path(name)
    written = _write(samples[name], target)
    if as_json:
        print_json({"name": name, "directory": str(target), "files": written})
    else:
        click.echo(f"wrote {', '.join(written)} to {target}; begin with {target / 'README.md'}")


def _samples() -> dict[str, Traversable]:
    folders = (files("pgchroma") / "samples").iterdir()
    found = {each.name.replace("_", "-"): each for each in folders if (each / "main.py").is_file()}
    return dict(sorted(found.items()))


def _title(source: Traversable) -> str:
    return (source / "README.md").read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def _write(source: Traversable, target: Path) -> list[str]:
    contents: dict[str, Any] = {
        each.name: each.read_bytes() for each in source.iterdir() if each.is_file()
    }
    try:
        target.mkdir(parents=True, exist_ok=True)
        if taken := sorted(name for name in contents if (target / name).exists()):
            raise CommandError(f"{target / taken[0]} exists; give another directory", 2)
        for name, content in contents.items():
            # With the mode x nothing is overwritten, even if it was created in the meantime.
            with (target / name).open("xb") as file:
                file.write(content)
    except OSError as error:
        raise CommandError(f"{error.filename}: cannot be written: {error.strerror}") from error
    return sorted(contents)
