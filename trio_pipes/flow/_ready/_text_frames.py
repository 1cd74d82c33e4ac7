"""Frames that carry text: which they are, and how another text gets into one."""

from __future__ import annotations

from typing import Any, TypeVar

import attrs

from trio_pipes._base import refuse
from trio_pipes.flow._frames import Frame

from ._copies import copy_of
from ._which import check_frame_types

__all__ = ["check_text_types", "text_of", "with_text"]

F = TypeVar("F", bound=Frame)


def check_text_types(what: str, value: object) -> tuple[type[Frame], ...]:
    """A frame class whose frames carry a `text`, or a tuple of them."""
    types = check_frame_types(what, value)
    for frame_type in types:
        if not any(field.name == "text" and field.init for field in attrs.fields(frame_type)):
            raise refuse(what, value, "a frame class with a field text, such as TextFrame, or a tuple of them")
    return types


def text_of(frame: Any, who: str) -> str:
    """The text of a frame. Raises `TypeError` where it is none."""
    text = frame.text
    if not isinstance(text, str):
        raise TypeError(f"{who!r} was given {frame.name} with text={text!r}, expected a string")
    return text


def with_text(frame: F, text: str) -> F:
    """A frame that says something else, and is the same in everything besides."""
    return copy_of(frame, text=text)
