"""Addresses to listen on: resolved, checked, and kept for the workers."""

from __future__ import annotations

import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from pgchroma.errors import InvalidArgumentError

__all__ = ("Address", "reserved", "resolve")


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
        """Return host and port as they stand in a URL."""
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"

    @property
    def own(self) -> str:
        """The IP address this machine itself reaches it by."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104


def resolve(name: str, port: int) -> Address:
    """Find a free address; port 0 takes any port that is free.

    Raises:
        InvalidArgumentError: There is no such address here, or it is taken.
    """
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except socket.gaierror as fault:
        raise InvalidArgumentError(f"{name} is no address: {fault.strerror}") from fault
    # Where a name has both, IPv4 is what clients that know one only try.
    found.sort(key=lambda row: row[0] is not socket.AF_INET)
    family, _, _, _, place = found[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(place)
        except OSError as fault:
            raise InvalidArgumentError(
                f"{Address(name, '', port, family)} cannot be listened on: {fault.strerror}"
            ) from fault
        return Address(name, str(place[0]), probe.getsockname()[1], family)


@contextmanager
def reserved(name: str, port: int) -> Generator[Address, None, None]:
    """Find a free address and keep it, so that others find it taken while workers come and go."""
    address = resolve(name, port)
    if sys.platform != "linux":
        yield address
        return
    with socket.socket(address.family, socket.SOCK_STREAM) as kept:
        # Bound and not listening, it gets no connections; the workers share the port with it.
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind((address.host, address.port))
        yield address
