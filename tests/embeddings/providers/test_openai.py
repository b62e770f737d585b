"""Which text each embedding of OpenAI's answer belongs to, and how long embeddings are."""

from __future__ import annotations

from typing import Any

import pytest

from pgchroma.embeddings.providers.openai import OpenAIEmbeddingFunction
from pgchroma.errors import EmbeddingError
from tests.embeddings.providers.cases import KEY
from tests.embeddings.providers.serving import Answer, serving


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def _embed(places: list[Any], **settings: Any) -> list[list[float]]:
    rows = [
        {"embedding": [float(n), 1.0], **({} if place is None else {"index": place})}
        for n, place in enumerate(places)
    ]
    with serving(lambda request: Answer({"data": rows})) as provider:
        function = OpenAIEmbeddingFunction(api_base=provider.url, **settings)
        return [each.tolist() for each in function(["x"] * len(places))]


@pytest.mark.parametrize(
    ("places", "order"),
    [([2, 0, 1], [1, 2, 0]), ([None, None], [0, 1]), ([0], [0]), ([1, None, 0], None)],
)
def test_embeddings_are_in_the_order_of_their_indices(
    places: list[Any], order: list[int] | None
) -> None:
    if order is None:
        with pytest.raises(EmbeddingError, match="wrong indices"):
            _embed(places)
    else:
        assert _embed(places) == [[float(n), 1.0] for n in order]


@pytest.mark.parametrize(
    "places", [[0, 0], [1, 2], [-1, 0], [0, 7], [1], ["0", "1"], [0, "1"], [0.5, 1], [[0], [1]]]
)
def test_indices_that_are_not_one_for_each_are_refused(places: list[Any]) -> None:
    with pytest.raises(EmbeddingError, match="openai returned"):
        _embed(places)


def test_the_length_is_that_which_is_asked_for() -> None:
    def length(**settings: Any) -> int:
        return OpenAIEmbeddingFunction(**settings).ndims()

    assert length(model_name="text-embedding-3-small", dimensions=5) == 5
    assert length(model_name="text-embedding-3-small") == 1536
    # Not sent, as this model has only one length.
    assert length(model_name="text-embedding-ada-002", dimensions=5) == 1536


def test_an_unknown_models_length_is_measured() -> None:
    with serving(lambda request: Answer({"data": [{"embedding": [1.0, 2.0]}]})) as provider:
        function = OpenAIEmbeddingFunction(api_base=provider.url, model_name="other", dimensions=5)
        assert function.ndims() == 2
        assert "dimensions" not in provider.requests[0].body


def test_both_variables_that_may_have_the_key_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OPENAI_API_KEY", "CHROMA_OPENAI_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(
        ValueError, match=r"^The CHROMA_OPENAI_API_KEY environment variable"
    ) as error:
        OpenAIEmbeddingFunction()
    assert str(error.value).endswith("Set it, or OPENAI_API_KEY.")
