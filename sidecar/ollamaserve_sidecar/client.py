"""One connection of a client: reads heads, refuses or begins exchanges, one after the other.

Entered by the event loop and by the exchange in progress. While there is one, nothing of the next
request is parsed; what arrives meanwhile waits (`peer`).
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from ollamaserve_sidecar import errors, websocket, wire
from ollamaserve_sidecar.admission import Admitted, Refused
from ollamaserve_sidecar.entrance import Own
from ollamaserve_sidecar.exchange import Exchange
from ollamaserve_sidecar.inspection import Inspection
from ollamaserve_sidecar.peer import KEEP_ALIVE
from ollamaserve_sidecar.policy import INFERENCE
from ollamaserve_sidecar.record import Outcome, Record
from ollamaserve_sidecar.replier import Replier
from ollamaserve_sidecar.slots import Turn
from ollamaserve_sidecar.tunnel import Tunnel
from ollamaserve_sidecar.wire import END, BadRequest, Request

if TYPE_CHECKING:
    from ollamaserve_sidecar.errors import Problem
    from ollamaserve_sidecar.gate import Gate

HEAD_TIMEOUT = 10.0
BODY_STEP = 14_400
"""Bytes of a body that have to arrive in a stall's time: 240 a second, as Kestrel asks for."""
CLIENT_GONE = 499


class Client(Replier):
    """`sweep` is called about once a second."""

    __slots__ = (
        "_exchange",
        "_queued",
        "body_limit",
    )

    def __init__(self, gate: Gate) -> None:
        super().__init__(gate)
        self._exchange: Exchange | None = None
        self._queued = False
        self.body_limit: int | None = None

    # Called by the event loop.

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._gate.clients.add(self)
        self._stay(KEEP_ALIVE)
        if self._gate.entrance.crowded(len(self._gate.clients)):
            self._refuse(Refused(errors.CROWDED), None, at_once=True)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if self._lingering:
            if self._swallows:
                self._buffer = b""
            self._pace()
        elif self._exchange:
            self.pump()
        else:
            self._next()
            self._pace()

    def eof_received(self) -> bool:
        """Who shut down its sending side counts as gone, as in Go's net/http; not in tunnels."""
        if self._tunnel:
            rest, self._buffer = self._buffer, b""
            self._tunnel.client_ended(rest)
            return self.transport.can_write_eof()
        if self._exchange:
            self.transport.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 why makes no difference
        self._gate.leave(self)
        if self._exchange:
            self._end(Outcome.CLIENT_GONE).abandon()

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
        if self._stalls(mark, now):
            self._give_up(mark)
        elif not self._exchange and now >= self._deadline:
            self._expire()

    def close_if_idle(self) -> None:
        if not self._exchange and not self._buffer:
            self.transport.close()

    def close(self) -> None:
        if self._queued:
            self.fail(errors.LEAVING, "")
        elif self._exchange:
            self._abort(Outcome.SHUT_DOWN, "drain_timeout")
        else:
            self.transport.close()

    def recheck(self) -> None:
        """Tokens have changed: a tunnel, which may never end by itself, ends with its token."""
        if self._tunnel and not self._gate.entrance.stands(self._tunnel.request):
            self._abort(Outcome.REFUSED, "token_revoked")

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
        exchange = self._end(Outcome.SERVED)
        if close:
            self._part(at_once=exchange.upload.ended, admitted=True)
            return
        self._stay(KEEP_ALIVE)
        if self._buffer:
            self._next()
        self._pace()

    def fail(self, problem: Problem, kind: str) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        if kind:
            self._gate.ledger.upstream_failed(kind)
        if exchange.response:
            self._cut(problem.outcome, kind or problem.reason, abort=False)
            return
        exchange.abandon()
        self._say(problem, exchange.request, close=True)
        self._noted().refused(problem)
        self._end(problem.outcome, kind or problem.reason)
        self._part(at_once=exchange.upload.ended, admitted=True)

    def cut(self, kind: str, *, abort: bool) -> None:
        self._gate.ledger.upstream_failed(kind)
        self._cut(Outcome.TRUNCATED, kind, abort=abort)

    def _cut(self, outcome: Outcome, reason: str, *, abort: bool) -> None:
        exchange = self._end(outcome, reason)
        exchange.abandon()
        if abort:
            self.transport.abort()
        else:
            whole = exchange.upload.ended or not self.transport.can_write_eof()
            self._part(at_once=whole, admitted=True)

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
        elif self._record is None:
            self._record = Record(monotonic())
            self._stay(HEAD_TIMEOUT)

    def _request(self, head: bytes) -> None:
        gate, record = self._gate, self._noted()
        request = wire.request(head, gate.loop)
        if isinstance(request, BadRequest):
            self._refuse(Refused(errors.bad_request(request.status, request.reason)), None)
            return
        header = record.asked(request)
        self.lines = gate.entrance.lines(request) + header
        verdict = gate.entrance.receive(self, request, gate.loop.time())
        if isinstance(verdict, Refused):
            self._refuse(verdict, request)
        elif isinstance(verdict, Own):
            self._answer(verdict, request)
        else:
            request.fields.lines += header
            self._begin(request, *verdict)

    def _begin(self, request: Request, admitted: Admitted, turn: Turn) -> None:
        gate, record = self._gate, self._noted()
        gate.drain.entered()
        record.token, record.access, record.route = admitted.token, admitted.access, admitted.label
        record.status = CLIENT_GONE
        self.body_limit = gate.entrance.body(admitted)
        parts = (self, request, gate.pool, gate.authority, gate.loop)
        if admitted.models is not None:
            self._exchange = Inspection(*parts, admitted=admitted)
        elif accept := websocket.asked(request):
            self._exchange = Tunnel(*parts, accept=accept)
        else:
            self._exchange = Exchange(*parts)
        if admitted.label in INFERENCE:
            self._exchange.meter = gate.ledger.meter(admitted.label)
        self._queued = turn is Turn.LATER
        if not self._queued:
            self._exchange.begin()

    @property
    def _tunnel(self) -> Tunnel | None:
        exchange = self._exchange
        return exchange if isinstance(exchange, Tunnel) and exchange.open else None

    # Ends.

    def _end(self, outcome: Outcome, reason: str = "") -> Exchange:
        """The exchange is over, and on record."""
        gate, exchange, record = self._gate, cast("Exchange", self._exchange), self._closed()
        self._exchange = None
        gate.entrance.leave(self)
        gate.drain.left()
        record.outcome, record.reason = outcome, reason
        record.received = exchange.upload.received
        if exchange.response:
            record.status, record.sent = exchange.response.status, exchange.sent
            gate.ledger.close(record, exchange.meter)
        else:
            gate.ledger.close(record)
        return exchange

    def _abort(self, outcome: Outcome, reason: str) -> None:
        """Cut the client off; what is under way ends with it."""
        if self._exchange:
            self._end(outcome, reason).abandon()
        self.transport.abort()

    # Time.

    def _standing(self) -> tuple[str, int] | None:
        """What has to change from sweep to sweep, while it is the client's turn to act."""
        pending = self.transport.get_write_buffer_size()
        if pending and (self.full or not self._exchange):
            return "write", pending
        if self._exchange and not (self._queued or self._tunnel) and self._exchange.wants_body:
            return "body", self._exchange.upload.received // BODY_STEP
        return None

    def _give_up(self, mark: tuple[str, int] | None) -> None:
        if mark and mark[0] == "body":
            self.fail(errors.SLOW_BODY, "")
        else:
            self._abort(Outcome.TIMED_OUT, "stalled_reader")

    def _expire(self) -> None:
        if self._record and not self._lingering:
            self._refuse(Refused(errors.SLOW_HEAD), None)
        elif self.transport.get_write_buffer_size():
            return  # what is being read has a time of its own: `_stalls`
        elif self._lingering:
            self.transport.abort()
        else:
            self.transport.close()
