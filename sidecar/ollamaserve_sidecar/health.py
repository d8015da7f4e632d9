"""Port 7861: what kubelet, the operator and Prometheus ask of this process. No credentials here.

Not the hot path, so aiohttp's own server does. Decision G14: browsers (requests with `Origin`) get
neither `/status` nor `/metrics`, at most 64 connections, 5 s for a request's head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import web

if TYPE_CHECKING:
    import asyncio

    from ollamaserve_sidecar.config import Address
    from ollamaserve_sidecar.status import Verdict

CONNECTIONS = 64
HEAD_SECONDS = 5.0
_PRIVATE = frozenset({"/status", "/metrics"})
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Subject(Protocol):
    """The process that this port speaks for."""

    def verdict(self) -> Verdict: ...

    def document(self) -> dict[str, Any]: ...

    def exposition(self) -> bytes: ...

    async def drained(self) -> bool: ...


class Port:
    """The status port of one process, open between `start` and `close`."""

    def __init__(self, subject: Subject, address: Address) -> None:
        self._subject, self._address = subject, address
        self._runner: web.ServerRunner | None = None
        self._answers = {
            "/livez": self._alive,
            "/readyz": self._ready,
            "/status": self._status,
            "/metrics": self._metrics,
            "/drained": self._drained,
        }

    @property
    def port(self) -> int:
        """The port that was bound, also where the configuration said 0."""
        return int(self._runner.addresses[0][1]) if self._runner else 0

    async def start(self) -> None:
        """Listen; OSError where the address can't be bound."""
        server = _Server(
            self._answer,
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=HEAD_SECONDS,
            lingering_time=0,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._address.host, self._address.port).start()

    async def close(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        response = await self._response(request)
        response.headers["Server"] = "ollamaserve"  # not the versions that aiohttp tells
        return response

    async def _response(self, request: web.BaseRequest) -> web.Response:
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        answer = self._answers.get(request.path)
        if answer is None:
            return web.Response(status=404)
        if request.path in _PRIVATE and "Origin" in request.headers:
            return web.Response(status=403, text="browsers are not served here")
        return await answer()

    async def _alive(self) -> web.Response:
        return web.Response(text="ok")

    async def _ready(self) -> web.Response:
        verdict = self._subject.verdict()
        text = f"{verdict.reason}: {verdict.message}"
        return web.Response(status=200 if verdict.ready else 503, text=text)

    async def _status(self) -> web.Response:
        return web.json_response(self._subject.document())

    async def _metrics(self) -> web.Response:
        headers = {"Content-Type": _METRICS_TYPE}
        return web.Response(body=self._subject.exposition(), headers=headers)

    async def _drained(self) -> web.Response:
        return web.json_response({"drained": await self._subject.drained()})


class _Server(web.Server):
    """aiohttp's server with a limit to its connections, which it has no option for."""

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
