"""What the operator guarantees of its children, and that no patch may change (decision 16).

Pure. `patches` enters, with a manifest as it was built and as a patch would have it. Who may write
an OllamaServe may not be able to make pods: so nothing here gives a pod more than Pod Security
`restricted` does, nor another container the gate's tokens, nor Ollama another address.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ollamaserve_operator import names
from ollamaserve_operator.api import RESERVED_ENV
from ollamaserve_operator.manifests import Manifest
from ollamaserve_operator.manifests.ollama_container import CONTAINER_SECURITY

LEAVE = "leave it out of the patch"
LISTS = "a merge patch replaces whole lists: write it as operations (type: json)"

_OUR_PREFIXES = ("app.kubernetes.io/", f"{names.GROUP}/")
_OUR_CONTAINERS = frozenset({names.GATE_CONTAINER, names.PULL_CONTAINER})

# By kind, what below its spec stays as it is; and where the wish for another value belongs.
_SPEC: Mapping[str, Mapping[str, str]] = {
    "Deployment": {
        "paused": LEAVE,
        "replicas": "set spec.replicas",
        "selector": LEAVE,
        "strategy.type": "set spec.updateStrategy",
    },
    "Job": {
        "backoffLimit": "set spec.pull.retries",
        "completionMode": LEAVE,
        "completions": LEAVE,
        "manualSelector": LEAVE,
        "parallelism": LEAVE,
        "podFailurePolicy": LEAVE,
        "podReplacementPolicy": LEAVE,
        "selector": LEAVE,
        "suspend": "set spec.suspend",
        "ttlSecondsAfterFinished": LEAVE,
    },
    "Service": {"externalIPs": LEAVE, "publishNotReadyAddresses": LEAVE, "selector": LEAVE},
    "PersistentVolumeClaim": {
        "accessModes": "set spec.storage.persistent.accessMode",
        "resources": "set spec.storage.persistent.size",
    },
    "NetworkPolicy": {"podSelector": LEAVE},
    "PodDisruptionBudget": {"selector": LEAVE},
    "PodMonitor": {"selector": LEAVE},
}
_POD: Mapping[str, str] = {
    "automountServiceAccountToken": LEAVE,
    "enableServiceLinks": LEAVE,
    "ephemeralContainers": LEAVE,
    "hostIPC": LEAVE,
    "hostNetwork": LEAVE,
    "hostPID": LEAVE,
    "hostUsers": LEAVE,
    "restartPolicy": LEAVE,
    "securityContext": "set spec.gpu.supplementalGroups for devices; the rest stays",
    "serviceAccount": LEAVE,
    "serviceAccountName": LEAVE,
    "shareProcessNamespace": LEAVE,
    "terminationGracePeriodSeconds": "set spec.gate.drainTimeout",
}
_OLLAMA: Mapping[str, str] = {
    "args": LEAVE,
    "command": LEAVE,
    "envFrom": "use env, or spec.env",
    "image": "set spec.image.ollama",
    "lifecycle": LEAVE,
    "livenessProbe": LEAVE,
    "ports": LEAVE,
    "restartPolicy": LEAVE,
    "securityContext": LEAVE,
    "terminationMessagePolicy": LEAVE,
}
# Pod Security Standards, "restricted": the volumes that it allows; image volumes hold no secret.
_SOURCES = frozenset(
    {
        *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image"),
        *("persistentVolumeClaim", "projected", "secret"),
    }
)


@dataclass(frozen=True, slots=True)
class Broken:
    """The place of a guarantee that would not hold, and what to do instead."""

    path: str
    remedy: str = LEAVE


def broken(before: Manifest, after: Any) -> Broken | None:
    """The first guarantee that `after` breaks; it may be of any shape."""
    return next(_all(before, after), None)


def _all(before: Manifest, after: Any) -> Iterator[Broken]:
    if not isinstance(after, Mapping):
        yield Broken("the whole object")
        return
    others = (before.keys() | after.keys()) - {"metadata", "spec"}
    yield from _changed(before, after, "", dict.fromkeys(sorted(others), LEAVE))
    yield from _metadata(before, after, "metadata")
    kind = before["kind"]
    yield from _changed(before, after, "spec", _SPEC.get(kind, {}))
    if kind in {"Deployment", "Job"}:
        yield from _pod(before, after)
    if kind == "Deployment" and _map(before, _LIMITS).keys() - _map(after, _LIMITS):
        yield Broken(_LIMITS, "keep both maxSurge and maxUnavailable")
    if kind == "Job":
        yield from _changed(before, after, "spec.template.spec", {"affinity": LEAVE})
    if kind == "Service":
        yield from _ports(before, after)


_LIMITS = "spec.strategy.rollingUpdate"


def _metadata(before: Any, after: Any, path: str) -> Iterator[Broken]:
    """All of it, but for labels and annotations of others."""
    both = _map(before, path).keys() | _map(after, path).keys()
    others = both - {"labels", "annotations"}
    yield from _changed(before, after, path, dict.fromkeys(sorted(others), LEAVE))
    for field in ("labels", "annotations"):
        where = f"{path}.{field}"
        old, new = _map(before, where), _map(after, where)
        for key in sorted(old.keys() | new.keys()):
            if key.startswith(_OUR_PREFIXES) and old.get(key) != new.get(key):
                yield Broken(f"{where}[{key}]")


def _pod(before: Any, after: Any) -> Iterator[Broken]:
    yield from _metadata(before, after, "spec.template.metadata")
    path = "spec.template.spec"
    yield from _changed(before, after, path, _POD)
    kept = _gates(before)
    for field in ("containers", "initContainers"):
        yield from _containers(before, after, f"{path}.{field}", kept)
    yield from _volumes(before, after, f"{path}.volumes")
    for secret in sorted(kept.secrets):
        if _uses(after, secret) > _uses(before, secret):
            yield Broken(f"a use of Secret {secret}", "only the gate may read it")


@dataclass(frozen=True, slots=True)
class _Kept:
    """What only the gate may mount or read: names of volumes, and of Secrets behind them."""

    volumes: frozenset[str]
    secrets: frozenset[str]


def _gates(manifest: Any) -> _Kept:
    containers = _named(manifest, "spec.template.spec.containers") or {}
    gate = containers.get(names.GATE_CONTAINER, {})
    mounted = frozenset(mount["name"] for mount in gate.get("volumeMounts", ()))
    volumes = _named(manifest, "spec.template.spec.volumes") or {}
    found = (volumes[name].get("secret", {}).get("secretName") for name in mounted & set(volumes))
    return _Kept(mounted, frozenset(name for name in found if name))


def _containers(before: Any, after: Any, path: str, kept: _Kept) -> Iterator[Broken]:
    old, new = _named(before, path) or {}, _named(after, path)
    if new is None:
        yield Broken(path, "give every container a name of its own")
        return
    for name, container in new.items():
        where = f"{path}[{name}]"
        if name in old:
            yield from _known(old[name], container, where, name, kept)
        else:
            yield from _guest(container, where, kept)
    for name in old.keys() - new.keys():
        yield Broken(f"{path}[{name}]", LISTS)


def _known(
    before: Mapping[str, Any], after: Mapping[str, Any], path: str, name: str, kept: _Kept
) -> Iterator[Broken]:
    if name in _OUR_CONTAINERS:
        if before != after:
            yield Broken(path, "set what spec.gate and spec.pull have for it")
        return
    for field, remedy in _OLLAMA.items():
        if before.get(field) != after.get(field):
            yield Broken(f"{path}.{field}", remedy)
    if _owned_env(before) != _owned_env(after):
        yield Broken(f"{path}.env", "leave the operator's variables as they are; see spec.ollama")
    mounts = _items(after, "volumeMounts")
    if any(mount not in mounts for mount in _items(before, "volumeMounts")):
        yield Broken(f"{path}.volumeMounts", LISTS)
    if _mounted(after, kept) != _mounted(before, kept):
        yield Broken(f"{path}.volumeMounts", "only the gate may mount its volumes")


def _guest(container: Mapping[str, Any], path: str, kept: _Kept) -> Iterator[Broken]:
    """A container that a patch adds."""
    if container.get("securityContext") != CONTAINER_SECURITY:
        yield Broken(
            f"{path}.securityContext",
            "give it that of the others: allowPrivilegeEscalation: false, readOnlyRootFilesystem: "
            "true, capabilities: {drop: [ALL]}",
        )
    if any("hostPort" in port for port in _items(container, "ports")):
        yield Broken(f"{path}.ports", "leave out hostPort")
    if _mounted(container, kept):
        yield Broken(f"{path}.volumeMounts", "only the gate may mount its volumes")


def _volumes(before: Any, after: Any, path: str) -> Iterator[Broken]:
    old, new = _named(before, path) or {}, _named(after, path)
    if new is None:
        yield Broken(path, "give every volume a name of its own")
        return
    for name, volume in old.items():
        if new.get(name) != volume:
            yield Broken(f"{path}[{name}]", LEAVE if name in new else LISTS)
    for name, volume in new.items():
        if name not in old and not _harmless(volume):
            yield Broken(f"{path}[{name}]", f"add volumes of these alone: {', '.join(_ALLOWED)}")


_ALLOWED = sorted(_SOURCES)


def _harmless(volume: Mapping[str, Any]) -> bool:
    """Nothing of the node, and no token of a service account."""
    tokens = any("serviceAccountToken" in s for s in _items(volume.get("projected"), "sources"))
    return volume.keys() - {"name"} <= _SOURCES and not tokens


def _ports(before: Any, after: Any) -> Iterator[Broken]:
    """7861 is on no Service, and the endpoint that status names leads to the gate."""
    ports = _items(at(after, "spec"), "ports")
    first = _items(at(before, "spec"), "ports")[0]
    kept = ("name", "port", "targetPort", "protocol")
    if not any(all(port.get(key) == first.get(key) for key in kept) for port in ports):
        yield Broken("spec.ports", "keep the port http; see spec.service")
    elif any(port.get("targetPort") != names.DOOR_PORT for port in ports):
        yield Broken("spec.ports", f"lead every port to {names.DOOR_PORT}")


def _changed(before: Any, after: Any, path: str, fields: Mapping[str, str]) -> Iterator[Broken]:
    for field, remedy in fields.items():
        where = f"{path}.{field}" if path else field
        if at(before, where) != at(after, where):
            yield Broken(where, remedy)


def at(value: Any, path: str) -> Any:
    """What stands at a dotted path; None where the shape has no such place."""
    for key in path.split(".") if path else ():
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _map(value: Any, path: str) -> Mapping[str, Any]:
    found = at(value, path)
    return found if isinstance(found, Mapping) else {}


def _items(value: Any, field: str) -> list[Mapping[str, Any]]:
    found = value.get(field) if isinstance(value, Mapping) else None
    return [i for i in found if isinstance(i, Mapping)] if isinstance(found, list) else []


def _named(value: Any, path: str) -> dict[str, Mapping[str, Any]] | None:
    """A list by the names in it; None where it isn't a list of things with one name each."""
    found = at(value, path)
    if found is None:
        return {}
    if not isinstance(found, list) or not all(isinstance(item, Mapping) for item in found):
        return None
    by_name = {str(item.get("name", "")): item for item in found}
    return by_name if len(by_name) == len(found) and "" not in by_name else None


def _owned_env(container: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [entry for entry in _items(container, "env") if str(entry.get("name")) in RESERVED_ENV]


def _mounted(container: Mapping[str, Any], kept: _Kept) -> list[Mapping[str, Any]]:
    return [m for m in _items(container, "volumeMounts") if str(m.get("name")) in kept.volumes]


def _uses(value: Any, secret: str) -> int:
    """How often a Secret is named, in whatever way the API has."""
    match value:
        case Mapping():
            named = [value.get("secretName")]
            for key in ("secret", "secretKeyRef", "secretRef", "nodePublishSecretRef"):
                inner = value.get(key)
                named.append(inner.get("name") if isinstance(inner, Mapping) else None)
            return named.count(secret) + sum(_uses(each, secret) for each in value.values())
        case list():
            return sum(_uses(each, secret) for each in value)
    return 0
