"""What is looked at each minute, and whether it stays flat. Pure but for `look`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

if TYPE_CHECKING:
    from bench.soak.rig import Rig

FIGURES = ("rss", "descriptors", "objects", "tasks")
"""What has to be flat; the others follow the crowd."""
TOLERATED = 0.02
"""Growth over the whole time, as a share of the mean, that no hour can tell from none."""
_METRICS = {
    "connections": "ollamaserve_connections",
    "in_flight": "ollamaserve_requests_in_flight",
    "queued": "ollamaserve_requests_queued",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """`rss` in KiB, `cpu` in seconds so far, `pool` idle connections to the upstream.

    `objects` and `tasks` are the gate's; `ends` are the crowd's, and `errors` the wrong ones.
    """

    minute: float
    rss: int
    descriptors: int
    objects: int
    tasks: int
    connections: int
    in_flight: int
    queued: int
    pool: int
    cpu: float
    ends: int
    errors: int


@dataclass(frozen=True, slots=True)
class Trend:
    """`growth` is the fitted line's over the whole time, `noise` the scatter around it."""

    mean: float
    growth: float
    noise: float

    @property
    def flat(self) -> bool:
        """Whether the growth is within the scatter, or too little to matter."""
        return self.growth <= max(2 * self.noise, TOLERATED * self.mean)


def trend(minutes: list[float], values: list[float]) -> Trend:
    """A straight line through the samples; three are needed."""
    slope, intercept = statistics.linear_regression(minutes, values)
    rest = [value - slope * at - intercept for at, value in zip(minutes, values, strict=True)]
    growth = slope * (minutes[-1] - minutes[0])
    return Trend(statistics.fmean(values), growth, statistics.pstdev(rest))


def trends(samples: list[Sample], warm_up: float) -> dict[str, Trend]:
    """Of each figure, from `warm_up` minutes on."""
    warm = [sample for sample in samples if sample.minute >= warm_up]
    minutes = [sample.minute for sample in warm]
    return {
        name: trend(minutes, [float(getattr(sample, name)) for sample in warm]) for name in FIGURES
    }


async def look(rig: Rig, begun: float, ends: int, errors: int) -> Sample:
    """The gate as it is now."""
    process = Path(f"/proc/{rig.gate.pid}")
    before = rig.told.stat().st_mtime_ns if rig.told.exists() else 0
    os.kill(rig.gate.pid, signal.SIGUSR1)
    while not rig.told.exists() or rig.told.stat().st_mtime_ns == before:  # noqa: ASYNC110 a file of another process
        await asyncio.sleep(0.05)
    told = json.loads(rig.told.read_text())
    metrics = await asyncio.to_thread(_metrics, rig.status)
    states = await asyncio.to_thread(_fetched, f"http://127.0.0.1:{rig.upstream}/connections")
    status = (process / "status").read_text()
    return Sample(
        minute=round((time.monotonic() - begun) / 60, 2),
        rss=next(int(line.split()[1]) for line in status.split("\n") if line.startswith("VmRSS")),
        descriptors=len(list((process / "fd").iterdir())),
        objects=told["objects"],
        tasks=told["tasks"],
        pool=json.loads(states)["idle"],
        cpu=_seconds(process),
        ends=ends,
        errors=errors,
        **metrics,
    )


def _metrics(port: int) -> dict[str, int]:
    lines = _fetched(f"http://127.0.0.1:{port}/metrics").split("\n")
    values = dict(line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
    return {figure: int(float(values[name])) for figure, name in _METRICS.items()}


def _fetched(url: str) -> str:
    with urlopen(url, timeout=30) as answer:  # noqa: S310 loopback
        return str(answer.read().decode())


def _seconds(process: Path) -> float:
    tasks = (process / "task").glob("*/schedstat")
    return round(sum(int(task.read_text().split()[0]) for task in tasks) / 1e9, 2)
