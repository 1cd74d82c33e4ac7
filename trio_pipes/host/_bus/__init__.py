"""Messages between workers, and the bus that carries them in one process; `trio_pipes.net` has those over brokers."""

from ._bus import Bus, BusStatistics, topic_of
from ._claims import Claims
from ._listener import Listener
from ._memory_bus import MemoryBus
from ._messages import BusGap, BusMessage, DataMessage, SystemMessage
from ._subscription import Subscription, SubscriptionStatistics

__all__ = [
    "Bus",
    "BusGap",
    "BusMessage",
    "BusStatistics",
    "Claims",
    "DataMessage",
    "Listener",
    "MemoryBus",
    "Subscription",
    "SubscriptionStatistics",
    "SystemMessage",
    "topic_of",
]
