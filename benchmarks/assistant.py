"""The voice assistant of the docs, many times in one process: whose CPU time it is, the models' or ours.

    python benchmarks/assistant.py [--sessions 1,10,100] [--models real|waits]

Each session is a user who says three sentences, one of them into an answer, and the assistant with voice activity, speech to
text, turns, dialogue and text to speech. The clock skips the silences and nothing else, so the machine may be slower than real
time: CPU time is counted, and not how long it takes. `--models waits` puts waits in the place of the models.

A table goes to stderr, JSON to stdout. Each number of sessions is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import trio

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "docs" / "examples"))

from assistant._conversation import Conversation  # noqa: E402  (found by the line above)
from assistant._dialogue import Dialogue  # noqa: E402
from assistant._run import Models, assistant, run_paced  # noqa: E402
from assistant._script import Line, record  # noqa: E402
from assistant._standins import LoudnessVad, WaitingRecogniser, WaitingVoice  # noqa: E402

from trio_pipes import PipelineParams, PipelineRunner, PipelineTask  # noqa: E402
from trio_pipes.transports import read_wav_format  # noqa: E402
from trio_pipes.voice import Espeak, Heard, SileroVad, VadModel  # noqa: E402

SAID = (
    Line("turn on the kitchen light"),
    Line("what can you do", pause=5.0),  # the next line interrupts the answer
    Line("what time is it", pause=3.0),
)
A_PIECE = 0.1  # seconds of sound, of which `WavSource` makes a frame
HEARD = [Heard(line.text, 1.0) for line in SAID]


class Metered:
    """A model in our process, and the CPU time that it takes: to be loaded, in a thread, and to be asked, in the loop."""

    seconds = 0.0  # of all of them

    def __init__(self, make: Callable[[], VadModel]) -> None:
        began = time.thread_time()
        self._model = make()
        Metered.seconds += time.thread_time() - began
        self.sample_rate = self._model.sample_rate
        self.window_bytes = self._model.window_bytes

    def probability(self, audio: bytes, /) -> float:
        began = time.thread_time()
        try:
            return self._model.probability(audio)
        finally:
            Metered.seconds += time.thread_time() - began


def models(kind: str) -> Models:
    if kind == "waits":
        return Models(lambda: Metered(LoudnessVad), WaitingRecogniser(HEARD), WaitingVoice())
    return Models(lambda: Metered(SileroVad))


async def sessions(count: int, kind: str, folder: Path) -> dict[str, Any]:
    """So many conversations at once under one runner."""
    wav = folder / "said.wav"
    await record(wav, SAID, Espeak("en-us", words_per_minute=140))
    conversations: list[Conversation] = []

    def session(number: int) -> PipelineTask:
        conversation = Conversation(lambda _: None)
        conversations.append(conversation)
        pipeline = assistant(wav, folder / f"answered{number}.wav", Dialogue(), models(kind))
        return PipelineTask(pipeline, PipelineParams(allow_interruptions=True), observers=[conversation])

    runner = PipelineRunner()
    before = usage()
    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(runner.run, session(number))
            await trio.sleep(A_PIECE / count)  # people do not speak in step
    loop, process, children = (after - began for after, began in zip(usage(), before, strict=True))
    turns = sum(len(conversation.turns) for conversation in conversations)
    ours = process - Metered.seconds  # the loop, and threads that read and write files
    theirs = Metered.seconds + children
    return {
        "sessions": count,
        "models": kind,
        "audio_seconds": read_wav_format(wav).seconds,
        "turns": turns,
        "loop_cpu_seconds": loop,
        "ours_cpu_seconds": ours,
        "vad_cpu_seconds": Metered.seconds,
        "children_cpu_seconds": children,
        "share_ours": ours / (ours + theirs),
        "ours_ms_a_second_of_sound": 1000 * ours / count / read_wav_format(wav).seconds,
    }


def usage() -> tuple[float, float, float]:
    """CPU seconds: of the loop's thread, of the process, of the child processes that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.thread_time(), time.process_time(), ended.ru_utime + ended.ru_stime


def rows(records: Iterable[dict[str, Any]]) -> Iterable[str]:
    yield "| sessions | models | sentences heard | ours, ms of CPU a second of sound | voice activity | children | share of CPU that is ours |"
    yield "|---|---|---|---|---|---|---|"
    for record_ in records:
        sound = record_["sessions"] * record_["audio_seconds"] / 1000
        yield (
            f"| {record_['sessions']} | {record_['models']} | {record_['turns']} | {record_['ours_ms_a_second_of_sound']:.1f} "
            f"| {record_['vad_cpu_seconds'] / sound:.1f} | {record_['children_cpu_seconds'] / sound:.1f} "
            f"| {record_['share_ours']:.1%} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", default="1,10,100", help="how many at once; several with commas")
    parser.add_argument("--models", choices=["real", "waits"], default="real")
    parser.add_argument("--here", action="store_true", help="in this process, one number of sessions: JSON only")
    a = parser.parse_args()
    if a.here:
        with tempfile.TemporaryDirectory() as folder:
            record_ = run_paced("fast", sessions, int(a.sessions), a.models, Path(folder))
        sys.stdout.write(json.dumps(record_) + "\n")
        return
    records = []
    for count in a.sessions.split(","):
        command = [sys.executable, __file__, "--here", f"--sessions={count}", f"--models={a.models}"]
        records.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    print(*rows(records), sep="\n", file=sys.stderr)
    sys.stdout.write(json.dumps(records) + "\n")


if __name__ == "__main__":
    main()
