"""A file for `trio-pipes run`: `trio-pipes run docs/examples/echo.py world` says hello to the world."""

import sys

from trio_pipes import Direction, EndTaskFrame, Frame, FrameProcessor, Pipeline, StartFrame, TextFrame, each


class Greeter(FrameProcessor):
    """Says hello, then ends the task that it is in."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            await self.push_frame(TextFrame(f"hello {' '.join(sys.argv[1:])}"))
            await self.push_frame(EndTaskFrame("said hello"))


@each
def show(frame: TextFrame) -> None:
    print(frame.text)


pipeline = Pipeline([Greeter(), show])
