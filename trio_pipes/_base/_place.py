"""Where something runs: calls from another thread, or from another Trio run, are refused before they do harm."""

from __future__ import annotations

from contextlib import suppress

import trio

__all__ = ["Place"]


class Place:
    """The Trio run that something belongs to while it runs."""

    __slots__ = ("_name", "_token")

    def __init__(self, name: str) -> None:
        self._name = name
        self._token: trio.lowlevel.TrioToken | None = None

    def enter(self) -> None:
        """It runs here now."""
        self._token = trio.lowlevel.current_trio_token()

    def leave(self) -> None:
        """It does not run any more, and may be asked from everywhere."""
        self._token = None

    def check(self, call: str) -> None:
        """Raise `RuntimeError` where `call` is not made from the Trio run that this runs in."""
        if self._token is None:
            return
        here = None
        with suppress(RuntimeError):  # a thread without a Trio run
            here = trio.lowlevel.current_trio_token()
        if here is not self._token:
            raise RuntimeError(
                f"{self._name}.{call}() was called from another thread or another Trio run than the one it runs in. "
                f"Use {self._name}.from_thread() there, or trio.from_thread."
            )
