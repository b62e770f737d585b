"""Real embeddings: the standard library's docstrings, by pgchroma's default model.

Run as ``python -m scale.docstrings DIRECTORY COUNT`` in pgchroma's environment, which has the
model. Writes `documents.json`, of COUNT texts and `HELD_OUT` more, and `embeddings.npy`.
"""

from __future__ import annotations

import ast
import json
import random
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

BATCH = 256
HELD_OUT = 200
"""How many texts become queries instead of records."""

LEAST, MOST = 30, 400
"""Characters of a text: shorter ones have no content, longer ones are slow to embed."""

NAMED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def texts(library: Path) -> Iterator[str]:
    """Yield the paragraphs of the docstrings of modules, classes and functions, each once."""
    seen: set[str] = set()
    for file in sorted(library.rglob("*.py")):
        if "site-packages" in file.parts:
            continue
        for paragraph in paragraphs(file):
            if len(paragraph) >= LEAST and paragraph not in seen:
                seen.add(paragraph)
                yield paragraph[:MOST]


def paragraphs(file: Path) -> Iterator[str]:
    """Yield the paragraphs of a file's docstrings, unwrapped."""
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, NAMED) and (text := ast.get_docstring(node)):
            yield from (" ".join(part.split()) for part in text.split("\n\n"))


def main() -> None:
    """Embed the requested number of texts."""
    from pgchroma.utils.embedding_functions import DefaultEmbeddingFunction  # noqa: PLC0415

    directory, count = Path(sys.argv[1]), int(sys.argv[2]) + HELD_OUT
    found = list(dict.fromkeys(texts(Path(sysconfig.get_path("stdlib")))))
    # In the library's order, neighbours would be added together, and all texts held out would come
    # from its end.
    random.Random(11).shuffle(found)
    if len(found) < count:
        raise SystemExit(f"the standard library has {len(found):,} such texts, not {count:,}")
    function = DefaultEmbeddingFunction()
    parts = []
    for first in range(0, count, BATCH):
        parts.append(np.asarray(function(found[first : min(first + BATCH, count)]), np.float32))
        print(f"\r{min(first + BATCH, count):,} of {count:,} embedded", end="", file=sys.stderr)
    print(file=sys.stderr)
    (directory / "documents.json").write_text(json.dumps(found[:count]), encoding="utf-8")
    np.save(directory / "embeddings.npy", np.concatenate(parts))


if __name__ == "__main__":
    main()
