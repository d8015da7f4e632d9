"""An OllamaServe as the rest of the operator sees it: parsed, defaulted, frozen.

The schema of the CRD has checked most of it already; `parse` applies the same defaults again (held
equal by a contract test), because an object may be older than its CRD, and refuses with a value,
never with an exception. The border hands in raw bodies; only this room reads their `spec`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

T = TypeVar("T")

GROUP = "ollamaserve.dev"
RETRY = f"{GROUP}/retry"
RESERVED_ENV = frozenset(
    {
        "CUDA_VISIBLE_DEVICES",
        "HOME",
        "NVIDIA_VISIBLE_DEVICES",
        "OLLAMA_CONTEXT_LENGTH",
        "OLLAMA_FLASH_ATTENTION",
        "OLLAMA_HOST",
        "OLLAMA_KEEP_ALIVE",
        "OLLAMA_KV_CACHE_TYPE",
        "OLLAMA_LOAD_TIMEOUT",
        "OLLAMA_MAX_LOADED_MODELS",
        "OLLAMA_MAX_QUEUE",
        "OLLAMA_MODELS",
        "OLLAMA_NOPRUNE",
        "OLLAMA_NO_CLOUD",
        "OLLAMA_NUM_PARALLEL",
        "ROCR_VISIBLE_DEVICES",
    }
)


class Access(StrEnum):
    READ = "read"
    INFER = "infer"
    MANAGE = "manage"
    FULL = "full"


class AccessMode(StrEnum):
    """ReadWriteOncePod is no choice: the pull Job has to join the serving pod on the volume."""

    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_WRITE_MANY = "ReadWriteMany"


class WhenDeleted(StrEnum):
    DELETE = "Delete"
    RETAIN = "Retain"


@dataclass(frozen=True, slots=True)
class Model:
    name: str
    digest: str = ""
    warm: bool = False


@dataclass(frozen=True, slots=True)
class Pull:
    insecure: bool = False
    retries: int = 6
    resources: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Persistent:
    size: str = "30Gi"
    storage_class_name: str | None = None
    access_mode: AccessMode = AccessMode.READ_WRITE_ONCE
    when_deleted: WhenDeleted = WhenDeleted.DELETE


@dataclass(frozen=True, slots=True)
class Ephemeral:
    size_limit: str | None = None


Storage = Persistent | Ephemeral


@dataclass(frozen=True, slots=True)
class Gpu:
    count: int = 1
    resource: str = "nvidia.com/gpu"
    require_acceleration: bool = True


@dataclass(frozen=True, slots=True)
class Image:
    ollama: str = ""
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ollama:
    """Ollama's own settings; None leaves the choice to Ollama."""

    keep_alive: str = "-1"
    context_length: int | None = None
    num_parallel: int | None = None
    max_loaded_models: int | None = None
    max_queue: int | None = None
    flash_attention: bool | None = None
    kv_cache_type: str | None = None
    load_timeout: str | None = None


@dataclass(frozen=True, slots=True)
class Token:
    key: str = "AUTH_TOKEN"
    access: Access = Access.INFER


@dataclass(frozen=True, slots=True)
class Auth:
    """`secret_name` is the user's own Secret; empty: one is generated."""

    secret_name: str = ""
    tokens: tuple[Token, ...] = (Token(),)


@dataclass(frozen=True, slots=True)
class Gate:
    """`drain_timeout` is in seconds."""

    drain_timeout: int = 120
    resources: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Service:
    type: str = "ClusterIP"
    annotations: Mapping[str, str] = field(default_factory=dict)
    node_port: int | None = None
    load_balancer_class: str | None = None


@dataclass(frozen=True, slots=True)
class Scheduling:
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """What every answer about a resource needs, even when its spec is unreadable."""

    name: str
    namespace: str
    uid: str
    generation: int


@dataclass(frozen=True, slots=True)
class OllamaServe:
    identity: Identity
    models: tuple[Model, ...]
    pull: Pull = field(default_factory=Pull)
    storage: Storage = field(default_factory=Persistent)
    gpu: Gpu = field(default_factory=Gpu)
    resources: Mapping[str, Any] = field(default_factory=dict)
    replicas: int = 1
    image: Image = field(default_factory=Image)
    ollama: Ollama = field(default_factory=Ollama)
    env: tuple[Mapping[str, Any], ...] = ()
    auth: Auth = field(default_factory=Auth)
    gate: Gate = field(default_factory=Gate)
    service: Service = field(default_factory=Service)
    scheduling: Scheduling = field(default_factory=Scheduling)
    suspend: bool = False
    retry: str = ""

    @property
    def name(self) -> str:
        return self.identity.name

    @property
    def namespace(self) -> str:
        return self.identity.namespace

    @property
    def running_replicas(self) -> int:
        return 0 if self.suspend else self.replicas


@dataclass(frozen=True, slots=True)
class Invalid:
    """A spec that cannot be served; each error names the field, the value and the remedy."""

    identity: Identity
    errors: tuple[str, ...]


def parse(body: Mapping[str, Any]) -> OllamaServe | Invalid:
    """Read a whole custom object; `Invalid` where its spec can't be served."""
    identity = _identity(body["metadata"])
    spec = body.get("spec") or {}
    try:
        errors = tuple(_errors(spec))
        serve = _serve(identity, spec, body["metadata"].get("annotations") or {})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return Invalid(identity, (f"spec can't be read ({error!r}): compare it with the CRD",))
    return Invalid(identity, errors) if errors else serve


def _identity(metadata: Mapping[str, Any]) -> Identity:
    return Identity(
        name=metadata["name"],
        namespace=metadata.get("namespace", ""),
        uid=metadata.get("uid", ""),
        generation=metadata.get("generation", 0),
    )


def _errors(spec: Mapping[str, Any]) -> Iterator[str]:
    """What an object that is older than today's CRD rules may still hold."""
    if not spec.get("models"):
        yield "spec.models is empty: name at least one model"
    seen: dict[str, str] = {}
    for name in (model["name"] for model in spec.get("models", ())):
        if (other := seen.setdefault(canonical(name), name)) != name:
            yield f"spec.models has {other} and {name}, which are one model: keep one of them"
    storage = spec.get("storage", {"persistent": {}})
    if len(storage) != 1:
        yield f"spec.storage has {sorted(storage)}: give exactly one of persistent and ephemeral"
    claim = storage.get("persistent", {"accessMode": ""})
    mode = claim.get("accessMode", AccessMode.READ_WRITE_ONCE)
    if mode == AccessMode.READ_WRITE_ONCE and spec.get("replicas", 1) > 1:
        yield (
            f"spec.replicas is {spec['replicas']} on a ReadWriteOnce volume, which one node can "
            "use at a time: set spec.storage.persistent.accessMode: ReadWriteMany, or replicas: 1"
        )
    for name in sorted({e["name"] for e in spec.get("env", ())} & RESERVED_ENV):
        yield f"spec.env sets {name}, which the operator owns: remove it (see spec.ollama)"


def canonical(name: str) -> str:
    """One spelling for all that Ollama takes as one: tag and library default, case is nothing.

    As in Ollama's `types/model/name.go`; the gate has the same rule (held by a contract test).
    """
    rest = name.lower().rpartition("://")[2]
    tagged = rest if rest.rfind(":") > rest.rfind("/") else f"{rest}:latest"
    return tagged.removeprefix("registry.ollama.ai/").removeprefix("library/")


def _serve(
    identity: Identity, spec: Mapping[str, Any], annotations: Mapping[str, str]
) -> OllamaServe:
    return OllamaServe(
        identity=identity,
        models=_models(spec.get("models", ())),
        pull=_settings(Pull, spec.get("pull")),
        storage=_storage(spec.get("storage", {"persistent": {}})),
        gpu=_settings(Gpu, spec.get("gpu")),
        resources=spec.get("resources", {}),
        replicas=spec.get("replicas", 1),
        image=_settings(Image, spec.get("image"), pull_secrets=_names),
        ollama=_settings(Ollama, spec.get("ollama")),
        env=tuple(spec.get("env", ())),
        auth=_settings(Auth, spec.get("auth"), tokens=_tokens),
        gate=_settings(Gate, spec.get("gate")),
        service=_settings(Service, spec.get("service")),
        scheduling=_settings(Scheduling, spec.get("scheduling"), tolerations=tuple),
        suspend=spec.get("suspend", False),
        retry=annotations.get(RETRY, ""),
    )


def _settings(kind: type[T], block: Mapping[str, Any] | None, **read: Callable[[Any], Any]) -> T:
    """A block of the spec as its dataclass: camelCase keys are its fields, absent ones default."""
    values = {_snake(key): value for key, value in (block or {}).items()}
    return kind(**{key: read.get(key, _same)(value) for key, value in values.items()})


def _same(value: Any) -> Any:
    return value


def _snake(key: str) -> str:
    return re.sub(r"(?=[A-Z])", "_", key).lower()


def _names(references: Any) -> tuple[str, ...]:
    return tuple(reference["name"] for reference in references)


def _models(entries: Any) -> tuple[Model, ...]:
    """Warm unless said otherwise: the first model only."""
    return tuple(
        Model(entry["name"], entry.get("digest", ""), entry.get("warm", index == 0))
        for index, entry in enumerate(entries)
    )


def _storage(block: Mapping[str, Any]) -> Storage:
    if "ephemeral" in block:
        return _settings(Ephemeral, block["ephemeral"])
    return _settings(
        Persistent, block.get("persistent"), access_mode=AccessMode, when_deleted=WhenDeleted
    )


def _tokens(entries: Any) -> tuple[Token, ...]:
    return tuple(_settings(Token, entry, access=Access) for entry in entries)
