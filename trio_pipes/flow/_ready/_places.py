"""Which place of a pipeline is above which: what comes out of one can come to the other.

A pipeline is made of rows and of things side by side (branches, services that stand for each other), and nothing else. So
one leaf is above another when the smallest part of the pipeline that has both is a row, and it stands earlier there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from trio_pipes.flow._content import HasContent
from trio_pipes.flow._pipeline import Branches, Pipeline
from trio_pipes.flow._processor import FrameProcessor

__all__ = ["Place", "is_above", "is_behind_choice", "places_in"]

Place = Sequence[tuple[FrameProcessor, int]]
"""The parts that a leaf is in, from the outermost, each with the number of the part in it."""


def places_in(pipeline: FrameProcessor) -> Mapping[FrameProcessor, Place]:
    """Where each processor stands that is not made of others."""
    return dict(_walk(pipeline, ()))


def _walk(
    part: FrameProcessor, place: tuple[tuple[FrameProcessor, int], ...]
) -> Iterator[tuple[FrameProcessor, Place]]:
    inner: Sequence[FrameProcessor | None]
    if isinstance(part, Pipeline):
        inner = part.processors
    elif isinstance(part, Branches):
        inner = part.branches
    elif isinstance(part, HasContent):
        inner = part._inner()
    else:
        yield part, place
        return
    for i, processor in enumerate(inner):
        if processor is not None:
            yield from _walk(processor, (*place, (part, i)))


def is_above(one: Place, other: Place) -> bool:
    """Whether what comes out at one place can come down to the other."""
    for (part, i), (_, k) in zip(one, other, strict=False):
        if i != k:
            return isinstance(part, Pipeline) and i < k
    return False


def is_behind_choice(one: Place, other: Place) -> bool:
    """Whether what comes to one place may not come to the other, because it stands in one of several services."""
    shared = [a == b for a, b in zip(one, other, strict=False)]
    apart = shared.index(False) if False in shared else len(shared)
    return any(isinstance(part, HasContent) and len(part._inner()) > 1 for part, _ in other[apart:])
