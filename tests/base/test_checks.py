"""The checks of what constructors and methods are given: what they let by, and that a refusal names the value."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest

from trio_pipes import ConfigurationError
from trio_pipes._base import (
    FINITE,
    check_awaitable,
    check_callable,
    check_classes,
    check_count,
    check_flag,
    check_function,
    check_instance,
    check_iterable,
    check_methods,
    check_name,
    check_number,
    check_path,
    check_reason,
    check_timeout,
)


class Colour(Enum):
    RED = 1


class Clock:
    def start(self) -> None: ...


CHECKS: dict[str, tuple[Callable[[str, Any], None], list[Any], list[Any]]] = {
    "name": (check_name, ["a"], ["", None, 3, b"a"]),
    "optional name": (lambda what, value: check_name(what, value, optional=True), ["a", None], ["", 0]),
    "reason": (lambda what, value: check_reason(what.partition("(")[0], value), ["a", "", None], [3, b"a"]),
    "flag": (check_flag, [True, False], [0, 1, None, "yes"]),
    "count": (check_count, [1, 2**63 - 1], [0, -1, True, 1.0, math.inf, 2**63, None, "1"]),
    "count from 0": (lambda what, value: check_count(what, value, least=0), [0, 1], [-1, False]),
    "number": (lambda what, value: check_number(what, value, "x"), [0, 0.5, math.inf], [-1, math.nan, True, "1", None]),
    "number above 0": (lambda what, value: check_number(what, value, "x", above=True), [1e-300], [0, -0.0, 10**400]),
    "finite number": (
        lambda what, value: check_number(what, value, "x", least=-FINITE, most=FINITE),
        [-1.5, 10**300],
        [math.inf, -math.inf, math.nan, 10**400, Decimal(1)],
    ),
    "timeout": (check_timeout, [None, 1, 0.5], [0, -1, math.inf, math.nan, True, "1"]),
    "instance": (lambda what, value: check_instance(what, value, Colour, "a colour"), [Colour.RED], [Colour, 1, None]),
    "optional instance": (
        lambda what, value: check_instance(what, value, int | str, "x", optional=True),
        [1, "a", None],
        [1.5, b"a"],
    ),
    "classes": (
        lambda what, value: check_classes(what, value, Exception, "x"),
        [(), ValueError, (ValueError, Exception)],
        [int, [ValueError], (int,), (ValueError("x"),), (BaseException,)],
    ),
    "callable": (lambda what, value: check_callable(what, value, "x"), [len, Colour], [3, None]),
    "methods": (lambda what, value: check_methods(what, value, ["start"], "x"), [Clock()], [Clock, 3, None]),
    "iterable": (lambda what, value: check_iterable(what, value, "x"), [[], (), {}, iter([])], ["ab", b"ab", 3, None]),
    "path": (check_path, ["a", "a/b"], ["", "a\0b", b"a", 3, None]),
}


@pytest.mark.parametrize("check", sorted(CHECKS))
def test_a_check_lets_by_what_is_right(check: str) -> None:
    call, right, _ = CHECKS[check]
    for value in right:
        call("Thing(reason", value)


@pytest.mark.parametrize("check", sorted(CHECKS))
def test_a_refusal_names_the_argument_the_value_and_what_was_expected(check: str) -> None:
    call, _, wrong = CHECKS[check]
    for value in wrong:
        with pytest.raises(ConfigurationError) as caught:
            call("Thing(reason", value)
        assert str(caught.value).startswith(f"Thing(reason={value!r}): expected "), value


def test_what_cannot_be_awaited_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^a.wait: ready\(\) gave 3, expected something to await: make it an async"):
        check_awaitable("a.wait: ready()", 3)


def test_classes_may_be_one_or_a_tuple() -> None:
    assert check_classes("A(b", bool, int, "x") == (bool,)
    assert check_classes("A(b", (bool, int), int, "x") == (bool, int)
    assert check_classes("A(b", (), int, "x") == ()
    for bad in ([bool], str, (str,), 3, None):
        with pytest.raises(ConfigurationError, match=r"^A\(b=.*expected x$"):
            check_classes("A(b", bad, int, "x")
    with pytest.raises(ConfigurationError, match=r"^A\(b=\(\)\): expected x$"):
        check_classes("A(b", (), int, "x", least=1)


def test_a_function_is_asked_for_what_it_can_take() -> None:
    def makes(frame):
        yield frame

    check_function("A(f", lambda frame, more=1: None, "x", "frame")
    check_function("A(f", print, "x", "frame")
    check_function("A(f", [].append, "x", "frame")
    with pytest.raises(ConfigurationError, match=r"expected x: called with \(frame\), it takes \(\)$"):
        check_function("A(f", lambda: None, "x", "frame")
    with pytest.raises(ConfigurationError, match="expected x; this is a generator$"):
        check_function("A(f", makes, "x", "frame")
    with pytest.raises(ConfigurationError, match=r"^A\(f=3\): expected x$"):
        check_function("A(f", 3, "x", "frame")
