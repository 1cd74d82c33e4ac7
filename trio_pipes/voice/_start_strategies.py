"""When the user's turn begins: the strategies that ship, and the protocol for one's own."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Protocol

import trio

from trio_pipes._base import check_count, check_flag, check_timeout, refuse
from trio_pipes.flow import Frame, StartFrame, UserStartedSpeakingFrame, UserTurnStartedFrame

from ._frame_types import FrameTypes, check_frame_types
from ._frames import InterimTranscriptionFrame, TranscriptionFrame
from ._user_turn import UserTurn

__all__ = [
    "ExternalStart",
    "MinWordsStart",
    "StartStrategy",
    "TranscriptionStart",
    "VoiceActivityStart",
    "WakePhraseStart",
]


class StartStrategy(Protocol):
    """Tells whether a frame begins the user's turn.

    It is asked for each frame of both directions but `InterruptionFrame`s, first for the `StartFrame` of a run.
    """

    def starts(self, frame: Frame, turn: UserTurn, /) -> bool | None:
        """True: a turn begins. False: this is not meant for the bot. None: ask the next strategy.

        True and False end the round; with a turn open they change nothing. A transcript that is not meant for the bot
        goes no further.
        """
        ...


class VoiceActivityStart:
    """A turn begins when voice activity hears the user."""

    def starts(self, frame: Frame, turn: UserTurn) -> bool | None:
        """At `UserStartedSpeakingFrame`."""
        return True if isinstance(frame, UserStartedSpeakingFrame) else None


class TranscriptionStart:
    """A turn begins when there are words: said too softly for voice activity, or transcribed after the turn was over."""

    def __init__(self, *, use_interim: bool = True) -> None:
        check_flag("TranscriptionStart(use_interim", use_interim)
        self._types = _transcripts(use_interim=use_interim)

    def starts(self, frame: Frame, turn: UserTurn) -> bool | None:
        """At a transcript that is not empty."""
        return True if isinstance(frame, self._types) and frame.text.strip() else None


class MinWordsStart:
    """A turn begins when so many words are said at once; while the bot is silent, with one.

    So "yes" and "mhm" do not interrupt the bot. What is too short while it speaks is not meant for it.
    """

    def __init__(self, min_words: int, *, use_interim: bool = True) -> None:
        check_count("MinWordsStart(min_words", min_words)
        check_flag("MinWordsStart(use_interim", use_interim)
        self._min_words = min_words
        self._types = _transcripts(use_interim=use_interim)

    def starts(self, frame: Frame, turn: UserTurn) -> bool | None:
        """At a transcript with enough words."""
        if not isinstance(frame, self._types):
            return None
        return len(frame.text.split()) >= (self._min_words if turn.bot_speaks else 1)


class WakePhraseStart:
    """Nothing begins a turn until one of the phrases was said: that turn, and then the strategies behind this one decide.

    After `timeout` seconds in which nobody speaks it sleeps again (None: never); with `single_activation` after one turn. A phrase is
    found whatever its case and punctuation, also when it is spread over several transcripts. What is said while it sleeps is
    not meant for the bot.
    """

    def __init__(
        self, phrases: str | Iterable[str], *, timeout: float | None = 10.0, single_activation: bool = False
    ) -> None:
        expected = "a phrase with words in it, or several"
        if not isinstance(phrases, Iterable) or isinstance(phrases, bytes):
            raise refuse("WakePhraseStart(phrases", phrases, expected)
        given = [phrases] if isinstance(phrases, str) else list(phrases)
        if not given or not all(isinstance(phrase, str) and _words(phrase) for phrase in given):
            raise refuse("WakePhraseStart(phrases", phrases, expected)
        check_timeout("WakePhraseStart(timeout", timeout)
        check_flag("WakePhraseStart(single_activation", single_activation)
        self._phrases = [_words(phrase) for phrase in given]
        self._longest = max(map(len, self._phrases))
        self._timeout = math.inf if timeout is None else timeout
        self._single = single_activation
        self._sleep()

    @property
    def awake(self) -> bool:
        """Whether a phrase was said; as of the last frame."""
        return self._awake

    def _sleep(self) -> None:
        self._awake = self._spoken = False
        self._until = 0.0
        self._heard: list[str] = []  # the last words, in which a phrase may have begun

    def starts(self, frame: Frame, turn: UserTurn) -> bool | None:
        """At a phrase; awake it leaves the decision to the others."""
        if isinstance(frame, StartFrame) or (self._awake and self._is_over(turn)):
            self._sleep()
        was_awake = self._awake
        if not was_awake:
            self._awake = isinstance(frame, TranscriptionFrame) and self._hears(frame.text)
        if self._awake:
            spoke, self._spoken = self._spoken, turn.user_speaks or turn.bot_speaks
            if spoke or self._spoken or isinstance(frame, TranscriptionFrame | InterimTranscriptionFrame):
                self._until = trio.current_time() + self._timeout
        return None if was_awake else self._awake

    def _is_over(self, turn: UserTurn) -> bool:
        if turn.is_open or (self._timeout == math.inf and not self._single):
            return False
        return self._single or not (
            self._spoken or trio.current_time() < max(self._until, turn.ended_at + self._timeout)
        )

    def _hears(self, text: str) -> bool:
        heard = [*self._heard, *_words(text)]
        self._heard = heard[max(0, len(heard) - self._longest + 1) :]
        return any(
            heard[at : at + len(phrase)] == phrase
            for phrase in self._phrases
            for at in range(len(heard) - len(phrase) + 1)
        )


class ExternalStart:
    """A turn begins when a frame says so: `UserTurnStartedFrame` from above, or frames of your own from either side."""

    def __init__(self, types: FrameTypes = UserTurnStartedFrame) -> None:
        self._types = check_frame_types("ExternalStart(types", types)

    def starts(self, frame: Frame, turn: UserTurn) -> bool | None:
        """At such a frame."""
        return True if isinstance(frame, self._types) else None


def _transcripts(*, use_interim: bool) -> tuple[type[TranscriptionFrame | InterimTranscriptionFrame], ...]:
    return (TranscriptionFrame, InterimTranscriptionFrame) if use_interim else (TranscriptionFrame,)


def _words(text: str) -> list[str]:
    """The words of a text, without what recognisers do differently."""
    return re.findall(r"\w+", text.casefold())
