"""What a run of the bench found, as kept in docs/benchmarks/gate.json.

Pure but for `load` and `save`. A figure is a list, one number for each round, in their order, so
that two peers' numbers of one round can be held against each other.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FOLDER = Path(__file__).parents[2] / "docs/benchmarks"
FILE = FOLDER / "gate.json"
SPARE = 6
"""Significant digits kept; the rest is noise."""

Figures = dict[str, dict[str, dict[str, list[float]]]]


@dataclass(slots=True)
class Results:
    """`figures` are by row, peer and number; `void` says why a row of a peer counts for nothing.

    `offered` are the rates of the paced rows and what the direct run takes, each second.
    """

    machine: Mapping[str, Any]
    rounds: int
    offered: Mapping[str, float]
    quick: bool = False
    titles: dict[str, str] = field(default_factory=dict)
    figures: Figures = field(default_factory=dict)
    void: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, row: str, peer: str, numbers: Mapping[str, float]) -> None:
        kept = self.figures.setdefault(row, {}).setdefault(peer, {})
        for name, number in numbers.items():
            kept.setdefault(name, []).append(number)

    def refuse(self, row: str, peer: str, why: str) -> None:
        self.void.setdefault(row, {})[peer] = why

    def forget(self, rows: Sequence[str]) -> None:
        for row in rows:
            self.figures.pop(row, None)
            self.void.pop(row, None)

    def numbers(self, row: str, peer: str, number: str) -> list[float]:
        """One for each round; none where the row is void or wasn't run."""
        if peer in self.void.get(row, {}):
            return []
        return self.figures.get(row, {}).get(peer, {}).get(number, [])

    def save(self, file: Path) -> None:
        document = asdict(self) | {"figures": dict(_rounded(self.figures))}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document, indent=1) + "\n")


def load(file: Path) -> Results:
    return Results(**json.loads(file.read_text()))


def _rounded(figures: Figures) -> Iterator[tuple[str, Any]]:
    for row, peers in figures.items():
        yield (
            row,
            {
                peer: {
                    name: [float(f"{n:.{SPARE}g}") for n in numbers]
                    for name, numbers in kept.items()
                }
                for peer, kept in peers.items()
            },
        )


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of the rounds, and the least and the most."""

    median: float
    least: float
    most: float


def spread(numbers: Sequence[float]) -> Spread | None:
    return Spread(median(numbers), min(numbers), max(numbers)) if numbers else None
