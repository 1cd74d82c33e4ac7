"""Frames of a session, recorded to a file, replayed, and compared."""

import json
import math
import re
from pathlib import Path

import attrs
import pytest
import trio
from hypothesis import given, settings, strategies as st

from hosting import errors_in, nothing_left, texts
from trio_pipes import (
    ConfigurationError,
    DataFrame,
    Direction,
    ErrorFrame,
    ErrorPolicy,
    FrameProcessor,
    InputAudioFrame,
    InterruptionFrame,
    MetricsFrame,
    Pipeline,
    PipelineParams,
    PipelineTask,
    SystemFrame,
    TaskState,
    TextFrame,
    each,
)
from trio_pipes.testing import (
    FrameRecorder,
    Received,
    Recording,
    RecordingError,
    check_processor,
    replay,
    run_pipeline,
    run_processor,
    running,
)
from trio_pipes.testing._frame_codec import FrameCodec

UP = Direction.UPSTREAM
HEADER = '{"trio_pipes": "recording", "version": 1}\n'
LINE = '{"time": 5, "direction": "downstream", "frame": "TextFrame", "fields": {"text": "a", "interruptible": true}}\n'
END = '{"end": 7, "frames": 1}\n'


@attrs.define(eq=False)
class Order(DataFrame):
    number: int = 0
    lines: list = attrs.field(factory=list)


@attrs.define
class Line:
    article: str
    price: float


@attrs.define(eq=False)
class WithCache(DataFrame):
    text: str = ""
    _cache: object = attrs.field(init=False, default=None)


@attrs.define(eq=False)
class WithFile(DataFrame):
    text: str = ""
    file: object = None


class Answers(FrameProcessor):
    async def process_frame(self, frame, direction):
        if isinstance(frame, TextFrame) and direction is not UP:
            await trio.sleep(0.5)
            await self.push_frame(TextFrame(f"{frame.text}?"), UP)
        await self.push_frame(frame, direction)


@each
def shout(frame: TextFrame) -> TextFrame:
    return TextFrame(frame.text.upper())


async def session(path: Path, *parts: object) -> PipelineTask:
    """Three frames, two seconds apart."""
    task = PipelineTask(Pipeline([FrameRecorder(path), *parts]))
    async with running(task):
        for word in "abc":
            await task.queue_frame(TextFrame(word))
            await trio.sleep(2)
    return task


async def test_k5_a_session_is_recorded_and_replayed_at_its_times(pipes_clock, tmp_path) -> None:
    path = tmp_path / "session.jsonl"
    async with nothing_left():
        await session(path, Answers())
    recording = await Recording.read(path)
    came = [(recorded.time / 1e9, recorded.direction, recorded.make().text) for recorded in recording.frames]
    down = [(entry[0], entry[2]) for entry in came if entry[1] is not UP]
    assert down == [(pytest.approx(at), text) for at, text in [(0, "a"), (2, "b"), (4, "c")]]
    assert [entry for entry in came if entry[1] is UP] == [
        (pytest.approx(at), UP, text) for at, text in [(0.5, "a?"), (2.5, "b?"), (4.5, "c?")]
    ]
    assert recording.end == pytest.approx(6e9)

    again = []

    class Watch:
        def on_reached_source(self, task, frame):
            again.append((trio.current_time() - began, frame))

    began = trio.current_time()
    task = PipelineTask(Pipeline([Answers()]), observers=[Watch()])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task.run)
        await replay(path, task)
    assert [at for at, _ in again] == [pytest.approx(at) for at in (0.5, 2.5, 4.5)]
    assert trio.current_time() - began == pytest.approx(6)
    assert task.state is TaskState.ENDED
    recording.check([frame for _, frame in again], UP)


async def test_k5_what_comes_out_otherwise_is_named_with_its_line(pipes_clock, tmp_path) -> None:
    path = tmp_path / "out.jsonl"
    await run_pipeline([shout, FrameRecorder(path)], texts("a", "b"))
    recording = await Recording.read(path)
    same = await run_processor(shout, texts("a", "b"))
    recording.check(same.down)
    other = await run_processor(shout, texts("a", "x"))
    with pytest.raises(AssertionError, match=r"out.jsonl, line 3: .*text='B'.* was recorded, and now it is .*text='X'"):
        recording.check(other.down)
    with pytest.raises(AssertionError, match=r"line 3: .*'B'.* was recorded, and now nothing comes \(2 were .* 1 came"):
        recording.check(same.down[:1])
    with pytest.raises(AssertionError, match="2 were recorded, and now .* comes besides"):
        recording.check([*same.down, *same.down])
    recording.check(other.down, ignore=["TextFrame.text"])
    recording.check([], UP)


async def test_every_value_that_can_be_recorded_comes_back(pipes_clock, tmp_path) -> None:
    path = tmp_path / "values.jsonl"
    metrics = MetricsFrame(data=[Line("tea", 1.5), {"a": (1, None, b"\x00\xff")}, {1: "one"}, {"$x": [math.inf, True]}])
    order = Order(number=3, lines=[Line("milk", 0.5)], interruptible=False)
    order.pts = 123
    order.metadata["from"] = ("shop", 1)
    sent = [TextFrame("zürich\n"), InputAudioFrame(b"\x01\x02", 16_000), order, metrics]
    await run_processor(FrameRecorder(path, classes=[Order, Line]), sent)
    recording = await Recording.read(path, classes=[Order, Line])
    kinds = [type(recorded.make()) for recorded in recording.frames]
    recording.check(sorted(sent, key=lambda frame: kinds.index(type(frame))))  # a system frame may have overtaken
    back = {type(recorded.make()): recorded.make() for recorded in recording.frames}
    assert back[Order].lines == [Line("milk", 0.5)]
    assert (back[Order].pts, back[Order].metadata, back[Order].interruptible) == (123, {"from": ("shop", 1)}, False)
    assert back[MetricsFrame].data == metrics.data
    assert back[TextFrame].text == "zürich\n"
    assert recording.frames[0].make() is not recording.frames[0].make()


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
values = st.recursive(
    plain,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(values)
def test_any_value_survives_the_file(value) -> None:
    codec = FrameCodec([Order])
    record = json.loads(json.dumps(codec.encode(Order(lines=[value])), allow_nan=False))
    assert repr(codec.decode(record).lines) == repr([value])


async def test_what_cannot_be_recorded_is_named(pipes_clock, tmp_path) -> None:
    async def fails(recorder: FrameRecorder, frame) -> str:
        with pytest.raises(ExceptionGroup) as caught:
            await run_processor(recorder, [frame])
        (error,) = errors_in(caught.value)
        assert isinstance(error, RecordingError)
        return str(error)

    path = tmp_path / "x.jsonl"
    assert "Order cannot be recorded: give its class, classes=[Order]" in await fails(FrameRecorder(path), Order())
    files = FrameRecorder(path, classes=[WithFile])
    assert "WithFile.file cannot be recorded: it is <object" in await fails(files, WithFile(file=object()))
    assert "WithFile.file['a'][0]" in await fails(
        FrameRecorder(path, classes=[WithFile]), WithFile(file={"a": [object()]})
    )
    caches = FrameRecorder(path, classes=[WithCache])
    assert "WithCache._cache cannot be recorded: WithCache is made without it" in await fails(caches, WithCache())
    metadata = TextFrame("x")
    metadata.metadata["who"] = object()
    assert "TextFrame.metadata['who']" in await fails(FrameRecorder(path), metadata)


async def test_fields_are_left_out_when_that_is_asked_for(pipes_clock, tmp_path) -> None:
    path = tmp_path / "x.jsonl"
    recorder = FrameRecorder(path, classes=[WithFile, WithCache], skip=["WithFile.file", "WithCache._cache"])
    await run_processor(recorder, [WithFile("a", object()), WithCache("b")])
    recording = await Recording.read(path, classes=[WithFile, WithCache])
    assert [recorded.make().text for recorded in recording.frames] == ["a", "b"]
    assert recording.frames[0].make().file is None


async def test_errors_on_their_way_up_are_recorded_without_their_objects(pipes_clock, tmp_path) -> None:
    @each
    def fails(frame: TextFrame) -> None:
        raise ValueError("no")

    path = tmp_path / "x.jsonl"
    await run_pipeline([FrameRecorder(path), fails], texts("a"), params=PipelineParams(on_error=ErrorPolicy.REPORT))
    frame = (await Recording.read(path)).frames[1].make()
    assert isinstance(frame, ErrorFrame)
    assert (frame.error, frame.exception) == ("no", None)


async def test_only_what_is_asked_for_is_recorded(pipes_clock, tmp_path) -> None:
    path = tmp_path / "x.jsonl"
    recorder = FrameRecorder(path, types=(TextFrame, SystemFrame))
    await run_processor(recorder, [TextFrame("a"), InputAudioFrame(b"", 16_000), Order()])
    assert [type(recorded.make()) for recorded in (await Recording.read(path)).frames] == [TextFrame]


async def test_interrupts_are_replayed_when_that_is_asked_for(pipes_clock, tmp_path) -> None:
    path = tmp_path / "x.jsonl"
    task = PipelineTask(Pipeline([FrameRecorder(path)]))
    async with running(task):
        await trio.sleep(3)
        task.interrupt()
    recording = await Recording.read(path)
    assert [type(recorded.make()) for recorded in recording.frames] == [InterruptionFrame]

    for wanted in (False, True):
        interrupts = []
        began = trio.current_time()

        class Watch:
            def on_interrupt(self, task, interrupts=interrupts, began=began):
                interrupts.append(trio.current_time() - began)

        task = PipelineTask(Pipeline([Answers()]), observers=[Watch()])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            await recording.replay(task, interruptions=wanted)
        assert interrupts == ([pytest.approx(3)] if wanted else [])


async def test_the_end_may_be_left_to_the_caller(pipes_clock, tmp_path) -> None:
    path = tmp_path / "x.jsonl"
    await session(path)
    task = PipelineTask(Pipeline([shout]))
    async with running(task), task.open_output(TextFrame, buffer=10) as said:
        recording = await replay(path, task, stop=False)
        assert task.state is TaskState.RUNNING
        assert [(await said.receive()).text for _ in recording.frames] == ["A", "B", "C"]
    with pytest.raises(trio.ClosedResourceError):
        await recording.replay(task)
    with pytest.raises(ConfigurationError, match="direction='up'"):
        await recording.replay(task, direction="up")


async def test_a_cancelled_session_is_recorded_up_to_the_cancel(pipes_clock, tmp_path) -> None:
    path = tmp_path / "x.jsonl"
    task = PipelineTask(Pipeline([FrameRecorder(path), Answers()]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task.run)
        await task.queue_frames(texts("a", "b"))
        await trio.sleep(0.6)
        task.cancel()
    recording = await Recording.read(path)
    assert [recorded.make().text for recorded in recording.frames] == ["a", "b", "a?"]
    assert recording.end == pytest.approx(0.6e9)


async def test_a_recorder_keeps_every_rule(pipes_clock, tmp_path) -> None:
    from trio_pipes.testing._trial import StrangeControl, StrangeData, StrangeSystem

    classes = [StrangeControl, StrangeData, StrangeSystem]

    def whole() -> None:
        lines = (tmp_path / "x.jsonl").read_bytes().splitlines() if (tmp_path / "x.jsonl").exists() else []
        for line in lines:
            json.loads(line)
        assert not lines or b'"end"' in lines[-1]

    await check_processor(
        lambda: FrameRecorder(tmp_path / "x.jsonl", classes=classes), after=whole, points=30, skip=["together"]
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
@pytest.mark.parametrize("words", [[], ["a"]], ids=["at the header", "later"])
async def test_a_full_disk_is_an_error(pipes_clock, words) -> None:
    async with nothing_left():
        with pytest.raises(ExceptionGroup) as caught:
            await run_processor(FrameRecorder("/dev/full"), texts(*words))
    assert [type(error) for error in errors_in(caught.value)] == [OSError]
    assert "No space left" in str(errors_in(caught.value)[0])


async def test_a_path_that_cannot_be_written_is_an_error(pipes_clock, tmp_path) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await run_processor(FrameRecorder(tmp_path / "no" / "such" / "folder"), [])
    assert isinstance(errors_in(caught.value)[0], FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        await Recording.read(tmp_path / "nothing")


async def test_a_slow_disk_makes_the_pusher_wait_and_not_the_loop(pipes_clock, tmp_path, monkeypatch) -> None:
    import threading

    from trio_pipes.testing import _frame_recorder

    monkeypatch.setattr(_frame_recorder, "BACKLOG", 100)
    go = threading.Event()

    class Slow(FrameRecorder):
        def _write(self, lines):
            go.wait(10)
            super()._write(lines)

    recorder = Slow(tmp_path / "x.jsonl")
    task = PipelineTask(Pipeline([recorder]))
    async with running(task):
        await task.queue_frames(texts(*range(20)))
        for _ in range(100):  # the loop turns; the clock stands, for a thread works
            await trio.lowlevel.checkpoint()
        assert task.statistics().frames_out < 5
        go.set()
    assert len((await Recording.read(tmp_path / "x.jsonl")).frames) == 20


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "line 1: this is no recording of frames, it begins with b''"),
        ("RIFF\x00\x01", "line 1: this is no recording"),
        ('{"a": 1}\n', "line 1: this is no recording"),
        (HEADER.replace("1", "99") + LINE + END, "line 1: a recording of version 99, expected 1"),
        (HEADER, "line 2: cut off, the end is missing"),
        (HEADER + LINE, "line 3: cut off"),
        (HEADER + LINE + LINE[:30], "line 3: cut off"),
        (HEADER + LINE + END + LINE[:30], "line 4: cut off"),
        (HEADER + LINE[:30] + "\n" + END, "line 2: damaged"),
        (HEADER + LINE + "\n" + END, "line 3: damaged"),
        (HEADER + "[1]\n" + END, "line 2: [1], expected a JSON object"),
        (HEADER + LINE.replace("TextFrame", "Path") + END, "line 2: 'Path' is none of the frame classes"),
        (HEADER + LINE.replace("TextFrame", "os.system") + END, "line 2: 'os.system' is none of the frame classes"),
        (HEADER + LINE.replace('"TextFrame"', "5") + END, "line 2: 5 is none of the frame classes"),
        (HEADER + LINE.replace("text", "words") + END, "line 2: no TextFrame can be made of"),
        (HEADER + LINE.replace('"a"', '{"$eval": "1"}') + END, "'$eval' is none of the forms"),
        (HEADER + LINE.replace('"a"', '{"$bytes": "*"}') + END, "line 2: {'$bytes': '*'} cannot be read"),
        (HEADER + LINE.replace('"a"', '{"$record": "Path", "fields": {}}') + END, "line 2: 'Path' is none of"),
        (HEADER + LINE.replace('"time": 5', '"time": -5') + END, "line 2:"),
        (HEADER + LINE.replace('"time": 5', '"time": "5"') + END, "line 2:"),
        (HEADER + LINE.replace("downstream", "left") + END, "line 2:"),
        (HEADER + LINE.replace('"time"', '"pts": 1.5, "time"') + END, "line 2: pts=1.5"),
        (HEADER + LINE.replace('"time"', '"more": 1, "time"') + END, "line 2:"),
        (HEADER + LINE + LINE + END, "line 4: the end tells of 1 frames at 7, and 2 are here"),
        (HEADER + LINE + END.replace("7", "true"), "line 3: the end tells of 1 frames at True"),
        (HEADER + LINE + END + LINE, "line 4: something stands behind the end"),
    ],
    ids=range(26),
)
async def test_what_is_damaged_is_named_with_its_line(pipes_clock, tmp_path, content, says) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(content)
    with pytest.raises(RecordingError, match=re.escape(says)) as caught:
        await Recording.read(path)
    assert str(path) in str(caught.value)


async def test_what_is_there_can_be_had(pipes_clock, tmp_path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(HEADER + LINE + LINE[:30])
    recording = await Recording.read(path, partial=True)
    assert [recorded.make().text for recorded in recording.frames] == ["a"]
    assert recording.end is None
    task = PipelineTask(Pipeline([shout]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task.run)
        await recording.replay(task)
    assert (await task.wait_finished()).frames_in == 1


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=30), st.integers(min_value=0, max_value=len(HEADER + LINE + END) - 1))
def test_no_damage_makes_more_than_a_clear_error(bytes_in_between, at) -> None:
    from trio_pipes.testing._recording import _parse

    whole = (HEADER + LINE + END).encode()
    damaged = whole[:at] + bytes_in_between + whole[at + len(bytes_in_between) :]
    try:
        recording = _parse("x", damaged, FrameCodec(), False)
    except RecordingError as exc:
        assert "line " in str(exc)
    else:
        assert len(recording.frames) <= 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"types": int}, "types="),
        ({"classes": [3]}, "classes: 3"),
        ({"classes": [Path]}, f"classes: {Path!r}, expected frame classes"),
        ({"classes": [type("TextFrame", (TextFrame,), {})]}, "two are called TextFrame"),
        ({"classes": [type("Own", (TextFrame,), {"__init__": lambda self: None})]}, "Own has an __init__ of its own"),
        ({"skip": "TextFrame.text"}, "skip='TextFrame.text'"),
        ({"skip": ["text"]}, "skip=['text']"),
        ({"name": ""}, "name=''"),
    ],
    ids=range(8),
)
def test_bad_recorders_are_refused(settings, says, tmp_path) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        FrameRecorder(tmp_path / "x", **settings)


async def test_received_can_be_checked_as_it_is(pipes_clock, tmp_path) -> None:
    path = tmp_path / "x.jsonl"
    received = await run_pipeline([FrameRecorder(path), Answers()], texts("a", "b"))
    assert isinstance(received, Received)
    recording = await Recording.read(path)
    recording.check(received.down)
    recording.check(received.up, UP)


# Held open round several runs, the file is begun anew by each: the last one is in it.
async def test_each_run_begins_the_file_anew(pipes_clock, tmp_path) -> None:
    path = tmp_path / "x.jsonl"
    pipeline = Pipeline([FrameRecorder(path)])
    async with pipeline:
        for words in (["one", "two", "three"], ["four"]):
            task = PipelineTask(pipeline)
            await task.queue_frames([TextFrame(word) for word in words])
            task.stop_when_done()
            await task.run()
    assert [recorded.make().text for recorded in (await Recording.read(path)).frames] == ["four"]


async def test_a_block_without_a_run_records_nothing(pipes_clock, tmp_path) -> None:
    path = tmp_path / "x.jsonl"
    async with Pipeline([FrameRecorder(path)]):
        pass
    assert (await Recording.read(path)).frames == ()
