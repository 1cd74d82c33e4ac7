"""Imports that an extra brings: present, or an error that has the line to install it."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from ._errors import MissingExtra

__all__ = ["import_extra"]


def import_extra(module: str, extra: str, why: str) -> ModuleType:
    """Import `module`, which `trio-pipes[extra]` installs.

    Raises `MissingExtra` with the line to install when it is not there; `why` says what needs it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as exc:
        if exc.name is None or not (module == exc.name or module.startswith(exc.name + ".")):
            raise  # the module is there, and something that it imports is not
        raise MissingExtra(
            f"{why} needs the package {exc.name!r}, which is not installed. "
            f"Install it with: pip install 'trio-pipes[{extra}]'",
            name=exc.name,
        ) from exc
