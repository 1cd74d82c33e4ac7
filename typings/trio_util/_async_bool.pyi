from ._async_value import AsyncValue

class AsyncBool(AsyncValue[bool]):
    def __init__(self, value: bool = False) -> None: ...
