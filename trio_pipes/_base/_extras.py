"""Imports that an extra brings: present, or an error that has the line to install it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from ._errors import MissingExtra

__all__ = ["find_extra", "import_extra"]


def import_extra(module: str, extra: str, why: str) -> ModuleType:
    """Import `module`, which `trio-pipes[extra]` installs.

    Raises `MissingExtra` with the line to install when it is not there; `why` says what needs it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as exc:
        if exc.name is None or not (module == exc.name or module.startswith(exc.name + ".")):
            raise  # the module is there, and something that it imports is not
        raise _missing(exc.name, extra, why) from exc


def find_extra(package: str, extra: str, why: str) -> None:
    """Raise `MissingExtra` when `package`, which `trio-pipes[extra]` installs, is not there; it is not imported."""
    if find_spec(package) is None:
        raise _missing(package, extra, why)


def _missing(package: str, extra: str, why: str) -> MissingExtra:
    return MissingExtra(
        f"{why} needs the package {package!r}, which is not installed. "
        f"Install it with: pip install 'trio-pipes[{extra}]'",
        name=package,
    )
