"""`PatternPairAggregator`: parts of a text that are marked by a beginning and an end, and what is done with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from enum import Enum
from typing import final

import attrs

from trio_pipes._base import check_function, check_instance, check_name, refuse
from trio_pipes.flow._frames import Frame, TextFrame

from ._aggregated import AggregatedTextFrame
from ._copies import carry_over
from ._pairs import Found, Pairs
from ._sentence_aggregator import TextAggregator

__all__ = ["PatternAction", "PatternMatch", "PatternPair", "PatternPairAggregator"]


class PatternAction(Enum):
    """What becomes of a part of the text that a pattern matches."""

    KEEP = "keep"
    """It stays in the text, delimiters included."""
    REMOVE = "remove"
    """It is taken out of the text."""
    AGGREGATE = "aggregate"
    """What is between the delimiters goes on by itself, as an `AggregatedTextFrame`."""


@attrs.frozen
class PatternMatch:
    """What a pattern has matched."""

    kind: str
    """The name of the pattern."""
    content: str
    """What is between the delimiters, without blanks at its ends."""
    text: str
    """All of it, delimiters included."""


EXPECTED = "patterns: [PatternPair('voice', '<voice>', '</voice>')]"

OnMatch = Callable[[PatternMatch], Awaitable[object] | object]


@attrs.frozen
class PatternPair:
    """A pattern: what begins with `start` and ends with `end`."""

    kind: str
    """Its name."""
    start: str
    end: str
    action: PatternAction = PatternAction.REMOVE
    on_match: OnMatch | None = None
    """Called with a `PatternMatch`, before anything goes on that is behind it; may be async."""

    def __attrs_post_init__(self) -> None:
        check_name("PatternPair(kind", self.kind)
        check_name("PatternPair(start", self.start)
        check_name("PatternPair(end", self.end)
        check_instance("PatternPair(action", self.action, PatternAction, "a member of PatternAction")
        if self.on_match is not None:
            check_function("PatternPair(on_match", self.on_match, "a function: def f(match: PatternMatch)", "match")


@final
class PatternPairAggregator(TextAggregator):
    """Finds what is marked in a text that comes in pieces, such as `<voice>alto</voice>`, and does what its pattern says.

    Text outside of the patterns goes on at once; only what may be the beginning of one is kept until that is certain. A
    pattern is at most `limit` characters long: what begins and does not end within that is text, and so is one that is open
    at the end of the run, or before a frame of a class in `flush_on`. An interrupt drops what is kept.
    """

    def __init__(
        self,
        patterns: Iterable[PatternPair],
        *,
        types: type[Frame] | tuple[type[Frame], ...] = TextFrame,
        flush_on: type[Frame] | tuple[type[Frame], ...] = (),
        limit: int = 10_000,
        name: str | None = None,
    ) -> None:
        super().__init__(types, flush_on, limit, name)
        self.patterns: tuple[PatternPair, ...] = _checked(patterns)
        self._pairs = Pairs(
            "PatternPairAggregator(patterns", [(pattern.start, pattern.end) for pattern in self.patterns]
        )

    async def _push_first(self) -> bool:
        text = self._pieces.text
        found = self._pairs.find(text, self.limit)
        if found.outside:
            await self.push_frame(self._pieces.take(found.outside))
            return True
        if found.length:
            await self._handle(found, text[: found.length])
        return bool(found.length)

    async def _handle(self, found: Found, text: str) -> None:
        pattern = self.patterns[found.which]
        content = text[len(pattern.start) : len(text) - len(pattern.end)].strip()
        if pattern.on_match is not None:
            result = pattern.on_match(PatternMatch(pattern.kind, content, text))
            if isinstance(result, Awaitable):
                await result
        if not self._pieces.text.startswith(text):
            return  # an interrupt has dropped some of it meanwhile
        if pattern.action is PatternAction.REMOVE:
            self._pieces.cut(found.length)
        elif pattern.action is PatternAction.KEEP:
            await self.push_frame(self._pieces.take(found.length))
        else:
            first, interruptible = self._pieces.cut(found.length)
            made = AggregatedTextFrame(content, kind=pattern.kind, interruptible=interruptible)
            await self.push_frame(carry_over(first, made))


def _checked(patterns: object) -> tuple[PatternPair, ...]:
    if not isinstance(patterns, Iterable):
        raise refuse("PatternPairAggregator(patterns", patterns, EXPECTED)
    checked = tuple(patterns)
    if not checked or not all(isinstance(pattern, PatternPair) for pattern in checked):
        raise refuse("PatternPairAggregator(patterns", patterns, EXPECTED)
    return checked
