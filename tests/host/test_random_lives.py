"""Tasks and runners that are treated in random ways: none hangs, none loses what it accepted, none leaves anything."""

import pytest
import trio
import trio.testing
from hypothesis import given, strategies as st

from examples import examples
from hosting import Lives, Plain, Probe, Slow, Urgent, task_of
from trio_pipes import (
    Direction,
    DuplicateName,
    EndTaskFrame,
    FrameProcessor,
    PipelineRunner,
    Restart,
    TaskState,
    TextFrame,
    each,
)


@each
def same(frame: TextFrame) -> TextFrame:
    return frame


@each
async def rest(frame: TextFrame) -> TextFrame:
    await trio.sleep(0.1)
    return frame


PARTS = {
    "probe": Probe,
    "slow": lambda: Slow(0.3),
    "function": lambda: same,
    "async function": lambda: rest,
    "inline": lambda: FrameProcessor(inline=True),
}

pauses = st.sampled_from([0, 0, 0, 0.05, 0.3, 1])
task_steps = st.tuples(
    st.sampled_from(["frame", "frame", "frames", "up", "urgent", "flush", "flush 0.1", "output", "end task", "stop"]),
    pauses,
)


def on_a_test_clock(main) -> None:
    async def bounded() -> None:
        with trio.fail_after(10_000):
            before = trio.lowlevel.current_statistics().tasks_living
            await main()
            await trio.testing.wait_all_tasks_blocked()
            assert trio.lowlevel.current_statistics().tasks_living == before

    trio.run(bounded, clock=trio.testing.MockClock(autojump_threshold=0))


@examples(80)
@given(
    parts=st.lists(st.sampled_from(sorted(PARTS)), min_size=1, max_size=4),
    queue_size=st.sampled_from([1, 2, 64]),
    steps=st.lists(st.lists(task_steps, max_size=6), min_size=1, max_size=3),
    starts_at=pauses,
    over=st.sampled_from(["stop", "cancel", "outside"]),
)
def test_a_task_ends_and_loses_nothing_whatever_is_asked_of_it(parts, queue_size, steps, starts_at, over) -> None:
    log: list[str] = []
    last = Probe()
    accepted: list[str] = []
    watched: list[TaskState] = []

    class Watch:
        def on_finished(self, task, result) -> None:
            watched.append(result.state)

    async def user(task, number: int, steps) -> None:
        count = 0
        for step, pause in steps:
            await trio.sleep(pause)
            try:
                match step:
                    case "frame":
                        text = f"{number}.{count}"
                        await task.queue_frame(TextFrame(text))
                        accepted.append(text)
                        count += 1
                    case "frames":
                        # One by one, so that what was accepted is known when the rest is refused.
                        for _ in range(20):
                            text = f"{number}.{count}"
                            await task.queue_frames([TextFrame(text)])
                            accepted.append(text)
                            count += 1
                    case "up":
                        await task.queue_frame(TextFrame("up"), Direction.UPSTREAM)
                    case "urgent":
                        await task.queue_frame(Urgent())
                    case "flush":
                        await task.flush(100)
                    case "flush 0.1":
                        await task.flush(0.1)
                    case "output":
                        with trio.move_on_after(0.5):
                            async with task.open_output(TextFrame, buffer=1) as frames:
                                async for _ in frames:
                                    await trio.sleep(0.05)
                    case "end task":
                        await task.queue_frame(EndTaskFrame())
                    case "stop":
                        task.stop_when_done()
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                pass  # somebody asked for the end

    async def main() -> None:
        task = task_of(
            Lives(log, "a"), *[PARTS[part]() for part in parts], last, queue_size=queue_size, observers=[Watch()]
        )

        async def run() -> None:
            await trio.sleep(starts_at)
            if over == "outside":
                with trio.move_on_after(2):
                    await task.run()
            else:
                await task.run()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            async with trio.open_nursery() as users:
                for number, its_steps in enumerate(steps):
                    users.start_soon(user, task, number, its_steps)
            (task.cancel if over == "cancel" else task.stop_when_done)()
        result = await task.wait_finished()
        assert result.error is None
        if result.state is TaskState.ENDED:
            down = [text for text in last.texts if text != "up"]
            assert sorted(down) == sorted(accepted)
            for number in range(len(steps)):
                mine = [text for text in down if text.startswith(f"{number}.")]
                assert mine == [text for text in accepted if text.startswith(f"{number}.")]
            assert result.frames_out >= len(accepted)
        else:
            assert result.state is TaskState.CANCELLED
            assert over != "stop"
            assert set(last.texts) - {"up"} <= set(accepted)
        assert log.count("a up") == log.count("a down")
        assert watched in ([], [result.state])

    on_a_test_clock(main)


runner_steps = st.tuples(
    st.sampled_from(
        [
            "add",
            "add helper",
            "add child",
            "add isolated",
            "add bad isolated",
            "add restart",
            "add grandchild",
            "call",
            "end one",
            "cancel one",
            "stop",
            "frame",
        ]
    ),
    pauses,
)


@examples(80)
@given(
    steps=st.lists(runner_steps, max_size=12),
    auto_end=st.booleans(),
    over=st.sampled_from(["end", "cancel", "outside"]),
    starts_at=pauses,
)
def test_a_runner_ends_and_leaves_nothing_whatever_is_asked_of_it(steps, auto_end, over, starts_at) -> None:
    async def main() -> None:
        runner = PipelineRunner(Plain("first"), handle_sigint=False)
        workers: list = [runner.get_worker("first")]

        has_begun = False

        async def run() -> None:
            nonlocal has_begun
            await trio.sleep(starts_at)
            has_begun = True
            await runner.run(auto_end=auto_end)

        async def call(worker) -> None:
            try:
                await runner.run(worker)
            except (RuntimeError, DuplicateName):
                worker.cancel()

        class Bad(Plain):
            async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
                await trio.sleep(0.2)
                raise ValueError("isolated")

        async def play(nursery: trio.Nursery) -> None:
            for number, (step, pause) in enumerate(steps):
                await trio.sleep(pause)
                worker = task_of(Slow(0.2)) if number % 2 else Plain(f"w{number}", needs=0.2, drain=0.1)
                try:
                    match step:
                        case "add":
                            runner.add_workers(worker)
                        case "add helper":
                            runner.add_workers(worker, helper=True)
                        case "add child":
                            runner.add_workers(worker, parent="first")
                        case "add isolated":
                            runner.add_workers(worker, isolated=True)
                        case "add bad isolated":
                            runner.add_workers(worker := Bad(f"bad{number}"), isolated=True)
                        case "add restart":
                            made = [Bad("again"), Bad("again"), Plain("again", needs=0.1, drain=0.1)]
                            runner.add_workers(worker := Restart(lambda made=made: made.pop(0)), isolated=True)
                        case "add grandchild":
                            runner.add_workers(worker, parent=workers[-1].name)
                        case "call":
                            nursery.start_soon(call, worker)
                        case "end one":
                            workers[number % len(workers)].stop_when_done()
                            continue
                        case "cancel one":
                            workers[number % len(workers)].cancel()
                            continue
                        case "stop":
                            runner.stop_when_done()
                            continue
                        case "frame":
                            tasks = [worker for worker in workers if hasattr(worker, "queue_frame")]
                            for task in tasks:
                                await task.queue_frame(TextFrame())
                            continue
                except (RuntimeError, DuplicateName, trio.ClosedResourceError, trio.BrokenResourceError):
                    continue
                workers.append(worker)
            await trio.sleep(1)

        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                await play(nursery)
                for _ in range(3):  # a call may begin after the others have ended, and is then told too
                    if over == "outside":
                        scope.cancel()
                    else:
                        getattr(runner, over)()
                    await trio.sleep(5)
                    for worker in workers:
                        worker.stop_when_done()
        assert runner.statistics().calls == 0
        for worker in workers:
            if hasattr(worker, "log") and any(line.endswith(" up") for line in worker.log):
                assert worker.log.count(f"{worker.name} up") == worker.log.count(f"{worker.name} down")
        if has_begun:
            with trio.fail_after(1):
                await runner.wait_finished()

    on_a_test_clock(main)


@examples(80)
@given(data=st.lists(st.sampled_from(["open", "close first", "close last", "signal"]), max_size=12))
def test_g33_runners_that_come_and_go_leave_the_signal_handlers_as_they_were(data) -> None:
    import signal

    def handlers() -> list[object]:
        return [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]

    outside = handlers()

    async def main() -> None:
        before = handlers()  # Trio has its own while it runs
        up: list[tuple[PipelineRunner, Plain]] = []
        async with trio.open_nursery() as nursery:
            for step in data:
                match step:
                    case "open":
                        worker = Plain("w")
                        up.append((PipelineRunner(worker), worker))
                        await nursery.start(up[-1][0].run)
                    case "close first" | "close last" if up:
                        runner, _ = up.pop(0 if step == "close first" else -1)
                        runner.end()
                        await runner.wait_finished()
                    case "signal" if up:
                        signal.raise_signal(signal.SIGINT)
                        for runner, worker in up:
                            await runner.wait_finished()
                            assert worker.log[-1] == "w down"
                        up.clear()
                if not up:
                    assert handlers() == before
            for runner, _ in up:
                runner.end()

    on_a_test_clock(main)
    assert handlers() == outside


@pytest.mark.parametrize("queue_size", [1, 2, 3, 64])
async def test_a_long_stream_through_a_small_pipeline_loses_nothing(autojump_clock, queue_size) -> None:
    last = Probe()
    task = task_of(Probe(), same, rest, Probe(), last, queue_size=queue_size)
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        for n in range(1000):
            await task.queue_frame(TextFrame(str(n)))
        task.stop_when_done()
    assert last.texts == [str(n) for n in range(1000)]
