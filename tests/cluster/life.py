"""What the tests of this folder apply to a team's namespace, and ask of it."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ollamaserve_dev.kubectl import Kubectl, until
from ollamaserve_dev.localoperator import LocalOperator

Body = dict[str, Any]

SINGLE = {
    "secret": "llama-auth",
    "configmap": "llama-gate",
    "persistentvolumeclaim": "llama-models",
    "service": "llama",
    "deployment": "llama",
}


def serve(name: str = "llama", **spec: Any) -> Body:
    return {
        "apiVersion": "ollamaserve.dev/v1alpha1",
        "kind": "OllamaServe",
        "metadata": {"name": name},
        "spec": {"models": [{"name": "llama2:7b"}], "gpu": {"count": 0}} | spec,
    }


def seen(team: Kubectl, what: str, look: Callable[[], Any], seconds: float = 30) -> Any:
    """What `look` finds; where it finds nothing in time, the resource as it is now is shown."""
    try:
        return until(what, look, seconds=seconds, every=0.2)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{team.get('ollamaserve', 'llama')}") from None


def child(team: Kubectl, kind: str) -> Body:
    found: Body = seen(team, f"{kind} is there", lambda: team.get(kind, SINGLE[kind]))
    return found


def condition(team: Kubectl, kind: str, name: str = "llama") -> Body:
    body = team.get("ollamaserve", name) or {}
    conditions = body.get("status", {}).get("conditions", [])
    return next((found for found in conditions if found["type"] == kind), {})


def await_reason(
    team: Kubectl, kind: str, reason: str, seconds: float = 30, name: str = "llama"
) -> Body:
    """The condition, once it has this reason."""

    def look() -> Body | None:
        found = condition(team, kind, name)
        return found if found.get("reason") == reason else None

    found: Body = seen(team, f"{kind} {reason}", look, seconds)
    return found


def complete(team: Kubectl, count: int) -> bool:
    """Whether so many resources have all their children."""
    kinds = (*SINGLE, "job")
    owned = "app.kubernetes.io/managed-by=ollamaserve-operator"
    return all(len(team.list(kind, owned)) == count for kind in kinds)


def jobs(team: Kubectl) -> list[Body]:
    return team.list("job", "app.kubernetes.io/instance=llama")


def rested(operator: LocalOperator) -> float:
    """The number of writes, once it no longer grows for longer than an unsettled look takes."""
    last, since = operator.writes(), time.monotonic()

    def quiet() -> bool:
        nonlocal last, since
        now = operator.writes()
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > 5 and operator.gauge("queue_depth") == 0

    until("the operator comes to rest", quiet, seconds=60)
    return last


def _looked(operator: LocalOperator, before: float) -> bool:
    return operator.looks() > before


def alone(team: Kubectl, count: int) -> None:
    """Wait until these resources are all that there are: those of earlier tests take their time."""
    found = partial(team.run, "get", "ollamaserve", "--all-namespaces", "--output=name")
    until("the others are gone", lambda: len(found().splitlines()) == count, seconds=60)


def touched(team: Kubectl, operator: LocalOperator, times: int = 3) -> float:
    """Have the operator look at the resource so often; how many writes that cost."""
    alone(team, 1)
    before = rested(operator)
    for number in range(times):
        looks = operator.looks()
        team.run("annotate", "--overwrite", "ollamaserve", "llama", f"example.com/touch={number}")
        until("a look", partial(_looked, operator, looks), seconds=30, every=0.1)
    return operator.writes() - before
