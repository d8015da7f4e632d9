"""Facts from raw bodies: no secret is kept, and nothing is invented."""

from typing import Any

import pytest

from examples import NOW
from ollamaserve_operator import names
from ollamaserve_operator.observed import observe, slim
from ollamaserve_operator.pod import Termination, Waiting

Body = dict[str, Any]


def secret(**metadata: Any) -> Body:
    return {
        "kind": "Secret",
        "metadata": {"name": "llama-auth", "uid": "u", "managedFields": [{}], **metadata},
        "data": {"AUTH_TOKEN": "c2VjcmV0LXZhbHVl"},
        "stringData": {"AUTH_TOKEN": "secret-value"},
    }


def test_secret_keeps_its_keys_and_loses_their_values() -> None:
    """Decision 11: no token's value is in the operator's memory, whichever way it came."""
    last = {"kubectl.kubernetes.io/last-applied-configuration": "c2VjcmV0LXZhbHVl secret-value"}
    body = slim(secret(annotations=last))

    assert body["data"] == {"AUTH_TOKEN": ""}
    assert "c2VjcmV0LXZhbHVl" not in repr(body)
    assert "secret-value" not in repr(body)


def test_slim_is_idempotent_and_leaves_its_argument_alone() -> None:
    """The cache slims what it stores; observe slims again."""
    body = secret()
    once = slim(body)

    assert slim(once) == once
    assert body["data"]["AUTH_TOKEN"]


def test_body_of_a_child_is_not_in_its_repr() -> None:
    """A log line with an Observed in it stays short and says nothing."""
    seen = observe([secret(labels={names.INSTANCE: "llama"})], at=NOW)

    assert seen.secret
    assert "body" not in repr(seen.secret)


def pod(name: str = "llama-1", **status: Any) -> Body:
    return {
        "kind": "Pod",
        "metadata": {"name": name, "labels": {names.COMPONENT: "server"}},
        "spec": {"containers": []},
        "status": status,
    }


def test_unschedulable_pod_keeps_the_schedulers_words() -> None:
    """The scheduler's message is the fact; a scheduled pod has none."""
    condition = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
    told, placed = observe(
        [
            pod("a", conditions=[condition]),
            pod("b", conditions=[{"type": "PodScheduled", "status": "True", "message": "x"}]),
        ],
        at=NOW,
    ).pods

    assert told.unschedulable == "0/3 nodes are available"
    assert placed.unschedulable == ""


def test_waiting_and_last_ends_are_read_from_all_containers() -> None:
    """Init containers count; the present end wins over the one before."""
    (found,) = observe(
        [
            pod(
                initContainerStatuses=[
                    {"name": "ollama", "state": {"waiting": {"reason": "ErrImagePull"}}}
                ],
                containerStatuses=[
                    {
                        "name": "pull",
                        "restartCount": 2,
                        "state": {"terminated": {"exitCode": 3, "message": "now"}},
                        "lastState": {"terminated": {"exitCode": 1, "message": "before"}},
                    }
                ],
            )
        ],
        at=NOW,
    ).pods

    assert found.waiting == (Waiting("ollama", "ErrImagePull", ""),)
    assert found.terminations == (Termination("pull", 3, "", "now", 2),)


@pytest.mark.parametrize(("kind", "complete"), [("Complete", True), ("Failed", False)])
def test_end_of_a_job(kind: str, complete: bool) -> None:
    """A Job has ended when the condition is True, at that time."""
    conditions = [
        {"type": "Suspended", "status": "False"},
        {
            "type": kind,
            "status": "True",
            "message": "why",
            "lastTransitionTime": "2026-03-04T05:06:07Z",
        },
    ]
    body = {
        "kind": "Job",
        "metadata": {"name": "j", "annotations": {names.PULL_KEY: "k", names.ATTEMPT: "3"}},
        "status": {"conditions": conditions},
    }
    (job,) = observe([body], at=NOW).jobs

    assert (job.complete, job.failed) == (complete, not complete)
    assert (job.pull_key, job.attempt, job.finished) == ("k", 3, NOW)


def test_only_the_controller_is_the_owner() -> None:
    """Decision 1: an ownerReference that isn't the controller's makes nobody the owner."""
    owner = {"kind": names.KIND, "name": "llama", "uid": "x"}
    body = secret(ownerReferences=[owner, owner | {"uid": "y", "controller": True}])
    other = secret(ownerReferences=[owner], labels={names.INSTANCE: "llama"})

    assert [observe([b], at=NOW).children[0].owner_uid for b in (body, other)] == ["y", ""]


def test_copy_of_a_child_is_not_that_child() -> None:
    """Labels and owner get copied with a manifest; by its name it is no child of ours."""
    labels = {names.INSTANCE: "llama"}
    copy = secret(name="llama-auth-backup", labels=labels, uid="copy")
    (found,) = observe([secret(labels=labels), copy], at=NOW).children

    assert found.uid == "u"


def test_pods_that_go_away_are_not_counted() -> None:
    """`of` gives the pods that stay, oldest first."""
    young, old, going = pod("young"), pod("old"), pod("going")
    young["metadata"]["creationTimestamp"] = "2026-03-04T00:00:02Z"
    old["metadata"]["creationTimestamp"] = "2026-03-04T00:00:01Z"
    going["metadata"]["deletionTimestamp"] = "2026-03-04T00:00:03Z"
    seen = observe([young, going, old], at=NOW)

    assert [p.name for p in seen.of(names.Component.SERVER)] == ["old", "young"]
