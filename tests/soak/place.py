"""Where a part stands that is in a service of a switcher: what becomes of its frames when the service is lost."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from trio_pipes import Direction, Frame, FrameProcessor, ServiceSwitcher

from .book import number_of

if TYPE_CHECKING:
    from .session import Session


class Place:
    """A service: `lone` is one part, and no pipeline."""

    switcher: ServiceSwitcher

    def __init__(self, session: Session, index: int, outer: Place | None, *, lone: bool, repeats: bool) -> None:
        self.session, self.index, self.outer = session, index, outer
        self.lone, self.repeats = lone, repeats
        self.seen: dict[str, int] = {}  # numbers, by the names of frames

    def gives_on(self, part: Any) -> bool:
        """Whether the frame on which a part is about to raise goes to the next service. The service is lost."""
        if self.session.script.report:
            return False  # the frame is dropped, and the service goes on
        switcher = self.switcher
        others = [one for one in switcher.usable_services if one is not switcher.services[self.index]]
        concurrent = part.kind in ("concurrent", "unordered")
        return bool(others) and self.lone and self.repeats and not concurrent

    def saw(self, frame: Frame) -> None:
        """A frame came into it, or was made in it."""
        self.seen[frame.name] = number_of(frame)
        if self.outer is not None:
            self.outer.saw(frame)

    def settle(self, errors: list[str]) -> None:
        """What is lost with a service is named in an error."""
        for error in errors:
            named = {self.seen[name] for name in re.findall(r"\w+#\d+", error) if name in self.seen}
            if named and error.endswith(" more"):  # the others are only counted
                named = set(self.seen.values())
            self.session.book.failed |= named
            self.session.book.lost |= named


class Top(FrameProcessor):
    """The first processor of a service that has several."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if direction is Direction.DOWNSTREAM and hasattr(frame, "number"):
            self.place.saw(frame)
        await self.push_frame(frame, direction)
