"""Every decision and every trap is somebody's: a test names it, or a page says why none can."""

import re

from contract.decisions import ALL, named, table
from ollamaserve_dev import cache

PAGE = cache.CHECKOUT / "docs/architecture.md"
EXCUSE = re.compile(r"^\| ((?:Decision |G|T)\d+) \| (.+) \|$", re.MULTILINE)


def excused() -> dict[str, str]:
    """The reasons given in the section "What no test names" of docs/architecture.md."""
    _, _, section = PAGE.read_text().partition("## What no test names\n")
    return dict(EXCUSE.findall(section.partition("\n## ")[0]))


def test_every_decision_and_trap_is_named_by_a_test() -> None:
    """The 17 decisions, G1-G16 and T1-T22: each in some test's docstring, or excused."""
    missing = {name for name, where in table().items() if not where}

    assert missing == excused().keys()


def test_a_docstring_names_what_it_says() -> None:
    """Numbers in a row count each; a word that looks alike doesn't."""
    assert named("Decisions 1, 2 and 17: T5, G16. (decision 3)") == {
        *("Decision 1", "Decision 2", "Decision 17", "Decision 3"),
        *("T5", "G16"),
    }
    assert named("a decision of 2026, in GT5 and MiG1") == set()
    assert len(ALL) == 17 + 16 + 22
