"""What `wire` relies on in aiohttp's private C parser (decision G3)."""

import asyncio
import inspect
from collections.abc import Iterator

import aiohttp
import pytest
from aiohttp import http_parser
from aiohttp.http_parser import HttpRequestParser, HttpResponseParser

from battery import REFUSED, REFUSED_CHUNKS, statuses
from ollamaserve_sidecar import wire
from ollamaserve_sidecar.wire import BadRequest, Framing, Request, WireError

HOST = b"Host: x\r\n"


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def test_the_parser_is_aiohttps_c_one() -> None:
    """G3: the version that was tried, and its C extension."""
    wire.check_parser()

    assert aiohttp.__version__ == "3.14.5"
    assert HttpRequestParser.__module__ == "aiohttp._http_parser"
    assert HttpResponseParser.__module__ == "aiohttp._http_parser"


def test_the_python_parser_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """G3: where the C extension is missing, the gate doesn't start."""
    monkeypatch.setattr(wire, "HttpRequestParser", http_parser.HttpRequestParserPy)

    with pytest.raises(WireError, match="C parser is missing"):
        wire.check_parser()


@pytest.mark.parametrize("parser", [HttpRequestParser, HttpResponseParser])
def test_the_constructor(parser: type) -> None:
    """G3: the arguments that `wire` gives, and the limits that it leaves at their defaults."""
    assert parser.__init__.__doc__ is not None  # type: ignore[misc]
    loop = asyncio.new_event_loop()
    try:
        parser(wire._SINK, loop, wire.HEAD_LIMIT, auto_decompress=False, response_with_body=True)
        with pytest.raises(TypeError):
            parser(wire._SINK, loop, wire.HEAD_LIMIT, no_such_argument=True)
    finally:
        loop.close()


def test_the_messages_have_the_fields_that_are_read(loop: asyncio.AbstractEventLoop) -> None:
    """G3: names and types of what a head is parsed into."""
    parser = HttpRequestParser(wire._SINK, loop, 1 << 15, auto_decompress=False)
    messages, upgraded, tail = parser.feed_data(b"GET /a?b HTTP/1.1\r\nHost:  x \r\n\r\n")
    ((message, body),) = messages

    assert (upgraded, tail) == (False, b"")
    assert (message.method, message.path) == ("GET", "/a?b")
    assert (tuple(message.version), message.should_close, bool(message.chunked)) == (
        (1, 1),
        False,
        False,
    )
    assert message.raw_headers == ((b"Host", b"x"),)
    assert body.is_eof()


def test_the_body_reader_has_the_methods_that_are_called() -> None:
    """G3: `is_eof` and `read_nowait` of the reader that the parser makes by itself."""
    assert list(inspect.signature(aiohttp.StreamReader.read_nowait).parameters) == ["self", "n"]
    assert not inspect.iscoroutinefunction(aiohttp.StreamReader.read_nowait)
    assert not inspect.iscoroutinefunction(aiohttp.StreamReader.is_eof)


@pytest.mark.parametrize("case", REFUSED)
def test_refused_heads(case: str, loop: asyncio.AbstractEventLoop) -> None:
    """G1, G3: every head that two servers could read differently is refused."""
    parsed = wire.request(REFUSED[case].replace(b"%b", HOST), loop)

    assert isinstance(parsed, BadRequest)
    assert parsed.status in statuses(case)


@pytest.mark.parametrize(
    ("head", "framing", "length"),
    [
        (b"GET / HTTP/1.1\r\n%b\r\n", Framing.NONE, 0),
        (b"POST / HTTP/1.1\r\n%bContent-Length: 0\r\n\r\n", Framing.NONE, 0),
        (b"POST / HTTP/1.1\r\n%bContent-Length:\t005 \r\n\r\n", Framing.COUNTED, 5),
        (b"POST / HTTP/1.1\r\n%bTransfer-Encoding: CHUNKED\r\n\r\n", Framing.CHUNKED, 0),
        (b"GET / HTTP/1.1\r\n%bUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", Framing.NONE, 0),
        (b"GET / HTTP/1.1\r\n%bUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", Framing.NONE, 0),
        (
            (
                b"POST / HTTP/1.1\r\n%bUpgrade: h2c\r\nConnection: upgrade\r\n"
                b"Content-Length: 5\r\n\r\n"
            ),
            Framing.COUNTED,
            5,
        ),
        (b"POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\n", Framing.COUNTED, 5),
    ],
)
def test_accepted_heads(
    head: bytes, framing: Framing, length: int, loop: asyncio.AbstractEventLoop
) -> None:
    """G1: what frames the body is read from the head alone."""
    parsed = wire.request(head.replace(b"%b", HOST), loop)

    assert isinstance(parsed, Request)
    assert (parsed.framing, parsed.length) == (framing, length)


def chunks(loop: asyncio.AbstractEventLoop, extra: bytes = b"") -> wire.Chunks:
    head = b"POST / HTTP/1.1\r\n" + HOST + extra + b"Transfer-Encoding: chunked\r\n\r\n"
    parsed = wire.request(head, loop)
    assert isinstance(parsed, Request)
    assert parsed.chunks
    return parsed.chunks


@pytest.mark.parametrize("body", REFUSED_CHUNKS.values(), ids=REFUSED_CHUNKS)
def test_refused_chunks(body: bytes, loop: asyncio.AbstractEventLoop) -> None:
    """G1: chunks that two servers could read differently are refused."""
    with pytest.raises(WireError):
        chunks(loop).feed(body)


@pytest.mark.parametrize("extra", [b"", b"Connection: close\r\n", b"Upgrade: h2c\r\n"])
@pytest.mark.parametrize("cut", range(1, 40))
def test_chunks_split_anywhere(cut: int, extra: bytes, loop: asyncio.AbstractEventLoop) -> None:
    """G1: the decoded body and its end don't depend on how the bytes arrived."""
    body = b"6;n=v\r\n0\r\n\r\n!\r\n1\r\n.\r\n0\r\nX-Trailer: y\r\n\r\n"
    reader = chunks(loop, extra)

    assert reader.feed(body[:cut]) + reader.feed(body[cut:]) == b"0\r\n\r\n!."
    assert reader.ended
    assert reader.clean()


@pytest.mark.parametrize("extra", [b"", b"Connection: close\r\n"])
@pytest.mark.parametrize(
    "behind", [b"X", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00", b"0\r\n\r\n"]
)
def test_bytes_behind_chunks_show(
    behind: bytes, extra: bytes, loop: asyncio.AbstractEventLoop
) -> None:
    """G1: whatever follows the last chunk in the same read is noticed."""
    reader = chunks(loop, extra)

    assert reader.feed(b"1\r\nx\r\n0\r\n\r\n" + behind) == b"x"
    assert reader.ended
    assert not reader.clean()


ANSWER = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("head", "framing", "reusable"),
    [
        (ANSWER + b"Content-Length: 5\r\n\r\n", Framing.COUNTED, True),
        (ANSWER + b"Content-Length: 5\r\nConnection: close\r\n\r\n", Framing.COUNTED, False),
        (ANSWER + b"Transfer-Encoding: chunked\r\n\r\n", Framing.CHUNKED, True),
        (ANSWER + b"\r\n", Framing.CLOSE, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", Framing.COUNTED, False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Framing.NONE, True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Framing.NONE, True),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", None, True),
    ],
)
def test_answers(
    head: bytes, framing: Framing | None, reusable: bool, loop: asyncio.AbstractEventLoop
) -> None:
    """G2: where an answer's body ends, and whether its connection may go on."""
    parsed = wire.response(head, bodiless=False, loop=loop)

    assert parsed.reusable is reusable
    if framing:
        assert parsed.framing is framing


def test_the_answer_to_head_has_no_body(loop: asyncio.AbstractEventLoop) -> None:
    """G2: with HEAD, lengths and chunks describe a body that doesn't come."""
    for field in (b"Content-Length: 5", b"Transfer-Encoding: chunked"):
        parsed = wire.response(ANSWER + field + b"\r\n\r\n", bodiless=True, loop=loop)
        assert parsed.framing is Framing.NONE


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
    ],
)
def test_refused_answers(head: bytes, loop: asyncio.AbstractEventLoop) -> None:
    """G2: an answer whose end could be read in two ways is no answer."""
    with pytest.raises(WireError):
        wire.response(head, bodiless=False, loop=loop)
