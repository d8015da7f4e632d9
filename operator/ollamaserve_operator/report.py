"""What a gate says of itself on 7861 `/status`: the contract is in docs/architecture.md.

`parse` is forgiving: a report only explains, so a missing or odd field reads as its empty value,
and what goes into a status is cut to what its schema takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DIGEST_LENGTH = 71  # sha256: and 64 digits
WORD_LENGTH = 32


@dataclass(frozen=True, slots=True)
class ModelReport:
    """`failure` is why a pull of the gate's own failed, `given_up` that it tries no more."""

    name: str
    present: bool = False
    digest: str = ""
    size_bytes: int = 0
    parameter_size: str = ""
    quantization: str = ""
    warm: bool = False
    loaded: bool = False
    vram_bytes: int = 0
    pulled_percent: int | None = None
    error: str = ""
    failure: str = ""
    given_up: bool = False


@dataclass(frozen=True, slots=True)
class GateReport:
    mode: str = "serve"
    ready: bool = False
    reason: str = ""
    message: str = ""
    draining: bool = False
    models: tuple[ModelReport, ...] = ()
    device: str = "unknown"
    vram_bytes: int = 0
    revision: str = ""
    token_error: str = ""


def parse(document: Mapping[str, Any]) -> GateReport:
    acceleration = _object(document.get("acceleration"))
    tokens = _object(document.get("tokens"))
    return GateReport(
        mode=str(document.get("mode", "serve")),
        ready=document.get("ready") is True,
        reason=str(document.get("reason", "")),
        message=str(document.get("message", "")),
        draining=document.get("draining") is True,
        models=tuple(_model(entry) for entry in _list(document.get("models"))),
        device=str(acceleration.get("device", "unknown")),
        vram_bytes=_count(acceleration.get("vramBytes")),
        revision=str(tokens.get("revision", "")),
        token_error=str(tokens.get("error", "")),
    )


def _model(entry: Mapping[str, Any]) -> ModelReport:
    return ModelReport(
        name=str(entry.get("name", "")),
        present=entry.get("present") is True,
        digest=str(entry.get("digest", ""))[:DIGEST_LENGTH],
        size_bytes=_count(entry.get("sizeBytes")),
        parameter_size=str(entry.get("parameterSize", ""))[:WORD_LENGTH],
        quantization=str(entry.get("quantization", ""))[:WORD_LENGTH],
        warm=entry.get("warm") is True,
        loaded=entry.get("loaded") is True,
        vram_bytes=_count(entry.get("vramBytes")),
        pulled_percent=_percent(entry.get("pulledPercent")),
        error=str(entry.get("error", "")),
        failure=str(entry.get("failure", "")),
        given_up=entry.get("givenUp") is True,
    )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Mapping[str, Any]]:
    entries = value if isinstance(value, list) else []
    return [entry for entry in entries if isinstance(entry, Mapping)]


def _count(value: Any) -> int:
    return max(value, 0) if isinstance(value, int) else 0


def _percent(value: Any) -> int | None:
    return min(max(int(value), 0), 100) if isinstance(value, int | float) else None
