"""One session: a task of random parts, its owner, its producers and its readers; and what must hold afterwards."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any

import trio
from trio_util import AsyncBool, RepeatedEvent

from trio_pipes import (
    CancelFrame,
    CancelTaskFrame,
    ConfigurationError,
    ControlFrame,
    Direction,
    EndFrame,
    EndTaskFrame,
    EndTimeout,
    ErrorFrame,
    ErrorPolicy,
    FloodError,
    Frame,
    FrameProcessor,
    FrameTimeout,
    InterruptionTaskFrame,
    PauseFrame,
    PauseUrgentFrame,
    Pipeline,
    PipelineParams,
    PipelineRunner,
    PipelineTask,
    Requested,
    ResumeFrame,
    ServiceSwitcher,
    SetupTimeout,
    StopFrame,
    Switchable,
    SwitchServiceFrame,
    TaskResult,
    TaskState,
    TextFrame,
    UnusablePolicy,
)

from .book import PRODUCER, Book, Closes, Echo, Heard, Note, Opens, Said
from .hosts import in_a_restart
from .judge import problems_of
from .parts import DOWN, UP, Ends, build
from .place import Place
from .planned import Planned
from .ready import Copier, Lossy, Tapped
from .script import OBSERVERS, Producer, Reader, Script, Shape
from .watching import Ready, Watch, make_observer

REFUSED = (trio.ClosedResourceError, trio.BrokenResourceError)
SOUND = bytes(640)  # 20 ms at 16 kHz
SETUP_TIMEOUT = 3.0
END_TIMEOUT = 300.0
HUNG = 900.0  # seconds after which a session hangs; the slowest takes 0.1 s over each of its frames
EARLY = 200  # frames queued before the run, at most


class Session:
    def __init__(self, script: Script) -> None:
        self.script = script
        self.book = Book()
        self.rng = Random(script.name + "/run")
        self.rng_nap = self.rng.choice([0.5, 2.9, 3.1, 8.0])
        self.inside = 0  # frames that processors have queued or sent up
        self.early = 0
        self.has_read = trio.Event()
        self.book.cancel_asked = script.end == "outside"
        self.all_of_it: list[int] = []  # numbers that the reader got who was there all the time
        self.classes: list[FrameProcessor] = []
        self.slots: list[tuple[Switchable, Iterator[Shape], Place | None]] = []
        self.switchers: list[ServiceSwitcher] = []
        self.place: Place | None = None  # the service that is being built
        self.places: list[Place] = []
        self.errors: list[str] = []  # reported ones
        self.groups = 0  # of frames that parts make
        self.copiers: dict[int, Copier] = {}
        self.notifiers: list[Any] = [trio.Event(), AsyncBool(), RepeatedEvent()]
        self.late: dict[str, int] = {}  # frames that came too late, by processor
        self.accounts: list[Lossy] = []
        self.taps: list[Tapped] = []
        self.gates_fail = False  # there are some that may
        made = [make_observer(kind, self, early=True) for kind in script.observers]
        self.watching: list[Watch | Ready] = [one for one in made if one is not None]
        self.began = 0.0
        parts = [Ends(self, UP), *build(self, script.shape), Ends(self, DOWN)]
        self.task = PipelineTask(
            Pipeline(parts),
            PipelineParams(
                queue_size=script.queue_size,
                on_error=ErrorPolicy.REPORT if script.report else ErrorPolicy.RAISE,
                allow_interruptions=script.obeys,
                debug=script.debug,
                on_unusable=UnusablePolicy(script.on_unusable),
                enable_metrics=script.measures,
                enable_heartbeats=script.heartbeats is not None,
                heartbeat_period=script.heartbeats or 1.0,
                setup_timeout=SETUP_TIMEOUT,
                end_timeout=2.0 if script.end == "end timeout" else END_TIMEOUT,
            ),
            observers=[one if isinstance(one, Watch) else one.observer for one in self.watching],
            name=f"session {script.name}",
        )

    # -- what parts ask for

    def interrupt(self) -> None:
        self.book.interrupts += 1
        self.task.interrupt()

    async def act(self, act: str, push: Any, owner: FrameProcessor | None) -> None:
        match act:
            case "unusable" if owner is not None:
                self.book.passed_by = True
                self.book.stop_asked |= self.script.on_unusable == "end"
                self.book.cancel_asked |= self.script.on_unusable == "cancel"
                owner.set_unusable("the script says so")
            case "pause" if owner is not None:
                owner.pause()
            case "pause until" if owner is not None:
                await owner.pause_until(partial(trio.sleep, 0.3), timeout=self.rng.choice([0.1, 1.0]))
            case "stop":
                self.book.stop_asked = True
                self.task.stop_when_done()
            case "cancel":
                self.book.cancel_asked = True
                self.task.cancel()
            case "stick":
                await trio.sleep_forever()
            case "flush refused":
                try:
                    await self.task.flush(1)
                except RuntimeError:
                    pass
                else:
                    self.book.problems.append("flush() inside a processor was not refused")
            case "queue":
                self.inside += 1
                with suppress(*REFUSED):
                    await self.queue(Said("from inside", number=self.inside))
            case "up" if push is not None:
                self.inside += 1
                answer = Said("up", interruptible=False, number=self.inside)
                self.book.offer(answer, UP)
                await push(answer, UP)
                self.book.pushed(answer)
            case "fatal" | "report" if push is not None:
                error = Planned(f"{self.script.name}: pushed")
                self.book.raised += act == "fatal"
                await push(ErrorFrame("pushed", error, fatal=act == "fatal"), UP)

    # -- the run

    async def run(self, runner: PipelineRunner) -> TaskResult:
        """Run it all, and give the result."""
        self.began = trio.current_time()
        with trio.fail_after(HUNG):
            async with trio.open_nursery() as clients:
                clients.start_soon(self.read_everything)
                for number, producer in enumerate(self.script.producers, 1):
                    clients.start_soon(self.produce, number, producer)
                for reader in self.script.readers:
                    clients.start_soon(self.read, reader)
                for tap in self.taps:
                    clients.start_soon(tap.read)
                clients.start_soon(self.own)
                if self.script.end != "never":
                    await self.host(runner)
                result = await self.task.wait_finished()
                await self.has_read.wait()
                clients.cancel_scope.cancel()
        return result

    async def host(self, runner: PipelineRunner) -> None:
        try:
            match self.script.host:
                case "runner":
                    runner.add_workers(self.task, isolated=True)
                    await self.task.wait_finished()
                case "restart":
                    await in_a_restart(runner, self.task)
                case "call":
                    await runner.run(self.task)
                case "nursery":
                    async with trio.open_nursery() as nursery:
                        await nursery.start(self.task.run)
                case _:
                    with trio.move_on_after(self.script.lasts):
                        await self.task.run()
        except* (Planned, EndTimeout, SetupTimeout, FloodError, FrameTimeout):
            pass  # the result has it too, and there it is judged

    async def own(self) -> None:
        """What the owner does, at its time."""
        began = trio.current_time()
        for when, event in self.script.events:
            await trio.sleep_until(began + when)
            match event:
                case "interrupt":
                    self.interrupt()
                case "interrupt frame":
                    self.book.interrupts += 1
                    await self.perhaps_refused(InterruptionTaskFrame())
                case "flush":
                    await self.task.flush(self.rng.choice([0.01, 1, 10]))
                case "statistics":
                    self.task.statistics()
                case "replace":
                    await self.replace()
                case "gate":
                    await self.order(self.rng.choice([Opens, Closes])(), self.rng.choice([UP, DOWN]))
                case "notify":
                    self.notify(self.rng.randrange(3))
                case "switch" | "switch frame":
                    await self.switch(event == "switch frame")
                case "observer":
                    self.change_observers()
                case _ if self.classes:
                    await self.direct(event, self.rng.choice(self.classes))
        await trio.sleep_until(began + self.script.lasts)
        await self.end()

    async def direct(self, event: str, one: FrameProcessor) -> None:
        """Pause a processor and so on; one that does not run refuses it."""
        with suppress(RuntimeError):
            match event:
                case "pause":
                    one.pause()
                case "resume":
                    one.resume()
                case "usable":
                    one.set_usable()
        frames = {"pause frame": PauseFrame, "pause at once": PauseUrgentFrame, "resume frame": ResumeFrame}
        if event in frames and self.task.state is TaskState.RUNNING:
            with (
                suppress(*REFUSED, ConfigurationError),
                trio.move_on_after(1),
            ):  # over, or replaced; or there is no room
                await self.task.queue_frame(frames[event](processor=one))
                self.book.unnumbered += event == "pause frame"  # the others take effect where they are queued

    async def order(self, frame: ControlFrame, direction: Direction) -> None:
        """Queue a frame that some part ends, or obeys."""
        if self.task.state is TaskState.RUNNING:
            with suppress(*REFUSED), trio.move_on_after(1):
                await self.task.queue_frame(frame, direction)
                self.book.unnumbered += 1

    def notify(self, which: int) -> None:
        notifier = self.notifiers[which]
        if isinstance(notifier, AsyncBool):
            notifier.value = not notifier.value
        else:
            notifier.set()

    async def switch(self, by_frame: bool) -> None:
        if not self.switchers:
            return
        switcher = self.rng.choice(self.switchers)
        service = self.rng.choice(switcher.services)
        if by_frame:
            await self.order(SwitchServiceFrame(service), self.rng.choice([UP, DOWN]))
            return
        chosen = switcher.switch_to(service)
        with suppress(RuntimeError, trio.ClosedResourceError, SetupTimeout, Planned):
            with trio.move_on_after(self.rng.choice([0, 1, 30])):
                await chosen

    def change_observers(self) -> None:
        """One more, or one less."""
        if self.task.state is not TaskState.RUNNING:
            return
        if self.watching and self.rng.random() < 0.5:
            gone = self.rng.choice(self.watching)
            with suppress(ValueError):  # it has gone already
                self.task.remove_observer(gone if isinstance(gone, Watch) else gone.observer)
            if isinstance(gone, Ready):
                gone.left = True
            return
        if (new := make_observer(self.rng.choice(OBSERVERS), self, early=False)) is not None:
            self.watching.append(new)
            self.task.add_observer(new if isinstance(new, Watch) else new.observer)

    async def replace(self) -> None:
        """Put the next content into a slot, and wait for it a little: a handler that is stuck keeps the old one."""
        if not self.slots:
            return
        slot, contents, place = self.rng.choice(self.slots)
        content = next(contents, None)
        if content is None:
            return
        self.place = place
        with suppress(trio.ClosedResourceError, SetupTimeout, Planned), trio.move_on_after(self.rng.choice([0, 1, 30])):
            await slot.replace(Pipeline(build(self, content)))

    async def end(self) -> None:
        task, book, end = self.task, self.book, self.script.end
        if end in ("cancel", "never", "cancel frame", "cancel task frame"):
            book.cancel_asked = True
        else:
            book.stop_asked = True
        match end:
            case "cancel" | "never":
                asked = task.cancel("the script says so")
                assert isinstance(asked, Requested)
                await asked
            case "end frame":
                await self.perhaps_refused(EndFrame())
            case "stop frame":
                await self.perhaps_refused(StopFrame())
            case "end task frame":
                await self.perhaps_refused(EndTaskFrame())
            case "cancel frame":
                await self.perhaps_refused(CancelFrame())
            case "cancel task frame":
                await self.perhaps_refused(CancelTaskFrame())
            case "outside":
                pass  # the scope round the run does it
            case _:
                task.stop_when_done("the script says so")

    async def perhaps_refused(self, frame: Frame) -> None:
        try:
            await self.task.queue_frame(frame)
        except REFUSED:
            if not (self.book.stop_asked or self.book.cancel_asked or self.book.raised or self.script.stuck):
                raise

    # -- frames in

    async def queue(self, frame: Frame, direction: Direction = DOWN) -> None:
        self.book.offer(frame, direction)
        await self.task.queue_frame(frame, direction)
        self.book.accepted(frame, direction)

    async def produce(self, number: int, producer: Producer) -> None:
        numbers = iter(range(number * PRODUCER, (number + 1) * PRODUCER))
        try:
            while True:
                kept = self.rng.random() < producer.kept
                match producer.kind:
                    case "sound":
                        await self.queue(Heard(SOUND, 16_000, interruptible=not kept, number=next(numbers)))
                    case "notes":
                        await self.queue(Note(number=next(numbers)), self.rng.choice([UP, DOWN]))
                    case "up":
                        await self.queue(Said("up", interruptible=not kept, number=next(numbers)), UP)
                    case "burst":
                        await self.queue_all(
                            [Said("", interruptible=not kept, number=next(numbers)) for _ in range(30)]
                        )
                    case "early":
                        if self.task.state is not TaskState.NEW or self.early == EARLY:
                            return
                        self.early += 1
                        await self.queue(Said("", interruptible=not kept, number=next(numbers)))
                        continue
                    case "generator":
                        await self.task.queue_frames(self.stream(numbers, producer))
                    case _:
                        await self.queue(Said("a few words", interruptible=not kept, number=next(numbers)))
                await trio.sleep(producer.pause)
        except REFUSED:
            return

    async def queue_all(self, frames: list[Frame]) -> None:
        for frame in frames:
            self.book.offer(frame)
        try:
            await self.task.queue_frames(frames)
        except BaseException:
            self.book.perhaps(frames)
            raise
        for frame in frames:
            self.book.accepted(frame)

    async def stream(self, numbers: Any, producer: Producer) -> AsyncIterator[Frame]:
        for _ in range(20):
            await trio.sleep(producer.pause / 10)
            frame = Said("streamed", number=next(numbers))
            self.book.offer(frame)
            self.book.unknown = True  # who feeds it does not say which were accepted
            self.book.down[frame.number].accepted = None
            yield frame
            self.book.accepted(frame)

    # -- frames out

    async def read_everything(self) -> None:
        async with self.task.open_output(TextFrame, Heard, Echo, buffer=math.inf) as frames:
            async for frame in frames:
                self.all_of_it.append(frame.number)  # type: ignore[attr-defined]
        self.has_read.set()

    async def read(self, reader: Reader) -> None:
        await trio.sleep(reader.begins)
        with trio.move_on_after(reader.lasts):
            async with self.task.open_output(buffer=reader.buffer) as frames:
                async for _ in frames:
                    await trio.sleep(reader.pause)

    def problems(self, result: TaskResult) -> list[str]:
        """What did not hold."""
        return problems_of(self, result)
