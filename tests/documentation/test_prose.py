"""Words that the documentation and the code avoid, so that each sentence names the actor."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
GUIDES += sorted((ROOT / "docs").glob("*.md"))
CODE = sorted((ROOT / "adapter").rglob("*.py"))

PRONOUNS = re.compile(r"\b([Hh]e|[Hh]is|[Hh]im|[Hh]imself)\b")
VAGUE = re.compile(r"\b([Ww]hoever|[Ss]omebody|[Ee]verybody|[Mm]eanwhile)\b")
UNIDIOMATIC = re.compile(
    # In quotes it is the Unix user.
    r"\b([Ww]hoever|(?<![`'\"])[Nn]obody|[Ss]omebody|[Ee]verybody|[Aa]new|[Mm]eanwhile)\b"
    r"|\bso (many|long|much|few|deep|far)\b"
)


def lines(path: Path, pattern: re.Pattern[str]) -> list[str]:
    text = path.read_text().splitlines()
    return [f"{path.name}:{n}: {line}" for n, line in enumerate(text, 1) if pattern.search(line)]


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_the_guides_name_who_acts(path: Path) -> None:
    assert not lines(path, PRONOUNS)
    assert not lines(path, VAGUE)


def test_the_code_has_no_he() -> None:
    # The list of English stop words contains all of them.
    files = [path for path in CODE if path.name != "stopwords.py"]
    assert files
    assert not [line for path in files for line in lines(path, PRONOUNS)]


def test_the_code_has_no_unidiomatic_words() -> None:
    files = [path for path in CODE if path.name != "stopwords.py"]
    files += sorted((ROOT / "sql").glob("*.sql"))
    assert files
    assert not [line for path in files for line in lines(path, UNIDIOMATIC)]
