"""The objects that a resource owns: repaired, rolled out, scaled away and collected."""

import pytest

from e2e.endpoint import Serve
from ollamaserve_dev.kubectl import Body, Kubectl

pytestmark = pytest.mark.e2e

KINDS = "secret,configmap,persistentvolumeclaim,job,deployment,service,pod"


def owned(team: Kubectl) -> list[str]:
    items = team.list(KINDS, "app.kubernetes.io/managed-by=ollamaserve-operator")
    return sorted(f"{i['kind']}/{i['metadata']['name']}" for i in items)


def test_whole_life(team: Kubectl, another_ollama: str) -> None:
    """Drift is repaired, an image rolls out, suspend keeps volume and token; all of it can go."""
    serve = Serve(team, "whole")
    serve.apply(models=["tiny"])
    serve.until_ready()
    token, volume = serve.token(), claim(team)

    team.run("delete", "service", "whole")
    serve.until("the Service is back", lambda: team.get("service", "whole"))
    team.patch("service", "whole", {"spec": {"ports": [{"port": 7860, "targetPort": 1}]}})

    def repaired() -> bool:
        ports = (team.get("service", "whole") or {})["spec"]["ports"]
        return bool(ports[0]["targetPort"] != 1)

    serve.until("the Service's port is repaired", repaired)

    serve.apply(models=["tiny"], image={"ollama": another_ollama})

    def runs_the_new_image() -> bool:
        pods: list[Body] = team.list("pod", "app.kubernetes.io/component=server")
        found = [c["image"] for p in pods for c in p["spec"]["containers"]]
        return len(pods) == 1 and another_ollama in found

    serve.until("the new image runs", runs_the_new_image)
    serve.until_ready()
    assert serve.token() == token

    serve.apply(models=["tiny"], suspend=True)
    serve.until_reason("Ready", "Suspended")
    serve.until(
        "no serving pod", lambda: not team.list("pod", "app.kubernetes.io/component=server")
    )
    assert claim(team) == volume
    serve.apply(models=["tiny"])
    serve.until_ready()
    assert claim(team) == volume
    assert serve.token() == token

    team.run("delete", "ollamaserve", "whole")
    serve.until("everything of it is gone", lambda: not owned(team))


def claim(team: Kubectl) -> str:
    """The volume of the models; the claim's uid with it, so that another one is no match."""
    body = team.get("persistentvolumeclaim", "whole-models") or {}
    return f"{body['metadata']['uid']} {body['spec']['volumeName']}"


def test_users_service_of_the_same_name_is_left_alone(team: Kubectl) -> None:
    """Decision 1: a foreign object is never adopted; the condition names it."""
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "taken", "namespace": team.namespace},
        "spec": {"ports": [{"port": 80}], "selector": {"app": "theirs"}},
    }
    team.apply(theirs)
    before = team.get("service", "taken") or {}
    serve = Serve(team, "taken")
    serve.apply(models=["tiny"])
    told = serve.until_reason("Accepted", "NameConflict")
    team.run("delete", "ollamaserve", "taken")
    serve.until("everything else is gone", lambda: not owned(team))

    assert "Service" in told["message"]
    assert "taken" in told["message"]
    assert (team.get("service", "taken") or {})["metadata"]["uid"] == before["metadata"]["uid"]
