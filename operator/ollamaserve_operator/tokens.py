"""The bodies in which token values cross the border: what is written into our Secret, and no more.

Pure: `cluster` makes the random parts, sends these and forgets them. Tokens are in no apply body,
no cache and no log (decision 1, G6).
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

from ollamaserve_operator import names
from ollamaserve_operator.plan import Issue, Offer, Promote

Body = dict[str, Any]


def issued(step: Issue, values: Mapping[str, str]) -> Body:
    """A merge patch: `values` are the new tokens by key."""
    metadata = {"annotations": dict(step.annotations)}
    return {"metadata": _seen(step) | metadata, "stringData": dict(values)}


def offered(step: Offer, values: Mapping[str, str], revision: str) -> Body:
    """A merge patch: `values` are the next tokens by key, `revision` any id that is new."""
    annotations = {
        names.OFFERED: step.rotation,
        names.OFFERED_AT: step.at,
        names.TOKEN_REVISION: revision,
    }
    data = {key + names.NEXT: value for key, value in values.items()}
    return {
        "metadata": _seen(step) | {"annotations": annotations},
        "stringData": data | {names.REVISION_KEY: revision},
    }


def promoted(step: Promote, live: Mapping[str, Any], revision: str) -> Body | None:
    """A merge patch for the Secret as it is `live`; None where it isn't the one that was seen.

    A key that was revoked meanwhile gets no new token, and loses the one that was offered.
    """
    metadata, data = live["metadata"], live.get("data") or {}
    if metadata["uid"] != step.uid or _offer(metadata) != step.rotation:
        return None
    keys = [key for key in step.keys if key in data]
    if any(key + names.NEXT not in data for key in keys):
        return None
    annotations = {
        names.ROTATED: step.rotation,
        names.OFFERED: None,
        names.OFFERED_AT: None,
        names.TOKEN_REVISION: revision,
    }
    changed = {
        **{key + names.NEXT: None for key in step.keys},
        **{key: data[key + names.NEXT] for key in keys},
        **{key + names.PREVIOUS: _previous(data[key], step.not_after) for key in keys},
        names.REVISION_KEY: _encoded(revision),
    }
    seen = {"uid": step.uid, "resourceVersion": metadata["resourceVersion"]}
    return {"metadata": seen | {"annotations": annotations}, "data": changed}


def _seen(step: Issue | Offer) -> Body:
    return {"uid": step.uid, "resourceVersion": step.resource_version}


def _offer(metadata: Mapping[str, Any]) -> str | None:
    return (metadata.get("annotations") or {}).get(names.OFFERED)


def _previous(value: str, not_after: str) -> str | None:
    """G5: `{"token", "notAfter"}`. What no gate can have taken as a token isn't kept as one."""
    token = base64.b64decode(value).removesuffix(b"\n").removesuffix(b"\r")
    if not not_after or not token.isascii():
        return None
    return _encoded(json.dumps({"token": token.decode("ascii"), "notAfter": not_after}))


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
