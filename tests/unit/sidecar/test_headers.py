"""Which fields pass the gate (P1 and 4b of the reference; decisions G9, G16)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollamaserve_sidecar.headers import REQUEST_TAKEN, RESPONSE_TAKEN, Sorted

TOKEN_CHARS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
special = st.sampled_from(sorted(REQUEST_TAKEN | RESPONSE_TAKEN))
names = st.lists(st.sampled_from(TOKEN_CHARS), min_size=1, max_size=12).map(bytes) | special
spelled = st.tuples(names, st.booleans()).map(lambda pair: pair[0].upper() if pair[1] else pair[0])
values = st.binary(max_size=20).filter(lambda raw: not set(raw) & set(b"\r\n\x00")) | names
fields = st.lists(st.tuples(spelled, values), max_size=12)


@given(fields)
def test_what_passes_passes_unchanged_and_in_order(given_fields: list[tuple[bytes, bytes]]) -> None:
    """Each field is forwarded byte for byte, taken, or dropped; none is made up."""
    listed = {
        name.strip()
        for key, value in given_fields
        if key.lower() == b"connection"
        for name in value.lower().split(b",")
    } - {b"close", b"keep-alive"}
    expected = [
        name + b": " + value + b"\r\n"
        for name, value in given_fields
        if name.lower() not in REQUEST_TAKEN | listed and b"_" not in name
    ]

    assert Sorted(given_fields, REQUEST_TAKEN).lines == b"".join(expected)


@given(fields)
def test_taken_fields_keep_every_value(given_fields: list[tuple[bytes, bytes]]) -> None:
    """Duplicates are not merged or lost: they decide about 400s (G9)."""
    held = Sorted(given_fields, REQUEST_TAKEN)

    for name in REQUEST_TAKEN:
        assert held.values(name) == [value for key, value in given_fields if key.lower() == name]


@given(fields)
def test_credentials_never_pass(given_fields: list[tuple[bytes, bytes]]) -> None:
    """Whatever the spelling, no credential, cookie, Host, Origin or framing field is forwarded."""
    lines = Sorted(given_fields, REQUEST_TAKEN).lines.lower()
    forwarded = {line.partition(b":")[0] for line in lines.split(b"\r\n")}

    assert not forwarded & REQUEST_TAKEN


TAKEN_FROM_RESPONSES = (
    *(b"Set-Cookie", b"Access-Control-Allow-Origin", b"Access-Control-Allow-Credentials"),
    *(b"Connection", b"Transfer-Encoding", b"Content-Length", b"Upgrade", b"Trailer"),
)


@pytest.mark.parametrize("name", TAKEN_FROM_RESPONSES)
def test_responses_lose_what_is_the_gates_to_say(name: bytes) -> None:
    """Framing, cookies (G16) and what pages may read (P23) never pass as the upstream said them."""
    kept = Sorted([(b"X-Kept", b"1"), (name, b"value")], RESPONSE_TAKEN)

    assert kept.lines == b"X-Kept: 1\r\n"
