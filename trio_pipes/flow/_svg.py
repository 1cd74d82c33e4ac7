"""A picture as SVG, laid out by Graphviz.

# Which Graphviz, and why in a process of its own.
#
# The package pygraphviz brings the library in its wheels, so `pip` alone installs it; no program has to be there. It lays out
# inside a call to C that lets nothing else in this process run, and it writes what it thinks of the machine's fonts to
# standard error. So a child process does it, which costs a tenth of a second, and cannot stall a loop, crash us or talk.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import trio

from trio_pipes._base import find_extra, outside

from ._picture import Box, Group, Picture

__all__ = ["draw_svg"]

SCRIPT: Final = Path(__file__).with_name("_svg_child.py")

HEAD: Final = """digraph {
    graph [rankdir=%s, fontname="Helvetica", fontsize=11, fontcolor="#57606a", color="#afb8c1", bgcolor="white",
           style="rounded", labeljust=l, ranksep=0.35, nodesep=0.3]
    node [shape=box, fontname="Helvetica", fontsize=12, color="#57606a", fillcolor="#f6f8fa", style="filled", margin="0.16,0.08"]
    edge [fontname="Helvetica", fontsize=10, fontcolor="#57606a", color="#57606a", arrowsize=0.7]
"""

# What makes a kind of box look like it, and how it is filled.
LOOKS: Final = {
    "class": ("", "filled"),
    "function": ('fillcolor="#ddf4ff", ', "filled,rounded"),
    "block": ('fillcolor="#fff8c5", peripheries=2, ', "filled"),
    "route": ('shape=diamond, margin="0.02", fontsize=11, ', "filled"),
    "point": ('shape=circle, margin="0.02", width=0.3, height=0.3, fontsize=10, ', "filled"),
}


async def draw_svg(picture: Picture, direction: str) -> str:
    """Have it laid out.

    Raises `MissingExtra` without `trio-pipes[pictures]`, and `RuntimeError` where Graphviz fails.
    """
    find_extra("pygraphviz", "pictures", "drawing a pipeline as SVG")
    with outside():
        done = await trio.run_process(
            [sys.executable, "-P", os.fspath(SCRIPT)],
            stdin=_dot(picture, direction).encode(),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise RuntimeError(f"Graphviz could not draw the pipeline (exit code {done.returncode}). It said:\n{said}")
    return _cleaned(done.stdout.decode())


def _dot(picture: Picture, direction: str) -> str:
    lines = [HEAD % direction, *_parts(picture.top, is_top=True)]
    for arrow in picture.arrows:
        style = ", style=dashed, constraint=false" if arrow.aside else ""
        label = f" {arrow.label} " if arrow.label else ""  # so that it does not touch the arrow
        lines.append(f"{arrow.start} -> {arrow.end} [label={_quoted(label)}{style}]")
    return "\n".join([*lines, "}"])


def _parts(group: Group, *, is_top: bool) -> Iterator[str]:
    framed = not is_top or group.kind != "pipeline"
    if framed:
        style = "rounded,dashed" if group.kind == "slot" else "rounded"
        yield f'subgraph cluster_{group.key} {{ label={_quoted(group.name)}; style="{style}"'
    for part in group.parts:
        if isinstance(part, Group):
            yield from _parts(part, is_top=False)
        else:
            yield _box(part)
    if framed:
        yield "}"


def _box(box: Box) -> str:
    look, style = LOOKS[box.kind]
    dashed = ",dashed" if box.inline else ""
    text = f"{box.name}\n{box.about}" if box.about else box.name
    return f'{box.key} [label={_quoted(text)}, {look}style="{style}{dashed}"]'


def _quoted(text: str) -> str:
    """A string of the DOT language, which reads backslashes and HTML entities in labels."""
    for sign, escaped in (("&", "&amp;"), ("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n")):
        text = text.replace(sign, escaped)
    return f'"{text}"'


def _cleaned(svg: str) -> str:
    """What a page can take in as it is: without a prologue, comments, and titles that show our keys."""
    svg = re.sub(r"<!--.*?-->\s*", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    return re.sub(r"<title>[^<]*</title>\s*", "", svg)
