"""`python -m bench.gate [--rounds N] [--quick] [--rows ROW …]`: measure, and write docs/benchmarks.

`--quick` takes a fifth of everything and only prints: it is for work on gate and bench.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from rich.table import Table as Box

from bench.gate import machine, page, results, rounds, rows, tables
from bench.gate.peers import start
from bench.gate.process import LOAD_CORE, BenchError
from bench.gate.results import FILE, Results
from ollamaserve_dev import progress

if TYPE_CHECKING:
    from bench.gate.tables import Table


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.gate", description=__doc__)
    parser.add_argument("--rounds", type=int, help="how often each row is measured (5)")
    parser.add_argument("--quick", action="store_true", help="little of everything, not kept")
    known = [row.name for row in rows.rows(chunk_rate=1, request_rate=1, quick=False)]
    text = "these alone, in place of what is kept of them"
    parser.add_argument("--rows", nargs="+", choices=known, help=text)
    chosen = parser.parse_args()
    if chosen.rows and chosen.quick:
        parser.error("--quick keeps nothing, and --rows is there to be kept: choose one")
    try:
        count = chosen.rounds or (1 if chosen.quick else 5)
        found = measured(count, quick=chosen.quick, only=chosen.rows)
    except (BenchError, progress.SetupError) as error:
        progress.console.print(f"[red]{error}[/]")
        return 1
    show(found)
    if not chosen.quick:
        keep(found)
    return 1 if found.void else 0


def measured(count: int, *, quick: bool, only: list[str] | None) -> Results:
    """`only` some rows: the others stay as they are kept, if this is the machine they are of."""
    start.install()
    os.sched_setaffinity(0, {LOAD_CORE})
    found = Results(machine.facts(), count, rounds.calibrate(), quick)
    if not only:
        rounds.run(found)
        return found
    kept = results.load(FILE)
    if (kept.machine, kept.rounds) != (found.machine, count):
        raise BenchError("the kept figures are of another machine or number of rounds: run it all")
    kept.forget(only)
    rounds.run(kept, only)
    return kept


def keep(found: Results) -> None:
    from bench.gate import plots  # noqa: PLC0415 matplotlib takes a second, and --quick needs none

    found.save(FILE)
    page.write()
    plots.draw(found)


def show(found: Results) -> None:
    _print("the gate against what it has to reach", tables.verdicts(found))
    for title, table in tables.medians(found):
        _print(title, table)
    _print("the load itself", tables.loads(found))


def _print(title: str, table: Table) -> None:
    head, *rows = table
    box = Box(*head, title=title, title_justify="left")
    for row in rows:
        box.add_row(*row)
    progress.console.print(box)


if __name__ == "__main__":
    sys.exit(main())
