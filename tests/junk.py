"""Values that nobody should pass and everybody does, and what a refusal of one must be like."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import trio
from hypothesis import strategies as st

from trio_pipes import (
    ConfigurationError,
    DataFrame,
    Direction,
    EndFrame,
    ErrorPolicy,
    FrameProcessor,
    MissingExtra,
    Pipeline,
    PipelineParams,
    PipelineTask,
    TaskState,
    TextFrame,
    each,
)


class Sub(str):  # noqa: SLOT000  (a subclass as users write them)
    """A string of another class."""


class Number(float):
    """A number of another class."""


class Odd:
    """Has every attribute that one could ask for, and none is what it should be."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return 42

    def __repr__(self) -> str:
        return "<odd>"


async def _coroutine() -> None:
    pass


async def _async_generator() -> Any:
    yield TextFrame()


async def _two(frames: object, out: object) -> None:
    pass


VALUES: dict[str, Callable[[], Any]] = {
    **{
        repr(value): (lambda value=value: value)
        for value in (None, True, False, 0, -1, 1, 3, 1.5, -0.0, 1e-300, "", "text", b"", b"x")
    },
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "-inf": lambda: -math.inf,
    "huge": lambda: 10**30,
    "beyond floats": lambda: 10**400,
    "minus beyond floats": lambda: -(10**400),
    "str subclass": lambda: Sub("sub"),
    "empty str subclass": Sub,
    "float subclass": lambda: Number(2.5),
    "complex": lambda: 1j,
    "path": lambda: trio.Path("/nowhere"),
    "nul": lambda: "a\0b",
    "surrogate": lambda: "\ud800",
    "list": list,
    "list of one": lambda: [1],
    "list of None": lambda: [None],
    "tuple": tuple,
    "tuple of types": lambda: (int,),
    "tuple of frame types": lambda: (DataFrame,),
    "dict": dict,
    "dict of one": lambda: {"a": 1},
    "set": set,
    "range": lambda: range(3),
    "object": object,
    "odd": Odd,
    "class": lambda: object,
    "int class": lambda: int,
    "frame class": lambda: TextFrame,
    "frame": TextFrame,
    "end frame": EndFrame,
    "frames": lambda: [TextFrame(), TextFrame()],
    "processor class": lambda: FrameProcessor,
    "processor": FrameProcessor,
    "pipeline class": lambda: Pipeline,
    "pipeline": lambda: Pipeline([FrameProcessor()]),
    "recipe": lambda: each(lambda frame: frame),
    "processors": lambda: [FrameProcessor()],
    "params": PipelineParams,
    "params class": lambda: PipelineParams,
    "task": lambda: PipelineTask(FrameProcessor()),
    "task class": lambda: PipelineTask,
    "no arguments": lambda: lambda: None,
    "one argument": lambda: lambda x: x,
    "two arguments": lambda: _two,
    "builtin": lambda: len,
    "generator": lambda: (x for x in (1, 2)),
    "coroutine function": lambda: _coroutine,
    "coroutine": _coroutine,
    "async generator": _async_generator,
    "direction": lambda: Direction.DOWNSTREAM,
    "direction class": lambda: Direction,
    "policy": lambda: ErrorPolicy.REPORT,
    "state": lambda: TaskState.ENDED,
    "exception": lambda: ValueError("e"),
    "exception class": lambda: ValueError,
    "base exception": lambda: KeyboardInterrupt("k"),
    "module": lambda: math,
    "event": trio.Event,
    "Ellipsis": lambda: ...,
}

junk = st.sampled_from(sorted(VALUES))
"""Names in `VALUES`."""


@contextmanager
def value_of(name: str) -> Iterator[Any]:
    """Make the value; what has to be closed is closed behind the block, so that whoever warns is not the user."""
    value = VALUES[name]()
    try:
        yield value
    finally:
        if inspect.iscoroutine(value):
            value.close()


REFUSALS = (ConfigurationError, TypeError)

# Arguments with something in them that no text may show.
SECRETS = ("(token=...", "RedisBus(url=", "PostgresBus(dsn=")


@attrs.frozen
class Refusal:
    """An error that came of a call."""

    error: BaseException
    call: str
    values: tuple[Any, ...]

    def check(self) -> None:
        """It is a refusal, and its text names one of the values, and says what was expected."""
        if isinstance(self.error, MissingExtra):
            return
        text = str(self.error)
        assert isinstance(self.error, REFUSALS), f"{self.call}: {self.error!r}"
        if "Pass the worker itself" in text or "got an unexpected keyword argument" in text:
            return
        assert "expected" in text or "Did you mean" in text, f"{self.call} does not say what it expects: {self.error!r}"
        shown = [name for value in self.values for name in _names(value)]
        if any(secret in text for secret in SECRETS):
            return  # the argument is named, and its value is not to be shown
        assert any(name in text for name in shown), f"{self.call} does not name the value: {self.error!r}"


def _names(value: Any) -> Iterator[str]:
    """How a text may name it, or the thing in it that was wrong."""
    yield repr(value)[:20]
    yield getattr(value, "__name__", type(value).__name__)
    if inspect.isgenerator(value):
        yield from ("1", "2")
    if isinstance(value, list | tuple | set | dict | range):
        for one in value:
            yield repr(one)[:20]
            yield type(one).__name__
