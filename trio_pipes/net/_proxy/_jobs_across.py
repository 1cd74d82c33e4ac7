"""Which jobs go through a link: when it breaks, their requesters and their workers are told.

On a bus within a process nobody asks whether the other is still there: whoever ends says so. A link that breaks
speaks for those behind it.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Final

from trio_pipes.host import BusMessage
from trio_pipes.host._jobs._messages import TO_REQUESTER, TO_WORKER, JobAnswer, JobAnswerUrgent, JobAsk, JobLeave

__all__ = ["JOBS", "JobsAcross", "answers_to", "refusal"]

JOBS: Final[tuple[type[BusMessage], ...]] = (*TO_WORKER, *TO_REQUESTER)
"""The classes of messages that jobs are made of: what a proxy has to `accept` so that they can cross."""


class JobsAcross:
    """Jobs that were asked for over a link and are not over: by id, with the address of the worker."""

    def __init__(self) -> None:
        self._there: dict[str, str] = {}  # their workers are at the other end
        self._here: dict[str, str] = {}

    @property
    def asked_from(self) -> Container[str]:
        """The addresses here that answers may come to."""
        return self._there.keys()

    def goes(self, message: BusMessage) -> None:
        """It is sent to the other end."""
        self._note(message, self._there, self._here)

    def comes(self, message: BusMessage) -> None:
        """It came from there."""
        self._note(message, self._here, self._there)

    def _note(self, message: BusMessage, asked: dict[str, str], answered: dict[str, str]) -> None:
        if isinstance(message, JobAsk):
            asked[message.job] = message.target or ""
        elif isinstance(message, JobLeave):
            asked.pop(message.job, None)
        elif isinstance(message, JobAnswer | JobAnswerUrgent):
            answered.pop(message.job, None)

    def last_words(self, peer: str, *, worker: str | None = None) -> Iterator[BusMessage]:
        """What those here have to know, when the link or one `worker` at the other end is gone."""
        for job, address in tuple(self._there.items()):
            name = address.partition("/")[0]
            if worker is None or name == worker:
                del self._there[job]
                text = f"{name!r} is gone: " + (f"the link to {peer} broke" if worker is None else f"says {peer}")
                yield JobAnswer(job=job, target=job, source=address, status="gone", text=text)
        if worker is None:
            for job, address in self._here.items():
                yield JobLeave(job=job, target=address, source=job, reason=f"the link to {peer} broke")
            self._here.clear()


def refusal(message: BusMessage, why: str) -> JobAnswer | None:
    """What its requester is told when a job is not let in."""
    if not isinstance(message, JobAsk):
        return None
    return JobAnswer(job=message.job, target=message.job, status="refused", text=why)


def answers_to(message: BusMessage) -> str | None:
    """The topic that answers to it will go to."""
    return message.job.partition("/")[0] if isinstance(message, JobAsk) else None
