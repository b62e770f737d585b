"""Addresses to listen on: resolve, check, and bind them for the workers."""

from __future__ import annotations

import errno
import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from pgchroma.errors import InvalidArgumentError
from pgchroma.server.settings import InvalidSettingError

__all__ = ("Address", "bound", "resolve")


MAX_SHOWN = 60
"""Characters of a host that a message shows."""


@dataclass(frozen=True, slots=True)
class Address:
    """A socket address.

    Attributes:
        name: The host as the operator wrote it.
        host: Its IP address.
    """

    name: str
    host: str
    port: int
    family: socket.AddressFamily

    def __str__(self) -> str:
        """Return host and port as a URL has them."""
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"

    @property
    def own(self) -> str:
        """The IP address by which this machine itself reaches the address."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104


def resolve(setting: str, name: str, port: int) -> Address:
    """Return a free address; port 0 means any free port.

    Args:
        setting: The setting that has `name`, for error messages.
        name: The host.
        port: The port.

    Raises:
        InvalidSettingError: This machine has no such address.
        InvalidArgumentError: The address is taken.
    """
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not a host name"
        raise _no_address(setting, name, reason) from error
    # If a name has both, IPv4: clients that try only one address try that.
    found.sort(key=lambda row: row[0] is not socket.AF_INET)
    family, _, _, _, sockaddr = found[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(sockaddr)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise _no_address(setting, name, str(error.strerror)) from error
            raise InvalidArgumentError(
                f"{Address(name, '', port, family)} cannot be listened on: {error.strerror}"
            ) from error
        return Address(name, str(sockaddr[0]), probe.getsockname()[1], family)


def _no_address(setting: str, name: str, reason: str) -> InvalidSettingError:
    return InvalidSettingError(
        setting,
        f"{name[:MAX_SHOWN]!r} is not an address of this machine: {reason}; give one of its IP "
        "addresses or names, or 0.0.0.0 for all",
    )


@contextmanager
def bound(
    setting: str, name: str, port: int
) -> Generator[tuple[Address, socket.socket], None, None]:
    """Return a free address, and a socket that is bound to it for all workers.

    Nothing connects to it until a worker listens.
    """
    address = resolve(setting, name, port)
    # With its protocol: otherwise asyncio would not send small packets at once.
    with socket.socket(address.family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        yield address, listener
