"""`Espeak`: by the program, or by the library in a child process of ours."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest
import trio

from trio_pipes import ConfigurationError, MissingExtra
from trio_pipes.voice import Espeak
from voice_kit import children


@pytest.fixture
def no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)


# What a person without the program has: pip alone is enough.
def test_by_the_extra(no_program: None) -> None:
    speech = trio.run(Espeak().speak, "please turn on the kitchen light")
    assert speech.sample_rate == 22_050
    assert len(speech.audio) / 2 / 22_050 == pytest.approx(1.7, abs=0.4)
    assert "espeakng_loader" not in sys.modules  # GPL-3: never in the user's process
    loaded = Path("/proc/self/maps")
    assert not loaded.exists() or "espeak" not in loaded.read_text()


@pytest.mark.parametrize("voice", ["en-us", "en-gb", "en-us+f3"])
async def test_voices_are_different_and_always_the_same(no_program: None, voice: str) -> None:
    said = await Espeak(voice).speak("what time is it")
    assert said == await Espeak(voice).speak("what time is it")
    assert said != await Espeak("en-gb-scotland").speak("what time is it")


async def test_the_pace(no_program: None) -> None:
    slow = await Espeak(words_per_minute=100).speak("what time is it")
    fast = await Espeak(words_per_minute=200).speak("what time is it")
    assert len(slow.audio) > 1.5 * len(fast.audio)


# A text is never a program's option, whatever it begins with, and no shell sees it.
async def test_a_text_is_a_text(no_program: None) -> None:
    odd = await Espeak().speak("--version; rm -rf $HOME `id` \N{GREEK SMALL LETTER PI}\n")
    assert len(odd.audio) > 22_050
    assert (await Espeak().speak("")).sample_rate == 22_050


async def test_a_voice_that_is_not_there(no_program: None) -> None:
    with pytest.raises(ConfigurationError, match="'nosuch'"):
        await Espeak("nosuch").speak("hello")


async def test_neither_program_nor_extra(no_program: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'trio-pipes\[espeak\]'"):
        await Espeak().speak("hello")


# The program, where there is one, or what has its form.
async def test_by_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "espeak-ng"
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys, struct\n"
        "print(*sys.argv[1:], sys.stdin.read(), file=open(sys.argv[0] + '.log', 'w'))\n"
        "out = sys.stdout.buffer\n"
        "out.write(b'RIFF' + bytes(20) + struct.pack('<I', 22050) + bytes(8) + b'data' + bytes(4) + b'ab' * 100)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    speech = await Espeak("en-gb", words_per_minute=120).speak("hello there")
    assert (speech.audio, speech.sample_rate) == (b"ab" * 100, 22_050)
    assert (tmp_path / "espeak-ng.log").read_text() == "-v en-gb -s 120 --stdin --stdout hello there\n"


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("sys.exit(3)", "exit code 3: it said nothing"),
        ("sys.exit('no sound card')", "no sound card"),
        ("", "wrote no sound"),
    ],
)
async def test_a_program_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, how: str) -> None:
    program = tmp_path / "espeak-ng"
    program.write_text(f"#!{sys.executable}\nimport sys\n{code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(trio.BrokenResourceError, match=how):
        await Espeak().speak("hello")


# An interrupt cancels the synthesis, wherever it is.
@pytest.mark.parametrize("after", [0, 0.001, 0.005, 0.01, 0.02])
async def test_a_cancel_leaves_no_process(no_program: None, after: float) -> None:
    before = children()
    with trio.move_on_after(after):
        await Espeak().speak("a rather long sentence, which takes its time to be spoken, " * 50)
    assert children() == before


@pytest.mark.parametrize("bad", [{"voice": ""}, {"voice": "-w"}, {"words_per_minute": 10}])
def test_bad_settings(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="expected"):
        Espeak(**bad)  # type: ignore[arg-type]
