"""The Job that pulls: Ollama as a native sidecar, and the gate's image telling it what to fetch."""

import json
from typing import Any

from ollamaserve_operator import names
from ollamaserve_operator.api import OllamaServe
from ollamaserve_operator.manifests.images import Chosen, Images
from ollamaserve_operator.manifests.metadata import Manifest, metadata, patches_of
from ollamaserve_operator.manifests.ollama_container import (
    CONTAINER_SECURITY,
    NO_GPU,
    UPSTREAM,
    environment,
    ollama_container,
)
from ollamaserve_operator.manifests.placement import pulling
from ollamaserve_operator.manifests.volumes import volumes
from ollamaserve_operator.names import Component
from ollamaserve_operator.observed import Observed
from ollamaserve_operator.pull import Attempt, attempt, entry

PERMANENT = [2, 3]  # exit statuses after which another try is no use: docs/architecture.md


def pull_job(serve: OllamaServe, images: Images, observed: Observed) -> Manifest | None:
    """None where no Job is wanted. A template can't change, so the name carries its hash."""
    wanted = attempt(serve, observed)
    return None if wanted is None else job(serve, images, wanted)


def job(serve: OllamaServe, images: Images, wanted: Attempt) -> Manifest:
    spec = _spec(serve, images.chosen(serve))
    identity = [wanted.key, wanted.number, wanted.retry, spec | patches_of(serve, "Job")]
    annotations = {
        names.PULL_KEY: wanted.key,
        names.ATTEMPT: str(wanted.number),
        names.RETRY: wanted.retry,
    }
    name = names.pull_job(serve.name, names.digest(identity))
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(serve, name, Component.PULL, annotations),
        "spec": spec,
    }


def _spec(serve: OllamaServe, images: Chosen) -> dict[str, Any]:
    permanent = {"containerName": names.PULL_CONTAINER, "operator": "In", "values": PERMANENT}
    evicted = {"type": "DisruptionTarget", "status": "True"}
    return {
        "backoffLimit": serve.pull.retries,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": permanent},
                {"action": "Ignore", "onPodConditions": [evicted]},
            ]
        },
        "template": {
            "metadata": {"labels": names.labels(serve.name, Component.PULL)},
            "spec": _pod(serve, images),
        },
    }


def _pod(serve: OllamaServe, images: Chosen) -> dict[str, Any]:
    ollama = ollama_container(serve, images.ollama, NO_GPU, serve.pull.resources, pulls=True)
    return {
        **pulling(serve),
        "restartPolicy": "Never",
        "initContainers": [ollama | {"restartPolicy": "Always"}],
        "containers": [_pull(serve, images.gate)],
        "volumes": volumes(serve, pulls=True),
    }


def _pull(serve: OllamaServe, image: str) -> dict[str, Any]:
    models = [entry(model) for model in serve.models]
    return {
        "name": names.PULL_CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["pull"],
        "env": environment(
            {
                "PULL_MODELS": json.dumps(models, ensure_ascii=False),
                "PULL_INSECURE": str(serve.pull.insecure).lower(),
                "GATE_UPSTREAM": UPSTREAM,
                "GATE_STATUS_LISTEN": f":{names.STATUS_PORT}",
            }
        ),
        "resources": dict(serve.gate.resources),
        "securityContext": CONTAINER_SECURITY,
        "ports": [{"name": "status", "containerPort": names.STATUS_PORT, "protocol": "TCP"}],
    }
