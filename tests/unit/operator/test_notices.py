"""Notices: conditions beside Ready, there only while there is something to tell."""

from typing import Any

import pytest

from examples import IMAGES, NOW, parsed, resource, stored
from ollamaserve_operator import names, notices, status
from ollamaserve_operator.manifests import Images, children
from ollamaserve_operator.observed import Observed, observe

Body = dict[str, Any]

NEWER = Images("example.com/gate:2", "example.com/ollama:2", "example.com/ollama:2-rocm")
POLICY = {"type": "LoadBalancer"}


def running(**spec: Any) -> Observed:
    """A resource that the release of `IMAGES` has deployed."""
    return observe(stored(children(parsed(resource(**spec)), IMAGES, Observed(at=NOW))), at=NOW)


def upgrade(observed: Observed, images: Images = NEWER, **spec: Any) -> str:
    """What is told after an upgrade of the operator, and perhaps a change of the spec."""
    found = notices.upgrade(parsed(resource(**spec)), observed, images)
    return found.message if found else ""


def test_an_upgrade_that_waits_is_told() -> None:
    """Decision 9: which images are newer, and when the pods get them."""
    told = upgrade(running())

    assert "gate example.com/gate:2 (now example.com/gate:1)" in told
    assert "ollama example.com/ollama:2 (now example.com/ollama:1)" in told
    assert "spec.gate.upgradePolicy: Always" in told
    assert upgrade(running(), IMAGES) == ""
    assert upgrade(Observed(at=NOW)) == ""


def test_only_what_is_newer_is_told() -> None:
    """An image that the user has chosen waits for nobody; with Always nothing waits."""
    chosen: Body = {"image": {"ollama": "mine:1"}}
    always: Body = {"gate": {"upgradePolicy": "Always"}}

    assert "ollama" not in upgrade(running(**chosen), **chosen)
    assert "gate example.com/gate:2" in upgrade(running(**chosen), **chosen)
    assert upgrade(running(**always), **always) == ""


@pytest.mark.parametrize(
    "change",
    [
        {"replicas": 3, "storage": {"ephemeral": {}}},
        {"suspend": True},
        {"service": {"type": "NodePort"}},
        {"service": {"annotations": {"a": "b"}}},
        {"ingress": {"host": "llama.example"}},
        {"networkPolicy": {"enabled": False}},
        {"podDisruptionBudget": {"enabled": True}},
        {"models": [{"name": "llama2:7b"}, {"name": "phi3"}]},
        {"auth": {"tokens": [{"key": "AUTH_TOKEN", "access": "manage"}]}},
        {"pull": {"retries": 1}},
    ],
    ids=str,
)
def test_what_replaces_no_pod_takes_no_newer_image(change: Body) -> None:
    """Decision 9: scaling and all that is outside the pod leave its template as it was, exactly."""
    before: Body = {"storage": change["storage"]} if "storage" in change else {}
    serve = parsed(resource(**change))
    seen = running(**before)
    assert seen.deployment is not None
    (after,) = (m for m in children(serve, NEWER, seen) if m["kind"] == "Deployment")

    assert after["metadata"]["annotations"][names.GATE_IMAGE] == IMAGES.gate
    template = seen.deployment.spec["template"]
    (stored_after,) = stored([after])
    assert stored_after["spec"]["template"] == template


@pytest.mark.parametrize("change", [{"ollama": {"numParallel": 2}}, {"env": [{"name": "X"}]}])
def test_what_replaces_the_pods_takes_the_newer_images(change: Body) -> None:
    """Decision 9: they restart anyway."""
    after = children(parsed(resource(**change)), NEWER, running())
    (deployment,) = (m for m in after if m["kind"] == "Deployment")

    images = [c["image"] for c in deployment["spec"]["template"]["spec"]["containers"]]
    assert images == [NEWER.gate, NEWER.ollama]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"service": {"type": "LoadBalancer"}}, True),
        ({"service": {"type": "NodePort"}}, True),
        ({"service": {"type": "NodePort"}, "gate": {"tls": {"secretName": "cert"}}}, False),
        ({}, False),
    ],
)
def test_a_door_to_outside_without_tls_is_told(spec: Body, told: bool) -> None:
    """G7: a warning, not a refusal: TLS may stand in front of it."""
    found = notices.unencrypted(parsed(resource(**spec)))

    assert bool(found) == told
    if found:
        assert "spec.gate.tls.secretName" in found.message


def test_notices_come_as_conditions_go_and_make_events() -> None:
    """They touch neither Ready nor Stalled; a warning is one, and nothing is left of it later."""
    serve = parsed(resource(service={"type": "NodePort"}))
    seen = running(service={"type": "NodePort"})
    found = status.status(serve, seen, (), {}, NEWER)
    by_type = {c["type"]: c for c in found["conditions"]}
    events = {(event.type, event.reason) for event in status.flips({}, found)}
    later = status.status(parsed(resource()), seen, (), found, IMAGES)

    assert by_type["UpgradePending"]["status"] == by_type["Unencrypted"]["status"] == "True"
    assert {("Warning", "NoTLS"), ("Normal", "NewerImages")} <= events
    assert {c["type"] for c in later["conditions"]}.isdisjoint({"UpgradePending", "Unencrypted"})
    assert by_type["Ready"]["reason"] == "WaitingForBinding"
