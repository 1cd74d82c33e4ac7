"""A filter that lets text through once a certain phrase has been said, and for some time after.

# How a phrase is found.
#
# By its words: case does not count, nor does what stands between words ("Hey, Robot!"), and a phrase may be spread over
# frames, since who transcribes speech cuts it where the speaker takes a breath. So the last words of what was said are
# kept, one fewer than the longest phrase has. A phrase begins and ends where words do; only for scripts that put no
# space between words that is not asked.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final, Literal, TypeVar, final
from unicodedata import east_asian_width, normalize

import attrs
import trio

from trio_pipes._base import ConfigurationError, check_function, check_timeout, refuse, refuse_awaitable
from trio_pipes.flow._frames import Direction, Frame, StartFrame
from trio_pipes.flow._processor import FrameProcessor

from ._question import is_async
from ._which import check_direction, check_frame_types, concerns

__all__ = ["WakePhraseFilter"]

F = TypeVar("F", bound=Frame)

SPEAKERS: Final = 1000  # that are remembered, those who spoke last
BETWEEN: Final = " \t\r\n,.;:!?…–—-、，。！？"  # noqa: RUF001  (what may stand between a phrase and what follows)


@attrs.define
class _Listener:
    """What is known of one speaker."""

    awake_until: float = -math.inf
    """Seconds on Trio's clock."""
    said: str = ""
    """The last words, as far as a phrase may have begun with them."""
    said_until: float = -math.inf


@final
class WakePhraseFilter(FrameProcessor):
    """Drops text until somebody says one of the `phrases`; then lets it through until nobody has spoken for `timeout` seconds.

    `types` are the classes of frames with text, which have a field `text`; all other frames pass. Case and punctuation
    do not count, and a phrase may be spread over several frames. Of the text that has the phrase, `keep` says what goes
    on: `"phrase"`, the phrase and what follows; `"rest"`, what follows, and no frame if that is nothing; `"all"`. Where
    that is not the whole text, a copy of the frame goes on in its place.

    With `timeout=None` it stays awake for the rest of the run. `speaker` tells whose words a frame has; each speaker has
    to say the phrase.
    """

    phrases: tuple[str, ...]
    types: tuple[type[Frame], ...]
    timeout: float | None
    keep: Literal["phrase", "rest", "all"]
    direction: Direction | None

    def __init__(
        self,
        phrases: str | Iterable[str],
        types: type[Frame] | tuple[type[Frame], ...],
        *,
        timeout: float | None = 3.0,
        keep: Literal["phrase", "rest", "all"] = "phrase",
        speaker: Callable[[Any], Hashable] | None = None,
        direction: Direction | None = Direction.DOWNSTREAM,
        name: str | None = None,
    ) -> None:
        super().__init__(name, inline=True)
        self.phrases = _checked_phrases(phrases)
        self.types = check_frame_types("WakePhraseFilter(types", types)
        for t in self.types:
            if not any(field.alias == "text" and field.init for field in attrs.fields(t)):
                raise ConfigurationError(f"WakePhraseFilter(types={t!r}): expected frame classes with a field `text`")
        check_timeout("WakePhraseFilter(timeout", timeout)
        if keep not in ("phrase", "rest", "all"):
            raise refuse("WakePhraseFilter(keep", keep, '"phrase", "rest" or "all"')
        if speaker is not None:
            expected = "a sync function that gives who said a frame, or None"
            check_function("WakePhraseFilter(speaker", speaker, expected, "frame")
            if is_async(speaker):
                raise refuse("WakePhraseFilter(speaker", speaker, expected)
        check_direction("WakePhraseFilter(direction", direction)
        self.timeout = timeout
        self.keep = keep
        self.direction = direction
        self._speaker = speaker
        self._pattern = re.compile("|".join(map(_pattern, sorted(self.phrases, key=len, reverse=True))), re.IGNORECASE)
        self._words = max(len(phrase.split()) for phrase in self.phrases) - 1  # that may have been said before
        self._listeners: OrderedDict[Hashable, _Listener] = OrderedDict()

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Listen to a frame with text, and pass on what is to be heard."""
        if isinstance(frame, StartFrame):
            self._listeners.clear()
        elif concerns(self.direction, direction) and isinstance(frame, self.types):
            said: Any = frame.text  # type: ignore[attr-defined]  # its class has been looked at
            if not isinstance(said, str):
                raise TypeError(f"{frame.name} has text={said!r}, expected a string")
            heard = self._hear(said, self._listener(frame))
            if heard is None:
                return
            if heard != said:
                frame = _with_text(frame, heard)
        await self.push_frame(frame, direction)

    def _listener(self, frame: Frame) -> _Listener:
        speaker = None if self._speaker is None else self._who(self._speaker(frame), frame)
        listener = self._listeners.setdefault(speaker, _Listener())
        self._listeners.move_to_end(speaker)
        if len(self._listeners) > SPEAKERS:
            self._listeners.popitem(last=False)
        return listener

    def _who(self, speaker: Hashable, frame: Frame) -> Hashable:
        refuse_awaitable(speaker, "WakePhraseFilter(speaker)")
        if not isinstance(speaker, Hashable):
            raise TypeError(f"WakePhraseFilter(speaker) gave {speaker!r} for {frame.name}, expected a name or an id")
        return speaker

    def _hear(self, said: str, listener: _Listener) -> str | None:
        """What goes on of a text; None: nothing."""
        now = trio.current_time()
        until = math.inf if self.timeout is None else now + self.timeout
        if now < listener.awake_until:
            listener.awake_until = until
            return said
        before = listener.said if now < listener.said_until else ""
        text = normalize("NFC", f"{before} {said}" if before else said)
        phrase = self._pattern.search(text)
        if phrase is None:
            listener.said = " ".join(text.split()[-self._words :]) if self._words else ""
            listener.said_until = until
            return None
        listener.said, listener.awake_until = "", until
        if self.keep == "rest":
            return text[phrase.end() :].lstrip(BETWEEN) or None
        if self.keep == "all" or text[phrase.start() :] == normalize("NFC", said):
            return said
        return text[phrase.start() :]


def _checked_phrases(phrases: object) -> tuple[str, ...]:
    given = (phrases,) if isinstance(phrases, str) else phrases
    if isinstance(given, Iterable) and not isinstance(given, bytes):
        kept = tuple(given)
        if kept and all(isinstance(phrase, str) and re.search(r"\w", phrase) for phrase in kept):
            return tuple(normalize("NFC", phrase) for phrase in kept)
    raise refuse("WakePhraseFilter(phrases", phrases, "a phrase with words in it, or several")


def _pattern(phrase: str) -> str:
    """A phrase as a regular expression: its words, with anything between them that is none."""
    words = [parts for word in phrase.split() if (parts := re.findall(r"\w+", word))]
    inner = r"\W+".join(r"\W*".join(map(re.escape, parts)) for parts in words)  # "what's" is also "whats"
    return _edge(words[0][0][0]) + inner + _edge(words[-1][-1][-1])


def _edge(character: str) -> str:
    return "" if east_asian_width(character) in "WF" else r"\b"


def _with_text(frame: F, text: str) -> F:
    """A copy of a frame, with another text."""
    made: Any = attrs.evolve(frame, text=text)  # type: ignore[call-arg]  # its class has been looked at
    made.pts = frame.pts
    if frame.metadata:
        made.metadata.update(frame.metadata)
    return made  # type: ignore[no-any-return]
