"""How long a user waited for the bot, and for what: the records of `UserBotLatencyObserver`, and how they read."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import attrs

from trio_pipes.flow import TTFBMetrics

__all__ = ["LatencyStep", "UserBotLatency", "render_latencies"]


@attrs.frozen
class LatencyStep:
    """A part of a latency. Times are seconds on Trio's clock."""

    what: str
    """What was there at the end of it."""
    processor: str | None
    """The name of the processor that brought it; None for an interrupt."""
    began_at: float
    ended_at: float
    ttfb: float | None = None
    """What the processor itself reported as its time to first byte, in seconds."""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended_at - self.began_at


@attrs.frozen
class UserBotLatency:
    """From the user's last sound to the bot's first one. Times are seconds on Trio's clock.

    `str()` gives it as a table.
    """

    began_at: float
    """The user's last sound; of a bot that speaks first, when the pipeline was up."""
    ended_at: float
    """The bot's first sound, or when it was interrupted."""
    steps: tuple[LatencyStep, ...]
    """In the order of time, each from the end of the one before: they add up to the whole."""
    ttfb: tuple[TTFBMetrics, ...] = ()
    """The first time to first byte that each processor reported meanwhile."""
    interrupted: bool = False
    """There was no sound: the user went on, or an interrupt dropped the reply."""
    after_start: bool = False
    """The bot spoke first: it is the time from the start of the pipeline."""

    @property
    def seconds(self) -> float:
        """The latency."""
        return self.ended_at - self.began_at

    @property
    def what(self) -> str:
        """What was measured, in words."""
        begin = "the start" if self.after_start else "the user's last sound"
        end = "an interrupt" if self.interrupted else "the bot's first sound"
        return f"from {begin} to {end}"

    def __str__(self) -> str:
        """A table of the steps: at which second each began, what it took, and who brought what."""
        width = max((len(step.processor or "") for step in self.steps), default=0)
        lines = [f"{self.seconds:.3f} s {self.what}"]
        for step in self.steps:
            ttfb = "" if step.ttfb is None else f" (time to first byte {step.ttfb:.3f})"
            began = step.began_at - self.began_at
            lines.append(f"  {began:7.3f} {step.seconds:+7.3f}  {step.processor or '':<{width}}  {step.what}{ttfb}")
        return "\n".join(lines)


def render_latencies(latencies: Sequence[UserBotLatency], since: float) -> str:
    """A table with a line for each: when, counted from `since`, how long, and its longest step."""
    lines = ["   at, s  latency, s  longest step, s"]
    for latency in latencies:
        step = max(latency.steps, key=lambda step: step.seconds)
        who = "" if step.processor is None else f"{step.processor}: "
        seconds = "interrupted" if latency.interrupted else f"{latency.seconds:.3f}"
        lines.append(f"{latency.began_at - since:8.2f}  {seconds:>11}  {step.seconds:.3f}  {who}{step.what}")
    answered = [latency.seconds for latency in latencies if not latency.interrupted]
    if answered:
        lines.append(f"  median  {median(answered):>10.3f}")
        lines.append(f"   worst  {max(answered):>10.3f}")
    return "\n".join(lines)
