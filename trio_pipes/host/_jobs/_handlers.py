"""`@job`: which methods of a worker do which jobs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar, final
from weakref import WeakKeyDictionary

import attrs

from trio_pipes._base import ConfigurationError, check_count, check_flag, check_name, refuse

__all__ = ["Handler", "job", "job_handlers_of"]

MARK: Final = "__trio_pipes_job__"

FOUND: Final[WeakKeyDictionary[type, Mapping[str | None, Handler]]] = WeakKeyDictionary()  # looked for once a class

F = TypeVar("F", bound=Callable[..., Coroutine[Any, Any, Any]])


@final
@attrs.frozen
class Handler:
    """A method that does jobs of one name."""

    name: str | None
    """None: those that are asked for without a name."""
    limit: int | None
    """How many at once."""
    urgent: bool
    """Whether its answers overtake what waits on the way."""
    method: str = ""


def job(
    name: str | None = None, *, sequential: bool = False, limit: int | None = None, urgent: bool = False
) -> Callable[[F], F]:
    """Have a method of a worker do the jobs of this name: `async def method(self, job: JobRequest) -> result`.

    Without a name: those that are asked for without one. Jobs of one name run beside each other, at most `limit` at once
    (None: all); `sequential=True` is `limit=1`: one at a time, in the order in which they were asked for. `urgent` answers overtake
    what waits on the way. An override in a class below needs no decorator.
    """
    check_name("@job(name", name, optional=True)
    check_flag("@job(sequential", sequential)
    check_flag("@job(urgent", urgent)
    if limit is not None:
        check_count("@job(limit", limit, "how many may run at once, at least 1, or None")
        if sequential and limit != 1:
            raise ConfigurationError(f"@job(sequential=True, limit={limit}): one at a time is limit=1")
    handler = Handler(name, 1 if sequential else limit, urgent)

    def mark(method: F) -> F:
        if not inspect.iscoroutinefunction(method):
            raise refuse(f"@job({name!r})(method", method, "an async method that takes a JobRequest")
        if hasattr(method, MARK):
            raise ConfigurationError(f"@job: {method!r} does the job {getattr(method, MARK).name!r} already")
        setattr(method, MARK, handler)
        return method

    return mark


def job_handlers_of(cls: type) -> Mapping[str | None, Handler]:
    """The handlers of a worker's class, by name. Raises `ConfigurationError` where two methods have one name."""
    found = FOUND.get(cls)
    if found is None:
        found = FOUND[cls] = _found(cls)
    return found


def _found(cls: type) -> Mapping[str | None, Handler]:
    marks: dict[str, Handler] = {}
    for base in reversed(cls.__mro__):
        for attribute, value in vars(base).items():
            mark = getattr(value, MARK, None)
            if isinstance(mark, Handler):
                marks[attribute] = mark
            elif attribute in marks and not inspect.iscoroutinefunction(value):
                raise refuse(f"{base.__name__}({attribute}", value, "an async method: a class above does jobs with it")
    found: dict[str | None, Handler] = {}
    for attribute, mark in marks.items():
        there = found.get(mark.name)
        if there is not None:
            what = "the default job" if mark.name is None else f"job {mark.name!r}"
            raise ConfigurationError(
                f"{cls.__name__}: {there.method} and {attribute} both do {what}, expected one method"
            )
        found[mark.name] = attrs.evolve(mark, method=attribute)
    return found
