"""`PocketSphinx` itself, on real speech: what it hears, how sure it is, and how it ends."""

import importlib.util
import os
import signal
from pathlib import Path

import pytest
import trio

from trio_pipes import ConfigurationError, MissingExtra
from trio_pipes.voice import Heard, PocketSphinx
from voice_kit import children, spoken

SENTENCES = [
    *(f"turn {switch} the {room} light" for switch in ("on", "off") for room in ("kitchen", "bedroom", "hall")),
    *("what time is it", "set a timer for five minutes", "thank you"),
]


async def hear(*sounds: bytes, recogniser: PocketSphinx | None = None) -> list[Heard]:
    """What it hears in each sound, in pieces of 20 ms as they come from a microphone."""
    heard = []
    async with (recogniser or PocketSphinx(SENTENCES)).open() as recognition:
        for sound in sounds:
            await recognition.start()
            for at in range(0, len(sound), 640):
                await recognition.hear(sound[at : at + 640])
            heard.append(await recognition.finish())
    return heard


def test_it_hears_its_sentences() -> None:
    said = ["turn on the kitchen light", "what time is it", "set a timer for five minutes", "turn off the hall light"]
    heard = trio.run(hear, *(spoken(text) for text in said))
    assert [each.text for each in heard] == said
    assert min(each.confidence for each in heard) > 0.95


# What its sentences do not explain does not come out as one of them with confidence.
def test_it_knows_what_it_does_not_know() -> None:
    said = [
        "the weather is lovely in the garden today",
        "she sells sea shells on the sea shore",
        "he might even have been made amiable himself",
        "nobody expects the Spanish inquisition",
    ]
    heard = trio.run(hear, *(spoken(text) for text in said))
    assert [each for each in heard if each.text in SENTENCES and each.confidence > 0.95] == []


# The same seed adds the same noise, so the same sound is heard alike, in another process too; and in other pieces.
def test_it_is_deterministic() -> None:
    sounds = [spoken(text, "en-gb") for text in ("turn on the bedroom light", "the cat sat on the mat")]
    assert trio.run(hear, *sounds) == trio.run(hear, *sounds)


# A person, with a microphone that the recogniser has not heard before. (Where from: tests/voice/data/LICENCE.txt.)
def test_a_person() -> None:
    robot = [
        "go forward ten meters",
        "go backward ten meters",
        "go forward five meters",
        "turn left",
        "turn right",
        "stop",
    ]
    recording = (Path(__file__).parent / "data" / "go_forward_ten_meters.wav").read_bytes()[44:]
    (heard,) = trio.run(lambda: hear(recording, recogniser=PocketSphinx(robot)))
    assert heard == Heard("go forward ten meters", 1.0)
    (heard,) = trio.run(lambda: hear(recording))  # an assistant for lights does not know what to make of it
    assert heard.text not in SENTENCES or heard.confidence < 0.95


def test_silence_and_nothing() -> None:
    heard = trio.run(hear, b"", bytes(32_000), bytes(2))
    assert [each.text in SENTENCES and each.confidence > 0.95 for each in heard] == [False] * 3


def test_a_word_of_ones_own() -> None:
    names = PocketSphinx(["hello trio", "hello world"], pronunciations={"trio": "T R IY OW"})
    sound = spoken("hello trio")
    (heard,) = trio.run(lambda: hear(sound, recogniser=names))
    assert heard.text == "hello trio"


async def test_a_word_that_is_not_in_the_dictionary() -> None:
    before = children()
    with pytest.raises(ConfigurationError, match="does not have: 'blorb', 'frobnicate'.*pronunciations="):
        await hear(recogniser=PocketSphinx(["frobnicate the blorb", "stop the music"]))
    assert children() == before


async def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'trio-pipes\[voice\]'"):
        await hear()


async def test_its_process_dies() -> None:
    with trio.fail_after(20), pytest.raises(trio.BrokenResourceError, match="the speech recogniser .* SIGKILL"):
        async with PocketSphinx(SENTENCES).open() as recognition:
            await recognition.start()
            os.kill(recognition.pid, signal.SIGKILL)
            await recognition.hear(bytes(640))
            await recognition.finish()


# Cancelled while it starts, loads or works; in real time.
@pytest.mark.parametrize("after", [0.0, 0.05, 0.15, 0.3, 0.6])
async def test_a_cancel_leaves_no_process(after: float) -> None:
    before = children()
    sound = await trio.to_thread.run_sync(spoken, "what time is it")
    with trio.move_on_after(after):
        await hear(*[sound] * 20)
    assert children() == before


@pytest.mark.parametrize("bad", [[], ["", " "], "turn on the light"])
def test_no_sentences(bad: object) -> None:
    with pytest.raises(ConfigurationError, match="expected the sentences"):
        PocketSphinx(bad)  # type: ignore[arg-type]


def test_too_much_noise() -> None:
    with pytest.raises(ConfigurationError, match="dither=98"):
        PocketSphinx(SENTENCES, dither=98)
