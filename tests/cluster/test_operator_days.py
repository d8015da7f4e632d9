"""What happens to a resource in its days: pulls that fail, volumes that can't, specs that change.

The pull's pod never runs here: a test that needs one at work keeps it from every node, and ends it
as kubelet would, through its status; what the Job makes of that is the Job controller's own doing.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from cluster.life import (
    Body,
    await_reason,
    child,
    complete,
    condition,
    jobs,
    seen,
    serve,
    touched,
)
from ollamaserve_dev import install
from ollamaserve_dev.kubectl import Kubectl, KubectlError
from ollamaserve_dev.localoperator import LocalOperator
from ollamaserve_operator import names

pytestmark = pytest.mark.cluster

NOWHERE = {"nodeSelector": {"no": "such-node"}}
NOT_FOUND = {"reason": "ModelNotFound", "model": "llama2:7b", "message": "file does not exist"}
RIGID = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "rigid"},
    "provisioner": "example.com/none",
}


def running(team: Kubectl) -> Body:
    """The only pull Job, with its pod made."""

    def look() -> Body | None:
        found = [job for job in jobs(team) if "deletionTimestamp" not in job["metadata"]]
        alone = len(found) == len(jobs(team)) == 1
        return found[0] if alone and puller(team, found[0]) else None

    found: Body = seen(team, "one Job with its pod", look)
    return found


def puller(team: Kubectl, job: Body) -> Body | None:
    pods = team.list("pod", f"batch.kubernetes.io/job-name={job['metadata']['name']}")
    return pods[0] if pods else None


def end(team: Kubectl, job: Body, exit_code: int, words: Body) -> None:
    """The Job's pod fails, as kubelet would say it."""
    pod = puller(team, job)
    assert pod is not None
    terminated = {"exitCode": exit_code, "message": json.dumps(words)}
    status = {
        "phase": "Failed",
        "containerStatuses": [
            {
                "name": names.PULL_CONTAINER,
                "image": "gate:1",
                "imageID": "",
                "ready": False,
                "restartCount": 0,
                "state": {"terminated": terminated},
            }
        ],
    }
    team.patch("pod", pod["metadata"]["name"], {"status": status}, "--subresource=status")


def change(team: Kubectl, **spec: Any) -> None:
    team.patch("ollamaserve", "llama", {"spec": spec})


def test_ready_pods_on_their_own_disk_need_no_poll(team: Kubectl, operator: LocalOperator) -> None:
    """Decision 5: twelve pods whose gates can't be reached; each is Ready, so the resource is."""
    team.apply(serve(storage={"ephemeral": {}}, replicas=12))

    def all_ready() -> bool:
        status = (team.get("ollamaserve", "llama") or {}).get("status", {})
        return bool(status.get("readyReplicas") == status.get("replicas") == 12)

    seen(team, "twelve pods", all_ready, 60)
    await_reason(team, "Ready", "Ready")
    assert jobs(team) == []
    assert touched(team, operator) == 0


def test_settled_a_look_costs_nothing(team: Kubectl, operator: LocalOperator) -> None:
    """No write for what is so already, however often one looks."""
    team.apply(serve())
    await_reason(team, "Ready", "Ready")
    assert touched(team, operator) == 0


def test_a_refused_child_is_tried_once_a_look_and_logged_once(
    team: Kubectl, operator: LocalOperator
) -> None:
    """A quota on Services: the rest is made, the server's words are told, and then it heals."""
    team.run("create", "quota", "none", "--hard=count/services=0")
    begun = len(operator.log.read_text())
    team.apply(serve())
    found = await_reason(team, "Accepted", "Refused")
    assert "exceeded quota" in found["message"]
    assert await_reason(team, "Stalled", "Refused")["status"] == "True"
    child(team, "deployment")
    assert touched(team, operator, times=3) == 3

    lines = [line for line in operator.log.read_text()[begun:].splitlines() if "refused: " in line]
    assert len(lines) == 1
    assert json.loads(lines[0])["severity"] == "warn"
    team.run("delete", "quota", "none")
    team.run("annotate", "ollamaserve", "llama", "example.com/quota=gone")
    await_reason(team, "Ready", "Ready")
    assert condition(team, "Stalled") == {}


def test_a_pull_that_can_never_succeed_is_told_and_left_alone(
    team: Kubectl, operator: LocalOperator
) -> None:
    """Decisions 3 and 17: one Job, Ollama's words, Stalled, no loop; the annotation tries again."""
    team.apply(serve(scheduling=NOWHERE))
    first = running(team)
    end(team, first, 3, NOT_FOUND)
    found = await_reason(team, "Stalled", "ModelNotFound")
    assert "llama2:7b can't be pulled: file does not exist" in found["message"]
    assert "ollamaserve.dev/retry" in found["message"]
    assert touched(team, operator) == 0
    (kept,) = jobs(team)
    assert kept["metadata"]["uid"] == first["metadata"]["uid"]

    team.run("annotate", "ollamaserve", "llama", "ollamaserve.dev/retry=1")
    seen(team, "another Job", lambda: running(team)["metadata"]["uid"] != first["metadata"]["uid"])
    assert running(team)["metadata"]["annotations"][names.ATTEMPT] == "2"
    assert touched(team, operator) == 0
    assert condition(team, "Stalled") == {}


def test_a_job_that_has_used_up_its_tries_is_told(team: Kubectl) -> None:
    """Decision 3: `pull.retries` is the Job's backoffLimit; then only a person starts another."""
    team.apply(serve(scheduling=NOWHERE, pull={"retries": 0}))
    words = {"reason": "PullFailed", "model": "llama2:7b", "message": "connection reset"}
    end(team, running(team), 1, words)
    found = await_reason(team, "Stalled", "PullFailed")
    assert "connection reset" in found["message"]


def test_a_complete_pull_is_repeated_on_request(team: Kubectl) -> None:
    """Decision 3: a new value of the annotation, and the older Job is collected."""
    team.apply(serve())
    await_reason(team, "Ready", "Ready")
    (first,) = jobs(team)
    team.run("annotate", "ollamaserve", "llama", "ollamaserve.dev/retry=1")

    def another() -> bool:
        return [j["metadata"]["uid"] for j in jobs(team)] not in ([first["metadata"]["uid"]], [])

    seen(team, "another Job alone", another)
    await_reason(team, "Ready", "Ready")


def test_models_changed_while_they_are_pulled(team: Kubectl) -> None:
    """Decision 3: the running Job goes first, then one for the new list; never two at once."""
    team.apply(serve(scheduling=NOWHERE))
    first = running(team)
    change(team, models=[{"name": "phi3"}])
    seen(team, "the old Job goes", lambda: first["metadata"]["name"] != _name(running(team)))
    environment = running(team)["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "PULL_MODELS", "value": '[{"name": "phi3"}]'} in environment
    change(team, scheduling=None)
    await_reason(team, "Ready", "Ready")


def _name(body: Body) -> str:
    name: str = body["metadata"]["name"]
    return name


def test_suspended_in_the_middle_of_a_pull(team: Kubectl) -> None:
    """Decision 2: suspended means no pull: the Job goes, the claim stays, and both come back."""
    team.apply(serve(scheduling=NOWHERE))
    running(team)
    claim = child(team, "persistentvolumeclaim")["metadata"]["uid"]
    change(team, suspend=True)
    await_reason(team, "Ready", "Suspended")
    seen(team, "the Job goes", lambda: not jobs(team))
    change(team, suspend=False, scheduling=None)
    await_reason(team, "Ready", "Ready")
    assert child(team, "persistentvolumeclaim")["metadata"]["uid"] == claim


def test_from_nothing_to_one(team: Kubectl) -> None:
    """Decision 17: ScaledToZero pulls nothing; the scale subresource starts it."""
    team.apply(serve(replicas=0))
    await_reason(team, "Ready", "ScaledToZero")
    child(team, "persistentvolumeclaim")
    assert jobs(team) == []
    team.run("scale", "ollamaserve", "llama", "--replicas=1")
    await_reason(team, "Ready", "Ready")


def rigid(size: str) -> Body:
    return {"persistent": {"size": size, "storageClassName": "rigid"}}


@pytest.fixture
def volume(team: Kubectl) -> Iterator[Callable[[], None]]:
    """A class that can't grow volumes; the call makes a volume of it for the team's claim."""
    team.apply(RIGID)
    name = f"{team.namespace}-volume"

    def make() -> None:
        claim = {"namespace": team.namespace, "name": "llama-models"}
        spec = {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "rigid",
            "hostPath": {"path": "/nowhere"},
            "claimRef": claim,
        }
        metadata = {"name": name}
        body = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec}
        team.apply(body)

    yield make
    team.run("delete", "persistentvolume", name, "--wait=false", "--ignore-not-found")


def _asked(team: Kubectl) -> str:
    size: str = child(team, "persistentvolumeclaim")["spec"]["resources"]["requests"]["storage"]
    return size


def test_a_claim_grows_when_bound_and_a_refusal_stops_no_other_child(
    team: Kubectl, operator: LocalOperator, volume: Callable[[], None]
) -> None:
    """Decision 15: nothing is asked of an unbound claim; ExpansionNotSupported with the remedy."""
    team.apply(serve(storage=rigid("1Gi")))
    await_reason(team, "StorageReady", "WaitingForBinding")
    change(team, storage=rigid("2Gi"))
    assert touched(team, operator) == 0
    assert _asked(team) == "1Gi"

    volume()
    found = await_reason(team, "StorageReady", "ExpansionNotSupported")
    assert "from 1Gi to 2Gi" in found["message"]
    assert "allowVolumeExpansion" in found["message"]
    change(team, gate={"drainTimeout": 7})

    def applied() -> bool:
        spec = child(team, "deployment")["spec"]["template"]["spec"]
        return bool(spec["terminationGracePeriodSeconds"] == 22)

    seen(team, "the Deployment follows", applied)
    await_reason(team, "Available", "Available")

    with pytest.raises(KubectlError, match="a volume can't shrink"):
        change(team, storage=rigid("500Mi"))
    change(team, storage=rigid("1Gi"))
    assert "1Gi bound" in await_reason(team, "StorageReady", "Bound")["message"]


def test_a_claim_of_the_default_class_grows(team: Kubectl) -> None:
    """Decision 15: where the class allows it, the claim asks for more, and all goes on."""
    team.apply(serve(storage={"persistent": {"size": "1Gi"}}))
    await_reason(team, "Ready", "Ready")
    change(team, storage={"persistent": {"size": "2Gi"}})
    seen(team, "the claim asks for 2Gi", lambda: _asked(team) == "2Gi")
    assert condition(team, "StorageReady")["status"] == "True"


def test_a_claim_deleted_by_hand(team: Kubectl) -> None:
    """It lives while pods use it, and that is told; suspended it goes, and models come anew."""
    team.apply(serve())
    await_reason(team, "Ready", "Ready")
    first = child(team, "persistentvolumeclaim")["metadata"]["uid"]
    team.run("delete", "persistentvolumeclaim", "llama-models", "--wait=false")
    assert "spec.suspend: true" in await_reason(team, "Ready", "VolumeLost")["message"]
    change(team, suspend=True)

    def another() -> bool:
        claim = team.get("persistentvolumeclaim", "llama-models")
        return claim is not None and claim["metadata"]["uid"] != first

    seen(team, "another claim", another, 60)
    change(team, suspend=False)
    await_reason(team, "Ready", "Ready")


def test_a_volume_that_is_to_be_kept_outlives_its_resource(team: Kubectl) -> None:
    """Decision 14: changed to Retain, the claim loses its owner; the namesake takes it over."""
    team.apply(serve())
    await_reason(team, "Ready", "Ready")
    uid = child(team, "persistentvolumeclaim")["metadata"]["uid"]
    change(team, storage={"persistent": {"whenDeleted": "Retain"}})

    def owners(count: int) -> bool:
        return len(child(team, "persistentvolumeclaim")["metadata"].get("ownerReferences", [])) == (
            count
        )

    seen(team, "the claim is nobody's", lambda: owners(0))
    team.run("delete", "ollamaserve", "llama")
    seen(team, "the rest goes", lambda: team.get("deployment", "llama") is None, 60)
    team.apply(serve(storage={"persistent": {"whenDeleted": "Delete"}}))
    seen(team, "the claim is ours", lambda: owners(1), 60)
    assert child(team, "persistentvolumeclaim")["metadata"]["uid"] == uid
    await_reason(team, "Ready", "Ready", 60)


def test_names_of_neighbours_never_meet(team: Kubectl) -> None:
    """Resources called as others' children are, and the longest name: each has all of its own."""
    team.apply(serve())
    await_reason(team, "Ready", "Ready")
    (job,) = jobs(team)
    neighbours = (_name(job), "llama-auth", "llama-gate", "llama-models", "x" * 52)
    team.apply(*(serve(name) for name in neighbours))
    seen(team, "all children", lambda: complete(team, 6), 60)
    for name in neighbours:
        await_reason(team, "Ready", "Ready", name=name)
    await_reason(team, "Ready", "Ready")


def test_a_copy_of_a_child_changes_nothing(team: Kubectl, operator: LocalOperator) -> None:
    """Made from the Secret's YAML, it has our labels and owner: it is neither read nor written."""
    team.apply(serve())
    await_reason(team, "Ready", "Ready")
    copy = child(team, "secret")
    kept = {key: copy["metadata"][key] for key in ("namespace", "labels", "ownerReferences")}
    team.apply(copy | {"metadata": kept | {"name": "llama-auth-old"}, "data": {}})
    assert touched(team, operator) == 0
    assert (team.get("secret", "llama-auth-old") or {}).get("data", {}) == {}
    await_reason(team, "Ready", "Ready")


def test_a_key_added_and_taken_away(team: Kubectl) -> None:
    """Decision 11: only named keys are mounted; one that isn't named keeps its value, unmounted."""
    one, two = [{"key": "AUTH_TOKEN"}], [{"key": "AUTH_TOKEN"}, {"key": "TEAM_B"}]

    def mounted() -> set[str]:
        volumes = child(team, "deployment")["spec"]["template"]["spec"]["volumes"]
        tokens = next(v for v in volumes if v["name"] == "tokens")
        return {item["key"] for item in tokens["secret"]["items"]}

    team.apply(serve())
    await_reason(team, "Ready", "Ready")
    first = child(team, "secret")["data"]
    change(team, auth={"tokens": two})
    seen(team, "it is mounted", lambda: "TEAM_B" in mounted())
    second = child(team, "secret")["data"]
    assert second.keys() == {"AUTH_TOKEN", "TEAM_B"}
    change(team, auth={"tokens": one})
    seen(team, "it isn't any more", lambda: "TEAM_B" not in mounted())
    change(team, auth={"tokens": two})
    seen(team, "and is again", lambda: "TEAM_B" in mounted())
    assert child(team, "secret")["data"] == second
    assert second["AUTH_TOKEN"] == first["AUTH_TOKEN"]


def test_a_spec_that_is_older_than_a_rule(team: Kubectl, operator: LocalOperator) -> None:
    """InvalidSpec says what to change; what runs stays as it is; corrected, all is well."""
    path = install.DEPLOY / "crds/ollamaserve.yaml"
    older = yaml.safe_load(path.read_text())
    schema = older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    del schema["properties"]["spec"]["properties"]["models"]["x-kubernetes-validations"]
    twice = serve(models=[{"name": "llama2"}, {"name": "llama2:latest"}])

    def accepted() -> bool:
        try:
            team.apply(twice)
        except KubectlError as error:
            if "one model" in str(error):
                return False
            raise
        return True

    try:
        team.apply(older, server_side=True)
        seen(team, "the older CRD is in force", accepted)
    finally:
        team.run("apply", "--server-side", "--force-conflicts", f"--filename={path}")
    found = await_reason(team, "Ready", "InvalidSpec")
    assert re.search("llama2 and llama2:latest.*keep one", found["message"])
    assert touched(team, operator) == 0
    assert team.get("deployment", "llama") is None
    change(team, models=[{"name": "llama2"}])
    await_reason(team, "Ready", "Ready")
    assert condition(team, "Stalled") == {}
