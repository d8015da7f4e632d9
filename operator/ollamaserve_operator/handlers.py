"""Every kopf decorator, and nothing else: an event updates the cache and enqueues a key.

kopf logs and drops what a handler raises, so nothing that can fail belongs here. The registry is
our own, not kopf's global one, so that a process can hold several operators (tests do).
"""

from collections.abc import Callable
from typing import Any

import kopf

from ollamaserve_operator import kinds, names
from ollamaserve_operator.cache import Cache
from ollamaserve_operator.connection import Connection
from ollamaserve_operator.queue import Queue
from ollamaserve_operator.sweep import Sweep

SETTLE = 0.1  # seconds: one change of a child comes as several events


def registry(
    *, cache: Cache, queue: Queue[Any], sweep: Sweep, connection: Connection
) -> kopf.OperatorRegistry:
    """The handlers of all watched kinds, and the log-in."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        connection.forget()  # kopf asks only when it has none, or was answered 401
        return connection.info

    async def seen(event: kopf.RawEvent, **_: Any) -> None:
        kind, body = event["object"]["kind"], event["object"]
        if event["type"] is None:
            sweep.relisted(kind)
        key = cache.drop(body) if event["type"] == "DELETED" else cache.put(body)
        if key is not None:
            queue.add(key, 0.0 if kind == names.KIND else SETTLE)

    for kind in kinds.WATCHED:
        _on(registry, kind, seen)
    return registry


def _on(registry: kopf.OperatorRegistry, kind: kinds.Kind, handler: Callable[..., Any]) -> None:
    kopf.on.event(kind.group, kind.version, kind.plural, registry=registry)(handler)
