"""Buses between processes and machines, over brokers, and a proxy that joins two buses."""

from typing import TYPE_CHECKING

from trio_pipes._base import on_first_access

if TYPE_CHECKING:
    from ._broker_statistics import BrokerStatistics
    from ._postgres_bus import PostgresBus
    from ._proxy import JOBS, ProxyStatistics, WebSocketProxyClient, WebSocketProxyServer
    from ._redis_bus import RedisBus
else:
    __getattr__ = on_first_access(
        globals(),
        {
            "._broker_statistics": ("BrokerStatistics",),
            "._postgres_bus": ("PostgresBus",),
            "._proxy": ("JOBS", "ProxyStatistics", "WebSocketProxyClient", "WebSocketProxyServer"),
            "._redis_bus": ("RedisBus",),
        },
    )

__all__ = [
    "JOBS",
    "BrokerStatistics",
    "PostgresBus",
    "ProxyStatistics",
    "RedisBus",
    "WebSocketProxyClient",
    "WebSocketProxyServer",
]
