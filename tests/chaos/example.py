"""The example of three machines, on three machines: what the user says in a WAV file, or types, is answered from afar."""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from .process import Process, now
from .scenario import Stage, scenario

PROGRAMS = Path(__file__).parent.parent.parent / "docs" / "examples" / "three_machines"
LINES = (
    ("Hello!", "Hello. Ask me something."),
    ("How far away is the moon?", "The moon is about 384 thousand kilometres away."),
    ("thank you", "You are welcome."),
)


async def start(stage: Stage, machine: str, program: str, *arguments: str) -> Process:
    """One of its three commands, with the prints in `text`."""
    place = await stage.machine(machine)
    return await place.start(sys.executable, "-u", str(PROGRAMS / program), stage.broker.url, *arguments, name=program)


async def ends(stage: Stage, *processes: Process) -> None:
    """Each ends by itself, in good order."""
    began = now()
    for process in processes:
        stage.check(await process.wait(15) == 0, f"{process.name} ended badly: {process.errors[-2000:]}")
    stage.figure("all ended after", now() - began)


@scenario(brokers=("redis",))
async def example_typed(stage: Stage) -> None:
    """With typed lines: quick answers while a slow one is on its way, and one that is not wanted any more."""
    answers = await start(stage, "answers", "answers.py")
    dialogue = await start(stage, "dialogue", "dialogue.py")
    front = await start(stage, "front", "front.py", "--text")
    await front.wait_for_text("ready", within=30)
    stage.figure("ready", "yes")
    for line, reply in LINES:
        began = now()
        await front.type(line)
        await front.wait_for_text(reply, within=15)
        stage.figure(line, now() - began)
    await front.type("how long is the longest river")
    await answers.wait_for_text("asked about the river", within=10)
    began = now()
    await front.type("hello")
    await front.wait_for_text(LINES[0][1], within=5, times=2)
    await front.type("never mind")
    await answers.wait_for_text("not wanted any more: the river", within=5)
    stage.figure("cancelled over there", now() - began)
    await trio.sleep(5)
    stage.check(not any("Nile" in line for line in front.text), "what was not wanted any more was answered")
    await front.close_input()
    await ends(stage, front, dialogue, answers)


@scenario(brokers=("redis",), within=150)
async def example(stage: Stage) -> None:
    """With a voice that speaks, and one that answers."""
    wav = stage.network.folder / "answers.wav"
    front = await start(stage, "front", "front.py", "--out", str(wav))
    dialogue = await start(stage, "dialogue", "dialogue.py")
    answers = await start(stage, "answers", "answers.py")
    await front.wait(100)
    for reply in (
        "Hello. Ask me something.",
        "I am searching the catalogue.",
        "Yes, I am listening.",
        "The moon is about 384 thousand kilometres away.",
        "All right.",
        "The highest mountain is Everest, with 8849 metres.",
        "You are welcome.",
    ):
        stage.check(any(reply in line for line in front.text), f"nobody said {reply!r}: {front.text}")
    stage.check(not any("Nile" in line for line in front.text), "what was not wanted any more was answered")
    stage.check(any("not wanted any more" in line for line in answers.text), f"no job was cancelled: {answers.text}")
    stage.check(wav.exists() and wav.stat().st_size > 100_000, "the answers are in no file")
    await ends(stage, front, dialogue, answers)


@scenario(brokers=("redis",))
async def example_interrupted(stage: Stage) -> None:
    """Ctrl-C at the front ends all three."""
    answers = await start(stage, "answers", "answers.py")
    dialogue = await start(stage, "dialogue", "dialogue.py")
    front = await start(stage, "front", "front.py", "--text")
    for process in (dialogue, answers):
        await process.wait_for_text("the front is ready", within=30)
    front.interrupt()
    await ends(stage, front, dialogue, answers)


@scenario(brokers=("redis",))
async def example_without_power(stage: Stage) -> None:
    """The front's machine goes without a word: the other two end one lease later."""
    answers = await start(stage, "answers", "answers.py")
    dialogue = await start(stage, "dialogue", "dialogue.py")
    front = await start(stage, "front", "front.py", "--text")
    for process in (dialogue, answers):
        await process.wait_for_text("the front is ready", within=30)
    await front.type("how far away is the moon")
    await front.wait_for_text("searching the catalogue")
    await stage.network.machines["front"].cut()
    front.kill()
    await ends(stage, dialogue, answers)
