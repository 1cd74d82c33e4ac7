"""Everything public that makes something, given what it cannot take: a clear refusal, or it works.

`nox -s fuzz` tries many more.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from enum import Enum
from typing import Any

import pytest
import trio
from hypothesis import given, strategies as st

from examples import examples
from junk import Refusal, junk, value_of
from trio_pipes import Frame, FrameProcessor, LLMTokenUsage, PatternPair, Pipeline, PipelineTask, Producer, TextFrame
from trio_pipes.testing import Fault
from trio_pipes.voice import PocketSphinx, SpeechRules, UntilFirstSpeech

MODULES = (
    "trio_pipes",
    "trio_pipes.net",
    "trio_pipes.observers",
    "trio_pipes.testing",
    "trio_pipes.transports",
    "trio_pipes.voice",
)

# Arguments that are needed, as good ones; each call makes its own.
NEEDED: dict[str, Callable[[], dict[str, Any]]] = {
    "Pipeline": lambda: {"processors": [FrameProcessor()]},
    "BridgedPipeline": lambda: {"processors": [FrameProcessor()]},
    "BusBridge": lambda: {"to": "dialogue"},
    "ParallelPipeline": lambda: {"branches": [FrameProcessor()]},
    "SyncParallelPipeline": lambda: {"branches": [FrameProcessor()]},
    "Switchable": lambda: {"processor": FrameProcessor()},
    "ServiceSwitcher": lambda: {"services": [FrameProcessor()]},
    "SwitchServiceFrame": lambda: {"service": "a"},
    "RedisBus": lambda: {"url": "redis://localhost"},
    "PostgresBus": lambda: {"dsn": "postgresql://localhost/test"},
    "QueueFrameMessage": lambda: {"frame": TextFrame("said")},
    "WebSocketProxyServer": lambda: {"token": "secret"},
    "WebSocketProxyClient": lambda: {"url": "ws://localhost/", "token": "secret"},
    "tee": lambda: {"branches": [FrameProcessor()]},
    "route": lambda: {"key": type, "routes": {TextFrame: [FrameProcessor()]}},
    "merge": lambda: {"sources": [FrameProcessor()]},
    "Restart": lambda: {"factory": lambda: PipelineTask(Pipeline([FrameProcessor()]))},
    "PauseFrame": lambda: {"processor": "a"},
    "PauseUrgentFrame": lambda: {"processor": "a"},
    "ResumeFrame": lambda: {"processor": "a"},
    "with_deadline": lambda: {"frame": TextFrame("x"), "at": 5.0},
    "deadline_of": lambda: {"frame": TextFrame("x")},
    "Producer": lambda: {"filter": TextFrame},
    "Consumer": lambda: {"producer": Producer(TextFrame)},
    "TextTransformer": lambda: {"functions": str.upper},
    "SkipTagsAggregator": lambda: {"tags": [("<a>", "</a>")]},
    "PatternPairAggregator": lambda: {"patterns": [PatternPair("a", "<a>", "</a>")]},
    "PatternPair": lambda: {"kind": "a", "start": "<a>", "end": "</a>"},
    "PatternMatch": lambda: {"kind": "a", "content": "b", "text": "<a>b</a>"},
    "strip_markdown": lambda: {"text": "*a*"},
    "sentence_end": lambda: {"text": "One. Two"},
    "FunctionFilter": lambda: {"function": lambda frame: True},
    "FrameGate": lambda: {"opens": TextFrame},
    "NotifierGate": lambda: {"notifier": trio.Event()},
    "FrameNotifier": lambda: {"notifier": trio.Event(), "when": TextFrame},
    "IdleFrameProcessor": lambda: {"timeout": 1.0, "on_idle": lambda processor: None},
    "WakePhraseFilter": lambda: {"phrases": "hello", "types": TextFrame},
    "LLMTokenUsage": lambda: {"prompt_tokens": 1, "completion_tokens": 1},
    "MetricsData": lambda: {"processor": "a"},
    "ProcessingMetrics": lambda: {"processor": "a", "value": 0.1},
    "TTFBMetrics": lambda: {"processor": "a", "value": 0.1},
    "STTUsageMetrics": lambda: {"processor": "a", "value": 0.1},
    "TTSUsageMetrics": lambda: {"processor": "a", "value": 1},
    "LLMUsageMetrics": lambda: {"processor": "a", "value": LLMTokenUsage(1, 1)},
    "FaultyProcessor": lambda: {"fault": Fault.RAISE},
    "FrameRecorder": lambda: {"path": "frames.jsonl"},
    "SlowLink": lambda: {"seconds": 1.0},
    "PipelineTask": lambda: {"pipeline": Pipeline([FrameProcessor()])},
    "AudioFrame": lambda: {"audio": b"", "sample_rate": 8000},
    "InputAudioFrame": lambda: {"audio": b"", "sample_rate": 8000},
    "OutputAudioFrame": lambda: {"audio": b"", "sample_rate": 8000},
    "UserStartedSpeakingFrame": lambda: {"at": 0.0},
    "UserStoppedSpeakingFrame": lambda: {"at": 0.0},
    "UserTurnStartedFrame": lambda: {"at": 0.0},
    "UserTurnStoppedFrame": lambda: {"at": 0.0},
    "BotStartedSpeakingFrame": lambda: {"at": 0.0},
    "BotStoppedSpeakingFrame": lambda: {"at": 0.0},
    "DTMFFrame": lambda: {"key": "1"},
    "TranscriptionFrame": lambda: {"text": ""},
    "InterimTranscriptionFrame": lambda: {"text": ""},
    "UserMuteStartedFrame": lambda: {"at": 0.0},
    "UserMuteStoppedFrame": lambda: {"at": 0.0},
    "UserIdleTimeoutUpdateFrame": lambda: {"timeout": 5.0},
    "UserIdle": lambda: {"timeout": 5.0, "on_idle": lambda retries: None},
    "UserMute": lambda: {"conditions": UntilFirstSpeech()},
    "Between": lambda: {"begins": TextFrame, "ends": Frame},
    "MinWordsStart": lambda: {"min_words": 2},
    "WakePhraseStart": lambda: {"phrases": ["hey"]},
    "WavSource": lambda: {"path": "in.wav"},
    "WavSink": lambda: {"path": "out.wav"},
    "PocketSphinx": lambda: {"sentences": ["yes", "no"]},
    "SpeechToText": lambda: {"recogniser": PocketSphinx(["yes"])},
    "TextToSpeech": lambda: {"synthesiser": _Speaks()},
    "each": lambda: {"fn": lambda frame: frame},
    "SpeechDetector": lambda: {"rules": SpeechRules(), "window": 0.032},
}

# Not made by users: records that tell of something, protocols, enumerations, handles, and what every exception takes.
NOT_MADE = {
    *(
        "Bus",
        "BusStatistics",
        "RegistryStatistics",
        "Subscription",
        "SubscriptionStatistics",
        "BaseWorkerStatistics",
        "BrokerStatistics",
        "Job",
        "JobGroup",
        "JobOut",
        "JobRequest",
        "JobServerStatistics",
        "JobStream",
        "JOBS",
        "ProxyStatistics",
        "Registry",
        "WorkerEvent",
        "WorkerInfo",
        "WorkerWatch",
        "DurationStatistics",
        "LaneStatistics",
        "MetricsStatistics",
        "NodeStatistics",
        "RunnerStatistics",
        "TaskResult",
        "TaskStatistics",
        "Requested",
        "Frames",
        "Out",
        "ProcessorMetrics",
        "RunnerFromThread",
        "SwitchStrategy",
        "TaskFromThread",
    ),
    *("Attempt", "RecordedFrame", "Recording"),
    *("FirstFrame", "LatencyStep", "ProcessorStartup", "StartupReport", "Turn", "UserBotLatency"),
    *("Received", "Speech", "Heard", "WavFormat"),
}


# Functions that make something at once; the others are tried with the methods.
FUNCTIONS = {"each", "processor", "tee", "route", "merge", "with_deadline", "deadline_of"}


class _Speaks:
    async def speak(self, text: str) -> None:
        pass


def made_by_users() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {}
    for module in map(importlib.import_module, MODULES):
        for name in module.__all__:
            thing = getattr(module, name)
            is_class = inspect.isclass(thing)
            if name in NOT_MADE or (callable(thing) and not is_class and name not in FUNCTIONS):
                continue
            if is_class and (issubclass(thing, Exception | Enum) or getattr(thing, "_is_protocol", False)):
                continue
            found[name] = thing
    return found


MAKERS = made_by_users()


def call(make: Callable[..., Any], given: dict[str, Any]) -> Any:
    """Call with these by name, and what can only be given by place by place."""
    args, kwargs = [], {}
    for name, parameter in inspect.signature(make).parameters.items():
        if name in given:
            if parameter.kind is parameter.POSITIONAL_ONLY or parameter.kind is parameter.VAR_POSITIONAL:
                args.append(given[name])
            else:
                kwargs[name] = given[name]
    return make(*args, **kwargs)


def parameters(make: Callable[..., Any]) -> list[str]:
    return [
        name
        for name, parameter in inspect.signature(make).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    ]


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_what_is_needed_is_enough(name: str) -> None:
    assert call(MAKERS[name], NEEDED.get(name, dict)()) is not None


# A frame is a plain record: its fields are whatever its maker and its reader agree on, and so it may also just work.
@pytest.mark.parametrize("name", sorted(name for name, make in MAKERS.items() if parameters(make)))
@examples(60)
@given(data=st.data())
def test_a_constructor_refuses_clearly_or_works(name: str, data: st.DataObject) -> None:
    make = MAKERS[name]
    changed = data.draw(st.sets(st.sampled_from(parameters(make)), min_size=1, max_size=2), label="arguments")
    names = {argument: data.draw(junk, label=argument) for argument in sorted(changed)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _try(name, make, names)


def _try(name: str, make: Callable[..., Any], names: dict[str, str]) -> None:
    with ExitStack() as stack:
        values = {argument: stack.enter_context(value_of(kind)) for argument, kind in names.items()}
        shown = f"{name}({', '.join(f'{argument}={kind}' for argument, kind in names.items())})"
        try:
            made = call(make, {**NEEDED.get(name, dict)(), **values})
        except Exception as exc:
            Refusal(exc, shown, tuple(values.values())).check()
        else:
            repr(made)
            if isinstance(made, Frame):
                _ = made.name, made.metadata, getattr(made, "seconds", None)
