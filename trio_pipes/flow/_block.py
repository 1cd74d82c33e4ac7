"""`@processor`: a processor as a block, with set-up above its loop, cleanup below, state in local variables."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, final, overload

from trio_pipes._base import (
    ConfigurationError,
    check_name,
    check_timeout,
    default_name,
)

from ._annotations import caller_names, first_annotation, frame_types
from ._block_io import BlockFunction, Frames, Out
from ._block_node import BlockNode, TimedBlockNode
from ._fits import Types, check_takes, names_of
from ._frames import DataFrame, Frame
from ._node import Node
from ._params import ErrorPolicy, check_error_policy
from ._processor import FrameProcessor, Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._picture import Drawing, Way

__all__ = ["Block", "Frames", "Out", "processor"]


@final
class Block(Recipe):
    """What `@processor` makes of a function. Each pipeline makes a processor of its own from it."""

    def __init__(
        self,
        fn: BlockFunction,
        types: tuple[type[Frame], ...],
        name: str | None,
        on_error: ErrorPolicy | None,
        timeout: float | None,
    ) -> None:
        self._fn = fn
        self._types = types
        self._name = name
        self._on_error = on_error
        self._timeout = timeout
        self.__wrapped__ = fn
        self.__doc__ = fn.__doc__

    def __repr__(self) -> str:
        return f"<processor {getattr(self._fn, '__name__', self._fn)!s}>"

    def _make(self) -> FrameProcessor:
        name = self._name or default_name(self, getattr(self._fn, "__name__", "processor"))
        block_class = BlockProcessor if self._timeout is None else TimedBlockProcessor
        block = block_class(self._fn, self._types, name)
        block.on_error = self._on_error
        block.frame_timeout = self._timeout
        return block


@overload
def processor(fn: BlockFunction, /) -> Block: ...
@overload
def processor(
    *, name: str | None = None, on_error: ErrorPolicy | None = None, timeout: float | None = None
) -> Callable[[BlockFunction], Block]: ...
def processor(
    fn: BlockFunction | None = None,
    /,
    *,
    name: str | None = None,
    on_error: ErrorPolicy | None = None,
    timeout: float | None = None,
) -> Block | Callable[[BlockFunction], Block]:
    """Make a processor of an async function of `frames` and `out`, which runs once for each run.

    `frames: Frames[SomeFrame]` (bare: any data frame) names what it takes. Set-up is the code before it asks for
    its first frame.

    A block that has failed cannot go on, so its error fails the task. With `on_error=ErrorPolicy.REPORT` here it is
    reported instead, the block is unusable, and what still comes passes by. `timeout` is the seconds from one frame
    until the next is asked for; more is a `FrameTimeout`, and stops the block.

    Raises `ConfigurationError` when the function, an annotation or a setting has another form.
    """
    check_name("processor(name", name, optional=True)
    check_error_policy("processor(on_error", on_error, optional=True)
    check_timeout("processor(timeout", timeout)
    names = caller_names(1)
    form = "async def f(frames: Frames[SomeFrame], out: Out) -> None"

    def decorate(fn: BlockFunction) -> Block:
        if not inspect.iscoroutinefunction(fn):
            shown = getattr(fn, "__qualname__", None) or repr(fn)
            raise ConfigurationError(f"{shown} is of another form, expected {form}")
        annotation = first_annotation(fn, names, 2, form)
        arguments = typing.get_args(annotation)
        if annotation is not None and (typing.get_origin(annotation) or annotation) is not Frames:
            raise ConfigurationError(f"{fn.__qualname__} is annotated to take {annotation!r}, expected Frames[...]")
        types = frame_types(arguments[0], fn, names) if arguments else (DataFrame,)
        special = [t.__name__ for t in types if t is not Frame and t._lane != 0]
        if special:
            raise ConfigurationError(
                f"{fn.__qualname__} is annotated to take {', '.join(special)}, expected data or control frames. "
                "A block that must answer system or lifecycle frames is a FrameProcessor class."
            )
        return Block(fn, types, name, on_error, timeout)

    return decorate if fn is None else decorate(fn)


class BlockProcessor(FrameProcessor):
    """A block as a processor."""

    _node_class: ClassVar[type[Node]] = BlockNode

    def __init__(self, fn: BlockFunction, types: tuple[type[Frame], ...], name: str) -> None:
        self.fn = fn
        self.types = types
        self.name = name

    def _comes_of(self, coming: Types | None) -> Types | None:
        check_takes(self.name, self.types, coming)
        return None

    def _sketch(self, drawing: Drawing, above: Sequence[Way]) -> Sequence[Way]:
        return drawing.box(self, above, kind="block", about=f"block of {names_of(self.types)}")


class TimedBlockProcessor(BlockProcessor):
    """A block with a timeout."""

    _node_class: ClassVar[type[Node]] = TimedBlockNode
