"""Shapes that are not a row: branches in step, copies to the side, one of several ways, several sources."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, final

from trio_pipes._base import ConfigurationError, check_flag, refuse

from ._branches import ForkNode, ForkSide, Join, JoinSide
from ._fits import Types, come_to_route
from ._frames import DataFrame, Frame
from ._pipeline import Branches, Part, Pipeline, branch_of, branches_of, refuse_twice, sketch_branch
from ._processor import FrameProcessor, Recipe
from ._reading import Reads
from ._sync import SyncForkNode, SyncJoin

if TYPE_CHECKING:
    from ._picture import Drawing, Way

__all__ = ["Merge", "Route", "SyncParallelPipeline", "Tee", "merge", "route", "tee"]


@final
class SyncParallelPipeline(Branches):
    """Branches in step: what they make of one frame comes out together, before what they make of the next.

    Every branch gets every frame, and the next one when all are done with it: when each handler that it, or what
    came of it, went through has returned. `order` says how what comes out together is ordered: as the `"branches"`
    are, or by `"arrival"`. A frame that passes through several branches unchanged comes out once.

    System frames and what goes up are not kept back. Nor is what a branch emits of its own accord while no frame
    is in the branches. A processor in here must not wait for an answer from below the join: it would be waiting for
    an answer to what is kept back until it has returned.
    """

    def __init__(
        self,
        *branches: Iterable[Part] | Part,
        order: Literal["branches", "arrival"] = "branches",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if order not in ("branches", "arrival"):
            raise refuse("SyncParallelPipeline(order", order, "'branches' or 'arrival'")
        self.branches: Sequence[Pipeline | None] = branches_of("SyncParallelPipeline", branches)
        self.order = order
        refuse_twice(self)

    def _make_ends(self) -> tuple[ForkNode, Join]:
        count = len(self.branches)
        fork = SyncForkNode(self, count)
        fork.join = SyncJoin(self, count, in_order=self.order == "branches")
        return fork, fork.join

    def _sketch_branches(self, drawing: Drawing, above: Sequence[Way]) -> Sequence[Way]:
        fork = drawing.point(above, "all")
        ends = [sketch_branch(branch, drawing, fork) for branch in self.branches]
        return drawing.point([way for end in ends for way in end], "in step")


# -- tee


def tee(*branches: Iterable[Part] | Part, name: str | None = None) -> FrameProcessor:
    """A processor that passes every frame on unchanged, and hands it to each branch as well.

    What branches emit downstream ends with them; what they send up, errors and requests say, goes up. Frames
    from below do not enter them. A full branch makes the flow wait, and the end waits for the branches.
    """
    return Tee(branches_of("tee", branches), name)


@final
class Tee(Branches):
    """What `tee` makes."""

    def __init__(self, branches: Sequence[Pipeline], name: str | None) -> None:
        super().__init__(name=name)
        self.branches = (None, *branches)
        refuse_twice(self)

    def _make_ends(self) -> tuple[ForkNode, Join]:
        count = len(self.branches)
        return ForkNode(self, count), _TeeJoin(self, count)

    def _come_together(self, ways: Sequence[Types | None]) -> Types | None:
        return ways[0]

    def _sketch_branches(self, drawing: Drawing, above: Sequence[Way]) -> Sequence[Way]:
        fork = drawing.point(above, "tee")
        for branch in self.branches[1:]:
            sketch_branch(branch, drawing, fork)
        return fork


class _TeeJoin(Join):
    """Lets out what comes straight through, and nothing of the branches."""

    def passes(self, frame: Frame, branch: int) -> bool:
        return branch == 0

    def open_above(self) -> Sequence[JoinSide]:
        return self.sides[:1]


# -- route


def route(
    key: Callable[[Any], Any],
    routes: Mapping[Any, Iterable[Part]],
    *,
    default: Iterable[Part] | None = None,
    name: str | None = None,
) -> FrameProcessor:
    """A processor that sends each data frame down one branch: the one that `routes` has for `key(frame)`.

    `route(type, {TextFrame: [...], AudioFrame: [...]})` goes by the frame's class, where a subclass counts as the
    nearest of its bases that has a route. An empty branch passes frames on. A frame that has no route goes to
    `default`; without one that is a `LookupError`, which ends the task or is reported as other errors are.
    Other frames go through every branch and come out once. Frames keep their order within a branch, not
    between branches.
    """
    if not callable(key):
        raise ConfigurationError(f"route was given the key {key!r}, expected a function of a frame, or type")
    if inspect.iscoroutinefunction(key):
        raise ConfigurationError(f"route was given the key {key!r}, which is async; expected a plain function")
    if not isinstance(routes, Mapping):
        raise ConfigurationError(f"route was given {routes!r}, expected a dict of branches: {{value: [a, b]}}")
    if key is type:
        for value in routes:
            if not (isinstance(value, type) and issubclass(value, DataFrame)):
                raise ConfigurationError(
                    f"route(type, ...) was given the key {value!r}, expected a class of data frames"
                )
    if not routes:
        raise ConfigurationError("route was given no routes, expected a dict of branches: {value: [a, b]}")
    return Route(
        key, {value: _way(branch) for value, branch in routes.items()}, _way(default), default is not None, name
    )


def _way(branch: Iterable[Part] | None) -> Pipeline | None:
    """A branch as a pipeline; None for an empty one."""
    if branch is None:
        return None
    if isinstance(branch, Iterable) and not isinstance(branch, str):
        branch = list(branch)
        if not branch:
            return None
    return branch_of("route", branch)


@final
class Route(Branches):
    """What `route` makes."""

    def __init__(
        self,
        key: Callable[[Any], Any],
        routes: Mapping[Any, Pipeline | None],
        default: Pipeline | None,
        has_default: bool,
        name: str | None,
    ) -> None:
        super().__init__(name=name)
        self.key = key
        self.values = tuple(routes)
        self.has_default = has_default
        self.branches = (*routes.values(), *([default] if has_default else []))
        refuse_twice(self)

    def _make_ends(self) -> tuple[ForkNode, Join]:
        count = len(self.branches)
        return _RouteForkNode(self, count), _RouteJoin(self, count)

    def _sketch_branches(self, drawing: Drawing, above: Sequence[Way]) -> Sequence[Way]:
        key = "class" if self.key is type else getattr(self.key, "__name__", self.key)
        (fork,) = drawing.point(above, key, kind="route")
        labels = [getattr(value, "__name__", value) for value in self.values] + ["default"]
        ways = [fork._replace(label=label) for label in labels]
        ends = [sketch_branch(branch, drawing, [way]) for branch, way in zip(self.branches, ways, strict=False)]
        return drawing.point([way for end in ends for way in end])

    def _comes_to(self, branch: int, coming: Types | None) -> Types | None:
        if self.key is not type or branch == len(self.values):
            return coming
        return come_to_route(self.name, self.values[branch], coming)


class _RouteForkNode(ForkNode):
    """Hands a data frame to one branch."""

    __slots__ = ("by_class", "key", "side_of", "values")

    def __init__(self, processor: Route, branches: int) -> None:
        super().__init__(processor, branches)
        self.key = processor.key
        self.values = processor.values
        self.by_class = processor.key is type
        ways = [(side,) for side in self.sides]
        self.side_of: dict[Any, Sequence[ForkSide]] = dict(zip(self.values, ways, strict=False))
        if processor.has_default:
            self.side_of = _WithDefault(self.side_of, ways[-1])

    def sides_for(self, frame: Frame) -> Sequence[ForkSide]:
        if not isinstance(frame, DataFrame):
            return self.sides
        if self.by_class:
            for cls in type(frame).__mro__:
                if cls in self.side_of:
                    return self.side_of[cls]
        value: Hashable = self.key(frame)
        try:
            return self.side_of[value]
        except TypeError:
            raise TypeError(
                f"{self.name!r} was given {value!r} as the key of {frame.name}, which cannot be hashed"
            ) from None
        except KeyError:
            expected = ", ".join(getattr(value, "__name__", repr(value)) for value in self.values)
            raise LookupError(
                f"{self.name!r} has no route for {value!r}, the key of {frame.name}. It has: {expected}. "
                "default=[...] takes what has none."
            ) from None


class _WithDefault(dict[Any, Sequence[ForkSide]]):
    def __init__(self, sides: Mapping[Any, Sequence[ForkSide]], default: Sequence[ForkSide]) -> None:
        super().__init__(sides)
        self._default = default

    def __missing__(self, value: object) -> Sequence[ForkSide]:
        return self._default


class _RouteJoin(Join):
    """Lets data frames out as they come: they were in one branch only."""

    def passes(self, frame: Frame, branch: int) -> bool:
        return isinstance(frame, DataFrame) or super().passes(frame, branch)


# -- merge


def merge(
    *sources: AsyncIterable[Frame] | Iterable[Part] | Part, end: bool = True, name: str | None = None
) -> FrameProcessor:
    """A processor that passes on what comes from above, and adds what its sources give, as it comes.

    A source is an async iterable of frames (a Trio receive channel, an async generator) or processors that
    produce: one, or a list. Iterables are read from `StartFrame` on, until they end or the task is asked to: then
    what was read goes on, and what was not stays where it is. Ordered frames from above do not enter the
    sources, system frames and what comes from below do. When all sources are iterables and the last one has
    ended, the task is asked to end; not with `end=False`.
    """
    if not sources:
        raise ConfigurationError("merge() has no sources, expected async iterables of frames, or processors")
    check_flag("merge(end", end)
    return Merge(sources, end, name)


@final
class Merge(Branches):
    """What `merge` makes."""

    def __init__(self, sources: Sequence[Any], end: bool, name: str | None) -> None:
        super().__init__(name=name)
        self._readers: list[Reads] = []
        self.branches = (None, *(self._branch(source) for source in sources))
        self._end = end and len(self._readers) == len(sources)
        refuse_twice(self)

    def _branch(self, source: Any) -> Pipeline:
        if isinstance(source, FrameProcessor | Recipe):
            return source if isinstance(source, Pipeline) else Pipeline([source])
        if isinstance(source, AsyncIterable):
            self._readers.append(Reads(source, f"{self.name} source {len(self._readers)}", self._has_ended))
            return Pipeline([self._readers[-1]])
        if isinstance(source, str) or not isinstance(source, Iterable):
            hint = ""
            if inspect.isasyncgenfunction(source):
                hint = f". Call it: {source.__name__}()"
            raise ConfigurationError(
                f"merge was given the source {source!r}, expected an async iterable of frames, or processors{hint}"
            )
        return Pipeline(source)

    def _has_ended(self) -> bool:
        """A source has ended: whether that is a reason to end the task."""
        return self._end and all(reader.has_ended for reader in self._readers)

    def _make_ends(self) -> tuple[ForkNode, Join]:
        count = len(self.branches)
        return _MergeForkNode(self, count), Join(self, count)

    def _sketch_branches(self, drawing: Drawing, above: Sequence[Way]) -> Sequence[Way]:
        ends = [sketch_branch(branch, drawing, ()) for branch in self.branches[1:]]
        return drawing.point([*above, *(way for end in ends for way in end)], "merge")

    def _comes_to(self, branch: int, coming: Types | None) -> Types | None:
        return coming if branch == 0 or coming is None else ()


class _MergeForkNode(ForkNode):
    """Hands ordered frames straight on."""

    def sides_for(self, frame: Frame) -> Sequence[ForkSide]:
        return self.sides[:1]
