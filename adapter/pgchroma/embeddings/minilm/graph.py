"""Build the BERT graph of all-MiniLM-L6-v2 in ONNX from its weights.

Inputs and output are those of the model in Chroma's archive, so the file can replace it. The nodes
have the verbose form that PyTorch's exporter writes, because onnxruntime recognises it and fuses it
into its own attention, gelu and layer-norm kernels when it loads the graph.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pgchroma.extras import load_extra

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ("GRAPH_VERSION", "build_graph")

GRAPH_VERSION = 1
"""The version of the graph's layout, so that files from an older version are not used."""

_OPSET = 17
_LAYERS, _HEADS, _HEAD_SIZE = 6, 12, 32
_HIDDEN = _HEADS * _HEAD_SIZE
_EPSILON = 1e-12

# Added to the score of a padded position. exp() of it is zero in float32. It is also the default of
# onnxruntime's attention kernel.
_MASKED = -10000.0


def build_graph(safetensors: Path) -> bytes:
    """Return the serialised graph, about 90 MB.

    The inputs are ``input_ids``, ``attention_mask`` and ``token_type_ids``, each int64 of shape
    [batch, sequence]. The output is ``last_hidden_state``, float32 of shape
    [batch, sequence, 384].

    Args:
        safetensors: The weights with the names of Hugging Face's ``BertModel``.

    Raises:
        ValueError: The file has no weight of some name, or a package is missing.
    """
    weights = load_extra("safetensors.numpy", "onnx").load_file(safetensors)
    try:
        return _Graph(weights).serialize()
    except KeyError as error:
        raise ValueError(f"{safetensors} is not all-MiniLM-L6-v2: it has no {error}") from error


class _Graph:
    """The nodes and constants of a graph. A tensor is referred to by its name."""

    def __init__(self, weights: Mapping[str, NDArray[Any]]) -> None:
        self._onnx = load_extra("onnx", "onnx")
        self._weights = weights
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def serialize(self) -> bytes:
        helper, kinds = self._onnx.helper, self._onnx.TensorProto
        hidden, mask = self._embed(), self._mask()
        for layer in range(_LAYERS):
            hidden = self._layer(f"encoder.layer.{layer}", hidden, mask)
        self._nodes.append(helper.make_node("Identity", [hidden], ["last_hidden_state"]))
        shape = ["batch", "sequence"]
        graph = helper.make_graph(
            self._nodes,
            "all-MiniLM-L6-v2",
            [
                helper.make_tensor_value_info(name, kinds.INT64, shape)
                for name in ("input_ids", "attention_mask", "token_type_ids")
            ],
            [helper.make_tensor_value_info("last_hidden_state", kinds.FLOAT, [*shape, _HIDDEN])],
            list(self._constants.values()),
        )
        opset = helper.make_opsetid("", _OPSET)
        model = helper.make_model(
            graph, opset_imports=[opset], ir_version=8, producer_name="pgchroma"
        )
        serialized: bytes = model.SerializeToString()
        return serialized

    def _embed(self) -> str:
        table = "embeddings.{}_embeddings.weight".format
        length = self._node(
            "Gather", self._node("Shape", "input_ids"), self._number("one", 1, np.int64)
        )
        positions = self._node(
            "Slice",
            self._weight(table("position")),
            self._vector("first", [0]),
            self._node("Unsqueeze", length, self._vector("axis 0", [0])),
            self._vector("axis 0", [0]),
        )
        words = self._node("Gather", self._weight(table("word")), "input_ids")
        kinds = self._node("Gather", self._weight(table("token_type")), "token_type_ids")
        total = self._node("Add", self._node("Add", words, kinds), positions)
        return self._normalize("embeddings.LayerNorm", total)

    def _mask(self) -> str:
        """Add the mask of the scores, [batch, 1, 1, sequence]: 0 for a token, else `_MASKED`."""
        wide = self._node("Unsqueeze", "attention_mask", self._vector("axis 1", [1]))
        wider = self._node("Unsqueeze", wide, self._vector("axis 2", [2]))
        present = self._node("Cast", wider, to=self._onnx.TensorProto.FLOAT)
        absent = self._node("Sub", self._number("one float", 1.0), present)
        return self._node("Mul", absent, self._number("masked", _MASKED))

    def _layer(self, name: str, hidden: str, mask: str) -> str:
        attended = self._linear(
            f"{name}.attention.output.dense",
            self._attend(f"{name}.attention.self", hidden, mask),
        )
        middle = self._normalize(
            f"{name}.attention.output.LayerNorm", self._node("Add", attended, hidden)
        )
        expanded = self._gelu(self._linear(f"{name}.intermediate.dense", middle))
        contracted = self._linear(f"{name}.output.dense", expanded)
        return self._normalize(f"{name}.output.LayerNorm", self._node("Add", contracted, middle))

    def _attend(self, name: str, hidden: str, mask: str) -> str:
        query = self._heads(f"{name}.query", hidden, [0, 2, 1, 3])
        key = self._heads(f"{name}.key", hidden, [0, 2, 3, 1])
        value = self._heads(f"{name}.value", hidden, [0, 2, 1, 3])
        scale = self._number("scale", math.sqrt(_HEAD_SIZE))
        scores = self._node("Div", self._node("MatMul", query, key), scale)
        shares = self._node("Softmax", self._node("Add", scores, mask), axis=-1)
        mixed = self._node("Transpose", self._node("MatMul", shares, value), perm=[0, 2, 1, 3])
        return self._node("Reshape", mixed, self._vector("joined", [0, 0, _HIDDEN]))

    def _heads(self, name: str, hidden: str, order: list[int]) -> str:
        split = self._vector("split", [0, 0, _HEADS, _HEAD_SIZE])
        return self._node(
            "Transpose", self._node("Reshape", self._linear(name, hidden), split), perm=order
        )

    def _linear(self, name: str, hidden: str) -> str:
        product = self._node("MatMul", hidden, self._weight(f"{name}.weight", transposed=True))
        return self._node("Add", product, self._weight(f"{name}.bias"))

    def _gelu(self, hidden: str) -> str:
        """Add the exact gelu, x · ½ · (1 + erf(x / √2)), not its tanh approximation."""
        error = self._node("Erf", self._node("Div", hidden, self._number("root two", math.sqrt(2))))
        weighted = self._node(
            "Mul", hidden, self._node("Add", error, self._number("one float", 1.0))
        )
        return self._node("Mul", weighted, self._number("half", 0.5))

    def _normalize(self, name: str, hidden: str) -> str:
        return self._node(
            "LayerNormalization",
            hidden,
            self._weight(f"{name}.weight"),
            self._weight(f"{name}.bias"),
            axis=-1,
            epsilon=_EPSILON,
        )

    def _node(self, kind: str, *inputs: str, **attributes: object) -> str:
        output = f"{kind}_{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, [output], **attributes))
        return output

    def _weight(self, name: str, *, transposed: bool = False) -> str:
        weight = self._weights[name].astype(np.float32, copy=False)
        return self._constant(name, weight.T.copy() if transposed else weight)

    def _number(self, name: str, value: float, kind: type[np.generic] = np.float32) -> str:
        return self._constant(name, np.array(value, dtype=kind))

    def _vector(self, name: str, values: list[int]) -> str:
        return self._constant(name, np.array(values, dtype=np.int64))

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        if name not in self._constants:
            self._constants[name] = self._onnx.numpy_helper.from_array(value, name)
        return name
