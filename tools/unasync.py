"""Generates the synchronous client from the asynchronous one: `_async/` → `_sync/`.

Removing ``async`` and ``await`` loses nothing, so the asynchronous files are the ones written by
hand. ``--check`` fails when a generated file is not what this would write, and a rule that no
file needs is an error, so that the table cannot rot.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CLIENT = ROOT / "adapter" / "pgchroma" / "client"
FILES = ("administration.py", "client.py", "collection.py", "reembedding.py", "table.py")

HEADER = (
    "# Generated from _async/{name} by tools/unasync.py; change that file and run `make fmt`.\n"
)

RULES = (
    (r"\basync def\b", "def"),
    (r"\bawait ", ""),
    (r"\b__aenter__\b", "__enter__"),
    (r"\b__aexit__\b", "__exit__"),
    (r"\bAsyncAdminClient\b", "AdminClient"),
    (r"\bAsyncAdministration\b", "Administration"),
    (r"\bAsyncBackend\b", "Backend"),
    (r"\bAsyncClient\b", "Client"),
    (r"\bAsyncCollection\b", "Collection"),
    (r"\bAsyncPostgresClient\b", "PostgresClient"),
    (r"\bAsyncReembedder\b", "Reembedder"),
    (r"\bAsyncSearch\b", "Search"),
    (r"\bAsyncTable\b", "Table"),
    (r"\bclient\._async\b", "client._sync"),
)


def main() -> int:
    """Write the files, or with ``--check`` compare them; return the exit code."""
    is_check = "--check" in sys.argv[1:]
    unused = {pattern for pattern, _ in RULES}
    stale = []
    for name in FILES:
        source = (CLIENT / "_async" / name).read_text(encoding="utf-8")
        unused -= {pattern for pattern, _ in RULES if re.search(pattern, source)}
        generated = _formatted(HEADER.format(name=name) + _synchronous(source))
        target = CLIENT / "_sync" / name
        if is_check:
            if not target.exists() or target.read_text(encoding="utf-8") != generated:
                stale.append(str(target.relative_to(ROOT)))
        else:
            target.write_text(generated, encoding="utf-8")
    for pattern in sorted(unused):
        print(f"tools/unasync.py: no file needs the rule {pattern}")
    for path in stale:
        print(f"{path} is not what tools/unasync.py generates; run `make fmt`")
    return 1 if unused or stale else 0


def _synchronous(source: str) -> str:
    for pattern, replacement in RULES:
        source = re.sub(pattern, replacement, source)
    return source


def _formatted(source: str) -> str:
    ruff = Path(sys.executable).with_name("ruff")
    for arguments in (["check", "--fix", "--select", "I"], ["format"]):
        command = [str(ruff), *arguments, "--quiet", "--stdin-filename", "client.py", "-"]
        done = subprocess.run(
            command, input=source, capture_output=True, text=True, check=True, cwd=ROOT
        )
        source = done.stdout
    return source


if __name__ == "__main__":
    sys.exit(main())
