"""The serving pods: the gate in front, Ollama behind it on loopback."""

from typing import Any

from ollamaserve_operator import names
from ollamaserve_operator.api import OllamaServe, UpdateStrategy, UpgradePolicy
from ollamaserve_operator.manifests.gate_container import gate_container, gate_volumes
from ollamaserve_operator.manifests.images import UNRESOLVED, Chosen, Images
from ollamaserve_operator.manifests.metadata import Manifest, metadata, patches_of
from ollamaserve_operator.manifests.ollama_container import NO_GPU, ollama_container
from ollamaserve_operator.manifests.placement import on_one_node, serving
from ollamaserve_operator.manifests.volumes import volumes
from ollamaserve_operator.names import Component
from ollamaserve_operator.observed import Observed

GRACE_AFTER_DRAIN = 15  # seconds: 5 of accepting, 2 for the drain's waiter, and room
PROGRESS_DEADLINE = 86_400  # seconds: a first pull of a big model may take hours


def deployment(serve: OllamaServe, images: Images, observed: Observed) -> Manifest:
    """Images are resolved again only when what reaches the pod template changes (decision 9)."""
    chosen = images.chosen(serve)
    reaching = _template(serve, UNRESOLVED.chosen(serve)) | patches_of(serve, "Deployment")
    template_hash = names.digest(reaching)[:16]
    found = observed.deployment.annotations if observed.deployment else {}
    waits = serve.gate.upgrade_policy is UpgradePolicy.ON_SPEC_CHANGE
    if waits and found.get(names.TEMPLATE_HASH) == template_hash:
        chosen = chosen.recorded(found)
    annotations = {names.TEMPLATE_HASH: template_hash, **chosen.annotations()}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(serve, names.deployment(serve.name), annotations=annotations),
        "spec": {
            "replicas": serve.running_replicas,
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": PROGRESS_DEADLINE,
            "selector": {"matchLabels": names.selector(serve.name, Component.SERVER)},
            "strategy": _strategy(serve),
            "template": _template(serve, chosen),
        },
    }


def _strategy(serve: OllamaServe) -> dict[str, Any]:
    """Both limits are always written: only what we own can we later take away (decision 8)."""
    asked = serve.update_strategy
    automatic = asked is UpdateStrategy.AUTO
    if asked is UpdateStrategy.RECREATE or (automatic and on_one_node(serve)):
        return {"type": "Recreate"}
    surge, unavailable = (0, 1) if automatic and serve.gpu.count else (1, 0)
    return {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable},
    }


def _template(serve: OllamaServe, images: Chosen) -> dict[str, Any]:
    return {
        "metadata": {"labels": names.labels(serve.name, Component.SERVER)},
        "spec": {
            **serving(serve),
            "terminationGracePeriodSeconds": serve.gate.drain_timeout + GRACE_AFTER_DRAIN,
            "containers": [gate_container(serve, images.gate), _ollama(serve, images.ollama)],
            "volumes": [*volumes(serve, pulls=serve.pulls_in_pod), *gate_volumes(serve)],
        },
    }


def _ollama(serve: OllamaServe, image: str) -> dict[str, Any]:
    container = ollama_container(
        serve, image, _settings(serve), _resources(serve), pulls=serve.pulls_in_pod
    )
    return container | {
        # In its own container: kubelet can't reach loopback, and a probe through the gate would
        # kill a loaded model with each restart of the gate (decision 6).
        "livenessProbe": {
            "exec": {"command": ["ollama", "list"]},
            "periodSeconds": 30,
            "timeoutSeconds": 20,
            "failureThreshold": 4,
            "terminationGracePeriodSeconds": 5,
        },
        # Ollama cuts every connection on SIGTERM: it gets that when the gate has drained (7).
        "lifecycle": {
            "preStop": {
                "httpGet": {"path": "/drained", "port": names.STATUS_PORT, "scheme": "HTTP"}
            }
        },
    }


def _settings(serve: OllamaServe) -> dict[str, str]:
    wanted = serve.ollama
    settings = {
        "OLLAMA_KEEP_ALIVE": wanted.keep_alive,
        "OLLAMA_CONTEXT_LENGTH": wanted.context_length,
        "OLLAMA_NUM_PARALLEL": wanted.num_parallel,
        "OLLAMA_MAX_LOADED_MODELS": wanted.max_loaded_models,
        "OLLAMA_MAX_QUEUE": wanted.max_queue,
        "OLLAMA_FLASH_ATTENTION": wanted.flash_attention,
        "OLLAMA_KV_CACHE_TYPE": wanted.kv_cache_type,
        "OLLAMA_LOAD_TIMEOUT": wanted.load_timeout,
    }
    chosen = {name: str(value).lower() for name, value in settings.items() if value is not None}
    return chosen if serve.gpu.count else chosen | NO_GPU


def _resources(serve: OllamaServe) -> dict[str, Any]:
    """The user's, and the GPUs as a limit, which is also their request."""
    if not serve.gpu.count:
        return dict(serve.resources)
    limits = serve.resources.get("limits", {}) | {serve.gpu.resource: str(serve.gpu.count)}
    return {**serve.resources, "limits": limits}
