"""What the members say to each other."""

from __future__ import annotations

import attrs

from trio_pipes import DataMessage, on_wire


@on_wire("chaos.number", version=1)
@attrs.define(eq=False, kw_only=True)
class Number(DataMessage):
    """A number of its source's, and as many bytes as it was told to have."""

    n: int
    filling: bytes = b""
