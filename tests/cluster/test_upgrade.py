"""An upgrade of the operator on a real API server: which change takes the newer images."""

from collections.abc import Callable, Iterator

import pytest

from cluster.life import await_reason, child, condition, rested, seen, serve
from ollamaserve_dev import localoperator
from ollamaserve_dev.kubectl import Kubectl
from ollamaserve_dev.localoperator import LocalOperator

pytestmark = pytest.mark.cluster


@pytest.fixture
def upgrade(
    operator: LocalOperator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], None]]:
    """Another release of the operator takes over; the first one comes back at the end."""

    def to_the_next() -> None:
        operator.stop()
        monkeypatch.setitem(localoperator.IMAGES, "GATE_IMAGE", "gate:2")
        operator.start()
        rested(operator)

    yield to_the_next
    operator.stop()
    monkeypatch.undo()
    operator.start()


def images(team: Kubectl) -> list[str]:
    pod = child(team, "deployment")["spec"]["template"]["spec"]
    return [container["image"] for container in pod["containers"]]


def test_an_upgrade_waits_for_a_change_of_the_pods(
    team: Kubectl, upgrade: Callable[[], None]
) -> None:
    """Decision 9: nothing restarts and the status says so; scaling to nothing takes nothing."""
    team.apply(serve())
    await_reason(team, "Ready", "Ready")
    before = child(team, "deployment")["metadata"]["generation"]
    upgrade()

    told = await_reason(team, "UpgradePending", "NewerImages")
    assert "gate gate:2 (now gate:1)" in told["message"]
    assert child(team, "deployment")["metadata"]["generation"] == before
    team.patch("ollamaserve", "llama", {"spec": {"suspend": True}})
    await_reason(team, "Ready", "Suspended")
    team.patch("ollamaserve", "llama", {"spec": {"suspend": False}})
    await_reason(team, "Ready", "Ready")
    assert images(team) == ["gate:1", "ollama:1"]

    team.patch("ollamaserve", "llama", {"spec": {"ollama": {"numParallel": 2}}})
    seen(team, "the pods get the newer image", lambda: images(team) == ["gate:2", "ollama:1"])
    seen(team, "nothing waits any more", lambda: not condition(team, "UpgradePending"))


def test_always_means_at_once(team: Kubectl, upgrade: Callable[[], None]) -> None:
    """Decision 9: who asked for it gets the newer images with the upgrade."""
    team.apply(serve(gate={"upgradePolicy": "Always"}))
    await_reason(team, "Ready", "Ready")
    upgrade()

    seen(team, "the pods get the newer image", lambda: images(team) == ["gate:2", "ollama:1"])
    assert condition(team, "UpgradePending") == {}
