"""Pipelines that do a part of their work on other runners: frames that cross the bus."""

from ._bridged_pipeline import BridgedPipeline
from ._bus_bridge import BusBridge
from ._link import BridgeStatistics

__all__ = ["BridgeStatistics", "BridgedPipeline", "BusBridge"]
