"""The soak runs, finds nothing in a few minutes of sessions, and would find what it is there for; `nox -s soak` is the long one."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from soak.__main__ import only, table
from soak.book import Book, Said
from soak.left import Left, noticing
from soak.phase import Report, soak
from soak.pieces import Ready, Switcher
from soak.place import Place
from soak.ready import Lossy
from soak.script import Part, copies, draw, keeps_order
from soak.session import Session
from soak.watching import Ready as Observes
from trio_pipes import Direction, NotifierGate, TaskResult, TaskState
from trio_pipes.observers import Turn

DOWN = Direction.DOWNSTREAM


def test_some_sessions_leaves_nothing_and_loses_nothing() -> None:
    told: list[str] = []
    report = soak("autojump", "test", seconds=20, sessions=48, tell=told.append)
    assert report.problems == []
    assert report.sessions >= 48
    assert report.frames > 1000
    assert report.seconds >= 20
    assert set(report.states) == {"cancelled", "ended", "failed", "stopped"}
    assert told
    assert "problems  0" in table(report)


def test_a_session_is_repeated_by_its_name() -> None:
    first, second = only("test/3"), only("test/3")
    assert (first.frames, first.out, first.states) == (second.frames, second.out, second.states)
    assert repr(draw("test/3")) == repr(draw("test/3"))
    assert repr(draw("test/3")) != repr(draw("test/4"))


# What the accounts are worth: each kind of loss is noticed.


def entered(number: int, *, kept: bool = False) -> Said:
    return Said("", interruptible=not kept, number=number)


def test_a_lost_frame_is_noticed_unless_it_may_be_stale() -> None:
    book = Book()
    for number, kept in ((1, False), (2, False), (3, True)):
        frame = entered(number, kept=kept)
        book.offer(frame)
        book.accepted(frame)
        if number == 1:
            book.interrupts += 1
    problems = list(book.check(1, in_order=True, complete=True))
    assert [problem.split()[1] for problem in problems] == ["2", "3"]
    assert list(book.check(1, in_order=True, complete=False)) == []


@pytest.mark.parametrize(
    ("out", "problem"),
    [
        ([1, 1, 2], "1 came out 2 times"),
        ([2, 1], "1 came out behind 2"),
        ([1, 2, 7], "7 came out and was never queued"),
        ([1, 2, 3], "3 came out though it was refused"),
    ],
)
def test_what_should_not_have_come_out_is_noticed(out: list[int], problem: str) -> None:
    book = Book()
    for number in (1, 2, 3):
        frame = entered(number)
        book.offer(frame)
        if number != 3:
            book.accepted(frame)
    for number in out:
        book.out(entered(number), DOWN)
    assert any(problem in found for found in book.check(1, in_order=True, complete=True))


def test_a_resource_that_stays_open_is_noticed() -> None:
    assert any("opened" in problem for problem in Book(opened=2, closed=1).check(1, in_order=True, complete=False))


def test_how_often_a_frame_comes_out_of_branches() -> None:
    same, new = Part("class", False, 0, {}, False), Part("class", True, 0, {}, False)
    assert copies([same, same]) == (1, 0)
    assert copies([same, new, same]) == (0, 1)
    assert copies([([same], [same])]) == (1, 0)
    assert copies([([same], [new], [new])]) == (1, 2)
    assert copies([new, ([same], [new])]) == (0, 2)
    assert copies([([same], [new]), ([same], [new])]) == (1, 3)


# A gate in a service that is not active any more lets its frames out late, which the docs tell.
def test_frames_come_out_in_order_but_where_a_service_may_keep_some() -> None:
    part = Part("class", False, 0, {}, False)
    gate, logger = Ready("frame gate", "down", {}), Ready("logger", "down", {})
    assert keeps_order([part, gate, [logger]])
    assert keeps_order([Switcher(([part], [logger]), {})])
    assert not keeps_order([[Switcher(([part], [[gate]]), {})]])
    assert not keeps_order([Part("unordered", False, 0, {}, False)])


def test_what_a_gate_keeps_for_itself_has_to_be_counted() -> None:
    session = Session(draw("test/0"))
    gate = NotifierGate(trio.Event(), limit=1, overflow="drop_oldest")
    account = Lossy(session, gate, DOWN)
    for passed, numbers in ((account.above, (1, 2, -3)), (account.below, (2,))):
        passed.numbers[DOWN].update(numbers)
        passed.since.update(dict.fromkeys(numbers, (True, session.book.interrupts)))
    found = list(account.problems())
    assert len(found) == 2
    assert "kept a system frame" in found[0]
    assert "dropped 0, and 2 are missing" in found[1]
    account.settle()
    assert session.book.failed >= {1}
    assert 2 not in session.book.failed


def test_what_a_service_lost_without_a_word_is_no_excuse() -> None:
    session = Session(draw("test/0"))
    place = Place(session, 0, None, lone=False, repeats=True)
    named, other = entered(1), entered(2)
    place.saw(named)
    place.saw(other)
    place.settle([f"'a service' had begun what is lost now: {named.name}"])
    assert 1 in session.book.failed
    assert 2 not in session.book.failed


def test_an_observer_that_does_not_keep_its_promise_is_noticed() -> None:
    async def main() -> list[str]:
        one = Observes("turns", early=True)
        one.turns += [Turn(2, 1.0, "user", 2.0, "user"), Turn(1, 3.0, "user", 2.5, "user")]
        result = TaskResult(TaskState.ENDED)
        return list(one.problems(0.0, result))

    found = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert any("numbered [2, 1]" in problem for problem in found)
    assert any("lasted from 3.0 to 2.5" in problem for problem in found)


async def test_a_task_an_object_and_a_warning_that_are_left_are_noticed(autojump_clock: trio.testing.MockClock) -> None:
    left = Left()
    assert list(await left.look(0)) == []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        kept = entered(1)
        found = list(await left.look(1))
        nursery.cancel_scope.cancel()
    assert any("Trio tasks" in problem for problem in found)
    assert any("soak.book.Said" in problem for problem in found)
    assert list(await left.look(2))  # the frame is there still
    del kept

    async def never() -> None:
        raise AssertionError

    problems: list[str] = []
    with noticing(problems):
        never()  # type: ignore[unused-coroutine]
    assert any("never awaited" in problem for problem in problems)


def test_memory_that_grows_is_noticed() -> None:
    from soak.left import Sample

    left = Left(samples=[Sample(48 * i, 100_000 + 480 * i, 40_000 + 96 * i) for i in range(12)])
    assert left.growth() == (10.0, 2.0)
    assert Report("real", "x").problems == []
