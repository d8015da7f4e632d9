"""The operator as it is started in a pod, with the rights that it has there, on a real API server.

kwok makes pods Ready without running them: nothing answers on 7861, and that must change nothing
(decision 5).
"""

import signal
from pathlib import Path

import pytest
import yaml

from cluster.life import (
    SINGLE,
    Body,
    await_reason,
    child,
    complete,
    jobs,
    rested,
    seen,
    serve,
)
from ollamaserve_dev.kubectl import Kubectl, KubectlError, until
from ollamaserve_dev.localoperator import ACCOUNT, SYSTEM, LocalOperator
from ollamaserve_operator import kinds
from ollamaserve_operator.kinds import Verb

pytestmark = pytest.mark.cluster


def test_the_account_may_do_what_the_operator_does_and_delete_nothing_but_jobs(
    team: Kubectl,
) -> None:
    """The ClusterRole as the API server reads it, asked for every verb on every kind."""
    asked = [
        (kind, subresource, verb)
        for kind in kinds.ALL
        for subresource in ("", *kind.subresources)
        for verb in Verb
    ]
    reviews = [
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": f"system:serviceaccount:{SYSTEM}:{ACCOUNT}",
                "resourceAttributes": {
                    "namespace": team.namespace,
                    "group": kind.group,
                    "resource": kind.plural,
                    "subresource": subresource,
                    "verb": verb.value,
                },
            },
        }
        for kind, subresource, verb in asked
    ]
    text = team.run(
        "create",
        "--filename=-",
        '--output=jsonpath={.status.allowed}{"\\n"}',
        stdin=yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": reviews}),
    )
    expected = [kind.allows(verb, subresource) for kind, subresource, verb in asked]
    assert [line == "true" for line in text.splitlines()] == expected


def test_a_resource_becomes_all_its_children_owned_by_it(
    team: Kubectl, operator: LocalOperator
) -> None:
    """Every child has the controller reference; the token is there, and in no log."""
    team.apply(serve())
    owners = {kind: child(team, kind)["metadata"]["ownerReferences"] for kind in SINGLE}
    (job,) = seen(team, "the pull Job is there", lambda: jobs(team))
    body = team.get("ollamaserve", "llama") or {}
    for references in (*owners.values(), job["metadata"]["ownerReferences"]):
        (owner,) = references
        assert owner["uid"] == body["metadata"]["uid"]
        assert owner["controller"]

    token = team.run("get", "secret", "llama-auth", "--output=go-template={{.data.AUTH_TOKEN}}")
    assert len(token) == 60  # base64 of 43 characters, which are 256 bits
    plain = team.run(
        "get", "secret", "llama-auth", "--output=go-template={{.data.AUTH_TOKEN|base64decode}}"
    )
    assert plain not in operator.log.read_text()
    assert plain not in team.run("get", "ollamaserve,events", "--output=yaml")


def test_status_is_of_the_generation_that_it_speaks_of(team: Kubectl) -> None:
    """observedGeneration follows the spec; a Ready pod whose gate can't be polled stays Ready."""
    team.apply(serve())
    await_reason(team, "Available", "Available")
    team.apply(serve(env=[{"name": "A", "value": "1"}]))

    def current() -> bool:
        body = team.get("ollamaserve", "llama") or {}
        return bool(body["status"]["observedGeneration"] == body["metadata"]["generation"] == 2)

    seen(team, "observedGeneration is 2", current)


def test_a_dropped_field_is_dropped_on_the_server_too(team: Kubectl) -> None:
    """Children are made by apply, so what a later apply no longer says goes away."""

    def names_of(body: Body) -> list[str]:
        (ollama,) = (
            c for c in body["spec"]["template"]["spec"]["containers"] if c["name"] == "ollama"
        )
        return [variable["name"] for variable in ollama["env"]]

    team.apply(serve(env=[{"name": "DROP_ME", "value": "1"}]))
    assert "DROP_ME" in names_of(child(team, "deployment"))
    team.apply(serve(env=[]))
    seen(
        team,
        "the variable goes",
        lambda: "DROP_ME" not in names_of(child(team, "deployment")),
    )


def test_what_is_changed_by_hand_returns(team: Kubectl) -> None:
    """Drift of an owned field; a field of somebody else is left alone (T13)."""
    team.apply(serve())
    child(team, "deployment")
    await_reason(team, "Available", "Available")
    grace = {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}
    team.patch("deployment", "llama", {"spec": grace | {"paused": True}})

    def returned() -> bool:
        spec = child(team, "deployment")["spec"]
        return bool(spec["template"]["spec"]["terminationGracePeriodSeconds"] == 135)

    seen(team, "the grace returns", returned)
    assert child(team, "deployment")["spec"]["paused"]


def test_a_child_without_our_label_is_labelled_again(team: Kubectl) -> None:
    """It vanishes from the watch; the create that follows finds it to be ours."""
    team.apply(serve())
    uid = child(team, "service")["metadata"]["uid"]
    team.run("label", "service", "llama", "app.kubernetes.io/managed-by-")
    found = "app.kubernetes.io/managed-by=ollamaserve-operator"
    seen(team, "the label returns", lambda: team.list("service", found))
    assert child(team, "service")["metadata"]["uid"] == uid


@pytest.mark.parametrize("kind", ["deployment", "service", "configmap", "secret"])
def test_a_deleted_child_comes_back(team: Kubectl, kind: str) -> None:
    """At once, without waiting for a resync."""
    team.apply(serve())
    uid = child(team, kind)["metadata"]["uid"]
    team.run("delete", kind, SINGLE[kind], "--wait=false")

    def another() -> bool:
        body = team.get(kind, SINGLE[kind])
        return body is not None and body["metadata"]["uid"] != uid

    seen(team, f"another {kind}", another)


def test_a_users_service_of_the_same_name_stays_untouched(team: Kubectl) -> None:
    """Decision 1: NameConflict names it; every other child is made; once it is gone, ours comes."""
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "llama", "labels": {"mine": "yes"}},
        "spec": {"ports": [{"port": 80}]},
    }
    team.apply(theirs)
    before = team.get("service", "llama") or {}
    team.apply(serve())

    found = await_reason(team, "Accepted", "NameConflict")
    assert found["status"] == "False"
    assert "Service" in found["message"]
    assert "llama" in found["message"]
    child(team, "deployment")
    child(team, "secret")
    assert team.get("service", "llama") == before

    team.run("delete", "service", "llama")
    await_reason(team, "Accepted", "Accepted", seconds=90)
    assert child(team, "service")["metadata"]["ownerReferences"]


def test_a_restart_of_a_settled_operator_writes_nothing(
    team: Kubectl, operator: LocalOperator
) -> None:
    """Every resource is looked at, nothing is written."""
    for number in range(3):
        team.apply(serve(f"llama-{number}"))
    for number in range(3):
        await_reason(team, "Available", "Available", name=f"llama-{number}")
    rested(operator)
    operator.stop()
    operator.start()
    assert rested(operator) == 0, operator.calls()
    assert operator.gauge("cached_objects") > 3 * len(SINGLE)


def test_killed_in_the_middle_it_finishes_in_its_next_life(
    team: Kubectl, operator: LocalOperator
) -> None:
    """SIGKILL while ten resources are being made: afterwards each has all its children."""
    team.apply(*(serve(f"llama-{number}") for number in range(10)))
    until("it has begun", lambda: operator.calls().get(("create", "Secret"), 0), seconds=30)
    operator.stop(signal.SIGKILL)
    operator.start()
    seen(team, "all children", lambda: complete(team, 10), 60)


def test_deleting_the_resource_deletes_all_that_it_made(
    team: Kubectl, operator: LocalOperator
) -> None:
    """T20: no finalizer: garbage collection does it, and nothing is made anew meanwhile."""
    team.apply(serve())
    for kind in SINGLE:
        child(team, kind)
    team.run("delete", "ollamaserve", "llama")

    def nothing() -> bool:
        left = [kind for kind, name in SINGLE.items() if team.get(kind, name)]
        return not left and not jobs(team)

    seen(team, "everything goes", nothing, 60)
    assert not [body for body in team.list("configmap") if body["metadata"]["name"] == "llama-gate"]


def test_applied_again_right_after_its_deletion_it_waits_for_the_old_children(
    team: Kubectl,
) -> None:
    """What garbage collection hasn't taken yet is no name conflict."""
    team.apply(serve())
    for kind in SINGLE:
        child(team, kind)
    team.run("delete", "ollamaserve", "llama")
    team.apply(serve())
    uid = (team.get("ollamaserve", "llama") or {})["metadata"]["uid"]

    def ours() -> bool:
        bodies = [team.get(kind, name) for kind, name in SINGLE.items()]
        return all(b and b["metadata"]["ownerReferences"][0]["uid"] == uid for b in bodies)

    seen(team, "all children are the new one's", ours, 90)


def test_replicas_on_one_nodes_volume_are_refused(team: Kubectl) -> None:
    """RWO with two replicas, in the spec and through the scale subresource."""
    with pytest.raises(KubectlError, match="ReadWriteOnce"):
        team.apply(serve(replicas=2))
    team.apply(serve())
    child(team, "deployment")
    with pytest.raises(KubectlError, match="ReadWriteOnce"):
        team.run("scale", "ollamaserve", "llama", "--replicas=2")


def test_suspended_it_has_no_pods_and_keeps_volume_and_token(team: Kubectl) -> None:
    """Decision 17: Ready False, Suspended; and back."""
    team.apply(serve())
    await_reason(team, "Available", "Available")
    kept = [child(team, kind)["metadata"]["uid"] for kind in ("secret", "persistentvolumeclaim")]
    team.apply(serve(suspend=True))
    await_reason(team, "Ready", "Suspended")
    assert child(team, "deployment")["spec"]["replicas"] == 0
    assert kept == [
        child(team, kind)["metadata"]["uid"] for kind in ("secret", "persistentvolumeclaim")
    ]
    team.apply(serve(suspend=False))
    await_reason(team, "Available", "Available")


def test_a_namespace_that_goes_away_is_let_go_quietly(
    team: Kubectl, operator: LocalOperator, control_plane: Path
) -> None:
    """Nothing is created in it, and nothing is logged as a failure."""
    team.apply(serve())
    for kind in SINGLE:
        child(team, kind)
    begun = len(operator.log.read_text())
    name = team.namespace
    admin = Kubectl(control_plane)
    admin.run("delete", "namespace", name, "--wait=false")
    until("it is gone", lambda: admin.get("namespace", name) is None, seconds=60)
    assert "Traceback" not in operator.log.read_text()[begun:]
    admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
