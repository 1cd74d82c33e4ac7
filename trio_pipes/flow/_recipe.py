"""Recipes: what pipelines make a processor of their own from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._processor import FrameProcessor

__all__ = ["Recipe"]


class Recipe(ABC):
    """A function that was made a processor by `@each` or `@processor`; may stand in many pipelines."""

    @abstractmethod
    def _make(self) -> FrameProcessor: ...
