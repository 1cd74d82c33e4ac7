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

__all__ = ["status_of"]

REFRESH = 0.125  # seconds; eight times a second looks live, and costs a thousandth of a core
REMINDER = 10.0  # seconds between plain lines when nothing changes state


def status_of(watch: Watch) -> LiveStatus | PlainStatus:
    """The status that suits where stderr goes; its `show` runs until it is cancelled."""
    console = Console(stderr=True)
    return LiveStatus(watch, console) if console.is_terminal else PlainStatus(watch)


class LiveStatus:
    """Lines that are rewritten in place; what the pipeline prints scrolls above, if it goes to the same terminal."""

    def __init__(self, watch: Watch, console: Console) -> None:
        self._watch = watch
        self._console = console
        self._since = trio.current_time()

    async def show(self) -> None:
        """Keep the lines up to date, and leave them as they are at the end."""
        with Live(console=self._console, auto_refresh=False, redirect_stdout=sys.stdout.isatty()) as live:
            try:
                while True:
                    live.update(self._lines(), refresh=True)
                    await trio.sleep(REFRESH)
            finally:
                live.update(self._lines(), refresh=True)

    def _lines(self) -> Text:
        lines = "\n".join(line(task, self._since) for task in self._watch.tasks)
        return Text(lines, no_wrap=True, overflow="ellipsis")


class PlainStatus:
    """A line for each change of state, when it happens, and a reminder now and then."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._since = trio.current_time()
        self._told: dict[PipelineTask, TaskState] = {}
        watch.changed = self._tell_changes

    async def show(self) -> None:
        """Print the reminders."""
        while True:
            await trio.sleep(REMINDER)
            self._told.clear()
            self._tell_changes()

    def _tell_changes(self) -> None:
        for task in self._watch.tasks:
            if self._told.get(task) is not task.state:
                self._told[task] = task.state
                # Not rich: this runs inside an observer, which should be quick, and rich's first line is not.
                print(f"trio-pipes: {line(task, self._since)}", file=sys.stderr, flush=True)


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
