"""Run something with an end: what hangs, shields itself or swallows its cancel is broken off and named.

# How something that will not end is ended.
#
# A test on an autojump clock that waits for ever waits for ever in real time as well, so nothing here may. After
# `seconds` on Trio's clock the scope round it is cancelled. Two things outlast that. A shield does: then the shields
# that were put up meanwhile are lifted (CancelScopes are found by the garbage collector, which knows them all).
# A loop that swallows Cancelled does, without the clock ever moving: so the coroutine of each task is run by one of
# ours, which counts, and raises something else when it has been cancelled a thousand times at one moment.
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from types import FrameType
from typing import Any, Final, TypeVar

import outcome
import trio

__all__ = ["Hung", "descends_from", "tasks_alive", "within"]

T = TypeVar("T")

# A task that is cancelled so often without any time going by, one time for each checkpoint, swallows it.
TOO_OFTEN: Final = 1000
# Seconds between two attempts to lift the shields of what has been cancelled.
PATIENCE: Final = 1.0
ATTEMPTS: Final = 20

_UNDEAD: Final[list[Any]] = []


class Hung(AssertionError):
    """It has not ended in its time; the text says where its tasks were."""


class Swallows(AssertionError):
    """A task goes on and on although it is cancelled."""


def tasks_alive() -> set[trio.lowlevel.Task]:
    """Every task of this Trio run."""
    root = trio.lowlevel.current_root_task()
    found: set[trio.lowlevel.Task] = set()
    todo = [root] if root is not None else []
    while todo:
        task = todo.pop()
        found.add(task)
        todo += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found


def descends_from(task: trio.lowlevel.Task, ancestor: trio.lowlevel.Task) -> bool:
    """Whether `task` is `ancestor`, or was started by it or by one that was."""
    at: trio.lowlevel.Task | None = task
    while at is not None:
        if at is ancestor:
            return True
        at = at.parent_nursery.parent_task if at.parent_nursery is not None else None
    return False


async def within(seconds: float, what: str, fn: Callable[[], Awaitable[T]]) -> T:
    """Call `fn` in a task of its own, and give or raise what it does. `Hung` after `seconds` on Trio's clock."""
    result: list[outcome.Outcome[T]] = []
    shields = {id(scope) for scope in _shields()}
    stuck: list[str] = []
    tamer = _Tamer(trio.lowlevel.current_task())

    async def call(scope: trio.CancelScope) -> None:
        with scope:
            try:
                result.append(outcome.Value(await fn()))
            except Exception as exc:  # noqa: BLE001  (raised by the one who waits)
                result.append(outcome.Error(exc))
            finally:
                finished.set()

    async def watch(task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep(seconds)
        stuck.extend(_where(tamer))
        scope.cancel(reason=f"{what} hangs")
        for _ in range(ATTEMPTS):
            with trio.move_on_after(PATIENCE):
                await finished.wait()
                return
            for shield in _shields():
                if id(shield) not in shields:
                    shield.shield = False

    scope, finished = trio.CancelScope(), trio.Event()
    trio.lowlevel.add_instrument(tamer)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(_started, watch)
            tamer.on = True
            nursery.start_soon(call, scope)
            await finished.wait()
            nursery.cancel_scope.cancel(reason=f"{what} is over")
    except* Swallows:
        pass  # told below
    finally:
        trio.lowlevel.remove_instrument(tamer)
    if stuck:
        raise Hung(f"{what} has not ended within {seconds:g} s on Trio's clock. " + "; ".join(stuck))
    if tamer.swallowed:
        raise Hung(f"{what} does not end when it is cancelled: {'; '.join(tamer.swallowed)}")
    return result[0].unwrap()


async def _started(watch: Callable[[Any], Awaitable[None]], *, task_status: trio.TaskStatus[None]) -> None:  # noqa: ASYNC128
    await watch(task_status)


def _shields() -> list[trio.CancelScope]:
    return [each for each in gc.get_objects() if type(each) is trio.CancelScope and each.shield]


class _Tamer(trio.abc.Instrument):
    """Has the coroutine of each new task below `top` run by one of ours."""

    def __init__(self, top: trio.lowlevel.Task) -> None:
        self.top = top
        self.on = False
        self.coroutines: dict[trio.lowlevel.Task, Coroutine[Any, Any, Any]] = {}
        self.swallowed: list[str] = []

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """Called by Trio."""
        if self.on and descends_from(task, self.top):
            coro: Any = task.coro
            self.coroutines[task] = coro
            tamed: Any = _tamed(coro, task.name, self.swallowed)
            task.coro = tamed

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """Called by Trio."""
        self.coroutines.pop(task, None)


async def _tamed(coro: Coroutine[Any, Any, T], name: str, swallowed: list[str]) -> T:
    return await _Tamed(coro, name, swallowed)  # type: ignore[no-any-return]


class _Tamed:
    def __init__(self, coro: Coroutine[Any, Any, Any], name: str, swallowed: list[str]) -> None:
        self.coro, self.name, self.swallowed = coro, name, swallowed

    def __await__(self) -> Generator[Any, Any, Any]:
        cancelled, moment = 0, trio.current_time()
        send, value = self.coro.send, None
        try:
            trap = send(value)
            while True:
                try:
                    value = yield trap
                except BaseException as exc:  # noqa: BLE001, ASYNC103 (passed on to the one that it is meant for)
                    trap = self.coro.throw(exc)
                    continue  # noqa: ASYNC104
                if moment != trio.current_time():
                    cancelled, moment = 0, trio.current_time()
                cancelled += isinstance(value, outcome.Error) and isinstance(value.error, trio.Cancelled)
                if cancelled <= TOO_OFTEN:
                    trap = send(value)
                    continue
                line = f"task {self.name} was cancelled {cancelled} times and goes on, {_place(self.coro)}"
                if cancelled == TOO_OFTEN + 1:
                    self.swallowed.append(line)
                if cancelled > TOO_OFTEN + 10:  # it swallows that as well
                    with suppress(RuntimeError):
                        self.coro.close()
                    _UNDEAD.append(self.coro)  # the garbage collector could not close it either
                    raise Swallows(line)
                trap = self.coro.throw(Swallows(line))
        except StopIteration as end:
            return end.value


def _where(tamer: _Tamer) -> list[str]:
    """Where the tasks are, the innermost ones only (the others wait for them), and those in our own code only if all are."""
    waiting = [task for task in tamer.coroutines if not any(nursery.child_tasks for nursery in task.child_nurseries)]
    places = [(_innermost(tamer.coroutines[task]), f"task {task.name} waits ") for task in waiting]
    foreign = [place for place in places if place[0] and not _module(place[0]).startswith("trio_pipes.")]
    return [task + _told(frame) for frame, task in foreign or places]


def _place(coro: Any) -> str:
    return _told(_innermost(coro))


def _innermost(coro: Any) -> FrameType | None:
    """The last frame outside Trio that a coroutine is in."""
    frames: list[FrameType] = []
    while coro is not None:
        frame = getattr(coro, "cr_frame", None) or getattr(coro, "gi_frame", None) or getattr(coro, "ag_frame", None)
        if frame is not None:
            frames.append(frame)
        coro = getattr(coro, "cr_await", None) or getattr(coro, "gi_yieldfrom", None) or getattr(coro, "ag_await", None)
    return next((frame for frame in reversed(frames) if not _module(frame).startswith("trio.")), None)


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _told(frame: FrameType | None) -> str:
    if frame is None:
        return "nowhere"
    line = traceback.extract_stack(frame, limit=1)[-1]
    return f"in {line.name} ({line.filename}:{frame.f_lineno}): {line.line}"
