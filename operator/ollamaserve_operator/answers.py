"""What the API server's answers mean to us: each refusal is translated here, and nowhere else.

Pure. The words are those of a `metav1.Status` (Kubernetes API conventions, "Response Status Kind").
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from ollamaserve_operator.errors import Refused, Transient

LONGEST_MESSAGE = 400
LONGEST_WAIT = 300.0
# How an apply with an unknown field, or a value of another type, is refused, with code 500: only
# the spec's patches can ask for such a thing (structured-merge-diff's words, as of v1.34).
_UNTYPED = "failed to create typed patch object"


class Outdated(Transient):
    """The object isn't the one that was observed: look again, live, and plan anew."""


def status_of(body: bytes) -> Mapping[str, Any]:
    """The Status object of an answer; empty where a proxy in between spoke instead."""
    try:
        parsed = json.loads(body)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def error(
    code: int, headers: Mapping[str, str], body: bytes, *, kind: str, name: str
) -> Transient | Refused:
    """The error in an answer whose code isn't 2xx."""
    message = _message(code, status_of(body), kind)
    if code in {HTTPStatus.CONFLICT, HTTPStatus.GONE} or _another(code, body):
        return Outdated(message)
    if _will_never_do(code) or message.startswith(_UNTYPED):
        return Refused(kind, name, message)
    return Transient(message, _retry_after(headers))


def vanishing(code: int, body: bytes) -> bool:
    """Whether the whole namespace is gone or going: nothing is left to do then.

    The namespace lifecycle admission answers 403 with the cause `NamespaceTerminating`, or 404
    with `details.kind` = `namespaces`.
    """
    details = status_of(body).get("details") or {}
    if code == HTTPStatus.NOT_FOUND:
        return details.get("kind") == "namespaces"
    causes = details.get("causes") or []
    return code == HTTPStatus.FORBIDDEN and any(
        cause.get("reason") == "NamespaceTerminating" for cause in causes
    )


def _another(code: int, body: bytes) -> bool:
    """Whether the name is another object's by now: a uid that was seen is then "immutable"."""
    causes = (status_of(body).get("details") or {}).get("causes") or []
    return code == HTTPStatus.UNPROCESSABLE_ENTITY and any(
        cause.get("field") == "metadata.uid" for cause in causes
    )


def _will_never_do(code: int) -> bool:
    """4xx, but for those that speak of the moment or of our own credentials."""
    passing = {HTTPStatus.UNAUTHORIZED, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
    return HTTPStatus.BAD_REQUEST <= code < HTTPStatus.INTERNAL_SERVER_ERROR and code not in passing


def _message(code: int, status: Mapping[str, Any], kind: str) -> str:
    """The server's words; of a Secret only the fields in question, for its values may be quoted."""
    if kind == "Secret":
        causes = (status.get("details") or {}).get("causes") or []
        fields = ", ".join(str(cause.get("field", "")) for cause in causes)
        text = f"{status.get('reason') or code} {fields}".strip()
    else:
        text = str(status.get("message") or f"HTTP {code}")
    return text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "…"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("retry-after", "")
    return min(float(value), LONGEST_WAIT) if value.isdecimal() else None
