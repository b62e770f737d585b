"""Compare embedding functions: the default one with Chroma's, and one provider with itself.

Run by ``make bench-embeddings``. Each side of the default function is a separate process; they
embed in turns, a call each, so that other load on the machine affects both. The provider is a
process that answers after 50 ms. Writes docs/benchmarks-embeddings.md.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from revision import revision
from tables import short, table

ROOT = Path(__file__).resolve().parents[1]
PEERS = {
    "chromadb": ROOT / ".venv" / "bench" / "bin" / "python",
    "pgchroma": ROOT / ".venv" / "bin" / "python",
}
ROUNDS = 9

SENTENCE = "the keeper of the old lighthouse counts every ship that passes the rocks at night "
TEXTS = {
    "short (5 to 15 words)": [SENTENCE[: 30 + n % 50] + str(n) for n in range(64)],
    # Each word is one token, and two more mark begin and end.
    "200 tokens": [" ".join([str(n), *(SENTENCE * 14).split()[:197]]) for n in range(64)],
}
GOALS = {"short (5 to 15 words)": 4.0, "200 tokens": 1.5}
LARGE = 512
"""Texts of 200 tokens in the one call whose memory is measured."""

LATENCY = 0.05
DIMENSIONS = 384
MANY = 10_000
BATCH = 100
WIDE = 16
"""More concurrent calls than by default."""
SINGLE = 200
"""Texts that are embedded one per call; the time for `MANY` is extrapolated from them."""


def main() -> None:
    """Measure, and write the tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--peer", choices=PEERS, help="one side's part; answers each line in")
    options.add_argument("--provider", action="store_true", help="answer as a provider does")
    options.add_argument("--rounds", type=int, default=ROUNDS)
    given = options.parse_args()
    if given.peer:
        measure_peer(given.peer)
    elif given.provider:
        provide()
    else:
        text = introduction(given.rounds) + default_function(given.rounds) + provider(given.rounds)
        (ROOT / "docs" / "benchmarks-embeddings.md").write_text(text, encoding="utf-8")
        print(text)


def introduction(rounds: int) -> str:
    """Return a description of the method."""
    return (
        "# Embedding benchmark\n\n"
        f"Medians of {rounds} turns, one side after the other, on {os.cpu_count()} cores, "
        f"{platform.machine()}, Python {platform.python_version()}, "
        f"{time.strftime('%Y-%m-%d')}, {revision()}. Made by `make bench-embeddings`.\n\n"
    )


def measure_peer(peer: str) -> None:
    """Embed the texts that each line of the standard input names; print the measurements."""
    module = importlib.import_module(f"{peer}.utils.embedding_functions")
    function = module.DefaultEmbeddingFunction()
    function(["warm up"])
    for line in sys.stdin:
        texts = TEXTS.get(line.strip())
        if texts is None:
            base = TEXTS["200 tokens"]
            texts = [f"{n} {base[n % len(base)]}" for n in range(LARGE)]
        wall, cpu, vectors = timed(partial(function, texts))
        values = [float(value) for vector in vectors[:4] for value in vector]
        answer = {"wall": len(texts) / wall, "cpu": len(texts) / cpu, "values": values}
        print(json.dumps({**answer, "peak": peak()}), flush=True)


def timed(call: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return a call's wall-clock seconds, the CPU seconds of all processors, and its result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def peak() -> float:
    """Return the most memory this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def default_function(rounds: int) -> str:
    """Compare the default functions on the same weights."""
    with tempfile.TemporaryDirectory(prefix="pgchroma-bench-home-") as home, ExitStack() as stack:
        export = (
            "from pathlib import Path; from pgchroma.embeddings import export_onnx; "
            f"export_onnx(Path({home!r}) / '.cache/chroma/onnx_models/all-MiniLM-L6-v2/onnx')"
        )
        subprocess.run([str(PEERS["pgchroma"]), "-c", export], check=True)
        sides = {peer: stack.enter_context(Side.running(peer, home)) for peer in PEERS}
        for side in sides.values():
            for name in TEXTS:
                side.embed(name)
        turns = [
            {name: {peer: side.embed(name) for peer, side in sides.items()} for name in TEXTS}
            for _ in range(rounds)
        ]
        large = {peer: side.embed("large") for peer, side in sides.items()}
    return rates_table(turns) + memory_table(turns[-1]["200 tokens"], large)


@dataclass
class Side:
    """The process of one side."""

    process: subprocess.Popen[str]

    @classmethod
    @contextmanager
    def running(cls, peer: str, home: str) -> Iterator[Side]:
        """Run one side with a home directory that has the weights."""
        with subprocess.Popen(
            [str(PEERS[peer]), __file__, "--peer", peer],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "HOME": home, "ANONYMIZED_TELEMETRY": "False"},
        ) as process:
            yield cls(process)

    def embed(self, name: str) -> dict[str, Any]:
        """Make a side embed texts, and return its measurements."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(name, file=self.process.stdin, flush=True)
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found


def rates_table(turns: list[dict[str, dict[str, dict[str, Any]]]]) -> str:
    """Return a table of the texts per second that each side embeds."""
    rows = []
    for name, goal in GOALS.items():
        found = [turn[name] for turn in turns]
        values = [found[0][peer]["values"] for peer in PEERS]
        difference = max(abs(a - b) for a, b in zip(*values, strict=True))
        for kind, unit in (("wall", "second"), ("cpu", "second of a processor")):
            theirs, ours = (statistics.median(one[peer][kind] for one in found) for peer in PEERS)
            times = statistics.median(
                one["pgchroma"][kind] / one["chromadb"][kind] for one in found
            )
            verdict = f"≥ {goal:g} {'✓' if times >= goal else '✗'}"
            row = (name, unit, short(theirs), short(ours), f"{times:.2f}", verdict)
            rows.append((*row, f"{difference:.0e}"))
    header = ("texts", "a", "chromadb", "pgchroma", "× chromadb", "goal", "largest difference")
    return (
        "## Default embedding function\n\n"
        "all-MiniLM-L6-v2, float32, the same ONNX graph for both; texts embedded in a second, of "
        "the clock and of a processor, in calls of 64. `× chromadb` is the median of the turns' "
        "own ratios. The difference is that of two values of the embeddings; the goal is at most "
        "1e-5. `chromadb` is chromadb 1.5.9, which makes 256 tokens of every text.\n\n"
    ) + table(header, 2, rows)


def memory_table(usual: dict[str, Any], large: dict[str, Any]) -> str:
    """Return a table of the memory that each side uses."""
    header = ("most memory of the process, MB", *PEERS)
    calls = {"calls of 64 texts": usual, f"one of {LARGE} texts of 200 tokens": large}
    rows = [
        (f"after {name}", *(f"{one[peer]['peak']:.0f}" for peer in PEERS))
        for name, one in calls.items()
    ]
    return "\n" + table(header, 1, rows) + "\n"


def provider(rounds: int) -> str:
    """Measure a provider that answers after a delay, called in three ways."""
    from pgchroma.embeddings.providers.openai import OpenAIEmbeddingFunction  # noqa: PLC0415

    os.environ["OPENAI_API_KEY"] = "none"
    texts = [f"text number {n}" for n in range(MANY)]
    with providing() as url:
        function = OpenAIEmbeddingFunction(api_base=url).with_options(
            batch_size=BATCH, progress=False
        )
        ways: dict[str, Callable[[], float]] = {
            "one text a call": lambda: (
                MANY / SINGLE * timed(lambda: [function([text]) for text in texts[:SINGLE]])[0]
            ),
            f"batches of {BATCH}, one at a time": lambda: timed(
                lambda: function.with_options(concurrency=1)(texts)
            )[0],
            f"batches of {BATCH}, {WIDE} at a time": lambda: timed(
                lambda: function.with_options(concurrency=WIDE)(texts)
            )[0],
            f"batches of {BATCH}, {function.concurrency} at a time, as it is": lambda: timed(
                lambda: function(texts)
            )[0],
        }
        function(texts[:1])
        turns: list[dict[str, float]] = [
            {name: way() for name, way in ways.items()} for _ in range(rounds)
        ]
    medians = {name: statistics.median(turn[name] for turn in turns) for name in ways}
    ours = list(medians.values())[-1]
    rows = [(name, short(took), f"{took / ours:.3g}") for name, took in medians.items()]
    header = (f"{MANY:,} texts", "seconds", "times the last row")
    return (
        "## A provider with a latency of 50 ms\n\n"
        "OpenAI's function, and a server on the same machine that answers in OpenAI's form, with "
        f"{DIMENSIONS} dimensions, {LATENCY * 1000:.0f} ms after a request. One text a call is "
        f"reckoned from {SINGLE} texts. The goal is that calls one at a time take at least 8 times "
        "as long.\n\n"
    ) + table(header, 1, rows)


@contextmanager
def providing() -> Iterator[str]:
    """Run the provider in a separate process, and yield its URL."""
    with subprocess.Popen(
        [sys.executable, __file__, "--provider"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def provide() -> None:
    """Answer requests for embeddings until the standard input ends."""
    import base64  # noqa: PLC0415

    vector = base64.b64encode(b"\x00\x00\x80\x3f" * DIMENSIONS).decode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # The head and the body are written apart, and the second would wait for an answer to the
        # first.
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            """Answer with as many embeddings as there are texts."""
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            time.sleep(LATENCY)
            rows = [{"index": n, "embedding": vector} for n in range(len(body["input"]))]
            answer = json.dumps({"data": rows}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
