"""P5: what tasks do and what processors measure, as metrics of OpenTelemetry, and as Prometheus reads them."""

from __future__ import annotations

import gc
import re
import weakref
from contextlib import asynccontextmanager

import pytest
import trio
from opentelemetry import metrics as api

from flow_kit import DOWN, UP, Sees, live, text
from hosting import task_of
from observers_kit import Stage
from otel_kit import MEASURED, Metrics
from trio_pipes import (
    ConfigurationError,
    Direction,
    ErrorPolicy,
    Frame,
    FrameProcessor,
    LLMTokenUsage,
    PipelineRunner,
    TextFrame,
    each,
)
from trio_pipes.observers import MetricsObserver, PrometheusText
from trio_pipes.testing import Attempt, cancel_at_every_checkpoint


@pytest.fixture
def told() -> Metrics:
    return Metrics()


class Model(FrameProcessor):
    """A second to the first byte, two for the whole."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if direction is DOWN and isinstance(frame, TextFrame):
            self.metrics.model = "tiny-1"
            self.metrics.start_ttfb()
            self.metrics.start_processing()
            await trio.sleep(1)
            await self.metrics.stop_ttfb()
            await trio.sleep(1)
            await self.metrics.stop_processing()
            await self.metrics.llm_usage(LLMTokenUsage(10, 5))
            await self.metrics.tts_usage(frame.text)
            await self.metrics.stt_usage(0.5)
        await self.push_frame(frame, direction)


# -- what processors measure


async def test_what_processors_measure_is_told_by_processor_and_model(autojump_clock, told, debug) -> None:
    parts = [Model("model#7"), Model("other")]
    async with live(parts, observers=[MetricsObserver(told.provider)], debug=debug, **MEASURED) as now:
        await now.say("hello", "you")
        await now.task.flush()
    of_model = {"trio_pipes__processor": "model", "gen_ai__request__model": "tiny-1"}
    assert told.value("trio_pipes.ttfb", **of_model) == (2, 2.0)
    assert told.value("trio_pipes.processing", **of_model) == (2, 4.0)
    assert told.value("trio_pipes.characters", **of_model) == 8
    assert told.value("trio_pipes.audio", **of_model) == 1.0
    of_tokens = {"gen_ai__operation__name": "chat", **of_model}
    assert told.value("gen_ai.client.token.usage", gen_ai__token__type="input", **of_tokens) == (2, 20)
    assert told.value("gen_ai.client.token.usage", gen_ai__token__type="output", **of_tokens) == (2, 10)
    assert told.value("trio_pipes.ttfb", trio_pipes__processor="other") == (2, 2.0)


async def test_the_zeros_of_the_first_frame_are_no_measurements(autojump_clock, told) -> None:
    class Will(Model):
        measures = True

    async with live([Will()], observers=[MetricsObserver(told.provider)], **MEASURED) as now:
        await now.task.flush()
    assert not {"trio_pipes.ttfb", "trio_pipes.processing"} & told.names()


# -- frames


async def test_frames_are_counted_at_each_processor_by_direction(autojump_clock, told, debug) -> None:
    @each
    def doubles(frame: TextFrame) -> list[TextFrame]:
        return [frame, text("again")]

    observer = MetricsObserver(told.provider)
    async with live([Sees(name="first"), doubles, Sees(name="last")], observers=[observer], debug=debug) as now:
        await now.say("a", "b", "c")
        await now.task.flush()
        await now.task.queue_frame(text("up"), UP)
    down = {"trio_pipes__direction": "downstream"}
    assert told.value("trio_pipes.frames.pushed", trio_pipes__processor="first", **down) == 3
    assert told.value("trio_pipes.frames.pushed", trio_pipes__processor="doubles", **down) == 6
    assert told.value("trio_pipes.frames.pushed", trio_pipes__processor="last", **down) == 6
    lifecycle = 2  # StartFrame and EndFrame are handled, and carried rather than pushed
    assert told.value("trio_pipes.frames.handled", trio_pipes__processor="last", **down) == 6 + lifecycle
    assert told.value("trio_pipes.frames.handled", trio_pipes__processor="first", trio_pipes__direction="upstream") == 1
    assert "trio_pipes.frames.stopped" not in told.names()


async def test_handlers_that_were_stopped_are_counted_and_their_time_is(autojump_clock, told, debug) -> None:
    observer = MetricsObserver(told.provider, handler_durations=True)
    async with live([Sees(delay=4, name="slow")], observers=[observer], debug=debug) as now:
        await now.say("a")
        await now.task.flush()
        await now.say("cut off")
        await trio.sleep(1)
        now.task.interrupt()
    of_slow = {"trio_pipes__processor": "slow", "trio_pipes__direction": "downstream"}
    assert told.value("trio_pipes.frames.stopped", **of_slow) == 1
    assert told.value("trio_pipes.handler.time", **of_slow) == 5.0
    assert told.value("trio_pipes.handler.duration", **of_slow)[1] == 5.0


async def test_single_durations_of_handlers_are_told_only_where_that_is_asked_for(autojump_clock, told) -> None:
    async with live([Sees(delay=4)], observers=[MetricsObserver(told.provider)]) as now:
        await now.say("a")
    assert "trio_pipes.handler.duration" not in told.names()


async def test_waits_for_room_are_told_by_who_waited(autojump_clock, told) -> None:
    parts = [Sees(name="pusher"), Sees(name="slow", delay=10)]
    async with live(parts, observers=[MetricsObserver(told.provider)], queue_size=1) as now:
        await now.say("a", "b", "c")
        await now.task.flush()
    waits, seconds = told.value("trio_pipes.room.wait", trio_pipes__processor="pusher")
    assert waits >= 1
    assert seconds >= 9


async def test_without_frames_and_turns_nothing_is_in_a_frames_way(autojump_clock, told) -> None:
    part = Model("model")
    async with live([part], observers=[MetricsObserver(told.provider, frames=False, turns=False)], **MEASURED) as now:
        assert part._node.engine.observed is None
        await now.say("a")
        await now.task.flush()
    assert told.value("trio_pipes.ttfb", trio_pipes__processor="model") == (1, 1.0)
    assert not {name for name in told.names() if "frames" in name or "handler" in name}


async def test_many_tasks_of_one_kind_are_one_series(autojump_clock, told) -> None:
    for _ in range(3):
        async with live([Sees()], observers=[MetricsObserver(told.provider)]) as now:
            await now.say("a")
    assert told.value("trio_pipes.frames.pushed", trio_pipes__processor="Sees", trio_pipes__direction="downstream") == 3


async def test_names_and_attributes_can_be_chosen(autojump_clock, told) -> None:
    observer = MetricsObserver(told.provider, name_of=lambda name: "all", attributes={"tenant": "acme"})
    async with live([Model(), Sees()], observers=[observer], **MEASURED) as now:
        await now.say("a")
        await now.task.flush()
        depths = told.points("trio_pipes.queue.depth")
    assert told.value("trio_pipes.ttfb", trio_pipes__processor="all", tenant="acme") == (1, 1.0)
    assert {point.attributes["tenant"] for point in depths} == {"acme"}
    assert {dict(point.attributes).get("trio_pipes.processor") for point in depths} == {"all", None}


# -- runs


async def test_runs_are_told_by_the_state_they_ended_in(autojump_clock, told) -> None:
    observer = MetricsObserver(told.provider)
    async with live([Sees()], observers=[observer]):
        await trio.sleep(10)
        assert told.value("trio_pipes.runs.active") == 1
    async with live([Sees()], observers=[observer]) as now:
        await trio.sleep(5)
        now.task.cancel()
    never = task_of(Sees(), observers=[observer])
    never.cancel()
    assert told.value("trio_pipes.run.duration", trio_pipes__state="ended") == (1, 10.0)
    assert told.value("trio_pipes.run.duration", trio_pipes__state="cancelled") == (2, 5.0)
    assert told.points("trio_pipes.runs.active") == []


async def test_set_up_is_told(autojump_clock, told) -> None:
    class Loads(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            await trio.sleep(1.5)
            yield

    async with live([Loads()], observers=[MetricsObserver(told.provider)]):
        pass
    assert told.value("trio_pipes.set_up.duration", trio_pipes__processor="Loads") == (1, 1.5)


@pytest.mark.parametrize("policy", ErrorPolicy)
async def test_errors_are_told_by_processor_and_type(autojump_clock, told, policy) -> None:
    @each
    def fails(frame: TextFrame) -> None:
        raise trio.TooSlowError

    task = task_of(fails, observers=[MetricsObserver(told.provider)], on_error=policy)
    await task.queue_frame(text("a"))
    task.stop_when_done()
    try:
        await task.run()
    except* trio.TooSlowError:
        assert policy is ErrorPolicy.RAISE
    point = told.value(
        "trio_pipes.errors",
        trio_pipes__processor="fails",
        error__type="trio.TooSlowError",
        trio_pipes__fatal=policy is ErrorPolicy.RAISE,
    )
    assert point == 1


async def test_an_error_without_an_exception_has_a_type_too(autojump_clock, told) -> None:
    class Complains(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, TextFrame):
                await self.push_error("hm")
            await self.push_frame(frame, direction)

    async with live([Complains()], observers=[MetricsObserver(told.provider)]) as now:
        await now.say("a")
    assert told.value("trio_pipes.errors", error__type="_OTHER") == 1


async def test_interrupts_are_told_and_those_that_were_refused(autojump_clock, told) -> None:
    class Interrupts(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, TextFrame):
                self.interrupt()
            await self.push_frame(frame, direction)

    async with live([Interrupts()], observers=[MetricsObserver(told.provider)]) as now:
        await now.say("a", "b")
        await now.task.flush()
        now.task.interrupt()
    assert told.value("trio_pipes.interrupts", trio_pipes__refused=True) == 2
    assert told.value("trio_pipes.interrupts", trio_pipes__refused=False) == 1


async def test_lost_heartbeats_are_told(autojump_clock, told) -> None:
    settings = {"enable_heartbeats": True, "heartbeat_timeout": 2.0}
    async with live([Sees(delay=10)], observers=[MetricsObserver(told.provider)], **settings) as now:
        await now.say("a")
        await trio.sleep(9)
    assert told.value("trio_pipes.heartbeats.lost") == 1


async def test_how_many_frames_wait_is_read_when_somebody_looks(autojump_clock, told) -> None:
    async with live([Sees(name="slow", delay=10)], observers=[MetricsObserver(told.provider)]) as now:
        await now.say(*"abcde")
        await trio.sleep(1)
        of_slow = {"trio_pipes__processor": "slow"}
        assert told.value("trio_pipes.queue.depth", trio_pipes__lane="downstream", **of_slow) == 4
        assert told.value("trio_pipes.queue.depth", trio_pipes__lane="upstream", **of_slow) == 0
        assert told.value("trio_pipes.queue.depth", trio_pipes__lane="urgent", **of_slow) == 0
        assert told.value("trio_pipes.queue.depth", trio_pipes__lane="entrance") == 0
        await now.task.flush()
        assert told.value("trio_pipes.queue.depth", trio_pipes__lane="downstream", **of_slow) == 0
    assert told.points("trio_pipes.queue.depth") == []


async def test_depths_of_tasks_of_one_kind_are_summed(autojump_clock, told) -> None:
    observer = MetricsObserver(told.provider)
    tasks = [task_of(Sees(delay=10), observers=[observer]) for _ in range(3)]
    for task in tasks:
        for content in "abcde":
            await task.queue_frame(text(content))
        task.stop_when_done()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(PipelineRunner(*tasks, handle_sigint=False).run)
        await trio.sleep(1)
        waiting = 3 * 5  # four frames each, and the end
        assert told.value("trio_pipes.queue.depth", trio_pipes__lane="downstream") == waiting
        assert told.value("trio_pipes.runs.active") == 3


# The SDK's periodic reader calls from a thread of its own.
async def test_figures_may_be_read_in_any_thread_while_it_runs(told) -> None:
    done = 0

    def read() -> None:
        for _ in range(50):
            told.reader.get_metrics_data()

    async with live([Sees(), Sees()], observers=[MetricsObserver(told.provider)]) as now:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, read)
            while not done or len(nursery.child_tasks):
                await now.say(*"abcdefgh")
                done += 8
        await now.task.flush()
        sees = {"trio_pipes__processor": "Sees", "trio_pipes__direction": "downstream"}
        assert told.value("trio_pipes.frames.pushed", **sees) == 2 * done


# -- turns


async def test_turns_and_latencies_are_told(autojump_clock, told) -> None:
    stage = Stage(observers=[MetricsObserver(told.provider)])
    async with stage.running():
        await stage.user_speaks(1)
        await trio.sleep(0.7)
        await stage.bot_speaks(2)
        await stage.user_speaks(1)
        await trio.sleep(0.5)
        await stage.bot_starts()
        await trio.sleep(1)
        await stage.bot_stops(interrupted=True)
        await stage.user_speaks(1)
    assert told.value("trio_pipes.user_bot.latency") == (2, 1.2)
    assert told.value("trio_pipes.turn.duration", trio_pipes__interrupted=True) == (1, 2.5)
    assert told.value("trio_pipes.turn.duration", trio_pipes__interrupted=False) == (2, 4.7)


async def test_turns_can_be_left_out(autojump_clock, told) -> None:
    stage = Stage(observers=[MetricsObserver(told.provider, turns=False)])
    async with stage.running():
        await stage.user_speaks(1)
        await stage.bot_speaks(1)
    assert not {"trio_pipes.user_bot.latency", "trio_pipes.turn.duration"} & told.names()


# -- providers


async def test_two_providers_know_nothing_of_each_other(autojump_clock, told) -> None:
    other = Metrics()
    async with live([Model()], observers=[MetricsObserver(told.provider)], **MEASURED) as now:
        await now.say("a")
    async with live([Model()], observers=[MetricsObserver(other.provider)], **MEASURED) as now:
        await now.say("a", "b")
    assert told.value("trio_pipes.ttfb")[0] == 1
    assert other.value("trio_pipes.ttfb")[0] == 2


async def test_without_a_provider_the_global_one_is_used(autojump_clock, told, monkeypatch) -> None:
    monkeypatch.setattr(api, "get_meter_provider", lambda: told.provider)
    async with live([Model()], observers=[MetricsObserver()], **MEASURED) as now:
        await now.say("a")
    assert told.value("trio_pipes.ttfb") == (1, 1.0)


def test_an_observer_can_be_made_where_nobody_reads() -> None:
    MetricsObserver(api.NoOpMeterProvider())


# With one observer for each call, what is kept must not grow with the calls.
async def test_nothing_is_kept_of_tasks_that_are_over(autojump_clock, told) -> None:
    observer = MetricsObserver(told.provider)
    seen = []
    for end in ("stop_when_done", "cancel"):
        async with live([Model()], observers=[observer], **MEASURED) as now:
            await now.say("a")
            await trio.sleep(1)
            getattr(now.task, end)()
        seen.append(weakref.ref(now.task))
        del now
    gc.collect()
    assert [it() for it in seen] == [None, None]


async def test_observers_of_one_provider_share_their_instruments(autojump_clock, told) -> None:
    instruments = {id(MetricsObserver(told.provider)._to) for _ in range(5)}
    assert len(instruments) == 1
    assert id(MetricsObserver(Metrics().provider)._to) not in instruments


async def test_an_observer_that_was_removed_is_not_seen_to_run_for_ever(autojump_clock, told) -> None:
    observer = MetricsObserver(told.provider)
    async with live([Sees()], observers=[observer]) as now:
        now.task.remove_observer(observer)
    assert told.points("trio_pipes.runs.active") == []
    async with live([Sees()], observers=[observer]):
        assert "1 running" in repr(observer)


async def test_nothing_is_kept_of_a_run_from_which_it_was_removed(autojump_clock, told) -> None:
    observer = MetricsObserver(told.provider)
    async with live([Model()], observers=[observer], **MEASURED) as now:
        await now.say("a")
        await trio.sleep(1)
        now.task.remove_observer(observer)
    seen = weakref.ref(now.task)
    del now
    gc.collect()
    assert seen() is None
    assert "0 running" in repr(observer)
    assert not observer._to._live


async def test_one_that_is_added_later_tells_from_then_on(autojump_clock, told) -> None:
    async with live([Sees()]) as now:
        await now.say("before")
        await now.task.flush()
        now.task.add_observer(MetricsObserver(told.provider))
        await now.say("after")
        await trio.sleep(3)
        assert told.value("trio_pipes.runs.active") == 1
    pushed = told.value("trio_pipes.frames.pushed", trio_pipes__direction="downstream")
    assert pushed == 1
    assert told.value("trio_pipes.run.duration", trio_pipes__state="ended") == (1, 3.0)


async def test_cancelled_at_every_checkpoint_each_run_is_told_once(autojump_clock) -> None:
    async def scenario(attempt: Attempt) -> None:
        told = Metrics()
        observer = MetricsObserver(told.provider)
        task = task_of(Model(), Sees(delay=1), observers=[observer], **MEASURED)
        attempt.afterwards(lambda: sum(point.count for point in told.points("trio_pipes.run.duration")) == 1)
        attempt.afterwards(lambda: "0 running" in repr(observer))
        attempt.arm(task.cancel)
        await task.queue_frame(text("a"))
        task.stop_when_done()
        await task.run()

    assert await cancel_at_every_checkpoint(scenario) > 10


# -- as Prometheus reads them


def figures(page: str) -> dict[str, float]:
    """The lines of the text that are no comments: name with labels, and value."""
    lines = [line.rpartition(" ") for line in page.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


async def test_prometheus_reads_the_same_figures(autojump_clock) -> None:
    from opentelemetry.sdk.metrics import MeterProvider

    prometheus = PrometheusText()
    provider = MeterProvider(metric_readers=[prometheus.reader], shutdown_on_exit=False)
    stage = Stage(Model("model"), observers=[MetricsObserver(provider)], **MEASURED)
    async with stage.running():
        await stage.user_speaks(1)
        await stage.push("user", text("hello"))
        await trio.sleep(2)
        await stage.bot_speaks(1)
        page = figures(prometheus.render())
    of_model = 'gen_ai_request_model="tiny-1",trio_pipes_processor="model"'
    assert page[f"trio_pipes_ttfb_seconds_sum{{{of_model}}}"] == 1.0
    assert (
        page[
            f'trio_pipes_ttfb_seconds_bucket{{{of_model.split(",", maxsplit=1)[0]},le="1.0",trio_pipes_processor="model"}}'
        ]
        == 1
    )
    assert page[f"trio_pipes_characters_total{{{of_model}}}"] == 5
    assert page["trio_pipes_runs_active"] == 1
    assert page['trio_pipes_queue_depth{trio_pipes_lane="downstream",trio_pipes_processor="model"}'] == 0
    assert [it for it in page if it.startswith("trio_pipes_frames_pushed_total{")]
    assert prometheus.content_type.startswith("text/plain")
    assert not re.search(r"otel_scope|target_info", prometheus.render())
    provider.shutdown()


async def test_a_prefix_goes_in_front_of_prometheus_names(autojump_clock) -> None:
    from opentelemetry.sdk.metrics import MeterProvider

    prometheus = PrometheusText(prefix="acme")
    provider = MeterProvider(metric_readers=[prometheus.reader], shutdown_on_exit=False)
    async with live([Sees()], observers=[MetricsObserver(provider)]):
        assert "acme_trio_pipes_runs_active 1" in prometheus.render()
    provider.shutdown()


# -- bad input

BAD = [
    ("meter_provider", 12),
    ("frames", 1),
    ("turns", "yes"),
    ("handler_durations", None),
    ("attributes", [("a", 1)]),
    ("attributes", {"a": None}),
    ("name_of", None),
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=str)
def test_bad_values_are_refused_with_what_was_expected(told, name, value) -> None:
    given = {"meter_provider": told.provider} | {name: value}
    with pytest.raises(ConfigurationError, match=rf"^MetricsObserver\({name}=.*: expected "):
        MetricsObserver(**given)


@pytest.mark.parametrize("prefix", [None, 12, "1st", "a b", "acme-"], ids=str)
def test_a_prefix_that_prometheus_refuses_is_refused(prefix) -> None:
    with pytest.raises(ConfigurationError, match=r"^PrometheusText\(prefix=.*: expected "):
        PrometheusText(prefix=prefix)
