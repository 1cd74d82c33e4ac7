"""`Timeline`: what each processor did, waited for and when it was interrupted, in bounded memory, as a page and as a trace."""

from __future__ import annotations

import gc
import logging
import weakref
from contextlib import asynccontextmanager
from itertools import pairwise

import attrs
import pytest
import trio
from hypothesis import given, strategies as st

from hosting import nothing_left
from observers_kit import Stage
from timeline_kit import happened, paged, spans, traced
from trio_pipes import (
    ConfigurationError,
    DataFrame,
    Direction,
    EndFrame,
    Frame,
    FrameProcessor,
    Frames,
    Out,
    ParallelPipeline,
    Pipeline,
    PipelineParams,
    PipelineRunner,
    PipelineTask,
    Switchable,
    TextFrame,
    UserStartedSpeakingFrame,
    each,
    processor,
    route,
    tee,
)
from trio_pipes.observers import Timeline
from trio_pipes.observers._ring import Ring, Span, spans_in
from trio_pipes.observers._timeline_story import story_of
from trio_pipes.observers._timeline_taken import Row, Taken
from trio_pipes.testing import Attempt, cancel_at_every_checkpoint

UP = Direction.UPSTREAM


class Slow(FrameProcessor):
    """Takes so many seconds over a text; `pieces` of it come out at the end."""

    def __init__(self, name: str, seconds: float, pieces: int = 1) -> None:
        super().__init__(name)
        self.seconds = seconds
        self.pieces = pieces

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if not isinstance(frame, TextFrame):
            await self.push_frame(frame, direction)
            return
        await trio.sleep(self.seconds)
        for _ in range(self.pieces):
            await self.push_frame(TextFrame(frame.text), direction)


async def run(timeline: Timeline, parts: object, *frames: Frame, **params: object) -> PipelineTask:
    task = PipelineTask(Pipeline(parts), PipelineParams(**params), observers=[timeline])  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)  # a lane is bounded from the start of its processor on
        await task.queue_frames(frames)
        task.stop_when_done()
    result = await task.wait_finished()
    assert result.observer_errors == ()
    return task


# -- what is recorded


async def test_handlers_from_when_to_when(autojump_clock, tmp_path) -> None:
    timeline = Timeline()
    await run(timeline, [Slow("a", 0.5), Slow("b", 2)], TextFrame("x"))
    texts = [it for it in spans(await traced(timeline, tmp_path)) if it[1] == "TextFrame"]
    assert texts == [("a", "TextFrame", 0, 0.5), ("b", "TextFrame", 0.5, 2)]


async def test_waiting_in_a_queue(autojump_clock, tmp_path) -> None:
    timeline = Timeline()
    await run(timeline, [Slow("a", 0, pieces=3), Slow("b", 1)], TextFrame("x"))
    events = await traced(timeline, tmp_path)
    queued = [it["args"].get("in the queue, ms", 0) for it in events if it["name"] == "TextFrame" and it["ph"] == "X"]
    assert queued == [0, 0, 1000, 2000]


async def test_waiting_for_room(autojump_clock, tmp_path) -> None:
    timeline = Timeline()
    await run(timeline, [Slow("a", 0, pieces=4), Slow("b", 1)], TextFrame("x"), queue_size=1)
    waits = spans(await traced(timeline, tmp_path), "wait")
    assert [(thread, began, seconds) for thread, _, began, seconds in waits] == [("a", 0, 1), ("a", 1, 1)]


async def test_who_queues_waits_for_room_in_a_row_of_its_own(autojump_clock, tmp_path) -> None:
    timeline = Timeline()
    task = PipelineTask(Pipeline([Slow("a", 1)]), PipelineParams(queue_size=1), observers=[timeline])
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        for _ in range(6):
            await task.queue_frame(TextFrame("x"))
        task.stop_when_done()
    waits = spans(await traced(timeline, tmp_path), "wait")
    assert {thread for thread, *_ in waits} == {"queueing frames"}
    _, data = await paged(timeline, tmp_path)
    assert [row["name"] for row in data["rows"]] == ["queueing frames", "a"]


async def test_set_up(autojump_clock, tmp_path) -> None:
    class Loads(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            await trio.sleep(3)
            yield

    timeline = Timeline()
    await run(timeline, [Loads("model")])
    assert spans(await traced(timeline, tmp_path), "set-up") == [("model", "set-up", 0, 3)]
    page, _ = await paged(timeline, tmp_path)
    assert "<td>3.000 s</td></tr>" in page


async def test_an_interrupt_and_what_it_stops(autojump_clock, tmp_path) -> None:
    timeline = Timeline()
    task = PipelineTask(Pipeline([Slow("a", 10)]), observers=[timeline])
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await task.queue_frame(TextFrame("x"))
        await trio.sleep(1)
        task.interrupt()
        await trio.sleep(1)
        task.stop_when_done()
    events = await traced(timeline, tmp_path)
    assert ("interrupt", 1.0, "") in happened(events)
    (stopped,) = [it for it in events if it["ph"] == "X" and it["args"].get("stopped")]
    assert (stopped["name"], stopped["ts"], stopped["dur"]) == ("TextFrame", 0, 1e6)


async def test_both_directions_at_once_are_two_lanes(autojump_clock, tmp_path) -> None:
    timeline = Timeline()
    task = PipelineTask(Pipeline([Slow("a", 2)]), observers=[timeline])
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await task.queue_frame(TextFrame("down"))
        await trio.sleep(1)
        await task.queue_frame(TextFrame("up"), UP)
        task.stop_when_done()
    events = await traced(timeline, tmp_path)
    texts = [it for it in spans(events) if it[1] == "TextFrame"]
    assert texts == [("a", "TextFrame", 0, 2), ("a (2)", "TextFrame", 1, 2)]
    assert [it["args"]["direction"] for it in events if it["name"] == "TextFrame"] == ["downstream", "upstream"]


async def test_every_form_of_processor_is_recorded(autojump_clock, tmp_path) -> None:
    @each(name="sync")
    def sync(frame: TextFrame) -> TextFrame:
        return frame

    @each(name="slow", concurrency=2)
    async def slow(frame: TextFrame) -> TextFrame:
        await trio.sleep(1)
        return frame

    @processor(name="block")
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            await trio.sleep(1)
            await out.push(frame)

    timeline = Timeline()
    shapes = [
        ParallelPipeline([Slow("left", 0)], [Slow("right", 0)]),
        route(type, {TextFrame: [Slow("words", 0)]}),
        tee([Slow("copy", 0)]),
        Switchable(Slow("slot", 0)),
    ]
    await run(timeline, [sync, slow, block, *shapes], TextFrame("x"), TextFrame("y"))
    seen = {thread for thread, name, *_ in spans(await traced(timeline, tmp_path)) if name == "TextFrame"}
    assert {"sync", "slow", "slow (2)", "block", "left", "right", "words", "copy", "slot"} <= seen


async def test_arrows_follow_a_frame(autojump_clock, tmp_path) -> None:
    class Passes(FrameProcessor):
        pass

    timeline = Timeline()
    frame = TextFrame("x")
    await run(timeline, [Passes("a"), Passes("b"), Passes("c")], frame)
    way = [it["ph"] for it in await traced(timeline, tmp_path) if it.get("id") == frame.id]
    assert way == ["s", "t", "f"]


async def test_what_is_not_done_yet_is_told(autojump_clock, tmp_path) -> None:
    timeline = Timeline()
    task = PipelineTask(Pipeline([Slow("a", 10)]), observers=[timeline])
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await task.queue_frame(TextFrame("x"))
        await trio.sleep(4)
        (text,) = [it for it in await traced(timeline, tmp_path) if it["name"] == "TextFrame"]
        assert (text["dur"], text["args"]["still at it"]) == (4e6, True)
        task.cancel()


async def test_errors_measurements_and_words(autojump_clock, tmp_path) -> None:
    class Measures(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            await self.push_frame(frame, direction)
            if isinstance(frame, TextFrame) and direction is not UP:
                self.metrics.start_ttfb()
                await trio.sleep(0.25)
                await self.metrics.stop_ttfb()
                await self.push_error("no more")
                self.set_unusable("broken")
                self.set_usable()
                self.interrupt()

    timeline = Timeline()
    await run(timeline, [Measures("m")], TextFrame("word " * 100), enable_metrics=True)
    told = [(what, text) for what, _, text in happened(await traced(timeline, tmp_path))]
    assert told[0] == ("starting", "")
    assert ("text", f"TextFrame: {('word ' * 100)[:79]}…") in told
    assert ("measured", "TTFB: 0.250") in told
    assert ("error", "no more") in told
    assert [what for what, _ in told if "usable" in what] == ["unusable", "usable again"]
    assert ("interrupt refused", "") in told
    assert told[-1] == ("finished", "ended")


async def test_words_are_left_out_on_demand(autojump_clock, tmp_path) -> None:
    timeline = Timeline(texts=False)
    await run(timeline, [Slow("a", 0)], TextFrame("secret"))
    page, _ = await paged(timeline, tmp_path)
    assert "secret" not in page


# -- answers


class Answers(FrameProcessor):
    """Makes a text of each text, after a while."""

    def __init__(self, name: str, seconds: float, words: str) -> None:
        super().__init__(name)
        self.seconds = seconds
        self.words = words

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            await trio.sleep(self.seconds)
            frame = TextFrame(self.words)
        await self.push_frame(frame, direction)


async def test_the_page_explains_a_latency(autojump_clock, tmp_path) -> None:
    timeline = Timeline()
    stage = Stage(Answers("llm", 0.25, "Hello yourself."), observers=[timeline])
    async with stage.running():
        await stage.user_starts()
        await trio.sleep(2)
        await stage.user_stops(at=1.5)
        await stage.push("user", TextFrame("hello"))
        await trio.sleep(0.5)
        await stage.bot_starts()
        await trio.sleep(1)
        await stage.bot_stops()
    page, data = await paged(timeline, tmp_path)
    (answer,) = data["answers"]
    assert [(step["who"], step["to"] - step["from"], step["text"]) for step in answer["steps"]] == [
        ("user", 500_000, ""),
        ("user", 0, "hello"),
        ("llm", 250_000, "Hello yourself."),
        ("bot", 250_000, ""),
    ]
    assert [(it["who"], it["from"], it["to"], it["text"]) for it in data["said"]] == [
        ("user", 0, 1_500_000, "hello"),
        ("bot", 2_500_000, 3_500_000, "Hello yourself."),
    ]
    assert "“hello”</span> → <span>“Hello yourself.”" in page
    assert '<div class="total">1000 ms</div>' in page
    assert "<b>500 ms</b> silence, until the end was noticed, by user" in page
    assert "<b>+250 ms</b> first TextFrame “Hello yourself.”, by llm" in page
    events = await traced(timeline, tmp_path)
    assert ("user waits", "1000 ms", 1.5, 1.0) in spans(events, "latency")
    assert ("bot speaks", "Hello yourself.", 2.5, 1.0) in spans(events, "speech")


async def test_an_answer_that_is_interrupted(autojump_clock, tmp_path) -> None:
    timeline = Timeline()
    stage = Stage(observers=[timeline])
    async with stage.running():
        await stage.user_speaks()
        await trio.sleep(0.5)
        await stage.user_speaks()
        await stage.bot_starts()
        await trio.sleep(0.5)
        await stage.bot_stops(interrupted=True)
    page, data = await paged(timeline, tmp_path)
    assert [it["interrupted"] for it in data["answers"]] == [True, False]
    assert "<small>interrupted</small>" in page
    assert [it["cut"] for it in data["said"] if it["who"] == "bot"] == [True]


async def test_turns_and_speech_that_goes_on(autojump_clock, tmp_path) -> None:
    timeline = Timeline()
    stage = Stage(observers=[timeline])
    async with stage.running("cancel"):
        await stage.turn_starts()
        await stage.user_speaks()
        await stage.turn_stops()
        await stage.bot_starts()
        await trio.sleep(2)
    _, data = await paged(timeline, tmp_path)
    assert [(it["who"], it["to"] - it["from"]) for it in data["said"]] == [
        ("user", 1_000_000),
        ("turn", 1_000_000),
        ("bot", 2_000_000),
    ]


@pytest.mark.parametrize("at", [float("nan"), float("inf"), -1e300, 1.7e9, None, "soon"])
async def test_a_wrong_time_of_speech_spoils_nothing(autojump_clock, tmp_path, at) -> None:
    timeline = Timeline()
    await run(timeline, [Slow("a", 1)], UserStartedSpeakingFrame(at), TextFrame("x"))
    _, data = await paged(timeline, tmp_path)
    assert data["end"] == 1_000_000
    await traced(timeline, tmp_path)


# -- bounds


async def test_the_oldest_go_and_are_counted(autojump_clock, tmp_path) -> None:
    timeline = Timeline(spans=10)
    await run(timeline, [Slow("a", 1)], *(TextFrame(str(i)) for i in range(100)))
    assert timeline.lost == 101 + 3 - 10 or timeline.lost > 90  # lifecycle frames count as well
    page, data = await paged(timeline, tmp_path)
    assert len(data["works"]["row"]) == 10
    assert f"{timeline.lost:,} older ones were dropped" in page
    assert repr(timeline) == f"<Timeline of 1 tasks, 10 spans, {timeline.lost} lost>"


async def test_spans_do_not_wash_out_who_spoke(autojump_clock, tmp_path) -> None:
    timeline = Timeline(spans=10, texts=False)
    stage = Stage(observers=[timeline])
    async with stage.running():
        await stage.user_speaks()
        await stage.bot_speaks()
        for _ in range(50):
            await stage.push("user", TextFrame("x"))
    _, data = await paged(timeline, tmp_path)
    assert [it["who"] for it in data["said"]] == ["user", "bot"]


async def test_nothing_that_was_seen_is_kept_alive(autojump_clock, tmp_path) -> None:
    timeline = Timeline()
    processor, frame = Slow("a", 0), TextFrame("x")
    seen = [weakref.ref(processor), weakref.ref(frame)]
    seen.append(weakref.ref(await run(timeline, [processor], frame)))
    del processor, frame
    gc.collect()
    assert [ref() for ref in seen] == [None, None, None]
    page, _ = await paged(timeline, tmp_path)
    assert ">a<" in page


@given(size=st.integers(1, 20), count=st.integers(0, 60))
def test_the_ring_has_the_last_ones_in_order(size: int, count: int) -> None:
    ring = Ring(size)
    for number in range(count):
        ring.put(number, number + 0.5, 0.25, 2**63 + number, 0xFFFF, number, 15)
    kept = [*spans_in(ring.copy())]
    assert kept == [
        Span(number, number + 0.5, 0.25, 2**63 + number, 0xFFFF, number, 15)
        for number in range(max(0, count - size), count)
    ]
    assert ring.lost == max(0, count - size)


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 20), st.integers(0, 2), st.booleans()), min_size=1, max_size=60
    )
)
def test_spans_of_one_lane_lie_beside_each_other(drawn: list[tuple[int, int, int, bool]]) -> None:
    ring = Ring(100)
    for began, length, row, is_wait in drawn:
        ring.put(began, began + length, 0, 1, row, 0, 1 if is_wait else 0)
    rows = [Row(0, place, str(place)) for place in range(3)]
    story = story_of(Taken(ring.copy(), (), (), (), ["task"], rows, ["TextFrame"], 0))
    assert len(story.works) == len(drawn)
    for row in range(3):
        for lane in range(story.rows[row].lanes):
            mine = [it for it in story.works if (it.row, it.lane) == (row, lane)]
            for one, other in pairwise(mine):
                end = one.began + one.seconds
                assert other.began >= end or (other.is_wait and other.began + other.seconds <= end) or one.is_wait


# -- several tasks, and at any moment


async def test_several_tasks_have_rows_of_their_own(autojump_clock, tmp_path) -> None:
    timeline = Timeline()
    tasks = [PipelineTask(Pipeline([Slow("a", n)]), name=f"task {n}", observers=[timeline]) for n in (1, 2)]
    for task in tasks:
        await task.queue_frame(TextFrame(task.name))
        task.stop_when_done()
    await PipelineRunner(*tasks, handle_sigint=False).run()
    page, data = await paged(timeline, tmp_path)
    assert data["tasks"] == ["task 1", "task 2"]
    assert [(row["name"], row["task"]) for row in data["rows"]] == [("a", 0), ("a", 1)]
    assert "<td>task 2: a</td>" in page
    assert {it["pid"] for it in await traced(timeline, tmp_path)} == {1, 2}


async def test_of_very_many_tasks_the_page_shows_the_newest(autojump_clock, tmp_path) -> None:
    timeline = Timeline()
    for number in range(300):
        task = PipelineTask(Pipeline([Slow(f"a{number}", 0), Slow(f"b{number}", 1)]), observers=[timeline])
        await task.queue_frame(TextFrame("x"))
        task.stop_when_done()
        await task.run()
    page, data = await paged(timeline, tmp_path)
    assert len(data["tasks"]) == 250
    assert [row["name"] for row in data["rows"]][:2] == ["a50", "b50"]
    assert "The 50 older tasks are not shown." in page
    assert {it["task"] for it in data["happened"]} == set(range(250))
    busy = [
        row for row, length in zip(data["works"]["row"], data["works"]["length"], strict=True) if length == 1_000_000
    ]
    assert busy == list(range(1, 500, 2))
    assert len({it["pid"] for it in await traced(timeline, tmp_path)}) == 300


def test_a_second_trio_run_has_other_times(caplog: pytest.LogCaptureFixture) -> None:
    timeline = Timeline()
    trio.run(run, timeline, [Slow("a", 0)])
    task = PipelineTask(Pipeline([Slow("b", 0)]), observers=[timeline])
    task.stop_when_done()
    with caplog.at_level(logging.CRITICAL):
        result = trio.run(task.run)
    (error,) = result.observer_errors
    assert isinstance(error, ConfigurationError)
    assert "in another Trio run" in str(error)


def test_written_after_the_run(tmp_path) -> None:
    timeline = Timeline()
    trio.run(run, timeline, [Slow("a", 0)], TextFrame("x"))
    trio.run(timeline.write_html, tmp_path / "late.html")
    assert ">a<" in (tmp_path / "late.html").read_text()


async def test_it_may_come_and_go(autojump_clock, tmp_path) -> None:
    timeline = Timeline()
    task = PipelineTask(Pipeline([Slow("a", 1)]))
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await task.queue_frame(TextFrame("before"))
        await trio.sleep(0.5)
        task.add_observer(timeline)
        await task.queue_frame(TextFrame("seen"))
        await trio.sleep(2)
        task.remove_observer(timeline)
        await task.queue_frame(TextFrame("after"))
        task.stop_when_done()
    texts = [it for it in spans(await traced(timeline, tmp_path)) if it[1] == "TextFrame"]
    assert texts == [("a", "TextFrame", 0, 1)]


async def test_cancelled_anywhere_it_tells_what_was(autojump_clock, tmp_path) -> None:
    async def scenario(attempt: Attempt) -> None:
        timeline = Timeline()
        task = PipelineTask(Pipeline([Slow("a", 1), Slow("b", 1)]), observers=[timeline])

        def check() -> None:
            story = story_of(timeline._take())
            assert not any(it.goes_on for it in story.works)

        attempt.afterwards(check)
        await task.queue_frame(TextFrame("x"))
        task.stop_when_done()
        await task.run()

    await cancel_at_every_checkpoint(scenario)


async def test_writing_leaves_nothing(tmp_path) -> None:
    timeline = Timeline()
    async with nothing_left():
        await run(timeline, [Slow("a", 0)], TextFrame("x"))
        await timeline.write_html(tmp_path / "a.html")
        await timeline.write_trace(tmp_path / "a.json")
    assert sorted(it.name for it in tmp_path.iterdir()) == ["a.html", "a.json"]


async def test_an_empty_timeline(tmp_path) -> None:
    timeline = Timeline()
    page, data = await paged(timeline, tmp_path)
    assert "0 tasks" in page
    assert data["end"] == 0
    assert await traced(timeline, tmp_path) == []


# -- what is not as it should be


async def test_a_folder_that_is_not_there(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        await Timeline().write_html(tmp_path / "no" / "page.html")


@pytest.mark.parametrize("call", ["write_html", "write_trace"])
@pytest.mark.parametrize("path", [None, 3, ""])
async def test_a_path_that_is_none(call: str, path: object) -> None:
    with pytest.raises(ConfigurationError, match=f"Timeline.{call}"):
        await getattr(Timeline(), call)(path)


@pytest.mark.parametrize(
    "settings", [{"spans": 0}, {"spans": "many"}, {"spans": 1.5}, {"texts": "no"}, {"texts": None}]
)
def test_settings_that_cannot_work(settings: dict[str, object]) -> None:
    ((name, value),) = settings.items()
    with pytest.raises(ConfigurationError, match=rf"Timeline\({name}={value!r}"):
        Timeline(**settings)  # type: ignore[arg-type]


@attrs.define(eq=False)
class Odd(DataFrame):
    @property
    def text(self) -> str:
        raise RuntimeError("no text today")

    def __repr__(self) -> str:
        raise RuntimeError("no repr today")


HOSTILE = '</script><script>document.title="pwned"</script><img src=x onerror="document.title=1">\u2028\ud800'


async def test_hostile_names_and_words(autojump_clock, tmp_path) -> None:
    timeline = Timeline()
    await run(timeline, [Slow(HOSTILE, 0)], TextFrame(HOSTILE), Odd(), TextFrame(b"bytes"))  # type: ignore[arg-type]
    page, data = await paged(timeline, tmp_path)
    assert "<img" not in page
    assert page.count("<script") == page.count("</script>") == 2
    assert data["rows"][0]["name"].startswith("</script><script>")
    assert [it["text"] for it in data["happened"] if it["what"] == "text"][1:] == ["Odd: <Odd>", "TextFrame: b'bytes'"]
    await traced(timeline, tmp_path)


async def test_the_page_asks_nothing_of_a_network(autojump_clock, tmp_path) -> None:
    timeline = Timeline()
    await run(timeline, [Slow("a", 0)], TextFrame("x"), EndFrame())
    page, _ = await paged(timeline, tmp_path)
    assert "default-src 'none'" in page
    assert not [it for it in ("http://", "https://", "src=", "href=", "@import", "url(") if it in page]
