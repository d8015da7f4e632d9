"""The operations page against the gate: every series, field and word that people meet is on it."""

import json
import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from ollamaserve_sidecar import allowance, errors
from ollamaserve_sidecar.errors import Problem
from ollamaserve_sidecar.metrics import Facts, Metrics
from ollamaserve_sidecar.record import Outcome, Record, line
from ollamaserve_sidecar.status import Reason, Sight, Status, Verdict

PAGE = (Path(__file__).parents[2] / "docs/operations.md").read_text()


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def words(text: str, column: int) -> set[str]:
    """What stands in backticks in a column of the tables, without labels."""
    rows = [row.split(" | ") for row in re.findall(r"^\| (`.*) \|$", text, re.MULTILINE)]
    return {
        word
        for row in rows
        if len(row) > column
        for word in re.findall(r"`([A-Za-z_]+)(?:{[a-z,]+})?`", row[column])
    }


def test_every_series_is_on_the_page() -> None:
    """And no other is; Prometheus' own of the process aside."""
    verdict = Verdict(Reason.READY, "serving")
    status = Status("serve", verdict, Sight(), (), {}, {})
    exposition = Metrics(lambda: Facts(status)).exposition().decode()
    kinds = {family.name: family.type for family in text_string_to_metric_families(exposition)}
    series = {
        name.removeprefix("ollamaserve_") + ("_total" if kind == "counter" else "")
        for name, kind in kinds.items()
        if name.startswith("ollamaserve_")
    }

    assert words(section("The gate's metrics"), 0) == series


def test_every_field_is_on_the_page() -> None:
    """With those that most lines don't have."""
    record = Record(1.0)
    record.first, record.prompt, record.generated = 2.0, 1, 1
    record.model = record.reason = record.client = "x"
    told = section("The access log").partition("| outcome |")[0]

    assert words(told, 0) == set(json.loads(line(record, 1.0)))


def test_every_end_is_on_the_page() -> None:
    """Each outcome, and the reasons of all refusals."""
    table = section("The access log").partition("| outcome |")[2]
    problems = [*vars(errors).values(), *vars(allowance).values()]
    reasons = {problem.reason for problem in problems if isinstance(problem, Problem)}
    reasons |= {errors.too_large(1).reason, errors.too_fast(1, 1).reason}

    assert words("| outcome |" + table, 0) == set(Outcome)
    missing = reasons - words(table, 2)
    assert missing == {"ollama_unreachable", "ollama_broke_off"}  # the kind of failure is told
