"""T7: what processors measure, and who is told of it."""

import attrs
import pytest
import trio

from flow_kit import DOWN, UP, Sees, live, text
from trio_pipes import (
    ConfigurationError,
    Direction,
    DurationStatistics,
    Frame,
    FrameProcessor,
    Frames,
    LLMTokenUsage,
    LLMUsageMetrics,
    MetricsData,
    MetricsFrame,
    MetricsStatistics,
    Out,
    ProcessingMetrics,
    STTUsageMetrics,
    Switchable,
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


# The response that was cut off before its first token leaves the first place to the next one.
async def test_t7_an_interrupted_first_ttfb_is_not_the_only_one_that_is_told(autojump_clock, debug):
    model = Model("model")
    settings = {"enable_metrics": True, "report_only_initial_ttfb": True, "send_initial_empty_metrics": False}
    async with live([model], debug=debug, **settings) as now:
        await now.say("cut off")
        await trio.sleep(0.5)
        now.task.interrupt()
        await now.say("a", "b")
        await now.task.flush()
    assert [record for record in records(now.down) if isinstance(record, TTFBMetrics)] == [TTFBMetrics("model", 1.0)]


# -- in the statistics


class Takes(FrameProcessor):
    """Measures work of as many seconds as a text says."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            self.metrics.start_processing()
            await trio.sleep(float(frame.text))
            await self.metrics.stop_processing()
        await self.push_frame(frame, direction)


async def test_t7_statistics_have_count_sum_mean_max_and_last_of_what_was_measured(autojump_clock, debug):
    part = Takes()
    async with live([part], enable_metrics=True, debug=debug) as now:
        await now.say("1", "4", "2.5")
        await now.task.flush()
        told = part.statistics().metrics
        ended = trio.current_time()
    assert told == MetricsStatistics(processing=DurationStatistics(3, total=7.5, max=4.0, last=2.5, last_at=ended))
    assert told.processing.mean == 2.5
    assert part.statistics().metrics == told, "they stay readable after the run"


async def test_t7_statistics_have_usage(autojump_clock, debug):
    async with live([Model("model")], enable_usage_metrics=True, debug=debug) as now:
        await now.say("hello", "you")
        await now.task.flush()
        (told,) = [it.metrics for it in now.task.statistics().processors]
    assert told == MetricsStatistics(prompt_tokens=20, completion_tokens=10, characters=8, audio_seconds=1.0)


async def test_t7_statistics_of_a_task_are_the_sums_over_its_processors(autojump_clock, debug):
    async with live([Model("first"), Takes("second"), Sees()], enable_metrics=True, debug=debug) as now:
        await now.say("5")
        await now.task.flush()
        ended = trio.current_time()
        stats = now.task.statistics()
    one = DurationStatistics(1, total=1.0, max=1.0, last=1.0, last_at=ended - 6)
    both = DurationStatistics(2, total=7.0, max=5.0, last=5.0, last_at=ended)
    assert stats.metrics == MetricsStatistics(ttfb=one, processing=both)
    assert [it.metrics and it.metrics.processing.total for it in stats.processors] == [2.0, 5.0, None]


@pytest.mark.parametrize("settings", [{}, {"enable_metrics": True}], ids=["off", "on"])
async def test_t7_where_nothing_is_measured_statistics_have_nothing(autojump_clock, settings, debug):
    parts = [Model() if not settings else Sees(), Sees()]
    async with live(parts, debug=debug, **settings) as now:
        await now.say("a")
        await now.task.flush()
        stats = now.task.statistics()
    assert (stats.metrics, [it.metrics for it in stats.processors]) == (None, [None, None])


async def test_t7_an_interrupted_measurement_is_in_no_statistics(autojump_clock, debug):
    part = Takes()
    async with live([part], enable_metrics=True, debug=debug) as now:
        await now.say("10")
        await trio.sleep(5)
        now.task.interrupt()
        await now.task.flush()
        assert part.statistics().metrics is None
        await now.say("1")
        await now.task.flush()
        assert part.statistics().metrics.processing.count == 1


async def test_the_next_run_counts_from_nothing(autojump_clock):
    part = Takes()
    for _ in range(2):
        async with live([part], enable_metrics=True) as now:
            assert part.statistics().metrics is None
            await now.say("1")
            await now.task.flush()
            assert part.statistics().metrics.processing.count == 1


async def test_a_tasks_sums_keep_what_a_replaced_processor_measured(autojump_clock):
    slot = Switchable(Takes("old"))
    async with live([slot], enable_metrics=True) as now:
        await now.say("1")
        await now.task.flush()
        await slot.replace(Takes("new"))
        await now.say("2")
        await now.task.flush()
        stats = now.task.statistics()
    assert stats.metrics.processing.total == 3.0
    assert [it.metrics.processing.total for it in stats.processors if it.metrics] == [2.0]


async def test_statistics_take_the_same_memory_however_much_is_measured(autojump_clock):
    part = Told("t")
    async with live([part], enable_metrics=True) as now:
        sizes = []
        for _ in range(3):
            await now.say(*["start_ttfb 1", "stop_ttfb 2"] * 200)
            await now.task.flush()
            sizes.append(len(repr(part.statistics().metrics)))
    assert part.statistics().metrics.ttfb.count == 600
    assert max(sizes) - min(sizes) <= 4  # a longer number


# -- observers hear of it


class Hears:
    def __init__(self) -> None:
        self.told: list[object] = []

    def on_measuring(self, task, processor, kind, at):
        self.told.append((processor.name, kind, at - self.began))

    def on_measured(self, task, processor, records):
        self.told.append(
            (processor.name, [type(record).__name__ for record in records], trio.current_time() - self.began)
        )


async def test_observers_hear_when_a_measurement_begins_and_what_it_gave(autojump_clock, debug):
    ear = Hears()
    async with live([Model("m")], observers=[ear], enable_metrics=True, enable_usage_metrics=True, debug=debug) as now:
        ear.began = trio.current_time()
        await now.say("a")
        await now.task.flush()
    usage = [
        ("m", [kind], 2.0) for kind in ("ProcessingMetrics", "LLMUsageMetrics", "TTSUsageMetrics", "STTUsageMetrics")
    ]
    assert ear.told == [
        ("m", TTFBMetrics, 0.0),
        ("m", ProcessingMetrics, 0.0),
        ("m", ["TTFBMetrics"], 1.0),
        *usage,
    ]


async def test_observers_hear_nothing_of_what_is_not_enabled(autojump_clock):
    ear = Hears()
    async with live([Model("m")], observers=[ear]) as now:
        await now.say("a")
        await now.task.flush()
    assert ear.told == []


# An observer of measurements alone leaves the frames their short way.
async def test_who_hears_of_measurements_only_costs_nothing_at_the_hops(autojump_clock):
    part = Model("m")
    async with live([part], observers=[Hears()], enable_metrics=True):
        assert part._node.engine.observed is None


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


BAD_RECORDS = [
    (TTFBMetrics, "soon"),
    (TTFBMetrics, -1.0),
    (ProcessingMetrics, float("nan")),
    (STTUsageMetrics, None),
    (TTSUsageMetrics, 1.5),
    (TTSUsageMetrics, -1),
    (LLMUsageMetrics, 12),
]


@pytest.mark.parametrize(("kind", "value"), BAD_RECORDS, ids=str)
def test_records_refuse_values_that_are_none_of_theirs(kind, value):
    with pytest.raises(ConfigurationError, match=rf"{kind.__name__}\(value={value!r}\): expected"):
        kind("a", value)


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
