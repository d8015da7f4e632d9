"""Requests that are served, and what must arrive of them, by name.

`%h` stands for Host and a valid token, `%p` for a path of the case's own. The rows are those of
"request parsing" in docs/security.md; what is refused stands in tests/battery.py.
"""

from dataclasses import dataclass

from component.differential.rig import CANARY

BODY = CANARY * 2
"""Every body holds whole requests with a valid token: were its end misread, they would arrive."""
SIZE = len(BODY)


@dataclass(frozen=True, slots=True)
class Case:
    """`requests` are (method, target, body) as they must arrive; `fields` those of the first.

    `fields` maps lower-case names to values in order; None where the case isn't about fields.
    """

    raw: bytes
    requests: tuple[tuple[str, str, bytes], ...]
    statuses: tuple[int, ...] = (200,)
    stays: bool = True
    fields: dict[bytes, list[bytes]] | None = None


def get(line: bytes = b"GET %p HTTP/1.1", fields: bytes = b"", tail: bytes = b"") -> bytes:
    return line + b"\r\n%h" + fields + b"\r\n" + tail


def chunked(body: bytes, fields: bytes = b"") -> bytes:
    return get(b"POST %p HTTP/1.1", b"Transfer-Encoding: chunked\r\n" + fields, body)


def counted(method: bytes, body: bytes = BODY, fields: bytes = b"") -> bytes:
    return get(method + b" %p HTTP/1.1", b"Content-Length: %d\r\n" % len(body) + fields, body)


def one(
    method: str = "GET", body: bytes = b"", target: str = "%p"
) -> tuple[tuple[str, str, bytes]]:
    return ((method, target, body),)


def fields(sent: bytes, *arrive: tuple[bytes, bytes]) -> Case:
    """A GET with these fields, of which these arrive."""
    expected: dict[bytes, list[bytes]] = {}
    for name, value in arrive:
        expected.setdefault(name, []).append(value)
    return Case(get(fields=sent), one(), fields=expected)


KEY = b"AAAAAAAAAAAAAAAAAAAAAA=="
WEBSOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: " + KEY + b"\r\n"
)
IN_ONE_CHUNK = b"%x\r\n%b\r\n0\r\n\r\n" % (SIZE, BODY)
TRAILERS = b"0\r\nX-Trailer: y\r\nAuthorization: Bearer x\r\n\r\n"

FRAMING = {
    "nothing behind the head": Case(get(), one()),
    "a length of nothing": Case(counted(b"POST", b""), one("POST")),
    "a length": Case(counted(b"POST"), one("POST", BODY)),
    "a length with zeros and spaces": Case(
        get(b"POST %p HTTP/1.1", b"Content-Length:\t 00%d \r\n" % SIZE, BODY), one("POST", BODY)
    ),
    "GET with a body": Case(counted(b"GET"), one("GET", BODY)),
    "DELETE with a body": Case(counted(b"DELETE"), one("DELETE", BODY)),
    "PUT": Case(counted(b"PUT"), one("PUT", BODY)),
    "PATCH": Case(counted(b"PATCH"), one("PATCH", BODY)),
    "OPTIONS without an origin": Case(counted(b"OPTIONS", b""), one("OPTIONS")),
    "HEAD": Case(get(b"HEAD %p HTTP/1.1"), one("HEAD")),
    "HEAD with a body": Case(counted(b"HEAD"), one("HEAD", BODY)),
    "PURGE": Case(get(b"PURGE %p HTTP/1.1"), one("PURGE")),
    "one chunk": Case(chunked(IN_ONE_CHUNK), one("POST", BODY)),
    "no chunk": Case(chunked(b"0\r\n\r\n"), one("POST")),
    "chunks of one byte": Case(
        chunked(b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"), one("POST", BODY)
    ),
    "a size in capitals with zeros": Case(
        chunked(b"0000%X\r\n%b\r\n000\r\n\r\n" % (SIZE, BODY)), one("POST", BODY)
    ),
    "extensions": Case(
        chunked(b'%x;a=b;c="d;e"\r\n%b\r\n0;f\r\n\r\n' % (SIZE, BODY)), one("POST", BODY)
    ),
    "data that looks like the end": Case(
        chunked(b"7\r\n\r\n0\r\n\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (SIZE, BODY)),
        one("POST", b"\r\n0\r\n\r\n" + BODY),
    ),
    "trailers": Case(
        chunked(b"1\r\n.\r\n" + TRAILERS, b"Trailer: X-Trailer\r\n"), one("POST", b"."), fields={}
    ),
    "a host in a trailer": Case(
        chunked(b"1\r\n.\r\n0\r\nHost: y\r\n\r\n"), one("POST", b"."), stays=False, fields={}
    ),
    "CHUNKED": Case(
        get(b"POST %p HTTP/1.1", b"transfer-encoding:  CHUNKED \r\n", IN_ONE_CHUNK),
        one("POST", BODY),
    ),
    "GET in chunks": Case(
        get(b"GET %p HTTP/1.1", b"Transfer-Encoding: chunked\r\n", IN_ONE_CHUNK), one("GET", BODY)
    ),
    "empty lines before": Case(b"\r\n\r\n\r\n" + get(), one()),
    "empty lines between": Case(get() + b"\r\n\r\n" + get(), (("GET", "%p", b""),) * 2, (200, 200)),
    "two at once": Case(
        counted(b"POST") + get(b"GET %p/2 HTTP/1.1"),
        (("POST", "%p", BODY), ("GET", "%p/2", b"")),
        (200, 200),
    ),
    "the second without a token": Case(
        counted(b"POST") + b"GET /canary HTTP/1.1\r\nHost: x\r\n\r\n", one("POST", BODY), (200, 401)
    ),
    "the first without a token": Case(
        b"POST /canary HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % SIZE + BODY + get(),
        one(),
        (401, 200),
    ),
    # What follows chunks in the same read is never served: the client has to send it again.
    "behind chunks in one write": Case(
        chunked(IN_ONE_CHUNK) + CANARY, one("POST", BODY), stays=False
    ),
    "close": Case(get(fields=b"Connection: close\r\n", tail=CANARY), one(), stays=False),
    "HTTP/1.0": Case(get(b"GET %p HTTP/1.0", tail=CANARY), one(), stays=False),
    "HTTP/1.0 with a body": Case(
        get(b"POST %p HTTP/1.0", b"Content-Length: %d\r\n" % SIZE, BODY + CANARY),
        one("POST", BODY),
        stays=False,
    ),
    "HTTP/1.0 that would stay": Case(
        get(b"GET %p HTTP/1.0", b"Connection: keep-alive\r\n", CANARY), one(), stays=False
    ),
    "HTTP/1.0 with Expect": Case(
        get(b"POST %p HTTP/1.0", b"Expect: 100-continue\r\nContent-Length: 1\r\n", b"."),
        one("POST", b"."),
        stays=False,
    ),
    "Expect": Case(counted(b"POST", BODY, b"Expect: 100-continue\r\n"), one("POST", BODY)),
    "Expect in chunks": Case(chunked(IN_ONE_CHUNK, b"expect: 100-Continue\r\n"), one("POST", BODY)),
    "Upgrade: h2c": Case(
        get(
            fields=b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
            b"Connection: Upgrade, HTTP2-Settings\r\n"
        ),
        one(),
        fields={},
    ),
    "a WebSocket that isn't granted": Case(
        get(fields=WEBSOCKET) + get(b"GET %p/2 HTTP/1.1"),
        (("GET", "%p", b""), ("GET", "%p/2", b"")),
        (200, 200),
    ),
    "a WebSocket without a key": Case(
        get(fields=WEBSOCKET.replace(b"Key", b"Kex")),
        one(),
        fields={b"sec-websocket-kex": [KEY], b"sec-websocket-version": [b"13"]},
    ),
    "a WebSocket with a body": Case(counted(b"GET", BODY, WEBSOCKET), one("GET", BODY)),
    "a WebSocket with chunks": Case(chunked(IN_ONE_CHUNK, WEBSOCKET), one("POST", BODY)),
    "Upgrade: h2c with a body": Case(
        counted(b"POST", BODY, b"Upgrade: h2c\r\nConnection: upgrade\r\n"), one("POST", BODY)
    ),
    "Upgrade: h2c in chunks": Case(
        chunked(IN_ONE_CHUNK, b"Upgrade: h2c\r\nConnection: upgrade\r\n"), one("POST", BODY)
    ),
}

FIELDS = {
    "plain ones": fields(
        b"X-A: 1\r\nx-b:2\r\nX-A:  3 \r\nX-Empty:\r\n",
        (b"x-a", b"1"),
        (b"x-b", b"2"),
        (b"x-a", b"3"),
        (b"x-empty", b""),
    ),
    "tabs and 8-bit bytes": fields(b"X-A: \ta\tb\xe9\xff\r\n", (b"x-a", b"a\tb\xe9\xff")),
    "quotes and colons": fields(b'X-A: "a: b", c=d;e\r\n', (b"x-a", b'"a: b", c=d;e')),
    "a long one": fields(b"X-A: " + b"a" * 8000 + b"\r\n", (b"x-a", b"a" * 8000)),
    "a hundred": fields(
        b"".join(b"X-%d: y\r\n" % n for n in range(100)),
        *((b"x-%d" % n, b"y") for n in range(100)),
    ),
    "underscores": fields(
        b"Content_Length: 3\r\nTransfer_Encoding: chunked\r\nX_Forwarded_User: root\r\n_: a\r\n"
    ),
    "hop by hop": fields(
        b"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\n"
        b"Proxy-Connection: keep-alive\r\nTE: trailers\r\nTrailer: X-T\r\n"
        b"Proxy-Authorization: Basic eDp5\r\nX-Stays: 1\r\n",
        (b"x-stays", b"1"),
    ),
    "Connection names what the gate writes": fields(
        b"Connection: Host, Content-Length, Authorization, Transfer-Encoding, X-Request-Id\r\n"
    ),
    "Connection twice": fields(
        b"Connection: X-A\r\nConnection: , ,x-B\r\nX-A: 1\r\nX-B: 2\r\nX-C: 3\r\n", (b"x-c", b"3")
    ),
    "cookies and origins": fields(
        b"Cookie: a=b\r\nOrigin: http://evil\r\nAccess-Control-Request-Method: POST\r\n"
    ),
    "who it says it is for": fields(
        b"X-Forwarded-Host: evil\r\nX-Forwarded-Uri: /other\r\nX-Original-URL: /other\r\n"
        b"X-HTTP-Method-Override: DELETE\r\n",
        (b"x-forwarded-host", b"evil"),
        (b"x-forwarded-uri", b"/other"),
        (b"x-original-url", b"/other"),
        (b"x-http-method-override", b"DELETE"),
    ),
    "encodings are the upstream's affair": Case(
        counted(b"POST", b"not gzip", b"Content-Encoding: gzip\r\nAccept-Encoding: br\r\n"),
        one("POST", b"not gzip"),
        fields={b"content-encoding": [b"gzip"], b"accept-encoding": [b"br"]},
    ),
}

TARGETS = {
    "query": "%p?a=b&c=%20+;d=http://x/../y//?#"[:-1],
    "colon": "%p/llama2:7b",
    "sub-delimiters": "%p/!$&'()*+,;=-._~@[]{}|^`\"<>",
    "a long one": "%p/" + "a" * 8000,
}
# Forwarded byte for byte where everything is allowed; 400 for everyone else (G10).
FULL_TARGETS = {
    "encoded letters": "%p/%70ull",
    "an encoded slash": "%p/a%2Fb%2fc",
    "an encoded percent": "%p/%2570ull",
    "an encoded NUL": "%p/%00",
    "dot segments": "%p/a/../b/./c",
    "encoded dot segments": "%p/a/%2e%2E/b",
    "a double slash": "%p//a",
    "a double slash first": "//evil.example.com%p",
}
REFUSED_TARGETS = {
    "a fragment": b"/ok#fragment",
    "a backslash": b"/ok\\..\\x",
    "a broken escape": b"/ok/%zz",
    "an unfinished escape": b"/ok/%2",
    "an 8-bit byte": b"/ok/\xe9",
    "DEL": b"/ok/\x7f",
    "absolute": b"http://gate.example.com/ok",
    "absolute to Ollama": b"http://127.0.0.1:11434/ok",
    "another scheme": b"file:///etc/passwd",
    "relative": b"ok",
    "a query alone": b"?ok",
}

TOKEN = b"a-token-of-the-tests"
ACCEPTED_CREDENTIALS = {
    "lower-case scheme": b"authorization: bearer " + TOKEN,
    "several spaces": b"Authorization: Bearer   " + TOKEN + b"  ",
    "x-api-key": b"X-Api-Key: " + TOKEN,
    "both, equal": b"X-Api-Key: " + TOKEN + b"\r\nAuthorization: Bearer " + TOKEN,
}
REFUSED_CREDENTIALS = {
    "none": (b"X: y", 401),
    "empty": (b"Authorization:", 401),
    "the scheme alone": (b"Authorization: Bearer", 401),
    "the scheme and a space": (b"Authorization: Bearer ", 401),
    "the token alone": (b"Authorization: " + TOKEN, 401),
    "Basic": (b"Authorization: Basic " + TOKEN, 401),
    "without a space": (b"Authorization: Bearer" + TOKEN, 401),
    "a tab": (b"Authorization: Bearer\t" + TOKEN, 401),
    "something behind": (b"Authorization: Bearer " + TOKEN + b" x", 401),
    "a parameter": (b"Authorization: Bearer " + TOKEN + b", Bearer x", 401),
    "quotes": (b'Authorization: Bearer "' + TOKEN + b'"', 401),
    "another token": (b"Authorization: Bearer another-token", 401),
    "half of it": (b"Authorization: Bearer " + TOKEN[:-1], 401),
    "more than it": (b"Authorization: Bearer " + TOKEN + b"s", 401),
    "in capitals": (b"Authorization: Bearer " + TOKEN.upper(), 401),
    "8-bit bytes": (b"Authorization: Bearer \xc3\xa9\xff", 401),
    "twice, equal": (b"Authorization: Bearer %b\r\nAuthorization: Bearer %b" % (TOKEN, TOKEN), 400),
    "a wrong one first": (b"Authorization: Bearer x\r\nAuthorization: Bearer " + TOKEN, 400),
    "a wrong one last": (b"Authorization: Bearer " + TOKEN + b"\r\nAuthorization: Bearer x", 400),
    "two keys": (b"X-Api-Key: %b\r\nX-Api-Key: %b" % (TOKEN, TOKEN), 400),
    "two that differ": (b"X-Api-Key: x\r\nAuthorization: Bearer " + TOKEN, 400),
    "an empty key": (b"X-Api-Key:", 401),
    "underscores": (b"X_Api_Key: " + TOKEN, 401),
    "a cookie": (b"Cookie: token=" + TOKEN, 401),
    "for another proxy": (b"Proxy-Authorization: Bearer " + TOKEN, 401),
}
TOKENS_IN_URLS = ("api-key", "api_key", "token", "access_token", "key", "ts")
