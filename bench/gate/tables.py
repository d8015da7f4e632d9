"""The figures in words: the same tables on the terminal and in docs/benchmarks.md. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.gate.peers.names import IMPORT, TITLES
from bench.gate.results import spread
from bench.gate.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.gate.results import Results, Spread
    from bench.gate.targets import Target

Table = list[list[str]]
"""Rows of cells; the first is the head."""

# Of each row, the numbers that a reader wants, and their units.
SHOWN = {
    "stream": {"cpu_us": "CPU us per chunk", "rss_mib": "MiB resident"},
    "get": {"cpu_us": "CPU us per request", "p50_ms": "p50 ms", "p99_ms": "p99 ms"},
    "refused": {"cpu_us": "CPU us per request", "p99_ms": "p99 ms"},
    "get-speed": {"per_second": "requests per second"},
    "burst": {"p50_ms": "TTFT p50 ms", "p99_ms": "TTFT p99 ms"},
    "first": {"p50_ms": "TTFT p50 ms", "p99_ms": "TTFT p99 ms"},
    **{
        f"paced-{n}": {
            "p50_ms": "TTFT p50 ms",
            "gap_p50_ms": "gap p50 ms",
            "gap_p99_ms": "gap p99 ms",
            "stall_share": "stall rate",
        }
        for n in (1, 64, 256, 512, 1000)
    },
    **{
        f"openai-{n}": {
            "p50_ms": "TTFT p50 ms",
            "p99_ms": "TTFT p99 ms",
            "gap_p50_ms": "gap p50 ms",
            "gap_p99_ms": "gap p99 ms",
            "stall_share": "stall rate",
            "cpu_us": "CPU us per token",
        }
        for n in (1, 8)
    },
    "download": {"cpu_s_per_gb": "CPU s per GB", "gb_per_second": "GB per second"},
    "upload": {"cpu_s_per_gb": "CPU s per GB", "gb_per_second": "GB per second"},
    "bodies": {
        "cpu_s_per_gb": "CPU s per GB",
        "gb_per_second": "GB per second",
        "grown_mib": "MiB grown",
    },
    "idle": {"rss_mib": "MiB resident"},
    "start": {"seconds": "s"},
}
OWN_TITLES = {"idle": "idle memory", "start": "start to listening"}
NAMES = TITLES | {IMPORT: "`import aiohttp` alone"}
TWICE = 2.0


def verdicts(results: Results) -> Table:
    head = ["figure", "required", "goal", "measured (least to most)", "reached"]
    return [head, *(_verdict(target, results) for target in TARGETS)]


def _verdict(target: Target, results: Results) -> list[str]:
    sign, found = "<=" if target.most else ">=", target.found(results)
    goal = "" if target.goal is None else f"{sign} {number(target.goal)}{target.unit}"
    return [
        target.figure,
        f"{sign} {number(target.required)}{target.unit}",
        goal,
        _told(found, target.unit),
        target.verdict(found),
    ]


def _told(found: Spread | None, unit: str = "") -> str:
    if found is None:
        return "void"
    return f"{number(found.median)}{unit} ({number(found.least)} to {number(found.most)})"


def number(value: float) -> str:
    """Three digits that say something, without exponents."""
    if abs(value) >= 100:  # noqa: PLR2004 three digits before the point are enough
        return f"{value:,.0f}"
    if value == 0:
        return "0"
    places = 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3  # noqa: PLR2004 likewise
    return f"{value:.{places}f}" if abs(value) >= 0.01 else f"{value:.2g}"  # noqa: PLR2004 likewise


def medians(results: Results) -> Iterator[tuple[str, Table]]:
    """Each row's title with a table: one line for each peer."""
    for row, shown in SHOWN.items():
        # A peer that could not be measured at all is told of too.
        peers = results.figures.get(row, {}) | results.void.get(row, {})
        title = OWN_TITLES.get(row) or results.titles.get(row, row)
        lines = [_medians(results, row, peer, list(shown)) for peer in peers]
        if lines:
            yield title + _limited(results, row), [["", *shown.values()], *lines]


def _medians(results: Results, row: str, peer: str, shown: list[str]) -> list[str]:
    found = [spread(results.numbers(row, peer, name)) for name in shown]
    return [NAMES.get(peer, peer), *(_told(each) for each in found)]


def _limited(results: Results, row: str) -> str:
    """A rate counts only where the direct run's is twice that of the fastest peer."""
    for name in ("per_second", "gb_per_second"):
        found = {
            peer: spread(results.numbers(row, peer, name)) for peer in results.figures.get(row, {})
        }
        rates = {peer: each.median for peer, each in found.items() if each}
        direct = rates.pop("direct", None)
        if direct is not None and rates and direct < TWICE * max(rates.values()):
            return " (rates are load-limited)"
    return ""


def loads(results: Results) -> Table:
    """The most of its core that the load took in each row, and its lateness: was it the limit?"""
    head = ["row", "core of generator and upstream, most", "lines late on average, ms, most"]
    return [head, *(_loaded(results, row) for row in results.titles)]


def _loaded(results: Results, row: str) -> list[str]:
    peers = results.figures.get(row, {})
    core = [n for kept in peers.values() for n in kept.get("load_core", [])]
    late = [n for kept in peers.values() for n in kept.get("lines_late_ms", [])]
    cells = [f"{max(core):.0%}" if core else "void", number(max(late)) if late else "void"]
    return [results.titles[row], *cells]
