"""Two buses that are joined over a websocket, as far as each side allows."""

from trio_pipes._base import import_extra

import_extra("websockets", "websocket", "a websocket proxy")

from ._client import WebSocketProxyClient  # noqa: E402
from ._jobs_across import JOBS  # noqa: E402
from ._server import WebSocketProxyServer  # noqa: E402
from ._worker import ProxyStatistics  # noqa: E402

__all__ = ["JOBS", "ProxyStatistics", "WebSocketProxyClient", "WebSocketProxyServer"]
