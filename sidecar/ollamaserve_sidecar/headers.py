"""Which header fields pass the gate, in each direction, and which are taken out for it to read.

Pure. Fields are pairs of bytes as received, so what passes, passes byte for byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# Ollama refuses foreign Hosts and Origins, and hands credentials on to cloud models.
REQUEST_TAKEN = HOP_BY_HOP | {
    b"access-control-request-headers",
    b"access-control-request-method",
    b"access-control-request-private-network",
    b"authorization",
    b"content-length",
    b"cookie",
    b"expect",
    b"host",
    b"origin",
    b"x-api-key",
    b"x-request-id",
}
# No cookie ever passes (decision G16), and which pages may read is the gate's to say (P23).
RESPONSE_TAKEN = HOP_BY_HOP | {
    b"access-control-allow-credentials",
    b"access-control-allow-headers",
    b"access-control-allow-methods",
    b"access-control-allow-origin",
    b"access-control-allow-private-network",
    b"access-control-expose-headers",
    b"access-control-max-age",
    b"content-length",
    b"set-cookie",
    b"x-request-id",
}
_PERSISTENCE = frozenset({b"close", b"keep-alive"})
_NONE: frozenset[bytes] = frozenset()


class Sorted:
    """Fields in two heaps: `lines` to forward, and `taken` by lower-case name, in order."""

    __slots__ = ("lines", "taken")

    def __init__(self, fields: Iterable[tuple[bytes, bytes]], taken: frozenset[bytes]) -> None:
        self.taken: dict[bytes, list[bytes]] = {}
        kept: list[tuple[bytes, bytes]] = []
        for name, value in fields:
            key = name.lower()
            if key in taken:
                self.taken.setdefault(key, []).append(value)
            elif b"_" not in key:
                # Servers that fold "_" and "-" would read a field that nobody checked
                # (CVE-2025-64484), so nginx's default: dropped.
                kept.append((name, value))
        connection = self.taken.get(b"connection")
        if connection and (named := _named(connection)):
            kept = [field for field in kept if field[0].lower() not in named]
        parts: list[bytes] = []
        for name, value in kept:
            parts += name, b": ", value, b"\r\n"
        self.lines = b"".join(parts)

    def values(self, name: bytes) -> list[bytes]:
        return self.taken.get(name, [])


def _named(connection: list[bytes]) -> frozenset[bytes]:
    """The fields that Connection lists, which end here too (RFC 9110, 7.6.1)."""
    if len(connection) == 1 and connection[0].lower() in _PERSISTENCE:
        return _NONE
    listed = b",".join(connection).lower().split(b",")
    return frozenset(name.strip() for name in listed) - _PERSISTENCE
