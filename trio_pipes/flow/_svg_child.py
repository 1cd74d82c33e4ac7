"""Run as a program: a graph in the DOT language on standard input, its SVG on standard output."""

from __future__ import annotations

import sys
from typing import Any


def main() -> None:
    """Lay it out."""
    import pygraphviz

    graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode())
    svg: Any = graph.draw(format="svg", prog="dot")
    sys.stdout.buffer.write(svg)


if __name__ == "__main__":
    main()
