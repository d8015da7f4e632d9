"""Bytes that are refused at the door, by name: tried on the parser's room and on the whole gate.

`%b` in a head stands for the Host field (and for a token, where the whole gate is tried). Rules are
RFC 9112's; the rows of "request parsing" in docs/security.md point here.
"""

REFUSED: dict[str, bytes] = {
    # RFC 9112, 6.3 and 6.1: two framings, or one that can be read in two ways.
    "length and chunks": b"POST / HTTP/1.1\r\n%bContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n",
    "chunks and length": b"POST / HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n"
    b"Content-Length: 5\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\n%bContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "one length twice": b"POST / HTTP/1.1\r\n%bContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
    "length list": b"POST / HTTP/1.1\r\n%bContent-Length: 5, 5\r\n\r\n",
    "plus length": b"POST / HTTP/1.1\r\n%bContent-Length: +5\r\n\r\n",
    "minus length": b"POST / HTTP/1.1\r\n%bContent-Length: -5\r\n\r\n",
    "hex length": b"POST / HTTP/1.1\r\n%bContent-Length: 0x5\r\n\r\n",
    "underscore length": b"POST / HTTP/1.1\r\n%bContent-Length: 0_5\r\n\r\n",
    "empty length": b"POST / HTTP/1.1\r\n%bContent-Length: \r\n\r\n",
    "inner space length": b"POST / HTTP/1.1\r\n%bContent-Length: 5 5\r\n\r\n",
    "endless length": b"POST / HTTP/1.1\r\n%bContent-Length: 18446744073709551616\r\n\r\n",
    "xchunked": b"POST / HTTP/1.1\r\n%bTransfer-Encoding: xchunked\r\n\r\n",
    "chunked, identity": b"POST / HTTP/1.1\r\n%bTransfer-Encoding: chunked, identity\r\n\r\n",
    "identity": b"POST / HTTP/1.1\r\n%bTransfer-Encoding: identity\r\n\r\n",
    "gzip, chunked": b"POST / HTTP/1.1\r\n%bTransfer-Encoding: gzip, chunked\r\n\r\n",
    "chunked twice": b"POST / HTTP/1.1\r\n%bTransfer-Encoding: chunked, chunked\r\n\r\n",
    "chunked in two fields": b"POST / HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n",
    "chunked and VT": b"POST / HTTP/1.1\r\n%bTransfer-Encoding: \x0bchunked\r\n\r\n",
    "empty coding": b"POST / HTTP/1.1\r\n%bTransfer-Encoding: \r\n\r\n",
    "chunks on HTTP/1.0": b"POST / HTTP/1.0\r\n%bTransfer-Encoding: chunked\r\n\r\n",
    # RFC 9112, 2.2 and 5: lines and fields.
    "space before colon": b"POST / HTTP/1.1\r\n%bContent-Length : 5\r\n\r\n",
    "tab before colon": b"POST / HTTP/1.1\r\n%bContent-Length\t: 5\r\n\r\n",
    "VT before colon": b"POST / HTTP/1.1\r\n%bContent-Length\x0b: 5\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\n%bnothing\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\n%b: value\r\n\r\n",
    "folded line": b"GET / HTTP/1.1\r\n%bX: a\r\n b\r\n\r\n",
    "folded first line": b"GET / HTTP/1.1\r\n X: a\r\n%b\r\n",
    "bare LF": b"GET / HTTP/1.1\r\n%bX: a\nContent-Length: 5\r\n\r\n",
    "bare CR": b"GET / HTTP/1.1\r\n%bX: a\rContent-Length: 5\r\n\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\n%bX: a\x00b\r\n\r\n",
    "NUL in a name": b"GET / HTTP/1.1\r\n%bX\x00: a\r\n\r\n",
    "8-bit name": b"GET / HTTP/1.1\r\n%bX\xe9: a\r\n\r\n",
    "long field": b"GET / HTTP/1.1\r\n%bX: " + b"a" * 8192 + b"\r\n\r\n",
    "129 fields": b"GET / HTTP/1.1\r\n%b" + b"X: a\r\n" * 128 + b"\r\n",
    "two hosts": b"GET / HTTP/1.1\r\n%bHost: y\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    # RFC 9112, 3: the request line.
    "lower-case method": b"get / HTTP/1.1\r\n%b\r\n",
    "unknown method": b"FOO / HTTP/1.1\r\n%b\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\n%b\r\n",
    "tab": b"GET\t/ HTTP/1.1\r\n%b\r\n",
    "no version": b"GET /\r\n%b\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\n%b\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\n%b\r\n",
    "HTTP/0.9": b"GET / HTTP/0.9\r\n%b\r\n",
    "h2 preface": b"PRI * HTTP/2.0\r\n\r\n",
    "RTSP": b"GET / RTSP/1.0\r\n%b\r\n",
    "ICE": b"SOURCE / ICE/1.0\r\n%b\r\n",
    "absolute form": b"GET http://evil/x HTTP/1.1\r\n%b\r\n",
    "authority form": b"CONNECT evil:443 HTTP/1.1\r\n%b\r\n",
    "asterisk form": b"OPTIONS * HTTP/1.1\r\n%b\r\n",
    "no target": b"GET HTTP/1.1\r\n%b\r\n",
    "long target": b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\n%b\r\n",
    "control in the target": b"GET /\x01 HTTP/1.1\r\n%b\r\n",
    "expectation": b"POST / HTTP/1.1\r\n%bExpect: a-miracle\r\nContent-Length: 1\r\n\r\n",
    "old websocket": b"GET / HTTP/1.1\r\n%bSec-WebSocket-Key1: a\r\n\r\n",
    "response": b"HTTP/1.1 200 OK\r\n%b\r\n",
}
# 400 where nothing stands here; a set where either answer is right.
STATUS: dict[str, int | set[int]] = {
    "HTTP/2.0": 505,
    "gzip, chunked": 501,
    "chunked twice": {400, 501},
    "identity": {400, 501},
    "empty coding": {400, 501},
    "no version": {400, 505},
    "expectation": 417,
    "HTTP/0.9": {400, 505},
}


def statuses(case: str) -> set[int]:
    """What a refused head may be answered with."""
    expected = STATUS.get(case, 400)
    return expected if isinstance(expected, set) else {expected}


REFUSED_CHUNKS: dict[str, bytes] = {
    "no digits": b"zz\r\n",
    "minus size": b"-1\r\n",
    "hex prefix": b"0x1\r\n",
    "plus size": b"+1\r\n",
    "underscore size": b"1_0\r\n",
    "endless size": b"fffffffffffffffff\r\n",
    "bare LF after the size": b"5\nhello\r\n",
    "bare LF after the data": b"5\r\nhello\n0\r\n\r\n",
    "data longer than its size": b"3\r\nabcX\r\n",
    "bare LF in an extension": b"1;a\nb\r\nx\r\n",
    "empty line before the size": b"\r\n5\r\n",
    "space after the size": b"5 \r\nhello\r\n0\r\n\r\n",
    "space before a trailer's colon": b"0\r\nX : y\r\n\r\n",
    "bare LF after the last chunk": b"0\r\n\n",
    "a length in a trailer": b"1\r\n.\r\n0\r\nContent-Length: 3\r\n\r\n",
    "two hosts in trailers": b"1\r\n.\r\n0\r\nHost: y\r\nHost: z\r\n\r\n",
    "129 trailers": b"1\r\n.\r\n0\r\n" + b"X: a\r\n" * 129 + b"\r\n",
    "chunks in a trailer": b"1\r\n.\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
}
