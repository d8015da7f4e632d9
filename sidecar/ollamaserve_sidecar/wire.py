"""HTTP/1.1 messages in bytes: the only room that touches aiohttp's private C parser.

Decisions G1-G3. A head is cut at its first empty line and fed alone; what frames its body is read
here once. Bodies with a Content-Length are counted, chunked ones go through the parser that saw
the head; of a response, what is plainly whole chunks doesn't have to. `tests/contract/test_wire.py`
pins what this relies on, for every bump of aiohttp.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, TypeAlias

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, HttpResponseParser

from ollamaserve_sidecar.headers import REQUEST_TAKEN, RESPONSE_TAKEN, Sorted

if TYPE_CHECKING:
    import asyncio

# aiohttp's annotations are of its Python twins of these; what comes is made in C.
Parser: TypeAlias = Any
Message: TypeAlias = Any
Body: TypeAlias = Any

HEAD_LIMIT = 32 << 10
RESPONSE_HEAD_LIMIT = 64 << 10
CRLF = b"\r\n"
END = b"\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
_SIZE_LINE = 10
"""Bytes of a chunk's size and its line end that `whole_chunks` looks for: less than 4 GiB."""
_ZERO = ord("0")
_PARSER_ERRORS = (HttpProcessingError, ValueError)
_BARE_LF = re.compile(rb"(?<!\r)\n")
# A whole message that the parser can only see as such where the one before it has ended.
_REQUEST_PROBE = b"GET /probe HTTP/1.1\r\nHost: probe\r\n\r\n"
_RESPONSE_PROBE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_BODILESS = (204, 304)


class WireError(Exception):
    """Bytes that aren't HTTP as this gate speaks it; the text is ours, never the peer's."""


@dataclass(frozen=True, slots=True)
class BadRequest:
    status: int
    reason: str


class Framing(Enum):
    """What tells where a body ends (RFC 9112, 6.3)."""

    NONE = auto()
    COUNTED = auto()
    CHUNKED = auto()
    CLOSE = auto()


class _Sink:
    """What aiohttp's StreamReader calls to slow its peer; each read is emptied at once."""

    _reading_paused = False

    def pause_reading(self) -> None: ...

    def resume_reading(self, *, resume_parser: bool = True) -> None: ...


_SINK: Any = _Sink()


def whole_chunks(data: bytes) -> bytes | None:
    """What bytes after a chunk's end decode to, if they are whole chunks and no last one.

    None says nothing of them. This takes the one spelling that all servers write: the size in
    hexadecimal without a leading zero, neither extensions nor bare line ends (RFC 9112, 7.1). Where
    it gives something, the parser gives the same and stays where it is: between two chunks.
    """
    at, length, parts = 0, len(data), []
    while at < length:
        end = data.find(CRLF, at, at + _SIZE_LINE)
        size = data[at:end]
        if end < 0 or not size.isalnum() or size[0] == _ZERO:
            return None
        try:
            after = end + 2 + int(size, 16)
        except ValueError:
            return None
        at = after + 2
        if data[after:at] != CRLF:
            return None
        parts.append(data[end + 2 : after])
    return parts[0] if len(parts) == 1 else b"".join(parts)


class Chunks:
    """A chunked body: `feed` gives what it decodes to; `ended` once the last chunk was seen."""

    __slots__ = ("_between", "_body", "_dirty", "_parser", "_probe", "ended")

    def __init__(self, parser: Parser, body: Body, probe: bytes, *, trusted: bool = False) -> None:
        """`probe` is a whole message, or empty where the parser takes none after this one.

        A `trusted` peer's whole chunks pass without the parser, as long as each read ends with one.
        """
        self._parser, self._body, self._probe = parser, body, probe
        self._dirty = False
        self._between = trusted
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        """Raises WireError where the bytes are not chunks. Bytes after the end are lost."""
        if self._between:
            text = whole_chunks(data)
            if text is not None:
                return text
            self._between = False
        body = self._body
        try:
            if self._parser.feed_data(data)[0]:
                self._dirty = True
        except _PARSER_ERRORS as broken:
            if not body.is_eof():
                raise WireError("not a chunked body") from broken
            self._dirty = True
        if body.is_eof():
            self.ended = True
        decoded: bytes = body.read_nowait(-1)
        return decoded

    def clean(self) -> bool:
        """After the end: true if no byte followed it, apart from empty lines."""
        if self._dirty or not self._probe:
            return not self._dirty
        try:
            return len(self._parser.feed_data(self._probe)[0]) == 1
        except _PARSER_ERRORS:
            return False


class Request:
    """A request's head. `length` is of a COUNTED body; `target` is as received."""

    __slots__ = (
        "chunks",
        "close",
        "expects",
        "fields",
        "framing",
        "http10",
        "length",
        "method",
        "target",
    )

    def __init__(self, message: Message, body: Body, parser: Parser) -> None:
        self.method = message.method
        self.target = message.path
        self.fields = Sorted(message.raw_headers, REQUEST_TAKEN)
        self.http10 = message.version < (1, 1)
        self.close = message.should_close or self.http10
        self.expects = b"expect" in self.fields.taken and not self.http10
        self.length = _length(self.fields.taken.get(b"content-length"))
        self.chunks: Chunks | None = None
        if message.chunked:
            self.chunks = Chunks(parser, body, b"" if message.should_close else _REQUEST_PROBE)
            self.framing = Framing.CHUNKED
        else:
            self.framing = Framing.COUNTED if self.length else Framing.NONE

    def line(self) -> bytes:
        version = 0 if self.http10 else 1
        line = f"{self.method} {self.target} HTTP/1.{version}"
        return line.encode("utf-8", "surrogateescape")

    def problem(self) -> BadRequest | None:
        """What llhttp accepts and a proxy must not (reference: RFC 9112, 3.2, 6.1 and 6.3)."""
        taken = self.fields.taken
        coding = taken.get(b"transfer-encoding")
        if not self.target.startswith("/"):
            return BadRequest(400, "the request target must begin with /")
        if coding and self.http10:
            return BadRequest(400, "Transfer-Encoding needs HTTP/1.1")
        if coding and (len(coding) > 1 or coding[0].lower() != b"chunked" or not self.chunks):
            return BadRequest(501, "the only Transfer-Encoding that is understood is chunked")
        expect = taken.get(b"expect")
        if expect and [value.lower() for value in expect] != [b"100-continue"]:
            return BadRequest(417, "the only Expect that is understood is 100-continue")
        return None


class Response:
    """An upstream's head. `length` is what Content-Length said, None where it didn't."""

    __slots__ = ("chunks", "fields", "framing", "length", "reason", "reusable", "status")

    def __init__(self, message: Message, body: Body, parser: Parser, *, bodiless: bool) -> None:
        self.status = message.code
        self.reason = message.reason.encode("utf-8", "surrogateescape")
        self.fields = Sorted(message.raw_headers, RESPONSE_TAKEN)
        taken = self.fields.taken
        coding = taken.get(b"transfer-encoding")
        if coding and [value.lower() for value in coding] != [b"chunked"]:
            raise WireError("the response has a Transfer-Encoding other than chunked")
        lengths = taken.get(b"content-length")
        self.length = _length(lengths) if lengths else None
        self.chunks: Chunks | None = None
        self.reusable = not message.should_close
        if bodiless or self.status in _BODILESS:
            self.framing = Framing.NONE
        elif message.chunked:
            self.framing = Framing.CHUNKED
            probe = _RESPONSE_PROBE if self.reusable else b""
            self.chunks = Chunks(parser, body, probe, trusted=True)
        elif self.length is not None:
            self.framing = Framing.COUNTED
        else:
            self.framing = Framing.CLOSE


def _length(values: list[bytes] | None) -> int:
    return int(values[0]) if values else 0


def incomplete(buffer: bytes) -> BadRequest | None:
    """What is wrong with the beginning of a head that has no empty line yet, if anything is."""
    if len(buffer) > HEAD_LIMIT:
        return BadRequest(431, "the request's head is longer than 32 KiB")
    if not buffer[:1].isupper() or _BARE_LF.search(buffer):
        return BadRequest(400, "this is not an HTTP/1.1 request")
    return None


def request(head: bytes, loop: asyncio.AbstractEventLoop) -> Request | BadRequest:
    """The request whose head, empty line included, is exactly these bytes."""
    if len(head) > HEAD_LIMIT:
        return BadRequest(431, "the request's head is longer than 32 KiB")
    parser: Parser = HttpRequestParser(_SINK, loop, HEAD_LIMIT, auto_decompress=False)
    try:
        messages = parser.feed_data(head)[0]
    except _PARSER_ERRORS:
        return BadRequest(400, "this is not an HTTP/1.1 request")
    if len(messages) != 1:
        return BadRequest(400, "this is not one HTTP/1.1 request")
    message, body = messages[0]
    if message.version not in ((1, 0), (1, 1)):
        return BadRequest(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    parsed = Request(message, body, parser)
    # llhttp also takes RTSP and ICE for a protocol, and more than one space.
    if not head.startswith(parsed.line() + b"\r\n"):
        return BadRequest(400, "the request line isn't METHOD /target HTTP/1.1")
    return parsed.problem() or parsed


def response(head: bytes, *, bodiless: bool, loop: asyncio.AbstractEventLoop) -> Response:
    """The response whose head is exactly these bytes; `bodiless` if HEAD was asked."""
    parser: Parser = HttpResponseParser(
        _SINK, loop, HEAD_LIMIT, auto_decompress=False, response_with_body=not bodiless
    )
    try:
        messages = parser.feed_data(head)[0]
    except _PARSER_ERRORS as broken:
        raise WireError("not an HTTP/1.1 response") from broken
    if len(messages) != 1:
        raise WireError("not one HTTP/1.1 response")
    message, body = messages[0]
    if message.version not in ((1, 0), (1, 1)):
        raise WireError("not an HTTP/1.1 response")
    return Response(message, body, parser, bodiless=bodiless)


def check_parser() -> None:
    """Raises WireError unless the C parser is in use.

    Every request smuggling bug since 2023 but llhttp's own was in aiohttp's pure-Python parser
    (its THREAT_MODEL.md).
    """
    if HttpRequestParser.__module__ != "aiohttp._http_parser":
        raise WireError("aiohttp's C parser is missing: install aiohttp from its binary wheel")
