"""The compiled half of the bench, `load/*.c`: built into the cache, run on a core of its own."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from bench.gate.process import LOAD_CORE, BenchError, Process, pinned
from ollamaserve_dev import cache, progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SOURCE = Path(__file__).parent / "load"
FLAGS = ("-O2", "-Wall", "-Wextra")
TOKEN = "a-token-of-the-bench-0123456789abcdef"  # noqa: S105 it opens nothing
LONGEST = 300.0
Number = float | int


def programs() -> Path:
    """The folder with `load` and `upstream`, compiled if their source has changed."""

    def make(into: Path) -> None:
        for name in ("load", "upstream"):
            sources = (SOURCE / f"{name}.c", SOURCE / "wire.c")
            words = ("cc", *FLAGS, "-o", into / name, *sources)
            progress.run(words, log=f"bench-{name}", remedy="A C compiler is needed.\n")

    return cache.entry("bench-load", cache.fingerprint(repr(FLAGS), SOURCE), make)


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where Ollama would be."""

    port: int
    process: Process

    def lateness(self) -> dict[str, float]:
        """How late it was with lines since the last call, in microseconds."""
        with urlopen(f"http://127.0.0.1:{self.port}/late", timeout=10) as answer:
            told: dict[str, float] = json.load(answer)
            return told


@contextmanager
def upstream() -> Iterator[Upstream]:
    child = subprocess.Popen(
        pinned(LOAD_CORE, [programs() / "upstream"]), stdout=subprocess.PIPE, text=True
    )
    try:
        yield Upstream(int(child.stdout.readline() if child.stdout else 0), Process(child.pid))
    finally:
        child.kill()
        child.wait()


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run of the load generator against one peer. `cpu` is the peer's, in seconds.

    `answer` is what `load` printed, `rss` the peer's MiB: before, and the most seen meanwhile.
    `core` is the share of the load's core that generator and upstream took together.
    """

    answer: Mapping[str, Any]
    cpu: float
    rss: tuple[float, float]
    core: float
    late: Mapping[str, float] = field(default_factory=dict)


def measure(
    options: Mapping[str, Number | str],
    port: int,
    upstream: Upstream,
    peer: Process | None,
    beside: Callable[[], None] | None = None,
) -> Measurement:
    """Run `load` once; `beside` is called in the middle. BenchError where an answer was wrong."""
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command: list[str | Path] = [programs() / "load", "--port", str(port), "--token", TOKEN, *words]
    upstream.lateness()
    idle = peer.rss() if peer else 0.0
    before = (peer.cpu() if peer else 0.0, upstream.process.cpu())
    answer, most = _run(command, peer, beside)
    after = (peer.cpu() if peer else 0.0, upstream.process.cpu())
    if answer["wrong"]:
        raise BenchError(f"{answer['wrong']} wrong answers; the first: {answer['trouble']}")
    busy = after[1] - before[1] + answer["cpu"]
    return Measurement(
        answer,
        after[0] - before[0],
        (idle, max(most, idle)),
        busy / answer["seconds"],
        upstream.lateness(),
    )


def _run(
    command: list[str | Path], peer: Process | None, beside: Callable[[], None] | None
) -> tuple[dict[str, Any], float]:
    """What it printed, and the most memory that the peer was seen to have meanwhile."""
    child = subprocess.Popen(pinned(LOAD_CORE, command), stdout=subprocess.PIPE, text=True)
    most, ended = 0.0, threading.Event()
    if beside:
        beside()
    end = time.monotonic() + LONGEST
    while child.poll() is None and time.monotonic() < end:
        most = max(most, peer.rss() if peer else 0.0)
        ended.wait(0.1)
    if child.poll() is None:
        child.kill()
    output, _ = child.communicate()
    if child.returncode:
        raise BenchError(f"the load generator ended with {child.returncode}: {output[-500:]}")
    told: dict[str, Any] = json.loads(output)
    return told, most
