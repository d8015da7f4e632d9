"""The body of an Event about a resource, as `events.k8s.io/v1` wants it. Pure."""

from datetime import datetime
from typing import Any

from ollamaserve_operator import kinds, names
from ollamaserve_operator.api import Identity
from ollamaserve_operator.status import Event

LONGEST_NOTE = 1024  # bytes (Kubernetes API reference, Event v1: note)


def announcement(identity: Identity, event: Event, at: datetime, suffix: str) -> dict[str, Any]:
    """`suffix` makes the name unique; `at` is timezone-aware."""
    regarding = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "namespace": identity.namespace,
        "name": identity.name,
        "uid": identity.uid,
    }
    return {
        "apiVersion": kinds.EVENT.api_version,
        "kind": kinds.EVENT.name,
        "metadata": {"name": f"{identity.name}.{suffix}", "namespace": identity.namespace},
        "eventTime": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "type": event.type,
        "reason": event.reason,
        "note": event.message.encode()[:LONGEST_NOTE].decode(errors="ignore"),
        "action": "Reconcile",
        "regarding": regarding,
        "reportingController": f"{names.GROUP}/operator",
        "reportingInstance": names.FIELD_MANAGER,
    }
