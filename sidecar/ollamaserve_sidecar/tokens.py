"""Which presented value is which token: the grammar, the set, and its constant-time lookup.

Pure. Values are kept as SHA-256 digests only, so that nothing here can print one. A Secret's keys
become tokens only if the configuration names them (decisions 11 and G5); each may have a previous
value with an expiry (`<name>_PREVIOUS`, JSON {"token", "notAfter"}) and a next one (`<name>_NEXT`).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ollamaserve_sidecar.policy import Access

PREVIOUS, NEXT = "_PREVIOUS", "_NEXT"
SHORT = 8
_VISIBLE = re.compile(rb"[!-~]{1,512}")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks: a token's name or a key's, and what the configuration gives it.

    `models` are the canonical names of those that it is for; None means all of them.
    """

    name: str
    access: Access
    models: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    digest: bytes = field(repr=False)
    identity: Identity
    not_after: float | None


@dataclass(frozen=True, slots=True)
class TokenSet:
    """The tokens in force. `short` names those that are easy to guess."""

    entries: tuple[_Entry, ...]
    short: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(entry.identity.name for entry in self.entries))

    def find(self, presented: bytes, now: float) -> Identity | None:
        """The identity of this value at `now` (seconds since the epoch).

        Every digest is compared, whatever was found before, so that time tells nothing.
        """
        digest = sha256(presented).digest()
        found = None
        for entry in self.entries:
            if compare_digest(entry.digest, digest) and (
                entry.not_after is None or now < entry.not_after
            ):
                found = entry.identity
        return found


@dataclass(frozen=True, slots=True)
class BadTokens:
    """Why a set was refused; names the key, never its value."""

    error: str


def token_set(
    values: Mapping[str, bytes], identities: Mapping[str, Identity]
) -> TokenSet | BadTokens:
    """The set from a Secret's keys; keys that `identities` doesn't name are not looked at."""
    entries: list[_Entry] = []
    short: list[str] = []
    for name, identity in identities.items():
        for key, value, not_after in _values(name, values):
            problem = _problem(key, value)
            if problem:
                return BadTokens(problem)
            if len(value) < SHORT:
                short.append(key)
            entries.append(_Entry(sha256(value).digest(), identity, not_after))
    return _without_twins(TokenSet(tuple(entries), tuple(short)))


def _values(name: str, values: Mapping[str, bytes]) -> Iterator[tuple[str, bytes, float | None]]:
    """The key, value and expiry of each value that a name has."""
    for key in (name, name + NEXT):
        if key in values:
            yield key, values[key].removesuffix(b"\n").removesuffix(b"\r"), None
    previous = _previous(values.get(name + PREVIOUS, b""))
    if previous:
        yield name + PREVIOUS, *previous


def _problem(key: str, value: bytes) -> str:
    if not value:
        return f"token {key} is empty: give it 8 to 512 visible ASCII characters, or remove it"
    if not _VISIBLE.fullmatch(value):
        return (
            f"token {key} has other bytes than visible ASCII, or more than 512:"
            " give it 8 to 512 letters, digits and punctuation without spaces"
        )
    return ""


def _previous(raw: bytes) -> tuple[bytes, float] | None:
    """A previous value and its expiry; whatever can't be read counts as expired (G5)."""
    try:
        document: Any = json.loads(raw)
        not_after = datetime.fromisoformat(document["notAfter"])
        value = document["token"].encode("ascii")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if not_after.tzinfo is None or not _VISIBLE.fullmatch(value):
        return None
    return value, not_after.timestamp()


def _without_twins(tokens: TokenSet) -> TokenSet | BadTokens:
    owners: dict[bytes, str] = {}
    for entry in tokens.entries:
        name = entry.identity.name
        if owners.setdefault(entry.digest, name) != name:
            return BadTokens(
                f"tokens {owners[entry.digest]} and {name} have one value: give each its own"
            )
    return tokens
