"""What the three machines understand: the sentences that are answered at once, and those that take time to answer."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["AT_ONCE", "NEVER_MIND", "QUESTIONS", "SAID", "SENTENCES", "plain"]

AT_ONCE: Final = {
    "hello": "Hello. Ask me something.",
    "are you there": "Yes, I am listening.",
    "thank you": "You are welcome.",
    "goodbye": "Goodbye.",
}
"""Sentences, and what is said to them."""

NEVER_MIND: Final = "never mind"
"""Gives up what is being looked up."""

QUESTIONS: Final = {
    "how far away is the moon": "moon",
    "how high is the highest mountain": "mountain",
    "how long is the longest river": "river",
}
"""Sentences, and the name of what is to be looked up."""

SENTENCES: Final = (*AT_ONCE, NEVER_MIND, *QUESTIONS)

# What the scripted user says, and the silence after each sentence, in seconds. The answer about the moon takes four seconds, and
# meanwhile the dialogue goes on; the one about the river is not waited for.
SAID: Final = (
    ("hello", 3.0),
    ("how far away is the moon", 2.5),
    ("are you there", 6.0),
    ("how long is the longest river", 2.5),
    ("never mind", 3.0),
    ("how high is the highest mountain", 9.0),
    ("thank you", 3.0),
)


def plain(text: str) -> str:
    """A sentence as somebody may type it, in the way it is written here."""
    return " ".join(re.findall(r"[a-z']+", text.lower()))
