"""The README's example runs, and its statements about commands are true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_five_minute_example_runs(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    script, shown = re.findall(r"```(?:python|text)\n(.*?)```", readme, re.DOTALL)[:2]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == shown != ""
    assert "\npgchroma psql --path ./data " in readme
    query = "select id from default_tenant__default_database.articles order by id limit 1"
    asked = subprocess.run(
        [sys.executable, "-m", "pgchroma", "psql", "--path", "./data", "-Atc", query],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert asked.stdout == "1\n", asked.stderr


def test_every_target_of_the_readme_is_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for document in ("README.md", "CONTRIBUTING.md"):
        for target in set(re.findall(r"\bmake ([a-z-]+)", (ROOT / document).read_text())):
            if target not in ("everything", "and"):
                assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_of_the_documentation_lead_somewhere() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"
