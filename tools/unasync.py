"""Generates synchronous modules from asynchronous ones: `_async/` → `_sync/`.

Removing ``async`` and ``await`` loses nothing, so the asynchronous files are the ones written by
hand. If the two differ in more than words, a small module with the same names is written by hand
in both folders.

With ``--check`` nothing is written. The exit code is 1 if a generated file is not what this would
write, if a generated file's source is gone, or if no file needs one of the rules.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "adapter" / "pgchroma"

HEADER = "# Generated from _async/{name} by tools/unasync.py; edit that and run `make fmt`.\n"

Rules: TypeAlias = tuple[tuple[str, str], ...]
"""Patterns and their replacements, applied in order."""

COMMON_RULES: Rules = (
    (r"\basync (def|for|with)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\b__a(enter|exit)__\b", r"__\1__"),
    (r"\b(pgchroma[\w.]*)\._async\b", r"\1._sync"),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\bAsyncGenerator\[(.+), None\]", r"Generator[\1, None, None]"),
    (r"\bAsync(?=[A-Z])", ""),
)
"""The rules of all folders. Names that begin with Async lose it."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with an `_async/` that is written by hand and a `_sync/` that is generated.

    Attributes:
        path: The folder, below the package.
        by_hand: Files that are written by hand in both; `__init__.py` always is.
        rules: Applied before the common rules.
    """

    path: str
    by_hand: frozenset[str] = frozenset()
    rules: Rules = ()


FOLDERS = (
    Folder("client", by_hand=frozenset({"concurrency.py", "reopening.py"})),
    Folder("client/typed"),
    Folder(
        "backends",
        by_hand=frozenset({"http_clients.py", "io.py", "limits.py", "sqlalchemy_types.py"}),
        rules=(
            (r"\bAbstractAsyncContextManager\b", "AbstractContextManager"),
            (r"\bAwaitable\[(\w+)\]", r"\1"),
        ),
    ),
    Folder("store/running", by_hand=frozenset({"io.py"})),
)


def main() -> int:
    """Write the files, or with ``--check`` compare them; return the exit code."""
    is_check = "--check" in sys.argv[1:]
    errors = [error for folder in FOLDERS for error in _generate(folder, is_check=is_check)]
    sources = [path.read_text(encoding="utf-8") for f in FOLDERS for path in _sources(f)]
    errors += [f"no file needs the rule {r}" for r in _unused(COMMON_RULES, sources)]
    for error in errors:
        print(f"tools/unasync.py: {error}")
    return 1 if errors else 0


def _generate(folder: Folder, *, is_check: bool) -> Iterator[str]:
    """Generate the files of a folder; yield the errors."""
    target_folder = PACKAGE / folder.path / "_sync"
    sources = _sources(folder)
    for source in sources:
        text = source.read_text(encoding="utf-8")
        target = target_folder / source.name
        generated = _formatted(HEADER.format(name=source.name) + _synchronous(text, folder), target)
        if not is_check:
            target.write_text(generated, encoding="utf-8")
        elif not target.exists() or target.read_text(encoding="utf-8") != generated:
            yield f"{target.relative_to(ROOT)} is not what would be generated; run `make fmt`"
    for name in sorted(folder.by_hand):
        for kind in ("_async", "_sync"):
            if not (PACKAGE / folder.path / kind / name).exists():
                yield f"{folder.path}/{kind}/{name} is listed as written by hand and missing"
    expected = {source.name for source in sources} | folder.by_hand | {"__init__.py"}
    for target in sorted(target_folder.glob("*.py")):
        if target.name not in expected:
            yield f"{target.relative_to(ROOT)} has no source in _async/; remove it"
    texts = [source.read_text(encoding="utf-8") for source in sources]
    for pattern in _unused(folder.rules, texts):
        yield f"no file in {folder.path}/_async needs the rule {pattern}"


def _sources(folder: Folder) -> list[Path]:
    by_hand = folder.by_hand | {"__init__.py"}
    files = sorted((PACKAGE / folder.path / "_async").glob("*.py"))
    return [path for path in files if path.name not in by_hand]


def _unused(rules: Rules, texts: list[str]) -> list[str]:
    return [rule for rule, _ in rules if not any(re.search(rule, text) for text in texts)]


def _synchronous(source: str, folder: Folder) -> str:
    for pattern, replacement in (*folder.rules, *COMMON_RULES):
        source = re.sub(pattern, replacement, source)
    return source


def _formatted(source: str, target: Path) -> str:
    ruff = Path(sys.executable).with_name("ruff")
    # Imports of names that the rules removed are unused.
    for arguments in (["check", "--fix", "--select", "I,F401"], ["format"]):
        command = [str(ruff), *arguments, "--quiet", "--stdin-filename", str(target), "-"]
        done = subprocess.run(
            command, input=source, capture_output=True, text=True, check=True, cwd=ROOT
        )
        source = done.stdout
    return source


if __name__ == "__main__":
    sys.exit(main())
