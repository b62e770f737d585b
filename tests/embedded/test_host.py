"""Settings which follow the machine, or the container, the server is started in."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgchroma.embedded import host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import Program

_SHOW = """
with EmbeddedPostgres.open(sys.argv[1]) as postgres:
    say(sql(postgres, f"show {sys.argv[2]}")[0][0])
"""


def _megabytes(durable: bool) -> int:
    return int(
        host.settings(Path("/s"), Path("/tmp"), durable=durable)["shared_buffers"].removesuffix(
            "MB"
        )
    )


def test_buffers_stay_within_bounds() -> None:
    assert 64 <= _megabytes(durable=True) <= 1024
    assert 64 <= _megabytes(durable=False) <= 128


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group whose processes may have 2 GiB of memory."""
    unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    root = Path("/sys/fs/cgroup") if unified else Path("/sys/fs/cgroup/memory")
    group = root / f"pgchroma-test-{os.getpid()}"
    try:
        group.mkdir()
        limit = "memory.max" if unified else "memory.limit_in_bytes"
        (group / limit).write_text(str(2 << 30))
    except OSError:
        pytest.skip("needs the right to make a memory control group")
    yield group
    group.rmdir()


def test_buffers_follow_the_memory_limit_of_the_container(
    used: Path, program: Callable[..., Program], small_group: Path
) -> None:
    enter = f"Path('{small_group}', 'cgroup.procs').write_text(str(os.getpid()))\n"
    assert program(enter + _SHOW, used, "shared_buffers").finish() == "256MB"


def test_a_small_dev_shm_is_not_used(used: Path, program: Callable[..., Program]) -> None:
    mount = 'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$@"'
    prefix = ("unshare", "--mount", "sh", "-c", mount, "sh")
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a file system")
    shown = program(_SHOW, used, "dynamic_shared_memory_type", prefix=prefix).finish()
    assert shown == "mmap"
