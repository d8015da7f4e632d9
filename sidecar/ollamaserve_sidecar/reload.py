"""What changes while the gate runs: the mounted tokens and GATE_CONFIG, followed and swapped.

The one room that reads those files. kubelet replaces a mounted Secret or ConfigMap by swapping the
symlink `..data`, so a change is seen by resolving paths once a second; no event API is needed. A
broken file never replaces a good one: the last good set stays, and `error` says why.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ollamaserve_sidecar.config import Config, ConfigError, GateConfig, gate_config
from ollamaserve_sidecar.identities import need_tls
from ollamaserve_sidecar.policy import Access
from ollamaserve_sidecar.signature import Memory, Signers
from ollamaserve_sidecar.tokens import (
    NEXT,
    PREVIOUS,
    BadTokens,
    Identity,
    TokenSet,
    token_set,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

DEFAULT_TOKEN = "AUTH_TOKEN"  # noqa: S105 a token's name
REVISION = "REVISION"
INTERVAL = 1.0
MAX_FILE = 1 << 20


@dataclass(frozen=True, slots=True)
class TokenStatus:
    """The `tokens` block of /status."""

    names: tuple[str, ...]
    revision: str
    ignored: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Loaded:
    tokens: TokenSet
    config: GateConfig
    status: TokenStatus


class Live:
    """The credentials and the configuration in force; the constructor raises ConfigError.

    `on_change` callbacks run after each swap. `reloads` and `failures` count for metrics.
    """

    tokens: TokenSet
    signers: Signers
    config: GateConfig
    status: TokenStatus

    def __init__(self, config: Config) -> None:
        self._source = config
        self._memory = Memory()
        self._seen = self._fingerprint()
        self._take(_load(config))
        if not (self.tokens.entries or self.signers.keys):
            raise ConfigError(_no_token(config))
        self.on_change: list[Callable[[], None]] = []
        self.reloads = 0
        self.failures = 0

    def check(self) -> bool:
        """Load again if a file has changed; true if the new content is now in force."""
        seen = self._fingerprint()
        if seen == self._seen:
            return False
        self._seen = seen
        return self.reload()

    def reload(self) -> bool:
        try:
            loaded = _load(self._source)
        except ConfigError as broken:
            self.failures += 1
            self.status = replace(self.status, error=str(broken))
            log.warning("kept the last good tokens and configuration: %s", broken)
            return False
        self._take(loaded)
        self.reloads += 1
        log.info("loaded tokens %s", ", ".join(self.status.names) or "(none)")
        for callback in self.on_change:
            callback()
        return True

    def _take(self, loaded: _Loaded) -> None:
        self.tokens, self.config, self.status = loaded.tokens, loaded.config, loaded.status
        self.signers = Signers.of(loaded.config.authorized_keys, self._memory)
        for key in loaded.tokens.short:
            log.warning("token %s is shorter than 8 characters: it is easy to guess", key)

    def _fingerprint(self) -> tuple[object, ...]:
        """Changes whenever kubelet swaps a volume, or somebody writes a file in place."""
        paths = [self._source.gate_config] if self._source.gate_config else []
        if self._source.tokens_dir:
            paths += _files(self._source.tokens_dir)
        return tuple(_identity(path) for path in paths)


async def follow(live: Live, *, interval: float = INTERVAL) -> None:
    """Keep `live` in step with the files until cancelled."""
    while True:
        await asyncio.sleep(interval)
        live.check()


def _identity(path: Path) -> tuple[object, ...]:
    try:
        stat = path.stat()
        return (str(path.resolve()), stat.st_mtime_ns, stat.st_size, stat.st_ino)
    except OSError:
        return (str(path),)


def _files(folder: Path) -> list[Path]:
    """The folder's keys; names with a leading dot are kubelet's own (`..data`)."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def _load(config: Config) -> _Loaded:
    parsed = _gate_config(config)
    need_tls(parsed.authorized_keys, tls=config.key_pair is not None)
    parsed = replace(parsed, models=(*config.models, *parsed.models))
    values = _values(config)
    tokens = token_set(values, parsed.tokens)
    if isinstance(tokens, BadTokens):
        raise ConfigError(tokens.error)
    known = {name + end for name in parsed.tokens for end in ("", NEXT, PREVIOUS)} | {REVISION}
    revision = values.get(REVISION, b"").decode("ascii", "replace").strip()
    ignored = sum(name not in known for name in values)
    return _Loaded(tokens, parsed, TokenStatus(tokens.names, revision, ignored))


def _gate_config(config: Config) -> GateConfig:
    if config.gate_config is None:
        access = Access.INFER if config.tokens_dir else Access.FULL
        return GateConfig(tokens={DEFAULT_TOKEN: Identity(DEFAULT_TOKEN, access)})
    try:
        document = json.loads(_read(config.gate_config))
    except ValueError as broken:
        raise ConfigError(f"GATE_CONFIG {config.gate_config} is not JSON: {broken}") from None
    return gate_config(document)


def _values(config: Config) -> Mapping[str, bytes]:
    if config.tokens_dir is None:
        value = config.auth_token
        return {} if value is None else {DEFAULT_TOKEN: value.encode("utf-8", "surrogateescape")}
    if config.auth_token is not None:
        raise ConfigError("AUTH_TOKEN and GATE_TOKENS_DIR are both set: unset one of them")
    if not config.tokens_dir.is_dir():
        raise ConfigError(f"GATE_TOKENS_DIR is {str(config.tokens_dir)!r}: no such folder")
    files = _files(_version(config.tokens_dir))
    return {path.name: _read(path) for path in files if path.is_file()}


def _version(folder: Path) -> Path:
    """What `..data` points to now, so that a swap in the middle of reading can't mix two sets."""
    data = folder / "..data"
    return data.resolve() if data.is_symlink() else folder


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE)
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from None


def _no_token(config: Config) -> str:
    if config.tokens_dir is None:
        return "no token: set AUTH_TOKEN to 8 to 512 visible ASCII characters"
    return (
        f"no token: none of the files named in GATE_CONFIG is in {config.tokens_dir},"
        " and there are no authorizedKeys"
    )
