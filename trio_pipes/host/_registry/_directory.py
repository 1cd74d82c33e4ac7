"""`Directory`: what is known of the workers of other runners. No I/O and no clock: who calls says what time it is.

Messages may be lost, come twice or in any order; whoever cannot tell what is missing has the runner's id put into `questions`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final

import attrs

from ._info import WorkerInfo
from ._messages import ACTIVE, READY, RegistryBeat, RegistryChange, RegistryGoodbye, RegistrySnapshot, Row

__all__ = ["Directory"]

UNKNOWN: Final = -1  # version of a runner that has been heard of, and whose workers are not known yet
MOST_AHEAD: Final = 256  # changes that are kept until what they follow has come
LONG: Final = 30.0  # seconds of a lease that nobody has told


@attrs.define(eq=False)
class _Runner:
    """A runner."""

    id: str
    heard: float
    lease: float
    version: int = UNKNOWN
    workers: dict[str, WorkerInfo] = attrs.field(factory=dict)
    ahead: dict[int, RegistryChange] = attrs.field(factory=dict)
    parts: dict[int, RegistrySnapshot] = attrs.field(factory=dict)
    asked: float = -math.inf

    @property
    def expires(self) -> float:
        return self.heard + self.lease


Changed = Callable[[WorkerInfo, str | None], None]
"""Told of a worker that is new or changed, or, with the reason, of one that is gone."""


class Directory:
    """The other runners and their workers."""

    def __init__(self, changed: Changed) -> None:
        self._changed = changed
        self._runners: dict[str, _Runner] = {}
        self._names: dict[str, tuple[WorkerInfo, ...]] = {}  # the newest last
        self._ended: dict[str, tuple[int, float]] = {}  # what is older than the version is of a run that is over
        self.questions: dict[str, None] = {}
        """Runners that should be asked for a snapshot."""

    # -- looked at

    @property
    def runners(self) -> tuple[str, ...]:
        """Ids of the runners whose workers are known."""
        return tuple(runner.id for runner in self._runners.values() if runner.version != UNKNOWN)

    def has_heard_of(self, runner_id: str) -> bool:
        """Whether a runner lives, as far as one can tell, also where its workers are not known yet."""
        return runner_id in self._runners

    def __iter__(self) -> Iterator[WorkerInfo]:
        for runner in self._runners.values():
            yield from runner.workers.values()

    def get(self, name: str) -> WorkerInfo | None:
        """The worker of that name; where several runners had it one after the other, the newest that is ready."""
        there = self._names.get(name, ())
        return next((info for info in reversed(there) if info.ready), there[-1] if there else None)

    # -- what is heard

    def hear(self, message: RegistryBeat | RegistryGoodbye, now: float) -> None:
        """Another registry has told something."""
        ended, _ = self._ended.get(message.source, (UNKNOWN, 0.0))
        if message.version <= ended:
            return  # late, or told a second time
        runner = self._runners.get(message.source)
        if isinstance(message, RegistryGoodbye):
            if runner is None or runner.version < message.version:
                self._ended[message.source] = (message.version, now + 2 * (runner.lease if runner else LONG))
                self.forget(message.source, "its runner has ended")
            return
        if runner is None:
            runner = self._runners[message.source] = _Runner(message.source, now, message.lease)
        runner.heard, runner.lease = max(runner.heard, now), message.lease
        if runner.version == UNKNOWN and message.version - isinstance(message, RegistryChange) <= 0:
            runner.version = 0  # it has just begun, and this is the first that it tells
        if isinstance(message, RegistryChange):
            self._take_change(runner, message)
        elif isinstance(message, RegistrySnapshot):
            self._take_part(runner, message)
        if (message.version > runner.version or runner.ahead) and now - runner.asked >= runner.lease / 6:
            runner.asked = now
            self.questions[runner.id] = None

    def _take_change(self, runner: _Runner, change: RegistryChange) -> None:
        if change.version <= runner.version:
            return
        runner.ahead[change.version] = change
        self._catch_up(runner)
        while len(runner.ahead) > MOST_AHEAD:
            del runner.ahead[max(runner.ahead)]

    def _catch_up(self, runner: _Runner) -> None:
        """Do what now follows on the version that is known."""
        while runner.version != UNKNOWN and (change := runner.ahead.pop(runner.version + 1, None)) is not None:
            runner.version += 1
            for name in change.removed:
                self.remove(runner.id, name, "it has ended")
            for row in change.added:
                self._put(runner, row)
        for version in [version for version in runner.ahead if version <= runner.version]:
            del runner.ahead[version]
        if any(part.version <= runner.version for part in runner.parts.values()):
            runner.parts = {}

    def _take_part(self, runner: _Runner, part: RegistrySnapshot) -> None:
        if part.version <= runner.version or part.part >= part.parts:
            return
        newest = max((other.version for other in runner.parts.values()), default=UNKNOWN)
        if part.version < newest:
            return
        if part.version > newest:
            runner.parts = {}
        runner.parts[part.part] = part
        if len(runner.parts) < part.parts:
            return
        parts, runner.parts = runner.parts, {}
        rows = {row[0]: row for it in parts.values() for row in it.workers}
        for name in [name for name in runner.workers if name not in rows]:
            self.remove(runner.id, name, "it has ended")
        runner.version = part.version
        for row in rows.values():
            self._put(runner, row)
        self._catch_up(runner)

    def _put(self, runner: _Runner, row: Row) -> None:
        name, kind, parent, flags, life = row
        known = runner.workers.get(name)
        info = WorkerInfo(
            name=name,
            runner=runner.id,
            ready=bool(flags & READY),
            active=bool(flags & ACTIVE),
            parent=parent,
            kind=kind,
            life=life,
            is_local=False,
        )
        if known == info:
            return
        if known is not None and known.life != life:
            self.remove(runner.id, name, "it has ended")
        self._insert(runner, info)

    # -- done at once, where runners are in one process

    def put(self, info: WorkerInfo) -> None:
        """A worker has come or changed, on a runner that needs no lease."""
        runner = self._runners.get(info.runner)
        if runner is None:
            runner = self.join(info.runner)
        self._insert(runner, info)

    def join(self, runner_id: str) -> _Runner:
        """A runner has come that needs no lease."""
        runner = self._runners[runner_id] = _Runner(runner_id, math.inf, math.inf, version=0)
        return runner

    def _insert(self, runner: _Runner, info: WorkerInfo) -> None:
        runner.workers[info.name] = info
        others = tuple([other for other in self._names.get(info.name, ()) if other.runner != runner.id])
        self._names[info.name] = (*others, info)
        self._changed(info, None)

    def remove(self, runner_id: str, name: str, reason: str) -> None:
        """A worker has gone, if it was known."""
        info = self._runners[runner_id].workers.pop(name, None)
        if info is None:
            return
        rest = tuple([other for other in self._names[name] if other.runner != runner_id])
        if rest:
            self._names[name] = rest
        else:
            del self._names[name]
        self._changed(info, reason)

    def forget(self, runner_id: str, reason: str) -> None:
        """A runner has gone, if it was known, and with it its workers."""
        runner = self._runners.get(runner_id)
        if runner is None:
            return
        for name in tuple(runner.workers):
            self.remove(runner_id, name, reason)
        del self._runners[runner_id]
        self.questions.pop(runner_id, None)

    def clear(self, reason: str) -> None:
        """Forget everybody."""
        for runner_id in tuple(self._runners):
            self.forget(runner_id, reason)
        self._ended.clear()

    # -- leases

    def expire(self, now: float) -> None:
        """Forget runners that were not heard of for their lease."""
        for runner in tuple(self._runners.values()):
            if runner.expires <= now:
                self.forget(runner.id, f"its runner {runner.id} was not heard of for {runner.lease:g} s")
        for runner_id in [runner_id for runner_id, (_, until) in self._ended.items() if until <= now]:
            del self._ended[runner_id]

    def excuse(self, now: float) -> None:
        """This process did not listen for a while: who is due is heard of within the time of a beat, or forgotten then."""
        for runner in self._runners.values():
            runner.heard = max(runner.heard, now - runner.lease * 2 / 3)
