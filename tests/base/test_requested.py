"""What a request returns may be ignored or awaited, as often as you like."""

import inspect

import pytest
import trio
import trio.testing

from trio_pipes import Requested
from trio_pipes._base import REQUESTED


async def test_awaiting_it_is_a_checkpoint_and_gives_none() -> None:
    with trio.testing.assert_checkpoints():
        assert await REQUESTED is None
    with trio.testing.assert_checkpoints():
        assert await REQUESTED is None


async def test_awaiting_it_is_a_cancellation_point() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await REQUESTED
    assert scope.cancelled_caught


def test_it_needs_no_loop_to_be_ignored() -> None:
    assert isinstance(REQUESTED, Requested)
    assert repr(REQUESTED)
    assert inspect.isawaitable(REQUESTED)
    assert not inspect.iscoroutine(REQUESTED)


def test_it_cannot_be_derived_from_or_given_attributes() -> None:
    with pytest.raises(AttributeError):
        REQUESTED.result = 1
