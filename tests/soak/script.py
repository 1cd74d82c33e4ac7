"""What happens in a session: drawn from a seed before it starts, so that the seed alone repeats it."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import attrs

from .pieces import Copies, Ready, Switcher, draw_copies, draw_ready, draw_switching

KINDS = (
    "class",
    "class",
    "inline",
    "helped",
    "sync",
    "sync",
    "generator",
    "async",
    "async generator",
    "concurrent",
    "unordered",
    "block",
    "careful block",
)

Shape = list[
    Any
]  # of parts, of shapes (nested pipelines), of tuples of shapes (parallel ones), of splits, slots, and pieces
SET_UP, LATER = 0, -1  # keys of acts that belong to no frame
FUNCTIONS = ("sync", "generator")  # which cannot wait, and do only what can be done at once
CLASSES = ("class", "inline", "helped")


@attrs.frozen
class Part:
    """One processor."""

    kind: str
    renews: bool  # pushes another frame with the same number
    nap: float  # seconds over each text
    acts: dict[int, str]  # what it does when it handles its n-th frame
    resource: bool  # has a lifespan, with a task in it that ticks


@attrs.frozen
class Split:
    """Branches that are not simply parallel."""

    kind: str  # "sync", "tee", "route"
    branches: tuple[Shape, ...]


@attrs.frozen
class Slot:
    """What can be replaced while it runs, and what by: all of them give the same number of frames."""

    contents: tuple[Shape, ...]


@attrs.frozen
class Producer:
    kind: str  # "sound", "text", "burst", "notes", "up", "generator", "early"
    pause: float  # seconds between two
    kept: float  # which part of them is not interruptible


@attrs.frozen
class Reader:
    begins: float
    lasts: float
    buffer: float
    pause: float  # seconds over each frame


@attrs.frozen
class Script:
    """One session."""

    name: str
    shape: Shape
    queue_size: int
    report: bool  # ErrorPolicy.REPORT
    obeys: bool  # allow_interruptions
    measures: bool  # enable_metrics
    debug: bool
    host: str  # "runner", "restart", "call", "nursery", "alone"
    heartbeats: float | None  # seconds between two
    on_unusable: str  # "continue", "end", "cancel"
    producers: list[Producer]
    readers: list[Reader]
    observers: list[str]
    events: list[tuple[float, str]]  # when the owner does what
    end: str
    lasts: float  # seconds until then
    stuck: str | None  # what goes wrong on purpose


ENDS = (
    *("stop", "stop", "stop", "stop", "end frame", "stop frame", "end task frame", "part stops"),
    *("cancel", "cancel", "cancel frame", "cancel task frame", "outside", "part cancels", "fails", "fatal", "never"),
)


EVENTS = (
    *("interrupt", "interrupt", "interrupt", "interrupt frame", "flush", "statistics"),
    *("pause", "pause frame", "pause at once", "resume", "resume", "resume frame", "replace", "replace", "usable"),
    *("gate", "gate", "notify", "notify", "switch", "switch", "switch frame", "observer"),
)
OBSERVERS = (
    *("counts", "slow", "raises", "leaves"),
    *("turns", "latency", "start-up", "frame log", "metrics log", "timeline", "timeline", "metrics", "traces"),
)


MOST_COPIES = 6  # of a frame, that may come out of a pipeline: each one more multiplies the time that it takes


def draw(name: str) -> Script:
    """The script that belongs to this name."""
    rng = Random(name)
    end = rng.choice(ENDS)
    lasts = min(rng.expovariate(1 / 8), 60.0) + rng.choice([0.0, 0.02])
    stuck = rng.choice(["set-up", "handler", "lifespan"]) if rng.random() < 0.06 else None
    if stuck == "handler" and end not in ("cancel", "outside", "cancel frame"):
        end = rng.choice(["cancel", "outside", "end timeout"])
    shape = draw_shape(rng, 0)
    while sum(copies(shape)) > MOST_COPIES:
        shape = draw_shape(rng, 0)
    draw_copies(rng, places_of(shape))
    acts: list[tuple[str, int]] = []
    for _ in range(rng.choice([0, 0, 1, 3])):
        acts.append(
            (rng.choice(["interrupt", "interrupt", "report", "queue", "up", "flush refused"]), rng.randint(1, 200))
        )
    for _ in range(rng.choice([0, 0, 0, 1, 3])):
        acts.append((rng.choice(["unusable", "pause", "pause until"]), rng.randint(1, 100)))
    if rng.random() < 0.15:
        acts += [("fail", rng.randint(1, 100)) for _ in range(rng.randint(1, 3))]
    inside = {"part stops": "stop", "part cancels": "cancel", "fails": "fail", "fatal": "fatal"}
    if end in inside:
        acts.append((inside[end], rng.randint(1, 50)))
    if stuck == "handler":
        acts.append(("stick", rng.randint(1, 20)))
    for services in services_of(shape):
        parts = [part for service in services for part in parts_of(service)]
        for _ in range(rng.choice([0, 1, 2])):
            acts_of = rng.choice(parts).acts if parts else {}
            acts_of[rng.randint(1, 50)] = "fail"
        owners = [part for part in parts if part.resource]
        if owners and rng.random() < 0.5:
            rng.choice(owners).acts[rng.choice([SET_UP, LATER])] = "break"
    for act, when in acts:
        able = [part for part in parts_of(shape) if part.kind not in FUNCTIONS]
        if act in ("fail", "interrupt"):
            able = parts_of(shape)
        elif act in ("unusable", "pause", "pause until"):
            able = [part for part in parts_of(shape) if part.kind in CLASSES]
        among = able
        if among:
            rng.choice(among).acts[when] = act
    return Script(
        name=name,
        shape=shape,
        queue_size=rng.choice([1, 2, 8, 16, 16, 64]),
        report=end != "fails" and rng.random() < 0.5,
        obeys=rng.random() < 0.7,
        measures=rng.random() < 0.3,
        debug=rng.random() < 0.15,
        host="alone" if end == "outside" else rng.choice(["runner", "runner", "restart", "call", "nursery"]),
        heartbeats=rng.choice([None, None, 0.5, 5.0]),
        on_unusable=rng.choice(["continue", "continue", "continue", "end", "cancel"]),
        producers=[draw_producer(rng) for _ in range(rng.choice([1, 1, 2, 3]))],
        readers=[draw_reader(rng, lasts) for _ in range(rng.choice([0, 0, 1, 2]))],
        observers=[rng.choice(OBSERVERS) for _ in range(rng.choice([0, 0, 0, 1, 2, 4]))],
        events=sorted(
            (
                rng.uniform(0, lasts),
                rng.choice(EVENTS),
            )
            for _ in range(rng.choice([0, 1, 3, 10, 20]))
        ),
        end=end,
        lasts=lasts,
        stuck=stuck,
    )


def draw_shape(rng: Random, depth: int) -> Shape:
    shape: Shape = []
    for _ in range(rng.choice([1, 2, 3, 4, 6]) if depth == 0 else rng.randint(1, 2)):
        at = rng.random()
        if at < 0.1 and depth < 2:
            shape.append(draw_shape(rng, depth + 1))
        elif at < 0.16 and depth < 2:
            shape.append(tuple(draw_shape(rng, depth + 1) for _ in range(rng.randint(1, 3))))
        elif at < 0.24 and depth < 2:
            kind = rng.choice(["sync", "tee", "route"])
            count = rng.randint(1, 3)
            first = draw_shape(rng, depth + 1)
            others = [again(rng, first) if kind == "route" else draw_shape(rng, depth + 1) for _ in range(count - 1)]
            shape.append(Split(kind, (first, *others)))
        elif at < 0.34 and depth < 2:
            first = draw_shape(rng, depth + 1)
            shape.append(Slot((first, *(again(rng, first) for _ in range(rng.randint(1, 3))))))
        elif at < 0.42 and depth < 2:
            first = draw_shape(rng, depth + 1)
            others = [again(rng, first) for _ in range(rng.randint(0, 2))]
            shape.append(Switcher((first, *others), draw_switching(rng)))
        elif at < 0.56:
            shape.append(draw_ready(rng))
        else:
            kind = rng.choice(KINDS)
            nap = 0.0 if kind in FUNCTIONS else rng.choice([0, 0, 0, 0.01, 0.03, 0.1])
            resource = kind in ("class", "inline") and rng.random() < 0.3
            shape.append(Part(kind, rng.random() < 0.5, nap, {}, resource))
    return shape


def again(rng: Random, shape: Shape) -> Shape:
    """Another shape that gives as many frames: the same way of renewing them, by parts of other kinds."""
    other: Shape = []
    for one in shape:
        if isinstance(one, Part):
            kind = rng.choice(KINDS)
            nap = 0.0 if kind in FUNCTIONS else rng.choice([0, 0.01, 0.03])
            other.append(Part(kind, one.renews, nap, {}, kind in ("class", "inline") and rng.random() < 0.3))
        elif isinstance(one, Split):
            other.append(Split(one.kind, tuple(again(rng, branch) for branch in one.branches)))
        elif isinstance(one, Ready):
            other.append(draw_ready(rng, renews=one.renews))
        elif isinstance(one, Switcher):
            other.append(Switcher(tuple(again(rng, service) for service in one.services), draw_switching(rng)))
        elif isinstance(one, Slot):
            other.append(Slot(tuple(again(rng, content) for content in one.contents)))
        elif isinstance(one, tuple):
            other.append(tuple(again(rng, branch) for branch in one))
        else:
            other.append(again(rng, one))
    return other


def draw_reader(rng: Random, lasts: float) -> Reader:
    pause = rng.choice([0, 0, 0.005, 0.1])
    until_the_end = math.inf if pause < 0.1 else 10.0  # a slow one holds up the whole pipeline
    return Reader(
        begins=rng.choice([0, 0, rng.uniform(0, lasts)]),
        lasts=rng.choice([until_the_end, rng.uniform(0, lasts)]),
        buffer=rng.choice([0, 1, 16, 64]),
        pause=pause,
    )


def draw_producer(rng: Random) -> Producer:
    kind = rng.choice(["sound", "sound", "text", "text", "burst", "notes", "up", "generator", "early"])
    pause = {"sound": 0.02, "burst": rng.uniform(0.5, 5)}.get(kind, rng.uniform(0.05, 1.5))
    return Producer(kind, pause, rng.choice([0, 0, 0.2, 1]))


def parts_of(shape: Shape) -> list[Part]:
    found: list[Part] = []
    for one in shape:
        if isinstance(one, Part):
            found.append(one)
        else:
            for inner in _inside(one):
                found += parts_of(inner)
    return found


def _inside(one: Any) -> tuple[Shape, ...]:
    if isinstance(one, Split):
        return one.branches
    if isinstance(one, Slot):
        return one.contents
    if isinstance(one, Switcher):
        return one.services
    if isinstance(one, Ready | Copies):
        return ()
    return one if isinstance(one, tuple) else (one,)


def services_of(shape: Shape) -> list[tuple[Shape, ...]]:
    """The services of each switcher."""
    found: list[tuple[Shape, ...]] = []
    for one in shape:
        if isinstance(one, Switcher):
            found.append(one.services)
        if not isinstance(one, Part):
            for inner in _inside(one):
                found += services_of(inner)
    return found


def copies_in(shape: Shape) -> list[Copies]:
    """Producers and consumers."""
    return [one for place, _ in places_of(shape) for one in place if isinstance(one, Copies)]


def places_of(shape: Shape, comes_out: bool = True) -> list[tuple[Shape, bool]]:
    """The lists of processors that stay for the whole run, and whether what is pushed there comes out."""
    found = [(shape, comes_out)]
    for one in shape:
        if not isinstance(one, Part | Slot | Switcher):
            ends = isinstance(one, Split) and one.kind == "tee"
            for inner in _inside(one):
                found += places_of(inner, comes_out and not ends)
    return found


def keeps_order(shape: Shape) -> bool:
    """Whether frames come out in the order in which they went in."""
    for one in shape:
        if isinstance(one, Part):
            if one.kind == "unordered":
                return False
        elif (
            isinstance(one, tuple)
            or (
                isinstance(one, Switcher) and any(map(has_gate, one.services))
            )  # it lets out when another one is active
            or (isinstance(one, Split) and one.kind != "tee")
            or (not isinstance(one, Split) and not all(map(keeps_order, _inside(one))))
        ):
            return False
    return True


def has_gate(shape: Shape) -> bool:
    """Whether there is something in it that may keep frames."""
    return any(
        one.kind.endswith(" gate") if isinstance(one, Ready) else any(map(has_gate, _inside(one)))
        for one in shape
        if not isinstance(one, Part)
    )


def copies(shape: Shape) -> tuple[int, int]:
    """How often a frame comes out of a shape: as it is (0 or 1), and as new ones. A frame as it is comes out once."""
    same, new = 1, 0
    for one in shape:
        if isinstance(one, Part | Ready):
            step = (0, 1) if one.renews else (1, 0)
        elif isinstance(one, Copies) or (isinstance(one, Split) and one.kind == "tee"):
            step = (1, 0)
        elif isinstance(one, Slot | Switcher) or (isinstance(one, Split) and one.kind == "route"):
            (step,) = {copies(content) for content in _inside(one)}
        elif isinstance(one, tuple | Split):
            branches = [copies(branch) for branch in _inside(one)]
            step = (max(s for s, _ in branches), sum(n for _, n in branches))
        else:
            step = copies(one)
        same, new = same * step[0], same * step[1] + new * sum(step)
    return same, new
