"""Every public method of what lives, given what it cannot take, before the run, while it runs and after it.

It refuses clearly, or works; it waits for what it says it waits for; the run goes on and ends as if nothing had been.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, strategies as st

from examples import examples
from junk import Refusal, junk, value_of
from trio_pipes import (
    FloodError,
    FrameProcessor,
    Frames,
    Out,
    Pipeline,
    PipelineRunner,
    PipelineTask,
    ProcessorMetrics,
    Restart,
    ServiceSwitcher,
    Switchable,
    SystemClock,
    TextFrame,
    TransitionError,
    processor,
    testing,
)
from trio_pipes.transports import read_wav_format
from trio_pipes.voice import SpeechDetector, SpeechRules

MOMENTS = ("before", "while", "after")

# What runs the thing itself is tried elsewhere; what a user overrides is not called by users.
NOT_CALLED = {"run", "process_frame", "lifespan", "on_interrupt"}

# These call what they are given with arguments of their own, and its TypeError is the user's.
CALL_AT_ONCE = {"pause_until", "cancel_at_every_checkpoint", "check_bus", "check_processor", "check_worker"}

# What may come of a call that was right: the run is over, or this is not the moment.
RIGHT = (trio.ClosedResourceError, trio.BrokenResourceError, trio.EndOfChannel, FloodError, TransitionError)


def methods(cls: type) -> list[str]:
    return [
        name
        for name, member in inspect.getmembers(cls, callable)
        if not name.startswith("_") and name not in NOT_CALLED
    ]


class Subject:
    """A running thing, and the objects of it that users have in hand."""

    def __init__(self) -> None:
        self.processor = FrameProcessor()
        self.hands: dict[str, Any] = {}

        @processor
        async def block(frames: Frames[TextFrame], out: Out) -> None:
            self.hands.update(Frames=frames, Out=out)
            async for frame in frames:
                await out.push(frame)

        self.switcher = ServiceSwitcher([FrameProcessor(), FrameProcessor()])
        self.task = PipelineTask(Pipeline([FrameProcessor(), self.processor, block, self.switcher]))
        self.slot = Switchable(FrameProcessor())
        self.restart = Restart(lambda: PipelineTask(Pipeline([FrameProcessor(), self.slot]), name="restarted"))
        self.runner = PipelineRunner(self.task, self.restart, handle_sigint=False)
        self.hands.update(
            FrameProcessor=self.processor,
            PipelineTask=self.task,
            PipelineRunner=self.runner,
            Switchable=self.slot,
            ServiceSwitcher=self.switcher,
            Restart=self.restart,
            Recorder=testing.Recorder(),
        )

    @asynccontextmanager
    async def at(self, moment: str) -> AsyncIterator[None]:
        """The block is before, while or after it runs; and all of it has ended behind the block."""
        if moment == "before":
            yield
            return
        async with trio.open_nursery() as nursery:
            await nursery.start(self.runner.run)
            if moment == "after":
                self.runner.end()
                await self.runner.wait_finished()
            else:
                self.hands["ProcessorMetrics"] = self.processor.metrics
            yield
            self.runner.cancel()


CALLS = [
    (name, method)
    for name, cls in (
        ("FrameProcessor", FrameProcessor),
        ("PipelineTask", PipelineTask),
        ("PipelineRunner", PipelineRunner),
        ("Out", Out),
        ("Frames", Frames),
        ("Switchable", Switchable),
        ("ServiceSwitcher", ServiceSwitcher),
        ("Restart", Restart),
        ("ProcessorMetrics", ProcessorMetrics),
        ("Recorder", testing.Recorder),
    )
    for method in methods(cls)
] + [("Out", "push")]


async def called(fn: Callable[..., Any], values: dict[str, Any]) -> None:
    """Call it, and do with the answer what its kind asks for, for a virtual second at most."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for name, parameter in inspect.signature(fn).parameters.items():  # those that may stand in their place do
        if name not in values:
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            kwargs["text"] = values[name]
        elif parameter.kind is parameter.KEYWORD_ONLY or parameter.default is not parameter.empty:
            kwargs[name] = values[name]
        else:
            args.append(values[name])
    answer = fn(*args, **kwargs)
    with trio.move_on_after(1):
        if inspect.isawaitable(answer):
            await answer
        elif isinstance(answer, AbstractAsyncContextManager):
            async with answer:
                pass
        elif hasattr(answer, "__enter__"):
            with answer:
                pass


def needed(fn: Callable[..., Any]) -> list[str]:
    return [
        name
        for name, parameter in inspect.signature(fn).parameters.items()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ]


async def tried(fn: Callable[..., Any], shown: str, names: dict[str, str]) -> None:
    with ExitStack() as stack:
        values = {argument: stack.enter_context(value_of(kind)) for argument, kind in names.items()}
        shown = f"{shown}({', '.join(f'{argument}={kind}' for argument, kind in names.items())})"
        try:
            await called(fn, values)
        except RIGHT:
            pass
        except (FileNotFoundError, IsADirectoryError, testing.RecordingError):
            assert "path=" in shown
        except testing.RuleBroken:
            assert shown.startswith("check_")  # what was given is no good processor or worker, and the suite says so
        except ValueError as exc:
            if "remove_observer" not in shown:  # whose ValueError is what lists raise
                Refusal(exc, shown, tuple(values.values())).check()
        except RuntimeError as exc:
            assert len(str(exc)) > 20, f"{shown}: {exc!r}"
        except Exception as exc:
            if not (fn.__name__ in CALL_AT_ONCE and any(map(callable, values.values())) and isinstance(exc, TypeError)):
                Refusal(exc, shown, tuple(values.values())).check()


def on_a_test_clock(main: Callable[[], Any]) -> None:
    async def bounded() -> None:
        with trio.fail_after(1000):
            await main()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trio.run(bounded, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(("name", "method"), CALLS)
@examples(25)
@given(data=st.data())
def test_a_method_refuses_clearly_or_works(name: str, method: str, moment: str, data: st.DataObject) -> None:
    async def main() -> None:
        subject = Subject()
        async with subject.at(moment):
            if name not in subject.hands:
                return  # a block's are made when it runs
            fn = getattr(subject.hands[name], method)
            everything = list(inspect.signature(fn).parameters)
            chosen = set(needed(fn))
            if everything:
                chosen |= data.draw(st.sets(st.sampled_from(everything), max_size=2), label="arguments")
            names = {p: data.draw(junk, label=p) for p in everything if p in chosen}
            try:
                await tried(fn, f"{name}.{method} {moment} the run", names)
            finally:
                subject.runner.cancel()

    on_a_test_clock(main)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "run_pipeline": testing.run_pipeline,
    "run_processor": testing.run_processor,
    "running": testing.running,
    "cancel_at_every_checkpoint": testing.cancel_at_every_checkpoint,
    "check_bus": testing.check_bus,
    "check_processor": testing.check_processor,
    "check_worker": testing.check_worker,
    "nothing_left": testing.nothing_left,
    "replay": testing.replay,
    "Recording.read": testing.Recording.read,
    "read_wav_format": read_wav_format,
    "SpeechDetector.take": lambda probability: SpeechDetector(SpeechRules(), 0.03).take(probability),
    "SystemClock.get_time": SystemClock().get_time,
    "SystemClock.start": SystemClock().start,
}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@examples(60)
@given(data=st.data())
def test_a_function_refuses_clearly_or_works(name: str, data: st.DataObject) -> None:
    async def main() -> None:
        fn = FUNCTIONS[name]
        everything = list(inspect.signature(fn).parameters)
        chosen = set(needed(fn))
        if everything:
            chosen |= data.draw(st.sets(st.sampled_from(everything), max_size=2), label="arguments")
        await tried(fn, name, {p: data.draw(junk, label=p) for p in everything if p in chosen})

    on_a_test_clock(main)
