"""What every other package stands on: errors, ids and names, state tables, requests."""

from ._checks import (
    check_callable,
    check_count,
    check_flag,
    check_iterable,
    check_methods,
    check_name,
    check_number,
    check_path,
    refuse,
)
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
from ._place import Place
from ._requested import REQUESTED, Requested
from ._states import Table, step

__all__ = [
    "REQUESTED",
    "ConfigurationError",
    "DuplicateName",
    "EndTimeout",
    "FloodError",
    "FrameTimeout",
    "MissingExtra",
    "PipesError",
    "Place",
    "Requested",
    "SetupTimeout",
    "StartTimeout",
    "Table",
    "TransitionError",
    "check_callable",
    "check_count",
    "check_flag",
    "check_iterable",
    "check_methods",
    "check_name",
    "check_number",
    "check_path",
    "default_name",
    "import_extra",
    "next_id",
    "outside",
    "refuse",
    "step",
]
