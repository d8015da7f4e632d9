"""The counters of the door: what `ledger` adds up, and `metrics` shows.

Pure. The hot path pays a dictionary entry per request and a list's entry per token; the metrics
format is made when somebody asks. Labels come from bounded sets, and there is a ceiling besides.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING

from ollamaserve_sidecar.meter import GAPS

if TYPE_CHECKING:
    from ollamaserve_sidecar.meter import Meter
    from ollamaserve_sidecar.record import Record

SERIES = 5000
"""Ceiling of the combinations of labels of one counter; what comes after is `other`."""
SECONDS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Answers take from milliseconds (a list) to minutes (a long generation)."""
_OVERFLOW = ("", "other", 0)


class Histogram:
    """`counts` has one entry per bound, and one for what is above them all."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        names = [str(bound) for bound in self.bounds] + ["+Inf"]
        return [(name, sum(self.counts[: i + 1])) for i, name in enumerate(names)]


class Series:
    """The requests of one token, route and status."""

    __slots__ = ("count", "durations")

    def __init__(self, durations: Histogram) -> None:
        self.count = 0
        self.durations = durations


class Tally:
    """By names: of token, route and status; of a route; of token and model; of a kind."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, int], Series] = {}
        self.durations: dict[str, Histogram] = {}
        self.first: dict[str, Histogram] = {}
        self.gaps: dict[str, Histogram] = {}
        self.prompt: Counter[tuple[str, str]] = Counter()
        self.generated: Counter[tuple[str, str]] = Counter()
        self.unknown: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.received = self.sent = 0

    def ended(self, record: Record) -> None:
        key = (record.token, record.route, record.status)
        series = self.requests.get(key) or self._new(key)
        series.count += 1
        series.durations.add(record.ended - record.begun)
        self.received += record.received
        self.sent += record.sent

    def _new(self, key: tuple[str, str, int]) -> Series:
        if len(self.requests) >= SERIES:
            key = _OVERFLOW
        return self.requests.setdefault(key, Series(_of(self.durations, key[1], SECONDS)))

    def metered(self, record: Record, meter: Meter) -> None:
        """An answer of inference: its times, where it was a stream."""
        if meter.streamed and meter.first:
            _of(self.first, record.route, SECONDS).add(meter.first - record.begun)
            self.of_gaps(record.route).total += meter.last - meter.first

    def used(self, record: Record, model: str) -> None:
        """Its tokens; `model` is a name that this server knows, or `other`."""
        if record.prompt is None or record.generated is None:
            self.unknown[record.route] += 1
            return
        key = (record.token, model)
        if key not in self.prompt and len(self.prompt) >= SERIES:
            key = ("other", "other")
        self.prompt[key] += record.prompt
        self.generated[key] += record.generated

    def of_gaps(self, route: str) -> Histogram:
        return _of(self.gaps, route, GAPS)


def _of(histograms: dict[str, Histogram], route: str, bounds: tuple[float, ...]) -> Histogram:
    return histograms.get(route) or histograms.setdefault(route, Histogram(bounds))
