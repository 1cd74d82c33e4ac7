"""A voice assistant that works offline: it controls lights, sets timers and tells the time.

    python docs/examples/voice_assistant.py [--pace real|fast] [--check] [--out FILE] [--timeline FILE] [file.wav]

It hears a WAV file of yours, or a script that espeak-ng speaks, and plays what it answers into another WAV file. Press
Ctrl-C to end after the current sentence, and again to end at once. The pipeline is in `assistant/_run.py`.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import trio
from assistant import _check
from assistant._run import Models, Pace, converse, run_paced
from assistant._script import SCRIPT, record
from assistant._stalls import HEADING

from trio_pipes import ConfigurationError, MissingExtra
from trio_pipes.observers import Timeline
from trio_pipes.transports import read_wav_format
from trio_pipes.voice import Espeak

# Exit codes: 0, 1 when a check failed, 2 for what cannot be used, 130 or 143 when a signal has ended it.
BAD_INPUT = 2
BY_SIGNAL = {"SIGINT": 130, "SIGTERM": 143}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="A voice assistant that works offline.")
    parser.add_argument("wav", nargs="?", type=Path, metavar="file.wav", help="what the user says: a WAV of 16-bit PCM")
    parser.add_argument(
        "--pace", choices=["real", "fast"], default="fast", help="in real time, or without the silences"
    )
    parser.add_argument(
        "--check", action="store_true", help="hold word errors, answers and stalls against their limits"
    )
    parser.add_argument("--out", type=Path, default=Path("assistant.wav"), help="what the assistant says (%(default)s)")
    parser.add_argument("--timeline", type=Path, help="a page that shows what happened when, and what took the time")
    arguments = parser.parse_args()
    gc.collect()
    gc.freeze()  # what is loaded by now stays: no later collection has to look at it
    errors: list[BaseException] = []
    code = 0
    try:
        if arguments.wav is not None:
            read_wav_format(arguments.wav)
        if arguments.timeline is not None and not arguments.timeline.parent.is_dir():
            raise FileNotFoundError(f"{arguments.timeline}: there is no folder {arguments.timeline.parent}")
        with tempfile.TemporaryDirectory() as folder:
            if arguments.check:
                code = _check.main(arguments.wav, Path(folder))
            else:
                code = demonstrate(arguments.wav, arguments.pace, arguments.out, arguments.timeline, Path(folder))
    except* (ConfigurationError, MissingExtra, OSError) as group:
        errors += leaves(group)
        code = BAD_INPUT
    except* KeyboardInterrupt:
        code = BY_SIGNAL["SIGINT"]
    for error in errors:
        print(f"voice_assistant: {error}", file=sys.stderr)
    return code


def demonstrate(wav: Path | None, pace: Pace, out: Path, page: Path | None, folder: Path) -> int:
    """Hold a conversation, and tell how it went."""
    if wav is None:
        wav = folder / "script.wav"
        trio.run(record, wav, SCRIPT, Espeak("en-us", words_per_minute=140))
    timeline = Timeline()
    outcome = run_paced(pace, converse, wav, out, print, Models(), [timeline] if page else [])
    if page:
        trio.run(timeline.write_html, page)
        print(f"What happened when is in {page}.")
    code = next((code for name, code in BY_SIGNAL.items() if name in (outcome.reason or "")), 0)
    if outcome.dialogue.timers:
        print(
            f"Given up with the end: {', '.join(f'the timer for {timer.name}' for timer in outcome.dialogue.timers)}."
        )
    print(f"What the assistant said is in {out}.\n")
    print(outcome.conversation.latency_table(), HEADING, outcome.stalls.row("all, after start-up"), sep="\n")
    if not code:
        print(_check.own_share(wav, folder, outcome.conversation.turns).row("our own share: models are waits"))
    return code


def leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """The errors in a group of groups."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error


if __name__ == "__main__":
    sys.exit(main())
