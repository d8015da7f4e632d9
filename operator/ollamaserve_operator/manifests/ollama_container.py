"""The Ollama container, alike in a serving pod and in the pull Job."""

from collections.abc import Mapping
from typing import Any

from ollamaserve_operator import names
from ollamaserve_operator.api import OllamaServe
from ollamaserve_operator.manifests import registry
from ollamaserve_operator.manifests.volumes import MODELS_PATH, mounts

UPSTREAM = "http://127.0.0.1:11434"

# Where no GPU was asked for: Ollama's image asks the NVIDIA runtime for all (decision 10).
NO_GPU = {
    "NVIDIA_VISIBLE_DEVICES": "void",
    "CUDA_VISIBLE_DEVICES": "-1",
    "ROCR_VISIBLE_DEVICES": "-1",
}

CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def ollama_container(
    serve: OllamaServe,
    image: str,
    env: Mapping[str, str],
    resources: Mapping[str, Any],
    *,
    pulls: bool,
) -> dict[str, Any]:
    """Bound to loopback, never pruning what another pod on the volume may be pulling."""
    own = {
        "HOME": MODELS_PATH,
        "OLLAMA_HOST": "127.0.0.1:11434",
        "OLLAMA_MODELS": MODELS_PATH,
        "OLLAMA_NOPRUNE": "1",
        "OLLAMA_NO_CLOUD": "1",
    }
    way = registry.environment(serve) if pulls else {}
    return {
        "name": names.OLLAMA_CONTAINER,
        "image": image,
        "imagePullPolicy": serve.image.pull_policy,
        "args": ["serve"],
        "env": [*environment({**own, **env, **way}), *serve.env],
        "resources": dict(resources),
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts(serve, pulls=pulls),
    }


def environment(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Values as they are: kubelet reads `$(NAME)` as another variable's value, and `$$` as `$`."""
    return [{"name": name, "value": value.replace("$", "$$")} for name, value in values.items()]
