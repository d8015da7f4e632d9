"""What the Ollama of a pod has mounted: its models, a folder for temporary files, certificates."""

from typing import Any

from ollamaserve_operator import names
from ollamaserve_operator.api import Ephemeral, ExistingClaim, OllamaServe
from ollamaserve_operator.manifests import registry

MODELS_PATH = "/models"


def volumes(serve: OllamaServe, *, pulls: bool) -> list[dict[str, Any]]:
    own = [{"name": "models", **_models(serve)}, {"name": "tmp", "emptyDir": {}}]
    return [*own, *registry.volumes(serve)] if pulls else own


def mounts(serve: OllamaServe, *, pulls: bool) -> list[dict[str, Any]]:
    models: dict[str, Any] = {"name": "models", "mountPath": MODELS_PATH}
    if isinstance(serve.storage, ExistingClaim) and serve.storage.sub_path:
        models["subPath"] = serve.storage.sub_path
    tmp = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108 - an emptyDir, in the container
    return [models, tmp, *registry.mounts(serve)] if pulls else [models, tmp]


def _models(serve: OllamaServe) -> dict[str, Any]:
    if not isinstance(serve.storage, Ephemeral):
        return {"persistentVolumeClaim": {"claimName": names.mounted_claim(serve)}}
    limit = serve.storage.size_limit
    return {"emptyDir": {"sizeLimit": limit} if limit else {}}
