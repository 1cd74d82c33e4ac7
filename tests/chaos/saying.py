"""How a process tells the harness what happens to it: lines of JSON on standard output, each with the time."""

from __future__ import annotations

import json
import os
from time import perf_counter
from typing import Any


def say(event: str, **fields: Any) -> None:
    """One line. The clock is the machine's monotonic one; the harness knows how far it is from its own."""
    os.write(1, json.dumps({"event": event, "at": perf_counter(), **fields}).encode() + b"\n")
