"""Pipelines: processors in order, nested or side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from trio_pipes._base import ConfigurationError

from ._processor import FrameProcessor, Recipe

__all__ = ["ParallelPipeline", "Pipeline"]

Part = FrameProcessor | Recipe


class Pipeline(FrameProcessor):
    """Processors in order; itself a processor, so pipelines nest.

    `processors` are `FrameProcessor`s, `@each` and `@processor` functions, and pipelines. Raises
    `ConfigurationError` for an empty pipeline, for one processor in two places and for what is no processor.
    """

    def __init__(self, processors: Iterable[Part], *, name: str | None = None) -> None:
        super().__init__(name=name)
        if isinstance(processors, FrameProcessor | Recipe | str | bytes) or not isinstance(processors, Iterable):
            raise ConfigurationError(
                f"Pipeline was given {processors!r}, expected a list of processors: Pipeline([a, b, c])"
            )
        self.processors: Sequence[FrameProcessor] = tuple(made(part, "Pipeline") for part in processors)
        if not self.processors:
            raise ConfigurationError(f"Pipeline({processors!r}) is empty, expected at least one processor")
        refuse_twice(self)

    def leaves(self) -> Iterator[FrameProcessor]:
        """The processors in order, those of nested pipelines in their place."""
        for processor in self.processors:
            if isinstance(processor, Pipeline | ParallelPipeline):
                yield from processor.leaves()
            else:
                yield processor


class ParallelPipeline(FrameProcessor):
    """Branches side by side: every branch gets every frame, and what comes out of them is merged.

    A frame that passes through several branches unchanged comes out once. Lifecycle frames wait for all
    branches. Between branches there is no order.
    """

    def __init__(self, *branches: Iterable[Part] | Part, name: str | None = None) -> None:
        super().__init__(name=name)
        if not branches:
            raise ConfigurationError("ParallelPipeline() has no branches, expected lists of processors: ([a], [b, c])")
        self.branches: Sequence[Pipeline] = tuple(_branch(branch) for branch in branches)
        refuse_twice(self)

    def leaves(self) -> Iterator[FrameProcessor]:
        """The processors, branch by branch; this one, which hands the frames out, first."""
        yield self
        for branch in self.branches:
            yield from branch.leaves()


def _branch(branch: Iterable[Part] | Part) -> Pipeline:
    if isinstance(branch, Pipeline):
        return branch
    if isinstance(branch, FrameProcessor | Recipe):
        raise ConfigurationError(
            f"ParallelPipeline was given {branch!r} as a branch, expected a list of processors: [{branch!r}]"
        )
    return Pipeline(branch)


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


def refuse_twice(pipeline: Pipeline | ParallelPipeline) -> None:
    """A processor instance has one place."""
    seen: set[int] = set()
    for processor in pipeline.leaves():
        if id(processor) in seen:
            raise ConfigurationError(
                f"{processor.name!r} is in {pipeline.name!r} twice. An instance has one place: make a second one."
            )
        seen.add(id(processor))
