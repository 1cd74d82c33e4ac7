"""`nothing_left`: what a block began has ended with it."""

from __future__ import annotations

import gc
import sys
import warnings
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import AsyncGeneratorType
from typing import Any

import attrs
import trio
import trio.testing

from ._within import tasks_alive

__all__ = ["nothing_left", "young_garbage_only"]

# About versions, and not about this run.
IGNORED = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning)


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Raise `AssertionError` when the block leaves something behind.

    That is a Trio task, an async generator that is still open, a warning (an unclosed file, a coroutine that was never
    awaited), or an error that nobody was there to catch. Not when the block raises: that is the better news. Warnings about versions (`DeprecationWarning` and its kin) do not count.
    """
    before = tasks_alive()
    found = _Found()
    with _listening(found):
        yield
        await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        left = [f"task {task.name}" for task in tasks_alive() - before]
        # One whose task is left has been named by that.
        open_generators = [generator for ref in found.generators if (generator := ref()) is not None]
        left += [f"open async generator {each.__qualname__}" for each in open_generators if _is_open(each)]
        del open_generators
        gc.collect()
    left += found.complaints
    if left:
        raise AssertionError(f"left behind: {'; '.join(left)}")


def _is_open(generator: AsyncGeneratorType[Any, Any]) -> bool:
    return generator.ag_frame is not None and not generator.ag_running


@attrs.define
class _Found:
    generators: list[weakref.ref[AsyncGeneratorType[Any, Any]]] = attrs.field(factory=list)
    complaints: list[str] = attrs.field(factory=list)


@contextmanager
def _listening(found: _Found) -> Iterator[None]:
    """Notice async generators that begin, warnings, and errors that nobody can catch."""
    hooks = sys.get_asyncgen_hooks()
    unraisable = sys.unraisablehook

    def first_iteration(generator: Any) -> None:
        found.generators.append(weakref.ref(generator))
        if hooks.firstiter is not None:
            hooks.firstiter(generator)

    def no_one_to_raise_to(error: Any) -> None:
        found.complaints.append(f"{error.err_msg or 'error ignored in'} {error.object!r}: {error.exc_value!r}")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sys.set_asyncgen_hooks(firstiter=first_iteration)
        sys.unraisablehook = no_one_to_raise_to
        try:
            yield
        finally:
            sys.set_asyncgen_hooks(firstiter=hooks.firstiter)
            sys.unraisablehook = unraisable
            for warning in caught:
                if not issubclass(warning.category, IGNORED):
                    found.complaints.append(f"{warning.category.__name__}: {warning.message}")


@contextmanager
def young_garbage_only() -> Iterator[None]:
    """While inside, the garbage collector looks at what is made in here only: many collections then cost little."""
    if gc.get_freeze_count():
        yield  # somebody else's
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
