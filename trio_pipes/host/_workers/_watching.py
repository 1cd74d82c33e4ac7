"""Being told of other workers: `watch_workers`, and methods with `@worker_ready("name")`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakKeyDictionary

from trio_pipes._base import ConfigurationError, check_name, refuse

from ._hooks import Hooks

if TYPE_CHECKING:
    from .._registry import WorkerInfo

__all__ = ["Handler", "ready_handlers", "watch", "worker_ready"]

MARK: Final = "_ready_for"
MARKED: Final[WeakKeyDictionary[type, dict[str, str]]] = WeakKeyDictionary()

Handler = Callable[..., Awaitable[object]]
H = TypeVar("H", bound=Handler)


def worker_ready(name: str) -> Callable[[H], H]:
    """Mark a method of a `BaseWorker`: `async def method(self, info)` is called when the worker `name` is ready.

    Also when it is ready already, and when it is back after it had gone. An error in it is the failure of the worker that
    has the method, and of nobody else.
    """
    check_name("worker_ready(name", name, "the name of a worker")

    def mark(method: H) -> H:
        is_async = iscoroutinefunction(method)
        if not is_async:
            raise refuse(f"@worker_ready({name!r})(method", method, "an async method that takes a WorkerInfo")
        setattr(method, MARK, name)
        return method

    return mark


def ready_handlers(worker: Hooks) -> dict[str, Handler]:
    """The marked methods of a worker, by the name that they are for."""
    cls = type(worker)
    marked = MARKED.get(cls)
    if marked is None:
        marked = MARKED[cls] = _marked(cls)
    return {name: getattr(worker, attribute) for name, attribute in marked.items()}


def _marked(cls: type) -> dict[str, str]:
    found: dict[str, str] = {}
    for base in cls.__mro__:
        for attribute, value in vars(base).items():
            name = getattr(value, MARK, None)
            if name is None or getattr(cls, attribute) is not value:
                continue
            if name in found:
                raise ConfigurationError(f"{cls.__name__} has two methods with @worker_ready({name!r}), expected one")
            found[name] = attribute
    return found


async def watch(
    worker: Hooks, names: tuple[str, ...], ready: Handler, gone: Callable[[WorkerInfo], Awaitable[Any]] | None
) -> None:
    """Tell the worker of these, for as long as it runs."""
    async with worker.runner.registry.watch(*names) as events:
        async for event in events:
            if not event.is_gone:
                await ready(event.worker)
            elif gone is not None:
                await gone(event.worker)
