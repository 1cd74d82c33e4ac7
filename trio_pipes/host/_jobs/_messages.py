"""What requesters and workers say to each other about jobs.

# The protocol.
#
# A job has one id, which is also the address of its requester: "<runner_id>/job-<n>". Its worker hears at
# "<its address>/jobs". Nothing here waits in anybody's inbox: both sides handle a message in the step in which it arrives.
#
#   requester                                    worker
#   JobAsk  (name, payload, seconds)      ->     starts it, or puts it in line
#                                         <-     JobUpdate*, JobChunk*, JobStreamEnd
#   JobCredit (chunks taken)              ->     sends more chunks
#                                         <-     JobAnswer (the value, or what went wrong)
#   JobLeave                              ->     stops the work, if there is still some, and forgets the job
#
# In one process nothing is lost and whoever ends says so, and that is all. Where the bus crosses to other processes:
#
# - A requester says JobAsk again, or JobKeep when it knows that the job has arrived, every quarter of a lease and at each
#   gap. The worker answers JobKnown, or repeats its answer and the chunks that were not taken. Updates are numbered, so
#   that a loss is counted; what is lost of the rest is sent again.
# - A worker knows a job by its id, and keeps it for one lease after it last heard of it, also when it is over: it is
#   never done twice. A requester that is silent for a lease is gone, and its work is stopped; so is a worker, and its
#   jobs have failed. Refused: watching each other in the registry, which knows workers and runners but no jobs.
"""

from __future__ import annotations

from typing import Any

import attrs

from trio_pipes._base import on_wire

from .._bus import DataMessage, SystemMessage

__all__ = [
    "TO_REQUESTER",
    "TO_WORKER",
    "JobAnswer",
    "JobAnswerUrgent",
    "JobAsk",
    "JobChunk",
    "JobCredit",
    "JobKeep",
    "JobKnown",
    "JobLeave",
    "JobProgress",
    "JobStreamEnd",
    "JobUpdate",
    "JobUpdateUrgent",
]


@on_wire("trio_pipes.job.ask")
@attrs.define(eq=False, kw_only=True)
class JobAsk(DataMessage):
    """Do this. Said again where nobody knows whether it has arrived."""

    job: str
    name: str | None
    """None: the worker's default handler."""
    payload: Any = None
    seconds: float | None = None
    """That are left of its timeout."""
    life: str = ""
    """Of the worker, when it was asked first: see `life_of`."""
    again: bool = False
    """It was asked before, and may have been begun by another life of the worker, which has told nobody."""


@on_wire("trio_pipes.job.keep")
@attrs.define(eq=False, kw_only=True)
class JobKeep(DataMessage):
    """The requester is there, and knows that the job has arrived."""

    job: str
    taken: int = 0
    """Chunks that its reader has taken."""
    arrived: int = 0
    """Chunks that need not be sent again."""


@on_wire("trio_pipes.job.credit")
@attrs.define(eq=False, kw_only=True)
class JobCredit(DataMessage):
    """So many chunks have been taken: there is room for more."""

    job: str
    taken: int


@on_wire("trio_pipes.job.leave")
@attrs.define(eq=False, kw_only=True)
class JobLeave(DataMessage):
    """The requester wants no more of it. It must not overtake its JobAsk, and so is no system message."""

    job: str
    reason: str | None = None


@on_wire("trio_pipes.job.progress")
@attrs.define(eq=False, kw_only=True)
class JobProgress(DataMessage):
    """The requester would like to know how far it is. Urgent, it could arrive before the job, and be nobody's."""

    job: str


@on_wire("trio_pipes.job.known")
@attrs.define(eq=False, kw_only=True)
class JobKnown(DataMessage):
    """The worker has this job, and it is not over."""

    job: str


@on_wire("trio_pipes.job.update")
@attrs.define(eq=False, kw_only=True)
class JobUpdate(DataMessage):
    """What a handler tells while it works."""

    job: str
    number: int
    """Updates that were sent before this one, urgent ones not counted."""
    data: Any = None


@on_wire("trio_pipes.job.update-urgent")
@attrs.define(eq=False, kw_only=True)
class JobUpdateUrgent(SystemMessage):
    """The same, overtaking what waits on the way."""

    job: str
    number: int
    """Urgent updates that were sent before this one."""
    data: Any = None


@on_wire("trio_pipes.job.answer")
@attrs.define(eq=False, kw_only=True)
class JobAnswer(DataMessage):
    """How a job ended."""

    job: str
    status: str
    """"done", or a status of `JobError`."""
    value: Any = None
    """The result, or the payload of the error."""
    text: str = ""
    """What went wrong: the class of the error and its text."""
    traceback: str | None = None
    chunks: int | None = None
    """How many its stream had in all. None: it opened none."""
    updates: int = 0
    """How many were sent, urgent ones not counted."""


@on_wire("trio_pipes.job.answer-urgent")
@attrs.define(eq=False, kw_only=True)
class JobAnswerUrgent(SystemMessage):
    """The same, overtaking what waits on the way."""

    job: str
    status: str
    value: Any = None
    text: str = ""
    traceback: str | None = None
    chunks: int | None = None
    updates: int = 0


@on_wire("trio_pipes.job.chunk")
@attrs.define(eq=False, kw_only=True)
class JobChunk(DataMessage):
    """A piece of a job's stream."""

    job: str
    number: int
    """Chunks before it."""
    data: Any = None


@on_wire("trio_pipes.job.stream-end")
@attrs.define(eq=False, kw_only=True)
class JobStreamEnd(DataMessage):
    """There are so many chunks and no more; or the handler left the stream with an error."""

    job: str
    chunks: int
    status: str = "done"
    """Or a status of `JobError`."""
    text: str = ""
    value: Any = None
    traceback: str | None = None


TO_WORKER = (JobAsk, JobKeep, JobCredit, JobLeave, JobProgress)
TO_REQUESTER = (
    JobKnown,
    JobUpdate,
    JobUpdateUrgent,
    JobAnswer,
    JobAnswerUrgent,
    JobChunk,
    JobStreamEnd,
)
