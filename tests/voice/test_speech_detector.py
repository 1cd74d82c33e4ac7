"""When speech begins and ends, from probabilities."""

import pytest
from hypothesis import given, strategies as st

from trio_pipes import ConfigurationError
from trio_pipes.voice import SpeechDetector, SpeechEvent, SpeechRules

WINDOW = 0.032


def events_of(probabilities: list[float], **rules: float) -> list[tuple[int, str]]:
    """What happened at which window."""
    detector = SpeechDetector(SpeechRules(**rules), WINDOW)
    found = [(place, detector.take(probability)) for place, probability in enumerate(probabilities)]
    return [(place, event.value) for place, event in found if event is not None]


# Speech of more than 0.1 s (4 windows of 32 ms) is a beginning; 0.5 s of silence (16 windows) is an end.
def test_a_sentence() -> None:
    assert events_of([0.0] * 10 + [0.9] * 30 + [0.1] * 40) == [(13, "started"), (55, "stopped")]


def test_a_click_is_no_speech() -> None:
    assert events_of(([0.9] * 3 + [0.0] * 5) * 20) == []


def test_a_pause_inside_a_sentence_does_not_end_it() -> None:
    assert events_of([0.9] * 10 + [0.0] * 15 + [0.9] * 10 + [0.0] * 16) == [(3, "started"), (50, "stopped")]


# Hysteresis: what would not begin speech keeps it going.
def test_between_the_thresholds() -> None:
    assert events_of([0.4] * 100) == []
    assert events_of([0.9] * 4 + [0.4] * 100) == [(3, "started")]
    assert events_of([0.9] * 4 + [0.34] * 16) == [(3, "started"), (19, "stopped")]


def test_a_sentence_without_end_is_cut() -> None:
    assert events_of([1.0] * 200, longest=2.0) == [
        (3, "started"),
        (62, "stopped"),
        (66, "started"),
        (125, "stopped"),
        (129, "started"),
        (188, "stopped"),
        (192, "started"),
    ]


def test_how_long_ago() -> None:
    detector = SpeechDetector(SpeechRules(), WINDOW)
    for _ in range(4):
        event = detector.take(1.0)
    assert event is SpeechEvent.STARTED
    assert detector.voiced == pytest.approx(4 * WINDOW)
    for _ in range(5):
        detector.take(0.0)
    assert detector.silence == pytest.approx(5 * WINDOW)
    assert detector.end() is SpeechEvent.STOPPED
    assert detector.end() is None


# Whatever the probabilities: beginnings and ends alternate, and no sentence is longer than the longest.
@given(st.lists(st.sampled_from([0.0, 0.2, 0.4, 0.6, 1.0]), max_size=400))
def test_beginnings_and_ends_alternate(probabilities: list[float]) -> None:
    found = events_of(probabilities, longest=3.0)
    assert [name for _, name in found] == (["started", "stopped"] * len(found))[: len(found)]
    for (begun, _), (ended, _) in zip(found[::2], found[1::2], strict=False):
        assert (ended - begun + 4) * WINDOW <= 3.0 + 2 * WINDOW


@pytest.mark.parametrize(
    "bad", [{"start_above": 1.5}, {"stop_below": 0.8}, {"start_after": -1}, {"stop_after": 0}, {"longest": 0.05}]
)
def test_bad_rules(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="expected"):
        SpeechRules(**bad)
