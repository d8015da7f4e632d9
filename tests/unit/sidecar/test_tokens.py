"""Tokens: their grammar, their set, and what never shows (decisions 11, G5, G6, G9)."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ollamaserve_sidecar import tokens as room
from ollamaserve_sidecar.policy import Access
from ollamaserve_sidecar.tokens import BadTokens, Identity, TokenSet, token_set

IDENTITIES = {
    "AUTH_TOKEN": Identity("AUTH_TOKEN", Access.INFER),
    "admin": Identity("admin", Access.FULL),
}
NOW = 1_800_000_000.0
visible = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=512)


def loaded(**files: bytes) -> TokenSet:
    result = token_set(files, IDENTITIES)
    assert isinstance(result, TokenSet)
    return result


def previous(token: str, not_after: str) -> bytes:
    return json.dumps({"token": token, "notAfter": not_after}).encode()


@given(visible)
def test_a_token_is_found_by_its_value_alone(value: str) -> None:
    """G9: the value, one trailing newline stripped, identifies; anything else doesn't."""
    for end in ("", "\n", "\r\n"):
        held = loaded(AUTH_TOKEN=(value + end).encode())
        assert held.find(value.encode(), NOW) == Identity("AUTH_TOKEN", Access.INFER)
        assert held.find((value + "x").encode(), NOW) is None
        assert held.find(value.encode()[:-1], NOW) is None
        assert held.find(b"", NOW) is None


@given(visible, st.binary(max_size=64))
def test_nothing_secret_shows(value: str, other: bytes) -> None:
    """No representation holds a value or its digest."""
    assume(
        value not in repr(loaded(AUTH_TOKEN=b"~another~"))
    )  # a word of the code, such as Identity
    held = loaded(AUTH_TOKEN=value.encode())
    shown = repr(held)

    assert value not in shown
    assert held.entries[0].digest.hex() not in shown
    assert repr(held.entries[0].digest) not in shown
    assert (held.find(other, NOW) is None) == (other != value.encode())


@given(st.binary(max_size=600))
def test_grammar(raw: bytes) -> None:
    """G9: 1 to 512 visible ASCII characters are a token, fewer than 8 warn, all else is refused."""
    result = token_set({"AUTH_TOKEN": raw}, IDENTITIES)
    value = raw.removesuffix(b"\n").removesuffix(b"\r")
    good = 1 <= len(value) <= 512 and all(33 <= byte <= 126 for byte in value)

    assert isinstance(result, TokenSet) == good
    if isinstance(result, TokenSet):
        assert result.short == (("AUTH_TOKEN",) if len(value) < 8 else ())
    else:
        assert "AUTH_TOKEN" in result.error


@pytest.mark.parametrize(
    "raw", [b"", b"\n", b"two-newlines\n\n", b"white space", b"caf\xc3\xa9-caf\xc3\xa9", b"x" * 513]
)
def test_refused_values_are_not_repeated(raw: bytes) -> None:
    """A refusal names the key and the remedy, never the value."""
    result = token_set({"AUTH_TOKEN": raw}, IDENTITIES)

    assert isinstance(result, BadTokens)
    assert "AUTH_TOKEN" in result.error
    assert raw.strip() == b"" or raw.decode("latin-1").strip() not in result.error


def test_only_named_keys_are_tokens() -> None:
    """Decision 11, G5: `username: admin` in somebody's Secret is no token."""
    held = loaded(AUTH_TOKEN=b"the-token", username=b"other-value", REVISION=b"revision-1")

    assert held.names == ("AUTH_TOKEN",)
    assert held.find(b"other-value", NOW) is None
    assert held.find(b"revision-1", NOW) is None


def test_each_name_has_its_own_access() -> None:
    held = loaded(AUTH_TOKEN=b"the-token", admin=b"admins-token")

    assert held.find(b"the-token", NOW) == Identity("AUTH_TOKEN", Access.INFER)
    assert held.find(b"admins-token", NOW) == Identity("admin", Access.FULL)


def test_previous_and_next_overlap() -> None:
    """G5, G6: during a rotation three values are one token, the old one until its expiry."""
    after = datetime.fromtimestamp(NOW + 60, UTC).isoformat()
    held = loaded(
        AUTH_TOKEN=b"current-value",
        AUTH_TOKEN_NEXT=b"next-value",
        AUTH_TOKEN_PREVIOUS=previous("previous-value", after),
    )

    assert held.names == ("AUTH_TOKEN",)
    for value in (b"current-value", b"next-value", b"previous-value"):
        assert held.find(value, NOW) == Identity("AUTH_TOKEN", Access.INFER)
    assert held.find(b"previous-value", NOW + 59.9)
    assert held.find(b"previous-value", NOW + 60) is None
    assert held.find(b"current-value", NOW + 60)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"previous-value",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        previous("previous-value", "tomorrow"),
        previous("previous-value", "2999-01-01T00:00:00"),
        b'{"token": "previous-value"}',
        b'{"token": 5, "notAfter": "2999-01-01T00:00:00Z"}',
        b'{"token": "previous-value", "notAfter": 5}',
        previous("", "2999-01-01T00:00:00Z"),
        previous("white space", "2999-01-01T00:00:00Z"),
    ],
)
def test_an_unreadable_previous_value_is_expired(raw: bytes) -> None:
    """G5: a broken PREVIOUS counts as expired, and doesn't take the current token down."""
    held = loaded(AUTH_TOKEN=b"current-value", AUTH_TOKEN_PREVIOUS=raw)

    assert len(held.entries) == 1
    assert held.find(b"previous-value", NOW) is None


def test_two_names_with_one_value_are_refused() -> None:
    """G5: whose request would it be?"""
    result = token_set({"AUTH_TOKEN": b"same-value", "admin": b"same-value"}, IDENTITIES)

    assert isinstance(result, BadTokens)
    assert "AUTH_TOKEN" in result.error
    assert "admin" in result.error
    assert "same-value" not in result.error


def test_one_name_may_repeat_its_value() -> None:
    """G6: while NEXT is being promoted, it and the current value are equal."""
    assert loaded(AUTH_TOKEN=b"same-value", AUTH_TOKEN_NEXT=b"same-value").find(b"same-value", NOW)


def test_every_digest_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A2: no early exit, whichever token matches."""
    counted = []

    def compare(ours: bytes, theirs: bytes) -> bool:
        counted.append(ours)
        return ours == theirs

    held = loaded(AUTH_TOKEN=b"current-value", AUTH_TOKEN_NEXT=b"next-value", admin=b"admin-value")
    monkeypatch.setattr(room, "compare_digest", compare)
    for value in (b"current-value", b"admin-value", b"wrong-value"):
        held.find(value, NOW)

    assert len(counted) == 9
