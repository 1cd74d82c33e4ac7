"""Where a sentence ends, in text of which more may follow.

# What "certain" means.
#
# A stream of text is cut anywhere: "3." may be the end of a sentence, or the first half of 3.14. So an end is given only
# when nothing that follows can change it, and depends on nothing but the text: the same text in other pieces has the same
# sentences. It takes one look ahead: at the first character after the full stop, its closing quotes and the blanks.
# What is in doubt is no end. Two sentences that stay together are said a little later; one that is torn apart sounds wrong.
#
# Libraries that split finished text are better at that (they know the abbreviations of many languages, and look at the whole
# paragraph), and cannot do this: what they say of a text they may take back when it goes on.
"""

# ruff: noqa: RUF001  (the punctuation of many scripts is what this is about)

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from typing import Final

__all__ = ["ABBREVIATIONS", "sentence_end"]

# After these a full stop is no end. In lower case, without it.
ABBREVIATIONS: Final = frozenset(
    """
    mr mrs ms mx messrs mme mmes mlle dr drs prof rev hon fr gen col maj capt cmdr lt sgt sen rep gov pres supt st mt ft
    sr sra srta vs cf viz al approx ca dept est inc ltd corp co bros bzw ggf evtl vgl
    """.split()  # noqa: SIM905  (easier to read, and to add to)
)

# After these it is none when a number follows.
BEFORE_NUMBERS: Final = frozenset(
    "no nos nr fig figs vol vols p pp ch sec art eq ver jan feb mar apr jun jul aug sep sept oct nov dec".split()  # noqa: SIM905
)

FULL_STOPS: Final = ".!?…‼⁇⁈⁉"  # an end when the text goes on as a sentence begins
ENDS: Final = "。！？｡．।॥؟۔։።፧។៕᠃"  # an end wherever they stand
CLOSING: Final = "\"'”’»›)]}」』）】〉》〕*_~`"  # belong to the sentence before them
OPENING: Final = "\"'“‘«‹([{「『（【〈《〔*_~`¿¡-–—"

CANDIDATE: Final = re.compile(rf"[{FULL_STOPS}{ENDS}]+[{re.escape(CLOSING)}]*|\n")
BLANKS: Final = re.compile(r"\s*")
NEWLINE: Final = re.compile(r"\n")
BLANK_LINE: Final = re.compile(r"\n[^\S\n]*\n")
DOTTED: Final = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")  # "U.S", "e.g"; not the full stop behind it


def sentence_end(text: str, *, newlines: bool = True, abbreviations: Collection[str] = ABBREVIATIONS) -> int:
    """How many characters at the beginning of `text` are a sentence, whatever may follow; 0: that is not certain yet.

    Blanks behind the sentence are part of it. With `newlines` each line is a sentence of its own, as in a list;
    otherwise only a blank line ends one. `abbreviations` are in lower case, without their full stop.
    """
    for candidate in CANDIDATE.finditer(text):
        behind = candidate.end()
        if candidate[0] == "\n":
            if not text[: candidate.start()].strip():
                continue  # blank lines before a sentence are part of it
            behind = candidate.start()
        match = BLANKS.match(text, behind)
        assert match is not None
        blanks, after = match[0], match.end()
        line = NEWLINE.search(blanks) if newlines else BLANK_LINE.search(blanks)
        if line is not None:
            return behind + line.end()
        if after == len(text):
            return 0
        if candidate[0] != "\n" and _is_end(text, candidate, bool(blanks), text[after], abbreviations):
            return after
    return 0


def _is_end(text: str, candidate: re.Match[str], blanks: bool, after: str, abbreviations: Collection[str]) -> bool:
    """Whether a full stop is an end, as what comes `after` it says."""
    stop = candidate[0].rstrip(CLOSING)
    if not stop.strip(FULL_STOPS):
        if not blanks:
            # Within a number, an address or a name; but some scripts have no blanks between sentences.
            is_wide = unicodedata.category(after)[0] == "L" and unicodedata.east_asian_width(after) in "WF"
            return is_wide and stop.strip(".…") != ""
        if after.islower():
            return False
        if stop == ".":
            return not _is_abbreviated(text[: candidate.start()], after, abbreviations)
    return True


def _is_abbreviated(before: str, after: str, abbreviations: Collection[str]) -> bool:
    words = before.rsplit(None, 1)
    if not words:
        return False
    word = words[-1].lstrip(OPENING)
    known = word.lower()
    if known in abbreviations or (known in BEFORE_NUMBERS and after.isdigit()):
        return True
    if len(words) == 1 and (known.isdigit() or len(known) == 1):
        return True  # the number of an item in a list
    if len(word) == 1:
        return word.isupper() and word != "I"  # an initial
    return DOTTED.fullmatch(word) is not None and known not in ("a.m", "p.m")
