"""What a request meets before it is forwarded: who asks, and the gate's own rules.

Each `Gate` has one, and `client` asks it. The rules follow GATE_CONFIG as it changes; the rooms
`admission`, `limits`, `slots` and `cors` hold them. Who need not wait pays for a few comparisons.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Protocol

from ollamaserve_sidecar import errors
from ollamaserve_sidecar.admission import Admitted, Refused, admit, is_preflight
from ollamaserve_sidecar.limits import Pace, too_large
from ollamaserve_sidecar.policy import INFERENCE, OUTBOUND
from ollamaserve_sidecar.slots import Slots, Turn

if TYPE_CHECKING:
    from collections.abc import Callable

    from ollamaserve_sidecar.errors import Problem
    from ollamaserve_sidecar.reload import Live
    from ollamaserve_sidecar.wire import Request

_NO_CONTENT = b"HTTP/1.1 204 No Content\r\n"


class Ticket(Protocol):
    """A connection whose request may have to wait."""

    def turn(self) -> None:
        """The request has a slot, and is to begin."""

    def fail(self, problem: Problem, kind: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Own:
    """The gate's own word, which needs no token; `head` is without its empty line."""

    status: int
    head: bytes


_HEALTHY = Own(200, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nCache-Control: no-store\r\n")


class Entrance:
    """`closed` may refuse an admitted request for now, by its route's label (standalone mode)."""

    def __init__(self, live: Live, closed: Callable[[str], Problem | None]) -> None:
        self._live, self._closed = live, closed
        self._pace = Pace()
        self.slots: Slots[Ticket] = Slots(live.config.limits)
        live.on_change.append(self._changed)

    def lines(self, request: Request) -> bytes:
        """Header lines that every response to this request has besides."""
        return self._live.config.cors.lines(request)

    def body(self, admitted: Admitted) -> int | None:
        """The most bytes that the request's body may have."""
        return self._live.config.limits.body(admitted.label)

    def crowded(self, connections: int) -> bool:
        return connections > self._live.config.limits.connections

    def receive(
        self, ticket: Ticket, request: Request, now: float
    ) -> tuple[Admitted, Turn] | Refused | Own:
        """Who is admitted begins now or later, and has to leave; `now` is the loop's time."""
        own = self._answer(request)
        if own:
            return own
        live = self._live
        verdict = admit(request, live.tokens, live.signers, time.time())
        if isinstance(verdict, Refused):
            return verdict
        entered = self._closed(verdict.label) or self._enter(ticket, verdict, request, now)
        if isinstance(entered, Turn):
            return verdict, entered
        return Refused(entered, verdict.token, verdict.label, verdict.access)

    def stands(self, request: Request) -> bool:
        """Whether a request that became a tunnel would be let in again."""
        live = self._live
        verdict = admit(request, live.tokens, live.signers, time.time())
        return isinstance(verdict, Admitted) and verdict.models is None

    def _answer(self, request: Request) -> Own | None:
        """A preflight and a load balancer's probe are answered here."""
        config = self._live.config
        if request.target == config.health_path and request.method in ("GET", "HEAD"):
            return _HEALTHY
        if is_preflight(request):
            return Own(204, _NO_CONTENT + config.cors.preflight(request))
        return None

    def _enter(
        self, ticket: Ticket, admitted: Admitted, request: Request, now: float
    ) -> Turn | Problem:
        config = self._live.config
        label = admitted.label
        if label in OUTBOUND and not config.egress:
            return errors.NO_EGRESS
        if too_large(request, config.limits.body(label)):
            return errors.too_large(config.limits.body_bytes)
        if label not in INFERENCE:
            return Turn.NOW
        wait = self._pace.wait(admitted.token, config.limits.per_minute, now)
        if wait:
            return errors.too_fast(config.limits.per_minute, ceil(wait))
        turn = self.slots.enter(ticket, admitted.token, now)
        return self._squeeze(ticket, admitted.token, now) if turn is Turn.NEVER else turn

    def leave(self, ticket: Ticket) -> None:
        self._call(self.slots.leave(ticket))

    def sweep(self, now: float) -> None:
        """Called about once a second."""
        if self.slots.waiting:
            for ticket in self.slots.overdue(now):
                ticket.fail(errors.WAITED, "")

    def _squeeze(self, ticket: Ticket, token: str, now: float) -> Turn | Problem:
        other = self.slots.displaced(token)
        if other is None:
            return errors.BUSY
        other.fail(errors.BUSY, "")
        return self.slots.enter(ticket, token, now)

    def _call(self, tickets: list[Ticket]) -> None:
        """In the loop's next round: an end may call another, and that its own end, and so on."""
        for ticket in tickets:
            asyncio.get_running_loop().call_soon(ticket.turn)

    def _changed(self) -> None:
        self._pace.forget()
        self._call(self.slots.resize(self._live.config.limits))
