"""How many tokens an answer took, as Ollama reports it at the answer's end (decision G13).

Pure. Ollama's own API tells in the last line of NDJSON or in the one object; OpenAI's in the last
event before `[DONE]`, where the client asked for it; Anthropic's in the one before `message_stop`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LOOKED_AT = 3
"""Objects from the end: a usage stands before one that closes the stream at most."""
_LINES = 12
"""Lines from the end; in three events of a stream there are nine, and the end is empty."""
MODEL_LIMIT = 256
_decode = json.JSONDecoder().decode


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written; `model` is empty where the answer doesn't name it."""

    prompt: int
    generated: int
    model: str


def read(opening: bytes, ending: bytes) -> Usage | None:
    """`ending` has the last lines of an answer's body, `opening` the first ones, or nothing."""
    for document in islice(_objects(reversed(ending.rsplit(b"\n", _LINES))), _LOOKED_AT):
        counts = _counts(document)
        if counts:
            return Usage(*counts, _model(document, opening))
    return None


def _objects(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON objects among lines or events, each parsed only when it is asked for."""
    for line in lines:
        bare = line.removeprefix(b"data:").strip()
        if bare.startswith(b"{"):
            yield _parsed(bare)


def _parsed(line: bytes) -> dict[str, Any]:
    """Nothing where it isn't one whole object."""
    try:
        document: dict[str, Any] = _decode(line.decode())
    except (ValueError, RecursionError):
        return {}
    return document


def _counts(document: dict[str, Any]) -> tuple[int, int] | None:
    if document.get("done") is True or "prompt_eval_count" in document:
        # Go leaves out what is 0: of a prompt that was known already, or where a model was loaded.
        return _pair(document.get("prompt_eval_count", 0), document.get("eval_count", 0))
    usage = document.get("usage") or _within(document, "response").get("usage")
    if not isinstance(usage, dict):
        return None
    return _pair(
        usage.get("prompt_tokens", usage.get("input_tokens")),
        usage.get("completion_tokens", usage.get("output_tokens", 0)),
    )


def _pair(prompt: object, generated: object) -> tuple[int, int] | None:
    # type() because True is an int, and no number of tokens
    if type(prompt) is int and type(generated) is int and min(prompt, generated) >= 0:
        return prompt, generated
    return None


def _model(document: dict[str, Any], opening: bytes) -> str:
    """The answer's last word on it, or its first (Anthropic's `message_start`)."""
    places = [document, _within(document, "response")]
    if document.get("type") == "message_delta":
        places += [_within(first, "message") for first in islice(_objects(opening.split(b"\n")), 1)]
    for place in places:
        name = place.get("model")
        if isinstance(name, str) and 0 < len(name) <= MODEL_LIMIT:
            return name
    return ""


def _within(document: dict[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}
