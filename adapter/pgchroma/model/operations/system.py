"""Operations on the installation as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pgchroma.model.entities import UserIdentity
from pgchroma.model.operations.base import OnInstallation, Operation, Read

__all__ = ("GetIdentity", "GetVersion", "Heartbeat", "Reset")


@dataclass(frozen=True, slots=True)
class Heartbeat(OnInstallation, Read[int]):
    """Return the database's time, in nanoseconds since 1970."""


@dataclass(frozen=True, slots=True)
class GetVersion(OnInstallation, Read[str]):
    """Return the version of the backend that answers."""


@dataclass(frozen=True, slots=True)
class GetIdentity(OnInstallation, Read[UserIdentity]):
    """Return who the caller is to the backend, and which databases the caller may use."""


@dataclass(frozen=True, slots=True)
class Reset(OnInstallation, Operation[None]):
    """Delete everything, and create the default tenant and database again."""

    invalidates_credentials: ClassVar[bool] = True
