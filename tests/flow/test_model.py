"""Random pipelines, random frames, random interrupts: what must hold whatever happens.

Two models. Without interrupts the whole is a function: each processor sees what a sequential reference says, fused or
not. With interrupts timing decides, so there a book is kept of which frame object is stale, and since when.
"""

from __future__ import annotations

import trio
import trio.testing
from hypothesis import given, strategies as st

from examples import examples
from flow_kit import DOWN, UP
from trio_pipes import (
    ErrorFrame,
    ErrorPolicy,
    FrameProcessor,
    Frames,
    Out,
    ParallelPipeline,
    Pipeline,
    PipelineParams,
    PipelineTask,
    SystemFrame,
    TextFrame,
    each,
    processor,
)
from trio_pipes.testing import run_pipeline


def run_now(fn, *args):
    """Run on an autojump clock; what takes a virtual hour has hung."""

    async def main():
        with trio.fail_after(3600):
            return await fn(*args)

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# -- the first model: no interrupts


def emitted(does: str, content: str) -> list[str] | None:
    """What a processor makes of a content; None: an error."""
    number = sum(map(ord, content))
    match does:
        case "pass":
            return [content]
        case "change":
            return [content + "+"]
        case "drop":
            return [content] if number % 3 else []
        case "double":
            return [content, content + "2"]
        case "fail":
            return [content] if number % 4 else None
    raise AssertionError


def reference(spec, contents: list[str]) -> tuple[list[list[str]], list[str], int]:
    """What each processor sees, what comes out, and how many errors there are."""
    seen, errors = [], 0
    for _, does, _ in spec:
        seen.append(contents)
        following = []
        for content in contents:
            result = emitted(does, content)
            errors += result is None
            following += result or []
        contents = following
    return seen, contents, errors


def build(kind: str, does: str, delay: float, seen: list[str]):
    def of(frame: TextFrame):
        seen.append(frame.text)
        result = emitted(does, frame.text)
        if result is None:
            raise ValueError(frame.text)
        return result

    def made(frame: TextFrame, content: str):
        if content == frame.text:
            return frame
        return TextFrame(content, interruptible=frame.interruptible)

    if kind in ("class", "inline", "helped"):

        class Part(FrameProcessor):
            async def process_frame(self, frame, direction):
                if not isinstance(frame, TextFrame) or direction is UP:
                    await self.push_frame(frame, direction)
                    return
                results = of(frame)
                if delay:
                    await trio.sleep(delay)
                if kind == "helped":
                    for content in results:
                        async with trio.open_nursery() as nursery:
                            nursery.start_soon(self.push_frame, made(frame, content))
                else:
                    for content in results:
                        await self.push_frame(made(frame, content))

        return Part(inline=kind != "class")

    if kind == "sync":

        @each
        def sync(frame: TextFrame):
            results = [made(frame, content) for content in of(frame)]
            return results[0] if len(results) == 1 else results or None

        return sync
    if kind == "generator":

        @each
        def generator(frame: TextFrame):
            for content in of(frame):
                yield made(frame, content)

        return generator
    if kind == "async":

        @each
        async def asynchronous(frame: TextFrame):
            results = of(frame)
            await trio.sleep(delay)
            return [made(frame, content) for content in results]

        return asynchronous
    if kind == "concurrent":

        @each(concurrency=3)
        async def concurrent(frame: TextFrame):
            index = len(seen)
            results = of(frame)
            await trio.sleep(delay * (1 + index % 3))
            return [made(frame, content) for content in results]

        return concurrent
    if kind == "async-generator":

        @each
        async def async_generator(frame: TextFrame):
            for content in of(frame):
                await trio.sleep(delay)
                yield made(frame, content)

        return async_generator

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            results = of(frame)
            await trio.sleep(delay)
            for content in results:
                await out.push(made(frame, content))

    return block


KINDS = [
    "class",
    "inline",
    "inline",
    "helped",
    "sync",
    "sync",
    "generator",
    "async",
    "async-generator",
    "concurrent",
    "block",
]
DOES = ["pass", "pass", "change", "drop", "double", "fail"]


@st.composite
def specs(draw):
    spec = []
    for _ in range(draw(st.integers(1, 7))):
        kind = draw(st.sampled_from(KINDS))
        does = draw(st.sampled_from(DOES if kind != "block" else DOES[:-1]))  # a block that fails has ended
        spec.append((kind, does, draw(st.sampled_from([0, 0, 0.1, 1]))))
    return spec


class Ping(SystemFrame):
    pass


async def run_spec(spec, contents, kept, debug, size, nested):
    seen = [[] for _ in spec]
    parts = [build(*one, into) for one, into in zip(spec, seen, strict=True)]
    if nested:
        parts = [*parts[:1], Pipeline([Pipeline(parts[1:])])] if len(parts) > 1 else [Pipeline(parts)]
    frames = []
    for i, content in enumerate(contents):
        frames.append(TextFrame(content, interruptible=i not in kept))
        if i % 3 == 0:
            frames.append(Ping())
    params = PipelineParams(debug=debug, queue_size=size, on_error=ErrorPolicy.REPORT)
    received = await run_pipeline(parts, frames, params=params)
    down = [frame.text for frame in received.down if isinstance(frame, TextFrame)]
    pings = sum(isinstance(frame, Ping) for frame in received.down)
    assert pings == sum(isinstance(frame, Ping) for frame in frames)
    return seen, down, sum(isinstance(frame, ErrorFrame) for frame in received.up)


# Fused and unfused, each processor sees the frames that a sequential reference says, in that order.
@examples(60)
@given(
    spec=specs(),
    contents=st.lists(st.text("abcde", min_size=1, max_size=3), max_size=12),
    kept=st.sets(st.integers(0, 11)),
    size=st.sampled_from([1, 2, 5, 64]),
    nested=st.booleans(),
)
def test_each_processor_sees_the_same_fused_and_unfused(spec, contents, kept, size, nested):
    expected = reference(spec, contents)
    for debug in (False, True):
        assert run_now(run_spec, spec, contents, kept, debug, size, nested) == expected, f"debug={debug}"


# Branches of such pipelines: each sees what it would see alone, and what comes out is what they give, merged.
@examples(60)
@given(
    branches=st.lists(specs(), min_size=1, max_size=3),
    after=specs(),
    contents=st.lists(st.text("abcde", min_size=1, max_size=3), max_size=6),
    size=st.sampled_from([1, 2, 64]),
)
def test_each_branch_sees_what_it_would_see_alone(branches, after, contents, size):
    async def run(debug):
        seen = [[[] for _ in spec] for spec in branches]
        parts = [
            [build(*one, into) for one, into in zip(spec, sees, strict=True)]
            for spec, sees in zip(branches, seen, strict=True)
        ]
        behind = [[] for _ in after]
        parts = [ParallelPipeline(*parts), *[build(*one, into) for one, into in zip(after, behind, strict=True)]]
        frames = [TextFrame(content) for content in contents]
        params = PipelineParams(debug=debug, queue_size=size, on_error=ErrorPolicy.REPORT)
        received = await run_pipeline(parts, frames, params=params)
        return seen, behind, [frame.text for frame in received.down if isinstance(frame, TextFrame)]

    for debug in (False, True):
        seen, behind, down = run_now(run, debug)
        for spec, sees in zip(branches, seen, strict=True):
            assert sees == reference(spec, contents)[0]
        assert down == reference(after, behind[0])[1]


# -- the second model: interrupts


class Book:
    """Which frame objects are alive, which are stale, and what went wrong."""

    def __init__(self) -> None:
        self.alive: dict[int, TextFrame] = {}
        self.stale: set[int] = set()
        self.keep: list[TextFrame] = []  # so that no id is used twice
        self.interrupts = 0
        self.out: list[str] = []
        self.kept_in: list[str] = []
        self.wrong: list[str] = []

    def made(self, frame: TextFrame, parent: TextFrame | None = None) -> TextFrame:
        self.keep.append(frame)
        if parent is None or parent.interruptible:
            self.alive[id(frame)] = frame  # one whose handler is not stopped is new until it has been pushed
        if parent is not None and id(parent) in self.stale and frame.interruptible:
            self.stale.add(id(frame))
        return frame

    def interrupted(self, asker: TextFrame | None) -> None:
        self.interrupts += 1
        for key, frame in self.alive.items():
            if frame.interruptible and frame is not asker:
                self.stale.add(key)

    def came_out(self, frame: TextFrame) -> None:
        self.out.append(frame.text)
        if id(frame) in self.stale:
            self.wrong.append(f"{frame.text} is stale and came out")
        self.alive.pop(id(frame), None)


class Place:
    """One processor's entries in the book: order on the hop above it, one handler at a time."""

    def __init__(self, book: Book, index: int) -> None:
        self.book = book
        self.index = index
        self.pushed: list[int] = []  # ids, in the order of the calls
        self.seen: list[int] = []
        self.handling = 0
        self.told = 0

    def enter(self, frame: TextFrame) -> None:
        self.see(frame)
        self.handling += 1
        if self.handling > 1:
            self.book.wrong.append(f"processor {self.index} handles two frames at once")

    def leave(self) -> None:
        self.handling -= 1

    def see(self, frame: TextFrame) -> None:
        self.seen.append(id(frame))
        self.book.alive[id(frame)] = frame


def results_of(book: Book, makes: str, frame: TextFrame):
    """The frames to push for one, made lazily."""
    content = frame.text
    if content.startswith("last") or makes == "same":
        yield frame
    elif makes == "two":
        yield book.made(TextFrame(content + "1", interruptible=frame.interruptible), frame)
        yield book.made(TextFrame(content + "2", interruptible=frame.interruptible), frame)
    elif makes == "many":
        for i in range(6):
            yield book.made(TextFrame(f"{content}{i}", interruptible=frame.interruptible), frame)
    elif makes == "mixed":
        yield book.made(TextFrame(content + "k", interruptible=False), frame)
        yield book.made(TextFrame(content + "i"), frame)


def build_watched(kind, makes, delay, place: Place, ask_at: str, interrupt):
    book = place.book

    def asks(frame):
        return ask_at in frame.text

    def ask(frame, call):
        book.interrupted(frame)
        call()

    def results(frame):
        for result in results_of(book, makes, frame):
            place.pushed.append(id(result))
            yield result

    async def push_noted(push, result):
        place.pushed.append(id(result))
        await push(result)

    if kind in ("class", "inline", "nursery"):

        class Part(FrameProcessor):
            async def process_frame(self, frame, direction):
                if not isinstance(frame, TextFrame):
                    await self.push_frame(frame, direction)
                elif direction is UP:
                    await trio.sleep(delay)
                    down = book.made(TextFrame(frame.text + "d"))
                    place.pushed.append(id(down))
                    await self.push_frame(down)
                    await self.push_frame(frame, UP)
                else:
                    place.enter(frame)
                    try:
                        await self.handle(frame)
                    finally:
                        place.leave()

            async def handle(self, frame):
                if delay:
                    await trio.sleep(delay)
                if asks(frame):
                    ask(frame, self.interrupt)
                    if delay:
                        await trio.sleep(delay)
                if kind == "nursery":
                    async with trio.open_nursery() as nursery:
                        for result in results_of(book, makes, frame):
                            nursery.start_soon(push_noted, self.push_frame, result)
                            await trio.lowlevel.checkpoint()
                else:
                    for result in results(frame):
                        await self.push_frame(result)

            async def on_interrupt(self):
                place.told += 1
                if delay:
                    await trio.sleep(delay)

        return Part(inline=kind == "inline")

    if kind == "sync":

        @each
        def sync(frame: TextFrame):
            place.enter(frame)
            try:
                if asks(frame):
                    ask(frame, interrupt)
                made = list(results(frame))
                return made[0] if len(made) == 1 else made
            finally:
                place.leave()

        return sync
    if kind == "generator":

        @each
        def generator(frame: TextFrame):
            place.see(frame)
            if asks(frame):
                ask(frame, interrupt)
            yield from results(frame)

        return generator
    if kind == "async":

        @each
        async def asynchronous(frame: TextFrame):
            place.enter(frame)
            try:
                await trio.sleep(delay)
                if asks(frame):
                    ask(frame, interrupt)
                for result in results(frame):
                    yield result
            finally:
                place.leave()

        return asynchronous

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            place.enter(frame)
            try:
                if kind == "careful block":
                    with frames.interruptible():
                        await trio.sleep(delay)
                        if asks(frame):
                            ask(frame, out.interrupt)
                        for result in results(frame):
                            await out.push(result)
                else:
                    await trio.sleep(delay)
                    if asks(frame):
                        ask(frame, out.interrupt)
                    for result in results(frame):
                        await out.push(result)
            finally:
                place.leave()

    return block


WATCHED_KINDS = ["class", "inline", "inline", "nursery", "sync", "sync", "generator", "async", "block", "careful block"]


@st.composite
def watched_specs(draw):
    return [
        (
            draw(st.sampled_from(WATCHED_KINDS)),
            draw(st.sampled_from(["same", "same", "same", "two", "many", "mixed"])),
            draw(st.sampled_from([0, 0, 0.1, 0.3, 1])),
        )
        for _ in range(draw(st.integers(1, 6)))
    ]


EVENTS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0.05, 0.1, 0.35, 1.05]),
        st.sampled_from(["frame"] * 6 + ["kept"] * 2 + ["interrupt", "ask", "ask", "up"]),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=25,
)


async def run_watched(spec, events, debug, size):
    book = Book()
    places = [Place(book, i) for i in range(len(spec))]
    outside = Place(book, -1)

    class First(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame) and direction is DOWN:
                book.made(frame)
                outside.pushed.append(id(frame))
            await self.push_frame(frame, direction)

    class Last(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame) and direction is DOWN:
                last_seen.append(id(frame))
                book.came_out(frame)
            await self.push_frame(frame, direction)

    last_seen = []
    parts = [
        build_watched(*one, place, f"ask{place.index} ", lambda: task.interrupt())  # noqa: PLW0108  (made below)
        for one, place in zip(spec, places, strict=True)
    ]
    params = PipelineParams(debug=debug, queue_size=size, allow_interruptions=True)
    task = PipelineTask(Pipeline([First(), *parts, Last()]), params)
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        for i, (delay, what, index) in enumerate(events):
            await trio.sleep(delay)
            if what == "interrupt":
                book.interrupted(None)
                task.interrupt()
            elif what == "up":
                await task.queue_frame(TextFrame(f"{i:02}u", interruptible=bool(index % 2)), UP)
            else:
                name = f"{i:02}k" if what == "kept" else f"{i:02}ask{index} " if what == "ask" else f"{i:02}"
                frame = TextFrame(name, interruptible=what != "kept")
                if what == "kept":
                    book.kept_in.append(name)
                await task.queue_frame(frame)
        await trio.sleep(500)
        await task.queue_frame(TextFrame("last"))
        task.stop_when_done()
    assert not book.wrong, (spec, events, debug, size, book.wrong)
    assert book.out[-1] == "last"
    hops = [outside, *places]
    for above, seen in zip(hops, [place.seen for place in places] + [last_seen], strict=True):
        order = {key: i for i, key in enumerate(above.pushed)}
        numbers = [order[key] for key in seen]
        assert numbers == sorted(numbers), f"order below processor {above.index}"
        assert len(set(numbers)) == len(numbers), f"a frame twice below processor {above.index}"
    for (kind, _, _), place in zip(spec, places, strict=True):
        if kind in ("class", "inline", "nursery"):
            assert place.told == book.interrupts, f"processor {place.index} was told of all interrupts"
    if all(makes in ("same", "two", "many") for _, makes, _ in spec):
        came = {name[:3] for name in book.out}
        assert all(name[:3] in came for name in book.kept_in), "an uninterruptible frame was lost"
        copies = 1
        for _, makes, _ in spec:
            copies *= {"same": 1, "two": 2, "many": 6}[makes]
        for name in book.kept_in:
            assert sum(out.startswith(name) for out in book.out) == copies, name


# Nothing stale comes out, what is uninterruptible does, order holds on every hop, and nothing hangs.
@examples(150)
@given(spec=watched_specs(), events=EVENTS, size=st.sampled_from([1, 2, 3, 64]))
def test_interrupts_at_random_moments(spec, events, size):
    for debug in (False, True):
        run_now(run_watched, spec, events, debug, size)


# Found by the above with new examples: which task Trio runs first decides, so it is tried thirty times.
def test_an_asking_function_while_a_kept_frame_fills_the_lanes_hangs_nobody():
    spec = [("class", "two", 0), ("inline", "same", 0), ("sync", "two", 0)]
    for _ in range(30):
        run_now(run_watched, spec, [(0, "kept", 0), (0, "ask", 2)], False, 1)
