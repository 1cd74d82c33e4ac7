"""The broker in memory that tests use (`bus_kit`) does what it says."""

import attrs
import trio
import trio.testing

from bus_kit import open_medium
from trio_pipes import BusGap, DataMessage


@attrs.define(eq=False)
class Data(DataMessage):
    n: int = 0


async def test_a_message_crosses_as_a_copy_and_a_cut_is_told(autojump_clock) -> None:
    async with open_medium() as medium:
        one, two = medium.bus(), medium.bus()
        async with one, two, two.subscribe("b") as b:
            sent = Data(1, source="a")
            assert await one.send(sent)
            came = await b.receive()
            assert isinstance(came, Data)
            assert came.n == 1
            assert came is not sent
            assert not await one.send(Data(2, target="nobody"))
            medium.cut(two)
            await one.send(Data(3))
            await trio.sleep(1)
            medium.mend(two)
            await one.send(Data(4, target="b/below"))
            await one.send(Data(5, target="b"))
            assert isinstance(await b.receive(), BusGap)
            last = await b.receive()
            assert isinstance(last, Data)
            assert last.n == 5


async def test_order_is_kept_unless_there_is_jitter(autojump_clock) -> None:
    async with open_medium() as medium:
        one, two = medium.bus(), medium.bus()
        async with two.subscribe("b", Data) as b:
            for jitter in (0.0, 1.0):
                medium.jitter = jitter
                for n in range(20):
                    await one.send(Data(n))
                got = [(await b.receive()).n for _ in range(20)]  # type: ignore[attr-defined]
                assert (got == list(range(20))) is (jitter == 0.0)
                assert sorted(got) == list(range(20))


async def test_names_are_owned_under_leases(autojump_clock) -> None:
    async with open_medium() as medium:
        one, two = medium.bus(lease=10), medium.bus(lease=10)
        assert await one.claim(["x", "y"], "r1") == {}
        assert await two.claim(["x", "z"], "r2") == {"x": "r1"}
        assert await two.claim(["z"], "r2") == {}
        await trio.sleep(11)
        assert await two.claim(["x"], "r2") == {}
        assert await one.renew("r1") == {"x"}
        assert await one.renew("r1") == set()
        assert await two.claim(["y"], "r2") == {"y": "r1"}
        await one.release(None, "r1")
        assert await two.claim(["y"], "r2") == {}
