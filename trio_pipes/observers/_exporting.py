"""`exporting`: the end of what sends traces and metrics away, bounded and off the loop."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from trio_pipes._base import FINITE, check_methods, check_number, outside

__all__ = ["exporting"]

logger = logging.getLogger("trio_pipes")

EXPECTED: Final = "a TracerProvider or MeterProvider of OpenTelemetry's SDK, with force_flush() and shutdown()"


@asynccontextmanager
async def exporting(*providers: Any, timeout: float = 5.0) -> AsyncIterator[None]:
    """A block that has its providers send what they still hold when it is left, and shuts them down.

    OpenTelemetry sends from threads of its own. Here they are waited for in threads too, all at once, also after a cancel, and
    at most `timeout` seconds: who is not done then is named in a warning and left behind; a dead collector cannot hold up
    the end. Providers cannot be used again.
    """
    for provider in providers:
        check_methods("exporting(provider", provider, ["force_flush", "shutdown"], EXPECTED)
    expected = "a finite number of seconds above 0"
    check_number("exporting(timeout", timeout, expected, above=True, most=FINITE)
    try:
        yield
    finally:
        with outside(), trio.move_on_after(timeout, shield=True):
            async with trio.open_nursery() as nursery:
                for provider in providers:
                    nursery.start_soon(_shut_down, provider, timeout)


async def _shut_down(provider: Any, timeout: float) -> None:
    who = type(provider).__name__
    try:
        await trio.to_thread.run_sync(_flush_and_shut_down, provider, abandon_on_cancel=True)
    except trio.Cancelled:
        logger.warning("%s had not sent everything within %g s, and is left behind", who, timeout)
        raise
    except Exception:  # telling must not hurt what is told of: a program whose work is done does not fail for this
        logger.exception("%s failed to send what it held", who)


def _flush_and_shut_down(provider: Any) -> None:
    try:
        provider.force_flush()
    finally:
        provider.shutdown()
