"""The rules for a processor, in the order in which they are checked."""

from __future__ import annotations

from typing import Final

from ._processor_breaks import (
    can_be_cancelled,
    cleans_up,
    goes_on_after_interrupt,
    keeps_uninterruptible,
    passes_cancelled,
    passes_errors,
)
from ._processor_flow import (
    carries_lifecycle,
    does_not_stall,
    keeps_order,
    makes,
    passes,
    runs,
    same_again,
    same_fused,
    same_held_open,
    same_together,
    same_with_slow_reader,
    same_with_small_queues,
)
from ._rules import Rule

__all__ = ["PROCESSOR_RULES"]

PROCESSOR_RULES: Final = {
    "runs": Rule("It sets up, starts, handles what it is given, ends, and raises nothing.", runs, needed=True),
    "passes": Rule(
        "What it does not handle comes out at the other end, the very frame, once, in both directions.", passes
    ),
    "makes": Rule("What comes out and did not go in is of a class that it was said to make.", makes),
    "order": Rule("Ordered frames come out in the order they went in, and so do system frames.", keeps_order),
    "lifecycle": Rule(
        "The last frame is the last: EndFrame and StopFrame go on, and nothing is pushed later.", carries_lifecycle
    ),
    "cleanup": Rule("Ended, cancelled or beside one that fails, it cleans up in time and leaves nothing.", cleans_up),
    "cancel": Rule("Cancelled by request at any of its steps, it ends in time and leaves nothing.", can_be_cancelled),
    "cancelled": Rule(
        "Cancelled from outside at any of its steps, it lets Cancelled pass and leaves nothing.",
        passes_cancelled,
    ),
    "interrupt": Rule("Interrupted at any of its steps, it goes on with what comes next.", goes_on_after_interrupt),
    "uninterruptible": Rule("An interrupt at any of its steps loses no uninterruptible frame.", keeps_uninterruptible),
    "errors": Rule("An error that its push raises reaches the caller of run(), or is reported.", passes_errors),
    "fused": Rule("It gives the same in a task of its own and in one that it shares.", same_fused),
    "queue_size": Rule("It gives the same with queue_size=1.", same_with_small_queues),
    "slow_reader": Rule(
        "It gives the same, and ends, when those who read the outputs are slow.", same_with_slow_reader
    ),
    "reuse": Rule("An instance gives the same in a second run.", same_again),
    "opened": Rule(
        "Held open by async with, it gives the same in each run, also after one that was cancelled.", same_held_open
    ),
    "together": Rule("Two instances that run at the same time do not know of each other.", same_together),
    "stall": Rule("It does not keep Trio's loop from turning.", does_not_stall),
}
