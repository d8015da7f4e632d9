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
    raise NotImplementedError
