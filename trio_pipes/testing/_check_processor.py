"""`check_processor`: whether a processor behaves as one should."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, cast

import attrs

from trio_pipes import ConfigurationError, Frame, FrameProcessor, Pipeline, PipelineParams, TextFrame
from trio_pipes._base import are_classes, check_count, check_number, refuse

from ._handlers import RECIPES
from ._leftovers import young_garbage_only
from ._processor_rules import PROCESSOR_RULES
from ._rules import check_rules, refuse_real_clock, refuse_unknown
from ._trial import Case

__all__ = ["check_processor"]

TEXTS: Final = (TextFrame("one"), TextFrame("two"), TextFrame("three"))
FrameTypes = type[Frame] | tuple[type[Frame], ...]


async def check_processor(
    factory: Any,
    frames: Iterable[Frame] | Callable[[], Iterable[Frame]] = TEXTS,
    *,
    upstream: Iterable[Frame] | Callable[[], Iterable[Frame]] = (),
    drops: FrameTypes = (),
    drops_upstream: FrameTypes = (),
    makes: FrameTypes = (),
    ends: bool = False,
    params: PipelineParams | None = None,
    key: Callable[[Frame], object] | None = None,
    after: Callable[[], object] | None = None,
    stall: float = 0.1,
    points: int = 100,
    timeout: float = 1000.0,
    skip: Collection[str] = (),
) -> None:
    """Run a processor again and again, between two neighbours, and see that it keeps the rules of the documentation.

    `factory` is called for a fresh one, or is an `@each` or `@processor` function. `frames` are sent down and `upstream`
    up, copies of them in each run, with frames between them that no processor can know.

    What it does legitimately: `drops` are classes of frames that need not come out below when they came from above (it
    drops them, or makes others of them), `drops_upstream` the same for the other way, `makes` what may come out that was
    not put in, `ends` that it asks for the end by itself, as a source does. Two frames that it made are the same when their classes and fields are, or what `key(frame)` gives. `after`
    is called after each run that was broken off: to look at what the processor should have closed. `stall` is the longest
    step that it may take, in real seconds; `points` the number of steps, evenly spread, at which it is cancelled, and
    interrupted; `timeout` what a run may take, in seconds on Trio's clock. `skip` names rules that are not checked.

    Raises `RuleBroken`, or an `ExceptionGroup` of them. Needs an autojump clock: take the fixture `pipes_clock`.
    """
    refuse_real_clock("check_processor")
    skip = refuse_unknown("check_processor", skip, PROCESSOR_RULES)
    check_number("check_processor(stall", stall, "seconds above 0", above=True)
    check_number("check_processor(timeout", timeout, "seconds above 0", above=True)
    check_count("check_processor(points", points, "a whole number, 1 or more")
    case = Case(
        make=_maker(factory),
        frames=_frames("frames", frames),
        upstream=_frames("upstream", upstream),
        drops=_types("drops", drops),
        drops_upstream=_types("drops_upstream", drops_upstream),
        makes=_types("makes", makes),
        params=params or PipelineParams(),
        key=key or fields_of,
        after=after or (lambda: None),
        stall=stall,
        points=points,
        timeout=timeout,
        ends=ends,
        ordered="order" not in skip,
    )
    who = case.make().name.partition("#")[0]
    with young_garbage_only(), warnings.catch_warnings(record=True):  # the rule "cleanup" listens for itself
        if "cleanup" not in skip:
            warnings.simplefilter("always")
        await check_rules(who, PROCESSOR_RULES, skip - {"runs"}, case)


def _maker(factory: Any) -> Callable[[], FrameProcessor]:
    if isinstance(factory, RECIPES):
        return lambda: Pipeline([factory]).processors[0]
    if isinstance(factory, FrameProcessor) or not callable(factory) or inspect.iscoroutinefunction(factory):
        raise ConfigurationError(
            f"check_processor was given {factory!r}, expected what makes a fresh processor each time: "
            f"the class, or lambda: {type(factory).__name__}(...)"
        )

    def make() -> FrameProcessor:
        made: Any = factory()
        if isinstance(made, RECIPES):
            made = Pipeline([made]).processors[0]
        if not isinstance(made, FrameProcessor):
            raise ConfigurationError(f"the factory that check_processor was given made {made!r}, expected a processor")
        if made in known:
            raise ConfigurationError(f"the factory that check_processor was given made {made.name!r} twice")
        known.append(made)
        del known[:-2]
        return made

    known: list[FrameProcessor] = []
    return make


def _frames(name: str, given: Any) -> Callable[[], Iterable[Frame]]:
    if isinstance(given, Frame) or not (callable(given) or isinstance(given, Iterable)):
        raise ConfigurationError(f"check_processor({name}={given!r}): expected frames, or a function that makes them")
    if callable(given):
        make = cast("Callable[[], Iterable[Any]]", given)
    else:
        kept = tuple(given)

        def make() -> Iterable[Any]:
            return [_copy(frame) for frame in kept]

    def fresh() -> Iterable[Frame]:
        frames = list(make())
        wrong = [frame for frame in frames if not isinstance(frame, Frame)]
        if wrong:
            raise ConfigurationError(f"check_processor({name}=...): {wrong[0]!r} is no frame")
        return frames

    fresh()
    return fresh


def _copy(frame: Any) -> Any:
    """A frame with the same content."""
    if not isinstance(frame, Frame):
        return frame
    made = attrs.evolve(frame)
    made.pts = frame.pts
    if frame.metadata:
        made.metadata.update(copy.copy(frame.metadata))
    return made


def _types(name: str, given: Any) -> tuple[type[Frame], ...]:
    types: tuple[type[Frame], ...] = given if isinstance(given, tuple) else (given,)
    if not are_classes(types, Frame):
        raise refuse(f"check_processor({name}", given, "a class of frames, or a tuple of them")
    return types


def fields_of(frame: Frame) -> object:
    """The class of a frame and what it was made with: the same for two frames with the same content."""
    fields = [f"{field.alias}={getattr(frame, field.name)!r}" for field in attrs.fields(type(frame)) if field.init]
    return f"{type(frame).__name__}({', '.join(fields)})"
