"""Which web pages may ask (P23, G16): the answers to preflights, and the fields on every response.

Pure. Cross-origin requests are denied unless their origin is in the list, exactly as browsers write
it (Fetch, 3.2). Never with credentials: a page must hold a token, cookies count for nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ollamaserve_sidecar.fields import ConfigError, Fields

if TYPE_CHECKING:
    from ollamaserve_sidecar.wire import Request

ANY = "*"
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_DEFAULT_PORT = re.compile(r"http://.*:80|https://.*:443")
_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
# Ollama's own list (server/routes.go), and what Anthropic's clients send.
_HEADERS = (
    "Authorization",
    "Content-Type",
    "User-Agent",
    "Accept",
    "X-Requested-With",
    "X-Request-Id",
    "X-Api-Key",
    "Anthropic-Version",
    "Anthropic-Beta",
    "Anthropic-Dangerous-Direct-Browser-Access",
    "OpenAI-Beta",
    "OpenAI-Organization",
    "OpenAI-Project",
)
# OpenAI's and Anthropic's clients tell about themselves in a growing number of these.
_STAINLESS = re.compile(rb"x-stainless-[a-z-]{1,40}")
_MOST_STAINLESS = 32
_MAX_AGE = 600
_EXPOSED = "Retry-After, WWW-Authenticate, X-Request-Id"
_VARY = b"Vary: Origin\r\n"


@dataclass(frozen=True, slots=True)
class Cors:
    """`origins` are as in the header; `ANY` in it stands for all. Header lines end in CRLF."""

    origins: frozenset[bytes] = frozenset()

    def lines(self, request: Request) -> bytes:
        """What a response to this request has besides; nothing where no origin is allowed."""
        if not self.origins:
            return b""
        allowed = self._allowed(request.fields.values(b"origin"))
        return (
            b"%bAccess-Control-Expose-Headers: %b\r\n"
            % (
                _VARY + allowed,
                _EXPOSED.encode(),
            )
            if allowed
            else _VARY
        )

    def preflight(self, request: Request) -> bytes:
        """The header lines of the answer; without Allow-Origin it is a refusal."""
        allowed = self._allowed(request.fields.values(b"origin"))
        if not allowed:
            return _VARY
        names = ", ".join((*_HEADERS, *_stainless(request)))
        return _VARY + allowed + _PREFLIGHT % names.encode()

    def _allowed(self, origins: list[bytes]) -> bytes:
        if ANY.encode() in self.origins:
            return _ALLOWED % ANY.encode() if origins else b""
        if len(origins) == 1 and origins[0] in self.origins:
            return _ALLOWED % origins[0]
        return b""


_ALLOWED = b"Access-Control-Allow-Origin: %b\r\n"
_PREFLIGHT = (
    f"Access-Control-Allow-Methods: {_METHODS}\r\n"
    "Access-Control-Allow-Headers: %b\r\n"
    f"Access-Control-Max-Age: {_MAX_AGE}\r\n"
).encode()


def _stainless(request: Request) -> list[str]:
    asked = b",".join(request.fields.values(b"access-control-request-headers")).lower()
    names = [name.strip() for name in asked.split(b",")]
    return [name.decode() for name in names if _STAINLESS.fullmatch(name)][:_MOST_STAINLESS]


def cors(entry: Any) -> Cors:
    """`cors` of GATE_CONFIG; ConfigError where an entry could never match an Origin header."""
    fields = Fields("cors", entry)
    origins = fields.take("allowedOrigins", list, [])
    fields.close()
    for i, origin in enumerate(origins):
        if not (isinstance(origin, str) and _plausible(origin)):
            raise ConfigError(
                f"cors.allowedOrigins[{i}] is {origin!r}: write scheme://host or scheme://host:port"
                " as browsers do, in lower case, without path or default port; or * for any page"
            )
    return Cors(frozenset(origin.encode() for origin in origins))


def _plausible(origin: str) -> bool:
    return origin == ANY or bool(_ORIGIN.fullmatch(origin) and not _DEFAULT_PORT.fullmatch(origin))
