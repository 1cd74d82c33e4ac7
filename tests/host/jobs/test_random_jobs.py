"""Random lives of jobs in one process: many are asked, left, stopped and timed out while workers come and go."""

import trio
import trio.testing
from hypothesis import given, settings, strategies as st

from jobs_kit import Doer, running
from trio_pipes import JobError

asked = st.fixed_dictionaries(
    {
        "at": st.integers(0, 20),
        "name": st.sampled_from(["sleep", "one", "three", "count", "stream", "fail", "none"]),
        "payload": st.integers(1, 6),
        "timeout": st.sampled_from([None, 3, 8, 40]),
        "leave": st.sampled_from([None, None, None, 2, 5]),
        "read": st.sampled_from(["result", "updates", "stream"]),
    }
)
happens = st.tuples(
    st.integers(0, 25), st.sampled_from(["end", "cancel", "come", "stop one", "deactivate", "activate"])
)

GIVES = {"sleep": None, "one": None, "three": None, "count": "counted", "stream": "streamed"}


@settings(max_examples=60, deadline=None)
@given(jobs=st.lists(asked, min_size=1, max_size=12), events=st.lists(happens, max_size=6))
def test_b6_every_job_ends_once_and_as_it_should(jobs, events) -> None:
    async def main() -> None:
        ends: list[str] = []
        doers = [Doer()]
        async with running(doers[0]) as runner:
            subscriptions = runner.bus.statistics().subscriptions

            async def ask(what: dict) -> None:
                await trio.sleep(what["at"])
                began = trio.current_time()
                with trio.move_on_after(float("inf") if what["leave"] is None else what["leave"]) as scope:
                    async with runner.job("doer", what["name"], what["payload"], timeout=what["timeout"]) as it:
                        try:
                            if what["read"] == "updates" and what["name"] != "stream":  # which waits for its reader
                                updates = [update async for update in it]
                                assert (
                                    updates == list(range(what["payload"] if what["name"] == "count" else 0))
                                    or it.has_failed
                                )
                            if what["read"] == "stream":
                                chunks = [chunk async for chunk in it.stream()]
                                assert chunks == list(range(what["payload"] if what["name"] == "stream" else 0))
                            value = await it.result()
                            assert value == (GIVES[what["name"]] or what["payload"])
                            ends.append("done")
                        except JobError as exc:
                            ends.append(exc.status)
                            if exc.status == "timeout":
                                assert what["timeout"] is not None
                                assert trio.current_time() - began == what["timeout"]
                            if exc.status in ("failed", "unknown"):
                                assert what["name"] in ("fail", "none")
                if scope.cancelled_caught:
                    ends.append("left")

            async def happen(at: int, what: str) -> None:
                await trio.sleep(at)
                doer = doers[-1]
                if what == "end":
                    doer.stop_when_done()
                elif what == "cancel":
                    doer.cancel()
                elif what == "come" and runner.get_worker("doer") is None:
                    doers.append(Doer())
                    runner.add_workers(doers[-1])
                elif what == "stop one" and doer.jobs:
                    doer.jobs[0].cancel("for no reason")
                elif runner.registry.get("doer") is not None and doer.jobs == ():
                    doer._life.presence.activation.set(what == "activate")

            async def last() -> None:
                """Whoever still waits finds somebody who works."""
                await trio.sleep(200)
                if runner.get_worker("doer") is None:
                    doers.append(Doer())
                    runner.add_workers(doers[-1])
                else:
                    doers[-1]._life.presence.activation.set(True)

            with trio.fail_after(1000):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(last)
                    for what in jobs:
                        nursery.start_soon(ask, what)
                    for event in events:
                        nursery.start_soon(happen, *event)
            await trio.testing.wait_all_tasks_blocked()
            assert len(ends) == len(jobs)
            statistics = doers[-1].statistics().jobs
            assert statistics is not None
            assert (statistics.waiting, statistics.running, statistics.kept) == (0, 0, 0)
            assert runner.bus.statistics().subscriptions == subscriptions
            for doer in doers:
                assert doer.now == 0
                begun = [it[1] for it in doer.log if isinstance(it, tuple) and it[0] == "begin"]
                ended = [it[1] for it in doer.log if isinstance(it, tuple) and it[0] != "begin"]
                assert sorted(begun) == sorted(ended)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
