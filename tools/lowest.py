"""Print what pip installs for the lowest versions that pyproject.toml allows, one a line.

    python tools/lowest.py > lowest.txt

Each of the project's own requirements is at its lower bound; for their dependencies, pip chooses
the newest compatible versions. If two extras require one package, the lower bound counts.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
EXTRA = "all"


def lowest(extra: str = EXTRA) -> Iterator[str]:
    """Yield a pinned requirement for each package that the project and one of its extras need."""
    bounds: dict[str, Version] = {}
    extras: dict[str, set[str]] = {}
    for requirement in _requirements(extra):
        bound = _lower_bound(requirement)
        bounds[requirement.name] = min(bound, bounds.get(requirement.name, bound))
        extras.setdefault(requirement.name, set()).update(requirement.extras)
    for name in sorted(bounds):
        wanted = f"[{','.join(sorted(extras[name]))}]" if extras[name] else ""
        yield f"{name}{wanted}=={bounds[name]}"


def _requirements(extra: str) -> Iterator[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pending = [*project["dependencies"], f"{project['name']}[{extra}]"]
    while pending:
        requirement = Requirement(pending.pop())
        if requirement.name != project["name"]:
            yield requirement
            continue
        optional = project["optional-dependencies"]
        pending += [text for name in requirement.extras for text in optional[name]]


def _lower_bound(requirement: Requirement) -> Version:
    bounds = [part.version for part in requirement.specifier if part.operator == ">="]
    if len(bounds) != 1:
        raise ValueError(f"{requirement} has no lower bound")
    return Version(bounds[0])


if __name__ == "__main__":
    sys.stdout.write("\n".join(lowest()) + "\n")
