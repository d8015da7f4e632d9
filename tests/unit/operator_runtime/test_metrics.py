"""What the operator counts: resources by their state, and each one once."""

from typing import Any

from ollamaserve_operator.metrics import Metrics


def count(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"ollamaserve_operator_{name}", labels)


def conditions(ready: str, reason: str, *others: tuple[str, str]) -> list[dict[str, Any]]:
    told = [{"type": kind, "status": status, "reason": "Any"} for kind, status in others]
    return [*told, {"type": "Ready", "status": ready, "reason": reason}]


def test_a_resource_is_counted_under_its_present_state_only() -> None:
    """It moves from state to state, and leaves none behind when it goes."""
    metrics = Metrics()
    metrics.judged("a", conditions("False", "Pulling"))
    metrics.judged("b", conditions("False", "Pulling"))
    metrics.judged("a", conditions("True", "Ready"))
    metrics.judged("b", ())
    metrics.judged("never-seen", ())

    assert count(metrics, "resources", ready="True", reason="Ready") == 1
    assert count(metrics, "resources", ready="False", reason="Pulling") == 0


def test_every_condition_is_counted_by_its_status() -> None:
    """Stalled is there only where it is True: it leaves the count with its resource's trouble."""
    metrics = Metrics()
    metrics.judged("a", conditions("False", "DiskFull", ("Stalled", "True"), ("Accepted", "True")))
    metrics.judged("b", conditions("True", "Ready", ("Accepted", "True")))
    stalled = count(metrics, "conditions", type="Stalled", status="True")
    metrics.judged("a", conditions("True", "Ready", ("Accepted", "True")))

    assert stalled == 1
    assert count(metrics, "conditions", type="Stalled", status="True") == 0
    assert count(metrics, "conditions", type="Accepted", status="True") == 2
    assert count(metrics, "conditions", type="Ready", status="True") == 2
