"""What the demo and the end-to-end tests put into a cluster: the operator, and a model registry.

The registry is `registry.py` with the tiny model, from a ConfigMap, run by the gate's image: where
no public registry is in reach a real pull still has somewhere to pull from.
"""

import base64
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ollamaserve_dev import engine, install, registry
from ollamaserve_dev.images import Images
from ollamaserve_dev.kubectl import Kubectl

OPERATOR = "ollamaserve-operator"
REPOSITORY = Path(__file__).parents[2]
MODELS = REPOSITORY / "tests/models"
REGISTRY = "registry.models:5000"
BLOBS = "blobs.models:5000"
LABELS = {"app.kubernetes.io/name": "model-registry"}
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


def registry_model(name: str) -> str:
    """The full name, for `spec.models`, of the registry's `tiny` or `slow/tiny`."""
    return f"{REGISTRY}/{name if '/' in name else f'library/{name}'}"


def install_operator(kubectl: Kubectl, images: Images) -> None:
    """Apply deploy/install.yaml with these images, and wait until the operator runs."""
    text = install.render(operator=images.operator, gate=images.sidecar, ollama=images.ollama)
    system = kubectl.within("ollamaserve-system")
    system.run("apply", "--filename=-", stdin=text)
    kubectl.run("wait", "--for=condition=Established", "crd/ollamaserves.ollamaserve.dev")
    system.patch("deployment", OPERATOR, _built(images.operator))
    system.run("rollout", "status", f"deployment/{OPERATOR}", "--timeout=120s")


def _built(image: str) -> dict[str, Any]:
    """A patch that rolls the operator out again where its image was built anew under its tag."""
    annotations = {"ollamaserve.dev/build": engine.current().image_id(image)}
    return {"spec": {"template": {"metadata": {"annotations": annotations}}}}


def install_registry(kubectl: Kubectl, images: Images) -> None:
    """A model registry in the namespace `models`, reached under two host names."""
    within = kubectl.within("models")
    # Server-side: the model is larger than the annotation of a client-side apply may be.
    within.apply(*registry_manifests(images.sidecar), server_side=True)
    within.run("rollout", "status", "deployment/registry", "--timeout=120s")


def registry_manifests(image: str) -> list[dict[str, Any]]:
    files = sorted(p for p in MODELS.iterdir() if p.suffix in {".gguf", ".json"})
    script = Path(registry.__file__)
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "models"}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "registry", "namespace": "models"},
            "binaryData": {
                p.name: base64.b64encode(p.read_bytes()).decode() for p in (script, *files)
            },
        },
        _deployment(image),
        *(_service(name) for name in ("registry", "blobs")),
    ]


def _deployment(image: str) -> dict[str, Any]:
    container = {
        "name": "registry",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", f"/registry/{Path(registry.__file__).name}"],
        "env": [
            {"name": "REGISTRY_MODELS", "value": "/registry"},
            {"name": "REGISTRY_LISTEN", "value": "0.0.0.0:5000"},
            {"name": "REGISTRY_BLOB_HOST", "value": BLOBS},
        ],
        "readinessProbe": {"tcpSocket": {"port": 5000}, "periodSeconds": 1},
        "securityContext": RESTRICTED,
        "volumeMounts": [{"name": "files", "mountPath": "/registry"}],
    }
    pod = {
        "containers": [container],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [{"name": "files", "configMap": {"name": "registry"}}],
        "terminationGracePeriodSeconds": 1,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "registry", "namespace": "models"},
        "spec": {
            "selector": {"matchLabels": LABELS},
            "template": {"metadata": {"labels": LABELS}, "spec": pod},
        },
    }


def _service(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "models"},
        "spec": {"selector": LABELS, "ports": [{"port": 5000, "targetPort": 5000}]},
    }


@contextmanager
def namespace(kubectl: Kubectl, name: str) -> Iterator[Kubectl]:
    """A namespace under Pod Security `restricted`, `name` and some letters; deleted in the end.

    The letters: one of an earlier run may still be on its way out.
    """
    name = f"{name}-{secrets.token_hex(2)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubectl.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    )
    try:
        yield kubectl.within(name)
    finally:
        kubectl.run("delete", "namespace", name, "--wait=false")
