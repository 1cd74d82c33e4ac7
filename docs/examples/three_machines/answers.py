"""The third machine: answers slow questions, as jobs.

    python docs/examples/three_machines/answers.py redis://HOST:6379

Ends when the front has gone, or on Ctrl-C.
"""

from __future__ import annotations

from typing import Any

import trio
from _program import run

from trio_pipes import BaseWorker, JobRequest, job

KNOWN = {
    "moon": "The moon is about 384 thousand kilometres away.",
    "mountain": "The highest mountain is Everest, with 8849 metres.",
    "river": "The longest river is the Nile, with 6650 kilometres.",
}
STEPS = ("the catalogue", "the archive")
STEP = 2.0  # seconds for each: what is slow here is only slow


class Answers(BaseWorker):
    """Looks things up, as many at a time as it is asked for."""

    @job("look up")
    async def look_up(self, request: JobRequest) -> dict[str, Any]:
        """Search in one place after the other, and tell which."""
        about = request.payload["about"]
        print(f"asked about the {about}", flush=True)
        try:
            for place in STEPS:
                await request.update({"searching": place})
                await trio.sleep(STEP)
        except trio.Cancelled:
            print(f"not wanted any more: the {about}", flush=True)
            raise
        print(f"answered about the {about}", flush=True)
        return {"text": KNOWN[about]}


if __name__ == "__main__":
    run(Answers(name="answers"), __doc__)
