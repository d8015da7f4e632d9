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
TLS_PATH = "/etc/ollamaserve/tls"
_CERTIFICATE, _KEY = "tls.crt", "tls.key"  # of a Secret of the type kubernetes.io/tls


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
                **_key_pair(serve),
            }
        ),
        "resources": dict(serve.gate.resources),
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "ports": [
            {"name": "door", "containerPort": names.DOOR_PORT, "protocol": "TCP"},
            {"name": "status", "containerPort": names.STATUS_PORT, "protocol": "TCP"},
        ],
        "startupProbe": _probe("/livez", period=1, failures=60),
        "livenessProbe": _probe("/livez", period=10, failures=6),
        "readinessProbe": _probe("/readyz", period=2, failures=2),
        "volumeMounts": _mounts(serve),
    }


def _key_pair(serve: OllamaServe) -> dict[str, str]:
    if not serve.gate.tls.secret_name:
        return {}
    return {
        "GATE_TLS_CERT": f"{TLS_PATH}/{_CERTIFICATE}",
        "GATE_TLS_KEY": f"{TLS_PATH}/{_KEY}",
    }


def _mounts(serve: OllamaServe) -> list[dict[str, Any]]:
    """Whole folders: kubelet never renews what is mounted by subPath."""
    paths = {"tokens": TOKENS_PATH, "config": CONFIG_PATH}
    if serve.gate.tls.secret_name:
        paths["tls"] = TLS_PATH
    return [{"name": n, "mountPath": path, "readOnly": True} for n, path in paths.items()]


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": names.STATUS_PORT, "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def gate_volumes(serve: OllamaServe) -> tuple[dict[str, Any], ...]:
    """Mounted as files, so that a change reaches the gate without a restart."""
    always = (_tokens(serve), _config(serve))
    return (*always, _tls(serve)) if serve.gate.tls.secret_name else always


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


def _tls(serve: OllamaServe) -> dict[str, Any]:
    """Not optional: without its certificate a gate has nothing to serve, and waits for it."""
    source = {
        "secretName": serve.gate.tls.secret_name,
        "defaultMode": 0o440,
        "items": [{"key": key, "path": key} for key in (_CERTIFICATE, _KEY)],
    }
    return {"name": "tls", "secret": source}
