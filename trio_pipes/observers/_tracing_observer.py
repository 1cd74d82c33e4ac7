"""`TracingObserver`: runs, turns and what processors work on, as traces of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from trio_pipes._base import FINITE, check_classes, check_flag, check_methods, check_number, refuse
from trio_pipes.flow import Direction, ErrorFrame, Frame, FrameProcessor, MetricsData
from trio_pipes.host import PipelineTask, TaskResult

from ._conversation import listen
from ._otel import PROCESSOR, check_attributes, clean, naming, opentelemetry, our_version, without_count
from ._run_trace import RunTrace
from ._scene import TraceSettings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import TracerProvider

    from ._otel import Attributes

__all__ = ["TracingObserver"]

OF_HANDLERS: Final = ("on_frame_taken", "on_frame_handled", "on_frame_stopped", "on_waited_for_room")


class TracingObserver:
    """Traces runs: each is a span, its turns are spans in it, and in these what processors measure. For any number of tasks.

    `tracer_provider` None is OpenTelemetry's global one. A run belongs to the trace that `PipelineParams.start_metadata` has as
    `traceparent` (and `tracestate`), else to `parent`, else to the span that is current where `run()` is called; otherwise
    it begins a trace.

    With `handlers` the current span inside a handler is that of the turn, or of what the processor measures, so that spans of
    one's own become children of it; the handling of frames of classes below `types` is a span too, and so is any that took
    more than `slow` seconds, waits for room not counted (None: none is). `turns` tells turns apart. Both cost at each hop;
    without both, nothing is in a frame's way. `attributes` go with every span. `name_of` gives the name that a processor's
    spans have, from its own name; as it stands, `"Shout"` for `"Shout#17"`.

    Raises `MissingExtra` where OpenTelemetry is not installed.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        *,
        parent: Context | None = None,
        handlers: bool = True,
        turns: bool = True,
        types: type[Frame] | tuple[type[Frame], ...] = (),
        slow: float | None = 0.25,
        attributes: Attributes | None = None,
        name_of: Callable[[str], str] = without_count,
    ) -> None:
        trace: Any = opentelemetry("trace", "TracingObserver")
        self._contexts: Any = opentelemetry("context", "TracingObserver")
        provider = tracer_provider
        if provider is None:
            provider = trace.get_tracer_provider()
        check_methods("TracingObserver(tracer_provider", provider, ["get_tracer"], "a TracerProvider, or None")
        if parent is not None and not isinstance(parent, self._contexts.Context):
            expected = "a Context of OpenTelemetry: opentelemetry.trace.set_span_in_context(span), or extract(headers)"
            raise refuse("TracingObserver(parent", parent, expected)
        check_flag("TracingObserver(handlers", handlers)
        check_flag("TracingObserver(turns", turns)
        spanned = check_classes("TracingObserver(types", types, Frame, "a frame class, or a tuple of them")
        if slow is not None:
            expected = "a finite number of seconds, 0 or more, or None"
            check_number("TracingObserver(slow", slow, expected, most=FINITE)
        given = check_attributes("TracingObserver(attributes", attributes)
        tracer = provider.get_tracer("trio_pipes", our_version())
        self._settings = TraceSettings(tracer, given, naming("TracingObserver", name_of), spanned, slow)
        self._parent = parent
        self._turns = turns
        self._runs: dict[PipelineTask, RunTrace] = {}
        if not handlers:
            for event in OF_HANDLERS:
                vars(self)[event] = None  # no method, so nobody calls it

    # -- runs

    def on_starting(self, task: PipelineTask) -> None:
        """A run begins."""
        run = self._run_of(task)
        run.enter()
        if self._turns:
            listen(task, run)

    def on_finished(self, task: PipelineTask, result: TaskResult) -> None:
        """A run has ended, or never began; one that began is ended by its `_End`."""
        if task not in self._runs:
            self._new_run(task).finish(result)

    def on_set_up(self, task: PipelineTask, processor: FrameProcessor, seconds: float) -> None:
        """A processor is set up."""
        self._run_of(task).set_up(processor, seconds)

    def on_error(self, task: PipelineTask, frame: ErrorFrame) -> None:
        """An error was reported, or fails the task."""
        self._run_of(task).failed(frame)

    def on_interrupt(self, task: PipelineTask) -> None:
        """An interrupt has taken effect."""
        self._run_of(task).interrupted()

    def on_interrupt_refused(self, task: PipelineTask) -> None:
        """One was not allowed."""
        self._run_of(task).note("interrupt refused")

    def on_idle(self, task: PipelineTask) -> None:
        """Nothing has moved for a while."""
        self._run_of(task).note("idle")

    def on_heartbeat_lost(self, task: PipelineTask, stuck: str) -> None:
        """Nothing comes through any more."""
        self._run_of(task).note("heartbeat lost", stuck=stuck)

    def on_usable_changed(self, task: PipelineTask, processor: FrameProcessor, usable: bool) -> None:
        """A processor cannot do its work any more, or can again."""
        self._run_of(task).note("usable" if usable else "unusable", **{PROCESSOR: clean(processor.name)})

    # -- processors

    def on_measuring(self, task: PipelineTask, processor: FrameProcessor, kind: type[MetricsData], at: float) -> None:
        """A processor begins to measure a time."""
        self._run_of(task).measuring(processor, kind, at)

    def on_measured(self, task: PipelineTask, processor: FrameProcessor, records: Sequence[MetricsData]) -> None:
        """A processor has measured."""
        self._run_of(task).measured(processor, records)

    def on_frame_taken(self, task: PipelineTask, processor: FrameProcessor, frame: Frame, direction: Direction) -> None:
        """A handler begins."""
        self._run_of(task).taken(processor, frame, direction)

    def on_frame_handled(
        self, task: PipelineTask, processor: FrameProcessor, frame: Frame, direction: Direction
    ) -> None:
        """It has come to its end."""
        self._run_of(task).handled(processor, frame)

    def on_frame_stopped(
        self, task: PipelineTask, processor: FrameProcessor, frame: Frame, direction: Direction
    ) -> None:
        """It was stopped."""
        self._run_of(task).stopped(processor, frame)

    def on_waited_for_room(
        self, task: PipelineTask, processor: FrameProcessor | None, frame: Frame, seconds: float
    ) -> None:
        """A push has waited."""
        if processor is not None:
            self._run_of(task).waited_for_room(seconds)

    # -- what comes of it

    def _run_of(self, task: PipelineTask) -> RunTrace:
        run = self._runs.get(task)
        if run is None:
            run = self._runs[task] = self._new_run(task)
            task.add_observer(_End(run, self._runs))
        return run

    def _new_run(self, task: PipelineTask) -> RunTrace:
        return RunTrace(task, self._settings, self._parent_of(task))

    def _parent_of(self, task: PipelineTask) -> Context:
        metadata = task.params.start_metadata
        carrier = {key: it for key in ("traceparent", "tracestate") if isinstance(it := metadata.get(key), str)}
        here: Context = self._contexts.get_current() if self._parent is None else self._parent
        if not carrier:
            return here
        w3c: Any = opentelemetry("trace.propagation.tracecontext", "TracingObserver")
        given: Context = w3c.TraceContextTextMapPropagator().extract(carrier, here)
        return given

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._runs)} running tasks>"


class _End:
    """Ends the spans of a run, also where who began them has been removed, by a user or for an error."""

    def __init__(self, run: RunTrace, runs: dict[PipelineTask, RunTrace]) -> None:
        self._run = run
        self._runs = runs

    def on_finished(self, task: PipelineTask, result: TaskResult) -> None:
        """The run has ended."""
        del self._runs[task]
        self._run.finish(result)
