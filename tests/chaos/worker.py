"""The worker that members have: jobs that end at once, and jobs that have no end."""

from __future__ import annotations

from typing import Any

import trio

from trio_pipes import BaseWorker, JobRequest, job

from .saying import say


class Labourer(BaseWorker):
    """Does what others ask for, and says so."""

    @job("echo")
    async def echo(self, request: JobRequest) -> Any:
        """The payload, at once."""
        return request.payload

    @job("for ever")
    async def for_ever(self, request: JobRequest) -> None:
        """Until it is cancelled."""
        say("job begins", name=self.name)
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            say("job cancelled", name=self.name)
            raise

    @job("numbered")
    async def numbered(self, request: JobRequest) -> Any:
        """Takes so many seconds, and says when it begins and how it ends."""
        number = request.payload["n"]
        say("begins", n=number)
        try:
            await trio.sleep(request.payload["seconds"])
        except trio.Cancelled:
            say("stopped", n=number)
            raise
        say("ends", n=number)
        return number
