"""docs/benchmarks/soak.json, the page and the plot that are made of it."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.soak.lives import LINES, PAUSE, TABLE
from bench.soak.samples import FIGURES, Sample, Trend, trends

if TYPE_CHECKING:
    from bench.soak.crowd import Crowd

FOLDER = Path(__file__).parents[2] / "docs/benchmarks"
UNITS = {"rss": ("memory", "MiB", 1024), "descriptors": ("open descriptors", "", 1)} | {
    "objects": ("Python objects", "", 1),
    "tasks": ("asyncio tasks", "", 1),
}


@dataclass(frozen=True, slots=True)
class Result:
    """A soak; `ends` counts how the crowd's lives ended, `errors` those that shouldn't have.

    `on` is what it ran on.
    """

    on: str
    warm_up: float
    samples: list[Sample]
    ends: dict[str, int]
    errors: dict[str, int]

    @property
    def trends(self) -> dict[str, Trend]:
        return trends(self.samples, self.warm_up)

    @property
    def flat(self) -> bool:
        return all(trend.flat for trend in self.trends.values()) and not self.errors


def result(samples: list[Sample], crowd: Crowd, warm_up: float) -> Result:
    ends = {f"{life}: {end}": count for (life, end), count in sorted(crowd.ends.items())}
    on = f"{platform.machine()}, Python {platform.python_version()}"
    return Result(on, warm_up, samples, ends, crowd.errors)


def write(found: Result, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "soak.json").write_text(json.dumps(asdict(found), indent=1) + "\n")
    (folder / "soak.md").write_text(text(found))


def read(folder: Path) -> Result:
    told = json.loads((folder / "soak.json").read_text())
    samples = [Sample(**sample) for sample in told.pop("samples")]
    return Result(samples=samples, **told)


def text(found: Result) -> str:
    last = found.samples[-1]
    rows = "\n".join(_row(name, found.trends[name]) for name in FIGURES)
    ends = "\n".join(f"| {end} | {count:,} |" for end, count in found.ends.items())
    verdict = "flat" if found.flat else "not flat"
    cores = last.cpu / (60 * last.minute)
    return f"""# Soak of the gate

`make soak` wrote this page. For {last.minute:.0f} minutes {sum(TABLE.values())} clients came again
and again to a gate with everything switched on (TLS, five tokens of which one rotates each minute,
one for a single model, slots and a queue that are too small, CORS, metrics, log), in front of an
upstream that says a line every {PAUSE}, {LINES} of them a stream. Some leave, stall, break off or
are refused, on purpose.

**Verdict: {verdict}.** A line is fitted through the samples after {found.warm_up:.0f} minutes of
warm-up; flat is what grows no more over that time than twice the scatter around the line, or 2 %.

| figure | mean | growth | scatter | flat |
|---|---|---|---|---|
{rows}

The gate took {cores:.1%} of a core ({found.on}).

![memory, descriptors, objects and connections over time](soak.svg)

## How the visits ended
| visit: end | times |
|---|---|
{ends}
"""


def _row(name: str, found: Trend) -> str:
    label, unit, size = UNITS[name]
    values = (found.mean, found.growth, found.noise)
    cells = " | ".join(f"{value / size:,.1f} {unit}".strip() for value in values)
    return f"| {label} | {cells} | {'yes' if found.flat else '**no**'} |"
