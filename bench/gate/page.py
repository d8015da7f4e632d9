"""docs/benchmarks.md's tables, made of docs/benchmarks/gate.json.

`python -m bench.gate.page` writes them, `--check` (in `make check`) fails where they are stale.
The prose around them is written by hand.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from bench.gate import results, tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.gate.results import Results
    from bench.gate.tables import Table

PAGE = results.FOLDER.parent / "benchmarks.md"


def markdown(table: Table) -> str:
    head, *rows = table
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def sections(found: Results) -> Iterator[tuple[str, str]]:
    """What stands between each pair of marks."""
    yield "targets", markdown(tables.verdicts(found))
    yield (
        "medians",
        "\n\n".join(f"**{t}**\n\n{markdown(rows)}" for t, rows in tables.medians(found)),
    )
    yield "load", markdown(tables.loads(found))
    facts = [["", ""], *([name, str(value)] for name, value in found.machine.items())]
    facts += [[f"{name}, per second", tables.number(n)] for name, n in found.offered.items()]
    yield "machine", markdown([*facts, ["rounds", str(found.rounds)]])


def filled(text: str, found: Results) -> str:
    for name, section in sections(found):
        between = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", re.DOTALL)
        text, count = between.subn(lambda m, s=section: m[1] + s + m[2], text)  # type: ignore[misc]
        if count != 1:
            raise SystemExit(f"docs/benchmarks.md has no <!-- {name} --> … <!-- /{name} -->, once")
    return text


def write() -> None:
    PAGE.write_text(filled(PAGE.read_text(), results.load(results.FILE)))


def main() -> int:
    text = PAGE.read_text()
    if "--check" not in sys.argv[1:]:
        write()
    elif results.FILE.exists() and filled(text, results.load(results.FILE)) != text:
        sys.stderr.write("docs/benchmarks.md is stale: run `python -m bench.gate.page`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
