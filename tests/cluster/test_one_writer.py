"""Two operators at once, as after a partition: nothing is made twice, lost, or fought over."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.life import await_reason, child, jobs, rested, seen, serve
from ollamaserve_dev.kubectl import Kubectl
from ollamaserve_dev.localoperator import LocalOperator

pytestmark = pytest.mark.cluster


@pytest.fixture
def second(operator: LocalOperator, tmp_path: Path) -> Iterator[LocalOperator]:
    """Another process with the same rights, that knows nothing of the first."""
    found = LocalOperator(operator.kubeconfig, tmp_path / "operator.log")
    found.start()
    yield found
    found.stop()


def test_two_operators_at_once(
    team: Kubectl, operator: LocalOperator, second: LocalOperator
) -> None:
    """T13, decision 1: one token, one Job, one new generation a change; then both are at rest."""
    names = [f"llama-{number}" for number in range(5)]
    team.apply(serve(), *(serve(name) for name in names))
    for name in ("llama", *names):
        await_reason(team, "Ready", "Ready", 60, name)
    token = child(team, "secret")["data"]
    generation = child(team, "deployment")["metadata"]["generation"]
    assert len(jobs(team)) == 1

    team.run("annotate", "ollamaserve", "llama", "ollamaserve.dev/retry=1")
    team.patch("ollamaserve", "llama", {"spec": {"gate": {"drainTimeout": 7}}})
    team.run("delete", "service", "llama")

    def changed() -> bool:
        spec = child(team, "deployment")["spec"]["template"]["spec"]
        return bool(spec["terminationGracePeriodSeconds"] == 22)

    seen(team, "the change is applied", changed)
    await_reason(team, "Ready", "Ready", 60)
    rested(operator)
    rested(second)
    assert child(team, "deployment")["metadata"]["generation"] == generation + 1
    assert child(team, "secret")["data"] == token
    assert len(jobs(team)) == 1
