"""The table of routes and the rules for paths (decision G10)."""

from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ollamaserve_sidecar.policy import (
    TABLE,
    Access,
    Allowed,
    BadTarget,
    Denied,
    decide,
)

ROUTES = [
    (access, *line.split()) for access, lines in TABLE.items() for line in lines.strip().split("\n")
]
accesses = st.sampled_from(list(Access))
methods = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])


def test_tiers_include_the_lower_ones() -> None:
    """read < infer < manage < full."""
    order = [Access.READ, Access.INFER, Access.MANAGE, Access.FULL]

    assert [[high.covers(low) for low in order] for high in order] == [
        [True, False, False, False],
        [True, True, False, False],
        [True, True, True, False],
        [True, True, True, True],
    ]


@pytest.mark.parametrize("access", Access)
@pytest.mark.parametrize(("needs", "method", "path"), ROUTES)
def test_every_route_at_every_tier(access: Access, needs: Access, method: str, path: str) -> None:
    """Each route of Ollama's is open from its tier on, with the query ignored."""
    target = (
        path.replace(":model", "llama2%3A7b").replace(":digest", "sha256:0").replace(":key", "k")
    )
    decision = decide(access, method, target + "?a=b/../c")

    assert decision == (Allowed(path) if access.covers(needs) else Denied(path, needs))


@pytest.mark.parametrize(
    ("method", "target", "needs"),
    [
        ("GET", "/", Access.READ),
        ("HEAD", "/", Access.READ),
        ("HEAD", "/api/tags", Access.READ),
        ("HEAD", "/v1/models/x", Access.READ),
        ("HEAD", "/api/blobs/sha256:0", Access.READ),
        ("GET", "/api/blobs/sha256:0", Access.FULL),
        ("POST", "/api/blobs/sha256:0", Access.MANAGE),
        ("POST", "/api/blobs/", Access.FULL),
        ("POST", "/api/blobs", Access.FULL),
        ("POST", "/api/blobs/a/b", Access.FULL),
        ("POST", "/api/chat", Access.INFER),
        ("GET", "/api/chat", Access.FULL),
        ("POST", "/api/%63hat", Access.INFER),
        ("POST", "/api/%70ull", Access.MANAGE),
        ("POST", "/api/chat/", Access.FULL),
        ("POST", "/API/chat", Access.FULL),
        ("POST", "/api/me", Access.FULL),
        ("DELETE", "/api/delete", Access.MANAGE),
        ("GET", "/debug/pprof", Access.FULL),
        ("GET", "/metrics", Access.FULL),
    ],
)
def test_needed_access(method: str, target: str, needs: Access) -> None:
    """Whatever isn't in the table needs full access; HEAD is like GET."""
    allowed = [access for access in Access if isinstance(decide(access, method, target), Allowed)]

    assert allowed == [access for access in Access if access.covers(needs)]


@given(accesses, methods, st.text(st.characters(min_codepoint=33, max_codepoint=126)))
def test_limited_tokens_reach_known_routes_only(access: Access, method: str, path: str) -> None:
    """Default deny: what a limited token may, is a row of the table."""
    assume(access is not Access.FULL)
    decision = decide(access, method, "/" + path)

    if isinstance(decision, Allowed):
        assert decision.label in {row[2] for row in ROUTES}


@given(accesses, methods, st.text())
def test_any_text_is_decided(access: Access, method: str, target: str) -> None:
    """No target raises; those that aren't visible ASCII are refused whoever asks."""
    decision = decide(access, method, target)

    if not target.startswith("/") or any(not 33 <= ord(char) <= 126 for char in target):
        assert isinstance(decision, BadTarget)


@given(st.sampled_from([row for row in ROUTES if ":" not in row[2]]), st.data())
def test_spelling_changes_nothing(row: tuple[Access, str, str], data: st.DataObject) -> None:
    """G10: however a path is percent-encoded, the decision is the one on what Ollama will see."""
    needs, method, path = row
    chars = [
        f"%{ord(char):02x}" if char != "/" and data.draw(st.booleans()) else char for char in path
    ]

    assert isinstance(decide(needs, method, "".join(chars)), Allowed)
    for lower in Access:
        if not lower.covers(needs):
            assert isinstance(decide(lower, method, "".join(chars)), Denied)


@pytest.mark.parametrize(
    "target",
    [
        "", "*", "http://evil/api/tags", "api/tags", "/api/tags#x", "/api\\tags", "/api/%zz", "/%",
        "/%4", "/api/tags?%", "/api/\x00", "/api/ tags", "/api/t\tags", "/caf\xe9", "/\udcff",
        "/api/tags\n",
    ],
)  # fmt: skip
@pytest.mark.parametrize("access", Access)
def test_refused_for_every_token(target: str, access: Access) -> None:
    """G10: fragments, backslashes, controls, other bytes than ASCII, broken escapes."""
    assert isinstance(decide(access, "GET", target), BadTarget)


@pytest.mark.parametrize(
    "target",
    [
        "//evil/x", "/api//tags", "/api/tags//", "/api/../api/tags", "/./api/tags", "/api/tags/..",
        "/api/%2e%2e/tags", "/api/%2E/tags", "/api%2ftags", "/api/%2Ftags", "/api/%2570ull",
        "/api/tags%00", "/v1/models/library%2fllama2",
    ],
)  # fmt: skip
def test_refused_for_limited_tokens(target: str) -> None:
    """G10: what Go's mux, gin or a second decoding could read as another path."""
    for access in (Access.READ, Access.INFER, Access.MANAGE):
        assert isinstance(decide(access, "GET", target), BadTarget)
    assert isinstance(decide(Access.FULL, "GET", target), Allowed)


@pytest.mark.parametrize(
    "target", ["/v1/models/llama2%3A7b", "/v1/models/" + quote("a b", safe="")]
)
def test_encoded_names_are_fine(target: str) -> None:
    """G10: SDKs encode colons in model names."""
    assert decide(Access.READ, "GET", target) == Allowed("/v1/models/:model")


def test_dots_inside_a_segment_are_fine() -> None:
    assert decide(Access.READ, "GET", "/v1/models/..a") == Allowed("/v1/models/:model")
    assert decide(Access.READ, "GET", "/v1/models/llama3.1") == Allowed("/v1/models/:model")
