"""Requests signed by the `ollama` program: who signed, and was it just now and not too often.

Pure but for the memory of what was used. With OLLAMA_AUTH=1 the program signs `METHOD,path?ts=N`
with its Ed25519 key and sends `<base64 public key>:<base64 signature>` as Authorization (Ollama's
api/client.go and auth/auth.go, v0.17.4). Neither host nor body is covered, and equal calls within
a second are equal: hence the window and the count of decision G4.
"""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import dataclass
from enum import Enum, auto
from hashlib import sha256
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from ollamaserve_sidecar.tokens import Identity

OLDEST, NEWEST = 30, 5
"""Seconds that a signature's time may lie behind the gate's clock, and ahead of it."""
USES, SPAN = 16, 5.0
"""How often one signature may be used, and within how many seconds of its first use."""
REMEMBERED = 4096
"""Signatures that are remembered for each key; while there are as many, new ones are refused."""

_KIND = b"ssh-ed25519"
# RFC 8709, 4: two strings, each behind its length in four bytes.
_PREFIX = len(_KIND).to_bytes(4) + _KIND + (32).to_bytes(4)
_KEY_LINE = re.compile(r"ssh-ed25519 +([A-Za-z0-9+/]{68})(?:[ \t].*)?\s*")
_VALUE = re.compile(rb"([A-Za-z0-9+/]{68}):([A-Za-z0-9+/]{86}==)")
_TARGET = re.compile(r"([^?]*)\?ts=([0-9]{1,12})")


class Fault(Enum):
    """Why a signature was refused: not one at all, not by a known key, or not (any more) now."""

    MALFORMED = auto()
    INVALID = auto()
    STALE = auto()


def public_key(line: str) -> bytes | None:
    """The 32 bytes of the key in a line of `~/.ollama/id_ed25519.pub`; None where it isn't one."""
    match = _KEY_LINE.fullmatch(line)
    return _raw(match[1]) if match else None


def _raw(encoded: str | bytes) -> bytes | None:
    blob = b64decode(encoded)
    return blob.removeprefix(_PREFIX) if blob.startswith(_PREFIX) else None


def looks_signed(value: bytes) -> bool:
    """Whether an Authorization header's value is to be tried as a signature (decision G9)."""
    return b":" in value and b" " not in value


@dataclass(slots=True)
class _Use:
    first: float
    count: int = 0


class Memory:
    """The signatures used lately, by key. It outlives every reload, or a reload would forget."""

    def __init__(self) -> None:
        self._keys: dict[bytes, dict[bytes, _Use]] = {}

    def use(self, key: bytes, challenge: bytes, now: float) -> bool:
        """Count one use; false where it is one too many, or there is no room to remember it."""
        uses = self._keys.setdefault(key, {})
        _forget(uses, now)
        digest = sha256(challenge).digest()
        use = uses.get(digest)
        if use is None:
            if len(uses) >= REMEMBERED:
                return False
            use = uses[digest] = _Use(now)
        use.count += 1
        return use.count <= USES and now - use.first <= SPAN


def _forget(uses: dict[bytes, _Use], now: float) -> None:
    """Drop, oldest first, what the window refuses by now."""
    while uses:
        digest = next(iter(uses))
        if now - uses[digest].first <= OLDEST + NEWEST:
            return
        del uses[digest]


@dataclass(frozen=True, slots=True)
class Signers:
    """The authorised keys, by their 32 bytes, and whose they are."""

    keys: Mapping[bytes, tuple[Ed25519PublicKey, Identity]]
    memory: Memory

    @classmethod
    def of(cls, identities: Mapping[bytes, Identity], memory: Memory) -> Self:
        """The import waits until there are keys: it costs 8 MiB that most gates don't need."""
        if not identities:
            return cls({}, memory)
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 see above
            Ed25519PublicKey,
        )

        keys = {raw: (Ed25519PublicKey.from_public_bytes(raw), i) for raw, i in identities.items()}
        return cls(keys, memory)

    def find(self, value: bytes, method: str, target: str, now: float) -> Identity | Fault:
        """Who signed this request; `now` is in seconds since the epoch.

        The whole query has to be one `ts`: other parameters wouldn't be covered by the signature.
        """
        parts, query = _VALUE.fullmatch(value), _TARGET.fullmatch(target)
        if not parts or not query:
            return Fault.MALFORMED
        raw = _raw(parts[1])
        known = self.keys.get(raw) if raw else None
        challenge = f"{method},{target}".encode("utf-8", "surrogateescape")
        if raw is None or known is None or not _verified(known[0], parts[2], challenge):
            return Fault.INVALID
        fresh = -OLDEST <= int(query[2]) - now <= NEWEST
        if not fresh or not self.memory.use(raw, challenge, now):
            return Fault.STALE
        return known[1]


def _verified(key: Ed25519PublicKey, encoded: bytes, challenge: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 imported with the keys

    try:
        key.verify(b64decode(encoded), challenge)
    except InvalidSignature:
        return False
    return True
