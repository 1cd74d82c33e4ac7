"""A value that can be waited for.

`trio_util.AsyncValue` does the waiting. It takes 2 KB, and an idle pipeline has few values that anybody waits for, so
it is made when somebody does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar, final

from trio_util import AsyncValue

__all__ = ["Value"]

T = TypeVar("T")


@final
class Value(Generic[T]):
    """`value` can be read and set; `wait_value` waits until it is as wanted."""

    __slots__ = ("_value", "_waited_for")

    def __init__(self, value: T) -> None:
        self._value = value
        self._waited_for: AsyncValue[T] | None = None

    @property
    def value(self) -> T:
        """What it is now."""
        return self._value

    @value.setter
    def value(self, value: T) -> None:
        self._value = value
        if self._waited_for is not None:
            self._waited_for.value = value

    async def wait_value(self, wanted: T | Callable[[T], bool]) -> T:
        """Wait until it is `wanted`, or until that is true of it; gives the value."""
        if self._waited_for is None:
            self._waited_for = AsyncValue(self._value)
        return await self._waited_for.wait_value(wanted)
