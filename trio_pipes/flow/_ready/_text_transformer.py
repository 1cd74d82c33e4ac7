"""`TextTransformer`: functions from text to text, for the frames that carry some."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, final

from trio_pipes._base import ConfigurationError, check_function
from trio_pipes.flow._frames import Direction, Frame, TextFrame
from trio_pipes.flow._processor import FrameProcessor

from ._question import is_async
from ._text_frames import check_text_types, text_of, with_text
from ._which import check_direction, concerns

__all__ = ["TextTransformer"]

TextFunction = Callable[[str], str | None] | Callable[[str], Awaitable[str | None]]


@final
class TextTransformer(FrameProcessor):
    """Puts the text of frames through functions, one after the other; in everything else the frames stay as they are.

    A function takes a string and returns one, or None: then the frame is dropped. It may be async. `types` are the classes
    whose `text` is meant, `direction` the way that it looks, None for both. Frames whose text does not change go on
    themselves, for the others a new frame of the same class, with the same `pts` and metadata.
    """

    types: tuple[type[Frame], ...]
    direction: Direction | None

    def __init__(
        self,
        *functions: TextFunction,
        types: type[Frame] | tuple[type[Frame], ...] = TextFrame,
        direction: Direction | None = Direction.DOWNSTREAM,
        name: str | None = None,
    ) -> None:
        super().__init__(name, inline=not any(is_async(function) for function in functions))
        if not functions:
            raise ConfigurationError(
                "TextTransformer() has no functions, expected some: def f(text: str) -> str | None"
            )
        for function in functions:
            check_function("TextTransformer(functions", function, "a function: def f(text: str) -> str | None", "text")
        self.types = check_text_types("TextTransformer(types", types)
        check_direction("TextTransformer(direction", direction)
        self.direction = direction
        self._functions: tuple[Callable[[str], Any], ...] = functions

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Transform the text of a frame."""
        if not isinstance(frame, self.types) or not concerns(self.direction, direction):
            await self.push_frame(frame, direction)
            return
        before = text_of(frame, self.name)
        text: Any = before
        for function in self._functions:
            text = function(text)
            if isinstance(text, Awaitable):
                text = await text
            if text is None:
                return
            if not isinstance(text, str):
                raise TypeError(
                    f"{getattr(function, '__qualname__', function)} of {self.name!r} returned {text!r} for "
                    f"{frame.name}, expected a string, or None to drop the frame"
                )
        await self.push_frame(frame if text == before else with_text(frame, text), direction)
