"""What must hold when a session is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_pipes import EndTimeout, FloodError, FrameTimeout, SetupTimeout, TaskResult, TaskState

from .planned import Planned
from .script import copies, keeps_order
from .watching import Ready

if TYPE_CHECKING:
    from .session import Session


def problems_of(session: Session, result: TaskResult) -> list[str]:
    """What did not hold."""
    book, script = session.book, session.script
    book.cancel_asked |= bool(session.switchers) and script.on_unusable == "cancel"  # nobody may be left
    book.stop_asked |= bool(session.switchers) and script.on_unusable == "end"
    complete = result.state in (TaskState.ENDED, TaskState.STOPPED)
    for account in session.accounts:
        account.settle()
    for place in session.places:
        place.settle(session.errors)
    found = [
        problem for one in session.watching if isinstance(one, Ready) for problem in one.problems(session.began, result)
    ]
    found += [problem for tap in session.taps for problem in tap.problems(complete)]
    session.late = {node.name: node.late_dropped for node in session.task.statistics().processors}
    consumers = {consumer.name for copier in session.copiers.values() for _, consumer in copier.made}
    late = sum(count for name, count in session.late.items() if name not in consumers)
    if late and any(account.place is not None for account in session.accounts):
        # What a gate in a service that is not active any more lets out at the end comes too late, where the switcher
        # is not the last in the pipeline.
        book.failed |= {number for place in session.places for number in place.seen.values()}
    found += [problem for copier in session.copiers.values() for problem in copier.settle() if complete]
    if complete:
        found += [problem for account in session.accounts for problem in account.problems()]
    found += list(
        book.check(
            sum(copies(script.shape)),
            in_order=keeps_order(script.shape),
            complete=complete,
        )
    )
    if not book.unknown and result.frames_in != book.count:
        found.append(f"the task counts {result.frames_in} frames in, {book.count} were accepted")
    if result.state is TaskState.FAILED:
        assert result.error is not None
        for error in leaves(result.error):
            if isinstance(error, Planned):
                continue
            expected = (
                (script.stuck == "set-up" and isinstance(error, SetupTimeout))
                or (script.end == "end timeout" and isinstance(error, EndTimeout))
                or (session.gates_fail and isinstance(error, FloodError | FrameTimeout))
            )
            if not expected:
                found.append(f"failed with {error!r}")
    elif result.state is TaskState.CANCELLED and not book.cancel_asked:
        found.append("was cancelled, and nobody asked")
    elif result.state in (TaskState.ENDED, TaskState.STOPPED) and not book.stop_asked:
        found.append("has ended, and nobody asked")
    if result.state in (TaskState.ENDED, TaskState.STOPPED):
        down = [number for number in book.out_down if number >= 0]
        if session.all_of_it != (down if not late else down[: len(session.all_of_it)]):
            found.append(f"open_output gave {len(session.all_of_it)} frames, {len(down)} reached the last processor")
    if not session.task.has_finished():
        found.append("has not finished")
    return found


def leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [inner for part in error.exceptions for inner in leaves(part)]
    return [error]
