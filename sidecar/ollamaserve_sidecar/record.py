"""What is told of one request: who asked for what, how it ended, what it cost. Pure.

`client` opens a record with a request's head and closes it once; `ledger` counts it, and
`accesslog` writes it as one line. No header but the request's id, no query, no body is in it.
"""

from __future__ import annotations

import json
import re
import time
from enum import StrEnum
from functools import lru_cache
from itertools import count
from secrets import token_hex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ollamaserve_sidecar.errors import Problem
    from ollamaserve_sidecar.wire import Request

PATH_LIMIT = 256
"""Characters of a path that are told."""
_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_PREFIX, _NUMBERS = token_hex(6), count(1)


class Outcome(StrEnum):
    """How a request ended; the words are an interface (docs/operations.md)."""

    SERVED = "served"
    ANSWERED = "answered"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"
    CLIENT_GONE = "client_gone"
    UPSTREAM_FAILED = "upstream_failed"
    TRUNCATED = "truncated"
    SHUT_DOWN = "shut_down"


class Record:
    """`begun`, `first` (token, 0 where none was streamed) and `ended` are monotonic seconds.

    `received` and `sent` are bytes of bodies, as on the wire; `prompt` and `generated` are tokens
    as Ollama reported them, None where it didn't. `client` is an address, kept only where nobody
    was identified: a token's name says more, and is no personal data.
    """

    __slots__ = (
        "access",
        "begun",
        "client",
        "ended",
        "first",
        "generated",
        "id",
        "method",
        "model",
        "outcome",
        "path",
        "prompt",
        "reason",
        "received",
        "route",
        "sent",
        "status",
        "token",
    )

    def __init__(self, begun: float) -> None:
        self.begun = self.ended = begun
        self.first = 0.0
        self.id = self.method = self.path = self.token = self.access = ""
        self.route = "-"
        self.model = self.reason = self.client = ""
        self.status = self.received = self.sent = 0
        self.prompt: int | None = None
        self.generated: int | None = None
        self.outcome = Outcome.CLIENT_GONE

    def asked(self, request: Request) -> bytes:
        """Note the request; the header line that says its id, to both sides."""
        self.method = request.method
        self.path = request.target.partition("?")[0]
        given = request.fields.taken.get(b"x-request-id")
        if given and len(given) == 1 and _ID.fullmatch(given[0]):
            self.id = given[0].decode()
        return self.header()

    def header(self) -> bytes:
        """Ids are the client's own where they look like one (decision G14), else unique here."""
        if not self.id:
            self.id = f"{_PREFIX}-{next(_NUMBERS)}"
        return f"X-Request-Id: {self.id}\r\n".encode()

    def refused(self, problem: Problem) -> None:
        self.status, self.outcome, self.reason = problem.status, problem.outcome, problem.reason


def line(record: Record, now: float) -> bytes:
    """One line of JSON; `now` is in seconds since 1970."""
    seconds = int(now)
    # A stranger's path may be anything, a token in the wrong place included.
    path = record.path if record.token else ""
    asked = _asked(record.token, record.access, record.method, record.route, path)
    return (
        f'{{"time":"{_date(seconds)}.{int((now - seconds) * 1000):03d}Z","requestId":"{record.id}",'
        f'{asked},"status":{record.status},"durationMs":{(record.ended - record.begun) * 1000:.2f},'
        f'"bytesIn":{record.received},"bytesOut":{record.sent},{_known(record)}"outcome":"'
        + record.outcome
        + '"}\n'
    ).encode()


def _known(record: Record) -> str:
    """What most lines don't have."""
    parts = ""
    if record.reason:
        parts += f'"reason":"{record.reason}",'
    if record.client:
        parts += f'"client":{json.dumps(record.client)},'
    if record.first:
        parts += f'"ttftMs":{(record.first - record.begun) * 1000:.2f},'
    if record.prompt is not None:
        parts += f'"promptTokens":{record.prompt},"generatedTokens":{record.generated},'
    if record.model:
        parts += f'"model":{json.dumps(record.model)},'
    return parts


@lru_cache(maxsize=512)
def _asked(token: str, access: str, method: str, route: str, path: str) -> str:
    told = {"token": token, "access": access, "method": method, "route": route}
    return json.dumps(told | {"path": path[:PATH_LIMIT]}, separators=(",", ":"))[1:-1]


@lru_cache(maxsize=2)
def _date(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
