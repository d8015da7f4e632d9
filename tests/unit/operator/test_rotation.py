"""A rotation of the tokens in two phases (G6): what is planned when, and what the status says."""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import IMAGES, NOW, parsed, resource, stored
from ollamaserve_operator import names, rotation, status, tokens
from ollamaserve_operator.api import OllamaServe
from ollamaserve_operator.manifests import children
from ollamaserve_operator.observed import Observed, observe
from ollamaserve_operator.plan import Create, Issue, Offer, Promote, Step, plan
from ollamaserve_operator.report import GateReport

Body = dict[str, Any]

SECRET = ("Secret", "llama-auth")
LATER = NOW + timedelta(seconds=30)


def encoded(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


def decoded(value: str) -> str:
    return base64.b64decode(value).decode()


def serving(name: str = "llama-1", *, ready: bool = True, phase: str = "Running") -> Body:
    labels = {names.COMPONENT: "server", names.INSTANCE: "llama"}
    conditions = [{"type": "Ready", "status": str(ready)}]
    return {
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "status": {"phase": phase, "conditions": conditions},
    }


class World:
    """A settled resource whose Secret has a value for each key; what is planned is done at once."""

    def __init__(
        self, *, rotate: str = "1", pods: Iterable[Body] = (serving(),), **spec: Any
    ) -> None:
        self.serve = replace(parsed(resource(**spec)), rotate=rotate)
        first = stored(children(self.serve, IMAGES, Observed(at=NOW)))
        bodies = stored(children(self.serve, IMAGES, observe(first, at=NOW)))
        self.bodies = {(body["kind"], body["metadata"]["name"]): body for body in bodies}
        self.pods = list(pods)
        self.reports: dict[str, GateReport] = {}
        self.at = NOW
        self._version = 10
        if SECRET in self.bodies:
            keys = [token.key for token in self.serve.auth.tokens]
            self.secret["data"] = {key: encoded(f"old-{key}") for key in keys}

    @property
    def secret(self) -> Body:
        return self.bodies[SECRET]

    @property
    def values(self) -> dict[str, str]:
        return {key: decoded(value) for key, value in self.secret["data"].items()}

    @property
    def annotations(self) -> dict[str, str]:
        found: dict[str, str] = self.secret["metadata"]["annotations"]
        return found

    @property
    def observed(self) -> Observed:
        return observe([*self.bodies.values(), *self.pods], at=self.at, reports=self.reports)

    def steps(self) -> tuple[Step, ...]:
        return plan(children(self.serve, IMAGES, self.observed), self.observed, self.serve)

    def done(self) -> str:
        """Do the one thing that is planned; its name."""
        (step,) = self.steps()
        match step:
            case Offer():
                values = {key: f"new-{key}" for key in step.keys}
                self.take(step, values)
            case Promote():
                self.take(step)
            case _:
                raise AssertionError(step)
        return type(step).__name__

    def take(self, step: Offer | Promote, values: Mapping[str, str] | None = None) -> None:
        revision = f"r{self._version}"
        match step:
            case Offer():
                body: Body | None = tokens.offered(step, values or {}, revision)
            case Promote():
                body = tokens.promoted(step, self.secret, revision)
        assert body is not None
        self.write(body)

    def write(self, body: Body) -> None:
        """A merge patch, as the API server takes it."""
        strings = {key: encoded(value) for key, value in body.get("stringData", {}).items()}
        self.secret["data"] = merged(self.secret.get("data", {}), body.get("data", {}) | strings)
        self.secret["metadata"]["annotations"] = merged(
            self.annotations, body["metadata"]["annotations"]
        )
        self._version += 1
        self.secret["metadata"]["resourceVersion"] = str(self._version)

    def loads(self, *pods: str) -> None:
        """The gates of these pods have the Secret as it is now."""
        revision = self.annotations.get(names.TOKEN_REVISION, "")
        self.reports |= {pod: GateReport(reason="Ready", revision=revision) for pod in pods}

    def told(self) -> tuple[str, str, str]:
        found = status.status(self.serve, self.observed, (), {})
        by_type = {c["type"]: c for c in found["conditions"]}
        condition = by_type.get("TokensRotated", {"status": "", "reason": "", "message": ""})
        return condition["status"], condition["reason"], condition["message"]


def merged(old: Body, new: Body) -> Body:
    return {key: value for key, value in (old | new).items() if value is not None}


def test_two_phases_with_the_gates_between_them() -> None:
    """G6: next beside present; promoted only when the gate has said so; then nothing more."""
    world = World()
    assert world.done() == "Offer"
    assert world.values["AUTH_TOKEN"] == "old-AUTH_TOKEN"
    assert world.values["AUTH_TOKEN_NEXT"] == "new-AUTH_TOKEN"
    assert world.values["REVISION"] == world.annotations[names.TOKEN_REVISION]
    assert world.steps() == ()
    world.reports["llama-1"] = GateReport(reason="Ready", revision="of before")
    assert world.steps() == ()
    world.loads("llama-1")
    world.at = LATER
    assert world.done() == "Promote"

    previous = json.loads(world.values.pop("AUTH_TOKEN_PREVIOUS"))
    assert previous == {"token": "old-AUTH_TOKEN", "notAfter": "2026-03-04T06:06:37Z"}
    assert world.values["AUTH_TOKEN"] == "new-AUTH_TOKEN"
    assert set(world.values) == {"AUTH_TOKEN", "AUTH_TOKEN_PREVIOUS", "REVISION"}
    assert world.annotations[names.ROTATED] == "1"
    assert world.annotations.keys().isdisjoint({names.OFFERED, names.OFFERED_AT})
    assert world.steps() == ()


def test_another_value_rotates_again() -> None:
    """The value is what is remembered: the same one twice does nothing, a new one all of it."""
    world = World(pods=[])
    assert [world.done(), world.done()] == ["Offer", "Promote"]
    assert world.steps() == ()
    world.serve = replace(world.serve, rotate="2")
    assert [world.done(), world.done()] == ["Offer", "Promote"]
    assert world.steps() == ()


def test_every_key_is_rotated_but_those_that_were_revoked() -> None:
    """Decision 11: a key that was deleted from the Secret stays out."""
    world = World(pods=[], auth={"tokens": [{"key": "A"}, {"key": "B"}, {"key": "C"}]})
    del world.secret["data"]["B"]
    world.done()
    del world.secret["data"]["C"]
    world.done()

    assert world.values["A"] == "new-A"
    assert {key for key in world.values if key[0] in "BC"} == set()
    assert world.steps() == ()


def test_without_a_grace_period_the_old_token_is_out_at_once() -> None:
    """`rotationGracePeriod: 0`: no PREVIOUS is kept, and an older one goes."""
    world = World(pods=[])
    world.serve = replace(world.serve, auth=replace(world.serve.auth, rotation_grace_period=0))
    world.secret["data"]["AUTH_TOKEN_PREVIOUS"] = encoded("{}")
    world.done()
    world.done()

    assert set(world.values) == {"AUTH_TOKEN", "REVISION"}


def test_a_key_issued_in_between_is_offered_too() -> None:
    """A token that is added to the spec during a rotation gets its value first, then its next."""
    world = World()
    world.done()
    present = world.values["AUTH_TOKEN_NEXT"]
    world.serve = replace(
        world.serve,
        auth=parsed(resource(auth={"tokens": [{"key": "A"}, {"key": "AUTH_TOKEN"}]})).auth,
    )
    token_steps = [step for step in world.steps() if isinstance(step, Issue | Offer | Promote)]
    assert [type(step) for step in token_steps] == [Issue]
    world.write(
        {"metadata": {"annotations": {names.ISSUED_KEYS: "A,AUTH_TOKEN"}}, "stringData": {"A": "a"}}
    )
    (offer,) = [step for step in world.steps() if isinstance(step, Offer)]

    assert offer.keys == ("A",)
    assert world.values["AUTH_TOKEN_NEXT"] == present


def test_what_rotation_keeps_beside_a_token_is_no_token() -> None:
    """The record of issued keys stays that of the spec's, however the Secret was read."""
    world = World(pods=[])
    del world.annotations[names.ISSUED_KEYS]
    world.write(
        tokens.offered(Offer("s", "u", "1", ("AUTH_TOKEN",), "1", ""), {"AUTH_TOKEN": "n"}, "r")
    )
    wanted = children(world.serve, IMAGES, world.observed)
    secret = next(manifest for manifest in wanted if manifest["kind"] == "Secret")

    assert secret["metadata"]["annotations"][names.ISSUED_KEYS] == "AUTH_TOKEN"


def test_a_new_secret_needs_no_rotation() -> None:
    """Applied with the annotation, or its Secret deleted: fresh tokens are not rotated."""
    world = World()
    del world.bodies[SECRET]
    (step,) = world.steps()

    assert isinstance(step, Create)
    assert dict(step.annotations) == {names.ROTATED: "1"}
    assert names.ROTATED not in step.manifest["metadata"]["annotations"]


@pytest.mark.parametrize("case", ["another's", "going", "of the user", "not asked for"])
def test_what_is_not_ours_to_rotate_is_left_alone(case: str) -> None:
    """Decisions 1 and 11: another's Secret, one that goes away, a user's own."""
    spec: Body = {"auth": {"secretName": "mine"}} if case == "of the user" else {}
    world = World(**spec)
    match case:
        case "another's":
            world.secret["metadata"]["ownerReferences"][0]["uid"] = "another"
        case "going":
            world.secret["metadata"]["deletionTimestamp"] = "2026-03-04T05:06:07Z"
        case "not asked for":
            world.serve = replace(world.serve, rotate="")

    assert not [step for step in world.steps() if isinstance(step, Offer | Promote)]


WAITS: dict[str, tuple[list[Body], dict[str, GateReport], str]] = {
    "not loaded yet": ([serving()], {"llama-1": GateReport(revision="of before")}, "pod llama-1"),
    "not loaded yet, not ready": (
        [serving(ready=False)],
        {"llama-1": GateReport(revision="of before")},
        "pod llama-1",
    ),
    "the second one": (
        [serving(), serving("llama-2")],
        {"llama-1": GateReport(revision="r10"), "llama-2": GateReport()},
        "waits for pod llama-2",
    ),
    "no answer": ([serving()], {}, "pod llama-1, which doesn't answer on port 7861"),
    "a broken set": (
        [serving()],
        {"llama-1": GateReport(revision="r10", token_error="token AUTH_TOKEN_NEXT is empty")},
        "can't take them: token AUTH_TOKEN_NEXT is empty",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("pods", "reports", "words"), WAITS.values(), ids=WAITS.keys())
def test_who_is_waited_for(pods: list[Body], reports: dict[str, GateReport], words: str) -> None:
    """G6: nothing is promoted while a gate may not know the next tokens; the status names it."""
    world = World(pods=pods)
    world.done()
    world.reports = reports

    assert world.steps() == ()
    state, reason, message = world.told()
    assert (state, reason) == ("False", "Rotating")
    assert words in message
    found = status.status(world.serve, world.observed, (), {})
    assert status.requeue(world.serve, found) == status.UNSETTLED


def test_pods_that_serve_nobody_are_not_waited_for() -> None:
    """Suspended, not started, or crashing without an answer: no client gets there."""
    for pods in ([], [serving(ready=False)], [serving(ready=False, phase="Pending")]):
        world = World(pods=pods)
        assert [world.done(), world.done()] == ["Offer", "Promote"]


def test_a_ready_pod_that_cannot_be_asked_is_not_waited_for_forever() -> None:
    """kubelet has renewed its copy by then; a pod that answers otherwise is believed, always."""
    world = World()
    world.done()
    world.at = NOW + rotation.PATIENCE
    silent = world.steps()
    world.reports["llama-1"] = GateReport(revision="of before")

    assert [type(step) for step in silent] == [Promote]
    assert world.steps() == ()


@pytest.mark.parametrize("record", ["", "yesterday", "2026-03-04T05:06:07"])
def test_a_lost_record_of_the_time_waits_longer(record: str) -> None:
    """Annotations can be edited by anyone: without a time, patience has no end."""
    world = World()
    world.done()
    world.annotations[names.OFFERED_AT] = record
    world.at = NOW + timedelta(days=1)

    assert world.steps() == ()


def test_a_promotion_is_for_the_secret_that_was_seen() -> None:
    """The live read decides: another object, another offer, a lost next value give no patch."""
    world = World(pods=[])
    world.done()
    (step,) = world.steps()
    assert isinstance(step, Promote)
    metadata, data = world.secret["metadata"], world.secret["data"]
    lost = {key: value for key, value in data.items() if key != "AUTH_TOKEN_NEXT"}
    later = metadata | {"annotations": metadata["annotations"] | {names.OFFERED: "2"}}

    assert tokens.promoted(step, world.secret | {"metadata": metadata | {"uid": "x"}}, "r") is None
    assert tokens.promoted(step, world.secret | {"metadata": later}, "r") is None
    assert tokens.promoted(step, world.secret | {"data": lost}, "r") is None
    found = tokens.promoted(step, world.secret, "r")
    assert found is not None
    assert found["metadata"]["resourceVersion"] == metadata["resourceVersion"]


def test_what_no_gate_can_have_taken_is_kept_as_no_token() -> None:
    """A value edited by hand into other bytes was never a token, and breaks no rotation."""
    world = World(pods=[])
    world.secret["data"]["AUTH_TOKEN"] = encoded("schlüssel")
    world.done()
    world.done()

    assert set(world.values) == {"AUTH_TOKEN", "REVISION"}


def test_what_is_told() -> None:
    """Nothing where nothing was asked for; the end as True; a user's own Secret with the way."""
    world = World(pods=[])
    world.done()
    world.done()
    own = World(auth={"secretName": "mine"}).told()

    assert World(rotate="").told() == ("", "", "")
    assert world.told()[:2] == ("True", "Rotated")
    assert "Secret llama-auth" in world.told()[2]
    assert own[:2] == ("False", "NotOurs")
    assert "your Secret mine" in own[2]
    assert "docs/operations.md" in own[2]


def test_ready_does_not_wait_for_a_rotation() -> None:
    """Both tokens are good meanwhile: Ready is about serving."""

    def ready(serve: OllamaServe, seen: Observed) -> Body:
        found = status.status(serve, seen, (), {})
        return next(c for c in found["conditions"] if c["type"] == "Ready")

    world = World()
    world.done()
    assert ready(world.serve, world.observed) == ready(
        replace(world.serve, rotate=""), world.observed
    )


PODS = ("llama-1", "llama-2", "llama-3")


class Cluster(World):
    """Three gates, each with the Secret as kubelet last brought it, and clients of two kinds."""

    def __init__(self) -> None:
        super().__init__(rotate="", pods=[serving(name) for name in PODS])
        self.held = dict.fromkeys(PODS, self.values)
        self.old = self.values["AUTH_TOKEN"]

    def act(self, action: str, pod: str) -> None:
        match action:
            case "kubelet":
                self.held[pod] = self.values
            case "poll":
                self.reports[pod] = GateReport(revision=self.held[pod].get("REVISION", ""))
            case "lost poll":
                self.reports.pop(pod, None)
            case "asked again":
                self.serve = replace(self.serve, rotate=f"{self.serve.rotate}x")
            case "operator":
                self.reconcile()

    def reconcile(self) -> None:
        for step in self.steps():
            if isinstance(step, Promote):
                self.old = self.values["AUTH_TOKEN"]
                self.take(step)
            elif isinstance(step, Offer):
                self.take(step, {"AUTH_TOKEN": f"token-{self._version}"})

    def accepts(self, pod: str, token: str) -> bool:
        held = self.held[pod]
        previous = json.loads(held.get("AUTH_TOKEN_PREVIOUS", "{}"))
        return token in {
            held["AUTH_TOKEN"],
            held.get("AUTH_TOKEN_NEXT"),
            previous.get("token"),
        }


ACTIONS = st.tuples(
    st.sampled_from(["operator", "kubelet", "poll", "lost poll", "asked again"]),
    st.sampled_from(PODS),
)


@given(actions=st.lists(ACTIONS, max_size=60))
def test_law_no_valid_token_is_refused(actions: list[tuple[str, str]]) -> None:
    """G6: in any order of events every gate takes what the Secret says, and what it said before."""
    cluster = Cluster()
    for action, pod in actions:
        cluster.act(action, pod)
        for name in PODS:
            assert cluster.accepts(name, cluster.values["AUTH_TOKEN"])
            assert cluster.accepts(name, cluster.old)


@given(actions=st.lists(ACTIONS, max_size=30))
def test_law_a_rotation_ends(actions: list[tuple[str, str]]) -> None:
    """Wherever it stands: once kubelet and polls have done their work, there is a new token."""
    cluster = Cluster()
    for action, pod in actions:
        cluster.act(action, pod)
    before = cluster.values["AUTH_TOKEN"]
    cluster.act("asked again", "")
    cluster.act("operator", "")
    for pod in PODS:
        cluster.act("kubelet", pod)
        cluster.act("poll", pod)
    cluster.act("operator", "")

    assert cluster.values["AUTH_TOKEN"] != before
    assert cluster.steps() == ()
