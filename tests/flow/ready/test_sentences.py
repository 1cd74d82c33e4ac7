"""Where sentences end: in finished text, and in text of which more may follow."""

# ruff: noqa: RUF001

from functools import partial

import pytest
from hypothesis import given, settings, strategies as st

from trio_pipes import sentence_end


def sentences(text: str, **options) -> list[str]:
    """All that are certain, and the rest."""
    found = []
    while end := sentence_end(text, **options):
        found.append(text[:end])
        text = text[end:]
    return [*found, text]


@pytest.mark.parametrize(
    "marked",
    [
        "Hello world. |How are you? |I am fine! |And you",
        "One.",
        "One. ",
        "  Blanks before are part of it. |Next",
        "Really?! |Yes!!! |No?? |Oh",
        # numbers
        "Pi is 3.14 or so. |It is not 4. |It never was",
        "It costs $3.50. |Cheap",
        "Version 2.0.1 is out. |Get it",
        "That was in 1999. |Then came 2000",
        # abbreviations
        "Dr. Smith met Mrs. Jones vs. Mr. Brown. |They left",
        "The U.S. Army and e.g. the U.K. navy. |They came at 5 p.m. today. |At 9 a.m. |They left",
        "See Fig. 3 and No. 5 on pp. 7 to 9. |No. |That is wrong",
        "J. R. R. Tolkien wrote it. |It is I. |Who else",
        "Acme Inc. is at St. Louis. |Go there",
        "Bring apples, pears, etc. |Then we start",
        "Bring apples, pears, etc. if you can. |Then we start",
        # ellipsis
        "Well... |Maybe. |Wait... what? |I... don't know… |Yes",
        "To be … or not. |That is it",
        # quotes and brackets
        '"Go!" he said. |"Go." |She left. |(She did.) |Really',
        "He said: 'Stop.' |Then he stopped",
        "“Stop!” she cried. |“Why?” |He asked",
        "She asked (why?) and left. |The end",
        "(Dr. Smith did.) |So",
        "**Bold.** |_So so._ |`code.` |Done",
        # addresses
        "Mail a.b@c.de or see https://x.org/a.b?c=1&d=e!f. |Then call",
        "It runs on Node.js and .NET 8. |Fine",
        "Write to me@example.com. |Thanks",
        # lists
        "1. First this. |2. then that. |Done",
        "a. first\n|b. second\n|",
        # other scripts
        "你好。|我是机器人！|「好的。」|他说：是吗？|对",
        "你好吗?|我很好!|再见",
        "他说…我不知道。|好",
        "क्या हाल है? |मैं ठीक हूँ। |और तुम",
        "كيف حالك؟ |أنا بخير. |وأنت",
        "Բարև։ |Ինչպես ես",
        "¿Qué tal? |¡Bien! |¿Y tú",
        "Ça va ? |Oui ! |Bien",
        "Great! |😀 Next. |👍 Yes",
        # in doubt they stay together
        "Sales rose. eBay fell. |Next",
        "Take vitamin C. It helps. |Next",
    ],
)
def test_sentences_end_where_a_reader_would_say(marked):
    assert sentences(marked.replace("|", "")) == marked.split("|")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- milk\n- eggs\n\nThat is all.", ["- milk\n", "- eggs\n", "\nThat is all."]),
        ("Title\n\nText. More", ["Title\n", "\nText. ", "More"]),
        ("One. \n Two", ["One. \n", " Two"]),
        ("\n\n \nOne\n", ["\n\n \nOne\n", ""]),
    ],
)
def test_a_line_is_a_sentence_of_its_own(text, expected):
    assert sentences(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One\ntwo three.\nFour", ["One\ntwo three.\n", "Four"]),
        ("Title\n\nText", ["Title\n\n", "Text"]),
        ("One.\n \nTwo", ["One.\n \n", "Two"]),
        ("One\n", ["One\n"]),
        ("e.g.\nthis. Next", ["e.g.\nthis. ", "Next"]),
    ],
)
def test_without_newlines_only_a_blank_line_ends_one(text, expected):
    assert sentences(text, newlines=False) == expected


def test_what_is_not_certain_is_no_end_yet():
    for text in ("Hello.", "Hello. ", "Hello.  ", 'He said "no."', "3.", "Wait..", "你好。", "Hello", "", " ", "\n"):
        assert sentence_end(text) == 0
    assert sentence_end("Hello. W") == len("Hello. ")
    assert sentence_end("你好。我") == len("你好。")
    assert sentence_end("Hello.\n") == len("Hello.\n")


def test_abbreviations_may_be_ones_own():
    text = "Vgl. Abs. Zwei. Gut"
    assert sentences(text) == ["Vgl. Abs. ", "Zwei. ", "Gut"]
    assert sentences(text, abbreviations={"vgl", "abs"}) == ["Vgl. Abs. Zwei. ", "Gut"]


SIGNS = st.sampled_from([*"abIA.?!…3 \n\t\"')*(-", "。", "？", "」", "你", "😀", "Dr", "e.g", "no", "...", "...", ". "])
TEXTS = st.lists(SIGNS, max_size=40).map("".join) | st.text(max_size=40)


@settings(max_examples=1000, deadline=None)
@given(TEXTS, TEXTS, st.booleans())
def test_nothing_that_follows_takes_an_end_back_or_moves_it(text, more, newlines):
    end = sentence_end(text, newlines=newlines)
    assert 0 <= end <= len(text)
    if end:
        assert sentence_end(text + more, newlines=newlines) == end
        assert text[:end].strip()


@settings(max_examples=500, deadline=None)
@given(TEXTS, st.booleans())
def test_an_end_is_found_as_soon_as_it_is_certain(text, newlines):
    """The first prefix that has an end has all that is needed to see it: one character less, and it is open."""
    end = partial(sentence_end, newlines=newlines)
    first = next((n for n in range(len(text) + 1) if end(text[:n])), None)
    if first is not None:
        # It needs no more than the sentence and the first character behind it.
        assert first <= end(text) + 1
