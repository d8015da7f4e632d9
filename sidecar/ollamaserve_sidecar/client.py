"""One connection of a client: reads heads, refuses or begins exchanges, one after the other.

Entered by the event loop and by the exchange in progress. While there is one, nothing of the next
request is parsed; what arrives meanwhile waits, and beyond 64 KiB the socket isn't read.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, cast

from ollamaserve_sidecar import errors, wire
from ollamaserve_sidecar.admission import Admitted, Refused, admit
from ollamaserve_sidecar.exchange import Exchange
from ollamaserve_sidecar.inspection import Inspection
from ollamaserve_sidecar.slots import Turn
from ollamaserve_sidecar.wire import END, BadRequest, Framing, Request

if TYPE_CHECKING:
    from ollamaserve_sidecar.errors import Problem
    from ollamaserve_sidecar.gate import Gate

BUFFER_LIMIT = 64 << 10
KEEP_ALIVE = 75.0
HEAD_TIMEOUT = 10.0
STALL_TIMEOUT = 60.0
BODY_STEP = 14_400
"""Bytes of a body that have to arrive in each STALL_TIMEOUT: 240 a second, as Kestrel asks for."""
LINGER = 1.0
UPLOAD_LINGER = 30.0
CLIENT_GONE = 499
_CLOSE = b"Connection: close\r\n"


class Client(asyncio.Protocol):
    """Times are in seconds, of the loop's clock; `sweep` is called about once a second."""

    __slots__ = (
        "_admitted",
        "_begun",
        "_buffer",
        "_deadline",
        "_exchange",
        "_gate",
        "_head_begun",
        "_lingering",
        "_mark",
        "_marked",
        "_paused",
        "_queued",
        "body_limit",
        "full",
        "lines",
        "transport",
    )

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._buffer = b""
        self._exchange: Exchange | None = None
        self._admitted: Admitted | None = None
        self._begun = self._marked = self._deadline = 0.0
        self._mark: tuple[str, int] | None = None
        self._head_begun = self._lingering = self._paused = self._queued = False
        self.full = False
        self.lines = b""
        self.body_limit: int | None = None
        self.transport: asyncio.Transport

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._gate.clients.add(self)
        self._deadline = self._gate.loop.time() + KEEP_ALIVE
        if self._gate.entrance.crowded(len(self._gate.clients)):
            self._say(errors.CROWDED, None, close=True)
            self._gate.metrics.request("", "-", errors.CROWDED.status, 0.0)
            self._finish(uploaded=True)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if self._lingering:
            if self._admitted:
                self._buffer = b""
            self._pace()
        elif self._exchange:
            self.pump()
        else:
            self._next()
            self._pace()

    def eof_received(self) -> bool:
        """Who has shut down its sending side counts as gone, as in Go's net/http."""
        if self._exchange:
            self.transport.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 why makes no difference
        self._gate.leave(self)
        exchange = self._exchange
        if exchange:
            self._exchange = None
            exchange.abandon()
            self._leave(exchange.response.status if exchange.response else CLIENT_GONE)

    def pause_writing(self) -> None:
        self.full = True
        if self._exchange:
            self._exchange.client_full()

    def resume_writing(self) -> None:
        self.full = False
        if self._exchange:
            self._exchange.client_drained()
        else:
            self._next()
            self._pace()

    # Called by the gate.

    def sweep(self, now: float) -> None:
        """Let go of whoever sends a head too slowly, idles, lingers, or has stopped moving."""
        mark = self._standing()
        if mark is None or mark != self._mark:
            self._mark, self._marked = mark, now
        elif now - self._marked >= STALL_TIMEOUT:
            self._give_up(mark)
            return
        if not self._exchange and now >= self._deadline:
            self._expire()

    def close_if_idle(self) -> None:
        if not self._exchange and not self._buffer:
            self.transport.close()

    def close(self) -> None:
        if self._queued:
            self.fail(errors.LEAVING, "")
        elif self._exchange:
            self.transport.abort()
        else:
            self.transport.close()

    # Called by the entrance; `fail` too.

    def turn(self) -> None:
        self._queued = False
        if self._exchange:
            self._exchange.begin()

    # Called by the exchange.

    @property
    def draining(self) -> bool:
        return self._gate.drain.draining

    @property
    def waiting(self) -> bool:
        return not self._buffer

    def pump(self) -> None:
        exchange = self._exchange
        if exchange and self._buffer and not self._queued and exchange.wants_body:
            data, self._buffer = self._buffer, b""
            rest = exchange.take(data)
            if self._exchange is exchange:
                self._buffer = rest
        self._pace()

    def over(self, *, close: bool) -> None:
        exchange = self._end()
        if close:
            self._finish(uploaded=exchange.uploaded)
            return
        self._deadline = self._gate.loop.time() + KEEP_ALIVE
        if self._buffer:
            self._next()
        self._pace()

    def fail(self, problem: Problem, kind: str) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        if exchange.response:
            self.cut(kind, abort=False)
            return
        exchange.abandon()
        self._end(problem.status)
        if kind:
            self._gate.metrics.upstream_error(kind)
        self._say(problem, exchange.request, close=True)
        self._finish(uploaded=exchange.uploaded)

    def cut(self, kind: str, *, abort: bool) -> None:
        exchange = self._end()
        exchange.abandon()
        if kind:
            self._gate.metrics.upstream_error(kind)
        if abort:
            self.transport.abort()
        else:
            self._finish(uploaded=exchange.uploaded or not self.transport.can_write_eof())

    # Requests.

    def _next(self) -> None:
        """Take up what has arrived, until a request is under way or bytes are missing."""
        while not (self._exchange or self._lingering or self.full):
            buffer = self._buffer.lstrip(b"\r\n")
            end = buffer.find(END)
            if end < 0:
                self._await_head(buffer)
                return
            self._buffer = buffer[end + len(END) :]
            self._request(buffer[: end + len(END)])

    def _await_head(self, buffer: bytes) -> None:
        self._buffer = buffer
        if not buffer:
            return
        bad = wire.incomplete(buffer)
        if bad:
            self._refuse(Refused(errors.bad_request(bad.status, bad.reason)), None)
        elif not self._head_begun:
            self._head_begun = True
            self._deadline = self._gate.loop.time() + HEAD_TIMEOUT

    def _request(self, head: bytes) -> None:
        gate = self._gate
        self._head_begun = False
        request = wire.request(head, gate.loop)
        if isinstance(request, BadRequest):
            self._refuse(Refused(errors.bad_request(request.status, request.reason)), None)
            return
        self.lines = gate.entrance.lines(request)
        own = gate.entrance.answer(request)
        if own:
            self._answer(request, *own)
            return
        verdict = admit(request, gate.live.tokens, gate.live.signers, time.time())
        if isinstance(verdict, Refused):
            self._refuse(verdict, request)
            return
        closed = gate.closed(verdict.label)
        if closed:
            self._refuse(Refused(closed, verdict.token, verdict.label), request)
            return
        now = gate.loop.time()
        entered = gate.entrance.enter(self, verdict, request, now)
        if not isinstance(entered, Turn):
            self._refuse(Refused(entered, verdict.token, verdict.label), request)
            return
        self._admitted, self._begun = verdict, now
        self.body_limit = gate.entrance.body(verdict)
        gate.drain.entered()
        parts = (self, request, gate.pool, gate.authority, gate.loop)
        inspected = verdict.models is not None
        self._exchange = Inspection(*parts, admitted=verdict) if inspected else Exchange(*parts)
        self._queued = entered is Turn.LATER
        if not self._queued:
            self._exchange.begin()

    def _answer(self, request: Request, status: int, head: bytes) -> None:
        """The gate's own word, which needs no token."""
        close = self._closes(request)
        self.transport.write(head + (_CLOSE if close else b"") + b"\r\n")
        self._gate.metrics.request("", "-", status, 0.0)
        self._settle(close=close)

    def _refuse(self, refused: Refused, request: Request | None) -> None:
        close = request is None or self._closes(request)
        self._say(refused.problem, request, close=close)
        self._gate.metrics.request(refused.token, refused.label, refused.problem.status, 0.0)
        self._settle(close=close)

    def _say(self, problem: Problem, request: Request | None, *, close: bool) -> None:
        family = errors.family(request.target if request else "/")
        head = request is not None and request.method == "HEAD"
        lines = self.lines if request else b""
        self.transport.write(errors.response(problem, family, close=close, head=head, lines=lines))

    def _closes(self, request: Request) -> bool:
        """After a refusal the connection goes on only if the body is here in full, and skipped."""
        whole = request.framing is not Framing.CHUNKED and request.length <= len(self._buffer)
        if whole:
            self._buffer = self._buffer[request.length :]
        return request.close or self.draining or not whole

    # Ends.

    def _settle(self, *, close: bool) -> None:
        self._admitted = None
        if close:
            self._finish(uploaded=False)
        else:
            self._deadline = self._gate.loop.time() + KEEP_ALIVE

    def _end(self, status: int = 0) -> Exchange:
        """The exchange is over, and counted."""
        exchange = cast("Exchange", self._exchange)
        self._exchange = None
        self._leave(status or (exchange.response.status if exchange.response else CLIENT_GONE))
        return exchange

    def _leave(self, status: int) -> None:
        gate = self._gate
        gate.entrance.leave(self)
        gate.drain.left()
        elapsed = gate.loop.time() - self._begun
        admitted = cast("Admitted", self._admitted)
        gate.metrics.request(admitted.token, admitted.label, status, elapsed)

    def _finish(self, *, uploaded: bool) -> None:
        """Close, but let a client that is still sending read the answer before the reset.

        Many read only when they have sent everything, so what an admitted one sends is swallowed
        for longer; who wasn't let in is read for 64 KiB more at most.
        """
        self._lingering = True
        if uploaded and not self._buffer:
            self.transport.close()
            return
        self._buffer = b""
        self._deadline = self._gate.loop.time() + (UPLOAD_LINGER if self._admitted else LINGER)
        self._pace()
        # TLS has no half-closed connections: there the answer's length says that it is complete.
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()

    def _pace(self) -> None:
        """Read the socket unless 64 KiB lie here that nobody can take yet."""
        paused = len(self._buffer) > BUFFER_LIMIT
        if paused is not self._paused and not self.transport.is_closing():
            self._paused = paused
            if paused:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    # Time.

    def _standing(self) -> tuple[str, int] | None:
        """What has to change from sweep to sweep, while it is the client's turn to act."""
        pending = self.transport.get_write_buffer_size()
        if pending and (self.full or not self._exchange):
            return "write", pending
        if self._exchange and not self._queued and self._exchange.wants_body:
            return "body", self._exchange.received // BODY_STEP
        return None

    def _give_up(self, mark: tuple[str, int]) -> None:
        if mark[0] == "body":
            self.fail(errors.SLOW_BODY, "")
        else:
            self.transport.abort()

    def _expire(self) -> None:
        if self._lingering:
            self.transport.abort()
        elif self._head_begun:
            self._refuse(Refused(errors.SLOW_HEAD), None)
        elif not self.transport.get_write_buffer_size():
            self.transport.close()
