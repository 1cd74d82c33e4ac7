"""Frames from an async iterable."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from trio_pipes.flow import Frame

__all__ = ["closing"]

# Seconds that an async generator has to clean up when its frames are not wanted any more.
LAST_WORDS: Final = 1.0


@asynccontextmanager
async def closing(frames: AsyncIterable[Frame]) -> AsyncIterator[None]:
    """Close an async generator that is not read to its end, rather than leave it to the garbage collector."""
    try:
        yield
    finally:
        if isinstance(frames, AsyncGenerator):
            with trio.move_on_after(LAST_WORDS, shield=True):
                await frames.aclose()
