"""A pod as facts: where it is, which containers wait and why, and how they last ended.

Pure; `observed` makes them from raw bodies, `trouble` puts them into words.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ollamaserve_operator import names


@dataclass(frozen=True, slots=True)
class Waiting:
    """A container that doesn't run, and kubelet's reason: `ImagePullBackOff` and the like."""

    container: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Termination:
    """How a container last ended; `message` is its termination message."""

    container: str
    exit_code: int
    reason: str
    message: str
    restarts: int


@dataclass(frozen=True, slots=True)
class Pod:
    """`unschedulable` is the scheduler's message, empty where it has placed the pod.

    `evicted` is kubelet's message where it has thrown the pod out.
    """

    name: str
    uid: str
    component: str
    job: str
    phase: str
    ip: str
    ready: bool
    deleting: bool
    created: str
    unschedulable: str
    waiting: tuple[Waiting, ...]
    terminations: tuple[Termination, ...]
    evicted: str = ""

    @property
    def ended(self) -> bool:
        """Whether none of its containers will ever run again."""
        return self.phase in {"Failed", "Succeeded"}


def pod(body: Mapping[str, Any]) -> Pod:
    metadata, status = body["metadata"], body.get("status") or {}
    labels = metadata.get("labels") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled", {})
    containers = tuple(_containers(status))
    return Pod(
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        component=labels.get(names.COMPONENT, ""),
        job=labels.get("batch.kubernetes.io/job-name", ""),
        phase=status.get("phase", "Pending"),
        ip=status.get("podIP", ""),
        ready=conditions.get("Ready", {}).get("status") == "True",
        deleting="deletionTimestamp" in metadata,
        created=metadata.get("creationTimestamp") or "",
        unschedulable=scheduled.get("message", "") if scheduled.get("status") == "False" else "",
        waiting=tuple(w for c in containers for w in _waiting(c)),
        terminations=tuple(t for c in containers for t in _termination(c)),
        evicted=status.get("message", "") if status.get("reason") == "Evicted" else "",
    )


def _containers(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def _waiting(container: Mapping[str, Any]) -> Iterator[Waiting]:
    waiting = (container.get("state") or {}).get("waiting")
    if waiting:
        yield Waiting(container["name"], waiting.get("reason", ""), waiting.get("message", ""))


def _termination(container: Mapping[str, Any]) -> Iterator[Termination]:
    now = (container.get("state") or {}).get("terminated")
    ended = now or (container.get("lastState") or {}).get("terminated")
    if ended:
        yield Termination(
            container=container["name"],
            exit_code=ended.get("exitCode", 0),
            reason=ended.get("reason", ""),
            message=ended.get("message", ""),
            restarts=container.get("restartCount", 0),
        )
