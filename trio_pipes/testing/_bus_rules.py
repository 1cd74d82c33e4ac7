"""What a bus must do, rule by rule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import trio

from trio_pipes import Bus, BusError, BusMessage, ConfigurationError, SubscriberTooSlow, Subscription, WireError

from ._bus_broken import BREAKS
from ._bus_case import BusCase, Letter, Postcard, Secret, Signal, drain, name, numbers
from ._bus_names import NAMES
from ._rules import Rule

__all__ = ["BUS_RULES"]

MANY: Final = 1000


# -- who gets what


async def _targeted(case: BusCase) -> Iterable[str]:
    problems: list[str] = []
    async with case.pair() as (one, two):
        mine, other = name("target"), name("other")
        async with (
            two.subscribe(mine) as first,
            two.subscribe(mine, Letter, Signal) as second,
            two.subscribe(other) as third,
            one.subscribe(other) as fourth,
        ):
            await one.send(Letter(source="nobody-here", target=mine, n=1))
            await one.send(Postcard(target=mine, n=2))
            await one.send(Signal(target=mine, n=3))
            await case.until("a subscription of the target's name gets its messages", lambda: _waiting(first) >= 3)
            await case.settle()
            seen = [sorted(numbers(drain(each))) for each in (first, second, third, fourth)]
            if seen != [[1, 2, 3], [1, 3], [], []]:
                problems.append(
                    f"sent 1, 2 (of another class) and 3 to one name: its two subscriptions, and two others, got {seen}"
                )
        if not one.crosses and await one.send(Letter(target=name("nobody"))):
            problems.append("send() gave True for a name that nobody has")
    return problems


async def _broadcast(case: BusCase) -> Iterable[str]:
    async with case.pair() as (one, two):
        sender = name("sender")
        async with (
            one.subscribe(sender, Letter) as source,
            one.subscribe(name("a"), Letter) as beside,
            two.subscribe(name("b"), Letter) as there,
            two.subscribe(name("c"), Postcard) as elsewhere,
            two.subscribe(name("d")) as everything,
        ):
            await one.send(Letter(source=sender, n=1))
            await case.until("broadcasts reach the other bus", lambda: bool(_waiting(there) and _waiting(everything)))
            await case.settle()
            if seen := numbers(drain(source)):
                return [f"its own sender got {seen}"]
            seen = [numbers(drain(each)) for each in (beside, there, elsewhere, everything)]
            if seen != [[1], [1], [], [1]]:
                return [f"here, there, of another class and of all classes got {seen}, expected [1], [1], [] and [1]"]
    return []


async def _content(case: BusCase) -> Iterable[str]:
    content = {"nested": [1, 2.5, None, True, "ä", b"\x00\xff"], "empty": {}}
    async with case.pair() as (one, two):
        mine = name("content")
        async with two.subscribe(mine) as messages:
            await one.send(Letter(source="me", target=mine, n=-1, text="\x00 ∀", content=content))
            got = await case.soon("the message", messages.receive())
    assert isinstance(got, Letter), got
    if (got.source, got.target, got.n, got.text, got.content) != ("me", mine, -1, "\x00 ∀", content):
        return [f"what came is {got!r}"]
    return []


async def _local(case: BusCase) -> Iterable[str]:
    async with (
        case.pair() as (one, two),
        one.subscribe(name("a"), Secret) as here,
        two.subscribe(name("b"), Secret) as there,
    ):
        await one.send(Secret(n=1))
        await case.settle()
        if numbers(drain(here)) != [1]:
            return ["a message that stays in its process did not reach a subscription there"]
        if one.crosses and drain(there):
            return ["a message that stays in its process left it"]
    return []


async def _below(case: BusCase) -> Iterable[str]:
    async with case.pair() as (one, two):
        top = name("runner")
        async with two.subscribe(top) as whole, two.subscribe(f"{top}/a") as a, two.subscribe(f"{top}/b") as b:
            for n, target in enumerate((f"{top}/a", f"{top}/b", top, f"{top}/none")):
                await one.send(Letter(target=target, n=n))
            await case.until("a name below a name gets its messages", lambda: bool(_waiting(a) and _waiting(b)))
            await case.until("so does the name itself", lambda: bool(_waiting(whole)))
            await case.settle()
            seen = [numbers(drain(each)) for each in (a, b, whole)]
    return [] if seen == [[0], [1], [2]] else [f"'x/a', 'x/b' and 'x' got {seen}, expected [0], [1] and [2]"]


async def _at_once(case: BusCase) -> Iterable[str]:
    async with case.pair() as (one, two):
        for n in range(30):
            mine = name("new")
            async with two.subscribe(mine, Letter, Postcard) as messages:
                await one.send(Letter(target=mine, n=n))
                await one.send(Postcard(n=n))
                for _ in range(2):
                    got = await case.soon("a message sent after subscribe() was entered", messages.receive())
                    if numbers([got]) != [n]:
                        return [f"subscription {n} got {got!r} first"]
    return []


async def _left(case: BusCase) -> Iterable[str]:
    problems: list[str] = []
    async with case.pair() as (one, two):
        mine = name("left")
        async with two.subscribe(mine) as messages:
            await one.send(Letter(target=mine, n=1))
            await case.until("the first message", lambda: bool(_waiting(messages)))
        try:
            got = await case.soon("an error from a subscription that was left", messages.receive())
            problems.append(f"a subscription that was left gave {got!r}, expected trio.ClosedResourceError")
        except trio.ClosedResourceError:
            pass
        await one.send(Letter(target=mine, n=2))
        await case.settle()
        async with two.subscribe(mine) as again:
            await one.send(Letter(target=mine, n=3))
            got = await case.soon("a message for a name that is used again", again.receive())
            if numbers([got]) != [3]:
                problems.append(
                    f"a new subscription of a name got {got!r}, expected what was sent after it was entered"
                )
    return problems


# -- in which order, and what if it is too much


async def _order(case: BusCase) -> Iterable[str]:
    """To a name and to all, in turns."""
    async with case.pair() as (one, two):
        mine = name("order")
        async with two.subscribe(mine, Letter, buffer=3 * MANY) as messages, trio.open_nursery() as nursery:

            async def sends(source: str) -> None:
                for n in range(MANY):
                    await one.send(Letter(source=source, target=mine if n % 3 else None, n=n))

            for source in ("a", "b"):
                nursery.start_soon(sends, source)
            seen: dict[str, list[int]] = {"a": [], "b": []}
            for _ in range(2 * MANY):
                got = await case.soon("each of them", messages.receive())
                assert isinstance(got, Letter), f"{got!r} came between"
                seen[got.source].append(got.n)
    wrong = {
        source: next(i for i, n in enumerate(found) if n != i)
        for source, found in seen.items()
        if found != [*range(MANY)]
    }
    return [f"of sender {source}, number {at} was not in its place" for source, at in wrong.items()]


async def _system_first(case: BusCase) -> Iterable[str]:
    async with case.pair() as (one, two):
        mine = name("urgent")
        async with two.subscribe(mine, buffer=100) as messages:
            for n in range(50):
                await one.send(Letter(target=mine, n=n))
            await case.until("50 messages are there", lambda: messages.statistics().waiting == 50)
            await one.send(Signal(target=mine, n=-1))
            await case.until("a system message is there", lambda: messages.statistics().waiting_system == 1)
            seen = numbers(drain(messages))
    return [] if seen == [-1, *range(50)] else [f"read: {seen[:5]}..., expected the system message first"]


async def _too_slow(case: BusCase) -> Iterable[str]:
    problems: list[str] = []
    async with (
        case.pair() as (one, two),
        two.subscribe(name("slow"), Letter, buffer=10) as slow,
        two.subscribe(name("latest"), Letter, buffer=10, overflow="drop_oldest") as latest,
        two.subscribe(name("roomy"), Letter, buffer=1000) as roomy,
    ):
        for n in range(100):
            await one.send(Letter(n=n))
        await case.until("a subscription with room gets all", lambda: roomy.statistics().waiting == 100)
        found, error = await _read_on(case, slow)
        if found != [*range(10)] or not isinstance(error, SubscriberTooSlow):
            problems.append(
                f"of 100 messages with buffer=10 it read {found} and then {error!r}, expected 10 and SubscriberTooSlow"
            )
        if numbers(drain(latest)) != [*range(90, 100)] or latest.dropped != 90:
            problems.append(
                f"overflow='drop_oldest' dropped {latest.dropped} of 100 with buffer=10, expected the first 90"
            )
        await one.send(Letter(n=100))
        if numbers([await case.soon("the next", latest.receive())]) != [100]:
            problems.append("a subscription that drops does not go on")
    return problems


async def _read_on(case: BusCase, messages: Subscription) -> tuple[list[object], Exception | None]:
    found: list[BusMessage] = []
    while True:
        try:
            found.append(await case.soon("the end of a subscription that was too slow", messages.receive()))
        except (SubscriberTooSlow, BusError, trio.ClosedResourceError) as exc:
            return numbers(found), exc


async def _senders_wait(case: BusCase) -> Iterable[str]:
    async with case.pair() as (one, _):
        if one.crosses:
            try:
                one.subscribe("x", overflow="wait")
            except ConfigurationError:
                return []
            return ["overflow='wait' was taken, and no sender in another process can be made to wait"]
        async with one.subscribe(name("a"), buffer=1, overflow="wait") as a, one.subscribe(name("b"), buffer=9) as b:
            await one.send(Letter(n=0))
            with trio.move_on_after(case.patience / 10) as scope:
                await one.send(Letter(n=1))
            if not scope.cancelled_caught:
                return ["overflow='wait': a sender went on, and the buffer is full"]
            if numbers(drain(b)) != [0, 1]:
                return ["overflow='wait': another subscription had to wait too"]
            if numbers(drain(a)) != [0]:
                return ["overflow='wait': a send that was cancelled while it waited has been delivered"]
    return []


async def _largest(case: BusCase) -> Iterable[str]:
    """What is too large for the wire, or not listed, is the sender's error; the bus goes on."""
    problems: list[str] = []
    async with case.pair() as (one, two):
        if not one.crosses:
            return []
        mine = name("large")
        async with two.subscribe(mine) as messages:
            large, too_large = "x" * 1_000_000, "x" * 2_000_000
            await case.soon("a message of a megabyte is sent", one.send(Letter(target=mine, text=large)))
            got = await case.soon("a message of a megabyte", messages.receive())
            if getattr(got, "text", None) != large:
                problems.append("a message of a megabyte came as something else")
            for content, why in (
                (too_large, "of two megabytes"),
                (object(), "with an object that has no class on the wire"),
            ):
                try:
                    await one.send(Letter(target=mine, content=content))
                    problems.append(f"a message {why} was sent, expected WireError")
                except WireError:
                    pass
            await one.send(Letter(target=mine, n=7))
            if numbers([await case.soon("a message after those that could not be sent", messages.receive())]) != [7]:
                problems.append("after a message that could not be sent, the next one did not come")
    return problems


# -- open, closed, and cancelled


async def _opening(case: BusCase) -> Iterable[str]:
    async with case.pair() as (one, two):
        mine = name("open")
        for n in range(2):
            async with one, two.subscribe(mine) as messages:
                await one.send(Letter(target=mine, n=n))
                await case.soon("a message while a bus is open in two blocks", messages.receive())
            async with two.subscribe(mine) as messages:
                await one.send(Letter(target=mine, n=n))
                await case.soon("a message after one of two blocks was left", messages.receive())
    for _ in range(2):
        async with one, two, two.subscribe(mine) as messages:
            await one.send(Letter(target=mine))
            await case.soon("a message over a bus that was opened again", messages.receive())
    return []


async def _closing(case: BusCase) -> Iterable[str]:
    """What was sent goes out; who still listens, or sends, is told."""
    async with case.pair() as (one, two):
        if not one.crosses:
            return []
        mine = name("closing")
        async with two.subscribe(mine, buffer=1000) as messages:
            third = case.make()
            async with third:
                ears = await third.subscribe(name("deaf")).__aenter__()
                for n in range(300):
                    await third.send(Letter(target=mine, n=n))
            for n in range(300):
                got = await case.soon("what was sent before a bus was closed", messages.receive())
                if numbers([got]) != [n]:
                    return [f"after a bus was closed, {got!r} came in place of number {n}"]
        for what, call in (("receive()", ears.receive), ("send()", lambda: third.send(Letter()))):
            try:
                await case.soon(f"{what} on a bus that is closed", call())
            except BusError:
                continue
            return [f"{what} on a bus that is closed raised nothing, expected BusError"]
    return []


async def _cancelled(case: BusCase) -> Iterable[str]:
    """Whatever is cancelled wherever: the bus works on, nothing comes twice or out of order, and what was sent comes."""
    sure: list[int] = []
    async with case.pair() as (one, two):
        mine, owner = name("cancelled"), name("owner")
        async with two.subscribe(mine, Letter, buffer=10_000) as messages:
            for n in range(200):
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(_cancel_after, scope, n % 7, n % 5)
                        await _one_of(one, mine, owner, n, sure)
                        scope.cancel()
            await one.send(Letter(target=mine, n=-1))
            seen: list[int] = []
            while not seen or seen[-1] != -1:
                got = await case.soon("a message after 200 cancels", messages.receive())
                if not isinstance(got, Letter):
                    return [f"{got!r} came, although nothing but tasks was cancelled"]
                seen.append(got.n)
            seen.pop()
            await one.release(None, owner)
    if seen != sorted(set(seen)):
        return [f"messages came twice or out of order: {seen}"]
    if missing := sorted(set(sure) - set(seen)):
        return [f"{len(missing)} messages did not come, although their send() had returned: {missing[:5]}"]
    return []


async def _cancel_after(scope: trio.CancelScope, steps: int, pieces: int) -> None:
    for _ in range(steps):
        await trio.lowlevel.checkpoint()
    await trio.sleep(pieces * 0.0001)
    scope.cancel()


async def _one_of(bus: Bus, target: str, owner: str, n: int, sure: list[int]) -> None:
    match n % 4:
        case 0 | 1:
            await bus.send(Letter(target=target, n=n))
            sure.append(n)
        case 2:
            async with bus.subscribe(name("short")) as messages:
                await messages.receive()
        case _:
            await bus.claim([f"{owner}-{n % 5}"], owner)
            await bus.renew(owner)


def _waiting(messages: Subscription) -> int:
    found = messages.statistics()
    return found.waiting + found.waiting_system


BUS_RULES: Final[dict[str, Rule]] = {
    "targeted": Rule(
        "a message with a target reaches all subscriptions of that name with its class, and no others",
        _targeted,
        needed=True,
    ),
    "broadcast": Rule(
        "a message without a target reaches all subscriptions with its class but those of its source",
        _broadcast,
        needed=True,
    ),
    "content": Rule("a message comes as it was sent", _content),
    "local": Rule("a message that is local stays in its process", _local),
    "below": Rule("names below a name have messages of their own", _below),
    "at_once": Rule("after subscribe() is entered, nothing that is sent later is missed", _at_once),
    "left": Rule("a subscription that was left gets nothing, and its name can be used again", _left),
    "order": Rule("messages of one sender come in the order in which it sent them", _order),
    "system_first": Rule("system messages overtake data messages", _system_first),
    "overflow": Rule(
        "a full buffer ends its subscription, or drops the oldest, and is nobody else's business", _too_slow
    ),
    "senders_wait": Rule(
        "overflow='wait' makes senders in the process wait, and is refused where there are others", _senders_wait
    ),
    "size": Rule("a message of a megabyte comes through; what cannot be sent is its sender's error", _largest),
    "open": Rule("a bus may be open in two blocks, and opened again", _opening),
    "closed": Rule("closing sends what was given before; afterwards, whoever uses the bus is told", _closing),
    "cancelled": Rule("a cancelled send, receive, subscribe or claim harms nobody", _cancelled),
    **NAMES,
    **BREAKS,
}
