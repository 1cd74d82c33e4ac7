from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import ParamSpec

import trio

_P = ParamSpec("_P")

def move_on_when(
    fn: Callable[_P, Awaitable[object]], *args: _P.args, **kwargs: _P.kwargs
) -> AbstractAsyncContextManager[trio.CancelScope]: ...
