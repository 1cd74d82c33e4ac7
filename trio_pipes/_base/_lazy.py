"""Names of a package that are imported when they are first asked for.

Making classes takes time, and whoever imports the package pays for all of them. What only some programs use waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["on_first_access"]


def on_first_access(package: dict[str, Any], modules: Mapping[str, tuple[str, ...]]) -> Callable[[str], Any]:
    """The `__getattr__` of a package, given its `globals()`: which names come from which modules."""
    places = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        try:
            module = places[name]
        except KeyError:
            raise AttributeError(f"module {package['__name__']!r} has no attribute {name!r}") from None
        package[name] = value = getattr(import_module(module, package["__name__"]), name)
        return value

    return get
