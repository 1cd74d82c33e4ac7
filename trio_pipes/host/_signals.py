"""One receiver per signal for all runners of a Trio run.

`trio.open_signal_receiver` puts the old handler back when it is left, which is only right when receivers are left
in the reverse order of being opened. Runners come and go in any order. So the first that wants a signal opens
the receiver, all share it, and the last to leave closes it. Each has a task that would read it; one of them does,
and when its runner leaves the next takes over.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

import trio

__all__ = ["Signals"]

Handler = Callable[[signal.Signals], None]


class _Receiver:
    """One signal, and who wants to hear of it."""

    def __init__(self, signum: signal.Signals) -> None:
        self.signum = signum
        self.handlers: list[Handler] = []
        self._stack = ExitStack()
        self._signals = self._stack.enter_context(trio.open_signal_receiver(signum))
        self._reading = trio.Lock()

    async def read(self) -> None:
        async with self._reading:
            async for signum in self._signals:
                for handler in dict.fromkeys(self.handlers):  # one runner may be there several times
                    handler(signal.Signals(signum))

    def close(self) -> None:
        self._stack.close()


_receivers: trio.lowlevel.RunVar[dict[signal.Signals, _Receiver]] = trio.lowlevel.RunVar("trio_pipes.signals")


class Signals:
    """The signals of one runner: a block, in which `read_in` has to be called."""

    def __init__(self, signums: Iterable[signal.Signals], handler: Handler) -> None:
        self._signums = tuple(signums)
        self._handler = handler
        self._mine: list[_Receiver] = []

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Raises `RuntimeError` off the main thread, where Python delivers no signals."""
        if self._signums and threading.current_thread() is not threading.main_thread():
            names = ", ".join(signum.name for signum in self._signums)
            raise RuntimeError(
                f"signals ({names}) can be handled in the main thread only, and this runner is in "
                f"{threading.current_thread().name!r}. Pass handle_sigint=False (and handle_sigterm=False)."
            )
        try:
            receivers = _receivers.get()
        except LookupError:
            receivers = {}
            _receivers.set(receivers)
        for signum in self._signums:
            if signum not in receivers:
                receivers[signum] = _Receiver(signum)
            receiver = receivers[signum]
            receiver.handlers.append(self._handler)
            self._mine.append(receiver)
        try:
            yield
        finally:
            for receiver in self._mine:
                receiver.handlers.remove(self._handler)
                if not receiver.handlers:
                    del receivers[receiver.signum]
                    receiver.close()

    def read_in(self, nursery: trio.Nursery) -> None:
        """Hand signals to all runners that want them, as long as this one is there."""
        for receiver in self._mine:
            nursery.start_soon(receiver.read)
