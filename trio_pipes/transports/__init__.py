"""Transports: how frames come in from outside and go out.

So far WAV files: `WavSource` plays one into a pipeline, `WavSink` plays what comes out into one.
"""

from ._wav_format import WavFormat, read_wav_format
from ._wav_sink import WavSink
from ._wav_source import WavSource

__all__ = ["WavFormat", "WavSink", "WavSource", "read_wav_format"]
