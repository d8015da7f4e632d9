"""Every name, label, annotation and selector by which objects find each other.

Nothing else in the operator spells one out. A resource's name has at most 52 characters (a CRD
rule), so that every name here fits the 63 of a DNS label: `<name>-pull-<5>` is the longest.
"""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from ollamaserve_operator import api

GROUP = api.GROUP
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "OllamaServe"
PLURAL = "ollamaserves"

FIELD_MANAGER = "ollamaserve-operator"
ABSENT = "1"  # a resourceVersion that no object has: an apply with it creates, or answers 409
OWNED_SELECTOR = f"app.kubernetes.io/managed-by={FIELD_MANAGER}"
INSTANCE = "app.kubernetes.io/instance"
COMPONENT = "app.kubernetes.io/component"

DESIRED_HASH = f"{GROUP}/desired-hash"
TEMPLATE_HASH = f"{GROUP}/template-hash"
GATE_IMAGE = f"{GROUP}/gate-image"
OLLAMA_IMAGE = f"{GROUP}/ollama-image"
PULL_KEY = f"{GROUP}/pull-key"
ATTEMPT = f"{GROUP}/attempt"
ISSUED_KEYS = f"{GROUP}/issued-keys"
RETRY = api.RETRY
ROTATE = api.ROTATE
ROTATED = f"{GROUP}/rotated"
OFFERED = f"{GROUP}/offered"
OFFERED_AT = f"{GROUP}/offered-at"
TOKEN_REVISION = f"{GROUP}/token-revision"
RETAINED_FOR = f"{GROUP}/retained-for"

HOME = "ollamaserve-system"  # where deploy/install.yaml puts the operator
NAMESPACE_NAME = "kubernetes.io/metadata.name"  # the API server labels each namespace with it

DOOR_PORT = 7860
STATUS_PORT = 7861
GATE_CONTAINER = "gate"
OLLAMA_CONTAINER = "ollama"
PULL_CONTAINER = "pull"

# Keys of the tokens' Secret beside the tokens themselves: docs/architecture.md.
NEXT, PREVIOUS = "_NEXT", "_PREVIOUS"
REVISION_KEY = "REVISION"

_SAFE_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # no vowels, as Kubernetes' own suffixes


class Component(StrEnum):
    SERVER = "server"
    PULL = "pull"


def secret(instance: str) -> str:
    return f"{instance}-auth"


def token_secret(serve: api.OllamaServe) -> str:
    """The Secret that holds the tokens: the user's own, or the generated one."""
    return serve.auth.secret_name or secret(serve.name)


def config_map(instance: str) -> str:
    return f"{instance}-gate"


def persistent_volume_claim(instance: str) -> str:
    return f"{instance}-models"


def mounted_claim(serve: api.OllamaServe) -> str:
    """The claim that pods mount: the user's own, or the one that is made for them."""
    if isinstance(serve.storage, api.ExistingClaim):
        return serve.storage.name
    return persistent_volume_claim(serve.name)


def service(instance: str) -> str:
    return instance


def deployment(instance: str) -> str:
    return instance


def network_policy(instance: str, component: "Component") -> str:
    """Both ends are suffixes, so that no policy is called as another resource's."""
    return f"{instance}-{component.value}"


def pod_disruption_budget(instance: str) -> str:
    return instance


def ingress(instance: str) -> str:
    return instance


def http_route(instance: str) -> str:
    return instance


def pod_monitor(instance: str) -> str:
    return instance


def operator_labels() -> dict[str, str]:
    """Of the operator's own pods, as deploy/operator.yaml has them."""
    return {"app.kubernetes.io/name": FIELD_MANAGER}


def instance(body: Mapping[str, Any]) -> str:
    """The resource that an object belongs to: its controller, else the one its label names.

    Pods belong to a ReplicaSet or Job, and retained volumes to nobody: they have the label.
    """
    metadata = body["metadata"]
    for reference in metadata.get("ownerReferences") or ():
        if reference.get("controller") and reference["kind"] == KIND:
            return str(reference["name"])
    return str((metadata.get("labels") or {}).get(INSTANCE, ""))


def pull_job(instance: str, digest: str) -> str:
    return f"{instance}-pull-{_suffix(digest)}"


def selector(instance: str, component: Component) -> dict[str, str]:
    """The stable subset of labels that selects pods: never a version."""
    return {
        "app.kubernetes.io/name": "ollamaserve",
        INSTANCE: instance,
        COMPONENT: component.value,
    }


def labels(instance: str, component: Component) -> dict[str, str]:
    return selector(instance, component) | {
        "app.kubernetes.io/part-of": "ollamaserve",
        "app.kubernetes.io/managed-by": FIELD_MANAGER,
    }


def selector_string(instance: str, component: Component = Component.SERVER) -> str:
    """The selector as `status.selector` and list calls want it: `key=value,key=value`."""
    return ",".join(f"{key}={value}" for key, value in selector(instance, component).items())


def digest(value: Mapping[str, Any] | list[Any] | tuple[Any, ...]) -> str:
    """The SHA-256, in hex, of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _suffix(digest: str) -> str:
    number = int(hashlib.sha256(digest.encode()).hexdigest(), 16)
    letters = []
    for _ in range(5):
        number, index = divmod(number, len(_SAFE_ALPHABET))
        letters.append(_SAFE_ALPHABET[index])
    return "".join(letters)
