"""The plot of a soak. Only this room needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from pathlib import Path

    from bench.soak.page import Result

PANELS: dict[str, dict[str, float]] = {
    "memory, MiB": {"rss": 1 / 1024},
    "open descriptors": {"descriptors": 1},
    "Python objects, thousands": {"objects": 1 / 1000},
    "connections": {"connections": 1, "in_flight": 1, "queued": 1, "pool": 1},
}


def draw(found: Result, folder: Path) -> None:
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "soak"
    figure, axes = plt.subplots(2, 2, figsize=(10, 6), sharex=True)
    minutes = [sample.minute for sample in found.samples]
    for axis, (title, lines) in zip(axes.flat, PANELS.items(), strict=True):
        for name, scale in lines.items():
            values = [getattr(sample, name) * scale for sample in found.samples]
            axis.plot(minutes, values, linewidth=1, label=name.replace("_", " "))
        axis.axvspan(0, found.warm_up, alpha=0.1)
        axis.set_ylim(bottom=0)
        axis.set_title(title, fontsize=10)
        axis.tick_params(labelsize=8)
    axes.flat[-1].legend(fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("minutes", fontsize=9)
    figure.tight_layout()
    figure.savefig(folder / "soak.svg", metadata={"Date": None})
    plt.close(figure)
