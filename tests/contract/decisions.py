"""Which test names which decision of the design, which of the gate's, and which trap.

`python tests/contract/decisions.py` prints the table. A docstring names them as in "Decision 1",
"decisions 2, 5 and 17", "G4", "T5".
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

TESTS = Path(__file__).parents[1]
ALL = (
    *(f"Decision {number}" for number in range(1, 18)),
    *(f"G{number}" for number in range(1, 17)),
    *(f"T{number}" for number in range(1, 23)),
)
_NUMBERS = re.compile(r"\bdecisions? ((?:\d+(?:, | and )?)+)", re.IGNORECASE)
_CODES = re.compile(r"\b[GT]\d{1,2}\b")


def named(docstring: str) -> set[str]:
    """What a docstring names, spelled as in ALL."""
    numbers = (n for found in _NUMBERS.findall(docstring) for n in re.findall(r"\d+", found))
    return {f"Decision {number}" for number in numbers} | set(_CODES.findall(docstring))


def tests() -> Iterator[tuple[str, str]]:
    """Each test of the project as `file::name`, with its docstring."""
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    if name.startswith("test_"):
                        where = path.relative_to(TESTS.parent)
                        yield f"{where}::{name}", ast.get_docstring(node) or ""


def table() -> Mapping[str, list[str]]:
    """The tests that name each of ALL."""
    found: dict[str, list[str]] = defaultdict(list)
    for test, docstring in tests():
        for name in named(docstring):
            found[name].append(test)
    return {name: found[name] for name in ALL}


if __name__ == "__main__":
    for name, where in table().items():
        sys.stdout.write(f"{name:12} {len(where):3}  {'  '.join(where[:3])}\n")
