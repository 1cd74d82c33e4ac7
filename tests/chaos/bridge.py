"""The two ends of a bridge that members have: frames with numbers go over, and come back."""

from __future__ import annotations

import trio

from trio_pipes import (
    BridgedPipeline,
    BusBridge,
    ErrorFrame,
    Pipeline,
    PipelineRunner,
    PipelineTask,
    TextFrame,
    each,
)

from .saying import say


@each(name="far")
def far(frame: TextFrame) -> TextFrame:
    """What the far pipeline does."""
    return TextFrame(f"{frame.text} back")


@each(name="near")
def near(frame: TextFrame) -> None:
    """What comes back."""
    say("back", n=int(frame.text.split()[0]), whole=frame.text.endswith(" back"))


class Errors:
    """An observer of a task: what was told."""

    def on_error(self, task: PipelineTask, frame: ErrorFrame) -> None:
        """Say it."""
        say("error", task=task.name, error=frame.error[:300])


async def run_far(runner: PipelineRunner, name: str) -> None:
    """Be the far end."""
    bridged = BridgedPipeline([far])
    runner.add_workers(PipelineTask(bridged, name=name, observers=[Errors()]), isolated=True)


async def run_near(runner: PipelineRunner, to: str, every: float, scope: trio.CancelScope) -> None:
    """Be the near end, and send one frame after the other until the scope is cancelled; then end in good order."""
    bridge = BusBridge(to, frames=TextFrame, timeout=2.0)
    task = PipelineTask(Pipeline([bridge, near]), name="near", observers=[Errors()])
    n = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run, task)
        await runner.wait_ready("near")
        with scope:
            while True:
                await task.queue_frame(TextFrame(str(n)))
                n += 1
                await trio.sleep(every)
        task.stop_when_done()
    counts = bridge.bridge_statistics()
    say("bridged", count=n, sent=counts.sent, received=counts.received, lost=counts.lost)
