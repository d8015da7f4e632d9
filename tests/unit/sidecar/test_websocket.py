"""Who asks for a WebSocket, and what grants it (P21; RFC 6455, 4)."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollamaserve_sidecar import websocket, wire

# The example of RFC 6455, 1.3.
KEY, ACCEPT = b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
LOOP = asyncio.new_event_loop()
BOOK = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Key: " + KEY,
)
fields = st.lists(
    st.sampled_from(
        [
            *BOOK,
            *(b"connection: keep-alive, UPGRADE", b"CONNECTION:  upgrade ", b"Connection: close"),
            *(b"upgrade: WebSocket", b"Upgrade: h2c", b"Upgrade: websocket, h2c", b"Upgrade:"),
            *(b"Connection: Sec-WebSocket-Key", b"Sec-WebSocket-Key: x", b"sec-websocket-key:"),
            *(b"Content-Length: 0", b"Content-Length: 4", b"Transfer-Encoding: chunked"),
            *(b"Expect: 100-continue", b"Sec_WebSocket_Key: " + KEY, b"X: Upgrade: websocket"),
        ]
    ),
    max_size=6,
)


def asked(*lines: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> bytes | None:
    head = b"\r\n".join([method + b" /x HTTP/" + version, b"Host: x", *lines, b"", b""])
    request = wire.request(head, LOOP)
    return None if isinstance(request, wire.BadRequest) else websocket.asked(request)


def granted(*lines: bytes) -> bool:
    head = b"\r\n".join([b"HTTP/1.1 101 Switching Protocols", *lines, b"", b""])
    return websocket.granted(wire.response(head, bodiless=False, loop=LOOP), ACCEPT)


def test_the_rfcs_own_example() -> None:
    """The key of RFC 6455, 1.3 asks for its accept, in any case of the names."""
    assert asked(*BOOK) == ACCEPT
    assert asked(b"connection: keep-alive, UPGRADE", b"UPGRADE: WebSocket", BOOK[2]) == ACCEPT
    assert granted(*BOOK[:2], b"Sec-WebSocket-Accept: " + ACCEPT)


@pytest.mark.parametrize("method", [b"POST", b"HEAD", b"OPTIONS"])
def test_other_methods(method: bytes) -> None:
    """RFC 6455, 4.1: only a GET opens one."""
    assert asked(*BOOK, method=method) is None


def test_http_1_0() -> None:
    """RFC 9110, 7.8: a client of HTTP/1.0 can't upgrade."""
    assert asked(*BOOK, version=b"1.0") is None


@given(fields)
def test_only_by_the_book(lines: list[bytes]) -> None:
    """Whatever else is there, it takes one protocol, one key, and nothing of a body or an end."""
    if asked(*lines) is None:
        return
    lower = [line.lower().replace(b" ", b"") for line in lines]
    named = b",".join(line[11:] for line in lower if line.startswith(b"connection:")).split(b",")
    assert [line for line in lower if line.startswith(b"upgrade:")] == [b"upgrade:websocket"]
    assert [line for line in lines if line.lower().startswith(b"sec-websocket-key:")] == [BOOK[2]]
    assert b"upgrade" in named
    assert not {b"close", b"sec-websocket-key"} & set(named)
    assert not {b"content-length:4", b"transfer-encoding:chunked", b"expect:100-continue"} & set(
        lower
    )


@pytest.mark.parametrize(
    "wrong",
    [
        b"Sec-WebSocket-Accept: " + ACCEPT.lower(),
        b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\nSec-WebSocket-Accept: " + ACCEPT,
        b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\nUpgrade: h2c",
        b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\nTransfer-Encoding: chunked",
        b"X-Sec-WebSocket-Accept: " + ACCEPT,
        b"X: y",
    ],
)
def test_not_granted(wrong: bytes) -> None:
    """A 101 counts only if it answers this key, switches to this protocol, and has no body."""
    assert not granted(*BOOK[:2], wrong)
