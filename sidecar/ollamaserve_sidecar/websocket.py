"""The opening handshake of a WebSocket (RFC 6455, 4): who asks for one, and was it granted.

Pure. No other upgrade passes the gate: behind h2c, say, requests would follow that nobody checks.
`tunnel` forwards what is asked here, and believes a 101 only if it answers this very request.
"""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha1
from typing import TYPE_CHECKING

from ollamaserve_sidecar.wire import Framing

if TYPE_CHECKING:
    from ollamaserve_sidecar.headers import Sorted
    from ollamaserve_sidecar.wire import Request, Response

SWITCHING = 101
FIELDS = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
"""What both heads say in place of the peer's own, which end at the gate."""
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = re.compile(rb"^sec-websocket-key: *([^\r\n]*?) *\r\n", re.IGNORECASE | re.MULTILINE)
_ACCEPT = re.compile(rb"^sec-websocket-accept: *([^\r\n]*?) *\r\n", re.IGNORECASE | re.MULTILINE)
_NONCE = re.compile(rb"[A-Za-z0-9+/]{22}==")


def asked(request: Request) -> bytes | None:
    """The Sec-WebSocket-Accept that grants it; None where no WebSocket is asked for by the book.

    It takes a bodiless GET of HTTP/1.1 that may stay open, and one key (RFC 6455, 4.1). Anything
    else is a request like any other, whose Upgrade is dropped.
    """
    if not _switches(request.fields) or request.close or request.expects:
        return None
    keys = _KEY.findall(request.fields.lines)
    plain = request.method == "GET" and request.framing is Framing.NONE
    if not plain or len(keys) != 1 or not _NONCE.fullmatch(keys[0]):
        return None
    return b64encode(sha1(keys[0] + _GUID, usedforsecurity=False).digest())


def granted(response: Response, accept: bytes) -> bool:
    """Whether a 101 switches to the WebSocket that was asked for (RFC 6455, 4.1)."""
    return (
        _switches(response.fields)
        and _ACCEPT.findall(response.fields.lines) == [accept]
        and not response.fields.values(b"transfer-encoding")
    )


def _switches(fields: Sorted) -> bool:
    protocols = fields.taken.get(b"upgrade")
    if not protocols or [value.lower() for value in protocols] != [b"websocket"]:
        return False
    listed = b",".join(fields.values(b"connection")).lower().split(b",")
    return b"upgrade" in [name.strip() for name in listed]
