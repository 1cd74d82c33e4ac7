"""Who is active: orders, one token, and what becomes of it when something is lost."""

from contextlib import asynccontextmanager

import pytest
import trio

from bus_kit import open_medium
from trio_pipes import ActivationError, Codec, PipelineRunner, WireError
from workers_kit import Data, Notes, hosted


def kinds(worker) -> list:
    return [entry for entry in worker.log if entry not in ("up", "down")]


async def test_b5_an_inactive_worker_gets_no_data(autojump_clock) -> None:
    a, b = Notes("a"), Notes("b", active=False)
    async with hosted(a, b) as runner:
        assert not b.is_active
        await runner.bus.send(Data(1, target="b"))
        await trio.sleep(1)
        assert await a.activate_worker("b", {"why": "now"})
        assert b.is_active
        assert b.activation_args == {"why": "now"}
        await runner.bus.send(Data(2, target="b"))
        await trio.sleep(1)
        assert await a.deactivate_worker("b")
        assert b.activation_args is None
        await runner.bus.send(Data(3, target="b"))
        await trio.sleep(1)
        assert b.statistics().dropped == 2
    assert kinds(b) == ["active {'why': 'now'}", 2, "2 done", "inactive"]


async def test_an_order_that_changes_nothing_says_so(autojump_clock) -> None:
    a, b = Notes("a"), Notes("b")
    async with hosted(a, b):
        assert not await a.activate_worker("b", "again")
        assert b.activation_args is None
        assert await a.deactivate_worker("b")
        assert not await a.deactivate_worker("b")
        assert await b.activate_worker("b", "itself")
    assert kinds(b) == ["active None", "inactive", "active itself"]


async def test_the_giver_is_inactive_before_the_taker_is_active(autojump_clock) -> None:
    log = []
    a, b = Notes("a", log=log), Notes("b", log=log, active=False)
    b.activated = trio.Event()

    async with hosted(a, b):
        await trio.testing.wait_all_tasks_blocked()
        del log[:]
        await a.hand_over("b", 7)
        assert (a.is_active, b.is_active) == (False, True)
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(log) == ["active 7", "inactive"]
        with pytest.raises(ActivationError, match="'a' is not active"):
            await a.hand_over("b")
        await b.hand_over("a")
        assert (a.is_active, b.is_active) == (True, False)


async def test_a_handover_to_itself_begins_it_again(autojump_clock) -> None:
    a = Notes("a")
    async with hosted(a):
        await a.hand_over("a", "again")
        assert a.activation_args == "again"
    assert kinds(a) == ["active None", "inactive", "active again"]


async def test_a_refused_handover_leaves_the_token_where_it_was(autojump_clock) -> None:
    a, b = Notes("a"), Notes("b")
    async with hosted(a, b):
        with pytest.raises(ActivationError, match=r"'b' is active already: 'a' is active again"):
            await a.hand_over("b")
        assert a.is_active
        with pytest.raises(ActivationError, match=r"no worker named 'nobody' .* 'a' is active again"):
            await a.hand_over("nobody")
        assert a.is_active
    assert kinds(a) == ["active None", *["inactive", "active None"] * 2]


async def test_a_worker_that_ends_is_not_activated(autojump_clock) -> None:
    a, b = Notes("a"), Notes("b", active=False)
    b.takes = 5.0
    async with hosted(a, b) as runner:
        await a.activate_worker("b")
        await runner.bus.send(Data(1, target="b"))
        await trio.sleep(1)
        await a.deactivate_worker("b")
        b.stop_when_done()  # and goes on with what it has in hand
        with pytest.raises(ActivationError, match="'b' is ending: 'a' is active again"):
            await a.hand_over("b")
        with pytest.raises(ActivationError, match="'b' is ending"):
            await a.activate_worker("b")
        assert a.is_active


async def test_arguments_that_cannot_be_sent_leave_the_token_where_it_was(autojump_clock) -> None:
    async with open_medium() as medium:
        medium.codec = Codec()
        a, b = Notes("a"), Notes("b", active=False)
        async with trio.open_nursery() as nursery:
            one, two = (PipelineRunner(worker, bus=medium.bus(), handle_sigint=False) for worker in (a, b))
            await nursery.start(one.run)
            await nursery.start(two.run)
            await one.registry.wait_ready("b")
            with pytest.raises(ActivationError, match="'a' is active again"):
                await a.hand_over("b", {"no": object()})
            assert a.is_active
            with pytest.raises(WireError):
                await a.activate_worker("b", object())
            await a.hand_over("b")
            one.end()
            two.end()


async def test_orders_to_a_worker_that_is_set_up_slowly_wait_for_it(autojump_clock) -> None:
    class Slow(Notes):
        @asynccontextmanager
        async def lifespan(self):
            await trio.sleep(3)
            self.note("up")
            yield

    a, b = Notes("a"), Slow("b", active=False)
    async with hosted(a) as runner:
        runner.add_workers(b)
        await trio.sleep(1)
        await a.hand_over("b", 1)
        assert trio.current_time() == 3.0
    assert b.log == ["up", "active 1"]


async def test_the_registry_knows_who_is_active(autojump_clock) -> None:
    a, b = Notes("a"), Notes("b", active=False)
    async with hosted(a, b) as runner:
        assert [runner.registry.get(name).active for name in "ab"] == [True, False]
        await a.hand_over("b")
        assert [runner.registry.get(name).active for name in "ab"] == [False, True]
