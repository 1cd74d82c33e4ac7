"""How the tasks of a runner are doing: a live line on a terminal, plain lines elsewhere; both on stderr."""

from __future__ import annotations

import sys
from datetime import timedelta

import trio
from rich.console import Console
from rich.live import Live
from rich.text import Text

from trio_pipes import PipelineRunner, PipelineTask, TaskState

__all__ = ["Status"]

REFRESH = 0.125  # seconds; eight times a second looks live, and costs a thousandth of a core
REMINDER = 10.0  # seconds between plain lines when nothing changes state


class Status:
    """An observer of a runner that shows the pipeline tasks among its workers."""

    def __init__(self) -> None:
        self._tasks: list[PipelineTask] = []
        self._since = trio.current_time()
        self._console = Console(stderr=True)
        self._told: dict[str, TaskState] = {}
        self._told_at = self._since

    def on_worker_started(self, _runner: PipelineRunner, worker: object) -> None:
        """Take it into the status, if it has one to show."""
        if isinstance(worker, PipelineTask):
            self._tasks.append(worker)

    async def show(self) -> None:
        """Show until cancelled, and the last state then."""
        if self._console.is_terminal:
            await self._show_live()
        else:
            await self._show_plain()

    async def _show_live(self) -> None:
        # What the pipeline prints is put above the line, but only where both go to the same terminal.
        with Live(console=self._console, auto_refresh=False, redirect_stdout=sys.stdout.isatty()) as live:
            try:
                while True:
                    live.update(self._lines(), refresh=True)
                    await trio.sleep(REFRESH)
            finally:
                live.update(self._lines(), refresh=True)

    async def _show_plain(self) -> None:
        try:
            while True:
                self._tell_changes()
                await trio.sleep(REFRESH)
        finally:
            self._tell_changes()

    def _tell_changes(self) -> None:
        now = trio.current_time()
        is_due = now - self._told_at >= REMINDER
        for task in self._tasks:
            if is_due or self._told.get(task.name) is not task.state:
                self._told[task.name] = task.state
                self._told_at = now
                print(f"trio-pipes: {self._line(task)}", file=sys.stderr, flush=True)

    def _lines(self) -> Text:
        return Text("\n".join(map(self._line, self._tasks)), no_wrap=True, overflow="ellipsis")

    def _line(self, task: PipelineTask) -> str:
        now = task.statistics()
        queued = now.push_waiting + sum(
            lane.buffered
            for it in now.processors
            for lane in (it.downstream, it.upstream, it.urgent_downstream, it.urgent_upstream)
        )
        elapsed = timedelta(seconds=int(trio.current_time() - self._since))
        return f"{task.name}: {now.state.value}, {now.frames_in} in, {now.frames_out} out, {queued} queued, {elapsed}"
