"""Jobs between two runners over real brokers."""

from __future__ import annotations

import pytest
import trio

from jobs_kit import Asker, Doer, running
from redis_kit import URL, Client, fresh_channel, need_redis
from trio_pipes import JobError, RedisBus

pytestmark = pytest.mark.server


async def test_b6_a_job_over_redis() -> None:
    need_redis()
    channel = fresh_channel()
    asker = Asker("asker")
    with trio.fail_after(20):
        async with (
            running(Doer(), bus=RedisBus(URL, channel=channel)),
            running(asker, bus=RedisBus(URL, channel=channel)) as runner,
        ):
            await runner.registry.wait_ready("doer")
            async with asker.job("doer", "count", 5, timeout=10) as it:
                assert [update async for update in it] == list(range(5))
                assert await it.result() == "counted"
            async with asker.job("doer", "stream", 50, timeout=10) as it:
                assert [chunk async for chunk in it.stream()] == list(range(50))
                assert await it.result() == "streamed"
            async with asker.job("doer", "refuse", {"a": [1, None, b"x"]}, timeout=10) as it:
                with pytest.raises(JobError, match="not this one") as caught:
                    await it.result()
                assert caught.value.payload == {"nearest": {"a": [1, None, b"x"]}}
            async with asker.job_group(["doer"], 1, timeout=10) as group:
                assert await group.results() == {"doer": ["default", 1]}
    with Client() as redis:
        redis("DEL", f"{{{channel}}}:names", f"{{{channel}}}:leases")
