"""One conversation: the pipeline, and what is kept of it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, TypeVar

import attrs
import trio
import trio.testing

from trio_pipes import Pipeline, PipelineParams, PipelineRunner, PipelineTask
from trio_pipes.transports import WavSink, WavSource
from trio_pipes.voice import (
    Espeak,
    PocketSphinx,
    Recogniser,
    SileroVad,
    SpeechToText,
    Synthesiser,
    TextToSpeech,
    UserIdle,
    UserTurnAggregator,
    UserTurns,
    VadModel,
    VoiceActivity,
)

from ._conversation import Conversation
from ._dialogue import Dialogue
from ._sentences import COMMANDS
from ._stalls import StallMeter, Stalls
from ._turns import HEARING, IDLE_AFTER, Patience, still_there

__all__ = ["Models", "Outcome", "Pace", "assistant", "converse", "run_paced"]

Pace = Literal["real", "fast"]
T = TypeVar("T")


def _our_recogniser() -> Recogniser:
    return PocketSphinx(COMMANDS)


@attrs.frozen
class Models:
    """What hears and speaks."""

    vad: Callable[[], VadModel] = SileroVad
    recogniser: Recogniser = attrs.field(factory=_our_recogniser)
    voice: Synthesiser = attrs.field(factory=lambda: Espeak("en-us+f3"))


@attrs.frozen
class Outcome:
    """What is left of a conversation."""

    conversation: Conversation
    dialogue: Dialogue
    stalls: Stalls
    reason: str | None
    """Why it ended."""


def assistant(wav: str | os.PathLike[str], out: str | os.PathLike[str], dialogue: Dialogue, models: Models) -> Pipeline:
    """The pipeline: from what is heard to what is said."""
    return Pipeline(
        [
            WavSource(wav),
            VoiceActivity(models.vad, rules=HEARING, interrupts=False),
            SpeechToText(models.recogniser),
            UserTurns(stop=[Patience()]),
            UserTurnAggregator(),
            UserIdle(IDLE_AFTER, still_there, max_retries=2),
            dialogue,
            TextToSpeech(models.voice),
            WavSink(out),
        ]
    )


async def converse(
    wav: str | os.PathLike[str],
    out: str | os.PathLike[str],
    tell: Callable[[str], None],
    models: Models,
    observers: Sequence[object] = (),
) -> Outcome:
    """Play a WAV file to the assistant, and what it answers into another."""
    dialogue = Dialogue()
    conversation = Conversation(tell)
    meter = StallMeter()
    task = PipelineTask(
        assistant(wav, out, dialogue, models),
        PipelineParams(allow_interruptions=True),
        observers=[conversation, meter, *observers],
    )
    await PipelineRunner().run(task)
    result = await task.wait_finished()
    return Outcome(conversation, dialogue, meter.result(), result.reason)


def run_paced(pace: Pace, fn: Callable[..., Awaitable[T]], *args: Any) -> T:
    """`trio.run`, in real time or as fast as it can.

    Fast is the same program on a clock that skips the waits: where every task sleeps it jumps to the next deadline, and
    while something works, here or in a child process, it runs like any other. So what is said when, who interrupts whom and
    how long an answer takes are as in real time, without the silences.
    """
    clock = None if pace == "real" else trio.testing.MockClock(rate=1.0, autojump_threshold=0)
    return trio.run(fn, *args, clock=clock)
