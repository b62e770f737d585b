"""LanceDB's registry, its base classes, and Chroma's functions seen through it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydantic import SecretStr, ValidationError

from pgchroma.embeddings import (
    DefaultEmbeddingFunction,
    EmbeddingFunction,
    MultiModalEmbeddingFunction,
    Options,
    TextEmbeddingFunction,
    config_to_embedding_function,
    embedding_function_to_config,
    get_registry,
    known_embedding_functions,
    register,
    register_embedding_function,
)
from pgchroma.embeddings.lancedb.adapters import chroma_function
from pgchroma.embeddings.registry import PROVIDERS
from pgchroma.errors import EmbeddingError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def restored_registry() -> Iterator[None]:
    before, classes = dict(known_embedding_functions), dict(get_registry()._classes)
    yield
    known_embedding_functions.clear()
    known_embedding_functions.update(before)
    get_registry()._classes.clear()
    get_registry()._classes.update(classes)


class Model:
    def __init__(self, name: str) -> None:
        self.name = name

    def encode(self, texts: list[str]) -> Any:
        return np.array([[len(text), len(self.name)] for text in texts])


class Embedder(TextEmbeddingFunction):
    """As LanceDB's documentation writes one."""

    name: str = "a name"
    model_name: str = "my-model"
    api_key: str | None = None
    client_secret: SecretStr | None = None
    api_key_env_var: str = "MY_KEY"
    max_tokens: int = 3
    headers: dict[str, str] = {}  # noqa: RUF012
    endpoint: str = "http://localhost:1"

    def generate_embeddings(self, texts: list[str]) -> Any:
        made: list[list[float]] = self._model.encode(texts).tolist()
        return made

    def ndims(self) -> int:
        return len(self.generate_embeddings(["test"])[0])

    @cached_property
    def _model(self) -> Model:
        return Model(self.model_name)


class Failing(TextEmbeddingFunction):
    failures: int
    is_transient: bool = True
    seen: list[int] = []  # noqa: RUF012

    def generate_embeddings(self, texts: list[str]) -> Any:
        self.seen.append(len(texts))
        if len(self.seen) <= self.failures:
            raise EmbeddingError("not now", is_transient=self.is_transient)
        return [[1.0, float(len(text))] for text in texts]

    def ndims(self) -> int:
        return 2


class Chromas(EmbeddingFunction[Any]):
    """A function of Chroma's protocol that does not support batches."""

    def __init__(self, model_name: str = "m", scale: float = 1.0) -> None:
        self.model_name = model_name
        self.scale = scale
        self.calls: list[int] = []

    def __call__(self, input: Any) -> Any:
        self.calls.append(len(input))
        return [[len(text) * self.scale, 0.0] for text in input]

    def embed_query(self, input: Any) -> Any:
        return [np.array([0.0, float(len(text))], np.float32) for text in input]

    @staticmethod
    def name() -> str:
        return "lancedb-chromas"

    def get_config(self) -> dict[str, Any]:
        return {"model_name": self.model_name, "scale": self.scale}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> Chromas:
        return Chromas(**config)

    def default_space(self) -> Any:
        return "ip"


def made(function: Any) -> list[list[float]]:
    return [each.tolist() for each in function]


class TestWriting:
    def test_the_documented_function_works(self) -> None:
        function = register("my-embedder")(Embedder).create(model_name="abc")
        assert get_registry().get("my-embedder") is Embedder
        assert function.ndims() == 2
        assert function._model is function._model
        assert made(function.compute_source_embeddings(["a", "bb"])) == [[1, 3], [2, 3]]
        assert made(function.compute_query_embeddings("bb")) == [[2, 3]]
        assert made(function.compute_source_embeddings(np.array(["ccc"]))) == [[3, 3]]
        assert function.default_space() == "l2"

    def test_fields_called_name_and_model_name_are_settings(self) -> None:
        assert Embedder.create(name="x").name == "x"
        assert Embedder.create(name="x").model_name == "my-model"

        class Plain(TextEmbeddingFunction):
            model_name: str = "m"

            def generate_embeddings(self, texts: list[str]) -> Any:
                return [[1.0] for _ in texts]

            def ndims(self) -> int:
                return 1

        assert Plain.create(name="x").model_name == "x"

    def test_a_setting_that_there_is_not_is_refused_with_those_there_are(self) -> None:
        with pytest.raises(
            TypeError, match=r"Embedder has no setting modle, expected api_key, .*cac"
        ):
            Embedder.create(modle="x")
        with pytest.raises(ValidationError):
            Embedder(modle="x")  # type: ignore[call-arg]
        with pytest.raises(ValidationError, match="max_retries"):
            Embedder.create(max_retries=-1)
        with pytest.raises(ValueError, match="batch_size: expected at least 1, got 0"):
            Embedder.create(batch_size=0)

    def test_it_cannot_be_made_without_its_methods(self) -> None:
        with pytest.raises(TypeError, match="abstract"):
            TextEmbeddingFunction()  # type: ignore[abstract]
        with pytest.raises(TypeError, match="abstract"):
            MultiModalEmbeddingFunction.create()

    def test_it_is_called_in_batches_and_again(self) -> None:
        function = Failing.create(failures=2, batch_size=2, initial_wait=0, max_retries=2)
        assert len(function.compute_source_embeddings(["a"] * 5)) == 5
        assert function.seen == [2, 2, 2, 2, 1]
        with pytest.raises(EmbeddingError, match="not now"):
            Failing.create(failures=2, initial_wait=0, max_retries=1).compute_source_embeddings("a")
        final = Failing.create(failures=1, is_transient=False, initial_wait=0)
        with pytest.raises(EmbeddingError, match="not now"):
            final.compute_source_embeddings("a")
        assert final.seen == [1]

    def test_options_that_are_fields_of_its_own_stay_with_it(self) -> None:
        class Own(Failing):
            batch_size: int = 1
            timeout: float = 5.0

        function = Own.create(failures=0, batch_size=7, timeout=2, concurrency=1)
        assert (function.batch_size, function.timeout) == (7, 2.0)
        assert function._options == Options(concurrency=1)

    def test_what_was_embedded_is_kept_if_asked(self, tmp_path: Path) -> None:
        settings: dict[str, Any] = {"failures": 0, "cache": tmp_path / "cache"}
        first, second = Failing.create(**settings), Failing.create(**settings)
        assert made(first.compute_source_embeddings(["a", "bb"])) == [[1, 1], [1, 2]]
        assert made(second.compute_source_embeddings(["bb", "a"])) == [[1, 2], [1, 1]]
        assert second.seen == []
        other = Failing.create(**settings, is_transient=False)
        other.compute_source_embeddings(["a"])
        assert other.seen == [1]

    @pytest.mark.parametrize("texts", [[1], [None], [["a"]], np.zeros((2, 2))], ids=str)
    def test_what_is_no_text_is_refused(self, texts: Any) -> None:
        with pytest.raises(ValueError, match=r"list of strings, got .* at position 0"):
            Embedder.create().compute_source_embeddings(texts)

    @pytest.mark.parametrize(
        ("result", "message"),
        [([[1.0]], "1 embeddings for 2"), ([], "no embeddings"), (None, "no embeddings"),
         ([[1.0], [float("nan")]], "NaN"), ([[1.0], [1.0, 2.0]], "different lengths")],
        ids=str,
    )  # fmt: skip
    def test_what_is_no_embedding_for_each_is_refused(self, result: Any, message: str) -> None:
        class Wrong(TextEmbeddingFunction):
            def generate_embeddings(self, texts: list[str]) -> Any:
                return result

            def ndims(self) -> int:
                return 1

        with pytest.raises(EmbeddingError, match=f"^Wrong returned .*{message}"):
            Wrong.create().compute_source_embeddings(["a", "b"])


class TestSecrets:
    def function(self) -> Embedder:
        return register("lancedb-secret")(Embedder).create(
            api_key="sk-1", client_secret="sk-2", headers={"Authorization": "sk-3", "x": "y"}
        )

    def test_they_are_in_no_repr_and_no_error(self) -> None:
        function = self.function()
        for text in (repr(function), str(function), repr([function])):
            assert "sk-1" not in text
            assert "sk-2" not in text
        with pytest.raises(ValidationError) as caught:
            Embedder(api_key="sk-1", max_tokens="x")  # type: ignore[arg-type]
        assert "sk-1" not in str(caught.value)

    def test_they_are_not_stored(self) -> None:
        stored = embedding_function_to_config(chroma_function(self.function()))
        assert stored == {
            "type": "known",
            "name": "lancedb-secret",
            "config": {
                "name": "a name", "model_name": "my-model", "api_key_env_var": "MY_KEY",
                "max_tokens": 3, "headers": {"x": "y"}, "endpoint": "http://localhost:1",
            },
        }  # fmt: skip


class TestAsChromas:
    def test_a_stored_one_is_built_again(self) -> None:
        register("lancedb-kept")(Embedder)
        function = chroma_function(Embedder.create(model_name="12345", max_retries=2))
        assert isinstance(function, EmbeddingFunction)
        assert function.name() == "lancedb-kept"
        rebuilt = config_to_embedding_function(embedding_function_to_config(function))
        assert made(rebuilt(["a"])) == [[1, 5]]
        assert made(rebuilt.embed_query(["aa", "b"])) == [[2, 5], [1, 5]]
        assert rebuilt(["a"])[0].dtype == np.float32
        assert known_embedding_functions["lancedb-kept"] is type(function)
        assert embedding_function_to_config(Embedder.create())["name"] == "lancedb-kept"  # type: ignore[call-overload]

    def test_a_stored_address_is_followed_only_if_it_is_the_default(self) -> None:
        register("lancedb-address")(Embedder)
        stored = embedding_function_to_config(chroma_function(Embedder(endpoint="http://evil")))
        with pytest.raises(ValueError, match="sets endpoint to 'http://evil', which pgchroma"):
            config_to_embedding_function(stored)
        assert config_to_embedding_function(stored, is_trusted=True)(["a"])

    def test_another_model_is_another_function(self) -> None:
        function = chroma_function(Embedder.create())
        with pytest.raises(ValueError, match="The model name cannot be changed"):
            function.validate_config_update({"model_name": "a"}, {"model_name": "b"})
        function.validate_config_update({"max_tokens": 1}, {"max_tokens": 2})

    def test_queries_go_one_by_one_to_who_embeds_them_otherwise(self) -> None:
        class Asymmetric(Embedder):
            def compute_query_embeddings(self, query: str, *args: Any, **kwargs: Any) -> Any:
                return [[-float(len(query)), 0.0]]

        assert made(chroma_function(Asymmetric()).embed_query(["a", "bb"])) == [[-1, 0], [-2, 0]]

    def test_anything_else_stays_what_it_is(self) -> None:
        for given in (None, Chromas(), len):
            assert chroma_function(given) is given

    def test_a_subclass_without_a_name_of_its_own_is_not_its_base(self) -> None:
        register("lancedb-base")(Embedder)

        class Derived(Embedder):
            pass

        with pytest.warns(DeprecationWarning, match="does not implement name"):
            stored = embedding_function_to_config(chroma_function(Derived()))
        assert stored == {"type": "legacy"}


class TestLookingUp:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("openai", "OpenAIEmbeddingFunction"),
            ("sentence-transformers", "SentenceTransformerEmbeddingFunction"),
            ("sentence_transformer", "SentenceTransformerEmbeddingFunction"),
            ("huggingface", "TransformersEmbeddingFunction"),
            ("huggingface-server", "HuggingFaceEmbeddingServer"),
            ("cohere", "CohereEmbeddingFunction"),
            ("open-clip", "OpenCLIPEmbeddingFunction"),
            ("imagebind", "ImageBindEmbeddingFunction"),
            ("ollama", "OllamaEmbeddingFunction"),
            ("jina", "JinaEmbeddingFunction"),
            ("voyageai", "VoyageAIEmbeddingFunction"),
            ("instructor", "InstructorEmbeddingFunction"),
            ("gemini-text", "GoogleGeminiEmbeddingFunction"),
            ("bedrock-text", "AmazonBedrockEmbeddingFunction"),
            ("chroma_cloud_qwen", "ChromaCloudQwenEmbeddingFunction"),
            ("default", "DefaultEmbeddingFunction"),
        ],
    )
    def test_lancedbs_names_and_chromas_lead_to_a_class(self, name: str, expected: str) -> None:
        found = get_registry().get(name)
        assert found.__name__ == expected
        assert callable(found.create)
        assert callable(found.generate_embeddings)

    def test_every_name_there_is_can_be_looked_up(self) -> None:
        assert set(PROVIDERS) < set(get_registry().names())
        for name in get_registry().names():
            assert callable(get_registry().get(name).create), name

    def test_a_name_that_there_is_not_says_which_there_are(self) -> None:
        with pytest.raises(
            KeyError, match=r"Embedding function bogus not found, expected one of .*openai"
        ):
            get_registry().get("bogus")

    def test_a_name_of_ones_own_goes_first_and_may_be_left_out(self) -> None:
        assert register("openai")(Embedder) is Embedder
        assert get_registry().get("openai") is Embedder
        get_registry().register()(Failing)
        assert get_registry().get("Failing") is Failing
        with pytest.raises(TypeError, match="expected a class of embedding functions"):
            register("x")(int)

    def test_a_function_of_chromas_kind_can_be_created(self) -> None:
        register_embedding_function(Chromas)
        function = (
            get_registry().get("lancedb-chromas").create(name="other", scale=2.0, batch_size=2)
        )
        assert function.function.model_name == "other"
        assert made(function.compute_source_embeddings(["a", "bb", "ccc"])) == [
            [2, 0], [4, 0], [6, 0],
        ]  # fmt: skip
        assert function.function.calls == [2, 1]
        assert made(function.compute_query_embeddings("bb")) == [[0, 2]]
        assert function.ndims() == 2
        assert function.default_space() == "ip"
        stored = embedding_function_to_config(function)
        assert stored["config"] == {"model_name": "other", "scale": 2.0}
        assert known_embedding_functions["lancedb-chromas"] is Chromas
        assert type(config_to_embedding_function(stored)) is Chromas
        with pytest.raises(TypeError, match="Chromas has no setting modle, expected "):
            get_registry().get("lancedb-chromas").create(modle=1)

    def test_registering_one_of_chromas_kind_names_it_twice(self) -> None:
        assert register("shorter")(Chromas) is Chromas
        assert get_registry().get("shorter").create().name() == "lancedb-chromas"
        assert known_embedding_functions["lancedb-chromas"] is Chromas

    def test_the_default_function_can_be_created(self, default: DefaultEmbeddingFunction) -> None:
        function = get_registry().get("default").create(batch_size=1, progress=False)
        assert function.ndims() == 384
        np.testing.assert_allclose(
            function.generate_embeddings(["a", "b"]), default(["a", "b"]), rtol=0, atol=1e-5
        )
