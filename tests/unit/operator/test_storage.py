"""StorageReady: whose volume it is, whether it is there, and what becomes of an earlier one."""

from typing import Any

import pytest

from examples import IMAGES, NOW, parsed, resource, stored
from ollamaserve_operator import names
from ollamaserve_operator.api import OllamaServe
from ollamaserve_operator.manifests import children
from ollamaserve_operator.observed import Observed, observe
from ollamaserve_operator.reasons import Reason
from ollamaserve_operator.storage import storage_ready

MINE = {"existingClaim": {"name": "mine"}}


def claimed(**storage: Any) -> Observed:
    """A cluster in which the claim of this persistent storage has been made."""
    before = parsed(resource(storage={"persistent": storage}))
    return observe(stored(children(before, IMAGES, Observed(at=NOW))), at=NOW)


def unplaced(words: str) -> Observed:
    """A serving pod of which the scheduler says this."""
    condition = {"type": "PodScheduled", "status": "False", "message": words}
    labels = names.labels("llama", names.Component.SERVER)
    pod = {
        "kind": "Pod",
        "metadata": {"name": "llama-0", "labels": labels},
        "status": {"conditions": [condition]},
    }
    return observe([pod], at=NOW)


def wanted(**storage: Any) -> OllamaServe:
    return parsed(resource(storage=storage))


@pytest.mark.parametrize(
    ("storage", "reason", "words"),
    [
        ({"ephemeral": {}}, Reason.EPHEMERAL, "on the pod's own disk"),
        (MINE, Reason.EXISTING_CLAIM, "in your PersistentVolumeClaim mine"),
    ],
)
def test_who_keeps_the_models(storage: Any, reason: Reason, words: str) -> None:
    """Without a claim of ours, the finding is good at once, and says where the models are."""
    found = storage_ready(wanted(**storage), Observed(at=NOW), ())

    assert (found.reason, found.status) == (reason, "True")
    assert found.message.endswith(words)


@pytest.mark.parametrize("storage", [{"ephemeral": {}}, MINE])
@pytest.mark.parametrize(
    ("kept", "words"),
    [("Delete", "is kept until this resource goes"), ("Retain", "is kept, with its models")],
)
def test_changed_storage_says_what_becomes_of_the_data(storage: Any, kept: str, words: str) -> None:
    """Decision 14: after a change the claim stays; how long, and how to give it up, is said."""
    found = storage_ready(wanted(**storage), claimed(whenDeleted=kept), ())

    assert found.status == "True"
    assert f"llama-models of before {words}" in found.message
    assert "kubectl -n team-a delete pvc llama-models gives it up" in found.message


def test_changed_storage_deletes_nothing() -> None:
    """Decision 14: the claim of before is wanted no more, and nothing asks for its end."""
    kinds = {manifest["kind"] for manifest in children(wanted(**MINE), IMAGES, claimed())}

    assert "PersistentVolumeClaim" not in kinds


@pytest.mark.parametrize(
    ("words", "reason", "advice"),
    [
        (
            '0/3 nodes are available: persistentvolumeclaim "mine" not found.',
            Reason.CLAIM_NOT_FOUND,
            "create it in the namespace team-a",
        ),
        (
            'persistentvolumeclaim "mine" is being deleted',
            Reason.VOLUME_LOST,
            "name another one",
        ),
        (
            "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
            Reason.WAITING_FOR_BINDING,
            "describe pvc mine",
        ),
    ],
)
def test_users_claim_that_is_not_there(words: str, reason: Reason, advice: str) -> None:
    """A user's claim is watched by nobody: the scheduler's words about the pod tell of it."""
    found = storage_ready(wanted(**MINE), unplaced(words), ())

    assert (found.reason, found.status) == (reason, "False")
    assert "mine (spec.storage.existingClaim)" in found.message
    assert advice in found.message


def test_other_trouble_is_not_the_claims() -> None:
    """A pod that waits for a GPU says nothing about the user's claim."""
    found = storage_ready(wanted(**MINE), unplaced("Insufficient nvidia.com/gpu"), ())

    assert found.reason is Reason.EXISTING_CLAIM
