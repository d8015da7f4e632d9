"""How much one gate takes on (decision G12): the numbers, and the pace of each token's requests.

Pure. All limits are per replica. `slots` counts what is under way; this room knows no connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ollamaserve_sidecar.fields import Fields

if TYPE_CHECKING:
    from ollamaserve_sidecar.wire import Request

UNLIMITED = 0
_MOST = 1_000_000
_MOST_BYTES = 1 << 50
_MINUTE = 60.0
# The one upload that is meant to be as large as a model, and streamed to disk by Ollama.
_BLOBS = "/api/blobs/:digest"


@dataclass(frozen=True, slots=True)
class Limits:
    """0 means no limit for `per_token` and `per_minute`; `queue` 0 means that nobody waits.

    `queue_wait` is in seconds, `body_bytes` counts what is on the wire, chunk framing included.
    """

    body_bytes: int = 64 << 20
    concurrent: int = 128
    per_token: int = UNLIMITED
    queue: int = 256
    queue_wait: int = 300
    per_minute: int = UNLIMITED
    connections: int = 4096

    def body(self, label: str) -> int | None:
        """The most bytes that a request on this route may have; None is no limit."""
        return None if label == _BLOBS else self.body_bytes


def too_large(request: Request, limit: int | None) -> bool:
    """Whether the head alone says so; a chunked body is counted as it comes."""
    return limit is not None and request.length > limit


def limits(entry: Any) -> Limits:
    """`limits` of GATE_CONFIG; ConfigError where a number can't be meant."""
    fields, default = Fields("limits", entry), Limits()
    parsed = Limits(
        body_bytes=fields.number("bodyBytes", default.body_bytes, 1, _MOST_BYTES),
        concurrent=fields.number("concurrentRequests", default.concurrent, 1, _MOST),
        per_token=fields.number("concurrentRequestsPerToken", default.per_token, 0, _MOST),
        queue=fields.number("queue", default.queue, 0, _MOST),
        queue_wait=fields.number("queueWaitSeconds", default.queue_wait, 1, 86_400),
        per_minute=fields.number("requestsPerMinute", default.per_minute, 0, _MOST),
        connections=fields.number("connections", default.connections, 1, _MOST),
    )
    fields.close()
    return parsed


class Pace:
    """A token bucket per token: `per_minute` requests at once, then evenly over each minute."""

    def __init__(self) -> None:
        self._levels: dict[str, tuple[float, float]] = {}

    def wait(self, token: str, per_minute: int, now: float) -> float:
        """Count a request, and 0; or the seconds until one may come, without counting it."""
        if per_minute == UNLIMITED:
            return 0.0
        level, since = self._levels.get(token, (float(per_minute), now))
        level = min(float(per_minute), level + (now - since) * per_minute / _MINUTE)
        counted = level >= 1
        self._levels[token] = (level - counted, now)
        return 0.0 if counted else (1 - level) * _MINUTE / per_minute

    def forget(self) -> None:
        """Begin anew: the configuration, and so the names and their numbers, has changed."""
        self._levels.clear()
