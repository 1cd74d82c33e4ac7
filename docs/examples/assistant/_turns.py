"""Whose turn it is: when a sentence is over, and what to do when none comes.

Half a second of silence may be a pause for breath or the end. What was said tells more. "Turn on the kitchen light" is a
whole command, and nothing that may follow changes it: the answer need not wait. "Set a timer for" is none, and more will come.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Final

from trio_pipes import Frame, TextFrame
from trio_pipes.voice import SpeechRules, UserTurn

from ._sentences import COMMANDS

__all__ = ["HEARING", "IDLE_AFTER", "Patience", "still_there"]

HEARING: Final = SpeechRules(stop_after=0.3)
"""A sentence is transcribed after so little silence; whether the turn is over is another question."""

# Seconds of silence, counted from the last sound.
FOREIGN: Final = 0.6  # none of our sentences, and none can become of it
UNFINISHED: Final = 1.2

IDLE_AFTER: Final = 8.0  # seconds without a word


def _meanings() -> dict[str, list[tuple[str, object]]]:
    """What each beginning of a sentence can become."""
    found: defaultdict[str, list[tuple[str, object]]] = defaultdict(list)
    for sentence, command in COMMANDS.items():
        words = sentence.split()
        for count in range(1, len(words) + 1):
            meaning = command.intent, command.slots
            beginning = found[" ".join(words[:count])]
            if meaning not in beginning:
                beginning.append(meaning)
    return dict(found)


MEANINGS: Final = _meanings()


class Patience:
    """A stop strategy: a turn is over at once with a command that can become no other one, and otherwise after some silence."""

    def stops(self, frame: Frame, turn: UserTurn) -> float:
        """When the turn is over, by what was said in it so far."""
        if turn.silent_since is None or not turn.transcribed:
            return math.inf
        if turn.text in COMMANDS and len(MEANINGS[turn.text]) == 1:
            return turn.silent_since
        return turn.silent_since + (UNFINISHED if turn.text in MEANINGS else FOREIGN)


def still_there(retries: int) -> TextFrame:
    """What is said to a user who says nothing."""
    return TextFrame("Are you still there?" if retries == 1 else "I am here when you need me.")
