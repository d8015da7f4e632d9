"""What the gate has to reach, and whether it did: the figures of the project's goals, in one table.

Pure. A ratio or a difference is taken round by round and then its median, because the two sides
of one round met the same machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.gate.peers.names import (
    DIRECT,
    GATE,
    GATE_BARE,
    IMPORT,
    NGINX,
    NGINX_LOGGED,
)
from bench.gate.results import spread

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.gate.results import Results, Spread

    Value = Callable[[Results], list[float]]


@dataclass(frozen=True, slots=True)
class Target:
    """`most` says whether the bounds are the most that is allowed, or the least."""

    figure: str
    required: float
    goal: float | None
    value: Value
    unit: str = ""
    most: bool = True

    def found(self, results: Results) -> Spread | None:
        return spread(self.value(results))

    def verdict(self, found: Spread | None) -> str:
        if found is None:
            return "void"
        if self.goal is not None and self._within(found.median, self.goal):
            return "goal"
        return "required" if self._within(found.median, self.required) else "**missed**"

    def _within(self, value: float, bound: float) -> bool:
        return value <= bound if self.most else value >= bound


def _ratio(row: str, number: str, above: str, below: str) -> Value:
    def value(results: Results) -> list[float]:
        pairs = zip(
            results.numbers(row, above, number), results.numbers(row, below, number), strict=False
        )
        return [a / b for a, b in pairs if b]

    return value


def _added(row: str, number: str, peer: str = GATE, base: str = DIRECT) -> Value:
    def value(results: Results) -> list[float]:
        pairs = zip(
            results.numbers(row, peer, number), results.numbers(row, base, number), strict=False
        )
        return [a - b for a, b in pairs]

    return value


def _sum(row: str, peer: str, number: str) -> Value:
    return lambda results: results.numbers(row, peer, number)


def _memory(results: Results) -> list[float]:
    pairs = zip(
        results.numbers("stream", GATE, "rss_mib"),
        results.numbers("idle", GATE, "rss_mib"),
        strict=False,
    )
    return [a - b for a, b in pairs]


def _pairs(figure: str, row: str, required: float, *, number: str = "cpu_us") -> list[Target]:
    """A speed ratio for both pairs of peers: nginx's cost over the gate's."""
    return [
        Target(f"{figure}: {words}", required, 1.0, _ratio(row, number, nginx, gate), most=False)
        for words, nginx, gate in (
            ("bare", NGINX, GATE_BARE),
            ("everything on", NGINX_LOGGED, GATE),
        )
    ]


STALLS = 0.001

TARGETS = [
    Target(
        "CPU per streamed chunk, of nginx's: bare",
        1.0,
        0.9,
        _ratio("stream", "cpu_us", GATE_BARE, NGINX),
    ),
    Target(
        "the same: everything on",
        1.25,
        1.0,
        _ratio("stream", "cpu_us", GATE, NGINX_LOGGED),
    ),
    *_pairs("speed per small GET, of nginx's", "get", 0.4),
    *_pairs("speed per 401, of nginx's", "refused", 0.3),
    Target(
        "1,000 requests at once, TTFT p50, of nginx's",
        1.25,
        1.0,
        _ratio("burst", "p50_ms", GATE, NGINX_LOGGED),
    ),
    Target("the same, p99", 1.25, 1.0, _ratio("burst", "p99_ms", GATE, NGINX_LOGGED)),
    Target("added TTFT p50, one stream", 0.3, 0.15, _added("first", "p50_ms"), " ms"),
    Target("added gap p99, 64 streams", 1.0, 0.5, _added("paced-64", "gap_p99_ms"), " ms"),
    Target(
        "stall rate above direct's, 512 streams", STALLS, None, _added("paced-512", "stall_share")
    ),
    Target("the same, 1,000 streams (a goal)", STALLS, None, _added("paced-1000", "stall_share")),
    Target(
        "4 GiB upload, CPU per GB, of nginx's",
        1.5,
        1.0,
        _ratio("upload", "cpu_s_per_gb", GATE, NGINX),
    ),
    Target(
        "4 GiB download, CPU per GB, of nginx's",
        1.5,
        1.0,
        _ratio("download", "cpu_s_per_gb", GATE, NGINX),
    ),
    Target(
        "200 bodies of 20 MB, throughput, of nginx's",
        1.0,
        None,
        _ratio("bodies", "gb_per_second", GATE, NGINX),
        most=False,
    ),
    Target("the same, memory grown", 24, 12, _sum("bodies", GATE, "grown_mib"), " MiB"),
    Target("resident memory, idle", 56, 48, _sum("idle", GATE, "rss_mib"), " MiB"),
    Target("grown with 1,000 streams", 24, 12, _memory, " MiB"),
    Target(
        "start to listening, beyond `import aiohttp`",
        0.2,
        0.1,
        _added("start", "seconds", GATE, IMPORT),
        " s",
    ),
]
