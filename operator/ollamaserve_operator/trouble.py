"""Why a pod isn't ready, in words that name it, the cause and the remedy.

Pure. The scheduler's and kubelet's own words are quoted; what to do about them is added here.
"""

import re

from ollamaserve_operator import names
from ollamaserve_operator.api import OllamaServe
from ollamaserve_operator.judgement import Finding, bad
from ollamaserve_operator.pod import Pod, Termination, Waiting
from ollamaserve_operator.reasons import Reason
from ollamaserve_operator.report import GateReport

_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_CRASH = frozenset({"CrashLoopBackOff"})
# Only lines in which a program says why it ended: no other line of a log may get into a status.
_LAST_WORDS = re.compile(
    r"^(?:Error: |panic: |fatal error: |ollamaserve_sidecar: ).*", re.MULTILINE
)


def trouble(pod: Pod, report: GateReport | None, serve: OllamaServe) -> Finding:
    """The cause nearest to the root: placement, images, crashes, then what the gate reports."""
    found = placement_trouble(pod, serve)
    if found:
        return found
    killed = next((t for t in pod.terminations if t.reason == "OOMKilled"), None)
    if killed:
        return _out_of_memory(pod, killed)
    if pod.phase == "Pending":
        return starting(pod, serve, *_mounted(serve))
    if report is None or not report.reason:
        return bad(Reason.STARTING, f"pod {pod.name} is starting")
    return _reported(pod, report)


def starting(pod: Pod, serve: OllamaServe, *needs: str) -> Finding:
    """`needs` are what kubelet waits for, for as long as it takes: no state of the pod tells."""
    words = f"; it needs {' and '.join(needs)}" if needs else ""
    return bad(
        Reason.PENDING,
        f"pod {pod.name} is starting: its containers are being created{words}; if it stays so, "
        f"kubectl -n {serve.namespace} describe pod {pod.name} says why",
    )


def certificates(serve: OllamaServe) -> tuple[str, ...]:
    """What whoever pulls has mounted of the user's."""
    bundle = serve.pull.ca_bundle
    return (f"ConfigMap {bundle.name}",) if bundle else ()


def _mounted(serve: OllamaServe) -> tuple[str, ...]:
    secret = serve.gate.tls.secret_name
    tls = (f"Secret {secret}",) if secret else ()
    return tls + (certificates(serve) if serve.pulls_in_pod else ())


def placement_trouble(pod: Pod, serve: OllamaServe) -> Finding | None:
    """What keeps a pod from running at all."""
    if pod.unschedulable:
        return _unschedulable(pod, serve)
    found = (_waiting(pod, waiting, serve) for waiting in pod.waiting)
    return next((finding for finding in found if finding), None)


def _unschedulable(pod: Pod, serve: OllamaServe) -> Finding:
    claim = names.mounted_claim(serve)
    remedies = [
        remedy
        for words, remedy in (
            (
                f"Insufficient {serve.gpu.resource}",
                "add a node with a free GPU, or set spec.gpu.count: 0 for CPU",
            ),
            ("Insufficient cpu", "lower spec.resources.requests.cpu"),
            ("Insufficient memory", "lower spec.resources.requests.memory"),
            ("untolerated taint", "add to spec.scheduling.tolerations"),
            ("didn't match Pod's node affinity/selector", "check spec.scheduling.nodeSelector"),
            (
                "PersistentVolumeClaim",
                f"see kubectl -n {serve.namespace} describe pvc {claim}",
            ),
            ('persistentvolumeclaim "', f"see kubectl -n {serve.namespace} get pvc {claim}"),
            ("volume node affinity conflict", "free a node in reach of the volume"),
        )
        if words in pod.unschedulable
    ]
    advice = f": {'; '.join(remedies)}" if remedies else ""
    return bad(
        Reason.UNSCHEDULABLE,
        f"pod {pod.name} can't be placed on a node{advice} (scheduler: {pod.unschedulable})",
    )


def _waiting(pod: Pod, waiting: Waiting, serve: OllamaServe) -> Finding | None:
    where = f"pod {pod.name}, container {waiting.container}"
    if waiting.reason in _IMAGE:
        asked = serve.image.ollama if waiting.container == names.OLLAMA_CONTAINER else ""
        advice = (
            "check spec.image.ollama and spec.image.pullSecrets"
            if asked
            else ("check that the nodes reach the registry, and spec.image.pullSecrets")
        )
        return bad(
            Reason.IMAGE_PULL_FAILED,
            f"{where}: its image can't be pulled; {advice} ({waiting.reason}: {waiting.message})",
        )
    if waiting.reason in _CONFIG:
        return bad(Reason.CONTAINER_CONFIG, f"{where}: {waiting.reason}: {waiting.message}")
    if waiting.reason in _CRASH:
        return _crashing(pod, waiting, where, serve)
    return None


def _crashing(pod: Pod, waiting: Waiting, where: str, serve: OllamaServe) -> Finding:
    last = next((t for t in pod.terminations if t.container == waiting.container), None)
    if last is None:
        return bad(Reason.CRASH_LOOP, f"{where} ends again and again")
    if last.reason == "OOMKilled":
        return _out_of_memory(pod, last)
    said = _LAST_WORDS.findall(last.message)
    words = f": {said[-1][:300]}" if said else ""
    own = serve.auth.secret_name if waiting.container == names.GATE_CONTAINER else ""
    advice = f"; check that your Secret {own} has the keys of spec.auth.tokens" if own else ""
    return bad(
        Reason.CRASH_LOOP,
        f"{where} ended {last.restarts} times, last with exit status {last.exit_code}{words}"
        f"{advice}; see kubectl -n {serve.namespace} logs --previous {pod.name} "
        f"-c {waiting.container}",
    )


def _out_of_memory(pod: Pod, last: Termination) -> Finding:
    field = (
        "spec.resources.limits.memory"
        if last.container == names.OLLAMA_CONTAINER
        else "spec.gate.resources.limits.memory"
    )
    return bad(
        Reason.OUT_OF_MEMORY,
        f"pod {pod.name}, container {last.container} was killed for its memory: raise {field}, "
        "or serve a smaller model",
    )


def eviction(pod: Pod) -> str:
    """Why kubelet threw a pod out, and what to do so that the next one stays."""
    remedies = (
        ('EmptyDir volume "models"', "raise spec.storage.ephemeral.sizeLimit"),
        ("memory", "set spec.resources.requests.memory to what it needs"),
        ("ephemeral-storage", "give the node more disk, or keep models on a volume"),
    )
    advice = next((f"; {what}" for words, what in remedies if words in pod.evicted), "")
    return f"pod {pod.name} before it was evicted ({pod.evicted.strip()}){advice}"


REPORTED = {
    "OllamaUnreachable": (Reason.STARTING, "waits for Ollama"),
    "ModelsMissing": (Reason.MODELS_MISSING, "waits for its models"),
    "DigestMismatch": (Reason.DIGEST_MISMATCH, "update spec.models[].digest, or pull what it pins"),
    "Pulling": (Reason.PULLING, "pulls"),
    "PullFailed": (Reason.PULL_FAILED, "check spec.models and spec.pull"),
    "Loading": (Reason.LOADING, "loads its models"),
    "LoadFailed": (Reason.LOAD_FAILED, "see kubectl logs -c ollama"),
    "NotAccelerated": (
        Reason.NOT_ACCELERATED,
        "check the GPU driver on its node, or set spec.gpu.count: 0 to run on the CPU",
    ),
    "Draining": (Reason.DRAINING, "finishes its requests and stops"),
}


def _reported(pod: Pod, report: GateReport) -> Finding:
    reason, advice = REPORTED.get(report.reason, (Reason.STARTING, "is starting"))
    if reason is Reason.LOAD_FAILED and "memory" in report.message:
        advice = "raise spec.resources.limits.memory, or serve a smaller model"
    said = report.message.rstrip(".")
    words = f"pod {pod.name}: {said}; {advice}" if said else f"pod {pod.name} {advice}"
    return bad(reason, words, heals=reason is Reason.PULL_FAILED)  # a gate that pulls goes on
