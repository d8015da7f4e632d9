"""The plan: its fixpoint, what it repairs, and what it never touches."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import IMAGES, NOW, parsed, resource, sample, stored
from ollamaserve_operator import names
from ollamaserve_operator.api import OllamaServe
from ollamaserve_operator.manifests import Manifest, children
from ollamaserve_operator.observed import Observed, observe
from ollamaserve_operator.plan import Apply, Create, Delete, Issue, Step, plan

Body = dict[str, Any]

PEER: Body = {"podSelector": {}}
OFFERED = frozenset({"HTTPRoute", "PodMonitor"})
RWX = {"persistent": {"accessMode": "ReadWriteMany", "whenDeleted": "Retain"}}
SPECS = st.fixed_dictionaries(
    {"models": st.lists(st.sampled_from("abc"), min_size=1, unique=True).map(
        lambda found: [{"name": name} for name in found]
    )},
    optional={
        "storage": st.sampled_from([RWX, {"persistent": {"size": "1Gi"}}, {"ephemeral": {}}]),
        "gpu": st.sampled_from([{"count": 0}, {"count": 2, "resource": "amd.com/gpu"}]),
        "resources": st.sampled_from([{"limits": {"cpu": "1000m"}}, {"requests": {"cpu": "1"}}]),
        "suspend": st.booleans(),
        "auth": st.sampled_from([{"secretName": "mine"}, {"tokens": [{"key": "A"}, {"key": "B"}]}]),
        "env": st.just([{"name": "X", "value": ""}]),
        "service": st.sampled_from([{"type": "NodePort"}, {"annotations": {"a": ""}}]),
        "scheduling": st.just({"nodeSelector": {"a": "b"}}),
        "networkPolicy": st.sampled_from([{"enabled": False}, {"egress": [{}]}, {"from": [PEER]}]),
        "podDisruptionBudget": st.sampled_from([{"enabled": True}, {"maxUnavailable": "50%"}]),
        "ingress": st.just({"host": "llm.example.com", "tls": {"secretName": "x"}}),
        "httpRoute": st.just({"parentRefs": [{"name": "gate"}]}),
        "monitoring": st.just({"podMonitor": {"enabled": True}, "from": [PEER]}),
    },
)  # fmt: skip


def settled(serve: OllamaServe) -> list[Body]:
    """What is stored after two rounds: the claim's uid is known in the second."""
    first = stored(children(serve, IMAGES, Observed(at=NOW, offered=OFFERED)))
    return stored(children(serve, IMAGES, observe(first, at=NOW, offered=OFFERED)))


def steps(serve: OllamaServe, bodies: Sequence[Body]) -> tuple[Step, ...]:
    seen = observe(bodies, at=NOW, offered=OFFERED)
    return plan(children(serve, IMAGES, seen), seen, serve)


def body_of(bodies: Sequence[Body], kind: str) -> Body:
    return next(body for body in bodies if body["kind"] == kind)


@given(spec=SPECS)
def test_what_is_applied_plans_to_nothing(spec: dict[str, Any]) -> None:
    """The fixpoint law: a restart of the operator costs no write."""
    serve = parsed(resource(**spec))

    assert steps(serve, settled(serve)) == ()


@given(spec=SPECS)
def test_everything_is_created_from_nothing_in_order(spec: dict[str, Any]) -> None:
    """From an empty namespace: creates only, what pods need before the Deployment."""
    serve = parsed(resource(**spec))
    made = steps(serve, [])
    kinds = [step.manifest["kind"] for step in made if isinstance(step, Create)]

    assert len(kinds) == len(made)
    assert kinds.index("ConfigMap") < kinds.index("Deployment")
    assert "Job" not in kinds


def test_only_the_secret_is_issued_tokens() -> None:
    """Decision 1: the border is told which keys to make tokens for, and for the Secret alone."""
    made = steps(parsed(sample("minimal")), [])
    issued = {step.manifest["kind"]: step.issue for step in made if isinstance(step, Create)}

    assert issued.pop("Secret") == ("AUTH_TOKEN",)
    assert set(issued.values()) == {()}


def test_drift_is_repaired_with_the_uid_that_was_seen() -> None:
    """Decision 1: the apply names the uid, so that it can't re-create what has gone meanwhile."""
    serve = parsed(resource())
    bodies = settled(serve)
    service = body_of(bodies, "Service")
    service["spec"]["ports"][0]["targetPort"] = 1
    (step,) = steps(serve, bodies)

    assert isinstance(step, Apply)
    assert step.manifest["kind"] == "Service"
    assert step.uid == service["metadata"]["uid"]


def test_changed_wish_is_applied_even_where_nothing_is_missing() -> None:
    """A field that is no longer wanted is in no manifest: the hash of the wish tells."""
    bodies = settled(parsed(resource(env=[{"name": "X", "value": "1"}])))
    applied = steps(parsed(resource()), bodies)
    deployments = [
        s for s in applied if isinstance(s, Apply) and s.manifest["kind"] == "Deployment"
    ]

    assert len(deployments) == 1


def test_deleted_child_is_created_again() -> None:
    """Each child comes back by itself."""
    serve = parsed(resource())
    for kind in ("ConfigMap", "Service", "Deployment", "Secret"):
        bodies = [body for body in settled(serve) if body["kind"] != kind]
        (step,) = steps(serve, bodies)
        assert isinstance(step, Create)
        assert step.manifest["kind"] == kind


def test_child_that_is_going_away_is_waited_for() -> None:
    """Nothing is applied to an object with a deletionTimestamp; its end is an event."""
    serve = parsed(resource())
    bodies = settled(serve)
    service = body_of(bodies, "Service")
    service["spec"]["type"] = "NodePort"
    service["metadata"]["deletionTimestamp"] = "2026-03-04T05:06:07Z"

    assert steps(serve, bodies) == ()


def test_object_of_another_owner_is_never_applied_to() -> None:
    """Decision 1: only a create is tried, and that is refused while the other is there."""
    serve = parsed(resource())
    bodies = settled(serve)
    body_of(bodies, "Service")["metadata"]["ownerReferences"][0]["uid"] = "another"
    (step,) = steps(serve, bodies)

    assert isinstance(step, Create)


def test_job_of_another_owner_is_never_deleted() -> None:
    """Collecting Jobs is for our own."""
    serve = parsed(resource())
    bodies = settled(serve)
    body_of(bodies, "Job")["metadata"]["ownerReferences"][0]["uid"] = "another"

    assert not [step for step in steps(serve, bodies) if isinstance(step, Delete)]


def test_retained_claim_of_a_namesake_is_adopted() -> None:
    """Decision 14: by its label; a claim without it is somebody's."""
    retained = settled(parsed(resource(storage={"persistent": {"whenDeleted": "Retain"}})))
    claim = body_of(retained, "PersistentVolumeClaim")
    serve = parsed(resource())
    adopt = [s for s in steps(serve, [claim]) if isinstance(s, Apply)]
    del claim["metadata"]["labels"][names.RETAINED_FOR]
    leave = [s for s in steps(serve, [claim]) if isinstance(s, Apply)]

    assert [step.uid for step in adopt] == [claim["metadata"]["uid"]]
    assert leave == []


def secret_after(issued: str, data: list[str]) -> Body:
    body = body_of(settled(parsed(resource())), "Secret")
    body["metadata"]["annotations"][names.ISSUED_KEYS] = issued
    body["data"] = dict.fromkeys(data, "x")
    return body


def issues(tokens: list[str], secret: Body) -> list[tuple[str, ...]]:
    serve = parsed(resource(auth={"tokens": [{"key": key} for key in tokens]}))
    rest = [body for body in settled(serve) if body["kind"] != "Secret"]
    return [step.keys for step in steps(serve, [*rest, secret]) if isinstance(step, Issue)]


def test_new_key_gets_a_token_and_a_revoked_one_does_not() -> None:
    """Decision 11: deleting a key revokes it; only a key that never had a token gets one."""
    assert issues(["A"], secret_after("A", ["A"])) == []
    assert issues(["A", "B"], secret_after("A", ["A"])) == [("B",)]
    assert issues(["A"], secret_after("A", [])) == []


def test_lost_record_of_issued_keys_overwrites_no_token() -> None:
    """The annotation may be removed by hand: a key with a value is never issued again."""
    assert issues(["A"], secret_after("", ["A"])) == []


def test_wishes_never_hold_data_of_the_secret() -> None:
    """Decision 1: an apply without `data` is what keeps the tokens."""
    serve = parsed(resource(auth={"tokens": [{"key": "A"}, {"key": "B"}]}))
    wishes: tuple[Manifest, ...] = children(serve, IMAGES, observe(settled(serve), at=NOW))

    assert all("data" not in wish for wish in wishes if wish["kind"] == "Secret")


@given(before=SPECS, after=SPECS)
def test_what_is_no_longer_wanted_goes_and_what_holds_data_stays(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    """From any spec to any other: deleted is what only the old one asked for, in few kinds."""
    old, new = parsed(resource(**before)), parsed(resource(**after))
    bodies = settled(old)
    gone = {(s.kind, s.name) for s in steps(new, bodies) if isinstance(s, Delete)}
    there = {(body["kind"], body["metadata"]["name"]) for body in bodies}
    wanted = {(body["kind"], body["metadata"]["name"]) for body in settled(new)}

    assert {entry for entry in gone if entry[0] != "Job"} == {
        entry for entry in there - wanted if entry[0] in DISPENSABLE
    }
    assert {kind for kind, _ in gone} <= {*DISPENSABLE, "Job"}
    left = [body for body in bodies if (body["kind"], body["metadata"]["name"]) not in gone]
    assert not [s for s in steps(new, left) if isinstance(s, Delete) and s.kind != "Job"]


DISPENSABLE = ("NetworkPolicy", "PodDisruptionBudget", "Ingress", "HTTPRoute", "PodMonitor")
INGRESS = {"host": "llm.example.com"}


def test_an_ingress_that_is_no_longer_wanted_is_deleted_by_its_uid() -> None:
    """Decision 1: what is deleted is what was seen, and only if it is ours."""
    bodies = settled(parsed(resource(ingress=INGRESS)))
    ingress = body_of(bodies, "Ingress")
    serve = parsed(resource())
    uid = ingress["metadata"]["uid"]
    assert steps(serve, bodies) == (Delete("Ingress", "llama", uid, "Background"),)

    ingress["metadata"]["ownerReferences"][0]["uid"] = "another"
    assert steps(serve, bodies) == ()


def test_a_copy_of_a_child_is_not_deleted() -> None:
    """Made from its YAML, with our labels and owner, under another name: it is the user's."""
    bodies = settled(parsed(resource(ingress=INGRESS)))
    body_of(bodies, "Ingress")["metadata"]["name"] = "mine"
    assert steps(parsed(resource()), bodies) == ()


def test_what_is_going_away_is_not_deleted_again() -> None:
    """Its end is an event."""
    bodies = settled(parsed(resource(ingress=INGRESS)))
    body_of(bodies, "Ingress")["metadata"]["deletionTimestamp"] = "2026-03-04T05:06:07Z"
    assert steps(parsed(resource()), bodies) == ()


@pytest.mark.parametrize(
    "meddle",
    [
        lambda spec: spec["egress"].append({}),
        lambda spec: spec["ingress"][1].pop("from"),
        lambda spec: spec["ingress"][0].update({"from": [PEER]}),
        lambda spec: spec["ingress"][1]["from"][0].pop("podSelector"),
        lambda spec: spec["ingress"][1]["from"].append(PEER),
        lambda spec: spec["podSelector"]["matchLabels"].update({"a": "b"}),
        lambda spec: spec["podSelector"].update({"matchExpressions": []}),
        lambda spec: spec["policyTypes"].remove("Egress"),
    ],
    ids=[
        *("a way out", "the status for all", "the door for some", "the status for a namespace"),
        *("the status for more", "fewer pods", "other pods", "egress forgotten"),
    ],
)
def test_any_change_of_a_policy_is_drift(meddle: Callable[[Any], None]) -> None:
    """A field more is another policy: its rules and its selector are compared whole."""
    serve = parsed(resource())
    bodies = settled(serve)
    policy = next(b for b in bodies if b["metadata"]["name"] == "llama-server")
    policy["spec"].setdefault("egress", [])
    assert steps(serve, bodies) == ()

    meddle(policy["spec"])
    (step,) = steps(serve, bodies)
    assert isinstance(step, Apply)
    assert step.manifest["metadata"]["name"] == "llama-server"
