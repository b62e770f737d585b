"""A task for VectorDBBench with its own Chroma client, as both are released.

The task runs in a process of its own, which is this module as a program. It does what the command
`vectordbbench chroma` does, but for the settings: those that the command makes cannot be written
to the results, for which VectorDBBench 2.0.0 needs the host's name in them as a secret.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from running import HOST

COLLECTION = "VectorDBBenchCollection"
"""The name that the client gives to its collection."""

M, EF_CONSTRUCTION = 16, 100
"""Chroma's defaults, and those of the client's settings."""

SUCCESS = ":)"

Stage = Literal["drop_old", "load", "search_serial", "search_concurrent"]


class TaskError(Exception):
    """VectorDBBench reported a failure, or wrote no results."""


@dataclass(frozen=True)
class Task:
    """What VectorDBBench is to do.

    Attributes:
        port: The server's.
        place: The directory of the data.
        k: How many records a search returns.
        clients: The numbers of processes that search at the same time.
        seconds: How long they do.
    """

    port: int
    place: str
    size: int
    dimension: int
    k: int
    ef_search: int
    clients: Sequence[int]
    seconds: int
    stages: Sequence[Stage]


def run(task: Task, directory: Path) -> dict[str, Any]:
    """Run a task, and return the metrics of VectorDBBench.

    Args:
        task: The task.
        directory: Where VectorDBBench writes results and logs.

    Raises:
        TaskError: It failed; the end of its log has been printed.
    """
    label = f"task{len(list(directory.glob('*.log')))}"
    log = directory / f"{label}.log"
    with log.open("w", encoding="utf-8") as output:
        subprocess.run(
            [sys.executable, __file__, label, json.dumps(asdict(task))],
            cwd=directory,
            env=os.environ | {"RESULTS_LOCAL_DIR": str(directory), "LOG_FILE": f"{label}.txt"},
            stdout=output,
            stderr=output,
            check=False,
        )
    for path in directory.glob(f"Chroma/result_*_{label}_chroma.json"):
        (result,) = json.loads(path.read_text(encoding="utf-8"))["results"]
        if result["label"] == SUCCESS:
            metrics: dict[str, Any] = result["metrics"]
            return metrics
    end = log.read_text(encoding="utf-8", errors="replace")[-5_000:]
    print(f"the end of what VectorDBBench printed:\n{end}", file=sys.stderr)
    raise TaskError(f"VectorDBBench failed; {log} has its log")


def main() -> None:
    """Run the task of the command line in this process."""
    from vectordb_bench.interface import benchmark_runner  # noqa: PLC0415

    label, task = sys.argv[1], Task(**json.loads(sys.argv[2]))
    benchmark_runner.run([_config(task)], label)
    while benchmark_runner.has_running():
        time.sleep(0.5)


def _config(task: Task) -> Any:
    from pydantic import SecretStr  # noqa: PLC0415
    from vectordb_bench import models  # noqa: PLC0415
    from vectordb_bench.backend.clients import DB, MetricType  # noqa: PLC0415
    from vectordb_bench.backend.clients.chroma import config  # noqa: PLC0415

    server = {"host": SecretStr(HOST), "port": task.port}
    return models.TaskConfig(
        db=DB.Chroma,
        db_config=config.ChromaConfig(**server),
        db_case_config=config.ChromaIndexConfig(
            **server,
            metric_type=MetricType.COSINE,
            m=M,
            ef_construct=EF_CONSTRUCTION,
            ef_search=task.ef_search,
        ),
        case_config=models.CaseConfig(
            case_id=models.CaseType.PerformanceCustomDataset,
            custom_case={
                "name": "clustered",
                "description": "",
                "load_timeout": 36_000,
                "optimize_timeout": 36_000,
                "dataset_config": {
                    "name": "clustered",
                    "dir": task.place,
                    "size": task.size,
                    "dim": task.dimension,
                    "metric_type": "COSINE",
                },
            },
            k=task.k,
            concurrency_search_config=models.ConcurrencySearchConfig(
                num_concurrency=task.clients, concurrency_duration=task.seconds
            ),
        ),
        stages=[models.TaskStage(stage) for stage in task.stages],
    )


if __name__ == "__main__":
    main()
