"""Resources for tests: the samples that users read, and what an API server makes of manifests."""

import copy
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from ollamaserve_operator import api
from ollamaserve_operator.manifests import Images, Manifest

Body = dict[str, Any]

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "deploy/samples"
CRD = ROOT / "deploy/crds/ollamaserve.yaml"
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
IMAGES = Images(
    gate="example.com/gate:1",
    ollama="example.com/ollama:1",
    ollama_rocm="example.com/ollama:1-rocm",
)


def sample(name: str) -> Body:
    """A resource of deploy/samples, as the API server hands it out: with namespace and uid."""
    body: Body = yaml.safe_load((SAMPLES / f"{name}.yaml").read_text())
    return with_identity(body)


def resource(name: str = "llama", **spec: Any) -> Body:
    """A resource with one model and whatever else is given."""
    wanted = {"models": [{"name": "llama2:7b"}], **spec}
    return with_identity({"metadata": {"name": name}, "spec": wanted})


def with_identity(body: Body) -> Body:
    body["metadata"] |= {"namespace": "team-a", "uid": "uid-of-the-resource", "generation": 1}
    return body


def parsed(body: Mapping[str, Any]) -> api.OllamaServe:
    serve = api.parse(body)
    assert isinstance(serve, api.OllamaServe), serve
    return serve


def stored(manifests: Iterable[Manifest]) -> list[Body]:
    """The objects that an API server would hold after these were written: with uids, no empties."""
    return [_stored(manifest) for manifest in manifests]


def _stored(manifest: Manifest) -> Body:
    body: Body = _without_empties(copy.deepcopy(dict(manifest)))
    name = f"{body['kind']}-{body['metadata']['name']}"
    body["metadata"] |= {"uid": f"uid-of-{name}", "resourceVersion": "7", "generation": 1}
    return body


_MEANT_EMPTY = {"emptyDir", "namespaceSelector", "podSelector"}  # empty says: any, or all


def _without_empties(value: Any) -> Any:
    match value:
        case dict():
            slim = {k: _without_empties(v) for k, v in value.items()}
            return {k: v for k, v in slim.items() if v not in ({}, [], None) or k in _MEANT_EMPTY}
        case list():
            return [_without_empties(item) for item in value]
    return value
