"""What holds for every ready-made observer."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

import trio_pipes.observers as ready
from hosting import Slow, nothing_left
from observers_kit import Stage
from trio_pipes import ConfigurationError, Direction, InputAudioFrame, TextFrame
from trio_pipes.host._observers import RUNNER_EVENTS, TASK_EVENTS

OBSERVERS: dict[str, Callable[[], object]] = {
    name: getattr(ready, name) for name in ready.__all__ if name.endswith("Observer") or name == "Timeline"
}
every = pytest.mark.parametrize("make", OBSERVERS.values(), ids=OBSERVERS)


@pytest.fixture(autouse=True)
def _logs_are_on(caplog) -> None:
    caplog.set_level(logging.DEBUG, logger="trio_pipes.frames")


def test_there_are_eight() -> None:
    assert len(OBSERVERS) == 8


async def converse(stage: Stage) -> list[str]:
    """A conversation with everything in it, and what comes out of it."""
    out: list[str] = []
    async with stage.running(), stage.task.open_output(buffer=1000) as frames:
        for _ in range(3):
            await stage.turn_starts()
            await stage.user_speaks()
            await stage.push("user", TextFrame("hello"), InputAudioFrame(bytes(320), 16_000))
            await stage.turn_stops()
            await stage.task.queue_frame(TextFrame("up"), Direction.UPSTREAM)
            await stage.bot_starts()
            await trio.sleep(1)
            await stage.task.interrupt()
            await stage.bot_stops(interrupted=True)
            await trio.sleep(5)
        while True:
            try:
                out.append(type(frames.receive_nowait()).__name__)
            except trio.WouldBlock:
                return out


@every
async def test_it_changes_nothing_of_what_it_watches(autojump_clock, make) -> None:
    results = []
    for observers in ([], [make()]):
        began = trio.current_time()
        stage = Stage(Slow(0.25), observers=observers, enable_metrics=True, send_initial_empty_metrics=False)
        async with nothing_left():
            out = await converse(stage)
        result = await stage.task.wait_finished()
        assert result.observer_errors == ()
        assert result.observer_events_lost == 0
        results.append((out, trio.current_time() - began, result.frames_in, result.frames_out))
    assert results[0] == results[1]
    assert len(results[0][0]) > 20


@every
async def test_it_may_come_and_go_at_any_moment(autojump_clock, make) -> None:
    stage, observer = Stage(Slow(0.25)), make()

    async def come_and_go() -> None:
        for n in range(40):
            await trio.sleep(0.3)
            if n % 2:
                stage.task.remove_observer(observer)
            else:
                stage.task.add_observer(observer)

    async with nothing_left(), trio.open_nursery() as nursery:
        nursery.start_soon(come_and_go)
        await converse(stage)
    assert (await stage.task.wait_finished()).observer_errors == ()


@every
async def test_it_may_be_given_to_one_task_after_another(autojump_clock, make) -> None:
    observer = make()
    for _ in range(2):
        stage = Stage(observers=[observer])
        async with nothing_left():
            await converse(stage)
        assert (await stage.task.wait_finished()).observer_errors == ()


@every
def test_it_may_be_given_to_a_task_that_never_runs(make) -> None:
    stage = Stage(observers=[make()])
    stage.task.cancel()
    assert stage.task.statistics().observer_errors == ()


@every
@pytest.mark.parametrize("event", TASK_EVENTS)
def test_a_method_of_yours_that_is_misspelt_is_refused_with_the_nearest_name(make, event) -> None:
    misspelt = event[:-1]
    mine = type("Mine", (make,), {misspelt: lambda self, *args: None})
    with pytest.raises(
        ConfigurationError, match=rf"Mine\.{misspelt} is not an event here\. Did you mean on_"
    ) as caught:
        Stage(observers=[mine()])
    assert event in str(caught.value)


@every
def test_the_class_itself_is_no_observer(make) -> None:
    with pytest.raises(ConfigurationError, match=f"{make.__name__}.* is a class, expected an observer"):
        Stage(observers=[make])


@every
def test_it_is_there_once_the_package_is_asked_for_it(make) -> None:
    assert make.__name__ in dir(ready)
    assert make.__doc__


def test_the_page_on_observers_tells_of_every_event() -> None:
    page = (Path(__file__).parents[2] / "docs" / "observers.md").read_text()
    told = set(re.findall(r"`(on_\w+)\(", page))
    assert told == {*TASK_EVENTS, *RUNNER_EVENTS}
