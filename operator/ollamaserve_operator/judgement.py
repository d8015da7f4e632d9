"""Conditions as values: a finding about one aspect, and how findings make the summary Ready.

The declaration of types with their weights is all the logic that Ready has (after Flux's
summarize): what a person must act on outranks what time may heal, then the aspect nearer to the
cause wins.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from ollamaserve_operator.reasons import ConditionType, Reason

LONGEST_MESSAGE = 1000


class Status(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of one aspect; `message` says which object, why, and what to do.

    `heals` where somebody is trying again already: never Stalled, whatever the reason.
    """

    status: Status
    reason: Reason
    message: str
    heals: bool = False


# (aspect, weight): the heavier one is the nearer cause. Rollout is judged, and told as Ready only.
ROLLOUT = "Rollout"
WEIGHTS: tuple[tuple[str, int], ...] = (
    (ConditionType.ACCEPTED, 5),
    (ConditionType.STORAGE_READY, 4),
    (ConditionType.MODELS_PULLED, 3),
    (ConditionType.AVAILABLE, 2),
    (ROLLOUT, 1),
)

# Nothing but a changed spec, or a person, can help: Stalled.
PERMANENT = frozenset(
    {
        Reason.INVALID_SPEC,
        Reason.NAME_CONFLICT,
        Reason.PATCH_REFUSED,
        Reason.REFUSED,
        Reason.EXPANSION_NOT_SUPPORTED,
        Reason.VOLUME_LOST,
        Reason.PULL_FAILED,
        Reason.MODEL_NOT_FOUND,
        Reason.PULL_DENIED,
        Reason.DIGEST_MISMATCH,
        Reason.DISK_FULL,
        Reason.CREATE_FAILED,
        Reason.INVALID_CONFIGURATION,
    }
)

# Something may change by itself (a node comes, a registry is back), yet a person should know.
ALARMING = PERMANENT | {
    Reason.UNSCHEDULABLE,
    Reason.IMAGE_PULL_FAILED,
    Reason.CONTAINER_CONFIG,
    Reason.CRASH_LOOP,
    Reason.OUT_OF_MEMORY,
    Reason.NOT_ACCELERATED,
    Reason.LOAD_FAILED,
    Reason.REPLICA_FAILURE,
    Reason.NOT_OURS,
    Reason.NO_TLS,
}

# What serves goes on all the same: told as Ready's reason only where nothing else is amiss.
HARMLESS = frozenset({Reason.EXPANSION_NOT_SUPPORTED})

# Asked for: told at once, alarming nobody.
WANTED = frozenset({Reason.SUSPENDED, Reason.SCALED_TO_ZERO})


def good(reason: Reason, message: str) -> Finding:
    return Finding(Status.TRUE, reason, message)


def bad(reason: Reason, message: str, *, heals: bool = False) -> Finding:
    return Finding(Status.FALSE, reason, message, heals)


def unknown(reason: Reason, message: str) -> Finding:
    return Finding(Status.UNKNOWN, reason, message)


def summary(findings: Mapping[str, Finding]) -> Finding:
    """Ready: True if every aspect is; else the words of the one that matters most."""
    in_the_way = [
        (_rank(finding.reason), weight, finding)
        for kind, weight in WEIGHTS
        if (finding := findings[kind]).status is not Status.TRUE
    ]
    if not in_the_way:
        return good(Reason.READY, _ready(findings))
    _, _, worst = max(in_the_way, key=lambda entry: entry[:2])
    return bad(worst.reason, worst.message, heals=worst.heals)


def _ready(findings: Mapping[str, Finding]) -> str:
    """How many pods; and what was asked for that no pod needs, where it is still missing."""
    accepted, pods = findings[ConditionType.ACCEPTED], findings[ConditionType.AVAILABLE].message
    return f"{pods}; {accepted.message}" if accepted.reason is Reason.KIND_MISSING else pods


def _rank(reason: Reason) -> int:
    """How much a reason matters before its aspect counts: harmless, passing, alarming or wanted."""
    if reason in HARMLESS:
        return 0
    return 2 if reason in ALARMING | WANTED else 1


def stalled(findings: Iterable[Finding]) -> Finding | None:
    """What will not pass by itself; None, and no condition at all, where nothing is such."""
    return next(
        (
            Finding(Status.TRUE, finding.reason, finding.message)
            for finding in findings
            if finding.status is Status.FALSE and finding.reason in PERMANENT and not finding.heals
        ),
        None,
    )


def condition(
    kind: str, finding: Finding, *, generation: int, previous: Mapping[str, Any], at: datetime
) -> dict[str, Any]:
    """A condition as the API has it; `lastTransitionTime` moves only when `status` flips."""
    same = previous.get("status") == finding.status
    since = previous.get("lastTransitionTime") if same else None
    return {
        "type": str(kind),
        "status": finding.status.value,
        "reason": finding.reason.value,
        "message": bounded(finding.message),
        "lastTransitionTime": since or at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "observedGeneration": generation,
    }


def bounded(message: str) -> str:
    """One line of at most LONGEST_MESSAGE characters."""
    line = " ".join(message.split())
    return line if len(line) <= LONGEST_MESSAGE else line[: LONGEST_MESSAGE - 1] + "…"
