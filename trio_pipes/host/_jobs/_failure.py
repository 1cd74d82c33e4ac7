"""What went wrong with a job, as data that can be sent, and the error that is made of it where it is asked for."""

from __future__ import annotations

import traceback
from typing import Any, Self, final

import attrs

from trio_pipes._base import JobError, JobTimeout, shown

__all__ = ["Failure"]

# A traceback, and a text, may hold anything; a message has a limit.
MOST_OF_A_TEXT = 2_000
MOST_OF_A_TRACEBACK = 20_000

HOW = {
    "failed": "failed",
    "timeout": "was not done in time",
    "cancelled": "was cancelled",
    "gone": "was lost",
    "unknown": "is unknown there",
    "refused": "was refused",
}


@final
@attrs.frozen
class Failure:
    """How a job failed. Makes a new error each time, since an error collects where it went."""

    status: str
    text: str
    payload: Any = None
    traceback: str | None = None

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """What a handler raised."""
        name = type(error).__name__
        try:
            text = str(error)
        except Exception as exc:  # noqa: BLE001  (an error that cannot say what it is fails its job, and not the worker)
            text = f"it has no text: its str() raised {type(exc).__name__}"
        lines = "".join(traceback.format_exception(error))
        return cls(
            "failed",
            _cut(f"{name}: {text}" if text else name, MOST_OF_A_TEXT),
            error.payload if isinstance(error, JobError) else None,
            _cut(lines, MOST_OF_A_TRACEBACK),
        )

    def error(self, *, worker: str, job: str | None, job_id: str) -> JobError:
        """The error to raise at the requester."""
        how = HOW.get(self.status, self.status)
        what = "the default job" if job is None else f"job {shown(job)!r}"
        kind = JobTimeout if self.status == "timeout" else JobError
        made = kind(
            f"{what} of {shown(worker)!r} {how}: {self.text}",
            payload=self.payload,
            worker=worker,
            job=job,
            job_id=job_id,
            status=self.status,
            remote_traceback=self.traceback,
        )
        if self.traceback:
            made.add_note(f"At {shown(worker)!r}:\n{self.traceback}")
        return made


def _cut(text: str, most: int) -> str:
    """What can be sent of a text: both ends, where it is too long; half characters, as of names of files, by their numbers."""
    text = text.encode(errors="backslashreplace").decode()
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half:,} characters ...]\n{text[-half:]}"
