"""What kubelet and the scheduler wait for, named: objects of the user's that aren't there."""

from typing import Any

from examples import IMAGES, NOW, parsed, resource, stored
from ollamaserve_operator import names
from ollamaserve_operator.manifests import children
from ollamaserve_operator.models import models_pulled
from ollamaserve_operator.observed import Observed, observe
from ollamaserve_operator.pod import Pod, pod
from ollamaserve_operator.reasons import Reason
from ollamaserve_operator.trouble import trouble


def body(component: names.Component, message: str = "", **labels: str) -> dict[str, Any]:
    """A pod that is being created, or that the scheduler can't place for this reason."""
    placed = {"type": "PodScheduled", "status": "False" if message else "True", "message": message}
    found = names.labels("llama", component) | labels
    return {
        "kind": "Pod",
        "metadata": {"name": "llama-0", "labels": found},
        "status": {"phase": "Pending", "conditions": [placed]},
    }


def server(message: str = "") -> Pod:
    return pod(body(names.Component.SERVER, message))


def test_what_a_pod_waits_for_is_named() -> None:
    """A Secret or ConfigMap that isn't there shows in no state of a pod: both are named."""
    bundle = {"strategy": "InPod", "caBundle": {"name": "company-ca"}}
    both = parsed(resource(gate={"tls": {"secretName": "cert"}}, pull=bundle))
    found = trouble(server(), None, both)

    assert found.reason is Reason.PENDING
    assert "it needs Secret cert and ConfigMap company-ca; if it stays so, kubectl" in found.message
    assert "it needs" not in trouble(server(), None, parsed(resource())).message


def test_what_the_pull_waits_for_is_named() -> None:
    """Likewise in the Job's pod, which mounts the bundle then; the serving pod doesn't."""
    serve = parsed(resource(pull={"caBundle": {"name": "company-ca"}}))
    claim = stored(children(serve, IMAGES, Observed(at=NOW)))
    wanted = children(serve, IMAGES, observe(claim, at=NOW))
    job = next(m for m in stored(wanted) if m["kind"] == "Job")
    of = {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
    seen = [*claim, job, body(names.Component.PULL, **of)]
    found = models_pulled(serve, observe(seen, at=NOW))

    assert found.reason is Reason.PENDING
    assert "it needs ConfigMap company-ca" in found.message
    assert "it needs" not in trouble(server(), None, serve).message


def test_missing_claim_of_the_users_is_named() -> None:
    """The scheduler's words are quoted, and the claim is the one that the pod mounts."""
    serve = parsed(resource(storage={"existingClaim": {"name": "mine"}}))
    found = trouble(server('persistentvolumeclaim "mine" not found'), None, serve)

    assert found.reason is Reason.UNSCHEDULABLE
    assert "see kubectl -n team-a get pvc mine" in found.message
