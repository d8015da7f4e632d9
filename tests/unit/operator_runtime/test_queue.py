"""The queue: keyed, de-duplicating, delaying, backing off; no test here waits."""

import asyncio
import itertools
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from ollamaserve_operator.errors import Transient
from ollamaserve_operator.queue import CROWD, Queue

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Worker:
    """Counts the turns of each key; `outcome` decides what each returns."""

    def __init__(self, outcome: Callable[[str, int], float | None] = lambda _k, _n: None) -> None:
        self.turns: list[tuple[float, str]] = []
        self.running: set[str] = set()
        self.most = 0
        self.outcome = outcome
        self.takes = 0.0

    async def __call__(self, key: str) -> float | None:
        assert key not in self.running
        self.running.add(key)
        self.most = max(self.most, len(self.running))
        self.turns.append((asyncio.get_running_loop().time(), key))
        await asyncio.sleep(self.takes)
        self.running.discard(key)
        return self.outcome(key, sum(k == key for _, k in self.turns))

    def times(self, key: str = "a") -> list[float]:
        return [when for when, k in self.turns if k == key]


async def during(queue: Queue[str], worker: Worker, seconds: float) -> None:
    """Let the queue work for so long."""
    task = asyncio.create_task(queue.run(worker))
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_a_key_added_many_times_has_one_turn(run: Run) -> None:
    """Keys are de-duplicated while they wait."""

    async def scenario() -> None:
        queue, worker = Queue[str](), Worker()
        for _ in range(10):
            queue.add("a")
        await during(queue, worker, 1)
        assert [key for _, key in worker.turns] == ["a"]

    run(scenario())


def test_the_earlier_of_two_times_counts(run: Run) -> None:
    """An event doesn't wait for the resync, and a resync doesn't postpone an event."""

    async def scenario() -> None:
        queue, worker = Queue[str](), Worker()
        queue.add("a", 60)
        queue.add("a", 5)
        queue.add("a", 30)
        await during(queue, worker, 100)
        assert worker.times() == [1005.0]

    run(scenario())


def test_a_key_is_never_worked_on_twice_at_once_and_what_comes_meanwhile_is_not_lost(
    run: Run,
) -> None:
    """An event during a turn gives one more turn after it."""

    async def scenario() -> None:
        queue, worker = Queue[str](), Worker()
        worker.takes = 10
        queue.add("a")
        task = asyncio.create_task(queue.run(worker))
        for _ in range(3):
            await asyncio.sleep(1)
            queue.add("a")
        await asyncio.sleep(30)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert worker.times() == [1000.0, 1010.0]

    run(scenario())


def test_at_most_so_many_keys_at_once(run: Run) -> None:
    """A slow key takes one worker, not all (T18)."""

    async def scenario() -> None:
        queue, worker = Queue[str](workers=3), Worker()
        worker.takes = 1
        for key in "abcdefgh":
            queue.add(key)
        await during(queue, worker, 100)
        assert worker.most == 3
        assert sorted(key for _, key in worker.turns) == list("abcdefgh")

    run(scenario())


@pytest.mark.parametrize("failure", [Transient("try again"), ValueError("unforeseen")])
def test_failures_back_off_to_five_minutes_and_success_forgets_them(
    run: Run, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Delays double from 1 s to 300 s, less up to a half; success starts anew (T19)."""

    def outcome(_key: str, turn: int) -> float | None:
        if turn <= 12:
            raise failure
        return None

    async def scenario() -> list[float]:
        queue, worker = Queue[str](rng=random.Random(1)), Worker(outcome)  # noqa: S311 (jitter)
        queue.add("a")
        await during(queue, worker, 10_000)
        worker.outcome = lambda _k, turn: outcome("a", turn - 13)
        queue.add("a")
        await during(queue, worker, 2)
        times = worker.times()
        return [after - before for before, after in itertools.pairwise(times)]

    waits = run(scenario())
    for turn, wait in enumerate(waits[:12]):
        longest = min(300.0, 2.0**turn)
        assert longest / 2 <= wait <= longest
    assert waits[13] <= 1.0


def test_the_servers_retry_after_is_kept(run: Run) -> None:
    """429 with Retry-After: not before."""

    def outcome(_key: str, turn: int) -> float | None:
        if turn == 1:
            raise Transient("slow down", retry_after=40)
        return None

    async def scenario() -> None:
        queue, worker = Queue[str](), Worker(outcome)
        queue.add("a")
        await during(queue, worker, 100)
        assert worker.times() == [1000.0, 1040.0]

    run(scenario())


def test_what_asks_for_no_turn_of_its_own_gets_the_resync(run: Run) -> None:
    """Ten minutes ± 20 %, even where the next look is said to be later; None is forgotten."""

    async def scenario() -> None:
        queue, worker = Queue[str](), Worker(lambda key, _n: None if key == "gone" else 1e9)
        queue.add("a")
        queue.add("gone")
        await during(queue, worker, 721)
        first, second, *_ = worker.times()
        assert 480 <= second - first <= 720
        assert len(worker.times("gone")) == 1

    run(scenario())


def test_depth_age_and_idleness_are_those_of_what_waits(run: Run) -> None:
    """The probe and the metrics see a stuck queue."""

    async def scenario() -> None:
        queue, worker = Queue[str](workers=1), Worker()
        worker.takes = 500
        queue.add("a")
        task = asyncio.create_task(queue.run(worker))
        await asyncio.sleep(0)
        queue.add("b", 10)
        queue.add("c", 100_000)
        await asyncio.sleep(400)
        assert queue.depth() == 1
        assert queue.oldest() == 390
        assert queue.idle() == 400
        assert queue.longest() == 400
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(scenario())


def test_times_that_no_longer_count_are_thrown_away(run: Run) -> None:
    """An event a second for a year doesn't grow the queue."""

    async def scenario() -> None:
        queue, worker = Queue[str](), Worker(lambda _k, _n: 1e9)
        task = asyncio.create_task(queue.run(worker))
        for _ in range(1000):
            queue.add("a")
            await asyncio.sleep(0.1)
        assert len(queue._heap) <= 128
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(scenario())


def test_it_is_crowded_when_many_are_due(run: Run) -> None:
    """Those that are due count, not those that will be."""

    async def scenario() -> None:
        queue = Queue[str](workers=1)
        for number in range(CROWD):
            queue.add(f"due-{number}")
        queue.add("later", 60)
        assert not queue.crowded()
        queue.add("one more")
        assert queue.crowded()

    run(scenario())
