"""Copies of frames: the same content, an id of its own."""

from __future__ import annotations

from typing import Any, TypeVar

import attrs

from trio_pipes.flow._frames import Frame

__all__ = ["carry_over", "copy_of"]

F = TypeVar("F", bound=Frame)


def copy_of(frame: F, **changes: Any) -> F:
    """A frame of the same class with the same content, `changes` apart.

    `attrs.evolve` makes it, so validators see the changes. What a frame has that its `__init__` does not take, such as `pts`
    and metadata, is handed on as well.
    """
    made = attrs.evolve(frame, **changes)
    for field in attrs.fields(type(frame)):
        if not field.init and field.name not in ("id", "pts", "_metadata") and hasattr(frame, field.name):
            setattr(made, field.name, getattr(frame, field.name))
    carry_over(frame, made)
    if hasattr(made, "__dict__"):  # of a class that declares no fields
        vars(made).update(vars(frame))
    return made


def carry_over(frame: Frame, made: F) -> F:
    """Give a frame that was made of another one its `pts` and metadata."""
    made.pts = frame.pts
    if hasattr(frame, "_metadata"):
        made.metadata.update(frame.metadata)
    return made
