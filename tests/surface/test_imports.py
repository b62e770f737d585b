"""Chroma's import paths: pgchroma provides all that other software imports.

`imports.json` lists what published versions import from `chromadb`, and what they reach from it by
attributes; `tools/chroma_imports.py` wrote it.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any, TypedDict

import pytest

import pgchroma


class Imports(TypedDict):
    """The names that one package imports from Chroma."""

    imports: dict[str, list[str]]
    attributes: list[str]


FOUND: dict[str, Imports] = json.loads(
    (Path(__file__).parent / "imports.json").read_text(encoding="utf-8")
)
CHROMA: dict[str, list[str]] = json.loads(
    (Path(__file__).parent / "chroma.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("software", FOUND)
def test_what_others_import_is_there(software: str) -> None:
    for module, names in FOUND[software]["imports"].items():
        loaded = importlib.import_module(renamed(module))
        for name in names:
            assert hasattr(loaded, name), f"from {module} import {name}"


@pytest.mark.parametrize("software", FOUND)
def test_what_others_reach_by_attributes_is_there(software: str) -> None:
    for path in FOUND[software]["attributes"]:
        assert reached(path) is not None


@pytest.mark.parametrize("module", CHROMA)
def test_public_names_of_chroma_are_there(module: str) -> None:
    loaded = importlib.import_module(renamed(module))
    assert [name for name in CHROMA[module] if not hasattr(loaded, name)] == []


def test_public_names_of_chroma_are_reached_by_attributes() -> None:
    script = (
        "import json, sys, pgchroma as chromadb\n"
        "for path in json.load(sys.stdin):\n"
        "    eval(path)\n"
    )
    paths = [f"{module}.{name}" for module, names in CHROMA.items() for name in names]
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(paths), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_every_module_of_a_provider_is_listed_and_has_its_names() -> None:
    package = pgchroma.utils.embedding_functions
    for module in pkgutil.iter_modules(package.__path__):
        loaded = getattr(package, module.name)
        assert module.name in dir(package)
        for name in loaded.__all__:
            assert getattr(loaded, name) is not None
            if hasattr(package, name):
                assert getattr(package, name) is getattr(loaded, name)


def test_builtin_functions_are_those_of_chroma_and_more() -> None:
    builtins = pgchroma.utils.embedding_functions.get_builtins()
    chroma = {
        name
        for module, names in CHROMA.items()
        for name in names
        if module.startswith("chromadb.utils.embedding_functions.")
        and name.endswith(("EmbeddingFunction", "EmbeddingServer", "ONNXMiniLM_L6_V2"))
    }
    assert chroma <= builtins
    assert not builtins & {"EmbeddingFunction", "SparseEmbeddingFunction"}


def renamed(module: str) -> str:
    return "pgchroma" + module.removeprefix("chromadb")


def reached(path: str) -> Any:
    value: Any = pgchroma
    for name in path.split(".")[1:]:
        value = getattr(value, name)
    return value
