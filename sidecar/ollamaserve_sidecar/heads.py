"""The heads that the gate writes: a request's for Ollama, and a response's for a client.

Pure; only the rooms of an exchange enter. Both are written anew from what was read (decisions G1
and G2): the fields pass as they came, what frames the body is the gate's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ollamaserve_sidecar.wire import Framing

if TYPE_CHECKING:
    from ollamaserve_sidecar.wire import Request, Response

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE = b"Connection: close\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
# nginx, which may stand in front as an ingress, would else hold tokens back in its buffer.
STREAMED = CHUNKED + b"X-Accel-Buffering: no\r\n"
_NO_CONTENT = 204


def request_head(request: Request, authority: bytes) -> bytes:
    match request.framing:
        case Framing.CHUNKED:
            framing = CHUNKED
        case Framing.COUNTED:
            framing = b"Content-Length: %d\r\n" % request.length
        case _:
            framing = b"Content-Length: 0\r\n" if b"content-length" in request.fields.taken else b""
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b%b\r\n" % (
        request.method.encode(),
        request.target.encode(),
        authority,
        request.fields.lines,
        framing,
    )


def response_framing(response: Response, *, http10: bool) -> bytes:
    """How the client learns where the body ends, apart from the connection's end."""
    if response.framing is Framing.CHUNKED:
        return b"" if http10 else STREAMED
    if response.length is None or response.status == _NO_CONTENT:
        return b""
    return b"Content-Length: %d\r\n" % response.length


def response_head(response: Response, framing: bytes, *, close: bool = False) -> bytes:
    return b"HTTP/1.1 %d %b\r\n%b%b%b\r\n" % (
        response.status,
        response.reason,
        response.fields.lines,
        framing,
        CLOSE if close else b"",
    )
