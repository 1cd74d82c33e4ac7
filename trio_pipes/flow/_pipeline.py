"""Pipelines: processors in order, nested or side by side."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from trio_pipes._base import ConfigurationError, refuse

from ._branches import ForkNode, Join
from ._fits import Types, check_gives, check_takes, checked_types
from ._frames import Frame
from ._processor import FrameProcessor, Recipe

if TYPE_CHECKING:
    from ._picture import Drawing, Picture, Way

__all__ = [
    "Branches",
    "Composite",
    "ParallelPipeline",
    "Part",
    "Pipeline",
    "branch_of",
    "branches_of",
    "leaves_of",
    "made",
    "refuse_twice",
    "sketch_branch",
]

Part = FrameProcessor | Recipe
Rank = Literal["TB", "LR"]


class Composite(FrameProcessor):
    """A processor that is made of others."""

    @abstractmethod
    def leaves(self) -> Iterator[FrameProcessor]:
        """The processors that it is made of, down to those that are not made of others."""

    def _parts(self) -> Sequence[FrameProcessor]:
        refuse_twice(self)  # what is in the slots may have changed since it was built
        return tuple(self.leaves())

    # -- pictures

    def mermaid(self, *, direction: Rank = "TB") -> str:
        """A flowchart of what is in here, in Mermaid's language: from top to bottom, or from left to right (`"LR"`).

        Functions are round, blocks have a double side, and what is dashed works in the task of the one before it, where it can.
        Of a slot it shows what is in it now.
        """
        from ._mermaid import mermaid  # few programs draw

        return mermaid(self._picture(direction), direction)

    async def svg(self, *, direction: Rank = "TB") -> str:
        """The same drawn as SVG, in a child process; from outside Trio, `trio.run(pipeline.svg)`.

        Raises `MissingExtra` without the extra `[pictures]`, and `RuntimeError` where Graphviz fails.
        """
        from ._svg import draw_svg

        return await draw_svg(self._picture(direction), direction)

    def _picture(self, direction: object) -> Picture:
        if direction not in ("TB", "LR"):
            raise refuse(f"{type(self).__name__}(direction", direction, "'TB', top to bottom, or 'LR', left to right")
        from ._picture import Drawing

        drawing = Drawing()
        self._sketch(drawing, ())
        return drawing.finished()


class Pipeline(Composite):
    """Processors in order; itself a processor, so pipelines nest.

    `processors` are `FrameProcessor`s, `@each` and `@processor` functions, and pipelines. Raises
    `ConfigurationError` for an empty pipeline, for one processor in two places and for what is no processor.

    `takes` and `gives` may name the classes of data frames that are meant to come in at the top and out at the bottom.
    Then it raises `ConfigurationError` also for a function or block in it that none of the frames it takes can come to,
    and for what cannot come out, as far as functions say by annotation what they return. The frames that come are not
    checked.
    """

    def __init__(
        self,
        processors: Iterable[Part],
        *,
        takes: type[Frame] | Iterable[type[Frame]] | None = None,
        gives: type[Frame] | Iterable[type[Frame]] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.takes: Types | None = checked_types(takes, "takes")
        self.gives: Types | None = checked_types(gives, "gives")
        if isinstance(processors, FrameProcessor | Recipe | str | bytes) or not isinstance(processors, Iterable):
            raise ConfigurationError(
                f"Pipeline was given {processors!r}, expected a list of processors: Pipeline([a, b, c])"
            )
        self.processors: Sequence[FrameProcessor] = tuple(made(part, "Pipeline") for part in processors)
        if not self.processors:
            raise ConfigurationError(f"Pipeline({processors!r}) is empty, expected at least one processor")
        refuse_twice(self)
        self._comes_of(self.takes)

    def leaves(self) -> Iterator[FrameProcessor]:
        """The processors in order, those of nested pipelines in their place."""
        for processor in self.processors:
            yield from leaves_of(processor)

    def _sketch(self, drawing: Drawing, above: Sequence[Way]) -> Sequence[Way]:
        with drawing.group(self.name, "pipeline"):
            return self._sketch_row(drawing, above)

    def _sketch_row(self, drawing: Drawing, above: Sequence[Way]) -> Sequence[Way]:
        for processor in self.processors:
            above = processor._sketch(drawing, above)
        return above

    def _comes_of(self, coming: Types | None) -> Types | None:
        if self.takes is not None:
            check_takes(self.name, self.takes, coming)
        for processor in self.processors:
            coming = processor._comes_of(coming)
        if self.gives is None:
            return coming
        check_gives(self.name, self.gives, coming)
        return self.gives


class Branches(Composite):
    """Ways side by side between one fork and one join. A way is a pipeline, or None: straight through."""

    branches: Sequence[Pipeline | None]

    def leaves(self) -> Iterator[FrameProcessor]:
        """The processors, branch by branch; this one, which hands the frames out, first."""
        yield self
        for branch in self.branches:
            if branch is not None:
                yield from branch.leaves()

    def _sketch(self, drawing: Drawing, above: Sequence[Way]) -> Sequence[Way]:
        with drawing.group(self.name, "branches"):
            return self._sketch_branches(drawing, above)

    def _sketch_branches(self, drawing: Drawing, above: Sequence[Way]) -> Sequence[Way]:
        fork = drawing.point(above, "all")
        ends = [sketch_branch(branch, drawing, fork) for branch in self.branches]
        return drawing.point([way for end in ends for way in end])

    def _comes_of(self, coming: Types | None) -> Types | None:
        ways = []
        for i, branch in enumerate(self.branches):
            entering = self._comes_to(i, coming)
            ways.append(entering if branch is None else branch._comes_of(entering))
        return self._come_together(ways)

    def _comes_to(self, branch: int, coming: Types | None) -> Types | None:
        """The data frame classes that can enter one branch."""
        return coming

    def _come_together(self, ways: Sequence[Types | None]) -> Types | None:
        """What comes out of all, by what comes out of each."""
        if any(way is None for way in ways):
            return None
        return tuple(dict.fromkeys(t for way in ways for t in way or ()))

    def _make_ends(self) -> tuple[ForkNode, Join]:
        count = len(self.branches)
        return ForkNode(self, count), Join(self, count)


class ParallelPipeline(Branches):
    """Branches side by side: every branch gets every frame, and what comes out of them is merged.

    A frame that passes through several branches unchanged comes out once. Lifecycle frames wait for all
    branches. Between branches there is no order.
    """

    def __init__(self, *branches: Iterable[Part] | Part, name: str | None = None) -> None:
        super().__init__(name=name)
        self.branches: Sequence[Pipeline | None] = branches_of(type(self).__name__, branches)
        refuse_twice(self)


def branches_of(where: str, branches: Iterable[Iterable[Part] | Part]) -> Sequence[Pipeline]:
    """Each list of processors as a pipeline; at least one."""
    made_of = tuple(branch_of(where, branch) for branch in branches)
    if not made_of:
        raise ConfigurationError(f"{where}() has no branches, expected lists of processors: ([a], [b, c])")
    return made_of


def branch_of(where: str, branch: Iterable[Part] | Part) -> Pipeline:
    """A list of processors as a pipeline."""
    if isinstance(branch, Pipeline):
        return branch
    if isinstance(branch, FrameProcessor | Recipe):
        raise ConfigurationError(
            f"{where} was given {branch!r} as a branch, expected a list of processors: [{branch!r}]"
        )
    if isinstance(branch, str) or not isinstance(branch, Iterable):
        raise ConfigurationError(f"{where} was given {branch!r} as a branch, expected a list of processors: [a, b]")
    return Pipeline(branch)


def sketch_branch(branch: Pipeline | None, drawing: Drawing, above: Sequence[Way]) -> Sequence[Way]:
    """A branch, framed if somebody gave it a name."""
    if branch is None:
        return above
    if re.fullmatch(r"Pipeline#\d+", branch.name):
        return branch._sketch_row(drawing, above)
    return branch._sketch(drawing, above)


def leaves_of(processor: FrameProcessor) -> Iterator[FrameProcessor]:
    """The processor, or those that it is made of."""
    if isinstance(processor, Composite):
        yield from processor.leaves()
    else:
        yield processor


def made(part: object, where: str) -> FrameProcessor:
    """The processor itself, or the one that its recipe makes."""
    if isinstance(part, FrameProcessor):
        return part
    if isinstance(part, Recipe):
        return part._make()
    if isinstance(part, type) and issubclass(part, FrameProcessor):
        hint = f"an instance: {part.__name__}(...)"
    elif callable(part):
        hint = f"a processor: each({getattr(part, '__name__', 'function')}), or decorate it with @each or @processor"
    elif isinstance(part, list | tuple):
        hint = "a processor: wrap a list in Pipeline(...), or in ParallelPipeline(...) for branches"
    else:
        hint = "a processor"
    raise ConfigurationError(f"{where} was given {part!r}, expected {hint}")


def refuse_twice(pipeline: Composite) -> None:
    """A processor instance has one place."""
    seen: set[int] = set()
    for processor in pipeline.leaves():
        if id(processor) in seen:
            raise ConfigurationError(
                f"{processor.name!r} is in {pipeline.name!r} twice. An instance has one place: make a second one."
            )
        seen.add(id(processor))
