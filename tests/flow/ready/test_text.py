"""Text frames: transformed, put together to sentences, with marked parts taken out (P2)."""

import itertools

import attrs
import pytest
import trio
from hypothesis import given, settings, strategies as st

from flow_kit import UP, Sees, live, said, settle, text, texts
from hosting import notes_of, task_of
from trio_pipes import (
    AggregatedTextFrame,
    ConfigurationError,
    ControlFrame,
    DataFrame,
    EndFrame,
    Frame,
    FrameProcessor,
    PatternAction,
    PatternMatch,
    PatternPair,
    PatternPairAggregator,
    Pipeline,
    PipelineTask,
    SentenceAggregator,
    SkipTagsAggregator,
    StopFrame,
    TextFrame,
    TextTransformer,
    deadline_of,
    with_deadline,
)
from trio_pipes.flow._deadline import has_deadline
from trio_pipes.flow._ready._pairs import Pairs
from trio_pipes.testing import cancel_at_every_checkpoint, check_processor, run_pipeline


@attrs.define(eq=False)
class Heard(DataFrame):
    text: str = ""
    confidence: float = 1.0


@attrs.define(eq=False)
class Token(TextFrame):
    model: str = ""


@attrs.define(eq=False)
class AnswerEnds(ControlFrame):
    pass


@attrs.define(eq=False)
class Number(DataFrame):
    value: int = 0


async def out_of(parts, contents, **settings) -> list[str]:
    received = await run_pipeline(parts, [text(content) for content in contents], **settings)
    return texts(received.down)


async def run_now_with(parts, frames) -> list[Frame]:
    return (await run_pipeline(parts, frames)).down


def cut(content: str, sizes: list[int]) -> list[str]:
    pieces, at = [], 0
    for size in itertools.cycle(sizes):
        if at >= len(content):
            return pieces
        pieces.append(content[at : at + size])
        at += size
    return pieces


# -- TextTransformer


async def upper_slowly(content: str) -> str:
    await trio.sleep(1)
    return content.upper()


@pytest.mark.parametrize("function", [str.upper, upper_slowly])
async def test_a_text_is_transformed_and_everything_else_of_its_frame_stays(autojump_clock, function):
    frame = with_deadline(Token("a", model="m", interruptible=False), 60)
    frame.pts, frame.metadata["who"] = 7, "bot"
    (made,) = await run_now_with([TextTransformer(function)], [frame])
    assert (type(made), made.text, made.model, made.pts, made.interruptible) == (Token, "A", "m", 7, False)
    assert made.metadata["who"] == "bot"
    assert deadline_of(made) == deadline_of(frame)
    assert frame.text == "a"


async def test_a_frame_whose_text_does_not_change_goes_on_itself(autojump_clock):
    frame = text("A")
    assert await run_now_with([TextTransformer(str.upper)], [frame]) == [frame]


async def test_several_functions_are_one_after_the_other(autojump_clock):
    assert await out_of([TextTransformer(str.strip, upper_slowly, lambda t: t + "!")], [" a ", "b"]) == ["A!", "B!"]


async def test_none_drops_the_frame_and_asks_no_further(autojump_clock):
    asked = []
    transformer = TextTransformer(lambda t: t if t != "drop" else None, lambda t: asked.append(t) or t)
    assert await out_of([transformer], ["a", "drop", ""]) == ["a", ""]
    assert asked == ["a", ""]


async def test_which_frames_carry_text_can_be_said(autojump_clock):
    parts = [TextTransformer(str.upper, types=(Heard, Token))]
    made = await run_now_with(parts, [Heard("a", 0.5), Token("b"), text("c"), Number(1)])
    assert [getattr(frame, "text", None) for frame in made] == ["A", "B", "c", None]
    assert made[0].confidence == 0.5


@pytest.mark.parametrize(
    ("direction", "expected"), [(UP, ("down", "UP")), (None, ("DOWN", "UP")), (..., ("DOWN", "up"))]
)
async def test_a_transformer_looks_the_way_it_is_told_and_keeps_the_direction(autojump_clock, direction, expected):
    settings = {} if direction is ... else {"direction": direction}
    async with live([TextTransformer(str.upper, **settings)]) as now:
        await now.say("down")
        await now.task.queue_frame(text("up"), UP)
        await settle()
    assert (now.texts[0], texts(now.up)[0]) == expected


async def test_a_sync_transformer_adds_no_task(autojump_clock):
    assert TextTransformer(str.upper).inline
    assert not TextTransformer(str.upper, upper_slowly).inline


async def test_a_function_that_gives_no_text_is_named(autojump_clock):
    def length(content: str) -> int:
        return len(content)

    with pytest.RaisesGroup(pytest.RaisesExc(TypeError, match=r"length of 'count' returned 1 for TextFrame#")):
        await out_of([TextTransformer(length, name="count")], ["a"])


@pytest.mark.parametrize("make", [lambda: TextTransformer(str.upper), SentenceAggregator])
async def test_a_frame_whose_text_is_none_is_named(autojump_clock, make):
    frame = text("a")
    frame.text = None
    with pytest.RaisesGroup(pytest.RaisesExc(TypeError, match=r"TextFrame#\d+ with text=None, expected a string")):
        await run_pipeline([make()], [frame])


# -- SentenceAggregator


STORY = (
    'Dr. Smith has 3.14 apples... "Why?" he asked. Well, e.g. for pie! See https://x.org/a.b?c=1. '
    "你好。「好的。」\n- one\n- two\n\nThat is all"
)
SENTENCES = [
    "Dr. Smith has 3.14 apples... ",
    '"Why?" he asked. ',
    "Well, e.g. for pie! ",
    "See https://x.org/a.b?c=1. ",
    "你好。",
    "「好的。」\n",
    "- one\n",
    "- two\n",
    "\nThat is all",
]


async def test_words_go_on_in_sentences(autojump_clock):
    words = [word + " " for word in ["Hello,", "Pipes.", "How", "are", "you?", "I", "am", "fine!"]]
    assert await out_of([SentenceAggregator()], words) == ["Hello, Pipes. ", "How are you? ", "I am fine! "]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_however_a_text_is_cut_its_sentences_are_the_same(autojump_clock, size):
    assert await out_of([SentenceAggregator()], cut(STORY, [size])) == SENTENCES


async def test_a_sentence_goes_on_as_soon_as_it_is_certain(autojump_clock):
    aggregator = SentenceAggregator()
    async with live([aggregator]) as now:
        for piece, expected, waiting in [
            ("It is 3", [], "It is 3"),
            (".", [], "It is 3."),
            ("14.", [], "It is 3.14."),
            (" ", [], "It is 3.14. "),
            ("O", ["It is 3.14. "], "O"),
            ("K.\n", ["OK.\n"], ""),
        ]:
            before = len(now.texts)
            await now.say(piece)
            await settle()
            assert now.texts[before:] == expected
            assert aggregator.waiting == waiting


@pytest.mark.parametrize("end", [EndFrame, StopFrame])
async def test_the_rest_goes_on_before_the_end(autojump_clock, end):
    task = task_of(SentenceAggregator(), last := Sees())
    await task.queue_frames([*said("One. Two", " and a half"), end()])
    await task.run()
    assert last.kinds() == ["StartFrame", "One. ", "Two and a half", end.__name__]


async def test_the_rest_goes_on_before_a_frame_that_says_so_and_others_pass_by(autojump_clock):
    task = task_of(SentenceAggregator(flush_on=AnswerEnds), last := Sees())
    await task.queue_frames([text("One"), Number(1), text(" more"), AnswerEnds(), text("Next. "), AnswerEnds()])
    task.stop_when_done()
    await task.run()
    assert last.kinds()[1:-1] == ["Number", "One more", "AnswerEnds", "Next. ", "AnswerEnds"]


async def test_blanks_alone_are_not_said(autojump_clock):
    assert await out_of([SentenceAggregator()], ["One. ", " ", "\n", "  "]) == ["One.  \n"]


async def test_a_sentence_is_a_frame_of_its_first_piece(autojump_clock):
    first, second, third = Token("One", model="m"), text(" more. "), text("Two. ")
    first.pts, first.metadata["who"] = 7, "bot"
    made = await run_now_with([SentenceAggregator()], [first, second, third, text("X")])
    assert [type(frame) for frame in made] == [Token, TextFrame, TextFrame]
    assert (made[0].text, made[0].model, made[0].pts, made[0].metadata) == ("One more. ", "m", 7, {"who": "bot"})
    assert made[1] is third
    assert (first.text, second.text) == ("One", " more. ")


async def test_an_interrupt_drops_what_waits_and_keeps_what_survives_it(autojump_clock):
    aggregator = SentenceAggregator()
    async with live([aggregator]) as now:
        await now.say("This is ")
        await now.task.queue_frame(text("kept ", kept=True))
        await now.say("stale ")
        await settle()
        now.task.interrupt()
        await now.say("and new. ", "X")
        await settle()
    assert now.texts == ["kept and new. ", "X"]
    assert [frame.interruptible for frame in now.down if isinstance(frame, TextFrame)] == [False, True]


async def test_a_sentence_survives_when_one_of_its_pieces_does(autojump_clock):
    pieces = [with_deadline(text("One "), 60), text("kept ", kept=True), text("more. "), text("X")]
    made = await run_now_with([SentenceAggregator()], pieces)
    assert texts(made) == ["One kept more. ", "X"]
    assert [bool(frame.interruptible) for frame in made] == [False, True]
    assert deadline_of(made[0]) == deadline_of(pieces[0])
    assert has_deadline(made[0])


async def test_an_interrupt_while_a_sentence_waits_for_room_says_nothing_stale_later(autojump_clock):
    async with live([SentenceAggregator(), Sees(10)], queue_size=1) as now:
        await now.say("One. Two. Three. Four. Fi")
        await trio.sleep(5)
        now.task.interrupt()
        await now.say("New. ", "X")
    assert now.texts == ["New. ", "X"]


async def test_upstream_frames_and_other_directions_pass(autojump_clock):
    async with live([SentenceAggregator()]) as now:
        await now.task.queue_frame(text("a"), UP)
        await settle()
        assert texts(now.up) == ["a"]


async def test_which_frames_are_aggregated_can_be_said(autojump_clock):
    frames = [Heard("One", 0.5), text("by"), Heard(" more. ", 0.9), Heard("X")]
    made = await run_now_with([SentenceAggregator(types=Heard)], frames)
    assert [(type(frame), frame.text) for frame in made] == [(TextFrame, "by"), (Heard, "One more. "), (Heard, "X")]
    assert made[1].confidence == 0.5


async def test_a_text_without_an_end_goes_on_at_the_limit_between_two_words(autojump_clock):
    for pieces in (["one two three four five six"], "one two three four five six"):
        assert await out_of([SentenceAggregator(limit=10)], pieces) == ["one two ", "three ", "four five ", "six"]


async def test_a_word_longer_than_the_limit_is_cut(autojump_clock):
    assert await out_of([SentenceAggregator(limit=4)], ["abcdefghij k"]) == ["abcd", "efgh", "ij ", "k"]


async def test_the_end_of_a_sentence_may_be_found_by_a_function_of_ones_own(autojump_clock):
    def semicolon(content: str) -> int:
        return content.find(";") + 1

    assert await out_of([SentenceAggregator(end=semicolon)], ["a; b", "; c"]) == ["a;", " b;", " c"]


@pytest.mark.parametrize("wrong", [7, -1, None, "2", True, 1.0])
async def test_an_end_that_is_none_is_named(autojump_clock, wrong):
    expected = rf"the end of 'sentences' returned {wrong!r} for 'abc', expected a number of characters, 0 to 3"
    with pytest.RaisesGroup(pytest.RaisesExc(TypeError, match=expected)):
        await out_of([SentenceAggregator(end=lambda content: wrong, name="sentences")], ["abc"])


async def test_a_second_run_begins_with_nothing(autojump_clock):
    aggregator = SentenceAggregator()
    pipeline = Pipeline([aggregator, last := Sees()])
    async with pipeline:
        async with trio.open_nursery() as nursery:
            task = PipelineTask(pipeline)
            await nursery.start(task.run)
            await task.queue_frame(text("left over"))
            await settle()
            task.cancel()
        task = PipelineTask(pipeline)
        await task.queue_frame(text("new"))
        task.stop_when_done()
        await task.run()
    assert last.texts() == ["new"]


# -- SkipTagsAggregator


TAGS = [("<spell>", "</spell>"), ("[[", "]]")]


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
async def test_a_text_between_tags_is_never_torn_apart(autojump_clock, size):
    content = "Write to <spell>a.b. C. D@x.org. </spell> now. [[No. Yes!]] Then <b>go. Home</b>."
    pieces = cut(content, [size])
    assert await out_of([SkipTagsAggregator(TAGS)], pieces) == [
        "Write to <spell>a.b. C. D@x.org. </spell> now. ",
        "[[No. Yes!]] Then <b>go. ",
        "Home</b>.",
    ]


async def test_a_sentence_before_an_open_tag_goes_on(autojump_clock):
    aggregator = SkipTagsAggregator(TAGS)
    async with live([aggregator]) as now:
        await now.say("Hello. ")
        await settle()
        assert now.texts == []
        await now.say("<sp")
        await settle()
        assert now.texts == []  # it may become a tag
        await now.say("ell>A. B")
        await settle()
        assert now.texts == ["Hello. "]
        assert aggregator.waiting == "<spell>A. B"
    assert now.texts == ["Hello. ", "<spell>A. B"]


async def test_a_tag_that_is_never_closed_is_bounded(autojump_clock):
    assert await out_of([SkipTagsAggregator(TAGS, limit=12)], ["<spell>a. b. c. D. e. f"]) == [
        "<spell>a. ",
        "b. c. ",
        "D. e. f",
    ]


# -- PatternPairAggregator


def pairs(*patterns: PatternPair, **settings) -> PatternPairAggregator:
    return PatternPairAggregator(patterns or [PatternPair("voice", "<v>", "</v>")], **settings)


SCRIPT = "Hi <v>alto</v>there, 1 < 2 <<v>bass</v>you</v>. <w>x</w>"


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (PatternAction.REMOVE, "Hi there, 1 < 2 <you</v>. <w>x</w>"),
        (PatternAction.KEEP, SCRIPT),
        (PatternAction.AGGREGATE, "Hi altothere, 1 < 2 <bassyou</v>. <w>x</w>"),
    ],
)
async def test_what_is_marked_is_kept_removed_or_goes_on_by_itself(autojump_clock, action, expected, size):
    matches: list[PatternMatch] = []
    aggregator = pairs(PatternPair("voice", "<v>", "</v>", action, matches.append))
    pieces = cut(SCRIPT, [size])
    made = await run_now_with([aggregator], [text(piece) for piece in pieces])
    assert "".join(texts(made)) == expected
    assert matches == [PatternMatch("voice", "alto", "<v>alto</v>"), PatternMatch("voice", "bass", "<v>bass</v>")]
    units = [(frame.text, frame.kind) for frame in made if isinstance(frame, AggregatedTextFrame)]
    assert units == ([("alto", "voice"), ("bass", "voice")] if action is PatternAction.AGGREGATE else [])


async def test_text_outside_goes_on_at_once_and_only_what_may_be_a_beginning_waits(autojump_clock):
    aggregator = pairs()
    async with live([aggregator]) as now:
        for piece, expected, waiting in [
            ("Hello <", ["Hello "], "<"),
            ("b> <v", ["<b> "], "<v"),
            (">alto</v", [], "<v>alto</v"),
            ("> there", [" there"], ""),
            ("plain", ["plain"], ""),
        ]:
            before = len(now.texts)
            await now.say(piece)
            await settle()
            assert now.texts[before:] == expected
            assert aggregator.waiting == waiting


async def test_a_frame_that_has_nothing_marked_goes_on_itself(autojump_clock):
    frame = Token("plain", model="m")
    assert await run_now_with([pairs()], [frame]) == [frame]


async def test_the_handler_is_called_before_anything_behind_it_goes_on(autojump_clock):
    log = []

    async def choose(match: PatternMatch) -> None:
        await trio.sleep(5)
        log.append(match.content)

    class Logs(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame):
                log.append(frame.text)
            await self.push_frame(frame, direction)

    await out_of([pairs(PatternPair("voice", "<v>", "</v>", on_match=choose)), Logs()], ["a<v>alto</v>b", "c"])
    assert log == ["a", "alto", "b", "c"]


async def test_a_unit_keeps_its_place_pts_metadata_and_whether_it_survives(autojump_clock):
    frame = text("a <v>alto</v> b", kept=True)
    frame.pts, frame.metadata["who"] = 7, "bot"
    made = await run_now_with([pairs(PatternPair("voice", "<v>", "</v>", PatternAction.AGGREGATE))], [frame])
    assert [type(each) for each in made] == [TextFrame, AggregatedTextFrame, TextFrame]
    assert [(each.pts, each.metadata, each.interruptible) for each in made] == 3 * [(7, {"who": "bot"}, False)]


async def test_a_sentence_aggregator_lets_a_unit_through_behind_what_came_before_it(autojump_clock):
    parts = [pairs(PatternPair("code", "`", "`", PatternAction.AGGREGATE)), SentenceAggregator()]
    made = await run_now_with(parts, said("Run `ls. A", "` now. Then ", "stop"))
    assert texts(made) == ["Run ", "ls. A", " now. ", "Then stop"]


async def test_several_patterns_and_the_longer_beginning_wins(autojump_clock):
    one = PatternPair("one", "<", ">", PatternAction.AGGREGATE)
    two = PatternPair("two", "<<", ">>", PatternAction.AGGREGATE)
    for pieces in (["a<b>c<<d>>e"], "a<b>c<<d>>e"):
        made = await run_now_with([pairs(one, two)], [text(piece) for piece in pieces])
        assert [(f.text, f.kind) for f in made if isinstance(f, AggregatedTextFrame)] == [("b", "one"), ("d", "two")]


async def test_what_is_not_closed_is_text(autojump_clock):
    assert "".join(await out_of([pairs()], ["a <v>never", " closed"])) == "a <v>never closed"
    task = task_of(pairs(flush_on=AnswerEnds), last := Sees())
    await task.queue_frames([text("a <v>b"), AnswerEnds(), text("</v>c")])
    task.stop_when_done()
    await task.run()
    assert last.kinds()[1:-1] == ["a ", "<v>b", "AnswerEnds", "</v>c"]


@pytest.mark.parametrize("size", [1, 4, 1000])
async def test_what_is_longer_than_the_limit_is_text(autojump_clock, size):
    content = "a<v>1234567</v>b<v>1</v>c"
    pieces = cut(content, [size])
    assert "".join(await out_of([pairs(limit=10)], pieces)) == "a<v>1234567</v>bc"


async def test_an_interrupt_drops_what_may_become_a_match(autojump_clock):
    matches = []
    async with live([pairs(PatternPair("voice", "<v>", "</v>", on_match=matches.append))]) as now:
        await now.say("a<v>stale")
        await settle()
        now.task.interrupt()
        await now.say("</v>b<v>new</v>")
    assert "".join(now.texts) == "a</v>b"
    assert [match.content for match in matches] == ["new"]


async def test_an_interrupt_during_a_handler_leaves_what_survives(autojump_clock):
    async def slow(match):
        await trio.sleep(10)

    aggregator = pairs(PatternPair("voice", "<v>", "</v>", PatternAction.KEEP, slow))
    async with live([aggregator]) as now:
        await now.task.queue_frame(text("<v>", kept=True))
        await now.say("stale</v>")
        await trio.sleep(5)
        now.task.interrupt()
        await now.say("new</v>.")
    assert "".join(now.texts) == "<v>new</v>."


async def test_an_interrupt_that_takes_the_beginning_away_leaves_no_match(autojump_clock):
    async def slow(match):
        await trio.sleep(10)

    aggregator = pairs(PatternPair("voice", "<v>", "</v>", PatternAction.REMOVE, slow))
    async with live([aggregator]) as now:
        await now.say("<v>")
        await now.task.queue_frame(text("kept</v>", kept=True))
        await trio.sleep(5)
        now.task.interrupt()
        await now.say("!")
    assert "".join(now.texts) == "kept</v>!"


async def test_what_a_handler_raises_is_the_aggregators_error(autojump_clock):
    def breaks(match):
        raise ValueError("odd")

    aggregator = pairs(PatternPair("voice", "<v>", "</v>", on_match=breaks), name="voices")
    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="odd")) as caught:
        await out_of([aggregator], ["<v>x</v>"])
    assert "'voices'" in notes_of(caught.value.exceptions[0])


# -- bad input


async def waits(text: str) -> int:
    return 0


def makes(match):
    yield match


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (TextTransformer, r"TextTransformer\(\) has no functions"),
        (lambda: TextTransformer("upper"), r"TextTransformer\(functions='upper'\): expected a function"),
        (
            lambda: TextTransformer(str.upper, types=Number),
            r"TextTransformer\(types=<class .*Number'>\): expected .* text",
        ),
        (lambda: TextTransformer(str.upper, types=()), r"TextTransformer\(types=\(\)\): expected a frame class"),
        (lambda: TextTransformer(str.upper, direction=1), r"TextTransformer\(direction=1\): expected a Direction"),
        (lambda: SentenceAggregator(end="."), r"SentenceAggregator\(end='.'\): expected a function"),
        (lambda: SentenceAggregator(end=waits), r"SentenceAggregator\(end=<function waits.*: expected a function"),
        (lambda: SkipTagsAggregator([("<", ">")], end=lambda: 0), r"SkipTagsAggregator\(end=.*it takes \(\)"),
        (lambda: TextTransformer(str.upper, lambda: ""), r"TextTransformer\(functions=.*it takes \(\)"),
        (lambda: PatternPair("a", "<", ">", on_match=makes), r"PatternPair\(on_match=.*this is a generator"),
        (lambda: SentenceAggregator(types=str), r"SentenceAggregator\(types=<class 'str'>\)"),
        (
            lambda: SentenceAggregator(flush_on=str),
            r"SentenceAggregator\(flush_on=<class 'str'>\): expected a frame class",
        ),
        (lambda: SentenceAggregator(limit=0), r"SentenceAggregator\(limit=0\): expected a whole number of characters"),
        (lambda: SkipTagsAggregator("<a>"), r"SkipTagsAggregator\(tags='<a>'\): expected pairs of strings"),
        (lambda: SkipTagsAggregator([("<a>", "")]), r"SkipTagsAggregator\(tags=\(\('<a>', ''\),\)\): expected pairs"),
        (lambda: SkipTagsAggregator([]), r"SkipTagsAggregator\(tags=\(\)\): expected pairs"),
        (lambda: SkipTagsAggregator([("a", "b"), ("a", "c")]), r"each with a beginning of its own"),
        (lambda: PatternPair("", "<", ">"), r"PatternPair\(kind=''\): expected a non-empty string"),
        (lambda: PatternPair("a", "", ">"), r"PatternPair\(start=''\)"),
        (lambda: PatternPair("a", "<", None), r"PatternPair\(end=None\)"),
        (
            lambda: PatternPair("a", "<", ">", "keep"),
            r"PatternPair\(action='keep'\): expected a member of PatternAction",
        ),
        (lambda: PatternPair("a", "<", ">", on_match=1), r"PatternPair\(on_match=1\): expected a function"),
        (lambda: PatternPairAggregator([("<", ">")]), r"PatternPairAggregator\(patterns=\[\('<', '>'\)\]\): expected"),
        (lambda: PatternPairAggregator([]), r"PatternPairAggregator\(patterns=\[\]\): expected patterns"),
        (lambda: PatternPairAggregator(5), r"PatternPairAggregator\(patterns=5\): expected patterns"),
    ],
)
def test_bad_input_is_named(make, expected):
    with pytest.raises(ConfigurationError, match=expected):
        make()


# -- the rules of processors


PIECES = tuple(TextFrame(piece) for piece in ("One. T", "wo <v>x</", "v> more. Three. ", "Four", " and more"))
MADE = {
    "transformer": lambda: TextTransformer(str.upper),
    "async transformer": lambda: TextTransformer(upper_slowly),
    "sentences": SentenceAggregator,
    "skip tags": lambda: SkipTagsAggregator([("<v>", "</v>")]),
    "patterns": lambda: pairs(PatternPair("v", "<v>", "</v>", PatternAction.AGGREGATE)),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
async def test_k2_they_keep_the_rules(pipes_clock, make):
    await check_processor(make, PIECES, drops=TextFrame, makes=TextFrame, points=25)


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
async def test_an_end_at_any_step_loses_no_text(pipes_clock, make):
    async def scenario(attempt):
        task = task_of(make(), last := Sees(), queue_size=1)
        attempt.arm(task.stop_when_done)
        accepted = ""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            try:
                for n in range(4):
                    await task.queue_frame(text(f"Sentence {n}. Mo"))
                    accepted += f"Sentence {n}. Mo"
                task.stop_when_done()
            except trio.ClosedResourceError:
                pass
        assert "".join(last.texts()).upper() == accepted.upper()

    assert await cancel_at_every_checkpoint(scenario) > 3


# -- properties


PARTS = st.sampled_from(
    ["Hi", ". ", ".", "3.14", " ", "\n", "<v>", "</v>", "<", "v>", "Dr. X", "!", "?", '"', "。", "e.g. "]
)
CONTENTS = st.lists(PARTS, max_size=25).map("".join)


def run_now(fn):
    return trio.run(fn, clock=trio.testing.MockClock(autojump_threshold=0))


@settings(max_examples=200, deadline=None)
@given(CONTENTS, st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(3, 40), st.booleans())
def test_any_way_of_cutting_gives_the_same_sentences_and_loses_nothing(content, sizes, limit, tags):
    def make():
        return SkipTagsAggregator([("<v>", "</v>")], limit=limit) if tags else SentenceAggregator(limit=limit)

    async def main():
        return await out_of([make()], [content]), await out_of([make()], cut(content, sizes))

    whole, pieces = run_now(main)
    assert whole == pieces
    said = "".join(whole)
    assert content.startswith(said)
    assert content[len(said) :].strip() == ""


STARTS = st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=4, unique=True)


def found_in(starts: list[str], pieces: list[str], limit: int) -> tuple[str, list[str]]:
    """What is outside, and the pairs."""
    known = Pairs("pairs", [(start, "c") for start in starts])
    text, outside, inside = "", "", []
    for piece in pieces:
        text += piece
        while text and (found := known.find(text, limit)) and (found.outside or found.length):
            outside += text[: found.outside]
            if found.length:
                inside.append(text[found.outside :][: found.length])
            text = text[found.outside + found.length :]
    return outside + text, inside


@settings(max_examples=2000, deadline=None)
@given(STARTS, st.data(), st.integers(4, 9))
def test_beginnings_that_overlap_are_found_the_same_however_the_text_is_cut(starts, data, limit):
    content = "".join(data.draw(st.lists(st.sampled_from([*starts, "c", "ca"]), min_size=2, max_size=8)))
    assert found_in(starts, [content], limit) == found_in(starts, list(content), limit)


@settings(max_examples=200, deadline=None)
@given(
    CONTENTS, st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(6, 30), st.sampled_from(PatternAction)
)
def test_any_way_of_cutting_gives_the_same_matches_and_text(content, sizes, limit, action):
    async def run(pieces):
        matches = []
        made = await out_of([pairs(PatternPair("v", "<v>", "</v>", action, matches.append), limit=limit)], pieces)
        return "".join(made), matches

    async def main():
        return await run([content]), await run(cut(content, sizes))

    whole, pieces = run_now(main)
    assert whole == pieces
    if action is PatternAction.KEEP:
        assert whole[0] == content or not content.strip()
    for match in whole[1]:
        assert match.text.startswith("<v>")
        assert match.text.endswith("</v>")
        assert len(match.text) <= limit
