"""Checks of what a constructor or a method is given: an error that names the value and says what was expected.

`what` is the call as its caller wrote it, up to the value: `"WavSink(sample_rate"`.
"""

from __future__ import annotations

import inspect
import math
import os
import sys
from collections.abc import Awaitable, Iterable
from types import UnionType
from typing import Any, Final, TypeVar

from ._errors import ConfigurationError
from ._requested import Requested

__all__ = [
    "FINITE",
    "are_classes",
    "check_awaitable",
    "check_callable",
    "check_classes",
    "check_count",
    "check_flag",
    "check_function",
    "check_instance",
    "check_iterable",
    "check_methods",
    "check_name",
    "check_number",
    "check_path",
    "check_reason",
    "check_timeout",
    "refuse",
    "refuse_awaitable",
]

FINITE: Final = sys.float_info.max
"""The largest number that is not infinite."""


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
    """A number from `least` (or `above` it) to `most`; infinite only where that is."""
    if is_number(value):
        number = float(value)  # type: ignore[arg-type]  # looked at just above
        if (number > least if above else number >= least) and number <= most:
            return
    raise refuse(what, value, expected)


def check_timeout(what: str, value: object) -> None:
    """Seconds that something may take; None is for no limit, so infinity is not needed."""
    if value is not None:
        expected = "a finite number of seconds above 0, or None for no limit"
        check_number(what, value, expected, above=True, most=FINITE)


def check_count(what: str, value: object, expected: str = "a whole number of at least 1", *, least: int = 1) -> None:
    """A whole number that fits a machine word: what is larger is no count of anything."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**63:
        raise refuse(what, value, expected)


def check_flag(what: str, value: object) -> None:
    """True or False, and nothing that is merely like it."""
    if not isinstance(value, bool):
        raise refuse(what, value, "True or False")


def check_name(what: str, value: object, expected: str = "a non-empty string", *, optional: bool = False) -> None:
    """A non-empty string, or None where it is `optional`."""
    if not (isinstance(value, str) and value) and not (optional and value is None):
        raise refuse(what, value, expected)


def check_reason(call: str, reason: object) -> None:
    """Why something is asked for: text, or None."""
    if not (reason is None or isinstance(reason, str)):
        raise refuse(f"{call}(reason", reason, "text, or None")


def check_instance(what: str, value: object, kind: type | UnionType, expected: str, *, optional: bool = False) -> None:
    """A member of an enumeration, an instance of a class; or None where it is `optional`."""
    if not isinstance(value, kind) and not (optional and value is None):
        raise refuse(what, value, expected)


def are_classes(values: Iterable[object], base: type) -> bool:
    """Whether each of them is `base` or a class below it."""
    return all(isinstance(value, type) and issubclass(value, base) for value in values)


C = TypeVar("C")


def check_classes(what: str, value: object, base: type[C], expected: str, *, least: int = 0) -> tuple[type[C], ...]:
    """A class, `base` or below it, or a tuple of `least` such classes; the tuple."""
    classes: tuple[Any, ...] = value if isinstance(value, tuple) else (value,)
    if len(classes) < least or not are_classes(classes, base):
        raise refuse(what, value, expected)
    return classes


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


def check_function(what: str, value: object, expected: str, *given: str) -> None:
    """Something to call with what is `given`, by position: not a generator, which would only be made and never run."""
    check_callable(what, value, expected)
    assert callable(value)
    call = getattr(value, "__call__", None)  # noqa: B004  (a function, or an object that is like one)
    if any(inspect.isgeneratorfunction(it) or inspect.isasyncgenfunction(it) for it in (value, call)):
        raise refuse(what, value, f"{expected}; this is a generator")
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # of something that is not written in Python
        return
    try:
        signature.bind(*given)
    except TypeError:
        raise refuse(what, value, f"{expected}: called with ({', '.join(given)}), it takes {signature}") from None


def check_awaitable(call: str, value: object) -> Awaitable[object]:
    """What `call`, a function of the user's, gave to wait for."""
    if not isinstance(value, Awaitable):
        raise TypeError(f"{call} gave {value!r}, expected something to await: make it an async function")
    return value


def check_methods(what: str, value: object, methods: Iterable[str], expected: str) -> None:
    """An instance (no class) that has these methods."""
    if isinstance(value, type) or not all(callable(getattr(value, method, None)) for method in methods):
        raise refuse(what, value, expected)


def check_iterable(what: str, value: object, expected: str) -> None:
    """Something to iterate over that is no string."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise refuse(what, value, expected)


def refuse_awaitable(result: object, what: str) -> None:
    """Raise `TypeError` where `what` should have been async; a request that was made and not awaited is fine."""
    if inspect.isawaitable(result) and not isinstance(result, Requested):
        if inspect.iscoroutine(result):
            result.close()
        raise TypeError(f"{what} gave {result!r} to await: it is called as a sync function")
