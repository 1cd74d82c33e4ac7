"""`StartupTimingObserver`: what a pipeline waits for before it is up.

# What it costs.
#
# To time `StartFrame` it has to be told of each frame at each processor, and who is told of frames costs at each hop. So
# the part of it that is told of them is an observer of its own, which is there from the beginning of the run until the
# pipeline is up, and the part that waits for first frames goes when it has seen them.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from trio_pipes._base import check_classes
from trio_pipes.flow import (
    BotStartedSpeakingFrame,
    Direction,
    Frame,
    FrameProcessor,
    InputAudioFrame,
    OutputAudioFrame,
    StartFrame,
)
from trio_pipes.host import PipelineTask, TaskResult

from ._one_task import OneTask, check_callback

__all__ = ["FirstFrame", "ProcessorStartup", "StartupReport", "StartupTimingObserver"]

FIRSTS: tuple[type[Frame], ...] = (InputAudioFrame, OutputAudioFrame, BotStartedSpeakingFrame)


@attrs.frozen
class ProcessorStartup:
    """What one processor did before the pipeline was up. Times are seconds on Trio's clock."""

    processor: str
    """Its name."""
    set_up_at: float | None = None
    """When its set-up began; None: it had none."""
    set_up: float = 0.0
    """Seconds that its set-up took: its `lifespan`, or the code above a block's loop."""
    start_frame: float = 0.0
    """Seconds that it took over `StartFrame`."""


@attrs.frozen
class FirstFrame:
    """The first frame of a class."""

    frame: str
    """The name of the class."""
    processor: str
    """The name of the processor that pushed it."""
    at: float
    """When, in seconds on Trio's clock: the frame's own `at` where it has one."""


@attrs.frozen
class StartupReport:
    """How a pipeline started. Times are seconds on Trio's clock. `str()` gives it as a table."""

    began_at: float
    """When the run began."""
    started_at: float | None = None
    """When `StartFrame` had reached the sink; None: it has not."""
    processors: tuple[ProcessorStartup, ...] = ()
    """In the order in which they were ready."""
    firsts: tuple[FirstFrame, ...] = ()
    """In the order in which they came."""

    @property
    def seconds(self) -> float | None:
        """From the beginning of the run until the pipeline was up. Set-ups overlap: it is no sum of theirs."""
        return None if self.started_at is None else self.started_at - self.began_at

    def __str__(self) -> str:
        """A table: when each set-up began, what it took, what `StartFrame` took, and when the first frames came."""
        seconds = self.seconds
        lines = ["not started" if seconds is None else f"started in {seconds:.3f} s"]
        if self.processors:
            lines.append("   began  set-up  StartFrame")
        for part in self.processors:
            began, set_up = "", ""
            if part.set_up_at is not None:
                began, set_up = f"{part.set_up_at - self.began_at:.3f}", f"{part.set_up:.3f}"
            lines.append(f"  {began:>6}  {set_up:>6}  {part.start_frame:>10.3f}  {part.processor}")
        lines += [f"  {first.at - self.began_at:6.3f}  first {first.frame}, {first.processor}" for first in self.firsts]
        return "\n".join(lines)


class StartupTimingObserver(OneTask):
    """Times the set-up of each processor, what each does with `StartFrame`, and the way to the first frames.

    `processors` are the classes of those to report, None stands for all. `firsts` are the classes of frames whose first one is
    reported: sound that comes in, sound that is made, sound that is heard, or, say, what your transport pushes when
    somebody connects. `on_report` is called when the pipeline is up, `on_first` for each first frame. It sees a start
    from its beginning or not at all, so it has to be given to the task before the run. Watches one task at a time.
    """

    _began_at: float | None
    _started_at: float | None
    _parts: dict[int, ProcessorStartup]  # by the ids of the processors
    _came: list[FirstFrame]
    _start_frames: _StartFrames

    def __init__(
        self,
        *,
        processors: type[FrameProcessor] | tuple[type[FrameProcessor], ...] | None = None,
        firsts: type[Frame] | tuple[type[Frame], ...] = FIRSTS,
        on_report: Callable[[StartupReport], object] | None = None,
        on_first: Callable[[FirstFrame], object] | None = None,
    ) -> None:
        asked = FrameProcessor if processors is None else processors
        expected = "a class of processors, a tuple of them, or None for all"
        self._reported = check_classes("StartupTimingObserver(processors", asked, FrameProcessor, expected)
        self._firsts = check_classes("StartupTimingObserver(firsts", firsts, Frame, "a frame class, or a tuple of them")
        self._tell_report = check_callback("StartupTimingObserver(on_report", on_report)
        self._tell_first = check_callback("StartupTimingObserver(on_first", on_first)
        self._began_at = None
        self._begin()

    @property
    def report(self) -> StartupReport | None:
        """What is known so far of the last start; None: there was none."""
        if self._began_at is None:
            return None
        return StartupReport(self._began_at, self._started_at, tuple(self._parts.values()), tuple(self._came))

    def on_starting(self, task: PipelineTask) -> None:
        """The run begins."""
        self._watch(task)
        self._began_at = trio.current_time()
        self._start_frames = _StartFrames(self)
        task.add_observer(self._start_frames)
        if self._firsts:
            task.add_observer(_Firsts(self, self._firsts))

    def on_set_up(self, task: PipelineTask, processor: FrameProcessor, seconds: float) -> None:
        """A processor is set up."""
        self._watch(task)
        part = self._part(processor)
        if part is not None:
            began = trio.current_time() - seconds
            self._parts[processor.id] = attrs.evolve(part, set_up_at=began, set_up=seconds)

    def on_started(self, task: PipelineTask) -> None:
        """The pipeline is up."""
        self._watch(task)
        if self._began_at is None:
            return
        self._start_frames.stop(task)
        self._started_at = trio.current_time()
        report = self.report
        if self._tell_report is not None and report is not None:
            self._tell_report(report)

    def _begin(self) -> None:
        self._started_at = None
        self._parts = {}
        self._came = []

    def _part(self, processor: FrameProcessor) -> ProcessorStartup | None:
        """What is known of a processor that is to be reported, before the pipeline is up."""
        if self._began_at is None or self._started_at is not None or not isinstance(processor, self._reported):
            return None
        return self._parts.get(processor.id, ProcessorStartup(processor.name))

    def _had_start_frame(self, processor: FrameProcessor, seconds: float) -> None:
        part = self._part(processor)
        if part is not None:
            self._parts[processor.id] = attrs.evolve(part, start_frame=seconds)

    def _came_first(self, first: FirstFrame) -> None:
        self._came.append(first)
        if self._tell_first is not None:
            self._tell_first(first)


class _StartFrames:
    """Times `StartFrame` at each processor, until the pipeline is up."""

    def __init__(self, observer: StartupTimingObserver) -> None:
        self._observer = observer
        self._taken: dict[int, tuple[FrameProcessor, float]] = {}  # and when, by the ids of the processors

    def on_frame_taken(self, task: PipelineTask, processor: FrameProcessor, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, StartFrame):
            self._taken[processor.id] = processor, trio.current_time()

    def on_frame_handled(
        self, task: PipelineTask, processor: FrameProcessor, frame: Frame, direction: Direction
    ) -> None:
        if isinstance(frame, StartFrame):
            self._tell(*self._taken.pop(processor.id))

    def stop(self, task: PipelineTask) -> None:
        """The pipeline is up. Who has handed `StartFrame` on may still be at it: for the start that is over."""
        for processor, at in self._taken.values():
            self._tell(processor, at)
        task.remove_observer(self)

    def _tell(self, processor: FrameProcessor, taken_at: float) -> None:
        self._observer._had_start_frame(processor, trio.current_time() - taken_at)


class _Firsts:
    """Waits for the first frame of each class, and goes when there was one of each."""

    def __init__(self, observer: StartupTimingObserver, classes: tuple[type[Frame], ...]) -> None:
        self._observer = observer
        self._left = classes

    def on_frame_pushed(
        self, task: PipelineTask, processor: FrameProcessor, frame: Frame, direction: Direction
    ) -> None:
        if not isinstance(frame, self._left):
            return
        at = getattr(frame, "at", None)
        at = float(at) if isinstance(at, float | int) else trio.current_time()
        come = [cls for cls in self._left if isinstance(frame, cls)]
        self._left = tuple(cls for cls in self._left if cls not in come)
        if not self._left:
            task.remove_observer(self)
        for cls in come:
            self._observer._came_first(FirstFrame(cls.__name__, processor.name, at))

    def on_finished(self, task: PipelineTask, result: TaskResult) -> None:
        task.remove_observer(self)
