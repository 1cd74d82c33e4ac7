"""`strip_markdown`: what is there for the eye is taken away, the words stay."""

import pytest
from hypothesis import given, settings, strategies as st

from flow_kit import said, texts
from trio_pipes import (
    PatternPair,
    PatternPairAggregator,
    SentenceAggregator,
    TextTransformer,
    sentence_end,
    strip_markdown,
)
from trio_pipes.testing import run_pipeline

DOCUMENT = r"""# Making tea ##

**Boil the water. Then *wait* a minute.** It should be at 95 °C, i.e. not boiling: 5 * 3 = 15, snake_case and 2**3 stay.

Heading
=======

- a `teapot`, or [a mug](https://example.com/mug_(large)?a=1_b_2 "big")
- [x] *fresh* leaves. At least **two spoons.**
  1. green
  2. black

> Never hurry. _Never
>> ever._

| leaf | minutes |
|------|--------:|
| green \| dark | **2** |

* * *

See <https://example.com/a_b>, mail <mailto:a@b.c> &amp; ask ~~nobody~~ ![the *cook*](c.png). A <break time="1s"/> \*stays\*.

```python
print("tea")
```
Done.
"""

SPOKEN = r"""Making tea

Boil the water. Then wait a minute. It should be at 95 °C, i.e. not boiling: 5 * 3 = 15, snake_case and 2**3 stay.

Heading

a teapot, or a mug
fresh leaves. At least two spoons.
  1. green
  2. black

Never hurry. Never
ever.

leaf, minutes
green | dark, 2


See https://example.com/a_b, mail a@b.c & ask nobody the cook. A <break time="1s"/> *stays*.

print("tea")
Done.
"""


def test_a_document_is_read_as_somebody_would_read_it_aloud():
    assert strip_markdown(DOCUMENT) == SPOKEN


async def test_its_sentences_by_themselves_give_the_same(autojump_clock):
    pieces = [DOCUMENT[i : i + 3] for i in range(0, len(DOCUMENT), 3)]
    received = await run_pipeline([SentenceAggregator(), TextTransformer(strip_markdown)], said(*pieces))
    assert "".join(texts(received.down)) == SPOKEN


@pytest.mark.parametrize(
    ("marked", "spoken"),
    [
        ("**Wait. ", "Wait. "),  # the beginning of an emphasis, and its end in another piece
        ("Then go.**", "Then go."),
        ("***all*** __of__ _it_ ~~not~~", "all of it not"),
        ("你好**世界**再见", "你好世界再见"),
        ("foo_bar_ a_b_c 2*3*4 x**2", "foo_bar a_b_c 2*3*4 x**2"),
        ("a * b ** c _ d ` e", "a * b ** c _ d ` e"),
        ("use `a*b` and ``c ` d``", "use a*b and c ` d"),
        ("### Title", "Title"),
        ("C# and #1 are no headings", "C# and #1 are no headings"),
        ("> > quoted", "quoted"),
        ("+ plus\n• dot\n- [ ] to do", "plus\ndot\nto do"),
        ("-5 degrees, 3 - 2", "-5 degrees, 3 - 2"),
        ("1. first\n2) second", "1. first\n2) second"),
        ("[a](b) ![c](d) [e] (f) [g](h i)", "a c [e] (f) [g](h i)"),
        ("[**bold** link](https://x.org)", "bold link"),
        ("https://x.org/a_b_c?d=*&e=1", "https://x.org/a_b_c?d=*&e=1"),
        ("**https://x.org/a_b/**, (https://x.org)", "https://x.org/a_b/, (https://x.org)"),
        ("https://x.org/?a=1&copy=2", "https://x.org/?a=1&copy=2"),
        ("&lt;tag&gt; &#8364;5 &unknown;", "<tag> €5 &unknown;"),
        (r"\# not a heading \[x\](y) \\", r"# not a heading [x](y) \\".replace(r"\\", "\\")),
        ("a\n---\nb\n***\nc\n- - -\n", "a\nb\nc\n"),
        ("|a|b|\n|:-:|---|\n|1||\n", "a, b\n1\n"),
        ("a | b", "a | b"),
        ("~~~\ncode\n~~~", "code\n"),
        ("  two  blanks \n", "  two  blanks \n"),
        ("<voice>alto</voice>", "<voice>alto</voice>"),
        ("", ""),
        (" ", " "),
    ],
)
def test_marks_go_and_words_stay(marked, spoken):
    assert strip_markdown(marked) == spoken


def test_code_and_tables_may_be_left_out():
    assert strip_markdown("run `rm -rf *` now", code=False) == "run  now"
    assert strip_markdown("a\n| b | c |\n|---|---|\n| d | e |\nf", tables=False) == "a\nf"


async def test_a_block_of_code_is_left_out_by_a_pattern_before_it(autojump_clock):
    parts = [
        PatternPairAggregator([PatternPair("code", "```", "```")]),
        SentenceAggregator(),
        TextTransformer(strip_markdown, str.strip),
    ]
    received = await run_pipeline(parts, said("Do *this*:\n``", "`python\nprint(1)\n`", "``\nThen ", "that."))
    assert texts(received.down) == ["Do this:", "Then that."]


PLAIN = st.text(st.characters(exclude_characters="\\*_~`[]<>&#|-+•=!>", exclude_categories=["Cs"]))


@settings(max_examples=500, deadline=None)
@given(PLAIN)
def test_text_without_marks_is_not_touched(text):
    assert strip_markdown(text) == text


SIGNS = st.lists(st.sampled_from([*"*_~`[]()<>&#|-+\\ab1. \n!", "**", "```", "&amp;", "](x)", "你"]), max_size=30)


@settings(max_examples=1000, deadline=None)
@given(SIGNS.map("".join), st.booleans(), st.booleans())
def test_whatever_the_marks_are_no_word_is_lost_and_none_is_added(text, code, tables):
    spoken = strip_markdown(text, code=code, tables=tables)
    words = [c for c in spoken if c.isalnum()]
    all_words = iter(text)
    assert all(word in all_words for word in words)  # in their order
    if code and tables and not set(text) & set("[&`~"):  # links have addresses, code has a language
        assert words == [c for c in text if c.isalnum()]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(["**Bold** word. ", "_So_ it is. ", "\n- an item\n", "`code` too! ", "\n# Head\n", "Plain. "])
    )
)
def test_sentences_one_by_one_are_as_the_whole(sentences):
    text, rest, spoken = "".join(sentences), "".join(sentences), ""
    while end := sentence_end(rest):
        spoken += strip_markdown(rest[:end])
        rest = rest[end:]
    assert spoken + strip_markdown(rest) == strip_markdown(text)
