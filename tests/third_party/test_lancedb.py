"""LanceDB's embedding functions, as published: their arguments are those that are tested with."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

from tests.third_party.test_unmodified import PYTHON, installed

ROOT = Path(__file__).parents[2]


@installed(PYTHON, "Chroma's clients in Python")
def test_the_arguments_of_its_functions_are_those_of_the_package() -> None:
    tool: dict[str, Any] = runpy.run_path(str(ROOT / "tools" / "lancedb_fields.py"))
    (package,) = PYTHON.glob("lib/python*/site-packages/lancedb/embeddings")
    declared = {
        alias: tool["fields"]((package / f"{module}.py").read_text(encoding="utf-8"))
        for alias, module in tool["FUNCTIONS"].items()
    }
    known = ROOT / "tests" / "embeddings" / "lancedb.json"
    assert declared == json.loads(known.read_text(encoding="utf-8"))
