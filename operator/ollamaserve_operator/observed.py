"""The cluster as frozen facts, projected from raw bodies at one moment.

`slim` is what the cache keeps of a body: never a Secret's values, never managedFields. `observe` makes
the facts that `manifests`, `plan` and `status` decide on; those rooms see no raw event.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ollamaserve_operator.report import GateReport


@dataclass(frozen=True, slots=True)
class Child:
    """An object that exists; `owner_uid` is its controller's, empty where it has none."""

    kind: str
    name: str
    uid: str
    resource_version: str
    owner_uid: str
    deleting: bool
    body: Mapping[str, Any] = field(repr=False)


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
    waiting: tuple[tuple[str, str, str], ...]
    terminations: tuple[Termination, ...]


@dataclass(frozen=True, slots=True)
class Job:
    child: Child
    pull_key: str
    attempt: int
    complete: bool
    failed: bool
    failure: str
    finished: datetime | None


@dataclass(frozen=True, slots=True)
class Observed:
    """`reports` are keyed by pod name; `at` is when all this was seen (timezone-aware)."""

    at: datetime
    secret: Child | None = None
    config_map: Child | None = None
    pvc: Child | None = None
    deployment: Child | None = None
    service: Child | None = None
    jobs: tuple[Job, ...] = ()
    pods: tuple[Pod, ...] = ()
    reports: Mapping[str, GateReport] = field(default_factory=dict)


def slim(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """A body without what no room reads; a Secret keeps its keys and loses their values."""
    raise NotImplementedError


def observe(
    bodies: Iterable[Mapping[str, Any]],
    *,
    at: datetime,
    reports: Mapping[str, GateReport] | None = None,
) -> Observed:
    """The facts in the bodies of one resource's children and pods."""
    raise NotImplementedError
