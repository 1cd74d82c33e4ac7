"""The dialogue: what the assistant does about a sentence, and what it says.

A sentence is acted on when it is one of the assistant's own, word for word, and the recogniser is sure of it. For anything
else the answer is "I did not understand", and nothing is switched.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import attrs
import trio

from trio_pipes import Direction, Frame, FrameProcessor, TextFrame
from trio_pipes.voice import TranscriptionFrame

from ._sentences import COMMANDS, NUMBERS, ROOMS, Command

__all__ = ["NOT_UNDERSTOOD", "Dialogue", "Timer"]

NOT_UNDERSTOOD: Final = "I did not understand."

# How much of the speech the words have to account for. Of 460 sentences of ours in ten voices, 6 in a hundred are below it; of
# 700 made of other words, 2 are at or above it and happen to make a sentence of ours.
SURE: Final = 0.95

SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600}


@attrs.define(eq=False)
class Timer:
    """A timer that runs."""

    name: str
    """For example "five minutes"."""
    due: float
    """In seconds on Trio's clock."""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)


class Dialogue(FrameProcessor):
    """Takes `TranscriptionFrame`s, gives `TextFrame`s, and keeps the lights and the timers."""

    def __init__(self, now: Callable[[], datetime] = datetime.now) -> None:
        super().__init__("dialogue")
        self._now = now
        self.lights = dict.fromkeys(ROOMS, False)
        self.timers: list[Timer] = []
        self.switched = 0
        """How often something was switched, set or cancelled."""

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Timers run in a nursery of their own."""
        async with trio.open_nursery() as self._nursery:
            yield
            self._nursery.cancel_scope.cancel(reason="the conversation is over")

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Answer a sentence, pass on the rest."""
        await self.push_frame(frame, direction)
        if isinstance(frame, TranscriptionFrame):
            command = COMMANDS.get(frame.text) if frame.confidence >= SURE else None
            await self.push_frame(TextFrame(NOT_UNDERSTOOD if command is None else self.obey(command)))

    def obey(self, command: Command) -> str:
        """Do what a sentence asks for, and give the answer."""
        match command.intent:
            case "light":
                return self._switch(command.slots.get("room"), command.slots["switch"])
            case "set timer":
                return self._set_timer(command.slots.get("number", "one"), command.slots["unit"])
            case "cancel timer":
                return self._cancel_timer()
            case "time left":
                return self._tell_time_left()
            case "time":
                now = self._now()
                return f"It is {now.hour} {now.minute:02}." if now.minute else f"It is {now.hour} o'clock."
            case "lights on":
                return self._tell_lights()
            case "help":
                return (
                    "I can turn the light on and off in the kitchen, the bedroom, the office, the living room and the hall, "
                    "tell you which lights are on, set a timer for some seconds, minutes or hours, cancel it again, and tell "
                    "you what time it is. Just say it."
                )
            case intent:
                return REPLIES[intent]

    def _switch(self, room: str | None, switch: str) -> str:
        self.switched += 1
        for each in self.lights if room is None else [room]:
            self.lights[each] = switch == "on"
        return f"All the lights are {switch}." if room is None else f"The {room} light is {switch}."

    def _tell_lights(self) -> str:
        rooms = [room for room, on in self.lights.items() if on]
        if not rooms:
            return "All the lights are off."
        return f"The light is on in the {' and the '.join(rooms)}."

    def _set_timer(self, number: str, unit: str) -> str:
        self.switched += 1
        seconds = NUMBERS.get(number, 1) * SECONDS[unit]
        timer = Timer(f"{number} {unit}{'' if number == 'one' else 's'}", trio.current_time() + seconds)
        self.timers.append(timer)
        self._nursery.start_soon(self._run_timer, timer)
        return f"A timer for {timer.name}."

    async def _run_timer(self, timer: Timer) -> None:
        with timer.scope:
            await trio.sleep_until(timer.due)
            self.timers.remove(timer)
            await self.push_frame(TextFrame(f"Your timer for {timer.name} is over."))

    def _cancel_timer(self) -> str:
        if not self.timers:
            return "There is no timer."
        self.switched += 1
        timer = self.timers.pop()
        timer.scope.cancel(reason="the user said so")
        return f"The timer for {timer.name} is cancelled."

    def _tell_time_left(self) -> str:
        if not self.timers:
            return "There is no timer."
        left = math.ceil(min(timer.due for timer in self.timers) - trio.current_time())
        if left < 60:
            return f"{left} seconds."
        return f"{left // 60} minutes and {left % 60} seconds."


REPLIES: Final = {
    "greeting": "Hello. What can I do for you?",
    "thanks": "You are welcome.",
    "stop": "All right.",
    "goodbye": "Goodbye.",
}
