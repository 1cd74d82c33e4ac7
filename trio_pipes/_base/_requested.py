"""What a request returns: something that may be ignored or awaited."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final, final

import trio

__all__ = ["REQUESTED", "Requested"]


@final
class Requested:
    """The answer of a request such as `task.cancel()`, which has already taken effect.

    Awaiting it is one checkpoint and gives None. It never waits for what was asked to be over, so it
    cannot deadlock inside a processor; `wait_finished()` waits.
    """

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        return trio.lowlevel.checkpoint().__await__()  # noqa: ASYNC105  (awaited by whoever awaits this)

    def __repr__(self) -> str:
        return "<requested>"


REQUESTED: Final = Requested()
