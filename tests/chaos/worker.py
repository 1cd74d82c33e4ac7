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
