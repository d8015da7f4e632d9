"""The gate as a process of its own, in front of a server on Go's net/http that tells what it read.

A test sends bytes and gets a `Trial`: the answers, and the requests that arrived behind the gate.
`Trial` holds the law itself: the gate, Go and h11 agree on every request that went upstream.
"""

import json
import os
import select
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import h11

from component.conftest import await_answer, free_port, process
from ollamaserve_sidecar.headers import HOP_BY_HOP

TOKEN = "a-token-of-the-tests"
HOST = b"Host: gate.example.com\r\n"
BEARER = f"Authorization: Bearer {TOKEN}\r\n".encode()
CANARY = b"GET /canary HTTP/1.1\r\n" + HOST + BEARER + b"\r\n"
"""A whole request with a valid token, put where no request may be read: it must never arrive."""
PATIENCE = 10.0
# What the gate keeps to itself, whoever sent it (docs/security.md).
KEPT = HOP_BY_HOP | {
    *(b"authorization", b"x-api-key", b"cookie", b"origin", b"expect"),
    b"access-control-request-method",
}
# Written by the gate: framing, and what says whose request it is.
OWN = {b"host", b"content-length", b"transfer-encoding", b"x-request-id"}

Fields = dict[bytes, list[bytes]]


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as a server read it."""

    method: str
    target: str
    length: int
    sha256: str
    fields: Fields
    host: str
    whole: bool = True


@dataclass(slots=True)
class Answer:
    status: int
    echo: str = ""
    body: bytes = b""
    fields: dict[str, str] = field(default_factory=dict)
    informational: list[int] = field(default_factory=list)


class Client:
    """A raw client with blocking reads; every wait is bounded by PATIENCE."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self._socket = tls.wrap_socket(self._socket, server_hostname="127.0.0.1")
        self._left = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """The peer may have closed already: what it answered is what counts."""
        with suppress(ConnectionError):
            self._socket.sendall(data)

    def send_until_cut(self, piece: bytes, limit: int) -> int:
        """Send the piece again and again; how many bytes went before the peer closed."""
        sent = 0
        with suppress(ConnectionError):
            while sent < limit:
                self._socket.sendall(piece)
                sent += len(piece)
        return sent

    def wait(self, seconds: float) -> None:
        """Give an answer this long to begin; who leaves earlier wants none."""
        select.select([self._socket], [], [], seconds)

    def no_more(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def answer(self, method: str = "GET") -> Answer | None:
        """The next answer, or None where the connection ends without a whole one."""
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        parser.send(h11.EndOfMessage())
        if self._left:
            parser.receive_data(self._left)
        answer = Answer(0)
        while True:
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError:
                return None
            match event:
                case h11.NEED_DATA:
                    parser.receive_data(self._some())
                case h11.InformationalResponse():
                    answer.informational.append(event.status_code)
                case h11.Response():
                    answer.status = event.status_code
                    answer.fields = {k.decode(): v.decode() for k, v in event.headers}
                    answer.echo = answer.fields.get("x-echo", "")
                case h11.Data():
                    answer.body += event.data
                case h11.EndOfMessage():
                    self._left = parser.trailing_data[0]
                    return answer
                case _:
                    return None

    def rest(self) -> bytes:
        """All bytes up to the end of the connection."""
        seen, self._left = self._left, b""
        while data := self._some():
            seen += data
        return seen

    def _some(self) -> bytes:
        try:
            return self._socket.recv(1 << 16)
        except ConnectionError:
            return b""


@dataclass(slots=True)
class Echo:
    """The server behind the gate, through its control port."""

    origin: str
    control: str

    def forget(self) -> None:
        """Until nothing is left of connections that were busy."""
        deadline = time.monotonic() + PATIENCE
        while self._ask("POST")["requests"]:
            assert time.monotonic() < deadline

    def seen(self) -> tuple[dict[str, Seen], dict[int, bytes]]:
        """Requests by `connection.number`, and the bytes of each connection; the gate's own apart.

        The gate looks after Ollama on connections of its own, with aiohttp's client.
        """
        told = self._ask("GET")
        requests = told["requests"] or []
        own = {r["connection"] for r in requests if "aiohttp" in str(r["headers"])}
        return (
            {
                f"{r['connection']}.{r['number']}": _parsed(r)
                for r in requests
                if r["connection"] not in own
            },
            {
                int(number): bytes.fromhex(wire)
                for number, wire in told["wires"].items()
                if int(number) not in own
            },
        )

    def _ask(self, method: str) -> Mapping[str, Any]:
        request = urllib.request.Request(self.control, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            told: Mapping[str, Any] = json.load(answer)
            return told


def _parsed(told: Mapping[str, Any]) -> Seen:
    fields = {
        name.lower().encode(): [value.encode("latin-1") for value in values]
        for name, values in told["headers"].items()
    }
    return Seen(
        told["method"],
        told["target"],
        told["length"],
        told["sha256"],
        fields,
        told["host"],
        told["whole"],
    )


def read_by_h11(wire: bytes) -> Iterator[Seen]:
    """The requests in a connection's bytes; RemoteProtocolError where they are none."""
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    parser.receive_data(wire)
    while parser.trailing_data[0] or parser.their_state is h11.SEND_BODY:
        request = parser.next_event()
        if not isinstance(request, h11.Request):
            return
        body = b""
        while isinstance(event := parser.next_event(), h11.Data):
            body += event.data
        fields: Fields = {}
        for name, value in request.headers:
            fields.setdefault(name, []).append(value)
        yield Seen(
            request.method.decode(),
            request.target.decode("latin-1"),
            len(body),
            sha256(body).hexdigest(),
            fields,
            fields[b"host"][0].decode(),
            isinstance(event, h11.EndOfMessage),
        )
        if not isinstance(event, h11.EndOfMessage):
            return
        assert not event.headers, "trailers went upstream"
        parser.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        parser.send(h11.EndOfMessage())
        parser.start_next_cycle()


@dataclass(slots=True)
class Trial:
    """What was sent came to this. `requests` arrived upstream, in the order of their arrival."""

    answers: list[Answer]
    requests: dict[str, Seen]
    wires: dict[int, bytes]
    authority: str

    def agree(self, *, canaries: bool = False) -> None:
        """The law: gate, Go and h11 read the same requests, and none carries what is kept.

        `canaries` may arrive where their framing was changed by the one who sent them.
        """
        echoed = [answer.echo for answer in self.answers if answer.echo]
        whole = {number for number, seen in self.requests.items() if seen.whole}
        assert set(echoed) <= whole
        for number in self.wires:
            go = [s for n, s in self.requests.items() if n.startswith(f"{number}.")]
            _same(go, list(read_by_h11(self.wires[number])))
        for seen in self.requests.values():
            assert canaries or "canary" not in seen.target
            assert seen.host == self.authority
            assert not KEPT & set(seen.fields) - _handshake(seen)
            assert not [name for name in seen.fields if b"_" in name]


def _handshake(seen: Seen) -> set[bytes]:
    """The two fields that the gate writes where a WebSocket is asked for by the book."""
    asked = seen.method == "GET" and not seen.length and b"sec-websocket-key" in seen.fields
    written = {b"connection": [b"Upgrade"], b"upgrade": [b"websocket"]}
    passed = {name: seen.fields.get(name) for name in written}
    return set(written) if asked and passed == written else set()


def _same(go: list[Seen], other: list[Seen]) -> None:
    """h11 may also have seen the beginning of a request that Go hadn't read in full."""
    assert len(go) <= len(other)
    assert [(s.method, s.target) for s in go] == [(s.method, s.target) for s in other[: len(go)]]
    for one, two in zip(go, other, strict=False):
        assert _passed(one.fields) == _passed(two.fields)
        if one.whole:
            assert (one.length, one.sha256) == (two.length, two.sha256)


def _passed(fields: Fields) -> Fields:
    return {name: values for name, values in fields.items() if name not in OWN}


@dataclass(slots=True)
class Rig:
    """The running pair. `log` is the gate's; `door` its port, and `tls` what is spoken there."""

    door: int
    echo: Echo
    upstream: str
    running: subprocess.Popen[str]
    log: Path
    tls: ssl.SSLContext | None = None

    def connect(self) -> Client:
        return Client(self.door, self.tls)

    def settle(self) -> None:
        """Return once the gate has read whatever was sent before: a round trip of its loop."""
        with self.connect() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: settle\r\n\r\n")
            answer = client.answer()
            assert answer
            assert answer.status == 401

    def trial(self, answers: list[Answer]) -> Trial:
        self.settle()
        requests, wires = self.echo.seen()
        return Trial(answers, requests, wires, self.upstream)

    def serves(self) -> None:
        """The gate is alive, has logged no defect, and forwards a valid request."""
        with self.connect() as client:
            client.send(b"GET /api/tags HTTP/1.1\r\n" + HOST + BEARER + b"\r\n")
            answer = client.answer()
        assert answer
        assert answer.status == 200
        assert answer.echo
        assert self.running.poll() is None
        log = self.log.read_text()
        assert "Traceback" not in log
        assert "Exception" not in log


@contextmanager
def opened(
    echo_program: Path, folder: Path, access: str, certificate: Path | None = None
) -> Iterator[Rig]:
    """A gate with one token of this access, and the echo server behind it.

    `certificate` is the folder of `tls.crt` and `tls.key`, None for a door without TLS.
    """
    with process([echo_program], dict(os.environ), subprocess.PIPE) as echo:
        assert echo.stdout
        upstream, control = echo.stdout.readline().split()
        door, status, log = free_port(), free_port(), folder / "log"
        environment = _environment(folder, access) | {
            "GATE_LISTEN": f"127.0.0.1:{door}",
            "GATE_STATUS_LISTEN": f"127.0.0.1:{status}",
            "GATE_UPSTREAM": f"http://{upstream}",
        }
        if certificate:
            environment["GATE_TLS_CERT"] = str(certificate / "tls.crt")
            environment["GATE_TLS_KEY"] = str(certificate / "tls.key")
        command = [sys.executable, "-m", "ollamaserve_sidecar", "serve"]
        with log.open("w") as output, process(command, environment, output) as gate:
            await_answer(f"http://127.0.0.1:{status}/livez", log)
            memory = Echo(f"http://{upstream}", f"http://{control}/")
            tls = (
                ssl.create_default_context(cafile=certificate / "tls.crt") if certificate else None
            )
            yield Rig(door, memory, upstream, gate, log, tls)
            gate.kill()  # draining takes seconds and is tested elsewhere


def _environment(folder: Path, access: str) -> dict[str, str]:
    tokens, configuration = folder / "tokens", folder / "gate.json"
    tokens.mkdir()
    (tokens / "AUTH_TOKEN").write_text(TOKEN)
    configuration.write_text(json.dumps({"tokens": {"AUTH_TOKEN": {"access": access}}}))
    path = os.pathsep.join(sys.path)
    return {
        "GATE_TOKENS_DIR": str(tokens),
        "GATE_CONFIG": str(configuration),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": path,
    }
