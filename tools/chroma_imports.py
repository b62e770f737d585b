"""Lists what published packages import from `chromadb`, for `tests/surface/imports.json`.

    pip download --no-deps --dest wheels crewai mem0ai …
    python tools/chroma_imports.py wheels/*.whl > found.json

Import statements in texts, such as documentation, are listed too.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

IMPORT = re.compile(
    r"^\s*((?:from chromadb[\w.]* import (?:\([^)]*\)|.+))|import chromadb.*)$", re.M
)


def main() -> None:
    """Print the list."""
    found = dict(map(described, map(Path, sys.argv[1:])))
    print(json.dumps({name: what for name, what in found.items() if what["imports"]}, indent=1))


def described(path: Path) -> tuple[str, dict[str, dict[str, list[str]] | list[str]]]:
    """Return the name and version of a package, or a text's name, and its imports."""
    imports: dict[str, set[str]] = defaultdict(set)
    attributes: set[str] = set()
    for source in sources(path):
        for node in ast.walk(ast.parse(source)):
            match node:
                case ast.ImportFrom(module=str(module), names=names, level=0) if is_chroma(module):
                    imports[module].update(each.name for each in names)
                case ast.Import(names=names):
                    for each in names:
                        if is_chroma(each.name):
                            imports[each.name].update()
                case ast.Attribute() if is_chroma(ast.unparse(node)):
                    attributes.add(ast.unparse(node))
    return " ".join(path.stem.split("-")[:2]), {
        "imports": {module: sorted(names) for module, names in sorted(imports.items())},
        "attributes": sorted(filter(re.compile(r"[\w.]+$").match, attributes)),
    }


def sources(path: Path) -> Iterator[str]:
    """Read the modules of a wheel that mention Chroma, or the imports in a text."""
    if path.suffix != ".whl":
        yield from IMPORT.findall(path.read_text(encoding="utf-8"))
        return
    with zipfile.ZipFile(path) as wheel:
        for name in wheel.namelist():
            source = wheel.read(name).decode(errors="replace") if name.endswith(".py") else ""
            if "chromadb" in source:
                yield source


def is_chroma(name: str) -> bool:
    """Whether a dotted name begins with `chromadb`."""
    return name.split(".", maxsplit=1)[0] == "chromadb"


if __name__ == "__main__":
    main()
