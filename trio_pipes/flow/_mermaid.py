"""A picture as Mermaid's text, which many pages and editors show as a diagram."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from ._picture import Arrow, Box, Group, Picture

__all__ = ["mermaid"]

# What stands round the text of a box, by kind.
SHAPES: Final = {
    "class": ("[", "]"),
    "function": ("([", "])"),
    "block": ("[[", "]]"),
    "route": ("{", "}"),
    "point": ("((", "))"),
}

# Mermaid takes labels for Markdown and HTML, in part, and each version another part. So everything but these is written
# as the number of the character, and so is `#` where it could be read as the beginning of one.
UNSAFE: Final = re.compile(r"[^\w ,#()|+/.…-]|#(?=\w+;)|(?<![^\W_])_|_(?![^\W_])|^[-+#]|(?<=\d)[.)](?= )|^ | $")

# Line ends (`\n` in two letters), formulas (`$$`) and icons (`fa:fa-x`) it looks for afterwards: something invisible parts them.
PARTED: Final = "\\$:"


def mermaid(picture: Picture, direction: str) -> str:
    """The text of a flowchart."""
    lines = [f"flowchart {direction}", *_parts(picture.top, "    ", is_top=True)]
    lines += [f"    {_arrow(arrow)}" for arrow in picture.arrows]
    inline = [box.key for box in picture.top.boxes() if box.inline]
    if inline:
        lines += ["    classDef inline stroke-dasharray: 4 3", f"    class {','.join(inline)} inline"]
    return "\n".join(lines) + "\n"


def _parts(group: Group, indent: str, *, is_top: bool) -> Iterator[str]:
    framed = not is_top or group.kind != "pipeline"
    inner = indent + "    " if framed else indent
    if framed:
        yield f'{indent}subgraph {group.key}["{_text(group.name)}"]'
    for part in group.parts:
        if isinstance(part, Group):
            yield from _parts(part, inner, is_top=False)
        else:
            yield inner + _box(part)
    if framed:
        yield f"{indent}end"
        if group.kind == "slot":
            yield f"{indent}style {group.key} stroke-dasharray: 8 4"


def _box(box: Box) -> str:
    before, after = SHAPES[box.kind]
    about = f"<br/>{_text(box.about)}" if box.about else ""
    return f'{box.key}{before}"{_text(box.name) or " "}{about}"{after}'


def _arrow(arrow: Arrow) -> str:
    line = "-.->" if arrow.aside else "-->"
    label = f'|"{_text(arrow.label)}"|' if arrow.label else ""
    return f"{arrow.start} {line}{label} {arrow.end}"


def _text(text: str) -> str:
    return UNSAFE.sub(lambda hit: f"#{ord(hit[0])};{'#8288;' if hit[0] in PARTED else ''}", text)
