"""The operator's port: `/livez` for kubelet, `/metrics` for Prometheus. No credentials pass here.

`/livez` fails only where a restart helps: a queue in which nothing moves, a look that never ends,
or a watch that shows nothing while the cluster changes. An API server that is down is no reason.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

Server = AbstractAsyncContextManager[None]

STUCK = 300.0
ENDLESS = 1800.0  # an API server that answers nothing holds up a turn by 30 s for each of its calls


@asynccontextmanager
async def serve(
    host: str | None, port: int, *, registry: CollectorRegistry, trouble: Callable[[], str]
) -> AsyncIterator[None]:
    """Answer while inside; `trouble` returns a sentence, or nothing where all is well."""

    async def livez(_: web.Request) -> web.Response:
        words = trouble()
        return web.Response(text=words or "ok", status=500 if words else 200)

    async def metrics(_: web.Request) -> web.Response:
        body = generate_latest(registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()


def trouble(*, overdue: float, idle: float, longest: float, dead: frozenset[str]) -> str:
    """Seconds: the oldest key overdue, since any was finished, the longest turn; kinds unseen."""
    if min(overdue, idle) > STUCK:
        return f"nothing was reconciled for {idle:.0f} s, and a resource waits for {overdue:.0f} s"
    if longest > ENDLESS:
        return f"a look at one resource lasts for {longest:.0f} s"
    if dead:
        return f"the watch shows nothing any more: {', '.join(sorted(dead))}"
    return ""
