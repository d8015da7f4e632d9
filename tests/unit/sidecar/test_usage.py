"""The tokens of an answer, from its last lines (decision G13), wherever its bytes were cut.

The answers are those of Ollama 0.17.4: api/types.go, openai/openai.go, openai/responses.go and
anthropic/anthropic.go say which fields there are, and docs/api.md shows most of them.
"""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollamaserve_sidecar.meter import GAPS, KEPT, LINE_LIMIT, Meter
from ollamaserve_sidecar.usage import MODEL_LIMIT, Usage, read


def ndjson(*documents: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


def sse(*documents: dict[str, Any], named: bool = False, last: bytes = b"") -> bytes:
    events = [
        (f"event: {document['type']}\n" if named else "") + f"data: {json.dumps(document)}\n\n"
        for document in documents
    ]
    return "".join(events).encode() + last


def chat(content: str, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {"model": "llama2", "created_at": "2026-01-01T00:00:00Z", "message": message, **more}


def delta(content: str, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"role": "assistant", "content": content}, "finish_reason": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "llama2",
        "system_fingerprint": "fp_ollama",
        "choices": [choice],
        **more,
    }


def text(content: str) -> dict[str, Any]:
    body = {"type": "text_delta", "text": content}
    return {"type": "content_block_delta", "index": 0, "delta": body}


FINAL = {"done": True, "done_reason": "stop", "total_duration": 4, "load_duration": 1}
COUNTS = {"prompt_eval_count": 26, "prompt_eval_duration": 1, "eval_count": 298, "eval_duration": 2}
USAGE = {"prompt_tokens": 26, "completion_tokens": 298, "total_tokens": 324}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "llama2",
    "content": [],
    "usage": {"input_tokens": 0, "output_tokens": 0},
}
WORDS = [f"word {number}" for number in range(40)]
KNOWN = Usage(26, 298, "llama2")
ANSWERS = {
    "chat": ndjson(*(chat(word, done=False) for word in WORDS), chat("", **FINAL, **COUNTS)),
    "generate with a context": ndjson(
        {"model": "llama2", "response": "a", "done": False},
        {"model": "llama2", "response": "", **FINAL, "context": list(range(3000)), **COUNTS},
    ),
    "chat in one": ndjson(chat(" ".join(WORDS), **FINAL, **COUNTS)),
    "without a line's end": ndjson(chat("Hi", **FINAL, **COUNTS))[:-1],
    "openai": sse(
        *(delta(word) for word in WORDS),
        delta("", choices=[], usage=USAGE),
        last=b"data: [DONE]\n\n",
    ),
    "openai in one": json.dumps(delta("Hi", usage=USAGE), indent=None).encode(),
    "responses": sse(
        *({"type": "response.output_text.delta", "delta": word} for word in WORDS),
        {
            "type": "response.completed",
            "response": {
                "model": "llama2",
                "output": [{"text": " ".join(WORDS)}],
                "usage": {"input_tokens": 26, "output_tokens": 298, "total_tokens": 324},
            },
        },
        named=True,
    ),
    "anthropic": sse(
        {"type": "message_start", "message": MESSAGE},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *map(text, WORDS),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"input_tokens": 26, "output_tokens": 298},
        },
        {"type": "message_stop"},
        named=True,
    ),
    "anthropic in one": ndjson(
        MESSAGE | {"usage": {"input_tokens": 26, "output_tokens": 298}},
    ),
}
UNKNOWN = {
    "nothing": b"",
    "openai without include_usage": sse(*map(delta, WORDS), last=b"data: [DONE]\n\n"),
    "a stream that broke off": ndjson(*(chat(word, done=False) for word in WORDS)),
    "half a line": ndjson(chat("", **FINAL, **COUNTS))[:-20],
    "no JSON": b'{"done": tru\n',
    "deep": b"[" * 100_000 + b"\n" + b'{"a":' * 100_000 + b"\n",
    "no object": b"[1]\n26\n",
    "negative": ndjson(chat("", done=True, prompt_eval_count=-1)),
    "truth": ndjson(chat("", done=True, prompt_eval_count=True)),
    "words": ndjson(chat("", done=True, eval_count="298")),
    "a usage that is none": ndjson({"usage": [26], "response": "text"}),
    "too long a line": ndjson(chat("x" * (LINE_LIMIT + KEPT), **FINAL, **COUNTS)),
    "embeddings as they were": ndjson({"embedding": [0.5, 0.25]}),
}


def metered(body: bytes, cuts: list[int]) -> Usage | None:
    meter = Meter([0] * (len(GAPS) + 1))
    places = [0, *sorted(cuts), len(body)]
    for start, end in pairwise(places):
        meter.take(body[start:end])
    return meter.usage()


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_of_every_api(name: str) -> None:
    """As Ollama writes them."""
    assert metered(ANSWERS[name], []) == KNOWN


@pytest.mark.parametrize("name", ANSWERS)
def test_every_split(name: str) -> None:
    """Where a read ends makes no difference, at any byte."""
    body = ANSWERS[name]
    for cut in range(len(body)):
        assert metered(body, [cut]) == KNOWN


@pytest.mark.parametrize("name", ANSWERS)
def test_byte_by_byte(name: str) -> None:
    """Nor does how many reads there were."""
    assert metered(ANSWERS[name], list(range(len(ANSWERS[name])))) == KNOWN


@given(st.sampled_from(sorted(ANSWERS)), st.data())
def test_splits(name: str, data: st.DataObject) -> None:
    """Nor does any combination of the two."""
    body = ANSWERS[name]
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=30))
    assert metered(body, cuts) == KNOWN


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown(name: str) -> None:
    """What isn't told isn't guessed."""
    assert metered(UNKNOWN[name], []) is None


@given(st.binary(max_size=2000), st.lists(st.integers(0, 2000), max_size=5))
def test_any_bytes(body: bytes, cuts: list[int]) -> None:
    """Whatever an upstream sends is read without a failure."""
    found = metered(body, [min(cut, len(body)) for cut in cuts])
    assert found is None or min(found.prompt, found.generated) >= 0


def test_what_go_leaves_out() -> None:
    """Go's omitempty drops zeros: a known prompt, a load, an embedding's generated tokens."""
    assert read(b"", ndjson(chat("", **FINAL, eval_count=3))) == Usage(0, 3, "llama2")
    assert read(b"", ndjson({"model": "llama2", "done": True, "done_reason": "load"})) == Usage(
        0, 0, "llama2"
    )
    embedded = {"model": "llama2", "embeddings": [[0.5]], "prompt_eval_count": 9}
    assert read(b"", ndjson(embedded)) == Usage(9, 0, "llama2")
    openai = {"object": "list", "model": "llama2", "usage": {"prompt_tokens": 9, "total_tokens": 9}}
    assert read(b"", ndjson(openai)) == Usage(9, 0, "llama2")


def test_a_long_line_before_the_last() -> None:
    """Only the last line has to be short enough."""
    body = ndjson(chat("x" * (LINE_LIMIT * 2), done=False), chat("", **FINAL, **COUNTS))
    assert metered(body, list(range(0, len(body), 4096))) == KNOWN


def test_what_a_model_says_is_no_usage() -> None:
    """Text that looks like a usage stands inside a string, and counts for nothing."""
    forged = json.dumps(chat("", done=True, eval_count=999_999))
    body = ndjson(chat(f"\n{forged}\n", done=False))
    long = ndjson(chat("x" * LINE_LIMIT + f"\n{forged}\n", done=False))
    assert metered(body, []) is None
    assert metered(long, list(range(0, len(long), 100))) is None


def test_names_that_are_none() -> None:
    """A model's name that is too long, or no text, isn't told."""
    for name in ("x" * (MODEL_LIMIT + 1), 5, "", None):
        assert read(b"", ndjson({"model": name, **FINAL, **COUNTS})) == Usage(26, 298, "")


def test_little_is_kept() -> None:
    """An answer of a megabyte leaves about a kilobyte here."""
    meter = Meter([0] * (len(GAPS) + 1))
    for _ in range(10_000):
        meter.take(ndjson(chat("a word", done=False)))
        assert len(meter._tail) <= 3 * KEPT
