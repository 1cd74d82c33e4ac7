# Types of what trio_pipes uses of trio-util 0.8, which has none of its own. For our checkers only: not packaged.
from ._async_bool import AsyncBool as AsyncBool
from ._async_value import AsyncValue as AsyncValue
from ._awaitables import wait_all as wait_all, wait_any as wait_any
from ._cancel_scopes import move_on_when as move_on_when
from ._periodic import periodic as periodic
from ._repeated_event import RepeatedEvent as RepeatedEvent
