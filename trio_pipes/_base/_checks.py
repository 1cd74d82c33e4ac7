"""Checks of what a constructor or a method is given: an error that names the value and says what was expected.

`what` is the call as its caller wrote it, up to the value: `"WavSink(sample_rate"`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable

from ._errors import ConfigurationError

__all__ = [
    "check_callable",
    "check_count",
    "check_flag",
    "check_iterable",
    "check_methods",
    "check_name",
    "check_number",
    "check_path",
    "refuse",
]


def refuse(what: str, value: object, expected: str) -> ConfigurationError:
    """The error to raise."""
    return ConfigurationError(f"{what}={value!r}): expected {expected}")


def is_number(value: object) -> bool:
    """Whether it is a real number that Trio's clock can take; NaN is, and fails every comparison."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        float(value)
    except OverflowError:
        return False
    return True


def check_number(
    what: str, value: object, expected: str, *, least: float = 0.0, above: bool = False, most: float = math.inf
) -> None:
    """A number from `least` (or `above` it) to `most`; infinite only where `most` is."""
    if is_number(value):
        number = float(value)  # type: ignore[arg-type]  # looked at just above
        if (number > least if above else number >= least) and number <= most:
            return
    raise refuse(what, value, expected)


def check_count(what: str, value: object, expected: str = "a whole number of at least 1", *, least: int = 1) -> None:
    """A whole number that fits a machine word: what is larger is no count of anything."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**63:
        raise refuse(what, value, expected)


def check_flag(what: str, value: object) -> None:
    """True or False, and nothing that is merely like it."""
    if not isinstance(value, bool):
        raise refuse(what, value, "True or False")


def check_name(what: str, value: object) -> None:
    """A non-empty string."""
    if not isinstance(value, str) or not value:
        raise refuse(what, value, "a non-empty string")


def check_path(what: str, value: object) -> None:
    """The path of a file."""
    try:
        if isinstance(value, str | os.PathLike) and os.fspath(value) and b"\0" not in os.fsencode(value):
            return
    except (TypeError, UnicodeError):
        pass  # no path, or one that no file system takes
    raise refuse(what, value, "the path of a file")


def check_callable(what: str, value: object, expected: str) -> None:
    """Something to call."""
    if not callable(value):
        raise refuse(what, value, expected)


def check_methods(what: str, value: object, methods: Iterable[str], expected: str) -> None:
    """An instance (no class) that has these methods."""
    if isinstance(value, type) or not all(callable(getattr(value, method, None)) for method in methods):
        raise refuse(what, value, expected)


def check_iterable(what: str, value: object, expected: str) -> None:
    """Something to iterate over that is no string."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise refuse(what, value, expected)
