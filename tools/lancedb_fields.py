"""Lists the arguments of LanceDB's embedding functions, for `tests/embeddings/lancedb.json`.

pip download --no-deps lancedb
python tools/lancedb_fields.py lancedb-*.whl > tests/embeddings/lancedb.json
"""

from __future__ import annotations

import ast
import json
import sys
import zipfile
from typing import Any

FUNCTIONS = {
    "openai": "openai",
    "ollama": "ollama",
    "cohere": "cohere",
    "gemini-text": "gemini_text",
    "open-clip": "open_clip",
    "bedrock-text": "bedrock",
}


def main() -> None:
    """Print the fields and their defaults."""
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        found = {
            alias: fields(wheel.read(f"lancedb/embeddings/{module}.py").decode())
            for alias, module in FUNCTIONS.items()
        }
    print(json.dumps(found, indent=1))


def fields(source: str) -> dict[str, Any]:
    """Return the annotated fields of the first class in a module, with their defaults."""
    function = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    return {
        node.target.id: ast.literal_eval(node.value)
        for node in function.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and node.value is not None
        and "ClassVar" not in ast.unparse(node.annotation)
    }


if __name__ == "__main__":
    main()
