"""The figures as pictures: medians as bars, the extremes of the rounds as whiskers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib import pyplot as plt

from bench.gate.peers.names import TITLES
from bench.gate.results import FOLDER, spread

if TYPE_CHECKING:
    from bench.gate.results import Results

# Each picture's panels: row, number, title.
PICTURES = {
    "gate-cpu": [
        ("stream", "cpu_us", "CPU us per streamed chunk"),
        ("get", "cpu_us", "CPU us per small GET"),
        ("refused", "cpu_us", "CPU us per 401"),
    ],
    "gate-latency": [
        ("burst", "p50_ms", "1,000 at once: TTFT p50, ms"),
        ("burst", "p99_ms", "1,000 at once: TTFT p99, ms"),
        ("paced-64", "gap_p99_ms", "64 streams at 20 ms: gap p99, ms"),
    ],
    "gate-bulk": [
        ("upload", "cpu_s_per_gb", "4 GiB up: CPU s per GB"),
        ("download", "cpu_s_per_gb", "4 GiB down: CPU s per GB"),
        ("bodies", "cpu_s_per_gb", "200 x 20 MB up: CPU s per GB"),
    ],
}
COLOURS = {
    "gate": "#2f6f4f",
    "ngin": "#8a8a8a",
    "aioh": "#b58b3b",
    "dire": "#c8c8c8",
    "lite": "#7a5b8b",
}


def draw(found: Results) -> None:
    mpl.use("Agg")
    for name, panels in PICTURES.items():
        figure, axes = plt.subplots(1, len(panels), figsize=(13, 3.2), layout="constrained")
        for axis, panel in zip(axes, panels, strict=True):
            _panel(axis, found, *panel)
        figure.savefig(FOLDER / f"{name}.png", dpi=110, metadata={"Software": None})
        plt.close(figure)


def _panel(axis: plt.Axes, found: Results, row: str, number: str, title: str) -> None:
    kept = {peer: spread(found.numbers(row, peer, number)) for peer in TITLES}
    bars = [(peer, each) for peer, each in kept.items() if each and each.median > 0][::-1]
    middles = [each.median for _, each in bars]
    below = [each.median - each.least for _, each in bars]
    above = [each.most - each.median for _, each in bars]
    axis.barh(
        [peer for peer, _ in bars],
        middles,
        xerr=[below, above],
        color=[COLOURS[peer[:4]] for peer, _ in bars],
        capsize=2,
    )
    axis.set_title(title, fontsize=10)
    axis.tick_params(labelsize=8)
