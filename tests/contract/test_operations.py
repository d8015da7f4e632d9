"""The operations page against the code: a reason that people meet is one that they can look up."""

import re
from pathlib import Path

from ollamaserve_operator.reasons import Reason

PAGE = Path(__file__).parents[2] / "docs/operations.md"


def test_every_reason_is_explained_and_none_is_invented() -> None:
    """Each reason that a condition may have is on the page, and only those are in its table."""
    text = PAGE.read_text().partition("## Reasons")[2].partition("\n## ")[0]
    table = {
        w
        for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
        for w in re.findall(r"`(\w+)`", row)
    }
    good = re.findall(
        r"`(\w+)`",
        text.partition("\n`Accepted`")[1]
        + text.partition("\n`Accepted`")[2].partition(" are the good")[0],
    )

    assert table | set(good) == {reason.value for reason in Reason}
