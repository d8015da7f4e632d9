"""The gate's own words on a client's connection: refusals, and what it answers by itself.

Between `peer`, which knows no HTTP, and `client`, which forwards. Whatever is said here closes the
record of its request.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from ollamaserve_sidecar import errors
from ollamaserve_sidecar.heads import CLOSE
from ollamaserve_sidecar.peer import KEEP_ALIVE, Peer
from ollamaserve_sidecar.record import Outcome, Record
from ollamaserve_sidecar.wire import END, Framing

if TYPE_CHECKING:
    from ollamaserve_sidecar.admission import Refused
    from ollamaserve_sidecar.entrance import Own
    from ollamaserve_sidecar.errors import Problem
    from ollamaserve_sidecar.gate import Gate
    from ollamaserve_sidecar.wire import Request


class Replier(Peer):
    """`lines` are header lines that every response to the request at hand has besides.

    The record is that of the request at hand, from the first byte of its head to its end.
    """

    __slots__ = ("_gate", "_record", "lines")

    def __init__(self, gate: Gate) -> None:
        super().__init__(gate.loop)
        self._gate = gate
        self._record: Record | None = None
        self.lines = b""

    def _noted(self) -> Record:
        """The record, begun now if no byte of the head was here before."""
        if self._record is None:
            self._record = Record(monotonic())
        return self._record

    def _closed(self) -> Record:
        """The record, which is another one's from now on."""
        record, self._record = self._noted(), None
        record.ended = monotonic()
        return record

    def _answer(self, own: Own, request: Request) -> None:
        close = self._closes(request)
        self.transport.write(b"%b%b%b\r\n" % (own.head, self.lines, CLOSE if close else b""))
        record = self._closed()
        record.status, record.outcome = own.status, Outcome.ANSWERED
        self._gate.ledger.close(record)
        self._settle(close=close)

    def _refuse(self, refused: Refused, request: Request | None, *, at_once: bool = False) -> None:
        close = request is None or self._closes(request)
        record = self._noted()
        record.token, record.access = refused.token, refused.access
        record.route = refused.label
        record.refused(refused.problem)
        self._say(refused.problem, request, close=close)
        self._gate.ledger.close(self._closed())
        self._settle(close=close, at_once=at_once)

    def _say(self, problem: Problem, request: Request | None, *, close: bool) -> None:
        record = self._noted()
        family = errors.family(request.target if request else "/")
        head = request is not None and request.method == "HEAD"
        lines = self.lines if request else record.header()
        said = errors.response(problem, family, close=close, head=head, lines=lines)
        record.sent = len(said) - said.find(END) - len(END)
        if not record.token:
            record.client = self._address()
        self.transport.write(said)

    def _address(self) -> str:
        name = self.transport.get_extra_info("peername")
        return str(name[0]) if name else ""

    def _closes(self, request: Request) -> bool:
        """After a refusal the connection goes on only if the body is here in full, and skipped."""
        whole = request.framing is not Framing.CHUNKED and request.length <= len(self._buffer)
        if whole:
            self._buffer = self._buffer[request.length :]
        return request.close or self._gate.drain.draining or not whole

    def _settle(self, *, close: bool, at_once: bool = False) -> None:
        if close:
            self._part(at_once=at_once, admitted=False)
        else:
            self._stay(KEEP_ALIVE)
