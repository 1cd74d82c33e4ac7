"""Frames that cross a bus, from one pipeline to another and back."""

import pytest
import trio

from bridge_kit import Dialogue, Front, Shout, Urgent, bridged
from bus_kit import open_medium
from hosting import Probe, texts
from trio_pipes import (
    BridgedPipeline,
    BusBridge,
    ConfigurationError,
    Direction,
    ErrorFrame,
    FrameProcessor,
    Pipeline,
    PipelineParams,
    PipelineRunner,
    PipelineTask,
    QueueFrameMessage,
    TaskState,
    TextFrame,
)
from trio_pipes._base import Codec
from workers_kit import Notes

REMOTE = pytest.mark.parametrize("remote", [False, True], ids=["one-process", "two-processes"])


@pytest.fixture
async def medium(nursery):
    async with open_medium() as medium:
        medium.codec = Codec()
        yield medium


@REMOTE
async def test_b8_frames_cross_and_come_back_in_order(autojump_clock, medium, remote) -> None:
    front, dialogue = Front(), Dialogue()
    async with bridged(front, dialogue, medium=medium if remote else None):
        await front.task.queue_frames(texts(*(f"a{n}" for n in range(100))))
    assert front.after.texts == [f"A{n}" for n in range(100)]
    assert dialogue.top.texts == [f"a{n}" for n in range(100)]
    assert front.task.result.state is TaskState.ENDED


@REMOTE
async def test_lifecycle_stays_where_it_is(autojump_clock, medium, remote) -> None:
    front, dialogue = Front(), Dialogue()
    async with bridged(front, dialogue, medium=medium if remote else None):
        await front.task.queue_frames(texts("a"))
        await front.task.flush()
        front.task.stop_when_done()
        await front.task.wait_finished()
        assert front.after.kinds == ["StartFrame", "TextFrame", "EndFrame"]
        assert "EndFrame" not in dialogue.top.kinds
        assert dialogue.task.state is TaskState.RUNNING


@REMOTE
async def test_the_front_ends_when_what_is_under_way_is_back(autojump_clock, medium, remote) -> None:
    front, dialogue = Front(), Dialogue(Shout(takes=0.1))
    async with bridged(front, dialogue, medium=medium if remote else None):
        await front.task.queue_frames(texts(*"abc"))
        front.task.stop_when_done()
        await front.task.wait_finished()
    assert front.after.texts == ["A", "B", "C"]


async def test_what_is_not_of_the_frames_passes_by(autojump_clock) -> None:
    class Said(TextFrame):
        pass

    front, dialogue = Front(frames=TextFrame, exclude=Said), Dialogue()
    async with bridged(front, dialogue):
        for frame in (TextFrame("a"), Said("b"), Urgent("c")):
            await front.task.queue_frame(frame)
    assert sorted(front.after.kinds[1:-1]) == ["Said", "TextFrame", "Urgent"]
    assert dialogue.top.kinds[1] == "TextFrame"
    assert len(dialogue.top.kinds) == 4  # start, text, end, and what says that nothing is under way


class Answers(FrameProcessor):
    """Sends each text back up as well."""

    async def process_frame(self, frame, direction) -> None:
        if isinstance(frame, TextFrame) and direction is Direction.DOWNSTREAM:
            await self.push_frame(TextFrame(f"re {frame.text}"), Direction.UPSTREAM)
        await self.push_frame(frame, direction)


@REMOTE
async def test_both_directions_cross_as_if_the_far_pipeline_stood_there(autojump_clock, medium, remote) -> None:
    above, below = Probe(), Probe()
    front = PipelineTask(Pipeline([above, BusBridge("dialogue"), below, Answers()]), name="front")
    far_top, far_bottom = Probe(), Probe()
    dialogue = PipelineTask(BridgedPipeline([far_top, Answers(), far_bottom]), name="dialogue")
    runners = [PipelineRunner(front, dialogue, handle_sigint=False)]
    if remote:
        runners = [PipelineRunner(task, bus=medium.bus(), handle_sigint=False) for task in (front, dialogue)]
    async with trio.open_nursery() as nursery:
        for runner in runners:
            await nursery.start(runner.run)
        await front.queue_frame(TextFrame("x"))
        await trio.sleep(5)
        for runner in runners:
            runner.end()
    assert above.texts == ["x", "re x", "re x"]  # from there, and from below the bridge through there
    assert below.texts == ["x", "re x"]
    assert far_bottom.texts == ["x", "re x"]


@REMOTE
async def test_a_slow_pipeline_makes_the_other_slow(autojump_clock, medium, remote) -> None:
    small = PipelineParams(queue_size=2)
    front = Front(params=small, window=4)
    dialogue = Dialogue(Shout(takes=1.0), params=small, window=4)
    async with bridged(front, dialogue, medium=medium if remote else None):
        with trio.move_on_after(0.5):
            await front.task.queue_frames(texts(*range(1000)))
        assert front.task.statistics().frames_in < 20
        front.task.cancel()


@REMOTE
async def test_system_frames_overtake(autojump_clock, medium, remote) -> None:
    front, dialogue = Front(), Dialogue(Shout(takes=1.0))
    async with bridged(front, dialogue, medium=medium if remote else None):
        await front.task.queue_frames(texts(*"abcdef"))
        await trio.sleep(0.5)
        await front.task.queue_frame(Urgent("now"))
        await trio.sleep(0.1)
        assert [kind for kind in front.after.kinds if kind == "Urgent"] == ["Urgent"]
        assert front.after.texts == []


@REMOTE
async def test_an_interrupt_here_is_one_there(autojump_clock, medium, remote) -> None:
    shout = Shout(takes=1.0)
    front, dialogue = Front(), Dialogue(shout)
    async with bridged(front, dialogue, medium=medium if remote else None):
        await trio.sleep(1)
        await front.task.queue_frames([*texts(*"abcdef"), TextFrame("kept", interruptible=False)])
        await trio.sleep(2.5)
        front.task.interrupt()
        await front.task.queue_frames(texts("new"))
        await trio.sleep(10)
        assert front.after.texts == ["A", "B", "KEPT", "NEW"]
        assert shout.interrupted == 1
        assert front.after.kinds.count("InterruptionFrame") == 1


@REMOTE
async def test_an_interrupt_there_is_one_here(autojump_clock, medium, remote) -> None:
    front, dialogue = Front(), Dialogue()
    async with bridged(front, dialogue, medium=medium if remote else None):
        await trio.sleep(1)
        dialogue.task.interrupt()
        await trio.sleep(1)
        dialogue.task.interrupt()
        await trio.sleep(1)
        assert front.after.kinds.count("InterruptionFrame") == 2
        assert dialogue.top.kinds.count("InterruptionFrame") == 2
        await front.task.queue_frames(texts("a"))
    assert front.after.texts == ["A"]


async def test_what_was_under_way_at_an_interrupt_is_dropped(autojump_clock, medium) -> None:
    front, dialogue = Front(), Dialogue()
    async with bridged(front, dialogue, medium=medium) as (_, two):
        await trio.sleep(1)
        medium.delay[two.bus] = 1.0
        await front.task.queue_frames(texts("stale"))
        await trio.sleep(1.5)  # it has come back to the medium, and not farther
        front.task.interrupt()
        await front.task.queue_frames(texts("new"))
        await trio.sleep(5)
        assert front.after.texts == ["NEW"]
        assert front.bridge.bridge_statistics().stale == 1


async def test_interrupts_can_stay_where_they_are(autojump_clock) -> None:
    shout = Shout()
    front, dialogue = Front(interrupts=False), Dialogue(shout)
    async with bridged(front, dialogue):
        front.task.interrupt()
        await trio.sleep(1)
        assert shout.interrupted == 0


async def test_frames_wait_for_a_far_pipeline_and_go_on_when_it_is_back(autojump_clock, medium) -> None:
    front, dialogue = Front(), Dialogue()
    one = PipelineRunner(front.task, bus=medium.bus(), handle_sigint=False)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        await front.task.queue_frames(texts("a"))
        await trio.sleep(5)
        assert front.after.texts == []
        for text in "ab":
            dialogue = Dialogue()
            two = PipelineRunner(dialogue.task, bus=medium.bus(), handle_sigint=False)
            nursery.start_soon(two.run)
            await trio.sleep(3)
            assert front.after.texts[-1] == text.upper()
            two.end()
            await two.wait_finished()
            await front.task.queue_frames(texts("b"))
            await trio.sleep(1)
        front.task.cancel()


class Errors(Probe):
    """Keeps what went wrong."""

    @property
    def errors(self) -> list[str]:
        return [frame.error for frame in self.seen if isinstance(frame, ErrorFrame)]


@pytest.mark.parametrize(("away", "after"), [("wait", 3.0), ("drop", 0.0)])
async def test_a_frame_that_cannot_cross_is_an_error_that_says_so(autojump_clock, away, after) -> None:
    errors, below = Errors(), Probe()
    bridge = BusBridge("dialogue", timeout=3.0, away=away)
    task = PipelineTask(Pipeline([errors, bridge, below]), name="front")
    async with trio.open_nursery() as nursery:
        await nursery.start(PipelineRunner(task, handle_sigint=False).run)
        await task.queue_frames(texts("a", "b"))
        await task.flush()
        assert trio.current_time() == 2 * after
        task.stop_when_done()
    assert len(errors.errors) == 2
    assert "did not cross to 'dialogue'" in errors.errors[0]
    assert below.texts == []


async def test_frames_can_pass_by_while_nobody_is_there(autojump_clock) -> None:
    front = Front(away="pass")
    async with bridged(front):
        await front.task.queue_frames(texts("a"))
    assert front.after.texts == ["a"]


@REMOTE
async def test_the_active_one_gets_the_frames_and_nothing_echoes(autojump_clock, medium, remote) -> None:
    front = Front(to=["greeter", "support"])
    greeter, support = Dialogue(name="greeter"), Dialogue(name="support", active=False)
    async with bridged(front, greeter, support, medium=medium if remote else None):
        await trio.sleep(2)
        await front.task.queue_frames(texts("a"))
        await trio.sleep(1)
        await greeter.pipeline.hand_over("support", {"why": "bored"})
        assert support.pipeline.activation_args == {"why": "bored"}
        await trio.sleep(1)
        await front.task.queue_frames(texts("b"))
        await trio.sleep(1)
        assert (greeter.top.texts, support.top.texts) == (["a"], ["b"])
        assert front.after.texts == ["A", "B"]
        await support.pipeline.hand_over("greeter")
        await trio.sleep(1)
        await front.task.queue_frames(texts("c"))
    assert greeter.top.texts == ["a", "c"]
    assert front.after.texts == ["A", "B", "C"]


async def test_what_an_inactive_pipeline_says_is_not_taken(autojump_clock) -> None:
    front, dialogue = Front(away="drop"), Dialogue(active=False)
    async with bridged(front, dialogue):
        await trio.sleep(1)
        await dialogue.task.queue_frames(texts("unasked"))
        await front.task.queue_frames(texts("a"))
        await trio.sleep(1)
        assert front.after.texts == []
        assert dialogue.pipeline.bridge_statistics().refused == 1


async def test_bridges_are_accepted_by_name(autojump_clock) -> None:
    errors = Errors()
    one = PipelineTask(Pipeline([errors, BusBridge("dialogue", name="one", away="drop")]), name="front")
    two = Front(name="other")
    two.bridge.name = "two"
    dialogue = Dialogue(bridges=["two"])
    async with bridged(two, dialogue) as (runner,):
        runner.add_workers(one)
        await runner.wait_ready("front")
        await trio.sleep(1)
        await one.queue_frames(texts("a"))
        await two.task.queue_frames(texts("b"))
        await trio.sleep(1)
        one.stop_when_done()
        await one.wait_finished()
    assert two.after.texts == ["B"]
    assert "takes frames of 'two', not of 'one'" in errors.errors[0]


async def test_several_bridges_share_a_pipeline(autojump_clock) -> None:
    one, two, dialogue = Front(), Front(name="second"), Dialogue()
    async with bridged(one, dialogue) as (runner,):
        runner.add_workers(two.task)
        await runner.wait_ready("second")
        await trio.sleep(1)
        await one.task.queue_frames(texts("a"))
        await two.task.queue_frames(texts("b"))
        await trio.sleep(1)
        two.task.stop_when_done()
        await two.task.wait_finished()
    assert sorted(one.after.texts) == sorted(two.after.texts) == ["A", "B"]


@REMOTE
async def test_a_message_queues_a_frame_in_a_task(autojump_clock, medium, remote) -> None:
    notes, dialogue = Notes("notes"), Dialogue()
    runners = [PipelineRunner(notes, dialogue.task, handle_sigint=False)]
    if remote:
        runners = [PipelineRunner(worker, bus=medium.bus(), handle_sigint=False) for worker in (notes, dialogue.task)]
    async with trio.open_nursery() as nursery:
        for runner in runners:
            await nursery.start(runner.run)
        await notes.registry.wait_ready("dialogue")
        assert await notes.send(QueueFrameMessage(TextFrame("speak"), target="dialogue"))
        await trio.sleep(1)
        assert await notes.deactivate_worker("dialogue")
        await notes.send(QueueFrameMessage(TextFrame("lost"), target="dialogue"))
        await trio.sleep(1)
        await notes.activate_worker("dialogue")
        await notes.send(QueueFrameMessage(TextFrame("up"), Direction.UPSTREAM, target="dialogue"))
        await trio.sleep(1)
        assert await notes.end_worker("dialogue")
        await dialogue.task.wait_finished()
        for runner in runners:
            runner.end()
    assert dialogue.top.texts[0] == "speak"
    assert sorted(dialogue.top.texts) == ["UP", "speak"]


async def test_hooks_run_before_the_frames_that_come_after(autojump_clock) -> None:
    log = []

    class Hooked(BridgedPipeline):
        async def on_activated(self, args) -> None:
            await trio.sleep(1)
            log.append(f"active {args}")

        async def on_deactivated(self) -> None:
            log.append("inactive")

    class Logs(FrameProcessor):
        async def process_frame(self, frame, direction) -> None:
            if isinstance(frame, TextFrame):
                log.append(frame.text)
            await self.push_frame(frame, direction)

    front = Front()
    pipeline = Hooked([Logs()], active=False)
    task = PipelineTask(pipeline, name="dialogue")
    async with bridged(front) as (runner,):
        runner.add_workers(Notes("boss"), task)
        await runner.wait_ready("dialogue", "boss")
        await runner.get_worker("boss").activate_worker("dialogue", 5)
        await front.task.queue_frames(texts("a"))
        await trio.sleep(3)
        await runner.get_worker("boss").deactivate_worker("dialogue")
        await trio.sleep(1)
    assert log == ["active 5", "a", "inactive"]


@pytest.mark.parametrize(
    "bad",
    [{"to": ()}, {"to": 5}, {"to": ""}, {"frames": "TextFrame"}, {"timeout": 0}, {"away": "no"}, {"window": 0}],
)
def test_what_a_bridge_cannot_be_given(bad) -> None:
    with pytest.raises(ConfigurationError):
        BusBridge(**{"to": "dialogue", **bad})


@pytest.mark.parametrize("bad", [{"bridges": [5]}, {"active": None}, {"frames": ()}, {"window": -1}])
def test_what_a_bridged_pipeline_cannot_be_given(bad) -> None:
    with pytest.raises(ConfigurationError):
        BridgedPipeline([Probe()], **bad)


async def test_a_bridged_pipeline_needs_a_name_and_a_runner(autojump_clock) -> None:
    with pytest.raises(ExceptionGroup, match="failed"):
        await PipelineTask(BridgedPipeline([Probe()])).run()
    task = PipelineTask(BridgedPipeline([Probe()]))
    with pytest.raises(ExceptionGroup) as caught:
        await PipelineRunner(task, handle_sigint=False).run()
    assert caught.group_contains(ConfigurationError, match="name of the task")
