"""What the gate says when it refuses, in the shape that the API asked for has.

Pure. Ollama's error is a string under `error` (its CLI can't read an object there), OpenAI's and
Anthropic's are objects. A text here names neither a token nor anything of a body.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING

from ollamaserve_sidecar.record import Outcome

if TYPE_CHECKING:
    from ollamaserve_sidecar.policy import Access


class Family(StrEnum):
    OLLAMA = "ollama"
    OPENAI = "openai"
    ANTHROPIC = "anthropic"


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal; `code` is the one in OpenAI's shape, `fields` are header lines of its own.

    The access log says `outcome` and `reason`, which is `cause` where the code isn't exact enough.
    """

    status: int
    code: str
    message: str
    fields: tuple[str, ...] = ()
    outcome: Outcome = Outcome.REFUSED
    cause: str = ""

    @property
    def reason(self) -> str:
        return self.cause or self.code


# RFC 6750, 3: a challenge without an error where no credentials came at all.
MISSING = Problem(
    401,
    "missing_token",
    "no token came with the request: send the header 'Authorization: Bearer <token>'",
    ('WWW-Authenticate: Bearer realm="ollama"',),
)
MALFORMED = Problem(
    401,
    "malformed_authorization",
    "the credentials can't be read: write 'Authorization: Bearer <token>' or 'x-api-key: <token>',"
    " one token and nothing more",
    ('WWW-Authenticate: Bearer realm="ollama", error="invalid_request"',),
)
INVALID = Problem(
    401,
    "invalid_token",
    "the token isn't valid here, or not any more: ask who runs this server for a current one",
    ('WWW-Authenticate: Bearer realm="ollama", error="invalid_token"',),
)
# The `ollama` program shows the status of a 401 alone; other clients and logs show the rest.
UNSIGNED = Problem(
    401,
    "invalid_signature",
    "the request isn't signed by a key that is authorised here: have the line that is in your"
    " ~/.ollama/id_ed25519.pub added (spec.auth.authorizedKeys of the OllamaServe)",
    ('WWW-Authenticate: Bearer realm="ollama", error="invalid_token"',),
)
STALE = Problem(
    401,
    "stale_signature",
    "the request's signature is too old, from the future, or was used before: set this machine's"
    " clock, and try again",
    ('WWW-Authenticate: Bearer realm="ollama", error="invalid_token"',),
)
AMBIGUOUS = Problem(
    400,
    "ambiguous_credentials",
    "more than one token came with the request: send one Authorization or x-api-key header",
)
UNREACHABLE = Problem(
    503,
    "ollama_unreachable",
    "Ollama can't be reached: it may be starting, try again soon",
    ("Retry-After: 5",),
    Outcome.UPSTREAM_FAILED,
)
BROKEN = Problem(
    502,
    "ollama_broke_off",
    "Ollama closed the connection, or sent no valid answer: try again",
    ("Retry-After: 1",),
    Outcome.UPSTREAM_FAILED,
)
SLOW_HEAD = Problem(
    408,
    "request_timeout",
    "the request's head took too long to arrive",
    outcome=Outcome.TIMED_OUT,
    cause="slow_head",
)
SLOW_BODY = Problem(
    408,
    "request_timeout",
    "the request's body arrives too slowly",
    outcome=Outcome.TIMED_OUT,
    cause="slow_body",
)
BUSY = Problem(
    429,
    "rate_limit_exceeded",
    "too many requests are under way, and the queue is full: try again in a while",
    ("Retry-After: 10",),
    cause="queue_full",
)
WAITED = Problem(
    429,
    "rate_limit_exceeded",
    "the request has waited in the queue for as long as it may: try again in a while",
    ("Retry-After: 10",),
    Outcome.TIMED_OUT,
    "queue_timeout",
)
LEAVING = Problem(
    503,
    "shutting_down",
    "this server is shutting down, and the request was still in the queue: try again",
    ("Retry-After: 1",),
    Outcome.SHUT_DOWN,
)
CROWDED = Problem(
    503,
    "too_many_connections",
    "too many connections are open: close some, and try again",
    ("Retry-After: 10",),
)
NO_EGRESS = Problem(
    403,
    "no_egress",
    "this server has no way out to a registry or to ollama.com:"
    " add it to spec.models, or open spec.networkPolicy.egress",
)
BAD_BODY = Problem(400, "bad_request", "the request's body isn't validly chunked")


def bad_request(status: int, reason: str) -> Problem:
    return Problem(status, "bad_request", reason)


def too_large(limit: int) -> Problem:
    return Problem(
        413,
        "request_too_large",
        f"the request's body is longer than the {limit} bytes that are allowed here: send less, or"
        " have spec.gate.limits.bodyBytes of the OllamaServe raised",
    )


def too_fast(per_minute: int, wait: int) -> Problem:
    return Problem(
        429,
        "rate_limit_exceeded",
        f"this token may send {per_minute} requests per minute: try again in {wait} s",
        (f"Retry-After: {wait}",),
        cause="rate_limit",
    )


def forbidden(access: Access, needs: Access) -> Problem:
    return Problem(
        403,
        "access_denied",
        f"this token's access is '{access}', and this request needs '{needs}': use a token with"
        f" that access, or have it given to this one (spec.auth of the OllamaServe)",
    )


def unlisted(access: Access) -> Problem:
    """A mistyped path, or one of a newer Ollama: which of the two, only the sender knows."""
    return Problem(
        403,
        "access_denied",
        "the gate knows no such path with this method: check how it is spelt; this token's access"
        f" is '{access}', and what the gate doesn't know needs 'full'",
    )


def family(target: str) -> Family:
    if target.startswith("/v1/messages"):
        return Family.ANTHROPIC
    return Family.OPENAI if target.startswith("/v1/") else Family.OLLAMA


def response(
    problem: Problem, shape: Family, *, close: bool, head: bool = False, lines: bytes = b""
) -> bytes:
    """The whole response; `head` leaves the body out, `lines` are header lines besides."""
    own, body = _parts(problem, shape, close=close)
    return b"%b%b\r\n%b" % (own, lines, b"" if head else body)


@lru_cache(maxsize=256)
def _parts(problem: Problem, shape: Family, *, close: bool) -> tuple[bytes, bytes]:
    """Head, without its empty line, and body; problems are few, so are these kept."""
    body = json.dumps(_body(problem, shape)).encode()
    own = [
        f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        *problem.fields,
        *(["Connection: close"] if close else []),
    ]
    return "".join([field + "\r\n" for field in own]).encode(), body


def _body(problem: Problem, shape: Family) -> dict[str, object]:
    match shape:
        case Family.OLLAMA:
            return {"error": problem.message}
        case Family.OPENAI:
            kind = _OPENAI_TYPES.get(problem.status, "invalid_request_error")
            return {"error": {"message": problem.message, "type": kind, "code": problem.code}}
        case Family.ANTHROPIC:
            kind = _ANTHROPIC_TYPES.get(problem.status, "invalid_request_error")
            return {"type": "error", "error": {"type": kind, "message": problem.message}}


# Names as in OpenAI's and Anthropic's error references.
_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    502: "server_error",
    503: "server_error",
}
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    413: "request_too_large",
    429: "rate_limit_error",
    502: "api_error",
    503: "overloaded_error",
}
