"""The run itself: all peers side by side, row by row, each round in another order."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import TYPE_CHECKING

from rich.markup import escape

from bench.gate import load
from bench.gate.peers import names
from bench.gate.peers.start import peer
from bench.gate.process import PROXY_CORE, BenchError, pinned
from bench.gate.rows import rows
from ollamaserve_dev import cache, progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bench.gate.load import Measurement, Number, Upstream
    from bench.gate.peers.start import Peer
    from bench.gate.results import Results
    from bench.gate.rows import Row

SHARE = 0.6
"""What is offered is at most this share of what the direct run takes."""
CHUNKS, REQUESTS = 20_000.0, 5_000.0
"""Offered each second where the machine is fast enough: all peers can follow."""
SETTLED = 3.0
_SMALL: dict[str, Number | str] = {"mode": "sized", "size": 32, "connections": 32}
_CHAT: dict[str, Number | str] = {"method": "POST", "target": "/api/chat", "mode": "stream"}
_STARTS = (names.GATE, names.PLAIN, names.NGINX)


def calibrate() -> dict[str, float]:
    """What the direct run takes each second, and so what is offered."""
    with load.upstream() as upstream:
        streams = {"chunks": 100, "connections": 1000, "requests": 1000}
        whole = load.measure(_CHAT | streams, upstream.port, upstream, None).answer
        small = load.measure(_SMALL | {"requests": 100_000}, upstream.port, upstream, None).answer
    chunks = whole["lines"] / whole["seconds"]
    requests = small["requests"] / small["seconds"]
    return {
        "direct_chunks": round(chunks),
        "direct_requests": round(requests),
        "chunks": round(min(CHUNKS, SHARE * chunks)),
        "requests": round(min(REQUESTS, SHARE * requests)),
    }


def run(results: Results, only: Sequence[str] = ()) -> None:
    """Fill in all figures, round by round; or those of `only` some rows."""
    offered = results.offered
    plan = rows(chunk_rate=offered["chunks"], request_rate=offered["requests"], quick=results.quick)
    plan = [row for row in plan if not only or row.name in only]
    results.titles.update({row.name: row.title for row in plan})
    with cache.scratch() as folder, load.upstream() as upstream, ExitStack() as running:
        for number in range(0 if only else results.rounds):
            with progress.step(f"round {number + 1} of {results.rounds}: start and idle memory"):
                _starts(results, upstream, folder / f"starts-{number}")
        peers: dict[str, Peer] = {}
        for name in names.TITLES:
            with _optional(results, plan, name):
                peers[name] = running.enter_context(peer(name, upstream.port, folder))
        time.sleep(SETTLED)
        for each in peers.values():
            each.rest()
        for number in range(results.rounds):
            with progress.step(f"round {number + 1} of {results.rounds}"):
                _round(results, plan, peers, upstream, number)


@contextmanager
def _optional(results: Results, plan: list[Row], name: str) -> Iterator[None]:
    """LiteLLM has many packages, and not every machine gets at them: the rest goes on without."""
    try:
        yield
    except (BenchError, progress.SetupError) as error:
        if name != names.LITELLM:
            raise
        progress.console.print(f"    [red]void[/] all of {name}: {escape(str(error))}")
        why = "doesn't start" if isinstance(error, BenchError) else "could not be installed"
        for row in plan:
            if name in row.peers:
                results.refuse(row.name, name, f"{names.TITLES[name]} {why}")


def _round(
    results: Results, plan: list[Row], peers: dict[str, Peer], upstream: Upstream, number: int
) -> None:
    for row in plan:
        turn = number % len(row.peers)
        for name in row.peers[turn:] + row.peers[:turn]:
            if name not in peers:
                continue
            try:
                results.add(row.name, name, _measured(row, peers[name], upstream))
            except BenchError as wrong:
                results.refuse(row.name, name, str(wrong))
                progress.console.print(f"    [red]void[/] {row.name}, {name}: {wrong}")


def _measured(row: Row, peer: Peer, upstream: Upstream) -> dict[str, float]:
    with peer.awake():
        found = [_once(row, peer, upstream) for _ in range(row.times)]
    return {name: median(each[name] for each in found) for name in found[0]}


def _once(row: Row, peer: Peer, upstream: Upstream) -> dict[str, float]:
    beside = peer.scrape if row.scraped else None
    found = load.measure(row.load, peer.port, upstream, peer.process, beside)
    return row.numbers(found) | _load(found)


def _load(found: Measurement) -> dict[str, float]:
    """Whether generator and upstream were the limit: their core, and how late they were."""
    return {
        "load_core": found.core,
        "late_ms": found.answer["late"].get("p99", 0.0) * 1e3,
        "lines_late_ms": found.late["late_mean_us"] / 1e3,
    }


def _starts(results: Results, upstream: Upstream, folder: Path) -> None:
    """Seconds from start to listening, and what is resident once all has settled."""
    folder.mkdir()
    begun = time.perf_counter()
    words = pinned(PROXY_CORE, [sys.executable, "-c", "import aiohttp"])
    subprocess.run(words, check=True)
    results.add("start", names.IMPORT, {"seconds": time.perf_counter() - begun})
    for name in _STARTS:
        begun = time.perf_counter()
        with peer(name, upstream.port, folder) as started:
            results.add("start", name, {"seconds": time.perf_counter() - begun})
            time.sleep(SETTLED)
            idle = started.process.rss() if started.process else 0.0
            results.add("idle", name, {"rss_mib": idle})
