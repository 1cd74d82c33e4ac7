"""The instruments that metrics go to: one set for each meter provider, whoever uses it.

# Why a set for each provider.
#
# OpenTelemetry keeps what reads an observable instrument for ever. With one observer for each task, a set for each observer
# would grow with every task that has ever run.
#
# Why frames are counted here.
#
# To add to a counter of OpenTelemetry's takes 5 to 10 us, several times what a hop takes. So frames are counted in plain
# numbers, and the instruments read these when somebody collects. That may happen in a thread of OpenTelemetry's: what is
# read there is numbers that are changed by Trio's thread alone, and collections that are copied in one go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, final
from weakref import WeakKeyDictionary, ref

from ._otel import LANE, PROCESSOR, opentelemetry, our_version

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider, Observation

    from trio_pipes.host import PipelineTask

__all__ = ["Frames", "Instruments", "Live", "instruments_of"]

# Bounds of histograms, in seconds: what people wait for, and what a handler takes.
WAITS: Final = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
LIVES: Final = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
HANDLERS: Final = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
# Those that the conventions advise.
TOKENS: Final = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)


@final
class Frames:
    """The frames of processors of one name, of one direction."""

    __slots__ = ("attributes", "handled", "pushed", "seconds", "stopped")

    def __init__(self, attributes: dict[str, Any]) -> None:
        self.attributes = attributes
        self.pushed = 0
        self.handled = 0
        self.stopped = 0
        self.seconds = 0.0


@final
class Live:
    """A task that runs, with what its figures are marked with."""

    def __init__(self, task: PipelineTask, attributes: dict[str, Any], name_of: Callable[[str], str]) -> None:
        self._task = ref(task)
        self.attributes = attributes
        self.name_of = name_of

    @property
    def task(self) -> PipelineTask | None:
        """The task, if it runs: an observer that was removed is not told of its end."""
        task = self._task()
        return None if task is None or task.has_finished() else task

    def depths(self) -> Iterator[tuple[dict[str, Any], int]]:
        """How many frames wait, by processor and lane."""
        task = self.task
        if task is None:
            return
        stats = task.statistics()
        yield {**self.attributes, LANE: "entrance"}, stats.push_waiting
        for node in stats.processors:
            attributes = {**self.attributes, PROCESSOR: self.name_of(node.name)}
            yield {**attributes, LANE: "downstream"}, node.downstream.buffered
            yield {**attributes, LANE: "upstream"}, node.upstream.buffered
            yield {**attributes, LANE: "urgent"}, node.urgent_downstream.buffered + node.urgent_upstream.buffered


Key = tuple[tuple[str, Any], ...]


def key_of(attributes: dict[str, Any]) -> Key:
    """The same for equal attributes."""
    return tuple(sorted((name, tuple(it) if isinstance(it, list) else it) for name, it in attributes.items()))


@final
class Instruments:
    """All instruments of a meter provider."""

    def __init__(self, meter: Meter, observation: Callable[[int | float, dict[str, Any]], Observation]) -> None:
        self._observation = observation
        self._frames: dict[Key, Frames] = {}
        self._live: dict[int, Live] = {}

        def seconds(name: str, what: str, bounds: tuple[float, ...]) -> Histogram:
            return meter.create_histogram(name, unit="s", description=what, explicit_bucket_boundaries_advisory=bounds)

        self.ttfb = seconds("trio_pipes.ttfb", "From a request to the first output that answers it", WAITS)
        self.processing = seconds("trio_pipes.processing", "Work that processors measured", WAITS)
        self.latency = seconds("trio_pipes.user_bot.latency", "From the user's last sound to the bot's first", WAITS)
        self.set_up = seconds("trio_pipes.set_up.duration", "Set-up of a processor", WAITS)
        self.room = seconds("trio_pipes.room.wait", "A push has waited for room at the next processor", WAITS)
        self.turn = seconds("trio_pipes.turn.duration", "Turns of a conversation", WAITS)
        self.run = seconds("trio_pipes.run.duration", "Runs, by the state they ended in", LIVES)
        self.handler = seconds("trio_pipes.handler.duration", "Handling of a frame, waits included", HANDLERS)
        self.tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Tokens that language models were given and gave",
            explicit_bucket_boundaries_advisory=TOKENS,
        )
        self.characters = meter.create_counter("trio_pipes.characters", "{character}", "Given to synthesisers")
        self.audio = meter.create_counter("trio_pipes.audio", "s", "Audio given to recognisers")
        self.errors = meter.create_counter("trio_pipes.errors", "{error}", "Errors, by processor and type")
        self.interrupts = meter.create_counter("trio_pipes.interrupts", "{interrupt}", "Interrupts asked for")
        self.lost_heartbeats = meter.create_counter("trio_pipes.heartbeats.lost", "{loss}", "Nothing came through")

        for field, unit, what in (
            ("pushed", "{frame}", "Frames that processors pushed"),
            ("handled", "{frame}", "Frames that processors handled"),
            ("stopped", "{frame}", "Frames whose handler was stopped by an interrupt, a deadline or a cancel"),
        ):
            meter.create_observable_counter(f"trio_pipes.frames.{field}", [self._reader(field)], unit, what)
        meter.create_observable_counter(
            "trio_pipes.handler.time", [self._reader("seconds")], "s", "Seconds that handlers ran, waits included"
        )
        meter.create_observable_gauge("trio_pipes.queue.depth", [self._depths], "{frame}", "Frames that wait")
        meter.create_observable_up_down_counter("trio_pipes.runs.active", [self._active], "{run}", "Runs now")

    # -- written to by observers

    def frames(self, attributes: dict[str, Any]) -> Frames:
        """Where frames with these attributes are counted."""
        key = key_of(attributes)
        found = self._frames.get(key)
        if found is None:
            found = self._frames[key] = Frames(attributes)
        return found

    def begin(self, live: Live) -> int:
        """A task runs; gives what `end` takes."""
        number = id(live)
        self._live[number] = live
        return number

    def end(self, number: int) -> None:
        """It runs no more."""
        self._live.pop(number, None)

    # -- read by whoever collects, in any thread

    def _reader(self, field: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def read(_: CallbackOptions) -> Iterator[Observation]:
            for frames in tuple(self._frames.values()):
                value = getattr(frames, field)
                if value:
                    yield self._observation(value, frames.attributes)

        return read

    def _depths(self, _: CallbackOptions) -> Iterator[Observation]:
        found = [pair for live in tuple(self._live.values()) for pair in live.depths()]
        return self._sums(found)

    def _active(self, _: CallbackOptions) -> Iterator[Observation]:
        return self._sums([(live.attributes, 1) for live in tuple(self._live.values()) if live.task is not None])

    def _sums(self, pairs: Iterable[tuple[dict[str, Any], int]]) -> Iterator[Observation]:
        sums: dict[Key, tuple[dict[str, Any], int]] = {}
        for attributes, value in pairs:
            key = key_of(attributes)
            sums[key] = (attributes, value + sums.get(key, (attributes, 0))[1])
        for attributes, total in sums.values():
            yield self._observation(total, attributes)


_known: WeakKeyDictionary[Any, Instruments] = WeakKeyDictionary()


def instruments_of(provider: MeterProvider | None, who: str) -> Instruments:
    """The instruments of a meter provider; None: of the global one.

    Raises `MissingExtra` when OpenTelemetry is not installed.
    """
    metrics = opentelemetry("metrics", who)
    chosen: Any = metrics.get_meter_provider() if provider is None else provider
    found = _known.get(chosen)
    if found is None:
        found = _known[chosen] = Instruments(chosen.get_meter("trio_pipes", our_version()), metrics.Observation)
    return found
