"""What a gate says of itself on 7861 `/status`: the contract is in docs/architecture.md.

`parse` is forgiving: a report only explains, so a missing field reads as its empty value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ModelReport:
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


def parse(document: Mapping[str, Any]) -> GateReport:
    acceleration = document.get("acceleration") or {}
    return GateReport(
        mode=str(document.get("mode", "serve")),
        ready=document.get("ready") is True,
        reason=str(document.get("reason", "")),
        message=str(document.get("message", "")),
        draining=document.get("draining") is True,
        models=tuple(_model(entry) for entry in document.get("models") or ()),
        device=str(acceleration.get("device", "unknown")),
        vram_bytes=int(acceleration.get("vramBytes") or 0),
    )


def _model(entry: Mapping[str, Any]) -> ModelReport:
    return ModelReport(
        name=str(entry.get("name", "")),
        present=entry.get("present") is True,
        digest=str(entry.get("digest", "")),
        size_bytes=int(entry.get("sizeBytes") or 0),
        parameter_size=str(entry.get("parameterSize", "")),
        quantization=str(entry.get("quantization", "")),
        warm=entry.get("warm") is True,
        loaded=entry.get("loaded") is True,
        vram_bytes=int(entry.get("vramBytes") or 0),
        pulled_percent=entry.get("pulledPercent"),
        error=str(entry.get("error", "")),
    )
