"""What a request returns: something that may be ignored or awaited."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final, final

import trio

from ._errors import ConfigurationError

__all__ = ["REQUESTED", "Requested", "check_reason"]


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


def check_reason(who: str, reason: object) -> None:
    """Raises `ConfigurationError` for a reason that is neither text nor None."""
    if reason is not None and not isinstance(reason, str):
        raise ConfigurationError(f"{who}(reason={reason!r}): expected text, or None")
