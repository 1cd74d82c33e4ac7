"""Which workers are up, on this runner and on others: kept under leases, told in messages over the bus."""

from ._info import RegistryStatistics, WorkerChange, WorkerEvent, WorkerInfo
from ._membership import Membership
from ._over_broker import Beside
from ._registry import Registry
from ._watch import WorkerWatch

__all__ = [
    "Beside",
    "Membership",
    "Registry",
    "RegistryStatistics",
    "WorkerChange",
    "WorkerEvent",
    "WorkerInfo",
    "WorkerWatch",
]
