"""Who is being served and who waits: the slots of inference, and a bounded queue that is fair.

Pure (decision G12). A ticket stands for one request, and its token's name for whose it is. Slots
go round from token to token, whoever has however many waiting. What always holds: nobody waits
while a slot is free that they may have.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ollamaserve_sidecar.limits import Limits

Ticket = TypeVar("Ticket")


class Turn(Enum):
    """What a request that enters is told."""

    NOW = auto()
    LATER = auto()
    NEVER = auto()


class Slots(Generic[Ticket]):
    """`enter` and `leave` are for every ticket; those that get a slot later are handed out."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._served: dict[Ticket, str] = {}
        self._per_token: dict[str, int] = {}
        self._waiting: dict[Ticket, str] = {}
        # In the order of their turns; each token's tickets in theirs, with the time they came.
        self._ring: dict[str, dict[Ticket, float]] = {}

    @property
    def served(self) -> int:
        return len(self._served)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def waits(self, ticket: Ticket) -> bool:
        return ticket in self._waiting

    def enter(self, ticket: Ticket, token: str, now: float) -> Turn:
        """NEVER means that the queue is full, and the ticket isn't known here."""
        if len(self._served) < self._limits.concurrent and self._may(token):
            self._serve(ticket, token)
            return Turn.NOW
        if len(self._waiting) >= self._limits.queue:
            return Turn.NEVER
        self._waiting[ticket] = token
        self._ring.setdefault(token, {})[ticket] = now
        return Turn.LATER

    def leave(self, ticket: Ticket) -> list[Ticket]:
        """The ticket's request is over, wherever it stood; who is served from now on."""
        token = self._served.pop(ticket, None)
        if token is None:
            self._forget(ticket)
            return []
        self._per_token[token] -= 1
        if not self._per_token[token]:
            del self._per_token[token]
        return self._grant() if self._waiting else []

    def resize(self, limits: Limits) -> list[Ticket]:
        """Other limits; nobody who is served or waits is sent away. Who is served from now on."""
        self._limits = limits
        return self._grant()

    def overdue(self, now: float) -> list[Ticket]:
        """Those whose wait is over; they have left the queue."""
        latest = now - self._limits.queue_wait
        late = [
            ticket
            for tickets in self._ring.values()
            for ticket, since in tickets.items()
            if since <= latest
        ]
        for ticket in late:
            self._forget(ticket)
        return late

    def displaced(self, token: str) -> Ticket | None:
        """Make room in a full queue for a token that has fewer waiting than another one.

        The newest ticket of the token with the most, which has left the queue; None where there
        is nobody with two more. So no token can keep the others out of the queue.
        """
        longest = max(self._ring.values(), key=len, default={})
        if len(longest) < len(self._ring.get(token, ())) + 2:
            return None
        ticket = next(reversed(longest))
        self._forget(ticket)
        return ticket

    def _may(self, token: str) -> bool:
        most = self._limits.per_token
        return not most or self._per_token.get(token, 0) < most

    def _serve(self, ticket: Ticket, token: str) -> None:
        self._served[ticket] = token
        self._per_token[token] = self._per_token.get(token, 0) + 1

    def _grant(self) -> list[Ticket]:
        granted = []
        while len(self._served) < self._limits.concurrent:
            token = next(self._eligible(), None)
            if token is None:
                break
            ticket = next(iter(self._ring[token]))
            tickets = self._ring[token]
            self._forget(ticket)
            if tickets:  # to the end of the ring
                self._ring[token] = self._ring.pop(token)
            self._serve(ticket, token)
            granted.append(ticket)
        return granted

    def _eligible(self) -> Iterator[str]:
        return (token for token in self._ring if self._may(token))

    def _forget(self, ticket: Ticket) -> None:
        token = self._waiting.pop(ticket, None)
        if token is None:
            return
        del self._ring[token][ticket]
        if not self._ring[token]:
            del self._ring[token]
