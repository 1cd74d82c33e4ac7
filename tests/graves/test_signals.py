"""Signals: both are heard, the second too, and none after the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest
import trio
import trio.lowlevel
import trio.testing

from graves_kit import HUNG, places, task_at, texts
from hosting import Breaks, Plain, Probe, Slow, Stuck, nothing_left, task_of
from trio_pipes import (
    DuplicateName,
    EndFrame,
    PipelineRunner,
    TaskState,
    TextFrame,
)

BOTH = (signal.SIGINT, signal.SIGTERM)

# -- G18: SIGTERM, and the second Ctrl-C

STUCK_AT = {"a frame": TextFrame, "the end": EndFrame}


@pytest.mark.parametrize("first", BOTH, ids=lambda signum: signum.name)
@pytest.mark.parametrize("second", BOTH, ids=lambda signum: signum.name)
@pytest.mark.parametrize("at", STUCK_AT)
@places
async def test_g18_the_second_signal_cancels_while_the_first_waits(autojump_clock, place, first, second, at) -> None:
    tasks = [task_at(place, "tasks", Stuck(STUCK_AT[at])), task_at(place, "inline", Slow(1), Probe())]
    for task in tasks:
        await task.queue_frames(texts(1, 2))
    async with nothing_left():
        with trio.fail_after(HUNG):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(PipelineRunner(*tasks, grace_period=HUNG / 2).run)
                await trio.sleep(1.5)
                signal.raise_signal(first)
                await trio.sleep(10)
                assert [task.has_finished() for task in tasks] == [False, True]  # the first one is an end
                signal.raise_signal(second)
                await tasks[0].wait_finished()
                assert trio.current_time() == 11.5
    assert [task.state for task in tasks] == [TaskState.CANCELLED, TaskState.ENDED]


# Impatience: four in a row, as a user presses it.
async def test_g18_more_signals_change_nothing(autojump_clock) -> None:
    task = task_of(Stuck(TextFrame), Stuck(EndFrame))
    await task.queue_frame(TextFrame("x"))
    async with nothing_left():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(PipelineRunner(task).run)
            await trio.sleep(1)
            for _ in range(4):
                signal.raise_signal(signal.SIGINT)
                await trio.lowlevel.checkpoint()
    assert trio.current_time() == 1
    assert task.state is TaskState.CANCELLED


CHILD = """
import sys, trio
from contextlib import asynccontextmanager
from trio_pipes import *

class Stuck(FrameProcessor):
    async def process_frame(self, frame, direction):
        if isinstance(frame, TextFrame):
            print("stuck", flush=True)
            await trio.sleep_forever()
        await self.push_frame(frame, direction)

    @asynccontextmanager
    async def lifespan(self):
        try:
            yield
        finally:
            await trio.sleep(0.01)
            print("cleaned up", flush=True)

class Tells:
    name = "tells"
    scope = trio.CancelScope()

    async def run(self, *, task_status):
        with self.scope:
            task_status.started()
            await trio.sleep_forever()

    def stop_when_done(self, reason=None):
        print("told to end", flush=True)
        return Requested()

    def cancel(self, reason=None):
        self.scope.cancel()
        return Requested()

async def main():
    task = PipelineTask(Pipeline([Stuck()]))
    await task.queue_frame(TextFrame("x"))
    await PipelineRunner(Tells(), task).run()
    print(task.state.name, flush=True)

trio.run(main)
print("the program goes on", flush=True)
"""


# A real process, with all defaults: an orchestrator sends SIGTERM, waits, and sends it again.
@pytest.mark.parametrize(
    "signums", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT)], ids=["TERM", "INT"]
)
def test_g18_a_stuck_process_cleans_up_and_goes_on_after_two_signals(signums) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "stuck\n"
        child.send_signal(signums[0])
        assert child.stdout.readline() == "told to end\n"  # two at once would be one to the operating system
        assert child.poll() is None  # the first waits: 30 s of grace
        child.send_signal(signums[1])
        out, err = child.communicate(timeout=40)
    assert (child.returncode, err) == (0, "")
    assert out.split("\n")[:-1] == ["cleaned up", "CANCELLED", "the program goes on"]


# -- G33: signal handlers


@pytest.fixture
def handlers_as_before():
    before = [signal.getsignal(signum) for signum in BOTH]
    yield
    assert [signal.getsignal(signum) for signum in BOTH] == before


ENDINGS = ["ends", "is cancelled", "crashes", "is left", "times out", "a signal", "two signals", "duplicate", "not run"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("own", [False, True])
async def test_g33_the_old_handlers_are_back_however_it_ends(autojump_clock, handlers_as_before, ending, own) -> None:
    heard: list[int] = []
    before = [signal.getsignal(signum) for signum in BOTH]
    if own:
        for signum in BOTH:
            signal.signal(signum, lambda number, frame: heard.append(number))
    mine = [signal.getsignal(signum) for signum in BOTH]
    try:
        worker = Breaks("w", LookupError("crash"), after=1) if ending == "crashes" else Plain("w")
        runner = PipelineRunner(worker)
        try:
            with trio.move_on_after(1 if ending == "times out" else HUNG):
                async with trio.open_nursery() as nursery:
                    if ending == "not run":
                        runner.cancel()
                    await nursery.start(runner.run)
                    assert ending == "not run" or [signal.getsignal(signum) for signum in BOTH] != mine
                    await trio.sleep(0.5)
                    if ending == "ends":
                        runner.end()
                    elif ending == "is cancelled":
                        runner.cancel()
                    elif ending == "is left":
                        nursery.cancel_scope.cancel()
                    elif "signal" in ending:
                        signal.raise_signal(signal.SIGINT)
                        if "two" in ending:
                            signal.raise_signal(signal.SIGTERM)
                    elif ending == "duplicate":
                        with pytest.raises(DuplicateName):
                            await runner.run(Plain("w"))
                        runner.end()
        except ExceptionGroup:
            assert ending == "crashes"
        assert [signal.getsignal(signum) for signum in BOTH] == mine
        if own:  # and they work: what comes now is not swallowed
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            assert heard == [signal.SIGINT, signal.SIGTERM]
    finally:
        for signum, handler in zip(BOTH, before, strict=True):
            signal.signal(signum, handler)


# Three runners that come and go in every order.
@pytest.mark.parametrize("order", ["012", "021", "102", "120", "201", "210"])
async def test_g33_runners_leave_in_any_order(autojump_clock, handlers_as_before, order) -> None:
    before = [signal.getsignal(signum) for signum in BOTH]
    runners = [PipelineRunner(Plain(f"w{n}")) for n in range(3)]
    async with nothing_left(), trio.open_nursery() as nursery:
        for runner in runners:
            await nursery.start(runner.run)
        taken = [signal.getsignal(signum) for signum in BOTH]
        for number in order:
            assert [signal.getsignal(signum) for signum in BOTH] == taken != before
            runners[int(number)].cancel()
            await runners[int(number)].wait_finished()
        assert [signal.getsignal(signum) for signum in BOTH] == before


AFTER = """
import os, signal, trio
from trio_pipes import *

async def main():
    task = PipelineTask(Pipeline([FrameProcessor()]))
    HOW
    await PipelineRunner(task).run()

HERE
print("run() has returned", flush=True)
os.kill(os.getpid(), signal.SIGNUM)
import time
time.sleep(60)
print("swallowed", flush=True)
"""


# A real process: after run() a signal does what it did before.
@pytest.mark.parametrize("how", ["task.stop_when_done()", "task.cancel()"])
@pytest.mark.parametrize("signum", BOTH, ids=lambda signum: signum.name)
def test_g33_a_signal_after_run_ends_the_process(how, signum) -> None:
    code = AFTER.replace("HOW", how).replace("HERE", "trio.run(main)").replace("SIGNUM", signum.name)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=40, check=False
    )
    assert done.stdout == "run() has returned\n"
    assert done.returncode in (-signum, 130 if signum is signal.SIGINT else 143) or "KeyboardInterrupt" in done.stderr


# Under `nohup` SIGINT is ignored before we come; afterwards it is again.
async def test_g33_an_ignored_signal_is_ignored_again(autojump_clock, handlers_as_before) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        runner = PipelineRunner(Plain("w"))
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            runner.end()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
