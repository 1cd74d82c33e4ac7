"""What every other package stands on: errors, ids and names, state tables, requests, and objects as bytes."""

from typing import TYPE_CHECKING

from ._checks import (
    FINITE,
    are_classes,
    check_awaitable,
    check_callable,
    check_classes,
    check_count,
    check_flag,
    check_function,
    check_instance,
    check_iterable,
    check_methods,
    check_name,
    check_number,
    check_path,
    check_reason,
    check_timeout,
    refuse,
    refuse_awaitable,
)
from ._errors import (
    ActivationError,
    BusError,
    ConfigurationError,
    DuplicateName,
    EndTimeout,
    FloodError,
    FrameTimeout,
    JobError,
    JobTimeout,
    LeaseLost,
    MissingExtra,
    PipesError,
    SetupTimeout,
    StartTimeout,
    SubscriberTooSlow,
    TransitionError,
    WireError,
)
from ._extras import find_extra, import_extra
from ._files import write_whole
from ._lazy import on_first_access
from ._listing import find_class, leave_out, left_out_of, listed_later, on_wire, stays_local, travels_with
from ._names import default_name, is_default_name, next_id
from ._outside import outside
from ._requested import REQUESTED, Requested
from ._shown import shown
from ._states import Table, step
from ._value import Value
from ._wall import wall_time_ns

if TYPE_CHECKING:
    from ._codec import Codec
else:
    __getattr__ = on_first_access(globals(), {"._codec": ("Codec",)})

__all__ = [
    "FINITE",
    "REQUESTED",
    "ActivationError",
    "BusError",
    "Codec",
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
    "Requested",
    "SetupTimeout",
    "StartTimeout",
    "SubscriberTooSlow",
    "Table",
    "TransitionError",
    "Value",
    "WireError",
    "are_classes",
    "check_awaitable",
    "check_callable",
    "check_classes",
    "check_count",
    "check_flag",
    "check_function",
    "check_instance",
    "check_iterable",
    "check_methods",
    "check_name",
    "check_number",
    "check_path",
    "check_reason",
    "check_timeout",
    "default_name",
    "find_class",
    "find_extra",
    "import_extra",
    "is_default_name",
    "leave_out",
    "left_out_of",
    "listed_later",
    "next_id",
    "on_first_access",
    "on_wire",
    "outside",
    "refuse",
    "refuse_awaitable",
    "shown",
    "stays_local",
    "step",
    "travels_with",
    "wall_time_ns",
    "write_whole",
]
