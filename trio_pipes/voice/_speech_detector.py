"""When speech begins and ends, from probabilities: a state machine without a model, a clock or sound."""

from __future__ import annotations

from enum import Enum

import attrs

from trio_pipes._base import ConfigurationError, check_number, refuse

__all__ = ["SpeechDetector", "SpeechEvent", "SpeechRules"]


class SpeechEvent(Enum):
    """What one more window of sound has shown."""

    STARTED = "started"
    STOPPED = "stopped"


@attrs.frozen(kw_only=True)
class SpeechRules:
    """When to take sound for speech. Times are in seconds of sound."""

    start_above: float = 0.5
    """The probability from which a window counts as speech. 0.5 is what the authors of Silero advise."""
    stop_below: float = 0.35
    """The probability under which it no longer does, once speech has begun; they advise 0.15 less."""
    start_after: float = 0.1
    """Speech that lasts so long is a beginning; a cough or a click is shorter than a syllable."""
    stop_after: float = 0.5
    """Silence that lasts so long ends a sentence. Pauses inside one are rarely longer than 0.4 s."""
    longest: float = 20.0
    """A sentence is taken to be over after so long, so that a radio in the room cannot grow one without bound."""

    def __attrs_post_init__(self) -> None:
        for field in attrs.fields(SpeechRules):
            check_number(f"SpeechRules({field.name}", getattr(self, field.name), "a number of 0 or more")
        if not 0 <= self.stop_below <= self.start_above <= 1:
            raise ConfigurationError(
                f"SpeechRules(start_above={self.start_above!r}, stop_below={self.stop_below!r}): expected "
                "0 <= stop_below <= start_above <= 1"
            )
        if not 0 <= self.start_after < self.longest or not self.stop_after > 0:
            raise ConfigurationError(
                f"SpeechRules(start_after={self.start_after!r}, stop_after={self.stop_after!r}, longest={self.longest!r}): "
                "expected seconds, with 0 <= start_after < longest and stop_after > 0"
            )


@attrs.define(eq=False)
class SpeechDetector:
    """Turns a probability per window into beginnings and ends."""

    rules: SpeechRules
    window: float
    """How long a window is, in seconds."""
    speaking: bool = attrs.field(default=False, init=False)
    voiced: float = attrs.field(default=0.0, init=False)
    """How long ago the speech that is going on, or may be beginning, began; in seconds."""
    silence: float = attrs.field(default=0.0, init=False)
    """How long it has been silent since then, in seconds."""

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.rules, SpeechRules):
            raise refuse("SpeechDetector(rules", self.rules, "SpeechRules(...)")
        check_number("SpeechDetector(window", self.window, "seconds above 0", above=True, most=60.0)

    def take(self, probability: float) -> SpeechEvent | None:
        """One more window."""
        check_number("SpeechDetector.take(probability", probability, "a probability from 0 to 1", most=1.0)
        is_speech = probability >= (self.rules.stop_below if self.speaking else self.rules.start_above)
        if not self.speaking:
            self.voiced = self.voiced + self.window if is_speech else 0.0
            if self.voiced <= self.rules.start_after or not is_speech:
                return None
            self.speaking = True
            self.silence = 0.0
            return SpeechEvent.STARTED
        self.voiced += self.window
        self.silence = 0.0 if is_speech else self.silence + self.window
        if self.silence >= self.rules.stop_after or self.voiced >= self.rules.longest:
            return self.end()
        return None

    def end(self) -> SpeechEvent | None:
        """The sound is over, or nobody wants to wait for the silence."""
        if not self.speaking:
            return None
        self.speaking = False
        self.voiced = 0.0
        return SpeechEvent.STOPPED
