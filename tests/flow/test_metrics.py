"""T7: what processors measure, and who is told of it."""

import attrs
import pytest
import trio

from flow_kit import DOWN, UP, Sees, live, text
from trio_pipes import (
    ConfigurationError,
    Direction,
    Frame,
    FrameProcessor,
    Frames,
    LLMTokenUsage,
    LLMUsageMetrics,
    MetricsData,
    MetricsFrame,
    Out,
    ProcessingMetrics,
    STTUsageMetrics,
    SystemFrame,
    TextFrame,
    TTFBMetrics,
    TTSUsageMetrics,
    processor,
)


@pytest.fixture(params=[False, True], ids=["fused", "debug"])
def debug(request):
    return request.param


class Model(FrameProcessor):
    """Thinks for a second over each text, and for another one when it has begun to answer."""

    measures = True

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if direction is DOWN and isinstance(frame, TextFrame):
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


def records(frames: list[Frame]) -> list[MetricsData]:
    return [record for frame in frames if isinstance(frame, MetricsFrame) for record in frame.data]


async def measured(part: object, *contents: str, **settings: object) -> list[MetricsData]:
    async with live([part, Sees()], send_initial_empty_metrics=False, **settings) as now:
        await now.say(*contents)
        await now.task.flush()
    return records(now.down)


async def test_t7_durations_are_told_in_seconds_with_the_processors_name(autojump_clock, debug):
    model = Model("model")
    assert await measured(model, "a", enable_metrics=True, debug=debug) == [
        TTFBMetrics("model", 1.0),
        ProcessingMetrics("model", 2.0),
    ]


async def test_t7_usage_is_told_apart(autojump_clock, debug):
    assert await measured(Model("model"), "hello", enable_usage_metrics=True, debug=debug) == [
        LLMUsageMetrics("model", LLMTokenUsage(10, 5, 15)),
        TTSUsageMetrics("model", 5),
        STTUsageMetrics("model", 0.5),
    ]


async def test_t7_nothing_is_told_unless_it_is_asked_for(autojump_clock, debug):
    assert await measured(Model(), "a", debug=debug) == []


async def test_t7_only_the_first_time_to_first_byte_of_a_run(autojump_clock, debug):
    model = Model("model")
    for _ in range(2):  # the second run begins anew
        told = await measured(model, "a", "b", enable_metrics=True, report_only_initial_ttfb=True, debug=debug)
        assert [type(record) for record in told] == [TTFBMetrics, ProcessingMetrics, ProcessingMetrics]


async def test_t7_all_of_them_otherwise(autojump_clock, debug):
    told = await measured(Model(), "a", "b", enable_metrics=True, debug=debug)
    assert [type(record) for record in told] == [TTFBMetrics, ProcessingMetrics] * 2


async def test_t7_the_first_frame_of_a_run_has_zeros_for_those_who_will_measure(autojump_clock, debug):
    async with live([Model("first"), Sees(), Model("second")], enable_metrics=True, debug=debug) as now:
        await now.task.flush()
    (frame,) = now.down
    assert isinstance(frame, MetricsFrame)
    assert frame.data == [kind(name, 0.0) for name in ("first", "second") for kind in (TTFBMetrics, ProcessingMetrics)]
    assert now.task.statistics().frames_in == 0


async def test_t7_the_first_frame_is_empty_where_nobody_measures(autojump_clock):
    async with live([Sees()], enable_metrics=True) as now:
        await now.task.flush()
    assert [frame.data for frame in now.down] == [[]]


@pytest.mark.parametrize(
    "settings",
    [{}, {"enable_usage_metrics": True}, {"enable_metrics": True, "send_initial_empty_metrics": False}],
    ids=["off", "usage", "not sent"],
)
async def test_t7_there_is_no_first_frame_unless_asked_for(autojump_clock, settings):
    async with live([Model()], **settings) as now:
        await now.task.flush()
    assert now.down == []


async def test_a_block_measures_as_well(autojump_clock):
    @processor(name="block")
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        out.metrics.model = "tiny"
        async for _ in frames:
            out.metrics.start_ttfb()
            await trio.sleep(3)
            await out.metrics.stop_ttfb()

    assert await measured(block, "a", enable_metrics=True) == [TTFBMetrics("block", 3.0, model="tiny")]


async def test_a_measurement_may_begin_in_one_handler_and_end_in_another(autojump_clock):
    class Asks(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if direction is DOWN and isinstance(frame, TextFrame):
                self.metrics.start_ttfb()
            elif direction is UP and isinstance(frame, TextFrame):
                await self.metrics.stop_ttfb()
            await self.push_frame(frame, direction)

    async with live([Asks("asks")], enable_metrics=True, send_initial_empty_metrics=False) as now:
        await now.say("question")
        await trio.sleep(4)
        await now.task.queue_frame(text("answer"), UP)
        await trio.sleep(1)
    assert records(now.down) == [TTFBMetrics("asks", 4.0)]


# -- what is no answer to what was asked


class Told(FrameProcessor):
    """Does to its metrics what a text says: a call, and where it has one, its argument."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            call, *at = frame.text.split()
            done = getattr(self.metrics, call)(*map(float, at))
            if done is not None:
                await done
        await self.push_frame(frame, direction)


async def test_a_stop_without_a_start_tells_nothing(autojump_clock):
    assert await measured(Told(), "stop_ttfb", "stop_processing", enable_metrics=True) == []


async def test_output_older_than_the_request_is_no_answer_and_ends_the_measurement(autojump_clock):
    assert await measured(Told(), "start_ttfb 10", "stop_ttfb 9", "stop_ttfb 11", enable_metrics=True) == []


async def test_times_may_be_given(autojump_clock):
    assert await measured(Told("t"), "start_ttfb 10", "stop_ttfb 12.5", enable_metrics=True) == [TTFBMetrics("t", 2.5)]


async def test_a_second_start_forgets_the_first(autojump_clock):
    told = await measured(
        Told("t"), "start_processing 1", "start_processing 2", "stop_processing 4", enable_metrics=True
    )
    assert told == [ProcessingMetrics("t", 2.0)]


async def test_an_interrupted_measurement_does_not_leak_into_the_next(autojump_clock):
    model, told = Model("model"), Told("told")
    async with live([told, model], enable_metrics=True, send_initial_empty_metrics=False) as now:
        await now.say("start_ttfb")
        await trio.sleep(0.5)
        now.task.interrupt()
        await now.say("stop_ttfb")
        await now.task.flush()
    assert records(now.down) == [TTFBMetrics("model", 1.0), ProcessingMetrics("model", 2.0)]


async def test_metrics_are_urgent_and_overtake_what_waits(autojump_clock):
    async with live([Model("model"), Sees(delay=100)], enable_metrics=True, send_initial_empty_metrics=False) as now:
        await now.say("a", "b")
        await trio.sleep(5)
        assert len(records(now.down)) == 4
        assert now.texts == []
        now.task.cancel()


# -- records of one's own


@attrs.frozen
class Words(MetricsData):
    value: int


async def test_records_of_ones_own_go_together_in_one_frame(autojump_clock):
    class Counts(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, TextFrame):
                await self.metrics.report(Words(self.name, 3), Words(self.name, 4, model="x"))
            await self.push_frame(frame, direction)

    async with live([Counts("c")], enable_metrics=True, send_initial_empty_metrics=False) as now:
        await now.say("a")
    (frame,) = [frame for frame in now.down if isinstance(frame, SystemFrame)]
    assert frame.data == [Words("c", 3), Words("c", 4, model="x")]
    assert attrs.asdict(frame.data[1]) == {"processor": "c", "value": 4, "model": "x"}


BAD = [
    ("start_ttfb", ("now",)),
    ("start_ttfb", (float("nan"),)),
    ("stop_ttfb", (True,)),
    ("start_processing", (float("inf"),)),
    ("llm_usage", (12,)),
    ("tts_usage", (12,)),
    ("tts_usage", (b"x",)),
    ("stt_usage", (-1,)),
    ("stt_usage", (float("nan"),)),
    ("stt_usage", ("1",)),
    ("report", ()),
    ("report", ({"value": 1},)),
]


@pytest.mark.parametrize(("call", "args"), BAD, ids=str)
async def test_bad_values_are_refused_where_they_are_given(autojump_clock, call, args):
    raised = []

    class Wrong(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, TextFrame):
                with pytest.raises(ConfigurationError, match=call) as caught:
                    done = getattr(self.metrics, call)(*args)
                    if done is not None:
                        await done
                raised.append(caught.value)
            await self.push_frame(frame, direction)

    await measured(Wrong(), "a", enable_metrics=True, enable_usage_metrics=True)
    assert len(raised) == 1


def test_there_are_none_before_a_run():
    with pytest.raises(RuntimeError, match=r"metrics works only while"):
        _ = Model().metrics


async def test_processors_that_measure_nothing_hold_nothing_for_it(autojump_clock):
    quiet, model = Sees(), Model()
    await measured(model, "a")
    async with live([quiet]) as now:
        await now.say("a")
    assert "_metrics" not in vars(quiet)
    assert "_metrics" in vars(model)
