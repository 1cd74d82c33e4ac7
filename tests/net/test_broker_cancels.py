"""What becomes of a request to the broker when whoever asked for it is cancelled."""

from __future__ import annotations

import trio
import trio.testing

from net_kit import Broker


# The owner goes on renewing its lease, so a name that it forgot to give back would be nobody's for ever.
async def test_names_are_given_back_also_when_whoever_does_it_is_cancelled(pipes_clock) -> None:
    broker = Broker()
    async with broker.bus() as one, broker.bus() as two:
        assert await one.claim(["a", "b"], "me") == {}
        broker.pause()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.renew, "me")  # one command at a time: the other one waits behind it
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(0.5) as scope:
                await one.release(["a"], "me")
            assert scope.cancelled_caught
            broker.go_on()
        await trio.sleep(1)
        assert await one.renew("me") == set()
        assert await two.claim(["a"], "other") == {}
        assert await two.claim(["b"], "other") == {"b": "me"}


async def test_names_that_were_claimed_by_somebody_who_was_cancelled_are_free(pipes_clock) -> None:
    broker = Broker()
    async with broker.bus() as one, broker.bus() as two:
        broker.pause()
        with trio.move_on_after(0.5) as scope:
            await one.claim(["a"], "me")
        assert scope.cancelled_caught
        broker.go_on()
        await trio.sleep(1)
        assert await two.claim(["a"], "other") == {}
