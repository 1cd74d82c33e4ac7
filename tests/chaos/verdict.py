"""What became of every message: judged from numbered ones, in what their senders and receivers have said themselves.

The rule. Between one sender and one receiver numbers only grow: nothing comes twice, nothing out of order. A number that was sent and did
not come was told as lost: by an error at its sender; by a `BusGap` at its receiver after it was sent and before the next one that came,
as `BusGap` promises; or because the receiver's subscription has failed and said so. What a receiver that was killed would have got does not count, nor what was sent to it before it
listened. A sender that was killed may have sent one more than it could say.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import inf

import attrs

from .process import Line, Process

# Seconds between what happens and the line that says it: a sender says "sent" when it has the answer, and may be kept from saying it.
SLACK = 0.1


@attrs.define
class Account:
    """What became of one sender's messages at one receiver."""

    sent: int = 0
    got: int = 0
    refused: int = 0
    """Errors at the sender."""
    missed: int = 0
    """Sent, did not come, and the receiver was told."""
    unheard: int = 0
    """Sent when the receiver was dead, or had been told that its subscription has ended."""
    gaps: int = 0
    """`BusGap`s at the receiver."""
    problems: list[str] = attrs.field(factory=list)

    def __add__(self, other: Account) -> Account:
        pairs = zip(attrs.astuple(self, recurse=False), attrs.astuple(other, recurse=False), strict=True)
        return Account(*[mine + theirs for mine, theirs in pairs])

    def __str__(self) -> str:
        parts = [f"{self.sent} sent", f"{self.got} came"]
        parts += [f"{self.missed} missed and told by {self.gaps} gaps"] if self.missed or self.gaps else []
        parts += [f"{self.unheard} too late to be heard"] if self.unheard else []
        parts += [f"{self.refused} refused"] if self.refused else []
        return ", ".join(parts)


def judge(talker: Process, source: str, listener: Process, ear: str) -> Account:
    """Compare what `source` has sent with what `ear` has got."""
    account = Account()
    what = f"{source} to {ear}"
    sent = {line["n"]: line for line in talker.all("sent", source=source)}
    refused = {line["n"] for line in talker.all("not sent", source=source)}
    got = listener.all("got", ear=ear, source=source)
    gaps = [line["at"] for line in listener.all("gap", ear=ear)]
    account.sent, account.got, account.refused, account.gaps = len(sent), len(got), len(refused), len(gaps)
    account.problems += [f"{what}: {problem}" for problem in disorder([line["n"] for line in got])]
    last = max(sent.keys() | refused, default=-1)
    invented = [
        line["n"] for line in got if line["n"] not in sent and line["n"] not in refused and line["n"] != last + 1
    ]
    if invented:
        account.problems.append(f"{what}: {ranges(invented)} came and were not sent")
    began = min((line["at"] for line in listener.all("hears", ear=ear)), default=inf)
    ended = listener.killed or listener.frozen or listener.all("deaf", ear=ear)
    came = {line["n"]: line["at"] for line in got}
    silent = []
    for n, line in sent.items():
        if n in came or not began < line["at"]:
            continue
        if ended and n > max(came, default=-1):
            account.unheard += 1
        elif told(line, came, gaps):
            account.missed += 1
        else:
            silent.append(n)
    if silent:
        account.problems.append(f"{what}: {ranges(silent)} of {len(sent)} did not come, and nobody was told")
    return account


def told(line: Line, came: dict[int, float], gaps: list[float]) -> bool:
    """Whether a gap was told after this was sent, and before the next came. Times order the lines of one process."""
    after = min((at for n, at in came.items() if n > line["n"]), default=inf)
    return any(line["at"] - SLACK <= gap <= after for gap in gaps)


def disorder(numbers: list[int]) -> Iterator[str]:
    """What came twice or behind a later one."""
    seen = set()
    for before, number in pairwise([-1, *numbers]):
        if number in seen:
            yield f"{number} came twice"
        elif number <= before:
            yield f"{number} came behind {before}"
        seen.add(number)


def ranges(numbers: list[int]) -> str:
    """`3, 5-9`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    texts = ["-".join(map(str, run)) for run in runs]
    return ", ".join(texts[:8]) + (f", ... ({len(numbers)} in all)" if len(texts) > 8 else "")
