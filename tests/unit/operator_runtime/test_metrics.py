"""What the operator counts: resources by their state, and each one once."""

from ollamaserve_operator.metrics import Metrics

SERIES = "ollamaserve_operator_resources"


def count(metrics: Metrics, ready: str, reason: str) -> float | None:
    return metrics.registry.get_sample_value(SERIES, {"ready": ready, "reason": reason})


def test_a_resource_is_counted_under_its_present_state_only() -> None:
    """It moves from state to state, and leaves none behind when it goes."""
    metrics = Metrics()
    metrics.judged("a", ("False", "Pulling"))
    metrics.judged("b", ("False", "Pulling"))
    metrics.judged("a", ("True", "Ready"))
    metrics.judged("b", None)
    metrics.judged("never-seen", None)

    assert count(metrics, "True", "Ready") == 1
    assert count(metrics, "False", "Pulling") == 0
