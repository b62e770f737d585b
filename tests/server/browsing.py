"""A headless Chromium that shows a page and runs scripts in it, over its debugging pipe."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

MIN_DESCRIPTOR = 10
"""Above the two that Chromium reads commands from and answers on."""

ALONE = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--enable-logging=stderr", "--window-size=1000,700",
    # The machine has no internet access: only the server's address resolves.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
"""How Chromium is started everywhere."""


def chromium() -> str:
    """Find the browser, or skip the test."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    return browser


class Page:
    """A page that is shown."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = commands
        self._answers = os.fdopen(os.dup(answers), "rb")
        self._numbers = itertools.count(1)
        self._session: dict[str, str] = {}

    def open(self, url: str) -> None:
        """Show another page."""
        if not self._session:
            target = self._ask("Target.createTarget", url="about:blank")["targetId"]
            attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
            self._session = {"sessionId": attached["sessionId"]}
        self._ask("Page.navigate", url=url)

    def run(self, script: str, *arguments: Any) -> Any:
        """Call a JavaScript function with these arguments, and return its result."""
        call = f"({script})({', '.join(json.dumps(each) for each in arguments)})"
        answer = self._ask(
            "Runtime.evaluate", expression=call, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def _ask(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        command = {"id": number, "method": method, "params": parameters, **self._session}
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while (message := self._next()).get("id") != number:
            pass
        assert "error" not in message, message
        return message["result"]

    def _next(self) -> dict[str, Any]:
        text = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, "Chromium has ended"
            text += byte
        message: dict[str, Any] = json.loads(text)
        return message

    def close(self) -> None:
        """Have the browser end."""
        self._session = {}
        self._ask("Browser.close")
        self._answers.close()


@contextmanager
def browsing(profile: Path) -> Iterator[Page]:
    """Start Chromium, with a profile in this directory, and end it."""
    browser = chromium()
    descriptors = [*os.pipe(), *os.pipe()]
    for place, descriptor in enumerate(descriptors):
        descriptors[place] = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, MIN_DESCRIPTOR)
        os.close(descriptor)
    their_commands, commands, answers, their_answers = descriptors
    with (profile / "browser.log").open("wb") as log:
        pid = os.posix_spawn(
            browser,
            [browser, *ALONE, f"--user-data-dir={profile}", "--remote-debugging-pipe"],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, their_commands, 3),
                (os.POSIX_SPAWN_DUP2, their_answers, 4),
                (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
            ],
        )
    os.close(their_commands)
    os.close(their_answers)
    page = Page(commands, answers)
    try:
        yield page
    finally:
        page.close()
        os.close(commands)
        os.close(answers)
        os.waitpid(pid, 0)
