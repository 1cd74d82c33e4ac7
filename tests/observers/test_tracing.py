"""P5: runs, turns and what processors work on, as traces of OpenTelemetry."""

from __future__ import annotations

import gc
import weakref
from contextlib import asynccontextmanager

import pytest
import trio
import trio.lowlevel
import trio.testing
from opentelemetry import context as otel_context, propagate, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import StatusCode

from flow_kit import DOWN, UP, Sees, live, said, text
from hosting import nothing_left, task_of
from observers_kit import Stage
from otel_kit import MEASURED, Traces, event, events
from trio_pipes import (
    ConfigurationError,
    Direction,
    ErrorPolicy,
    Frame,
    FrameProcessor,
    Frames,
    LLMTokenUsage,
    MetricsData,
    Out,
    PipelineRunner,
    TaskState,
    TextFrame,
    TTFBMetrics,
    each,
    processor,
)
from trio_pipes.observers import TracingObserver, TurnTrackingObserver, UserBotLatencyObserver, open_span
from trio_pipes.testing import Attempt, cancel_at_every_checkpoint


@pytest.fixture
def traced() -> Traces:
    return Traces()


class Model(FrameProcessor):
    """Answers a text: a second to the first byte, another one to the end, and then tells what it used."""

    def __init__(self, traced: Traces | None = None, **settings) -> None:
        super().__init__(**settings)
        self.traced = traced

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if direction is DOWN and isinstance(frame, TextFrame):
            await trio.sleep(0.5)
            self.metrics.model = "tiny-1"
            self.metrics.start_ttfb()
            self.metrics.start_processing()
            if self.traced is not None:
                with open_span("inside the model", tracer=self.traced.tracer):
                    await trio.lowlevel.checkpoint()
            await trio.sleep(1)
            await self.metrics.stop_ttfb()
            await trio.sleep(1)
            await self.metrics.stop_processing()
            await self.metrics.llm_usage(LLMTokenUsage(10, 5, cache_read_input_tokens=3))
            await trio.sleep(0.5)
        await self.push_frame(frame, direction)


class Asks(FrameProcessor):
    """Opens a span of the user's for each text."""

    def __init__(self, traced: Traces, name: str = "asks", **settings) -> None:
        super().__init__(name, **settings)
        self.traced = traced

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            with self.traced.tracer.start_as_current_span(f"{self.name} {frame.text}"):
                await trio.lowlevel.checkpoint()
        await self.push_frame(frame, direction)


# -- the run


async def test_a_run_is_a_span_from_its_beginning_to_the_last_cleanup(autojump_clock, traced) -> None:
    class Slow(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            await trio.sleep(2)
            yield
            await trio.sleep(3)

    async with live([Slow("slow#3")], observers=[TracingObserver(traced.provider)]) as now:
        await trio.sleep(10)
        await now.say("a")
    run, set_up = traced.spans
    assert (run.name, set_up.name) == ("run PipelineTask", "set up slow")
    assert (traced.times(run), traced.times(set_up)) == ((0, 15), (0, 2))
    assert traced.parent_of(set_up) is run
    assert run.attributes["trio_pipes.task"] == now.task.name
    assert run.attributes["trio_pipes.state"] == "ended"
    assert run.attributes["trio_pipes.frames.in"] == run.attributes["trio_pipes.frames.out"] == 1
    assert run.status.status_code is StatusCode.UNSET
    assert set_up.attributes["trio_pipes.processor"] == "slow#3"


async def test_a_cancelled_run_says_so_with_the_reason(autojump_clock, traced) -> None:
    async with live([Sees()], observers=[TracingObserver(traced.provider)]) as now:
        now.task.cancel("hung up")
    run = traced.one("run PipelineTask")
    assert run.attributes["trio_pipes.state"] == run.attributes["trio_pipes.outcome"] == "cancelled"
    assert event(run, "cancelled") == {"reason": "hung up"}
    assert run.status.status_code is StatusCode.UNSET, "a cancel is no error"


async def test_a_run_that_a_scope_around_it_cancelled_says_so(autojump_clock, traced) -> None:
    task = task_of(Sees(), observers=[TracingObserver(traced.provider)])
    with trio.move_on_after(3):
        await task.run()
    run = traced.one("run PipelineTask")
    assert run.attributes["trio_pipes.outcome"] == "cancelled"
    assert traced.times(run) == (0, 3)


async def test_a_run_that_was_cancelled_before_it_began_is_a_span_too(autojump_clock, traced) -> None:
    task = task_of(Sees(), observers=[TracingObserver(traced.provider)])
    task.cancel("not needed")
    await task.run()
    assert traced.one("run PipelineTask").attributes["trio_pipes.outcome"] == "cancelled"


def test_a_task_may_be_cancelled_outside_of_trio(traced) -> None:
    task = task_of(Sees(), observers=[TracingObserver(traced.provider)])
    task.cancel()
    assert traced.one("run PipelineTask").attributes["trio_pipes.state"] == "cancelled"
    assert task.state is TaskState.CANCELLED


async def test_a_failed_run_is_an_error_with_the_exception(autojump_clock, traced) -> None:
    @each
    def fails(frame: TextFrame) -> None:
        raise LookupError("no such word")

    task = task_of(fails, observers=[TracingObserver(traced.provider)])
    await task.queue_frame(text("a"))
    with pytest.raises(ExceptionGroup):
        await task.run()
    run = traced.one("run PipelineTask")
    assert (run.status.status_code, run.status.description) == (StatusCode.ERROR, "no such word")
    assert run.attributes["error.type"] == "LookupError"
    assert event(run, "exception")["exception.message"] == "no such word"
    assert events(run) == ["exception"]


# -- whose trace it is


async def test_a_run_belongs_to_the_span_that_is_current_where_it_is_run(autojump_clock, traced) -> None:
    task = task_of(Sees(), observers=[TracingObserver(traced.provider)])
    task.stop_when_done()
    with traced.tracer.start_as_current_span("call"):
        await task.run()
        assert trace.get_current_span().name == "call"
    assert traced.tree() == {"call": None, "run PipelineTask": "call"}


async def test_a_run_belongs_to_the_parent_that_is_given(autojump_clock, traced) -> None:
    span = traced.tracer.start_span("call")
    parent = trace.set_span_in_context(span)
    task = task_of(Sees(), observers=[TracingObserver(traced.provider, parent=parent)])
    task.stop_when_done()
    await task.run()
    span.end()
    assert traced.tree() == {"call": None, "run PipelineTask": "call"}


# What a handler sends along (`inject`) is all that the other side needs.
async def test_a_run_belongs_to_the_trace_that_its_start_metadata_names(autojump_clock, traced) -> None:
    carried: dict[str, str] = {}

    @each
    async def sends(frame: TextFrame) -> None:
        propagate.inject(carried)

    async with live([sends], observers=[TracingObserver(traced.provider)]) as now:
        await now.say("over there")
    elsewhere = Traces()  # another machine
    observer = TracingObserver(elsewhere.provider, parent=otel_context.Context())
    there = task_of(Sees(), observers=[observer], start_metadata=carried | {"call": 7})
    there.stop_when_done()
    await there.run()
    here, run = traced.one("run PipelineTask"), elsewhere.one("run PipelineTask")
    assert run.context.trace_id == here.context.trace_id
    assert run.parent.span_id == here.context.span_id


@pytest.mark.parametrize("wrong", [{"traceparent": "rubbish"}, {"traceparent": 12}, {"tracestate": "a=b"}], ids=str)
async def test_metadata_that_is_no_trace_begins_one(autojump_clock, traced, wrong) -> None:
    task = task_of(Sees(), observers=[TracingObserver(traced.provider)], start_metadata=wrong)
    task.stop_when_done()
    await task.run()
    assert traced.tree() == {"run PipelineTask": None}


async def test_one_observer_traces_any_number_of_tasks_each_by_itself(autojump_clock, traced) -> None:
    observer = TracingObserver(traced.provider)
    tasks = [task_of(Asks(traced, name=name), observers=[observer], name=name) for name in "abc"]
    for task in tasks:
        await task.queue_frame(text("x"))
        task.stop_when_done()
    await PipelineRunner(*tasks, handle_sigint=False).run()
    assert traced.tree() == {f"run {name}": None for name in "abc"} | {f"{name} x": f"run {name}" for name in "abc"}
    assert len({span.context.trace_id for span in traced.spans}) == 3
    assert repr(observer) == "<TracingObserver of 0 running tasks>"


async def test_two_pipelines_with_providers_of_their_own_know_nothing_of_each_other(autojump_clock, traced) -> None:
    other = Traces()
    tasks = [task_of(Sees(), observers=[TracingObserver(it.provider)]) for it in (traced, other)]
    for task in tasks:
        task.stop_when_done()
    await PipelineRunner(*tasks, handle_sigint=False).run()
    assert len(traced.spans) == len(other.spans) == 1


async def test_without_a_provider_the_global_one_is_used(autojump_clock, traced, monkeypatch) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: traced.provider)
    task = task_of(Sees(), observers=[TracingObserver()])
    task.stop_when_done()
    await task.run()
    assert traced.one("run PipelineTask").instrumentation_scope.name == "trio_pipes"


# OpenTelemetry without an SDK: nothing comes of it, and nothing goes wrong.
async def test_where_nobody_collects_nothing_happens(autojump_clock) -> None:
    stage = Stage(Model(name="model"), FailsAtWork("fails"), observers=[TracingObserver()], on_error=ErrorPolicy.REPORT)
    async with stage.running():
        await stage.user_speaks(1)
        await stage.push("user", text("x"))
        stage.task.interrupt()
        await stage.bot_speaks(1)
    assert (await stage.task.wait_finished()).observer_errors == ()
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_attributes_go_with_every_span_and_names_can_be_chosen(autojump_clock, traced) -> None:
    observer = TracingObserver(
        traced.provider, attributes={"gen_ai.conversation.id": "c7", "tags": ["a", "b"]}, name_of=str.upper
    )
    async with live([Model(name="model")], observers=[observer], **MEASURED) as now:
        await now.say("a")
    assert {span.name for span in traced.spans} == {f"run {now.task.name.upper()}", "MODEL"}
    assert {span.attributes["gen_ai.conversation.id"] for span in traced.spans} == {"c7"}
    assert {span.attributes["tags"] for span in traced.spans} == {("a", "b")}


# -- what processors measure


async def test_what_a_processor_measures_is_a_span_with_its_usage(autojump_clock, traced, debug) -> None:
    async with live(
        [Model(name="model#4")], observers=[TracingObserver(traced.provider)], debug=debug, **MEASURED
    ) as now:
        await now.say("a")
    work = traced.one("model")
    assert traced.parent_of(work).name == "run PipelineTask"
    assert traced.times(work) == (0.5, 2.5), "from the first start to stop_processing()"
    assert dict(work.attributes) == {
        "trio_pipes.processor": "model#4",
        "trio_pipes.ttfb": 1.0,
        "trio_pipes.processing": 2.0,
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "tiny-1",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 3,
    }
    assert events(work) == ["first byte"]


async def test_a_span_of_ones_own_is_a_child_of_the_work_it_is_in(autojump_clock, traced, debug) -> None:
    parts = [Model(traced, name="model"), Asks(traced, inline=True)]
    async with live(parts, observers=[TracingObserver(traced.provider)], debug=debug, **MEASURED) as now:
        await now.say("x")
    assert traced.tree() == {
        "run PipelineTask": None,
        "model": "run PipelineTask",
        "inside the model": "model",
        "asks x": "run PipelineTask",  # it runs within the model's push, and is no part of its work
    }


async def test_where_the_end_of_the_work_is_not_measured_it_ends_with_the_handler(
    autojump_clock, traced, debug
) -> None:
    class Streams(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, TextFrame):
                self.metrics.start_ttfb()
                await trio.sleep(1)
                await self.metrics.stop_ttfb()
                await trio.sleep(4)
                await self.metrics.tts_usage(frame.text)
            await self.push_frame(frame, direction)

    async with live([Streams("speaks")], observers=[TracingObserver(traced.provider)], debug=debug, **MEASURED) as now:
        await now.say("hello")
        await trio.sleep(20)
    work = traced.one("speaks")
    assert traced.times(work) == (0, 5)
    assert work.attributes["trio_pipes.characters"] == 5


async def test_work_may_begin_in_one_handler_and_end_in_another(autojump_clock, traced, debug) -> None:
    class Queries(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, TextFrame) and direction is DOWN:
                self.metrics.start_ttfb()
            elif isinstance(frame, TextFrame):
                await self.metrics.stop_ttfb()
                await self.metrics.stt_usage(0.25)
            await self.push_frame(frame, direction)

    async with live([Queries("q")], observers=[TracingObserver(traced.provider)], debug=debug, **MEASURED) as now:
        await now.say("question")
        await trio.sleep(4)
        await now.task.queue_frame(text("answer"), UP)
        await trio.sleep(6)
    work = traced.one("q")
    assert traced.times(work) == (0, 4)
    assert work.attributes["trio_pipes.audio.seconds"] == 0.25


async def test_work_of_a_background_task_is_a_span_and_the_next_closes_it(autojump_clock, traced) -> None:
    class Polls(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.poll)
                yield
                nursery.cancel_scope.cancel()

        async def poll(self) -> None:
            await trio.sleep(1)
            for n in range(2):
                self.metrics.start_processing()
                with traced.tracer.start_as_current_span(f"inside {n}"):
                    await trio.sleep(1)
                await self.metrics.stop_processing()
                with traced.tracer.start_as_current_span(f"outside {n}"):
                    await trio.sleep(2)

    async with live([Polls("polls")], observers=[TracingObserver(traced.provider)], **MEASURED):
        await trio.sleep(20)
    run, works = traced.one("run PipelineTask"), traced.named("polls")
    assert [traced.times(work) for work in works] == [(1, 2), (4, 5)]
    assert [traced.parent_of(work) for work in works] == [run, run]
    assert [traced.parent_of(traced.one(f"inside {n}")) for n in (0, 1)] == works
    assert [traced.parent_of(traced.one(f"outside {n}")) for n in (0, 1)] == [run, run]


async def test_usage_without_a_measured_time_is_an_event(autojump_clock, traced) -> None:
    class Counts(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, TextFrame):
                await self.metrics.tts_usage(frame.text)
            await self.push_frame(frame, direction)

    async with live([Counts("c")], observers=[TracingObserver(traced.provider)], **MEASURED) as now:
        await now.say("hello")
    run = traced.one("run PipelineTask")
    assert event(run, "measured") == {"trio_pipes.processor": "c", "trio_pipes.characters": 5}


async def test_records_of_ones_own_are_named(autojump_clock, traced) -> None:
    class Reports(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, TextFrame):
                await self.metrics.report(MetricsData("c"), TTFBMetrics("c", 0.5))
            await self.push_frame(frame, direction)

    async with live([Reports("c")], observers=[TracingObserver(traced.provider)], **MEASURED) as now:
        await now.say("hello")
    told = [dict(it.attributes) for it in traced.one("run PipelineTask").events]
    assert told == [
        {"trio_pipes.processor": "c", "trio_pipes.record": "MetricsData"},
        {"trio_pipes.processor": "c", "trio_pipes.ttfb": 0.5},
    ]


async def test_interrupted_work_says_so_and_the_next_is_untouched(autojump_clock, traced, debug) -> None:
    async with live(
        [Model(name="model")], observers=[TracingObserver(traced.provider)], debug=debug, **MEASURED
    ) as now:
        await now.say("cut off")
        await trio.sleep(1)
        now.task.interrupt()
        await now.say("a")
        await now.task.flush()
    cut, whole = traced.named("model")
    assert cut.attributes["trio_pipes.outcome"] == "interrupted"
    assert events(cut) == ["interrupted"]
    assert cut.status.status_code is StatusCode.UNSET
    assert traced.times(cut) == (0.5, 1)
    assert "trio_pipes.ttfb" not in cut.attributes
    assert "trio_pipes.outcome" not in whole.attributes
    assert events(traced.one("run PipelineTask")) == ["interrupt"]


async def test_work_whose_handler_an_interrupt_leaves_alone_goes_on(autojump_clock, traced) -> None:
    async with live([Model(name="model")], observers=[TracingObserver(traced.provider)], **MEASURED) as now:
        await now.task.queue_frame(text("kept", kept=True))
        await trio.sleep(1)
        now.task.interrupt()
        await now.task.flush()
    work = traced.one("model")
    assert traced.times(work) == (0.5, 3), "to the end of the handler: what it measured is not told"
    assert "trio_pipes.outcome" not in work.attributes


async def test_cancelled_work_says_so_with_the_reason(autojump_clock, traced, debug) -> None:
    async with live(
        [Model(name="model")], observers=[TracingObserver(traced.provider)], debug=debug, **MEASURED
    ) as now:
        await now.say("a")
        await trio.sleep(1)
        now.task.cancel("hung up")
    work = traced.one("model")
    assert work.attributes["trio_pipes.outcome"] == "cancelled"
    assert event(work, "cancelled") == {"reason": "hung up"}
    assert traced.times(work) == (0.5, 1)


async def test_work_whose_answer_never_came_is_cancelled_with_the_run(autojump_clock, traced) -> None:
    class Waits(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, TextFrame):
                self.metrics.start_ttfb()
            await self.push_frame(frame, direction)

    async with live([Waits("w")], observers=[TracingObserver(traced.provider)], **MEASURED) as now:
        await now.say("a")
        await trio.sleep(7)
    work = traced.one("w")
    assert work.attributes["trio_pipes.outcome"] == "cancelled"
    assert traced.times(work) == (0, 7)


class FailsAtWork(FrameProcessor):
    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            self.metrics.start_processing()
            await trio.sleep(1)
            raise OSError("gone")
        await self.push_frame(frame, direction)


@pytest.mark.parametrize("policy", ErrorPolicy)
async def test_failed_work_is_an_error_with_the_exception(autojump_clock, traced, policy, debug) -> None:
    observer = TracingObserver(traced.provider)
    task = task_of(FailsAtWork("fails"), observers=[observer], debug=debug, on_error=policy, enable_metrics=True)
    await task.queue_frame(text("a"))
    task.stop_when_done()
    try:
        await task.run()
    except* OSError:
        assert policy is ErrorPolicy.RAISE
    work, run = traced.one("fails"), traced.one("run PipelineTask")
    for span in (work, run):
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "gone")
        assert span.attributes["error.type"] == "OSError"
        assert events(span).count("exception") == 1
    assert traced.times(work) == (0, 1)


# -- handlers


async def test_a_slow_handler_is_a_span_and_quick_ones_are_not(autojump_clock, traced, debug) -> None:
    parts = [Sees(delay=0.4, name="slow#1"), Sees(delay=0.2), Sees()]
    async with live(parts, observers=[TracingObserver(traced.provider)], debug=debug) as now:
        await now.say("a", "b")
        await now.task.flush()
    assert [span.name for span in traced.spans] == ["run PipelineTask", "slow TextFrame", "slow TextFrame"]
    first, second = traced.named("slow TextFrame")
    assert (traced.times(first), traced.times(second)) == ((0, 0.4), (0.4, 0.8))
    assert first.attributes["trio_pipes.frame.type"] == "TextFrame"
    assert first.attributes["trio_pipes.frame"].startswith("TextFrame#")
    assert first.attributes["trio_pipes.direction"] == "downstream"


async def test_a_handler_is_not_slow_because_it_waits_for_room_or_for_who_runs_within_it(
    autojump_clock, traced
) -> None:
    pusher, inline, below = (
        Sees(name="pusher"),
        Sees(name="inline", delay=0.4, inline=True),
        Sees(delay=5, name="below"),
    )
    async with live([pusher, inline, below], observers=[TracingObserver(traced.provider)], queue_size=1) as now:
        await now.say(*"abcd")
        await now.task.flush()
    assert {span.name for span in traced.spans} == {"run PipelineTask", "inline TextFrame", "below TextFrame"}
    waited = [span for span in traced.named("inline TextFrame") if "trio_pipes.elsewhere" in span.attributes]
    assert waited, "how long it waited is told"


@pytest.mark.parametrize("slow", [None, 1.0])
async def test_what_is_slow_can_be_said(autojump_clock, traced, slow) -> None:
    async with live([Sees(delay=0.5)], observers=[TracingObserver(traced.provider, slow=slow)]) as now:
        await now.say("a")
        await now.task.flush()
    assert len(traced.spans) == 1


async def test_a_slow_handler_that_was_interrupted_says_so(autojump_clock, traced, debug) -> None:
    async with live([Sees(delay=5, name="s")], observers=[TracingObserver(traced.provider)], debug=debug) as now:
        await now.say("a")
        await trio.sleep(1)
        now.task.interrupt()
        await now.task.flush()
    span = traced.one("s TextFrame")
    assert traced.times(span) == (0, 1)
    assert span.attributes["trio_pipes.outcome"] == "interrupted"


async def test_handling_of_chosen_frames_is_a_span_and_the_parent_of_ones_own(autojump_clock, traced, debug) -> None:
    observer = TracingObserver(traced.provider, types=(TextFrame,))
    async with live([Sees(name="s"), Asks(traced)], observers=[observer], debug=debug) as now:
        await now.say("x")
        await now.task.flush()
    assert traced.tree() == {
        "run PipelineTask": None,
        "s TextFrame": "run PipelineTask",
        "asks TextFrame": "run PipelineTask",
        "asks x": "asks TextFrame",
    }


async def test_handling_of_chosen_frames_that_fails_is_an_error(autojump_clock, traced, debug) -> None:
    observer = TracingObserver(traced.provider, types=(TextFrame,))
    task = task_of(FailsAtWork("fails"), observers=[observer], debug=debug)
    await task.queue_frame(text("a"))
    with pytest.raises(ExceptionGroup):
        await task.run()
    span = traced.one("fails TextFrame")
    assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.ERROR, "OSError")


async def test_every_kind_of_processor_has_the_runs_span_as_the_current_one(autojump_clock, traced) -> None:
    seen: dict[str, list[str]] = {}

    def look(where: str) -> None:
        seen.setdefault(where, []).append(getattr(trace.get_current_span(), "name", "none"))

    @each
    def function(frame: TextFrame) -> TextFrame:
        look("function")
        return frame

    @each(concurrency=2)
    async def concurrent(frame: TextFrame) -> TextFrame:
        look("concurrent")
        await trio.sleep(1)
        look("concurrent")
        return frame

    @each
    async def generator(frame: TextFrame):
        look("generator")
        yield frame
        look("generator")
        yield text("more")

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        look("block's set-up")
        async for frame in frames:
            look("block")
            await out.push(frame)
        look("block's end")

    class Class(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            look("lifespan")
            yield
            look("lifespan's end")

        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            look("class")
            await self.push_frame(frame, direction)

    parts = [function, concurrent, generator, block, Class(), Class(inline=True), function]
    async with live(parts, observers=[TracingObserver(traced.provider)]) as now:
        await now.say("a", "b")
        await now.task.flush()
    assert set(seen) == {"function", "concurrent", "generator", "block", "block's set-up", "block's end", "class",
                         "lifespan", "lifespan's end"}  # fmt: skip
    assert {name for names in seen.values() for name in names} == {"run PipelineTask"}


async def test_the_task_that_called_run_has_its_own_current_span_again(autojump_clock, traced) -> None:
    for end in ("stop_when_done", "cancel"):
        task = task_of(Sees(), observers=[TracingObserver(traced.provider)])
        getattr(task, end)() if end == "stop_when_done" else None
        with trio.CancelScope() as scope:
            scope.deadline = trio.current_time() + 5 if end == "cancel" else float("inf")
            await task.run()
        assert trace.get_current_span() is trace.INVALID_SPAN


async def test_without_handlers_and_turns_nothing_is_in_a_frames_way(autojump_clock, traced) -> None:
    part = Model(name="model")
    observer = TracingObserver(traced.provider, handlers=False, turns=False)
    async with live([part], observers=[observer], **MEASURED) as now:
        assert part._node.engine.observed is None
        await now.say("a")
        await now.task.flush()
    assert traced.tree() == {"run PipelineTask": None, "model": "run PipelineTask"}


# -- turns


async def test_turns_are_spans_in_the_run_and_the_work_is_in_them(autojump_clock, traced) -> None:
    stage = Stage(Model(traced, name="model"), observers=[TracingObserver(traced.provider)], **MEASURED)
    async with stage.running():
        for _ in range(2):
            await trio.sleep(1)
            await stage.user_speaks(2)
            await stage.push("user", text("x"))
            await trio.sleep(3)
            await stage.bot_speaks(4)
    turns, works, run = traced.named("turn"), traced.named("model"), traced.one("run PipelineTask")
    assert [traced.times(it) for it in turns] == [(1, 10), (11, 20)]
    assert [traced.parent_of(it) for it in turns] == [run, run]
    assert [traced.parent_of(it) for it in works] == turns
    assert [traced.parent_of(it) for it in traced.named("inside the model")] == works
    assert [it.attributes["trio_pipes.turn.number"] for it in turns] == [1, 2]
    assert [it.attributes["trio_pipes.turn.ended_by"] for it in turns] == ["user", "end"]
    assert {it.attributes["trio_pipes.turn.started_by"] for it in turns} == {"user"}
    assert {it.attributes["trio_pipes.turn.interrupted"] for it in turns} == {False}
    assert [it.attributes["trio_pipes.user_bot.latency"] for it in turns] == [3, 3]
    assert "first sound" in events(turns[0])
    assert "trio_pipes.outcome" not in turns[0].attributes


async def test_an_interrupted_turn_says_so_and_the_next_has_a_link_to_it(autojump_clock, traced) -> None:
    stage = Stage(observers=[TracingObserver(traced.provider)])
    async with stage.running():
        await stage.user_speaks(1)
        await stage.bot_starts()
        await trio.sleep(2)
        stage.task.interrupt()
        await stage.bot_stops(interrupted=True)
        await stage.user_speaks(1)
        await stage.bot_speaks(1)
        await stage.user_speaks(1)
    first, second, third = traced.named("turn")
    assert first.attributes["trio_pipes.turn.interrupted"] is True
    assert first.attributes["trio_pipes.outcome"] == "interrupted"
    assert [it for it in events(first) if "interrupt" in it] == ["interrupt", "interrupted"]
    (link,) = second.links
    assert link.context.span_id == first.context.span_id
    assert dict(link.attributes) == {"trio_pipes.link": "interrupts"}
    assert list(third.links) == []


async def test_a_turn_that_the_bot_ended_ends_with_its_last_sound(autojump_clock, traced) -> None:
    stage = Stage(observers=[TracingObserver(traced.provider)])
    async with stage.running():
        await stage.user_speaks(1)
        await stage.bot_speaks(1)
        await trio.sleep(60)
        with traced.tracer.start_as_current_span("outside"):
            await stage.user_speaks(1)
    first, second = traced.named("turn")
    assert traced.times(first) == (0, 2)
    assert first.attributes["trio_pipes.turn.ended_by"] == "timeout"
    assert traced.times(second) == (62, 63)


@pytest.mark.parametrize(("how", "outcome"), [("cancel", "cancelled"), ("stop_when_done", None)])
async def test_a_turn_that_the_end_of_the_run_ends_says_how(autojump_clock, traced, how, outcome) -> None:
    stage = Stage(observers=[TracingObserver(traced.provider)])
    async with stage.running(how):
        await stage.user_speaks(1)
    turn = traced.one("turn")
    assert turn.attributes["trio_pipes.turn.ended_by"] == "end"
    assert turn.attributes.get("trio_pipes.outcome") == outcome


async def test_a_turn_in_which_the_run_failed_is_an_error(autojump_clock, traced) -> None:
    stage = Stage(FailsAtWork("fails"), observers=[TracingObserver(traced.provider)])
    with pytest.raises(ExceptionGroup):
        async with stage.running():
            await stage.user_speaks(1)
            await stage.push("user", text("x"))
            await trio.sleep(10)
    turn = traced.one("turn")
    assert (turn.status.status_code, turn.attributes["error.type"]) == (StatusCode.ERROR, "OSError")


async def test_an_error_that_was_reported_is_in_its_turn(autojump_clock, traced) -> None:
    stage = Stage(
        FailsAtWork("fails"), observers=[TracingObserver(traced.provider)], on_error=ErrorPolicy.REPORT, **MEASURED
    )
    async with stage.running():
        await stage.user_speaks(1)
        await stage.push("user", text("x"))
        await trio.sleep(2)
        await stage.bot_speaks(1)
    turn, run = traced.one("turn"), traced.one("run PipelineTask")
    assert (turn.status.status_code, run.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
    assert traced.parent_of(traced.one("fails")) is turn


async def test_the_bot_may_begin_the_first_turn(autojump_clock, traced) -> None:
    stage = Stage(observers=[TracingObserver(traced.provider)])
    async with stage.running():
        await trio.sleep(1)
        await stage.bot_speaks(2)
    turn = traced.one("turn")
    assert turn.attributes["trio_pipes.turn.started_by"] == "bot"
    assert "trio_pipes.user_bot.latency" not in turn.attributes


async def test_turns_can_be_left_out(autojump_clock, traced) -> None:
    stage = Stage(Model(name="model"), observers=[TracingObserver(traced.provider, turns=False)], **MEASURED)
    async with stage.running():
        await stage.user_speaks(1)
        await stage.push("user", text("x"))
    assert traced.tree() == {"run PipelineTask": None, "model": "run PipelineTask"}


async def test_ones_own_observers_of_turns_and_latency_go_beside_it(autojump_clock, traced) -> None:
    turns, latency = TurnTrackingObserver(), UserBotLatencyObserver()
    stage = Stage(observers=[TracingObserver(traced.provider), turns, latency])
    async with stage.running():
        await stage.user_speaks(1)
        await stage.bot_speaks(1)
    assert len(turns.turns) == len(latency.latencies) == len(traced.named("turn")) == 1


# -- what else happens


async def test_what_happens_to_the_run_is_an_event(autojump_clock, traced) -> None:
    class Breaks(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, TextFrame):
                self.interrupt()
                self.set_unusable("broken")
                self.set_usable()
            await self.push_frame(frame, direction)

    settings = {"idle_timeout": 5.0, "cancel_on_idle_timeout": False}
    async with live([Breaks("b")], observers=[TracingObserver(traced.provider)], **settings) as now:
        await now.say("a")
        await trio.sleep(6)
    run = traced.one("run PipelineTask")
    assert [it for it in events(run) if it != "exception"] == ["interrupt refused", "unusable", "usable", "idle"]
    assert event(run, "unusable") == {"trio_pipes.processor": "b"}


# -- memory, cancels, and what it does not hold


async def test_an_observer_keeps_nothing_of_a_run_that_is_over(autojump_clock, traced) -> None:
    observer = TracingObserver(traced.provider)
    seen = []
    for end in ("stop_when_done", "cancel"):
        async with live([Model(name="model")], observers=[observer], **MEASURED) as now:
            await now.say("a")
            await trio.sleep(1)
            getattr(now.task, end)()
        seen.append(weakref.ref(now.task))
        del now
    gc.collect()
    assert [it() for it in seen] == [None, None]


# The handler is told to nobody any more; it had kept its processor, and with it the whole session, in a table of the module's.
@pytest.mark.parametrize("types", [(), TextFrame], ids=["unseen", "a span"])
async def test_nothing_is_kept_of_a_run_from_which_it_was_removed_in_the_midst_of_a_handler(
    autojump_clock, traced, types
) -> None:
    observer = TracingObserver(traced.provider, types=types)
    async with live([Model()], observers=[observer]) as now:
        await now.say("a")
        await trio.sleep(1)
        now.task.remove_observer(observer)
    seen = weakref.ref(now.task)
    assert traced.open == 0
    del now
    gc.collect()
    assert seen() is None


# A call that is answered by another one, and so on: what the handler's context has is inherited by all that it starts.
async def test_a_worker_that_a_handler_has_started_does_not_keep_it(autojump_clock, traced) -> None:
    class Starts(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, TextFrame):
                runner.add_workers(task_of(Starts(), observers=[observer], name=f"call {frame.text}"))
            await self.push_frame(frame, direction)

    observer = TracingObserver(traced.provider)
    runner = PipelineRunner(handle_sigint=False)
    seen = []
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: runner.run(auto_end=False, task_status=task_status))
        runner.add_workers(task_of(Starts(), observers=[observer], name="call 0"))
        for number in range(3):
            call = runner.get_worker(f"call {number}")
            await call.queue_frame(text(str(number + 1)))
            await call.flush()
            call.stop_when_done()
            await call.wait_finished()
            seen.append(weakref.ref(call))
            del call
            await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        assert [it() for it in seen] == [None, None, None]
        runner.cancel()


async def test_one_that_is_removed_ends_the_spans_of_the_run_all_the_same(autojump_clock, traced) -> None:
    observer = TracingObserver(traced.provider)
    before = trace.get_current_span()
    async with live([Model(name="model")], observers=[observer], **MEASURED) as now:
        await now.say("a")
        await trio.sleep(1)
        now.task.remove_observer(observer)
        await now.say("b")
    assert traced.open == 0
    assert traced.one("run PipelineTask").attributes["trio_pipes.state"] == "ended"
    assert trace.get_current_span() is before
    assert "0 running" in repr(observer)


async def test_one_that_has_raised_ends_the_spans_of_the_run_all_the_same(autojump_clock, traced) -> None:
    def name_of(name: str) -> str:
        return {"PipelineTask": "x"}[name.partition("#")[0]]

    async with live(
        [Model(name="model")], observers=[TracingObserver(traced.provider, name_of=name_of)], **MEASURED
    ) as now:
        await now.say("a")
    assert [type(error) for error in now.task.statistics().observer_errors] == [KeyError]
    assert (traced.open, len(traced.named("run x"))) == (0, 1)


@pytest.mark.parametrize("answer", [None, "", 3])
async def test_a_name_that_is_none_is_an_error_that_says_so(autojump_clock, traced, answer) -> None:
    observer = TracingObserver(traced.provider, name_of=lambda name: answer)
    async with live([Sees()], observers=[observer]) as now:
        pass
    (error,) = now.task.statistics().observer_errors
    assert str(error).startswith(f"name_of gave {answer!r} for 'PipelineTask#")


async def test_half_a_character_in_a_name_is_told_as_text_that_can_be_sent(autojump_clock, traced) -> None:
    async with live([Model(name="a\ud800")], observers=[TracingObserver(traced.provider)], **MEASURED) as now:
        await now.say("x")
    assert traced.one("a\\ud800").attributes["trio_pipes.processor"] == "a\\ud800"


async def test_one_that_is_added_later_traces_from_then_on(autojump_clock, traced) -> None:
    async with live([Model(name="model")], **MEASURED) as now:
        await now.say("before")
        await trio.sleep(1)
        now.task.add_observer(TracingObserver(traced.provider))
        await now.say("after")
        await now.task.flush()
    assert len(traced.named("model")) == 1
    assert traced.parent_of(traced.one("model")).name == "run PipelineTask"


@pytest.mark.parametrize("by", ["the task", "a scope"])
async def test_cancelled_at_every_checkpoint_every_span_is_ended_and_none_is_current(autojump_clock, by) -> None:
    async def scenario(attempt: Attempt) -> None:
        traced = Traces()
        observer = TracingObserver(traced.provider, types=(TextFrame,))
        stage = Stage(Model(traced, name="m"), Sees(delay=1), observers=[observer], **MEASURED)
        attempt.afterwards(lambda: (traced.open, repr(observer)) == (0, "<TracingObserver of 0 running tasks>"))
        attempt.afterwards(lambda: trace.get_current_span() is trace.INVALID_SPAN)
        if by == "the task":
            attempt.arm(stage.task.cancel)
        try:
            async with stage.running():
                await stage.user_speaks(1)
                await stage.push("user", *said("a", "b"))
                await trio.sleep(10)
                await stage.bot_speaks(1)
        except* trio.BrokenResourceError:
            assert by == "the task", "who queues is told"

    assert await cancel_at_every_checkpoint(scenario) > 10


async def test_nothing_is_left_of_a_traced_run(autojump_clock, traced) -> None:
    async with nothing_left():
        async with live([Model(name="model")], observers=[TracingObserver(traced.provider)], **MEASURED) as now:
            await now.say("a")


# -- bad input

BAD = [
    ("tracer_provider", 12),
    ("tracer_provider", TracerProvider),
    ("parent", "00-trace"),
    ("parent", {}),
    ("handlers", 1),
    ("turns", None),
    ("types", [TextFrame]),
    ("types", (int,)),
    ("slow", -1),
    ("slow", "0.1"),
    ("slow", float("inf")),
    ("attributes", ["a"]),
    ("attributes", {"": 1}),
    ("attributes", {"a": "\ud800"}),
    ("attributes", {"\ud800": 1}),
    ("attributes", {"a": 2**63}),
    ("attributes", {1: 1}),
    ("attributes", {"a": None}),
    ("attributes", {"a": [1, "b"]}),
    ("name_of", "name"),
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=str)
def test_bad_values_are_refused_with_what_was_expected(traced, name, value) -> None:
    given = {"tracer_provider": traced.provider} | {name: value}
    with pytest.raises(ConfigurationError, match=rf"^TracingObserver\({name}=.*: expected "):
        TracingObserver(**given)
