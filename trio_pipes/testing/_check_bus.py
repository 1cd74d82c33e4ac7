"""`check_bus`: whether a bus behaves as one should."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection

from trio_pipes import Bus, ConfigurationError
from trio_pipes._base import check_callable, check_number

from ._bus_case import BusCase
from ._bus_rules import BUS_RULES
from ._rules import check_rules, refuse_unknown

__all__ = ["check_bus"]


async def check_bus(
    make_bus: Callable[[], Bus],
    *,
    cut: Callable[[Bus], Awaitable[object]] | None = None,
    inject: Callable[[bytes], Awaitable[object]] | None = None,
    patience: float = 10.0,
    skip: Collection[str] = (),
) -> None:
    """Send over a bus, subscribe, claim names and break it in every way, and see that it keeps the rules of the documentation.

    `make_bus` is called for a fresh one each time, on the same medium: as another process would make it. For a bus that
    stays in its process it may give the same one again. `cut(bus)` breaks the connection of one to its
    medium, from outside, if it has one just then; `inject(data)` sends bytes that no bus made to where broadcasts arrive. Without them, the
    rules that need them are not checked. `patience` is how many seconds a message, an error or a reconnection may take.
    `skip` names rules that are not checked.

    Raises `RuleBroken`, or an `ExceptionGroup` of them. Real time passes where the bus is real: a short `lease` makes it less.
    """
    skip = refuse_unknown("check_bus", skip, BUS_RULES)
    check_callable("check_bus(make_bus", make_bus, "what makes a fresh bus each time: lambda: RedisBus(...)")
    for what, function in (("cut", cut), ("inject", inject)):
        if function is not None:
            check_callable(f"check_bus({what}", function, "an async function, or None")
    check_number("check_bus(patience", patience, "seconds above 0", above=True)
    made = make_bus()
    if not isinstance(made, Bus):
        if inspect.iscoroutine(made):
            made.close()
        raise ConfigurationError(f"check_bus(make_bus={make_bus!r}): it gave {made!r}, expected a Bus")
    case = BusCase(make=make_bus, cut=cut, inject=inject, patience=patience)
    await check_rules(type(made).__name__, BUS_RULES, skip, case)
