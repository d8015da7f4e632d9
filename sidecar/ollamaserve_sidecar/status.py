"""The `/status` document of port 7861, as docs/architecture.md gives it. Pure; any room may enter.

A serving gate and the pull Job's container build the same document from these facts, so that the
operator needs one reader.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from ollamaserve_sidecar.models import canonical, prefixed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ollamaserve_sidecar.config import ExpectedModel
    from ollamaserve_sidecar.ollama import Installed, Running
    from ollamaserve_sidecar.pull import Pull
    from ollamaserve_sidecar.reload import TokenStatus

VERSION = "0.1.0"


class Reason(StrEnum):
    """Why a pod is ready or isn't; the words are an interface."""

    READY = "Ready"
    OLLAMA_UNREACHABLE = "OllamaUnreachable"
    MODELS_MISSING = "ModelsMissing"
    DIGEST_MISMATCH = "DigestMismatch"
    PULLING = "Pulling"
    PULL_FAILED = "PullFailed"
    LOADING = "Loading"
    LOAD_FAILED = "LoadFailed"
    NOT_ACCELERATED = "NotAccelerated"
    DRAINING = "Draining"


class Device(StrEnum):
    """Where the models' weights are."""

    GPU = "gpu"
    PARTIAL = "partial"
    CPU = "cpu"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the pod is ready, and one sentence for a person saying why not."""

    reason: Reason
    message: str

    @property
    def ready(self) -> bool:
        return self.reason is Reason.READY


@dataclass(frozen=True, slots=True)
class Sight:
    """What Ollama last showed; `reachable` says whether it still answers.

    `running` has a shared runner under each of its models' names; `vram` counts it once.
    """

    reachable: bool = False
    version: str = ""
    installed: Mapping[str, Installed] | None = None
    running: Mapping[str, Running] | None = None
    vram: int = 0


@dataclass(frozen=True, slots=True)
class Door:
    """Port 7860: how busy it is, and its certificate, where it has one.

    `served` have a slot of inference and `queued` wait for one. `certificates` counts the changes
    of the certificate's files by their outcome, and is None without TLS.
    """

    connections: int = 0
    served: int = 0
    queued: int = 0
    certificates: Mapping[str, int] | None = None
    certificate_error: str = ""


def device(loads: Iterable[Running]) -> Device:
    """Where `loads` went as a whole; a model partly in VRAM makes it `partial`."""
    kinds = {_device(load) for load in loads}
    if not kinds:
        return Device.UNKNOWN
    return kinds.pop() if len(kinds) == 1 else Device.PARTIAL


def _device(load: Running) -> Device:
    if load.vram <= 0:
        return Device.CPU
    return Device.GPU if load.vram >= load.size else Device.PARTIAL


@dataclass(frozen=True, slots=True)
class Status:
    """Every fact of the document.

    By canonical model name, `errors` holds what went wrong, and `loading` those that are not in
    memory as a whole yet: Ollama lists them already.
    """

    mode: str
    verdict: Verdict
    sight: Sight
    models: tuple[ExpectedModel, ...]
    pulls: Mapping[str, Pull]
    errors: Mapping[str, str]
    loading: frozenset[str] = frozenset()
    device: Device = Device.UNKNOWN
    draining: bool = False
    in_flight: int = 0
    tokens: TokenStatus | None = None
    door: Door = field(default_factory=Door)

    def document(self) -> dict[str, Any]:
        return {
            "mode": self.mode,
            "version": VERSION,
            "ready": self.verdict.ready,
            "reason": self.verdict.reason,
            "message": self.verdict.message,
            "draining": self.draining,
            "inFlight": self.in_flight,
            "queued": self.door.queued,
            "ollama": {"reachable": self.sight.reachable, "version": self.sight.version},
            "models": [self._model(model) for model in self.models],
            "acceleration": {"device": self.device, "vramBytes": self.sight.vram},
            "tokens": _tokens(self.tokens),
            "tls": {
                "enabled": self.door.certificates is not None,
                "error": self.door.certificate_error,
            },
        }

    def _model(self, model: ExpectedModel) -> dict[str, Any]:
        key = canonical(model.name)
        found = (self.sight.installed or {}).get(key)
        load = (self.sight.running or {}).get(key)
        pull = self.pulls.get(key)
        percent = {} if pull is None or pull.percent is None else {"pulledPercent": pull.percent}
        failure = pull.failure if pull else None
        return {
            "name": model.name,
            "present": found is not None and model.as_wanted(pull.made if pull else None),
            "digest": prefixed(found.digest) if found else "",
            "sizeBytes": found.size if found else 0,
            "parameterSize": found.parameter_size if found else "",
            "quantization": found.quantization if found else "",
            "warm": model.warm,
            "loaded": load is not None and key not in self.loading,
            "vramBytes": load.vram if load else 0,
            **percent,
            "error": failure.message if failure else self.errors.get(key, ""),
            "failure": failure.cause if failure else "",
            "givenUp": failure is not None and failure.permanent,
        }


def _tokens(tokens: TokenStatus | None) -> dict[str, Any]:
    """Key names, never values; a process without tokens says so by an empty list."""
    return {
        "names": list(tokens.names) if tokens else [],
        "revision": tokens.revision if tokens else "",
        "ignored": tokens.ignored if tokens else 0,
        "error": tokens.error if tokens else "",
    }
