"""The laws of the queue: slots never leak, nobody waits for a free one, no token starves (G12)."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ollamaserve_sidecar.limits import Limits
from ollamaserve_sidecar.slots import Slots, Turn

TOKENS = ("ada", "bob", "cyd", "dan")
LIMITS = st.builds(
    Limits,
    concurrent=st.integers(1, 4),
    per_token=st.integers(0, 3),
    queue=st.integers(0, 5),
    queue_wait=st.integers(1, 5),
)


class Queueing(RuleBasedStateMachine):
    """Requests come, end, give up and are late in any order, and the limits change meanwhile.

    `served` and `waiting` are what the callers were told: the room has to agree at every step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.limits = Limits(concurrent=2, queue=3, queue_wait=3)
        self.slots: Slots[int] = Slots(self.limits)
        self.served: dict[int, str] = {}
        self.waiting: dict[int, tuple[str, float]] = {}
        self.now = 0.0
        self.tickets = 0

    def told(self, granted: list[int]) -> None:
        for ticket in granted:
            self.served[ticket] = self.waiting.pop(ticket)[0]

    @rule(token=st.sampled_from(TOKENS))
    def come(self, token: str) -> None:
        self.tickets += 1
        turn = self.slots.enter(self.tickets, token, self.now)
        if turn is Turn.NOW:
            self.served[self.tickets] = token
        elif turn is Turn.LATER:
            self.waiting[self.tickets] = (token, self.now)
        else:
            assert len(self.waiting) >= self.limits.queue

    @precondition(lambda self: self.served)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.served)))
        del self.served[ticket]
        self.told(self.slots.leave(ticket))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.waiting)))
        del self.waiting[ticket]
        assert self.slots.leave(ticket) == []

    @rule(token=st.sampled_from(TOKENS))
    def make_room(self, token: str) -> None:
        held = Counter(name for name, _ in self.waiting.values())
        ticket = self.slots.displaced(token)
        if ticket is None:
            assert max(held.values(), default=0) < held[token] + 2
        else:
            owner, _ = self.waiting.pop(ticket)
            assert held[owner] == max(held.values())
            assert ticket > max((t for t, (o, _) in self.waiting.items() if o == owner), default=0)

    @rule(seconds=st.integers(0, 3))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        late = {t for t, (_, at) in self.waiting.items() if self.now - at >= self.limits.queue_wait}
        assert set(self.slots.overdue(self.now)) == late
        for ticket in late:
            del self.waiting[ticket]

    @rule(limits=LIMITS)
    def change(self, limits: Limits) -> None:
        self.limits = limits
        self.told(self.slots.resize(limits))

    @rule()
    def strangers_leave(self) -> None:
        assert self.slots.leave(-1) == []

    @invariant()
    def nothing_leaks(self) -> None:
        assert (self.slots.served, self.slots.waiting) == (len(self.served), len(self.waiting))
        assert all(self.slots.waits(ticket) for ticket in self.waiting)
        assert not any(self.slots.waits(ticket) for ticket in self.served)

    @invariant()
    def nobody_waits_for_a_free_slot(self) -> None:
        if len(self.served) < self.limits.concurrent:
            running = Counter(self.served.values())
            for token, _ in self.waiting.values():
                assert 0 < self.limits.per_token <= running[token]

    def teardown(self) -> None:
        while self.served:
            self.end_first()
        for ticket in list(self.waiting):
            self.slots.leave(ticket)
        assert (self.slots.served, self.slots.waiting) == (0, 0)
        assert (self.slots._per_token, self.slots._ring) == ({}, {})

    def end_first(self) -> None:
        ticket = next(iter(self.served))
        del self.served[ticket]
        self.told(self.slots.leave(ticket))


TestQueueing = Queueing.TestCase


@given(st.lists(st.sampled_from(TOKENS), max_size=60), st.integers(1, 4))
def test_no_token_starves(arrivals: list[str], concurrent: int) -> None:
    """Between two turns of one who waits, each other token gets one turn at most."""
    slots: Slots[int] = Slots(Limits(concurrent=concurrent, queue=1000))
    for ticket in range(concurrent):
        slots.enter(-1 - ticket, "hog", 0)
    for ticket, token in enumerate(arrivals):
        assert slots.enter(ticket, token, 0) is Turn.LATER
    left = Counter(arrivals)
    since: dict[str, Counter[str]] = {token: Counter() for token in left}
    running = [-1 - ticket for ticket in range(concurrent)]
    order = []
    while running:
        for granted in slots.leave(running.pop(0)):
            running.append(granted)
            order.append(granted)
            token = arrivals[granted]
            left[token] -= 1
            since[token].clear()
            for other, turns in since.items():
                if other != token and left[other]:
                    turns[token] += 1
                    assert turns[token] <= 1

    assert len(order) == len(arrivals)
    for token in set(arrivals):
        own = [ticket for ticket in order if arrivals[ticket] == token]
        assert own == sorted(own)


def test_one_token_cannot_hold_the_queue() -> None:
    """A full queue makes room for who has fewer waiting, at the cost of the newest of the most."""
    slots: Slots[str] = Slots(Limits(concurrent=1, queue=3))
    slots.enter("running", "hog", 0)
    for name in ("h1", "h2", "h3"):
        assert slots.enter(name, "hog", 0) is Turn.LATER
    assert slots.enter("ada", "ada", 0) is Turn.NEVER
    assert slots.displaced("ada") == "h3"
    assert slots.enter("ada", "ada", 0) is Turn.LATER
    assert slots.displaced("ada") is None

    assert [slots.leave(t) for t in ("running", "h1", "ada", "h2")] == [["h1"], ["ada"], ["h2"], []]


@pytest.mark.parametrize(("queue", "turn"), [(0, Turn.NEVER), (1, Turn.LATER)])
def test_without_a_queue_nobody_waits(queue: int, turn: Turn) -> None:
    """`queue: 0` refuses what can't begin at once."""
    slots: Slots[str] = Slots(Limits(concurrent=1, queue=queue))
    assert slots.enter("a", "ada", 0) is Turn.NOW

    assert slots.enter("b", "ada", 0) is turn


def test_a_token_at_its_own_limit_lets_others_pass() -> None:
    """`concurrentRequestsPerToken`: who has had theirs waits, and is passed by."""
    slots: Slots[str] = Slots(Limits(concurrent=2, per_token=1))
    assert slots.enter("a1", "ada", 0) is Turn.NOW
    assert slots.enter("a2", "ada", 0) is Turn.LATER
    assert slots.enter("b1", "bob", 0) is Turn.NOW
    assert slots.enter("b2", "bob", 0) is Turn.LATER

    assert slots.leave("b1") == ["b2"]
    assert slots.leave("a1") == ["a2"]
