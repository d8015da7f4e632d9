"""What most people would write: a proxy on aiohttp's own server and client, with a bearer check.

Run by itself: `plain.py PORT UPSTREAM-PORT TOKEN`.
"""

from __future__ import annotations

import sys
from hmac import compare_digest
from typing import TYPE_CHECKING

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SESSION = web.AppKey("session", ClientSession)
HOP_BY_HOP = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}


def proxy(upstream: str, token: str) -> web.Application:
    expected = f"Bearer {token}".encode()

    async def forward(request: web.Request) -> web.StreamResponse:
        if not compare_digest(request.headers.get("Authorization", "").encode(), expected):
            return web.json_response({"error": "invalid token"}, status=401)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP}
        if request.content_length:
            headers["Content-Length"] = str(request.content_length)
        body = request.content.iter_any() if request.can_read_body else None
        url = upstream + request.raw_path
        session = request.app[SESSION]
        async with session.request(request.method, url, headers=headers, data=body) as answer:
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            response.content_length = answer.content_length
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
        return response

    async def session(app: web.Application) -> AsyncIterator[None]:
        connector, timeout = TCPConnector(limit=0), ClientTimeout(total=None)
        jar = DummyCookieJar()
        async with ClientSession(
            connector=connector, timeout=timeout, cookie_jar=jar, auto_decompress=False
        ) as app[SESSION]:
            yield

    app = web.Application(client_max_size=0)
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", forward)
    return app


if __name__ == "__main__":
    port, upstream_port, token = sys.argv[1:]
    app = proxy(f"http://127.0.0.1:{upstream_port}", token)
    web.run_app(app, host="127.0.0.1", port=int(port), access_log=None, backlog=4096, print=None)
