"""What a bus must do when its connection breaks, or when somebody sends what is no message."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import trio

from trio_pipes import BusGap

from ._bus_case import BusCase, Letter, Signal, name, numbers
from ._rules import Rule

__all__ = ["BREAKS"]

JUNK: Final = (b"", b"\x00", b"TP", b"hello", b"\xff" * 100, bytes(range(256)) * 40)


async def _receiver_is_told(case: BusCase) -> Iterable[str]:
    if case.cut is None:
        return []
    problems: list[str] = []
    async with case.pair() as (one, two):
        mine = name("gap")
        async with two.subscribe(mine, Letter) as named, two.subscribe(name("other"), Signal) as other:
            for n in range(3):
                await one.send(Letter(target=mine, n=n))
                if numbers([await case.soon("a message", named.receive())]) != [n]:
                    problems.append(f"before cut {n + 1}, something else came than what was sent")
                await case.cut(two)
                for messages in (named, other):
                    gap = await case.soon("a BusGap after the connection was lost", messages.receive())
                    if not isinstance(gap, BusGap):
                        problems.append(f"after the connection was lost, {gap!r} came before a BusGap")
            await one.send(Letter(target=mine, n=7))
            await one.send(Signal(n=8))
            seen = numbers([await case.soon("a message after the gap", each.receive()) for each in (named, other)])
            if seen != [7, 8]:
                problems.append(f"after the gap came {seen}, expected what was sent then")
    return problems


async def _sender_loses_nothing(case: BusCase) -> Iterable[str]:
    if case.cut is None:
        return []
    async with case.pair() as (one, two):
        mine = name("sender")
        async with two.subscribe(mine, buffer=1000) as messages:
            async with trio.open_nursery() as nursery:

                async def sends() -> None:
                    for n in range(300):
                        await one.send(Letter(target=mine, n=n))
                        if n % 20 == 0:
                            await trio.sleep(0.002)

                nursery.start_soon(sends)
                for _ in range(3):
                    await trio.sleep(0.01)
                    await case.cut(one)
            seen = numbers(
                [
                    await case.soon("each message, though the sender's connection was cut", messages.receive())
                    for _ in range(300)
                ]
            )
    if seen != [*range(300)]:
        at = next(i for i, n in enumerate(seen) if n != i)
        return [f"the sender's connection was cut three times: in place of number {at} came {seen[at]}"]
    return []


async def _junk(case: BusCase) -> Iterable[str]:
    if case.inject is None:
        return []
    async with case.pair() as (one, two):
        mine = name("junk")
        async with two.subscribe(mine, Letter) as messages:
            for data in JUNK:
                await case.inject(data)
            await one.send(Letter(target=mine, n=1))
            if numbers([await case.soon("a message after junk", messages.receive())]) != [1]:
                return ["junk that somebody sent was delivered"]
    return []


BREAKS: Final[dict[str, Rule]] = {
    "gap": Rule(
        "when a connection was lost, each subscription is told, and what is sent then arrives", _receiver_is_told
    ),
    "sent_again": Rule(
        "a sender whose connection is lost loses nothing, and sends nothing twice", _sender_loses_nothing
    ),
    "junk": Rule("what is no message harms nobody", _junk),
}
