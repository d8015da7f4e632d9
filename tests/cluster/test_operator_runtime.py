"""The operator as it is started in a pod, with the rights that it has there, on a real API server.

Its token is that of the ServiceAccount of deploy/install.yaml, so a verb that the ClusterRole lacks
is found here. kwok makes pods Ready without running them: nothing answers on 7861, and that must
change nothing (decision 5).
"""

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ollamaserve_dev.kubectl import Kubectl, KubectlError, until
from ollamaserve_operator import kinds
from ollamaserve_operator.kinds import Verb

pytestmark = pytest.mark.cluster

Body = dict[str, Any]

REPOSITORY = Path(__file__).parents[2]
SYSTEM, ACCOUNT = "ollamaserve-system", "ollamaserve-operator"
IMAGES = {"GATE_IMAGE": "gate:1", "OLLAMA_IMAGE": "ollama:1", "OLLAMA_ROCM_IMAGE": "ollama:1-rocm"}
SINGLE = {
    "secret": "llama-auth",
    "configmap": "llama-gate",
    "persistentvolumeclaim": "llama-models",
    "service": "llama",
    "deployment": "llama",
}
CALL = re.compile(r"^ollamaserve_operator_api_calls_total\{(.*)\} (.*)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass
class Operator:
    """The process, and what it tells on its port."""

    kubeconfig: Path
    log: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        environment = {
            "KUBECONFIG": os.fspath(self.kubeconfig),
            "OPERATOR_LISTEN": f"127.0.0.1:{self.port}",
            "PYTHONPATH": os.fspath(REPOSITORY / "operator"),
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                (sys.executable, "-m", "ollamaserve_operator"),
                env=IMAGES | environment,
                stdout=log,
                stderr=log,
            )
        until("the operator answers /livez", self.alive, seconds=30)

    def alive(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        try:
            return self._get("/livez") == "ok"
        except OSError:
            return False

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(timeout=15)
            self.process = None

    def calls(self) -> dict[tuple[str, str], float]:
        """How often each verb was used on each kind."""
        found: dict[tuple[str, str], float] = {}
        for labels, count in CALL.findall(self._get("/metrics")):
            label = dict(LABEL.findall(labels))
            key = label["verb"], label["kind"]
            found[key] = found.get(key, 0) + float(count)
        return found

    def writes(self) -> float:
        return sum(n for (verb, _), n in self.calls().items() if verb not in {"list", "get"})

    def gauge(self, name: str) -> float:
        pattern = re.compile(rf"^ollamaserve_operator_{name} (.*)$", re.MULTILINE)
        line = pattern.search(self._get("/metrics"))
        assert line is not None, name
        return float(line[1])

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
            return text


@pytest.fixture(scope="module")
def operator(control_plane: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """deploy/install.yaml is applied; the process has the ServiceAccount's token and no other."""
    admin = Kubectl(control_plane, SYSTEM)
    admin.run("apply", "--server-side", f"--filename={REPOSITORY / 'deploy/install.yaml'}")
    admin.run("wait", "--for=condition=Established", "crd/ollamaserves.ollamaserve.dev")
    token = admin.run("create", "token", ACCOUNT, "--duration=2h").strip()
    config = yaml.safe_load(control_plane.read_text())
    for user in config["users"]:
        user["user"] = {"token": token}
    folder = tmp_path_factory.mktemp("operator")
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    found = Operator(kubeconfig, folder / "log")
    found.start()
    yield found
    found.stop()


@pytest.fixture
def team(control_plane: Path, operator: Operator) -> Iterator[Kubectl]:
    """A namespace of its own under Pod Security `restricted`."""
    name = f"team-{secrets.token_hex(3)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    admin = Kubectl(control_plane)
    admin.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    )
    if operator.process is None:
        operator.start()
    yield admin.within(name)
    admin.run("delete", "namespace", name, "--wait=false")


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


def rested(operator: Operator) -> float:
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


def test_a_resource_becomes_all_its_children_owned_by_it(team: Kubectl, operator: Operator) -> None:
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


def test_a_restart_of_a_settled_operator_writes_nothing(team: Kubectl, operator: Operator) -> None:
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
    team: Kubectl, operator: Operator
) -> None:
    """SIGKILL while ten resources are being made: afterwards each has all its children."""
    team.apply(*(serve(f"llama-{number}") for number in range(10)))
    until("it has begun", lambda: operator.calls().get(("create", "Secret"), 0), seconds=30)
    operator.stop(signal.SIGKILL)
    operator.start()
    seen(team, "all children", lambda: complete(team, 10), 60)


def test_deleting_the_resource_deletes_all_that_it_made(team: Kubectl, operator: Operator) -> None:
    """No finalizer: garbage collection does it, and the operator makes nothing anew meanwhile."""
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
    team: Kubectl, operator: Operator, control_plane: Path
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
