"""Which requests and lists a token for some models gets (decision G11)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollamaserve_sidecar import allowance
from ollamaserve_sidecar.errors import Problem
from ollamaserve_sidecar.headers import REQUEST_TAKEN, Sorted
from ollamaserve_sidecar.models import canonical
from ollamaserve_sidecar.policy import TABLE, Access
from unit.sidecar.json_cases import BODIES, NAMES

LLAMA = frozenset({"registry.ollama.ai/library/llama2:latest"})
LABELS = [row.split()[1] for rows in TABLE.values() for row in rows.strip().split("\n")]
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
parts = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,9}", fullmatch=True)


@pytest.mark.parametrize(("body", "passes"), BODIES, ids=range(len(BODIES)))
def test_bodies(body: bytes, *, passes: bool) -> None:
    """What passes is what was checked; every other spelling of another model is refused."""
    result = allowance.checked(body, LLAMA)

    assert isinstance(result, bytes) == passes
    if isinstance(result, bytes):
        assert json.loads(result) == json.loads(body)


@pytest.mark.parametrize(("written", "form"), NAMES)
def test_names(written: str, form: str | None) -> None:
    """G11: canonical as Ollama's are, and nothing that Ollama wouldn't take for a name."""
    assert allowance.name(written) == form


@given(parts, parts, parts, parts)
def test_all_spellings_of_a_name_are_one(host: str, space: str, model: str, tag: str) -> None:
    """Defaults left out or written, any case, any scheme; a canonical name is its own."""
    full = f"{host}/{space}/{model}:{tag}".lower()
    for written in (full, full.upper().replace("HTTP", "http"), f"https://{full}"):
        assert allowance.name(written) == full
    assert allowance.name(f"{space}/{model}:{tag}") == canonical(f"{space}/{model}:{tag}")
    assert allowance.name(f"{model}") == allowance.name(f"library/{model}:latest")
    short = allowance.name(model)
    assert short
    assert allowance.name(short) == short


@given(st.text())
def test_any_text_is_a_name_or_none(written: str) -> None:
    """Whatever passes is plain ASCII, so that no folding of Go's can make it another's name."""
    form = allowance.name(written)

    assert form is None or (written.isascii() and form == canonical(written))


@given(st.dictionaries(st.text(), values, max_size=5), st.sampled_from(["model", "MODEL", "name"]))
def test_what_passes_says_the_same(document: dict[str, Any], key: str) -> None:
    """What is sent on is the object that was checked, in ASCII, with each key once."""
    document = {
        name: value for name, value in document.items() if name.casefold() not in {"model", "name"}
    } | {key: "llama2"}
    result = allowance.checked(json.dumps(document).encode(), LLAMA)

    if len({name.casefold() for name in document}) == len(document):
        assert isinstance(result, bytes)
        assert result.isascii()
        assert json.loads(result) == document
    else:
        assert result is allowance.TWICE


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_pass(body: bytes) -> None:
    """Nothing raises, and a refusal repeats nothing of the body."""
    result = allowance.checked(body, LLAMA)

    assert isinstance(result, Problem)


@given(st.sampled_from([body for body, passes in BODIES if passes]), st.data())
def test_mutations(body: bytes, data: st.DataObject) -> None:
    """A byte more, less or other: what still passes names the one model and no other."""
    at = data.draw(st.integers(0, len(body) - 1))
    put = data.draw(st.binary(max_size=2))
    result = allowance.checked(body[:at] + put + body[at + data.draw(st.integers(0, 1)) :], LLAMA)

    if isinstance(result, bytes):
        document = {key.lower(): value for key, value in json.loads(result).items()}
        named = [document[key] for key in ("model", "name") if document.get(key)]
        assert {allowance.name(name) for name in named} == LLAMA


@pytest.mark.parametrize(
    "filling", [b"[]," * 65_600, b"{}," * 65_600, b"0," * 131_100, b'"",' * 131_100]
)
def test_crowded_bodies(filling: bytes) -> None:
    """One body can't hold up everybody else: what would take long to check is refused at once."""
    body = b'{"model":"llama2","x":[' + filling + b"0]}"

    assert allowance.checked(body, LLAMA) is allowance.TOO_MANY


@pytest.mark.parametrize(
    ("label", "target", "problem"),
    [
        ("/v1/models/:model", "/v1/models/llama2", None),
        ("/v1/models/:model", "/v1/models/llama2%3Alatest?x=/llama3", None),
        ("/v1/models/:model", "/v1/models/%6Clama2", None),
        ("/v1/models/:model", "/v1/models/llama3", allowance.OTHER_MODEL),
        ("/v1/models/:model", "/v1/models/llama3?x=/llama2", allowance.OTHER_MODEL),
        ("/v1/models/:model", "/v1/models/llama2%253Alatest", allowance.OTHER_MODEL),
        ("/", "/", None),
        ("/api/version", "/api/version", None),
        ("/api/status", "/api/status", None),
        ("/api/chat", "/api/chat", None),
        ("/api/tags", "/api/tags", None),
        ("/v1/audio/transcriptions", "/v1/audio/transcriptions", allowance.OTHER_ROUTE),
        ("other", "/anything", allowance.OTHER_ROUTE),
    ],
)
def test_heads(label: str, target: str, problem: Problem | None) -> None:
    """What the head alone decides."""
    assert allowance.refusal(LLAMA, label, target) is problem


def test_every_route_is_decided() -> None:
    """Default deny: only routes that this room knows how to bind to a model are open."""
    closed = {label for label in LABELS if allowance.refusal(LLAMA, label, "/v1/models/llama2")}
    manage = {row.split()[1] for row in TABLE[Access.MANAGE].strip().split("\n")}
    full = {row.split()[1] for row in TABLE[Access.FULL].strip().split("\n")}

    assert closed == manage | full | {
        "/api/blobs/:digest",
        "/api/experimental/model-recommendations",
        "/v1/audio/transcriptions",
    }


@pytest.mark.parametrize(
    ("fields", "length", "problem"),
    [
        ([], 4 << 20, None),
        ([], (4 << 20) + 1, allowance.TOO_LONG),
        ([(b"Content-Encoding", b"zstd")], 1, allowance.ENCODED),
        ([(b"A", b"b"), (b"CONTENT-ENCODING", b"")], 1, allowance.ENCODED),
        ([(b"X-Content-Encoding", b"zstd")], 1, None),
        ([(b"Accept", b"content-encoding: zstd")], 1, None),
    ],
)
def test_unreadable(
    fields: list[tuple[bytes, bytes]], length: int, problem: Problem | None
) -> None:
    """Compressed and long bodies are refused before they are read."""
    assert allowance.unreadable(Sorted(fields, REQUEST_TAKEN), length) is problem


@given(st.binary(max_size=50) | values.map(lambda value: json.dumps(value).encode()))
def test_any_list_is_filtered_or_none(body: bytes) -> None:
    """What Ollama answers is passed on only if it is a list as it was known."""
    for label, key in allowance.LISTS.items():
        result = allowance.listed(label, body, LLAMA)
        assert result is None or json.loads(result)[key] == []
