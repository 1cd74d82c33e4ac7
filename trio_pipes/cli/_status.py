"""How the tasks of a runner are doing: a live line for each on a terminal, plain lines elsewhere; both on stderr."""

from __future__ import annotations

import sys
from datetime import timedelta

import trio
from rich.console import Console
from rich.live import Live
from rich.text import Text

from trio_pipes import PipelineTask, TaskState

from ._watch import Watch

__all__ = ["show_status"]

REFRESH = 0.125  # seconds; eight times a second looks live, and costs a thousandth of a core
REMINDER = 10.0  # seconds between plain lines when nothing changes state


async def show_status(watch: Watch, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Show what is watched until cancelled, and how it stands then."""
    console = Console(stderr=True)
    if console.is_terminal:
        await show_live(watch, console, trio.current_time(), task_status)
    else:
        await show_plain(watch, trio.current_time(), task_status)


async def show_live(watch: Watch, console: Console, since: float, task_status: trio.TaskStatus[None]) -> None:
    """Rewrite the lines in place; what the pipeline prints scrolls above them, if it goes to the same terminal."""

    def lines() -> Text:
        return Text("\n".join(line(task, since) for task in watch.tasks), no_wrap=True, overflow="ellipsis")

    with Live(console=console, auto_refresh=False, redirect_stdout=sys.stdout.isatty()) as live:
        task_status.started()
        try:
            while True:
                live.update(lines(), refresh=True)
                await trio.sleep(REFRESH)
        finally:
            live.update(lines(), refresh=True)


async def show_plain(watch: Watch, since: float, task_status: trio.TaskStatus[None]) -> None:
    """Print a line for each change of state, when it happens, and a reminder now and then.

    Plain `print`: this runs inside an observer, which should be quick, and the first line that rich prints is not.
    """
    told: dict[PipelineTask, TaskState] = {}

    def tell_changes() -> None:
        for task in watch.tasks:
            if told.get(task) is not task.state:
                told[task] = task.state
                print(f"trio-pipes: {line(task, since)}", file=sys.stderr, flush=True)

    watch.changed = tell_changes
    task_status.started()
    while True:
        await trio.sleep(REMINDER)
        told.clear()
        tell_changes()


def line(task: PipelineTask, since: float) -> str:
    """A task on one line."""
    now = task.statistics()
    queued = now.push_waiting + sum(
        lane.buffered
        for it in now.processors
        for lane in (it.downstream, it.upstream, it.urgent_downstream, it.urgent_upstream)
    )
    elapsed = timedelta(seconds=int(trio.current_time() - since))
    return f"{task.name}: {now.state.value}, {now.frames_in} in, {now.frames_out} out, {queued} queued, {elapsed}"
