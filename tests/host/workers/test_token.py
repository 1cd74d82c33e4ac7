"""The token over a bus that loses, repeats and reorders: two are never active, and what becomes of it is known."""

from contextlib import asynccontextmanager

import pytest
import trio
from hypothesis import given, settings, strategies as st

from bus_kit import open_medium
from trio_pipes import ActivationError, BaseWorker, PipelineRunner
from trio_pipes._base import Codec
from trio_pipes.host._workers._orders import ActivateMessage, ActivationAnswer, ConfirmMessage, Order
from trio_pipes.testing import cancel_at_every_checkpoint

TOKEN = (Order, ActivationAnswer, ConfirmMessage)


class Watch:
    """Sees that no two are active at one moment."""

    def __init__(self) -> None:
        self.workers: list[BaseWorker] = []

    @property
    def active(self) -> list[str]:
        return [worker.name for worker in self.workers if worker.is_active]

    def look(self) -> None:
        assert len(self.active) <= 1, self.active


class Held(BaseWorker):
    """One of those that the token goes round."""

    def __init__(self, name: str, watch: Watch, *, active: bool = False) -> None:
        super().__init__(name, active=active)
        self.watch = watch
        watch.workers.append(self)

    async def on_activated(self, args) -> None:
        self.watch.look()

    async def on_deactivated(self) -> None:
        self.watch.look()


@asynccontextmanager
async def over(medium, *workers):
    """Each worker on a runner and a bus of its own."""
    runners = [PipelineRunner(worker, bus=medium.bus(), handle_sigint=False) for worker in workers]
    async with trio.open_nursery() as nursery:
        for runner in runners:
            await nursery.start(runner.run)
        for runner in runners:
            await runner.registry.wait_ready(*(worker.name for worker in workers))
        yield runners
        for runner in runners:
            runner.end()


async def test_b5_a_handover_between_machines(autojump_clock) -> None:
    watch = Watch()
    a, b = Held("a", watch, active=True), Held("b", watch)
    async with open_medium() as medium:
        medium.codec = Codec()
        async with over(medium, a, b) as (one, _):
            await a.hand_over("b", {"text": "hello"})
            assert watch.active == ["b"]
            assert b.activation_args == {"text": "hello"}
            await trio.sleep(1)
            assert one.registry.get("b").active
            assert not one.registry.get("a").active
            await b.hand_over("a")
            assert watch.active == ["a"]


@pytest.mark.parametrize("lost", [ActivateMessage, ActivationAnswer, ConfirmMessage])
async def test_what_is_lost_once_is_said_again(autojump_clock, lost) -> None:
    watch = Watch()
    a, b, c = Held("a", watch, active=True), Held("b", watch), Held("c", watch)
    async with open_medium() as medium:
        left = 1

        def lose(message, bus) -> bool:
            nonlocal left
            if isinstance(message, lost) and left:
                left -= 1
                return True
            return False

        medium.lose = lose
        async with over(medium, a, b, c):
            await a.hand_over("b")
            assert watch.active == ["b"]
            await b.hand_over("c")
            assert watch.active == ["c"]
            assert left == 0


async def test_a_taker_that_is_not_heard_gives_back_when_it_is(autojump_clock) -> None:
    watch = Watch()
    a, b = Held("a", watch, active=True), Held("b", watch)
    async with open_medium() as medium:
        mute = True
        medium.lose = lambda message, bus: mute and isinstance(message, ActivationAnswer | ConfirmMessage)
        async with over(medium, a, b):
            with pytest.raises(ActivationError, match="may or may not be active"):
                await a.hand_over("b", timeout=3)
            assert watch.active == []  # it was recalled: nobody is, until a knows that
            with pytest.raises(ActivationError, match="does not know yet"):
                await a.hand_over("b")
            mute = False
            await trio.sleep(2)
            assert watch.active == ["a"]
            await a.hand_over("b")
            assert watch.active == ["b"]


async def test_a_taker_that_gets_nothing_before_the_time_is_over(autojump_clock) -> None:
    watch = Watch()
    a, b = Held("a", watch, active=True), Held("b", watch)
    async with open_medium() as medium:
        medium.lose = lambda message, bus: isinstance(message, ActivateMessage)
        async with over(medium, a, b):
            with pytest.raises(ActivationError, match="did not answer within 3 s.*'a' is active again"):
                await a.hand_over("b", timeout=3)
            assert watch.active == ["a"]


async def test_a_late_copy_of_what_was_recalled_is_refused(autojump_clock) -> None:
    watch = Watch()
    a, b = Held("a", watch, active=True), Held("b", watch)
    async with open_medium() as medium:
        kept = []

        def lose(message, bus) -> bool:
            if isinstance(message, ActivateMessage) and not kept:
                kept.append((message, bus))
                return True
            return isinstance(message, ActivateMessage)

        medium.lose = lose
        async with over(medium, a, b):
            with pytest.raises(ActivationError):
                await a.hand_over("b", timeout=3)
            ((message, bus),) = kept
            await bus._deliver(message)
            await trio.sleep(5)
            assert watch.active == ["a"]


async def test_a_runner_that_died_gives_the_token_back(autojump_clock) -> None:
    watch = Watch()
    a, b = Held("a", watch, active=True), Held("b", watch)
    async with open_medium() as medium:
        async with over(medium, a, b) as (_, two):
            await two.registry.wait_ready("a")
            medium.cut(two.bus)  # as if it had been killed: a goes on without it
            with pytest.raises(ActivationError, match="may or may not be active"):
                await a.hand_over("b", timeout=1)
            await trio.sleep(30)
            assert watch.active == ["a"]
            medium.mend(two.bus)


async def test_a_cancelled_handover_is_settled_nevertheless(autojump_clock) -> None:
    watch = Watch()
    a, b = Held("a", watch, active=True), Held("b", watch)
    async with open_medium() as medium:
        medium.lose = lambda message, bus: isinstance(message, ActivateMessage)
        async with over(medium, a, b):
            with trio.move_on_after(2.5):
                await a.hand_over("b", timeout=100)
            assert watch.active == []
            await trio.sleep(2)
            assert watch.active == ["a"]


async def test_orders_of_others_are_newer_than_a_recall(autojump_clock) -> None:
    watch = Watch()
    a, b, boss = Held("a", watch, active=True), Held("b", watch), BaseWorker("boss")
    async with open_medium() as medium:
        medium.lose = lambda message, bus: isinstance(message, ActivateMessage) and message.hands_over
        async with over(medium, a, b, boss):
            async with trio.open_nursery() as nursery:

                async def hand_over() -> None:
                    with pytest.raises(ActivationError, match="told to be inactive meanwhile"):
                        await a.hand_over("b", timeout=3)

                nursery.start_soon(hand_over)
                await trio.sleep(1)
                assert not await boss.deactivate_worker("a")
                assert await boss.activate_worker("b")
            assert watch.active == ["b"]


def test_a_handover_cancelled_at_each_step_is_settled() -> None:
    async def scenario(attempt) -> None:
        watch = Watch()
        a, b = Held("a", watch, active=True), Held("b", watch)
        async with open_medium() as medium, over(medium, a, b):
            with trio.CancelScope() as scope:
                attempt.arm(scope.cancel)
                await a.hand_over("b")
            attempt.disarm()
            await trio.sleep(5)
            assert len(watch.active) == 1

    async def main() -> None:
        await cancel_at_every_checkpoint(scenario)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    loss=st.sampled_from([0.0, 0.2, 0.6]),
    twice=st.booleans(),
    jitter=st.sampled_from([0.0, 3.0]),
    moves=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc"), st.floats(0, 4)), min_size=1, max_size=8),
)
def test_two_are_never_active(seed, loss, twice, jitter, moves) -> None:
    async def main() -> None:
        watch = Watch()
        workers = {name: Held(name, watch, active=name == "a") for name in "abc"}
        with trio.fail_after(1e5):
            async with open_medium(seed) as medium:
                lossy = True
                medium.jitter = jitter
                medium.tells_gaps = False
                medium.lose = lambda message, bus: (
                    lossy and isinstance(message, TOKEN) and medium.random.random() < loss
                )
                medium.copies = lambda message: 2 if twice and isinstance(message, TOKEN) else 1
                async with over(medium, *workers.values()), trio.open_nursery() as nursery:

                    async def move(giver: str, taker: str, patience: float) -> None:
                        try:
                            with trio.move_on_after(patience * 3):
                                await workers[giver].hand_over(taker, timeout=patience + 0.5)
                        except ActivationError:
                            pass

                    for giver, taker, patience in moves:
                        nursery.start_soon(move, giver, taker, patience)
                        await trio.sleep(patience)
                        watch.look()
                    await trio.sleep(30)
                    lossy = False
                    await trio.sleep(60)
                    assert len(watch.active) == 1, "the token is lost"

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
