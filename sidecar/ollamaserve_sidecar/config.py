"""The gate's configuration: environment variables, and the JSON file that GATE_CONFIG names.

The one room that knows their names and defaults (docs/architecture.md, "The gate's configuration").
It reads no token: those are files that change, and belong to `reload`. Whatever is wrong raises
`ConfigError` with one line that names the field, its value and the remedy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ollamaserve_sidecar import identities
from ollamaserve_sidecar.cors import Cors, cors
from ollamaserve_sidecar.fields import ConfigError, Fields
from ollamaserve_sidecar.limits import Limits, limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ollamaserve_sidecar.tokens import Identity

__all__ = ["ConfigError"]

DIGEST = re.compile(r"(sha256:)?[0-9a-f]{64}")
# Not what Ollama answers: a health check must not take the place of a route.
HEALTH_PATH = re.compile(r"/(?!api/|v1/)[!-\"$->@-\[\]-~]{0,200}")


@dataclass(frozen=True, slots=True)
class Address:
    """A place to listen; host None means every address family."""

    host: str | None
    port: int


@dataclass(frozen=True, slots=True)
class Upstream:
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The value of the Host header that Ollama is sent."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Creation:
    """How a model is made of another one, `source`: what `POST /api/create` takes."""

    source: str
    system: str | None = None
    template: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExpectedModel:
    """A model that readiness waits for; `digest` is 64 hexadecimal digits, or empty."""

    name: str
    digest: str = ""
    warm: bool = False
    create: Creation | None = None

    def as_wanted(self, made: Creation | None) -> bool:
        """Whether what was `made` under this name is what it should be; pulled ones always are."""
        return self.create is None or made == self.create


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The files of a certificate with its chain, and of its private key."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Config:
    """What a process is told once, at its start. `drain_timeout` is in seconds.

    `key_pair` is None where the door has no TLS. `models` (of standalone mode) are expected beside
    those that GATE_CONFIG names.
    """

    listen: Address
    status_listen: Address
    upstream: Upstream
    drain_timeout: float
    auth_token: str | None = field(repr=False)
    tokens_dir: Path | None
    gate_config: Path | None
    key_pair: KeyPair | None = None
    models: tuple[ExpectedModel, ...] = ()
    access_log: bool = True


@dataclass(frozen=True, slots=True)
class PullConfig:
    """`retry` means nothing but that another value asks for another try."""

    insecure: bool = False
    retry: str = ""


@dataclass(frozen=True, slots=True)
class GateConfig:
    """GATE_CONFIG as parsed: what belongs to each token's name and to each key's 32 bytes."""

    tokens: Mapping[str, Identity]
    authorized_keys: Mapping[bytes, Identity] = field(default_factory=dict)
    models: tuple[ExpectedModel, ...] = ()
    require_acceleration: bool = False
    pull: PullConfig | None = None
    limits: Limits = field(default_factory=Limits)
    cors: Cors = field(default_factory=Cors)
    health_path: str | None = None
    egress: bool = True


def load(environ: Mapping[str, str]) -> Config:
    """The configuration from the environment; files are opened by `reload`."""
    return Config(
        listen=_address("GATE_LISTEN", environ.get("GATE_LISTEN") or ":7860"),
        status_listen=_address(
            "GATE_STATUS_LISTEN", environ.get("GATE_STATUS_LISTEN") or "127.0.0.1:7861"
        ),
        upstream=_upstream(environ.get("GATE_UPSTREAM") or "http://127.0.0.1:11434"),
        drain_timeout=_seconds("GATE_DRAIN_TIMEOUT", environ.get("GATE_DRAIN_TIMEOUT") or "120"),
        auth_token=environ.get("AUTH_TOKEN"),
        tokens_dir=_path(environ.get("GATE_TOKENS_DIR")),
        gate_config=_path(environ.get("GATE_CONFIG")),
        key_pair=_key_pair(environ.get("GATE_TLS_CERT"), environ.get("GATE_TLS_KEY")),
        access_log=_access_log(environ.get("GATE_ACCESS_LOG") or "json"),
    )


def _path(value: str | None) -> Path | None:
    return Path(value) if value else None


def _key_pair(cert: str | None, key: str | None) -> KeyPair | None:
    if bool(cert) is not bool(key):
        there, missing = ("GATE_TLS_CERT", "GATE_TLS_KEY")[:: 1 if cert else -1]
        raise ConfigError(f"{there} is set and {missing} isn't: set both to files, or neither")
    return KeyPair(Path(cert), Path(key)) if cert and key else None


def _address(name: str, value: str) -> Address:
    host, colon, port = value.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004 a port's largest number
        raise ConfigError(f"{name} is {value!r}: write HOST:PORT, or :PORT for every address")
    return Address(host.removeprefix("[").removesuffix("]") or None, int(port))


def _upstream(value: str) -> Upstream:
    remedy = f"GATE_UPSTREAM is {value!r}: write http://HOST:PORT without a path"
    try:
        url = urlsplit(value)
        host, port = url.hostname, url.port
    except ValueError:
        raise ConfigError(remedy) from None
    plain = url.path in ("", "/") and not (url.query or url.fragment or url.username)
    if url.scheme != "http" or not host or not plain:
        raise ConfigError(remedy)
    return Upstream(host, port or 80)


def _access_log(value: str) -> bool:
    if value not in ("json", "off"):
        raise ConfigError(f"GATE_ACCESS_LOG is {value!r}: write json or off")
    return value == "json"


def _seconds(name: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= 86_400:  # noqa: PLR2004 a day; also refuses inf and nan
        raise ConfigError(f"{name} is {value!r}: write seconds, 0 to 86400")
    return seconds


def gate_config(document: Any) -> GateConfig:
    """GATE_CONFIG's decoded JSON, checked; unknown keys and wrong types raise ConfigError."""
    top = Fields("GATE_CONFIG", document)
    tokens = top.take("tokens", dict, {})
    parsed = GateConfig(
        tokens=identities.tokens(tokens),
        authorized_keys=identities.keys(top.take("authorizedKeys", list, []), set(tokens)),
        models=tuple(
            _model(f"models[{i}]", entry) for i, entry in enumerate(top.take("models", list, []))
        ),
        require_acceleration=top.take("requireAcceleration", bool, default=False),
        pull=_pull(top.take("pull", dict, None)),
        limits=limits(top.take("limits", dict, {})),
        cors=cors(top.take("cors", dict, {})),
        health_path=_health_path(top.take("healthPath", str, None)),
        egress=top.take("egress", bool, default=True),
    )
    top.close()
    return parsed


def _model(where: str, entry: Any) -> ExpectedModel:
    fields = Fields(where, entry)
    name = fields.take("name", str, "")
    digest = fields.take("digest", str, "")
    warm = fields.take("warm", bool, default=False)
    create = _creation(f"{where}.create", fields.take("create", dict, None))
    fields.close()
    if not name:
        raise ConfigError(f"{where}.name is missing: write a model's name, such as llama2:7b")
    if digest and not DIGEST.fullmatch(digest):
        raise ConfigError(f"{where}.digest is {digest!r}: write sha256: and 64 hexadecimal digits")
    return ExpectedModel(name, digest.removeprefix("sha256:"), warm, create)


def _creation(where: str, entry: Any) -> Creation | None:
    if entry is None:
        return None
    fields = Fields(where, entry)
    creation = Creation(
        source=fields.take("from", str, ""),
        system=fields.take("system", str, None),
        template=fields.take("template", str, None),
        parameters=fields.take("parameters", dict, {}),
    )
    fields.close()
    if not creation.source:
        raise ConfigError(f"{where}.from is missing: write the model that it is made of")
    return creation


def _pull(entry: Any) -> PullConfig | None:
    if entry is None:
        return None
    fields = Fields("pull", entry)
    found = PullConfig(fields.take("insecure", bool, default=False), fields.take("retry", str, ""))
    fields.close()
    return found


def _health_path(value: str | None) -> str | None:
    if value is not None and not HEALTH_PATH.fullmatch(value):
        raise ConfigError(
            f"healthPath is {value!r}: write a path such as / or /healthz, in visible ASCII without"
            " ?, # or backslash, and not below /api/ or /v1/"
        )
    return value
