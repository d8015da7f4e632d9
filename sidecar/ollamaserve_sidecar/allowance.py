"""Tokens that are for some models only: which requests name one of those, and what lists show.

Pure (decision G11). What Ollama will read has to be what was checked, and Go reads JSON leniently:
keys in any case, the last of two equal ones, trailing data. So a body is parsed strictly, and what
is sent on is written anew from what was parsed.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from ollamaserve_sidecar.errors import Problem, bad_request
from ollamaserve_sidecar.models import canonical
from ollamaserve_sidecar.policy import INFERENCE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ollamaserve_sidecar.headers import Sorted

BODY_LIMIT = 4 << 20
DEPTH_LIMIT = 64
OPENING_LIMIT, COMMA_LIMIT = 1 << 16, 1 << 17
"""Of brackets and commas, strings included: else one body could hold up everybody for seconds."""

# Forms with files in them are no JSON.
CHECKED = (INFERENCE - {"/v1/audio/transcriptions"}) | {"/api/show"}
"""The labels of routes whose body names the model."""
LISTS = {"/api/tags": "models", "/api/ps": "models", "/v1/models": "data"}
"""The labels of routes that list models, and the key that the list has in the answer."""
_OPEN = frozenset({"/", "/api/version", "/api/status"})
_ONE = "/v1/models/:model"

# Ollama's types/model/name.go (v0.17.4), isValidPart; "@" and the like make a name invalid there.
_MODEL = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"
_NAMESPACE = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}"
_HOST = r"(?:https?://)?[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}"
_NAME = re.compile(f"(?:(?:{_HOST}/)?{_NAMESPACE}/)?{_MODEL}(?::{_MODEL})?")
_ENCODED = re.compile(rb"^content-encoding:", re.IGNORECASE | re.MULTILINE)

OTHER_ROUTE = Problem(
    403,
    "access_denied",
    "this token is for some models only, and this request isn't bound to a model: use a token"
    " without a list of models",
)
OTHER_MODEL = Problem(
    403,
    "model_not_allowed",
    "this token isn't for the model that the request names: GET /api/tags lists those it is for",
)
NO_MODEL = bad_request(400, "the body names no model: write its name under 'model'")
ENCODED = bad_request(
    415, "this token's requests are read by the gate: send the body without a Content-Encoding"
)
TOO_LONG = bad_request(413, "this token's requests are read by the gate: send 4 MiB at most")
NOT_JSON = bad_request(400, "the body has to be one JSON object, in UTF-8 and without NaN")
TOO_DEEP = bad_request(400, "the body's JSON is nested more than 64 levels deep")
TOO_MANY = bad_request(
    413, "the body's JSON has more than 65,536 opening brackets, or 131,072 commas: send less"
)
TWICE = bad_request(400, "a key of the body's JSON stands there twice, perhaps in another case")


def name(written: str) -> str | None:
    """The canonical form of a model's name; None where Ollama wouldn't take it for one."""
    return canonical(written) if _NAME.fullmatch(written) else None


def refusal(models: frozenset[str], label: str, target: str) -> Problem | None:
    """What the head alone shows to be out of bounds. `models` are canonical names."""
    if label in CHECKED or label in LISTS or label in _OPEN:
        return None
    if label != _ONE:
        return OTHER_ROUTE
    asked = unquote(target.partition("?")[0].rpartition("/")[2])
    return None if name(asked) in models else OTHER_MODEL


def unreadable(fields: Sorted, length: int) -> Problem | None:
    """Why a body isn't even read: `length` is the one announced."""
    if _ENCODED.search(fields.lines):
        return ENCODED
    return TOO_LONG if length > BODY_LIMIT else None


def checked(body: bytes, models: frozenset[str]) -> bytes | Problem:
    """The body to send on, if each model that it names is one of `models`."""
    document = TOO_MANY if _crowded(body) else _parsed(body)
    if isinstance(document, Problem):
        return document
    folded = {key.casefold(): value for key, value in document.items()}
    if len(folded) < len(document):
        return TWICE
    # Clients send both of them, one empty.
    named = [value for key in ("model", "name") if (value := folded.get(key)) not in ("", None)]
    if not named:
        return NO_MODEL
    if not all(isinstance(value, str) and name(value) in models for value in named):
        return OTHER_MODEL
    return _written(document)


def _crowded(body: bytes) -> bool:
    openings = body.count(b"[") + body.count(b"{")
    return openings > OPENING_LIMIT or body.count(b",") > COMMA_LIMIT


class _TwiceError(ValueError):
    """A key stands twice in one object."""


def _parsed(body: bytes) -> dict[str, Any] | Problem:
    try:
        document = json.loads(body.decode(), object_pairs_hook=_once, parse_constant=_never)
    except _TwiceError:
        return TWICE
    except RecursionError:
        return TOO_DEEP
    except ValueError:
        return NOT_JSON
    if not isinstance(document, dict):
        return NOT_JSON
    return document if _shallow(document, DEPTH_LIMIT) else TOO_DEEP


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    held = dict(pairs)
    if len(held) < len(pairs):
        raise _TwiceError
    return held


def _never(_: str) -> None:
    raise ValueError("NaN and infinities are no JSON")


def _shallow(value: dict[str, Any] | list[Any], levels: int) -> bool:
    """Whether containers are nested so many levels deep at most."""
    inner: Iterable[Any] = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(
        _shallow(item, levels - 1) for item in inner if isinstance(item, (dict, list))
    )


def _written(document: dict[str, Any]) -> bytes | Problem:
    try:
        return json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    except ValueError:  # a number that is too large for a float, such as 1e999
        return NOT_JSON


def listed(label: str, body: bytes, models: frozenset[str]) -> bytes | None:
    """A list of Ollama's without the other models; None where it isn't one as this room knows."""
    try:
        document = json.loads(body)
        key = LISTS[label]
        # OpenAI's list calls it an id.
        document[key] = [
            entry
            for entry in document[key] or ()
            if name(entry["id"] if key == "data" else entry["name"]) in models
        ]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return json.dumps(document).encode()
