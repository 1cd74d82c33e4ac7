"""A table of states is walked by `step`, and a move that it does not have is refused with those it has."""

from enum import Enum

import pytest

from trio_pipes import TransitionError
from trio_pipes._base import step


class Door(Enum):
    OPEN = 1
    CLOSED = 2
    GONE = 3


DOOR = {Door.OPEN: {"close": Door.CLOSED, "burn": Door.GONE}, Door.CLOSED: {"open": Door.OPEN}, Door.GONE: {}}


def test_a_legal_move() -> None:
    assert step(DOOR, Door.OPEN, "close") is Door.CLOSED
    assert step(DOOR, step(DOOR, Door.OPEN, "close"), "open") is Door.OPEN


def test_an_illegal_move_names_who_where_what_and_the_legal_ones() -> None:
    with pytest.raises(TransitionError, match="the door is OPEN and cannot open; legal here: burn, close"):
        step(DOOR, Door.OPEN, "open", who="the door")


def test_a_final_state_says_so() -> None:
    with pytest.raises(TransitionError, match="final"):
        step(DOOR, Door.GONE, "open")
    assert issubclass(TransitionError, RuntimeError)
