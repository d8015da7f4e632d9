"""Reading a raw custom object into its dataclasses, or the reasons why it can't be served.

`parse` applies the CRD's defaults again (held equal by a contract test), because an object may be
older than its CRD, and refuses with a value, never with an exception.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from ollamaserve_operator.api import rules
from ollamaserve_operator.api.spec import (
    Access,
    AccessMode,
    Auth,
    AuthorizedKey,
    CaBundle,
    Cors,
    Create,
    Ephemeral,
    ExistingClaim,
    Gate,
    Gpu,
    HttpRoute,
    Identity,
    Image,
    Ingress,
    Invalid,
    Limits,
    Model,
    Monitoring,
    NetworkPolicy,
    Ollama,
    OllamaServe,
    Patch,
    PatchType,
    Persistent,
    PodDisruptionBudget,
    PodMonitor,
    Proxy,
    Pull,
    Scheduling,
    Service,
    Storage,
    Strategy,
    Tls,
    Token,
    UpdateStrategy,
    UpgradePolicy,
    WhenDeleted,
)

T = TypeVar("T")

GROUP = "ollamaserve.dev"
RETRY = f"{GROUP}/retry"
ROTATE = f"{GROUP}/rotate"
DEEPEST = 64  # levels of a spec: Kubernetes' own types, affinity and a pod in a patch, have 20


def parse(body: Mapping[str, Any]) -> OllamaServe | Invalid:
    """Read a whole custom object; `Invalid` where its spec can't be served."""
    identity = _identity(body["metadata"])
    spec = body.get("spec") or {}
    if _deeper(spec, DEEPEST):
        return Invalid(identity, (f"spec is nested deeper than {DEEPEST}: make it flatter",))
    try:
        errors = tuple(rules.errors(spec))
        serve = _serve(identity, spec, body["metadata"].get("annotations") or {})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return Invalid(identity, (f"spec can't be read ({error!r}): compare it with the CRD",))
    return Invalid(identity, errors) if errors else serve


def _deeper(value: Any, levels: int) -> bool:
    """Whether anything lies below so many levels; rooms further in walk a spec by recursion."""
    layer = [value]
    for _ in range(levels):
        layer = [each for entry in layer for each in _inside(entry)]
    return bool(layer)


def _inside(value: Any) -> Iterable[Any]:
    match value:
        case Mapping():
            return value.values()
        case list():
            return value
    return ()


def _identity(metadata: Mapping[str, Any]) -> Identity:
    return Identity(
        name=metadata["name"],
        namespace=metadata.get("namespace", ""),
        uid=metadata.get("uid", ""),
        generation=metadata.get("generation", 0),
    )


def _serve(
    identity: Identity, spec: Mapping[str, Any], annotations: Mapping[str, str]
) -> OllamaServe:
    return OllamaServe(
        identity=identity,
        models=_models(spec.get("models", ())),
        pull=_settings(
            Pull, spec.get("pull"), strategy=Strategy, ca_bundle=_of(CaBundle), proxy=_of(Proxy)
        ),
        storage=_storage(spec.get("storage", {"persistent": {}})),
        gpu=_settings(Gpu, spec.get("gpu"), supplemental_groups=tuple),
        resources=spec.get("resources", {}),
        replicas=spec.get("replicas", 1),
        image=_settings(Image, spec.get("image"), pull_secrets=_names),
        ollama=_settings(Ollama, spec.get("ollama")),
        env=tuple(spec.get("env", ())),
        auth=_settings(Auth, spec.get("auth"), tokens=_each(_token), authorized_keys=_each(_key)),
        gate=_settings(
            Gate,
            spec.get("gate"),
            tls=_of(Tls),
            cors=_of(Cors, allowed_origins=tuple),
            limits=_of(Limits),
            upgrade_policy=UpgradePolicy,
        ),
        service=_settings(Service, spec.get("service")),
        ingress=_optional(_of(Ingress, tls=_of(Tls)), spec.get("ingress")),
        http_route=_optional(
            _of(HttpRoute, parent_refs=tuple, hostnames=tuple), spec.get("httpRoute")
        ),
        network_policy=_settings(
            NetworkPolicy, spec.get("networkPolicy"), from_=tuple, egress=tuple
        ),
        pod_disruption_budget=_settings(PodDisruptionBudget, spec.get("podDisruptionBudget")),
        scheduling=_settings(
            Scheduling, spec.get("scheduling"), tolerations=tuple, topology_spread_constraints=tuple
        ),
        update_strategy=UpdateStrategy(spec.get("updateStrategy", UpdateStrategy.AUTO)),
        monitoring=_settings(
            Monitoring, spec.get("monitoring"), pod_monitor=_of(PodMonitor), from_=tuple
        ),
        patches=_each(_of(Patch, type=PatchType))(spec.get("patches", ())),
        suspend=spec.get("suspend", False),
        retry=annotations.get(RETRY, ""),
        rotate=annotations.get(ROTATE, ""),
    )


def _settings(kind: type[T], block: Mapping[str, Any] | None, **read: Callable[[Any], Any]) -> T:
    """A block of the spec as its dataclass: camelCase keys are its fields.

    Absent ones default, and null is absent, as it is to the API server.
    """
    values = {_snake(key): value for key, value in (block or {}).items() if value is not None}
    return kind(**{key: read.get(key, _same)(value) for key, value in values.items()})


def _of(kind: type[T], **read: Callable[[Any], Any]) -> Callable[[Any], T]:
    return lambda block: _settings(kind, block, **read)


def _each(read: Callable[[Any], T]) -> Callable[[Any], tuple[T, ...]]:
    return lambda entries: tuple(read(entry) for entry in entries)


def _optional(read: Callable[[Any], T], block: Any) -> T | None:
    return None if block is None else read(block)


def _same(value: Any) -> Any:
    return value


def _snake(key: str) -> str:
    """Python's keyword `from` gets the customary underscore behind it."""
    return "from_" if key == "from" else re.sub(r"(?=[A-Z])", "_", key).lower()


def _names(references: Any) -> tuple[str, ...]:
    return tuple(reference["name"] for reference in references)


def _models(entries: Any) -> tuple[Model, ...]:
    """Warm unless said otherwise: the first model only."""
    read = _of(Model, create=_of(Create))
    return tuple(read({"warm": index == 0, **entry}) for index, entry in enumerate(entries))


def _storage(block: Mapping[str, Any]) -> Storage:
    if "ephemeral" in block:
        return _settings(Ephemeral, block["ephemeral"])
    if "existingClaim" in block:
        return _settings(ExistingClaim, block["existingClaim"])
    return _settings(
        Persistent, block.get("persistent"), access_mode=AccessMode, when_deleted=WhenDeleted
    )


_token = _of(Token, access=Access, models=tuple)
_key = _of(AuthorizedKey, access=Access, models=tuple)
