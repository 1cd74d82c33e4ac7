"""Ready-made processors in a script: what they are, and how they are set."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import attrs

KINDS = (
    *("filter", "function filter", "async filter", "wake", "logger", "notifier", "tap", "tap", "talks", "idle"),
    *("frame gate", "frame gate", "notifier gate", "notifier gate"),
)
RENEWS = ("wake",)  # which give another frame with the same number, the others give the same one
SPEECH = ("user started", "user stopped", "turn started", "turn stopped", "bot started", "bot stopped")


@attrs.frozen
class Ready:
    """One ready-made processor."""

    kind: str
    way: str  # "down", "up", "both"
    settings: dict[str, Any]

    @property
    def renews(self) -> bool:
        return self.kind in RENEWS


@attrs.frozen
class Copies:
    """A `Consumer`, and its `Producer`; or, with no consumer, the producer."""

    producer: int
    consumer: int | None
    settings: dict[str, Any]


@attrs.frozen
class Switcher:
    """Services, all of which give the same number of frames."""

    services: tuple[list[Any], ...]
    settings: dict[str, Any]


def draw_ready(rng: Random, *, renews: bool | None = None) -> Ready:
    """One of them; `renews` says what it has to do with frames, where that matters."""
    kind = rng.choice([kind for kind in KINDS if renews is None or (kind in RENEWS) == renews])
    settings: dict[str, Any] = {}
    match kind:
        case "frame gate" | "notifier gate":
            limit, overflow = rng.choice(
                [(1, "drop_oldest"), (10, "drop_oldest"), (100, "drop_oldest"), (150, "error")]
            )
            settings = {
                "limit": limit,
                "overflow": overflow,
                "drops": rng.random() < 0.15,
                "at_end": rng.choice(["release", "release", "drop"]),
                "timeout": rng.choice([None, None, None, 0.5, 5.0]),
                "opens": rng.choice(["frame", "function", "speech"]),
                "closes": rng.choice(["frame", "function", "interrupt", "none"]),
                "start_open": rng.random() < 0.5,
                "notifier": rng.randrange(3),
            }
        case "filter" | "function filter" | "async filter" | "notifier":
            settings = {"every": rng.choice([2, 7, 50]), "notifier": rng.randrange(3)}
        case "wake":
            settings = {"keep": rng.choice(["phrase", "rest", "all"]), "timeout": rng.choice([None, 0.2, 3.0])}
        case "tap":
            settings = {
                "begins": rng.choice([0, 0, rng.uniform(0, 10)]),
                "lasts": rng.choice([math.inf, rng.uniform(0, 10)]),
                "buffer": rng.choice([1, 16, math.inf]),
                "overflow": rng.choice(["wait", "drop_oldest"]),
                "slow": rng.random() < 0.5,  # it is async
            }
        case "talks":
            settings = {"at": {rng.randint(1, 60): rng.choice(SPEECH) for _ in range(rng.choice([4, 12, 30]))}}
        case "idle":
            settings = {"timeout": rng.choice([0.3, 2.0])}
    way = rng.choice(["down", "down", "up", "both"])
    return Ready(kind, way, settings)


def draw_switching(rng: Random) -> dict[str, Any]:
    """How a switcher is set."""
    return {
        "warm": rng.random() < 0.6,
        "strategy": rng.random() < 0.9,
        "failback": rng.random() < 0.4,
        "retry_after": rng.choice([None, None, 0.5, 3.0]),
        "repeat": rng.random() < 0.8,
    }


def draw_copies(rng: Random, places: list[tuple[list[Any], bool]]) -> None:
    """Put producers and consumers into some of the places: lists of processors, and whether what is there comes out."""
    index = 0
    for producer in range(rng.choice([0, 0, 0, 1, 1, 2])):
        settings = {"passes": rng.random() < 0.9, "slow": rng.random() < 0.3}
        _insert(rng, rng.choice(places)[0], Copies(producer, None, settings))
        for _ in range(rng.choice([1, 1, 2])):
            place, comes_out = rng.choice(places)
            up = rng.random() < 0.3
            _insert(rng, place, Copies(producer, index, {"up": up, "comes_out": comes_out, "slow": rng.random() < 0.3}))
            index += 1


def _insert(rng: Random, place: list[Any], one: Copies) -> None:
    place.insert(rng.randint(0, len(place)), one)
