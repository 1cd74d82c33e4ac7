"""Who is active: orders, one token, and what becomes of it when something is lost."""

import pytest
import trio

from trio_pipes import ActivationError
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
    held = trio.Event()
    b.on_bus_message = lambda message: held.wait()
    b.activate_first = True
    async with hosted(a, b) as runner:
        await a.activate_worker("b")
        await a.deactivate_worker("b")
        b.start_soon(trio.sleep, 5)
        runner.get_worker("b").stop_when_done()
        with pytest.raises(ActivationError):
            await a.hand_over("b")
        assert a.is_active
