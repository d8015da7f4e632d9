"""What the gate says when it refuses."""

import json

import pytest

from ollamaserve_sidecar import errors
from ollamaserve_sidecar.errors import INVALID, MALFORMED, MISSING, Family, family
from ollamaserve_sidecar.policy import Access

PROBLEMS = [
    MISSING,
    MALFORMED,
    INVALID,
    errors.UNSIGNED,
    errors.STALE,
    errors.AMBIGUOUS,
    errors.UNREACHABLE,
    errors.BROKEN,
    errors.SLOW_HEAD,
    errors.SLOW_BODY,
    errors.BAD_BODY,
    errors.bad_request(501, "reason"),
    errors.forbidden(Access.READ, Access.FULL),
    errors.unlisted(Access.INFER),
]


@pytest.mark.parametrize("close", [False, True])
@pytest.mark.parametrize("shape", Family)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_response_is_whole(problem: errors.Problem, shape: Family, *, close: bool) -> None:
    """Status line, fields, and a JSON body of the length said; HEAD gets the same head."""
    raw = errors.response(problem, shape, close=close)
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")

    assert lines[0].startswith(f"HTTP/1.1 {problem.status} ")
    assert f"Content-Length: {len(body)}" in lines
    assert "Content-Type: application/json" in lines
    assert "Cache-Control: no-store" in lines
    assert ("Connection: close" in lines) == close
    assert problem.message in json.dumps(json.loads(body))
    assert errors.response(problem, shape, close=close, head=True) == head + b"\r\n\r\n"


def test_the_401s_are_distinct() -> None:
    """A4: in every shape, which one it is can be told from the message."""
    refusals = (MISSING, MALFORMED, INVALID, errors.UNSIGNED, errors.STALE)
    for shape in Family:
        bodies = {errors.response(problem, shape, close=False) for problem in refusals}
        assert len(bodies) == len(refusals)
    for problem in refusals:
        assert problem.fields[0].startswith('WWW-Authenticate: Bearer realm="ollama"')


@pytest.mark.parametrize(
    ("target", "shape"),
    [
        ("/api/chat", Family.OLLAMA),
        ("/", Family.OLLAMA),
        ("/v1", Family.OLLAMA),
        ("/v1/chat/completions", Family.OPENAI),
        ("/v1/messages", Family.ANTHROPIC),
        ("/v1/messages?beta=true", Family.ANTHROPIC),
    ],
)
def test_the_family_follows_the_path(target: str, shape: Family) -> None:
    assert family(target) is shape


def test_the_shapes() -> None:
    """Ollama: a string (its CLI fails on an object); OpenAI and Anthropic: their objects."""
    ollama, openai, anthropic = (
        json.loads(errors.response(INVALID, shape, close=False).partition(b"\r\n\r\n")[2])
        for shape in (Family.OLLAMA, Family.OPENAI, Family.ANTHROPIC)
    )

    assert ollama == {"error": INVALID.message}
    assert openai["error"] == {
        "message": INVALID.message,
        "type": "authentication_error",
        "code": "invalid_token",
    }
    assert anthropic == {
        "type": "error",
        "error": {"type": "authentication_error", "message": INVALID.message},
    }
