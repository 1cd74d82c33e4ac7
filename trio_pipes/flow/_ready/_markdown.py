r"""Markdown as text to be spoken: what is there for the eye is taken away, the words stay as they are.

# Why not a parser of Markdown.
#
# A parser reads a document, and what it makes is another one: blanks, line breaks and what it takes for markup change. Here
# come sentences, cut out of one: `**Wait. ` and `Then go.**` are no emphasis to a parser, and stay as they are. So marks
# are taken out of the text where they stand, by what is beside them, whether their counterpart is there or not; and text
# without marks is not touched.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Final

__all__ = ["strip_markdown"]

# Lines that are marks and nothing else: fences of code, rulers, underlined headings, the line below a table's head.
MARKS_ONLY: Final = re.compile(
    r"""\s*(?: (?:```+|~~~+)[^`]* | ([-*_])(?:[ ]*\1){2,} | =={1,} | --{1,}
          | \|?[ ]*:?-+:?[ ]*(?:\|[ ]*:?-+:?[ ]*)+\|? | \|[ ]*:?-+:?[ ]*\| )\s*""",
    re.VERBOSE,
)
TABLE_ROW: Final = re.compile(r"\s*\|(.*)\|(\s*)")
LINE_START: Final = re.compile(r"\s{0,3}(?:>[ ]?)+|\s{0,3}\#{1,6}[ ]+|\s*[-*+•][ ]+(?:\[[ xX]\][ ]+)?")
CLOSING_HASHES: Final = re.compile(r"[ ]+#+(?=\s*$)")

INLINE: Final = re.compile(
    r"""\\(?P<escaped>[!-/:-@\[-`{-~])
      | (?P<ticks>`+)(?P<code>.+?)(?P=ticks)(?!`)
      | !?\[(?P<text>[^\]\[\n]*)\]\([^()\s]*(?:\([^()\s]*\)[^()\s]*)*(?:[ ]+"[^"\n]*")?\)
      | <(?P<address>(?:https?://|mailto:)[^\s<>]+)>
      | (?P<plain>https?://[^\s<>`]*[^\s<>`*_~.,;:!?)\]"'])
      | (?P<entity>&(?:\#\d+|\#x[0-9a-fA-F]+|[a-zA-Z]+\d*);)
      | (?P<stars>\*+|~~+|`+)
      | (?P<lines>_+)""",
    re.VERBOSE,
)


def strip_markdown(text: str, *, code: bool = True, tables: bool = True) -> str:
    """Take the marks of Markdown out of a text that is to be spoken.

    Emphasis, headings, quotes, bullets, rulers and fences lose their marks; of links, images and code the words stay, of a
    table the cells, with commas between them. `code=False` leaves out what is between backticks, `tables=False` the rows of
    tables. Numbers of lists, tags in angle brackets and blanks are not touched.

    It knows nothing but the text it is given: put it behind a `SentenceAggregator`, so that no mark is cut in two. What is to
    leave out whole blocks of code stands before it: a `PatternPairAggregator`, with three backticks at both ends.
    """
    return "".join(_lines(text, code=code, tables=tables))


def _lines(text: str, *, code: bool, tables: bool) -> Iterator[str]:
    for line in text.splitlines(keepends=True):
        if MARKS_ONLY.fullmatch(line):
            continue
        row = TABLE_ROW.fullmatch(line)
        if row is not None:
            if tables:
                cells = [_inline(cell.strip(), code=code) for cell in re.split(r"(?<!\\)\|", row[1])]
                yield ", ".join(cell for cell in cells if cell) + row[2]
            continue
        rest = line
        while (start := LINE_START.match(rest)) is not None:
            if "#" in start[0]:
                rest = CLOSING_HASHES.sub("", rest)
            rest = rest[start.end() :]
        yield _inline(rest, code=code)


def _inline(text: str, *, code: bool) -> str:
    def without(match: re.Match[str]) -> str:
        if match["escaped"] is not None:
            return match["escaped"]
        if match["code"] is not None:
            return match["code"].strip() if code else ""
        if match["text"] is not None:
            return _inline(match["text"], code=code)
        if match["address"] is not None:
            return match["address"].removeprefix("mailto:")
        if match["plain"] is not None:
            return match["plain"]
        if match["entity"] is not None:
            return html.unescape(match["entity"])
        before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
        return "" if _is_mark(match[0], before, after) else match[0]

    return INLINE.sub(without, text)


def _is_mark(signs: str, before: str, after: str) -> bool:
    """Whether signs belong to a word beside them, rather than being words themselves or a part of one."""
    if not (before.strip() or after.strip()):
        return False  # alone
    within = (before + after).isascii() and before.isalnum() and after.isalnum()  # `2*3`, `snake_case`; not in CJK
    return signs[0] == "`" or not within
