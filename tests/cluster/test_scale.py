"""Many resources at once; `make bench-operator` does it with 1,000, and with a clock."""

import json

import pytest

from cluster.life import Body, alone, complete, rested, seen, serve
from ollamaserve_dev.kubectl import Kubectl
from ollamaserve_dev.localoperator import LocalOperator

pytestmark = pytest.mark.cluster

PLACED, NOWHERE = 40, 10


def is_ready(body: Body) -> bool:
    conditions = body.get("status", {}).get("conditions", [])
    return any(found["type"] == "Ready" and found["status"] == "True" for found in conditions)


def test_fifty_resources_at_once(team: Kubectl, operator: LocalOperator) -> None:
    """All children are there, Ready is who has a ready pod, and a restart writes nothing."""
    placed = [serve(f"placed-{number}") for number in range(PLACED)]
    nowhere = {"nodeSelector": {"no": "such-node"}}
    unplaced = [serve(f"unplaced-{number}", scheduling=nowhere) for number in range(NOWHERE)]
    team.apply(*placed, *unplaced)
    seen(team, "all children", lambda: complete(team, PLACED + NOWHERE), 120)

    def ready() -> set[str]:
        return {b["metadata"]["name"] for b in team.list("ollamaserve") if is_ready(b)}

    seen(team, "those with pods", lambda: len(ready()) >= PLACED, 120)
    alone(team, PLACED + NOWHERE)
    rested(operator)
    assert ready() == {body["metadata"]["name"] for body in placed}

    operator.stop()
    operator.start()
    assert rested(operator) == 0, operator.written()
    assert ready() == {body["metadata"]["name"] for body in placed}


def test_the_log_has_one_line_for_each_change(team: Kubectl, operator: LocalOperator) -> None:
    """JSON with the resource's key: each child is said to be created once, and nothing else is."""
    begun = len(operator.log.read_text())
    team.apply(serve())
    seen(team, "all children", lambda: complete(team, 1))
    seen(team, "Ready", lambda: is_ready(team.get("ollamaserve", "llama") or {}), 60)
    key = f"{team.namespace}/llama"
    lines = [json.loads(line) for line in operator.log.read_text()[begun:].splitlines()]
    told = [line["message"] for line in lines if line.get("key") == key]
    owned = "app.kubernetes.io/managed-by=ollamaserve-operator"
    kinds = "secret,configmap,persistentvolumeclaim,service,deployment,job,networkpolicy"
    children = {f"{b['kind']} {b['metadata']['name']}" for b in team.list(kinds, owned)}
    created = [line for line in told if line.startswith("created ")]
    assert sorted(created) == sorted(f"created {child}" for child in children)
