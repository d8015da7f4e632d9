"""The Ollama container and what it needs around it, alike in a serving pod and in the pull Job."""

from collections.abc import Mapping
from typing import Any

from ollamaserve_operator import names
from ollamaserve_operator.api import AccessMode, Ephemeral, OllamaServe, Persistent

USER = 65532
MODELS_PATH = "/models"
UPSTREAM = "http://127.0.0.1:11434"

# Where no GPU was asked for: Ollama's image asks the NVIDIA runtime for all (decision 10).
NO_GPU = {
    "NVIDIA_VISIBLE_DEVICES": "void",
    "CUDA_VISIBLE_DEVICES": "-1",
    "ROCR_VISIBLE_DEVICES": "-1",
}

POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def ollama_container(
    serve: OllamaServe, image: str, env: Mapping[str, str], resources: Mapping[str, Any]
) -> dict[str, Any]:
    """Bound to loopback, never pruning what another pod on the volume may be pulling."""
    own = {
        "HOME": MODELS_PATH,
        "OLLAMA_HOST": "127.0.0.1:11434",
        "OLLAMA_MODELS": MODELS_PATH,
        "OLLAMA_NOPRUNE": "1",
        "OLLAMA_NO_CLOUD": "1",
    }
    return {
        "name": names.OLLAMA_CONTAINER,
        "image": image,
        "imagePullPolicy": serve.image.pull_policy,
        "args": ["serve"],
        "env": [*environment({**own, **env}), *serve.env],
        "resources": dict(resources),
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "models", "mountPath": MODELS_PATH},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir, in the container
        ],
    }


def environment(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def volumes(serve: OllamaServe) -> list[dict[str, Any]]:
    return [{"name": "models", **_models(serve)}, {"name": "tmp", "emptyDir": {}}]


def placement(serve: OllamaServe) -> dict[str, Any]:
    """Node selection and tolerations, which the Job and the serving pods share (decision 2)."""
    tolerations = [dict(toleration) for toleration in serve.scheduling.tolerations]
    if serve.gpu.count:
        tolerations.append({"key": serve.gpu.resource, "operator": "Exists"})
    chosen = {
        "nodeSelector": dict(serve.scheduling.node_selector),
        "tolerations": tolerations,
        "imagePullSecrets": [{"name": name} for name in serve.image.pull_secrets],
    }
    return {
        **{field: value for field, value in chosen.items() if value},
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
    }


def on_one_node(serve: OllamaServe) -> bool:
    """Whether the volume can be used from one node at a time only."""
    storage = serve.storage
    return isinstance(storage, Persistent) and storage.access_mode is AccessMode.READ_WRITE_ONCE


def _models(serve: OllamaServe) -> dict[str, Any]:
    if not isinstance(serve.storage, Ephemeral):
        claim = names.persistent_volume_claim(serve.name)
        return {"persistentVolumeClaim": {"claimName": claim}}
    limit = serve.storage.size_limit
    return {"emptyDir": {"sizeLimit": limit} if limit else {}}
