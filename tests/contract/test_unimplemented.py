"""The parts of Chroma's API that pgchroma lacks, in every mode: refused with Chroma's messages."""

from __future__ import annotations

from typing import Any

import pytest

from pgchroma import errors

NO_FUNCTIONS = (
    "Attached functions are only supported when connecting to a Chroma server via HttpClient. "
    "The Rust bindings (embedded mode) do not support attached function operations."
)


@pytest.fixture
async def collection(mode: Any) -> Any:
    return await mode.create_collection("unimplemented", embedding_function=None)


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("fork", ["copy"], "Collection forking is not implemented for Local Chroma"),
        ("fork_count", [], "Fork count is not implemented for Local Chroma"),
        ("attach_function", ["statistics", "stats", "output"], NO_FUNCTIONS),
        ("get_attached_function", ["stats"], NO_FUNCTIONS),
        ("detach_function", ["stats"], NO_FUNCTIONS),
    ],
)
async def test_methods_are_refused(
    collection: Any, method: str, arguments: list[Any], message: str
) -> None:
    with pytest.raises(NotImplementedError) as raised:
        await getattr(collection, method)(*arguments)
    assert str(raised.value) == message
    assert isinstance(raised.value, errors.ChromaError)
