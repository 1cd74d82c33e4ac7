"""Voice: when somebody speaks, what they say, and what is said to them; all of it on this machine, without a network.

`VoiceActivity` (Silero), `SpeechToText` with `PocketSphinx`, `TextToSpeech` with `Espeak`. A recogniser or a synthesiser of
another kind fits in by `Recogniser` and `Synthesiser`. The packages that they need come with the extras `[voice]` and `[espeak]`.

Whose turn it is: `UserTurns` with its strategies, `UserTurnAggregator`, `UserMute` and `UserIdle`; `DTMFAggregator` for the keys of a telephone. These need no package.
"""

from ._conditions import Between, DuringFirstSpeech, FrameCondition, UntilFirstSpeech, WhileBotSpeaks
from ._dtmf import DTMFAggregator, DTMFFrame
from ._espeak import Espeak, Speech
from ._frames import (
    InterimTranscriptionFrame,
    TranscriptionFrame,
    UserIdleTimeoutUpdateFrame,
    UserMuteStartedFrame,
    UserMuteStoppedFrame,
)
from ._pocketsphinx import Heard, PocketSphinx
from ._silero import SileroVad
from ._speech_detector import SpeechDetector, SpeechEvent, SpeechRules
from ._speech_to_text import Recogniser, SpeechToText
from ._start_strategies import (
    ExternalStart,
    MinWordsStart,
    StartStrategy,
    TranscriptionStart,
    VoiceActivityStart,
    WakePhraseStart,
)
from ._stop_strategies import ExternalStop, SpeechTimeoutStop, StopStrategy
from ._text_to_speech import Synthesiser, TextToSpeech
from ._user_idle import UserIdle
from ._user_mute import UserMute
from ._user_turn import TurnPhase, UserTurn
from ._user_turn_aggregator import UserTurnAggregator
from ._user_turns import UserTurns
from ._voice_activity import VadModel, VoiceActivity

__all__ = [
    "Between",
    "DTMFAggregator",
    "DTMFFrame",
    "DuringFirstSpeech",
    "Espeak",
    "ExternalStart",
    "ExternalStop",
    "FrameCondition",
    "Heard",
    "InterimTranscriptionFrame",
    "MinWordsStart",
    "PocketSphinx",
    "Recogniser",
    "SileroVad",
    "Speech",
    "SpeechDetector",
    "SpeechEvent",
    "SpeechRules",
    "SpeechTimeoutStop",
    "SpeechToText",
    "StartStrategy",
    "StopStrategy",
    "Synthesiser",
    "TextToSpeech",
    "TranscriptionFrame",
    "TranscriptionStart",
    "TurnPhase",
    "UntilFirstSpeech",
    "UserIdle",
    "UserIdleTimeoutUpdateFrame",
    "UserMute",
    "UserMuteStartedFrame",
    "UserMuteStoppedFrame",
    "UserTurn",
    "UserTurnAggregator",
    "UserTurns",
    "VadModel",
    "VoiceActivity",
    "VoiceActivityStart",
    "WakePhraseStart",
    "WhileBotSpeaks",
]
