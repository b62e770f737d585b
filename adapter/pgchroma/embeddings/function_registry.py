"""A registry of embedding functions: their classes by name, and what a collection stores of them.

Dense and sparse functions have one registry each. There are some thirty classes, and a program uses
one or two, so the module of a class is imported when the class is used.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from pgchroma.embeddings.trust import check_trusted

if TYPE_CHECKING:
    from pgchroma.embeddings.protocol import EmbeddingFunction
    from pgchroma.embeddings.sparse.protocol import SparseEmbeddingFunction

__all__ = ("FunctionRegistry",)

F = TypeVar("F", bound="EmbeddingFunction[Any] | SparseEmbeddingFunction[Any]")
C = TypeVar("C", bound="type[Any]")


class FunctionRegistry(dict[str, "type[F]"]):
    """A dict of classes by name that imports some of the classes when they are used."""

    def __init__(
        self,
        kind: str,
        protocol: type,
        package: str,
        lazy: Mapping[str, tuple[str, str]],
        loaded: Mapping[str, type[F]] | None = None,
        *,
        not_found: str,
    ) -> None:
        """Create a registry.

        Args:
            kind: What error messages call the functions.
            protocol: The protocol of the functions. Its own `name` is not the name of a class.
            package: The package of the modules in `lazy`.
            lazy: The classes to import when they are used: name to module and class.
            loaded: More classes by name.
            not_found: The message of the error for an unknown name, with ``{name}`` for the name.
        """
        super().__init__(loaded or {})
        self._kind = kind
        self._protocol = protocol
        self._package = package
        self._lazy = lazy
        self._not_found = not_found
        self._pending = set(lazy)

    def register(self, function_class: C) -> C:
        """Add a class under its ``name()``, and return it. It replaces one of the same name.

        Raises:
            ValueError: The class has no name.
        """
        if getattr(function_class, "name", None) is getattr(self._protocol, "name", None):
            raise self._name_error(function_class, "it has none")
        try:
            name = function_class.name()
        except Exception as error:
            raise ValueError(f"Failed to register {self._kind}: {error}") from error
        # A class that inherits the name of the protocol can return NotImplemented.
        if not isinstance(name, str) or not name:
            raise self._name_error(function_class, f"it is {name!r:.80}")
        self[name] = function_class
        return function_class

    def to_config(self, function: F, function_class: type[F] | None = None) -> dict[str, Any]:
        """Return what a collection stores of a function, and register the function's class.

        Args:
            function: The function.
            function_class: The class to register, if it is not the function's own.

        Returns:
            ``{"type": "known", "name": …, "config": …}``.

        Raises:
            ValueError: The function has no name, or does not accept its own settings.
        """
        name, settings = function.name(), function.get_config()
        function.validate_config(settings)
        self.register(function_class or type(function))
        return {"type": "known", "name": name, "config": settings}

    def from_config(self, config: Mapping[str, Any], *, is_trusted: bool) -> F:
        """Build a function from what a collection stores of it.

        Args:
            config: The function's ``name``, and its ``config`` if it has settings.
            is_trusted: Whether to apply addresses, variables of keys and remote code in the
                configuration. Everyone who can write to the collection can choose them.

        Raises:
            ValueError: The name is missing or unknown, the configuration is not trusted and
                requires trust, or the function cannot be built, for example because its package
                or its API key is missing.
        """
        if "name" not in config:
            raise ValueError("Config must contain a 'name' field.")
        name, settings = config["name"], config.get("config") or {}
        function_class = self.get(name) if isinstance(name, str) else None
        if function_class is None:
            raise ValueError(self._not_found.format(name=name))
        if not is_trusted:
            check_trusted(name, function_class, settings)
        try:
            function: F = function_class.build_from_config(settings)
        except Exception as error:
            raise ValueError(
                f"Could not build {self._kind} {name} from config {settings}: {error}"
            ) from error
        return function

    def __missing__(self, key: str) -> type[F]:
        if key not in self._pending:
            raise KeyError(key)
        self._load(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        return key in self._pending or super().__contains__(key)

    def __len__(self) -> int:
        return super(FunctionRegistry, self._load_all()).__len__()

    # Because of this method, `dict(registry)` calls `keys` and does not copy the unloaded dict.
    def __iter__(self) -> Iterator[str]:
        return super(FunctionRegistry, self._load_all()).__iter__()

    def __reversed__(self) -> Iterator[str]:
        return super(FunctionRegistry, self._load_all()).__reversed__()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, FunctionRegistry):
            other._load_all()
        return super(FunctionRegistry, self._load_all()).__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None

    def __repr__(self) -> str:
        return super(FunctionRegistry, self._load_all()).__repr__()

    def __delitem__(self, key: str) -> None:
        self._load(key)
        super().__delitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the class of a name, or the default."""
        self._load(key)
        return super().get(key, default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the class of a name. If there is none, add the default."""
        self._load(key)
        return super().setdefault(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        """Remove a name and return its class."""
        self._load(key)
        return super().pop(key, *default)

    def popitem(self) -> tuple[str, type[F]]:
        """Remove the last name and return it with its class."""
        return super(FunctionRegistry, self._load_all()).popitem()

    def clear(self) -> None:
        """Remove all names."""
        self._pending.clear()
        super().clear()

    def copy(self) -> dict[str, type[F]]:
        """Return a plain dict of all classes."""
        return dict(self)

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        """Return a view of the names."""
        return super(FunctionRegistry, self._load_all()).keys()

    def values(self) -> ValuesView[type[F]]:  # type: ignore[override]
        """Return a view of the classes."""
        return super(FunctionRegistry, self._load_all()).values()

    def items(self) -> ItemsView[str, type[F]]:  # type: ignore[override]
        """Return a view of the names with their classes."""
        return super(FunctionRegistry, self._load_all()).items()

    def _load_all(self) -> FunctionRegistry[F]:
        for name in sorted(self._pending):
            self._load(name)
        return self

    def _load(self, name: str) -> None:
        if name not in self._pending:
            return
        # A class that was registered under the name in the meantime takes precedence.
        if not super().__contains__(name):
            module, function_class = self._lazy[name]
            loaded = import_module(f"{self._package}.{module}")
            super().__setitem__(name, getattr(loaded, function_class))
        self._pending.discard(name)

    def _name_error(self, function_class: object, problem: str) -> ValueError:
        return ValueError(
            f"Failed to register {self._kind}: {function_class!r:.200} needs a name, and {problem}."
            " Give the class a static method `name()` that returns a text"
        )
