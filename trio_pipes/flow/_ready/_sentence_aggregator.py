"""`SentenceAggregator`: text that comes in pieces goes on in sentences."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable

from trio_pipes._base import check_count, check_function, refuse
from trio_pipes.flow._frames import Direction, EndFrame, Frame, StartFrame, StopFrame, TextFrame
from trio_pipes.flow._processor import FrameProcessor

from ._aggregated import AggregatedTextFrame
from ._pairs import Pairs
from ._pieces import Pieces
from ._question import is_async
from ._sentences import sentence_end
from ._text_frames import check_text_types, text_of
from ._which import check_frame_types

__all__ = ["SentenceAggregator", "SkipTagsAggregator", "TextAggregator"]

SentenceEnd = Callable[[str], int]


class TextAggregator(FrameProcessor):
    """What keeps text until it is certain what becomes of it."""

    types: tuple[type[Frame], ...]
    flush_on: tuple[type[Frame], ...]
    limit: int

    def __init__(
        self,
        types: type[Frame] | tuple[type[Frame], ...],
        flush_on: type[Frame] | tuple[type[Frame], ...],
        limit: int,
        name: str | None,
    ) -> None:
        super().__init__(name)
        who = type(self).__name__
        self.types = check_text_types(f"{who}(types", types)
        self.flush_on = () if flush_on == () else check_frame_types(f"{who}(flush_on", flush_on)
        check_count(f"{who}(limit", limit, "a whole number of characters, at least 1")
        self.limit = limit
        self._pieces = Pieces()

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Take a piece of text, or pass a frame on."""
        if direction is Direction.DOWNSTREAM:
            if isinstance(frame, self.types) and not isinstance(frame, AggregatedTextFrame):
                self._pieces.add(frame, text_of(frame, self.name))
                while self._pieces.text and await self._push_first():
                    pass
                return
            if isinstance(frame, StartFrame):
                self._pieces.clear()  # of a run that was cut off, within `async with pipeline:`
            elif isinstance(frame, (EndFrame, StopFrame, AggregatedTextFrame, *self.flush_on)):
                await self._push_rest()
        await self.push_frame(frame, direction)

    async def on_interrupt(self) -> None:
        """Drop what is stale now."""
        self._pieces.drop_stale()

    @property
    def waiting(self) -> str:
        """The text that has come and not gone on."""
        return self._pieces.text

    @abstractmethod
    async def _push_first(self) -> bool:
        """Push what is certain at the beginning of the text; False when nothing is. Take it out only as it is pushed."""

    async def _push_rest(self) -> None:
        """Nothing more comes that belongs to it."""
        if self._pieces.text.strip():
            await self.push_frame(self._pieces.take(len(self._pieces.text)))
        self._pieces.clear()


class SentenceAggregator(TextAggregator):
    """Puts pieces of text together, and lets them go on in sentences, each as soon as it is certain where it ends.

    What a sentence goes on in is a frame of the class of its first piece, with that one's `pts` and metadata. Nothing of the
    text is lost or changed: blanks behind a sentence are part of it.

    `types` are the classes whose `text` is meant. `end(text)` says how many characters at the beginning are a sentence,
    whatever may follow, and 0 when that is not certain yet; `sentence_end` is the one that is taken. A text without an end
    goes on when it is `limit` characters long. The rest goes on at the end of the run, before a frame of a class in
    `flush_on`, such as the one behind a model's answer, and before an `AggregatedTextFrame`. An interrupt drops it.
    """

    end: SentenceEnd

    def __init__(
        self,
        *,
        end: SentenceEnd = sentence_end,
        types: type[Frame] | tuple[type[Frame], ...] = TextFrame,
        flush_on: type[Frame] | tuple[type[Frame], ...] = (),
        limit: int = 10_000,
        name: str | None = None,
    ) -> None:
        super().__init__(types, flush_on, limit, name)
        what, expected = f"{type(self).__name__}(end", "a function: def end(text: str) -> int"
        check_function(what, end, expected, "text")
        if is_async(end):
            raise refuse(what, end, expected)
        self.end = end

    async def _push_first(self) -> bool:
        text = self._pieces.text[: self.limit]
        count = self.end(text)
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= len(text):
            raise TypeError(
                f"the end of {self.name!r} returned {count!r} for {text!r}, expected a number of characters, 0 to {len(text)}"
            )
        if not count and len(text) == self.limit:
            count = _behind_last_blank(text) or self.limit
        if count:
            await self.push_frame(self._pieces.take(count))
        return bool(count)


class SkipTagsAggregator(SentenceAggregator):
    """As a `SentenceAggregator`, and never ends a sentence between the tags of a pair: `[("<spell>", "</spell>")]`.

    The tags stay in the text. A tag that is not closed holds the text back until the end, or up to `limit` characters.
    """

    def __init__(
        self,
        tags: Iterable[tuple[str, str]],
        *,
        end: SentenceEnd = sentence_end,
        types: type[Frame] | tuple[type[Frame], ...] = TextFrame,
        flush_on: type[Frame] | tuple[type[Frame], ...] = (),
        limit: int = 10_000,
        name: str | None = None,
    ) -> None:
        super().__init__(end=end, types=types, flush_on=flush_on, limit=limit, name=name)
        self._pairs = Pairs("SkipTagsAggregator(tags", tags)
        self.end: SentenceEnd = self._end_outside_tags
        self._end = end

    def _end_outside_tags(self, text: str) -> int:
        return self._end(self._pairs.masked(text))


def _behind_last_blank(text: str) -> int:
    """Where the last word begins, if there is another one before it."""
    for i in range(len(text), 0, -1):
        if text[i - 1].isspace():
            return i if text[:i].strip() else 0
    return 0
