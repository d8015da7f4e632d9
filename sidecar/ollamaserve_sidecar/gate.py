"""The door on port 7860: head, authenticate, authorise, forward, splice the response.

The hot path. `__main__` builds one `Gate`; nothing else enters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ollamaserve_sidecar.config import Config
    from ollamaserve_sidecar.reload import Live


class Drain(Protocol):
    """What the gate needs of `lifecycle`: a mark around each request in flight (G8)."""

    @property
    def draining(self) -> bool: ...

    def entered(self) -> None: ...

    def left(self) -> None: ...


class Metrics(Protocol):
    """What the gate tells `metrics`, once per request and never per chunk.

    `token` is the token's name, empty where nobody was identified; `route` is one of the labels of
    `policy`, or `-` where none was decided; `status` is 499 where the client left before a
    response; `seconds` run from the request's head to the end of the exchange.
    """

    def request(self, token: str, route: str, status: int, seconds: float) -> None: ...

    def upstream_error(self, kind: str) -> None: ...


class Gate:
    """`start` binds GATE_LISTEN; `close` stops listening and cuts what is still in flight."""

    def __init__(self, config: Config, live: Live, drain: Drain, metrics: Metrics) -> None:
        self._config, self._live, self._drain, self._metrics = config, live, drain, metrics

    @property
    def port(self) -> int:
        """The port that was bound, also where the configuration said 0."""
        raise NotImplementedError

    async def start(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError
