"""The serving pods: the gate in front, Ollama behind it on loopback."""

from typing import Any

from ollamaserve_operator import names
from ollamaserve_operator.api import OllamaServe
from ollamaserve_operator.manifests.config_map import KEY as CONFIG_KEY
from ollamaserve_operator.manifests.images import UNRESOLVED, Chosen, Images
from ollamaserve_operator.manifests.metadata import Manifest, metadata
from ollamaserve_operator.manifests.ollama_container import (
    CONTAINER_SECURITY,
    NO_GPU,
    UPSTREAM,
    environment,
    ollama_container,
    on_one_node,
    placement,
    volumes,
)
from ollamaserve_operator.names import Component
from ollamaserve_operator.observed import Observed

GRACE_AFTER_DRAIN = 15  # seconds: 5 of accepting, 2 for the drain's waiter, and room
PROGRESS_DEADLINE = 86_400  # seconds: a first pull of a big model may take hours
TOKENS_PATH = "/etc/ollamaserve/tokens"
CONFIG_PATH = "/etc/ollamaserve/config"


def deployment(serve: OllamaServe, images: Images, observed: Observed) -> Manifest:
    """Images are resolved again only when what reaches the pod template changes (decision 9)."""
    chosen = images.chosen(serve)
    template_hash = names.digest(_template(serve, UNRESOLVED.chosen(serve)))[:16]
    found = observed.deployment.annotations if observed.deployment else {}
    if found.get(names.TEMPLATE_HASH) == template_hash:
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
    if on_one_node(serve):
        return {"type": "Recreate"}
    surge, unavailable = (0, 1) if serve.gpu.count else (1, 0)
    return {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable},
    }


def _template(serve: OllamaServe, images: Chosen) -> dict[str, Any]:
    return {
        "metadata": {"labels": names.labels(serve.name, Component.SERVER)},
        "spec": {
            **placement(serve),
            "terminationGracePeriodSeconds": serve.gate.drain_timeout + GRACE_AFTER_DRAIN,
            "containers": [_gate(serve, images.gate), _ollama(serve, images.ollama)],
            "volumes": [*volumes(serve), _tokens(serve), _config(serve)],
        },
    }


def _gate(serve: OllamaServe, image: str) -> dict[str, Any]:
    return {
        "name": names.GATE_CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["serve"],
        "env": environment(
            {
                "GATE_TOKENS_DIR": TOKENS_PATH,
                "GATE_CONFIG": f"{CONFIG_PATH}/{CONFIG_KEY}",
                "GATE_LISTEN": f":{names.DOOR_PORT}",
                "GATE_STATUS_LISTEN": f":{names.STATUS_PORT}",
                "GATE_UPSTREAM": UPSTREAM,
                "GATE_DRAIN_TIMEOUT": str(serve.gate.drain_timeout),
            }
        ),
        "resources": dict(serve.gate.resources),
        "securityContext": CONTAINER_SECURITY,
        "ports": [
            {"name": "door", "containerPort": names.DOOR_PORT, "protocol": "TCP"},
            {"name": "status", "containerPort": names.STATUS_PORT, "protocol": "TCP"},
        ],
        "startupProbe": _probe("/livez", period=1, failures=60),
        "livenessProbe": _probe("/livez", period=10, failures=6),
        "readinessProbe": _probe("/readyz", period=2, failures=2),
        "volumeMounts": [
            {"name": "tokens", "mountPath": TOKENS_PATH, "readOnly": True},
            {"name": "config", "mountPath": CONFIG_PATH, "readOnly": True},
        ],
    }


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": names.STATUS_PORT, "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _ollama(serve: OllamaServe, image: str) -> dict[str, Any]:
    container = ollama_container(serve, image, _settings(serve), _resources(serve))
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


def _tokens(serve: OllamaServe) -> dict[str, Any]:
    """Only the keys that are named, with what rotation puts beside them (decision 11, G5)."""
    keys = [token.key + end for token in serve.auth.tokens for end in ("", "_PREVIOUS", "_NEXT")]
    source = {
        "secretName": names.token_secret(serve),
        "optional": True,
        "defaultMode": 0o440,
        "items": [{"key": key, "path": key} for key in keys],
    }
    return {"name": "tokens", "secret": source}


def _config(serve: OllamaServe) -> dict[str, Any]:
    source = {
        "name": names.config_map(serve.name),
        "items": [{"key": CONFIG_KEY, "path": CONFIG_KEY}],
    }
    return {"name": "config", "configMap": source}
