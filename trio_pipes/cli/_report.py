"""A failed run, told readably.

Errors leave a run in groups inside groups, one for each nursery on the way, with a traceback of the machinery at each level.
What the reader wants is each error once, the notes that say which processor and frame, and the lines of their own code.
"""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import trio

import trio_pipes

__all__ = ["leaves", "print_failure"]

MACHINERY = tuple(f"{Path(inspect.getfile(package)).parent}{os.sep}" for package in (trio, trio_pipes))


def print_failure(error: BaseException, *, whole: bool = False, file: TextIO | None = None) -> None:
    """Print each error with its notes and the user's part of its traceback; or, `whole`, the group as Python prints it."""
    file = file or sys.stderr
    if whole:
        traceback.print_exception(error, file=file)
        return
    errors = list(leaves(error))
    for number, (leaf, notes) in enumerate(errors, 1):
        count = f" ({number} of {len(errors)})" if len(errors) > 1 else ""
        print(f"trio-pipes: the run failed{count}: {type(leaf).__name__}: {leaf}", file=file)
        for note in notes:
            print(f"  {note}", file=file)
        told = traceback.TracebackException.from_exception(leaf)
        own = [frame for frame in told.stack if not frame.filename.startswith((*MACHINERY, "<"))]
        told.stack = traceback.StackSummary.from_list(own or told.stack)
        print(*told.format(), sep="", end="", file=file)
    print("trio-pipes: `--traceback` shows the whole of it, the library's frames included", file=file)


def leaves(error: BaseException, notes: tuple[str, ...] = ()) -> Iterator[tuple[BaseException, tuple[str, ...]]]:
    """The errors in nested groups, each with the notes of the groups around it."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner, (*notes, *getattr(error, "__notes__", ())))
    else:
        yield error, notes
