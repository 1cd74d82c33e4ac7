"""Fixtures on top of pytest-trio; pytest loads them by the entry point of the package."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import pytest
import trio.testing

if TYPE_CHECKING:
    from . import Recorder


@pytest.fixture
def pipes_clock() -> trio.testing.MockClock:
    """An autojump clock: an hour takes no real time. It stands while a thread or process works for the library."""
    return trio.testing.MockClock(autojump_threshold=0)


@pytest.fixture
def running_workers() -> Callable[..., AbstractAsyncContextManager[Any]]:
    """`trio_pipes.testing.running`, for tests that take it as a fixture."""
    from . import running

    return running


@pytest.fixture
def recorder() -> Recorder:
    """A `trio_pipes.testing.Recorder`: a processor that remembers the frames that pass."""
    from . import Recorder

    return Recorder()
