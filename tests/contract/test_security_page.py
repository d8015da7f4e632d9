"""The security page against the tests: a promise without a test is none."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs/security.md").read_text()
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)))
ROWS = [f"A{n}" for n in range(1, 11)] + [f"P{n}" for n in range(1, 27)]


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[f"{f}::{n}" for f, n in NAMED])
def test_every_named_test_exists(file: str, name: str) -> None:
    """What the page calls a proof is a test of that name in that file."""
    assert re.search(rf"^(?:async )?def {name}\(", (TESTS / file).read_text(), re.MULTILINE)


@pytest.mark.parametrize("row", ROWS)
def test_every_row_names_a_test(row: str) -> None:
    """A1-A10 and P1-P26 of the design review stand in the page once, each with its proof."""
    (line,) = re.findall(rf"^\| {row} \|.*", PAGE, re.MULTILINE)

    assert re.search(r"`[\w/]+\.py::\w+`", line)
