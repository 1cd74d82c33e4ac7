"""`VoiceActivity`: notices when the user begins and stops to speak, and interrupts."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import trio

from trio_pipes._base import ConfigurationError, check_callable, check_flag, check_timeout, outside, refuse
from trio_pipes.flow import (
    Direction,
    EndFrame,
    Frame,
    FrameProcessor,
    InputAudioFrame,
    StartFrame,
    StopFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)

from ._alarm import Alarm
from ._silero import SileroVad
from ._speech_detector import SpeechDetector, SpeechEvent, SpeechRules

__all__ = ["VadModel", "VoiceActivity"]


class VadModel(Protocol):
    """What tells how probable speech is. Called in Trio's loop: a window must take well under a millisecond."""

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        ...

    @property
    def window_bytes(self) -> int:
        """How much 16-bit mono sound it takes at once, in bytes."""
        ...

    def probability(self, audio: bytes, /) -> float:
        """From 0 to 1, for the next window."""
        ...


class VoiceActivity(FrameProcessor):
    """Pushes `UserStartedSpeakingFrame` and `UserStoppedSpeakingFrame`, both ways, among the sound that passes through.

    A beginning also asks for an interrupt, so that the assistant stops when it is spoken to (barge-in): with
    `PipelineParams(allow_interruptions=True)` it takes effect. Where there are turns, `UserTurns` asks, and `interrupts` is False.
    When no sound comes for `audio_idle_timeout` seconds (None: for ever) while the user speaks, a microphone that was switched
    off or a line that broke, that ends the sentence. The model is made in a thread, before the first frame.
    """

    def __init__(
        self,
        model: Callable[[], VadModel] = SileroVad,
        *,
        rules: SpeechRules | None = None,
        interrupts: bool = True,
        audio_idle_timeout: float | None = 1.0,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        check_callable("VoiceActivity(model", model, "what makes a model when it is called, such as SileroVad")
        if not (rules is None or isinstance(rules, SpeechRules)):
            raise refuse("VoiceActivity(rules", rules, "SpeechRules(...), or None")
        check_flag("VoiceActivity(interrupts", interrupts)
        check_timeout("VoiceActivity(audio_idle_timeout", audio_idle_timeout)
        self._make_model = model
        self._rules = rules or SpeechRules()
        self._interrupts = interrupts
        self._idle_timeout = math.inf if audio_idle_timeout is None else audio_idle_timeout
        self._no_sound = Alarm(self._end_sentence)
        self._heard_at = 0.0  # when the last sound came
        self._buffer = b""
        self._has_listened = False  # the model remembers what it has heard

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Load the model."""
        await self._load()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._no_sound.run)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel(reason=f"{self.name} is closed")

    async def _load(self) -> None:
        with outside():
            self._model = await trio.to_thread.run_sync(self._make_model)
        self._window_bytes = self._model.window_bytes
        self._detector = SpeechDetector(self._rules, self._window_bytes / (2 * self._model.sample_rate))
        self._buffer, self._has_listened = b"", False

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Listen to the sound; everything passes."""
        if (
            isinstance(frame, StartFrame) and self._has_listened
        ):  # to a run before this one, within `async with pipeline:`
            self._no_sound.set(math.inf)
            await self._load()
        if isinstance(frame, InputAudioFrame):
            self._no_sound.set(math.inf)  # what waits for room below is no silence
            await self.push_frame(frame, direction)
            await self._listen(frame)
            if self._detector.speaking:
                self._no_sound.set(trio.current_time() + self._idle_timeout)
            return
        if isinstance(frame, EndFrame | StopFrame):
            await self._end_sentence()
        await self.push_frame(frame, direction)

    async def _listen(self, frame: InputAudioFrame) -> None:
        if frame.sample_rate != self._model.sample_rate or frame.channels != 1:
            raise ConfigurationError(
                f"{self.name} was given sound of {frame.sample_rate} Hz with {frame.channels} channel(s), expected "
                f"{self._model.sample_rate} Hz mono. Set the sample rate of the transport that it comes from."
            )
        self._heard_at, self._has_listened = trio.current_time(), True
        buffer, size = self._buffer + frame.audio, self._window_bytes
        while len(buffer) >= size:
            await self._tell(self._detector.take(self._model.probability(buffer[:size])))
            buffer = buffer[size:]
        self._buffer = buffer

    async def _end_sentence(self) -> None:
        self._no_sound.set(math.inf)
        await self._tell(self._detector.end())

    async def _tell(self, event: SpeechEvent | None) -> None:
        if event is SpeechEvent.STARTED:
            if self._interrupts:
                self.interrupt()
            await self.broadcast_frame(UserStartedSpeakingFrame, at=self._heard_at - self._detector.voiced)
        elif event is SpeechEvent.STOPPED:
            await self.broadcast_frame(UserStoppedSpeakingFrame, at=self._heard_at - self._detector.silence)
