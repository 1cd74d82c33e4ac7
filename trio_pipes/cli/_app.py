"""The commands and their help."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import App, Parameter

from ._graph import graph_target
from ._run import run_target

__all__ = ["run_app"]

TIMELINE: Final = "--timeline"  # the option of `run` that takes a value

app = App(
    name="trio-pipes",
    version=lambda: version("trio-pipes"),
    help="Pipelines of frames with structured concurrency, on Trio.",
    help_format="markdown",
    suppress_keyboard_interrupt=False,  # what a signal means for the exit code is decided in _run
    result_action="return_value",
)


@app.command
def run(
    target: Annotated[str, Parameter(name="FILE[:NAME]")],
    /,
    *args: Annotated[str, Parameter(allow_leading_hyphen=True)],
    timeline: Annotated[Path | None, Parameter(name=TIMELINE, show_default=False)] = None,
    quiet: Annotated[bool, Parameter(negative="", alias="-q", show_default=False)] = False,
    traceback: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> int:
    """Run a pipeline, task, runner or async function that a Python file defines.

    Without a NAME it is the only one that FILE itself defines at its top level; several are an error that lists them. A pipeline is
    run as a task, a task under a runner, with signals on: Ctrl-C (or SIGTERM) lets it end in order, a second one cancels it.

    For example:

    - `trio-pipes run assistant.py`: the only runnable in it
    - `trio-pipes run assistant.py:task`: the one called task
    - `trio-pipes run assistant.py:main --voice en-us`: everything after FILE is for the file
    - `trio-pipes run --timeline out.html assistant.py`: afterwards, out.html shows what each processor did, and when

    Exit codes:

    - 0: it ended, and nothing failed
    - 1: it failed
    - 2: this command line, or FILE, cannot be run
    - 130 and 143: SIGINT or SIGTERM stopped it, in order or at once

    Args:
        target: A Python file, and the name in it if it defines several.
        args: For the file: its `sys.argv`, and the arguments of an async function, as strings.
        timeline: A file for what each processor did: a page (.html), or a trace for Perfetto (.json).
        quiet: No status lines.
        traceback: If the run fails, show the whole exception group and the library's own frames.
    """
    return run_target(target, args, timeline=timeline, quiet=quiet, whole_traceback=traceback)


@app.command
def graph(
    target: Annotated[str, Parameter(name="FILE[:NAME]")],
    /,
    *,
    svg: Annotated[Path | None, Parameter(name="--svg", show_default=False)] = None,
    direction: Literal["TB", "LR"] = "TB",
) -> int:
    """Draw the pipeline that a Python file defines: as Mermaid's text on stdout, or as an SVG file.

    FILE is run as an imported module. Without a NAME it is the only pipeline, task or runner that FILE itself defines at its top
    level; several are an error that lists them.

    For example:

    - `trio-pipes graph assistant.py`: Mermaid's text, for a page or an editor that shows it as a diagram
    - `trio-pipes graph assistant.py:pipeline --svg assistant.svg`: a picture; needs `pip install 'trio-pipes[pictures]'`

    Exit codes:

    - 0: it is drawn
    - 1: Graphviz failed
    - 2: this command line, or FILE, cannot be used

    Args:
        target: A Python file, and the name in it if it defines several.
        svg: The file to write the picture to.
        direction: From top to bottom, or from left to right.
    """
    return graph_target(target, svg, direction)


def run_app(tokens: Sequence[str]) -> int:
    """Run the command line with these arguments, and return the exit code."""
    answer: object = app(own_tokens(tokens))
    return answer if isinstance(answer, int) else 0


def own_tokens(tokens: Sequence[str]) -> list[str]:
    """The arguments with `--` after FILE: what follows it, `--help` included, belongs to the file."""
    if tokens[:1] == ["run"]:
        for index, token in enumerate(tokens[1:], 1):
            if not token.startswith("-") and tokens[index - 1] != TIMELINE:
                return [*tokens[: index + 1], "--", *tokens[index + 1 :]]
    return list(tokens)
