"""Rules that a conformance suite checks, one after the other, and what it says about those that are broken."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any

import attrs
import trio

from trio_pipes import ConfigurationError
from trio_pipes._base import refuse

__all__ = ["Rule", "RuleBroken", "check_rules", "refuse_real_clock", "told"]


class RuleBroken(AssertionError):
    """A rule of a conformance suite that does not hold; the text says how."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"rule {rule!r} is broken: {text}")
        self.rule: str = rule
        """Its name, as the documentation lists it."""


@attrs.frozen
class Rule:
    """One rule: what must be so, and how to find out."""

    must: str
    check: Callable[[Any], Awaitable[Iterable[str]]]
    """Gives what is wrong; may raise as well."""
    needed: bool = False
    """Where it is broken the others say nothing new, and are not tried."""


async def check_rules(who: str, rules: Mapping[str, Rule], skip: Collection[str], case: Any) -> None:
    """Raise `RuleBroken` for the rule that is broken, or an `ExceptionGroup` of them."""
    broken: list[RuleBroken] = []
    for name, rule in rules.items():
        if name in skip:
            continue
        error = await _check(name, rule, case)
        if error is not None:
            broken.append(error)
            if rule.needed:
                break
    if len(broken) == 1:
        raise broken[0]
    if broken:
        raise ExceptionGroup(f"{who} breaks {len(broken)} rules: {', '.join(each.rule for each in broken)}", broken)


async def _check(name: str, rule: Rule, case: Any) -> RuleBroken | None:
    try:
        problems = list(await rule.check(case))
    except ConfigurationError:
        raise  # of the one who calls: what a processor raises comes in a group
    except Exception as exc:  # noqa: BLE001  (it becomes the verdict)
        error = RuleBroken(name, f"{rule.must}\n  but {told(exc)}")
        error.__cause__ = exc
        return error
    if not problems:
        return None
    lines = "\n  ".join([*problems[:5], *([f"... and {len(problems) - 5} more"] if len(problems) > 5 else [])])
    return RuleBroken(name, f"{rule.must}\n  but {lines}")


def told(exc: BaseException) -> str:
    """An error in a line, with its notes and those of the errors in it."""
    if isinstance(exc, BaseExceptionGroup):
        inner = "; ".join(told(each) for each in exc.exceptions)
        return "; ".join([inner, *getattr(exc, "__notes__", ())])
    text = str(exc) if isinstance(exc, AssertionError) else repr(exc)
    return "; ".join([text, *getattr(exc, "__notes__", ())])


def refuse_unknown(what: str, given: object, known: Collection[str]) -> frozenset[str]:
    """Names of rules, or `ConfigurationError`."""
    if isinstance(given, str) or not isinstance(given, Collection) or not all(isinstance(name, str) for name in given):
        raise refuse(f"{what}(skip", given, "names of rules: skip=('order',)")
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ConfigurationError(f"{what}(skip={given!r}): no rule {', '.join(unknown)}. There are: {', '.join(known)}")
    return frozenset(given)


def refuse_real_clock(what: str) -> None:
    """A suite waits for hours on Trio's clock where something hangs."""
    clock: Any = trio.lowlevel.current_clock()
    if not getattr(clock, "autojump_threshold", float("inf")) < float("inf"):
        raise ConfigurationError(f"{what} needs a clock that jumps: take the fixture pipes_clock")
