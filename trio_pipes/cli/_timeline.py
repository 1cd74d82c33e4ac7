"""`--timeline FILE`: what the tasks of a run did, written when it is over, however it ended."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import trio

from trio_pipes.observers import Timeline

from ._load import UsageError

__all__ = ["TimelineFile"]

PATIENCE: Final = 60.0  # seconds for writing; a full timeline takes about two


class TimelineFile:
    """An observer for the tasks, and the file that is made of it."""

    def __init__(self, path: Path) -> None:
        """Raises `UsageError` now for what would be seen only at the end."""
        if path.suffix not in (".html", ".json"):
            raise UsageError(
                f"--timeline {path}: expected a name that ends in .html, for a page, or in .json, for a trace viewer"
            )
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise UsageError(f"--timeline {path}: it cannot be written there. Name another file")
        self.observer = Timeline()
        self.is_written = False
        self._path = path

    async def write(self) -> None:
        """Write the file, or tell why not."""
        write = self.observer.write_html if self._path.suffix == ".html" else self.observer.write_trace
        with trio.move_on_after(PATIENCE, shield=True):
            try:
                await write(self._path)
            except OSError as error:
                print(f"trio-pipes: {self._path} could not be written: {error.strerror}", file=sys.stderr)
            else:
                self.is_written = True
