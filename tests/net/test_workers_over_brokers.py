"""Workers and bridges over real brokers: a handover, an end that travels, a pipeline that does its part elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_hex

import pytest
import trio

from bridge_kit import Dialogue, Front, bridged
from hosting import texts
from postgres_kit import DSN, need_postgres
from redis_kit import URL, fresh_channel, need_redis
from trio_pipes import Bus, PipelineRunner, PostgresBus, RedisBus
from workers_kit import Data, Notes

pytestmark = pytest.mark.server


@pytest.fixture(params=["redis", "postgres"])
def make_bus(request: pytest.FixtureRequest) -> Callable[[], Bus]:
    if request.param == "redis":
        need_redis()
        channel = fresh_channel()
        return lambda: RedisBus(URL, channel=channel)
    need_postgres()
    channel = f"workers_{token_hex(4)}"
    return lambda: PostgresBus(DSN, channel=channel)


class Medium:
    """What `bridged` asks for buses."""

    def __init__(self, make: Callable[[], Bus]) -> None:
        self.bus = make


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110  (a server has no event to wait for)
        await trio.sleep(0.01)


async def test_b8_frames_cross_a_broker_and_come_back(make_bus) -> None:
    front, dialogue = Front(), Dialogue()
    with trio.fail_after(30):
        async with bridged(front, dialogue, medium=Medium(make_bus)):
            await front.task.queue_frames(texts(*(f"a{n}" for n in range(200))))
    assert front.after.texts == [f"A{n}" for n in range(200)]


async def test_b8_an_interrupt_crosses_a_broker(make_bus) -> None:
    front, dialogue = Front(), Dialogue()
    with trio.fail_after(30):
        async with bridged(front, dialogue, medium=Medium(make_bus)):
            await front.task.queue_frames(texts("a"))
            await until(lambda: front.after.texts == ["A"])
            front.task.interrupt()
            await until(lambda: "InterruptionFrame" in dialogue.top.kinds)
            await front.task.queue_frames(texts("b"))
    assert front.after.texts == ["A", "B"]
    assert front.after.kinds.count("InterruptionFrame") == 1


async def test_b5_b7_a_handover_and_an_end_over_a_broker(make_bus) -> None:
    a, b = Notes("a"), Notes("b", active=False)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            one, two = (PipelineRunner(worker, bus=make_bus(), handle_sigint=False) for worker in (a, b))
            await nursery.start(one.run)
            await nursery.start(two.run)
            await one.registry.wait_ready("b")
            await a.hand_over("b", {"n": 1})
            assert (a.is_active, b.is_active, b.activation_args) == (False, True, {"n": 1})
            for n in range(10):
                await a.send(Data(n, target="b"))
            assert await a.end_worker("b")
            await b.wait_finished()
            assert [entry for entry in b.log if isinstance(entry, int)] == list(range(10))
            await two.wait_finished()
            await one.end_everywhere()


async def test_b7_an_end_and_a_cancel_reach_every_runner_over_a_broker(make_bus) -> None:
    for cancels in (False, True):
        workers = [Notes(name, takes=0.05) for name in "abc"]
        runners = [PipelineRunner(worker, bus=make_bus(), handle_sigint=False) for worker in workers]
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for runner in runners:
                    await nursery.start(runner.run)
                await runners[0].registry.wait_ready("b", "c")
                for n in range(5):
                    await workers[0].send(Data(n, target="b"))
                if cancels:
                    await runners[0].cancel_everywhere("now")
                else:
                    await runners[0].end_everywhere("done")
        assert [runner.statistics().reason for runner in runners] == ["now" if cancels else "done"] * 3
        if not cancels:
            assert [entry for entry in workers[1].log if isinstance(entry, int)] == list(range(5))
