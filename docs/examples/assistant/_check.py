"""`--check`: the assistant's figures against their limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import attrs
import trio

from trio_pipes.voice import Espeak, Heard

from ._conversation import Turn
from ._dialogue import NOT_UNDERSTOOD
from ._run import Models, Outcome, converse, run_paced
from ._script import OUTSIDE, SCRIPT, Line, record
from ._stalls import OWN_LIMIT, P99_LIMIT, WORST_LIMIT, Stalls
from ._standins import LoudnessVad, WaitingRecogniser, WaitingVoice
from ._words import by_line, word_errors

__all__ = ["main", "own_share"]

SCRIPT_LIMIT: Final = 0.10  # word errors of the scripted voice
OTHERS_LIMIT: Final = 0.25  # and of other voices
REFUSED_LIMIT: Final = 8  # of ten sentences of other words

Found = list[tuple[Line, list[Turn]]]


@attrs.frozen
class Report:
    """Prints a line for each figure, and knows which are beyond their limits."""

    failed: list[str] = attrs.field(factory=list)

    def figure(self, ok: bool, what: str, measured: str, limit: str) -> None:
        """One figure."""
        print(f"  {'ok  ' if ok else 'FAIL'}  {what:<52} {measured:>12}   {limit}", flush=True)
        if not ok:
            self.failed.append(what)


def main(wav: Path | None, folder: Path) -> int:
    """Check everything, and a recording of a person when one is given. Returns the exit code."""
    report = Report()
    check_script(report, folder)
    for voice in ("en-us+f3", "en-gb"):
        _, found, _ = hold(SCRIPT, voice, folder)
        check_words(report, found, f"word errors, voice {voice}", OTHERS_LIMIT)
    check_outside(report, folder)
    if wav is not None:
        check_recording(report, wav, folder)
    print(f"\nBeyond their limits: {', '.join(report.failed)}." if report.failed else "\nAll is well.")
    return 1 if report.failed else 0


def hold(lines: Sequence[Line], voice: str, folder: Path) -> tuple[Path, Found, Outcome]:
    """Have a voice say the lines to the assistant."""
    wav = folder / "said.wav"
    ends = trio.run(record, wav, lines, Espeak(voice, words_per_minute=140))
    outcome = play(wav, folder, Models())
    return wav, by_line(lines, ends, outcome.conversation.turns), outcome


def check_script(report: Report, folder: Path) -> None:
    """The conversation of the script."""
    wav, found, outcome = hold(SCRIPT, "en-us", folder)
    check_words(report, found, "word errors, scripted voice", SCRIPT_LIMIT)
    right = sum(bool(turns) and line.understood == (turns[-1].reply != NOT_UNDERSTOOD) for line, turns in found)
    report.figure(
        right == len(SCRIPT), "sentences understood or refused as they should be", f"{right}", f"{len(SCRIPT)}"
    )
    report.figure(
        outcome.conversation.interruptions > 0, "replies cut off", f"{outcome.conversation.interruptions}", "1 or more"
    )
    stalls, own = outcome.stalls, own_share(wav, folder, outcome.conversation.turns)
    for ok, what, measured, limit in (
        (stalls.p99 <= P99_LIMIT, "stalls of the loop, p99", stalls.p99, P99_LIMIT),
        (stalls.worst <= WORST_LIMIT, "stalls of the loop, worst", stalls.worst, WORST_LIMIT),
        (own.p99 <= OWN_LIMIT, "our own share of them, p99", own.p99, OWN_LIMIT),
        (own.worst_cpu <= OWN_LIMIT, "our own share of them, worst, CPU time", own.worst_cpu, OWN_LIMIT),
    ):
        report.figure(ok, what, f"{1000 * measured:.2f} ms", f"at most {1000 * limit:.0f} ms")


def check_words(report: Report, found: Found, what: str, limit: float) -> None:
    """Word errors in the sentences that the assistant knows, and whether each line was noticed at all."""
    known = [(line, " ".join(turn.text for turn in turns)) for line, turns in found if line.understood]
    wrong = sum(word_errors(line.text, heard) for line, heard in known)
    rate = wrong / sum(len(line.text.split()) for line, _ in known)
    report.figure(rate <= limit, what, f"{rate:.1%}", f"at most {limit:.0%}")
    unheard = [line.text for line, turns in found if not turns]
    report.figure(not unheard, f"{what}: lines without a turn", f"{len(unheard)}", "0")


def check_outside(report: Report, folder: Path) -> None:
    """Ten sentences that are none of the assistant's."""
    _, found, outcome = hold(OUTSIDE, "en-us", folder)
    refused = sum(bool(turns) and all(turn.reply == NOT_UNDERSTOOD for turn in turns) for _, turns in found)
    what = "foreign sentences answered 'I did not understand'"
    report.figure(refused >= REFUSED_LIMIT, what, f"{refused} of {len(OUTSIDE)}", f"at least {REFUSED_LIMIT}")
    switched = outcome.dialogue.switched
    report.figure(switched == 0, "switched by them", f"{switched}", "0")


def check_recording(report: Report, wav: Path, folder: Path) -> None:
    """A person's voice: what it said, and whether the assistant acted on it."""
    outcome = play(wav, folder, Models(), tell=print)
    turns = outcome.conversation.turns
    understood = sum(turn.reply != NOT_UNDERSTOOD for turn in turns)
    report.figure(
        understood > 0, f"sentences in {wav.name} that were acted on", f"{understood} of {len(turns)}", "1 or more"
    )


def own_share(wav: Path, folder: Path, turns: Sequence[Turn]) -> Stalls:
    """The stalls of the same conversation with waits in the place of the models: what remains is ours."""
    transcripts = [Heard(turn.text, turn.confidence) for turn in turns]
    models = Models(LoudnessVad, WaitingRecogniser(transcripts), WaitingVoice())
    return play(wav, folder, models).stalls


def play(wav: Path, folder: Path, models: Models, tell: Callable[[str], None] = lambda line: None) -> Outcome:
    """A conversation that nobody listens to. Raises `KeyboardInterrupt` when a signal has ended it."""
    outcome = run_paced("fast", converse, wav, folder / "answered.wav", tell, models)
    if "SIG" in (outcome.reason or ""):
        raise KeyboardInterrupt(outcome.reason)
    return outcome
