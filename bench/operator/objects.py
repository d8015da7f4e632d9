"""The resources of the benchmark, and the objects that the operator makes of each.

The plain writer gets them from the operator's own builders: both write the same, by construction.
"""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ollamaserve_dev.localoperator import IMAGES
from ollamaserve_operator import api, kinds, manifests, names, observed
from ollamaserve_operator.manifests import Images

Body = dict[str, Any]

NAMESPACES = 10
ROUNDS = 4  # a claim's uid makes the pull Job possible: later wishes build on earlier ones


@dataclass(frozen=True, slots=True)
class Write:
    """`path` is the object's address, `collection` where it is created."""

    kind: str
    path: str
    collection: str
    body: Body


def namespace(number: int) -> Body:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"bench-{number}"}}


def resource(number: int) -> Body:
    """A resource as a team applies it, without a GPU."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": f"llama-{number}", "namespace": f"bench-{number % NAMESPACES}"},
        "spec": {"models": [{"name": "llama2:7b"}], "gpu": {"count": 0}},
    }


def write(body: Body) -> Write:
    kind, metadata = kinds.BY_NAME[body["kind"]], body["metadata"]
    collection = kind.path(metadata["namespace"])
    return Write(kind.name, f"{collection}/{metadata['name']}", collection, body)


def children(body: Body) -> list[Write]:
    """What the operator makes of the resource, in its order; `body` is as the API server has it."""
    serve = api.parse(body)
    if not isinstance(serve, api.OllamaServe):
        raise TypeError(f"the benchmark's resource is invalid: {serve}")
    images = Images(IMAGES["GATE_IMAGE"], IMAGES["OLLAMA_IMAGE"], IMAGES["OLLAMA_ROCM_IMAGE"])
    found: dict[tuple[str, str], Body] = {}
    for _ in range(ROUNDS):
        there = [_existing(child) for child in found.values()]
        seen = observed.observe(there, at=datetime.now(UTC))
        wanted = [dict(child) for child in manifests.children(serve, images, seen)]
        found = {(c["kind"], c["metadata"]["name"]): c for c in wanted} | found
    return [write(_with_token(child)) for child in found.values()]


def _existing(body: Body) -> Body:
    return body | {"metadata": body["metadata"] | {"uid": "0", "resourceVersion": "1"}}


def _with_token(body: Body) -> Body:
    if body["kind"] != "Secret":
        return body
    return body | {"stringData": {"AUTH_TOKEN": secrets.token_urlsafe(32)}}
