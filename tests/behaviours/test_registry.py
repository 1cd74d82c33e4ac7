"""What users of a frame framework expect of a registry: who is told of whom, and how often."""

from __future__ import annotations

import pytest
import trio

from bus_kit import open_medium
from hosting import Plain
from trio_pipes import DuplicateName, PipelineRunner, TransitionError


async def test_every_watch_is_told_once_and_a_refused_double_is_told_to_nobody(autojump_clock) -> None:
    async with open_medium() as medium, trio.open_nursery() as nursery:
        runners = [PipelineRunner(bus=medium.bus(), handle_sigint=False) for _ in range(3)]
        for runner in runners:
            await nursery.start(lambda task_status, it=runner: it.run(auto_end=False, task_status=task_status))
        told: list[tuple[int, str]] = []

        async def watch(which: int, runner: PipelineRunner) -> None:
            async with runner.registry.watch("a") as events:
                async for event in events:
                    told.append((which, event.kind.value))

        for i, runner in enumerate([*runners, runners[0]]):
            nursery.start_soon(watch, i, runner)
        runners[0].add_workers(Plain("a"), Plain("b"))
        await trio.sleep(1)
        assert sorted(told) == [(i, "ready") for i in range(4)]
        runners[1].add_workers(Plain("a"), isolated=True)
        with pytest.raises(TransitionError) as caught:
            await runners[1].wait_ready()
        assert isinstance(caught.value.__cause__, DuplicateName)
        with pytest.raises(DuplicateName):
            runners[0].add_workers(Plain("a"))
        await trio.sleep(1)
        assert len(told) == 4
        for runner in runners:
            runner.end()


async def test_workers_of_several_runners_are_told_apart(autojump_clock) -> None:
    async with open_medium() as medium, trio.open_nursery() as nursery:
        runners = [
            PipelineRunner(Plain(f"a{i}"), Plain(f"b{i}"), name=f"r{i}", bus=medium.bus(), handle_sigint=False)
            for i in range(3)
        ]
        for runner in runners:
            await nursery.start(lambda task_status, it=runner: it.run(auto_end=False, task_status=task_status))
        await trio.sleep(1)
        here, *others = runners
        assert here.registry.runners == (here.runner_id, *(runner.runner_id for runner in others))
        assert {info.name for info in here.registry.local} == {"a0", "b0"}
        assert {(info.name, info.runner) for info in here.registry.remote} == {
            (f"{letter}{i + 1}", runner.runner_id) for i, runner in enumerate(others) for letter in "ab"
        }
        assert here.registry.get("nobody") is None
        assert "nobody" not in here.registry
        for runner in runners:
            runner.end()
