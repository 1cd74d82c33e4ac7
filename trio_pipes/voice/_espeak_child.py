"""The child process that speaks when the espeak-ng program is not installed: one sentence, then it ends.

It takes the place of `espeak-ng --stdin --stdout`: the text comes in on standard input, a WAV of 16-bit mono samples
goes out on standard output. espeak-ng is GPL-3, so its library is loaded here, in a program of its own, and never in the
user's process. Nothing but the standard library is imported: the child is run with ``-I -S`` and starts in about 20 ms.

    python -I -S _espeak_child.py LIBRARY DATA_FOLDER VOICE WORDS_PER_MINUTE < text > speech.wav
"""

import ctypes
import struct
import sys

# Constants of espeak-ng's speak_lib.h.
SYNCHRONOUS = 2
DO_NOT_EXIT = 0x8000
RATE = 1
UTF8 = 1
SUCCESS = 0

# The program writes its header before it knows the length; readers of a stream treat this one as "until the end".
UNKNOWN_LENGTH = 0x7FFFF000


class Voice(ctypes.Structure):
    """`espeak_VOICE`: what a voice is asked for by; only `languages` is used here."""

    _fields_ = (
        *((name, ctypes.c_char_p) for name in ("name", "languages", "identifier")),
        *((name, ctypes.c_ubyte) for name in ("gender", "age", "variant", "xx1")),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


def wav_header(sample_rate: int) -> bytes:
    """The 44 bytes in front of 16-bit mono samples of unknown length."""
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", UNKNOWN_LENGTH + 36, b"WAVE"),
        *(b"fmt ", 16, 1, 1, sample_rate, 2 * sample_rate, 2, 16),
        *(b"data", UNKNOWN_LENGTH),
    )


def main(library: str, data: str, voice: str, words_per_minute: str) -> None:
    """Speak what stands on standard input."""
    text = sys.stdin.buffer.read()
    out = sys.stdout.buffer
    espeak = ctypes.CDLL(library)
    sample_rate = espeak.espeak_Initialize(SYNCHRONOUS, 0, data.encode(), DO_NOT_EXIT)
    if sample_rate <= 0:
        sys.exit(f"espeak-ng could not be initialised with the data in {data}")
    espeak.espeak_ng_SetRandSeed(ctypes.c_long(1))  # the breath in some voices is noise: the same text, the same sound
    # By name ("en-us", "en-us+f3"), else by language ("en-gb"): as the program does.
    by_language = Voice(languages=voice.encode())
    if (
        espeak.espeak_SetVoiceByName(voice.encode()) != SUCCESS
        and espeak.espeak_SetVoiceByProperties(ctypes.byref(by_language)) != SUCCESS
    ):
        sys.exit(f"espeak-ng has no voice {voice!r}")
    espeak.espeak_SetParameter(RATE, int(words_per_minute), 0)
    out.write(wav_header(sample_rate))

    def collect(samples: int | None, count: int, _events: int | None) -> int:
        if samples and count > 0:
            out.write(ctypes.string_at(samples, 2 * count))
        return 0

    callback = SynthCallback(collect)
    espeak.espeak_SetSynthCallback(callback)
    if espeak.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 0, 0, UTF8, None, None) != SUCCESS:
        sys.exit("espeak-ng could not speak the text")
    espeak.espeak_Synchronize()
    out.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
