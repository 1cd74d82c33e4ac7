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

import trio

__all__ = [
    "ActivationError",
    "BusError",
    "ConfigurationError",
    "DuplicateName",
    "EndTimeout",
    "FloodError",
    "FrameTimeout",
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
