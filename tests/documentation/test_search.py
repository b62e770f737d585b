"""The examples of docs/search.md print what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_examples_of_the_page_print_what_it_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "search.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 6
    told = [line.removeprefix("# ") for line in "".join(blocks).splitlines() if line[:2] == "# "]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join([*blocks, "client.close()"])],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ},
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == told
