"""What a registry tells the others of its own workers: changes, each with a version, and snapshots. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from ._info import WorkerInfo
from ._messages import ACTIVE, READY, RegistryBeat, RegistryChange, RegistryGoodbye, RegistrySnapshot, Row

__all__ = ["Announced", "row_of"]

# What one message may hold: far below the 1 MiB and the 100,000 values of the codec.
MOST_ROWS: Final = 1_000
MOST_BYTES: Final = 128 * 1024

T = TypeVar("T")


def row_of(info: WorkerInfo) -> Row:
    """A worker as it is sent."""
    return (info.name, info.kind, info.parent, READY * info.ready + ACTIVE * info.active, info.life)


class Announced:
    """The workers that others are told of, and what they have not been told yet."""

    def __init__(self, runner: str, lease: float, most_rows: int = MOST_ROWS) -> None:
        self._most_rows = most_rows
        self._runner = runner
        self._lease = lease
        self.version: int = 0
        self._rows: dict[str, Row] = {}
        self._added: dict[str, Row] = {}
        self._removed: dict[str, None] = {}

    @property
    def has_news(self) -> bool:
        """Whether there are changes that nobody was told of."""
        return bool(self._added or self._removed)

    def put(self, row: Row) -> None:
        """A worker has come, or changed."""
        self._rows[row[0]] = self._added[row[0]] = row

    def remove(self, name: str) -> None:
        """A worker has gone. It is told even where its coming was not: a name that comes again has then been away."""
        if self._rows.pop(name, None) is not None:
            self._added.pop(name, None)
            self._removed[name] = None

    def beat(self) -> RegistryBeat:
        """A sign of life."""
        return RegistryBeat(source=self._runner, version=self.version, lease=self._lease)

    def changes(self) -> list[RegistryChange]:
        """What others have not been told, which counts as told from now on. Removals are told first."""
        removed = list(self._chunks(self._removed, len))
        added = list(self._chunks(self._added.values(), _size_of))
        self._removed, self._added = {}, {}
        return [self._change([], names) for names in removed] + [self._change(rows, []) for rows in added]

    def _change(self, added: list[Row], removed: list[str]) -> RegistryChange:
        self.version += 1
        return RegistryChange(
            source=self._runner, version=self.version, lease=self._lease, added=added, removed=removed
        )

    def snapshot(self, target: str | None) -> list[RegistrySnapshot]:
        """All workers as they are told of: take the changes first."""
        assert not self.has_news
        chunks = list(self._chunks(self._rows.values(), _size_of)) or [[]]
        return [
            RegistrySnapshot(
                source=self._runner,
                target=target,
                version=self.version,
                lease=self._lease,
                part=part,
                parts=len(chunks),
                workers=rows,
            )
            for part, rows in enumerate(chunks)
        ]

    def goodbye(self) -> RegistryGoodbye:
        """The last word; what is told after it belongs to another run, and has a later version."""
        self._rows, self._added, self._removed = {}, {}, {}
        self.version += 2
        return RegistryGoodbye(source=self._runner, version=self.version - 1)

    def _chunks(self, items: Iterable[T], size_of: Callable[[T], int]) -> Iterator[list[T]]:
        chunk: list[T] = []
        size = 0
        for item in items:
            more = 4 * size_of(item)  # bytes, at most
            if chunk and (len(chunk) >= self._most_rows or size + more > MOST_BYTES):
                yield chunk
                chunk, size = [], 0
            chunk.append(item)
            size += more
        if chunk:
            yield chunk


def _size_of(row: Row) -> int:
    """How many characters it has, about."""
    return len(row[0]) + len(row[1]) + len(row[2] or "") + 16
