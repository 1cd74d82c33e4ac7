"""What every other package stands on: errors, ids and names, state tables, requests."""

from ._errors import (
    ConfigurationError,
    DuplicateName,
    EndTimeout,
    FloodError,
    FrameTimeout,
    MissingExtra,
    PipesError,
    SetupTimeout,
    StartTimeout,
    TransitionError,
)
from ._extras import import_extra
from ._names import default_name, next_id
from ._outside import outside
from ._requested import REQUESTED, Requested, check_reason
from ._states import Table, step
from ._value import Value

__all__ = [
    "REQUESTED",
    "ConfigurationError",
    "DuplicateName",
    "EndTimeout",
    "FloodError",
    "FrameTimeout",
    "MissingExtra",
    "PipesError",
    "Requested",
    "SetupTimeout",
    "StartTimeout",
    "Table",
    "TransitionError",
    "Value",
    "check_reason",
    "default_name",
    "import_extra",
    "next_id",
    "outside",
    "step",
]
