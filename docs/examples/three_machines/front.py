"""The first machine: the voice front end. It hears a WAV file, or a script that espeak-ng speaks, and plays the replies into another.

    python docs/examples/three_machines/front.py redis://HOST:6379 [--text] [--out FILE] [file.wav]

What is said goes to the dialogue on the second machine, and what comes from there is spoken. With `--text` sentences are typed, and
replies are printed: no models are needed. Ends with the file or the last line, or on Ctrl-C; the other two end with it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from _program import CHANNEL, first
from _words import SAID, SENTENCES

from trio_pipes import (
    BusBridge,
    Direction,
    EndTaskFrame,
    FrameProcessor,
    Pipeline,
    PipelineParams,
    PipelineRunner,
    PipelineTask,
    PipesError,
    RedisBus,
    TextFrame,
    each,
)
from trio_pipes.voice import TranscriptionFrame


@each(name="show")
def show(frame: TextFrame) -> TextFrame:
    """Print what is replied."""
    print(f"assistant  {frame.text}", flush=True)
    return frame


@each(name="echo")
def echo(frame: TranscriptionFrame) -> TranscriptionFrame:
    """Print what was heard."""
    print(f"user       {frame.text}", flush=True)
    return frame


def bridge() -> BusBridge:
    """Where the dialogue does its part: sentences go there, replies come back."""
    return BusBridge("dialogue", frames=(TranscriptionFrame, TextFrame))


class Typed(FrameProcessor):
    """What is typed, a sentence in each line, until the end of standard input."""

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Lines are read in a nursery of the processor's."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read)
            yield
            nursery.cancel_scope.cancel(reason="nobody listens any more")

    async def _read(self) -> None:
        async with trio.lowlevel.FdStream(sys.stdin.fileno()) as stdin:
            rest = b""
            async for piece in stdin:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    await self.push_frame(TranscriptionFrame(line.decode()))
        await self.push_frame(EndTaskFrame("nothing more was typed"), Direction.UPSTREAM)


def typed() -> Pipeline:
    """The pipeline of `--text`."""
    return Pipeline([Typed("typed"), bridge(), show])


def voiced(wav: Path, out: Path) -> Pipeline:
    """The pipeline that hears and speaks."""
    from trio_pipes.transports import WavSink, WavSource
    from trio_pipes.voice import (
        Espeak,
        PocketSphinx,
        SileroVad,
        SpeechToText,
        TextToSpeech,
        UserTurnAggregator,
        UserTurns,
        VoiceActivity,
    )

    return Pipeline(
        [
            WavSource(wav),
            VoiceActivity(SileroVad, interrupts=False),
            SpeechToText(PocketSphinx(SENTENCES)),
            UserTurns(),
            UserTurnAggregator(),
            echo,
            bridge(),
            show,
            TextToSpeech(Espeak("en-us+f3")),
            WavSink(out),
        ]
    )


async def speak_script(path: Path) -> None:
    """Have espeak-ng say what the user says."""
    import wave

    from trio_pipes.voice import Espeak

    voice = Espeak("en-us", words_per_minute=140)
    audio, rate = b"", 0
    for text, pause in SAID:
        speech = await voice.speak(text)
        rate = speech.sample_rate
        audio += (b"" if audio else bytes(2 * rate)) + speech.audio + bytes(2 * round(pause * rate))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(audio)


async def main(options: argparse.Namespace, folder: Path) -> None:
    """Wait for the other two, and hold a conversation."""
    wav = options.wav
    if wav is None and not options.text:
        wav = folder / "said.wav"
        await speak_script(wav)
    async with RedisBus(options.url, channel=CHANNEL) as bus:
        runner = PipelineRunner(bus=bus)
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: runner.run(auto_end=False, task_status=task_status))
            print("waiting for the dialogue and the answers", flush=True)
            await runner.registry.wait_ready("dialogue", "answers")
            print("ready", flush=True)
            pipeline = typed() if options.text else voiced(wav, options.out)
            await runner.run(PipelineTask(pipeline, PipelineParams(allow_interruptions=True), name="front"))
            runner.end("the conversation is over")
    if not options.text:
        print(f"What the assistant said is in {options.out}.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("url", help="the Redis server: redis://HOST:6379")
    parser.add_argument("wav", nargs="?", type=Path, metavar="file.wav", help="what the user says: a WAV of 16-bit PCM")
    parser.add_argument("--text", action="store_true", help="sentences are typed, replies are printed")
    parser.add_argument(
        "--out", type=Path, default=Path("three-machines.wav"), help="what the assistant says (%(default)s)"
    )
    with tempfile.TemporaryDirectory() as folder:
        try:
            trio.run(main, parser.parse_args(), Path(folder))
        except* PipesError as group:
            sys.exit(f"{parser.prog}: {first(group)}")
