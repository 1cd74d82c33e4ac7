"""A pipeline as a picture: boxes, arrows between them, and groups round them, before anybody has drawn it.

Each processor adds itself, by `_sketch`: a class, a function and a block are a box, a shape is a group with what is in
it. Mermaid's text and the SVG are made of the same picture, and so may be what others show.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple, Protocol

import attrs

from trio_pipes._base import shown

__all__ = ["Arrow", "Box", "Drawing", "Group", "Picture", "Way"]

BoxKind = Literal["class", "function", "block", "route", "point"]
GroupKind = Literal["pipeline", "branches", "slot"]


@attrs.frozen
class Box:
    """A processor, or a point where ways part or meet."""

    key: str
    """Unique in the picture, the same each time: `"n0"`, `"n1"`, ..."""
    name: str
    about: str
    """What it is, where the name does not say it: `"function of TextFrame"`; may be empty."""
    kind: BoxKind
    inline: bool
    """It works in the task of the one before it, where it can."""


@attrs.frozen
class Arrow:
    """Where frames go to."""

    start: str
    """The key of a box."""
    end: str
    label: str = ""
    aside: bool = False
    """Not the way down of the pipeline: frames that are carried from one place to another."""


@attrs.define
class Group:
    """A shape: what stands in it, in order."""

    key: str
    name: str
    kind: GroupKind
    parts: list[Box | Group] = attrs.field(factory=list)

    def boxes(self) -> Iterator[Box]:
        """The boxes in it, those of its groups in their place."""
        for part in self.parts:
            yield from part.boxes() if isinstance(part, Group) else (part,)


@attrs.frozen
class Picture:
    """All of it."""

    top: Group
    arrows: Sequence[Arrow]


class Way(NamedTuple):
    """What frames come from: a box, and what is written at the arrow that leaves it."""

    key: str
    label: object = ""


class Drawn(Protocol):
    """What a box is made for: a processor."""

    name: str
    inline: bool


class Drawing:
    """A picture in the making."""

    def __init__(self) -> None:
        self._top: Group | None = None
        self._open: list[Group] = []
        self._count = 0
        self._groups = 0
        self._arrows: list[Arrow] = []
        self._keys: dict[int, str] = {}
        self._asides: list[tuple[Drawn, Drawn, str]] = []

    def box(
        self, processor: Drawn, above: Iterable[Way], *, kind: BoxKind = "class", about: str = ""
    ) -> tuple[Way, ...]:
        """Add a processor below what is above it. Gives the way out of it."""
        way = self._add(shown(processor.name), above, kind, shown(about), inline=processor.inline)
        self._keys[id(processor)] = way.key
        return (way,)

    def point(self, above: Iterable[Way], name: object = "", *, kind: BoxKind = "point") -> tuple[Way, ...]:
        """Add a place where ways part or meet."""
        return (self._add(shown(name, 40), above, kind, "", inline=False),)

    @contextmanager
    def group(self, name: str, kind: GroupKind) -> Iterator[None]:
        """What is added in this block stands in a group."""
        group = Group(f"g{self._groups}", shown(name), kind)
        self._groups += 1
        if self._open:
            self._open[-1].parts.append(group)
        else:
            self._top = group
        self._open.append(group)
        try:
            yield
        finally:
            self._open.pop()

    def aside(self, start: Drawn, end: Drawn, label: str = "") -> None:
        """An arrow between two processors, wherever in the picture they are."""
        self._asides.append((start, end, label))

    def finished(self) -> Picture:
        """The picture. What was added first has to be a group."""
        assert self._top is not None
        asides = [
            Arrow(self._keys[id(start)], self._keys[id(end)], shown(label, 40), aside=True)
            for start, end, label in self._asides
            if id(start) in self._keys and id(end) in self._keys
        ]
        return Picture(self._top, (*self._arrows, *asides))

    def _add(self, name: str, above: Iterable[Way], kind: BoxKind, about: str, *, inline: bool) -> Way:
        box = Box(f"n{self._count}", name, about, kind, inline)
        self._count += 1
        self._open[-1].parts.append(box)
        self._arrows += [Arrow(way.key, box.key, shown(way.label, 40)) for way in above]
        return Way(box.key)
