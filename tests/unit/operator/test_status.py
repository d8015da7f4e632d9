"""Status: the words for 3 a.m. (decision 17), and the laws that conditions obey."""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import IMAGES, NOW, parsed, resource, stored
from ollamaserve_operator import api, names, status
from ollamaserve_operator.api import Invalid, OllamaServe
from ollamaserve_operator.errors import NameConflict, Refused, StepFailure, Transient
from ollamaserve_operator.judgement import ALARMING, LONGEST_MESSAGE, PERMANENT
from ollamaserve_operator.manifests import children
from ollamaserve_operator.observed import Observed, observe
from ollamaserve_operator.reasons import ConditionType, Reason
from ollamaserve_operator.report import GateReport, ModelReport

Body = dict[str, Any]

ABSENT: Body = {"phase": "never made"}
GATE = {"name": "gate", "state": {"running": {}}}


def server(
    *, ready: bool = False, containers: Sequence[Body] = (GATE,), name: str = "llama-1", **more: Any
) -> Body:
    """A serving pod."""
    scheduled = {"type": "PodScheduled", "status": "True"}
    conditions = [scheduled, {"type": "Ready", "status": str(ready)}]
    labels = {names.COMPONENT: "server", names.INSTANCE: "llama"}
    found = {"phase": "Running", "conditions": conditions, "containerStatuses": list(containers)}
    return {
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "status": found | more,
    }


def evicted(message: str) -> Body:
    """What kubelet leaves of a pod that it has thrown out."""
    return server(phase="Failed", reason="Evicted", message=message)


def leaving(pod: Body) -> Body:
    return pod | {"metadata": pod["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:00Z"}}


def waiting(name: str, reason: str, message: str = "", last: Body | None = None) -> Body:
    state = {"waiting": {"reason": reason, "message": message}}
    ended = {"terminated": last} if last else {}
    return {"name": name, "state": state, "lastState": ended, "restartCount": 4}


def ended_with(message: str, exit_code: int) -> Body:
    ended = {"terminated": {"exitCode": exit_code, "message": message}}
    return {"containerStatuses": [{"name": "pull", "state": ended}]}


def pull_pod(job: str, found: Body) -> Body:
    labels = {names.COMPONENT: "pull", "batch.kubernetes.io/job-name": job}
    return {"kind": "Pod", "metadata": {"name": f"{job}-x", "labels": labels}, "status": found}


class Scene:
    """What is observed of a resource: all well, unless a test makes something go wrong.

    `job` is how the pull ended, empty while it runs; `puller` is its pod's status, and `said` the
    last words and exit status in it; `asked` is what the claim was asked for, if not what is now.
    """

    def __init__(
        self,
        *,
        job: str = "Complete",
        pods: Sequence[Body] | None = None,
        said: tuple[str, int] | None = None,
        puller: Body | None = None,
        reports: Mapping[str, GateReport] | None = None,
        failures: Sequence[StepFailure] = (),
        claim: Body | None = None,
        deployment: Body | None = None,
        asked: str = "",
        **spec: Any,
    ) -> None:
        self.serve = parsed(resource(**spec))
        first = stored(children(self.serve, IMAGES, Observed(at=NOW)))
        bodies = stored(children(self.serve, IMAGES, observe(first, at=NOW)))
        self.bodies = {body["kind"]: body for body in bodies}
        self.pods = [server(ready=True)] if pods is None else list(pods)
        self.reports = dict(reports or {})
        self.failures = list(failures)
        wanted = self.serve.running_replicas
        rolled_out = {"observedGeneration": 1, "replicas": wanted, "updatedReplicas": wanted}
        self.bodies["Deployment"]["status"] = rolled_out | (deployment or {})
        if "PersistentVolumeClaim" in self.bodies:
            bound = {"phase": "Bound", "capacity": {"storage": "30Gi"}}
            self.bodies["PersistentVolumeClaim"]["status"] = bound | (claim or {})
            if asked:
                requests = {"requests": {"storage": asked}}
                self.bodies["PersistentVolumeClaim"]["spec"]["resources"] = requests
        if claim == ABSENT:
            del self.bodies["PersistentVolumeClaim"], self.bodies["Job"]
        if "Job" in self.bodies and job:
            when = NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
            ended = {"type": job, "status": "True", "lastTransitionTime": when, "message": "failed"}
            self.bodies["Job"]["status"] = {"conditions": [ended]}
        if said:
            puller = ended_with(*said)
        if puller:
            self.pods.append(pull_pod(self.bodies["Job"]["metadata"]["name"], puller))

    @property
    def observed(self) -> Observed:
        return observe([*self.bodies.values(), *self.pods], at=NOW, reports=self.reports)

    def status(self, previous: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        return status.status(self.serve, self.observed, self.failures, previous or {})

    def conditions(self) -> dict[str, Any]:
        return {c["type"]: c for c in self.status()["conditions"]}

    def ready(self) -> tuple[str, str, str]:
        found = self.conditions()["Ready"]
        return found["status"], found["reason"], found["message"]


def test_all_is_well() -> None:
    """Every condition is True, and the status says where to go with which Secret."""
    scene = Scene()
    found = scene.status()

    assert {c["type"]: c["status"] for c in found["conditions"]} == {
        "Accepted": "True",
        "StorageReady": "True",
        "ModelsPulled": "True",
        "Available": "True",
        "Ready": "True",
    }
    assert found["endpoint"] == "http://llama.team-a.svc:7860"
    assert found["tokenSecret"] == "llama-auth"
    assert found["modelsSummary"] == "1/1"
    assert (found["replicas"], found["readyReplicas"]) == (1, 1)
    assert found["selector"].count("=") == 3
    assert found["observedGeneration"] == 1
    assert status.requeue(scene.serve, found) == status.SETTLED


def unschedulable(words: str) -> Body:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": words,
    }
    return server(containers=(), phase="Pending", conditions=[condition])


GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: none."
NOT_FOUND = {"reason": "ModelNotFound", "model": "llama9:1b", "message": "file does not exist"}
BROKEN = {"reason": "CreateFailed", "model": "ada", "message": "template error"}
DISK_FULL = {"reason": "DiskFull", "model": "llama2:7b", "message": "no space left on device"}
RESET = {"reason": "PullFailed", "model": "llama2:7b", "message": "connection reset"}
CRASH = {"exitCode": 1, "message": "a prompt\nError: listen tcp: address in use\n"}
KILLED = {"exitCode": 137, "reason": "OOMKilled"}
EPHEMERAL: Body = {"ephemeral": {}}


def conflict(kind: str, name: str) -> StepFailure:
    return StepFailure(kind, name, NameConflict(kind, name))


def refused(kind: str, name: str, words: str) -> StepFailure:
    return StepFailure(kind, name, Refused(kind, name, words))


def crashing(reason: str, last: Body | None = None, message: str = "") -> list[Body]:
    return [server(containers=[GATE, waiting("ollama", reason, message, last)])]


def told(
    reason: str, message: str = "", name: str = "llama-1", **model: Any
) -> dict[str, GateReport]:
    """The serving gate's report."""
    models = (ModelReport("llama2:7b", **model),)
    return {name: GateReport(reason=reason, message=message, models=models)}


NO_TOKEN = {
    "exitCode": 2,
    "message": "ollamaserve_sidecar: no token: none of the files named in GATE_CONFIG is in x\n",
}
EVICTED = evicted('Usage of EmptyDir volume "models" exceeds the limit "1Gi". ')
NO_IMAGE = waiting("pull", "ImagePullBackOff", "Back-off gate:1")
NOT_PLACED = {
    "type": "PodScheduled",
    "status": "False",
    "message": "0/3 nodes are available: 3 node(s) didn't match pod affinity rules.",
}
QUOTA = refused("PersistentVolumeClaim", "llama-models", "exceeded quota")

# What went wrong: the scene, the reason of Ready, words that have to be in its message.
NIGHT: dict[str, tuple[Scene, str, tuple[str, ...]]] = {
    "no GPU left": (
        Scene(pods=[unschedulable(GPU)], job="", claim={"phase": "Pending"}),
        "Unschedulable",
        ("pod llama-1", "nvidia.com/gpu", "set spec.gpu.count: 0 for CPU"),
    ),
    "no room": (
        Scene(pods=[unschedulable("0/3: 3 Insufficient memory.")]),
        "Unschedulable",
        ("lower spec.resources.requests.memory",),
    ),
    "tainted": (
        Scene(pods=[unschedulable("0/3: 3 node(s) had untolerated taint {a: b}.")]),
        "Unschedulable",
        ("spec.scheduling.tolerations",),
    ),
    "image": (
        Scene(image={"ollama": "x/y:1"}, pods=crashing("ImagePullBackOff", None, "Back-off x/y:1")),
        "ImagePullFailed",
        ("pod llama-1, container ollama", "spec.image.ollama", "Back-off x/y:1"),
    ),
    "default image": (
        Scene(pods=crashing("ErrImagePull")),
        "ImagePullFailed",
        ("reach the registry", "spec.image.pullSecrets"),
    ),
    "secret of the env": (
        Scene(pods=crashing("CreateContainerConfigError", None, "secret x not found")),
        "ContainerConfig",
        ("secret x not found",),
    ),
    "crash loop": (
        Scene(pods=crashing("CrashLoopBackOff", CRASH)),
        "CrashLoop",
        (
            "exit status 1",
            "Error: listen tcp: address in use",
            "kubectl -n team-a logs --previous llama-1 -c ollama",
        ),
    ),
    "crash loop, words lost": (
        Scene(pods=crashing("CrashLoopBackOff")),
        "CrashLoop",
        ("ends again and again",),
    ),
    "crash loop of the gate, without its Secret": (
        Scene(
            auth={"secretName": "mine"},
            pods=[server(containers=[waiting("gate", "CrashLoopBackOff", "", NO_TOKEN)])],
        ),
        "CrashLoop",
        ("container gate", "no token: none of the files", "your Secret mine", "spec.auth.tokens"),
    ),
    "evicted, and pulling again": (
        Scene(
            storage=EPHEMERAL,
            pods=[EVICTED, server(name="llama-2")],
            reports=told("Loading", "llama2:7b is being loaded", present=True, name="llama-2"),
        ),
        "Loading",
        ("pod llama-2", "pod llama-1 before it was evicted", "spec.storage.ephemeral.sizeLimit"),
    ),
    "evicted for memory": (
        Scene(pods=[evicted("The node was low on resource: memory."), server(name="llama-2")]),
        "Starting",
        ("pod llama-1 before it was evicted", "spec.resources.requests.memory"),
    ),
    "out of memory": (
        Scene(pods=crashing("CrashLoopBackOff", KILLED)),
        "OutOfMemory",
        ("raise spec.resources.limits.memory",),
    ),
    "out of memory, running again": (
        Scene(
            pods=[
                server(containers=[{"name": "gate", "lastState": {"terminated": KILLED}}]),
            ]
        ),
        "OutOfMemory",
        ("spec.gate.resources.limits.memory",),
    ),
    "no such model": (
        Scene(job="Failed", said=(json.dumps(NOT_FOUND), 3)),
        "ModelNotFound",
        ("llama9:1b", "file does not exist", "spec.models", "ollamaserve.dev/retry"),
    ),
    "disk full": (
        Scene(job="Failed", said=(json.dumps(DISK_FULL), 3)),
        "DiskFull",
        ("no space left", "raise spec.storage.persistent.size"),
    ),
    "pull failed, words lost": (Scene(job="Failed"), "PullFailed", ("failed", "retry")),
    "pull failed, words garbled": (
        Scene(job="Failed", said=("not JSON", 1)),
        "PullFailed",
        ("llama2:7b",),
    ),
    "pulling": (
        Scene(
            job="",
            puller={"phase": "Running"},
            pods=[server()],
            reports={
                "p": GateReport(mode="pull", models=(ModelReport("llama2:7b", pulled_percent=37),))
            },
        ),
        "Pulling",
        ("llama2:7b (37%)",),
    ),
    "pull's image": (
        Scene(job="", pods=[server()], puller={"containerStatuses": [NO_IMAGE]}),
        "ImagePullFailed",
        ("container pull", "Back-off gate:1"),
    ),
    "pull without a node": (
        Scene(job="", pods=[server()], puller={"conditions": [NOT_PLACED]}),
        "Pending",
        ("waits for the serving pod's node", "didn't match pod affinity rules"),
    ),
    "pull is repeated": (
        Scene(job="", pods=[server()], said=(json.dumps(RESET), 1)),
        "Pulling",
        ("connection reset", "repeated"),
    ),
    "not accelerated": (
        Scene(pods=[server()], reports=told("NotAccelerated", "nothing is in VRAM", present=True)),
        "NotAccelerated",
        ("pod llama-1", "VRAM", "spec.gpu.count: 0"),
    ),
    "loading": (
        Scene(pods=[server()], reports=told("Loading", "llama2:7b is loaded", present=True)),
        "Loading",
        ("pod llama-1", "llama2:7b"),
    ),
    "starting": (Scene(pods=[server()]), "Starting", ("pod llama-1 is starting",)),
    "creating": (
        Scene(pods=[server(phase="Pending", containers=[waiting("gate", "ContainerCreating")])]),
        "Pending",
        ("pod llama-1", "being created", "kubectl -n team-a describe pod llama-1"),
    ),
    "no claim": (
        Scene(pods=[], job="", claim=ABSENT, failures=[QUOTA]),
        "Refused",
        ("refuses PersistentVolumeClaim llama-models", "exceeded quota"),
    ),
    "no pod yet": (Scene(pods=[]), "Pending", ("being created",)),
    "suspended": (Scene(suspend=True, pods=[]), "Suspended", ("spec.suspend is true",)),
    "to zero": (Scene(replicas=0, pods=[]), "ScaledToZero", ("spec.replicas is 0",)),
    "claim": (
        Scene(pods=[server()], job="", claim={"phase": "Pending"}),
        "WaitingForBinding",
        ("llama-models", "kubectl -n team-a describe pvc", "none was the default"),
    ),
    "claim of a class that isn't there": (
        Scene(
            storage={"persistent": {"storageClassName": "fast"}},
            pods=[server()],
            job="",
            claim={"phase": "Pending"},
        ),
        "WaitingForBinding",
        ("kubectl get storageclass fast",),
    ),
    "volume lost": (Scene(claim={"phase": "Lost"}), "VolumeLost", ("delete the claim",)),
    "somebody's Service": (
        Scene(pods=[], failures=[conflict("Service", "llama")]),
        "NameConflict",
        ("Service llama exists", "give this resource another name"),
    ),
    "refused": (
        Scene(failures=[refused("Deployment", "llama", "exceeded quota")]),
        "Refused",
        ("Deployment llama", "exceeded quota"),
    ),
    "a pull without a pod": (
        Scene(job="", pods=[server()]),
        "Pending",
        ("no pod yet", "kubectl -n team-a describe jobs", "spec.pull.resources"),
    ),
    "draining": (
        Scene(pods=[leaving(server())]),
        "Draining",
        ("pod llama-1 finishes its requests", "120 s"),
    ),
    "no growth": (
        Scene(
            failures=[refused("PersistentVolumeClaim", "llama-models", "only dynamic")],
            asked="10Gi",
        ),
        "ExpansionNotSupported",
        ("from 10Gi to 30Gi", "only dynamic", "allowVolumeExpansion: true in its storage class"),
    ),
    "another class than the claim's": (
        Scene(failures=[refused("PersistentVolumeClaim", "llama-models", "spec is immutable")]),
        "Refused",
        ("there already", "spec is immutable", "storageClassName and accessMode"),
    ),
    "quota of pods": (
        Scene(
            pods=[],
            deployment={
                "conditions": [
                    {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
                ]
            },
        ),
        "ReplicaFailure",
        ("Deployment llama", "exceeded quota"),
    ),
    "rollout": (Scene(deployment={"observedGeneration": 0}), "RollingOut", ("being replaced",)),
    "gone from the volume": (
        Scene(reports=told("ModelsMissing")),
        "ModelsMissing",
        ("llama2:7b", "is pulled again soon"),
    ),
    "in the pod, failed": (
        Scene(
            storage=EPHEMERAL,
            pods=[server()],
            reports=told("PullFailed", "no luck", error="reset", failure="PullFailed"),
        ),
        "PullFailed",
        ("llama2:7b", "reset", "tries again"),
    ),
    "in the pod, given up": (
        Scene(
            storage=EPHEMERAL,
            pods=[server()],
            reports=told("PullFailed", error="no file", failure="ModelNotFound", given_up=True),
        ),
        "ModelNotFound",
        ("llama2:7b", "no file", "correct its name in spec.models", "ollamaserve.dev/retry"),
    ),
    "in the pod on a volume, given up": (
        Scene(
            pull={"strategy": "InPod"},
            pods=[server()],
            reports=told("PullFailed", error="no space", failure="DiskFull", given_up=True),
        ),
        "DiskFull",
        ("llama2:7b", "no space", "raise spec.storage.persistent.size"),
    ),
    "in the pod, its disk full": (
        Scene(
            storage=EPHEMERAL,
            pods=[server()],
            reports=told("PullFailed", error="no space", failure="DiskFull", given_up=True),
        ),
        "DiskFull",
        ("give its node more disk", "spec.storage.persistent"),
    ),
    "a user's volume full": (
        Scene(
            storage={"existingClaim": {"name": "mine"}},
            job="Failed",
            said=(json.dumps(DISK_FULL), 3),
        ),
        "DiskFull",
        ("make room on your claim mine",),
    ),
    "a broken custom model": (
        Scene(job="Failed", said=(json.dumps(BROKEN), 3)),
        "CreateFailed",
        ("ada", "template error", "correct spec.models[].create"),
    ),
    "in the pod, not loaded": (
        Scene(
            storage=EPHEMERAL,
            pods=[server()],
            reports=told("LoadFailed", "out of VRAM", present=True, error="out of VRAM"),
        ),
        "LoadFailed",
        ("pod llama-1", "out of VRAM"),
    ),
    "too little memory to load": (
        Scene(
            pods=[server()],
            reports=told("LoadFailed", "model requires more system memory (9.0 GiB)", present=True),
        ),
        "LoadFailed",
        ("9.0 GiB", "raise spec.resources.limits.memory"),
    ),
    "in the pod, pulling": (
        Scene(storage=EPHEMERAL, pods=[server()], reports=told("Pulling", pulled_percent=5)),
        "Pulling",
        ("llama2:7b (5%)",),
    ),
}


@pytest.mark.parametrize(("scene", "reason", "words"), NIGHT.values(), ids=NIGHT.keys())
def test_words_for_3_am(scene: Scene, reason: str, words: tuple[str, ...]) -> None:
    """Decision 17: Ready says which object, why, and what to do; Stalled where nothing heals it."""
    state, found, message = scene.ready()
    stalled = scene.conditions().get("Stalled")

    assert (state, found) == ("False", reason)
    for word in words:
        assert word in message
    heals = "tries again" in message  # a gate that pulls goes on by itself
    assert (stalled is not None) == (reason in PERMANENT and not heals)


def test_prompts_in_a_crash_stay_in_the_log() -> None:
    """Only the lines in which a program says why it ended get into a status."""
    scene, _, _ = NIGHT["crash loop"]

    assert "a prompt" not in json.dumps(scene.status())


def test_one_of_two_is_available_and_told() -> None:
    """A pod that answers makes it Available; the other one's trouble is still in the message."""
    storage = {"persistent": {"accessMode": "ReadWriteMany"}}
    second = unschedulable(GPU)
    second["metadata"] = {**second["metadata"], "name": "llama-2"}
    scene = Scene(replicas=2, storage=storage, pods=[server(ready=True), second])
    state, _, message = scene.ready()

    assert state == "True"
    assert "1 of 2 pods ready" in message
    assert "pod llama-2" in message


def test_a_refused_growth_hides_no_outage() -> None:
    """Decision 15: a volume that can't grow serves on; what else is amiss has the word."""
    found = Scene(
        failures=[refused("PersistentVolumeClaim", "llama-models", "only dynamic")],
        asked="10Gi",
        job="",
        puller={"phase": "Running"},
    ).conditions()

    assert found["Ready"]["reason"] == "Pulling"
    assert found["StorageReady"]["reason"] == found["Stalled"]["reason"] == "ExpansionNotSupported"


def test_adding_a_model_keeps_it_available() -> None:
    """Decision 4: Ready waits for the new model; Available says that the old one is served."""
    found = Scene(job="", puller={"phase": "Running"}).conditions()

    assert found["Ready"]["reason"] == "Pulling"
    assert found["Available"]["status"] == "True"


def test_suspended_after_a_pull_keeps_what_is_known() -> None:
    """Suspended isn't a failure: the models are still there, and nothing is loaded."""
    running = Scene()
    running.reports["llama-1"] = GateReport(
        models=(ModelReport("llama2:7b", present=True, digest="a" * 64, loaded=True),),
        device="gpu",
        vram_bytes=5,
    )
    before = running.status()
    job = running.bodies["Job"]
    asleep = Scene(suspend=True, pods=[])
    asleep.bodies["Job"] = job
    found = asleep.status(before)

    assert found["modelsSummary"] == "1/1"
    assert found["models"] == [
        {"name": "llama2:7b", "digest": "sha256:" + "a" * 64, "sizeBytes": 0}
    ]
    assert "acceleration" not in found
    assert before["acceleration"] == {"device": "gpu", "vramBytes": 5}


def test_failed_poll_changes_nothing() -> None:
    """Decision 5: Ready comes from pod readiness; a poll that fails takes nothing away."""
    scene = Scene()
    scene.reports["llama-1"] = GateReport(
        reason="Ready", models=(ModelReport("llama2:7b", present=True, size_bytes=9),), device="gpu"
    )
    before = scene.status()
    scene.reports.clear()

    assert scene.status(before) == before


def test_ready_pods_that_cannot_be_polled_have_their_models() -> None:
    """Decision 5: on a pod's own disk too, readiness is the truth and a report explains it."""
    scene = Scene(storage=EPHEMERAL)
    found = scene.status()
    scene.pods.append(server())
    scene.pods[-1]["metadata"]["name"] = "llama-2"

    assert scene.ready()[:2] == ("False", "Pulling")
    assert {c["type"]: c["status"] for c in found["conditions"]}["Ready"] == "True"
    assert found["modelsSummary"] == "1/1"


def test_summary_counts_what_was_known() -> None:
    """Decision 5: no report at hand, and a second model on its way: 1/2, not 0/2."""
    before = Scene(reports=told("Ready", present=True, size_bytes=9)).status()
    models = [{"name": "llama2:7b"}, {"name": "phi3"}]

    assert Scene(job="", models=models).status(before)["modelsSummary"] == "1/2"


def test_another_digest_than_the_pinned_one_is_not_counted() -> None:
    """A tag that moved: what is there is listed as it is, and is not the model asked for."""
    pin, other = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
    models = [{"name": "llama2:7b", "digest": pin}]
    moved = Scene(job="Failed", models=models, reports=told("Ready", present=True, digest=other))
    found = moved.status()

    assert found["modelsSummary"] == "0/1"
    assert found["models"][0]["digest"] == other
    kept = Scene(job="", models=models, reports=told("Ready", present=True, digest=pin))
    assert kept.status()["modelsSummary"] == "1/1"


def test_in_the_pod_a_pin_is_looked_at() -> None:
    """Decision 5: on a pod's own disk, another model under the name is none."""
    models = [{"name": "llama2:7b", "digest": f"sha256:{'a' * 64}"}]
    reports = told("DigestMismatch", present=True, digest=f"sha256:{'b' * 64}")
    scene = Scene(storage=EPHEMERAL, models=models, reports=reports, pods=[server()])

    assert scene.conditions()["ModelsPulled"]["status"] == "False"


def test_claim_that_is_being_deleted_is_told() -> None:
    """Decision 17: a claim deleted by hand lives on while pods use it; a person has to act."""
    scene = Scene()
    metadata = scene.bodies["PersistentVolumeClaim"]["metadata"]
    metadata["deletionTimestamp"] = "2026-03-04T05:06:07Z"
    state, reason, message = scene.ready()

    assert (state, reason) == ("False", "VolumeLost")
    assert "PersistentVolumeClaim llama-models is being deleted" in message
    assert "spec.suspend: true" in message
    assert "Stalled" in scene.conditions()


def test_what_is_left_of_an_evicted_pod_is_no_replica() -> None:
    """Its object stays until somebody deletes it, and says nothing while another one serves."""
    scene = Scene(pods=[EVICTED, server(ready=True, name="llama-2")])
    found = scene.status()

    assert (found["replicas"], found["readyReplicas"]) == (1, 1)
    assert scene.ready() == ("True", "Ready", "1 of 1 pods ready")


def test_the_claims_own_size_is_told() -> None:
    """Decision 15: below what the claim asks for, spec.storage can't go; the CRD looks at this."""
    refusal = refused("PersistentVolumeClaim", "llama-models", "only dynamic")
    grown = Scene(failures=[refusal], asked="10Gi").status()
    larger = Scene(asked="40Gi", claim={"capacity": {"storage": "40Gi"}})

    assert grown["volumeSize"] == "10Gi"
    assert "volumeSize" not in Scene(storage=EPHEMERAL).status()
    assert "never shrinks" in larger.conditions()["StorageReady"]["message"]


def test_the_endpoint_is_as_the_gate_serves_it() -> None:
    """G7: with a certificate the door speaks TLS and nothing else."""
    scene = Scene(gate={"tls": {"secretName": "cert"}})

    assert scene.status()["endpoint"] == "https://llama.team-a.svc:7860"


def test_slowest_device_is_told() -> None:
    """`acceleration` is that of the worst pod."""
    scene = Scene()
    scene.reports["a"] = GateReport(device="gpu", vram_bytes=7)
    scene.reports["b"] = GateReport(device="partial", vram_bytes=3)
    scene.reports["c"] = GateReport()

    assert scene.status()["acceleration"] == {"device": "partial", "vramBytes": 7}


def test_invalid_spec_is_told_and_the_rest_is_kept() -> None:
    """An object that can't be parsed: Accepted and Ready are False, children stay as they were."""
    body = resource()
    before = Scene().status()
    invalid = Invalid(parsed(body).identity, ("spec.models is empty: name at least one model",))
    found = status.status(invalid, Observed(at=NOW), (), before)
    judged = {c["type"]: (c["status"], c["reason"]) for c in found["conditions"]}

    assert judged["Accepted"] == judged["Ready"] == ("False", "InvalidSpec")
    assert judged["Stalled"] == ("True", "InvalidSpec")
    assert judged["Available"] == ("True", "Available")
    assert found["endpoint"] == before["endpoint"]
    assert status.requeue(invalid, found) == status.SETTLED


def test_transient_failure_is_no_condition() -> None:
    """What is tried again in a moment is the queue's matter."""
    scene = Scene()
    before = scene.status()
    scene.failures.append(StepFailure("Service", "llama", Transient("timeout")))

    assert scene.status() == before


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("pulling", 2),
        ("loading", 2),
        ("no GPU left", 60),
        ("creating", 60),
        ("rollout", 2),
        ("suspended", 60),
        ("no such model", 60),
    ],
)
def test_when_to_look_again(name: str, seconds: float) -> None:
    """Soon while pods are at work, rarely where only a person or a spec can change things."""
    scene, _, _ = NIGHT[name]

    assert status.requeue(scene.serve, scene.status()) == seconds


SCENES = st.sampled_from([*NIGHT.values()]).map(lambda entry: entry[0]) | st.builds(Scene)
LATER = timedelta(minutes=1)


def at(scene: Scene, previous: Mapping[str, Any], when: timedelta) -> Mapping[str, Any]:
    seen = replace(scene.observed, at=NOW + when)
    return status.status(scene.serve, seen, scene.failures, previous)


@given(scene=SCENES)
def test_law_same_input_same_output(scene: Scene) -> None:
    """Pure; and a second look at the same world changes nothing, at any later time."""
    first = scene.status()

    assert scene.status() == first
    assert at(scene, first, LATER) == first


@given(one=SCENES, two=SCENES)
def test_law_transition_time_moves_with_the_status_only(one: Scene, two: Scene) -> None:
    """T15: nothing sticks; lastTransitionTime is new exactly where `status` flipped."""
    before = one.status()
    after = at(two, before, LATER)
    was = {c["type"]: c for c in before["conditions"]}
    for condition in after["conditions"]:
        old = was.get(condition["type"])
        flipped = old is None or old["status"] != condition["status"]
        moved = old is None or old["lastTransitionTime"] != condition["lastTransitionTime"]
        assert moved == flipped


@given(one=SCENES, two=SCENES)
def test_law_nothing_is_sticky(one: Scene, two: Scene) -> None:
    """T15: conditions depend on what is observed now, not on what was said before."""

    def judged(found: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
        return [(c["type"], c["status"], c["reason"], c["message"]) for c in found["conditions"]]

    assert judged(two.status(one.status())) == judged(two.status())


@given(scene=SCENES)
def test_law_ready_is_the_summary(scene: Scene) -> None:
    """Ready is True only where every other condition is; else it has the words of one of them."""
    found = scene.conditions()
    others = [found[kind] for kind in ("Accepted", "StorageReady", "ModelsPulled", "Available")]
    if found["Ready"]["status"] == "True":
        assert all(c["status"] == "True" for c in others)
    elif found["Ready"]["reason"] != Reason.ROLLING_OUT:
        bad = {(c["reason"], c["message"]) for c in others if c["status"] != "True"}
        assert (found["Ready"]["reason"], found["Ready"]["message"]) in bad


SEEN = st.sampled_from(
    [
        told("Ready", present=True, size_bytes=9, loaded=True),
        told("Ready", "serving; meanwhile: it isn't loaded", present=True, size_bytes=9),
        told("Loading", present=True),
        told("Pulling", pulled_percent=3),
        told("ModelsMissing"),
    ]
)


@given(
    reports=SEEN,
    storage=st.sampled_from([EPHEMERAL, {"persistent": {}}, {"existingClaim": {"name": "mine"}}]),
    ready=st.booleans(),
)
def test_law_a_poll_that_fails_takes_nothing_away(
    reports: dict[str, GateReport], storage: Body, ready: bool
) -> None:
    """Decision 5: without its reports what was Ready is so still, and its models stay."""
    scene = Scene(storage=storage, reports=reports, pods=[server(ready=ready)])
    before, was = scene.status(), scene.ready()[0]
    scene.reports = {}
    after = scene.status(before)

    assert scene.ready()[0] == "True" or was == "False"
    if was == "True":
        assert after["models"] == before["models"]
        assert after["modelsSummary"] == before["modelsSummary"]


@given(
    scene=SCENES, value=st.sampled_from(["", "1"]), kind=st.sampled_from(["NodePort", "ClusterIP"])
)
def test_law_notices_touch_no_summary(scene: Scene, value: str, kind: str) -> None:
    """A rotation, a waiting upgrade, a door without TLS: Ready and Stalled speak of none."""
    noticed = copy.copy(scene)
    noticed.serve = replace(scene.serve, rotate=value, service=api.Service(type=kind))
    newer = replace(IMAGES, gate="example.com/gate:2")
    found = status.status(noticed.serve, noticed.observed, noticed.failures, {}, newer)
    quiet = {c["type"]: c for c in scene.status()["conditions"]}

    for condition in found["conditions"]:
        if condition["type"] in quiet:
            assert condition == quiet[condition["type"]]
        else:
            assert condition["type"] in {"TokensRotated", "UpgradePending", "Unencrypted"}


@given(scene=SCENES, text=st.text(max_size=5000))
def test_law_messages_are_one_bounded_line(scene: Scene, text: str) -> None:
    """Whatever others say, a message stays one line and within the schema."""
    scene = copy.copy(scene)
    scene.failures = [StepFailure("Service", "x", Refused("Service", "x", text))]
    for condition in scene.status()["conditions"]:
        assert len(condition["message"]) <= LONGEST_MESSAGE
        assert "\n" not in condition["message"]
        assert condition["reason"]


@given(one=SCENES, two=SCENES)
def test_law_events_tell_what_is_new(one: Scene, two: Scene) -> None:
    """An event for a changed status or another alarming reason; the same twice says nothing."""
    before, after = one.status(), two.status()
    was = {b["type"]: (b["status"], b["reason"]) for b in before["conditions"]}
    new = {
        c["reason"]
        for c in after["conditions"]
        if was.get(c["type"], ("", ""))[0] != c["status"]
        or (was[c["type"]][1] != c["reason"] and c["reason"] in ALARMING)
    }
    told = status.flips(before, after)

    assert status.flips(after, after) == ()
    assert {event.reason for event in told} <= new
    assert new & ALARMING <= {event.reason for event in told}
    for event in told:
        assert event.type == ("Warning" if event.reason in ALARMING else "Normal")


def test_first_events_are_news() -> None:
    """At the first look: what is good, and what alarms; not all that isn't there yet."""
    quiet = status.flips({}, Scene(job="", pods=[server()]).status())
    loud = status.flips({}, NIGHT["no GPU left"][0].status())

    assert {event.reason for event in quiet} == {"Accepted", "Bound"}
    assert "Unschedulable" in {event.reason for event in loud if event.type == "Warning"}


def test_one_cause_is_one_event() -> None:
    """Ready and Stalled repeat the words of the condition that is the cause: told once."""
    events = status.flips(Scene().status(), NIGHT["volume lost"][0].status())

    assert [(event.type, event.reason) for event in events] == [("Warning", "VolumeLost")]


def test_another_alarming_reason_is_news() -> None:
    """From Pulling to a failed pull nothing flips, and yet a person has to act."""
    before = NIGHT["pulling"][0].status()
    events = status.flips(before, NIGHT["no such model"][0].status(before))
    back = status.flips(NIGHT["no such model"][0].status(), before)

    assert ("Warning", "ModelNotFound") in {(event.type, event.reason) for event in events}
    assert {event.type for event in back} <= {"Normal"}


def test_recovery_is_told_once() -> None:
    """From Stalled to Ready: the good news is Normal, and Stalled is gone."""
    before = NIGHT["no such model"][0].status()
    after = Scene().status(before)
    events = status.flips(before, after)

    assert {(event.type, event.reason) for event in events} >= {("Normal", "Ready")}
    assert all(c["type"] != ConditionType.STALLED for c in after["conditions"])


def test_parsed_serve_is_what_status_takes() -> None:
    """The types meet: parse's two answers are status's first argument."""
    for body in (resource(), resource(models=[])):
        serve = api.parse(body)
        assert isinstance(serve, OllamaServe | Invalid)
        assert status.status(serve, Observed(at=NOW), (), {})["conditions"]
