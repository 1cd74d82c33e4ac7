"""Fixtures of many tests here: the same must be true fused and unfused, watched and not."""

import pytest


@pytest.fixture(params=[False, True], ids=["fused", "unfused"])
def debug(request):
    return request.param


# How an observer is told of frames must not change what is done with them.
@pytest.fixture(params=[False, True], ids=["unwatched", "watched"])
def observers(request):
    class Watches:
        def on_frame_handled(self, task, processor, frame, direction):
            pass

    return [Watches()] if request.param else []
