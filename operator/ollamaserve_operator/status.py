"""What a resource's status says, from what was observed: the words for 3 a.m.

Pure: same input, same output. The whole status is computed anew each time, so nothing is sticky;
only `lastTransitionTime` is taken from the previous one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ollamaserve_operator.api import Invalid, OllamaServe
from ollamaserve_operator.errors import StepFailure
from ollamaserve_operator.observed import Observed


@dataclass(frozen=True, slots=True)
class Event:
    """A flip of a condition, for a core/v1 Event; `type` is Normal or Warning."""

    type: str
    reason: str
    message: str


def status(
    serve: OllamaServe | Invalid,
    observed: Observed,
    failures: Sequence[StepFailure],
    previous: Mapping[str, Any],
) -> Mapping[str, Any]:
    """The whole `status`; times in it are `observed.at`, RFC 3339 in seconds."""
    raise NotImplementedError


def flips(previous: Mapping[str, Any], current: Mapping[str, Any]) -> tuple[Event, ...]:
    """The conditions whose status changed; post them after the status write succeeded."""
    raise NotImplementedError


def requeue(serve: OllamaServe | Invalid, current: Mapping[str, Any]) -> float:
    """Seconds until it is worth looking again without an event."""
    raise NotImplementedError
