"""The second machine: the dialogue. Sentences come from the front, replies go back there; slow questions go to the third machine.

    python docs/examples/three_machines/dialogue.py redis://HOST:6379

Ends when the front has gone, or on Ctrl-C.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from _program import run
from _words import AT_ONCE, NEVER_MIND, QUESTIONS, plain

from trio_pipes import BridgedPipeline, Direction, Frame, FrameProcessor, JobError, PipelineTask, TextFrame
from trio_pipes.voice import TranscriptionFrame

PATIENCE = 20.0  # seconds for an answer, in all


class Dialogue(FrameProcessor):
    """Takes sentences, gives replies. It goes on while something is looked up."""

    def __init__(self) -> None:
        super().__init__("dialogue")
        self._looking = trio.CancelScope()

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """What is being looked up is so in a nursery of the dialogue's, and ends with it."""
        async with trio.open_nursery() as self._nursery:
            yield
            self._nursery.cancel_scope.cancel(reason="the conversation is over")

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Reply to a sentence, pass on the rest."""
        if not isinstance(frame, TranscriptionFrame):
            await self.push_frame(frame, direction)
            return
        sentence = plain(frame.text)
        print(f"heard: {sentence}", flush=True)
        if sentence in QUESTIONS:
            self._nursery.start_soon(self._look_up, QUESTIONS[sentence])
        elif sentence == NEVER_MIND:
            self._looking.cancel(reason="the user does not want to know")
            await self._say("All right.")
        else:
            await self._say(AT_ONCE.get(sentence, "I did not understand."))

    async def _look_up(self, about: str) -> None:
        with trio.CancelScope() as self._looking:  # leaving the block below cancels the work over there
            try:
                async with self.task.job("answers", "look up", {"about": about}, timeout=PATIENCE) as job:
                    async for update in job:
                        await self._say(f"I am searching {update['searching']}.")
                    await self._say((await job.result())["text"])
            except JobError as error:
                print(f"no answer about the {about}: {error}", flush=True)
                await self._say("I cannot find out at the moment.")

    async def _say(self, text: str) -> None:
        await self.push_frame(TextFrame(text))


if __name__ == "__main__":
    run(PipelineTask(BridgedPipeline([Dialogue()]), name="dialogue"), __doc__)
