"""What a bus must do about names that runners claim."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import trio

from ._bus_case import BusCase, name
from ._rules import Rule

__all__ = ["NAMES"]


async def _one_owner(case: BusCase) -> Iterable[str]:
    problems: list[str] = []
    a, b, c = name("a"), name("b"), name("c")
    first, second = name("first"), name("second")

    def expect(what: str, found: object, expected: object) -> None:
        if found != expected:
            problems.append(f"{what} gave {found!r}, expected {expected!r}")

    async with case.pair() as (one, two):
        expect("a claim of two free names", await one.claim([a, b], first), {})
        expect("the same claim again, by its owner", await one.claim([a, b], first), {})
        expect("a claim of one that is taken and a free one", await two.claim([b, c], second), {b: first})
        expect("a claim of the free one, which nobody has got", await one.claim([c], first), {})
        expect("renew() by the owner", await one.renew(first), set())
        await two.release([a], second)
        expect("a claim of a name that somebody else has released", await two.claim([a], second), {a: first})
        await one.release([a], first)
        expect("a claim of a name that was released", await two.claim([a], second), {})
        await one.release(None, first)
        expect("a claim of what was released by release(None)", await two.claim([a, b, c], second), {})
        await two.release(None, second)
        expect("a claim of everything", await one.claim([a, b, c], first), {})
        await one.release(None, first)
    return problems


async def _at_the_same_time(case: BusCase) -> Iterable[str]:
    """Twenty want one name: one gets it, and the others are told whose it is."""
    mine = name("wanted")
    answers: dict[str, dict[str, str]] = {}
    async with case.pair() as (one, two):

        async def claims(i: int, owner: str) -> None:
            answers[owner] = await (one, two)[i % 2].claim([mine, f"{mine}-{i}"], owner)

        async with trio.open_nursery() as nursery:
            owners = [name("owner") for _ in range(20)]
            for i, owner in enumerate(owners):
                nursery.start_soon(claims, i, owner)
        got = [owner for owner, taken in answers.items() if not taken]
        for i, owner in enumerate(owners):
            await (one, two)[i % 2].release(None, owner)
    if len(got) != 1:
        return [f"{len(got)} owners of 20 that claimed one name at the same time were given it"]
    wrong = [taken for owner, taken in answers.items() if owner != got[0] and taken != {mine: got[0]}]
    return [f"the others were told {wrong[0]!r}, expected {{{mine!r}: {got[0]!r}}}"] if wrong else []


async def _lease(case: BusCase) -> Iterable[str]:
    problems: list[str] = []
    async with case.pair() as (one, two):
        if math.isinf(one.lease):
            return []
        a, b, first, second = name("a"), name("b"), name("first"), name("second")
        await one.claim([a, b], first)
        for _ in range(4):
            await trio.sleep(one.lease / 3)
            await one.renew(first)
        if await two.claim([a], second) != {a: first}:
            problems.append("a lease that was renewed in time has run out")
        await trio.sleep(one.lease * 1.2 + 0.05)
        if taken := await two.claim([a], second):
            problems.append(f"a lease that was not renewed for 1.2 times its length still holds {taken}")
        if (lost := await one.renew(first)) != {a}:
            problems.append(
                f"renew() by an owner that was away, after another had claimed one of two names, gave {lost}, expected {{{a!r}}}"
            )
        if (taken := await two.claim([b], second)) != {b: first}:
            problems.append(f"the name that nobody had claimed meanwhile is not its owner's again: {taken}")
        await one.release(None, first)
        await two.release(None, second)
    return problems


NAMES: Final[dict[str, Rule]] = {
    "names": Rule("a name has one owner, until it is released; several are claimed together or not at all", _one_owner),
    "names_at_once": Rule("of those that claim one name at the same time, one gets it", _at_the_same_time),
    "lease": Rule("the names of an owner that is not heard of for its lease are free", _lease),
}
