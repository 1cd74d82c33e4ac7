"""The errors of this library, in one tree.

Each answers "who acts now?". Where one of Trio's own says it already, that one is raised:
`trio.ClosedResourceError` (you closed it), `trio.BrokenResourceError` (the other side is gone),
`trio.EndOfChannel` (nobody: that was all).

::

    Exception
    └── PipesError
        ├── ActivationError                    you: the worker refused, or nobody has that name; the text says who is active
        ├── BusError                           whoever runs the broker, or nobody: it comes back
        ├── ConfigurationError (ValueError)    you: the value cannot work; the text says what can
        ├── DuplicateName (ValueError)         you: choose another name, or wait for the first to end
        ├── FloodError                         you: something queues faster than it is handled
        ├── JobError                           the author of the handler that is named, or whoever ended that worker
        │   └── JobTimeout (trio.TooSlowError)     the same, or you: it was given too little time
        ├── LeaseLost                          you: what was held is somebody else's by now
        ├── MissingExtra (ImportError)         you: install the extra that the text names
        ├── SubscriberTooSlow                  you: read faster, or choose a larger buffer or another overflow
        ├── TransitionError (RuntimeError)     you: the text lists what was legal
        ├── WireError                          the sender: the text names peer, tag and field
        ├── SetupTimeout (trio.TooSlowError)   the author of the processor that is named
        ├── StartTimeout (trio.TooSlowError)   the author of the processor that is named
        ├── EndTimeout (trio.TooSlowError)     the author of the processor that is named
        └── FrameTimeout (trio.TooSlowError)   the author of the processor that is named
"""

from __future__ import annotations

from typing import Any

import trio

__all__ = [
    "ActivationError",
    "BusError",
    "ConfigurationError",
    "DuplicateName",
    "EndTimeout",
    "FloodError",
    "FrameTimeout",
    "JobError",
    "JobTimeout",
    "LeaseLost",
    "MissingExtra",
    "PipesError",
    "SetupTimeout",
    "StartTimeout",
    "SubscriberTooSlow",
    "TransitionError",
    "WireError",
]


class PipesError(Exception):
    """Base of the errors that this library defines."""


class ActivationError(PipesError):
    """A worker that was to be active, or inactive, refused, did not answer, or is not there; the text says who is active."""


class BusError(PipesError):
    """A bus that cannot carry messages: its broker is away, or refuses."""


class ConfigurationError(PipesError, ValueError):
    """A value that cannot work, found when it was given."""


class DuplicateName(PipesError, ValueError):
    """A name that is already up where names are unique."""


class FloodError(PipesError):
    """More frames wait in a lane that never makes its pusher wait, or behind a gate, than its limit allows."""


class JobError(PipesError):
    """A job that was not done. The text has what went wrong at the worker, its class and its own text.

    A handler may raise one itself, to give its requester a `payload` with the text: `raise JobError("no such topic",
    payload={"nearest": "trio"})`.
    """

    def __init__(
        self,
        text: str,
        *,
        payload: Any = None,
        worker: str = "",
        job: str | None = None,
        job_id: str = "",
        status: str = "failed",
        remote_traceback: str | None = None,
    ) -> None:
        super().__init__(text)
        self.payload: Any = payload
        """What the handler gave with its error, or None."""
        self.worker: str = worker
        """Of whom it was asked."""
        self.job: str | None = job
        """The name of the job."""
        self.job_id: str = job_id
        self.status: str = status
        """"failed": the handler raised; "timeout": its time was over; "cancelled": it was stopped at the worker, or with its
        group; "gone": the worker ended or is not heard of; "unknown": the worker has no such job; "refused": it takes none."""
        self.remote_traceback: str | None = remote_traceback
        """Where the handler raised, as text."""


class JobTimeout(JobError, trio.TooSlowError):
    """A job that was not done within its `timeout`; the text says how far it had come."""


class LeaseLost(PipesError):
    """What was held by a lease is held by somebody else: its holder was not heard of for too long."""


class MissingExtra(PipesError, ImportError):
    """A feature whose packages are not installed; the text has the line that installs them."""


class SubscriberTooSlow(PipesError):
    """A subscription whose buffer was full, and whose reader did not come."""


class TransitionError(PipesError, RuntimeError):
    """A move that the table of states does not have; the text lists those that it has."""


class SetupTimeout(PipesError, trio.TooSlowError):
    """Set-up took longer than `PipelineParams.setup_timeout`; the text names who was stuck."""


class StartTimeout(PipesError, trio.TooSlowError):
    """`StartFrame` did not reach the sink within `PipelineParams.start_timeout`; the text names who held it."""


class EndTimeout(PipesError, trio.TooSlowError):
    """The end took longer than `PipelineParams.end_timeout`; the text names who was stuck."""


class FrameTimeout(PipesError, trio.TooSlowError):
    """A processor took longer over one frame than it was given; the text names both."""


class WireError(PipesError):
    """An object that cannot be sent or stored, or bytes of which no object can be made."""

    def __init__(self, text: str, *, peer: str | None = None, tag: str | None = None, field: str | None = None) -> None:
        super().__init__(text)
        self.peer: str | None = peer
        """Who sent it; None: it was to be sent from here."""
        self.tag: str | None = tag
        """The tag of its class, where it could be read."""
        self.field: str | None = field
        """The place in it, such as `payload['a'][3]`, where it is one place."""
