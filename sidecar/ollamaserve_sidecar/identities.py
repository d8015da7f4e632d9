"""Who may ask, as GATE_CONFIG has it: its blocks `tokens` and `authorizedKeys`, read and checked.

Pure; `config` enters. A name stands for one identity, be it a token's or a key's.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ollamaserve_sidecar import allowance
from ollamaserve_sidecar.fields import ConfigError, Fields
from ollamaserve_sidecar.policy import Access
from ollamaserve_sidecar.signature import public_key
from ollamaserve_sidecar.tokens import NEXT, PREVIOUS, Identity

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z0-9._-]{1,63}")


def tokens(entries: Mapping[str, Any]) -> Mapping[str, Identity]:
    """The block `tokens`, by name."""
    return MappingProxyType({name: _token(name, entry) for name, entry in entries.items()})


def _token(name: str, entry: Any) -> Identity:
    _named("tokens", name)
    fields = Fields(f"tokens.{name}", entry)
    return _identity(fields, f"tokens.{name}", name, "")


def keys(entries: list[Any], taken: set[str]) -> Mapping[bytes, Identity]:
    """The block `authorizedKeys`, by a key's 32 bytes; `taken` are the tokens' names."""
    found: dict[bytes, Identity] = {}
    for i, entry in enumerate(entries):
        where = f"authorizedKeys[{i}]"
        fields = Fields(where, entry)
        name = fields.take("name", str, "")
        _named(f"{where}.name", name)
        key = public_key(fields.take("key", str, ""))
        identity = _identity(fields, where, name, Access.INFER)
        if key is None:
            raise ConfigError(
                f"{where}.key ({name}) isn't an Ed25519 public key: write the line that is in that"
                " person's ~/.ollama/id_ed25519.pub, beginning with ssh-ed25519"
            )
        if key in found or name in taken:
            raise ConfigError(f"{where} ({name}): the name or the key is there twice, remove one")
        taken.add(name)
        found[key] = identity
    return MappingProxyType(found)


def need_tls(found: Mapping[bytes, Identity], *, tls: bool) -> None:
    """Raises ConfigError where a key may do more than its unencrypted signature protects (G4)."""
    for identity in found.values():
        if not (tls or Access.INFER.covers(identity.access)):
            raise ConfigError(
                f"authorizedKeys: {identity.name} has the access {identity.access}, but the gate"
                " serves without TLS: set gate.tls, or write the access infer"
            )


def _named(where: str, name: str) -> None:
    if not _NAME.fullmatch(name) or name.endswith((PREVIOUS, NEXT)):
        raise ConfigError(
            f"{where} has the name {name!r}: use 1 to 63 of A-Z a-z 0-9 . _ -,"
            " and leave the endings _PREVIOUS and _NEXT to rotation"
        )


def _identity(fields: Fields, where: str, name: str, default: str) -> Identity:
    access = fields.take("access", str, default)
    models = fields.take("models", list, None)
    fields.close()
    if access not in set(Access):
        raise ConfigError(f"{where}.access is {access!r}: write one of {', '.join(Access)}")
    tier = Access(access)
    return Identity(name, tier, None if models is None else _allowed(where, tier, models))


def _allowed(where: str, access: Access, models: list[Any]) -> frozenset[str]:
    """Canonical names. Who may make or pull models could give any of them an allowed name."""
    if not Access.INFER.covers(access):
        raise ConfigError(f"{where} has models and the access {access}: write infer or read there")
    names = [allowance.name(model) if isinstance(model, str) else None for model in models]
    if not names or None in names:
        raise ConfigError(f"{where}.models is {models!r}: write one model's name or more of them")
    return frozenset(name for name in names if name)
