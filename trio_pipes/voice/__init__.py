"""Voice: when somebody speaks, what they say, and what is said to them; all of it on this machine, without a network.

`VoiceActivity` (Silero), `SpeechToText` with `PocketSphinx`, `TextToSpeech` with `Espeak`. A recogniser or a synthesiser of
another kind fits in by `Recogniser` and `Synthesiser`. The packages that they need come with the extras `[voice]` and `[espeak]`.
"""

from ._espeak import Espeak, Speech
from ._frames import TranscriptionFrame
from ._pocketsphinx import Heard, PocketSphinx
from ._silero import SileroVad
from ._speech_detector import SpeechDetector, SpeechEvent, SpeechRules
from ._speech_to_text import Recogniser, SpeechToText
from ._text_to_speech import Synthesiser, TextToSpeech
from ._voice_activity import VadModel, VoiceActivity

__all__ = [
    "Espeak",
    "Heard",
    "PocketSphinx",
    "Recogniser",
    "SileroVad",
    "Speech",
    "SpeechDetector",
    "SpeechEvent",
    "SpeechRules",
    "SpeechToText",
    "Synthesiser",
    "TextToSpeech",
    "TranscriptionFrame",
    "VadModel",
    "VoiceActivity",
]
