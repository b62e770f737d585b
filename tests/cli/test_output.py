"""Output that cannot be written, closed streams, other encodings, and control characters."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pgchroma.cli import main
from tests.commands import runner

LIST = ("profile", "list")


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    """A configuration directory with a profile whose address is not ASCII."""
    file = tmp_path / "pgchroma" / "profiles.toml"
    file.parent.mkdir()
    file.touch(0o600)
    file.write_text('current = "work"\n[profiles.work]\npath = "/data/ü…"\n', "utf-8")
    return tmp_path


def run(
    arguments: Sequence[str], configured: Path, redirection: str = "", **variables: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a shell, which can close its streams."""
    return subprocess.run(
        ["sh", "-c", f'exec "$0" -m pgchroma "$@" {redirection}', sys.executable, *arguments],
        env={**os.environ, "XDG_CONFIG_HOME": str(configured), **variables},
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.heavy
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
@pytest.mark.parametrize("arguments", [LIST, (*LIST, "--json"), ("--help",)])
def test_output_that_cannot_be_written(arguments: tuple[str, ...], profiles: Path) -> None:
    done = run(arguments, profiles, ">/dev/full")
    assert (done.returncode, done.stderr) == (1, b"Error: No space left on device\n")


def test_a_closed_output(profiles: Path) -> None:
    done = run(LIST, profiles, ">&-")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("profile", "delete", "work"), b"there is no terminal to ask on: pass --yes"),
        (("login", "--url", "http://127.0.0.1:1", "--token-stdin"), b"standard input is closed"),
        (("browse", "--url", "http://127.0.0.1:1"), b"browse needs a terminal"),
    ],
)
def test_a_closed_input(arguments: tuple[str, ...], message: bytes, profiles: Path) -> None:
    done = run(arguments, profiles, "<&-")
    assert done.returncode in (1, 2)
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr


def test_an_input_that_is_no_text() -> None:
    refused = runner().invoke(
        main, ["login", "--url", "http://127.0.0.1:1", "--token-stdin"], input=b"\xff\n"
    )
    assert refused.exit_code == 2
    assert refused.stderr == "Error: --token-stdin: standard input is not a text in utf-8\n"


def test_characters_that_the_encoding_lacks(profiles: Path) -> None:
    done = run(LIST, profiles, PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"/data/\xfc\\u2026" in done.stdout


def test_a_name_in_an_error_cannot_control_the_terminal() -> None:
    refused = runner().invoke(
        main, ["import", "none\x1b[31m", "--url", "postgresql://127.0.0.1:1/x"]
    )
    assert refused.exit_code == 2
    assert "\N{REPLACEMENT CHARACTER}[31m" in refused.stderr
    assert "\x1b" not in refused.stderr
