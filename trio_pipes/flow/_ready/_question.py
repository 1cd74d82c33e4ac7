"""A question about a frame with yes or no for an answer: frame classes, or a function of the user's.

Only True and False are answers. What is merely true or false in an `if` is a trap: a coroutine that nobody awaits is
true, and a function that forgot its `return` says no to everything.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast, final

from trio_pipes._base import ConfigurationError, are_classes, refuse
from trio_pipes.flow._annotations import first_annotation, frame_types
from trio_pipes.flow._frames import ORDERED, URGENT, ErrorFrame, Frame

__all__ = ["Question", "is_async"]

FORM = "def f(frame: SomeFrame) -> bool"


def is_async(fn: object) -> bool:
    """Whether a callable is written as an async function."""
    return any(inspect.iscoroutinefunction(f) for f in (fn, getattr(fn, "__call__", None)))  # noqa: B004  (its kind)


@final
class Question:
    """What a processor asks about frames. `what` is the argument it was given as: `"FrameGate(opens"`."""

    types: tuple[type[Frame], ...]
    """What it is asked about; for every other frame the answer is no."""
    is_async: bool

    def __init__(
        self,
        what: str,
        asked: object,
        names: Mapping[str, Any],
        *,
        classes: bool = True,
        may_wait: bool = False,
        never: tuple[type[Frame], ...] = (ErrorFrame,),
    ) -> None:
        given = asked if isinstance(asked, tuple) else (asked,)
        expected = f"{'a frame class, a tuple of them, or ' if classes else ''}a function: {FORM}"
        self._function: Callable[[Any], object] | None = None
        self.is_async = False
        if classes and given and are_classes(given, Frame):
            self.types = cast("tuple[type[Frame], ...]", given)
            _refuse_engines(what, asked, self.types, never)
            return
        if not callable(asked) or isinstance(asked, type):
            raise refuse(what, asked, expected)
        annotation = first_annotation(asked, names, 1, FORM)
        self.types = (Frame,) if annotation in (None, Any, object) else frame_types(annotation, asked, names)
        _refuse_engines(what, asked, self.types, never)
        self._function = asked
        self.is_async = is_async(asked)
        if self.is_async and not may_wait:
            raise ConfigurationError(
                f"{what}={asked!r}) is async, expected a plain function: what comes next must not overtake its answer"
            )

    def __str__(self) -> str:
        if self._function is None:
            return f"a frame of {' or '.join(t.__name__ for t in self.types)}"
        return f"a frame for which {self._name} is true"

    @property
    def _name(self) -> str:
        return getattr(self._function, "__qualname__", None) or repr(self._function)

    def answer(self, frame: Frame) -> bool:
        """Ask a plain function. Raises `TypeError` when it gives neither True nor False."""
        if not isinstance(frame, self.types):
            return False
        if self._function is None:
            return True
        return self._checked(self._function(frame), frame)

    async def wait_answer(self, frame: Frame) -> bool:
        """Ask a function of either kind."""
        if not self.is_async:
            return self.answer(frame)
        if not isinstance(frame, self.types):
            return False
        assert self._function is not None
        answer = self._function(frame)
        if isinstance(answer, Awaitable):
            answer = await answer
        return self._checked(answer, frame)

    def _checked(self, answer: object, frame: Frame) -> bool:
        if isinstance(answer, bool):
            return answer
        hint = "; bool(...) makes one of what is like it"
        if isinstance(answer, Awaitable):
            hint = ": a function that gives something to await has to be async def itself"
            if inspect.iscoroutine(answer):
                answer.close()
        raise TypeError(f"{self._name} returned {answer!r} for {frame.name}, expected True or False{hint}")


def _refuse_engines(what: str, asked: object, types: tuple[type[Frame], ...], never: tuple[type[Frame], ...]) -> None:
    """A question about what nobody is asked about would wait for ever."""
    for t in types:
        if t._lane not in (ORDERED, URGENT) or issubclass(t, never):
            other = " or ".join(kind.__name__ for kind in never)
            raise ConfigurationError(
                f"{what}={asked!r}) names {t.__name__}, which it is not asked about: the engine carries that; expected classes of "
                f"data, control or system frames other than {other}"
            )
