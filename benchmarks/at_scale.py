"""The large benchmark: indexes, filters, churn and size, against Chroma and against SQL by hand.

Run by ``make bench-vectors`` and ``make bench-large``. Keeps every round's results as JSON, so that
some parts, sizes or peers may be measured again alone; writes docs/benchmarks.md, with its plots,
from all that is kept. `scale` is what it consists of.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from revision import revision
from scale import dataset, machine, report
from scale.peer_process import ALL, GROWTH, OTHER, PEERS, PYTHON, ROOT
from scale.results import Rounds, Workload
from scale.rounds import Round


def main() -> None:
    """Run the rounds, unless only the report is wanted, and write the report."""
    options = _options()
    rounds = Rounds(options.directory)
    if not options.report_only:
        begin, measured = time.monotonic(), revision()
        for workload, parts in workloads(options):
            _run(workload, parts, options, rounds)
            minutes = (time.monotonic() - begin) / 60
            machine.remember(options.directory, _command(options), minutes, measured)
            report.write(rounds, machine.recall(options.directory), options.output)
    report.write(rounds, machine.recall(options.directory), options.output)


def workloads(options: argparse.Namespace) -> Iterator[tuple[Workload, tuple[str, ...]]]:
    """Yield the workloads to measure and their parts, the small ones first."""
    found = [
        *((dataset.clustered(384), size, options.only) for size in options.sizes),
        *((dataset.clustered(384), size, GROWTH) for size in options.growth),
        *((dataset.clustered(1536), size, OTHER) for size in options.wide),
        *((dataset.DOCSTRINGS, size, OTHER) for size in options.texts),
    ]
    for data, size, parts in sorted(found, key=lambda item: item[1]):
        wanted = tuple(part for part in parts if part in options.only)
        if wanted:
            yield Workload(data, size), wanted


def _run(
    workload: Workload, parts: tuple[str, ...], options: argparse.Namespace, rounds: Rounds
) -> None:
    place = dataset.make(options.directory / "data", workload.data, workload.size, PYTHON)
    for number in range(1, options.rounds + 1):
        Round(workload, number, options.peers, parts, place, rounds).run()


def _command(options: argparse.Namespace) -> str:
    """Return the command to type for the same results; where they are kept does not matter."""
    usual = vars(_options([]))
    words = [
        f"--{name}={_listed(chosen)}"
        for name in ("sizes", "growth", "wide", "texts", "only", "peers", "rounds")
        if (chosen := getattr(options, name)) != usual[name]
    ]
    arguments = f' ARGS="{" ".join(words)}"' if words else ""
    return f"make {options.target}{arguments}"


def _listed(chosen: object) -> str:
    return ",".join(map(str, chosen)) if isinstance(chosen, list | tuple) else str(chosen)


def _options(arguments: list[str] | None = None) -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return [int(word) for word in text.split(",") if word]

    def names(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
        def parse(text: str) -> tuple[str, ...]:
            chosen = tuple(text.split(","))
            if unknown := set(chosen) - set(known):
                raise argparse.ArgumentTypeError(f"no such: {', '.join(sorted(unknown))}")
            return chosen

        return parse

    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--sizes", type=numbers, default="10000,100000", help="of clustered data, measured whole")
    add("--growth", type=numbers, default="2000,50000", help="sizes of which some is measured")
    add("--wide", type=numbers, default="10000", help="sizes of data with 1,536 dimensions")
    add("--texts", type=numbers, default="10000", help="sizes of real embeddings, 17,000 at most")
    add("--only", type=names(ALL), default=",".join(ALL), help=f"some of {', '.join(ALL)}")
    add("--peers", type=names(tuple(PEERS)), default=",".join(PEERS))
    add("--rounds", type=int, default=1, help="of each size; in a round peers take turns")
    add("--report-only", action="store_true", help="write the report from what is kept")
    add("--directory", type=Path, default=ROOT / "build" / "bench", help="for data and results")
    add("--output", type=Path, default=ROOT / "docs" / "benchmarks.md")
    add("--target", default="bench-vectors", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
