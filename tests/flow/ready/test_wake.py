"""P1: text gets through once the wake phrase has been said, and for some time after."""

from __future__ import annotations

from functools import partial

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, strategies as st

from cancel_everywhere import cancelled_everywhere
from examples import examples
from flow_kit import UP, live, settle, text, texts
from trio_pipes import (
    ConfigurationError,
    DataFrame,
    Pipeline,
    PipelineTask,
    StopFrame,
    SystemFrame,
    TaskState,
    TextFrame,
    WakePhraseFilter,
)
from trio_pipes.testing import check_processor


@attrs.define(eq=False)
class Heard(DataFrame):
    """As a transcription is: not a text frame, and it survives interrupts."""

    text: str
    who: str = "a"
    interruptible: bool = attrs.field(default=False, kw_only=True, repr=False)


async def heard(made: WakePhraseFilter, *said: str | float) -> list[str]:
    """What gets through of what is said; a number is a pause in seconds."""
    async with live([made]) as run:
        for one in said:
            if isinstance(one, str):
                await run.task.queue_frame(Heard(one))
                await settle()
            else:
                await trio.sleep(one)
    return [frame.text for frame in run.down]


@pytest.mark.parametrize(
    ("keep", "through"),
    [
        ("phrase", ["Hey, Robot! What time is it?", "And tomorrow?"]),
        ("rest", ["What time is it?", "And tomorrow?"]),
        ("all", ["So then, hey, Robot! What time is it?", "And tomorrow?"]),
    ],
)
async def test_text_gets_through_from_the_phrase_on(autojump_clock, keep, through):
    if keep == "phrase":
        through = ["hey, Robot! What time is it?", "And tomorrow?"]
    made = WakePhraseFilter("hey robot", Heard, keep=keep)
    assert await heard(made, "Nobody listens.", "So then, hey, Robot! What time is it?", "And tomorrow?") == through


async def test_it_sleeps_when_nobody_has_spoken_for_its_time(autojump_clock):
    made = WakePhraseFilter("robot", Heard, timeout=3)
    said = ["robot", 2.9, "a", 2.9, "b", 3, "c", "robot d", 2, "e"]
    assert await heard(made, *said) == ["robot", "a", "b", "robot d", "e"]


async def test_without_a_timeout_it_stays_awake_for_the_run(autojump_clock):
    assert await heard(WakePhraseFilter("robot", Heard, timeout=None), "a", "robot", 900, "b") == ["robot", "b"]


@pytest.mark.parametrize(
    ("phrase", "said"),
    [
        ("hey robot", "HEY ROBOT"),
        ("Hey, Robot!", "hey robot"),
        ("hey robot", "hey -- robot"),
        ("what's up", "Whats up?"),
        ("what's up", "what\u2019s up"),
        ("caf\u00e9", "Cafe\u0301 please"),
        ("привет", "ПРИВЕТ"),
        ("小爱同学", "小爱同学今天天气"),
        ("r2-d2", "R2 D2, come here"),
        ("c++", "c++"),
    ],
)
async def test_case_and_what_stands_between_words_do_not_count(autojump_clock, phrase, said):
    assert len(await heard(WakePhraseFilter(phrase, Heard), said)) == 1


@pytest.mark.parametrize(
    ("phrase", "said"),
    [
        ("robot", "robotics"),
        ("hey robot", "heyrobot"),
        ("robot", "microrobot"),
        ("hey robot", "hey you robot"),
        ("a way", "away"),
    ],
)
async def test_a_phrase_is_made_of_whole_words(autojump_clock, phrase, said):
    assert await heard(WakePhraseFilter(phrase, Heard), said) == []


async def test_the_first_of_several_phrases_counts_and_the_longest_of_those(autojump_clock):
    made = WakePhraseFilter(["hey", "hey robot", "computer"], Heard, keep="rest")
    assert await heard(made, "oh hey robot hello") == ["hello"]
    assert await heard(made, "a computer, hey") == ["hey"]


async def test_a_phrase_may_be_spread_over_frames(autojump_clock):
    phrase = "good morning dear robot"
    assert await heard(WakePhraseFilter(phrase, Heard), "oh good", "Morning,", "dear", "robot: go") == [
        "good Morning, dear robot: go"
    ]
    assert await heard(WakePhraseFilter(phrase, Heard, keep="rest"), "good morning", "dear robot", "go") == ["go"]
    assert await heard(WakePhraseFilter(phrase, Heard, keep="all"), "good morning", "dear robot go") == [
        "dear robot go"
    ]


async def test_but_not_over_a_long_silence(autojump_clock):
    made = WakePhraseFilter("hey robot", Heard, timeout=3)
    assert await heard(made, "hey", 3, "robot", "hey", 2, "robot") == ["hey robot"]


async def test_a_phrase_that_nothing_follows_wakes_and_is_no_frame_where_only_the_rest_is_kept(autojump_clock):
    made = WakePhraseFilter("hey robot", Heard, keep="rest")
    assert await heard(made, "Hey Robot.", "Hey Robot. Hello!") == ["Hey Robot. Hello!"]


async def test_each_speaker_has_to_say_it(autojump_clock):
    made = WakePhraseFilter("hey robot", Heard, speaker=lambda frame: frame.who)
    async with live([made]) as run:
        for who, said in [("a", "hey"), ("b", "robot"), ("a", "robot one"), ("b", "two"), ("a", "three")]:
            await run.task.queue_frame(Heard(said, who))
    assert [(frame.who, frame.text) for frame in run.down] == [("a", "hey robot one"), ("a", "three")]


async def test_only_so_many_speakers_are_remembered(autojump_clock):
    made = WakePhraseFilter("robot", Heard, speaker=lambda frame: frame.who, timeout=None)
    async with live([made]) as run:
        for n in range(3000):
            await run.task.queue_frame(Heard("robot", str(n)))
        await run.task.queue_frame(Heard("last", "2999"))
        await run.task.queue_frame(Heard("first", "0"))
    assert len(made._listeners) == 1000
    assert [frame.text for frame in run.down[3000:]] == ["last"]


async def test_other_frames_and_other_ways_pass(autojump_clock):
    async with live([WakePhraseFilter("robot", Heard)]) as run:
        for frame in (text("a"), Heard("b"), SystemFrame()):
            await run.task.queue_frame(frame)
        await run.task.queue_frame(Heard("c"), UP)
    assert sorted(type(frame).__name__ for frame in run.down) == ["SystemFrame", "TextFrame"]
    assert [frame.text for frame in run.up] == ["c"]


async def test_the_frame_itself_is_never_changed(autojump_clock):
    whole, part = Heard("robot a"), Heard("so, robot b", "x")
    part.pts = 7
    part.metadata["seen"] = True
    made = WakePhraseFilter("robot", Heard, timeout=0.5)
    async with live([made]) as run:
        await run.task.queue_frame(whole)
        await trio.sleep(1)
        await run.task.queue_frame(part)
    same, copy = run.down
    assert same is whole
    assert part.text == "so, robot b"
    assert (copy.text, copy.who, copy.pts, copy.metadata, copy.interruptible) == (
        "robot b",
        "x",
        7,
        {"seen": True},
        False,
    )
    assert copy.metadata is not part.metadata
    assert copy.id != part.id


async def test_an_interrupt_does_not_put_it_to_sleep(autojump_clock):
    async with live([WakePhraseFilter("robot", TextFrame)]) as run:
        await run.say("robot")
        await trio.sleep(1)
        run.task.interrupt()
        await run.say("a")
    assert texts(run.down) == ["robot", "a"]


async def test_each_run_begins_asleep(autojump_clock):
    pipeline = Pipeline([WakePhraseFilter("robot", TextFrame)])
    async with pipeline:
        for said, out in ((["robot", "a"], 2), (["b"], 0)):
            task = PipelineTask(pipeline)
            await task.queue_frames([*map(text, said), StopFrame()])
            assert (await task.run()).frames_out == out


async def test_text_that_is_none_is_an_error_that_names_the_frame(autojump_clock):
    task = PipelineTask(Pipeline([WakePhraseFilter("robot", Heard)]))
    await task.queue_frame(Heard(None))
    with pytest.raises(ExceptionGroup) as caught:
        await task.run()
    assert caught.group_contains(TypeError, match=r"Heard#\d+ has text=None, expected a string")


async def asks_who(frame):
    return "who"


@pytest.mark.parametrize(
    ("speaker", "told"),
    [
        (
            lambda frame: [frame.who],
            r"WakePhraseFilter\(speaker\) gave \['a'\] for Heard#\d+, expected a name or an id",
        ),
        (partial(lambda ask, frame: ask(frame), asks_who), r"WakePhraseFilter\(speaker\) gave <coroutine"),
    ],
    ids=["a list", "something to await"],
)
async def test_a_speaker_that_is_none_is_an_error_that_says_so(autojump_clock, speaker, told):
    task = PipelineTask(Pipeline([WakePhraseFilter("robot", Heard, speaker=speaker)]))
    await task.queue_frame(Heard("robot"))
    with pytest.raises(ExceptionGroup) as caught:
        await task.run()
    assert caught.group_contains(TypeError, match=told)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: WakePhraseFilter("", Heard), "phrases=''"),
        (lambda: WakePhraseFilter(" ?! ", Heard), "phrases="),
        (lambda: WakePhraseFilter([], Heard), r"phrases=\[\]"),
        (lambda: WakePhraseFilter(["a", 3], Heard), "phrases="),
        (lambda: WakePhraseFilter(None, Heard), "phrases=None"),
        (lambda: WakePhraseFilter("a", DataFrame), "types="),
        (lambda: WakePhraseFilter("a", ()), "types="),
        (lambda: WakePhraseFilter("a", "Heard"), "types='Heard'"),
        (lambda: WakePhraseFilter("a", Heard, timeout=0), "timeout=0"),
        (lambda: WakePhraseFilter("a", Heard, keep="none"), "keep='none'"),
        (lambda: WakePhraseFilter("a", Heard, speaker="who"), "speaker='who'"),
        (lambda: WakePhraseFilter("a", Heard, speaker=lambda: "who"), "speaker=.*it takes"),
        (lambda: WakePhraseFilter("a", Heard, speaker=asks_who), "speaker=.*expected a sync function"),
        (lambda: WakePhraseFilter("a", Heard, direction=1), "direction=1"),
    ],
)
def test_a_wrong_value_is_refused_by_name(make, named):
    with pytest.raises(ConfigurationError, match=named) as caught:
        make()
    assert "expected" in str(caught.value)


# -- any talk: the same words, cut into frames in any way, wake it at the same word

bits = st.sampled_from(["hey", "robot", "good", "day", "Robot!", "hey robot", "Hey, robot; good day"])
words = st.lists(bits, min_size=1, max_size=8).map(lambda said: " ".join(said).split())


@examples(150)
@given(words, st.lists(st.integers(1, 4), max_size=12), st.sampled_from(["hey robot", "hey robot good day", "robot"]))
def test_however_words_are_cut_into_frames_it_wakes_at_the_same_word(said, cuts, phrase) -> None:
    async def main() -> None:
        whole = await heard(WakePhraseFilter(phrase, Heard, timeout=None), " ".join(said))
        rest, frames = list(said), []
        for cut in cuts:
            frames.append(" ".join(rest[:cut]))
            rest = rest[cut:]
        parts = await heard(WakePhraseFilter(phrase, Heard, timeout=None), *filter(None, [*frames, " ".join(rest)]))
        assert " ".join(parts) == " ".join(whole)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# -- the rules of every processor


async def test_k2_wake_phrase_filter(pipes_clock):
    frames = [text(said) for said in ("hello", "hey", "robot", "there")]
    await check_processor(
        lambda: WakePhraseFilter("hey robot", TextFrame, timeout=None),
        frames,
        drops=TextFrame,
        makes=TextFrame,
        points=40,
    )


def test_t11_cancelled_anywhere_it_leaves_nothing():
    def make():
        task = PipelineTask(Pipeline([WakePhraseFilter("hey robot", TextFrame)]))

        async def scenario() -> None:
            await task.queue_frames([text("hey"), text("robot a"), text("b")])
            task.stop_when_done()
            await task.run()

        def check() -> None:
            assert task.has_finished() or task.state is TaskState.NEW

        return scenario, check, None

    assert cancelled_everywhere(make) > 3
