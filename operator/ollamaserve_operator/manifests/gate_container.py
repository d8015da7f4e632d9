"""The gate's container in a serving pod, and what it reads: tokens and configuration."""

from typing import Any

from ollamaserve_operator import names
from ollamaserve_operator.api import OllamaServe
from ollamaserve_operator.manifests.config_map import KEY as CONFIG_KEY
from ollamaserve_operator.manifests.ollama_container import (
    CONTAINER_SECURITY,
    UPSTREAM,
    environment,
)

TOKENS_PATH = "/etc/ollamaserve/tokens"
CONFIG_PATH = "/etc/ollamaserve/config"


def gate_container(serve: OllamaServe, image: str) -> dict[str, Any]:
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


def gate_volumes(serve: OllamaServe) -> tuple[dict[str, Any], ...]:
    """Mounted as files, so that a change reaches the gate without a restart."""
    return _tokens(serve), _config(serve)


def _tokens(serve: OllamaServe) -> dict[str, Any]:
    """Only the keys that are named, with what rotation puts beside them (decision 11, G5)."""
    ends = ("", names.PREVIOUS, names.NEXT)
    keys = [token.key + end for token in serve.auth.tokens for end in ends]
    if not serve.auth.secret_name:  # in a user's Secret, a key of this name would mean who knows
        keys.append(names.REVISION_KEY)
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
