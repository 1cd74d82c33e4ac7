"""Runners in two processes, over real brokers; one of the processes is killed."""

import secrets
import signal
import subprocess
import sys

import pytest
import trio

from hosting import Plain
from trio_pipes import PipelineRunner, WorkerChange
from trio_pipes.net import PostgresBus, RedisBus

pytestmark = pytest.mark.server

OTHER = """
import sys
import trio
sys.path[:0] = {path!r}
from hosting import Plain
from trio_pipes import PipelineRunner
from trio_pipes.net import PostgresBus, RedisBus

runner = PipelineRunner(Plain("a"), Plain("b"), name="other", bus={bus})
trio.run(runner.run)
"""


def buses(server: str) -> tuple[str, object]:
    """A bus as text, and the same."""
    channel = f"registry_{secrets.token_hex(4)}"
    if server == "redis":
        text = f"RedisBus('redis://127.0.0.1:6379', channel={channel!r}, lease=1.5)"
    else:
        text = f"PostgresBus('postgresql://postgres@127.0.0.1/test', channel={channel!r}, lease=1.5)"
    return text, eval(text, {"RedisBus": RedisBus, "PostgresBus": PostgresBus})


async def start(program: str, *, task_status) -> None:
    await trio.run_process(
        [sys.executable, "-c", program], check=False, task_status=task_status, stderr=subprocess.DEVNULL
    )


@pytest.mark.parametrize("server", ["redis", "postgres"])
async def test_b4_a_process_that_is_killed_is_forgotten_within_its_lease_and_its_names_are_free(server: str) -> None:
    text, bus = buses(server)
    runner = PipelineRunner(bus=bus, handle_sigint=False)
    program = OTHER.format(path=sys.path, bus=text)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: runner.run(auto_end=False, task_status=task_status))
            async with runner.registry.watch("a", "b") as events:
                for signum in (signal.SIGKILL, signal.SIGINT):
                    process = await nursery.start(start, program)
                    ready = [await anext(events) for _ in range(2)]
                    assert {event.worker.name for event in ready} == {"a", "b"}
                    assert WorkerChange.GONE not in {event.kind for event in ready}
                    process.send_signal(signum)
                    at = trio.current_time()
                    gone = [await anext(events) for _ in range(2)]
                    took = trio.current_time() - at
                    assert {event.kind for event in gone} == {WorkerChange.GONE}
                    if signum == signal.SIGKILL:
                        assert 0.5 < took < 5  # on a busy machine
                        runner.add_workers(Plain("a"))
                        await runner.wait_ready("a")
                        assert (await anext(events)).kind is WorkerChange.BACK
                        runner.get_worker("a").stop_when_done()
                        assert (await anext(events)).kind is WorkerChange.GONE
                        await trio.sleep(0.2)  # it is given back
                    else:
                        assert {event.reason for event in gone} <= {"it has ended", "its runner has ended"}
                    await process.wait()
            runner.end()
